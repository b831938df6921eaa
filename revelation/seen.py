"""A record as rules see it: by name, and its JSON read when it is first asked for, once. Pure.

No record makes it raise: what is missing, null, or inside a text that is no JSON is None.
"""

import sys
from collections.abc import Callable
from typing import Any

import orjson

from oceanus.records import Record

Getter = Callable[["Seen"], Any]


class Seen:
    """A record of a site, with its JSON kept once it is read."""

    __slots__ = ("_read", "record", "site")

    def __init__(self, record: Record, site: str) -> None:
        self.record = record
        self.site = site
        self._read: dict[str, Any] = {}

    def json(self, field: str) -> Any:
        """Return the value that the JSON text of `field` stands for."""
        try:
            return self._read[field]
        except KeyError:
            value = self._read[field] = _parsed(self.record.get(field))
            return value


def getter(name: str) -> Getter:
    """Return a function that looks `name` up: `site`, a field, or a member such as `jsn.items.0.sku`."""
    field, *members = name.split(".")
    if name == "site":
        return lambda seen: seen.site
    if not members:
        return lambda seen: seen.record.get(field)
    steps = tuple((member, _index(member)) for member in members)

    def member(seen: Seen) -> Any:
        value = seen.json(field)
        for key, index in steps:
            if isinstance(value, dict):
                value = value.get(key)
            elif isinstance(value, list) and index < len(value):
                value = value[index]
            else:
                return None
        return value

    return member


def _parsed(text: Any) -> Any:
    if not isinstance(text, str):
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _index(member: str) -> int:
    """Return a place in a list, counted from 0; one beyond every list for a name that is none."""
    return int(member) if member.isascii() and member.isdigit() and len(member) <= 9 else sys.maxsize
