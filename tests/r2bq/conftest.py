"""Fixtures of the drain's tests."""

from collections.abc import Iterator

import pytest

from tests.r2bq.crossing import DAILY, DAY, NAMING, PARTITIONED, Crossing, OneBigQuery


@pytest.fixture
def redis_client(redis_server) -> Iterator[object]:
    client = redis_server.client()
    yield client
    client.close()


@pytest.fixture
def crossing(redis_client):
    """A site with one partitioned table that stands."""
    return Crossing(redis_client, PARTITIONED, OneBigQuery(NAMING.table(PARTITIONED, DAY)))


@pytest.fixture
def daily(redis_client):
    """A site with a table per day, of which none stands."""
    return Crossing(redis_client, DAILY, OneBigQuery())
