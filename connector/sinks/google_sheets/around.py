"""What people put around the rows (a filter, a table, colours, protected ranges) and how it grows with them. Pure.

Google extends a range when rows are inserted inside it. One that ends at our last row stays as it is when rows are
added below, so the batch that adds them extends it too. Ranges without a last row, and those that end further below,
need nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from msgspec import convert

from connector.sinks.google_sheets.answers import GridRange, Json, Sheet
from connector.sinks.google_sheets.places import runs

AROUND_FIELDS = (
    "basicFilter,tables(tableId,name,range),bandedRanges(bandedRangeId,range),filterViews(filterViewId,title,range),"
    "conditionalFormats.ranges,"
)


@dataclass(frozen=True, slots=True)
class Around:
    """A range with a last row that something of people's covers.

    Args:
        name: for people.
        bottom: the row after the last one.
        grown: the request that makes it end further below, with this ``range`` put in; None when this account may not
            change it, and for conditional formats, which are copied instead.
        range: the range, as Google writes it.
        has_header: a table, a filter or alternating colours, whose range includes the header row.
        is_format: a conditional format.
    """

    name: str
    bottom: int
    range: Json
    grown: tuple[str, Json] | None = None
    has_header: bool = False
    is_format: bool = False


def arounds_of(sheet: Sheet) -> tuple[Around, ...]:
    """Everything with a bounded range on *sheet*."""
    return tuple(_arounds(sheet, sheet.properties.sheet_id))


def _arounds(sheet: Sheet, sheet_id: int) -> Iterator[Around]:
    for name, range_, grown in _ranged(sheet):
        if (area := _json(range_, sheet_id)) is not None:
            has_header = grown is not None and grown[0] != "updateProtectedRange"
            yield Around(name, area["endRowIndex"], area, grown, has_header=has_header)
    for rule in sheet.conditional_formats:
        for place in rule.ranges:
            if (area := _json(place, sheet_id)) is not None:
                yield Around("conditional format", area["endRowIndex"], area, is_format=True)


def _ranged(sheet: Sheet) -> Iterator[tuple[str, GridRange, tuple[str, Json] | None]]:
    """(name, range, the request that changes it) of what has one range."""
    for table in sheet.tables:
        yield f'table "{table.name}"', table.range, ("updateTable", {"table": {"tableId": table.table_id}})
    for banding in sheet.banded_ranges:
        request = ("updateBanding", {"bandedRange": {"bandedRangeId": banding.banded_range_id}})
        yield "alternating colours", banding.range, request
    for view in sheet.filter_views:
        request = ("updateFilterView", {"filter": {"filterViewId": view.filter_view_id}})
        yield f'filter view "{view.title}"', view.range, request
    for item in sheet.protected_ranges:
        request = ("updateProtectedRange", {"protectedRange": {"protectedRangeId": item.protected_range_id}})
        is_its_own = not item.named_range_id and not item.table_id
        editable = is_its_own and (item.requesting_user_can_edit or item.warning_only)
        name = f'protected range "{item.description or item.protected_range_id}"'
        yield name, item.range, request if editable else None
    found = sheet.basic_filter
    if found is not None and not found.get("tableId"):
        # Answers carry the criteria in two forms; sent back, the newer one is enough.
        kept = {name: value for name, value in found.items() if name != "criteria" or "filterSpecs" not in found}
        yield "filter", convert(found.get("range", {}), GridRange), ("setBasicFilter", {"filter": kept})


def _json(area: GridRange, sheet_id: int) -> Json | None:
    """None for a range without a last row."""
    if area.end_row_index is None:
        return None
    found: Json = {"sheetId": sheet_id, "startRowIndex": area.start_row_index or 0, "endRowIndex": area.end_row_index}
    if area.start_column_index is not None:
        found["startColumnIndex"] = area.start_column_index
    if area.end_column_index is not None:
        found["endColumnIndex"] = area.end_column_index
    return found


class Growth(IntEnum):
    """How much Google takes of what makes ranges grow; a refusal takes it down by one."""

    NONE = 0
    RANGES = 1
    ALL = 2
    """Rules that cells have one by one (drop-downs, colours), too: they are copied."""


def growth(
    arounds: Iterable[Around], sheet_id: int, *, header: int, last: int, end: int, validated: Iterable[int], by: Growth
) -> tuple[list[Json], list[str]]:
    """The requests that make what ends at row *last* end before row *end*, and what does not grow, in words.

    Only what begins at the table's top grows: a rule on its last rows alone is about these rows.

    Args:
        last: our last row before the new ones (the header row when there was none).
        end: the row after the last new one.
        validated: columns whose cells in row *last* have a drop-down or another rule.
    """
    requests: list[Json] = []
    copies: list[Json] = []
    stays: list[str] = []
    for around in arounds:
        if around.bottom != last + 1 or around.range["startRowIndex"] > header + 1:
            continue
        if last == header and not around.has_header:
            continue  # about the header row itself
        if around.is_format:
            copies.append(_copied(around.range, last, end, "PASTE_CONDITIONAL_FORMATTING"))
        elif around.grown is None or by < Growth.RANGES:
            stays.append(f"the {around.name} ends at row {last + 1} and does not cover the new rows below it")
        else:
            kind, body = around.grown
            ((name, item),) = body.items()
            grown = {name: item | {"range": around.range | {"endRowIndex": end}}}
            requests.append({kind: grown if kind == "setBasicFilter" else grown | {"fields": "range"}})
    for first, after in runs(validated if last > header else ()):
        area = {"sheetId": sheet_id, "startColumnIndex": first, "endColumnIndex": after}
        copies.append(_copied(area, last, end, "PASTE_DATA_VALIDATION"))
    if copies and by < Growth.ALL:
        stays.append(f"drop-downs and colours end at row {last + 1} and do not cover the new rows below it")
        copies = []
    return requests + copies, stays


def _copied(area: Json, last: int, end: int, what: str) -> Json:
    """Copy something of row *last* into the rows below, up to *end*, in the columns of *area*."""
    source = area | {"startRowIndex": last, "endRowIndex": last + 1}
    goal = area | {"startRowIndex": last + 1, "endRowIndex": end}
    return {"copyPaste": {"source": source, "destination": goal, "pasteType": what}}
