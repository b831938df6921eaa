"""What is no news, by lines that Redis, Valkey and the local BigQuery really said."""

import pytest

from management import noise


@pytest.mark.parametrize(
    "line",
    [
        "10015:C 22 Nov 2026 18:28:46.216 # oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo",
        "10015:C 22 Nov 2026 18:28:46.216 * oO0OoO0OoO0Oo Valkey is starting oO0OoO0OoO0Oo",
        "10015:C 22 Nov 2026 18:28:46.216 # Redis version=7.0.15, bits=64, commit=00000000, modified=0, just started",
        "10015:C 22 Nov 2026 18:28:46.216 # Configuration loaded",
        "10015:M 22 Nov 2026 18:28:46.217 * monotonic clock: POSIX clock_gettime",
        "10015:M 22 Nov 2026 18:28:46.217 # WARNING Memory overcommit must be enabled! Without it, a background save",
        "10015:M 22 Nov 2026 18:28:46.220 * Creating AOF base file appendonly.aof.1.base.rdb on server start",
        "10015:M 22 Nov 2026 18:28:46.220 * Creating AOF incr file appendonly.aof.1.incr.aof on server start",
    ],
)
def test_banner_of_redis_is_noise(line):
    assert noise.REDIS.match(line)


@pytest.mark.parametrize(
    "line",
    [
        "10015:M 22 Nov 2026 18:28:46.220 * Ready to accept connections",
        "10015:M 22 Nov 2026 18:28:46.217 # WARNING: The TCP backlog setting of 511 cannot be enforced",
        "10015:M 22 Nov 2026 18:28:46.217 # Bad file format reading the append only file",
        "*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***",
    ],
)
def test_trouble_of_redis_is_news(line):
    assert not noise.REDIS.match(line)


@pytest.mark.parametrize(
    ("line", "is_noise"),
    [
        ('INFO:     127.0.0.1:56182 - "GET /bigquery/v2/projects/local?prettyPrint=false HTTP/1.1" 200 OK', True),
        ('INFO:     127.0.0.1:56182 - "GET /bigquery/v2/datasets/oceanus HTTP/1.1" 404 Not Found', True),
        ('INFO:     127.0.0.1:56182 - "POST /bigquery/v2/projects/local/jobs HTTP/1.1" 400 Bad Request', True),
        ('INFO:     127.0.0.1:56182 - "POST /bigquery/v2/jobs HTTP/1.1" 500 Internal Server Error', False),
        ("INFO:     Uvicorn running on http://127.0.0.1:35215 (Press CTRL+C to quit)", True),
        ("ERROR:    Exception in ASGI application", False),
        ("Traceback (most recent call last):", False),
    ],
)
def test_of_requests_only_those_that_failed_are_news(line, is_noise):
    assert bool(noise.BIGQUERY.match(line)) == is_noise
