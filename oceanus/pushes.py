"""A push: records of one site and minute on their way to a list, and the number that tells a repeat. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from oceanus.ledger import Count


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """A failed record on its way back: its id, the record, the list it goes to, and how the ledger counts it.

    `is_new`: it was never accepted before, so that it is told to those who wait for accepted records.
    """

    fid: str
    record: bytes
    count: Count
    is_new: bool
    source: str = "queue"
