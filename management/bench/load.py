"""Load: wrk as fast as it goes, hey at a given rate, and what they tell."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from oceanus.errors import MisconfiguredError

CONNECTIONS = 32
BEACON = (
    "/swallow/bizocean?oid=2&evt=pageview&sid=86895a04e5a59600&uid=1084205&enc=UTF-8&scr=1920x1080&vie=1903x510"
    "&url=https%3A%2F%2Ftest.example.jp%2Fdoc%2Fcontact%2Finquiry%2Fcomplete%2F"
)
# The same as the tracker sends it.
POSTED = (
    '{"oid":"2","evt":"pageview","url":"https://www.example.jp/page","enc":"UTF-8","scr":"1920x1080","vie":"1903x510",'
    '"pid":"0123456789abcdef","lang":"ja-JP","tz":"Asia/Tokyo","ver":"0.1.0","sid":"86895a04e5a59600","late":"0"}'
)
_REQUESTS = re.compile(r"(\d+) requests in")
_A_SECOND = re.compile(r"Requests/sec:\s+([\d.]+)")
_QUANTILE = r"{}%%?\s+(?:in )?([\d.]+)\s*(us|ms|s|secs)\b"
_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "secs": 1000.0}


@dataclass(frozen=True, slots=True)
class Told:
    """What a load generator tells of one run: answers in all, answers a second, and how long half and 99 % took."""

    requests: int
    a_second: float
    p50_ms: float
    p99_ms: float


def find(program: str) -> str:
    """Return the path of a program; raises MisconfiguredError with where to get it."""
    found = shutil.which(program)
    if found is None:
        raise MisconfiguredError([f"{program} is not here: apt-get install {program}"])
    return found


def full(
    url: str, seconds: int, connections: int = CONNECTIONS, *, posted: bool = False, under: Sequence[str] = ()
) -> Told:
    """Send realistic beacons with wrk, as fast as they are answered; `posted`: each alone in a POST.

    `under`: the command that runs wrk, such as perf's.
    """
    name = "posted.lua" if posted else "beacon.lua"
    with resources.as_file(resources.files("management.bench") / name) as script:
        words = [find("wrk"), "-t1", f"-c{connections}", f"-d{seconds}", "--latency", "-s", str(script), url]
        return read_wrk(_output([*under, *words]))


def paced(url: str, seconds: int, a_second: float, *, posted: bool = False, under: Sequence[str] = ()) -> Told:
    """Send one beacon again and again with hey, at most `a_second`."""
    each = a_second / CONNECTIONS
    words = [find("hey"), "-z", f"{seconds}s", "-c", str(CONNECTIONS), "-q", f"{each:.3f}"]
    beacon = ["-m", "POST", "-T", "text/plain", "-d", POSTED] if posted else []
    path = BEACON.partition("?")[0] if posted else BEACON
    return read_hey(_output([*under, *words, *beacon, url.rstrip("/") + path]))


def read_wrk(text: str) -> Told:
    """Return what wrk has told; raises ValueError where not all was answered with 2xx."""
    if "Non-2xx" in text or "Socket errors" in text:
        raise ValueError(f"not everything was answered: {text}")
    return Told(int(_found(_REQUESTS, text)), float(_found(_A_SECOND, text)), _ms("50", text), _ms("99", text))


def read_hey(text: str) -> Told:
    """Return what hey has told; raises ValueError where not all was answered with 200."""
    statuses = dict(re.findall(r"\[(\d+)\]\s+(\d+) responses", text))
    if set(statuses) != {"200"} or "Error distribution" in text:
        raise ValueError(f"not everything was answered: {text}")
    return Told(int(statuses["200"]), float(_found(_A_SECOND, text)), _ms("50", text), _ms("99", text))


def _ms(percent: str, text: str) -> float:
    found = re.search(_QUANTILE.format(percent), text)
    if found is None:
        raise ValueError(f"no {percent} % in: {text}")
    return float(found[1]) * _MS[found[2]]


def _found(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    if found is None:
        raise ValueError(f"no {pattern.pattern!r} in: {text}")
    return found[1]


def _output(words: list[str]) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout  # noqa: S603 - found by name
