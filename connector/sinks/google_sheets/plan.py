"""Which cells of a tab must change so that it holds the rows (the diff, by the overwrite rules), and where new rows go.

Pure. An insert right below the header pushes down what people prepared for the first rows (``=SUM(E2:E)`` begins at
row 3 then), so while none of our rows is there, new ones take the blank rows below the header. Later ones are inserted:
nothing that a person types in that second is written over. Where people have prepared rows with formulas or tick boxes,
these are taken. Where a protected range forbids inserting, and where the
file has no cells left, they take blank rows, too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from connector.core.errors import NeedsAction
from connector.core.keys import is_of_row, tidy
from connector.core.overwrite import decide
from connector.core.row import Column, Row
from connector.core.sink import Outcome
from connector.sinks.google_sheets.layout import Layout
from connector.sinks.google_sheets.limits import Limits
from connector.sinks.google_sheets.places import letters, place_words
from connector.sinks.google_sheets.snapshot import (
    Formula,
    Link,
    Protection,
    Rect,
    Snapshot,
    Value,
    as_cell,
    key_of,
    same,
    value_of,
)


@dataclass(slots=True)
class Update:
    """Cells of one row that is there (or, *fresh*, of a blank row that a new record takes)."""

    row: Row
    at: int
    cells: dict[int, Value]
    notices: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    before: dict[int, Value] = field(default_factory=dict)
    fresh: bool = False


@dataclass(slots=True)
class Append:
    row: Row
    cells: dict[int, Value]
    notices: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


@dataclass(slots=True)
class Plan:
    """What a snapshot lacks.

    Args:
        done: outcomes of rows that need nothing, and of those that can't be written.
        updates: in the order of their rows.
        unseen: rows (by place) whose cells the snapshot does not cover; the lock's answer will.
        deletes: rows to delete, by place.
        held: new rows that wait for a person.
        why_held: what that person must do; "" where the file has no cells left for them.
        last: our last row, or the header row when there is none.
        insert_at: where new rows go in.
        grow: rows to be added to the grid first (only when new rows must fill blank ones).
    """

    layout: Layout
    done: list[Outcome] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)
    appends: list[Append] = field(default_factory=list)
    unseen: dict[int, Row] = field(default_factory=dict)
    deletes: dict[int, Row] = field(default_factory=dict)
    held: list[Append] = field(default_factory=list)
    why_held: str = ""
    last: int = 0
    insert_at: int = 0
    grow: int = 0

    @property
    def places(self) -> set[int]:
        """Rows that must be locked before anything is written into them."""
        return {update.at for update in self.updates} | set(self.unseen) | set(self.deletes)


# ---------------------------------------------------------------- the diff


def make_plan(
    snapshot: Snapshot,
    layout: Layout,
    columns: Sequence[Column],
    key: str,
    rows: Iterable[Row],
    *,
    duplicates: Literal["first", "all", "stop"],
    limits: Limits,
    room: int,
    is_new: bool = False,
) -> Plan:
    """Diff *rows* against *snapshot* by key and decide each cell by its column's overwrite rule.

    Args:
        duplicates: what to do with a record that has several rows.
        room: cells that the file still has room for.
        is_new: the tab was made just now, so that nobody can have prepared anything for its first rows.

    Raises:
        NeedsAction: the key column is gone, or this account may not edit the tab at all.
    """
    if key not in layout.columns:
        raise NeedsAction(
            f'The tab "{snapshot.title}" has no column "{key}" any more, and without it no row can be found again. '
            f'Give the column with the ids the header "{key}" in row {layout.header + 1}.'
        )
    _refuse_protected_tab(snapshot)
    asked = list(rows)
    planner = _Planner(snapshot, layout, columns, key, duplicates, limits, KeyShape(row.key for row in asked))
    for row in asked:
        planner.add(row)
    plan = planner.plan
    plan.updates.sort(key=lambda update: update.at)
    place_new_rows(plan, snapshot, key, first_rows=0 if is_new else limits.first_rows, room=room)
    return plan


class _Planner:
    """Plans row by row what becomes of it, without deciding yet where new rows go."""

    def __init__(
        self,
        snapshot: Snapshot,
        layout: Layout,
        columns: Sequence[Column],
        key: str,
        duplicates: Literal["first", "all", "stop"],
        limits: Limits,
        shape: KeyShape,
    ) -> None:
        self.plan = Plan(layout, last=layout.header)
        self._snapshot = snapshot
        self._layout = layout
        self._columns = [
            (column, layout.columns[column.name])
            for column in columns
            if column.name in layout.columns and column.name not in layout.computed
        ]
        self._key = key
        self._duplicates = duplicates
        self._limits = limits
        self._about_columns = column_notices(layout)
        self._sees_all = set(layout.columns.values()) <= snapshot.whole_columns()
        self._places: dict[str, list[int]] = {}
        for at, text in snapshot.keys(layout.columns[key], layout.header):
            self._places.setdefault(text, []).append(at)
            if shape.fits(text):
                self.plan.last = max(self.plan.last, at)

    def add(self, row: Row) -> None:
        """Plan *row*: delete, append or update it, or say why it needs nothing or can't be written."""
        plan, title = self.plan, self._snapshot.title
        at = self._places.get(tidy(row.key), []) or self._places.get(tidy(row.moved_from or ""), [])
        notices = tuple(notice for name, notice in self._about_columns.items() if name in row.cells)
        if len(at) > 1:
            where = place_words(at)
            if self._duplicates == "stop":
                reason = f'"{self._key}" has the same value in {where} of "{title}"; delete one of them'
                plan.done.append(Outcome(row.key, "refused", reason, code="duplicate_key", column=self._key))
                return
            notices += (f"the same key is in {where}",)
            at = at if self._duplicates == "all" else at[:1]
        if row.remove:
            plan.deletes.update(dict.fromkeys(at, row))
            if not at:
                plan.done.append(Outcome(row.key, "written", notices=notices))
        elif not at:
            if len(plan.appends) < self._limits.new_rows:
                self._add_new(row, notices)
        elif not all(self._sees_all or self._snapshot.shows_row(place) for place in at):
            plan.unseen.update(dict.fromkeys(at, row))
        else:
            self._add_changed(row, at, notices)

    def _add_new(self, row: Row, notices: tuple[str, ...]) -> None:
        cells: dict[int, Value] = {}
        for column, place in self._columns:
            if column.name not in row.cells:
                continue
            new = row.cells[column.name]
            if column.name == self._key or decide(column, None, new, created=True) == "write":
                value = value_of(new, column.type)
                if (problem := self._too_much(row, column, value)) is not None:
                    self.plan.done.append(problem)
                    return
                if value is not None:
                    cells[place] = value
        cells[self._layout.columns[self._key]] = self._key_cell(row)
        self.plan.appends.append(Append(row, cells, notices, self._waiting(row)))

    def _key_cell(self, row: Row) -> Value:
        """The key as it is typed; one whose typed form would read back otherwise (1.10) as text."""
        value = value_of(row.cells.get(self._key))
        return value if key_of(value) == tidy(row.key) else row.key

    def _add_changed(self, row: Row, at: Sequence[int], notices: tuple[str, ...]) -> None:
        updates = [self._changes(row, place, notices) for place in at]
        refusals = (problem for update in updates if (problem := self._refusal(update)) is not None)
        if (refused := next(refusals, None)) is not None:
            self.plan.done.append(refused)
        elif any(update.cells for update in updates):
            self.plan.updates.extend(update for update in updates if update.cells)
        else:
            waiting = tuple(dict.fromkeys(name for update in updates for name in update.waiting))
            notes = tuple(dict.fromkeys(note for update in updates for note in update.notices))
            self.plan.done.append(Outcome(row.key, "written", waiting=waiting, notices=notes))

    def _changes(self, row: Row, at: int, notices: tuple[str, ...]) -> Update:
        """The cells of the row at *at* that must change; a key that is the same is left as people wrote it."""
        update = Update(row, at, {}, notices, self._waiting(row))
        for column, place in self._columns:
            if column.name not in row.cells:
                continue
            if column.name == self._key:
                there = self._snapshot.value(at, place)
                if row.moved_from is not None and key_of(there) == tidy(row.moved_from):
                    update.cells[place], update.before[place] = self._key_cell(row), there
                continue
            there = self._snapshot.value(at, place)
            if decide(column, as_cell(there), row.cells[column.name], created=False) != "write":
                continue
            wanted = value_of(row.cells[column.name], column.type)
            if same(there, wanted):
                continue
            if (obstacle := self._obstacle(column.name, at, place)) is not None:
                update.waiting += (column.name,)
                update.notices += (obstacle,)
                continue
            if row.last is not None and not same(there, value_of(row.last.get(column.name), column.type)):
                update.notices += (f'somebody\'s edit in "{column.name}" was overwritten',)
            update.cells[place] = wanted
            update.before[place] = there
        return update

    def _obstacle(self, name: str, row: int, column: int) -> str | None:
        """Why a cell has to wait, in words."""
        if _is_covered(self._snapshot.merges, row, column):
            return f'"{name}" is under merged cells in row {row + 1}'
        for protection in self._snapshot.protections:
            if protection.spans_rows(self._layout.header, self.plan.last) and protection.forbids(row, column):
                return f'"{name}" is protected ({protection.name})'
        return None

    def _waiting(self, row: Row) -> tuple[str, ...]:
        return tuple(name for name in (*self._layout.waiting, *self._layout.computed) if name in row.cells)

    def _too_much(self, row: Row, column: Column, value: Value) -> Outcome | None:
        most = self._limits.cell_characters
        value = value.text if isinstance(value, Link) else value
        if not isinstance(value, str) or (value.isascii() and len(value) <= most):
            return None
        characters = len(value.encode("utf-16-le", "surrogatepass")) // 2  # as Google counts: two for an emoji
        if characters > most:
            reason = f'"{column.name}" has {characters:,} characters; Google Sheets takes {most:,} a cell'
            return Outcome(row.key, "refused", reason, code="cell_too_long", column=column.name)
        if any("\ud800" <= character <= "\udfff" for character in value):
            reason = f'"{column.name}" holds half of a character (a lone surrogate), which no destination takes'
            return Outcome(row.key, "refused", reason, code="not_unicode", column=column.name)
        return None

    def _refusal(self, update: Update) -> Outcome | None:
        for column, place in self._columns:
            if place not in update.cells:
                continue
            if (problem := self._too_much(update.row, column, update.cells[place])) is not None:
                return problem
            for protection in self._snapshot.protections:
                if protection.forbids(update.at, place):
                    reason = (
                        f'{letters(place)}{update.at + 1} of "{self._snapshot.title}" is protected '
                        f"({protection.name}): Data > Protect sheets and ranges > this range > Set permissions, and "
                        "add the connector's account"
                    )
                    return Outcome(update.row.key, "refused", reason, code="protected_cell", column=column.name)
        return None


def column_notices(layout: Layout) -> dict[str, str]:
    """What people did to the managed columns, in words, by the mapping's name."""
    notices = {
        name: f'the column "{name}" is now headed "{header}"' if header else f'the header of "{name}" is empty'
        for name, header in layout.renamed.items()
    }
    words = "is filled by a formula, which a value would break, so it is left alone"
    notices |= {name: f'the column "{name}" {words}' for name in layout.computed}
    words = "is not there; give a column that header and it continues"
    return notices | {name: f'the column "{name}" {words}' for name in layout.waiting}


def _is_covered(merges: Sequence[Rect], row: int, column: int) -> bool:
    return any(merge.holds(row, column) and (row, column) != (merge.top, merge.left) for merge in merges)


def _refuse_protected_tab(snapshot: Snapshot) -> None:
    for protection in snapshot.protections:
        if protection.whole_height and protection.whole_width and not protection.free:
            raise NeedsAction(
                f'The whole tab "{snapshot.title}" is protected ({protection.name}): Data > Protect sheets and ranges '
                "> this sheet > Set permissions, and add the connector's account as an editor."
            )


# ---------------------------------------------------------------- new rows


_OF_A_PLATFORM = re.compile(r"[a-z][a-z0-9_.-]*:(?!//)\S+")
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+")


class KeyShape:
    """What keys of one mapping have in common, which sets them apart from a word such as TOTAL in the key's column."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = set(map(tidy, keys))
        signs = [_signs(key) for key in self._keys]
        self._common = set.intersection(*signs) if signs else set()

    def fits(self, text: str) -> bool:
        """Whether *text* may be the key of a row of ours."""
        return text in self._keys or self._common <= _signs(text)


def _signs(text: str) -> set[str]:
    if _OF_A_PLATFORM.fullmatch(text):
        return {"of a platform"}
    if _ADDRESS.fullmatch(text):
        return {"address"}
    found = {"digits"} if any(character.isdigit() for character in text) else set()
    return found if any(character.isspace() for character in text) else found | {"one word"}


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

    def _filling(self, append: Append, row: int) -> Update:
        """*append* as the update of a blank row; its protected cells wait."""
        blocked = {column for column in append.cells if any(range_.forbids(row, column) for range_ in self._columns)}
        cells = {column: value for column, value in append.cells.items() if column not in blocked}
        names = tuple(name for name, column in self._plan.layout.columns.items() if column in blocked)
        return Update(append.row, row, cells, append.notices, append.waiting + names, fresh=True)
