"""A host for sinks under test: its own clock, notes in memory, and a record of what was measured."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from connector.core.errors import Stopping
from connector.core.row import Cell


class TestHost:
    """``Host`` with a clock that only moves when somebody waits, so that a test of pacing takes no time.

    Args:
        start: what ``now`` says at first (aware UTC).

    Attributes:
        notes: what the sink remembers; give the same dict to a second host to play a restart.
        waits: every nap, in seconds.
        metrics: by name, every value reported.
        typed: what people had typed and a write was about to overwrite.
        stop: set it True, and the next ``wait`` raises Stopping.
    """

    __test__ = False  # not a test class, whatever pytest thinks of its name

    def __init__(
        self, *, start: datetime = datetime(2026, 11, 20, 12, 0, tzinfo=UTC), notes: dict[str, str] | None = None
    ) -> None:
        self._start = start
        self._seconds = 0.0
        self.notes: dict[str, str] = {} if notes is None else notes
        self.waits: list[float] = []
        self.metrics: defaultdict[str, list[float]] = defaultdict(list)
        self.typed: list[Mapping[str, Mapping[str, Cell]]] = []
        self.stop = False

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._seconds)

    def monotonic(self) -> float:
        return self._seconds

    def wait(self, seconds: float) -> None:
        if self.stop:
            raise Stopping("the test asked to stop")
        self.waits.append(seconds)
        self._seconds += seconds

    def advance(self, seconds: float) -> None:
        """Let time go by."""
        self._seconds += seconds

    def recall(self, key: str) -> str | None:
        return self.notes.get(key)

    def remember(self, key: str, value: str | None) -> None:
        if value is None:
            self.notes.pop(key, None)
        else:
            self.notes[key] = value

    def overwriting(self, route: str, typed: Mapping[str, Mapping[str, Cell]]) -> None:
        self.typed.append(typed)

    def metric(self, name: str, value: float) -> None:
        self.metrics[name].append(value)


class TrueHost(TestHost):
    """A host whose clock is the machine's."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)
