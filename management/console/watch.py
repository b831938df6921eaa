"""The watch: threads that read Redis for all viewers at once, so that a hundred of them cost it no more than one.

One looks at every site, each second (LOOK_SECONDS); where a look takes long, it rests nineteen times as long, so that
it never has more than a twentieth of a Redis' time. One for each Redis hears what is accepted there. One asks arms how
much is in its journal, and Redis for sites that sites.yaml does not declare, every five seconds (SELDOM_SECONDS).
"""

import logging
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from management.console.history import History, Now
from management.console.stream import Stream
from management.status import Journal, told
from oceanus.errors import SpoolError
from oceanus.shards import Spools
from oceanus.spool import Spool

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
REST_TIMES = 19.0
SELDOM_SECONDS = 5.0
DAYS = 9  # of the ledger: beacons of a replay are counted on the days that they tell of


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What was seen at one look; `trouble` says in a sentence what cannot be seen, and why."""

    number: int
    at: float
    sites: dict[str, Now] = field(default_factory=dict)
    journal: Journal | None = None
    trouble: str = ""

    def told(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        sites = {name: asdict(one) for name, one in self.sites.items()}
        return {"at": self.at, "sites": sites, "trouble": self.trouble, "arms": told(self.journal)}


class Watch:
    """Keeps what was seen last; `stream` and `history` keep what was before.

    `surprised` is called when a thread ends by an error that nobody foresaw: what is shown would stand still.
    """

    def __init__(
        self,
        spools: Spools,
        declared: Collection[str],
        stream: Stream,
        history: History,
        ask_journal: Callable[[], Journal | None],
        surprised: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.stream = stream
        self.history = history
        self.moment = Moment(number=0, at=clock())
        self._spools = spools
        self._declared = list(declared)
        self._sites = list(declared)
        self._ask_journal = ask_journal
        self._surprised = surprised
        self._clock = clock
        self._journal: Journal | None = None
        self._deaf: dict[str, str] = {}
        self._over = threading.Event()

    def start(self) -> None:
        """Begin to look and to hear; the threads end with `stop`, and with the process."""
        for name, spool in self._spools.every.items():
            threading.Thread(
                target=self._run, args=(self._hear, name, spool), name=f"hears {name}", daemon=True
            ).start()
        for work in (self._look_on, self._seldom_on):
            threading.Thread(target=self._run, args=(work,), name=work.__name__, daemon=True).start()

    def stop(self) -> None:
        """Look and hear no more; who waits for a Redis that is away hears of this when it is back."""
        self._over.set()

    def look(self) -> Moment:
        """Look once at every site."""
        at, trouble, found = self._clock(), "", dict[str, Now]()
        today = datetime.fromtimestamp(at, UTC).date()
        try:
            days = [f"{today - timedelta(days=ago):%Y%m%d}" for ago in range(-1, DAYS)]  # clocks differ: tomorrow, too
            looks = self._spools.glances(self._sites, days)
            found = self.history.note(at, f"{today:%Y%m%d}", looks)
        except SpoolError as exc:
            trouble = str(exc)
            self.history.note(at, "", {})
        told_all = "; ".join(filter(None, [trouble, *self._deaf.values()]))
        self.moment = Moment(number=self.moment.number + 1, at=at, sites=found, journal=self._journal, trouble=told_all)
        return self.moment

    def seldom(self) -> None:
        """Ask for what changes slowly; where Redis is away, the sites are those that were known."""
        self._journal = self._ask_journal()
        with suppress(SpoolError):  # `look` tells of it
            self._sites = [*self._declared, *sorted(self._spools.sites() - set(self._declared))]

    def _run(self, work: Callable[..., None], *given: Any) -> None:
        try:
            work(*given)
        except Exception:  # whatever it is: a thread would end unseen, and the page stand still
            log.exception("ending, for another to start")
            self._surprised()

    def _seldom_on(self) -> None:
        while not self._over.is_set():
            self.seldom()
            self._over.wait(SELDOM_SECONDS)

    def _look_on(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            self.look()
            took = time.monotonic() - began
            self._over.wait(SELDOM_SECONDS if self.moment.trouble else max(LOOK_SECONDS - took, REST_TIMES * took))

    def _hear(self, name: str, spool: Spool) -> None:
        def deaf(error: SpoolError) -> None:
            if name not in self._deaf:
                log.warning("%sthe live channel is silent: %s", f"{name}: " if name else "", error)
            self._deaf[name] = f"records are not heard: {error}"

        for heard in spool.heard(self._declared, deaf):
            self._deaf.pop(name, None)
            if heard:
                self.stream.hear(*heard)
            if self._over.is_set():
                return
