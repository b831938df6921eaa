"""The pages: the console's own files, read once, and sent with the headers that let nothing else into the page."""

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import PurePath

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# No script but our files, and in those no text may ever become markup (Trusted Types): what a record says stays text.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True, slots=True)
class File:
    """One file as it is sent; `tag` changes with its content."""

    content: bytes
    type: str
    tag: str


def load() -> dict[str, File]:
    """Return every file of the page by its name."""
    folder = resources.files("management.console") / "page"
    return {
        one.name: _file(one.name, one.read_bytes()) for one in folder.iterdir() if PurePath(one.name).suffix in TYPES
    }


def _file(name: str, content: bytes) -> File:
    return File(content, TYPES[PurePath(name).suffix], f'"{hashlib.sha256(content).hexdigest()[:20]}"')
