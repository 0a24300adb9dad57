"""Tags and guards: the requests that make Google refuse a batch which meets a line that somebody has moved. Pure.

A guard is ``deleteDeveloperMetadata{tag at place}`` then ``createDeveloperMetadata{tag at place}``. While the tag sits
there both pass. When a person has moved the line, the delete matches nothing, the create meets an id in use, and Google
refuses the whole batch: nothing is written in a wrong place. The same pair on the fence's value makes a late or
repeated batch refuse itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from connector.sinks.google_sheets.answers import Json
from connector.sinks.google_sheets.layout import Layout, column_tag_id, confirmed_name, fence_tag_id
from connector.sinks.google_sheets.snapshot import (
    COLUMN_KEY,
    END_KEY,
    FENCE_KEY,
    HEADER_KEY,
    ROW_KEY,
    UNCONFIRMED,
    Snapshot,
)

NewId = Callable[[], int]

GUARD_BYTES, TAG_BYTES, DELETE_BYTES = 495, 232, 205
"""Of a row's guard, a row's tag and a row's deletion in JSON, at most."""


def line_of(sheet: int, dimension: str, place: int) -> Json:
    return {"dimensionRange": {"sheetId": sheet, "dimension": dimension, "startIndex": place, "endIndex": place + 1}}


def row_tags(sheet: int, places: Iterable[int], new_id: NewId) -> list[Json]:
    return [create(new_id(), ROW_KEY, line_of(sheet, "ROWS", place)) for place in sorted(places)]


def create(id: int, key: str, location: Json, value: str = "") -> Json:
    tag: Json = {"metadataId": id, "metadataKey": key, "location": location, "visibility": "DOCUMENT"}
    if value:
        tag["metadataValue"] = value
    return {"createDeveloperMetadata": {"developerMetadata": tag}}


def delete(lookup: Json) -> Json:
    return {"deleteDeveloperMetadata": {"dataFilter": {"developerMetadataLookup": lookup}}}


def sweep(sheet: int, key: str) -> Json:
    return delete({"metadataKey": key, "metadataLocation": {"sheetId": sheet}})


def guard(id: int, key: str, location: Json, value: str = "") -> list[Json]:
    there = {"metadataId": id, "metadataLocation": location, "locationMatchingStrategy": "EXACT_LOCATION"}
    return [delete(there), create(id, key, location, value)]


def fence(snapshot: Snapshot, nonce: str) -> list[Json]:
    sheet, tag = snapshot.sheet_id, snapshot.fence
    if tag is None:
        return [create(fence_tag_id(sheet), FENCE_KEY, {"sheetId": sheet}, nonce)]
    others = [delete({"metadataId": other.id}) for other in snapshot.fences if other.id != tag.id]
    ours = delete({"metadataId": tag.id, "metadataValue": tag.value})
    return [*others, ours, create(tag.id, FENCE_KEY, {"sheetId": sheet}, nonce)]


def column_guards(snapshot: Snapshot, layout: Layout, *, header: bool) -> list[Json]:
    sheet = snapshot.sheet_id
    requests: list[Json] = []
    if header:
        for row, tag in snapshot.headers.items():
            requests += guard(tag.id, HEADER_KEY, line_of(sheet, "ROWS", row))
    for name, place in layout.columns.items():
        requests += guard(snapshot.columns[place].id, COLUMN_KEY, line_of(sheet, "COLUMNS", place), name)
    for place, tag in snapshot.ends.items():
        requests += guard(tag.id, END_KEY, line_of(sheet, "COLUMNS", place))
    return requests


def tag_column(snapshot: Snapshot, name: str, place: int) -> list[Json]:
    """Tag the column at *place*, which was found by its header; whatever tags say otherwise goes."""
    sheet, tag_id = snapshot.sheet_id, column_tag_id(snapshot.sheet_id, name)
    ids = {tag_id} | {tag.id for tag in snapshot.columns.values() if confirmed_name(tag) == name}
    if place in snapshot.columns:
        ids.add(snapshot.columns[place].id)
    return [
        *(delete({"metadataId": id}) for id in sorted(ids)),
        create(tag_id, COLUMN_KEY, line_of(sheet, "COLUMNS", place), UNCONFIRMED + name),
    ]


def guard_trial(sheet_id: int, title: str, tag_id: int, *, stale: bool) -> list[Json]:
    """A guard put to the test on a row that is sorted away, in a scratch tab that the same batch removes again.

    Args:
        stale: guard the place where the row was (Google must refuse the batch), not where it is (it must not).
    """
    properties = {"sheetId": sheet_id, "title": title, "gridProperties": {"rowCount": 2, "columnCount": 1}}
    return [
        {"addSheet": {"properties": properties}},
        *_sorted_away(sheet_id, tag_id, 0 if stale else 1),
        {"deleteSheet": {"sheetId": sheet_id}},
    ]


def refused_trial(sheet_id: int, no_sheet_id: int, tag_id: int) -> list[Json]:
    """The same in a tab of people's, where the file has no cells left for a scratch tab.

    Google refuses this batch in any case, since there is no tab *no_sheet_id*: nothing of it is ever applied. Which
    request it names says whether the guard was met before.
    """
    return [*_sorted_away(sheet_id, tag_id, 0), {"deleteSheet": {"sheetId": no_sheet_id}}]


def _sorted_away(sheet_id: int, tag_id: int, guarded: int) -> list[Json]:
    """Tag the first row, sort it to the second place, and guard the row *guarded*."""
    names = [{"values": [{"userEnteredValue": {"stringValue": text}}]} for text in ("b", "a")]
    area = {"sheetId": sheet_id, "startRowIndex": 0, "endRowIndex": 2}
    order = [{"dimensionIndex": 0, "sortOrder": "ASCENDING"}]
    return [
        {"updateCells": {"start": {"sheetId": sheet_id}, "rows": names, "fields": "userEnteredValue"}},
        create(tag_id, ROW_KEY, line_of(sheet_id, "ROWS", 0)),
        {"sortRange": {"range": area, "sortSpecs": order}},
        *guard(tag_id, ROW_KEY, line_of(sheet_id, "ROWS", guarded)),
    ]
