"""A scratch room: what a Dockerfile's stages do, done without a Docker engine below a folder of its own.

A stage is a folder that stands for its root: every absolute path of an instruction is meant below it. The base image is
this machine, with this Python. The entry point runs as the image would: with no other Python path than the stage's, as
the image's user, on a tree that cannot be written. How well depends on what this machine allows:

- root who may make namespaces: everything of the machine but the mounts is read-only, and the process is number 1;
- root who may not, as in most containers: another user, who owns nothing;
- anybody else: the same user, on a tree without write permission.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.images.dockerfile import Dockerfile, Instruction, Stage, expand

TOP = Path(__file__).parents[2]
# A path at the start of a word, or after `=`: below the stage's folder.
_ABSOLUTE = re.compile(r"""(?<![^\s='"(])/(?=\w)""")
# An interpreter (`prefix`) in a home that others may not enter (`hidden`) is mounted where they may, by way of `place`.
_ENCLOSE = """
set -e
uid=$1; prefix=$2; hidden=$3; place=$4; shift 4
while [ "$1" != -- ]; do mount --bind "$1" "$1"; shift; done
shift
if [ -n "$hidden" ]; then
  mount --bind "$prefix" "$place"
  mount -t tmpfs -o mode=755 tmpfs "$hidden"
  mkdir -p "$prefix"
  mount --move "$place" "$prefix"
fi
mount -o remount,bind,ro /
exec setpriv --reuid="$uid" --regid="$uid" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all -- "$@"
"""

_ENCLOSED = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", _ENCLOSE, "enclose"]


class Room:
    """A folder in which the stages of one Dockerfile are built, each once."""

    def __init__(self, dockerfile: Dockerfile, context: Path) -> None:
        self._dockerfile = dockerfile
        self._context = context
        self._built: set[str] = set()
        # Not pytest's own folder: another user cannot enter that.
        self._path = Path(tempfile.mkdtemp(prefix="oceanus-images-"))
        self._path.chmod(0o755)
        self._shims = self._path / "base" / "bin"
        self._shims.mkdir(parents=True)
        (self._shims / "python").symlink_to(os.path.realpath(sys.executable))

    def remove(self) -> None:
        """Take it away."""
        subprocess.run(["chmod", "-R", "u+w", str(self._path)], check=True)
        shutil.rmtree(self._path)

    def root(self, stage: str) -> Path:
        """Return the folder that stands for a stage's root."""
        return self._path / stage

    def build(self, name: str) -> None:
        """Do what a stage says, after all that it needs; raises AssertionError with what a failed RUN said."""
        if name in self._built:
            return
        stage = self._dockerfile.stages[name]
        root = self.root(name)
        if stage.base in self._dockerfile.stages:
            self.build(stage.base)
            shutil.copytree(self.root(stage.base), root, symlinks=True)
            self._move_interpreter(stage.base, name)
        else:
            root.mkdir()
        for one in stage.instructions:
            self._do(stage, one)
        self._built.add(name)

    def command(self, name: str) -> list[str]:
        """Return the entry point of a stage."""
        return [self._meant(word, name) for word in self._dockerfile.stages[name].all("ENTRYPOINT")[-1].words]

    def environ(self, name: str, also: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a stage: its own ENV and `also`, nothing of ours."""
        values = {"PATH": f"{self._shims}:/usr/bin:/bin", "HOME": "/nonexistent"} | self._env(name)
        return values | also

    def enclosed(self, name: str, words: list[str], writable: list[Path]) -> list[str]:
        """Return `words` as a command that runs as the image's user, and writes to `writable` alone.

        Raises NotHereError if this machine cannot let another user run its Python.
        """
        user = int(self._user(name).partition(":")[0])
        subprocess.run(["chmod", "-R", "a-w", str(self.root(name))], check=True)
        if os.geteuid() != 0:
            return words
        for folder in writable:
            os.chown(folder, user, user)
        prefix, home = Path(sys.base_prefix), hidden(Path(sys.base_prefix))
        if may_make_namespaces():
            place = self._path / "interpreter"
            place.mkdir(exist_ok=True)
            return [
                *_ENCLOSED,
                str(user),
                str(prefix),
                str(home or ""),
                str(place),
                *map(str, writable),
                "--",
                *words,
            ]
        if home:
            raise NotHereError(f"user {user} cannot reach {prefix}, and no namespace can be made here")
        return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs", "--", *words]

    def _do(self, stage: Stage, one: Instruction) -> None:
        match one.name:
            case "RUN":
                self._run(stage.name, one.rest)
            case "COPY":
                self._copy(stage.name, one.rest)
            case "WORKDIR":
                self._folder(stage.name).mkdir(parents=True, exist_ok=True)

    def _run(self, name: str, line: str) -> None:
        """Run a line as docker would; what pip may ask of this machine (its index, its cache) is this machine's."""
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
        environ |= self.environ(name, {"HOME": os.environ.get("HOME", "/"), "TMPDIR": str(self._path)})
        line = line.replace("--no-cache-dir ", "")  # an image must not keep the cache, a laptop need not load twice
        words = ["sh", "-euc", self._meant(line, name)]
        if os.geteuid() == 0 and may_make_namespaces():  # whatever a line says, it changes this room alone
            cache = Path(environ["HOME"]) / ".cache" / "pip"
            writable = [str(self._path), *([str(cache)] if cache.is_dir() else [])]
            words = [*_ENCLOSED, "0", sys.base_prefix, "", "", *writable, "--", *words]
        done = subprocess.run(
            words,
            cwd=self._folder(name),
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"RUN {line}\n{done.stdout}"

    def _copy(self, name: str, rest: str) -> None:
        *options, source, target = rest.split()
        given = dict(option.removeprefix("--").split("=") for option in options)
        assert given.keys() <= {"from"}, f"COPY {rest}: unknown to tests/images"
        there = self._folder(name) / self._meant(target, name)
        if "from" in given:
            self.build(given["from"])
            _copy(self._folder(given["from"]) / self._meant(source, given["from"]), there)
            self._move_interpreter(given["from"], name)
        elif source == ".":
            for path in allowed(self._context):
                _copy(self._context / path, there / path)
        else:
            _copy(self._context / source, there / Path(source).name if target.endswith("/") else there)

    def _move_interpreter(self, before: str, now: str) -> None:
        """Make the scripts of a copied environment begin with its own Python, as they do at docker's one path."""
        for file in self.root(now).glob("**/bin/*"):
            if file.is_file() and not file.is_symlink():
                head = f"#!{self.root(before)}/".encode()
                said = file.read_bytes()
                if said.startswith(head):
                    file.write_bytes(f"#!{self.root(now)}/".encode() + said.removeprefix(head))

    def _folder(self, name: str) -> Path:
        told = [one for stage in self._dockerfile.lineage(name) for one in stage.all("WORKDIR")]
        return Path(self._meant(told[-1].rest, name)) if told else self.root(name)

    def _user(self, name: str) -> str:
        return [one for stage in self._dockerfile.lineage(name) for one in stage.all("USER")][-1].rest

    def _env(self, name: str) -> dict[str, str]:
        values = {"PATH": f"{self._shims}:/usr/bin:/bin"}
        for stage in self._dockerfile.lineage(name):
            for one in stage.all("ENV"):
                values |= {key: expand(self._meant(value, name), values) for key, value in one.pairs.items()}
        return values

    def _meant(self, text: str, name: str) -> str:
        return _ABSOLUTE.sub(f"{self.root(name)}/", text)


class NotHereError(Exception):
    """This machine cannot run it, whatever the Dockerfile says."""


def allowed(context: Path) -> list[str]:
    """Return what .dockerignore lets into a build: it forbids all, then names what is allowed."""
    lines = (context / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines, "the first rule of .dockerignore forbids everything"
    return [line.removeprefix("!") for line in lines if line.startswith("!")]


def may_make_namespaces() -> bool:
    """Say whether this user may mount, and make a tree read-only for one process."""
    words = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "mount", "-o", "remount,bind,ro", "/"]
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def hidden(path: Path) -> Path | None:
    """Return the outermost folder on the way to `path` that others may not enter."""
    return next((one for one in reversed([path, *path.parents]) if not one.stat().st_mode & 0o001), None)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True, ignore=ignored)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
