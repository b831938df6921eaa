"""The scheduler: virtual time, and processes whose threads run one at a time, in an order that a seed decides.

A thread of the simulation runs until it calls `pause` or `wait`; then the scheduler alone says who runs next. So the
product's own code runs unchanged, blocking calls and all, and the same seed gives the same run. Nothing ever sleeps:
where nobody can run, the clock jumps to the next moment at which somebody can.
"""

import asyncio
import heapq
import itertools
import threading
import traceback
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

TICK_SECONDS = 0.005  # what a step takes: a call to Redis lasts about one turn of all who have something to do


class KilledError(SystemExit):
    """The process was killed here. Like SystemExit it passes through everything, asyncio's loop too."""


class StuckError(Exception):
    """Nobody can ever run again: the product, or the simulation, waits for something that cannot happen."""


class Process:
    """A simulated process: killed, its threads run no line more; stopped, they run on later; `names` are its writers'.

    `at_death` is what its operating system does for it: close its files, and so give up its locks.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dead = False
        self.is_told_to_stop = False
        self.stopped_until = 0.0
        self.names: set[str] = set()
        self.at_death: Callable[[], None] = lambda: None


class _Thread:
    """One thread of a process, and when it can go on."""

    def __init__(self, process: Process, name: str, wakes_at: float) -> None:
        self.process = process
        self.name = name
        self.wakes_at = wakes_at
        self.is_ready: Callable[[], bool] = _never
        self.turn = threading.Lock()
        self.turn.acquire()
        self.is_over = False


class Scheduler:
    """Lets one thread run at a time. `now` is the time in seconds since the world began."""

    def __init__(self, chance: Random) -> None:
        self.now = 0.0
        self.steps = 0
        self.surprises: list[str] = []
        self._chance = chance
        self._threads: list[_Thread] = []
        self._current: _Thread | None = None
        self._mine = threading.Lock()
        self._mine.acquire()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    @property
    def name(self) -> str:
        """Return the name of the thread that runs, for the trace."""
        return self._current.name if self._current else "world"

    # --- what the world asks

    def start(self, process: Process, work: Callable[[], None], name: str = "") -> None:
        """Let a process run one thread more; an error that it does not catch is a surprise."""
        thread = _Thread(process, name or process.name, self.now)
        self._threads.append(thread)
        threading.Thread(target=self._body, args=(thread, work), name=thread.name, daemon=True).start()

    def at(self, seconds: float, event: Callable[[], None]) -> None:
        """Let something happen in so many seconds, whoever is alive then."""
        heapq.heappush(self._events, (self.now + seconds, next(self._order), event))

    def step(self) -> None:
        """Let one thread run up to its next call, and all happen that is due before."""
        self._happen()
        self.bury()
        ready = [one for one in self._threads if self._can_run(one)]
        if not ready:
            self._jump()
            return
        self.steps += 1
        self.now += TICK_SECONDS
        self._resume(self._chance.choice(ready))

    def bury(self) -> None:
        """Let the threads of killed processes unwind, and their operating system close their files."""
        dead = {one.process for one in self._threads if one.process.is_dead}
        for thread in [one for one in self._threads if one.process in dead]:
            self._resume(thread)
        for process in sorted(dead, key=lambda one: one.name):
            process.at_death()

    def is_running(self, process: Process) -> bool:
        """Say whether a thread of the process is left."""
        return any(one.process is process for one in self._threads)

    # --- what a thread asks

    @property
    def process(self) -> Process:
        """Return the process whose thread is running."""
        assert self._current is not None
        return self._current.process

    def pause(self) -> None:
        """Let others run first. Raises KilledError."""
        self.wait(0.0)

    def wait(self, seconds: float | None, is_ready: Callable[[], bool] | None = None) -> None:
        """Return after so many seconds (None: never), or as soon as something is so. Raises KilledError."""
        thread = self._current
        assert thread is not None
        if not thread.process.is_dead:
            thread.wakes_at = float("inf") if seconds is None else self.now + seconds
            thread.is_ready = is_ready or _never
            self._mine.release()
            thread.turn.acquire()
        if thread.process.is_dead:
            raise KilledError(thread.name)

    def kill_self(self) -> None:
        """Kill the process whose thread is running. Raises KilledError."""
        self.process.is_dead = True
        raise KilledError(self.process.name)

    # --- the threads

    def _body(self, thread: _Thread, work: Callable[[], None]) -> None:
        thread.turn.acquire()
        try:
            if not thread.process.is_dead:
                work()
        except KilledError:
            pass
        except BaseException as exc:  # noqa: BLE001 - whatever it is, it is the run's result
            place = traceback.extract_tb(exc.__traceback__)[-1]
            self.surprises.append(f"{thread.name}: {type(exc).__name__}: {exc} ({place.name}, line {place.lineno})")
        thread.is_over = True
        self._mine.release()

    def _resume(self, thread: _Thread) -> None:
        self._current = thread
        thread.turn.release()
        self._mine.acquire()
        self._current = None
        if thread.is_over:
            self._threads.remove(thread)

    def _can_run(self, thread: _Thread) -> bool:
        return thread.process.stopped_until <= self.now and (thread.wakes_at <= self.now or thread.is_ready())

    def _happen(self) -> None:
        while self._events and self._events[0][0] <= self.now:
            heapq.heappop(self._events)[2]()

    def _jump(self) -> None:
        wakes = [max(one.wakes_at, one.process.stopped_until) for one in self._threads]
        wakes += [one.process.stopped_until for one in self._threads if one.is_ready()]
        wakes += [self._events[0][0]] if self._events else []
        moment = min((one for one in wakes if one > self.now), default=float("inf"))
        if moment == float("inf"):
            raise StuckError("; ".join(one.name for one in self._threads) or "no process is left")
        self.now = moment


class Promise:
    """The answer of work that another thread of the same process does; stands for concurrent.futures.Future."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._is_done = False
        self._answer: Any = None
        self._error: BaseException | None = None

    def fulfil(self, work: Callable[[], Any]) -> None:
        """Do the work, and keep what it answers or raises."""
        try:
            self._answer = work()
        except KilledError:
            raise
        except BaseException as exc:  # noqa: BLE001 - whoever asks for the answer gets it
            self._error = exc
        self._is_done = True

    def done(self) -> bool:
        """Say whether the work is over."""
        return self._is_done

    def result(self, timeout: float | None = None) -> Any:
        """Return the answer, or raise its error; TimeoutError after so many seconds."""
        if not self._is_done:
            self._scheduler.wait(timeout, self.done)
        if not self._is_done:
            raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._answer


class Pool:
    """A pool of threads of one process; stands for concurrent.futures.ThreadPoolExecutor."""

    def __init__(self, scheduler: Scheduler, process: Process) -> None:
        self._scheduler = scheduler
        self._process = process

    def submit(self, work: Callable[..., Any], *values: Any, **named: Any) -> Promise:
        """Let another thread do it."""
        promise = Promise(self._scheduler)
        name = f"{self._process.name}:{getattr(work, '__name__', 'work')}"
        self._scheduler.start(self._process, lambda: promise.fulfil(lambda: work(*values, **named)), name)
        return promise

    def shutdown(self, **_: object) -> None:
        """Leave what runs alone, as `shutdown(wait=False)` does."""


class Loop(asyncio.BaseEventLoop):
    """An asyncio loop in virtual time: where it would sleep, others run; what it hands to a thread goes to a Pool."""

    def __init__(self, scheduler: Scheduler, process: Process) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._pool = Pool(scheduler, process)
        self._over: list[Callable[[], None]] = []
        self._selector = self
        self.set_exception_handler(self._surprise)

    def time(self) -> float:
        return self._scheduler.now

    def select(self, timeout: float | None) -> list[Callable[[], None]]:
        """Stand for the selector: return what is over, at the latest after `timeout`."""
        if timeout is None or timeout > 0:
            self._scheduler.wait(timeout, lambda: bool(self._over))
        over, self._over = self._over, []
        return over

    def run_in_executor(self, executor: object, func: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":
        """Let another thread of the process do it; it goes on if nobody waits for it any more."""
        answer = self.create_future()

        def work() -> None:
            promise = Promise(self._scheduler)
            promise.fulfil(lambda: func(*args))
            self._over.append(lambda: _tell(answer, promise))

        self._pool.submit(work)
        return answer

    def bury(self) -> None:
        """Drop what a killed process had under way, without a word."""
        for task in asyncio.all_tasks(self):
            task._log_destroy_pending = False
            try:
                task.get_coro().close()
            except (KilledError, RuntimeError):
                continue
        self.close()

    def _process_events(self, event_list: Iterable[Callable[[], None]]) -> None:
        for tell in event_list:
            tell()

    def _write_to_self(self) -> None:
        """Do nothing: only one thread runs at a time, and `select` looks for itself."""

    def _surprise(self, _: object, context: dict[str, Any]) -> None:
        if not self._pool._process.is_dead:
            self._scheduler.surprises.append(f"{context.get('message')}: {context.get('exception')!r}")


def _tell(answer: "asyncio.Future[Any]", promise: Promise) -> None:
    if answer.done():
        return
    try:
        answer.set_result(promise.result())
    except Exception as exc:  # noqa: BLE001 - the one who awaits it gets it
        answer.set_exception(exc)


def _never() -> bool:
    return False
