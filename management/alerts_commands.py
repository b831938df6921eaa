"""The commands of `oceanus alerts`, and `oceanus tail`: what a rule would tell, what was not told, what comes in."""

import json
import subprocess
import sys
from itertools import islice
from typing import Any

import click

from management import grid, running
from management.failed import rfc3339
from management.programs import with_defaults
from management.telling import say
from management.wording import counted
from oceanus import records, settings, sites
from oceanus.alerts import Alerts, Letter
from oceanus.errors import MisconfiguredError, NotARecordError
from oceanus.sites import Site
from oceanus.spool import connect
from oceanus.visible import escaped
from revelation import rules
from revelation.conditions import Condition
from revelation.seen import Seen


@click.group("alerts")
def alerts() -> None:
    """Try the rules of alerts.yaml, and see what could not be told."""


@alerts.command("test", epilog="Example: oceanus alerts test paid --record record.json")
@click.argument("rule")
@click.option(
    "--record",
    "file",
    metavar="FILE",
    required=True,
    help="A file with a record as JSON, such as `oceanus tail` shows; - for stdin.",
)
@click.option("--send", is_flag=True, help="Tell it, too, if the rule is true of it.")
@click.pass_context
def test_command(ctx: click.Context, rule: str, file: str, send: bool) -> None:
    """Show what a rule would tell of a record, and to whom.

    Limits, counting and silence are not looked at. Exit code 1 if the rule is not true of the record.
    """
    environ = settings.environment()
    words = [sys.executable, "-m", "revelation", "--test", rule, "--record", file, *(["--send"] if send else [])]
    ctx.exit(subprocess.run(words, env=_environment(environ), check=False).returncode)  # noqa: S603 - our own program


def _environment(environ: dict[str, str]) -> dict[str, str]:
    """Return the environment of a revelation beside what runs."""
    try:
        found = dict(running.find(environ).environ)
    except MisconfiguredError:
        found = {}
    chosen = {"SITES_FILE": running.sites_file(environ), "ALERTS_FILE": running.alerts_file(environ)}
    return with_defaults(environ | ({} if running.names_warehouse(environ) else found)) | chosen


@alerts.group("failed")
def failed() -> None:
    """See what could not be told; try it once more, or let it go."""


_rule = click.option("--rule", help="Of this rule only.")
_destination = click.option("--destination", help="To this destination only.")
_keys = click.argument("keys", nargs=-1)
_everything = click.option("--all", "everything", is_flag=True, help="All of them.")


@failed.command("list", epilog="Example: oceanus alerts failed list --destination desk")
@_rule
@_destination
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def list_command(rule: str | None, destination: str | None, form: str) -> None:
    """Show the messages that could not be delivered, the oldest first."""
    chosen = _chosen(_alerts().failed(), rule, destination)
    if form == "json":
        click.echo(json.dumps([_told(letter) for letter in chosen], indent=2, ensure_ascii=False))
        return
    if not chosen:
        click.echo("nothing has failed")
        return
    lines = [[str(value) for value in _told(letter).values()][:5] for letter in chosen]
    for line in grid.plain(("time", "rule", "destination", "key", "reason"), lines, [False] * 5):
        click.echo(escaped(line))


@failed.command("retry", epilog="Example: oceanus alerts failed retry --rule paid")
@_keys
@_rule
@_destination
@_everything
@click.pass_context
def retry_command(
    ctx: click.Context, keys: tuple[str, ...], rule: str | None, destination: str | None, everything: bool
) -> None:
    """Try messages once more that could not be delivered: those of KEYS, or all that an option chooses.

    With the texts of their rule as it stands in alerts.yaml now.
    """
    book = _alerts()
    names = _named(book, keys, rule, destination, everything)
    click.echo(f"{counted(book.retry(names), 'message')} will be tried once more")
    ctx.exit(0 if names else 1)


@failed.command("drop", epilog="Example: oceanus alerts failed drop --rule paid")
@_keys
@_rule
@_destination
@_everything
@click.pass_context
def drop_command(
    ctx: click.Context, keys: tuple[str, ...], rule: str | None, destination: str | None, everything: bool
) -> None:
    """Let messages go that could not be delivered: nobody will be told of those."""
    book = _alerts()
    names = _named(book, keys, rule, destination, everything)
    click.echo(f"{counted(book.drop(names), 'message')} dropped")
    ctx.exit(0 if names else 1)


@click.command("tail", epilog="Example: oceanus tail --site bizocean --where '{evt: paid}'")
@click.option("--site", "name", required=True, help="The site to follow.")
@click.option("--where", help="Only records of which this is true: a condition as in alerts.yaml, on one line.")
@click.option("--limit", type=click.IntRange(min=1), help="End after so many.")
def tail(name: str, where: str | None, limit: int | None) -> None:
    """Follow the records of a site.

    Each as it is accepted, a line of JSON, until Ctrl-C.
    """
    environ = settings.environment()
    site = _site(name, running.sites_file(environ))
    condition = rules.condition(where, site) if where else None
    spools = running.spools(environ)
    spool = spools.every[spools.home(name)]
    say([f"following {name}; Ctrl-C ends"])
    accepted = (raw for raw in spool.live([name], lambda error: say([f"{error}; trying again"])) if raw is not None)
    shown = (raw for raw in accepted if condition is None or _is_true(condition, raw, name))
    for raw in islice(shown, limit):
        click.echo(escaped(raw.decode(errors="replace")))


def _is_true(condition: Condition, raw: bytes, site: str) -> bool:
    try:
        return condition(Seen(records.decode(raw), site))
    except NotARecordError:
        return False


def _site(name: str, file: str) -> Site:
    declared = sites.load(file)
    if name not in declared:
        raise MisconfiguredError([f"{file} does not declare the site {name}; it declares {', '.join(declared)}"])
    return declared[name]


def _alerts() -> Alerts:
    return Alerts(connect(running.redis(settings.environment())))


def _chosen(letters: list[Letter], rule: str | None, destination: str | None) -> list[Letter]:
    return [
        letter
        for letter in letters
        if rule in (None, letter.telling["rule"]) and destination in (None, letter.telling["destination"])
    ]


def _named(
    book: Alerts, keys: tuple[str, ...], rule: str | None, destination: str | None, everything: bool
) -> list[str]:
    """Return the keys of the dead letters that are meant; say which of `keys` are none."""
    if not (keys or rule or destination or everything):
        raise click.UsageError("name keys, --rule, --destination or --all")
    found = [str(letter.telling["key"]) for letter in _chosen(book.failed(), rule, destination)]
    say([f"{key}: no such message has failed; see oceanus alerts failed list" for key in keys if key not in found])
    return [key for key in found if not keys or key in keys]


def _told(letter: Letter) -> dict[str, Any]:
    telling = letter.telling
    told = {"time": rfc3339(letter.at_us), "rule": telling["rule"], "destination": telling["destination"]}
    return told | {"key": telling["key"], "reason": letter.reason, "record": telling["record"]}
