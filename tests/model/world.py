"""The world: a seed, two collectors and three drainers on a real Redis and a BigQuery in memory, and what befalls them.

The promise that is tried: an accepted beacon is one row, exactly one, whatever is killed. The same seed is the same
run, step by step, so that whatever fails can be looked at again (`--first N --runs 1 --tell`).
What cannot be tried here: that Redis and the journal keep what they have fsynced (tests/oceanus and tests/arms do that)
and BigQuery's own behaviour (tests/e2e).
"""

import logging
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import orjson

import r2bq.troubles
from oceanus import records, sites, spool
from oceanus.sites import Batch
from oceanus.tables import Naming, Row
from tests.conftest import RedisProcess
from tests.model.actors import ACTORS, Collector
from tests.model.bigquery import BigQuery
from tests.model.mutations import NONE, Mutation
from tests.model.network import CALM, Faults, Network
from tests.model.rules import ENDS, End, Rules, counted
from tests.model.scheduler import Process, Scheduler, StuckError
from tests.model.wire import Server

SAMPLE = sites.load(str(sites.SAMPLE))
SITES = tuple(replace(SAMPLE[name], batch=Batch(rows=8, seconds=0.5)) for name in ("bizocean", "skj"))
NAMING = Naming("beacons")
PROCESSES = ("arms", "arms", "r2bq", "r2bq", "r2bq")
BEGINS_US = 4_102_444_800_000_000 - 20_000_000  # 20 s before 2100, so that days change, and no journal is ever too old
TROUBLES = ("killed_anywhere", "stopped_anywhere", "told_to_stop", "away", "busy", "trouble", "strict", "streams_lost")
STEPS, CALM_STEPS = 5000, 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Beacon:
    """A beacon as arms has checked it; `source` is the list that it goes to, `is_named` that it may be sent again."""

    eid: str
    site: str
    fields: dict[str, str]
    is_named: bool
    source: str = "queue"
    received_us: int = 0
    dt: str = ""

    @property
    def text(self) -> bytes:
        """Return it as a record."""
        received = {"received": self.received_us} if self.is_named else {}
        return records.encode({"v": 1, "eid": self.eid, "dt": self.dt} | received | self.fields)


@dataclass(kw_only=True)
class Outcome:
    """How a run ended; `wrong` are sentences, none if the promise was kept."""

    seed: int
    accepted: int
    missing: int
    doubled: int
    tally: Counter[str]
    trace: str
    wrong: list[str] = field(default_factory=list)

    @property
    def shows(self) -> list[str]:
        """Return what is wrong with records or rules: by this a protection is missed, not by code that crashes."""
        return [one for one in self.wrong if not one.startswith(("stuck", "a surprise"))]


class World:
    """One run. `named` is the share of beacons that trackers have named, and send again for want of an answer.

    Such a beacon is judged when it is a minute old, so that a run with them takes twice as long.
    """

    def __init__(
        self,
        redis: RedisProcess,
        seed: int,
        *,
        mutation: Mutation = NONE,
        faults: Faults | None = None,
        named: float = 0.0,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.seed = seed
        self.named = named
        self.chance = Random(seed)
        self.mutation = mutation
        self.sites, self.naming = SITES, NAMING
        self.scheduler = Scheduler(self.chance)
        self.network = Network(self.scheduler, self.chance, faults or mutation.faults, tell)
        standing = [NAMING.failed, *(NAMING.table(site, "2100-01-01") for site in SITES if site.table.form != "daily")]
        self.bigquery = BigQuery(self.scheduler, standing, _is_refused)
        self._client = redis.client()
        self._client.flushall()
        self._rules = Rules(self.bigquery, [site.name for site in SITES])
        self.server = Server(self._client, self.scheduler, self._rules)
        self.folder = Path(tempfile.mkdtemp(prefix="journals-"))
        self.chunk_rows = self.chance.choice((3, 20, 500))
        self.max_bytes = self.chance.choice((1500, 6000, 3_000_000))
        self.beacons: dict[str, Beacon] = {}
        self.accepted: set[str] = set()
        self.refused: set[str] = set()
        self.unanswered: set[str] = set()
        self.to_send: list[Beacon] = []
        self.is_closing = False
        self._alive: list[tuple[Process, Any]] = []
        self._starts = 0

    # --- what the actors ask

    def now_us(self) -> int:
        """Return the time in microseconds since 1970."""
        return BEGINS_US + round(self.scheduler.now * 1e6)

    def beacon(self) -> Beacon:
        """Return a new beacon of one of the sites, now and then one of earlier minutes, or one that cannot be a row."""
        site = self.chance.choice(SITES).name
        is_named = self.chance.random() < self.named
        bits = f"{self.chance.getrandbits(128):032x}"
        eid = records.named(site, bits) if is_named else records.mint(self.now_us())[:-12] + bits[:12]
        fields = {"oid": "2", "sid": "a", "rad": "127.0.0.1", "evt": "e", "url": "good"}
        fields |= self.chance.choices(({}, {"sid": "b"}, {"url": "bad"}, {"jsn": "{"}), (0.88, 0.1, 0.01, 0.01))[0]
        beacon = Beacon(eid=eid, site=site, fields=fields, is_named=is_named)
        self.beacons[eid] = beacon
        return self._sent(beacon, self.chance.choice((0, 0, 0, 45_000_000)))

    def again(self) -> list[Beacon]:
        """Return the named beacons that are to be sent again now."""
        waiting, self.to_send = self.to_send, []
        return [self._sent(replace(beacon, source="resends"), 0) for beacon in waiting]

    def answered(self, beacon: Beacon, is_stored: bool) -> None:
        """Note the answer to a beacon: 2xx, or 503, after which a tracker that named it sends it again."""
        if is_stored:
            self.accepted.add(beacon.eid)
            self.unanswered.discard(beacon.eid)
        elif not beacon.is_named:
            self.refused.add(beacon.eid)

    def _sent(self, beacon: Beacon, earlier_us: int) -> Beacon:
        """Stamp a beacon that is sent now; its tracker looks in a while whether it has got its answer."""
        sent = replace(beacon, received_us=self.now_us(), dt=records.time_text(self.now_us() - earlier_us))
        if beacon.is_named:
            if beacon.eid not in self.accepted:
                self.unanswered.add(beacon.eid)
            self.scheduler.at(self.chance.uniform(1, 15), lambda: self._look_again(sent))
        return sent

    def _look_again(self, beacon: Beacon) -> None:
        """Send it again without an answer, which may still come; or with one that was lost on its way."""
        if beacon.eid in self.unanswered or (not self.is_closing and self.chance.random() < 0.1):
            self.network.tally["again"] += 1
            self.to_send.append(beacon)

    # --- the run

    def run(self) -> Outcome:
        """Run to the end, and say how it ended."""
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, self.folder)
            stack.callback(self._client.close)
            stack.enter_context(_silence())
            stack.enter_context(patched(spool, time=SimpleNamespace(monotonic=lambda: self.scheduler.now)))
            stack.enter_context(patched(spool, CHUNK_ROWS=self.chunk_rows))
            stack.enter_context(patched(r2bq.troubles, random=Random(self.seed)))
            stack.enter_context(self.mutation.applied())
            wrong = self._live()
            self._end_all()
            return self._judge(wrong)

    def _live(self) -> list[str]:
        for name in PROCESSES:
            self._start(name)
        try:
            while self.scheduler.steps < STEPS:
                self._trouble()
                self.scheduler.step()
            self._calm_down()
            while not self._is_quiet():
                if self.scheduler.steps > STEPS + CALM_STEPS:
                    return ["it does not come to rest"]
                self.scheduler.step()
        except StuckError as exc:
            return [f"stuck: {exc}"]
        return []

    def _start(self, name: str) -> None:
        self._starts += 1
        process = Process(f"{name}{self._starts}")
        actor = ACTORS[name](self, process)
        self._alive.append((process, actor))

        def run() -> None:
            try:
                actor.run()
            finally:
                self._restart_later(name, process)

        self.scheduler.start(process, run)

    def _restart_later(self, name: str, process: Process) -> None:
        """Start another soon, as an orchestrator does."""
        self._alive = [(one, actor) for one, actor in self._alive if one is not process]
        self.scheduler.at(self.chance.uniform(0.1, 2), lambda: self._start(name))

    def _trouble(self) -> None:
        """Let something befall somebody, by the faults' chances."""
        for name in TROUBLES:
            if self.chance.random() < getattr(self.network.faults, name) and self._alive:
                process, _ = self.chance.choice(self._alive)
                self.network.tally[name] += 1
                self.network.note(f"{process.name} {name}")
                self._befall(name, process, self.scheduler.now + self.chance.uniform(0.5, 8))

    def _befall(self, name: str, process: Process, until: float) -> None:
        bigquery = self.bigquery
        match name:
            case "killed_anywhere":
                process.is_dead = True
            case "stopped_anywhere":
                process.stopped_until = until
            case "told_to_stop":
                process.is_told_to_stop = True
            case "away":
                self.network.redis_away_until = until
            case "busy":
                bigquery.busy_until = until
            case "trouble":
                bigquery.trouble_until[self.chance.choice(sorted(bigquery.tables))] = until
            case "strict":
                bigquery.strict_until = until
            case "streams_lost":
                bigquery.streams.clear()

    def _calm_down(self) -> None:
        """Let no more go wrong, and nobody send a beacon, so that all comes to its end."""
        self.network.faults = CALM
        self.network.redis_away_until = self.bigquery.busy_until = self.bigquery.strict_until = 0.0
        self.bigquery.trouble_until.clear()
        self.is_closing = True

    def _is_quiet(self) -> bool:
        """Say whether nothing is under way any more, in the journals, in Redis or on the network."""
        if self.scheduler.steps % 20 or self.network.under_way or len(self._alive) < len(PROCESSES):
            return False
        if self.unanswered or self.to_send:
            return False
        journals = [actor.journal for _, actor in self._alive if isinstance(actor, Collector)]
        if any(one.records for one in journals) or len(list(self.folder.iterdir())) > len(journals):
            return False
        names = {key.decode() for key in self._client.keys("*")}
        lists = tuple(f":{name}" for name in spool.LISTS)
        return not any(name.endswith(lists) or ":claim:" in name for name in names)

    def _end_all(self) -> None:
        for process, _ in self._alive:
            process.is_dead = True
        self.scheduler.bury()

    # --- the judgement

    def _judge(self, wrong: list[str]) -> Outcome:
        landed: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        failed: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        for path, rows in self.bigquery.rows.items():
            is_failed = path == NAMING.failed.path
            for one in rows:
                row = orjson.loads(one["raw"]) if is_failed else one
                dt = row["dt"] if isinstance(row["dt"], str) else records.time_text(row["dt"])
                place = (failed if is_failed else landed)[self.beacons[row["eid"]].site]
                place[records.minute(dt), row["eid"]] += 1
        end = End(
            accepted=self.accepted,
            refused=self.refused,
            unanswered=self.unanswered,
            landed=landed,
            failed=failed,
            ledger={site.name: counted(self._client, site.name) for site in SITES},
        )
        return Outcome(
            seed=self.seed,
            accepted=len(self.accepted),
            missing=len(end.missing),
            doubled=len(end.doubled),
            tally=self.network.tally,
            trace=self.network.trace,
            wrong=[
                *wrong,
                *(f"a surprise ended a process: {one}" for one in self.scheduler.surprises),
                *(sentence for rule in ENDS for sentence in rule(end)),
                *self._rules.broken,
                *self.bigquery.broken,
            ],
        )


@contextmanager
def patched(module: object, **values: object) -> Iterator[None]:
    """Give names of a module other values for a while; names that it does not have are a mistake."""
    before = {name: getattr(module, name) for name in values}
    for name, value in values.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


@contextmanager
def _silence() -> Iterator[None]:
    """Let nobody write a log: a run has thousands of troubles, and each is meant."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _is_refused(row: Row) -> bool:
    """Say whether BigQuery will not take a row."""
    return row.get("url") == "bad"
