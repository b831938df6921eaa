"""A server of the Sheets API on loopback: what Book calls, kept in memory, with faults by script.

It finds tables as the API does (cells that touch, from the range given), grows no sheet but by append, and does a
batchUpdate whole or not at all. Its answers are those in answers/sheets, each with the page it is from; what the
pages leave open (that an update beyond the grid is refused, that one call's rows are inserted together) is as its
users report it.
"""

import copy
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

ANSWERS = Path(__file__).with_name("answers") / "sheets"
KEY = "1AbCdEf"
CELL_CHARACTERS = 50_000


def answer(name: str, **filled: object) -> dict[str, Any]:
    """Return a stored answer, with the gaps in its message filled in."""
    read = json.loads((ANSWERS / f"{name}.json").read_text(encoding="utf-8"))
    if isinstance(read["body"], dict) and "error" in read["body"]:
        for gap, value in filled.items():
            error = read["body"]["error"]
            error["message"] = error["message"].replace(f"{{{gap}}}", str(value))
    return dict(read)


class Refusal(Exception):  # noqa: N818 - an answer
    """The server answers with a stored error."""

    def __init__(self, name: str, **filled: object) -> None:
        super().__init__(name)
        self.answer = answer(name, **filled)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens to one call. `before` and `after` it, others act; `cut`: the connection ends without an answer."""

    answer: str = ""
    applied: bool = False
    cut: bool = False
    seconds: float = 0
    headers: dict[str, str] = field(default_factory=dict)
    before: Callable[[], object] = lambda: None
    after: Callable[[], object] = lambda: None


@dataclass
class Sheet:
    """One worksheet: a grid of cells, empty ones as ''."""

    number: int
    rows: int = 1000
    columns: int = 26
    cells: list[list[Any]] = field(default_factory=list)

    def at(self, row: int, column: int) -> Any:
        """Return a cell; rows and columns count from 0."""
        return self.cells[row][column] if row < len(self.cells) and column < len(self.cells[row]) else ""

    def put(self, row: int, column: int, value: Any) -> None:
        """Fill a cell."""
        if isinstance(value, str) and len(value) > CELL_CHARACTERS:
            raise Refusal("long_cell")
        while len(self.cells) <= row:
            self.cells.append([])
        line = self.cells[row]
        line.extend([""] * (column + 1 - len(line)))
        line[column] = value

    def table(self, top: int, left: int, right: int) -> tuple[int, int, int, int] | None:
        """Return the box (top, left, bottom, right) of the filled cells that touch those of a row, or None."""
        filled = [place for place in range(left, right + 1) if self.at(top, place) != ""]
        if not filled:
            return None
        box = (top, filled[0], top, filled[-1])
        while (grown := self._grown(box)) != box:
            box = grown
        return box

    def _grown(self, box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        top, left, bottom, right = box
        touching = [
            (row, column)
            for row in range(max(0, top - 1), bottom + 2)
            for column in range(max(0, left - 1), right + 2)
            if self.at(row, column) != ""
        ]
        rows, columns = [row for row, _ in touching], [column for _, column in touching]
        return min(*rows, top), min(*columns, left), max(*rows, bottom), max(*columns, right)


class SheetsServer:
    """The API with one spreadsheet, whose key is KEY. `calls` are the calls it got, in order."""

    def __init__(self) -> None:
        self.sheets: dict[str, Sheet] = {}
        self.calls: list[str] = []
        self.queries: list[dict[str, list[str]]] = []
        self._faults: dict[str, list[Fault | None]] = {}
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def script(self, call: str, *faults: Fault | None) -> None:
        """Let the next calls of this name (get, values, append, batchUpdate) go wrong, None: go well."""
        self._faults.setdefault(call, []).extend(faults)

    def fill(self, title: str, cells: list[list[Any]], rows: int = 1000, columns: int = 26) -> Sheet:
        """Have a worksheet that people made."""
        self.sheets[title] = Sheet(number=len(self.sheets), rows=rows, columns=columns, cells=copy.deepcopy(cells))
        return self.sheets[title]

    def cells(self, title: str) -> list[list[Any]]:
        """Return what stands in a worksheet."""
        return [list(row) for row in self.sheets[title].cells]

    def fault(self, call: str) -> Fault:
        """Return what happens to a call that has come."""
        left = self._faults.get(call)
        return (left.pop(0) if left else None) or Fault()

    def respond(self, call: str, path: str, query: dict[str, list[str]], body: Any) -> dict[str, Any]:
        """Do a call and return its answer."""
        with self._lock:
            self.calls.append(call)
            self.queries.append(query)
            kept = copy.deepcopy(self.sheets)
            if not path.startswith(KEY):
                return answer("gone")
            try:
                return getattr(self, f"_{call}")(path, query, body)  # type: ignore[no-any-return]
            except Refusal as exc:
                self.sheets = kept
                return exc.answer

    # --- the calls

    def _get(self, _path: str, _query: dict[str, list[str]], _body: Any) -> dict[str, Any]:
        made = answer("spreadsheet")
        made["body"]["sheets"] = [
            {
                "properties": {
                    "sheetId": sheet.number,
                    "title": title,
                    "gridProperties": {"rowCount": sheet.rows, "columnCount": sheet.columns},
                }
            }
            for title, sheet in self.sheets.items()
        ]
        return made

    def _values(self, path: str, _query: dict[str, list[str]], _body: Any) -> dict[str, Any]:
        sheet, (top, left, bottom, right) = self._range(path)
        if top >= sheet.rows or left >= sheet.columns:
            raise Refusal("outside", range=path, rows=sheet.rows, columns=sheet.columns)
        rows = [
            _trimmed([sheet.at(row, column) for column in range(left, min(right, sheet.columns - 1) + 1)])
            for row in range(top, min(bottom, len(sheet.cells) - 1) + 1)
        ]
        while rows and not rows[-1]:
            rows.pop()
        made = answer("values")
        made["body"] |= {"range": path, "values": rows}
        if not rows:
            del made["body"]["values"]
        return made

    def _append(self, path: str, query: dict[str, list[str]], body: Any) -> dict[str, Any]:
        sheet, (top, left, _, right) = self._range(path.removesuffix(":append"))
        if right >= sheet.columns:
            raise Refusal("outside", range=path, rows=sheet.rows, columns=sheet.columns)
        table = sheet.table(top, left, right)
        row, column = (table[2] + 1, table[1]) if table else (top, left)
        if query["insertDataOption"] == ["INSERT_ROWS"]:
            while len(sheet.cells) < row:
                sheet.cells.append([])
            sheet.cells[row:row] = [[] for _ in body["values"]]
            sheet.rows += len(body["values"])
        for down, values in enumerate(body["values"]):
            for along, value in enumerate(values):
                sheet.put(row + down, column + along, value)
        made = answer("append")
        made["body"]["updates"] |= {"updatedRows": len(body["values"]), "updatedRange": f"A{row + 1}"}
        return made

    def _batchUpdate(self, _path: str, _query: dict[str, list[str]], body: Any) -> dict[str, Any]:  # noqa: N802
        for request in body["requests"]:
            ((name, given),) = request.items()
            {"addSheet": self._add, "updateCells": self._fill, "appendDimension": self._lengthen}[name](given)
        return answer("batch_update")

    def _add(self, given: Any) -> None:
        properties = given["properties"]
        if properties["title"].casefold() in map(str.casefold, self.sheets):
            raise Refusal("stands", title=properties["title"])
        grid = properties["gridProperties"]
        self.sheets[properties["title"]] = Sheet(
            number=properties["sheetId"], rows=grid["rowCount"], columns=grid["columnCount"]
        )

    def _fill(self, given: Any) -> None:
        start = given["start"]
        sheet = next(sheet for sheet in self.sheets.values() if sheet.number == start["sheetId"])
        for down, row in enumerate(given["rows"]):
            for along, cell in enumerate(row["values"]):
                place = start["columnIndex"] + along
                if place >= sheet.columns:
                    raise Refusal("outside", range=place, rows=sheet.rows, columns=sheet.columns)
                sheet.put(start["rowIndex"] + down, place, cell["userEnteredValue"]["stringValue"])

    def _lengthen(self, given: Any) -> None:
        next(sheet for sheet in self.sheets.values() if sheet.number == given["sheetId"]).columns += given["length"]

    def _range(self, path: str) -> tuple[Sheet, tuple[int, int, int, int]]:
        text = path.partition("/values/")[2]
        found = re.fullmatch(r"'((?:[^']|'')*)'!([A-Z]*)([0-9]*)(?::([A-Z]*)([0-9]*))?", text)
        titles = {title.casefold(): sheet for title, sheet in self.sheets.items()}
        sheet = titles.get(found[1].replace("''", "'").casefold()) if found else None
        if found is None or sheet is None:
            raise Refusal("bad_range", range=text)
        end_column, end_row = (found[4], found[5]) if found[4] is not None else (found[2], found[3])
        return sheet, (
            int(found[3] or 1) - 1,
            _column(found[2]) if found[2] else 0,
            int(end_row) - 1 if end_row else sheet.rows - 1,
            _column(end_column) if end_column else sheet.columns - 1,
        )


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def _trimmed(row: list[Any]) -> list[Any]:
    while row and row[-1] == "":
        row = row[:-1]
    return row


def _handler(server: SheetsServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._serve(None)

        def do_POST(self) -> None:
            self._serve(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def log_message(self, *_: object) -> None:
            pass

        def _serve(self, body: Any) -> None:
            url = urlsplit(self.path)
            path = unquote(url.path.removeprefix("/v4/spreadsheets/"))
            call = self._call(path)
            fault = server.fault(call)
            fault.before()
            made = answer(fault.answer) if fault.answer else None
            if fault.applied or not (made or fault.cut):
                done = server.respond(call, path, parse_qs(url.query), body)
                made = made or done
                fault.after()
            else:
                server.calls.append(call)
            time.sleep(fault.seconds)
            if fault.cut:
                self.close_connection = True
                self.connection.shutdown(2)
                return
            self._send(made or {}, fault.headers)

        def _call(self, path: str) -> str:
            if path.endswith(":append"):
                return "append"
            if path.endswith(":batchUpdate"):
                return "batchUpdate"
            return "values" if "/values/" in path else "get"

        def _send(self, made: dict[str, Any], headers: dict[str, str]) -> None:
            raw = (made["body"] if isinstance(made["body"], str) else json.dumps(made["body"])).encode()
            self.send_response(made["status"])
            sent = {"Content-Type": "application/json; charset=UTF-8"} | made.get("headers", {}) | headers
            for name, value in sent.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

    return Handler
