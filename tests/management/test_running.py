"""What runs, and which target a command takes."""

import json
import os
from itertools import count

import pytest

from management import leftovers, programs, running
from management.leftovers import Mark
from oceanus.errors import MisconfiguredError
from oceanus.settings import UpSettings, read
from oceanus.sites import SAMPLE


@pytest.fixture
def environ(tmp_path):
    return {"DATA_DIR": str(tmp_path)}


def save(environ: dict[str, str], up: Mark, sites_digest: str = "") -> None:
    ports = count(50001)
    plan = programs.layout(read(UpSettings, environ), "0.0.0.0", lambda: next(ports))
    given = programs.environment(plan, environ, "arms", "t")
    running.save(plan, given, up, plan.data_dir / "trust_token", {"redis": Mark(7, 1.0)}, sites_digest=sites_digest)


def test_living_up_is_the_target(environ):
    save(environ, leftovers.mark(os.getpid()))

    assert running.redis(environ).port == 50001
    assert running.warehouse(environ).emulator == "http://127.0.0.1:50002"
    assert running.warehouse(environ).storage_emulator == "127.0.0.1:50003"
    assert running.warehouse(environ).dataset == "oceanus"
    assert running.find(environ).url == "http://127.0.0.1:8080/"
    assert running.arms_metrics(environ) == "http://127.0.0.1:8080/metrics"
    assert running.sites_file(environ) == str(SAMPLE)


def test_prometheus_is_told_where_each_process_shows_its_metrics(environ, tmp_path):
    save(environ, leftovers.mark(os.getpid()))

    told = json.loads((tmp_path / "prometheus.json").read_text())

    assert {one["labels"]["instance"]: one["targets"] for one in told} == {
        "arms": ["127.0.0.1:8080"],
        "r2bq": ["127.0.0.1:50004"],
        "table_manager": ["127.0.0.1:50005"],
        "revelation": ["127.0.0.1:50006"],
    }


def test_prometheus_is_told_where_it_can_read_it(environ, tmp_path):
    save(environ | {"TARGETS_FILE": str(tmp_path / "elsewhere.json")}, leftovers.mark(os.getpid()))

    assert (tmp_path / "elsewhere.json").stat().st_mode & 0o777 == 0o644
    assert not (tmp_path / "prometheus.json").exists()


def test_password_kept_for_another_redis_is_not_sent_to_ours(environ):
    save(environ, leftovers.mark(os.getpid()))

    assert running.redis(environ | {"REDIS_PASSWORD": "another's"}).password == ""


def test_dataset_of_the_environment_goes_first(environ):
    save(environ, leftovers.mark(os.getpid()))

    assert running.warehouse(environ | {"DATA_SET": "mine"}).dataset == "mine"


def test_ended_up_is_no_target(environ):
    save(environ, Mark(os.getpid(), 1.0))  # our number, but of another process

    with pytest.raises(MisconfiguredError, match=r"nothing runs in .*: make up"):
        running.warehouse(environ)


@pytest.mark.parametrize("text", ["", "{}", "[]", "nonsense", '{"pid": "x"}'])
def test_torn_file_is_no_target(environ, tmp_path, text):
    (tmp_path / running.FILE).write_text(text)

    with pytest.raises(MisconfiguredError, match="nothing runs in"):
        running.find(environ)


def test_environment_names_the_warehouse(environ):
    named = running.warehouse(environ | {"PROJECT_ID": "mine"})

    assert (named.project, named.dataset, named.emulator) == ("mine", "oceanus", "")


def test_environment_names_redis_and_with_it_no_arms(environ):
    environ |= {"REDIS_PD_SERVICE_HOST": "redis.example"}

    assert running.redis(environ).host == "redis.example"
    assert running.arms_metrics(environ) is None


def test_what_runs_says_where_each_process_answers_and_lends_its_files(environ):
    save(environ, leftovers.mark(os.getpid()))

    found = running.find(environ)

    assert found.processes == {}  # of none is known that it lives
    assert running.with_files(environ)["SITES_FILE"] == str(SAMPLE)
    assert running.with_files(environ | {"SITES_FILE": "mine.yaml"})["SITES_FILE"] == "mine.yaml"
    assert running.with_files({"DATA_DIR": "/nowhere"}) == {"DATA_DIR": "/nowhere"}


def test_a_sites_yaml_that_has_changed_since_is_told(environ, tmp_path):
    file = tmp_path / "sites.yaml"
    environ |= {"SITES_FILE": str(file)}
    file.write_text("sites: {}")
    save(environ, leftovers.mark(os.getpid()), running.digest(str(file)))

    assert running.changes(environ) == []
    file.write_text("sites: {a: {}}")
    assert running.changes(environ)[0].startswith(f"{file} is not what it was when `oceanus up` began")
    save(environ, Mark(os.getpid(), 1.0), running.digest("/nowhere"))
    assert running.changes(environ) == []


def test_sample_counts_where_nothing_runs(environ):
    assert running.sites_file(environ) == str(SAMPLE)
