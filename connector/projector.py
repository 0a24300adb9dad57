"""Inbox -> records: reads the events that came in and folds them into one record per affiliate.

One thread. A batch is one transaction: the records, what is pending for the routes and the counts, or nothing of it.
Knows sources only by their contract, and nothing of sinks.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from msgspec import Struct

from connector import logs
from connector.core.errors import StoreUnavailable, UnknownShape
from connector.core.facts import AffiliateUpdate, Stamped, dump_stamped, facts_of, load_stamped, same_values
from connector.core.findable import findable, words_of
from connector.core.merge import join_stamped
from connector.core.source import API_TOPIC, Event, Source
from connector.core.view import said_something_new
from connector.dead_letters import DeadLetters, Letter, letter_of_event
from connector.faults import describe
from connector.recent import Recent
from connector.rest import Rest
from connector.store import Store
from connector.store.inbox import count_received
from connector.store.model import Batch, Known, Overtaken, Saved, StoredEvent, Tally
from connector.topics import StrangeTopics

_log = logs.get("projector")
_GATHERING_SECONDS = 0.01  # what comes together is projected together
_SLICE_EVENTS, _SLICE_BYTES = 500, 2 * 1024 * 1024  # read at once
_RECORDS_IN_A_BATCH = 1_200  # then it takes no further slice: what the events say of them is in memory, some 5 KB each
_UNREAD_BYTES_IN_A_BATCH = 8 * 1024 * 1024  # nor then: letters keep their bodies until the batch is committed


class Projected(Struct, frozen=True):
    """What one batch did, for metrics. *records*: how many say something new."""

    events: int
    records: int
    unreadable: int
    seconds: float


class Projector:
    """Runs until *stop* is set; what was not projected then is projected after the next start.

    Args:
        sources: by their name in the configuration.
        stop: ends ``run`` within a second, or at once when ``bell`` is set as well.
        now: aware UTC.
        batch_events: the most events a transaction takes; fewer when they are about many affiliates.
        report: called after each batch, in this thread; quick, must not raise.
        recent: is told what each event changed.
    """

    def __init__(
        self,
        store: Store,
        sources: Mapping[str, Source],
        letters: DeadLetters,
        *,
        stop: threading.Event,
        now: Callable[[], datetime],
        batch_events: int = 8_000,
        report: Callable[[Projected], None] | None = None,
        recent: Recent | None = None,
    ) -> None:
        self._store, self._sources, self._letters, self._recent = store, sources, letters, recent
        self._stop, self._now, self._batch_events, self._report = stop, now, batch_events, report
        self._size = batch_events
        self._topics = StrangeTopics(store, sources)
        self._rest = Rest(store.committed_at, stop)
        self.bell = threading.Event()
        self.failures = 0
        """Tries in a row that failed; 0 when it works."""
        store.on_append(self.bell.set)

    def run(self) -> None:
        """The thread's life: project what is there, sleep until the store rings."""
        while not self._stop.is_set():
            self.bell.clear()
            try:
                self._rest.begin()
                while self.step() and not self._rest.take():
                    pass
            except Overtaken:
                continue
            except StoreUnavailable as error:
                self.failures += 1
                logs.warn(_log, "projection.waits", reason=str(error), failures=self.failures)
                self._stop.wait(min(0.1 * 2**self.failures, 5.0))
            except Exception as error:
                # A bug of ours: nothing is lost, the events stay in the inbox; say so and try again slowly.
                self.failures += 1
                logs.warn(_log, "projection.bug", failures=self.failures, **describe(error))
                self._stop.wait(min(0.1 * 2**self.failures, 60.0))
            else:
                self.failures = 0
                self.bell.wait(self._store.poll_seconds)  # another process (backfill, a receiver) can't ring our bell
                self._stop.wait(_GATHERING_SECONDS)
        self.failures = 0  # another process projects from now on

    def catch_up(self) -> None:
        """Project all that has come in, for those who do not ``run``."""
        events = 1
        while events:
            with suppress(Overtaken):
                events = self.step()

    def step(self) -> int:
        """Project one batch.

        Returns:
            How many events it took.

        Raises:
            Overtaken: another process projected them.
            StoreUnavailable: nothing was changed; try again later.
        """
        began = time.perf_counter()
        work = _Work(self._sources, self._store.epoch())
        try:
            self._gather(work)
            if work.seqs:
                self._fold(work, began)
        except StoreUnavailable:
            raise
        except Exception as error:
            # One event that breaks the folding itself must not hold up all that come after it: find it, isolate it.
            if work.first is None:
                raise
            if len(work.seqs) > 1:
                self._size = 1
                return len(work.seqs)
            self._isolate(work.epoch, work.first, error)
        self._size = min(self._batch_events, self._size * 2)
        return len(work.seqs)

    def _gather(self, work: _Work) -> None:
        """Read events and what they say, until the batch is full."""
        while len(work.seqs) < self._size and work.takes_more():
            limit = min(_SLICE_EVENTS, self._size - len(work.seqs))
            events = self._store.read_events(
                work.seqs[-1] if work.seqs else 0, limit, most_bytes=_SLICE_BYTES, todo=True
            )
            self._topics.note(stored.event for stored in events if work.take_in(stored))
            more = len(events) == limit or sum(len(stored.event.body) for stored in events) >= _SLICE_BYTES
            if not more or self._rest.take():
                break

    def _isolate(self, epoch: int, stored: StoredEvent, error: Exception) -> None:
        fault = describe(error)
        logs.warn(_log, "projection.bug", source=stored.event.source, topic=stored.event.topic, **fault)
        reason = f"a bug in folding this event: {fault['exception']} at {fault['frames']}"
        self._letters.add([letter_of_event(stored.event, reason, "bug")])
        tally = Tally(received=1, unreadable=1, last_at=stored.event.at)
        self._store.commit(Batch(epoch, [stored.seq], tallies={stored.event.source: tally}))

    def _fold(self, work: _Work, began: float) -> None:
        known = self._store.load(work.said)
        joined = [self._joined(record_id, known.get(record_id), work) for record_id in work.said]
        saved = [record for record in joined if record is not None]
        # Before the commit: what is not on paper must not count as done, nor stay there when it is. Dying in between,
        # the same batch is read again.
        self._letters.add(work.letters)
        read = [self._letters.ids_about(source, keys) for source, keys in work.read.items()]
        self._letters.close(set().union(*read), "read")
        read_only = frozenset(work.said.keys() - work.by_webhook)
        self._store.commit(Batch(work.epoch, work.seqs, saved, work.mentions, work.tallies, read_only))
        if work.letters:
            logs.warn(_log, "events.unreadable", count=len(work.letters), codes=sorted({x.code for x in work.letters}))
        if self._report is not None:
            changed = sum(record.version != record.before for record in saved)
            self._report(Projected(len(work.seqs), changed, len(work.letters), time.perf_counter() - began))

    def _joined(self, record_id: str, stored: Known | None, work: _Work) -> Saved | None:
        """The record with what the batch says of it; None when that changes nothing."""
        said = work.said[record_id]
        if stored is None:
            self._tell(work, record_id, (), said)
            return Saved(record_id, 0, 1, dump_stamped(said), words_of(record_id, findable(said)))
        before = load_stamped(stored.facts)
        after = join_stamped(before, said)
        version = stored.version + 1
        if same_values(before, after):
            if after == before:
                return None
            if not said_something_new(facts_of(before), facts_of(after)):
                version = stored.version
        else:
            self._tell(work, record_id, before, after)
        old, new = findable(before), findable(after)
        if old == new:
            return Saved(record_id, stored.version, version, dump_stamped(after))
        lost, words = words_of(record_id, old), words_of(record_id, new)
        return Saved(record_id, stored.version, version, dump_stamped(after), words - lost, lost - words)

    def _tell(self, work: _Work, record_id: str, before: Sequence[Stamped], after: Sequence[Stamped]) -> None:
        if self._recent is not None:
            self._recent.said(work.last_about[record_id], record_id, before, after)


class _Work:
    """What the events of one batch say, gathered before anything is written.

    Attributes:
        said: by record, all that the batch says of it, joined.
        read: by source, the keys of the events that could be read.
        last_about: by record, source and key of the last event about it.
        by_webhook: the records that a webhook spoke of, not only a reading of the platform's API.
    """

    def __init__(self, sources: Mapping[str, Source], epoch: int) -> None:
        self._sources, self.epoch = sources, epoch
        self._unread_bytes = 0
        self.seqs: list[int] = []
        self.first: StoredEvent | None = None
        self.read: defaultdict[str, list[str]] = defaultdict(list)
        self.letters: list[Letter] = []
        self.mentions: list[tuple[int, str]] = []
        self.tallies: dict[str, Tally] = {}
        self.said: dict[str, Sequence[Stamped]] = {}
        self.last_about: dict[str, tuple[str, str]] = {}
        self.by_webhook: set[str] = set()

    def takes_more(self) -> bool:
        return len(self.said) < _RECORDS_IN_A_BATCH and self._unread_bytes < _UNREAD_BYTES_IN_A_BATCH

    def take_in(self, stored: StoredEvent) -> bool:
        """Whether the event could be read."""
        event = stored.event
        self.first = self.first or stored
        self.seqs.append(stored.seq)
        tally = self.tallies.setdefault(event.source, Tally())
        count_received(tally, event)
        updates = self._normalize(event)
        if isinstance(updates, Letter):
            self.letters.append(updates)
            tally.unreadable += 1
            self._unread_bytes += len(event.body)
            return False
        tally.no_affiliate += not updates
        self.read[event.source].append(event.key)
        for update in updates:
            self.said[update.record_id] = join_stamped(self.said.get(update.record_id, ()), update.said)
            self.mentions.append((stored.seq, update.record_id))
            self.last_about[update.record_id] = (event.source, event.key)
        if not event.topic.startswith(API_TOPIC):
            self.by_webhook.update(update.record_id for update in updates)
        return True

    def _normalize(self, event: Event) -> Sequence[AffiliateUpdate] | Letter:
        """What *event* says, or the letter of one that can't be read."""
        source = self._sources.get(event.source)
        if source is None:
            reason = f"no source named {event.source} is configured; put [sources.{event.source}] back, then replay"
            return letter_of_event(event, reason, "unknown_source")
        try:
            return source.normalize(event)
        except UnknownShape as error:
            return letter_of_event(event, str(error), "unknown_shape")
        except Exception as error:
            fault = describe(error)
            logs.warn(_log, "normalize.bug", source=event.source, topic=event.topic, **fault)
            reason = f"a bug in the source {event.source}: {fault['exception']} at {fault['frames']}"
            return letter_of_event(event, reason, "bug")
