"""A trial of one rule on one record: what it would tell, and to whom; on request it is told."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from oceanus import records
from oceanus.errors import MisconfiguredError, TellError
from oceanus.records import Record
from revelation import deciding
from revelation.places import Places
from revelation.rules import Place, Rules
from revelation.seen import Seen
from revelation.telling import Message, Table, Telling


def run(name: str, file: str, send: bool, rules: Rules, places: Places) -> int:
    """Show the messages of a rule about a record; return 0 if the rule is true of it and all that was sent arrived."""
    rule = rules.rules.get(name)
    if rule is None:
        raise MisconfiguredError([f"alerts.yaml has no rule {name}; it has {', '.join(rules.rules) or 'none'}"])
    site, record = _record(file, rule.sites)
    is_true = rule.matches(Seen(record, site))
    print(f"rule {name} is {'true' if is_true else 'not true'} of this record of {site}")
    arrived = True
    try:
        for telling in deciding.tellings(rule, rules, site, record, 1, time.time_ns() // 1000):
            place = rules.places[telling.destination]
            print(f"to {place.name} ({_where(place)}):")
            arrived &= _show(place, telling, send and is_true, places)
    finally:
        places.close()
    if send and not is_true:
        print("nothing is told, because the rule is not true of it")
    return 0 if is_true and arrived else 1


def _show(place: Place, telling: Telling, send: bool, places: Places) -> bool:
    try:
        asked = telling.action.get("history")
        table = places.history.table(asked, telling) if asked and send else None
        message = places.texts.message(telling, place.kind, table)
        for line in _lines(message, place.kind):
            print(f"  {line}")
        if asked and not send:
            print(f"  and the visitor's last rows: {json.dumps(dict(asked))}")
        if send:
            _send(place, message, places)
            print("  told")
    except (TellError, ValueError, KeyError) as exc:  # the last two: a setting or secret is wrong, or is not set
        print(f"  not told: {f'{exc} is not set' if isinstance(exc, KeyError) else exc}")
        return False
    return True


def _send(place: Place, message: Message, places: Places) -> None:
    if place.kind == "sheets":
        places.book(place).append(message.worksheet, [message.row])
    else:
        places.destination(place).tell(message)


def _lines(message: Message, kind: str) -> Iterator[str]:
    if message.subject:
        yield f"subject: {message.subject}"
    if message.worksheet:
        yield f"worksheet: {message.worksheet}"
    yield from message.text.split("\n") if message.text else ()
    yield from (f"{name}: {value}" for name, value in (*message.fields.items(), *message.row.items()))
    if kind == "webhook":
        yield json.dumps(dict(message.body), ensure_ascii=False)
    yield from _table(message.table)


def _table(table: Table | None) -> Iterator[str]:
    if table:
        yield from (" | ".join(row) for row in (table.columns, *table.rows))


def _where(place: Place) -> str:
    options = place.options
    named = options.get("channel") or options.get("to") or options.get("url") or options.get("spreadsheet") or ""
    to = ", ".join(map(str, named)) if isinstance(named, list) else str(named)
    return f"{place.kind} {to}".strip()


def _record(file: str, of: tuple[str, ...]) -> tuple[str, Record]:
    """Return the site and the record of a file, with what arms would add."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        given = orjson.loads(text)
    except (OSError, ValueError) as exc:
        raise MisconfiguredError([f"{file}: cannot be read as JSON: {exc}"]) from exc
    if not isinstance(given, dict):
        raise MisconfiguredError([f"{file}: must be a JSON object: the fields of a record by name"])
    now_us = time.time_ns() // 1000
    site = given.pop("site", of[0])
    if site not in of:
        raise MisconfiguredError([f"{file}: the rule is of {', '.join(of)}, not of the site {site}"])
    whole = {"v": records.FORMAT, "eid": records.mint(now_us), "dt": records.time_text(now_us)} | given
    return str(site), {name: _text(value) for name, value in whole.items()}


def _text(value: Any) -> Any:
    """Return what a record holds: JSON as text."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode() if isinstance(value, dict | list) else value
