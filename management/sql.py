"""SQL for analysts: what a query answers, as a table for people, as JSON or CSV for programs.

Values come out as BigQuery names them: TIMESTAMP as RFC 3339 in UTC, NUMERIC as text with all its digits, BYTES in
base64, JSON as JSON. Nothing is cut on a pipe.
"""

import base64
import csv
import json
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, TextIO

from rich import box
from rich.console import Console, OverflowMethod
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from oceanus.warehouse import Result

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
# What moves a terminal's cursor or colours it: a visitor chose these texts.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


def parse_bytes(text: str) -> int:
    """Return `10GB`, `500 MB` or `1000` as bytes; raises ValueError."""
    number = text.strip().upper().rstrip("KMGTB")
    unit = text.strip().upper().removeprefix(number)
    if not number.strip().isdecimal() or unit not in _UNITS or int(number) == 0:
        raise ValueError(f"{text!r} is no size such as 10GB or 500MB")
    return int(number) * _UNITS[unit]


def show(result: Result, form: str, out: TextIO) -> None:
    """Write what a query answered as `table`, `json` (a list of objects) or `csv`."""
    _FORMS[form]([name for name, _ in result.columns], map(_plain_row, result.rows), out)


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


def _table(names: Sequence[str], rows: Iterable[Sequence[Any]], out: TextIO) -> None:
    console = Console(file=out, highlight=False)
    fold: OverflowMethod = "fold" if console.is_terminal else "ignore"
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else box.ASCII2, safe_box=True)
    lines = [[_cell(value) for value in row] for row in rows]
    for place, name in enumerate(names):
        numbers = all(isinstance(line[place], _Number) or not line[place].plain for line in lines) and bool(lines)
        table.add_column(
            Text(name), justify="right" if numbers else "left", overflow=fold, no_wrap=not console.is_terminal
        )
    for line in lines:
        table.add_row(*line)
    if not console.is_terminal:
        console.width = Measurement.get(console, console.options.update(max_width=10**9), table).maximum
    console.print(table)


class _Number(Text):
    """A number in a cell: it stands at the right."""


def _cell(value: Any) -> Text:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _Number(str(value))
    return Text("" if value is None else _text(value).translate(_CONTROLS))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


_FORMS: dict[str, Callable[[Sequence[str], Iterable[Sequence[Any]], TextIO], None]] = {
    "table": _table,
    "json": _json,
    "csv": _csv,
}
