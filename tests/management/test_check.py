"""Every mistake at once."""

import pytest

from management import check

ONE_SITE = """
shapes:
  page:
    fields:
      dt: {from: clock, type: TIMESTAMP, mode: REQUIRED, description: Receive time.}
      sid: {from: query, rule: {type: string, required: true}, mode: REQUIRED, description: Session.}
sites:
  shop: {method: swallow, shape: page}
"""


def test_nothing_set_is_all_well():
    assert check.mistakes({}) == []
    assert check.summary({}).startswith("sites.yaml: 10 sites (5 swallow, 1 gaze, 1 pierce, 3 pirate) in ")


def test_all_mistakes_are_told_at_once_one_for_each_variable(tmp_path):
    file = tmp_path / "sites.yaml"
    file.write_text("sites: {Shop: {method: swim}}\n")

    found = check.mistakes({"PORT": "x", "DATA_SET": "a-b", "LOG_LEVEL": "loud", "SITES_FILE": str(file)})

    assert [line.split("=")[0] for line in found[:3]] == ["PORT", "DATA_SET", "LOG_LEVEL"]
    assert all(line.startswith(str(file)) for line in found[3:])
    assert len(found) >= 6


def test_half_an_emulator_is_a_mistake():
    (line,) = check.mistakes({"BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:9"})

    assert line.startswith("BIGQUERY_STORAGE_EMULATOR_HOST is not set")


def test_missing_sites_file_is_named(tmp_path):
    (line,) = check.mistakes({"SITES_FILE": str(tmp_path / "none.yaml")})

    assert "none.yaml: cannot be read" in line


def test_one_site_is_told_in_the_singular(tmp_path):
    file = tmp_path / "sites.yaml"
    file.write_text(ONE_SITE)

    assert check.summary({"SITES_FILE": str(file)}).startswith("sites.yaml: 1 site (1 swallow, ")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SITES_FLIE", "SITES_FILE"),
        ("sites_file", "SITES_FILE"),
        ("BIGQUERY_EMULATOR", "BIGQUERY_EMULATOR_HOST"),
        ("TRUSTED_PROXY", "TRUSTED_PROXIES"),
        ("REDIS_PD_SERVICE_PROT", "REDIS_PD_SERVICE_PORT"),
        ("RATE_PER_ADRESS", "RATE_PER_ADDRESS"),
        ("SITE_FILE", "SITES_FILE"),
        ("DATASET", "DATA_SET"),
    ],
)
def test_misspelt_variable_is_named_with_what_may_be_meant(name, meant):
    assert check.warnings({name: "x"}) == [f"{name} is set and means nothing: is {meant} meant?"]


@pytest.mark.parametrize(
    "name",
    ["SITES_FILE", "JOURNAL_DIR", "POTR", "JOURNAL_STREAM", "REDIS_PD_PORT", "REDIS_PD_PORT_6379_TCP_ADDR", "SITES"],
)
def test_variables_of_ours_and_of_others_are_no_mistakes(name):
    assert check.warnings({name: "x"}) == []


def test_sites_of_which_nobody_is_told_are_named_as_long_as_there_are_no_alerts(tmp_path):
    file, alerts = tmp_path / "sites.yaml", tmp_path / "alerts.yaml"
    file.write_text(ONE_SITE.replace("shape: page}", "shape: page, alerts: true}"))
    alerts.write_text("rules: []\n")

    [line] = check.warnings({"SITES_FILE": str(file)})

    assert line.startswith("shop: alerts: true, and ALERTS_FILE is not set")
    assert check.warnings({"SITES_FILE": str(file), "ALERTS_FILE": str(alerts)}) == []
    assert check.mistakes({"SITES_FILE": str(file)}) == []


def test_a_shard_of_a_site_that_is_not_declared_is_named():
    [line] = check.mistakes({"REDIS_SHARDS": "nowhere=redis-2:6379"})

    assert line.startswith("REDIS_SHARDS: sites.yaml declares no site nowhere")
