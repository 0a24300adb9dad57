"""People's edits, the platform's news, lost answers, kills and resyncs in any order, through delivery and the store."""

from __future__ import annotations

import csv
import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from connector.assembly import LiveHost
from connector.core.errors import TryLater
from connector.core.mapping import Evaluation
from connector.core.overwrite import Edits, note_overwrites
from connector.core.record import AffiliateRecord
from connector.core.row import Cell, Column, Row, dump_cells, load_cells
from connector.core.sink import Outcome, Target, TargetOptions
from connector.delivery import Retry, Route, RouteWorker
from connector.sinks.files.csv_file import CsvFile, CsvOptions
from connector.store import Store
from tests.chaos.engine import now
from tests.doubles import TableSink, World, event
from tests.sinks.host import TestHost

_COLUMNS = (Column("ID"), Column("Name"), Column("Stage", overwrite="only_if_empty"), Column("Sum", overwrite="always"))
_WORDS = st.sampled_from(["One", "Two", "three"])


def _row_of(record: AffiliateRecord) -> Evaluation:
    cells: dict[str, Cell] = {"ID": record.id, "Name": record.name, "Stage": record.company, "Sum": record.email}
    return Evaluation((Row(record.id, record.id, cells),))


class _NotingHost(TestHost):
    """Notes what people typed where the program does."""

    def __init__(self) -> None:
        super().__init__()
        self.store: Callable[[], Store] | None = None

    def overwriting(self, route: str, typed: Mapping[str, Mapping[str, Cell]]) -> None:
        assert self.store is not None
        self.store().note_typed(route, {key: dump_cells(cells) for key, cells in typed.items()})


class SharedTable(TableSink):
    """A table that people work in too; it keeps texts in its own way.

    Attributes:
        typed: by key and column, what a person typed ("": emptied) and nobody overwrote.
        lost: what was overwritten of that: (key, column, text).
    """

    def __init__(self) -> None:
        super().__init__()
        self.host = _NotingHost()
        self.cells: dict[str, dict[str, str]] = {}
        self.typed: dict[tuple[str, str], str] = {}
        self.lost: list[tuple[str, str, str]] = []

    @staticmethod
    def shown(cell: Cell) -> str:
        return "" if cell is None else str(cell).lower()

    def write(self, target: Target, rows: Sequence[Row]) -> Sequence[Outcome]:
        self.before(rows)
        plan = [self._plan(row) for row in rows]
        note_overwrites(self.host, target.route, [(edits.row, edits) for edits, _ in plan])
        self.before_writing()
        for edits, changed in plan:
            key = edits.row.key
            there = self.cells.setdefault(key, {})
            there.setdefault("ID", key)
            for name in changed:
                if (key, name) in self.typed:
                    self.lost.append((key, name, self.typed.pop((key, name))))
                there[name] = self.shown(edits.row.cells[name])
                edits.holds(name, there[name] or None)
        self.after(rows)
        return [edits.told(Outcome(edits.row.key, "written")) for edits, _ in plan]

    def _plan(self, row: Row) -> tuple[Edits, list[str]]:
        there = self.cells.get(row.key)
        edits = Edits(row, created=there is None)
        changed = []
        for column in _COLUMNS[1:]:
            now = (there or {}).get(column.name, "")
            if edits.writes(column, now or None, lambda cell, now=now: self.shown(cell) == now):  # type: ignore[misc]
                changed.append(column.name)
            elif now == self.shown(row.cells[column.name]):
                self.typed.pop((row.key, column.name), None)  # they typed what we would write
        return edits, changed

    before_writing: Callable[[], None] = staticmethod(lambda: None)


def _fail(*_: object) -> None:
    raise TryLater("somewhere on the way", after=60.0)


class Edited(RuleBasedStateMachine):
    """Two affiliates; whatever happens, what people typed is there or in the delivery log."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.sink = SharedTable()
        self.world = World(Path(self.folder.name), sink=self.sink, evaluate=_row_of)
        self.sink.host.store = lambda: self.world.store
        self.at = 1
        self.said: dict[tuple[str, str], str] = {}
        self.news(0, "One", "One", "One")
        self.news(1, "One", "Two", "Two")
        self.world.deliver()

    @rule(number=st.integers(0, 1), name=_WORDS, stage=_WORDS, total=_WORDS)
    def news(self, number: int, name: str, stage: str, total: str) -> None:
        self.at += 1
        self.world.say(event(number, self.at, name=name, company=stage, email=total))
        self.said |= {(f"plain:{number}", "Name"): name, (f"plain:{number}", "Sum"): total}

    @rule(
        number=st.integers(0, 1), column=st.sampled_from(["Name", "Stage", "Sum"]), text=st.sampled_from(["x", "y", ""])
    )
    def person_types(self, number: int, column: str, text: str) -> None:
        key = f"plain:{number}"
        if self.sink.cells[key].get(column) != text:
            self.sink.cells[key][column] = text
            self.sink.typed[key, column] = text

    @rule()
    def deliver(self) -> None:
        self.world.deliver_for(600)

    @rule(where=st.sampled_from(["before", "before_writing", "after"]), kill=st.booleans())
    def fail(self, where: str, kill: bool) -> None:
        """A call that fails before it looked or before it wrote, or whose answer is lost; perhaps as we die of it."""
        hook = getattr(self.sink, where)
        setattr(self.sink, where, _fail)
        self.world.worker.step()
        setattr(self.sink, where, hook)
        self.world.clock.seconds += 3600
        if kill:
            self.world.close()
            self.world.open()

    @rule()
    def resync(self) -> None:
        self.world.store.resync("table/all")

    def teardown(self) -> None:
        self.world.clock.seconds += 3600
        try:
            self.world.deliver_for(600)
            self._look()
        finally:
            self.world.close()
            self.folder.cleanup()

    def _look(self) -> None:
        traced = set()
        for number in range(2):
            for line in self.world.store.deliveries_of(f"plain:{number}"):
                former = load_cells(line.former) if line.former else {}
                traced |= {(line.key, name, former[name]) for name in line.overwritten}
        assert {lost for lost in self.sink.lost if lost[2]} <= traced
        for (key, column), text in self.sink.typed.items():
            assert self.sink.cells[key][column] == text
        for (key, column), text in self.said.items():
            if (key, column) not in self.sink.typed:
                assert self.sink.cells[key][column] == text.lower()


TestEditsInAnyOrder = Edited.TestCase
TestEditsInAnyOrder.settings = settings(max_examples=60, stateful_step_count=14)


# ---------------------------------------------------------------- SIGKILL

_PEOPLE = 12
_KILLS = 25


def _live(folder: Path, seed: int, ready: int) -> None:
    """The platform says something new about somebody, and it is delivered into the file, until we are killed."""
    chance = random.Random(seed)
    world = World(folder, evaluate=_row_of)
    options = CsvOptions(type="csv", mappings=("m.toml",), path=folder / "table.csv")
    sink = CsvFile("table", options, LiveHost("table", world.store, threading.Event()))
    sink.rest = 0.0
    worker = RouteWorker(
        Route("table/all", sink, Target("table/all", _COLUMNS, "ID", TargetOptions(), "m.toml"), _row_of),
        world.store, world.letters, Retry(), stop=threading.Event(), now=now, chance=chance,
    )  # fmt: skip
    turn = 0
    while True:
        turn += 1
        at = seed * 1_000_000 + turn
        some = range(_PEOPLE) if turn == 1 and seed == 0 else chance.sample(range(_PEOPLE), 3)
        words = {number: [chance.choice("ABC") for _ in range(3)] for number in some}
        world.say(*(event(n, at, name=name, company=stage, email=sum_) for n, (name, stage, sum_) in words.items()))
        while worker.step() == 0:
            pass
        os.write(ready, b"1")


def test_a_kill_at_any_moment_loses_no_edit_without_a_trace() -> None:
    """People edit while nothing runs, so whatever is gone was overwritten by a delivery."""
    with tempfile.TemporaryDirectory() as folder:
        _kill(Path(folder), random.Random(7))


def _kill(folder: Path, chance: random.Random) -> None:
    table, typed = folder / "table.csv", dict[tuple[str, str], str]()
    gone: set[tuple[str, str, str]] = set()
    for life in range(_KILLS + 1):
        ready, says = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                _live(folder, life, says)
            finally:
                os._exit(1)
        os.close(says)
        for _ in range(chance.randint(1, 8)):  # deliveries, however long the machine takes for one
            assert os.read(ready, 1) == b"1", "it failed by itself"
        time.sleep(chance.uniform(0.0, 0.01))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        with table.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        for row in rows:
            for place, column in enumerate(header[1:], start=1):
                edit = (row[0], column)
                if edit in typed and row[place] != typed[edit]:
                    gone.add((*edit, typed.pop(edit)))
                if life < _KILLS and chance.random() < 0.2:
                    row[place] = typed[edit] = f"typed {life} {place}"
        with table.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])
        os.utime(table, (time.time() - 10, time.time() - 10))  # else it would be left to settle for half a second
    traced = set()
    with closing(World(folder, evaluate=_row_of)) as world:
        for number in range(_PEOPLE):
            for line in world.store.deliveries_of(f"plain:{number}"):
                former = load_cells(line.former) if line.former else {}
                traced |= {(line.key, name, former[name]) for name in line.overwritten}
        open_now = {
            (written.key, name, cell)
            for written in world.store.written("table/all", [f"plain:{number}" for number in range(_PEOPLE)])
            for line in written.typed.splitlines()
            for name, cell in load_cells(line).items()
        }
    assert len(gone) > 3 * _KILLS
    assert gone <= traced | open_now, gone - traced - open_now
