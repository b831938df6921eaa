"""The users of Redis: `redis_pd/users.acl` becomes the ACL file that Redis reads, with a password for each of them.

A password is made once, and lies in a file of its own, for its process alone. Redis gets their hashes.
"""

import hashlib
import secrets
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from management.folder import write
from oceanus.errors import MisconfiguredError

FILE = "users.acl"


def make(folder: Path) -> list[Path]:
    """Write the ACL file, and a password for each user that has none yet, into `folder`; return the new files.

    Raises MisconfiguredError where that cannot be.
    """
    rules = users((resources.files("redis_pd") / FILE).read_text(encoding="utf-8"))
    made = []
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in rules:
            if not (folder / name).exists():
                write(folder / name, secrets.token_hex(32), mode=0o600)
                made.append(folder / name)
        passwords = {name: (folder / name).read_text(encoding="utf-8").strip() for name in rules}
        empty = sorted(name for name, password in passwords.items() if not password)
        if empty:
            remedy = "remove it, and run this again"
            raise MisconfiguredError([f"{folder / name}: holds no password: {remedy}" for name in empty])
        write(folder / FILE, acl(rules, passwords), mode=0o600)
    except OSError as exc:
        raise MisconfiguredError([f"{folder}: cannot be used: {exc.strerror}; name a folder of yours"]) from exc
    return [*made, folder / FILE]


def users(text: str) -> dict[str, str]:
    """Return each user's rules on one line: a user goes on as long as lines are indented; `#` begins a comment."""
    rules: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("user "):
            name = line.removeprefix("user ").strip()
            rules[name] = []
        elif line.startswith(" "):
            rules[name].append(line.strip())
    return {name: " ".join(lines) for name, lines in rules.items()}


def acl(rules: Mapping[str, str], passwords: Mapping[str, str]) -> str:
    """Return the ACL file: `default`, which needs no name, is off, and passwords are hashed."""
    hashes = {name: hashlib.sha256(password.encode()).hexdigest() for name, password in passwords.items()}
    lines = [f"user {name} reset on #{hashes[name]} {rule}" for name, rule in rules.items()]
    return "\n".join(["user default reset off", *lines, ""])
