"""A table as lines of text whose columns stand below each other, also in Japanese. Pure."""

import unicodedata

from revelation.telling import Table
from revelation.visible import ELLIPSIS, line

WIDEST = 60


def lines(table: Table) -> list[str]:
    """Return the line of names, then a line for each row; a cell wider than 60 ends with an ellipsis."""
    grid = [[_narrow(line(cell, 4 * WIDEST)) for cell in row] for row in (table.columns, *table.rows)]
    widths = [max(map(_width, column)) for column in zip(*grid, strict=True)]
    return ["  ".join(map(_padded, row, widths)).rstrip() for row in grid]


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - _width(cell))


def _narrow(cell: str) -> str:
    if _width(cell) <= WIDEST:
        return cell
    while _width(cell) >= WIDEST:
        cell = cell[:-1]
    return cell + ELLIPSIS


def _width(text: str) -> int:
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(character: str) -> int:
    """Return how many cells of a terminal a character takes (Unicode Standard Annex 11)."""
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
