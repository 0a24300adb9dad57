"""How managed columns look: number formats, widths, and what a fresh tab is given. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from connector.core.money import exponent
from connector.core.row import Column
from connector.sinks.google_sheets.answers import Json
from connector.sinks.google_sheets.snapshot import typed_value

_FORMATS: Mapping[str, Json] = {
    "date": {"type": "DATE", "pattern": "yyyy-mm-dd"},
    "datetime": {"type": "DATE_TIME", "pattern": "yyyy-mm-dd hh:mm:ss"},
    "number": {"type": "NUMBER", "pattern": "#,##0.00"},
    "integer": {"type": "NUMBER", "pattern": "0"},
    # TEXT, so that an id, a phone number or a postcode stays as it is when a person edits the cell.
    **{kind: {"type": "TEXT", "pattern": "@"} for kind in ("text", "email", "phone", "country", "list")},
}
_WIDTHS_IN_PIXELS = {"text": 160, "email": 220, "url": 240, "phone": 130, "date": 100, "datetime": 150, "list": 180}
_OTHER_WIDTH_IN_PIXELS = 110


def number_format(column: Column) -> Json | None:
    """The number format of a column's cells; None for booleans and links, which need none."""
    if column.type == "money":
        decimals = exponent(column.currency or "")
        return {"type": "NUMBER", "pattern": "#,##0" + ("." + "0" * decimals if decimals else "")}
    return _FORMATS.get(column.type)


def format_columns(sheet: int, header: int, at: int, columns: Sequence[Column]) -> list[Json]:
    """Header cells, formats and widths of fresh columns from *at* on."""
    cells = [typed_value(column.name) for column in columns]
    requests = [update_cells(sheet, header, at, [{"values": cells}])]
    for place, column in enumerate(columns, at):
        cell: Json = {}
        if (form := number_format(column)) is not None:
            cell["numberFormat"] = form
        if column.type == "url":
            cell["hyperlinkDisplayType"] = "LINKED"
        area = area_of(sheet, place, place + 1, header + 1)
        fields = "userEnteredFormat(numberFormat,hyperlinkDisplayType)"
        requests.append({"repeatCell": {"range": area, "cell": {"userEnteredFormat": cell}, "fields": fields}})
        span = {"sheetId": sheet, "dimension": "COLUMNS", "startIndex": place, "endIndex": place + 1}
        size = {"pixelSize": _WIDTHS_IN_PIXELS.get(column.type, _OTHER_WIDTH_IN_PIXELS)}
        requests.append({"updateDimensionProperties": {"range": span, "properties": size, "fields": "pixelSize"}})
    return requests


def format_tab(sheet: int, header: int, left: int, right: int) -> list[Json]:
    """Bold header, frozen; a filter over all rows below."""
    head = area_of(sheet, left, right, header, header + 1)
    bold = {"userEnteredFormat": {"textFormat": {"bold": True}}}
    frozen = {"sheetId": sheet, "gridProperties": {"frozenRowCount": header + 1}}
    return [
        {"repeatCell": {"range": head, "cell": bold, "fields": "userEnteredFormat.textFormat.bold"}},
        {"updateSheetProperties": {"properties": frozen, "fields": "gridProperties.frozenRowCount"}},
        {"setBasicFilter": {"filter": {"range": area_of(sheet, left, right, header)}}},
    ]


def update_cells(sheet: int, row: int, column: int, rows: Sequence[Json], fields: str = "userEnteredValue") -> Json:
    start = {"sheetId": sheet, "rowIndex": row, "columnIndex": column}
    return {"updateCells": {"start": start, "rows": rows, "fields": fields}}


def area_of(sheet: int, left: int, right: int, top: int, bottom: int | None = None) -> Json:
    area = {"sheetId": sheet, "startRowIndex": top, "startColumnIndex": left, "endColumnIndex": right}
    return area if bottom is None else area | {"endRowIndex": bottom}
