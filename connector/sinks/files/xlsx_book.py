"""One tab of an Excel workbook: typed cells, text that is never a formula, people's work untouched.

Knows no records and no mapping files. The workbook goes through openpyxl, which can't carry charts, pictures, macros
and some newer features: a workbook that holds such things is left alone, with words, rather than damaged.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Any

import openpyxl
from msgspec.structs import replace
from openpyxl.cell.cell import MergedCell
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.cell_range import CellRange

from connector.core.errors import NeedsAction
from connector.core.keys import canonical_key, text_of
from connector.core.look import arranged
from connector.core.row import Column
from connector.core.sink import Target
from connector.sinks.files.plan import ROWS_SEARCHED_FOR_THE_HEADER, Cells, header_among, locate
from connector.sinks.files.xlsx_cells import (
    Link,
    decode,
    encode,
    former,
    is_value,
    key_text,
    put,
    raw_of,
    restored,
    same,
)
from connector.sinks.files.xlsx_look import FONT, Look, is_dressed, note_update, restore_note_sizes, width_of
from connector.sinks.files.xlsx_reading import WouldLose, read
from connector.sinks.files.xlsx_rows import add_rows, delete_rows, must_stay, total_rows
from connector.sinks.files.xlsx_writing import dump, set_default_font, share_style

# ---------------------------------------------------------------- the tab


class XlsxTable:
    """One tab. Places are row numbers as Excel counts them."""

    most_links = 65_000
    """Excel takes 65,530 in a tab; with more it calls the file damaged. Further addresses are written as text."""

    def __init__(self, file: XlsxBook, target: Target) -> None:
        self._file = file
        self._book = book = file.book
        self._target = target
        tab = target.options.tab.casefold()
        self._sheet: Any = next((book[name] for name in book.sheetnames if name.casefold() == tab), None)
        self._look: Look | None = None  # of a tab that we made
        self._header: list[str] = []
        self._header_row = 1
        self._last_row = 1
        self._links: int | None = None  # how many cells have one; None: not counted yet
        if self._sheet is None:
            return
        if is_dressed(self._sheet):
            self._look = Look(self._sheet, target)
        width = 0
        first_rows: dict[int, list[str]] = {}
        for number, cells in enumerate(self._sheet.iter_rows(values_only=True), start=1):
            used = next((at + 1 for at in range(len(cells) - 1, -1, -1) if cells[at] not in (None, "")), 0)
            if used:
                self._last_row = number
                width = max(width, used)
                if len(first_rows) < ROWS_SEARCHED_FOR_THE_HEADER:
                    first_rows[number] = [text_of(cell) for cell in cells]
        if first_rows:
            self._header_row = header_among(first_rows, target.key)
            cells = [self._sheet.cell(self._header_row, column) for column in range(1, width + 1)]
            shown = [self._file.shown(cell) for cell in cells]
            self._header = [
                text_of(raw_of(cell)) if text is None else text for cell, text in zip(cells, shown, strict=True)
            ]
            restore_note_sizes(cells)
            self._check_results()

    def _check_results(self) -> None:
        """Raises NeedsAction when nobody knows what a computed header or key shows."""
        found = locate(self, self._target)
        needed = [] if len(found) == len(self._target.columns) else list(self._sheet[self._header_row])
        if self._target.key in found:
            # Below a blank cell, it is not a key but a note of people.
            needed += takewhile(lambda cell: cell.value is not None, self._cells_below_header(found[self._target.key]))
        totals = total_rows(self._sheet)
        for cell in needed:
            if cell.row not in totals and self._file.shown(cell) == "":
                raise NeedsAction(
                    f"the cell {cell.coordinate} of the tab {self._sheet.title} is computed, and the file does not say "
                    "what it shows: open the file in Excel and save it, or type its text; nothing was changed."
                )

    def _cells_below_header(self, position: int) -> Iterator[Any]:
        if self._last_row > self._header_row:
            column = position + 1
            for (cell,) in self._sheet.iter_rows(self._header_row + 1, self._last_row, column, column):
                yield cell

    def note_update(self, now: datetime) -> None:
        """Say in the header that the tab was written."""
        if self._look is not None:
            note_update(self._sheet[self._header_row], now)

    def facts(self) -> str:
        return f'tab "{self._target.options.tab}", rows below the header: {self._last_row - self._header_row}'

    # ------------------------------------------------------------ Table

    encode = staticmethod(encode)
    decode = staticmethod(decode)
    same = staticmethod(same)
    shows = staticmethod(same)
    former = staticmethod(former)
    restored = staticmethod(restored)
    is_value = staticmethod(is_value)
    key_of = staticmethod(key_text)

    def headers(self) -> Sequence[str]:
        return self._header

    def keys(self, position: int) -> Iterator[tuple[int, str]]:
        for cell in self._cells_below_header(position):
            shown = self._file.shown(cell)
            key = self.key_of(raw_of(cell)) if shown is None else canonical_key(shown)
            if key:
                yield cell.row, key

    def keys_above(self, position: int) -> Iterator[str]:
        for row in range(1, self._header_row):
            yield self.key_of(raw_of(self._sheet.cell(row, position + 1)))

    def row(self, place: int) -> Sequence[Any]:
        return [raw_of(self._sheet.cell(place, column)) for column in range(1, len(self._header) + 1)]

    def add_columns(self, columns: Sequence[Column]) -> None:
        made, before = not self._header, len(self._header)
        if made:
            columns = arranged(columns, self._target.key)
            if self._sheet is None:
                self._sheet = self._book.create_sheet(self._target.options.tab)
            self._look = Look(self._sheet, self._target)
        for place, column in enumerate(columns, start=before + 1):
            self._header.append(column.name)
            cell = self._sheet.cell(self._header_row, place)
            cell.value = column.name
            cell.data_type = "s"  # not a formula, whatever it begins with
            if made:
                continue
            if self._look is None:  # in a tab of people, a new header looks like the one to its left
                share_style(self._sheet.cell(cell.row, place - 1), cell)
                width = self._sheet.column_dimensions[get_column_letter(place)]
                width.width = max(width.width, width_of(column))
                continue
            self._look.dress_header(cell, column)
            for row in range(self._header_row + 1, self._last_row + 1):
                self._look.dress(self._sheet.cell(row, place), column)
        if made and self._look is not None:
            self._look.dress_tab(columns)
        elif self._sheet.auto_filter.ref:
            # A table names its columns: only the filter grows to the right.
            filtered = CellRange(self._sheet.auto_filter.ref)
            if filtered.min_row == self._header_row:
                filtered.expand(right=max(0, len(self._header) - filtered.max_col))
                self._sheet.auto_filter.ref = filtered.coord

    def update(self, place: int, cells: Cells) -> None:
        for position, (column, raw) in cells.items():
            self._put(self._sheet.cell(place, position + 1), column, raw)
        if self._look is not None and any(column.name == self._look.currency_column for column, _ in cells.values()):
            currency = self._currency_in(cells)
            for at, column in self._managed().items():
                self._look.show_currency(self._sheet.cell(place, at), column, currency)

    def _managed(self) -> dict[int, Column]:
        """The managed columns by place."""
        return {at + 1: self._target.column(name) for name, at in locate(self, self._target).items()}

    def _currency_in(self, cells: Cells) -> str:
        """The currency that a row names in a column of its own; "" when it has none."""
        name = None if self._look is None else self._look.currency_column
        return next((str(raw or "") for column, raw in cells.values() if column.name == name), "")

    def add(self, rows: Sequence[Cells], position: int, is_ours: Callable[[str], bool]) -> None:
        totals = total_rows(self._sheet)
        last = max(
            (place for place, key in self.keys(position) if is_ours(key) and place not in totals),
            default=self._header_row,
        )
        inserted = add_rows(self._book, self._sheet, header=self._header_row, last=last, count=len(rows))
        places = self._managed()
        for place, cells in enumerate(rows, start=last + 1):
            if self._look is not None:
                currency = self._currency_in(cells)
                for at, column in places.items():
                    self._look.dress(self._sheet.cell(place, at), column, currency)
            for at, (column, raw) in cells.items():
                self._put(self._sheet.cell(place, at + 1), column, raw)
        if self._look is not None and last == self._header_row:
            self._look.fit_widths(places)
        self._last_row = max(self._last_row + inserted, last + len(rows))

    def _put(self, cell: Any, column: Column, raw: Any) -> None:
        if isinstance(raw, Link):
            if self._links is None:
                self._links = sum(1 for cells in self._sheet.iter_rows() for each in cells if each.hyperlink)
            self._links += 1
            raw = raw if self._links <= self.most_links else encode(replace(column, type="text"), raw.address)
        put(cell, column, raw, is_key=column.name == self._target.key)

    def drop(self, places: Iterable[int]) -> None:
        """Delete rows; but empty them where a person's formula or table would be broken without them."""
        gone = sorted(set(places))
        if must_stay(self._book, self._sheet, gone):
            for row in gone:
                for cell in self._sheet[row]:
                    if not isinstance(cell, MergedCell):
                        cell.value = None
        else:
            delete_rows(self._book, self._sheet, gone)
            self._last_row -= len(gone)


# ---------------------------------------------------------------- the workbook


class XlsxBook:
    """A workbook in memory."""

    def __init__(self, book: Any, content: bytes = b"") -> None:
        self.book = book
        self._content = content
        self._computed: Any = None
        self._shown: dict[Any, str] = {}

    def table(self, target: Target) -> XlsxTable:
        self._table = XlsxTable(self, target)
        return self._table

    def dump(self, now: datetime) -> bytes:
        self._table.note_update(now)
        return dump(self.book, self._shown)

    def shown(self, cell: Any) -> str | None:
        """What a cell shows if a formula makes it, "" when the file does not say; None for any other cell."""
        if cell.data_type != "f":
            return None
        if cell not in self._shown:
            if self._computed is None:
                self._computed = openpyxl.load_workbook(io.BytesIO(self._content), data_only=True)
            self._shown[cell] = text_of(self._computed[cell.parent.title].cell(cell.row, cell.column).value)
        return self._shown[cell]


def opened(content: bytes, path: Path) -> XlsxBook:
    """The workbook at *path* with that *content*; b"" is a new one. Raises NeedsAction."""
    if not content:
        book = openpyxl.Workbook()
        book.remove(book.active)
        set_default_font(book, FONT)
        return XlsxBook(book)
    try:
        return XlsxBook(read(content), content)
    except WouldLose as error:
        raise NeedsAction(
            f"{path} holds {', '.join(sorted(error.things))}, which would be lost by writing to it: keep them in a "
            "workbook of their own that refers to this one; nothing was changed."
        ) from None
    except Exception as error:  # openpyxl and what it stands on raise whatever a damaged part makes of their code
        raise NeedsAction(
            f"{path} can't be read as an Excel workbook (.xlsx): open it in Excel and save it as one, or move it "
            f"away so that a new one is made; nothing was changed ({type(error).__name__})."
        ) from error
