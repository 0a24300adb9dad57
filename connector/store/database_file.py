"""One SQLite file: transactions that are on the disk when they end, snapshots, and the log in front of it. Knows no
table; the store keeps its own in two such files. What goes wrong with a disk comes out of here as StoreUnavailable."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from msgspec import Struct, field

from connector.core.errors import StoreUnavailable


class StoreDamaged(StoreUnavailable):
    """A file of the store is no store, damaged, or made by a newer version; the message names it. It is not changed."""


_application_id = 0x61666670  # "affp": tells our files from anybody else's SQLite file
_reading_cache_kib = 512  # for a statement: whatever is written elsewhere makes all of it void
_full_log_rows = 24_000  # some 40 MB where the rows lie far apart
_rows_of_a_commit = 100  # what a commit of few rows writes besides: pages are written whole
_longest_log_pages = 16_000  # a commit moves the log all the same when nobody else has


class Schema(Struct, frozen=True):
    """What is in a file. Statements end with ";" and the line.

    Args:
        version: of the format; written into the file.
        create: what makes an empty file one of that version.
        upgrades: by version: what makes a file of it one of the next; a version that is not there needs nothing.
    """

    version: int
    create: str
    upgrades: Mapping[int, str | Callable[[sqlite3.Connection], None]] = field(default_factory=dict)


class DatabaseFile:
    """One SQLite file: a connection for writing, shared under a lock, and a few for reading.

    Made when it is not there, brought to the schema's version when it is older.

    Args:
        cache_kib: what the connection for writing may keep in memory.
        upgrade: whether it may be brought to a newer version: not while somebody else may work on it.

    Raises:
        StoreDamaged: it is damaged, not ours, or of a newer version.
        StoreUnavailable: it can't be opened or made, or is older and must not be upgraded.
    """

    def __init__(self, path: Path, schema: Schema, *, cache_kib: int, upgrade: bool) -> None:
        self.path = path
        self._cache_kib = cache_kib
        self._unmoved = 0
        self._on_full_log: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._readers: list[sqlite3.Connection] = []
        self._closed = False
        self._uri = f"{path.absolute().as_uri()}?mode=rw"  # where somebody took the file away, no other one is made
        self._prepare(schema, upgrade=upgrade)
        self._identity = self._found()

    def _found(self) -> tuple[int, int] | None:
        """Which file stands at the path; None: none that can be reached."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _check_place(self) -> None:
        """Refuse when the file is no longer where it was: what is written into one that somebody has moved or deleted
        is lost, and SQLite does not notice."""
        if self._found() != self._identity:
            raise StoreUnavailable(
                f"{self.path}: the file was moved, deleted or replaced while in use; put it back, or start again"
            )

    def _prepare(self, schema: Schema, *, upgrade: bool) -> None:
        try:
            # The files hold people's data. SQLite gives -wal and -shm the mode of the main file.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise StoreUnavailable.at(self.path, "can't be opened", error) from error
        try:
            connection = self._connect(self._cache_kib)
        except sqlite3.OperationalError as error:
            raise StoreUnavailable(f"{self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise StoreDamaged(self._damage(str(error))) from error
        try:
            connection.execute("BEGIN IMMEDIATE")
            (ours,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not tables:
                for statement in schema.create.split(";\n"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {_application_id}")
                connection.execute(f"PRAGMA user_version = {schema.version}")
            elif ours != _application_id:
                raise StoreDamaged(  # noqa: TRY301 - closed below
                    f"{self.path}: this is no file of the connector; it is left as it is"
                )
            elif version > schema.version:
                raise StoreDamaged(  # noqa: TRY301
                    f"{self.path}: made by a newer version of the connector (format {version})"
                )
            elif version < schema.version and not upgrade:
                raise StoreUnavailable(  # noqa: TRY301
                    f"{self.path}: made by an older version of the connector (format {version}); "
                    "start the server of this version first, it takes the file over"
                )
            for older in range(version, schema.version) if tables else ():
                step = schema.upgrades.get(older, "")
                if isinstance(step, str):
                    for statement in step.split(";\n"):
                        connection.execute(statement)
                else:
                    step(connection)
                connection.execute(f"PRAGMA user_version = {older + 1}")
            connection.execute("COMMIT")
            if tables and self.path.stat().st_size <= _checked_bytes:
                (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                if found != "ok":
                    raise StoreDamaged(self._damage(found))  # noqa: TRY301
        except sqlite3.OperationalError as error:
            connection.close()
            raise StoreUnavailable(f"{self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            connection.close()
            raise StoreDamaged(self._damage(str(error))) from error
        except BaseException:
            connection.close()
            raise
        self._writer = connection

    def _damage(self, what: str) -> str:
        return (
            f"{self.path}: the file is damaged ({what}); it is left as it is. "
            "Put a backup in its place, or move it away to start afresh."
        )

    def _connect(self, cache_kib: int = _reading_cache_kib) -> sqlite3.Connection:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        connection = sqlite3.connect(
            self._uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        try:
            connection.execute("PRAGMA busy_timeout = 5000")  # first: what follows may have to wait for another process
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")  # NORMAL loses answered events when the power goes
            connection.execute(f"PRAGMA cache_size = -{cache_kib}")
            if self._on_full_log is not None:
                connection.execute(f"PRAGMA wal_autocheckpoint = {_longest_log_pages}")
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("PRAGMA secure_delete = FAST")  # blots out what is deleted wherever that costs no write
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def writing(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """A transaction: committed and fsynced at the end, nothing of it on an error.

        Raises:
            StoreUnavailable: it could not be committed, and the next one starts with a fresh connection; or the file is
                not where it was.
        """
        with self._lock:
            self._check_place()
            try:
                if self._writer is None:
                    self._writer = self._connect(self._cache_kib)
                connection = self._writer
                before = connection.total_changes
                connection.execute(begin)
                yield connection
                connection.execute("COMMIT")
                self._note_changes(connection.total_changes - before)
            except sqlite3.Error as error:
                # After a full disk or an I/O error the connection's state is anybody's guess.
                self._drop_writer()
                raise StoreUnavailable(f"{self.path.name}: {error}") from error
            except BaseException:
                if self._writer is not None and self._writer.in_transaction:
                    with suppress(sqlite3.Error):
                        self._writer.execute("ROLLBACK")
                raise

    def write(self, statements: Sequence[tuple[str, Sequence[object]]], *, rows: int) -> None:
        """``writing`` of *statements*, for those who tell others that it is safe: the file is still in its place when
        they are on the disk. A single one goes without the two about it, each of which would give other threads their
        turn.

        Args:
            rows: how many they count for in the log.

        Raises:
            StoreUnavailable: as in ``writing``.
        """
        with self._lock:
            self._check_place()
            try:
                if self._writer is None:
                    self._writer = self._connect(self._cache_kib)
                about = len(statements) > 1
                if about:
                    self._writer.execute("BEGIN IMMEDIATE")
                for statement, values in statements:
                    self._writer.execute(statement, values)
                if about:
                    self._writer.execute("COMMIT")
                self._note_changes(rows)
            except sqlite3.Error as error:
                self._drop_writer()
                raise StoreUnavailable(f"{self.path.name}: {error}") from error
            except BaseException:
                self._drop_writer()
                raise
            self._check_place()

    def reading_to_write(self) -> AbstractContextManager[sqlite3.Connection]:
        """``reading``, with the connection that writes: what is written next is in its memory then. Those who write
        wait meanwhile; another connection would have to read anew whatever was written since."""
        return self.writing("BEGIN")

    def move_log_when_full(self, ring: Callable[[], None]) -> None:
        """From now on *ring* is called when there is enough in the log for ``move_log``; a commit moves nothing."""
        with self._lock:
            self._on_full_log = ring
            if self._writer is not None:
                self._writer.execute(f"PRAGMA wal_autocheckpoint = {_longest_log_pages}")

    def _note_changes(self, rows: int) -> None:
        if self._on_full_log is not None and rows:
            self._unmoved += rows + _rows_of_a_commit
            if self._unmoved >= _full_log_rows:
                self._on_full_log()

    def move_log(self) -> None:
        """Move a full log into the file. On an error the log grows, and those who write will hear of the disk."""
        if self._unmoved < _full_log_rows:
            return
        self._unmoved = 0
        with suppress(sqlite3.Error, StoreUnavailable):
            connection = self._connect()
            try:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")  # nearly all of it, while others write
                with self._lock:  # and what they wrote meanwhile, so that the log begins anew
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            finally:
                connection.close()

    def _drop_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(sqlite3.Error):
                writer.execute("ROLLBACK")
            with suppress(sqlite3.Error):
                writer.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One snapshot of what is committed.

        Raises:
            StoreUnavailable: the file can't be read, or is not where it was.
        """
        self._check_place()
        connection: sqlite3.Connection | None = None
        try:
            try:
                connection = self._readers.pop()
            except IndexError:
                connection = self._connect()
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            raise StoreUnavailable(f"{self.path.name}: {error}") from error
        except BaseException:
            if connection is not None:
                connection.close()
            raise
        if self._closed:
            connection.close()
        else:
            self._readers.append(connection)

    @contextmanager
    def deleting(self) -> Iterator[sqlite3.Connection]:
        """``writing``, and what is deleted is overwritten."""
        with self.writing() as sql:
            sql.execute("PRAGMA secure_delete = ON")
            try:
                yield sql
            finally:
                sql.execute("PRAGMA secure_delete = FAST")

    def size(self) -> int:
        """Bytes of the file, with what of it is only in its log as yet."""
        with self.reading() as sql:
            (pages,) = sql.execute("PRAGMA page_count").fetchone()
            (bytes_a_page,) = sql.execute("PRAGMA page_size").fetchone()
        return int(pages * bytes_a_page)

    def shrink(self) -> None:
        """Close the connections, with the pages and statements that they keep; what is wanted is read again."""
        with suppress(sqlite3.Error, StoreUnavailable):
            for _ in range(len(self._readers)):
                with suppress(IndexError):  # somebody reads with it at the moment
                    self._readers.pop(0).close()
            with self._lock:
                if self._writer is not None:
                    # The new one first: when the last connection goes, SQLite moves the whole log.
                    old, self._writer = self._writer, self._connect(self._cache_kib)
                    old.close()

    def rebuild(self) -> None:
        """Write the file anew, so that nothing stays in it but what is kept. Others that write wait meanwhile."""
        with self._lock:
            try:
                connection = self._connect()
                try:
                    connection.execute("PRAGMA busy_timeout = 60000")
                    if self.size() > _rebuilt_in_memory_bytes:
                        connection.execute("PRAGMA temp_store = FILE")
                    connection.execute("VACUUM")
                finally:
                    connection.close()
            except sqlite3.Error as error:
                raise StoreUnavailable(f"{self.path.name}: {error}") from error

    def overwrite_free_pages(self) -> None:
        """Fill the file's free pages with zeros, in steps that others can write between."""
        with self.writing() as sql:
            sql.execute("DROP TABLE IF EXISTS filler")
            sql.execute("CREATE TABLE filler (zeros BLOB)")
        while True:
            with self.writing() as sql:
                (free,) = sql.execute("PRAGMA freelist_count").fetchone()
                if not free:
                    break
                sql.execute("INSERT INTO filler VALUES (zeroblob(?))", (min(free, 1000) * 4000,))  # 4,092 a page
        with self.writing() as sql:
            sql.execute("DROP TABLE filler")

    def empty_log(self, seconds: float = 30.0) -> None:
        """Move what is in the write-ahead log into the file, and cut the log to nothing.

        Raises:
            StoreUnavailable: somebody has been reading all the time.
        """
        ends = time.monotonic() + seconds
        while True:
            with self._lock:
                try:
                    connection = self._connect()
                    try:
                        (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                    finally:
                        connection.close()
                except sqlite3.Error as error:
                    raise StoreUnavailable(f"{self.path.name}: {error}") from error
            if not busy:
                return
            if time.monotonic() >= ends:
                raise StoreUnavailable(f"{self.path.name}: its log can't be emptied while others read; try again")
            time.sleep(0.05)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            while self._readers:
                self._readers.pop().close()
            if self._writer is not None:
                self._writer.close()
                self._writer = None


_rebuilt_in_memory_bytes = 512 * 1024 * 1024
_checked_bytes = 16 * 1024 * 1024  # checking all of a larger file would hold up every start


class LogMover:
    """One thread that moves full logs into their files. SQLite would do it in the commit that fills the log, and all
    who wait for that commit would wait for thousands of scattered pages and two flushes as well."""

    def __init__(self, files: Sequence[DatabaseFile]) -> None:
        self._files, self._bell, self._stopped = tuple(files), threading.Event(), False
        for file in files:
            file.move_log_when_full(self._bell.set)
        self._thread = threading.Thread(target=self._run, name="store-logs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopped = True
        self._bell.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._bell.wait()
            self._bell.clear()
            if self._stopped:
                return
            for file in self._files:
                file.move_log()
