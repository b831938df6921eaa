"""Queries: SQL that reads, with a limit on what it may cost."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY

from oceanus.errors import TableMissingError, WarehouseError
from oceanus.ledger import Epoch, Landed
from oceanus.tables import REMOVED
from oceanus.warehouse.clients import Clients
from oceanus.warehouse.failures import translated

_EID = "^[0-9a-f]{8}-[0-9a-f]{4}-[78][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
Value = str | int | list[str]
Parameter = bigquery.ArrayQueryParameter | bigquery.ScalarQueryParameter
_RETRY = DEFAULT_RETRY.with_timeout(30.0)  # Google's own is ten minutes: too long for whoever waits at a terminal


@dataclass(frozen=True, slots=True)
class Result:
    """What a query answered: column names with their types, and the rows."""

    columns: list[tuple[str, str]]
    rows: Iterator[tuple[Any, ...]]


class Queries:
    """Reads tables with SQL; the dataset needs no naming."""

    def __init__(self, clients: Clients, dataset: str) -> None:
        self._rest = clients.rest
        self._default = f"{clients.project}.{dataset}"

    def select(
        self, sql: str, max_bytes: int, seconds: float = 300, values: Mapping[str, Value] | None = None
    ) -> Result:
        """Run one SELECT that may read at most `max_bytes`; raises WarehouseError for anything but a SELECT.

        `values` are those of its parameters: a text, a number, or a list of texts for each.
        """
        given = [_parameter(name, value) for name, value in (values or {}).items()]
        with translated():
            asked = self._rest.query(
                sql, job_config=self._config(max_bytes, given, dry_run=True), timeout=seconds, retry=_RETRY
            )
            if asked.statement_type != "SELECT":
                raise WarehouseError(f"this is a {asked.statement_type or 'script'}; only one SELECT is run here")
            found = self._rest.query_and_wait(
                sql, job_config=self._config(max_bytes, given), wait_timeout=seconds, retry=_RETRY
            )
            columns = [(column.name, column.field_type) for column in found.schema]
        return Result(columns, _pages(found))

    def landed(self, path: str, key: str, ids: Sequence[str], first_us: int, last_us: int, timed: bool) -> set[str]:
        """Return those of `ids` that stand in the column `key` of a table; `timed`: its dt is a TIMESTAMP.

        Only rows whose dt lies in the given span are read, from the table itself, never from a cache.
        """
        dataset, _, name = path.partition(".")
        span = "AND dt BETWEEN TIMESTAMP_MICROS(@first) AND TIMESTAMP_MICROS(@last)" if timed else ""
        sql = f"SELECT DISTINCT {key} FROM `{dataset}.{name}` WHERE {key} IN UNNEST(@ids) {span}"  # noqa: S608
        config = bigquery.QueryJobConfig(
            use_query_cache=False,
            query_parameters=[
                bigquery.ArrayQueryParameter("ids", "STRING", list(ids)),
                bigquery.ScalarQueryParameter("first", "INT64", first_us),
                bigquery.ScalarQueryParameter("last", "INT64", last_us),
            ],
        )
        with translated():
            found = self._rest.query_and_wait(sql, job_config=config, wait_timeout=120, retry=_RETRY)
            return {row[0] for row in found}

    def count(self, path: str, days: Sequence[str], timed: bool, max_bytes: int) -> dict[str, Landed]:
        """Return what stands in a table, by minute (YYYYMMDDHHMM), for records of these days (YYYYMMDD).

        Rows that are none of ours stand under the empty minute. `timed`: dt is a TIMESTAMP; else the table is of one
        day, and rows of other days are none of ours there. A table that is not there holds nothing.
        """
        dataset, _, name = path.partition(".")
        spans = _spans(days) if timed else []
        parameters = [
            bigquery.ScalarQueryParameter(f"{end}{place}", "STRING", str(day))
            for place, span in enumerate(spans)
            for end, day in zip(("first", "after"), span, strict=True)
        ]
        within = (f"dt >= TIMESTAMP(@first{place}) AND dt < TIMESTAMP(@after{place})" for place in range(len(spans)))
        minute = "FORMAT_TIMESTAMP('%Y%m%d%H%M', dt)" if timed else "REGEXP_REPLACE(SUBSTR(dt, 1, 16), '[^0-9]', '')"
        ours = f"REGEXP_CONTAINS(eid, r'{_EID}')" + ("" if timed else " AND STARTS_WITH(dt, @day)")
        sql = f"""
            SELECT IF({ours}, {minute}, '') AS minute, COUNT(*), COUNT(DISTINCT eid),
                   SUM(SAFE_CAST(CONCAT('0x', RIGHT(eid, 8)) AS INT64))
            FROM `{dataset}.{name}` WHERE {" OR ".join(within) if timed else "TRUE"} GROUP BY minute"""  # noqa: S608 - names of ours, values as parameters
        if not timed:
            parameters = [bigquery.ScalarQueryParameter("day", "STRING", str(_date(days[0])))]
        config = bigquery.QueryJobConfig(
            use_query_cache=False, maximum_bytes_billed=max_bytes, query_parameters=parameters
        )
        try:
            with translated():
                found = list(self._rest.query_and_wait(sql, job_config=config, wait_timeout=120, retry=_RETRY))
        except TableMissingError:
            return {}
        return {row[0]: Landed(row[1], row[2], row[3] or 0) for row in found}

    def epochs(self, audit: str, max_bytes: int) -> list[Epoch]:
        """Return every epoch that was acknowledged, of which the table `audit` knows, the oldest row first."""
        dataset, _, name = audit.partition(".")
        columns = "site, epoch, UNIX_MILLIS(bucket), verdict"
        sql = f"SELECT {columns} FROM `{dataset}.{name}` WHERE span = 'epoch' ORDER BY dt"  # noqa: S608 - names of ours
        config = bigquery.QueryJobConfig(use_query_cache=False, maximum_bytes_billed=max_bytes)
        try:
            with translated():
                found = list(self._rest.query_and_wait(sql, job_config=config, wait_timeout=120, retry=_RETRY))
        except TableMissingError:
            return []
        return [Epoch(redis, epoch, at_ms, verdict == REMOVED) for redis, epoch, at_ms, verdict in found]

    def _config(self, max_bytes: int, given: Sequence[Parameter], dry_run: bool = False) -> bigquery.QueryJobConfig:
        return bigquery.QueryJobConfig(
            default_dataset=self._default,
            query_parameters=list(given),
            maximum_bytes_billed=max_bytes,
            dry_run=dry_run,
            use_query_cache=not dry_run,
        )


def _spans(days: Iterable[str]) -> list[tuple[date, date]]:
    """Return days (YYYYMMDD) as spans of days that follow each other: their first, and the one after their last."""
    spans: list[tuple[date, date]] = []
    for day in sorted(map(_date, days)):
        first = spans.pop()[0] if spans and spans[-1][1] == day else day
        spans.append((first, day + timedelta(days=1)))
    return spans


def _date(day: str) -> date:
    return date(int(day[:4]), int(day[4:6]), int(day[6:]))


def _parameter(name: str, value: Value) -> Parameter:
    if isinstance(value, list):
        return bigquery.ArrayQueryParameter(name, "STRING", value)
    return bigquery.ScalarQueryParameter(name, "INT64" if isinstance(value, int) else "STRING", value)


def _pages(found: Iterable[bigquery.Row]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows, of which later pages are fetched on the way."""
    with translated():
        for row in found:
            yield tuple(row.values())
