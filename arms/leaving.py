"""Leaving: what is waited for before arms is told to stop, while it goes on serving and pushing.

First the load balancer must have learnt that nothing more may be sent here, or a visitor is refused. Then the journal
should be empty: its volume may be left without an arms (a StatefulSet that is made smaller), and what is in it would
wait until somebody pushes it. Redis may be away for long, so this ends at last in any case; the volume keeps the rest.
"""

import re
import time
import urllib.request
from collections.abc import Callable

ASK_SECONDS = 2.0
LOOK_SECONDS = 0.5
UNKNOWN = -1
_JOURNALLED = re.compile(r"^oceanus_arms_journalled (\S+)$", re.MULTILINE)


def ask(port: int) -> int | None:
    """Return how many records are in the journal of the arms on this machine; None if none listens there.

    UNKNOWN where one listens and does not say: it may be busy.
    """
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy of the environment
    try:
        with direct.open(f"http://127.0.0.1:{port}/metrics", timeout=ASK_SECONDS) as answer:
            found = _JOURNALLED.search(answer.read().decode())
    except OSError as exc:
        return None if isinstance(getattr(exc, "reason", exc), ConnectionRefusedError) else UNKNOWN
    return int(float(found[1])) if found else UNKNOWN


def wait(
    asked: Callable[[], int | None],
    least: float,
    most: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Return after `least` seconds when the journal is empty, after `most` if it is not, with the records left in it.

    Where arms listens no more there is nothing to wait for: 0, at once.
    """
    began = clock()
    while True:
        left, gone_by = asked(), clock() - began
        if left is None:
            return 0
        if gone_by >= most or (gone_by >= least and not left):
            return left
        sleep(LOOK_SECONDS)  # arms is another process, which can only be asked again
