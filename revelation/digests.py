"""Digests: what stands in place of messages that were held back, and of records that were dropped. Pure.

A digest is an entry of `tell` like any other, with texts of our own, so that it goes the same way as what it is about.
"""

from collections.abc import Mapping
from typing import Any

_HELD = "{{ count }} more of {{ rule }} ({{ site }}) since {{ dt | local }}, held back by its limits"
_DROPPED = "{{ count }} records of {{ site }} were never looked at: revelation was away too long (to {{ dt | local }})"


def held(action: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return the entry that sums up messages that a limit held back."""
    return _instead(action, kind, _HELD)


def dropped(action: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return the entry that tells of records which the full list of a site dropped."""
    return _instead(action, kind, _DROPPED)


def _instead(action: Mapping[str, Any], kind: str, text: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"to": action["to"]}
    if kind == "sheets":
        first = next(iter(action["row"]))
        return entry | {"worksheet": action["worksheet"], "row": {first: text}}
    if kind == "webhook":
        return entry | {"body": {"rule": "{{ rule }}", "site": "{{ site }}", "count": "{{ count }}", "text": text}}
    if kind == "mail":
        entry["subject"] = "{{ rule }}: {{ count }} more"
    return entry | {"text": text}
