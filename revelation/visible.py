"""Text from strangers made harmless for the eye: no hidden line breaks, no half characters. Pure.

The three ways differ in what may stay: `clean` keeps lines, `line` makes one of them, `shown` writes out what it hides.
"""

import re

ELLIPSIS = "…"
_UNKNOWN = "\N{REPLACEMENT CHARACTER}"
# Each for a class of a regular expression: C0 and C1 controls but tab and newline; the halves of surrogate pairs, which
# no encoding can write; what turns the direction of all that follows, by Unicode's bidi algorithm.
CONTROLS = "\x00-\x08\x0b-\x1f\x7f-\x9f"
HALVES = "\ud800-\udfff"
TURNS = "\u202a-\u202e\u2066-\u2069"
_CONTROLS = re.compile(f"[{CONTROLS}{HALVES}]")
_TURNS = re.compile(f"[{TURNS}]")
# And the line and paragraph separators: some readers of logs end a line there.
_HIDDEN = re.compile(f"[{CONTROLS}\t\n\u2028\u2029{TURNS}{HALVES}]")


def clean(text: str) -> str:
    """Return `text` with its lines, and a replacement character for each control character and half surrogate pair."""
    return _CONTROLS.sub(_UNKNOWN, text.replace("\r\n", "\n"))


def line(text: str, most: int) -> str:
    """Return `text` clean, on one line, of at most `most` characters."""
    return cut(" ".join(_TURNS.sub(_UNKNOWN, clean(text)).split()), most)


def shown(text: str, most: int) -> str:
    """Return `text` on one line of at most `most` characters, with what cannot be seen written as an escape."""
    return cut(_HIDDEN.sub(_escape, text[: most + 1]), most)


def cut(text: str, most: int) -> str:
    """Return `text`, or its beginning and an ellipsis, together `most` characters."""
    return text if len(text) <= most else text[: most - 1] + ELLIPSIS


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
