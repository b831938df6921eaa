"""Tables: which table a record belongs to by its `dt`, what columns that table has, and what its row is. Pure.

r2bq makes missing day tables from the same plan by which table_manager makes all others.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import chain
from typing import Any

import orjson

from oceanus import jsontext
from oceanus.errors import NotARecordError
from oceanus.records import INTERNAL, Record, day, time_us
from oceanus.sites import Field, Site

Row = dict[str, Any]

EID = "Event id, one per accepted beacon: a UUIDv7 of its receive time, or a UUIDv8 of its tracker's own id (cid)."
FAILED_EXPIRY_DAYS = 90
# `partly`: of this day the minutes that do not agree have rows of their own, all others agree.
REMOVED = "removed"  # of an epoch: its Redis is not configured any more
VERDICTS = ("agrees", "open", "differs", "partly", "before epoch", "expired", "damaged", "acknowledged", REMOVED)


@dataclass(frozen=True, slots=True)
class Column:
    """One column as BigQuery names it; `policy_tag` says who may read it, if that is not everyone."""

    name: str
    type: str = "STRING"
    mode: str = "NULLABLE"
    description: str = ""
    policy_tag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One wanted table. `path` is `dataset.table`; `key` is the column with each row's id; None partitions nothing."""

    path: str
    columns: tuple[Column, ...]
    description: str
    key: str = field(default="eid", compare=False)
    partition: str | None = None
    cluster: tuple[str, ...] = ()
    expiry_days: int | None = None
    labels: dict[str, str] = field(default_factory=dict)
    known: frozenset[str] = field(init=False, compare=False, repr=False)  # what a record may have as members

    def __post_init__(self) -> None:
        object.__setattr__(self, "known", frozenset(column.name for column in self.columns).union(INTERNAL))

    @property
    def dataset(self) -> str:
        """Return the dataset's name."""
        return self.path.partition(".")[0]

    @property
    def name(self) -> str:
        """Return the table's name within its dataset."""
        return self.path.partition(".")[2]


@dataclass(frozen=True, slots=True)
class Naming:
    """Where this deployment's tables are: its dataset and what stands before each table name."""

    dataset: str
    prefix: str = ""

    def path(self, site: Site, dt: str) -> str:
        """Return `dataset.table` of a record of `site` with the time `dt`."""
        name = f"{self.dataset}.{self.prefix}{site.table.name}"
        return f"{name}_{day(dt)}" if site.table.is_daily else name

    def table(self, site: Site, dt: str) -> Table:
        """Return the wanted table of a record of `site` with the time `dt`."""
        daily = site.table.is_daily
        return Table(
            path=self.path(site, dt),
            columns=_columns(site),
            description=f"oceanus: {site.description or f'beacons of the site {site.name}'}",
            partition=None if daily else "dt",
            cluster=() if daily else site.table.cluster,
            expiry_days=site.table.expiry_days,
            labels={"managed_by": "oceanus", "site": site.name},
        )

    def tables(self, site: Site, now: datetime, tomorrow: date | None) -> Iterator[Table]:
        """Yield the tables of `site` that must stand now: today's, and tomorrow's of the daily form."""
        yield self.table(site, str(now.date()))
        if site.table.is_daily and tomorrow is not None:
            yield self.table(site, str(tomorrow))

    @property
    def failed(self) -> Table:
        """Return the table of failed records: nullable text and times alone, so that it can refuse nothing."""
        return Table(
            path=f"{self.dataset}_failed.failed",
            columns=(
                Column("dt", "TIMESTAMP", description="When it failed: received (rules) or refused (write)."),
                Column("site", description="Site it was sent to."),
                Column("stage", description="rules: arms rejected the beacon; write: BigQuery refused the record."),
                Column("reason", description="Why, in words; begins with the field or keyword it is about."),
                Column("eid", description="Event id, where the record had one already."),
                Column("raw", description="The beacon or record as text; a rejected beacon's is cut at 8 KiB."),
                Column("fid", description="Id of this failed record, for `oceanus failed retry`."),
            ),
            key="fid",
            description="oceanus: beacons that were rejected and records that BigQuery refused",
            partition="dt",
            cluster=("site", "stage"),
            expiry_days=FAILED_EXPIRY_DAYS,
            labels={"managed_by": "oceanus"},
        )

    @property
    def audit(self) -> Table:
        """Return the table of the audit's verdicts."""
        counts = ("accepted", "settled", "failed", "repeated", "in_flight", "rows", "missing", "doubled")
        return Table(
            path=f"{self.dataset}.audit",
            columns=(
                Column("dt", "TIMESTAMP", "REQUIRED", "When the audit looked."),
                Column(
                    "site",
                    "STRING",
                    "REQUIRED",
                    "Site that was audited; for an epoch the Redis.",
                ),
                Column("bucket", "TIMESTAMP", "REQUIRED", "First moment of what was judged."),
                Column("span", "STRING", "REQUIRED", "minute, day, site or epoch."),
                Column("verdict", "STRING", "REQUIRED", f"One of: {', '.join(VERDICTS)}."),
                *(Column(name, "INT64", description=f"Records {name.replace('_', ' ')}.") for name in counts),
                Column("epoch", "STRING", description="Since when this Redis counts."),
                Column("eid", "STRING", description="Id of this verdict."),
            ),
            description="oceanus: does every accepted beacon stand in its table exactly once?",
            partition="dt",
            cluster=("site",),
            labels={"managed_by": "oceanus"},
        )


def row(table: Table, record: Record) -> Row:
    """Return the row of `record`: values as the Storage Write API takes them, TIMESTAMP in microseconds since 1970.

    Raises NotARecordError, with the column in the sentence, for a value that is not of its column's type. What is
    missing is for BigQuery to judge; members without a column are left out (see `undeclared`).
    """
    values: Row = {}
    for column in table.columns:
        value = record.get(column.name)
        if value is not None:
            values[column.name] = _VALUES[column.type](column.name, value)
    return values


def plain_rows(table: Table, decoded: Sequence[Record]) -> list[Row] | None:
    """Turn records into their rows, in place, as `row` would; None where one of them needs `row` or `undeclared`.

    What is asked of all at once, by column or of all values, takes a third of the time. Members that are None stay,
    and count as missing.
    """
    if not table.known.issuperset(set().union(*decoded)):
        return None
    for name in INTERNAL:
        for record in decoded:
            record.pop(name, None)
    if not _are_plain(table, decoded):
        return None
    try:
        for column in table.columns:
            if column.type in _PREPARED:
                _PREPARED[column.type](column.name, decoded)
    except (ValueError, NotARecordError):
        return None
    return list(decoded)


def undeclared(table: Table, record: Record) -> set[str]:
    """Return the members of a record that have no column in `table`: of a release or a sites.yaml that is not ours."""
    return {name for name, value in record.items() if value is not None and name not in table.known}


def _columns(site: Site) -> tuple[Column, ...]:
    declared = [_column(site, one) for one in site.fields]
    if site.unknown:
        kind = "STRING" if site.table.is_daily else "JSON"
        declared.append(Column(site.unknown, kind, "NULLABLE", "Parameters that no field declares, as JSON."))
    mode = "NULLABLE" if site.table.is_daily else "REQUIRED"
    return (*declared, Column("eid", "STRING", mode, EID))


def _column(site: Site, one: Field) -> Column:
    kind = "STRING" if site.table.is_daily else one.type
    return Column(one.name, kind, one.mode, one.description, one.policy_tag)


def _string(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return orjson.dumps(value).decode()
    raise NotARecordError(f"{name}: is no text")


def _timestamp(name: str, value: object) -> int:
    try:
        return time_us(str(value))
    except ValueError:
        raise NotARecordError(f"{name}: is no time") from None


def _json(name: str, value: object) -> str:
    text = str(value)
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            jsontext.loads(text)  # orjson takes no number beyond a double, and fewer levels
        except ValueError as exc:
            raise NotARecordError(f"{name}: {exc}") from None
    return text


def _integer(name: str, value: object) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise NotARecordError(f"{name}: is no whole number of 64 bits")
    return value


def _exactly(*kinds: type) -> Callable[[str, object], object]:
    def take(name: str, value: object) -> object:
        if type(value) not in kinds:
            raise NotARecordError(f"{name}: is not of the column's type")
        return value

    return take


# How a value of each column type is made for the Storage Write API.
_VALUES: dict[str, Callable[[str, object], object]] = {
    "STRING": _string,
    "TIMESTAMP": _timestamp,
    "JSON": _json,
    "INT64": _integer,
    "FLOAT64": _exactly(int, float),
    "BOOL": _exactly(bool),
}
TYPES = frozenset(_VALUES)


def _are_plain(table: Table, decoded: Sequence[Record]) -> bool:
    """Say whether every value is of the type that its column mostly has; nearly all values are texts."""
    odd = set(map(type, chain.from_iterable(map(dict.values, decoded)))) - _TEXT
    asked = [column for column in table.columns if odd or _PLAIN[column.type] is not _TEXT]
    return all({type(record.get(one.name)) for record in decoded} <= _PLAIN[one.type] for one in asked)


def _in_micros(name: str, decoded: Sequence[Record]) -> None:
    for record in decoded:
        value = record.get(name)
        if value is not None:
            record[name] = time_us(value)


def _judged(take: Callable[[str, object], object]) -> Callable[[str, Sequence[Record]], None]:
    """Return what raises NotARecordError for a wrong value; one that comes often is looked at once."""

    def judge(name: str, decoded: Sequence[Record]) -> None:
        for value in {record.get(name) for record in decoded} - {None}:
            take(name, value)

    return judge


_TEXT: frozenset[type] = frozenset({str, type(None)})
_PLAIN: dict[str, frozenset[type]] = {
    "STRING": _TEXT,
    "TIMESTAMP": _TEXT,
    "JSON": _TEXT,
    "INT64": frozenset({int, type(None)}),
    "FLOAT64": frozenset({int, float, type(None)}),
    "BOOL": frozenset({bool, type(None)}),
}
# How all values of a column are made for the Storage Write API, where more than their type is to be looked at.
_PREPARED: dict[str, Callable[[str, Sequence[Record]], None]] = {
    "TIMESTAMP": _in_micros,
    "JSON": _judged(_json),
    "INT64": _judged(_integer),
}
