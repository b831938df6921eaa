"""Text from strangers made harmless for the eye: no hidden line breaks, no half characters. Pure.

The three ways differ in what may stay: `clean` keeps lines, `line` makes one of them, `shown` writes out what it hides.
"""

import re

from oceanus.visible import CONTROLS, HALVES, TURNS, escaped

ELLIPSIS = "…"
_UNKNOWN = "\N{REPLACEMENT CHARACTER}"
_CONTROLS = re.compile(f"[{CONTROLS}{HALVES}]")
_TURNS = re.compile(f"[{TURNS}]")


def clean(text: str) -> str:
    """Return `text` with its lines, and a replacement character for each control character and half surrogate pair."""
    return _CONTROLS.sub(_UNKNOWN, text.replace("\r\n", "\n"))


def line(text: str, most: int) -> str:
    """Return `text` clean, on one line, of at most `most` characters."""
    return cut(" ".join(_TURNS.sub(_UNKNOWN, clean(text)).split()), most)


def shown(text: str, most: int) -> str:
    """Return `text` on one line of at most `most` characters, with what cannot be seen written as an escape."""
    return cut(escaped(text[: most + 1]), most)


def cut(text: str, most: int) -> str:
    """Return `text`, or its beginning and an ellipsis, together `most` characters."""
    return text if len(text) <= most else text[: most - 1] + ELLIPSIS
