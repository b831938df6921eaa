"""A draft: a template or a worksheet's name as it stands in alerts.yaml, checked before it is used. Pure.

Nothing is rendered or compiled here: a template is parsed, and its names are looked at.
"""

import re
from collections.abc import Set
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.sandbox import SandboxedEnvironment

# What a template knows beside the record's fields.
KNOWN = frozenset(("site", "rule", "eid", "count"))
OWN_FILTERS = frozenset(("local",))
MAX_CHARACTERS = 20_000
# Google documents no limit on a sheet's name; Excel, into which people export, refuses these.
TITLE_CHARACTERS = 100
_REFUSED_IN_TITLES = re.compile(r"[\[\]*?/\\:\x00-\x1f\x7f]")
# docs.python.org/3/library/datetime.html#format-codes
_CODES = frozenset("aAbBcdfGHIjmMpSuUVwWxXyYzZ%")
_SAMPLE_TIME = datetime(2026, 11, 22, 21, 15, 3)  # any time shows which characters a pattern makes
_ELSEWHERE = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)


def template_trouble(text: Any, known: Set[str] | None) -> str | None:
    """Return what is wrong with a template, in words; `known` are the names it may use, None for any."""
    if not isinstance(text, str):
        return f"{text!r} must be a text: put it into quotes"
    if len(text) > MAX_CHARACTERS:
        return f"has {len(text)} characters; a template has at most {MAX_CHARACTERS}"
    environment = SandboxedEnvironment()
    try:
        return _strange(environment.parse(text), environment, known)
    except (TemplateError, ValueError, RecursionError) as exc:  # the latter two for long numbers and deep brackets
        return f"is no template of Jinja2: {' '.join(str(exc).split())}"


def worksheet_trouble(pattern: Any) -> str | None:
    """Return what is wrong with the name of a worksheet, in which `%Y` and so on stand for the record's time."""
    if not isinstance(pattern, str) or not pattern.strip():
        return f"{pattern!r} must be a text such as paid_%Y-%m"
    if "{{" in pattern:
        return f"{pattern!r} is no template: it knows %Y, %m and so on alone"
    codes = re.findall(r"%(.?)", pattern, re.DOTALL)
    strange = [f"%{code}" for code in codes if code not in _CODES or not code]
    if strange:
        return f"{pattern!r} has {strange[0]}, which is no code of strftime; a percent sign is written %%"
    return _title_trouble(pattern)


def _title_trouble(pattern: str) -> str | None:
    try:
        title = _SAMPLE_TIME.strftime(pattern)
    except ValueError as exc:
        return f"{pattern!r} is refused by strftime: {exc}"
    if _REFUSED_IN_TITLES.search(title):
        return f"{pattern!r} makes {title!r}, and no worksheet's name may have any of []*?/\\:"
    if len(title) > TITLE_CHARACTERS:
        return f"{pattern!r} makes {len(title)} characters; a worksheet's name has at most {TITLE_CHARACTERS}"
    return None


def _strange(parsed: nodes.Template, environment: SandboxedEnvironment, known: Set[str] | None) -> str | None:
    """Return the first thing in a template that would be refused, or be empty for ever."""
    if next(parsed.find_all(_ELSEWHERE), None):
        return "cannot include or extend another template: there is none"
    filters = {one.name for one in parsed.find_all(nodes.Filter)} - set(environment.filters) - OWN_FILTERS
    tests = {one.name for one in parsed.find_all(nodes.Test)} - set(environment.tests)
    if filters | tests:
        return f"uses {min(filters | tests)!r}, which is no filter or test of Jinja2, nor local"
    names = _asked(parsed) - set(environment.globals)
    if known is not None and names - known:
        return f"uses {min(names - known)!r}, which no record has; known: {', '.join(sorted(known))}"
    return None


def _asked(parsed: nodes.Template) -> set[str]:
    """Return the names that a template reads, but for those that it sets itself."""
    names = list(parsed.find_all(nodes.Name))
    own = {one.name for one in names if one.ctx != "load"} | {one.name for one in parsed.find_all(nodes.Macro)}
    return {one.name for one in names if one.ctx == "load"} - own - {"loop", "self", "caller", "varargs", "kwargs"}
