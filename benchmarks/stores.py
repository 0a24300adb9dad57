"""Stores filled as the program fills them: events accepted by the source, appended, projected."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.bodies import promoter_event
from benchmarks.servers import TOKEN
from connector.core.source import Event, InboundRequest
from connector.dead_letters import LetterFile
from connector.projector import Projector
from connector.sources.firstpromoter.webhooks import FirstPromoter
from connector.store import Store

_QUERY = b"token=" + TOKEN.encode()
_EVENTS_AT_ONCE = 10_000


def utc_now() -> datetime:
    return datetime.now(UTC)


def source() -> FirstPromoter:
    return FirstPromoter("firstpromoter", FirstPromoter.Options(type="firstpromoter", token=TOKEN))


def accepted(numbers: Sequence[tuple[int, int]], now: Callable[[], datetime] = utc_now) -> list[Event]:
    """Events as the receiver hands them over, of (number of the event, number of the affiliate)."""
    maker, at = source(), now()
    return [maker.accept(InboundRequest((), _QUERY, body(*pair), at)) for pair in numbers]


def body(number: int, affiliate: int) -> bytes:
    """The body of event *number* about *affiliate*."""
    return promoter_event(number, about=affiliate)


def record_id(affiliate: int) -> str:
    """The record of affiliate number *affiliate*."""
    return f"firstpromoter:8{affiliate:07d}1"


def new_store(folder: Path, now: Callable[[], datetime] = utc_now) -> Store:
    folder.mkdir(parents=True, exist_ok=True)
    return Store(f"sqlite:///{folder}/connector.db", worker=True, now=now)


def projector(store: Store, folder: Path, now: Callable[[], datetime] = utc_now) -> Projector:
    """As the program makes it."""
    letters = LetterFile(folder / "dead-letters.jsonl", now=now)
    return Projector(store, {"firstpromoter": source()}, letters, stop=threading.Event(), now=now)


def project_all(project: Projector) -> None:
    while project.step():
        pass


def append(store: Store, events: int, affiliates: int, *, first: int = 0) -> None:
    """Events with the numbers from *first* on, about one affiliate after the other."""
    for start in range(first, first + events, _EVENTS_AT_ONCE):
        end = min(first + events, start + _EVENTS_AT_ONCE)
        store.append(accepted([(number, number % affiliates) for number in range(start, end)]))


def fill(store: Store, folder: Path, events: int, affiliates: int) -> None:
    """*store* as it is after *events* about *affiliates*, all projected."""
    project = projector(store, folder)
    for start in range(0, events, _EVENTS_AT_ONCE):
        append(store, min(_EVENTS_AT_ONCE, events - start), affiliates, first=start)
        project_all(project)
