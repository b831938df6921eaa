"""The check before anything starts: every mistake in the settings and in sites.yaml, at once, a line each."""

import re
from collections.abc import Mapping

from management.programs import with_defaults
from oceanus import sites
from oceanus.errors import MisconfiguredError
from oceanus.settings import (
    ArmsSettings,
    R2bqSettings,
    SitesSettings,
    TableManagerSettings,
    UpSettings,
    WarehouseSettings,
    read,
)

_GROUPS = (UpSettings, ArmsSettings, R2bqSettings, TableManagerSettings)


def mistakes(environ: Mapping[str, str]) -> list[str]:
    """Return a line for each mistake that would stop a process that `oceanus up` starts."""
    whole = with_defaults(environ)
    found = [line for group in _GROUPS for line in _read(group, whole)]
    return [*_one_for_each_variable(found), *_half_an_emulator(whole), *_sites(whole)]


def summary(environ: Mapping[str, str]) -> str:
    """Return the line that says that all is well; raises MisconfiguredError if it is not."""
    file = read(SitesSettings, with_defaults(environ)).file
    declared = sites.load(file)
    shapes = ", ".join(
        f"{sum(site.method == method for site in declared.values())} {method}" for method in sites.METHODS
    )
    return f"sites.yaml: {len(declared)} sites ({shapes}) in {file}: ok"


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
        sites.load(read(SitesSettings, environ).file)
    except MisconfiguredError as exc:
        return exc.mistakes
    return []
