"""The commands of `oceanus failed`: what was rejected or refused, why, and sending it again."""

import json
import shutil
import sys
import time
from collections.abc import Iterator
from itertools import batched, chain
from typing import Any

import click

from management import failed as table
from management import running, sql
from management.failed import Row, Wanted
from management.failed_table import FailedTable
from management.retry import BEFORE, CANNOT, LOOKED_UP, SENT, UNSENT, Tally
from management.telling import Bytes, progress, say
from oceanus import records, settings, sites, warehouse
from oceanus.errors import SpoolUnclearError
from oceanus.shards import Spools
from oceanus.tables import Naming
from oceanus.visible import escaped
from oceanus.warehouse import Result
from oceanus.warehouse.clients import check_location

MOST_MARKS = 100_000  # as many ids as a query of 10 MB takes
MOST_REASONS = 20


class Since(click.ParamType[int]):
    """A time such as 24h or 2026-11-20."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the time in microseconds since 1970."""
        try:
            return value if isinstance(value, int) else table.since_us(value, time.time_ns() // 1000)
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


class _Fid(click.ParamType[str]):
    """The id of a failed record."""

    name = "fid"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the id in small letters."""
        if not records.is_id(value.lower()):
            self.fail(f"{value!r} is no id (fid) of a failed record", param, ctx)
        return str(value.lower())


def _parts(max_bytes: int) -> FailedTable:
    environ = settings.environment()
    chosen = running.warehouse(environ)
    clients = warehouse.connect(chosen)
    check_location(clients, chosen.dataset)
    spool = running.spools(environ)
    queries = warehouse.Queries(clients, chosen.dataset)
    return FailedTable(spool, queries, Naming(chosen.dataset, chosen.table_prefix), max_bytes)


def _declared() -> sites.Sites:
    return sites.load(running.sites_file(settings.environment()))


def _say_what_waits(parts: FailedTable, site: str | None) -> None:
    """Say how many failed records have not come to the table yet."""
    waiting = parts.waiting(site)
    say([f"{waiting:,} more {'is' if waiting == 1 else 'are'} on the way to the table"] if waiting else [])


_site = click.option("--site", help="Of this site only.")
_stage = click.option(
    "--stage", type=click.Choice(list(table.STAGES)), help="rules: arms rejected it; write: BigQuery refused it."
)
_reason = click.option("--reason", metavar="TEXT", help="Only where the reason has this text in it.")
_since = click.option("--since", type=Since(), help="Failed since 24h, 7d, 2026-11-20 or 2026-11-20T16:48:16Z (UTC).")
_max_bytes = click.option(
    "--max-bytes", type=Bytes(), default="10GB", show_default=True, help="Refuse to read more than this."
)


@click.group("failed")
def failed() -> None:
    """See what was rejected or refused, and send it again."""


@failed.command("list", epilog="Example: oceanus failed list --site bizocean --since 24h")
@_site
@_stage
@_reason
@_since
@click.option("--each", is_flag=True, help="Each failed record in place of a line for each reason.")
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="So many lines at most.")
@click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@_max_bytes
@click.pass_context
def list_command(
    ctx: click.Context,
    site: str | None,
    stage: str | None,
    reason: str | None,
    since: int | None,
    each: bool,
    limit: int,
    form: str,
    max_bytes: int,
) -> None:
    """Show what failed, by reason, the newest first.

    A line for each site, stage and reason: how many failed records, how many of them were sent again, when the first
    and the last failed, and the id (fid) of one of them, for `oceanus failed show`.
    """
    parts = _parts(max_bytes)
    wanted = Wanted(site=site, stage=stage, reason=reason, since_us=since)
    found = _each(parts, wanted, limit) if each else _groups(parts, wanted, limit)
    rows = list(found.rows)
    if form == "table" and not rows:
        say(["no failed records"])
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        left_out = sql.show(Result(found.columns, iter(rows[:limit])), form, sys.stdout, width)
        say([left_out] if left_out else [])
    say([f"the newest {limit:,} alone; --limit gives more"] if len(rows) > limit else [])
    _say_what_waits(parts, site)


@failed.command("show", epilog="Example: oceanus failed show 019a4b6e-3c00-7abc-8def-0123456789ab")
@click.argument("fid", type=_Fid())
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@_max_bytes
@click.pass_context
def show_command(ctx: click.Context, fid: str, form: str, max_bytes: int) -> None:
    """Show one failed record whole.

    With what a retry would do now, by today's sites.yaml.
    """
    parts = _parts(max_bytes)
    row = parts.row(fid)
    if row is None:
        say([f"{fid}: no failed record in {parts.path} has this id"])
        _say_what_waits(parts, None)
        ctx.exit(1)
    [verdict] = parts.retrier(_declared()).look([row])
    would = {SENT: "would be sent", BEFORE: "was sent before"}.get(verdict.outcome, f"cannot be sent: {verdict.why}")
    shown = table.told(row, parts.spool.retried(row.site, [fid]).get(fid), would)
    if form == "json":
        click.echo(json.dumps(shown, ensure_ascii=False, indent=2))
        return
    for line in table.page(shown):
        click.echo(line)


@failed.command(
    "retry", epilog="Example: oceanus failed retry --site bizocean --stage rules --reason 'evt: ' --dry-run"
)
@click.argument("fids", nargs=-1, type=_Fid(), metavar="[FID]...")
@_site
@_stage
@_reason
@_since
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and send nothing.")
@click.option("--verify", is_flag=True, help="Look up every record in its table first; slower.")
@_max_bytes
@click.pass_context
def retry_command(
    ctx: click.Context,
    fids: tuple[str, ...],
    site: str | None,
    stage: str | None,
    reason: str | None,
    since: int | None,
    dry_run: bool,
    verify: bool,
    max_bytes: int,
) -> None:
    """Send failed records again, each once.

    Those named, or those of a site. Run it as often as you like, also after it was killed: what was sent again is
    known in Redis and not sent a second time; if Redis was emptied since, it is looked up in the tables. After Redis
    was restored from an older copy of its disk, use --verify.

    A record that BigQuery refused goes back to its site's queue as it is. A beacon that arms rejected is judged again
    by today's sites.yaml, with the time of its receipt. Of its headers only the user agent is kept (512 characters),
    and of its text 8 KiB: what was cut, what privacy took something out of, and what was refused for who sent it (403)
    cannot be sent; a field from another header is missing then.

    Exits 1 if something could not be sent.
    """
    wanted = Wanted(fids=fids, site=site, stage=stage, reason=reason, since_us=since)
    if bool(fids) == (site is not None) or (fids and wanted != Wanted(fids=fids)):
        raise click.UsageError("name failed records by their ids, or a site by --site (and --stage, --reason, --since)")
    parts = _parts(max_bytes)
    declared = _declared()
    retrier = parts.retrier(declared, verify)
    [(whole,)] = parts.ask(table.count_sql(parts.path, wanted)).rows
    tally, unclear = Tally(), ""
    alerts = frozenset(name for name, one in declared.items() if one.alerts)
    with progress("judged" if dry_run else "sent again", whole) as step:
        for some in _chunks(parts, wanted, whole):
            try:
                verdicts = retrier.look(some) if dry_run else retrier.send(some, alerts)
            except SpoolUnclearError as exc:
                unclear = str(exc)
                break
            tally.count(verdicts)
            step(len(some))
            if tally.outcomes[UNSENT]:
                break
    missing = len(set(fids)) - whole if fids else 0
    say(_lines(tally, unclear))
    say([f"{missing:,} of these ids are not in {parts.path}"] if missing else [])
    if fids and missing:
        _say_what_waits(parts, None)
    click.echo(_closing(tally, dry_run))
    ctx.exit(1 if unclear or missing or tally.outcomes[CANNOT] or tally.outcomes[UNSENT] else 0)


def _groups(parts: FailedTable, wanted: Wanted, limit: int) -> Result:
    names = parts.spool.sites() if wanted.site is None else {wanted.site}
    marks = [fid for name in sorted(names) for fid in parts.spool.retried(name)]
    if len(marks) > MOST_MARKS:
        say([f"sent_again counts the first {MOST_MARKS:,} of {len(marks):,} alone"])
    return parts.ask(table.groups_sql(parts.path, wanted, marks[:MOST_MARKS], limit + 1))


def _each(parts: FailedTable, wanted: Wanted, limit: int) -> Result:
    rows = list(table.rows(parts.ask(table.rows_sql(parts.path, wanted, limit + 1)).rows))
    marks = {name: _marks(parts.spool, name, rows) for name in {row.site for row in rows}}
    names = [("dt", "TIMESTAMP"), *((name, "STRING") for name in ("site", "stage", "reason", "sent_again", "fid"))]
    told = (
        (table.rfc3339(row.dt_us), row.site, row.stage, row.reason, row.fid in marks[row.site], row.fid) for row in rows
    )
    return Result(names, told)


def _marks(spool: Spools, site: str, rows: list[Row]) -> set[str]:
    return set(spool.retried(site, [row.fid for row in rows if row.site == site]))


def _chunks(parts: FailedTable, wanted: Wanted, whole: int) -> Iterator[list[Row]]:
    """Yield the failed records, the oldest first; those that fail meanwhile are not among them."""
    found = parts.ask(table.rows_sql(parts.path, wanted)).rows if whole else iter(())
    return map(list, batched(table.rows(found), LOOKED_UP, strict=False))


def _lines(tally: Tally, unclear: str) -> list[str]:
    """Return why some were not sent, the most frequent reason first."""
    told = tally.reasons.most_common()
    lines = [
        escaped(f"{site}: {why}: {count:,} (such as {tally.examples[site, why]})")
        for (site, why), count in told[:MOST_REASONS]
    ]
    if len(told) > MOST_REASONS:
        lines.append(f"and {len(told) - MOST_REASONS:,} more reasons")
    again = "run it again: nothing is sent twice"
    stopped = [f"stopped: {unclear}; {again}"] if unclear else []
    return list(chain(lines, stopped, [f"stopped; {again}"] if tally.outcomes[UNSENT] else []))


def _closing(tally: Tally, dry_run: bool) -> str:
    sent = "would be sent" if dry_run else "sent again"
    counts = {sent: SENT, "were sent before": BEFORE, "cannot be sent": CANNOT}
    told = [f"{name} {tally.outcomes[outcome]:,}" for name, outcome in counts.items()]
    unsent = tally.outcomes[UNSENT]
    return ", ".join([*told, *([f"not taken by Redis {unsent:,}"] if unsent else [])])
