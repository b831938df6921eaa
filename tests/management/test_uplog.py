"""The one log of `up`."""

import io

from management.uplog import LARGEST_BYTES, Log, open_log, prefixed


class Closed(io.StringIO):
    """A stdout that nobody reads any more."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


class Full(io.StringIO):
    """A file on a full disk."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_full_disk_costs_the_file_its_lines_and_nobody_else_anything():
    watched = io.StringIO()

    Log(Full(), watched).tell("arms", "goes on")

    assert watched.getvalue() == "arms          | goes on\n"


def test_a_line_goes_to_both_behind_its_name():
    file, watched = io.StringIO(), io.StringIO()

    Log(file, watched).tell("arms", "ready")

    assert file.getvalue() == watched.getvalue() == "arms          | ready\n"


def test_longest_name_of_a_program_keeps_the_column():
    assert len(prefixed("table_manager", "")) == len(prefixed("up", ""))


def test_what_is_kept_is_in_the_file_alone():
    file, watched = io.StringIO(), io.StringIO()

    Log(file, watched).keep("arms", "noise")

    assert (file.getvalue(), watched.getvalue()) == ("arms          | noise\n", "")


def test_the_file_has_every_line_when_nobody_reads_stdout():
    file = io.StringIO()
    log = Log(file, Closed())

    log.say("one")
    log.say("two")

    assert file.getvalue() == "one\ntwo\n"


def test_a_log_that_becomes_large_is_put_aside_while_it_is_written(tmp_path):
    file = tmp_path / "up.log"
    log = Log(open_log(file), Closed(), lambda: open_log(file))
    for _ in range(12):
        log.say("x" * (LARGEST_BYTES // 10))

    log.say("the last")

    assert (tmp_path / "up.log.1").stat().st_size > LARGEST_BYTES
    assert file.read_text().splitlines()[-1] == "the last"
    assert len(file.read_text().splitlines()) == 3


def test_a_large_log_is_put_aside(tmp_path):
    file = tmp_path / "up.log"
    file.write_bytes(b"x" * (LARGEST_BYTES + 1))

    open_log(file).close()

    assert file.stat().st_size == 0
    assert (tmp_path / "up.log.1").stat().st_size == LARGEST_BYTES + 1
