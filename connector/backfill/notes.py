"""What is kept of readings of the platforms' APIs: where one stands, and what the last one found. Notes in the store;
no network (reading.py reads).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from connector.store.store import Store

CONTINUES_WITHIN = timedelta(hours=6)
"""A reading that was stopped longer ago starts afresh: its pages have moved."""


# ---------------------------------------------------------------- what a reading finds


class Report(Struct):
    """What a reading found.

    Args:
        kind: ``whole`` · ``since`` · ``deliveries``.
        read: affiliates (or deliveries) that were listed, each counted once.
        new: unknown before.
        changed: known, and the platform says something else.
        gone: marked as gone by this reading.
        held_back: missing from the list, but too many to believe it; none was marked.
        unreadable: rows that name nobody; they become dead letters.
        pages, calls: read by this run and those before it that were stopped; calls with all tries.
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
    """How far a reading is.

    Args:
        read: rows so far.
        before: of these, by runs that were stopped.
        total: how many there are, or None.
        guessed: *total* is what the last reading found.
    """

    read: int
    before: int
    total: int | None
    guessed: bool


class Standing(Struct, frozen=True):
    """How the readings of a source stand, for ``status``.

    Args:
        last: the last whole reading that came to its end.
        reading_since: when one began that has not ended yet.
        pages: how far that one is.
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
    """Whether a moment that was noted lies ahead by more than clocks are put right by: a clock was wrong then."""
    return moment > now + timedelta(minutes=1)


def standing(store: Store, name: str) -> Standing:
    """How the readings of source *name* stand."""
    place = _place(name)
    failed = _loaded(store.recall(place, "failed"))
    reading = _loaded(store.recall(place, "reading"))
    return Standing(
        _report(_loaded(store.recall(place, "last"))),
        moment_of(reading.get("began")),
        moment_of(failed.get("at")),
        str(failed.get("reason", "")),
    )


def keep(store: Store, name: str, report: Report) -> None:
    """Note what a reading of source *name* has found, now that it has ended."""
    note = {k: v.isoformat() if isinstance(v, datetime) else v for k, v in msgspec.structs.asdict(report).items()}
    store.remember(_place(name), "last" if report.kind == "whole" else f"last {report.kind}", json.dumps(note))
    store.remember(_place(name), "failed", None)


def keep_failure(store: Store, name: str, at: datetime, reason: str) -> None:
    """Note that a reading of source *name* did not come to its end."""
    store.remember(_place(name), "failed", json.dumps({"at": at.isoformat(), "reason": reason}))


def _place(name: str) -> str:
    return f"backfill:{name}"  # the colon: no sink is called so


def _loaded(note: str | None) -> dict[str, Any]:
    try:
        found = json.loads(note) if note else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def moment_of(text: object) -> datetime | None:
    """A time out of a note; None when it is none."""
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _report(note: Mapping[str, Any]) -> Report | None:
    began = moment_of(note.get("began"))
    if began is None:
        return None
    counts = {key: value for key, value in note.items() if isinstance(value, int) and key in Report.__struct_fields__}
    return Report(str(note.get("kind", "whole")), began, moment_of(note.get("ended")), **counts)


# ---------------------------------------------------------------- where a reading stands


class Trail:
    """The notes of a reading: one for each page, so that a page costs one small write however long the list is."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._place, self._steps = store, _place(name), 0

    def begin(self, what: str, began: datetime) -> tuple[datetime, list[dict[str, Any]]]:
        """Go on with the reading that was stopped, if it was the same and is not too old; else begin one.

        Returns:
            When it began, and its steps so far.
        """
        kept = _loaded(self._store.recall(self._place, "reading"))
        since = moment_of(kept.get("began"))
        if since is not None and kept.get("what") == what and began - since < CONTINUES_WITHIN:
            steps = list(self._kept())
            self._steps = len(steps)
            return since, steps
        self.clear()
        self._store.remember(self._place, "reading", json.dumps({"what": what, "began": began.isoformat()}))
        return began, []

    def step(self, note: Mapping[str, Any]) -> None:
        """A page was read, and its events are on disk."""
        self._steps += 1
        self._store.remember(self._place, f"step {self._steps}", json.dumps(note, separators=(",", ":")))

    def clear(self) -> None:
        """Forget the reading: its head, then its steps from the last on, so that a kill leaves none behind for good."""
        self._store.remember(self._place, "reading", None)
        for number in range(sum(1 for _ in self._kept()), 0, -1):
            self._store.remember(self._place, f"step {number}", None)
        self._steps = 0

    def _kept(self) -> Iterator[dict[str, Any]]:
        number = 1
        while note := self._store.recall(self._place, f"step {number}"):
            yield _loaded(note)
            number += 1


class NoTrail(Trail):
    """A dry run leaves none."""

    def begin(self, what: str, began: datetime) -> tuple[datetime, list[dict[str, Any]]]:  # noqa: ARG002
        return began, []

    def step(self, note: Mapping[str, Any]) -> None:
        pass

    def clear(self) -> None:
        pass
