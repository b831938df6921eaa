"""The command `oceanus migrate`."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable

import click

from management import migrate, running
from management.telling import progress, say
from management.wording import counted
from oceanus import settings, sites
from oceanus.errors import MisconfiguredError
from oceanus.settings import RedisSettings, UpSettings
from oceanus.shards import Shards, shards
from oceanus.sites import Site
from oceanus.spool import Pusher, connect, connect_pusher
from oceanus.tables import Naming


@click.command("migrate", epilog="Example: oceanus migrate --from old-redis:6379 --dry-run")
@click.option("--from", "address", required=True, metavar="HOST:PORT", help="The original's Redis; it may be ours.")
@click.option("--site", "names", multiple=True, help="Only this site; may be given again. Else: all of sites.yaml.")
@click.option("--dry-run", is_flag=True, help="Only say what waits.")
@click.pass_context
def command(ctx: click.Context, address: str, names: tuple[str, ...], dry_run: bool) -> None:
    """Move what waits in an original oceanus' Redis into ours.

    Each record once, also where this is interrupted and run again. First let its arms and then its r2bq end. What a
    site's table would not take becomes a failed record (`oceanus failed list`); the empty texts that the original's
    r2bq left are passed over. Nobody is told by alerts.yaml of what is moved.
    """
    environ = settings.environment()
    declared = sites.load(running.sites_file(environ))
    chosen = _chosen(declared, names, running.sites_file(environ))
    lists = migrate.Lists(connect(_address(address)))
    lengths = {site.name: lists.length(site.name) for site in chosen}
    for name, length in lengths.items():
        click.echo(f"{name}: {counted(length, 'record')} {'waits' if length == 1 else 'wait'}")
    if dry_run or not any(lengths.values()):
        return
    ours = shards(running.redis(environ), declared)
    with progress("moved", sum(lengths.values())) as step:
        moved = asyncio.run(_migrate(lists, ours, chosen, _naming(environ), step))
    for name, tally in moved.items():
        click.echo(f"{name}: {_told(tally)}")
    failed = sum(tally["failed"] for tally in moved.values())
    if failed:
        say([f"{counted(failed, 'record')} failed: see oceanus failed list"])
    ctx.exit(1 if failed else 0)


async def _migrate(
    lists: migrate.Lists, ours: Shards, chosen: Iterable[Site], naming: Naming, step: Callable[[int], None]
) -> dict[str, Counter[str]]:
    pushers = {
        name: Pusher(connect_pusher(one, migrate.PUSH_SECONDS), "migrate", 0) for name, one in ours.redis.items()
    }
    try:
        return {
            site.name: await migrate.migrate(lists, pushers[home], redis.address, site, naming, step)
            for site in chosen
            for home in [ours.home(site.name)]
            for redis in [ours.redis[home]]
        }
    finally:
        for pusher in pushers.values():
            await pusher.close()


def _chosen(declared: sites.Sites, names: tuple[str, ...], file: str) -> list[Site]:
    unknown = [name for name in names if name not in declared]
    if unknown:
        raise MisconfiguredError([f"--site {name}: {file} declares no such site" for name in unknown])
    return [site for site in declared.values() if not names or site.name in names]


def _address(text: str) -> RedisSettings:
    try:
        host, port = settings.address(text)
    except ValueError as exc:
        raise click.UsageError(f"--from {text}: {exc}, such as old-redis:6379") from exc
    return settings.read(RedisSettings, {"REDIS_PD_SERVICE_HOST": host, "REDIS_PD_SERVICE_PORT": str(port)})


def _naming(environ: dict[str, str]) -> Naming:
    """Return our tables' names: what decides whether a table takes a record is its columns alone."""
    return Naming(settings.read(UpSettings, environ).dataset)


def _told(tally: Counter[str]) -> str:
    parts = [f"{counted(tally['queue'], 'record')} moved"]
    parts += [f"{tally['failed']} failed"] if tally["failed"] else []
    parts += [f"{counted(tally['empty'], 'empty text')} passed over"] if tally["empty"] else []
    return ", ".join(parts)
