"""What the CSV and the XLSX sink share: one table file, read, planned, changed and replaced for each batch.

Knows neither CSV nor XLSX; the formats subclass ``TableFile``.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from connector.core.errors import NeedsAction, StartOver, TryLater
from connector.core.headers import look_alike
from connector.core.row import Column, Row
from connector.core.sink import Change, Finding, Host, Outcome, SinkOptions, Target, TargetOptions
from connector.sinks.files.plan import Document, Table, carry_out, locate, make_plan
from connector.sinks.files.replacing import (
    ChangedMeanwhile,
    Signature,
    lock_of,
    office_lock_of,
    open_elsewhere,
    read_file,
    replace_file,
    signature_of,
    sweep,
    sync_file,
    translated,
)

_ATTEMPTS_PER_FLUSH = 6
_ATTEMPTS_PER_READ = 24
_QUIET_SECONDS = 0.5
_LONGEST_REST_SECONDS = 60.0


class TableFileOptions(SinkOptions):
    """What both files understand."""

    path: Path
    """The file; it and its folder are made when they are missing."""


class TableFile:
    """A sink that keeps one table file. The formats subclass it."""

    moves_rows: ClassVar[bool] = True

    Options: ClassVar[type[SinkOptions]] = TableFileOptions
    TargetOptions: ClassVar[type[TargetOptions]] = TargetOptions
    batch_rows = 2_000
    local = True

    rest = 3.0
    """How many times a write's own duration the sink rests before the next one, so that a burst becomes few writes and
    writing never takes more than a quarter of a core."""

    def __init__(self, name: str, options: TableFileOptions, host: Host) -> None:
        self.name = name
        self._host = host
        self._path = Path(os.path.realpath(options.path))  # a link keeps pointing to the file that is replaced
        self._lock = lock_of(self._path)
        self._parsed: tuple[Signature, Document] | None = None
        self._ready_at = 0.0
        self._synced = False
        self._filled: set[str] = set()  # routes whose table is known to be there
        self._starting_over: set[str] = set()
        sweep(self._path)  # a process that was killed a moment ago may have left a copy of all people

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
                self._ready_at = ended + min(_LONGEST_REST_SECONDS, self.rest * (ended - started))
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
        mark = office_lock_of(path)
        if mark is not None:
            findings.append(Finding("notice", str(path), open_elsewhere(path, mark)))
        try:
            with self._lock:
                document, _ = self._read(target)
                table = document.table(target)
                if not table.headers():
                    made = "is empty" if path.exists() else "does not exist yet"
                    findings.append(Finding("ok", str(path), f"{made}; the first write makes it"))
                    return findings
                findings.append(Finding("ok", str(path), document.facts(target)))
                findings.extend(_column_findings(table, target))
                make_plan(table, target, (), str(path))
        except (NeedsAction, TryLater) as error:
            findings.append(Finding("problem", str(path), error.reason))
        return findings

    def provision(self, target: Target) -> Sequence[Finding]:
        with self._lock:
            for _ in range(_ATTEMPTS_PER_FLUSH):
                document, signature = self._read(target)
                table = document.table(target)
                found = locate(table, target)
                # A person asked for the columns by name: that is the permission that "stop" waits for.
                missing = [column for column in target.columns if column.name not in found]
                if not missing:
                    return (Finding("ok", str(self._path), "all columns are there"),)
                if table.headers() and target.key not in found:
                    make_plan(table, target, (), str(self._path))  # raises the words for a file without its key
                self._parsed = None
                table.add_columns(table.arranged(missing))
                if self._save(document, signature):
                    return tuple(Finding("ok", column.name, f"made in {self._path}") for column in missing)
        raise _always_changing(self._path)

    def preview(self, target: Target, rows: Sequence[Row]) -> Sequence[Change]:
        with self._lock:
            document, _ = self._read(target)
            plan = make_plan(document.table(target), target, rows, str(self._path))
        return tuple(item.change for item in plan.rows)

    def close(self) -> None:
        self._parsed = None

    @classmethod
    def left_copies(cls, options: TableFileOptions) -> Sequence[str]:
        return [str(copy) for copy in sweep(Path(os.path.realpath(options.path)))]

    # ------------------------------------------------------------ the way to the file

    def _flush(self, target: Target, rows: Sequence[Row]) -> Sequence[Outcome]:
        for _ in range(_ATTEMPTS_PER_FLUSH):
            document, signature = self._read(target)
            table = document.table(target)
            if not table.headers():
                self._start_over(target)
            plan = make_plan(table, target, rows, str(self._path))
            if plan.changes:
                self._parsed = None  # until it is saved, the document is ahead of the file
                carry_out(table, target, plan)
                if not self._save(document, signature):
                    continue
            elif not self._synced:
                self._sync()
            self._note_filled(target)
            return [item.outcome for item in plan.rows]
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
        """The parsed file and its signature. Raises NeedsAction, TryLater."""
        try:
            for _ in range(_ATTEMPTS_PER_READ):
                signature = signature_of(self._path)
                if signature is None:
                    self._parsed = None
                    return self._load(b"", target), None
                if self._parsed is not None and self._parsed[0] == signature:
                    return self._parsed[1], signature
                # Another program has just saved it, or is still saving: half a file must not be taken for all of it.
                age = time.time() - signature[0] / 1e9
                if 0 <= age < _QUIET_SECONDS:
                    self._host.wait(_QUIET_SECONDS - age)
                try:
                    found = read_file(self._path)
                except ChangedMeanwhile:
                    continue
                if found is None or found[1] != signature:
                    continue
                document = self._load(found[0], target)
                self._parsed = (signature, document)
                return document, signature
        except OSError as error:
            raise translated(error, self._path) from error
        raise _always_changing(self._path)

    def _save(self, document: Document, expected: Signature | None) -> bool:
        """False when the file was changed since it was read."""
        mark = office_lock_of(self._path)
        if mark is not None:
            raise TryLater(open_elsewhere(self._path, mark), after=10.0)
        content = document.dump()
        self._synced = False
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            sweep(self._path)
            self._parsed = (replace_file(self._path, content, expected), document)
        except ChangedMeanwhile:
            return False
        except OSError as error:
            raise translated(error, self._path) from error
        self._synced = True
        return True

    def _sync(self) -> None:
        """The file is right, but perhaps not on the disk yet: a process was killed before the sync, or the sync failed.
        Nothing counts as written before it is on the disk."""
        try:
            sync_file(self._path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise translated(error, self._path) from error
        self._synced = True


def _filled_note(target: Target) -> str:
    return f"filled:{target.route}"


def _always_changing(path: Path) -> TryLater:
    return TryLater(f"{path} is being changed by another program all the time", after=5.0)


def _column_findings(table: Table, target: Target) -> list[Finding]:
    positions = locate(table, target)
    findings = [_column_finding(table, target, column, found=column.name in positions) for column in target.columns]
    if target.key in positions:
        rows_of = Counter(key for _, key in table.keys(positions[target.key]))
        several = sum(1 for rows in rows_of.values() if rows > 1)
        if several:
            findings.append(
                Finding("notice", target.key, f"{several} keys are in more than one row; only the first is updated")
            )
    return findings


def _column_finding(table: Table, target: Target, column: Column, *, found: bool) -> Finding:
    headers = dict(enumerate(table.headers()))
    alike = [headers[place] for place in look_alike(headers, column.name)]
    level: Literal["ok", "notice", "problem"]
    if found and len(alike) > 1:
        text, level = "is in the header more than once; the first that reads exactly so is used", "notice"
    elif found:
        text, level = "found", "ok"
    elif column.name == target.key or target.options.missing_columns == "stop":
        text, level = "is missing", "problem"
    else:
        text, level = "is missing; the first write makes it", "notice"
    if not found and alike:
        text += f" (which of {', '.join(alike)} is meant?)"
    return Finding(level, column.name, text, {"type": column.type, "overwrite": column.overwrite})
