"""Putting back what a route wrote: from the delivery log, where a cell still holds what we wrote.

Which rows that are is worked out anew from the log and from what is known to be written, so an undo that was killed
continues, and one that is repeated finds nothing more to do.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct, field

from connector.changes.notes import Undo
from connector.changes.plan import ColumnChange, Plan, Sample, Stays, noun_of, nouns
from connector.core.row import Cell, Row, dump_cells, load_cells, same_cell
from connector.core.sink import Outcome
from connector.delivery.batch import Job, Route, Sent, WrittenRows, lines_of, tries_of
from connector.phrases import many
from connector.store import Store
from connector.store.model import DeliveryLine, Pending, Result, Written

_ROWS_PER_LOOK = 500
_SAMPLES_PER_COLUMN = 3
_LISTED = 100


def moment_of(words: str, now: datetime) -> datetime:
    """The moment that *words* name: ``2 hours ago``, or ISO 8601 (local time where it names no zone).

    Raises:
        ValueError: they name none.
    """
    ago = re.fullmatch(r"\s*(\d{1,6})\s*(second|minute|hour|day|week)s?(?:\s+ago)?\s*", words)
    if ago is not None:
        return now - timedelta(**{f"{ago[2]}s": int(ago[1])})
    return datetime.fromisoformat(words.strip()).astimezone(now.tzinfo)


# ---------------------------------------------------------------- which rows


class _Net(Struct):
    """What the lines of one row come to: by column the value before the first and after the last of them. *typed*: the
    columns whose value before the first was a person's."""

    record_id: str
    former: dict[str, Cell] = field(default_factory=dict)
    typed: set[str] = field(default_factory=set)
    wrote: dict[str, Cell] = field(default_factory=dict)
    oldest_change: str = ""
    newest_change: str = ""


class Restoring(Struct):
    """The rows that put something back, and the cells that stay because a later delivery wrote them, or because the
    mapping does not keep their column any more."""

    rows: list[Row] = field(default_factory=list)
    stay: list[Stays] = field(default_factory=list)
    typed: dict[str, set[str]] = field(default_factory=dict)
    """By row key, the columns that get back what a person had typed."""


def restoring(route: Route, store: Store, undo: Undo) -> Restoring:
    """What is to be written for *undo*, as far as it is known here."""
    nets: dict[str, _Net] = {}
    for line in _lines(route.name, store, undo):
        net = nets.setdefault(line.key, _Net(line.record_id))
        for name, cell in load_cells(line.cells).items():
            net.wrote.setdefault(name, cell)  # the newest line comes first
        if line.former:
            former = load_cells(line.former)
            net.former.update(former)
            net.typed = (net.typed - former.keys()) | (former.keys() & set(line.overwritten))
        if line.row_change:
            net.oldest_change = line.row_change
            net.newest_change = net.newest_change or line.row_change
    found = Restoring()
    keys = list(nets)
    for start in range(0, len(keys), _ROWS_PER_LOOK):
        some = keys[start : start + _ROWS_PER_LOOK]
        known = {row.key: row for row in store.written(route.name, (), some)}
        for key in some:
            _add(found, route, key, nets[key], known.get(key))
    return found


def _lines(route: str, store: Store, undo: Undo) -> Iterator[DeliveryLine]:
    """What *route* wrote that is to be put back, the newest first."""
    before: DeliveryLine | None = None
    while True:
        if undo.since is not None:
            page = store.deliveries_since(route, undo.since, before=before)
        else:
            page = store.delivery(route, undo.delivery, before=before)
        if not page:
            return
        yield from (line for line in page if line.kind == "written" and line.at <= undo.until and line.cells)
        before = page[-1]


def _add(found: Restoring, route: Route, key: str, net: _Net, written: Written | None) -> None:
    column = route.target.key
    if written is None:
        if net.newest_change == "removed" and net.oldest_change != "added" and net.former:
            found.rows.append(Row(net.record_id, key, net.former, restore=True))
        return
    last, held = load_cells(written.cells), load_cells(written.held) if written.held else {}
    with_base = WrittenRows([written]).with_base

    def is_there(name: str, cell: Cell) -> bool:
        """Whether no later delivery has written another value there. Where a rule kept the cell as it was, a later
        delivery said another value, and what the destination holds is still ours."""
        return any(name in cells and same_cell(cells[name], cell) for cells in (last, held))

    if net.oldest_change == "added":
        if all(is_there(name, cell) for name, cell in net.wrote.items()):
            row = Row(net.record_id, key, {column: last.get(column, key)}, remove=True, restore=True)
            found.rows.append(with_base(row))
        else:  # a later delivery has written the row as well
            found.stay += [Stays(net.record_id, name) for name in net.wrote if name != column]
        return
    managed = {each.name for each in route.target.columns} - {column}
    cells: dict[str, Cell] = {}
    for name, former in net.former.items():
        if name not in net.wrote or same_cell(former, net.wrote[name]):
            continue
        if name in managed and is_there(name, net.wrote[name]):
            cells[name] = former
        elif name not in last or not same_cell(last[name], former):
            found.stay.append(Stays(net.record_id, name))
    if cells:
        found.typed[key] = net.typed & cells.keys()
        found.rows.append(with_base(Row(net.record_id, key, {column: last.get(column, key), **cells}, restore=True)))


# ---------------------------------------------------------------- what it would do


def plan_of_undo(route: Route, store: Store, undo: Undo) -> Plan:
    """What *undo* would put back, compared with the destination as it is.

    Raises:
        NeedsAction, TryLater: from the destination.
    """
    found = restoring(route, store, undo)
    plan = Plan(route.name, noun_of(route.target), leaving="delete", live=True)
    changes: dict[str, ColumnChange] = {}
    where = {column.name: column.where for column in route.target.columns}
    for part in _parts(found.rows, route.sink.batch_rows):
        rows = {row.key: row for row in part}
        for change in route.sink.preview(route.target, part):
            row = rows[change.key]
            if row.remove:
                plan.rows_leaving += change.found_by is not None
                continue
            if row.last is None:
                plan.rows_new += 1
                continue
            plan.rows_changed += bool(change.cells)
            plan.cells += len(change.cells)
            for name, (old, new) in change.cells.items():
                column = changes.setdefault(name, ColumnChange(name, where.get(name, "")))
                column.cells += 1
                if len(column.samples) < _SAMPLES_PER_COLUMN:
                    column.samples.append(Sample(row.record_id, row.record_id, old, new))
            missing = [name for name in row.cells if name != route.target.key and name not in change.cells]
            found.stay += [Stays(row.record_id, name, by_people=True) for name in missing]
    plan.columns = sorted(changes.values(), key=lambda change: -change.cells)
    plan.edits_kept = len(found.stay)
    plan.stay = found.stay[:_LISTED]
    plan.adds_only = False
    plan.sentence = _sentence(plan)
    return plan


def what_becomes_of_added(plan: Plan) -> str:
    """What an undo does with rows that were added, after ``is`` or ``would be``."""
    return "removed where nothing else stands in them" if plan.noun == "row" else "emptied of our values, not deleted"


def _sentence(plan: Plan) -> str:
    if not (plan.cells or plan.rows_leaving or plan.rows_new):
        return "Nothing is left to put back."
    parts = []
    if plan.cells:
        value = "its former value" if plan.cells == 1 else "their former values"
        parts.append(f"{many(plan.cells, 'cell')} in {nouns(plan.rows_changed, plan.noun)} would get {value} back")
    elif plan.rows_leaving:
        parts.append(f"{nouns(plan.rows_leaving, plan.noun)} that we added would be {what_becomes_of_added(plan)}")
    if plan.rows_new:
        parts.append(f"{nouns(plan.rows_new, plan.noun)} would be added again")
    stay = f"; {many(plan.edits_kept, 'cell')} {'stays' if plan.edits_kept == 1 else 'stay'}" if plan.edits_kept else ""
    return f"{', '.join(parts)}{stay}."


# ---------------------------------------------------------------- doing it


def put_back(route: Route, store: Store, undo: Undo) -> int:
    """Write what *undo* puts back, batch by batch; what was written is kept with each batch.

    Returns:
        How many rows the destination could not take now: to be tried again.

    Raises:
        NeedsAction, TryLater, Stopping: as from ``Sink.write``; the rest is still to be done.
    """
    waiting = 0
    found = restoring(route, store, undo)
    for part in _parts(found.rows, route.sink.batch_rows):
        jobs = [Job(_no_pending(row, undo), [row], []) for row in part]
        store.note_tries(route.name, tries_of(jobs))
        route.sink.pace(route.target)
        sent = Sent({outcome.key: outcome for outcome in route.sink.write(route.target, part)})
        store.keep_written(route.name, [_result(job, sent, undo, found.typed) for job in jobs])
        waiting += sum(_waits(sent.outcomes.get(row.key)) for row in part)
    return waiting


def _result(job: Job, sent: Sent, undo: Undo, typed: Mapping[str, Collection[str]]) -> Result:
    (row,) = job.rows
    now = sent.holdings(job)
    if row.key in now.written and (theirs := typed.get(row.key)):
        # What a person had typed is a person's again: what we wrote stays what it is compared with.
        now.written[row.key] = _with_former(now.written[row.key], row.last or {}, theirs)
        now.held[row.key] = _with_former(now.held.get(row.key, "{}"), row.held, theirs)
    outcome = sent.outcomes.get(row.key)
    log = () if outcome is None or _waits(outcome) else tuple(lines_of(row, outcome, undo.id))
    return Result(job.record_id, job.pending.version, "", now.written, now.removed, now.held, log, kept=now.kept)


def _with_former(dumped: str, before: Mapping[str, Cell], names: Collection[str]) -> str:
    """The cells in *dumped* with those in *names* as they were *before*."""
    others = {name: cell for name, cell in load_cells(dumped).items() if name not in names}
    return dump_cells({**others, **{name: before[name] for name in names if name in before}})


def _waits(outcome: Outcome | None) -> bool:
    return outcome is None or outcome.kind in ("later", "incomplete")


def _no_pending(row: Row, undo: Undo) -> Pending:
    return Pending(row.record_id, 0, b"", "", 0, undo.until, None, False)


def _parts(rows: Sequence[Row], size: int) -> Iterator[Sequence[Row]]:
    for start in range(0, len(rows), max(1, size)):
        yield rows[start : start + max(1, size)]
