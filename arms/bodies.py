"""Bodies: what a query string, a form or a batch of beacons says, decoded strictly. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from arms.parameters import ParameterError, members, of_object, pairs
from oceanus import jsontext

Parameters = Sequence[tuple[str, Any]] | ParameterError
BATCH_BEACONS = 100


class TooManyError(Exception):
    """A batch of more than 100 beacons: answer 413."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line of a batch that is no JSON, and why."""

    line: str
    reason: ParameterError


def query(raw: bytes) -> Parameters:
    """Return the parameters of a query string, or why they cannot be read."""
    try:
        return pairs(raw)
    except ParameterError as exc:
        return exc


def form(before: bytes, content_type: str, body: bytes) -> Parameters:
    """Return the parameters of a form with those of its query string, or why they cannot be read."""
    kind = content_type.partition(";")[0].strip().lower()
    try:
        first = pairs(before)
        if kind == "application/json" or (kind != "application/x-www-form-urlencoded" and body.lstrip()[:1] == b"{"):
            return [*first, *members(utf8(body))]
        return [*first, *_urlencoded(kind, body)]
    except ParameterError as exc:
        return exc


def batch(body: bytes) -> list[Any]:
    """Return the beacons of a batch; a line that cannot be read stands in its place as Unreadable.

    Raises ParameterError if the whole cannot be read, TooManyError for more than 100 beacons; lines are counted before
    they are read, for half a million of them cost five seconds.
    """
    text = utf8(body).strip()
    if not text.startswith("["):
        return [line_of(line) for line in _few([line for line in text.split("\n") if line.strip()])]
    try:
        value = jsontext.loads(text, unique=True)
    except ValueError as exc:
        raise ParameterError("body", str(exc)) from None
    return _few(value) if isinstance(value, list) else []


def _few[T](beacons: list[T]) -> list[T]:
    if len(beacons) > BATCH_BEACONS:
        raise TooManyError
    return beacons


def line_of(line: str) -> Any:
    """Return one beacon of a batch from its text, Unreadable if it is no JSON."""
    try:
        return jsontext.loads(line, unique=True)
    except ValueError as exc:
        return Unreadable(line, ParameterError("body", str(exc)))


def parameters_of(beacon: Any) -> Parameters:
    """Return the parameters of one beacon of a batch, or why it cannot be read."""
    if isinstance(beacon, Unreadable):
        return beacon.reason
    try:
        return of_object(beacon)
    except ParameterError as exc:
        return exc


def raw_beacon(beacon: Any) -> str:
    """Return one beacon of a batch as the text that is kept if it fails."""
    if isinstance(beacon, Unreadable):
        return beacon.line
    try:
        return jsontext.dumps(beacon)
    except ValueError:  # a NUL or half a surrogate pair, for which it fails: escaped, so that it can be read again
        return jsontext.escaped(beacon)


def utf8(body: bytes) -> str:
    """Return a body as text; raises ParameterError."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise ParameterError("body", "is not UTF-8") from None


def _urlencoded(kind: str, body: bytes) -> list[tuple[str, str]]:
    if kind.startswith("multipart/"):
        raise ParameterError("body", "multipart forms are not taken: send it urlencoded or as JSON")
    return pairs(body.strip(), "body")
