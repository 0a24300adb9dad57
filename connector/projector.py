"""Inbox -> records: reads what came in, in order, and folds it into one record per affiliate.

One thread. A batch is one transaction: the records, what the routes owe, the cursor and the counts, or nothing of it.
Knows sources only by their contract, and nothing of sinks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from connector import logs
from connector.core.errors import StoreUnavailable, UnknownShape
from connector.core.facts import (
    AffiliateUpdate,
    Stamped,
    dump_stamped,
    facts_of,
    load_stamped,
    same_values,
)
from connector.core.lenient import micros_of
from connector.core.merge import join_stamped
from connector.core.source import API_TOPIC, Event, Source
from connector.core.view import said_something_new
from connector.dead_letters import DeadLetters, Letter, letter_of_event
from connector.faults import describe
from connector.store.model import Batch, Overtaken, Saved, StoredEvent, Tally, fingerprint
from connector.store.store import Store
from connector.topics import StrangeTopics

_log = logs.get("projector")
_gathering_seconds = 0.01  # what comes together is projected together, and whether requests press is known by then
_pressed_batch_events = 50  # some milliseconds of work, in which answers are late
_slice_events, _slice_bytes = 500, 2 * 1024 * 1024  # read at once; more would not stay near the processor
_most_records = 1_200  # a batch takes no further slice then: what is said of them is in memory, some 5 KB each
_most_unread_bytes = 8 * 1024 * 1024  # nor then: letters keep their bodies until the batch is committed


class Projected(Struct, frozen=True):
    """What one batch did, for metrics.

    Args:
        records: how many records say something new.
    """

    events: int
    records: int
    duplicates: int
    unreadable: int
    seconds: float


class Projector:
    """Runs until *stop* is set; what was not projected then is projected after the next start.

    Args:
        sources: by their name in the configuration.
        stop: ends ``run`` within a second, or at once when ``bell`` is set as well.
        now: aware UTC.
        batch_events: the most events a transaction takes; fewer when they are about many affiliates. The more it
            takes, the fewer records are read, joined and written for the same events.
        report: called after each batch, in this thread; quick, must not raise.
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
    ) -> None:
        self._store, self._sources, self._letters = store, sources, letters
        self._stop, self._now, self._batch_events, self._report = stop, now, batch_events, report
        self._size = batch_events
        self._topics = StrangeTopics(store, sources)
        self.bell = threading.Event()
        self.failures = 0
        """Tries in a row that came to nothing; 0 when it is well."""
        store.on_append(self.bell.set)

    def run(self) -> None:
        """The thread's life: project what is there, sleep until the store rings."""
        while not self._stop.is_set():
            self.bell.clear()
            try:
                began = time.thread_time()
                while self.step() and not self._stop.is_set():
                    self._store.give_way(time.thread_time() - began, self._stop.wait)
                    began = time.thread_time()
                self.failures = 0
            except Overtaken:
                continue
            except StoreUnavailable as error:
                self.failures += 1
                logs.warn(_log, "projection.waits", reason=str(error), failures=self.failures)
                self._stop.wait(min(0.1 * 2**self.failures, 5.0))
                continue
            except Exception as error:
                # A bug of ours: nothing is lost, the events stay in the inbox; say so and try again slowly.
                self.failures += 1
                logs.warn(_log, "projection.bug", failures=self.failures, **describe(error))
                self._stop.wait(min(0.1 * 2**self.failures, 60.0))
                continue
            self._sleep()

    def _sleep(self) -> None:
        while not self._stop.is_set() and not self.bell.wait(1.0):
            # The tick: another process (backfill, replay) can't ring our bell.
            try:
                self._store.notice_others()
            except StoreUnavailable:
                return
        self._stop.wait(_gathering_seconds)

    def catch_up(self) -> None:
        """Project all that has come in, for whoever does not ``run``.

        Raises:
            StoreUnavailable: the rest waits for the next time.
        """
        while True:
            try:
                if not self.step():
                    return
            except Overtaken:
                continue

    def step(self) -> int:
        """Project one batch.

        Returns:
            How many events it took; 0 when there was nothing to do.

        Raises:
            Overtaken: somebody else projected them.
            StoreUnavailable: nothing was changed; try again later.
        """
        began = time.perf_counter()
        cursor = upto = self._store.cursor()
        most = min(self._size, _pressed_batch_events) if self._store.intake_pressed() else self._size
        work = _Work(self._sources)
        count = 0
        first: StoredEvent | None = None
        try:
            while count < most and work.takes_more():
                limit = min(_slice_events, most - count)
                events = self._store.read_events(upto, limit, most_bytes=_slice_bytes)
                if not events:
                    break
                first = first or events[0]
                count, upto = count + len(events), events[-1].seq
                self._take_in(work, events)
                if self._stop.is_set() or self._store.intake_pressed():
                    break
            if count:
                self._fold(work, cursor, upto, count, began)
        except StoreUnavailable:
            raise
        except Exception as error:
            # One event that breaks the folding itself must not hold up all that come after it: find it, set it aside.
            if count > 1:
                self._size = max(1, count // 8)
                return count
            if first is None:
                raise
            self._set_aside(cursor, first, error)
        self._size = min(self._batch_events, self._size * 2)
        return count

    def _set_aside(self, cursor: int, stored: StoredEvent, error: Exception) -> None:
        fault = describe(error)
        logs.warn(_log, "projection.bug", source=stored.event.source, topic=stored.event.topic, **fault)
        reason = f"a bug in folding this event: {fault['exception']} at {fault['frames']}"
        self._letters.add([letter_of_event(stored.event, reason, "bug")])
        tally = Tally(received=1, unreadable=1, last_at=stored.event.at)
        self._store.commit(Batch(cursor, stored.seq, tallies={stored.event.source: tally}))

    def _take_in(self, work: _Work, events: Sequence[StoredEvent]) -> None:
        keys = [fingerprint(stored.event) for stored in events]
        fresh = self._store.unseen(keys)
        read = [stored.event for key, stored in zip(keys, events, strict=True) if work.take_in(stored, key, fresh)]
        work.read += [(event.source, event.key) for event in read]
        self._topics.note(read)

    def _fold(self, work: _Work, cursor: int, upto: int, count: int, began: float) -> None:
        known = self._store.load(work.said)
        saved: list[Saved] = []
        for record_id, said in work.said.items():
            if record_id not in known and record_id not in work.introduced:
                continue  # forgotten: a late second delivery must not bring the person back
            stored = known.get(record_id)
            if stored is None:
                saved.append(Saved(record_id, 0, 1, dump_stamped(said)))
                continue
            before = load_stamped(stored.facts)
            after = join_stamped(before, said)
            version = stored.version + 1
            if same_values(before, after):
                if after == before:
                    continue
                if not said_something_new(facts_of(before), facts_of(after)):
                    version = stored.version
            saved.append(Saved(record_id, stored.version, version, dump_stamped(after)))
        # Before the commit: what is not on paper must not count as done, nor stay there when it is. Dying in between,
        # the same batch is read again.
        self._letters.add(work.letters)
        self._letters.close([i for source, key in work.read for i in self._letters.ids_about(source, key)], "read")
        self._store.commit(
            Batch(
                after=cursor,
                upto=upto,
                seen=work.seen,
                records=saved,
                mentions=[(seq, who) for seq, who in work.mentions if who in known or who in work.introduced],
                tallies=work.tallies,
                events=count,
            )
        )
        if work.letters:
            logs.warn(_log, "events.unreadable", count=len(work.letters), codes=sorted({x.code for x in work.letters}))
        if self._report is not None:
            self._report(
                Projected(
                    events=count,
                    records=sum(1 for record in saved if record.version != record.before),
                    duplicates=sum(tally.duplicates for tally in work.tallies.values()),
                    unreadable=len(work.letters),
                    seconds=time.perf_counter() - began,
                )
            )


class _Work:
    """What the events of one batch say, gathered before anything is written.

    Attributes:
        seen: fingerprints of the events that count as seen from now on.
        introduced: records that an event spoke of which is no duplicate; only these may be new.
        said: by record, all that the batch says of it, joined.
        read: source and key of the events that could be read.
    """

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = sources
        self._now_seen: set[bytes] = set()
        self._folded: dict[tuple[bytes, int], tuple[str, ...]] = {}
        self._unread_bytes = 0
        self.seen: list[bytes] = []
        self.introduced: set[str] = set()
        self.read: list[tuple[str, str]] = []
        self.letters: list[Letter] = []
        self.mentions: list[tuple[int, str]] = []
        self.tallies: dict[str, Tally] = {}
        self.said: dict[str, Sequence[Stamped]] = {}

    def takes_more(self) -> bool:
        return len(self.said) < _most_records and self._unread_bytes < _most_unread_bytes

    def take_in(self, stored: StoredEvent, key: bytes, fresh: set[bytes]) -> bool:
        """Whether it is new, and could be read."""
        event = stored.event
        tally = self.tallies.setdefault(event.source, Tally())
        if not event.topic.startswith(API_TOPIC):  # what was read is no sign that webhooks still come in
            tally.received += 1
            tally.last_at = max(tally.last_at, event.at)
            tally.last_received_at = max(tally.last_received_at, int(event.received_at.timestamp() * 1e6))
        if key not in fresh or key in self._now_seen:
            tally.duplicates += 1
            self._fold_duplicate(stored, key)
            return False
        updates = self._normalize(event)
        if isinstance(updates, Letter):
            self.letters.append(updates)
            tally.unreadable += 1
            self._unread_bytes += len(event.body)
            return False  # not seen: its replay must not look like a duplicate
        if not updates:
            tally.no_affiliate += 1
            return True  # not seen: the longer form of its body may name somebody
        self._now_seen.add(key)
        self.seen.append(key)
        self.introduced.update(update.record_id for update in updates)
        self._fold(stored, key, updates)
        return True

    def _fold_duplicate(self, stored: StoredEvent, key: bytes) -> None:
        """A second delivery may say more (FirstPromoter's short and full bodies have one id), or the same: then folding
        it again changes nothing."""
        event = stored.event
        about = self._folded.get((key, hash(event.body)))
        if about is not None:
            self.mentions += [(stored.seq, record_id) for record_id in about]
        elif event.at == micros_of(event.received_at):
            pass  # undated, so stamped by its arrival: what is old would pass for new
        elif not isinstance(updates := self._normalize(event), Letter):
            self._fold(stored, key, updates)

    def _fold(self, stored: StoredEvent, key: bytes, updates: Sequence[AffiliateUpdate]) -> None:
        # By the body's hash, for a batch does not keep its bodies.
        self._folded[key, hash(stored.event.body)] = tuple(update.record_id for update in updates)
        for update in updates:
            self.said[update.record_id] = join_stamped(self.said.get(update.record_id, ()), update.said)
            self.mentions.append((stored.seq, update.record_id))

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
