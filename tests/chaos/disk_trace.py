"""What a process did to its disk, change by change, and what a power loss at any moment would have left of it.

``disk_trace.c``, preloaded, writes the changes down. A fsync makes durable what a file held; a fsync of a folder, which
names it held. What came after is lost when the power goes, or kept in part and in any order: both are modelled.
"""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_source = Path(__file__).with_name("disk_trace.c")
_head = struct.Struct("<cQqII")
_sector_bytes = 512


def build(folder: Path) -> Path | str:
    """Compile the tracer into *folder*; a text is the reason why it can't be."""
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if os.uname().sysname != "Linux":
        return "the tracer of disk changes is written for Linux"
    if compiler is None:
        return "no C compiler: the tracer of disk changes can't be built"
    library = folder / "disk_trace.so"
    done = subprocess.run(
        [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(_source), "-lpthread"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return library if done.returncode == 0 else f"the tracer of disk changes can't be built: {done.stderr[-300:]}"


class Tracer:
    """The tracer inside of the process that it is preloaded into."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        self._begin, self._mark, self._kill_in = library.trace_begin, library.trace_mark, library.trace_kill_in
        self._begin.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_long]
        self._mark.argtypes = [ctypes.c_char_p]
        self._kill_in.argtypes = [ctypes.c_long]
        self._fail_syncs = library.trace_fail_syncs
        self._fail_syncs.argtypes = [ctypes.c_long]

    @staticmethod
    def is_there() -> bool:
        return hasattr(ctypes.CDLL(None), "trace_begin")

    def begin(self, folder: Path, log: Path | None = None) -> None:
        """Watch what changes below *folder*; write it to *log*."""
        self._begin(os.fsencode(folder), b"" if log is None else os.fsencode(log), -1)

    def mark(self, text: str) -> None:
        """Note that the process has promised something at this moment."""
        self._mark(text.encode())

    def fail_syncs(self, every: int) -> None:
        """Let every so-many-th sync fail (0: none); what it was to save is lost."""
        self._fail_syncs(every)

    def kill_in(self, changes: int) -> None:
        """SIGKILL right before that many changes from now (1: the next)."""
        self._kill_in(changes)


@dataclass(frozen=True, slots=True)
class Change:
    """*what*: N(ew file) W(ritten) T(runcated to offset) S(ynced) L(ost, by a failing sync) R(enamed) U(nlinked)
    M(ark)."""

    what: str
    file: int
    offset: int
    data: bytes
    data2: bytes


def read(log: Path) -> Iterator[Change]:
    """The changes in the order in which they were made."""
    content = log.read_bytes()
    at = 0
    while at < len(content):
        what, file, offset, length, length2 = _head.unpack_from(content, at)
        at += _head.size
        data, data2 = content[at : at + length], content[at + length : at + length + length2]
        at += length + length2
        yield Change(what.decode(), file, offset, data, data2)


@dataclass
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)


class Disk:
    """A folder on a disk that keeps for certain only what was synced. Feed it changes; ask what a power loss leaves."""

    def __init__(self) -> None:
        self._files: list[_File] = []
        self._by_inode: dict[int, int] = {}
        self._live: dict[bytes, int] = {}
        self._durable: dict[bytes, int] = {}
        self._pending: list[tuple[Change, int]] = []

    def take(self, change: Change) -> None:
        if change.what in "NRU":
            if change.what == "N":
                self._by_inode[change.file] = len(self._files)
                self._files.append(_File())
            self._rename(self._live, change, len(self._files) - 1)
            self._pending.append((change, len(self._files) - 1))
        elif change.what in "WT":
            self._files[self._by_inode[change.file]].pending.append(change)
        elif change.what == "L" and change.file in self._by_inode:
            self._files[self._by_inode[change.file]].pending.clear()
        elif change.what == "S":
            number = self._by_inode.get(change.file)
            if number is None:
                for naming, made in self._pending:
                    self._rename(self._durable, naming, made)
                self._pending.clear()
            else:
                file = self._files[number]
                for earlier in file.pending:
                    _apply(file.durable, earlier)
                file.pending.clear()

    def _rename(self, names: dict[bytes, int], change: Change, made: int) -> None:
        if change.what == "N":
            names[change.data] = made
        elif (number := names.pop(change.data, None)) is not None and change.what == "R":
            names[change.data2] = number

    def after_power_loss(self, chance: random.Random | None) -> dict[str, bytes]:
        """Contents by name. None: all that was not synced is gone; else some of it is there, torn and out of order."""
        names = dict(self._durable)
        if chance is not None:
            for naming, made in self._pending[: chance.randint(0, len(self._pending))]:
                self._rename(names, naming, made)
        return {
            os.fsdecode(os.path.basename(path)): bytes(self._content(self._files[number], chance))
            for path, number in names.items()
        }

    def _content(self, file: _File, chance: random.Random | None) -> bytearray:
        if chance is None or not file.pending:
            return file.durable
        content = bytearray(file.durable)
        share = chance.choice([0.0, 0.5, 1.0])
        for change in file.pending:
            if chance.random() < share:
                torn = change.what == "W" and chance.random() < 0.1
                sectors = -(-len(change.data) // _sector_bytes)
                _apply(content, change, chance.randrange(sectors + 1) * _sector_bytes if torn else None)
        return content


def _apply(content: bytearray, change: Change, length: int | None = None) -> None:
    if change.what == "T":
        del content[change.offset :]
        content.extend(bytes(change.offset - len(content)))
        return
    data = change.data if length is None else change.data[:length]
    if len(content) < change.offset:
        content.extend(bytes(change.offset - len(content)))
    content[change.offset : change.offset + len(data)] = data
