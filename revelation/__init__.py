"""revelation: tells people about records as they happen, by the rules of alerts.yaml."""
