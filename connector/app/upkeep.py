"""What is done to the store now and then: old events are deleted, rows that depend on the day are made anew, a set-back
clock is noticed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from connector import logs
from connector.assembly import utc_now
from connector.core.errors import StoreUnavailable
from connector.store import Store
from connector.store.tables import CLOCK_TRUSTED

_DAY_NOTES: Final = "connector.day"
_CLOCK_NOTES: Final = CLOCK_TRUSTED[1], "clock ahead since"

_log = logs.get("app")


class ClockWatch:
    """Notices when the system's clock is set back.

    Args:
        now: Unix seconds.
        steady: seconds of a clock that nobody can set.
    """

    def __init__(self, now: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._now, self._steady = now, steady
        self._ahead = now() - steady()

    def seconds_set_back(self) -> float:
        """How far the clock was set back since the last call; 0.0 below 30 s, which heals by itself."""
        before, self._ahead = self._ahead, self._now() - self._steady()
        return before - self._ahead if before - self._ahead > 30 else 0.0


def clock_is_trusted(store: Store, now: datetime) -> bool:
    """Whether old events may be deleted by *now*. To be asked before each deletion, at least once a day.

    A clock that is suddenly more than a day ahead is wrong, or the program was stopped for long. It is trusted after it
    has run on from there for a day; one that is put right before that has done no harm.
    """
    believed, ahead_since = (_moment_of(store.recall("connector", note)) for note in _CLOCK_NOTES)
    if believed is not None and now - believed > timedelta(days=1):
        if ahead_since is None or now < ahead_since:
            store.remember("connector", _CLOCK_NOTES[1], now.isoformat())
            return False
        if now - ahead_since < timedelta(days=1):
            return False
    store.remember("connector", _CLOCK_NOTES[0], now.isoformat())
    if ahead_since is not None:
        store.remember("connector", _CLOCK_NOTES[1], None)
    return True


def _moment_of(note: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(note) if note else None
    except ValueError:
        return None


class Upkeep:
    """Called every few seconds by one thread.

    Args:
        keep_days, keep_deliveries_days: older events, and lines of the delivery log, are deleted.
        stop: ends a deletion between two steps.
        dated_routes: the routes whose rows depend on the day.
    """

    prune_seconds = 2.0
    """How long old events are deleted before readiness is looked at again."""

    def __init__(
        self,
        store: Store,
        keep_days: float,
        keep_deliveries_days: float,
        stop: threading.Event,
        dated_routes: Callable[[], Sequence[str]] = tuple,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store, self._stop = store, stop
        self.keep_days, self.keep_deliveries_days = keep_days, keep_deliveries_days
        self._dated_routes, self._now = dated_routes, now
        self.clock = ClockWatch()
        self._set_back_seconds = 0.0
        self._deleted = 0
        self._next_prune = time.monotonic() + 60

    def begin(self) -> None:
        """Nothing waits for longer than a day, unless a clock was wrong in another run."""
        with suppress(StoreUnavailable):
            self._store.clock_was_set_back(ahead_by=timedelta(days=1))

    def mind_the_clock(self) -> None:
        """Where the clock was set back, what waits for a moment must not wait for it twice."""
        self._set_back_seconds += self.clock.seconds_set_back()
        if self._set_back_seconds:
            with suppress(StoreUnavailable):  # the next time does it
                self._store.clock_was_set_back()
                logs.warn(_log, "clock.set_back", seconds=round(self._set_back_seconds))
                self._set_back_seconds = 0.0

    def renew_dated_rows(self) -> None:
        """When a day (UTC) begins, every record is pending for the routes whose rows depend on it."""
        today = self._now().date().isoformat()
        with suppress(StoreUnavailable):  # the next time does it
            for route in self._dated_routes():
                if self._store.recall(_DAY_NOTES, route) == today:
                    continue
                count = self._store.enqueue(route)
                self._store.remember(_DAY_NOTES, route, today)
                logs.say(_log, "rows.renewed", route=route, pending=count)

    def prune_when_due(self) -> None:
        """Delete what is old, every hour."""
        if time.monotonic() >= self._next_prune:
            self._next_prune = time.monotonic() + self.prune()

    def prune(self) -> float:
        """Delete events that are older than the configuration wants, in small steps; a part only when there are many:
        readiness is looked at meanwhile.

        Returns:
            Seconds until the next time.
        """
        before = utc_now() - timedelta(days=self.keep_days)
        deliveries_before = utc_now() - timedelta(days=self.keep_deliveries_days)
        ends = time.monotonic() + self.prune_seconds
        try:
            if not clock_is_trusted(self._store, utc_now()):
                logs.warn(_log, "prune.waits", reason="the clock was put ahead, or nothing ran for more than a day")
                return 3600.0
            while step := self._store.prune(before, deliveries_before=deliveries_before):
                self._deleted += step
                if self._stop.wait(0.05) or time.monotonic() >= ends:
                    return 0.0
        except StoreUnavailable as error:
            logs.warn(_log, "prune.failed", reason=str(error))
            return 60.0
        if self._deleted:
            logs.say(_log, "events.forgotten", count=self._deleted)
        self._deleted = 0
        return 3600.0
