"""The auditor: asks Redis and BigQuery about one site after the other, and writes down what the audit makes of it.

Redis is asked before and after BigQuery, so that what moves meanwhile is seen. Trouble with one side of one site is
told in that site's audit and stops no other's.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from oceanus import audit
from oceanus.audit import Alarm, SiteAudit
from oceanus.errors import SpoolRefusedError, WarehouseError
from oceanus.ledger import Epoch, Landed, Ledger
from oceanus.shards import Spools
from oceanus.sites import Site
from oceanus.tables import Naming
from oceanus.warehouse import Queries, Writer

MAX_BYTES = 10_000_000_000  # that one query may read: BigQuery reads 46 B a row of each day that is asked for
CHUNK_ROWS = 5000
MOST_ROWS = 100_000
SLACK = timedelta(hours=1)  # BigQuery's clock is not ours: a day expires a little earlier in our eyes

Choose = Callable[[Ledger], Collection[str]]


class Auditor:
    """Keeps the verdicts of its audits until they are written."""

    def __init__(
        self,
        spools: Spools,
        queries: Queries,
        writer: Writer,
        naming: Naming,
        max_bytes: int = MAX_BYTES,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._spools = spools
        self._queries = queries
        self._writer = writer
        self._naming = naming
        self._max_bytes = max_bytes
        self._now_us = now_us
        self._rows: list[dict[str, Any]] = []
        self._known: list[Epoch] | None = None  # what was acknowledged, as far as is known here
        self._right: dict[str, int | None] = {}  # the epochs with which nothing was wrong

    def audit(self, site: Site, choose: Choose) -> SiteAudit:
        """Judge the days of a site that `choose` takes; raises SpoolUnclearError if Redis is away."""
        try:
            before = self._spools.ledger(site.name)
            asked = set(choose(before))
            last_expired = self._last_expired(site)
            landed = self._landed(site, sorted(day for day in asked - before.damaged.keys() if day > last_expired))
            after = self._spools.ledger(site.name)
            after = replace(after, epoch_ms=self._judged_from_ms(after.epoch_ms))
        except SpoolRefusedError as exc:
            return SiteAudit(troubles=[f"its ledger cannot be read: {exc}"])
        except WarehouseError as exc:
            return SiteAudit(troubles=[f"its table cannot be read: {exc}"])
        found = audit.judge(before, after, landed, asked, last_expired)
        self._rows += audit.rows(site.name, found, self._now_us(), after.epoch_ms)
        return found

    def alarms(self) -> list[Alarm]:
        """Return what nobody has acknowledged; the first epoch ever of a Redis is taken silently.

        Raises WarehouseError.
        """
        epochs, raised = self._spools.epochs(), self._spools.alarms()
        if epochs == self._right:
            return [one for name in epochs for one in _of(name, audit.alarms(raised[name], None, None))]
        self._known = self._queries.epochs(self._naming.audit.path, self._max_bytes)
        last = {one.redis: one for one in self._known}
        gone = [name for name, one in last.items() if name and name not in epochs and not one.is_removed]
        found = [audit.removed(name) for name in gone]
        for name, epoch_ms in epochs.items():
            known = last.get(name)
            found += _of(name, audit.alarms(raised[name], epoch_ms, (known.epoch,) if known else None))
            if (known is None or known.epoch is None) and epoch_ms is not None:
                self._rows.append(audit.epoch_row(self._now_us(), epoch_ms, name))
        is_right = not gone and all(
            name in last and last[name].epoch == audit.epoch_text(epoch_ms) for name, epoch_ms in epochs.items()
        )
        self._right = epochs if is_right else {}
        return found

    def acknowledge(self, alarms: Collection[Alarm]) -> None:
        """Accept these alarms for good, the epochs first; raises WarehouseError, SpoolError."""
        epochs = self._spools.epochs()
        accepted = [one for one in alarms if not one.name]
        self._rows += [
            audit.epoch_row(self._now_us(), epochs.get(one.redis), one.redis, is_removed=one.is_removed)
            for one in accepted
        ]
        if accepted:
            self.write()
        for name in epochs:
            self._spools.acknowledge(name, {one.name: one.value for one in alarms if one.name and one.redis == name})

    def write(self) -> None:
        """Leave the verdicts since the last time where any analyst can read them.

        Raises WarehouseError; then they are kept for the next time, the newest MOST_ROWS of them.
        """
        self._rows = self._rows[-MOST_ROWS:]
        if not self._rows:
            return
        stream, written = self._writer.create_stream(self._naming.audit.path), 0
        while self._rows:
            chunk = self._rows[:CHUNK_ROWS]
            self._writer.write(self._naming.audit, stream, written, chunk)
            written += len(chunk)
            del self._rows[:CHUNK_ROWS]

    def _judged_from_ms(self, epoch_ms: int | None) -> int | None:
        """Return from when on nothing is unknown: since the epoch, and since a Redis was replaced or taken away."""
        if self._known is None:
            try:
                self._known = self._queries.epochs(self._naming.audit.path, self._max_bytes)
            except WarehouseError:  # `alarms` tells of it
                return epoch_ms
        return None if epoch_ms is None else max(epoch_ms, audit.broken_ms(self._known, self._spools.epochs()))

    def _landed(self, site: Site, days: list[str]) -> Mapping[str, Landed]:
        """Return what stands in a site's table, or in its tables of these days, by minute."""
        if not days:
            return {}
        timed = not site.table.is_daily
        groups = [days] if timed else [[day] for day in days]
        landed: dict[str, Landed] = {}
        for group in groups:
            path = self._naming.path(site, f"{group[0][:4]}-{group[0][4:6]}-{group[0][6:]}")
            found = self._queries.count(path, group, timed, self._max_bytes)
            foreign = landed.get("", audit.NOTHING).rows + found.get("", audit.NOTHING).rows
            landed |= found | ({"": Landed(foreign, 0, 0)} if foreign else {})
        return landed

    def _last_expired(self, site: Site) -> str:
        if site.table.expiry_days is None:
            return ""
        now = datetime.fromtimestamp(self._now_us() / 1e6, UTC)
        return f"{(now + SLACK - timedelta(days=site.table.expiry_days)):%Y%m%d}"


def _of(name: str, alarms: Iterable[Alarm]) -> list[Alarm]:
    """Return the alarms of a Redis with its name."""
    return [replace(one, sentence=f"{name}: {one.sentence}" if name else one.sentence, redis=name) for one in alarms]
