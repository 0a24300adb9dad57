"""Finding and reading the tab: what a flush, a check and a preview have in common."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any

from connector.core.contract import Host, Target
from connector.core.row import Row
from connector.sinks import google_sheets_batches as batches
from connector.sinks import google_sheets_table as table
from connector.sinks.google_sheets_client import Client, Rejected
from connector.sinks.google_sheets_layout import Layout, find_layout
from connector.sinks.google_sheets_options import GoogleSheetsTargetOptions
from connector.sinks.google_sheets_plan import Limits, Plan, make_plan
from connector.sinks.google_sheets_table import Snapshot, Spreadsheet


class Route:
    """What one route's thread keeps between flushes: its connection, and how big the tab was."""

    def __init__(self, client: Client, host: Host, limits: Limits, spreadsheet: str) -> None:
        self.client = client
        self.host = host
        self.limits = limits
        self.spreadsheet = spreadsheet
        self.sheet_id: int | None = None
        self.known: set[str] = set()
        self.is_big = False
        self.file_cells = 0
        """Cells of all other tabs, as last listed."""


def new_id() -> int:
    return secrets.randbelow(0x7FFF_FFFE) + 1


def new_nonce() -> str:
    return secrets.token_hex(4)


class Reading:
    """Finding and reading the tab: what a flush, a check and a preview have in common."""

    def __init__(self, route: Route, target: Target) -> None:
        self.target = target
        self.options: GoogleSheetsTargetOptions = target.options
        self.host = route.host
        self.limits = route.limits
        self.route = route
        self.client = route.client
        self.unmakable: set[str] = set()
        """Missing columns that a protected range keeps from being added."""
        self._note = f"{route.spreadsheet}/{self.options.tab}"
        self._recall()

    def _recall(self) -> None:
        if self.route.sheet_id is not None:
            return
        note = self.host.recall(self._note)
        if note is not None:
            kept = json.loads(note)
            self.route.sheet_id = kept["sheet_id"]
            self.route.known = set(kept["columns"])

    def remember(self, sheet_id: int, known: set[str]) -> None:
        if (sheet_id, known) == (self.route.sheet_id, self.route.known):
            return
        self.route.sheet_id, self.route.known = sheet_id, known
        self.host.remember(self._note, json.dumps({"sheet_id": sheet_id, "columns": sorted(known)}))

    def find_tab(self) -> tuple[int | None, str]:
        """(sheetId, title) by the remembered sheetId, else by title; notes sizes. 1 call."""
        tabs = self.client.tabs()
        chosen = None
        for tab in tabs:
            if self.route.sheet_id is not None and tab.sheet_id == self.route.sheet_id:
                chosen = tab
        if chosen is None:
            title = table.tidy(self.options.tab).casefold()
            chosen = next((tab for tab in tabs if table.tidy(tab.title).casefold() == title), None)
        self.route.file_cells = sum(tab.grid_properties.cells for tab in tabs if tab is not chosen)
        if chosen is None:
            return None, self.options.tab
        self.route.is_big = chosen.grid_properties.cells > self.limits.whole_tab_cells
        return chosen.sheet_id, chosen.title

    def tab_is_gone(self, title: str) -> str:
        return (
            f"The tab “{title}” was deleted. Bring it back (File > Version history), or add an empty tab named "
            f"“{title}” and run `connector resync {self.target.route}`."
        )

    def read(self, sheet_id: int) -> Snapshot:
        """The tab as it is; of a big one, header row and tagged columns. 1 call.

        Raises:
            Rejected: the tab is gone.
        """
        if not self.route.is_big:
            return self._whole(sheet_id, table.typed_cells_and_formats, formats=True)
        area: dict[str, Any] = {"sheetId": sheet_id}
        lookup = {"metadataKey": table.column_key, "metadataLocation": area}
        header = {"metadataKey": table.header_key, "metadataLocation": area}
        filters = [
            {"gridRange": area | {"startRowIndex": 0, "endRowIndex": self.options.header_row or 1}},
            {"developerMetadataLookup": lookup},
            {"developerMetadataLookup": header},
        ]
        try:
            answer = self.client.read(filters, table.sheet_fields + table.typed_cells)
            snapshot = self._one(answer, formats=False, whole=False)
            layout = self.layout(snapshot)
        except Rejected:
            return self._whole(sheet_id, table.typed_cells, formats=False)
        if batches.needs_tags(snapshot, layout) or layout.missing or layout.waiting:
            # Something of ours is missing here: look at everything once.
            snapshot = self._whole(sheet_id, table.typed_cells, formats=False)
        return snapshot

    def _whole(self, sheet_id: int, cells: str, *, formats: bool) -> Snapshot:
        answer = self.client.read([{"gridRange": {"sheetId": sheet_id}}], table.sheet_fields + cells)
        return self._one(answer, formats=formats, whole=True)

    def _one(self, answer: Spreadsheet, *, formats: bool, whole: bool) -> Snapshot:
        sheets = table.parse_sheets(answer, formats=formats, whole=whole)
        if len(sheets) != 1:
            raise Rejected("the tab is gone")
        snapshot = sheets[0]
        self.route.is_big = snapshot.row_count * snapshot.column_count > self.limits.whole_tab_cells
        return snapshot

    def with_formula_keys(self, snapshot: Snapshot, layout: Layout) -> Snapshot:
        """Where people's formulas make the keys, their results are read too (1 more call)."""
        place = layout.columns.get(self.target.key)
        if place is None or not any(
            isinstance(value := cells.get(place), table.Formula) and value.shown is None
            for cells in snapshot.cells.values()
        ):
            return snapshot
        return self._whole(snapshot.sheet_id, table.typed_cells_and_results, formats=True)

    def layout(self, snapshot: Snapshot) -> Layout:
        return find_layout(
            snapshot,
            self.target.columns,
            self.target.key,
            header_row=self.options.header_row,
            known=self.unmakable | (self.route.known if snapshot.sheet_id == self.route.sheet_id else set()),
        )

    def plan(self, snapshot: Snapshot, layout: Layout, rows: Sequence[Row], **more: Any) -> Plan:
        room = self.limits.file_cells - self.route.file_cells - snapshot.row_count * snapshot.column_count
        return make_plan(
            snapshot,
            layout,
            self.target.columns,
            self.target.key,
            rows,
            duplicates=self.options.on_duplicate_key,
            limits=self.limits,
            room=room,
            **more,
        )
