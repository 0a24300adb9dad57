"""Why the program is not ready: looked at every few seconds, and told by name only."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from connector import logs
from connector.assembly import utc_now
from connector.changes.notes import problems_of
from connector.core.errors import StoreUnavailable
from connector.receiver import Receiver
from connector.store import Store
from connector.store.model import Status

_PROBED_AFTER_SECONDS: Final = 10.0
_PROBE_BYTES: Final = 65_536

_log = logs.get("app")


class Readiness:
    """What ``/readyz`` says.

    Args:
        projector_failures: tries in a row that failed.
        died: names of threads that a bug ended a short time ago.
        writes_fail: why the last small write failed that is tried all the time; None: it did not, or none is tried.

    Attributes:
        receiver: None until there is one: nothing is received then.
        words: what is wrong with the store, in words that name nothing; or "".
        status: the store's, as it was when last looked at; None: it could not be read, or not yet.
    """

    def __init__(
        self,
        store: Store,
        stale_after_seconds: float,
        projector_failures: Callable[[], int],
        died: Callable[[], Sequence[str]],
        writes_fail: Callable[[], StoreUnavailable | None] = lambda: None,
    ) -> None:
        self._store, self._stale_after = store, timedelta(seconds=stale_after_seconds)
        self._projector_failures, self._died = projector_failures, died
        self._writes_fail = writes_fail
        self.words = ""
        self.status: Status | None = None
        self.receiver: Receiver | None = None
        self._reasons: tuple[str, ...] = ()
        self._notes: tuple[str, ...] = ()
        self._looked_at = time.monotonic()

    def reasons(self) -> Sequence[str]:
        """Why the program is not ready, by name only; as of a few seconds ago at most."""
        store = [] if self._writes_fail() is None and (self.receiver is None or self.receiver.keeps) else ["store"]
        return tuple(dict.fromkeys((*store, *self._reasons, *self._died())))

    def notes(self) -> Sequence[str]:
        """What is no reason, but good to know: mapping files with mistakes, and where."""
        return self._notes

    def look(self) -> None:
        """Look again."""
        self._reasons = self._look()
        failure, receiver = self._writes_fail(), self.receiver
        if failure is not None:
            self.words = failure.short
        elif receiver is not None and not receiver.keeps:
            self.words = receiver.words

    def _probe(self) -> None:
        """Whether the store keeps events again: what senders met lately is the best answer, else what a write of the
        size of some events meets. Raises StoreUnavailable."""
        receiver = self.receiver
        if receiver is None or receiver.keeps or time.monotonic() - receiver.failed_at < _PROBED_AFTER_SECONDS:
            return
        self._store.remember("connector", "probe", "x" * _PROBE_BYTES)
        self._store.remember("connector", "probe", None)
        receiver.keeps = True

    def _look(self) -> tuple[str, ...]:
        receiver, before, self._looked_at = self.receiver, self._looked_at, time.monotonic()
        failing = "store" in self.reasons() or (receiver is not None and receiver.failed_at > before)
        try:
            self._probe()
            self.status = status = self._store.status()
            mappings = self._store.mappings()
        except StoreUnavailable as error:
            self.status = None
            if receiver is not None and not failing:
                receiver.store_fails(error)
            return ("store",)
        reasons = ["store"] if receiver is not None and not receiver.keeps else []
        if failing and not reasons:
            logs.say(_log, "store.ok")
        if self._projector_failures() >= 3:
            reasons.append("projector")  # events wait in the inbox: no route has them pending, so nothing grows stale
        self._notes = tuple(
            f"mapping {name}: {problems[0].place}"
            for name, found in mappings.items()
            if (problems := problems_of(found))
        )
        stale_before = utc_now() - self._stale_after
        for route in status.routes:
            if route.state.kind in ("bug", "needs_action"):
                reasons.append(f"route:{route.route}")
            is_late = route.oldest_since is not None and route.oldest_since < stale_before
            if is_late and not (route.route in mappings and mappings[route.route].undo):  # a person let it wait
                reasons.append("stale")
        return tuple(dict.fromkeys(reasons))
