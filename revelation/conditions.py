"""Conditions: a `when` of alerts.yaml, turned once into functions that are asked for every record. Pure.

A condition never raises, whatever the record holds: what is missing or of another kind is not what was asked for.
The cheap parts are asked first, so that a pattern is searched and JSON is read only where all else is true.
"""

import math
import re
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from operator import ge, gt, le, lt
from typing import Any

import re2

from oceanus.errors import MisconfiguredError
from revelation.names import Names
from revelation.seen import Seen, getter

Condition = Callable[[Seen], bool]
Test = Callable[[Any], bool]
MAX_DEPTH = 10
# Of a pattern: what RE2 may take for it, and how many steps it may have, so that 10,000 characters take milliseconds.
PATTERN_BYTES = 1 << 20
PATTERN_STEPS = 5_000
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
# Costs, by which the parts of a condition are ordered.
_LOOK, _COMPARE, _FIND, _MEMBER, _SEARCH = 1, 2, 3, 4, 20


def compiled(when: Any, names: Names) -> Condition:
    """Return the condition that `when` states; raises MisconfiguredError with a sentence for each mistake."""
    compiler = _Compiler(names)
    part = compiler.every(when, "", 0)
    if compiler.mistakes:
        raise MisconfiguredError(compiler.mistakes)
    return part.holds


def always(seen: Seen) -> bool:
    """Match every record: the condition of a rule without `when`."""
    return True


def number(value: Any) -> int | float | None:
    """Return a value as a number, None if it is none: true and false are not, texts only as JSON writes numbers.

    What 64 bits cannot hold is as exact as a double.
    """
    if isinstance(value, str):
        return _number_in(value) if _NUMBER.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return _held(value)


def _number_in(text: str) -> int | float | None:
    whole = len(text) <= 20 and not set(text) & set(".eE")
    return _held(int(text) if whole else float(text))


def _held(value: int | float) -> int | float | None:
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return value
    try:
        held = float(value)
    except OverflowError:
        return None
    return held if math.isfinite(held) else None


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of a condition, asked of a record or of one value, and what it costs, in units of one look."""

    cost: int
    holds: Callable[[Any], bool]


class _Compiler:
    """Turns a `when` into parts and keeps every mistake on the way."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.mistakes: list[str] = []

    def wrong(self, place: str, sentence: str) -> _Part:
        self.mistakes.append(f"{place}: {sentence}" if place else sentence)
        return _Part(0, always)

    def every(self, when: Any, place: str, depth: int) -> _Part:
        """Return the part in which each line of a mapping must be true."""
        _check_depth(depth)
        if not isinstance(when, dict) or not when:
            return self.wrong(place, f"must be a mapping such as {{evt: paid}}, not {_short(when)}")
        return _all([self.line(name, asked, place, depth) for name, asked in when.items()])

    def line(self, name: Any, asked: Any, place: str, depth: int) -> _Part:
        within = f"{place}, {name}" if place else str(name)
        if name == "not":
            return _not(self.every(asked, within, depth + 1))
        if name in ("any", "all"):
            return self.listed(name, asked, within, depth + 1)
        trouble = self.names.trouble(name)
        if trouble:
            return self.wrong(place, trouble)
        return _of(name, self.asked(asked, name, within, depth))

    def listed(self, name: str, whens: Any, place: str, depth: int) -> _Part:
        if not isinstance(whens, list) or not whens:
            return self.wrong(place, f"must be a list of conditions such as [{{evt: paid}}], not {_short(whens)}")
        parts = [self.every(when, f"{place} {count}", depth) for count, when in enumerate(whens, 1)]
        return _any(parts) if name == "any" else _all(parts)

    def asked(self, asked: Any, name: str, place: str, depth: int) -> _Part:
        """Return what is asked of the value of `name`: operators, a list, or a single value."""
        _check_depth(depth)
        if not isinstance(asked, dict):
            return self.operator("in" if isinstance(asked, list) else "equals", asked, name, place)
        if not asked:
            return self.wrong(place, f"must be a value or operators: {_KNOWN}")
        return _all([self.operation(word, operand, name, place, depth) for word, operand in asked.items()])

    def operation(self, word: Any, operand: Any, name: str, place: str, depth: int) -> _Part:
        if word == "not":
            return _not(self.asked(operand, name, f"{place}, not", depth + 1))
        return self.operator(word, operand, name, place)

    def operator(self, word: Any, operand: Any, name: str, place: str) -> _Part:
        if word not in _OPERATORS:
            return self.wrong(place, f"{_short(word)} is not known here; known: {_KNOWN}")
        if word in ("equals", "in"):
            self.check_case(operand if isinstance(operand, list) else [operand], name, place)
        try:
            return _OPERATORS[word](operand, self.names.kinds(name))
        except ValueError as exc:
            return self.wrong(place, str(exc) if word == "equals" else f"{word}: {exc}")

    def check_case(self, operands: list[Any], name: str, place: str) -> None:
        """Keep a mistake for a text that no value can be, for its case: such as PAID of a field that is lowered."""
        for text in operands:
            changed = self.names.recased(name, text) if isinstance(text, str) else None
            if changed is not None:
                self.wrong(place, f"{_short(text)} can never be: the field is changed to {_short(changed)}")


def _check_depth(depth: int) -> None:
    """Raise at once, as a file whose anchors lead back to themselves has no end."""
    if depth > MAX_DEPTH:
        raise MisconfiguredError([f"is nested deeper than {MAX_DEPTH} levels: write it flatter"])


# --- how parts become one


def _of(name: str, part: _Part) -> _Part:
    holds, get = part.holds, getter(name)
    if "." in name or name == "site":
        return _Part(part.cost + _MEMBER, lambda seen: holds(get(seen)))
    return _Part(part.cost, lambda seen: holds(seen.record.get(name)))


def _not(part: _Part) -> _Part:
    holds = part.holds
    return _Part(part.cost, lambda one: not holds(one))


def _all(parts: list[_Part]) -> _Part:
    cost, tests = _ordered(parts)
    if len(tests) == 1:
        return parts[0]
    if len(tests) == 2:
        first, second = tests
        return _Part(cost, lambda one: first(one) and second(one))

    def holds(one: Any) -> bool:
        for test in tests:  # noqa: SIM110 - all() of a generator takes twice the time
            if not test(one):
                return False
        return True

    return _Part(cost, holds)


def _any(parts: list[_Part]) -> _Part:
    cost, tests = _ordered(parts)

    def holds(one: Any) -> bool:
        for test in tests:  # noqa: SIM110 - any() of a generator takes twice the time
            if test(one):
                return True
        return False

    return _Part(cost, holds)


def _ordered(parts: list[_Part]) -> tuple[int, tuple[Callable[[Any], bool], ...]]:
    """Return what all parts cost together, and what they ask, the cheap ones first."""
    cheap_first = sorted(parts, key=lambda part: part.cost)
    return sum(part.cost for part in parts), tuple(part.holds for part in cheap_first)


# --- operators: what is asked of one value, whose kinds are known; each raises ValueError with a sentence


def _equals(operand: Any, kinds: frozenset[str]) -> _Part:
    _check_single(operand, kinds)
    if isinstance(operand, str):
        return _Part(_LOOK, lambda value: value == operand)
    return _in([operand], kinds)


def _in(operand: Any, kinds: frozenset[str]) -> _Part:
    if not isinstance(operand, list) or not operand:
        raise ValueError(f"must be a list of values, at least one, not {_short(operand)}")
    for one in operand:
        _check_single(one, kinds)
    texts = frozenset(one for one in operand if isinstance(one, str))
    booleans = frozenset(one for one in operand if isinstance(one, bool))
    numbers = frozenset(number(one) for one in operand if not isinstance(one, str | bool))

    def holds(value: Any) -> bool:
        if isinstance(value, bool):
            return value in booleans
        if isinstance(value, str) and value in texts:
            return True
        return bool(numbers) and number(value) in numbers

    return _Part(_LOOK if not numbers else _COMPARE, holds)


def _exists(operand: Any, kinds: frozenset[str]) -> _Part:
    if operand is not True and operand is not False:
        raise ValueError(f"must be true or false, not {_short(operand)}")

    def holds(value: Any) -> bool:
        is_empty = value is None or (isinstance(value, str | list | dict) and not value)
        return is_empty is not operand

    return _Part(_LOOK, holds)


def _contains(operand: Any, kinds: frozenset[str]) -> _Part:
    part = _text_for(operand, kinds).casefold()
    return _Part(_FIND, lambda value: isinstance(value, str) and part in value.casefold())


def _matches(operand: Any, kinds: frozenset[str]) -> _Part:
    pattern = _pattern(_text_for(operand, kinds))

    def holds(value: Any) -> bool:
        # Half a surrogate pair, which no UTF-8 has, is searched as a question mark.
        return isinstance(value, str) and pattern.search(value.encode(errors="replace")) is not None

    return _Part(_SEARCH, holds)


def _pattern(text: str) -> Any:
    """Return a pattern whose groups capture nothing: RE2 need not find out where they are."""
    options = re2.Options()
    options.max_mem, options.never_capture, options.log_errors = PATTERN_BYTES, True, False
    try:
        pattern = re2.compile(text.encode(), options)
    except re2.error as exc:
        reason = exc.args[0].decode(errors="replace") if isinstance(exc.args[0], bytes) else exc.args[0]
        raise ValueError(f"RE2 does not take {_short(text)}: {' '.join(str(reason).split())}") from None
    if pattern.programsize > PATTERN_STEPS:
        raise ValueError(f"{_short(text)} is too large a pattern ({pattern.programsize} steps of {PATTERN_STEPS})")
    return pattern


def _comparing(compare: Callable[[Any, Any], bool]) -> "_Operator":
    def operator(operand: Any, kinds: frozenset[str]) -> _Part:
        bound = None if isinstance(operand, str) else number(operand)
        if bound is None:
            raise ValueError(f"must be a number, not {_short(operand)}")
        if not kinds & {"text", "number"}:
            raise ValueError("can never be: the field holds true or false")

        def holds(value: Any) -> bool:
            known = number(value)
            return known is not None and compare(known, bound)

        return _Part(_COMPARE, holds)

    return operator


_Operator = Callable[[Any, frozenset[str]], _Part]
_OPERATORS: dict[Any, _Operator] = {
    "equals": _equals,
    "in": _in,
    "contains": _contains,
    "matches": _matches,
    "more_than": _comparing(gt),
    "less_than": _comparing(lt),
    "at_least": _comparing(ge),
    "at_most": _comparing(le),
    "exists": _exists,
}
_KNOWN = ", ".join((*_OPERATORS, "not"))


def _check_single(operand: Any, kinds: frozenset[str]) -> None:
    """Raise ValueError for what is no single value, or one that a value of these kinds can never be."""
    if operand is None:
        raise ValueError("is given no value; for a field that is not there write {exists: false}")
    if isinstance(operand, str):
        fits = "text" in kinds
    elif isinstance(operand, bool):
        fits = "boolean" in kinds
    elif number(operand) is not None:
        fits = bool(kinds & {"text", "number"})
    else:
        raise ValueError(f"must be a text, a number, true or false, not {_short(operand)}; put a text into quotes")
    if not fits:
        if isinstance(operand, bool):
            raise ValueError("yes, no, on, off, true and false are no texts in YAML: put the text into quotes")
        held = " or ".join(sorted(kinds))
        raise ValueError(f"{_short(operand)} can never be: the field holds {held}; only texts stand in quotes")


def _text_for(operand: Any, kinds: frozenset[str]) -> str:
    if not isinstance(operand, str) or not operand:
        raise ValueError(f"must be a text, in quotes if it looks like a number, not {_short(operand)}")
    if "text" not in kinds:
        raise ValueError(f"is for texts: the field holds {' or '.join(sorted(kinds))}")
    return operand


def _short(value: Any) -> str:
    return reprlib.repr(value)
