"""Deciding: which rules are true of a record, and the tellings that come of it. Pure.

A match is named by rule and record, and a telling by match and entry of `tell`, so that a record which is seen again
after a crash comes to the same names.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from oceanus import records
from oceanus.alerts import Held, Match, Rate
from oceanus.records import Record
from revelation import digests
from revelation.rules import Rule, Rules
from revelation.seen import Seen, getter
from revelation.telling import Telling

_getter = cache(getter)
ALL = "all"  # the limit over all rules; no rule has this name


def match(rule: Rule, seen: Seen, a_minute: int) -> Match:
    """Return what decides whether a record that a rule is true of is told. `a_minute`: messages of all rules."""
    limits, name, record = rule.limits, rule.name, seen.record
    eid = str(record["eid"])
    counting = once = None
    if rule.counting:
        counting = (_group(name, rule.counting.by, seen), rule.counting.more_than, rule.counting.seconds * 1000)
    if limits.once_seconds:
        once = (_group(name, limits.once_by, seen), limits.once_seconds * 1000)
    return Match(
        match=f"{name}:{eid}",
        rule=name,
        eid=eid,
        received_ms=records.received(record) // 1000,
        counting=counting,
        once=once,
        rates=tuple(_rates(rule, seen, a_minute)),
    )


def tellings(rule: Rule, rules: Rules, site: str, record: Record, count: int, now_us: int) -> Iterator[Telling]:
    """Yield what is told of a match, one for each entry of `tell`."""
    more = {"rule": rule.name, "site": site, "count": count if rule.counting else 0}
    for number, action in enumerate(rule.tell):
        yield _telling(f"{rule.name}:{record['eid']}:{number}", rule.name, rules, site, action, record, more, now_us)


def silent(rule: Rule, rules: Rules, last_ms: int, now_us: int) -> Iterator[Telling]:
    """Yield what is told when nothing has matched a rule of silence since `last_ms`."""
    record = {"eid": "", "dt": records.time_text(now_us)}
    more = {"rule": rule.name, "site": ", ".join(rule.sites), "count": 0, "last": records.time_text(last_ms * 1000)}
    for number, action in enumerate(rule.tell):
        key = f"{rule.name}:silence {last_ms}:{number}"
        yield _telling(key, rule.name, rules, rule.sites[0], action, record, more, now_us)


def held_back(held: Held, rule: Rule, rules: Rules, now_us: int) -> Iterator[Telling]:
    """Yield the digests of what a rule held back, one for each place that it tells."""
    record = {"eid": "", "dt": records.time_text(held.since_ms * 1000)}
    more = {"rule": rule.name, "site": ", ".join(rule.sites), "count": held.count}
    for number, action in enumerate(rule.tell):
        kind = rules.places[action["to"]].kind
        key = f"{rule.name}:held {held.since_ms}:{number}"
        yield _telling(key, rule.name, rules, rule.sites[0], digests.held(action, kind), record, more, now_us)


def dropped(site: str, rules: Rules, before: int, now: int, now_us: int) -> Iterator[Telling]:
    """Yield what is told of records that a full list dropped: once to each place that the site's rules tell.

    A site without rules has nobody to tell: it is left to the log and the metric.
    """
    record = {"eid": "", "dt": records.time_text(now_us)}
    told: set[str] = set()
    for rule in rules.by_site.get(site, ()):
        for action in rule.tell:
            place = rules.places[action["to"]]
            if place.name not in told:
                told.add(place.name)
                more = {"rule": rule.name, "site": site, "count": now - before}
                key = f"dropped {now} of {site}:{place.name}"
                shown = digests.dropped(action, place.kind)
                yield _telling(key, rule.name, rules, site, shown, record, more, now_us)


def again(telling: Telling, rules: Rules, now_us: int) -> Telling:
    """Return a dead letter that is to be told once more: with the texts of the rule as it is now, where it still tells.

    So a template that failed can be mended. A digest's texts are our own, and stay.
    """
    rule = rules.rules.get(telling.rule)
    entries = {
        f"{telling.key.rpartition(':')[0]}:{number}": entry for number, entry in enumerate(rule.tell if rule else ())
    }
    entry = entries.get(telling.key)
    if entry is None or entry["to"] != telling.destination or ":held " in telling.key:
        return replace(telling, made_us=now_us)
    return replace(telling, action=entry, zone=rules.zone.key, made_us=now_us)


def _rates(rule: Rule, seen: Seen, a_minute: int) -> Iterator[Rate]:
    limits = rule.limits
    if limits.a_minute is not None:
        yield Rate(key=rule.name, most=limits.a_minute)
    for name, most in limits.a_minute_each.items():
        yield Rate(key=f"{rule.name}:{name}:{_value(seen, name)}", most=most)
    yield Rate(key=ALL, most=a_minute, weight=len(rule.tell))


def _group(rule: str, by: str | None, seen: Seen) -> str:
    return rule if by is None else f"{rule}:{_value(seen, by)}"


def _value(seen: Seen, name: str) -> str:
    value = _getter(name)(seen)
    return "" if value is None else str(value)[:200].encode(errors="replace").decode()


def _telling(
    key: str,
    rule: str,
    rules: Rules,
    site: str,
    action: Mapping[str, Any],
    record: Mapping[str, Any],
    more: Mapping[str, Any],
    now_us: int,
) -> Telling:
    return Telling(
        key=key,
        rule=rule,
        site=site,
        destination=str(action["to"]),
        action=action,
        record=record,
        more=more,
        zone=rules.zone.key,
        made_us=now_us,
    )


def last_seen(matched: Iterable[tuple[Rule, Match]]) -> dict[str, int]:
    """Return when each rule's ear last heard a match, in milliseconds since 1970."""
    seen: dict[str, int] = {}
    for rule, one in matched:
        seen[ear(rule)] = max(one.received_ms, seen.get(ear(rule), 0))
    return seen


def ear(rule: Rule) -> str:
    """Return a name for what a rule of silence listens to: another as soon as its sites or its condition change."""
    listens = repr((sorted(rule.sites), rule.when))
    return f"{rule.name} {hashlib.sha256(listens.encode()).hexdigest()[:16]}"
