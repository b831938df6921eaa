"""The failed table, asked for whoever sits at the terminal or at the console: one query, one error in a sentence."""

import time
from dataclasses import dataclass

from management import failed, sql
from management.again import Judge
from management.failed import Row, Values, Wanted
from management.retry import Retrier
from oceanus.errors import TableMissingError, WarehouseError
from oceanus.shards import Spools
from oceanus.sites import Sites
from oceanus.tables import Naming
from oceanus.warehouse import Queries, Result


@dataclass(frozen=True, slots=True)
class FailedTable:
    """What reads the failed records, and what sends them again."""

    spool: Spools
    queries: Queries
    naming: Naming
    max_bytes: int

    @property
    def path(self) -> str:
        """Return where the failed records stand."""
        return self.naming.failed.path

    def ask(self, asked: tuple[str, Values]) -> Result:
        """Run a query on the failed table; raises WarehouseError."""
        try:
            return self.queries.select(asked[0], self.max_bytes, values=asked[1])
        except TableMissingError:
            raise WarehouseError(f"{self.path} is not there yet: table_manager makes it") from None
        except WarehouseError as exc:
            raise WarehouseError(sql.sentence(exc)[0]) from exc

    def row(self, fid: str) -> Row | None:
        """Return one failed record whole; None if the table has none of this id."""
        return next(failed.rows(self.ask(failed.rows_sql(self.path, Wanted(fids=(fid,)))).rows), None)

    def retrier(self, declared: Sites, verify: bool = False) -> Retrier:
        """Return what sends again, judging by these sites."""
        epochs = [one for one in self.spool.epochs().values() if one is not None]
        judge = Judge(declared, self.naming, min(epochs, default=None), time.time_ns() // 1000)
        return Retrier(self.spool, self.queries, self.path, judge, self.max_bytes, verify)

    def waiting(self, site: str | None) -> int:
        """Return how many failed records, of all sites or one, have not come to the table yet."""
        names = sorted(self.spool.sites()) if site is None else [site]
        return sum(look.waiting_failed for look in self.spool.glances(names, []).values())
