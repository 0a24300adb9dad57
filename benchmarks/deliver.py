"""Records -> sinks: 100,000 events over 20,000 affiliates, into a local server with the API's real limits.

The servers and the sinks share a clock that may run faster than the wall's (``--scale``); seconds below are that
clock's. Projection and delivery are the program's own, in this process; the server is another process.
"""

from __future__ import annotations

import math
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks import destinations, measure, stores
from benchmarks.destinations import Destination
from benchmarks.measure import Goal, percentile
from connector.core.row import Cell, Row
from connector.core.sink import Outcome, Sink, Target
from connector.dead_letters import LetterFile
from connector.delivery import Retry, Route, RouteWorker
from connector.store import Store

limits = {"hubspot": (100, 10.0), "sheets": (60, 60.0)}
"""Calls per seconds: HubSpot's for a private app of the smaller accounts, Google's writes per user and project."""
_HUBSPOT_ROWS_A_CALL = 100
_HUBSPOT_CALLS_A_ROW = 2
"""One reads what people have typed, one writes."""
_LATENCY_SECONDS = 0.15
_SHEETS_ROW_BYTES = 1_249
"""Of a row of these events in a request, its links with their addresses."""
_NAMES = {"hubspot": "HubSpot", "sheets": "Google Sheets"}


class ScaledHost:
    """What the program lends a sink, with a clock that counts *scale* seconds in one."""

    def __init__(self, scale: float) -> None:
        self._scale, self._began = scale, stores.utc_now() - timedelta(seconds=time.monotonic() * scale)
        self._notes: dict[str, str] = {}
        self.waited = 0.0

    def now(self) -> datetime:
        return self._began + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return time.monotonic() * self._scale

    def wait(self, seconds: float) -> None:
        self.waited += max(0.0, seconds)
        time.sleep(max(0.0, seconds) / self._scale)

    def recall(self, key: str) -> str | None:
        return self._notes.get(key)

    def remember(self, key: str, value: str | None) -> None:
        if value is None:
            self._notes.pop(key, None)
        else:
            self._notes[key] = value

    def overwriting(self, route: str, typed: Mapping[str, Mapping[str, Cell]]) -> None:
        pass

    def metric(self, name: str, value: float) -> None:
        pass


@dataclass
class Watched:
    """A sink that notes when a row of each value was written: when its ``write`` has come back."""

    sink: Sink
    column: str
    clock: Any
    arrived: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def batch_rows(self) -> int:
        return self.sink.batch_rows

    def pace(self, target: Target) -> float:
        return self.sink.pace(target)

    def write(self, target: Target, rows: list[Row]) -> Any:
        outcomes: Any = self.sink.write(target, rows)
        at = self.clock()
        written = {outcome.key for outcome in outcomes if isinstance(outcome, Outcome) and outcome.kind == "written"}
        for row in rows:
            if row.key in written and self.column in row.cells:
                self.arrived.setdefault(row.key, {}).setdefault(str(row.cells[self.column]), at)
        return outcomes


class Line:
    """Projector and one route on one store, in this process."""

    def __init__(self, server: Destination, folder: Path, scale: float) -> None:
        self.host = ScaledHost(scale)
        self.scale = scale
        self.store: Store = stores.new_store(folder, self.host.now)
        sink, target, evaluate = destinations.sink_and_target(server, self.host)
        self.sink, self.target = sink, target
        self.watched = Watched(sink, destinations.earned[server.kind], self.host.monotonic)
        self.store.enroll([target.route])
        self.stop = threading.Event()
        self.projector = stores.projector(self.store, folder, self.host.now)
        letters = LetterFile(folder / "letters.jsonl", now=self.host.now)
        watched: Any = self.watched
        self.worker = RouteWorker(
            Route(target.route, watched, target, evaluate), self.store, letters, Retry(),
            stop=self.stop, now=self.host.now, nap=self.host.wait,
        )  # fmt: skip
        self._threads: list[threading.Thread] = []

    def deliver_all(self) -> None:
        """Until nothing is pending."""
        while (wait := self.worker.step()) is not None:
            self.host.wait(wait)

    def start(self) -> None:
        """Both in threads, as in the program."""
        bell = threading.Event()
        self.store.on_append(bell.set)
        self.store.on_pending(self.worker.bell.set)

        def project() -> None:
            while not self.stop.is_set():
                bell.clear()
                if not self.projector.step():
                    bell.wait(0.5)

        def deliver() -> None:
            while not self.stop.is_set():
                self.worker.bell.clear()
                wait = self.worker.step()
                if wait is None or wait > 0:
                    self.worker.bell.wait(0.5 if wait is None else min(0.5, wait / self.scale))

        self._threads = [threading.Thread(target=each, daemon=True) for each in (project, deliver)]
        for thread in self._threads:
            thread.start()

    def quiet(self) -> bool:
        status = self.store.status()
        return not status.waiting and not any(route.pending for route in status.routes)

    def close(self) -> None:
        self.stop.set()
        self.worker.bell.set()
        for thread in self._threads:
            thread.join(30)
        self.sink.close()
        self.store.close()


def main(words: list[str]) -> None:
    asked = measure.Options("deliver", __doc__)
    asked.add_argument("--events", type=int, default=100_000)
    asked.add_argument("--affiliates", type=int, default=20_000)
    asked.add_argument("--sinks", nargs="+", default=list(_NAMES), choices=list(_NAMES))
    asked.add_argument("--scale", type=float, default=1.0, help="seconds of the limits' clock in one of the wall's")
    asked.add_argument("--stream-seconds", type=float, default=60.0, help="of the steady stream, by the limits' clock")
    asked.add_argument("--stream-per-second", type=float, default=20.0, help="events in the steady stream")
    given = asked.given(words)
    found: dict[str, dict[str, float]] = {}
    goals: list[Goal] = []
    for kind in given.sinks:
        with tempfile.TemporaryDirectory() as temporary:
            made = burst(kind, Path(temporary) / "burst", given)
            steady = stream(kind, Path(temporary) / "stream", given)
        found |= {f"{kind}: burst": made, f"{kind}: stream": steady}
        name = _NAMES[kind]
        goals += [
            Goal(f"{name}: calls of a burst ÷ fewest", made["calls_of_fewest"], "at most", 1.05),
            Goal(f"{name}: time of a burst ÷ allowed by the limits", made["time_of_allowed"], "at most", 1.3),
            Goal(f"{name}: age of an event in a stream, p99 ÷ pace interval and call",
                 steady["p99_of_pace_and_call"], "at most", 1.5),
        ]  # fmt: skip
    measure.report("deliver", found, goals, given)


def _destination(kind: str, folder: Path, given: Any) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    calls, seconds = limits[kind]
    more: dict[str, Any] = (
        {"limit": calls, "interval_ms": int(seconds * 1000)} if kind == "hubspot" else {"quota": calls}
    )
    latency = _LATENCY_SECONDS / given.scale
    return destinations.destination(kind, folder, scale=given.scale, latency_seconds=latency, **more)


def burst(kind: str, folder: Path, given: Any) -> dict[str, float]:
    """Everything came in and is pending, as after an outage: how soon is the destination right, with how many calls?"""
    with _destination(kind, folder, given) as server:
        line = Line(server, folder, given.scale)
        stores.append(line.store, given.events, given.affiliates)
        stores.project_all(line.projector)
        before, spent = line.host.monotonic(), time.process_time()
        line.deliver_all()
        seconds, cpu = line.host.monotonic() - before, time.process_time() - spent
        line.close()
        figures = server.figures()
    calls, per_seconds = limits[kind]
    contacts_calls = _HUBSPOT_CALLS_A_ROW * math.ceil(given.affiliates / _HUBSPOT_ROWS_A_CALL)
    fewest = contacts_calls if kind == "hubspot" else sheets_calls(given.affiliates)
    allowed = fewest * per_seconds / calls
    return {
        "calls": figures["calls"], "fewest_calls": fewest, "calls_of_fewest": figures["calls"] / fewest,
        "rows": figures["rows"], "seconds": seconds, "seconds_allowed": allowed, "time_of_allowed": seconds / allowed,
        "cpu_us_a_row": cpu / given.affiliates * 1e6, "refused_by_quota": figures["refused_by_quota"],
    }  # fmt: skip


def sheets_calls(rows: int) -> int:
    """The fewest calls for a first load: the guards tried, the tabs listed, the blank tab looked at, the tab made, and
    1.9 MB of rows a call."""
    return 4 + math.ceil(rows * _SHEETS_ROW_BYTES / 1_900_000)


def stream(kind: str, folder: Path, given: Any) -> dict[str, float]:
    """A steady stream of events about a thousand affiliates: how old is the oldest that a row does not show yet?"""
    affiliates = min(1_000, given.affiliates)
    with _destination(kind, folder, given) as server:
        line = Line(server, folder, given.scale)
        line.store.append(stores.accepted([(number, number) for number in range(affiliates)], line.host.now))
        stores.project_all(line.projector)
        line.deliver_all()
        line.host.wait(line.sink.pace(line.target))  # the first load is paid for
        count = int(given.stream_seconds * given.stream_per_second)
        line.start()
        sent: list[tuple[int, int, float]] = []
        before = server.figures()
        began = line.host.monotonic()
        for turn in range(count):
            line.host.wait(began + turn / given.stream_per_second - line.host.monotonic())
            number, who = affiliates + turn, turn * 7919 % affiliates
            line.store.append(stores.accepted([(number, who)], line.host.now))
            sent.append((number, who, line.host.monotonic()))
        took = line.host.monotonic() - began
        measure.wait_until(line.quiet, "the end of the stream", seconds=120)
        line.close()
        after = server.figures()
    calls, writes = after["calls"] - before["calls"], after["writes"] - before["writes"]
    ages = _ages(line.watched.arrived, sent)
    flushes = max(1, len({at for values in line.watched.arrived.values() for at in values.values() if at > began}))
    a_flush = max(1, round(calls / flushes))
    rate, seconds = limits[kind]
    # A flush of Sheets makes two kinds of calls with a quota each; it writes more often than it reads.
    paced = a_flush if kind == "hubspot" else max(1, round(writes / flushes))
    bound = paced * seconds / (rate * 0.8 if kind == "sheets" else rate) + a_flush * _LATENCY_SECONDS
    p99 = percentile(ages, 0.99)
    return {
        "events_a_second": count / took, "calls": calls, "calls_a_flush": a_flush, "age_p50": percentile(ages, 0.5),
        "age_p99": p99, "pace_and_call": bound, "p99_of_pace_and_call": p99 / bound,
    }  # fmt: skip


def _ages(arrived: dict[str, dict[str, float]], sent: list[tuple[int, int, float]]) -> list[float]:
    """For every event, until a row said it or something newer of the same affiliate."""
    ages = []
    for number, who, at in sent:
        values = arrived[stores.record_id(who)]
        wanted = float(destinations.value_of(number))
        ages.append(min(then for value, then in values.items() if float(value) >= wanted) - at)
    return ages
