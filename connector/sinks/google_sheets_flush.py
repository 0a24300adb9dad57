"""One ``write``: read, lock, write, and again where people's edits or lost answers came between."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from connector.core.contract import Outcome, Target
from connector.core.errors import NeedsAction, TryLater
from connector.core.row import Row
from connector.sinks import google_sheets_batches as batches
from connector.sinks import google_sheets_table as table
from connector.sinks.google_sheets_batches import Step
from connector.sinks.google_sheets_client import Rejected, Unclear
from connector.sinks.google_sheets_layout import Layout
from connector.sinks.google_sheets_plan import Plan
from connector.sinks.google_sheets_reading import Reading, Route, new_id, new_nonce
from connector.sinks.google_sheets_table import Snapshot

most_attempts = 8
"""Batches of one flush that people's edits may foil before it is put off."""


class Flush(Reading):
    """One ``write``: rounds of reading, locking and writing until each row has its outcome."""

    def __init__(self, route: Route, target: Target, rows: Sequence[Row]) -> None:
        super().__init__(route, target)
        self.pending: dict[str, Row] = {row.key: row for row in rows}
        self.asked = frozenset(self.pending)
        self.damaged: dict[str, dict[str, table.Value]] = {}
        """By key, cells that a batch of ours hit by mistake, with what they held before."""
        self.outcomes: dict[str, Outcome] = {}
        self.notes: dict[str, tuple[str, ...]] = {}
        self.writes: dict[str, int] = {}
        self.idle = 0
        """Batches since a row was last settled."""
        self.attempts = 0
        self.refusals = 0

    def run(self) -> list[Outcome]:
        """The outcomes.

        Raises:
            TryLater, NeedsAction, Stopping: see ``Sink.write``.
        """
        snapshot = self.prepare()
        while self.pending:
            layout = self.layout(snapshot)
            snapshot = self.with_formula_keys(snapshot, layout)
            if not self._is_ready(snapshot, layout):
                snapshot = self.prepare(snapshot)
                continue
            plan = self.plan(snapshot, layout, list(self.pending.values()), overrides=self.damaged)
            for outcome in plan.done:
                self._settle(outcome)
            self._give_up_on_what_does_not_stay(plan)
            if not self.pending:
                break
            if plan.grow or not batches.is_locked(snapshot, plan.places):
                most = min(self.limits.tagged_rows, (self.limits.batch_bytes - 2_000) // batches.tag_bytes)
                places = set(sorted(plan.places)[:most])
                snapshot = self._send(snapshot, layout, self._lock_step(snapshot, plan, places), places)
                continue
            step = batches.write(
                snapshot, plan, self.target.columns, nonce=new_nonce(), new_id=new_id, limits=self.limits
            )
            snapshot = self._send(snapshot, layout, step, step.locks)
        return list(self.outcomes.values())

    def prepare(self, snapshot: Snapshot | None = None) -> Snapshot:
        """The tab, read, with header row, managed columns and tags in place."""
        while True:
            if snapshot is None:
                snapshot = self._read_or_make()
            layout = self.layout(snapshot)
            if batches.needs_tags(snapshot, layout):
                step = batches.lock(snapshot, layout, (), nonce=new_nonce(), new_id=new_id)
                snapshot = self._send(snapshot, layout, step, (), whole=True)
                continue
            forbidden = batches.columns_forbidden(snapshot, layout) if layout.missing else None
            if forbidden is not None and self.target.key in layout.columns:
                self.unmakable = set(layout.missing)  # they wait; the others go on
                continue
            if forbidden is not None:
                raise NeedsAction(
                    f"No column can be added to “{snapshot.title}” because of the protected range “{forbidden}”: type "
                    f"the header “{self.target.key}” yourself, or allow the connector's account to edit that range"
                )
            if layout.missing:
                self._may_create(snapshot, layout)
                step = batches.add_columns(
                    snapshot, layout, self.target.columns, nonce=new_nonce(), bare=snapshot.is_empty
                )
                snapshot = self._send(snapshot, layout, step, (), whole=True)
                continue
            self.remember(snapshot.sheet_id, set(layout.columns) | self.route.known)
            return snapshot

    def _is_ready(self, snapshot: Snapshot, layout: Layout) -> bool:
        return not batches.needs_tags(snapshot, layout) and not layout.missing

    def _may_create(self, snapshot: Snapshot, layout: Layout) -> None:
        if self.options.missing_columns == "stop":
            names = ", ".join(f"“{name}”" for name in layout.missing)
            raise NeedsAction(
                f"The tab “{snapshot.title}” lacks {names} in row {layout.header + 1}: type the headers there, or set "
                'missing_columns = "create" in the mapping'
            )

    def _read_or_make(self) -> Snapshot:
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
                self._make(title)
                continue
            if sheet_id != remembered:
                self.remember(sheet_id, set())
        raise TryLater("the tab comes and goes")

    def _make(self, title: str) -> None:
        sheet_id = new_id()
        if self.options.missing_columns == "stop":
            raise NeedsAction(f'The spreadsheet has no tab “{title}”: add one, or set missing_columns = "create"')
        requests = batches.new_tab(sheet_id, title, self.target.columns, nonce=new_nonce(), new_id=new_id)
        try:
            self.client.batch(requests)
        except (Rejected, Unclear) as error:
            # Somebody was faster, or the answer was lost: the list of tabs knows.
            self._count_attempt(error)
            return
        self.remember(sheet_id, {column.name for column in self.target.columns})

    # ------------------------------------------------------------ batches

    def _lock_step(self, snapshot: Snapshot, plan: Plan, places: set[int]) -> Step:
        return batches.lock(snapshot, plan.layout, places, nonce=new_nonce(), new_id=new_id, grow=plan.grow)

    def _send(
        self, snapshot: Snapshot, layout: Layout, step: Step, places: Sequence[int] | set[int], *, whole: bool = False
    ) -> Snapshot:
        """Send one batch; the tab after it (or read again, when it was refused or its answer was lost)."""
        self.idle += 1
        if self.idle > 3 * most_attempts:
            raise TryLater(f"“{self.options.tab}” does not come to rest: {self.idle} batches settled no row")
        grown = (snapshot.row_count + len(step.appends)) * snapshot.column_count
        self.route.is_big = grown > self.limits.whole_tab_cells
        whole = whole or not self.route.is_big
        formats = whole and not self.route.is_big
        ranges = batches.answer_ranges(snapshot, layout, self.target.key, places, whole=whole)
        fields = table.sheet_fields + (table.typed_cells_and_formats if formats else table.typed_cells)
        try:
            answer = self.client.batch(step.requests, ranges, fields)
        except (Rejected, Unclear) as error:
            after = self._read_or_make()
            if after.fence is not None and after.fence.value == step.nonce:
                self._landed(step)
            elif isinstance(error, Rejected) and after == snapshot:
                self._refused_for_no_edit(error, snapshot)
            else:
                self._count_attempt(error)
            return after
        sheets = [
            sheet
            for sheet in table.parse_sheets(answer, formats=formats, whole=whole)
            if sheet.sheet_id == snapshot.sheet_id
        ]
        self._landed(step)
        if not sheets:  # renamed in this very moment: the answer shows another tab
            return self._read_or_make()
        self._verify(step, snapshot, sheets[0])
        return sheets[0]

    def _landed(self, step: Step) -> None:
        for update in step.updates:
            self._note_write(update.row.key, update.notices)
        for append in step.appends:
            self._note_write(append.row.key)
        for row in step.deletes.values():
            self._note_write(row.key)

    def _note_write(self, key: str, notices: tuple[str, ...] = ()) -> None:
        self.writes[key] = self.writes.get(key, 0) + 1
        self.notes[key] = tuple(dict.fromkeys(self.notes.get(key, ()) + notices))

    def _verify(self, step: Step, before: Snapshot, after: Snapshot) -> None:
        """The answer is the proof. Of a small tab it shows every cell: the next plan finds what is still to do. Of a
        big one it shows the keys, which settle what was written.

        A row that does not bear its key was hit by mistake (a file whose tags don't move with rows, or whose ids are
        not unique): its cells go back to what they were.
        """
        layout = self.layout(after)
        place = layout.columns.get(self.target.key)
        if step.kind != "write" or place is None:
            return
        shows_all = set(layout.columns.values()) <= after.whole_columns()
        was_at = self.layout(before).columns
        names = {column: name for name, column in was_at.items()}
        count: dict[str, int] = {}
        for cells in after.cells.values():
            key = table.canonical_key(cells.get(place))
            count[key] = count.get(key, 0) + 1
        was: dict[str, int] = {}
        for row, cells in before.cells.items():
            was.setdefault(table.canonical_key(cells.get(was_at[self.target.key])), row)
        for update in step.updates:
            key = table.canonical_key(after.value(update.at, place))
            if key == table.tidy(update.row.key):
                if not shows_all:
                    self._settle(Outcome(update.row.key, "written", waiting=update.waiting))
            elif key and key in was:
                lost = self.damaged.setdefault(key, {})
                for column in update.cells:
                    lost.setdefault(names[column], before.value(was[key], column))
                self.pending.setdefault(key, Row(key, key, {}))
        if not shows_all:
            for append in step.appends:
                if count.get(table.tidy(append.row.key)) == 1:
                    self._settle(Outcome(append.row.key, "written", waiting=append.waiting))

    def _settle(self, outcome: Outcome) -> None:
        key = outcome.key
        if key not in self.pending:
            return
        del self.pending[key]
        self.idle = 0
        notices = tuple(dict.fromkeys(self.notes.get(key, ()) + outcome.notices))
        if key in self.asked:
            self.outcomes[key] = replace(outcome, notices=notices)

    def _give_up_on_what_does_not_stay(self, plan: Plan) -> None:
        """A cell that reads back otherwise however often it is written must not keep the flush going for ever."""
        for update in list(plan.updates):
            if self.writes.get(update.row.key, 0) >= 3:
                plan.updates.remove(update)
                names = [name for name, place in plan.layout.columns.items() if place in update.cells]
                where = ", ".join(f"“{name}”" for name in names)
                note = f"Google Sheets keeps another value than was written in {where}"
                self._settle(Outcome(update.row.key, "written", waiting=update.waiting, notices=(note,)))

    def _refused_for_no_edit(self, error: Rejected, snapshot: Snapshot) -> None:
        """Nobody changed anything, and still Google refuses the batch: waiting would not help."""
        if str(error) == "protected":
            names = "”, “".join(protection.name for protection in snapshot.protections) or "a protected range"
            raise NeedsAction(
                f"“{names}” in “{snapshot.title}” keeps the connector from writing: Data > Protect sheets and ranges > "
                "that range > Set permissions, and add the connector's account"
            ) from error
        self.refusals += 1
        if self.refusals > 1:
            raise RuntimeError(f"Google refuses a batch for “{snapshot.title}”: {error}") from error

    def _count_attempt(self, error: Exception) -> None:
        self.attempts += 1
        if self.attempts < most_attempts:
            return
        if isinstance(error, Unclear):
            raise TryLater(f"Google Sheets takes no write at the moment ({error})") from error
        raise TryLater(f"“{self.options.tab}” is being changed by somebody else all the time") from error
