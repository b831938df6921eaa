"""The arithmetic of the status, and the status of a real Redis."""

import asyncio
import io
import json
import re
import time
from types import SimpleNamespace

from click.testing import CliRunner

from management import commands, status
from management.status import Journal, SiteStatus
from oceanus import records
from oceanus.alerts import Alerts
from oceanus.spool import Look, Push, Pusher, connect, connect_pusher, key

EMPTY = Journal(records=0, bytes=0, age_seconds=None)
NOW_US = 1_800_000_000_000_000


def record(us: int) -> bytes:
    return records.encode({"v": 1, "eid": records.mint(us), "dt": records.time_text(us)})


def look(**changes: object) -> Look:
    parts: dict[str, object] = {"queue": 0, "claimed": 0, "waiting_failed": 0, "oldest": [], "ledger": {}}
    return Look(**(parts | changes))


def test_site_without_records_has_no_ages():
    assert status.site_status(look(), NOW_US) == SiteStatus(
        queue=0, claimed=0, failed=0, oldest_seconds=None, landed=0, last_seconds=None
    )


def test_counts_are_summed_over_days_and_digests_left_out():
    ledger = {"20270114a": 9, "20270114ad": 77, "20270114s": 5, "20270115s": 2, "20270115sd": 99, "20270115f": 1}
    ledger |= {"20270115x": 3, "20270115xd": 88, "last": NOW_US // 1000 - 1500}
    oldest = [record(NOW_US - 2_000_000), record(NOW_US - 30_000_000), b"no record"]

    assert status.site_status(look(queue=4, claimed=2, oldest=oldest, ledger=ledger), NOW_US) == SiteStatus(
        queue=4, claimed=2, failed=4, oldest_seconds=30.0, landed=7, last_seconds=1.5
    )


def test_total_takes_the_oldest_and_the_newest():
    one = SiteStatus(queue=1, claimed=2, failed=3, oldest_seconds=4.0, landed=5, last_seconds=6.0)
    other = SiteStatus(queue=10, claimed=0, failed=0, oldest_seconds=None, landed=1, last_seconds=2.0)

    assert status.total([one, other]) == SiteStatus(
        queue=11, claimed=2, failed=3, oldest_seconds=4.0, landed=6, last_seconds=2.0
    )


def test_removed_site_is_stranded_only_while_it_has_records():
    looks = {"shop": look(queue=1), "old": look(queue=2, waiting_failed=1), "older": look()}

    assert status.stranded(looks, ["shop"]) == {"old": 3}


def test_journal_is_what_arms_tells_and_empty_before_it_has_one():
    told = """
        oceanus_arms_journalled 12.0
        oceanus_arms_journal_bytes 3400.0
        oceanus_arms_journal_age_seconds{pid="1"} 7.0
        oceanus_arms_journal_age_seconds{pid="2"} 200.0
    """
    lines = "".join(line.strip() + "\n" for line in told.splitlines())

    assert status.journal(lines) == Journal(records=12, bytes=3400, age_seconds=200.0)
    assert status.journal("oceanus_arms_gaze_held 3.0\n") == EMPTY
    assert str(status.journal(lines)) == "12 beacons, oldest 3 min"
    assert str(EMPTY) == "0 beacons"


def test_arms_that_does_not_answer_is_not_guessed():
    assert status.ask_arms("http://127.0.0.1:9/metrics") is None
    assert status.ask_arms(None) is None


def test_json_has_sites_total_and_arms():
    out = io.StringIO()
    one = status.site_status(look(queue=1), NOW_US)

    status.show({"shop": one}, [], Journal(records=3, bytes=900, age_seconds=1.5), None, "json", out)

    written = json.loads(out.getvalue())
    assert written["sites"]["shop"]["queue"] == written["total"]["queue"] == 1
    assert written["arms"] == {"journalled": 3, "journal_bytes": 900, "journal_age_seconds": 1.5}


def test_table_marks_a_removed_site():
    out = io.StringIO()

    status.show({"old": status.site_status(look(queue=1), NOW_US)}, ["old"], None, None, "table", out)

    assert "old (not in sites.yaml)" in out.getvalue()


def test_table_has_no_boxes_and_long_ages_in_words():
    out = io.StringIO()
    old = SiteStatus(queue=1, claimed=2, failed=3, oldest_seconds=600, landed=1234567, last_seconds=2.26)

    status.show({"shop": old}, [], EMPTY, None, "table", out)

    assert out.getvalue().splitlines() == [
        "site   queue  claimed  failed  oldest   landed   last",
        "-----  -----  -------  ------  ------  -------  -----",
        "shop       1        2       3  10 min  1234567  2.3 s",
        "total      1        2       3  10 min  1234567  2.3 s",
        "arms' journal: 0 beacons",
    ]


def test_what_waits_to_be_told_is_counted(redis_server):
    book = Alerts(connect(redis_server.settings))
    shop = SimpleNamespace(name="shop", alerts=True)
    redis_server.client().lpush(key("shop", "alerts"), b"one", b"two")
    book.note_place("desk")
    redis_server.client().hset("oceanus:tasks:desk.msgs", "1", "m")
    redis_server.client().hset("oceanus:tasks:desk.DQ.msgs", "2", "m")
    book.fail({"key": "paid:1:0"}, "refused", 1)

    found = status.alerts([book], [shop, SimpleNamespace(name="blog", alerts=False)])

    assert found == status.Told(records=2, messages=2, failed=1)
    assert str(found) == ("2 records and 2 messages wait; 1 message could not be told: oceanus alerts failed list")
    assert status.alerts([book], []) is None


def test_stranded_records_are_told_in_singular_and_plural():
    assert status.stranded_lines({"old": 1, "older": 2}, "sites.yaml") == [
        "old: 1 record waits, but sites.yaml does not declare it: nobody drains it",
        "older: 2 records wait, but sites.yaml does not declare it: nobody drains them",
    ]


def test_pushed_record_is_seen(redis_server, spool):
    now_us = time.time_ns() // 1000
    text = record(now_us - 5_000_000)
    eid = records.decode(text)["eid"]
    push = Push(
        site="shop",
        source="queue",
        minute=records.minute(records.time_text(now_us)),
        digest=records.digest(eid),
        last_ms=now_us // 1000 - 5000,
        records=[text],
    )

    async def store() -> None:
        pusher = Pusher(connect_pusher(redis_server.settings, 5), "test", 1)
        assert await pusher.push([push], 5) == [None]
        await pusher.close()

    asyncio.run(store())

    seen = status.site_status(spool.look("shop"), now_us)
    assert (seen.queue, seen.claimed, seen.landed) == (1, 0, 0)
    assert seen.oldest_seconds == seen.last_seconds == 5.0 or abs((seen.oldest_seconds or 0) - 5.0) < 0.01


def test_a_broken_sites_yaml_hides_nothing_of_what_redis_knows(redis_server, tmp_path):
    file = tmp_path / "sites.yaml"
    file.write_text("sites: [")
    redis_server.client().sadd("oceanus:sites", "bizocean")
    redis_server.client().lpush("oceanus:{bizocean}:queue", record(NOW_US))

    done = CliRunner().invoke(commands.oceanus, ["status"], env=redis_server.environ | {"SITES_FILE": str(file)})

    assert done.exit_code == 1
    assert re.search(r"^bizocean +1 +0 ", done.stdout, re.MULTILINE)
    assert str(file) in done.stderr
    assert "which sites are declared is not known" in done.stderr
