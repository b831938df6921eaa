"""Hostile requests, made from arms' OpenAPI document and a seed: legal ones, nearly legal ones, and plain bytes."""

import random
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import yaml

import arms.app

SITES = ("bizocean", "skj", "mailaction", "shortener", "docreq", "movieform", "nobody", "..", "%2e%2e", "a" * 300, "é")
CHARACTERS = [*string.printable, "\0", "\x7f", "\x85", "\u2028", "é", "あ", "😀", "\ufeff", "\u202e"]
NASTY = (
    "", " ", "'", '"', "`", "\\", "%", "%00", "%0d%0a", "\r\nX: y", "../../etc/passwd", "<script>alert(1)</script>",
    "'; DROP TABLE bizocean; --", "{{7*7}}", "${jndi:ldap://x}", "-1", "1e999", "NaN", "null", "[]", "{}", "a" * 20,
    "a" * 70_000, "あ" * 2000, "%ff%fe", "%ed%a0%80", "%c0%af", "\x1b[2J", "127.0.0.1", "::1", "fe80::1%eth0",
)  # fmt: skip
GOOD = {"oid": "2", "evt": "pageview", "sid": "86895a04e5a59600", "url": "https://shop.example/", "rad": "192.0.2.1"}
KINDS = ("application/json", "application/x-www-form-urlencoded", "text/plain", "multipart/form-data", "x/\xff")
METHODS = ("PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "get", "HEAD", "OPTIONS", "POST")
PAIRS = ("a", "=", "&", "a=" * 200, "&".join(["x=1"] * 150), "%=%", "a=%zz")


@dataclass(frozen=True, slots=True)
class Hostile:
    """One request as bytes; `whole`: HTTP, so that an answer is due."""

    sent: bytes
    whole: bool


class Maker:
    """Makes request after request; the same seed makes the same ones."""

    def __init__(self, seed: int, document: str) -> None:
        self._random = random.Random(seed)
        self._routes = [
            (path, method, said)
            for path, methods in yaml.safe_load(document)["paths"].items()
            for method, said in methods.items()
        ]

    def next(self) -> Hostile:
        """Return the next request."""
        kind = self._random.random()
        if kind < 0.75:
            return Hostile(self._request(), True)
        request = self._request()
        if kind < 0.9:
            return Hostile(self._mutated(request), False)
        return Hostile(self._random.randbytes(self._random.choice((0, 1, 10, 300, 5000))), False)

    def _request(self) -> bytes:
        path, method, said = self._random.choice(self._routes)
        if self._random.random() < 0.1:
            method = self._random.choice(METHODS)
        path = path.replace("{site}", self._segment(SITES)).replace("{kind}", self._segment(("js", "css", "..")))
        path = path.replace("{name}", self._segment(NASTY[:12]))
        head = [f"{method.upper()} {path}{self._query(said)} HTTP/1.1".encode(), b"Host: fuzz.example"]
        head += [b"Connection: close"] * (self._random.random() < 0.3)
        names = [one["name"] for one in said.get("parameters", ()) if one["in"] == "header"]
        head += [self._header(name) for name in names if self._one_in(8)]
        body = self._body() if method in ("post", "POST", "PUT") or self._one_in(30) else b""
        if body:
            head.append(b"Content-Type: " + self._random.choice(KINDS).encode("latin-1"))
            if self._one_in(5):
                head.append(b"Transfer-Encoding: chunked")
                body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in self._cut(body)) + b"0\r\n\r\n"
            else:
                head.append(b"Content-Length: %d" % len(body))
        return b"\r\n".join(head) + b"\r\n\r\n" + body

    def _query(self, said: dict[str, Any]) -> str:
        names = [one["name"] for one in said.get("parameters", ()) if one["in"] == "query"]
        if not names:
            return self._random.choice(("", "?", "?debug=1", "?" + quote(self._text())))
        told = {name: value for name, value in GOOD.items() if name in names} if self._random.random() < 0.8 else {}
        for name in names:
            if self._one_in(6):
                told[name] = self._value(name)
        pairs = [f"{quote(name)}={quote(value, safe='%')}" for name, value in told.items()]
        if self._one_in(10):
            pairs += [self._random.choice(PAIRS)]
        if self._one_in(10):
            pairs += pairs[:2]
        return "?" + self._random.choice(("&", "&", "&", "&&", ";")).join(pairs)

    def _value(self, name: str) -> str:
        if name == "cid":
            return self._random.choice((self._random.randbytes(16).hex(), "a" * 32, "xyz"))
        if name == "evt" and self._one_in(2):
            return self._random.choice(("open", "see", "READ", "done", "pageview"))
        if name == "jsn":
            return self._json().decode(errors="replace")[:5000]
        return self._text()

    def _text(self) -> str:
        if self._one_in(2):
            return self._random.choice(NASTY)
        return "".join(self._random.choices(CHARACTERS, k=self._random.choice((1, 5, 20, 200))))

    def _header(self, name: str) -> bytes:
        text = self._text().replace("\r", "").replace("\n", "").replace("\0", "")[:4000]
        value = "".join(one for one in text if one >= " " and one != "\x7f")
        if name == "Authorization" and self._one_in(2):
            value = f"Bearer {value}"
        return f"{name}: {value}".encode()

    def _body(self) -> bytes:
        kind = self._random.randrange(6)
        if kind == 0:
            return self._random.randbytes(self._random.choice((1, 50, 3000)))
        if kind == 1:
            return orjson.dumps([self._object() for _ in range(self._random.choice((0, 1, 3, 100, 101)))])
        if kind == 2:
            return b"\n".join(orjson.dumps(self._object()) for _ in range(self._random.choice((1, 4, 120))))
        if kind == 3:
            return orjson.dumps(self._object())
        if kind == 4:
            return "&".join(f"{name}={quote(value)}" for name, value in self._object().items()).encode()
        return self._json()

    def _object(self) -> dict[str, str]:
        told = dict(GOOD) if self._random.random() < 0.7 else {}
        if self._one_in(2):
            name = self._random.choice([*GOOD, "jsn", "cid", "re", "name", "email", self._text()[:50]])
            told[name] = self._value("jsn")
        return {name.encode(errors="replace").decode(): value for name, value in told.items()}

    def _json(self) -> bytes:
        depth = self._random.choice((1, 3, 260, 499, 501, 1100, 20_000))
        return self._random.choice(
            (
                b"[" * depth + b"]" * depth,
                b'{"a":' * depth + b"1" + b"}" * depth,
                b"[" * depth,
                b"9" * 5000,
                b"-0.0e-999",
                b"1e999",
                b'"\\ud800"',
                b'{"a":1,"a":2}',
                b'{"__proto__":{"x":1},"constructor":1}',
                b"{" + b",".join(b'"k%d":%d' % (one, one) for one in range(500)) + b"}",
                b'"' + b"\\\\" * 2000 + b'u0000"',
                b"\xff\xfe[]",
                b"NaN",
                orjson.dumps({self._text().encode(errors="replace").decode(): [1, 2.5, None, True, "x"]}),
                orjson.dumps("x" * 70_000),
            )
        )

    def _segment(self, among: tuple[str, ...]) -> str:
        return quote(self._text(), safe="%/") if self._one_in(20) else quote(self._random.choice(among), safe="%.")

    def _mutated(self, request: bytes) -> bytes:
        changed = bytearray(request)
        for _ in range(self._random.randint(1, 4)):
            place = self._random.randrange(len(changed) + 1)
            what = self._random.randrange(4)
            if what == 0:
                del changed[place : place + self._random.choice((1, 5, 100))]
            elif what == 1:
                changed[place:place] = self._random.choice(
                    (b"\r\n", b"\n", b"\0", b" ", b":", b"\xff", b"\r\n\r\n", b"Content-Length: 5\r\n", b"X" * 9000)
                )
            elif what == 2 and changed:
                changed[place % len(changed)] = self._random.randrange(256)
            else:
                changed = changed[:place]
        return bytes(changed)

    def _cut(self, body: bytes) -> list[bytes]:
        size = self._random.choice((1, 100, 100_000)) if len(body) < 500 else 4096
        return [body[place : place + size] for place in range(0, len(body), size)]

    def _one_in(self, number: int) -> bool:
        return self._random.randrange(number) == 0


def document() -> str:
    """Return arms' OpenAPI document."""
    return Path(arms.app.__file__).with_name("openapi.yaml").read_text(encoding="utf-8")
