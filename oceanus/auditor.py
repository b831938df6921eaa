"""The auditor: asks Redis and BigQuery about one site after the other, and writes down what the audit makes of it.

Redis is asked before and after BigQuery, so that what moves meanwhile is seen. Trouble with one side of one site is
told in that site's audit and stops no other's.
"""

import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from oceanus import audit
from oceanus.audit import Alarm, SiteAudit
from oceanus.errors import SpoolRefusedError, WarehouseError
from oceanus.ledger import Landed, Ledger
from oceanus.sites import Site
from oceanus.spool import Spool
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
        spool: Spool,
        queries: Queries,
        writer: Writer,
        naming: Naming,
        max_bytes: int = MAX_BYTES,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._spool = spool
        self._queries = queries
        self._writer = writer
        self._naming = naming
        self._max_bytes = max_bytes
        self._now_us = now_us
        self._rows: list[dict[str, Any]] = []
        self._epoch_ms: int | None = None  # the one that was acknowledged last, as far as is known here

    def audit(self, site: Site, choose: Choose) -> SiteAudit:
        """Judge the days of a site that `choose` takes; raises SpoolUnclearError if Redis is away."""
        try:
            before = self._spool.ledger(site.name)
            asked = set(choose(before))
            last_expired = self._last_expired(site)
            landed = self._landed(site, sorted(day for day in asked - before.damaged.keys() if day > last_expired))
            after = self._spool.ledger(site.name)
        except SpoolRefusedError as exc:
            return SiteAudit(troubles=[f"its ledger cannot be read: {exc}"])
        except WarehouseError as exc:
            return SiteAudit(troubles=[f"its table cannot be read: {exc}"])
        found = audit.judge(before, after, landed, asked, last_expired)
        self._rows += audit.rows(site.name, found, self._now_us(), after.epoch_ms)
        return found

    def alarms(self) -> list[Alarm]:
        """Return what nobody has acknowledged; the first epoch ever is taken silently. Raises WarehouseError."""
        epoch_ms = self._spool.epoch_ms()
        if epoch_ms is not None and epoch_ms == self._epoch_ms:
            return audit.alarms(self._spool.alarms(), epoch_ms, None)
        known = self._queries.last_epoch(self._naming.audit.path, self._max_bytes)
        found = audit.alarms(self._spool.alarms(), epoch_ms, known)
        if (known is None or known[0] is None) and epoch_ms is not None:
            self._rows.append(audit.epoch_row(self._now_us(), epoch_ms))
        elif known and known[0] == audit.epoch_text(epoch_ms):
            self._epoch_ms = epoch_ms
        return found

    def acknowledge(self, alarms: Collection[Alarm]) -> None:
        """Accept these alarms for good, the epoch first; raises WarehouseError, SpoolError."""
        if any(not one.name for one in alarms):
            self._rows.append(audit.epoch_row(self._now_us(), self._spool.epoch_ms()))
            self.write()
        self._spool.acknowledge({one.name: one.value for one in alarms if one.name})

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
