"""The renderer: templates are filled in by child processes with little memory, so that none can hurt this process.

A child that a template stalls or fills is ended, by itself or by the kernel, and another takes its place. Children
come from a fork server, which has no threads and no connections of ours; they end when this process does, however it
does: an idle one reads the end of its pipe, and a busy one is idle within two seconds.
"""

import multiprocessing
import resource
import signal
import threading
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from oceanus.errors import TryAgainError
from revelation import templates
from revelation.templates import Job, Name

WORKERS = 2
WAIT_SECONDS = 20.0  # of a busy machine; a template itself has a second of processor time
MORE_BYTES = 64 * 1024 * 1024  # that a template may take; 20,000 characters need next to nothing
_STATM = Path("/proc/self/statm")


class _EndedError(Exception):
    """The child ended inside the job."""


class Renderer:
    """Keeps the children. Safe to call from several threads."""

    def __init__(self, workers: int = WORKERS, wait_seconds: float = WAIT_SECONDS) -> None:
        self._workers = workers
        self._seconds = wait_seconds
        self._lock = threading.Lock()
        self._pool: ProcessPool | None = None
        self._is_closed = False

    def render(self, job: Job) -> dict[Name, str]:
        """Return the texts of a job.

        Raises RefusedError with a line that begins with the template's name, or TryAgainError where the machine is
        to blame.
        """
        try:
            return self._ask(job)
        except _EndedError:
            return self._one_by_one(job)

    def close(self) -> None:
        """End the children."""
        with self._lock:
            self._is_closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            _end(pool)

    def _ask(self, job: Job, is_second: bool = False) -> dict[Name, str]:
        try:
            asked = self._running().schedule(templates.render, args=[job], timeout=self._seconds)
            return _result(asked, self._seconds)
        except ProcessExpired as exc:
            raise _EndedError from exc
        except TimeoutError as exc:
            raise TryAgainError(f"the renderer does not answer within {self._seconds:g} s") from exc
        except (BrokenProcessPool, CancelledError, RuntimeError) as exc:  # pebble gives up a pool of ended children
            if is_second:
                raise TryAgainError(f"the renderer does not run: {type(exc).__name__}") from exc
            return self._ask(job, is_second=True)

    def _one_by_one(self, job: Job) -> dict[Name, str]:
        """Find the template that has ended its child: each alone."""
        texts: dict[Name, str] = {}
        for name, source in job.templates.items():
            alone = Job(
                kind=job.kind,
                zone=job.zone,
                templates={name: source},
                record=job.record,
                opened=job.opened,
                more=job.more,
            )
            try:
                texts |= self._ask(alone)
            except _EndedError:
                raise templates.refused(
                    name, f"takes longer than {templates.SECONDS:g} s, or too much memory"
                ) from None
        return texts

    def _running(self) -> ProcessPool:
        with self._lock:
            if self._is_closed:
                raise TryAgainError("the renderer is closed")
            if self._pool is not None and not self._pool.active:
                _end(self._pool)
                self._pool = None
            if self._pool is None:
                self._pool = _new_pool(self._workers)
            return self._pool


def _result(asked: ProcessFuture[dict[Name, str]], seconds: float) -> dict[Name, str]:
    try:
        return asked.result(seconds)
    except TimeoutError:
        asked.cancel()  # nobody waits for it any more
        raise


def _new_pool(workers: int) -> ProcessPool:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return ProcessPool(max_workers=workers, initializer=_confine, context=context)


def _end(pool: ProcessPool) -> None:
    pool.stop()
    pool.join()


def _confine() -> None:
    """Limit this child, before it takes its first job."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # to end at once, also inside one long call
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if _STATM.exists():  # Linux; elsewhere the processor's time alone is limited
        taken = int(_STATM.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MORE_BYTES, taken + MORE_BYTES))
    templates.allow_seconds()
