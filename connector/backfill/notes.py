"""What is kept of readings of the platforms' APIs: how far one is, and what the last one found. Notes in the store;
no network (reading.py reads).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypeVar

import msgspec
from msgspec import Struct

from connector.store import Store

CONTINUES_WITHIN = timedelta(hours=6)
"""A reading that was stopped longer ago starts afresh: its pages have moved."""

Note = TypeVar("Note", bound=Struct)
Mark = str
"""What is remembered of a row that was read: its record id, or the key of an event that is not about an affiliate."""


class Report(Struct):
    """What a reading found.

    Args:
        kind: ``whole`` · ``since`` · ``deliveries``.
        read: affiliates (or deliveries) that were listed, each counted once.
        held_back: missing from the list, but too many to believe it; none was marked as gone.
        unreadable: rows that name nobody; they become dead letters.
        pages, calls: of this run and those before it that were stopped; calls with all tries.
    """

    kind: str
    began: datetime
    ended: datetime | None = None
    read: int = 0
    new: int = 0
    changed: int = 0
    gone: int = 0
    held_back: int = 0
    unreadable: int = 0
    pages: int = 0
    calls: int = 0


class Progress(Struct, frozen=True):
    """How far a reading is: rows so far, *before* of them by runs that were stopped. A *guessed* total is what the last
    reading found."""

    read: int
    before: int
    total: int | None
    guessed: bool


class Course(Struct):
    """A reading under way. All of it is kept, so that a reading that was stopped continues.

    Args:
        what: what is read, as text: only a reading of the same continues.
        places: the pages to be read, the next one first.
        seen: the rows that were read so far.
        beyond: those of them that are behind a gap: between them and the rows before, some were not read yet.
        as_of: what the first page vouched for: who is missing at the end is gone as of then.
    """

    what: str
    began: datetime
    places: list[str]
    report: Report
    seen: set[Mark] = msgspec.field(default_factory=set)
    beyond: set[Mark] = msgspec.field(default_factory=set)
    as_of: datetime | None = None
    total: int | None = None


class Standing(Struct, frozen=True):
    """The state of a source's readings, for ``status``.

    Args:
        last: the last whole reading that came to its end.
        reading_since: when one began that has not ended yet.
        failed_at, reason: the last try, when it failed.
    """

    last: Report | None = None
    reading_since: datetime | None = None
    failed_at: datetime | None = None
    reason: str = ""

    def next_due(self, every_seconds: float, now: datetime) -> datetime:
        """When the next one is due: now, when there was none yet, or when it ended by a clock that was ahead."""
        ended = self.last.ended if self.last is not None else None
        return now if ended is None or is_ahead(ended, now) else ended + timedelta(seconds=every_seconds)

    @property
    def last_try_failed(self) -> bool:
        """Whether *failed_at* is about the reading that has not ended, or the last one that was begun."""
        return self.failed_at is not None and (self.reading_since is None or self.failed_at >= self.reading_since)


def is_ahead(moment: datetime, now: datetime) -> bool:
    """Whether a moment that was noted is later than *now* by more than clocks are corrected by: a clock was wrong."""
    return moment > now + timedelta(minutes=1)


# ---------------------------------------------------------------- kept in the store


class _Failure(Struct):
    at: datetime
    reason: str = ""


def standing(store: Store, name: str) -> Standing:
    """The state of the readings of source *name*."""
    last, course = _recall(store, name, "last", Report), _recall(store, name, "reading", Course)
    failed = _recall(store, name, "failed", _Failure)
    began = course.began if course else None
    return Standing(last, began, failed.at, failed.reason) if failed else Standing(last, began)


def continued(store: Store, name: str, what: str, now: datetime) -> Course | None:
    """The reading of source *name* that was stopped, if it was the same and is not too old."""
    course = _recall(store, name, "reading", Course)
    return course if course and course.what == what and now - course.began < CONTINUES_WITHIN else None


def keep_course(store: Store, name: str, course: Course) -> None:
    """Note how far a reading is."""
    _remember(store, name, "reading", course)


def keep_report(store: Store, name: str, report: Report) -> None:
    """Note what a reading has found, now that it has ended."""
    _remember(store, name, "last" if report.kind == "whole" else f"last {report.kind}", report)
    _remember(store, name, "failed", None)
    _remember(store, name, "reading", None)


def keep_failure(store: Store, name: str, at: datetime, reason: str) -> None:
    """Note that a reading did not come to its end."""
    _remember(store, name, "failed", _Failure(at, reason))


def _remember(store: Store, name: str, key: str, note: Struct | None) -> None:
    store.remember(f"backfill:{name}", key, None if note is None else msgspec.json.encode(note).decode())


def _recall(store: Store, name: str, key: str, kind: type[Note]) -> Note | None:
    note = store.recall(f"backfill:{name}", key)  # the colon: no sink is called so
    try:
        return None if note is None else msgspec.json.decode(note, type=kind)
    except msgspec.MsgspecError:
        return None
