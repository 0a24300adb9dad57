"""The batches that change a tab: locks, guarded writes, new columns, a new tab. Pure.

Each begins with guards (see ``guards.py``), so that Google refuses it where a person moved something meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from connector.core.look import ACCENT, arranged
from connector.core.overwrite import Edits
from connector.core.row import Column, Row
from connector.core.sink import Target
from connector.sinks.google_sheets.answers import Json, SpreadsheetProperties
from connector.sinks.google_sheets.around import Growth, growth
from connector.sinks.google_sheets.dressing import Dressing, first_note, frozen, grown_to_the_right, note_update
from connector.sinks.google_sheets.formats import (
    LINK_BYTES,
    Amounts,
    amounts_of,
    area_of,
    link_places,
    link_requests,
    number_format,
    update_cells,
)
from connector.sinks.google_sheets.guards import (
    DELETE_BYTES,
    GUARD_BYTES,
    TAG_BYTES,
    NewId,
    column_guards,
    create,
    fence,
    guard,
    line_of,
    row_tags,
    sweep,
    tag_column,
)
from connector.sinks.google_sheets.layout import Layout, column_tag_id, fence_tag_id, look_tag_id
from connector.sinks.google_sheets.limits import Limits
from connector.sinks.google_sheets.places import letters, runs
from connector.sinks.google_sheets.plan import Plan, Update
from connector.sinks.google_sheets.region import colour
from connector.sinks.google_sheets.snapshot import (
    COLUMN_KEY,
    END_KEY,
    FENCE_KEY,
    HEADER_KEY,
    LOOK_KEY,
    ROW_KEY,
    Rect,
    Snapshot,
    Tag,
    Value,
    typed_value,
)

_REQUEST_BYTES = 160
"""Of one ``updateCells`` around its cells, at most."""
_ROW_BYTES = 14
"""Of a row around its cells."""
_FRAME_BYTES = 2_000
"""Of a batch around its rows: the guard of the lowest tag, the sweep, the ranges that the answer is to show."""
_MOST_SPANS = 50
"""Ranges that one answer is asked to show, at most."""
_NEW_TAB_ROWS = 200
_LINK_FIELDS = "userEnteredValue,userEnteredFormat.textFormat.link"
_FIELDS: Mapping[str, str] = {"url": _LINK_FIELDS, "list": "userEnteredValue,textFormatRuns"}
"""What is written of a cell, by the type of its column, if it is more than its value."""
_LOOK = "1"
"""The version of the look."""


@dataclass(slots=True)
class Step:
    """One batch.

    Args:
        nonce: the fence's value once the batch has landed.
        updates, appends, deletes: what it writes.
        deleted: what the rows hold that it deletes.
        unfinished: keys of which it writes some rows only.
        grown: how many requests make what people put around the rows grow with them.
        notices: what does not grow, in words.
        shows: rows that the answer is to show whole, where they are once it has landed.
    """

    nonce: str
    requests: list[Json]
    updates: list[Update] = field(default_factory=list)
    appends: list[Update] = field(default_factory=list)
    deletes: dict[int, Row] = field(default_factory=dict)
    deleted: list[Edits] = field(default_factory=list)
    unfinished: set[str] = field(default_factory=set)
    grown: int = 0
    notices: tuple[str, ...] = ()
    shows: set[int] = field(default_factory=set)

    @property
    def keys(self) -> list[str]:
        """Of the rows that it writes."""
        written = [update.row.key for update in (*self.updates, *self.appends)]
        return list(dict.fromkeys(written + [row.key for row in self.deletes.values()]))

    def lands(self, row: int) -> int:
        """Where *row* is once the batch has landed (rows are added below all others)."""
        return row - sum(deleted < row for deleted in self.deletes)


# ---------------------------------------------------------------- locks


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
    snapshot: Snapshot, layout: Layout, places: Collection[int], *, nonce: str, new_id: NewId, grow: int = 0
) -> Step:
    """Tag *places* (rows) and the grid's last row; put every other tag where it belongs. Changes no cell."""
    sheet = snapshot.sheet_id
    requests = fence(snapshot, nonce)
    if grow:
        requests.append({"appendDimension": {"sheetId": sheet, "dimension": "ROWS", "length": grow}})
    requests.append(sweep(sheet, ROW_KEY))
    if list(snapshot.headers) != [layout.header]:
        requests.append(sweep(sheet, HEADER_KEY))
        requests.append(create(new_id(), HEADER_KEY, line_of(sheet, "ROWS", layout.header)))
    for name in layout.untagged:
        requests += tag_column(snapshot, name, layout.columns[name])
    if list(snapshot.ends) != [snapshot.column_count - 1]:
        requests.append(sweep(sheet, END_KEY))
        requests.append(create(new_id(), END_KEY, line_of(sheet, "COLUMNS", snapshot.column_count - 1)))
    if places:
        requests += row_tags(sheet, {*places, snapshot.row_count + grow - 1}, new_id)
    return Step(nonce, requests, shows=set(places))


# ---------------------------------------------------------------- columns and tabs


def columns_forbidden(snapshot: Snapshot, layout: Layout) -> str | None:
    """The protected range through which no column can be inserted where the missing ones belong, if there is one."""
    at = _place_of_new_columns(snapshot, layout)
    for protection in snapshot.protections:
        if protection.whole_width or protection.rect.left < at < protection.rect.right:
            return protection.name
    return None


def _place_of_new_columns(snapshot: Snapshot, layout: Layout) -> int:
    used = layout.columns.values() or snapshot.texts(layout.header)
    at = max(used, default=-1) + 1
    while at in snapshot.spills.get(layout.header, {}):
        at += 1  # a column inside an array of headers would break it
    return at


def add_columns(
    snapshot: Snapshot, layout: Layout, target: Target, *, nonce: str, rows: Collection[Row] = (), look: bool = True
) -> Step:
    """Insert the missing columns after the last managed one (nothing is overwritten), with header, format and tag.

    An empty tab gets the look of one that we make.

    Args:
        rows: the first rows for an empty tab.
        look: False: Google has refused the look.
    """
    sheet, bare = snapshot.sheet_id, not snapshot.cells
    new = [column for column in target.columns if column.name in layout.missing]
    new = arranged(new, target.key) if bare else new
    at = _place_of_new_columns(snapshot, layout)
    requests = fence(snapshot, nonce) + column_guards(snapshot, layout, header=True)
    if at >= snapshot.column_count:
        requests.append({"appendDimension": {"sheetId": sheet, "dimension": "COLUMNS", "length": 1}})
    span = {"sheetId": sheet, "dimension": "COLUMNS", "startIndex": at, "endIndex": at + len(new)}
    requests.append({"insertDimension": {"range": span, "inheritFromBefore": at > 0}})
    dressing = Dressing(sheet, target, snapshot.region, header=layout.header, at=at, rows=rows)
    if bare:
        requests += [_frozen(sheet, new, layout.header), *dressing.tab(new, look=look)]
    else:
        requests += dressing.columns(new, look=snapshot.dressed)
    if snapshot.dressed:
        requests += grown_to_the_right(snapshot, at, len(new))
    requests += [
        create(column_tag_id(sheet, column.name), COLUMN_KEY, line_of(sheet, "COLUMNS", at + place), column.name)
        for place, column in enumerate(new)
    ]
    if bare and look:
        requests.append(create(look_tag_id(sheet), LOOK_KEY, {"sheetId": sheet}, _LOOK))
    return Step(nonce, requests)


def _frozen(sheet: int, columns: Sequence[Column], header: int) -> Json:
    grid = frozen(columns, header)
    fields = ",".join(f"gridProperties.{name}" for name in grid)
    return {"updateSheetProperties": {"properties": {"sheetId": sheet, "gridProperties": grid}, "fields": fields}}


def new_tab(
    sheet_id: int,
    target: Target,
    file: SpreadsheetProperties,
    *,
    nonce: str,
    new_id: NewId,
    rows: Collection[Row],
    look: bool = True,
) -> tuple[list[Json], Snapshot]:
    """One batch that makes the tab with its look and its tags; and how the tab is then.

    Args:
        rows: the first rows that will be written.
        look: False: Google has refused the look.
    """
    columns, title = arranged(target.columns, target.key), target.options.tab
    tab_tag, header, end = Tag(fence_tag_id(sheet_id), nonce), Tag(new_id(), ""), Tag(new_id(), "")
    tags = {place: Tag(column_tag_id(sheet_id, column.name), column.name) for place, column in enumerate(columns)}
    width = len(columns)
    made = Snapshot(sheet_id, title, _NEW_TAB_ROWS, width, fences=(tab_tag,), headers={0: header}, columns=tags)
    made.cells = {0: {place: column.name for place, column in enumerate(columns)}}
    made.ends, made.blocks = {width - 1: end}, (Rect(0, _NEW_TAB_ROWS, 0, width),)
    made.dressed, made.properties = look, file
    dressing = Dressing(sheet_id, target, made.region, rows=rows)
    grid = {"rowCount": _NEW_TAB_ROWS, "columnCount": width, **frozen(columns, 0)}
    properties = {"sheetId": sheet_id, "title": title, "gridProperties": grid}
    if look:
        properties["tabColorStyle"] = colour(ACCENT)
        made.notes = {(0, 0): first_note(columns[0], target.key)}
    requests: list[Json] = [
        {"addSheet": {"properties": properties}},
        *dressing.tab(columns, look=look),
        create(tab_tag.id, FENCE_KEY, {"sheetId": sheet_id}, nonce),
        *([create(look_tag_id(sheet_id), LOOK_KEY, {"sheetId": sheet_id}, _LOOK)] if look else ()),
        create(header.id, HEADER_KEY, line_of(sheet_id, "ROWS", 0)),
        create(end.id, END_KEY, line_of(sheet_id, "COLUMNS", width - 1)),
        *(create(tag.id, COLUMN_KEY, line_of(sheet_id, "COLUMNS", place), tag.value) for place, tag in tags.items()),
    ]
    return requests, made


# ---------------------------------------------------------------- writes


def write(
    snapshot: Snapshot,
    plan: Plan,
    target: Target,
    *,
    now: datetime,
    nonce: str,
    new_id: NewId,
    limits: Limits,
    grows: Growth = Growth.ALL,
) -> Step:
    """As many of the plan's locked rows and new rows as one batch takes, guarded; then lock what comes next.

    Args:
        grows: how much of filters, tables and the like that end at our last row to make grow.
    """
    sheet, layout = snapshot.sheet_id, plan.layout
    types = {layout.columns[column.name]: column for column in target.columns if column.name in layout.columns}
    amounts = amounts_of(target.columns, layout) if snapshot.dressed else None
    step = Step(nonce, fence(snapshot, nonce) + column_guards(snapshot, layout, header=False))
    room = _take(
        snapshot, plan, step, types, amounts,
        limits.batch_bytes - _FRAME_BYTES - len(msgspec.json.encode(step.requests)),
    )  # fmt: skip
    guarded = {update.at for update in step.updates} | set(step.deletes)
    if guarded:
        for place in sorted({*guarded, max(snapshot.tagged)}):
            step.requests += guard(snapshot.tagged[place].id, ROW_KEY, line_of(sheet, "ROWS", place))
    step.requests += _cell_requests(snapshot, step.updates, types)
    if step.appends:
        step.requests += _append_requests(snapshot, step.appends, plan.insert_at, types, layout)
    written = {update.at: update for update in step.updates} | dict(enumerate(step.appends, plan.insert_at))
    step.requests += link_requests(sheet, {row: link_places(change.cells) for row, change in written.items()})
    if amounts is not None:
        rows = {update.at: update.row for update in step.updates if _needs_sign(amounts, update, types)}
        rows |= {plan.insert_at + place: append.row for place, append in enumerate(step.appends)}
        signs = {place: amounts.currency(row) for place, row in rows.items()}
        step.requests += amounts.requests(sheet, signs, snapshot.region)
    if snapshot.dressed and (step.updates or step.appends or step.deletes):
        step.requests += note_update(snapshot, layout, target.columns, target.key, now)
    _grow(snapshot, plan, step, grows)
    # From the bottom up, so that no delete moves a row that is still to be deleted.
    for first, end in reversed(runs(step.deletes)):
        span = {"sheetId": sheet, "dimension": "ROWS", "startIndex": first, "endIndex": end}
        step.requests.append({"deleteDimension": {"range": span}})
    if guarded:
        step.requests.append(sweep(sheet, ROW_KEY))
    left = sorted(plan.places - guarded)
    if left and not step.deletes and not step.appends:
        free = len(step.updates) + max(0, room) // TAG_BYTES
        step.shows = set(left[: min(free, limits.tagged_rows)])
        step.requests += row_tags(sheet, {*step.shows, snapshot.row_count - 1}, new_id)
    return step


def _needs_sign(amounts: Amounts, update: Update, types: Mapping[int, Column]) -> bool:
    """Whether a row's amounts must be given their currency: it is new, or another one now."""
    return update.fresh or any(types[place].name == amounts.column for place in update.cells)


def _take(
    snapshot: Snapshot, plan: Plan, step: Step, types: Mapping[int, Column], amounts: Amounts | None, room: int
) -> int:
    """Give *step* as much of *plan* as fits in *room* bytes: locked rows first, then deletions, then new rows.

    Returns:
        The bytes that are left.
    """
    step.unfinished = {row.key for row in plan.unseen.values()}
    for update in plan.updates:
        # Its guard, its cells, and the tag of a row that comes after it.
        cost = GUARD_BYTES + TAG_BYTES + _REQUEST_BYTES * len(_spans(update.cells, types)) + _values_bytes(update.cells)
        cost += LINK_BYTES * len(link_places(update.cells))
        cost += amounts.bytes if amounts is not None and _needs_sign(amounts, update, types) else 0
        is_ready = update.at in snapshot.tagged and (not update.fresh or snapshot.shows_row(update.at))
        if not is_ready or (step.updates and cost > room):
            step.unfinished.add(update.row.key)
        else:
            step.updates.append(update)
            room -= cost
    if plan.unseen or len(step.updates) < len(plan.updates) or not snapshot.tagged.keys() >= plan.deletes.keys():
        return room
    for place, row in sorted(plan.deletes.items()):
        if room < 0:
            return room
        step.deletes[place] = row
        step.deleted.append(plan.deleted[row.key])
        room -= GUARD_BYTES + DELETE_BYTES
    currency: str | None = None
    linked: frozenset[int] = frozenset()
    frames = _ROW_BYTES * len(_spans(types, types))
    for append in plan.appends:
        # Its frames, its cells, the empty ones between them, and the looks that the row above does not share.
        cost = frames + 3 * (len(types) - len(append.cells)) + _values_bytes(append.cells)
        cost += LINK_BYTES * len((places := link_places(append.cells)) - linked)
        linked = places
        if amounts is not None and amounts.currency(append.row) != currency:
            currency = amounts.currency(append.row)
            cost += amounts.bytes
        if cost > room and (step.appends or step.updates or step.deletes):
            break
        step.appends.append(append)
        room -= cost
    return room


def _grow(snapshot: Snapshot, plan: Plan, step: Step, grows: Growth) -> None:
    """Make what ends at our last row cover the new rows below it."""
    new = {update.at for update in step.updates if update.fresh}
    new |= set(range(plan.insert_at, plan.insert_at + len(step.appends)))
    if plan.last + 1 not in new:
        return
    requests, stays = growth(
        snapshot.arounds,
        snapshot.sheet_id,
        header=plan.layout.header,
        last=plan.last,
        end=max(new) + 1,
        validated=[
            column
            for column in snapshot.validated.get(plan.last, ())
            if not any(range_.forbids(plan.last + 1, column) for range_ in snapshot.protections)
        ],
        by=grows,
    )
    step.requests += requests
    step.grown = len(requests)
    step.notices = tuple(stays)


def _values_bytes(cells: Mapping[int, Value]) -> int:
    """Of a row's filled cells in JSON, at most."""
    return sum(len(msgspec.json.encode(typed_value(value))) + 1 for value in cells.values())


def answer_ranges(snapshot: Snapshot, layout: Layout, key: str, places: Collection[int], *, whole: bool) -> list[str]:
    """What a batch's answer shows: the whole tab, or header row, key column and (at least) the rows at *places*.

    These are the only A1 titles ever sent. They address what is shown, never what is written, and the answer's
    sheetId is compared: a tab renamed in between costs another read.
    """
    title = "'" + snapshot.title.replace("'", "''") + "'"
    if whole:
        return [title]
    ranges = [f"{title}!{layout.header + 1}:{layout.header + 1}"]
    if key in layout.columns:
        column = letters(layout.columns[key])
        ranges.append(f"{title}!{column}:{column}")
    spans = runs(places)
    together = max(1, math.ceil(len(spans) / _MOST_SPANS))  # what is between them is shown along
    groups = [spans[start : start + together] for start in range(0, len(spans), together)]
    return ranges + [f"{title}!{group[0][0] + 1}:{group[-1][1]}" for group in groups]


# ---------------------------------------------------------------- cells


def _cell_requests(snapshot: Snapshot, updates: Sequence[Update], types: Mapping[int, Column]) -> list[Json]:
    """``updateCells`` of the changed cells; a date in a cell without format gets one."""
    requests: list[Json] = []
    for update in updates:
        formats = _missing_formats(snapshot, update, types)
        for some in (update.cells.keys() - formats.keys(), formats.keys()):
            for first, end, fields in _spans(some, types):
                fields += ",userEnteredFormat.numberFormat" if first in formats else ""
                values = [typed_value(update.cells[place]) | formats.get(place, {}) for place in range(first, end)]
                requests.append(update_cells(snapshot.sheet_id, update.at, first, [{"values": values}], fields))
    return requests


def _missing_formats(snapshot: Snapshot, update: Update, types: Mapping[int, Column]) -> dict[int, Json]:
    """By column, the number formats of cells that were empty and that nobody gave one."""
    if snapshot.formatted is None or (update.fresh and not snapshot.shows_row(update.at)):
        return {}
    formatted = snapshot.formatted.get(update.at, ())
    return {
        place: {"userEnteredFormat": {"numberFormat": form}}
        for place in update.cells
        if update.before.get(place) is None
        and place not in formatted
        and (form := number_format(types[place], snapshot.region, dressed=snapshot.dressed)) is not None
    }


def _append_requests(
    snapshot: Snapshot, appends: Sequence[Update], at: int, types: Mapping[int, Column], layout: Layout
) -> list[Json]:
    sheet, end = snapshot.sheet_id, at + len(appends)
    requests: list[Json] = []
    if at >= snapshot.row_count:
        # Rows can be inserted before a row only, and writing at the end could meet rows that people just added there.
        length = at + 1 - snapshot.row_count
        requests.append({"appendDimension": {"sheetId": sheet, "dimension": "ROWS", "length": length}})
    span = {"sheetId": sheet, "dimension": "ROWS", "startIndex": at, "endIndex": end}
    below_header = at - 1 <= layout.header
    requests.append({"insertDimension": {"range": span, "inheritFromBefore": not below_header}})
    example = at if below_header else at - 1
    formatted: Collection[int] = types  # a row that is not shown may bear any format, and new rows inherit it
    if snapshot.formatted is not None and snapshot.shows_row(example):
        formatted = snapshot.formatted.get(example, ())
    for place, column in types.items():
        form = number_format(column, snapshot.region, dressed=snapshot.dressed)
        if form is not None and place not in formatted:
            area = area_of(sheet, place, place + 1, at, end)
            cell = {"userEnteredFormat": {"numberFormat": form}}
            requests.append({"repeatCell": {"range": area, "cell": cell, "fields": "userEnteredFormat.numberFormat"}})
    for first, last, fields in _spans(types, types):
        rows = [
            {"values": [typed_value(append.cells.get(place)) for place in range(first, last)]} for append in appends
        ]
        # Links have all cells: a new row could inherit the link of the row above.
        if fields == _LINK_FIELDS or any(_trimmed(row["values"]) for row in rows):
            requests.append(update_cells(sheet, at, first, rows, fields))
    return requests


def _spans(places: Iterable[int], types: Mapping[int, Column]) -> list[tuple[int, int, str]]:
    """Columns side by side that are written with the same fields: first, end, fields."""
    by_fields: dict[str, list[int]] = {}
    for place in places:
        by_fields.setdefault(_FIELDS.get(types[place].type, "userEnteredValue"), []).append(place)
    return [(first, end, fields) for fields, some in by_fields.items() for first, end in runs(some)]


def _trimmed(values: list[Json]) -> list[Json]:
    while values and not values[-1]:
        values.pop()
    return values
