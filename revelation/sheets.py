"""Google Sheets: rows at the end of a worksheet's table, which is made when it is missing.

A worksheet's table begins in A1 with its header; below and beside it may stand what people like, an empty row or
column away. Every error of Google's and of the network comes out as TryAgainError or RefusedError.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

import google.auth
import requests
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import GoogleAuthError, TransportError
from google.oauth2 import service_account
from gspread.http_client import HTTPClient
from gspread.utils import absolute_range_name, rowcol_to_a1
from urllib3.exceptions import NewConnectionError

from oceanus.errors import MisconfiguredError, RefusedError, TellError, TryAgainError

ADDRESS: Final = "https://sheets.googleapis.com"
SCOPES: Final = ("https://www.googleapis.com/auth/spreadsheets",)
SECONDS = 15.0
HEADER_SECONDS = 60.0  # how long a header counts as known: people move columns
KNOWN_WORKSHEETS = 100
CELL_CHARACTERS = 50_000  # support.google.com/drive/answer/37603
LOOKED_AT_ROWS = 1000
# A worksheet that people made has up to a thousand empty rows at its end, and more where they cleared some.
EMPTY_ROWS = 2000
_COLUMNS = 26  # of a new worksheet, as when a person makes one
_RATE_REASONS = {"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "RATE_LIMIT_EXCEEDED"}

Cell = str | int | float
Row = Mapping[str, Cell]
Header = tuple[str, ...]


def credentials(file: str) -> Credentials:
    """Return the credentials in a file, or the machine's own if it is empty; raises MisconfiguredError."""
    found: Credentials
    try:
        if not file:
            found = google.auth.default(scopes=SCOPES)[0]
        elif '"service_account"' in Path(file).read_text(encoding="utf-8"):
            found = service_account.Credentials.from_service_account_file(file, scopes=SCOPES)
        else:
            found = google.auth.load_credentials_from_file(file, scopes=SCOPES)[0]
    except (GoogleAuthError, ValueError, OSError) as exc:
        remedy = "set GOOGLE_APPLICATION_CREDENTIALS to a service account's file, and share the spreadsheet with it"
        raise MisconfiguredError([f"GOOGLE_APPLICATION_CREDENTIALS={file}: {exc}; {remedy}"]) from exc
    return found


def nobody() -> Credentials:
    """Return what is shown to an address that asks for nothing: a server of the tests."""
    return AnonymousCredentials()


class _BadRequestError(RefusedError):
    """Sheets answers 400: a cell, a name or a range that it does not take.

    Which of them is not read from the message: Sheets writes it in the language of the spreadsheet.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class _Worksheet:
    title: str
    number: int
    rows: int
    columns: int


class Book:
    """One spreadsheet. Safe to call from several threads, which take turns: Sheets wants one call at a time."""

    def __init__(
        self,
        credentials: Credentials,
        key: str,
        address: str = ADDRESS,
        seconds: float = SECONDS,
        header_seconds: float = HEADER_SECONDS,
    ) -> None:
        self._http = _Http(credentials, address)
        self._key = key
        self._seconds = seconds
        self._header_seconds = header_seconds
        self._lock = threading.Lock()
        self._known: dict[str, tuple[Header, float]] = {}

    def append(self, worksheet: str, rows: Sequence[Row]) -> None:
        """Put rows at the end of the worksheet's table, all or none; they take about one HTTP call together.

        The worksheet and missing columns are made. Raises RefusedError, or TryAgainError, whose `unclear` says that
        the rows may stand there all the same (see `holds`).
        """
        if not rows:
            return
        with self._turn(worksheet):
            known = self._known_header(worksheet, _columns(rows))
            try:
                self._write(worksheet, known or self._new_header(worksheet, rows), rows)
            except _BadRequestError:
                if not known and self._find(worksheet) is not None:
                    raise
                self._write(worksheet, self._new_header(worksheet, rows), rows)  # it was changed or deleted meanwhile

    def holds(self, worksheet: str, rows: Sequence[Row]) -> list[bool] | None:
        """Say which of these rows stand among the last 1,000 of the worksheet, for use after an unclear append.

        Whole rows are compared, so that rows without a time or an id can be mistaken for others. None where it cannot
        know: the header was changed, or the table's end is not clear. Raises as `append`, never unclear.
        """
        with self._turn(worksheet):
            found = self._find(worksheet)
            if found is None:
                return [False for _ in rows]
            header = self._read_header(worksheet)
            if not header or not set(_columns(rows)).issubset(header):
                return None
            last = self._last_rows(found, len(header))
            return None if last is None else _standing(last, [_key(_cells(header, row)) for row in rows])

    @contextmanager
    def _turn(self, worksheet: str) -> Iterator[None]:
        """Have the spreadsheet alone, within the time limit; forget what is known of the worksheet on any error."""
        deadline = time.monotonic() + self._seconds
        if not self._lock.acquire(timeout=self._seconds):
            raise TryAgainError(f"Sheets: other calls take longer than {self._seconds:g} s")
        try:
            self._http.deadline = deadline
            yield
        except TellError:
            self._known.pop(worksheet, None)
            raise
        finally:
            self._lock.release()

    # --- the header

    def _known_header(self, worksheet: str, columns: Header) -> Header | None:
        header, until = self._known.get(worksheet, ((), 0.0))
        return header if time.monotonic() < until and set(columns).issubset(header) else None

    def _new_header(self, worksheet: str, rows: Sequence[Row]) -> Header:
        header = self._ready(worksheet, _columns(rows))
        if len(self._known) >= KNOWN_WORKSHEETS:
            self._known.clear()
        self._known[worksheet] = (header, time.monotonic() + self._header_seconds)
        return header

    def _ready(self, worksheet: str, columns: Header) -> Header:
        """Return the header of a worksheet that has these columns, made where they are missing."""
        found = self._find(worksheet)
        if found is None:
            try:
                return self._make(worksheet, columns)
            except _BadRequestError:
                found = self._find(worksheet)
                if found is None:
                    raise
        header = self._read_header(worksheet)
        missing = tuple(name for name in columns if name not in header)
        if missing:
            self._widen(found, len(header), missing)
            header = self._read_header(worksheet)  # another process may have widened it at the same moment
        if header and not header[0]:
            raise RefusedError(f"Sheets: the first column of {worksheet!r} has no name in row 1: give it one")
        if not set(columns).issubset(header):
            raise TryAgainError(f"Sheets: the header of {worksheet!r} is being changed by somebody else")
        return header

    def _find(self, worksheet: str) -> _Worksheet | None:
        fields = "sheets.properties(sheetId,title,gridProperties(rowCount,columnCount))"
        answer = self._http.fetch_sheet_metadata(self._key, params={"fields": fields})
        for sheet in answer.get("sheets", ()):
            properties = sheet["properties"]
            if properties["title"].casefold() == worksheet.casefold():  # Sheets has no two that differ in case alone
                grid = properties.get("gridProperties", {})
                return _Worksheet(
                    title=properties["title"],
                    number=properties.get("sheetId", 0),
                    rows=grid.get("rowCount", 0),
                    columns=grid.get("columnCount", 0),
                )
        return None

    def _make(self, worksheet: str, columns: Header) -> Header:
        """Make the worksheet together with its header: Sheets does all requests of one call, or none."""
        number = random.randrange(1, 2**31)  # noqa: S311 - two processes must not choose the same, no more
        grid = {"rowCount": 1, "columnCount": max(_COLUMNS, len(columns))}
        properties = {"sheetId": number, "title": worksheet, "gridProperties": grid}
        self._update({"addSheet": {"properties": properties}}, _named(number, 0, columns))
        return columns

    def _widen(self, found: _Worksheet, place: int, columns: Header) -> None:
        """Write column names into row 1, from the column `place` on."""
        short = place + len(columns) - found.columns
        more = {"appendDimension": {"sheetId": found.number, "dimension": "COLUMNS", "length": short}}
        self._update(*([more] if short > 0 else []), _named(found.number, place, columns))

    def _update(self, *changes: Mapping[str, Any]) -> None:
        self._http.batch_update(self._key, {"requests": list(changes)})

    def _read_header(self, worksheet: str) -> Header:
        answer = self._http.values_get(self._key, absolute_range_name(worksheet, "1:1"))
        return tuple(str(name) for name in (answer.get("values") or [[]])[0])

    # --- rows

    def _write(self, worksheet: str, header: Header, rows: Sequence[Row]) -> None:
        width = header.index("") if "" in header else len(header)  # beside an empty column stands another table
        self._http.values_append(
            self._key,
            absolute_range_name(worksheet, f"A1:{rowcol_to_a1(1, width)}"),
            {"valueInputOption": "RAW", "insertDataOption": "INSERT_ROWS"},
            {"majorDimension": "ROWS", "values": [list(_key(_cells(header, row))) or [""] for row in rows]},
        )

    def _last_rows(self, found: _Worksheet, width: int) -> list[list[Any]] | None:
        """Return the last rows of the table, or None if an empty row or too many empty ones hide where it ends."""
        first = max(2, found.rows - LOOKED_AT_ROWS - EMPTY_ROWS + 1)
        if found.rows < first:
            return []
        corner = rowcol_to_a1(found.rows, width)
        answer = self._http.values_get(
            self._key,
            absolute_range_name(found.title, f"A{first}:{corner}"),
            {"valueRenderOption": "UNFORMATTED_VALUE"},
        )
        rows: list[list[Any]] = answer.get("values") or []
        is_whole = first == 2 or len(rows) >= LOOKED_AT_ROWS
        return rows[-LOOKED_AT_ROWS:] if is_whole and all(map(_key, rows)) else None


class _Http(HTTPClient):
    """gspread's client with an address, a deadline, and our errors."""

    def __init__(self, credentials: Credentials, address: str) -> None:
        super().__init__(auth=credentials)
        self.deadline = 0.0
        self._address = address.rstrip("/")

    def request(self, method: str, endpoint: str, params: Any = None, data: Any = None, json: Any = None,
                files: Any = None, headers: Any = None) -> requests.Response:  # fmt: skip
        """Make one call; its answer is JSON."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TryAgainError("Sheets: takes too long")
        is_append = endpoint.endswith(":append")
        try:
            response = self.session.request(
                method,
                endpoint.replace(ADDRESS, self._address, 1),
                params=params,
                json=json,
                data=data,
                files=files,
                headers=headers,
                timeout=left,
            )
            if response.ok:
                response.json()
                return response
        except requests.RequestException as exc:
            raise TryAgainError(f"Sheets: {type(exc).__name__}", unclear=is_append and _was_sent(exc)) from exc
        except GoogleAuthError as exc:
            raise _no_access(exc) from exc
        raise _failure(response, is_append)


def _was_sent(error: requests.RequestException) -> bool:
    """Say whether the call may have reached Sheets."""
    reason = getattr(next(iter(error.args), None), "reason", None)
    return not isinstance(error, requests.ConnectTimeout) and not isinstance(reason, NewConnectionError)


def _no_access(error: GoogleAuthError) -> TellError:
    sentence = f"Sheets: no access: {' '.join(str(error).split())[:200]}"
    if isinstance(error, TransportError) or error.retryable:
        return TryAgainError(sentence)
    return RefusedError(sentence)


def _failure(response: requests.Response, is_append: bool) -> TellError:
    """Return the error of ours for an answer (developers.google.com/sheets/api/troubleshoot-api-errors)."""
    status = response.status_code
    message, reasons = _told(response)
    sentence = f"Sheets: {status}: {message}"
    if status == 429 or (status == 403 and reasons & _RATE_REASONS):
        return TryAgainError(sentence, _seconds(response))
    if status >= 500 or status in (408, 409):
        return TryAgainError(sentence, _seconds(response), unclear=is_append)
    return _BadRequestError(sentence) if status == 400 else RefusedError(sentence)


def _told(response: requests.Response) -> tuple[str, set[str]]:
    """Return the message and the reasons in an error's answer, which may be JSON of Google's, or anything."""
    try:
        error = response.json()["error"]
        entries = [*error.get("errors", ()), *error.get("details", ())]
        reasons = {str(entry.get("reason")) for entry in entries}
        return " ".join(str(error["message"]).split())[:200], reasons
    except (ValueError, KeyError, TypeError, AttributeError):
        return response.reason or "no reason given", set()


def _seconds(response: requests.Response) -> float | None:
    """Return the seconds that Retry-After asks for: a number, or a time (RFC 9110, section 10.2.3)."""
    given = response.headers.get("Retry-After", "")
    if given.isdigit():
        return float(given)
    try:
        return max(0.0, (parsedate_to_datetime(given) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _columns(rows: Sequence[Row]) -> Header:
    return tuple(dict.fromkeys(name for row in rows for name in row))


def _cells(header: Header, row: Row) -> list[Cell]:
    """Return a row's cells under its header; a name that stands there twice is filled once."""
    left = dict(row)
    return [_cut(left.pop(name, "")) for name in header]


def _cut(cell: Cell) -> Cell:
    return cell[:CELL_CHARACTERS] if isinstance(cell, str) else cell


def _named(number: int, place: int, columns: Header) -> dict[str, Any]:
    cells = [{"userEnteredValue": {"stringValue": name}} for name in columns]
    start = {"sheetId": number, "rowIndex": 0, "columnIndex": place}
    return {"updateCells": {"start": start, "rows": [{"values": cells}], "fields": "userEnteredValue"}}


def _key(cells: Sequence[Any]) -> tuple[Any, ...]:
    """Return a row as rows are compared: Sheets leaves empty cells at its end away."""
    filled = len(cells)
    while filled and cells[filled - 1] in ("", None):
        filled -= 1
    return tuple(cells[:filled])


def _standing(last: Sequence[Sequence[Any]], wanted: Sequence[tuple[Any, ...]]) -> list[bool]:
    """Say of each wanted row whether it stands among the last; a row that is wanted twice must stand twice."""
    left = Counter(map(_key, last))
    answers = []
    for row in wanted:
        answers.append(left[row] > 0)
        left[row] -= 1
    return answers
