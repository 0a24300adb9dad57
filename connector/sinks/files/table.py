"""What the CSV and the XLSX sink share: upserting into a table that people work in, and replacing its file atomically.

Knows neither CSV nor XLSX: a format brings a ``Document`` that loads, shows tables and dumps itself.
The file on disk is always a whole old or a whole new one: new content goes into a temporary file of the same folder,
is fsynced, and takes the name by a rename; the folder is fsynced after it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import time
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol
from uuid import uuid4

from msgspec import Struct, field
from msgspec.structs import replace

from connector.core.errors import NeedsAction, StartOver, TryLater
from connector.core.overwrite import decide, is_empty
from connector.core.row import Cell, Column, Row
from connector.core.sink import Change, Finding, Host, Outcome, SinkOptions, Target, TargetOptions

# ---------------------------------------------------------------- the table


class CellRefused(Exception):
    """A cell that the format has no place for; the row is refused, the others are written.

    Args:
        code: short and stable, for logs.
        reason: plain words, what to do.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Table(Protocol):
    """A header and rows, in the format's own raw cells. Places are row numbers, valid until ``drop``."""

    def headers(self) -> Sequence[str]:
        """The header's texts by position; () for an empty table."""
        ...

    def keys(self, position: int) -> Iterator[tuple[int, str]]:
        """Places of the rows and the canonical text of their cell at *position*. Empty cells are left out."""
        ...

    def find(self, key: str, position: int) -> Sequence[int]:
        """Places, in their order, of the rows whose cell at *position* holds that canonical text."""
        ...

    def row(self, place: int) -> Sequence[Any]:
        """The raw cells of a row; may be shorter than the header."""
        ...

    def encode(self, column: Column, cell: Cell) -> Any:
        """The raw cell for *cell*. Raises CellRefused."""
        ...

    def decode(self, column: Column, raw: Any) -> Cell:
        """What a raw cell (None beyond the row's end) says; text where the format keeps no types."""
        ...

    def same(self, column: Column, there: Any, raw: Any) -> bool:
        """Whether the raw cell that is there needs no writing to become *raw*."""
        ...

    def add_columns(self, columns: Sequence[Column]) -> None:
        """Append to the header (make it, when there is none)."""
        ...

    def update(self, place: int, cells: Mapping[int, tuple[Column, Any]]) -> None:
        """Put raw cells, by position, into a row."""
        ...

    def append(self, key: str, position: int, cells: Mapping[int, tuple[Column, Any]]) -> None:
        """Add a row after the last; *key* is the canonical text of the cell at *position*."""
        ...

    def drop(self, places: Iterable[int]) -> None:
        """Delete rows. Places are no longer valid afterwards."""
        ...


class Document(Protocol):
    """A parsed file."""

    def table(self, target: Target) -> Table:
        """The table that *target* writes; empty when it does not exist yet. Raises NeedsAction."""
        ...

    def dump(self) -> bytes:
        """The whole file."""
        ...

    def facts(self, target: Target) -> str:
        """A few words for ``check``: dialect, tab."""
        ...


def canonical_key(text: str) -> str:
    """NFC, trimmed: how a key is compared."""
    return (text if text.isascii() else unicodedata.normalize("NFC", text)).strip()


def locate(headers: Sequence[str], names: Iterable[str]) -> dict[str, int]:
    """Where each of *names* stands: by the exact header first, else by its letters whatever their case and spaces.

    The first of two equal headers counts. Names that are not found are absent.
    """
    exact: dict[str, int] = {}
    loose: dict[str, int] = {}
    for position, header in enumerate(headers):
        exact.setdefault(header, position)
        loose.setdefault(canonical_key(header).casefold(), position)
    found: dict[str, int] = {}
    taken: set[int] = set()
    missed: list[str] = []
    for name in names:
        if name in exact:
            found[name] = exact[name]
            taken.add(exact[name])
        else:
            missed.append(name)
    for name in missed:
        position = loose.get(canonical_key(name).casefold(), -1)
        if position >= 0 and position not in taken:
            found[name] = position
            taken.add(position)
    return found


class RowPlan(Struct):
    """What one row asks of the table: ``place`` None is a new row; ``remove`` are the places to delete."""

    row: Row
    place: int | None = None
    cells: dict[str, tuple[Cell, Cell, Any]] = field(default_factory=dict)  # by column: there, new, raw
    remove: tuple[int, ...] = ()
    outcome: Outcome | None = None


class Plan(Struct):
    """What a batch would change."""

    positions: dict[str, int]
    new_columns: tuple[Column, ...]
    rows: list[RowPlan]

    @property
    def changes(self) -> bool:
        """Whether the file would be another one afterwards."""
        return bool(self.new_columns) or any(plan.cells or plan.remove for plan in self.rows)


def make_plan(table: Table, target: Target, rows: Sequence[Row], file: str) -> Plan:
    """Decide what *rows* change in *table*; changes nothing.

    Raises:
        NeedsAction: the key's column is missing, or another one under ``missing_columns = "stop"``.
    """
    headers = table.headers()
    positions = locate(headers, (column.name for column in target.columns))
    missing = tuple(column for column in target.columns if column.name not in positions)
    if headers and target.key not in positions:
        raise NeedsAction(
            f'{file} has no column "{target.key}", which finds the rows again. Its header is the first line: add '
            f'"{target.key}" there (or name it back), or let the sink write another file; nothing was changed.'
        )
    if headers and missing and target.options.missing_columns == "stop":
        names = ", ".join(f'"{column.name}"' for column in missing)
        raise NeedsAction(
            f'{file} lacks {names}: add them to its header, or set missing_columns = "create" in {target.file}.'
        )
    for column in missing:
        positions[column.name] = max(len(headers), max(positions.values(), default=-1) + 1)
    columns = {column.name: column for column in target.columns}
    plan = Plan(positions, missing, [_plan_row(table, target, columns, positions, row) for row in rows])
    if headers and missing and plan.rows:
        names = ", ".join(f'"{column.name}"' for column in missing)
        notice = f"made the missing columns {names}; `connector resync {target.route}` fills them for all rows"
        first = plan.rows[0]
        assert first.outcome is not None
        first.outcome = replace(first.outcome, notices=(*first.outcome.notices, notice))
    return plan


def _plan_row(
    table: Table,
    target: Target,
    columns: Mapping[str, Column],
    positions: Mapping[str, int],
    row: Row,
) -> RowPlan:
    found = table.find(canonical_key(row.key), positions[target.key])
    if row.remove:
        # All of them: a person whose record is to go must not stay in a second row.
        return RowPlan(row, remove=tuple(found), outcome=Outcome(row.key, "written"))
    created = not found
    there = () if created else table.row(found[0])
    plan = RowPlan(row, place=None if created else found[0])
    notices: list[str] = []
    for name, new in row.cells.items():
        column = columns[name]
        position = positions[name]
        raw_there = there[position] if position < len(there) else None
        if name == target.key:
            # An existing key cell is left as the person's program wrote it: it has been found, after all.
            if created:
                plan.cells[name] = (None, new, _encoded(table, column, new, plan, notices))
            continue
        old = None if created else table.decode(column, raw_there)
        if decide(column, old, new, created=created) == "keep":
            continue
        raw = _encoded(table, column, new, plan, notices)
        if raw is _left_out or table.same(column, raw_there, raw):
            continue
        plan.cells[name] = (old, new, raw)
        if row.last is not None and name in row.last and not is_empty(old):
            try:
                edited = not table.same(column, raw_there, table.encode(column, row.last[name]))
            except CellRefused:
                edited = True
            if edited:
                notices.append(f"{name}: a person's edit was overwritten")
    if created and plan.cells.get(target.key, (None, None, _left_out))[2] is _left_out and plan.outcome is None:
        plan.outcome = Outcome(
            row.key, "refused", "the key can't be written, so the row could not be found again", "key", target.key
        )
    if plan.outcome is not None:  # refused
        plan.cells.clear()
        return plan
    if len(found) > 1:
        notices.append(f"the key stands in {len(found)} rows; the first one is kept up to date")
    plan.outcome = Outcome(row.key, "written", notices=tuple(notices))
    return plan


_left_out = object()


def _encoded(table: Table, column: Column, cell: Cell, plan: RowPlan, notices: list[str]) -> Any:
    """The raw cell, or ``_left_out``: the format has no place for it, and the row is refused or does without it."""
    try:
        return table.encode(column, cell)
    except CellRefused as refusal:
        if column.on_error == "leave_empty":
            notices.append(f"{column.name}: left as it was ({refusal.code})")
        elif plan.outcome is None:
            plan.outcome = Outcome(
                plan.row.key, "refused", reason=refusal.reason, code=refusal.code, column=column.name
            )
        return _left_out


def carry_out(table: Table, target: Target, plan: Plan) -> list[int]:
    """Do to *table* what *plan* says; *plan* must have been made from this very table.

    Returns:
        The places that are still to be dropped.
    """
    if plan.new_columns:
        table.add_columns(plan.new_columns)
    columns = {column.name: column for column in target.columns}
    remove: list[int] = []
    for item in plan.rows:
        remove.extend(item.remove)
        if not item.cells:
            continue
        cells = {plan.positions[name]: (columns[name], raw) for name, (_, _, raw) in item.cells.items()}
        if item.place is None:
            table.append(canonical_key(item.row.key), plan.positions[target.key], cells)
        else:
            table.update(item.place, cells)
    return remove


# ---------------------------------------------------------------- the file

Signature = tuple[int, int, int]
"""(mtime in ns, size, inode): another one means that somebody changed the file."""

_locks: dict[str, threading.Lock] = {}
_locks_guard = threading.Lock()


def lock_of(path: Path) -> threading.Lock:
    """One lock a file, whichever sinks and routes of this process write it."""
    with _locks_guard:
        return _locks.setdefault(os.path.realpath(path), threading.Lock())


class ChangedMeanwhile(Exception):
    """Somebody changed the file after it was read: read it again."""


def signature_of(path: Path) -> Signature | None:
    """None when there is no such file. Raises OSError."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def read_file(path: Path) -> tuple[bytes, Signature] | None:
    """All of a file, and the signature it had *before* it was read. Raises OSError, ChangedMeanwhile."""
    try:
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            content = file.read()
            after = os.fstat(file.fileno())
    except FileNotFoundError:
        return None
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size) or len(content) != after.st_size:
        raise ChangedMeanwhile
    return content, (before.st_mtime_ns, before.st_size, before.st_ino)


def replace_file(path: Path, content: bytes, expected: Signature | None) -> Signature:
    """Put *content* in the place of *path*, all or nothing, surviving a power loss.

    The mode (and owner, where the system allows it) of an existing file stays. A new file is readable for its owner
    and, as far as the umask allows, for its group; never for others: it holds names and e-mail addresses.

    Raises:
        ChangedMeanwhile: the file no longer is the *expected* one; nothing was written.
        OSError
    """
    folder = path.parent
    temporary = folder / f".{path.name}.{uuid4().hex[:12]}.tmp"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o660)
    try:
        with os.fdopen(handle, "wb", buffering=0) as file:
            _take_over_mode(handle, path)
            view = memoryview(content)
            while view:
                view = view[file.write(view) :]
            os.fsync(handle)
            mine = os.fstat(handle)
        # The last moment: between this look and the rename lie microseconds in which an edit would be lost.
        if signature_of(path) != expected:
            raise ChangedMeanwhile  # noqa: TRY301 - the temporary file is cleared away below
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(folder)
    return mine.st_mtime_ns, mine.st_size, mine.st_ino


def _take_over_mode(handle: int, path: Path) -> None:
    try:
        old = path.stat()
    except FileNotFoundError:
        return
    if hasattr(os, "fchown"):
        new = os.fstat(handle)
        if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
            # Only root may give files away: the mode below still lets in whom it let in by group or others.
            with contextlib.suppress(PermissionError):
                os.fchown(handle, old.st_uid, old.st_gid)
        os.fchmod(handle, stat.S_IMODE(old.st_mode))


def sync_file(path: Path) -> None:
    """What *path* holds, and its name, are on the disk afterwards. Raises OSError."""
    if not hasattr(os, "O_DIRECTORY"):
        return  # Windows syncs only what is open for writing
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):
        return  # Windows has no handle for a folder; the rename is journalled there
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_full = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_busy = {errno.EBUSY, errno.ETXTBSY, errno.EAGAIN, errno.EDEADLK}
_denied = {errno.EACCES, errno.EPERM, errno.EROFS}


def translated(error: OSError, path: Path) -> TryLater | NeedsAction:
    """What an operating-system error means for the route, in words that say what to do."""
    if error.errno in _full:
        return TryLater(f"the disk (or quota) that holds {path} is full: free some space; writing goes on by itself")
    if error.errno in _busy or (os.name == "nt" and isinstance(error, PermissionError)):
        return TryLater(f"{path} is open in another program: close it there; writing goes on by itself", after=10.0)
    if error.errno in _denied:
        return NeedsAction(
            f"may not write {path}: give the user that runs the connector read and write access to the file and to "
            f"its folder {path.parent} (a new version takes the file's place there)"
        )
    if isinstance(error, IsADirectoryError | NotADirectoryError) or error.errno in {errno.ENAMETOOLONG, errno.ELOOP}:
        return NeedsAction(f"{path} can't be a file ({error.strerror}): set another path in the sink's configuration")
    return TryLater(f"{path}: {error.strerror or type(error).__name__}")


def lock_file_of(path: Path) -> Path | None:
    """The mark that Excel (``~$name``) or LibreOffice (``.~lock.name#``) leaves beside a file that it has open."""
    for name in (f"~${path.name}", f".~lock.{path.name}#"):
        mark = path.with_name(name)
        if mark.exists():
            return mark
    return None


# ---------------------------------------------------------------- the sink


class TableFileOptions(SinkOptions):
    """What both files understand."""

    path: Path
    """The file; it and its folder are made when they are missing."""


_tries = 6
_planned_at_once = 100  # rows: a plan holds each of their cells three times
_quiet_seconds = 0.5
_stale_seconds = 600.0


class TableFile:
    """A sink that keeps one table file. The formats subclass it."""

    Options: ClassVar[type[SinkOptions]] = TableFileOptions
    TargetOptions: ClassVar[type[TargetOptions]] = TargetOptions
    batch_rows = 2_000  # more would hold more memory than they save rewriting

    rest = 3.0
    """How many times a flush's own duration the sink rests before the next one, so that a burst becomes few flushes
    and writing never takes more than a quarter of a core."""
    longest_rest_seconds = 60.0

    def __init__(self, name: str, options: TableFileOptions, host: Host) -> None:
        self.name = name
        self._host = host
        self._path = Path(os.path.realpath(options.path))  # a link keeps pointing to the file that is replaced
        self._lock = lock_of(self._path)
        self._cache: tuple[Signature, Document] | None = None
        self._ready_at = 0.0
        self._swept = False
        self._synced = False
        self._filled: set[str] = set()  # routes whose table is known to be there
        self._starting_over: set[str] = set()

    # ------------------------------------------------------------ what a format brings

    def _load(self, content: bytes, target: Target) -> Document:
        """Parse a file; b"" is an empty one. Raises NeedsAction."""
        raise NotImplementedError

    # ------------------------------------------------------------ the contract

    def pace(self, target: Target) -> float:  # noqa: ARG002 - one file, one pace
        return max(0.0, self._ready_at - self._host.monotonic())

    def write(self, target: Target, rows: Sequence[Row]) -> Sequence[Outcome]:
        if not rows:
            return ()
        started = self._host.monotonic()
        with self._lock:
            try:
                outcomes = self._flush(target, rows)
            finally:
                ended = self._host.monotonic()
                self._ready_at = ended + min(self.longest_rest_seconds, self.rest * (ended - started))
        self._host.metric("calls", 1)
        self._host.metric("call_seconds", ended - started)
        return outcomes

    def check(self, target: Target, *, probe: bool = False) -> Sequence[Finding]:  # noqa: ARG002 - nothing to probe
        path = self._path
        findings: list[Finding] = []
        folder = path.parent
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if not os.access(folder, os.W_OK | os.X_OK):
            findings.append(Finding("problem", str(path), f"the folder {folder} is not writable: give it to our user"))
        mark = lock_file_of(path)
        if mark is not None:
            findings.append(Finding("notice", str(path), _is_open(path, mark)))
        try:
            with self._lock:
                document, _ = self._read(target)
                table = document.table(target)
                if not table.headers():
                    made = "is empty" if path.exists() else "does not exist yet"
                    findings.append(Finding("ok", str(path), f"{made}; the first write makes it"))
                    return findings
                findings.append(Finding("ok", str(path), document.facts(target)))
                findings.extend(_check_columns(table, target))
                make_plan(table, target, (), str(path))
        except (NeedsAction, TryLater) as error:
            findings.append(Finding("problem", str(path), error.reason))
        return findings

    def provision(self, target: Target) -> Sequence[Finding]:
        with self._lock:
            for _ in range(_tries):
                document, signature = self._read(target)
                table = document.table(target)
                # A person asked for the columns by name: that is the permission that "stop" waits for.
                missing = [c for c in target.columns if c.name not in locate(table.headers(), [c.name])]
                if not missing:
                    return (Finding("ok", str(self._path), "all columns are there"),)
                if table.headers() and any(column.name == target.key for column in missing):
                    make_plan(table, target, (), str(self._path))  # raises the words for a file without its key
                self._cache = None
                table.add_columns(missing)
                if self._save(document, signature):
                    return tuple(Finding("ok", column.name, f"made in {self._path}") for column in missing)
        raise _always_changing(self._path)

    def preview(self, target: Target, rows: Sequence[Row]) -> Sequence[Change]:
        with self._lock:
            document, _ = self._read(target)
            plan = make_plan(document.table(target), target, rows, str(self._path))
        return tuple(_change(item) for item in plan.rows)

    def shrink_memory(self) -> None:
        """Forget the parsed file; the next write parses it again."""
        if self._lock.acquire(blocking=False):
            self._cache = None
            self._lock.release()

    def close(self) -> None:
        self._cache = None

    # ------------------------------------------------------------ the way to the file

    def _flush(self, target: Target, rows: Sequence[Row]) -> Sequence[Outcome]:
        for _ in range(_tries):
            document, signature = self._read(target)
            table = document.table(target)
            if not table.headers():
                self._start_over(target)
            outcomes: list[Outcome] = []
            drop: list[int] = []
            changed = False
            for start in range(0, len(rows), _planned_at_once):
                plan = make_plan(table, target, rows[start : start + _planned_at_once], str(self._path))
                if plan.changes:
                    changed, self._cache = True, None  # until it is saved, the document says more than the file
                    drop += carry_out(table, target, plan)
                outcomes += [item.outcome for item in plan.rows if item.outcome is not None]
            if drop:
                table.drop(drop)
            if changed:
                if not self._save(document, signature):
                    continue
            elif not self._synced:
                self._sync()
            self._note_filled(target)
            return outcomes
        raise _always_changing(self._path)

    def _start_over(self, target: Target) -> None:
        """There is no table. Raises StartOver, once, when this route had filled one: with the rows of this batch alone
        the new one would lack all others."""
        if target.route in self._starting_over or self._host.recall(_filled_note(target)) is None:
            return
        self._starting_over.add(target.route)
        self._filled.discard(target.route)
        raise StartOver(f"{self._path} is gone or empty; it is made anew with all its rows")

    def _note_filled(self, target: Target) -> None:
        self._starting_over.discard(target.route)
        if target.route not in self._filled:
            self._host.remember(_filled_note(target), "yes")
            self._filled.add(target.route)

    def _read(self, target: Target) -> tuple[Document, Signature | None]:
        try:
            for _ in range(_tries * 4):
                signature = signature_of(self._path)
                if signature is None:
                    self._cache = None
                    return self._load(b"", target), None
                if self._cache is not None and self._cache[0] == signature:
                    return self._cache[1], signature
                # Somebody else has just saved it, perhaps is still saving: half a file must not become the whole one.
                age = time.time() - signature[0] / 1e9
                if 0 <= age < _quiet_seconds:
                    self._host.wait(_quiet_seconds - age)
                try:
                    found = read_file(self._path)
                except ChangedMeanwhile:
                    continue
                if found is None or found[1] != signature:
                    continue
                document = self._load(found[0], target)
                self._cache = (signature, document)
                return document, signature
        except OSError as error:
            raise translated(error, self._path) from error
        raise _always_changing(self._path)

    def _save(self, document: Document, expected: Signature | None) -> bool:
        """False when the file was changed since it was read."""
        mark = lock_file_of(self._path)
        if mark is not None:
            raise TryLater(_is_open(self._path, mark), after=10.0)
        content = document.dump()
        self._synced = False
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._sweep()
            self._cache = (replace_file(self._path, content, expected), document)
        except ChangedMeanwhile:
            return False
        except OSError as error:
            raise translated(error, self._path) from error
        self._synced = True
        return True

    def _sync(self) -> None:
        """What stands in the file as it should may not be on the disk yet: whoever wrote it was killed before the sync,
        or the sync failed. It must not count as written before it is."""
        try:
            sync_file(self._path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise translated(error, self._path) from error
        self._synced = True

    def _sweep(self) -> None:
        """Once: temporary files that a killed process left. Young ones may be another process's work."""
        if self._swept:
            return
        self._swept = True
        for left in self._path.parent.glob(f".{_literal(self._path.name)}.*.tmp"):
            try:
                if time.time() - left.stat().st_mtime > _stale_seconds:
                    left.unlink()
            except OSError:
                continue  # not ours, or gone already


def _literal(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _filled_note(target: Target) -> str:
    return f"filled:{target.route}"


def _always_changing(path: Path) -> TryLater:
    return TryLater(f"{path} is being changed by another program all the time", after=5.0)


def _is_open(path: Path, mark: Path) -> str:
    return (
        f"{path.name} is open in Excel or LibreOffice (its mark {mark.name} lies beside it): close it there, or delete "
        "the mark if nobody has it open; writing goes on by itself"
    )


def _check_columns(table: Table, target: Target) -> list[Finding]:
    headers = table.headers()
    positions = locate(headers, (column.name for column in target.columns))
    findings: list[Finding] = []
    level: Literal["ok", "notice", "problem"]
    for column in target.columns:
        twice = headers.count(column.name) > 1
        if column.name in positions:
            text = "stands twice in the header; the first one is used" if twice else "found"
            level = "notice" if twice else "ok"
        elif column.name == target.key or target.options.missing_columns == "stop":
            text, level = "is missing", "problem"
        else:
            text, level = "is missing; the first write makes it", "notice"
        findings.append(Finding(level, column.name, text, {"type": column.type, "overwrite": column.overwrite}))
    if target.key in positions:
        rows_of = Counter(key for _, key in table.keys(positions[target.key]))
        several = sum(1 for rows in rows_of.values() if rows > 1)
        if several:
            findings.append(
                Finding("notice", target.key, f"{several} keys stand in more than one row; only the first is updated")
            )
    return findings


def _change(item: RowPlan) -> Change:
    assert item.outcome is not None
    if item.outcome.kind == "refused":
        found_by = None if item.place is None else "key"
        return Change(item.row.key, found_by, {}, f"would be refused: {item.outcome.reason}")
    if item.row.remove:
        note = "the row would be deleted" if item.remove else "there is no such row"
        return Change(item.row.key, "key" if item.remove else None, {}, note)
    cells = {name: (there, new) for name, (there, new, _) in item.cells.items()}
    return Change(
        item.row.key, None if item.place is None else "key", cells, "" if cells else "everything is equal already"
    )
