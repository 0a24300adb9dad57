"""The look of a tab that the connector makes: set once. From then on it belongs to people, and nothing is repaired.

Knows openpyxl's cells, no files and no keys of rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from openpyxl.cell.cell import Cell
from openpyxl.comments import Comment
from openpyxl.formatting.rule import CellIsRule, FormulaRule
from openpyxl.styles import Alignment, Border, Font, PatternFill, Side
from openpyxl.utils import get_column_letter
from openpyxl.workbook.defined_name import DefinedName
from openpyxl.worksheet.page import PageMargins

from connector.core.look import (
    ACCENT,
    BAND,
    EDGE,
    HEADER,
    INK,
    LINE,
    MUTED,
    RED,
    RIGHT_ALIGNED,
    UPDATED,
    amount_pattern,
    arranged,
    block_starts,
    is_name,
    marks,
    note,
    pattern,
    pixels,
    pixels_for,
    renewed,
)
from connector.core.row import Column
from connector.core.sink import Target
from connector.sinks.files.xlsx_writing import share_style

FONT = Font(name="Arial", size=10)
"""Of the whole book, so that what people type looks alike."""

_TAG = "connector.look"
_AUTHOR = "Connector"
_NOTE_SIZE_POINTS = (300, 84)
_HEADER_POINTS = 30
_ROW_POINTS = 19.5
_COLUMNS_PER_PRINTED_PAGE = 14
_ROWS_MEASURED = 200


def is_dressed(sheet: Any) -> bool:
    """Whether the connector made the tab, and with this look."""
    return _TAG in sheet.defined_names


class Look:
    """The look of the columns of *target* on *sheet*."""

    def __init__(self, sheet: Any, target: Target) -> None:
        self._sheet = sheet
        self._target = target
        self._block_starts = block_starts(arranged(target.columns, target.key), target.key)
        self._templates: dict[tuple[str, str], Any] = {}
        self.currency_column = next((each.name for each in target.columns if each.paths == ("currency",)), None)

    def dress_tab(self, columns: Sequence[Column]) -> None:
        """All that is set once, on a new tab with these columns and no row yet."""
        sheet, last = self._sheet, get_column_letter(len(columns))
        sheet.defined_names[_TAG] = DefinedName(_TAG, attr_text="1", hidden=True)
        sheet.sheet_properties.tabColor = ACCENT
        sheet.sheet_format.defaultRowHeight, sheet.sheet_format.customHeight = _ROW_POINTS, True
        sheet.row_dimensions[1].height = _HEADER_POINTS
        sheet.freeze_panes = "B2" if is_name(columns[0]) else "A2"
        sheet.auto_filter.ref = f"A1:{last}1"
        for place, column in enumerate(columns, start=1):
            self.dress_header(sheet.cell(1, place), column)
        first = sheet.cell(1, 1)
        first.comment = _note(first.comment.text + UPDATED)
        self._add_rules(columns)
        self._set_up_printing(columns[0], len(columns))

    def dress_header(self, cell: Any, column: Column) -> None:
        """The header of a managed column, its note and its width."""
        right = column.type in RIGHT_ALIGNED
        cell.font = Font(name=FONT.name, size=FONT.size, bold=True, color=INK)
        cell.fill = PatternFill("solid", start_color=HEADER)
        cell.alignment = Alignment("right" if right else "left", "center", wrap_text=True, indent=2 if right else 1)
        cell.border = Border(left=self._left_edge(column), bottom=Side("medium", color=ACCENT))
        cell.comment = _note(note(column, self._target.key))
        self._sheet.column_dimensions[get_column_letter(cell.column)].width = width_of(column)

    def dress(self, cell: Any, column: Column, currency: str = "") -> None:
        """A cell of a row of ours.

        Args:
            currency: of the row's amounts, where the mapping names none; "" when it is not known.
        """
        code = (column.currency or currency) if column.type == "money" else ""
        template = self._templates.get((column.name, code))
        if template is None:
            template = self._templates[column.name, code] = self._template(column, code)
        share_style(template, cell)

    def show_currency(self, cell: Any, column: Column, currency: str) -> None:
        """An amount of a row whose currency has changed: a wrong sign is a wrong value. A person's format stays."""
        if column.type == "money" and not column.currency and _AMOUNT_FORMAT.fullmatch(cell.number_format):
            cell.number_format = _amount_format(currency)

    def fit_widths(self, columns: Mapping[int, Column]) -> None:
        """Make the columns (by place) as wide as nine in ten of the first values need."""
        for place, column in columns.items():
            cells = self._sheet.iter_rows(2, 1 + _ROWS_MEASURED, place, place, values_only=True)
            needed = pixels_for([len(value) for (value,) in cells if isinstance(value, str)])
            if needed and column.type not in RIGHT_ALIGNED:
                look = self._sheet.column_dimensions[get_column_letter(place)]
                look.width = max(look.width, _width(needed))

    # ------------------------------------------------------------ parts

    def _left_edge(self, column: Column) -> Side:
        return Side("thin", color=EDGE) if column.name in self._block_starts else Side()

    def _template(self, column: Column, currency: str) -> Any:
        """A cell that is on no sheet; others share its style."""
        cell = Cell(self._sheet, row=1, column=1)
        is_key, right = column.name == self._target.key, column.type in RIGHT_ALIGNED
        cell.font = Font(
            name=FONT.name,
            size=9 if is_key else FONT.size,
            bold=is_name(column),
            color=MUTED if is_key else ACCENT if column.type == "url" else INK,
        )
        cell.alignment = Alignment("right" if right else "left", "center", indent=0 if right else 1)
        cell.border = Border(left=self._left_edge(column), bottom=Side("thin", color=LINE))
        if column.type == "money":
            cell.number_format = _amount_format(currency)
        elif is_key or column.type == "phone":
            cell.number_format = "@"
        else:
            cell.number_format = (pattern(column) or "General") + ("_)" if column.type == "integer" else "")
        return cell

    def _add_rules(self, columns: Sequence[Column]) -> None:
        """Conditional formats, for the first row; they grow with the rows. The bands come last."""
        rules, last = self._sheet.conditional_formatting, get_column_letter(len(columns))
        for place, column in enumerate(columns, start=1):
            letter = get_column_letter(place)
            for shown, mark in marks(column):
                text = '"' + shown.replace('"', '""') + '"'
                font, fill = Font(color=mark.ink, bold=mark.bold, italic=not mark.bold), PatternFill(bgColor=mark.paper)
                rules.add(f"{letter}2", CellIsRule("equal", [text], font=font, fill=fill))
            if column.type == "money":
                rules.add(f"{letter}2", CellIsRule("lessThan", ["0"], font=Font(color=RED)))
            if column.name == self._target.key:
                band = f'AND(${letter}2<>"",ISODD(ROW()))'
            if column.name == self._target.options.removed_column and not column.paths:
                gone = Font(color=MUTED, strike=True)
                rules.add(f"A2:{last}2", FormulaRule([f'${letter}2<>""'], font=gone))
        rules.add(f"A2:{last}2", FormulaRule([band], fill=PatternFill(bgColor=BAND)))

    def _set_up_printing(self, first: Column, columns: int) -> None:
        """Landscape, the header and the name on each page, all rows, the columns but the key's on one page or two."""
        sheet = self._sheet
        sheet.page_setup.orientation, sheet.page_setup.paperSize, sheet.page_setup.pageOrder = (
            "landscape", 9, "overThenDown"
        )  # fmt: skip
        sheet.sheet_properties.pageSetUpPr.fitToPage = True
        sheet.page_setup.fitToWidth, sheet.page_setup.fitToHeight = 1 if columns <= _COLUMNS_PER_PRINTED_PAGE else 2, 0
        sheet.page_margins = PageMargins(0.4, 0.4, 0.4, 0.6, header=0.2, footer=0.3)
        sheet.print_title_rows = "1:1"
        if is_name(first):
            sheet.print_title_cols = "A:A"
        sheet.print_area = f"A1:{get_column_letter(max(1, columns - 1))}2"
        sheet.oddFooter.left.text, sheet.oddFooter.right.text = "&A, printed &D", "&P of &N"


_AMOUNT_FORMAT = re.compile(r'("[^"]+")?#,##0(\.0+#?)?_\);-.*_\)')


def _amount_format(currency: str) -> str:
    amount = amount_pattern(currency)
    return f"{amount}_);-{amount}_)"


def restore_note_sizes(header: Sequence[Any]) -> None:
    """openpyxl does not read the size of a note; ours have theirs again."""
    for cell in header:
        if cell.comment is not None and cell.comment.author == _AUTHOR:
            cell.comment.width, cell.comment.height = _NOTE_SIZE_POINTS


def note_update(header: Sequence[Any], now: datetime) -> None:
    """Renew "Last updated" in our note, at most every 15 minutes. A note that people edited is left alone."""
    for cell in header:
        if cell.comment is not None and cell.comment.author == _AUTHOR:
            # The zone is a part of the date here: a workbook has none.
            text = renewed(cell.comment.text.removesuffix(" UTC"), now.astimezone(UTC))
            if text is not None:
                cell.comment = _note(f"{text} UTC")


def width_of(column: Column) -> float:
    """How wide a new column is, in Excel's characters."""
    return _width(pixels(column))


def _note(text: str) -> Comment:
    return Comment(text, _AUTHOR, height=_NOTE_SIZE_POINTS[1], width=_NOTE_SIZE_POINTS[0])


def _width(pixels: int) -> float:
    return round((pixels - 5) / 7, 2)
