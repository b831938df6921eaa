"""The check before anything starts: every mistake in the settings and in sites.yaml, at once, a line each."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import Field, fields, is_dataclass
from difflib import get_close_matches
from typing import Any

from management.programs import alerts_file, with_defaults
from management.wording import counted
from oceanus import schema, sites
from oceanus.errors import MisconfiguredError
from oceanus.settings import (
    ArmsSettings,
    ConsoleSettings,
    R2bqSettings,
    RedisSettings,
    RevelationSettings,
    SitesSettings,
    TableManagerSettings,
    UpSettings,
    WarehouseSettings,
    read,
)
from oceanus.shards import shards
from revelation import rules

_GROUPS = (UpSettings, ArmsSettings, R2bqSettings, TableManagerSettings, ConsoleSettings)
_KNOWN = (*_GROUPS, RevelationSettings)
# A variable with one of these words in it is meant for us.
_WORDS = re.compile("SITES|ALERTS|SMTP_|OCEANUS|CONSOLE_|REDIS_PD|BIGQUERY|TRUST|DATA_SET|DATA_DIR|JOURNAL")
# How alike a name must be (difflib): with such a word in it, and without.
_LIKE_OURS, _LIKE_ANY = 0.75, 0.85
# Kubernetes gives every container such ones for each service: REDIS_PD_PORT=tcp://..., REDIS_PD_PORT_6379_TCP_ADDR.
_OF_KUBERNETES = re.compile(r"\w+_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)\w*)?)")


def mistakes(environ: Mapping[str, str]) -> list[str]:
    """Return a line for each mistake that would stop a process that `oceanus up` starts."""
    whole = with_defaults(environ)
    groups = [*_GROUPS, *([RevelationSettings] if _tells(whole) else [])]
    given = whole | ({"ALERTS_FILE": _alerts_file(whole)} if _tells(whole) else {})
    found = [line for group in groups for line in _read(group, given)]
    return [*_one_for_each_variable(found), *_half_an_emulator(whole), *_sites(whole), *_alerts(whole)]


def summary(environ: Mapping[str, str]) -> str:
    """Return the lines that say that all is well; raises MisconfiguredError if it is not."""
    file = read(SitesSettings, with_defaults(environ)).file
    declared = sites.load(file)
    shapes = ", ".join(
        f"{sum(site.method == method for site in declared.values())} {method}" for method in schema.METHODS
    )
    lines = [f"sites.yaml: {counted(len(declared), 'site')} ({shapes}) in {file}: ok"]
    alerts = _alerts_file(with_defaults(environ))
    if not alerts:
        lines.append("alerts.yaml: none, so that nobody is told of anything (ALERTS_FILE is not set)")
    else:
        lines.append(f"alerts.yaml: {counted(len(rules.load(alerts, declared).rules), 'rule')} in {alerts}: ok")
    return "\n".join(lines)


def warnings(environ: Mapping[str, str]) -> list[str]:
    """Return a line for each thing that stops nothing and is hardly meant so."""
    return [*_misspelt(environ), *_told_nobody(with_defaults(environ))]


def _misspelt(environ: Mapping[str, str]) -> list[str]:
    """Return a line for each variable that is none of ours and looks like a misspelt one."""
    ours = {*_variables(*_KNOWN), "JOURNAL_DIR"}
    lines = []
    for name in sorted(environ.keys() - ours):
        if not _OF_KUBERNETES.fullmatch(name):
            cutoff = _LIKE_OURS if _WORDS.search(name.upper()) else _LIKE_ANY
            meant = get_close_matches(name.upper(), sorted(ours), n=1, cutoff=cutoff)
            lines += [f"{name} is set and means nothing: is {one} meant?" for one in meant]
    return lines


def _told_nobody(environ: Mapping[str, str]) -> list[str]:
    """Return a line if there are sites whose records may be told, and no alerts.yaml that says to whom."""
    try:
        declared = sites.load(read(SitesSettings, environ).file)
        names = sorted(name for name, site in declared.items() if site.alerts and not _alerts_file(environ))
    except MisconfiguredError:
        return []  # told already
    if not names:
        return []
    return [
        f"{', '.join(names)}: alerts: true, and ALERTS_FILE is not set: where no revelation runs, what it should tell "
        "waits in Redis and takes its memory"
    ]


def _read(group: type[object], environ: Mapping[str, str]) -> list[str]:
    try:
        read(group, environ)
    except MisconfiguredError as exc:
        return exc.mistakes
    return []


def _one_for_each_variable(lines: list[str]) -> list[str]:
    """Keep the first line about each variable: several processes may read the same one."""
    first: dict[str, str] = {}
    for line in lines:
        first.setdefault(re.split(r"\W", line, maxsplit=1)[0], line)
    return list(first.values())


def _half_an_emulator(environ: Mapping[str, str]) -> list[str]:
    try:
        warehouse = read(WarehouseSettings, environ)
    except MisconfiguredError:
        return []
    if bool(warehouse.emulator) == bool(warehouse.storage_emulator):
        return []
    missing = "BIGQUERY_STORAGE_EMULATOR_HOST" if warehouse.emulator else "BIGQUERY_EMULATOR_HOST"
    return [f"{missing} is not set: a local BigQuery needs both addresses, real BigQuery neither"]


def _sites(environ: Mapping[str, str]) -> list[str]:
    try:
        declared = sites.load(read(SitesSettings, environ).file)
    except MisconfiguredError as exc:
        return exc.mistakes
    try:
        redis = read(RedisSettings, environ)
    except MisconfiguredError:
        return []  # told already
    try:
        shards(redis, declared)
    except MisconfiguredError as exc:
        return exc.mistakes
    return []


def _alerts(environ: Mapping[str, str]) -> list[str]:
    """Return the mistakes in alerts.yaml, and in what its destinations need of the environment."""
    try:
        file, declared = _alerts_file(environ), sites.load(read(SitesSettings, environ).file)
    except MisconfiguredError:
        return []  # told already
    if not file:
        return []
    try:
        found = rules.load(file, declared)
    except MisconfiguredError as exc:
        return exc.mistakes
    return rules.unset(found, environ)


def _tells(environ: Mapping[str, str]) -> bool:
    """Say whether revelation would run."""
    try:
        return bool(_alerts_file(environ))
    except MisconfiguredError:
        return False


def _alerts_file(environ: Mapping[str, str]) -> str:
    return alerts_file(read(UpSettings, environ))


def _variables(*groups: type[Any]) -> Iterator[str]:
    """Yield the name of every variable that these settings declare."""
    for group in groups:
        member: Field[Any]
        for member in fields(group):
            if isinstance(member.type, type) and is_dataclass(member.type):
                yield from _variables(member.type)
            elif "name" in member.metadata:
                yield member.metadata["name"]
