"""Redis with a persistent disk: the configuration that the guarantee needs. No code."""
