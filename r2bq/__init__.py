"""The drain: records from Redis to BigQuery; each is one row there, exactly one, whatever is killed on the way."""
