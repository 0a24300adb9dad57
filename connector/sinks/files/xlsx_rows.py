"""Adding and deleting rows of a tab, with all that people have around them: formulas, filters, tables, rules, formats.

openpyxl moves cells and nothing else. Knows no columns of ours and no keys.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from openpyxl.cell.cell import MergedCell
from openpyxl.formatting.formatting import ConditionalFormattingList
from openpyxl.worksheet.cell_range import CellRange, MultiCellRange
from openpyxl.worksheet.formula import ArrayFormula

from connector.core.keys import is_of_row

_LAST_ROW_OF_EXCEL = 1_048_576

_Span = tuple[int, int]


@dataclass(frozen=True)
class _Added:
    """*count* rows are inserted at row *at*, and the table grows from *last* to *new_last*.

    Args:
        grows: ranges that end with the table's last row end with its new last row.
    """

    header: int
    last: int
    new_last: int
    at: int
    count: int
    grows: bool = True

    def row(self, row: int) -> int:
        return row + self.count if row >= self.at else row

    def span(self, top: int, bottom: int) -> _Span:
        end = max(self.last, self.header + 1)
        if self.grows and top <= end <= bottom < self.at:
            return top, max(bottom, self.new_last)
        return self.row(top), self.row(bottom)


@dataclass(frozen=True)
class _Deleted:
    gone: Sequence[int]  # in order

    def row(self, row: int) -> int | None:
        before = bisect_left(self.gone, row)
        return None if before < len(self.gone) and self.gone[before] == row else row - before

    def span(self, top: int, bottom: int) -> _Span | None:
        top, bottom = top - bisect_left(self.gone, top), bottom - bisect_right(self.gone, bottom)
        return (top, bottom) if top <= bottom else None


_Move = _Added | _Deleted
"""Where rows go. A *span* is a range of rows, which grows, moves or shrinks as a whole; None: it is gone."""


def add_rows(book: Any, sheet: Any, *, header: int, last: int, count: int) -> int:
    """Make room for *count* rows below the table's *last* row.

    Blank rows there are used first; what people have below moves down. Ranges that end with the last row grow.

    Returns:
        How many rows were inserted.
    """
    below = _first_used_row(sheet, last + 1)
    at = _LAST_ROW_OF_EXCEL + 1 if below is None else below
    inserted = max(0, count - (at - last - 1))
    move = _Added(header, last, last + count, at, inserted)
    if inserted:
        _move_merged(sheet, move)
        _move_block(sheet, at, sheet.max_row, inserted)
        _move_row_looks(sheet, move)
    inside = replace(move, grows=False)
    _move_ranges(sheet, move, inside)
    # A formula in a row of the table speaks of the rows that it names; one outside, of the table up to its end.
    _move_formulas(book, sheet, move, inside, rows=range(header + 1, last + count + 1 - inserted))
    return inserted


def delete_rows(book: Any, sheet: Any, gone: Sequence[int]) -> None:
    """Delete the rows *gone* (in order): each block of rows between them moves once, however many there are."""
    move, end = _Deleted(gone), sheet.max_row
    _move_formulas(book, sheet, move, move, rows=range(0))
    _move_merged(sheet, move)
    for number, (row, next_gone) in enumerate(zip(gone, [*gone[1:], end + 1], strict=True), start=1):
        _move_block(sheet, row + 1, next_gone - 1, -number)
    sheet.delete_rows(end - len(gone) + 1, len(gone))  # what is left over at the end: nothing is below to move
    _move_row_looks(sheet, move)
    _move_ranges(sheet, move, move)


def must_stay(book: Any, sheet: Any, rows: Sequence[int]) -> bool:
    """Whether something would be broken without *rows*: a formula that names nothing but them, a table's last row."""
    move = _Deleted(rows)
    for table in sheet.tables.values():
        cells = CellRange(table.ref)
        span = move.span(cells.min_row, cells.max_row)
        if span is None or span[1] - span[0] < 1 + (table.totalsRowCount or 0):
            return True
    return any(
        "#REF!" in moved_formula(text, sheet.title, home, move) and "#REF!" not in text
        for home, cell, text in _formulas(book)
        if home != sheet.title or move.row(cell.row) is not None
    )


def total_rows(sheet: Any) -> set[int]:
    """The rows in which Excel tables show their totals."""
    return {CellRange(table.ref).max_row for table in sheet.tables.values() if table.totalsRowCount}


def _first_used_row(sheet: Any, start: int) -> int | None:
    """The first row from *start* that holds something but what people prepare for new rows: formulas about their row,
    and FALSE."""
    totals = total_rows(sheet)
    for number, values in enumerate(sheet.iter_rows(min_row=start, values_only=True), start=start):
        if number in totals or not all(_is_prepared(value, number) for value in values):
            return number
    return None


def _is_prepared(value: Any, row: int) -> bool:
    is_formula = isinstance(value, str) and value.startswith("=")
    return value in (None, "") or value is False or (is_formula and is_of_row(value, row))


# ---------------------------------------------------------------- cells and rows


def _move_block(sheet: Any, top: int, bottom: int, rows: int) -> None:
    if top > bottom:
        return
    width = sheet.max_column
    sheet.move_range(CellRange(min_row=top, max_row=bottom, min_col=1, max_col=width), rows=rows)
    for cells in sheet.iter_rows(min_row=top + rows, max_row=bottom + rows, max_col=width):
        for cell in cells:
            if not isinstance(cell, MergedCell) and cell.hyperlink:
                cell.hyperlink.ref = cell.coordinate


def _move_merged(sheet: Any, move: _Move) -> None:
    """Take merged cells apart and merge them where they are going."""
    for merged in list(sheet.merged_cells.ranges):
        moved = _moved(merged, move)
        if moved != merged.coord:
            sheet.unmerge_cells(merged.coord)
            if moved:
                sheet.merge_cells(moved)


def _move_row_looks(sheet: Any, move: _Move) -> None:
    """Heights and formats of whole rows, and page breaks."""
    looks = list(sheet.row_dimensions.items())
    for row, _ in looks:
        del sheet.row_dimensions[row]
    for row, look in looks:
        place = move.row(row)
        if place is not None:
            look.index = place
            sheet.row_dimensions[place] = look
    for page_break in sheet.row_breaks.brk:
        page_break.id = move.row(page_break.id) or page_break.id


# ---------------------------------------------------------------- ranges


def _moved(cells: CellRange, move: _Move) -> str:
    """The range as text; "" when it is gone."""
    span = move.span(cells.min_row, cells.max_row)
    if span is None:
        return ""
    return str(CellRange(min_row=span[0], max_row=span[1], min_col=cells.min_col, max_col=cells.max_col).coord)


def _moved_set(ranges: MultiCellRange, move: _Move) -> str:
    return " ".join(filter(None, (_moved(cells, move) for cells in ranges.sorted())))


def _move_ranges(sheet: Any, move: _Move, inside: _Move) -> None:
    """Filters, tables, validations, conditional formats and print areas of *sheet*."""
    holders = [sheet.auto_filter, *sheet.tables.values()]
    holders += [table.autoFilter for table in sheet.tables.values() if table.autoFilter is not None]
    holders += [holder.sortState for holder in holders if getattr(holder, "sortState", None) is not None]
    for holder in holders:
        if holder.ref:
            cells = CellRange(holder.ref)
            if isinstance(move, _Added) and cells.max_row == move.header:
                cells.expand(down=move.new_last - move.header)  # a filter over the header alone
                holder.ref = cells.coord
            else:
                holder.ref = _moved(cells, move) or holder.ref

    def follow(text: str, before: MultiCellRange, after: str) -> str:
        down = _first_row(MultiCellRange(after)) - _first_row(before)
        return moved_formula(text, sheet.title, sheet.title, inside, relative=down)

    kept = []
    for validation in sheet.data_validations.dataValidation:
        moved = _moved_set(validation.sqref, move)
        if moved:
            for name in ("formula1", "formula2"):
                if getattr(validation, name):
                    setattr(validation, name, follow(getattr(validation, name), validation.sqref, moved))
            validation.sqref = MultiCellRange(moved)
            kept.append(validation)
    sheet.data_validations.dataValidation = kept
    formats = ConditionalFormattingList()
    for formatting in sheet.conditional_formatting:
        moved = _moved_set(formatting.sqref, move)
        for rule in formatting.rules if moved else ():
            rule.formula = [follow(text, formatting.sqref, moved) for text in rule.formula]
            formats.add(moved, rule)
    sheet.conditional_formatting = formats
    if sheet.print_area:
        areas = sheet.print_area.replace("$", "").split(",")
        sheet.print_area = [area for ref in areas if (area := _moved(CellRange(ref.rpartition("!")[2]), move))]


def _first_row(ranges: MultiCellRange) -> int:
    return int(min(cells.min_row for cells in ranges))


# ---------------------------------------------------------------- formulas

_CELL = r"\$?[A-Z]{1,3}\$?[0-9]+"
_REFERENCE = re.compile(
    r'"(?:[^"]|"")*"|\[(?:[^\[\]]|\[[^\[\]]*\])*\]'  # a text, and a column of a table: not looked into
    r"|(?<![\w.\]!:'$])(?:(?P<sheet>'(?:[^']|'')*'|[^\W\d][\w.]*)!)?"
    rf"(?P<range>{_CELL}(?::{_CELL})?|\$?[0-9]+:\$?[0-9]+)(?![\w.(!:])"
)
_ROW_NUMBER = re.compile(r"(?<![0-9])[0-9]+$")


def moved_formula(formula: str, sheet: str, home: str, move: _Move, relative: int | None = None) -> str:
    """*formula*, which is on the tab *home*, after rows of the tab *sheet* have moved.

    Args:
        relative: of the formula of a rule, which is written for the rule's first row: by how many rows that has moved.
    """

    def moved(found: re.Match[str]) -> str:
        if found["range"] is None:
            return found[0]
        named = home if found["sheet"] is None else found["sheet"].strip("'").replace("''", "'")
        if named.casefold() != sheet.casefold():
            return found[0]
        new = _moved_reference(found["range"].split(":"), move, relative)
        return found[0][: found.start("range") - found.start()] + new

    return _REFERENCE.sub(moved, formula)


def _moved_reference(ends: Sequence[str], move: _Move, relative: int | None) -> str:
    rows = [int(number[0]) for end in ends if (number := _ROW_NUMBER.search(end))]
    span: Sequence[int] | None
    if relative is not None and not all(re.search(r"\$[0-9]+$", end) for end in ends):
        span = [row + relative for row in rows]
    elif len(rows) > 1:
        span = move.span(min(rows), max(rows))
    else:
        place = move.row(rows[0])
        span = None if place is None else [place]
    if span is None:
        return "#REF!"
    return ":".join(_ROW_NUMBER.sub(str(row), end) for end, row in zip(ends, span, strict=True))


def _formulas(book: Any) -> Iterator[tuple[str, Any, str]]:
    """Each formula of a cell: its tab, its cell and its text."""
    for sheet in book.worksheets:
        for cells in sheet.iter_rows():
            for cell in cells:
                if cell.data_type == "f" and not isinstance(cell, MergedCell):
                    yield sheet.title, cell, str(getattr(cell.value, "text", cell.value))


def _move_formulas(book: Any, sheet: Any, move: _Move, inside: _Move, *, rows: range) -> None:
    """Let formulas follow the rows of *sheet*: those in its *rows* by *inside*, all others by *move*."""
    for home, cell, text in _formulas(book):
        is_inside = home == sheet.title and cell.row in rows
        moved = moved_formula(text, sheet.title, home, inside if is_inside else move)
        if isinstance(cell.value, ArrayFormula):
            cell.value.text = moved
            if home == sheet.title:
                cell.value.ref = (
                    cell.coordinate if ":" not in cell.value.ref else _moved(CellRange(cell.value.ref), inside)
                )
        elif isinstance(cell.value, str) and moved != text:
            cell.value = moved
    for holder in (book, *book.worksheets):
        for name in holder.defined_names.values():
            if name.attr_text:
                name.attr_text = moved_formula(name.attr_text, sheet.title, "", move)
