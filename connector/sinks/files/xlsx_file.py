"""A sink that keeps one tab of an Excel workbook: typed cells, text that is never a formula, people's work untouched.

Knows no records and no mapping files. The workbook goes through openpyxl, which can't carry charts, pictures, macros
and some newer features: a workbook that holds such things is left alone, with words, rather than damaged.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import openpyxl
from openpyxl.cell.cell import MergedCell
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter, range_boundaries
from openpyxl.utils.exceptions import InvalidFileException
from pydantic import field_validator

from connector.core.errors import NeedsAction
from connector.core.row import Cell, Column
from connector.core.sink import SinkOptions, Target, TargetOptions
from connector.sinks.files.table import CellRefused, Document, TableFile, TableFileOptions, canonical_key
from connector.sinks.files.xlsx_writing import dump

# ---------------------------------------------------------------- cells

_longest_text = 32_767  # UTF-16 units; Excel's limit, beyond which openpyxl would cut silently
_exact_digits = 15  # Excel keeps numbers as doubles; more digits than these would come back as others
_first_date = date(1900, 3, 1)  # before it, Excel counts a 29 February 1900 that never was

_date_format = "yyyy-mm-dd"
_datetime_format = "yyyy-mm-dd hh:mm:ss"
_text_format = "@"
_no_minor_unit = frozenset(
    [
        "BIF",
        "CLP",
        "DJF",
        "GNF",
        "ISK",
        "JPY",
        "KMF",
        "KRW",
        "PYG",
        "RWF",
        "UGX",
        "UYI",
        "VND",
        "VUV",
        "XAF",
        "XOF",
        "XPF",
    ]
)
_three_digits = frozenset(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"])

# XML has no place for these, and reads a carriage return as a line feed: ECMA-376 22.9.2.19 writes them _xHHHH_.
_unwritable = re.compile("_(?=x[0-9A-Fa-f]{4}_)|[\x00-\x08\x0b-\x1f\ufffe\uffff]")
_escape = re.compile("_x([0-9A-Fa-f]{4})_")
_looks_typed = re.compile(
    r"\s*[-+=@.0-9#$€£(]|\s*(?:true|false|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)", re.IGNORECASE
)


def _to_xml_text(text: str) -> str:
    return _unwritable.sub(lambda found: f"_x{ord(found[0]):04X}_", text)


def _from_xml_text(text: str) -> str:
    return _escape.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


@dataclass(frozen=True, slots=True)
class _Formula:
    """A person's formula in a cell: never equal to any text."""

    text: str


def _raw(cell: Any) -> Any:
    """An openpyxl cell's value: None, str, bool, int, float, date, datetime, time, timedelta or _Formula."""
    value = cell.value
    if value is None or isinstance(cell, MergedCell):
        return None
    if cell.data_type == "f":
        return _Formula(value if isinstance(value, str) else str(getattr(value, "text", "=")))
    return str(value) if isinstance(value, list) else value  # a list is rich text


def _key_text(raw: Any) -> str:
    if isinstance(raw, str):
        return canonical_key(_from_xml_text(raw))
    if isinstance(raw, float) and raw.is_integer():
        return str(int(raw))
    if isinstance(raw, bool) or raw is None or isinstance(raw, _Formula):
        return ""
    return canonical_key(str(raw))


# ---------------------------------------------------------------- the tab


class XlsxTable:
    """One tab. Places are row numbers as Excel counts them."""

    def __init__(self, book: Any, tab: str) -> None:
        self._book = book
        self._tab = tab
        self._sheet: Any = next((book[name] for name in book.sheetnames if name.casefold() == tab.casefold()), None)
        self._header: list[str] = []
        self._header_row = 1
        self._last_row = 1
        self._indexes: dict[int, dict[str, list[int]]] = {}
        self._reached = self._last_row
        self._width = 0
        if self._sheet is None:
            return
        if not hasattr(self._sheet, "iter_rows"):
            raise NeedsAction(f'the tab "{tab}" is a chart: name another tab in the mapping file')
        width = 0
        first = 0
        for number, values in enumerate(self._sheet.iter_rows(values_only=True), start=self._sheet.min_row):
            used = next((at + 1 for at in range(len(values) - 1, -1, -1) if values[at] not in (None, "")), 0)
            if used:
                first = first or number
                self._last_row = number
                width = max(width, used)
        if first:
            self._header_row = first
            width += self._sheet.min_column - 1
            cells = (self._sheet.cell(first, column) for column in range(1, width + 1))
            self._header = ["" if cell.value is None else str(cell.value) for cell in cells]
            self._reached, self._width = self._last_row, len(self._header)

    @property
    def rows(self) -> int:
        return self._last_row - self._header_row

    # ------------------------------------------------------------ Table

    def headers(self) -> Sequence[str]:
        return self._header

    def keys(self, position: int) -> Iterator[tuple[int, str]]:
        column = position + 1
        if self._last_row > self._header_row:
            for (cell,) in self._sheet.iter_rows(
                min_row=self._header_row + 1, max_row=self._last_row, min_col=column, max_col=column
            ):
                key = _key_text(_raw(cell))
                if key:
                    yield cell.row, key

    def find(self, key: str, position: int) -> Sequence[int]:
        index = self._indexes.get(position)
        if index is None:
            index = self._indexes[position] = {}
            for place, there in self.keys(position):
                index.setdefault(there, []).append(place)
        return index.get(key, ())

    def row(self, place: int) -> Sequence[Any]:
        return [_raw(self._sheet.cell(place, column)) for column in range(1, len(self._header) + 1)]

    def encode(self, column: Column, cell: Cell) -> Any:
        if isinstance(cell, tuple):
            cell = ", ".join(cell)
        if isinstance(cell, str):
            return _text(column, cell)
        if isinstance(cell, Decimal) and len(cell.normalize().as_tuple().digits) > _exact_digits:
            return format(cell, "f")
        if isinstance(cell, int) and not isinstance(cell, bool) and len(str(abs(cell))) > _exact_digits:
            return str(cell)
        if isinstance(cell, datetime):
            # Excel knows no time zones: it shows the clock of the zone that the mapping names.
            local = cell.replace(tzinfo=None, microsecond=0)
            return local if local.date() >= _first_date else cell.isoformat()
        if isinstance(cell, date):
            return cell if cell >= _first_date else cell.isoformat()
        return cell

    def decode(self, column: Column, raw: Any) -> Cell:
        if isinstance(raw, _Formula):
            return raw.text
        if isinstance(raw, str):
            return _from_xml_text(raw) or None
        if isinstance(raw, bool | Decimal):
            return raw
        if isinstance(raw, int | float):
            if column.type in {"money", "number"}:
                return Decimal(repr(raw))
            return int(raw) if isinstance(raw, int) or raw.is_integer() else Decimal(repr(raw))
        if isinstance(raw, datetime):
            return raw.date() if column.type == "date" else raw
        return raw if raw is None or isinstance(raw, date) else str(raw)

    def same(self, column: Column, there: Any, raw: Any) -> bool:  # noqa: ARG002 - the cells know their types
        if there in (None, "") or raw in (None, ""):
            return there in (None, "") and raw in (None, "")
        if isinstance(there, bool) or isinstance(raw, bool):
            return there is raw
        if isinstance(raw, int | Decimal):
            return isinstance(there, int | float | Decimal) and float(there) == float(raw)
        if isinstance(raw, datetime):
            return isinstance(there, datetime) and there.replace(microsecond=0) == raw
        if isinstance(raw, date):
            if isinstance(there, datetime):
                return there.time() == time() and there.date() == raw
            return bool(there == raw)
        return isinstance(there, str) and there == raw

    def add_columns(self, columns: Sequence[Column]) -> None:
        if self._sheet is None:
            self._sheet = self._book.create_sheet(self._tab)
        sheet = self._sheet
        new = not self._header
        beside = sheet.cell(self._header_row, len(self._header)) if self._header else None
        for column in columns:
            self._header.append(column.name)
            cell = sheet.cell(self._header_row, len(self._header))
            cell.value = column.name
            cell.data_type = "s"  # not a formula, whatever it begins with
            if beside is None:
                cell.font = Font(bold=True)
            else:
                cell._style = beside._style  # openpyxl shares style records; there is no public way to reuse one
            width = sheet.column_dimensions[get_column_letter(len(self._header))]
            width.width = max(width.width, _width(column))
        if new:
            self._last_row = self._header_row
            sheet.freeze_panes = sheet.cell(self._header_row + 1, 1)
            sheet.auto_filter.ref = f"A{self._header_row}:{get_column_letter(len(self._header))}{self._header_row}"

    def update(self, place: int, cells: Mapping[int, tuple[Column, Any]]) -> None:
        for position, (column, raw) in cells.items():
            _put(self._sheet.cell(place, position + 1), column, raw)

    def append(self, key: str, position: int, cells: Mapping[int, tuple[Column, Any]]) -> None:
        place = self._last_row + 1
        for at, (column, raw) in cells.items():
            _put(self._sheet.cell(place, at + 1), column, raw, is_key=at == position)
        index = self._indexes.get(position)
        self._indexes = {} if index is None else {position: index}
        if index is not None:
            index.setdefault(key, []).append(place)
        self._last_row = place

    def drop(self, places: Iterable[int]) -> None:
        """Delete rows where nothing can refer to them by place; otherwise empty them, so that people's formulas, merged
        cells and rules go on pointing to the rows they were made for."""
        if self._is_plain():
            for place in sorted(places, reverse=True):
                self._sheet.delete_rows(place)
                self._last_row -= 1
        else:
            for place in places:
                for column in range(1, self._sheet.max_column + 1):
                    cell = self._sheet.cell(place, column)
                    if not isinstance(cell, MergedCell):
                        cell.value = None
        self._indexes = {}

    # ------------------------------------------------------------ help

    def _is_plain(self) -> bool:
        sheet = self._sheet
        return not (
            sheet.merged_cells.ranges
            or sheet.conditional_formatting
            or sheet.data_validations.dataValidation
            or sheet.tables
            or self._book.defined_names
            or any(dimension.height is not None for dimension in sheet.row_dimensions.values())
            or any(
                cell.data_type == "f" or cell.hyperlink or cell.comment
                for each in self._book.worksheets
                for row in each.iter_rows()
                for cell in row
                if not isinstance(cell, MergedCell)
            )
        )

    def stretch(self) -> None:
        """Let the filter, and a table that a person made of our rows, reach to the last row and column."""
        sheet, width, last_row = self._sheet, len(self._header), self._last_row
        before, self._reached = self._reached, last_row
        if sheet is None or (last_row, width) == (before, self._width):
            return
        self._width = width
        for holder in (sheet.auto_filter, *sheet.tables.values()):
            if not holder.ref:
                continue
            left, top, right, bottom = range_boundaries(holder.ref)
            if top != self._header_row:
                continue
            is_filter = holder is sheet.auto_filter
            # A table names its columns: only the filter grows to the right.
            right = max(right, width) if is_filter else right
            bottom = max(bottom, last_row) if is_filter or bottom == before else bottom
            holder.ref = f"{get_column_letter(left)}{top}:{get_column_letter(right)}{bottom}"
            if not is_filter and holder.autoFilter is not None:
                holder.autoFilter.ref = holder.ref


def _text(column: Column, text: str) -> str:
    try:
        units = len(text.encode("utf-16-le")) // 2
    except UnicodeEncodeError as error:
        raise CellRefused(
            "unencodable",
            f'"{column.name}" holds broken characters (at character {error.start + 1}): correct it at the platform',
        ) from None
    written = _to_xml_text(text)
    if units > _longest_text or len(written) > _longest_text:
        raise CellRefused(
            "cell_too_long",
            f'"{column.name}" has {units} characters, and a cell of Excel takes {_longest_text}: shorten it at the '
            "platform, or with { truncate = … } in the mapping file",
        )
    return written


def _put(cell: Any, column: Column, raw: Any, *, is_key: bool = False) -> None:
    """Write a raw cell; a person's number format stays unless the value could not be shown with it."""
    if isinstance(cell, MergedCell):
        return  # it shows the first cell of its range; writing here would change nothing that anybody sees
    kept = cell.number_format
    if raw is None or raw == "":
        cell.value = None
    elif isinstance(raw, str):
        # Not by way of ``value``, which looks for what `encode` has looked for already, and takes "=" for a formula.
        cell._value, cell.data_type = raw, "s"
        # As text, so that a person who enters the cell and leaves it doesn't turn "00420" into 420. Not for long
        # texts, which old versions of Excel show as #### in this format.
        if kept == "General" and len(raw) < 255 and (is_key or column.type == "phone" or _looks_typed.match(raw)):
            cell.number_format = _text_format
    elif isinstance(raw, datetime | date):
        cell.value = raw  # openpyxl gives a date format of its own to a cell that has none
        if not cell.is_date or kept in {"General", _text_format}:
            cell.number_format = _datetime_format if isinstance(raw, datetime) else _date_format
    else:
        cell.value = raw
        if kept in {"General", _text_format}:
            cell.number_format = _number_format(column, raw)


def _number_format(column: Column, raw: Any) -> str:
    if column.type == "money":
        digits = 0 if column.currency in _no_minor_unit else 3 if column.currency in _three_digits else 2
        return "#,##0" + ("." + "0" * digits if digits else "")
    if column.type == "integer" and not isinstance(raw, bool):
        return "0"
    return "General"


def _width(column: Column) -> float:
    by_type = {
        "date": 12,
        "datetime": 20,
        "boolean": 9,
        "integer": 10,
        "number": 12,
        "money": 14,
        "email": 30,
        "url": 40,
    }
    return float(max(by_type.get(column.type, 20), min(len(column.name) + 4, 40)))


# ---------------------------------------------------------------- the workbook

_lost_parts = (
    ("xl/charts/", "charts"),
    ("xl/media/", "pictures"),
    ("xl/vbaProject.bin", "macros"),
    ("xl/slicers/", "slicers"),
    ("xl/timelines/", "timelines"),
    ("xl/ctrlProps/", "buttons or form fields"),
    ("xl/activeX/", "buttons or form fields"),
    ("xl/embeddings/", "embedded objects"),
    ("xl/threadedComments/", "threaded comments"),
    ("xl/drawings/drawing", "drawings"),
    ("xl/richData/", "linked data types or pictures in cells"),
)


_eaten = b"x005F_"
_shielded = b"x0x005F_05F_"  # openpyxl 3.1 drops each "x005F_" of a text it reads; of this, it leaves "x005F_"
# A text in its cell, as we and openpyxl write it, and the same text as a formula's result: openpyxl reads the first by
# way of four objects, and the second as it stands, so that the whole sheet takes half the time. Only for reading.
_inline_text = re.compile(rb' t="inlineStr"><is><t(?: xml:space="preserve")?>([^<]+)</t></is></c>')
_result_text = rb' t="str"><v>\1</v></c>'


def _looked_through(content: bytes) -> tuple[set[str], bytes, bool]:
    """What openpyxl would lose of a workbook, the workbook as openpyxl must read it to keep its texts, and whether it
    must read them as rich text (which takes longer)."""
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        names = parts.namelist()
        lost = {words for name in names for part, words in _lost_parts if name.startswith(part)}
        texts = [name for name in names if name.startswith(("xl/worksheets/sheet", "xl/sharedStrings"))]
        bodies = {name: parts.read(name) for name in texts}
        if any(b"<extLst" in body for body in bodies.values()):
            lost.add("sparklines, or newer kinds of validation or conditional formats")
        if lost:
            return lost, content, False
        rich = any(b"<r>" in body or b":r>" in body for body in bodies.values())
        if any(_eaten in body for body in bodies.values()):
            rich = True
            bodies = {name: body.replace(_eaten, _shielded) for name, body in bodies.items()}
        else:
            bodies = {name: _inline_text.sub(_result_text, body) for name, body in bodies.items()}
        readable = io.BytesIO()
        with zipfile.ZipFile(readable, "w") as copy:
            for name in names:
                copy.writestr(name, bodies[name] if name in bodies else parts.read(name))
        return lost, readable.getvalue(), rich


class XlsxBook:
    """A workbook in memory; its tabs are parsed when they are asked for."""

    def __init__(self, book: Any) -> None:
        self._book = book
        self._tables: dict[str, XlsxTable] = {}

    def table(self, target: Target) -> XlsxTable:
        tab = target.options.tab
        if tab.casefold() not in self._tables:
            self._tables[tab.casefold()] = XlsxTable(self._book, tab)
        return self._tables[tab.casefold()]

    def dump(self) -> bytes:
        for table in self._tables.values():
            table.stretch()
        return dump(self._book)

    def facts(self, target: Target) -> str:
        return f'tab "{target.options.tab}", rows below the header: {self.table(target).rows}'


class XlsxOptions(TableFileOptions):
    """``[sinks.NAME]`` with ``type = "xlsx"``."""

    @field_validator("path")
    @classmethod
    def _is_a_workbook(cls, path: Path) -> Path:
        if path.suffix.lower() != ".xlsx":
            raise ValueError(f'Excel opens only what ends in .xlsx, not "{path.name}"; a CSV file has type = "csv"')
        return path


class XlsxTargetOptions(TargetOptions):
    """``[target]`` of a mapping for a workbook."""

    tab: str = "Affiliates"
    """The tab to write; made when it is missing."""

    @field_validator("tab")
    @classmethod
    def _is_a_name(cls, tab: str) -> str:
        if not 1 <= len(tab) <= 31 or re.search(r"[\[\]:*?/\\]", tab) or tab.startswith("'") or tab.endswith("'"):
            raise ValueError("a tab's name has 1 to 31 characters, none of [ ] : * ? / \\ and no ' at its ends")
        return tab


class XlsxFile(TableFile):
    """Keeps one tab of an Excel workbook equal to the records, and keeps everything else in it."""

    Options: ClassVar[type[SinkOptions]] = XlsxOptions
    batch_rows = 20_000  # each batch packs the whole workbook anew
    TargetOptions: ClassVar[type[TargetOptions]] = XlsxTargetOptions

    def _load(self, content: bytes, target: Target) -> Document:  # noqa: ARG002 - all tabs are loaded at once
        path = self._path
        if not content:
            book = openpyxl.Workbook()
            book.remove(book.active)
            return XlsxBook(book)
        try:
            lost, content, rich_text = _looked_through(content)
            if not lost:
                return XlsxBook(openpyxl.load_workbook(io.BytesIO(content), rich_text=rich_text))
        except (zipfile.BadZipFile, InvalidFileException, KeyError, ValueError, OSError) as error:
            raise NeedsAction(
                f"{path} can't be read as an Excel workbook (.xlsx): open it in Excel and save it as one, or move it "
                f"away so that a new one is made; nothing was changed ({type(error).__name__})."
            ) from error
        raise NeedsAction(
            f"{path} holds {', '.join(sorted(lost))}, which would be lost by writing to it: keep them in a workbook of "
            "their own that refers to this one; nothing was changed."
        )
