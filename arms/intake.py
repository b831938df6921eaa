"""The intake: from what a request says to a record, or to the reason why not. Pure; every answer follows from it.

A beacon ends here as one of three: Accepted (to be stored, then answered), Rejected (to be kept as a failed record,
with its reason), Dropped (the visitor objects and the site's policy is to store nothing).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from arms import kept, privacy
from arms.checks import Checks
from arms.kept import Kept
from arms.parameters import ParameterError, merge
from oceanus import jsontext, records
from oceanus.records import DAY_US, Failed, Record
from oceanus.schema import RESERVED
from oceanus.sites import Field, Site

CID = re.compile(r"[0-9a-fA-F]{32}")
UNKNOWN_CHARACTERS = 10_000
# BigQuery takes no row of a partition older than this, or this far ahead: cloud.google.com/bigquery/docs/write-api
OLDEST_DAYS = 10 * 365
NEWEST_US = 365 * DAY_US


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What arrived. `headers` by small name; `given_time` comes from a caller who proved the right to it.

    `raw` is the text kept if the beacon fails, its body beginning at `body_at`; `refusal` is a reason to answer 403
    that was found on the way here; `trusted`: whoever sent it proved that it may be believed.
    """

    parameters: Sequence[tuple[str, Any]]
    headers: Mapping[str, str]
    address: str
    now_us: int
    route: str
    raw: str
    body_at: int | None = None
    given_time: str | None = None
    unreadable: ParameterError | None = None
    refusal: tuple[str, str] | None = None
    trusted: bool = False


class Accepted(NamedTuple):
    """A record, with what the spool needs to count it.

    `named`: its tracker has named it, so that it may come again; `again`: it has come before, and whether that came
    through is still to be judged.
    """

    record: Record
    text: bytes
    minute: str
    digest: int
    received_ms: int
    named: bool = False
    again: bool = False

    @property
    def eid(self) -> str:
        """Return the record's event id."""
        return str(self.record["eid"])


@dataclass(frozen=True, slots=True)
class Rejected:
    """A beacon that breaks a rule: a reason for each field, and the failed record to keep (None: by privacy).

    `kind` is the reason in one word: rules, unreadable, caller or origin.
    """

    status: int
    reasons: Mapping[str, str]
    failed: Failed | None
    record: Record
    kind: str

    @property
    def error(self) -> str:
        """Return the reasons as one line of ASCII, for a header."""
        line = "; ".join(f"{name}: {reason}" for name, reason in self.reasons.items())
        return re.sub(r"[^ -~]", "?", line)[:1000]


@dataclass(frozen=True, slots=True)
class Dropped:
    """A beacon of a visitor who objects, at a site that stores nothing then."""


Outcome = Accepted | Rejected | Dropped


class Intake:
    """The rules of one site, ready for each of its beacons."""

    def __init__(self, site: Site, device: Callable[[str], str]) -> None:
        self.site = site
        self.checks = Checks(site.fields)
        self._device = device
        self._oldest_us = DAY_US * min(OLDEST_DAYS, site.table.expiry_days or OLDEST_DAYS)
        self._declared = frozenset(field.name for field in site.fields)
        self._known = known(site)

    def take(self, sent: Sent) -> Outcome:
        """Judge one beacon."""
        parameters, repeated = merge(list(sent.parameters))
        objecting = self._objects(sent)
        if objecting and self.site.privacy.policy == "drop":
            return Rejected(403, dict([sent.refusal]), None, {}, sent.refusal[0]) if sent.refusal else Dropped()
        anonymous = objecting and self.site.privacy.policy == "anonymous"
        record, reasons = self._record(sent, parameters)
        reasons = dict.fromkeys(sorted(repeated & self._declared), "is given more than once") | reasons
        if sent.unreadable:
            field = sent.unreadable.field  # of a name that is no field of ours nobody knows what it tells
            reasons = {field if field in self._declared or field == "body" else "query": sent.unreadable.reason}
        if sent.refusal:
            reasons = {sent.refusal[0]: sent.refusal[1]}
        name, again = parameters.get("cid"), parameters.get("re")
        reasons = _named(name, again, repeated) | reasons
        if anonymous:
            record = privacy.anonymous(self.site, record)
        record = privacy.masked(self.site.privacy, record)
        if reasons:
            return self._rejected(sent, record, reasons, anonymous)
        return accepted(self.site, record, sent.now_us, name, again=again is not None)

    def _objects(self, sent: Sent) -> bool:
        site = self.site.privacy
        unreadable = sent.unreadable is not None and privacy.may_object(site, sent.raw)
        return unreadable or privacy.objects(site, sent.headers, sent.parameters)

    def _record(self, sent: Sent, parameters: Mapping[str, Any]) -> tuple[Record, dict[str, str]]:
        """Return the record of what was sent, and a reason for each field that is wrong."""
        reasons: dict[str, str] = {}
        record: Record = {}
        for field in self.site.fields:
            try:
                value = self._value(field, sent, parameters, record)
                if value is not None:
                    record[field.name] = value
            except ValueError as exc:
                reasons[field.name] = str(exc)
        checked, broken = self.checks.apply(record)
        try:
            unknown = self._unknown(parameters)
        except ValueError as exc:
            return checked, broken | reasons | {str(self.site.unknown): str(exc)}
        return checked | unknown, broken | reasons

    def _unknown(self, parameters: Mapping[str, Any]) -> Record:
        """Return what no field declares, where the site keeps it; raises ValueError."""
        rest = {name: value for name, value in parameters.items() if name not in self._known}
        if not self.site.unknown or not rest:
            return {}
        text = jsontext.dumps(rest)
        if len(text) > UNKNOWN_CHARACTERS:
            raise ValueError(f"max length is {UNKNOWN_CHARACTERS}")
        return {self.site.unknown: text}

    def _value(self, field: Field, sent: Sent, parameters: Mapping[str, Any], record: Record) -> Any:
        value = self._source(field, sent, parameters, record)
        if value is None or value == "":
            return value if field.source == "device" else None
        if not isinstance(value, str) and field.type != "JSON":
            raise ValueError("must be a text")
        try:
            for step in field.normal:
                value = step(value)
        except (TypeError, LookupError, AttributeError):  # a step for texts, and JSON's objects and arrays
            raise ValueError("must be a text") from None
        return value

    def _source(self, field: Field, sent: Sent, parameters: Mapping[str, Any], record: Record) -> Any:
        if field.source in ("query", "form"):
            return parameters.get(field.name)
        if field.source == "header":
            return sent.headers.get(field.argument.lower())
        if field.source == "address":
            return sent.address
        if field.source == "device":
            return self._device(str(record.get(field.argument, "")))
        return self._time(sent)

    def _time(self, sent: Sent) -> str:
        """Return the record's time: of receipt, or the one that a trusted caller gives; raises ValueError."""
        if sent.given_time is None:
            return records.time_text(sent.now_us)
        try:
            given_us = records.given_time_us(sent.given_time)
        except (ValueError, OverflowError):
            raise ValueError("X-Oceanus-Time must be a time such as 2026-11-22T16:48:16.123456Z") from None
        if not sent.now_us - self._oldest_us <= given_us <= sent.now_us + NEWEST_US:
            days = self._oldest_us // DAY_US
            raise ValueError(
                f"X-Oceanus-Time must lie within the last {days} days, which the table keeps, or the next 365"
            )
        return records.time_text(given_us)

    def _rejected(self, sent: Sent, record: Record, reasons: dict[str, str], anonymous: bool) -> Rejected:
        failed = Failed(
            fid=records.mint(sent.now_us),
            dt=records.time_text(sent.now_us),
            site=self.site.name,
            stage="rules",
            reason="; ".join(f"{name}: {reason}" for name, reason in reasons.items())[:1000],
            raw=self._raw(sent, anonymous),
        )
        kind = sent.refusal[0] if sent.refusal else "unreadable" if sent.unreadable else "rules"
        return Rejected(403 if sent.refusal else 400, reasons, failed, record, kind)

    def _raw(self, sent: Sent, anonymous: bool) -> str:
        """Return what was sent as JSON text, cleaned by the site's privacy policy and cut at 8 KiB."""
        private = anonymous or self.site.privacy.mask is not None
        text, whole = sent.raw, True
        if private:
            text = "" if sent.unreadable else privacy.clean_raw(self.site, sent.parameters, anonymous)
            whole = not (anonymous or sent.unreadable) and privacy.stays_whole(sent.parameters)
        has_body = sent.body_at is not None and not private
        return Kept(
            route=sent.route,
            sent=text,
            address=privacy.cut_address(sent.address) if anonymous else sent.address,
            agent=sent.headers.get("user-agent", "")[: kept.AGENT_CHARACTERS],
            body_at=sent.body_at if has_body else None,
            kind=sent.headers.get("content-type", "")[:100] if has_body else "",
            time=sent.given_time,
            cleaned=not whole,
            refused=sent.refusal is not None,
        ).text()


def known(site: Site) -> frozenset[str | None]:
    """Return every parameter that means something at a site; what others say goes to the column `unknown`."""
    return frozenset(field.name for field in site.fields).union(RESERVED, (site.privacy.consent,))


def accepted(site: Site, record: Record, now_us: int, cid: str | None, *, again: bool = False) -> Accepted:
    """Complete a record that breaks no rule, with an id: of its tracker's name for it, or new."""
    eid = records.mint(now_us) if cid is None else records.named(site.name, cid.lower())
    record["v"], record["eid"] = records.FORMAT, eid
    if cid is not None:
        record["received"] = now_us
    minute = records.minute(record["dt"])
    return Accepted(record, records.encode(record), minute, records.digest(eid), now_us // 1000, cid is not None, again)


def _named(name: Any, again: Any, repeated: frozenset[str]) -> dict[str, str]:
    """Return what is wrong with a tracker's name for its beacon, and with its word that it sends it again."""
    if {"cid", "re"} & repeated:
        return {"cid": "cid and re may be given once"}
    if name is not None and not (isinstance(name, str) and CID.fullmatch(name)):
        return {"cid": "must be 128 random bits as 32 hexadecimal digits"}
    if again is not None and again != "1":
        return {"re": "must be 1"}
    if again is not None and name is None:
        return {"re": "needs the cid of the first try"}
    return {}
