"""The tab that says how this spreadsheet's routes are, and has a tick box for each problem.

Two calls a minute at most: one reads the boxes, one writes. Nothing but the boxes is ever read, and a box counts by the
tag of its row, so that people may sort. What was written is known by a digest in the tab's own tag: the tab is renewed
only when something has changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from connector.core.console import MOST_PROBLEMS, Console
from connector.core.errors import NeedsAction, TryLater
from connector.core.look import ACCENT, HEADER, INK, MUTED, STOPPED, WAITS, Mark
from connector.core.sink import Host
from connector.sinks.google_sheets.answers import Json, Rejected, SpreadsheetProperties, Unclear
from connector.sinks.google_sheets.formats import area_of, update_cells
from connector.sinks.google_sheets.guards import create, delete, line_of, sweep
from connector.sinks.google_sheets.layout import console_tag_id
from connector.sinks.google_sheets.reading import new_id
from connector.sinks.google_sheets.region import colour, region_of
from connector.sinks.google_sheets.snapshot import typed_value

if TYPE_CHECKING:
    from connector.sinks.google_sheets.client import Client

_TAB_KEY = "connector.console"
"""The tag of the tab; its value is the digest of what was written."""
_CAUSE_KEY = "connector.cause"
"""The tag of a problem's row; its value is the cause's id."""
_PIXELS = (64, 272, 96, 156, 124, 470, 320, 280)
_COUNTS, _TO_DO = 2, 5
"""The columns of counts, and of what to do."""
_FROZEN_ROWS = 2
_ROWS = 100
_COLOUR = "878792"
_FIELDS = (
    "properties(sheetId,title,gridProperties(rowCount,columnCount)),"
    "developerMetadata(metadataId,metadataKey,metadataValue),"
    "data(startRow,rowMetadata.developerMetadata(metadataId,metadataKey,metadataValue),"
    "rowData.values.userEnteredValue.boolValue)"
)
_READS = "It reads only the Retry boxes here, within two minutes."
_BOX = {"condition": {"type": "BOOLEAN"}, "strict": True, "showCustomUi": True}
_CELL = "userEnteredValue,userEnteredFormat,dataValidation"


class Line(Struct, frozen=True):
    """One row of the tab.

    Args:
        cells: from the first column on.
        kind: how it looks.
        cause: of a problem's row, its id: the row has a box.
    """

    cells: tuple[str | int | None, ...] = ()
    kind: str = "row"
    cause: str = ""


class _There(Struct, frozen=True):
    """The tab as it was read: by row the cause that its tag names, and the rows whose boxes are ticked."""

    sheet_id: int
    rows: int
    columns: int
    digest: str
    causes: dict[int, str]
    ticked: frozenset[int]


class ConsoleTab:
    """The tab *title* of one spreadsheet."""

    def __init__(self, client: Client, host: Host, spreadsheet: str, title: str) -> None:
        self._client, self._host, self._title = client, host, title
        self._note = f"{spreadsheet}/console"
        self._there: _There | None = None
        self._file = SpreadsheetProperties()

    def read(self) -> set[str]:
        """The causes whose boxes are ticked."""
        known = self._host.recall(self._note)
        self._there = None
        if known is None:
            self._look_for_it()
            return set()
        area = area_of(int(known), 0, 1, 0)
        try:
            answer = self._client.read([{"gridRange": area}], _FIELDS)
        except Rejected:  # somebody deleted the tab: it is looked for in a minute, and made
            self._host.remember(self._note, None)
            raise TryLater(f'the tab "{self._title}" is gone') from None
        self._file = answer.properties
        (sheet,) = answer.sheets
        causes, ticked = {}, set()
        for data in sheet.data:
            for row, line in enumerate(data.row_metadata, data.start_row):
                for tag in line.developer_metadata if line is not None else ():
                    if tag.metadata_key == _CAUSE_KEY:
                        causes[row] = tag.metadata_value
            for row, cells in data.rows():
                box = cells[0].user_entered_value if cells else None
                if row in causes and box is not None and box.bool_value is True:
                    ticked.add(row)
        digest = next((tag.metadata_value for tag in sheet.developer_metadata if tag.metadata_key == _TAB_KEY), "")
        grid = sheet.properties.grid_properties
        is_whole = grid.column_count >= len(_PIXELS)  # else somebody deleted a column: all cells are written again
        rest = (digest, causes) if is_whole else ("", {})
        self._there = _There(sheet.properties.sheet_id, grid.row_count, grid.column_count, *rest, frozenset(ticked))
        return {causes[row] for row in ticked}

    def close(self) -> None:
        self._client.close()

    def _look_for_it(self) -> None:
        """Find the tab that an earlier store knew of. Raises TryLater when there is one: it is read next."""
        lookup = {"developerMetadataLookup": {"metadataKey": _TAB_KEY}}
        answer = self._client.read([lookup], "properties(sheetId,title)")
        self._file = answer.properties
        if answer.sheets:
            self._host.remember(self._note, str(answer.sheets[0].properties.sheet_id))
            raise TryLater(f'the tab "{self._title}" is there already')

    def show(self, console: Console) -> None:
        """Write what has changed; clear the boxes that were read as ticked."""
        lines = [*_problems(console, self._moment, self._last_problem(console)), *_tables(console, self._moment)]
        digest = hashlib.sha256(msgspec.json.encode(lines)).hexdigest()[:16]
        there = self._there
        if there is not None and there.digest == digest and not there.ticked:
            return
        lines.insert(1, Line((f"Written by the connector on {self._now()}. {_READS}",), "quiet"))
        sheet = new_id() if there is None else there.sheet_id
        rows = max(_ROWS, len(lines) + 1)
        requests = _made(sheet, self._title, rows) if there is None else []
        if there is not None:
            missing = {"ROWS": rows - there.rows, "COLUMNS": len(_PIXELS) - there.columns}
            requests += [
                {"appendDimension": {"sheetId": sheet, "dimension": dimension, "length": length}}
                for dimension, length in missing.items()
                if length > 0
            ]
        requests += _written(sheet, lines, there)
        if there is not None:
            requests += [sweep(sheet, _CAUSE_KEY), delete({"metadataId": console_tag_id(sheet)})]
        requests += [
            create(new_id(), _CAUSE_KEY, line_of(sheet, "ROWS", row), line.cause)
            for row, line in enumerate(lines)
            if line.cause
        ]
        requests.append(create(console_tag_id(sheet), _TAB_KEY, {"sheetId": sheet}, digest))
        if there is None:
            self._host.remember(self._note, str(sheet))  # first: a tab that is there and not known would be people's
        try:
            self._client.batch(requests)
        except Unclear as error:
            raise TryLater(str(error)) from error
        except Rejected as error:
            words = f'Google refuses the tab "{self._title}" ({error})'
            if there is not None:
                raise TryLater(words) from error
            raise NeedsAction(f"{words}: if people have a tab of that name, rename it, or change status_tab") from error

    def _last_problem(self, console: Console) -> str:
        """The day on which there was one last, ``24 Nov``; "" for none that is known."""
        zone = region_of(self._file.locale, self._file.time_zone).zone
        today = self._host.now().astimezone(zone)
        known, day = self._host.recall(f"{self._note}/last problem") or "", f"{today.day} {today:%b}"
        if any(problem.affiliates for problem in console.problems) and known != day:
            self._host.remember(f"{self._note}/last problem", day)
        return known

    def _now(self) -> str:
        zone = region_of(self._file.locale, self._file.time_zone).zone
        now = self._host.now().astimezone(zone)
        return f"{now.day} {now:%b %Y, %H:%M} ({str(zone).rpartition('/')[2].replace('_', ' ')})"

    def _moment(self, moment: datetime | None) -> str:
        """``27 Nov, 16:02`` on the spreadsheet's clock."""
        if moment is None:
            return ""
        local = moment.astimezone(region_of(self._file.locale, self._file.time_zone).zone)
        return f"{local.day} {local:%b, %H:%M}"


# ---------------------------------------------------------------- what is written


_Moment = Callable[[datetime | None], str]


def _problems(console: Console, moment: _Moment, last: str) -> Iterator[Line]:
    yield Line((console.sentence,), "title")
    yield Line()
    names = ("Retry", "Problem", "Affiliates", "Where", "Since", "What to do", "Affiliate IDs", "Outcome")
    yield Line(names, "header")
    for problem in console.problems[:MOST_PROBLEMS]:
        others = problem.affiliates - len(problem.ids)
        ids = ", ".join((*problem.ids, f"{others:,} more") if problem.ids and others > 0 else problem.ids)
        when = moment(problem.outcome_at)
        outcome = f"{when}: {problem.outcome}" if when and problem.outcome else problem.outcome
        cells = (None, problem.text, problem.affiliates, problem.where, moment(problem.since), problem.what_to_do)
        yield Line((*cells, ids, outcome), cause=problem.id)
    if (left := len(console.problems) - MOST_PROBLEMS) > 0:
        yield Line((None, f"{left:,} more problems: connector dead-letters list"))
    if not console.problems:
        yield Line((None, f"No problems. The last one was on {last}." if last else "No problems."))


def _tables(console: Console, moment: _Moment) -> Iterator[Line]:
    yield Line()
    yield Line((None, "Table", "Affiliates", "State", "Last write", "What to do"), "header")
    for table in console.tables:
        yield Line((None, table.name, table.affiliates, table.state, moment(table.last_write), table.what_to_do))
    if console.remarks:
        yield Line()
        yield Line((None, "Good to know", "Cells", "Where", None, "What to do"), "header")
    for remark in console.remarks:
        yield Line((None, remark.text, remark.cells, remark.where, None, remark.what_to_do))


def _made(sheet: int, title: str, rows: int) -> list[Json]:
    """The empty tab, the last one, which warns people who type beside the boxes."""
    grid = {"rowCount": rows, "columnCount": len(_PIXELS), "frozenRowCount": _FROZEN_ROWS}
    properties = {"sheetId": sheet, "title": title, "gridProperties": grid, "tabColorStyle": colour(_COLOUR)}
    free = {"sheetId": sheet, "startColumnIndex": 0, "endColumnIndex": 1}
    words = "The connector writes this tab. It reads the Retry boxes only."
    protection = {"range": {"sheetId": sheet}, "description": words, "warningOnly": True, "unprotectedRanges": [free]}
    widths = []
    for place, pixels in enumerate(_PIXELS):
        span = {"sheetId": sheet, "dimension": "COLUMNS", "startIndex": place, "endIndex": place + 1}
        size = {"range": span, "properties": {"pixelSize": pixels}, "fields": "pixelSize"}
        widths.append({"updateDimensionProperties": size})
    return [
        {"addSheet": {"properties": properties}},
        {"addProtectedRange": {"protectedRange": protection}},
        *widths,
    ]


def _written(sheet: int, lines: Sequence[Line], there: _There | None) -> list[Json]:
    """All cells but the boxes of rows that stay: one that is ticked in this second is still ticked then."""
    width, bottom = len(_PIXELS), max(len(lines), 0 if there is None else there.rows)
    rows = [{"values": [_cell(line, place) for place in range(1, width)]} for line in lines]
    area = area_of(sheet, 1, width, 0, bottom)
    requests: list[Json] = [{"updateCells": {"range": area, "rows": rows, "fields": _CELL}}]
    for row in range(bottom):
        line = lines[row] if row < len(lines) else Line()
        stays = there is not None and bool(line.cause) and there.causes.get(row) == line.cause
        if not stays or (there is not None and row in there.ticked):
            requests.append(update_cells(sheet, row, 0, [{"values": [_cell(line, 0)]}], _CELL))
    return requests


def _cell(line: Line, place: int) -> Json:
    value = line.cells[place] if place < len(line.cells) else None
    cell = typed_value(float(value) if isinstance(value, int) else value or None)
    text: Json = {"fontSize": 10, "foregroundColorStyle": colour(INK)}
    look: Json = {"verticalAlignment": "MIDDLE", "wrapStrategy": "WRAP" if place == _TO_DO else "CLIP"}
    look["horizontalAlignment"] = "RIGHT" if place == _COUNTS else "LEFT"
    if place == _COUNTS:
        look["numberFormat"] = {"type": "NUMBER", "pattern": "#,##0"}
    if line.cause and place == 0:
        return {"userEnteredValue": {"boolValue": False}, "dataValidation": _BOX, "userEnteredFormat": look}
    if line.kind == "title":
        text |= {"fontSize": 14, "bold": True}
        look["wrapStrategy"] = "OVERFLOW_CELL"
    elif line.kind == "quiet":
        text, look["wrapStrategy"] = {"fontSize": 9, "foregroundColorStyle": colour(MUTED)}, "OVERFLOW_CELL"
    elif line.kind == "header":
        text["bold"], look["backgroundColorStyle"] = True, colour(HEADER)
        look["borders"] = {"bottom": {"style": "SOLID_MEDIUM", "colorStyle": colour(ACCENT)}}
    elif (mark := _MARKS.get(value)) is not None:
        text["bold"], text["foregroundColorStyle"] = True, colour(mark.ink)
        look["backgroundColorStyle"] = colour(mark.paper)
    return cell | {"userEnteredFormat": look | {"textFormat": text}}


_MARKS: Mapping[str | int | None, Mark] = {"Waits for you": WAITS, "Stopped": STOPPED}
