"""The words by which affiliates are found, and which record has them. A word is kept as bytes: a range of them is what
begins alike, whatever order of letters the database goes by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from connector.core.facts import load_stamped
from connector.core.findable import VERSION, findable, words_of
from connector.store.engine import Part, Session, change, insert
from connector.store.tables import SEARCH_DONE, SEARCH_NOTE, keep_note, note_of

_MOST_COMPARED = 20_000  # rows of a word that many affiliates have; then only the first of them are compared
_RANGES_IN_A_STATEMENT = 96
_DONE_ONCE = f"once, version {VERSION}"  # of all records, but an older version may have written some since


class Search(Part):
    """Kept by ``Records.commit``; read by ``affiliates.find``."""

    def having(self, beginnings: Sequence[str], limit: int) -> list[str]:
        """Ids of records that have, for each of *beginnings*, a word that begins with it; the nearest words first."""
        first, *others = [_range(beginning) for beginning in beginnings]
        with self._engine.reading() as sql:
            if not others:
                text = "SELECT record_id FROM search WHERE word >= ? AND word < ? ORDER BY word, record_id LIMIT ?"
                # A record may have several words that begin so.
                rows = sql.execute(text, (*first, 4 * limit)).fetchall()
                return list(dict.fromkeys(record_id for (record_id,) in rows))[:limit]
            part = "SELECT record_id FROM search WHERE word >= ? AND word < ? LIMIT ?"
            parts = " INTERSECT ".join(f"SELECT record_id FROM ({part}) AS t{n}" for n in range(len(beginnings)))
            values = [value for each in (first, *others) for value in (*each, _MOST_COMPARED)]
            rows = sql.execute(f"{parts} ORDER BY record_id LIMIT ?", (*values, limit)).fetchall()
        return [record_id for (record_id,) in rows]

    def beginning_with(self, beginnings: Sequence[str], most_each: int) -> list[tuple[str, str]]:
        """(word, record id), for each of *beginnings* at most *most_each* words that begin with it."""
        found: list[tuple[str, str]] = []
        part = "SELECT * FROM (SELECT word, record_id FROM search WHERE word >= ? AND word < ? ORDER BY word LIMIT ?)"
        with self._engine.reading() as sql:
            for start in range(0, len(beginnings), _RANGES_IN_A_STATEMENT):
                some = beginnings[start : start + _RANGES_IN_A_STATEMENT]
                text = " UNION ALL ".join(f"{part} AS t{n}" for n in range(len(some)))
                values = [value for each in some for value in (*_range(each), most_each)]
                found += [(bytes(word).decode(), record_id) for word, record_id in sql.execute(text, values).fetchall()]
        return found

    def fill_search(self, limit: int = 500, *, alone: bool = False) -> bool:
        """One step of making the words of records that an older version of the program kept. Whether there is more.

        Args:
            alone: no process of an older version writes any more: what is filled now has no gaps later.
        """
        with self._engine.reading() as sql:
            known = note_of(sql, SEARCH_NOTE) or ""
        if known == SEARCH_DONE or (known == _DONE_ONCE and not alone):
            return False
        kept = f"version {VERSION} kept after "
        before = kept if alone or known.startswith(kept) else f"version {VERSION} after "
        after = known.removeprefix(before) if known.startswith(before) else ""
        with self._engine.writing() as sql:
            # Locked: a commit meanwhile would take away words that are not there yet.
            rows = sql.execute(
                f"SELECT id, facts FROM records WHERE id > ? ORDER BY id LIMIT ?{self._engine.lock_rows}",
                (after, limit),
            ).fetchall()
            made = (
                (record_id, words_of(record_id, findable(load_stamped(facts.encode())))) for record_id, facts in rows
            )
            add_words(sql, ((word, record_id) for record_id, words in made for word in words))
            done = SEARCH_DONE if before == kept else _DONE_ONCE
            keep_note(sql, SEARCH_NOTE, f"{before}{rows[-1][0]}" if rows else done)
        return bool(rows)


def add_words(sql: Session, words: Iterable[tuple[str, str]]) -> None:
    """Records are found by these, too: (word, record id)."""
    rows = sorted((word.encode(), record_id) for word, record_id in words)
    insert(sql, "INSERT INTO search (word, record_id)", rows, " ON CONFLICT DO NOTHING")


def take_words(sql: Session, record_id: str, words: Iterable[str]) -> None:
    """*record_id* is found by these words no more."""
    change(sql, "DELETE FROM search WHERE record_id = ? AND word", sorted(word.encode() for word in words), record_id)


def forget_words(sql: Session, record_ids: Sequence[str]) -> None:
    """Take away all words of these records. Reads through all words: no other index would be used otherwise."""
    change(sql, "DELETE FROM search WHERE record_id", record_ids)


def _range(beginning: str) -> tuple[bytes, bytes]:
    word = beginning.encode("utf-8", "ignore")
    return word, word + b"\xff"  # no text has this byte
