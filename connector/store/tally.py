"""What came in hour by hour: counted when it is projected, so that nobody has to count the events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from msgspec import Struct

from connector.core.lenient import micros_of
from connector.store.engine import Part, Session, insert
from connector.store.model import moment

HOUR_MICROS = 3_600_000_000
_KEPT_HOURS = 14 * 24


class Hour(Struct, frozen=True):
    """One hour of one source; *hour* in hours of Unix time. *received* counts duplicates, too."""

    source: str
    hour: int
    received: int
    duplicates: int
    refused: int

    @property
    def began(self) -> datetime:
        return moment(self.hour * HOUR_MICROS)

    @property
    def all(self) -> int:
        return self.received + self.refused


class Hours(Part):
    """Added to by ``add_tallies`` and by who refuses requests."""

    def hours(self, since: datetime) -> list[Hour]:
        """The hours from *since* on in which something came in, of all sources; refused ones of no source under ""."""
        text = "SELECT source, hour, received, duplicates, refused FROM hours WHERE hour >= ? ORDER BY source, hour"
        with self._engine.reading() as sql:
            return [Hour(*row) for row in sql.execute(text, (micros_of(since) // HOUR_MICROS,)).fetchall()]

    def last_webhooks(self) -> dict[str, datetime]:
        """By source, when its last webhook came in."""
        text = "SELECT source, last_received_at FROM sources WHERE last_received_at > 0"
        with self._engine.reading() as sql:
            return {source: moment(at) for source, at in sql.execute(text).fetchall()}

    def note_refused(self, counts: Mapping[tuple[str, int], int]) -> None:
        """Add requests that were refused, by source and hour; forget hours that nobody shows any more."""
        if not counts:
            return
        with self._engine.writing() as sql:
            add_hours(sql, [(source, hour, 0, 0, count) for (source, hour), count in counts.items()])
            sql.execute("DELETE FROM hours WHERE hour < ?", (self._at() // HOUR_MICROS - _KEPT_HOURS,))


def add_hours(sql: Session, rows: Iterable[tuple[str, int, int, int, int]]) -> None:
    """Add to what is counted of each source and hour: (source, hour, received, duplicates, refused)."""
    changes = ", ".join(f"{name} = hours.{name} + excluded.{name}" for name in ("received", "duplicates", "refused"))
    insert(
        sql,
        "INSERT INTO hours (source, hour, received, duplicates, refused)",
        sorted(rows),
        f" ON CONFLICT (source, hour) DO UPDATE SET {changes}",
    )
