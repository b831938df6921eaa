"""The kept text of a rejected beacon: what intake writes of it, and `oceanus failed retry` reads again. Pure.

It holds all that the beacon was judged by, but for headers beside the user agent. Where something is missing, because
the text was cut or privacy took it out, or where the sender was refused, the text says so.
"""

import re
from dataclasses import dataclass, fields
from typing import Any

import orjson

from arms.bodies import Parameters, form, line_of, parameters_of, utf8
from arms.parameters import ParameterError, pairs
from oceanus import records

BYTES = 8192
AGENT_CHARACTERS = 512
_ESCAPED = re.compile(rb"\\x([89a-f][0-9a-f])")  # as `backslashreplace` has written a byte that is no text


class NotKeptError(ValueError):
    """This text is not what intake keeps of one beacon, or not the whole of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is kept. `sent` is the query string, and behind it the body from the character `body_at` on.

    `kind` is the body's content type, `time` the one that a trusted caller gave. `cleaned`: privacy has taken out more
    than it would have taken from the record; `refused`: the answer was 403, for who sent it.
    """

    route: str
    sent: str
    address: str
    agent: str
    body_at: int | None = None
    kind: str = ""
    time: str | None = None
    cleaned: bool = False
    refused: bool = False

    def text(self) -> str:
        """Return it as JSON text, cut at 8 KiB; members that say nothing are left out."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        return cut(records.encode({name: value for name, value in told.items() if _says(name, value)}), BYTES)

    def parameters(self, method: str) -> Parameters:
        """Return the parameters in it, or why they cannot be read, as the route of `method` found them."""
        query, body = self._parts()
        try:
            if method == "pirate":
                return form(query, self.kind, body)
            return pairs(query) if self.body_at is None else parameters_of(line_of(utf8(body)))
        except ParameterError as exc:
            return exc

    def _parts(self) -> tuple[bytes, bytes]:
        """Return query string and body as the bytes that came."""
        at = len(self.sent) if self.body_at is None else self.body_at
        query, body = self.sent[:at].removesuffix("\n"), self.sent[at:]
        return query.encode(), _bytes(body)


def read(raw: str) -> Kept:
    """Return what a text keeps of a beacon; raises NotKeptError with a sentence."""
    try:
        told = orjson.loads(raw)
    except orjson.JSONDecodeError:
        is_cut = raw.startswith('{"address"') and len(raw.encode()) > BYTES - 4
        raise NotKeptError("it was cut at 8 KiB" if is_cut else "its text is no beacon") from None
    if not isinstance(told, dict) or not {"route", "sent", "address", "agent"} <= told.keys():
        raise NotKeptError("it counts beacons of which no text is kept")
    known = {field.name: told[field.name] for field in fields(Kept) if field.name in told}
    if not all(_is_right(name, value) for name, value in known.items()):
        raise NotKeptError("its text is no beacon")
    return Kept(**known)


def cut(text: bytes, most: int) -> str:
    """Return the text cut to `most` bytes, never within a character."""
    return text[:most].decode(errors="ignore")


def _says(name: str, value: Any) -> bool:
    return name in ("route", "sent", "address", "agent") or not (value is None or value is False or value == "")


def _is_right(name: str, value: Any) -> bool:
    if name == "body_at":
        return type(value) is int and value >= 0
    return isinstance(value, bool if name in ("cleaned", "refused") else str)


def _bytes(body: str) -> bytes:
    """Return the bytes of which a body's text was made; what may be escaped bytes is taken for such if it is no UTF-8.

    A body that did send such letters is then refused for not being UTF-8, and none is taken that was not sent.
    """
    restored = _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), body.encode())
    try:
        restored.decode()
    except UnicodeDecodeError:
        return restored
    return body.encode()
