"""The file of what stopped on its way: one JSON object a line, mode 0600, each line on disk before the store continues.

A letter is opened by one line and closed by another; nothing is edited in place, so a kill leaves at most one torn
line at the end, which is kept in a file beside it.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path

from msgspec import convert
from msgspec.structs import replace

from connector.core.errors import StoreUnavailable
from connector.dead_letters.letters import DeadLetters, How, Letter, dump_letter, dump_line
from connector.file_lock import FileLock

_NO_LETTER = (ValueError, KeyError, TypeError, RecursionError)


class LetterFile(DeadLetters):
    """The open letters of one file.

    Args:
        path: made when the first letter comes. ``PATH.lock`` keeps two processes apart, ``PATH.torn`` keeps torn lines.
        now: aware UTC.
    """

    def __init__(self, path: Path, *, now: Callable[[], datetime]) -> None:
        self.path = path
        self._now = now
        self._lock = FileLock(path.with_name(f"{path.name}.lock"))
        self._torn = path.with_name(f"{path.name}.torn")
        self._mark = path.with_name(f"{path.name}.forgotten")
        self._open: dict[str, Letter] = {}
        self._about: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._read_to = 0
        self._file_id: tuple[int, int] | None = None
        self._loaded = False

    # ------------------------------------------------ writing

    def add(self, letters: Sequence[Letter]) -> int:
        if not letters:
            return 0
        with self._held():
            lines: list[bytes] = []
            new: set[str] = set()
            for letter in letters:
                known = self._open.get(letter.id)
                if known is None:
                    new.add(letter.id)
                elif replace(known, at=None, tries=1) == replace(letter, at=None, tries=1):
                    continue
                lines.append(_line(dump_letter(replace(letter, at=self._now()))))
            # Also without lines: a letter that is open already may be of a process that was killed before its sync.
            self._append(lines)
            _sync_folder(self.path.parent)
        return len(new)

    def close(self, ids: Iterable[str], how: How) -> int:
        ids = list(ids)
        if not ids:
            return 0  # a file that can't be written stops only what has to be written there
        with self._held():
            closing = [letter_id for letter_id in dict.fromkeys(ids) if letter_id in self._open]
            at = self._now().isoformat(timespec="milliseconds")
            if closing:
                self._append([_line(dump_line({"id": letter_id, "closed": how, "at": at})) for letter_id in closing])
        return len(closing)

    def ids_about(self, place: str, subjects: Iterable[str]) -> set[str]:
        """From memory."""
        if not self._loaded:
            # A file that can't be read or written stops only what has to be written there: nothing could be closed.
            with suppress(StoreUnavailable):
                self.counts()
        return {letter_id for subject in subjects for letter_id in self._about.get((place, subject), ())}

    def forget(self, is_about: Callable[[Letter], bool]) -> int:
        """Rewrite the file without these letters and without closed ones."""
        with self._held():
            return self._keep([letter for letter in self._open.values() if not is_about(letter)])

    def follow_forgotten(self, mark: str, still_open: Callable[[Iterable[str]], set[str]]) -> None:
        """Rewrite the file with no letter but those that are open elsewhere, once for each *mark*: ``PATH.forgotten``
        has the last one.

        Args:
            still_open: of these ids, those that are open.
        """
        with self._held():
            if mark == (self._mark.read_text(errors="replace") if self._mark.exists() else ""):
                return
            ids = still_open(self._open)  # within the lock: what is in the file was opened there before
            self._keep([letter for letter_id, letter in self._open.items() if letter_id in ids])
            self._mark.write_text(mark)  # killed before this, it is done once more

    def _keep(self, kept: Sequence[Letter]) -> int:
        gone = len(self._open) - len(kept)
        self._rewrite([_line(dump_letter(letter)) for letter in kept])
        self._torn.unlink(missing_ok=True)
        return gone

    # ------------------------------------------------ reading

    def list(self) -> Sequence[Letter]:
        with self._read():
            return list(self._open.values())

    def get(self, letter_id: str) -> Letter | None:
        with self._read():
            if letter_id not in self._open:
                begun = [known for known in self._open if letter_id and known.startswith(letter_id)]
                if len(begun) != 1:
                    return None
                (letter_id,) = begun
            return self._open[letter_id]

    def closed(self) -> Mapping[str, tuple[Letter, How]]:
        """Read from the file each time: closed letters take no memory."""
        letters: dict[str, Letter] = {}
        closed: dict[str, tuple[Letter, How]] = {}
        with self._read():
            for line in self.path.read_bytes().splitlines() if self.path.exists() else ():
                with suppress(*_NO_LETTER):  # an edited line, as in _take_in
                    fields = json.loads(line)
                    letter_id = fields["id"]
                    if "closed" not in fields:
                        letters[letter_id] = convert(fields, Letter)
                    elif letter_id in letters:
                        closed[letter_id] = (letters.pop(letter_id), fields["closed"])
        return {letter_id: found for letter_id, found in closed.items() if letter_id not in letters}

    def counts(self) -> Counter[tuple[str, str]]:
        with self._read():
            return Counter((letter.stage, letter.place) for letter in self._open.values())

    # ------------------------------------------------ the file

    def _read(self) -> AbstractContextManager[None]:
        """``_held``; who only looks makes no file where there is none."""
        return self._held() if self._loaded or os.path.exists(self.path) else nullcontext()

    @contextmanager
    def _held(self) -> Iterator[None]:
        """The lock, with what others wrote taken in; an OSError leaves as StoreUnavailable."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._lock:
                self._refresh()
                self._loaded = True
                yield
        except OSError as error:
            raise StoreUnavailable(f"{self.path}: {error.strerror}") from error

    def _refresh(self) -> None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._forget_all()
            return
        if (found.st_dev, found.st_ino) != self._file_id or found.st_size < self._read_to:
            self._forget_all()
            self._file_id = (found.st_dev, found.st_ino)
        if found.st_size == self._read_to:
            return
        with self.path.open("rb") as file:
            file.seek(self._read_to)
            data = file.read()
        end = data.rfind(b"\n") + 1
        self._take_in(data[:end])
        if end < len(data):
            self._put_aside(data[end:])
            # We hold the lock, so nobody is writing this line any more: the program died over it.
            os.truncate(self.path, self._read_to)

    def _forget_all(self) -> None:
        self._open.clear()
        self._about.clear()
        self._read_to = 0
        self._file_id = None

    def _take_in(self, data: bytes) -> None:
        self._read_to += len(data)
        for line in data.splitlines(keepends=True):
            try:
                fields = json.loads(line)
                if "closed" not in fields:
                    letter = convert(fields, Letter)
                    self._open[fields["id"]] = letter
                    self._about[letter.place, letter.subject].add(fields["id"])
                elif (known := self._open.pop(fields["id"], None)) is not None:
                    self._about[known.place, known.subject].discard(fields["id"])
            except _NO_LETTER:
                self._put_aside(line)  # an edited line, or a bad disk: the other letters are still good

    def _put_aside(self, fragment: bytes) -> None:
        with _appending(self._torn) as file:
            os.write(file, fragment.rstrip(b"\n") + b"\n")
            os.fsync(file)

    def _append(self, lines: Sequence[bytes]) -> None:
        data = b"".join(lines)
        with _appending(self.path) as file:
            start = os.fstat(file).st_size
            try:
                while data:
                    data = data[os.write(file, data) :]
                os.fsync(file)
            except OSError:
                os.ftruncate(file, start)  # a full disk: half a line must not be before the next one
                raise
        self._refresh()

    def _rewrite(self, lines: Sequence[bytes]) -> None:
        file, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")  # mode 0600
        try:
            with os.fdopen(file, "wb") as out:
                out.write(b"".join(lines))
                out.flush()
                os.fsync(out.fileno())
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync_folder(self.path.parent)
        self._forget_all()
        self._refresh()


@contextmanager
def _appending(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        yield file
    finally:
        os.close(file)


def _line(text: str) -> bytes:
    return text.encode("ascii") + b"\n"


def _sync_folder(folder: Path) -> None:
    if os.name != "nt":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # else a power loss may take the new file's name away
        finally:
            os.close(descriptor)
