"""A push: records of one site and minute on their way to a list, and the number that tells a repeat. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """Records of one site and minute. `last_ms`: when the newest was received, in milliseconds since 1970.

    `named`: their trackers have named them, and may send them again.
    """

    site: str
    source: str
    minute: str
    digest: int
    last_ms: int
    records: Sequence[bytes]
    alerts: bool = False
    named: bool = False


@dataclass(frozen=True, slots=True)
class Numbered:
    """A push with its producer (one start of one process) and its number among that producer's pushes to the site."""

    push: Push
    producer: str
    seq: int
