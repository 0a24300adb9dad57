"""One holder of a file at a time, across processes; the system lets go when the holder dies."""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import suppress
from pathlib import Path


class FileLock:
    """A lock file. Re-usable, one holder at a time among threads too.

    Args:
        path: made (mode 0600) when missing, never removed: removing it would let two holders in.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._threads = threading.Lock()
        self._file: int | None = None

    def acquire(self, *, wait: bool) -> bool:
        """Take the lock. With *wait* it blocks until it is free; without, False when another holder has it.

        Raises:
            OSError: the lock file can't be opened (a read-only folder, say).
        """
        if not self._threads.acquire(blocking=wait):
            return False
        held = False
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            held = _lock_open_file(self._file, wait=wait)
        finally:
            if not held:
                self.release()
        return held

    def release(self) -> None:
        """Give it back."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)  # closing gives the system's lock back
        self._threads.release()

    def note(self, text: str) -> None:
        """Leave a word about the holder in the file, for those who are refused; none on a full disk."""
        assert self._file is not None
        with suppress(OSError):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, text.encode(), 0)

    def read_note(self) -> str:
        """What the holder left, or ""."""
        try:
            return self.path.read_text(errors="replace").strip()
        except OSError:
            return ""

    def __enter__(self) -> FileLock:
        self.acquire(wait=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _lock_open_file(file: int, *, wait: bool) -> bool:
    """False when another process, or another opening of the file, has the lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
