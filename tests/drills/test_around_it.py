"""What oceanus stands on fails: its disk, its credentials, its failed table, its sites.yaml; each page mends it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.stage import may_mount
from tests.conftest import LocalBigQuery, Warehouse, absent, until
from tests.drills.machine import SITES, Machine, Operator
from tests.drills.refusing import EXPIRED, NO_ROLE, Key, Refusing

pytestmark = pytest.mark.local
START = "systemctl start oceanus.service"
DISK_MB = 48


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk that can be filled."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not may_mount(folder):
        absent("a small disk cannot be mounted here: it needs root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def full(tmp_path: Path, warehouse: Warehouse, small_disk: Path) -> Iterator[Machine]:
    """A machine whose DATA_DIR is on that disk."""
    made = Machine(tmp_path, warehouse, small_disk)
    yield made
    made.close()


def test_a_full_disk_loses_nothing_and_all_lands_when_there_is_room_again(full: Machine) -> None:
    """What is answered 200 while the disk is full lands; the rest is told 503."""
    full.run(START)
    full.visit("a")
    full.until_landed("a")
    copy = full.data / "redis.broken.1"
    copy.mkdir()
    _fill(copy / "dump.rdb")
    events = [f"e{number}" for number in range(40)]
    answers = {evt: full.try_to_visit(evt) for evt in events}
    taken = [evt for evt, status in answers.items() if status == 200]
    until(lambda: "make room there" in full.log())

    operator = Operator(full, "full-disk.md", "test_a_full_disk_loses_nothing_and_all_lands_when_there_is_room_again")
    assert "redis.broken.1" in operator.next()
    operator.next()
    operator.next()
    full.visit("z")
    full.until_landed("a", *taken, "z")
    full.until_idle()

    assert operator.next().endswith("audit: agrees\n")
    assert set(answers.values()) <= {200, 503}
    assert taken
    assert operator.is_done


def test_a_damaged_failed_table_is_made_again_with_all_that_stood_in_it(machine: Machine) -> None:
    machine.run(START)
    table = f"{machine.names['BQ_DATASET']}_failed.failed"
    machine.visit("lost with the dataset", status=400)
    until(lambda: _count(machine, table) == 1)
    machine.warehouse.clients.rest.delete_dataset(table.partition(".")[0], delete_contents=True)
    machine.visit("x" * 17, "y" * 17, status=400)
    until(lambda: _stands(machine, table) and _count(machine, table) == 2)  # made again by itself
    operator = Operator(
        machine, "failed-table.md", "test_a_damaged_failed_table_is_made_again_with_all_that_stood_in_it"
    )
    machine.run(f'bq query "ALTER TABLE {table} DROP COLUMN reason"')
    operator.next()
    machine.visit("z" * 17, status=400)
    machine.visit("good")
    machine.until_landed("good")
    operator.next()
    until(lambda: _count(machine, table) == 1)
    operator.next()
    told = operator.next()

    assert _count(machine, table) == 3
    assert told.endswith("audit: agrees\n")
    assert operator.is_done


def test_a_wrong_sites_yaml_is_rolled_back_and_what_it_rejected_is_sent_again(machine: Machine) -> None:
    """What a wrong rule rejected lands later; who comes while the service does not start is answered after it."""
    operator = Operator(
        machine, "sites-file.md", "test_a_wrong_sites_yaml_is_rolled_back_and_what_it_rejected_is_sent_again"
    )
    operator.next()
    wrong = SITES.replace("maxlength: 16", "allowed: [open]")
    machine.sites_file.write_text(wrong, encoding="utf-8")
    machine.run(START)
    machine.visit("good", status=400)
    machine.visit("open")
    until(lambda: _count(machine, f"{machine.names['BQ_DATASET']}_failed.failed") == 1)
    shown = operator.next()

    machine.sites_file.write_text(wrong.replace("shape: visit", "shape: vist"), encoding="utf-8")
    machine.run("systemctl restart oceanus.service", code=1)
    patient = machine.visit_meanwhile("patient")
    named = operator.next(code=1)
    operator.next()
    patient.result()
    sent = operator.next()
    machine.until_landed("good", "open", "patient")

    assert "evt: value is not one of those allowed" in shown
    assert "shop" in named
    assert "vist" in named
    assert "would be sent 1" in sent
    assert "sent again 1" in sent
    assert operator.next().endswith("audit: agrees\n")
    assert operator.is_done


def test_what_waits_lands_when_a_credential_is_renewed(
    tmp_path: Path, warehouse: Warehouse, local_bigquery: LocalBigQuery
) -> None:
    key, fresh = Key(tmp_path / "key.json"), tmp_path / "new.json"
    key.file.write_text("good", encoding="utf-8")
    fresh.write_text("good, too", encoding="utf-8")
    proxies = Refusing(local_bigquery, key)
    machine = Machine(tmp_path, warehouse, GOOGLE_APPLICATION_CREDENTIALS=str(key.file), **proxies.environ)
    machine.names["NEW_KEY"] = str(fresh)
    try:
        machine.run(START)
        machine.visit("before")
        machine.until_landed("before")
        key.file.write_text(NO_ROLE, encoding="utf-8")
        machine.visit("a")
        until(lambda: "(code 7)" in machine.log())
        key.file.write_text("given again", encoding="utf-8")
        machine.until_landed("before", "a")  # nothing was restarted
        key.file.write_text(EXPIRED, encoding="utf-8")
        machine.visit("b")
        until(lambda: "(code 16)" in machine.log())

        operator = Operator(machine, "credential.md", "test_what_waits_lands_when_a_credential_is_renewed")
        said = operator.next(code=1)
        operator.next()
        machine.until_landed("before", "a", "b")
        machine.until_idle()

        assert "wrong    BigQuery: PROJECT_ID=local: BigQuery cannot be used: " in said
        assert operator.next().endswith("audit: agrees\n")
        assert operator.is_done
    finally:
        machine.close()
        proxies.stop()


def _count(machine: Machine, table: str) -> int:
    [(count,)] = machine.warehouse.rows(f"SELECT COUNT(*) FROM {table}")
    return int(str(count))


def _stands(machine: Machine, table: str) -> bool:
    return machine.warehouse.catalog.find(table) is not None


def _fill(file: Path) -> None:
    """Take all that is left of a disk but a few pages."""
    disk = os.statvfs(file.parent)
    with file.open("wb") as taken:
        os.posix_fallocate(taken.fileno(), 0, (disk.f_bavail - 1) * disk.f_frsize)
