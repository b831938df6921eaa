"""What the tests of revelation share: rules, records, and a place that notes what it was told."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from zoneinfo import ZoneInfo

from oceanus import records
from oceanus.errors import RefusedError
from oceanus.records import Record
from revelation.rules import Place, Rule, Rules
from revelation.telling import Message, Table, Telling

NOW_US = 1_795_000_000_000_000


def record(number: int, **fields: object) -> Record:
    """Return a record as arms makes it; its `url` is its number."""
    us = NOW_US + number
    return {"v": 1, "eid": records.mint(us), "dt": records.time_text(us), "url": str(number), "evt": "paid"} | fields


def rule(name: str = "paid", sites: Sequence[str] = ("shop",), **changes: object) -> Rule:
    """Return a rule that is true of every record and tells the desk."""
    given = {"matches": lambda _: True, "tell": ({"to": "desk", "text": "{{ url }}"},)} | changes
    return Rule(name=name, sites=tuple(sites), **given)


def rules(*some: Rule, a_minute: int = 10**6, places: Iterable[Place] = ()) -> Rules:
    """Return rules with the place `desk`."""
    every = [Place(name="desk", kind="slack", options={}), *places]
    sites = {site for one in some for site in one.sites}
    return Rules(
        rules={one.name: one for one in some},
        places={one.name: one for one in every},
        by_site={site: tuple(one for one in some if site in one.sites) for site in sites},
        zone=ZoneInfo("UTC"),
        a_minute=a_minute,
    )


def telling(number: int = 1, to: str = "desk", **changes: object) -> Telling:
    """Return a telling about a record."""
    given = {"key": f"paid:{number}:0", "rule": "paid", "site": "shop", "destination": to, "made_us": NOW_US}
    given |= {
        "action": {"to": to, "text": "{{ url }}"},
        "record": record(number),
        "more": {"rule": "paid"},
        "zone": "UTC",
    }
    return Telling(**(given | changes))


class Desk:
    """A place that notes what it was told; `answers` are errors that the next calls raise, after telling or before."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.answers: list[BaseException | Callable[[], None] | None] = []
        self.knows: bool | None = None
        self._lock = threading.Lock()

    def tell(self, message: Message) -> None:
        with self._lock:
            answer = self.answers.pop(0) if self.answers else None
            if answer is None or getattr(answer, "unclear", False):
                self.told.append(message.key)
        if isinstance(answer, BaseException):
            raise answer
        if answer:
            answer()

    def was_told(self, key: str, since_us: int) -> bool | None:
        return key in self.told if self.knows else self.knows


class PlainTexts:
    """Texts that need no renderer."""

    def message(self, telling: Telling, kind: str, table: Table | None = None) -> Message:
        if telling.action.get("text") == "bad":
            raise RefusedError("text: is bad")
        worksheet = str(telling.action.get("worksheet", ""))
        row = {"url": str(telling.record.get("url", ""))}
        return Message(key=telling.key, text="x", table=table, worksheet=worksheet, row=row)


class NoHistory:
    """A history that knows one row."""

    def table(self, asked: Mapping[str, object], telling: Telling) -> Table:
        return Table(columns=("url",), rows=(("/",),))


class Heap:
    """A task queue that keeps what is put; `trouble` is raised in place of the next put."""

    def __init__(self) -> None:
        self.put_in: list[Telling] = []
        self.trouble: list[BaseException] = []

    def put(self, tellings: Iterable[Telling]) -> None:
        for one in tellings:
            if self.trouble:
                raise self.trouble.pop()
            self.put_in.append(one)

    @property
    def keys(self) -> list[str]:
        return [one.key for one in self.put_in]
