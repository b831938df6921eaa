"""The application: what it answers to whom, with which headers; a stream that never holds more for one viewer."""

import asyncio
import json
from typing import Any

import falcon.testing
import pytest
from falcon.testing import ASGIConductor
from prometheus_client import REGISTRY

from management.console import app, pages
from management.console.desk import AskedWronglyError
from management.console.door import COOKIE, Door
from management.console.history import History
from management.console.stream import Stream
from management.console.watch import Moment
from oceanus import records
from oceanus.errors import SpoolUnclearError

HOST = "127.0.0.1"
OURS = {"Origin": "http://127.0.0.1"}
TOKEN = "a-token-of-this-console"
FID = "019a4b6e-3c00-7abc-8def-0123456789ab"
HOSTILE = "<script>document.title='owned'</script>\u202e"


class StillWatch:
    """A watch that looks at nothing; a test says what it has seen."""

    def __init__(self) -> None:
        self.stream, self.history = Stream(), History()
        self.moment = Moment(number=1, at=1_795_418_491.0)

    def start(self) -> None: ...

    def stop(self) -> None: ...


class NotedDesk:
    """A desk that notes what it is asked, and fails as it is told."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.failure: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        def answer(*given: Any) -> dict[str, Any]:
            self.asked.append((name, *given))
            if self.failure:
                raise self.failure
            return {"running": False, "answer": None}

        return answer


OPEN = "oceanus_console_viewers"


@pytest.fixture
def watch() -> StillWatch:
    return StillWatch()


@pytest.fixture
def desk() -> NotedDesk:
    return NotedDesk()


class Page(falcon.testing.TestClient):
    """A browser at the console's own address."""

    def simulate_request(self, *given: Any, **told: Any) -> falcon.testing.Result:
        return super().simulate_request(*given, **{"host": HOST} | told)


def client(watch: Any, desk: Any, token: str = "") -> Page:
    return Page(app.create_app(watch, desk, Door(token, ()), {"sites": [], "project": "p"}))


@pytest.fixture
def page(watch: StillWatch, desk: NotedDesk) -> Page:
    return client(watch, desk)


@pytest.mark.parametrize(
    "path", ["/", "/page/main.js", "/page/console.css", "/hc", "/failed", "/audit", "/nothing", "/live2"]
)
def test_every_answer_says_what_a_page_may_do_and_that_nobody_keeps_it(page, path):
    answer = page.simulate_get(path)

    assert {name: answer.headers[name.lower()] for name in pages.HEADERS} == pages.HEADERS
    assert answer.headers["cache-control"] in ("no-store", "no-cache")
    assert "unsafe" not in pages.POLICY
    assert "http" not in pages.POLICY


def test_the_page_is_made_of_its_own_files_alone_and_of_no_inline_script():
    for name, file in pages.load().items():
        text = file.content.decode()
        assert "http://" not in text.replace("http://www.w3.org/", "").replace("http://host", ""), name
        assert "https://" not in text.replace("https://log.shop.example", "").replace(
            "https://www.shop.example/", ""
        ), name
        assert not [sign for sign in (" onclick=", " style=", "innerHTML", "eval(", "<script>") if sign in text], name


def test_a_file_is_asked_for_anew_and_sent_only_if_it_changed(page):
    first = page.simulate_get("/page/main.js")
    second = page.simulate_get("/page/main.js", headers={"If-None-Match": first.headers["etag"]})

    assert (first.status_code, first.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert (second.status_code, second.content) == (304, b"")


@pytest.mark.parametrize("path", ["/page/../app.py", "/page/..%2fapp.py", "/page/app.py", "/page/"])
def test_no_other_file_is_sent(page, path):
    assert page.simulate_get(path).status_code == 404


def test_a_foreign_host_gets_nothing_and_is_told_the_remedy(page, desk):
    answer = page.simulate_get("/failed", host="evil.example")

    assert answer.status_code == 403
    assert "CONSOLE_HOSTS" in answer.json["error"]
    assert desk.asked == []


@pytest.mark.parametrize("path", [f"/failed/{FID}/retry", "/audit", "/sites/shop/test", "/logout", "/login"])
def test_what_changes_something_is_a_post_from_this_page(page, desk, path):
    foreign = page.simulate_post(path, headers={"Origin": "http://evil.example"})
    nowhere = page.simulate_post(path)
    before = list(desk.asked)
    ours = page.simulate_post(path, headers=OURS)

    assert (foreign.status_code, nowhere.status_code, before) == (403, 403, [])
    assert ours.status_code != 403


def test_no_get_changes_anything(page, desk):
    for path in (f"/failed/{FID}/retry", "/sites/shop/test", "/logout"):
        assert page.simulate_get(path).status_code == 405
    page.simulate_get("/audit")

    assert [name for name, *_ in desk.asked] == ["audited"]


def test_what_is_asked_reaches_the_desk(page, desk):
    page.simulate_get("/failed", params={"site": "shop", "reason": "max", "since": "1h"})
    page.simulate_get(f"/failed/{FID}")
    page.simulate_post(f"/failed/{FID}/retry", headers=OURS)
    page.simulate_get(f"/records/{FID}", params={"site": "shop", "at": "1.5"})
    page.simulate_get("/sites/shop/snippets", params={"url": "https://a.example"})
    page.simulate_get(f"/sites/shop/test/{FID}", params={"at": "2"})
    page.simulate_post("/audit", params={"days": "7"}, headers=OURS)

    assert desk.asked == [
        ("failed", "shop", "max", "1h"),
        ("failed_record", FID),
        ("retry", FID),
        ("record", "shop", FID, 1_500_000),
        ("snippets", "shop", "https://a.example", ""),
        ("where", "shop", FID, 2_000_000),
        ("audit", 7),
        ("audited",),
    ]


@pytest.mark.parametrize(
    ("failure", "status"),
    [(SpoolUnclearError("Redis gave no answer\u202e"), 503), (AskedWronglyError("no such site"), 404)],
)
def test_an_error_is_one_sentence(page, desk, failure, status):
    desk.failure = failure

    answer = page.simulate_get("/failed")

    assert (answer.status_code, answer.json) == (status, {"error": str(failure).replace("\u202e", "\\u202e")})


@pytest.mark.parametrize(
    "path", [f"/records/{FID}", f"/records/{FID}?at=x", f"/records/{FID}?at=nan", "/sites/s/test/1?at=1e99"]
)
def test_a_number_that_is_none_is_told_as_a_sentence(page, path):
    answer = page.simulate_get(path)

    assert answer.status_code == 400
    assert "at" in answer.json["error"]


def test_the_token_is_asked_for_once_and_the_cookie_is_no_script_s(watch, desk):
    page = client(watch, desk, TOKEN)
    asked = page.simulate_get("/")
    wrong = page.simulate_post("/login", headers=OURS, body="token=wrong")
    entered = page.simulate_post("/login", headers=OURS, body=f"token={TOKEN}")
    behind_tls = page.simulate_post("/login", headers=OURS | {"Origin": "https://127.0.0.1"}, body=f"token={TOKEN}")
    cookie = entered.cookies[COOKIE]
    let_in = page.simulate_get("/", headers={"Cookie": f"{COOKIE}={cookie.value}"})

    assert (asked.status_code, asked.headers["location"]) == (303, "/login")
    assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
    assert (cookie.http_only, cookie.same_site, cookie.path, cookie.secure) == (True, "Strict", "/", False)
    assert behind_tls.cookies[COOKIE].secure
    assert TOKEN not in entered.headers["set-cookie"]
    assert let_in.status_code == 200
    for path in ("/live", "/failed", "/audit", "/page/main.js"):
        assert page.simulate_get(path).status_code == 401


def events(watch: StillWatch, path: str, while_open: list[bytes], many: int) -> list[tuple[str, Any]]:
    """Return the first events of a stream; what is accepted while it is open is heard by and by."""

    async def read() -> list[tuple[str, Any]]:
        made = app.create_app(watch, NotedDesk(), Door("", ()), {"sites": []})  # type: ignore[arg-type] # stands in
        async with ASGIConductor(made) as conductor, conductor.simulate_get_stream(path, host=HOST) as stream:
            text = ""
            while text.count("event: ") < many or not text.endswith("\n\n"):
                text += (await stream.stream.read()).decode()
                for raw in while_open:
                    watch.stream.hear("shop", raw)
                while_open.clear()
                await asyncio.sleep(0.01)  # what is read is what is there, and may be nothing
        return [_event(block) for block in text.split("\n\n") if "event: " in block][:many]

    return asyncio.run(asyncio.wait_for(read(), 30))


def _event(block: str) -> tuple[str, Any]:
    lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
    return lines["event"], json.loads(lines["data"])


def a_record(title: str) -> bytes:
    return records.encode({"v": 1, "eid": records.mint(), "dt": "2026-11-23 07:21:25.635000", "tit": title})


def test_a_viewer_is_told_what_is_known_then_what_comes_and_no_markup_of_a_record_is_more_than_text(watch):
    watch.stream.hear("shop", a_record("before"))

    told = events(watch, "/live", [a_record(HOSTILE)], 4)

    assert [name for name, _ in told] == ["hello", "now", "records", "records"]
    assert [row["says"] for row in told[2][1]["rows"]] == [[["tit", "before"]]]
    assert told[3][1]["rows"][0]["says"] == [["tit", "<script>document.title='owned'</script>\\u202e"]]


def test_a_tick_shows_so_many_records_at_most_and_says_how_many_more_there_were(watch):
    told = events(watch, "/live?site=shop", [a_record(str(number)) for number in range(500)], 4)

    assert (len(told[3][1]["rows"]), told[3][1]["more"]) == (app.ROWS_A_TICK, 500 - app.ROWS_A_TICK)
    assert told[3][1]["rows"][0]["says"] == [["tit", "499"]]


def test_a_viewer_sees_only_what_it_looks_for(watch):
    some = [a_record(title) for title in ("a red hat", "a green hat", "shoes")]

    told = events(watch, "/live?words=hat+GREEN", some, 4)

    assert [row["says"] for row in told[3][1]["rows"]] == [[["tit", "a green hat"]]]


def test_more_viewers_than_there_is_room_for_are_told_so(watch, monkeypatch):
    monkeypatch.setattr(app, "VIEWERS", 0)

    answer = client(watch, NotedDesk()).simulate_get("/live")

    assert (answer.status_code, answer.json) == (503, {"error": "0 pages are open already: close one"})


def test_the_pages_that_are_open_are_counted(watch, desk, monkeypatch):
    within, told = [], watch.history.told
    monkeypatch.setattr(watch.history, "told", lambda: within.append(REGISTRY.get_sample_value(OPEN)) or told())

    events(watch, "/live", [], 2)

    assert within == [1.0]
    assert f"{OPEN} 0.0" in client(watch, desk).simulate_get("/metrics").text.splitlines()
    assert client(watch, desk, TOKEN).simulate_get("/metrics").status_code == 401
