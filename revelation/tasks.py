"""The task queue: dramatiq on Redis, its keys below `oceanus:tasks:`, a queue and threads of its own for each place.

So a slow or dead place delays no other. A message is acknowledged when its delivery has returned; those of a process
that is no more are found by their missing heartbeat and run again, which `Delivery` makes safe.
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.errors import Retry
from dramatiq.middleware import Retries, TimeLimit

from oceanus.errors import SpoolError, TryAgainError
from oceanus.spool import Client, text, translated
from revelation.delivery import SHEET_SECONDS, Delivery, LaterError, SheetDelivery
from revelation.telling import Telling

NAMESPACE = "oceanus:tasks"
THREADS = 2  # of each place
LIMIT_MS = 30_000  # of one delivery, shorter than `Alerts.begin` lends it
LEAST_MS, MOST_MS = 1000, 300_000  # between two tries, growing, with jitter
HEARTBEAT_MS = 15_000
MAINTENANCE = 50_000  # so many commands in a million look for messages of the dead
IDLE_SECONDS = 1.0


class _Consumer(_RedisConsumer):
    """Waits for the bell where dramatiq would ask Redis ever again: each question is a write, and an fsync.

    At its end it gives back what it has fetched and not begun, which dramatiq leaves for a missing heartbeat to show.
    """

    def __next__(self) -> Any:
        bell = self.broker.bells.get(self.queue_name)
        if bell and self.misses and bell.wait(IDLE_SECONDS):
            bell.clear()
            self.misses = 0
        return super().__next__()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        fetched, self.message_cache = self.message_cache, []
        self.requeue([dramatiq.Message.decode(told) for told in fetched if told])  # type: ignore[no-untyped-call]
        super().close()


class _Broker(RedisBroker):
    """A broker whose consumers are woken by what this process puts."""

    consumer_class = _Consumer

    def __init__(self, place: str, **parameters: Any) -> None:
        super().__init__(**parameters)  # type: ignore[no-untyped-call]
        self.bells = {place: threading.Event()}


class Lane:
    """The queue of one place, and the threads that deliver to it."""

    def __init__(self, place: str, delivery: Delivery, client: Client, history_seconds: float) -> None:
        self._place = place
        self._history_seconds = history_seconds
        self._delivery = delivery
        retries = Retries(min_backoff=LEAST_MS, max_backoff=MOST_MS, retry_when=lambda *_: True)
        self._broker = _Broker(
            place,
            client=client,
            namespace=NAMESPACE,
            middleware=[TimeLimit(time_limit=LIMIT_MS), retries],
            heartbeat_timeout=HEARTBEAT_MS,
            maintenance_chance=MAINTENANCE,
        )
        self._told = dramatiq.actor(queue_name=place, broker=self._broker)(self.tell)
        self._flushed = dramatiq.actor(queue_name=place, broker=self._broker)(self.flush)
        self._worker = dramatiq.Worker(self._broker, worker_threads=THREADS)

    def start(self) -> None:
        """Deliver from now on."""
        self._worker.start()

    def stop(self, seconds: float) -> None:
        """Let deliveries end, at most so long; what has not begun waits for the next start."""
        self._worker.stop(timeout=int(seconds * 1000))

    def put(self, telling: Telling) -> None:
        """Let a telling be delivered, after the delay of its history; raises SpoolError."""
        history = telling.action.get("history")
        delay_seconds = history.get("after_seconds", self._history_seconds) if history else 0
        self._enqueue(self._told.message(json.dumps(asdict(telling))), delay_seconds)

    def _enqueue(self, message: Any, delay_seconds: float) -> None:
        with translated():
            self._broker.enqueue(message, delay=int(delay_seconds * 1000) or None)
        self._broker.bells[self._place].set()

    def tell(self, told: str) -> None:
        """Deliver a telling, written as JSON: a task of dramatiq's."""
        telling = Telling(**json.loads(told))
        with _retried():
            if not isinstance(self._delivery, SheetDelivery):
                self._delivery.deliver(telling)
                return
            sheet = self._delivery.wait(telling)
            if sheet:
                self._enqueue(self._flushed.message(sheet), SHEET_SECONDS)

    def flush(self, sheet: str) -> None:
        """Take the rows that wait for a sheet there: a task of dramatiq's."""
        with _retried():
            if isinstance(self._delivery, SheetDelivery) and self._delivery.flush(sheet):
                self._enqueue(self._flushed.message(sheet), SHEET_SECONDS)


class Lanes:
    """All places that are told, and those of which messages still wait."""

    def __init__(
        self,
        client: Client,
        deliveries: Mapping[str, Delivery],
        gone: Callable[[str], Delivery],
        history_seconds: float = 90,
    ) -> None:
        self._client, self._gone, self._history_seconds = client, gone, history_seconds
        self._started = False
        self._lanes = {place: Lane(place, one, client, history_seconds) for place, one in deliveries.items()}
        for place in sorted(_left(client) - set(deliveries)):
            self._lane(place)

    def start(self) -> None:
        """Deliver from now on."""
        self._started = True
        for lane in self._lanes.values():
            lane.start()

    def stop(self, seconds: float) -> None:
        """Stop all lanes together, within so many seconds."""
        stopping = [threading.Thread(target=lane.stop, args=(seconds,), daemon=True) for lane in self._lanes.values()]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join(seconds + 1)

    def put(self, tellings: Iterable[Telling]) -> None:
        """Let each be delivered; raises SpoolError, then some may be on their way."""
        for telling in tellings:
            self._lane(telling.destination).put(telling)

    def _lane(self, place: str) -> Lane:
        """Return the lane of a place; one that alerts.yaml has no more gets one, which sets everything aside."""
        lane = self._lanes.get(place)
        if lane is None:
            lane = self._lanes[place] = Lane(place, self._gone(place), self._client, self._history_seconds)
            if self._started:
                lane.start()
        return lane


@contextmanager
def _retried() -> Iterator[None]:
    """Turn what is to be tried again into dramatiq's word for it: without a time it backs off, with jitter."""
    try:
        yield
    except LaterError as exc:
        raise Retry(str(exc), delay=int(exc.seconds * 1000) + 1) from exc
    except (TryAgainError, SpoolError) as exc:
        raise Retry(str(exc)) from exc


def _left(client: Client) -> set[str]:
    """Return the places of which messages wait."""
    with translated():
        found = [text(name) for name in client.scan_iter(f"{NAMESPACE}:*.msgs", count=1000)]
    return {name.removeprefix(f"{NAMESPACE}:").removesuffix(".msgs").removesuffix(".DQ") for name in found}
