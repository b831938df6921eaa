"""A Dockerfile, read: its stages with their instructions, as far as ours use the language."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# What ours use. Whoever writes another instruction into a Dockerfile teaches the scratch room to run it.
KNOWN = {"ARG", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "LABEL", "RUN", "USER", "WORKDIR"}
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@dataclass(frozen=True)
class Instruction:
    """One instruction: its name, and what follows it on one line."""

    name: str
    rest: str

    @property
    def words(self) -> list[str]:
        """Return the exec form's words; raises ValueError for a shell form."""
        words = json.loads(self.rest)
        if not isinstance(words, list):
            raise TypeError(f"{self.name} {self.rest}: not the exec form")
        return [str(word) for word in words]

    @property
    def pairs(self) -> dict[str, str]:
        """Return the `name=value` pairs of ARG, ENV and LABEL; an ARG without a value has an empty one."""
        found = re.findall(r'([\w.]+)(?:=(?:"((?:[^"\\]|\\.)*)"|(\S*)))?', self.rest)
        return {name: quoted or plain for name, quoted, plain in found}


@dataclass(frozen=True)
class Stage:
    """One stage: the image or the stage that it starts from, and what it does."""

    name: str
    base: str
    instructions: tuple[Instruction, ...]

    def all(self, name: str) -> list[Instruction]:
        """Return the instructions of a name."""
        return [one for one in self.instructions if one.name == name]


@dataclass(frozen=True)
class Dockerfile:
    """The arguments before the first stage, and the stages."""

    arguments: dict[str, str]
    stages: dict[str, Stage]

    def lineage(self, name: str) -> list[Stage]:
        """Return a stage after all that it starts from, the oldest first."""
        stage = self.stages[name]
        return [*(self.lineage(stage.base) if stage.base in self.stages else []), stage]


def read(file: Path) -> Dockerfile:
    """Return what a Dockerfile says; raises ValueError for an instruction that is not KNOWN."""
    arguments: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    for one in _instructions(file.read_text(encoding="utf-8")):
        if one.name not in KNOWN:
            raise ValueError(f"{file}: {one.name} is not known to tests/images")
        if one.name == "FROM":
            base, _, name = one.rest.partition(" AS ")
            stages[name] = Stage(name, expand(base, arguments), ())
        elif not stages:
            arguments |= one.pairs
        else:
            last = next(reversed(stages.values()))
            stages[last.name] = Stage(last.name, last.base, (*last.instructions, one))
    return Dockerfile(arguments, stages)


def expand(text: str, values: dict[str, str]) -> str:
    """Return `text` with its variables replaced; one that is not set is empty, as for docker."""
    return _VARIABLE.sub(lambda found: values.get(found[1] or found[2], ""), text)


def _instructions(text: str) -> Iterator[Instruction]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        name, _, rest = line.strip().partition(" ")
        yield Instruction(name, rest.strip())
