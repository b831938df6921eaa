"""The journal: arms' own durable file, for beacons that Redis cannot take now. They are answered once they are in it.

A process appends to one segment at a time, made before it is needed, at its full size, so that a beacon which is on its
way to Redis is sure of room here. A segment is locked for as long as its process lives; one that nobody locks is left
over, and is taken over by whoever locks it first. Nothing is appended to a segment after a write to it has failed.
"""

import asyncio
import fcntl
import itertools
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from arms import entries
from oceanus.pushes import Numbered

SUFFIX = ".journal"
BLOCK_BYTES = 256 * 1024


class JournalFullError(Exception):
    """There is no room, on the disk or under JOURNAL_MAX_BYTES: answer that nothing is stored."""


@dataclass(eq=False)
class Segment:
    """One open, locked file; `size` is the end of its last good entry, `records` what it holds."""

    path: Path
    handle: int
    room: int
    size: int = 0
    records: int = 0
    oldest_ms: int | None = field(default=None)

    def read(self) -> bytes:
        """Return its entries, as they stand on the disk, and none of its free room: that would be memory for good."""
        return os.pread(self.handle, self.size, 0)

    def close(self) -> None:
        """Give up the lock."""
        os.close(self.handle)


class Journal:
    """One process's part of a journal folder."""

    def __init__(self, folder: Path, name: str, max_bytes: int, segment_bytes: int = 16 * 1024 * 1024) -> None:
        self._folder = folder
        self._name = name
        self._max_bytes = max_bytes
        self._segment_bytes = min(segment_bytes, max_bytes)
        self._numbers = itertools.count(1)
        self._current: Segment | None = None
        self.waiting: list[Segment] = []

    @property
    def records(self) -> int:
        """Return how many records wait here to be pushed."""
        return sum(one.records for one in self._held())

    @property
    def size(self) -> int:
        """Return how many bytes of entries wait here."""
        return sum(one.size for one in self._held())

    @property
    def oldest_ms(self) -> int | None:
        """Return when the oldest record that waits here was received, in milliseconds since 1970."""
        return min((one.oldest_ms for one in self._held() if one.oldest_ms is not None), default=None)

    def reserve(self, needed: int) -> bool:
        """Make sure that entries of `needed` bytes have room, and return whether a new segment was begun for them.

        Raises JournalFullError.
        """
        if self._current is not None and self._current.room - self._current.size >= needed:
            return False
        self.seal()
        if needed > self._segment_bytes or self._used() + self._segment_bytes > self._max_bytes:
            raise JournalFullError("the journal is full (JOURNAL_MAX_BYTES)")
        self._current = self._make()
        return True

    async def append(self, numbered: list[Numbered]) -> None:
        """Return when these are on the disk; raises JournalFullError."""
        raw = b"".join(map(entries.encode, numbered))
        segment = self._current
        if segment is None or segment.room - segment.size < len(raw):
            raise JournalFullError("the journal has no room that was reserved")
        try:
            await asyncio.to_thread(_write, segment, raw)
        except OSError as exc:
            self._give_up(segment)
            raise JournalFullError(f"the journal cannot be written: {exc.strerror}") from exc
        segment.size += len(raw)
        segment.records += sum(len(one.push.records) for one in numbered)
        segment.oldest_ms = segment.oldest_ms or min(one.push.last_ms for one in numbered)

    def seal(self) -> None:
        """Append no more to the current segment; if it holds something, it waits to be pushed."""
        segment, self._current = self._current, None
        if segment is None:
            return
        if segment.size:
            self.waiting.append(segment)
        else:
            self.remove(segment)

    def take_over(self) -> None:
        """Lock the segments that processes which are no more have left behind."""
        own = {one.path for one in self._held()}
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            segment = None if path in own else _lock(path)
            if segment is not None:
                self.waiting.append(segment)

    def remove(self, segment: Segment) -> None:
        """Remove a segment whose entries are all applied, for good."""
        segment.path.unlink(missing_ok=True)
        sync_folder(self._folder)
        segment.close()
        if segment in self.waiting:
            self.waiting.remove(segment)

    def _held(self) -> Iterable[Segment]:
        return [*self.waiting, *([self._current] if self._current else [])]

    def _used(self) -> int:
        return sum(path.stat().st_size for path in self._folder.glob(f"*{SUFFIX}"))

    def _make(self) -> Segment:
        path = self._folder / f"{self._name}-{next(self._numbers):06d}{SUFFIX}"
        try:
            handle = _open_locked(path)
        except OSError as exc:
            raise JournalFullError(f"the journal cannot be made: {exc.strerror}") from exc
        try:
            _allocate(handle, self._segment_bytes)
            os.fsync(handle)
            sync_folder(self._folder)
        except OSError as exc:
            path.unlink(missing_ok=True)
            os.close(handle)
            raise JournalFullError(f"the journal has no room: {exc.strerror}") from exc
        return Segment(path, handle, self._segment_bytes)

    def _give_up(self, segment: Segment) -> None:
        """Cut a segment back to its last good entry after a failed write, and never write to it again."""
        with suppress(OSError):  # a disk that cannot even be cut: the reader passes over what is no entry
            os.ftruncate(segment.handle, segment.size)
        self.seal()


def _open_locked(path: Path) -> int:
    """Make a file that is locked from its first moment: it gets its name when it has its lock."""
    fresh = path.with_suffix(".new")
    handle = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fresh.rename(path)
    except OSError:
        os.close(handle)
        raise
    return handle


def _write(segment: Segment, raw: bytes) -> None:
    """Write at the segment's end and wait for the disk; raises OSError also where only a part was written."""
    written = os.pwrite(segment.handle, raw, segment.size)
    if written != len(raw):
        raise OSError(28, "only a part was written")
    sync = getattr(os, "fdatasync", os.fsync)  # macOS has only the second
    sync(segment.handle)


def _allocate(handle: int, size: int) -> None:
    """Give a file its full size on the disk, so that writing into it cannot meet a full one."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)
    else:  # macOS: the room is not promised there
        os.ftruncate(handle, size)


def _lock(path: Path) -> Segment | None:
    """Return the segment at `path`, locked; None if somebody else holds it or has removed it."""
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    if os.fstat(handle).st_nlink == 0:  # removed between opening and locking: another has pushed it
        os.close(handle)
        return None
    segment = Segment(path, handle, 0, written(handle))
    found = [one for one in entries.decode(segment.read()) if isinstance(one, Numbered)]
    segment.records = sum(len(one.push.records) for one in found)
    segment.oldest_ms = min((one.push.last_ms for one in found), default=None)
    return segment


def written(handle: int) -> int:
    """Return the end of what is in a file; the zeros behind it are free room."""
    end = os.fstat(handle).st_size
    while end:
        start = max(0, end - BLOCK_BYTES)
        block = os.pread(handle, end - start, start).rstrip(b"\0")
        if block:
            return start + len(block)
        end = start
    return 0


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
