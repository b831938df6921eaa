"""The local BigQuery of a bench: its tables, the barest client that writes there, and what stands there in the end."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from oceanus import audit, records, settings, tables, warehouse
from oceanus.settings import WarehouseSettings
from oceanus.sites import Site
from oceanus.spool import Spool
from oceanus.tables import Naming, Row, Table
from oceanus.warehouse import Catalog, Queries, Writer

APPEND_SECONDS = 60.0
_MAX_BYTES = 10**12


class Local:
    """One site's table there, and one beside it for the bare client."""

    def __init__(self, where: Mapping[str, str], site: Site) -> None:
        read = settings.read(WarehouseSettings, where)
        self.where = where
        self._clients = warehouse.connect(read)
        self._queries = Queries(self._clients, read.dataset)
        self._writer = Writer(self._clients)
        self._site = site
        self._table = Naming(read.dataset).table(site, "2026-01-01")
        self._bare = Naming(read.dataset, "bare_").table(site, "2026-01-01")
        catalog = Catalog(self._clients)
        catalog.create_dataset(read.dataset, "")
        for one in (self._table, self._bare):
            catalog.create(one)

    def requests(self, texts: Iterable[bytes], max_bytes: int) -> list[Any]:
        """Return finished requests for the bare client, each of as many records as `max_bytes` of text hold."""
        stream, offset, made = self._writer.create_stream(self._bare.path), 0, []
        for rows in _batches(self._bare, texts, max_bytes):
            made.append(self._writer.request(self._bare, stream, offset, rows))
            offset += len(rows)
        return made

    def append(self, requests: Iterable[Any]) -> Iterator[int]:
        """Send each by Google's client on a call of its own, as r2bq does; yields how many rows were taken."""
        for request in requests:
            metadata = (("x-goog-request-params", f"write_stream={request.write_stream}"),)
            answers = self._clients.write.append_rows(
                iter([request]), retry=None, timeout=APPEND_SECONDS, metadata=metadata
            )
            answer = next(iter(answers))
            if answer.error.code or answer.row_errors:
                raise ValueError(f"the bare client was refused: {answer.error.message}")
            yield len(request.proto_rows.rows.serialized_rows)

    def count(self) -> int:
        """Return how many rows of the site a SELECT sees."""
        return int(self._select("COUNT(*)")[0])

    def received(self) -> list[float]:
        """Return when each record that stands there was received, in seconds since 1970, the oldest first."""
        return sorted(records.received_us(eid) / 1e6 for eid in self._select("eid"))

    def differences(self, spool: Spool, rows: int) -> list[str]:
        """Return in what the ledger and the table differ from `rows` that landed once each."""
        before = spool.ledger(self._site.name)
        landed = self._queries.count(self._table.path, sorted(before.days), True, _MAX_BYTES)
        found = audit.judge(before, spool.ledger(self._site.name), landed, before.days)
        told = [f"{one.bucket} {one.verdict}" for one in found.verdicts if one.verdict != "agrees"]
        if (found.accepted, found.landed, found.failed) != (rows, rows, 0) or found.differs:
            told.append(f"{rows} pushed, {found.accepted} accepted, {found.landed} landed, {found.doubled} doubled")
        return told

    def _select(self, what: str) -> list[Any]:
        rest, path = self._clients.rest, self._table.path
        return [row[0] for row in rest.query_and_wait(f"SELECT {what} FROM `{path}`")]  # noqa: S608 - names of ours


def _batches(table: Table, texts: Iterable[bytes], max_bytes: int) -> Iterator[list[Row]]:
    rows: list[Row] = []
    size = 0
    for text in texts:
        if rows and size + len(text) > max_bytes:
            yield rows
            rows, size = [], 0
        rows.append(tables.row(table, records.decode(text)))
        size += len(text)
    if rows:
        yield rows
