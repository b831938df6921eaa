"""The prover: audits the sites whose ledger has changed, and keeps what an operator is warned by.

Judged days are remembered, so that BigQuery is asked only for those that have changed since, were open, or differed;
of days that agreed and are at rest, `oceanus audit` looks again. Trouble is logged, counted, and tried again soon.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge

from oceanus.audit import SiteAudit, Verdict
from oceanus.auditor import Auditor
from oceanus.errors import SpoolError, WarehouseError
from oceanus.ledger import Ledger, Totals
from oceanus.sites import Site
from oceanus.spool import LEDGER_DAYS
from oceanus.worker import Stop

log = logging.getLogger(__name__)

SOON_SECONDS = 300
_AT_REST = frozenset(
    {"agrees", "partly", "before epoch", "expired", "damaged"}
)  # what is not at rest in a day is told apart


class Counts:
    """What an operator watches."""

    def __init__(self, registry: CollectorRegistry) -> None:
        prefix = "oceanus_audit"
        site = ["site"]
        self.missing = Gauge(f"{prefix}_missing", "Accepted beacons that stand nowhere.", site, registry=registry)
        self.doubled = Gauge(f"{prefix}_doubled", "Rows too many.", site, registry=registry)
        self.alarms = Gauge(f"{prefix}_alarms", "Alarms that nobody has acknowledged.", registry=registry)
        self.checked = Gauge(
            f"{prefix}_checked_timestamp_seconds", "When an audit of all sites last ended well.", registry=registry
        )
        self.failures = Counter(f"{prefix}_failures", "Audits that could not be made or written.", registry=registry)


@dataclass(slots=True)
class _Judged:
    """What is remembered of a site: each judged day's counts and verdicts."""

    counted: dict[str, Totals] = field(default_factory=dict)
    verdicts: dict[str, list[Verdict]] = field(default_factory=dict)

    def choose(self, ledger: Ledger) -> list[str]:
        """Return the days to ask for; at first those of which minutes are known."""
        days = sorted(ledger.days)
        if not self.counted:
            self.counted = {day: ledger.days[day] for day in days[:-LEDGER_DAYS]}
        return [day for day in days if self.counted.get(day) != ledger.days[day] or not self._is_at_rest(day)]

    def take(self, audit: SiteAudit) -> None:
        """Remember an audit's verdicts."""
        verdicts: dict[str, list[Verdict]] = {}
        for one in audit.verdicts:
            verdicts.setdefault(one.bucket[:8], []).append(one)
        self.verdicts |= verdicts
        self.counted |= {day: every[0].counted for day, every in verdicts.items()}

    def _is_at_rest(self, day: str) -> bool:
        return all(one.verdict in _AT_REST for one in self.verdicts.get(day, ()))


class Prover:
    """Audits all sites, and remembers what it has judged."""

    def __init__(self, auditor: Auditor, sites: Iterable[Site], counts: Counts) -> None:
        self._auditor = auditor
        self._sites = tuple(sites)
        self._counts = counts
        self._judged = {site.name: _Judged() for site in self._sites}
        self._told: set[str] = set()

    def round(self) -> bool:
        """Audit every site and write the verdicts; return whether nothing stood in the way."""
        try:
            done = [self._audit(site) for site in self._sites]
            self._look_for_alarms()
            self._auditor.write()
        except (SpoolError, WarehouseError) as exc:
            return self._fail(f"no audit now, tried again soon: {exc}")
        if all(done):
            self._counts.checked.set_to_current_time()
        return all(done)

    def _audit(self, site: Site) -> bool:
        judged = self._judged[site.name]
        audit = self._auditor.audit(site, judged.choose)
        judged.take(audit)
        verdicts = [one for every in judged.verdicts.values() for one in every]
        missing = audit.lost + sum(one.missing for one in verdicts)
        doubled = sum(one.doubled for one in verdicts)
        if audit.verdicts or not audit.troubles:  # else nothing is known, and 0 would be a claim
            self._counts.missing.labels(site.name).set(missing)
            self._counts.doubled.labels(site.name).set(doubled)
        if missing or doubled:
            log.error("%s: %d beacons missing, %d doubled: see oceanus audit", site.name, missing, doubled)
        if audit.troubles:
            return self._fail(f"{site.name}: not audited in full: {'; '.join(audit.troubles)}")
        return True

    def _look_for_alarms(self) -> None:
        """Count the alarms, and log each when it is new."""
        sentences = {one.sentence for one in self._auditor.alarms()}
        for sentence in sorted(sentences - self._told):
            log.error("alarm: %s (oceanus audit --help)", sentence)
        self._told = sentences
        self._counts.alarms.set(len(sentences))

    def _fail(self, sentence: str) -> bool:
        log.warning(sentence)
        self._counts.failures.inc()
        return False


def keep_proving(prover: Prover, stop: Stop, seconds: int) -> None:
    """Make a round every `seconds`, one that failed again soon, until `stop`."""
    while not stop:
        stop.wait(seconds if prover.round() else min(seconds, SOON_SECONDS))
