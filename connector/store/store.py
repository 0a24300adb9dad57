"""The store: everything durable, in an SQLite file or a PostgreSQL database."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from connector.core.errors import StoreUnavailable
from connector.store.engine import Engine
from connector.store.inbox import Inbox
from connector.store.pending import PendingRecords
from connector.store.people import People
from connector.store.records import Records, state
from connector.store.sqlite import Sqlite
from connector.store.tables import prepare
from connector.store.url import is_postgres, path_of
from connector.store.worker import FileWorker, LeasedWorker, Worker, holder_of_file, holder_of_lease


def open_store(url: str, *, worker: bool, now: Callable[[], datetime]) -> Store:
    """The store at *url*, made when it is not there.

    Args:
        url: ``sqlite:///relative/path.db`` or ``sqlite:////absolute/path.db`` (or just a path, as text), or
            ``postgresql://user@host/database``.
        worker: True for the one process that projects and delivers (``serve``, ``drain``); it holds the store's lock.
            False for a visitor (``status``, ``dead-letters replay``, ``backfill``), who may look, append and enqueue
            while a worker runs.
        now: aware UTC.

    Raises:
        StoreInUse: another worker has it.
        StoreDamaged: it is damaged or not ours; it is not changed.
        StoreUnavailable: it can't be opened or made.
    """
    return Store(url, worker=worker, now=now)


def worker_of(url: str) -> str | None:
    """Which worker holds the store at *url*, in this process or another, as it calls itself; None: nobody does.

    Raises:
        StoreUnavailable: the database can't be reached.
    """
    if not is_postgres(url):
        return holder_of_file(path_of(url))
    engine = _engine(url)
    try:
        with engine.reading() as sql:
            if "leases" not in engine.tables(sql):
                return None
        return holder_of_lease(People(engine, _utc_now))
    finally:
        engine.close()


class Store(Inbox, Records, PendingRecords, People):
    """Every method may be called from any thread.

    Everything raises StoreUnavailable when the disk is full, the database is gone or locked for too long; the next call
    tries afresh, so the program recovers without a restart.
    """

    def __init__(self, url: str, *, worker: bool, now: Callable[[], datetime]) -> None:
        self._worker: Worker | None = None
        self._noticing = threading.Lock()
        self._noticed: tuple[int | None, ...] | None = None
        self._closed = False
        if not is_postgres(url):
            path = _with_folder(path_of(url))
            self._worker = FileWorker(path) if worker else None
        try:
            engine = _engine(url)
        except BaseException:
            self._let_go()
            raise
        super().__init__(engine, now)
        try:
            prepare(engine, upgrade=worker, now=now())
            if worker:
                if engine.shared:
                    self._worker = LeasedWorker(self, engine.name)
                self._free_leases()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Finish what was submitted, then let go of the database. Threads that use it must have ended."""
        if self._closed:
            return
        self._closed = True
        if self._intake is not None:
            self._intake.close()
        if self._engine.shared:
            self._let_go()
        self._engine.close()
        if not self._engine.shared:
            self._let_go()

    def _let_go(self) -> None:
        if self._worker is not None:
            self._worker.release()

    def _free_leases(self) -> None:
        """Only a dead worker can have left these: there is one at a time, and that is this one."""
        with self._engine.writing() as sql:
            sql.execute("UPDATE pending SET due_at = ?, token = NULL WHERE token IS NOT NULL", (self._due_now(),))

    @property
    def poll_seconds(self) -> float:
        """How often to ask ``notice_others``."""
        return self._engine.poll_seconds

    def notice_others(self) -> bool:
        """Whether another process has written since the last call; if so the callbacks run. Cheap: ask now and then."""
        with self._engine.reading() as sql:
            last, first = sql.execute("SELECT (SELECT max(seq) FROM events), (SELECT min(seq) FROM todo)").fetchone()
            found = (last, first, state(sql, "epoch"), state(sql, "visits"))
        with self._noticing:
            before, self._noticed = self._noticed, found
        if before == found:
            return False
        self._ring((*self._on_append, *self._on_pending))
        return True


def _engine(url: str) -> Engine:
    if not is_postgres(url):
        return Sqlite(path_of(url))
    try:
        from connector.store.postgres import Postgres
    except ImportError as error:
        raise StoreUnavailable(
            "[store] url names a PostgreSQL database; install its driver: pip install 'affiliate-connector[postgres]'"
        ) from error
    return Postgres(url)


def _with_folder(path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable.at(path.parent, "can't be made", error) from error
    return path


def _utc_now() -> datetime:
    return datetime.now(UTC)
