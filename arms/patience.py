"""Patience: how long a connection may take for what it does, and which one is closed when there are too many. Pure.

A connection rests (it waits for its next request), reads (a request is on its way), answers, or ends (it was refused,
and hears its client out). Each has its time, so that nobody holds a place for ever; and where all places are taken,
whoever is refused, and then whoever has rested longest, makes room for the next.
"""

from collections.abc import Hashable, Mapping


class Patience[C: Hashable]:
    """Every open connection by what it does, in the order in which they began; all calls cost the same for any number.

    `seconds`: the time of each turn, in the order in which they make room for another.
    """

    def __init__(self, seconds: Mapping[str, float], most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._turns: dict[str, dict[C, float]] = {turn: {} for turn in seconds}
        self._where: dict[C, dict[C, float]] = {}

    def __len__(self) -> int:
        return len(self._where)

    def begins(self, one: C, turn: str, now: float) -> None:
        """Note that a connection, new or known, begins its turn at `now` (seconds of any clock that only rises)."""
        self.ends(one)
        self._where[one] = self._turns[turn]
        self._turns[turn][one] = now

    def ends(self, one: C) -> None:
        """Forget a connection that is closed."""
        found = self._where.pop(one, None)
        if found is not None:
            del found[one]

    def surplus(self) -> C | None:
        """Return, while there are more than may be, the one that makes room."""
        if len(self._where) <= self._most:
            return None
        return next(next(iter(waiting)) for waiting in self._turns.values() if waiting)

    def overdue(self, now: float) -> list[C]:
        """Return the connections whose turn takes longer than it may."""
        late: list[C] = []
        for turn, seconds in self._seconds.items():
            for one, begun in self._turns[turn].items():
                if now - begun <= seconds:
                    break
                late.append(one)
        return late
