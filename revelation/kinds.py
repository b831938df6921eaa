"""The kinds of destinations: what each must say about itself, and which variables hold its secrets. Pure.

A mistake never repeats what stands there: it may be the secret itself, where the name of its variable belongs.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

OPTIONS: dict[str, frozenset[str]] = {
    "slack": frozenset(("channel", "token", "webhook")),
    "sheets": frozenset(("spreadsheet",)),
    "mail": frozenset(("to", "from")),
    "webhook": frozenset(("url", "secret")),
    "print": frozenset(),
}
KINDS = tuple(OPTIONS)
# What an entry of `tell` must and may have beside `to`.
NEEDS: dict[str, frozenset[str]] = {
    "slack": frozenset(("text",)),
    "sheets": frozenset(("worksheet", "row")),
    "mail": frozenset(("subject", "text")),
    "webhook": frozenset(),
    "print": frozenset(("text",)),
}
MAY: dict[str, frozenset[str]] = {
    "slack": frozenset(("fields", "history")),
    "mail": frozenset(("history",)),
    "webhook": frozenset(("body",)),
}
SECRETS = ("token", "webhook", "secret")
SPREADSHEET_VARIABLE = "SPREAD_SHEET_KEY"
MAIL_VARIABLE = "SMTP_HOST"
RECIPIENTS = 50
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
# html.spec.whatwg.org/multipage/input.html#valid-e-mail-address
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(?:\.{_LABEL})*")


def troubles(kind: str, options: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the members of a destination, a sentence for each mistake."""
    found = [
        f"{name}: must be the name of an environment variable, such as SLACK_BOT_TOKEN, not the secret itself"
        for name in SECRETS
        if name in OPTIONS[kind] and name in options and not _is_variable(options[name])
    ]
    return found + {"slack": _slack, "sheets": _sheets, "mail": _mail, "webhook": _webhook}.get(kind, _none)(options)


def variables(kind: str, options: Mapping[str, Any]) -> list[str]:
    """Return the environment variables that a destination needs."""
    named = [options[name] for name in SECRETS if name in options]
    if kind == "mail":
        named.append(MAIL_VARIABLE)
    return [*named, SPREADSHEET_VARIABLE] if kind == "sheets" and "spreadsheet" not in options else named


def _none(options: Mapping[str, Any]) -> list[str]:
    return []


def _slack(options: Mapping[str, Any]) -> list[str]:
    if ("webhook" in options) == ("token" in options):
        return ["needs either channel and token, or webhook alone"]
    if "webhook" in options and "channel" in options:
        return ["channel: a webhook has its channel already; give channel and token, or webhook alone"]
    if "token" in options and not _is_word(options.get("channel")):
        return ['channel: must be a channel in quotes, such as "#shop"']
    return []


def _sheets(options: Mapping[str, Any]) -> list[str]:
    key = options.get("spreadsheet")
    if "spreadsheet" in options and not (isinstance(key, str) and re.fullmatch(r"[A-Za-z0-9_-]+", key)):
        return ["spreadsheet: must be a spreadsheet's key: what stands between /d/ and /edit in its address"]
    return []


def _mail(options: Mapping[str, Any]) -> list[str]:
    to, found = options.get("to"), []
    if not isinstance(to, list) or not 1 <= len(to) <= RECIPIENTS or not all(map(_is_address, to)):
        found.append(f"to: must be a list of 1 to {RECIPIENTS} mail addresses, such as [shop@example.com]")
    if not _is_address(options.get("from")):
        found.append("from: must be a mail address, such as oceanus@example.com")
    return found


def _webhook(options: Mapping[str, Any]) -> list[str]:
    reason = _url_trouble(options.get("url"))
    return [f"url: {reason}"] if reason else []


def _url_trouble(url: Any) -> str | None:
    wanted = "must be an address such as https://crm.example.com/oceanus; http is for this machine alone"
    if not _is_word(url) or not url.isascii():
        return wanted
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return wanted
    if not parts.hostname or port == 0 or not _is_safe(parts):
        return wanted
    return "has a user or password in it: let the receiver check `secret`" if "@" in parts.netloc else None


def _is_safe(parts: SplitResult) -> bool:
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(str(parts.hostname)))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_variable(value: Any) -> bool:
    return isinstance(value, str) and _VARIABLE.fullmatch(value) is not None


def _is_address(value: Any) -> bool:
    return isinstance(value, str) and _ADDRESS.fullmatch(value) is not None


def _is_word(value: Any) -> bool:
    """Say whether a value is a text without blanks or control characters."""
    return isinstance(value, str) and bool(value) and value.isprintable() and " " not in value
