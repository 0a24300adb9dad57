"""Finding and reading the tab: what a flush, a check and a preview have in common."""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from connector.core.keys import tidy
from connector.core.row import Row
from connector.core.sink import Host, Target
from connector.sinks.google_sheets import batches, guards
from connector.sinks.google_sheets import snapshot as table
from connector.sinks.google_sheets.client import Client, Rejected
from connector.sinks.google_sheets.layout import Layout, find_layout
from connector.sinks.google_sheets.options import GoogleSheetsOptions, GoogleSheetsTargetOptions
from connector.sinks.google_sheets.plan import Limits, Plan, make_plan
from connector.sinks.google_sheets.snapshot import Json, Snapshot


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where the last flush left the tab, so that the next can lock rows without looking first.

    Nothing is written on the strength of it: the lock's answer shows what the locks sit on.

    Args:
        frame: sizes, tags and header row.
        rows: by key, where its rows were.
        last_row: the last one with a key, whose formats new rows inherit.
    """

    frame: Snapshot
    rows: Mapping[str, tuple[int, ...]]
    last_row: int

    @classmethod
    def of(cls, snapshot: Snapshot, layout: Layout, key_column: int) -> Whereabouts:
        rows: dict[str, tuple[int, ...]] = {}
        last = layout.header
        for row, key in snapshot.keys(key_column, layout.header):
            rows[key] = (*rows.get(key, ()), row)
            last = max(last, row)
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
    """

    def refusal(*, stale: bool) -> str | None:
        sheet_id, title = new_id(), f"connector trial {new_nonce()}"
        try:
            client.batch(guards.guard_trial(sheet_id, title, new_id(), stale=stale))
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
        trouble = f"Google refuses both what it must refuse and what it must not ({fresh}), so nothing can be told"
    elif fresh is not None:
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


class Reading:
    """Finding and reading the tab: what a flush, a check and a preview have in common.

    Attributes:
        unmakable: missing columns that a protected range keeps from being added.
    """

    def __init__(self, route: Route, target: Target) -> None:
        self.target = target
        self.options: GoogleSheetsTargetOptions = target.options
        self.host = route.host
        self.limits = route.limits
        self.route = route
        self.client = route.client
        self.unmakable: set[str] = set()
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
        tabs = self.client.tabs()
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
            return self._whole(sheet_id)
        return self._parts(sheet_id, {self._header_row}, {"metadataKey": table.COLUMN_KEY})

    def read_keys(self, sheet_id: int, last: Whereabouts | None) -> Snapshot:
        """Header row, keys, and the row that new ones are to look like: enough to see which rows to lock. 1 call.

        Raises:
            Rejected: the tab is gone.
        """
        rows = {self._header_row} if last is None else {*last.frame.headers, last.last_row}
        return self._parts(sheet_id, rows, {"metadataKey": table.COLUMN_KEY, "metadataValue": self.target.key})

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
            snapshot = self._one(filters, formats=formats)
            layout = self.layout(snapshot)
        except Rejected:
            return self._whole(sheet_id)
        lacks = batches.needs_tags(snapshot, layout) or layout.missing or layout.waiting
        # Something of ours is missing, or only the whole tab shows which rows are blank: look at everything once.
        return self._whole(sheet_id) if lacks or (formats and snapshot.protections) else snapshot

    def _whole(self, sheet_id: int, *, results: bool = False) -> Snapshot:
        filters = [{"gridRange": {"sheetId": sheet_id}}]
        return self._one(filters, formats=results or not self.route.is_big, results=results, whole=True)

    def _one(self, filters: list[Json], *, formats: bool, results: bool = False, whole: bool = False) -> Snapshot:
        cells = table.TYPED_CELLS_AND_FORMATS if formats else table.TYPED_CELLS
        answer = self.client.read(filters, table.SHEET_FIELDS + (table.TYPED_CELLS_AND_RESULTS if results else cells))
        if len(answer.sheets) != 1:
            raise Rejected("the tab is gone")
        (snapshot,) = table.parse_sheets(answer, formats=formats, whole=whole)
        self.route.is_big = snapshot.size > self.limits.whole_tab_cells
        return snapshot

    def with_formula_keys(self, snapshot: Snapshot, layout: Layout) -> Snapshot:
        """Where people's formulas make the keys, their results are read too (1 more call)."""
        place = layout.columns.get(self.target.key)
        if place is None or not any(
            isinstance(value, table.Formula) and value.shown is None for _, value in snapshot.column(place)
        ):
            return snapshot
        return self._whole(snapshot.sheet_id, results=True)

    # ------------------------------------------------------------ what it means

    def layout(self, snapshot: Snapshot) -> Layout:
        return find_layout(
            snapshot,
            self.target.columns,
            self.target.key,
            header_row=self.options.header_row,
            known=self.unmakable | (self.route.known if snapshot.sheet_id == self.route.sheet_id else set()),
        )

    def plan(self, snapshot: Snapshot, layout: Layout, rows: Sequence[Row]) -> Plan:
        return make_plan(
            snapshot,
            layout,
            self.target.columns,
            self.target.key,
            rows,
            duplicates=self.options.on_duplicate_key,
            limits=self.limits,
            room=self.limits.file_cells - self.route.file_cells - snapshot.size,
        )
