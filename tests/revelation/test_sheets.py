"""Sheets: rows stand under their columns, once; every error says whether to try again and what may have been done."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import RefreshError, TransportError
from hypothesis import given
from hypothesis import strategies as st

from management import parts
from oceanus.errors import MisconfiguredError, RefusedError, TryAgainError
from revelation import harmless, sheets
from revelation.sheets import Book
from tests.revelation.sheets_server import ANSWERS, KEY, Fault, SheetsServer

ROW = {"time": "2026-11-23 00:30:03", "price": 12000}
HEADER = ["time", "price"]
CELLS = ["2026-11-23 00:30:03", 12000]


@pytest.fixture(name="server")
def _server() -> Iterator[SheetsServer]:
    with SheetsServer() as server:
        yield server


@pytest.fixture(name="book")
def _book(server: SheetsServer) -> Book:
    return Book(AnonymousCredentials(), KEY, address=server.address)


# --- rows and columns


def test_a_missing_worksheet_is_made_with_its_header(server: SheetsServer, book: Book) -> None:
    book.append("paid", [ROW])

    assert server.cells("paid") == [HEADER, CELLS]
    assert server.calls == ["get", "batchUpdate", "append"]


def test_one_append_is_one_call_when_the_worksheet_is_known(server: SheetsServer, book: Book) -> None:
    book.append("paid", [ROW])
    server.calls.clear()

    book.append("paid", [ROW, ROW | {"price": 1.5}])

    assert server.calls == ["append"]
    assert server.cells("paid") == [HEADER, CELLS, CELLS, [CELLS[0], 1.5]]
    assert server.queries[-1] == {"valueInputOption": ["RAW"], "insertDataOption": ["INSERT_ROWS"]}


def test_no_rows_make_no_call(server: SheetsServer, book: Book) -> None:
    book.append("paid", [])

    assert server.calls == []


def test_cells_stand_under_the_header_that_people_have_ordered(server: SheetsServer, book: Book) -> None:
    server.fill("paid", [["price", "note", "time"], [1, "seen", "t"]])

    book.append("paid", [ROW, {"price": 2}])

    assert server.cells("paid")[2:] == [[12000, "", CELLS[0]], [2]]


def test_missing_columns_are_added_at_the_right(server: SheetsServer, book: Book) -> None:
    server.fill("paid", [["price"], [1]], columns=1)

    book.append("paid", [ROW])
    book.append("paid", [ROW | {"user": "u-1"}])

    assert server.cells("paid") == [["price", "time", "user"], [1], CELLS[::-1], [*CELLS[::-1], "u-1"]]


def test_an_empty_worksheet_gets_a_header(server: SheetsServer, book: Book) -> None:
    server.fill("paid", [])

    book.append("paid", [ROW])

    assert server.cells("paid") == [HEADER, CELLS]


def test_a_worksheet_s_name_may_be_anything_that_sheets_takes(server: SheetsServer, book: Book) -> None:
    for title in ("CRM26", "it's", "売上 %2F #1 ?", "Paid"):
        book.append(title, [ROW])
        assert server.cells(title) == [HEADER, CELLS]

    book.append("paid", [ROW])  # the same to Sheets

    assert server.cells("Paid") == [HEADER, CELLS, CELLS]


def test_a_foreign_table_below_or_beside_is_left_alone(server: SheetsServer, book: Book) -> None:
    server.fill(
        "paid", [["time", "price", "", "sum"], ["t", 1, "", 1], ["", "", "", 2], [], ["foreign", "table"], ["x", "y"]]
    )

    book.append("paid", [ROW])

    assert server.cells("paid") == [
        ["time", "price", "", "sum"],
        ["t", 1, "", 1],
        CELLS,
        ["", "", "", 2],
        [],
        ["foreign", "table"],
        ["x", "y"],
    ]


def test_a_header_without_its_first_name_is_for_a_person(server: SheetsServer, book: Book) -> None:
    server.fill("paid", [["", "time", "price"]])

    with pytest.raises(RefusedError, match="the first column of 'paid' has no name"):
        book.append("paid", [ROW])


def test_moved_columns_are_seen_when_the_header_s_time_is_over(server: SheetsServer) -> None:
    book = Book(AnonymousCredentials(), KEY, address=server.address, header_seconds=0)
    book.append("paid", [ROW])
    server.sheets["paid"].cells[0] = HEADER[::-1]

    book.append("paid", [ROW])

    assert server.cells("paid")[2] == CELLS[::-1]


def test_a_cell_is_cut_at_what_sheets_takes(server: SheetsServer, book: Book) -> None:
    book.append("paid", [{"text": "x" * 60_000}])

    assert server.cells("paid")[1] == ["x" * 50_000]


def test_a_worksheet_that_was_deleted_is_made_anew(server: SheetsServer, book: Book) -> None:
    book.append("paid", [ROW])
    server.script("append", Fault(before=server.sheets.clear))

    book.append("paid", [ROW])

    assert server.cells("paid") == [HEADER, CELLS]


def test_columns_that_were_deleted_are_made_anew(server: SheetsServer, book: Book) -> None:
    book.append("paid", [ROW])
    sheet = server.sheets["paid"]
    sheet.cells, sheet.columns = [["time"], ["t"]], 1

    book.append("paid", [ROW])

    assert server.cells("paid") == [HEADER, ["t"], CELLS]


def test_a_worksheet_that_another_process_makes_meanwhile_is_used(server: SheetsServer, book: Book) -> None:
    server.script("batchUpdate", Fault(before=lambda: server.fill("paid", [["price", "user"], [1, "u"]])))

    book.append("paid", [ROW])

    assert server.cells("paid") == [["price", "user", "time"], [1, "u"], [12000, "", CELLS[0]]]


def test_a_header_that_somebody_else_changes_at_the_same_moment_is_looked_at_again(
    server: SheetsServer, book: Book
) -> None:
    sheet = server.fill("paid", [["price"]])
    server.script("batchUpdate", Fault(applied=True, after=lambda: sheet.put(0, 1, "user")))

    assert append(book) == Raised(TryAgainError)

    book.append("paid", [ROW])
    assert server.cells("paid") == [["price", "user", "time"], [12000, "", CELLS[0]]]


def test_after_an_error_the_header_is_read_anew(server: SheetsServer, book: Book) -> None:
    book.append("paid", [ROW])
    server.script("append", Fault(answer="unavailable"))
    append(book)
    server.sheets["paid"].cells[0] = HEADER[::-1]

    book.append("paid", [ROW])

    assert server.cells("paid")[-1] == CELLS[::-1]


def test_many_threads_and_processes_lose_and_mix_no_row(server: SheetsServer) -> None:
    books = [Book(AnonymousCredentials(), KEY, address=server.address) for _ in range(3)]

    def run(place: int) -> None:
        for count in range(5):
            books[place % 3].append("paid", [{"who": place, "count": count}])

    threads = [threading.Thread(target=run, args=[place]) for place in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    header, *rows = server.cells("paid")
    assert header == ["who", "count"]
    assert sorted(rows) == [[place, count] for place in range(6) for count in range(5)]


CELL = (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
    | st.integers(-(10**14), 10**14)
    | st.floats(-1e9, 1e9)
)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), CELL), min_size=1, max_size=4))
def test_every_cell_comes_back_as_it_was_sent(rows: list[dict[str, Any]]) -> None:
    rows = [{"id": place} | row for place, row in enumerate(rows)]
    with SheetsServer() as server:
        book = Book(AnonymousCredentials(), KEY, address=server.address)

        book.append("w", rows)

        header, *stand = server.cells("w")
        filled = [dict(zip(header, [*cells, *[""] * len(header)], strict=False)) for cells in stand]
        assert filled == [{name: row.get(name, "") for name in header} for row in rows]
        assert book.holds("w", rows) == [True] * len(rows)


def test_what_harmless_makes_of_any_text_is_a_cell_that_json_carries() -> None:
    for text in ("=1", "\ud800", "\x00", "12", "٣"):
        assert json.loads(json.dumps(harmless.cell(harmless.people(text)))) == harmless.cell(harmless.people(text))


# --- which rows stand there


def test_holds_finds_the_rows_that_stand_there(server: SheetsServer, book: Book) -> None:
    book.append("paid", [ROW, ROW | {"price": 1.0}])

    assert book.holds("paid", [ROW, ROW, ROW | {"price": 1}, {"price": 5}]) == [True, False, True, False]


@pytest.mark.parametrize("made", [None, 1, 1000], ids=["not there", "of one row", "with empty rows"])
def test_holds_knows_that_nothing_stands_in_a_worksheet_without_rows(
    server: SheetsServer, book: Book, made: int | None
) -> None:
    if made:
        server.fill("paid", [HEADER], rows=made)

    assert book.holds("paid", [ROW]) == [False]


def test_holds_looks_at_the_last_thousand_rows(server: SheetsServer, book: Book) -> None:
    server.fill("paid", [HEADER, CELLS, *[["t", place] for place in range(5000)]], rows=6000)

    assert book.holds("paid", [ROW, {"time": "t", "price": 4000}, {"time": "t", "price": 3999}]) == [False, True, False]


@pytest.mark.parametrize(
    "cells",
    {
        "a column is gone": [["time"], ["t"]],
        "the header is gone": [[], CELLS],
        "two tables": [HEADER, CELLS, [], ["foreign"]],
    }.items(),
    ids=str,
)
def test_holds_says_when_it_cannot_know(server: SheetsServer, book: Book, cells: tuple[str, list[list[Any]]]) -> None:
    server.fill("paid", cells[1])

    assert book.holds("paid", [ROW]) is None


def test_holds_cannot_know_what_stands_above_thousands_of_empty_rows(server: SheetsServer, book: Book) -> None:
    server.fill("paid", [HEADER, CELLS], rows=9000)

    assert book.holds("paid", [ROW]) is None


# --- errors


@dataclass(frozen=True)
class Raised:
    """What an append raised, as a value."""

    kind: type[Exception]
    seconds: float | None = None
    unclear: bool = False


def append(book: Book) -> Raised:
    """Append a row and return what was raised."""
    with pytest.raises((RefusedError, TryAgainError)) as caught:
        book.append("paid", [ROW])
    error = caught.value
    assert "\n" not in str(error)
    if isinstance(error, TryAgainError):
        return Raised(TryAgainError, error.seconds, error.unclear)
    return Raised(RefusedError)


ERRORS = {
    "too_many": Raised(TryAgainError, 30),
    "rate_403": Raised(TryAgainError),
    "internal": Raised(TryAgainError, unclear=True),
    "unavailable": Raised(TryAgainError, unclear=True),
    "gateway": Raised(TryAgainError, unclear=True),
    "no_right": Raised(RefusedError),
    "no_login": Raised(RefusedError),
    "gone": Raised(RefusedError),
    "protected": Raised(RefusedError),
    "long_cell": Raised(RefusedError),
}


@pytest.mark.parametrize(("name", "raised"), ERRORS.items())
def test_every_error_says_what_to_do_and_the_next_append_works(
    server: SheetsServer, book: Book, name: str, raised: Raised
) -> None:
    server.fill("paid", [HEADER])
    server.script("append", Fault(answer=name))

    assert append(book) == raised

    book.append("paid", [ROW])
    assert server.cells("paid") == [HEADER, CELLS]


@pytest.mark.parametrize("call", ["get", "values", "batchUpdate"])
@pytest.mark.parametrize(
    "fault",
    [Fault(answer="unavailable"), Fault(cut=True), Fault(cut=True, applied=True)],
    ids=["unavailable", "cut", "cut after"],
)
def test_nothing_is_unclear_before_the_append_itself(server: SheetsServer, book: Book, call: str, fault: Fault) -> None:
    server.fill("paid", [["price"]])
    server.script(call, fault)

    assert append(book) == Raised(TryAgainError)

    book.append("paid", [ROW])
    assert server.cells("paid") == [HEADER[::-1], CELLS[::-1]]


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("fault", [{"cut": True}, {"answer": "internal"}], ids=str)
def test_after_an_unclear_append_holds_tells_whether_it_was_done(
    server: SheetsServer, book: Book, applied: bool, fault: dict[str, Any]
) -> None:
    server.script("append", Fault(applied=applied, **fault))

    assert append(book) == Raised(TryAgainError, unclear=True)

    assert book.holds("paid", [ROW]) == [applied]


def test_a_slow_server_is_left_within_the_time_limit(server: SheetsServer) -> None:
    book = Book(AnonymousCredentials(), KEY, address=server.address, seconds=0.3)
    server.fill("paid", [HEADER])
    server.script("append", Fault(applied=True, seconds=1))

    assert append(book) == Raised(TryAgainError, unclear=True)


def test_a_server_that_is_not_there_has_done_nothing() -> None:
    book = Book(AnonymousCredentials(), KEY, address=f"http://127.0.0.1:{parts.free_port()}")

    assert append(book) == Raised(TryAgainError)


def test_an_append_that_finds_nobody_any_more_has_done_nothing() -> None:
    with SheetsServer() as server:
        book = Book(AnonymousCredentials(), KEY, address=server.address)
        book.append("paid", [ROW])
        server.script("append", Fault(answer="too_many", headers={"Connection": "close"}))
        append(book)
        book.append("paid", [ROW])
        book._http.session.close()

    assert append(book) == Raised(TryAgainError)


@pytest.mark.parametrize(
    ("given", "least", "most"), [("7", 7, 7), ("", None, None), ("soon", None, None), ("date", 50, 60)]
)
def test_retry_after_is_a_number_or_a_time(
    server: SheetsServer, book: Book, given: str, least: float | None, most: float | None
) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    server.fill("paid", [HEADER])
    server.script("append", Fault(answer="too_many", headers={"Retry-After": date if given == "date" else given}))

    seconds = append(book).seconds

    assert seconds is least or (
        least is not None and seconds is not None and most is not None and least <= seconds <= most
    )


def test_a_spreadsheet_that_is_gone_is_refused(server: SheetsServer) -> None:
    assert append(Book(AnonymousCredentials(), "another", address=server.address)) == Raised(RefusedError)


class _Login(AnonymousCredentials):  # type: ignore[misc]
    """Credentials whose refresh fails."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def before_request(self, *_: object) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (RefreshError("invalid_grant: Token has been expired or revoked."), Raised(RefusedError)),
        (RefreshError("internal_failure", retryable=True), Raised(TryAgainError)),
        (TransportError("oauth2.googleapis.com: timed out"), Raised(TryAgainError)),
    ],
)
def test_a_login_that_fails_says_whether_to_try_again(server: SheetsServer, error: Exception, raised: Raised) -> None:
    assert append(Book(_Login(error), KEY, address=server.address)) == raised


def test_credentials_that_are_none_stop_the_start(tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    file.write_text('{"type": "service_account"}')

    for name in (str(file), str(tmp_path / "none.json")):
        with pytest.raises(MisconfiguredError, match="GOOGLE_APPLICATION_CREDENTIALS"):
            sheets.credentials(name)


def test_every_stored_answer_names_its_page() -> None:
    for file in ANSWERS.iterdir():
        stored = json.loads(file.read_text())
        assert stored["source"].startswith("https://"), file
        assert isinstance(stored["status"], int)
