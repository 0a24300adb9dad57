"""Destinations that fail with a probability: ``python -m tests.chaos.sinks [--events N] [--seed N]``.

The whole engine on a real store with a simulated clock; the destination is a table in memory that remembers every call.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from connector.core.errors import NeedsAction, TryLater
from connector.core.mapping import Evaluation
from connector.core.record import AffiliateRecord
from connector.core.row import Row
from connector.core.sink import Outcome
from connector.core.source import Event
from tests.chaos.engine import scratch
from tests.doubles import START, TableSink, World, as_row, event

kinds = ("error", "refusal", "time-out", "lost answer", "all of them")
probabilities = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass
class Figures:
    """What a campaign came to; *wrong* is empty when all holds."""

    events: int = 0
    records: int = 0
    delivered: int = 0
    dead_lettered: int = 0
    owed_while_failing: int = 0
    calls: int = 0
    failed: int = 0
    wrong: list[str] = field(default_factory=list)


class Failing:
    """Makes a ``TableSink`` fail, in one way or in all, with a probability for each call (a refusal: for each row)."""

    def __init__(self, sink: TableSink, kind: str, probability: float, chance: random.Random) -> None:
        self.probability = probability
        self.failed = 0
        self._kind, self._chance = kind, chance
        sink.before, sink.after, sink.answer = self._before, self._after, self._answer

    def _hits(self, kind: str) -> bool:
        share = self.probability if kind == self._kind else self.probability / 4 * (self._kind == "all of them")
        hit = share > 0 and self._chance.random() < share
        self.failed += hit
        return hit

    def _before(self, rows: Sequence[Row]) -> None:
        if self._hits("error"):
            raise self._chance.choice([KeyError("a bug"), NeedsAction("sign in again"), TryLater("error 500")])
        if self._hits("time-out"):
            raise TryLater("no answer within 60 s")

    def _after(self, rows: Sequence[Row]) -> None:
        if self._hits("lost answer"):
            raise TryLater("the connection broke before the answer")

    def _answer(self, row: Row) -> Outcome:
        return (
            Outcome(row.key, "refused", "not this one", "no") if self._hits("refusal") else Outcome(row.key, "written")
        )


def campaign(folder: Path, kind: str, probability: float, *, events: int, seed: int) -> Figures:
    """*events* events in any order, a tenth of them twice, while the destination fails; then it fails no more."""
    chance = random.Random(f"{seed} {kind} {probability}")
    affiliates = max(1, events // 5)
    said = [event(chance.randrange(affiliates), at, email=f"{at}@example.com") for at in range(1, events + 1)]
    last: dict[str, str] = {}
    for one in said:
        record_id = "plain:" + one.body.decode().split('"')[3]
        last[record_id] = f"{one.at}@example.com"
    said += chance.sample(said, len(said) // 10)
    chance.shuffle(said)
    folder.mkdir()
    world = World(folder, sink=TableSink(batch_rows=10))
    failing = Failing(world.sink, kind, probability, chance)
    figures = Figures(events, len(last))
    step = max(50, len(said) // 20)
    for start in range(0, len(said), step):
        world.say(*said[start : start + step])
        world.deliver_for(20)
    world.deliver_for(3600)
    figures.owed_while_failing = world.pending()
    letters = len(world.letters.list())
    if kind not in ("refusal", "all of them") and letters:
        figures.wrong.append(f"{letters} dead letters though nothing was refused")
    if probability < 1 or kind == "refusal":
        world.deliver_for(10 * 24 * 3600)
    else:
        if kind != "all of them" and figures.owed_while_failing != len(last):
            figures.wrong.append(f"{figures.owed_while_failing} records pending while every call failed")
        failing.probability = 0.0
        world.deliver_for(24 * 3600)
    if world.pending():
        figures.wrong.append(f"{world.pending()} records are pending for ever")
    lettered = {letter.subject: letter.content["cells"]["Email"] for letter in world.letters.list()}
    for record_id, email in last.items():
        held = world.sink.rows.get(record_id, {}).get("Email")
        if record_id in lettered:
            figures.dead_lettered += 1
            if lettered[record_id] != email:
                figures.wrong.append(f"{record_id}: the letter is not about the last state")
            if held == email and kind not in ("lost answer", "all of them"):
                figures.wrong.append(f"{record_id} was delivered and dead-lettered")
        elif held == email:
            figures.delivered += 1
        else:
            figures.wrong.append(f"{record_id}: the row says {held}, the last event {email}")
    if world.sink.rows.keys() - last.keys():
        figures.wrong.append("rows of nobody")
    if figures.delivered + figures.dead_lettered != len(last) or len(world.store.record_ids(limit=10**6)) != len(last):
        figures.wrong.append(f"{figures.delivered} + {figures.dead_lettered} of {len(last)} records")
    figures.calls, figures.failed = len(world.sink.calls), failing.failed
    world.close()
    return figures


# ---------------------------------------------------------------- down for half an hour

half_an_hour = 1800.0
answers = ("none", "429", "429, wait 60 s")


@dataclass
class Outage:
    """What half an hour without a destination came to.

    Args:
        waits: seconds between the calls that were made in vain.
        letters, pending: afterwards.
    """

    waits: list[float]
    records: int
    rows: int
    letters: int
    pending: int


def outage(folder: Path, answer: str, seed: int) -> Outage:
    """An event a second for half a simulated hour in which every call is answered with *answer*; then all is well."""
    folder.mkdir()
    world = World(folder)
    calls: list[float] = []

    def down(rows: Sequence[Row]) -> None:
        calls.append(world.clock.seconds)
        if world.clock.seconds < half_an_hour:
            raise TryLater("down", after=60.0 if answer == "429, wait 60 s" else None, quota=answer != "none")

    world.sink.before = down
    chance = random.Random(seed)
    at = 0
    while world.clock.seconds < half_an_hour:
        world.say(*(event(chance.randrange(300), at + more, email=f"{at + more}@example.com") for more in range(1, 11)))
        at += 10
        ends = world.clock.seconds + 10
        world.deliver_for(10)
        world.clock.seconds = max(world.clock.seconds, ends)
    in_vain = [moment for moment in calls if moment < half_an_hour]
    world.deliver_for(905)
    done = Outage(
        [later - earlier for earlier, later in pairwise(in_vain)], len(world.store.record_ids()),
        len(world.sink.rows), len(world.letters.list()), world.pending(),
    )  # fmt: skip
    world.close()
    return done


# ---------------------------------------------------------------- one affiliate that always fails

culprits = (
    "the destination",
    "a bug in the sink",
    "a bug in the source",
    "a bug in the folding",
    "a bug in the mapping",
)


@dataclass
class Poison:
    """What the others had of it: seconds from an event to its row, and how many never got theirs."""

    delays: list[float]
    waiting: int


def poison(folder: Path, culprit: str, seed: int, *, seconds: int = 600) -> Poison:
    """Some simulated minutes, four events a second; every fifth time one more about somebody who always fails."""
    folder.mkdir()
    world = World(folder, evaluate=_breaks if culprit == "a bug in the mapping" else as_row)
    error = {"the destination": TryLater("error 500 for this batch"), "a bug in the sink": KeyError("a bug")}.get(
        culprit
    )
    topic = {"a bug in the source": "bug", "a bug in the folding": "unfoldable"}.get(culprit, "said")
    chance = random.Random(seed)
    came: dict[str, tuple[float, str]] = {}
    delays: list[float] = []

    def before(rows: Sequence[Row]) -> None:
        if error is not None and any(row.key == "plain:poison" for row in rows):
            raise error

    def arrived(rows: Sequence[Row]) -> None:
        now_right = [row.key for row in rows if row.key in came and row.cells["Email"] == came[row.key][1]]
        delays.extend(world.clock.seconds - came.pop(key)[0] for key in now_right)

    world.sink.before, world.sink.after = before, arrived
    for at in range(1, seconds + 1):
        said = [_about("poison", at, topic)] if chance.random() < 0.2 else []
        for affiliate in chance.sample(range(40), 4):
            since, _ = came.get(f"plain:a{affiliate}", (world.clock.seconds, ""))  # pending since the first not written
            came[f"plain:a{affiliate}"] = (since, f"{at}@example.com")
            said.append(_about(f"a{affiliate}", at, "said"))
        chance.shuffle(said)
        world.say(*said)
        world.deliver_for(max(0.001, at - world.clock.seconds))
        world.clock.seconds = max(world.clock.seconds, float(at))
    world.deliver_for(30)
    world.close()
    return Poison(delays, len(came))


def _breaks(record: AffiliateRecord) -> Evaluation:
    if record.id == "plain:poison":
        raise ZeroDivisionError("a bug in a mapping")
    return as_row(record)


def _about(who: str, at: int, topic: str) -> Event:
    body = json.dumps({"id": who, "email": f"{at}@example.com"})
    return Event("plain", f"{who}:{at}", topic, at, START, body.encode())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    words = parser.parse_args()
    wrong = 0
    sys.stdout.write(
        f"{words.events} events a line, a tenth of them twice, in any order; seed {words.seed}\n"
        f"{'fails by':12} {'p':>4} {'records':>8} {'delivered':>10} {'letters':>8} {'calls':>7}"
        f" {'failures':>9} {'s':>5}\n"
    )
    with scratch() as folder:
        for number, (kind, probability) in enumerate((k, p) for k in kinds for p in probabilities):
            began = time.monotonic()
            done = campaign(folder / str(number), kind, probability, events=words.events, seed=words.seed)
            sys.stdout.write(
                f"{kind:12} {probability:4} {done.records:8} {done.delivered:10} {done.dead_lettered:8}"
                f" {done.calls:7} {done.failed:9} {time.monotonic() - began:5.0f}\n"
            )
            for fault in done.wrong[:10]:
                sys.stdout.write(f"  WRONG {fault}\n")
            wrong += len(done.wrong)
    sys.stdout.write(f"{wrong} faults\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
