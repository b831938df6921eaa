"""Beacons that their tracker has named (cid), so that it can send them again (re=1) and they still count once."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from arms.beacons import with_event
from arms.store import OLDEST_MS
from oceanus import records
from oceanus.pushes import Push
from oceanus.spool import Pusher, connect_pusher, key
from tests.arms.conftest import Arms
from tests.arms.test_store import FakeRedis, damaged, keep, push, store

CID = "0123456789abcdef0123456789ABCDEF"


def test_a_named_beacon_has_the_id_of_its_name_and_tells_when_it_was_received(arms: Arms) -> None:
    response = arms.swallow(cid=CID)

    [record] = arms.spool.records("bizocean")
    assert response.status_code == 200
    assert record["eid"] == records.named("bizocean", CID.lower())
    assert record["received"] == arms.now_us
    assert record["dt"] == records.time_text(arms.now_us)
    assert "cid" not in record
    assert [one.named for one in arms.spool.pushes] == [True]


def test_a_name_is_the_same_in_capitals_and_another_at_another_site(arms: Arms) -> None:
    arms.swallow(cid=CID)
    arms.swallow(cid=CID.lower())

    first, second = arms.spool.records("bizocean")
    assert first["eid"] == second["eid"] != records.named("skj", CID.lower())


def test_a_beacon_that_is_sent_again_is_one_to_be_judged(arms: Arms) -> None:
    response = arms.swallow(cid=CID, re="1")

    assert response.status_code == 200
    assert arms.spool.records("bizocean") == []
    [record] = arms.spool.records("bizocean", "resends")
    assert record["eid"] == records.named("bizocean", CID.lower())


def test_a_form_and_the_beacons_of_a_batch_can_be_sent_again(arms: Arms) -> None:
    beacon = {"oid": "2", "evt": "pageview", "sid": "86895a04e5a59600", "url": "https://shop.example/"}
    batch = [beacon | {"cid": CID, "re": 1}, beacon]

    response = arms.post("/swallow/bizocean", orjson.dumps(batch))

    assert [one["status"] for one in response.json["results"]] == [200, 200]
    assert response.json["results"][0]["eid"] == records.named("bizocean", CID.lower())
    assert len(arms.spool.records("bizocean", "resends")) == len(arms.spool.records("bizocean")) == 1


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"cid": "1"}, "cid: must be 128 random bits as 32 hexadecimal digits"),
        ({"cid": CID + "0"}, "cid: must be 128 random bits as 32 hexadecimal digits"),
        ({"cid": "g" * 32}, "cid: must be 128 random bits as 32 hexadecimal digits"),
        ({"cid": CID, "re": "2"}, "re: must be 1"),
        ({"re": "1"}, "re: needs the cid of the first try"),
    ],
)
def test_a_wrong_name_is_a_400_that_says_so(arms: Arms, wrong: dict[str, str], error: str) -> None:
    response = arms.swallow(**wrong)

    assert (response.status_code, response.headers["x-oceanus-error"]) == (400, error)
    assert arms.spool.records("bizocean") == []


def test_a_name_that_is_given_twice_is_a_400(arms: Arms) -> None:
    query = f"oid=2&evt=e&sid=a&url=https://a/&cid={CID}&cid={CID}"

    response = arms.get("/swallow/bizocean", query)

    assert (response.status_code, response.headers["x-oceanus-error"]) == (400, "cid: cid and re may be given once")


def test_the_events_that_follow_an_open_mail_do_not_have_its_name() -> None:
    assert with_event(f"evt=open&cid={CID}&re=1&sid=a".encode(), "see") == "evt=see&sid=a"


class Listed(FakeRedis):
    """A Redis that tells to which list each record came."""

    def __init__(self) -> None:
        super().__init__()
        self.lists: dict[bytes, str] = {}
        self.gaps = 0

    def _apply(self, one: Any) -> Any:
        refusal = super()._apply(one)
        self.gaps += refusal is not None
        if refusal is None:
            self.lists |= dict.fromkeys(one.push.records, one.push.source)
        return refusal


def named(text: bytes, **changes: Any) -> Push:
    members = {name: getattr(push(text), name) for name in Push.__slots__}
    return Push(**(members | {"named": True} | changes))


def test_what_a_tracker_may_have_sent_again_meanwhile_comes_out_of_the_journal_to_be_judged(tmp_path: Path) -> None:
    redis = Listed()
    kept = store(redis, tmp_path)
    redis.mood = "away"
    keep(kept, named(b"1"), push(b"2"))
    redis.mood = "well"

    asyncio.run(kept.mend())

    assert redis.lists == {b"1": "resends", b"2": "queue"}


def test_a_named_beacon_whose_answer_was_lost_stays_where_it_is(tmp_path: Path) -> None:
    redis = Listed()
    kept = store(redis, tmp_path)
    redis.mood = "lossy"
    keep(kept, named(b"1"))
    redis.mood = "well"

    asyncio.run(kept.mend())

    assert redis.kept == [b"1"]


def test_a_journal_that_redis_may_have_forgotten_is_judged_whole_and_once(tmp_path: Path) -> None:
    redis = Listed()
    kept = store(redis, tmp_path)
    redis.mood = "away"
    keep(kept, named(b"1", named=False, last_ms=1), named(b"2", named=False, last_ms=OLDEST_MS, source="failed"))
    redis.mood = "lossy"
    asyncio.run(kept.mend())
    redis.mood = "well"

    asyncio.run(kept.mend())

    assert redis.lists == {b"1": "resends", b"2": "failed"}
    assert sorted(redis.kept) == [b"1", b"2"]
    assert list(tmp_path.glob("*.journal")) == []


def test_a_damaged_journal_is_judged_whole_and_seems_to_have_no_gap(tmp_path: Path) -> None:
    redis = Listed()

    asyncio.run(damaged(redis, tmp_path).mend())

    assert [redis.lists[text] for text in (b"11111111", b"33333333")] == ["resends", "resends"]
    assert redis.gaps == 0


def test_an_old_journal_of_several_names_has_no_gap(tmp_path: Path) -> None:
    """After each answer that was lost the pusher goes on under another name, in the same segment."""
    redis = Listed()
    kept = store(redis, tmp_path)
    redis.mood = "lossy"
    for text in (b"1", b"2"):
        keep(kept, named(text, named=False, last_ms=1))
    redis.mood = "well"
    redis.last.clear()

    asyncio.run(kept.mend())

    assert [(name.endswith("~old"), number) for (_, name), number in redis.last.items()] == [(True, 1), (True, 1)]


def test_after_a_gap_what_is_pushed_anew_is_judged(tmp_path: Path) -> None:
    redis = Listed()
    kept = store(redis, tmp_path)
    keep(kept, push(b"1"))
    redis.mood = "full"
    keep(kept, push(b"2"))
    redis.last.clear()
    redis.mood = "well"

    asyncio.run(kept.mend())

    assert redis.lists[b"2"] == "resends"
    assert sorted(redis.kept) == [b"1", b"2"]


def test_resends_are_accepted_records_in_the_ledger(redis_server: Any) -> None:
    async def send() -> None:
        pusher = Pusher(connect_pusher(redis_server.settings, 1.0), "host", 1)
        await pusher.push([named(b"1", source="resends", digest=7)], 1.0)
        await pusher.close()

    asyncio.run(send())

    client = redis_server.client()
    assert client.lrange(key("shop", "resends"), 0, -1) == [b"1"]
    assert client.hget(key("shop", "ledger"), "20261122a") == b"1"
    client.close()
