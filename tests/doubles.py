"""Doubles for the engine's tests: a clock, a source and a sink that do what a test tells them."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

from connector.core.errors import UnknownShape
from connector.core.facts import AffiliateUpdate
from connector.core.mapping import Evaluation
from connector.core.record import AffiliateRecord
from connector.core.row import Cell, Column, Row
from connector.core.sink import Change, Finding, Outcome, SinkOptions, Target, TargetOptions
from connector.core.source import Event, InboundRequest, SourceOptions
from connector.dead_letters import LetterFile
from connector.delivery import Delivered, Retry, Route, RouteWorker
from connector.projector import Projector
from connector.store import Store

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class Clock:
    """A wall clock that moves only when a test, or somebody's nap, moves it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.naps: list[float] = []

    def __call__(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def nap(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.seconds += seconds


class PlainSource:
    """Bodies ``{"id": "7", "email": "…"}``; the topics unreadable, bug and unfoldable do what they say."""

    Options: ClassVar[type[SourceOptions]] = SourceOptions
    topics: ClassVar[Sequence[str]] = ()

    def __init__(self, name: str = "plain") -> None:
        self.name = name
        self.taught = False

    def accept(self, request: InboundRequest) -> Event:
        raise AssertionError("no test of the engine receives")

    def normalize(self, event: Event) -> Sequence[AffiliateUpdate]:
        if event.topic == "unreadable" and not self.taught:
            raise UnknownShape("an event of a type that nobody knows")
        if event.topic == "bug" and not self.taught:
            raise ZeroDivisionError("secret@example.com broke it")
        body = json.loads(event.body)
        if "id" not in body:
            return ()
        facts = {path: (event.at, 0, value) for path, value in body.items() if path != "id"}
        if event.topic == "unfoldable":
            facts["email"] = (event.at, 0, {object()})
        return [AffiliateUpdate.of(f"{self.name}:{body['id']}", facts)]


def event(affiliate: int | str | None, at: int = 1, *, key: str = "", topic: str = "said", **facts: str) -> Event:
    """An event of PlainSource about *affiliate*, true as of *at*."""
    body: dict[str, object] = {**facts} if affiliate is None else {"id": str(affiliate), **facts}
    text = json.dumps(body)
    return Event("plain", key or f"{topic}:{text}:{at}", topic, at, START, text.encode())


def as_row(record: AffiliateRecord) -> Evaluation:
    """One row a record: id and e-mail."""
    cells: dict[str, Cell] = {"ID": record.id, "Email": record.email}
    return Evaluation((Row(record.id, record.id, cells),))


class TableSink:
    """A far side in memory: rows by key, every call remembered; ``before`` and ``answer`` play faults.

    Attributes:
        before: called with the rows of a call before anything is written; what it raises is the call's end.
        answer: called with each row; an Outcome other than written leaves the row unwritten; None: no outcome at all.
        after: called with the rows after they were written: an error here is a lost answer.
    """

    Options: ClassVar[type[SinkOptions]] = SinkOptions
    TargetOptions: ClassVar[type[TargetOptions]] = TargetOptions

    def __init__(self, batch_rows: int = 100) -> None:
        self.batch_rows = batch_rows
        self.rows: dict[str, Mapping[str, Cell]] = {}
        self.calls: list[list[str]] = []
        self.lasts: list[Mapping[str, Cell] | None] = []
        self.complaints: list[str] = []
        self.pace_seconds = 0.0
        self.before: Callable[[Sequence[Row]], None] = _nothing
        self.after: Callable[[Sequence[Row]], None] = _nothing
        self.answer: Callable[[Row], Outcome | None] = _written

    def pace(self, target: Target) -> float:
        seconds, self.pace_seconds = self.pace_seconds, 0.0
        return seconds

    def write(self, target: Target, rows: Sequence[Row]) -> Sequence[Outcome]:
        # Remembered, not raised: delivery would take an exception for a bug of the sink, and carry on.
        if not 0 < len(rows) <= self.batch_rows:
            self.complaints.append(f"{len(rows)} rows in a call")
        if len({row.key for row in rows}) < len(rows):
            self.complaints.append("a key stands twice in a call")
        self.calls.append([row.key for row in rows])
        self.lasts += [row.last for row in rows]
        self.before(rows)
        outcomes: list[Outcome] = []
        for row in rows:
            outcome = self.answer(row)
            if outcome is None:
                continue
            outcomes.append(outcome)
            if outcome.kind == "written":
                if row.remove:
                    self.rows.pop(row.key, None)
                else:
                    self.rows[row.key] = {**self.rows.get(row.key, {}), **row.cells}
        self.after(rows)
        return outcomes[::-1]  # never in the order of the rows: delivery must go by key

    def check(self, target: Target, *, probe: bool = False) -> Sequence[Finding]:
        return ()

    def provision(self, target: Target) -> Sequence[Finding]:
        return ()

    def preview(self, target: Target, rows: Sequence[Row]) -> Sequence[Change]:
        return ()

    def close(self) -> None:
        pass


def _nothing(rows: Sequence[Row]) -> None:
    pass


def _written(row: Row) -> Outcome | None:
    return Outcome(row.key, "written")


@dataclass
class World:
    """The whole engine on one folder, with a clock of its own and one route, stepped by hand."""

    folder: Path
    clock: Clock = field(default_factory=Clock)
    sink: TableSink = field(default_factory=TableSink)
    source: PlainSource = field(default_factory=PlainSource)
    evaluate: Callable[[AffiliateRecord], Evaluation] = as_row
    options: TargetOptions = field(default_factory=TargetOptions)
    retry: Retry = field(default_factory=Retry)
    stop: threading.Event = field(default_factory=threading.Event)
    reports: list[Delivered] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        """Start the engine (again) on what the folder holds."""
        self.store: Store = Store(str(self.folder / "c.db"), worker=True, now=self.clock)
        self.letters = LetterFile(self.folder / "dead.jsonl", now=self.clock)
        self.store.enroll(["table/all"])
        self.projector = Projector(self.store, {"plain": self.source}, self.letters, stop=self.stop, now=self.clock)
        columns = (Column("ID"), Column("Email", where="map.toml:7"), Column("Removed", "date"))
        self.worker = RouteWorker(
            Route("table/all", self.sink, Target("table/all", columns, "ID", self.options, "map.toml"), self.evaluate),
            self.store,
            self.letters,
            self.retry,
            stop=self.stop,
            now=self.clock,
            nap=self.clock.nap,
            chance=random.Random(1),
            report=self.reports.append,
        )

    def close(self) -> None:
        assert self.sink.complaints == []
        self.store.close()

    def say(self, *events: Event) -> None:
        """Events come in and are projected."""
        self.store.append(events)
        while self.projector.step():
            pass

    def deliver(self, steps: int = 1000) -> float | None:
        """Step while there is something to do at once.

        Returns:
            Seconds until the route wants to go on, or None.
        """
        for _ in range(steps):
            wait = self.worker.step()
            if wait is None or wait > 0:
                return wait
        raise AssertionError("the route never rests")

    def deliver_for(self, seconds: float) -> None:
        """Step, and let time go by whenever the route waits, until *seconds* have passed or nothing is pending."""
        end = self.clock.seconds + seconds
        while self.clock.seconds < end:
            wait = self.deliver()
            if wait is None:
                return
            self.clock.seconds += min(wait, end - self.clock.seconds) + 0.001

    def emails(self) -> dict[str, Cell]:
        """What the far side holds."""
        return {key.removeprefix("plain:"): row["Email"] for key, row in self.sink.rows.items()}

    def pending(self) -> int:
        return self.store.status().routes[0].pending
