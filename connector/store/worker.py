"""One worker at a time of an SQLite file. It holds its place until it gives it back or dies."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from connector.core.errors import StoreUnavailable
from connector.file_lock import FileLock
from connector.store.model import StoreInUse

_ASKING_SECONDS = 0.2  # another process may be asking for the worker's name


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


# ---------------------------------------------------------------- locks that are leases


class Lock(Protocol):
    """Something that one process at a time holds."""

    def acquire(self, *, wait: bool) -> bool: ...

    def release(self) -> None: ...


class _Leases(Protocol):
    def hold(self, name: str, holder: str, seconds: float) -> bool: ...


class LeaseLock:
    """A lock in the database, for processes on several machines. A thread renews it; a dead holder's is over after some
    seconds.

    Args:
        store: keeps the lease.
        name: of the lease.
    """

    _SECONDS, _RENEWED_SECONDS = 10.0, 2.0

    def __init__(self, store: _Leases, name: str) -> None:
        self._store, self._name = store, name
        self._holder = ""
        self._released = threading.Event()

    def acquire(self, *, wait: bool) -> bool:
        """Take the lock; False when another holder has it. Raises StoreUnavailable."""
        self._holder = os.urandom(8).hex()
        while not self._store.hold(self._name, self._holder, self._SECONDS):
            if not wait:
                return False
            time.sleep(0.2)
        self._released = threading.Event()
        threading.Thread(target=self._renew, args=(self._holder, self._released), daemon=True).start()
        return True

    def _renew(self, holder: str, released: threading.Event) -> None:
        while not released.wait(self._RENEWED_SECONDS):
            with suppress(StoreUnavailable):
                self._store.hold(self._name, holder, self._SECONDS)

    def release(self) -> None:
        """Give it back."""
        self._released.set()
        with suppress(StoreUnavailable):
            self._store.hold(self._name, self._holder, -1.0)
