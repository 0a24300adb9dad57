"""The batches that change a tab: locks, guarded writes, new columns, a new tab. Pure.

Every batch begins with *guards*: ``deleteDeveloperMetadata{tag at place}`` then ``createDeveloperMetadata{tag at
place}``. While the tag sits there both pass. When a person has moved the line, the delete matches nothing, the create
meets an id in use, and Google refuses the whole batch: nothing is written in a wrong place. The same pair on the
fence's value makes a late or repeated batch refuse itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from connector.core.row import Column, Row
from connector.sinks.google_sheets.layout import (
    Layout,
    column_tag_id,
    confirmed_name,
    fence_tag_id,
)
from connector.sinks.google_sheets.plan import (
    Append,
    Limits,
    Plan,
    Update,
    size_of,
)
from connector.sinks.google_sheets.snapshot import (
    Json,
    Rect,
    Snapshot,
    Tag,
    column_key,
    end_key,
    fence_key,
    header_key,
    letters,
    quoted,
    row_key,
    runs,
    typed_value,
    unconfirmed,
)

Request = Json | msgspec.Raw
"""A request of a batch, or several with commas between them, as their text already: see ``_Texts``."""

guard_bytes, tag_bytes = 495, 232
"""Of a row's guard and of a row's tag in JSON, at most."""


@dataclass(slots=True)
class Step:
    """One batch.

    Args:
        kind: ``lock`` · ``columns`` · ``write``.
        nonce: the fence's value once the batch has landed.
        updates, appends, deletes: what it writes.
        unfinished: keys of which it writes some rows only.
        shows: rows that the answer is to show whole, where they stand once it has landed.
    """

    kind: Literal["lock", "columns", "write"]
    nonce: str
    requests: list[Request]
    updates: list[Update] = field(default_factory=list)
    appends: list[Append] = field(default_factory=list)
    deletes: dict[int, Row] = field(default_factory=dict)
    unfinished: set[str] = field(default_factory=set)
    shows: set[int] = field(default_factory=set)

    def lands(self, row: int) -> int:
        """Where *row* stands once the batch has landed (rows are added below all others)."""
        return row - sum(deleted < row for deleted in self.deletes)


def needs_tags(snapshot: Snapshot, layout: Layout) -> bool:
    """Whether a lock must come first because fence, header, column or end tags are missing or misplaced."""
    return (
        len(snapshot.fences) != 1
        or bool(layout.untagged)
        or list(snapshot.headers) != [layout.header]
        or not snapshot.ends
    )


def is_locked(snapshot: Snapshot, places: Collection[int]) -> bool:
    """Whether some of *places* are tagged, and a tag below them (or the grid's end) betrays rows deleted above it."""
    if not places:
        return True
    locked = [place for place in places if place in snapshot.tagged]
    lowest = max(snapshot.tagged, default=-1)
    return bool(locked) and (lowest > max(locked) or lowest == snapshot.row_count - 1)


def lock(
    snapshot: Snapshot, layout: Layout, places: Collection[int], *, nonce: str, new_id: Callable[[], int], grow: int = 0
) -> Step:
    """Tag *places* (rows) and the grid's last row; put every other tag where it belongs. Changes no cell."""
    sheet = snapshot.sheet_id
    requests = _fence(snapshot, nonce)
    if grow:
        requests.append({"appendDimension": {"sheetId": sheet, "dimension": "ROWS", "length": grow}})
    requests.append(_sweep(sheet, row_key))
    if list(snapshot.headers) != [layout.header]:
        requests.append(_sweep(sheet, header_key))
        requests.append(_create(new_id(), header_key, _line(sheet, "ROWS", layout.header)))
    for name in layout.untagged:
        ids = {column_tag_id(sheet, name)} | {
            tag.id for tag in snapshot.columns.values() if confirmed_name(tag) == name
        }
        requests.extend(_delete({"metadataId": id}) for id in sorted(ids))
        place = layout.columns[name]
        if place in snapshot.columns and confirmed_name(snapshot.columns[place]) != name:
            requests.append(_delete({"metadataId": snapshot.columns[place].id}))
        tag_id = column_tag_id(sheet, name)
        requests.append(_create(tag_id, column_key, _line(sheet, "COLUMNS", place), unconfirmed + name))
    if not _end_is_good(snapshot):
        requests.append(_sweep(sheet, end_key))
        requests.append(_create(new_id(), end_key, _line(sheet, "COLUMNS", snapshot.column_count - 1)))
    if places:
        last = snapshot.row_count + grow - 1
        requests.append(_row_tags(sheet, sorted({*places, last}), new_id))
    return Step("lock", nonce, requests, shows=set(places))


def _end_is_good(snapshot: Snapshot) -> bool:
    return list(snapshot.ends) == [snapshot.column_count - 1]


def columns_forbidden(snapshot: Snapshot, layout: Layout) -> str | None:
    """The protected range through which no column can be inserted where the missing ones belong; None: go ahead."""
    at = _place_of_new_columns(snapshot, layout)
    for protection in snapshot.protections:
        if protection.whole_width or protection.rect.left < at < protection.rect.right:
            return protection.name
    return None


def _place_of_new_columns(snapshot: Snapshot, layout: Layout) -> int:
    used = [*layout.columns.values(), *snapshot.cells.line(layout.header)]
    return max(layout.columns.values(), default=max(used, default=-1)) + 1


def add_columns(snapshot: Snapshot, layout: Layout, columns: Sequence[Column], *, nonce: str, bare: bool) -> Step:
    """Insert the missing columns after the last managed one (nothing is overwritten), with header, format and tag.

    Args:
        bare: the tab was empty: dress it like a new one (bold header, frozen, filter).
    """
    sheet = snapshot.sheet_id
    new = [column for column in columns if column.name in layout.missing]
    at = _place_of_new_columns(snapshot, layout)
    requests = _fence(snapshot, nonce) + _column_guards(snapshot, layout, header=True)
    if at >= snapshot.column_count:
        requests.append({"appendDimension": {"sheetId": sheet, "dimension": "COLUMNS", "length": 1}})
    span = {"sheetId": sheet, "dimension": "COLUMNS", "startIndex": at, "endIndex": at + len(new)}
    requests.append({"insertDimension": {"range": span, "inheritFromBefore": at > 0}})
    requests += _dress_columns(sheet, layout.header, at, new)
    requests += [
        _create(column_tag_id(sheet, column.name), column_key, _line(sheet, "COLUMNS", at + place), column.name)
        for place, column in enumerate(new)
    ]
    if bare:
        requests += _dress_tab(sheet, layout.header, at, at + len(new))
    return Step("columns", nonce, requests)


def new_tab(
    sheet_id: int, title: str, columns: Sequence[Column], *, nonce: str, new_id: Callable[[], int]
) -> tuple[list[Json], Snapshot]:
    """One batch that makes the tab with header, formats, widths, filter and tags; and how the tab is then."""
    fence, header, end = Tag(fence_tag_id(sheet_id), nonce), Tag(new_id(), ""), Tag(new_id(), "")
    tags = {place: Tag(column_tag_id(sheet_id, column.name), column.name) for place, column in enumerate(columns)}
    rows, width = 200, len(columns)
    grid = {"rowCount": rows, "columnCount": width, "frozenRowCount": 1}
    properties = {"sheetId": sheet_id, "title": title, "gridProperties": grid}
    requests: list[Json] = [
        {"addSheet": {"properties": properties}},
        *_dress_columns(sheet_id, 0, 0, columns),
        *_dress_tab(sheet_id, 0, 0, width),
        _create(fence.id, fence_key, {"sheetId": sheet_id}, nonce),
        _create(header.id, header_key, _line(sheet_id, "ROWS", 0)),
        _create(end.id, end_key, _line(sheet_id, "COLUMNS", width - 1)),
        *(_create(tag.id, column_key, _line(sheet_id, "COLUMNS", place), tag.value) for place, tag in tags.items()),
    ]
    made = Snapshot(sheet_id, title, rows, width, fences=(fence,), headers={0: header}, columns=tags)
    made.cells.put_line(0, {place: column.name for place, column in enumerate(columns)})
    made.ends, made.blocks = {width - 1: end}, (Rect(0, rows, 0, width),)
    return requests, made


def guard_trial(sheet_id: int, title: str, tag_id: int, *, stale: bool) -> list[Json]:
    """A guard put to the test on a row that is sorted away, in a scratch tab that the same batch removes again.

    Args:
        stale: guard the place where the row was (Google must refuse the batch), not where it is (it must not).
    """
    properties = {"sheetId": sheet_id, "title": title, "gridProperties": {"rowCount": 2, "columnCount": 1}}
    names = [{"values": [{"userEnteredValue": {"stringValue": text}}]} for text in ("b", "a")]
    area = {"sheetId": sheet_id, "startRowIndex": 0, "endRowIndex": 2}
    order = [{"dimensionIndex": 0, "sortOrder": "ASCENDING"}]
    return [
        {"addSheet": {"properties": properties}},
        {"updateCells": {"start": {"sheetId": sheet_id}, "rows": names, "fields": "userEnteredValue"}},
        _create(tag_id, row_key, _line(sheet_id, "ROWS", 0)),
        {"sortRange": {"range": area, "sortSpecs": order}},
        *_guard(tag_id, row_key, _line(sheet_id, "ROWS", 0 if stale else 1)),
        {"deleteSheet": {"sheetId": sheet_id}},
    ]


def write(
    snapshot: Snapshot,
    plan: Plan,
    columns: Sequence[Column],
    *,
    nonce: str,
    new_id: Callable[[], int],
    limits: Limits,
) -> Step:
    """As many of the plan's locked rows and new rows as one batch takes, guarded; then lock what comes next."""
    sheet, layout = snapshot.sheet_id, plan.layout
    step = Step("write", nonce, _fence(snapshot, nonce) + _column_guards(snapshot, layout, header=False))
    size = 400 * len(step.requests)
    types = {layout.columns[column.name]: column for column in columns if column.name in layout.columns}
    taken: list[Update] = []
    step.unfinished = {row.key for row in plan.unseen.values()}
    for place, update in enumerate(plan.updates):
        if update.at not in snapshot.tagged:
            step.unfinished.add(update.row.key)
            continue
        # Its guard, its cells, and the tag of a row that comes after it.
        cost = guard_bytes + tag_bytes + 130 * len(runs(update.cells)) + sum(map(size_of, update.cells.values()))
        if taken and size + cost > limits.batch_bytes:
            step.unfinished |= {left.row.key for left in plan.updates[place:]}
            break
        taken.append(update)
        size += cost
    all_updates = len(taken) == len(plan.updates) and not plan.unseen
    if all_updates and all(place in snapshot.tagged for place in plan.deletes):
        for place, row in sorted(plan.deletes.items()):
            if size > limits.batch_bytes:
                all_updates = False
                break
            step.deletes[place] = row
            size += 700
    if all_updates:
        for append in plan.appends:
            if size + append.size > limits.batch_bytes and (step.appends or taken or step.deletes):
                break
            step.appends.append(append)
            size += append.size
    step.updates = taken
    guarded = sorted({update.at for update in taken} | set(step.deletes))
    if guarded:
        guards = _Texts()
        for place in sorted({*guarded, max(snapshot.tagged)}):
            guards.add(*_guard(snapshot.tagged[place].id, row_key, _line(sheet, "ROWS", place)))
        step.requests.append(guards.in_one())
    step.requests += _cell_requests(snapshot, taken, types)
    if step.appends:
        step.requests += _append_requests(snapshot, step.appends, plan.insert_at, types, layout)
    # From the bottom up, so that no delete moves a row that is still to be deleted.
    for first, end in reversed(runs(step.deletes)):
        span = {"sheetId": sheet, "dimension": "ROWS", "startIndex": first, "endIndex": end}
        step.requests.append({"deleteDimension": {"range": span}})
    if guarded:
        step.requests.append(_sweep(sheet, row_key))
    left = sorted(plan.places - {update.at for update in taken} - set(step.deletes))
    if left and not step.deletes and not step.appends:
        free = len(taken) + max(0, limits.batch_bytes - size) // tag_bytes
        step.shows = set(left[: min(free, limits.tagged_rows)])
        step.requests.append(_row_tags(sheet, sorted({*step.shows, snapshot.row_count - 1}), new_id))
    return step


def answer_ranges(snapshot: Snapshot, layout: Layout, key: str, places: Collection[int], *, whole: bool) -> list[str]:
    """What a batch's answer shows: the whole tab, or header row, key column and (at least) the rows at *places*.

    These are the only A1 titles ever sent. They address what is shown, never what is written, and the answer's
    sheetId is compared: a tab renamed in between costs another read.
    """
    title = quoted(snapshot.title)
    if whole:
        return [title]
    ranges = [f"{title}!{layout.header + 1}:{layout.header + 1}"]
    if key in layout.columns:
        column = letters(layout.columns[key])
        ranges.append(f"{title}!{column}:{column}")
    if places:
        ranges += [f"{title}!{first + 1}:{end}" for first, end in _spans(places)]
    return ranges


def _spans(places: Collection[int]) -> list[tuple[int, int]]:
    """At most 50 spans that cover *places*; small gaps are shown along."""
    spans = runs(places)
    gap = 1
    while len(spans) > 50:
        gap *= 2
        joined = [spans[0]]
        for first, end in spans[1:]:
            if first - joined[-1][1] <= gap:
                joined[-1] = (joined[-1][0], end)
            else:
                joined.append((first, end))
        spans = joined
    return spans


# ---------------------------------------------------------------- requests


class _Texts:
    """Items of a list in JSON, held as one text: as objects those of a call of 2 MB take 15 MB, and twice the time to
    write."""

    __slots__ = ("_text", "count")

    def __init__(self) -> None:
        self.count = 0
        self._text = bytearray()

    def add(self, *items: Json) -> None:
        for item in items:
            if self.count:
                self._text += b","
            _encoder.encode_into(item, self._text, -1)
            self.count += 1

    def in_one(self) -> msgspec.Raw:
        """All of them (one at least), as what stands between a list's brackets."""
        return msgspec.Raw(self._text)


_encoder = msgspec.json.Encoder()


def _row_tags(sheet: int, places: Sequence[int], new_id: Callable[[], int]) -> msgspec.Raw:
    tags = _Texts()
    for place in places:
        tags.add(_create(new_id(), row_key, _line(sheet, "ROWS", place)))
    return tags.in_one()


def _line(sheet: int, dimension: str, place: int) -> Json:
    return {"dimensionRange": {"sheetId": sheet, "dimension": dimension, "startIndex": place, "endIndex": place + 1}}


def _create(id: int, key: str, location: Json, value: str = "") -> Json:
    tag: Json = {"metadataId": id, "metadataKey": key, "location": location, "visibility": "DOCUMENT"}
    if value:
        tag["metadataValue"] = value
    return {"createDeveloperMetadata": {"developerMetadata": tag}}


def _delete(lookup: Json) -> Json:
    return {"deleteDeveloperMetadata": {"dataFilter": {"developerMetadataLookup": lookup}}}


def _sweep(sheet: int, key: str) -> Json:
    return _delete({"metadataKey": key, "metadataLocation": {"sheetId": sheet}})


def _guard(id: int, key: str, location: Json, value: str = "") -> list[Json]:
    there = {"metadataId": id, "metadataLocation": location, "locationMatchingStrategy": "EXACT_LOCATION"}
    return [_delete(there), _create(id, key, location, value)]


def _fence(snapshot: Snapshot, nonce: str) -> list[Request]:
    sheet, tag = snapshot.sheet_id, snapshot.fence
    if tag is None:
        return [_create(fence_tag_id(sheet), fence_key, {"sheetId": sheet}, nonce)]
    others = [_delete({"metadataId": other.id}) for other in snapshot.fences if other.id != tag.id]
    delete = _delete({"metadataId": tag.id, "metadataValue": tag.value})
    return [*others, delete, _create(tag.id, fence_key, {"sheetId": sheet}, nonce)]


def _column_guards(snapshot: Snapshot, layout: Layout, *, header: bool) -> list[Request]:
    sheet = snapshot.sheet_id
    requests: list[Request] = []
    if header:
        for row, tag in snapshot.headers.items():
            requests += _guard(tag.id, header_key, _line(sheet, "ROWS", row))
    for name, place in layout.columns.items():
        requests += _guard(snapshot.columns[place].id, column_key, _line(sheet, "COLUMNS", place), name)
    for place, tag in snapshot.ends.items():
        requests += _guard(tag.id, end_key, _line(sheet, "COLUMNS", place))
    return requests


def _cell_requests(snapshot: Snapshot, updates: Sequence[Update], types: Mapping[int, Column]) -> list[Request]:
    """``updateCells`` of the changed cells, neighbours together; a date in a cell without format gets one."""
    blocks: list[tuple[int, tuple[int, int], bool, _Texts]] = []
    open_blocks: dict[tuple[tuple[int, int], bool], int] = {}
    for update in updates:
        for formatted in (False, True):
            places = [
                place for place in update.cells if _wants_format(snapshot, update, place, types[place]) is formatted
            ]
            for span in runs(places):
                values = []
                for place in range(*span):
                    cell = typed_value(update.cells[place])
                    if formatted:
                        cell |= {"userEnteredFormat": {"numberFormat": number_format(types[place])}}
                    values.append(cell)
                index = open_blocks.get((span, formatted))
                if index is None or blocks[index][0] + blocks[index][3].count != update.at:
                    index = open_blocks[span, formatted] = len(blocks)
                    blocks.append((update.at, span, formatted, _Texts()))
                blocks[index][3].add({"values": values})
    return [
        {
            "updateCells": {
                "start": {"sheetId": snapshot.sheet_id, "rowIndex": at, "columnIndex": span[0]},
                "rows": [rows.in_one()],
                "fields": "userEnteredValue" + (",userEnteredFormat.numberFormat" if formatted else ""),
            }
        }
        for at, span, formatted, rows in blocks
    ]


def _wants_format(snapshot: Snapshot, update: Update, place: int, column: Column) -> bool:
    """A cell that was empty and that nobody gave a number format."""
    return (
        snapshot.formatted is not None
        and update.before.get(place) is None
        and number_format(column) is not None
        and (not update.fresh or snapshot.shows_row(update.at))
        and place not in snapshot.formatted.get(update.at, ())
    )


def _append_requests(
    snapshot: Snapshot, appends: Sequence[Append], at: int, types: Mapping[int, Column], layout: Layout
) -> list[Json]:
    sheet = snapshot.sheet_id
    requests: list[Json] = []
    if at >= snapshot.row_count:
        # Rows can be inserted before a row only, and writing at the end could meet rows that people just added there.
        requests.append(
            {"appendDimension": {"sheetId": sheet, "dimension": "ROWS", "length": at + 1 - snapshot.row_count}}
        )
    end = at + len(appends)
    span = {"sheetId": sheet, "dimension": "ROWS", "startIndex": at, "endIndex": end}
    below_header = at - 1 <= layout.header
    requests.append({"insertDimension": {"range": span, "inheritFromBefore": not below_header}})
    example = at if below_header else at - 1
    formatted: Collection[int] = types  # a row that is not shown may bear any format, and new rows inherit it
    if snapshot.formatted is not None and snapshot.shows_row(example):
        formatted = snapshot.formatted.get(example, ())
    for place, column in types.items():
        form = number_format(column)
        if form is None or place in formatted:
            continue
        area = {
            "sheetId": sheet,
            "startRowIndex": at,
            "endRowIndex": end,
            "startColumnIndex": place,
            "endColumnIndex": place + 1,
        }
        cell = {"userEnteredFormat": {"numberFormat": form}}
        requests.append({"repeatCell": {"range": area, "cell": cell, "fields": "userEnteredFormat.numberFormat"}})
    for first, last in runs(types):
        rows = _Texts()
        filled = False
        for append in appends:
            values = [typed_value(append.cells.get(place)) for place in range(first, last)]
            while values and not values[-1]:
                values.pop()
            filled |= bool(values)
            rows.add({"values": values})
        if filled:
            start = {"sheetId": sheet, "rowIndex": at, "columnIndex": first}
            requests.append({"updateCells": {"start": start, "rows": [rows.in_one()], "fields": "userEnteredValue"}})
    return requests


# ---------------------------------------------------------------- how it looks


_formats: dict[str, Json] = {
    "date": {"type": "DATE", "pattern": "yyyy-mm-dd"},
    "datetime": {"type": "DATE_TIME", "pattern": "yyyy-mm-dd hh:mm:ss"},
    "number": {"type": "NUMBER", "pattern": "#,##0.00"},
    "integer": {"type": "NUMBER", "pattern": "0"},
    "money": {"type": "NUMBER", "pattern": "#,##0.00"},
    # TEXT, so that an id, a phone number or a postcode stays as it is when a person edits the cell.
    **{kind: {"type": "TEXT", "pattern": "@"} for kind in ("text", "email", "phone", "country", "list")},
}
_no_cents = frozenset(
    ["BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"]
)
_three_digits = frozenset(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"])
_widths = {"text": 160, "email": 220, "url": 240, "phone": 130, "date": 100, "datetime": 150, "list": 180}


def number_format(column: Column) -> Json | None:
    """The number format of a column's cells; None for booleans and links, which need none."""
    if column.type == "money" and column.currency in _no_cents:
        return {"type": "NUMBER", "pattern": "#,##0"}
    if column.type == "money" and column.currency in _three_digits:
        return {"type": "NUMBER", "pattern": "#,##0.000"}
    return _formats.get(column.type)


def _dress_columns(sheet: int, header: int, at: int, columns: Sequence[Column]) -> list[Json]:
    """Header cells, formats and widths of fresh columns from *at* on."""
    cells = [{"userEnteredValue": {"stringValue": column.name}} for column in columns]
    start = {"sheetId": sheet, "rowIndex": header, "columnIndex": at}
    requests: list[Json] = [
        {"updateCells": {"start": start, "rows": [{"values": cells}], "fields": "userEnteredValue"}}
    ]
    for place, column in enumerate(columns, at):
        cell: Json = {}
        if (form := number_format(column)) is not None:
            cell["numberFormat"] = form
        if column.type == "url":
            cell["hyperlinkDisplayType"] = "LINKED"
        area = {"sheetId": sheet, "startRowIndex": header + 1, "startColumnIndex": place, "endColumnIndex": place + 1}
        fields = "userEnteredFormat(numberFormat,hyperlinkDisplayType)"
        requests.append({"repeatCell": {"range": area, "cell": {"userEnteredFormat": cell}, "fields": fields}})
        span = {"sheetId": sheet, "dimension": "COLUMNS", "startIndex": place, "endIndex": place + 1}
        size = {"pixelSize": _widths.get(column.type, 110)}
        requests.append({"updateDimensionProperties": {"range": span, "properties": size, "fields": "pixelSize"}})
    return requests


def _dress_tab(sheet: int, header: int, left: int, right: int) -> list[Json]:
    """Bold header, frozen; a filter over all rows below."""
    area = {"sheetId": sheet, "startRowIndex": header, "startColumnIndex": left, "endColumnIndex": right}
    bold = {"userEnteredFormat": {"textFormat": {"bold": True}}}
    frozen = {"sheetId": sheet, "gridProperties": {"frozenRowCount": header + 1}}
    return [
        {
            "repeatCell": {
                "range": {**area, "endRowIndex": header + 1},
                "cell": bold,
                "fields": "userEnteredFormat.textFormat.bold",
            }
        },
        {"updateSheetProperties": {"properties": frozen, "fields": "gridProperties.frozenRowCount"}},
        {"setBasicFilter": {"filter": {"range": area}}},
    ]
