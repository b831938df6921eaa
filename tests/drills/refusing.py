"""A BigQuery that looks at the key's file: it refuses every call while the key in it is expired, or has no role."""

import asyncio
import json
import random
import threading
from pathlib import Path

from tests.chaos.proxy_grpc import Asked, BrokenError, Code, GrpcProxy
from tests.chaos.proxy_http import Answer, HttpProxy
from tests.conftest import LocalBigQuery

EXPIRED, NO_ROLE = "expired", "without a role"
# What Google answers for such a key: status, reason, and the same of gRPC.
REFUSALS = {
    EXPIRED: (401, "Request had invalid authentication credentials.", Code.UNAUTHENTICATED),
    NO_ROLE: (403, "Access Denied: Permission bigquery.datasets.get denied", Code.PERMISSION_DENIED),
}
Refusal = tuple[int, str, Code]


class Key:
    """The file of a service account's key, which nobody reads here but these proxies."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @property
    def refusal(self) -> Refusal | None:
        """Return what Google answers to who has it; None lets him in."""
        return REFUSALS.get(self.file.read_text(encoding="utf-8"))


class _Rest(HttpProxy):
    """The REST API."""

    key: Key

    def meet(self, handler: object) -> None:
        """Pass a request on, or refuse it."""
        if self.key.refusal is None:
            super().meet(handler)
            return
        status, message, _ = self.key.refusal
        handler.body()
        told = {"error": {"code": status, "message": message, "errors": [{"reason": "accessDenied"}]}}
        handler.send(Answer(status, [("Content-Type", "application/json")], json.dumps(told).encode()))


class _Storage(GrpcProxy):
    """The Storage Write API."""

    key: Key

    async def _meet(self, asked: Asked) -> bytes:
        if self.key.refusal is None:
            return await super()._meet(asked)
        _, message, code = self.key.refusal
        raise BrokenError(code, message)


class Refusing:
    """Both proxies; `environ` leads to them."""

    def __init__(self, bigquery: LocalBigQuery, key: Key) -> None:
        rest, grpc = (
            int(bigquery.environ[name].rpartition(":")[2])
            for name in ("BIGQUERY_EMULATOR_HOST", "BIGQUERY_STORAGE_EMULATOR_HOST")
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="storage proxy")
        self._thread.start()
        self._rest = _Rest(rest, random.Random(1))
        self._rest.key = key
        self._rest.start()
        self._storage = asyncio.run_coroutine_threadsafe(self._start(grpc, key), self._loop).result()
        self.environ = {
            "BIGQUERY_EMULATOR_HOST": f"http://127.0.0.1:{self._rest.port}",
            "BIGQUERY_STORAGE_EMULATOR_HOST": f"127.0.0.1:{self._storage.port}",
        }

    async def _start(self, target: int, key: Key) -> _Storage:
        proxy = _Storage(target, random.Random(1))
        proxy.key = key
        await proxy.start()
        return proxy

    def stop(self) -> None:
        """Listen no more."""
        self._rest.stop()
        asyncio.run_coroutine_threadsafe(self._storage.stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
