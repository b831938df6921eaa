"""What the drain's tests share: a list in a real Redis, drains on it, and a BigQuery whose faults are scripted."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import orjson

from oceanus import records, sites
from oceanus.errors import (
    OffsetTakenError,
    RowsRefusedError,
    StreamGoneError,
    TableMissingError,
    WarehouseUnclearError,
)
from oceanus.spool import key, list_key
from oceanus.tables import Naming, Row, Table
from r2bq.drain import Drain
from r2bq.source import Source
from r2bq.standing import Warehouse

SAMPLE = sites.load(str(sites.SAMPLE))
PARTITIONED, DAILY = SAMPLE["bizocean"], SAMPLE["skj"]
NAMING = Naming("beacons")
DAY, NEXT_DAY = "2026-11-22 23:59:59.999999", "2026-11-23 00:00:00"
PLENTY = 3_000_000
COUNTED = ("queue", "later", "resends")
NOW_US = records.time_us(NEXT_DAY)


def record(number: int, dt: str = DAY, **fields: object) -> bytes:
    """Return a record as arms pushes it; its `url` is its number."""
    eid = records.mint(1_795_000_000_000_000 + number)
    beacon = {"oid": "2", "sid": "a", "rad": "127.0.0.1", "evt": "e", "url": str(number)}
    return records.encode({"v": 1, "eid": eid, "dt": dt} | beacon | fields)


@dataclass
class Stream:
    """A write stream of the BigQuery below."""

    path: str
    rows: int = 0
    finalised: bool = False


class OneBigQuery:
    """BigQuery as a drain sees it: catalog, queries and writer in one, each append whole or not at all.

    `faults` names for a call what its next calls do: raise an error, or "lost": done, but its answer is lost.
    """

    def __init__(self, *standing: Table) -> None:
        self.tables = {table.path: table for table in standing}
        self.rows: dict[str, list[Row]] = defaultdict(list)
        self.streams: dict[str, Stream] = {}
        self.faults: dict[str, list[Exception | str]] = defaultdict(list)
        self.appends: list[tuple[str, int, int]] = []
        self.refuses: Callable[[Row], str] = lambda row: ""
        self.meanwhile: dict[str, Callable[[], None]] = {}

    def find(self, path: str) -> Table | None:
        return self.tables.get(path)

    def create(self, table: Table) -> None:
        self.tables.setdefault(table.path, table)

    def alter(self, table: Table) -> None:
        self.tables[table.path] = table

    def create_stream(self, path: str) -> str:
        if path not in self.tables:
            raise TableMissingError(path)
        name = f"S{len(self.streams)}"
        self.streams[name] = Stream(path)
        return self._answer("create_stream", name)

    def write(self, table: Table, stream: str, offset: int, rows: Sequence[Row]) -> None:
        self._happens("before write")
        self.appends.append((stream, offset, len(rows)))
        if self.faults["write"] and isinstance(self.faults["write"][0], Exception):
            raise self.faults["write"].pop(0)
        found = self.streams.get(stream)
        if found is None or found.finalised or offset > found.rows:
            raise StreamGoneError(stream)
        if offset < found.rows:
            raise OffsetTakenError(f"{stream} {offset}")
        refused = {place: self.refuses(row) for place, row in enumerate(rows) if self.refuses(row)}
        if refused:
            raise RowsRefusedError(refused)
        self.rows[found.path] += rows
        found.rows += len(rows)
        self._happens("after write")
        self._answer("write", None)

    def finalize(self, stream: str) -> int | None:
        self._happens("finalize")
        if stream not in self.streams:
            return self._answer("finalize", None)
        self.streams[stream].finalised = True
        return self._answer("finalize", self.streams[stream].rows)

    def landed(self, path: str, name: str, ids: Sequence[str], first_us: int, last_us: int, timed: bool) -> set[str]:
        if path not in self.tables:
            raise TableMissingError(path)
        found = [row for row in self.rows[path] if row.get(name) in ids]
        return {row[name] for row in found if not timed or first_us <= row["dt"] <= last_us}

    def _happens(self, name: str) -> None:
        self.meanwhile.pop(name, lambda: None)()

    def _answer[T](self, name: str, answer: T) -> T:
        if self.faults[name] and self.faults[name].pop(0) == "lost":
            raise WarehouseUnclearError(f"{name}: no answer")
        return answer


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class KilledError(BaseException):
    """The process was killed here."""


class Fate:
    """What becomes of the n-th of all calls: not carried out, or carried out and its answer lost."""

    def __init__(self, fatal: int, carried_out: bool, error: dict[str, type[BaseException]]) -> None:
        self._left = fatal
        self._carried_out = carried_out
        self._error = error

    @property
    def is_fulfilled(self) -> bool:
        return self._left < 0

    def call(self, kind: str, sent: Callable[[], object]) -> object:
        """Carry out one call, or not."""
        self._left -= 1
        if self._left == -1 and not self._carried_out:
            raise self._error[kind]("not carried out")
        answer = sent()
        if self._left == -1:
            raise self._error[kind]("answer lost")
        return answer


class Fated:
    """Any part of a drain, of which one call meets its fate."""

    def __init__(self, part: object, kind: str, fate: Fate) -> None:
        self._part, self._kind, self._fate = part, kind, fate

    def __getattr__(self, name: str) -> object:
        part = getattr(self._part, name)
        return lambda *values, **named: self._fate.call(self._kind, lambda: part(*values, **named))


class Crossing:
    """A list of a site in a real Redis, and as many drains on it as a test wants."""

    def __init__(
        self, redis_client, site: sites.Site, bigquery, naming: Naming = NAMING, source: str = "queue"
    ) -> None:
        self.client = redis_client
        self.bigquery = bigquery
        self.clock = Clock()
        self.source = Source(site, source, naming)
        self.patience = ThreadPoolExecutor(4)
        self.now_us = NOW_US
        self._writers = 0

    def push(self, *texts: bytes, source: str = "") -> None:
        """Put records into the list, or another one, as accepted ones, the last the newest."""
        site = self.source.site.name
        self.client.lpush(key(site, source or self.source.list), *texts)
        for text in texts:
            with suppress(records.NotARecordError):
                found = records.decode(text)
                self.client.hincrby(key(site, "ledger"), f"{records.day(found['dt'])}a", 1)
                self.client.hincrby(key(site, "ledger"), f"{records.day(found['dt'])}ad", records.digest(found["eid"]))

    def drain(
        self, spool: object, bigquery: object | None = None, max_bytes: int = PLENTY, source: str = "", **named: object
    ) -> Drain:
        """Return one more drain, of the list that the crossing is of or of another one of its site."""
        parts = Warehouse(*[bigquery or self.bigquery] * 3) if isinstance(self.bigquery, OneBigQuery) else self.bigquery
        return Drain(
            Source(self.source.site, source, self.source.naming) if source else self.source,
            spool,
            parts,
            new_writer=self._name,
            patience=self.patience,
            max_bytes=max_bytes,
            clock=self.clock,
            now_us=lambda: self.now_us,
            **named,
        )

    def _name(self) -> str:
        self._writers += 1
        return f"w{self._writers}"

    def run(self, drain: Drain) -> None:
        """Step as long as something moves."""
        for _ in range(200):
            if not drain.step():
                return
        raise AssertionError("the drain goes round and round")

    def die(self, *writers: str) -> None:
        """Let writers show no sign of life any more."""
        self.client.delete(*(list_key(*self.place, f"lease:{one}") for one in writers))

    @property
    def place(self) -> tuple[str, str]:
        return self.source.site.name, self.source.list

    def urls(self) -> list[str]:
        """Return the number of each row, in all tables."""
        return sorted(row["url"] for rows in self.bigquery.rows.values() for row in rows)

    def left(self) -> dict[str, object]:
        """Return what is still in Redis: lists, writers, and what the ledger has in flight, by count and digest."""
        site = self.source.site.name
        ledger = Counter(
            {name.decode(): int(value) for name, value in self.client.hgetall(key(site, "ledger")).items()}
        )
        days = {name[:8] for name in ledger}
        ends = ("s", "f", "r")
        in_flight = [ledger[day + "a"] - sum(ledger[day + end] for end in ends) for day in days]
        digests = [ledger[day + "ad"] - sum(ledger[day + end + "d"] for end in ends) for day in days]
        return {
            "queue": [
                one for name in ("queue", "later", "resends") for one in self.client.lrange(key(site, name), 0, -1)
            ],
            "claims": [name.decode() for name in self.client.keys("*claim:*")],
            "failed": self.failed() if self.source.list == "queue" else [],
            "in_flight": (sum(in_flight), sum(map(abs, digests))),
        }

    def failed(self) -> list[dict[str, object]]:
        """Return the failed records, oldest first."""
        return [orjson.loads(text) for text in self.client.lrange(key(self.source.site.name, "failed"), 0, -1)[::-1]]


DRAINED = {"queue": [], "claims": [], "failed": [], "in_flight": (0, 0)}
