"""The units of systemd: what they promise fits what `oceanus up` does."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

from management.up import MARGIN_SECONDS, STOP_ORDER
from oceanus.settings import ArmsSettings, R2bqSettings, UpSettings, read
from tests.conftest import absent

MACHINE = Path(__file__).parents[2] / "management" / "machine"
# What is left of a child's session gets so long twice: to end, and to be ended.
LEFTOVER_SECONDS = 6.0


def unit(name: str) -> dict[str, dict[str, list[str]]]:
    """Return a unit's sections, each name with all its values."""
    sections: dict[str, dict[str, list[str]]] = {}
    for line in (MACHINE / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        elif "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            section.setdefault(key, []).append(value)
    return sections


def settings() -> dict[str, str]:
    """Return oceanus.env, as systemd would read it."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string("[env]\n" + (MACHINE / "oceanus.env").read_text(encoding="utf-8"))
    return dict(parser["env"])


@pytest.fixture
def analyze() -> str:
    """Return systemd-analyze."""
    program = shutil.which("systemd-analyze")
    if program is None:
        absent("systemd-analyze")
    return str(program)


def test_systemd_understands_the_units(analyze: str, tmp_path: Path) -> None:
    for name in ("oceanus.service", "oceanus.socket"):
        text = (MACHINE / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace("/opt/oceanus/current/bin/oceanus", "/bin/true"))

    words = [analyze, "verify", "--man=no", str(tmp_path / "oceanus.service"), str(tmp_path / "oceanus.socket")]
    run = subprocess.run(words, capture_output=True, text=True, check=False)

    assert (run.returncode, [line for line in run.stderr.splitlines() if "oceanus" in line]) == (0, [])


def test_the_service_may_do_little(analyze: str) -> None:
    words = [analyze, "security", "--offline=true", "--threshold=20", str(MACHINE / "oceanus.service")]

    run = subprocess.run(words, capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stdout


def test_systemd_waits_longer_than_up_may_take_to_stop() -> None:
    [waits] = unit("oceanus.service")["Service"]["TimeoutStopSec"]
    grace = read(UpSettings, settings()).grace_seconds
    children = ("arms", *STOP_ORDER)

    longest = len(children) * (grace + MARGIN_SECONDS + LEFTOVER_SECONDS) + grace  # the last: what waits is written

    assert longest <= int(waits)


def test_only_up_is_told_to_stop_and_is_always_started_again() -> None:
    service = unit("oceanus.service")

    assert service["Service"]["KillMode"] == ["mixed"]
    assert service["Service"]["Restart"] == ["always"]
    assert service["Unit"]["StartLimitIntervalSec"] == ["0"]
    assert unit("oceanus.socket")["Socket"]["TriggerLimitIntervalSec"] == ["0"]


def test_it_writes_to_its_own_disk_alone() -> None:
    service = unit("oceanus.service")

    assert service["Service"]["ProtectSystem"] == ["strict"]
    assert (service["Service"]["StateDirectory"], service["Service"]["StateDirectoryMode"]) == (["oceanus"], ["0700"])
    assert service["Service"]["Environment"] == ["DATA_DIR=/var/lib/oceanus/data"]
    assert (service["Service"]["RuntimeDirectory"], service["Service"]["RuntimeDirectoryMode"]) == (
        ["oceanus"],
        ["0755"],
    )
    assert service["Unit"]["RequiresMountsFor"] == ["/var/lib/oceanus"]
    assert "ReadWritePaths" not in service["Service"]


def test_the_settings_are_settings_and_nothing_is_secret_in_them() -> None:
    given = settings() | {"DATA_DIR": "/var/lib/oceanus/data"}

    assert read(ArmsSettings, given).trusted_proxies == 1
    assert read(R2bqSettings, given).warehouse.emulator == ""
    assert read(UpSettings, given).redis_maxmemory == "1gb"
    assert not [name for name in given if any(word in name for word in ("TOKEN", "PASSWORD", "SECRET", "KEY"))]


def test_the_proxies_find_arms_where_the_socket_is() -> None:
    [address] = unit("oceanus.socket")["Socket"]["ListenStream"]

    assert f"proxy_pass http://{address};" in (MACHINE / "nginx.conf").read_text(encoding="utf-8")
    assert f"reverse_proxy {address} {{" in (MACHINE / "Caddyfile").read_text(encoding="utf-8")
