"""One ``write``: read, lock, write, and again where people's edits or lost answers came between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from connector.core.errors import NeedsAction, TryLater
from connector.core.keys import tidy
from connector.core.overwrite import Edits, note_overwrites
from connector.core.row import Row
from connector.core.sink import Outcome, Target
from connector.sinks.google_sheets import batches, guards
from connector.sinks.google_sheets import snapshot as table
from connector.sinks.google_sheets.answers import Full, Rejected, Unclear
from connector.sinks.google_sheets.around import Growth
from connector.sinks.google_sheets.batches import Step
from connector.sinks.google_sheets.key_shape import KeyShape
from connector.sinks.google_sheets.layout import Layout
from connector.sinks.google_sheets.plan import Plan, column_notices
from connector.sinks.google_sheets.preparing import Preparing
from connector.sinks.google_sheets.reading import (
    Route,
    Whereabouts,
    file_is_full,
    new_id,
    new_nonce,
)
from connector.sinks.google_sheets.snapshot import Snapshot

_MOST_IDLE_BATCHES = 24
"""Batches in a row that settle no row before the flush is put off."""
_MOST_REFUSED_ROWS = 10
"""Rows of one flush that Google refuses before the rest waits, too: it may be every row."""


def _differs(row: Row) -> bool:
    """Whether the row must be written for all that is known; after a resync, and in an undo, it perhaps need not."""
    last = row.last
    return last is not None and not row.restore and any(last.get(name) != cell for name, cell in row.cells.items())


class Flush(Preparing):
    """One ``write``: rounds of reading, locking and writing until each row has its outcome.

    Attributes:
        held: why a row can't be written until a person acts, by its key.
        landed: what batches have done to a row until now, by its key: it may need several, and answers may be lost.
        idle: batches since a row was last settled.
        refusals: batches that Google refused although nobody had edited anything.
        most_rows: rows a batch may have while a row that Google refuses is being looked for.
    """

    def __init__(self, route: Route, target: Target, rows: Sequence[Row]) -> None:
        super().__init__(route, target)
        self.pending = {row.key: row for row in rows}
        self.outcomes: dict[str, Outcome] = {}
        self.notes: dict[str, tuple[str, ...]] = {}
        self.held: dict[str, str] = {}
        self.landed: dict[str, list[Edits]] = {}
        self.idle = 0
        self.refusals = 0
        self.most_rows: int | None = None
        self._about_columns: frozenset[str] = frozenset()

    def run(self) -> list[Outcome]:
        """The outcomes.

        Raises:
            TryLater, NeedsAction, Stopping: see ``Sink.write``. What needs no action has been written by then.
        """
        self.try_the_guards()
        snapshot = self._begin()
        while rows := self._turn():
            snapshot = self._step(snapshot, rows)
        reason = next(iter(self.held.values()), self.trouble)
        if reason:
            raise NeedsAction(reason, outcomes=list(self.outcomes.values()))
        layout = self.layout(snapshot)
        if self.target.key in layout.columns:
            shape = KeyShape(self.outcomes)
            self.route.last = Whereabouts.of(snapshot, layout, layout.columns[self.target.key], shape)
        return list(self.outcomes.values())

    def _turn(self) -> list[Row]:
        """The rows to write next: those that Google refused before come last, one at a time."""
        left = [row for key, row in self.pending.items() if key not in self.held]
        safe = [row for row in left if row.key not in self.route.suspects]
        return safe[: self.most_rows] or left[:1]

    def _step(self, snapshot: Snapshot, rows: Sequence[Row]) -> Snapshot:
        """Settle what *snapshot* settles, and send one batch for the rest; the tab after it."""
        layout = self.layout(snapshot)
        self._about_columns = frozenset(column_notices(layout).values())
        self.route.reported &= self._about_columns  # what people put right is reported again if it comes again
        if batches.needs_tags(snapshot, layout) or layout.missing:
            return self.prepare(snapshot)
        is_new = snapshot.sheet_id == self.made
        plan = self.plan(snapshot, layout, rows, is_full=self.is_full, is_new=is_new)
        for outcome in plan.done:
            self._settle(outcome)
        if not plan.places and not plan.appends:
            return self._hold(plan, snapshot)
        step = self._next(snapshot, layout, plan)
        del plan  # of thousands of rows, not to be kept while the answer is read
        return self.send(snapshot, layout, step)

    def _next(self, snapshot: Snapshot, layout: Layout, plan: Plan) -> Step:
        """The batch that locks the plan's rows, or, where they are locked, writes."""
        if plan.grow or not batches.is_locked(snapshot, plan.places):
            return self._lock_step(snapshot, layout, sorted(plan.places), plan.last, plan.grow)
        return batches.write(
            snapshot,
            plan,
            self.target,
            now=self.host.now(),
            nonce=new_nonce(),
            new_id=new_id,
            limits=self.limits,
            grows=self.route.grows,
        )

    def _hold(self, plan: Plan, snapshot: Snapshot) -> Snapshot:
        """The plan's held rows wait for a person; where the file seems full, only once all of it was looked at."""
        if plan.held and not plan.why_held and not self.is_listed:
            self.list_cells()
            try:
                return self.read_all(snapshot.sheet_id)
            except Rejected:
                return self.read_or_make()
        reason = plan.why_held or file_is_full(snapshot.title)
        self.held |= dict.fromkeys([append.row.key for append in plan.held], reason)
        return snapshot

    def _begin(self) -> Snapshot:
        """The tab, read; or, where the last flush left it known, with the rows locked that are to change.

        Locks change no cell. Whatever people did since, the answer shows the tab as it is, and the cells to write are
        decided on that: rows that moved are locked again where they are.
        """
        last, self.route.last = self.route.last, None
        sheet_id = self.route.sheet_id
        keys = {key for row in self.pending.values() for key in (row.key, row.moved_from) if key is not None}
        places = [] if last is None else last.places(keys)
        differ = any(_differs(row) for row in self.pending.values())
        if sheet_id is None or (not differ and (places or last is None)):
            return self.prepare()  # perhaps nothing differs in the tab: looking is cheaper than locking
        if last is not None and places:
            layout = self.layout(last.frame)
            return self.send(last.frame, layout, self._lock_step(last.frame, layout, places, last.last_row))
        try:
            return self.prepare(self.read_keys(sheet_id, last))
        except Rejected:
            return self.prepare()

    # ------------------------------------------------------------ batches

    def _lock_step(self, snapshot: Snapshot, layout: Layout, places: Sequence[int], last: int, grow: int = 0) -> Step:
        """Lock as many of *places* as one batch may; show the *last* row too, which new rows are to look
        like, and the one below, which may be prepared for them."""
        most = min(self.limits.tagged_rows, (self.limits.batch_bytes - 2_000) // guards.TAG_BYTES)
        step = batches.lock(snapshot, layout, places[:most], nonce=new_nonce(), new_id=new_id, grow=grow)
        if not self.route.is_big:
            step.shows |= {last, min(last + 1, snapshot.row_count - 1)}
        return step

    def send(self, snapshot: Snapshot, layout: Layout, step: Step, *, whole: bool = False) -> Snapshot:
        """Send one batch; the tab after it (or read again, when it was refused or its answer was lost)."""
        self.idle += 1
        if self.idle > _MOST_IDLE_BATCHES and self.is_full:
            raise NeedsAction(file_is_full(snapshot.title), outcomes=list(self.outcomes.values()))
        if self.idle > _MOST_IDLE_BATCHES:
            raise TryLater(f'"{self.options.tab}" does not come to rest: {self.idle} batches settled no row')
        grown = (snapshot.row_count + len(step.appends)) * snapshot.column_count
        self.route.is_big = grown > self.limits.whole_tab_cells
        formats = not self.route.is_big
        # Through protected columns new rows take blank rows: which those are, only the whole tab shows.
        whole = whole or (formats and bool(snapshot.protections))
        shows = [row for row in step.shows if row < snapshot.row_count]
        ranges = batches.answer_ranges(snapshot, layout, self.target.key, shows, whole=whole)
        fields = table.SHEET_FIELDS + (table.WHOLE_CELLS if formats else table.TYPED_CELLS)
        note_overwrites(self.host, self.target.route, ((update.row, update.edits) for update in step.updates))
        # Text is a fifth of the objects, which would be kept while the answer is read.
        requests, step.requests = [Raw(msgspec.json.encode(request)) for request in step.requests], []
        try:
            answer = self.client.batch(requests, ranges, fields)
        except (Rejected, Unclear) as error:
            after = self.read_or_make()
            if after.fence is not None and after.fence.value == step.nonce:
                self._landed(step)
            elif isinstance(error, Full):
                self.is_full = True
                self.list_cells()
            elif isinstance(error, Rejected) and snapshot.is_part_of(after):
                self._refused_for_no_edit(error, snapshot, step)
            else:
                self.count_attempt(error)
            return after
        self._landed(step)
        for sheet in table.parse_sheets(answer, formats=formats, whole=whole):
            if sheet.sheet_id == snapshot.sheet_id:
                self._settle_what_was_written(step, sheet)
                there, key = self.layout(sheet), self.target.key
                is_there = sheet.shows_row(there.header) and there.columns.get(key) == layout.columns.get(key)
                if whole or (is_there and not there.header_is_gone):
                    return sheet
        # The answer shows where header row and keys were, by the title that the tab had, and somebody changed that.
        return self.read_or_make()

    def _landed(self, step: Step) -> None:
        landed = [*step.updates, *step.appends]
        for edits in (*(written.edits for written in landed), *step.deleted):
            self.landed.setdefault(edits.row.key, []).append(edits)
        for written in landed:
            self.notes[written.row.key] = (*self.notes.get(written.row.key, ()), *written.notices)
        new = set(step.notices) - self.route.reported_ranges
        if new and landed:
            key = landed[-1].row.key
            self.notes[key] = (*self.notes[key], *sorted(new))
            self.route.reported_ranges |= new
        if self.most_rows is not None:
            self.most_rows *= 4

    def _settle_what_was_written(self, step: Step, after: Snapshot) -> None:
        """The answer is the proof: a row is done when its key is where it was written, and a new one just once.

        What is not done (a person pasted over the key in this moment) is planned again on the answer.
        """
        layout = self.layout(after)
        place = layout.columns.get(self.target.key)
        if place is None:
            return
        for update in step.updates:
            key = after.texts(step.lands(update.at)).get(place)
            if key == tidy(update.row.key) and update.row.key not in step.unfinished:
                self._settle(update.edits.told(Outcome(update.row.key, "written", waiting=update.waiting)))
        if step.appends:
            count = Counter(key for _, key in after.keys(place, layout.header))
            for append in step.appends:
                if count[tidy(append.row.key)] == 1:
                    self._settle(append.edits.told(Outcome(append.row.key, "written", waiting=append.waiting)))

    def _settle(self, outcome: Outcome) -> None:
        key = outcome.key
        if self.pending.pop(key, None) is None:
            return
        self.route.suspects.discard(key)
        self.idle = 0
        # What is true of a column is reported once, not by every row of every batch.
        known, notes = self.route.reported, self.notes.pop(key, ())
        notices = tuple(note for note in dict.fromkeys(notes + outcome.notices) if note not in known)
        known |= self._about_columns.intersection(notices)
        landed = [edits.told(outcome) for edits in self.landed.pop(key, ())]
        former = {name: cell for step in (outcome, *reversed(landed)) for name, cell in step.former.items()}
        overwritten = dict.fromkeys(name for step in (*landed, outcome) for name in step.overwritten)
        added = outcome.added or any(step.added for step in landed)
        self.outcomes[key] = replace(
            outcome, notices=notices, former=former, overwritten=tuple(overwritten), added=added
        )

    def _refused_for_no_edit(self, error: Rejected, snapshot: Snapshot, step: Step) -> None:
        """Nobody changed anything, and still Google refuses the batch: find the row that it refuses, by halves."""
        if str(error) == "protected":
            names = ", ".join(f'"{protection.name}"' for protection in snapshot.protections) or "A protected range"
            raise NeedsAction(
                f'{names} in "{snapshot.title}" keeps the connector from writing: Data > Protect sheets and ranges > '
                "that range > Set permissions, and add the connector's account"
            ) from error
        self.refusals += 1
        if self.refusals == 1:
            return  # an edit that was undone again, perhaps
        if self.look and not step.keys:
            self.look = False  # perhaps the look of a new tab is what Google refuses
            return
        if step.grown:
            self.route.grows = Growth(self.route.grows - 1)
            return
        keys = step.keys
        reason = f'Google refuses what is to be written into "{snapshot.title}": {self._without_values(error, keys)}'
        if not keys:
            raise NeedsAction(reason, outcomes=list(self.outcomes.values())) from error
        if len(keys) > 1:
            self.most_rows = len(keys) // 2
            return
        self.held[keys[0]] = reason
        self.route.suspects.add(keys[0])
        if sum(key in self.held for key in self.route.suspects) >= _MOST_REFUSED_ROWS:
            raise NeedsAction(reason, outcomes=list(self.outcomes.values())) from error

    def _without_values(self, error: Rejected, keys: Sequence[str]) -> str:
        words = str(error)
        for key in keys:
            for cell in self.pending[key].cells.values():
                if isinstance(cell, str) and len(cell) > 1:
                    words = words.replace(cell, "…")
        return words
