"""What is pending for each route, what it has written, and how it fares. Delivery's part of the store."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from connector.store.engine import Part, Session, change, each, insert, lists, select, tables
from connector.store.model import (
    HELD_UNTIL,
    WAITS_FOR,
    WAITS_FOR_YOU,
    Pending,
    Result,
    RouteState,
    Written,
    dump_names,
    load_names,
)

STATE_COLUMNS = "kind, reason, paused_until, failures, since, delivered_at"
_LONGEST_NOTES_CHARACTERS = 100_000  # of a row; then only the newest is kept
_LAST_ID = "\U0010ffff"
# With the signs no index but the one that has the order of the ids can be chosen, and none needs sorting.
_IN_ORDER = "p.record_id > ? AND p.record_id <= ? AND +p.isolated = 0 AND +p.due_at <= ?"

# In an empty table PostgreSQL finds every index equally good, also one of which only the route helps, and keeps to it.
OF_ROUTE = "route || '' = ?"


class _Held(NamedTuple):
    id: int
    token: str | None
    version: int


class PendingRecords(Part):
    """One row a route and record that the route has not written in its latest version."""

    # ------------------------------------------------ routes

    def enroll(self, routes: Sequence[str], *, holding: Collection[str] = ()) -> list[str]:
        """Make *routes* the ones that records are pending for: every record for a new one (a full sync); one that is
        not named any more is dropped.

        Args:
            holding: of these, a new one's records are held, now and when they come from readings of a platform's API:
                see ``StoredMapping.first``.

        Returns:
            The new ones.
        """
        with self._engine.writing() as sql:
            known = {route for (route,) in sql.execute("SELECT route FROM routes").fetchall()}
            for route in sorted(known - set(routes) - self._known_to_others(sql)):
                for table in ("routes", "pending", "written", "left_empty", "deliveries", "mappings", "again"):
                    sql.execute(f"DELETE FROM {table} WHERE route = ?", (route,))
            new = [route for route in routes if route not in known]
            for route in sorted(new):
                sql.execute("INSERT INTO routes (route) VALUES (?) ON CONFLICT DO NOTHING", (route,))
                self._enqueue(sql, route)
                if route in holding:
                    sql.execute(
                        "UPDATE pending SET due_at = ?, reason = ? WHERE route = ?", (HELD_UNTIL, WAITS_FOR_YOU, route)
                    )
                    sql.execute("INSERT INTO mappings (route, first) VALUES (?, '{}') ON CONFLICT DO NOTHING", (route,))
        self._ring(self._on_pending)
        return new

    def _known_to_others(self, sql: Session) -> set[str]:  # noqa: ARG002 - see Processes
        """Routes of other processes, which this one must not drop."""
        return set()

    def route_state(self, route: str) -> RouteState:
        """How *route* fares; ``ok`` for one that is not enrolled."""
        with self._engine.reading() as sql:
            row = sql.execute(f"SELECT {STATE_COLUMNS} FROM routes WHERE route = ?", (route,)).fetchone()
        return RouteState() if row is None else state_of(row, self._moment_due_or_none)

    def set_route_state(self, route: str, state: RouteState) -> None:
        """Keep how *route* fares (but ``delivered_at``, which ``finish`` keeps)."""
        paused_until, since = (at and self._due(at) for at in (state.paused_until, state.since))
        with self._engine.writing() as sql:
            sql.execute(
                "UPDATE routes SET kind = ?, reason = ?, paused_until = ?, failures = ?, since = ? WHERE route = ?",
                (state.kind, state.reason, paused_until, state.failures, since, route),
            )

    # ------------------------------------------------ what becomes pending

    def resync(self, route: str, *, overwrite_edits: bool = False) -> int:
        """Every record is pending for *route*, and is sent in full. A KeyError: it is not enrolled.

        Args:
            overwrite_edits: forget what the route has written: nobody can tell then what people typed since.

        Returns:
            How many records.
        """
        with self._engine.writing() as sql:
            if not sql.execute("UPDATE routes SET paused_until = NULL WHERE route = ?", (route,)).rowcount:
                raise KeyError(route)
            count = self._enqueue(sql, route)
            if overwrite_edits:
                sql.execute("DELETE FROM written WHERE route = ?", (route,))
                sql.execute("UPDATE routes SET written_rows = 0, affiliates = 0 WHERE route = ?", (route,))
            else:
                sql.execute("UPDATE written SET again = 1 WHERE route = ?", (route,))
        self._ring(self._on_pending)
        return count

    def enqueue(self, route: str, record_ids: Iterable[str] | None = None) -> int:
        """Those records (None: all) are pending for *route* again, due now, even if nothing is new; unknown ids and
        routes are passed over. What the route has written stays known, so equal rows cost no call.

        Returns:
            How many are pending now because of this call.
        """
        with self._engine.writing() as sql:
            count = self._enqueue(sql, route, None if record_ids is None else sorted(set(record_ids)))
        self._ring(self._on_pending)
        return count

    def _enqueue(self, sql: Session, route: str, record_ids: Sequence[str] | None = None) -> int:
        parts = [("", ())] if record_ids is None else lists(sql, record_ids)
        return sum(self._enqueue_those(sql, route, which, some) for which, some in parts)

    def _enqueue_those(self, sql: Session, route: str, which: str, record_ids: Sequence[Any]) -> int:
        # The token goes: a delivery on its way was made from what is now forgotten, and must not settle this.
        added = sql.execute(
            "INSERT INTO pending (route, record_id, version, due_at, since)"
            " SELECT routes.route, records.id, records.version, ?, ? FROM routes, records"
            f" WHERE routes.route = ?{which and f' AND records.id {which}'} ORDER BY records.id"
            " ON CONFLICT (route, record_id) DO UPDATE SET due_at = excluded.due_at, token = NULL, tries = 0,"
            " failing_since = NULL, reason = '', isolated = 0",
            (self._due_now(), self._due_now(), route, *record_ids),
        )
        return int(added.rowcount)

    # ------------------------------------------------ delivery

    def take(
        self, route: str, limit: int, *, lease: timedelta, after: str = "", isolated: bool = False
    ) -> list[Pending]:
        """Lease up to *limit* due records. A record whose lease is over is due.

        Args:
            after: they come in the order of their ids, beginning behind this one and wrapping around, so that a few
                busy records at the front can't starve the rest.
            isolated: instead, those that are sent in calls of their own, the longest due first.
        """
        now, token = self._due_now(), uuid.uuid4().hex
        until = now + lease // timedelta(microseconds=1)
        rows: list[Any] = []
        with self._engine.writing() as sql:
            if not self._may_take(sql, route):
                return []
            if isolated:
                rows = self._due_rows(sql, "p.isolated = 1 AND p.due_at <= ?", "p.due_at", (route, now, limit))
            else:
                for first, last in ((after, _LAST_ID), ("", after)):
                    if len(rows) < limit and first < last:
                        values = (route, first, last, now, limit - len(rows))
                        rows += self._due_rows(sql, _IN_ORDER, "p.record_id", values)
            change(sql, "UPDATE pending SET due_at = ?, token = ? WHERE id", [row[0] for row in rows], until, token)
        return [
            Pending(
                record_id, version, facts.encode(), token, tries, self._moment_due(since),
                self._moment_due_or_none(failing_since), bool(own),
            )
            for _, record_id, version, facts, tries, since, failing_since, own in rows
        ]  # fmt: skip

    def _may_take(self, sql: Session, route: str) -> bool:  # noqa: ARG002 - see Processes
        """Whether what is pending for *route* is this process's to deliver."""
        return True

    def _due_rows(self, sql: Session, which: str, order: str, values: Sequence[Any]) -> list[Any]:
        rows: list[Any] = sql.execute(
            "SELECT p.id, p.record_id, r.version, r.facts, p.tries, p.since, p.failing_since, p.isolated"
            " FROM pending p JOIN records r ON r.id = p.record_id"
            f" WHERE p.route = ? AND {which} ORDER BY {order} LIMIT ?{self._engine.take_rows}",
            values,
        ).fetchall()
        return rows

    def next_due(self, route: str) -> datetime | None:
        """When ``take`` will find something next: now or past when it would at once; None when nothing is pending."""
        first = "(SELECT min(due_at) FROM pending WHERE route = ? AND isolated = {})"  # each from its end of the index
        with self._engine.reading() as sql:
            found = sql.execute(f"SELECT {first.format(0)}, {first.format(1)}", (route, route)).fetchone()
        due = [at for at in found if at is not None]
        return self._moment_due(min(due)) if due else None

    def finish(self, route: str, results: Sequence[Result], *, delivered: bool = False) -> None:
        """Settle what was sent, keep pending what was not; one transaction. *delivered*: the destination took a call.

        Only the version that was sent is settled: what changed meanwhile stays pending. A record whose lease another
        call has taken since is not settled: a late answer can't tell which of two writes came last, so the next
        delivery writes the record in full, and takes for ours what either has written.
        """
        results = sorted(results, key=lambda result: result.record_id)
        with self._engine.writing() as sql:
            self._lock_route(sql, route)
            held = self._held(sql, route, [result.record_id for result in results])
            mine: list[Result] = []
            lost: list[Result] = []
            for result in results:
                is_mine = result.record_id in held and held[result.record_id].token == result.token
                (mine if is_mine else lost).append(result)
            self._note_tries(sql, route, {key: cells for one in lost for key, cells in one.written.items()}, again=True)
            self._note_written(sql, route, mine)
            _note_left_empty(sql, route, mine)
            self._settle(sql, mine, held)
            # Settled by the other call, or forgotten: then there is no such record.
            self._enqueue(sql, route, [result.record_id for result in lost if result.record_id not in held])
            if delivered:
                sql.execute("UPDATE routes SET delivered_at = ? WHERE route = ?", (self._due_now(), route))

    def keep_written(self, route: str, results: Sequence[Result]) -> None:
        """What a write that is no delivery (``undo``) has written, removed and logged; one transaction. What is pending
        stays pending. Before the call, ``note_tries``: then what it writes is nobody's edit, whatever happens."""
        with self._engine.writing() as sql:
            self._lock_route(sql, route)
            self._note_written(sql, route, results)

    def _lock_route(self, sql: Session, route: str) -> None:
        """See ``lock_routes``."""
        sql.execute(f"SELECT 1 FROM routes WHERE route = ?{self._engine.lock_rows}", (route,))

    def _held(self, sql: Session, route: str, record_ids: Sequence[str]) -> dict[str, _Held]:
        """The rows of those records, which nobody else changes until the transaction ends."""
        rows = select(
            sql, "SELECT record_id, id, token, version FROM pending WHERE id", self._numbers(sql, route, record_ids),
            tail=f" ORDER BY record_id{self._engine.lock_rows}",
        )  # fmt: skip
        return {record_id: _Held(*row) for record_id, *row in rows}

    @staticmethod
    def _numbers(sql: Session, route: str, record_ids: Sequence[str]) -> list[int]:
        """The ids of the rows of those records, in their order."""
        found = each(sql, "SELECT id FROM pending WHERE route = ? AND record_id =", record_ids, route)
        return [number for number in found.values() if number is not None]

    def _note_written(self, sql: Session, route: str, results: Sequence[Result]) -> None:
        """What was written, removed and logged."""
        at = self._at()
        removed = sorted(key for result in results for key in result.removed)
        rows = {
            key: (
                route, key, result.record_id, result.version, at, cells, result.held.get(key, ""),
                dump_names(result.kept.get(key, ())),
            )
            for result in results
            for key, cells in result.written.items()
        }  # fmt: skip
        more = _more_rows(sql, route, {key: row[2] for key, row in rows.items()}, removed)
        change(sql, f"DELETE FROM written WHERE {OF_ROUTE} AND key", removed, route)
        insert(
            sql,
            "INSERT INTO written (route, key, record_id, version, at, cells, held, kept)",
            sorted(rows.values()),
            " ON CONFLICT (key, route) DO UPDATE SET record_id = excluded.record_id, version = excluded.version,"
            " at = excluded.at, cells = excluded.cells, held = excluded.held, kept = excluded.kept,"
            " tried = '', typed = '', again = 0",
        )
        _count_written(sql, route, more)
        insert(
            sql,
            "INSERT INTO deliveries (route, record_id, key, version, at, kind, code, cells, former, overwritten,"
            " overwritten_cells, delivery, row_change)",
            [
                (
                    route, result.record_id, line.key, result.version, at, line.kind, line.code, line.cells,
                    line.former, dump_names(line.overwritten), len(line.overwritten), line.delivery, line.row_change,
                )
                for result in results
                for line in result.log
            ],
        )  # fmt: skip

    def left_empty(self, route: str, most: int = 2**62) -> dict[str, tuple[int, tuple[str, ...]]]:
        """By record, of *most* of them: how many cells are empty in *route* because their values do not fit, and the
        columns whose values the destination did not take."""
        with self._engine.reading() as sql:
            text = "SELECT record_id, cells, refused FROM left_empty WHERE route = ? ORDER BY record_id LIMIT ?"
            rows = sql.execute(text, (route, most)).fetchall()
        return {record_id: (int(cells), load_names(refused)) for record_id, cells, refused in rows}

    def left_empty_cells(self, route: str) -> int:
        """How many cells in *route* are empty because their values do not fit, or were not taken."""
        refused = "SELECT refused FROM left_empty WHERE route = ? AND refused <> ''"
        with self._engine.reading() as sql:
            (cells,) = sql.execute("SELECT sum(cells) FROM left_empty WHERE route = ?", (route,)).fetchone()
            names = sql.execute(refused, (route,)).fetchall()
        return int(cells or 0) + sum(len(load_names(text)) for (text,) in names)

    def _settle(self, sql: Session, results: Sequence[Result], held: Mapping[str, _Held]) -> None:
        done: list[int] = []
        changed: list[int] = []
        now = self._due_now()
        for result in results:
            later, row = result.later, held[result.record_id]
            is_newer = row.version > result.version
            if later is None or (is_newer and later.reason.startswith(WAITS_FOR)):  # the newer one may have the value
                (changed if is_newer else done).append(row.id)
                continue
            sql.execute(
                "UPDATE pending SET token = NULL, due_at = ?, reason = ?, tries = tries + ?, isolated = ?,"
                " failing_since = coalesce(failing_since, ?) WHERE id = ?",
                (
                    self._due(later.due_at), later.reason, int(later.failed), int(later.isolated),
                    now if later.failed else None, row.id,
                ),
            )  # fmt: skip
        change(sql, "DELETE FROM pending WHERE id", done)
        change(
            sql,
            "UPDATE pending SET token = NULL, due_at = ?, since = ?, tries = 0, reason = '', failing_since = NULL,"
            " isolated = 0 WHERE id",
            changed, now, now,
        )  # fmt: skip

    def note_tries(self, route: str, tries: Mapping[str, str]) -> None:
        """Before a call: by row key, the dumped cells that it may write. They are noted until ``finish`` says what the
        row holds; rows that *route* has not written yet are passed over."""
        if tries:
            with self._engine.writing() as sql:
                self._note_tries(sql, route, tries)

    def note_typed(self, route: str, typed: Mapping[str, str]) -> None:
        """Right before a write: by row key, the dumped cells that people typed and that it will overwrite. They are
        noted until ``finish`` has them in the delivery log."""
        if typed:
            with self._engine.writing() as sql:
                self._add_lines(sql, route, "typed", typed)

    def _note_tries(self, sql: Session, route: str, tries: Mapping[str, str], *, again: bool = False) -> None:
        self._add_lines(sql, route, "tried", tries, ", again = 1" if again else "")

    @staticmethod
    def _add_lines(sql: Session, route: str, column: str, lines: Mapping[str, str], and_set: str = "") -> None:
        for new, values in tables(sql, [(key, f"{cells}\n") for key, cells in sorted(lines.items())]):
            sql.execute(
                f"UPDATE written SET {column} ="
                f" new.column2 || CASE WHEN length({column}) < ? THEN {column} ELSE '' END{and_set}"
                f" FROM ({new}) AS new WHERE route = ? AND key = new.column1",
                (_LONGEST_NOTES_CHARACTERS, *values, route),
            )

    def isolate(self, route: str, record_ids: Iterable[str], due_at: datetime) -> None:
        """From now on these are sent in calls of their own, not before *due_at*: each made a whole call fail while
        another record's succeeded."""
        with self._engine.writing() as sql:
            change(
                sql,
                "UPDATE pending SET isolated = 1, due_at = ?, tries = greatest(tries, 1), failing_since = ?"
                " WHERE isolated = 0 AND id",
                self._numbers(sql, route, sorted(set(record_ids))), self._due(due_at), self._due_now(),
            )  # fmt: skip

    def written(self, route: str, record_ids: Iterable[str], keys: Iterable[str] = ()) -> list[Written]:
        """What *route* last wrote for those records, and under those row keys for any record."""
        found: dict[str, Written] = {}
        with self._engine.reading() as sql:
            for column, wanted in (("record_id", record_ids), ("key", keys)):
                text = (
                    "SELECT again, kept, key, record_id, cells, held, tried, typed"
                    f" FROM written WHERE {OF_ROUTE} AND {column}"
                )
                for again, kept, *columns in select(sql, text, sorted(set(wanted)), route):
                    key, record_id, cells, held, tried, typed = columns
                    found[key] = Written(key, record_id, cells, held, tried, typed, load_names(kept), bool(again))
        return list(found.values())


def state_of(row: Sequence[Any], moment_due: Callable[[int | None], datetime | None]) -> RouteState:
    """A route's state from its STATE_COLUMNS."""
    kind, reason, paused_until, failures, since, delivered_at = row
    return RouteState(kind, reason, moment_due(paused_until), failures, moment_due(since), moment_due(delivered_at))


def _more_rows(sql: Session, route: str, written: Mapping[str, str], removed: Sequence[str]) -> Counter[str]:
    """By record: how many rows more than before *route* will have of it, where it is not as many.

    Args:
        written: the record of each row, by key; a row may have been another record's.
        removed: keys; one that is written, too, is not removed.
    """
    keys = sorted({*written, *removed})
    before = each(sql, f"SELECT record_id FROM written WHERE {OF_ROUTE} AND key =", keys, route)
    more: Counter[str] = Counter()
    for key, owner in before.items():
        if written.get(key) != owner:
            more.update([written[key]] if key in written else ())
            more.subtract([] if owner is None else [owner])
    return more


def _count_written(sql: Session, route: str, more: Counter[str]) -> None:
    """Count what ``_more_rows`` foresaw and is done now."""
    now = each(sql, f"SELECT count(*) FROM written WHERE {OF_ROUTE} AND record_id =", sorted(more), route)
    came = sum(0 < now[record_id] <= count for record_id, count in more.items())
    went = sum(now[record_id] == 0 > count for record_id, count in more.items())
    add_written(sql, route, more.total(), came - went)


def add_written(sql: Session, route: str, rows: int, affiliates: int) -> None:
    """Add to what is counted of *route*'s rows."""
    if rows or affiliates:
        text = "UPDATE routes SET written_rows = written_rows + ?, affiliates = affiliates + ? WHERE route = ?"
        sql.execute(text, (rows, affiliates, route))


def _note_left_empty(sql: Session, route: str, results: Sequence[Result]) -> None:
    """Of a record that was not sent, what the destination refused stays as it was."""
    known = [result for result in results if result.left_empty is not None]
    sent = [result.record_id for result in known if result.refused is not None]
    fitting = [result.record_id for result in known if result.refused is None and not result.left_empty]
    change(sql, f"DELETE FROM left_empty WHERE {OF_ROUTE} AND record_id", sent, route)
    change(sql, f"UPDATE left_empty SET cells = 0 WHERE {OF_ROUTE} AND record_id", fitting, route)
    change(sql, f"DELETE FROM left_empty WHERE {OF_ROUTE} AND cells = 0 AND refused = '' AND record_id", fitting, route)
    insert(
        sql,
        "INSERT INTO left_empty (record_id, route, cells, refused)",
        [
            (result.record_id, route, result.left_empty, dump_names(result.refused or ()))
            for result in known
            if result.left_empty or result.refused
        ],
        " ON CONFLICT (record_id, route) DO UPDATE SET cells = excluded.cells",
    )
