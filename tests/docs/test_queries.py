"""Each query of docs/queries.md answers what it says it does, of a few rows whose answer is known."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from oceanus import records, sites
from oceanus.tables import Naming
from tests.conftest import Warehouse
from tests.docs.blocks import PAGES, TOP, Block, blocks, run_by

PAGE = TOP / "docs" / "queries.md"
TODAY = datetime.now(UTC).date()
SHOP = "https://shop.example"
SEARCH = "https://search.example/?q=poodle"


def ago(days: int) -> date:
    """Return a day before today."""
    return TODAY - timedelta(days=days)


# Days ago, time, browser, event, path, referrer, jsn, seconds late, page view.
ROWS: list[tuple[int, str, str, str, str, str | None, str | None, int | None, str | None]] = [
    (10, "09:00:00", "a", "pageview", "/?from=mail#top", SEARCH, None, None, None),
    (10, "09:10:00", "a", "pageview", "/cart", f"{SHOP}/", None, None, None),
    (10, "09:35:00", "a", "pageview", "/order?step=1", f"{SHOP}/cart", None, None, None),
    (10, "09:40:00", "a", "paid", "/order?step=2", None, '{"plan":"pro","price":12000}', None, None),
    (10, "15:30:00", "b", "pageview", "/", SEARCH, None, None, None),  # after midnight in Tokyo
    (10, "16:00:00", "b", "pageview", "/cart", f"{SHOP}/", None, None, None),  # another visit, by a minute
    (5, "10:00:00", "a", "pageview", "/", None, None, None, None),
    (2, "08:00:00", "c", "pageview", "/order", None, None, None, "p1"),
    (2, "08:04:00", "c", "leave", "/order", None, '{"scroll":20,"seconds":10}', None, "p1"),
    (2, "08:04:59", "c", "leave", "/order", None, '{"scroll":60,"seconds":30}', None, "p1"),
    (2, "08:05:00", "c", "pageview", "/cart", f"{SHOP}/order", None, None, "p2"),
    (2, "08:06:00", "c", "paid", "/cart", None, '{"price":500}', None, "p2"),
    (2, "16:00:00", "d", "pageview", "/", None, None, 7200, None),  # it happened before midnight in Tokyo
    (2, "16:00:10", "d", "signup", "/", None, '{"plan":"free"}', 7190, None),
]


@pytest.fixture(name="shop")
def _shop(warehouse: Warehouse) -> Warehouse:
    """A dataset with the table of bizocean, as table_manager would make it, and the rows in it."""
    sample, naming = sites.load(str(sites.SAMPLE)), Naming(warehouse.settings.dataset)
    table = naming.table(sample["bizocean"], records.time_text(0))
    warehouse.catalog.create_dataset(warehouse.settings.dataset, "for a test")
    warehouse.catalog.create(table)
    fill(warehouse, table.path, [named(*row) for row in ROWS])
    return warehouse


def named(
    days: int,
    time: str,
    sid: str,
    evt: str,
    path: str,
    ref: str | None,
    jsn: str | None,
    late: int | None,
    pid: str | None,
) -> dict[str, str]:
    """Return a row as SQL writes its values, by column."""
    given = {"oid": "2", "sid": sid, "rad": "192.0.2.1", "evt": evt, "url": SHOP + path, "ref": ref, "pid": pid}
    row = {name: f"'{value}'" for name, value in given.items() if value is not None}
    row["eid"] = f"'{days}-{time}'"
    row["dt"] = f"TIMESTAMP '{ago(days)} {time}+00'"
    row["jsn"] = f"JSON '{jsn}'" if jsn else "NULL"
    row["late"] = str(late) if late is not None else "NULL"
    return row


def fill(warehouse: Warehouse, table: str, rows: list[dict[str, str]]) -> None:
    """Put rows into a table."""
    columns = sorted({name for row in rows for name in row})
    values = ", ".join(f"({', '.join(row.get(name, 'NULL') for name in columns)})" for row in rows)
    warehouse.clients.rest.query_and_wait(f"INSERT INTO `{table}` ({', '.join(columns)}) VALUES {values}")


def asked(shop: Warehouse, test: str) -> list[tuple[Any, ...]]:
    """Return what the page's query of a test answers."""
    return [tuple(row) for row in shop.rows(run_by(PAGE, test))]


def test_top_pages(shop: Warehouse) -> None:
    assert asked(shop, "test_top_pages") == [(f"{SHOP}/", 4, 3), (f"{SHOP}/cart", 3, 3), (f"{SHOP}/order", 2, 2)]


def test_local_days(shop: Warehouse) -> None:
    assert asked(shop, "test_local_days") == [(ago(10), 3, 1), (ago(9), 2, 1), (ago(5), 1, 1), (ago(2), 3, 2)]


def test_visits(shop: Warehouse) -> None:
    assert asked(shop, "test_visits") == [
        (ago(10), 3, 1.67, 800.0, 0.667),
        (ago(5), 1, 1.0, 0.0, 1.0),
        (ago(2), 2, 1.5, 190.0, 0.5),
    ]


def test_entry_pages(shop: Warehouse) -> None:
    assert asked(shop, "test_entry_pages") == [
        (f"{SHOP}/", 4, 3),
        (f"{SHOP}/cart", 1, 1),
        (f"{SHOP}/order", 1, 0),
    ]


def test_funnel(shop: Warehouse) -> None:
    assert asked(shop, "test_funnel") == [(3, 1, 1)]


def test_return_rate(shop: Warehouse) -> None:
    assert asked(shop, "test_return_rate") == [(ago(10), 2, 1, 0.5)]


def test_referrers(shop: Warehouse) -> None:
    assert asked(shop, "test_referrers") == [("(none)", 3, 3), ("search.example", 2, 2)]


def test_events(shop: Warehouse) -> None:
    assert asked(shop, "test_events") == [
        ("paid", None, 1, 500),
        ("paid", "pro", 1, 12000),
        ("signup", "free", 1, None),
    ]


def test_reading(shop: Warehouse) -> None:
    assert asked(shop, "test_reading") == [(f"{SHOP}/order", 1, 30.0, 60.0)]


def test_freshness(shop: Warehouse) -> None:
    *days, (_, _, _, _, since) = answer = asked(shop, "test_freshness")

    assert [row[:4] for row in answer] == [(ago(5), 1, 0, 0), (ago(2), 7, 2, 7200)]
    assert since < days[0][4]


def test_view(shop: Warehouse) -> None:
    view = run_by(PAGE, "test_view").replace("oceanus.", f"{shop.settings.dataset}.")
    shop.clients.rest.query_and_wait(view)

    rows = shop.rows("SELECT jsn, jsn_plan FROM bizocean_text WHERE evt = 'paid' ORDER BY dt")
    assert rows == [('{"plan":"pro","price":12000}', "pro"), ('{"price":500}', None)]


def test_daily_tables(warehouse: Warehouse) -> None:
    skj, naming = sites.load(str(sites.SAMPLE))["skj"], Naming(warehouse.settings.dataset)
    warehouse.catalog.create_dataset(warehouse.settings.dataset, "for a test")
    for days, browsers in ((20, "a"), (2, "aab"), (1, "c")):
        table = naming.table(skj, f"{ago(days)} 00:00:00")
        warehouse.catalog.create(table)
        fill(warehouse, table.path, [as_texts(days, f"{hour:02}:00:00", sid) for hour, sid in enumerate(browsers)])

    query = run_by(PAGE, "test_daily_tables").replace("oceanus.", f"{warehouse.settings.dataset}.")
    assert warehouse.rows(query) == [(f"{ago(2):%Y%m%d}", 3, 2), (f"{ago(1):%Y%m%d}", 1, 1)]


def as_texts(days: int, time: str, sid: str) -> dict[str, str]:
    """Return a page view as a table of a day holds it."""
    row = named(days, time, sid, "pageview", "/", None, None, None, None)
    return {name: row[name] for name in ("oid", "sid", "rad", "evt", "url", "eid")} | {"dt": f"'{ago(days)} {time}'"}


def test_rows_a_day(shop: Warehouse) -> None:
    query = run_by(TOP / "docs" / "cost.md", "test_rows_a_day")

    assert shop.rows(query) == [(ago(10), 6), (ago(5), 1), (ago(2), 7)]


def test_a_view_over_two_regions(shop: Warehouse) -> None:
    ours, (eu, us) = shop.settings.dataset, (f"{shop.settings.dataset}_{region}" for region in ("eu", "us"))
    page = TOP / "docs" / "multi-region.md"
    for name, days in ((eu, 10), (us, 2)):
        shop.catalog.create_dataset(name, "for a test")
        shop.clients.rest.query_and_wait(
            f"CREATE TABLE {name}.bizocean AS SELECT * FROM {ours}.bizocean WHERE DATE(dt) = '{ago(days)}'"
        )
    shop.clients.rest.query_and_wait(f"DROP TABLE {ours}.bizocean")
    view = run_by(page, "test_a_view_over_two_regions")

    shop.clients.rest.query_and_wait(re.sub(r"\boceanus(_eu|_us)?\.", rf"{ours}\1.", view))

    rows = shop.rows("SELECT region, COUNT(*) FROM bizocean GROUP BY region ORDER BY region")
    assert rows == [("eu", 6), ("us", 7)]
    for name in (eu, us):
        shop.clients.rest.delete_dataset(f"{shop.settings.project}.{name}", delete_contents=True)


# cloud.google.com/bigquery/docs/reference/standard-sql/lexical#reserved_keywords: the local one takes some as names
RESERVED = (
    "all and any array as asc assert_rows_modified at between by case cast collate contains create cross cube current "
    "default define desc distinct else end enum escape except exclude exists extract false fetch following for from "
    "full group grouping groups hash having if ignore in inner intersect interval into is join lateral left like limit "
    "lookup merge natural new no not null nulls of on or order outer over partition preceding proto qualify range "
    "recursive respect right rollup rows set some struct tablesample then to treat true unbounded union unnest "
    "using when where window with within"
)


@pytest.mark.parametrize("block", [one for page in PAGES for one in blocks(page) if one.language == "sql"], ids=str)
def test_no_query_gives_a_name_that_google_has_reserved(block: Block) -> None:
    given = re.findall(r"\bAS (\w+)|(\w+) AS \(", block.text)

    assert {name.lower() for names in given for name in names} & set(RESERVED.split()) == set()
