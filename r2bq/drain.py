"""The drain of one list of one site: claim, sort, assign, write, settle; and adopt what a dead writer left.

Everything that matters is in Redis before it is done in BigQuery, so that a step may end anywhere, by an error or by
SIGKILL, and the next step (of this writer or of one that adopts it) goes on from there. The rules:

1. One claim is one table is one append. Stream and offset are stored, on disk, before the append is sent.
2. An unclear answer is repeated at the same offset; then `ALREADY_EXISTS` means that it had landed.
3. Rows may go to another stream only after the old one is finalised, which also tells how many rows it took.
4. Every script looks at owner and token: a command that comes late, from a writer that was adopted, changes nothing.
"""

import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, replace

from oceanus import ledger, spool, tables
from oceanus.errors import (
    ClaimChangedError,
    OffsetTakenError,
    RowsRefusedError,
    SpoolError,
    SpoolRefusedError,
    SpoolUnclearError,
    StreamGoneError,
    TableMissingError,
    WarehouseBusyError,
    WarehouseError,
    WriterGoneError,
)
from oceanus.records import Record
from oceanus.sites import Site
from oceanus.spool import Claim, Holder, Spool
from oceanus.tables import Naming, Table
from oceanus.warehouse import Catalog, Queries, Writer
from r2bq import batches, fence, metrics
from r2bq.batches import BACK, FAILED, KEEP, LANDED, Batch

log = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
UNCLEAR_SECONDS = 1.0  # the least wait before an unclear append is repeated
MOST_SECONDS = 60.0
PASSED_SECONDS = 60.0
PATIENT = 20  # troubles in a row: about a quarter of an hour
MANY, FEW, STUBBORN = 10, 5, 5  # rows; rows; times in a row that all of many were refused


@dataclass(frozen=True, slots=True)
class Warehouse:
    """What a drain needs of BigQuery."""

    catalog: Catalog
    queries: Queries
    writer: Writer


@dataclass(frozen=True, slots=True)
class Source:
    """A list to drain, and where its records go."""

    site: Site
    list: str
    naming: Naming

    @property
    def key(self) -> str:
        """Return the member that names a record of this list."""
        return "fid" if self.list == "failed" else "eid"

    @property
    def is_counted(self) -> bool:
        """Say whether the ledger counts this list: it counts accepted records alone."""
        return self.list == "queue"

    def path(self, record: Record) -> str:
        """Return `dataset.table` of a record, by its own time."""
        return self.naming.failed.path if self.list == "failed" else self.naming.path(self.site, record["dt"])

    def table(self, record: Record) -> Table:
        """Return the table of a record, as sites.yaml declares it."""
        return self.naming.failed if self.list == "failed" else self.naming.table(self.site, record["dt"])

    def __str__(self) -> str:
        return self.site.name if self.list == "queue" else f"{self.site.name}'s {self.list}"


class Drain:
    """One writer on one list. `step` moves one batch; `waits_until` is when to call it again after trouble."""

    def __init__(
        self,
        source: Source,
        redis: Spool,
        warehouse: Warehouse,
        *,
        new_writer: Callable[[], str],
        patience: Executor,
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.source = source
        self.waits_until = 0.0
        self.holds = False
        self._redis = redis
        self._warehouse = warehouse
        self._new_writer = new_writer
        self._patience = patience
        self._max_bytes = max_bytes
        self._clock = clock
        self._troubles = 0
        self._adopts_from = 0.0
        self._passed: dict[str, float] = {}
        self._tables: dict[str, Table] = {}
        self.holder: Holder | None = None

    @property
    def place(self) -> tuple[str, str]:
        """Return site and list, as the spool takes them."""
        return self.source.site.name, self.source.list

    def step(self) -> bool:
        """Move one batch on; return whether something was moved. Trouble is logged, and sets `waits_until`."""
        try:
            moved = self._move()
        except WriterGoneError as exc:
            self.gone(str(exc))
            return True
        except ClaimChangedError as exc:
            log.info("%s: %s; loading it again", self.source, exc)
            return True
        except (SpoolError, WarehouseError) as exc:
            self._back_off(exc)
            return False
        if moved:
            self._troubles = 0
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
        while not (batch := self._complete(holder, claim)).is_whole:
            self._sort(holder, claim, batch)
            claim = self._redis.claim(holder, 0, 0)  # as it is: filled up, it would take again what just went back
            if not claim.rows:
                return True
        stream, offset = self._assign(holder, claim.token, batch)
        assigned = replace(claim, table=batch.table.path, stream=stream, offset=offset)
        return self._write(holder, assigned, batch, first=True)

    def _resume(self, holder: Holder, claim: Claim) -> bool:
        """Go on with a claim that was assigned before: it may have been written already."""
        batch = self._complete(holder, claim)
        if not batch.is_whole:  # sites.yaml has changed since: learn first whether it landed
            self._recover(holder, claim)
            return True
        return self._write(holder, claim, batch, first=False)

    def _write(self, holder: Holder, claim: Claim, batch: Batch, first: bool) -> bool:
        table = replace(batch.table, path=claim.table)
        begun = self._clock()
        try:
            self._append(holder, claim, table, batch)
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
            self._set_aside(holder, claim, batch, exc)
            return True
        except WarehouseBusyError:
            self._lacking(holder, table)  # BigQuery's other way of saying that there is no such column
            raise
        counted = ledger.counts(ledger.SETTLED, batch.records) if self.source.is_counted else []
        self._redis.settle(holder, claim.token, counted)
        self.holds = False
        self._passed[claim.table] = self._clock()
        metrics.written(self.source.site.name, self.source.list, batch.records, self.source.key)
        log.info("%s: %d rows to %s in %.3f s", self.source, len(batch.rows), claim.table, self._clock() - begun)
        return True

    def _append(self, holder: Holder, claim: Claim, table: Table, batch: Batch) -> None:
        with metrics.APPEND_SECONDS.labels(self.source.site.name).time():
            self._patiently(holder, self._warehouse.writer.write, table, claim.stream, claim.offset, batch.rows)

    def _patiently[**P, T](self, holder: Holder, call: Callable[P, T], *values: P.args, **named: P.kwargs) -> T:
        """Call BigQuery and wait for its answer, giving a sign of life each second.

        Only the loss of the claim ends the wait: a call left under way because Redis is away would soon be sent again,
        and could meet itself.
        """
        answer = self._patience.submit(call, *values, **named)
        while True:
            try:
                return answer.result(BEAT_SECONDS)
            except TimeoutError:
                with suppress(SpoolUnclearError, SpoolRefusedError):
                    self._redis.beat(holder)

    def _set_aside(self, holder: Holder, claim: Claim, batch: Batch, refusal: RowsRefusedError) -> None:
        """Move the rows that BigQuery named to the failed records; the others stay assigned, to the same offset.

        Not if the trouble may be the table's: a column that is not there yet, or most of many rows refused while none
        passes. Then those that it does not name are written alone; the named ones come again, and fail if others pass.
        """
        total, bad = len(batch.rows), refusal.reasons
        lacking = self._lacking(holder, replace(batch.table, path=claim.table))
        stubborn = self._troubles >= STUBBORN and len(bad) == total
        doubtful = total >= MANY and len(bad) * 2 > total and not self._passes(claim.table)
        if stubborn and doubtful and not lacking and self.source.list != "failed":
            flags = BACK * (total - FEW) + KEEP * FEW  # the oldest stand last; of few rows BigQuery's word is taken
            self._redis.sort(holder, claim.token, flags)
            return
        if lacking or self.source.list == "failed" or (doubtful and len(bad) == total):
            reason = f"the table lacks {', '.join(lacking)}" if lacking else str(refusal)
            raise WarehouseError(f"{claim.table} refuses {len(bad)} of {total} rows: {reason}; nothing is dropped")
        if doubtful:
            log.error("%s: %s refuses %d of %d rows: %s", self.source, claim.table, len(bad), total, refusal)
            self._redis.sort(holder, claim.token, batches.flags_of(total, set(bad), BACK, KEEP))
            return
        now_us = time.time_ns() // 1000
        marked = sorted(bad)
        failed = [
            batches.refused(self.source.site.name, claim.rows[i], batch.records[i], bad[i], now_us).encode()
            for i in marked
        ]
        counted = ledger.counts(ledger.FAILED, [batch.records[i] for i in marked])
        flags = batches.flags_of(total, set(bad), FAILED, KEEP)
        self._redis.sort(holder, claim.token, flags, failed=failed, counts=counted)
        metrics.FAILED.labels(self.source.site.name).inc(len(bad))
        log.warning("%s: %d rows refused and set aside as failed records: %s", self.source, len(bad), refusal)

    def _passes(self, path: str) -> bool:
        """Say whether the table took rows of ours lately, so that it is the rows that are wrong and not the table."""
        return self._clock() - self._passed.get(path, -PASSED_SECONDS) < PASSED_SECONDS

    def _lacking(self, holder: Holder, table: Table) -> list[str]:
        """Return the columns that the standing table lacks; a day's table, which nobody else keeps, is given them."""
        standing = self._patiently(holder, self._find, table.path)
        there = {column.name for column in standing.columns}
        more = tuple(replace(column, mode="NULLABLE") for column in table.columns if column.name not in there)
        if more and table.partition is None:
            self._patiently(holder, self._warehouse.catalog.alter, replace(standing, columns=standing.columns + more))
            log.warning("%s: gave %s the columns it lacked", self.source, table.path)
        return [column.name for column in more]

    def _find(self, path: str) -> Table:
        found = self._warehouse.catalog.find(path)
        if found is None:
            raise TableMissingError(f"{path} is not there")
        return found

    # --- claim and assignment

    def _register(self) -> Holder:
        if self.holder is None:
            writer = self._new_writer()
            fresh = Holder(*self.place, writer, writer)
            self._redis.register(fresh)
            self.holder = fresh
        return self.holder

    def _fill(self, holder: Holder) -> Claim:
        """Claim a chunk; where more waits, claim on up to one append's bytes, and load it whole."""
        claim = self._redis.claim(holder, spool.CHUNK_ROWS, self._max_bytes)
        if claim.moved < spool.CHUNK_ROWS or claim.stream:
            return claim
        size = sum(map(len, claim.rows))
        while size < self._max_bytes:
            more = self._redis.claim(holder, spool.CHUNK_ROWS, self._max_bytes - size, whole=False)
            size += more.moved_bytes
            if more.moved < spool.CHUNK_ROWS:
                break
        return self._redis.claim(holder, 0, 0)

    def _complete(self, holder: Holder, claim: Claim) -> Batch:
        """Read a claim; where records have members that sites.yaml does not declare, by the table as it stands.

        So a field that was removed from sites.yaml still lands in its column, and one that only a newer arms knows
        waits until table_manager has made its column; if that has not come in a quarter of an hour, its records are set
        aside whole, so that they do not hold up the others for ever.
        """
        batch = self._read(claim)
        if not batch.undeclared:
            return batch
        path = claim.table or batch.table.path
        standing = self._patiently(holder, self._find, path)
        known = {column.name for column in batch.table.columns}
        more = tuple(one for one in standing.columns if one.name not in known and one.type in tables.TYPES)
        self._tables[batch.table.path] = replace(batch.table, columns=(*batch.table.columns, *more))
        batch = self._read(claim)
        if batch.undeclared:
            raise WarehouseError(f"{path} has no column {', '.join(sorted(batch.undeclared))} yet; nothing is dropped")
        return batch

    def _read(self, claim: Claim) -> Batch:
        now_us = time.time_ns() // 1000
        batch = batches.read(
            claim.rows,
            self.source.site.name,
            self._table,
            self.source.key,
            self._max_bytes,
            now_us,
            strict=self.source.list == "failed" or self._troubles >= PATIENT,
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
        if failed:
            metrics.FAILED.labels(self.source.site.name).inc(len(failed))
            log.warning("%s: %d are no records: %s", self.source, len(failed), batch.failed[0].reason)

    def _assign(self, holder: Holder, token: str, batch: Batch) -> tuple[str, int]:
        path = batch.table.path
        assigned = self._redis.assign(holder, token, path)
        if assigned is None:
            stream = self._patiently(holder, self._create_stream, batch.table)
            assigned = self._redis.assign(holder, token, path, stream)
        if assigned is None:
            raise ClaimChangedError(f"no stream for {path}")
        return assigned

    def _create_stream(self, table: Table) -> str:
        """Return a new stream; a day's table that is not there yet is ours to make, any other is waited for."""
        try:
            return self._warehouse.writer.create_stream(table.path)
        except TableMissingError:
            if table.partition is not None:
                raise
        self._warehouse.catalog.create(table)
        log.info("%s: made the day's table %s", self.source, table.path)
        return self._warehouse.writer.create_stream(table.path)

    # --- recovery

    def _adopt(self, dead: str) -> None:
        left = replace(self._register(), writer=dead)
        claim = self._redis.adopt(left)
        if claim is not None and claim.rows:
            self._recover(left, claim)
            log.warning("%s: adopted %s with %d records", self.source, dead, len(claim.rows))
        self._redis.forget(left)

    def _recover(self, holder: Holder, claim: Claim, trust_count: bool = True) -> None:
        """Sort a claim, ours or adopted, into what has landed and what goes back to the list, behind a fence."""
        places = self._patiently(holder, self._landed, claim, trust_count) if claim.stream else set()
        self._redis.beat(holder)
        flags = batches.flags_of(len(claim.rows), places, LANDED, BACK)
        landed = fence.readable(claim, places, self.source.key)
        counted = ledger.counts(ledger.SETTLED, landed) if self.source.is_counted else []
        self._redis.sort(holder, claim.token, flags, counts=counted, drop_stream=True)
        metrics.RECOVERED.labels(self.source.site.name).inc(len(claim.rows))
        log.warning(
            "%s: recovered a claim: %d landed, %d back", self.source, len(places), len(claim.rows) - len(places)
        )

    def _landed(self, claim: Claim, trust_count: bool) -> set[int]:
        parts = self._warehouse
        timed = claim.table == self.source.naming.failed.path or self.source.site.table.form != "daily"
        return fence.landed(
            claim,
            self.source.key,
            parts.writer,
            parts.queries,
            parts.catalog,
            timed=timed,
            trust_count=trust_count,
        )

    # --- trouble

    def _back_off(self, error: Exception) -> None:
        """Wait longer each time, with jitter, up to a minute; the claim keeps the records."""
        self._troubles += 1
        seconds = min(MOST_SECONDS, UNCLEAR_SECONDS * 2 ** min(self._troubles - 1, 10)) * random.uniform(1, 1.5)  # noqa: S311
        self.waits_until = self._clock() + seconds
        if isinstance(error, SpoolUnclearError):
            self._adopts_from = self._clock() + spool.LEASE_MS / 1000
        metrics.TROUBLES.labels(self.source.site.name, type(error).__name__.removesuffix("Error")).inc()
        log.error("%s: waits %.1f s, nothing is lost: %s", self.source, seconds, error)
