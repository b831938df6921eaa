"""A source: one list of one site that is drained, and where its records go. Pure.

`queue` holds what was accepted; `later` what stepped aside because its table is in trouble or it is for a newer
release; `resends` what may have
been accepted before; `failed` what cannot be written to the site's table.
"""

from dataclasses import dataclass

from oceanus.records import Record
from oceanus.sites import Site
from oceanus.tables import Naming, Table


@dataclass(frozen=True, slots=True)
class Source:
    """A list to drain, and where its records go."""

    site: Site
    list: str
    naming: Naming

    @property
    def key(self) -> str:
        """Return the member that names a record of this list."""
        return "fid" if self.list == "failed" else "eid"

    @property
    def is_counted(self) -> bool:
        """Say whether the ledger counts this list: it counts accepted records alone."""
        return self.list != "failed"

    @property
    def steps_aside(self) -> bool:
        """Say whether its records go to several tables, so that those of one may step aside for the others."""
        return self.is_written_freely and self.site.table.is_daily

    @property
    def is_written_freely(self) -> bool:
        """Say whether what waits for something may wait in `later`: not resends, which would be written unjudged."""
        return self.list in ("queue", "later")

    def path(self, record: Record) -> str:
        """Return `dataset.table` of a record, by its own time."""
        return self.naming.path(self.site, record["dt"]) if self.is_counted else self.naming.failed.path

    def table(self, record: Record) -> Table:
        """Return the table of a record, as sites.yaml declares it."""
        return self.naming.table(self.site, record["dt"]) if self.is_counted else self.naming.failed

    def is_timed(self, path: str) -> bool:
        """Say whether the dt of a table is a TIMESTAMP: of all but the original's tables per day."""
        return path == self.naming.failed.path or not self.site.table.is_daily

    def __str__(self) -> str:
        return self.site.name if self.list == "queue" else f"{self.site.name}'s {self.list}"
