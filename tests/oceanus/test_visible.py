"""A text that is shown is one line that hides nothing, and is otherwise as it was."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from oceanus.visible import escaped


@given(st.text(st.characters()))
def test_a_text_is_one_line_that_can_be_written_and_moves_no_cursor(text: str) -> None:
    shown = escaped(text)

    assert len(shown.splitlines()) <= 1
    shown.encode()
    assert not [one for one in shown if unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp")]
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def test_what_people_write_stays_as_it_is() -> None:
    for text in ("山田\u3000太郎 😀", "a\u00a0b", "שלום"):
        assert escaped(text) == text
    assert escaped("a\x1b[2J\r\n\u202eb") == r"a\x1b[2J\r\n\u202eb"
