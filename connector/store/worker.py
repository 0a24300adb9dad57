"""One worker at a time: the process that projects and delivers. It holds its place until it gives it back or dies."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from connector.core.errors import StoreUnavailable
from connector.file_lock import FileLock
from connector.store.engine import Engine
from connector.store.model import StoreInUse

_ASKING_SECONDS = 0.2  # another process may be asking for the worker's name
_LEASE_SECONDS = 5.0
_RENEWING_SECONDS = 1.5


@contextmanager
def file_held(path: Path) -> Iterator[None]:
    """Be the worker of an SQLite file. Every connection is closed before the end: closing a file takes SQLite's own
    locks on it away from this process.

    Raises:
        StoreInUse: another worker has it.
        StoreUnavailable: a file can't be opened or made.
    """
    note = FileLock(_lock_path(path))
    with ExitStack() as held:
        for lock in (note, FileLock(path)):  # the second holds through links, and after the first's file was deleted
            if not _acquired(lock):
                raise _in_use(str(path), note.read_note())
            held.callback(lock.release)
        note.note(f"process {os.getpid()}")
        yield


def _acquired(lock: FileLock) -> bool:
    ends = time.monotonic() + _ASKING_SECONDS
    try:
        while not (held := lock.acquire(wait=False)) and time.monotonic() < ends:
            time.sleep(0.01)
    except OSError as error:
        raise StoreUnavailable.at(lock.path, "can't be opened", error) from error
    return held


def _lock_path(store: Path) -> Path:
    return store.with_name(f"{store.name}.lock")


def _in_use(name: str, holder: str | None) -> StoreInUse:
    return StoreInUse(f"{name} is in use by another connector ({holder or 'unknown'}); stop that one first")


def holder_of_file(path: Path) -> str | None:
    """Which worker holds the SQLite file at *path*, as it calls itself; None: nobody does.

    Makes nothing. It takes the lock for a moment, which a worker that starts then waits out.
    """
    lock = FileLock(_lock_path(path))
    if not lock.path.exists():
        return None
    try:
        if lock.acquire(wait=False):
            lock.release()
            return None
    except OSError:
        return None
    return lock.read_note() or "unknown"


@contextmanager
def lease_held(engine: Engine) -> Iterator[None]:
    """Be the worker of a database: hold a lease, which a thread renews. A dead worker's is over after five seconds.

    Raises:
        StoreInUse: another worker has it.
    """
    own = f"process {os.getpid()} on {socket.gethostname()}, {os.urandom(4).hex()}"
    ends = time.monotonic() + _LEASE_SECONDS + 1.0
    while not renew_lease(engine, own):
        if time.monotonic() >= ends:
            raise _in_use(engine.name, holder_of_lease(engine))
        time.sleep(0.2)
    stop = threading.Event()

    def renew() -> None:
        while not stop.wait(_RENEWING_SECONDS):
            with suppress(StoreUnavailable):
                renew_lease(engine, own)

    thread = threading.Thread(target=renew, name="store-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        with suppress(StoreUnavailable):
            renew_lease(engine, own, -1)


def renew_lease(engine: Engine, holder: str, seconds: float = _LEASE_SECONDS) -> bool:
    """Take the lease, or keep it for *seconds* from now; less than nothing gives it back. False: another has it.

    It only keeps others from working in vain: a holder that comes back late is stopped by the epoch and by tokens.
    """
    now = _lease_now(engine)
    with engine.writing() as sql:
        taken = sql.execute(
            "INSERT INTO leases (name, holder, until) VALUES ('worker', ?, ?) ON CONFLICT (name) DO UPDATE"
            " SET holder = excluded.holder, until = excluded.until"
            " WHERE leases.until < ? OR leases.holder = excluded.holder",
            (holder, now + int(seconds * 1e6), now),
        )
    return bool(taken.rowcount == 1)


def holder_of_lease(engine: Engine) -> str | None:
    """Which worker holds the database, as it calls itself without what only tells it apart; None: nobody does."""
    text = "SELECT holder FROM leases WHERE name = 'worker' AND until >= ?"
    with engine.reading() as sql:
        row = sql.execute(text, (_lease_now(engine),)).fetchone()
    return None if row is None else str(row[0]).partition(",")[0]


def _lease_now(engine: Engine) -> int:
    return time.time_ns() // 1000 + engine.clock_offset
