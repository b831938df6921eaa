"""The files: the tracker's scripts and pages, read once, and how long a browser may keep each under which name.

A name that holds its content's fingerprint is for ever; the plain name is asked for again after some minutes. A script
of an earlier release, kept under its fingerprint, is served as long as it stands in the folder: pages that name it with
its hash go on working. What holds a placeholder is written for each request, and has its plain name alone.
"""

import gzip
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import falcon.asgi

from arms import answers
from arms.arrival import Request
from arms.fingerprints import STEMS, fingerprint, fingerprinted, script_name
from arms.parameters import ParameterError, pairs
from oceanus.sites import Site, Sites

Response = falcon.asgi.Response
STATIC = Path(__file__).with_name("static")
TYPES = {
    "js": "text/javascript; charset=utf-8",
    "map": "application/json",
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
}
FOLDERS = ("js", "html", "css")
FOR_EVER = "public, max-age=31536000, immutable"
FOR_MINUTES = "public, max-age=300"
# A page runs what stands beside it and sends to where it came from, and nothing else.
POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self'; style-src 'self'; base-uri 'none'; "
    "form-action 'none'"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_PLACEHOLDERS = (b"{%oceanus_host%}", b"{%oceanus_site%}", b"{%oceanus_redirect_hosts%}")
_EVERYWHERE = {
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is served: its content, the same by gzip (empty where that is no smaller), and under which name."""

    name: str
    content: bytes
    packed: bytes

    @property
    def kind(self) -> str:
        """Return the ending of its name."""
        return self.name.rpartition(".")[2]

    @property
    def is_written(self) -> bool:
        """Say whether it holds something to be replaced at each request."""
        return any(one in self.content for one in _PLACEHOLDERS)

    @property
    def is_for_ever(self) -> bool:
        """Say whether its name holds its content's fingerprint."""
        return f".{fingerprint(self.content)}." in self.name


Folder = Mapping[str, File]


def read(static: Path = STATIC) -> dict[str, dict[str, File]]:
    """Return what stands in each folder, by every name that it is served under; links are not followed.

    Scripts are served in the folder of the pages, too, which load them from beside themselves.
    """
    found = {folder: dict(_read(static / folder)) for folder in FOLDERS}
    scripts = {name: file for name, file in found["js"].items() if not file.is_written}
    return {**found, "html": {**scripts, **found["html"]}}


def _read(folder: Path) -> Iterator[tuple[str, File]]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix[1:] not in TYPES or not _NAME.fullmatch(path.name) or not path.is_file() or path.is_symlink():
            continue
        content = path.read_bytes()
        packed = gzip.compress(content, 9, mtime=0)
        file = File(path.name, content, packed if len(packed) < len(content) else b"")
        yield path.name, file
        if file.kind in ("js", "css") and not file.is_written and not file.is_for_ever:
            name = fingerprinted(path.name, content)
            yield name, File(name, content, file.packed)


def elsewhere(sites: Sites, scripts: Folder) -> dict[str, File]:
    """Return the scripts that sites want under a path of their own, by path; those of every release by fingerprints."""
    found: dict[str, File] = {}
    for site in sites.values():
        path, script = site.tracker.path, scripts.get(script_name(site) or "")
        if path is None or script is None:
            continue
        found[path] = script
        fixed = [one for one in scripts.values() if one.is_for_ever and one.name.startswith(f"{STEMS[site.method]}.")]
        found |= {fingerprinted(path, one.content): one for one in fixed}
    return found


class Served:
    """One file under a path of its own."""

    def __init__(self, file: File) -> None:
        self.file = file
        self._etag = f'W/"{fingerprint(file.content)}"'  # weak: the same for both encodings
        self._cache = FOR_EVER if file.is_for_ever else FOR_MINUTES

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer the file; 304 where the browser has it."""
        resp.set_headers(_EVERYWHERE)
        resp.set_header("Cache-Control", self._cache)
        resp.set_header("ETag", self._etag)
        resp.set_header("Vary", "Accept-Encoding")
        if self.file.kind == "html":
            resp.set_header("Content-Security-Policy", POLICY)
        if _has(req, self._etag):
            resp.status = 304
            return
        resp.content_type = TYPES[self.file.kind]
        resp.data = self.file.content
        if self.file.packed and _takes_gzip(req.get_header("Accept-Encoding", default="")):
            resp.data = self.file.packed
            resp.set_header("Content-Encoding", "gzip")

    async def on_head(self, req: Request, resp: Response) -> None:
        """Answer the same, without the body."""
        await self.on_get(req, resp)


class Static:
    """/static/{js,html,css}/{name}: what the folders hold, with this collector's host and a site's hosts written in."""

    def __init__(self, found: Mapping[str, Folder], sites: Sites, public_host: str) -> None:
        self._served = {(kind, name): Served(file) for kind, folder in found.items() for name, file in folder.items()}
        self._sites = sites
        self._host = public_host

    async def on_get(self, req: Request, resp: Response, kind: str, name: str) -> None:
        """Answer the file, or 404."""
        served = self._served.get((kind, name))
        if served is None:
            answers.words(resp, "no such file\n")
            resp.status = 404
            resp.set_headers(_EVERYWHERE)
            return
        if served.file.is_written:
            served = Served(File(name, self._write(req, served.file.content), b""))
        await served.on_get(req, resp)

    async def on_head(self, req: Request, resp: Response, kind: str, name: str) -> None:
        """Answer the same, without the body."""
        await self.on_get(req, resp, kind, name)

    def _write(self, req: Request, content: bytes) -> bytes:
        host = self._host or re.sub(r"[^A-Za-z0-9.:\[\]-]", "", req.get_header("Host", default=""))
        site = self._site(req.raw_query)
        told = (host, site.name, " ".join(site.tracker.redirect)) if site else (host, "", "")
        for placeholder, text in zip(_PLACEHOLDERS, told, strict=True):
            content = content.replace(placeholder, text.encode())
        return content

    def _site(self, raw_query: bytes) -> Site | None:
        """Return the site that a page's address names; the first of method swallow if it names none."""
        try:
            name = dict(pairs(raw_query)).get("site")
        except ParameterError:
            return None
        return self._sites.first("swallow") if name is None else self._sites.get(name)


def _has(req: Request, etag: str) -> bool:
    """Say whether the browser has what this tag stands for."""
    known = req.get_header("If-None-Match", default="")
    return known == "*" or any(one.strip().removeprefix("W/") == etag.removeprefix("W/") for one in known.split(","))


def _takes_gzip(accepted: str) -> bool:
    """Say whether a client takes gzip (RFC 9110, 12.5.3)."""
    for one in accepted.lower().split(","):
        coding, *said = (part.strip() for part in one.split(";"))
        if coding == "gzip":
            return not any(re.fullmatch(r"q=0(\.0{0,3})?", part) for part in said)
    return False
