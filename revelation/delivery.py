"""The delivery of one telling: once, whatever happens before, amid or after it. Thin code around `Alerts.begin`.

A telling that was delivered is remembered; so a repeat, after a crash or a lost answer, tells nobody twice. A try whose
outcome nobody knows is looked up first, where its place can be asked; where not, it is told again.
"""

import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn, Protocol, runtime_checkable

from oceanus import records
from oceanus.alerts import Alerts, Begun
from oceanus.errors import NotATellingError, OceanusError, RefusedError, TryAgainError
from revelation import metrics
from revelation.telling import Destination, Message, Table, Telling

log = logging.getLogger(__name__)

GIVE_UP_SECONDS = 86_400.0
BUSY_SECONDS = 5.0
SHEET_SECONDS = 1.0  # rows of so long go to a sheet in one call
SHEET_ROWS = 500


def _now_us() -> int:
    return time.time_ns() // 1000


class Texts(Protocol):
    """What fills in the texts."""

    def message(self, telling: Telling, kind: str, table: Table | None = None) -> Message:
        """Return the message; raises RefusedError where its texts cannot be filled in."""


class History(Protocol):
    """What knows a visitor's last rows."""

    def table(self, asked: Mapping[str, Any], telling: Telling) -> Table:
        """Return them; raises TryAgainError, RefusedError."""


@runtime_checkable
class Asked(Protocol):
    """A destination that can be asked what it was told."""

    def was_told(self, key: str, since_us: int) -> bool | None:
        """Say whether it surely has, or surely has not, this message; None where it cannot know."""


class Book(Protocol):
    """A spreadsheet."""

    def append(self, worksheet: str, rows: Sequence[Mapping[str, str | int | float]]) -> None:
        """Append rows in one call."""

    def holds(self, worksheet: str, rows: Sequence[Mapping[str, str | int | float]]) -> list[bool] | None:
        """Say of each row whether it stands there; None where it cannot know."""


class LaterError(Exception):
    """Not now: try it again in `seconds`. No failure of its own."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"in {seconds} s")
        self.seconds = seconds


class _Deliveries:
    """What deliveries to one place have in common, whichever way they go."""

    def __init__(self, place: str, alerts: Alerts, texts: Texts, owner: str, now_us: Callable[[], int]) -> None:
        self._place = place
        self._alerts = alerts
        self._texts = texts
        self._owner = owner
        self._now_us = now_us
        metrics.FAILED.labels(place)  # at 0, or its first growth would not be seen

    def set_aside(self, telling: Telling, reason: str) -> None:
        """Make it a dead letter."""
        self._set_aside(asdict(telling), reason)

    def set_strange_aside(self, given: Mapping[str, Any], reason: str) -> None:
        """Make a dead letter of what is no telling of this release."""
        blank = {"key": secrets.token_hex(8), "rule": "", "destination": self._place, "record": {}}
        self._set_aside(blank | dict(given), reason)

    def _set_aside(self, told: dict[str, Any], reason: str) -> None:
        metrics.FAILED.labels(self._place).inc()
        log.error("%s: %s could not be told and is set aside: %s", self._place, told["key"], reason)
        if not self._alerts.fail(told, reason, self._now_us()):
            log.error("%s: too many lie aside: %s is lost", self._place, told["key"])

    def abandon(self, sheet: str) -> None:
        """Make a dead letter of each row that waits for a sheet of a place that is no more."""
        while waiting := self._waiting(sheet, SHEET_ROWS):
            for one in waiting:
                self._set_row_aside(sheet, one, "alerts.yaml has this destination no more")

    def _set_row_aside(self, sheet: str, one: "_Row", reason: str) -> None:
        self.set_aside(one.telling, reason)
        self._alerts.forget_rows(self._place, sheet, [one.telling.key], told=False)

    def _waiting(self, sheet: str, most: int) -> list["_Row"]:
        """Return the oldest rows that wait."""
        found = []
        for key, text in self._alerts.rows(self._place, sheet, most).items():
            try:
                found.append(_Row.read(text))
            except NotATellingError as exc:  # or it would hold up its sheet
                self.set_strange_aside({"key": key}, str(exc))
                self._alerts.forget_rows(self._place, sheet, [key], told=False)
        return found

    def _check_pause(self) -> None:
        pause_ms = self._alerts.paused_ms(self._place)
        if pause_ms:
            raise LaterError(pause_ms / 1000)

    def _new_owner(self) -> str:
        """Return a name for one try: two threads of a process must not end each other's."""
        return f"{self._owner}:{secrets.token_hex(6)}"

    def _count(self, told: Sequence[Telling]) -> None:
        metrics.TOLD.labels(self._place).inc(len(told))
        for one in told:
            metrics.DELAY.labels(self._place).observe(max(0, self._now_us() - _received_us(one)) / 1e6)


class Delivery(_Deliveries):
    """Delivers tellings to one place."""

    def __init__(
        self,
        place: str,
        kind: str,
        destination: Destination,
        alerts: Alerts,
        texts: Texts,
        history: History,
        owner: str,
        now_us: Callable[[], int] = _now_us,
    ) -> None:
        super().__init__(place, alerts, texts, owner, now_us)
        self._kind = kind
        self._destination = destination
        self._history = history

    def deliver(self, telling: Telling) -> None:
        """Deliver a telling once; raises TryAgainError or LaterError where it is to be tried again."""
        self._check_pause()
        owner = self._new_owner()
        begun = self._alerts.begin(telling.key, owner, self._now_us())
        if begun.state == "TOLD":
            return
        if begun.state == "BUSY":
            raise LaterError(BUSY_SECONDS)
        told, unclear = False, True  # whatever ends this in another way than below
        was_unclear = begun.state == "AGAIN"  # and stays so: no failure of this try says what became of the one before
        try:
            with _surprises(self._place, telling.key):
                told = self._try(telling, begun)
            unclear = was_unclear and not told
        except TryAgainError as exc:
            unclear = exc.unclear or was_unclear
            self._again(telling, exc)
        finally:
            self._alerts.end(telling.key, owner, told=told, unclear=unclear)

    def _try(self, telling: Telling, begun: Begun) -> bool:
        """Return whether it is delivered now; a refused one is set aside."""
        try:
            if begun.state == "FIRST" or not self._was_told(telling, begun.since_us):
                self._destination.tell(self._message(telling))
        except RefusedError as exc:
            self.set_aside(telling, str(exc))
            return False
        self._count([telling])
        return True

    def _message(self, telling: Telling) -> Message:
        asked = telling.action.get("history")
        table = self._history.table(asked, telling) if asked else None
        return self._texts.message(telling, self._kind, table)

    def _was_told(self, telling: Telling, since_us: int) -> bool:
        place = self._destination
        return isinstance(place, Asked) and bool(place.was_told(telling.key, since_us))

    def _again(self, telling: Telling, error: TryAgainError) -> None:
        """Let it be tried again, unless that has gone on for a day; all of a place waits if it has asked for that."""
        if error.seconds:
            self._alerts.pause(self._place, error.seconds)
        if self._now_us() - telling.made_us > GIVE_UP_SECONDS * 1e6:
            self.set_aside(telling, f"given up after a day: {error}")
            return
        metrics.retried(self._place, error)
        log.warning("%s: %s is not told yet, and tried again: %s", self._place, telling.key, error)
        if error.seconds:
            raise LaterError(error.seconds)
        raise error


class SheetDelivery(_Deliveries):
    """Delivers rows to one spreadsheet: those of a second in one call."""

    def __init__(
        self,
        place: str,
        book: Book,
        alerts: Alerts,
        texts: Texts,
        owner: str,
        now_us: Callable[[], int] = _now_us,
    ) -> None:
        super().__init__(place, alerts, texts, owner, now_us)
        self._book = book

    def wait(self, telling: Telling) -> str:
        """Let a telling's row wait for its sheet; return the sheet to `flush` a second later, or nothing."""
        try:
            message = self._texts.message(telling, "sheets")
        except RefusedError as exc:
            self.set_aside(telling, str(exc))
            return ""
        row = json.dumps({"telling": asdict(telling), "row": dict(message.row)})
        made_ms = telling.made_us // 1000
        is_first = self._alerts.add_row(self._place, message.worksheet, telling.key, row, made_ms)
        return message.worksheet if is_first else ""

    def flush(self, worksheet: str) -> bool:
        """Append the rows that wait for a sheet; return whether more wait. Raises as `deliver` does."""
        self._check_pause()
        turn = _Turn(worksheet=worksheet, name=f"{self._place}:{worksheet}", owner=self._new_owner())
        if self._alerts.begin(turn.name, turn.owner, self._now_us()).state == "BUSY":
            raise LaterError(BUSY_SECONDS)
        try:
            with _surprises(self._place, worksheet):
                return self._append(turn)
        except TryAgainError as exc:
            self._wait_for(worksheet, exc)
        finally:
            self._alerts.end(turn.name, turn.owner)

    def _wait_for(self, worksheet: str, error: TryAgainError) -> NoReturn:
        """Let the rows wait, but those that have waited for a day; nobody else needs to take them meanwhile."""
        for one in self._waiting(worksheet, SHEET_ROWS):
            if self._now_us() - one.telling.made_us > GIVE_UP_SECONDS * 1e6:
                self._set_row_aside(worksheet, one, f"given up after a day: {error}")
        self._alerts.hold_flush(self._place, worksheet)
        metrics.retried(self._place, error)
        log.warning("%s: rows of %s are not there yet, and tried again: %s", self._place, worksheet, error)
        if error.seconds:
            self._alerts.pause(self._place, error.seconds)
            raise LaterError(error.seconds) from error
        raise error

    def _append(self, turn: "_Turn") -> bool:
        """Append the oldest rows; of those that an unclear append may have brought there, only what is missing."""
        waiting = self._waiting(turn.worksheet, SHEET_ROWS + 1)
        some = waiting[:SHEET_ROWS]
        turn.doubted = self._alerts.tried([one.telling.key for one in some])
        standing = self._standing(turn.worksheet, [one for one in some if one.telling.key in turn.doubted])
        self._settle(turn.worksheet, standing)
        self._write(turn, [one for one in some if one not in standing])
        if len(waiting) == len(some):
            return False
        self._alerts.hold_flush(self._place, turn.worksheet)
        return True

    def _standing(self, worksheet: str, doubted: list["_Row"]) -> list["_Row"]:
        try:
            there = self._book.holds(worksheet, [one.row for one in doubted]) if doubted else None
        except RefusedError:
            there = None  # what is wrong there, the append says
        return [one for one, stands in zip(doubted, there or [False] * len(doubted), strict=True) if stands]

    def _write(self, turn: "_Turn", rows: list["_Row"]) -> None:
        """Append rows together; if they are refused, each half alone, so that a bad one holds up no other."""
        if not rows:
            return
        try:
            self._write_together(turn, rows)
        except RefusedError as exc:
            if len(rows) == 1:
                self._set_row_aside(turn.worksheet, rows[0], str(exc))
                return
            middle = len(rows) // 2
            self._write(turn, rows[:middle])
            self._write(turn, rows[middle:])

    def _write_together(self, turn: "_Turn", rows: list["_Row"]) -> None:
        """Append rows, all or none; until that is certain each is marked as one that may stand there."""
        if not self._alerts.renew(turn.name, turn.owner):
            raise LaterError(BUSY_SECONDS)  # it took too long: another is at it
        keys = [one.telling.key for one in rows]
        self._alerts.note_tries(keys, self._now_us())
        try:
            self._book.append(turn.worksheet, [one.row for one in rows])
        except (RefusedError, TryAgainError) as exc:
            if not getattr(exc, "unclear", False):
                self._alerts.forget_tries([key for key in keys if key not in turn.doubted])
            raise
        self._settle(turn.worksheet, rows)

    def _settle(self, worksheet: str, told: list["_Row"]) -> None:
        if not told:
            return
        self._count([one.telling for one in told])
        self._alerts.forget_rows(self._place, worksheet, [one.telling.key for one in told], told=True)


AnyDelivery = Delivery | SheetDelivery


class _Row:
    """A row that waits for its sheet, with the telling that it comes from."""

    def __init__(self, telling: Telling, row: Mapping[str, str | int | float]) -> None:
        self.telling, self.row = telling, row

    @classmethod
    def read(cls, text: str) -> "_Row":
        """Return what was kept as JSON; raises NotATellingError."""
        kept = json.loads(text)
        return cls(Telling.read(kept["telling"]), kept["row"])


@dataclass(slots=True, kw_only=True)
class _Turn:
    """One try to take rows to a sheet; `doubted` are the tellings of which an earlier one may have brought the row."""

    worksheet: str
    name: str
    owner: str
    doubted: set[str] = field(default_factory=set)


@contextmanager
def _surprises(place: str, name: str) -> Iterator[None]:
    """Let what nobody thought of be tried again, which ends after a day, and leave it unclear.

    It must neither be told for ever nor stop the others.
    """
    try:
        yield
    except (OceanusError, LaterError):
        raise
    except BaseException as exc:  # a bug of ours or of a library, or dramatiq's time limit, which is no Exception
        log.exception("%s: %s was ended by a surprise", place, name)
        raise TryAgainError(f"{type(exc).__name__}: {exc}", unclear=True) from exc


def _received_us(telling: Telling) -> int:
    """Return when the record of a telling was received; where it is about none, when the telling was made."""
    try:
        return records.received(dict(telling.record))
    except (KeyError, IndexError, TypeError, ValueError):
        return telling.made_us
