"""`oceanus up`: the whole of oceanus on one machine, in the foreground.

Start: Redis and BigQuery at once; arms as soon as Redis answers; the tables, then what keeps and what fills them. Where
Google's BigQuery is away, arms takes beacons all the same, and the others are tried until it is back.
Stop: arms first, so that nothing new comes; then what waits is written; then what writes it; then the stores.
The socket on which arms listens is ours (or systemd's), so that who comes while arms is started anew waits for it.
"""

import asyncio
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import httpx

from management import check, folder, leftovers, noise, parts, programs, running, status, systemd
from management.folder import Folder
from management.programs import Layout
from management.supervisor import DiedEarlyError, Program, Supervisor
from management.uplog import Log, open_log
from management.wording import counted
from oceanus import sites, warehouse
from oceanus.errors import MisconfiguredError, SpoolError, WarehouseError
from oceanus.settings import ArmsSettings, RedisSettings, UpSettings, WarehouseSettings, read
from oceanus.shards import Spools, shards
from oceanus.spool import Spool, connect
from oceanus.warehouse.clients import why_away

STOP_ORDER = ("console", "r2bq", "revelation", "table_manager", "bigquery", "redis")
LOOK_SECONDS = 0.1
# Our processes end by themselves when their grace is over; this much later they are made to.
MARGIN_SECONDS = 3.0
SAY_SECONDS = 15.0
# A stop that takes longer says for what it waits.
SILENT_SECONDS = 2.0
# One Ctrl-C can arrive twice, by way of make or timeout; only one after this is a second one.
SAME_SECONDS = 0.5
# Long enough for a no; who is away is only started anew until it is back.
ASK_SECONDS = 5.0
# Those who come while arms is started anew; the kernel allows 4,096 (net.core.somaxconn).
BACKLOG = 4096
LOG_FILE = "up.log"


async def up(environ: Mapping[str, str]) -> int:
    """Run everything until SIGINT or SIGTERM; return the exit code.

    Raises MisconfiguredError, with a line for each mistake, before anything starts.
    """
    stop = Stop(asyncio.get_running_loop().time).listen()
    mistakes = check.mistakes(environ)
    if mistakes:
        raise MisconfiguredError(mistakes)
    settings = read(UpSettings, environ)
    host, door = read(ArmsSettings, programs.with_defaults(environ)).host, systemd.handed_over(settings, os.getpid())
    if door is not None:
        host, port, *_ = door.getsockname()
        settings = replace(settings, port=port)
    plan = programs.layout(settings, host, parts.free_port)
    _check_targets(settings)
    away = await asyncio.to_thread(_why_away, environ) if plan.is_google else None
    if door is None and not plan.data_dir.exists():
        door = _open(plan)  # before the folder is made, which is then not left behind
    plan.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open_log(plan.data_dir / LOG_FILE) as file:
        log = Log(file, sys.stdout, lambda: open_log(plan.data_dir / LOG_FILE))
        for line in check.warnings(environ):
            log.tell("up", f"warning: {line}")
        ours = await asyncio.to_thread(
            folder.take, plan.data_dir, settings.grace_seconds, lambda line: log.tell("up", line)
        )
        try:
            door = door or _open(plan)  # only now: what a killed `up` left running may have listened there
            return await _House(plan, settings, environ, ours, door, away, log).live(stop)
        finally:
            ours.release()


class Stop:
    """What signals ask for: the first to stop, a SIGINT after it to hurry; any further one changes nothing."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()
        self._clock = clock
        self._asked_at = 0.0

    def listen(self) -> "Stop":
        """Hear the signals of this process."""
        hangup = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)  # ignored under nohup
        for number in (signal.SIGTERM, signal.SIGINT, *hangup):
            asyncio.get_running_loop().add_signal_handler(number, self.hear, number)
        return self

    def hear(self, number: int) -> None:
        """Take one signal."""
        if not self.asked.is_set():
            self._asked_at = self._clock()
            self.asked.set()
        elif number == signal.SIGINT and self._clock() - self._asked_at >= SAME_SECONDS:
            self.hurried.set()


class _House:
    """All that one `oceanus up` runs."""

    def __init__(
        self,
        plan: Layout,
        settings: UpSettings,
        environ: Mapping[str, str],
        ours: Folder,
        door: socket.socket,
        away: WarehouseError | None,
        log: Log,
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._door = door
        self._away = away
        self._grace_seconds = float(settings.grace_seconds)
        self._environ = environ
        self._folder = ours
        self._log = log
        self._token = ours.token(settings.trust_token)
        self._console = programs.console_url(plan, environ) if settings.console else ""
        self._sites_digest = running.digest(plan.sites_file)
        self._ready = False
        self._children = Supervisor(log, self._written)

    async def live(self, stop: Stop) -> int:
        """Start everything, keep it running until `stop`, stop everything; return the exit code."""
        failure: DiedEarlyError | None = None
        try:
            failure = await self._start(stop.asked)
            if failure is None and not stop.asked.is_set():
                await self._keep(stop.asked)
        finally:
            await self._stop(stop.hurried)
        for line in [] if failure is None else [f"{failure}; its last lines:", *failure.lines]:
            self._log.tell("up", line)
        return 0 if failure is None else 1

    async def _start(self, stop: asyncio.Event) -> DiedEarlyError | None:
        """Start everything; return early on `stop`, and with the failure of a child that ended."""
        if stop.is_set():
            return None
        starting = asyncio.create_task(self._start_all())
        stopped = asyncio.create_task(stop.wait())
        ends: list[asyncio.Future[Any]] = [starting, stopped, self._children.failure]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        starting.cancel()  # changes nothing if it has ended
        (outcome,) = await asyncio.gather(starting, return_exceptions=True)
        if self._children.failure.done():
            return self._children.failure.result()
        if isinstance(outcome, DiedEarlyError):
            return outcome
        if isinstance(outcome, Exception):
            raise outcome
        return None

    async def _keep(self, stop: asyncio.Event) -> None:
        self._go_on()
        for line in await asyncio.to_thread(self._stranded):
            self._log.tell("up", line)
        self._log.tell("up", f"sites file: {self._plan.sites_file}")
        self._log.tell("up", f"alerts file: {self._plan.alerts_file or 'none (ALERTS_FILE is not set)'}")
        self._log.tell("up", f"every line, also those not shown here: {self._plan.data_dir / LOG_FILE}")
        if self._console:
            self._log.say(f"console: {self._console}")
        self._log.say(f"ready: {self._plan.url}")
        systemd.tell(self._settings, "READY=1")
        await stop.wait()

    def _go_on(self) -> None:
        """From now on start again what ends, and let the other commands find us."""
        self._children.all_is_up()
        self._ready = True
        self._written()

    async def _start_all(self) -> None:
        for store in await asyncio.to_thread(self._stores):
            await self._children.start(store)
        await self._until(self._redis_answers, "Redis")
        await self._children.start(self._arms())
        if self._console:  # early: it reads while the others are waited for
            await self._children.start(programs.console(self._plan, self._environ, self._token))
        await self._until(self._bigquery_listens, "BigQuery")
        if self._away is None:
            await self._children.once(self._program("table_manager", "--once"))
        else:
            self._log.tell("up", f"BigQuery is away: {self._away}; beacons are taken, and wait in Redis")
            self._go_on()
        await self._children.start(self._program("r2bq"))
        await self._children.start(self._program("table_manager"))
        if self._plan.alerts_file:
            await self._children.start(self._program("revelation"))
        await self._until(lambda: _is_ok(f"{self._plan.url}lb"), "arms")
        await self._until(lambda: _is_ok(f"http://{programs.LOOPBACK}:{self._plan.ports['r2bq']}/hc"), "r2bq")
        if self._console:
            await self._until(lambda: _is_ok(f"{self._console}hc"), "the console")

    async def _stop(self, hurried: asyncio.Event) -> None:
        if not self._children.running:
            return
        systemd.tell(self._settings, "STOPPING=1")
        self._log.tell("up", "stopping: arms first, then what waits is written")
        await self._stop_arms(hurried)
        self._door.close()
        if self._ready:
            await self._drain(hurried)
        for name in STOP_ORDER:
            await self._children.stop(name, self._grace_seconds + MARGIN_SECONDS)
        self._log.tell("up", "stopped; what is in DATA_DIR stays for the next start")

    async def _stop_arms(self, hurried: asyncio.Event) -> None:
        """Stop arms; what it answered for is in Redis, so that on `hurried` nothing stored is lost."""
        said = f"waiting up to {self._grace_seconds:g} s for arms to answer what it holds; Ctrl-C again: do not wait"
        saying = asyncio.get_running_loop().call_later(SILENT_SECONDS, self._log.tell, "up", said)
        await self._children.stop("arms", self._grace_seconds + MARGIN_SECONDS, hurried)
        saying.cancel()

    async def _drain(self, hurried: asyncio.Event) -> None:
        """Wait until nothing waits in Redis, up to the grace time or `hurried`; say what is left."""
        spools = self._spools()
        began, silent = time.monotonic(), True
        try:
            waiting = await asyncio.to_thread(_waiting, spools, self._plan.sites_file)
            while any(waiting.drained.values()) and not hurried.is_set():
                seconds = time.monotonic() - began
                if seconds >= self._grace_seconds:
                    break
                if silent and seconds >= SILENT_SECONDS:
                    records = counted(sum(waiting.drained.values()), "record")
                    self._log.tell("up", f"waiting up to {self._grace_seconds:g} s for {records} to be written")
                    silent = False
                await asyncio.sleep(LOOK_SECONDS)
                waiting = await asyncio.to_thread(_waiting, spools, self._plan.sites_file)
        except SpoolError as exc:
            self._log.tell("up", f"cannot see what waits: {exc}; it is in Redis' files for the next start")
            return
        left = {name: count for name, count in (waiting.drained | waiting.stranded).items() if count}
        if left:
            counts = ", ".join(f"{name} {count}" for name, count in left.items())
            self._log.tell("up", f"left in Redis for the next start: {counts}")

    def _stranded(self) -> list[str]:
        """Return a line for each site with records that nobody drains."""
        try:
            waiting = _waiting(self._spools(), self._plan.sites_file)
        except SpoolError as exc:
            return [f"cannot see whether records of removed sites wait: {exc}"]
        return status.stranded_lines(waiting.stranded, self._plan.sites_file)

    def _stores(self) -> list[Program]:
        """Return Redis and BigQuery, where they are ours to start; raises MisconfiguredError if one is not there."""
        stores = []
        if self._plan.own_redis:
            stores.append(self._store("redis", self._redis(), noise.REDIS))
        if self._plan.own_bigquery:
            stores.append(self._store("bigquery", self._bigquery(), noise.BIGQUERY))
        return stores

    def _redis(self) -> parts.Command:
        server = parts.find_redis()
        self._folder.check_flavour(server.flavour)
        return parts.redis_command(
            server, self._folder.redis, self._plan.ports["redis"], maxmemory=self._plan.redis_maxmemory
        )

    def _bigquery(self) -> parts.Command:
        ports = self._plan.ports
        return parts.bigquery_command(
            self._folder.bigquery, ports["bigquery"], ports["bigquery_storage"], self._plan.project
        )

    def _store(self, name: str, command: parts.Command, hush: re.Pattern[str]) -> Program:
        """Return a program that writes below DATA_DIR: it keeps the lock for as long as it lives."""
        keeps = (self._folder.lock,)
        return Program(name=name, words=command.words, environ=command.environ, keeps=keeps, hush=hush)

    def _arms(self) -> Program:
        """Return arms, which listens on our socket."""
        arms, number = self._program("arms"), self._door.fileno()
        return replace(arms, environ={**arms.environ, "LISTEN_FD": str(number)}, keeps=(number,))

    def _program(self, name: str, *arguments: str) -> Program:
        return programs.program(self._plan, self._environ, name, self._token, *arguments)

    def _spools(self) -> Spools:
        return Spools.connected(shards(self._redis_settings()))

    def _redis_settings(self) -> RedisSettings:
        return read(RedisSettings, self._program("r2bq").environ)

    async def _redis_answers(self) -> bool:
        try:
            await asyncio.to_thread(Spool(connect(self._redis_settings())).ping)
        except SpoolError:
            return False
        return True

    async def _bigquery_listens(self) -> bool:
        if not self._plan.own_bigquery:
            return True
        ports = self._plan.ports
        return await _listens(ports["bigquery"]) and await _listens(ports["bigquery_storage"])

    async def _until(self, answers: Callable[[], Awaitable[bool]], what: str) -> None:
        """Ask again and again until the answer is yes; say now and then what is being waited for."""
        say = time.monotonic() + SAY_SECONDS
        while not await answers():
            if time.monotonic() > say:
                self._log.tell("up", f"still waiting for {what}")
                say += SAY_SECONDS
            await asyncio.sleep(LOOK_SECONDS / 2)

    def _written(self) -> None:
        """Write down who runs now: for the next `up`, and once all is up for the other commands.

        A disk that is full must not end what runs: it is told, and written down at the next change.
        """
        try:
            self._folder.record(self._children.running)
            if self._ready:
                self._save()
        except OSError as exc:
            self._log.tell("up", f"who runs now cannot be written down in DATA_DIR: {exc.strerror}: make room there")

    def _save(self) -> None:
        environ, up_itself = self._program("arms").environ, leftovers.mark(os.getpid())
        children = self._children.running
        running.save(
            self._plan, environ, up_itself, self._folder.token_file, children, self._console, self._sites_digest
        )


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Records in Redis by site: those of sites.yaml are being drained, those of removed sites by nobody."""

    drained: dict[str, int]
    stranded: dict[str, int]


def _waiting(spools: Spools, sites_file: str) -> _Waiting:
    declared = sites.load(sites_file)
    looks = {name: spools.look(name) for name in sorted(set(declared) | spools.sites())}
    drained = {name: status.waiting(look) for name, look in looks.items() if name in declared}
    return _Waiting(drained, status.stranded(looks, declared))


def _why_away(environ: Mapping[str, str]) -> WarehouseError | None:
    """Return what keeps BigQuery from answering now; raises MisconfiguredError if a person has to act."""
    chosen = read(WarehouseSettings, programs.with_defaults(environ))
    return why_away(warehouse.connect(chosen), chosen.dataset, ASK_SECONDS)


def _check_targets(settings: UpSettings) -> None:
    """Raise MisconfiguredError unless TARGETS_FILE, where one is named, can be written."""
    folder = os.path.dirname(settings.targets_file)
    if settings.targets_file and not os.access(folder or ".", os.W_OK):
        remedy = f"make {folder or 'a folder'}, where this user may write, or leave it out"
        raise MisconfiguredError([f"TARGETS_FILE={settings.targets_file}: cannot be written: {remedy}"])


def _open(plan: Layout) -> socket.socket:
    """Return a socket that listens on arms' port; raises MisconfiguredError if nobody can."""
    port = plan.ports["arms"]
    listener = socket.socket(socket.AF_INET6 if ":" in plan.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((plan.host, port))
        listener.listen(BACKLOG)
    except OSError as exc:
        listener.close()
        remedy = "stop what listens there, or set PORT to another one"
        raise MisconfiguredError([f"PORT={port}: cannot listen there: {exc.strerror}; {remedy}"]) from exc
    return listener


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(programs.LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True


async def _is_ok(url: str) -> bool:
    try:
        async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
            return (await client.get(url)).status_code == 200
    except httpx.HTTPError:
        return False
