"""Rows of text under their names."""

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from management import grid

TEXTS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), max_size=40)
ROWS = st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=5)
NAMES = ("dt", "eid", "url")


@given(ROWS)
def test_every_form_has_every_value_whole_on_one_line(rows):
    right = [False, False, True]
    for lines in (grid.plain(NAMES, rows, right)[2:], grid.framed(NAMES, rows)[3:-1]):
        assert len(lines) == len(rows)
        assert all(text in line for line, row in zip(lines, rows, strict=True) for text in row)
    told = [line for line in grid.blocks(NAMES, rows) if not line.startswith("-[ row ")]
    assert told == [f"{name:>3}: {text}".rstrip() for row in rows for name, text in zip(NAMES, row, strict=True)]


@given(ROWS)
def test_a_frame_is_straight(rows):
    assert len({cell_len(line) for line in grid.framed(NAMES, rows)}) == 1


def test_what_fits_is_decided_by_the_widest_line():
    assert grid.fits(("a", "b"), [("日本", "x")], 7)
    assert not grid.fits(("a", "b"), [("日本", "x")], 6)
