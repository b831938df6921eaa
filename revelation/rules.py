"""The rules of alerts.yaml: who is told what of which records, how often; checked in full. Pure.

Every mistake in the file becomes one line that names file, rule or destination, and remedy; all are reported at once.
"""

import os.path
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from oceanus import declared
from oceanus.declared import is_text
from oceanus.errors import MisconfiguredError
from oceanus.sites import Site, Sites
from revelation import drafts, kinds
from revelation.conditions import Condition, always, compiled
from revelation.names import Names, types

A_MINUTE = 60
MOST_A_MINUTE = 10_000
MOST_SECONDS = 86_400
MOST_COUNTED = 100_000
UNITS = {"seconds": 1, "minutes": 60, "hours": 3600}
VISITORS = ("sid", "uid")
# Of `history`: the least and the most, and what holds where nothing is given.
HISTORY = {"days": (1, 31), "rows": (1, 1000), "after_seconds": (0, 3600)}
RESERVED = ("all",)  # what the limit over all rules is called in Redis
SAMPLE = os.path.join(os.path.dirname(__file__), "sample_alerts.yaml")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counting:
    """Tell when more than `more_than` matching records were received within `seconds`, of each value of `by`."""

    more_than: int
    seconds: int
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How often a rule may tell. `once_by`: None for the rule as a whole; `a_minute_each`: by a field's value."""

    once_seconds: int = 0
    once_by: str | None = None
    a_minute: int | None = None
    a_minute_each: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. `tell` has the entries as written and checked, each with `to`; `silence_seconds` is 0 for none.

    `when`: the condition as written, by which a changed one is known.
    """

    name: str
    sites: tuple[str, ...]
    matches: Condition
    tell: tuple[Mapping[str, Any], ...]
    counting: Counting | None = None
    silence_seconds: int = 0
    limits: Limits = Limits()
    when: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A destination as declared: its kind (slack, sheets, mail, webhook, print) and the other members as written."""

    name: str
    kind: str
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """All of alerts.yaml. `by_site` has for each site its rules, those of silence too."""

    rules: Mapping[str, Rule]
    places: Mapping[str, Place]
    by_site: Mapping[str, tuple[Rule, ...]]
    zone: ZoneInfo
    a_minute: int


def load(path: str, sites: Sites) -> Rules:
    """Read and check the file at `path`; raises MisconfiguredError with a line for each mistake."""
    return parse(declared.read(path, "set ALERTS_FILE to your alerts.yaml"), sites, path)


def parse(text: str, sites: Sites, file: str = "alerts.yaml") -> Rules:
    """Return the rules that `text` declares for `sites`; raises MisconfiguredError with a line for each mistake."""
    reader = _Reader(file, sites)
    rules = reader.rules(declared.document(text, file))
    if reader.mistakes:
        raise MisconfiguredError(reader.mistakes)
    return rules


def variables(rules: Rules) -> dict[str, tuple[str, ...]]:
    """Return the environment variables that the destinations in use need, each with the names of those destinations."""
    used = {entry["to"] for rule in rules.rules.values() for entry in rule.tell}
    needed: dict[str, tuple[str, ...]] = {}
    for place in rules.places.values():
        for variable in kinds.variables(place.kind, place.options) if place.name in used else ():
            needed[variable] = (*needed.get(variable, ()), place.name)
    return needed


def unset(rules: Rules, environ: Mapping[str, str]) -> list[str]:
    """Return a line for each of these variables that is not set."""
    return [
        f"{variable} is not set: the destination {', '.join(places)} of alerts.yaml needs it"
        for variable, places in sorted(variables(rules).items())
        if not environ.get(variable, "").strip()
    ]


def condition(text: str, site: Site) -> Condition:
    """Return the condition that a line states, as `when` of a rule of the site does; raises MisconfiguredError."""
    return compiled(declared.document(text, "the condition"), Names([site]))


class _Reader(declared.Reader):
    """Turns the parsed file into rules."""

    def __init__(self, file: str, sites: Sites) -> None:
        super().__init__(file)
        self.all_sites = sites

    def rules(self, document: Any) -> Rules:
        top = self.mapping(document, "", {"time_zone", "limits", "destinations", "rules"})
        limits = self.mapping(top.get("limits"), "limits", {"a_minute"})
        listed = self.mapping(top.get("destinations"), "destinations")
        places = {str(name): self.place(name, body) for name, body in listed.items()}
        written = self.mapping(top.get("rules"), "rules")
        if not written and not self.mistakes:
            self.wrong("rules", "is empty: write at least one rule")
        rules = {str(name): self.rule(name, body, places) for name, body in written.items()}
        return Rules(
            rules=rules,
            places=places,
            by_site=_by_site(rules),
            zone=self.zone(top.get("time_zone", "UTC")),
            a_minute=self.whole(limits, "limits", "a_minute", (1, MOST_A_MINUTE), A_MINUTE),
        )

    def zone(self, name: Any) -> ZoneInfo:
        try:
            return ZoneInfo(name)
        except (ValueError, LookupError, OSError, TypeError, AttributeError):
            self.wrong("time_zone", f"{name!r} is not known; write one such as Asia/Tokyo or UTC")
            return ZoneInfo("UTC")

    def place(self, name: Any, body: Any) -> Place:
        """Return a destination; one whose kind is not known has none, so that what tells it is not blamed too."""
        where = f"destination {name}"
        self.check_name(name, where)
        if not isinstance(body, dict):
            self.wrong(where, "must be a mapping such as {kind: print}")
            return Place(name=str(name), kind="", options={})
        kind = self.choice(body, where, "kind", kinds.KINDS, None)
        if body.get("kind") != kind:
            return Place(name=str(name), kind="", options={})
        self.mapping(body, where, {"kind", *kinds.OPTIONS[kind]})
        options = {str(key): value for key, value in body.items() if key != "kind"}
        for sentence in kinds.troubles(kind, options):
            self.wrong(where, sentence)
        return Place(name=str(name), kind=kind, options=options)

    def check_name(self, name: Any, where: str) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            self.wrong(where, "a name is small letters, digits, _ and -, a letter first, at most 63")
        elif name in RESERVED:
            self.wrong(where, f"this name is taken: {', '.join(RESERVED)}")

    # --- rules

    def rule(self, name: Any, body: Any, places: Mapping[str, Place]) -> Rule:
        where = f"rule {name}"
        self.check_name(name, where)
        given = self.mapping(body, where, {"sites", "when", "count", "silence", "limits", "tell"})
        sites = self.sites(given.get("sites"), where)
        names = Names(sites)
        if "count" in given and "silence" in given:
            self.wrong(where, "count and silence together: make them two rules")
        return Rule(
            name=str(name),
            sites=tuple(site.name for site in sites),
            matches=self.condition(given, where, names),
            tell=self.tell(given.get("tell"), where, _Context(sites, places, "silence" in given)),
            counting=self.counting(given["count"], f"{where}, count", names) if "count" in given else None,
            silence_seconds=self.silence(given["silence"], f"{where}, silence") if "silence" in given else 0,
            limits=self.limits(given.get("limits"), f"{where}, limits", names),
            when=repr(given["when"]) if "when" in given else "",
        )

    def sites(self, listed: Any, where: str) -> tuple[Site, ...]:
        if not isinstance(listed, list) or not listed or not all(map(is_text, listed)):
            self.wrong(where, f"sites: {listed!r} must be a list of sites, such as [{next(iter(self.all_sites))}]")
            return ()
        if len(set(listed)) < len(listed):
            self.wrong(where, f"sites: {listed!r} names a site twice")
        for name in listed:
            if name not in self.all_sites:
                self.wrong(where, f"sites: {name!r} is not in sites.yaml; known: {', '.join(self.all_sites)}")
            elif not self.all_sites[name].alerts:
                self.wrong(where, f"sites: {name} has no alerts: set alerts: true for it in sites.yaml")
        return tuple(self.all_sites[name] for name in listed if name in self.all_sites)

    def condition(self, given: dict[Any, Any], where: str, names: Names) -> Condition:
        if "when" not in given:
            return always
        try:
            return compiled(given["when"], names)
        except MisconfiguredError as exc:
            for sentence in exc.mistakes:
                self.wrong(f"{where}, when", sentence)
            return always

    def counting(self, body: Any, where: str, names: Names) -> Counting:
        given = self.mapping(body, where, {"more_than", "by", *UNITS})
        return Counting(
            more_than=self.whole(given, where, "more_than", (0, MOST_COUNTED), None),
            seconds=self.seconds(given, where),
            by=self.name(given, where, names),
        )

    def silence(self, body: Any, where: str) -> int:
        if not isinstance(body, dict):
            self.wrong(where, f"must be a time such as {{minutes: 15}}, not {body!r}")
            return 1
        return self.seconds(self.mapping(body, where, {*UNITS}), where)

    def limits(self, body: Any, where: str, names: Names) -> Limits:
        given = self.mapping(body, where, {"once", "a_minute", "a_minute_each"})
        once = self.mapping(given.get("once"), f"{where}, once", {"by", *UNITS})
        each = self.mapping(given.get("a_minute_each"), f"{where}, a_minute_each")
        for name in each:
            self.check_field(name, f"{where}, a_minute_each", names)
        a_minute = self.whole(given, where, "a_minute", (1, MOST_A_MINUTE), 0) if "a_minute" in given else None
        return Limits(
            once_seconds=self.seconds(once, f"{where}, once") if "once" in given else 0,
            once_by=self.name(once, f"{where}, once", names),
            a_minute=a_minute,
            a_minute_each={
                str(name): self.whole(each, f"{where}, a_minute_each", name, (1, MOST_A_MINUTE), 0) for name in each
            },
        )

    def name(self, given: dict[Any, Any], where: str, names: Names) -> str | None:
        """Return the name at `by`, None if there is none."""
        if "by" not in given:
            return None
        self.check_field(given["by"], f"{where}, by", names)
        return str(given["by"])

    def check_field(self, name: Any, where: str, names: Names) -> None:
        trouble = names.trouble(name)
        if trouble:
            self.wrong(where, trouble)

    # --- what is told

    def tell(self, listed: Any, where: str, context: "_Context") -> tuple[Mapping[str, Any], ...]:
        if not isinstance(listed, list) or not listed:
            self.wrong(where, "tell: must be a list of what is told to whom, such as [{to: desk, text: paid}]")
            return ()
        return tuple(
            self.entry(body, f"{where}, tell {count}" if len(listed) > 1 else f"{where}, tell", context)
            for count, body in enumerate(listed, 1)
        )

    def entry(self, body: Any, where: str, context: "_Context") -> Mapping[str, Any]:
        given = self.mapping(body, where)
        if not isinstance(body, dict):
            return given
        to = given.get("to")
        place = context.places.get(to) if isinstance(to, str) else None
        if place is None:
            known = ", ".join(context.places) or "none"
            self.wrong(where, f"to: {to!r} is not among the destinations; known: {known}")
        if place is None or not place.kind:
            return given
        kind = place.kind
        needs = kinds.NEEDS[kind]
        self.mapping(given, where, {"to", *needs, *kinds.MAY.get(kind, ())})
        for key in sorted(needs - set(given)):
            self.wrong(where, f"{key}: is missing; {kind} needs {', '.join(sorted(needs))}")
        self.members(given, where, context)
        return given

    def members(self, given: dict[Any, Any], where: str, context: "_Context") -> None:
        for key in ("text", "subject"):
            if key in given:
                self.template(given[key], f"{where}, {key}", context, may_be_empty=False)
        for key in ("row", "fields", "body"):
            if key in given:
                self.templates(given[key], f"{where}, {key}", context)
        trouble = drafts.worksheet_trouble(given["worksheet"]) if "worksheet" in given else None
        if trouble:
            self.wrong(f"{where}, worksheet", trouble)
        if "history" in given:
            self.history(given["history"], f"{where}, history", context)

    def templates(self, body: Any, where: str, context: "_Context") -> None:
        given = self.mapping(body, where)
        if body in ({}, None):
            self.wrong(where, 'is empty: write names and texts, such as {page: "{{ url }}"}')
        for name, text in given.items():
            if not is_text(name):
                self.wrong(where, f"{name!r} must be a text: put it into quotes")
            self.template(text, f"{where}, {name}", context, may_be_empty=True)

    def template(self, text: Any, where: str, context: "_Context", *, may_be_empty: bool) -> None:
        trouble = drafts.template_trouble(text, context.known())
        if not trouble and not may_be_empty and not text.strip():
            trouble = "is empty: write what is to be told"
        if trouble:
            self.wrong(where, trouble)

    def history(self, body: Any, where: str, context: "_Context") -> None:
        given = self.mapping(body, where, {"by", "site", "columns", *HISTORY})
        if context.is_silent:
            self.wrong(where, "a rule of silence has no visitor whose rows could be shown")
        by = self.choice(given, where, "by", VISITORS, None)
        for key, bounds in HISTORY.items():
            self.whole(given, where, key, bounds, 0)
        columns = given.get("columns")
        if not isinstance(columns, list) or not columns or not all(map(is_text, columns)):
            self.wrong(where, "columns: must be a list of columns, such as [dt, evt, url]")
            columns = []
        for site in self.tables(given, where, context):
            missing = [name for name in (by, *columns) if name not in {"eid", *types(site)}]
            if missing:
                self.wrong(where, f"{missing[0]!r} is no column of {site.name}; known: {', '.join(types(site))}, eid")

    def tables(self, given: dict[Any, Any], where: str, context: "_Context") -> tuple[Site, ...]:
        """Return the sites whose tables a history is read from: the one that it names, or the rule's own."""
        if "site" not in given:
            return context.sites
        name = given["site"]
        if not is_text(name) or name not in self.all_sites:
            self.wrong(where, f"site: {name!r} is not in sites.yaml; known: {', '.join(self.all_sites)}")
            return ()
        return (self.all_sites[name],)

    # --- single values

    def seconds(self, given: dict[Any, Any], where: str) -> int:
        """Return a time that is written in one of the units."""
        units = [unit for unit in UNITS if unit in given]
        if len(units) != 1:
            found = f", not {' and '.join(units)} together" if units else ""
            self.wrong(where, f"needs one of seconds, minutes, hours{found}")
            return 1
        unit = units[0]
        return UNITS[unit] * self.whole(given, where, unit, (1, MOST_SECONDS // UNITS[unit]), 1)

    def whole(self, given: dict[Any, Any], where: str, key: str, bounds: tuple[int, int], default: int | None) -> int:
        """Return the whole number at `key`, within bounds; a default of None means that it must be given."""
        least, most = bounds
        value = given.get(key, default)
        if key not in given and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            found = repr(value) if key in given else "nothing"
            self.wrong(where, f"{key}: must be a whole number from {least} to {most}, not {found}")
            return least
        return value


@dataclass(frozen=True, slots=True)
class _Context:
    """What an entry of `tell` must agree with."""

    sites: tuple[Site, ...]
    places: Mapping[str, Place]
    is_silent: bool

    def known(self) -> set[str] | None:
        """Return what templates know, None for everything, as where a rule's sites are a mistake."""
        silence = {"last"} if self.is_silent else set()
        return Names(self.sites).any() | drafts.KNOWN | silence if self.sites else None


def _by_site(rules: Mapping[str, Rule]) -> dict[str, tuple[Rule, ...]]:
    by_site: dict[str, tuple[Rule, ...]] = {}
    for rule in rules.values():
        for site in rule.sites:
            by_site[site] = (*by_site.get(site, ()), rule)
    return by_site
