"""The programs of `oceanus up`: where each listens, and what environment it gets. Pure."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from management.supervisor import Program
from oceanus.settings import UpSettings
from oceanus.sites import SAMPLE

LOOPBACK = "127.0.0.1"
_EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - compared, not listened on
LOCAL_PROJECT = "local"
# What systemd means for `up` itself: a child that saw it would take it for its own (gunicorn knows all of these).
_OF_SYSTEMD = ("LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "NOTIFY_SOCKET")
TARGETS = "prometheus.json"
SAMPLE_ALERTS = Path(str(files("revelation"))) / "sample_alerts.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Everything that is fixed before the first program starts."""

    data_dir: Path
    targets_file: Path
    sites_file: str
    alerts_file: str
    dataset: str
    project: str
    host: str
    ports: Mapping[str, int]
    own_redis: bool
    redis_maxmemory: str
    own_bigquery: bool
    emulator: str

    @property
    def is_google(self) -> bool:
        """Say whether rows go to Google's BigQuery."""
        return not self.own_bigquery and not self.emulator

    @property
    def url(self) -> str:
        """Return where beacons are taken."""
        host = LOOPBACK if self.host in _EVERY_ADDRESS else self.host
        return _url(host, self.ports["arms"])


def with_defaults(environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` with what `oceanus up` sets by itself where it says nothing."""
    set_already = {name: value for name, value in environ.items() if value.strip()}
    defaults = {
        "PROJECT_ID": LOCAL_PROJECT,
        "DATA_SET": "oceanus",
        "SITES_FILE": str(SAMPLE),
        "LOG_LEVEL": "INFO",
        "LISTEN_ADDRESS": LOOPBACK,  # `up` is for one machine: opening it to the network is a decision
    }
    return defaults | set_already


def layout(settings: UpSettings, host: str, free_port: Callable[[], int]) -> Layout:
    """Return what `up` runs and where: arms listens on `host`, and every port but its own is a free one."""
    data_dir = Path(settings.data_dir).absolute()
    inner = ("redis", "bigquery", "bigquery_storage", "r2bq", "table_manager", "revelation")
    return Layout(
        data_dir=data_dir,
        targets_file=Path(settings.targets_file).absolute() if settings.targets_file else data_dir / TARGETS,
        sites_file=str(Path(settings.sites_file).absolute()) if settings.sites_file else str(SAMPLE),
        alerts_file=alerts_file(settings),
        dataset=settings.dataset,
        project=settings.project or LOCAL_PROJECT,
        host=host,
        ports={"arms": settings.port or free_port()}
        | {name: free_port() for name in inner}
        | {"console": settings.console_port or free_port()},
        own_redis=not settings.redis_host,
        redis_maxmemory=settings.redis_maxmemory,
        own_bigquery=not settings.project and not settings.emulator,
        emulator=settings.emulator,
    )


def alerts_file(settings: UpSettings) -> str:
    """Return the alerts.yaml that counts: the named one, else the sample beside the sample sites.yaml, else none."""
    if settings.alerts_file:
        return str(Path(settings.alerts_file).absolute())
    is_sample = not settings.sites_file or Path(settings.sites_file).absolute() == SAMPLE.absolute()
    return str(SAMPLE_ALERTS) if is_sample else ""


def environment(plan: Layout, environ: Mapping[str, str], name: str, token: str) -> dict[str, str]:
    """Return the environment of one of our processes."""
    own = {
        "SITES_FILE": plan.sites_file,
        "ALERTS_FILE": plan.alerts_file,
        "DATA_SET": plan.dataset,
        "PROJECT_ID": plan.project,
        "LISTEN_ADDRESS": plan.host,
        "PORT": str(plan.ports[name]),
        "JOURNAL_DIR": str(plan.data_dir / "journal"),
        "TRUST_TOKEN": token,
        "PYTHONUNBUFFERED": "1",
    }
    given = {name: value for name, value in with_defaults(environ).items() if name not in _OF_SYSTEMD}
    return given | own | _redis(plan) | _bigquery(plan)


def program(plan: Layout, environ: Mapping[str, str], name: str, token: str, *arguments: str) -> Program:
    """Return one of our processes as a program."""
    words = [sys.executable, "-m", name, *arguments]
    return Program(name=name, words=words, environ=environment(plan, environ, name, token))


def console(plan: Layout, environ: Mapping[str, str], token: str) -> Program:
    """Return the live page as a program; where CONSOLE_ADDRESS says nothing else, it listens on loopback alone."""
    own = {"CONSOLE_PORT": str(plan.ports["console"]), "CONSOLE_ARMS_URL": plan.url}
    words = [sys.executable, "-m", "management.console"]
    return Program(name="console", words=words, environ=environment(plan, environ, "console", token) | own)


def console_url(plan: Layout, environ: Mapping[str, str]) -> str:
    """Return where a browser on this machine finds the live page."""
    host = environ.get("CONSOLE_ADDRESS", "").strip() or LOOPBACK
    return _url(LOOPBACK if host in _EVERY_ADDRESS else host, plan.ports["console"])


def _url(host: str, number: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{number}/"


def _redis(plan: Layout) -> dict[str, str]:
    """Return where Redis is; ours listens on loopback alone and asks for no password."""
    if not plan.own_redis:
        return {}
    port = str(plan.ports["redis"])
    return {
        "REDIS_PD_SERVICE_HOST": LOOPBACK,
        "REDIS_PD_SERVICE_PORT": port,
        "REDIS_USER": "",
        "REDIS_PASSWORD": "",
        "REDIS_TLS": "0",
        "REDIS_CA": "",
        "REDIS_SHARDS": "",
    }


def _bigquery(plan: Layout) -> dict[str, str]:
    if not plan.own_bigquery:
        return {}
    return {
        "BIGQUERY_EMULATOR_HOST": f"http://{LOOPBACK}:{plan.ports['bigquery']}",
        "BIGQUERY_STORAGE_EMULATOR_HOST": f"{LOOPBACK}:{plan.ports['bigquery_storage']}",
    }
