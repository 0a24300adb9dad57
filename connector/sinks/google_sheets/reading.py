"""Finding and reading the tab: what a flush, a check and a preview have in common."""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from connector.core.errors import NeedsAction
from connector.core.keys import tidy
from connector.core.row import Row
from connector.core.sink import Host, Target
from connector.sinks.google_sheets import batches, guards
from connector.sinks.google_sheets import snapshot as table
from connector.sinks.google_sheets.answers import Full, Json, Rejected, SpreadsheetProperties
from connector.sinks.google_sheets.around import Growth
from connector.sinks.google_sheets.key_shape import KeyShape
from connector.sinks.google_sheets.layout import Layout, find_layout
from connector.sinks.google_sheets.limits import Limits
from connector.sinks.google_sheets.new_rows import place_new_rows
from connector.sinks.google_sheets.options import GoogleSheetsOptions, GoogleSheetsTargetOptions
from connector.sinks.google_sheets.plan import Plan, make_plan
from connector.sinks.google_sheets.snapshot import Snapshot

if TYPE_CHECKING:
    from connector.sinks.google_sheets.client import Client


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where the last flush left the tab, so that the next can lock rows without looking first.

    Nothing is written on the strength of it: the lock's answer shows what the locks sit on.

    Args:
        frame: sizes, tags and header row.
        rows: by key, where its rows were.
        last_row: our last one, whose formats new rows inherit.
    """

    frame: Snapshot
    rows: Mapping[str, tuple[int, ...]]
    last_row: int

    @classmethod
    def of(cls, snapshot: Snapshot, layout: Layout, key_column: int, shape: KeyShape) -> Whereabouts:
        rows: dict[str, tuple[int, ...]] = {}
        last = layout.header
        for row, key in snapshot.keys(key_column, layout.header):
            rows[key] = (*rows.get(key, ()), row)
            last = max(last, row) if shape.fits(key) else last
        header = {layout.header: dict(snapshot.line(layout.header))}
        return cls(replace(snapshot, cells=header, tagged={}, formatted=None, blocks=()), rows, last)

    def places(self, keys: Collection[str]) -> list[int]:
        """The rows that bore one of *keys*."""
        return sorted(row for key in set(map(tidy, keys)) for row in self.rows.get(key, ()))


class Route:
    """What one route's thread keeps between flushes: its connection, and how the tab was.

    Attributes:
        known: the columns that the tab has had.
        reported: notices about columns that are still true and have been given.
        reported_ranges: notices about ranges that do not grow and have been given.
        suspects: keys of rows that Google refused when they were sent one at a time.
        grows: what Google takes of the requests that make people's ranges grow.
        file_cells: cells of all other tabs, as last listed.
    """

    def __init__(self, client: Client, host: Host, limits: Limits, options: GoogleSheetsOptions) -> None:
        self.client = client
        self.host = host
        self.limits = limits
        self.spreadsheet = options.spreadsheet
        self.unguarded_writes = options.unguarded_writes
        self.sheet_id: int | None = None
        self.known: set[str] = set()
        self.is_big = False
        self.last: Whereabouts | None = None
        self.guards_bind = False
        self.reported: set[str] = set()
        self.reported_ranges: set[str] = set()
        self.suspects: set[str] = set()
        self.grows = Growth.ALL
        self.file_cells = 0


def new_id() -> int:
    return secrets.randbelow(0x7FFF_FFFE) + 1


def new_nonce() -> str:
    return secrets.token_hex(4)


def guards_note(route: Route) -> str:
    """The host's note that guards bind in this spreadsheet."""
    return f"{route.spreadsheet}/guards"


def guards_trouble(client: Client) -> str | None:
    """Put the guards to the test: None when they bind, else what is wrong. 1 call, or 2. Nothing stays behind.

    Raises:
        Unclear: an answer was lost; try again.
        Full: the file has no cells left for a scratch tab; see ``guards_hold_in``.
    """

    def refusal(*, stale: bool) -> str | None:
        sheet_id, title = new_id(), f"connector trial {new_nonce()}"
        try:
            client.batch(guards.guard_trial(sheet_id, title, new_id(), stale=stale))
        except Full:
            raise
        except Rejected as error:
            return str(error)
        return None

    stale = refusal(stale=True)
    if stale is not None and "createDeveloperMetadata" in stale:
        return None
    fresh = refusal(stale=False)
    if stale is not None and fresh is None:
        return None
    if stale is not None:
        return (
            f"Google refuses to write into this spreadsheet: {fresh}. If it is an Excel file, open it and choose "
            "File > Save as Google Sheets, and put that file's address into `spreadsheet`"
        )
    if fresh is not None:
        trouble = (
            "Tags stay behind when rows are sorted, so a write could hit the wrong row if somebody sorts the tab in "
            "that second; whatever else people do is noticed"
        )
    else:
        trouble = (
            "Google lets two tags have one id, so a write could hit the wrong row if somebody sorts, inserts, moves or "
            "deletes in that second"
        )
    return (
        f"In this spreadsheet the connector's guard against people's edits does not hold. {trouble}. So nothing is "
        "written; to accept it, for instance because nobody edits that tab, set unguarded_writes = true for the sink."
    )


def guards_hold_in(client: Client, sheet_id: int) -> bool:
    """Put the guards to the test in a full file, by a batch that is refused in any case. 1 call.

    Raises:
        Unclear: an answer was lost; try again.
    """
    try:
        client.batch(guards.refused_trial(sheet_id, new_id(), new_id()))
    except Rejected as error:
        return "createDeveloperMetadata" in str(error)
    return False


def file_is_full(title: str) -> str:
    return (
        "The spreadsheet is full: Google allows 10,000,000 cells a file, and new rows need some. Delete rows, columns "
        f'or tabs that are empty, or move the tab "{title}" into a file of its own. Rows that are there are written '
        "meanwhile."
    )


class HeaderIsGone(NeedsAction):
    """A tab that was set up has no header row any more."""


class Reading:
    """Finding and reading the tab: what a flush, a check and a preview have in common.

    Attributes:
        unmakable: missing columns that a protected range keeps from being added.
        file: the file's properties, as last listed.
        only_tab: the sheetId of the one tab that the file had when tabs were last listed; None when it had others.
    """

    def __init__(self, route: Route, target: Target) -> None:
        self.target = target
        self.options: GoogleSheetsTargetOptions = target.options
        self.host = route.host
        self.limits = route.limits
        self.route = route
        self.client = route.client
        self.unmakable: set[str] = set()
        self.file = SpreadsheetProperties()
        self.only_tab: int | None = None
        self._note = f"{route.spreadsheet}/{self.options.tab}"
        note = self.host.recall(self._note) if route.sheet_id is None else None
        if note is not None:
            kept = json.loads(note)
            route.sheet_id = kept["sheet_id"]
            route.known = set(kept["columns"])

    def remember(self, sheet_id: int, known: set[str]) -> None:
        if (sheet_id, known) == (self.route.sheet_id, self.route.known):
            return
        self.route.sheet_id, self.route.known = sheet_id, known
        self.host.remember(self._note, json.dumps({"sheet_id": sheet_id, "columns": sorted(known)}))

    def find_tab(self) -> tuple[int | None, str]:
        """(sheetId, title) by the remembered sheetId, else by title; notes sizes. 1 call."""
        file = self.client.tabs()
        self.file, tabs = file.properties, [sheet.properties for sheet in file.sheets]
        self.only_tab = tabs[0].sheet_id if len(tabs) == 1 else None
        title = tidy(self.options.tab).casefold()
        chosen = next((tab for tab in tabs if tab.sheet_id == self.route.sheet_id), None) or next(
            (tab for tab in tabs if tidy(tab.title).casefold() == title), None
        )
        self.route.file_cells = sum(tab.grid_properties.cells for tab in tabs if tab is not chosen)
        if chosen is None:
            return None, self.options.tab
        self.route.is_big = chosen.grid_properties.cells > self.limits.whole_tab_cells
        return chosen.sheet_id, chosen.title

    def tab_is_gone(self, title: str) -> str:
        return (
            f'The tab "{title}" was deleted. Bring it back (File > Version history), or add an empty tab named '
            f'"{title}" and run `connector resync {self.target.route}`.'
        )

    # ------------------------------------------------------------ reading

    def read(self, sheet_id: int) -> Snapshot:
        """The tab as it is; of a big one, header row and tagged columns. 1 call.

        Raises:
            Rejected: the tab is gone.
        """
        if not self.route.is_big:
            return self.read_all(sheet_id)
        return self._parts(sheet_id, {self._header_row}, {"metadataKey": table.COLUMN_KEY})

    def read_keys(self, sheet_id: int, last: Whereabouts | None) -> Snapshot:
        """Header row, keys, the row that new ones are to look like and the one below: enough to see which to lock.

        1 call; 2 where people have prepared rows for new records.

        Raises:
            Rejected: the tab is gone.
        """
        key = {"metadataKey": table.COLUMN_KEY, "metadataValue": self.target.key}
        if last is None:
            return self._parts(sheet_id, {self._header_row}, key)
        below = last.last_row + 1
        rows = {*last.frame.headers, last.last_row, min(below, last.frame.row_count - 1)}
        snapshot = self._parts(sheet_id, rows, key)
        is_prepared = bool(snapshot.line(below)) and snapshot.is_blank(below, self.layout(snapshot).columns.values())
        return self.read_all(sheet_id) if is_prepared and not self.route.is_big and not snapshot.is_whole else snapshot

    @property
    def _header_row(self) -> int:
        return (self.options.header_row or 1) - 1

    def _parts(self, sheet_id: int, rows: Collection[int], columns: Json) -> Snapshot:
        """*rows*, the header row wherever it is, and the columns whose tags match."""
        area: Json = {"sheetId": sheet_id}
        filters: list[Json] = [
            *({"gridRange": area | {"startRowIndex": row, "endRowIndex": row + 1}} for row in sorted(rows)),
            {"developerMetadataLookup": columns | {"metadataLocation": area}},
            {"developerMetadataLookup": {"metadataKey": table.HEADER_KEY, "metadataLocation": area}},
        ]
        formats = not self.route.is_big
        try:
            snapshot = self._one(filters)
            layout = self.layout(snapshot)
        except Rejected:
            return self.read_all(sheet_id)
        lacks = batches.needs_tags(snapshot, layout) or layout.missing or layout.waiting or layout.header_is_gone
        # Something of ours is missing, or only the whole tab shows which rows are blank: look at everything once.
        return self.read_all(sheet_id) if lacks or (formats and snapshot.protections) else snapshot

    def read_all(self, sheet_id: int) -> Snapshot:
        """The tab as it is, however big. 1 call.

        Raises:
            Rejected: the tab is gone.
        """
        filters = [{"gridRange": {"sheetId": sheet_id}}]
        return self._one(filters, whole=True)

    def _one(self, filters: list[Json], *, whole: bool = False) -> Snapshot:
        formats = not self.route.is_big
        answer = self.client.read(filters, table.SHEET_FIELDS + (table.WHOLE_CELLS if formats else table.TYPED_CELLS))
        if len(answer.sheets) != 1:
            raise Rejected("the tab is gone")
        (snapshot,) = table.parse_sheets(answer, formats=formats, whole=whole)
        self.route.is_big = snapshot.size > self.limits.whole_tab_cells
        return snapshot

    # ------------------------------------------------------------ what it means

    def layout(self, snapshot: Snapshot) -> Layout:
        """Where header row and columns are.

        Raises:
            HeaderIsGone: the header row is gone from the tab, and all of it was read.
        """
        layout = find_layout(
            snapshot,
            self.target.columns,
            self.target.key,
            header_row=self.options.header_row,
            known=self.unmakable | (self.route.known if snapshot.sheet_id == self.route.sheet_id else set()),
        )
        if layout.header_is_gone and snapshot.is_whole:
            raise HeaderIsGone(self.header_is_gone(snapshot, layout.header))
        return layout

    def header_is_gone(self, snapshot: Snapshot, row: int) -> str:
        headers = ", ".join(f'"{column.name}"' for column in self.target.columns)
        return (
            f'The header row of "{snapshot.title}" is gone, and row {row + 1} is no header. Insert a row above the '
            f"first affiliate and type the headers there ({headers}), or bring the tab back (File > Version history)."
        )

    def room(self, snapshot: Snapshot) -> int:
        """Cells that the file still has room for, as far as is known."""
        return self.limits.file_cells - self.route.file_cells - snapshot.size

    def plan(
        self, snapshot: Snapshot, layout: Layout, rows: Sequence[Row], *, is_full: bool = False, is_new: bool = False
    ) -> Plan:
        """What *snapshot* lacks.

        Args:
            is_full: Google has said that the file has no cells left.
            is_new: the tab was made just now, so that nobody can have prepared anything for its first rows.
        """
        plan = make_plan(snapshot, layout, self.target, rows, self.limits)
        room = 0 if is_full else self.room(snapshot)
        place_new_rows(plan, snapshot, self.target.key, first_rows=0 if is_new else self.limits.first_rows, room=room)
        return plan
