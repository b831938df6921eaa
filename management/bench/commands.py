"""The commands of `oceanus bench`."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click

from management import grid, telling
from management.bench import collector, drain, freshness, growth, load, rig
from management.bench.collector import Measured, Pair
from management.bench.watch import Drained

_COLUMNS = ("", "requests/s", "p50 ms", "p99 ms", "CPU us", "MiB", "1000 instr.")
_DRAINED = ("", "rows/s", "CPU us", "peak MiB", "full/empty", "CPU full/empty")


@click.group("bench")
def bench() -> None:
    """Measure oceanus on this machine.

    What it costs beside the barest thing that could do the same.
    """


@bench.command("collector", epilog="Example: oceanus bench collector --pairs 7")
@click.option("--pairs", "count", type=click.IntRange(1), default=5, show_default=True, help="Turns of each.")
@click.option("--seconds", type=click.IntRange(1), default=5, show_default=True, help="Length of a turn.")
@click.option("--post", "posted", is_flag=True, help="Beacons as our tracker sends them, each alone in a POST.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def collector_command(count: int, seconds: int, posted: bool, form: str) -> None:
    """Compare arms, one worker, with a bare Falcon.

    That one answers a GIF and stores nothing. By turns, on the same server with the same settings, under the same
    realistic beacons from wrk; then arms at half of its rate, from hey. CPU is that of the worker, user and system:
    steadier than time where a machine is shared. Steadier still are instructions, which Linux' perf counts, if it is
    here and may.
    """
    for program in ("wrk", "hey"):
        load.find(program)
    with rig.rig() as made:
        made.redis()
        if form == "table":
            click.echo(collector.TOLD)
        tell = _line if form == "table" else lambda _: None
        found = collector.pairs(made, count, seconds, tell, posted=posted)
        half = collector.at_half(made, sum(pair.arms.a_second for pair in found) / count, seconds, posted=posted)
    told = collector.report(found, half)
    if form == "json":
        click.echo(json.dumps(told, indent=2))
        return
    rows = [_row(name, one) for pair in found for name, one in (("arms", pair.arms), ("bare Falcon", pair.bare))]
    rows.append(_row("arms at half rate", half))
    for line in grid.plain(_COLUMNS, rows, [False] + [True] * 6):
        click.echo(line)
    click.echo(_ratios(told, "ratio_requests", "ratio_cpu", "ratio_p99", "ratio_instructions"))


@bench.command("drain", epilog="Example: oceanus bench drain --rows 2200000 --pairs 0")
@click.option("--rows", type=click.IntRange(1), default=200_000, show_default=True, help="Records that wait at first.")
@click.option("--turns", type=click.IntRange(0), default=3, show_default=True, help="Turns into the null writer.")
@click.option("--pairs", type=click.IntRange(0), default=3, show_default=True, help="Turns into the local BigQuery.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def drain_command(rows: int, turns: int, pairs: int, form: str) -> None:
    """Drain a full Redis with one r2bq.

    First into a null writer, which takes its batches in another process and keeps nothing; then into a local BigQuery,
    by turns with Google's bare client, which appends batches that were made before. Full/empty is what a row took while
    nine tenths of the records waited, by what one of the last tenth took. Exit code 1 if not every row landed once.
    """
    if form == "table":
        click.echo(drain.TOLD)
    with rig.rig() as made, telling.stages() as tell:
        found = drain.Bench(made, tell).run(rows, turns, pairs)
    told = found.report()
    if form == "json":
        click.echo(json.dumps(told, indent=2))
    else:
        _tell_drained(found, told)
    sys.exit(0 if told["landed_once"] else 1)


@bench.command("freshness", epilog="Example: oceanus bench freshness --rate 500 --seconds 60")
@click.option("--rate", type=click.FloatRange(1), default=500, show_default=True, help="Beacons a second.")
@click.option("--seconds", type=click.IntRange(1), default=60, show_default=True, help="For how long.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def freshness_command(rate: float, seconds: int, form: str) -> None:
    """Send a steady rate through all of oceanus, and see how soon each row is there.

    From the receive time in its event id to the moment that BigQuery has taken it (written), and to the answer of a
    SELECT that sees it (visible), asked again and again; the local BigQuery and hey share this machine. Exit code 1 if
    not every beacon landed once.
    """
    load.find("hey")
    if form == "table":
        click.echo(freshness.TOLD)
    with rig.rig() as made, telling.stages() as tell:
        told = freshness.Bench(made, tell).run(rate, seconds).report()
    if form == "json":
        click.echo(json.dumps(told, indent=2))
    else:
        _tell_fresh(told)
    sys.exit(0 if told["landed_once"] else 1)


@bench.command("growth", epilog="Example: oceanus bench growth --waiting 100000 --beacons 100000")
@click.option("--turns", type=click.IntRange(1), default=5, show_default=True, help="Turns of each.")
@click.option("--seconds", type=click.IntRange(1), default=3, show_default=True, help="Length of a turn.")
@click.option("--waiting", type=click.IntRange(1), default=2_000_000, show_default=True, help="Records that wait.")
@click.option("--beacons", type=click.IntRange(1), default=1_000_000, show_default=True, help="Beacons of one worker.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def growth_command(turns: int, seconds: int, waiting: int, beacons: int, form: str) -> None:
    """See what a beacon costs where there is more of everything.

    With 2 million records in the queue by none, with 500 sites by few, with two workers by one: the CPU of a beacon, by
    turns, and its instructions, if Linux' perf may count them. Then the memory of one worker after a million beacons.
    2 million records need some 3 GB.
    """
    load.find("wrk")
    with telling.stages() as tell:
        found, memory = growth.run(turns, seconds, waiting, beacons, tell)
    if form == "json":
        told = {one.what: one.report() for one in found} | {"memory": [asdict(one) for one in memory]}
        click.echo(json.dumps(told, indent=2))
        return
    for one in found:
        rows = [
            _row(name, turn)
            for pair in zip(one.less, one.more, strict=True)
            for name, turn in zip(("", one.what), pair, strict=True)
        ]
        for line in grid.plain(_COLUMNS, rows, [False] + [True] * 6):
            click.echo(line)
        click.echo(f"{one.what}: {_ratios(one.report(), 'ratio_cpu', 'ratio_instructions')}")
    click.echo("memory: " + " ".join(f"{one.mib:.0f}@{one.beacons:,}" for one in memory))


def _tell_fresh(told: dict[str, Any]) -> None:
    click.echo(f"{told['beacons']:,} beacons, {told['beacons_per_second']:,.0f} a second")
    rows = [
        [name, *(f"{told[f'{name}_p{percent}_ms']:,.0f}" for percent in freshness.PERCENTS), f"{told[every]:.0f}"]
        for name, every in (("written", "written_looked_every_ms"), ("visible", "visible_asked_every_ms"))
    ]
    for line in grid.plain(("", "p50 ms", "p95 ms", "p99 ms", "looked every ms"), rows, [False] + [True] * 4):
        click.echo(line)
    click.echo(f"waiting: {told['waiting_most']:,} at most, {told['waiting_at_the_end']:,} at the end")
    click.echo("most in each second: " + " ".join(map(str, told["waiting_most_by_second"])))
    click.echo("each beacon landed once" if told["landed_once"] else "; ".join(told["differences"]))


def _tell_drained(found: drain.Found, told: dict[str, Any]) -> None:
    turns = [("null writer", one) for one in found.null] + [("local BigQuery", pair.r2bq) for pair in found.pairs]
    rows = [_drained(name, one) for name, one in turns]
    rows += [["bare client", f"{pair.bare_rows_per_second:,.0f}", "", "", "", ""] for pair in found.pairs]
    for line in grid.plain(_DRAINED, rows, [False] + [True] * 5):
        click.echo(line)
    click.echo(_ratios(told, "rows_per_second_null", "ratio_local"))
    click.echo("each row landed once" if told["landed_once"] else "; ".join(found.differences))


def _ratios(told: Mapping[str, Any], *names: str) -> str:
    return " ".join(f"{name}={told[name]:.2f}" for name in names if told[name] is not None)


def _drained(name: str, one: Drained) -> list[str]:
    ratios = [f"{ratio:.2f}" for ratio in (one.ratio_backlog, one.ratio_backlog_cpu)]
    return [name, f"{one.rows_per_second:,.0f}", f"{one.cpu_us_per_row:.1f}", f"{one.peak_mib:.0f}", *ratios]


def _line(pair: Pair) -> None:
    told = " ".join(f"{name} {ratio:.2f}" for name, ratio in pair.ratios.items())
    click.echo(f"pair: {told}", err=True)


def _row(name: str, one: Measured) -> list[str]:
    times = [f"{value:.1f}" for value in (one.p50_ms, one.p99_ms)]
    counted = "" if one.instructions is None else f"{one.instructions / 1000:.0f}"
    return [name, f"{one.a_second:,.0f}", *times, f"{one.cpu_us:.0f}", f"{one.mib:.0f}", counted]
