"""The commands of `oceanus`: they read settings, put the tools together, and say how it went.

Exit codes: 0 done, 1 not so, 2 wrong use, 130 interrupted. Here everything is put together; `__main__` is but the door.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from management import audit, check, lost, redis_users, replay, running, sql, status
from management.alerts_commands import alerts, tail
from management.bench.commands import bench
from management.doctor_commands import command as doctor
from management.failed_commands import Since, failed
from management.k8s_commands import group as k8s
from management.migrate_commands import command as migrate
from management.snippet_commands import command as snippet
from management.telling import Bytes, progress
from management.telling import say as _say
from management.up import up
from management.verify_commands import command as verify
from oceanus import settings, sites, warehouse
from oceanus.alerts import Alerts
from oceanus.auditor import Auditor
from oceanus.errors import MisconfiguredError, OceanusError, WarehouseError
from oceanus.settings import UpSettings
from oceanus.shards import Spools, shards, together
from oceanus.sites import Site
from oceanus.spool import connect
from oceanus.tables import Naming
from oceanus.warehouse.clients import check as check_warehouse
from oceanus.warehouse.clients import check_location

_STATUS_HELP = f"""Show what waits and what has landed, by site.

{status.LEGEND}"""


class _Told(click.Group):
    """Tells an operator our errors as lines with a remedy, never as a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; exit 1 with a line for each mistake."""
        try:
            return super().invoke(ctx)
        except MisconfiguredError as exc:
            _say(exc.mistakes)
        except OceanusError as exc:
            _say([str(exc)])
        except KeyboardInterrupt:
            _say(["interrupted"])
            return ctx.exit(130)
        return ctx.exit(1)


@click.group(cls=_Told, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="oceanus", message="oceanus %(version)s")
@click.pass_context
def oceanus(ctx: click.Context) -> None:
    """Collect beacons from web pages and land every one of them in BigQuery."""
    if ctx.invoked_subcommand != "up":  # which goes on to end silently until it listens itself
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@oceanus.command("up", epilog="Example: PORT=8080 SITES_FILE=sites.yaml oceanus up")
@click.pass_context
def up_command(ctx: click.Context) -> None:
    """Run everything on this machine until Ctrl-C.

    Redis, BigQuery, arms, r2bq, table_manager, revelation, and the console, a live page; the rows stay for the next
    start. PORT, DATA_DIR, SITES_FILE and ALERTS_FILE say where; with PROJECT_ID it runs against Google's BigQuery.

    It is for one machine: arms listens on 127.0.0.1. LISTEN_ADDRESS=0.0.0.0 opens it to the network.

    Ctrl-C stops it after what arms holds is answered and what waits is written; once more stops the waiting.
    """
    ctx.exit(asyncio.run(up(settings.environment())))


@oceanus.command("console", epilog="Example: CONSOLE_PORT=8084 oceanus console")
def console_command() -> None:
    """Serve the live page until Ctrl-C.

    Of what the environment names, else of what `oceanus up` runs, which serves one itself. On 127.0.0.1, port 8084;
    CONSOLE_PORT and CONSOLE_ADDRESS say otherwise, and any other address needs a CONSOLE_TOKEN to ask for.
    """
    os.execv(sys.executable, [sys.executable, "-m", "management.console"])  # noqa: S606 - our own program


@oceanus.command("check", epilog="Example: SITES_FILE=sites.yaml oceanus check")
@click.option("--offline", is_flag=True, help="Do not ask BigQuery.")
def check_command(offline: bool) -> None:
    """Name every mistake in settings, sites.yaml and alerts.yaml.

    A line for each. BigQuery is asked whether it answers, if the environment names one. A variable that looks like a
    misspelt one of ours is a warning, and so is what stops nothing and is hardly meant so.
    """
    environ = running.with_files(settings.environment())
    _say([f"warning: {line}" for line in [*check.warnings(environ), *running.changes(environ)]])
    mistakes, asked = check.mistakes(environ), None
    if not offline and running.names_warehouse(environ):
        try:
            asked = running.warehouse(environ)
            check_warehouse(warehouse.connect(asked), asked.dataset)
        except MisconfiguredError as exc:
            mistakes += [mistake for mistake in exc.mistakes if mistake not in mistakes]
    if mistakes:
        raise MisconfiguredError(mistakes)
    click.echo(check.summary(environ))
    if asked:
        click.echo(f"BigQuery: project {asked.project}, dataset {asked.dataset}: answers")


@oceanus.command("sql", epilog='Example: oceanus sql "SELECT url, COUNT(*) AS views FROM bizocean GROUP BY url"')
@click.argument("query")
@click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@click.option("--max-bytes", type=Bytes(), default="10GB", show_default=True, help="Refuse to read more than this.")
@click.pass_context
def sql_command(ctx: click.Context, query: str, form: str, max_bytes: int) -> None:
    """Run one SELECT in the warehouse.

    Tables need no dataset. `-` reads the query from stdin. A table ends after 1,000 rows, and on a terminal that is too
    narrow for it each row is a block of `column: value`.
    """
    chosen = running.warehouse(settings.environment())
    text = sys.stdin.read() if query == "-" else query
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    try:
        found = warehouse.Queries(warehouse.connect(chosen), chosen.dataset).select(text, max_bytes)
        left_out = sql.show(found, form, sys.stdout, width)
    except WarehouseError as exc:
        _say(sql.sentence(exc))
        ctx.exit(1)
    _say([left_out] if left_out else [])


@oceanus.command("replay", epilog="Example: oceanus replay access.log --site bizocean --rate 200")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--site", "name", required=True, help="Site of method swallow.")
@click.option("--url", help="Address of arms; by default the one that `oceanus up` runs.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Beacons a second at most.")
@click.option(
    "--keep-time", is_flag=True, help="Keep the log's own times; else they are moved so that the last is now."
)
@click.pass_context
def replay_command(
    ctx: click.Context, file: Path, name: str, url: str | None, rate: float | None, keep_time: bool
) -> None:
    """Send an access log's lines as beacons.

    Each line (Combined Log Format) once, with its address, agent and time; about 20 s for 5,000 lines. Running it again
    stores the lines again.

    With --url the token of trusted callers is TRUST_TOKEN of the environment.
    """
    environ = settings.environment()
    site = _swallow(name, running.sites_file(environ))
    if url is not None and not url.startswith(("http://", "https://")):
        raise click.UsageError(f"--url {url}: must begin with http:// or https://")
    target, token = _target(url, environ)
    ctx.exit(_replay(file, site, target, token, rate, keep_time))


@oceanus.command("status", epilog="Example: oceanus status --format json", help=_STATUS_HELP)
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.pass_context
def status_command(ctx: click.Context, form: str) -> None:
    environ = settings.environment()
    sites_file = running.sites_file(environ)
    declared, mistakes = _sites(sites_file)
    chosen = shards(running.redis(environ), None if mistakes else declared)
    spools = Spools.connected(chosen)
    parts = {name: spools.looks(name) for name in [*declared, *sorted(spools.sites() - set(declared))]}
    looks = {name: together(list(each.values())) for name, each in parts.items()}
    in_journal = status.ask_arms(running.arms_metrics(environ))
    now_us = time.time_ns() // 1000
    removed = {} if mistakes else status.stranded(looks, declared)
    to_tell = status.alerts([Alerts(connect(one)) for one in chosen.redis.values()], declared.values())
    seen = {name: status.site_status(look, now_us) for name, look in looks.items()}
    status.show(seen, removed, in_journal, to_tell, form, sys.stdout)
    if in_journal is None:
        _say(["arms was not asked: what is in its journal is not counted here"])
    _say(status.stranded_lines(removed, sites_file))
    _say(status.moving_lines(parts, spools))
    _say([*mistakes, "which sites are declared is not known: shown is what Redis knows"] if mistakes else [])
    ctx.exit(1 if removed or mistakes else 0)


@oceanus.command("audit", epilog="Example: oceanus audit --format json")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--max-bytes", type=Bytes(), default="10GB", show_default=True, help="Refuse to read more, per table.")
@click.option("--days", type=click.IntRange(min=1), help="Judge only the last days with records; else all of them.")
@click.option("--acknowledge", is_flag=True, help="Accept the alarms: a new Redis, and pushes that it had forgotten.")
@click.option(
    "--lost-at", type=Since(), help="Count what a Redis took with it that was lost then: 1h, or a time (UTC)."
)
@click.pass_context
def audit_command(
    ctx: click.Context, form: str, max_bytes: int, days: int | None, acknowledge: bool, lost_at: int | None
) -> None:
    """Prove that every accepted beacon is one row.

    Exits 1 where one is missing or doubled, something could not be judged, a removed site has records, or an alarm
    stands. Compares what Redis has counted, by minute and digest, with what BigQuery holds, and writes its verdicts to
    the table `audit`. Minutes of which something is in flight are open, and judged the next time. What is in arms'
    journal is not counted yet: it is named, and no difference. Accepted beacons that could not become rows are
    counted apart, as `failed`: they stand in the failed table. What arms rejected was never accepted, nor is counted.

    accepted, failed, repeated (sent again by its tracker, and a row already) and waiting are what Redis has counted,
    landed the rows that stand in BigQuery; of what waits some may stand there already. Where nothing waits,
    accepted = landed + failed + repeated. missing and doubled are of the minutes that are judged.

    An alarm is what no count can show: a Redis that is new, or that has forgotten what it had acknowledged. Before
    --acknowledge, find out why. Was Redis emptied, replaced, or started on another disk or an older copy? Is its real
    disk still there? What lay in Redis then may be lost, or, on an older copy, be written twice. Minutes of before a
    new Redis are not judged any more.

    --lost-at does nothing of this: it counts, by the verdicts that the table `audit` keeps, what a Redis had accepted
    that is gone now, and what of that stands nowhere (docs/drills). Exits 1 where something is lost.
    """
    environ = settings.environment()
    sites_file = running.sites_file(environ)
    declared = sites.load(sites_file)
    chosen = running.warehouse(environ)
    clients, naming = warehouse.connect(chosen), Naming(chosen.dataset, chosen.table_prefix)
    check_location(clients, chosen.dataset)
    if lost_at is not None:
        ctx.exit(_lost(declared, naming, warehouse.Queries(clients, chosen.dataset), lost_at, max_bytes, form))
    spools = running.spools(environ, declared)
    auditor = Auditor(spools, warehouse.Queries(clients, chosen.dataset), warehouse.Writer(clients), naming, max_bytes)
    arms = status.ask_arms(running.arms_metrics(environ))
    found = audit.find(auditor, spools, declared, audit.last_days(days), arms)
    if acknowledge:
        auditor.acknowledge(found.alarms)
        _say([f"acknowledged: {one.sentence}" for one in found.alarms] or ["there is no alarm to acknowledge"])
        found = replace(found, alarms=[])
    audit.show(found, form, sys.stdout)
    _say(audit.remarks(found, sites_file))
    try:
        auditor.write()
    except WarehouseError as exc:  # who may only read can audit all the same
        _say([f"the verdicts are not written to {naming.audit.path}: {exc}"])
    ctx.exit(0 if found.is_right else 1)


@oceanus.command("redis-users", epilog="Example: oceanus redis-users redis-users/")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def redis_users_command(folder: Path) -> None:
    """Make the users of Redis, their passwords and ACL file.

    FOLDER gets a file for each user (arms, r2bq, table_manager, revelation, management, admin) with its password, and
    users.acl, which holds their hashes, for Redis (aclfile). A password that is there stays; to change one, remove its
    file and run this again. docs/redis.md says what goes where.
    """
    for file in redis_users.make(folder):
        click.echo(f"written: {file}")


def _lost(
    declared: sites.Sites, naming: Naming, queries: warehouse.Queries, lost_at_us: int, max_bytes: int, form: str
) -> int:
    def ask(sql_text: str, values: dict[str, str | int | list[str]]) -> list[tuple[Any, ...]]:
        return list(queries.select(sql_text, max_bytes, values=values).rows)

    found = {name: lost.of(site, naming, lost_at_us, ask) for name, site in declared.items()}
    for line in [json.dumps(lost.told(found), indent=2)] if form == "json" else lost.lines(found):
        click.echo(line)
    _say(list(lost.remarks(found)))
    return 1 if any(one.lost for one in found.values()) else 0


def _sites(file: str) -> tuple[sites.Sites, list[str]]:
    """Return what sites.yaml declares; or nothing, and its mistakes."""
    try:
        return sites.load(file), []
    except MisconfiguredError as exc:
        return sites.Sites([]), exc.mistakes


def _swallow(name: str, sites_file: str) -> Site:
    site = sites.load(sites_file).get(name)
    if site is None:
        raise click.UsageError(f"--site {name}: {sites_file} declares no such site")
    if site.method != "swallow":
        raise click.UsageError(
            f"--site {name}: its method is {site.method}; an access log goes to a site of method swallow"
        )
    return site


def _target(url: str | None, environ: dict[str, str]) -> tuple[str, str]:
    """Return address and token of the collector; the token of `up` goes to no other address."""
    given = settings.read(UpSettings, environ).trust_token
    if url is None:
        found = running.find(environ)
        return found.url, given or found.trust_token_file.read_text(encoding="utf-8").strip()
    if not given:
        raise MisconfiguredError(["TRUST_TOKEN is not set: --url needs the token that arms at that address was given"])
    return url, given


def _replay(file: Path, site: Site, url: str, token: str, rate: float | None, keep_time: bool) -> int:
    with file.open("rb") as lines:
        covered = replay.span(lines)
    now = datetime.now(UTC)
    shift = replay.shift_to(covered, now) if not keep_time else now - now
    days = replay.oldest_days(site.table.expiry_days)
    if replay.too_old(covered, shift, now, days):
        _say([f"warning: some lines are older than {days:,} days: arms will refuse those"])
    tally, began = replay.Tally(), time.monotonic()
    try:
        with file.open("rb") as lines, progress(f"to {site.name}", covered.lines) as each:
            asyncio.run(_send(url, token, site.name, tally, rate, replay.sendings(lines, covered, shift), each))
    except replay.NobodyAnswersError as exc:
        _say([f"{url}: {exc}; stopped"])
    except KeyboardInterrupt:
        _say(["interrupted"])
    _say(replay.named(tally))
    click.echo(replay.closing(tally, site.name, time.monotonic() - began, covered.lines))
    if replay.is_no_log(tally):
        _say([f"is {file} an access log in Combined Log Format?"])
    return 0 if tally.accepted == covered.lines else 1


async def _send(
    url: str, token: str, name: str, tally: replay.Tally, rate: float | None, beacons: Any, each: Any
) -> None:
    async with replay.client(url, token) as client:
        await replay.Replay(client, name, tally, rate, waits=lambda told: _say([told])).send(beacons, each)


oceanus.add_command(alerts)
oceanus.add_command(bench)
oceanus.add_command(doctor)
oceanus.add_command(failed)
oceanus.add_command(migrate)
oceanus.add_command(k8s)
oceanus.add_command(snippet)
oceanus.add_command(tail)
oceanus.add_command(verify)
