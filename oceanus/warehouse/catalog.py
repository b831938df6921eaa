"""The catalog: datasets and tables, read as plans know them, made and altered as plans say."""

from typing import Any

from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY
from google.cloud.bigquery.schema import PolicyTagList
from google.cloud.bigquery.table import PrimaryKey, TableConstraints

from oceanus.tables import Column, Table
from oceanus.warehouse.clients import Clients
from oceanus.warehouse.failures import translated

SECONDS = 30
_RETRY = DEFAULT_RETRY.with_timeout(SECONDS)  # the client's own would try for ten minutes, and hold all others up
_DAY_MS = 86_400_000
# What the REST API answers, by the names that SQL and our plans use.
_TYPES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "RECORD": "STRUCT"}


class Catalog:
    """Reads and changes what stands in the warehouse."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._rest = clients.rest

    def has_dataset(self, name: str) -> bool:
        """Say whether the dataset stands."""
        with translated():
            try:
                self._rest.get_dataset(f"{self._clients.project}.{name}", retry=_RETRY, timeout=SECONDS)
            except exceptions.NotFound:
                return False
            return True

    def create_dataset(self, name: str, description: str) -> None:
        """Make the dataset where BQ_LOCATION says; one that stands already is left alone."""
        made = bigquery.Dataset(f"{self._clients.project}.{name}")
        made.location, made.description, made.labels = self._clients.location, description, {"managed_by": "oceanus"}
        with translated():
            self._rest.create_dataset(made, exists_ok=True, retry=_RETRY, timeout=SECONDS)

    def find(self, path: str) -> Table | None:
        """Return the table at `dataset.table` as it stands, or None."""
        with translated():
            try:
                found = self._rest.get_table(f"{self._clients.project}.{path}", retry=_RETRY, timeout=SECONDS)
            except exceptions.NotFound:
                return None
        return _read(path, found)

    def create(self, table: Table) -> None:
        """Make the table; one that stands already is left alone."""
        with translated():
            self._rest.create_table(self._written(table), exists_ok=True, retry=_RETRY, timeout=SECONDS)

    def alter(self, table: Table) -> None:
        """Change columns, description, labels, clustering and expiry of a table to those of `table`.

        New columns are added and descriptions set; columns that `table` does not name must be among its columns:
        BigQuery refuses a schema without them.
        """
        wanted = self._written(table)
        with translated():
            # with its etag: a 412 if somebody else is faster
            current = self._rest.get_table(wanted.reference, retry=_RETRY, timeout=SECONDS)
            current.schema = [_kept(column, current.schema) for column in wanted.schema]
            current.description, current.labels = wanted.description, wanted.labels
            current.clustering_fields = wanted.clustering_fields
            parts = ["schema", "description", "labels", "clustering_fields"]
            if table.partition and current.time_partitioning:
                partitioning = current.time_partitioning
                partitioning.expiration_ms = wanted.time_partitioning.expiration_ms
                current.time_partitioning = partitioning
                parts.append("time_partitioning")
            self._rest.update_table(current, parts, retry=_RETRY, timeout=SECONDS)

    def _written(self, table: Table) -> bigquery.Table:
        made = bigquery.Table(f"{self._clients.project}.{table.path}", schema=[_field(one) for one in table.columns])
        made.description, made.labels = table.description, table.labels
        if table.partition:
            expiry = table.expiry_days * _DAY_MS if table.expiry_days else None
            made.time_partitioning = bigquery.TimePartitioning(field=table.partition, expiration_ms=expiry)
        if table.cluster:
            made.clustering_fields = list(table.cluster)
        if any(one.name == table.key for one in table.columns):
            made.table_constraints = TableConstraints(PrimaryKey([table.key]), None)
        return made


def _field(column: Column) -> bigquery.SchemaField:
    tags = PolicyTagList([column.policy_tag]) if column.policy_tag else None
    return bigquery.SchemaField(column.name, column.type, column.mode, description=column.description, policy_tags=tags)


def _kept(wanted: bigquery.SchemaField, standing: list[bigquery.SchemaField]) -> bigquery.SchemaField:
    """Return the column with its new mode and description, and all that our plans do not know as it stands.

    That is policy tags that sites.yaml does not name, default values, lengths, the parts of a STRUCT: a schema without
    them would take them off.
    """
    known = next((one.to_api_repr() for one in standing if one.name == wanted.name), {})
    changed: dict[str, Any] = {"mode": wanted.mode, "description": wanted.description}
    if wanted.policy_tags:
        changed["policyTags"] = wanted.policy_tags.to_api_repr()
    return bigquery.SchemaField.from_api_repr(wanted.to_api_repr() | known | changed)


def _read(path: str, found: bigquery.Table) -> Table:
    partitioning = found.time_partitioning
    expiry_ms = partitioning.expiration_ms if partitioning else None
    return Table(
        path=path,
        columns=tuple(
            Column(
                one.name,
                _TYPES.get(one.field_type, one.field_type),
                one.mode or "NULLABLE",
                one.description or "",
                next(iter(one.policy_tags.names), "") if one.policy_tags else "",
            )
            for one in found.schema
        ),
        description=found.description or "",
        partition=(partitioning.field or "_PARTITIONTIME") if partitioning else None,
        cluster=tuple(found.clustering_fields or ()),
        expiry_days=round(int(expiry_ms) / _DAY_MS) if expiry_ms else None,
        labels=dict(found.labels or {}),
    )
