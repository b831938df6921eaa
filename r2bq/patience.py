"""Patience: waits for BigQuery's answers, giving the sign of life by which others know that the claim is in hand."""

from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress

from oceanus.errors import SpoolRefusedError, SpoolUnclearError
from oceanus.spool import Holder, Spool

BEAT_SECONDS = 1.0


class Patience:
    """Runs each call on a thread of `executor`, and beats while it waits."""

    def __init__(self, redis: Spool, executor: Executor) -> None:
        self._redis = redis
        self._executor = executor

    def ask[**P, T](self, holder: Holder, call: Callable[P, T], *values: P.args, **named: P.kwargs) -> T:
        """Call BigQuery and wait for its answer, giving a sign of life each second.

        Only the loss of the claim (WriterGoneError) ends the wait: a call left under way because Redis is away would
        soon be sent again, and could meet itself.
        """
        answer = self._executor.submit(call, *values, **named)
        while True:
            try:
                return answer.result(BEAT_SECONDS)
            except TimeoutError:
                with suppress(SpoolUnclearError, SpoolRefusedError):
                    self._redis.beat(holder)
