"""SQL for analysts: what a query answers, as a table for people, as JSON or CSV for programs.

Values come out as BigQuery names them: TIMESTAMP as RFC 3339 in UTC, NUMERIC as text with all its digits, BYTES in
base64, JSON as JSON. No value is ever cut or folded: rows too wide for a terminal become blocks of `column: value`.
"""

import base64
import csv
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import islice
from typing import Any, TextIO

from management import grid
from oceanus.errors import TableMissingError, WarehouseError, WarehouseUnclearError
from oceanus.visible import escaped
from oceanus.warehouse import Result

TABLE_ROWS = 1000
COUNTED_ROWS = 20_000  # so many are fetched to be counted: a wide table of millions would take minutes

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
# `BadRequest: POST http://...: ` before the sentence, and behind it the same once more as Google's client adds it.
_ADDRESS = re.compile(r"^[A-Z]\w+: (?:(?:\d{3} )?[A-Z]+ https?://\S+: )?")
_REPEATED = re.compile(r"; (?=[^;]*\breason: \w+)(?:reason|location|message|debugInfo): .*", re.DOTALL)
_NO_SELECT = re.compile(r"this is a (\w+); only one SELECT is run here")


def parse_bytes(text: str) -> int:
    """Return `10GB`, `500 MB` or `1000` as bytes; raises ValueError."""
    number = text.strip().upper().rstrip("KMGTB")
    unit = text.strip().upper().removeprefix(number)
    if not number.strip().isdecimal() or unit not in _UNITS or int(number) == 0:
        raise ValueError(f"{text!r} is no size such as 10GB or 500MB")
    return int(number) * _UNITS[unit]


def show(result: Result, form: str, out: TextIO, width: int | None = None) -> str | None:
    """Write what a query answered as `table`, `json` (a list of objects) or `csv`; return what is to be said of it.

    `width` is that of the terminal, None for a pipe. A table ends after 1,000 rows.
    """
    names, rows = [name for name, _ in result.columns], map(_plain_row, result.rows)
    if form == "table":
        return _table(names, rows, out, width)
    (_json if form == "json" else _csv)(names, rows, out)
    return None


def sentence(error: WarehouseError) -> list[str]:
    """Return what BigQuery said, without method, address and class, and below it what may help."""
    told = _ADDRESS.sub("", str(error).partition("\n\n")[0])  # below it BigQuery names the job
    told = _REPEATED.sub("", told)
    other = _NO_SELECT.match(told)
    if other:
        kind = "a script of several statements" if other[1] == "SCRIPT" else f"a statement of kind {other[1]}"
        return [f"oceanus sql runs one SELECT and changes nothing; this is {kind.replace('_', ' ')}"]
    if isinstance(error, TableMissingError) and "table" in told.lower():
        return [told, "tables: SELECT table_name FROM INFORMATION_SCHEMA.TABLES"]
    if isinstance(error, WarehouseUnclearError):
        return ["BigQuery does not answer" if "ConnectionPool(" in told else f"no clear answer from BigQuery: {told}"]
    return [told]


def plain(value: Any) -> Any:
    """Return a value of BigQuery as JSON can hold it, no digit lost."""
    if isinstance(value, dict):
        return {str(name): plain(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [plain(member) for member in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"inf": "Infinity", "-inf": "-Infinity"}.get(str(value), "NaN")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return _told(value)


def _told(value: object) -> str:
    """Return as text what JSON has no form for."""
    if isinstance(value, datetime | date | time):
        return _time_text(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _plain_row(row: Sequence[Any]) -> list[Any]:
    return [plain(value) for value in row]


def _time_text(value: date | time) -> str:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value.isoformat()


def _json(names: Sequence[str], rows: Iterable[Sequence[Any]], out: TextIO) -> None:
    separator = "[\n"
    for row in rows:
        out.write(separator + json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False))
        separator = ",\n"
    out.write("\n]\n" if separator.startswith(",") else "[]\n")


def _csv(names: Sequence[str], rows: Iterable[Sequence[Any]], out: TextIO) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow(["" if value is None else _text(value) for value in row])


def _table(names: Sequence[str], rows: Iterator[Sequence[Any]], out: TextIO, width: int | None) -> str | None:
    values = list(islice(rows, TABLE_ROWS))
    lines = [[_cell(value) for value in row] for row in values]
    for line in _form(names, lines, values, width):
        out.write(line + "\n")
    if not lines:
        out.write("0 rows\n")
    return _rest(rows) if len(values) == TABLE_ROWS else None


def _form(
    names: Sequence[str], lines: list[list[str]], values: list[Sequence[Any]], width: int | None
) -> Iterable[str]:
    """Return the lines of a table as it fits: in a frame on a pipe, else without boxes, else a block for each row."""
    if width is None:
        return grid.framed(names, lines)
    if grid.fits(names, lines, width):
        return grid.plain(
            names, lines, [_are_numbers(column) for column in zip(*values, strict=True)] or [False] * len(names)
        )
    return grid.blocks(names, lines)


def _rest(rows: Iterator[Any]) -> str | None:
    """Return how many rows a table left out, if any."""
    more = sum(1 for _ in islice(rows, COUNTED_ROWS - TABLE_ROWS))
    if not more:
        return None
    least = "" if next(rows, None) is None else "more than "
    return f"first {TABLE_ROWS:,} of {least}{TABLE_ROWS + more:,} rows; --format csv gives all"


def _are_numbers(column: Sequence[Any]) -> bool:
    told = [value for value in column if value is not None]
    return bool(told) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in told)


def _cell(value: Any) -> str:
    return "" if value is None else escaped(_text(value))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
