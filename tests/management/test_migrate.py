"""Migrating an original oceanus' lists, from one real Redis to another: each record once, whatever ends it when."""

import asyncio
import json
from collections import Counter
from dataclasses import replace

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from management import commands, migrate, original
from management.migrate import Lists
from oceanus import records, sites
from oceanus.errors import SpoolError, SpoolRefusedError
from oceanus.ledger import ACCEPTED
from oceanus.spool import Pusher, connect, connect_pusher, key
from oceanus.tables import Naming

SAMPLE = sites.load(str(sites.SAMPLE))
SITE, NAMING = SAMPLE["bizocean"], Naming("d")
# As the original wrote it: sorted keys, no spaces, every value a text.
OLD = {"dt": "2018-02-03 04:05:06.123456", "evt": "pageview", "oid": "2", "rad": "203.0.113.9", "sid": "5ea1"}
OLD |= {"jsn": '{"kwd":"\u9774"}', "tit": "\u9774", "ua": "", "url": "https://shop.example/"}
OLD |= {"enc": "UTF-8", "dev": "pc"}


def text(**changes: object) -> bytes:
    record = {name: value for name, value in (OLD | changes).items() if value is not None}
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode()


# --- what a text becomes


def test_a_record_of_the_originals_becomes_one_of_ours():
    moved = original.moved(text(), SITE, NAMING, 1)
    record = records.decode(moved.text)

    assert moved.source == "queue"
    assert {name: record[name] for name in OLD} == OLD
    assert records.received(record) == pytest.approx(records.time_us(OLD["dt"]), abs=1)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (b"no json", "is not JSON"),
        (b"[]", "is JSON, but no object"),
        (b'"\\ud800"', "is not JSON"),
        (text(dt=None), "dt: None is no time"),
        (text(dt="yesterday"), "dt: 'yesterday' is no time"),
        (text(dt=5), "dt: 5 is no time"),
        (text(sid=None), "sid: is missing"),
        (text(colour="red"), "colour: no column of d.bizocean"),
        (text(jsn="{"), "jsn: "),
    ],
)
def test_what_no_table_takes_is_a_failed_record_with_its_text(given, reason):
    moved = original.moved(given, SITE, NAMING, 1_795_000_000_000_000)
    failed = json.loads(moved.text)

    assert moved.source == "failed"
    assert failed["reason"].startswith(f"migrate: {reason}")
    assert failed["raw"].encode() == given
    records.decode(moved.text, "fid")


@pytest.mark.parametrize("given", [b"", b" "])
def test_the_empty_texts_of_the_originals_r2bq_are_nothing(given):
    assert original.moved(given, SITE, NAMING, 1) is None


@given(
    st.binary(max_size=60)
    | st.dictionaries(st.sampled_from([*OLD, "x"]), st.text(max_size=9)).map(lambda changes: text(**changes))
)
def test_every_text_becomes_a_record_a_failed_one_or_nothing(given):
    moved = original.moved(given, SITE, NAMING, 1_795_000_000_000_000)

    if given.strip():
        records.decode(moved.text, "eid" if moved.source == "queue" else "fid")
    else:
        assert moved is None


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=20), st.integers(1, 9))
def test_pushes_hold_each_text_once_and_are_the_same_for_the_same_texts(minutes, first):
    some = [
        original.moved(text(dt=f"2018-02-03 04:0{minute}:00") if good else b"bad", SITE, NAMING, minute * 60_000_000)
        for minute, good in minutes
    ]

    pushes = list(original.pushes("bizocean", some, "p", first))

    assert Counter(one for push in pushes for one in push.push.records) == Counter(one.text for one in some)
    assert [push.seq for push in pushes] == list(range(first, first + len(pushes)))
    again = list(original.pushes("bizocean", some, "p", first))
    assert [(one.seq, one.push.minute, one.push.digest) for one in again] == [
        (one.seq, one.push.minute, one.push.digest) for one in pushes
    ]


# --- moving


class Move:
    """Two Redis: the original's and ours; a step may end in the middle."""

    def __init__(self, old_redis, redis_server) -> None:
        self.old, self.ours = old_redis.client(), redis_server.client()
        self.settings, self.old_settings = redis_server.settings, old_redis.settings
        self.site, self.at = SITE, "ours"

    def fill(self, *texts: bytes) -> None:
        self.old.lpush("bizocean", *texts)

    def run(self, fails: dict[str, int] | None = None) -> Counter[str]:
        """Migrate as a new process; end it at the n-th call of `end` or `send`, before or after what that does."""
        return asyncio.run(self._run(fails or {}))

    async def _run(self, fails: dict[str, int]) -> Counter[str]:
        lists = Lists(connect(self.old_settings))
        pusher = Pusher(connect_pusher(self.settings, 5), "migrate", 0)
        count = 0

        def ends(name: str) -> bool:
            return fails.get(name) == count

        send, end = pusher.send, lists.end

        async def cut_send(*given):
            nonlocal count
            count += 1
            if ends("before send"):
                raise KeyboardInterrupt
            answer = await send(*given)
            if ends("after send"):
                raise KeyboardInterrupt
            return answer

        def cut_end(*given):
            end(*given)
            if ends("after end"):
                raise KeyboardInterrupt

        pusher.send, lists.end = cut_send, cut_end
        try:
            return await migrate.migrate(lists, pusher, self.at, self.site, NAMING, lambda _: None)
        finally:
            await pusher.close()

    def queue(self) -> list[dict[str, object]]:
        """Return what our queue holds, oldest first."""
        return [json.loads(one) for one in self.ours.lrange(key("bizocean", "queue"), 0, -1)[::-1]]

    def accepted(self) -> int:
        found = self.ours.hgetall(key("bizocean", "ledger"))
        return sum(int(value) for name, value in found.items() if name.decode() == f"20180203{ACCEPTED}")


@pytest.fixture
def move(own_redis, redis_server):
    return Move(own_redis, redis_server)


def test_a_list_is_moved_in_order_and_counted(move, monkeypatch):
    monkeypatch.setattr(migrate, "ROWS", 3)
    move.fill(*(text(url=str(number)) for number in range(8)), b"", b"broken")

    tally = move.run()

    assert [one["url"] for one in move.queue()] == [str(number) for number in range(8)]
    assert tally == {"queue": 8, "empty": 1, "failed": 1}
    assert (move.accepted(), move.old.keys(), move.ours.llen(key("bizocean", "failed"))) == (8, [], 1)


@pytest.mark.parametrize("place", ["before send", "after send", "after end"])
@pytest.mark.parametrize("at", [1, 2])
def test_wherever_it_ends_each_record_is_moved_once(move, monkeypatch, place, at):
    monkeypatch.setattr(migrate, "ROWS", 3)
    move.fill(*(text(url=str(number), dt=f"2018-02-03 04:0{number % 3}:00") for number in range(8)))
    with pytest.raises(KeyboardInterrupt):
        move.run({place: at})
    move.fill(text(url="8"))  # the original's arms is not quite gone
    monkeypatch.setattr(migrate, "ROWS", 5)

    move.run()

    assert sorted(str(one["url"]) for one in move.queue()) == [str(number) for number in range(9)]
    assert (move.accepted(), move.old.keys()) == (9, [])


@pytest.mark.parametrize("changed", ["site", "at"])
def test_a_move_that_was_begun_in_another_way_is_not_gone_on_with(move, changed):
    """Its numbers would mean other records: some would be lost, or doubled."""
    move.fill(text(url="1"), text(url="2", colour="red"))
    with pytest.raises(KeyboardInterrupt):
        move.run({"after send": 1})
    before = getattr(move, changed)
    setattr(move, changed, "elsewhere")
    if changed == "site":
        fields = (*SITE.fields, replace(SITE.fields[-1], name="colour", mode="NULLABLE"))
        move.site = replace(SITE, fields=fields)

    with pytest.raises(SpoolRefusedError, match=r"put sites\.yaml and REDIS_SHARDS back"):
        move.run()
    setattr(move, changed, before)
    move.run()

    assert [one["url"] for one in move.queue()] == ["1"]
    assert (move.accepted(), move.old.keys(), move.ours.llen(key("bizocean", "failed"))) == (1, [], 1)


def test_who_takes_from_the_old_list_meanwhile_stops_it_and_nothing_is_taken_off(move):
    move.fill(*(text(url=str(number)) for number in range(4)))
    lists = Lists(connect(move.old_settings))
    _, _, found = lists.begin("bizocean")
    move.old.rpop("bizocean")

    with pytest.raises(SpoolRefusedError, match="stop the original's r2bq first"):
        lists.end("bizocean", 1, found)
    assert move.old.llen("bizocean") == 3


def test_a_key_of_another_kind_is_told(move):
    move.old.set("bizocean", "x")

    with pytest.raises(SpoolError, match="WRONGTYPE"):
        Lists(connect(move.old_settings)).length("bizocean")


# --- the command


def run(move, *words: str):
    environ = {"REDIS_PD_SERVICE_HOST": "127.0.0.1", "REDIS_PD_SERVICE_PORT": str(move.settings.port)}
    address = f"127.0.0.1:{move.old_settings.port}"
    return CliRunner().invoke(commands.oceanus, ["migrate", "--from", address, *words], env=environ)


def test_a_dry_run_says_what_waits_and_moves_nothing(move):
    move.fill(text())

    done = run(move, "--dry-run", "--site", "bizocean", "--site", "skj")

    assert (done.exit_code, done.stdout) == (0, "bizocean: 1 record waits\nskj: 0 records wait\n")
    assert move.old.llen("bizocean") == 1


def test_the_command_moves_and_says_so(move):
    move.fill(text(), b"", b"broken")

    done = run(move, "--site", "bizocean")

    assert done.stdout.splitlines()[-1] == "bizocean: 1 record moved, 1 failed, 1 empty text passed over"
    assert done.exit_code == 1
    assert "see oceanus failed list" in done.stderr
    assert run(move).exit_code == 0


@pytest.mark.parametrize("words", [["--from", "nowhere"], ["--from", "host:port"], []])
def test_a_wrong_address_is_a_wrong_use(words):
    assert CliRunner().invoke(commands.oceanus, ["migrate", *words]).exit_code == 2


def test_a_site_is_moved_to_the_redis_in_which_it_lives(move, redis_server):
    move.fill(text())
    environ = redis_server.environ | {"REDIS_PD_SERVICE_PORT": "1"}
    environ["REDIS_SHARDS"] = f"bizocean=127.0.0.1:{move.settings.port}"
    address = f"127.0.0.1:{move.old_settings.port}"

    done = CliRunner().invoke(commands.oceanus, ["migrate", "--from", address, "--site", "bizocean"], env=environ)

    assert done.exit_code == 0, done.output
    assert len(move.queue()) == 1
