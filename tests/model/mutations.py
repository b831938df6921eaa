"""The mutations: each takes one protection out of the product's own code, and must make runs come out bad.

Left out: fsync (the Redis of these runs keeps nothing on disk; tests/e2e kills a real one), and that an offset taken on
a first try is not trusted: no run ever meets one (rule 3 would be broken), it guards against what is not simulated
here, such as a Redis restored from an old disk; tests/r2bq has its test.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from oceanus import scripts
from oceanus.errors import ClaimChangedError, RowsRefusedError, SpoolRefusedError, WarehouseUnclearError
from oceanus.ledger import Count
from oceanus.pushes import Numbered
from oceanus.spool import Claim, Holder, Pusher, Spool, new_id
from oceanus.tables import Table
from r2bq.batches import BACK, Batch
from r2bq.drain import Drain
from tests.model.bigquery import Line
from tests.model.network import USUAL, Faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One protection taken away: `changes` of a script's text, or a part of the product that does without it.

    `runs` is how many runs are made: some protections are needed rarely, or only under `faults` of their own.
    """

    name: str
    changes: dict[str, dict[str, str]] = field(default_factory=dict)
    pusher: type[Pusher] = Pusher
    spool: type[Spool] = Spool
    drain: type[Drain] = Drain
    line: type[Line] = Line
    faults: Faults = USUAL
    runs: int = 30

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Change the scripts for a while; a fragment that is not there any more is a mistake of this table."""
        before = {name: getattr(scripts, name) for name in self.changes}
        try:
            for name, fragments in self.changes.items():
                setattr(scripts, name, _changed(name, before[name], fragments))
            yield
        finally:
            for name, text in before.items():
                setattr(scripts, name, text)


def _changed(name: str, text: str, fragments: dict[str, str]) -> str:
    for old, new in fragments.items():
        assert old in text, f"{name} has no {old!r} any more: say here how its protection is taken away now"
        text = text.replace(old, new)
    return text


# --------------------------------------------------------------------------------------------- parts without protection


class ForgetfulPusher(Pusher):
    """Sends every push under a new name: a repeat from the journal is not known again."""

    async def send(self, numbered: Sequence[Numbered], seconds: float) -> list[SpoolRefusedError | None]:
        return await super().send([Numbered(one.push, new_id("arms", 1), 1) for one in numbered], seconds)


class StubbornPusher(Pusher):
    """Keeps its name when something was not plainly stored: its late command meets a number given twice."""

    def renew(self) -> None:
        if not hasattr(self, "_producer"):
            super().renew()
        self._seq = {}


class MemorySpool(Spool):
    """Keeps the next offset of each stream in this process's memory, as if Redis did not keep it."""

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self._next: Counter[str] = Counter()
        self._held: dict[Holder, Claim] = {}

    def claim(self, holder: Holder, rows: int, max_bytes: int, *, whole: bool = True) -> Claim:
        return self._remembered(holder, super().claim(holder, rows, max_bytes, whole=whole))

    def adopt(self, holder: Holder) -> Claim | None:
        claim = super().adopt(holder)
        return None if claim is None else self._remembered(holder, claim)

    def assign(self, holder: Holder, token: str, table: str, new_stream: str = "") -> tuple[str, int] | None:
        assigned = super().assign(holder, token, table, new_stream)
        if assigned is None:
            return None
        claim = self._remembered(holder, replace(self._held[holder], stream=assigned[0]))
        return claim.stream, claim.offset

    def settle(self, holder: Holder, token: str, counts: Sequence[Count]) -> None:
        super().settle(holder, token, counts)
        self._next[self._held[holder].stream] += self._held[holder].length

    def _remembered(self, holder: Holder, claim: Claim) -> Claim:
        self._held[holder] = replace(claim, offset=self._next[claim.stream])
        return self._held[holder]


class HastyDrain(Drain):
    """Takes an append without an answer for one that did not land, and writes its rows elsewhere."""

    def _append(self, holder: Holder, claim: Claim, table: Table, batch: Batch) -> None:
        try:
            super()._append(holder, claim, table, batch)
        except WarehouseUnclearError as exc:
            self._redis.sort(holder, claim.token, BACK * len(claim.rows), drop_stream=True)
            raise ClaimChangedError("written elsewhere") from exc


class TrustingDrain(Drain):
    """Takes BigQuery's refusal of some rows as the last word, though an earlier try may be under way still."""

    def _set_aside(self, holder: Holder, claim: Claim, batch: Batch, refusal: RowsRefusedError, first: bool) -> None:
        super()._set_aside(holder, claim, batch, refusal, True)


class OpenLine(Line):
    """Never closes a stream, and says that it is unknown: rows are only looked up."""

    def finalize(self, stream: str) -> int | None:
        return None


# ------------------------------------------------------------------------------------------------------------ the table

_OWNER = "if redis.call('HGET', KEYS[{}], 'owner') ~= ARGV[1] then return 'GONE' end\n"
_TOKEN = "if redis.call('HGET', KEYS[{}], 'token') ~= ARGV[2] then return 'RELOAD' end\n"

NONE = Mutation(name="none")
MUTATIONS = (
    Mutation(
        name="no-seq",
        changes={"PUSH": {"if seq <= last then return 'DUP' end": "", "if seq > last + 1 then": "if false then"}},
    ),
    Mutation(name="fresh-push-id", pusher=ForgetfulPusher),
    Mutation(name="same-producer", pusher=StubbornPusher),
    Mutation(
        name="no-settle-token",
        changes={
            "SETTLE": {
                _TOKEN.format(3): "if redis.call('HEXISTS', KEYS[3], 'table') == 0 then return 'OK' end\n",
                "if redis.call('HGET', KEYS[3], 'done') == ARGV[2] then return 'OK' end\n": "",
            }
        },
        faults=Faults(late=0.1),
    ),
    Mutation(
        name="no-owner",
        changes={
            "SETTLE": {_OWNER.format(3): ""},
            "ASSIGN": {_OWNER.format(3): ""},
            "SORT": {_OWNER.format(4): ""},
        },
        runs=120,
    ),
    Mutation(
        name="claim-adds",
        changes={"CLAIM": {"redis.call('HEXISTS', KEYS[4], 'n') == 0 and (is_empty or ARGV[4] == '0')": "true"}},
    ),
    Mutation(
        name="one-token",
        changes={
            "SORT": {"if kept > 0 then redis.call('HSET'": "if false then redis.call('HSET'"},
            "CLAIM": {"if moved > 0 then": "if moved > 0 and redis.call('HEXISTS', KEYS[4], 'token') == 0 then"},
        },
        faults=Faults(late=0.1),
    ),
    Mutation(name="offset-in-memory", spool=MemorySpool),
    Mutation(name="no-fence", line=OpenLine),
    Mutation(name="new-stream-on-doubt", drain=HastyDrain),
    Mutation(name="set-aside-in-doubt", drain=TrustingDrain, faults=Faults(strict=0.006, late=0.06)),
)
