"""The commands of `oceanus bench`."""

import json

import click

from management import grid
from management.bench import collector, load, rig
from management.bench.collector import Measured, Pair

_COLUMNS = ("", "requests/s", "p50 ms", "p99 ms", "CPU us", "MiB")


@click.group("bench")
def bench() -> None:
    """Measure oceanus on this machine.

    What it costs beside the barest thing that could do the same.
    """


@bench.command("collector", epilog="Example: oceanus bench collector --pairs 7")
@click.option("--pairs", "count", type=click.IntRange(1), default=5, show_default=True, help="Turns of each.")
@click.option("--seconds", type=click.IntRange(1), default=5, show_default=True, help="Length of a turn.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def collector_command(count: int, seconds: int, form: str) -> None:
    """Compare arms, one worker, with a bare Falcon.

    That one answers a GIF and stores nothing. By turns, on the same server with the same settings, under the same
    realistic beacons from wrk; then arms at half of its rate, from hey. CPU is that of the worker, user and system:
    steadier than time where a machine is shared.
    """
    for program in ("wrk", "hey"):
        load.find(program)
    with rig.rig() as made:
        made.redis()
        if form == "table":
            click.echo(collector.TOLD)
        found = collector.pairs(made, count, seconds, lambda pair: _line(pair) if form == "table" else None)
        half = collector.at_half(made, sum(pair.arms.a_second for pair in found) / count, seconds)
    told = collector.report(found, half)
    if form == "json":
        click.echo(json.dumps(told, indent=2))
        return
    rows = [_row(name, one) for pair in found for name, one in (("arms", pair.arms), ("bare Falcon", pair.bare))]
    rows.append(_row("arms at half rate", half))
    for line in grid.plain(_COLUMNS, rows, [False] + [True] * 5):
        click.echo(line)
    names = ("ratio_requests", "ratio_cpu", "ratio_p99")
    click.echo(" ".join(f"{name}={told[name]:.2f}" for name in names))


def _line(pair: Pair) -> None:
    told = " ".join(f"{name} {ratio:.2f}" for name, ratio in pair.ratios.items())
    click.echo(f"pair: {told}", err=True)


def _row(name: str, one: Measured) -> list[str]:
    times = [f"{value:.1f}" for value in (one.p50_ms, one.p99_ms)]
    return [name, f"{one.a_second:,.0f}", *times, f"{one.cpu_us:.0f}", f"{one.mib:.0f}"]
