"""What hides in a text, or acts where the text is shown, and the text with that written out. Pure."""

import re

# Each for a class of a regular expression: C0 and C1 controls but tab and newline; the halves of surrogate pairs, which
# no encoding can write; what turns the direction of all that follows, by Unicode's bidi algorithm.
CONTROLS = "\x00-\x08\x0b-\x1f\x7f-\x9f"
HALVES = "\ud800-\udfff"
TURNS = "\u202a-\u202e\u2066-\u2069"
# And the line and paragraph separators: some readers of logs end a line there.
_HIDDEN = re.compile(f"[{CONTROLS}\t\n\u2028\u2029{TURNS}{HALVES}]")


def escaped(text: str) -> str:
    """Return a text on one line, with what cannot be seen, and what a terminal would obey, written as escapes."""
    return _HIDDEN.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
