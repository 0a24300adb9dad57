"""One ``write``: read, lock, write, and again where people's edits or lost answers came between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace

from connector.core.errors import NeedsAction, TryLater
from connector.core.keys import tidy
from connector.core.row import Row
from connector.core.sink import Outcome, Target
from connector.sinks.google_sheets import batches, guards
from connector.sinks.google_sheets import snapshot as table
from connector.sinks.google_sheets.batches import Step
from connector.sinks.google_sheets.client import Rejected, Unclear
from connector.sinks.google_sheets.layout import Layout
from connector.sinks.google_sheets.plan import Append, Update, column_notices
from connector.sinks.google_sheets.reading import (
    Reading,
    Route,
    Whereabouts,
    guards_note,
    guards_trouble,
    new_id,
    new_nonce,
)
from connector.sinks.google_sheets.snapshot import Snapshot

_MOST_ATTEMPTS = 8
"""Batches of one flush that people's edits may foil before it is put off."""
_MOST_IDLE_BATCHES = 24


class Flush(Reading):
    """One ``write``: rounds of reading, locking and writing until each row has its outcome."""

    def __init__(self, route: Route, target: Target, rows: Sequence[Row]) -> None:
        super().__init__(route, target)
        self.pending: dict[str, Row] = {row.key: row for row in rows}
        self.outcomes: dict[str, Outcome] = {}
        self.notes: dict[str, tuple[str, ...]] = {}
        self._about_columns: frozenset[str] = frozenset()
        self.idle = 0
        """Batches since a row was last settled."""
        self.attempts = 0
        self.refusals = 0

    def run(self) -> list[Outcome]:
        """The outcomes.

        Raises:
            TryLater, NeedsAction, Stopping: see ``Sink.write``.
        """
        self._try_the_guards()
        snapshot = self._begin()
        while self.pending:
            layout = self.layout(snapshot)
            self._about_columns = frozenset(column_notices(layout).values())
            self.route.reported &= self._about_columns  # what people put right is reported again if it comes again
            snapshot = self.with_formula_keys(snapshot, layout)
            if not self._is_ready(snapshot, layout):
                snapshot = self.prepare(snapshot)
                continue
            plan = self.plan(snapshot, layout, list(self.pending.values()))
            for outcome in plan.done:
                self._settle(outcome)
            if not self.pending:
                break
            if plan.grow or not batches.is_locked(snapshot, plan.places):
                step = self._lock_step(snapshot, layout, sorted(plan.places), plan.insert_at - 1, plan.grow)
            else:
                nonce, columns = new_nonce(), self.target.columns
                step = batches.write(snapshot, plan, columns, nonce=nonce, new_id=new_id, limits=self.limits)
            snapshot = self._send(snapshot, layout, step)
        layout = self.layout(snapshot)
        if self.target.key in layout.columns:
            self.route.last = Whereabouts.of(snapshot, layout, layout.columns[self.target.key])
        return list(self.outcomes.values())

    def _begin(self) -> Snapshot:
        """The tab, read; or, where the last flush left it known, with the rows locked that are to change.

        Locks change no cell. Whatever people did since, the answer shows the tab as it is, and the cells to write are
        decided on that: rows that moved are locked again where they are.
        """
        last, self.route.last = self.route.last, None
        sheet_id = self.route.sheet_id
        places = [] if last is None else last.places(self.pending)
        differ = any(row.last is not None for row in self.pending.values())
        if sheet_id is None or (not differ and (places or last is None)):
            return self.prepare()  # perhaps nothing differs, as after a resync: looking is cheaper than locking
        if last is not None and places:
            layout = self.layout(last.frame)
            return self._send(last.frame, layout, self._lock_step(last.frame, layout, places, last.last_row))
        try:
            return self.prepare(self.read_keys(sheet_id, last))
        except Rejected:
            return self.prepare()

    def _try_the_guards(self) -> None:
        """Before the first write into a spreadsheet, see that Google refuses there what it must refuse.

        Raises:
            NeedsAction: it does not.
        """
        if self.route.guards_bind or self.route.unguarded_writes:
            return
        if self.host.recall(guards_note(self.route)) is None:
            try:
                trouble = guards_trouble(self.client)
            except Unclear as error:
                raise TryLater(f"Google Sheets can't be reached ({error})") from error
            if trouble is not None:
                raise NeedsAction(trouble)
            self.host.remember(guards_note(self.route), "bind")
        self.route.guards_bind = True

    def prepare(self, snapshot: Snapshot | None = None) -> Snapshot:
        """The tab, read, with header row, managed columns and tags in place."""
        while True:
            if snapshot is None:
                snapshot = self._read_or_make()
            layout = self.layout(snapshot)
            if batches.needs_tags(snapshot, layout):
                step = batches.lock(snapshot, layout, (), nonce=new_nonce(), new_id=new_id)
                snapshot = self._send(snapshot, layout, step, whole=True)
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
                self._may_create(snapshot, layout)
                step = batches.add_columns(
                    snapshot, layout, self.target.columns, nonce=new_nonce(), bare=not snapshot.cells
                )
                snapshot = self._send(snapshot, layout, step, whole=True)
                continue
            self.remember(snapshot.sheet_id, set(layout.columns) | self.route.known)
            return snapshot

    def _is_ready(self, snapshot: Snapshot, layout: Layout) -> bool:
        return not batches.needs_tags(snapshot, layout) and not layout.missing

    def _may_create(self, snapshot: Snapshot, layout: Layout) -> None:
        if self.options.missing_columns == "stop":
            names = ", ".join(f'"{name}"' for name in layout.missing)
            raise NeedsAction(
                f'The tab "{snapshot.title}" lacks {names} in row {layout.header + 1}: type the headers there, or set '
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
                if (made := self._make(title)) is not None:
                    return made
                continue
            if sheet_id != remembered:
                self.remember(sheet_id, set())
        raise TryLater("the tab comes and goes")

    def _make(self, title: str) -> Snapshot | None:
        """The new tab; None when only another look can tell."""
        sheet_id = new_id()
        if self.options.missing_columns == "stop":
            raise NeedsAction(f'The spreadsheet has no tab "{title}": add one, or set missing_columns = "create"')
        requests, made = batches.new_tab(sheet_id, title, self.target.columns, nonce=new_nonce(), new_id=new_id)
        try:
            self.client.batch(requests)
        except (Rejected, Unclear) as error:
            # Somebody was faster, or the answer was lost: the list of tabs knows.
            self._count_attempt(error)
            return None
        self.remember(sheet_id, {column.name for column in self.target.columns})
        return made

    # ------------------------------------------------------------ batches

    def _lock_step(self, snapshot: Snapshot, layout: Layout, places: Sequence[int], last: int, grow: int = 0) -> Step:
        """Lock as many of *places* as one batch may; show the *last* row too: new rows are to look like it."""
        most = min(self.limits.tagged_rows, (self.limits.batch_bytes - 2_000) // guards.TAG_BYTES)
        step = batches.lock(snapshot, layout, places[:most], nonce=new_nonce(), new_id=new_id, grow=grow)
        if not self.route.is_big:
            step.shows.add(last)
        return step

    def _send(self, snapshot: Snapshot, layout: Layout, step: Step, *, whole: bool = False) -> Snapshot:
        """Send one batch; the tab after it (or read again, when it was refused or its answer was lost)."""
        self.idle += 1
        if self.idle > _MOST_IDLE_BATCHES:
            raise TryLater(f'"{self.options.tab}" does not come to rest: {self.idle} batches settled no row')
        grown = (snapshot.row_count + len(step.appends)) * snapshot.column_count
        self.route.is_big = grown > self.limits.whole_tab_cells
        formats = not self.route.is_big
        # Through protected columns new rows take blank rows: which those are, only the whole tab shows.
        whole = whole or (formats and bool(snapshot.protections))
        shows = [row for row in step.shows if row < snapshot.row_count]
        ranges = batches.answer_ranges(snapshot, layout, self.target.key, shows, whole=whole)
        fields = table.SHEET_FIELDS + (table.TYPED_CELLS_AND_FORMATS if formats else table.TYPED_CELLS)
        try:
            answer = self.client.batch(step.requests, ranges, fields)
        except (Rejected, Unclear) as error:
            after = self._read_or_make()
            if after.fence is not None and after.fence.value == step.nonce:
                self._landed(step)
            elif isinstance(error, Rejected) and snapshot.is_part_of(after):
                self._refused_for_no_edit(error, snapshot)
            else:
                self._count_attempt(error)
            return after
        self._landed(step)
        for sheet in table.parse_sheets(answer, formats=formats, whole=whole):
            if sheet.sheet_id == snapshot.sheet_id:
                self._settle_what_was_written(step, sheet)
                there, key = self.layout(sheet), self.target.key
                if whole or (sheet.shows_row(there.header) and there.columns.get(key) == layout.columns.get(key)):
                    return sheet
        # The answer shows where header row and keys were, by the title that the tab had, and somebody changed that.
        return self._read_or_make()

    def _landed(self, step: Step) -> None:
        landed: list[Update | Append] = [*step.updates, *step.appends]
        for written in landed:
            self.notes[written.row.key] = (*self.notes.get(written.row.key, ()), *written.notices)

    def _settle_what_was_written(self, step: Step, after: Snapshot) -> None:
        """The answer is the proof: a row is done when its key is where it was written, and a new one just once.

        What is not done (a person pasted over the key in this moment) is planned again on the answer.
        """
        place = self.layout(after).columns.get(self.target.key)
        if place is None:
            return
        for update in step.updates:
            key = table.key_of(after.value(step.lands(update.at), place))
            if key == tidy(update.row.key) and update.row.key not in step.unfinished:
                self._settle(Outcome(update.row.key, "written", waiting=update.waiting))
        if step.appends:
            count = Counter(table.key_of(value) for _, value in after.column(place))
            for append in step.appends:
                if count[tidy(append.row.key)] == 1:
                    self._settle(Outcome(append.row.key, "written", waiting=append.waiting))

    def _settle(self, outcome: Outcome) -> None:
        key = outcome.key
        if self.pending.pop(key, None) is None:
            return
        self.idle = 0
        # What is true of a column is reported once, not by every row of every batch.
        known = self.route.reported
        notices = tuple(note for note in dict.fromkeys(self.notes.get(key, ()) + outcome.notices) if note not in known)
        known |= self._about_columns.intersection(notices)
        self.outcomes[key] = replace(outcome, notices=notices)

    def _refused_for_no_edit(self, error: Rejected, snapshot: Snapshot) -> None:
        """Nobody changed anything, and still Google refuses the batch: waiting would not help."""
        if str(error) == "protected":
            names = ", ".join(f'"{protection.name}"' for protection in snapshot.protections) or "A protected range"
            raise NeedsAction(
                f'{names} in "{snapshot.title}" keeps the connector from writing: Data > Protect sheets and ranges > '
                "that range > Set permissions, and add the connector's account"
            ) from error
        self.refusals += 1
        if self.refusals > 1:
            raise RuntimeError(f'Google refuses a batch for "{snapshot.title}": {error}') from error

    def _count_attempt(self, error: Exception) -> None:
        self.attempts += 1
        if self.attempts < _MOST_ATTEMPTS:
            return
        if isinstance(error, Unclear):
            raise TryLater(f"Google Sheets takes no write at the moment ({error})") from error
        raise TryLater(f'"{self.options.tab}" is being changed by somebody else all the time') from error
