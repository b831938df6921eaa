"""A machine for each drill, on the local BigQuery of the session, with tables of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Warehouse
from tests.drills.machine import Machine


@pytest.fixture
def machine(tmp_path: Path, warehouse: Warehouse) -> Iterator[Machine]:
    """A machine on which nothing runs yet."""
    made = Machine(tmp_path, warehouse)
    yield made
    made.close()
