"""The users of Redis: each process can do all that it does, and is refused all else, over TLS."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from arms.journal import Journal
from arms.store import Store
from management import doctor, examination, parts, redis_users
from management.programs import SAMPLE_ALERTS
from oceanus import records, sites
from oceanus.alerts import Alerts, Match, Rate
from oceanus.errors import MisconfiguredError, SpoolDeniedError, SpoolRefusedError
from oceanus.ledger import Count
from oceanus.pushes import Push, Retry
from oceanus.settings import RedisSettings, read
from oceanus.spool import LISTS, Claim, Holder, Pusher, Spool, connect_pusher
from tests.conftest import Warehouse, absent, end, until
from tests.redis_pd.server import GuardedRedis

SITE = "bizocean"
USERS = ("arms", "r2bq", "table_manager", "revelation", "management")
BEACON = "/swallow/bizocean?oid=2&evt=paid&sid=86895a04e5a59600&url=https%3A%2F%2Fshop.example%2F"
FORBIDDEN = (
    "FLUSHALL", "CONFIG SET appendfsync no", "CONFIG REWRITE", "SCRIPT FLUSH", "SHUTDOWN", "ACL LIST", "SCAN 0",
    "RANDOMKEY", "MONITOR", "CLIENT LIST", "REPLICAOF 10.0.0.1 6379", "SAVE", "MIGRATE h 1 k 0 1", "GET other",
    "DEL oceanus:{bizocean}:queue", "UNLINK oceanus:{bizocean}:queue", "LTRIM oceanus:{bizocean}:queue 1 0",
    "RPOP oceanus:{bizocean}:queue", "RENAME oceanus:{bizocean}:queue other", "COPY oceanus:{bizocean}:queue other",
    "DEL oceanus:{bizocean}:ledger", "EXPIRE oceanus:{bizocean}:ledger 0", "DUMP oceanus:{bizocean}:queue",
)  # fmt: skip
READS = [
    f"{read} 0{end}"
    for name in ("queue", "alerts")
    for read, end in ((f"LINDEX oceanus:{{bizocean}}:{name}", ""), (f"LRANGE oceanus:{{bizocean}}:{name}", " -1"))
]
ALLOWED = {
    ("r2bq", "LINDEX oceanus:{bizocean}:queue 0"),
    ("r2bq", "LRANGE oceanus:{bizocean}:queue 0 -1"),
    ("management", "LINDEX oceanus:{bizocean}:queue 0"),
    ("management", "LINDEX oceanus:{bizocean}:alerts 0"),
    ("revelation", "LINDEX oceanus:{bizocean}:alerts 0"),
    ("revelation", "LRANGE oceanus:{bizocean}:alerts 0 -1"),
    ("arms", "LPUSH oceanus:{bizocean}:queue x"),
    ("r2bq", "LPUSH oceanus:{bizocean}:queue x"),
    ("management", "LPUSH oceanus:{bizocean}:queue x"),
    ("r2bq", "LTRIM oceanus:{bizocean}:queue 1 0"),
    ("revelation", "KEYS *"),
    ("arms", "CONFIG GET appendfsync"),
    ("management", "CONFIG GET appendfsync"),
}
ASKED = (*FORBIDDEN, *READS, "LPUSH oceanus:{bizocean}:queue x", "KEYS *", "CONFIG GET appendfsync")


@pytest.fixture(scope="module")
def _guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedRedis]:
    try:
        parts.find_redis()
    except MisconfiguredError as exc:
        absent(str(exc))
    server = GuardedRedis(tmp_path_factory.mktemp("guarded"))
    yield server
    end(server.process)


@pytest.fixture
def guarded(_guarded: GuardedRedis) -> GuardedRedis:
    """A Redis with users and TLS, empty."""
    _guarded.client("admin").flushall()
    _guarded.denied()
    return _guarded


def push(source: str = "queue", count: int = 1, **changes: Any) -> Push:
    """Return a push of new records."""
    us = time.time_ns() // 1000
    texts = [{"v": 1, "eid": records.mint(us), "dt": records.time_text(us)} for _ in range(count)]
    given: dict[str, Any] = {
        "site": SITE,
        "source": source,
        "minute": records.minute(records.time_text(us)),
        "digest": sum(records.digest(one["eid"]) for one in texts),
        "last_ms": us // 1000,
        "records": [records.encode(one) for one in texts],
    }
    return Push(**given | changes)


def store(settings: RedisSettings, *pushes: Push) -> list[SpoolRefusedError | None]:
    """Push as arms does, and look at the lengths."""

    async def run() -> list[SpoolRefusedError | None]:
        pusher = Pusher(connect_pusher(settings, 5.0), "host", 1)
        try:
            await pusher.ping()
            await pusher.lengths([SITE])
            await pusher.accepted([SITE], "20261123")
            await pusher.last_ms([SITE])
            return await pusher.push(pushes, 5.0)
        finally:
            await pusher.close()

    return asyncio.run(run())


def test_a_beacon_becomes_a_row_and_a_telling_with_a_user_for_each_process(
    guarded: GuardedRedis, warehouse: Warehouse, tmp_path: Path
) -> None:
    ports = {name: parts.free_port() for name in USERS}
    running = {}

    def start(name: str, *words: str) -> "subprocess.Popen[bytes]":
        own = {"PORT": str(ports[name]), "SITES_FILE": str(sites.SAMPLE), "LISTEN_ADDRESS": "127.0.0.1"}
        own |= {"ALERTS_FILE": str(SAMPLE_ALERTS), "LOG_LEVEL": "INFO", "AUDIT_SECONDS": "1", "PATH": "/usr/bin:/bin"}
        with (tmp_path / f"{name}.log").open("ab") as log:
            environ = warehouse.environ | guarded.environ(name) | own
            return subprocess.Popen([sys.executable, "-m", name, *words], env=environ, stdout=log, stderr=log)

    assert start("table_manager", "--once").wait(120) == 0
    try:
        for name in USERS[:-1]:
            running[name] = start(name)
        until(lambda: _get(ports["arms"], "/lb") == 200)
        assert _get(ports["arms"], BEACON) == 200

        until(lambda: warehouse.rows(f"SELECT COUNT(*) FROM {SITE} WHERE evt = 'paid'") == [(1,)])
        until(lambda: "paid" in (tmp_path / "revelation.log").read_text(encoding="utf-8"))
        until(lambda: guarded.client("management").llen("oceanus:{bizocean}:alerts") == 0)
        until(lambda: _metric(ports["table_manager"], "oceanus_audit_checked_timestamp_seconds") > 0)
        spool = Spool(guarded.client("management"))
        assert (spool.look(SITE).queue, spool.ledger(SITE).whole.settled) == (0, 1)
    finally:
        for process in running.values():
            process.send_signal(signal.SIGTERM)
        codes = {name: process.wait(40) for name, process in running.items()}

    assert codes == dict.fromkeys(USERS[:-1], 0)
    assert guarded.denied() == []


def test_each_user_may_do_all_that_its_process_ever_does(guarded: GuardedRedis) -> None:
    pushes = [push(one, 5, alerts=True) for one in ("queue", "resends", "failed")]
    assert store(guarded.settings("arms"), *pushes) == [None] * 3
    guarded.client("admin").lpush("oceanus:{bizocean}:later", *push(count=5).records)
    _drain(Spool(guarded.client("r2bq")), LISTS)
    assert Spool(guarded.client("r2bq")).memory().used_bytes
    _drain(Spool(guarded.client("revelation")), ["alerts"])
    _tell(Alerts(guarded.client("revelation")))
    auditor = Spool(guarded.client("table_manager"))
    assert auditor.ledger(SITE).whole.accepted == 10
    assert auditor.alarms() == {}
    _operate(Spool(guarded.client("management")), Alerts(guarded.client("management")))
    assert doctor.is_well(examination.redis(guarded.settings("management")))

    assert guarded.denied() == []


def test_at_its_cap_the_list_of_alerts_is_cut_by_arms_too(
    guarded: GuardedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oceanus.spool.ALERTS_CAP", 2)

    assert store(guarded.settings("arms"), push(count=5, alerts=True)) == [None]

    assert guarded.client("admin").llen("oceanus:{bizocean}:alerts") == 2
    assert guarded.client("admin").get("oceanus:{bizocean}:alerts:dropped") == b"3"
    assert guarded.denied() == []


@pytest.mark.parametrize("user", USERS)
def test_each_user_is_refused_what_its_process_does_not_do(guarded: GuardedRedis, user: str) -> None:
    store(guarded.settings("arms"), push(alerts=True))
    client = guarded.client(user)

    done = {(user, command) for command in ASKED if not _is_refused(client, command)}

    assert done == {(name, command) for name, command in ALLOWED if name == user}


def test_without_a_name_nobody_comes_in(guarded: GuardedRedis) -> None:
    told = guarded.answers("arms", user="", password="")

    assert told.startswith("SpoolDeniedError: Redis does not let us in: check REDIS_USER and REDIS_PASSWORD")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"password": "wrong"}, "SpoolDeniedError: Redis does not let us in: check REDIS_USER and REDIS_PASSWORD"),
        ({"user": "nobody"}, "SpoolDeniedError: Redis does not let us in: check REDIS_USER and REDIS_PASSWORD"),
        ({"ca": ""}, "SpoolDeniedError: no TLS with Redis: check REDIS_TLS and REDIS_CA"),
        ({"tls": False, "ca": ""}, "SpoolUnclearError: Redis gave no answer"),
    ],
)
def test_a_wrong_password_and_no_tls_are_one_line_that_names_the_variable(
    guarded: GuardedRedis, changes: dict[str, object], told: str
) -> None:
    line = guarded.answers("arms", **changes)

    assert line.startswith(told)
    assert "REDIS_TLS" in line or "REDIS_PASSWORD" in line
    assert len(line.splitlines()) == 1


def test_what_a_user_may_not_do_names_the_user_and_the_rules(guarded: GuardedRedis) -> None:
    [refusal] = _store_without_proof(guarded.settings("table_manager"), push())

    assert str(refusal).startswith("Redis does not let REDIS_USER do this (see redis_pd/users.acl)")
    with pytest.raises(SpoolRefusedError, match="REDIS_USER"):
        Spool(guarded.client("arms")).look(SITE)
    with pytest.raises(SpoolRefusedError, match="REDIS_USER"):
        store(guarded.settings("table_manager"), push())


@pytest.mark.parametrize("changes", [{"password": "wrong"}, {"ca": ""}, {"tls": False, "ca": ""}])
def test_a_redis_that_does_not_let_arms_in_is_the_journals_business(
    guarded: GuardedRedis, tmp_path: Path, changes: dict[str, object]
) -> None:
    """The beacon is answered, and stored once when the setting is mended."""
    (tmp_path / "journal").mkdir()

    async def keep(settings: RedisSettings, *pushes: Push) -> tuple[list[str | None], int]:
        journal = Journal(tmp_path / "journal", f"arms-{time.monotonic_ns()}", 10**8)
        pusher = Pusher(connect_pusher(settings, 0.5), "host", 1)
        kept = Store(pusher, journal, 0.5)
        answers = await kept.keep(pushes)
        await kept.mend()
        await kept.mend()
        journal.seal()
        left = journal.records
        for segment in journal.waiting:
            segment.close()
        await pusher.close()
        return answers, left

    assert asyncio.run(keep(guarded.settings("arms", **changes), push(count=3))) == ([None], 3)
    assert asyncio.run(keep(guarded.settings("arms"))) == ([], 0)

    assert guarded.client("admin").llen("oceanus:{bizocean}:queue") == 3


def test_a_right_taken_from_arms_while_it_runs_sends_its_beacons_to_the_journal(
    guarded: GuardedRedis, tmp_path: Path
) -> None:
    async def run() -> tuple[list[list[str | None]], int]:
        journal = Journal(tmp_path, "arms-1", 10**8)
        pusher = Pusher(connect_pusher(guarded.settings("arms"), 5.0), "host", 1)
        kept = Store(pusher, journal, 5.0)
        answers = [await kept.keep([push()])]
        guarded.client("admin").execute_command("ACL", "SETUSER", "arms", "clearselectors")
        answers.append(await kept.keep([push()]))
        waiting = journal.records
        guarded.client("admin").execute_command("ACL", "LOAD")
        for _ in range(3):
            await kept.mend()
        await pusher.close()
        return answers, waiting

    assert asyncio.run(run()) == ([[None], [None]], 1)
    assert guarded.client("admin").llen("oceanus:{bizocean}:queue") == 2


def test_a_password_stays_until_its_file_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "users"
    made = redis_users.make(folder)
    before = {file.name: file.read_text(encoding="utf-8") for file in made}
    (folder / "arms").unlink()

    assert [file.name for file in redis_users.make(folder)] == ["arms", "users.acl"]

    after = {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"arms", "users.acl"}
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}
    assert not [password for name, password in after.items() if name != "users.acl" and password in after["users.acl"]]


def test_an_empty_password_is_refused(tmp_path: Path) -> None:
    (tmp_path / "arms").write_text("\n", encoding="utf-8")

    with pytest.raises(MisconfiguredError, match="holds no password"):
        redis_users.make(tmp_path)

    assert not (tmp_path / "users.acl").exists()


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_a_file_that_holds_no_ca_stops_the_start(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text, encoding="utf-8")

    with pytest.raises(MisconfiguredError) as caught:
        read(RedisSettings, {"REDIS_CA": str(file)})

    assert [line.startswith(f"REDIS_CA='{file}': must be a file of CA") for line in caught.value.mistakes] == [True]


def _drain(spool: Spool, lists: Any) -> None:
    """Call everything that a drain calls, on each list: take, sort every way, write, die, be adopted."""
    drained = [(SITE, source) for source in lists]
    for site, source in drained:
        mine = Holder(site, source, f"w1-{source}", f"w1-{source}")
        spool.register(mine)
        spool.beat(mine)
        claim = spool.claim(mine, 2, 10**6)
        if source == "alerts":
            spool.sort(mine, claim.token, "bl")
        else:
            spool.sort(mine, claim.token, "tk")
            left = spool.claim(mine, 0, 0)
            assert spool.assign(mine, left.token, "a.b") is None
            spool.assign(mine, left.token, "a.b", "stream")
            spool.settle(mine, left.token, [Count(minute="202611221007", kind="s", records=1, digest=7)])
            again = spool.claim(mine, 2, 10**6)
            counted = [Count(minute="202611221007", kind="f", records=1, digest=7)]
            spool.sort(mine, again.token, "wf", failed=[b"{}"], counts=counted, drop_stream=True)
        spool.claim(mine, 1, 10**6)
        dead = Holder(site, source, mine.writer, f"w2-{source}")
        spool.register(Holder(site, source, dead.actor, dead.actor))
        assert spool.adopt(dead) is None  # it lives
        assert spool.beats([mine]) != [None]
    assert spool.lapsed(drained) == [[] for _ in drained]
    if "alerts" not in lists:
        assert spool.on_the_way(SITE)
        spool.backlogs(drained)
        assert sum(spool.lengths(sorted(spool.sites())))
    for site, source in drained:
        dead = Holder(site, source, f"w1-{source}", f"w2-{source}")
        left = adopted(spool, dead)
        spool.sort(dead, left.token, "l" * len(left.rows))
        assert spool.forget(dead)


def adopted(spool: Spool, dead: Holder) -> Claim:
    """Return a claim when the lease on it has lapsed."""
    until(lambda: not spool._client.exists(dead.key("lease")))
    claim = spool.adopt(dead)
    assert claim is not None
    return claim


def _tell(alerts: Alerts) -> None:
    """Call what revelation calls to decide and to deliver."""
    match = Match(
        match="m", rule="r", eid="e", received_ms=1, counting=("k", 1, 5), once=("o", 5), rates=(Rate(key="r", most=1),)
    )
    alerts.decide([match])
    alerts.let_go([match])
    alerts.close_held()
    alerts.waiting(SITE)
    alerts.dropped(SITE)
    alerts.forget_dropped(SITE, 0, 0)
    alerts.saw({"r": 1})
    alerts.seen(["r"], 2)
    alerts.told_silence("r", 1)
    alerts.begin("t", "me", 1)
    alerts.renew("t", "me")
    alerts.end("t", "me", unclear=True)
    alerts.note_place("log")
    alerts.messages()
    alerts.pause("log", 0.001)
    alerts.paused_ms("log")
    alerts.add_row("log", "s", "t2", "row", 1)
    alerts.rows("log", "s", 10)
    alerts.hold_flush("log", "s")
    alerts.unflushed()
    alerts.note_tries(["t2"], 1)
    alerts.tried(["t2"])
    alerts.forget_tries(["t2"])
    alerts.forget_rows("log", "s", ["t2"], told=True)
    for raw, _ in alerts.again():
        alerts.forget_again(raw)
    alerts.fail({"key": "dead", "rule": "r"}, "why", 1)
    alerts.fail({"key": "dead too", "rule": "r"}, "why", 1)


def _operate(spool: Spool, alerts: Alerts) -> None:
    """Call what the operator's commands call."""
    spool.look(SITE)
    assert spool.glances([SITE], ["20261122"])[0].waiting_failed >= 0
    spool.sites()
    spool.ledger(SITE)
    spool.alarms()
    spool.acknowledge({"gap:x": "1"})
    one = push()
    counted = Count(minute=one.minute, kind="a", records=1, digest=one.digest)
    retry = Retry(fid=records.mint(), source="queue", record=one.records[0], count=counted, is_new=True)
    assert spool.retry(SITE, [retry], since_ms=None, alerts=True) == ["OK"]
    assert spool.marks_since(SITE)
    assert spool.retried(SITE) == spool.retried(SITE, [retry.fid])
    alerts.messages()
    alerts.waiting(SITE)
    alerts.count_failed()
    assert len(alerts.failed()) == 2
    assert (alerts.retry(["dead"]), alerts.drop(["dead too"])) == (1, 1)
    next(iter(spool.live([SITE], lambda error: pytest.fail(str(error)))))


def _store_without_proof(settings: RedisSettings, one: Push) -> list[SpoolRefusedError | None]:
    async def run() -> list[SpoolRefusedError | None]:
        pusher = Pusher(connect_pusher(settings, 5.0, durable=False), "host", 1)
        try:
            return await pusher.push([one], 5.0)
        finally:
            await pusher.close()

    return asyncio.run(run())


def _is_refused(client: "redis.Redis", command: str) -> bool:
    try:
        client.execute_command(*command.split())
    except redis.exceptions.NoPermissionError:
        return True
    except redis.RedisError:  # let through, and answered so by the command itself
        return False
    return False


def _get(port: int, path: str) -> int:
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5).status_code
    except httpx.HTTPError:
        return 0


def _metric(port: int, name: str) -> float:
    try:
        lines = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text.splitlines()
    except httpx.HTTPError:
        return 0.0
    return max((float(line.split()[-1]) for line in lines if line.startswith(name)), default=0.0)


@pytest.mark.parametrize("user", ["management", "r2bq", "revelation"])
def test_who_may_not_count_what_it_pushes_pushes_nothing(guarded: GuardedRedis, user: str) -> None:
    """Lua takes back no command that has run: half a push would be a record that nobody has counted."""
    one = push()

    [refused] = _store_without_proof(guarded.settings(user), one)

    assert isinstance(refused, SpoolDeniedError)
    assert guarded.client("admin").keys("oceanus:*") == []
