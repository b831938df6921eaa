"""Noise: lines of Redis and the local BigQuery that are no news to whoever watches. They are in up.log alone. Pure."""

import re

# After `10015:M 22 Nov 2026 18:28:46.217 * `: what it says at each start, whatever happens.
REDIS = re.compile(
    r"\d+:\w [^*#]*[*#] (?:"
    r"oO0OoO0OoO0Oo |(?:Redis|Valkey) version=|Configuration loaded|monotonic clock: |Running mode=|Server initialized|"
    r"WARNING:? Memory overcommit must be enabled|Creating AOF (?:base|incr) file \S+ on server start"
    r")"
)
# Requests, except those that it failed to answer; tables that are not there yet are asked for by 404.
BIGQUERY = re.compile(
    r'INFO: +(?:[\d.]+:\d+ - "[A-Z]+ .*" [1-4]\d\d(?: .*)?$|Uvicorn running on .*\(Press CTRL\+C to quit\))'
)
