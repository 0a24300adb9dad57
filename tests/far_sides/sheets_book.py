"""A spreadsheet as Google's documentation describes it: typed cells, lines that move, tags that move with them.

Rows and columns are objects, and a cell hangs on both, so inserts, deletes, sorts and moves carry cells and developer
metadata along by themselves. Batches are atomic (every change notes its undoing). Knows no HTTP.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.far_sides import sheets_formulas

Json = dict[str, Any]


class BadRequest(Exception):
    """400 INVALID_ARGUMENT with Google's kind of message."""


class Line:
    """One row or one column."""

    __slots__ = ("cells", "hidden", "pixels", "tags")

    def __init__(self) -> None:
        self.tags: list[Tag] = []
        self.cells: dict[Line, Json] = {}  # rows only: by column
        self.hidden = False
        self.pixels = 100


@dataclass(eq=False)
class Tag:
    id: int
    key: str
    value: str | None
    visibility: str


@dataclass(eq=False)
class Area:
    """A rectangle that follows its lines; None is unbounded.

    Args:
        first: where rows are None, the row at which the range begins; it has no last one.
        warning: a protection that only warns people.
        free: parts of a protection that are not protected.
    """

    rows: list[Line] | None
    columns: list[Line] | None
    editable: bool = True
    name: str = ""
    first: Line | None = None
    warning: bool = False
    id: int = 0
    free: list[Json] = field(default_factory=list)


@dataclass(eq=False)
class Thing:
    """A table, a filter view, a conditional format or banding, which follows its lines.

    Args:
        kind: its field of Sheet (``tables``); ``basicFilter`` for the filter.
        more: its other fields.
    """

    kind: str
    area: Area
    more: Json = field(default_factory=dict)


@dataclass(eq=False)
class Tab:
    id: int
    title: str
    rows: list[Line]
    columns: list[Line]
    tags: list[Tag] = field(default_factory=list)
    merges: list[Area] = field(default_factory=list)
    protected: list[Area] = field(default_factory=list)
    frozen_rows: int = 0
    frozen_columns: int = 0
    color: Json | None = None
    filter: Json | None = None
    """The range of a filter without a last row; a bounded one is among ``things``."""
    things: list[Thing] = field(default_factory=list)
    has_formulas: bool = False

    def cover(self, kind: str, top: int, bottom: int, left: int, right: int, **more: Any) -> Thing:
        """Put a table, a filter, … on these cells."""
        thing = Thing(kind, Area(self.rows[top:bottom], self.columns[left:right]), more)
        self.things.append(thing)
        return thing

    def bounds(self, area: Area) -> tuple[int, int, int, int] | None:
        """(first row, end row, first column, end column), or None when nothing of it is left."""
        if area.rows is None:
            top = 0 if area.first is None or area.first not in self.rows else self.rows.index(area.first)
            bottom = len(self.rows)
        else:
            places = [place for place, row in enumerate(self.rows) if row in area.rows]
            if not places:
                return None
            top, bottom = places[0], places[-1] + 1
        if area.columns is None:
            left, right = 0, len(self.columns)
        else:
            places = [place for place, column in enumerate(self.columns) if column in area.columns]
            if not places:
                return None
            left, right = places[0], places[-1] + 1
        return top, bottom, left, right

    def value(self, row: int, column: int) -> Any:
        """What a person typed into a cell: str, float, bool, ``("formula", text)`` or None."""
        cell = self.rows[row].cells.get(self.columns[column])
        return plain(cell.get("userEnteredValue") if cell else None)

    def grid(self, rows: int | None = None) -> list[list[Any]]:
        """All values (of the first *rows*), as ``value`` gives them."""
        blank = [None] * len(self.columns)
        return [
            [plain(line.cells.get(column, {}).get("userEnteredValue")) for column in self.columns]
            if line.cells
            else list(blank)
            for line in self.rows[:rows]
        ]

    def put(self, row: int, column: int, value: Any, **more: Any) -> None:
        """Type into a cell: str (``=…`` is a formula), number, bool or None; *more* are other fields of CellData."""
        line, place = self.rows[row], self.columns[column]
        cell = dict(line.cells.get(place, {}))
        cell.pop("userEnteredValue", None)
        if value is not None:
            cell["userEnteredValue"] = typed(value)
            self.has_formulas |= "formulaValue" in cell["userEnteredValue"]
        cell.update(more)
        if cell:
            line.cells[place] = cell
        else:
            line.cells.pop(place, None)


def plain(value: Mapping[str, Any] | None) -> Any:
    if not value:
        return None
    ((kind, content),) = value.items()
    return ("formula", content) if kind == "formulaValue" else content


def typed(value: Any) -> Json:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int | float):
        return {"numberValue": value}
    return {"formulaValue": value} if value.startswith("=") else {"stringValue": value}


def effective(value: Any) -> Json:
    """What a cell shows as ExtendedValue."""
    return {"errorValue": {"type": "REF"}} if value is BLOCKED else typed_literally(value)


def typed_literally(value: Any) -> Json:
    return {"stringValue": value} if isinstance(value, str) else typed(value)


BLOCKED = object()
"""What an array shows that has no room."""


_GROWS_THE_FILE = frozenset({"addSheet", "insertDimension", "appendDimension"})


class Book:
    """One spreadsheet file.

    Args:
        unique_ids: creating developer metadata under an id in use is refused (False: two may bear it).
        tags_follow_sorts: row tags move when rows are sorted (False: they stay at their index).
        cell_limit, characters_limit, tag_characters: Google's limits, to be scaled down in tests.
        protection_forbids_inserts: rows can't be inserted through a protected column.
        trims_lines: row and column metadata in an answer end with the last line that has any.
    """

    def __init__(
        self,
        id: str = "sheet-file-for-tests",
        *,
        unique_ids: bool = True,
        tags_follow_sorts: bool = True,
        cell_limit: int = 10_000_000,
        characters_limit: int = 50_000,
        tag_characters: int = 30_000,
        protection_forbids_inserts: bool = True,
        trims_lines: bool = False,
    ) -> None:
        self.id = id
        self.tabs: list[Tab] = []
        self.tags: list[Tag] = []
        self.unique_ids = unique_ids
        self.tags_follow_sorts = tags_follow_sorts
        self.cell_limit = cell_limit
        self.characters_limit = characters_limit
        self.tag_characters = tag_characters
        self.protection_forbids_inserts = protection_forbids_inserts
        self.trims_lines = trims_lines
        self.locale, self.time_zone = "en_GB", "Europe/London"
        self.touched: list[tuple[Line, Line]] = []
        """(row, column) of every cell that a batch through the API wrote, for tests that look for strangers' cells."""
        self._undo: list[Callable[[], None]] = []
        self._ids: Counter[int] = Counter()
        self._next_id = 1_000
        self._as_person = False

    # ------------------------------------------------------------ for tests

    def add(self, title: str, values: Sequence[Sequence[Any]] = (), *, rows: int = 1000, columns: int = 26) -> Tab:
        """A new tab holding *values* from A1 on."""
        self._next_id += 1
        tab = Tab(
            0 if not self.tabs else self._next_id,
            title,
            [Line() for _ in range(max(rows, len(values)))],
            [Line() for _ in range(columns)],
        )
        for row, line in enumerate(values):
            for column, value in enumerate(line):
                if value is not None:
                    tab.put(row, column, value)
        self.tabs.append(tab)
        return tab

    def shown(self, tab: Tab) -> dict[tuple[int, int], Any]:
        """What formulas show, by (row, column): in their own cells and in those they spill into."""
        if not tab.has_formulas:
            return {}
        anchors = [
            (row, column, text[1])
            for row, line in enumerate(tab.grid())
            for column, text in enumerate(line)
            if isinstance(text, tuple)
        ]
        found: dict[tuple[int, int], Any] = {}
        busy: set[tuple[Tab, int, int]] = set()

        def get(title: str | None, row: int, column: int) -> Any:
            there = tab if title is None else self.tab(title)
            value = there.value(row, column)
            if not isinstance(value, tuple):
                return found.get((row, column)) if value is None and there is tab else value
            if there is tab and (row, column) in found:
                return found[row, column]
            if (there, row, column) in busy:
                return 0.0  # a circle
            busy.add((there, row, column))
            (first, *_) = sheets_formulas.results(value[1], row, column, get, len(there.rows))
            busy.discard((there, row, column))
            return first[2]

        for row, column, text in anchors:
            busy.clear()
            busy.add((tab, row, column))
            cells = list(sheets_formulas.results(text, row, column, get, len(tab.rows)))
            if any(tab.value(at, place) is not None for at, place, _ in cells if (at, place) != (row, column)):
                cells = [(row, column, BLOCKED)]
            found |= {(at, place): value for at, place, value in cells}
        return found

    def seen(self, title: str) -> list[list[Any]]:
        """What people see in a tab: values and the results of formulas."""
        tab = self.tab(title)
        shown = self.shown(tab)
        return [
            [shown.get((row, column), None if isinstance(value, tuple) else value) for column, value in enumerate(line)]
            for row, line in enumerate(tab.grid())
        ]

    def tab(self, title: str) -> Tab:
        return next(tab for tab in self.tabs if tab.title == title)

    def all_tags(self) -> list[Tag]:
        """Every tag in the file."""
        return [tag for tag, _, _ in self._places()]

    def edit(self, *requests: Json) -> None:
        """A person does this in the browser (protection does not bind the owner)."""
        self._as_person = True
        try:
            self.batch(requests)
        finally:
            self._as_person = False

    # ------------------------------------------------------------ batches

    def batch(self, requests: Sequence[Json]) -> list[Json]:
        """Apply in order, all or nothing; the replies."""
        self._undo = []
        self._ids = Counter(tag.id for tag, _, _ in self._places())
        touched = len(self.touched)
        replies = []
        try:
            for place, request in enumerate(requests):
                ((kind, body),) = request.items()
                handler = getattr(self, f"_do_{kind}", None)
                if handler is None:
                    raise NotImplementedError(f"the test server knows no {kind}")
                try:
                    replies.append(handler(body) or {})
                    if kind in _GROWS_THE_FILE:
                        self._check_cells()
                except BadRequest as error:
                    raise BadRequest(f"Invalid requests[{place}].{kind}: {error}") from None
            self._check_limits()
        except BadRequest:
            for undo in reversed(self._undo):
                undo()
            del self.touched[touched:]
            raise
        if self._as_person:
            del self.touched[touched:]
        return replies

    def _check_cells(self) -> None:
        if sum(len(tab.rows) * len(tab.columns) for tab in self.tabs) > self.cell_limit:
            raise BadRequest(
                f"This action would increase the number of cells in the workbook above the limit of "
                f"{self.cell_limit} cells."
            )

    def _check_limits(self) -> None:
        for tab in self.tabs:
            if sum(len(tag.key) + len(tag.value or "") for tag in self._tags_of(tab)) > self.tag_characters:
                raise BadRequest("developer metadata of the sheet exceeds its storage quota")

    def _set(self, target: Any, name: str, value: Any) -> None:
        before = getattr(target, name)
        self._undo.append(lambda: setattr(target, name, before))
        setattr(target, name, value)

    def _tab(self, id: int) -> Tab:
        for tab in self.tabs:
            if tab.id == id:
                return tab
        raise BadRequest(f"No grid with id: {id}")

    # ------------------------------------------------------------ requests: tabs

    def _do_addSheet(self, body: Json) -> Json:
        properties = body.get("properties", {})
        title = properties.get("title") or f"Sheet{len(self.tabs) + 1}"
        if any(tab.title.casefold() == title.casefold() for tab in self.tabs):
            raise BadRequest(f'A sheet with the name "{title}" already exists. Please enter another name.')
        id = properties.get("sheetId")
        if id is None:
            self._next_id += 1
            id = self._next_id
        if any(tab.id == id for tab in self.tabs):
            raise BadRequest(f"sheetId {id} already exists")
        grid = properties.get("gridProperties", {})
        _only(properties, "title", "sheetId", "gridProperties", "tabColorStyle", "index")
        _only(grid, "rowCount", "columnCount", "frozenRowCount", "frozenColumnCount")
        if grid.get("frozenColumnCount", 0) >= grid.get("columnCount", 26):
            raise BadRequest("You can't freeze all visible columns on the sheet.")
        tab = Tab(
            id,
            title,
            [Line() for _ in range(grid.get("rowCount", 1000))],
            [Line() for _ in range(grid.get("columnCount", 26))],
            frozen_rows=grid.get("frozenRowCount", 0),
            frozen_columns=grid.get("frozenColumnCount", 0),
            color=properties.get("tabColorStyle"),
        )
        self._set(self, "tabs", [*self.tabs, tab])
        return {"addSheet": {"properties": self.properties_of(tab)}}

    def _do_deleteSheet(self, body: Json) -> None:
        tab = self._tab(body["sheetId"])
        if len(self.tabs) == 1:
            raise BadRequest("You can't remove all the sheets in a document.")
        self._set(self, "tabs", [other for other in self.tabs if other is not tab])

    def _do_updateSheetProperties(self, body: Json) -> None:
        properties = body["properties"]
        tab = self._tab(properties.get("sheetId", 0))
        for name in body["fields"].split(","):
            if name == "title":
                self._set(tab, "title", properties["title"])
            elif name == "gridProperties.frozenRowCount":
                self._set(tab, "frozen_rows", properties["gridProperties"]["frozenRowCount"])
            elif name == "gridProperties.frozenColumnCount":
                self._set(tab, "frozen_columns", properties["gridProperties"]["frozenColumnCount"])
            elif name == "gridProperties.rowCount":
                raise NotImplementedError("resizing a grid destroys people's rows")
            else:
                raise NotImplementedError(name)

    def _do_setBasicFilter(self, body: Json) -> None:
        area = body["filter"]["range"]
        tab = self._tab(area.get("sheetId", 0))
        others = [thing for thing in tab.things if thing.kind != "basicFilter"]
        bounded = "endRowIndex" in area
        self._set(tab, "filter", None if bounded else area)
        if bounded:
            rows = tab.rows[area.get("startRowIndex", 0) : area["endRowIndex"]]
            columns = tab.columns[area.get("startColumnIndex", 0) : area.get("endColumnIndex", len(tab.columns))]
            more = {name: item for name, item in body["filter"].items() if name != "range"}
            others.append(Thing("basicFilter", Area(rows, columns), more))
        self._set(tab, "things", others)

    # ------------------------------------------------------------ requests: colours, rules, views

    def _area_of(self, area: Json) -> tuple[Tab, Area]:
        """The tab and the lines of a GridRange."""
        tab = self._tab(area.get("sheetId", 0))
        top, bottom = area.get("startRowIndex", 0), area.get("endRowIndex")
        left, right = area.get("startColumnIndex", 0), area.get("endColumnIndex", len(tab.columns))
        if top >= len(tab.rows) or (bottom or 0) > len(tab.rows) or not left < right <= len(tab.columns):
            raise BadRequest(f"range {area} is beyond the grid")
        columns = tab.columns[left:right]
        if bottom is None:
            return tab, Area(None, columns, first=tab.rows[top] if top else None)
        return tab, Area(tab.rows[top:bottom], columns)

    def _put_thing(self, kind: str, item: Json, area: Json) -> None:
        tab, covered = self._area_of(area)
        more = {name: content for name, content in item.items() if name not in ("range", "ranges")}
        self._set(tab, "things", [*tab.things, Thing(kind, covered, more)])

    def _new_id(self, given: int | None, kind: str, name: str) -> int:
        if given is not None and any(thing.more.get(name) == given for tab in self.tabs for thing in tab.things):
            raise BadRequest(f"{kind} with id {given} already exists")
        self._next_id += 1
        return self._next_id if given is None else given

    def _do_addBanding(self, body: Json) -> None:
        item = body["bandedRange"]
        _only(item, "bandedRangeId", "range", "rowProperties")
        _only(item["rowProperties"], "headerColorStyle", "firstBandColorStyle", "secondBandColorStyle")
        tab, area = self._area_of(item["range"])
        others = (thing.area for thing in tab.things if thing.kind == "bandedRanges")
        if any(set(other.columns or ()) & set(area.columns or ()) for other in others):
            raise BadRequest("You cannot add alternating background colors to a range that already has them.")
        id = self._new_id(item.get("bandedRangeId"), "banded range", "bandedRangeId")
        self._put_thing("bandedRanges", item | {"bandedRangeId": id}, item["range"])

    def _do_addFilterView(self, body: Json) -> None:
        item = body["filter"]
        _only(item, "filterViewId", "title", "range", "sortSpecs", "filterSpecs")
        for spec in item.get("filterSpecs", ()):
            _only(spec, "columnIndex", "filterCriteria")
            _only(spec["filterCriteria"], "hiddenValues")
        id = self._new_id(item.get("filterViewId"), "filter view", "filterViewId")
        self._put_thing("filterViews", item | {"filterViewId": id}, item["range"])

    def _do_addConditionalFormatRule(self, body: Json) -> None:
        _only(body, "rule", "index")
        _only(body["rule"], "ranges", "booleanRule")
        rule = body["rule"]["booleanRule"]
        _only(rule, "condition", "format")
        kind, values = rule["condition"]["type"], rule["condition"].get("values", [])
        if kind not in ("TEXT_EQ", "NUMBER_LESS", "CUSTOM_FORMULA") or len(values) != 1:
            raise BadRequest(f"a condition of type {kind} with {len(values)} values")
        (text,) = (value["userEnteredValue"] for value in values)
        if (kind == "CUSTOM_FORMULA") != text.startswith("="):
            raise BadRequest(f"{text} is no condition of type {kind}")
        _only(rule["format"], "textFormat", "backgroundColorStyle")
        _only(rule["format"].get("textFormat", {}), "bold", "italic", "strikethrough", "foregroundColorStyle")
        (area,) = body["rule"]["ranges"]
        tab = self._tab(area.get("sheetId", 0))
        if body.get("index", 0) > sum(thing.kind == "conditionalFormats" for thing in tab.things):
            raise BadRequest("index is beyond the rules of the sheet")
        self._put_thing("conditionalFormats", body["rule"], area)

    def _do_addProtectedRange(self, body: Json) -> None:
        item = body["protectedRange"]
        _only(item, "protectedRangeId", "range", "description", "warningOnly", "unprotectedRanges")
        tab, area = self._area_of(item["range"])
        if "startColumnIndex" not in item["range"] and "endColumnIndex" not in item["range"]:
            area.columns = None
        elif item.get("unprotectedRanges"):
            raise BadRequest("unprotectedRanges are for protected sheets only")
        area.name, area.warning, area.free = item.get("description", ""), True, item.get("unprotectedRanges", [])
        assert item.get("warningOnly"), "the connector must not lock people out"
        self._set(tab, "protected", [*tab.protected, area])

    # ------------------------------------------------------------ requests: lines

    def _span(self, body: Json) -> tuple[Tab, str, list[Line], int, int]:
        tab = self._tab(body.get("sheetId", 0))
        name = {"ROWS": "rows", "COLUMNS": "columns"}[body["dimension"]]
        lines: list[Line] = getattr(tab, name)
        return tab, name, lines, body.get("startIndex", 0), body.get("endIndex", len(lines))

    def _do_insertDimension(self, body: Json) -> None:
        tab, name, lines, start, end = self._span(body["range"])
        if "startIndex" not in body["range"] or "endIndex" not in body["range"] or end <= start:
            raise BadRequest("range must be bounded")
        if start >= len(lines):
            raise BadRequest(f"range.startIndex[{start}] must be less than the grid size {len(lines)}")
        inherit = body.get("inheritFromBefore", False)
        if inherit and start == 0:
            raise BadRequest("inheritFromBefore cannot be true at index 0")
        self._check_insert(tab, name, start)
        new = [Line() for _ in range(end - start)]
        for line in new if name == "columns" else ():
            neighbour = lines[start - 1 if inherit else start]
            line.hidden, line.pixels = neighbour.hidden, neighbour.pixels
            for row in tab.rows:
                if form := row.cells.get(neighbour, {}).get("userEnteredFormat"):
                    row.cells[line] = {"userEnteredFormat": form}
        if name == "rows":
            for column, cell in lines[start - 1 if inherit else start].cells.items():
                if form := cell.get("userEnteredFormat"):
                    for line in new:
                        line.cells[column] = {"userEnteredFormat": form}
        for area in [*tab.merges, *tab.protected, *(thing.area for thing in tab.things)]:
            inside = getattr(area, name)
            if inside is not None and start > 0 and lines[start - 1] in inside and lines[start] in inside:
                self._set(area, name, [*inside, *new])
        self._set(tab, name, [*lines[:start], *new, *lines[start:]])
        self._move_references(tab, name, sheets_formulas.inserted(start, end - start))

    def _move_references(self, changed: Tab, name: str, move: Callable[[int, bool], int | None]) -> None:
        for tab in self.tabs:
            for row in tab.rows if tab.has_formulas else ():
                for column, cell in row.cells.items():
                    before = cell.get("userEnteredValue", {}).get("formulaValue")
                    if before is None:
                        continue
                    after = sheets_formulas.follow(before, tab.title, changed.title, name, move)
                    if after != before:
                        self._put_cell(row, column, {**cell, "userEnteredValue": {"formulaValue": after}})

    def _put_cell(self, line: Line, place: Line, after: Json) -> None:
        before = line.cells.get(place)

        def undo() -> None:
            if before is None:
                line.cells.pop(place, None)
            else:
                line.cells[place] = before

        self._undo.append(undo)
        if after:
            line.cells[place] = after
        else:
            line.cells.pop(place, None)

    def _check_insert(self, tab: Tab, name: str, start: int) -> None:
        if self._as_person or not self.protection_forbids_inserts:
            return
        for area in tab.protected:
            if area.editable:
                continue
            bounds = tab.bounds(area)
            if bounds and name == "rows" and bounds[0] < start < bounds[1] + (area.rows is None):
                raise BadRequest(PROTECTED)
            if bounds and name == "columns" and bounds[2] < start < bounds[3] + (area.columns is None):
                raise BadRequest(PROTECTED)

    def _do_appendDimension(self, body: Json) -> None:
        tab, name, lines, _, _ = self._span(body)
        self._set(tab, name, [*lines, *(Line() for _ in range(body["length"]))])

    def _do_deleteDimension(self, body: Json) -> None:
        tab, name, lines, start, end = self._span(body["range"])
        if start >= len(lines) or end > len(lines):
            raise BadRequest("Cannot delete a dimension that doesn't exist")
        if end - start == len(lines):
            raise BadRequest("You can't delete all the rows on the sheet.")
        if not self._as_person:
            for row in range(start, end) if name == "rows" else ():
                for column in range(len(tab.columns)):
                    self._check_protected(tab, row, column)
        self._set(tab, name, lines[:start] + lines[end:])
        self._move_references(tab, name, sheets_formulas.deleted(start, end))
        self._ids = Counter(tag.id for tag, _, _ in self._places())  # tags vanish with their line

    def _do_moveDimension(self, body: Json) -> None:
        tab, name, lines, start, end = self._span(body["source"])
        target = body["destinationIndex"]
        moved = lines[start:end]
        rest = lines[:start] + lines[end:]
        at = target if target <= start else target - len(moved)
        self._set(tab, name, rest[:at] + moved + rest[at:])

    def _do_sortRange(self, body: Json) -> None:
        area = body["range"]
        tab = self._tab(area.get("sheetId", 0))
        start, end = area.get("startRowIndex", 0), area.get("endRowIndex", len(tab.rows))
        spec = body["sortSpecs"][0]
        column = spec["dimensionIndex"]

        def order(place: int) -> tuple[int, float, str]:
            value = tab.value(place, column)
            if value is None:
                return (9, 0, "")
            if isinstance(value, int | float):
                return (0, float(value), "")
            return (1, 0, str(value))

        places = sorted(range(start, end), key=order)
        if spec.get("sortOrder") == "DESCENDING":
            filled = [place for place in places if tab.value(place, column) is not None]
            places = filled[::-1] + [place for place in places if tab.value(place, column) is None]
        after = tab.rows[:start] + [tab.rows[place] for place in places] + tab.rows[end:]
        if not self.tags_follow_sorts:
            for line, tags in [(new, old.tags) for old, new in zip(tab.rows, after, strict=True)]:
                self._set(line, "tags", tags)
        self._set(tab, "rows", after)

    def _do_updateDimensionProperties(self, body: Json) -> None:
        _, _, lines, start, end = self._span(body["range"])
        for line in lines[start:end]:
            for name in body["fields"].split(","):
                if name == "pixelSize":
                    self._set(line, "pixels", body["properties"]["pixelSize"])
                elif name == "hiddenByUser":
                    self._set(line, "hidden", body["properties"]["hiddenByUser"])
                else:
                    raise NotImplementedError(name)

    # ------------------------------------------------------------ requests: cells

    def _do_updateCells(self, body: Json) -> None:
        fields = _fields(body["fields"])
        if "range" in body:
            area = body["range"]
            tab = self._tab(area.get("sheetId", 0))
            top, left = area.get("startRowIndex", 0), area.get("startColumnIndex", 0)
            bottom, right = area.get("endRowIndex", len(tab.rows)), area.get("endColumnIndex", len(tab.columns))
            rows = body.get("rows", [])
            for row in range(top, bottom):
                values = rows[row - top].get("values", []) if row - top < len(rows) else []
                for column in range(left, right):
                    self._write(tab, row, column, values[column - left] if column - left < len(values) else {}, fields)
            return
        start = body["start"]
        tab = self._tab(start.get("sheetId", 0))
        for down, row in enumerate(body.get("rows", [])):
            for across, cell in enumerate(row.get("values", [])):
                self._write(tab, start.get("rowIndex", 0) + down, start.get("columnIndex", 0) + across, cell, fields)

    def _do_repeatCell(self, body: Json) -> None:
        area = body["range"]
        tab = self._tab(area.get("sheetId", 0))
        fields = _fields(body["fields"])
        for row in range(area.get("startRowIndex", 0), area.get("endRowIndex", len(tab.rows))):
            for column in range(area.get("startColumnIndex", 0), area.get("endColumnIndex", len(tab.columns))):
                self._write(tab, row, column, body.get("cell", {}), fields)

    def _check_protected(self, tab: Tab, row: int, column: int) -> None:
        for area in tab.protected:
            bounds = None if area.editable else tab.bounds(area)
            if bounds and bounds[0] <= row < bounds[1] and bounds[2] <= column < bounds[3]:
                raise BadRequest(PROTECTED)

    def _write(self, tab: Tab, row: int, column: int, cell: Json, fields: list[list[str]]) -> None:
        if row >= len(tab.rows) or column >= len(tab.columns):
            raise BadRequest(f"Attempting to write cell ({row}, {column}) beyond the grid")
        if not self._as_person and tab.protected:
            self._check_protected(tab, row, column)
        line, place = tab.rows[row], tab.columns[column]
        before = line.cells.get(place)
        after = dict(before or {})
        for path in fields:
            if path[0] == "userEnteredValue":
                value = cell.get("userEnteredValue")
                if value and len(value.get("stringValue", "")) > self.characters_limit:
                    raise BadRequest(
                        f"Your input contains more than the maximum of {self.characters_limit} characters in a "
                        "single cell."
                    )
                if value and not self._as_person:
                    self._check_validation(tab, row, column, before, value)
                after.pop("userEnteredValue", None)
                after.pop("textFormatRuns", None)  # a new value erases them
                tab.has_formulas |= "formulaValue" in (value or {})
                if value and value != {"stringValue": ""}:
                    if "numberValue" in value:
                        value = {"numberValue": float(value["numberValue"])}
                    after["userEnteredValue"] = value
                self.touched.append((line, place))
                continue
            source: Any = cell
            for name in path:
                source = source.get(name, {}) if isinstance(source, dict) else {}
            target = after
            for name in path[:-1]:
                target[name] = dict(target.get(name, {}))
                target = target[name]
            if source == {}:
                target.pop(path[-1], None)
            else:
                target[path[-1]] = source
        after = {name: value for name, value in after.items() if value != {}}
        if "textFormatRuns" in after:
            self._check_runs(after)
        self._put_cell(line, place, after)

    def _check_runs(self, cell: Json) -> None:
        length = len(cell.get("userEnteredValue", {}).get("stringValue", "").encode("utf-16-le")) // 2
        starts = [run.get("startIndex", 0) for run in cell["textFormatRuns"]]
        if starts != sorted(set(starts)) or not all(0 <= start < length for start in starts):
            raise BadRequest("Invalid value at 'textFormatRuns': runs begin one after the other within the text")
        for run in cell["textFormatRuns"]:
            _only(run["format"], "link", "foregroundColorStyle", "underline")

    def _check_validation(self, tab: Tab, row: int, column: int, cell: Json | None, value: Json) -> None:
        rule = (cell or {}).get("dataValidation", {})
        choices = [choice["userEnteredValue"] for choice in rule.get("condition", {}).get("values", ())]
        if rule.get("condition", {}).get("type") == "BOOLEAN":
            is_right = "boolValue" in value
        else:
            is_right = value.get("stringValue") in choices
        if rule.get("strict") and not is_right:
            raise BadRequest(
                f"The data you entered in cell {sheets_formulas.letters(column)}{row + 1} violates the data validation "
                "rules set on this cell."
            )

    def _do_copyPaste(self, body: Json) -> None:
        source, goal = body["source"], body["destination"]
        tab = self._tab(source.get("sheetId", 0))
        assert source["endRowIndex"] - source["startRowIndex"] == 1, "one row is copied"
        rows = tab.rows[goal["startRowIndex"] : goal["endRowIndex"]]
        columns = tab.columns[goal.get("startColumnIndex", 0) : goal.get("endColumnIndex", len(tab.columns))]
        example = tab.rows[source["startRowIndex"]]
        if body["pasteType"] == "PASTE_DATA_VALIDATION":
            for row in rows:
                for column in columns:
                    rule = example.cells.get(column, {}).get("dataValidation")
                    rest = {name: item for name, item in row.cells.get(column, {}).items() if name != "dataValidation"}
                    self._put_cell(row, column, rest | ({"dataValidation": rule} if rule else {}))
        elif body["pasteType"] == "PASTE_CONDITIONAL_FORMATTING":
            for thing in tab.things:
                covered = set(columns) & set(thing.area.columns or ())
                if thing.kind == "conditionalFormats" and covered and example in (thing.area.rows or ()):
                    self._set(thing.area, "rows", [*(thing.area.rows or ()), *rows])
        else:
            raise NotImplementedError(body["pasteType"])

    def _grow(self, kind: str, name: str, item: Json, fields: str) -> None:
        assert fields == "range", fields
        tab, area = self._area_of(item["range"])
        found = [thing for thing in tab.things if thing.kind == kind and thing.more[name] == item[name]]
        if not found:
            raise BadRequest(f"No {kind} with id {item[name]}")
        for part in ("rows", "columns", "first"):
            self._set(found[0].area, part, getattr(area, part))

    def _do_updateTable(self, body: Json) -> None:
        self._grow("tables", "tableId", body["table"], body["fields"])

    def _do_updateBanding(self, body: Json) -> None:
        self._grow("bandedRanges", "bandedRangeId", body["bandedRange"], body["fields"])

    def _do_updateFilterView(self, body: Json) -> None:
        self._grow("filterViews", "filterViewId", body["filter"], body["fields"])

    def _do_updateProtectedRange(self, body: Json) -> None:
        assert body["fields"] == "range", body
        item = body["protectedRange"]
        tab = self._tab(item["range"].get("sheetId", 0))
        area = tab.protected[item["protectedRangeId"] - 1]
        if not area.editable and not self._as_person:
            raise BadRequest(PROTECTED)
        self._set(area, "rows", tab.rows[item["range"]["startRowIndex"] : item["range"]["endRowIndex"]])

    def _do_mergeCells(self, body: Json) -> None:
        area = body["range"]
        tab = self._tab(area.get("sheetId", 0))
        rows = tab.rows[area["startRowIndex"] : area["endRowIndex"]]
        columns = tab.columns[area["startColumnIndex"] : area["endColumnIndex"]]
        self._set(tab, "merges", [*tab.merges, Area(rows, columns)])

    # ------------------------------------------------------------ requests: developer metadata

    def _tags_of(self, tab: Tab) -> Iterator[Tag]:
        holders: list[Tab | Line] = [tab, *tab.rows, *tab.columns]
        for holder in holders:
            yield from holder.tags

    def _places(self) -> Iterator[tuple[Tag, Any, Json]]:
        """Every tag, what it hangs on, and its location."""
        for tag in self.tags:
            yield tag, self, {"locationType": "SPREADSHEET", "spreadsheet": True}
        for tab in self.tabs:
            for tag in tab.tags:
                yield tag, tab, {"locationType": "SHEET", "sheetId": tab.id}
            for name, lines in (("ROW", tab.rows), ("COLUMN", tab.columns)):
                for place, line in enumerate(lines):
                    for tag in line.tags:
                        yield tag, line, _location(tab, name, place)

    def _do_createDeveloperMetadata(self, body: Json) -> Json:
        wanted = body["developerMetadata"]
        if "metadataKey" not in wanted or "visibility" not in wanted:
            raise BadRequest("metadata_key and visibility must be specified")
        holder = self._holder(wanted["location"])
        id = wanted.get("metadataId")
        if id is not None and id <= 0:
            raise BadRequest("metadata_id must be positive")
        if id is None:
            self._next_id += 1
            id = self._next_id
        elif self._ids[id] and self.unique_ids:
            raise BadRequest(f"A DeveloperMetadata with ID {id} already exists")
        tag = Tag(id, wanted["metadataKey"], wanted.get("metadataValue"), wanted["visibility"])
        self._set(holder, "tags", [*holder.tags, tag])
        self._ids[id] += 1
        return {"createDeveloperMetadata": {"developerMetadata": {"metadataId": id}}}

    def _holder(self, location: Json) -> Any:
        if location.get("spreadsheet"):
            return self
        if "dimensionRange" in location:
            _, _, lines, start, end = self._span(location["dimensionRange"])
            if end - start != 1:
                raise BadRequest("dimension_range must represent a single row or column")
            if start >= len(lines):
                raise BadRequest(f"location beyond the grid: {start}")
            return lines[start]
        return self._tab(location["sheetId"])

    def matches(self, lookup: Json) -> list[tuple[Tag, Any, Json]]:
        """The tags that a DeveloperMetadataLookup selects."""
        exact = lookup.get("locationMatchingStrategy") == "EXACT_LOCATION"
        if exact and ("metadataLocation" not in lookup or "locationType" in lookup):
            raise BadRequest("EXACT_LOCATION needs a metadataLocation and no locationType")
        wanted = lookup.get("metadataLocation")
        holder: Any = None
        if wanted is not None and exact:
            try:
                holder = self._holder(wanted)
            except BadRequest:
                return []  # nothing can be attached to what isn't there
        found = []
        places = self._places()
        if holder is not None:
            places = iter([(tag, holder, {}) for tag in holder.tags])
        for tag, hangs_on, location in places:
            if "metadataId" in lookup and tag.id != lookup["metadataId"]:
                continue
            if "metadataKey" in lookup and tag.key != lookup["metadataKey"]:
                continue
            if "metadataValue" in lookup and (tag.value or "") != lookup["metadataValue"]:
                continue
            if "visibility" in lookup and tag.visibility != lookup["visibility"]:
                continue
            if "locationType" in lookup and location["locationType"] != lookup["locationType"]:
                continue
            if wanted is not None:
                if exact and hangs_on is not holder:
                    continue
                if not exact and not _intersects(wanted, location):
                    continue
            found.append((tag, hangs_on, location))
        return found

    def _do_deleteDeveloperMetadata(self, body: Json) -> None:
        for tag, hangs_on, _ in self.matches(body["dataFilter"]["developerMetadataLookup"]):
            self._set(hangs_on, "tags", [other for other in hangs_on.tags if other is not tag])
            self._ids[tag.id] -= 1

    # ------------------------------------------------------------ answers

    def properties_of(self, tab: Tab) -> Json:
        grid: Json = {"rowCount": len(tab.rows), "columnCount": len(tab.columns)}
        if tab.frozen_rows:
            grid["frozenRowCount"] = tab.frozen_rows
        if tab.frozen_columns:
            grid["frozenColumnCount"] = tab.frozen_columns
        return {
            "sheetId": tab.id,
            "title": tab.title,
            "index": self.tabs.index(tab),
            "sheetType": "GRID",
            "gridProperties": grid,
            **({"tabColorStyle": tab.color} if tab.color else {}),
        }

    def show(self, mask: Any, blocks: Mapping[int, Sequence[tuple[int, int, int, int]]] | None) -> Json:
        """The spreadsheet resource.

        Args:
            mask: nested dict of fields (None: everything).
            blocks: by sheetId, the (first row, end row, first column, end column) to show; None: all of all tabs.
        """
        answer: Json = {}
        if wants(mask, "spreadsheetId"):
            answer["spreadsheetId"] = self.id
        if wants(mask, "properties"):
            answer["properties"] = pruned(
                {"title": "A file", "locale": self.locale, "timeZone": self.time_zone}, inner(mask, "properties")
            )
        if not wants(mask, "sheets"):
            return answer
        answer["sheets"] = []
        mask = inner(mask, "sheets")
        for tab in self.tabs:
            if blocks is not None and tab.id not in blocks:
                continue
            shown: Json = {}
            if wants(mask, "properties"):
                shown["properties"] = pruned(self.properties_of(tab), inner(mask, "properties"))
            if wants(mask, "developerMetadata") and tab.tags:
                shown["developerMetadata"] = [
                    self._tag_json(tag, {"locationType": "SHEET", "sheetId": tab.id}, inner(mask, "developerMetadata"))
                    for tag in tab.tags
                ]
            if wants(mask, "merges") and (merges := self._areas(tab, tab.merges)):
                shown["merges"] = [pruned(area, inner(mask, "merges")) for area in merges]
            if wants(mask, "protectedRanges") and tab.protected:
                shown["protectedRanges"] = [
                    pruned(item, inner(mask, "protectedRanges")) for item in self._protected_json(tab)
                ]
            for name, content in self._things_json(tab).items():
                if wants(mask, name):
                    inside = inner(mask, name)
                    one = isinstance(content, dict)
                    shown[name] = pruned(content, inside) if one else [pruned(item, inside) for item in content]
            if wants(mask, "data"):
                whole = [(0, len(tab.rows), 0, len(tab.columns))]
                shown["data"] = [
                    self._block(tab, block, inner(mask, "data")) for block in (blocks[tab.id] if blocks else whole)
                ]
            answer["sheets"].append(shown)
        return answer

    def _areas(self, tab: Tab, areas: Sequence[Area]) -> list[Json]:
        found = []
        for area in areas:
            if bounds := tab.bounds(area):
                top, bottom, left, right = bounds
                found.append(
                    {
                        "sheetId": tab.id,
                        **({"startRowIndex": top, "endRowIndex": bottom} if area.rows is not None else {}),
                        **({"startRowIndex": top} if area.rows is None and top else {}),
                        **({"startColumnIndex": left, "endColumnIndex": right} if area.columns is not None else {}),
                    }
                )
        return found

    def _things_json(self, tab: Tab) -> Json:
        found: Json = {"basicFilter": {"range": tab.filter}} if tab.filter is not None else {}
        for thing in tab.things:
            for place in self._areas(tab, [thing.area]):
                if thing.kind == "basicFilter":
                    found["basicFilter"] = {**thing.more, "range": place}
                elif thing.kind == "conditionalFormats":
                    found.setdefault(thing.kind, []).append({**thing.more, "ranges": [place]})
                else:
                    found.setdefault(thing.kind, []).append({**thing.more, "range": place})
        return found

    def _protected_json(self, tab: Tab) -> list[Json]:
        found = []
        for number, area in enumerate(tab.protected):
            for place in self._areas(tab, [area]):
                item = {"protectedRangeId": number + 1, "range": place, "description": area.name}
                if area.editable:
                    item["requestingUserCanEdit"] = True
                if area.warning:
                    item["warningOnly"] = True
                found.append(item)
        return found

    def _tag_json(self, tag: Tag, location: Json, mask: Any) -> Json:
        shown = {
            "metadataId": tag.id,
            "metadataKey": tag.key,
            "location": location,
            "visibility": tag.visibility,
        }
        if tag.value:
            shown["metadataValue"] = tag.value
        tag_json: Json = pruned(shown, mask)
        return tag_json

    def _block(self, tab: Tab, block: tuple[int, int, int, int], mask: Any) -> Json:
        top, bottom, left, right = block
        bottom, right = min(bottom, len(tab.rows)), min(right, len(tab.columns))
        shown: Json = {}
        if wants(mask, "startRow") and top:
            shown["startRow"] = top
        if wants(mask, "startColumn") and left:
            shown["startColumn"] = left
        if wants(mask, "rowData"):
            cell_mask = inner(inner(mask, "rowData"), "values")
            rows: list[Json] = []
            columns = tab.columns[left:right]
            results = self.shown(tab) if wants(cell_mask, "effectiveValue") else {}
            spilled = {at for at, _ in results}
            for place, row in enumerate(tab.rows[top:bottom], top):
                values = (
                    [
                        self._cell_json(row.cells.get(column), cell_mask, results.get((place, at)))
                        for at, column in enumerate(columns, left)
                    ]
                    if row.cells or place in spilled
                    else []
                )
                while values and not values[-1]:
                    values.pop()
                rows.append({"values": values} if values else {})
            while rows and not rows[-1]:
                rows.pop()
            if rows:
                shown["rowData"] = rows
        for field_name, kind, lines, start in (
            ("rowMetadata", "ROW", tab.rows[top:bottom], top),
            ("columnMetadata", "COLUMN", tab.columns[left:right], left),
        ):
            if not wants(mask, field_name):
                continue
            line_mask = inner(mask, field_name)
            found = [self._line_json(tab, line, kind, start + place, line_mask) for place, line in enumerate(lines)]
            while self.trims_lines and found and not found[-1]:
                found.pop()
            shown[field_name] = found
        return shown

    def _line_json(self, tab: Tab, line: Line, kind: str, place: int, mask: Any) -> Json:
        shown: Json = {}
        if wants(mask, "pixelSize"):
            shown["pixelSize"] = line.pixels
        if line.hidden and wants(mask, "hiddenByUser"):
            shown["hiddenByUser"] = True
        if line.tags and wants(mask, "developerMetadata"):
            inside = inner(mask, "developerMetadata")
            shown["developerMetadata"] = [self._tag_json(tag, _location(tab, kind, place), inside) for tag in line.tags]
        return shown

    def _cell_json(self, cell: Json | None, mask: Any, result: Any = None) -> Json:
        if not cell and result is None:
            return {}
        cell = cell or {}
        shown: Json = {}
        value = cell.get("userEnteredValue")
        if value and wants(mask, "userEnteredValue"):
            shown["userEnteredValue"] = pruned(_number(value), inner(mask, "userEnteredValue"))
        effect = value if result is None else effective(result)
        if effect and wants(mask, "effectiveValue"):
            shown["effectiveValue"] = pruned(_number(effect), inner(mask, "effectiveValue"))
        link = cell.get("userEnteredFormat", {}).get("textFormat", {}).get("link", {}).get("uri")
        if link and wants(mask, "hyperlink"):
            shown["hyperlink"] = link
        for name in ("userEnteredFormat", "note", "dataValidation", "textFormatRuns"):
            if name in cell and wants(mask, name):
                shown[name] = pruned(cell[name], inner(mask, name))
        return {name: content for name, content in shown.items() if content != {}}

    def blocks_of_filters(self, filters: Sequence[Json]) -> dict[int, list[tuple[int, int, int, int]]]:
        """What data filters select, by sheetId."""
        blocks: dict[int, list[tuple[int, int, int, int]]] = {}
        for filter in filters:
            if "gridRange" in filter:
                area = filter["gridRange"]
                tab = self._tab(area.get("sheetId", 0))
                blocks.setdefault(tab.id, []).append(
                    (
                        area.get("startRowIndex", 0),
                        min(area.get("endRowIndex", len(tab.rows)), len(tab.rows)),
                        area.get("startColumnIndex", 0),
                        min(area.get("endColumnIndex", len(tab.columns)), len(tab.columns)),
                    )
                )
            elif "developerMetadataLookup" in filter:
                for _, _, location in self.matches(filter["developerMetadataLookup"]):
                    span = location.get("dimensionRange")
                    tab = self._tab(span["sheetId"] if span else location["sheetId"])
                    rows, columns = (0, len(tab.rows)), (0, len(tab.columns))
                    if span and span["dimension"] == "ROWS":
                        rows = (span["startIndex"], span["endIndex"])
                    elif span:
                        columns = (span["startIndex"], span["endIndex"])
                    blocks.setdefault(tab.id, []).append((*rows, *columns))
            else:
                self._add_a1(filter["a1Range"], blocks)
        return blocks

    def blocks_of_ranges(self, ranges: Sequence[str]) -> dict[int, list[tuple[int, int, int, int]]]:
        """What A1 ranges select, by sheetId."""
        blocks: dict[int, list[tuple[int, int, int, int]]] = {}
        for text in ranges:
            self._add_a1(text, blocks)
        return blocks

    def _add_a1(self, text: str, blocks: dict[int, list[tuple[int, int, int, int]]]) -> None:
        match = re.fullmatch(r"(?:'((?:[^']|'')+)'|([A-Za-z0-9_]+))(?:!([A-Z]*)([0-9]*)(?::([A-Z]*)([0-9]*))?)?", text)
        title = (match[1] or match[2]).replace("''", "'") if match else None
        tab = next((tab for tab in self.tabs if tab.title == title), None)
        if match is None or tab is None:
            raise BadRequest(f"Unable to parse range: {text}")
        first_column, first_row, last_column, last_row = match[3], match[4], match[5], match[6]
        if last_column is None:
            last_column, last_row = first_column, first_row
        block = (
            int(first_row) - 1 if first_row else 0,
            int(last_row) if last_row else len(tab.rows),
            _index(first_column) if first_column else 0,
            _index(last_column) + 1 if last_column else len(tab.columns),
        )
        if block[0] >= len(tab.rows) or block[2] >= len(tab.columns):
            raise BadRequest(f"Range ({text}) exceeds grid limits.")
        blocks.setdefault(tab.id, []).append(block)


PROTECTED = (
    "You are trying to edit a protected cell or object. Please contact the spreadsheet owner to remove protection "
    "if you need to edit."
)


def _only(item: Json, *names: str) -> None:
    """Nothing is sent that this server would ignore."""
    if unknown := item.keys() - set(names):
        raise NotImplementedError(f"the test server knows no {sorted(unknown)}")


def _index(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number - 1


def _number(value: Json) -> Json:
    number = value.get("numberValue")
    return {"numberValue": int(number)} if isinstance(number, float) and number.is_integer() else value


def _location(tab: Tab, kind: str, place: int) -> Json:
    return {
        "locationType": kind,
        "dimensionRange": {
            "sheetId": tab.id,
            "dimension": f"{kind}S",
            "startIndex": place,
            "endIndex": place + 1,
        },
    }


def _intersects(wanted: Json, location: Json) -> bool:
    if wanted.get("spreadsheet") or location["locationType"] == "SPREADSHEET":
        return bool(wanted.get("spreadsheet")) and location["locationType"] == "SPREADSHEET"
    there = location.get("dimensionRange")
    here = wanted.get("dimensionRange")
    if (there or location)["sheetId"] != (here or wanted).get("sheetId", 0):
        return False
    if here is None or there is None or here["dimension"] != there["dimension"]:
        return True
    return bool(here.get("startIndex", 0) <= there["startIndex"] < here.get("endIndex", 1 << 40))


def _fields(text: str) -> list[list[str]]:
    paths: list[list[str]] = []

    def walk(mask: Any, path: list[str]) -> None:
        if mask is None:
            paths.append(path)
            return
        for name, inside in mask.items():
            walk(inside, [*path, name])

    walk(parse_mask(text), [])
    if ["*"] in paths:
        raise NotImplementedError("fields *")
    return paths


# ---------------------------------------------------------------- field masks


def parse_mask(text: str) -> dict[str, Any]:
    """``a(b,c.d),e/f`` as nested dicts; None stands for everything below."""
    mask, rest = _parse_mask(re.findall(r"[A-Za-z0-9_*]+|[(),./]", text))
    if rest:
        raise BadRequest(f"Invalid field mask: {text}")
    return mask


def _parse_mask(tokens: list[str]) -> tuple[dict[str, Any], list[str]]:
    mask: dict[str, Any] = {}
    while tokens:
        path = [tokens.pop(0)]
        inside: Any = None
        while tokens and tokens[0] in "./":
            tokens.pop(0)
            path.append(tokens.pop(0))
        if tokens and tokens[0] == "(":
            tokens.pop(0)
            inside, tokens = _parse_mask(tokens)
            if not tokens or tokens.pop(0) != ")":
                raise BadRequest("Invalid field mask: unbalanced")
        target = mask
        for name in path[:-1]:
            deeper = target.setdefault(name, {})
            if deeper is None:
                break
            target = deeper
        else:
            before = target.get(path[-1], {})
            target[path[-1]] = None if inside is None or before is None else {**before, **inside}
        if tokens and tokens[0] == ",":
            tokens.pop(0)
            continue
        break
    return mask, tokens


def wants(mask: Any, name: str) -> bool:
    return mask is None or name in mask


def inner(mask: Any, name: str) -> Any:
    return None if mask is None else mask.get(name)


def pruned(value: Any, mask: Any) -> Any:
    """*value* with only the fields of *mask*."""
    if mask is None or not isinstance(value, dict):
        return value
    return {name: pruned(content, mask[name]) for name, content in value.items() if name in mask}
