"""The schema of sites.yaml: what each mapping in it may hold, by what name, and what it means. Pure.

`oceanus.sites` reads the file by it, and docs/configuration.md is written from it: a member is declared here alone.
"""

import re
from collections.abc import Mapping
from typing import Any

from oceanus.declared import Member, is_boolean, is_natural, is_text
from oceanus.rules import STEPS

METHODS = ("swallow", "gaze", "pierce", "pirate")
SOURCES = ("query", "form", "header", "clock", "address", "device")
TYPES = ("STRING", "TIMESTAMP", "JSON", "INT64", "FLOAT64", "BOOL")
# Methods whose beacons a script on a page sends.
TRACKED = ("swallow", "pirate")
# The first part of every path that arms has for itself.
RESERVED_PATHS = (
    *METHODS,
    "static",
    "hc",
    "lb",
    "rstatus",
    "metrics",
    "robots.txt",
    "favicon.ico",
)
# Parameters that mean something to arms itself, so that no field may be called so; `eid` is in every record already.
RESERVED = ("debug", "cid", "re", "v", "eid", "received")
# cloud.google.com/bigquery/docs/schemas#column_names
RESERVED_COLUMNS = ("_table_", "_file_", "_partition", "_row_timestamp", "__root__", "_colidentifier")
DESCRIPTION_CHARACTERS = 1024
EXPIRY_DAYS = 36_500
BATCH_SECONDS = 3600
POLICY_TAG = "projects/PROJECT/locations/LOCATION/taxonomies/NUMBER/policyTags/NUMBER"
COLUMN = re.compile(r"[a-z_][a-z0-9_]{0,63}")
_POLICY_TAG = re.compile(r"projects/[a-z0-9.:-]+/locations/[a-z0-9-]+/taxonomies/[0-9]+/policyTags/[0-9]+")
_TABLE = re.compile(r"[A-Za-z0-9_]{1,200}")
_PATH = re.compile(r"(?=.{2,200}\Z)(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
_DOMAIN = re.compile(r"\.?[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", re.IGNORECASE)
_FREE_PATH = f"letters, digits, . _ ~ and - between slashes, not below /{', /'.join(RESERVED_PATHS)}"


def is_domain(value: Any) -> bool:
    """Say whether a value is a domain, or one that begins with a dot and means all below it."""
    return isinstance(value, str) and bool(_DOMAIN.fullmatch(value))


def _is_column(value: Any) -> bool:
    return isinstance(value, str) and bool(COLUMN.fullmatch(value))


def _is_description(value: Any) -> bool:
    return is_text(value) and len(value) <= DESCRIPTION_CHARACTERS


def _is_policy_tag(value: Any) -> bool:
    return isinstance(value, str) and bool(_POLICY_TAG.fullmatch(value))


def _is_table(value: Any) -> bool:
    return isinstance(value, str) and bool(_TABLE.fullmatch(value))


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and bool(_PATH.fullmatch(value)) and value.split("/")[1] not in RESERVED_PATHS


def _is_script_path(value: Any) -> bool:
    return _is_path(value) and str(value).endswith(".js")


def _is_days(value: Any) -> bool:
    return is_natural(value) and value <= EXPIRY_DAYS


def _is_seconds(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and 0 < value <= BATCH_SECONDS


def _by_name(*members: Member) -> Mapping[str, Member]:
    return {member.name: member for member in members}


FILE = _by_name(
    Member(name="shapes", needed=True, what="a mapping", meaning="The shapes of records, by name."),
    Member(name="sites", needed=True, what="a mapping of at least one site", meaning="The sites, by name."),
)

SHAPE = _by_name(
    Member(name="description", what="a text", meaning="What the shape is for; for readers of the file."),
    Member(name="extends", what="another shape of the file", meaning="Take its fields, and give here what differs."),
    Member(name="fields", what="a mapping", meaning="The fields, by name; a field's name is its column's, too."),
)

FIELD = _by_name(
    Member(
        name="from",
        needed=True,
        what="one of query, form, header:NAME, clock, address or device:FIELD",
        meaning=(
            "Where the value comes from: a parameter of the query; a form field, or else the query; a header; "
            "the receive time; the client's address; the device that the user agent in FIELD tells of."
        ),
    ),
    Member(
        name="normal",
        default=[],
        what="a list of steps, such as [lower, {cut: 512}]",
        meaning=f"Steps before the rule, one after another: {', '.join(STEPS)} (`{{cut: N}}`, `{{remove: TEXT}}`).",
    ),
    Member(
        name="rule",
        default={},
        what="a mapping of Cerberus's rules",
        meaning=(
            "What the value must be. A pattern (`regex`) matches to the very end; `check_with: address` takes IPv4 and "
            "IPv6; `required` and `default` are part of the rule."
        ),
    ),
    Member(
        name="type",
        default="STRING",
        choices=TYPES,
        meaning="The column's type. JSON, INT64, FLOAT64, BOOL need their step in `normal`; TIMESTAMP is the clock's.",
    ),
    Member(
        name="mode",
        default="NULLABLE",
        choices=("NULLABLE", "REQUIRED"),
        meaning="Mode of the column. REQUIRED needs `required: true` or a `default` in the rule.",
    ),
    Member(
        name="description",
        default="",
        fits=_is_description,
        what=f"a text of at most {DESCRIPTION_CHARACTERS} characters",
        meaning="What an analyst reads beside the column.",
    ),
    Member(
        name="anonymous",
        default="keep",
        choices=("keep", "blank", "cut"),
        meaning="For who objects at a site with `policy: anonymous`: blank it, or cut an address to /24 or /48.",
    ),
    Member(
        name="policy_tag",
        default="",
        fits=_is_policy_tag,
        what=f"named as {POLICY_TAG}",
        meaning="Who may read the column (docs/security.md).",
    ),
)

SITE = _by_name(
    Member(
        name="method",
        needed=True,
        choices=METHODS,
        meaning="How its beacons come: from a browser, from an opened mail, from a server, from a form.",
    ),
    Member(name="shape", needed=True, what="one of the shapes", meaning="What its records hold."),
    Member(name="description", default="", fits=is_text, what="a text", meaning="What the site is, on its table, too."),
    Member(name="batch", what="a mapping", meaning="When to write."),
    Member(name="table", what="a mapping", meaning="Where the rows go."),
    Member(name="origins", what="a mapping", meaning="Which pages may read answers, and send."),
    Member(name="privacy", what="a mapping", meaning="What becomes of who objects, and what is blanked for all."),
    Member(name="tracker", what="a mapping", meaning="How pages get their script (docs/tracker.md)."),
    Member(
        name="unknown",
        fits=_is_column,
        what="the name of a JSON column",
        meaning="A column that takes the parameters which no field declares. Without it they are passed over.",
    ),
    Member(
        name="alerts",
        default=False,
        fits=is_boolean,
        what="true or false",
        meaning="true: alerts.yaml may have rules for it (docs/alerts.md).",
    ),
    Member(
        name="cookie_domain",
        fits=is_domain,
        what="a domain such as shop.example",
        meaning="Domain of the tracker's cookie.",
    ),
    Member(
        name="callers",
        default="token",
        choices=("token", "any"),
        meaning="For pierce: who may give address and agent by parameter: callers with TRUST_TOKEN, or anyone.",
    ),
    Member(
        name="daily_cap",
        fits=is_natural,
        what="a whole number of beacons, at least 1",
        meaning="Beacons accepted a day (UTC), over all arms; others are answered 429 until midnight.",
    ),
)

BATCH = _by_name(
    Member(
        name="rows",
        default=50,
        fits=is_natural,
        what="a whole number of at least 1",
        meaning="Write as soon as so many wait.",
    ),
    Member(
        name="seconds",
        default=1,
        fits=_is_seconds,
        what=f"a number above 0, at most {BATCH_SECONDS}",
        meaning="Write when the oldest has waited so long.",
    ),
)

TABLE = _by_name(
    Member(
        name="form",
        default="partitioned",
        choices=("partitioned", "daily"),
        meaning="One table with a partition for each UTC day, or a table for each (NAME_YYYYMMDD, all STRING).",
    ),
    Member(
        name="name",
        fits=_is_table,
        what="letters, digits and underscores",
        meaning="The table's name; the site's, if it is not given. BQ_TABLE_PREFIX stands before it.",
    ),
    Member(
        name="cluster",
        default=[],
        what="up to 4 different fields of the shape that are not JSON or FLOAT64",
        meaning="Cluster the table by them, in this order.",
    ),
    Member(
        name="expiry_days",
        fits=_is_days,
        what=f"a whole number of days, at least 1, at most {EXPIRY_DAYS}",
        meaning="Partitions older than this are dropped by BigQuery. Without it they stay. For `form: partitioned`.",
    ),
)

ORIGINS = _by_name(
    Member(
        name="allow",
        default=[],
        what="a list of origins such as https://www.example.com, without a path",
        meaning="Pages that may read the answers, with their cookies. Empty: any page, without cookies.",
    ),
    Member(
        name="enforce",
        default=False,
        fits=is_boolean,
        what="true or false",
        meaning="true: beacons of other pages are answered 403.",
    ),
)

PRIVACY = _by_name(
    Member(
        name="policy",
        default="keep",
        choices=("keep", "anonymous", "drop"),
        meaning="For who objects by Sec-GPC, DNT or consent: keep all, do as `anonymous` says, or store nothing.",
    ),
    Member(
        name="consent",
        fits=is_text,
        what="the name of a query parameter",
        meaning="The parameter that says so (denied, 0, no, false).",
    ),
    Member(
        name="mask",
        what="a list of query parameters, such as [token, email]",
        meaning="Blank these in `url` and `ref`, and e-mail addresses with them, for everyone.",
    ),
)

TRACKER = _by_name(
    Member(name="script", default="core", choices=("core", "full"), meaning="Which script its pages load."),
    Member(
        name="path",
        fits=_is_script_path,
        what=f"a path such as /a/b.js: {_FREE_PATH}",
        meaning="The script is served there, too.",
    ),
    Member(
        name="endpoint",
        fits=_is_path,
        what=f"a path such as /x: {_FREE_PATH}",
        meaning="Beacons are taken there, too.",
    ),
    Member(
        name="cookie",
        default="script",
        choices=("script", "arms", "none"),
        meaning="Who sets the visitor's cookie: the script; arms, too, which keeps it for longer; nobody.",
    ),
    Member(
        name="redirect",
        default=[],
        what="a list of hosts such as www.shop.example, or .shop.example for all below",
        meaning="Where redirect.html may go.",
    ),
)
