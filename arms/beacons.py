"""The beacon routes: /swallow, /gaze, /pierce and /pirate. What they share is Route; each adds its own answer."""

import asyncio
import logging
import secrets
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, unquote_plus

import falcon
import falcon.asgi
import orjson

from arms import answers, metrics, privacy, visits
from arms.arrival import BATCH_BYTES, BODY_BYTES, BodyCutError, BodyTooLargeError, Request
from arms.bodies import (
    BATCH_BEACONS,
    Parameters,
    TooManyError,
    Unreadable,
    batch,
    form,
    parameters_of,
    query,
    raw_beacon,
)
from arms.collector import Collector
from arms.gather import NotStoredError
from arms.intake import Accepted, Outcome, Rejected
from arms.limits import LimitedError
from arms.parameters import ParameterError
from oceanus.sites import Site

log = logging.getLogger(__name__)

Response = falcon.asgi.Response
# How long each event of an open mail lasts, in seconds, and which one follows.
CHAIN = {"open": (2.0, "see"), "see": (4.0, "read"), "read": (4.0, "done")}


class Route:
    """What the beacon routes share: find the site, judge and store, answer, and never cache the answer.

    At a path that names no site, `own` is the site; without it the first of the method.
    """

    method: str

    def __init__(self, collector: Collector, own: str | None = None) -> None:
        self._collector = collector
        self._own = own

    async def on_head(self, req: Request, resp: Response, site: str | None = None) -> None:
        """Answer as a beacon would be answered; a HEAD is none, and stores nothing."""
        if self._site(req, resp, site):
            answers.gif(resp)

    async def on_options(self, req: Request, resp: Response, site: str | None = None) -> None:
        """Answer a browser's preflight."""
        if self._site(req, resp, site):
            answers.preflight(resp)

    def _site(self, req: Request, resp: Response, name: str | None) -> Site | None:
        found = self._collector.site(self.method, name or self._own)
        if found is None:
            answers.words(resp, f"no {self.method} site of this name\n")
            resp.status = 404
            resp.set_header("Access-Control-Allow-Origin", "*")
            return None
        answers.cors(resp, found.origins, req.get_header("Origin"))
        return found

    async def _collect(
        self, site: Site, req: Request, resp: Response, parameters: Parameters, body: str = ""
    ) -> Outcome | None:
        """Judge and store a beacon, and set the status of the answer; None: the answer is a 503 or 429 already."""
        sent = self._collector.sent(site, req, parameters, body)
        try:
            outcome = await self._collector.collect(site, sent)
        except NotStoredError:
            answers.unavailable(resp)
            return None
        except LimitedError as exc:
            answers.limited(resp, exc.limited.reason, exc.limited.seconds)
            return None
        if isinstance(outcome, Rejected):
            resp.status = outcome.status
            resp.set_header("X-Oceanus-Error", outcome.error)
        return outcome

    def _visit(
        self, site: Site, req: Request, resp: Response, told: Sequence[tuple[str, Any]], unread: str = ""
    ) -> str:
        """Return a session for beacons that bring none; give the visitor a cookie where the site asks arms for it."""
        headers = req.texts()
        visit = visits.visit(
            site,
            [value for name, value in told if name == "sid"],
            headers.get("cookie", ""),
            secrets.token_hex(8),
            objects=privacy.objects(site.privacy, headers, told) or privacy.may_object(site.privacy, unread),
            is_https=req.is_https(),
        )
        if visit.cookie:
            resp.append_header("Set-Cookie", visit.cookie)
        return visit.sid

    def _visit_by(self, site: Site, req: Request, resp: Response, parameters: Parameters) -> None:
        """Do so for the only beacon of a request; its session goes into the query string, which is kept if it fails."""
        if isinstance(parameters, ParameterError):
            return
        sid = self._visit(site, req, resp, parameters)
        if site.has_sid and not any(name == "sid" for name, _ in parameters):
            req.add("sid", sid)

    def _wants_debug(self, req: Request, parameters: Parameters) -> bool:
        if isinstance(parameters, ParameterError):
            return False
        return any(name == "debug" for name, _ in parameters) and self._collector.is_internal(req)

    async def _body(self, req: Request, resp: Response, most: int = BODY_BYTES) -> bytes | None:
        """Return the body; None: the answer is a 413 or 400 already."""
        try:
            return await req.body(most)
        except BodyTooLargeError:
            answers.words(resp, f"a body here may have {most} bytes\n")
            resp.status = 413
        except BodyCutError:  # for whoever reads it all the same
            answers.words(resp, "the body is not whole\n")
            resp.status = 400
        return None


class Swallow(Route):
    """Beacons from a browser: a GIF for each; or up to 100 in one POST, and an answer for each."""

    method = "swallow"

    async def on_get(self, req: Request, resp: Response, site: str | None = None) -> None:
        """Take one beacon from the query string."""
        found = self._site(req, resp, site)
        if not found:
            return
        if found.tracker.cookie != "script":
            self._visit_by(found, req, resp, query(req.raw_query))
        parameters = query(req.raw_query)
        outcome = await self._collect(found, req, resp, parameters)
        if outcome is None:
            return
        if self._wants_debug(req, parameters):
            answers.words(resp, explained(outcome, req))
        else:
            answers.gif(resp)

    async def on_post(self, req: Request, resp: Response, site: str | None = None) -> None:
        """Take a JSON array, a JSON object, or lines of JSON objects; answer a result for each, in their order."""
        found = self._site(req, resp, site)
        body = await self._body(req, resp, BATCH_BYTES) if found else None
        if not found or body is None:
            return
        try:
            beacons = batch(body)
        except ParameterError as exc:
            if await self._collect(found, req, resp, exc, body.decode(errors="backslashreplace")):
                answers.words(resp, f"{exc}\n")
            return
        except TooManyError:
            answers.words(resp, f"a batch may have {BATCH_BEACONS} beacons\n")
            resp.status = 413
            return
        if found.tracker.cookie != "script":
            beacons = self._visited(found, req, resp, beacons)
        may_be_plain = len(body) <= BODY_BYTES and b"\\u" not in body
        every = [self._one(found, req, beacon, may_be_plain=may_be_plain) for beacon in beacons]
        results = [await every[0]] if len(every) == 1 else await asyncio.gather(*every)
        if results and all(result["status"] == 503 for result in results):
            answers.unavailable(resp)
            return
        if results and all(result["status"] == 429 for result in results):
            answers.limited(resp, results[0]["error"], max(result["seconds"] for result in results))
            return
        if results and all(result["status"] == 403 for result in results):
            resp.status = 403
        resp.data = orjson.dumps({"results": results})
        resp.content_type = "application/json"

    def _visited(self, site: Site, req: Request, resp: Response, beacons: list[Any]) -> list[Any]:
        """Return the beacons with a session, and give the visitor a cookie, where the site wants that of arms."""
        told = [pair for beacon in beacons if isinstance(beacon, dict) for pair in beacon.items()]
        unread = "\n".join(beacon.line for beacon in beacons if isinstance(beacon, Unreadable))
        sid = self._visit(site, req, resp, told, unread)
        return visits.named(beacons, sid) if site.has_sid else beacons

    async def _one(self, site: Site, req: Request, beacon: Any, *, may_be_plain: bool) -> dict[str, Any]:
        outcome: Outcome | None = None
        try:
            if may_be_plain:
                outcome = await self._collector.collect_plain(site, req, beacon)
            if outcome is None:
                text = raw_beacon(beacon)
                if len(text.encode(errors="replace")) > BODY_BYTES:
                    return {"status": 413, "error": f"a beacon here may have {BODY_BYTES} bytes"}
                sent = self._collector.sent(site, req, parameters_of(beacon), text)
                outcome = await self._collector.collect(site, sent)
        except NotStoredError:
            return {"status": 503, "error": "not stored, send it again"}
        except LimitedError as exc:
            return {"status": 429, "error": exc.limited.reason, "seconds": exc.limited.seconds}
        if isinstance(outcome, Rejected):
            return {"status": outcome.status, "error": outcome.error}
        return {"status": 200, "eid": outcome.eid} if isinstance(outcome, Accepted) else {"status": 200}


class Gaze(Route):
    """How long a mail stays open: a chain of redirects, each sent after the time that its event stands for."""

    method = "gaze"

    def __init__(self, collector: Collector, most_held: int) -> None:
        super().__init__(collector)
        self._most_held = most_held
        self._held = 0

    async def on_get(self, req: Request, resp: Response, site: str) -> None:
        """Take one beacon; while the chain goes on, answer a redirect to the next, also where the beacon was bad."""
        found = self._site(req, resp, site)
        if not found:
            return
        parameters = query(req.raw_query)
        outcome = await self._collect(found, req, resp, parameters)
        if outcome is None:
            return
        if self._wants_debug(req, parameters):
            answers.words(resp, explained(outcome, req))
            return
        answers.gif(resp)
        seconds, event = CHAIN.get(event_of(req.raw_query), (0.0, ""))
        if event and self._held < self._most_held:
            await self._hold(seconds)
            resp.data = b""
            resp.status = 302
            resp.set_header("Location", f"{req.path}?{with_event(req.raw_query, event)}")

    async def _hold(self, seconds: float) -> None:
        self._held += 1
        metrics.HELD.inc()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._held -= 1
            metrics.HELD.dec()


class Pierce(Route):
    """Beacons of a server, which gives its visitor's address and agent: `ok` as text."""

    method = "pierce"

    async def on_get(self, req: Request, resp: Response, site: str) -> None:
        """Take one beacon from the query string."""
        found = self._site(req, resp, site)
        if not found:
            return
        parameters = query(req.raw_query)
        outcome = await self._collect(found, req, resp, parameters)
        if outcome is None:
            return
        if self._wants_debug(req, parameters):
            answers.words(resp, explained(outcome, req))
        else:
            answers.words(resp, f"{outcome.error}\n" if isinstance(outcome, Rejected) else "ok")


class Pirate(Route):
    """Forms: urlencoded, JSON, or the plain text of `sendBeacon`; the query string counts as part of the form."""

    method = "pirate"

    async def on_post(self, req: Request, resp: Response, site: str | None = None) -> None:
        """Take one form; answer an empty text."""
        found = self._site(req, resp, site)
        body = await self._body(req, resp) if found else None
        if not found or body is None:
            return
        parameters = form(req.raw_query, req.content_type or "", body)
        if found.tracker.cookie != "script":
            self._visit_by(found, req, resp, parameters)
            parameters = form(req.raw_query, req.content_type or "", body)
        outcome = await self._collect(found, req, resp, parameters, body.decode(errors="backslashreplace"))
        if outcome is not None:
            answers.words(resp, "")


def event_of(raw_query: bytes) -> str:
    """Return the event in a query string, in small letters, however bad the rest is."""
    for part in raw_query.decode("latin-1").split("&"):
        name, _, value = part.partition("=")
        if name == "evt":
            return unquote_plus(value).lower()
    return ""


def with_event(raw_query: bytes, event: str) -> str:
    """Return the query string with another event, all else as it came, but for the name of this one beacon."""
    parts = quote(raw_query, safe="&=%+/?:;,@!$'()*~[]|").split("&")
    others = [part for part in parts if part.partition("=")[0] not in ("cid", "re")]
    return "&".join(f"evt={event}" if part.partition("=")[0] == "evt" else part for part in others)


def explained(outcome: Outcome, req: Request) -> str:
    """Return the page that `debug` shows: what became of the beacon, and why."""
    record = getattr(outcome, "record", {})
    reasons = outcome.reasons if isinstance(outcome, Rejected) else {}
    told = {"route": req.path, "result": type(outcome).__name__.lower(), "errors": reasons, "record": record}
    shown = orjson.dumps(told | {"headers": req.texts()}, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
    return shown.decode() + "\n"
