"""Keeps every dataset, table and column standing before it is written: `plan` decides, `keeper` acts."""
