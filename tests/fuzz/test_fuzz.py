"""arms' whole surface under hostile requests; the long form is `make fuzz REQUESTS=100000`."""

import os
from pathlib import Path

import psutil

from tests.arms.conftest import sample, serve
from tests.arms.serving import GOOD, Serve
from tests.conftest import RedisProcess
from tests.fuzz.fuzz import LONG, SHORT_SLACK_BYTES, SLACK_BYTES, attack, let_through
from tests.fuzz.requests import Maker, document

__all__ = ["serve"]
# Two sites whose sessions arms has to do with.
KEPT = (
    "{method: swallow, shape: access, table: {form: daily}, tracker: {cookie: arms}, cookie_domain: shop.example,"
    " origins: {allow: ['https://www.shop.example']}, privacy: {consent: uid}}"
)
NOWHERE = "{method: pirate, shape: form, tracker: {cookie: none}}"
REQUESTS = int(os.environ.get("REQUESTS") or 3000)
SEED = int(os.environ.get("SEED") or 1)


def test_hostile_requests_break_nothing_and_bring_nothing_in(
    serve: Serve, own_redis: RedisProcess, tmp_path: Path
) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "sites.yaml").write_text(sample(skj=KEPT, docreq=NOWHERE), encoding="utf-8")
    told_to_arms = {"SITES_FILE": str(tmp_path / "sites.yaml"), "JOURNAL_DIR": str(tmp_path / "journal")}
    server = serve(own_redis, **told_to_arms, GAZE_CONNECTIONS="4", TRUST_TOKEN="a-token")
    assert server.swallow().status_code == 200
    workers = psutil.Process(server.process.pid).children()

    told = attack(server, Maker(SEED, document()), REQUESTS)
    good = server.swallow(uid="the-good-one")
    counted = let_through(own_redis)

    line = ", ".join(f"{status or 'none'}: {number}" for status, number in sorted(told.statuses.items()))
    print(
        f"\n{REQUESTS} requests of seed {SEED} in {told.seconds:.0f} s; answers {line}; records {dict(counted)};"
        f" memory {told.memory[0] / 1e6:.1f} MB, half {told.memory[len(told.memory) // 2] / 1e6:.1f} MB,"
        f" end {told.memory[-1] / 1e6:.1f} MB; second half {told.growth / 1e6:+.2f} MB"
    )
    assert told.wrong == []
    assert told.growth < (SLACK_BYTES if REQUESTS >= LONG else SHORT_SLACK_BYTES)
    assert psutil.Process(server.process.pid).children() == workers
    assert "Traceback" not in server.log.read_text()
    assert good.status_code == 200
    newest = own_redis.client().lindex("oceanus:{bizocean}:queue", 0)
    assert newest is not None
    assert b'"uid":"the-good-one"' in newest
    assert GOOD["url"].encode() in newest
    assert counted["queue"] > REQUESTS / 100  # the requests are not so bad that nothing of them is judged
    assert counted["failed"] > 0
