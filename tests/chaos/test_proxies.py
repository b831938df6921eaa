"""The fault proxies, with the real clients through them and the local BigQuery behind them."""

import asyncio
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Thread

import grpc
import httpx
import pytest
from google.cloud.bigquery_storage_v1 import BigQueryWriteClient
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import BigQueryWriteGrpcTransport

from oceanus.errors import (
    OffsetTakenError,
    RowsRefusedError,
    StreamGoneError,
    WarehouseBusyError,
    WarehouseUnclearError,
)
from oceanus.tables import Column, Row, Table
from oceanus.warehouse import Clients, Writer
from tests.chaos.proxy_grpc import GrpcProxy
from tests.chaos.proxy_http import HttpProxy
from tests.chaos.trouble import Deed
from tests.conftest import Warehouse

ROWS: list[Row] = [{"uid": str(number)} for number in range(5)]


@dataclass
class Proxied:
    """A table of its own, and a writer whose every call goes through a proxy."""

    proxy: GrpcProxy
    writer: Writer
    table: Table
    warehouse: Warehouse

    def trouble(self, deed: Deed) -> None:
        """Do this to every request from now on."""
        self.proxy.trouble.begin(deed)

    def peace(self) -> None:
        """Let all pass."""
        self.loop.call_soon_threadsafe(self.proxy.trouble.end)

    loop: asyncio.AbstractEventLoop

    def count(self) -> int:
        """Return how many rows stand."""
        [(count,)] = self.warehouse.rows(f"SELECT COUNT(*) FROM {self.table.path}")
        assert isinstance(count, int)
        return count


@pytest.fixture
def proxied(warehouse: Warehouse) -> Iterator[Proxied]:
    """A proxy on a loop of its own, as the chaos runs it beside its clients."""
    table = Table(path=f"{warehouse.settings.dataset}.t", columns=(Column("uid"),), description="")
    warehouse.catalog.create_dataset(warehouse.settings.dataset, "")
    warehouse.catalog.create(table)
    loop = asyncio.new_event_loop()
    Thread(target=loop.run_forever, daemon=True).start()
    target = int(warehouse.settings.storage_emulator.rpartition(":")[2])

    async def start() -> GrpcProxy:
        return await GrpcProxy(target, random.Random(1)).start()

    proxy = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    channel = grpc.insecure_channel(f"127.0.0.1:{proxy.port}")
    write = BigQueryWriteClient(transport=BigQueryWriteGrpcTransport(channel=channel))
    clients = Clients(warehouse.clients.project, warehouse.clients.location, warehouse.clients.rest, write)
    yield Proxied(proxy, Writer(clients), table, warehouse, loop)
    channel.close()
    asyncio.run_coroutine_threadsafe(proxy.stop(), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)


def test_a_cut_after_the_answer_leaves_the_rows_written(proxied: Proxied) -> None:
    stream = proxied.writer.create_stream(proxied.table.path)
    proxied.trouble(Deed.CUT_AFTER)

    with pytest.raises(WarehouseUnclearError):
        proxied.writer.write(proxied.table, stream, 0, ROWS)

    proxied.peace()
    assert proxied.count() == len(ROWS)
    with pytest.raises(OffsetTakenError):
        proxied.writer.write(proxied.table, stream, 0, ROWS)


@pytest.mark.parametrize(
    ("deed", "error"),
    [
        (Deed.REFUSE, WarehouseUnclearError),
        (Deed.CUT_BEFORE, WarehouseUnclearError),
        (Deed.QUOTA, WarehouseBusyError),
        (Deed.BAD_ROWS, RowsRefusedError),
    ],
)
def test_what_is_not_passed_on_leaves_no_row(proxied: Proxied, deed: Deed, error: type[Exception]) -> None:
    stream = proxied.writer.create_stream(proxied.table.path)
    proxied.trouble(deed)

    with pytest.raises(error):
        proxied.writer.write(proxied.table, stream, 0, ROWS)

    proxied.peace()
    assert proxied.count() == 0
    proxied.writer.write(proxied.table, stream, 0, ROWS)
    assert proxied.count() == len(ROWS)


def test_a_request_that_hangs_is_passed_on_late_and_once(proxied: Proxied) -> None:
    stream = proxied.writer.create_stream(proxied.table.path)
    proxied.trouble(Deed.HANG)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(proxied.writer.write, proxied.table, stream, 0, ROWS) for _ in range(2)]
        while proxied.proxy.trouble.done[Deed.HANG] < 2:
            pass
        assert not any(one.done() for one in both)

        proxied.peace()
        errors = [one.exception(30) for one in both]

    assert sorted(type(error) for error in errors if error) == [OffsetTakenError]
    assert proxied.count() == len(ROWS)


def test_a_forgotten_stream_is_unknown_from_then_on(proxied: Proxied) -> None:
    stream = proxied.writer.create_stream(proxied.table.path)
    proxied.trouble(Deed.FORGET)

    with pytest.raises((WarehouseUnclearError, StreamGoneError)):
        proxied.writer.write(proxied.table, stream, 0, ROWS)

    proxied.peace()
    with pytest.raises(StreamGoneError):
        proxied.writer.write(proxied.table, stream, 0, ROWS)
    assert proxied.writer.finalize(stream) is None


@pytest.fixture
def rest(warehouse: Warehouse) -> Iterator[tuple[HttpProxy, Callable[[], httpx.Response]]]:
    """A proxy before the REST API, and one request through it that makes a dataset."""
    proxy = HttpProxy(int(warehouse.settings.emulator.rpartition(":")[2]), random.Random(1)).start()
    body = {"datasetReference": {"projectId": "local", "datasetId": warehouse.settings.dataset}}

    def make() -> httpx.Response:
        url = f"http://127.0.0.1:{proxy.port}/bigquery/v2/projects/local/datasets"
        return httpx.post(url, json=body, timeout=30, trust_env=False)

    yield proxy, make
    proxy.stop()


@pytest.mark.parametrize(("deed", "stands"), [(Deed.REFUSE, False), (Deed.CUT_BEFORE, False), (Deed.CUT_AFTER, True)])
def test_a_rest_request_is_cut_before_or_after_it_was_done(
    rest: tuple[HttpProxy, Callable[[], httpx.Response]], warehouse: Warehouse, deed: Deed, stands: bool
) -> None:
    proxy, make = rest
    proxy.begin(deed)

    with pytest.raises(httpx.TransportError):
        make()

    assert warehouse.catalog.has_dataset(warehouse.settings.dataset) is stands


@pytest.mark.parametrize(("deed", "status"), [(Deed.ERROR_500, 500), (Deed.ERROR_503, 503), (Deed.QUOTA, 403)])
def test_a_rest_request_is_answered_with_an_error_until_the_trouble_ends(
    rest: tuple[HttpProxy, Callable[[], httpx.Response]], deed: Deed, status: int
) -> None:
    proxy, make = rest
    proxy.begin(deed)
    assert make().status_code == status

    proxy.end()

    assert make().status_code == 200
