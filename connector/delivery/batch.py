"""Records -> the rows that have to be sent for them, and afterwards what the destination holds. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct, field
from msgspec.structs import replace

from connector.core.mapping import Evaluation
from connector.core.record import AffiliateRecord
from connector.core.row import Cell, Row, dump_cells, load_cells, remembered
from connector.core.sink import Outcome, Sink, Target
from connector.dead_letters import Letter
from connector.store.model import Pending, Written


class Route(Struct, frozen=True):
    """A sink together with one mapping file: what one delivery thread serves."""

    name: str
    sink: Sink
    target: Target
    evaluate: Callable[[AffiliateRecord], Evaluation]


class Job(Struct):
    """A leased record on its way: the rows that have to be sent for it, and its dead letters so far."""

    pending: Pending
    rows: list[Row]
    letters: list[Letter]

    @property
    def record_id(self) -> str:
        return self.pending.record_id

    def letter(self, route: Route, row: Row, reason: str, code: str, where: str) -> None:
        """Add the dead letter of *row*."""
        pending = self.pending
        self.letters.append(
            Letter(
                "deliver", route.name, pending.record_id, reason, code, row=row.key, where=where,
                tries=pending.tries + 1,
                content={"cells": json.loads(dump_cells(row.cells)), "version": pending.version},
            )
        )  # fmt: skip


class WrittenRows:
    """What a route has written for some records: the cells that the destination was given last, by key.

    Args:
        written: all rows of the records, and all rows with the keys that they want.
    """

    def __init__(self, written: Sequence[Written]) -> None:
        self._by_key = {row.key: row for row in written}
        self._keys_of: dict[str, list[str]] = {}
        for row in written:
            self._keys_of.setdefault(row.record_id, []).append(row.key)

    def cells(self, key: str) -> dict[str, Cell] | None:
        """None when nothing is known to have been written for that key."""
        row = self._by_key.get(key)
        return None if row is None else load_cells(row.cells)

    def keys_of(self, record_id: str) -> Sequence[str]:
        """The keys of the rows that were written for that record."""
        return self._keys_of.get(record_id, ())


def job_of(route: Route, pending: Pending, shape: Evaluation, written: WrittenRows, now: datetime) -> Job:
    """The rows of *shape* that the destination does not hold yet, and the letters of those that can't be made."""
    job = Job(pending, [], [])
    for row in [*shape.rows, *_left_over(route.target, pending, shape, written, now)]:
        last = written.cells(row.key)
        if last is None and row.key in shape.removals:
            continue  # what was never written need not be removed
        if row.remove or last is None or _differs(remembered(row), last):
            job.rows.append(replace(row, last=last))
    for problem in shape.problems:
        row = Row(pending.record_id, problem.key, problem.cells)
        job.letter(route, row, problem.reason, problem.code, problem.where)
    return job


def _left_over(target: Target, pending: Pending, shape: Evaluation, written: WrittenRows, now: datetime) -> list[Row]:
    """How to remove the rows that were written for a record which has no such rows any more: an entry of ``for_each``
    is gone, or its key has changed. Those that stay as they are, and those that are marked already, are left out."""
    if not all(problem.key for problem in shape.problems):
        return []  # the key of a row is not known: it may be any of those that were written
    kept = {row.key for row in shape.rows} | {problem.key for problem in shape.problems}
    what = getattr(target.options, "removed_records", "leave_alone")
    rows: list[Row] = []
    for key in written.keys_of(pending.record_id):
        if key in kept:
            continue
        last = written.cells(key) or {}
        cells: dict[str, Cell] = {target.key: last.get(target.key, key)}
        if what == "delete":
            rows.append(Row(pending.record_id, key, cells, remove=True))
        elif what == "mark" and last.get(target.options.removed_column) is None:
            rows.append(Row(pending.record_id, key, cells | {target.options.removed_column: now.date()}))
    return rows


class Sent(Struct):
    """What the calls of a batch have brought.

    Args:
        outcomes: by row key.
        answered: the keys of the rows that calls with an answer were about.
        error: what the last call raised.
        seconds: of each call.
    """

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    error: Exception | None = None
    seconds: list[float] = field(default_factory=list)

    def is_answered(self, job: Job) -> bool:
        """Whether every row of *job* was in a call with an answer."""
        return all(row.key in self.answered for row in job.rows)

    def holdings(self, job: Job) -> tuple[dict[str, str], list[str]]:
        """What the destination now holds of a record's rows: the dumped cells by key, and the keys that are gone."""
        written: dict[str, str] = {}
        removed: list[str] = []
        for row in job.rows:
            outcome = self.outcomes.get(row.key)
            if outcome is None or outcome.kind != "written":
                continue
            if row.remove:
                removed.append(row.key)
            else:
                cells = {**(row.last or {}), **remembered(row)}
                written[row.key] = dump_cells({n: cell for n, cell in cells.items() if n not in outcome.waiting})
        return written, removed


def changed_cells(row: Row) -> Mapping[str, Cell]:
    """The cells that say something else than was last written: what ``explain`` shows of a delivery."""
    last = row.last
    return row.cells if last is None else {n: cell for n, cell in row.cells.items() if _differs({n: cell}, last)}


def _differs(cells: Mapping[str, Cell], last: Mapping[str, Cell]) -> bool:
    """Whether any of *cells* is not what was last written (True is not 1, though Python says so)."""
    return any(
        name not in last or type(last[name]) is not type(cell) or last[name] != cell for name, cell in cells.items()
    )
