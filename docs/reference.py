"""docs/configuration.md, written from what the code itself reads: `make docs` writes it, and a test compares it."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, fields, is_dataclass
from pathlib import Path
from typing import Any

from oceanus import schema, settings
from oceanus.declared import Member

PAGE = Path(__file__).with_name("configuration.md")
# What each process, and the command for operators, reads.
READERS: Mapping[str, tuple[type[Any], ...]] = {
    "arms": (settings.ArmsSettings, settings.LogSettings),
    "r2bq": (settings.R2bqSettings,),
    "table_manager": (settings.TableManagerSettings,),
    "revelation": (settings.RevelationSettings,),
    "console": (settings.ConsoleSettings, settings.UpSettings, settings.RedisSettings, settings.WarehouseSettings),
    "oceanus": (settings.UpSettings, settings.RedisSettings, settings.WarehouseSettings, settings.SitesSettings),
}
TITLES: Mapping[type[Any], str] = {
    settings.UpSettings: "`oceanus up`",
    settings.SitesSettings: "Sites",
    settings.RedisSettings: "Redis",
    settings.WarehouseSettings: "BigQuery",
    settings.LogSettings: "Log",
    settings.ArmsSettings: "arms",
    settings.R2bqSettings: "r2bq",
    settings.TableManagerSettings: "table_manager",
    settings.RevelationSettings: "revelation",
    settings.MailSettings: "Mail",
    settings.ConsoleSettings: "Console",
}
MAPPINGS: Mapping[str, tuple[str, Mapping[str, Member]]] = {
    "The file": ("At the top.", schema.FILE),
    "A shape": ("Below `shapes`: what records hold. Each needs a field `dt` with `from: clock`.", schema.SHAPE),
    "A field": ("Below `fields` of a shape. `eid`, the event id, is in every record by itself.", schema.FIELD),
    "A site": ("Below `sites`: where beacons come from, and where they go.", schema.SITE),
    "batch": ("Of a site.", schema.BATCH),
    "table": ("Of a site.", schema.TABLE),
    "origins": ("Of a site.", schema.ORIGINS),
    "privacy": ("Of a site.", schema.PRIVACY),
    "tracker": ("Of a site of method swallow or pirate.", schema.TRACKER),
}
# What a parser takes, in fewer words than its own sentence has.
TAKES: Mapping[Callable[[str], Any], str] = {
    settings.text: "text",
    settings.required: "text",
    settings.switch: "1 or 0",
    settings.port: "a port number",
}
UNITS = {"SECOND": "seconds", "SECONDS": "seconds", "BYTES": "bytes"}
HEAD = """# Configuration

<!-- Written by `make docs` from oceanus/settings.py and oceanus/schema.py: a change belongs there. -->

Processes are configured by environment variables, sites by one file, `sites.yaml`. Both are read whole at the start.
Each mistake is one line that names the variable, or the place in the file, and a process with mistakes does not start.
`oceanus check` names them all, and starts nothing. `alerts.yaml`, which says who is told of what, has a page of its
own, [alerts.md](alerts.md); its destinations name the variables that hold their secrets.

This page is written from the code.
"""
SETTINGS = """
## Environment variables

A variable that is empty counts as not set. What you set for `oceanus up`, it hands on to the processes that it starts.

| where it runs | where a variable is put | for instance |
|---|---|---|
| in a checkout | the shell of `make up` | `RATE_PER_ADDRESS=20 make up` |
| [one machine](one-machine.md#settings) | `/etc/oceanus/oceanus.env`, secrets `secrets.env` beside it; then a restart \
| `RATE_PER_ADDRESS=20` |
| [Kubernetes](gke.md#change) | `target.env` of the overlay has project, dataset and name; all else is a patch of \
its `kustomization.yaml`, as `TRUSTED_PROXIES` is there; secrets are in [Secrets](gke.md#secrets); \
then `oceanus k8s deploy` | \
`env: [{name: RATE_PER_ADDRESS, value: "20"}]` |
"""
SITES = """
## sites.yaml

[oceanus/sample_sites.yaml](../oceanus/sample_sites.yaml) is a whole file, with comments. A member that is not
known is a mistake, and so is a key that is given twice.
"""


def page() -> str:
    """Return the page."""
    parts = [HEAD, SETTINGS, *map(variables, TITLES), ignored(), SITES]
    parts += [members(title, *told) for title, told in MAPPINGS.items()]
    return "".join(parts)


def variables(group: type[Any]) -> str:
    """Return the section of a group of settings."""
    lines = [f"| `{name}` | {default} | {takes} | {meaning} |" for name, default, takes, meaning in rows(group)]
    head = ["", f"### {TITLES[group]}", "", f"{said(group)} Read by {readers(group)}.", ""]
    return "\n".join([*head, "| variable | default | takes | meaning |", "|---|---|---|---|", *lines, ""])


def rows(group: type[Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, default, what it takes, and meaning of every variable that a group declares itself."""
    for one in fields(group):
        if "name" not in one.metadata:
            continue
        name, default = one.metadata["name"], one.metadata["default"]
        shown = "must be set" if default is None else f"`{default}`" if default else "empty"
        yield name, shown, takes(name, one.metadata["parse"]), cell(one.metadata["meaning"])


def takes(name: str, parse: Callable[[str], Any]) -> str:
    """Return what a variable takes, by its parser's own sentence, with the unit that its name says."""
    sentence = TAKES.get(parse) or said(parse).removeprefix("Take ").removesuffix(".")
    unit = UNITS.get(name.rpartition("_")[2])
    return cell(f"{unit}: {sentence}" if unit else sentence)


def readers(group: type[Any]) -> str:
    """Return who reads a group, in words."""
    names = [name for name, roots in READERS.items() if any(group in within(root) for root in roots)]
    told = ["the command `oceanus`" if name == "oceanus" else name for name in names]
    return " and ".join([", ".join(told[:-1]), told[-1]] if told[1:] else told)


def within(group: type[Any]) -> Iterator[type[Any]]:
    """Yield a group of settings and all that it is made of."""
    yield group
    member: Field[Any]
    for member in fields(group):
        if isinstance(member.type, type) and is_dataclass(member.type):
            yield from within(member.type)


def ignored() -> str:
    """Return the paragraph on what the original's variables mean here."""
    names = ", ".join(f"`{name}`" for name in settings.IGNORED)
    lead = "The original read these. Where one is set, a line at the start says that it means nothing any more"
    return f"\n### Without meaning\n\n{lead}: {names}.\n"


def members(title: str, lead: str, mapping: Mapping[str, Member]) -> str:
    """Return the section of a mapping of sites.yaml."""
    lines = [f"| `{one.name}` | {default(one)} | {allowed(one)} | {cell(one.meaning)} |" for one in mapping.values()]
    return "\n".join(
        ["", f"### {title}", "", lead, "", "| member | default | takes | meaning |", "|---|---|---|---|", *lines, ""]
    )


def default(member: Member) -> str:
    """Return what counts where a member is not given."""
    if member.needed:
        return "must be given"
    return "none" if member.default in (None, "", {}, []) else f"`{json.dumps(member.default).strip('"')}`"


def allowed(member: Member) -> str:
    """Return what a member takes."""
    if member.name in MAPPINGS:
        return f"[a mapping](#{member.name})"
    return ", ".join(f"`{choice}`" for choice in member.choices) or cell(member.what)


def said(thing: object) -> str:
    """Return the first sentence that a group or a parser says of itself."""
    return cell(str(thing.__doc__).partition("\n")[0])


def cell(text: str) -> str:
    """Return a text as a table's cell holds it; a page of docs/ becomes a link."""
    text = text.replace("|", "\\|").replace("*", "\\*")
    return re.sub(r"docs/([a-z-]+\.md)", r"[\1](\1)", text)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
