"""BigQuery as the drains see it, in memory: each append is whole or not at all, at the offset it names or nowhere.

`BigQuery` is the service; `Line` is what a process has of it: the same calls over a network that loses and delays them.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from oceanus.errors import (
    OffsetTakenError,
    RowsRefusedError,
    StreamGoneError,
    TableMissingError,
    TableTroubleError,
    WarehouseBusyError,
    WarehouseUnclearError,
)
from oceanus.tables import Row, Table
from tests.model.network import Network
from tests.model.scheduler import Scheduler

Content = tuple[str, ...]

HAZARD, SLOWNESS = 4.0, 0.6  # there are fewer calls to BigQuery than to Redis, and they take longer


@dataclass(slots=True)
class Stream:
    """A committed stream; `contents` are those ever sent to an offset of it, and whether BigQuery refused them."""

    table: Table
    rows: int = 0
    is_finalised: bool = False
    landed: dict[int, Content] = field(default_factory=dict)
    contents: dict[int, dict[Content, bool]] = field(default_factory=lambda: defaultdict(dict))


class BigQuery:
    """The service. `broken` are the rules of the protocol that an append showed to be broken."""

    def __init__(self, scheduler: Scheduler, standing: Sequence[Table], is_refused: Callable[[Row], bool]) -> None:
        self.tables = {table.path: table for table in standing}
        self.rows: dict[str, list[Row]] = defaultdict(list)
        self.streams: dict[str, Stream] = {}
        self.busy_until = self.strict_until = 0.0
        self.trouble_until: dict[str, float] = {}
        self.broken: list[str] = []
        self._scheduler = scheduler
        self._is_refused = is_refused
        self._made = 0

    # --- the catalog and the queries

    def find(self, path: str) -> Table | None:
        return self.tables.get(path)

    def create(self, table: Table) -> None:
        self.tables.setdefault(table.path, table)

    def alter(self, table: Table) -> None:
        self.tables[table.path] = table

    def landed(self, path: str, key: str, ids: Sequence[str], first_us: int, last_us: int, timed: bool) -> set[str]:
        if path not in self.tables:
            raise TableMissingError(path)
        asked = set(ids)
        return {
            row[key] for row in self.rows[path] if row[key] in asked and (not timed or first_us <= row["dt"] <= last_us)
        }

    # --- the streams

    def create_stream(self, path: str) -> str:
        if path not in self.tables:
            raise TableMissingError(path)
        self._made += 1
        self.streams[f"S{self._made}"] = Stream(self.tables[path])
        return f"S{self._made}"

    def sent(self, stream: str, offset: int, content: Content) -> None:
        """Hold the third rule: one content for an offset, unless what was sent there before is refused."""
        known = self.streams.get(stream)
        if known is None:
            return
        contents = known.contents[offset]
        contents.setdefault(content, False)
        if sum(not is_refused for is_refused in contents.values()) > 1:
            self.broken.append(f"rule 3: two contents for {stream} at {offset}")

    def write(self, table: Table, stream: str, offset: int, rows: Sequence[Row]) -> None:
        found = self.streams.get(stream)
        if found is None or found.is_finalised or offset > found.rows:
            raise StreamGoneError(stream)
        if offset < found.rows:
            content = content_of(table, rows)
            if found.landed.get(offset) != content and not found.contents[offset].get(content):
                self.broken.append(f"rule 3: {stream} holds something else at {offset}")
            raise OffsetTakenError(f"{stream} {offset}")
        if self.busy_until > self._scheduler.now:
            raise WarehouseBusyError(stream)
        if self.trouble_until.get(found.table.path, 0.0) > self._scheduler.now:
            raise TableTroubleError(found.table.path)
        refused = {place: "refused" for place, row in enumerate(rows) if self._refuses(row)}
        if refused:
            found.contents[offset][content_of(found.table, rows)] = True
            raise RowsRefusedError(refused)
        if table.path != found.table.path:
            self.broken.append(f"rule 6: rows for {table.path} on a stream to {found.table.path}")
        self.rows[found.table.path] += rows
        found.landed[offset] = content_of(table, rows)
        found.rows += len(rows)

    def _refuses(self, row: Row) -> bool:
        """Say whether a row is refused: some always, others only for a while, as with a column that is on its way."""
        return self._is_refused(row) or (self.strict_until > self._scheduler.now and row.get("sid") == "b")

    def finalize(self, stream: str) -> int | None:
        found = self.streams.get(stream)
        if found is None:
            return None
        found.is_finalised = True
        return found.rows


class Line:
    """A process's line to BigQuery: stands for Catalog, Queries and Writer."""

    def __init__(self, service: BigQuery, network: Network) -> None:
        self._service = service
        self._network = network

    def find(self, path: str) -> Table | None:
        return self._call("find", 30, path)

    def create(self, table: Table) -> None:
        self._call("create", 30, table)

    def alter(self, table: Table) -> None:
        self._call("alter", 30, table)

    def landed(self, path: str, key: str, ids: Sequence[str], first_us: int, last_us: int, timed: bool) -> set[str]:
        return self._call("landed", 30, path, key, ids, first_us, last_us, timed)

    def create_stream(self, path: str) -> str:
        return self._call("create_stream", 30, path)

    def write(self, table: Table, stream: str, offset: int, rows: Sequence[Row]) -> None:
        self._service.sent(stream, offset, content_of(table, rows))
        self._call("write", 10, table, stream, offset, rows)

    def finalize(self, stream: str) -> int | None:
        return self._call("finalize", 30, stream)

    def _call(self, name: str, seconds: float, *values: Any) -> Any:
        def run(first: int, last: int) -> list[Any]:
            return [_answer(getattr(self._service, name), values)] if first < last else []

        [answer] = self._network.call(name, 1, run, seconds, WarehouseUnclearError, HAZARD, SLOWNESS)
        self._network.note(f"{name} answers {answer if answer is None else type(answer).__name__}")
        if isinstance(answer, Exception):
            raise answer
        return answer


def content_of(table: Table, rows: Sequence[Row]) -> Content:
    """Return the ids of some rows, in order."""
    return tuple(str(row.get(table.key)) for row in rows)


def _answer(call: Callable[..., Any], values: tuple[Any, ...]) -> Any:
    """Return what the service answers, its errors too: an answer that is lost is lost either way."""
    try:
        return call(*values)
    except (OffsetTakenError, RowsRefusedError, StreamGoneError, TableTroubleError, WarehouseBusyError) as exc:
        return exc
