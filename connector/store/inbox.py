"""The inbox: every event as it came, and which of them are not projected yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any

from connector.core.lenient import micros_of
from connector.core.source import API_TOPIC, Event
from connector.store.compression import compress, expand
from connector.store.engine import Engine, Part, Session, each, insert, select
from connector.store.intake import Deliver, Intake
from connector.store.model import StoreDamaged, StoredEvent, Tally, moment
from connector.store.tables import FORGOTTEN_KEY
from connector.store.tally import HOUR_MICROS, add_hours

EVENT_COLUMNS = "source, key, topic, at, received_at, body"


class Inbox(Part):
    """What the receiver, backfill and replays hand over, and what the projector reads."""

    def __init__(self, engine: Engine, now: Callable[[], datetime]) -> None:
        super().__init__(engine, now)
        self._intake: Intake | None = None

    def start_intake(self, deliver: Deliver, *, limit: int = 10_000) -> None:
        """Start the thread that commits what ``submit`` hands over; *limit* events may wait for it, or 64 MiB of
        bodies, before ``submit`` refuses more."""
        assert self._intake is None, "the intake runs already"
        self._intake = Intake(self.append, deliver, limit)

    def submit(self, events: Sequence[Event], tickets: Sequence[object]) -> None:
        """Hand over *events*; ``deliver`` will be called with each one's ticket, among a group. Never blocks: with
        StoreUnavailable too many wait already, and none of these was taken."""
        assert self._intake is not None, "start_intake comes first"
        self._intake.submit(events, tickets)

    def committed_at(self) -> float:
        """When the intake last committed, in seconds of ``time.monotonic``; -inf: never."""
        return float("-inf") if self._intake is None else self._intake.committed_at

    def append(self, events: Sequence[Event]) -> None:
        """Commit *events* to the inbox before returning. One that is there already is counted as a duplicate, by its
        source and key; its body is not kept."""
        if not events:
            return
        with self._engine.writing() as sql:
            fresh = self._without_forgotten(sql, events)
            new = self._insert(sql, fresh)
            if len(new) < len(events):
                kept = select(sql, "SELECT source, key FROM events WHERE seq", new)
                add_tallies(sql, _tallies_of_duplicates(events, {(source, key) for source, key in kept}))
        self._ring(self._on_append)

    def replay(self, events: Sequence[Event]) -> None:
        """Project *events* once more, whether or not the inbox still has them."""
        with self._engine.writing() as sql:
            wanted = self._without_forgotten(sql, events)
            self._insert(sql, wanted)
            for event in wanted:
                sql.execute(
                    "INSERT INTO todo SELECT seq FROM events WHERE source = ? AND key = ? ON CONFLICT DO NOTHING",
                    (event.source, event.key),
                )
        self._ring(self._on_append)

    def _insert(self, sql: Session, events: Sequence[Event]) -> list[int]:
        """The numbers of those that are new."""
        if self._engine.shared:
            events = sorted(events, key=lambda event: (event.source, event.key))
        rows = [(e.source, e.key, e.topic, e.at, micros_of(e.received_at), compress(e.body)) for e in events]
        head, tail = f"INSERT INTO events ({EVENT_COLUMNS})", " ON CONFLICT DO NOTHING RETURNING seq"
        new = sorted(insert(sql, head, rows, tail))
        insert(sql, "INSERT INTO todo (seq)", new)
        return [seq for (seq,) in new]

    def read_events(
        self, after: int, limit: int, *, todo: bool = False, most_bytes: int | None = None
    ) -> list[StoredEvent]:
        """The next events behind seq *after*, in order: at most *limit*, and none more once their bodies have
        *most_bytes* together. *todo*: only those that are not projected yet."""
        which = "todo t JOIN events USING (seq)" if todo else "events t"
        with self._engine.reading() as sql:
            rows = sql.execute(
                f"SELECT t.seq, {EVENT_COLUMNS} FROM {which} WHERE t.seq > ? ORDER BY t.seq LIMIT ?", (after, limit)
            ).fetchall()
        return opened(rows, most_bytes)

    def latest_events(self, limit: int) -> list[tuple[int, str, str, str, datetime]]:
        """The newest events, without their bodies: seq, source, key, topic, when it was received."""
        text = "SELECT seq, source, key, topic, received_at FROM events ORDER BY seq DESC LIMIT ?"
        with self._engine.reading() as sql:
            rows = sql.execute(text, (limit,)).fetchall()
        return [(seq, source, key, topic, moment(at)) for seq, source, key, topic, at in rows]

    def received(self, source: str, keys: Iterable[str]) -> dict[str, tuple[int, datetime]]:
        """Of events of *source* with these keys: seq, and when each was received first."""
        with self._engine.reading() as sql:
            rows = select(sql, "SELECT key, seq, received_at FROM events WHERE seq", _seqs(sql, source, keys))
        return {key: (seq, moment(at)) for key, seq, at in rows}

    def mentioned_in(self, seqs: Iterable[int]) -> dict[int, list[str]]:
        """Which records these events name, as far as they are projected."""
        found: dict[int, list[str]] = {}
        with self._engine.reading() as sql:
            for seq, record_id in select(sql, "SELECT seq, record_id FROM mentions WHERE seq", sorted(set(seqs))):
                found.setdefault(seq, []).append(record_id)
        return found

    def waiting(self) -> bool:
        """Whether an event is not projected yet."""
        with self._engine.reading() as sql:
            return sql.execute("SELECT 1 FROM todo LIMIT 1").fetchone() is not None

    def unseen(self, events: Iterable[Event]) -> set[tuple[str, str]]:
        """(source, key) of those of *events* that ``append`` would take as new."""
        asked = list(events)
        seen: set[tuple[str, str]] = set()
        with self._engine.reading() as sql:
            fresh = self._without_forgotten(sql, asked)
            for source in {event.source for event in fresh}:
                seqs = _seqs(sql, source, (event.key for event in fresh if event.source == source))
                seen.update(select(sql, "SELECT source, key FROM events WHERE seq", seqs))
        return {(event.source, event.key) for event in fresh} - seen

    def _without_forgotten(self, sql: Session, events: Sequence[Event]) -> Sequence[Event]:
        """*events* but those that ``forget`` took away: a late second delivery must not bring the person back."""
        if sql.execute("SELECT 1 FROM forgotten LIMIT 1").fetchone() is None:
            return events
        key = forgotten_key(sql)
        mark_of = {(event.source, event.key): forgotten_mark(key, event.source, event.key) for event in events}
        gone = {
            bytes(mark)
            for (mark,) in select(sql, "SELECT mark FROM forgotten WHERE mark", sorted(set(mark_of.values())))
        }
        return [event for event in events if mark_of[event.source, event.key] not in gone]


def _seqs(sql: Session, source: str, keys: Iterable[str]) -> list[int]:
    found = each(sql, "SELECT seq FROM events WHERE source = ? AND key =", sorted(set(keys)), source)
    return sorted(seq for seq in found.values() if seq is not None)


def forgotten_key(sql: Session) -> bytes:
    """The random key that this store was made with."""
    (text,) = sql.execute("SELECT value FROM notes WHERE owner = ? AND key = ?", FORGOTTEN_KEY).fetchone()
    return bytes.fromhex(text)


def forgotten_mark(key: bytes, source: str, event_key: str) -> bytes:
    """What is kept of an event that was forgotten: a hash that tells nothing without *key*."""
    return blake2b(f"{source}\x00{event_key}".encode(), key=key, digest_size=16).digest()


_SUMS = ("received", "duplicates", "no_affiliate", "unreadable", "undated")
_LASTS = ("last_at", "last_received_at")


def add_tallies(sql: Session, tallies: dict[str, Tally]) -> None:
    """Add to what is counted of each source."""
    changes = ", ".join(
        [f"{name} = sources.{name} + excluded.{name}" for name in _SUMS]
        + [f"{name} = greatest(sources.{name}, excluded.{name})" for name in _LASTS]
    )
    rows = [(name, *[getattr(tally, column) for column in (*_SUMS, *_LASTS)]) for name, tally in tallies.items()]
    head = f"INSERT INTO sources (source, {', '.join((*_SUMS, *_LASTS))})"
    insert(sql, head, sorted(rows), f" ON CONFLICT (source) DO UPDATE SET {changes}")
    add_hours(
        sql,
        [
            (name, hour, count, count if tally.duplicates else 0, 0)  # all of a tally are duplicates, or none
            for name, tally in tallies.items()
            for hour, count in tally.hours.items()
        ],
    )


def count_received(tally: Tally, event: Event) -> None:
    """What is read from a platform's API is no sign that webhooks still come in, and is not counted."""
    if not event.topic.startswith(API_TOPIC):
        tally.received += 1
        tally.undated += event.at == micros_of(event.received_at)  # so a source stamps what it can't read the time of
        tally.last_at = max(tally.last_at, event.at)
        received_at = micros_of(event.received_at)
        tally.last_received_at = max(tally.last_received_at, received_at)
        hour = received_at // HOUR_MICROS
        tally.hours[hour] = tally.hours.get(hour, 0) + 1


def _tallies_of_duplicates(events: Sequence[Event], new: set[tuple[str, str]]) -> dict[str, Tally]:
    tallies: dict[str, Tally] = {}
    for event in events:
        if (event.source, event.key) in new:
            new.remove((event.source, event.key))  # the first of them is new, the others are not
            continue
        tally = tallies.setdefault(event.source, Tally())
        count_received(tally, event)
        tally.duplicates += 1
    return tallies


def opened(rows: Sequence[tuple[Any, ...]], most_bytes: int | None = None) -> list[StoredEvent]:
    """Events from their rows; no more of them once their bodies have *most_bytes* together."""
    events: list[StoredEvent] = []
    size = 0
    for seq, source, key, topic, at, received_at, frame in rows:
        try:
            body = expand(frame)
        except ValueError as error:
            raise StoreDamaged(
                f"a body in the store can't be read ({error}): the store is damaged; put a backup back"
            ) from error
        events.append(StoredEvent(seq, Event(source, key, topic, at, moment(received_at), body)))
        size += len(body)
        if most_bytes is not None and size >= most_bytes:
            break
    return events
