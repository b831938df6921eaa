"""The long outage in its short form: what waited lands once when BigQuery is back, in flat memory."""

import asyncio
from pathlib import Path

import pytest

from management import parts
from oceanus.errors import MisconfiguredError
from tests.conftest import absent
from tests.outage.outage import Outage


@pytest.mark.timeout(300)
def test_what_arrived_during_an_outage_lands_once_and_memory_stays_flat(tmp_path: Path) -> None:
    try:
        parts.find_redis()
        parts.bigquery_command(tmp_path, 1, 2, "local")
    except MisconfiguredError as exc:
        absent(str(exc))

    outcome = asyncio.run(Outage(tmp_path, 30_000, print).run())

    assert outcome.accepted >= 30_000
    assert (outcome.rows, outcome.ids, outcome.audit_exit) == (outcome.accepted, outcome.accepted, 0)
    assert outcome.grown_mb < 100
