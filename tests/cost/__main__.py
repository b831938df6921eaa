"""`make cost`: what the guarantee costs arms: with fsync and ledger, and by turns with `appendfsync no` and no ledger.

PAIRS (7) alternations of SECONDS (5) each; the last line is the median of the pairs' ratios. Needs wrk.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from management import parts
from oceanus import settings, sites
from tests.conftest import end, wait_for_port

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: requests a second, and CPU microseconds of the worker for each."""

    a_second: float
    cpu_us: float


def main() -> int:
    """Measure by turns and print."""
    if not shutil.which("wrk"):
        print("wrk is not here (Debian: apt-get install wrk)")
        return 1
    pairs, seconds = int(os.environ.get("PAIRS") or 7), int(os.environ.get("SECONDS_EACH") or 5)
    print("with: appendfsync always and the ledger; without: appendfsync no, and no ledger")
    ratios = []
    for number in range(pairs):
        measured = {}
        for guaranteed in (True, False) if number % 2 else (False, True):
            with _arms(guaranteed) as (port, pid):
                measured[guaranteed] = _measure(port, pid, seconds)
        full, bare = measured[True], measured[False]
        ratios.append((full.a_second / bare.a_second, full.cpu_us / bare.cpu_us))
        print(
            f"with {full.a_second:,.0f} requests/s, {full.cpu_us:.0f} CPU us each;"
            f" without {bare.a_second:,.0f}, {bare.cpu_us:.0f}: ratio {ratios[-1][0]:.2f}",
            flush=True,
        )
    requests, cpu = median(one for one, _ in ratios), median(one for _, one in ratios)
    print(f"ratio_requests={requests:.2f} ratio_cpu={cpu:.2f} pairs={pairs}")
    return 0 if requests >= 0.9 else 1


@contextlib.contextmanager
def _arms(guaranteed: bool) -> Iterator[tuple[int, int]]:
    """Run a Redis and an arms of one worker; yields arms' port and its worker's process id."""
    with tempfile.TemporaryDirectory(prefix="oceanus-cost-") as name:
        folder = Path(name)
        for part in ("redis", "journal"):
            (folder / part).mkdir()
        redis_port, port = parts.free_port(), parts.free_port()
        command = parts.redis_command(parts.find_redis(), folder / "redis", redis_port, maxmemory="8gb")
        words = command.words if guaranteed else [*command.words, "--appendfsync", "no"]
        log = (folder / "log").open("ab")
        redis = subprocess.Popen(words, env=command.environ, stdout=log, stderr=log)
        wait_for_port(redis_port, redis)
        environ = settings.environment() | {
            "SITES_FILE": str(sites.SAMPLE),
            "PORT": str(port),
            "LISTEN_ADDRESS": "127.0.0.1",
            "REDIS_PD_SERVICE_HOST": "127.0.0.1",
            "REDIS_PD_SERVICE_PORT": str(redis_port),
            "JOURNAL_DIR": str(folder / "journal"),
            "PYTHONPATH": f"{'' if guaranteed else HERE / 'without'}:{HERE.parents[1]}",
        }
        arms = subprocess.Popen([sys.executable, "-m", "arms"], env=environ, stdout=log, stderr=log)
        try:
            wait_for_port(port, arms)
            _wrk(port, 2)  # warm
            yield port, psutil.Process(arms.pid).children()[0].pid
        finally:
            end(arms)
            end(redis)
            log.close()


def _measure(port: int, pid: int, seconds: int) -> Measured:
    worker = psutil.Process(pid)
    before = worker.cpu_times()
    told = _wrk(port, seconds)
    after = worker.cpu_times()
    assert "Non-2xx" not in told, told
    count = int(re.search(r"(\d+) requests in", told)[1])
    spent = after.user + after.system - before.user - before.system
    return Measured(float(re.search(r"Requests/sec:\s*([\d.]+)", told)[1]), spent * 1e6 / count)


def _wrk(port: int, seconds: int) -> str:
    words = ["wrk", "-t1", "-c32", f"-d{seconds}", "-s", str(HERE / "beacon.lua"), f"http://127.0.0.1:{port}"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
