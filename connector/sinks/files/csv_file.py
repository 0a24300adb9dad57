"""The default sink: a CSV file that people may sort, extend and edit while it is kept right.

Rows that a write does not touch stay as they are, byte for byte. Knows no records and no mapping files.
Formula injection: owasp.org/www-community/attacks/CSV_Injection (read 2026-11).
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import accumulate, chain
from operator import sub
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import field_validator

from connector.core.errors import NeedsAction
from connector.core.row import Cell, Column
from connector.core.sink import SinkOptions, Target
from connector.sinks.files.table import CellRefused, Document, TableFile, TableFileOptions, canonical_key, locate

# ---------------------------------------------------------------- cells

_skipped = "\\s\"'\u00a0\u200b-\u200f\u2028-\u202f\u2060\ufeff\x00-\x1f"
_trigger = "[=+\\-@\uff1d\uff0b\uff0d\uff20]"
_separators = ",;|\\t\\r\\n"

# A cell that a spreadsheet would read as a formula: the sign may come after blanks, quotes and invisible characters,
# and may be full-width; or the cell begins with a tab or a line break, which some programs drop.
_starts_formula = f"(?:[{_skipped}]*{_trigger}|'*[\\t\\r\\n])"

# Read with another delimiter than ours, or with the quotes ignored, a cell falls apart and its middle begins a cell.
# There we only guard what could call something (a function, a DDE server, another file): "red, -blue" stays as it is.
_middle = f"(?<=[{_separators}])(?P<guards>'*)(?=[{_skipped}]*{_trigger})"
_calls = re.compile(r"[(|!]")

# Every cell is looked at with this one; `re` compiles those above when the first suspect cell comes.
_suspect = re.compile(f"(?:^|[{_separators}])[{_skipped}]*{_trigger}|^'*[\\t\\r\\n]")


def guarded(text: str) -> str:
    """*text* with an apostrophe before whatever a spreadsheet could take for a formula; ``unguarded`` undoes it."""
    if not _suspect.search(text):
        return text
    if _calls.search(text):
        text = re.sub(_middle, lambda found: found["guards"] + "'", text)
    return "'" + text if re.match(_starts_formula, text) else text


def unguarded(text: str) -> str:
    """What ``guarded`` was given. Text that a person typed without the guard comes back as it is."""
    if "'" not in text or not _suspect.search(text):
        return text
    if text[0] == "'" and re.match(_starts_formula, text):
        text = text[1:]
    if _calls.search(text):
        text = re.sub(_middle, lambda found: found["guards"][:-1], text)
    return text


def cell_text(cell: Cell) -> str:
    """A cell as it stands in the file: plain decimals, 2026-01-31, 2026-01-31 23:30:00, true and false."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return guarded(cell)
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int):
        return str(cell)
    if isinstance(cell, Decimal):
        return format(cell, "f")
    if isinstance(cell, datetime):
        # With a "T", an offset or parts of a second, spreadsheet programs take it for text. As in Excel and Sheets: the
        # clock of the zone that the mapping names.
        return cell.replace(tzinfo=None).isoformat(" ", "seconds")
    if isinstance(cell, date):
        return cell.isoformat()
    return guarded(", ".join(cell))


# ---------------------------------------------------------------- the file's dialect

_boms = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_delimiters = (",", ";", "\t", "|")
_sep_line = re.compile(r'"?sep=(?P<delimiter>[^"\r\n])"?[ ;,\t]*(\r\n|\r|\n)', re.IGNORECASE)
_end_mark = "\x00end of file\x00"

csv.field_size_limit(2**31 - 1)  # a person's long cell is no error; an open quote is noticed by the end mark


class _OpenQuote(Exception):
    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


def _first_of(lines: Iterable[str]) -> list[str]:
    """So many of the first lines as tell the dialect: 65,536 characters below the blank ones."""
    first: list[str] = []
    length = 0
    for line in lines:
        first.append(line)
        length += len(line if length else line.lstrip(_blank))
        if length >= _telling:
            break
    return first


_blank = "\r\n "
_telling = 65_536


def _records(lines: Iterable[str], delimiter: str) -> Iterator[tuple[str, list[str]]]:
    """Each record: raw text with its line end, and its cells. Raises _OpenQuote, csv.Error, UnicodeDecodeError."""
    taken: list[str] = []  # the lines of the record at hand

    def noted() -> Iterator[str]:
        for line in chain(lines, (_end_mark,)):
            taken.append(line)
            yield line

    reader = csv.reader(noted(), delimiter=delimiter)
    for cells in reader:
        if taken[-1] is _end_mark:
            if cells != [_end_mark]:
                raise _OpenQuote(reader.line_num - len(taken) + 1)
            return
        yield "".join(taken), cells
        taken.clear()


def _line_end(raw: str) -> str:
    for end in ("\r\n", "\n", "\r"):
        if raw.endswith(end):
            return end
    return ""


class _Lines:
    """Lines by place, nearly all of them in one piece, as they stand in the file: 20,000 strings would take eight
    megabytes in small pieces, for which Python keeps many times as much after a burst."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._packed = bytearray()
        self._starts = array("Q", (0,))  # and where the last one ends
        self._changed: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __iter__(self) -> Iterator[str]:
        return (self[place] for place in range(len(self)))

    def __getitem__(self, place: int) -> str:
        changed = self._changed.get(place)
        if changed is not None:
            return changed
        return self._packed[self._starts[place] : self._starts[place + 1]].decode(self._encoding)

    def __setitem__(self, place: int, line: str) -> None:
        self._changed[place] = line

    def append(self, line: str) -> None:
        self._packed += line.encode(self._encoding)
        self._starts.append(len(self._packed))

    def pack(self) -> bytearray:
        """All of them as they stand in the file; not to be changed by others."""
        if self._changed:
            parts: list[bytes | bytearray] = []
            lengths = array("Q", map(sub, self._starts[1:], self._starts))
            behind = 0
            for place, line in sorted(self._changed.items()):
                new = line.encode(self._encoding)
                parts += (self._packed[self._starts[behind] : self._starts[place]], new)
                lengths[place], behind = len(new), place + 1
            parts.append(self._packed[self._starts[behind] :])
            self._packed = bytearray().join(parts)
            self._starts = array("Q", accumulate(lengths, initial=0))
            self._changed.clear()
        return self._packed


class _Index:
    """Where keys stand, by 32 bits of their hashes. In one piece, as the lines are: 20,000 keys would take four
    megabytes in small pieces."""

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * 1024))  # hash << 32 | first place + 1; 0 is free
        self._used = 0
        # By hash, where several keys have it or one key stands in several rows.
        self._further: dict[int, list[int]] = {}

    def add(self, key: str, place: int) -> None:
        """*place* is behind all others."""
        short = hash(key) & 0xFFFF_FFFF
        at = self._slot(short)
        if self._slots[at]:
            self._further.setdefault(short, []).append(place)
            return
        self._slots[at] = short << 32 | place + 1
        self._used += 1
        if 2 * self._used > len(self._slots):
            there = filter(None, self._slots)
            self._slots = array("Q", bytes(8 * 4 * len(self._slots)))
            for entry in there:
                self._slots[self._slot(entry >> 32)] = entry

    def perhaps(self, key: str) -> list[int]:
        """The places of *key*, in their order, and now and then one of another key."""
        short = hash(key) & 0xFFFF_FFFF
        entry = self._slots[self._slot(short)]
        return [(entry & 0xFFFF_FFFF) - 1, *self._further.get(short, ())] if entry else []

    def _slot(self, short: int) -> int:
        """That of this hash, or the free one that is to be its."""
        slots = self._slots
        last = len(slots) - 1
        at = short & last
        while (entry := slots[at]) and entry >> 32 != short:
            at = at + 1 & last
        return at


def _key_in(cells: Sequence[str], position: int) -> str:
    return canonical_key(unguarded(cells[position])) if position < len(cells) else ""


class CsvTable:
    """A parsed CSV file. Rows are kept as raw text and taken apart only when they are touched."""

    def __init__(self, *, encoding: str, bom: bytes, delimiter: str, line_end: str) -> None:
        self.encoding = encoding
        self.bom = bom
        self.delimiter = delimiter
        self.line_end = line_end
        self.before = ""  # "sep=;" and blank lines above the header
        self.header_raw = ""
        self.header: list[str] = []
        self.lines = _Lines(encoding)
        self._indexes: dict[int, _Index] = {}
        self._row: tuple[str, Sequence[str]] = ("", ())  # the last one that was taken apart
        self._needs_quotes = re.compile(r'[,;|\t"\r\n]|^\s|\s$|' + re.escape(delimiter))

    # ------------------------------------------------------------ Document

    def table(self, target: Target) -> CsvTable:  # noqa: ARG002 - one table a file
        return self

    def dump(self) -> bytes:
        return b"".join((self.bom, (self.before + self.header_raw).encode(self.encoding), self.lines.pack()))

    def facts(self, target: Target) -> str:  # noqa: ARG002 - one table a file
        delimiter = {",": "comma", ";": "semicolon", "\t": "tab"}.get(self.delimiter, self.delimiter)
        bom = " with BOM" if self.bom else ""
        line_end = {"\r\n": "CRLF", "\n": "LF", "\r": "CR"}[self.line_end]
        return f"lines below the header: {len(self.lines)}; {self.encoding}{bom}, delimiter {delimiter}, {line_end}"

    # ------------------------------------------------------------ Table

    def headers(self) -> Sequence[str]:
        return self.header

    def keys(self, position: int) -> Iterator[tuple[int, str]]:
        # Each item is one whole record, so line breaks inside of it are within quotes.
        for place, cells in enumerate(csv.reader(self.lines, delimiter=self.delimiter)):
            key = _key_in(cells, position)
            if key:
                yield place, key

    def find(self, key: str, position: int) -> Sequence[int]:
        index = self._indexes.get(position)
        if index is None:
            index = self._indexes[position] = _Index()
            for place, there in self.keys(position):
                index.add(there, place)
        return [place for place in index.perhaps(key) if _key_in(self.row(place), position) == key]

    def row(self, place: int) -> Sequence[str]:
        raw = self.lines[place]
        if raw != self._row[0]:  # the row that was just found is the one that is asked for
            self._row = raw, self._cells(raw)
        return self._row[1]

    def encode(self, column: Column, cell: Cell) -> str:
        text = cell_text(cell)
        if not text.isascii():
            try:
                text.encode(self.encoding)
            except UnicodeEncodeError as error:
                wanted = (
                    "broken characters" if self.encoding.startswith("utf") else f"characters unknown to {self.encoding}"
                )
                raise CellRefused(
                    "unencodable",
                    f'"{column.name}" holds {wanted} (at character {error.start + 1}): correct it at the platform'
                    + ("" if self.encoding.startswith("utf") else ', or save the file as "CSV UTF-8"'),
                ) from None
        return text

    def decode(self, column: Column, raw: Any) -> Cell:  # noqa: ARG002 - a CSV file keeps no types
        return unguarded(raw) if raw else None

    def same(self, column: Column, there: Any, raw: Any) -> bool:  # noqa: ARG002 - a CSV file keeps no types
        return bool((there or "") == raw)

    def add_columns(self, columns: Sequence[Column]) -> None:
        if not self.header:
            self.header_raw = self.line_end
        self.header = [*self.header, *(column.name for column in columns)]
        self.header_raw = self._line(self.header, _line_end(self.header_raw) or self.line_end)
        if self.header_raw.startswith("ID") and not self.before and not self.bom:
            # Excel takes a file that begins with ID for a SYLK file and refuses it.
            first = self.header[0]
            self.header_raw = f'"{first}"' + self.header_raw[len(first) :]

    def update(self, place: int, cells: Mapping[int, tuple[Column, Any]]) -> None:
        raw = self.lines[place]
        values = self._cells(raw)
        for position, (_, text) in cells.items():
            if position >= len(values):
                values.extend([""] * (position + 1 - len(values)))
            values[position] = text
        self.lines[place] = self._line(values, _line_end(raw))

    def append(self, key: str, position: int, cells: Mapping[int, tuple[Column, Any]]) -> None:
        last = len(self.lines) - 1
        if last >= 0 and not _line_end(self.lines[last]):
            self.lines[last] += self.line_end
        elif last < 0 and not _line_end(self.header_raw):
            self.header_raw += self.line_end
        values = [""] * len(self.header)
        for at, (_, text) in cells.items():
            values[at] = text
        if _key_in(values, position) != key:
            values[position] = guarded(key)  # as 12.50, or with a time's zone left out, it would not be found again
        index = self._indexes.get(position)
        self._indexes = {} if index is None else {position: index}
        if index is not None:
            index.add(key, last + 1)
        self.lines.append(self._line(values, self.line_end))

    def drop(self, places: Iterable[int]) -> None:
        gone = set(places)
        kept = _Lines(self.encoding)
        for place, line in enumerate(self.lines):
            if place not in gone:
                kept.append(line)
        self.lines = kept
        self._indexes = {}

    # ------------------------------------------------------------ lines

    def _cells(self, raw: str) -> list[str]:
        return next(csv.reader([raw], delimiter=self.delimiter), [])

    def _line(self, values: Sequence[str], line_end: str) -> str:
        needs = self._needs_quotes.search
        return (
            self.delimiter.join(
                ['"' + value.replace('"', '""') + '"' if value and needs(value) else value for value in values]
            )
            + line_end
        )


# ---------------------------------------------------------------- the sink


class CsvOptions(TableFileOptions):
    """``[sinks.NAME]`` with ``type = "csv"``. A file that exists keeps its own delimiter, line ends and BOM."""

    delimiter: Literal[",", ";", "\t", "|"] = ","
    """Of a new file. ";" suits an Excel whose language writes decimals with a comma."""
    bom: bool = False
    """Begin the file with a byte order mark, by which Excel knows that it is UTF-8."""
    encoding: str = "utf-8"
    """How a file without a mark is read and written, for people whose programs write "cp1252"."""

    @field_validator("path")
    @classmethod
    def _is_no_workbook(cls, path: Path) -> Path:
        if path.suffix.lower() in {".xlsx", ".xlsm", ".xls", ".ods", ".numbers"}:
            raise ValueError(f'a CSV file can\'t be called "{path.name}"; an Excel file has type = "xlsx"')
        return path

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, name: str) -> str:
        try:
            codec = codecs.lookup(name)
            ascii_is_ascii = "a,".encode(name) == b"a,"
        except LookupError:
            raise ValueError(f'"{name}" is not an encoding; leave it out for "utf-8"') from None
        if not ascii_is_ascii:
            raise ValueError(f'"{name}" can\'t be used here; leave it out for "utf-8"')
        return codec.name


class CsvFile(TableFile):
    """Keeps one CSV file equal to the records, and keeps what people made of it."""

    Options: ClassVar[type[SinkOptions]] = CsvOptions
    batch_rows = 1_000  # a workbook's are more: rewriting this file takes some milliseconds

    def __init__(self, name: str, options: CsvOptions, host: Any) -> None:
        super().__init__(name, options, host)
        self._options = options

    def _load(self, content: bytes, target: Target) -> Document:
        options = self._options
        path = self._path
        encoding, bom = options.encoding, b""
        for mark, marked in _boms:
            if content.startswith(mark):
                encoding, bom = marked, mark
        if content.startswith(b"PK\x03\x04"):
            raise NeedsAction(f'{path} is an Excel workbook: set type = "xlsx" for this sink, or another path')
        # Decoded a few kilobytes at a time: all of it at once would take up to four bytes a character.
        file = io.BytesIO(content)
        file.seek(len(bom))
        text = io.TextIOWrapper(file, encoding, newline="")
        if options.bom and not bom and encoding == "utf-8":
            bom = codecs.BOM_UTF8
        sep = None
        before: list[str] = []
        try:
            first = _first_of(text)
            sep = _sep_line.match("".join(first))
            delimiter = sep["delimiter"] if sep else self._delimiter("".join(first), target)
            if sep:
                before.append(first.pop(0))
            table = CsvTable(encoding=encoding, bom=bom, delimiter=delimiter, line_end="\n")
            records = _records(chain(first, text), delimiter)
            for raw, cells in records:
                if any(cell.strip() for cell in cells):
                    table.header_raw = raw
                    table.header = cells
                    table.line_end = _line_end(raw) or "\n"
                    break
                before.append(raw)
            width = 0
            for raw, cells in records:
                table.lines.append(raw)
                width = max(width, len(cells))
            # Cells to the right of the header are a person's: a new column must not stand in their place.
            if table.header:
                table.header.extend([""] * (width - len(table.header)))
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, file.tell() - len(error.object) + error.start) + 1
            raise NeedsAction(
                f"{path} is not {encoding.upper()} (line {line}): a program saved it in another encoding. Save it as "
                '"CSV UTF-8" (Excel: Save As, CSV UTF-8), or set encoding = "cp1252" for the sink; nothing was changed.'
            ) from None
        except _OpenQuote as error:
            where = error.line + (1 if sep else 0)
            raise NeedsAction(
                f'{path}: the quote (") that opens near line {where} is never closed, so nobody can tell where its '
                "row ends: correct that line; nothing was changed."
            ) from None
        except csv.Error as error:
            raise NeedsAction(f"{path} can't be read as CSV ({error}): correct it; nothing was changed.") from None
        if "\x00" in table.header_raw:
            raise NeedsAction(f'{path} is no text in {encoding.upper()}: save it as "CSV UTF-8"; nothing was changed.')
        table.before = "".join(before) if table.header or sep else ""
        return table

    def _delimiter(self, text: str, target: Target) -> str:
        """The one under which the header shows the key's column, else the most of our columns, else the most cells."""
        start = text.lstrip(_blank)[:_telling]
        names = [column.name for column in target.columns]
        best: str = self._options.delimiter
        best_score = (False, 0, 1)
        for delimiter in dict.fromkeys((self._options.delimiter, *_delimiters)):
            header = next(csv.reader(io.StringIO(start, newline=""), delimiter=delimiter), [])
            found = locate(header, names)
            score = (target.key in found, len(found), len(header))
            if score > best_score:
                best, best_score = delimiter, score
        return best
