"""Who is at fault when a call fails: the destination, one record, or our own code.

Found out by trying less: a batch that fails is tried in quarters, down to one record. A record that fails alone is a
suspect; as soon as another record succeeds, it is that record's own fault, so it is isolated: sent by itself at growing
distances. When another record fails alone too, the destination is down, and the route pauses.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from connector import logs
from connector.core.errors import NeedsAction, StartOver, Stopping, TryLater
from connector.core.quoting import without_secrets
from connector.delivery.batch import Route
from connector.faults import describe
from connector.store import Store
from connector.store.model import Later, Pending, RouteKind, RouteState

_log = logs.get("delivery")

_STATE_OF: dict[str, RouteKind] = {"quota": "waiting", "later": "waiting", "needs_action": "needs_action"}
_SECONDS_A_PERSON_NEEDS = 30.0  # nobody shares a sheet or renews a token faster


class Retry(Struct, frozen=True):
    """``[retry]`` of the configuration."""

    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 900.0
    give_up_after_hours: float = 72.0


class Failure(Struct, frozen=True):
    kind: Literal["quota", "later", "needs_action", "start_over", "bug", "stopping"]
    reason: str
    after: float | None = None


class Blame:
    """One route's failures: what they mean, how large the next batch is (``size``), how long the route pauses.

    Args:
        full: the most rows that the sink takes.
        chance: spreads retries in time.
    """

    def __init__(
        self,
        route: Route,
        store: Store,
        retry: Retry,
        *,
        full: int,
        stop: threading.Event,
        now: Callable[[], datetime],
        chance: random.Random,
    ) -> None:
        self.size = full
        self._route, self._secrets, self._store, self._retry = route.name, route.secrets, store, retry
        self._full, self._stop, self._now, self._chance = full, stop, now, chance
        self._suspects: set[str] = set()
        self._quota_waits = 0
        self._started_over = False

    @property
    def is_searching(self) -> bool:
        """Then each call is tried once only: finding who is at fault takes several."""
        return self.size < self._full or bool(self._suspects)

    def backoff(self, failures: int) -> float:
        """Seconds to wait after so many failures: doubling, spread, never longer than the configuration says."""
        longest = self._retry.longest_wait_seconds
        return float(min(longest, self._retry.first_wait_seconds * 2.0 ** min(failures - 1, 40))) * (
            0.5 + self._chance.random() / 2
        )

    def meaning(self, error: Exception) -> Failure:
        if isinstance(error, Stopping) or (self._stop.is_set() and isinstance(error, TryLater)):
            return Failure("stopping", "")
        if isinstance(error, TryLater):
            reason = without_secrets(error.reason, self._secrets)
            return Failure("quota" if error.quota else "later", reason, error.after)
        if isinstance(error, NeedsAction):
            return Failure("needs_action", without_secrets(error.reason, self._secrets))
        if isinstance(error, StartOver) and not self._started_over:
            self._started_over = True
            return Failure("start_over", without_secrets(error.reason, self._secrets))
        fault = describe(error)
        logs.warn(_log, "sink.bug", route=self._route, **fault)
        return Failure("bug", f"a bug in the sink: {fault['exception']} at {fault['frames'].split(' < ')[0]}")

    def succeeded(self, record_ids: Iterable[str], state: RouteState) -> None:
        """The destination took a call with these records: other records that failed alone are at fault themselves."""
        guilty = self._suspects - set(record_ids)
        if guilty:
            self._store.isolate(self._route, guilty, self._now() + timedelta(seconds=self.backoff(1)))
            logs.warn(_log, "records.isolate", route=self._route, count=len(guilty))
        self._suspects.clear()
        self._started_over = False
        self._quota_waits = 0
        self.size = min(self._full, self.size * 4)
        if state.kind != "ok" or state.failures:
            self._store.set_route_state(self._route, RouteState())
            logs.say(_log, "route.ok", route=self._route)

    def failed(self, failure: Failure, pending: Sequence[Pending], state: RouteState) -> Later:
        """A call with these records failed: until when they wait; decides what is tried next."""
        now = self._now()
        if failure.kind in ("quota", "needs_action"):
            self.pause(failure, state)
        elif failure.kind in ("later", "bug"):
            if len(pending) == 1:
                return self._one_failed(failure, pending[0], state)
            self.size = max(1, len(pending) // 4)
            self._keep(failure, state, state.failures, None)
        return Later(now, failure.kind, failed=False)

    def _one_failed(self, failure: Failure, pending: Pending, state: RouteState) -> Later:
        now = self._now()
        own_turn = now + timedelta(seconds=max(failure.after or 0.0, self.backoff(pending.tries + 1)))
        if pending.isolated:
            return Later(own_turn, failure.kind, isolated=True)
        self.size = 1
        self._suspects.add(pending.record_id)
        if len(self._suspects) == 1:
            self._keep(failure, state, state.failures, None)
            return Later(own_turn, failure.kind)
        self.pause(failure, state)
        return Later(now, failure.kind, failed=False)

    def gives_up(self, pending: Pending, state: RouteState) -> bool:
        """Whether *pending* has failed for too long while other records get through: an outage is nobody's fault."""
        if pending.failing_since is None or state.delivered_at is None:
            return False
        now, patience = self._now(), timedelta(hours=self._retry.give_up_after_hours)
        lately = now - timedelta(seconds=2 * self._retry.longest_wait_seconds)
        has_failed_long = now - pending.failing_since >= patience
        return has_failed_long and state.delivered_at > max(pending.failing_since, lately)

    def pause(self, failure: Failure, state: RouteState) -> None:
        """No call for as long as the destination asks, else longer each time. Kept on disk."""
        failures = state.failures
        if failure.kind == "stopping":
            return
        if failure.kind == "quota":
            self._quota_waits += 1  # proof that the destination is healthy: never a failure
            wait = failure.after if failure.after is not None else self.backoff(self._quota_waits)
        else:
            failures += 1
            wait = max(failure.after or 0.0, self.backoff(failures))
            if failure.kind == "needs_action":
                wait = max(wait, min(_SECONDS_A_PERSON_NEEDS, self._retry.longest_wait_seconds))
        self._keep(failure, state, failures, wait)
        logs.warn(_log, "route.paused", route=self._route, why=failure.kind, seconds=round(wait, 1), failures=failures)

    def _keep(self, failure: Failure, state: RouteState, failures: int, wait: float | None) -> None:
        now = self._now()
        kind = _STATE_OF.get(failure.kind, "bug")
        since = state.since if state.kind == kind and state.since is not None else now
        until = None if wait is None else now + timedelta(seconds=wait)
        self._store.set_route_state(self._route, RouteState(kind, failure.reason, until, failures, since))
