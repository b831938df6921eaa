"""Chromium agrees with what management.csp says of a policy."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote

import pytest
from playwright.sync_api import Browser

from arms.fingerprints import integrity
from management.csp import Wanted, policies, refusing
from tests.chromium import running_chromium

SCRIPT = b"window.ran = true"
# PORT is that of the server, which is every host below localhost.
POLICIES = [
    "default-src 'none'",
    "default-src *",
    "script-src 'self'",
    "script-src http:",
    "script-src https:",
    "script-src log.shop.localhost",
    "script-src log.shop.localhost:*",
    "script-src LOG.shop.localhost:PORT",
    "script-src http://log.shop.localhost:PORT",
    "script-src https://log.shop.localhost:PORT",
    "script-src *.shop.localhost:PORT",
    "script-src shop.localhost:PORT",
    "script-src *.log.shop.localhost:PORT",
    "script-src log.shop.localhost:PORT/static/",
    "script-src log.shop.localhost:PORT/static",
    "script-src log.shop.localhost:PORT/static/a.js",
    "script-src log.shop.localhost:PORT/",
    "script-src 'nonce-n1'",
    "script-src 'nonce-n2'",
    "script-src 'HASH'",
    "script-src 'sha384-AAAA'",
    "script-src * 'strict-dynamic'",
    "script-src 'strict-dynamic' 'nonce-n1'",
    "script-src-elem 'none'; script-src *",
    "default-src 'none'; script-src *",
    "script-src *; script-src 'none'",
    "script-src *, script-src 'none'",
    "SCRIPT-SRC 'NONE'",
]


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """A server that answers a script, and pages that load it under the policy that their address asks for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, policy = self.path.partition("?")
            self.send_response(200)
            if path == "/static/a.js":
                self.send_header("Access-Control-Allow-Origin", "*")
                self.send_header("Content-Type", "text/javascript")
                body = SCRIPT
            else:
                self.send_header("Content-Security-Policy", unquote(policy))
                self.send_header("Content-Type", "text/html")
                source = f"http://log.shop.localhost:{self.server.server_port}/static/a.js"
                proof = f'integrity="{integrity(SCRIPT)}" crossorigin="anonymous" nonce="n1"'
                body = f'<!doctype html><script src="{source}" {proof}></script>'.encode()
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield listening.server_port
        listening.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with running_chromium() as running:
        yield running


def test_a_browser_runs_what_the_policy_is_said_to_allow(server: int, browser: Browser) -> None:
    at = f"http://www.shop.localhost:{server}/"
    script = Wanted("script", f"http://log.shop.localhost:{server}/static/a.js", "n1", integrity(SCRIPT))
    texts = [text.replace("PORT", str(server)).replace("HASH", integrity(SCRIPT)) for text in POLICIES]
    page = browser.new_page()

    ran = {}
    for text in texts:
        page.goto(f"{at}?{quote(text)}")
        ran[text] = json.loads(page.evaluate("JSON.stringify(Boolean(window.ran))"))

    assert ran == {text: not refusing(policies([text]), script, at) for text in texts}
    assert set(ran.values()) == {True, False}
