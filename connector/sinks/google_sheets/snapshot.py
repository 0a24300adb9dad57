"""What a tab looked like at one moment: Google's answer read into rows, columns and tags. Pure; sends nothing.

Developer metadata ("tags") is attached to lines of the grid and moves with them. Six kinds are ours:

    connector.fence    on the tab        a nonce that every batch replaces: a late or repeated batch refuses itself
    connector.header   on the header row
    connector.column   on each managed column; its value is the column's name in the mapping. A tag put on a column
                       that was found by its header begins with "?": a person may have moved the column meanwhile, so
                       it counts only when the next batch has met it under that header (its guard confirms it)
    connector.look     on a tab that we made, with its look; its value is the look's version
    connector.end      on the last column of the grid: whoever deletes a column to its left moves it
    c~                 on the rows that are about to be changed, and on the grid's last row; swept by the write
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from connector.core.keys import canonical_key
from connector.core.look import ACCENT, UPDATED, is_link, shown_address
from connector.core.row import Cell, ColumnType
from connector.sinks.google_sheets.answers import (
    CellData,
    DeveloperMetadata,
    ExtendedValue,
    Json,
    LineProperties,
    Sheet,
    Spreadsheet,
    SpreadsheetProperties,
)
from connector.sinks.google_sheets.around import AROUND_FIELDS, Around, arounds_of
from connector.sinks.google_sheets.region import Region, colour, region_of

FENCE_KEY = "connector.fence"
HEADER_KEY = "connector.header"
COLUMN_KEY = "connector.column"
END_KEY = "connector.end"
LOOK_KEY = "connector.look"
ROW_KEY = "c~"  # two characters: a sheet's metadata may hold 30,000 in all, and thousands of rows may be tagged

UNCONFIRMED = "?"
_SEPARATOR = ", "

_TAG_FIELDS = "metadataId,metadataKey,metadataValue,location.dimensionRange.endIndex"
SHEET_FIELDS = (
    "properties(sheetId,title,gridProperties(rowCount,columnCount)),"
    f"developerMetadata({_TAG_FIELDS}),"
    "merges,"
    "protectedRanges(protectedRangeId,description,range,requestingUserCanEdit,warningOnly,unprotectedRanges,"
    "namedRangeId,tableId),"
    f"{AROUND_FIELDS}"
    f"data(startRow,startColumn,rowMetadata.developerMetadata({_TAG_FIELDS}),"
    f"columnMetadata.developerMetadata({_TAG_FIELDS}),rowData.values"
)
"""The field mask of one sheet, to be ended with one of the two below: tags, sizes, what forbids writing, what grows."""
TYPED_CELLS = "(userEnteredValue,effectiveValue,hyperlink,note))"
"""Of a big tab."""
WHOLE_CELLS = (
    "(userEnteredValue,userEnteredFormat.numberFormat.type,effectiveValue,dataValidation.condition.type,"
    "hyperlink,note))"
)


@dataclass(frozen=True, slots=True)
class Formula:
    """A cell that somebody's formula fills; *shown* is its result."""

    text: str
    shown: str | float | bool | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A cell's text with the address that a click on it opens."""

    text: str
    address: str

    @classmethod
    def to(cls, address: str) -> Link:
        """As it is written: the address in short."""
        return cls(shown_address(address), address)


_LINK_LOOK: Json = {"foregroundColorStyle": colour(ACCENT), "underline": False}


@dataclass(frozen=True, slots=True)
class Links:
    """A list some of whose entries are addresses: each opens with a click. Read back, it is its text."""

    entries: tuple[str, ...]

    @property
    def text(self) -> str:
        return _SEPARATOR.join(self.entries)

    def runs(self) -> Iterator[Json]:
        """``textFormatRuns``, whose places count UTF-16 units; a run continues until the next begins."""
        place = 0
        for number, entry in enumerate(self.entries, 1):
            end = place + len(entry.encode("utf-16-le", "surrogatepass")) // 2
            if is_link(entry):
                yield {"startIndex": place, "format": {"link": {"uri": entry}} | _LINK_LOOK}
                if number < len(self.entries):
                    yield {"startIndex": end, "format": {}}
            place = end + len(_SEPARATOR)


Value = str | float | bool | Formula | Link | Links | None
"""What was typed into a cell; a date is a number of days since 1899-12-30."""


@dataclass(frozen=True, slots=True)
class Tag:
    id: int
    value: str


@dataclass(frozen=True, slots=True)
class Rect:
    """Half-open, zero-based."""

    top: int
    bottom: int
    left: int
    right: int

    def holds(self, row: int, column: int) -> bool:
        return self.top <= row < self.bottom and self.left <= column < self.right


@dataclass(frozen=True, slots=True)
class Protection:
    """A range that this account may not edit."""

    name: str
    rect: Rect
    whole_height: bool
    whole_width: bool
    free: tuple[Rect, ...]

    def spans_rows(self, header: int, last: int) -> bool:
        """Whether it covers all rows from the header (or right below it) to the *last* and on: columns, not rows."""
        if self.whole_width:
            return False
        rect = self.rect
        return self.whole_height or (rect.top <= header + 1 and rect.bottom > max(last, header + 1) + 1)

    def forbids(self, row: int, column: int) -> bool:
        return self.rect.holds(row, column) and not any(free.holds(row, column) for free in self.free)


@dataclass(slots=True)
class Snapshot:
    """A tab, or the parts of it that were asked for.

    Args:
        cells: the filled cells, by row, then column.
        tagged: the row tags (``c~``) by row.
        headers: rows that bear the header tag.
        columns: tags of managed columns, by column.
        ends: columns that bear the end tag, with its id.
        fences: the fence tags (more than one only where Google lets an id be used twice).
        spills: what somebody's array formula shows in cells where nothing was typed, by row, then column.
        formatted: by row, the columns whose cells bear a number format; None when whole cells were not asked for.
        validated: by row, the columns whose cells have a drop-down or another rule.
        arounds: what people put on bounded ranges.
        blocks: what the answer covers.
        notes: the notes that say when the tab was last updated, by (row, column).
        dressed: we made the tab, and its look.
        properties: of the file.
    """

    sheet_id: int
    title: str
    row_count: int
    column_count: int
    cells: dict[int, dict[int, Value]] = field(default_factory=dict)
    tagged: dict[int, Tag] = field(default_factory=dict)
    headers: dict[int, Tag] = field(default_factory=dict)
    columns: dict[int, Tag] = field(default_factory=dict)
    ends: dict[int, Tag] = field(default_factory=dict)
    fences: tuple[Tag, ...] = ()
    spills: dict[int, dict[int, Value]] = field(default_factory=dict)
    formatted: dict[int, set[int]] | None = None
    validated: dict[int, set[int]] = field(default_factory=dict)
    arounds: tuple[Around, ...] = ()
    merges: tuple[Rect, ...] = ()
    protections: tuple[Protection, ...] = ()
    blocks: tuple[Rect, ...] = ()
    notes: dict[tuple[int, int], str] = field(default_factory=dict)
    dressed: bool = False
    properties: SpreadsheetProperties = field(default_factory=SpreadsheetProperties)

    @property
    def region(self) -> Region:
        """How the file's locale writes dates and amounts."""
        return region_of(self.properties.locale, self.properties.time_zone)

    @property
    def fence(self) -> Tag | None:
        return min(self.fences, key=lambda tag: tag.id, default=None)

    @property
    def size(self) -> int:
        return self.row_count * self.column_count

    def value(self, row: int, column: int) -> Value:
        return self.line(row).get(column)

    def line(self, row: int) -> Mapping[int, Value]:
        """The filled cells of *row*, by column."""
        return self.cells.get(row, {})

    def texts(self, row: int) -> dict[int, str]:
        """What *row* shows, as the texts that headers and keys are compared by; spilled cells included."""
        line = {**self.spills.get(row, {}), **self.line(row)}
        return {column: text for column, value in line.items() if (text := key_of(value))}

    def keys(self, column: int, header: int) -> Iterator[tuple[int, str]]:
        """(row, key) of the rows with a key, from the top; *column* is the key's."""
        spills = self.spills if self.spills_from_the_top(column, header) else {}
        for row in sorted(self.cells.keys() | spills.keys()):
            value = self.value(row, column)
            key = key_of(spills.get(row, {}).get(column) if value is None else value)
            if key and row != header:
                yield row, key

    def spills_from_the_top(self, column: int, header: int) -> bool:
        """Whether an array formula in *column*'s header or first cell fills it; one further below does not count."""
        return any(column in self.spills.get(row, {}) for row in (header + 1, header + 2))

    def is_blank(self, row: int, managed: Collection[int]) -> bool:
        """Whether *row* is blank or prepared, as far as is known: formulas and empty tick boxes beside our columns."""
        return all(
            column not in managed and (value is False or isinstance(value, Formula))
            for column, value in self.line(row).items()
        )

    def whole_columns(self) -> set[int]:
        """Columns of which every cell was asked for."""
        return {
            column
            for block in self.blocks
            if block.top == 0 and block.bottom >= self.row_count
            for column in range(block.left, block.right)
        }

    def shows_row(self, row: int) -> bool:
        """Whether every cell of *row* was asked for."""
        return any(
            block.top <= row < block.bottom and block.left == 0 and block.right >= self.column_count
            for block in self.blocks
        )

    @property
    def is_whole(self) -> bool:
        """Whether every cell of the tab was asked for."""
        return self.row_count > 0 and len(self.whole_columns()) == self.column_count

    def is_part_of(self, later: Snapshot) -> bool:
        """Whether what this one shows is unchanged in *later*, which shows as much or more: nobody edited."""
        return (
            self._frame() == later._frame()
            and self.tagged == later.tagged
            and all(later.value(row, at) == value for row, line in self.cells.items() for at, value in line.items())
        )

    def _frame(self) -> tuple[object, ...]:
        size = self.title, self.row_count, self.column_count
        return (*size, self.headers, self.columns, self.ends, self.fences, self.merges, self.protections)


def parse_sheets(answer: Spreadsheet, *, formats: bool = False, whole: bool = False) -> list[Snapshot]:
    """Every sheet of an answer that was asked for with ``SHEET_FIELDS``, with its number *formats*, or as a *whole*."""
    return [_parse_sheet(sheet, answer.properties, formats=formats, whole=whole) for sheet in answer.sheets]


def _parse_sheet(sheet: Sheet, file: SpreadsheetProperties, *, formats: bool, whole: bool) -> Snapshot:
    grid = sheet.properties.grid_properties
    rows, columns = grid.row_count, grid.column_count
    snapshot = Snapshot(sheet.properties.sheet_id, sheet.properties.title, rows, columns, properties=file)
    snapshot.formatted = {} if formats else None
    snapshot.fences = tuple(_tag(item) for item in sheet.developer_metadata if item.metadata_key == FENCE_KEY)
    snapshot.dressed = any(item.metadata_key == LOOK_KEY for item in sheet.developer_metadata)
    snapshot.arounds = arounds_of(sheet)
    snapshot.merges = tuple(_rect(item, rows, columns) for item in sheet.merges)
    snapshot.protections = tuple(
        Protection(
            name=item.get("description") or f"range {item.get('protectedRangeId', '')}".strip(),
            rect=_rect(item.get("range", {}), rows, columns),
            whole_height=item.get("range", {}).keys().isdisjoint({"startRowIndex", "endRowIndex"}),
            whole_width=item.get("range", {}).keys().isdisjoint({"startColumnIndex", "endColumnIndex"}),
            free=tuple(_rect(free, rows, columns) for free in item.get("unprotectedRanges", ())),
        )
        for item in sheet.protected_ranges
        if not item.get("requestingUserCanEdit") and not item.get("warningOnly")
    )
    blocks = []
    for data in sheet.data:
        top, left = data.start_row, data.start_column
        for row, tag in _tags(data.row_metadata, top):
            if tag.metadata_key == ROW_KEY:
                snapshot.tagged[row] = _tag(tag)
            elif tag.metadata_key == HEADER_KEY:
                snapshot.headers[row] = _tag(tag)
        for column, tag in _tags(data.column_metadata, left):
            if tag.metadata_key == COLUMN_KEY:
                snapshot.columns[column] = _tag(tag)
            elif tag.metadata_key == END_KEY:
                snapshot.ends[column] = _tag(tag)
        height, width = max(len(data.row_metadata), len(data.row_data)), len(data.column_metadata)
        for row, cells in data.rows():
            width = max(width, len(cells))
            for column, cell in enumerate(cells, left):
                _put_cell(snapshot, row, column, cell)
        blocks.append(Rect(top, top + height, left, left + width))
    snapshot.blocks = (Rect(0, rows, 0, columns),) if whole else tuple(blocks)
    return snapshot


def _put_cell(snapshot: Snapshot, row: int, column: int, cell: CellData) -> None:
    if cell.user_entered_value is not None:
        value: Value = _value(cell.user_entered_value, cell.effective_value)
        if isinstance(value, str) and cell.hyperlink:
            value = Link(value, cell.hyperlink)
        if value is not None:
            snapshot.cells.setdefault(row, {})[column] = value
    elif cell.effective_value is not None:
        snapshot.spills.setdefault(row, {})[column] = _value(cell.effective_value)
    if snapshot.formatted is not None and cell.user_entered_format.number_format is not None:
        snapshot.formatted.setdefault(row, set()).add(column)
    if UPDATED in cell.note:
        snapshot.notes[row, column] = cell.note
    if cell.data_validation:
        snapshot.validated.setdefault(row, set()).add(column)


def _tags(lines: Sequence[LineProperties | None], start: int) -> Iterator[tuple[int, DeveloperMetadata]]:
    """(line, tag) of a block's row or column metadata; a tag's own location counts more than its place in the list."""
    for place, line in enumerate(lines, start):
        for tag in line.developer_metadata if line is not None else ():
            end = tag.location.dimension_range.end_index
            yield place if end is None else end - 1, tag


def _tag(item: DeveloperMetadata) -> Tag:
    return Tag(item.metadata_id, item.metadata_value)


def _rect(area: Json, rows: int, columns: int) -> Rect:
    top, left = area.get("startRowIndex", 0), area.get("startColumnIndex", 0)
    return Rect(top, area.get("endRowIndex", rows), left, area.get("endColumnIndex", columns))


def _value(typed: ExtendedValue, shown: ExtendedValue | None = None) -> str | float | bool | Formula | None:
    for value in (typed.string_value, typed.number_value, typed.bool_value):
        if value is not None:
            return None if value == "" else value
    if typed.formula_value is not None:
        result = None if shown is None else _value(shown)
        return Formula(typed.formula_value, None if isinstance(result, Formula) else result)
    return Formula("#ERROR!")  # typed or shown


# ---------------------------------------------------------------- values


_EPOCH = date(1899, 12, 30).toordinal()
_EXACT_DIGITS = 15
"""A number cell is a double: beyond 15 digits it would come back changed, so it is written as text."""


def value_of(cell: Cell, kind: ColumnType = "text") -> Value:
    """A mapping's cell as it is typed into a sheet: dates as serial numbers, long numbers and lists as text, and an
    address in a column of that *kind* as a link."""
    if cell is None or cell == () or cell == "":
        return None
    if isinstance(cell, bool):
        return cell
    if isinstance(cell, str):
        if kind == "url" and is_link(cell):
            return Link.to(cell)
        # Sheets keeps line breaks as \n; written as \r\n they would never compare equal.
        return cell.replace("\r\n", "\n")
    if isinstance(cell, int):
        return float(cell) if len(str(abs(cell))) <= _EXACT_DIGITS else str(cell)
    if isinstance(cell, Decimal):
        if not cell.is_finite() or len(cell.normalize().as_tuple().digits) > _EXACT_DIGITS:
            return str(cell)
        return float(cell)
    if isinstance(cell, datetime):
        # Sheets knows no time zones: the clock on the wall that the mapping chose.
        seconds = cell.hour * 3600 + cell.minute * 60 + cell.second
        return cell.toordinal() - _EPOCH + seconds / 86_400
    if isinstance(cell, date):
        return float(cell.toordinal() - _EPOCH)
    return Links(cell) if any(map(is_link, cell)) else _SEPARATOR.join(cell)


def same(there: Value, wanted: Value) -> bool:
    """Whether a cell already holds *wanted*: by type and value, dates to the tenth of a second."""
    if isinstance(there, Link) and not isinstance(wanted, Link):
        there = there.text  # what looks like an address is made a link by Google
    if isinstance(wanted, Links):
        return there == wanted.text
    if isinstance(there, bool) or isinstance(wanted, bool):
        return there is wanted
    if isinstance(wanted, Formula):
        return isinstance(there, Formula) and there.text == wanted.text
    if isinstance(there, float) and isinstance(wanted, float):
        return there == wanted or math.isclose(there, wanted, rel_tol=0, abs_tol=1e-6 if abs(wanted) > 1 else 0)
    return there == wanted


def as_cell(value: Value) -> Cell:
    """What is there, for the overwrite rules and for people."""
    if isinstance(value, Formula | Link | Links):
        return value.text
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 1e15 else Decimal(repr(value))
    return value


def read_back(value: Value, kind: ColumnType) -> Cell:
    """What is there as a cell of its column's type, for people: 46056.5 in a date column is a date."""
    if isinstance(value, float) and kind in ("date", "datetime") and 0 <= value < 2_958_466:
        day = date.fromordinal(_EPOCH + int(value))
        if kind == "date":
            return day
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)  # Sheets knows no zones; shown as it is there
        return midnight + timedelta(seconds=round(value % 1 * 86_400))
    if isinstance(value, Link) and kind == "url":
        return value.address
    if isinstance(value, float) and kind in ("money", "number"):
        return Decimal(repr(value)) if not value.is_integer() else Decimal(int(value))
    return as_cell(value)


def shows(there: Value, kind: ColumnType) -> Callable[[Cell], bool]:
    """Whether a cell of a column of that kind would look like what is *there*. An address does as text as well: before
    addresses were links, they were written so."""

    def shown(cell: Cell) -> bool:
        wanted = value_of(cell, kind)
        return same(there, wanted) or (isinstance(wanted, Link) and there == wanted.address)

    return shown


def former(value: Value, kind: ColumnType) -> Cell:
    """What is there, as ``restored`` makes it again: a person's formula is a list of its own text."""
    return (value.text,) if isinstance(value, Formula) else read_back(value, kind)


def restored(cell: Cell, kind: ColumnType) -> Value:
    """What ``former`` was made of."""
    if isinstance(cell, tuple) and len(cell) == 1 and cell[0].startswith("="):
        return Formula(cell[0])
    return value_of(cell, kind)


def typed_value(value: Value) -> Json:
    """One CellData that holds *value* literally; ``{}`` clears. The only formula that is ever written is a person's own
    that we had overwritten, when that is taken back."""
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"userEnteredValue": {"boolValue": value}}
    if isinstance(value, float):
        return {"userEnteredValue": {"numberValue": int(value) if value.is_integer() else value}}
    if isinstance(value, Link):
        look = {"textFormat": {"link": {"uri": value.address}}}
        return {"userEnteredValue": {"stringValue": value.text}, "userEnteredFormat": look}
    if isinstance(value, Links):
        return {"userEnteredValue": {"stringValue": value.text}, "textFormatRuns": list(value.runs())}
    if isinstance(value, Formula):
        return {"userEnteredValue": {"formulaValue": value.text}}
    return {"userEnteredValue": {"stringValue": value}}


def key_of(value: Value) -> str:
    """The text that a header or key cell is compared by; of a formula, by what it shows."""
    if isinstance(value, Link | Links):
        value = value.text
    return canonical_key(value.shown if isinstance(value, Formula) else value)
