"""The failed records as they stand in BigQuery: what is asked for, as SQL, and what a row says. Pure."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from oceanus import records
from oceanus.records import DAY_US
from oceanus.visible import escaped

COLUMNS = ("fid", "dt", "site", "stage", "reason", "eid", "raw")
STAGES = {
    "rules": "arms rejected it: it was never accepted",
    "write": "it was accepted, and BigQuery refused it",
}
_AGO = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_UNITS_US = {"m": 60_000_000, "h": 3_600_000_000, "d": DAY_US}

Values = dict[str, str | int | list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which failed records are meant: all that every given part is true of."""

    fids: tuple[str, ...] = ()
    site: str | None = None
    stage: str | None = None
    reason: str | None = None
    since_us: int | None = None

    def where(self) -> tuple[str, Values]:
        """Return the condition as SQL, and the values of its parameters."""
        parts, values = ["fid IS NOT NULL"], Values()
        if self.fids:
            times = [records.received_us(fid) for fid in self.fids]
            parts.append("fid IN UNNEST(@fids) AND dt BETWEEN TIMESTAMP_MICROS(@first) AND TIMESTAMP_MICROS(@last)")
            values |= {"fids": list(self.fids), "first": min(times) - DAY_US, "last": max(times) + DAY_US}
        if self.site is not None:
            parts.append("site = @site")
            values["site"] = self.site
        if self.stage is not None:
            parts.append("stage = @stage")
            values["stage"] = self.stage
        if self.reason is not None:
            parts.append("STRPOS(LOWER(reason), LOWER(@reason)) > 0")
            values["reason"] = self.reason
        if self.since_us is not None:
            parts.append("dt >= TIMESTAMP_MICROS(@since)")
            values["since"] = self.since_us
        return " AND ".join(parts), values


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One failed record; `dt_us` is when it failed."""

    fid: str
    dt_us: int
    site: str
    stage: str
    reason: str
    eid: str | None
    raw: str


def groups_sql(path: str, wanted: Wanted, marks: Sequence[str], limit: int) -> tuple[str, Values]:
    """Return what asks for the failed records by site, stage and reason; `marks` are the ids sent again."""
    where, values = wanted.where()
    sql = f"""
        SELECT site, stage, reason, COUNT(*) AS records, COUNTIF(fid IN UNNEST(@marks)) AS sent_again,
               MIN(dt) AS first, MAX(dt) AS last, MAX(fid) AS example
        FROM `{path}` WHERE {where} GROUP BY site, stage, reason
        ORDER BY last DESC, example LIMIT {limit}"""  # noqa: S608 - names of ours, values as parameters
    return sql, values | {"marks": list(marks)}


def rows_sql(path: str, wanted: Wanted, newest: int | None = None) -> tuple[str, Values]:
    """Return what asks for the failed records, the oldest first; or `newest` of them, the newest first, without raw."""
    where, values = wanted.where()
    columns = ", ".join(COLUMNS) if newest is None else ", ".join([*COLUMNS[:-1], "'' AS raw"])
    order = "ORDER BY dt, fid" if newest is None else f"ORDER BY dt DESC, fid DESC LIMIT {newest}"
    return f"SELECT {columns} FROM `{path}` WHERE {where} {order}", values  # noqa: S608 - as above


def count_sql(path: str, wanted: Wanted) -> tuple[str, Values]:
    """Return what asks how many they are."""
    where, values = wanted.where()
    return f"SELECT COUNT(*) FROM `{path}` WHERE {where}", values  # noqa: S608 - as above


def again_sql(path: str, eids: Sequence[str], first_us: int) -> tuple[str, Values]:
    """Return what asks which of these events BigQuery has refused, and the id of the last time."""
    sql = f"""
        SELECT eid, MAX(fid) FROM `{path}`
        WHERE stage = 'write' AND eid IN UNNEST(@eids) AND dt >= TIMESTAMP_MICROS(@first)
        GROUP BY eid"""  # noqa: S608 - as above
    return sql, {"eids": list(eids), "first": first_us}


def rows(found: Iterable[tuple[Any, ...]]) -> Iterator[Row]:
    """Yield the rows that `rows_sql` asked for."""
    for fid, dt, site, stage, reason, eid, raw in found:
        dt_us = 0 if dt is None else int(dt.timestamp()) * 1_000_000 + dt.microsecond
        yield Row(fid=fid, dt_us=dt_us, site=site or "", stage=stage or "", reason=reason or "", eid=eid, raw=raw or "")


def since_us(text: str, now_us: int) -> int:
    """Return what `--since` means: `30m`, `24h`, `7d`, a day or a time (UTC); raises ValueError."""
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return now_us - int(ago[1]) * _UNITS_US[ago[2]]
    try:
        return records.given_time_us(text.strip())
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time such as 24h, 7d, 2026-11-20 or 2026-11-20T16:48:16Z") from None


def told(row: Row, sent_again_ms: int | None, retry: str) -> dict[str, Any]:
    """Return a failed record for `show`; `retry` says what a retry would do now."""
    return {
        "fid": row.fid,
        "time": rfc3339(row.dt_us),
        "site": row.site,
        "stage": row.stage,
        "reason": row.reason,
        "eid": row.eid,
        "sent_again": None if sent_again_ms is None else rfc3339(sent_again_ms * 1000),
        "retry": retry,
        "raw": _parsed(row.raw),
    }


def page(shown: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of `show` for people."""
    for name, value in shown.items():
        if name == "raw":
            continue
        more = f" ({STAGES[value]})" if name == "stage" and value in STAGES else ""
        text = {"sent_again": "no", "eid": "none"}.get(name, "") if value is None else value
        yield f"{name.replace('_', ' ')}: {escaped(str(text))}{more}".rstrip()
    yield "raw:"
    raw = shown["raw"]
    text = raw if isinstance(raw, str) else json.dumps(raw, ensure_ascii=False, indent=2)
    yield from (f"  {escaped(line)}" for line in text.split("\n"))


def rfc3339(micros: int) -> str:
    """Return microseconds since 1970 as RFC 3339 in UTC."""
    moment = datetime.fromtimestamp(micros // 1_000_000, UTC).replace(microsecond=micros % 1_000_000)
    return moment.isoformat().replace("+00:00", "Z")


def _parsed(raw: str) -> Any:
    """Return the text as a JSON object, where it is one."""
    try:
        value = json.loads(raw)
    except ValueError:
        return raw
    return value if isinstance(value, dict) else raw
