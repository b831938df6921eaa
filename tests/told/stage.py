"""The stage: a real Redis, `python -m revelation` on it, a Slack of our own on loopback, an arms that only pushes."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import psutil

from management import parts
from oceanus import records, settings
from oceanus.alerts import Alerts
from oceanus.pushes import Push
from oceanus.spool import Pusher, Spool, connect, connect_pusher
from tests.conftest import RedisProcess, end
from tests.revelation.places import Asked, Place, Reply

SITES = """
shapes:
  page:
    fields:
      dt: {from: clock, type: TIMESTAMP, mode: REQUIRED}
      evt: {from: query, rule: {type: string}}
      url: {from: query, rule: {type: string}}
      tit: {from: query, rule: {type: string}}
      ref: {from: query, rule: {type: string}}
      ua: {from: "header:user-agent", rule: {type: string}}
      sid: {from: query, rule: {type: string}}
      jsn: {from: query, normal: [json], rule: {type: string}, type: JSON}
sites:
  shop: {method: swallow, shape: page, batch: {rows: 50, seconds: 1}, alerts: true}
"""


CHANNEL = "C0123456789"


class Slack:
    """A Slack that answers as its documentation says, and notes when it heard which text; may be away."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, float]] = []
        self.away = False
        self._messages: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._place = Place(self._reply).__enter__()
        self.url = f"{self._place.url}/api/"

    def _reply(self, asked: Asked) -> Reply:
        if self.away:
            return Reply(status=503, body=b"service_unavailable")
        if asked.path.endswith("chat.postMessage"):
            return Reply(body=self.post(json.loads(asked.body)))
        return Reply(body=self.history(dict(parse_qsl(asked.body.decode()))))

    def post(self, asked: dict[str, Any]) -> bytes:
        """Take a message: docs.slack.dev/reference/methods/chat.postMessage."""
        now = time.time()
        with self._lock:
            self.heard.append((str(asked["text"]), now))
            self._messages.append({"type": "message", "ts": f"{now:.6f}", "metadata": asked["metadata"]})
        return json.dumps({"ok": True, "channel": CHANNEL, "ts": f"{now:.6f}"}).encode()

    def history(self, asked: dict[str, str]) -> bytes:
        """Tell what was posted since, the newest first: docs.slack.dev/reference/methods/conversations.history."""
        with self._lock:
            found = [one for one in self._messages[::-1] if float(one["ts"]) >= float(asked["oldest"])]
        first, limit = int(asked.get("cursor") or 0), int(asked["limit"])
        more = first + limit < len(found)
        page = {"ok": True, "messages": found[first : first + limit], "has_more": more}
        page["response_metadata"] = {"next_cursor": str(first + limit) if more else ""}
        return json.dumps(page).encode()

    def times(self) -> Counter[str]:
        """Return how often each text was heard."""
        return Counter(text for text, _ in list(self.heard))

    def close(self) -> None:
        self._place.__exit__()


class Stage:
    """All of it. `rules` are the lines below `rules:` in alerts.yaml; the destination is `desk`."""

    def __init__(self, folder: Path, redis: RedisProcess, rules: str, a_minute: int = 10_000) -> None:
        self.folder, self.redis = folder, redis
        self.slack = Slack()
        self.port = parts.free_port()
        self.spool, self.alerts = Spool(connect(redis.settings)), Alerts(connect(redis.settings))
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "sites.yaml").write_text(SITES)
        self.write(rules, a_minute)

    def write(self, rules: str, a_minute: int = 10_000) -> None:
        """Write alerts.yaml, as a whole."""
        desk = f"{{kind: slack, channel: {CHANNEL}, token: TOKEN}}"
        whole = f"limits: {{a_minute: {a_minute}}}\ndestinations:\n  desk: {desk}\nrules:\n{rules}"
        (self.folder / "next").write_text(whole)
        (self.folder / "next").rename(self.folder / "alerts.yaml")

    @property
    def environ(self) -> dict[str, str]:
        """Return the environment of revelation."""
        return {
            "PATH": settings.environment().get("PATH", ""),
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "SITES_FILE": str(self.folder / "sites.yaml"),
            "ALERTS_FILE": str(self.folder / "alerts.yaml"),
            "PROJECT_ID": "local",
            "DATA_SET": "beacons",
            "PORT": str(self.port),
            "TOKEN": "xoxb-1",
            "SLACK_API_URL": self.slack.url,
            **self.redis.environ,
        }

    def start(self, **environ: str) -> None:
        """Start revelation, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            words = [sys.executable, "-m", "revelation"]
            self.process = subprocess.Popen(words, env=self.environ | environ, stdout=log, stderr=log)
        self.until(lambda: self.process.poll() is not None or self._answers(), "revelation answers")
        assert self.process.poll() is None, self.log()

    def _answers(self) -> bool:
        try:
            self.metrics()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End revelation as a power cut would."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End revelation as an operator would; return its exit code."""
        assert self.process
        return end(self.process)

    def hang_up(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGHUP)

    def close(self) -> None:
        if self.process:
            end(self.process)
        self.slack.close()

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def metrics(self) -> dict[str, float]:
        """Return what revelation counts, by name and labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, _, value in (one.rpartition(" ") for one in lines if one[:1] != "#")}

    def use(self) -> tuple[float, float]:
        """Return the CPU seconds and the megabytes of revelation and its children."""
        assert self.process
        every = [psutil.Process(self.process.pid)]
        every += every[0].children(recursive=True)
        cpu = sum(sum(one.cpu_times()[:2]) for one in every)
        return cpu, sum(one.memory_info().rss for one in every) / 1e6

    def until(self, true: Callable[[], bool], what: str, seconds: float = 60) -> None:
        """Wait until something is true."""
        ends = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < ends, f"{what}: not after {seconds} s; {self.log()[-3000:]}"
            time.sleep(0.02)  # it is another process, which can only be asked again


def a_record(number: int, **fields: object) -> dict[str, Any]:
    """Return a page view as arms makes it; its `url` tells its number."""
    us = time.time_ns() // 1000
    beacon = {"url": f"https://shop.example/{number}", "tit": "A page of the shop", "sid": "86895a04e5a59600"}
    beacon |= {"evt": "pageview", "ref": "https://search.example/?q=shop", "ua": "Mozilla/5.0 (X11; Linux x86_64)"}
    beacon["jsn"] = '{"cat":"shoes","price":1200}'
    return {"v": 1, "eid": records.mint(us), "dt": records.time_text(us)} | beacon | fields


class Arms:
    """What arms does to Redis: pushes of all that came within a moment."""

    def __init__(self, redis: RedisProcess) -> None:
        self._redis = redis
        self.answered: dict[str, float] = {}
        self.count = 0

    def push(self, some: Sequence[dict[str, Any]]) -> None:
        """Push records once."""
        asyncio.run(self._push_all([some], 0))

    def steadily(self, rate: int, seconds: float, make: Callable[[int], dict[str, Any]]) -> None:
        """Push `rate` records a second, in 50 pushes a second."""
        each = max(1, rate // 50)
        total = int(rate * seconds)
        batches = (
            [make(number) for number in range(first, min(first + each, total))] for first in range(0, total, each)
        )
        asyncio.run(self._push_all(batches, each / rate))

    async def _push_all(self, batches: Any, pause: float) -> None:
        pusher = Pusher(connect_pusher(self._redis.settings, 5.0), "host", os.getpid())
        due = time.monotonic()
        for some in batches:
            assert not any(await pusher.push([_push(some)], 5.0))
            now = time.time()
            self.answered |= {one["url"]: now for one in some}
            self.count += len(some)
            due += pause
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await pusher.close()


def _push(some: Sequence[dict[str, Any]]) -> Push:
    return Push(
        site="shop",
        source="queue",
        minute=records.minute(some[0]["dt"]),
        digest=sum(records.digest(one["eid"]) for one in some),
        last_ms=time.time_ns() // 1_000_000,
        records=[records.encode(one) for one in some],
        alerts=True,
    )
