"""Group commit: one thread commits all events that wait, in one transaction, and calls back once for all of them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from connector.core.errors import StoreUnavailable
from connector.core.source import Event

Deliver = Callable[[list[Any], StoreUnavailable | None], None]
"""Called from the intake's thread once a group: the tickets whose events are safe on disk (error None), or those whose
events are not. Must be quick and must not raise: ``loop.call_soon_threadsafe(resolve, tickets, error)``."""

_EVENTS_IN_A_GROUP = 512  # about: what came at once stays together
_WAITING_BYTES = 64 * 1024 * 1024


class Intake:
    """See ``Store.start_intake``.

    Attributes:
        committed_at: when the last group was committed, in seconds of ``time.monotonic``.
    """

    def __init__(self, append: Callable[[Sequence[Event]], None], deliver: Deliver, limit: int) -> None:
        self._append, self._deliver, self._limit = append, deliver, limit
        self._waiting: queue.SimpleQueue[tuple[Sequence[Event], Sequence[Any]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting_events = self._waiting_bytes = 0
        self.committed_at = float("-inf")
        self._thread = threading.Thread(target=self._run, name="store-intake", daemon=True)
        self._thread.start()

    def submit(self, events: Sequence[Event], tickets: Sequence[Any]) -> None:
        """See ``Store.submit``."""
        with self._lock:
            if self._waiting_events >= self._limit or self._waiting_bytes >= _WAITING_BYTES:
                raise StoreUnavailable("too many events wait for the disk")
            self._waiting_events += len(events)
            self._waiting_bytes += _bytes_of(events)
        self._waiting.put((events, tickets))

    def close(self) -> None:
        """Commit what waits, then end the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while self._commit_a_group():
            pass

    def _commit_a_group(self) -> bool:
        """Commit all that wait, at least one; False when ``close`` came behind them."""
        events: list[Event] = []
        tickets: list[Any] = []
        entry = self._waiting.get()
        while entry is not None:
            events += entry[0]
            tickets += entry[1]
            if len(events) >= _EVENTS_IN_A_GROUP or self._waiting.empty():
                break
            entry = self._waiting.get()
        with self._lock:
            self._waiting_events -= len(events)
            self._waiting_bytes -= _bytes_of(events)
        if events:
            self._commit(events, tickets)
        return entry is not None

    def _commit(self, events: list[Event], tickets: list[Any]) -> None:
        error: StoreUnavailable | None = None
        try:
            self._append(events)
        except StoreUnavailable as problem:
            error = problem
        except Exception as problem:  # an event that can't be stored at all must not take the others of its group along
            if len(events) > 1:
                for event, ticket in zip(events, tickets, strict=True):
                    self._commit([event], [ticket])
                return
            error = StoreUnavailable(f"the event can't be stored ({type(problem).__name__})")
        self.committed_at = time.monotonic()
        # The event loop that asked may be closed: the events are safe all the same, and this thread must live on.
        with suppress(Exception):
            self._deliver(tickets, error)


def _bytes_of(events: Sequence[Event]) -> int:
    return sum(len(event.body) for event in events)
