"""The file of what stopped on its way: one JSON object a line, mode 0600, each line on disk before the store continues.

A letter is opened by one line and closed by another; nothing is edited in place, so a kill leaves at most one torn
line at the end, which is kept in a file beside it. A letter's id is made from what it is about, so the same failure is
one letter, however often it happens. Knows no SQL, no source and no sink.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from msgspec import Struct, convert, field, to_builtins
from msgspec.structs import replace

from connector.core.errors import StoreUnavailable
from connector.core.source import Event
from connector.file_lock import FileLock

UNREAD: Final = "unread:"
"""How the key of an event begins that its source could not open; see ``DeadLetters.replay``."""

Stage = Literal["normalize", "deliver"]


class Letter(Struct, frozen=True, omit_defaults=True):
    """What stopped, why, and all that is needed to act on it.

    Args:
        stage: ``normalize``: an event that nobody could read; ``deliver``: a row that the destination does not take.
        place: the source's or the route's name.
        subject: the event's key or the record's id.
        reason: plain words: what, where, what would be right. It may quote people's data: it goes only here.
        code: a short stable word for logs and metrics.
        row: the row's key, for ``deliver``.
        where: the mapping's ``file:line`` to look at, or "".
        content: the event, or the row's cells.
        at: when it stopped; filled in by ``add``.
    """

    stage: Stage
    place: str
    subject: str
    reason: str
    code: str = ""
    row: str = ""
    where: str = ""
    tries: int = 1
    content: Mapping[str, Any] = field(default_factory=dict)
    at: datetime | None = None

    @property
    def id(self) -> str:
        """Twelve hex digits; the same for the same event, or the same row of the same record and route."""
        about = json.dumps([self.stage, self.place, self.subject, self.row])
        return blake2b(about.encode(), digest_size=6).hexdigest()

    @property
    def why(self) -> str:
        return self.reason if self.where in self.reason else f"{self.reason} ({self.where})"


def letter_of_event(event: Event, reason: str, code: str) -> Letter:
    return Letter(
        "normalize", event.source, event.key, reason, code,
        content={
            "topic": event.topic,
            "at": event.at,
            "received_at": event.received_at.isoformat(),
            "body": event.body.decode(errors="surrogateescape"),
        },
    )  # fmt: skip


def event_of(letter: Letter) -> Event:
    content = letter.content
    return Event(
        letter.place,
        letter.subject,
        content["topic"],
        content["at"],
        datetime.fromisoformat(content["received_at"]),
        content["body"].encode(errors="surrogateescape"),
    )


class Store(Protocol):
    def replay(self, events: Sequence[Event]) -> None: ...

    def enqueue(self, route: str, record_ids: Iterable[str]) -> int: ...


class DeadLetters:
    """The open letters of one file. Any thread, any process.

    Args:
        path: made when the first letter comes. ``PATH.lock`` keeps two processes apart, ``PATH.torn`` keeps torn lines.
        now: aware UTC.
    """

    def __init__(self, path: Path, *, now: Callable[[], datetime]) -> None:
        self.path = path
        self._now = now
        self._lock = FileLock(path.with_name(f"{path.name}.lock"))
        self._torn = path.with_name(f"{path.name}.torn")
        self._open: dict[str, Letter] = {}
        self._about: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._read_to = 0
        self._file_id: tuple[int, int] | None = None
        self._loaded = False

    # ------------------------------------------------ writing

    def add(self, letters: Sequence[Letter]) -> int:
        """Open *letters*: on disk when this returns; how many were not open before. Raises StoreUnavailable.

        One that is open already and says the same is not repeated: the program died between this file and the store.
        """
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
                lines.append(_line(_opening(replace(letter, at=self._now()))))
            # Also without lines: a letter that is open already may be of a process that was killed before its sync.
            self._append(lines)
            _sync_folder(self.path.parent)
        return len(new)

    def close(self, ids: Iterable[str], how: Literal["delivered", "read", "replayed", "dropped"]) -> int:
        """Close those of the letters that are open; how many were. Raises StoreUnavailable."""
        ids = list(ids)
        if not ids:
            return 0  # a file that can't be written stops only what has to be written there
        with self._held():
            closing = [letter_id for letter_id in dict.fromkeys(ids) if letter_id in self._open]
            at = self._now().isoformat(timespec="milliseconds")
            if closing:
                self._append([_line({"id": letter_id, "closed": how, "at": at}) for letter_id in closing])
        return len(closing)

    def ids_about(self, place: str, subject: str) -> set[str]:
        """The open letters about that event of a source, or that record of a route, from memory: delivery asks after
        every row."""
        if not self._loaded:
            # A file that can't be read or written stops only what has to be written there: nothing could be closed.
            with suppress(StoreUnavailable):
                self.counts()
        return set(self._about.get((place, subject), ()))

    def replay(self, ids: Iterable[str], store: Store, reopen: Callable[[Event], Event] | None = None) -> int:
        """Put back what those letters are about, into the inbox or into what is pending; how many letters that were.

        First into the store, then closed here: to replay a letter again after a kill in between does no harm.

        Args:
            reopen: opens an ``UNREAD`` event as its source would open it today.
        """
        replayed = 0
        for letter_id in dict.fromkeys(ids):
            letter = self.get(letter_id)
            if letter is None:
                continue
            if letter.stage == "normalize":
                event = event_of(letter)
                store.replay([reopen(event) if reopen and letter.subject.startswith(UNREAD) else event])
            else:
                store.enqueue(letter.place, [letter.subject])
            replayed += self.close([letter_id], "replayed")
        return replayed

    def forget(self, is_about: Callable[[Letter], bool]) -> int:
        """Rewrite the file without these letters and without closed ones; how many open letters went."""
        with self._held():
            kept = [letter for letter in self._open.values() if not is_about(letter)]
            gone = len(self._open) - len(kept)
            self._rewrite([_line(_opening(letter)) for letter in kept])
            self._torn.unlink(missing_ok=True)
        return gone

    # ------------------------------------------------ reading

    def list(self) -> list[Letter]:
        with self._held():
            return list(self._open.values())

    def get(self, letter_id: str) -> Letter | None:
        """By its id, or by the beginning of one id."""
        with self._held():
            if letter_id not in self._open:
                begun = [known for known in self._open if letter_id and known.startswith(letter_id)]
                if len(begun) != 1:
                    return None
                (letter_id,) = begun
            return self._open[letter_id]

    def counts(self) -> Counter[tuple[str, str]]:
        """Open letters by (stage, place)."""
        with self._held():
            return Counter((letter.stage, letter.place) for letter in self._open.values())

    # ------------------------------------------------ the file

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
                letter_id = fields["id"]
                letter = None if "closed" in fields else convert(fields, Letter)
            except (ValueError, KeyError, TypeError):
                self._put_aside(line)  # an edited line, or a bad disk: the other letters are still good
                continue
            if letter is not None:
                self._open[letter_id] = letter
                self._about[letter.place, letter.subject].add(letter_id)
            elif (known := self._open.pop(letter_id, None)) is not None:
                self._about[known.place, known.subject].discard(letter_id)

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


def _opening(letter: Letter) -> dict[str, Any]:
    return {"id": letter.id, **to_builtins(letter)}


def _line(fields: Mapping[str, Any]) -> bytes:
    # ASCII only: a lone surrogate or a line separator in a person's name can neither break the line nor the encoding.
    return json.dumps(fields, separators=(",", ":")).encode("ascii") + b"\n"


def _sync_folder(folder: Path) -> None:
    if os.name != "nt":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # else a power loss may take the new file's name away
        finally:
            os.close(descriptor)
