"""What stands in BigQuery, as far as a drain must know it: columns that a table has or lacks, and its new streams.

A site's partitioned table is made by table_manager, and waited for; a day's table is nobody else's, and made here.
"""

import logging
from dataclasses import dataclass, replace

from oceanus import tables
from oceanus.errors import TableMissingError
from oceanus.tables import Table
from oceanus.warehouse import Catalog, Queries, Writer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Warehouse:
    """What a drain needs of BigQuery."""

    catalog: Catalog
    queries: Queries
    writer: Writer

    def find(self, path: str) -> Table:
        """Return a table as it stands; raises TableMissingError."""
        found = self.catalog.find(path)
        if found is None:
            raise TableMissingError(f"{path} is not there")
        return found

    def widened(self, table: Table, path: str) -> Table:
        """Return the table with the columns that stand there beside its own and that we can write."""
        known = {column.name for column in table.columns}
        standing = self.find(path)
        more = tuple(one for one in standing.columns if one.name not in known and one.type in tables.TYPES)
        return replace(table, columns=(*table.columns, *more))

    def lacking(self, table: Table) -> list[str]:
        """Return the columns that the standing table lacks; a day's table is given them."""
        standing = self.find(table.path)
        there = {column.name for column in standing.columns}
        more = tuple(replace(column, mode="NULLABLE") for column in table.columns if column.name not in there)
        if more and table.partition is None:
            self.catalog.alter(replace(standing, columns=standing.columns + more))
            log.warning("gave %s the columns it lacked", table.path)
        return [column.name for column in more]

    def create_stream(self, table: Table) -> str:
        """Return a new stream; a day's table that is not there yet is made, any other raises TableMissingError."""
        try:
            return self.writer.create_stream(table.path)
        except TableMissingError:
            if table.partition is not None:
                raise
        self.catalog.create(table)
        log.info("made the day's table %s", table.path)
        return self.writer.create_stream(table.path)
