"""The letters in the store, where several machines share it. The store knows them as rows of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from functools import partial
from typing import Protocol

from msgspec.structs import replace

from connector import logs
from connector.core.errors import StoreUnavailable
from connector.dead_letters.file import LetterFile
from connector.dead_letters.letters import DeadLetters, How, Letter, dump_letter, load_letter

_log = logs.get("dead_letters")
_PAGE_LETTERS = 500


class LetterRows(Protocol):
    """A row is (id, stage, place, subject, letter as text)."""

    def put_letters(self, rows: Sequence[tuple[str, str, str, str, str]]) -> None: ...

    def letters(self, after: str, limit: int) -> Sequence[str]: ...

    def letters_of(self, ids: Iterable[str]) -> Mapping[str, str]: ...

    def letters_begun(self, beginning: str) -> Sequence[str]: ...

    def letter_ids(self, place: str, subjects: Iterable[str]) -> set[str]: ...

    def letter_counts(self) -> Mapping[tuple[str, str], int]: ...

    def delete_letters(self, ids: Iterable[str], *, forgotten: bool = False) -> int: ...

    def letters_forgotten(self) -> str: ...


class LetterTable(DeadLetters):
    """The open letters of a store.

    Args:
        store: opens it, for one call.
        now: aware UTC.
        copy: a file of this machine, which gets the letters that this process writes as well; it stops nothing.
    """

    def __init__(
        self,
        store: Callable[[], AbstractContextManager[LetterRows]],
        *,
        now: Callable[[], datetime],
        copy: LetterFile | None = None,
    ) -> None:
        self._store, self._now, self._copy = store, now, copy

    def add(self, letters: Sequence[Letter]) -> int:
        if not letters:
            return 0
        latest = {letter.id: letter for letter in letters}
        with self._store() as rows:
            known = {letter_id: load_letter(text) for letter_id, text in rows.letters_of(latest).items()}
            written = {
                letter_id: replace(letter, at=self._now())
                for letter_id, letter in latest.items()
                if letter_id not in known or not _say_the_same(known[letter_id], letter)
            }
            rows.put_letters(
                [(key, each.stage, each.place, each.subject, dump_letter(each)) for key, each in written.items()]
            )
        self._into_the_copy(lambda copy: copy.add(letters))
        return len(latest) - len(known)

    def close(self, ids: Iterable[str], how: How) -> int:
        closing = list(ids)
        if not closing:
            return 0
        with self._store() as rows:
            count = rows.delete_letters(closing)
        self._into_the_copy(lambda copy: copy.close(closing, how))
        return count

    def ids_about(self, place: str, subjects: Iterable[str]) -> set[str]:
        with self._store() as rows:
            return rows.letter_ids(place, subjects)

    def forget(self, is_about: Callable[[Letter], bool]) -> int:
        with self._store() as rows:
            found = [letter.id for letter in self._all(rows) if is_about(letter)]
            gone = rows.delete_letters(found, forgotten=True)
        self.follow()
        return gone

    def follow(self) -> None:
        if self._copy is None or not self._copy.path.exists():
            return
        with self._store() as rows:
            mark = rows.letters_forgotten()  # before the letters are looked up: what is forgotten later has another
            if mark:
                self._copy.follow_forgotten(mark, partial(_still_open, rows))

    def list(self) -> Sequence[Letter]:
        with self._store() as rows:
            return sorted(self._all(rows), key=lambda letter: (letter.at or self._now(), letter.id))

    def get(self, letter_id: str) -> Letter | None:
        with self._store() as rows:
            found = rows.letters_begun(letter_id) if letter_id else ()
        return load_letter(found[0]) if len(found) == 1 else None

    def closed(self) -> Mapping[str, tuple[Letter, How]]:
        """Those that this machine's file has."""
        return {} if self._copy is None else self._copy.closed()

    def counts(self) -> Counter[tuple[str, str]]:
        with self._store() as rows:
            return Counter(rows.letter_counts())

    @staticmethod
    def _all(rows: LetterRows) -> Iterable[Letter]:
        after = ""
        while page := [load_letter(text) for text in rows.letters(after, _PAGE_LETTERS)]:
            yield from page
            after = page[-1].id

    def _into_the_copy(self, write: Callable[[LetterFile], object]) -> None:
        if self._copy is not None:
            with suppress(StoreUnavailable):
                write(self._copy)


def _still_open(rows: LetterRows, ids: Iterable[str]) -> set[str]:
    asked = list(ids)
    pages = (asked[start : start + _PAGE_LETTERS] for start in range(0, len(asked), _PAGE_LETTERS))
    return {letter_id for page in pages for letter_id in rows.letters_of(page)}


def _say_the_same(one: Letter, other: Letter) -> bool:
    return replace(one, at=None, tries=1) == replace(other, at=None, tries=1)
