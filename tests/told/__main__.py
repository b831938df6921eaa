"""`make told`: the numbers of revelation, measured on the real process, one line for each part.

RATE (1000) records a second for SECONDS (60) under 50 rules; a burst of BURST (10000) matches; the destination away for
AWAY (60) seconds; KILLS (20) at random moments. SEED fixes those.
"""

import itertools
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.conftest import RedisProcess, end
from tests.told.stage import Arms, Stage, a_record

RULE = """
  rule{n}:
    sites: [shop]
    when: {{evt: event{n}, jsn.price: {{more_than: {n}}}, url: {{matches: 'shop.*{n}'}}}}
    tell: [{{to: desk, text: rule{n}}}]
"""
MANY = """
  many:
    sites: [shop]
    when: {ref: {contains: search}}
    count: {more_than: 100000, minutes: 5, by: sid}
    tell: [{to: desk, text: many}]
"""
FIFTY = "".join(RULE.format(n=number) for number in range(48)) + MANY
PAID = "  paid: {sites: [shop], when: {evt: paid}, tell: [{to: desk, text: '{{ url }}'}]}\n"


def main() -> int:
    """Run all parts; exit 1 where something was not told, or told twice."""
    rate, seconds = int(os.environ.get("RATE") or 1000), float(os.environ.get("SECONDS") or 60)
    burst, away = int(os.environ.get("BURST") or 10_000), float(os.environ.get("AWAY") or 60)
    kills, seed = int(os.environ.get("KILLS") or 20), int(os.environ.get("SEED") or random.randrange(10**6))
    good = [_steady(rate, seconds), _burst(burst), _away(away), _kills(kills, seed)]
    return 0 if all(good) else 1


def _on_stage(rules: str, play, **limits: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="oceanus-told-") as folder:
        (Path(folder) / "redis").mkdir()
        redis = RedisProcess(Path(folder) / "redis")
        stage = Stage(Path(folder), redis, rules, **limits)
        try:
            stage.start()
            return play(stage, Arms(redis))
        finally:
            stage.close()
            end(redis.process)


def _steady(rate: int, seconds: float) -> bool:
    """Every record is seen; one in a hundred is told, and how soon."""

    def play(stage: Stage, arms: Arms) -> bool:
        arms.steadily(rate, 5, _page)  # warm
        before, _ = stage.use()
        cpu_at, memory = time.monotonic(), []
        pushing = threading.Thread(target=arms.steadily, args=(rate, seconds, _page_later))
        pushing.start()
        while pushing.is_alive():
            memory.append(stage.use()[1])
            pushing.join(1.0)
        stage.until(lambda: _seen(stage) >= arms.count, "all is seen")
        busy = (stage.use()[0] - before) / (time.monotonic() - cpu_at)
        due = {url for url in arms.answered if _is_told(url)}
        stage.until(lambda: set(stage.slack.times()) >= due, "all is told")
        waits = sorted(at - arms.answered[url] for url, at in stage.slack.heard if url in due)
        twice = sum(count > 1 for count in stage.slack.times().values())
        print(
            f"steady: rate={rate} rules=50 records={arms.count} seen={_seen(stage):.0f} told={len(due)} twice={twice}"
            f" cpu={busy:.2f} mb={_fifths(memory)} median_ms={1000 * statistics.median(waits):.0f}"
            f" p99_ms={1000 * waits[int(len(waits) * 0.99)]:.0f}",
            flush=True,
        )
        return not twice and _seen(stage) == arms.count

    return _on_stage(FIFTY + PAID, play)


def _fifths(memory: list[float]) -> str:
    """Return the most megabytes of each fifth of the time: what grows shows in the last ones."""
    places = [len(memory) * fifth // 5 for fifth in range(6)]
    return "/".join(f"{max(memory[one : max(other, one + 1)]):.0f}" for one, other in itertools.pairwise(places))


def _burst(burst: int) -> bool:
    """A burst costs as many messages as the limit allows, and a digest."""

    def play(stage: Stage, arms: Arms) -> bool:
        arms.push([a_record(number, evt="paid") for number in range(burst)])
        stage.until(lambda: any("held back" in text for text, _ in stage.slack.heard), "the digest", 120)
        digests = [text for text, _ in stage.slack.heard if "held back" in text]
        print(f"burst: matches={burst} messages={len(stage.slack.heard) - len(digests)} digests={digests}", flush=True)
        return len(stage.slack.heard) == 31

    return _on_stage(PAID.replace("tell:", "limits: {a_minute: 30}, tell:"), play)


def _away(seconds: float) -> bool:
    """While the destination is away its messages wait; when it is back each comes once."""

    def play(stage: Stage, arms: Arms) -> bool:
        stage.slack.away = True
        arms.steadily(5, seconds, lambda number: a_record(number, evt="paid"))
        stage.slack.away = False
        back = time.monotonic()
        stage.until(lambda: len(stage.slack.times()) >= arms.count, "all is told", 700)
        took = time.monotonic() - back
        twice = sum(count > 1 for count in stage.slack.times().values())
        print(f"away: seconds={seconds:.0f} messages={arms.count} twice={twice} all_told_in={took:.0f}", flush=True)
        return not twice

    return _on_stage(PAID, play)


def _kills(kills: int, seed: int) -> bool:
    """Killed at random moments under load, revelation tells each match once."""
    rng = random.Random(seed)

    def play(stage: Stage, arms: Arms) -> bool:
        pushing = threading.Thread(target=arms.steadily, args=(200, kills * 3.0, _page_later))
        pushing.start()
        for _ in range(kills):
            time.sleep(rng.uniform(0.3, 2.0))
            stage.kill()
            stage.start()
        pushing.join()
        due = {url for url in arms.answered if _is_told(url)}
        stage.until(lambda: set(stage.slack.times()) >= due, "all is told", 300)
        time.sleep(20)  # what would be told twice comes late: after a dead process' lease
        twice = [url for url, count in stage.slack.times().items() if count > 1]
        told = len(stage.slack.times())
        print(f"kills: kills={kills} matches={len(due)} told={told} twice={len(twice)} seed={seed}", flush=True)
        return not twice

    return _on_stage(PAID, play)


def _page(number: int) -> dict[str, object]:
    return a_record(number, url=f"https://shop.example/warm/{number}x")


def _page_later(number: int) -> dict[str, object]:
    return a_record(number, evt="paid" if number % 100 == 0 else "pageview")


def _is_told(url: str) -> bool:
    number = url.rpartition("/")[2]
    return number.isdigit() and int(number) % 100 == 0


def _seen(stage: Stage) -> float:
    return stage.metrics().get('oceanus_alerts_seen_total{site="shop"}', 0)


if __name__ == "__main__":
    sys.exit(main())
