"""What came in during the last minutes, in memory and bounded: for the page, which shows it as it happens."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from connector.core.facts import Stamped, Value
from connector.core.lenient import micros_of

_MOST_REQUESTS: Final = 200
_MOST_REFUSALS: Final = 50
_MOST_SAYINGS: Final = 500
_MOST_CHANGES: Final = 4
_HOUR_MICROS: Final = 3_600_000_000
_EACH_TIME: Final = ("default.", "last_event.", "updated_at")


class Incoming(Struct, frozen=True):
    """A request to ``/hooks/``.

    Args:
        number: counts up from 1.
        source: None: a source that is not configured.
        key: the event's; "" where it was refused.
        reason: why it was refused, in one word; *why*: in more.
    """

    number: int
    at: datetime
    source: str | None
    topic: str
    key: str
    status: int
    reason: str = ""
    why: str = ""


class Saying(Struct, frozen=True):
    """What an event changed in one record.

    Args:
        changes: path, before, after; *more*: how many more there are.
        new: the record was not known before.
    """

    record_id: str
    changes: tuple[tuple[str, Value, Value], ...]
    more: int
    new: bool


class Recent:
    """Written by the receiver and the projector; any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: deque[Incoming] = deque(maxlen=_MOST_REQUESTS)
        self._sayings: OrderedDict[tuple[str, str], tuple[Saying, ...]] = OrderedDict()
        self._refusals: deque[Incoming] = deque(maxlen=_MOST_REFUSALS)
        self._refused: Counter[tuple[str, int]] = Counter()
        self._count = 0

    def accepted(self, at: datetime, source: str, topic: str, key: str, status: int) -> None:
        """A webhook is kept."""
        with self._lock:
            self._count += 1
            self._requests.append(Incoming(self._count, at, source, topic, key, status))

    def refused(self, at: datetime, source: str | None, status: int, reason: str, why: str | None) -> None:
        """A request is not kept."""
        with self._lock:
            self._count += 1
            request = Incoming(self._count, at, source, "", "", status, reason, why or "")
            self._requests.append(request)
            if reason != "method":  # somebody opened the address in a browser: no webhook was refused
                self._refusals.append(request)
                self._refused[source or "", micros_of(at) // _HOUR_MICROS] += 1

    def said(self, event: tuple[str, str], record_id: str, before: Sequence[Stamped], after: Sequence[Stamped]) -> None:
        """The event of that source and key made *after* of the record's facts *before*."""
        old, new = _values(before), _values(after)
        changes = [(path, old.get(path), value) for path, value in new.items() if old.get(path) != value]
        shown = [
            change
            for change in changes
            if not change[0].startswith(_EACH_TIME)
            and not change[0].endswith(".at")
            and "[]" not in change[0]
            and not (change[0].startswith("balances.") and change[2] is True)  # says that its amounts are complete
        ]
        saying = Saying(record_id, tuple(shown[:_MOST_CHANGES]), len(shown[_MOST_CHANGES:]), not before)
        with self._lock:
            self._sayings[event] = (*self._sayings.get(event, ()), saying)[-_MOST_CHANGES:]
            while len(self._sayings) > _MOST_SAYINGS:
                self._sayings.popitem(last=False)

    def since(self, number: int) -> list[Incoming]:
        """The requests behind that number, the oldest first."""
        with self._lock:
            if number >= self._count:
                return []
            return [request for request in self._requests if request.number > number]

    def refusals(self) -> list[Incoming]:
        """The webhooks refused last, the oldest first: also those that many accepted ones have followed."""
        with self._lock:
            return list(self._refusals)

    def sayings(self, source: str, key: str) -> tuple[Saying, ...]:
        """What that event changed; () when that is not known any more, or not yet."""
        with self._lock:
            return self._sayings.get((source, key), ())

    def keep_refused(self, keep: Callable[[Mapping[tuple[str, int], int]], None]) -> None:
        """Give *keep* how many were refused since it last returned, by source and hour of Unix time."""
        with self._lock:
            refused = self._refused.copy()
        keep(refused)
        with self._lock:
            self._refused -= refused


def _values(said: Sequence[Stamped]) -> Mapping[str, Value]:
    return said[0][2] if len(said) == 1 else {path: value for _, _, values in said for path, value in values.items()}
