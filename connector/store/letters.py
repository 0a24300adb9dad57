"""The dead letters of several machines, as rows of text; ``dead_letters/`` knows what they say."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence

from connector.store.engine import Part, change, insert, select
from connector.store.tables import keep_note, note_of

_FORGOTTEN = ("connector", "letters forgotten")


class LetterRows(Part):
    """One row an open letter. Empty where the letters are in a file."""

    def put_letters(self, rows: Sequence[tuple[str, str, str, str, str]]) -> None:
        """Write those: (id, stage, place, subject, letter); one of the same id is replaced."""
        if not rows:
            return
        with self._engine.writing() as sql:
            insert(
                sql, "INSERT INTO letters (id, stage, place, subject, letter)", sorted(rows),
                " ON CONFLICT (id) DO UPDATE SET letter = excluded.letter",
            )  # fmt: skip

    def letters(self, after: str, limit: int) -> list[str]:
        """A page of all of them, in the order of their ids."""
        with self._engine.reading() as sql:
            text = "SELECT letter FROM letters WHERE id > ? ORDER BY id LIMIT ?"
            return [letter for (letter,) in sql.execute(text, (after, limit)).fetchall()]

    def letters_of(self, ids: Iterable[str]) -> dict[str, str]:
        with self._engine.reading() as sql:
            return dict(select(sql, "SELECT id, letter FROM letters WHERE id", sorted(set(ids))))

    def letters_begun(self, beginning: str) -> list[str]:
        """The one of that id, or up to two whose ids begin so."""
        text = "SELECT id, letter FROM letters WHERE id >= ? AND id <= ? ORDER BY id LIMIT 2"
        with self._engine.reading() as sql:
            found = sql.execute(text, (beginning, f"{beginning}g")).fetchall()  # ids are hexadecimal
        return [letter for letter_id, letter in found if letter_id.startswith(beginning)]

    def letter_ids(self, place: str, subjects: Iterable[str]) -> set[str]:
        """The ids of those that are about one of *subjects*."""
        with self._engine.reading() as sql:
            if sql.execute("SELECT 1 FROM letters LIMIT 1").fetchone() is None:
                return set()
            found = select(sql, "SELECT id FROM letters WHERE place = ? AND subject", sorted(set(subjects)), place)
        return {letter_id for (letter_id,) in found}

    def letter_counts(self) -> dict[tuple[str, str], int]:
        """How many there are by (stage, place)."""
        with self._engine.reading() as sql:
            rows = sql.execute("SELECT stage, place, count(*) FROM letters GROUP BY stage, place").fetchall()
        return {(stage, place): count for stage, place, count in rows}

    def delete_letters(self, ids: Iterable[str], *, forgotten: bool = False) -> int:
        """How many there were.

        Args:
            forgotten: as ``letters_forgotten`` notes it.
        """
        with self._engine.writing() as sql:
            if forgotten:
                keep_note(sql, _FORGOTTEN, secrets.token_hex(8))
            return change(sql, "DELETE FROM letters WHERE id", sorted(set(ids)))

    def letters_forgotten(self) -> str:
        """Another text after each ``delete_letters(forgotten=True)``, which says nothing about whom; "": there was
        none."""
        with self._engine.reading() as sql:
            return note_of(sql, _FORGOTTEN) or ""
