"""The command `oceanus doctor`."""

import json
from dataclasses import asdict

import click

from management import doctor, examination, running
from oceanus import settings


@click.command("doctor", epilog="Example: oceanus doctor --for r2bq")
@click.option(
    "--for",
    "processes",
    multiple=True,
    type=click.Choice(doctor.PROCESSES),
    help="Only what this process needs; may be given again. Else: all.",
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context
def command(ctx: click.Context, processes: tuple[str, ...], form: str) -> None:
    """Look a target over, and say what helps.

    Settings, sites.yaml, whether each process of `oceanus up` answers, Redis, its persistence and memory, the clock,
    records that wait for too long, arms' journal, BigQuery, its location, the permissions of the credentials, quotas,
    and tables that stand otherwise than declared. The target is what the environment names, else what `oceanus up`
    runs. Nothing is changed.

    Exit code 1 if something is wrong; a warning is not. As an init container it keeps a process from starting before
    its target is fit: `oceanus doctor --for r2bq`.
    """
    found = []
    for one in examination.examine(running.with_files(settings.environment()), processes or doctor.PROCESSES):
        found.append(one)
        if form == "text":
            for line in doctor.lines([one]):
                click.echo(line)
    if form == "json":
        click.echo(json.dumps([asdict(one) for one in found], indent=2))
    ctx.exit(0 if doctor.is_well(found) else 1)
