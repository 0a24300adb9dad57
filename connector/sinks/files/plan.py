"""What a batch changes in a table that people work in. Knows neither CSV nor XLSX, and no files.

A format brings a ``Document`` that loads, shows tables and dumps itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from connector.core.errors import NeedsAction
from connector.core.headers import match_headers
from connector.core.keys import has_form_of
from connector.core.overwrite import Edits, emptied, former_key, only_own, own_first, without_base
from connector.core.row import Cell, Column, Row
from connector.core.sink import Change, Outcome, Target


class CellRefused(Exception):
    """The format has no place for a cell; its row is refused, the others are written.

    Args:
        code: short and stable, for logs.
        reason: plain words, what to do.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


Cells = Mapping[int, tuple[Column, Any]]
"""Raw cells of one row by position, each with its column."""


class Table(Protocol):
    """A header and rows, in the format's own raw cells. A place is a row's number, valid until ``drop``."""

    def headers(self) -> Sequence[str]:
        """The texts of the header by position; () for an empty table."""

    def keys(self, position: int) -> Iterator[tuple[int, str]]:
        """The place and the canonical key of each row, read from its cell at *position*. Empty cells are left out."""

    def keys_above(self, position: int) -> Iterator[str]:
        """The canonical keys of what is above the header: a title, or rows that a person's sorting put there."""

    def key_of(self, raw: Any) -> str:
        """The canonical key that a raw cell shows; "" for none."""

    def row(self, place: int) -> Sequence[Any]:
        """The raw cells of a row; may be shorter than the header."""

    def encode(self, column: Column, cell: Cell) -> Any:
        """The raw cell for *cell*. Raises CellRefused."""

    def decode(self, column: Column, raw: Any) -> Cell:
        """The value of a raw cell (None beyond the row's end); text where the format keeps no types."""

    def same(self, column: Column, there: Any, raw: Any) -> bool:
        """Whether the raw cell *there* already is *raw*."""

    def shows(self, column: Column, there: Any, raw: Any) -> bool:
        """Whether *there* has the value of *raw*, perhaps written in the way of another program."""

    def former(self, column: Column, raw: Any) -> Cell:
        """A value from which ``restored`` makes exactly that raw cell again (None beyond the row's end)."""

    def restored(self, column: Column, former: Cell) -> Any:
        """The raw cell of which ``former`` was made. Raises CellRefused."""

    def is_value(self, raw: Any, place: int) -> bool:
        """Whether a raw cell of that row holds something, beyond what people prepare in rows for later."""

    def add_columns(self, columns: Sequence[Column]) -> None:
        """Append to the header; make the header when there is none."""

    def update(self, place: int, cells: Cells) -> None:
        """Put raw cells into a row."""

    def add(self, rows: Sequence[Cells], position: int, is_ours: Callable[[str], bool]) -> None:
        """Add rows below the last of ours, and above what people have below it: a TOTAL, a legend.

        Args:
            position: of the key's cell.
            is_ours: whether the text of a key's cell may be a key of ours.
        """

    def drop(self, places: Iterable[int]) -> None:
        """Delete rows. Places are no longer valid afterwards."""

    def facts(self) -> str:
        """A few words for ``check``: dialect, tab, number of rows."""


class Document(Protocol):
    """A parsed file."""

    def table(self, target: Target) -> Table:
        """The table that *target* writes; empty when it does not exist yet. Raises NeedsAction."""

    def dump(self, now: datetime) -> bytes:
        """The whole file, as of *now*."""


class PlannedCell(NamedTuple):
    """A cell that is written: its value *before* and *after*, and the *raw* cell of the format."""

    before: Cell
    after: Cell
    raw: Any


class RowPlan(Struct):
    """What one row changes: ``place`` None is a new row; ``remove`` are the places to delete."""

    row: Row
    outcome: Outcome
    place: int | None = None
    cells: dict[str, PlannedCell] = field(default_factory=dict)
    remove: tuple[int, ...] = ()

    @property
    def change(self) -> Change:
        """The plan in the words of ``preview``."""
        found_by = None if self.place is None else "key"
        if self.outcome.kind == "refused":
            return Change(self.row.key, found_by, {}, f"would be refused: {self.outcome.reason}")
        if self.row.remove:
            note = "the row would be deleted" if self.remove else "there is no such row"
            return Change(self.row.key, "key" if self.remove else None, {}, note)
        cells = {name: (cell.before, cell.after) for name, cell in self.cells.items()}
        kept = self.outcome.kept
        note = "" if cells else "what people typed stays" if kept else "everything is equal already"
        return Change(self.row.key, found_by, cells, note, kept)


ROWS_SEARCHED_FOR_THE_HEADER = 20


def header_among(rows: Mapping[int, Sequence[str]], key: str) -> int:
    """Which of the first rows (by number, none blank) is the header: the one with the key's column, else the first.

    People write a title above their table.
    """
    return next((row for row, texts in rows.items() if match_headers(dict(enumerate(texts)), [key])), min(rows))


def locate(table: Table, target: Target) -> dict[str, int]:
    """The position of each column of *target* that the header has."""
    return match_headers(dict(enumerate(table.headers())), [column.name for column in target.columns])


def missing_columns(table: Table, target: Target) -> tuple[Column, ...]:
    found = locate(table, target)
    return tuple(column for column in target.columns if column.name not in found)


def make_plan(table: Table, target: Target, rows: Sequence[Row], file: str) -> list[RowPlan]:
    """Decide what *rows* change in *table*; changes nothing.

    Args:
        file: the name of the file, for people.

    Raises:
        NeedsAction: the key's column is missing, or another one under ``missing_columns = "stop"``; or one of *rows* is
            above the header, where it would get a second row.
    """
    headers, missing = table.headers(), missing_columns(table, target)
    if headers and target.key in {column.name for column in missing}:
        raise NeedsAction(
            f'{file} has no column "{target.key}", which finds the rows again. Its header is the first line: add '
            f'"{target.key}" there (or name it back), or let the sink write another file; nothing was changed.'
        )
    names = ", ".join(f'"{column.name}"' for column in missing)
    if headers and missing and target.options.missing_columns == "stop":
        raise NeedsAction(
            f'{file} lacks {names}: add them to its header, or set missing_columns = "create" in {target.file}.'
        )
    if not rows:
        return []
    planner = _Planner(table, target)
    if any(planner.is_above(key) for row in rows for key in (row.key, row.moved_from)):
        raise NeedsAction(
            f"{file} has rows of affiliates above its header row, which was sorted or moved with them: put the row "
            f'with "{target.key}" above them again; nothing was changed.'
        )
    plan = [planner.plan(row) for row in rows]
    if headers and missing:
        outcome = plan[0].outcome
        notice = f"made the missing columns {names}"
        plan[0].outcome = replace(outcome, notices=(*outcome.notices, notice))
    return plan


class _Planner:
    """The rows of one table, found by their keys."""

    def __init__(self, table: Table, target: Target) -> None:
        self._table, self._key = table, target.key
        self._columns = {column.name: column for column in target.columns}
        self._positions = locate(table, target)
        self._places: dict[str, list[int]] = {}
        self._above: set[str] = set()
        if target.key in self._positions:
            for place, key in table.keys(self._positions[target.key]):
                self._places.setdefault(key, []).append(place)
            self._above.update(table.keys_above(self._positions[target.key]))

    def is_above(self, key: str | None) -> bool:
        """Whether the row of *key* is above the header."""
        return bool(key) and self._as_shown(key) in self._above

    def _as_shown(self, key: str | None) -> str:
        with suppress(CellRefused):
            return self._table.key_of(self._table.encode(self._columns[self._key], key))
        return ""

    def _find(self, key: str | None) -> Sequence[int]:
        return () if key is None else self._places.get(self._as_shown(key), ())

    def _shown(self, row: Row, place: int) -> int:
        """How many cells of the row at *place* show what was written last for *row*."""
        there, edits = _RowThere(self._table, self._positions, place), Edits(row, created=False)
        columns = [self._columns[name] for name in self._positions]
        return sum(edits.is_ours(column.name, partial(there.shows, column, there.raw(column))) for column in columns)

    def plan(self, row: Row) -> RowPlan:
        shown = partial(self._shown, row)
        found = own_first(self._find(row.key), row, shown)
        if row.remove:
            return self._removal(row, found)
        if own := only_own(self._find(former_key(row, self._key)), row, shown, instead=found):
            return self._written(row, own, moved=True)
        if left := own_first(self._find(row.moved_from), row, shown):
            if not found:
                return self._written(row, left, moved=True)
            row = without_base(row)
        return self._written(row, found)

    def _written(self, row: Row, found: Sequence[int], *, moved: bool = False) -> RowPlan:
        table, place = self._table, found[0] if found else None
        cells: dict[str, PlannedCell] = {}
        notices: list[str] = []
        edits = Edits(row, created=place is None)
        there = _RowThere(table, self._positions, place)
        for name, new in row.cells.items():
            column, is_key = self._columns[name], name == self._key
            if is_key and place is not None and not moved:
                continue  # the row was found by it: it is left as the person's program wrote it
            raw_there = there.raw(column)
            is_already = place is not None and there.is_already(column, raw_there, row)
            old = None if place is None or is_already else table.decode(column, raw_there)
            former = None if old is None else table.former(column, raw_there)
            shows = partial(there.shows, column, raw_there)
            if not is_key and not edits.writes(column, old, shows, exactly=is_already, former=former):
                continue
            try:
                raw = there.raw_for(column, row)
                if is_key and table.key_of(raw) != row.key:
                    raw = table.encode(column, row.key)  # as a time without its zone, say, it would not be found again
            except CellRefused as refusal:
                if is_key or column.on_error != "leave_empty":
                    outcome = Outcome(row.key, "refused", reason=refusal.reason, code=refusal.code, column=name)
                    return RowPlan(row, outcome, place)
                edits.leaves_out(name)
                notices.append(f"{name}: left as it was ({refusal.code})")
                continue
            if is_key and place is not None:
                edits.former[name] = table.former(column, raw_there)
            cells[name] = PlannedCell(old, new, raw)
        for name, cell in edits.recovered.items():
            with suppress(CellRefused):
                edits.former[name] = table.former(self._columns[name], table.encode(self._columns[name], cell))
        if place is None and set(cells) <= {self._key} and row.restore and row.last is not None:
            cells.clear()  # a person deleted the row that would be put back
        notices += [f"{name}: a person's edit was overwritten" for name in edits.overwritten]
        if len(found) > 1:
            notices.append(f"the key is in {len(found)} rows; the first one is kept up to date")
        return RowPlan(row, edits.told(Outcome(row.key, "written", notices=tuple(notices))), place, cells)

    def _removal(self, row: Row, found: Sequence[int]) -> RowPlan:
        """All rows of that key go, since a person whose record is to go must not stay in a second one. What takes an
        added row back takes that row, and only when nobody else has put anything into it."""
        there = _RowThere(self._table, self._positions, found[0] if found else None)
        if row.restore and found:
            if self._has_other_values(there, row):
                row = emptied(row, self._key)
                ours = {name: cell for name, cell in row.cells.items() if name in self._columns}
                return self._written(replace(row, cells=ours), found)
            found = found[:1]
        columns = [self._columns[name] for name in self._positions] if found else []
        former = {column.name: self._table.former(column, there.raw(column)) for column in columns}
        return RowPlan(row, Outcome(row.key, "written", former=former), remove=tuple(found))

    def _has_other_values(self, there: _RowThere, row: Row) -> bool:
        """Whether the row holds anything but its key and what we wrote."""
        edits = Edits(row, created=False)
        names = {position: name for name, position in self._positions.items()}
        for position, raw in enumerate(there.raws):
            name = names.get(position)
            if name == self._key or there.place is None or not self._table.is_value(raw, there.place):
                continue
            if name is None or not edits.is_ours(name, partial(there.shows, self._columns[name], raw)):
                return True
        return False


class _RowThere:
    """What a row of the table holds now; *place* None: it is not there."""

    def __init__(self, table: Table, positions: Mapping[str, int], place: int | None) -> None:
        self._table, self._positions = table, positions
        self.place = place
        self.raws = () if place is None else table.row(place)

    def raw(self, column: Column) -> Any:
        position = self._positions.get(column.name, len(self.raws))
        return self.raws[position] if position < len(self.raws) else None

    def raw_for(self, column: Column, row: Row) -> Any:
        """The raw cell that *row* puts into that column. Raises CellRefused."""
        new = row.cells[column.name]
        return self._table.restored(column, new) if row.restore else self._table.encode(column, new)

    def is_already(self, column: Column, raw: Any, row: Row) -> bool:
        """Whether *raw* is what *row* would put there."""
        with suppress(CellRefused):
            return self._table.same(column, raw, self.raw_for(column, row))
        return False

    def shows(self, column: Column, raw: Any, cell: Cell) -> bool:
        """Whether *raw* is how the table shows a cell, or how a program does that people open it with."""
        with suppress(CellRefused):
            return self._table.shows(column, raw, self._table.encode(column, cell))
        return False


def carry_out(table: Table, target: Target, plan: Sequence[RowPlan]) -> None:
    """Do to *table* what *plan* says; *plan* must have been made from this very table."""
    missing = missing_columns(table, target)
    if missing:
        table.add_columns(missing)
    positions = locate(table, target)
    columns = {column.name: column for column in target.columns}
    new: list[Cells] = []
    for item in plan:
        cells = {positions[name]: (columns[name], cell.raw) for name, cell in item.cells.items()}
        if cells and item.place is not None:
            table.update(item.place, cells)
        elif cells:
            new.append(cells)
    remove = [place for item in plan for place in item.remove]
    if remove:
        table.drop(remove)
    if new:
        table.add(new, positions[target.key], has_form_of(item.row.key for item in plan))
