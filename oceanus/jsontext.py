"""JSON as text: one canonical form (sorted keys, no spaces), with every digit of every number kept.

orjson does nearly all of it; what it would round (integers beyond 64 bits, long fractions) takes a slower way here.
"""

import json
import math
import re
from collections.abc import Callable

import orjson

MAX_DEPTH = 500  # BigQuery's limit for a JSON value: cloud.google.com/bigquery/docs/reference/standard-sql/data-types
# A NUL as canonical text escapes it: a backslash that no other backslash escapes, then u0000.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
# Numbers that a 64-bit integer or a double may not give back as they came: long ones, fractions, exponents, -0. Written
# to begin with one set of characters, which is searched six times faster.
_DELICATE = re.compile(r"[0-9-](?:[0-9]{15}|[.eE]|(?<=-)0)")


class Number(str):
    """A JSON number as its digits."""

    __slots__ = ()


def canonical(text: str) -> str:
    """Return the JSON value `text` with sorted keys and no spaces.

    Raises ValueError, with a sentence, for what is no JSON, holds NaN, Infinity, half a surrogate pair or a NUL,
    or is nested deeper than 500 levels.
    """
    if _DELICATE.search(text):
        return dumps(loads(text))
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise ValueError(f"is not JSON: {exc}") from None
    _check_depth(text, value)
    try:
        return _without_nul(orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode())
    except TypeError:  # orjson reads 1,024 levels, but writes only 254
        return dumps(value)


def dumps(value: object) -> str:
    """Return a value that `loads` returned as canonical text; raises ValueError as `canonical` does."""
    return _without_nul(_write(value, _text))


def escaped(value: object) -> str:
    """Return any value that `loads` returned as JSON text that `loads` reads again, also what `dumps` refuses."""
    return _write(value, json.dumps)


def loads(text: str, *, unique: bool = False) -> object:
    """Parse JSON, its numbers as Number, so that no digit is lost; raises ValueError as `canonical` does.

    `unique`: a key that is given twice in one object is a mistake too.
    """
    try:
        value: object = (_UNIQUE if unique else _ANY).decode(text)
    except json.JSONDecodeError as exc:
        raise ValueError(f"is not JSON: {exc}") from None
    except RecursionError:
        raise ValueError(f"is nested deeper than {MAX_DEPTH} levels") from None
    _check_depth(text, value)
    return value


def _number(digits: str) -> Number:
    if math.isinf(float(digits)):
        raise ValueError("holds a number that is too large")
    return Number(digits)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("is JSON with a key given twice")
    return members


def _refuse(word: str) -> object:
    raise ValueError(f"is not JSON: {word} is no JSON number")


# Made once: json.loads would make one for each text.
_ANY = json.JSONDecoder(parse_int=_number, parse_float=_number, parse_constant=_refuse)
_UNIQUE = json.JSONDecoder(parse_int=_number, parse_float=_number, parse_constant=_refuse, object_pairs_hook=_unique)


def _check_depth(text: str, value: object) -> None:
    """Raise ValueError if `value` is nested too deep; counts only where the text could hold that many levels."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    layer, depth = [value], 0
    while layer:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"is nested deeper than {MAX_DEPTH} levels")
        below: list[object] = []
        for parent in layer:
            members = parent.values() if isinstance(parent, dict) else parent if isinstance(parent, list) else ()
            below.extend(child for child in members if isinstance(child, dict | list))
        layer = below


def _without_nul(text: str) -> str:
    if "\\u0000" in text and _NUL.search(text):  # the first look is a hundred times faster
        raise ValueError("holds a NUL character")
    return text


def _write(value: object, text: Callable[[object], str]) -> str:
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        # A list, as a generator would take a second frame for each level, and 500 levels more than Python has.
        return "{" + ",".join([f"{text(key)}:{_write(value[key], text)}" for key in sorted(value)]) + "}"
    if isinstance(value, list):
        return "[" + ",".join([_write(one, text) for one in value]) + "]"
    return text(value)


def _text(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError as exc:  # a lone surrogate, which no UTF-8 text can hold
        raise ValueError("holds half a surrogate pair") from exc
