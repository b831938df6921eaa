"""The keeper: it does what the plan says, tells a refusal once, and lets no table's trouble stop another."""

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from google.cloud import bigquery
from google.cloud.bigquery.schema import PolicyTagList
from prometheus_client import CollectorRegistry

from oceanus import sites
from oceanus.errors import WarehouseError, WarehouseUnclearError
from oceanus.tables import Column, Naming, Table
from oceanus.warehouse import Catalog, Clients
from table_manager.keeper import Counts, Keeper

SAMPLE = sites.load(str(sites.SAMPLE))
NAMING = Naming("beacons")
MORNING = datetime(2026, 11, 22, 9, tzinfo=UTC)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class FakeCatalog:
    """A warehouse of two dictionaries; `broken` is what cannot be read or changed."""

    def __init__(self) -> None:
        self.datasets: set[str] = set()
        self.tables: dict[str, Table] = {}
        self.broken: set[str] = set()
        self.calls: list[str] = []

    def has_dataset(self, name: str) -> bool:
        return name in self.datasets

    def create_dataset(self, name: str, description: str) -> None:
        self._change("create", name)
        self.datasets.add(name)

    def find(self, path: str) -> Table | None:
        if f"find {path}" in self.broken:
            raise WarehouseUnclearError(f"no answer about {path}")
        return self.tables.get(path)

    def create(self, table: Table) -> None:
        self._change("create", table.path)
        self.tables[table.path] = table

    def alter(self, table: Table) -> None:
        self._change("alter", table.path)
        self.tables[table.path] = table

    def _change(self, verb: str, path: str) -> None:
        if path in self.broken:
            raise WarehouseError(f"cannot {verb} {path}")
        self.calls.append(f"{verb} {path}")


class Clock:
    """A clock that stands until it is set."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def catalog():
    return FakeCatalog()


@pytest.fixture
def clock():
    return Clock(MORNING)


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def keeper(catalog, clock, registry):
    chosen = [SAMPLE["bizocean"], SAMPLE["skj"]]
    return Keeper(catalog, chosen, NAMING, Counts(registry), clock)


def refused(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [entry.getMessage() for entry in caplog.records if entry.getMessage().startswith("refused")]


def narrowed(catalog: FakeCatalog) -> None:
    """Let bizocean's table stand with an eid that may be null."""
    path = "beacons.bizocean"
    columns = catalog.tables[path].columns
    catalog.tables[path] = replace(
        catalog.tables[path],
        columns=tuple(replace(one, mode="NULLABLE") if one.name == "eid" else one for one in columns),
    )


def test_the_first_round_makes_everything_datasets_first_and_the_second_nothing(keeper, catalog):
    assert keeper.round()
    made, catalog.calls = catalog.calls, []
    assert keeper.round()

    assert made == [
        "create beacons",
        "create beacons_failed",
        "create beacons_failed.failed",
        "create beacons.audit",
        "create beacons.bizocean",
        "create beacons.skj_20261122",
    ]
    assert catalog.calls == []


def test_tomorrow_s_table_stands_before_midnight(keeper, catalog, clock):
    keeper.round()
    clock.now = NOON

    keeper.round()

    assert catalog.calls[-1] == "create beacons.skj_20261123"


def test_a_standing_table_is_altered_once(keeper, catalog):
    keeper.round()
    wanted = catalog.tables["beacons.bizocean"]
    catalog.tables["beacons.bizocean"] = replace(wanted, columns=(*wanted.columns[1:], Column("own")), cluster=())

    keeper.round()
    keeper.round()

    assert catalog.calls[6:] == ["alter beacons.bizocean"]
    after = catalog.tables["beacons.bizocean"]
    assert [one.name for one in after.columns] == [*(one.name for one in wanted.columns[1:]), "own", "dt"]
    assert after.cluster == wanted.cluster


@pytest.mark.parametrize("broken", ["beacons.audit", "find beacons.audit", "beacons_failed"])
def test_one_table_s_trouble_is_logged_counted_and_stops_no_other(keeper, catalog, registry, caplog, broken):
    catalog.broken = {broken}

    done = keeper.round()

    assert not done
    assert {"beacons.bizocean", "beacons.skj_20261122"} <= catalog.tables.keys()
    assert [entry.levelname for entry in caplog.records] == ["ERROR"]
    assert caplog.records[0].getMessage().startswith(f"{broken.removeprefix('find ')}: not kept, ")
    assert registry.get_sample_value("oceanus_table_manager_failures_total") == 1
    assert registry.get_sample_value("oceanus_table_manager_rounds_total", {"outcome": "troubled"}) == 1


def test_what_was_in_trouble_is_tried_again(keeper, catalog):
    catalog.broken = {"beacons.audit"}
    keeper.round()
    catalog.broken = set()

    done = keeper.round()

    assert done
    assert catalog.calls[-1] == "create beacons.audit"


def test_a_surprise_is_not_swallowed(keeper, catalog):
    catalog.find = None

    with pytest.raises(TypeError):
        keeper.round()


def test_a_refusal_is_told_once_and_again_only_when_it_changes(keeper, catalog, registry, caplog):
    keeper.round()
    narrowed(catalog)

    rounds = [(keeper.round(), len(refused(caplog))) for _ in range(3)]
    catalog.broken = {"find beacons.bizocean"}
    keeper.round()
    catalog.broken = set()
    keeper.round()
    unread = len(refused(caplog))
    catalog.tables["beacons.bizocean"] = replace(catalog.tables["beacons.bizocean"], partition=None)
    keeper.round()

    assert rounds == [(True, 1), (True, 1), (True, 1)]
    assert unread == 1
    assert len(refused(caplog)) == 2
    assert registry.get_sample_value("oceanus_table_manager_refusals") == 2


def test_each_change_is_one_line_and_one_count(keeper, registry, caplog):
    caplog.set_level(logging.INFO)

    keeper.round()

    assert [entry.getMessage().partition(":")[0] for entry in caplog.records] == ["done"] * 6
    counted = [
        registry.get_sample_value("oceanus_table_manager_actions_total", {"action": action})
        for action in ("CreateDataset", "CreateTable")
    ]
    assert counted == [2, 4]


def test_plans_are_shown_without_a_change(keeper, catalog):
    planned = [str(action) for one in keeper.plans() for action in one.actions]

    assert catalog.calls == []
    assert planned[0] == "create dataset beacons"
    assert len(planned) == 6


# --- with a real catalog


def test_in_bigquery_a_second_round_has_nothing_to_do_and_an_alteration_sticks(warehouse, registry):
    dataset = warehouse.settings.dataset
    naming, catalog = Naming(dataset), Catalog(warehouse.clients)
    text = sites.SAMPLE.read_text()
    changed = text.replace("      uid: {from: query,", "      neu: {from: query}\n      uid: {from: query,", 1).replace(
        "table: {form: partitioned, cluster: [evt, sid]}", "table: {form: partitioned, cluster: [oid], expiry_days: 9}"
    )
    before = Keeper(catalog, sites.parse(text).values(), naming, Counts(CollectorRegistry()), Clock(NOON))
    after = Keeper(catalog, sites.parse(changed).values(), naming, Counts(registry), Clock(NOON))

    assert before.round()
    assert [one for one in before.plans() if one.actions or one.refusals] == []
    assert after.round()
    assert [one for one in after.plans() if one.actions or one.refusals] == []

    found = catalog.find(f"{dataset}.bizocean")
    assert (found.columns[-1].name, found.cluster, found.expiry_days) == ("neu", ("oid",), 9)
    assert before.round()
    assert catalog.find(f"{dataset}.bizocean").expiry_days is None


class RecordingRest:
    """A REST client that knows one table and remembers the schema it was told."""

    def __init__(self, schema: list[bigquery.SchemaField]) -> None:
        self.schema = schema

    def get_table(self, *_: object, **__: object) -> bigquery.Table:
        return bigquery.Table("p.d.t", schema=self.schema)

    def update_table(self, table: bigquery.Table, *_: object, **__: object) -> None:
        self.schema = table.schema


def test_an_alteration_keeps_what_our_plans_do_not_know_of_a_column():
    deep = bigquery.SchemaField("deep", "RECORD", fields=[bigquery.SchemaField("a", "INTEGER")], description="old")
    short = bigquery.SchemaField("short", "STRING", "REQUIRED", max_length=5, default_value_expression="'x'")
    rest = RecordingRest([deep, short])
    catalog = Catalog(Clients(project="p", location="US", rest=rest, write=None))

    catalog.alter(
        Table(
            path="d.t",
            columns=(Column("deep", "STRUCT", "NULLABLE", "new"), Column("short"), Column("neu")),
            description="",
        )
    )

    told = [(one.name, one.field_type, one.mode, one.description) for one in rest.schema]
    assert told == [
        ("deep", "RECORD", "NULLABLE", "new"),
        ("short", "STRING", "NULLABLE", ""),
        ("neu", "STRING", "NULLABLE", ""),
    ]
    assert [part.name for part in rest.schema[0].fields] == ["a"]
    assert (rest.schema[1].max_length, rest.schema[1].default_value_expression) == (5, "'x'")


def test_policy_tags_are_sent_as_google_names_them_and_others_are_kept():
    tag, other = (f"projects/p/locations/eu/taxonomies/1/policyTags/{number}" for number in (2, 3))
    foreign = bigquery.SchemaField("foreign", "STRING", policy_tags=PolicyTagList([other]))
    rest = RecordingRest([bigquery.SchemaField("email", "STRING"), foreign])
    catalog = Catalog(Clients(project="p", location="US", rest=rest, write=None))
    columns = (Column("email", policy_tag=tag), Column("foreign"), Column("tel", policy_tag=tag))

    catalog.alter(Table(path="d.t", columns=columns, description=""))

    told = {one["name"]: one.get("policyTags") for one in (column.to_api_repr() for column in rest.schema)}
    assert told == {"email": {"names": [tag]}, "foreign": {"names": [other]}, "tel": {"names": [tag]}}
    assert [one.policy_tag for one in catalog.find("d.t").columns] == [tag, other, tag]


# --- as a process


def environ(warehouse, **more: str) -> dict[str, str]:
    return (
        dict(os.environ)
        | warehouse.environ
        | {"SITES_FILE": str(sites.SAMPLE), "PORT": "0", "LOG_LEVEL": "INFO"}
        | more
    )


def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", "table_manager", *arguments]
    return subprocess.run(words, env=variables, capture_output=True, text=True, timeout=60, check=False)


def ended_within(process: "subprocess.Popen[str]", seconds: float) -> int | None:
    """Return the exit code, or None for a process that had to be killed after `seconds`."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return None


def test_plan_prints_what_once_then_does(warehouse):
    variables = environ(warehouse)

    planned, done, nothing = (run(form, **variables) for form in ("--plan", "--once", "--plan"))

    assert (planned.returncode, done.returncode, nothing.returncode) == (0, 0, 0)
    lines = planned.stdout.splitlines()
    assert lines[0] == f"create dataset {warehouse.settings.dataset}"
    assert [line.partition("done: ")[2] for line in done.stderr.splitlines()] == lines
    assert nothing.stdout == ""


def test_every_wrong_setting_is_one_line_and_nothing_starts():
    ended = run(
        **(dict(os.environ) | {"INTERVAL_SECOND": "0", "DATA_SET": "a-b", "PROJECT_ID": "p", "SITES_FILE": "f"})
    )

    assert ended.returncode == 1
    assert [line.partition("=")[0] for line in ended.stderr.splitlines()] == [
        "table_manager: DATA_SET",
        "table_manager: INTERVAL_SECOND",
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_in_the_middle_of_the_interval_it_ends_well_at_once(warehouse, number):
    words = [sys.executable, "-m", "table_manager"]
    variables = environ(warehouse, INTERVAL_SECOND="1000")
    with subprocess.Popen(words, env=variables, stderr=subprocess.PIPE, text=True) as process:
        told = next(line for line in process.stderr if "shortener" in line)
        process.send_signal(number)
        code = ended_within(process, 3)

    assert "done: create table" in told
    assert code == 0


class HangingBigQuery(ThreadingHTTPServer):
    """A BigQuery that answers the questions at start (there is no dataset).

    The next question sets `asked`, and is answered only when `released`.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Hanging)
        self.asked, self.released, self.first = threading.Event(), threading.Event(), True


class _Hanging(BaseHTTPRequestHandler):
    server: HangingBigQuery

    def do_GET(self) -> None:
        first, self.server.first = self.server.first, False
        if not first and not self.path.partition("?")[0].endswith("/datasets"):
            self.server.asked.set()
            self.server.released.wait()
        self.send_response(404 if first else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hanging() -> Iterator[HangingBigQuery]:
    with HangingBigQuery() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def test_told_to_stop_while_bigquery_hangs_it_ends_well_within_three_seconds(hanging):
    address = f"127.0.0.1:{hanging.server_address[1]}"
    variables = dict(os.environ) | {
        "PROJECT_ID": "p",
        "DATA_SET": "d",
        "BIGQUERY_EMULATOR_HOST": f"http://{address}",
        "BIGQUERY_STORAGE_EMULATOR_HOST": address,
        "SITES_FILE": str(sites.SAMPLE),
        "PORT": "0",
    }
    with subprocess.Popen([sys.executable, "-m", "table_manager"], env=variables) as process:
        asked = hanging.asked.wait(60)
        process.send_signal(signal.SIGTERM)
        code = ended_within(process, 3)

    assert asked
    assert code == 0
