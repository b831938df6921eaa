"""What a visitor's text may hold at each kind of destination: what would act there, or hide, is taken out. Pure.

HTML's escaping would be wrong in every one of them: `&quot;` shows as itself in Slack, in a cell, in a mail's subject.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final

from oceanus.visible import CONTROLS, HALVES, TURNS

_SURROGATE = re.compile(f"[{HALVES}]")
_CONTROL = re.compile(f"[{CONTROLS}{TURNS}]")
_LINE_ENDS = re.compile("\r\n?|[\x85\u2028\u2029]")
# What Slack reads as a mention, if it is told to look for names (docs.slack.dev, formatting message text).
_ACTS_IN_SLACK = re.compile(r"<[!@#][^<>]*>?|@(?:channel|everyone|group|here)", re.IGNORECASE)
# owasp.org/www-community/attacks/CSV_Injection; the wide forms are the same to a Japanese Excel.
_FORMULA: Final = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?")
_DIGITS = 15  # of those a double, and so a cell, keeps each one
_NO_TITLE = re.compile(r"[\[\]*?/\\:]")
TITLE_CHARACTERS = 100


def people(text: str) -> str:
    """Return a text without control characters and half surrogate pairs; its lines stay."""
    return _CONTROL.sub("", _LINE_ENDS.sub("\n", whole(text)))


def line(text: str) -> str:
    """Return such a text as one line."""
    return people(text).replace("\n", " ").replace("\t", " ")


def slack(text: str) -> str:
    """Return a text in which Slack finds no link and no `<!channel>` (docs.slack.dev, formatting message text)."""
    return people(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def whole(text: str) -> str:
    """Return a text that UTF-8 can hold: U+FFFD for half a surrogate pair."""
    return _SURROGATE.sub("\ufffd", text)


# How a value within a text is written for each kind.
FOR_KIND: dict[str, Callable[[str], str]] = {
    "slack": slack,
    "sheets": people,
    "mail": people,
    "webhook": whole,
    "print": line,
}


def mentions(text: str, template: str) -> str:
    """Return a Slack text in which no mention is left that does not stand in its template word for word.

    `<{{ url }}|page>` would make one of the url `!channel`, and `@{{ tit }}` of the title `here`.
    """

    def judged(found: re.Match[str]) -> str:
        mention = found[0]
        if mention in template:
            return mention
        if mention.startswith("<"):
            return f"&lt;{mentions(mention[1:], template)}"
        return f"@\u2060{mention[1:]}"

    return _ACTS_IN_SLACK.sub(judged, text)


def cell(text: str) -> str | int | float:
    """Return what goes into a sheet's cell: a number, if the text is a plain one that loses no digit; else text.

    Cells are sent RAW, so that nothing acts in the sheet itself; the apostrophe is for Excel, when it opens the sheet
    as CSV (OWASP, CSV injection).
    """
    number = _NUMBER.fullmatch(text)
    if number and sum(map(str.isdigit, text)) <= _DIGITS:
        return float(text) if number[1] else int(text)
    return f"'{text}" if text.startswith(("\t", "\r")) or text.lstrip().startswith(_FORMULA) else text


def title(text: str, otherwise: str) -> str:
    """Return a text as a worksheet's title; `otherwise` if nothing is left of it."""
    return _NO_TITLE.sub("-", line(text)).strip(" '")[:TITLE_CHARACTERS].rstrip() or otherwise


def cells(rows: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """Return a table's rows, each cell one line: Slack shows preformatted text as it is, and a mail escapes its own."""
    return tuple(tuple(line(whole(one)) for one in row) for row in rows)
