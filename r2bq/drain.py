"""The drain of one list of one site: claim, sort, assign, write, settle; and adopt what a dead writer left.

Everything that matters is in Redis before it is done in BigQuery, so that a step may end anywhere, by an error or by
SIGKILL, and the next step (of this writer or of one that adopts it) goes on from there. The rules:

1. One claim is one table is one append. Stream and offset are stored, on disk, before the append is sent.
2. An unclear answer is repeated at the same offset; then `ALREADY_EXISTS` means that it had landed.
3. Rows may go to another stream only after the old one is finalised, which also tells how many rows it took.
4. Every script looks at owner and token: a command that comes late, from a writer that was adopted, changes nothing.
5. Rows whose table is in trouble step aside, into the list `later`, where the site has other tables; those that a newer
   release wrote do so always.
"""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace

from oceanus import ledger, records, spool
from oceanus.errors import (
    ClaimChangedError,
    NotOurTurnError,
    OffsetTakenError,
    RowsRefusedError,
    SpoolError,
    SpoolUnclearError,
    StreamGoneError,
    TableMissingError,
    TableTroubleError,
    WarehouseError,
    WriterGoneError,
)
from oceanus.records import Record
from oceanus.spool import Claim, Holder, Spool
from oceanus.tables import Table
from r2bq import batches, fence, metrics, refusals, resends
from r2bq.batches import ASIDE, BACK, FAILED, KEEP, LANDED, REPEATED, TRIED, Batch
from r2bq.patience import BEAT_SECONDS, Patience
from r2bq.source import Source
from r2bq.standing import Warehouse
from r2bq.troubles import ANYTHING, MISSING_SECONDS, MOST_SECONDS, Troubles

log = logging.getLogger(__name__)

PASSED_SECONDS = 60.0
ENOUGH = 0.9  # of an append's bytes: no more is claimed to fill it
PATIENT = 20  # troubles in a row: about a quarter of an hour
SUSPECT, FATAL = 3, 5  # writers that died with a row: from then on it is written alone; it is set aside
IDLE_SECONDS = 86_400.0  # BigQuery forgets a stream after three days without traffic
REST_SECONDS = 1.0
TELL_SECONDS = 60.0  # between two lines about records of a newer release

Known = Callable[[Source, Warehouse, Sequence[Record], int], set[str]]


class Drain:
    """One writer on one list. `step` moves one batch; `waits_until` is when to call it again after trouble.

    `verify`: look records up in their table before they are written, as after the restore of an older Redis.
    `elsewhere`: the other Redis, in which the first try of a resend may lie.
    """

    def __init__(
        self,
        source: Source,
        redis: Spool,
        warehouse: Warehouse,
        *,
        new_writer: Callable[[], str],
        patience: Executor,
        max_bytes: int,
        verify: bool = False,
        elsewhere: Sequence[Spool] = (),
        clock: Callable[[], float] = time.monotonic,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.source = source
        self.waits_until = 0.0
        self.holder: Holder | None = None
        self._held_at: float | None = None
        self._redis = redis
        self._elsewhere = tuple(elsewhere)
        self._warehouse = warehouse
        self._new_writer = new_writer
        self._bigquery = Patience(patience, self._beat)
        self._beats_at = 0.0
        self._adopted: Holder | None = None
        self._max_bytes = max_bytes
        self._verify = verify and source.list != "resends"  # which are looked up in any case
        self._clock = clock
        self._now_us = now_us
        self._troubles = Troubles(clock)
        self._adopts_from = self._tells_newer_at = 0.0
        self._passed: dict[str, float] = {}
        self._used: dict[str, float] = {}
        self._tables: dict[str, Table] = {}
        self._path, self._comes_round = ANYTHING, False

    @property
    def place(self) -> tuple[str, str]:
        """Return site and list, as the spool takes them."""
        return self.source.site.name, self.source.list

    @property
    def holds(self) -> bool:
        """Say whether a claim is in hand, or may be."""
        return self._held_at is not None

    @holds.setter
    def holds(self, value: bool) -> None:
        self._held_at = (self._held_at or self._clock()) if value else None

    @property
    def held_seconds(self) -> float | None:
        """Return for how long a claim has been in hand; None if there is none."""
        since = self._held_at
        return None if since is None else self._clock() - since

    def step(self) -> bool:
        """Move one batch on; return whether something was moved. Trouble is logged, and sets `waits_until`."""
        self._path, self._comes_round = ANYTHING, False
        try:
            moved = self._move()
        except WriterGoneError as exc:
            self.gone(str(exc))
            return True
        except NotOurTurnError:
            self.holds = False
            return self._rest()
        except ClaimChangedError as exc:
            log.info("%s: %s; loading it again", self.source, exc)
            return True
        except TableTroubleError as exc:
            return self._step_aside(exc)
        except (SpoolError, WarehouseError) as exc:
            return self._back_off(exc)
        if moved:
            self._troubles.over()
        return moved

    def gone(self, why: str) -> None:
        """Drop everything in memory: another writer owns the claim now."""
        log.warning("%s: %s; starting anew under another name", self.source, why)
        self.holder, self.holds = None, False

    def release(self) -> None:
        """Hand back what is not assigned, and take leave; what is assigned is left to whoever adopts it."""
        if self.holder is None:
            return
        try:
            claim = self._redis.claim(self.holder, 0, 0)
            if claim.stream:
                return
            if claim.rows:
                self._redis.sort(self.holder, claim.token, BACK * len(claim.rows))
            self._redis.forget(self.holder)
        except SpoolError as exc:
            log.warning("%s: left to be adopted: %s", self.source, exc)

    def adopt(self, dead: str) -> None:
        """Take over the claim of a writer whose lease has lapsed, bring it to an end, and forget that writer."""
        if self._clock() < self._adopts_from:
            return
        try:
            self._adopt(dead)
        except (SpoolError, WarehouseError) as exc:
            log.warning("%s: adopting %s waits: %s", self.source, dead, exc)

    # --- one batch

    def _move(self) -> bool:
        holder = self._register()
        self.holds = True  # until an answer shows that it does not: a claim whose answer is lost is a claim
        claim = self._fill(holder)
        self.holds = bool(claim.rows)
        if not claim.rows:
            return False
        if claim.stream:
            return self._resume(holder, claim)
        if self._verify or self.source.list == "resends":
            claim = self._not_landed(holder, claim)
        if not claim.rows:
            return self._moved_on()
        claim = self._without_suspects(holder, claim)
        claim, batch = self._of_one_table(holder, claim)
        if batch is None:
            return self._moved_on()
        stream, offset = self._assign(holder, claim.token, batch)
        assigned = replace(claim, table=batch.table.path, stream=stream, offset=offset)
        if self._clock() - self._used[stream] > IDLE_SECONDS:
            self._recover(holder, assigned)
            return True
        return self._write(holder, assigned, batch, first=True)

    def _resume(self, holder: Holder, claim: Claim) -> bool:
        """Go on with a claim that was assigned before: it may have been written already."""
        batch = self._complete(claim)
        if not batch.is_whole:  # sites.yaml has changed since: learn first whether it landed
            self._recover(holder, claim)
            return True
        return self._write(holder, claim, batch, first=False)

    def _write(self, holder: Holder, claim: Claim, batch: Batch, first: bool) -> bool:
        table = replace(batch.table, path=claim.table)
        self._path = claim.table
        begun = self._clock()
        try:
            self._append(claim, table, batch)
        except OffsetTakenError as exc:
            if first:
                log.warning("%s: %s on a first try: not ours", self.source, exc)
                self._recover(holder, claim, trust_count=False)
                return True
        except StreamGoneError as exc:
            log.warning("%s: %s", self.source, exc)
            self._recover(holder, claim)
            return True
        except RowsRefusedError as exc:
            self._set_aside(holder, claim, batch, exc, first)
            return True
        except TableTroubleError:
            self._bigquery.ask(self._warehouse.lacking, table)  # another way of saying: no such column
            raise
        self._settle(holder, claim, batch)
        log.info("%s: %d rows to %s in %.3f s", self.source, len(batch.rows), claim.table, self._clock() - begun)
        return True

    def _append(self, claim: Claim, table: Table, batch: Batch) -> None:
        with metrics.APPEND_SECONDS.time():
            self._bigquery.ask(self._warehouse.writer.write, table, claim.stream, claim.offset, batch.rows)

    def _settle(self, holder: Holder, claim: Claim, batch: Batch) -> None:
        self._redis.settle(holder, claim.token, batch.settled)
        self.holds = False
        self._passed[claim.table] = self._used[claim.stream] = self._clock()
        self._troubles.over(claim.table)
        size = sum(map(len, claim.rows))
        metrics.written(self.source.site.name, self.source.list, batch.received_us, size, self._now_us())

    def _set_aside(self, holder: Holder, claim: Claim, batch: Batch, refusal: RowsRefusedError, first: bool) -> None:
        """Move the rows that BigQuery named to the failed records; the others stay assigned, to the same offset.

        After an unclear try the stream is closed first: that try could still land, with the named rows.
        """
        total, bad = len(batch.rows), refusal.reasons
        passes = self._clock() - self._passed.get(claim.table, -PASSED_SECONDS) < PASSED_SECONDS
        flags = refusals.flags(total, set(bad), passes=passes, times=self._troubles.times(claim.table))
        lacking = self._bigquery.ask(self._warehouse.lacking, replace(batch.table, path=claim.table))
        if flags is None or lacking or self.source.list == "failed":
            reason = f"the table lacks {', '.join(lacking)}" if lacking else str(refusal)
            raise TableTroubleError(f"{claim.table} refuses {len(bad)} of {total} rows: {reason}; nothing is dropped")
        if not first:
            self._recover(holder, claim)
            return
        marked = [place for place, flag in enumerate(flags) if flag == FAILED]
        found = {place: records.decode(claim.rows[place], self.source.key) for place in marked}
        failed = [self._refused(claim.rows[place], one, bad[place]) for place, one in found.items()]
        counted = self._counts(ledger.FAILED, list(found.values()))
        self._redis.sort(holder, claim.token, flags, failed=failed, counts=counted)
        metrics.FAILED.labels(self.source.site.name, "refused").inc(len(marked))
        log.warning("%s: %d of %d rows refused: %s", self.source, len(bad), total, refusal)

    def _refused(self, raw: bytes, record: Record, reason: str) -> bytes:
        return batches.refused(self.source.site.name, raw, record, reason, self._now_us()).encode()

    def _counts(self, kind: str, counted: list[Record]) -> list[ledger.Count]:
        return ledger.counts(kind, counted) if self.source.is_counted else []

    # --- claim and assignment

    def _register(self) -> Holder:
        if self.holder is None:
            writer = self._new_writer()
            fresh = Holder(*self.place, writer, writer)
            self._redis.register(fresh)
            self.holder = fresh
            self._beats_at = self._clock() + BEAT_SECONDS
        if self._clock() >= self._beats_at:  # a drain that is always busy has nobody else to do it
            self._beat()
        return self.holder

    def _beat(self) -> None:
        """Give a sign of life, for our own claim and for the one that we have adopted."""
        self._beats_at = self._clock() + BEAT_SECONDS
        for holder in (self.holder, self._adopted):
            if holder is not None:
                self._redis.beat(holder)

    def _fill(self, holder: Holder) -> Claim:
        """Claim all that waits, up to one append's bytes: more and more as the backlog grows."""
        claim = self._redis.claim(holder, spool.FIRST_ROWS, self._max_bytes)
        size = sum(map(len, claim.rows))
        while claim.waiting and not claim.stream and size < self._max_bytes * ENOUGH:
            more = self._redis.claim(holder, spool.CHUNK_ROWS, self._max_bytes - size, whole=False)
            if not more.moved:
                break
            size += sum(map(len, more.rows))
            claim = replace(more, rows=more.rows + claim.rows, tries=max(claim.tries, more.tries))
        if len(claim.rows) != claim.length:
            raise ClaimChangedError("a claim of ours came late")
        return claim

    def _without_suspects(self, holder: Holder, claim: Claim) -> Claim:
        """Return the claim, or its oldest row alone where writers have died with rows of it."""
        if claim.tries < SUSPECT or len(claim.rows) == 1:
            return claim
        log.error("%s: writers have died with these rows; they are written one by one", self.source)
        self._redis.sort(holder, claim.token, BACK * (len(claim.rows) - 1) + KEEP)
        return self._redis.claim(holder, 0, 0)

    def _of_one_table(self, holder: Holder, claim: Claim) -> tuple[Claim, Batch | None]:
        """Sort a claim until all its rows go to one table; None: nothing is left of it."""
        while not (batch := self._complete(claim)).is_whole:
            self._sort(holder, claim, batch)
            claim = self._redis.claim(holder, 0, 0)  # as it is: filled up, it would take again what just went back
            if not claim.rows:
                return claim, None
        if claim.tries >= FATAL and self.source.is_counted:
            reason = f"r2bq: {claim.tries} writers have ended while they wrote it"
            found = records.decode(claim.rows[0], self.source.key)
            failed = [self._refused(claim.rows[0], found, reason)]
            counted = self._counts(ledger.FAILED, [found])
            self._redis.sort(holder, claim.token, FAILED, failed=failed, counts=counted)
            metrics.FAILED.labels(self.source.site.name, "deadly").inc()
            log.error("%s: a record is set aside: %s", self.source, reason)
            return claim, None
        return claim, batch

    def _complete(self, claim: Claim) -> Batch:
        """Read a claim; where records have members that sites.yaml does not declare, by the table as it stands.

        So a field that was removed from sites.yaml still lands in its column, and one that only a newer arms knows
        waits until table_manager has made its column; if that has not come in a quarter of an hour, its records are set
        aside whole, so that they do not hold up the others for ever.
        """
        batch = self._read(claim)
        self._path = claim.table or batch.table.path
        if not batch.undeclared:
            return batch
        wide = self._bigquery.ask(self._warehouse.widened, batch.table, self._path)
        self._tables[batch.table.path] = wide
        batch = self._read(claim)
        if batch.undeclared:
            lacking = ", ".join(sorted(batch.undeclared))
            raise TableTroubleError(f"{self._path} has no column {lacking} yet; nothing is dropped")
        return batch

    def _read(self, claim: Claim) -> Batch:
        batch = batches.read(
            claim.rows,
            self.source.site.name,
            self._table,
            self.source.key,
            self._max_bytes,
            self._now_us(),
            strict=lambda path: self.source.list == "failed" or self._troubles.times(path) >= PATIENT,
            aside=lambda path: self.source.steps_aside and not claim.stream and self._troubles.waits(path),
            newer=ASIDE if self.source.is_written_freely else BACK,
        )
        if batch is None:
            raise ClaimChangedError("the claim is empty")
        return batch

    def _table(self, record: Record) -> Table:
        path = self.source.path(record)
        return self._tables.get(path) or self._tables.setdefault(path, self.source.table(record))

    def _sort(self, holder: Holder, claim: Claim, batch: Batch) -> None:
        counted = batch.counts if self.source.is_counted else []
        failed = [one.encode() for one in batch.failed]
        self._redis.sort(holder, claim.token, batch.flags, failed=failed, counts=counted)
        metrics.ASIDE.labels(self.source.site.name).inc(batch.flags.count(ASIDE))
        self._comes_round |= BACK in batch.flags and bool(batch.newer)
        if batch.newer and self._clock() >= self._tells_newer_at:
            self._tells_newer_at = self._clock() + TELL_SECONDS
            log.error("%s: a record %s: it waits for a newer r2bq", self.source, batch.newer)
        if failed:
            metrics.FAILED.labels(self.source.site.name, "unreadable").inc(len(failed))
            log.warning("%s: %d are no records: %s", self.source, len(failed), batch.failed[0].reason)

    def _assign(self, holder: Holder, token: str, batch: Batch) -> tuple[str, int]:
        path = batch.table.path
        assigned = self._redis.assign(holder, token, path)
        if assigned is None:
            stream = self._bigquery.ask(self._warehouse.create_stream, batch.table)
            assigned = self._redis.assign(holder, token, path, stream)
        if assigned is None:
            raise ClaimChangedError(f"no stream for {path}")
        self._used.setdefault(assigned[0], self._clock())
        return assigned

    # --- what may be in its table already

    def _not_landed(self, holder: Holder, claim: Claim) -> Claim:
        """Take out of a claim what stands in a table already; of resends also what cannot be judged yet."""
        if self._verify:
            return self._without(holder, claim, resends.landed, LANDED, ledger.SETTLED)
        waiting = self._on_the_way()
        flags = resends.judgeable(fence.decoded(claim.rows, self.source.key), waiting, self._now_us())
        if BACK in flags:
            claim = self._sorted(holder, claim, flags)
        return self._without(holder, claim, resends.known, REPEATED, ledger.REPEATED)

    def _on_the_way(self) -> set[str] | None:
        """Return what is on its way to a table in any Redis; None where that is not known.

        In another one, resends that are being judged there, too: of two that hold the same beacon, each is claimed
        before it looks, so that one of them sees the other and waits.
        """
        site = self.source.site.name
        found = [self._redis.on_the_way(site)]
        for redis in self._elsewhere:
            self._beat()  # each may take its time
            found.append(redis.on_the_way(site, judged=True))
        known = [ids for ids in found if ids is not None]
        return set().union(*known) if len(known) == len(found) else None

    def _without(self, holder: Holder, claim: Claim, known: Known, flag: str, kind: str) -> Claim:
        """Take the records that are known out of a claim, and count them as `kind`."""
        found = fence.decoded(claim.rows, self.source.key)
        asked = [one for one in found if one]
        there = self._bigquery.ask(known, self.source, self._warehouse, asked, self._now_us()) if asked else set()
        places = resends.repeated(found, there, self.source.key)
        if not places:
            return claim
        counted = self._counts(kind, [one for place, one in enumerate(found) if one and place in places])
        metrics.REPEATED.labels(self.source.site.name).inc(len(places))
        log.info("%s: %d of %d were there already", self.source, len(places), len(found))
        return self._sorted(holder, claim, batches.flags_of(len(found), places, flag, KEEP), counted)

    def _sorted(self, holder: Holder, claim: Claim, flags: str, counts: Sequence[ledger.Count] = ()) -> Claim:
        """Sort a claim and return what is left of it."""
        self._redis.sort(holder, claim.token, flags, counts=counts)
        left = self._redis.claim(holder, 0, 0)
        self.holds = bool(left.rows)
        return left

    # --- recovery

    def _adopt(self, dead: str) -> None:
        left = replace(self._register(), writer=dead)
        claim = self._redis.adopt(left)
        if claim is not None and claim.rows:
            self._adopted = left
            try:
                self._recover(left, claim, back=TRIED if claim.stream else BACK)
            finally:
                self._adopted = None
            log.warning("%s: adopted %s with %d records", self.source, dead, len(claim.rows))
        self._redis.forget(left)

    def _recover(self, holder: Holder, claim: Claim, trust_count: bool = True, back: str = BACK) -> None:
        """Sort a claim, ours or adopted, into what has landed and what goes back to the list, behind a fence."""
        places: set[int] = set()
        if claim.stream:
            places = self._bigquery.ask(fence.landed, claim, self.source, self._warehouse, trust_count=trust_count)
        self._redis.beat(holder)
        flags = batches.flags_of(len(claim.rows), places, LANDED, back)
        counted = self._counts(ledger.SETTLED, fence.readable(claim, places, self.source.key))
        self._redis.sort(holder, claim.token, flags, counts=counted, drop_stream=True)
        self._used.pop(claim.stream, None)
        metrics.RECOVERED.labels(self.source.site.name).inc(len(claim.rows))
        log.warning(
            "%s: recovered a claim: %d landed, %d back", self.source, len(places), len(claim.rows) - len(places)
        )

    # --- trouble

    def _moved_on(self) -> bool:
        """Go on at once; but a second later where rows come round again that cannot be written yet."""
        self.holds = False
        return self._rest() if self._comes_round or self.source.list in ("later", "resends") else True

    def _rest(self) -> bool:
        self.waits_until = self._clock() + REST_SECONDS
        return False

    def _step_aside(self, error: TableTroubleError) -> bool:
        """Let the rows of a table in trouble step aside for those of other tables; where there are none, wait."""
        if not self.source.steps_aside or self.holder is None:
            return self._back_off(error)
        path = self._path
        try:
            claim = self._redis.claim(self.holder, 0, 0)
            if claim.stream:
                self._recover(self.holder, claim, back=ASIDE)
        except (SpoolError, WarehouseError) as exc:
            return self._back_off(exc)
        seconds = self._troubles.again(path)
        metrics.TROUBLES.labels(self.source.site.name, type(error).__name__.removesuffix("Error")).inc()
        log.error(
            "%s: %s is left alone for %.1f s, others go on, nothing is lost: %s", self.source, path, seconds, error
        )
        return True

    def _back_off(self, error: Exception) -> bool:
        """Wait longer each time, with jitter, up to a minute; the claim keeps the records."""
        most_seconds = MISSING_SECONDS if isinstance(error, TableMissingError) else MOST_SECONDS
        if isinstance(error, TableTroubleError):
            self._troubles.again(self._path, most_seconds)
        seconds = self._troubles.again(most_seconds=most_seconds)
        self.waits_until = self._clock() + seconds
        if isinstance(error, SpoolUnclearError):
            self._adopts_from = self._clock() + spool.LEASE_MS / 1000
        metrics.TROUBLES.labels(self.source.site.name, type(error).__name__.removesuffix("Error")).inc()
        log.error("%s: waits %.1f s, nothing is lost: %s", self.source, seconds, error)
        return False
