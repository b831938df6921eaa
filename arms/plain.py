"""Plain beacons: what nearly every beacon is, judged in one pass over its site's fields. Pure.

A plain beacon gives no parameter twice, comes from nobody who objects or asks to be believed, and breaks no rule. Of
any other this says nothing (None), and the intake judges it from the beginning. What is taken here is what the intake
would take, member for member: a property test holds that.
"""

from collections.abc import Callable, Mapping
from typing import Any

from arms import privacy
from arms.checks import Check, Checks
from arms.intake import CID, Accepted, accepted, known
from arms.parameters import MAX_PARAMETERS, header_text
from oceanus import records
from oceanus.records import Record
from oceanus.rules import Step
from oceanus.sites import Field, Site

Sent = tuple[str, tuple[Step, ...], Check]  # a field's name, its steps and its check


class Plain:
    """One site's fields, ready for the plain ones among its beacons.

    `checks` are its rules; `device` tells the device of a user agent.
    """

    def __init__(self, site: Site, checks: Checks, device: Callable[[str], str]) -> None:
        self._site = site
        self._device = device
        self._known = known(site)
        self._defaults, self._required = checks.defaults, frozenset(checks.required)

        def of(*sources: str) -> list[Field]:
            return [field for field in site.fields if field.source in sources]

        def ready(field: Field) -> Sent:
            return field.name, field.normal, checks.plain(field.name)

        given = of("query", "form")
        self._as_sent = [(field.name, checks.plain(field.name)) for field in given if not field.normal]
        self._stepped = [
            (field.name, field.normal if field.type == "JSON" else (_text, *field.normal), checks.plain(field.name))
            for field in given
            if field.normal
        ]
        self._headers = [(field.argument.lower().encode(), ready(field)) for field in of("header")]
        self._devices = [(field.argument, ready(field)) for field in of("device")]
        self._times = [ready(field) for field in of("clock")]
        self._addresses = [ready(field) for field in of("address")]

    def take(
        self, parameters: Mapping[str, Any], headers: Mapping[bytes, bytes], address: str, now_us: int
    ) -> Accepted | None:
        """Return a plain beacon, accepted; None for any other.

        `parameters` by name, none of them blank: texts, or JSON's objects and arrays; `headers` by small name; `now_us`
        in microseconds since 1970.
        """
        if "debug" in parameters or "re" in parameters:  # a page that explains, a second try: the intake knows them
            return None
        if self._objects(parameters, headers):
            return None
        if self._site.unknown and not self._known.issuperset(parameters):
            return None
        cid = parameters.get("cid")
        if cid is not None and not (type(cid) is str and CID.fullmatch(cid)):
            return None
        record = self._record(parameters, headers, address, records.time_text(now_us))
        if record is None:
            return None
        return accepted(self._site, privacy.masked(self._site.privacy, record), now_us, cid)

    def _objects(self, parameters: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> bool:
        if self._site.privacy.policy == "keep":  # it makes no difference
            return False
        signals = {name: header_text(headers.get(name.encode(), b"")) for name in privacy.SIGNALS}
        return privacy.objects(self._site.privacy, signals, parameters.items())

    def _record(
        self, parameters: Mapping[str, Any], headers: Mapping[bytes, bytes], address: str, time: str
    ) -> Record | None:
        record: Record = {}
        for name, check in self._as_sent:
            sent = parameters.get(name)
            if sent is not None:
                if not check(sent):
                    return None
                record[name] = sent
        try:
            for name, steps, check in self._stepped:
                sent = parameters.get(name)
                if sent is not None:
                    record[name] = _made(sent, steps, check)
            for header, (name, steps, check) in self._headers:
                given = headers.get(header)
                if given:
                    record[name] = _made(header_text(given), steps, check)
            for name, steps, check in self._times:
                record[name] = _made(time, steps, check)
            for name, steps, check in self._addresses:
                if address:
                    record[name] = _made(address, steps, check)
            for agent, (name, steps, check) in self._devices:
                device = self._device(record.get(agent, ""))
                record[name] = _made(device, steps if device else (), check)
        except (ValueError, TypeError, LookupError, AttributeError):  # a step for texts was given an object
            return None
        return self._defaults | record if self._required <= record.keys() else None


def _text(sent: Any) -> str:
    """Let texts through; raises ValueError for JSON's objects and arrays."""
    if type(sent) is not str:
        raise ValueError
    return sent


def _made(sent: Any, steps: tuple[Step, ...], check: Check) -> Any:
    """Return what the steps make of a text; raises ValueError where that is not plainly right."""
    made = sent
    for step in steps:
        made = step(made)
    if not check(made):
        raise ValueError
    return made


def plain_members(beacon: Any) -> dict[str, Any] | None:
    """Return the members of a JSON object as parameters; None where arms.parameters may read other ones.

    Its text must hold no escape by a code point (`\\u`): it could be a NUL, or half a surrogate pair.
    """
    if type(beacon) is not dict or len(beacon) > MAX_PARAMETERS:
        return None
    members = {name: value for name, value in beacon.items() if value is not None and value != ""}
    for value in members.values():
        if type(value) not in (str, dict, list):
            return None
    return members
