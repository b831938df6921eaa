"""The places: each destination of alerts.yaml as a client that delivers to it."""
