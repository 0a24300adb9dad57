"""The store on two SQLite files: inbox and records, and what is pending for each route."""

from __future__ import annotations

import os
import queue
import sqlite3
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import Any, Generic, TypeVar

from connector.core.errors import StoreUnavailable
from connector.core.source import Event
from connector.file_lock import FileLock
from connector.store.blocks import MOST_EVENTS, Block, blocks_of, events_in
from connector.store.compression import Codec
from connector.store.database_file import DatabaseFile, LogMover, Schema
from connector.store.model import (
    WAITS_FOR,
    Batch,
    DeliveryLine,
    Forgotten,
    Known,
    Overtaken,
    Pending,
    PendingFor,
    Result,
    RouteState,
    RouteStatus,
    Saved,
    SourceStatus,
    Status,
    StoredEvent,
    StoreInUse,
    Written,
    expanded,
    unreadable,
)
from connector.store.seen_filter import SLICES, SeenFilter, SeenLately, bucket_of, split

Ticket = TypeVar("Ticket")
Deliver = Callable[[list[Any], StoreUnavailable | None], None]
"""Called from the writer thread once a group: the tickets whose events are safe on disk (error None), or those whose
events are not. Must be quick and must not raise: ``loop.call_soon_threadsafe(resolve, tickets, error)``."""


# ---------------------------------------------------------------- the files


# A block's events have the numbers up to *last*, without a gap; *received_at* is the newest's.
_blocks_table = """
CREATE TABLE blocks (
    last INTEGER PRIMARY KEY AUTOINCREMENT, events INTEGER NOT NULL, received_at INTEGER NOT NULL,
    dictionary INTEGER NOT NULL, content BLOB NOT NULL
)"""


def _into_blocks(sql: sqlite3.Connection) -> None:
    """Up to format 2 each event had a row of its own, compressed by itself."""
    codec = Codec(sql.execute("SELECT id, content FROM dictionaries ORDER BY id").fetchall())
    sql.execute(_blocks_table)
    rows = sql.execute("SELECT seq, source, key, topic, at, received_at, dictionary, body FROM events ORDER BY seq")
    run: list[Event] = []
    expected = 0
    for seq, source, key, topic, at, received_at, dictionary, body in rows:
        if run and (seq != expected or len(run) == MOST_EVENTS):
            _keep(sql, codec, expected - 1, run)
            run.clear()
        run.append(Event(source, key, topic, at, _moment(received_at), expanded(codec, dictionary, body)))
        expected = seq + 1
    if run:
        _keep(sql, codec, expected - 1, run)
    last = _last_number(sql, "events")
    sql.execute("DROP TABLE events")
    _number_from(sql, last)


def _keep(sql: sqlite3.Connection, codec: Codec, last: int, events: Sequence[Event]) -> None:
    """Keep *events*, which follow each other and of which the last has the number *last*."""
    kept = last - len(events)
    for block in blocks_of(codec, events):
        kept += len(block.events)
        sql.execute("INSERT INTO blocks VALUES (?, ?, ?, ?, ?)", (kept, *_row(block)))


def _row(block: Block) -> tuple[int, int, int, bytes]:
    newest = max([event.received_at for event in block.events])
    return len(block.events), _micros(newest), block.dictionary, block.content


_inbox_schema = Schema(
    3,
    f"""{_blocks_table};
CREATE TABLE dictionaries (id INTEGER PRIMARY KEY, content BLOB NOT NULL);
""",
    {2: _into_blocks},
)


class _Seen:
    """What is in memory of the fingerprints.

    Attributes:
        upto: the number of the last row of ``seen_lately`` that it knows; behind or ahead of the file it is void.
        new: a filter of those in ``seen_new`` and *lately*; *old*: of those in ``seen_old``.
        lately: those that are only in ``seen_lately`` as yet.
        moved: by slice: up to which row of ``seen_lately`` they have gone on to ``seen_new``.
    """

    def __init__(self, upto: int) -> None:
        self.upto = upto
        self.new, self.old = SeenFilter(), SeenFilter()
        self.lately = SeenLately()
        self.moved = [0] * SLICES

    def suspects(self, keys: Sequence[bytes]) -> set[bytes]:
        """Those of *keys* that may be in one of the tables; the others are not."""
        return {*self.new.suspects(keys), *self.old.suspects(keys)}


def _seen_in(sql: sqlite3.Connection, upto: int) -> _Seen:
    seen = _Seen(upto)
    for number, bits, moved in sql.execute("SELECT slice, bits, moved FROM seen_filters"):
        if bits:
            (seen.new if number < SLICES else seen.old).put(number % SLICES, bits)
        if number < SLICES:
            seen.moved[number] = moved
    for number, keys in sql.execute("SELECT number, keys FROM seen_lately ORDER BY number"):
        left = [key for key in split(keys) if seen.moved[key[0]] < number]
        seen.lately.add(left)
        seen.new.add(left)
    return seen


# Fingerprints are anybody's guess: one by one each would lie on a page of its own. So they gather first, in the order
# in which they come, and go on slice by slice, as many at once as fill a row of a bucket.
_seen_lately_table = "CREATE TABLE seen_lately (number INTEGER PRIMARY KEY, keys BLOB NOT NULL)"
_seen_new_table = "CREATE TABLE seen_new (place INTEGER PRIMARY KEY, keys BLOB NOT NULL)"  # see _place_of_keys
_seen_old_table = _seen_new_table.replace("seen_new", "seen_old")
_seen_filters_table = """
CREATE TABLE seen_filters (slice INTEGER PRIMARY KEY, bits BLOB NOT NULL, moved INTEGER NOT NULL)"""


def _place_of_keys(bucket: int, number: int = 0) -> int:
    """A bucket's keys lie together; *number* is that of the row of ``seen_lately`` with which they went on."""
    return bucket << 40 | number


def _put_into_buckets(sql: sqlite3.Connection, seen: _Seen, number: int) -> None:
    """Move that slice of those that came lately."""
    rows = [(_place_of_keys(bucket, seen.upto), keys) for bucket, keys in seen.lately.take(number)]
    sql.executemany("INSERT INTO seen_new VALUES (?, ?)", rows)


def _keep_filter(sql: sqlite3.Connection, made: SeenFilter, place: int, number: int) -> None:
    """That of ``seen_new`` has the first slices of the table (place 0), that of ``seen_old`` those behind them."""
    rows = [(place + each, made.slice(each), number) for each in range(SLICES)]
    sql.executemany("INSERT OR REPLACE INTO seen_filters VALUES (?, ?, ?)", [row for row in rows if row[1]])


def _into_buckets_and_places(sql: sqlite3.Connection) -> None:
    _put_keys_into_buckets(sql)
    _put_records_in_place(sql)


def _put_keys_into_buckets(sql: sqlite3.Connection) -> None:
    """Up to format 4 each fingerprint had a row of its own."""
    sql.execute("DROP TABLE IF EXISTS seen_filters")
    for table in ("seen_lately", "seen_new", "seen_old"):
        sql.execute(f"ALTER TABLE {table} RENAME TO {table}_one_by_one")
    for statement in (_seen_lately_table, _seen_new_table, _seen_old_table, _seen_filters_table):
        sql.execute(statement)
    lately = sql.execute("SELECT key FROM seen_lately_one_by_one").fetchall()
    sql.execute("INSERT INTO seen_lately VALUES (1, ?)", (b"".join([key for (key,) in lately]),))
    for table, first_slice in (("seen_new", 0), ("seen_old", SLICES)):
        made = SeenFilter()
        rows = sql.execute(f"SELECT key FROM {table}_one_by_one ORDER BY key")  # noqa: S608 - constants
        for bucket, some in groupby((key for (key,) in rows), bucket_of):
            keys = list(some)
            made.add(keys)
            place = _place_of_keys(bucket)
            sql.execute(f"INSERT INTO {table} VALUES (?, ?)", (place, b"".join(keys)))  # noqa: S608 - constants
        _keep_filter(sql, made, first_slice, 0)
    for table in ("seen_lately", "seen_new", "seen_old"):
        sql.execute(f"DROP TABLE {table}_one_by_one")
    sql.execute("DELETE FROM state WHERE name IN ('seen_lately', 'seen_slice')")
    sql.execute("INSERT INTO state VALUES ('seen_upto', 1)")


# A record lies where its id says (see _place), so that it is found in one page; without that its number is looked up
# first, in an index that is anywhere, too.
_records_table = """
CREATE TABLE records (
    place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, dictionary INTEGER NOT NULL,
    facts BLOB NOT NULL
)"""


def _place(record_id: str) -> int:
    """Where a record lies unless another one lies there: those of one source together, in the order of the platform's
    numbers, so that who signed up at a time is found together."""
    source, _, key = record_id.partition(":")
    if key.isascii() and key.isdigit() and len(key) <= 14:
        return _shelf(source) | int(key)
    return _shelf(source) | int.from_bytes(blake2b(key.encode(), digest_size=6).digest())


@cache
def _shelf(source: str) -> int:
    return (zlib.crc32(source.encode()) & 0x7FFF) << 48


def _put_records_in_place(sql: sqlite3.Connection) -> None:
    """Up to format 4 records lay in the order in which they came."""
    sql.execute("ALTER TABLE records RENAME TO records_as_they_came")
    sql.execute(_records_table)
    sql.create_function("place", 1, _place, deterministic=True)
    sql.execute(
        "INSERT OR IGNORE INTO records SELECT place(id), id, version, dictionary, facts FROM records_as_they_came"
        " ORDER BY id"
    )
    misplaced = sql.execute(
        "INSERT INTO records (id, version, dictionary, facts) SELECT id, version, dictionary, facts"
        " FROM records_as_they_came WHERE id NOT IN (SELECT id FROM records)"
    ).rowcount
    sql.execute("DROP TABLE records_as_they_came")
    sql.execute("INSERT INTO state VALUES ('misplaced', ?)", (misplaced,))


_records_schema = Schema(
    5,
    f"""
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO state VALUES ('cursor', 0), ('records', 0), ('generation', 0), ('generation_began', 0),
    ('owed_by_visitors', 0), ('seen_upto', 0), ('misplaced', 0);
CREATE TABLE dictionaries (id INTEGER PRIMARY KEY, content BLOB NOT NULL);
{_seen_lately_table};
{_seen_new_table};
{_seen_old_table};
{_seen_filters_table};
{_records_table};
CREATE TABLE mentions (seq INTEGER NOT NULL, record_id TEXT NOT NULL, PRIMARY KEY (seq, record_id)) WITHOUT ROWID;
CREATE TABLE sources (
    source TEXT PRIMARY KEY, received INTEGER NOT NULL, duplicates INTEGER NOT NULL, no_affiliate INTEGER NOT NULL,
    unreadable INTEGER NOT NULL, last_at INTEGER NOT NULL, last_received_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE routes (
    route TEXT PRIMARY KEY, kind TEXT NOT NULL DEFAULT 'ok', reason TEXT NOT NULL DEFAULT '', paused_until INTEGER,
    failures INTEGER NOT NULL DEFAULT 0, since INTEGER, delivered_at INTEGER
) WITHOUT ROWID;
CREATE TABLE pending (
    route TEXT NOT NULL, record_id TEXT NOT NULL, version INTEGER NOT NULL, due_at INTEGER NOT NULL,
    since INTEGER NOT NULL, lease_until INTEGER NOT NULL DEFAULT 0, token TEXT, tries INTEGER NOT NULL DEFAULT 0,
    failing_since INTEGER, reason TEXT NOT NULL DEFAULT '', isolated INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (route, record_id)
) WITHOUT ROWID;
CREATE TABLE written (
    route TEXT NOT NULL, key TEXT NOT NULL, record_id TEXT NOT NULL, version INTEGER NOT NULL, at INTEGER NOT NULL,
    cells TEXT NOT NULL, PRIMARY KEY (route, key)
) WITHOUT ROWID;
CREATE INDEX written_by_record ON written (route, record_id);
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY, route TEXT NOT NULL, record_id TEXT NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL,
    at INTEGER NOT NULL, kind TEXT NOT NULL, code TEXT NOT NULL, cells TEXT NOT NULL
);
CREATE TABLE notes (sink TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (sink, key)) WITHOUT ROWID;
""",  # noqa: S608 - the tables above
    {
        1: """
CREATE TABLE IF NOT EXISTS seen_lately (key BLOB PRIMARY KEY) WITHOUT ROWID;
INSERT OR IGNORE INTO state VALUES ('seen_lately', 0), ('seen_slice', 0);
""",
        4: _into_buckets_and_places,
    },
)


def _micros(moment: datetime) -> int:
    return (moment - _epoch) // _microsecond


def _moment(micros: int) -> datetime:
    return _epoch + timedelta(microseconds=micros)


def _micros_or_none(moment: datetime | None) -> int | None:
    return None if moment is None else _micros(moment)


def _moment_or_none(micros: int | None) -> datetime | None:
    return _moment(micros) if micros else None


_epoch = datetime(1970, 1, 1, tzinfo=UTC)
_microsecond = timedelta(microseconds=1)


# ---------------------------------------------------------------- the face


def open_store(url: str, *, worker: bool, now: Callable[[], datetime]) -> Store:
    """The store at *url*, made when it is not there.

    Args:
        url: ``sqlite:///relative/path.db`` or ``sqlite:////absolute/path.db`` (or just a path).
        worker: True for the one process that projects and delivers (``serve``, ``drain``); it holds the store's lock.
            False for a visitor (``status``, ``dead-letters replay``, ``backfill``), who may look, append and owe
            while a worker runs.
        now: aware UTC.

    Raises:
        StoreInUse: another worker has it.
        StoreDamaged: a file is damaged or not ours; it is not changed.
        StoreUnavailable: it can't be opened or made.
    """
    path = Path(url.removeprefix("sqlite:///"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable.at(path.parent, "can't be made", error) from error
    return Store(path, worker=worker, now=now)


def worker_of(url: str) -> str | None:
    """Which worker holds the store at *url*, in this process or another, as it calls itself; None: nobody does.

    Makes nothing. It takes the lock for a moment, which a worker that starts then waits out.
    """
    lock = FileLock(_lock_path(Path(url.removeprefix("sqlite:///"))))
    if not lock.path.exists():
        return None
    try:
        if not lock.acquire(wait=False):
            return lock.read_note() or "unknown"
    except OSError:
        return None
    lock.release()
    return None


def _lock_path(store: Path) -> Path:
    return store.with_name(f"{store.name}.lock")


class Store:
    """See the module's head for who calls what. Every method may be called from any thread.

    Everything raises StoreUnavailable when the disk is full, the files are gone or locked for too long; the next call
    tries afresh, so the program recovers without a restart.
    """

    def __init__(self, path: Path, *, worker: bool, now: Callable[[], datetime]) -> None:
        self._now = now
        self._lock = FileLock(_lock_path(path)) if worker else None
        self._intake: _Intake[Any] | None = None
        self._mover: LogMover | None = None
        self._on_append: list[Callable[[], None]] = []
        self._on_pending: list[Callable[[], None]] = []
        self._foreign = threading.Lock()
        self._closed = False
        self._noticed: tuple[int | None, int] | None = None
        self._seen: _Seen | None = None  # only with the records' file held for writing
        self._seen_used = False
        if self._lock is not None:
            _hold(self._lock, path)
        opened: list[DatabaseFile] = []
        try:
            # The inbox is written at its end only, the records anywhere. A visitor appends, or looks once: what it has
            # seen it does not need again.
            inbox_kib, records_kib = (2048, 14_336) if worker else (512, 512)
            inbox_path = path.with_name(f"{path.stem}-inbox{path.suffix}")
            self._inbox = DatabaseFile(inbox_path, _inbox_schema, cache_kib=inbox_kib, upgrade=worker)
            opened.append(self._inbox)
            self._records = DatabaseFile(path, _records_schema, cache_kib=records_kib, upgrade=worker)
            opened.append(self._records)
            self._codec = Codec(self._dictionaries(self._inbox))
            self._facts_codec = Codec(self._dictionaries(self._records))
            if worker:
                self._mend()
                self._mover = LogMover(opened)
        except BaseException:
            for file in opened:
                file.close()
            if self._lock is not None:
                self._lock.release()
            raise

    def close(self) -> None:
        """Finish what was submitted, then let go of the files. Threads that use it must have ended."""
        if self._closed:
            return
        self._closed = True
        if self._intake is not None:
            self._intake.close()
        if self._mover is not None:
            self._mover.close()
        self._inbox.close()
        self._records.close()
        if self._lock is not None:
            self._lock.release()

    def on_append(self, callback: Callable[[], None]) -> None:
        """Call *callback* (quick, must not raise) whenever events have been committed to the inbox."""
        self._on_append.append(callback)

    def on_pending(self, callback: Callable[[], None]) -> None:
        """Call *callback* (quick, must not raise) whenever routes may owe more than before."""
        self._on_pending.append(callback)

    def notice_others(self) -> bool:
        """Whether another process has written since the last call; if so the callbacks run. Cheap: ask now and then."""
        with self._inbox.reading() as sql:
            (last,) = sql.execute("SELECT max(last) FROM blocks").fetchone()
        with self._records.reading() as sql:
            pending = _state(sql, "owed_by_visitors")
        with self._foreign:
            before, self._noticed = self._noticed, (last, pending)
        if before == self._noticed:
            return False
        for callback in (*self._on_append, *self._on_pending):
            callback()
        return True

    # ------------------------------------------------ inbox

    def start_intake(self, deliver: Deliver, *, limit: int = 10_000) -> None:
        """Start the writer thread; *limit* events may wait for it, or 64 MiB of bodies, before ``submit`` refuses
        more."""
        assert self._intake is None, "the intake runs already"
        self._intake = _Intake(self._insert, deliver, self._appended, limit)

    def submit(self, events: Sequence[Event], tickets: Sequence[object]) -> None:
        """Hand over *events*; ``deliver`` will be called with each one's ticket, among a group. Never blocks.

        Raises:
            StoreUnavailable: too many wait already; none of these was taken.
        """
        assert self._intake is not None, "start_intake comes first"
        self._intake.submit(events, tickets)

    def intake_pressed(self) -> bool:
        """Whether requests press: many events were committed within a moment, just now."""
        return self._share() < 1.0

    def give_way(self, used_seconds: float, wait: Callable[[float], bool]) -> bool:
        """Whoever works behind the answers calls this between its steps: while requests press, it takes a tenth of the
        time only; a fiftieth while thousands come in a second. Python runs one thread at a time: what is done now is
        answered later. The inbox keeps it meanwhile.

        Args:
            used_seconds: processor time of the step before, or what the next is going to take.
            wait: sleeps for so many seconds and tells whether the program stops: the stop event's.

        Returns:
            Whether the program stops.
        """
        began = time.monotonic()
        while (share := self._share()) < 1.0:
            left = began + used_seconds * (1.0 / share - 1.0) - time.monotonic()
            if left <= 0:
                break
            if wait(min(left, _moment_seconds)):
                return True
        return False

    def _share(self) -> float:
        return 1.0 if self._intake is None else self._intake.pressure.share(time.monotonic())

    def append(self, events: Sequence[Event]) -> None:
        """Commit *events* to the inbox before returning: backfill, replay and tests."""
        self._insert(events)
        self._appended()

    def read_events(self, after: int, limit: int, *, most_bytes: int | None = None) -> list[StoredEvent]:
        """The next events behind seq *after*, in order: at most *limit*, and none more once their bodies have
        *most_bytes* together."""
        events: list[StoredEvent] = []
        size = 0
        with self._inbox.reading() as sql:
            rows = sql.execute("SELECT last, dictionary, content FROM blocks WHERE last > ? ORDER BY last", (after,))
            for row in rows:
                for stored in self._opened(row):
                    if stored.seq <= after:
                        continue
                    events.append(stored)
                    size += len(stored.event.body)
                    if len(events) >= limit or (most_bytes is not None and size >= most_bytes):
                        rows.close()
                        return events
        return events

    def _opened(self, row: tuple[int, int, bytes]) -> list[StoredEvent]:
        last, dictionary, content = row
        try:
            events = events_in(self._codec, dictionary, content)
        except ValueError as error:
            raise unreadable(error) from error
        return [StoredEvent(seq, event) for seq, event in enumerate(events, last - len(events) + 1)]

    def _insert(self, events: Sequence[Event]) -> None:
        blocks = list(blocks_of(self._codec, events))
        if blocks:
            statements = [_insert_blocks(some) for some in _slices(blocks, _blocks_in_statement)]
            self._inbox.write(statements, rows=len(events))

    def _appended(self) -> None:
        for callback in self._on_append:
            callback()

    # ------------------------------------------------ projection

    def cursor(self) -> int:
        """The seq of the last event that has been projected."""
        with self._records.reading() as sql:
            return _state(sql, "cursor")

    def unseen(self, keys: Iterable[bytes]) -> set[bytes]:
        """Those of the fingerprints that were not seen before."""
        fresh = set(keys)
        with self._records.reading_to_write() as sql:
            seen = self._seen_until_now(sql)
            for key in seen.suspects(list(fresh)):
                bucket = bucket_of(key)
                bounds = (_place_of_keys(bucket), _place_of_keys(bucket + 1))
                if key in seen.lately or any(key in some for (some,) in sql.execute(_in_bucket, bounds * 2)):
                    fresh.remove(key)
        return fresh

    def load(self, record_ids: Iterable[str]) -> dict[str, Known]:
        """The records of those ids that exist."""
        known: dict[str, Known] = {}
        with self._records.reading_to_write() as sql:
            wanted = set(record_ids)
            by_place = not _state(sql, "misplaced")
            column = "place" if by_place else "id"
            for some in _slices(sorted(map(_place, wanted)) if by_place else sorted(wanted), 500):
                rows = sql.execute(
                    f"SELECT id, version, dictionary, facts FROM records WHERE {column} IN ({_marks(some)})",  # noqa: S608
                    some,
                )
                for record_id, version, dictionary, facts in rows:
                    if record_id in wanted:
                        known[record_id] = Known(version, dictionary, facts, self._facts_codec)
        return known

    def commit(self, batch: Batch) -> None:
        """All of *batch* or nothing; then every route owes the records that say something new.

        Raises:
            Overtaken: the cursor is no longer at ``batch.after``, or a record was taken away: read again.
        """
        now = _micros(self._now())
        rows = sorted(
            [(_place(s.record_id), s, *self._facts_codec.shrink(s.facts)) for s in batch.records],
            key=lambda row: row[0],
        )
        pending = [(s.record_id, s.version, now, now) for s in batch.records if s.version != s.before]
        with self._records.writing() as sql:
            if _state(sql, "cursor") != batch.after:
                raise Overtaken("the projection has moved on")
            if batch.events is not None and batch.events != self._count_events(batch.after, batch.upto):
                raise Overtaken("an event was taken away meanwhile")
            self._note_seen(sql, batch.seen)
            self._keep_records(sql, rows)
            if pending:
                sql.executemany(
                    "INSERT INTO pending (route, record_id, version, due_at, since)"  # noqa: S608 - a constant
                    " SELECT route, ?, ?, ?, ? FROM routes WHERE true"
                    # What waits for a value that it lacks may have it now.
                    " ON CONFLICT (route, record_id) DO UPDATE SET version = excluded.version, due_at ="
                    f" CASE WHEN pending.reason LIKE '{WAITS_FOR}%' THEN excluded.due_at ELSE pending.due_at END",
                    pending,
                )
            sql.executemany("INSERT OR IGNORE INTO mentions VALUES (?, ?)", batch.mentions)
            for source, tally in batch.tallies.items():
                sql.execute(
                    "INSERT INTO sources VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (source) DO UPDATE SET"
                    " received = received + excluded.received, duplicates = duplicates + excluded.duplicates,"
                    " no_affiliate = no_affiliate + excluded.no_affiliate,"
                    " unreadable = unreadable + excluded.unreadable,"
                    " last_at = max(last_at, excluded.last_at),"
                    " last_received_at = max(last_received_at, excluded.last_received_at)",
                    (
                        source, tally.received, tally.duplicates, tally.no_affiliate, tally.unreadable,
                        tally.last_at, tally.last_received_at,
                    ),
                )  # fmt: skip
            _set_state(sql, "cursor", batch.upto)
        if pending:
            self._owed()

    def _keep_records(self, sql: sqlite3.Connection, rows: Sequence[tuple[int, Saved, int, bytes]]) -> None:
        """*rows* are (place, record, dictionary, shrunk facts), in the order of the places."""
        before = _changes(sql)
        by_place = not _state(sql, "misplaced")
        sql.executemany(
            "UPDATE records SET version = ?, dictionary = ?, facts = ? WHERE"  # noqa: S608 - constants
            f" {'place' if by_place else 'id'} = ? AND id = ? AND version = ?",
            [
                (s.version, dictionary, facts, place if by_place else s.record_id, s.record_id, s.before)
                for place, s, dictionary, facts in rows
                if s.before
            ],
        )
        new = [
            (place, s.record_id, s.version, dictionary, facts) for place, s, dictionary, facts in rows if not s.before
        ]
        sql.executemany("INSERT OR IGNORE INTO records VALUES (?, ?, ?, ?, ?)", new)
        if _changes(sql) - before != len(rows):
            misplaced = sql.executemany(
                "INSERT OR IGNORE INTO records VALUES (NULL, ?, ?, ?, ?)", [row[1:] for row in new]
            )
            if _changes(sql) - before != len(rows):
                raise Overtaken("a record was changed by somebody else meanwhile")
            _add_to_state(sql, "misplaced", misplaced.rowcount)
        if new:
            _add_to_state(sql, "records", len(new))

    def _seen_until_now(self, sql: sqlite3.Connection) -> _Seen:
        """Its filters may know more than the tables: then these are asked in vain."""
        self._seen_used = True
        upto = _state(sql, "seen_upto")
        if self._seen is None or self._seen.upto != upto:  # what was noted last was not committed
            self._seen = _seen_in(sql, upto)
        return self._seen

    def _note_seen(self, sql: sqlite3.Connection, keys: Sequence[bytes]) -> None:
        if not keys:
            return
        seen = self._seen_until_now(sql)
        seen.upto += 1
        _set_state(sql, "seen_upto", seen.upto)
        sql.execute("INSERT INTO seen_lately VALUES (?, ?)", (seen.upto, b"".join(keys)))
        seen.lately.add(keys)
        seen.new.add(keys)
        while seen.lately.count > _most_lately:
            self._move_slice(sql, seen, seen.moved.index(min(seen.moved)))
        sql.execute("DELETE FROM seen_lately WHERE number <= ?", (min(seen.moved),))

    def _move_slice(self, sql: sqlite3.Connection, seen: _Seen, number: int) -> None:
        _put_into_buckets(sql, seen, number)
        bits = seen.new.slice(number)
        sql.execute("INSERT OR REPLACE INTO seen_filters VALUES (?, ?, ?)", (number, bits, seen.upto))
        seen.moved[number] = seen.upto

    def _count_events(self, after: int, upto: int) -> int:
        with self._inbox.reading() as sql:
            (count,) = sql.execute(
                "SELECT total(min(last, :upto) - max(last - events, :after)) FROM blocks"
                " WHERE last > :after AND last - events < :upto AND last < :upto + :most",
                {"after": after, "upto": upto, "most": MOST_EVENTS},
            ).fetchone()
        return int(count)

    # ------------------------------------------------ routes

    def enroll(self, routes: Sequence[str]) -> list[str]:
        """Make *routes* the ones that are pending to.

        A new one owes every record (a full sync); one that is not named any more is dropped with what it pending.

        Returns:
            The new ones.
        """
        now = _micros(self._now())
        with self._records.writing() as sql:
            known = {route for (route,) in sql.execute("SELECT route FROM routes")}
            for route in sorted(known - set(routes)):
                for table in ("pending", "written", "deliveries", "routes"):
                    sql.execute(f"DELETE FROM {table} WHERE route = ?", (route,))  # noqa: S608 - constant names
            new = [route for route in routes if route not in known]
            for route in new:
                sql.execute("INSERT INTO routes (route) VALUES (?)", (route,))
                _owe_all(sql, route, now)
        self._owed()
        return new

    def routes(self) -> list[str]:
        """The enrolled routes, by name."""
        with self._records.reading() as sql:
            return [route for (route,) in sql.execute("SELECT route FROM routes ORDER BY route")]

    def resync(self, route: str) -> int:
        """Forget what *route* has written and owe it every record.

        Returns:
            How many records.

        Raises:
            KeyError: no such route is enrolled.
        """
        with self._records.writing() as sql:
            if sql.execute("SELECT 1 FROM routes WHERE route = ?", (route,)).fetchone() is None:
                raise KeyError(route)
            sql.execute("DELETE FROM written WHERE route = ?", (route,))
            sql.execute("UPDATE routes SET paused_until = NULL WHERE route = ?", (route,))
            count = _owe_all(sql, route, _micros(self._now()))
            _set_state(sql, "owed_by_visitors", _state(sql, "owed_by_visitors") + 1)
        self._owed()
        return count

    def enqueue_all(self, route: str) -> int:
        """Owe every record to *route* again, due now; what it has written stays known, so equal rows cost no call.

        Returns:
            How many records.
        """
        with self._records.writing() as sql:
            count = _owe_all(sql, route, _micros(self._now()))
        self._owed()
        return count

    def enqueue(self, route: str, record_ids: Iterable[str]) -> int:
        """Owe those records to *route* again, due now, even if nothing is new; unknown ids and routes are passed over.

        Returns:
            How many are pending now because of this call.
        """
        now = _micros(self._now())
        count = 0
        with self._records.writing() as sql:
            for record_id in record_ids:
                count += sql.execute(
                    "INSERT INTO pending (route, record_id, version, due_at, since)"
                    " SELECT routes.route, records.id, records.version, ?, ? FROM routes, records"
                    " WHERE routes.route = ? AND records.id = ?"
                    " ON CONFLICT (route, record_id) DO UPDATE SET"
                    " due_at = excluded.due_at, tries = 0, failing_since = NULL, isolated = 0",
                    (now, now, route, record_id),
                ).rowcount
            _set_state(sql, "owed_by_visitors", _state(sql, "owed_by_visitors") + 1)
        self._owed()
        return count

    def take(
        self, route: str, limit: int, *, lease: timedelta, after: str = "", isolated: bool = False
    ) -> list[Pending]:
        """Lease up to *limit* due records, in the order of their ids, beginning behind *after* and going round.

        Going round keeps a few busy records at the head from starving the rest. *isolated*: those that are sent in
        calls of their own, or the others.
        """
        now = self._now()
        at, token = _micros(now), uuid.uuid4().hex
        found: list[tuple[Any, ...]] = []
        with self._records.writing() as sql:
            for first, last in ((after, "\U0010ffff"), ("", after)):
                if len(found) < limit and first < last:
                    found += sql.execute(
                        "SELECT record_id, r.version, r.dictionary, r.facts, tries, since, failing_since,"
                        " isolated FROM pending CROSS JOIN records r ON r.id = record_id"
                        " WHERE route = ? AND record_id > ? AND record_id <= ? AND due_at <= ? AND lease_until <= ?"
                        " AND isolated = ? ORDER BY record_id LIMIT ?",
                        (route, first, last, at, at, int(isolated), limit - len(found)),
                    ).fetchall()
            until = _micros(now + lease)
            sql.executemany(
                "UPDATE pending SET lease_until = ?, token = ? WHERE route = ? AND record_id = ?",
                [(until, token, route, row[0]) for row in found],
            )
        moment = cache(_moment)  # many came to be pending at once: one object for them all
        return [
            Pending(
                record_id, version, expanded(self._facts_codec, dictionary, facts), token, tries, moment(since),
                _moment_or_none(failing_since), bool(isolated),
            )
            for record_id, version, dictionary, facts, tries, since, failing_since, isolated in found
        ]  # fmt: skip

    def next_due(self, route: str) -> datetime | None:
        """When ``take`` will find something next: now or past when it would at once; None when nothing is pending."""
        with self._records.reading() as sql:
            (at,) = sql.execute(
                "SELECT min(max(due_at, lease_until)) FROM pending WHERE route = ?", (route,)
            ).fetchone()
        return None if at is None else _moment(at)

    def finish(self, route: str, results: Sequence[Result], *, delivered: bool = False) -> None:
        """Settle what was sent, keep pending what was not; one transaction. *delivered*: the far side took a call.

        Only the version that was sent is settled: what changed meanwhile stays pending. A record whose lease somebody
        else has taken since is not settled, and what it has written is forgotten: our late answer can't tell which of
        two writes came last, so the next delivery writes it in full.
        """
        now = _micros(self._now())
        with self._records.writing() as sql:
            for result in results:
                record_id = result.record_id
                pending = sql.execute(
                    "SELECT version, token FROM pending WHERE route = ? AND record_id = ?", (route, record_id)
                ).fetchone()
                if pending is None or pending[1] != result.token:
                    for key in result.written:
                        sql.execute("DELETE FROM written WHERE route = ? AND key = ?", (route, key))
                    if (
                        pending is None
                    ):  # settled by the other holder; INSERT finds nothing when the record is forgotten
                        sql.execute(
                            "INSERT INTO pending (route, record_id, version, due_at, since)"
                            " SELECT routes.route, records.id, records.version, ?, ? FROM routes, records"
                            " WHERE routes.route = ? AND records.id = ?",
                            (now, now, route, record_id),
                        )
                    continue
                sql.executemany(
                    "INSERT INTO written (route, key, record_id, version, at, cells) VALUES (?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT (route, key) DO UPDATE SET record_id = excluded.record_id,"
                    " version = excluded.version, at = excluded.at, cells = excluded.cells",
                    [(route, key, record_id, result.version, now, cells) for key, cells in result.written.items()],
                )
                for key in result.removed:
                    sql.execute("DELETE FROM written WHERE route = ? AND key = ?", (route, key))
                sql.executemany(
                    "INSERT INTO deliveries (route, record_id, key, version, at, kind, code, cells)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [
                        (route, record_id, line.key, result.version, now, line.kind, line.code, line.cells)
                        for line in result.log
                    ],
                )
                self._settle(sql, route, result, changed=pending[0] > result.version, now=now)
            if delivered:
                sql.execute("UPDATE routes SET delivered_at = ? WHERE route = ?", (now, route))

    def clock_was_set_back(self, *, ahead_by: timedelta = timedelta(0)) -> None:
        """What lies ahead, by more than *ahead_by*, was noted by a clock that was wrong, and counts as of now: else a
        record or a route would wait until the right clock comes there."""
        now = self._now()
        at, limit = _micros(now), _micros(now + ahead_by)
        with self._records.writing() as sql:
            for table, column in (
                ("routes", "paused_until"), ("routes", "since"), ("pending", "due_at"), ("pending", "since"),
                ("pending", "failing_since"), ("sources", "last_received_at"),
            ):  # fmt: skip
                sql.execute(f"UPDATE {table} SET {column} = ? WHERE {column} > ?", (at, limit))  # noqa: S608 - constants
            sql.execute("UPDATE state SET value = ? WHERE name = 'generation_began' AND value > ?", (at, limit))
        self._owed()

    def isolate(self, route: str, record_ids: Iterable[str], due_at: datetime) -> None:
        """From now on these are sent in calls of their own, not before *due_at*: each made a whole call fail while
        another record's succeeded."""
        now, due = _micros(self._now()), _micros(due_at)
        with self._records.writing() as sql:
            sql.executemany(
                "UPDATE pending SET isolated = 1, due_at = ?, tries = max(tries, 1), failing_since = ?"
                " WHERE route = ? AND record_id = ? AND isolated = 0",
                [(due, now, route, record_id) for record_id in record_ids],
            )

    def _settle(self, sql: sqlite3.Connection, route: str, result: Result, *, changed: bool, now: int) -> None:
        where = (route, result.record_id)
        if result.later is not None:
            sql.execute(
                "UPDATE pending SET lease_until = 0, token = NULL, due_at = ?, reason = ?, tries = tries + ?,"
                " isolated = ?, failing_since = CASE WHEN ? THEN coalesce(failing_since, ?) ELSE failing_since END"
                " WHERE route = ? AND record_id = ?",
                (
                    _micros(result.later.due_at), result.later.reason, int(result.later.failed),
                    int(result.later.isolated), result.later.failed, now, *where,
                ),
            )  # fmt: skip
        elif changed:
            sql.execute(
                "UPDATE pending SET lease_until = 0, token = NULL, due_at = ?, since = ?, tries = 0, reason = '',"
                " failing_since = NULL, isolated = 0 WHERE route = ? AND record_id = ?",
                (now, now, *where),
            )
        else:
            sql.execute("DELETE FROM pending WHERE route = ? AND record_id = ?", where)

    def written(self, route: str, record_ids: Iterable[str], keys: Iterable[str] = ()) -> list[Written]:
        """What *route* last wrote for those records, and under those row keys whoever wrote them."""
        found: dict[str, Written] = {}
        with self._records.reading() as sql:
            for column, wanted in (("record_id", record_ids), ("key", keys)):
                for some in _slices(sorted(set(wanted)), 500):
                    rows = sql.execute(
                        f"SELECT key, record_id, cells FROM written WHERE route = ?"  # noqa: S608 - a constant name
                        f" AND {column} IN ({_marks(some)})",
                        (route, *some),
                    )
                    found.update((key, Written(key, record_id, cells)) for key, record_id, cells in rows)
        return list(found.values())

    def route_state(self, route: str) -> RouteState:
        """How *route* fares; ``well`` for one that is not enrolled."""
        with self._records.reading() as sql:
            row = sql.execute(
                "SELECT kind, reason, paused_until, failures, since, delivered_at FROM routes WHERE route = ?", (route,)
            ).fetchone()
        return RouteState() if row is None else _route_state(row)

    def set_route_state(self, route: str, state: RouteState) -> None:
        """Keep how *route* fares (but ``delivered_at``, which ``finish`` keeps)."""
        with self._records.writing() as sql:
            sql.execute(
                "UPDATE routes SET kind = ?, reason = ?, paused_until = ?, failures = ?, since = ? WHERE route = ?",
                (
                    state.kind, state.reason, _micros_or_none(state.paused_until), state.failures,
                    _micros_or_none(state.since), route,
                ),
            )  # fmt: skip

    # ------------------------------------------------ sinks' notes

    def recall(self, sink: str, key: str) -> str | None:
        """What ``remember`` last kept for that sink under *key*."""
        with self._records.reading() as sql:
            row = sql.execute("SELECT value FROM notes WHERE sink = ? AND key = ?", (sink, key)).fetchone()
        return None if row is None else str(row[0])

    def remember(self, sink: str, key: str, value: str | None) -> None:
        """Keep a note for a sink; None forgets it."""
        with self._records.writing() as sql:
            if value is None:
                sql.execute("DELETE FROM notes WHERE sink = ? AND key = ?", (sink, key))
            else:
                sql.execute("INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", (sink, key, value))

    # ------------------------------------------------ for people

    def status(self) -> Status:
        """How everything stands. Counts what is pending, never the events."""
        with self._inbox.reading() as sql:
            last = _last_number(sql, "blocks")
        with self._records.reading() as sql:
            pending = {
                route: (count, retrying, since, waiting)
                for route, count, retrying, since, waiting in sql.execute(
                    "SELECT route, count(*) FILTER (WHERE reason NOT LIKE ?1), sum(tries > 0),"
                    " min(since) FILTER (WHERE reason NOT LIKE ?1), count(*) FILTER (WHERE reason LIKE ?1)"
                    " FROM pending GROUP BY route",
                    (f"{WAITS_FOR}%",),
                )
            }
            routes = []
            for route, rows, *state in sql.execute(
                "SELECT route, (SELECT count(*) FROM written w WHERE w.route = r.route), kind, reason, paused_until,"
                " failures, since, delivered_at FROM routes r ORDER BY route"
            ):
                count, retrying, since, waiting = pending.get(route, (0, 0, None, 0))
                state_ = _route_state(tuple(state))
                routes.append(RouteStatus(route, count, retrying, _moment_or_none(since), rows, state_, waiting))
            sources = tuple(
                SourceStatus(name, received, duplicates, none, unreadable, _moment_or_none(at), _moment_or_none(came))
                for name, received, duplicates, none, unreadable, at, came in sql.execute(
                    "SELECT source, received, duplicates, no_affiliate, unreadable, last_at, last_received_at"
                    " FROM sources ORDER BY source"
                )
            )
            cursor, records = _state(sql, "cursor"), _state(sql, "records")
        return Status(records, max(0, last - cursor), last, sources, tuple(routes))

    def record_ids(self, after: str = "", limit: int = 1000) -> list[str]:
        """A page of the ids of all records, in order."""
        with self._records.reading() as sql:
            rows = sql.execute("SELECT id FROM records WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
            return [record_id for (record_id,) in rows]

    def events_of(self, record_id: str) -> list[StoredEvent]:
        """The events still kept that spoke of that record, oldest first. Reads through all mentions: for people."""
        with self._records.reading() as sql:
            seqs = {seq for (seq,) in sql.execute("SELECT seq FROM mentions WHERE record_id = ?", (record_id,))}
        events: list[StoredEvent] = []
        with self._inbox.reading() as sql:
            for block in self._blocks_with(sql, seqs):
                events += [stored for stored in block if stored.seq in seqs]
        return events

    def _blocks_with(self, sql: sqlite3.Connection, seqs: Set[int]) -> Iterator[list[StoredEvent]]:
        """The events of each block that has one of *seqs*."""
        last = 0
        for seq in sorted(seqs):
            if seq <= last:
                continue
            row = sql.execute(
                "SELECT last, dictionary, content, events FROM blocks WHERE last >= ? ORDER BY last LIMIT 1", (seq,)
            ).fetchone()
            if row is None:
                return
            *block, count = row
            if seq > block[0] - count:
                last = block[0]
                yield self._opened(tuple(block))

    def deliveries_of(self, record_id: str) -> list[DeliveryLine]:
        """That record's deliveries still kept, oldest first. Reads through the whole log: for people."""
        with self._records.reading() as sql:
            rows = sql.execute(
                "SELECT route, record_id, key, version, at, kind, code, cells FROM deliveries"
                " WHERE record_id = ? ORDER BY id",
                (record_id,),
            ).fetchall()
        return [
            DeliveryLine(route, whose, key, version, _moment(at), kind, code, cells)
            for route, whose, key, version, at, kind, code, cells in rows
        ]

    def pending_of(self, record_id: str) -> list[PendingFor]:
        """Which routes still owe that record."""
        with self._records.reading() as sql:
            rows = sql.execute(
                "SELECT route, since, due_at, tries, reason FROM pending WHERE record_id = ? ORDER BY route",
                (record_id,),
            ).fetchall()
        return [
            PendingFor(route, _moment(since), _moment(due), tries, reason) for route, since, due, tries, reason in rows
        ]

    # ------------------------------------------------ forgetting a person

    def mentions_of(self, record_ids: Iterable[str]) -> set[int]:
        """The seqs of events that are known to have spoken of those records. Reads through all mentions."""
        seqs: set[int] = set()
        with self._records.reading() as sql:
            for record_id in record_ids:
                seqs.update(seq for (seq,) in sql.execute("SELECT seq FROM mentions WHERE record_id = ?", (record_id,)))
        return seqs

    def under_way(self, record_ids: Iterable[str]) -> bool:
        """Whether a route is delivering one of those records at the moment."""
        now = _micros(self._now())
        with self._records.reading() as sql:
            return any(
                sql.execute(
                    "SELECT 1 FROM pending WHERE record_id = ? AND token IS NOT NULL AND lease_until > ?",
                    (record_id, now),
                ).fetchone()
                for record_id in record_ids
            )

    def forget(self, record_ids: Sequence[str], seqs: Iterable[int]) -> Forgotten:
        """Take away these events of the inbox, these records, and all that was kept of their deliveries.

        The events go first: a projection on its way finds that they are gone and begins anew (see ``commit``). That
        an event was seen stays known, by a hash, so that its second delivery does not bring the person back.
        What the files still hold in unused places goes with ``erase``.
        """
        gone = sorted(set(seqs))
        events = deliveries = records = 0
        rows: dict[str, set[str]] = {}
        for some in _slices(gone, 500):
            with self._inbox.deleting() as sql:
                events += self._take_out(sql, set(some))
        with self._records.deleting() as sql:
            sql.executemany("DELETE FROM mentions WHERE seq = ?", [(seq,) for seq in gone])
            for record_id in record_ids:
                for route, key in sql.execute("SELECT route, key FROM written WHERE record_id = ?", (record_id,)):
                    rows.setdefault(route, set()).add(key)
                for table in ("mentions", "pending", "written"):
                    sql.execute(f"DELETE FROM {table} WHERE record_id = ?", (record_id,))  # noqa: S608 - constants
                deliveries += sql.execute("DELETE FROM deliveries WHERE record_id = ?", (record_id,)).rowcount
                records += sql.execute("DELETE FROM records WHERE id = ?", (record_id,)).rowcount
            _add_to_state(sql, "records", -records)
        return Forgotten(events, records, deliveries, {route: tuple(sorted(keys)) for route, keys in rows.items()})

    def _take_out(self, sql: sqlite3.Connection, seqs: Set[int]) -> int:
        """Write the blocks that have some of *seqs* anew, without these; how many there were."""
        taken = 0
        for block in list(self._blocks_with(sql, seqs)):
            sql.execute("DELETE FROM blocks WHERE last = ?", (block[-1].seq,))
            run: list[Event] = []
            for stored in block:
                if stored.seq not in seqs:
                    run.append(stored.event)
                    continue
                taken += 1
                if run:
                    _keep(sql, self._codec, stored.seq - 1, run)
                    run.clear()
            if run:
                _keep(sql, self._codec, block[-1].seq, run)
        return taken

    def erase(self, *, rebuild_inbox_up_to_bytes: int | None = None) -> bool:
        """Leave nothing of what was deleted in the files: they are written anew and their logs emptied.

        Args:
            rebuild_inbox_up_to_bytes: an inbox that is larger is not written anew, since nothing could be received
                meanwhile; its free pages are filled with zeros instead. None: however large.

        Returns:
            Whether the inbox was written anew as well.
        """
        self._records.rebuild()
        self._records.empty_log()
        whole = rebuild_inbox_up_to_bytes is None or self._inbox.size() <= rebuild_inbox_up_to_bytes
        if whole:
            self._inbox.rebuild()
        else:
            self._inbox.overwrite_free_pages()
        self._inbox.empty_log()
        return whole

    # ------------------------------------------------ upkeep

    def prune(self, before: datetime, limit: int = 500) -> int:
        """One small step: forget up to *limit* of the oldest projected events received before *before*, at least a
        block of them, and as many lines of the delivery log; call again while it returns something.

        Returns:
            How many events and lines went.
        """
        edge = _micros(before)
        with self._records.reading() as sql:
            cursor = _state(sql, "cursor")
        gone: list[tuple[int, int]] = []  # the last, and how many
        events = 0
        with self._inbox.writing() as sql:
            for last, count, received_at in sql.execute(
                "SELECT last, events, received_at FROM blocks WHERE last <= ? ORDER BY last LIMIT ?", (cursor, limit)
            ):
                if received_at >= edge:
                    continue
                if gone and events + count > limit:
                    break
                gone.append((last, count))
                events += count
            sql.executemany("DELETE FROM blocks WHERE last = ?", [(last,) for last, _ in gone])
        with self._records.writing() as sql:
            sql.executemany(
                "DELETE FROM mentions WHERE seq > ? AND seq <= ?", [(last - count, last) for last, count in gone]
            )
            lines = sql.execute(
                "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries ORDER BY id LIMIT ?) AND at < ?",
                (limit, edge),
            ).rowcount
            self._rotate(sql, edge)
        return events + lines

    def shrink_memory(self) -> None:
        """Let go of what is only kept to be quick: after a burst that is tens of megabytes."""
        for file in (self._inbox, self._records):
            file.shrink()
        with suppress(StoreUnavailable), self._records.reading_to_write():
            if not self._seen_used:
                self._seen = None
            self._seen_used = False

    def _rotate(self, sql: sqlite3.Connection, edge: int) -> None:
        """Drop the older generation of fingerprints once all of the newer one is as old as the events kept."""
        began = _state(sql, "generation_began")
        if began == 0:
            _set_state(sql, "generation_began", _micros(self._now()))
        elif began < edge:
            seen = self._seen_until_now(sql)
            self._seen = None  # whatever becomes of this transaction
            for number in range(SLICES):
                _put_into_buckets(sql, seen, number)
            sql.execute("DELETE FROM seen_lately")
            sql.execute("DELETE FROM seen_filters")
            _keep_filter(sql, seen.new, SLICES, seen.upto)
            sql.execute("DROP TABLE seen_old")
            sql.execute("ALTER TABLE seen_new RENAME TO seen_old")
            sql.execute(_seen_new_table)
            _set_state(sql, "generation_began", _micros(self._now()))

    def _owed(self) -> None:
        for callback in self._on_pending:
            callback()

    def _mend(self) -> None:
        """What the one worker puts right at start."""
        with self._records.writing() as sql:
            cursor = _state(sql, "cursor")
            # Only a dead worker can have left these: we hold the lock.
            sql.execute("UPDATE pending SET lease_until = 0, token = NULL WHERE token IS NOT NULL")
        with self._inbox.writing() as sql:
            if _last_number(sql, "blocks") < cursor:
                # The files are from different backups: new events must get numbers that were not projected yet.
                _number_from(sql, cursor)

    def _dictionaries(self, file: DatabaseFile) -> list[tuple[int, bytes]]:
        """All dictionaries that *file* was ever written with, ours included: a newer program reads older bodies."""
        with file.reading() as sql:
            kept: list[tuple[int, bytes]] = sql.execute("SELECT id, content FROM dictionaries ORDER BY id").fetchall()
        content = Codec.content()
        if all(known != content for _, known in kept):
            with file.writing() as sql:
                sql.execute("INSERT INTO dictionaries (content) VALUES (?)", (content,))
            return self._dictionaries(file)
        return kept


def _hold(lock: FileLock, path: Path) -> None:
    ends = time.monotonic() + 0.2  # somebody may just be asking for the worker
    try:
        while not (held := lock.acquire(wait=False)) and time.monotonic() < ends:
            time.sleep(0.01)
    except OSError as error:
        raise StoreUnavailable.at(lock.path, "can't be opened", error) from error
    if not held:
        raise StoreInUse(
            f"{path} is in use by another connector ({lock.read_note() or 'unknown'}); stop that one first"
        )
    lock.note(f"process {os.getpid()}")


def _owe_all(sql: sqlite3.Connection, route: str, now: int) -> int:
    # The token goes: a delivery on its way was made from what is now forgotten, and must not settle this.
    return sql.execute(
        "INSERT INTO pending (route, record_id, version, due_at, since)"
        " SELECT ?, id, version, ?, ? FROM records WHERE true"
        " ON CONFLICT (route, record_id) DO UPDATE SET due_at = excluded.due_at, lease_until = 0, token = NULL,"
        " tries = 0, failing_since = NULL, reason = '', isolated = 0",
        (route, now, now),
    ).rowcount


_most_lately = 65_536  # a mebibyte; twice as many in a turn, so that of a slice 512 go on at once, 32 to a bucket
_in_bucket = (
    "SELECT keys FROM seen_new WHERE place >= ? AND place < ?"
    " UNION ALL SELECT keys FROM seen_old WHERE place >= ? AND place < ?"
)


def _route_state(row: tuple[Any, ...]) -> RouteState:
    kind, reason, paused_until, failures, since, delivered_at = row
    return RouteState(
        kind, reason, _moment_or_none(paused_until), failures, _moment_or_none(since), _moment_or_none(delivered_at)
    )


def _state(sql: sqlite3.Connection, name: str) -> int:
    (value,) = sql.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
    return int(value)


def _set_state(sql: sqlite3.Connection, name: str, value: int) -> None:
    sql.execute("UPDATE state SET value = ? WHERE name = ?", (value, name))


def _add_to_state(sql: sqlite3.Connection, name: str, value: int) -> None:
    sql.execute("UPDATE state SET value = value + ? WHERE name = ?", (value, name))


def _last_number(sql: sqlite3.Connection, table: str) -> int:
    """The highest number that was ever given in *table*."""
    row = sql.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return 0 if row is None else int(row[0])


def _number_from(sql: sqlite3.Connection, last: int) -> None:
    """From now on new events get numbers behind *last*."""
    sql.execute("DELETE FROM sqlite_sequence WHERE name = 'blocks'")
    sql.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('blocks', ?)", (last,))


def _changes(sql: sqlite3.Connection) -> int:
    return sql.total_changes


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _insert_blocks(blocks: Sequence[Block]) -> tuple[str, list[object]]:
    """Many rows in a statement: each step of a statement lets go of the interpreter's lock, and getting it back from a
    busy event loop takes up to five milliseconds."""
    values: list[object] = []
    last = 0
    for block in blocks:
        last += len(block.events)
        values += (last, *_row(block))
    return _insertion(len(blocks)), values


@cache
def _insertion(rows: int) -> str:
    row = "((SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'blocks') + ?, ?, ?, ?, ?)"
    return f"INSERT INTO blocks VALUES {', '.join([row] * rows)}"  # noqa: S608 - marks only


_blocks_in_statement = 16


def _slices(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


# ---------------------------------------------------------------- group commit


class Pressure:
    """How hard requests press. Times in seconds, of any clock that runs on."""

    def __init__(self) -> None:
        self._since, self._events = float("-inf"), 0
        self._pressed_at = float("-inf")
        self._floods = False

    def note(self, events: int, now: float) -> None:
        """So many *events* were committed *now*."""
        took = now - self._since
        if took > _moment_seconds:
            self._floods = self._events >= _flood_a_second * took
            self._since, self._events = now, 0
        self._events += events
        if self._events >= _many_events:
            self._pressed_at = now
        if self._events > _flood_a_second * _moment_seconds:
            self._floods = True  # however much of the moment is left

    def share(self, now: float) -> float:
        """Of the time: what is left to those who work behind the answers; 1 while nobody presses."""
        if now - self._pressed_at >= _calm_seconds:
            return 1.0
        return 0.02 if self._floods else 0.1


class _Intake(Generic[Ticket]):
    """One thread that commits all events that wait, in one transaction, and calls back once for all of them."""

    def __init__(
        self,
        insert: Callable[[Sequence[Event]], None],
        deliver: Callable[[list[Ticket], StoreUnavailable | None], None],
        appended: Callable[[], None],
        limit: int,
    ) -> None:
        self._insert, self._deliver, self._appended, self._limit = insert, deliver, appended, limit
        self._waiting: queue.SimpleQueue[tuple[Sequence[Event], Sequence[Ticket]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting_events = self._waiting_bytes = 0
        self.pressure = Pressure()
        self._thread = threading.Thread(target=self._run, name="store-intake", daemon=True)
        self._thread.start()

    def submit(self, events: Sequence[Event], tickets: Sequence[Ticket]) -> None:
        with self._lock:
            if self._waiting_events >= self._limit or self._waiting_bytes >= _most_waiting_bytes:
                raise StoreUnavailable("too many events wait for the disk")
            self._waiting_events += len(events)
            self._waiting_bytes += _bytes_of(events)
        self._waiting.put((events, tickets))

    def close(self) -> None:
        """Commit what waits, then end the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        last = False
        while not last:
            events, tickets, last = self._group()
            if events:
                self._commit(events, tickets)
            del events, tickets  # hundreds of bodies, which would stay until the next event comes

    def _group(self) -> tuple[list[Event], list[Ticket], bool]:
        """All that wait, at least one; and whether ``close`` came behind them."""
        events: list[Event] = []
        tickets: list[Ticket] = []
        entry = self._waiting.get()
        while entry is not None:
            events += entry[0]
            tickets += entry[1]
            if len(events) >= _largest_group:
                break
            try:
                entry = self._waiting.get_nowait()
            except queue.Empty:
                break
        with self._lock:
            self._waiting_events -= len(events)
            self._waiting_bytes -= _bytes_of(events)
        return events, tickets, entry is None

    def _commit(self, events: list[Event], tickets: list[Ticket]) -> None:
        try:
            self._insert(events)
        except StoreUnavailable as error:
            self._tell(tickets, error)
        except Exception as error:  # an event that can't be stored at all must not take the others of its group along
            if len(events) > 1:
                for event, ticket in zip(events, tickets, strict=True):
                    self._commit([event], [ticket])
            else:
                self._tell(tickets, StoreUnavailable(f"the event can't be stored ({type(error).__name__})"))
        else:
            self._tell(tickets, None)
            self._appended()

    def _tell(self, tickets: list[Ticket], error: StoreUnavailable | None) -> None:
        self.pressure.note(len(tickets), time.monotonic())
        # Whoever asked may be gone (an event loop that is closed): the events are safe all the same, and this thread
        # must live on.
        with suppress(Exception):
            self._deliver(tickets, error)


def _bytes_of(events: Sequence[Event]) -> int:
    return sum([len(event.body) for event in events])


_largest_group = 512  # about: what came at once stays together
_most_waiting_bytes = 64 * 1024 * 1024
_moment_seconds = 0.1
_calm_seconds = 0.25  # without many: a disk that hesitates, or a sender, is no end of a flood
_many_events = 16  # in a moment
_flood_a_second = 3_000  # more than who works behind them could keep up with in a tenth of the time
