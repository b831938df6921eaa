"""What the processes show at /metrics, as their code declares it; and which names a query asks for."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.metrics import MetricWrapperBase

from arms import metrics as arms
from management.console import app as console
from oceanus import worker
from r2bq import metrics as r2bq
from revelation import metrics as revelation
from table_manager import keeper, prover

PROCESSES = ("arms", "r2bq", "table_manager", "revelation", "console")
# What we ask for and others show: prometheus_client of each process, and blackbox_exporter (docs/monitoring.md).
OTHERS = {"process_cpu_seconds_total", "process_resident_memory_bytes", "probe_ssl_earliest_cert_expiry"}
_WORDS = {"and", "or", "unless", "by", "on", "without", "ignoring", "group_left", "group_right", "offset", "bool"}


@dataclass(frozen=True, order=True)
class Shown:
    """A metric, by the name that it has in Prometheus' text, and who shows it: a process, or `every`."""

    process: str
    name: str
    type: str
    labels: tuple[str, ...]
    help: str

    @property
    def names(self) -> set[str]:
        """Return the names of its series."""
        return {self.name + end for end in ("_bucket", "_sum", "_count")} if self.type == "histogram" else {self.name}


def every() -> list[Shown]:
    """Return all metrics of all processes."""
    kept = CollectorRegistry()
    counts = [*vars(keeper.Counts(kept)).values(), *vars(prover.Counts(kept)).values()]
    found = [("every", worker.BUILD), *(("table_manager", one) for one in counts)]
    found += [("console", console.WATCHING), ("r2bq", r2bq.FRESHNESS), ("r2bq", r2bq.Claims([]))]
    for process, module in (("arms", arms), ("r2bq", r2bq), ("revelation", revelation)):
        found += [(process, one) for one in vars(module).values() if isinstance(one, MetricWrapperBase)]
    return sorted(_shown(process, one) for process, one in found)


def names() -> set[str]:
    """Return the names of all series that any process shows."""
    return {name for one in every() for name in one.names}


def asked(query: str) -> set[str]:
    """Return the names of the series that a query asks for."""
    bare = re.sub(r"\"[^\"]*\"|'[^']*'", "", query)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\boffset\s+\w+", "", bare)
    return set(re.findall(r"(?<![\w:$.])([a-zA-Z_:][\w:]*)\b(?!\s*\()", bare)) - _WORDS


def rows(process: str, some: Iterable[Shown]) -> Iterator[str]:
    """Yield the lines of docs/metrics.md for a process."""
    for one in some:
        if one.process == process:
            yield f"| `{one.name}` | {one.type} | {', '.join(one.labels) or '-'} | {one.help} |"


def _shown(process: str, collector: object) -> Shown:
    if isinstance(collector, MetricWrapperBase):
        family, labels = collector.describe()[0], collector._labelnames
    else:
        [family] = collector.collect()  # type: ignore[attr-defined] # a collector of ours
        assert isinstance(family, Metric)
        labels = family._labelnames  # type: ignore[attr-defined] # as prometheus_client.core gives it
    name = f"{family.name}_total" if family.type == "counter" else family.name
    return Shown(process, name, family.type, tuple(labels), family.documentation)
