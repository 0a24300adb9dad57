"""Which cells of a tab must change so that it holds the rows: the diff, by overwrite rules and people's edits. Pure.

Where new rows go is decided in ``new_rows.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from connector.core.errors import NeedsAction
from connector.core.keys import is_of_row, tidy
from connector.core.overwrite import Edits, emptied, former_key, only_own, own_first, without_base
from connector.core.row import Column, Row
from connector.core.sink import Outcome, Target
from connector.sinks.google_sheets.key_shape import KeyShape
from connector.sinks.google_sheets.layout import Layout
from connector.sinks.google_sheets.limits import Limits
from connector.sinks.google_sheets.places import letters, place_words
from connector.sinks.google_sheets.snapshot import (
    Formula,
    Link,
    Links,
    Rect,
    Snapshot,
    Value,
    former,
    key_of,
    restored,
    same,
    shows,
    value_of,
)


@dataclass(slots=True)
class Update:
    """Cells of one row: of one that is there, or of a new one.

    Args:
        edits: what the write does to each cell, and what becomes of people's edits.
        at: the row; of a new one -1 until it takes a blank row (*fresh*).
    """

    edits: Edits
    at: int
    cells: dict[int, Value]
    notices: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    before: dict[int, Value] = field(default_factory=dict)
    fresh: bool = False

    @property
    def row(self) -> Row:
        return self.edits.row


@dataclass(slots=True)
class Plan:
    """What a snapshot lacks.

    Args:
        done: outcomes of rows that need nothing, and of those that can't be written.
        updates: in the order of their rows.
        unseen: rows (by place) whose cells the snapshot does not cover; the lock's answer will.
        deletes: rows to delete, by place.
        deleted: by their keys, what such rows hold.
        held: new rows that wait for a person.
        why_held: what that person must do; "" where the file has no cells left for them.
        last: our last row, or the header row when there is none.
        insert_at: where new rows go in.
        grow: rows to be added to the grid first (only when new rows must fill blank ones).
    """

    layout: Layout
    done: list[Outcome] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)
    appends: list[Update] = field(default_factory=list)
    unseen: dict[int, Row] = field(default_factory=dict)
    deletes: dict[int, Row] = field(default_factory=dict)
    deleted: dict[str, Edits] = field(default_factory=dict)
    held: list[Update] = field(default_factory=list)
    why_held: str = ""
    last: int = 0
    insert_at: int = 0
    grow: int = 0

    @property
    def places(self) -> set[int]:
        """Rows that must be locked before anything is written into them."""
        return {update.at for update in self.updates} | set(self.unseen) | set(self.deletes)


# ---------------------------------------------------------------- the diff


def make_plan(snapshot: Snapshot, layout: Layout, target: Target, rows: Sequence[Row], limits: Limits) -> Plan:
    """Diff *rows* against *snapshot* by key and decide each cell by its column's overwrite rule.

    Raises:
        NeedsAction: the key column is gone, or this account may not edit the tab at all.
    """
    if (key := target.key) not in layout.columns:
        raise NeedsAction(
            f'The tab "{snapshot.title}" has no column "{key}" any more, and without it no row can be found again. '
            f'Give the column with the ids the header "{key}" in row {layout.header + 1}.'
        )
    _refuse_protected_tab(snapshot)
    planner = _Planner(snapshot, layout, target, limits, KeyShape(row.key for row in rows))
    for row in rows:
        planner.add(row)
    planner.plan.updates.sort(key=lambda update: update.at)
    return planner.plan


class _Planner:
    """Plans row by row what becomes of it, without deciding yet where new rows go."""

    def __init__(self, snapshot: Snapshot, layout: Layout, target: Target, limits: Limits, shape: KeyShape) -> None:
        self.plan = Plan(layout, last=layout.header)
        self._snapshot, self._layout, self._limits = snapshot, layout, limits
        self._key, self._duplicates = target.key, target.options.on_duplicate_key
        self._columns = [
            (column, layout.columns[column.name])
            for column in target.columns
            if column.name in layout.columns and column.name not in layout.computed
        ]
        self._about_columns = column_notices(layout)
        self._sees_all = set(layout.columns.values()) <= snapshot.whole_columns()
        self._places: dict[str, list[int]] = {}
        for at, text in snapshot.keys(layout.columns[target.key], layout.header):
            self._places.setdefault(text, []).append(at)
            if shape.fits(text):
                self.plan.last = max(self.plan.last, at)

    def add(self, row: Row) -> None:
        """Plan *row*: delete, append or update it, or say why it needs nothing or can't be written."""
        plan, title = self.plan, self._snapshot.title
        at, left, other = (self._find(key) for key in (row.key, row.moved_from, former_key(row, self._key)))
        if (len(at) > 1 or other) and not all(map(self._is_seen, (*at, *other))):
            plan.unseen.update(dict.fromkeys((*at, *other), row))
            return
        shown = partial(self._shown, row)
        if own := only_own(other, row, shown, instead=at):
            at, left = own, ()
        elif at and left:
            row = without_base(row)
        at = own_first(at or left, row, shown)
        notices = tuple(notice for name, notice in self._about_columns.items() if name in row.cells)
        if len(at) > 1:
            where = place_words(at)
            if self._duplicates == "stop":
                reason = f'"{self._key}" has the same value in {where} of "{title}"; delete one of them'
                plan.done.append(Outcome(row.key, "refused", reason, code="duplicate_key", column=self._key))
                return
            notices += (f"the same key is in {where}",)
            at = at if self._duplicates == "all" else at[:1]
        if row.remove and not at:
            plan.done.append(Outcome(row.key, "written", notices=notices))
        elif row.remove and row.restore:
            self._take_back(row, at[0], notices)
        elif row.remove:
            self._delete(row, at)
        elif not at:
            if len(plan.appends) < self._limits.new_rows:
                self._add_new(row, notices)
        elif not all(map(self._is_seen, at)):
            plan.unseen.update(dict.fromkeys(at, row))
        else:
            self._add_changed(row, at, notices)

    def _find(self, key: str | None) -> Sequence[int]:
        return self._places.get(tidy(key or ""), ())

    def _is_seen(self, at: int) -> bool:
        return self._sees_all or self._snapshot.shows_row(at)

    def _shown(self, row: Row, at: int) -> int:
        """How many cells of the row at *at* show what was written last for *row*."""
        edits = Edits(row, created=False)
        there = ((column, self._snapshot.value(at, place)) for column, place in self._columns)
        return sum(edits.is_ours(column.name, shows(value, column.type)) for column, value in there)

    def _delete(self, row: Row, at: Sequence[int]) -> None:
        self.plan.deletes.update(dict.fromkeys(at, row))
        edits = self.plan.deleted[row.key] = Edits(row, created=False)
        edits.former = {
            column.name: former(self._snapshot.value(at[0], place), column.type) for column, place in self._columns
        }

    def _take_back(self, row: Row, at: int, notices: tuple[str, ...]) -> None:
        """Delete the row that an earlier write added, if nobody else has put anything into it, and nothing in it is
        protected; else empty our cells."""
        if not self._snapshot.shows_row(at):
            self.plan.unseen[at] = row  # what else is in it, the lock's answer will show
        elif self._has_other_values(row, at) or any(
            range_.rect.top <= at < range_.rect.bottom for range_ in self._snapshot.protections
        ):
            self._add_changed(emptied(row, self._key), [at], notices)
        else:
            self._delete(row, [at])

    def _has_other_values(self, row: Row, at: int) -> bool:
        edits, columns = Edits(row, created=False), {place: column for column, place in self._columns}
        for place, value in self._snapshot.line(at).items():
            column = columns.get(place)
            if place == self._layout.columns[self._key] or value is False:
                continue
            if isinstance(value, Formula) and is_of_row(value.text, at + 1):
                continue
            if column is None or not edits.is_ours(column.name, shows(value, column.type)):
                return True
        return False

    def _add_new(self, row: Row, notices: tuple[str, ...]) -> None:
        cells: dict[int, Value] = {}
        edits = Edits(row, created=True)
        for column, place in self._columns:
            if column.name not in row.cells or column.name == self._key:
                continue
            if edits.writes(column, None, shows(None, column.type)):
                value = self._wanted(row, column)
                if (problem := self._too_much(row, column, value)) is not None:
                    if column.on_error == "leave_empty":
                        edits.leaves_out(column.name)
                        continue
                    self.plan.done.append(problem)
                    return
                if value is not None:
                    cells[place] = value
        if not cells and row.restore and row.last is not None:
            self.plan.done.append(edits.told(Outcome(row.key, "written", notices=notices)))  # people deleted the row
            return
        cells[self._layout.columns[self._key]] = self._key_cell(row)
        self.plan.appends.append(Update(edits, -1, cells, notices, self._waiting(row)))

    def _wanted(self, row: Row, column: Column) -> Value:
        """What the row's cell is typed as."""
        new = row.cells[column.name]
        return restored(new, column.type) if row.restore else value_of(new, column.type)

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
            outcome = Outcome(row.key, "written", waiting=waiting, notices=notes)
            self.plan.done.append(updates[0].edits.told(outcome))

    def _changes(self, row: Row, at: int, notices: tuple[str, ...]) -> Update:
        """The cells of the row at *at* that must change; a key that is the same is left as people wrote it."""
        edits = Edits(row, created=False)
        update = Update(edits, at, {}, notices, self._waiting(row))
        for column, place in self._columns:
            if column.name not in row.cells:
                continue
            there = self._snapshot.value(at, place)
            if column.name == self._key:
                if row.moved_from is not None and key_of(there) in (tidy(row.moved_from), former_key(row, self._key)):
                    update.cells[place], update.before[place] = self._key_cell(row), there
                    edits.former[column.name] = former(there, column.type)
                continue
            wanted = self._wanted(row, column)
            exactly = same(there, wanted)
            if exactly and not row.tried:
                continue  # as most cells are
            was = former(there, column.type)
            cell = there.text if isinstance(there, Formula) else was
            if not edits.writes(column, cell, shows(there, column.type), exactly=exactly, former=was):
                continue
            if (obstacle := self._obstacle(column.name, at, place)) is not None:
                update.waiting += (column.name,)
                update.notices += (obstacle,)
                edits.leaves(column.name)
                continue
            if column.on_error == "leave_empty" and self._too_much(row, column, wanted) is not None:
                edits.leaves_out(column.name)
                continue
            update.cells[place] = wanted
            update.before[place] = there
        for column, _ in self._columns:
            if column.name in edits.recovered:
                known = value_of(edits.recovered[column.name], column.type)
                edits.former[column.name] = former(known, column.type)
        update.notices += tuple(f'somebody\'s edit in "{name}" was overwritten' for name in edits.overwritten)
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
        value = value.text if isinstance(value, Link | Links) else value
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
