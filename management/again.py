"""Again: what a retry would send for a failed record, judged by today's sites.yaml, or why nothing. Pure.

A record that BigQuery refused goes back whole. A rejected beacon is judged by arms' own intake from what was kept of
it; its event id is the failed record's id, so that however often it is sent, it is one event, which can be looked up.
One that its tracker has named keeps that name, and is judged like any that is sent again.
"""

from dataclasses import dataclass
from functools import cache

from arms.devices import device
from arms.intake import Accepted, Dropped, Intake, Sent
from arms.kept import Kept, NotKeptError, read
from arms.parameters import ParameterError
from management.failed import Row
from oceanus import records, tables
from oceanus.errors import NotARecordError
from oceanus.ledger import ACCEPTED, FAILED, Count
from oceanus.pushes import Retry
from oceanus.records import DAY_US, Record
from oceanus.sites import Site, Sites
from oceanus.tables import Naming


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What a retry sends: the record, the table it belongs to, and how it is pushed."""

    eid: str
    dt_us: int
    path: str
    timed: bool
    retry: Retry


class Judge:
    """Judges failed records by the sites as they are declared today."""

    def __init__(self, sites: Sites, naming: Naming, epoch_ms: int | None, now_us: int) -> None:
        self._sites = sites
        self._naming = naming
        self._epoch_us = now_us if epoch_ms is None else epoch_ms * 1000
        self._now_us = now_us
        self._intake = cache(lambda name: Intake(sites[name], device))

    def judge(self, row: Row) -> Ready | str:
        """Return what to send for a failed record, or why it cannot be sent."""
        site = self._sites.get(row.site)
        if not records.is_id(row.fid):
            return "its id (fid) is none of ours"
        if site is None:
            return f"sites.yaml does not declare the site {row.site}"
        record = self._refused(site, row) if row.stage == "write" else self._rejected(site, row)
        return record if isinstance(record, str) else self._ready(site, row, record)

    def _refused(self, site: Site, row: Row) -> Record | str:
        """Return the record that BigQuery refused; not if r2bq would set it aside again before BigQuery is asked."""
        try:
            record = records.decode(row.raw.encode())
        except NotARecordError as exc:
            return f"its text {exc}"
        try:
            tables.row(self._naming.table(site, record["dt"]), record)
        except NotARecordError as exc:
            return f"still refused: {exc}"
        return record

    def _rejected(self, site: Site, row: Row) -> Record | str:
        try:
            kept = read(row.raw)
        except NotKeptError as exc:
            return str(exc)
        unfit = _unfit(kept, site)
        if unfit:
            return unfit
        outcome = self._intake(site.name).take(_sent(kept, site, row.fid))
        if isinstance(outcome, Accepted):
            return outcome.record if outcome.named else outcome.record | {"eid": row.fid}
        if isinstance(outcome, Dropped):
            return "its visitor objects, and the site keeps nothing then"
        return "still rejected: " + "; ".join(f"{name}: {reason}" for name, reason in outcome.reasons.items())

    def _ready(self, site: Site, row: Row, record: Record) -> Ready | str:
        dt_us, days = records.time_us(record["dt"]), site.table.expiry_days
        if days is not None and dt_us < self._now_us - days * DAY_US:
            return f"it is older than the {days} days that its table keeps"
        is_new = row.stage != "write"
        return Ready(
            eid=record["eid"],
            dt_us=dt_us,
            path=self._naming.path(site, record["dt"]),
            timed=not site.table.is_daily,
            retry=Retry(
                fid=row.fid,
                record=records.encode(record) if is_new else row.raw.encode(),
                count=self._count(row, record, is_new),
                is_new=is_new,
                source="resends" if is_new and records.is_named(record["eid"]) else "queue",
            ),
        )

    def _count(self, row: Row, record: Record, is_new: bool) -> Count:
        """Return the ledger's line: what it counts as failed is in flight again; anything else is accepted now."""
        minute, digest = records.minute(record["dt"]), records.digest(record["eid"])
        if is_new or records.received_us(row.fid) < self._epoch_us:  # failed in a Redis that is no more
            return Count(minute=minute, kind=ACCEPTED, records=1, digest=digest)
        return Count(minute=minute, kind=FAILED, records=-1, digest=-digest)


def _unfit(kept: Kept, site: Site) -> str:
    """Return why what was kept cannot be judged again; empty if it can."""
    if kept.refused:
        return "its sender was refused, and what would prove it is not kept"
    if kept.cleaned:
        return "privacy has taken something out of it"
    if kept.route.split("/")[1:2] != [site.method] and kept.route != site.tracker.endpoint:
        return f"it was sent to {kept.route}, but {site.name} is a site of method {site.method}"
    return ""


def _sent(kept: Kept, site: Site, fid: str) -> Sent:
    parameters = kept.parameters(site.method)
    wrong = parameters if isinstance(parameters, ParameterError) else None
    return Sent(
        parameters=() if isinstance(parameters, ParameterError) else parameters,
        headers={"user-agent": kept.agent} if kept.agent else {},
        address=kept.address,
        now_us=records.received_us(fid),
        route=kept.route,
        raw=kept.sent,
        body_at=kept.body_at,
        given_time=kept.time,
        unreadable=wrong,
    )
