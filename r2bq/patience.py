"""Patience: waits for BigQuery's answers, giving the signs of life by which others know that a claim is in hand."""

from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress

from oceanus.errors import SpoolRefusedError, SpoolUnclearError

BEAT_SECONDS = 1.0


class Patience:
    """Runs each call on a thread of `executor`; `beat` is called for every second that it waits."""

    def __init__(self, executor: Executor, beat: Callable[[], None]) -> None:
        self._executor = executor
        self._beat = beat

    def ask[**P, T](self, call: Callable[P, T], *values: P.args, **named: P.kwargs) -> T:
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
                    self._beat()
