"""What a field's value becomes and must be: normalisation steps, and Cerberus rules with two sharper meanings.

Cerberus is the law, but for this: a pattern must match to the very end (Cerberus lets a trailing newline pass `$`).
"""

import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from cerberus import Validator

from oceanus import jsontext

Step = Callable[[Any], Any]
ADDRESS_CHARACTERS = 45  # eight groups of IPv6, the last two as IPv4


class RuleValidator(Validator):  # type: ignore[misc] # Cerberus publishes no types
    """Cerberus, with patterns that must match the whole value and the check `address`."""

    def _validate_regex(self, pattern: str, field: str, value: object) -> None:
        """{'type': 'string'}"""
        if isinstance(value, str) and not re.compile(pattern).fullmatch(value):
            self._error(field, f"value does not match regex '{pattern}'")

    def _check_with_address(self, field: str, value: object) -> None:
        if not is_address(value):
            self._error(field, "must be an IPv4 or IPv6 address")


def is_address(value: object) -> bool:
    """Say whether `value` is the text of an IPv4 or IPv6 address, without a zone."""
    return isinstance(value, str) and len(value) <= ADDRESS_CHARACTERS and _is_address(value)


@lru_cache(maxsize=20_000)
def _is_address(text: str) -> bool:
    try:
        return "%" not in text and bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def step(name: str, argument: object) -> Step:
    """Return the normalisation step `name`; raises ValueError with a sentence for one that is not known."""
    if name not in STEPS:
        raise ValueError(f"normal: {name} is not one of {', '.join(STEPS)}")
    return STEPS[name](argument)


def _cut(argument: object) -> Step:
    if not isinstance(argument, int) or isinstance(argument, bool) or argument < 1:
        raise ValueError("normal: cut needs a number of characters, such as {cut: 512}")
    return lambda value: value[:argument]


def _remove(argument: object) -> Step:
    if not isinstance(argument, str) or not argument:
        raise ValueError('normal: remove needs a text, such as {remove: "/"}')
    return lambda value: value.replace(argument, "")


def _json(value: object) -> str:
    return jsontext.canonical(value) if isinstance(value, str) else jsontext.dumps(value)


def _integer(value: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,19}", value):
        raise ValueError("must be a whole number")
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise ValueError("must fit into 64 bits")
    return number


def _number(value: str) -> float:
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?", value):
        raise ValueError("must be a number")
    number = float(value)
    if number in (float("inf"), float("-inf")):
        raise ValueError("is too large a number")
    return number


def _boolean(value: str) -> bool:
    if value.lower() in ("1", "true"):
        return True
    if value.lower() in ("0", "false"):
        return False
    raise ValueError("must be true or false")


STEPS: dict[str, Callable[[object], Step]] = {
    "lower": lambda _: str.lower,
    "upper": lambda _: str.upper,
    "strip": lambda _: str.strip,
    "cut": _cut,
    "remove": _remove,
    "json": lambda _: _json,
    "integer": lambda _: _integer,
    "number": lambda _: _number,
    "boolean": lambda _: _boolean,
}
# The step that makes the value of a column type; a STRING takes what a rule lets through.
MAKES = {"JSON": "json", "INT64": "integer", "FLOAT64": "number", "BOOL": "boolean"}
