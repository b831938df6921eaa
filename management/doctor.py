"""The doctor's judgement: what was found at a target, what is wrong with it, and what helps. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from management.status import SiteStatus, total
from management.wording import age, counted
from oceanus.sites import Site
from table_manager.plan import CreateDataset, CreateTable, Plan

OK, WARNING, WRONG = "ok", "warning", "wrong"
PROCESSES = ("arms", "r2bq", "table_manager", "revelation")
CLOCK_SECONDS = 1.0
BACKLOG_SECONDS = 300.0  # a resend waits for 60 s by itself (r2bq.resends)
MEBI = 1 << 20
_JOBS, _DATA = "bigquery.jobs.create", "bigquery.tables.getData"
# What each process calls, as in the roles of k8s/iam; that a dataset can be seen is asked for at once.
PERMISSIONS: dict[str, tuple[str, ...]] = {
    "arms": (),
    "r2bq": (_JOBS, "bigquery.tables.get", _DATA, "bigquery.tables.updateData"),
    "table_manager": (
        _JOBS,
        "bigquery.datasets.create",
        "bigquery.tables.create",
        "bigquery.tables.get",
        _DATA,
        "bigquery.tables.update",
        "bigquery.tables.updateData",
    ),
    "revelation": (_JOBS, _DATA),
}
DAILY = ("bigquery.tables.create", "bigquery.tables.update")  # r2bq makes the tables of days that nobody made
PROJECT_ONLY = (_JOBS, "bigquery.datasets.create")
# cloud.google.com/bigquery/quotas#write-api-limits: what a project has unless Google gave it more.
CONNECTIONS = {"US": 10_000, "EU": 10_000}
CONNECTIONS_ELSEWHERE = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at; a remedy where it is not ok."""

    about: str
    state: str
    sentence: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisFacts:
    """What a Redis tells of itself; `config` is None where CONFIG GET is refused, with `refusal` as its words."""

    version: str
    role: str
    config: Mapping[str, str] | None
    refusal: str
    write_status: str
    maxmemory: int
    used_bytes: int
    machine_bytes: int
    ahead_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder of arms' journal: whether it can be written to, and what is free on its disk."""

    path: str
    trouble: str
    free_bytes: int


def of(about: str, lines: Iterable[str]) -> list[Finding]:
    """Return what is wrong by lines that name the remedy themselves."""
    return [Finding(about=about, state=WRONG, sentence=line) for line in lines]


def redis(facts: RedisFacts, must: Mapping[str, str], at_least: tuple[int, ...]) -> list[Finding]:
    """Judge whether a Redis keeps what it acknowledges, as a configuration with `must` does, and has room for it.

    `at_least`: the oldest version that will do.
    """
    return [*_version(facts, at_least), *_keeps(facts, must), *_room(facts), _clock(facts.ahead_seconds)]


def _version(facts: RedisFacts, at_least: tuple[int, ...]) -> Iterator[Finding]:
    if tuple(int(part) for part in re.findall(r"\d+", facts.version)[:2]) < at_least:
        oldest = ".".join(map(str, at_least))
        yield wrong("Redis", f"is of version {facts.version}", f"use {oldest} or a later one, such as redis_pd")


def closed(refusal: str) -> Finding:
    """Return what is to be said of a Redis that answers this user, and tells him nothing of itself."""
    sentence = f"answers, but does not tell this user whether it keeps what it acknowledges: {refusal}"
    return warning("Redis", sentence, "ask once more with REDIS_USER=management (docs/redis.md)")


def _keeps(facts: RedisFacts, must: Mapping[str, str]) -> Iterator[Finding]:
    if facts.role != "master":
        yield wrong("Redis", f"is a {facts.role}, which takes no writes", "set REDIS_PD_SERVICE_HOST to its master")
    if facts.write_status != "ok":
        yield wrong("Redis", "its last write to the append-only file failed", "look at its disk: is it full?")
    if facts.config is None:
        sentence = f"does not say whether it keeps what it acknowledges ({facts.refusal}): arms will not push to it"
        remedy = "allow CONFIG GET to this user; a managed Redis without appendfsync always voids the guarantee"
        yield wrong("Redis", sentence, remedy)
        return
    others = [name for name in must if facts.config.get(name) != must[name]]
    for name in others:
        there = f"{name} is {facts.config.get(name, 'unknown')}, must be {must[name]}"
        remedy = f"{name} {must[name]} in its redis.conf (see redis_pd/redis.conf)"
        yield wrong("Redis", f"{there}: what it acknowledges could be lost, the guarantee is void", remedy)
    if not others:
        yield ok("Redis", f"{facts.version} keeps what it acknowledges (appendfsync always, noeviction)")


def _room(facts: RedisFacts) -> Iterator[Finding]:
    if not facts.maxmemory:
        remedy = "set maxmemory, so that pushes go to the journals instead (sizing: docs/guarantee.md)"
        yield warning("Redis", "has no maxmemory: a backlog can take all memory of its machine", remedy)
        return
    needed = 2 * facts.maxmemory + 256 * MEBI
    if facts.machine_bytes < needed:
        sentence = f"maxmemory is {facts.maxmemory // MEBI} MB on {facts.machine_bytes // MEBI} MB: the rewrite forks"
        yield warning("Redis", sentence, f"give it {needed // MEBI} MB, twice maxmemory and 256 MB")
    percent = 100 * facts.used_bytes // facts.maxmemory
    if percent >= 80:
        remedy = "see oceanus status: what does not drain? More maxmemory, or another r2bq"
        yield warning("Redis", f"{percent} % of its maxmemory is used; when it is full, the journals fill", remedy)
    else:
        yield ok("Redis", f"{percent} % of {facts.maxmemory // MEBI} MB is used")


def process(name: str, pid: int, trouble: str) -> Finding:
    """Judge whether a process of `oceanus up` lives; `trouble` is empty where it says so."""
    if not trouble:
        return ok(name, "lives")
    remedy = f"look at its last lines; then kill -KILL {pid}: `oceanus up` starts it anew, and nothing is lost"
    return wrong(name, f"process {pid} {trouble} at /hc", remedy)


def backlog(sites: Mapping[str, SiteStatus]) -> Finding:
    """Judge how long records wait for r2bq; a warning at most, or it would keep the r2bq from starting that helps."""
    late = {name: one for name, one in sites.items() if (one.oldest_seconds or 0.0) > BACKLOG_SECONDS}
    if not late:
        return ok("backlog", f"no record waits for longer than {age(BACKLOG_SECONDS)}")
    whole = total(late.values())
    waiting = counted(whole.queue + whole.claimed, "record")
    sentence = f"{', '.join(sorted(late))}: {waiting}, the oldest {age(whole.oldest_seconds or 0.0)} old"
    return warning("backlog", sentence, "is r2bq running, and what does it say? (docs/runbook/backlog-age.md)")


def _clock(ahead_seconds: float) -> Finding:
    if abs(ahead_seconds) <= CLOCK_SECONDS:
        return ok("clock", f"agrees with that of Redis ({abs(ahead_seconds) * 1000:.0f} ms)")
    side = "behind" if ahead_seconds > 0 else "ahead of"
    sentence = f"is {age(abs(ahead_seconds))} {side} that of Redis: the times of records are wrong by as much"
    return warning("clock", sentence, "set both by NTP, such as chrony")


def needed(processes: Iterable[str], sites: Iterable[Site]) -> set[str]:
    """Return the permissions that these processes need for these sites."""
    chosen = set(processes)
    found = {one for process in chosen for one in PERMISSIONS[process]}
    return found | (set(DAILY) if "r2bq" in chosen and any(site.table.is_daily for site in sites) else set())


def permissions(wanted: set[str], on_project: set[str], on_tables: set[str] | None) -> list[Finding]:
    """Judge what is held; `on_tables` is None where no table stands that could be asked about."""
    left = wanted - on_project
    if on_tables is not None:
        left -= on_tables
    surely = sorted(left & set(PROJECT_ONLY)) if on_tables is None else sorted(left)
    found = [wrong("permissions", f"{one} is not given", _grant(one)) for one in surely]
    unknown = sorted(left - set(surely))
    if unknown:
        sentence = f"{', '.join(unknown)}: not given on the project; on the dataset that shows when its tables stand"
        found.append(warning("permissions", sentence, "give them on the dataset, and ask again (see docs/gke.md)"))
    return found or [ok("permissions", f"all {len(wanted)} are given")]


def _grant(permission: str) -> str:
    where = "on the project" if permission in PROJECT_ONLY else "on the datasets"
    return f"give this service account a role with it {where} (see docs/gke.md)"


def tables(plans: Iterable[Plan]) -> list[Finding]:
    """Judge what stands by what sites.yaml declares: what is missing is made, what cannot be mended is named."""
    every = list(plans)
    actions = [action for plan in every for action in plan.actions]
    found = [
        warning("tables", refusal, "what sites.yaml declares and what stands differ: change one of them")
        for plan in every
        for refusal in plan.refusals
    ]
    made = [action for action in actions if isinstance(action, CreateDataset | CreateTable)]
    changes = [action for action in actions if action not in made]
    if made:
        found.append(ok("tables", f"table_manager will make {len(made)} of {len(every)} datasets and tables"))
    found += [ok("tables", f"table_manager will {change}") for change in changes]
    return found or [ok("tables", f"all {len(every)} datasets and tables stand as declared")]


def connections(sites: Sequence[Site], location: str) -> Finding:
    """Judge the one quota that grows with the sites: each r2bq may write to each table at the same time."""
    most = CONNECTIONS.get(location.upper(), CONNECTIONS_ELSEWHERE)
    processes = most // (len(sites) + 1)
    sentence = f"{counted(len(sites), 'site')}: {counted(processes, 'r2bq')} at once stay within {most:,} connections"
    if processes < 3:
        return warning("quotas", sentence, "ask Google for more (cloud.google.com/bigquery/quotas#write-api-limits)")
    return ok("quotas", f"{sentence} of the Storage Write API")


def journal(folder: Folder | None, most_bytes: int) -> list[Finding]:
    """Judge the folder of arms' journal; None where none is set."""
    if folder is None:
        sentence = "there is none: while Redis is away beacons are answered 503"
        return [warning("journal", sentence, "set JOURNAL_DIR to a folder on a disk that lasts")]
    if folder.trouble:
        remedy = "give it to the user that arms runs as"
        return [wrong("journal", f"JOURNAL_DIR={folder.path}: {folder.trouble}", remedy)]
    free = f"{folder.free_bytes // MEBI:,} MB are free for up to {most_bytes // MEBI:,} MB"
    if folder.free_bytes < most_bytes:
        remedy = "a larger disk, or less in JOURNAL_MAX_BYTES"
        return [warning("journal", f"JOURNAL_DIR={folder.path}: only {free}", remedy)]
    return [ok("journal", f"JOURNAL_DIR={folder.path}: {free}")]


def is_well(findings: Iterable[Finding]) -> bool:
    """Say whether nothing is wrong; a warning is not."""
    return all(one.state != WRONG for one in findings)


def lines(findings: Iterable[Finding]) -> Iterator[str]:
    """Yield a line for each finding, with its remedy below it."""
    for one in findings:
        yield f"{one.state:7}  {one.about}: {one.sentence}"
        if one.remedy:
            yield f"{'':7}  -> {one.remedy}"


def ok(about: str, sentence: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(about=about, state=OK, sentence=sentence)


def warning(about: str, sentence: str, remedy: str) -> Finding:
    """Return what may be meant so, and what to do if it is not."""
    return Finding(about=about, state=WARNING, sentence=sentence, remedy=remedy)


def wrong(about: str, sentence: str, remedy: str) -> Finding:
    """Return what is wrong, and its remedy."""
    return Finding(about=about, state=WRONG, sentence=sentence, remedy=remedy)
