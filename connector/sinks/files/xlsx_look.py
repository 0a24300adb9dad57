"""The look of a tab that the connector makes: set once. From then on it belongs to people, and nothing is repaired.

The tint says whose a column is: tinted header and bands are the connector's, plain columns are people's. Colour is for
trouble, on top of a word. Knows openpyxl's cells, no files and no keys of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from openpyxl.cell.cell import Cell
from openpyxl.comments import Comment
from openpyxl.formatting.rule import CellIsRule, FormulaRule
from openpyxl.styles import Alignment, Border, Font, PatternFill, Side
from openpyxl.utils import get_column_letter
from openpyxl.workbook.defined_name import DefinedName
from openpyxl.worksheet.page import PageMargins

from connector.core.money import signed_pattern
from connector.core.row import Column
from connector.core.sink import Target
from connector.sinks.files.xlsx_writing import share_style

_INK, _MUTED, _ACCENT, _HEADER, _BAND, _LINE, _EDGE = (
    "1A1B1E", "5F6067", "3348C9", "E4E7F8", "F7F7FA", "E6E6EA", "C3C6D8"
)  # fmt: skip
_WAITS, _STOPPED, _OFF = ("8A5600", "FDF0D2", True), ("B3261E", "FBE3E0", True), (_MUTED, "F0F0F3", False)
_COLOURS_BY_STATUS = {"pending": _WAITS, "blocked": _STOPPED, "inactive": _OFF, "rejected": _OFF}
FONT = Font(name="Arial", size=10)
"""Of the whole book, so that what people type looks alike."""

_TAG = "connector.look"
_AUTHOR = "Connector"
_NOTE_SIZE_POINTS = (300, 84)
_PIXELS_BY_TYPE = {"email": 184, "url": 188, "integer": 84, "number": 84, "money": 112, "date": 108, "datetime": 148}
_PIXELS_BY_PATH = {"name": 208, "company": 184}
_OTHER_PIXELS = 124
_MOST_PIXELS = 320
_HEADER_POINTS = 30
_ROW_POINTS = 19.5
_COLUMNS_PER_PRINTED_PAGE = 14
_ROWS_MEASURED = 200
_RIGHT_ALIGNED = {"integer", "number", "money"}
_RULES = {
    "always": "Don't type here: the platform's value comes back.",
    "never_clear": "If you type here: it stays until the platform has a newer value.",
    "only_forward": "If you type here: it stays until the platform has a later stage.",
    "only_if_empty": "If you type here: it stays.",
    "on_create": "If you type here: it stays.",
}
_RULE_OF_THE_KEY = "Don't change it: it finds the row. Sort as you like."
_UPDATED = "\nLast updated: "
_UPDATED_FORMAT = "%d %b %Y, %H:%M UTC"
_UPDATED_EVERY = timedelta(minutes=15)


def arranged(columns: Sequence[Column], key: str) -> list[Column]:
    """The order of a new tab's columns: who it is, the status, the others as in the mapping file, the key."""

    def place(column: Column) -> int:
        return 3 if column.name == key else 0 if _is_name(column) else 1 if _is_status(column) else 2

    return sorted(columns, key=place)


def is_dressed(sheet: Any) -> bool:
    """Whether the connector made the tab, and with this look."""
    return _TAG in sheet.defined_names


def _is_name(column: Column) -> bool:
    return column.paths[:1] == ("name",)


def _is_status(column: Column) -> bool:
    return column.paths == ("status",)


class Look:
    """The look of the columns of *target* on *sheet*."""

    def __init__(self, sheet: Any, target: Target) -> None:
        self._sheet = sheet
        self._target = target
        order = arranged(target.columns, target.key)
        self._begins_block = {
            column.name for before, column in pairwise(order) if self._block(before) != self._block(column)
        }
        self._templates: dict[str, Any] = {}

    def dress_tab(self, columns: Sequence[Column]) -> None:
        """All that is set once, on a new tab with these columns and no row yet."""
        sheet, last = self._sheet, get_column_letter(len(columns))
        sheet.defined_names[_TAG] = DefinedName(_TAG, attr_text="1", hidden=True)
        sheet.sheet_properties.tabColor = _ACCENT
        sheet.sheet_format.defaultRowHeight, sheet.sheet_format.customHeight = _ROW_POINTS, True
        sheet.row_dimensions[1].height = _HEADER_POINTS
        sheet.freeze_panes = "B2" if _is_name(columns[0]) else "A2"
        sheet.auto_filter.ref = f"A1:{last}1"
        for place, column in enumerate(columns, start=1):
            self.dress_header(sheet.cell(1, place), column)
        first = sheet.cell(1, 1)
        first.comment = _note(first.comment.text + _UPDATED)
        self._add_rules(columns)
        self._set_up_printing(len(columns))

    def dress_header(self, cell: Any, column: Column) -> None:
        """The header of a managed column, its note and its width."""
        right = column.type in _RIGHT_ALIGNED
        cell.font = Font(name=FONT.name, size=FONT.size, bold=True, color=_INK)
        cell.fill = PatternFill("solid", start_color=_HEADER)
        cell.alignment = Alignment("right" if right else "left", "center", wrap_text=True, indent=2 if right else 1)
        cell.border = Border(left=self._left_edge(column), bottom=Side("medium", color=_ACCENT))
        source = f"From: {', '.join(column.paths)}\n" if column.paths else ""
        rule = _RULE_OF_THE_KEY if column.name == self._target.key else _RULES[column.overwrite]
        cell.comment = _note(source + rule)
        pixels = _PIXELS_BY_PATH.get(column.paths[0] if column.paths else "", 0) or _PIXELS_BY_TYPE.get(
            column.type, _OTHER_PIXELS
        )
        pixels = max(pixels, min(7 * len(column.name) + 40, _MOST_PIXELS))
        self._sheet.column_dimensions[get_column_letter(cell.column)].width = _width(pixels)

    def dress(self, cell: Any, column: Column) -> None:
        """A cell of a row of ours."""
        template = self._templates.get(column.name)
        if template is None:
            template = self._templates[column.name] = self._template(column)
        share_style(template, cell)

    def fit_widths(self, columns: Mapping[int, Column]) -> None:
        """Make the columns (by place) as wide as nine in ten of the first values need."""
        for place, column in columns.items():
            cells = self._sheet.iter_rows(2, 1 + _ROWS_MEASURED, place, place, values_only=True)
            lengths = sorted(len(value) for (value,) in cells if isinstance(value, str))
            if lengths and column.type not in _RIGHT_ALIGNED:
                pixels = 7 * lengths[(9 * len(lengths) - 1) // 10] + 20
                look = self._sheet.column_dimensions[get_column_letter(place)]
                look.width = max(look.width, _width(min(pixels, _MOST_PIXELS)))

    # ------------------------------------------------------------ parts

    def _block(self, column: Column) -> str:
        if column.name == self._target.key:
            return "key"
        if column.paths and column.paths[0].startswith("last_event."):
            return "when"
        by_type = {"integer": "figures", "number": "figures", "money": "money", "date": "when", "datetime": "when"}
        return by_type.get(column.type, "text")

    def _left_edge(self, column: Column) -> Side:
        return Side("thin", color=_EDGE) if column.name in self._begins_block else Side()

    def _template(self, column: Column) -> Any:
        """A cell that is on no sheet; others share its style."""
        cell = Cell(self._sheet, row=1, column=1)
        is_key, right = column.name == self._target.key, column.type in _RIGHT_ALIGNED
        cell.font = Font(
            name=FONT.name,
            size=9 if is_key else FONT.size,
            bold=_is_name(column),
            color=_MUTED if is_key else _ACCENT if column.type == "url" else _INK,
        )
        cell.alignment = Alignment("right" if right else "left", "center", indent=0 if right else 1)
        cell.border = Border(left=self._left_edge(column), bottom=Side("thin", color=_LINE))
        if column.type == "money":
            amount = signed_pattern(column.currency) if column.currency else "#,##0.00#"
            cell.number_format = f"{amount}_);-{amount}_)"
        elif is_key or column.type == "phone":
            cell.number_format = "@"
        else:
            formats = {"integer": "#,##0_)", "date": "d mmm yyyy", "datetime": "d mmm yyyy, hh:mm"}
            cell.number_format = formats.get(column.type, "General")
        return cell

    def _add_rules(self, columns: Sequence[Column]) -> None:
        """Conditional formats, for the first row; they grow with the rows. The bands come last."""
        rules, last = self._sheet.conditional_formatting, get_column_letter(len(columns))
        for place, column in enumerate(columns, start=1):
            letter = get_column_letter(place)
            if _is_status(column):
                others = {shown for word, shown in column.words if word not in _COLOURS_BY_STATUS}
                for word, shown in column.words:
                    if word in _COLOURS_BY_STATUS and shown and shown not in others:
                        ink, paper, bold = _COLOURS_BY_STATUS[word]
                        text = '"' + shown.replace('"', '""') + '"'
                        font, fill = Font(color=ink, bold=bold, italic=not bold), PatternFill(bgColor=paper)
                        rules.add(f"{letter}2", CellIsRule("equal", [text], font=font, fill=fill))
            if column.type == "money":
                rules.add(f"{letter}2", CellIsRule("lessThan", ["0"], font=Font(color=_STOPPED[0])))
            if column.name == self._target.key:
                band = f'AND(${letter}2<>"",ISODD(ROW()))'
            if column.name == self._target.options.removed_column and not column.paths:
                gone = Font(color=_MUTED, strike=True)
                rules.add(f"A2:{last}2", FormulaRule([f'${letter}2<>""'], font=gone))
        rules.add(f"A2:{last}2", FormulaRule([band], fill=PatternFill(bgColor=_BAND)))

    def _set_up_printing(self, columns: int) -> None:
        """Landscape, the header on each page, all rows, the columns but the key's on one page or two."""
        sheet = self._sheet
        sheet.page_setup.orientation, sheet.page_setup.paperSize, sheet.page_setup.pageOrder = (
            "landscape", 9, "overThenDown"
        )  # fmt: skip
        sheet.sheet_properties.pageSetUpPr.fitToPage = True
        sheet.page_setup.fitToWidth, sheet.page_setup.fitToHeight = 1 if columns <= _COLUMNS_PER_PRINTED_PAGE else 2, 0
        sheet.page_margins = PageMargins(0.4, 0.4, 0.4, 0.4)
        sheet.print_title_rows = "1:1"
        sheet.print_area = f"A1:{get_column_letter(max(1, columns - 1))}2"
        sheet.oddFooter.left.text, sheet.oddFooter.right.text = "&A, printed &D", "&P of &N"


def restore_note_sizes(header: Sequence[Any]) -> None:
    """openpyxl does not read the size of a note; ours have theirs again."""
    for cell in header:
        if cell.comment is not None and cell.comment.author == _AUTHOR:
            cell.comment.width, cell.comment.height = _NOTE_SIZE_POINTS


def note_update(header: Sequence[Any], now: datetime) -> None:
    """Renew "Last updated" in our note, at most every 15 minutes. A note that people edited is left alone."""
    now = now.astimezone(UTC)
    for cell in header:
        if cell.comment is None or cell.comment.author != _AUTHOR:
            continue
        text, updated, then = cell.comment.text.rpartition(_UPDATED)
        if not updated:
            continue
        try:
            is_due = not then or now - datetime.strptime(then, _UPDATED_FORMAT).replace(tzinfo=UTC) >= _UPDATED_EVERY
        except ValueError:
            continue
        if is_due:
            cell.comment = _note(text + _UPDATED + now.strftime(_UPDATED_FORMAT))


def _note(text: str) -> Comment:
    return Comment(text, _AUTHOR, height=_NOTE_SIZE_POINTS[1], width=_NOTE_SIZE_POINTS[0])


def _width(pixels: int) -> float:
    return round((pixels - 5) / 7, 2)
