"""The names that mean something in a rule: fields of all its sites, members of their JSON, and `site`. Pure."""

from collections.abc import Callable, Iterable
from typing import Any

from oceanus.sites import Field, Site

_KINDS = {"INT64": "number", "FLOAT64": "number", "BOOL": "boolean"}
_ANY = frozenset(("text", "number", "boolean"))


class Names:
    """What a rule for certain sites may name; without sites (for there was another mistake) it takes every name."""

    def __init__(self, sites: Iterable[Site]) -> None:
        listed = list(sites)
        self._types = {site.name: types(site) for site in listed}
        self._fields = {site.name: {field.name: field for field in site.fields} for site in listed}

    def trouble(self, name: Any) -> str | None:
        """Return what is wrong with a name, in words; None for one that every site of the rule has."""
        if not isinstance(name, str) or not all(name.split(".")):
            return f"{name!r} is no field, and no member of one such as jsn.price"
        if name == "site":
            return None
        field, _, member = name.partition(".")
        without = [site for site, known in self._types.items() if field not in known]
        if without:
            return f"{name!r} is no field of {', '.join(without)}; known: {', '.join(self.common())}"
        plain = [site for site, known in self._types.items() if known.get(field) != "JSON"]
        if member and plain:
            return f"{name!r}: {field} holds no JSON at {', '.join(plain)}, so that it has no members"
        return None

    def kinds(self, name: str) -> frozenset[str]:
        """Return what a value of this name can be: text, number, boolean. JSON itself, without a member, is text."""
        if "." in name:
            return _ANY
        if name == "site":
            return frozenset(("text",))
        return frozenset(_KINDS.get(known[name], "text") for known in self._types.values()) or _ANY

    def recased(self, name: str, text: str) -> str | None:
        """Return what each site of the rule makes of a text's case in this field; None where one leaves it as it is."""
        cased = {_case(fields[name])(text) if name in fields else text for fields in self._fields.values()}
        changed = cased.pop() if len(cased) == 1 else text
        return changed if changed != text else None

    def common(self) -> list[str]:
        """Return the fields that every site of the rule has, and `site`."""
        every = set.intersection(*map(set, self._types.values())) if self._types else set()
        return sorted(every | {"site"})

    def any(self) -> set[str]:
        """Return the fields that at least one site of the rule has."""
        return set().union(*self._types.values())


def _case(field: Field) -> Callable[[str], str]:
    """Return what a field does to the case of a value."""
    steps = [step for step in field.normal if step in (str.lower, str.upper)]
    return steps[-1] if steps else str


def types(site: Site) -> dict[str, str]:
    """Return the type of each field of a site, with the JSON of parameters that no field declares."""
    unknown = {site.unknown: "JSON"} if site.unknown else {}
    return {field.name: field.type for field in site.fields} | unknown
