"""Which cells of a tab must change so that it holds the rows: the diff, by the overwrite rules. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from connector.core.errors import NeedsAction
from connector.core.overwrite import decide
from connector.core.row import Column, Row
from connector.core.sink import Outcome
from connector.sinks.google_sheets.layout import (
    Layout,
)
from connector.sinks.google_sheets.snapshot import (
    Rect,
    Snapshot,
    Value,
    as_cell,
    canonical_key,
    letters,
    place_words,
    same,
    tidy,
    typed_value,
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
    size: int = 0


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

    def forget_cells(self) -> None:
        """Let go of what is to be written where, once a batch's requests say it."""
        for update in self.updates:
            update.cells.clear()
            update.before.clear()
        for append in self.appends:
            append.cells.clear()


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
        room: cells that the file still has room for.

    Raises:
        NeedsAction: the key column is gone, or this account may not edit the tab at all.
    """
    plan = Plan(layout)
    key_column = layout.columns.get(key)
    if key_column is None:
        raise NeedsAction(
            f'The tab "{snapshot.title}" has no column "{key}" any more, and without it no row can be found again. '
            f'Give the column with the ids the header "{key}" in row {layout.header + 1}.'
        )
    _refuse_protected_tab(snapshot)
    whole_columns, whole_rows = snapshot.whole_columns(), snapshot.whole_rows()
    managed = set(layout.columns.values())
    all_known = managed <= whole_columns

    def is_known(row: int) -> bool:
        return all_known or any(first <= row < end for first, end in whole_rows)

    places: dict[str, int] = {}
    more_places: dict[str, list[int]] = {}
    last = layout.header
    for place, value in enumerate(snapshot.cells.column(key_column)):
        if value is None or place == layout.header:
            continue
        text = canonical_key(value)
        if text:
            if places.setdefault(text, place) != place:
                more_places.setdefault(text, []).append(place)
            last = max(last, place)
    plan.insert_at = _beyond_merges(snapshot, last + 1)
    size = 0
    ordered = [(column, layout.columns[column.name]) for column in columns if column.name in layout.columns]
    about_columns = column_notices(layout)
    for row in rows:
        text = tidy(row.key)
        at = [places[text], *more_places.get(text, ())] if text in places else []
        if len(at) > 1 and duplicates == "stop":
            reason = (
                f'"{key}" stands in {place_words(at)} of "{snapshot.title}" with the same value; delete one of them'
            )
            plan.done.append(Outcome(row.key, "refused", reason, code="duplicate_key", column=key))
            continue
        notices = tuple(notice for name, notice in about_columns.items() if name in row.cells)
        if len(at) > 1:
            notices += (f"the same key stands in {place_words(at)}",)
            at = at if duplicates == "all" else at[:1]
        if row.remove:
            plan.deletes.update(dict.fromkeys(at, row))
            if not at:
                plan.done.append(Outcome(row.key, "written", notices=notices))
            continue
        if not at:
            # One batch takes no more than this; the rest is planned on its answer.
            if size <= limits.batch_bytes:
                size += _plan_append(plan, row, ordered, key, limits, notices)
            continue
        if not all(is_known(place) for place in at):
            plan.unseen.update(dict.fromkeys(at, row))
            continue
        changed = [_plan_update(snapshot, layout, row, place, ordered, key, notices) for place in at]
        refused = next(
            (problem for update in changed if (problem := _refusal(snapshot, update, ordered, limits))), None
        )
        if refused is not None:
            plan.done.append(refused)
        elif any(update.cells for update in changed):
            plan.updates.extend(update for update in changed if update.cells)
        else:
            waiting = tuple(dict.fromkeys(name for update in changed for name in update.waiting))
            notes = tuple(dict.fromkeys(note for update in changed for note in update.notices)) or notices
            plan.done.append(Outcome(row.key, "written", waiting=waiting, notices=notes))
    plan.updates.sort(key=lambda update: update.at)
    _keep_to_the_file(plan, snapshot, room)
    if plan.appends and _insert_forbidden(snapshot, plan.insert_at):
        _fill_blank_rows(plan, snapshot, last)
    return plan


def column_notices(layout: Layout) -> dict[str, str]:
    """What people did to the managed columns, in words, by the mapping's name."""
    notices = {
        name: f'the column "{name}" is now headed "{header}"' if header else f'the header of "{name}" is empty'
        for name, header in layout.renamed.items()
    }
    words = "is not there; give a column that header and it goes on"
    return notices | {name: f'the column "{name}" {words}' for name in layout.waiting}


def _plan_append(
    plan: Plan,
    row: Row,
    ordered: Sequence[tuple[Column, int]],
    key: str,
    limits: Limits,
    notices: tuple[str, ...],
) -> int:
    """Plan a new row; its bytes in a batch."""
    cells: dict[int, Value] = {}
    for column, place in ordered:
        if column.name not in row.cells:
            continue
        new = row.cells[column.name]
        if column.name == key or decide(column, None, new, created=True) == "write":
            value = value_of(new)
            if (problem := _too_much(row, column, value, limits)) is not None:
                plan.done.append(problem)
                return 0
            if value is not None:
                cells[place] = value
    plan_key = next(place for column, place in ordered if column.name == key)
    if canonical_key(cells.get(plan_key)) != tidy(row.key):
        cells[plan_key] = row.key  # a key whose typed form would read back otherwise (1.10) is kept as text
    append = Append(row, cells, notices, _waiting(plan.layout, row))
    append.size = 14 + sum(size_of(cells.get(place)) for _, place in ordered)
    plan.appends.append(append)
    return append.size


def _waiting(layout: Layout, row: Row) -> tuple[str, ...]:
    return tuple(name for name in layout.waiting if name in row.cells)


def _plan_update(
    snapshot: Snapshot,
    layout: Layout,
    row: Row,
    at: int,
    ordered: Sequence[tuple[Column, int]],
    key: str,
    notices: tuple[str, ...],
) -> Update:
    update = Update(row, at, {}, notices, _waiting(layout, row))
    for column, place in ordered:
        if column.name == key or column.name not in row.cells:
            continue  # found by its key: however people wrote it, it is the same
        there = snapshot.value(at, place)
        if decide(column, as_cell(there), row.cells[column.name], created=False) != "write":
            continue
        wanted = value_of(row.cells[column.name])
        if same(there, wanted):
            continue
        if _is_covered(snapshot.merges, at, place):
            update.waiting += (column.name,)
            update.notices += (f'"{column.name}" lies under merged cells in row {at + 1}',)
            continue
        if any(range_.whole_height and range_.forbids(at, place) for range_ in snapshot.protections):
            name = next(range_.name for range_ in snapshot.protections if range_.forbids(at, place))
            update.waiting += (column.name,)
            update.notices += (f'"{column.name}" is protected ({name})',)
            continue
        if row.last is not None and not same(there, value_of(row.last.get(column.name))):
            update.notices += (f'somebody\'s edit in "{column.name}" was overwritten',)
        update.cells[place] = wanted
        update.before[place] = there
    return update


def _is_covered(merges: Sequence[Rect], row: int, column: int) -> bool:
    return any(merge.holds(row, column) and (row, column) != (merge.top, merge.left) for merge in merges)


def _too_much(row: Row, column: Column, value: Value, limits: Limits) -> Outcome | None:
    if not isinstance(value, str) or (value.isascii() and len(value) <= limits.cell_characters):
        return None
    characters = len(value.encode("utf-16-le", "surrogatepass")) // 2  # as Google counts: two for an emoji
    if characters > limits.cell_characters:
        reason = f'"{column.name}" has {characters:,} characters; Google Sheets takes {limits.cell_characters:,} a cell'
        return Outcome(row.key, "refused", reason, code="cell_too_long", column=column.name)
    if any("\ud800" <= character <= "\udfff" for character in value):
        reason = f'"{column.name}" holds half of a character (a lone surrogate), which no far side takes'
        return Outcome(row.key, "refused", reason, code="not_unicode", column=column.name)
    return None


def _refusal(
    snapshot: Snapshot, update: Update, ordered: Sequence[tuple[Column, int]], limits: Limits
) -> Outcome | None:
    for column, place in ordered:
        if place not in update.cells:
            continue
        if (problem := _too_much(update.row, column, update.cells[place], limits)) is not None:
            return problem
        for protection in snapshot.protections:
            if protection.forbids(update.at, place):
                reason = (
                    f'{letters(place)}{update.at + 1} of "{snapshot.title}" is protected ({protection.name}): '
                    "Data > Protect sheets and ranges > this range > Set permissions, and add the connector's account"
                )
                return Outcome(update.row.key, "refused", reason, code="protected_cell", column=column.name)
    return None


def _refuse_protected_tab(snapshot: Snapshot) -> None:
    for protection in snapshot.protections:
        if protection.whole_height and protection.whole_width and not protection.free:
            raise NeedsAction(
                f'The whole tab "{snapshot.title}" is protected ({protection.name}): Data > Protect sheets and ranges '
                "> this sheet > Set permissions, and add the connector's account as an editor."
            )


def _beyond_merges(snapshot: Snapshot, at: int) -> int:
    """*at*, or the first row below where an insert would not stretch a merged cell over the new rows."""
    while True:
        inside = [merge.bottom for merge in snapshot.merges if merge.top < at < merge.bottom]
        if not inside:
            return at
        at = max(inside)


def _insert_forbidden(snapshot: Snapshot, at: int) -> bool:
    return any(
        protection.whole_height or protection.rect.top < at < protection.rect.bottom
        for protection in snapshot.protections
    )


def _fill_blank_rows(plan: Plan, snapshot: Snapshot, last: int) -> None:
    """Through a protected column no row can be inserted: new records take blank rows below, locked like any row."""
    knows_all = len(snapshot.whole_columns()) == snapshot.column_count
    # Where other people's columns were not read, only rows beyond the grid are surely blank.
    used = snapshot.cells.height - 1 if knows_all else snapshot.row_count - 1
    forbidden = [protection.rect for protection in snapshot.protections if not protection.whole_height]
    places: list[int] = []
    at = max(used, last) + 1
    while len(places) < len(plan.appends):
        if not any(rect.top <= at < rect.bottom for rect in (*forbidden, *snapshot.merges)):
            places.append(at)
        at += 1
    # One row stays below: the lock's sentinel must not be a row that is filled.
    plan.grow = max(0, places[-1] + 2 - snapshot.row_count)
    for append, place in zip(plan.appends, places, strict=True):
        blocked = [
            column
            for column in append.cells
            if any(range_.whole_height and range_.forbids(place, column) for range_ in snapshot.protections)
        ]
        cells = {column: value for column, value in append.cells.items() if column not in blocked}
        names = tuple(name for name, column in plan.layout.columns.items() if column in blocked)
        plan.updates.append(Update(append.row, place, cells, append.notices, append.waiting + names, fresh=True))
    plan.appends.clear()


def _keep_to_the_file(plan: Plan, snapshot: Snapshot, room: int) -> None:
    fits = max(0, room // max(1, snapshot.column_count))
    for append in plan.appends[fits:]:
        reason = (
            "the spreadsheet has reached Google's limit of 10,000,000 cells: delete blank rows, blank columns or tabs "
            "that nobody needs, then replay"
        )
        plan.done.append(Outcome(append.row.key, "refused", reason, code="file_full"))
    del plan.appends[fits:]


def size_of(value: Value) -> int:
    """Bytes of one CellData in a batch's JSON, with its comma."""
    return len(msgspec.json.encode(typed_value(value))) + 1
