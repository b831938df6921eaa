"""`python -m table_manager`: reads settings, makes clients, keeps the tables and audits until it is told to stop."""

import argparse
import sys
import threading
from dataclasses import dataclass

from prometheus_client import REGISTRY

from oceanus import settings, sites, warehouse
from oceanus.auditor import Auditor
from oceanus.errors import MisconfiguredError, WarehouseError
from oceanus.settings import TableManagerSettings
from oceanus.shards import Spools, shards
from oceanus.tables import Naming
from oceanus.warehouse.clients import check
from oceanus.worker import Stop, begin, loop, refuse_to_start, serve_health
from table_manager import keeper, prover
from table_manager.keeper import Keeper
from table_manager.prover import Prover

STOP_SECONDS = 2.0


def main() -> int:
    """Run as the command line says; return the exit code."""
    asked = _arguments()
    try:
        chosen = settings.read(TableManagerSettings)
        begin("table_manager", chosen.log)
        parts = _Parts.read(chosen)
        tables = parts.keeper()
        if asked.plan:
            return _show(tables)
        if asked.once:
            return 0 if tables.round() else 1
        return _keep(tables, parts.prover(chosen) if chosen.audit_seconds else None, chosen)
    except MisconfiguredError as exc:
        refuse_to_start("table_manager", exc)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m table_manager", description="Keep the tables of sites.yaml.")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--once", action="store_true", help="one round; exit 1 if something could not be applied")
    form.add_argument("--plan", action="store_true", help="print what a round would do and refuse; change nothing")
    return parser.parse_args()


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the keeper and the prover are made of."""

    sites: sites.Sites
    clients: warehouse.Clients
    naming: Naming

    @classmethod
    def read(cls, chosen: TableManagerSettings) -> "_Parts":
        """Read sites.yaml and reach BigQuery; raises MisconfiguredError."""
        declared, clients = sites.load(chosen.sites.file), warehouse.connect(chosen.warehouse)
        check(clients, chosen.warehouse.dataset)
        return cls(declared, clients, Naming(chosen.warehouse.dataset, chosen.warehouse.table_prefix))

    def keeper(self) -> Keeper:
        """Return what keeps the tables."""
        return Keeper(warehouse.Catalog(self.clients), self.sites.values(), self.naming, keeper.Counts(REGISTRY))

    def prover(self, chosen: TableManagerSettings) -> Prover:
        """Return what audits."""
        queries = warehouse.Queries(self.clients, self.naming.dataset)
        spools = Spools.connected(shards(chosen.redis, self.sites))
        auditor = Auditor(spools, queries, warehouse.Writer(self.clients), self.naming)
        return Prover(auditor, self.sites.values(), prover.Counts(REGISTRY))


def _show(tables: Keeper) -> int:
    """Print what a round would do, a line each; nothing where all stands as wanted."""
    try:
        for one in tables.plans():
            for action in one.actions:
                print(action, flush=True)
            for refusal in one.refusals:
                print(f"refused: {refusal}", flush=True)
    except WarehouseError as exc:
        print(f"table_manager: cannot read what stands: {exc}", file=sys.stderr)
        return 1
    return 0


def _keep(tables: Keeper, audits: Prover | None, chosen: TableManagerSettings) -> int:
    """Make a round every interval until the process is told to stop.

    Rounds have a thread of their own, so that a call that hangs at BigQuery delays no stop: each action is one call
    and safe to repeat, so a round may end anywhere. So have audits, and whatever ends them ends nothing else.
    """
    stop = Stop().listen()

    def step() -> bool:
        tables.round()
        return False  # whatever came of it, the next look is an interval away

    rounds = threading.Thread(target=loop, args=(step, stop, chosen.interval_seconds), name="rounds", daemon=True)
    serve_health(chosen.port, chosen.internal, rounds.is_alive)
    rounds.start()
    if audits:
        given = (audits, stop, chosen.audit_seconds)
        threading.Thread(target=prover.keep_proving, args=given, name="audits", daemon=True).start()
    while rounds.is_alive() and not stop.wait(1.0):
        pass
    rounds.join(STOP_SECONDS)
    return 0 if stop else 1  # a surprise ended the rounds: let the orchestrator start anew


if __name__ == "__main__":
    sys.exit(main())
