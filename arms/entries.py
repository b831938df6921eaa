"""The journal's entries: numbered pushes as bytes, and back again from whatever a disk has left of them. Pure.

An entry is a header (magic, length, CRC-32 of what follows), one JSON line with the push's numbers, and its records, a
line each. A reader passes over damage to the next whole entry, and tells what it passed.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from oceanus.pushes import Numbered, Push

MAGIC = b"\x89OJ1"
_HEADER = struct.Struct(">4sII")


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are no entry. `is_end`: nothing whole follows, so that it may be a write that was never answered."""

    raw: bytes
    is_end: bool


def encode(one: Numbered) -> bytes:
    """Return an entry as bytes."""
    push = one.push
    numbers = {
        "producer": one.producer,
        "seq": one.seq,
        "site": push.site,
        "source": push.source,
        "minute": push.minute,
        "digest": push.digest,
        "last_ms": push.last_ms,
        "alerts": push.alerts,
        "named": push.named,
    }
    payload = b"\n".join([orjson.dumps(numbers), *push.records])
    return _HEADER.pack(MAGIC, len(payload), zlib.crc32(payload)) + payload


def decode(raw: bytes) -> Iterator[Numbered | Damage]:
    """Yield the entries in a journal's bytes, in order, and the damage between them; zeros at the end are free room."""
    place, end = 0, len(raw.rstrip(b"\0"))
    while place < end:
        size = _whole(raw, place)
        if size:
            yield _entry(raw[place + _HEADER.size : place + size])
            place += size
            continue
        following = _next(raw, place + 1)
        yield Damage(raw[place : end if following is None else following], is_end=following is None)
        if following is None:
            return
        place = following


def _whole(raw: bytes, place: int) -> int:
    """Return the size of the whole, undamaged entry at `place`; 0 if there is none."""
    if raw[place : place + 4] != MAGIC or place + _HEADER.size > len(raw):
        return 0
    _, length, crc = _HEADER.unpack_from(raw, place)
    payload = raw[place + _HEADER.size : place + _HEADER.size + length]
    whole = 0 < length == len(payload) and zlib.crc32(payload) == crc
    return _HEADER.size + length if whole else 0


def _next(raw: bytes, place: int) -> int | None:
    while (found := raw.find(MAGIC, place)) >= 0:
        if _whole(raw, found):
            return found
        place = found + 1
    return None


def _entry(payload: bytes) -> Numbered:
    line, *texts = payload.split(b"\n")
    numbers = orjson.loads(line)
    producer, seq = numbers.pop("producer"), numbers.pop("seq")
    return Numbered(Push(records=texts, **numbers), producer, seq)
