"""A grid: rows of text under their column names, for a terminal and for a pipe. Pure; nothing is ever cut or folded.

`plain` is for people: no boxes, numbers at the right. `blocks` is for rows too wide for it: a line for each value.
`framed` is what a pipe gets.
"""

from collections.abc import Iterator, Sequence

from rich.cells import cell_len

GAP = "  "
Rows = Sequence[Sequence[str]]


def plain(names: Sequence[str], rows: Rows, right: Sequence[bool]) -> list[str]:
    """Return the grid without boxes; `right` says which columns stand at the right."""
    widths = _widths(names, rows)
    lines = [names, ["-" * width for width in widths], *rows]
    return [GAP.join(map(_placed, line, widths, right)).rstrip() for line in lines]


def fits(names: Sequence[str], rows: Rows, width: int) -> bool:
    """Say whether `plain` would be at most `width` cells wide."""
    return sum(_widths(names, rows)) + len(GAP) * (len(names) - 1) <= width


def blocks(names: Sequence[str], rows: Rows) -> Iterator[str]:
    """Yield a block for each row, and in it a line `column: value` for each column."""
    widest = max(map(cell_len, names), default=0)
    for number, row in enumerate(rows, 1):
        yield f"-[ row {number} ]-"
        yield from (f"{_placed(name, widest, True)}: {value}".rstrip() for name, value in zip(names, row, strict=True))


def framed(names: Sequence[str], rows: Rows) -> list[str]:
    """Return the grid in a frame of ASCII characters."""
    widths = _widths(names, rows)
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
    told = [f"| {' | '.join(_placed(text, width, False) for text, width in zip(line, widths, strict=True))} |"
            for line in (names, *rows)]  # fmt: skip
    return [rule, told[0], rule, *told[1:], rule]


def _widths(names: Sequence[str], rows: Rows) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(names, *rows, strict=True)]


def _placed(text: str, width: int, right: bool) -> str:
    blanks = " " * (width - cell_len(text))
    return blanks + text if right else text + blanks
