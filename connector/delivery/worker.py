"""Records -> sinks: batch, call, settle, retry, dead-letter. Delivery owns patience; a sink makes one attempt.

One thread a route. A route owes records, not events: it sends the latest version of each, as many rows in a call as the
sink takes. Knows sinks only by their contract.

What a failing call means is told apart by trying less: a batch that fails is tried in quarters, down to one row. A row
that fails alone is held in doubt; as soon as another row succeeds it is that row's own fault, so it is set aside, to
be tried by itself at growing distances; when another row fails too, the far side is down, and the route pauses.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field, structs
from msgspec.structs import replace

from connector import effort, logs
from connector.core.errors import NeedsAction, StartOver, Stopping, StoreUnavailable, TryLater
from connector.core.facts import load_facts
from connector.core.mapping import Evaluation
from connector.core.record import AffiliateRecord
from connector.core.row import Cell, HeldCells, Row, dump_cells, forget_read, load_cells, remembered
from connector.core.sink import Outcome, Sink, Target
from connector.core.view import view
from connector.dead_letters import DeadLetters, Letter
from connector.faults import describe
from connector.store.model import Later, LogLine, Pending, Result, RouteKind, RouteState
from connector.store.store import Store

if TYPE_CHECKING:
    from tenacity import RetryCallState

_log = logs.get("delivery")


class Retry(Struct, frozen=True):
    """``[retry]`` of the configuration."""

    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 900.0
    give_up_after_hours: float = 72.0


class Delivered(Struct, frozen=True):
    """What one step of a route did, for metrics.

    Args:
        rows: written at the far side; *unchanged* were equal to what was last written and cost no call.
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


class Route(Struct, frozen=True):
    """A sink together with one mapping file: what one delivery thread serves."""

    name: str
    sink: Sink
    target: Target
    evaluate: Callable[[AffiliateRecord], Evaluation]


class _Job(Struct, gc=False):
    """A leased record on its way, with the rows that have to be sent for it."""

    pending: Pending
    rows: tuple[Row, ...]  # a list would be twice as large, and there are 20,000 of these
    letters: tuple[Letter, ...] = ()


class RouteWorker:
    """Delivers one route. ``run`` is a thread's life; ``step`` is one batch, for tests and ``drain``.

    Args:
        stop: ends naps within a second; what is pending stays pending.
        now: aware UTC.
        nap: sleeps that many seconds, less when *stop* is set.
        chance: spreads retries in time.
        lease: longer than twice any sink's time-out, retries included.
        report: called after each step that delivered or failed, in this thread; quick, must not raise.
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
        nap: Callable[[float], None] | None = None,
        chance: random.Random | None = None,
        lease: timedelta = timedelta(minutes=30),
        report: Callable[[Delivered], None] | None = None,
    ) -> None:
        self.route = route
        self.bell = threading.Event()
        self._name, self._sink, self._target = route.name, route.sink, route.target
        self._store, self._letters, self._retry = store, letters, retry
        self._stop, self._now, self._lease, self._report = stop, now, lease, report
        self._nap = _nap_until(stop) if nap is None else nap
        self._chance = chance or random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._full = max(1, route.sink.batch_rows)
        self._size = self._full
        self._after = self._began_after = ""
        self._lonely_turn = False
        self._quota_waits = 0
        self._just_started = True
        self._doubted: set[str] = set()
        self._starts_over = False
        self._leased: dict[str, Pending] = {}
        self._unsaved: list[Result] = []
        # Processor time of the last time; given way for before the next: where requests begin to press, what takes a
        # second must not come first.
        self._sending_cost = self._settling_cost = 0.0
        self._void: set[str] = set()

    # ------------------------------------------------ a thread's life

    def run(self) -> None:
        """Deliver until *stop* is set."""
        import tenacity  # noqa: F401 - not by the first batch, which would wait for it

        troubles = 0
        while not self._stop.is_set():
            self.bell.clear()
            try:
                wait = self.step()
                troubles = 0
            except Stopping:
                break
            except StoreUnavailable as error:
                troubles += 1
                wait = min(0.2 * 2**troubles, 10.0)
                logs.warn(_log, "delivery.waits", route=self._name, reason=str(error), seconds=wait)
            except Exception as error:
                troubles += 1
                wait = self._backoff(troubles)
                logs.warn(_log, "delivery.bug", route=self._name, seconds=wait, **describe(error))
            self._sleep(wait)

    def _sleep(self, seconds: float | None) -> None:
        """Until the bell rings, the time is over (None: no end), or the program stops."""
        end = None if seconds is None else time.monotonic() + seconds
        while not self._stop.is_set():
            left = 1.0 if end is None else min(1.0, end - time.monotonic())
            if left <= 0 or self.bell.wait(left):
                return

    def step(self) -> float | None:
        """One batch, or a look at when there will be one.

        Returns:
            Seconds until the next step makes sense: 0.0 for at once; None: when something new is pending.

        Raises:
            StoreUnavailable: what was delivered meanwhile is remembered, and settled by the next step.
            Stopping: the sink was asked to stop; all stays pending.
        """
        self._put_right()
        now = self._now()
        state = self._store.route_state(self._name)
        # Whoever has done what was asked for may start the program again, and does not want to wait then.
        mended = self._just_started and state.kind == "needs_action"
        self._just_started = False
        if state.paused_until is not None and state.paused_until > now and not mended:
            return (state.paused_until - now).total_seconds()
        due = self._store.next_due(self._name)
        if due is None:
            self._after = self._began_after = ""
            return None
        if due > now:
            return (due - now).total_seconds()
        try:
            pace = self._sink.pace(self._target)
        except (Stopping, StoreUnavailable):
            raise
        except Exception as error:
            self._pause(state, self._failure(error))
            return 0.0
        if pace > 0:
            self._nap(pace)
            if self._stop.is_set():
                return 0.0
        if self._store.give_way(self._sending_cost, self._stop.wait):
            return 0.0
        began = effort.used_seconds()
        jobs = self._gather()
        if jobs:
            state = self._store.route_state(self._name)
            sent = self._send(jobs)
        self._sending_cost = effort.used_seconds() - began
        if jobs:
            self._store.give_way(self._settling_cost, self._stop.wait)
            began = effort.used_seconds()
            self._conclude(jobs, sent, state)
            self._settling_cost = effort.used_seconds() - began
        return 0.0

    def _put_right(self) -> None:
        """Finish what the step before could not: settle what it delivered, give back what it only leased."""
        if self._unsaved or self._leased:
            results = [*self._unsaved]
            settled = {result.record_id for result in results}
            results += [self._back(pending) for pending in self._leased.values() if pending.record_id not in settled]
            self._settle(results)
            self._leased.clear()

    # ------------------------------------------------ what to send

    def _gather(self) -> list[_Job]:
        """Lease due records until their rows fill a batch; those that need no call are settled on the way."""
        self._lonely_turn = not self._lonely_turn
        for lonely in (self._lonely_turn, not self._lonely_turn):
            jobs = self._gather_lonely() if lonely else self._gather_many()
            if jobs:
                return jobs
        return []

    def _gather_lonely(self) -> list[_Job]:
        jobs, settled = self._shape(self._take(1, isolated=True), room=1, taken=set())
        self._finish_unsent(settled)
        return jobs

    def _gather_many(self) -> list[_Job]:
        jobs: list[_Job] = []
        settled: list[Result] = []
        keys: set[str] = set()
        room = self._size
        self._began_after = self._after
        while room > 0 and len(settled) < _most_unsent:
            # A batch may be 20,000 records: their texts must not all be in memory at once.
            pending = self._take(min(room, _taken_at_once), isolated=False)
            if not pending:
                break
            self._after = pending[-1].record_id
            more, done = self._shape(pending, room=room, taken=keys)
            jobs += more
            settled += done
            room -= sum(len(job.rows) for job in more)
            if any(result.later is not None and result.later.due_at <= self._now() for result in done):
                break  # put back for the next batch: taking again would find the same
        self._finish_unsent(settled)
        return jobs

    def _finish_unsent(self, settled: Sequence[Result]) -> None:
        self._finish(settled)
        unchanged = sum(result.later is None for result in settled)
        if unchanged and self._report is not None:
            self._report(Delivered(self._name, unchanged=unchanged))

    def _take(self, limit: int, *, isolated: bool) -> list[Pending]:
        pending = self._store.take(self._name, limit, lease=self._lease, after=self._after, isolated=isolated)
        self._leased.update((one.record_id, one) for one in pending)
        return pending

    def _shape(self, pending: Sequence[Pending], *, room: int, taken: set[str]) -> tuple[list[_Job], list[Result]]:
        """Turn records into the rows that have to be sent; *taken* are the keys in the batch, and grows.

        Returns:
            Records with rows to send, and the results of those that need no call.
        """
        shaped: list[tuple[Pending, Evaluation]] = []
        settled: list[Result] = []
        fault: dict[str, str] = {}
        for one in pending:
            try:
                evaluation = self.route.evaluate(view(one.record_id, load_facts(one.facts)))
            except Exception as error:  # this record's fault or the mapping's; the others go on
                fault = describe(error)
                settled.append(self._back(one, wait=self._backoff(one.tries + 1), reason="bug", failed=True))
                continue
            read = self._leased[one.record_id] = structs.replace(one, facts=b"")  # what is read is let go
            shaped.append((read, evaluation))
        if fault:
            logs.warn(_log, "mapping.bug", route=self._name, records=len(settled), **fault)
        wanted = [row.key for _, shape in shaped for row in shape.rows]
        written: dict[str, str] = {}
        keys_of: dict[str, list[str]] = {}
        for was in self._store.written(self._name, [one.record_id for one, _ in shaped], wanted):
            written[was.key] = was.cells
            keys_of.setdefault(was.record_id, []).append(was.key)
        jobs: list[_Job] = []
        for one, shape in shaped:
            job = self._job(one, shape, written, keys_of.get(one.record_id, ()))
            keys = {row.key for row in job.rows}
            if keys & taken or (len(keys) > room and (jobs or taken)):
                # The key is in this batch already, or there is no room: the next batch takes it.
                settled.append(self._back(one))
            elif keys or job.letters:
                taken |= keys
                room -= len(keys)
                jobs.append(job)
            else:
                settled.append(self._settled(job))
        return jobs, settled

    def _job(self, pending: Pending, shape: Evaluation, written: Mapping[str, str], before: Sequence[str]) -> _Job:
        """The rows of *shape* that the far side does not hold yet, and the letters of those that can't be made.

        Args:
            written: the dumped cells that the far side holds, by key, of all records that were taken.
            before: the keys in it of this record's rows.
        """
        send: list[Row] = []
        rows = list(shape.rows)
        if all(trouble.key for trouble in shape.problems):
            kept = {row.key for row in rows} | {trouble.key for trouble in shape.problems}
            gone = ((key, load_cells(written[key])) for key in before if key not in kept)
            rows += [row for key, last in gone if (row := self._left_over(pending, key, last))]
        for row in rows:
            text = written.get(row.key)
            last = None if text is None else load_cells(text)
            if last is None and row.key in shape.removals:
                continue  # what was never written need not be removed
            if row.remove or last is None or _differs(remembered(row), last):
                if self._full > _most_as_objects:
                    held = None if text is None else HeldCells(text)
                    send.append(replace(row, cells=HeldCells(dump_cells(row.cells)), last=held))
                else:
                    send.append(replace(row, last=last))
        letters = []
        for trouble in shape.problems:
            row = Row(pending.record_id, trouble.key, trouble.cells)
            letters.append(self._letter(pending, row, trouble.reason, trouble.code, trouble.where))
        return _Job(pending, tuple(send), tuple(letters))

    def _left_over(self, pending: Pending, key: str, last: Mapping[str, Cell]) -> Row | None:
        """How to remove a row that was written for a record which has no such row any more: its key is another now, or
        an entry of ``for_each`` is gone. None when it is to be left as it is, or marked already."""
        what = getattr(self._target.options, "removed_records", "leave_alone")
        cells: dict[str, Cell] = {self._target.key: last.get(self._target.key, key)}
        if what == "delete":
            return Row(pending.record_id, key, cells, remove=True)
        if what == "mark":
            column = self._target.options.removed_column
            if last.get(column) is None:
                return Row(pending.record_id, key, cells | {column: self._now().date()})
        return None

    # ------------------------------------------------ sending

    def _conclude(self, jobs: Sequence[_Job], sent: _Sent, state: RouteState) -> None:
        """Settle what came of *jobs*."""
        outcomes, answered, error = sent.outcomes, sent.answered, sent.error
        whole = [job for job in jobs if all(row.key in answered for row in job.rows)]
        failed = [job for job in jobs if any(row.key not in answered for row in job.rows)]
        before = state
        if answered:
            self._succeeded(whole, state)
            state = self._store.route_state(self._name)
        failure: _Failure | None = None
        given_back: list[Result] = []
        if error is not None:
            failure = self._failure(error)
            given_back = self._failed(failure, failed, outcomes, state)
        todo = chain(self._results(whole, outcomes, before), zip(given_back, failed, strict=True))
        done = Delivered(self._name)
        try:
            # Some at a time: what is settled must not be in memory beside all that was sent.
            while part := list(islice(todo, _settled_at_once)):
                results = [result for result, _ in part]
                done = _with_results(done, results)
                self._finish(results, [letter for _, job in part for letter in job.letters], delivered=bool(answered))
        except StoreUnavailable:
            for result, job in todo:
                self._remember([result], job.letters)
            raise
        forget_read()
        self._tell(jobs, done, sent.each, failure)
        if failure is not None and failure.kind == "start_over":
            count = self._store.resync(self._name)
            logs.warn(_log, "route.starts_over", route=self._name, why=failure.reason, records=count)
        if isinstance(error, Stopping):
            raise error

    def _results(
        self, jobs: Sequence[_Job], outcomes: Mapping[str, Outcome], state: RouteState
    ) -> Iterator[tuple[Result, _Job]]:
        """What became of *jobs*, one after the other; lets go of the rows of each."""
        for job in jobs:
            result = self._result(job, outcomes, state)
            job.rows = ()
            yield result, job

    def _send(self, jobs: Sequence[_Job]) -> _Sent:
        """Send the rows of *jobs*, up to the first call that fails."""
        rows = [row for job in jobs for row in job.rows]
        sent = _Sent()
        for start in range(0, len(rows), self._full):
            chunk = rows[start : start + self._full]
            try:
                sent.outcomes.update((outcome.key, outcome) for outcome in self._call(chunk, sent.each))
            except StoreUnavailable:
                raise
            except Exception as error:
                sent.error = error
                break
            sent.answered.update(row.key for row in chunk)
        return sent

    def _call(self, rows: Sequence[Row], each: list[float]) -> Sequence[Outcome]:
        """One call, repeated a few times where a short wait may heal it; *each* gets the seconds of every try. Raises
        what the last one raised."""
        # Imported by the first call: 15 ms of every start.
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_when_event_set

        # Telling a poisonous row from an outage takes several calls: each of them is tried once only.
        attempts = 3 if self._size == self._full and not self._doubted else 1

        def short(error: BaseException) -> bool:
            # A quota's wait is the route's, and a long one is kept on disk: meanwhile the batch would grow old.
            return isinstance(error, TryLater) and not error.quota and (error.after or 0.0) <= _longest_nap_seconds

        def wait(call: RetryCallState) -> float:
            error = call.outcome.exception() if call.outcome is not None else None
            asked = error.after if isinstance(error, TryLater) and error.after is not None else 0.0
            return max(asked, self._backoff(call.attempt_number), self._sink.pace(self._target))

        retrying = Retrying(
            stop=stop_after_attempt(attempts) | stop_when_event_set(self._stop),
            wait=wait,
            retry=retry_if_exception(short),
            sleep=self._nap,
            reraise=True,
        )
        for attempt in retrying:
            with attempt:
                began = time.perf_counter()
                try:
                    return self._sink.write(self._target, rows)
                finally:
                    each.append(time.perf_counter() - began)
        raise AssertionError("tenacity returns or raises")

    # ------------------------------------------------ what came of it

    def _result(self, job: _Job, outcomes: Mapping[str, Outcome], state: RouteState) -> Result:
        """What became of a record all of whose rows were sent; adds its letters to *job*."""
        pending = job.pending
        written, removed = _taken_over(job, outcomes)
        log: list[LogLine] = []
        waits: list[float] = []
        reason = ""
        for row in job.rows:
            outcome = outcomes.get(row.key)
            if outcome is None:  # a bug of the sink: the row stays pending, however long it takes
                outcome = Outcome(row.key, "later", code="no_outcome")
            elif outcome.kind == "later" and self._gives_up(pending, state):
                outcome = Outcome(
                    row.key, "refused", f"given up after {pending.tries + 1} tries: {outcome.reason}", outcome.code
                )
            if outcome.kind == "refused":
                where = _where(self._target, outcome.column)
                job.letters += (self._letter(pending, row, outcome.reason, outcome.code, where),)
            if outcome.kind == "later":
                waits.append(max(outcome.after or 0.0, self._backoff(pending.tries + 1)))
                reason = outcome.code or "later"
            else:
                cells = written[row.key] if row.last is None and row.key in written else dump_cells(_changed(row))
                log.append(LogLine(row.key, outcome.kind, outcome.code, cells))
            if outcome.notices:
                logs.say(_log, "row.notice", route=self._name, record=pending.record_id, notices=list(outcome.notices))
        later = Later(self._now() + timedelta(seconds=max(waits)), reason) if waits else None
        return Result(pending.record_id, pending.version, pending.token, written, removed, tuple(log), later)

    def _gives_up(self, pending: Pending, state: RouteState) -> bool:
        """Whether *pending* has failed for too long while other records get through: an outage is nobody's fault."""
        if pending.failing_since is None or state.delivered_at is None:
            return False
        now = self._now()
        lately = now - timedelta(seconds=2 * self._retry.longest_wait_seconds)
        return now - pending.failing_since >= timedelta(
            hours=self._retry.give_up_after_hours
        ) and state.delivered_at > max(pending.failing_since, lately)

    def _succeeded(self, jobs: Sequence[_Job], state: RouteState) -> None:
        """The far side took a call: what failed alone before is at fault itself."""
        guilty = self._doubted - {job.pending.record_id for job in jobs}
        if guilty:
            self._store.isolate(self._name, guilty, self._now() + timedelta(seconds=self._backoff(1)))
            logs.warn(_log, "records.isolate", route=self._name, count=len(guilty))
        self._doubted.clear()
        self._starts_over = False
        self._quota_waits = 0
        self._size = min(self._full, self._size * 4)
        if state.kind != "ok" or state.failures:
            self._store.set_route_state(self._name, RouteState())
            logs.say(_log, "route.well", route=self._name)

    def _failed(
        self, failure: _Failure, jobs: Sequence[_Job], outcomes: Mapping[str, Outcome], state: RouteState
    ) -> list[Result]:
        """Give the records of a failing call back, and decide what to try next."""
        later: Later = Later(self._now(), failure.code, failed=False)
        if failure.kind in ("quota", "needs_action"):
            self._pause(state, failure)
        elif failure.kind in ("later", "bug"):
            later = self._blame(failure, jobs, state)
        results = []
        for job in jobs:
            pending = job.pending
            written, removed = _taken_over(job, outcomes)
            if pending.isolated and failure.kind == "later" and self._gives_up(pending, state):
                reason = f"given up after {pending.tries + 1} tries: {failure.reason}"
                job.letters += tuple(self._letter(pending, row, reason, failure.code, "") for row in job.rows)
                results.append(Result(pending.record_id, pending.version, pending.token, written, removed))
                continue
            mine = Later(later.due_at, later.reason, later.failed, isolated=later.isolated or pending.isolated)
            results.append(Result(pending.record_id, pending.version, pending.token, written, removed, later=mine))
        return results

    def _blame(self, failure: _Failure, jobs: Sequence[_Job], state: RouteState) -> Later:
        """Find out who is at fault, the far side or a record, by trying less next time."""
        now = self._now()
        if len(jobs) > 1:
            self._size = max(1, len(jobs) // 4)
            self._after = self._began_after  # the same records again, fewer of them
            self._note(state, failure)
            return Later(now, failure.code, failed=False)
        (pending,) = (job.pending for job in jobs)
        own_turn = now + timedelta(seconds=max(failure.after or 0.0, self._backoff(pending.tries + 1)))
        if pending.isolated:
            return Later(own_turn, failure.code, isolated=True)
        self._size = 1
        self._doubted.add(pending.record_id)
        if len(self._doubted) == 1:
            self._note(state, failure)
            return Later(own_turn, failure.code)
        self._pause(state, failure)
        return Later(now, failure.code, failed=False)

    def _failure(self, error: Exception) -> _Failure:
        """What *error* means for the route."""
        if isinstance(error, Stopping) or (self._stop.is_set() and isinstance(error, TryLater)):
            return _Failure("stopping", "stopping", "")
        if isinstance(error, TryLater):
            kind: Literal["quota", "later"] = "quota" if error.quota else "later"
            return _Failure(kind, kind, error.reason, error.after)
        if isinstance(error, NeedsAction):
            return _Failure("needs_action", "needs_action", error.reason)
        if isinstance(error, StartOver) and not self._starts_over:
            self._starts_over = True
            return _Failure("start_over", "start_over", error.reason)
        fault = describe(error)
        logs.warn(_log, "sink.bug", route=self._name, **fault)
        return _Failure("bug", "bug", f"a bug in the sink: {fault['exception']} at {fault['frames'].split(' < ')[0]}")

    def _note(self, state: RouteState, failure: _Failure) -> None:
        """Show people that something fails, without a pause."""
        self._keep(state, failure, state.failures, None)

    def _pause(self, state: RouteState, failure: _Failure) -> None:
        """No call for a while: as long as the far side asks, else longer each time. Kept on disk."""
        failures = state.failures
        if failure.kind == "quota":
            self._quota_waits += 1  # proof that the far side is well: never a failure
            wait = failure.after if failure.after is not None else self._backoff(self._quota_waits)
        elif failure.kind == "stopping":
            return
        else:
            failures += 1
            wait = max(failure.after or 0.0, self._backoff(failures))
            if failure.kind == "needs_action":
                wait = max(wait, min(_person_seconds, self._retry.longest_wait_seconds))
        self._keep(state, failure, failures, wait)
        logs.warn(_log, "route.paused", route=self._name, why=failure.kind, seconds=round(wait, 1), failures=failures)

    def _keep(self, state: RouteState, failure: _Failure, failures: int, wait: float | None) -> None:
        now = self._now()
        kind: RouteKind = "waiting" if failure.kind in ("quota", "later") else "bug"
        if failure.kind == "needs_action":
            kind = "needs_action"
        since = state.since if state.kind == kind and state.since is not None else now
        until = None if wait is None else now + timedelta(seconds=wait)
        self._store.set_route_state(self._name, RouteState(kind, failure.reason, until, failures, since))

    def _backoff(self, failures: int) -> float:
        """Seconds to wait after so many failures: doubling, spread, never longer than the configuration says."""
        longest = self._retry.longest_wait_seconds
        return float(min(longest, self._retry.first_wait_seconds * 2.0 ** min(failures - 1, 40))) * (
            0.5 + self._chance.random() / 2
        )

    # ------------------------------------------------ settling

    def _back(self, pending: Pending, *, wait: float = 0.0, reason: str = "", failed: bool = False) -> Result:
        due = self._now() + timedelta(seconds=wait)
        return Result(
            pending.record_id, pending.version, pending.token, later=Later(due, reason, failed, pending.isolated)
        )

    def _settled(self, job: _Job) -> Result:
        return Result(job.pending.record_id, job.pending.version, job.pending.token)

    def _finish(self, results: Sequence[Result], letters: Sequence[Letter] = (), *, delivered: bool = False) -> None:
        """First the new letters on disk, then those away that are void now, then the results.

        Dying in between, the record is delivered once more and tells its letters again. The other way round a letter
        would stay open of a row that nobody owes any more.
        """
        if results:
            self._remember(results, letters)
            self._settle(results, delivered=delivered)

    def _remember(self, results: Sequence[Result], letters: Sequence[Letter]) -> None:
        """What a store that fails in the middle leaves to the next step."""
        self._letters.add(letters)
        self._unsaved += results
        open_now = {letter.id for letter in letters}
        for result in results:
            if result.later is None:
                self._void |= self._letters.ids_about(self._name, result.record_id) - open_now

    def _settle(self, results: Sequence[Result], *, delivered: bool = False) -> None:
        self._letters.close(self._void, "delivered")
        self._void.clear()
        self._store.finish(self._name, results, delivered=delivered)
        self._unsaved.clear()
        for result in results:
            self._leased.pop(result.record_id, None)

    def _letter(self, pending: Pending, row: Row, reason: str, code: str, where: str) -> Letter:
        return Letter(
            "deliver", self._name, pending.record_id, reason, code, row=row.key, where=where, tries=pending.tries + 1,
            content={"cells": json.loads(dump_cells(row.cells)), "version": pending.version},
        )  # fmt: skip

    def _tell(self, jobs: Sequence[_Job], done: Delivered, each: Sequence[float], failure: _Failure | None) -> None:
        done = replace(
            done,
            refused=sum(len(job.letters) for job in jobs),
            calls=len(each),
            seconds=sum(each),
            each=tuple(each),
            failure=None if failure is None or failure.kind == "stopping" else failure.kind,
        )
        logs.say(
            _log, "batch.delivered" if failure is None else "batch.failed", route=self._name, rows=done.rows,
            refused=done.refused or None, later=done.later or None, calls=done.calls, seconds=round(done.seconds, 3),
            why=done.failure,
        )  # fmt: skip
        if self._report is not None:
            self._report(done)


def _with_results(done: Delivered, results: Sequence[Result]) -> Delivered:
    rows = sum(len(result.written) + len(result.removed) for result in results)
    later = sum(result.later is not None for result in results)
    return replace(done, rows=done.rows + rows, later=done.later + later)


def _nap_until(stop: threading.Event) -> Callable[[float], None]:
    """Sleeps so many seconds, less when *stop* is set."""

    def nap(seconds: float) -> None:
        stop.wait(seconds)

    return nap


class _Sent(Struct):
    """What the calls of a batch have brought.

    Args:
        outcomes: by row key.
        answered: the keys of the rows that calls with an answer were about.
        error: what the last call raised.
        each: the seconds of each call.
    """

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    error: Exception | None = None
    each: list[float] = field(default_factory=list)


class _Failure(Struct, frozen=True):
    kind: Literal["quota", "later", "needs_action", "start_over", "bug", "stopping"]
    code: str
    reason: str
    after: float | None = None


_taken_at_once = 500
_most_as_objects = 2_000  # rows; the cells of a larger batch are held as texts
_settled_at_once = 2_000
_most_unsent = 1_000  # records that need no call: then they are settled, and it is another batch's turn
_longest_nap_seconds = 5.0
_person_seconds = 30.0  # nobody shares a sheet or renews a token faster


def _differs(cells: Mapping[str, Cell], last: Mapping[str, Cell]) -> bool:
    """Whether any of *cells* is not what was last written (True is not 1, though Python says so)."""
    return any(
        name not in last or type(last[name]) is not type(cell) or last[name] != cell for name, cell in cells.items()
    )


def _changed(row: Row) -> Mapping[str, Cell]:
    """The cells that say something else than was last written: what ``explain`` shows of a delivery."""
    last = row.last
    return row.cells if last is None else {n: cell for n, cell in row.cells.items() if _differs({n: cell}, last)}


def _taken_over(job: _Job, outcomes: Mapping[str, Outcome]) -> tuple[dict[str, str], list[str]]:
    """What the far side now holds of a record's rows: the dumped cells by key, and the keys that are gone."""
    written: dict[str, str] = {}
    removed: list[str] = []
    for row in job.rows:
        outcome = outcomes.get(row.key)
        if outcome is None or outcome.kind != "written":
            continue
        if row.remove:
            removed.append(row.key)
        elif row.last is None and not row.extras and not outcome.waiting:
            written[row.key] = dump_cells(row.cells)
        else:
            cells = {**(row.last or {}), **remembered(row)}
            written[row.key] = dump_cells({n: cell for n, cell in cells.items() if n not in outcome.waiting})
    return written, removed


def _where(target: Target, column: str | None) -> str:
    return next((managed.where for managed in target.columns if managed.name == column), "")
