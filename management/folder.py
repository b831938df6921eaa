"""DATA_DIR: what lies there, and that one `oceanus up` at a time may use it.

Redis takes no lock on its files, and two of them on one folder lose acknowledged records. So the lock is held by `up`
and inherited by what writes below it: it is free only when all of them have ended. What a killed `up` left running is
recorded in children.json, and is ended by the next one.
"""

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from management import leftovers
from management.leftovers import Mark
from oceanus.errors import MisconfiguredError

FREE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Folder:
    """DATA_DIR, ours as long as `lock` is open in this process or in one that inherited it."""

    path: Path
    lock: int

    @property
    def redis(self) -> Path:
        """Return where Redis keeps its append-only file."""
        return self._below("redis")

    @property
    def bigquery(self) -> Path:
        """Return where the local BigQuery keeps its tables."""
        return self._below("bigquery")

    @property
    def token_file(self) -> Path:
        """Return the file with the token of trusted callers."""
        return self.path / "trust_token"

    def token(self, given: str) -> str:
        """Return the token of trusted callers: the one given, else this folder's, minted once; kept for us alone."""
        kept = self.token_file.read_text(encoding="utf-8").strip() if self.token_file.exists() else ""
        token = given or kept or secrets.token_urlsafe(32)
        if token != kept:
            write(self.token_file, token + "\n", mode=0o600)
        return token

    def check_flavour(self, flavour: str) -> None:
        """Remember which Redis writes here; raises MisconfiguredError if another one wrote what is there."""
        file = self.path / "redis-flavour"
        wrote = file.read_text(encoding="utf-8").strip() if file.exists() else flavour
        if wrote != flavour:
            remedy = f"install {wrote}, or set DATA_DIR to a new folder"
            raise MisconfiguredError([f"{self.redis} was written by {wrote}, which {flavour} cannot read: {remedy}"])
        write(file, flavour + "\n")

    def record(self, children: Mapping[str, Mark]) -> None:
        """Write down who runs, so that the next `up` can end what this one may have to leave behind."""
        every = {"up": asdict(leftovers.mark(os.getpid()))} | {name: asdict(one) for name, one in children.items()}
        write(self.path / "children.json", json.dumps(every) + "\n")

    def release(self) -> None:
        """Let go of the lock; it stays taken while a child that inherited it lives."""
        os.close(self.lock)

    def _below(self, name: str) -> Path:
        folder = self.path / name
        folder.mkdir(exist_ok=True)
        return folder


def take(path: Path, grace_seconds: float, tell: Callable[[str], None]) -> Folder:
    """Make `path` ours, ending what a killed `up` left running there.

    Raises MisconfiguredError if another `up` uses it, or if it cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.chmod(0o700)  # one that was there already, too: what visitors sent is in it
        (path / "journal").mkdir(exist_ok=True, mode=0o700)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as exc:
        raise MisconfiguredError(
            [f"DATA_DIR={path}: cannot be used: {exc.strerror}; set it to a folder of yours"]
        ) from exc
    try:
        _own(path, lock, grace_seconds, tell)
    except BaseException:
        os.close(lock)
        raise
    return Folder(path, lock)


def write(file: Path, text: str, mode: int = 0o644) -> None:
    """Replace a file as a whole: a reader, and a start after a power cut, see the old text or the new one."""
    new = file.with_name(file.name + ".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as writing:
        os.fchmod(writing.fileno(), mode)
        writing.write(text)
        writing.flush()
        os.fsync(writing.fileno())
    new.replace(file)


def _own(path: Path, lock: int, grace_seconds: float, tell: Callable[[str], None]) -> None:
    locked = _locked(lock, 0.0)
    recorded = _recorded(path / "children.json")
    up = recorded.pop("up", None)
    if not locked and up is not None and leftovers.lives(up):
        raise MisconfiguredError([f"{path} is used by process {up.pid}: stop it first"])
    ended = leftovers.end(recorded.values(), grace_seconds)
    if ended:
        tell(f"an earlier `oceanus up` was killed; ended what it left running: {', '.join(map(str, ended))}")
    if not locked and not _locked(lock, FREE_SECONDS):
        raise MisconfiguredError([f"{path} is used by another process: stop it first (fuser {path / 'lock'} names it)"])


def _locked(lock: int, seconds: float) -> bool:
    """Try to take the lock for `seconds`; return whether it is ours."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)


def _recorded(file: Path) -> dict[str, Mark]:
    """Return who ran when the file was last written; nothing if it is missing or torn."""
    try:
        written = json.loads(file.read_text(encoding="utf-8"))
        return {name: Mark(int(one["pid"]), float(one["create_time"])) for name, one in written.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
