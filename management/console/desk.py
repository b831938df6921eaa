"""The desk: what an operator asks and has done: a record, the failed ones, a retry, the audit, a test beacon.

Each call is one answer as JSON has it, may take a while, and raises an OceanusError with a sentence. All texts that
strangers wrote are made visible here (oceanus.visible), so that the page shows what is there and obeys none of it.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from management import audit, failed, sql, whereabouts
from management.console.shown import shown, shown_line
from management.console.stream import Stream
from management.console.trial import trial
from management.failed import Row, Wanted
from management.failed_table import FailedTable
from management.retry import BEFORE, CANNOT, SENT, UNSENT, Verdict
from management.snippet import KINDS, NoSnippetError, script_name, snippet
from management.status import Journal
from oceanus import records
from oceanus.auditor import Auditor
from oceanus.errors import NotARecordError, OceanusError, TableMissingError, WarehouseError
from oceanus.sites import Site, Sites

REASONS, ROWS = 50, 200
ARMS_SECONDS = 10.0
_OUTCOMES = {
    SENT: "sent again: it is on its way",
    BEFORE: "it was sent again before: nothing is sent twice",
    CANNOT: "it cannot be sent",
    UNSENT: "Redis did not take it: press again, nothing is sent twice",
}


class AskedWronglyError(OceanusError):
    """What was asked for is not there, or cannot be asked so: say it to whoever asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arms:
    """Where arms takes beacons (empty: nobody knows), and the token of trusted callers (empty: none)."""

    url: str
    token: str


class Desk:
    """Holds the tools; one audit runs at a time, and its answer is kept.

    `check_warehouse` raises at once where BigQuery is away: Google's client would try a query for many minutes.
    """

    def __init__(
        self,
        declared: Sites,
        table: FailedTable,
        auditor: Auditor,
        stream: Stream,
        arms: Arms,
        ask_journal: Callable[[], Journal | None],
        check_warehouse: Callable[[], None],
        sites_file: str,
    ) -> None:
        self._declared = declared
        self._table = table
        self._auditor = auditor
        self._stream = stream
        self._arms = arms
        self._ask_journal = ask_journal
        self._check_warehouse = check_warehouse
        self._sites_file = sites_file
        self._auditing = threading.Lock()
        self._audited: dict[str, Any] | None = None

    # --- records

    def record(self, site: str, eid: str, at_us: int) -> dict[str, Any]:
        """Return a record whole, from what was heard of late, else from its table; `at_us` is about its time."""
        _check_id(eid)
        heard = self._stream.find(eid)
        if heard:
            return {"site": heard.site, "eid": eid, "from": "stream", "fields": _fields(heard.raw)}
        declared = self._site(site)
        self._check_warehouse()
        path = self._table.naming.path(declared, records.time_text(at_us))
        span = "" if declared.table.is_daily else "AND dt BETWEEN TIMESTAMP_MICROS(@first) AND TIMESTAMP_MICROS(@last)"
        query = f"SELECT * FROM `{path}` WHERE eid = @eid {span} LIMIT 1"  # noqa: S608 - names of ours
        values: failed.Values = {"eid": eid, "first": at_us - whereabouts.SPAN_US, "last": at_us + whereabouts.SPAN_US}
        try:
            found = self._table.queries.select(query, self._table.max_bytes, values=values)
            row = next(found.rows, None)
        except TableMissingError:
            row = None
        except WarehouseError as exc:
            raise WarehouseError(sql.sentence(exc)[0]) from exc
        if row is None:
            raise AskedWronglyError("it is not among the latest records any more, and not in its table yet: try again")
        fields = {name: sql.plain(value) for (name, _), value in zip(found.columns, row, strict=True)}
        return {"site": site, "eid": eid, "from": path, "fields": shown(fields)}

    # --- failed records

    def failed(self, site: str, reason: str, since: str) -> dict[str, Any]:
        """Return why beacons failed, the newest first, and the newest of them, with what was sent again."""
        try:
            since_us = failed.since_us(since, _now_us()) if since else None
        except ValueError as exc:
            raise AskedWronglyError(str(exc)) from None
        self._check_warehouse()
        wanted = Wanted(site=site or None, reason=reason or None, since_us=since_us)
        every = Wanted(site=site or None, since_us=since_us)
        groups = self._table.ask(failed.groups_sql(self._table.path, every, [], REASONS)).rows
        rows = list(failed.rows(self._table.ask(failed.rows_sql(self._table.path, wanted, ROWS + 1)).rows))
        return {
            "reasons": [_group(*group) for group in groups],
            "records": self._listed(rows[:ROWS]),
            "more": len(rows) > ROWS,
            "waiting": self._table.waiting(site or None),
            "table": self._table.path,
        }

    def failed_record(self, fid: str) -> dict[str, Any]:
        """Return one failed record whole, with what a retry would do now."""
        row = self._row(fid)
        [verdict] = self._table.retrier(self._declared).look([row])
        would = {SENT: "would be sent", BEFORE: "was sent before"}.get(
            verdict.outcome, f"cannot be sent: {verdict.why}"
        )
        sent_ms = self._table.spool.retried(row.site, [row.fid]).get(row.fid)
        told = failed.told(row, sent_ms, would)
        return {"record": shown(told), "can": verdict.outcome == SENT, "stage": failed.STAGES.get(row.stage, "")}

    def retry(self, fid: str) -> dict[str, Any]:
        """Send a failed record again, once however often this is called; return what became of it."""
        alerts = frozenset(name for name, one in self._declared.items() if one.alerts)
        [verdict] = self._table.retrier(self._declared).send([self._row(fid)], alerts)
        return {"outcome": verdict.outcome, "sentence": _sentence(verdict)}

    def _row(self, fid: str) -> Row:
        _check_id(fid)
        self._check_warehouse()
        row = self._table.row(fid)
        if row is None:
            raise AskedWronglyError(f"no failed record in {self._table.path} has the id {fid}: it may be on its way")
        return row

    def _listed(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        marks: dict[str, int] = {}
        for site in {row.site for row in rows}:
            marks |= self._table.spool.retried(site, [row.fid for row in rows if row.site == site])
        return [_row_told(row, row.fid in marks) for row in rows]

    # --- the audit

    def audit(self, days: int | None) -> None:
        """Audit all sites and keep the answer; does nothing while an audit is running."""
        if not self._auditing.acquire(blocking=False):
            return
        try:
            self._audited = self._audit(days)
        except OceanusError as exc:
            self._audited = {"at": time.time(), "error": shown_line(str(exc))}
        finally:
            self._auditing.release()

    def audited(self) -> dict[str, Any]:
        """Return the last audit's answer, and whether one is running."""
        return {"running": self._auditing.locked(), "answer": self._audited}

    def _audit(self, days: int | None) -> dict[str, Any]:
        began = time.time()
        self._check_warehouse()
        found = audit.find(self._auditor, self._table.spool, self._declared, audit.last_days(days), self._ask_journal())
        remarks = audit.remarks(found, self._sites_file)
        try:
            self._auditor.write()
        except WarehouseError as exc:
            remarks.append(f"the verdicts are not written to {self._table.naming.audit.path}: {exc}")
        return {
            "at": began,
            "seconds": round(time.time() - began, 2),
            "days": days,
            "outcome": audit.outcome(found),
            "is_right": found.is_right,
            "remarks": [shown_line(remark) for remark in remarks],
            **audit.told(found),
        }

    # --- snippets and test beacons

    def snippets(self, site: str, url: str, page: str) -> dict[str, Any]:
        """Return the texts for a site's pages, each with its kind, or why there is none of that kind.

        `url`: the collector's address as browsers see it (empty: as the console does); `page`: for images.
        """
        declared = self._site(site)
        url = url or self._arms.url
        script, missing = self._script(declared)
        return {"url": url, "kinds": [_snippet(declared, url, kind, script, missing, page) for kind in KINDS]}

    def _script(self, site: Site) -> tuple[bytes, str]:
        """Return the script of a site as arms serves it, for its hash must be of those bytes; or why there is none."""
        try:
            address = f"{self._arms.url.rstrip('/')}/static/js/{script_name(site)}"
        except NoSnippetError:  # which says so again, for each kind
            return b"", ""
        try:
            answer = httpx.get(address, timeout=ARMS_SECONDS, trust_env=False)
        except httpx.HTTPError as exc:
            return b"", f"arms does not answer at {address}: {exc}: is it running?"
        return (answer.content, "") if answer.is_success else (b"", f"arms answers {answer.status_code} at {address}")

    def send_test(self, site: str) -> dict[str, Any]:
        """Send a test beacon to a site through arms; return the event it will be, and what arms answered."""
        if not self._arms.url:
            raise AskedWronglyError("nobody said where arms is: set CONSOLE_ARMS_URL=http://host:port")
        declared = self._site(site)
        beacon = trial(declared, self._arms.token)
        fields = {"params": beacon.parameters} if beacon.method == "GET" else {"data": beacon.parameters}
        began = time.monotonic()
        try:
            answer = httpx.request(
                beacon.method,
                self._arms.url.rstrip("/") + beacon.path,
                headers=dict(beacon.headers),
                timeout=ARMS_SECONDS,
                trust_env=False,
                **fields,  # type: ignore[arg-type] # one of two
            )
        except httpx.HTTPError as exc:
            raise AskedWronglyError(f"arms at {self._arms.url} does not answer: {exc}: is it running?") from exc
        error = answer.headers.get("X-Oceanus-Error") or ("" if answer.is_success else answer.text.strip()[:200])
        return {
            "eid": beacon.eid,
            "at_us": _now_us(),
            "ms": round((time.monotonic() - began) * 1000, 1),
            "status": answer.status_code,
            "error": shown_line(error),
            "request": f"{beacon.method} {beacon.path}",
            "parameters": shown(dict(beacon.parameters)),
        }

    def where(self, site: str, eid: str, at_us: int) -> dict[str, Any]:
        """Return where a test beacon is that was answered at `at_us`: `waits` in Redis, is a `row`, or `unknown`."""
        _check_id(eid)
        table, declared = self._table, self._site(site)
        found = whereabouts.of(declared, eid, at_us, table.spool, table.queries, table.naming, self._check_warehouse)
        return {"place": found.place, "waiting": found.waiting, "table": found.table}

    def _site(self, name: str) -> Site:
        if name not in self._declared:
            raise AskedWronglyError(f"{self._sites_file} declares no site {shown_line(name)}")
        return self._declared[name]


def _snippet(site: Site, url: str, kind: str, script: bytes, missing: str, page: str) -> dict[str, str]:
    if missing and kind != "noscript":
        return {"kind": kind, "error": shown_line(missing)}
    try:
        return {"kind": kind, "text": snippet(site, url, kind, script, page=page)}
    except NoSnippetError as exc:
        return {"kind": kind, "error": shown_line(str(exc))}


def _check_id(text: str) -> None:
    if not records.is_id(text):
        raise AskedWronglyError(f"{shown_line(text)} is no id of ours")


def _now_us() -> int:
    return time.time_ns() // 1000


def _fields(raw: bytes) -> Any:
    try:
        return shown(records.decode(raw))
    except NotARecordError as exc:
        return {"this": f"is no record: {exc}", "text": shown_line(raw.decode(errors="replace"))}


def _group(*group: Any) -> Mapping[str, Any]:
    site, stage, reason, count, _, _, last, _ = group
    return {
        "site": shown_line(site or ""),
        "stage": stage or "",
        "reason": shown_line(reason or ""),
        "records": count,
        "last": last.timestamp() if last else None,
    }


def _row_told(row: Row, sent_again: bool) -> dict[str, Any]:
    return {
        "fid": row.fid,
        "at": row.dt_us / 1e6,
        "site": shown_line(row.site),
        "stage": row.stage,
        "reason": shown_line(row.reason),
        "sent_again": sent_again,
    }


def _sentence(verdict: Verdict) -> str:
    why = f": {verdict.why}" if verdict.why else ""
    return shown_line(f"{_OUTCOMES[verdict.outcome]}{why}")
