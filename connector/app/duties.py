"""What one process at a time does for a store, and which process that is.

On SQLite the one process has every duty. On PostgreSQL a duty goes with a lease: it begins when this process gets the
lease, and ends when the lease is lost or handed over. The sinks are shared out among the processes that are alive.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from connector import logs
from connector.app.threads import Threads
from connector.core.errors import StoreUnavailable
from connector.faults import describe
from connector.store.processes import Beat

_log = logs.get("app")
_TICK_SECONDS: Final = 0.5
_FREE_SECONDS: Final = 1.5
"""How long a lease is left to others that have less to do; then anybody takes it."""
_KEPT_SECONDS: Final = 60.0
"""How long a duty that nobody else wanted is not offered again."""

Run = tuple[str, Callable[[], None]]


class Duty:
    """Some threads that begin and end together.

    Args:
        name: of the lease.
        runs: the threads' names and what they run; asked for whenever the duty begins.
        ring: wakes threads that sleep, when the duty ends.
        routes: whose pending records belong to it.
        weight: how much work it is, for sharing out; 0: it goes to whoever asks first, and stays there.
        late_call_seconds: how long a call of a holder that died may still arrive.
    """

    def __init__(
        self,
        name: str,
        runs: Callable[[], Iterable[Run]],
        ring: Callable[[], None] = lambda: None,
        *,
        routes: Sequence[str] = (),
        weight: int = 0,
        late_call_seconds: float = 0.0,
    ) -> None:
        self.name, self.routes, self.weight, self.late_call_seconds = name, routes, weight, late_call_seconds
        self._runs, self._ring = runs, ring
        self.stop = threading.Event()
        self.threads = Threads(self.stop)
        self.is_on = False
        self._over = False
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Start its threads, once those of the time before have ended. Nothing begins after ``end(for_good=True)``."""
        with self._lock:
            if self._over or self.is_on:
                return
            self.is_on = True
            self.stop.clear()
            self.threads.started.clear()
            for name, run in self._runs():
                self.threads.start(name, run)

    def end(self, *, for_good: bool = False) -> None:
        """Let its threads end soon; waits for none."""
        with self._lock:
            self._over = self._over or for_good
            self.is_on = False
            self.stop.set()
        self._ring()

    def has_ended(self) -> bool:
        """Whether none of its threads runs."""
        return not self.is_on and not self.threads.alive()


class Leases(Protocol):
    """Who owns what: the store."""

    def beat(self, note: str = "") -> Beat: ...

    def acquire(self, name: str, routes: Sequence[str], late_call_seconds: float) -> bool: ...

    def release(self, name: str) -> None: ...

    def leave(self) -> None: ...

    def repeat_late(self, routes: Sequence[str]) -> int: ...


class Sharing:
    """A process's part of the duties. ``run`` is a thread's life; ``step`` is one look.

    Args:
        role: which processes share the duties.
        note: what people should know of this process.
        all_of_them: take every duty, whatever the others have.
    """

    def __init__(
        self,
        duties: Sequence[Duty],
        leases: Leases,
        *,
        role: str = "deliver",
        note: Callable[[], str] = lambda: "",
        all_of_them: bool = False,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._duties, self._leases, self._role, self._note = duties, leases, role, note
        self._all, self._steady = all_of_them, steady
        self._leaves = threading.Event()
        self._ends = threading.Event()
        self._free_since: dict[str, float] = {}
        self._kept_until: dict[str, float] = {}
        self.failure: StoreUnavailable | None = None
        """Why the last sign of life could not be given: what is written now can't be kept either."""

    def run(self) -> None:
        """Share until ``stop``."""
        while not self._ends.is_set():
            self.step()
            (self._ends if self._leaves.is_set() else self._leaves).wait(_TICK_SECONDS)

    def step(self) -> None:
        """Give a sign of life; begin what became this process's, end what is no longer."""
        try:
            beat = self._leases.beat(self._note())
            for duty in self._duties:
                if duty.name not in beat.mine and duty.is_on:
                    logs.warn(_log, "duty.lost", duty=duty.name)
                    duty.end()
                elif duty.name in beat.mine and not duty.is_on and duty.has_ended():
                    self._leases.release(duty.name)
            if self._leaves.is_set():
                for duty in self._duties:
                    duty.end()
            else:
                self._give(beat)
                self._take(beat)
                self._leases.repeat_late([route for duty in self._duties if duty.is_on for route in duty.routes])
        except StoreUnavailable as error:
            if self.failure is None:
                logs.warn(_log, "leases.wait", reason=str(error))
            self.failure = error
        else:
            self.failure = None

    def hand_over(self) -> None:
        """The process stops soon: end every duty, and give its lease to the others as soon as its threads have ended.
        Quick: a signal's handler calls it."""
        self._leaves.set()

    def stop(self) -> None:
        """End ``run``."""
        self._leaves.set()
        self._ends.set()

    def close(self) -> None:
        """After ``stop``, when every thread has ended or is given up: whose has not, that lease is over as a dead
        process's is."""
        try:
            for duty in self._duties:
                duty.end(for_good=True)
                if duty.has_ended():
                    self._leases.release(duty.name)
            self._leases.leave()
        except StoreUnavailable as error:
            logs.warn(_log, "leases.wait", reason=str(error))

    def _fair(self, alive: Mapping[str, int]) -> int:
        """How much each process should do at most."""
        total = sum(duty.weight for duty in self._duties)
        return total if self._all else -(-total // max(1, alive.get(self._role, 1)))

    def _load(self) -> int:
        return sum(duty.weight for duty in self._duties if duty.is_on)

    def _give(self, beat: Beat) -> None:
        """End a duty where this process has more than its part; its lease is given back when it has ended."""
        now = self._steady()
        if self._load() <= self._fair(beat.alive):
            return
        for duty in reversed(self._duties):
            if duty.is_on and duty.weight and now >= self._kept_until.get(duty.name, now):
                logs.say(_log, "duty.given", duty=duty.name)
                duty.end()
                return

    def _take(self, beat: Beat) -> None:
        now, fair = self._steady(), self._fair(beat.alive)
        for duty in self._duties:
            if duty.name in beat.taken or duty.name in beat.mine:
                self._free_since.pop(duty.name, None)
                continue
            is_left = now - self._free_since.setdefault(duty.name, now) >= _FREE_SECONDS
            if (is_left or self._load() + duty.weight <= fair) and duty.has_ended():
                self._begin(duty, kept_until=now + _KEPT_SECONDS if is_left else now)

    def _begin(self, duty: Duty, kept_until: float) -> None:
        if not self._leases.acquire(duty.name, duty.routes, duty.late_call_seconds):
            return
        self._free_since.pop(duty.name, None)
        self._kept_until[duty.name] = kept_until
        logs.say(_log, "duty.begun", duty=duty.name)
        try:
            duty.begin()
        except Exception as error:  # the lease must not be kept by a process that does nothing with it
            logs.warn(_log, "duty.fails", duty=duty.name, **describe(error))
            duty.end()
