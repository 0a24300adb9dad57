"""Places in a grid: as letters, as spans, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def letters(column: int) -> str:
    """0 -> A, 26 -> AA."""
    text = ""
    column += 1
    while column:
        column, digit = divmod(column - 1, 26)
        text = chr(65 + digit) + text
    return text


def runs(places: Iterable[int]) -> list[tuple[int, int]]:
    """Sorted places as (first, end) spans."""
    spans: list[tuple[int, int]] = []
    for place in sorted(places):
        if spans and spans[-1][1] == place:
            spans[-1] = (spans[-1][0], place + 1)
        else:
            spans.append((place, place + 1))
    return spans


def place_words(rows: Sequence[int]) -> str:
    """Rows as people count them: ``rows 5 and 9``."""
    return "rows " + " and ".join(str(row + 1) for row in rows)
