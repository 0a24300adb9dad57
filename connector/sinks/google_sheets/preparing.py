"""What comes before rows are written: guards tried, the tab found or made, its columns and tags in place."""

from __future__ import annotations

from abc import ABC, abstractmethod

from connector.core.errors import NeedsAction, TryLater
from connector.core.keys import tidy
from connector.core.row import Row
from connector.core.sink import Target
from connector.sinks.google_sheets import batches
from connector.sinks.google_sheets.answers import Full, Rejected, Unclear
from connector.sinks.google_sheets.batches import Step
from connector.sinks.google_sheets.layout import Layout
from connector.sinks.google_sheets.reading import (
    Reading,
    Route,
    file_is_full,
    guards_hold_in,
    guards_note,
    guards_trouble,
    new_id,
    new_nonce,
)
from connector.sinks.google_sheets.snapshot import Snapshot

_MOST_ATTEMPTS = 8
"""Batches of one flush that people's edits may foil before it is put off."""


class Preparing(Reading, ABC):
    """A tab that is to be written: found or made, with header row, managed columns and tags in place.

    Attributes:
        pending: the rows without an outcome, by key.
        attempts: batches that people's edits or lost answers foiled.
        trouble: what a person must do although every row could be written.
        is_full: Google has said that the file has no cells left.
        is_listed: the file's cells have been counted since the flush began.
        made: the tab that was made just now.
        look: whether tabs are made with their look; not once Google has refused it.
    """

    def __init__(self, route: Route, target: Target) -> None:
        super().__init__(route, target)
        self.pending: dict[str, Row] = {}
        self.attempts = 0
        self.trouble = ""
        self.is_full = False
        self.is_listed = False
        self.made: int | None = None
        self.look = True

    @abstractmethod
    def send(self, snapshot: Snapshot, layout: Layout, step: Step, *, whole: bool = False) -> Snapshot:
        """Send one batch; the tab after it."""

    def list_cells(self) -> None:
        self.find_tab()
        self.is_listed = True

    def try_the_guards(self) -> None:
        """Before the first write into a spreadsheet, see that Google refuses there what it must refuse.

        Raises:
            NeedsAction: it does not.
        """
        if self.route.guards_bind or self.route.unguarded_writes:
            return
        if self.host.recall(guards_note(self.route)) is None:
            try:
                trouble = self._guards_trouble()
            except Unclear as error:
                raise TryLater(f"Google Sheets can't be reached ({error})") from error
            if trouble is not None:
                raise NeedsAction(trouble)
            self.host.remember(guards_note(self.route), "bind")
        self.route.guards_bind = True

    def _guards_trouble(self) -> str | None:
        try:
            return guards_trouble(self.client)
        except Full:
            sheet_id, title = self.find_tab()
            if sheet_id is None or not guards_hold_in(self.client, sheet_id):
                return file_is_full(title)
            return None

    def prepare(self, snapshot: Snapshot | None = None) -> Snapshot:
        """The tab, read, with header row, managed columns and tags in place."""
        while True:
            if snapshot is None:
                snapshot = self.read_or_make()
            layout = self.layout(snapshot)
            if batches.needs_tags(snapshot, layout):
                step = batches.lock(snapshot, layout, (), nonce=new_nonce(), new_id=new_id)
                snapshot = self.send(snapshot, layout, step, whole=True)
                continue
            if layout.missing and self._lacks_cells(snapshot, layout):
                continue
            forbidden = batches.columns_forbidden(snapshot, layout) if layout.missing else None
            if forbidden is not None and self.target.key in layout.columns:
                self.unmakable = set(layout.missing)  # they wait; the others continue
                continue
            if forbidden is not None:
                raise NeedsAction(
                    f'No column can be added to "{snapshot.title}" because of the protected range "{forbidden}": type '
                    f'the header "{self.target.key}" yourself, or allow the connector\'s account to edit that range'
                )
            if layout.missing:
                self._refuse_data_as_header(snapshot, layout)
                self._may_create(snapshot, layout)
                step = batches.add_columns(
                    snapshot, layout, self.target, nonce=new_nonce(), rows=self.pending.values(), look=self.look
                )
                snapshot = self.send(snapshot, layout, step, whole=True)
                continue
            self.remember(snapshot.sheet_id, set(layout.columns) | self.route.known)
            return snapshot

    def _lacks_cells(self, snapshot: Snapshot, layout: Layout) -> bool:
        """Whether the file has no cells for the missing columns; they wait then, and the others continue."""
        if not self.is_full and len(layout.missing) * snapshot.row_count <= self.room(snapshot):
            return False
        if not self.is_listed:
            self.list_cells()
            return self._lacks_cells(snapshot, layout)
        self.trouble = file_is_full(snapshot.title)
        if self.target.key not in layout.columns:
            raise NeedsAction(self.trouble)
        self.unmakable |= set(layout.missing)
        return True

    def _refuse_data_as_header(self, snapshot: Snapshot, layout: Layout) -> None:
        """A tab without any header of ours whose row for them holds keys has data there."""
        texts = snapshot.texts(layout.header).values()
        if not layout.columns and set(texts) & set(map(tidy, self.pending)):
            raise NeedsAction(self.header_is_gone(snapshot, layout.header))

    def _may_create(self, snapshot: Snapshot, layout: Layout) -> None:
        if self.options.missing_columns == "stop":
            names = ", ".join(f'"{name}"' for name in layout.missing)
            raise NeedsAction(
                f'The tab "{snapshot.title}" lacks {names} in row {layout.header + 1}: type the headers there, or set '
                'missing_columns = "create" in the mapping'
            )

    def read_or_make(self) -> Snapshot:
        for _ in range(4):
            if self.route.sheet_id is not None:
                try:
                    return self.read(self.route.sheet_id)
                except Rejected:
                    pass  # the tab is gone; perhaps there is another of that name
            remembered = self.route.sheet_id
            sheet_id, title = self.find_tab()
            if sheet_id is None and remembered is not None:
                raise NeedsAction(self.tab_is_gone(title))
            if sheet_id is None:
                if (made := self._make(title)) is not None:
                    return made
                continue
            if sheet_id != remembered:
                self.remember(sheet_id, set())
        raise TryLater("the tab comes and goes")

    def _make(self, title: str) -> Snapshot | None:
        """The new tab; None when the tabs must be listed again to know."""
        sheet_id = new_id()
        if self.options.missing_columns == "stop":
            raise NeedsAction(f'The spreadsheet has no tab "{title}": add one, or set missing_columns = "create"')
        requests, made = batches.new_tab(
            sheet_id, self.target, self.file,
            nonce=new_nonce(), new_id=new_id, rows=self.pending.values(), look=self.look,
        )  # fmt: skip
        if self.look and self._is_blank(self.only_tab):
            requests.append({"deleteSheet": {"sheetId": self.only_tab}})
        try:
            self.client.batch(requests)
        except Full as error:
            raise NeedsAction(file_is_full(title)) from error
        except (Rejected, Unclear) as error:
            self.look = self.look and not isinstance(error, Rejected)
            # Somebody was faster, or the answer was lost: the list of tabs knows.
            self.count_attempt(error)
            return None
        self.remember(sheet_id, {column.name for column in self.target.columns})
        self.made = sheet_id
        return made

    def _is_blank(self, only_tab: int | None) -> bool:
        """Whether the one tab of the file is the blank one that Google makes with each file."""
        if only_tab != 0:
            return False
        fields = "properties(sheetId,title),charts.chartId,data.rowData.values(userEnteredValue,note)"
        answer = self.client.read([{"gridRange": {"sheetId": 0}}], fields)
        cells = (cell for sheet in answer.sheets for data in sheet.data for _, line in data.rows() for cell in line)
        return not any(sheet.charts for sheet in answer.sheets) and not any(
            cell.user_entered_value is not None or cell.note for cell in cells
        )

    def count_attempt(self, error: Exception) -> None:
        self.attempts += 1
        if self.attempts < _MOST_ATTEMPTS:
            return
        if isinstance(error, Unclear):
            raise TryLater(f"Google Sheets takes no write at the moment ({error})") from error
        raise TryLater(f'"{self.options.tab}" is being changed by somebody else all the time') from error
