"""The keeper: looks at what stands, asks the plan, and does it, one dataset or table at a time.

One table's trouble never stops the others: it is logged, counted, and tried again in the next round.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge

from oceanus.errors import WarehouseError
from oceanus.sites import Site
from oceanus.tables import Naming, Table
from oceanus.warehouse import Catalog
from table_manager import plan
from table_manager.plan import Action, AlterTable, CreateDataset, CreateTable, Dataset, Plan

log = logging.getLogger(__name__)


class Counts:
    """What an operator watches."""

    def __init__(self, registry: CollectorRegistry) -> None:
        prefix = "oceanus_table_manager"
        self.rounds = Counter(f"{prefix}_rounds", "Rounds ended, by outcome.", ["outcome"], registry=registry)
        self.actions = Counter(f"{prefix}_actions", "Changes made in BigQuery.", ["action"], registry=registry)
        self.failures = Counter(f"{prefix}_failures", "Datasets and tables not kept in a round.", registry=registry)
        self.refusals = Gauge(f"{prefix}_refusals", "Differences that are told and left.", registry=registry)
        self.finished = Gauge(f"{prefix}_last_round_timestamp_seconds", "When a round last ended.", registry=registry)


def utc_now() -> datetime:
    """Return the time, which decides whose day's tables are wanted."""
    return datetime.now(UTC)


class Keeper:
    """Keeps the tables of all sites; remembers only which refusals it has told."""

    def __init__(
        self,
        catalog: Catalog,
        sites: Iterable[Site],
        naming: Naming,
        counts: Counts,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._catalog = catalog
        self._sites = tuple(sites)
        self._naming = naming
        self._counts = counts
        self._clock = clock
        self._told: dict[str, tuple[str, ...]] = {}

    def round(self) -> bool:
        """Bring every wanted dataset and table there; return whether all that was planned could be done."""
        every = self._wanted()
        done = [self._keep(one) for one in every]
        self._forget_all_but(every)
        self._counts.rounds.labels(outcome="done" if all(done) else "troubled").inc()
        self._counts.refusals.set(sum(map(len, self._told.values())))
        self._counts.finished.set_to_current_time()
        return all(done)

    def plans(self) -> Iterator[Plan]:
        """Yield what a round would do, a plan for each dataset and table, and change nothing; raises WarehouseError."""
        return map(self._look, self._wanted())

    def _wanted(self) -> list[Dataset | Table]:
        return plan.wanted(self._sites, self._naming, self._clock())

    def _keep(self, one: Dataset | Table) -> bool:
        try:
            found = self._look(one)
            self._tell(one.path, found.refusals)
            for action in found.actions:
                self._apply(action)
        except WarehouseError as exc:
            log.error("%s: not kept, the next round tries again: %s", one.path, exc)
            self._counts.failures.inc()
            return False
        return True

    def _look(self, one: Dataset | Table) -> Plan:
        return plan.against(one, self._catalog)

    def _apply(self, action: Action) -> None:
        match action:
            case CreateDataset(dataset):
                self._catalog.create_dataset(dataset.path, dataset.description)
            case CreateTable(table):
                self._catalog.create(table)
            case AlterTable(table):
                self._catalog.alter(table)
        self._counts.actions.labels(action=type(action).__name__).inc()
        log.info("done: %s", action)

    def _tell(self, path: str, refusals: tuple[str, ...]) -> None:
        """Log what is refused when it changes, not in every round."""
        for refusal in refusals:
            if refusal not in self._told.get(path, ()):
                log.warning("refused: %s", refusal)
        self._told[path] = refusals

    def _forget_all_but(self, every: list[Dataset | Table]) -> None:
        """Drop the memory of tables that are wanted no more: past days."""
        paths = {one.path for one in every}
        self._told = {path: refusals for path, refusals in self._told.items() if path in paths}
