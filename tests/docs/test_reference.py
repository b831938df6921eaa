"""docs/configuration.md says what the code reads: every variable, and every member of sites.yaml."""

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs import reference
from oceanus import schema, settings, sites
from oceanus.errors import MisconfiguredError

TOP = Path(__file__).parents[2]
PAGE = reference.PAGE.read_text(encoding="utf-8")
GROUPS = {name: one for name, one in vars(settings).items() if name.endswith("Settings") and is_dataclass(one)}
WHOLE = """
shapes:
  base: {description: d, fields: {dt: {from: clock, type: TIMESTAMP, mode: REQUIRED}}}
  short:
    description: What a shop tells.
    extends: base
    fields:
      sid: {from: query, normal: [lower], rule: {type: string, required: true}, type: STRING, mode: REQUIRED,
            description: Session., anonymous: blank,
            policy_tag: projects/p/locations/eu/taxonomies/1/policyTags/2}
sites:
  shop:
    method: swallow
    shape: short
    description: A shop.
    batch: {rows: 5, seconds: 2}
    table: {form: partitioned, name: visits, cluster: [sid], expiry_days: 90}
    origins: {allow: ["https://shop.example"], enforce: true}
    privacy: {policy: drop, consent: consent, mask: [token]}
    tracker: {script: full, path: /a/b.js, endpoint: /x, cookie: arms, redirect: [shop.example]}
    unknown: rest
    alerts: true
    cookie_domain: shop.example
    callers: any
    daily_cap: 1000
"""


def test_the_page_is_what_the_code_reads_now() -> None:
    assert reference.page() == PAGE, "make docs writes it anew"


def test_every_variable_is_on_the_page_with_a_meaning() -> None:
    declared = {one.metadata["name"] for group in GROUPS.values() for one in fields(group) if "name" in one.metadata}
    told = dict(re.findall(r"^\| `([A-Z0-9_]+)` \|.*\| (.+) \|$", PAGE, re.MULTILINE))

    assert declared == told.keys()
    assert set(reference.TITLES) == set(GROUPS.values())


def read_in(folder: str) -> set[type[Any]]:
    """Return the groups of settings that the modules of a folder read."""
    text = "".join(file.read_text(encoding="utf-8") for file in (TOP / folder).glob("*.py"))
    return {GROUPS[name] for name in re.findall(r"\bread\((\w+Settings)\b", text)}


@pytest.mark.parametrize("process", ["arms", "r2bq", "table_manager", "revelation"])
def test_a_process_reads_the_settings_that_the_page_says(process: str) -> None:
    assert read_in(process) == set(reference.READERS[process])


def test_the_command_and_the_console_read_the_settings_that_the_page_says() -> None:
    assert read_in("management") - {settings.ArmsSettings} == set(reference.READERS["oceanus"])
    assert read_in("management/console") <= set(reference.READERS["console"])


def without(document: Any, path: tuple[str, ...]) -> str:
    """Return the document, as text, without what stands at a path."""
    copy = yaml.safe_load(yaml.safe_dump(document))
    below = copy
    for key in path[:-1]:
        below = below[key]
    del below[path[-1]]
    return yaml.safe_dump(copy, sort_keys=False)


MAPPINGS = {
    (): schema.FILE,
    ("shapes", "short"): schema.SHAPE,
    ("shapes", "short", "fields", "sid"): schema.FIELD,
    ("sites", "shop"): schema.SITE,
    ("sites", "shop", "batch"): schema.BATCH,
    ("sites", "shop", "table"): schema.TABLE,
    ("sites", "shop", "origins"): schema.ORIGINS,
    ("sites", "shop", "privacy"): schema.PRIVACY,
    ("sites", "shop", "tracker"): schema.TRACKER,
}
PLACES = [(*place, name) for place, mapping in MAPPINGS.items() for name in mapping]


def test_a_site_may_hold_every_member_that_is_declared() -> None:
    document = yaml.safe_load(WHOLE)

    for *place, name in PLACES:
        below = document
        for key in place:
            below = below[key]
        assert name in below
    assert sites.parse(WHOLE)["shop"].table.name == "visits"
    assert {id(mapping) for _, mapping in reference.MAPPINGS.values()} == {id(one) for one in MAPPINGS.values()}


NEEDED = [place for place in PLACES if MAPPINGS[place[:-1]][place[-1]].needed]


@pytest.mark.parametrize("place", NEEDED, ids="-".join)
def test_what_must_be_given_is_a_mistake_when_it_is_not(place: tuple[str, ...]) -> None:
    with pytest.raises(MisconfiguredError):
        sites.parse(without(yaml.safe_load(WHOLE), place))


def test_all_else_may_be_left_out() -> None:
    least = {
        "shapes": {"short": {"fields": {"dt": {"from": "clock"}}}},
        "sites": {"shop": {"method": "swallow", "shape": "short"}},
    }

    assert {name for place in NEEDED for name in place} == {
        "shapes", "short", "fields", "sid", "from", "sites", "shop", "method", "shape"
    }  # fmt: skip
    assert list(sites.parse(yaml.safe_dump(least))) == ["shop"]


def test_the_sample_explains_every_member() -> None:
    comment = "\n".join(line for line in sites.SAMPLE.read_text(encoding="utf-8").splitlines() if line.startswith("#"))
    members = {name for mapping in MAPPINGS.values() for name in mapping} - {"shapes", "sites", "fields", "extends"}

    assert {name for name in members if not re.search(rf"\b{name}\b", comment)} == set()
