"""The texts: a telling becomes a message, its templates filled in and made harmless for where it goes."""

from collections.abc import Iterator, Mapping
from typing import Any

from oceanus.errors import RefusedError
from oceanus.records import INTERNAL
from oceanus.sites import Site
from revelation import harmless
from revelation.rendering import Renderer
from revelation.telling import Message, Table, Telling, moment
from revelation.templates import Job, Name, opened, zone

_SINGLE = ("text", "subject")
_NAMED = ("fields", "row", "body")


class Texts:
    """Makes messages. Keeps the renderer, so close it. Safe to call from several threads."""

    def __init__(self, sites: Mapping[str, Site], renderer: Renderer | None = None) -> None:
        self._renderer = renderer or Renderer()
        self._json = {site.name: _json_fields(site) for site in sites.values()}

    def message(self, telling: Telling, kind: str, table: Table | None = None) -> Message:
        """Return the message of a telling for a destination of this kind, with `table` below it.

        Raises RefusedError, with a line that begins with the member of `tell`, for a template that fails, takes more
        than a second or gets longer than 20,000 characters; TryAgainError where the machine is to blame.
        """
        if kind not in harmless.FOR_KIND:
            raise RefusedError(f"{telling.destination}: {kind!r} is no kind of destination")
        texts = self._filled(telling, kind)
        subject = harmless.line(texts.get(("subject",), ""))
        return Message(
            key=telling.key,
            text=texts.get(("text",), ""),
            subject=subject,
            fields=_part(texts, "fields"),
            worksheet=_worksheet(telling) if kind == "sheets" else "",
            row={name: harmless.cell(text) for name, text in _part(texts, "row").items()},
            body=self._body(telling, texts) if kind == "webhook" else {},
            table=table and Table(columns=table.columns, rows=harmless.cells(table.rows)),
        )

    def close(self) -> None:
        """End the renderer's processes."""
        self._renderer.close()

    def _filled(self, telling: Telling, kind: str) -> dict[Name, str]:
        templates = dict(_templates(telling.action))
        if not templates:
            return {}
        job = Job(
            kind=kind,
            zone=telling.zone,
            templates=templates,
            record=telling.record,
            opened=self._opened(telling),
            more=_more(telling),
        )
        return self._renderer.render(job)

    def _body(self, telling: Telling, texts: Mapping[Name, str]) -> dict[str, Any]:
        if "body" in telling.action:
            return dict(_part(texts, "body"))
        fields = {name: value for name, value in telling.record.items() if name not in INTERNAL}
        whole = opened(fields, self._opened(telling)) | _more(telling)
        return {name: harmless.whole(value) if isinstance(value, str) else value for name, value in whole.items()}

    def _opened(self, telling: Telling) -> frozenset[str]:
        return self._json.get(telling.site, frozenset())


def _json_fields(site: Site) -> frozenset[str]:
    names = {field.name for field in site.fields if field.type == "JSON"}
    return frozenset(names | ({site.unknown} if site.unknown else set()))


def _more(telling: Telling) -> dict[str, Any]:
    return {"site": telling.site, "rule": telling.rule} | dict(telling.more)


def _templates(action: Mapping[str, Any]) -> Iterator[tuple[Name, str]]:
    for member in _SINGLE:
        if member in action:
            yield (member,), str(action[member])
    for member in _NAMED:
        for name, source in (action.get(member) or {}).items():
            yield (member, str(name)), str(source)


def _part(texts: Mapping[Name, str], member: str) -> dict[str, str]:
    return {name[1]: text for name, text in texts.items() if name[0] == member and len(name) == 2}


def _worksheet(telling: Telling) -> str:
    try:
        time = moment(telling).astimezone(zone(telling.zone))
        return harmless.title(time.strftime(str(telling.action.get("worksheet", ""))), telling.rule)
    except (ValueError, OverflowError) as exc:
        raise RefusedError(f"worksheet: {type(exc).__name__}") from exc
