"""DATA_DIR: one `up` at a time, and the leftovers of a killed one."""

import json
import os
import subprocess
import sys
from dataclasses import asdict

import pytest

from management import folder, leftovers
from management.folder import Folder
from oceanus.errors import MisconfiguredError

WAITS = "import signal; print('here', flush=True); signal.pause()"


def waiting(*keeps: int) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS], stdout=subprocess.PIPE, start_new_session=True, pass_fds=keeps
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.fixture
def taken(tmp_path):
    mine = folder.take(tmp_path / "data", 1, print)
    yield mine
    mine.release()


def test_folder_of_a_living_up_is_refused_with_its_number(taken):
    taken.record({})

    with pytest.raises(MisconfiguredError, match=f"is used by process {os.getpid()}: stop it first"):
        folder.take(taken.path, 1, print)


def test_released_folder_can_be_taken_again(tmp_path):
    folder.take(tmp_path, 1, print).release()

    folder.take(tmp_path, 1, print).release()


def test_orphans_of_a_killed_up_are_ended_first_and_named(tmp_path):
    told: list[str] = []
    mine = folder.take(tmp_path, 1, told.append)
    orphan, dead = waiting(mine.lock), waiting()
    left = {"up": asdict(leftovers.mark(dead.pid)), "redis": asdict(leftovers.mark(orphan.pid))}
    dead.kill()
    dead.wait()
    (tmp_path / "children.json").write_text(json.dumps(left))
    mine.release()  # the orphan holds the lock still

    again = folder.take(tmp_path, 5, told.append)

    assert orphan.wait(5) == -15
    assert told == [f"an earlier `oceanus up` was killed; ended what it left running: {orphan.pid}"]
    again.release()


def test_lock_held_by_a_stranger_is_refused(tmp_path):
    mine = folder.take(tmp_path, 1, print)

    with pytest.raises(MisconfiguredError, match="is used by another process"):
        folder.take(tmp_path, 1, print)

    mine.release()


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(MisconfiguredError, match="DATA_DIR="):
        folder.take(tmp_path / "file" / "below", 1, print)


def test_token_is_minted_once_and_for_us_alone(taken: Folder):
    token = taken.token("")

    assert len(token) >= 32
    assert taken.token("") == token
    assert taken.token_file.stat().st_mode & 0o777 == 0o600


def test_token_of_the_environment_is_kept_for_the_other_commands(taken: Folder):
    taken.token("")

    assert taken.token("given") == "given"
    assert taken.token_file.read_text() == "given\n"


def test_files_of_the_other_redis_are_refused(taken: Folder):
    taken.check_flavour("valkey")
    taken.check_flavour("valkey")

    with pytest.raises(MisconfiguredError, match="was written by valkey, which redis cannot read"):
        taken.check_flavour("redis")
