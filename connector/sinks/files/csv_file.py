"""The default sink: a CSV file that people may sort, extend and edit while it is kept right.

Rows that a write does not touch stay as they are, byte for byte. Knows no records and no mapping files.
Formula injection: owasp.org/www-community/attacks/CSV_Injection (read 2026-11).
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import field_validator, model_validator

from connector.core.errors import NeedsAction
from connector.core.headers import match_headers
from connector.core.keys import canonical_key, text_of
from connector.core.row import Cell, Column
from connector.core.sink import SinkOptions, Target
from connector.sinks.files.plan import (
    ROWS_SEARCHED_FOR_THE_HEADER,
    CellRefused,
    Cells,
    Document,
    header_among,
)
from connector.sinks.files.table import TableFile, TableFileOptions

# ---------------------------------------------------------------- cells

# Blank or invisible: Unicode's Cc, Cf, Zs, Zl and Zp, what is ignorable by default, and letters that look like a blank.
_BLANK = (
    "\\x00-\\x20\\x7f-\\xa0\\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u115f-\u1160\u1680\u17b4-\u17b5"
    "\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_SKIPPED = "\"'" + _BLANK
_TRIGGER = "[=+\\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b]"
_SEPARATORS = ",;|\\t\\r\\n"

# A cell that a spreadsheet would read as a formula: the sign may come after blanks, quotes and invisible characters,
# and may be full-width or small; or the cell begins with a tab or a line break, which some programs drop.
_STARTS_FORMULA = re.compile(f"(?:[{_SKIPPED}]*{_TRIGGER}|'*[\\t\\r\\n])")

# Read with another delimiter than ours, or with the quotes ignored, a cell falls apart and its middle begins a cell.
# There we only guard what could call something (a function, a DDE server, another file): "red, -blue" stays as it is.
_MIDDLE = f"(?<=[{_SEPARATORS}])(?P<guards>'*)(?=[{_SKIPPED}]*{_TRIGGER})"
_CALLS = re.compile(r"[(|!]")


def guarded(text: str) -> str:
    """*text* with an apostrophe before whatever a spreadsheet could take for a formula; ``unguarded`` undoes it."""
    if _CALLS.search(text):
        text = re.sub(_MIDDLE, lambda found: found["guards"] + "'", text)
    return "'" + text if _STARTS_FORMULA.match(text) else text


def unguarded(text: str) -> str:
    """What ``guarded`` was given. Text that a person typed without the guard comes back as it is."""
    if text.startswith("'") and _STARTS_FORMULA.match(text):
        text = text[1:]
    if _CALLS.search(text):
        text = re.sub(_MIDDLE, lambda found: found["guards"][:-1], text)
    return text


# Other programs end a text at one of these, or hide what follows. Tabs and line breaks are text.
_CONTROL_CHARACTERS = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f]")
_CHECKED_PHONE_NUMBER = re.compile(r"\+[0-9]+")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_WITH_COMMA = re.compile(r"-?[0-9]+,[0-9]+")


def without_control_characters(text: str) -> str:
    return _CONTROL_CHARACTERS.sub("", text)


def cell_text(column: Column, cell: Cell, decimal: str = ".") -> str:
    """A cell as text of the file: plain decimals, 2026-01-31, 2026-01-31 23:30:00, true and false.

    Args:
        decimal: the sign before the decimals of an amount.
    """
    if isinstance(cell, datetime):
        # With a "T", an offset or parts of a second, spreadsheet programs take it for text. As in Excel and Sheets: the
        # clock of the zone that the mapping names.
        return cell.replace(tzinfo=None).isoformat(" ", "seconds")
    if isinstance(cell, Decimal):
        return format(cell, "f").replace(".", decimal)
    if not isinstance(cell, str | tuple):
        return text_of(cell)
    text = without_control_characters(text_of(cell))
    if column.type == "phone" and _CHECKED_PHONE_NUMBER.fullmatch(text):
        return text  # digits call nothing, and a dialler would get the apostrophe
    return guarded(text)


# ---------------------------------------------------------------- the file's dialect

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DELIMITERS = (",", ";", "\t", "|")
_SEP_LINE = re.compile(r'"?sep=(?P<delimiter>[^"\r\n])"?[ ;,\t]*(\r\n|\r|\n)', re.IGNORECASE)
_END_MARK = "\x00end of file\x00"
_CHARACTERS_READ_FOR_THE_DELIMITER = 65_536

csv.field_size_limit(2**31 - 1)  # a person's long cell is no error; an open quote is noticed by the end mark


def _records(text: str, delimiter: str) -> Iterator[tuple[str, list[str]]]:
    """Each record: raw text with its line end, and its cells. The last is the end mark, alone if no quote is open."""
    lines = list(io.StringIO(text, newline=""))
    reader = csv.reader([*lines, _END_MARK], delimiter=delimiter)
    start = 0
    for cells in reader:
        yield "".join(lines[start : reader.line_num]), cells
        start = reader.line_num


def _line_end(raw: str) -> str:
    return next((end for end in ("\r\n", "\n", "\r") if raw.endswith(end)), "")


class CsvTable:
    """A parsed CSV file. Rows are kept as raw text; a row's place is its number below the header."""

    def __init__(
        self,
        records: Sequence[tuple[str, list[str]]],
        key: str,
        *,
        before: str,
        encoding: str,
        bom: bytes,
        delimiter: str,
        decimal: str,
    ) -> None:
        self.encoding = encoding
        self.bom = bom
        self.delimiter = delimiter
        self.decimal = decimal
        self.before = before  # "sep=;", a title and blank lines above the header
        self.header_raw, self.header = "", list[str]()
        self.lines: list[str] = []  # each one whole record: line breaks inside of it are within quotes
        self._needs_quotes = re.compile(r'[,;|\t"\r\n]|^\s|\s$|' + re.escape(delimiter))
        filled = ((number, cells) for number, (_, cells) in enumerate(records) if any(cell.strip() for cell in cells))
        first = dict(islice(filled, ROWS_SEARCHED_FOR_THE_HEADER))
        if first:
            header = header_among(first, key)
            self.before += "".join(raw for raw, _ in records[:header])
            self.header_raw, self.header = records[header]
            self.lines = [raw for raw, _ in records[header + 1 :]]
            # Cells to the right of the header are a person's: a new column must not take their place.
            width = max((len(cells) for _, cells in records[header + 1 :]), default=0)
            self.header.extend([""] * (width - len(self.header)))
        self.line_end = _line_end(self.header_raw) or "\n"

    # ------------------------------------------------------------ Document

    def table(self, target: Target) -> CsvTable:  # noqa: ARG002 - one table a file
        return self

    def dump(self, now: datetime) -> bytes:  # noqa: ARG002 - a CSV file does not say when it was written
        return self.bom + "".join((self.before, self.header_raw, *self.lines)).encode(self.encoding)

    # ------------------------------------------------------------ Table

    def headers(self) -> Sequence[str]:
        return self.header

    def keys(self, position: int) -> Iterator[tuple[int, str]]:
        for place, cells in enumerate(csv.reader(self.lines, delimiter=self.delimiter)):
            key = self.key_of(cells[position]) if position < len(cells) else ""
            if key:
                yield place, key

    def keys_above(self, position: int) -> Iterator[str]:
        for cells in csv.reader(io.StringIO(self.before, newline=""), delimiter=self.delimiter):
            if position < len(cells):
                yield self.key_of(cells[position])

    def key_of(self, raw: Any) -> str:
        return canonical_key(unguarded(raw or ""))

    def row(self, place: int) -> list[str]:
        return next(csv.reader([self.lines[place]], delimiter=self.delimiter), [])

    def encode(self, column: Column, cell: Cell) -> str:
        return self._encodable(column, cell_text(column, cell, self.decimal))

    def _encodable(self, column: Column, text: str) -> str:
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError as error:
            is_unicode = self.encoding.startswith("utf")
            wanted = "broken characters" if is_unicode else f"characters unknown to {self.encoding}"
            raise CellRefused(
                "unencodable",
                f'"{column.name}" holds {wanted} (at character {error.start + 1}): correct it at the platform'
                + ("" if is_unicode else ', or save the file as "CSV UTF-8"'),
            ) from None
        return text

    def decode(self, column: Column, raw: Any) -> Cell:
        if raw and self.decimal == "," and column.type in {"money", "number"}:
            return str(raw).replace(",", ".") if _WITH_COMMA.fullmatch(raw) else str(raw)
        return unguarded(raw) if raw else None

    def same(self, column: Column, there: Any, raw: Any) -> bool:  # noqa: ARG002 - a CSV file keeps no types
        return bool((there or "") == raw)

    def shows(self, column: Column, there: Any, raw: Any) -> bool:
        old, new = self.decode(column, there), self.decode(column, raw)
        if old == new or not isinstance(old, str) or not isinstance(new, str):
            return old == new
        # A spreadsheet that saved the file shows 12.50 as 12.5, and true as TRUE.
        if column.type in {"money", "number", "integer"}:
            return all(map(_NUMBER.fullmatch, (old, new))) and Decimal(old) == Decimal(new)
        return column.type == "boolean" and old.casefold() == new.casefold()

    def former(self, column: Column, raw: Any) -> Cell:  # noqa: ARG002 - the text itself, with its guard
        return raw or None

    def restored(self, column: Column, former: Cell) -> str:
        return self._encodable(column, former) if isinstance(former, str) else self.encode(column, former)

    def is_value(self, raw: Any, place: int) -> bool:  # noqa: ARG002 - each row is like the others
        return bool(raw and not raw.isspace())

    def add_columns(self, columns: Sequence[Column]) -> None:
        if not self.header:
            self.header_raw = self.line_end
        self.header = [*self.header, *(column.name for column in columns)]
        self.header_raw = self._line(self.header, _line_end(self.header_raw) or self.line_end)
        if self.header_raw.startswith("ID") and not self.before and not self.bom:
            # Excel takes a file that begins with ID for a SYLK file and refuses it.
            first = self.header[0]
            self.header_raw = f'"{first}"' + self.header_raw[len(first) :]

    def update(self, place: int, cells: Cells) -> None:
        values = self.row(place)
        values.extend([""] * (len(self.header) - len(values)))
        for position, (_, text) in cells.items():
            values[position] = text
        self.lines[place] = self._line(values, _line_end(self.lines[place]))

    def add(self, rows: Sequence[Cells], position: int, is_ours: Callable[[str], bool]) -> None:
        place = 1 + max((place for place, key in self.keys(position) if is_ours(key)), default=-1)
        if not _line_end(self.header_raw):
            self.header_raw += self.line_end
        if self.lines and not _line_end(self.lines[-1]):
            self.lines[-1] += self.line_end
        new = [[cells[at][1] if at in cells else "" for at in range(len(self.header))] for cells in rows]
        self.lines[place:place] = [self._line(values, self.line_end) for values in new]

    def drop(self, places: Iterable[int]) -> None:
        gone = set(places)
        self.lines = [line for place, line in enumerate(self.lines) if place not in gone]

    def facts(self) -> str:
        bom = " with BOM" if self.bom else ""
        return f"lines below the header: {len(self.lines)}; {self.encoding}{bom}, delimiter {self.delimiter!r}"

    def _line(self, values: Sequence[str], line_end: str) -> str:
        return self.delimiter.join(map(self._quoted, values)) + line_end

    def _quoted(self, value: str) -> str:
        if not self._needs_quotes.search(value) or (self.delimiter != "," and _WITH_COMMA.fullmatch(value)):
            return value
        return '"' + value.replace('"', '""') + '"'


# ---------------------------------------------------------------- the sink


class CsvOptions(TableFileOptions):
    """``[sinks.NAME]`` with ``type = "csv"``. A file that exists keeps its own delimiter, line ends and BOM."""

    delimiter: Literal[",", ";", "\t", "|"] = ","
    """Of a new file. ";" suits an Excel whose language writes decimals with a comma."""
    decimal: Literal[".", ","] = "."
    """The sign before the decimals of numbers and amounts. "," suits an Excel whose language writes them so."""
    bom: bool = False
    """Begin the file with a byte order mark, by which Excel knows that it is UTF-8."""
    encoding: str = "utf-8"
    """How a file without a mark is read and written, for people whose programs write "cp1252"."""

    @model_validator(mode="after")
    def _delimiter_and_decimal_differ(self) -> CsvOptions:
        if self.decimal == "," and self.delimiter == ",":
            raise ValueError('decimal = "," needs another delimiter: set delimiter = ";" beside it')
        return self

    @field_validator("path")
    @classmethod
    def _is_no_workbook(cls, path: Path) -> Path:
        if path.suffix.lower() in {".xlsx", ".xlsm", ".xls", ".ods", ".numbers"}:
            raise ValueError(f'a CSV file can\'t be called "{path.name}"; an Excel file has type = "xlsx"')
        return path

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, name: str) -> str:
        with suppress(LookupError):
            if "a,".encode(name) == b"a,":
                return codecs.lookup(name).name
        raise ValueError(f'"{name}" is not an encoding that can be used here; leave it out for "utf-8"')


class CsvFile(TableFile):
    """Keeps one CSV file equal to the records, and keeps what people made of it."""

    Options: ClassVar[type[SinkOptions]] = CsvOptions
    batch_rows = 1_000

    def __init__(self, name: str, options: CsvOptions, host: Any) -> None:
        super().__init__(name, options, host)
        self._options = options

    def _load(self, content: bytes, target: Target) -> Document:
        path = self._path
        if content.startswith(b"PK\x03\x04"):
            raise NeedsAction(f'{path} is an Excel workbook: set type = "xlsx" for this sink, or another path')
        text, encoding, bom = self._decoded(content)
        sep = _SEP_LINE.match(text)
        delimiter = sep["delimiter"] if sep else self._delimiter(text, target)
        before = sep[0] if sep else ""
        *records, (unclosed, cells) = _records(text[len(before) :], delimiter)
        if cells != [_END_MARK]:
            line = text.count("\n", 0, len(text) - len(unclosed)) + 1
            raise NeedsAction(
                f'{path}: the quote (") that opens near line {line} is never closed, so nobody can tell where its '
                "row ends: correct that line; nothing was changed."
            )
        decimal = self._options.decimal
        table = CsvTable(
            records, target.key, before=before, encoding=encoding, bom=bom, delimiter=delimiter, decimal=decimal
        )
        if "\x00" in table.header_raw:
            raise NeedsAction(f'{path} is no text in {encoding.upper()}: save it as "CSV UTF-8"; nothing was changed.')
        return table

    def _decoded(self, content: bytes) -> tuple[str, str, bytes]:
        """The text, its encoding, and the byte order mark that the file begins with. Raises NeedsAction."""
        encoding, bom = self._options.encoding, b""
        for mark, marked in _BYTE_ORDER_MARKS:
            if content.startswith(mark):
                encoding, bom = marked, mark
        body = content[len(bom) :]
        try:
            text = body.decode(encoding)
        except UnicodeDecodeError as error:
            line = body.count(b"\n", 0, error.start) + 1
            raise NeedsAction(
                f"{self._path} is not {encoding.upper()} (line {line}): a program saved it in another encoding. Save "
                'it as "CSV UTF-8" (Excel: Save As, CSV UTF-8), or set encoding = "cp1252" for the sink; nothing was '
                "changed."
            ) from None
        if self._options.bom and not bom and encoding == "utf-8":
            bom = codecs.BOM_UTF8
        return text, encoding, bom

    def _delimiter(self, text: str, target: Target) -> str:
        """The one under which the header shows the key's column, else the most of our columns, else the most cells."""
        start = text.lstrip("\r\n ")[:_CHARACTERS_READ_FOR_THE_DELIMITER]
        names = [column.name for column in target.columns]

        def score(delimiter: str) -> tuple[bool, int, int]:
            rows = csv.reader(io.StringIO(start, newline=""), delimiter=delimiter)
            first = {number: cells for number, cells in enumerate(islice(rows, ROWS_SEARCHED_FOR_THE_HEADER)) if cells}
            header = first[header_among(first, target.key)] if first else []
            found = match_headers(dict(enumerate(header)), names)
            return target.key in found, len(found), len(header)

        return max((self._options.delimiter, *_DELIMITERS), key=score)
