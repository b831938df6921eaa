"""The task queue: dramatiq on Redis, its keys below `oceanus:tasks:`, a queue and threads of its own for each place.

So a slow or dead place delays no other. A message is acknowledged when its delivery has returned; those of a process
that is no more are found by their missing heartbeat and run again, which `Delivery` makes safe. What dramatiq would
lose or leave lying while Redis is away or full is mended here: see `_Broker` and `_Consumer`.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.common import dq_name
from dramatiq.errors import ConnectionClosed, Retry
from dramatiq.middleware import Retries, TimeLimit

from oceanus.alerts import TASKS, Alerts
from oceanus.errors import NotATellingError, SpoolError, TryAgainError
from oceanus.spool import Client, text, translated
from revelation.delivery import SHEET_SECONDS, AnyDelivery, Delivery, LaterError, SheetDelivery
from revelation.telling import Telling

log = logging.getLogger(__name__)

HEARTBEATS = f"{TASKS}:__heartbeats__"
THREADS = 2  # of each place
LIMIT_MS = 30_000  # of one delivery, shorter than `Alerts.begin` lends it
LEAST_MS, MOST_MS = 1000, 300_000  # between two tries, growing, with jitter
HEARTBEAT_MS = 15_000
MAINTENANCE = 50_000  # so many commands in a million look for messages of the dead
IDLE_SECONDS = 1.0
AGAIN_SECONDS = 1.0
GONE_SECONDS = 300.0  # another release, just started, may know a place that this one does not
LOOK_SECONDS = 10.0


@contextmanager
def _closed() -> Iterator[None]:
    """Turn any trouble with Redis into the one that dramatiq is prepared for: it connects anew a second later."""
    try:
        with translated():
            yield
    except SpoolError as exc:
        raise ConnectionClosed(exc) from None


class _Consumer(_RedisConsumer):
    """Takes messages of one queue.

    It waits for the bell where dramatiq would ask Redis ever again: each question is a write, and an fsync. A new one,
    after trouble, takes back what its broker has fetched and nobody works at; at its end it gives back the rest.
    """

    def __init__(self, broker: "_Broker", queue_name: str, prefetch: int, timeout: int) -> None:
        super().__init__(broker, queue_name, prefetch, timeout)
        with _closed():
            broker.give_back(queue_name)

    def __next__(self) -> Any:
        bell = self.broker.bells.get(self.queue_name)
        if bell and self.misses:
            bell.wait(IDLE_SECONDS)
            bell.clear()
            self.misses = 0
        with _closed():
            found = super().__next__()
        if found is not None:
            self.broker.at_work[self.queue_name].add(found.options["redis_message_id"])
        return found

    def ack(self, message: Any) -> None:
        with _closed():
            super().ack(message)
        self._forget(message)

    def nack(self, message: Any) -> None:
        with _closed():
            super().nack(message)
        self._forget(message)

    def requeue(self, messages: Iterable[Any]) -> None:
        given = list(messages)
        with _closed():
            super().requeue(given)
        for message in given:
            self._forget(message)

    def close(self) -> None:
        fetched, self.message_cache = self.message_cache, []
        self.requeue(dramatiq.Message.decode(told) for told in fetched if told)
        super().close()

    def _forget(self, message: Any) -> None:
        self.broker.at_work[self.queue_name].discard(message.options["redis_message_id"])


class _Broker(RedisBroker):
    """A broker of one place: it wakes its consumer, and loses no message of its own while Redis is in trouble.

    dramatiq itself puts a message that is to be tried again, or whose delay is over, and then forgets it, whether or
    not Redis has taken it: so that is repeated until Redis has. Meanwhile the message is not acknowledged.
    """

    consumer_class = _Consumer

    def __init__(self, place: str, client: Client) -> None:
        retries = Retries(min_backoff=LEAST_MS, max_backoff=MOST_MS, retry_when=lambda *_: True)
        super().__init__(
            client=client,
            namespace=TASKS,
            middleware=[_time_limit(), retries],
            heartbeat_timeout=HEARTBEAT_MS,
            maintenance_chance=MAINTENANCE,
        )
        self._place = place
        self.bells = {place: threading.Event()}
        self.at_work: dict[str, set[str]] = {place: set(), dq_name(place): set()}

    def enqueue(self, message: Any, *, delay: int | None = None) -> Any:
        while True:
            try:
                return self.put(message, delay)
            except SpoolError as exc:
                log.warning("%s: a message waits for Redis: %s", self._place, exc)
                time.sleep(AGAIN_SECONDS)  # nothing tells when Redis is back

    def put(self, message: Any, delay_ms: int | None) -> Any:
        """Put a message; raises SpoolError."""
        with translated():
            found = super().enqueue(message, delay=delay_ms)
        self.bells[self._place].set()
        return found

    def give_back(self, queue: str) -> None:
        """Put messages back that this broker has fetched and nobody here works at; those with a delay: all."""
        if queue == dq_name(self._place):
            self.at_work[queue] = set()  # dramatiq has dropped them
        fetched = {text(name) for name in self.client.smembers(self._acks(queue))}
        lost = sorted(fetched - self.at_work[queue])
        if lost:
            self.do_requeue(queue, *lost)

    def leave(self) -> None:
        """Be looked for no more, where nothing is left to be found."""
        with translated():
            if not any(self.client.exists(self._acks(queue)) for queue in self.at_work):
                self.client.zrem(HEARTBEATS, self.broker_id)

    def _acks(self, queue: str) -> str:
        return f"{TASKS}:__acks__.{self.broker_id}.{queue}"


class Lane:
    """The queue of one place, and the threads that deliver to it."""

    def __init__(self, place: str, delivery: AnyDelivery, client: Client, history_seconds: float) -> None:
        self._history_seconds = history_seconds
        self._delivery = delivery
        self._broker = _Broker(place, client)
        self._told = dramatiq.actor(queue_name=place, broker=self._broker)(self.tell)
        self._flushed = dramatiq.actor(queue_name=place, broker=self._broker)(self.flush)
        for actor in (self._told, self._flushed):
            actor.logger.setLevel(logging.INFO)  # at DEBUG it writes whole records
        self._worker = dramatiq.Worker(self._broker, worker_threads=THREADS)

    def start(self) -> None:
        """Deliver from now on."""
        self._worker.start()

    def stop(self, seconds: float) -> None:
        """Let deliveries end, at most so long; what has not begun waits for the next start."""
        self._worker.stop(timeout=int(seconds * 500))  # once for those that deliver, once for those that fetch
        try:
            self._broker.leave()
        except SpoolError as exc:
            log.warning("left to be found by a missing heartbeat: %s", exc)

    def is_alive(self) -> bool:
        """Say whether all its threads live."""
        return all(thread.is_alive() for thread in (*self._worker.consumers.values(), *self._worker.workers))

    def put(self, telling: Telling) -> None:
        """Let a telling be delivered, after the delay of its history; raises SpoolError."""
        history = telling.action.get("history")
        delay_seconds = history.get("after_seconds", self._history_seconds) if history else 0
        self._put(self._told.message(json.dumps(asdict(telling))), delay_seconds)

    def put_flush(self, sheet: str) -> None:
        """Let the rows that wait for a sheet be taken there in a second; raises SpoolError."""
        self._put(self._flushed.message(sheet), SHEET_SECONDS)

    def _put(self, message: Any, delay_seconds: float) -> None:
        self._broker.put(message, int(delay_seconds * 1000) or None)

    def tell(self, told: str) -> None:
        """Deliver a telling, written as JSON: a task of dramatiq's."""
        given = json.loads(told)
        with _retried():
            try:
                telling = Telling.read(given)
            except NotATellingError as exc:
                self._delivery.set_strange_aside(given, str(exc))
                return
            if not isinstance(self._delivery, SheetDelivery):
                self._delivery.deliver(telling)
                return
            sheet = self._delivery.wait(telling)
            if sheet:
                self.put_flush(sheet)

    def flush(self, sheet: str) -> None:
        """Take the rows that wait for a sheet there: a task of dramatiq's."""
        with _retried():
            if not isinstance(self._delivery, SheetDelivery):
                self._delivery.abandon(sheet)
            elif self._delivery.flush(sheet):
                self.put_flush(sheet)


class Lanes:
    """All places that are told, and those of which messages still wait."""

    def __init__(
        self,
        client: Client,
        deliveries: Mapping[str, AnyDelivery],
        gone: Callable[[str], Delivery],
        history_seconds: float = 90,
        gone_seconds: float = GONE_SECONDS,
    ) -> None:
        self._client, self._gone, self._history_seconds = client, gone, history_seconds
        self._alerts = Alerts(client)
        self._noted: set[str] = set()
        self._gone_at = time.monotonic() + gone_seconds
        self._started = False
        self._lanes = {place: Lane(place, one, client, history_seconds) for place, one in deliveries.items()}

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

    def is_alive(self) -> bool:
        """Say whether all threads live that deliver."""
        return all(lane.is_alive() for lane in list(self._lanes.values()))

    def put(self, tellings: Iterable[Telling]) -> None:
        """Let each be delivered; raises SpoolError, then some may be on their way."""
        for telling in tellings:
            place = telling.destination
            if place not in self._noted:
                self._alerts.note_place(place)
                self._noted.add(place)
            self._lane(place).put(telling)

    def look(self, unflushed: Iterable[tuple[str, str]]) -> None:
        """See to what nobody else does: rows without a flush, and messages of places that are no more."""
        for place, sheet in unflushed:
            self._lane(place).put_flush(sheet)
        if time.monotonic() >= self._gone_at:
            self._gone_at = time.monotonic() + LOOK_SECONDS
            for place, count in self._alerts.messages().items():
                if count:
                    self._lane(place)

    def _lane(self, place: str) -> Lane:
        """Return the lane of a place; one that alerts.yaml has no more gets one, which sets everything aside."""
        lane = self._lanes.get(place)
        if lane is None:
            lane = self._lanes[place] = Lane(place, self._gone(place), self._client, self._history_seconds)
            if self._started:
                lane.start()
        return lane


@cache
def _time_limit() -> TimeLimit:
    """Return the one time limit of this process, whose thread watches over all lanes; dramatiq's own words are quiet.

    They would repeat whole messages, and so visitors' records, in the log.
    """
    logging.getLogger("dramatiq").setLevel(logging.CRITICAL)
    limit = TimeLimit(time_limit=LIMIT_MS)
    limit.after_process_boot(None)
    return limit


@contextmanager
def _retried() -> Iterator[None]:
    """Turn what is to be tried again into dramatiq's word for it: without a time it backs off, with jitter."""
    try:
        yield
    except LaterError as exc:
        raise Retry(str(exc), delay=int(exc.seconds * 1000) + 1) from exc
    except (TryAgainError, SpoolError) as exc:
        raise Retry(str(exc)) from exc
