"""What each program is given."""

from itertools import count
from pathlib import Path

from management import programs
from management.programs import SAMPLE_ALERTS
from oceanus.settings import ArmsSettings, ConsoleSettings, UpSettings, read
from oceanus.sites import SAMPLE


def layout(environ: dict[str, str]) -> programs.Layout:
    ports = count(50001)
    return programs.layout(read(UpSettings, environ), "0.0.0.0", lambda: next(ports))


def test_all_ports_but_that_of_arms_are_free_ones():
    assert layout({"PORT": "8080"}).ports == {
        "arms": 8080,
        "redis": 50001,
        "bigquery": 50002,
        "bigquery_storage": 50003,
        "r2bq": 50004,
        "table_manager": 50005,
        "revelation": 50006,
        "console": 50007,
    }


def test_children_find_redis_and_bigquery_of_up():
    plan = layout({"DATA_DIR": "/data"})

    given = programs.environment(plan, {"REDIS_PASSWORD": "another's", "WORKERS": "2"}, "arms", "secret")

    assert given == {
        "WORKERS": "2",
        "PROJECT_ID": "local",
        "DATA_SET": "oceanus",
        "SITES_FILE": str(SAMPLE),
        "ALERTS_FILE": str(SAMPLE_ALERTS),
        "LOG_LEVEL": "INFO",
        "LISTEN_ADDRESS": "0.0.0.0",
        "PORT": "8080",
        "JOURNAL_DIR": "/data/journal",
        "TRUST_TOKEN": "secret",
        "PYTHONUNBUFFERED": "1",
        "REDIS_PD_SERVICE_HOST": "127.0.0.1",
        "REDIS_PD_SERVICE_PORT": "50001",
        "REDIS_USER": "",
        "REDIS_PASSWORD": "",
        "REDIS_TLS": "0",
        "REDIS_CA": "",
        "REDIS_SHARDS": "",
        "BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:50002",
        "BIGQUERY_STORAGE_EMULATOR_HOST": "127.0.0.1:50003",
    }


def test_the_console_is_told_its_port_and_where_arms_is_and_stays_on_loopback():
    plan = layout({"CONSOLE_PORT": "9000"})

    console = programs.console(plan, {"LISTEN_ADDRESS": "0.0.0.0"}, "secret")
    read_by_it = read(ConsoleSettings, console.environ)

    assert (read_by_it.host, read_by_it.port, read_by_it.arms_url) == ("127.0.0.1", 9000, "http://127.0.0.1:8080/")
    assert programs.console_url(plan, {"LISTEN_ADDRESS": "0.0.0.0"}) == "http://127.0.0.1:9000/"
    assert programs.console_url(plan, {"CONSOLE_ADDRESS": "0.0.0.0"}) == "http://127.0.0.1:9000/"
    assert programs.console_url(plan, {"CONSOLE_ADDRESS": "10.0.0.7"}) == "http://10.0.0.7:9000/"


def test_what_systemd_means_for_up_itself_is_not_handed_on():
    environ = {"LISTEN_FDS": "1", "LISTEN_PID": "7", "LISTEN_FDNAMES": "door", "NOTIFY_SOCKET": "/run/notify"}

    given = programs.environment(layout(environ), environ, "arms", "t")

    assert not environ.keys() & given.keys()


def test_only_project_without_emulator_is_google():
    emulator = {"BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:9"}

    told = [layout(environ).is_google for environ in ({}, {"PROJECT_ID": "mine"}, {"PROJECT_ID": "mine"} | emulator)]

    assert told == [False, True, False]


def test_project_without_emulator_means_real_bigquery():
    plan = layout({"PROJECT_ID": "mine"})

    assert not plan.own_bigquery
    assert "BIGQUERY_EMULATOR_HOST" not in programs.environment(plan, {"PROJECT_ID": "mine"}, "r2bq", "t")


def test_emulator_that_runs_already_is_used():
    environ = {"BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:9", "BIGQUERY_STORAGE_EMULATOR_HOST": "127.0.0.1:8"}
    plan = layout(environ)

    given = programs.environment(plan, environ, "r2bq", "t")

    assert not plan.own_bigquery
    assert (given["BIGQUERY_EMULATOR_HOST"], given["PROJECT_ID"]) == ("http://127.0.0.1:9", "local")


def test_sites_file_is_found_from_every_folder():
    assert Path(layout({"SITES_FILE": "sites.yaml"}).sites_file).is_absolute()


def test_log_level_of_the_environment_goes_first():
    assert programs.with_defaults({"LOG_LEVEL": "DEBUG"})["LOG_LEVEL"] == "DEBUG"


def test_arms_listens_on_loopback_unless_the_environment_opens_it():
    assert read(ArmsSettings, programs.with_defaults({})).host == "127.0.0.1"
    assert read(ArmsSettings, programs.with_defaults({"LISTEN_ADDRESS": "0.0.0.0"})).host == "0.0.0.0"
