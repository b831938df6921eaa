"""The verdict: what clients saw accepted against what stands in the tables, by id, and against the audit. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`doubled` counts unanswered beacons too: they may be none or one, never two. A refused one must be none."""

    accepted: int
    landed: int
    missing: tuple[int, ...]
    doubled: tuple[int, ...]
    stored_though_refused: tuple[int, ...]
    audit: str
    untold: tuple[int, ...] = ()

    @property
    def is_good(self) -> bool:
        """Say whether the promise was kept."""
        return (
            not (self.missing or self.doubled or self.stored_though_refused or self.untold) and self.audit == "agrees"
        )


def compare(
    accepted: set[int], refused: set[int], rows: Iterable[int], audit: str, untold: Iterable[int] = ()
) -> Verdict:
    """Compare ids; `rows` has the id of every row and every failed record that was accepted, as often as it stands."""
    counts = Counter(rows)
    return Verdict(
        accepted=len(accepted),
        landed=len(accepted & counts.keys()),
        missing=tuple(sorted(accepted - counts.keys())),
        doubled=tuple(sorted(one for one, count in counts.items() if count > 1)),
        stored_though_refused=tuple(sorted(refused & counts.keys())),
        audit=audit,
        untold=tuple(untold),
    )


def read_audit(code: int, told: Mapping[str, Any], rows: int) -> str:
    """Return `agrees`, or why not: what the audit says of itself, and its sums against the rows that were counted."""
    total = told["total"]
    faults = [f"{name} {total[name]}" for name in ("missing", "doubled", "waiting", "foreign") if total[name]]
    open_buckets = [f"{site} {bucket}" for site, one in told["sites"].items() for bucket in one["open"]]
    if open_buckets:
        faults.append(f"open: {', '.join(open_buckets)}")
    if total["accepted"] - total["repeated"] != rows:
        counted = f"{total['accepted']} accepted, {total['repeated']} of them repeated"
        faults.append(f"it counts {counted}, and {rows} rows stand")
    if code and not faults:
        faults.append(f"exit code {code}")
    return f"differs({'; '.join(faults)})" if faults else "agrees"


def last_line(faults: int, verdict: Verdict, recovered_in: float, seed: int) -> str:
    """Return the line that the run ends with."""
    return (
        f"faults={faults} accepted={verdict.accepted} landed={verdict.landed} missing={len(verdict.missing)}"
        f" doubled={len(verdict.doubled)} audit={verdict.audit} recovered_in={recovered_in:.1f} seed={seed}"
    )
