"""Which cells of a tab must change so that it holds the rows: the diff, by the overwrite rules. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from connector.core.errors import NeedsAction
from connector.core.keys import tidy
from connector.core.overwrite import decide
from connector.core.row import Column, Row
from connector.core.sink import Outcome
from connector.sinks.google_sheets.layout import Layout
from connector.sinks.google_sheets.snapshot import (
    Protection,
    Rect,
    Snapshot,
    Value,
    as_cell,
    key_of,
    letters,
    place_words,
    same,
    value_of,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Google's limits, and how much of them one batch may use."""

    cell_characters: int = 50_000
    file_cells: int = 10_000_000
    batch_bytes: int = 1_900_000
    """2 MB a request is recommended."""
    tagged_rows: int = 2_000
    """Two characters each, of the 30,000 that a sheet's metadata may hold."""
    new_rows: int = 10_000
    """Planned at once; the rest is planned on the answer to the batch that adds them."""
    whole_tab_cells: int = 100_000
    """Up to here a tab is read as it is; beyond, only header row and managed columns."""


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
        insert_at: where new rows go in.
        grow: rows to be added to the grid first (only when new rows must fill blank ones).
    """

    layout: Layout
    done: list[Outcome] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)
    appends: list[Append] = field(default_factory=list)
    unseen: dict[int, Row] = field(default_factory=dict)
    deletes: dict[int, Row] = field(default_factory=dict)
    insert_at: int = 0
    grow: int = 0

    @property
    def places(self) -> set[int]:
        """Rows that must be locked before anything is written into them."""
        return {update.at for update in self.updates} | set(self.unseen) | set(self.deletes)


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
) -> Plan:
    """Diff *rows* against *snapshot* by key and decide each cell by its column's overwrite rule.

    Args:
        duplicates: what to do with a record that has several rows.
        room: cells that the file still has room for.

    Raises:
        NeedsAction: the key column is gone, or this account may not edit the tab at all.
    """
    if key not in layout.columns:
        raise NeedsAction(
            f'The tab "{snapshot.title}" has no column "{key}" any more, and without it no row can be found again. '
            f'Give the column with the ids the header "{key}" in row {layout.header + 1}.'
        )
    _refuse_protected_tab(snapshot)
    planner = _Planner(snapshot, layout, columns, key, duplicates, limits)
    for row in rows:
        planner.add(row)
    plan = planner.plan
    plan.updates.sort(key=lambda update: update.at)
    plan.insert_at = _beyond_merges(snapshot, planner.last + 1)
    _keep_to_the_file(plan, snapshot, room)
    if plan.appends and _insert_forbidden(snapshot, plan.insert_at):
        _fill_blank_rows(plan, snapshot, planner.last)
    return plan


class _Planner:
    """Plans row by row what becomes of it, without deciding yet where new rows go.

    Attributes:
        last: the last row with a key, or the header row.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        layout: Layout,
        columns: Sequence[Column],
        key: str,
        duplicates: Literal["first", "all", "stop"],
        limits: Limits,
    ) -> None:
        self.plan = Plan(layout)
        self._snapshot = snapshot
        self._layout = layout
        self._columns = [(column, layout.columns[column.name]) for column in columns if column.name in layout.columns]
        self._key = key
        self._duplicates = duplicates
        self._limits = limits
        self._about_columns = column_notices(layout)
        self._sees_all = set(layout.columns.values()) <= snapshot.whole_columns()
        self._places: dict[str, list[int]] = {}
        self.last = layout.header
        for at, text in snapshot.keys(layout.columns[key], layout.header):
            self._places.setdefault(text, []).append(at)
            self.last = max(self.last, at)

    def add(self, row: Row) -> None:
        """Plan *row*: delete, append or update it, or say why it needs nothing or can't be written."""
        plan, title = self.plan, self._snapshot.title
        at = self._places.get(tidy(row.key), [])
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
                value = value_of(new)
                if (problem := self._too_much(row, column, value)) is not None:
                    self.plan.done.append(problem)
                    return
                if value is not None:
                    cells[place] = value
        key_column = self._layout.columns[self._key]
        if key_of(cells.get(key_column)) != tidy(row.key):
            cells[key_column] = row.key  # a key whose typed form would read back otherwise (1.10) is kept as text
        self.plan.appends.append(Append(row, cells, notices, self._waiting(row)))

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
        """The cells of the row at *at* that must change; the key is left as people wrote it."""
        update = Update(row, at, {}, notices, self._waiting(row))
        for column, place in self._columns:
            if column.name == self._key or column.name not in row.cells:
                continue
            there = self._snapshot.value(at, place)
            if decide(column, as_cell(there), row.cells[column.name], created=False) != "write":
                continue
            wanted = value_of(row.cells[column.name])
            if same(there, wanted):
                continue
            if (obstacle := self._obstacle(column.name, at, place)) is not None:
                update.waiting += (column.name,)
                update.notices += (obstacle,)
                continue
            if row.last is not None and not same(there, value_of(row.last.get(column.name))):
                update.notices += (f'somebody\'s edit in "{column.name}" was overwritten',)
            update.cells[place] = wanted
            update.before[place] = there
        return update

    def _obstacle(self, name: str, row: int, column: int) -> str | None:
        """Why a cell has to wait, in words."""
        if _is_covered(self._snapshot.merges, row, column):
            return f'"{name}" is under merged cells in row {row + 1}'
        for protection in self._snapshot.protections:
            if protection.whole_height and protection.forbids(row, column):
                return f'"{name}" is protected ({protection.name})'
        return None

    def _waiting(self, row: Row) -> tuple[str, ...]:
        return tuple(name for name in self._layout.waiting if name in row.cells)

    def _too_much(self, row: Row, column: Column, value: Value) -> Outcome | None:
        most = self._limits.cell_characters
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


# ---------------------------------------------------------------- where new rows go


def _beyond_merges(snapshot: Snapshot, at: int) -> int:
    """*at*, or the first row below where an insert would not stretch a merged cell over the new rows."""
    while inside := [merge.bottom for merge in snapshot.merges if merge.top < at < merge.bottom]:
        at = max(inside)
    return at


def _insert_forbidden(snapshot: Snapshot, at: int) -> bool:
    return any(
        protection.whole_height or protection.rect.top < at < protection.rect.bottom
        for protection in snapshot.protections
    )


def _fill_blank_rows(plan: Plan, snapshot: Snapshot, last: int) -> None:
    """Through a protected column no row can be inserted: new records take blank rows below, locked like any row."""
    knows_all = len(snapshot.whole_columns()) == snapshot.column_count
    # Where other people's columns were not read, only rows beyond the grid are surely blank.
    used = max(snapshot.cells, default=-1) if knows_all else snapshot.row_count - 1
    forbidden = [protection.rect for protection in snapshot.protections if not protection.whole_height]
    places: list[int] = []
    at = max(used, last) + 1
    while len(places) < len(plan.appends):
        if not any(rect.top <= at < rect.bottom for rect in (*forbidden, *snapshot.merges)):
            places.append(at)
        at += 1
    # One row stays below: the lock's sentinel must not be a row that is filled.
    plan.grow = max(0, places[-1] + 2 - snapshot.row_count)
    columns = [protection for protection in snapshot.protections if protection.whole_height]
    plan.updates += [
        _filling(plan.layout, append, place, columns) for append, place in zip(plan.appends, places, strict=True)
    ]
    plan.appends.clear()


def _filling(layout: Layout, append: Append, at: int, protections: Sequence[Protection]) -> Update:
    """*append* as the update of a blank row; its protected cells wait."""
    blocked = {column for column in append.cells if any(range_.forbids(at, column) for range_ in protections)}
    cells = {column: value for column, value in append.cells.items() if column not in blocked}
    names = tuple(name for name, column in layout.columns.items() if column in blocked)
    return Update(append.row, at, cells, append.notices, append.waiting + names, fresh=True)


def _keep_to_the_file(plan: Plan, snapshot: Snapshot, room: int) -> None:
    fits = max(0, room // max(1, snapshot.column_count))
    for append in plan.appends[fits:]:
        reason = (
            "the spreadsheet has reached Google's limit of 10,000,000 cells: delete blank rows, blank columns or tabs "
            "that nobody needs, then replay"
        )
        plan.done.append(Outcome(append.row.key, "refused", reason, code="file_full"))
    del plan.appends[fits:]
