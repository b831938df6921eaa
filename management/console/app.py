"""The application: every route of the console in one place, behind one door.

What changes something is a POST; all else may be asked as often as one likes. Whatever waits for Redis, BigQuery or
arms does so in a thread of its own, so that no viewer's stream stops for another's question.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

import falcon
import falcon.asgi
import orjson
from falcon.asgi import SSEvent
from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest

from management.console import pages, shown
from management.console.desk import AskedWronglyError, Desk
from management.console.door import COOKIE, COOKIE_SECONDS, Asked, Door, Refusal
from management.console.pages import File
from management.console.stream import wanted
from management.console.watch import Watch
from oceanus.errors import OceanusError

App = falcon.asgi.App[falcon.asgi.Request, falcon.asgi.Response]
Request = falcon.asgi.Request
Response = falcon.asgi.Response

VIEWERS = 50
WATCHING = Gauge("oceanus_console_viewers", "Pages that are open at the console.")
TICK_SECONDS = 0.5
ROWS_A_TICK = 40
AGAIN_MS = 2000  # how long a page waits before it opens its stream anew
BODY_BYTES = 4096


class Guard:
    """Asks the door before anything else, and sends the headers that keep a page what it is."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def process_request(self, req: Request, resp: Response) -> None:
        """Refuse whom the door does not let in; who only lacks the token is shown where it is asked for."""
        asked = Asked(
            method=req.method,
            path=req.path,
            host=req.get_header("Host") or "",
            origin=req.get_header("Origin"),
            cookie=next(iter(req.get_cookie_values(COOKIE) or ()), None),
            fetch_site=req.get_header("Sec-Fetch-Site"),
        )
        refusal = self._door.refusal(asked, time.time())
        if refusal is None:
            return
        resp.complete = True
        if refusal.status == 401 and req.path == "/":
            resp.status = 303
            resp.set_header("Location", "/login")
        else:
            _refuse(resp, refusal)

    async def process_response(self, req: Request, resp: Response, resource: object, succeeded: bool) -> None:
        """Send the page's policy with every answer; nothing is kept anywhere, but files that are asked for anew."""
        resp.set_headers(pages.HEADERS)
        if not resp.get_header("Cache-Control"):
            resp.set_header("Cache-Control", "no-store")


class Lifespan:
    """Watches from the first request to the last."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    async def process_startup(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Start the watch's threads, in the process that serves."""
        self._watch.start()

    async def process_shutdown(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """End them."""
        self._watch.stop()


class Files:
    """The page and what it is made of."""

    def __init__(self, files: Mapping[str, File]) -> None:
        self._files = files

    async def on_get(self, req: Request, resp: Response, name: str = "index.html") -> None:
        """Answer a file, or that the browser's own copy is still good."""
        file = self._files.get(name)
        if file is None:
            raise AskedWronglyError(f"the console has no file {shown.shown_line(name[:100])}")
        resp.set_header("ETag", file.tag)
        resp.set_header("Cache-Control", "no-cache")
        if req.get_header("If-None-Match") == file.tag:
            resp.status = 304
            return
        resp.data = file.content
        resp.content_type = file.type


class Login:
    """Where the token is exchanged for the cookie."""

    def __init__(self, door: Door, page: File) -> None:
        self._door = door
        self._page = page

    async def on_get(self, req: Request, resp: Response) -> None:
        """Ask for the token."""
        if not self._door.asks:
            resp.status = 303
            resp.set_header("Location", "/")
            return
        resp.data = self._page.content
        resp.content_type = self._page.type

    async def on_post(self, req: Request, resp: Response) -> None:
        """Exchange the token for a cookie."""
        given = str((await _body(req)).get("token", ""))
        entered = self._door.enter(given, time.time())
        if isinstance(entered, Refusal):
            _refuse(resp, entered)
            return
        secure = (req.get_header("Origin") or "").startswith("https://")
        resp.set_cookie(
            COOKIE, entered, max_age=COOKIE_SECONDS, path="/", http_only=True, same_site="Strict", secure=secure
        )
        _answer(resp, {})


class Logout:
    """Where the cookie ends."""

    async def on_post(self, req: Request, resp: Response) -> None:
        """Take the cookie away from this browser."""
        resp.unset_cookie(COOKIE, path="/", same_site="Strict")
        _answer(resp, {})


class Health:
    """For whoever started the console."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer that it serves."""
        resp.text = "ok\n"
        resp.content_type = "text/plain; charset=utf-8"


class Metrics:
    """What the console counts, in Prometheus' text format; behind the door like all else."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer them."""
        resp.data = generate_latest()
        resp.content_type = CONTENT_TYPE_LATEST


class Live:
    """The stream of a viewer: what is known at once, then each look at Redis, and the records it wants to see."""

    def __init__(self, watch: Watch, about: Mapping[str, Any]) -> None:
        self._watch = watch
        self._about = about
        self._viewers = 0

    async def on_get(self, req: Request, resp: Response) -> None:
        """Open a stream; ?site= and ?words= choose the records."""
        if self._viewers >= VIEWERS:
            _refuse(resp, Refusal(503, f"{VIEWERS} pages are open already: close one"))
            return
        resp.set_header("X-Accel-Buffering", "no")  # nginx would hold the stream back
        resp.sse = self._stream(req.get_param("site") or "", (req.get_param("words") or "")[:200])

    async def _stream(self, site: str, words: str) -> AsyncIterator[SSEvent]:
        self._viewers += 1
        WATCHING.set(self._viewers)
        try:
            history, is_wanted = self._watch.history.told(), wanted(site, words)
            yield _event("hello", {**self._about, "history": history}, AGAIN_MS)
            looked, number, is_first = -1, 0, True
            while True:
                moment = self._watch.moment
                if moment.number != looked:
                    looked = moment.number
                    yield _event("now", moment.told())
                page = self._watch.stream.since(number, is_wanted, ROWS_A_TICK)
                number = page.number
                if page.records or is_first:
                    more = 0 if is_first else page.more  # before the first tick nobody looked
                    yield _event("records", {"rows": [shown.row(one) for one in page.records], "more": more})
                is_first = False
                yield SSEvent()  # only what is sent shows Falcon that somebody has gone
                await asyncio.sleep(TICK_SECONDS)
        finally:
            self._viewers -= 1
            WATCHING.set(self._viewers)


class Records:
    """One record whole."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def on_get(self, req: Request, resp: Response, eid: str) -> None:
        """Answer all that a record says; ?site= and ?at= (seconds) say where to look once it is a row."""
        site, at_us = req.get_param("site") or "", _micros(req)
        _answer(resp, await asyncio.to_thread(self._desk.record, site, eid, at_us))


class Failed:
    """The failed records, one of them, and sending it again."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer reasons and records; ?site=, ?reason= and ?since= choose."""
        given = [req.get_param(name) or "" for name in ("site", "reason", "since")]
        _answer(resp, await asyncio.to_thread(self._desk.failed, *given))

    async def on_get_one(self, req: Request, resp: Response, fid: str) -> None:
        """Answer one failed record, and what a retry would do now."""
        _answer(resp, await asyncio.to_thread(self._desk.failed_record, fid))

    async def on_post_retry(self, req: Request, resp: Response, fid: str) -> None:
        """Send it again, once."""
        _answer(resp, await asyncio.to_thread(self._desk.retry, fid))


class Audit:
    """The audit's answer."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._running: set[asyncio.Task[None]] = set()

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer what the last audit found, and whether one is running."""
        _answer(resp, self._desk.audited())

    async def on_post(self, req: Request, resp: Response) -> None:
        """Begin an audit of the last ?days= with records, or of all; its answer is asked for by GET."""
        days = req.get_param_as_int("days", min_value=1)
        task = asyncio.create_task(asyncio.to_thread(self._desk.audit, days))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        await asyncio.sleep(0.05)  # so that the answer says that it is running
        resp.status = 202
        _answer(resp, self._desk.audited())


class Snippets:
    """The texts for a site's pages."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def on_get(self, req: Request, resp: Response, site: str) -> None:
        """Answer each kind; ?url= is the collector's address as browsers see it, ?page= that of an image's page."""
        given = [req.get_param(name) or "" for name in ("url", "page")]
        _answer(resp, await asyncio.to_thread(self._desk.snippets, site, *given))


class Tests:
    """Test beacons of a site."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def on_post(self, req: Request, resp: Response, site: str) -> None:
        """Send one, and answer what arms answered."""
        _answer(resp, await asyncio.to_thread(self._desk.send_test, site))

    async def on_get_one(self, req: Request, resp: Response, site: str, eid: str) -> None:
        """Answer where it is; ?at= says when arms answered."""
        _answer(resp, await asyncio.to_thread(self._desk.where, site, eid, _micros(req)))


def create_app(watch: Watch, desk: Desk, door: Door, about: Mapping[str, Any]) -> App:
    """Return the console as an ASGI application; `about` is what a page is told of this deployment."""
    files = pages.load()
    app: App = falcon.asgi.App(middleware=[Guard(door), Lifespan(watch)])
    failed, tests, page = Failed(desk), Tests(desk), Files(files)
    app.add_route("/", page)
    app.add_route("/page/{name}", page)
    app.add_route("/login", Login(door, files["login.html"]))
    app.add_route("/logout", Logout())
    app.add_route("/hc", Health())
    app.add_route("/metrics", Metrics())
    app.add_route("/live", Live(watch, {**about, "asks": door.asks}))
    app.add_route("/records/{eid}", Records(desk))
    app.add_route("/failed", failed)
    app.add_route("/failed/{fid}", failed, suffix="one")
    app.add_route("/failed/{fid}/retry", failed, suffix="retry")
    app.add_route("/audit", Audit(desk))
    app.add_route("/sites/{site}/snippets", Snippets(desk))
    app.add_route("/sites/{site}/test", tests)
    app.add_route("/sites/{site}/test/{eid}", tests, suffix="one")
    app.add_error_handler(OceanusError, _told)
    app.set_error_serializer(_serialized)
    return app


async def _told(req: Request, resp: Response, error: Exception, params: Mapping[str, Any]) -> None:
    """Answer one of our errors as its sentence."""
    _refuse(resp, Refusal(404 if isinstance(error, AskedWronglyError) else 503, shown.shown_line(str(error))))


def _serialized(req: Request, resp: Response, error: falcon.HTTPError) -> None:
    _answer(resp, {"error": shown.shown_line(error.description or error.title or "not so")})


def _refuse(resp: Response, refusal: Refusal) -> None:
    resp.status = refusal.status
    _answer(resp, {"error": refusal.sentence})


def _answer(resp: Response, told: object) -> None:
    resp.data = orjson.dumps(told)
    resp.content_type = "application/json"


def _event(name: str, told: object, retry_ms: int | None = None) -> SSEvent:
    return SSEvent(data=orjson.dumps(told), event=name, retry=retry_ms)


def _micros(req: Request) -> int:
    """Return ?at=, in seconds since 1970, as microseconds."""
    at = req.get_param_as_float("at", required=True, min_value=0, max_value=4e9)
    if at is None or math.isnan(at):
        raise falcon.HTTPInvalidParam("It must be seconds since 1970.", "at")
    return int(at * 1e6)


async def _body(req: Request) -> dict[str, str]:
    """Return the fields of a small form; of a body that is too large its beginning is read."""
    return dict(parse_qsl((await req.stream.read(BODY_BYTES)).decode("utf-8", "replace")))
