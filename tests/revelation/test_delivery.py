"""The delivery: a telling is told once, whatever its place answers, and what cannot be told is set aside."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial

import pytest
from prometheus_client import REGISTRY

from oceanus.alerts import PREFIX, Alerts
from oceanus.errors import RefusedError, TryAgainError
from oceanus.spool import connect
from revelation import delivery as deliveries
from revelation.delivery import GIVE_UP_SECONDS, Delivery, LaterError, SheetDelivery
from tests.revelation.scene import NOW_US, Desk, NoHistory, PlainTexts, telling


@pytest.fixture
def alerts(redis_server):
    return Alerts(connect(redis_server.settings))


@pytest.fixture
def desk():
    return Desk()


def delivery(alerts, desk, now_us: int = NOW_US) -> Delivery:
    return Delivery("desk", "slack", desk, alerts, PlainTexts(), NoHistory(), "me", now_us=lambda: now_us)


def test_a_telling_that_comes_twice_is_told_once(alerts, desk):
    for _ in range(2):
        delivery(alerts, desk).deliver(telling())

    assert desk.told == [telling().key]


def test_after_a_clear_failure_it_is_told_again(alerts, desk):
    desk.answers = [TryAgainError("503")]

    with pytest.raises(TryAgainError):
        delivery(alerts, desk).deliver(telling())
    delivery(alerts, desk).deliver(telling())

    assert desk.told == [telling().key]


@pytest.mark.parametrize(("knows", "times"), [(True, 1), (False, 2), (None, 2)])
def test_after_an_unclear_try_the_place_is_asked_first_where_it_knows(alerts, desk, knows, times):
    desk.answers, desk.knows = [TryAgainError("timeout", unclear=True)], knows

    with pytest.raises(TryAgainError):
        delivery(alerts, desk).deliver(telling())
    delivery(alerts, desk).deliver(telling())

    assert desk.told == [telling().key] * times


@pytest.mark.parametrize("between", [TryAgainError("cannot connect"), RefusedError("a bad text")])
def test_a_clear_failure_after_an_unclear_try_leaves_it_unclear(alerts, desk, between):
    desk.answers = [TryAgainError("timeout", unclear=True), between]

    for knows in (None, None, True):
        desk.knows = knows
        with suppress(TryAgainError):
            delivery(alerts, desk).deliver(telling())

    assert desk.told == [telling().key]


def test_the_place_is_asked_since_the_first_try_however_late_it_is_repeated(alerts, desk):
    desk.answers = [TryAgainError("timeout", unclear=True)]
    asked = []
    desk.was_told = lambda key, since_us: asked.append(since_us)
    later_us = NOW_US + 600_000_000

    with pytest.raises(TryAgainError):
        delivery(alerts, desk).deliver(telling())
    delivery(alerts, desk, later_us).deliver(telling(made_us=later_us))

    assert asked == [NOW_US]


def test_a_surprise_is_tried_again_and_leaves_it_unclear(alerts, desk):
    desk.answers, desk.knows = [RuntimeError("a bug")], False

    with pytest.raises(TryAgainError, match="RuntimeError: a bug"):
        delivery(alerts, desk).deliver(telling())

    assert alerts.begin(telling().key, "next", NOW_US).state == "AGAIN"


def test_what_ends_by_surprise_for_a_day_is_given_up(alerts, desk):
    desk.answers = [RuntimeError("a bug")]

    delivery(alerts, desk, NOW_US + int(GIVE_UP_SECONDS * 1e6) + 1).deliver(telling())

    assert [letter.reason for letter in alerts.failed()] == ["given up after a day: RuntimeError: a bug"]


class Interrupt(BaseException):
    """What dramatiq's time limit throws into a thread: no Exception."""


def test_what_runs_into_the_time_limit_is_tried_again_and_given_up_after_a_day(alerts, desk):
    desk.answers = [Interrupt(), Interrupt()]

    with pytest.raises(TryAgainError, match="Interrupt"):
        delivery(alerts, desk).deliver(telling())
    delivery(alerts, desk, NOW_US + int(GIVE_UP_SECONDS * 1e6) + 1).deliver(telling())

    assert [letter.reason for letter in alerts.failed()] == ["given up after a day: Interrupt: "]


def test_the_delay_is_measured_from_when_the_record_was_received(alerts, desk):
    delay = partial(REGISTRY.get_sample_value, "oceanus_alerts_delay_seconds_sum", {"destination": "desk"})
    before = delay() or 0

    delivery(alerts, desk, NOW_US + 5_000_000).deliver(telling(made_us=NOW_US + 4_000_000))
    delivery(alerts, desk, NOW_US + 5_000_000).deliver(telling(2, record={}, made_us=NOW_US + 4_000_000))

    assert delay() - before == pytest.approx(6, abs=0.001)


def test_what_is_refused_becomes_a_dead_letter_with_its_reason(alerts, desk):
    desk.answers = [RefusedError("channel_not_found")]

    delivery(alerts, desk).deliver(telling())

    [letter] = alerts.failed()
    assert (letter.telling["key"], letter.reason, letter.at_us) == (telling().key, "channel_not_found", NOW_US)


def test_a_text_that_cannot_be_filled_in_becomes_one_too(alerts, desk):
    delivery(alerts, desk).deliver(telling(action={"to": "desk", "text": "bad"}))

    assert [letter.reason for letter in alerts.failed()] == ["text: is bad"]
    assert desk.told == []


def test_all_of_a_place_waits_as_long_as_it_has_asked(alerts, desk):
    desk.answers = [TryAgainError("429", 30)]

    with pytest.raises(LaterError) as first:
        delivery(alerts, desk).deliver(telling(1))
    with pytest.raises(LaterError) as other:
        delivery(alerts, desk).deliver(telling(2))

    assert first.value.seconds == 30
    assert 29 < other.value.seconds <= 30
    assert desk.told == []


def test_after_a_day_it_is_given_up(alerts, desk):
    desk.answers = [TryAgainError("down")]

    delivery(alerts, desk, NOW_US + int(GIVE_UP_SECONDS * 1e6) + 1).deliver(telling())

    assert [letter.reason for letter in alerts.failed()] == ["given up after a day: down"]


def test_while_another_delivers_it_this_one_waits(alerts, desk):
    alerts.begin(telling().key, "other", NOW_US)

    with pytest.raises(LaterError):
        delivery(alerts, desk).deliver(telling())

    assert desk.told == []


# --- sheets


class Book:
    """A spreadsheet; `answers` are errors that the next appends raise, after appending where they are unclear."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.answers: list[Exception | None] = []
        self.bad: set[str] = set()
        self.tries = 0
        self.before: Callable[[], None] = lambda: None

    def append(self, worksheet, rows) -> None:
        self.before()
        self.tries += 1
        answer = self.answers.pop(0) if self.answers else None
        if self.bad & {row["url"] for row in rows}:
            raise RefusedError("a cell is refused")
        if answer is None or getattr(answer, "unclear", False):
            self.calls.append([row["url"] for row in rows])
        if answer:
            raise answer

    def holds(self, worksheet, rows) -> list[bool]:
        there = {url for call in self.calls for url in call}
        return [row["url"] in there for row in rows]


class Ignorant:
    """A spreadsheet that can be appended to, but not read."""

    def __init__(self, book: Book) -> None:
        self.append = book.append

    def holds(self, worksheet, rows) -> None:
        return None


def sheet(alerts, book, now_us: int = NOW_US) -> SheetDelivery:
    return SheetDelivery("book", book, alerts, PlainTexts(), "me", now_us=lambda: now_us)


def row(number: int):
    return telling(number, "book", action={"to": "book", "worksheet": "paid", "row": {"url": "{{ url }}"}})


def test_rows_of_a_second_go_together_and_in_order(alerts):
    book = Book()
    sheets = [sheet(alerts, book).wait(row(number)) for number in (1, 2, 3, 2)]

    more = sheet(alerts, book).flush("paid")

    assert (sheets, more) == (["paid", "", "", ""], False)
    assert book.calls == [["1", "2", "3"]]
    assert sheet(alerts, book).wait(row(1)) == ""


def test_after_an_unclear_append_only_what_is_not_there_is_appended(alerts):
    book = Book()
    book.answers = [TryAgainError("timeout", unclear=True)]
    sheet(alerts, book).wait(row(1))

    with pytest.raises(TryAgainError):
        sheet(alerts, book).flush("paid")
    sheet(alerts, book).wait(row(2))
    sheet(alerts, book).flush("paid")

    assert book.calls == [["1"], ["2"]]


def test_a_bad_row_is_set_aside_alone(alerts):
    book = Book()
    book.bad = {"2"}
    for number in (1, 2, 3):
        sheet(alerts, book).wait(row(number))

    sheet(alerts, book).flush("paid")

    assert book.calls == [["1"], ["3"]]
    assert [letter.telling["key"] for letter in alerts.failed()] == ["paid:2:0"]


def test_a_bad_row_among_many_is_found_in_few_calls(alerts):
    book = Book()
    book.bad = {"77"}
    for number in range(200):
        sheet(alerts, book).wait(row(number))

    sheet(alerts, book).flush("paid")

    assert sorted(int(url) for call in book.calls for url in call) == [n for n in range(200) if n != 77]
    assert book.tries < 20


def test_one_whose_turn_has_passed_to_another_appends_no_more(alerts, redis_server):
    book = Book()
    book.bad = {"1"}
    for number in (1, 2):
        sheet(alerts, book).wait(row(number))
    book.before = lambda: redis_server.client().set(f"{PREFIX}doing:book:paid", "another")

    with pytest.raises(LaterError):
        sheet(alerts, book).flush("paid")

    assert book.calls == []
    assert alerts.begin("book:paid", "third", NOW_US).state == "BUSY"


def test_a_row_equal_to_an_older_one_is_appended_unless_its_own_append_was_unclear(alerts, redis_server):
    book = Book()
    older, equal = row(1), replace(row(2), record=row(1).record)
    sheet(alerts, book).wait(older)
    sheet(alerts, book).flush("paid")
    sheet(alerts, book).wait(equal)
    alerts.begin("book:paid", "killed before its append", NOW_US)
    redis_server.client().delete(f"{PREFIX}doing:book:paid")

    sheet(alerts, book).flush("paid")

    assert book.calls == [["1"], ["1"]]


def test_a_clear_failure_after_an_unclear_append_leaves_its_rows_unclear(alerts):
    book = Book()
    book.answers = [TryAgainError("timeout", unclear=True), TryAgainError("503")]
    sheet(alerts, book).wait(row(1))

    for knows in (True, False, True):
        flushed = sheet(alerts, book)
        if not knows:
            flushed._book = Ignorant(book)
        with suppress(TryAgainError):
            flushed.flush("paid")

    assert book.calls == [["1"]]


def test_a_row_refused_after_an_unclear_append_is_looked_for_when_a_person_sends_it_again(alerts):
    book = Book()
    book.answers = [TryAgainError("timeout", unclear=True), RefusedError("no access")]
    sheet(alerts, book).wait(row(1))
    with pytest.raises(TryAgainError):
        sheet(alerts, book).flush("paid")
    sheet(alerts, Ignorant(book)).flush("paid")

    sheet(alerts, book).wait(row(1))
    sheet(alerts, book).flush("paid")

    assert [letter.reason for letter in alerts.failed()] == ["no access"]
    assert book.calls == [["1"]]


def test_a_large_backlog_is_taken_in_slices_the_oldest_first(alerts, monkeypatch):
    monkeypatch.setattr(deliveries, "SHEET_ROWS", 2)
    book = Book()
    for number in (5, 4, 3, 2, 1):
        sheet(alerts, book).wait(replace(row(number), made_us=NOW_US + 1000 * number))

    more = [sheet(alerts, book).flush("paid") for _ in range(3)]

    assert book.calls == [["1", "2"], ["3", "4"], ["5"]]
    assert more == [True, True, False]


def test_while_more_rows_wait_for_the_next_flush_nobody_else_is_sent(alerts, monkeypatch):
    monkeypatch.setattr(deliveries, "SHEET_ROWS", 1)
    for number in (1, 2):
        sheet(alerts, Book()).wait(row(number))

    sheet(alerts, Book()).flush("paid")

    assert alerts.unflushed() == []
    assert sheet(alerts, Book()).wait(row(3)) == ""


def test_a_surprise_at_a_sheet_is_tried_again_and_given_up_after_a_day(alerts):
    book = Book()
    sheet(alerts, book).wait(row(1))
    book.answers = [ZeroDivisionError("a bug")] * 2

    with pytest.raises(TryAgainError):
        sheet(alerts, book).flush("paid")
    with pytest.raises(TryAgainError):
        sheet(alerts, book, NOW_US + int(GIVE_UP_SECONDS * 1e6) + 1).flush("paid")

    assert [letter.reason for letter in alerts.failed()] == ["given up after a day: ZeroDivisionError: a bug"]


def test_rows_of_a_place_that_is_no_more_become_dead_letters(alerts, desk, monkeypatch):
    monkeypatch.setattr(deliveries, "SHEET_ROWS", 2)
    for number in (1, 2, 3):
        sheet(alerts, Book()).wait(row(number))
    gone = Delivery("book", "print", desk, alerts, PlainTexts(), NoHistory(), "me")

    gone.abandon("paid")

    assert {letter.telling["key"] for letter in alerts.failed()} == {"paid:1:0", "paid:2:0", "paid:3:0"}
    assert {letter.reason for letter in alerts.failed()} == {"alerts.yaml has this destination no more"}
    assert alerts.rows("book", "paid", 9) == {}


def test_a_row_of_a_release_that_is_not_ours_is_set_aside_and_holds_up_no_other(alerts):
    book = Book()
    sheet(alerts, book).wait(row(1))
    later = asdict(row(2)) | {"colour": "red"}
    alerts.add_row("book", "paid", "paid:2:0", json.dumps({"telling": later, "row": {"url": "2"}}), 2)
    alerts.add_row("book", "paid", "paid:3:0", json.dumps({"telling": {"key": "paid:3:0"}, "row": {"url": "3"}}), 3)

    sheet(alerts, book).flush("paid")

    assert sorted(book.calls[0]) == ["1", "2"]
    [letter] = alerts.failed()
    assert (letter.telling["key"], letter.telling["destination"]) == ("paid:3:0", "book")
    assert "rule" in letter.reason
    assert alerts.rows("book", "paid", 9) == {}


def test_while_a_sheet_is_in_trouble_its_rows_wait_and_nobody_else_is_sent_there(alerts):
    book = Book()
    book.answers = [TryAgainError("503")]
    sheet(alerts, book).wait(row(1))

    with pytest.raises(TryAgainError):
        sheet(alerts, book).flush("paid")
    beside = sheet(alerts, book).wait(row(2))
    sheet(alerts, book).flush("paid")

    assert beside == ""
    assert book.calls == [["1", "2"]]


def test_rows_that_have_waited_for_a_day_are_given_up(alerts):
    book = Book()
    book.answers = [TryAgainError("down")]
    sheet(alerts, book).wait(row(1))

    with pytest.raises(TryAgainError):
        sheet(alerts, book, NOW_US + int(GIVE_UP_SECONDS * 1e6) + 1).flush("paid")

    assert [letter.reason for letter in alerts.failed()] == ["given up after a day: down"]
    assert alerts.rows("book", "paid", 9) == {}


def test_a_sheet_that_asks_for_quiet_gets_it(alerts):
    book = Book()
    book.answers = [TryAgainError("429", 30)]
    sheet(alerts, book).wait(row(1))

    for _ in range(2):
        with pytest.raises(LaterError):
            sheet(alerts, book).flush("paid")

    assert book.calls == []


def test_keys_of_deliveries_lie_below_one_name(alerts, redis_server):
    sheet(alerts, Book()).wait(row(1))
    delivery(alerts, Desk()).deliver(telling())

    assert all(name.startswith(PREFIX.encode()) for name in redis_server.client().scan_iter())
