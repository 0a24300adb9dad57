"""The records: what the events together say of each affiliate. The projector's part of the store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from connector.store.engine import Part, Session, change, insert, select
from connector.store.inbox import add_tallies
from connector.store.model import HELD_UNTIL, WAITS_FOR, WAITS_FOR_YOU, Batch, Known, Overtaken, Saved
from connector.store.search import add_words, take_words


class Records(Part):
    """Read by everybody, changed by ``commit`` alone."""

    def epoch(self) -> int:
        """How often the records were changed: ask before reading what a batch is made from."""
        with self._engine.reading() as sql:
            (value,) = sql.execute("SELECT value FROM state WHERE name = 'epoch'").fetchone()
        return int(value)

    def load(self, record_ids: Iterable[str]) -> dict[str, Known]:
        """The records of those ids that exist."""
        with self._engine.reading() as sql:
            rows = select(sql, "SELECT id, version, facts FROM records WHERE id", sorted(set(record_ids)))
        return {record_id: Known(version, facts.encode()) for record_id, version, facts in rows}

    def record_ids(self, after: str = "", limit: int = 1000) -> list[str]:
        """A page of the ids of all records, in order."""
        with self._engine.reading() as sql:
            rows = sql.execute("SELECT id FROM records WHERE id > ? ORDER BY id LIMIT ?", (after, limit)).fetchall()
        return [record_id for (record_id,) in rows]

    def commit(self, batch: Batch) -> None:
        """All of *batch* or nothing; then the records that say something new are pending for every route.

        Raises:
            Overtaken: the records were changed since ``batch.epoch``: read again.
        """
        records = sorted(batch.records, key=lambda saved: saved.record_id)
        changed = [saved for saved in records if saved.version != saved.before]
        with self._engine.writing() as sql:
            moved = sql.execute("UPDATE state SET value = value + 1 WHERE name = 'epoch' AND value = ?", (batch.epoch,))
            if moved.rowcount != 1:
                raise Overtaken("the projection has moved on")
            change(sql, "DELETE FROM todo WHERE seq", sorted(batch.seqs))
            insert(
                sql,
                "INSERT INTO records (id, version, facts)",
                [(saved.record_id, saved.version, saved.facts.decode()) for saved in records],
                " ON CONFLICT (id) DO UPDATE SET version = excluded.version, facts = excluded.facts",
            )
            for saved in records:
                take_words(sql, saved.record_id, saved.lost_words)
            add_words(sql, ((word, saved.record_id) for saved in records for word in saved.words))
            if new := sum(not saved.before for saved in records):
                sql.execute("UPDATE state SET value = value + ? WHERE name = 'records'", (new,))
            if changed:
                self._make_pending(sql, changed, batch.read)
            insert(sql, "INSERT INTO mentions", sorted(set(batch.mentions)), " ON CONFLICT DO NOTHING")
            add_tallies(sql, dict(batch.tallies))
        if changed:
            self._ring(self._on_pending)

    def _make_pending(self, sql: Session, changed: Sequence[Saved], read: Collection[str]) -> None:
        now = self._due_now()
        holding = {route for (route,) in sql.execute("SELECT route FROM mappings WHERE first <> ''").fetchall()}
        for (route,) in sql.execute("SELECT route FROM routes ORDER BY route").fetchall():
            held = {saved.record_id for saved in changed if saved.record_id in read} if route in holding else set()
            insert(
                sql,
                "INSERT INTO pending (route, record_id, version, due_at, since, reason)",
                [
                    (route, x.record_id, x.version, HELD_UNTIL, now, WAITS_FOR_YOU)
                    for x in changed
                    if x.record_id in held
                ],
                " ON CONFLICT (route, record_id) DO UPDATE SET version = excluded.version",
            )
            insert(
                sql,
                "INSERT INTO pending (route, record_id, version, due_at, since)",
                [(route, x.record_id, x.version, now, now) for x in changed if x.record_id not in held],
                # A record that waits for a value which it lacked may have it now.
                " ON CONFLICT (route, record_id) DO UPDATE SET version = excluded.version, due_at ="
                f" CASE WHEN pending.token IS NULL AND {waits_for('pending.reason')} THEN excluded.due_at"
                " ELSE pending.due_at END",
            )


def waits_for(reason: str) -> str:
    """The condition that the column *reason* names a value which the record lacks."""
    return f"substr({reason}, 1, {len(WAITS_FOR)}) = '{WAITS_FOR}'"
