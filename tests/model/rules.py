"""The rules: what must hold after each change in Redis (`Rules`), and what must hold in the end (`ENDS`).

The numbers are those of the delivery protocol's invariants:
4. A stream's stored next offset is the number of rows that it has acknowledged.
5. What the ledger has in flight is what stands in the lists and claims.
6. An assigned claim has as many rows as were assigned.
8. A writer that does not own a claim changes nothing about it, however late its commands come.
(3, one content for an offset, and the tables of 6 are held by `bigquery`; 1, 2, 9 to 14 by the tests of their modules.)
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from oceanus import ledger, records
from oceanus.ledger import Totals
from oceanus.spool import LISTS, Spool, key, list_key
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
    """How a run ended, for the rules of the end; each is a function that returns the sentences of what is wrong."""

    accepted: set[str]
    refused: set[str]
    sites: Sequence[str]
    rows: Counter[str]
    spool: Spool
    minutes: dict[str, str]
    landed: dict[str, Counter[str]]
    failed: dict[str, Counter[str]]

    @property
    def missing(self) -> list[str]:
        """Return the accepted beacons that are nowhere."""
        return sorted(one for one in self.accepted if not self.rows[one])

    @property
    def doubled(self) -> list[str]:
        """Return the beacons that stand twice, accepted or not."""
        return sorted(one for one, count in self.rows.items() if count > 1)


def each_accepted_once(end: End) -> list[str]:
    """Say which accepted beacons are not exactly one row."""
    return [f"missing: {len(end.missing)}"] * bool(end.missing) + [f"doubled: {len(end.doubled)}"] * bool(end.doubled)


def refused_are_nowhere(end: End) -> list[str]:
    """Say how many beacons that were answered 503 are stored all the same."""
    stored = sum(1 for one in end.refused if end.rows[one])
    return [f"stored, but answered 503: {stored}"] if stored else []


def ledger_is_exact(end: End) -> list[str]:
    """Say where the ledger does not balance, or differs from the tables, in a minute or day, by number or digest."""
    wrong = []
    for site in end.sites:
        found = end.spool.ledger(site)
        if found.waiting:
            wrong.append(f"ledger: {site}: {found.waiting} wait still")
        for width, buckets in ((12, found.minutes), (8, found.days)):
            expected = _expected(end, site, width)
            wrong += [
                f"ledger: {site} {bucket}: {buckets.get(bucket)}, not {expected.get(bucket)}"
                for bucket in sorted(buckets.keys() | expected.keys())
                if buckets.get(bucket, Totals()) != expected.get(bucket, Totals())
            ]
    return wrong


# A tracker that sends again needs one more rule here: each beacon with a client id that it was told is stored, once.
ENDS: tuple[Callable[[End], list[str]], ...] = (each_accepted_once, refused_are_nowhere, ledger_is_exact)


def _expected(end: End, site: str, width: int) -> dict[str, Totals]:
    """Return what the ledger must say, by what stands in the tables."""
    numbers: Counter[str] = Counter()
    for kind, ids in (("s", end.landed[site]), ("f", end.failed[site])):
        for eid, count in ids.items():
            bucket = end.minutes[eid][:width]
            for name in (kind, "a"):
                numbers[bucket + name] += count
                numbers[bucket + name + "d"] += count * records.digest(eid)
    return ledger.totals(numbers, width)


def eid_of_failed(row: dict[str, Any]) -> str:
    """Return the event id in a row of the failed table."""
    return str(row.get("eid") or orjson.loads(row["raw"])["eid"])


def _hash(flat: list[bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in zip(flat[::2], flat[1::2], strict=True)}


def _in_flight(fields: dict[str, str]) -> int:
    """Return how many accepted records have come to no end yet, by a site's ledger of days."""
    days = [(name[8:], int(value)) for name, value in fields.items() if name[:8].isdigit()]
    return sum(value for kind, value in days if kind == "a") - sum(value for kind, value in days if kind in ENDED)
