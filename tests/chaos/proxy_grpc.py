"""The fault proxy before the local BigQuery's Storage API (gRPC).

The local BigQuery is not atomic under concurrency: two appends at one offset at once are both taken. So this forwards
one request per stream at a time, each on an upstream call of its own, and always reads its answer, also where whoever
asked is gone; only then it decides what is passed on.
"""

import asyncio
import random
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any

import grpc
from google.cloud.bigquery_storage_v1 import types
from google.rpc import status_pb2

from tests.chaos.trouble import Deed, Trouble

SERVICE = "/google.cloud.bigquery.storage.v1.BigQueryWrite/"
UPSTREAM_SECONDS = 120
UPSTREAM_CALLS = 6  # it has 16 threads, and a 17th call would hang
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)]
Code = grpc.StatusCode
Request = types.AppendRowsRequest.pb()
Response = types.AppendRowsResponse.pb()
Finalize = types.FinalizeWriteStreamRequest.pb()

ANSWERS = {
    Deed.REFUSE: (Code.UNAVAILABLE, "failed to connect"),
    Deed.CUT_BEFORE: (Code.UNAVAILABLE, "Socket closed"),
    Deed.CUT_AFTER: (Code.UNAVAILABLE, "Socket closed"),
    Deed.ERROR_500: (Code.INTERNAL, "An internal error occurred"),
    Deed.ERROR_503: (Code.UNAVAILABLE, "The service is currently unavailable"),
    Deed.QUOTA: (Code.RESOURCE_EXHAUSTED, "Exceeds quota: AppendRows throughput"),
}
# Errors of a server say nothing about whether the request was carried out: half of the time it was.
AMBIGUOUS = {Deed.ERROR_500, Deed.ERROR_503}


class BrokenError(Exception):
    """The call ends with a status."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


@dataclass
class Asked:
    """One request on its way."""

    name: str
    raw: bytes
    stream: str = ""
    rows: int = 0

    @property
    def may_lose_rows(self) -> bool:
        """Say whether rows of it may be refused: the failed table must take everything, so it is left alone."""
        return self.rows > 0 and "_failed/tables/" not in self.stream


class GrpcProxy(grpc.GenericRpcHandler):
    """Stands before one local BigQuery. `trouble` says what happens to the next request."""

    def __init__(self, target: int, rng: random.Random) -> None:
        self._target = target
        self._random = rng
        self.trouble = Trouble(rng)
        self.forgotten: set[str] = set()
        self.port = 0
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._lanes = asyncio.Semaphore(UPSTREAM_CALLS)
        self._gate = asyncio.Event()
        self._gate.set()
        self._passing = 0
        self._took: deque[tuple[float, float]] = deque(maxlen=1000)  # when an answer came, after how long
        self._tasks: set[asyncio.Task[bytes]] = set()

    async def start(self) -> "GrpcProxy":
        """Listen on a free port."""
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{self._target}", options=OPTIONS)
        self._server = grpc.aio.server(options=OPTIONS)
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return self

    async def stop(self) -> None:
        """Let what passes end, and listen no more."""
        self.trouble.end()
        self.release()
        await self._server.stop(1)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._channel.close()

    async def hold(self) -> None:
        """Let no more request pass, and return when none is under way."""
        self._gate.clear()
        while self._passing:  # noqa: ASYNC110 - a few times an hour
            await asyncio.sleep(0.02)

    def release(self) -> None:
        """Let what waits pass."""
        self._gate.set()

    def slowest(self, within_seconds: float) -> float:
        """Return how long the slowest of the last requests took behind this proxy: the local BigQuery's own time."""
        since = monotonic() - within_seconds
        return max((took for at, took in self._took if at > since), default=0.0)

    # --- what grpc calls

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """Return how a method is served; the bytes are passed on as they are."""
        name = details.method.removeprefix(SERVICE)
        if name == "AppendRows":
            return grpc.stream_stream_rpc_method_handler(self._append)
        return grpc.unary_unary_rpc_method_handler(partial(self._unary, name))

    async def _append(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        stream = ""
        async for raw in requests:
            asked = Request.FromString(raw)
            stream = asked.write_stream or stream
            rows = len(asked.proto_rows.rows.serialized_rows)
            yield await self._answer(Asked("AppendRows", raw, stream, rows), context)

    async def _unary(self, name: str, raw: bytes, context: Any) -> bytes:
        stream = Finalize.FromString(raw).name if name == "FinalizeWriteStream" else ""
        return await self._answer(Asked(name, raw, stream), context)

    # --- one request

    async def _answer(self, asked: Asked, context: Any) -> bytes:
        """Return the answer, or end the call; the request goes its way to the end whatever becomes of its sender."""
        task = asyncio.create_task(self._meet(asked))
        self._tasks.add(task)
        task.add_done_callback(self._forget_task)
        try:
            return await asyncio.shield(task)
        except BrokenError as broken:
            await context.abort(broken.code, broken.text)
            raise

    def _forget_task(self, task: "asyncio.Task[bytes]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()

    async def _meet(self, asked: Asked) -> bytes:
        deed = self.trouble.meet()
        if deed is Deed.PASS:
            return await self._forward(asked)
        if deed is Deed.HANG:
            await self.trouble.over.wait()
            return await self._forward(asked)
        if deed is Deed.BAD_ROWS:
            return self._refuse_rows(asked) if asked.may_lose_rows else await self._forward(asked)
        if deed is Deed.FORGET:
            return await self._forget(asked)
        if deed is Deed.CUT_AFTER or (deed in AMBIGUOUS and self._random.random() < 0.5):
            await self._forward(asked)
        raise BrokenError(*ANSWERS[deed])

    async def _forward(self, asked: Asked) -> bytes:
        return await self._alone(asked, lambda: self._upstream(asked))

    async def _alone(self, asked: Asked, deed: Callable[[], Coroutine[Any, Any, bytes]]) -> bytes:
        """Do something while no other request of this stream is under way."""
        async with self._locks[asked.stream or asked.raw.decode(errors="replace")]:
            while not self._gate.is_set():
                await self._gate.wait()
            self._passing += 1
            try:
                return await deed()
            finally:
                self._passing -= 1

    async def _upstream(self, asked: Asked) -> bytes:
        """Send it on and return the whole of the answer."""
        if asked.stream in self.forgotten:
            raise self._unknown(asked.stream)
        began = monotonic()
        async with self._lanes:
            try:
                return await self._call(asked)
            except grpc.aio.AioRpcError as exc:
                raise BrokenError(exc.code(), exc.details() or "") from exc
            finally:
                self._took.append((monotonic(), monotonic() - began))

    async def _call(self, asked: Asked) -> bytes:
        if asked.name != "AppendRows":
            unary = self._channel.unary_unary(SERVICE + asked.name)
            return bytes(await unary(asked.raw, timeout=UPSTREAM_SECONDS))
        call = self._channel.stream_stream(SERVICE + asked.name)(timeout=UPSTREAM_SECONDS)
        await call.write(asked.raw)
        await call.done_writing()
        answer = await call.read()
        if answer is grpc.aio.EOF:
            raise BrokenError(await call.code(), await call.details() or "no answer")
        await call.read()
        return bytes(answer)

    # --- deeds of this proxy alone

    def _refuse_rows(self, asked: Asked) -> bytes:
        """Answer as BigQuery does where single rows are wrong: it names them, and writes nothing of the request."""
        count = self._random.randint(1, min(3, asked.rows))
        answer = Response(error=status_pb2.Status(code=3, message="Errors found while processing rows."))
        for index in sorted(self._random.sample(range(asked.rows), count)):
            answer.row_errors.add(index=index, code=1, message="chaos: this row is refused")
        return bytes(answer.SerializeToString())

    async def _forget(self, asked: Asked) -> bytes:
        """Know an append's stream no more: half of the time after the append was written, and its answer lost."""
        if not asked.rows or asked.stream in self.forgotten:
            return await self._forward(asked)

        async def deed() -> bytes:
            if self._random.random() < 0.5:
                await self._upstream(asked)
                self.forgotten.add(asked.stream)
                raise BrokenError(Code.UNAVAILABLE, "Socket closed")
            self.forgotten.add(asked.stream)
            raise self._unknown(asked.stream)

        return await self._alone(asked, deed)

    def _unknown(self, stream: str) -> BrokenError:
        code = self._random.choice((Code.NOT_FOUND, Code.INVALID_ARGUMENT))
        text = "Requested entity was not found" if code is Code.NOT_FOUND else "Invalid stream name"
        return BrokenError(code, f"{text}. Entity: {stream}")
