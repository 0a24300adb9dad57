"""Cells of an Excel workbook: what their values mean, and how ours are written so that Excel shows them as they are.

Knows openpyxl's cells, no rows and no files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from openpyxl.cell.cell import MergedCell

from connector.core.keys import canonical_key, is_of_row
from connector.core.look import is_link, shown_address
from connector.core.money import number_pattern
from connector.core.row import Cell, Column
from connector.sinks.files.plan import CellRefused

_LONGEST_TEXT_UTF16_UNITS = 32_767  # Excel's limit, beyond which openpyxl would cut silently
_EXACT_DIGITS = 15  # Excel keeps numbers as doubles; more digits than these would come back as others
_FIRST_DATE = date(1900, 3, 1)  # before it, Excel counts a 29 February 1900 that never was

_LONGEST_ADDRESS = 2_079  # of a link, in Excel

_DATE_FORMAT = "yyyy-mm-dd"
_DATETIME_FORMAT = "yyyy-mm-dd hh:mm:ss"
_TEXT_FORMAT = "@"

# XML has no place for these, and reads a carriage return as a line feed: ECMA-376 22.9.2.19 writes them _xHHHH_.
_UNWRITABLE = re.compile("_(?=x[0-9A-Fa-f]{4}_)|[\x00-\x08\x0b-\x1f\ufffe\uffff]")
_ESCAPE = re.compile("_x([0-9A-Fa-f]{4})_")
_LOOKS_TYPED = re.compile(
    r"\s*[-+=@.0-9#$€£(]|\s*(?:true|false|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)", re.IGNORECASE
)


def _to_xml_text(text: str) -> str:
    return _UNWRITABLE.sub(lambda found: f"_x{ord(found[0]):04X}_", text)


def _from_xml_text(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)


@dataclass(frozen=True, slots=True)
class Formula:
    """A person's formula in a cell: never equal to any text."""

    text: str


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a cell, whose text is its address in short."""

    address: str


def raw_of(cell: Any) -> Any:
    """An openpyxl cell's value: None, str, bool, int, float, date, datetime, time, timedelta, Formula or Link."""
    value = cell.value
    if value is None or isinstance(cell, MergedCell):
        return None
    if cell.data_type == "f":
        return Formula(value if isinstance(value, str) else str(getattr(value, "text", "=")))
    link = cell.hyperlink
    if link is not None and isinstance(value, str) and _from_xml_text(value) == shown_address(link.target or ""):
        return Link(link.target)
    return str(value) if isinstance(value, list) else value  # a list is rich text


def key_text(raw: Any) -> str:
    """The canonical key of a raw cell; "" where there is none."""
    if isinstance(raw, str):
        return canonical_key(_from_xml_text(raw))
    if isinstance(raw, Link):
        return canonical_key(raw.address)
    return "" if isinstance(raw, bool | Formula) else canonical_key(raw)


def encode(column: Column, cell: Cell) -> Any:
    """The raw cell for *cell*. Raises CellRefused."""
    if isinstance(cell, tuple):
        cell = ", ".join(cell)
    if isinstance(cell, str):
        text = _text(column, cell)
        if column.type == "url" and is_link(cell) and len(cell) <= _LONGEST_ADDRESS:
            return Link(cell)
        return text
    if isinstance(cell, Decimal) and len(cell.normalize().as_tuple().digits) > _EXACT_DIGITS:
        return format(cell, "f")
    if isinstance(cell, int) and not isinstance(cell, bool) and len(str(abs(cell))) > _EXACT_DIGITS:
        return str(cell)
    if isinstance(cell, datetime):
        # Excel knows no time zones: it shows the clock of the zone that the mapping names.
        local = cell.replace(tzinfo=None, microsecond=0)
        return local if local.date() >= _FIRST_DATE else cell.isoformat()
    if isinstance(cell, date):
        return cell if cell >= _FIRST_DATE else cell.isoformat()
    return cell


def decode(column: Column, raw: Any) -> Cell:
    """The value of a raw cell; a formula's own text where there is one."""
    if isinstance(raw, Formula):
        return raw.text
    if isinstance(raw, Link):
        return raw.address
    if isinstance(raw, str):
        return _from_xml_text(raw) or None
    if isinstance(raw, bool | Decimal):
        return raw
    if isinstance(raw, int | float):
        if column.type in {"money", "number"}:
            return Decimal(repr(raw))
        return int(raw) if isinstance(raw, int) or raw.is_integer() else Decimal(repr(raw))
    if isinstance(raw, date):
        if column.type == "date":
            return raw.date() if isinstance(raw, datetime) else raw
        return raw.replace(microsecond=0) if isinstance(raw, datetime) else datetime.combine(raw, time())
    return None if raw is None else str(raw)


def same(column: Column, there: Any, raw: Any) -> bool:
    """Whether the cell *there* already shows *raw*."""
    if isinstance(there, Formula) or isinstance(raw, Formula):
        return bool(there == raw)
    old, new = decode(column, there), decode(column, raw)
    return isinstance(old, bool) is isinstance(new, bool) and old == new


def former(column: Column, raw: Any) -> Cell:
    """A value from which ``restored`` makes that raw cell again: a person's formula is a list of its own text."""
    return (raw.text,) if isinstance(raw, Formula) else decode(column, raw)


def restored(column: Column, former: Cell) -> Any:
    """The raw cell of which ``former`` was made. Raises CellRefused."""
    if isinstance(former, tuple) and len(former) == 1 and former[0].startswith("="):
        return Formula(former[0])
    return encode(column, former)


def is_value(raw: Any, place: int) -> bool:
    """Whether a cell of that row holds something, beyond what people prepare for new rows: formulas about their row,
    and FALSE."""
    if isinstance(raw, Formula):
        return not is_of_row(raw.text, place)
    return raw not in (None, "") and raw is not False


def _text(column: Column, text: str) -> str:
    try:
        units = len(text.encode("utf-16-le")) // 2
    except UnicodeEncodeError as error:
        raise CellRefused(
            "unencodable",
            f'"{column.name}" holds broken characters (at character {error.start + 1}): correct it at the platform',
        ) from None
    written = _to_xml_text(text)
    if units > _LONGEST_TEXT_UTF16_UNITS or len(written) > _LONGEST_TEXT_UTF16_UNITS:
        raise CellRefused(
            "cell_too_long",
            f'"{column.name}" has {units} characters, and a cell of Excel takes {_LONGEST_TEXT_UTF16_UNITS}: shorten '
            "it at the platform, or with { truncate = … } in the mapping file",
        )
    return written


def put(cell: Any, column: Column, raw: Any, *, is_key: bool = False) -> None:
    """Write a raw cell; a person's number format stays unless the value could not be shown with it."""
    if isinstance(cell, MergedCell):
        return  # it shows the first cell of its range; writing here would change nothing that anybody sees
    kept = cell.number_format
    if column.type == "url":
        cell.hyperlink = None
    if isinstance(raw, Link):
        raw, cell.hyperlink = _to_xml_text(shown_address(raw.address)), raw.address
    if isinstance(raw, Formula):
        cell.value = raw.text
    elif raw is None or raw == "":
        cell.value = None
    elif isinstance(raw, str):
        cell.value = raw
        cell.data_type = "s"  # openpyxl takes a text that begins with "=" for a formula
        # As text, so that a person who enters the cell and leaves it doesn't turn "00420" into 420. Not for long
        # texts, which old versions of Excel show as #### in this format.
        is_open = kept == "General" or column.type in {"integer", "number", "money"}
        if is_open and len(raw) < 255 and (is_key or column.type == "phone" or _LOOKS_TYPED.match(raw)):
            cell.number_format = _TEXT_FORMAT
    elif isinstance(raw, datetime | date):
        cell.value = raw  # openpyxl gives a date format of its own to a cell that has none
        if not cell.is_date or kept in {"General", _TEXT_FORMAT}:
            cell.number_format = _DATETIME_FORMAT if isinstance(raw, datetime) else _DATE_FORMAT
    else:
        cell.value = raw
        if kept in {"General", _TEXT_FORMAT}:
            cell.number_format = _number_format(column, raw)


def _number_format(column: Column, raw: Any) -> str:
    if column.type == "money":
        return number_pattern(column.currency)
    if column.type == "integer" and not isinstance(raw, bool):
        return "0"
    return "General"
