"""The journal's files: room before it is needed, one owner at a time, nothing appended after a failure."""

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from arms import entries
from arms.journal import BLOCK_BYTES, Journal, JournalFullError
from oceanus.pushes import Numbered, Push

KIB = 1024


def numbered(seq: int, size: int = 100) -> Numbered:
    push = Push(site="shop", source="queue", minute="202611221000", digest=seq, last_ms=seq, records=[b"x" * size])
    return Numbered(push, "p", seq)


def journal(folder: Path, name: str = "a", most: int = 1024 * KIB, segment: int = 64 * KIB) -> Journal:
    return Journal(folder, name, most, segment)


def append(to: Journal, *ones: Numbered) -> None:
    to.reserve(sum(len(entries.encode(one)) for one in ones))
    asyncio.run(to.append(list(ones)))


def held(by: Journal) -> list[Numbered]:
    return [one for segment in by.waiting for one in entries.decode(segment.path.read_bytes())]


def test_what_is_appended_is_in_the_file_behind_what_was(tmp_path: Path) -> None:
    kept = journal(tmp_path)

    append(kept, numbered(1), numbered(2))
    append(kept, numbered(3))
    kept.seal()

    assert held(kept) == [numbered(1), numbered(2), numbered(3)]
    assert (kept.records, kept.oldest_ms) == (3, 1)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the disk, in its order: `write` and `sync`, and `sync folder`."""
    asked: list[str] = []
    pwrite, fsync, fdatasync = os.pwrite, os.fsync, os.fdatasync

    def note(name: str, handle: int) -> None:
        asked.append(f"{name} folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else name)

    def written(handle: int, raw: bytes, place: int) -> int:
        note("write", handle)
        return pwrite(handle, raw, place)

    def synced(handle: int) -> None:
        note("sync", handle)
        fsync(handle)

    def data_synced(handle: int) -> None:
        note("sync", handle)
        fdatasync(handle)

    for name, fake in (("pwrite", written), ("fsync", synced), ("fdatasync", data_synced)):
        monkeypatch.setattr(os, name, fake)
    return asked


def test_an_append_returns_after_the_disk_has_it(tmp_path: Path, disk: list[str]) -> None:
    """A power cut cannot be tried here; that the disk is asked, and when, can."""
    kept = journal(tmp_path)
    kept.reserve(1000)
    made = disk.copy()
    disk.clear()

    append(kept, numbered(1))
    append(kept, numbered(2))

    assert made == ["sync", "sync folder"]
    assert disk == ["write", "sync", "write", "sync"]


def test_a_segment_that_is_removed_is_gone_after_a_power_cut_too(tmp_path: Path, disk: list[str]) -> None:
    kept = journal(tmp_path)
    append(kept, numbered(1))
    kept.seal()
    disk.clear()

    kept.remove(kept.waiting[0])

    assert disk == ["sync folder"]


def test_room_is_on_the_disk_before_anything_is_sent(tmp_path: Path) -> None:
    journal(tmp_path).reserve(10)

    [file] = tmp_path.iterdir()
    assert file.stat().st_size == 64 * KIB
    assert file.stat().st_blocks * 512 >= 64 * KIB


def test_a_new_segment_is_begun_when_the_room_ends_and_told(tmp_path: Path) -> None:
    kept = journal(tmp_path)

    began = [kept.reserve(40 * KIB)]
    append(kept, numbered(1, 30 * KIB))
    began += [kept.reserve(10 * KIB), kept.reserve(40 * KIB)]

    assert began == [True, False, True]
    assert held(kept) == [numbered(1, 30 * KIB)]


@pytest.mark.parametrize("needed", [65 * KIB, 40 * KIB])
def test_a_full_journal_says_so_before_anything_is_sent(tmp_path: Path, needed: int) -> None:
    kept = journal(tmp_path, most=64 * KIB)
    append(kept, numbered(1, 30 * KIB))

    with pytest.raises(JournalFullError):
        kept.reserve(needed)

    assert held(kept) == [numbered(1, 30 * KIB)]


def test_a_full_disk_says_so_and_leaves_nothing_half_made(tmp_path: Path) -> None:
    kept = journal(tmp_path, most=1 << 62, segment=1 << 61)

    with pytest.raises(JournalFullError):
        kept.reserve(10)

    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_cuts_the_segment_back_and_ends_it(tmp_path: Path) -> None:
    kept = journal(tmp_path)
    append(kept, numbered(1))
    [segment] = tmp_path.iterdir()
    read_only = os.open(segment, os.O_RDONLY)
    handle = kept._current.handle
    os.dup2(read_only, handle)

    with pytest.raises(JournalFullError, match="cannot be written"):
        append(kept, numbered(2))

    assert held(kept) == [numbered(1)]
    assert kept.reserve(10) is True


def test_a_living_owners_segment_is_left_alone_and_a_dead_ones_is_taken_once(tmp_path: Path) -> None:
    program = (
        "import sys, os\nfrom pathlib import Path\nfrom tests.arms.test_journal import append, journal, numbered\n"
        "kept = journal(Path(sys.argv[1]), 'dead')\nappend(kept, numbered(7))\n"
        "print('there', flush=True)\nsys.stdin.read()\nos._exit(9)"
    )
    words = [sys.executable, "-c", program, str(tmp_path)]
    top = Path(__file__).parents[2]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=top) as owner:
        assert owner.stdout
        assert owner.stdin
        owner.stdout.readline()
        one, other = journal(tmp_path, "b"), journal(tmp_path, "c")
        one.take_over()
        living = held(one)
        owner.stdin.close()
        owner.wait()

    one.take_over()
    other.take_over()

    assert living == []
    assert (held(one), held(other)) == ([numbered(7)], [])


@pytest.mark.parametrize("size", [1, BLOCK_BYTES - 200, BLOCK_BYTES + 200])
def test_free_room_is_not_read(tmp_path: Path, size: int) -> None:
    kept, other = journal(tmp_path, segment=1024 * KIB), journal(tmp_path, "b", segment=1024 * KIB)
    append(kept, numbered(1, size))
    kept.seal()
    [segment] = kept.waiting
    assert segment.path.stat().st_size == 1024 * KIB

    read = segment.read()
    segment.close()
    other.take_over()  # as after a kill: how far it is written is found in the file

    assert read == entries.encode(numbered(1, size))
    assert [one.read() for one in other.waiting] == [read]


def test_a_removed_segment_is_gone_and_its_room_is_free(tmp_path: Path) -> None:
    kept = journal(tmp_path, most=64 * KIB)
    append(kept, numbered(1))
    kept.seal()
    kept.remove(kept.waiting[0])

    assert kept.reserve(10) is True
    assert (kept.waiting, kept.records) == ([], 0)


def test_an_empty_segment_is_removed_when_it_is_sealed(tmp_path: Path) -> None:
    kept = journal(tmp_path)
    kept.reserve(10)
    kept.seal()

    assert list(tmp_path.iterdir()) == []
