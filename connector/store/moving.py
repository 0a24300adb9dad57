"""Takes a stopped store to another database, in either direction, and checks that all of it arrived.

Killed at any moment, it is run once more: the new store refuses to serve until all is there, and the old one is marked
only then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import datetime
from hashlib import blake2b
from typing import Any

from msgspec import Struct

from connector.core.errors import StoreUnavailable
from connector.store.engine import Engine, Session, insert
from connector.store.model import StoreDamaged, StoreInUse
from connector.store.processes import process_alive
from connector.store.store import open_engine
from connector.store.tables import MOVED_TO, count_anew, keep_note, prepare, primary_keys
from connector.store.url import is_postgres, path_of
from connector.store.worker import file_held

_PAGE_ROWS = 500
_STAYS = {"leases", "letters", "processes", "sessions", "state"}  # who works there, who is signed in
_COMPLETE = 2


class Moved(Struct, frozen=True):
    """What was moved. *rows*: by table; *digest*: of all rows, the same in both stores."""

    to: str
    rows: dict[str, int]
    digest: str


Letters = Callable[[Sequence[str]], Sequence[tuple[str, str, str, str, str]]]


def move(url: str, to: str, now: datetime, letters: Letters, progress: Callable[[str, int], None]) -> Moved:
    """Move the store at *url* to *to*, which must be empty.

    Args:
        letters: takes the dead letters of the old store's table, and gives the rows of the new one's
            (see ``store.letters``): one of them may be a file.
        progress: called with the table and how many of its rows are there.

    Raises:
        StoreInUse: a process works on one of them.
        StoreDamaged: there is something at *to*, or the store at *url* was moved before.
        StoreUnavailable: a database can't be reached, or what arrived differs.
    """
    with ExitStack() as stack:
        old, new = (_held(stack, place) for place in (url, to))
        for engine in (old, new):
            prepare(engine, now, moves=True)
        is_complete = _begin(new, _is_marked(old)) == _COMPLETE
        prepare(old, now, moves=is_complete)  # a move that was killed may have marked it already
        if not is_complete:
            for table, key in _tables().items():
                _copy(old, new, table, key, progress)
        before, after = _digests(old), _digests(new)
        if before != after and not is_complete:
            wrong = ", ".join(table for table in before if before[table] != after.get(table))
            raise StoreUnavailable(f"{new.name}: what arrived differs in {wrong}; run the command once more")
        _carry_letters(old, new, letters)
        _end(old, new)
    total = blake2b(repr(sorted(after.items())).encode(), digest_size=8).hexdigest()
    return Moved(new.name, {table: count for table, (count, _) in after.items() if count}, total)


def _carry_letters(old: Engine, new: Engine, letters: Letters) -> None:
    with old.reading() as sql:
        found = [text for (text,) in sql.execute("SELECT letter FROM letters ORDER BY id").fetchall()]
    rows = sorted(letters(found))
    with new.writing() as sql:
        insert(
            sql, "INSERT INTO letters (id, stage, place, subject, letter)", rows,
            " ON CONFLICT (id) DO UPDATE SET letter = excluded.letter",
        )  # fmt: skip


def _held(stack: ExitStack, url: str) -> Engine:
    """The database, which no process works on meanwhile."""
    if not is_postgres(url):
        path_of(url).parent.mkdir(parents=True, exist_ok=True)
        stack.enter_context(file_held(path_of(url)))
    engine = stack.enter_context(closing(open_engine(url)))
    with engine.reading() as sql:
        _refuse_used(engine, sql)
    return engine


def _refuse_used(engine: Engine, sql: Session) -> None:
    if engine.shared and (who := process_alive(engine, sql)) is not None:
        raise StoreInUse(f"{engine.name} is in use by another connector ({who}); stop that one first")


def _is_marked(old: Engine) -> bool:
    with old.reading() as sql:
        return sql.execute("SELECT 1 FROM state WHERE name = 'moved'").fetchone() is not None


def _tables() -> dict[str, tuple[str, ...]]:
    return {table: key for table, key in primary_keys().items() if table not in _STAYS}


def _begin(new: Engine, is_marked: bool) -> int:
    """Mark the new store as one that is being moved into; what a move that was killed left is deleted.

    Args:
        is_marked: the old store serves no more. Until then it may have been worked on since an earlier move.

    Returns:
        How far an earlier move came.
    """
    with new.writing() as sql:
        row = sql.execute("SELECT value FROM state WHERE name = 'moving'").fetchone()
        if row is None:
            for table in ("events", "records", "routes"):
                if sql.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None:
                    raise StoreDamaged(f"{new.name}: there is a store already; name an empty database or a new file")
            if sql.execute("SELECT 1 FROM state WHERE name = 'moved'").fetchone() is not None:
                raise StoreDamaged(f"{new.name}: this store was moved away; name a new file")
        elif row[0] == _COMPLETE and is_marked:
            return _COMPLETE
        sql.execute("INSERT INTO state VALUES ('moving', 1) ON CONFLICT (name) DO UPDATE SET value = 1")
        for table in _tables():
            sql.execute(f"DELETE FROM {table}")
    return 1


def _copy(old: Engine, new: Engine, table: str, key: Sequence[str], progress: Callable[[str, int], None]) -> None:
    columns, count = _columns(old, table), 0
    for page in _pages(old, table, columns, key):
        with new.writing() as sql:
            insert(sql, f"INSERT INTO {table} ({', '.join(columns)})", page)
        count += len(page)
        progress(table, count)
    with new.writing() as sql:
        if table in ("events", "pending", "deliveries"):
            new.continue_serial(sql, table, key[0])


def _columns(engine: Engine, table: str) -> list[str]:
    with engine.reading() as sql:
        return sorted(column[0] for column in sql.execute(f"SELECT * FROM {table} LIMIT 0").description)


def _pages(engine: Engine, table: str, columns: Sequence[str], key: Sequence[str]) -> Iterator[list[tuple[Any, ...]]]:
    places = [columns.index(name) for name in key]
    order = ", ".join(key)
    head, last = f"SELECT {', '.join(columns)} FROM {table}", None
    while True:
        where = "" if last is None else f" WHERE ({order}) > ({', '.join('?' * len(key))})"
        with engine.reading() as sql:
            page = sql.execute(f"{head}{where} ORDER BY {order} LIMIT ?", (*(last or ()), _PAGE_ROWS)).fetchall()
        if not page:
            return
        yield page
        last = tuple(page[-1][place] for place in places)


def _digests(engine: Engine) -> dict[str, tuple[int, int]]:
    """By table: how many rows there are, and the sum of their hashes, in whatever order."""
    found = {}
    for table, key in _tables().items():
        count = total = 0
        for page in _pages(engine, table, _columns(engine, table), key):
            for row in page:
                total += int.from_bytes(blake2b(repr(tuple(map(_plain, row))).encode(), digest_size=16).digest())
            count += len(page)
        found[table] = (count, total % 2**128)
    return found


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def _end(old: Engine, new: Engine) -> None:
    """First the new store is known to be complete, then the old one serves no more, then the new one may."""
    with old.reading() as sql:
        (epoch,) = sql.execute("SELECT value FROM state WHERE name = 'epoch'").fetchone()
    with new.writing() as sql:
        sql.execute("UPDATE state SET value = ? WHERE name = 'epoch'", (epoch,))
        count_anew(new, sql)
        sql.execute("UPDATE state SET value = ? WHERE name = 'moving'", (_COMPLETE,))
    with old.making() as sql:
        _refuse_used(old, sql)  # who joins later sees the mark
        sql.execute("INSERT INTO state VALUES ('moved', 1) ON CONFLICT DO NOTHING")
        keep_note(sql, MOVED_TO, new.name)
    with new.writing() as sql:
        sql.execute("DELETE FROM state WHERE name = 'moving'")
