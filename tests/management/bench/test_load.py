"""What wrk and hey tell is read as it is, and what was not answered is an error."""

import pytest

from management.bench import load
from management.bench.load import Told

WRK = """Running 2s test @ http://127.0.0.1:8080/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     5.21ms    1.48ms  24.45ms   89.31%
    Req/Sec     6.20k   559.29     6.88k    80.00%
  Latency Distribution
     50%  920.00us
     75%    5.33ms
     90%    6.11ms
     99%    1.02s
  12345 requests in 2.00s, 3.21MB read
Requests/sec:   6170.61
Transfer/sec:      1.60MB
"""
HEY = """
Summary:
  Total:\t2.0051 secs
  Slowest:\t0.0301 secs
  Requests/sec:\t2500.5310

Latency distribution:
  10%% in 0.0010 secs
  50%% in 0.0052 secs
  99%% in 0.0148 secs

Status code distribution:
  [200]\t5000 responses
"""


def test_wrk_is_read_in_every_unit():
    assert load.read_wrk(WRK) == Told(12345, 6170.61, 0.92, 1020.0)


@pytest.mark.parametrize("percent", ["%", "%%"])
def test_hey_is_read(percent):
    assert load.read_hey(HEY.replace("%%", percent)) == Told(5000, 2500.531, 5.2, 14.8)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (load.read_wrk, WRK + "  Non-2xx or 3xx responses: 7\n"),
        (load.read_wrk, WRK + "  Socket errors: connect 0, read 3, write 0, timeout 0\n"),
        (load.read_hey, HEY + "  [503]\t2 responses\n"),
        (load.read_hey, HEY + "Error distribution:\n  [3]\tEOF\n"),
        (load.read_wrk, ""),
        (load.read_hey, HEY.replace("99", "95")),
    ],
)
def test_what_was_not_answered_or_not_told_is_an_error(read, text):
    with pytest.raises(ValueError, match=r"in: |not everything was answered"):
        read(text)
