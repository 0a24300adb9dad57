"""Where new rows go. Pure.

An insert right below the header pushes down what people prepared for the first rows (``=SUM(E2:E)`` begins at
row 3 then), so while none of our rows is there, new ones take the blank rows below the header. Later ones are inserted:
nothing that a person types in that second is written over. Where people have prepared rows with formulas or tick boxes,
these are taken. Where a protected range forbids inserting, and where the file has no cells left, they take blank rows,
too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from connector.core.keys import is_of_row
from connector.sinks.google_sheets.plan import Plan, Update
from connector.sinks.google_sheets.snapshot import Formula, Protection, Snapshot


def place_new_rows(plan: Plan, snapshot: Snapshot, key: str, *, first_rows: int, room: int) -> None:
    """Decide where each of the plan's new rows goes; those that can't go anywhere are held.

    Args:
        first_rows: how many blank rows below the header may be taken while none of our rows is there.
        room: cells that the file still has room for.
    """
    if not plan.appends:
        return
    table = _Table(plan, snapshot)
    plan.why_held = table.obstacle(key)
    if plan.why_held:
        plan.held, plan.appends = plan.appends, []
        return
    fits = max(0, room // max(1, snapshot.column_count))
    if any(_forbids_insert(range_, plan.last + 1) for range_ in snapshot.protections):
        table.fill(table.blank_rows(grow=max(0, fits - 1)), len(plan.appends))
    elif plan.last == plan.layout.header:
        table.fill(table.first_rows(), min(first_rows, len(plan.appends)))
    else:
        table.fill(table.prepared_rows(), len(plan.appends))
    plan.insert_at = _beyond_merges(snapshot, max([plan.last, *table.filled]) + 1)
    # Rows can be inserted before a row only: below the last one a row more is needed.
    fits -= plan.insert_at >= snapshot.row_count
    if len(plan.appends) > fits and not table.filled:
        table.fill(table.blank_rows(grow=0), len(plan.appends) - max(0, fits))
        plan.insert_at = _beyond_merges(snapshot, max([plan.last, *table.filled]) + 1)
    if any(_forbids_insert(range_, plan.insert_at) for range_ in snapshot.protections):
        fits = 0
    plan.held = plan.appends[max(0, fits) :]
    del plan.appends[max(0, fits) :]


def _forbids_insert(protection: Protection, at: int) -> bool:
    return protection.whole_height or protection.rect.top < at < protection.rect.bottom


def _beyond_merges(snapshot: Snapshot, at: int) -> int:
    """*at*, or the first row below where an insert would not stretch a merged cell over the new rows."""
    while inside := [merge.bottom for merge in snapshot.merges if merge.top < at < merge.bottom]:
        at = max(inside)
    return at


class _Table:
    """Blank rows of a tab, and the plan's new rows on their way into them.

    Attributes:
        filled: the rows that were taken.
    """

    def __init__(self, plan: Plan, snapshot: Snapshot) -> None:
        self._plan = plan
        self._snapshot = snapshot
        self._managed: Collection[int] = set(plan.layout.columns.values())
        header, last = plan.layout.header, plan.last
        self._columns = [range_ for range_ in snapshot.protections if range_.spans_rows(header, last)]
        self._others = [range_ for range_ in snapshot.protections if range_ not in self._columns]
        self.filled: list[int] = []

    def obstacle(self, key: str) -> str:
        """Why no row can be added at all, and what to do; "" when one can."""
        title, place = self._snapshot.title, self._plan.layout.columns[key]
        if self._snapshot.spills_from_the_top(place, self._plan.layout.header):
            return (
                f'The column "{key}" of "{title}" is made by a formula, which a new row\'s key would break: type the '
                "header over the formula, or let the mapping use another tab."
            )
        for range_ in self._columns:
            if range_.forbids(self._plan.last + 1, place):
                return (
                    f'The column "{key}" of "{title}" is protected ({range_.name}), so no row can be added: Data > '
                    "Protect sheets and ranges > this range > Set permissions, and add the connector's account."
                )
        return ""

    def blank_rows(self, *, grow: int) -> Iterator[int]:
        """Rows below our last one that are known to be blank, nearest first; then *grow* rows below the grid."""
        maybe = self._plan.last == self._plan.layout.header  # the lock's answer shows these few
        for row in range(self._plan.last + 1, self._snapshot.row_count + grow):
            is_known = maybe or row >= self._snapshot.row_count or self._snapshot.shows_row(row)
            if is_known and self._is_free(row):
                yield row

    def first_rows(self) -> Iterator[int]:
        """The blank rows right below the header; beyond the first, the one above somebody's row stays blank."""
        first = self._plan.last + 1
        for row in range(first, self._snapshot.row_count):
            below = row + 1 == self._snapshot.row_count or self._snapshot.is_blank(row + 1, self._managed)
            if not self._is_free(row) or not (row == first or below):
                return
            yield row

    def prepared_rows(self) -> Iterator[int]:
        """The rows right below our last one in which people have prepared formulas and tick boxes for new rows: an
        inserted row would have none of them."""
        for row in range(self._plan.last + 1, self._snapshot.row_count):
            line = self._snapshot.line(row)
            formulas = (value.text for value in line.values() if isinstance(value, Formula))
            if not line or not self._is_free(row) or not all(is_of_row(text, row + 1) for text in formulas):
                return
            yield row

    def _is_free(self, row: int) -> bool:
        return (
            self._snapshot.is_blank(row, self._managed)
            and not any(merge.top <= row < merge.bottom for merge in self._snapshot.merges)
            and not any(range_.forbids(row, column) for range_ in self._others for column in self._managed)
        )

    def fill(self, rows: Iterator[int], count: int) -> None:
        """Let the plan's first new rows take *rows*, *count* at most."""
        plan = self._plan
        for append, row in zip(plan.appends[:count], rows, strict=False):
            plan.updates.append(self._filling(append, row))
            self.filled.append(row)
        del plan.appends[: len(self.filled)]
        plan.updates.sort(key=lambda update: update.at)
        if self.filled and self.filled[-1] >= self._snapshot.row_count:
            # One row stays below: the lock's sentinel must not be a row that is filled.
            plan.grow = self.filled[-1] + 2 - self._snapshot.row_count

    def _filling(self, append: Update, row: int) -> Update:
        """*append* as the update of a blank row; its protected cells wait."""
        blocked = {column for column in append.cells if any(range_.forbids(row, column) for range_ in self._columns)}
        cells = {column: value for column, value in append.cells.items() if column not in blocked}
        names = tuple(name for name, column in self._plan.layout.columns.items() if column in blocked)
        return replace(append, at=row, cells=cells, waiting=append.waiting + names, fresh=True)
