"""Settings: every environment variable with its default, its parser and a sentence; read once, then frozen.

A process declares the group it needs as a frozen dataclass and calls `read`. A bad value stops the start with one
line that names the variable. This is the only module that knows the environment.
"""

import os
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Literal
from urllib.parse import urlsplit

from oceanus.errors import MisconfiguredError

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
APPEND_BYTES, LOCAL_APPEND_BYTES = 8_000_000, 3_670_016
Network = IPv4Network | IPv6Network

IGNORED = (
    "MAX_CHUNK_NUM",
    "SERIAL_INTERVAL_SECOND",
    "BRPOP_TIMEOUT",
    "CONNECTION_RETRY",
    "WRITING_RETRY",
    "RETRY_INTERVAL_BASE",
    "MAIN_PROCESS_TIMEOUT",
    "BQ_CONNECT_RETRY",
    "BQ_CONNECT_RETRY_BASE",
)


def text(value: str) -> str:
    """Take the value as it is."""
    return value


def required(value: str) -> str:
    """Take any value but the empty one."""
    if not value:
        raise ValueError("must be set")
    return value


def natural(value: str) -> int:
    """Take a whole number of at least 0."""
    if not value.isascii() or not value.isdigit():
        raise ValueError("must be a whole number of at least 0")
    return int(value)


def positive(value: str) -> int:
    """Take a whole number of at least 1."""
    if natural(value) == 0:
        raise ValueError("must be a whole number of at least 1")
    return int(value)


def port(value: str) -> int:
    """Take a port number, or an address that ends with one: Kubernetes may set `tcp://10.0.0.1:6379`."""
    number = natural(value.rpartition(":")[2])
    if number > 65535:
        raise ValueError("must be a port number of at most 65535")
    return number


def number(value: str) -> float:
    """Take a number above 0."""
    try:
        parsed = float(value)
    except ValueError:
        parsed = 0.0
    if not 0 < parsed < 1e9:
        raise ValueError("must be a number above 0")
    return parsed


def rate(value: str) -> float:
    """Take a number above 0, or 0 for no limit."""
    return 0.0 if value == "0" else number(value)


def switch(value: str) -> bool:
    """Take 1/0, true/false, yes/no, on/off."""
    if value.lower() in ("1", "true", "yes", "on"):
        return True
    if value.lower() in ("", "0", "false", "no", "off"):
        return False
    raise ValueError("must be 1 or 0")


def token(value: str) -> str:
    """Take a token of at least 16 characters, or nothing."""
    if value and len(value) < 16:
        raise ValueError("must have at least 16 characters: python -c 'import secrets; print(secrets.token_urlsafe())'")
    return value


def networks(value: str) -> tuple[Network, ...]:
    """Take networks in CIDR form, separated by commas or blanks."""
    try:
        return tuple(ip_network(part) for part in value.replace(",", " ").split())
    except ValueError as exc:
        raise ValueError(f"must be networks such as 192.168.0.0/16, separated by commas: {exc}") from exc


def level(value: str) -> str:
    """Take a log level of the standard library."""
    if value.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        raise ValueError("must be DEBUG, INFO, WARNING, ERROR or CRITICAL")
    return value.upper()


def log_format(value: str) -> str:
    """Take `text` or `json`."""
    if value not in ("text", "json"):
        raise ValueError("must be text or json")
    return value


def smtp_tls(value: str) -> Literal["starttls", "tls", "none"]:
    """Take `starttls`, `tls` or `none`."""
    match value:
        case "starttls" | "tls" | "none":
            return value
    raise ValueError("must be starttls, tls or none")


def web_address(value: str) -> str:
    """Take an address such as http://10.0.0.4:8080, or nothing."""
    try:
        parts = urlsplit(value)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    if value and (not is_one or not value.isprintable() or " " in value):
        raise ValueError("must be an address such as http://10.0.0.4:8080")
    return value


def certificates(value: str) -> str:
    """Take the path of a file with CA certificates (PEM), or nothing."""
    try:
        ssl.create_default_context(cafile=value or None)
    except OSError as exc:
        raise ValueError(f"must be a file of CA certificates (PEM): {exc.strerror}") from exc
    return value


@dataclass(frozen=True, slots=True)
class Shard:
    """A Redis beside the one of REDIS_PD_SERVICE_HOST, and a site that lives there; `site` is empty where none does."""

    site: str
    host: str
    port: int

    @property
    def address(self) -> str:
        """Return where it is, as `host:port`."""
        return written(self.host, self.port)


def written(host: str, number: int) -> str:
    """Return an address as `host:port`, an IPv6 host in brackets."""
    return f"[{host}]:{number}" if ":" in host else f"{host}:{number}"


def address(value: str) -> tuple[str, int]:
    """Take `host:port`, an IPv6 host in brackets."""
    host, _, place = value.rpartition(":")
    if not host or "/" in host or not natural(place):
        raise ValueError(f"must be host:port, not {value!r}")
    return host.removeprefix("[").removesuffix("]"), port(place)


def shards(value: str) -> tuple[Shard, ...]:
    """Take `site=host:port`, or `host:port` of a Redis where no site lives any more, separated by commas or blanks."""
    found = []
    for part in value.replace(",", " ").split():
        site, is_home, place = part.rpartition("=")
        wrong = f"must be site=host:port, or host:port, separated by commas; not {part!r}"
        if is_home and not site:
            raise ValueError(wrong)
        try:
            found.append(Shard(site, *address(place)))
        except ValueError:
            raise ValueError(wrong) from None
    sites = [one.site for one in found if one.site]
    twice = sorted({site for site in sites if sites.count(site) > 1})
    if twice:
        raise ValueError(f"a site lives in one Redis; named more than once: {', '.join(twice)}")
    return tuple(found)


def hosts(value: str) -> frozenset[str]:
    """Take names of hosts, separated by commas or blanks."""
    return frozenset(value.lower().replace(",", " ").split())


def memory(value: str) -> str:
    """Take a size as redis.conf writes it: `512mb`, `2gb`, bytes; or nothing."""
    if value and not re.fullmatch(r"[1-9]\d*([kmg]b?)?", value.lower()):
        raise ValueError("must be a size such as 512mb or 2gb")
    return value.lower()


def dataset(value: str) -> str:
    """Take a BigQuery dataset name: letters, digits, underscores; up to 1,000, of which `_failed` takes seven."""
    if not value.replace("_", "").isalnum() or not value.isascii() or len(value) > 1000:
        raise ValueError("must be set to a dataset name of letters, digits and underscores")
    return value


def prefix(value: str) -> str:
    """Take what may stand before a table name: letters, digits, underscores, or nothing."""
    if value and (not value.replace("_", "a").isalnum() or not value.isascii()):
        raise ValueError("must hold letters, digits and underscores only")
    return value


def var(name: str, default: str | None, parse: Callable[[str], Any], meaning: str) -> Any:
    """Declare a variable; a default of None means that it must be set."""
    return field(metadata={"name": name, "default": default, "parse": parse, "meaning": meaning})


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """How a process speaks."""

    level: str = var("LOG_LEVEL", "WARNING", level, "least level that is logged")
    format: str = var("LOG_FORMAT", "text", log_format, "`text` for people, `json` for Cloud Logging")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSettings:
    """Where Redis is, and who we are there (docs/redis.md)."""

    host: str = var("REDIS_PD_SERVICE_HOST", "localhost", required, "host of Redis")
    port: int = var("REDIS_PD_SERVICE_PORT", "6379", port, "port of Redis")
    user: str = var("REDIS_USER", "", text, "our name at Redis; empty: its user `default`")
    password: str = var("REDIS_PASSWORD", "", text, "password of Redis, if it asks for one")
    tls: bool = var("REDIS_TLS", "0", switch, "1: speak TLS to Redis")
    ca: str = var("REDIS_CA", "", certificates, "file of the CA that signed Redis' certificate; empty: the system's")
    shards: tuple[Shard, ...] = var(
        "REDIS_SHARDS", "", shards, "site=host:port: sites that live in another Redis; host:port: one that no site has"
    )

    @property
    def address(self) -> str:
        """Return where it is, as `host:port`."""
        return written(self.host, self.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class WarehouseSettings:
    """Where BigQuery is, and what is ours in it."""

    project: str = var("PROJECT_ID", None, required, "Google Cloud project")
    dataset: str = var("DATA_SET", None, dataset, "dataset of the sites' tables; failed records go to `<it>_failed`")
    table_prefix: str = var("BQ_TABLE_PREFIX", "", prefix, "put before each site's table name")
    location: str = var("BQ_LOCATION", "US", required, "where a dataset is created")
    emulator: str = var("BIGQUERY_EMULATOR_HOST", "", text, "http://host:port of a local BigQuery")
    storage_emulator: str = var("BIGQUERY_STORAGE_EMULATOR_HOST", "", text, "host:port of its Storage API (gRPC)")
    credentials: str = var("GOOGLE_APPLICATION_CREDENTIALS", "", text, "key file; empty: what the machine provides")


@dataclass(frozen=True, slots=True, kw_only=True)
class SitesSettings:
    """Where sites.yaml is."""

    file: str = var("SITES_FILE", None, required, "path of sites.yaml")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmsSettings:
    """The collector."""

    log: LogSettings
    redis: RedisSettings
    sites: SitesSettings
    host: str = var("LISTEN_ADDRESS", "0.0.0.0", required, "address to listen on")  # noqa: S104 - a container's only way out
    port: int = var("PORT", "8080", port, "port to listen on")
    listen_fd: int = var(
        "LISTEN_FD", "0", natural, "number of a listening socket that arms is started with; 0: it opens its own"
    )
    workers: int = var("WORKERS", "1", positive, "gunicorn worker processes")
    trusted_proxies: int = var("TRUSTED_PROXIES", "0", natural, "hops in front whose X-Forwarded-For is believed")
    trust_token: str = var("TRUST_TOKEN", "", text, "what a trusted caller sends as `Authorization: Bearer`")
    internal: tuple[Network, ...] = var(
        "INTERNAL_IPS_V4", "192.168.0.0/16", networks, "who may see debug, /metrics and /rstatus details (and loopback)"
    )
    public_host: str = var("OCEANUS_ARMS_HOST", "", text, "replaces {%oceanus_host%} in /static files")
    delay_limit_rate: float = var("REDIS_DELAY_LIMIT_RATE", "2", number, "batches queued before /rstatus says 503")
    push_seconds: float = var(
        "REDIS_PUSH_SECONDS", "0.25", number, "how long a push waits for Redis before the journal (without one: 2 s)"
    )
    journal_dir: str = var(
        "JOURNAL_DIR", "", text, "durable folder for beacons that Redis cannot take; empty: 503 instead"
    )
    journal_max_bytes: int = var("JOURNAL_MAX_BYTES", "1073741824", positive, "most that the journal's folder may hold")
    failed_per_minute: int = var("FAILED_PER_MINUTE", "100", positive, "failed beacons kept whole, a site and minute")
    gaze_connections: int = var("GAZE_CONNECTIONS", "1000", natural, "connections that /gaze may hold open, per worker")
    max_connections: int = var("MAX_CONNECTIONS", "10000", positive, "open at once, per worker; then the idlest goes")
    rate_per_address: float = var(
        "RATE_PER_ADDRESS", "0", rate, "beacons a second that an address may send for long, per worker; 0: any number"
    )
    rate_burst: int = var("RATE_BURST", "100", positive, "beacons that an address may send at once beside that")
    grace_seconds: int = var("GRACE_SECONDS", "25", positive, "time to finish after SIGTERM")


@dataclass(frozen=True, slots=True, kw_only=True)
class R2bqSettings:
    """The drain."""

    log: LogSettings
    redis: RedisSettings
    sites: SitesSettings
    warehouse: WarehouseSettings
    internal: tuple[Network, ...] = var(
        "INTERNAL_IPS_V4", "192.168.0.0/16", networks, "who may see /metrics and /hc (and loopback)"
    )
    port: int = var("PORT", "8081", port, "port of /metrics and /hc")
    max_append_bytes: int = var(
        "MAX_APPEND_BYTES", "0", natural, "largest append; 0: 8 MB, or the 3.5 MiB that a local BigQuery takes"
    )
    max_open_appends: int = var(
        "MAX_OPEN_APPENDS", "6", positive, "sites written at the same time; each takes ten times its append as memory"
    )
    verify: bool = var(
        "VERIFY", "0", switch, "1: look every record up before it is written, after an older Redis was restored"
    )
    grace_seconds: int = var("GRACE_SECONDS", "25", positive, "time to finish after SIGTERM")

    @property
    def append_bytes(self) -> int:
        """Return how many bytes of records go into one append at most.

        BigQuery takes requests of 10 MB and more, the local one messages of 4 MiB: cloud.google.com/bigquery/quotas.
        """
        return self.max_append_bytes or (LOCAL_APPEND_BYTES if self.warehouse.emulator else APPEND_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableManagerSettings:
    """The keeper of tables, which audits too."""

    log: LogSettings
    redis: RedisSettings
    sites: SitesSettings
    warehouse: WarehouseSettings
    internal: tuple[Network, ...] = var(
        "INTERNAL_IPS_V4", "192.168.0.0/16", networks, "who may see /metrics and /hc (and loopback)"
    )
    port: int = var("PORT", "8082", port, "port of /metrics and /hc")
    interval_seconds: float = var("INTERVAL_SECOND", "30", number, "seconds between two looks")
    audit_seconds: int = var("AUDIT_SECONDS", "3600", natural, "seconds between two audits for /metrics; 0: never")


@dataclass(frozen=True, slots=True, kw_only=True)
class MailSettings:
    """What takes our mail."""

    host: str = var("SMTP_HOST", "", text, "host of the SMTP server; needed where a destination is mail")
    port: int = var("SMTP_PORT", "587", port, "port of the SMTP server")
    user: str = var("SMTP_USER", "", text, "who logs in there; empty: nobody")
    password: str = var("SMTP_PASSWORD", "", text, "with which password")
    tls: Literal["starttls", "tls", "none"] = var(
        "SMTP_TLS", "starttls", smtp_tls, "starttls, tls (from the first byte) or none"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RevelationSettings:
    """What tells people."""

    log: LogSettings
    redis: RedisSettings
    sites: SitesSettings
    warehouse: WarehouseSettings
    mail: MailSettings
    internal: tuple[Network, ...] = var(
        "INTERNAL_IPS_V4", "192.168.0.0/16", networks, "who may see /metrics and /hc (and loopback)"
    )
    port: int = var("PORT", "8083", port, "port of /metrics and /hc")
    alerts_file: str = var("ALERTS_FILE", None, required, "path of alerts.yaml")
    spreadsheet: str = var("SPREAD_SHEET_KEY", "", text, "the spreadsheet of destinations that name none")
    history_rows: int = var("HISTORY_LIMIT", "150", positive, "rows of a history that names no number")
    history_seconds: int = var("DOQREQ_DELAY_SECONDS", "90", natural, "delay of a history that names none")
    history_max_bytes: int = var("HISTORY_MAX_BYTES", "1000000000", positive, "most that one history may read")
    slack_url: str = var("SLACK_API_URL", "https://slack.com/api/", required, "Slack's Web API")
    sheets_url: str = var("SHEETS_API_URL", "https://sheets.googleapis.com", required, "Google's Sheets API")
    webhook_hosts: frozenset[str] = var(
        "WEBHOOK_HOSTS", "", hosts, "hosts that web hooks may go to (.example.com: those below); empty: any public one"
    )
    webhook_private: bool = var("WEBHOOK_PRIVATE", "0", switch, "1: web hooks may go to private addresses, too")
    grace_seconds: int = var("GRACE_SECONDS", "25", positive, "time to finish after SIGTERM")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleSettings:
    """The live page."""

    log: LogSettings
    host: str = var("CONSOLE_ADDRESS", "127.0.0.1", required, "address the console listens on; any but loopback: token")
    port: int = var("CONSOLE_PORT", "8084", port, "port of the console; `oceanus up` takes a free one")
    token: str = var("CONSOLE_TOKEN", "", token, "what the console asks for; empty: nothing, and it stays on loopback")
    hosts: frozenset[str] = var("CONSOLE_HOSTS", "", hosts, "names under which a proxy serves the console")
    arms_url: str = var(
        "CONSOLE_ARMS_URL", "", web_address, "http://host:port of arms, for test beacons and its journal"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class UpSettings:
    """`oceanus up` and the commands that look for what it runs."""

    console: bool = var("CONSOLE", "1", switch, "0: run no console")
    console_port: int = var("CONSOLE_PORT", "0", port, "port of the console; 0: a free one")
    port: int = var(
        "PORT", "8080", port, "port of arms; on one machine systemd's socket unit fixes 8080 (docs/one-machine.md)"
    )
    data_dir: str = var("DATA_DIR", ".oceanus", required, "where everything that must last is kept")
    targets_file: str = var(
        "TARGETS_FILE", "", text, "where /metrics are, for Prometheus' file_sd; empty: prometheus.json in DATA_DIR"
    )
    sites_file: str = var("SITES_FILE", "", text, "path of sites.yaml; empty: the sample")
    alerts_file: str = var("ALERTS_FILE", "", text, "path of alerts.yaml; empty: the sample, if the sites are")
    project: str = var("PROJECT_ID", "", text, "set: run against this project's BigQuery")
    dataset: str = var("DATA_SET", "oceanus", dataset, "dataset of the sites' tables")
    emulator: str = var("BIGQUERY_EMULATOR_HOST", "", text, "a local BigQuery that runs already")
    redis_host: str = var("REDIS_PD_SERVICE_HOST", "", text, "a Redis that runs already")
    redis_maxmemory: str = var("REDIS_MAXMEMORY", "", memory, "ceiling of our own Redis; empty: that of redis.conf")
    trust_token: str = var("TRUST_TOKEN", "", text, "empty: one is minted into DATA_DIR")
    grace_seconds: int = var("GRACE_SECONDS", "25", positive, "time to finish after SIGTERM")
    listen_fds: int = var("LISTEN_FDS", "0", natural, "set by systemd: how many sockets it hands over")
    listen_pid: int = var("LISTEN_PID", "0", natural, "set by systemd: to which process")
    notify_socket: str = var("NOTIFY_SOCKET", "", text, "set by systemd: where it hears that all is up")


def read[S](group: type[S], environ: Mapping[str, str] | None = None) -> S:
    """Return `group` read from `environ` (the process's own by default).

    Raises MisconfiguredError with one line for every variable that is missing or wrong.
    """
    mistakes: list[str] = []
    settings = _read(group, os.environ if environ is None else environ, mistakes)
    if mistakes or settings is None:
        raise MisconfiguredError(mistakes)
    return settings


def ignored(environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the variables of the original that are set and mean nothing any more."""
    present = os.environ if environ is None else environ
    return [name for name in IGNORED if name in present]


def environment() -> dict[str, str]:
    """Return a copy of the environment, to hand to a child process."""
    return dict(os.environ)


def multiprocess_folder() -> str | None:
    """Return the folder in which prometheus_client shares the metrics of several workers, if there is one."""
    return os.environ.get(MULTIPROCESS)


def _read[S](group: type[S], environ: Mapping[str, str], mistakes: list[str]) -> S | None:
    before = len(mistakes)
    values = {member.name: _value(member, environ, mistakes) for member in fields(group)}  # type: ignore[arg-type]
    return group(**values) if len(mistakes) == before else None


def _value(member: "Field[Any]", environ: Mapping[str, str], mistakes: list[str]) -> object:
    if isinstance(member.type, type) and is_dataclass(member.type):
        return _read(member.type, environ, mistakes)
    if "name" not in member.metadata:
        return None if member.default is MISSING else member.default
    name, default = member.metadata["name"], member.metadata["default"]
    raw = environ.get(name, "").strip() or default
    if raw is None:
        mistakes.append(f"{name} is not set: {member.metadata['meaning']}")
        return None
    try:
        return member.metadata["parse"](raw)
    except ValueError as exc:
        mistakes.append(f"{name}={raw!r}: {exc} ({member.metadata['meaning']})")
        return None
