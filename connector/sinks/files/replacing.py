"""One file that is read whole and replaced whole, and what the system's errors about it mean in words.

Knows no format and no rows. The file on disk is always a whole old or a whole new one: new content goes into a
temporary file of the same folder, is fsynced, and takes the name by a rename; the folder is fsynced after it.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import stat
import threading
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from connector.core.errors import NeedsAction, TryLater

Signature = tuple[int, int, int]
"""(mtime in ns, size, inode): another one means that the file was changed."""

_ERRNOS_OF_A_FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ERRNOS_OF_A_BUSY_FILE = {errno.EBUSY, errno.ETXTBSY, errno.EAGAIN, errno.EDEADLK}
_ERRNOS_OF_MISSING_RIGHTS = {errno.EACCES, errno.EPERM, errno.EROFS}
_ERRNOS_OF_A_WRONG_PATH = {errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}

_locks: dict[str, threading.Lock] = {}


class ChangedMeanwhile(Exception):
    """The file was changed after it was read: read it again."""


def lock_of(path: Path) -> threading.Lock:
    """One lock a file, whichever sinks and routes of this process write it."""
    return _locks.setdefault(os.path.realpath(path), threading.Lock())


def signature_of(path: Path) -> Signature | None:
    """None when there is no such file. Raises OSError."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def read_file(path: Path, expected: Signature) -> bytes:
    """All of a file. Raises OSError, and ChangedMeanwhile when it no longer is the *expected* one."""
    content = path.read_bytes()
    if signature_of(path) != expected:
        raise ChangedMeanwhile
    return content


def replace_file(path: Path, content: bytes, expected: Signature | None) -> Signature:
    """Put *content* in the place of *path*, all or nothing, surviving a power loss.

    The mode (and owner, where the system allows it) of an existing file stays. A new file is readable for its owner
    and, as far as the umask allows, for its group; never for others: it holds names and e-mail addresses.

    Args:
        expected: the signature of the file that *content* was made from; None when there was none.

    Returns:
        The signature of the new file.

    Raises:
        ChangedMeanwhile: the file no longer is the *expected* one; nothing was written.
        OSError
    """
    temporary = path.parent / f".{path.name}.{uuid4().hex[:12]}.tmp"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o660)
    try:
        with os.fdopen(handle, "wb", buffering=0) as file:
            with suppress(OSError):  # where files have no locks, another process may sweep this one
                _lock(handle)
            _copy_mode(path, handle)
            view = memoryview(content)
            while view:
                view = view[file.write(view) :]
            os.fsync(handle)
            mine = os.fstat(handle)
        # As late as possible: an edit between this look and the rename would be lost.
        if signature_of(path) != expected:
            raise ChangedMeanwhile  # noqa: TRY301 - the temporary file is removed below
        os.replace(temporary, path)
    except FileNotFoundError:
        raise ChangedMeanwhile from None  # another process has swept the temporary file
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)
    return mine.st_mtime_ns, mine.st_size, mine.st_ino


def _copy_mode(path: Path, handle: int) -> None:
    """Give the open file the mode and owner of *path*, if there is such a file."""
    try:
        old = path.stat()
    except FileNotFoundError:
        return
    new = os.fstat(handle)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        # Only root may give files away. Without it, the mode below still lets in those whom it let in before.
        with suppress(PermissionError):
            os.fchown(handle, old.st_uid, old.st_gid)
    os.fchmod(handle, stat.S_IMODE(old.st_mode))


def sync_file(path: Path) -> None:
    """Force the content of *path*, and its name, to the disk. Raises OSError."""
    _sync(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(path: Path) -> list[Path]:
    """Remove the copies of the table that killed processes left beside *path*, however young.

    A process locks the temporary file that it is writing; the lock ends with the process.

    Returns:
        The copies that are in use or can't be removed.
    """
    stay: list[Path] = []
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        try:
            handle = os.open(left, os.O_RDWR | os.O_NOFOLLOW)
            try:
                _lock(handle)
            finally:
                os.close(handle)
            left.unlink()
        except FileNotFoundError:
            continue
        except OSError:
            stay.append(left)
    return stay


def _lock(handle: int) -> None:
    """Lock an open file until it is closed. Raises OSError when another process has locked it."""
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def open_elsewhere(path: Path) -> str | None:
    """The words for a file that Excel (``~$name``) or LibreOffice (``.~lock.name#``) has open; None when none has."""
    for name in (f"~${path.name}", f".~lock.{path.name}#"):
        if path.with_name(name).exists():
            return (
                f"{path.name} is open in Excel or LibreOffice (its lock file {name} is beside it): close it there, or "
                "delete the lock file if nobody has it open; writing continues by itself"
            )
    return None


def translated(error: OSError, path: Path) -> TryLater | NeedsAction:
    """What an operating-system error means for the route, in words that say what to do."""
    if error.errno in _ERRNOS_OF_A_FULL_DISK:
        return TryLater(f"the disk (or quota) of {path} is full: free some space; writing continues by itself")
    if error.errno in _ERRNOS_OF_A_BUSY_FILE:
        return TryLater(f"{path} is open in another program: close it there; writing continues by itself", after=10.0)
    if error.errno in _ERRNOS_OF_MISSING_RIGHTS:
        return NeedsAction(
            f"may not write {path}: give the user that runs the connector read and write access to the file and to "
            f"its folder {path.parent} (a new version takes the file's place there)"
        )
    if error.errno in _ERRNOS_OF_A_WRONG_PATH:
        return NeedsAction(f"{path} can't be a file ({error.strerror}): set another path in the sink's configuration")
    return TryLater(f"{path}: {error.strerror or type(error).__name__}")
