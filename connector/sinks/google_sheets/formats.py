"""Number formats of managed cells, as the spreadsheet's locale writes dates and amounts. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from connector.core.look import ACCENT, amount_pattern, pattern
from connector.core.money import number_pattern
from connector.core.row import Column, Row
from connector.sinks.google_sheets.answers import Json
from connector.sinks.google_sheets.layout import Layout
from connector.sinks.google_sheets.places import runs
from connector.sinks.google_sheets.region import Region, colour
from connector.sinks.google_sheets.snapshot import Link, Value

_TYPES = {"integer": "NUMBER", "date": "DATE", "datetime": "DATE_TIME"}
# TEXT, so that an id, a phone number or a postcode stays as it is when a person edits the cell.
_TEXT_TYPES = frozenset({"text", "email", "phone", "country", "list"})
_AMOUNT_BYTES = 250
"""Of the request that gives amounts side by side their currency, at most."""


def number_format(column: Column, region: Region, *, dressed: bool, currency: str = "") -> Json | None:
    """The number format of a column's cells; None for booleans and links, which need none.

    Args:
        dressed: it is in a tab of ours, where an amount has its currency's sign, if that is known.
        currency: of the amounts, where the mapping names none.
    """
    if column.type == "money" and not dressed:
        return {"type": "NUMBER", "pattern": number_pattern(column.currency)}
    if column.type == "money":
        return _amount_format(column.currency or currency, region)
    if column.type in _TEXT_TYPES:
        return {"type": "TEXT", "pattern": "@"}
    if column.type == "number":
        return {"type": "NUMBER", "pattern": "#,##0.00"}
    shown = pattern(column, region.date)
    return {"type": _TYPES[column.type], "pattern": shown} if shown else None


def _amount_format(currency: str, region: Region) -> Json:
    shown = amount_pattern(currency, sign_behind=region.sign_behind)
    return {"type": "CURRENCY" if '"' in shown else "NUMBER", "pattern": shown}


# ---------------------------------------------------------------- amounts in the currency of their row


@dataclass(frozen=True, slots=True)
class Amounts:
    """Amounts whose currency another column of their row names.

    Args:
        column: that column's name.
        spans: where the amounts are.
    """

    column: str
    spans: Sequence[tuple[int, int]]

    def currency(self, row: Row) -> str:
        """The currency that *row* names; "" for none."""
        return str(row.cells.get(self.column) or "")

    @property
    def bytes(self) -> int:
        """Of the requests for one run of rows."""
        return _AMOUNT_BYTES * len(self.spans)

    def requests(self, sheet: int, rows: Mapping[int, str], region: Region) -> list[Json]:
        """Give the amounts of *rows* (by place) their currency: without it a sign would be wrong, or missing."""
        requests = []
        by_currency: dict[str, list[int]] = {}
        for row in sorted(rows):
            by_currency.setdefault(rows[row], []).append(row)
        for currency, places in by_currency.items():
            cell = {"userEnteredFormat": {"numberFormat": _amount_format(currency, region)}}
            for top, bottom in runs(places):
                for left, right in self.spans:
                    area = area_of(sheet, left, right, top, bottom)
                    fields = "userEnteredFormat.numberFormat"
                    requests.append({"repeatCell": {"range": area, "cell": cell, "fields": fields}})
        return requests


def currency_column(columns: Sequence[Column]) -> str | None:
    """The column that names the currency of its row."""
    return next((column.name for column in columns if column.paths == ("currency",)), None)


def amounts_of(columns: Sequence[Column], layout: Layout) -> Amounts | None:
    """The amounts of a tab whose currency a column of the mapping names, if there are any."""
    name = currency_column(columns)
    places = [
        layout.columns[column.name]
        for column in columns
        if column.type == "money" and not column.currency and column.name in layout.columns
    ]
    return Amounts(name, runs(places)) if name is not None and places else None


def one_currency(columns: Sequence[Column], rows: Collection[Row]) -> str:
    """The currency that all *rows* name; "" when they name several, or none."""
    name = currency_column(columns)
    found = {str(row.cells.get(name) or "") for row in rows} if name is not None else set()
    return found.pop() if len(found) == 1 else ""


# ---------------------------------------------------------------- links


LINK_BYTES = 270
"""Of the request for the look of links below each other, at most."""


def link_places(cells: Mapping[int, Value]) -> frozenset[int]:
    """The columns of a row's cells that are links."""
    return frozenset(place for place, value in cells.items() if isinstance(value, Link))


def link_requests(sheet: int, rows: Mapping[int, Collection[int]]) -> list[Json]:
    """Give links their look, by row the columns: Google has just given them that of a web page."""
    look = {"userEnteredFormat": {"textFormat": {"foregroundColorStyle": colour(ACCENT), "underline": False}}}
    fields = "userEnteredFormat.textFormat(foregroundColorStyle,underline)"
    return [
        {"repeatCell": {"range": area_of(sheet, place, place + 1, top, bottom), "cell": look, "fields": fields}}
        for place in sorted({place for places in rows.values() for place in places})
        for top, bottom in runs(row for row, places in rows.items() if place in places)
    ]


# ---------------------------------------------------------------- requests


def update_cells(sheet: int, row: int, column: int, rows: Sequence[Json], fields: str = "userEnteredValue") -> Json:
    start = {"sheetId": sheet, "rowIndex": row, "columnIndex": column}
    return {"updateCells": {"start": start, "rows": rows, "fields": fields}}


def area_of(sheet: int, left: int, right: int, top: int, bottom: int | None = None) -> Json:
    area = {"sheetId": sheet, "startRowIndex": top, "startColumnIndex": left, "endColumnIndex": right}
    return area if bottom is None else area | {"endRowIndex": bottom}
