"""Wording: numbers and ages as people say them. Pure."""

MINUTE, HOUR, DAY = 60, 3600, 86_400


def counted(number: int, noun: str) -> str:
    """Return `1 line`, `2 lines`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def age(seconds: float) -> str:
    """Return `4.6 s` up to two minutes; beyond, whole `9 min`, `3 h`, `2 d`."""
    if seconds <= 2 * MINUTE:
        return f"{seconds:.1f} s"
    for size, unit in ((DAY, "d"), (HOUR, "h")):
        if seconds >= 2 * size:
            return f"{seconds // size:,.0f} {unit}"
    return f"{seconds // MINUTE:.0f} min"
