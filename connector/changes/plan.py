"""What a version of a mapping would do to a route's rows: one value for `plan`, `apply`, what is held, and the page.

It is computed by the functions that deliver: a plan is what delivery would send, counted instead of sent.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from msgspec import Struct, field

from connector.core.errors import Stopping
from connector.core.facts import load_facts
from connector.core.mapping import Evaluation, Unshaped
from connector.core.overwrite import decide, is_empty
from connector.core.record import AffiliateRecord
from connector.core.row import Cell, Row, remembered, same_cell
from connector.core.sink import Change, Sink, Target
from connector.core.view import view
from connector.delivery.batch import Job, Route, WrittenRows, holders_of, job_of
from connector.phrases import many
from connector.store import Store
from connector.store.model import Known, Pending

_RECORDS_PER_PAGE = 500
_SAMPLES_PER_COLUMN = 3
_NAMED_PER_REASON = 3

_REASONS = {
    "bad_email": "the e-mail address is not valid",
    "bad_phone": "the phone number is not valid",
    "bad_url": "the address of a page is not valid",
    "no_rule": "map has no rule for the word",
    "duplicate_key": "another affiliate has the same key",
}


class Sample(Struct, frozen=True):
    """One changed cell: whose, what was last written (live: what is there), what would be written."""

    who: str
    record_id: str
    old: Cell
    new: Cell


class ColumnChange(Struct):
    """A column with changed cells; *where* is the mapping's line that causes them, *filled* of them hold something."""

    name: str
    where: str
    cells: int = 0
    filled: int = 0
    samples: list[Sample] = field(default_factory=list)


class LettersAhead(Struct, frozen=True):
    """Affiliates that would become dead letters, and why; *who*: the first of them."""

    affiliates: int
    reason: str
    where: str
    who: Sequence[str] = ()


class Stays(Struct, frozen=True):
    """A cell that an undo leaves as it is; *by_people*: it is no longer as the connector left it."""

    record_id: str
    column: str
    by_people: bool = False


class Unfitting(Struct, frozen=True):
    """A column with values that do not fit: how many cells would be left empty, or as they are."""

    column: str
    cells: int
    where: str


class Plan(Struct):
    """What would change.

    Args:
        noun: what the destination calls a row: ``row``, ``contact``, ``company``.
        rows_extended: rows that get cells in new columns only.
        leaving: what becomes of *rows_leaving*: see ``removed_records``.
        cells: changed cells, of *rows_changed* rows; cells in new rows and in new columns are no changes.
        cells_filled: cells that new columns get in rows that are there, where they are empty.
        columns_renamed: (old, new): a new column with what an old one has had.
        left_empty: values that do not fit, of records whose row changes.
        choices_unknown: changed columns that the destination may take certain words for only, which *live* would tell.
        edits_kept: cells that people typed and that stay (known with *live* only).
        stay: of an undo: the first cells that stay.
        adds_only: nothing that is there is changed or removed.
        live: it was compared with the destination, not with what was last written.
    """

    route: str
    noun: str = "row"
    sentence: str = ""
    rows_new: int = 0
    rows_leaving: int = 0
    rows_unchanged: int = 0
    rows_changed: int = 0
    rows_extended: int = 0
    leaving: str = "leave_alone"
    cells: int = 0
    cells_filled: int = 0
    columns_new: list[str] = field(default_factory=list)
    columns_gone: list[str] = field(default_factory=list)
    columns_renamed: list[tuple[str, str]] = field(default_factory=list)
    columns: list[ColumnChange] = field(default_factory=list)
    letters: list[LettersAhead] = field(default_factory=list)
    left_empty: list[Unfitting] = field(default_factory=list)
    choices_unknown: list[str] = field(default_factory=list)
    edits_kept: int = 0
    stay: list[Stays] = field(default_factory=list)
    adds_only: bool = True
    live: bool = False

    @property
    def is_empty(self) -> bool:
        """Nothing is to do."""
        removed = self.rows_leaving if self.leaving != "leave_alone" else 0
        columns = self.columns_new or self.columns_gone or self.columns_renamed
        return not (self.rows_new or removed or self.rows_extended or self.cells or columns or self.letters)


def plan_of(
    route: Route,
    store: Store,
    *,
    now: datetime,
    running: Route | None = None,
    with_pending: bool = False,
    live: Sink | None = None,
    held_only: bool = False,
    stop: threading.Event | None = None,
) -> Plan:
    """What *route* would do, page by page of all records; writes nothing.

    Args:
        running: the version that runs, whose columns are compared.
        with_pending: count also what *running* will write as it is, for records that are pending.
        live: compare with the destination instead of with what was last written.
        held_only: only the records that are held (``StoredMapping.first``).
        stop: ends it with Stopping.

    Raises:
        NeedsAction, TryLater: from *live*.
    """
    planner = _Planner(route, store, now, running, live)
    planner.with_pending = with_pending
    after = ""
    page = partial(store.held_records, route.name) if held_only else store.record_ids
    while ids := page(after, _RECORDS_PER_PAGE):
        if stop is not None and stop.is_set():
            raise Stopping("the program stops")
        planner.add(store.load(ids))
        after = ids[-1]
    return planner.plan()


class _Planner:
    """One plan on its way."""

    with_pending = False

    def __init__(self, route: Route, store: Store, now: datetime, running: Route | None, live: Sink | None) -> None:
        self._route, self._store, self._now, self._running, self._live = route, store, now, running, live
        leaving = getattr(route.target.options, "removed_records", "leave_alone")
        self._plan = Plan(route.name, noun_of(route.target), leaving=leaving, live=live is not None)
        self._columns = {column.name: column for column in route.target.columns}
        self._changes = {name: ColumnChange(name, column.where) for name, column in self._columns.items()}
        self._before = {column.name for column in running.target.columns} if running is not None else set[str]()
        self._new_keys: set[int] = set()
        self._letters: Counter[tuple[str, str]] = Counter()
        self._refused: dict[tuple[str, str], list[str]] = {}
        self._unfitting: Counter[str] = Counter()

    def add(self, known: Mapping[str, Known]) -> None:
        """Count a page of records."""
        records = {record_id: view(record_id, load_facts(found.facts)) for record_id, found in known.items()}
        shapes = {record_id: self._route.evaluate(record) for record_id, record in records.items()}
        keys = [row.key for shape in shapes.values() for row in shape.rows]
        written = WrittenRows(self._store.written(self._route.name, list(records), keys))
        rows: list[tuple[Row, AffiliateRecord, Evaluation | None]] = []
        for record_id, shape in shapes.items():
            job = self._job(record_id, known[record_id], shape, written)
            before = self._before_of(records[record_id], shape, job)
            self._count_letters(records[record_id], job, shape, before)
            met = () if before is None else {(unfit.key, unfit.column) for unfit in before.left_empty}
            self._unfitting.update(u.column for u in shape.left_empty if (u.key, u.column) not in met)
            self._count_left_alone(shape, before, written.keys_of(record_id))
            sent = {row.key for row in job.rows}
            self._plan.rows_unchanged += sum(row.key not in sent for row in shape.rows) if self._live is None else 0
            rows += [(row, records[record_id], before) for row in job.rows]
            if self._live is not None:
                equal = [row for row in shape.rows if row.key not in sent and row.key not in shape.removals]
                rows += [(written.with_base(row), records[record_id], None) for row in equal]
        if self._live is None:
            for row, record, before in rows:
                self._count(row, record, before)
        else:
            self._compare(rows)

    def _job(self, record_id: str, known: Known, shape: Evaluation, written: WrittenRows) -> Job:
        pending = Pending(record_id, known.version, known.facts, "", 0, self._now, None, False)
        holders = holders_of(self._route, self._store, pending, shape, written) or {}
        return job_of(self._route, pending, shape, written, self._now, holders)

    def _before_of(self, record: AffiliateRecord, shape: Evaluation, job: Job) -> Evaluation | None:
        """What the running version makes of a record about which there is something to count."""
        if (
            self._running is None
            or self.with_pending
            or not (job.rows or job.letters or shape.left_empty or not shape.rows)
        ):
            return None
        return self._running.evaluate(record)

    # ------------------------------------------------ against what was last written

    def _count(self, row: Row, record: AffiliateRecord, before: Evaluation | None) -> None:
        plan = self._plan
        same = _row_of(before, row)
        if row.remove or self._marks(row):
            plan.rows_leaving += same is None or not (same.remove or self._marks(same))
        elif (row.last is None or row.moved_from is not None) and self._is_taken(row.key):
            self._letter(record, _REASONS["duplicate_key"], self._columns[self._route.target.key].where)
        elif row.last is None:
            plan.rows_new += same is None
        else:
            changed, extended = self._cells(row, record, same)
            plan.rows_changed += changed > 0
            plan.rows_extended += extended and not changed
            plan.rows_unchanged += not extended and not changed

    def _marks(self, row: Row) -> bool:
        """Whether the row gets the day since when it is out."""
        column = self._route.target.options.removed_column
        return (
            self._plan.leaving == "mark"
            and row.cells.get(column) is not None
            and (row.last is None or row.last.get(column) is None)
        )

    def _is_taken(self, key: str) -> bool:
        """Whether another record has that new key; the first has it."""
        known = hash(key) in self._new_keys
        self._new_keys.add(hash(key))
        return known

    def _cells(self, row: Row, record: AffiliateRecord, same: Row | None) -> tuple[int, bool]:
        """How many cells change, and whether any is added in a new column."""
        last, changed, extended = row.last or {}, 0, False
        pending = {} if same is None else remembered(same)
        for name, new in remembered(row).items():
            if name in last and same_cell(last[name], new):
                continue
            if name in pending and same_cell(pending[name], new):
                continue  # the running version writes it as well
            column = self._columns.get(name)
            old = row.held.get(name, last.get(name))
            if column is not None and decide(column, old, new, created=False) == "keep":
                continue
            if name not in last:
                extended = extended or not is_empty(new)
                self._plan.cells_filled += self._is_new(name) and not is_empty(new)
                continue
            changed += 1
            self._sample(name.lstrip("\x00"), record, old, new)
        self._plan.cells += changed
        return changed, extended

    def _is_new(self, name: str) -> bool:
        """Whether the running version has no such column."""
        return self._running is not None and name in self._columns and name not in self._before

    def _sample(self, name: str, record: AffiliateRecord, old: Cell, new: Cell) -> None:
        change = self._changes.setdefault(name, ColumnChange(name, ""))
        change.cells += 1
        change.filled += not is_empty(old)
        if len(change.samples) < _SAMPLES_PER_COLUMN:
            change.samples.append(Sample(_who(record), record.id, old, new))

    def _count_left_alone(self, shape: Evaluation, before: Evaluation | None, written: Sequence[str]) -> None:
        """Rows that stay as they are, since their records make none any more."""
        if self._plan.leaving != "leave_alone" or shape.problems:
            return
        kept = {row.key for row in shape.rows}
        if len(written) == 1 and len(shape.rows) == 1 and getattr(self._route.sink, "moves_rows", False):
            return  # it is moved
        gone = [key for key in written if key not in kept]
        if before is not None:
            gone = [key for key in gone if any(row.key == key for row in before.rows)]
        self._plan.rows_leaving += len(gone)

    def _count_letters(self, record: AffiliateRecord, job: Job, shape: Evaluation, before: Evaluation | None) -> None:
        problems = () if before is None else before.problems
        met = {(problem.key, problem.column, problem.code) for problem in problems}
        found = [problem for problem in shape.problems if (problem.key, problem.column, problem.code) not in met]
        for problem in found[:1]:
            self._letter(record, _reason(problem), problem.where)
        if not shape.problems and job.letters and before is None:
            letter = job.letters[0]
            self._letter(record, _REASONS.get(letter.code, letter.code), letter.where)

    def _letter(self, record: AffiliateRecord, reason: str, where: str) -> None:
        self._letters[reason, where] += 1
        who = self._refused.setdefault((reason, where), [])
        if len(who) < _NAMED_PER_REASON:
            who.append(_who(record))

    # ------------------------------------------------ against the destination

    def _compare(self, rows: Sequence[tuple[Row, AffiliateRecord, Evaluation | None]]) -> None:
        sink = self._live
        assert sink is not None
        by_key = {row.key: (row, record) for row, record, _ in rows}
        for start in range(0, len(rows), max(1, sink.batch_rows)):
            part = [row for row, _, _ in rows[start : start + max(1, sink.batch_rows)]]
            for change in sink.preview(self._route.target, part):
                self._count_change(change, *by_key[change.key])

    def _count_change(self, change: Change, row: Row, record: AffiliateRecord) -> None:
        plan = self._plan
        plan.edits_kept += len(change.kept)
        self._unfitting.update(change.left_empty)
        if row.remove:
            plan.rows_leaving += change.found_by is not None
        elif change.found_by is None:
            plan.rows_new += 1
        elif change.cells:
            filled = sum(self._is_new(name) and is_empty(old) for name, (old, _) in change.cells.items())
            changed = len(change.cells) - filled
            plan.rows_changed += changed > 0
            plan.rows_extended += not changed
            plan.cells += changed
            plan.cells_filled += filled
            for name, (old, new) in change.cells.items():
                self._sample(name, record, old, new)
        else:
            plan.rows_unchanged += 1

    # ------------------------------------------------ the end

    def plan(self) -> Plan:
        plan = self._plan
        self._name_columns()
        plan.columns = sorted((c for c in self._changes.values() if c.cells), key=lambda change: -change.cells)
        plan.letters = [
            LettersAhead(count, *about, self._refused[about]) for about, count in self._letters.most_common()
        ]
        plan.left_empty = [
            Unfitting(name, cells, self._columns[name].where) for name, cells in self._unfitting.most_common()
        ]
        if self._live is None and getattr(self._route.target.options, "has_properties", False):
            mapped = (change.name for change in plan.columns if change.name in self._columns)
            plan.choices_unknown = [name for name in mapped if self._columns[name].words]
        removes = plan.rows_leaving > 0 and plan.leaving != "leave_alone"
        plan.adds_only = not plan.cells and not removes
        plan.sentence = sentence_of(plan)
        return plan

    def _name_columns(self) -> None:
        if self._running is None:
            return
        new = [column for column in self._route.target.columns if column.name not in self._before]
        gone = [column for column in self._running.target.columns if column.name not in self._columns]
        for column in new:
            source = (column.paths, column.type, column.words)
            old = next((each for each in gone if each.paths and (each.paths, each.type, each.words) == source), None)
            if old is not None:
                gone.remove(old)
                self._plan.columns_renamed.append((old.name, column.name))
            else:
                self._plan.columns_new.append(column.name)
        self._plan.columns_gone = [column.name for column in gone]


def sentence_of(plan: Plan) -> str:
    """The answer in one sentence."""
    if plan.is_empty:
        return "Nothing would change."
    parts = []
    if plan.cells:
        parts.append(f"{many(plan.cells, 'cell')} in {nouns(plan.rows_changed, plan.noun)} would change")
    if plan.rows_leaving and plan.leaving != "leave_alone":
        what = "be removed" if plan.leaving == "delete" else "be marked as removed"
        parts.append(f"{nouns(plan.rows_leaving, plan.noun)} would {what}")
    if not parts and plan.rows_new:
        parts.append(f"{nouns(plan.rows_new, plan.noun)} would be added")
    if not parts and (columns := [*plan.columns_new, *(new for _, new in plan.columns_renamed)]):
        parts.append(f"{many(len(columns), 'column')} would be added")
    if not parts and plan.columns_gone:
        parts.append(f"{many(len(plan.columns_gone), 'column')} would no longer be kept")
    if plan.cells_filled:
        parts.append(f"{many(plan.cells_filled, 'cell')} of new columns would be filled")
    if not parts:
        parts.append("Some rows would be completed" if plan.rows_extended else "Some affiliates would be refused")
    return f"{', and '.join(parts)}."


def noun_of(target: Target) -> str:
    """What the destination calls one of its rows."""
    return {"contacts": "contact", "companies": "company"}.get(getattr(target.options, "object", ""), "row")


def nouns(count: int, noun: str) -> str:
    """``1 contact``, ``2 contacts``, ``2 companies``."""
    return f"{count:,} companies" if noun == "company" and count != 1 else many(count, noun)


def _row_of(before: Evaluation | None, row: Row) -> Row | None:
    """The row that the running version makes in that place."""
    if before is None:
        return None
    return next((other for other in before.rows if other.key in (row.key, row.moved_from)), None)


def _who(record: AffiliateRecord) -> str:
    return record.name or record.email or record.id


def _reason(problem: Unshaped) -> str:
    return _REASONS.get(problem.code, f"the value of {problem.column} does not fit")
