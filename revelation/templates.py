"""Templates: texts of alerts.yaml filled in with a record, in Jinja2's sandbox, within a second and 20,000 characters.

What an author writes passes as it is; every value within is made harmless for the destination, and no filter or block
leads around that. Runs in the renderer's child process (see rendering), whose limits catch what the sandbox does not.
"""

import json
import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from types import FrameType
from typing import Any, NoReturn
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson
from jinja2 import ChainableUndefined, Template, TemplateError, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.sandbox import ImmutableSandboxedEnvironment

from oceanus.errors import RefusedError
from revelation import harmless

CHARACTERS = 20_000
# Of processor time: a machine that is busy with other things makes no template wrong.
SECONDS = 1.0
# The kernel ends the process then, if the template is inside one long call that no Python handler interrupts.
LAST_SECONDS = 1.5
LOCAL = "%Y-%m-%d %H:%M:%S"
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{6})?")
_WRITABLE_LEVELS = 250  # orjson reads 1,024 levels of JSON, but writes 254
_TELLING = (TemplateError, TypeError, ArithmeticError)  # their messages name the mistake, and no visitor's text

Name = tuple[str, ...]  # a member of a `tell`: ("text",) or ("row", "price")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The templates of one message, by their names, and what they are filled in with."""

    kind: str
    zone: str
    templates: Mapping[Name, str]
    record: Mapping[str, Any]
    opened: frozenset[str]
    more: Mapping[str, Any]


class _TooLongError(BaseException):
    """Time is up. No Exception, so that nothing in a template can catch it."""


def allow_seconds() -> None:
    """Make this process ready to stop a template that takes too long."""
    signal.signal(signal.SIGPROF, _time_is_up)


def render(job: Job) -> dict[Name, str]:
    """Return the texts of a job; raises RefusedError with a line that begins with the name of the template."""
    values = opened(job.record, job.opened) | dict(job.more)
    texts: dict[Name, str] = {}
    name: Name = ()
    try:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.setitimer(signal.ITIMER_VIRTUAL, LAST_SECONDS)
        for name, source in job.templates.items():
            texts[name] = _filled(job.kind, job.zone, source, values)
        _stop_the_clocks()  # here, so that one that has just rung is heard below
    except RefusedError:
        raise
    except _TooLongError:
        raise refused(name, f"takes longer than {SECONDS:g} s") from None
    except Exception as exc:  # noqa: BLE001 - a template can raise anything at all
        raise refused(name, _sentence(exc)) from None
    finally:
        _stop_the_clocks()
    return texts


def refused(name: Name, sentence: str) -> RefusedError:
    """Return the error for a template that cannot be filled in."""
    return RefusedError(f"{'.'.join(name)}: {sentence}")


def opened(record: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Return a record with its JSON fields, which are `names`, parsed; what is no JSON stays a text."""
    return {name: _parsed(value) if name in names else value for name, value in record.items()}


def local(value: Any, place: ZoneInfo, form: str = LOCAL) -> Any:
    """Return a time, which is a `dt` or a datetime, at `place` and as `form` says; anything else as it is."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) and _TIME.fullmatch(value) else value
        if not isinstance(moment, datetime):
            return value
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(place).strftime(form)
    except (ValueError, OverflowError):
        return value


def zone(name: str) -> ZoneInfo:
    """Return the time zone of this name; raises RefusedError if there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise RefusedError(f"time_zone: there is no zone {name!r}") from exc


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        made = orjson.loads(value)
        if value.count("{") + value.count("[") > _WRITABLE_LEVELS:
            orjson.dumps(made)
    except (orjson.JSONDecodeError, TypeError):
        return value
    return made


def _filled(kind: str, place: str, source: str, values: Mapping[str, Any]) -> str:
    pieces: list[str] = []
    size = 0
    for piece in _template(kind, place, source).generate(values):
        size += len(piece)
        if size > CHARACTERS:
            raise TemplateError(f"is longer than {CHARACTERS:,} characters")
        pieces.append(piece)
    text = "".join(pieces)
    return harmless.mentions(text, source) if kind == "slack" else text


@lru_cache(maxsize=1000)
def _template(kind: str, place: str, source: str) -> Template:
    return _environment(kind, place).from_string(source)


@cache
def _environment(kind: str, place: str) -> "_Sandbox":
    return _Sandbox(harmless.FOR_KIND[kind], zone(place))


class _Generator(CodeGenerator):
    """Jinja's compiler without the two blocks whose output passes `finalize` by."""

    def visit_FilterBlock(self, node: nodes.FilterBlock, frame: Frame) -> NoReturn:  # noqa: N802 - Jinja's name
        self.fail("{% filter %} is not taken here: use {{ .. | filter }}", node.lineno)

    def visit_CallBlock(self, node: nodes.CallBlock, frame: Frame) -> NoReturn:  # noqa: N802 - Jinja's name
        self.fail("{% call %} is not taken here", node.lineno)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox for one kind of destination: no other files, no loader, and every `{{ }}` made harmless."""

    code_generator_class = _Generator

    def __init__(self, made: Callable[[str], str], place: ZoneInfo) -> None:
        super().__init__(
            autoescape=False,  # nowhere is this HTML; `finalize` escapes
            undefined=ChainableUndefined,
            finalize=lambda value: made(_text(value)),
            keep_trailing_newline=True,
        )
        self.globals = {name: self.globals[name] for name in ("range", "dict", "namespace")}
        self.filters["local"] = lambda value, form=LOCAL: local(value, place, form)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Look into JSON first: `jsn.items` is the member of that name, not a method of Python's."""
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | dict | list | tuple):
        return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)
    return str(value)  # a plain text also of Markup, whose methods would escape for HTML


def _sentence(error: Exception) -> str:
    told = f": {' '.join(str(error).split())[:200]}" if isinstance(error, _TELLING) else ""
    return f"{type(error).__name__}{told}"


def _time_is_up(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise _TooLongError


def _stop_the_clocks() -> None:
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.setitimer(signal.ITIMER_PROF, 0)
