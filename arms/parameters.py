"""Parameters: what a query string, a form or a JSON body says, decoded strictly. Pure.

The framework would replace invalid bytes silently, so the raw bytes are read here: text is UTF-8, or it is a mistake.
"""

from typing import Any
from urllib.parse import unquote_to_bytes

from oceanus import jsontext

MAX_PARAMETERS = 100


class ParameterError(ValueError):
    """The request cannot be read as parameters; `field` is the parameter it is about, or what was being read."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


def pairs(raw: bytes, what: str = "query") -> list[tuple[str, str]]:
    """Return the parameters of a query string or urlencoded form, in order, blank ones left out.

    Raises ParameterError for invalid UTF-8, NUL characters and more than 100 parameters.
    """
    parts = raw.split(b"&")
    if len(parts) > MAX_PARAMETERS:
        raise ParameterError(what, f"has more than {MAX_PARAMETERS} parameters")
    read = []
    for part in parts:
        raw_name, _, raw_value = part.partition(b"=")
        if not raw_value:
            continue
        name = _text(raw_name, what)
        read.append((name, _text(raw_value, name)))
    return read


def members(text: str) -> list[tuple[str, Any]]:
    """Return the members of a JSON object as parameters: texts as they are, numbers as text, the rest untouched.

    Raises ParameterError if it is no object, and for NUL characters and more than 100 members.
    """
    try:
        value = jsontext.loads(text, unique=True)
    except ValueError as exc:
        raise ParameterError("body", str(exc)) from None
    return of_object(value)


def of_object(value: object) -> list[tuple[str, Any]]:
    """Return the members of a parsed JSON object as parameters; raises ParameterError."""
    if not isinstance(value, dict):
        raise ParameterError("body", "is no JSON object")
    if len(value) > MAX_PARAMETERS:
        raise ParameterError("body", f"has more than {MAX_PARAMETERS} parameters")
    for name in value:
        _check_text("body", name)
    return [(name, _plain(name, member)) for name, member in value.items() if member not in (None, "")]


def merge(read: list[tuple[str, Any]]) -> tuple[dict[str, Any], frozenset[str]]:
    """Return parameters by name, and the names that came more than once."""
    merged = dict(read)
    if len(merged) == len(read):
        return merged, frozenset()
    names = [name for name, _ in read]
    return merged, frozenset(name for name in merged if names.count(name) > 1)


def header_text(raw: bytes) -> str:
    """Return a header's value as text: UTF-8 where it is, else byte by byte (Latin-1), as HTTP once meant it."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _plain(name: str, value: object) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        _check_text(name, value)
        return str(value)  # a number's digits, too
    return value


def _text(raw: bytes, name: str) -> str:
    if b"%" in raw or b"+" in raw:
        raw = unquote_to_bytes(raw.replace(b"+", b" "))
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise ParameterError(name, "is not UTF-8") from None
    if "\0" in text:
        raise ParameterError(name, "holds a NUL character")
    return text


def _check_text(name: str, text: str) -> None:
    if "\0" in text:
        raise ParameterError(name, "holds a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ParameterError(name, "holds half a surrogate pair") from None
