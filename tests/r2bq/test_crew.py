"""The crew: which drains step and when, who gives signs of life, and who is adopted; one in trouble delays no other."""

import queue
import threading
from dataclasses import dataclass, field

import pytest

from oceanus import records, sites
from oceanus.errors import SpoolUnclearError
from oceanus.spool import LEASE_MS, Backlog, Holder
from oceanus.tables import Naming
from oceanus.worker import Stop
from r2bq import metrics
from r2bq.__main__ import work
from r2bq.crew import LATEST, OTHERS_SECONDS, Crew
from r2bq.source import Source

SAMPLE = sites.load(str(sites.SAMPLE))
BUSY, QUIET = SAMPLE["bizocean"], SAMPLE["skj"]  # 50 rows or 1 s, 25 rows or 1 s
NOW_US = 1_795_342_020_000_000
NOTHING = Backlog(length=0, oldest=None)


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass(eq=False)
class FakeDrain:
    """A drain that notes what it is asked, and moves as many batches as it has."""

    source: Source
    asked: "queue.Queue[str]" = field(default_factory=queue.Queue)
    batches: int = 0
    holds: bool = False
    waits_until: float = 0.0
    holder: Holder | None = None
    gate: threading.Event | None = None
    surprise: Exception | None = None

    @property
    def place(self) -> tuple[str, str]:
        return self.source.site.name, self.source.list

    def step(self) -> bool:
        self.asked.put("step")
        if self.surprise:
            raise self.surprise
        if self.gate:
            self.gate.wait(10)
        self.batches -= 1
        return self.batches > 0

    def adopt(self, dead: str) -> None:
        self.asked.put(f"adopt {dead}")

    def gone(self, why: str) -> None:
        self.asked.put("gone")

    def release(self) -> None:
        self.asked.put("release")

    def heard(self) -> list[str]:
        """Return what it was asked so far."""
        return [self.asked.get_nowait() for _ in range(self.asked.qsize())]


class FakeSpool:
    """A Redis of dictionaries, by list."""

    def __init__(self) -> None:
        self.waiting: dict[tuple[str, str], Backlog] = {}
        self.dead: dict[tuple[str, str], list[str]] = {}
        self.adopted: set[str] = set()
        self.filled: set[str] = set()
        self.beaten: list[str] = []
        self.left: dict[str, int] = {}
        self.is_away = False

    def sites(self) -> set[str]:
        self._answers()
        return {"bizocean", *self.left}

    def lengths(self, names: list[str]) -> list[int]:
        return [self.left[name] for name in names]

    def backlogs(self, lists: list[tuple[str, str]]) -> list[Backlog]:
        self._answers()
        return [self.waiting.get(place, NOTHING) for place in lists]

    def beats(self, holders: list[Holder]) -> list[bool | None]:
        self._answers()
        self.beaten += [holder.writer for holder in holders]
        return [None if holder.writer in self.adopted else holder.writer in self.filled for holder in holders]

    def lapsed(self, lists: list[tuple[str, str]]) -> list[list[str]]:
        self._answers()
        return [self.dead.get(place, []) for place in lists]

    def _answers(self) -> None:
        if self.is_away:
            raise SpoolUnclearError("Redis gave no answer")


def drain(site: sites.Site = BUSY, source: str = "queue", **changes: object) -> FakeDrain:
    holder = Holder(site.name, source, f"{site.name}-w", f"{site.name}-w")
    return FakeDrain(Source(site, source, Naming("d")), **({"holder": holder} | changes))


def backlog(length: int, waited_seconds: float) -> Backlog:
    """Return a list whose oldest record was received so long ago."""
    eid = records.mint(NOW_US - round(waited_seconds * 1e6))
    return Backlog(length=length, oldest=records.encode({"v": 1, "eid": eid, "dt": "2026-11-22 10:07:00"}))


class Ship:
    """A crew of fake drains, its clock and its spool."""

    def __init__(self, *drains: FakeDrain) -> None:
        self.clock, self.spool = Clock(), FakeSpool()
        self.drains = drains
        self.crew = Crew(drains, self.spool, len(drains) or 1, self.clock, lambda: NOW_US)

    def step(self) -> list[list[str]]:
        """Step once, let all end, and return what each drain was asked."""
        self.crew.step()
        self.end()
        return [one.heard() for one in self.drains]

    def end(self) -> None:
        """Wait for the turns that run."""
        for future in list(self.crew._running.values()):
            future.exception(10)


@pytest.mark.parametrize(
    ("waiting", "is_due"),
    [
        (NOTHING, False),
        (backlog(49, 0.9), False),
        (backlog(50, 0.0), True),
        (backlog(1, 1.0), True),
        (backlog(1, 0.99), False),
        (Backlog(length=1, oldest=b"no record"), True),
    ],
)
def test_a_drain_is_due_when_enough_rows_wait_or_the_oldest_waited_long_enough(waiting, is_due):
    ship = Ship(drain())
    ship.spool.waiting[ship.drains[0].place] = waiting

    heard = ship.step()

    assert heard == [["step"] if is_due else []]


def test_a_failed_list_has_its_own_rows_and_seconds_and_its_own_key():
    ship = Ship(drain(source="failed"))
    place = ship.drains[0].place
    fresh = records.encode({"v": 1, "fid": records.mint(NOW_US), "dt": "2026-11-22 10:07:00"})

    heard = []
    for waiting in (
        Backlog(length=LATEST["failed"][0] - 1, oldest=fresh),
        Backlog(length=LATEST["failed"][0], oldest=fresh),
    ):
        ship.spool.waiting[place] = waiting
        heard += ship.step()
        ship.clock.now += OTHERS_SECONDS

    assert heard == [[], ["step"]]


def test_a_drain_that_holds_a_claim_is_due_though_nothing_waits():
    ship = Ship(drain(holds=True))

    assert ship.step() == [["step"]]


def test_a_drain_in_back_off_waits_and_then_steps():
    ship = Ship(drain(holds=True, waits_until=1002.0))

    heard = ship.step()
    ship.clock.now = 1002.0
    heard += ship.step()

    assert heard == [[], ["step"]]


def test_a_step_tells_whether_any_drain_was_due():
    ship = Ship(drain(), drain(QUIET))

    nothing = ship.crew.step()
    ship.spool.waiting[ship.drains[1].place] = backlog(25, 0)
    something = ship.crew.step()
    ship.end()

    assert (nothing, something) == (False, True)


def test_a_drain_with_more_to_move_steps_on_in_its_turn():
    ship = Ship(drain(holds=True, batches=3))

    assert ship.step() == [["step", "step", "step"]]


def test_a_drain_that_hangs_delays_no_other_and_is_not_stepped_twice():
    hangs, goes = drain(holds=True, gate=threading.Event()), drain(QUIET, holds=True)
    ship = Ship(hangs, goes)
    heard = []

    for _ in range(2):
        ship.crew.step()
        heard.append(goes.asked.get(timeout=10))
        ship.crew._running[goes].exception(10)
    hangs.gate.set()
    ship.end()

    assert heard == ["step", "step"]
    assert hangs.heard() == ["step"]


def test_a_drain_in_trouble_delays_no_other():
    ship = Ship(drain(holds=True, waits_until=9999.0), drain(QUIET, holds=True))

    assert ship.step() == [[], ["step"]]


def test_idle_drains_give_signs_of_life_once_a_second():
    ship = Ship(drain(), drain(QUIET, holder=None))

    for now in (1000.0, 1000.5, 1001.0):
        ship.clock.now = now
        ship.step()

    assert ship.spool.beaten == ["bizocean-w", "bizocean-w"]


def test_a_drain_in_back_off_gives_signs_of_life():
    ship = Ship(drain(waits_until=9999.0))

    ship.step()

    assert ship.spool.beaten == ["bizocean-w"]


def test_a_drain_that_was_adopted_is_told():
    ship = Ship(drain(), drain(QUIET))
    ship.spool.adopted.add("skj-w")

    assert ship.step() == [[], ["gone"]]


def test_lapsed_writers_of_its_list_are_adopted_by_a_drain_but_never_itself():
    ship = Ship(drain(), drain(QUIET))
    ship.spool.dead = {ship.drains[0].place: ["bizocean-w", "x", "y"], ship.drains[1].place: []}

    assert ship.step() == [["adopt x", "adopt y"], []]


def test_a_drain_that_runs_adopts_nobody_until_it_is_idle():
    runs = drain(holds=True, gate=threading.Event())
    ship = Ship(runs)
    ship.crew.step()
    ship.spool.dead[runs.place] = ["x"]
    ship.clock.now += 1
    ship.crew.step()
    runs.gate.set()
    ship.end()
    while_running = runs.heard()
    runs.holds = False
    ship.clock.now += 1

    assert (while_running, ship.step()) == (["step"], [["adopt x"]])


def test_a_redis_that_is_away_stops_nothing_and_is_no_reason_to_end_this_process():
    ship = Ship(drain(holds=True))
    ship.spool.is_away = True
    ship.clock.now += 500

    heard = ship.step()
    turned_at = ship.crew.turned_at
    ship.spool.is_away = False
    heard += ship.step()

    assert heard == [[], ["step"]]
    assert turned_at == 1500.0


@pytest.mark.parametrize(
    ("waiting", "age"),
    [
        (NOTHING, 0.0),
        (backlog(3, 42.0), 42.0),
        (backlog(3, -5.0), 0.0),  # a clock that is ahead
        (Backlog(length=1, oldest=b"no record"), 0.0),
    ],
)
def test_the_age_of_the_oldest_waiting_record_is_told(waiting, age):
    ship = Ship(drain())
    place = ship.drains[0].place
    ship.spool.waiting[place] = waiting

    ship.step()

    told = metrics.QUEUE_AGE.labels(*place)._value.get()
    assert told == pytest.approx(age, abs=0.001)


def test_the_age_of_a_list_that_was_emptied_is_0_again():
    ship = Ship(drain())
    place = ship.drains[0].place
    ship.spool.waiting[place] = backlog(3, 42.0)
    ship.step()
    ship.spool.waiting[place] = NOTHING

    ship.step()

    assert metrics.QUEUE_AGE.labels(*place)._value.get() == 0


def test_after_a_gap_of_redis_the_others_get_the_time_of_a_lease_to_show_life():
    ship = Ship(drain())
    ship.spool.dead[ship.drains[0].place] = ["x"]
    ship.spool.is_away = True
    ship.step()
    ship.spool.is_away = False

    heard = []
    for seconds in (0.0, 1.0, LEASE_MS / 1000):
        ship.clock.now = 1000.0 + seconds
        heard += ship.step()

    assert heard == [[], [], ["adopt x"]]


def test_a_surprise_in_a_turn_ends_the_process():
    ship = Ship(drain(holds=True, surprise=ZeroDivisionError("bug")))
    ship.step()

    with pytest.raises(ZeroDivisionError):
        ship.crew.step()


def test_stop_lets_turns_end_and_hands_everything_back():
    ship = Ship(drain(holds=True), drain(QUIET))
    ship.crew.step()

    ship.crew.stop(10)

    assert [one.heard() for one in ship.drains] == [["step", "release"], ["release"]]


def test_stop_leaves_a_write_that_hangs_to_whoever_adopts_it():
    hangs = drain(holds=True, gate=threading.Event(), batches=5)
    ship = Ship(hangs, drain(QUIET))
    ship.crew.step()

    ship.crew.stop(0.01)
    hangs.gate.set()
    ship.end()

    assert [one.heard() for one in ship.drains] == [["step"], ["release"]]


def test_records_of_a_site_that_is_not_declared_any_more_are_told_now_and_then(caplog):
    ship = Ship(drain())
    ship.spool.left = {"old": 3, "empty": 0}

    ship.step()
    ship.step()

    [told] = [one.message for one in caplog.records]
    assert told == "old: 3 records wait, but sites.yaml does not declare it: nobody drains them"


def test_lists_that_are_no_queue_are_looked_at_once_a_second():
    ship = Ship(drain(), drain(source="failed"))
    ship.step()
    for one in ship.drains:
        ship.spool.waiting[one.place] = Backlog(length=1, oldest=b"no record")

    heard = [ship.step()]
    ship.clock.now += OTHERS_SECONDS
    heard.append(ship.step())

    assert heard == [[["step"], []], [["step"], ["step"]]]


@pytest.mark.parametrize(("waited", "is_due"), [(59.0, False), (60.0, True)])
def test_resends_are_due_when_the_oldest_is_a_minute_old(waited, is_due):
    ship = Ship(drain(source="resends"))
    ship.spool.waiting[ship.drains[0].place] = backlog(5000, waited)

    heard = ship.step()

    assert heard == [["step"] if is_due else []]


def test_a_claim_that_a_late_command_has_filled_is_due_though_its_list_is_empty():
    ship = Ship(drain())
    first = ship.step()
    ship.spool.filled = {"bizocean-w"}
    ship.clock.now += 1

    assert (first, ship.step()) == ([[]], [["step"]])


class Steps:
    """A crew that steps until it is stopped, or meets a surprise."""

    def __init__(self, surprise: Exception | None = None) -> None:
        self.surprise, self.steps, self.stopped = surprise, 0, False

    def step(self) -> bool:
        self.steps += 1
        if self.surprise:
            raise self.surprise
        return False

    def stop(self, seconds: float) -> None:
        self.stopped = True


def test_a_surprise_in_one_redis_crew_ends_all_and_is_raised():
    fine, broken = Steps(), Steps(ValueError("a surprise"))

    with pytest.raises(ValueError, match="a surprise"):
        work([fine, broken], Stop(), 1.0)

    assert fine.stopped


def test_every_crew_works_until_told_to_stop_though_one_hangs():
    """A crew whose Redis is away waits in its own thread."""
    stop, hangs, fine = Stop(), Steps(), Steps()
    hangs.step = lambda: stop.wait(30)

    def step() -> bool:
        fine.steps += 1
        if fine.steps == 3:
            stop.set()
        return True

    fine.step = step

    work([hangs, fine], stop, 1.0)

    assert (hangs.stopped, fine.stopped, fine.steps >= 3) == (True, True, True)
