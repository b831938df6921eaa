"""The auditor on a real Redis and a real local BigQuery: what landed agrees, and what a hand has changed is found."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from oceanus import ledger, records, sites, tables
from oceanus.audit import SiteAudit
from oceanus.auditor import Auditor
from oceanus.errors import SpoolUnclearError, WarehouseError
from oceanus.records import Record
from oceanus.shards import Spools
from oceanus.sites import Site
from oceanus.spool import Holder, Push, Pusher, Spool, connect, connect_pusher, key
from oceanus.tables import Naming
from oceanus.warehouse import Queries, Writer

YAML = """
shapes:
  page:
    fields:
      dt: {from: clock, type: TIMESTAMP, mode: REQUIRED, description: Receive time.}
      url: {from: query, rule: {type: string}}
sites:
  shop: {method: swallow, shape: page, batch: {rows: 50, seconds: 1}, table: {expiry_days: 400}}
  daily: {method: swallow, shape: page, batch: {rows: 50, seconds: 1}, table: {form: daily}}
"""
SITES = sites.parse(YAML)
SHOP, DAILY = SITES["shop"], SITES["daily"]
NOW_US = time.time_ns() // 1000
EPOCH_MS = NOW_US // 1000 - 300 * 86_400_000  # as if this Redis had counted for long


def every_day(known: ledger.Ledger) -> list[str]:
    return sorted(known.days)


def midnight(days_ago: int = 1) -> datetime:
    return datetime.fromtimestamp(NOW_US / 1e6, UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(
        days=days_ago
    )


def a_record(at: datetime) -> Record:
    """Return an accepted record of that time."""
    us = int(at.timestamp() * 1_000_000)
    return {"v": 1, "eid": records.mint(NOW_US), "dt": records.time_text(us), "url": "/"}


class House:
    """Redis and BigQuery with what arms, table_manager and r2bq do to them."""

    def __init__(self, redis_server, warehouse) -> None:
        self.redis, self.warehouse = redis_server, warehouse
        self.spool = Spool(connect(redis_server.settings))
        self.client = redis_server.client()
        self.client.set("oceanus:ledger:epoch", EPOCH_MS)
        self.naming = Naming(warehouse.settings.dataset)
        self.writer = Writer(warehouse.clients)
        warehouse.catalog.create_dataset(warehouse.settings.dataset, "for a test")
        warehouse.catalog.create(self.naming.audit)
        warehouse.catalog.create(self.naming.table(SHOP, "2026-11-22"))
        self.auditor = self.another()

    def another(self, **changes: object) -> Auditor:
        """Return an auditor that remembers nothing."""
        queries = Queries(self.warehouse.clients, self.warehouse.settings.dataset)
        spools = changes.pop("spools", Spools({"": self.spool}, {}))
        return Auditor(spools, queries, self.writer, self.naming, **changes)

    def push(self, site: Site, accepted: Sequence[Record]) -> None:
        """Accept records, each minute in a push of its own."""
        pushes = [
            Push(
                site=site.name,
                source="queue",
                minute=count.minute,
                digest=count.digest,
                last_ms=NOW_US // 1000,
                records=[records.encode(one) for one in accepted if records.minute(one["dt"]) == count.minute],
            )
            for count in ledger.counts("a", accepted)
        ]

        async def run() -> None:
            pusher = Pusher(connect_pusher(self.redis.settings, 5.0), "host", 1)
            assert not any(await pusher.push(pushes, 5.0))
            await pusher.close()

        asyncio.run(run())

    def claim(self, site: Site) -> tuple[Holder, str, list[Record]]:
        holder = Holder(site.name, "queue", "w", "w")
        self.spool.register(holder)
        claim = self.spool.claim(holder, 100, 10**9)
        return holder, claim.token, [records.decode(raw) for raw in claim.rows]

    def land(self, site: Site) -> None:
        """Write and settle all that waits, which is of one table."""
        holder, token, found = self.claim(site)
        table = self.naming.table(site, found[0]["dt"])
        self.warehouse.catalog.create(table)
        assigned = self.spool.assign(holder, token, table.path)
        if assigned is None:
            stream = self.writer.create_stream(table.path)
            assigned = self.spool.assign(holder, token, table.path, stream)
        self.writer.write(table, *assigned, [tables.row(table, one) for one in found])
        self.spool.settle(holder, token, ledger.counts("s", found))

    def fail(self, site: Site) -> None:
        """Refuse all that waits, as BigQuery would."""
        holder, token, found = self.claim(site)
        self.spool.sort(holder, token, "f" * len(found), failed=[b"{}"] * len(found), counts=ledger.counts("f", found))

    def retry(self, site: Site, record: Record) -> None:
        """Send a failed record again: one failed less, and in flight again."""
        self.client.lpush(key(site.name, "queue"), records.encode(record))
        [count] = ledger.counts("f", [record])
        for name, field in ((f"ledger:{count.minute[:10]}", count.minute[10:]), ("ledger", count.minute[:8])):
            self.client.hincrby(key(site.name, name), f"{field}f", -1)
            self.client.hincrby(key(site.name, name), f"{field}fd", -count.digest)

    def change(self, sql: str) -> None:
        """Change rows by hand."""
        self.warehouse.clients.rest.query_and_wait(sql.replace("SET_", f"{self.warehouse.settings.dataset}."))

    def day_table(self, at: datetime) -> str:
        return f"SET_{self.naming.path(DAILY, str(at)).partition('.')[2]}"


@pytest.fixture
def house(redis_server, warehouse):
    return House(redis_server, warehouse)


def outcome(found: SiteAudit) -> tuple[int, int, int, int]:
    return found.accepted, found.landed, found.missing, found.doubled


def buckets(found: SiteAudit, verdict: str) -> list[str]:
    return [one.bucket for one in found.verdicts if one.verdict == verdict]


def test_over_midnight_and_in_old_days_what_landed_agrees_and_hands_are_found(house):
    late, early = midnight() - timedelta(seconds=1), midnight()
    old = midnight(200)  # a trusted caller's time
    house.push(SHOP, [a_record(at) for at in (late, late, early, early, old, old)])
    house.land(SHOP)

    agrees = house.auditor.audit(SHOP, every_day)
    house.change(f"DELETE FROM SET_shop WHERE dt = TIMESTAMP '{late:%F %T}' AND eid = (SELECT MIN(eid) FROM SET_shop"
                 f" WHERE dt = TIMESTAMP '{late:%F %T}')")  # fmt: skip
    deleted = house.auditor.audit(SHOP, every_day)
    house.change(f"INSERT INTO SET_shop SELECT * FROM SET_shop WHERE dt = TIMESTAMP '{early:%F %T}' LIMIT 1")
    doubled = house.auditor.audit(SHOP, every_day)
    house.change(f"UPDATE SET_shop SET dt = TIMESTAMP '{old + timedelta(minutes=2):%F %T}' "
                 f"WHERE dt = TIMESTAMP '{old:%F %T}' AND eid = (SELECT MIN(eid) FROM SET_shop"
                 f" WHERE dt = TIMESTAMP '{old:%F %T}')")  # fmt: skip
    moved = house.auditor.audit(SHOP, every_day)

    assert outcome(agrees) == (6, 6, 0, 0)
    assert buckets(agrees, "agrees") == [f"{old:%Y%m%d}", f"{late:%Y%m%d}", f"{early:%Y%m%d}"]
    assert outcome(deleted) == (6, 5, 1, 0)
    assert buckets(deleted, "differs") == [f"{late:%Y%m%d%H%M}"]
    assert outcome(doubled) == (6, 5, 1, 1)
    assert buckets(doubled, "differs") == [f"{late:%Y%m%d%H%M}", f"{early:%Y%m%d%H%M}"]
    assert outcome(moved) == (6, 5, 2, 2)
    assert buckets(moved, "differs")[:2] == [f"{old:%Y%m%d%H%M}", f"{old + timedelta(minutes=2):%Y%m%d%H%M}"]


def test_tables_of_days_agree_and_a_row_in_the_wrong_one_is_missing_and_foreign(house):
    late, early = midnight() - timedelta(seconds=1), midnight()
    for at in (late, early):
        house.push(DAILY, [a_record(at), a_record(at)])
        house.land(DAILY)

    agrees = house.auditor.audit(DAILY, every_day)
    house.change(f"INSERT INTO {house.day_table(early)} SELECT * FROM {house.day_table(late)} LIMIT 1")
    house.change(f"DELETE FROM {house.day_table(late)} WHERE eid IN (SELECT eid FROM {house.day_table(early)})")
    moved = house.auditor.audit(DAILY, every_day)
    house.change(f"INSERT INTO {house.day_table(early)} (dt, eid) VALUES ('{early:%F %T}', 'by hand'), ('', NULL)")
    foreign = house.auditor.audit(DAILY, every_day)
    house.change(f"DROP TABLE {house.day_table(early)}")
    dropped = house.auditor.audit(DAILY, every_day)

    assert (outcome(agrees), agrees.foreign) == ((4, 4, 0, 0), 0)
    assert (outcome(moved), moved.foreign) == ((4, 3, 1, 0), 1)
    assert buckets(moved, "differs") == [f"{late:%Y%m%d%H%M}"]
    assert (outcome(foreign), foreign.foreign) == ((4, 3, 1, 0), 3)
    assert outcome(dropped) == (4, 1, 3, 0)


def test_what_waits_is_open_and_a_failed_record_that_is_retried_comes_to_one_row(house):
    record = a_record(midnight() + timedelta(hours=1))
    house.push(SHOP, [record])
    waits = house.auditor.audit(SHOP, every_day)
    house.fail(SHOP)
    failed = house.auditor.audit(SHOP, every_day)
    house.retry(SHOP, record)
    again = house.auditor.audit(SHOP, every_day)
    house.land(SHOP)
    landed = house.auditor.audit(SHOP, every_day)

    told = [(one.failed, one.waiting, one.landed, one.missing, one.doubled) for one in (waits, failed, again, landed)]
    assert told == [(0, 1, 0, 0, 0), (1, 0, 0, 0, 0), (0, 1, 0, 0, 0), (0, 0, 1, 0, 0)]
    assert buckets(waits, "open") == buckets(again, "open") == [records.minute(record["dt"])]
    assert buckets(landed, "agrees") == [records.day(record["dt"])]


def test_a_record_that_vanished_from_redis_is_missing_at_once(house):
    house.push(SHOP, [a_record(midnight()), a_record(midnight())])
    house.client.rpop(key("shop", "queue"))

    found = house.auditor.audit(SHOP, every_day)

    assert (found.waiting, found.lost, found.missing) == (2, 1, 1)


def test_days_beyond_the_table_s_expiry_are_not_asked_for(house):
    house.push(SHOP, [a_record(midnight())])
    house.land(SHOP)
    house.change("DELETE FROM SET_shop WHERE TRUE")

    later = house.another(now_us=lambda: NOW_US + 400 * 86_400_000_000).audit(SHOP, every_day)

    assert (later.expired, later.missing) == (1, 0)
    assert house.auditor.audit(SHOP, every_day).missing == 1


def test_only_the_chosen_days_are_judged(house):
    house.push(SHOP, [a_record(midnight(3)), a_record(midnight(1))])
    house.land(SHOP)
    house.change("DELETE FROM SET_shop WHERE TRUE")

    found = house.auditor.audit(SHOP, lambda known: sorted(known.days)[-1:])

    assert (found.accepted, found.missing) == (2, 1)


def test_damage_in_one_ledger_is_a_trouble_and_the_rest_is_judged(house):
    house.push(SHOP, [a_record(midnight(2)), a_record(midnight(1))])
    house.land(SHOP)
    house.client.hset(key("shop", "ledger"), f"{midnight(2):%Y%m%d}s", "many")
    house.client.set(key("daily", "ledger"), "text")

    shop, daily = house.auditor.audit(SHOP, every_day), house.auditor.audit(DAILY, every_day)

    assert (shop.missing, shop.doubled, len(shop.troubles)) == (0, 0, 1)
    assert (buckets(shop, "damaged"), buckets(shop, "agrees")) == (
        [f"{midnight(2):%Y%m%d}"],
        [f"{midnight(1):%Y%m%d}"],
    )
    assert daily.troubles == ["oceanus:{daily}:ledger is no hash: the site cannot be judged"]


def test_a_list_of_a_foreign_type_and_a_table_that_cannot_be_read_are_troubles(house):
    house.push(SHOP, [a_record(midnight())])
    house.land(SHOP)
    house.client.set(key("daily", "later"), "text")
    house.change("DROP TABLE SET_shop")
    house.change("CREATE TABLE SET_shop (other STRING)")

    assert [bool(house.auditor.audit(site, every_day).troubles) for site in (SHOP, DAILY)] == [True, True]


def test_the_verdicts_are_rows_of_the_table_audit(house):
    house.push(SHOP, [a_record(midnight())])
    house.land(SHOP)
    house.auditor.audit(SHOP, every_day)

    house.auditor.write()
    house.auditor.write()

    written = house.warehouse.rows("SELECT site, span, verdict, accepted, repeated, `rows`, missing FROM audit")
    assert written == [("shop", "day", "agrees", 1, 0, 1, 0)]


def test_the_first_epoch_is_taken_silently_and_another_is_an_alarm_until_acknowledged(house):
    first = house.auditor.alarms()
    house.auditor.write()
    same = house.another().alarms()
    house.client.set("oceanus:ledger:epoch", EPOCH_MS + 5)
    house.client.hset("oceanus:alarms", "gap:shop", "5")
    other = house.another().alarms()
    house.client.delete("oceanus:ledger:epoch")
    emptied = house.auditor.alarms()
    house.client.set("oceanus:ledger:epoch", EPOCH_MS + 5)

    house.another().acknowledge(other)

    assert (first, same) == ([], [])
    assert [one.sentence.partition(":")[0] for one in other] == ["shop", "a new Redis"]
    assert "has counted nothing yet" in emptied[-1].sentence
    assert house.another().alarms() == []
    assert house.spool.alarms() == {}


def test_an_acknowledged_redis_that_has_counted_nothing_may_begin(house):
    house.auditor.alarms()
    house.auditor.write()
    house.client.delete("oceanus:ledger:epoch")
    house.auditor.acknowledge(house.auditor.alarms())
    house.client.set("oceanus:ledger:epoch", EPOCH_MS + 9)

    assert house.another().alarms() == []


class OfOne:
    """Epochs of several Redis; only the default one has counted."""

    def __init__(self, spool: Spool, **epochs: int) -> None:
        self.spool, self.others = spool, {f"{name}:1": ms for name, ms in epochs.items()}
        self.ledger = spool.ledger

    def epochs(self) -> dict[str, int | None]:
        return {"": self.spool.epoch_ms()} | self.others

    def alarms(self) -> dict[str, dict[str, str]]:
        return {name: {} for name in self.epochs()}

    def acknowledge(self, name: str, alarms: dict[str, str]) -> None:
        assert not alarms


def test_a_redis_that_is_replaced_or_taken_away_is_an_alarm_of_its_own(house):
    def told(spools: OfOne, *, acknowledge: bool = False) -> list[str]:
        auditor = house.another(spools=spools)
        found = auditor.alarms()
        if acknowledge:
            auditor.acknowledge(found)
        auditor.write()
        return [one.sentence[:20] for one in found]

    two, replaced, one = (OfOne(house.spool, **given) for given in ({"redis": 5}, {"redis": 9}, {}))

    assert [told(two), told(two)] == [[], []]
    assert told(replaced) == ["redis:1: a new Redis"]
    assert told(replaced, acknowledge=True) == ["redis:1: a new Redis"]
    assert told(replaced) == []
    assert told(one, acknowledge=True) == ["redis:1 is not confi"]
    assert told(one) == []
    assert told(replaced) == []  # it is named again


def test_minutes_before_a_redis_was_taken_away_are_not_judged_once_that_is_acknowledged(house):
    """What it had counted is not known any more, and its rows are no doubled ones."""
    two, one = OfOne(house.spool, redis=5), OfOne(house.spool)
    at = midnight() - timedelta(hours=1)
    house.push(SHOP, [a_record(at)])
    house.land(SHOP)
    house.client.delete(*house.client.keys("oceanus:{shop}:ledger*"))  # as if another Redis had counted it
    house.push(SHOP, [a_record(at + timedelta(minutes=5))])
    house.land(SHOP)
    first = house.another(spools=two)
    first.alarms()
    first.write()

    before = house.another(spools=one).audit(SHOP, every_day)
    taken = house.another(spools=one)
    taken.acknowledge(taken.alarms())
    after = house.another(spools=one).audit(SHOP, every_day)

    assert (before.doubled, after.doubled) == (1, 0)


def test_without_a_table_or_a_redis_it_says_so(house):
    house.change("DROP TABLE SET_audit")
    house.auditor.alarms()

    with pytest.raises(WarehouseError):
        house.auditor.write()
    house.spool = Spool(connect(replace(house.redis.settings, port=9), 0.2))
    with pytest.raises(SpoolUnclearError):
        house.another().audit(SHOP, every_day)
