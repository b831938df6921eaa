"""`oceanus snippet` prints the text for a site, and says what it cannot print, and why."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from arms.fingerprints import fingerprint
from management import commands, snippet_commands

SCRIPT = b"(function(){})()"
NAMED = f"/static/js/okeanides.{fingerprint(SCRIPT)}.js"
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `oceanus snippet` of a release with these scripts, where nothing runs."""
    (tmp_path / "okeanides.js").write_bytes(SCRIPT)
    monkeypatch.setattr(snippet_commands, "SCRIPTS", tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.delenv("SITES_FILE", raising=False)
    return lambda *words: CliRunner().invoke(commands.oceanus, ["snippet", *words])


@pytest.fixture
def collector() -> Iterator[tuple[str, dict[str, bytes]]]:
    """A collector's address, and what it serves by path."""
    served: dict[str, bytes] = {}

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = served.get(self.path)
            self.send_response(200 if found is not None else 404)
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield f"http://127.0.0.1:{server.server_port}", served
        server.shutdown()


def test_the_tag_is_printed_ready_and_nothing_else(run: Run) -> None:
    printed = run("--site", "bizocean", "--url", "https://log.shop.example", "--nonce", "{{ nonce }}")

    assert (printed.exit_code, printed.stderr) == (0, "")
    assert printed.stdout.startswith(f'<script defer src="https://log.shop.example{NAMED}" integrity="sha384-')
    assert printed.stdout.endswith(' data-site="bizocean" nonce="{{ nonce }}"></script>\n')


def test_an_image_needs_no_script(run: Run) -> None:
    words = ("--for", "noscript", "--url", "https://log.shop.example")

    page = run("--site", "bizocean", *words, "--page", "https://www.shop.example/")
    mail = run("--site", "mailaction", *words)

    assert (page.exit_code, page.stdout.count("<img")) == (0, 1)
    assert (mail.exit_code, mail.stdout.count("<img")) == (0, 1)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--site", "nobody", "--url", "https://a"), 2, "declares no such site"),
        (("--site", "shortener", "--url", "https://a"), 2, "of method pierce, to which no script sends"),
        (("--site", "bizocean", "--url", "a.example"), 2, "must be an address such as https://log.shop.example"),
        (("--site", "bizocean", "--url", "https://a", "--for", "noscript"), 2, "--page https://www.shop.example/"),
        (("--site", "bizocean", "--url", "https://a", "--nonce", '"'), 2, "it stands within quotes"),
        (("--site", "bizocean"), 1, "make up; or say where arms is: --url https://log.shop.example"),
        (("--site", "docreq", "--url", "https://a"), 1, "pirate.js cannot be read: install oceanus whole"),
    ],
)
def test_what_cannot_be_printed_is_said_with_the_remedy(
    run: Run, words: tuple[str, ...], code: int, sentence: str
) -> None:
    printed = run(*words)

    assert (printed.exit_code, printed.stdout) == (code, "")
    assert sentence in " ".join(printed.stderr.split())


def test_a_check_asks_the_collector_for_this_very_script(run: Run, collector: tuple[str, dict[str, bytes]]) -> None:
    url, served = collector

    def checked(*words: str) -> tuple[int, str, str]:
        told = run("--site", "bizocean", "--url", url, "--check", *words)
        return told.exit_code, told.stdout[:7], told.stderr

    assert checked() == (1, "", f"{url}{NAMED}: a 404: upgrade arms there, or print this with the oceanus of there\n")
    served[NAMED] = SCRIPT
    assert checked() == (0, "<script", "")
    served[NAMED] = b"another"
    assert checked()[2].startswith(f"{url}{NAMED}: another script: upgrade arms there")
    served["/static/js/okeanides.js"] = b"newer"
    assert checked("--newest") == (0, "<script", "")


def test_a_check_of_nobody_says_so(run: Run) -> None:
    told = run("--site", "bizocean", "--url", "http://127.0.0.1:1", "--check")

    assert (told.exit_code, told.stdout) == (1, "")
    assert told.stderr.startswith(f"http://127.0.0.1:1{NAMED}: no answer: ")
