"""`python -m tests.browser`: what a page view costs the page, traced in Chromium; prints numbers and judges nothing.

A page with the tag alone, against a server that answers at once; the middle of 15 loads. Main-thread time is what
Chromium's trace has for the script: compiling and running it, and its timers and handlers; by the thread's own
clock, so that a busy machine counts for little.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

from tests.browser.conftest import Answer, Pages
from tests.chromium import running_chromium

LOADS = 15
WORK = {"EvaluateScript", "v8.compile", "FunctionCall", "TimerFire", "EventDispatch", "RunMicrotasks"}


def main() -> None:
    """Load pages, and print what they cost."""
    name = sys.argv[1] if len(sys.argv) > 1 else "okeanides.js"
    attributes = "data-clicks data-outbound data-downloads data-scroll data-time data-vitals data-errors"
    pages = Pages()
    pages.put(
        "/page", f'<title>Page</title><script defer src="/oceanus/{name}" data-site="shop" {attributes}></script>'
    )
    pages.pages["/swallow/shop"] = Answer(b'{"results": [{"status": 200}]}', "application/json")
    with running_chromium() as browser:
        print(f"Chromium {browser.version}, {name}")
        work, longest, leaves = [], [], []
        for _ in range(LOADS):
            page = browser.new_context().new_page()
            trace = Path(tempfile.mkdtemp()) / "trace.json"
            browser.start_tracing(page=page, path=str(trace))
            page.goto(f"http://127.0.0.1:{pages.port}/page")
            page.wait_for_timeout(500)
            browser.stop_tracing()
            leaves.append(page.evaluate(LEAVES))
            events = json.loads(trace.read_text())["traceEvents"]
            work.append(sum(spent(events, name)))
            longest.append(max((one.get("tdur", 0) / 1000 for one in tasks(events)), default=0))
            page.close()
        print(f"main thread, of the script:       {statistics.median(work):6.2f} ms (most {max(work):.2f})")
        print(f"longest task of the page's load:  {statistics.median(longest):6.2f} ms (most {max(longest):.2f})")
        print(f"beacon after DOMContentLoaded:    {statistics.median(leaves):6.2f} ms (most {max(leaves):.2f})")
        browser.close()
    pages.close()


LEAVES = """() => performance.getEntriesByName(location.origin + "/swallow/shop")[0].startTime
    - performance.getEntriesByType("navigation")[0].domContentLoadedEventStart"""


def tasks(events: list[dict]) -> list[dict]:
    """Return the tasks of the page's main thread."""
    main = {(one["pid"], one["tid"]) for one in events if one["name"] == "EvaluateScript"}
    return [one for one in events if one["name"] == "RunTask" and (one["pid"], one["tid"]) in main]


def spent(events: list[dict], name: str) -> list[float]:
    """Return the milliseconds of each piece of work of a script, the outermost alone."""
    ours = [
        one
        for one in events
        if one["name"] in WORK and name in json.dumps(one.get("args", {})) and one.get("dur") is not None
    ]
    ours.sort(key=lambda one: (one["ts"], -one["dur"]))
    pieces, until = [], 0.0
    for one in ours:
        if one["ts"] >= until:
            pieces.append(one.get("tdur", one["dur"]) / 1000)
            until = one["ts"] + one["dur"]
    return pieces


if __name__ == "__main__":
    main()
