"""A telling: one message of one rule about one record to one destination, from the match to its delivery. Pure.

What travels through the task queue is a Telling; what a destination is given is a Message, made from it by the texts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from oceanus.errors import NotATellingError
from oceanus.records import time_us

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """What is to be told. `key` is the same whenever the record is seen again; all members can be written as JSON.

    `action` is the entry of `tell` in alerts.yaml as it was when the record matched; `record` as it lies in Redis;
    `more` what templates know beside it: rule, site, count. `made_us`: microseconds since 1970.
    """

    key: str
    rule: str
    site: str
    destination: str
    action: Mapping[str, Any]
    record: Mapping[str, Any]
    more: Mapping[str, Any]
    zone: str
    made_us: int

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> "Telling":
        """Return the telling that another process has written, of this release or of one before or after.

        Members of a later release are passed over; raises NotATellingError where one is missing.
        """
        known = [one.name for one in fields(cls)]
        missing = [name for name in known if name not in given]
        if missing:
            raise NotATellingError(f"no telling that this release knows: {', '.join(missing)} is missing")
        return cls(**{name: given[name] for name in known})


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of BigQuery to show below a message; every cell is a text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A telling with its texts filled in and made harmless for the kind of its destination.

    `key` is the telling's, by which a receiver can know it again. Each kind reads the members that it needs:
    `row` are a sheet's cells by their column's name; `body` is what a web hook posts.
    """

    key: str
    text: str = ""
    subject: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    worksheet: str = ""
    row: Mapping[str, str | int | float] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    table: Table | None = None


class Destination(Protocol):
    """A place that can be told. Its `tell` ends within a time limit, and raises TryAgainError or RefusedError."""

    def tell(self, message: Message) -> None:
        """Deliver a message."""


def moment(telling: Telling) -> datetime:
    """Return the time of a telling's record; where it is about none, such as one of silence, when it was made."""
    try:
        micros = time_us(telling.record["dt"])
    except (KeyError, TypeError, ValueError):
        micros = telling.made_us
    return _EPOCH + timedelta(microseconds=micros)
