"""Instructions are counted where perf can, and are missing where it cannot; the load runs in both cases."""

import subprocess
import sys
from functools import partial

import pytest

from management.bench import instructions
from management.bench.collector import Measured, ratio_instructions

COUNTED = "# started on Mon Nov 23 14:13:02 2026\n\n281914500,,instructions:u,6000,100.00,,\n"


@pytest.mark.parametrize(
    ("text", "counted"),
    [(COUNTED, 281_914_500), (COUNTED.replace("281914500", "<not counted>"), None), ("", None), ("perf: denied", None)],
)
def test_what_perf_has_written_is_read(text, counted):
    assert instructions.read_perf(text) == counted


def test_a_busy_process_is_counted_while_a_command_runs():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy, instructions.counter([busy.pid]) as one:
        ran = subprocess.run([*one.under, sys.executable, "-c", "print(7)"], check=True, capture_output=True, text=True)
        busy.terminate()

        assert ran.stdout == "7\n"
        assert one.read() is None if not one.under else (one.read() or 0) > 1_000_000


def test_without_perf_the_command_runs_as_it_is(monkeypatch):
    monkeypatch.setattr(instructions, "_perf", lambda: None)

    with instructions.counter([1]) as one:
        assert (one.under, one.read()) == ([], None)


def test_a_ratio_is_of_what_was_counted_in_both():
    turn = partial(Measured, 1000.0, 1.0, 2.0, 50.0, 80.0)

    assert ratio_instructions([turn(100.0), turn(None), turn(100.0)], [turn(110.0), turn(90.0), turn(90.0)]) == 1.0
    assert ratio_instructions([turn(None)], [turn(90.0)]) is None
