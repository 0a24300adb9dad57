"""One route's life: take what is pending, send it, settle it. Delivery owns patience; a sink makes one attempt.

One thread a route. What is pending are records, not events: the route sends the latest version of each, as many rows in
a call as the sink takes. Knows sinks only by their contract. What a failing call means is found out by ``blame``.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, structs

from connector import logs
from connector.core.errors import NeedsAction, Stopping, StoreUnavailable, TryLater
from connector.core.row import Row
from connector.core.sink import Outcome
from connector.dead_letters import DeadLetters, Letter
from connector.delivery.batch import (
    Job,
    Route,
    Sent,
    freed,
    jobs_of,
    lines_of,
    put_back,
    told_again,
    tries_of,
    without_facts,
)
from connector.delivery.blame import Blame, Failure, Retry
from connector.faults import describe
from connector.rest import Rest
from connector.store import Store
from connector.store.model import WAITS_FOR, Later, LogLine, Pending, Result, RouteState

if TYPE_CHECKING:
    from tenacity import RetryCallState

_log = logs.get("delivery")

_RECORDS_PER_TAKE = 500  # so that no transaction of the store is long
_RECORDS_PER_SETTLING = 1_000
_UNSENT_RECORDS_PER_BATCH = 1_000  # records that need no call; then what was found is sent
_ATTEMPTS_PER_CALL = 3
_SECONDS_BETWEEN_LOOKS_AT_INCOMPLETE = 86_400.0
_LONGEST_NAP_SECONDS = 5.0
_LOOK_SECONDS = 1.0  # another process may have enqueued something, and can't ring the bell


def load_libraries() -> None:
    """Import what delivering needs, before a thread that delivers is started: there an import could fail for good."""
    import tenacity  # noqa: F401


class Delivered(Struct, frozen=True):
    """What one step of a route did, for metrics.

    Args:
        rows: written at the destination; *unchanged* were equal to what was last written and cost no call.
        failure: None, or what stopped the call: ``quota``, ``later``, ``needs_action``, ``start_over``,
            ``bug``.
        seconds: spent in the sink's calls; *each*: of every call.
    """

    route: str
    rows: int = 0
    unchanged: int = 0
    refused: int = 0
    later: int = 0
    calls: int = 0
    seconds: float = 0.0
    failure: Literal["quota", "later", "needs_action", "start_over", "bug"] | None = None
    each: tuple[float, ...] = ()


class RouteWorker:
    """Delivers one route. ``run`` is a thread's life; ``step`` is one batch, for tests and ``drain``.

    Args:
        stop: ends naps within a second; what is pending stays pending.
        now: aware UTC.
        nap: sleeps that many seconds, less when *stop* is set.
        chance: spreads retries in time.
        lease: longer than twice any sink's time-out, retries included.
        report: called after each step that delivered or failed, in this thread; quick, must not raise.
        begin: called before each batch, in this thread; it may call ``use``. False: the route waits.

    Attributes:
        delivery: shared by all rows that are sent in the log; "": by those of one batch.
    """

    def __init__(
        self,
        route: Route,
        store: Store,
        letters: DeadLetters,
        retry: Retry,
        *,
        stop: threading.Event,
        now: Callable[[], datetime],
        nap: Callable[[float], object] | None = None,
        chance: random.Random | None = None,
        lease: timedelta = timedelta(minutes=30),
        report: Callable[[Delivered], None] | None = None,
        begin: Callable[[RouteWorker], bool] | None = None,
    ) -> None:
        self.route = route
        self.delivery = ""
        self._begin = begin
        self.bell = threading.Event()
        self._name, self._sink, self._target = route.name, route.sink, route.target
        self._store, self._letters = store, letters
        self._stop, self._now, self._lease, self._report = stop, now, lease, report
        self._nap_for = nap or stop.wait
        self._full = max(1, route.sink.batch_rows)
        chance = chance or random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._blame = Blame(route, store, retry, full=self._full, stop=stop, now=now, chance=chance)
        self._after = self._began_after = ""
        self._isolated_turn = False
        self._just_started = True
        self._rest = Rest(store.committed_at, stop)
        self._look_seconds = min(_LOOK_SECONDS, 3 * store.poll_seconds)
        self._leased: dict[str, Pending] = {}
        self._unsettled: list[Result] = []
        self._void: set[str] = set()

    def use(self, route: Route) -> None:
        """From the next batch on, deliver the same route by another version of its mapping."""
        self.route, self._target = route, route.target

    def _nap(self, seconds: float) -> None:
        self._nap_for(seconds)

    # ------------------------------------------------ a thread's life

    def run(self) -> None:
        troubles = 0
        while not self._stop.is_set():
            self.bell.clear()
            try:
                found = self.step()
                wait = self._look_seconds if found is None else min(found, self._look_seconds)
                troubles = 0
            except Stopping:
                break
            except StoreUnavailable as error:
                troubles += 1
                wait = min(0.2 * 2**troubles, 10.0)
                logs.warn(_log, "delivery.waits", route=self._name, reason=str(error), seconds=wait)
            except Exception as error:
                troubles += 1
                wait = self._blame.backoff(troubles)
                logs.warn(_log, "delivery.bug", route=self._name, seconds=wait, **describe(error))
            _sleep(wait, self.bell, self._stop)

    def step(self) -> float | None:
        """One batch; the seconds until the next step makes sense, None: when something is pending. Raises Stopping."""
        self._settle_what_is_left()
        if self._begin is not None and not self._begin(self):
            return None
        wait = self._wait_seconds()
        if wait is None or wait > 0:
            return wait
        if not self._quota_is_ready():
            return 0.0
        self._rest.begin()
        jobs = self._gather()
        if jobs:
            state = self._store.route_state(self._name)
            self._store.note_tries(self._name, tries_of(jobs))
            self._conclude(jobs, self._send(jobs), state)
        self._rest.take()
        return 0.0

    def _wait_seconds(self) -> float | None:
        """Seconds until a batch may be taken; None: nothing is pending."""
        now = self._now()
        state = self._store.route_state(self._name)
        # People who have done what was asked for may start the program again, and do not want to wait then.
        fixed = self._just_started and state.kind == "needs_action"
        self._just_started = False
        if state.paused_until is not None and state.paused_until > now and not fixed:
            return (state.paused_until - now).total_seconds()
        due = self._store.next_due(self._name)
        if due is None:
            self._after = ""
            return None
        return max(0.0, (due - now).total_seconds())

    def _quota_is_ready(self) -> bool:
        """Wait for the sink's quota; False when the route is paused or stopped instead."""
        try:
            pace = self._sink.pace(self._target)
        except (Stopping, StoreUnavailable):
            raise
        except Exception as error:
            self._blame.pause(self._blame.meaning(error), self._store.route_state(self._name))
            return False
        if pace > 0:
            self._nap(pace)
        return not self._stop.is_set()

    # ------------------------------------------------ what to send

    def _gather(self) -> list[Job]:
        """Isolated records and the others take turns."""
        self._isolated_turn = not self._isolated_turn
        return self._lease_jobs(isolated=self._isolated_turn) or self._lease_jobs(isolated=not self._isolated_turn)

    def _lease_jobs(self, *, isolated: bool) -> list[Job]:
        """Lease due records until their rows fill a batch; those that need no call are settled on the way."""
        jobs: list[Job] = []
        keys: set[str] = set()
        room, unsent = (1 if isolated else self._blame.size), 0
        began_after = self._after
        while room > 0 and unsent < _UNSENT_RECORDS_PER_BATCH:
            limit = min(room, _RECORDS_PER_TAKE)
            pending = self._store.take(self._name, limit, lease=self._lease, after=self._after, isolated=isolated)
            if not pending:
                break
            self._leased.update((one.record_id, without_facts(one)) for one in pending)
            if not isolated:
                self._after, self._began_after = pending[-1].record_id, began_after
            more, settled = jobs_of(self.route, self._store, pending, keys, room, self._now(), self._blame.backoff)
            self._leased.update((job.record_id, job.pending) for job in more)
            jobs += more
            room -= sum(len(job.rows) for job in more)
            unsent += len(settled)
            self._finish_unsent(settled)
            if any(result.later is not None and result.later.due_at <= self._now() for result in settled):
                break  # put back for the next batch: taking again would find the same
            if len(pending) < limit or self._rest.take():
                break
        return jobs

    def _finish_unsent(self, settled: Sequence[Result]) -> None:
        self._finish(settled)
        if self._report is not None and (unchanged := sum(result.later is None for result in settled)):
            self._report(Delivered(self._name, unchanged=unchanged))

    # ------------------------------------------------ sending

    def _send(self, jobs: Sequence[Job]) -> Sent:
        rows = [row for job in jobs for row in job.rows]
        sent = Sent()
        for start in range(0, len(rows), self._full):
            chunk = rows[start : start + self._full]
            try:
                sent.outcomes.update((outcome.key, outcome) for outcome in self._call(jobs, chunk, sent.seconds))
            except StoreUnavailable:
                raise
            except Exception as error:
                sent.error = error
                done = error.outcomes if isinstance(error, NeedsAction) else ()
                sent.outcomes.update((outcome.key, outcome) for outcome in done)
                sent.answered.update(outcome.key for outcome in done)
                break
            sent.answered.update(row.key for row in chunk)
        return sent

    def _call(self, jobs: Sequence[Job], rows: Sequence[Row], seconds: list[float]) -> Sequence[Outcome]:
        """One call, repeated a few times where a short wait may heal it; *seconds* gets those of every try."""
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_when_event_set

        tried_already = False

        def write() -> Sequence[Outcome]:
            nonlocal tried_already
            chunk = told_again(self._name, self._store, jobs, rows) if tried_already else rows
            tried_already = True
            began = time.perf_counter()
            try:
                return self._sink.write(self._target, chunk)
            finally:
                seconds.append(time.perf_counter() - began)

        def wait(call: RetryCallState) -> float:
            error = call.outcome.exception() if call.outcome is not None else None
            asked = error.after if isinstance(error, TryLater) and error.after is not None else 0.0
            return max(asked, self._blame.backoff(call.attempt_number), self._sink.pace(self._target))

        attempts = 1 if self._blame.is_searching else _ATTEMPTS_PER_CALL
        stop = stop_after_attempt(attempts) | stop_when_event_set(self._stop)
        return Retrying(stop=stop, wait=wait, retry=retry_if_exception(_is_short), sleep=self._nap, reraise=True)(write)

    # ------------------------------------------------ what came of it

    def _conclude(self, jobs: Sequence[Job], sent: Sent, state: RouteState) -> None:
        answered = [job for job in jobs if sent.is_answered(job)]
        unanswered = [job for job in jobs if not sent.is_answered(job)]
        delivery = self.delivery or new_delivery_id()
        results = [self._result(job, sent, state, delivery) for job in answered]
        if sent.answered and not isinstance(sent.error, NeedsAction):
            self._blame.succeeded([job.record_id for job in answered], state)
            state = self._store.route_state(self._name)
        failure: Failure | None = None
        if sent.error is not None:
            failure = self._blame.meaning(sent.error)
            later = self._blame.failed(failure, [job.pending for job in unanswered], state)
            if len(unanswered) > 1:
                self._after = self._began_after  # the same records again, perhaps fewer of them
            results += [self._given_back(job, sent, failure, later, state, delivery) for job in unanswered]
        self._finish(results, [letter for job in jobs for letter in job.letters], delivered=bool(sent.answered))
        if subjects := freed(self._name, results, self._letters):
            self._store.enqueue(self._name, subjects)
        self._tell(jobs, results, sent, failure)
        if failure is not None and failure.kind == "start_over":
            count = self._store.resync(self._name, overwrite_edits=True)
            logs.warn(_log, "route.starts_over", route=self._name, why=failure.reason, records=count)
        if isinstance(sent.error, Stopping):
            raise sent.error

    def _result(self, job: Job, sent: Sent, state: RouteState, delivery: str) -> Result:
        """What became of a record all of whose rows were sent; adds its letters to *job*, which lets go of the rows."""
        pending = job.pending
        log: list[LogLine] = []
        waits: list[float] = []
        untaken: list[str] = []
        later: Later | None = None
        for row in job.rows:
            outcome = sent.outcomes.get(row.key)
            if outcome is None:  # a bug of the sink: the row stays pending, however long it takes
                outcome = Outcome(row.key, "later", code="no_outcome")
            elif outcome.kind == "later" and self._blame.gives_up(pending, state):
                outcome = Outcome(row.key, "refused", _given_up(pending, outcome.reason), outcome.code)
            if outcome.kind == "refused":
                job.letter(self.route, row, outcome.reason, outcome.code, column=outcome.column)
            if outcome.kind == "later":
                waits.append(max(outcome.after or 0.0, self._blame.backoff(pending.tries + 1)))
                later = Later(self._now() + timedelta(seconds=max(waits)), outcome.code or "later")
            elif outcome.kind == "incomplete":
                due = self._now() + timedelta(seconds=_SECONDS_BETWEEN_LOOKS_AT_INCOMPLETE)
                later = later or Later(due, f"{WAITS_FOR}{outcome.column}", failed=False)
            else:
                log += lines_of(row, outcome, delivery, job.typed.get(row.key, ()))
                untaken += outcome.left_empty
            if outcome.notices:
                logs.say(_log, "row.notice", route=self._name, record=pending.record_id, notices=list(outcome.notices))
        now = sent.holdings(job)
        job.rows.clear()
        return Result(
            pending.record_id, pending.version, pending.token, now.written, now.removed, now.held, tuple(log), later,
            left_empty=job.left_empty, refused=tuple(untaken), kept=now.kept,
        )  # fmt: skip

    def _given_back(
        self, job: Job, sent: Sent, failure: Failure, later: Later, state: RouteState, delivery: str
    ) -> Result:
        """A record of a failing call; it is given up when it has failed alone for too long."""
        pending = job.pending
        mine: Later | None = structs.replace(later, isolated=later.isolated or pending.isolated)
        if pending.isolated and failure.kind == "later" and self._blame.gives_up(pending, state):
            for row in job.rows:
                job.letter(self.route, row, _given_up(pending, failure.reason), failure.kind)
            mine = None
        now = sent.holdings(job)
        log = [  # some of its rows may be written
            line
            for row in job.rows
            if (outcome := sent.outcomes.get(row.key)) is not None and outcome.kind == "written"
            for line in lines_of(row, outcome, delivery, job.typed.get(row.key, ()))
        ]
        return Result(
            pending.record_id, pending.version, pending.token, now.written, now.removed, now.held, log, mine,
            kept=now.kept,
        )  # fmt: skip

    def _tell(self, jobs: Sequence[Job], results: Sequence[Result], sent: Sent, failure: Failure | None) -> None:
        done = Delivered(
            self._name,
            rows=sum(len(result.written) + len(result.removed) for result in results),
            refused=sum(len(job.letters) for job in jobs),
            later=sum(result.later is not None for result in results),
            calls=len(sent.seconds),
            seconds=sum(sent.seconds),
            each=tuple(sent.seconds),
            failure=None if failure is None or failure.kind == "stopping" else failure.kind,
        )
        logs.say(
            _log, "batch.delivered" if done.failure is None else "batch.failed", route=self._name, rows=done.rows,
            refused=done.refused or None, later=done.later or None, calls=done.calls, seconds=round(done.seconds, 3),
            why=done.failure,
        )  # fmt: skip
        if self._report is not None:
            self._report(done)

    # ------------------------------------------------ settling

    def _finish(self, results: Sequence[Result], letters: Sequence[Letter] = (), *, delivered: bool = False) -> None:
        """First the new letters on disk, then those closed that are void now, then the results. After a death in
        between the record is delivered once more and opens its letters again; the other way round a letter would stay
        open of a row that is not pending any more."""
        self._letters.add(letters)
        self._unsettled += results
        open_now = {letter.id for letter in letters}
        done = [result.record_id for result in results if result.later is None]
        self._void |= self._letters.ids_about(self._name, done) - open_now
        self._settle(delivered=delivered)

    def _settle(self, *, delivered: bool = False) -> None:
        """Some at a time: requests must not wait for a long transaction. What a failing store leaves is kept."""
        self._letters.close(self._void, "delivered")
        self._void.clear()
        while results := self._unsettled[:_RECORDS_PER_SETTLING]:
            self._store.finish(self._name, results, delivered=delivered)
            del self._unsettled[: len(results)]
            for result in results:
                self._leased.pop(result.record_id, None)

    def _settle_what_is_left(self) -> None:
        """Settle what the step before delivered and could not settle, give back what it only leased."""
        if self._unsettled or self._leased:
            settled = {result.record_id for result in self._unsettled}
            self._unsettled += [
                put_back(one, self._now()) for one in self._leased.values() if one.record_id not in settled
            ]
            self._settle()


def new_delivery_id() -> str:
    """What the rows that are sent together share in the delivery log; people type it."""
    return uuid.uuid4().hex[:12]


def _is_short(error: BaseException) -> bool:
    # A quota's wait is the route's, and a long one is kept on disk: meanwhile the batch would grow old.
    return isinstance(error, TryLater) and not error.quota and (error.after or 0.0) <= _LONGEST_NAP_SECONDS


def _given_up(pending: Pending, reason: str) -> str:
    return f"given up after {pending.tries + 1} tries: {reason}"


def _sleep(seconds: float, bell: threading.Event, stop: threading.Event) -> None:
    end = time.monotonic() + seconds
    while not stop.is_set():
        left = min(1.0, end - time.monotonic())
        if left <= 0 or bell.wait(left):
            return
