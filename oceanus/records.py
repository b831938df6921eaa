"""A record: one checked beacon, as JSON text in Redis and as one row in BigQuery.

Every record carries `v` (this format's version), `eid` (event id) and `dt` (its time, UTC) beside its fields. The eid
is a UUIDv7 of the receive time; where a tracker names its beacon (`cid`), so that it can send it again, it is a UUIDv8
made of that name, and the receive time is the member `received` (microseconds since 1970).
"""

import hashlib
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import orjson

from oceanus.errors import NewerFormatError, NotARecordError

FORMAT = 1
DAY_US = 86_400_000_000
INTERNAL = ("v", "received")  # members that are no columns
_EID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[78][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{6})?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = _EPOCH.replace(tzinfo=None)

Record = dict[str, Any]


def mint(now_us: int | None = None) -> str:
    """Return a new event id: a UUIDv7 of the time in microseconds since 1970, with 62 random bits.

    Layout: RFC 9562, sections 5.7 and 6.2 method 3: 48 bits of milliseconds, 12 bits of the fraction below, the rest
    random, asked from the kernel each time, so that a forked process never repeats another's.
    """
    micros = time.time_ns() // 1000 if now_us is None else now_us
    millis, fraction = divmod(micros, 1000)
    low = int.from_bytes(os.urandom(8))
    return "%08x-%04x-7%03x-%04x-%012x" % (  # noqa: UP031 - twice as fast as the other ways
        millis >> 16,
        millis & 0xFFFF,
        fraction * 4096 // 1000,
        low >> 48 & 0x3FFF | 0x8000,
        low & 0xFFFFFFFFFFFF,
    )


def named(site: str, cid: str) -> str:
    """Return the event id of a beacon that its tracker has named: a UUIDv8 of site and name (RFC 9562, section 5.8)."""
    custom = hashlib.sha256(f"{site}\0{cid}".encode()).hexdigest()
    variant = f"{int(custom[16], 16) & 0x3 | 0x8:x}"
    return f"{custom[:8]}-{custom[8:12]}-8{custom[13:16]}-{variant}{custom[17:20]}-{custom[20:32]}"


def is_named(eid: str) -> bool:
    """Say whether an event id was made of a tracker's name for its beacon."""
    return eid[14] == "8"


def received(record: Record, key: str = "eid") -> int:
    """Return when a record was received, in microseconds since 1970; `key` is the member that names it."""
    return int(record["received"]) if is_named(record[key]) else received_us(record[key])


def receipts(decoded: Sequence[Record], key: str = "eid") -> list[int]:
    """Return when each of some records was received, as `received` does, but to the millisecond."""
    ids = [one[key] for one in decoded]
    if any(eid[14] == "8" for eid in ids):
        return [received(one, key) // 1000 * 1000 for one in decoded]
    return [int(eid[:8] + eid[9:13], 16) * 1000 for eid in ids]


def is_id(text: str) -> bool:
    """Say whether a text is an id of ours: an event's, or a failed record's."""
    return _EID.fullmatch(text) is not None


def received_us(eid: str) -> int:
    """Return the time inside an event id of version 7, in microseconds since 1970 (about 0.25 us off)."""
    fraction = int(eid[15:18], 16)
    return int(eid[:8] + eid[9:13], 16) * 1000 + -(-fraction * 1000 // 4096)


def digest(eid: str) -> int:
    """Return the last 32 bits of an event id: summed, they let Redis, Python and SQL compare sets of records."""
    return int(eid[-8:], 16)


def time_text(micros: int) -> str:
    """Return microseconds since 1970 as `YYYY-MM-DD HH:MM:SS.ffffff`, UTC, the fraction missing when 0."""
    second, fraction = divmod(micros, 1_000_000)
    return f"{_second(second)}.{fraction:06d}" if fraction else _second(second)


@lru_cache(maxsize=100)
def _second(second: int) -> str:
    return str((_EPOCH + timedelta(seconds=second)).replace(tzinfo=None))


def time_us(text: str) -> int:
    """Return the microseconds since 1970 of such a text; raises ValueError."""
    parsed = datetime.fromisoformat(text)
    since = (parsed if parsed.tzinfo is None else parsed.replace(tzinfo=None)) - _NAIVE_EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def given_time_us(text: str) -> int:
    """Return the microseconds since 1970 of a time that a caller gives: RFC 3339; UTC where it names no zone.

    Raises ValueError.
    """
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    return (parsed - _EPOCH) // timedelta(microseconds=1)


def minute(dt: str) -> str:
    """Return the minute of a time text as `YYYYMMDDHHMM`."""
    return _minute(dt[:16])


@lru_cache(maxsize=100)
def _minute(dt: str) -> str:
    return dt[:4] + dt[5:7] + dt[8:10] + dt[11:13] + dt[14:16]


def day(dt: str) -> str:
    """Return the UTC day of a time text as `YYYYMMDD`."""
    return dt[:4] + dt[5:7] + dt[8:10]


def encode(record: Record) -> bytes:
    """Return a record as one line of JSON."""
    return orjson.dumps(record, option=orjson.OPT_SORT_KEYS)


def decode(raw: bytes, key: str = "eid") -> Record:
    """Return the record in a text; raises NotARecordError with a sentence for anything else.

    NewerFormatError, one of them, is for a good record that is not for this release. `key` is the member that names it:
    `eid`, or `fid` for a failed record.
    """
    try:
        record = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise NotARecordError(f"is not JSON: {exc}") from exc
    if not isinstance(record, dict):
        raise NotARecordError("is JSON, but no object")
    version = record.get("v")
    if type(version) is int and version > FORMAT:
        raise NewerFormatError(f"has format version {version}, and this release reads {FORMAT}")
    if version != FORMAT:
        raise NotARecordError(f"has format version {version!r}; this release reads {FORMAT}")
    if not isinstance(record.get(key), str) or not is_id(record[key]):
        raise NotARecordError(f"has no id ({key})")
    if is_named(record[key]) and type(record.get("received")) is not int:
        raise NotARecordError("has no receive time (received)")
    if not _is_time(record.get("dt")):
        raise NotARecordError("has no time (dt)")
    return record


def decode_plain(texts: Sequence[bytes], key: str = "eid") -> list[Record] | None:
    """Return the records in some texts, as `decode` would; None where one is not plainly good, or there is none.

    What is asked of all at once takes a third of the time; `decode` then says what is wrong, and of which.
    """
    try:
        found = list(map(orjson.loads, texts))
        if set(map(type, found)) != {dict} or not _are_plain(found, key):
            return None
        for one in found:
            datetime.fromisoformat(one["dt"])
    except ValueError:  # orjson's own is one
        return None
    return found


def _are_plain(found: Sequence[Record], key: str) -> bool:
    versions: list[Any] = [one.get("v") for one in found]
    ids: list[Any] = [one.get(key) for one in found]
    times: list[Any] = [one.get("dt") for one in found]
    if set(map(type, versions)) != {int} or set(versions) != {FORMAT} or set(map(type, ids + times)) != {str}:
        return False
    if not (all(map(_EID.fullmatch, ids)) and all(map(_TIME.fullmatch, times))):
        return False
    named = [one for one, eid in zip(found, ids, strict=True) if eid[14] == "8"]
    return all(type(one.get("received")) is int for one in named)


def _is_time(value: object) -> bool:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return False
    try:
        time_us(value)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A failed record: a beacon that was rejected or a record that BigQuery refused, with its reason.

    `stage` is `rules` (arms answered 400 or 403: it was never accepted) or `write` (it was accepted, and its raw text
    is whole). `raw` of a rejected beacon is cut at 8 KiB.
    """

    fid: str
    dt: str
    site: str
    stage: str
    reason: str
    raw: str
    eid: str | None = None

    def encode(self) -> bytes:
        """Return the failed record as one line of JSON."""
        members = {name: getattr(self, name) for name in self.__slots__}
        clean = {name: text and text.encode(errors="backslashreplace").decode() for name, text in members.items()}
        return encode({"v": FORMAT} | clean)
