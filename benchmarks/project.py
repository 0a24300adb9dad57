"""Inbox -> records: events a second, how that grows with what is stored, and how many bytes a body takes."""

from __future__ import annotations

import random
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import measure, stores
from benchmarks.measure import Goal, median
from connector.store.store import Store

_affiliates_of_a_round = 1_000


def main(words: list[str]) -> None:
    asked = measure.parser("project", __doc__)
    asked.add_argument(
        "--sizes", nargs="+", default=["0:0", "100000:20000", "1000000:200000"], metavar="EVENTS:AFFILIATES",
        help="what the stores hold before; the first is what the others are compared with",
    )  # fmt: skip
    asked.add_argument("--rounds", type=int, default=7)
    asked.add_argument("--events", type=int, default=5_000, help="projected in a round, about a thousand affiliates")
    given = asked.parse_args(words)
    sizes = [(int(events), int(affiliates)) for events, affiliates in (size.split(":") for size in given.sizes)]
    chance = random.Random(1)  # noqa: S311 - which affiliates
    rounds: dict[str, list[dict[str, float]]] = {_name(size): [] for size in sizes}
    with tempfile.TemporaryDirectory() as temporary:
        began = time.perf_counter()
        open_stores: dict[str, tuple[Store, Path]] = {}
        for events, affiliates in sizes:
            name = _name((events, affiliates))
            folder = Path(temporary) / name
            if events:
                store = stores.new_store(folder)
                stores.fill(store, folder, events, affiliates)
                open_stores[name] = store, folder
        built = time.perf_counter() - began
        first = max(events for events, _ in sizes)
        for turn in range(given.rounds + 1):
            for size in sizes if turn % 2 else reversed(sizes):
                name = _name(size)
                people = _people(chance, size[1], given.events)
                numbers = [(first + number, people[number % len(people)]) for number in range(given.events)]
                if name in open_stores:
                    figures = _round(*open_stores[name], numbers)
                else:  # nothing is stored: an own store for each round
                    folder = Path(temporary) / f"{name}-{turn}"
                    store = stores.new_store(folder)
                    figures = _round(store, folder, numbers)
                    store.close()
                if turn:  # the first round warms up
                    rounds[name].append(figures)
            first += given.events
        for store, _ in open_stores.values():
            store.close()
        alone = _stored_share(Path(temporary) / "alone", 1)
        together = _stored_share(Path(temporary) / "together", 64)
    table: dict[str, Any] = {}
    names = list(rounds)
    for name, mine in rounds.items():
        table[name] = {
            **{key: median([each[key] for each in mine]) for key in ("per_second", "cpu_us")},
            "speed_of_first": median([a["per_second"] / b["per_second"] for a, b in _pairs(mine, rounds[names[0]])]),
            "cpu_of_second": None
            if len(names) < 2
            else median([a["cpu_us"] / b["cpu_us"] for a, b in _pairs(mine, rounds[names[1]])]),
        }
    command = "python -m benchmarks project"
    goals = [
        Goal("Projected, nothing stored before", table[names[0]]["per_second"], "at least", 5_000, "events/s", command)
    ]
    text = "Speed with {}, of the empty store's"
    goals += [
        Goal(text.format(name), table[name]["speed_of_first"], "at least", 0.9, "", command) for name in names[1:]
    ]
    if len(names) > 2:
        text = f"CPU an event with {names[-1]}, of that with {names[1]}"
        goals.append(Goal(text, table[names[-1]]["cpu_of_second"], "at most", 1.25, "", command))
    goals.append(Goal("Stored bytes of events that come alone, of the body's", alone, "at most", 0.35, "", command))
    if not given.json:
        measure.show(
            f"project: {given.rounds} rounds of {given.events} events",
            ["stored before", "events/s", "CPU µs/event", "of the first", "CPU of the second"],
            [
                [name, round(row["per_second"]), row["cpu_us"], row["speed_of_first"], row["cpu_of_second"] or ""]
                for name, row in table.items()
            ],
        )
    kept: dict[str, Any] = {
        "by_size": table,
        "stored_share_of_body": {"an event alone": alone, "64 at once": together},
        "rounds": given.rounds,
        "building_seconds": built,
    }
    measure.report("project", kept, goals, given)


def _name(size: tuple[int, int]) -> str:
    return f"{size[0]:,} events of {size[1]:,} affiliates"


def _pairs(mine: list[dict[str, float]], theirs: list[dict[str, float]]) -> Any:
    return zip(mine, theirs, strict=True)


def _people(chance: random.Random, affiliates: int, events: int) -> list[int]:
    """The affiliates of a round: as many at every size, so that only what is stored before differs."""
    count = min(_affiliates_of_a_round, events)
    return chance.sample(range(max(affiliates, count)), count)


def _round(store: Store, folder: Path, numbers: list[tuple[int, int]]) -> dict[str, float]:
    """Time and CPU of projecting these events, which are in the inbox before the clock starts."""
    store.append(stores.accepted(numbers))
    project = stores.projector(store, folder)
    began, spent = time.perf_counter(), time.process_time()
    while project.step():
        pass
    seconds, cpu = time.perf_counter() - began, time.process_time() - spent
    return {"per_second": len(numbers) / seconds, "cpu_us": cpu / len(numbers) * 1e6}


def _stored_share(folder: Path, at_once: int) -> float:
    """What the inbox keeps of a body's bytes, as they came over the wire, of events that came *at_once*."""
    numbers = [(number, number % 500) for number in range(20 * at_once)]
    store = stores.new_store(folder)
    for start in range(0, len(numbers), at_once):
        store.append(stores.accepted(numbers[start : start + at_once]))
    store.close()
    received = sum(len(stores.body(*pair)) for pair in numbers)
    with sqlite3.connect(folder / "connector-inbox.db") as sql:
        (kept,) = sql.execute("SELECT sum(length(content)) FROM blocks").fetchone()
    return float(kept / received)
