"""revelation.printing and revelation.visible: what a log line, and a line anywhere, may hold."""

import logging
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revelation.printing import Print
from revelation.telling import Message
from revelation.visible import clean, cut, line, shown

ANY = st.text(st.characters(exclude_categories=()))


def test_a_message_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    Print().tell(Message(key="k", text="10000 yen: 100% %s 東京 🎉"))

    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "10000 yen: 100% %s 東京 🎉")
    ]


def test_nobody_can_forge_a_line(caplog: pytest.LogCaptureFixture) -> None:
    Print().tell(Message(key="k", text="a\r\n2026-11-22 CRITICAL all lost\x1b[2K\x85\u2028\u202eb\ud800\x00"))

    assert caplog.messages == [
        "a\\r\\n2026-11-22 CRITICAL all lost\\x1b[2K\\x85\\u2028\\u202eb\\ud800\\x00",
    ]


def test_a_long_message_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    Print().tell(Message(key="k", text="\n" * 20_000))

    assert caplog.messages == ["\\n" * 999 + "\\…"]


@given(ANY, st.integers(1, 50))
def test_what_is_shown_is_one_line_that_can_be_written(text: str, most: int) -> None:
    seen = shown(text, most)

    assert len(seen) <= most
    assert len(seen.splitlines()) <= 1
    assert not [character for character in seen if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")]
    seen.encode()


@given(ANY, st.integers(1, 50))
def test_a_line_is_one_line_that_can_be_written(text: str, most: int) -> None:
    seen = line(text, most)

    assert len(seen) <= most
    assert len(seen.splitlines()) <= 1
    assert not [character for character in seen if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")]
    seen.encode()


@given(ANY)
def test_clean_text_keeps_its_lines_and_all_that_can_be_written(text: str) -> None:
    seen = clean(text)

    assert seen.count("\n") == text.count("\n")
    assert not [
        character for character in seen if unicodedata.category(character) in ("Cc", "Cs") and character not in "\t\n"
    ]
    seen.encode()


@given(st.text(st.characters(exclude_categories=("Cc", "Cs"))))
def test_text_that_can_be_seen_stays_as_it_is(text: str) -> None:
    assert clean(text) == text


@given(st.text(), st.integers(1, 20))
def test_a_cut_says_so(text: str, most: int) -> None:
    seen = cut(text, most)

    assert len(seen) <= most
    assert seen == text or (seen.endswith("…") and text.startswith(seen[:-1]))
