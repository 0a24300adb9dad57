"""The store: everything durable, in an SQLite file or a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path

from connector.core.errors import StoreUnavailable
from connector.store.engine import Engine
from connector.store.inbox import Inbox
from connector.store.letters import LetterRows
from connector.store.mappings import Mappings
from connector.store.people import People
from connector.store.processes import Processes, process_alive
from connector.store.records import Records
from connector.store.search import Search
from connector.store.sessions import Sessions
from connector.store.sqlite import Sqlite
from connector.store.tables import count_anew, prepare
from connector.store.tally import Hours
from connector.store.url import is_postgres, path_of
from connector.store.worker import file_held, holder_of_file

_CONNECTIONS = 10


def worker_of(url: str) -> str | None:
    """A process that works on the store at *url*, this one or another, as it calls itself; None: none does.

    Raises:
        StoreUnavailable: the database can't be reached.
    """
    if not is_postgres(url):
        return holder_of_file(path_of(url))
    with closing(open_engine(url)) as engine, engine.reading() as sql:
        return process_alive(engine, sql)


class Store(Inbox, Records, Mappings, Processes, People, LetterRows, Search, Sessions, Hours):
    """Made when it is not there. Every method may be called from any thread.

    Everything raises StoreUnavailable when the disk is full, the database is gone or locked for too long; the next call
    tries afresh, so the program recovers without a restart.

    Args:
        url: ``sqlite:///relative/path.db``, ``sqlite:////absolute/path.db`` (or just a path), or
            ``postgresql://user@host/database``.
        worker: True for a process that projects and delivers; of a file there is one at a time. False for a visitor
            (``status``, ``backfill``), who may look, append and enqueue while a worker runs.
        now: aware UTC.
        most_connections: to a server.

    Raises:
        StoreInUse: another worker has the file.
        StoreDamaged: it is damaged or not ours; it is not changed.
    """

    def __init__(
        self, url: str, *, worker: bool, now: Callable[[], datetime], most_connections: int = _CONNECTIONS
    ) -> None:
        with ExitStack() as stack:
            if not is_postgres(url):
                _make_folder(path_of(url).parent)
                if worker:
                    stack.enter_context(file_held(path_of(url)))
            engine = stack.enter_context(closing(open_engine(url, most_connections)))
            super().__init__(engine, now)
            self.poll_seconds = engine.poll_seconds  # how soon to look for what another process has committed
            prepare(engine, now())
            if worker:
                engine.check_durability()
                with engine.writing() as sql:  # a process of an older version may have written beside this one
                    count_anew(engine, sql)
            if worker and not engine.shared:  # there is one at a time: only a dead one can have left these
                with engine.writing() as sql:
                    text = "UPDATE pending SET due_at = ?, token = NULL WHERE token IS NOT NULL"
                    sql.execute(text, (self._due_now(),))
            self._closing = stack.pop_all()

    def close(self) -> None:
        """Finish what was submitted, then let go of the database. Threads that use it must have ended."""
        if self._intake is not None:
            self._intake.close()
        self._closing.close()


def open_engine(url: str, most_connections: int = _CONNECTIONS) -> Engine:
    """The database that *url* names; knows no table."""
    if not is_postgres(url):
        return Sqlite(path_of(url))
    try:
        from connector.store.postgres import Postgres
    except ImportError as error:
        raise StoreUnavailable(
            "[store] url names a PostgreSQL database; install its driver: pip install 'affiliate-connector[postgres]'"
        ) from error
    return Postgres(url, most_connections)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable.at(folder, "can't be made", error) from error
