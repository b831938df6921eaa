"""A message as Slack's Block Kit, within every limit of it; what does not fit is counted in a last line. Pure.

Limits: docs.slack.dev/reference/block-kit/blocks/section-block (3,000 characters of text, 10 fields of 2,000) and
docs.slack.dev/reference/methods/chat.postMessage (50 blocks). A limit for all blocks together is not documented:
`msg_blocks_too_long` has been seen from 11,000 characters on, each block counting some 125 of them
(github.com/slackapi/bolt-js issues 2509 and 2867), hence ROOM, and BLOCK for each.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import batched
from typing import Any

from revelation import columns
from revelation.telling import Message, Table
from revelation.visible import ELLIPSIS, clean, cut, line

Block = dict[str, Any]

ROOM = 10_000
BLOCK = 150
MOST_BLOCKS = 50
MOST_TEXT = 3000
MOST_FIELDS = 10
MOST_FIELD = 2000
MOST_FALLBACK = 4000  # Slack's own advice for `text`; it cuts at 40,000
_NOTES = 500
# A stranger's text must not ring a whole channel: a word joiner behind the @ is not seen and ends the mention.
_MENTION = re.compile(r"@(?=(?:channel|here|everyone|group)\b)", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:amp|lt|gt)?$|&(?:a|am|l|g)$")


class _Page:
    """The blocks so far, how much room is left for more, and what was left out."""

    def __init__(self, room: int) -> None:
        self.blocks: list[Block] = []
        self.notes: list[str] = []
        self._room = room - _NOTES

    def room(self, share: float = 1) -> int:
        """Return the characters that one more block may have; 0 where there can be none."""
        full = len(self.blocks) >= MOST_BLOCKS - 1
        return 0 if full else max(int(self._room * share) - BLOCK, 0)

    def add(self, block: Block, characters: int) -> None:
        """Put a block below the others."""
        self.blocks.append(block)
        self._room -= characters + BLOCK


def blocks(message: Message, room: int = ROOM) -> list[Block]:
    """Return the blocks of a message in `room` characters: text, fields, table, and a line about what was left out."""
    page = _Page(room)
    most = min(MOST_TEXT, room * 3 // 10)
    _put_text(page, _speech(message.text), most, 0.5 if message.fields or message.table else 1)
    _put_fields(page, message.fields, 0.5 if message.table else 1)
    if message.table and message.table.columns:
        _put_table(page, message.table, most)
    if page.notes:
        page.blocks.append({"type": "context", "elements": [_mrkdwn("; ".join(page.notes))]})
    return page.blocks


def fallback(message: Message) -> str:
    """Return the text for notifications and screen readers, which see no blocks."""
    text = _speech(message.text).strip()
    fields = "\n".join(_field(name, value, MOST_FIELD) for name, value in message.fields.items())
    return _beginning(text or fields or "oceanus", MOST_FALLBACK)


def pieces(text: str, most: int) -> Iterator[str]:
    """Yield a text in pieces of at most `most` characters, cut behind a line or a word where there is one."""
    while len(text) > most:
        end = _end(text, most)
        yield text[:end]
        text = text[end:]
    yield text


def _put_text(page: _Page, text: str, most: int, share: float) -> None:
    kept = _beginning(text, page.room(0.9 * share))  # the rest is for the blocks that it is split over
    for piece in pieces(kept, most):
        if piece.strip():  # Slack refuses a section of blanks
            page.add({"type": "section", "text": _mrkdwn(piece)}, len(piece))
    if kept != text:
        page.notes.append(f"{len(text) - max(len(kept) - 1, 0):,} characters of the text left out")


def _put_fields(page: _Page, fields: Mapping[str, str], share: float) -> None:
    most = min(MOST_FIELD, max(page.room(share) // max(len(fields), 1), 120))
    told = 0
    for batch in batched(fields.items(), MOST_FIELDS, strict=False):
        texts = [_field(name, value, most) for name, value in batch]
        if sum(map(len, texts)) > page.room():
            break
        page.add({"type": "section", "fields": [_mrkdwn(text) for text in texts]}, sum(map(len, texts)))
        told += len(batch)
    if told < len(fields):
        page.notes.append(f"{len(fields) - told} of {len(fields)} fields left out")


def _put_table(page: _Page, table: Table, most: int) -> None:
    """Put the table as preformatted texts, which Slack takes literally."""
    first, *rows = columns.lines(table)
    told = -1  # the line of names is no row
    for text, count in _stacked([first, *rows], most):
        if len(text) > page.room():
            break
        told += count
        if text.strip():  # nor does it take this one
            preformatted = {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": text}]}
            page.add({"type": "rich_text", "elements": [preformatted]}, len(text))
    if (left := len(rows) - max(told, 0)) or not rows:
        page.notes.append(f"{left} of {len(rows)} rows left out" if rows else "no rows")


def _stacked(texts: Iterable[str], most: int) -> Iterator[tuple[str, int]]:
    """Yield lines as texts of at most `most` characters, and how many lines each holds."""
    stack: list[str] = []
    size = 0
    for text in texts:
        kept = cut(text, most)
        if stack and size + len(kept) + 1 > most:
            yield "\n".join(stack), len(stack)
            stack, size = [], 0
        stack.append(kept)
        size += len(kept) + 1
    yield "\n".join(stack), len(stack)


def _field(name: str, value: str, most: int) -> str:
    return _beginning(f"*{line(name, 100)}*\n{_speech(value)}", most)


def _mrkdwn(text: str) -> Block:
    return {"type": "mrkdwn", "text": text}


def _speech(text: str) -> str:
    return _MENTION.sub("@\N{WORD JOINER}", clean(text))


def _beginning(text: str, most: int) -> str:
    """Return a text of at most `most` characters, with an ellipsis where it was cut."""
    return text if len(text) <= most else text[: _end(text, most - 1)] + ELLIPSIS if most > 1 else ""


def _end(text: str, most: int) -> int:
    """Return where to cut a text: behind a line or a word, and within no `&amp;` and no `<link>`."""
    half = most // 2
    end = text.rfind("\n", half, most) + 1 or text.rfind(" ", half, most) + 1 or most
    link = text.rfind("<", 0, end)
    if link > half and text.find(">", link, end) < 0:
        end = link
    entity = _ENTITY.search(text, max(end - 4, 1), end)
    return entity.start() if entity else end
