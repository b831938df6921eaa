"""The doctor: each thing that is wrong with a target is named with its remedy, and a fit one passes."""

import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from click.testing import CliRunner, Result
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from management import commands, doctor, examination, leftovers, parts, programs, running
from management.doctor import OK, WARNING, WRONG, Folder, RedisFacts
from management.leftovers import Mark
from management.status import SiteStatus
from oceanus import records, sites
from oceanus.errors import WarehouseError
from oceanus.settings import UpSettings, read
from oceanus.spool import NEEDED
from oceanus.tables import Naming
from oceanus.warehouse import Clients
from oceanus.warehouse.permissions import Permissions

SAMPLE = list(sites.load(str(sites.SAMPLE)).values())
GIB = 1 << 30
FIT = RedisFacts(
    version="7.2.4",
    role="master",
    config=NEEDED,
    refusal="",
    write_status="ok",
    maxmemory=GIB,
    used_bytes=GIB // 10,
    machine_bytes=4 * GIB,
    ahead_seconds=0.01,
)


def test_a_fit_redis_has_nothing_but_ok():
    assert {one.state for one in doctor.redis(FIT, NEEDED, (7, 0))} == {OK}


@pytest.mark.parametrize(
    ("change", "state", "sentence"),
    [
        ({"version": "6.2.14"}, WRONG, "is of version 6.2.14"),
        ({"role": "slave"}, WRONG, "is a slave, which takes no writes"),
        ({"write_status": "err"}, WRONG, "its last write to the append-only file failed"),
        ({"config": None, "refusal": "NOPERM"}, WRONG, "does not say whether it keeps what it acknowledges (NOPERM)"),
        ({"config": NEEDED | {"appendfsync": "everysec"}}, WRONG, "appendfsync is everysec, must be always"),
        ({"config": {}}, WRONG, "appendonly is unknown, must be yes"),
        ({"maxmemory": 0}, WARNING, "has no maxmemory"),
        ({"machine_bytes": GIB}, WARNING, "maxmemory is 1024 MB on 1024 MB"),
        ({"used_bytes": GIB}, WARNING, "100 % of its maxmemory is used"),
        ({"ahead_seconds": 90.0}, WARNING, "is 90.0 s behind that of Redis"),
        ({"ahead_seconds": -2.0}, WARNING, "is 2.0 s ahead of that of Redis"),
    ],
)
def test_what_is_wrong_with_a_redis_is_named_with_a_remedy(change, state, sentence):
    found = [one for one in doctor.redis(replace(FIT, **change), NEEDED, (7, 0)) if one.state == state]

    assert any(one.sentence.startswith(sentence) for one in found)
    assert all(one.remedy for one in found)


def test_r2bq_needs_to_make_tables_only_where_a_site_has_one_for_each_day():
    daily = [site for site in SAMPLE if site.table.is_daily]
    others = [site for site in SAMPLE if not site.table.is_daily]

    assert set(doctor.DAILY) <= doctor.needed(["r2bq"], daily)
    assert not set(doctor.DAILY) & doctor.needed(["r2bq"], others)
    assert doctor.needed(["arms"], SAMPLE) == set()
    assert "bigquery.datasets.create" in doctor.needed(["table_manager"], others)


@pytest.mark.parametrize(
    ("on_project", "on_tables", "states"),
    [
        ({"bigquery.jobs.create", "bigquery.tables.getData"}, set(), [OK]),
        ({"bigquery.jobs.create"}, {"bigquery.tables.getData"}, [OK]),
        ({"bigquery.jobs.create"}, None, [WARNING]),
        ({"bigquery.jobs.create"}, set(), [WRONG]),
        (set(), {"bigquery.tables.getData"}, [WRONG]),
        (set(), None, [WRONG, WARNING]),
    ],
)
def test_permissions_are_held_on_the_project_or_on_the_tables(on_project, on_tables, states):
    found = doctor.permissions(doctor.needed(["revelation"], SAMPLE), on_project, on_tables)

    assert [one.state for one in found] == states


def test_many_sites_are_a_matter_for_the_quota_of_connections():
    assert doctor.connections(SAMPLE, "US").state == OK
    assert doctor.connections(SAMPLE * 50, "asia-northeast1").state == WARNING
    assert doctor.connections(SAMPLE * 50, "US").state == OK


def test_a_journal_needs_a_folder_and_room():
    folder = Folder(path="/j", trouble="", free_bytes=2 * GIB)

    assert [one.state for one in doctor.journal(folder, GIB)] == [OK]
    assert [one.state for one in doctor.journal(folder, 3 * GIB)] == [WARNING]
    assert [one.state for one in doctor.journal(replace(folder, trouble="is a file"), GIB)] == [WRONG]
    assert [one.state for one in doctor.journal(None, GIB)] == [WARNING]


def test_records_that_wait_for_long_are_a_warning_that_keeps_no_process_from_starting():
    def waits(oldest: float | None) -> SiteStatus:
        return SiteStatus(queue=7, claimed=1, failed=0, oldest_seconds=oldest, landed=0, last_seconds=0.1)

    found = doctor.backlog({"shop": waits(700.0), "blog": waits(301.0), "new": waits(300.0), "none": waits(None)})

    assert (found.state, found.sentence) == (WARNING, "blog, shop: 16 records, the oldest 11 min old")
    assert doctor.backlog({"new": waits(300.0)}).state == OK
    assert doctor.backlog({}).state == OK


def test_only_what_is_wrong_makes_the_exit_code():
    [warning] = doctor.journal(None, GIB)

    assert doctor.is_well([warning])
    assert not doctor.is_well([warning, replace(warning, state=WRONG)])
    assert list(doctor.lines([warning]))[1].endswith("-> set JOURNAL_DIR to a folder on a disk that lasts")


# --- on real parts


@pytest.fixture
def target(redis_server, warehouse, tmp_path) -> dict[str, str]:
    return redis_server.environ | warehouse.environ | {"JOURNAL_DIR": str(tmp_path / "journal")}


def asked(target: dict[str, str], *words: str) -> tuple[int, dict[str, list[str]]]:
    done = CliRunner().invoke(commands.oceanus, ["doctor", "--format", "json", *words], env=target)
    states: dict[str, list[str]] = {}
    for one in json.loads(done.stdout):
        states.setdefault(one["about"], []).append(one["state"])
    return done.exit_code, states


def test_a_fit_target_passes(target):
    code, states = asked(target)

    assert code == 0
    looked_at = {"settings", "Redis", "clock", "backlog", "journal", "BigQuery", "permissions", "quotas", "tables"}
    assert set(states) == looked_at
    assert all(WRONG not in found for found in states.values())


def test_records_that_wait_in_a_real_redis_are_found(redis_server, target):
    long_ago_us = time.time_ns() // 1000 - 3_600_000_000
    record = records.encode({"v": 1, "eid": records.mint(long_ago_us), "dt": records.time_text(long_ago_us)})
    redis_server.client().sadd("oceanus:sites", "bizocean")
    redis_server.client().lpush("oceanus:{bizocean}:queue", record)

    done = CliRunner().invoke(commands.oceanus, ["doctor", "--for", "r2bq"], env=target)

    assert done.exit_code == 0
    assert "warning  backlog: bizocean: 1 record, the oldest 60 min old" in done.stdout


def test_a_process_of_up_that_does_not_answer_is_wrong_and_named(tmp_path):
    class Lives(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/hc" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    environ = {"DATA_DIR": str(tmp_path)}
    with ThreadingHTTPServer(("127.0.0.1", 0), Lives) as lives, socket.create_server(("127.0.0.1", 0)) as hangs:
        Thread(target=lives.serve_forever, daemon=True).start()
        ports = {"r2bq": lives.server_port, "table_manager": hangs.getsockname()[1]}
        plan = replace(programs.layout(read(UpSettings, environ), "127.0.0.1", parts.free_port), ports=Ports(ports))
        given = programs.environment(plan, environ, "arms", "t")
        children = {"r2bq": Mark(11, 1.0), "table_manager": Mark(12, 1.0)}
        running.save(plan, given, leftovers.mark(os.getpid()), tmp_path / "token", children)
        found = [one for one in examination.examine(environ, ("r2bq", "table_manager")) if one.about in children]
        lives.shutdown()

    assert [(one.about, one.state) for one in found] == [("r2bq", OK), ("table_manager", WRONG)]
    assert found[1].sentence == "process 12 does not answer (ReadTimeout) at /hc"
    assert "kill -KILL 12" in found[1].remedy


class Ports(dict[str, int]):
    """Ports, of which those that are not named belong to nobody."""

    def __missing__(self, name: str) -> int:
        return 1


def test_only_what_a_process_needs_is_asked_for(target):
    code, states = asked(target | {"BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:1"}, "--for", "arms")

    assert (code, set(states)) == (0, {"settings", "Redis", "clock", "journal"})


def test_a_redis_that_would_lose_is_found(own_redis, target):
    client = own_redis.client()
    client.config_set("appendfsync", "everysec")
    client.close()

    code, states = asked(target | own_redis.environ, "--for", "arms")

    assert (code, states["Redis"][0]) == (1, WRONG)


def test_each_redis_is_looked_at_and_one_that_is_away_hides_no_other(own_redis, target):
    address = f"127.0.0.1:{own_redis.port}"
    client = own_redis.client()
    client.config_set("appendfsync", "everysec")
    client.close()

    code, states = asked(target | {"REDIS_SHARDS": f"bizocean={address} skj=127.0.0.1:1"}, "--for", "arms")

    assert (code, WRONG in states["Redis"], WRONG in states[f"Redis {address}"]) == (1, False, True)
    assert states["Redis 127.0.0.1:1"] == [WRONG]


def asked_without(command: str, own_redis, target: dict[str, str]) -> Result:
    """Ask as a user who may not say `command`."""
    client = own_redis.client()
    client.execute_command("ACL", "SETUSER", "default", f"-{command}")
    client.close()
    return CliRunner().invoke(commands.oceanus, ["doctor", "--for", "arms"], env=target | own_redis.environ)


def test_a_user_who_may_not_ask_for_the_configuration_is_told_what_that_means(own_redis, target):
    done = asked_without("config", own_redis, target)

    assert done.exit_code == 1
    assert "does not say whether it keeps what it acknowledges" in done.stdout
    assert "-> allow CONFIG GET to this user" in done.stdout


def test_a_user_who_may_not_look_is_sent_to_one_who_may(own_redis, target):
    done = asked_without("info", own_redis, target)

    assert done.exit_code == 0
    assert "-> ask once more with REDIS_USER=management" in done.stdout


def test_each_trouble_is_told_and_the_others_are_looked_at_all_the_same(target, tmp_path):
    (tmp_path / "file").touch()
    environ = target | {"REDIS_PD_SERVICE_PORT": "1", "JOURNAL_DIR": str(tmp_path / "file" / "j"), "PORT": "x"}

    code, states = asked(environ)

    assert code == 1
    assert (states["settings"], states["Redis"]) == ([WRONG], [WRONG])
    assert OK in states["BigQuery"]


def test_tables_that_stand_otherwise_than_declared_are_named(target, warehouse):
    table = Naming(warehouse.settings.dataset).table(SAMPLE[0], "2026-11-22")
    warehouse.catalog.create_dataset(warehouse.settings.dataset, "")
    columns = (*table.columns, replace(table.columns[0], name="old"))
    warehouse.catalog.create(replace(table, columns=columns, cluster=()))

    done = CliRunner().invoke(commands.oceanus, ["doctor", "--for", "table_manager"], env=target)

    assert f"{table.path}: column old is declared no more" in done.stdout
    assert "table_manager will make 1" in done.stdout
    assert f"table_manager will alter table {table.path}" in done.stdout


# --- permissions, asked of a server that answers as Google's documentation says


class Iam(ThreadingHTTPServer):
    """Knows who may do what: on the project, and on each table that stands."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.on_project: set[str] = set()
        self.on_tables: dict[str, set[str]] = {}
        self.status = 200
        Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def clients(self) -> Clients:
        options = ClientOptions(api_endpoint=self.address)
        rest = bigquery.Client("p", credentials=AnonymousCredentials(), client_options=options)
        return Clients(project="p", location="US", rest=rest, write=None, credentials=AnonymousCredentials())


class _Answers(BaseHTTPRequestHandler):
    server: Iam

    def do_POST(self) -> None:
        wanted = set(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["permissions"])
        where, _, method = self.path.rpartition(":")
        assert method.partition("?")[0] == "testIamPermissions"
        if where == "/v1/projects/p":
            held, status = self.server.on_project, self.server.status
        else:
            assert where.startswith("/bigquery/v2/projects/p/datasets/d")
            held, status = self.server.on_tables.get(where.rpartition("/")[2]), 200
        body = json.dumps({"permissions": sorted(wanted & held)} if held is not None else {"error": {"code": 404}})
        self.send_response(status if held is not None else 404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def iam() -> Iterator[Iam]:
    server = Iam()
    yield server
    server.shutdown()
    server.server_close()


def test_permissions_are_asked_of_the_project_and_what_is_left_of_the_tables_that_stand(iam):
    iam.on_project = {"bigquery.jobs.create"}
    every = set(doctor.PERMISSIONS["r2bq"])
    iam.on_tables = {"failed": every, "bizocean": every - {"bigquery.tables.updateData"}}
    partitioned = [site for site in SAMPLE if not site.table.is_daily]

    found = examination.permissions(iam.clients(), Naming("d"), ("r2bq",), partitioned, iam.address)

    assert [(one.state, one.sentence) for one in found] == [(WRONG, "bigquery.tables.updateData is not given")]


def test_before_tables_stand_rights_on_the_dataset_cannot_be_seen(iam):
    iam.on_project = {"bigquery.jobs.create"}

    found = examination.permissions(iam.clients(), Naming("d"), ("revelation",), SAMPLE, iam.address)

    assert [one.state for one in found] == [WARNING]


def test_an_iam_that_does_not_answer_is_told(iam):
    iam.status = 403
    with pytest.raises(WarehouseError, match="permissions cannot be asked for: 403"):
        Permissions(iam.clients(), iam.address).on_project(["bigquery.jobs.create"])
