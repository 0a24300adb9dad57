"""The whole engine in one process, real store, real receiver, real sinks; with points at which it can be killed.

Events are numbered; an event's number is its time, so that the highest number about somebody is the last state.
"""

from __future__ import annotations

import asyncio
import csv
import json
import logging
import os
import random
import signal
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal

from connector.assembly import LiveHost
from connector.core.errors import UnknownShape
from connector.core.facts import AffiliateUpdate, Fact, load_facts
from connector.core.mapping import Evaluation
from connector.core.record import AffiliateRecord
from connector.core.row import Cell, Column, Row
from connector.core.sink import Change, Finding, Outcome, Sink, SinkOptions, Target, TargetOptions
from connector.core.source import Event, InboundRequest, SourceOptions
from connector.dead_letters import DeadLetters, Letter, LetterFile
from connector.delivery import Retry, Route, RouteWorker
from connector.projector import Projector
from connector.receiver import Receiver
from connector.sinks.files.csv_file import CsvFile, CsvOptions
from connector.store import Store
from connector.store.model import Batch, Pending, Result
from tests.running import memory

logging.getLogger("connector").addHandler(logging.NullHandler())  # else its warnings go to stderr
Kind = Literal["csv", "hubspot", "sheets"]
people = 20
batch_rows = 6


def now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def scratch() -> Iterator[Path]:
    """A fast folder, gone afterwards."""
    with tempfile.TemporaryDirectory(dir=memory()) as name:
        yield Path(name)


# ---------------------------------------------------------------- numbered events


def kind_of(number: int) -> str:
    """Three events of ten are odd: nobody can read the first, the destination refuses the state of the second, and the
    third is about nobody."""
    return {3: "unreadable", 7: "refused", 9: "about nobody"}.get(number % 10, "plain")


def who(number: int) -> str:
    return f"a{zlib.crc32(str(number).encode()) % people}"


def body_of(number: int) -> bytes:
    return json.dumps({"number": number}).encode()


class Numbered:
    """Bodies ``{"number": 7}``; what they say follows from the number."""

    Options: ClassVar[type[SourceOptions]] = SourceOptions
    topics: ClassVar[Sequence[str]] = ()
    name = "numbered"

    def accept(self, request: InboundRequest) -> Event:
        number = json.loads(request.body)["number"]
        return Event(self.name, str(number), kind_of(number), number, request.received_at, request.body)

    def normalize(self, event: Event) -> Sequence[AffiliateUpdate]:
        number = event.at
        if event.topic == "unreadable":
            raise UnknownShape("an event of a type that nobody knows")
        if event.topic == "about nobody":
            return ()
        facts: dict[str, Fact] = {
            "first_name": (number, 0, str(number)),
            "email": (number, 0, f"{who(number)}@example.com"),
            f"seen.{number}": (number, 0, True),  # the record remembers whom it heard: no event can get lost unseen
        }
        return (AffiliateUpdate.of(f"{self.name}:{who(number)}", facts),)


# ---------------------------------------------------------------- sinks

_columns: Mapping[Kind, tuple[str, str, str]] = {
    "csv": ("ID", "Name", "Email"),
    "sheets": ("ID", "Name", "Email"),
    "hubspot": ("affiliate_key", "firstname", "email"),
}


def evaluate_for(kind: Kind) -> Callable[[AffiliateRecord], Evaluation]:
    key, name, email = _columns[kind]

    def evaluate(record: AffiliateRecord) -> Evaluation:
        cells: dict[str, Cell] = {key: record.id, name: record.first_name, email: record.email}
        return Evaluation((Row(record.id, record.id, cells),))

    return evaluate


def target_for(kind: Kind) -> Target:
    key = _columns[kind][0]
    columns = tuple(Column(name, "email" if kind == "hubspot" and name == "email" else "text")
                    for name in _columns[kind])  # fmt: skip
    options: TargetOptions
    if kind == "hubspot":
        from connector.sinks.hubspot.sink import HubSpotTargetOptions

        options = HubSpotTargetOptions()
    elif kind == "sheets":
        from connector.sinks.google_sheets.sink import GoogleSheetsTargetOptions

        options = GoogleSheetsTargetOptions(tab="Affiliates")
    else:
        options = CsvFile.TargetOptions()
    return Target("sink/all", columns, key, options, "m.toml")


def sink_for(kind: Kind, folder: Path, far_side: Mapping[str, str], host: LiveHost) -> Sink:
    if kind == "hubspot":
        from connector.sinks.hubspot.sink import HubSpotCrm, HubSpotOptions

        return HubSpotCrm(
            "sink",
            HubSpotOptions(
                type="hubspot", mappings=("m.toml",), access_token=far_side["token"], base_url=far_side["url"],
                timeout_seconds=5,
            ),
            host,
        )  # fmt: skip
    if kind == "sheets":
        from connector.sinks.google_sheets.sink import GoogleSheets, GoogleSheetsOptions

        return GoogleSheets(
            "sink",
            GoogleSheetsOptions(
                type="google_sheets", mappings=("m.toml",), spreadsheet=far_side["spreadsheet"],
                credentials_file=Path(far_side["credentials_file"]), base_url=far_side["url"],
                reads_per_minute=48_000, writes_per_minute=48_000, timeout_seconds=5,
            ),
            host,
        )  # fmt: skip
    sink = CsvFile("sink", CsvOptions(type="csv", mappings=("m.toml",), path=folder / "table.csv"), host)
    sink.rest = 0.0
    return sink


# ---------------------------------------------------------------- points

points = (
    "before inbox commit", "after inbox commit", "before 202", "after 202",
    "before projection commit", "after projection commit", "before claim", "after claim",
    "before tries", "after tries", "before call", "after call", "before settle", "after settle",
    "before letter", "after letter", "before letter closes", "after letter closes",
    "before prune", "after prune",
)  # fmt: skip
"""Where ``Points`` can kill. ``disk_trace`` kills between any two changes on disk (also right before each fsync), a far
side when a call has arrived and when it has been handled."""


@dataclass
class Points:
    """SIGKILL of this process when the point *name* is passed for the *left*-th time."""

    name: str = ""
    left: int = 0

    def __call__(self, name: str) -> None:
        assert name in points
        if name == self.name:
            self.left -= 1
            if self.left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


class PointedStore(Store):
    """The store, with points around its transactions."""

    def __init__(self, path: Path, point: Callable[[str], None]) -> None:
        self._point = point
        super().__init__(f"sqlite:///{path}", worker=True, now=now)

    def append(self, events: Sequence[Event]) -> None:
        self._point("before inbox commit")
        super().append(events)
        self._point("after inbox commit")

    def commit(self, batch: Batch) -> None:
        self._point("before projection commit")
        super().commit(batch)
        self._point("after projection commit")

    def take(
        self, route: str, limit: int, *, lease: timedelta, after: str = "", isolated: bool = False
    ) -> list[Pending]:  # fmt: skip
        self._point("before claim")
        taken = super().take(route, limit, lease=lease, after=after, isolated=isolated)
        self._point("after claim")
        return taken

    def note_tries(self, route: str, tries: Mapping[str, str]) -> None:
        self._point("before tries")
        super().note_tries(route, tries)
        self._point("after tries")

    def finish(self, route: str, results: Sequence[Result], *, delivered: bool = False) -> None:
        self._point("before settle")
        super().finish(route, results, delivered=delivered)
        self._point("after settle")

    def prune(self, before: datetime, limit: int = 500, *, deliveries_before: datetime | None = None) -> int:
        self._point("before prune")
        gone = super().prune(before, limit, deliveries_before=deliveries_before)
        self._point("after prune")
        return gone


class PointedLetters(LetterFile):
    """The dead letters, with points around what is written."""

    def __init__(self, path: Path, point: Callable[[str], None]) -> None:
        super().__init__(path, now=now)
        self._point = point

    def add(self, letters: Sequence[Letter]) -> int:
        if not letters:
            return 0
        self._point("before letter")
        new = super().add(letters)
        self._point("after letter")
        return new

    def close(self, ids: Iterable[str], how: Literal["delivered", "read", "replayed", "dropped"]) -> int:
        closing = list(ids)
        if not closing:
            return 0
        self._point("before letter closes")
        count = super().close(closing, how)
        self._point("after letter closes")
        return count


class PointedSink:
    """A real sink, with points around its calls. Refuses, as a destination would, what ``kind_of`` calls refused."""

    Options: ClassVar[type[SinkOptions]] = SinkOptions
    TargetOptions: ClassVar[type[TargetOptions]] = TargetOptions

    def __init__(self, inner: Sink, name_column: str, point: Callable[[str], None]) -> None:
        self._inner, self._name_column, self._point = inner, name_column, point
        self.batch_rows = min(batch_rows, inner.batch_rows)

    def pace(self, target: Target) -> float:
        return self._inner.pace(target)

    def write(self, target: Target, rows: Sequence[Row]) -> Sequence[Outcome]:
        refused = [row for row in rows if kind_of(int(str(row.cells[self._name_column]))) == "refused"]
        good = [row for row in rows if row not in refused]
        self._point("before call")
        outcomes = [*self._inner.write(target, good)] if good else []
        self._point("after call")
        return [*outcomes, *(Outcome(row.key, "refused", "not this one", "no") for row in refused)]

    def check(self, target: Target, *, probe: bool = False) -> Sequence[Finding]:
        return self._inner.check(target, probe=probe)

    def provision(self, target: Target) -> Sequence[Finding]:
        return self._inner.provision(target)

    def preview(self, target: Target, rows: Sequence[Row]) -> Sequence[Change]:
        return self._inner.preview(target, rows)

    def close(self) -> None:
        self._inner.close()


# ---------------------------------------------------------------- the engine


@dataclass
class Engine:
    """Everything between a request and the destination's call, on one folder; stepped by hand or by its threads.

    Args:
        answered: called with the number of every event right before its 202 is sent.
    """

    folder: Path
    kind: Kind = "csv"
    far_side: Mapping[str, str] = field(default_factory=dict)
    point: Callable[[str], None] = lambda name: None
    answered: Callable[[int], None] = lambda number: None
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.store: Store = PointedStore(self.folder / "c.db", self.point)
        self.letters: DeadLetters = PointedLetters(self.folder / "letters.jsonl", self.point)
        self.store.enroll(["sink/all"])
        self.source = Numbered()
        host = LiveHost("sink", self.store, self.stop)
        inner = sink_for(self.kind, self.folder, self.far_side, host)
        self.sink = PointedSink(inner, _columns[self.kind][1], self.point)
        self.projector = Projector(
            self.store, {"numbered": self.source}, self.letters, stop=self.stop, now=now, batch_events=15
        )
        self.worker = RouteWorker(
            Route("sink/all", self.sink, target_for(self.kind), evaluate_for(self.kind)),
            self.store, self.letters, Retry(first_wait_seconds=0.01, longest_wait_seconds=0.1),
            stop=self.stop, now=now, chance=random.Random(1),
        )  # fmt: skip
        self.receiver = Receiver({"numbered": self.source}, self.store, max_body_bytes=10_000)
        self.store.start_intake(self.receiver.deliver)
        self._runner = asyncio.Runner()

    def close(self) -> None:
        self.stop.set()
        self._runner.close()
        self.sink.close()
        self.store.close()

    def receive(self, numbers: Sequence[int]) -> dict[int, int]:
        """Requests that come in at the same time; the statuses of their answers."""

        async def all_at_once() -> dict[int, int]:
            return dict(await asyncio.gather(*(self._request(number) for number in numbers)))

        return self._runner.run(all_at_once())

    async def _request(self, number: int) -> tuple[int, int]:
        statuses: list[int] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body_of(number), "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
            elif statuses == [202]:
                self.point("before 202")
                self.answered(number)
                self.point("after 202")

        scope = {
            "type": "http", "method": "POST", "path_params": {"source": "numbered"}, "headers": [], "query_string": b"",
        }  # fmt: skip
        await self.receiver(scope, receive, send)
        return number, statuses[0]

    def project(self) -> int:
        return self.projector.step()

    def deliver(self, steps: int = 1) -> bool:
        """Whether the route rests: nothing to do at once."""
        for _ in range(steps):
            wait = self.worker.step()
            if wait is None:
                return True
            if wait > 0:
                self.stop.wait(min(wait, 0.2))
        return False

    def run_to_rest(self) -> None:
        """Project all, deliver all."""
        while self.project():
            pass
        assert self.deliver(5000), f"the route never rests: {self.store.route_state('sink/all')}"

    def facts(self) -> dict[str, Mapping[str, Fact]]:
        """By record."""
        ids = self.store.record_ids(limit=100_000)
        return {record_id: load_facts(known.facts) for record_id, known in self.store.load(ids).items()}


# ---------------------------------------------------------------- what must hold


def faults(engine: Engine, rows: Sequence[Mapping[str, Any]], accepted: set[int], sent: set[int]) -> list[str]:
    """What is wrong, once all is projected and delivered. An event whose answer was cut off may count, or not.

    Args:
        rows: what the destination holds, with the columns of ``target_for``.
        accepted: numbers of the events that were answered 202.
        sent: and of all that were sent at all.
    """
    wrong: list[str] = []
    facts = engine.facts()
    seen = {int(path[5:]) for known in facts.values() for path in known if path.startswith("seen.")}
    letters = engine.letters.list()
    unread = [int(letter.subject) for letter in letters if letter.stage == "normalize"]
    about_somebody = {number for number in accepted if kind_of(number) in ("plain", "refused")}
    wrong += [f"event {number} was acknowledged and lost" for number in sorted(about_somebody - seen)]
    wrong += [f"event {number} was never sent" for number in sorted((seen | set(unread)) - sent)]
    unreadable = {number for number in accepted if kind_of(number) == "unreadable"}
    wrong += [f"no letter of the unreadable event {number}" for number in sorted(unreadable - set(unread))]
    wrong += [f"{len(unread) - len(set(unread))} letters are there twice"] if len(unread) != len(set(unread)) else []
    key, name, _ = _columns[engine.kind]
    keys = [str(row[key]) for row in rows]
    wrong += [f"{record} has {keys.count(record)} rows" for record in sorted(set(keys)) if keys.count(record) > 1]
    wrong += [f"a row of nobody: {record}" for record in sorted(set(keys) - set(facts))]
    held = {str(row[key]): str(row[name]) for row in rows}
    refused = {letter.subject for letter in letters if letter.stage == "deliver"}
    for record_id, known in facts.items():
        last = str(known["first_name"][2])
        if kind_of(int(last)) == "refused":
            if record_id not in refused:
                wrong.append(f"no letter of the refused row {record_id}")
        elif held.get(record_id) != last:
            wrong.append(f"{record_id}: the row says {held.get(record_id)}, the record {last}")
        elif record_id in refused:
            wrong.append(f"the letter of {record_id} is open though its row was delivered")
    status = engine.store.status()
    wrong += [f"{status.waiting} events wait, {status.routes[0].pending} records are pending"] * bool(
        status.waiting or status.routes[0].pending
    )
    return wrong


def csv_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a whole CSV file; half of one fails."""
    if not path.exists():
        return []
    content = path.read_bytes()
    assert content.endswith(b"\n"), "half a table"
    header, *lines = csv.reader(content.decode("utf-8-sig").splitlines())
    assert set(header) == set(_columns["csv"]), header
    assert all(len(cells) == len(header) and all(cells) for cells in lines), "half a row"
    return [dict(zip(header, cells, strict=True)) for cells in lines]
