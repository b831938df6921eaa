"""Redis loses its files, or a part of them: each page of docs/drills leads back to rows that are there once."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import until
from tests.drills.machine import Machine, Operator

pytestmark = pytest.mark.local
START = "systemctl start oceanus.service"
LOST = "test_a_lost_disk_loses_what_waited_in_redis_and_the_audit_says_how_much"


def test_after_a_power_cut_the_append_only_file_has_all_that_was_answered(machine: Machine) -> None:
    """A command that is cut in the middle was never acknowledged; what stands before it is all there."""
    machine.run(START)
    machine.visit("a", "b")
    machine.until_landed("a", "b")
    machine.hold()
    machine.visit("c", "d")
    machine.power_cut()
    with _newest(machine).open("ab") as file:
        file.write(b"*3\r\n$5\r\nLPUSH\r\n$20\r\noceanus:{sh")

    operator = Operator(machine, "aof.md", "test_after_a_power_cut_the_append_only_file_has_all_that_was_answered")
    operator.next()
    machine.until_landed("a", "b", "c", "d")

    assert operator.next().endswith("audit: agrees\n")
    assert operator.is_done


def test_a_damaged_append_only_file_is_cut_and_what_had_landed_is_not_doubled(machine: Machine) -> None:
    test = "test_a_damaged_append_only_file_is_cut_and_what_had_landed_is_not_doubled"
    machine.run(START)
    machine.visit("before")
    machine.until_landed("before")
    machine.run("oceanus audit")
    machine.hold()
    machine.visit("a", "b")
    good = _newest(machine).stat().st_size
    machine.release()
    machine.until_landed("a", "b", "before")
    machine.visit("late")
    machine.until_landed("a", "b", "before", "late")
    machine.power_cut()
    _damage(machine, good)
    assert "Bad file format reading the append only file" in machine.run(f"{START} || cat $MACHINE/service.log")

    operator = Operator(machine, "aof.md", test)
    assert "ok_up_to=" in operator.next()
    assert "Successfully truncated AOF" in operator.next()
    snapshot = Operator(machine, "snapshot.md", "test_a_restored_snapshot_doubles_nothing_and_what_is_lost_is_counted")
    snapshot.skip(3)
    alarmed = _with_an_older_redis(machine, snapshot, ["a", "b", "before", "late"])

    assert _total(alarmed)[-2:] == ["0", "0"]  # missing, doubled
    assert operator.is_done


def test_a_restored_snapshot_doubles_nothing_and_what_is_lost_is_counted(machine: Machine) -> None:
    """What landed after the snapshot comes back with it and is not written again; what had not landed is counted."""
    operator = Operator(machine, "snapshot.md", "test_a_restored_snapshot_doubles_nothing_and_what_is_lost_is_counted")
    machine.run(START)
    machine.visit("a", "b")
    machine.visit("x" * 17, status=400)
    machine.until_landed("a", "b")
    machine.hold()
    machine.visit("c", "d")
    machine.visit("y" * 17, status=400)
    operator.next()
    machine.release()
    machine.visit("e", "f")
    machine.until_landed("a", "b", "c", "d", "e", "f")
    until(lambda: len(_failed(machine)) == 2)
    machine.hold()
    machine.visit("g", "h", "i")
    _audit(machine)
    machine.power_cut()
    shutil.rmtree(machine.data / "redis")

    operator.next()
    operator.next()
    landed = ["a", "b", "c", "d", "e", "f"]
    alarmed = _with_an_older_redis(machine, operator, landed)
    lost = _lost(machine)
    acknowledged = operator.next()
    machine.visit("newer")
    machine.until_landed(*landed, "new", "newer")

    assert _total(alarmed)[-2:] == ["0", "0"]  # missing, doubled
    assert lost == {"accepted": 9, "there": 6, "lost": 3}
    assert acknowledged.endswith("audit: agrees\n")
    assert "VERIFY" not in machine.settings.read_text(encoding="utf-8")
    assert operator.is_done
    assert len(_failed(machine)) == len(set(_failed(machine))) == 2


def test_a_lost_disk_loses_what_waited_in_redis_and_the_audit_says_how_much(machine: Machine) -> None:
    """What arms has in its journal lands in the new Redis."""
    machine.run(START)
    machine.visit("a", "b")
    machine.until_landed("a", "b")
    machine.hold()
    machine.visit("c", "d", "e")
    _audit(machine)
    redis = machine.data / "redis"
    redis.rename(machine.data / "away")
    machine.kill("redis")
    machine.kill("r2bq")  # a stopped one would not hear that it is to end
    machine.restart("arms")  # else its next push would be a gap to the new Redis, and be judged for a minute
    machine.visit("f", "g")

    operator = Operator(machine, "disk.md", LOST)
    operator.next()
    operator.next()
    machine.until_landed("a", "b", "f", "g")
    machine.until_idle()
    alarmed = operator.next(code=1)
    lost = _lost(machine)
    operator.next()

    assert "alarm: a new Redis" in alarmed
    assert _total(alarmed)[-2:] == ["0", "0"]
    assert lost == {"accepted": 5, "there": 2, "lost": 3}
    machine.visit("h")
    machine.until_landed("a", "b", "f", "g", "h")
    assert operator.is_done


def _with_an_older_redis(machine: Machine, operator: Operator, landed: list[str]) -> str:
    """Follow steps 3 to 5 of the snapshot's page up to the audit; return what that says."""
    operator.next()
    operator.next()
    machine.visit("new")
    machine.until_landed(*landed, "new")
    machine.until_idle()
    alarmed = operator.next(code=1)

    assert "alarm: a new Redis" in alarmed
    return alarmed


def _total(audit: str) -> list[str]:
    """Return the words of the last line of the last table that `oceanus audit` printed."""
    return [line.split() for line in audit.splitlines() if line.startswith("total")][-1]


def _lost(machine: Machine) -> dict[str, int]:
    """Return what the index' command counts for the site `shop`."""
    told = Operator(machine, "index.md", LOST).next(code=1, words="--format json 2>/dev/null")
    found = json.loads(told)["sites"]["shop"]
    return {name: found[name] for name in ("accepted", "there", "lost")}


def _audit(machine: Machine) -> None:
    """Audit while something is in flight, as the hourly one does: that is open, and no mistake."""
    assert machine.run("oceanus audit").endswith("audit: agrees\n")


def _failed(machine: Machine) -> list[str]:
    dataset = machine.warehouse.settings.dataset
    return [str(fid) for (fid,) in machine.warehouse.rows(f"SELECT fid FROM {dataset}_failed.failed")]


def _newest(machine: Machine) -> Path:
    """Return the append-only file that Redis writes to."""
    return max((machine.data / "redis" / "appendonlydir").glob("*.incr.aof"))


def _damage(machine: Machine, at: int) -> None:
    """Let the disk have forgotten a block of it."""
    with _newest(machine).open("r+b") as file:
        file.seek(at)
        file.write(b"\0" * 64)
