"""What the Sheets API answers, as typed values. Knows nothing of rows and keys.

Source: Google's discovery document of the Sheets API, v4 (read 2026-11)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw, Struct

Json = dict[str, Any]


class Resource(Struct, rename="camel", frozen=True):
    """A resource of the Sheets API with the fields that are asked for. What Google leaves out has the default."""


class ExtendedValue(Resource, frozen=True):
    string_value: str | None = None
    number_value: float | None = None
    bool_value: bool | None = None
    formula_value: str | None = None


class NumberFormat(Resource, frozen=True):
    type: str = ""


class CellFormat(Resource, frozen=True):
    number_format: NumberFormat | None = None


class CellData(Resource, frozen=True):
    user_entered_value: ExtendedValue | None = None
    effective_value: ExtendedValue | None = None
    user_entered_format: CellFormat = CellFormat()
    data_validation: Json | None = None
    hyperlink: str = ""
    note: str = ""


class RowData(Resource, frozen=True):
    values: tuple[CellData, ...] = ()


class DimensionRange(Resource, frozen=True):
    end_index: int | None = None


class TagLocation(Resource, frozen=True):
    dimension_range: DimensionRange = DimensionRange()


class DeveloperMetadata(Resource, frozen=True):
    metadata_id: int
    metadata_key: str
    metadata_value: str = ""
    location: TagLocation = TagLocation()


class LineProperties(Resource, frozen=True):
    """Of a row or a column (``DimensionProperties``)."""

    developer_metadata: tuple[DeveloperMetadata, ...] = ()


_ROW = msgspec.json.Decoder(RowData)


class GridData(Resource, frozen=True):
    start_row: int = 0
    start_column: int = 0
    row_data: tuple[Raw, ...] = ()
    """As text: opened, a big tab's cells are several times as large."""
    row_metadata: tuple[LineProperties | None, ...] = ()
    column_metadata: tuple[LineProperties | None, ...] = ()

    def rows(self) -> Iterator[tuple[int, tuple[CellData, ...]]]:
        """(row, its cells), opened one by one."""
        for row, line in enumerate(self.row_data, self.start_row):
            yield row, _ROW.decode(line).values


class GridProperties(Resource, frozen=True):
    row_count: int = 0
    column_count: int = 0

    @property
    def cells(self) -> int:
        return self.row_count * self.column_count


class SheetProperties(Resource, frozen=True):
    title: str
    sheet_id: int = 0
    grid_properties: GridProperties = GridProperties()


class Sheet(Resource, frozen=True):
    properties: SheetProperties
    developer_metadata: tuple[DeveloperMetadata, ...] = ()
    data: tuple[GridData, ...] = ()
    # As Google sent them: their ranges are sent back.
    merges: tuple[Json, ...] = ()
    protected_ranges: tuple[Json, ...] = ()
    basic_filter: Json | None = None
    tables: tuple[Json, ...] = ()
    banded_ranges: tuple[Json, ...] = ()
    filter_views: tuple[Json, ...] = ()
    conditional_formats: tuple[Json, ...] = ()
    charts: tuple[Json, ...] = ()


class SpreadsheetProperties(Resource, frozen=True):
    locale: str = ""
    time_zone: str = ""


class Spreadsheet(Resource, frozen=True):
    """What a read answers."""

    properties: SpreadsheetProperties = SpreadsheetProperties()
    sheets: tuple[Sheet, ...] = ()


class Updated(Resource, frozen=True):
    """What a batch answers; ``updated_spreadsheet`` is filled when it was asked for."""

    updated_spreadsheet: Spreadsheet = Spreadsheet()


class Unclear(Exception):
    """The write may have landed or not (5xx, reset, time-out, half an answer): read before writing again."""


class Rejected(Exception):
    """Google refused the batch as a whole (400): a guard met a person's edit, or a request is wrong.

    The text is Google's, without values.
    """


class Full(Rejected):
    """The file has as many cells as Google allows."""
