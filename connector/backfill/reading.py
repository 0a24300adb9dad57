"""Reads the platforms' APIs: who was there before the webhooks, and what the webhooks missed. Knows no platform.

A row becomes an event in the inbox, true as of the moment it was read; normalize, merge and dead letters do the rest.
A row that tells nothing new is not even kept, so a reading of an unchanged platform writes nothing anywhere. Whoever a
whole reading does not name, and the platform does not know by its id, is gone: marked, never deleted here.

A reading may be killed at any moment: first a page's events are on disk, then the note that the page was read. So the
next start goes on there, and at most the last page is read twice.

    Api       one request: pace, quota, time-outs, patience; a third-party error is translated here
    Backfill  one reading
    Repairs   the thread in `serve` that reads every so often
"""

from __future__ import annotations

import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, Self

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_when_event_set

from connector import logs
from connector.backfill import notes as readings
from connector.backfill.notes import Progress, Report
from connector.core.errors import NeedsAction, Stopping, StoreUnavailable, TryLater, UnknownShape, Unreadable
from connector.core.facts import AffiliateUpdate, Facts, load_facts
from connector.core.merge import join
from connector.core.outbound import host_of
from connector.core.platform_api import Answer, Ask, Listed, Listing, NotReadable, Page, Roll
from connector.core.source import API_TOPIC, Event, Source
from connector.core.view import said_something_new, view
from connector.faults import describe
from connector.file_lock import FileLock
from connector.store.model import fingerprint
from connector.store.store import Store

_log = logs.get("backfill")

most_answer_bytes = 64 * 1024 * 1024
lag = timedelta(seconds=10)
"""An API may answer from a copy that is behind; what was read counts as that much older, so that webhooks win."""
share_left_to_others = 0.2
_worth_telling_seconds = 10.0
few_gone, most_gone = 20, 0.25
"""More than that share of all missing at once (and more than a few): a wrong account is likelier than the truth."""


class ReadingAlready(Exception):
    """Another process reads this source at the moment; the message says which."""


# ---------------------------------------------------------------- one request


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one request may take, and how often it is tried.

    Args:
        answer_seconds: until the answer has arrived in full.
        silence_seconds: without a byte.
        tries: of a request that fails; then the reading stops, to go on there later.
        quota_tries: of a request that is refused because of the quota.
        first_wait_seconds, longest_wait_seconds: between tries, doubling.
    """

    answer_seconds: float = 120.0
    silence_seconds: float = 30.0
    tries: int = 8
    quota_tries: int = 60
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 60.0


class _Again(Exception):
    """This try failed; the next may not."""

    def __init__(self, reason: str, *, after: float | None = None, quota: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.after, self.quota = reason, after, quota


class Api:
    """A platform's API as one user of its quota.

    Args:
        listing: whose API: its name, pace and settings.
        stop: ends naps, and with them the reading.
        now: aware UTC.
        nap: for tests; None: sleeps until *stop* is set.
    """

    def __init__(
        self,
        listing: Listing,
        *,
        stop: threading.Event,
        now: Callable[[], datetime],
        nap: Callable[[float], None] | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._listing, self._stop, self._now = listing, stop, now
        self._sleep = nap or stop.wait
        self._patience = patience or Patience()
        self._interval = 60.0 / listing.requests_per_minute
        self._next_at = 0.0
        self._client = httpx.Client(
            timeout=httpx.Timeout(self._patience.silence_seconds, connect=min(10.0, self._patience.silence_seconds)),
            verify=_trusted(),
            follow_redirects=False,  # the key would travel along
            headers={"Accept": "application/json", "User-Agent": "affiliate-connector"},
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
        )
        self.calls = 0

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, ask: Ask) -> Answer:
        """The answer to *ask*.

        Raises:
            NeedsAction: the key is refused, or the address is wrong.
            TryLater: patience has ended.
            Stopping: *stop* was set.
        """
        answer = self.find(ask)
        if answer is None:
            raise NeedsAction(
                f"{self._listing.title} has nothing at {ask.url} (404): check {self._listing.settings}, and base_url"
            )
        return answer

    def find(self, ask: Ask) -> Answer | None:
        """Like ``get``; None where the platform says that there is no such thing (404, 410)."""
        failures = {False: 0, True: 0}

        def wait(state: RetryCallState) -> float:  # tenacity asks for the wait first, then whether to stop
            error = _error_of(state)
            failures[error.quota] += 1
            seconds = error.after
            if seconds is None:
                grown: float = self._patience.first_wait_seconds * 2.0 ** (sum(failures.values()) - 1)
                seconds = min(grown, self._patience.longest_wait_seconds) * random.uniform(0.5, 1.0)  # noqa: S311
            if seconds >= _worth_telling_seconds:
                logs.warn(_log, "request.waits", reason=error.reason, seconds=seconds)
            return seconds

        def enough(state: RetryCallState) -> bool:
            quota = _error_of(state).quota
            return failures[quota] >= (self._patience.quota_tries if quota else self._patience.tries)

        retrying = Retrying(
            retry=retry_if_exception_type(_Again),
            wait=wait,
            stop=_any(enough, stop_when_event_set(self._stop)),
            sleep=self._nap,
            reraise=True,
        )
        try:
            for attempt in retrying:
                with attempt:
                    return self._once(ask)
        except _Again as error:
            if self._stop.is_set():
                raise Stopping("the program stops") from None
            raise TryLater(error.reason, after=error.after, quota=error.quota) from None
        raise AssertionError("tenacity returns or raises")

    def _nap(self, seconds: float) -> None:
        if seconds > 0:
            self._sleep(seconds)
        if self._stop.is_set():
            raise Stopping("the program stops")

    def _once(self, ask: Ask) -> Answer | None:
        self._nap(self._next_at - time.monotonic())
        self._next_at = max(time.monotonic(), self._next_at) + self._interval
        self.calls += 1
        title = self._listing.title
        sent_at, began = self._now(), time.monotonic()
        try:
            with self._client.stream(
                "GET", ask.url, params=list(ask.query) or None, headers=dict(ask.headers)
            ) as response:
                body = self._body(response, began)
        except httpx.InvalidURL:
            raise NeedsAction(f"{title} can't be asked: base_url is no URL") from None
        except httpx.UnsupportedProtocol:
            raise NeedsAction(f"{title} can't be asked: base_url wants https") from None
        except httpx.TimeoutException:
            raise _Again(f"{title} at {host_of(ask.url)} does not answer in time") from None
        except httpx.HTTPError as error:  # its message may quote an address, never a key
            raise _Again(f"{title} at {host_of(ask.url)} can't be reached ({type(error).__name__})") from None
        self._keep_to_quota(response)
        status = response.status_code
        if status == 200:
            return Answer(body, self._as_of(response, sent_at))
        if status in (404, 410):
            return None
        if status in (401, 403):
            raise NeedsAction(f"{title} refused the API key ({status}): check {self._listing.settings}")
        if status == 429:
            raise _Again(f"{title} asks us to wait (429)", after=self._asked_wait(response), quota=True)
        if status >= 500 or status in (408, 425):
            raise _Again(f"{title} has a problem of its own ({status})", after=_retry_after(response, self._now()))
        if 300 <= status < 400:
            raise NeedsAction(f"{title} sends us elsewhere ({status}): check base_url")
        raise NeedsAction(f"{title} does not take our question ({status}): check {self._listing.settings}")

    def _body(self, response: httpx.Response, began: float) -> bytes:
        parts: list[bytes] = []
        size = 0
        for part in response.iter_bytes():
            size += len(part)
            if size > most_answer_bytes:
                raise NeedsAction(f"{self._listing.title} answered with more than {most_answer_bytes} bytes")
            # A far side that trickles would never be silent for long enough.
            if time.monotonic() - began > self._patience.answer_seconds:
                raise _Again(f"{self._listing.title} answers too slowly")
            if self._stop.is_set():
                raise Stopping("the program stops")
            parts.append(part)
        return b"".join(parts)

    def _as_of(self, response: httpx.Response, sent_at: datetime) -> datetime:
        """The moment that an answer vouches for, by the platform's clock: ours may be wrong."""
        theirs = _date(response.headers.get("date"))
        skew = timedelta(0) if theirs is None else theirs - self._now()
        # Below: whole seconds and the way here are no sign of a wrong clock. Above: a cache's date, or nonsense.
        if not timedelta(seconds=3) < abs(skew) < timedelta(days=1):
            skew = timedelta(0)
        return sent_at + skew - lag

    def _keep_to_quota(self, response: httpx.Response) -> None:
        """Where the platform counts what is left for all, leave a share of it to the others."""
        limit = _number(response.headers.get("x-ratelimit-limit"))
        remaining = _number(response.headers.get("x-ratelimit-remaining"))
        if limit and remaining is not None and remaining < limit * share_left_to_others:
            reset = self._reset(response)
            nap = self._listing.quota_window_seconds / 10 if reset is None else reset
            self._next_at = max(self._next_at, time.monotonic() + nap)

    def _asked_wait(self, response: httpx.Response) -> float | None:
        after = _retry_after(response, self._now())
        return self._reset(response) if after is None else after

    def _reset(self, response: httpx.Response) -> float | None:
        """Seconds until the quota is fresh, as ``X-RateLimit-Reset`` says it: so many, or a Unix time."""
        reset = _number(response.headers.get("x-ratelimit-reset"))
        if reset is not None and reset > 1_000_000_000:
            reset -= self._now().timestamp()
        return None if reset is None else min(max(reset, 0.0), 2 * self._listing.quota_window_seconds)


@cache
def _trusted() -> ssl.SSLContext:
    """Whose certificates are believed; once a process, since reading them all takes as long as a page."""
    return httpx.create_ssl_context()


def _any(*stops: Callable[[RetryCallState], bool]) -> Callable[[RetryCallState], bool]:
    return lambda state: any(stop(state) for stop in stops)


def _error_of(state: RetryCallState) -> _Again:
    error = None if state.outcome is None else state.outcome.exception()
    assert isinstance(error, _Again)  # nothing else is tried again
    return error


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < 1e12 else None


def _date(text: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
    return found if found is None or found.tzinfo is not None else found.replace(tzinfo=UTC)


def _retry_after(response: httpx.Response, now: datetime) -> float | None:
    """Seconds that ``Retry-After`` asks for, at most an hour."""
    text = response.headers.get("retry-after")
    seconds = _number(text)
    if seconds is None:
        at = _date(text)
        seconds = None if at is None else (at - now).total_seconds()
    return None if seconds is None else min(max(seconds, 0.0), 3600.0)


# ---------------------------------------------------------------- one reading


@dataclass(slots=True)
class _Course:
    """A reading while it goes on; what is kept of it is a note for each page.

    Args:
        places: to be read, the next one first.
        seen: what stands for each row so far (``_mark``): the only thing that grows with the list.
        beyond: those of them that stand behind a gap: between them and the rows before, some were not read yet.
        as_of: what the first page vouched for: who is missing at the end is gone as of then.
    """

    places: list[str]
    seen: set[Mark] = field(default_factory=set)
    beyond: set[Mark] = field(default_factory=set)
    as_of: datetime | None = None
    total: int | None = None


Mark = int | str


def _mark(row: Listed) -> Mark:
    """What stands for a row while it may come twice: the platform's number of the affiliate, which takes the least
    memory; or the key of an event that is about nobody."""
    return _mark_of(row.record_id) if row.record_id else row.event.key


def _mark_of(record_id: str) -> Mark:
    number = record_id.rpartition(":")[2]
    return int(number) if number.isascii() and number.isdigit() and number[0] != "0" and len(number) < 19 else record_id


class Backfill:
    """One reading of one source's API.

    Args:
        source: what makes updates of the rows.
        store: a worker's, or a visitor's beside a running server.
        kind: see ``Report``.
        what: what is read, as text: only a reading of the same is gone on with.
        dry_run: count, and change nothing.
        accept_gone: mark whoever is missing, however many.
        progress: called after each page; quick, must not raise.
    """

    def __init__(
        self,
        source: Source,
        listing: Listing,
        store: Store,
        api: Api,
        *,
        kind: str,
        what: str,
        now: Callable[[], datetime],
        dry_run: bool = False,
        accept_gone: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._source, self._listing, self._store, self._api = source, listing, store, api
        self._kind, self._what, self._now = kind, what, now
        self._dry_run, self._accept_gone, self._progress = dry_run, accept_gone, progress
        self._trail = (readings.NoTrail if dry_run else readings.Trail)(store, source.name)

    def run(self) -> Report:
        """Read to the end.

        Raises:
            NeedsAction: the key is refused …; nothing of the page asked for is changed.
            TryLater: the platform does not answer; the next reading goes on here.
            Stopping: the program stops; the next reading goes on here.
            StoreUnavailable: the disk is full …
        """
        began, steps = self._trail.begin(self._what, self._now())
        report, course = self._taken_up(began, steps)
        last, before = readings.standing(self._store, self._source.name).last, report.read
        while course.places:
            self._read(course, report)
            if self._progress is not None:
                guess = last.read if last is not None and self._kind == "whole" else None
                total = guess if course.total is None else course.total
                self._progress(Progress(report.read, before, total, course.total is None))
        if self._listing.roll is not None and course.as_of is not None:
            self._look_for_the_gone(self._listing.roll, course, course.as_of, report)
        report.ended = self._now()
        if not self._dry_run:
            readings.keep(self._store, self._source.name, report)
        self._trail.clear()
        return report

    def _taken_up(self, began: datetime, steps: Sequence[Mapping[str, Any]]) -> tuple[Report, _Course]:
        report, course = Report(self._kind, began), _Course([self._listing.first])
        for step in steps:
            marks = step.get("marks", ())
            (course.beyond.update if step.get("gap") else course.beyond.difference_update)(marks)
            course.seen.update(marks)
            course.places = list(step.get("places", ()))
            course.as_of = course.as_of or readings.moment_of(step.get("as_of"))
            course.total = step.get("total")
            for name in ("read", "new", "changed", "unreadable", "calls"):
                setattr(report, name, getattr(report, name) + int(step.get(name, 0)))
        report.pages = len(steps)
        if steps:
            logs.say(_log, "reading.resumed", source=self._source.name, pages=len(steps), read=report.read)
        return report, course

    def _read(self, course: _Course, report: Report) -> None:
        """One page: its events on disk, then the note of it."""
        place = course.places[0]
        calls = self._api.calls
        page, as_of = self._page(place)
        fresh: dict[Mark, Listed] = {}
        marks = [_mark(row) for row in page.rows]
        for mark, row in zip(marks, page.rows, strict=True):
            if mark not in course.seen:
                fresh.setdefault(mark, row)
        kept, found = self._sifted(list(fresh.values()))
        if kept and not self._dry_run:
            self._store.append(kept)
        onward = self._onward(place, page, marks, course)
        gap = page.back is not None and list(onward) == [page.back]
        # Of a page behind a gap, whoever is met there first; of another, also whoever stood behind a gap until now.
        told = list(fresh) if gap else [mark for mark in marks if mark in fresh or mark in course.beyond]
        (course.beyond.update if gap else course.beyond.difference_update)(told)
        course.seen.update(told)
        course.places = [*onward, *course.places[1:]]
        course.as_of = course.as_of or as_of
        course.total = page.total if page.total is not None else course.total
        found.update(read=len(fresh), calls=self._api.calls - calls)
        for name, count in found.items():
            setattr(report, name, getattr(report, name) + count)
        report.pages += 1
        note = {"places": course.places, "marks": told, "as_of": as_of.isoformat(), "total": course.total, **found}
        self._trail.step(note | ({"gap": True} if gap else {}))

    def _page(self, place: str) -> tuple[Page, datetime]:
        """The page at *place*; asked for again when what came is no list (a proxy's page of errors)."""
        for attempt in range(3):
            answer = self._api.get(self._listing.ask(place))
            try:
                return self._listing.read(place, answer), answer.as_of
            except Unreadable as error:
                reason = f"{self._listing.title}: {error}"
                logs.warn(_log, "page.unreadable", source=self._source.name, place=place, attempt=attempt + 1)
        raise TryLater(reason)

    def _onward(self, place: str, page: Page, marks: Sequence[Mark], course: _Course) -> Sequence[str]:
        if page.back is not None and not any(
            mark in course.seen and mark not in course.beyond for mark in marks[: page.overlap]
        ):
            # Rows have moved towards the head, past what was read: go back until somebody is known. Whom this page
            # names does not count as known then: there is a gap before them.
            logs.say(_log, "page.moved", source=self._source.name, place=place, back=page.back)
            return [page.back]
        if page.numbered and course.seen.issuperset(marks):
            return ()
        return page.more

    # ------------------------------------------------ what is new

    def _sifted(self, rows: Sequence[Listed]) -> tuple[list[Event], dict[str, int]]:
        """The events that tell something new, and how many of which kind."""
        kept: list[Event] = []
        found = {"new": 0, "changed": 0, "unreadable": 0}
        known = self._known([row.record_id for row in rows if row.record_id])
        unseen = self._store.unseen(fingerprint(row.event) for row in rows if not row.record_id)
        for row in rows:
            if not row.record_id:
                if fingerprint(row.event) in unseen:
                    kept.append(row.event)
                    found["unreadable" if row.event.topic.startswith(API_TOPIC) else "new"] += 1
                continue
            before = known.get(row.record_id)
            if before is None:
                found["new"] += 1
            elif self._says_something_new(row, before):
                found["changed"] += 1
            else:
                continue
            kept.append(row.event)
        return kept, found

    def _says_something_new(self, row: Listed, before: Facts) -> bool:
        try:
            updates: Sequence[AffiliateUpdate] = self._source.normalize(row.event)
        except UnknownShape:
            return True  # the projector makes a dead letter of it
        except Exception as error:
            logs.warn(_log, "normalize.bug", source=self._source.name, topic=row.event.topic, **describe(error))
            return True
        after = before
        for update in updates:
            if update.record_id == row.record_id:
                after = join(after, update.facts)
        return said_something_new(before, after)

    def _known(self, record_ids: Sequence[str]) -> dict[str, Facts]:
        return {record_id: load_facts(known.facts) for record_id, known in self._store.load(record_ids).items()}

    # ------------------------------------------------ who is gone

    def _look_for_the_gone(self, roll: Roll, course: _Course, as_of: datetime, report: Report) -> None:
        """Mark those whom neither the list names nor the platform knows by their id."""
        known, missing = self._missing(roll, course.seen, as_of)
        if not missing:
            return
        if not self._accept_gone and (not report.read or len(missing) > max(few_gone, most_gone * known)):
            report.held_back = len(missing)
            logs.warn(_log, "gone.held_back", source=self._source.name, missing=len(missing), known=known)
            return
        for record_id in missing:
            answer = self._api.find(roll.ask_one(record_id))
            if answer is None:
                report.gone += 1
                if not self._dry_run:
                    self._store.append([roll.gone(record_id, as_of)])
                continue
            try:
                row = roll.read_one(record_id, answer)
            except Unreadable:
                continue  # there is an answer, so it is not gone; what it says is told by the next reading
            kept, found = self._sifted([row])
            report.changed += found["changed"]
            if kept and not self._dry_run:
                self._store.append(kept)

    def _missing(self, roll: Roll, seen: set[Mark], as_of: datetime) -> tuple[int, list[str]]:
        """How many of this source are known and not marked gone, and those of them whom the list did not name, unless
        something newer is known of them."""
        prefix = f"{self._source.name}:"
        known, missing, after = 0, [], prefix
        while page := self._store.record_ids(after):
            after = page[-1]
            mine = [record_id for record_id in page if record_id.startswith(prefix)]
            known += len(mine)
            for record_id, facts in self._known([each for each in mine if _mark_of(each) not in seen]).items():
                if view(record_id, facts).gone_at is not None:
                    known -= 1
                    continue
                gone = self._source.normalize(roll.gone(record_id, as_of))[0].facts
                if view(record_id, join(facts, gone)).gone_at is not None:
                    missing.append(record_id)
            if len(mine) < len(page):
                break
        return known, missing


# ---------------------------------------------------------------- the whole of it


@dataclass(frozen=True, slots=True)
class Reading:
    """What is to be read: see ``Readable.listing``."""

    since: datetime | None = None
    deliveries: bool = False

    @property
    def kind(self) -> str:
        if self.deliveries:
            return "deliveries"
        return "whole" if self.since is None else "since"

    @property
    def what(self) -> str:
        return f"{self.kind} {'' if self.since is None else self.since.isoformat()}".strip()


def listing_of(source: Source, reading: Reading) -> Listing:
    """How *source* reads that.

    Raises:
        NotReadable: it has no API, or a setting is missing.
    """
    make: Callable[..., Listing] | None = getattr(source, "listing", None)
    if make is None:
        raise NotReadable(f"sources of this type have no API to read: {source.name}")
    return make(since=reading.since, deliveries=reading.deliveries)


def read(
    source: Source,
    reading: Reading,
    store: Store,
    lock: FileLock,
    *,
    stop: threading.Event,
    now: Callable[[], datetime],
    nap: Callable[[float], None] | None = None,
    patience: Patience | None = None,
    dry_run: bool = False,
    accept_gone: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """One reading from beginning (or where one was stopped) to end; see ``Backfill.run`` for what is raised.

    Raises:
        NotReadable: see ``listing_of``.
        ReadingAlready: another process reads this source.
    """
    listing = listing_of(source, reading)
    with _held(lock), Api(listing, stop=stop, now=now, nap=nap, patience=patience) as api:
        backfill = Backfill(
            source, listing, store, api, kind=reading.kind, what=reading.what, now=now, dry_run=dry_run,
            accept_gone=accept_gone, progress=progress,
        )  # fmt: skip
        try:
            report = backfill.run()
        except (NeedsAction, TryLater) as error:
            if not dry_run:
                readings.keep_failure(store, source.name, now(), error.reason)
            raise
    logs.say(
        _log, "reading.done", source=source.name, kind=report.kind, read=report.read, new=report.new,
        changed=report.changed, gone=report.gone, held_back=report.held_back or None,
        unreadable=report.unreadable or None, pages=report.pages, calls=report.calls,
    )  # fmt: skip
    return report


@contextmanager
def _held(lock: FileLock) -> Iterator[None]:
    try:
        held = lock.acquire(wait=False)
    except OSError as error:
        raise StoreUnavailable.at(lock.path, "can't be opened", error) from error
    if not held:
        raise ReadingAlready(f"this source is being read already ({lock.read_note() or 'by another process'})")
    try:
        yield
    finally:
        lock.release()


# ---------------------------------------------------------------- every so often


class Repairs:
    """The thread in ``serve`` that reads one source's API every so often.

    Args:
        lock: held while reading, so that ``connector backfill`` and this thread don't read at once.
        every_seconds: from the end of one whole reading to the next; a reading that failed is tried again sooner.
        stop: ends ``run`` within a second, but for a request on its way.
    """

    def __init__(
        self,
        source: Source,
        store: Store,
        lock: FileLock,
        every_seconds: float,
        *,
        stop: threading.Event,
        now: Callable[[], datetime],
        patience: Patience | None = None,
    ) -> None:
        self._source, self._store, self._lock, self._every = source, store, lock, every_seconds
        self._stop, self._now, self._patience = stop, now, patience
        self._failures = 0

    def run(self) -> None:
        """The thread's life, until *stop* is set."""
        while not self._stop.wait(min(self.wait_seconds(), 60.0)):  # a clock that is set forward must not be slept over
            if self.wait_seconds() <= 0:
                self.step()

    def wait_seconds(self) -> float:
        """Until the next reading is due."""
        try:
            stands = readings.standing(self._store, self._source.name)
        except StoreUnavailable:
            return 60.0
        now = self._now()
        due = stands.next_due(self._every, now)
        if stands.failed_at is not None and not readings.is_ahead(stands.failed_at, now):
            due = max(due, stands.failed_at + timedelta(seconds=min(self._every, 300.0 * 2 ** min(self._failures, 8))))
        return max(0.0, (due - now).total_seconds())

    def step(self) -> Report | None:
        """Read now; None when it did not come to its end."""
        name = self._source.name
        try:
            report = read(
                self._source, Reading(), self._store, self._lock, stop=self._stop, now=self._now,
                patience=self._patience,
            )  # fmt: skip
        except Stopping:
            return None
        except (NeedsAction, TryLater) as error:
            logs.warn(_log, "reading.failed", source=name, reason=error.reason)
        except (NotReadable, ReadingAlready, StoreUnavailable) as error:
            logs.warn(_log, "reading.failed", source=name, reason=str(error))
            self._fail(str(error))
        except Exception as error:
            logs.warn(_log, "reading.bug", source=name, **describe(error))
            self._fail(f"a bug of ours: {type(error).__name__}")
        else:
            self._failures = 0
            return report
        self._failures += 1
        return None

    def _fail(self, reason: str) -> None:
        try:
            readings.keep_failure(self._store, self._source.name, self._now(), reason)
        except StoreUnavailable:
            self._stop.wait(60.0)  # nothing can be written: don't ask the platform in a circle
