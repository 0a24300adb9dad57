"""Stores of any size, made in seconds: what the projector would have written, handed to the store in big batches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.bodies import promoter_event
from benchmarks.servers import TOKEN
from connector.core.source import Event, InboundRequest
from connector.dead_letters import DeadLetters
from connector.projector import Projector
from connector.sources.firstpromoter.webhooks import FirstPromoter
from connector.store.model import Batch, Saved, Tally, fingerprint
from connector.store.store import Store, open_store

_query = b"token=" + TOKEN.encode()
_at_once = 10_000


def utc_now() -> datetime:
    return datetime.now(UTC)


def source() -> FirstPromoter:
    return FirstPromoter("firstpromoter", FirstPromoter.Options(type="firstpromoter", token=TOKEN))


def accepted(numbers: Sequence[tuple[int, int]], now: Callable[[], datetime] = utc_now) -> list[Event]:
    """Events as the receiver hands them over, of (number of the event, number of the affiliate)."""
    maker, at = source(), now()
    return [maker.accept(InboundRequest((), _query, body(*pair), at)) for pair in numbers]


def body(number: int, affiliate: int) -> bytes:
    """The body of event *number* about *affiliate*, whatever their relation."""
    return promoter_event(number, about=affiliate)


def record_id(affiliate: int) -> str:
    """The record of affiliate number *affiliate*."""
    return f"firstpromoter:8{affiliate:07d}1"


def new_store(folder: Path, now: Callable[[], datetime] = utc_now) -> Store:
    folder.mkdir(parents=True, exist_ok=True)
    return open_store(f"sqlite:///{folder}/connector.db", worker=True, now=now)


def projector(store: Store, folder: Path, now: Callable[[], datetime] = utc_now) -> Projector:
    """As the program makes it; ``step`` until it returns 0."""
    letters = DeadLetters(folder / "dead-letters.jsonl", now=now)
    return Projector(store, {"firstpromoter": source()}, letters, stop=threading.Event(), now=now)


def fill(store: Store, folder: Path, events: int, affiliates: int) -> None:
    """*store* (an empty one) as it is after *events* about *affiliates*, all projected.

    The first event is projected truly; the others' records are its, with other numbers: the same bytes, a tenth of the
    time.
    """
    if not events:
        return
    store.append(accepted([(0, 0)]))
    project = projector(store, folder)
    while project.step():
        pass
    first = store.load([record_id(0)])[record_id(0)]
    done = 1
    while done < events:
        numbers = [(number, number % affiliates) for number in range(done, min(events, done + _at_once))]
        new = accepted(numbers)
        store.append(new)
        records = [
            Saved(record_id(who), 0, 1, first.facts.replace(b"80000000", b"8%07d" % who))
            for number, who in numbers
            if number < affiliates and who
        ]
        mentions = [(number + 1, record_id(who)) for number, who in numbers]
        tallies = {"firstpromoter": Tally(received=len(new), last_at=new[-1].at)}
        seen = [fingerprint(event) for event in new]
        store.commit(Batch(done, done + len(new), seen=seen, records=records, mentions=mentions, tallies=tallies))
        done += len(new)
    assert store.status().waiting == 0
