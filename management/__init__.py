"""The operator's command `oceanus`."""
