"""Troubles: how often in a row something could not be done, and how long to leave it alone then. No I/O.

Counted by the table that is in trouble; under ANYTHING when it is Redis or BigQuery as a whole.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

FIRST_SECONDS = 1.0  # the least wait before an unclear append is repeated
MOST_SECONDS = 60.0
MISSING_SECONDS = 5.0  # a table that is not there will be made by table_manager, and asking for it is cheap
ANYTHING = ""


@dataclass(frozen=True, slots=True)
class _Trouble:
    times: int
    until: float


class Troubles:
    """What is in trouble now. `clock` returns seconds that only grow."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._current: dict[str, _Trouble] = {}

    def again(self, name: str = ANYTHING, most_seconds: float = MOST_SECONDS) -> float:
        """Count one more trouble and return the seconds to wait: longer each time, with jitter, up to a minute."""
        times = self.times(name) + 1
        seconds = min(most_seconds, FIRST_SECONDS * 2.0 ** min(times - 1, 10)) * random.uniform(1, 1.5)  # noqa: S311
        self._current[name] = _Trouble(times, self._clock() + seconds)
        return seconds

    def over(self, *names: str) -> None:
        """Forget the troubles of these: they went well."""
        for name in (ANYTHING, *names):
            self._current.pop(name, None)

    def times(self, name: str = ANYTHING) -> int:
        """Return how many troubles there were in a row."""
        found = self._current.get(name)
        return found.times if found else 0

    def waits(self, name: str) -> bool:
        """Say whether it must be left alone now."""
        found = self._current.get(name)
        return found is not None and self._clock() < found.until
