"""Reads the platforms' APIs: who was there before the webhooks, and what the webhooks missed. Knows no platform.

A row becomes an event in the inbox, true as of the moment it was read; normalize, merge and dead letters do the rest.
A row that says nothing new is not even kept, so a reading of an unchanged platform writes nothing anywhere. Whoever a
whole reading does not name, and the platform does not know by its id, is gone: marked, never deleted here.

A reading may be killed at any moment: first a page's events are on disk, then the note that the page was read. The
next start continues there and reads at most the last page twice, or the last twentieth of a long list.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from msgspec import Struct

from connector import logs
from connector.backfill import notes
from connector.backfill.api import Api, Patience
from connector.backfill.notes import Course, Mark, Progress, Report
from connector.core.errors import NeedsAction, Stopping, StoreUnavailable, TryLater, UnknownShape, Unreadable
from connector.core.facts import AffiliateUpdate, Facts, load_facts
from connector.core.merge import join
from connector.core.platform_api import Listed, Listing, NotReadable, Page, Roll
from connector.core.source import API_TOPIC, Event, Source
from connector.core.view import said_something_new, view
from connector.faults import describe
from connector.store import Store
from connector.store.worker import Lock

_log = logs.get("backfill")

_FEW_GONE, _MOST_GONE_SHARE = 20, 0.25
"""More than that share of all missing at once (and more than a few): a wrong account is likelier than the truth."""
_UNREADABLE_TRIES = 3
_IDLE_PAGES = 2
"""After so many pages in a row without a row that is new, the platform repeats its page."""
_NOTED_AGAIN_AFTER = 1.05
"""The note grows with the list: it is written again when so many times the pages of the last one were read."""
_FIRST_RETRY_SECONDS = 300.0
"""A reading that failed is tried again after that, doubling."""


class ReadingAlready(Exception):
    """Another process reads this source at the moment."""


class Reading(Struct, frozen=True):
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


def read(
    source: Source,
    reading: Reading,
    store: Store,
    lock: Lock,
    *,
    stop: threading.Event,
    now: Callable[[], datetime],
    nap: Callable[[float], None] | None = None,
    patience: Patience | None = None,
    dry_run: bool = False,
    accept_gone: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Read from the beginning, or from where the last reading was stopped, to the end.

    Args:
        store: a worker's, or a visitor's beside a running server.
        dry_run: count, and change nothing.
        accept_gone: mark whoever is missing, however many.
        progress: called after each page; quick, must not raise.

    Raises:
        NotReadable: the source has no API, or a setting is missing.
        ReadingAlready: another process reads this source.
        NeedsAction: the key is refused …; nothing of the page asked for is changed.
        TryLater: the platform does not answer; the next reading continues here.
        Stopping: the program stops; the next reading continues here.
        StoreUnavailable: the disk is full …
    """
    listing = listing_of(source, reading)
    with _held(lock), Api(listing, stop=stop, now=now, nap=nap, patience=patience) as api:
        backfill = _Backfill(source, listing, store, api, now=now, dry_run=dry_run, accept_gone=accept_gone)
        try:
            report = backfill.run(reading, progress)
        except (NeedsAction, TryLater) as error:
            if not dry_run:
                notes.keep_failure(store, source.name, now(), error.reason)
            raise
    logs.say(
        _log, "reading.done", source=source.name, kind=report.kind, read=report.read, new=report.new,
        changed=report.changed, gone=report.gone, held_back=report.held_back or None,
        unreadable=report.unreadable or None, pages=report.pages, calls=report.calls,
    )  # fmt: skip
    return report


def listing_of(source: Source, reading: Reading) -> Listing:
    """How *source* reads that.

    Raises:
        NotReadable: it has no API, or a setting is missing.
    """
    make: Callable[..., Listing] | None = getattr(source, "listing", None)
    if make is None:
        raise NotReadable(f"sources of this type have no API to read: {source.name}")
    return make(since=reading.since, deliveries=reading.deliveries)


@contextmanager
def _held(lock: Lock) -> Iterator[None]:
    try:
        held = lock.acquire(wait=False)
    except OSError as error:
        raise StoreUnavailable.at(error.filename, "can't be opened", error) from error
    if not held:
        raise ReadingAlready("this source is being read already (by another process)")
    try:
        yield
    finally:
        lock.release()


# ---------------------------------------------------------------- one reading


class _Backfill:
    """One reading of one source's API; see ``read``."""

    def __init__(
        self,
        source: Source,
        listing: Listing,
        store: Store,
        api: Api,
        *,
        now: Callable[[], datetime],
        dry_run: bool,
        accept_gone: bool,
    ) -> None:
        self._source, self._listing, self._store, self._api = source, listing, store, api
        self._now, self._dry_run, self._accept_gone = now, dry_run, accept_gone
        self._pages_noted = 0
        self._idle_pages = 0

    def run(self, reading: Reading, progress: Callable[[Progress], None] | None) -> Report:
        name = self._source.name
        course = self._begin(reading)
        report = course.report
        last, before = notes.standing(self._store, name).last, report.read
        try:
            while course.places:
                self._read_page(course)
                if progress is not None:
                    guess = last.read if last is not None and report.kind == "whole" else None
                    total = guess if course.total is None else course.total
                    progress(Progress(report.read, before, total, course.total is None))
        except (Stopping, TryLater, NeedsAction):
            with suppress(StoreUnavailable):
                self._keep(course)
            raise
        if self._listing.roll is not None and course.as_of is not None:
            self._look_for_the_gone(self._listing.roll, course, course.as_of)
        report.ended = self._now()
        if not self._dry_run:
            notes.keep_report(self._store, name, report)
        return report

    def _begin(self, reading: Reading) -> Course:
        name, began = self._source.name, self._now()
        course = None if self._dry_run else notes.continued(self._store, name, reading.what, began)
        if course is None:
            course = Course(reading.what, began, [self._listing.first], Report(reading.kind, began))
            self._keep(course)
        else:
            logs.say(_log, "reading.resumed", source=name, pages=course.report.pages, read=course.report.read)
        self._pages_noted = course.report.pages
        return course

    def _keep(self, course: Course) -> None:
        if not self._dry_run:
            notes.keep_course(self._store, self._source.name, course)
        self._pages_noted = course.report.pages

    def _read_page(self, course: Course) -> None:
        """One page: its events on disk first, then the note that it was read."""
        place, report = course.places[0], course.report
        calls = self._api.calls
        page, as_of = self._page(place)
        marks = [row.record_id if row.record_id and not row.part else row.event.key for row in page.rows]
        fresh: dict[Mark, Listed] = {}
        for mark, row in zip(marks, page.rows, strict=True):
            if mark not in course.seen:
                fresh.setdefault(mark, row)
        self._take(list(fresh.values()), report)
        onward = self._onward(place, page, marks, course)
        gap = page.back is not None and list(onward) == [page.back]
        # Of a page behind a gap, whoever is met there first; of another, also whoever was behind a gap until now.
        new = list(fresh) if gap else [mark for mark in marks if mark in fresh or mark in course.beyond]
        (course.beyond.update if gap else course.beyond.difference_update)(new)
        course.seen.update(new)
        course.places = [*onward, *course.places[1:]]
        course.as_of = course.as_of or as_of
        course.total = page.total if page.total is not None else course.total
        report.read += sum(not row.part for row in fresh.values())
        report.pages += 1
        report.calls += self._api.calls - calls
        self._expect_progress(page, course, new)
        if report.pages >= self._pages_noted * _NOTED_AGAIN_AFTER:
            self._keep(course)

    def _expect_progress(self, page: Page, course: Course, new: Sequence[Mark]) -> None:
        """Stop at a platform (or a cache before it) that answers every page with the same rows."""
        self._idle_pages = self._idle_pages + 1 if page.rows and course.places and not new else 0
        if self._idle_pages >= _IDLE_PAGES:
            raise NeedsAction(
                f"{self._listing.title} repeats its page: after {course.report.read} rows nothing new comes, and no "
                "end. A proxy or a cache may leave out the page's number: check base_url"
            )

    def _page(self, place: str) -> tuple[Page, datetime]:
        """The page at *place*; asked for again when what came is no list (a proxy's page of errors)."""
        for attempt in range(_UNREADABLE_TRIES):
            answer = self._api.get(self._listing.ask(place))
            try:
                return self._listing.read(place, answer), answer.as_of
            except Unreadable as error:
                reason = f"{self._listing.title}: {error}"
                logs.warn(_log, "page.unreadable", source=self._source.name, place=place, attempt=attempt + 1)
        raise TryLater(reason)

    def _onward(self, place: str, page: Page, marks: Sequence[Mark], course: Course) -> Sequence[str]:
        if page.back is not None and not any(
            mark in course.seen and mark not in course.beyond for mark in marks[: page.overlap]
        ):
            # Rows have moved towards the head, past what was read: go back until one is known. Those on this page do
            # not count as known then: there is a gap before them.
            logs.say(_log, "page.moved", source=self._source.name, place=place, back=page.back)
            return [page.back]
        if page.numbered and course.seen.issuperset(marks):
            return ()
        return page.more

    # ------------------------------------------------ what is new

    def _take(self, rows: Sequence[Listed], report: Report) -> None:
        """Put the rows that say something new into the inbox, and count them."""
        kept: list[Event] = []
        known = self._known([row.record_id for row in rows if row.record_id])
        unseen = self._store.unseen(row.event for row in rows if not row.record_id)
        for row in rows:
            before = known.get(row.record_id) if row.record_id else None
            if not row.record_id:
                if (row.event.source, row.event.key) not in unseen:
                    continue
                is_row = row.event.topic.startswith(API_TOPIC)
                report.unreadable, report.new = report.unreadable + is_row, report.new + (not is_row)
            elif before is None:
                report.new += not row.part
            elif self._says_something_new(row, before):
                report.changed += not row.part
            else:
                continue
            kept.append(row.event)
        if kept and not self._dry_run:
            self._store.append(kept)

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

    def _look_for_the_gone(self, roll: Roll, course: Course, as_of: datetime) -> None:
        """Mark those whom neither the list names nor the platform knows by their id."""
        report = course.report
        known, missing = self._missing(roll, course.seen, as_of)
        if not missing:
            return
        if not self._accept_gone and (not report.read or len(missing) > max(_FEW_GONE, _MOST_GONE_SHARE * known)):
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
            with suppress(Unreadable):  # there is an answer, so it is not gone; the next reading reads what it says
                self._take([roll.read_one(record_id, answer)], report)

    def _missing(self, roll: Roll, seen: set[Mark], as_of: datetime) -> tuple[int, list[str]]:
        """How many of this source are known and not marked gone, and those of them whom the list did not name, unless
        something newer is known of them."""
        prefix = f"{self._source.name}:"
        known, missing, after = 0, [], prefix
        while page := self._store.record_ids(after):
            after = page[-1]
            mine = [record_id for record_id in page if record_id.startswith(prefix)]
            known += len(mine)
            for record_id, facts in self._known([each for each in mine if each not in seen]).items():
                if view(record_id, facts).gone_at is not None:
                    known -= 1
                    continue
                gone = self._source.normalize(roll.gone(record_id, as_of))[0].facts
                if view(record_id, join(facts, gone)).gone_at is not None:
                    missing.append(record_id)
            if len(mine) < len(page):
                break
        return known, missing


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
        lock: Lock,
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
        while not self._stop.wait(min(self.wait_seconds(), 60.0)):  # a clock may be set forward meanwhile
            if self.wait_seconds() <= 0:
                self.step()

    def wait_seconds(self) -> float:
        """Until the next reading is due."""
        try:
            standing = notes.standing(self._store, self._source.name)
        except StoreUnavailable:
            return 60.0
        now = self._now()
        due = standing.next_due(self._every, now)
        if standing.failed_at is not None and not notes.is_ahead(standing.failed_at, now):
            wait = min(self._every, _FIRST_RETRY_SECONDS * 2 ** min(self._failures, 8))
            due = max(due, standing.failed_at + timedelta(seconds=wait))
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
            notes.keep_failure(self._store, self._source.name, self._now(), reason)
        except StoreUnavailable:
            self._stop.wait(60.0)  # nothing can be written: don't ask the platform in a circle
