"""The bench of freshness: each record is timed from its receipt to the moment that so many were there."""

import json
import shutil

import pytest
from click.testing import CliRunner

from management.bench.freshness import Found
from management.bench.load import Told
from management.commands import oceanus
from tests.conftest import absent


def test_a_second_of_beacons_goes_all_the_way_and_is_timed(redis_server):
    if shutil.which("hey") is None:
        absent("hey is not here: apt-get install hey")

    run = CliRunner().invoke(oceanus, ["bench", "freshness", "--rate", "300", "--seconds", "1", "--format", "json"])

    told = json.loads(run.stdout)
    assert (run.exit_code, told["landed_once"]) == (0, True)
    assert "appendfsync always" in told["redis"]
    assert told["beacons"] > 0
    assert told["waiting_at_the_end"] == 0
    assert 0 < told["written_p50_ms"] <= told["written_p95_ms"] <= told["written_p99_ms"]
    assert 0 < told["visible_p50_ms"] <= told["visible_p95_ms"] <= told["visible_p99_ms"]


def found(**values: object) -> Found:
    """Return a run of four beacons, of which two were written by the second 11 and all by 12."""
    return Found(
        **{
            "told": Told(4, 100.0, 1.0, 2.0),
            "received": [10.0, 10.5, 11.0, 11.5],
            "written": [(10.0, 0), (11.0, 2), (12.0, 4)],
            "visible": [(10.0, 0), (10.5, 0), (11.5, 3), (13.0, 4)],
            "waited": [(10.0, 1), (10.9, 3), (11.0, 2), (12.1, 0)],
            "differences": [],
        }
        | values
    )


def test_a_record_is_there_when_so_many_are_there_as_came_up_to_it():
    told = found().report()

    assert [told[f"written_p{percent}_ms"] for percent in (50, 95, 99)] == pytest.approx([1000, 1000, 1000])
    assert [told[f"visible_p{percent}_ms"] for percent in (50, 95, 99)] == pytest.approx([1500, 1500, 1500])
    assert told["visible_asked_every_ms"] == pytest.approx(1000)


def test_what_waits_is_told_by_the_second():
    told = found(differences=["lost"]).report()

    assert (told["waiting_most"], told["waiting_at_the_end"]) == (3, 0)
    assert told["waiting_most_by_second"] == [3, 2, 0]
    assert (told["landed_once"], told["differences"]) == (False, ["lost"])
