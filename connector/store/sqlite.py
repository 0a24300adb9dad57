"""The store in one SQLite file: the default, for one machine. Knows no table.

What goes wrong with a disk comes out of here as StoreUnavailable, and the next call tries afresh.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from connector.core.errors import StoreUnavailable
from connector.store.engine import Session
from connector.store.model import StoreDamaged

_APPLICATION_ID = 0x61666670  # "affp": tells our files from any other SQLite file
_BUSY_MILLISECONDS = 5000
_WRITER_CACHE_KIB = 16_384
_READER_CACHE_KIB = 512
_CHECKED_BYTES = 16 * 1024 * 1024  # checking all of a larger file would hold up every start
_VACUUM_IN_MEMORY_BYTES = 512 * 1024 * 1024
_EMPTYING_SECONDS = 30.0


class Sqlite:
    """See ``Engine``. One connection writes, under a lock; each reader opens one of its own (0.2 ms).

    Raises:
        StoreDamaged: the file is damaged or not ours.
        StoreUnavailable: it can't be opened or made.
    """

    serial = "INTEGER PRIMARY KEY AUTOINCREMENT"
    blob = "BLOB"
    without_rowid = " WITHOUT ROWID"
    catalog = "SELECT name FROM sqlite_master WHERE type = 'table'"
    clock = "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"
    lock_rows = take_rows = ""
    shared = False
    poll_seconds = 1.0
    clock_offset = 0

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._uri = f"{path.absolute().as_uri()}?mode=rw"  # where the file was taken away, no other one is made
        self._lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._idle_readers: list[sqlite3.Connection] = []
        self._closed = False
        # Open for as long as the store is: SQLite takes the log away when the last connection is closed.
        self._anchor = self._first()
        self._file = _identity(self.name)
        # Without the second, another process and this one would not see each other's locks.
        beside = (f"{path}{ending}" for ending in ("-wal", "-shm"))
        self._beside = {each: _identity(each) for each in beside}

    def _first(self) -> sqlite3.Connection:
        try:
            # The file holds people's data. SQLite gives -wal and -shm the mode of the main file.
            if not self._path.exists():
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            return self._connect(_READER_CACHE_KIB, inspect=True)
        except OSError as error:
            raise StoreUnavailable.at(self._path, "can't be opened", error) from error
        except sqlite3.OperationalError as error:
            raise StoreUnavailable(f"{self._path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error

    def _connect(self, cache_kib: int, *, inspect: bool = False) -> sqlite3.Connection:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        connection = sqlite3.connect(self._uri, uri=True, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")  # first: what follows may have to wait
            if inspect:
                self._inspect(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")  # NORMAL loses answered events when the power goes
            connection.execute(f"PRAGMA cache_size = -{cache_kib}")
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten
            connection.create_function("greatest", -1, max, deterministic=True)
            if inspect:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # opens the log
        except BaseException:
            connection.close()
            raise
        return connection

    def _inspect(self, connection: sqlite3.Connection) -> None:
        """Refuse a file that is not ours or damaged, before anything in it is changed."""
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables:
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            return
        (owner,) = connection.execute("PRAGMA application_id").fetchone()
        if owner != _APPLICATION_ID:
            raise StoreDamaged(f"{self._path}: this is no file of the connector; it is left as it is")
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'todo'").fetchone() is None:
            raise StoreDamaged(
                f"{self._path}: made by the first edition of the connector, which kept its events in a second file; it "
                "is left as it is. Move it away to start afresh; `connector backfill` reads the affiliates again."
            )
        if self._path.stat().st_size <= _CHECKED_BYTES:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise self._damaged(found)

    def _damaged(self, what: str) -> StoreDamaged:
        return StoreDamaged(
            f"{self._path}: the file is damaged ({what}); it is left as it is. "
            "Put a backup in its place, or move it away to start afresh."
        )

    def _failed(self, error: sqlite3.Error) -> StoreUnavailable:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return self._damaged(str(error))
        return StoreUnavailable(f"{self._path.name}: {error}")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._check_place()
            try:
                if self._writer is None:
                    self._writer = self._connect(_WRITER_CACHE_KIB)
                self._writer.execute("BEGIN IMMEDIATE")
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException as error:
                self._close_writer()  # after a full disk or an I/O error nobody knows the connection's state
                if isinstance(error, sqlite3.Error):
                    raise self._failed(error) from error
                raise
            self._check_place()  # before it is acknowledged

    making = writing

    def _close_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(sqlite3.Error):
                writer.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        self._check_place()
        connection: sqlite3.Connection | None = None
        try:
            with suppress(IndexError):
                connection = self._idle_readers.pop()
            connection = connection or self._connect(_READER_CACHE_KIB)
            connection.execute("BEGIN")  # one snapshot
            yield connection
            connection.execute("COMMIT")
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, sqlite3.Error):
                raise self._failed(error) from error
            raise
        if self._closed:
            connection.close()
        else:
            self._idle_readers.append(connection)  # opening one costs more than most reads

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection for once."""
        try:
            with closing(self._connect(_READER_CACHE_KIB)) as connection:
                yield connection
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _check_place(self) -> None:
        """Refuse when the file, its log or the log's index is no longer where it was: what is written into one that was
        moved or deleted is lost, and SQLite does not notice."""
        if _identity(self.name) != self._file:
            raise StoreUnavailable(
                f"{self._path}: the file was moved, deleted or replaced while in use; put it back, or start again"
            )
        for beside, identity in self._beside.items():
            if _identity(beside) == identity:
                continue
            # The anchor still has the log open: what was acknowledged before goes into the main file.
            with suppress(sqlite3.Error):
                self._anchor.execute("PRAGMA wal_checkpoint(FULL)")
            raise StoreUnavailable(
                f"{beside}: the file was moved, deleted or replaced while in use; start again, and never delete it: "
                "it is a part of the database"
            )

    def continue_serial(self, sql: Session, table: str, column: str) -> None:
        pass  # SQLite does

    def check_durability(self) -> None:
        pass  # each connection sees to it

    def compare_clocks(self) -> None:
        pass

    def erase(self, rebuild_up_to_bytes: int | None) -> bool:
        with self._lock, self._connected() as connection:
            text = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
            (size,) = connection.execute(text).fetchone()
            whole = rebuild_up_to_bytes is None or size <= rebuild_up_to_bytes
            if whole:
                connection.execute("PRAGMA busy_timeout = 60000")
                if size > _VACUUM_IN_MEMORY_BYTES:
                    connection.execute("PRAGMA temp_store = FILE")
                connection.execute("VACUUM")
        self._empty_log()
        return whole

    def _empty_log(self) -> None:
        """Move what is in the log into the file, and cut the log to nothing."""
        ends = time.monotonic() + _EMPTYING_SECONDS
        while True:
            with self._lock, self._connected() as connection:
                busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not busy:
                return
            if time.monotonic() >= ends:
                raise StoreUnavailable(f"{self._path.name}: its log can't be emptied while others read; try again")
            time.sleep(0.05)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._close_writer()
            while self._idle_readers:
                self._idle_readers.pop().close()
            self._anchor.close()


def _identity(path: str) -> tuple[int, int] | None:
    """Which file is at *path*; None: none that can be reached. Not a ``Path``: each commit asks six times."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
