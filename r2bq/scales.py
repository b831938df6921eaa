"""The scales: how much memory each Redis has in use, for its alert (docs/runbook/redis-memory.md)."""

import logging
from collections.abc import Mapping

from oceanus.errors import SpoolDeniedError, SpoolError
from oceanus.spool import Spool
from r2bq import metrics

log = logging.getLogger(__name__)

SECONDS = 10.0  # between two looks


class Scales:
    """Weighs every Redis, by name; one that does not let us is left out from then on."""

    def __init__(self, spools: Mapping[str, Spool]) -> None:
        self._spools = dict(spools)

    def step(self) -> bool:
        """Look once at each; one that is away keeps the number that it had."""
        for name, spool in list(self._spools.items()):
            try:
                metrics.weighed(name, spool.memory())
            except SpoolDeniedError as exc:
                log.warning("nobody can be warned that Redis becomes full: %s", exc)
                del self._spools[name]
            except SpoolError:
                continue  # the crew tells of it
        return False
