"""What strangers wrote, as the page may show it: text alone, with what hides in it written out. Pure."""

from typing import Any

import orjson

from management.console.stream import Heard
from oceanus import records
from oceanus.errors import NotARecordError
from oceanus.visible import escaped

LINE_CHARACTERS = 240
VALUE_CHARACTERS = 20_000
DEEPEST = 50
EXACT = 2**53  # a page's numbers are doubles
# A row of the list has these of a record, in this order, as far as there is room; the page has columns for others.
FIRST = ("tit", "url", "ref", "name", "cname", "email", "jsn")
APART = frozenset(("v", "eid", "dt", "received", "evt", "sid", "rad", "ua", "dev", "enc", "scr", "vie", "oid"))


def shown_line(text: str) -> str:
    """Return a text on one line, with what cannot be seen as escapes, cut at VALUE_CHARACTERS."""
    cut = text if len(text) <= VALUE_CHARACTERS else f"{text[:VALUE_CHARACTERS]}…"
    return escaped(cut.encode("utf-8", "backslashreplace").decode())


def shown(value: Any, depth: int = 0) -> Any:
    """Return a value of JSON with all its texts, names too, as `shown_line` has them."""
    if isinstance(value, str):
        return shown_line(value)
    if depth > DEEPEST:
        return "…"
    if isinstance(value, dict):
        return {shown_line(str(name)): shown(member, depth + 1) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [shown(member, depth + 1) for member in value]
    is_plain = value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) <= EXACT)
    return value if is_plain else shown_line(str(value))


def row(heard: Heard) -> dict[str, Any]:
    """Return a record as a row of the list: time, site, event, and the beginnings of what it says."""
    told: dict[str, Any] = {"number": heard.number, "site": shown_line(heard.site)}
    try:
        record = records.decode(heard.raw)
    except NotARecordError as exc:
        return told | {"eid": None, "at": None, "event": "", "says": [["", f"is no record: {exc}"]]}
    return told | {
        "eid": record["eid"],
        "at": records.received(record) / 1e6,
        "event": shown_line(str(record.get("evt") or ""))[:32],
        "says": _says(record),
    }


def _says(record: records.Record) -> list[list[str]]:
    room, says = LINE_CHARACTERS, list[list[str]]()
    others = [name for name in record if name not in FIRST and name not in APART]
    for name in (*FIRST, *others):
        value = record.get(name)
        if value in (None, "") or room <= 0:
            continue
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
        line = shown_line(text[: room + 1])
        says.append([shown_line(name), line if len(line) <= room else f"{line[:room]}…"])
        room -= len(line) + len(name)
    return says
