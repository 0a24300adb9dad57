"""Which text of its mapping file each route runs, and what waits for a person there."""

from __future__ import annotations

from typing import Any

from connector.store.engine import Session, change
from connector.store.model import HELD_UNTIL, WAITS_FOR_YOU, StoredMapping, moment
from connector.store.pending import PendingRecords

_COLUMNS = "route, digest, text, at, wanted, held, plan, undo, mistake, delivery, first"


class Mappings(PendingRecords):
    """One row a route; its text is the last version without mistakes, so it holds across restarts."""

    def mapping_of(self, route: str) -> StoredMapping:
        """What is kept of *route*'s mapping; empty where it never had a version."""
        return self.mappings(route).get(route) or StoredMapping(route)

    def mappings(self, route: str | None = None) -> dict[str, StoredMapping]:
        """What is kept of every route's mapping (or only of *route*'s), by the route's name."""
        some = ("", ()) if route is None else (" WHERE route = ?", (route,))
        with self._engine.reading() as sql:
            rows = sql.execute(f"SELECT {_COLUMNS} FROM mappings{some[0]} ORDER BY route", some[1]).fetchall()
        return {
            name: StoredMapping(name, digest, text, moment(at) if at else None, *others)
            for name, digest, text, at, *others in rows
        }

    def adopt_mapping(self, route: str, digest: str, text: str, *, enqueue: bool = True) -> int:
        """From now on *route* runs *text*; every record is pending for it in the same transaction.

        Only the thread that delivers the route calls this: nobody then takes one of these records for the old version.

        Returns:
            How many records are pending because of this call.
        """
        with self._engine.writing() as sql:
            self._have_row(sql, route)
            sql.execute(
                "UPDATE mappings SET digest = ?, text = ?, at = ?,"
                " wanted = CASE WHEN wanted = ? THEN '' ELSE wanted END,"
                " plan = CASE WHEN held = ? THEN '' ELSE plan END,"
                " held = CASE WHEN held = ? THEN '' ELSE held END WHERE route = ?",
                (digest, text, self._at(), text, text, text, route),
            )
            count = 0
            if enqueue:
                (first,) = sql.execute("SELECT first FROM mappings WHERE route = ?", (route,)).fetchone()
                held = self._held_ids(sql, route) if first else []
                count = self._enqueue(sql, route) - len(held)
                change(
                    sql, f"UPDATE pending SET due_at = {HELD_UNTIL}, reason = ? WHERE route = ? AND record_id", held,
                    WAITS_FOR_YOU, route,
                )  # fmt: skip
        self._ring(self._on_pending)
        return count

    def want_mapping(self, route: str, text: str, *, delivery: str = "", keep_held: bool = False) -> None:
        """Let *route* run *text* as soon as the process that delivers it sees this. What waited for a person, a held
        version, an undo or held records, waits no more.

        Args:
            delivery: see ``StoredMapping``.
            keep_held: records that are held stay so, and are looked at again.
        """
        first = "CASE WHEN first = '' THEN '' ELSE '{}' END" if keep_held else "''"
        sets = f"wanted = ?, held = '', plan = '', undo = '', first = {first}, delivery = ?"
        self._change(route, sets, text, delivery)
        self._ring(self._on_pending)

    def note_undo(self, route: str, undo: str) -> None:
        """Let *route* put back what *undo* says, as JSON, instead of delivering; what waited for a person waits no
        more. Until ``want_mapping``."""
        self._change(route, "undo = ?, wanted = '', held = '', plan = '', first = '', delivery = ''", undo)
        self._ring(self._on_pending)

    def end_delivery(self, route: str) -> None:
        """All that ``apply`` or an undo sent is settled: what is sent from now on is something else."""
        self._change(route, "delivery = ''")

    def hold_mapping(self, route: str, text: str, plan: str) -> bool:
        """Let *text* wait for a person, unless it runs already or one has just applied it.

        Args:
            plan: counts of what it would change, as JSON; nothing of people.

        Returns:
            Whether it waits now.
        """
        with self._engine.writing() as sql:
            self._have_row(sql, route)
            changed = sql.execute(
                "UPDATE mappings SET held = ?, plan = ? WHERE route = ? AND text <> ? AND wanted <> ? AND undo = ''",
                (text, plan, route, text, text),
            ).rowcount
        return bool(changed)

    @staticmethod
    def _held_ids(sql: Session, route: str, after: str = "", limit: int = 2**31) -> list[str]:
        text = (
            "SELECT record_id FROM pending WHERE route = ? AND record_id > ? AND due_at = ? ORDER BY record_id LIMIT ?"
        )
        return [one for (one,) in sql.execute(text, (route, after, HELD_UNTIL, limit)).fetchall()]

    def held_records(self, route: str, after: str = "", limit: int = 500) -> list[str]:
        """A page of the ids of the records that are held for *route*, in order; see ``StoredMapping.first``."""
        with self._engine.reading() as sql:
            return self._held_ids(sql, route, after, limit)

    def hold_first(self, route: str, plan: str) -> None:
        """The records that are held for *route* wait for a person.

        Args:
            plan: counts of what they would change, as JSON.
        """
        self._change(route, "first = CASE WHEN first = '' THEN '' ELSE ? END", plan)

    def release_first(self, route: str) -> int:
        """Nothing is held for *route* any more.

        Returns:
            How many records are pending because of this call.
        """
        with self._engine.writing() as sql:
            sql.execute("UPDATE mappings SET first = '' WHERE route = ?", (route,))
            count: int = sql.execute(
                "UPDATE pending SET due_at = ?, reason = '' WHERE route = ? AND due_at = ?",
                (self._due_now(), route, HELD_UNTIL),
            ).rowcount
        self._ring(self._on_pending)
        return count

    def drop_held_mapping(self, route: str) -> None:
        """No version waits any more: the file is again what runs."""
        self._change(route, "held = '', plan = ''")

    def note_mistake(self, route: str, mistake: str) -> None:
        """Keep where *route*'s mapping file has mistakes, as JSON; "" when it has none any more."""
        self._change(route, "mistake = ?", mistake)

    def _change(self, route: str, sets: str, *values: Any) -> None:
        with self._engine.writing() as sql:
            self._have_row(sql, route)
            sql.execute(f"UPDATE mappings SET {sets} WHERE route = ?", (*values, route))

    @staticmethod
    def _have_row(sql: Session, route: str) -> None:
        sql.execute("INSERT INTO mappings (route) VALUES (?) ON CONFLICT DO NOTHING", (route,))
