"""Inbox -> records: events a second, with nothing stored and with a million events of 200,000 affiliates stored."""

from __future__ import annotations

import random
import tempfile
import time
from contextlib import closing
from pathlib import Path

from benchmarks import measure, stores
from benchmarks.measure import Goal, median
from connector.store import Store

_AFFILIATES_OF_A_ROUND = 1_000


def main(words: list[str]) -> None:
    asked = measure.Options("project", __doc__)
    asked.add_argument("--stored-events", type=int, default=1_000_000)
    asked.add_argument("--stored-affiliates", type=int, default=200_000)
    asked.add_argument("--rounds", type=int, default=7)
    asked.add_argument("--events", type=int, default=5_000, help="projected in a round, about a thousand affiliates")
    given = asked.given(words)
    empty: list[dict[str, float]] = []
    full: list[dict[str, float]] = []
    chance = random.Random(1)  # noqa: S311 - which affiliates
    with tempfile.TemporaryDirectory() as temporary, closing(stores.new_store(Path(temporary) / "full")) as store:
        stores.fill(store, Path(temporary), given.stored_events, given.stored_affiliates)
        first = given.stored_events
        for turn in range(given.rounds + 1):
            count = min(_AFFILIATES_OF_A_ROUND, given.events, given.stored_affiliates)
            people = chance.sample(range(given.stored_affiliates), count)
            numbers = [(first + number, people[number % count]) for number in range(given.events)]
            first += given.events
            folder = Path(temporary) / f"empty-{turn}"
            with closing(stores.new_store(folder)) as new:
                both = _round(new, folder, numbers), _round(store, Path(temporary), numbers)
            if turn:  # the first round warms up
                empty.append(both[0])
                full.append(both[1])
    found = {
        name: {key: median([each[key] for each in rounds]) for key in ("per_second", "cpu_us")}
        for name, rounds in (("nothing stored", empty), ("stored before", full))
    }
    ratio = median([b["per_second"] / a["per_second"] for a, b in zip(empty, full, strict=True)])
    size = f"{given.stored_events:,} events of {given.stored_affiliates:,} affiliates stored"
    goals = [
        Goal(f"Projecting, {size}", found["stored before"]["per_second"], "at least", 8_000, "events/s"),
        Goal("Projecting, the same ÷ nothing stored", ratio, "at least", 0.75),
    ]
    measure.report("project", found, goals, given)


def _round(store: Store, folder: Path, numbers: list[tuple[int, int]]) -> dict[str, float]:
    """Speed and CPU of projecting these events, which are in the inbox before the clock starts."""
    store.append(stores.accepted(numbers))
    project = stores.projector(store, folder)
    began, spent = time.perf_counter(), time.process_time()
    stores.project_all(project)
    seconds, cpu = time.perf_counter() - began, time.process_time() - spent
    return {"per_second": len(numbers) / seconds, "cpu_us": cpu / len(numbers) * 1e6}
