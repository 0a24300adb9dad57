"""What the parts of the store have in common: the database, the clock, and who wants to hear of changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from connector.store.engine import Engine
from connector.store.model import micros, moment

Callback = Callable[[], None]


class Part:
    """A part of ``Store``.

    Args:
        now: aware UTC.
    """

    def __init__(self, engine: Engine, now: Callable[[], datetime]) -> None:
        self._engine, self._now = engine, now
        self._on_append: list[Callback] = []
        self._on_pending: list[Callback] = []

    def on_append(self, callback: Callback) -> None:
        """Call *callback* (quick, must not raise) whenever events have been committed to the inbox."""
        self._on_append.append(callback)

    def on_pending(self, callback: Callback) -> None:
        """Call *callback* (quick, must not raise) whenever more may be pending than before."""
        self._on_pending.append(callback)

    @staticmethod
    def _ring(callbacks: Iterable[Callback]) -> None:
        for callback in callbacks:
            callback()

    def _at(self) -> int:
        """Now, in microseconds of Unix time, by this process's clock."""
        return micros(self._now())

    # What is due when is compared between machines, so it goes by the database's clock.

    def _due_now(self) -> int:
        return self._at() + self._engine.clock_offset()

    def _due(self, at: datetime) -> int:
        return micros(at) + self._engine.clock_offset()

    def _moment_due(self, due_at: int) -> datetime:
        return moment(due_at - self._engine.clock_offset())
