"""Sites: what sites.yaml declares, read whole, checked whole, and then fixed.

Every mistake in the file becomes one line that names file, site or shape, field and remedy; all are reported at once.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oceanus import declared, schema
from oceanus.declared import is_text
from oceanus.errors import MisconfiguredError
from oceanus.jsontext import canonical
from oceanus.rules import MAKES, RuleValidator, Step, step
from oceanus.schema import COLUMN, RESERVED, RESERVED_COLUMNS, SOURCES, TRACKED

STEP_TYPES = {"integer": "INT64", "number": "FLOAT64", "boolean": "BOOL"}
# What a default may be, by column type; a text for all others.
DEFAULTS: dict[str, tuple[type, ...]] = {"INT64": (int,), "FLOAT64": (int, float), "BOOL": (bool,)}
# Rules that would change a record's shape behind the columns' back.
RESHAPING = ("rename", "rename_handler", "default_setter", "purge_unknown", "coerce", "nullable")
OF_NUMBERS = frozenset(("min", "max"))
OF_TEXTS = frozenset(("minlength", "maxlength", "regex"))
NUMBERS = ("integer", "float", "number", "boolean")
SAMPLE = Path(__file__).with_name("sample_sites.yaml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a record: where its value comes from, what it must be, and the column it fills."""

    name: str
    source: str
    argument: str
    normal: tuple[Step, ...]
    rule: Mapping[str, Any]
    type: str
    mode: str
    description: str
    anonymous: str
    policy_tag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """When to write: as soon as `rows` wait, or the oldest has waited `seconds`."""

    rows: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TableForm:
    """How a site's rows are stored: `partitioned` (one table) or `daily` (a table for each UTC day)."""

    name: str
    form: str
    cluster: tuple[str, ...]
    expiry_days: int | None

    @property
    def is_daily(self) -> bool:
        """Say whether each day has a table, in which `dt` is a text as in the original's; else it is a TIMESTAMP."""
        return self.form == "daily"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """Which pages may read the answers; with `enforce`, only their beacons are taken. Empty: any page."""

    allow: frozenset[str]
    enforce: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Privacy:
    """What happens to a visitor who objects, and what is blanked in addresses for everyone."""

    policy: str
    consent: str | None
    mask: frozenset[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracker:
    """How a site's pages get their script, and where it sends to.

    `script` is which one (core, full); it is served at `path`, and beacons are taken at `endpoint`, beside the names
    that every site has. `cookie` says who sets the visitor's (script, arms, none). `redirect` are the hosts that
    redirect.html goes to, one that begins with a dot for all below it.
    """

    script: str
    path: str | None
    endpoint: str | None
    cookie: str
    redirect: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One site and all that arms, r2bq and table_manager know of it."""

    name: str
    method: str
    description: str
    fields: tuple[Field, ...]
    batch: Batch
    table: TableForm
    origins: Origins
    privacy: Privacy
    unknown: str | None
    alerts: bool
    cookie_domain: str | None
    callers: str
    daily_cap: int | None
    tracker: Tracker

    @property
    def has_sid(self) -> bool:
        """Say whether its beacons bring a browser's session id."""
        return any(field.name == "sid" and field.source in ("query", "form") for field in self.fields)


class Sites(Mapping[str, Site]):
    """All sites by name, in the order of the file."""

    def __init__(self, sites: list[Site]) -> None:
        self._sites = {site.name: site for site in sites}

    def __getitem__(self, name: str) -> Site:
        return self._sites[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sites)

    def __len__(self) -> int:
        return len(self._sites)

    def first(self, method: str) -> Site | None:
        """Return the first site of `method`: the one that a path without a site means."""
        return next((site for site in self.values() if site.method == method), None)


def load(path: str) -> Sites:
    """Read and check the file at `path`; raises MisconfiguredError with a line for each mistake."""
    return parse(declared.read(path, "set SITES_FILE to your sites.yaml"), path)


def parse(text: str, file: str = "sites.yaml") -> Sites:
    """Return the sites that `text` declares; raises MisconfiguredError with a line for each mistake."""
    reader = _Reader(file)
    sites = reader.sites(declared.document(text, file))
    if reader.mistakes:
        raise MisconfiguredError(reader.mistakes)
    return Sites(sites)


def _script(site: Site) -> str:
    """Return which script a site's pages load, in words."""
    return f"{site.method} {site.tracker.script}"


class _Reader(declared.Reader):
    """Turns the parsed file into sites."""

    def sites(self, document: Any) -> list[Site]:
        top = self.mapping(document, "", schema.FILE.keys())
        declared = self.mapping(top.get("shapes"), "shapes")
        shapes = {str(name): self.shape(str(name), declared) for name in declared}
        listed = self.mapping(top.get("sites"), "sites")
        if not listed and not self.mistakes:
            self.wrong("sites", "is empty: declare at least one site")
        sites = [self.site(name, body, shapes) for name, body in listed.items()]
        self.check_table_names(sites)
        self.check_paths(sites)
        return [site for site in sites if site is not None]

    def check_table_names(self, sites: list[Site | None]) -> None:
        taken = {"audit": "oceanus's own"}
        for site in filter(None, sites):
            name, owner = site.table.name, f"site {site.name}'s"
            first = taken.setdefault(name.lower(), owner)
            if first != owner:
                self.wrong(f"site {site.name}", f"table {name} is {first}: give it another table name")

    def check_paths(self, sites: list[Site | None]) -> None:
        """A script may have one path for several sites; an endpoint says by itself which site is meant."""
        scripts = {site.tracker.path: _script(site) for site in filter(None, sites) if site.tracker.path}
        taken = {path: f"that of the {script} script" for path, script in scripts.items()}
        for site in filter(None, sites):
            place, path, endpoint = f"site {site.name}, tracker", site.tracker.path, site.tracker.endpoint
            if path and scripts[path] != _script(site):
                self.wrong(place, f"path: {path} is {taken[path]}: give it another path")
            owner = f"site {site.name}'s endpoint"
            if endpoint and taken.setdefault(endpoint, owner) != owner:
                self.wrong(place, f"endpoint: {endpoint} is {taken[endpoint]}: give it another path")

    # --- shapes and their fields

    def shape(self, name: str, declared: dict[str, Any]) -> tuple[Field, ...]:
        bodies = self.shape_fields(name, declared, ())
        if not bodies and not self.mistakes:
            self.wrong(f"shape {name}", "has no fields")
        fields = tuple(filter(None, (self.field(name, key, body) for key, body in bodies.items())))
        self.check_devices(name, fields)
        if bodies and (not isinstance(bodies.get("dt"), dict) or bodies["dt"].get("from") != "clock"):
            self.wrong(f"shape {name}", "needs a field dt with from: clock, the time that tables are divided by")
        return fields

    def shape_fields(self, name: str, declared: dict[str, Any], above: tuple[str, ...]) -> dict[str, Any]:
        """Return the fields of a shape with those it extends below them, as written."""
        place = f"shape {name}"
        body = self.mapping(declared.get(name), place, schema.SHAPE.keys())
        own = self.mapping(body.get("fields"), f"{place}, fields")
        parent = body.get("extends")
        if parent is None:
            return own
        if not isinstance(parent, str) or parent not in declared or parent == name or parent in above:
            self.wrong(place, f"extends: {parent!r} is no other shape of this file")
            return own
        inherited = dict(self.shape_fields(parent, declared, (*above, name)))
        for key, change in own.items():
            base = inherited.get(key)
            inherited[key] = base | change if isinstance(base, dict) and isinstance(change, dict) else change
        return inherited

    def field(self, shape: str, name: Any, body: Any) -> Field | None:
        place, before = f"shape {shape}, field {name}", len(self.mistakes)
        self.check_name(name, place)
        members = schema.FIELD
        given = self.mapping(body, place, members.keys())
        source, _, argument = str(given.get("from", "")).partition(":")
        if source not in SOURCES or (source in ("header", "device")) != bool(argument):
            self.wrong(place, f"from: {given.get('from')!r} is not {members['from'].what}")
        column = self.member(given, place, members["type"])
        listed = given.get("normal", [])
        normal = self.normal(listed, place)
        self.check_type(column, source, listed if isinstance(listed, list) else [], place)
        read = Field(
            name=str(name),
            source=source,
            argument=argument,
            normal=normal,
            rule=self.rule(given.get("rule", {}), place),
            type=column,
            mode=self.member(given, place, members["mode"]),
            description=self.member(given, place, members["description"]),
            anonymous=self.member(given, place, members["anonymous"]),
            policy_tag=self.member(given, place, members["policy_tag"]),
        )
        self.check_required(read, place)
        self.check_default(read, place)
        if read.policy_tag and name == "dt":
            self.wrong(place, "policy_tag: dt is what tables are divided by and the audit counts: leave it readable")
        return read if len(self.mistakes) == before else None

    def check_name(self, name: Any, place: str) -> None:
        if not isinstance(name, str) or not COLUMN.fullmatch(name):
            self.wrong(
                place, "a field's name is a column's: small letters, digits, underscores, at most 64, no digit first"
            )
        elif name in RESERVED:
            self.wrong(place, f"this name is taken: {', '.join(RESERVED)} mean something to arms itself")
        elif name.startswith(RESERVED_COLUMNS):
            self.wrong(place, f"BigQuery keeps names that begin with {', '.join(RESERVED_COLUMNS)} to itself")

    def check_type(self, column: str, source: str, steps: list[Any], place: str) -> None:
        """A column's type and the steps that make its value must agree."""
        if column in MAKES and MAKES[column] not in steps:
            self.wrong(place, f"type: {column} needs the step {MAKES[column]} in normal")
        for name, made in STEP_TYPES.items():
            if name in steps and column != made:
                self.wrong(place, f"normal: {name} makes a value of type {made}, and the column is {column}")
        if column == "TIMESTAMP" and source != "clock":
            self.wrong(place, "type: TIMESTAMP is for from: clock; take a time from a page as a STRING")

    def check_required(self, field: Field, place: str) -> None:
        """A REQUIRED column must be filled by every record, or BigQuery would refuse good beacons."""
        certain = field.source in ("clock", "device") or field.rule.get("required") or "default" in field.rule
        if field.mode == "REQUIRED" and not certain:
            self.wrong(place, "mode: REQUIRED needs required: true or a default in its rule")
        if field.mode == "REQUIRED" and field.anonymous == "blank" and field.type != "STRING":
            self.wrong(place, f"anonymous: blank cannot leave a REQUIRED {field.type} empty: make it NULLABLE")
        if field.anonymous == "cut" and field.source != "address" and field.rule.get("check_with") != "address":
            self.wrong(place, "anonymous: cut is for addresses: from: address, or a rule with check_with: address")

    def check_devices(self, shape: str, fields: tuple[Field, ...]) -> None:
        names = [field.name for field in fields]
        for field in fields:
            if field.source == "device" and field.argument not in names[: names.index(field.name)]:
                self.wrong(
                    f"shape {shape}, field {field.name}", f"from: device:{field.argument} needs that field above it"
                )

    def normal(self, given: Any, place: str) -> tuple[Step, ...]:
        steps: list[Step] = []
        for entry in given if isinstance(given, list) else [None]:
            one = entry if isinstance(entry, dict) and len(entry) == 1 else {entry: None} if is_text(entry) else None
            if one is None:
                self.wrong(place, f"normal: must be {schema.FIELD['normal'].what}")
                continue
            for name, argument in one.items():
                try:
                    steps.append(step(str(name), argument))
                except ValueError as exc:
                    self.wrong(place, str(exc))
        return tuple(steps)

    def rule(self, given: Any, place: str) -> dict[str, Any]:
        rule = self.mapping(given, f"{place}, rule")
        try:
            RuleValidator({"value": dict(rule)})
            re.compile(rule.get("regex", ""))
        except Exception as exc:  # noqa: BLE001 - Cerberus fails in many ways on a rule that it cannot read
            self.wrong(place, f"rule: Cerberus does not take it: {' '.join(str(exc).split())}")
        for key in rule:
            if key in RESHAPING:
                self.wrong(
                    place, f"rule: {key} would change the record behind its column: use normal, required, default"
                )
        self.check_effect(rule, place)
        return rule

    def check_effect(self, rule: Mapping[str, Any], place: str) -> None:
        """Cerberus takes limits that limit nothing: those of texts for numbers, and the other way round."""
        kind = rule.get("type")
        for key in OF_NUMBERS & rule.keys():
            if not isinstance(rule[key], int | float) or isinstance(rule[key], bool):
                self.wrong(place, f"rule: {key}: {rule[key]!r} is no number (1e6 is a text in YAML: write 1000000)")
            elif kind == "string":
                self.wrong(place, f"rule: {key} says nothing of a string: use {key}length")
        if kind in NUMBERS:
            for key in OF_TEXTS & rule.keys():
                self.wrong(place, f"rule: {key} says nothing of a value of type {kind}: use min and max")

    def check_default(self, field: Field, place: str) -> None:
        """A default goes to its column as it stands, so it must be a value of the column's type."""
        if "default" not in field.rule:
            return
        default, kinds = field.rule["default"], DEFAULTS.get(field.type, (str,))
        fits = type(default) in kinds
        if fits and field.type == "JSON":
            try:
                fits = canonical(default) == default
            except ValueError:
                fits = False
        if not fits:
            self.wrong(
                place, f"rule: default {default!r} is no {field.type} (JSON: a text, keys sorted, without spaces)"
            )

    # --- sites

    def site(self, name: Any, body: Any, shapes: dict[str, tuple[Field, ...]]) -> Site | None:
        place, before = f"site {name}", len(self.mistakes)
        if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
            self.wrong(place, "a site's name is small letters, digits and underscores, a letter first, at most 63")
        members = schema.SITE
        given = self.mapping(body, place, members.keys())
        fields = shapes.get(str(given.get("shape")))
        if fields is None:
            self.wrong(place, f"shape: {given.get('shape')!r} is not one of {', '.join(shapes) or 'the shapes (none)'}")
        unknown = self.member(given, place, members["unknown"])
        if unknown and (unknown in {field.name for field in fields or ()} or unknown in RESERVED):
            self.wrong(place, f"unknown: {unknown} is a field already; give the column another name")
        site = Site(
            name=str(name),
            method=self.member(given, place, members["method"]),
            description=self.member(given, place, members["description"]),
            fields=fields or (),
            batch=self.batch(given.get("batch"), place),
            table=self.table(given.get("table"), place, str(name), fields or ()),
            origins=self.origins(given.get("origins"), place),
            privacy=self.privacy(given.get("privacy"), place),
            unknown=unknown,
            alerts=self.member(given, place, members["alerts"]),
            cookie_domain=self.member(given, place, members["cookie_domain"]),
            callers=self.member(given, place, members["callers"]),
            daily_cap=self.member(given, place, members["daily_cap"]),
            tracker=self.tracker(given.get("tracker"), place),
        )
        self.check_tracker(site, place)
        return site if len(self.mistakes) == before else None

    def batch(self, body: Any, site: str) -> Batch:
        place, members = f"{site}, batch", schema.BATCH
        given = self.mapping(body, place, members.keys())
        rows = self.member(given, place, members["rows"])
        return Batch(rows=rows, seconds=float(self.member(given, place, members["seconds"])))

    def table(self, body: Any, site: str, name: str, fields: tuple[Field, ...]) -> TableForm:
        place, members = f"{site}, table", schema.TABLE
        given = self.mapping(body, place, members.keys())
        cluster = given.get("cluster", [])
        names = {field.name for field in fields if field.type not in ("JSON", "FLOAT64")}
        if (
            not isinstance(cluster, list)
            or len(set(map(str, cluster))) != len(cluster[:4])
            or (fields and not names.issuperset(map(str, cluster)))
        ):
            self.wrong(place, f"cluster: {cluster!r} must be {members['cluster'].what}")
            cluster = []
        own = self.member(given, place, members["name"]) or name
        days = self.member(given, place, members["expiry_days"])
        form = self.member(given, place, members["form"])
        if form == "daily" and days is not None:
            self.wrong(
                place, "expiry_days: is for form: partitioned; tables of single days stay until they are deleted"
            )
        return TableForm(name=own, form=form, cluster=tuple(map(str, cluster)), expiry_days=days)

    def origins(self, body: Any, site: str) -> Origins:
        place, members = f"{site}, origins", schema.ORIGINS
        given = self.mapping(body, place, members.keys())
        allow = given.get("allow", [])
        pattern = r"https?://[a-z0-9.\-]+(:\d+)?|https?://\[[0-9a-f:]+\](:\d+)?"
        if not isinstance(allow, list) or not all(isinstance(one, str) and re.fullmatch(pattern, one) for one in allow):
            self.wrong(place, f"allow: must be {members['allow'].what}")
            allow = []
        enforce = self.member(given, place, members["enforce"])
        if enforce and not allow:
            self.wrong(place, "enforce: true would refuse every page: list some in allow")
        return Origins(allow=frozenset(allow), enforce=enforce)

    def privacy(self, body: Any, site: str) -> Privacy:
        place, members = f"{site}, privacy", schema.PRIVACY
        given = self.mapping(body, place, members.keys())
        mask = given.get("mask")
        if mask is not None and (not isinstance(mask, list) or not all(map(is_text, mask))):
            self.wrong(place, f"mask: must be {members['mask'].what}")
            mask = None
        return Privacy(
            policy=self.member(given, place, members["policy"]),
            consent=self.member(given, place, members["consent"]),
            mask=None if mask is None else frozenset(one.lower() for one in mask),
        )

    def tracker(self, body: Any, site: str) -> Tracker:
        place, members = f"{site}, tracker", schema.TRACKER
        given = self.mapping(body, place, members.keys())
        hosts = given.get("redirect", [])
        if not isinstance(hosts, list) or not all(map(schema.is_domain, hosts)):
            self.wrong(place, f"redirect: must be {members['redirect'].what}")
            hosts = []
        return Tracker(
            script=self.member(given, place, members["script"]),
            path=self.member(given, place, members["path"]),
            endpoint=self.member(given, place, members["endpoint"]),
            cookie=self.member(given, place, members["cookie"]),
            redirect=tuple(host.lower() for host in hosts),
        )

    def check_tracker(self, site: Site, place: str) -> None:
        tracker, place = site.tracker, f"{place}, tracker"
        if tracker != self.tracker(None, place) and site.method not in TRACKED:
            self.wrong(place, f"is for sites of method {' and '.join(TRACKED)}, whose beacons a script sends")
        if tracker.redirect and site.method != "swallow":
            self.wrong(place, "redirect: is for sites of method swallow, to which redirect.html sends")
        if tracker.script == "full" and site.method == "pirate":
            self.wrong(place, "script: full is for sites of method swallow; there is one script for forms")
        if tracker.cookie == "arms" and site.cookie_domain is None:
            self.wrong(place, "cookie: arms needs the site's cookie_domain: pages and arms share the cookie by it")
        if tracker.cookie == "arms" and not site.origins.allow:
            self.wrong(
                place, "cookie: arms needs the site's origins, allow: browsers send cookies to who lists the page"
            )
        if tracker.cookie == "arms" and not site.has_sid:
            self.wrong(place, "cookie: arms needs a field sid in the shape, with from: query or form")
