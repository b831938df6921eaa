"""The access log: a line in Combined Log Format as the beacon that the visitor's browser would have sent. Pure.

    address ident user [time] "method path protocol" status bytes "referrer" "agent"

Every line becomes a beacon that arms accepts: what is too long is cut, and a line that cannot be read goes whole into
`jsn.line`. What is no UTF-8, and control characters, are written as `\\xNN`, as Apache itself writes them.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import ip_address

from oceanus import jsontext

URL_CHARACTERS = 1024
AGENT_CHARACTERS = 512
JSON_CHARACTERS = 4096
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_LINE = re.compile(
    rf"([^ ]+) [^ ]+ [^\[]*\[([^\]]+)\] {_QUOTED} (\d{{3}}) (\d{{1,18}}|-) {_QUOTED} {_QUOTED}\s*", re.ASCII | re.DOTALL
)
_REQUEST = re.compile(r"([A-Za-z]{1,32}) ([^ ].*) (HTTP/\d(?:\.\d)?)", re.ASCII | re.DOTALL)
_TIME = re.compile(r"(\d\d)/([A-Z][a-z][a-z])/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)", re.ASCII)
_UNSEEN = {code: f"\\x{code:02x}" for code in (*range(32), 127)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Beacon:
    """What one line says. `time` is None only where neither this line nor one before it says any."""

    parameters: dict[str, str]
    address: str
    agent: str
    time: datetime | None
    parsed: bool


def beacon(raw: bytes, previous: datetime | None) -> Beacon:
    """Return the beacon of one line; a line that cannot be parsed happened at the `previous` one's time."""
    line = raw.decode("utf-8", "surrogateescape").rstrip("\r\n")
    return _parsed(line) or _unparsed(line, previous)


def time_of(text: str) -> datetime | None:
    """Return the time of `17/May/2015:10:05:03 +0000`; None if it is none."""
    found = _TIME.fullmatch(text)
    if not found or found[2] not in _MONTHS:
        return None
    day, _, year, hour, minute, second, sign, hours, minutes = found.groups()
    offset = timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == "-" else 1)
    try:
        month = _MONTHS.index(found[2]) + 1
        local = datetime(int(year), month, int(day), int(hour), int(minute), int(second), tzinfo=timezone(offset))
        return local.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _parsed(line: str) -> Beacon | None:
    found = _LINE.fullmatch(line)
    if not found:
        return None
    address, when, said, status, size, referrer, agent = found.groups()
    request, time = _REQUEST.fullmatch(said), time_of(when)
    if request is None or time is None or not _is_address(address):
        return None
    numbers = {"status": int(status), "bytes": 0 if size == "-" else int(size)}
    parameters = {
        "evt": "pageview",
        "oid": "2",
        "url": _said(request[2])[:URL_CHARACTERS],
        "ref": _present(referrer)[:URL_CHARACTERS],
        "sid": _session(address + agent),
        "jsn": _json({"method": request[1], "protocol": request[3]} | numbers),
    }
    return Beacon(
        parameters={name: value for name, value in parameters.items() if value},
        address=address,
        agent=_present(agent)[:AGENT_CHARACTERS].strip(),
        time=time,
        parsed=True,
    )


def _unparsed(line: str, previous: datetime | None) -> Beacon:
    parameters = {"evt": "pageview", "oid": "2", "url": "/", "sid": _session(line), "jsn": _fitting(_readable(line))}
    return Beacon(parameters=parameters, address="", agent="", time=previous, parsed=False)


def _fitting(line: str) -> str:
    """Return {"line": ...} with as much of the line as fits: escapes make it longer than it is."""
    text = _json({"line": line[:JSON_CHARACTERS]})
    kept = min(len(line), JSON_CHARACTERS)
    while len(text) > JSON_CHARACTERS:
        kept -= max(1, (len(text) - JSON_CHARACTERS) // 2)  # a quote or a backslash takes two characters
        text = _json({"line": line[:kept]})
    return text


def _json(value: dict[str, object]) -> str:
    return jsontext.dumps(value)


def _session(told: str) -> str:
    return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _present(text: str) -> str:
    """Return what a quoted field says; a log writes an absent one as `-`."""
    return "" if text == "-" else _said(text)


def _said(text: str) -> str:
    """Return what the client said in a quoted field: the log escapes its quotes."""
    return _readable(text).replace('\\"', '"')


def _readable(text: str) -> str:
    """Return a text as UTF-8 can hold it and a person can see it."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").translate(_UNSEEN)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text
