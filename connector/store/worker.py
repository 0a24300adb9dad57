"""One worker at a time: the process that projects and delivers."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from connector.core.errors import StoreUnavailable
from connector.file_lock import FileLock, lock_open_file
from connector.store.model import StoreInUse
from connector.store.people import People

_ASKING_SECONDS = 0.2  # another process may be asking for the worker's name
_LEASE_SECONDS = 5.0
_RENEWING_SECONDS = 1.5
_LEASE = "worker"


class Worker(Protocol):
    """What the worker holds, until it lets go or dies."""

    def release(self) -> None: ...


class FileWorker:
    """The worker of an SQLite file.

    It holds the lock file beside it, which names the holder, and the file itself: that lock holds through links, and
    after the lock file was deleted.

    Raises:
        StoreInUse: another worker has it.
        StoreUnavailable: a file can't be opened or made.
    """

    def __init__(self, path: Path) -> None:
        self._note = FileLock(lock_path(path))
        self._file: int | None = None
        try:
            ends = time.monotonic() + _ASKING_SECONDS
            while not (held := self._note.acquire(wait=False)) and time.monotonic() < ends:
                time.sleep(0.01)
        except OSError as error:
            raise StoreUnavailable.at(self._note.path, "can't be opened", error) from error
        if not held:
            raise self._refusal(path)
        try:
            if sys.platform != "win32":  # there it would keep SQLite from the file
                self._hold_file(path)
        except BaseException:
            self.release()
            raise
        self._note.note(f"process {os.getpid()}")

    def _hold_file(self, path: Path) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable.at(path, "can't be opened", error) from error
        with suppress(OSError):  # a file system without locks
            if not lock_open_file(self._file, wait=False):
                raise self._refusal(path)

    def _refusal(self, path: Path) -> StoreInUse:
        holder = self._note.read_note() or "unknown"
        return StoreInUse(f"{path} is in use by another connector ({holder}); stop that one first")

    def release(self) -> None:
        """After the last connection is closed: closing a file takes SQLite's own locks on it away from this process."""
        if self._file is not None:
            os.close(self._file)
        self._note.release()


def lock_path(store: Path) -> Path:
    return store.with_name(f"{store.name}.lock")


def holder_of_file(path: Path) -> str | None:
    """Which worker holds the SQLite file at *path*, as it calls itself; None: nobody does.

    Makes nothing. It takes the lock for a moment, which a worker that starts then waits out.
    """
    lock = FileLock(lock_path(path))
    if not lock.path.exists():
        return None
    try:
        if not lock.acquire(wait=False):
            return lock.read_note() or "unknown"
    except OSError:
        return None
    lock.release()
    return None


class LeasedWorker:
    """The worker of a database: a lease, renewed by a thread. A dead worker's lease is over after five seconds.

    Raises:
        StoreInUse: another worker has it.
    """

    def __init__(self, store: People, name: str) -> None:
        self._store = store
        self._holder = f"process {os.getpid()} on {socket.gethostname()}, {os.urandom(4).hex()}"
        ends = time.monotonic() + _LEASE_SECONDS + 1.0
        while not self._renew():
            if time.monotonic() >= ends:
                holder = holder_of_lease(store) or "unknown"
                raise StoreInUse(f"{name} is in use by another connector ({holder}); stop that one first")
            time.sleep(0.2)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="store-lease", daemon=True)
        self._thread.start()

    def _renew(self) -> bool:
        return self._store.hold(_LEASE, self._holder, _LEASE_SECONDS)

    def _run(self) -> None:
        while not self._stop.wait(_RENEWING_SECONDS):
            with suppress(StoreUnavailable):
                self._renew()

    def release(self) -> None:
        """Before the last connection is closed."""
        self._stop.set()
        self._thread.join()
        with suppress(StoreUnavailable):
            self._store.let_go(_LEASE, self._holder)


def holder_of_lease(store: People) -> str | None:
    """Which worker holds the database, as it calls itself without what only tells it apart; None: nobody does."""
    holder = store.holder_of(_LEASE)
    return None if holder is None else holder.partition(",")[0]
