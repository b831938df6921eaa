"""The command's side of the audit: all sites and arms asked once, then told as a table with sentences, or as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TextIO

from management import grid, status
from management.status import Journal
from oceanus.audit import COUNTS, Alarm, SiteAudit, Verdict, total
from oceanus.auditor import Auditor, Choose
from oceanus.errors import WarehouseError
from oceanus.ledger import Ledger
from oceanus.shards import Spools
from oceanus.sites import Site

_COLUMNS = ("accepted", "landed", "failed", "repeated", "waiting", "missing", "doubled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What an audit has found. `removed`: how many records the sites have that sites.yaml does not declare.

    `arms` is its journal, None where arms was not asked or did not answer; `troubles` are those of no single site.
    """

    sites: Mapping[str, SiteAudit]
    removed: Mapping[str, int]
    alarms: Sequence[Alarm]
    arms: Journal | None
    troubles: Sequence[str] = ()

    @property
    def differs(self) -> bool:
        """Say whether a beacon is missing or doubled somewhere."""
        return any(one.differs for one in self.sites.values())

    @property
    def is_right(self) -> bool:
        """Say whether nothing that was asked is wrong; an unknown journal proves nothing, and is no difference."""
        hindered = self.troubles or any(one.troubles for one in self.sites.values())
        return not (self.differs or hindered or self.alarms or any(self.removed.values()))


def find(auditor: Auditor, spools: Spools, declared: Mapping[str, Site], choose: Choose, arms: Journal | None) -> Found:
    """Audit every site, those too that sites.yaml does not declare any more; raises SpoolError if Redis is away."""
    sites = {name: auditor.audit(site, choose) for name, site in declared.items()}
    removed = {name: _left(spools, name) for name in sorted(spools.sites() - set(declared))}
    try:
        return Found(sites=sites, removed=removed, alarms=auditor.alarms(), arms=arms)
    except WarehouseError as exc:
        trouble = f"the epoch that was acknowledged last cannot be read: {exc}"
        return Found(sites=sites, removed=removed, alarms=[], arms=arms, troubles=[trouble])


def last_days(count: int | None) -> Choose:
    """Return the choice of the last `count` days with records; None: of all."""

    def choose(ledger: Ledger) -> list[str]:
        return sorted(ledger.days)[-count if count else 0 :]

    return choose


def show(found: Found, form: str, out: TextIO) -> None:
    """Print the audit as a table with the buckets that differ, or as JSON."""
    whole = total(found.sites.values())
    if form == "json":
        print(json.dumps(told(found), indent=2), file=out)
        return
    every = (*found.sites.items(), ("total", whole))
    lines = [[name, *(str(getattr(one, member)) for member in _COLUMNS)] for name, one in every]
    for line in grid.plain(("site", *_COLUMNS), lines, [False, *[True] * len(_COLUMNS)]):
        print(line, file=out)
    for name, one in found.sites.items():
        for sentence in _sentences(one):
            print(f"{name}{sentence}", file=out)
    print(f"audit: {outcome(found)}", file=out)


def told(found: Found) -> dict[str, Any]:
    """Return the audit as JSON has it."""
    return {
        "sites": {name: _told(one) for name, one in found.sites.items()},
        "total": _told(total(found.sites.values())),
        "removed": found.removed,
        "alarms": [one.sentence for one in found.alarms],
        "arms": status.told(found.arms),
    }


def remarks(found: Found, sites_file: str) -> list[str]:
    """Return what an operator has to know beside the counts, a line each."""
    return [
        *(f"{name}: {trouble}" for name, one in found.sites.items() for trouble in one.troubles),
        *found.troubles,
        *status.stranded_lines({name: count for name, count in found.removed.items() if count}, sites_file),
        *(f"alarm: {one.sentence}" for one in found.alarms),
        *(["see `oceanus audit --help` for what to check before --acknowledge"] if found.alarms else []),
        *_journal_lines(found.arms),
    ]


def outcome(found: Found) -> str:
    """Return in a few words what has come out."""
    if found.differs:
        return "differs"
    if not found.is_right:
        return "not proven"
    if found.arms is None:
        return "agrees, as far as Redis has counted"
    return f"agrees, but for {found.arms} in arms' journal" if found.arms.records else "agrees"


def _left(spool: Spools, name: str) -> int:
    """Return how many records of a removed site are in Redis, or should be there by its ledger."""
    return max(status.waiting(spool.look(name)), spool.ledger(name).whole.in_flight)


def _journal_lines(arms: Journal | None) -> list[str]:
    if arms is None:
        return ["not proven: what arms has in its journal: arms did not answer, or nothing says where it is"]
    return [f"not counted yet: {arms} in arms' journal, until Redis takes them"] if arms.records else []


def _told(one: SiteAudit) -> dict[str, Any]:
    told: dict[str, Any] = {name: getattr(one, name) for name in COUNTS}
    told["differs"] = [
        asdict(verdict) | {"missing": verdict.missing, "doubled": verdict.doubled} for verdict in _named(one, "differs")
    ]
    told["open"] = [verdict.bucket for verdict in _named(one, "open")]
    return told | {"troubles": one.troubles}


def _named(one: SiteAudit, verdict: str) -> list[Verdict]:
    return [each for each in one.verdicts if each.verdict == verdict]


def _sentences(one: SiteAudit) -> list[str]:
    differing = [f" {each.bucket}: {_sentence(each)}" for each in _named(one, "differs")]
    lost = [f": {one.lost} of {one.waiting} in flight are nowhere in Redis: missing"] if one.lost else []
    return differing + lost


def _sentence(one: Verdict) -> str:
    return (
        f"{one.counted.settled} settled, {one.landed.rows} rows of {one.landed.ids} ids:"
        f" {one.missing} missing, {one.doubled} doubled"
    )
