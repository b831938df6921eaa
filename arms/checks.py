"""Checks: a site's Cerberus rules compiled to plain functions, for the beacons that are plainly right. Pure.

Building a Cerberus document per beacon is what made the original slow. A record that these checks accept is one that
Cerberus accepts, unchanged (a property test holds that); whatever they do not accept, Cerberus decides.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Any

from oceanus.records import Record
from oceanus.rules import RuleValidator, is_address
from oceanus.sites import Field

Check = Callable[[Any], bool]
Match = Callable[[str], re.Match[str] | None]
_OF_TEXT = frozenset(
    ("type", "required", "maxlength", "minlength", "regex", "default", "empty", "check_with", "allowed")
)
_OF_NUMBERS = frozenset(("type", "required", "min", "max", "default"))
_TYPES = {"integer": (int,), "float": (float, int), "number": (int, float), "boolean": (bool,)}


class Checks:
    """The rules of a record's fields, ready to be used on every beacon."""

    def __init__(self, fields: Iterable[Field]) -> None:
        rules = {field.name: dict(field.rule) for field in fields}
        self._validator = RuleValidator(rules)
        self.defaults = {name: rule["default"] for name, rule in rules.items() if "default" in rule}
        self._checks = {name: compiled(rule) for name, rule in rules.items()}
        uncertain = {name for name in self.defaults if self._checks[name] is None}
        self.required = [name for name, rule in rules.items() if rule.get("required") or name in uncertain]

    def apply(self, record: Record) -> tuple[Record, dict[str, str]]:
        """Return the record with defaults filled in, and a reason for each field that breaks its rule."""
        fast = self._fast(record)
        if fast is not None:
            return fast, {}
        return self.by_cerberus(record)

    def plain(self, name: str) -> Check:
        """Return the check that accepts only what is plainly right for a field; none where only Cerberus can tell."""
        return self._checks[name] or _nothing

    def by_cerberus(self, record: Record) -> tuple[Record, dict[str, str]]:
        """Do the same by Cerberus alone."""
        right = self._validator.validate(record)
        errors: Mapping[str, Any] = {} if right else self._validator.errors
        document = self._validator.document
        return dict(record if document is None else document), {name: _reason(found) for name, found in errors.items()}

    def _fast(self, record: Record) -> Record | None:
        for name in self.required:
            if name not in record:
                return None
        for name, value in record.items():
            check = self._checks.get(name)
            if check is None or not check(value):
                return None
        return self.defaults | record


def compiled(rule: Mapping[str, Any]) -> Check | None:
    """Return a function that accepts only what `rule` accepts unchanged; None where only Cerberus can tell."""
    kind = rule.get("type", "string")
    if not all(isinstance(rule.get(limit, 0), int | float) for limit in ("min", "max")):  # `1e6` is a text in YAML
        return None
    if not isinstance(kind, str) or not (_OF_NUMBERS if kind in _TYPES else _OF_TEXT).issuperset(rule):
        return None
    if kind not in (*_TYPES, "string") or rule.get("check_with", "address") != "address":
        return None
    check = _number_check(rule) if kind in _TYPES else _text_check(rule)
    if "default" in rule and not check(rule["default"]) and not (rule["default"] == "" and rule.get("empty")):
        return None
    return check


def _number_check(rule: Mapping[str, Any]) -> Check:
    types: tuple[type, ...] = _TYPES[rule["type"]]
    least, most = rule.get("min", -inf), rule.get("max", inf)

    def within(value: Any) -> bool:
        return type(value) in types and least <= value <= most

    return within


def _text_check(rule: Mapping[str, Any]) -> Check:
    least: int = max(rule.get("minlength", 0), not rule.get("empty", True))
    most: int = rule.get("maxlength", 1 << 30)
    match: Match | None = re.compile(rule["regex"]).fullmatch if "regex" in rule else None
    allowed = frozenset(rule["allowed"]) if "allowed" in rule else None
    address = "check_with" in rule

    def of_length(value: Any) -> bool:
        return type(value) is str and least <= len(value) <= most

    def matching(value: Any) -> bool:
        return type(value) is str and least <= len(value) <= most and match is not None and match(value) is not None

    def whatever(value: Any) -> bool:
        return (
            of_length(value)
            and (match is None or match(value) is not None)
            and (allowed is None or value in allowed)
            and (not address or is_address(value))
        )

    if allowed is None and not address:
        return of_length if match is None else matching
    return whatever


def _nothing(_value: Any) -> bool:
    return False


def _reason(found: Any) -> str:
    """Return the first of Cerberus's sentences about a field, which may be nested, without the value itself."""
    while isinstance(found, list | dict) and found:
        found = next(iter(found.values())) if isinstance(found, dict) else found[0]
    sentence = str(found)
    return "value is not one of those allowed" if sentence.startswith("unallowed value") else sentence
