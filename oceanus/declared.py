"""Declared: how a YAML file of ours is read: whole, with every mistake in it kept as one line that names the remedy."""

from collections.abc import Callable, Hashable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from oceanus.errors import MisconfiguredError

# What PyYAML lets out for values such as 2026-13-45, !!int x or a thousand open brackets.
_ESCAPES = (ValueError, LookupError, AttributeError, TypeError, RecursionError)


def read(path: str, remedy: str) -> str:
    """Return the text of the file at `path`; raises MisconfiguredError with `remedy`."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as exc:
        raise MisconfiguredError([f"{path}: cannot be read: {exc}; {remedy}"]) from exc


def document(text: str, file: str) -> Any:
    """Return what the YAML `text` of `file` holds; raises MisconfiguredError, also for a key that is given twice."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader that refuses a repeated key
    except (yaml.YAMLError, *_ESCAPES) as exc:
        raise MisconfiguredError([f"{file}: is not YAML: {' '.join(str(exc).split())}"]) from exc


class _Loader(yaml.SafeLoader):
    """A SafeLoader that refuses a key given twice, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise _error("a text that begins with { or [ must stand in quotes", key_node)
            if key in seen:
                raise _error(f"{key!r} is given twice", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _error(sentence: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, sentence, node.start_mark)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What a mapping may hold under one name: one of `choices`, or what `fits`, which `what` says in words."""

    name: str
    meaning: str
    needed: bool = False
    default: Any = None
    choices: tuple[str, ...] = ()
    fits: Callable[[Any], bool] = bool
    what: str = ""


class Reader:
    """Takes single values out of a parsed file and keeps every mistake on the way."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.mistakes: list[str] = []

    def wrong(self, place: str, sentence: str) -> None:
        """Keep a mistake, as one line whatever stands in the file."""
        line = f"{self.file}: {place}: {sentence}" if place else f"{self.file}: {sentence}"
        self.mistakes.append(" ".join(line.split()))

    def mapping(self, value: Any, place: str, keys: Set[str] | None = None) -> dict[Any, Any]:
        """Return `value` as a mapping, empty if it is none; a key that is not among `keys` is a mistake."""
        if value is None:
            value = {}
        if not isinstance(value, dict):
            self.wrong(place, f"must be a mapping (key: value), not {value!r}")
            return {}
        for key in value:
            if keys is not None and key not in keys:
                self.wrong(place, f"{key!r} is not known here; known: {', '.join(sorted(keys))}")
        return value

    def member(self, given: dict[Any, Any], place: str, member: Member) -> Any:
        """Return what `given` holds of a member, or else its default."""
        if member.choices:
            return self.choice(given, place, member.name, member.choices, member.default)
        return self.value(given, place, member.name, member.fits, member.what, member.default)

    def choice(self, given: dict[Any, Any], place: str, key: str, among: tuple[str, ...], default: str | None) -> str:
        """Return the member `key`, one of `among`; a default of None means that it must be given."""
        value = given.get(key, default)
        if value in among:
            return str(value)
        sentence = "is missing" if value is None else f"{value!r} is not known"
        self.wrong(place, f"{key}: {sentence}; choose one of {', '.join(among)}")
        return among[0]

    def value(
        self, given: dict[Any, Any], place: str, key: str, fits: Callable[[Any], bool], what: str, default: Any
    ) -> Any:
        """Return the member `key`, which must be `what` if it is given, or else the default."""
        value = given.get(key, default)
        if key in given and not fits(value):
            self.wrong(place, f"{key}: {value!r} must be {what}")
            return default
        return value


def is_boolean(value: Any) -> bool:
    """Say whether a value is true or false."""
    return isinstance(value, bool)


def is_text(value: Any) -> bool:
    """Say whether a value is a text that is not empty."""
    return isinstance(value, str) and bool(value)


def is_natural(value: Any) -> bool:
    """Say whether a value is a whole number of at least 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
