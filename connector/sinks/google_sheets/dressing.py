"""The look of a tab that the connector makes: set once, with the tab. From then on it belongs to people. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from connector.core.look import (
    ACCENT,
    BAND,
    EDGE,
    HEADER,
    INK,
    MUTED,
    RED,
    RIGHT_ALIGNED,
    UPDATED,
    block_starts,
    is_name,
    marks,
    note,
    pixels,
    pixels_for,
    renewed,
    settled_words,
)
from connector.core.row import Column, Row
from connector.core.sink import Target
from connector.sinks.google_sheets.answers import Json
from connector.sinks.google_sheets.formats import area_of, number_format, one_currency, update_cells
from connector.sinks.google_sheets.layout import Layout
from connector.sinks.google_sheets.places import letters
from connector.sinks.google_sheets.region import Region, colour
from connector.sinks.google_sheets.snapshot import Snapshot, as_cell, typed_value, value_of

_ROWS_MEASURED = 200
_HEADER_PIXELS = 36
_NEEDS_US = "Needs us"


def frozen(columns: Sequence[Column], header: int) -> Json:
    """What stays in sight while people scroll: the header row, and who the affiliate is."""
    return {"frozenRowCount": header + 1, "frozenColumnCount": int(is_name(columns[0]) and len(columns) > 1)}


def first_note(column: Column, key: str) -> str:
    """The note of the first header, before anything is written."""
    return note(column, key) + UPDATED


class Dressing:
    """The look of *columns* from column *at* on, in a tab without anything below row *header*.

    Args:
        rows: the first rows that will be written: they say how wide columns must be, and which currency amounts have.
    """

    def __init__(
        self, sheet: int, target: Target, region: Region, *, header: int = 0, at: int = 0, rows: Collection[Row] = ()
    ) -> None:
        self._sheet, self._target, self._region, self._header, self._at = sheet, target, region, header, at
        self._rows = rows
        self._currency = one_currency(target.columns, rows)

    def tab(self, columns: Sequence[Column], *, look: bool) -> list[Json]:
        """The requests for a tab with these columns, arranged.

        Args:
            look: False: without colours, notes and the like, since Google refused them.
        """
        right = self._at + len(columns)
        table = area_of(self._sheet, self._at, right, self._header)
        requests = [*self.columns(columns, look=look), {"setBasicFilter": {"filter": {"range": table}}}]
        if not look:
            return requests
        first = first_note(columns[0], self._target.key)
        row = {"sheetId": self._sheet, "dimension": "ROWS", "startIndex": self._header, "endIndex": self._header + 1}
        size = {"range": row, "properties": {"pixelSize": _HEADER_PIXELS}, "fields": "pixelSize"}
        return [
            *requests,
            update_cells(self._sheet, self._header, self._at, [{"values": [{"note": first}]}], "note"),
            {"updateDimensionProperties": size},
            {"addBanding": {"bandedRange": {"range": table, "rowProperties": _bands()}}},
            *self._rules(columns),
            *self._needs_us(columns, table),
            *self._key(columns),
        ]

    def columns(self, columns: Sequence[Column], *, look: bool) -> list[Json]:
        """New columns: headers, number formats, and their look. Without *look* they have that of the left neighbour."""
        blocks = block_starts(columns, self._target.key)
        heads = [
            typed_value(column.name)
            | ({"userEnteredFormat": _header(column), "note": note(column, self._target.key)} if look else {})
            for column in columns
        ]
        fields = "userEnteredValue" + (",userEnteredFormat,note" if look else "")
        requests = [update_cells(self._sheet, self._header, self._at, [{"values": heads}], fields)]
        for place, column in enumerate(columns, self._at):
            form = number_format(column, self._region, dressed=look, currency=self._currency)
            cell = _body(column, is_key=column.name == self._target.key, begins=column.name in blocks) if look else {}
            cell |= {"numberFormat": form} if form is not None else {}
            area = area_of(self._sheet, place, place + 1, self._header + 1)
            fields = _BODY if look else "userEnteredFormat.numberFormat"
            requests.append({"repeatCell": {"range": area, "cell": {"userEnteredFormat": cell}, "fields": fields}})
            if not look:
                continue
            span = {"sheetId": self._sheet, "dimension": "COLUMNS", "startIndex": place, "endIndex": place + 1}
            size = {"range": span, "properties": {"pixelSize": self._pixels(column)}, "fields": "pixelSize"}
            requests.append({"updateDimensionProperties": size})
        return requests

    def _pixels(self, column: Column) -> int:
        first = [value_of(row.cells.get(column.name), column.type) for row in list(self._rows)[:_ROWS_MEASURED]]
        lengths = [len(text) for value in first if isinstance(text := as_cell(value), str)]
        return max(pixels(column), 0 if column.type in RIGHT_ALIGNED else pixels_for(lengths))

    def _rules(self, columns: Sequence[Column]) -> list[Json]:
        """Conditional formats. They begin at the header row: one that begins below it would move down with the first
        rows, which are inserted there."""
        requests: list[Json] = []

        def add(area: Json, condition: str, value: str, look: Json) -> None:
            if condition == "CUSTOM_FORMULA" or not value.startswith("="):  # a word is no formula
                when = {"type": condition, "values": [{"userEnteredValue": value}]}
                rule = {"ranges": [area], "booleanRule": {"condition": when, "format": look}}
                requests.append({"addConditionalFormatRule": {"rule": rule, "index": len(requests)}})

        for place, column in enumerate(columns, self._at):
            area = area_of(self._sheet, place, place + 1, self._header)
            for shown, mark in marks(column):
                text = {"bold": mark.bold, "italic": not mark.bold, "foregroundColorStyle": colour(mark.ink)}
                add(area, "TEXT_EQ", shown, {"textFormat": text, "backgroundColorStyle": colour(mark.paper)})
            if column.type == "money":
                add(area, "NUMBER_LESS", "0", {"textFormat": {"foregroundColorStyle": colour(RED)}})
            if column.name == self._target.options.removed_column and not column.paths:
                gone = {"textFormat": {"strikethrough": True, "foregroundColorStyle": colour(MUTED)}}
                whole = area_of(self._sheet, self._at, self._at + len(columns), self._header)
                first = self._header + 1
                add(whole, "CUSTOM_FORMULA", f'=AND(ROW()>{first},${letters(place)}{first}<>"")', gone)
        return requests

    def _needs_us(self, columns: Sequence[Column], table: Json) -> list[Json]:
        """A filter view of the affiliates who wait for somebody, those who joined first at the top."""
        specs = [
            {"columnIndex": place, "filterCriteria": {"hiddenValues": hidden}}
            for place, column in enumerate(columns, self._at)
            if (hidden := settled_words(column))
        ]
        joined = [place for place, column in enumerate(columns, self._at) if column.paths == ("created_at",)]
        order = [{"dimensionIndex": place, "sortOrder": "ASCENDING"} for place in joined[:1]]
        view = {"title": _NEEDS_US, "range": table, "filterSpecs": specs, "sortSpecs": order}
        return [{"addFilterView": {"filter": view}}] if specs else []

    def _key(self, columns: Sequence[Column]) -> list[Json]:
        place = self._at + [column.name for column in columns].index(self._target.key)
        words = f"{self._target.key} finds the row again. Sorting is fine; please don't change it."
        area = {"sheetId": self._sheet, "startColumnIndex": place, "endColumnIndex": place + 1}
        return [{"addProtectedRange": {"protectedRange": {"range": area, "description": words, "warningOnly": True}}}]


_BODY = (
    "userEnteredFormat(numberFormat,horizontalAlignment,verticalAlignment,wrapStrategy,padding,borders.left,"
    "textFormat(bold,fontSize,foregroundColorStyle))"
)


def _header(column: Column) -> Json:
    right = column.type in RIGHT_ALIGNED
    return {
        "backgroundColorStyle": colour(HEADER),
        "textFormat": {"bold": True, "fontSize": 10, "foregroundColorStyle": colour(INK)},
        "wrapStrategy": "WRAP",
        "verticalAlignment": "MIDDLE",
        "horizontalAlignment": "RIGHT" if right else "LEFT",
        # Over numbers the filter's button would cover the last letters.
        "padding": {"top": 2, "right": 24 if right else 8, "bottom": 2, "left": 8},
        "borders": {"bottom": {"style": "SOLID_MEDIUM", "colorStyle": colour(ACCENT)}},
    }


def _body(column: Column, *, is_key: bool, begins: bool) -> Json:
    cell: Json = {
        "horizontalAlignment": "RIGHT" if column.type in RIGHT_ALIGNED else "LEFT",
        "verticalAlignment": "MIDDLE",
        "wrapStrategy": "CLIP",
        "padding": {"top": 2, "right": 8, "bottom": 2, "left": 8},
    }
    if begins:
        cell["borders"] = {"left": {"style": "SOLID", "colorStyle": colour(EDGE)}}
    if is_key:
        cell["textFormat"] = {"fontSize": 9, "foregroundColorStyle": colour(MUTED)}
    elif is_name(column):
        cell["textFormat"] = {"bold": True}
    return cell


def _bands() -> Json:
    return {
        "headerColorStyle": colour(HEADER),
        "firstBandColorStyle": colour("FFFFFF"),
        "secondBandColorStyle": colour(BAND),
    }


def note_update(snapshot: Snapshot, layout: Layout, columns: Sequence[Column], key: str, now: datetime) -> list[Json]:
    """Renew "Last updated" in our note, with a write that happens anyway. A note that people edited is left alone."""
    names: Mapping[int, str] = {place: name for name, place in layout.columns.items()}
    for (row, place), text in snapshot.notes.items():
        if row != layout.header or place not in names:
            continue
        column = next(column for column in columns if column.name == names[place])
        new = renewed(text, now.astimezone(snapshot.region.zone))
        if new is not None and text.startswith(note(column, key) + UPDATED):
            return [update_cells(snapshot.sheet_id, row, place, [{"values": [{"note": new}]}], "note")]
    return []


def grown_to_the_right(snapshot: Snapshot, at: int, count: int) -> list[Json]:
    """Make filter and bands that end at column *at* cover *count* columns more."""
    return [
        around.ending({"endColumnIndex": at + count})
        for around in snapshot.arounds
        if around.grown is not None
        and around.grown[0] in ("setBasicFilter", "updateBanding")
        and around.range.get("endColumnIndex") == at
    ]
