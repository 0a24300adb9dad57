"""What people put around the rows (a filter, a table, colours, protected ranges) and how it grows with them. Pure.

Google extends a range when rows are inserted inside it. One that ends at our last row stays as it is when rows are
added below, so the batch that adds them extends it too. Ranges without a last row, and those that end further below,
need nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from connector.sinks.google_sheets.answers import Json, Sheet
from connector.sinks.google_sheets.places import runs

AROUND_FIELDS = (
    "basicFilter,tables(tableId,name,range),bandedRanges(bandedRangeId,range),filterViews(filterViewId,title,range),"
    "conditionalFormats.ranges,"
)


_KINDS = (
    ('table "{}"', "updateTable", "table", "tableId"),
    ("alternating colours", "updateBanding", "bandedRange", "bandedRangeId"),
    ('filter view "{}"', "updateFilterView", "filter", "filterViewId"),
    ('protected range "{}"', "updateProtectedRange", "protectedRange", "protectedRangeId"),
)
"""What has an id and one range: words, the request that changes it, its resource, its id."""


@dataclass(frozen=True, slots=True)
class Around:
    """A range that a filter, a table, colours or a rule covers.

    Args:
        name: for people.
        range: the range, as Google writes it.
        grown: the request that makes it end further below, with this ``range`` put in; None when this account may not
            change it, and for conditional formats, which are copied instead.
        has_header: a table, a filter or alternating colours, whose range includes the header row.
        is_format: a conditional format.
    """

    name: str
    range: Json
    grown: tuple[str, Json] | None = None
    has_header: bool = False
    is_format: bool = False

    def ending(self, end: Json) -> Json:
        """The request that makes it end there (``endRowIndex``, ``endColumnIndex``)."""
        assert self.grown is not None
        kind, body = self.grown
        grown = {name: item | {"range": self.range | end} for name, item in body.items()}
        return {kind: grown if kind == "setBasicFilter" else grown | {"fields": "range"}}


def arounds_of(sheet: Sheet) -> tuple[Around, ...]:
    """Everything of that kind on *sheet*."""
    return tuple(_arounds(sheet))


def _arounds(sheet: Sheet) -> Iterator[Around]:
    top = {"sheetId": sheet.properties.sheet_id, "startRowIndex": 0}  # which Google leaves out where they are 0
    lists = (sheet.tables, sheet.banded_ranges, sheet.filter_views, sheet.protected_ranges)
    for (words, request, resource, id_name), items in zip(_KINDS, lists, strict=True):
        for item in items:
            id = item.get(id_name)
            name = words.format(item.get("name") or item.get("title") or item.get("description") or id)
            grown = (request, {resource: {id_name: id}})
            is_protection = resource == "protectedRange"
            may_change = not is_protection or _may_change(item)
            yield Around(name, top | item.get("range", {}), grown if may_change else None, not is_protection)
    found = sheet.basic_filter
    if found is not None and not found.get("tableId"):
        # Answers carry the criteria in two forms; sent back, the newer one is enough.
        kept = {name: value for name, value in found.items() if name != "criteria" or "filterSpecs" not in found}
        yield Around("filter", top | found.get("range", {}), ("setBasicFilter", {"filter": kept}), has_header=True)
    for rule in sheet.conditional_formats:
        for area in rule.get("ranges", ()):
            yield Around("conditional format", top | area, is_format=True)


def _may_change(protection: Json) -> bool:
    """Whether this account may change the range, and nothing else's range (a table's, a named one's) decides it."""
    is_its_own = not protection.get("namedRangeId") and not protection.get("tableId")
    return is_its_own and bool(protection.get("requestingUserCanEdit") or protection.get("warningOnly"))


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
        if around.range.get("endRowIndex") != last + 1 or around.range["startRowIndex"] > header + 1:
            continue
        if last == header and not around.has_header:
            continue  # about the header row itself
        if around.is_format:
            copies.append(_copied(around.range, last, end, "PASTE_CONDITIONAL_FORMATTING"))
        elif around.grown is None or by < Growth.RANGES:
            stays.append(f"the {around.name} ends at row {last + 1} and does not cover the new rows below it")
        else:
            requests.append(around.ending({"endRowIndex": end}))
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
