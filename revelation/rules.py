"""The rules of alerts.yaml: who is told what of which records, how often; checked in full. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from oceanus.records import Record

Condition = Callable[[Record], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counting:
    """Tell when more than `more_than` matching records were received within `seconds`, of each value of `by`."""

    more_than: int
    seconds: int
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How often a rule may tell. `once_by`: None for the rule as a whole; `a_minute_each`: by a field's value."""

    once_seconds: int = 0
    once_by: str | None = None
    a_minute: int | None = None
    a_minute_each: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. `tell` has the entries as written and checked, each with `to`; `silence_seconds` is 0 for none."""

    name: str
    sites: tuple[str, ...]
    matches: Condition
    tell: tuple[Mapping[str, Any], ...]
    counting: Counting | None = None
    silence_seconds: int = 0
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A destination as declared: its kind (slack, sheets, mail, webhook, print) and the other members as written."""

    name: str
    kind: str
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """All of alerts.yaml. `by_site` has for each site its rules, those of silence too."""

    rules: Mapping[str, Rule]
    places: Mapping[str, Place]
    by_site: Mapping[str, tuple[Rule, ...]]
    zone: ZoneInfo
    a_minute: int
