"""The house rules: who may import what, what is named alike, and that nothing happens at import."""

import ast
import configparser
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
PROCESSES = ("arms", "r2bq", "table_manager", "revelation")
OURS = ("oceanus", *PROCESSES, "management", "redis_pd")
# Each outside name has one home.
HOMES = {
    "redis": ("oceanus/spool.py",),
    "hiredis": ("oceanus/spool.py",),
    "dramatiq": ("revelation/tasks.py",),
    "google": ("oceanus/warehouse/", "revelation/sheets.py", "management/bench/null.py"),
    "grpc": ("oceanus/warehouse/", "management/bench/null.py"),
    "yaml": ("oceanus/declared.py",),
    "falcon": ("arms/", "management/bench/bare.py", "management/console/app.py"),
    "gunicorn": ("arms/server.py", "arms/connection.py"),
    "uvloop": ("arms/server.py",),
    "psutil": ("management/leftovers.py", "management/bench/rig.py"),
    "re2": ("revelation/conditions.py",),
    "jinja2": ("revelation/",),
    "slack_sdk": ("revelation/slack.py",),
    "smtplib": ("revelation/mail.py",),
    "httpcore": ("revelation/calls.py",),
    "pebble": ("revelation/rendering.py",),
    "gspread": ("revelation/sheets.py",),
}
# What `management` may import of the processes: pure modules alone (and in bench, arms' application).
PURE = (
    "arms/bodies.py",
    "arms/caps.py",
    "arms/checks.py",
    "arms/devices.py",
    "arms/entries.py",
    "arms/fingerprints.py",
    "arms/intake.py",
    "arms/kept.py",
    "arms/limits.py",
    "arms/parameters.py",
    "arms/plain.py",
    "arms/patience.py",
    "arms/privacy.py",
    "arms/quota.py",
    "arms/rates.py",
    "management/accesslog.py",
    "management/again.py",
    "management/csp.py",
    "management/console/door.py",
    "management/console/shown.py",
    "management/console/trial.py",
    "management/doctor.py",
    "management/failed.py",
    "management/original.py",
    "management/k8s.py",
    "management/orphans.py",
    "management/snippet.py",
    "management/verify.py",
    "oceanus/audit.py",
    "oceanus/jsontext.py",
    "oceanus/ledger.py",
    "oceanus/pushes.py",
    "oceanus/records.py",
    "oceanus/rules.py",
    "oceanus/schema.py",
    "oceanus/scripts.py",
    "oceanus/tables.py",
    "oceanus/visible.py",
    "r2bq/batches.py",
    "r2bq/refusals.py",
    "r2bq/source.py",
    "r2bq/troubles.py",
    "revelation/blocks.py",
    "revelation/columns.py",
    "revelation/conditions.py",
    "revelation/deciding.py",
    "revelation/digests.py",
    "revelation/drafts.py",
    "revelation/harmless.py",
    "revelation/kinds.py",
    "revelation/letters.py",
    "revelation/names.py",
    "revelation/rules.py",
    "revelation/seen.py",
    "revelation/telling.py",
    "revelation/visible.py",
    "table_manager/plan.py",
)
IMPURE = {
    "asyncio", "socket", "subprocess", "threading", "requests", "httpx", "logging", "prometheus_client", "pathlib",
    "oceanus.spool", "oceanus.warehouse", "oceanus.worker", "oceanus.settings", *HOMES,
} - {"re2", "jinja2"}  # fmt: skip # these two compute and do no I/O


def modules() -> list[str]:
    """Return every module of ours, as a path from the top."""
    return sorted(str(file.relative_to(TOP)) for name in OURS for file in (TOP / name).rglob("*.py"))


def imported(module: str) -> Iterator[str]:
    """Yield every name that a module imports, also within functions."""
    for node in ast.walk(ast.parse((TOP / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: write imports in full"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("module", modules())
def test_a_process_imports_itself_and_oceanus_and_nobody_imports_tests(module: str) -> None:
    own = module.partition("/")[0]
    roots = {name.partition(".")[0] for name in imported(module)}
    allowed = {"oceanus", own, "redis_pd"} | (set(PROCESSES) if own == "management" else set())

    assert "tests" not in roots
    assert roots & set(OURS) <= allowed
    if own == "oceanus":
        assert not roots & (set(OURS) - {"oceanus"})


@pytest.mark.parametrize("module", [module for module in modules() if module.startswith("management/")])
def test_management_imports_pure_modules_of_the_processes_alone(module: str) -> None:
    pure = {name.removesuffix(".py").replace("/", ".") for name in PURE}
    if module.startswith("management/bench/"):
        pure |= {"arms.__main__", "arms.answers"}  # its application
    foreign = {name for name in imported(module) if name.partition(".")[0] in PROCESSES and name.count(".") >= 1}

    assert {".".join(name.split(".")[:2]) for name in foreign} <= pure


@pytest.mark.parametrize("module", modules())
def test_each_outside_name_has_one_home(module: str) -> None:
    for name in imported(module):
        homes = HOMES.get(name.partition(".")[0])
        assert homes is None or module.startswith(homes), f"{module} imports {name}, whose home is {homes}"


@pytest.mark.parametrize("module", modules())
def test_only_settings_know_the_environment(module: str) -> None:
    text = (TOP / module).read_text(encoding="utf-8")

    assert module == "oceanus/settings.py" or ("os.environ" not in text and "getenv" not in text)


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_import_no_client_and_do_no_io(module: str) -> None:
    assert not {name for name in imported(module) if any(name == bad or name.startswith(f"{bad}.") for bad in IMPURE)}


@pytest.mark.parametrize("module", modules())
def test_no_module_is_named_for_nothing(module: str) -> None:
    assert Path(module).stem not in {"utils", "util", "helpers", "common", "base", "manager", "misc"}


def test_every_module_can_be_imported_and_nothing_happens() -> None:
    names = [name.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for name in modules()]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(TOP)}
    program = f"import threading\nfor name in {names!r}: __import__(name)\nassert threading.active_count() == 1"

    run = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)

    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@pytest.mark.parametrize("process", [name for name in PROCESSES if (TOP / name).exists()])
def test_a_process_is_named_alike_everywhere(process: str) -> None:
    config = configparser.ConfigParser()
    config.read(TOP / "setup.cfg", encoding="utf-8")

    assert (TOP / process / "__main__.py").exists()
    assert process in config["options"]["packages"].split()
    assert process in config["options.extras_require"]
    assert (TOP / "requirements" / f"{process}.txt").exists()


def test_every_package_is_listed() -> None:
    config = configparser.ConfigParser()
    config.read(TOP / "setup.cfg", encoding="utf-8")
    folders = {
        str(file.parent.relative_to(TOP)).replace("/", ".")
        for name in OURS
        for file in (TOP / name).rglob("__init__.py")
    }

    assert set(config["options"]["packages"].split()) == folders


def test_the_collector_needs_no_google_client() -> None:
    locked = (TOP / "requirements" / "arms.txt").read_text(encoding="utf-8")

    assert "google" not in locked
    assert "grpc" not in locked


def test_no_committed_file_names_a_machine_or_a_registry() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=TOP, capture_output=True, text=True, check=True).stdout.split()
    words = ("/" + "work/", "/" + "root/", "files.pythonhosted" + ".org", "pypi" + ".org/simple")

    for name in listed:
        text = (TOP / name).read_bytes().decode(errors="replace") if (TOP / name).is_file() else ""
        assert not [word for word in words if word in text], name
