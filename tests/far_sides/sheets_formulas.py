"""Formulas as far as the tests need them: references that follow inserted, deleted and moved lines, and what is shown.

Knows SUM, COUNTA, a single reference, texts, arrays of texts, and a header with a column below it
(``={"Double";ARRAYFORMULA(IF(E2:E="","",E2:E*2))}``). Everything else shows 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

_REFERENCE = re.compile(
    r"(?:(?P<title>'(?:[^']|'')+'|[A-Za-z_]\w*)!)?"
    r"(?<![A-Za-z\"])\$?(?P<c1>[A-Z]{1,2})\$?(?P<r1>\d+)(?::\$?(?P<c2>[A-Z]{1,2})\$?(?P<r2>\d*))?(?![A-Za-z(\d])"
)

Move = Callable[[int], int | None]
"""Where an index of a line is after a change; None when the line is gone."""
Get = Callable[[str | None, int, int], Any]
"""The value shown in a tab (None: the formula's own) at row and column; IndexError beyond the grid."""


def follow(formula: str, own: str, changed: str, dimension: str, move: Callable[[int, bool], int | None]) -> str:
    """*formula* of the tab *own* after lines of the tab *changed* moved.

    Args:
        dimension: ``rows`` or ``columns``.
        move: (index, is the end of a range) -> new index; None when nothing is left.
    """

    def replace(match: re.Match[str]) -> str:
        title = (match["title"] or own).strip("'").replace("''", "'")
        if title != changed:
            return match[0]
        prefix = f"{match['title']}!" if match["title"] else ""
        is_range = match["c2"] is not None
        first: list[int] = [index(match["c1"]), int(match["r1"]) - 1]
        last: list[int | None] = (
            [index(match["c2"]), int(match["r2"]) - 1 if match["r2"] else None] if is_range else [*first]
        )
        at = 1 if dimension == "rows" else 0
        start = move(first[at], False)
        end = None if last[at] is None else move(int(last[at] or 0), True)
        if start is None or (last[at] is not None and (end is None or end < start)):
            return f"{prefix}#REF!"
        first[at], last[at] = start, end
        text = f"{letters(first[0])}{first[1] + 1}"
        if is_range:
            text += f":{letters(int(last[0] or 0))}{'' if last[1] is None else last[1] + 1}"
        return prefix + text

    return _REFERENCE.sub(replace, formula)


def inserted(at: int, count: int) -> Callable[[int, bool], int]:
    return lambda place, _: place + count if place >= at else place


def deleted(start: int, end: int) -> Callable[[int, bool], int | None]:
    def move(place: int, is_end: bool) -> int | None:
        if place >= end:
            return place - (end - start)
        if place < start:
            return place
        return start - 1 if is_end else start

    return move


def results(formula: str, row: int, column: int, get: Get, rows: int) -> Iterator[tuple[int, int, Any]]:
    """(row, column, value) of each cell that *formula*, in that cell, fills."""
    text = formula.removeprefix("=")
    if header := re.fullmatch(r'\{"([^"]*)";ARRAYFORMULA\((.*)\)\}', text):
        yield row, column, header[1]
        yield from _array(header[2], row + 1, column, get, rows)
    elif array := re.fullmatch(r'\{("[^"]*"(?:[,;]"[^"]*")*)\}', text):
        down = ";" in array[1]
        for place, item in enumerate(re.findall(r'"([^"]*)"', array[1])):
            yield (row + place, column, item) if down else (row, column + place, item)
    elif array := re.fullmatch(r"ARRAYFORMULA\((.*)\)", text):
        yield from _array(array[1], row, column, get, rows)
    else:
        yield row, column, _single(text, get, rows)


def _array(text: str, row: int, column: int, get: Get, rows: int) -> Iterator[tuple[int, int, Any]]:
    """``IF(E2:E="","",E2:E*2)``: a value for each row of the range."""
    match = re.fullmatch(r'IF\((\S+)="","",(\S+)\*(\d+)\)', text)
    assert match is not None, text
    for place, (value,) in enumerate(_range(match[2], get, rows)):
        yield row + place, column, "" if value is None else value * int(match[3])


def _single(text: str, get: Get, rows: int) -> Any:
    if re.fullmatch(r'"[^"]*"', text):
        return text[1:-1]
    if call := re.fullmatch(r"(SUM|COUNTA)\(([^()]*)\)", text):
        values = [value for line in _range(call[2], get, rows) for value in line if value is not None]
        if call[1] == "COUNTA":
            return float(len(values))
        return float(sum(value for value in values if isinstance(value, int | float) and not isinstance(value, bool)))
    if match := _REFERENCE.fullmatch(text):
        return next(iter(_range(match[0], get, rows)), [None])[0]
    return 0.0


def _range(text: str, get: Get, rows: int) -> Iterator[list[Any]]:
    match = _REFERENCE.fullmatch(text)
    if match is None:
        return
    title = match["title"].strip("'").replace("''", "'") if match["title"] else None
    left, top = index(match["c1"]), int(match["r1"]) - 1
    right = index(match["c2"]) if match["c2"] else left
    bottom = int(match["r2"]) if match["r2"] else top + 1 if match["c2"] is None else rows
    for row in range(top, bottom):
        try:
            yield [get(title, row, column) for column in range(left, right + 1)]
        except IndexError:
            return


def index(name: str) -> int:
    number = 0
    for letter in name:
        number = number * 26 + ord(letter) - 64
    return number - 1


def letters(column: int) -> str:
    text, column = "", column + 1
    while column:
        column, digit = divmod(column - 1, 26)
        text = chr(65 + digit) + text
    return text
