"""`oceanus bench drain`: one r2bq, from Redis to a null writer, and to a local BigQuery beside Google's bare client.

r2bq is the process that runs in production, unchanged; the null writer takes its batches in a process of its own. What
the bare client sends is made beforehand: of the same records, as many bytes at a time as r2bq may send.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import median
from typing import Any

import httpx

from management.bench import beacons
from management.bench.local import Local
from management.bench.rig import Rig
from management.bench.watch import Drained, watch
from oceanus import settings, sites
from oceanus.settings import R2bqSettings
from oceanus.spool import Spool, connect

NULL_SITE, LOCAL_SITE = "bizpow", "bizocean"  # of the sample; each has a ledger of its own
TOLD = "the shipped redis.conf (appendfsync always), the ledger on; r2bq as in production, one process"
ANSWER_SECONDS = 30.0

Tell = Callable[[str, int, int], object]  # what is under way, how many rows of it are done, and of how many


@dataclass(frozen=True, slots=True)
class Pair:
    """A turn of r2bq into the local BigQuery, and the bare client's rows a second there."""

    r2bq: Drained
    bare_rows_per_second: float

    @property
    def ratio(self) -> float:
        """Return r2bq's rows a second by the bare client's."""
        return self.r2bq.rows_per_second / self.bare_rows_per_second


@dataclass(frozen=True, slots=True)
class Found:
    """All turns; `differences` is empty if each row landed once, by the ledger, the null writer and the audit."""

    rows: int
    null: Sequence[Drained]
    pairs: Sequence[Pair]
    differences: Sequence[str]

    def report(self) -> dict[str, Any]:
        """Return all numbers; those at the top are the medians of the turns, the ratio that of the pairs' ratios."""
        bare = [pair.bare_rows_per_second for pair in self.pairs]
        return {
            "redis": TOLD,
            "rows": self.rows,
            "landed_once": not self.differences,
            "differences": list(self.differences),
            **_medians("null", self.null),
            **_medians("local", [pair.r2bq for pair in self.pairs]),
            "rows_per_second_bare": median(bare) if bare else None,
            "ratio_local": median(pair.ratio for pair in self.pairs) if self.pairs else None,
            "null": [asdict(one) for one in self.null],
            "pairs": [asdict(pair) | {"ratio": pair.ratio} for pair in self.pairs],
        }


class Bench:
    """A Redis, and turns of what empties it."""

    def __init__(self, rig: Rig, tell: Tell) -> None:
        self._rig = rig
        self._tell = tell
        self._redis = rig.redis()
        self._spool = Spool(connect(self._redis, ANSWER_SECONDS))
        self._sites = sites.load(rig.environ["SITES_FILE"])

    def run(self, rows: int, turns: int, pairs: int) -> Found:
        """Drain `rows` records into the null writer in each of `turns`, and into the local BigQuery in each pair."""
        null, lost = self._into_null(rows, turns) if turns else ([], [])
        found, differences = self._into_local(rows, pairs) if pairs else ([], [])
        return Found(rows, null, found, [*lost, *differences])

    def _into_null(self, rows: int, turns: int) -> tuple[list[Drained], list[str]]:
        where = self._rig.null()
        found = [self._drain(NULL_SITE, rows, where, "into the null writer") for _ in range(turns)]
        taken = httpx.get(f"{where['BIGQUERY_EMULATOR_HOST']}/rows", trust_env=False).json()["rows"]
        whole = self._spool.ledger(NULL_SITE).whole
        if taken == whole.settled == whole.accepted == rows * turns and whole.is_ended:
            return found, []
        told = f"{whole.accepted} accepted, {whole.settled} settled, {taken} taken"
        return found, [f"the null writer: {rows * turns} pushed, {told}"]

    def _into_local(self, rows: int, pairs: int) -> tuple[list[Pair], list[str]]:
        local = Local(self._rig.bigquery(), self._sites[LOCAL_SITE])
        found = [self._pair(local, rows, is_bare_first=bool(number % 2)) for number in range(pairs)]
        return found, local.differences(self._spool, rows * pairs)

    def _pair(self, local: Local, rows: int, is_bare_first: bool) -> Pair:
        max_bytes = settings.read(R2bqSettings, self._rig.environ | dict(local.where)).append_bytes
        pushes = beacons.pushes(self._sites[LOCAL_SITE], rows, _now_us())
        requests = local.requests((text for push in pushes for text in push.records), max_bytes)
        bare = self._bare(local, requests, rows) if is_bare_first else 0.0
        r2bq = self._drain(LOCAL_SITE, rows, local.where, "into the local BigQuery")
        return Pair(r2bq, bare or self._bare(local, requests, rows))

    def _bare(self, local: Local, requests: Iterable[Any], rows: int) -> float:
        begun, done = time.monotonic(), 0
        for count in local.append(requests):
            done += count
            self._tell("the bare client", done, rows)
        return rows / (time.monotonic() - begun)

    def _drain(self, site: str, rows: int, where: Mapping[str, str], words: str) -> Drained:
        """Fill the queue, and watch a new r2bq empty it."""
        done = 0

        def tell(count: int) -> None:
            nonlocal done
            done += count
            self._tell("filling Redis", done, rows)

        asyncio.run(beacons.push(self._redis, beacons.pushes(self._sites[site], rows, _now_us()), tell))
        process = self._rig.r2bq(where)
        try:
            return watch(self._spool, site, process, lambda waiting: self._tell(words, rows - waiting, rows))
        finally:
            self._rig.stop(process)


def _medians(what: str, turns: Sequence[Drained]) -> dict[str, float | None]:
    return {
        f"{one.name}_{what}": median(getattr(turn, one.name) for turn in turns) if turns else None
        for one in fields(Drained)
    }


def _now_us() -> int:
    return time.time_ns() // 1000
