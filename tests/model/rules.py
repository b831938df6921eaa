"""The rules: what must hold after each change in Redis (`Rules`), and what must hold in the end (`ENDS`).

The numbers are those of the delivery protocol's invariants:
4. A stream's stored next offset is the number of rows that it has acknowledged.
5. What the ledger has in flight is what stands in the lists and claims.
6. An assigned claim has as many rows as were assigned.
8. A writer that does not own a claim changes nothing about it, however late its commands come.
(3, one content for an offset, and the tables of 6 are held by `bigquery`; 1, 2, 9 to 14 by the tests of their modules.)
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from oceanus import records
from oceanus.spool import LISTS, key, list_key
from tests.model.bigquery import BigQuery
from tests.model.scheduler import Process

ENDED = ("s", "f", "r")  # what the ledger counts of accepted records that came to an end

# KEYS ledger, then list and workers of each list; ARGV the beginnings of the names of its claims and writers
# -> ledger, then for each list its length and its writers: name, hash, length and digest of the claim
_LOOK = """
local found = {redis.call('HGETALL', KEYS[1])}
for i = 2, #KEYS, 2 do
  local writers = {}
  for _, writer in ipairs(redis.call('SMEMBERS', KEYS[i + 1])) do
    local rows = redis.call('LRANGE', ARGV[i - 1] .. writer, 0, -1)
    local hash = redis.call('HGETALL', ARGV[i] .. writer)
    table.insert(writers, {writer, hash, #rows, redis.sha1hex(table.concat(rows, '\\n'))})
  end
  table.insert(found, {redis.call('LLEN', KEYS[i]), writers})
end
return found
"""


@dataclass(frozen=True, slots=True)
class Held:
    """A writer as Redis knows it: its hash, and its claim's length and digest."""

    hash: dict[str, str]
    length: int
    digest: bytes


class Rules:
    """Looks at Redis after each change. `broken` are sentences, in order."""

    def __init__(self, bigquery: BigQuery, sites: Sequence[str]) -> None:
        self.broken: list[str] = []
        self._bigquery = bigquery
        self._sites = sites
        self._before: dict[tuple[str, str], dict[str, Held]] = {}

    def ask(self, pipe: Any) -> None:
        """Add to a pipeline, behind a change, what is to be looked at."""
        for site in self._sites:
            names = [(key(site, source), list_key(site, source, "workers")) for source in LISTS]
            keys = [key(site, "ledger"), *(name for pair in names for name in pair)]
            starts = [list_key(site, source, f"{name}:") for source in LISTS for name in ("claim", "writer")]
            pipe.eval(_LOOK, len(keys), *keys, *starts)

    def look(self, by: Process, answers: Sequence[Any]) -> None:
        """Hold all rules after a change by a process, which may be dead by now; `answers` are to what `ask` asks."""
        for site, (counted, *lists) in zip(self._sites, answers, strict=True):
            self._look(by, site, _hash(counted), lists)

    def _look(self, by: Process, site: str, counted: dict[str, str], lists: list[Any]) -> None:
        waiting = 0
        for source, (length, found) in zip(LISTS, lists, strict=True):
            writers = {name.decode(): Held(_hash(fields), rows, digest) for name, fields, rows, digest in found}
            if source != "failed":  # those were counted when they failed
                waiting += length + sum(one.length for one in writers.values())
            before = self._before.get((site, source), {})
            for name in before.keys() | writers.keys():
                self._hold_eighth(by, name, before.get(name), writers.get(name))
            for name, held in writers.items():
                self._hold_fourth(name, held)
                self._hold_sixth(name, held)
            self._before[site, source] = writers
        in_flight = _in_flight(counted)
        if in_flight != waiting:
            self.broken.append(f"rule 5: {site}: {in_flight} in flight, {waiting} waiting")

    def _hold_fourth(self, writer: str, held: Held) -> None:
        for field, stream in held.hash.items():
            known = self._bigquery.streams.get(stream) if field.startswith("stream:") else None
            if known is None:
                continue
            after = int(held.hash["next:" + field.removeprefix("stream:")])
            length = held.length if held.hash.get("stream") == stream else 0
            if known.rows not in (after, after + length):
                self.broken.append(f"rule 4: {writer}: {stream} has {known.rows} rows, next is {after} (+{length})")

    def _hold_sixth(self, writer: str, held: Held) -> None:
        if "n" in held.hash and int(held.hash["n"]) != held.length:
            self.broken.append(f"rule 6: {writer}: {held.length} rows, {held.hash['n']} assigned")

    def _hold_eighth(self, by: Process, writer: str, before: Held | None, after: Held | None) -> None:
        owners = {one.hash.get("owner") for one in (before, after) if one is not None} - {None}
        if before != after and owners and not owners & by.names:
            self.broken.append(f"rule 8: {by.name} changed {writer}, which belongs to {', '.join(sorted(owners))}")


@dataclass(kw_only=True)
class End:
    """How a run ended, for the rules of the end; each is a function that returns the sentences of what is wrong.

    `landed` and `failed` are what stands in the tables, as (minute, eid) by site; `ledger` what Redis has counted, by
    site, bucket (YYYYMMDDHHMM or YYYYMMDD) and kind.
    """

    accepted: set[str]
    refused: set[str]
    unanswered: set[str]
    landed: dict[str, Counter[tuple[str, str]]]
    failed: dict[str, Counter[tuple[str, str]]]
    ledger: dict[str, dict[str, Counter[str]]]

    @property
    def rows(self) -> Counter[str]:
        """Return how often each beacon stands in a table, that of the failed ones too."""
        rows: Counter[str] = Counter()
        for found in (*self.landed.values(), *self.failed.values()):
            for (_, eid), count in found.items():
                rows[eid] += count
        return rows

    @property
    def missing(self) -> list[str]:
        """Return the accepted beacons that are nowhere."""
        rows = self.rows
        return sorted(one for one in self.accepted if not rows[one])

    @property
    def doubled(self) -> list[str]:
        """Return the beacons that stand twice, accepted or not."""
        return sorted(one for one, count in self.rows.items() if count > 1)


def each_accepted_once(end: End) -> list[str]:
    """Say which accepted beacons are not exactly one row, sent once or again."""
    return [f"missing: {len(end.missing)}"] * bool(end.missing) + [f"doubled: {len(end.doubled)}"] * bool(end.doubled)


def refused_are_nowhere(end: End) -> list[str]:
    """Say how many beacons that were answered 503, and not sent again, are stored all the same."""
    rows = end.rows
    stored = sum(1 for one in end.refused if rows[one])
    return [f"stored, but answered 503: {stored}"] if stored else []


def trackers_are_answered(end: End) -> list[str]:
    """Say how many named beacons were sent again and again, and never accepted."""
    return [f"never answered: {len(end.unanswered)}"] if end.unanswered else []


def ledger_is_exact(end: End) -> list[str]:
    """Say where the ledger does not balance, or differs from the tables, in a minute or day, by number or digest."""
    wrong = []
    for site, buckets in end.ledger.items():
        for width in (12, 8):
            stands = _standing(end, site, width)
            counted = {bucket: numbers for bucket, numbers in buckets.items() if len(bucket) == width}
            for bucket in sorted(stands.keys() | counted.keys()):
                found, expected = counted.get(bucket, Counter()), stands.get(bucket, Counter())
                for kind, digest in (("s", "sd"), ("f", "fd")):
                    if (found[kind], found[digest]) != (expected[kind], expected[digest]):
                        wrong.append(f"ledger: {site} {bucket}: {kind} is {found[kind]}, rows are {expected[kind]}")
                ended = [sum(found[kind + suffix] for kind in ENDED) for suffix in ("", "d")]
                if ended != [found["a"], found["ad"]]:
                    wrong.append(f"ledger: {site} {bucket}: does not balance: {dict(found)}")
    return wrong


ENDS: tuple[Callable[[End], list[str]], ...] = (
    each_accepted_once,
    refused_are_nowhere,
    trackers_are_answered,
    ledger_is_exact,
)


def counted(client: "redis.Redis", site: str) -> dict[str, Counter[str]]:
    """Return what Redis has counted for a site, by minute and by day."""
    name = key(site, "ledger")
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for hash_name in sorted(client.keys(f"{name}*")):
        hour = hash_name.decode().removeprefix(name).removeprefix(":")
        width = 2 if hour else 8
        for field, value in client.hgetall(hash_name).items():
            bucket, kind = hour + field[:width].decode(), field[width:].decode()
            if bucket.isdigit() and kind:
                found[bucket][kind] += int(value)
    return found


def _standing(end: End, site: str, width: int) -> dict[str, Counter[str]]:
    """Return what the ledger must say has come to an end, by what stands in the tables."""
    stands: dict[str, Counter[str]] = defaultdict(Counter)
    for kind, rows in (("s", end.landed[site]), ("f", end.failed[site])):
        for (minute, eid), count in rows.items():
            stands[minute[:width]][kind] += count
            stands[minute[:width]][kind + "d"] += count * records.digest(eid)
    return stands


def _hash(flat: list[bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in zip(flat[::2], flat[1::2], strict=True)}


def _in_flight(fields: dict[str, str]) -> int:
    """Return how many accepted records have come to no end yet, by a site's ledger of days."""
    days = [(name[8:], int(value)) for name, value in fields.items() if name[:8].isdigit()]
    return sum(value for kind, value in days if kind == "a") - sum(value for kind, value in days if kind in ENDED)
