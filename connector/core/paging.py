"""Reading a numbered list whose rows may move while it is read. Pure; knows no platform.

Lists are paged by number and size only, so a row that is deleted on a page already read moves the first row of the next
page onto it: whoever goes from page to page never sees that row. Therefore the next window always begins at or before
the last row that was read; its size is chosen so that it overlaps by as little as possible. Rows that move towards the
head are noticed: then nobody of the overlap is known, and the reading goes back.

A place is ``"200"``: the rows from offset 200 on, overlap included; or ``"3x50"``: page 3 of a server that gives at
most 50 rows whatever size it is asked for.
"""

from __future__ import annotations

from msgspec import Struct

first = "0"


class Window(Struct, frozen=True):
    """What to ask for.

    Args:
        page: from 1 upwards.
        size: rows a page.
        overlap: so many rows at its head were read before.
        cap: the most rows that this server gives at once, when that is less than asked for; else None.
    """

    page: int
    size: int
    overlap: int
    cap: int | None = None


class Step(Struct, frozen=True):
    """Where to continue: *more* (None: this was the end), or *back* when none of the overlap was known."""

    more: str | None
    back: str | None


def window(place: str, most: int) -> Window:
    """The window at *place*, of *most* rows at most (50 or more: it then reaches half of that farther each time).

    Raises:
        ValueError: no place.
    """
    if "x" in place:
        page, cap = (int(part) for part in place.split("x"))
        return Window(page, most, 0, cap)
    offset = int(place)
    if offset <= 0:
        return Window(1, most, 0)
    last = offset - 1
    # Of all sizes, the one whose page with the last row reaches farthest: a seventh more requests than side by side.
    page, size = max(
        ((last // size + 1, size) for size in range(most, most // 2, -1)), key=lambda found: found[0] * found[1]
    )
    return Window(page, size, offset - (page - 1) * size)


def step(place: str, most: int, rows: int) -> Step:
    """Where to continue from *place* after *rows* rows were answered."""
    at = window(place, most)
    if at.cap is not None:
        return Step(f"{at.page + 1}x{at.cap}" if rows >= at.cap else None, None)
    if at.page == 1 and not at.overlap:
        if rows > at.size:  # a server that does not page: this is all
            return Step(None, None)
        if 0 < rows < at.size:  # all there is, or all that this server gives at once: one more request tells
            return Step(f"2x{rows}", None)
    back = str(max(0, int(place) - most)) if at.overlap else None
    end = (at.page - 1) * at.size + rows
    return Step(str(end) if rows >= at.size else None, back)
