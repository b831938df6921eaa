"""Settings: the environment is read once; every missing or wrong variable is one line that names it."""

import dataclasses
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oceanus import settings
from oceanus.errors import MisconfiguredError

NEEDED = {"PROJECT_ID": "p", "DATA_SET": "d", "SITES_FILE": "sites.yaml"}
GROUPS = [
    settings.ArmsSettings,
    settings.R2bqSettings,
    settings.TableManagerSettings,
    settings.UpSettings,
    settings.ConsoleSettings,
]


def mistakes(group, environ):
    with pytest.raises(MisconfiguredError) as caught:
        settings.read(group, environ)
    return caught.value.mistakes


def declared(group):
    for member in dataclasses.fields(group):
        if dataclasses.is_dataclass(member.type):
            yield from declared(member.type)
        else:
            yield member


@pytest.mark.parametrize("group", GROUPS)
def test_every_process_starts_with_what_has_no_default_alone(group):
    read = settings.read(group, NEEDED)

    assert isinstance(read, group)


def test_the_original_s_defaults_live_on():
    arms = settings.read(settings.ArmsSettings, NEEDED)
    keeper = settings.read(settings.TableManagerSettings, NEEDED)

    assert (arms.redis.host, arms.redis.port, arms.log.level) == ("localhost", 6379, "WARNING")
    assert (arms.internal, arms.delay_limit_rate) == ((ip_network("192.168.0.0/16"),), 2.0)
    assert keeper.interval_seconds == 30.0


@pytest.mark.parametrize(
    ("environ", "append_bytes"),
    [
        ({}, 8_000_000),
        ({"BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:9050"}, 3_670_016),
        ({"MAX_APPEND_BYTES": "1000"}, 1000),
    ],
)
def test_an_append_is_as_large_as_its_bigquery_takes_unless_it_is_said(environ, append_bytes):
    assert settings.read(settings.R2bqSettings, NEEDED | environ).append_bytes == append_bytes


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_variable_is_one_line_that_names_it(name):
    environ = {key: value for key, value in NEEDED.items() if key != name}

    found = mistakes(settings.TableManagerSettings, environ)

    assert len(found) == 1
    assert found[0].startswith(f"{name} is not set: ")


def test_a_blank_variable_is_as_good_as_none():
    found = mistakes(settings.TableManagerSettings, NEEDED | {"PROJECT_ID": "  "})

    assert [line.split(":")[0] for line in found] == ["PROJECT_ID is not set"]


WRONG = {
    "REDIS_PD_SERVICE_PORT": ["x", "70000", "-1", "٣"],
    "REDIS_TLS": ["maybe"],
    "LOG_LEVEL": ["LOUD"],
    "LOG_FORMAT": ["xml"],
    "WORKERS": ["0", "two"],
    "TRUSTED_PROXIES": ["-1", "1.5"],
    "INTERNAL_IPS_V4": ["10.0.0.1/8", "office"],
    "RATE_PER_ADDRESS": ["-1", "nan", "inf", "many"],
    "RATE_BURST": ["0", "1.5"],
    "MAX_CONNECTIONS": ["0"],
    "REDIS_DELAY_LIMIT_RATE": ["0", "nan", "inf", "x"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_variable_is_one_line_with_its_name_value_and_meaning(name, value):
    found = mistakes(settings.ArmsSettings, NEEDED | {name: value})

    meaning = next(m.metadata["meaning"] for m in declared(settings.ArmsSettings) if m.metadata["name"] == name)
    assert len(found) == 1
    assert found[0].startswith(f"{name}={value!r}: must be ")
    assert found[0].endswith(f"({meaning})")


@pytest.mark.parametrize("value", ["my-dataset", "a.b", "_", "", "é", "a b", "a" * 1001])
def test_a_dataset_is_named_by_letters_digits_and_underscores(value):
    found = mistakes(settings.WarehouseSettings, {"PROJECT_ID": "p", "DATA_SET": value})

    assert len(found) == 1
    assert found[0].startswith("DATA_SET")


def test_all_mistakes_are_told_at_once():
    found = mistakes(settings.TableManagerSettings, {"INTERVAL_SECOND": "0", "DATA_SET": "a-b"})

    assert [line.partition("=")[0].partition(" ")[0] for line in found] == [
        "SITES_FILE",
        "PROJECT_ID",
        "DATA_SET",
        "INTERVAL_SECOND",
    ]


def test_a_port_may_come_as_kubernetes_sets_it():
    read = settings.read(settings.RedisSettings, {"REDIS_PD_SERVICE_PORT": "tcp://10.0.0.1:6380"})

    assert read.port == 6380


@pytest.mark.parametrize(("value", "meant"), [("1", True), ("Yes", True), ("on", True), ("0", False), ("FALSE", False)])
def test_a_switch_is_on_or_off(value, meant):
    read = settings.read(settings.RedisSettings, {"REDIS_TLS": value})

    assert read.tls is meant


def test_networks_are_separated_by_commas_or_blanks():
    parsed = settings.networks("10.0.0.0/8, 192.168.0.0/16 ::1/128")

    assert parsed == (ip_network("10.0.0.0/8"), ip_network("192.168.0.0/16"), ip_network("::1/128"))


def test_variables_of_the_original_without_meaning_are_named():
    named = settings.ignored({"MAX_CHUNK_NUM": "150", "PORT": "1", "BQ_CONNECT_RETRY": ""})

    assert named == ["MAX_CHUNK_NUM", "BQ_CONNECT_RETRY"]


@pytest.mark.parametrize("group", GROUPS)
def test_every_variable_is_declared_with_a_sentence(group):
    unsaid = [member.metadata["name"] for member in declared(group) if not member.metadata["meaning"]]

    assert unsaid == []


VARIABLES = sorted({member.metadata["name"] for group in GROUPS for member in declared(group)})


@given(st.dictionaries(st.sampled_from(VARIABLES), st.text()), st.sampled_from(GROUPS))
def test_any_environment_is_read_or_refused_in_lines_that_begin_with_a_variable(environ, group):
    try:
        told = [] if settings.read(group, environ) else ["nothing was read"]
    except MisconfiguredError as exc:
        told = exc.mistakes or ["refused without a word"]

    assert [line for line in told if line.partition("=")[0].partition(" ")[0] not in VARIABLES] == []
