"""Processes of a session, found by who they are."""

import os
import subprocess
import sys

import pytest

from management import leftovers
from management.leftovers import Mark

# Ignores SIGTERM, starts a child of its own, and says when both are there.
STUBBORN = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal; print('here', flush=True); signal.pause()"])
signal.pause()
"""


@pytest.fixture
def family():
    process = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    leftovers.end([leftovers.mark_started(process.pid)], 0.1)
    process.wait()
    process.stdout.close()


def test_members_are_the_whole_session(family):
    assert len(leftovers.members(leftovers.mark(family.pid))) == 2


def test_orphans_are_found_after_their_leader_is_gone(family):
    leader = leftovers.mark(family.pid)

    family.kill()
    family.wait()

    assert len(leftovers.members(leader)) == 1
    assert len(leftovers.end([leader], 5)) == 1
    assert leftovers.members(leader) == []


def test_what_ignores_sigterm_is_killed(family):
    leader = leftovers.mark(family.pid)

    leftovers.end([leader], 0.2)

    assert family.wait(5) == -9
    assert leftovers.members(leader) == []


def test_number_that_another_process_has_by_now_is_left_alone(family):
    taken = Mark(family.pid, leftovers.mark(family.pid).create_time - 1000)

    assert leftovers.end([taken], 0.1) == []
    assert not leftovers.lives(taken)
    assert family.poll() is None


def test_this_process_lives():
    assert leftovers.lives(leftovers.mark(os.getpid()))
