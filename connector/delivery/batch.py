"""Records -> the rows that have to be sent for them, and afterwards what the destination holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from types import MappingProxyType

from msgspec import Struct, field
from msgspec.structs import replace

from connector import logs
from connector.core.errors import StoreUnavailable
from connector.core.facts import load_facts
from connector.core.mapping import Evaluation
from connector.core.quoting import without_secrets
from connector.core.record import AffiliateRecord
from connector.core.row import Cell, Row, dump_cells, load_cells, remembered, same_cell
from connector.core.sink import Outcome, Sink, Target
from connector.core.view import view
from connector.dead_letters import DeadLetters, Letter
from connector.faults import describe
from connector.store.model import Later, LogLine, Pending, Result, RowChange, Written
from connector.store.store import Store

_log = logs.get("delivery")

_DUPLICATE_KEY = "duplicate_key"
_SECONDS_UNTIL_A_KEY_IS_FREE = 1.0
_LONGEST_CIRCLE_RECORDS = 10
_NOTHING: Mapping[str, Cell] = MappingProxyType({})


class Route(Struct, frozen=True):
    """A sink together with one mapping file: what one delivery thread serves.

    Args:
        secrets: taken out of whatever the destination says, before it is kept.
    """

    name: str
    sink: Sink
    target: Target
    evaluate: Callable[[AffiliateRecord], Evaluation]
    secrets: Sequence[str] = ()


class Job(Struct):
    """A leased record on its way: the rows that have to be sent for it, its dead letters so far, and how many cells are
    left empty because their values do not fit. *typed*: by row key, what earlier writes of unknown end may have
    overwritten of what people typed."""

    pending: Pending
    rows: list[Row]
    letters: list[Letter]
    left_empty: int = 0
    typed: dict[str, Sequence[Mapping[str, Cell]]] = field(default_factory=dict)

    @property
    def record_id(self) -> str:
        return self.pending.record_id

    def letter(
        self, route: Route, row: Row, reason: str, code: str, *, column: str | None = None, where: str = ""
    ) -> None:
        """Add the dead letter of *row*; *where* is the mapping's line, or that of the field of *column*."""
        pending, reason = self.pending, without_secrets(reason, route.secrets)
        where = where or next((each.where for each in route.target.columns if each.name == column), "")
        self.letters.append(
            Letter(
                "deliver", route.name, pending.record_id, reason, code, row=row.key, where=where,
                tries=pending.tries + 1,
                content={"cells": json.loads(dump_cells(row.cells)), "version": pending.version},
            )
        )  # fmt: skip


class WrittenRows:
    """What a route has written: all rows of some records, and all rows with the keys that they want."""

    def __init__(self, written: Sequence[Written]) -> None:
        self._by_key = {row.key: row for row in written}
        self._keys_of: dict[str, list[str]] = {}
        for row in written:
            self._keys_of.setdefault(row.record_id, []).append(row.key)

    def holder(self, key: str) -> str | None:
        row = self._by_key.get(key)
        return None if row is None else row.record_id

    def cells(self, key: str) -> dict[str, Cell] | None:
        row = self._by_key.get(key)
        return None if row is None else load_cells(row.cells)

    def with_base(self, row: Row) -> Row:
        """*row* with what is known of its earlier writes."""
        before = self._by_key.get(row.moved_from or row.key)
        if before is None:
            return row
        held = load_cells(before.held, row.cells) if before.held else _NOTHING
        last = load_cells(before.cells, row.cells)
        return replace(row, last=last, held=held, tried=_lines(before.tried))

    def typed(self, row: Row) -> Sequence[Mapping[str, Cell]]:
        before = self._by_key.get(row.moved_from or row.key)
        return _lines(before.typed) if before is not None else ()

    def is_wanted_again(self, key: str) -> bool:
        row = self._by_key.get(key)
        return row is not None and row.again

    def keys_of(self, record_id: str) -> Sequence[str]:
        return self._keys_of.get(record_id, ())


def told_again(route: str, store: Store, jobs: Sequence[Job], rows: Sequence[Row]) -> list[Row]:
    """*rows* of *jobs* for another try of their call, whose answer was perhaps lost: with what the first try may have
    written, and with what people had typed there."""
    written = WrittenRows(store.written(route, [job.record_id for job in jobs], [row.key for row in rows]))
    for job in jobs:
        job.typed |= {row.key: typed for row in job.rows if (typed := written.typed(row))}
    return [written.with_base(row) for row in rows]


def _lines(dumped: str) -> Sequence[Mapping[str, Cell]]:
    return tuple(load_cells(line) for line in dumped.split("\n") if line)


def shape_of(route: Route, record_id: str, facts: bytes) -> Evaluation:
    return route.evaluate(view(record_id, load_facts(facts)))


def holders_of(
    route: Route, store: Store, pending: Pending, shape: Evaluation, written: WrittenRows, *, waits: bool = True
) -> dict[str, str] | None:
    """By key, the other record that has the same key as a row of *shape*, and whose row was written first.

    Returns:
        None, where *waits*: the other has given the key up and its row will be moved; wait until then.
    """
    holders: dict[str, str] = {}
    for row in shape.rows:
        holder = written.holder(row.key)
        if holder is None or holder == pending.record_id:
            continue
        if _has_key(route, store, holder, row.key):
            holders[row.key] = holder
        elif waits and any(each.route == route.name for each in store.pending_of(holder)):
            return None
    return holders


def _waits_for_itself(route: Route, store: Store, record_id: str) -> bool:
    """Whether *record_id* and others have exchanged their keys: none can give its own up before another does."""
    seen, waiting = {record_id}, [record_id]
    while waiting and len(seen) <= _LONGEST_CIRCLE_RECORDS:
        each = waiting.pop()
        known = store.load([each]).get(each)
        with suppress(Exception):  # its own delivery reports the bug
            keys = [row.key for row in shape_of(route, each, known.facts).rows] if known is not None else []
            holders = {row.record_id for row in store.written(route.name, (), keys)} - {each}
            if record_id in holders:
                return True
            waiting += sorted(holders - seen)
            seen |= holders
    return False


def _has_key(route: Route, store: Store, record_id: str, key: str) -> bool:
    known = store.load([record_id]).get(record_id)
    if known is None:
        return False
    try:
        shape = shape_of(route, record_id, known.facts)
    except Exception:  # its own delivery reports the bug; until then it keeps its row
        return True
    rows = {row.key for row in shape.rows} - shape.removals
    return key in rows or any(problem.key == key for problem in shape.problems)


def jobs_of(
    route: Route,
    store: Store,
    pending: Sequence[Pending],
    taken: set[str],
    room: int,
    now: datetime,
    backoff: Callable[[int], float],
) -> tuple[list[Job], list[Result]]:
    """Turn records into the rows that have to be sent.

    Args:
        taken: the keys in the batch so far; grows.
        room: how many rows the batch may still have.

    Returns:
        Records with rows to send, and the results of those that need no call or are put back.
    """
    shaped: list[tuple[Pending, Evaluation]] = []
    settled: list[Result] = []
    fault: dict[str, str] = {}
    for one in pending:
        try:
            shaped.append((without_facts(one), shape_of(route, one.record_id, one.facts)))
        except Exception as error:  # this record's fault or the mapping's; the others continue
            fault = describe(error)
            due = now + timedelta(seconds=backoff(one.tries + 1))
            settled.append(put_back(one, due, reason="bug", failed=True))
    if fault:
        logs.warn(_log, "mapping.bug", route=route.name, records=len(settled), **fault)
    ids = [one.record_id for one, _ in shaped]
    written = WrittenRows(store.written(route.name, ids, [row.key for _, shape in shaped for row in shape.rows]))
    jobs: list[Job] = []
    for one, shape in shaped:
        holders = holders_of(route, store, one, shape, written)
        exchanged = holders is None and _waits_for_itself(route, store, one.record_id)
        if exchanged:
            holders = holders_of(route, store, one, shape, written, waits=False)
        if holders is None:
            settled.append(put_back(one, now + timedelta(seconds=_SECONDS_UNTIL_A_KEY_IS_FREE), reason="key_moves"))
            continue
        job = job_of(route, one, shape, written, now, holders)
        if exchanged:  # each is written where the other was; the row that it leaves is wanted by another
            wanted = {row.key for row in shape.rows} - shape.removals
            job.rows = [row for row in job.rows if row.key in wanted]
        keys = {key for row in job.rows for key in (row.key, row.moved_from) if key is not None}
        if keys & taken or (len(keys) > room and (jobs or taken)):
            settled.append(put_back(one, now))  # its key is in this batch already, or there is no room
        elif keys or job.letters:
            taken |= keys
            room -= len(keys)
            jobs.append(job)
        else:
            settled.append(Result(one.record_id, one.version, one.token, left_empty=job.left_empty))
    return jobs, settled


def without_facts(pending: Pending) -> Pending:
    """What is kept of a record while its rows are on their way: the facts of a whole batch are many megabytes."""
    return replace(pending, facts=b"")


def put_back(pending: Pending, due_at: datetime, *, reason: str = "", failed: bool = False) -> Result:
    later = Later(due_at, reason, failed, pending.isolated)
    return Result(pending.record_id, pending.version, pending.token, later=later)


def freed(route: str, results: Sequence[Result], letters: DeadLetters) -> set[str]:
    """The records that are dead letters because another record had their key, and now has it no more."""
    keys = {key for result in results for key in result.removed}
    try:
        open_now = letters.list() if keys else []
    except StoreUnavailable:  # what can't be read stops nothing
        return set()
    return {
        letter.subject
        for letter in open_now
        if letter.place == route and letter.code == _DUPLICATE_KEY and letter.row in keys
    }


def job_of(
    route: Route,
    pending: Pending,
    shape: Evaluation,
    written: WrittenRows,
    now: datetime,
    holders: Mapping[str, str] = MappingProxyType({}),
) -> Job:
    """The rows that the destination does not hold yet, and the letters of those that can't be made."""
    job = Job(pending, [], [], len(shape.left_empty))
    moved_from = _moved_from(route, pending, shape, written)
    rows = [replace(row, moved_from=moved_from) for row in shape.rows] if moved_from else list(shape.rows)
    for row in [*rows, *_left_over(route.target, pending, shape, written, now, moved_from)]:
        row = written.with_base(row)
        last = row.last
        if (last is None or row.key in holders) and row.key in shape.removals:
            continue  # what was never written need not be removed, and another record's row stays
        if row.key in holders:
            reason = _not_unique(route.target, row.key, holders[row.key])
            job.letter(route, row, reason, _DUPLICATE_KEY, column=route.target.key)
            continue
        # A row that had another key, or was another record's, is sent though its cells are the same: from now on it is
        # found by that key, and is this record's.
        is_new = written.holder(row.key) != pending.record_id
        if row.remove or is_new or written.is_wanted_again(row.key) or _changed(remembered(row), last or {}):
            job.rows.append(row)
            if typed := written.typed(row):
                job.typed[row.key] = typed
    for problem in shape.problems:
        row = Row(pending.record_id, problem.key, problem.cells)
        job.letter(route, row, problem.reason, problem.code, where=problem.where)
    return job


def _not_unique(target: Target, key: str, holder: str) -> str:
    return (
        f'{target.key} "{key}" is the key of {holder} already, which keeps the row: two records can\'t have one key. '
        "Put the id into the key, or correct one of the two at the platform"
    )


def _moved_from(route: Route, pending: Pending, shape: Evaluation, written: WrittenRows) -> str | None:
    """The key under which this record's only row was written until now, when it is another now."""
    before = written.keys_of(pending.record_id)
    if route.target.for_each or len(before) != 1 or len(shape.rows) != 1 or shape.problems or shape.removals:
        return None
    (row,) = shape.rows
    is_new = written.holder(row.key) is None
    return before[0] if is_new and row.key != before[0] and getattr(route.sink, "moves_rows", False) else None


def _left_over(
    target: Target,
    pending: Pending,
    shape: Evaluation,
    written: WrittenRows,
    now: datetime,
    moved_from: str | None,
) -> list[Row]:
    """How to remove the rows that were written for a record which has no such rows any more."""
    if not all(problem.key for problem in shape.problems):
        return []  # the key of a row is not known: it may be any of those that were written
    kept = {row.key for row in shape.rows} | {problem.key for problem in shape.problems}
    what = getattr(target.options, "removed_records", "leave_alone")
    rows: list[Row] = []
    for key in written.keys_of(pending.record_id):
        if key in kept or key == moved_from:
            continue
        last = written.cells(key) or {}
        cells: dict[str, Cell] = {target.key: last.get(target.key, key)}
        if what == "delete":
            rows.append(Row(pending.record_id, key, cells, remove=True))
        elif what == "mark" and last.get(target.options.removed_column) is None:
            rows.append(Row(pending.record_id, key, cells | {target.options.removed_column: now.date()}))
    return rows


class Holdings(Struct):
    """What the store is to know of a record's rows after a call; see ``Result``."""

    written: dict[str, str] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    kept: dict[str, tuple[str, ...]] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)


class Sent(Struct):
    """What the calls of a batch have brought; *answered*: the keys of the rows that calls with an answer were about."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    error: Exception | None = None
    seconds: list[float] = field(default_factory=list)

    def is_answered(self, job: Job) -> bool:
        return all(row.key in self.answered for row in job.rows)

    def holdings(self, job: Job) -> Holdings:
        """What the destination now holds of a record's rows."""
        now = Holdings()
        for row in job.rows:
            outcome = self.outcomes.get(row.key)
            if outcome is None or outcome.kind != "written":
                continue
            if row.remove:
                now.removed.append(row.key)
                continue
            if row.moved_from is not None:
                now.removed.append(row.moved_from)
            cells = {**(row.last or {}), **remembered(row)}
            now.written[row.key] = dump_cells({n: cell for n, cell in cells.items() if n not in outcome.waiting})
            instead = {n: cell for n, cell in row.held.items() if n not in row.cells} | dict(outcome.held)
            if instead:
                now.held[row.key] = dump_cells({n: cell for n, cell in instead.items() if n not in outcome.waiting})
            if outcome.kept:
                now.kept[row.key] = outcome.kept
        return now


def tries_of(jobs: Sequence[Job]) -> dict[str, str]:
    """By key of the row that was written before: the dumped cells that are about to be written over it, for
    ``Store.note_tries``. An answer may be lost, and the record may have other values by the next try."""
    tries: dict[str, str] = {}
    for job in jobs:
        for row in job.rows:
            changed = changed_cells(row)
            if row.last is not None and changed and not row.remove and changed not in row.tried:
                tries[row.moved_from or row.key] = dump_cells(changed)
    return tries


def lines_of(row: Row, outcome: Outcome, delivery: str, typed: Sequence[Mapping[str, Cell]] = ()) -> Iterator[LogLine]:
    """What the delivery log keeps of a row.

    Args:
        typed: what people had typed when earlier writes, whose end is not known, were about to overwrite it. What is
            not there any more was overwritten by them.
    """
    cells = changed_cells(row)
    if outcome.kind != "written":
        yield LogLine(row.key, outcome.kind, outcome.code, dump_cells(cells), delivery=delivery)
        return
    for before in typed:
        lost = {
            name: cell
            for name, cell in before.items()
            if name not in outcome.kept and not (name in outcome.overwritten and outcome.former[name] == cell)
        }
        if lost:
            yield LogLine(row.key, "written", "", "{}", dump_cells(lost), tuple(lost), delivery)
    stays = {*outcome.kept, *outcome.held} - set(outcome.former)
    cells = {n: cell for n, cell in row.cells.items() if (n in cells or n in outcome.former) and n not in stays}
    row_change: RowChange = "removed" if row.remove else "added" if outcome.added else ""
    former = dump_cells(outcome.former) if outcome.former else ""
    yield LogLine(
        row.key, "written", outcome.code, dump_cells(cells), former, outcome.overwritten, delivery, row_change
    )


def changed_cells(row: Row) -> Mapping[str, Cell]:
    """The cells that say something else than was last written."""
    return row.cells if row.last is None else _changed(row.cells, row.last)


def _changed(cells: Mapping[str, Cell], last: Mapping[str, Cell]) -> dict[str, Cell]:
    return {name: cell for name, cell in cells.items() if name not in last or not same_cell(last[name], cell)}
