"""The plan: which datasets and tables are wanted, and what brings the standing ones there. Pure.

It never drops or narrows: what sites.yaml does not name is kept, what BigQuery cannot widen is refused in a sentence.
Applied once, the same plan is empty.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from oceanus.sites import Site
from oceanus.tables import Column, Naming, Table

NOON = 12  # from this UTC hour on tomorrow's tables are wanted, as in the original: half a day to repair what fails


class Standing(Protocol):
    """What knows what stands: the warehouse's catalog."""

    def has_dataset(self, name: str) -> bool:
        """Say whether the dataset stands."""

    def find(self, path: str) -> Table | None:
        """Return the table at `dataset.table` as it stands, or None."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """One wanted dataset."""

    path: str
    description: str


@dataclass(frozen=True, slots=True)
class CreateDataset:
    """Make a dataset that is not there."""

    dataset: Dataset

    def __str__(self) -> str:
        return f"create dataset {self.dataset.path}"


@dataclass(frozen=True, slots=True)
class CreateTable:
    """Make a table that is not there."""

    table: Table

    def __str__(self) -> str:
        parts = [f"{len(self.table.columns)} columns"]
        if self.table.partition:
            parts.append(f"a partition a day of {self.table.partition}")
        if self.table.cluster:
            parts.append(_clustering(self.table.cluster))
        return f"create table {self.table.path}: {', '.join(parts)}"


@dataclass(frozen=True, slots=True)
class AlterTable:
    """Bring a standing table to `table`, which has every column that stands; `changes` says it in words."""

    table: Table
    changes: tuple[str, ...]

    def __str__(self) -> str:
        return f"alter table {self.table.path}: {'; '.join(self.changes)}"


Action = CreateDataset | CreateTable | AlterTable


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done about one dataset or table, and what will not be done, a sentence each."""

    actions: tuple[Action, ...] = ()
    refusals: tuple[str, ...] = ()


def wanted(sites: Iterable[Site], naming: Naming, now: datetime) -> list[Dataset | Table]:
    """Return all that must stand at `now` (UTC), datasets before their tables.

    Of a site with a table for each day that is today's and, from noon on, tomorrow's; the past is not kept here.
    """
    tomorrow = now.date() + timedelta(days=1) if now.hour >= NOON else None
    return [
        Dataset(naming.dataset, "oceanus: the records of all sites, and the audit's verdicts"),
        Dataset(naming.failed.dataset, "oceanus: records and beacons that could not be written"),
        naming.failed,
        naming.audit,
        *(table for site in sites for table in naming.tables(site, now, tomorrow)),
    ]


def against(one: Dataset | Table, standing: Standing) -> Plan:
    """Return what brings one wanted dataset or table there; raises what `standing` does."""
    if isinstance(one, Dataset):
        return for_dataset(one, standing.has_dataset(one.path))
    return for_table(one, standing.find(one.path))


def for_dataset(dataset: Dataset, stands: bool) -> Plan:
    """Return what brings the wanted `dataset` there; one that stands is left alone."""
    return Plan() if stands else Plan((CreateDataset(dataset),))


def for_table(table: Table, standing: Table | None) -> Plan:
    """Return what brings the wanted `table` there from what stands in its place, if anything does."""
    if standing is None:
        return Plan((CreateTable(table),))
    verdicts = _columns(table, standing)
    altered = replace(
        standing,
        columns=tuple(verdict.column for verdict in verdicts),
        description=table.description or standing.description,
        labels=standing.labels | table.labels,
        cluster=standing.cluster if _unfit(table, standing) else table.cluster,
        expiry_days=table.expiry_days if _agree(table, standing) else standing.expiry_days,
        key=table.key,
    )
    changes = [change for verdict in verdicts for change in verdict.changes] + _table_changes(altered, standing)
    refusals = [refusal for verdict in verdicts for refusal in verdict.refusals] + _table_refusals(table, standing)
    return Plan(
        (AlterTable(altered, tuple(changes)),) if altered != standing else (),
        tuple(f"{table.path}: {refusal}" for refusal in refusals),
    )


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What one column becomes, what changes by that, and what is refused."""

    column: Column
    changes: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()


def _columns(table: Table, standing: Table) -> list[_Verdict]:
    """Judge the standing columns in their order, then the new ones: BigQuery adds columns at the end alone."""
    declared = {column.name: column for column in table.columns}
    known = {column.name for column in standing.columns}
    kept = [_kept(column, declared.get(column.name)) for column in standing.columns]
    return kept + [_added(column) for column in table.columns if column.name not in known]


def _kept(column: Column, declared: Column | None) -> _Verdict:
    if declared is None:
        return _undeclared(column)
    if declared.type != column.type:
        sentence = f"is {column.type}, not {declared.type}: no type is changed; give the field another name"
        return _Verdict(column, refusals=(f"column {column.name} {sentence}",))
    changes, refusals = [], []
    if (column.mode, declared.mode) == ("REQUIRED", "NULLABLE"):
        changes.append(f"relax column {column.name} to NULLABLE")
        column = replace(column, mode="NULLABLE")
    if declared.mode != column.mode:
        refusals.append(_narrower(column.name, column.mode, declared.mode))
    if declared.description not in ("", column.description):
        changes.append(f"describe column {column.name}")
        column = replace(column, description=declared.description)
    if declared.policy_tag not in ("", column.policy_tag):  # one that is not declared is taken off by a person
        changes.append(f"tag column {column.name} with {declared.policy_tag}")
        column = replace(column, policy_tag=declared.policy_tag)
    return _Verdict(column, tuple(changes), tuple(refusals))


def _undeclared(column: Column) -> _Verdict:
    """Keep a column that no field fills; a REQUIRED one is relaxed, or the table could take no record any more."""
    refusals = (f"column {column.name} is declared no more: no column is dropped",)
    if column.mode != "REQUIRED":
        return _Verdict(column, refusals=refusals)
    change = f"relax column {column.name} to NULLABLE, as no field fills it"
    return _Verdict(replace(column, mode="NULLABLE"), (change,), refusals)


def _added(column: Column) -> _Verdict:
    added = replace(column, mode="NULLABLE") if column.mode == "REQUIRED" else column
    # Worded as it will be in the next round, when the column stands: told once, not twice.
    refusals = (_narrower(column.name, added.mode, column.mode),) if added != column else ()
    return _Verdict(added, (f"add column {column.name} {column.type}",), refusals)


def _narrower(name: str, mode: str, declared: str) -> str:
    return f"column {name} is {mode}, not {declared}: a table that stands is given no narrower column"


def _table_changes(altered: Table, standing: Table) -> list[str]:
    changes = []
    if altered.description != standing.description:
        changes.append("describe the table")
    if altered.labels != standing.labels:
        fresh = sorted(altered.labels.items() - standing.labels.items())
        changes.append("label it " + ", ".join(f"{name}={value}" for name, value in fresh))
    if altered.cluster != standing.cluster:
        changes.append(_clustering(altered.cluster))
    if altered.expiry_days != standing.expiry_days:
        days = altered.expiry_days
        changes.append(f"let partitions expire after {days} days" if days else "let partitions expire no more")
    return changes


def _table_refusals(table: Table, standing: Table) -> list[str]:
    refusals = []
    if table.partition != standing.partition:
        there, wished = _partitioning(standing.partition), _partitioning(table.partition)
        refusals.append(f"is {there}, not {wished}: no partitioning is changed; give the site another table name")
    unfit = _unfit(table, standing)
    if unfit:
        refusals.append(f"is not {_clustering(table.cluster)}: of another type than declared: {', '.join(unfit)}")
    return refusals


def _unfit(table: Table, standing: Table) -> list[str]:
    """Return the wanted clustering columns that stand with a type that was not meant to be clustered by."""
    declared = {column.name: column.type for column in table.columns}
    types = {column.name: column.type for column in standing.columns}
    return [name for name in table.cluster if types.get(name) not in (None, declared.get(name))]


def _agree(table: Table, standing: Table) -> bool:
    """Say whether both are partitioned alike, so that an expiry means the same days."""
    return table.partition is not None and table.partition == standing.partition


def _partitioning(column: str | None) -> str:
    return f"partitioned by {column}" if column else "unpartitioned"


def _clustering(columns: tuple[str, ...]) -> str:
    return f"clustered by {', '.join(columns)}" if columns else "clustered no more"
