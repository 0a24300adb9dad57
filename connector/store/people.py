"""What people ask for: status, one affiliate's story, forgetting a person, and what is kept for how long."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import structs

from connector.core.lenient import micros_of
from connector.store.engine import Part, Session, change, insert, select
from connector.store.inbox import EVENT_COLUMNS, forgotten_key, forgotten_mark, opened
from connector.store.model import (
    HELD_UNTIL,
    DeliveryLine,
    Forgotten,
    PendingFor,
    RouteStatus,
    SourceStatus,
    Status,
    StoredEvent,
    load_names,
    moment,
    moment_or_none,
)
from connector.store.pending import STATE_COLUMNS, add_written, state_of
from connector.store.records import waits_for
from connector.store.search import forget_words
from connector.store.tables import keep_note, lock_routes, note_of

_DELIVERY = "at, route, key, version, kind, code, cells, record_id, former, overwritten, delivery, row_change, id"
_AHEAD = timedelta(days=1)  # times further ahead than this were noted by a clock that was wrong


class People(Part):
    """Commands, readiness, upkeep and sinks' notes."""

    # ------------------------------------------------ notes

    def recall(self, owner: str, key: str) -> str | None:
        """What ``remember`` last kept for *owner* (a sink, say) under *key*."""
        with self._engine.reading() as sql:
            return note_of(sql, (owner, key))

    def remember(self, owner: str, key: str, value: str | None) -> None:
        """Keep a note; None forgets it."""
        with self._engine.writing() as sql:
            if value is None:
                sql.execute("DELETE FROM notes WHERE owner = ? AND key = ?", (owner, key))
            else:
                keep_note(sql, (owner, key), value)

    # ------------------------------------------------ status

    def status(self) -> Status:
        """The state of everything. Counts what waits and what is pending; of all else there are counters."""
        lacks = waits_for("reason")
        with self._engine.reading() as sql:
            (last,) = sql.execute("SELECT max(seq) FROM events").fetchone()
            (waiting,) = sql.execute("SELECT count(*) FROM todo").fetchone()
            (records,) = sql.execute("SELECT value FROM state WHERE name = 'records'").fetchone()
            counts = sql.execute(
                f"SELECT route, count(*) FILTER (WHERE NOT {lacks}), count(*) FILTER (WHERE tries > 0),"
                f" min(since) FILTER (WHERE NOT {lacks}), count(*) FILTER (WHERE {lacks}),"
                " count(*) FILTER (WHERE NOT EXISTS (SELECT 1 FROM written WHERE written.route = pending.route"
                " AND written.record_id = pending.record_id)) FROM pending GROUP BY route"
            ).fetchall()
            routes = sql.execute(
                f"SELECT route, written_rows, affiliates, {STATE_COLUMNS} FROM routes ORDER BY route"
            ).fetchall()
            sources = sql.execute(
                "SELECT source, received, duplicates, no_affiliate, unreadable, undated, last_at, last_received_at"
                " FROM sources ORDER BY source"
            ).fetchall()
        pending = {route: found for route, *found in counts}
        states = []
        for route, rows, affiliates, *columns in routes:
            count, retrying, since, lacking, first = pending.get(route, (0, 0, None, 0, 0))
            oldest, state = self._moment_due_or_none(since), state_of(columns, self._moment_due_or_none)
            states.append(RouteStatus(route, count, retrying, oldest, rows, state, lacking, affiliates, first))
        counted = []
        for name, received, duplicates, none, unread, undated, *times in sources:
            at, received_at = map(moment_or_none, times)
            counted.append(SourceStatus(name, received, duplicates, none, unread, undated, at, received_at))
        return Status(records, waiting, last or 0, tuple(counted), tuple(states))

    # ------------------------------------------------ one affiliate

    def events_of(self, record_id: str) -> list[StoredEvent]:
        """The events still kept that name that record, oldest first."""
        with self._engine.reading() as sql:
            rows = sql.execute(
                f"SELECT seq, {EVENT_COLUMNS} FROM mentions JOIN events USING (seq) WHERE record_id = ? ORDER BY seq",
                (record_id,),
            ).fetchall()
        return opened(rows)

    def deliveries_of(self, record_id: str) -> list[DeliveryLine]:
        """That record's deliveries still kept, oldest first."""
        text = f"SELECT {_DELIVERY} FROM deliveries WHERE record_id = ? ORDER BY id"
        with self._engine.reading() as sql:
            rows = sql.execute(text, (record_id,)).fetchall()
        return [_delivery(row) for row in rows]

    def deliveries_since(
        self, route: str, since: datetime, *, before: DeliveryLine | None = None, limit: int = 500
    ) -> list[DeliveryLine]:
        """One page of what *route* delivered since then, the newest first.

        Args:
            before: the last line of the page before; None for the first page.
        """
        return self._deliveries("at >= ?", (route, micros_of(since)), before, limit)

    def delivery(
        self, route: str, delivery: str, *, before: DeliveryLine | None = None, limit: int = 500
    ) -> list[DeliveryLine]:
        """One page of the rows that *route* sent together under that id, the newest first; see ``deliveries_since``.
        Reads through the log: for people."""
        return self._deliveries("delivery = ?", (route, delivery), before, limit)

    def overwritten(self, route: str, *, before: DeliveryLine | None = None, limit: int = 500) -> list[DeliveryLine]:
        """One page of the deliveries of *route* that overwrote what people had typed, the newest first; see
        ``deliveries_since``."""
        return self._deliveries("overwritten_cells > 0", (route,), before, limit)

    def _deliveries(
        self, which: str, values: Sequence[Any], before: DeliveryLine | None, limit: int
    ) -> list[DeliveryLine]:
        at, last = (2**62, 0) if before is None else (micros_of(before.at), before.id)
        text = (
            f"SELECT {_DELIVERY} FROM deliveries WHERE route = ? AND {which} AND (at, id) < (?, ?)"
            " ORDER BY at DESC, id DESC LIMIT ?"
        )
        with self._engine.reading() as sql:
            return [_delivery(row) for row in sql.execute(text, (*values, at, last, limit)).fetchall()]

    def overwritten_of(self, route: str) -> int:
        """How many cells that people had typed *route* has overwritten, as far as the delivery log is kept."""
        text = "SELECT sum(overwritten_cells) FROM deliveries WHERE route = ? AND overwritten_cells > 0"
        with self._engine.reading() as sql:
            (cells,) = sql.execute(text, (route,)).fetchone()
        return int(cells or 0)

    def pending_of(self, record_id: str) -> list[PendingFor]:
        """For which routes that record is pending."""
        text = "SELECT route, since, due_at, tries, reason FROM pending WHERE record_id = ? ORDER BY route"
        with self._engine.reading() as sql:
            rows = sql.execute(text, (record_id,)).fetchall()
        return [
            PendingFor(route, self._moment_due(since), self._moment_due(due), tries, reason)
            for route, since, due, tries, reason in rows
        ]

    # ------------------------------------------------ forgetting a person

    def mentions_of(self, record_ids: Iterable[str]) -> set[int]:
        """The seqs of events that are known to name those records."""
        with self._engine.reading() as sql:
            return {seq for (seq,) in select(sql, "SELECT seq FROM mentions WHERE record_id", sorted(set(record_ids)))}

    def under_way(self, record_ids: Iterable[str]) -> bool:
        """Whether a route is delivering one of those records at the moment."""
        text = "SELECT 1 FROM pending WHERE token IS NOT NULL AND due_at > ? AND record_id"
        with self._engine.reading() as sql:
            return bool(select(sql, text, sorted(set(record_ids)), self._due_now()))

    def forget(self, record_ids: Sequence[str], seqs: Iterable[int]) -> Forgotten:
        """Take away these events of the inbox, these records, and all that was kept of their deliveries.

        A projection on its way begins anew (see ``Overtaken``). A keyed hash of each event stays, so that its late
        second delivery does not bring the person back. What the files still hold in unused places goes with ``erase``.
        """
        seqs, record_ids, rows = sorted(set(seqs)), sorted(set(record_ids)), dict[str, set[str]]()
        with self._engine.writing() as sql:
            sql.execute("UPDATE state SET value = value + 1 WHERE name = 'epoch'")
            routes = lock_routes(self._engine, sql)
            secret, at = forgotten_key(sql), self._at()
            events = select(sql, "SELECT source, key FROM events WHERE seq", seqs)
            hashes = sorted((forgotten_mark(secret, source, key), at) for source, key in events)
            insert(sql, "INSERT INTO forgotten (mark, at)", hashes, " ON CONFLICT DO NOTHING")
            for table in ("todo", "mentions", "events"):
                change(sql, f"DELETE FROM {table} WHERE seq", seqs)
            found = select(sql, "SELECT route, key, record_id FROM written WHERE record_id", record_ids)
            for route, key, _ in found:
                rows.setdefault(route, set()).add(key)
            for table in ("mentions", "pending", "written", "left_empty", "again"):
                change(sql, f"DELETE FROM {table} WHERE record_id", record_ids)
            formers = select(sql, "SELECT former FROM deliveries WHERE former <> '' AND record_id", record_ids)
            former_values = sum(len(json.loads(cells)) for (cells,) in formers)
            deliveries = change(sql, "DELETE FROM deliveries WHERE record_id", record_ids)
            records = change(sql, "DELETE FROM records WHERE id", record_ids)
            sql.execute("UPDATE state SET value = value - ? WHERE name = 'records'", (records,))
            for route in routes:
                affiliates = len({record_id for name, _, record_id in found if name == route})
                add_written(sql, route, -len(rows.get(route, ())), -affiliates)
            forget_words(sql, record_ids)
        kept = {route: tuple(sorted(keys)) for route, keys in rows.items()}
        return Forgotten(len(events), records, deliveries, former_values, kept)

    def erase(self, *, rebuild_up_to_bytes: int | None = None) -> bool:
        """Leave nothing of what was deleted in the files: the file is written anew and its log emptied.

        A file larger than *rebuild_up_to_bytes* (None: no limit) is not written anew, since nothing could be received
        meanwhile; what was deleted in it was overwritten in its place.

        Returns:
            Whether the file was written anew.
        """
        return self._engine.erase(rebuild_up_to_bytes)

    # ------------------------------------------------ upkeep

    def prune(self, before: datetime, limit: int = 500, *, deliveries_before: datetime | None = None) -> int:
        """One small step of retention: take away up to *limit* projected events that were received before *before*,
        and as many lines of the delivery log from before *deliveries_before* (None: the same); call again while it
        returns something.

        Returns:
            How many events and lines went.
        """
        edge = micros_of(before)
        with self._engine.writing() as sql:
            self._fix_times(sql, micros_of(self._now() + _AHEAD))
            rows = sql.execute(
                "SELECT seq FROM events WHERE received_at < ?"
                " AND NOT EXISTS (SELECT 1 FROM todo WHERE todo.seq = events.seq) ORDER BY received_at LIMIT ?",
                (edge, limit),
            ).fetchall()
            for table in ("mentions", "events"):
                change(sql, f"DELETE FROM {table} WHERE seq", sorted(seq for (seq,) in rows))
            lines: int = sql.execute(
                "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE at < ? ORDER BY at LIMIT ?)",
                (edge if deliveries_before is None else micros_of(deliveries_before), limit),
            ).rowcount
            sql.execute("DELETE FROM forgotten WHERE at < ?", (edge,))
        return len(rows) + lines

    def clock_was_set_back(self, *, ahead_by: timedelta = timedelta(0)) -> None:
        """Times that lie ahead, by more than *ahead_by*, were noted by a clock that was wrong, and count as of now:
        else a record or a route would wait until the right clock comes there, and retention would wait for events."""
        self._engine.compare_clocks()
        latest = self._now() + ahead_by
        due_now, due_last = self._due_now(), self._due(latest)
        with self._engine.writing() as sql:
            lock_routes(self._engine, sql)
            sql.execute(
                "UPDATE pending SET due_at = ? WHERE due_at > ? AND due_at < ? AND token IS NULL",
                (due_now, due_last, HELD_UNTIL),
            )
            for table, column in (
                ("pending", "since"), ("pending", "failing_since"), ("routes", "paused_until"), ("routes", "since"),
            ):  # fmt: skip
                sql.execute(f"UPDATE {table} SET {column} = ? WHERE {column} > ?", (due_now, due_last))
            self._fix_times(sql, micros_of(latest))
        self._ring(self._on_pending)

    def _fix_times(self, sql: Session, limit: int) -> None:
        """Events and deliveries that were noted as of later than *limit* count as of now."""
        columns = ("events", "received_at"), ("sources", "last_received_at"), ("deliveries", "at"), ("forgotten", "at")
        for table, column in columns:
            sql.execute(f"UPDATE {table} SET {column} = ? WHERE {column} > ?", (self._at(), limit))


def _delivery(row: Sequence[Any]) -> DeliveryLine:
    """A line of the log from its _DELIVERY columns."""
    at, *columns = row
    line = DeliveryLine(moment(at), *columns)
    return structs.replace(line, overwritten=load_names(row[9]))
