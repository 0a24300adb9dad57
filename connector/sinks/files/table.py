"""What the CSV and the XLSX sink share: one table file, read, planned, changed and replaced for each batch.

Knows neither CSV nor XLSX; the formats subclass ``TableFile``.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from connector.core.errors import NeedsAction, StartOver, TryLater
from connector.core.headers import look_alike
from connector.core.overwrite import note_overwrites
from connector.core.row import Row
from connector.core.sink import Change, Finding, Host, Outcome, SinkOptions, Spare, Target, TargetOptions
from connector.sinks.files.plan import Document, Table, carry_out, locate, make_plan, missing_columns
from connector.sinks.files.replacing import (
    ChangedMeanwhile,
    Signature,
    lock_of,
    open_elsewhere,
    read_file,
    replace_file,
    signature_of,
    sweep,
    sync_file,
    translated,
)

_ATTEMPTS = 6
_QUIET_SECONDS = 0.5
_LONGEST_REST_SECONDS = 60.0

_T = TypeVar("_T")


class TableFileOptions(SinkOptions):
    """What both files understand."""

    path: Path
    """The file; it and its folder are made when they are missing."""
    only_on: str | None = None
    """The name of the machine that has the file, where several machines share a PostgreSQL database."""


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
        self._document: Document | None = None  # what is in the file, as long as that has this signature
        self._signature: Signature | None = None
        self._ready_at = 0.0
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
        try:
            return self._with_table(target, lambda document, table: self._flush(target, rows, document, table))
        finally:
            ended = self._host.monotonic()
            self._ready_at = ended + min(_LONGEST_REST_SECONDS, self.rest * (ended - started))
            self._host.metric("calls", 1)
            self._host.metric("call_seconds", ended - started)

    def check(self, target: Target, *, probe: bool = False) -> Sequence[Finding]:  # noqa: ARG002 - nothing to probe
        path = self._path
        findings: list[Finding] = []
        folder = path.parent
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if not os.access(folder, os.W_OK | os.X_OK):
            findings.append(Finding("problem", str(path), f"the folder {folder} is not writable: give it to our user"))
        words = open_elsewhere(path)
        if words is not None:
            findings.append(Finding("notice", str(path), words))
        try:
            findings += self._with_table(target, lambda _, table: self._table_findings(target, table))
        except (NeedsAction, TryLater) as error:
            findings.append(Finding("problem", str(path), error.reason))
        return findings

    def _table_findings(self, target: Target, table: Table) -> Sequence[Finding]:
        path = self._path
        if not table.headers():
            made = "is empty" if path.exists() else "does not exist yet"
            return (Finding("ok", str(path), f"{made}; the first write makes it"),)
        findings = [Finding("ok", str(path), table.facts()), *_column_findings(table, target)]
        try:
            make_plan(table, target, (), str(path))
        except NeedsAction as error:
            findings.append(Finding("problem", str(path), error.reason))
        return findings

    def provision(self, target: Target) -> Sequence[Finding]:
        def make(document: Document, table: Table) -> Sequence[Finding]:
            # A person asked for the columns by name: that is the permission that "stop" waits for.
            missing = missing_columns(table, target)
            if not missing:
                return (Finding("ok", str(self._path), "all columns are there"),)
            if table.headers() and target.key not in locate(table, target):
                make_plan(table, target, (), str(self._path))  # raises the words for a file without its key
            self._document = None  # until it is saved, it is ahead of the file
            table.add_columns(missing)
            self._save(document)
            return tuple(Finding("ok", column.name, f"made in {self._path}") for column in missing)

        return self._with_table(target, make)

    def preview(self, target: Target, rows: Sequence[Row]) -> Sequence[Change]:
        plan = self._with_table(target, lambda _, table: make_plan(table, target, rows, str(self._path)))
        return tuple(item.change for item in plan)

    def spare(self, target: Target) -> Sequence[Spare]:
        """See ``ShowsSpare``."""

        def look(_: Document, table: Table) -> Sequence[Spare]:
            used = set(locate(table, target).values())
            return [Spare(name) for place, name in enumerate(table.headers()) if place not in used and name.strip()]

        return self._with_table(target, look)

    def close(self) -> None:
        self._document = None

    @classmethod
    def left_copies(cls, options: TableFileOptions) -> Sequence[str]:
        return [str(copy) for copy in sweep(Path(os.path.realpath(options.path)))]

    # ------------------------------------------------------------ the way to the file

    def _with_table(self, target: Target, work: Callable[[Document, Table], _T]) -> _T:
        """What *work* returns for the table as it is now; again when another program saves it meanwhile."""
        with self._lock:
            try:
                for _ in range(_ATTEMPTS):
                    with suppress(ChangedMeanwhile):
                        document = self._read(target)
                        return work(document, document.table(target))
            except OSError as error:
                raise translated(error, self._path) from error
        raise TryLater(f"{self._path} is being changed by another program all the time", after=5.0)

    def _flush(self, target: Target, rows: Sequence[Row], document: Document, table: Table) -> Sequence[Outcome]:
        if not table.headers():
            self._start_over(target)
        plan = make_plan(table, target, rows, str(self._path))
        if missing_columns(table, target) or any(item.cells or item.remove for item in plan):
            note_overwrites(self._host, target.route, ((item.row, item.outcome) for item in plan))
            self._document = None  # until it is saved, it is ahead of the file
            carry_out(table, target, plan)
            self._save(document)
        else:
            # A process may have been killed before its sync: nothing counts as written before it is on the disk.
            with suppress(FileNotFoundError):
                sync_file(self._path)
        self._starting_over.discard(target.route)
        if self._host.recall(_filled_note(target)) is None:
            self._host.remember(_filled_note(target), "yes")
        return [item.outcome for item in plan]

    def _start_over(self, target: Target) -> None:
        """There is no table. Raises StartOver, once, when this route had filled one: with the rows of this batch alone
        the new one would lack all others."""
        if target.route in self._starting_over or self._host.recall(_filled_note(target)) is None:
            return
        self._starting_over.add(target.route)
        tab = getattr(target.options, "tab", None)  # of a workbook: perhaps it only has another name now
        what = f'the tab "{tab}" of {self._path}' if tab else str(self._path)
        raise StartOver(f"{what} is gone or empty; it is made anew with all its rows")

    def _read(self, target: Target) -> Document:
        """Raises NeedsAction, ChangedMeanwhile, OSError."""
        signature = signature_of(self._path)
        if self._document is not None and signature is not None and signature == self._signature:
            return self._document
        self._document = None
        content = b""
        if signature is not None:
            # Another program has just saved it, or is still saving: half a file must not be taken for all of it.
            age = time.time() - signature[0] / 1e9
            if 0 <= age < _QUIET_SECONDS:
                self._host.wait(_QUIET_SECONDS - age)
            content = read_file(self._path, signature)
        self._document, self._signature = self._load(content, target), signature
        return self._document

    def _save(self, document: Document) -> None:
        """Raises TryLater, ChangedMeanwhile, OSError."""
        words = open_elsewhere(self._path)
        if words is not None:
            raise TryLater(words, after=10.0)
        content = document.dump(self._host.now())
        self._path.parent.mkdir(parents=True, exist_ok=True)
        sweep(self._path)
        self._signature = replace_file(self._path, content, self._signature)
        self._document = document


def _filled_note(target: Target) -> str:
    return f"filled:{target.route}"


def _column_findings(table: Table, target: Target) -> list[Finding]:
    headers, positions = dict(enumerate(table.headers())), locate(table, target)
    findings: list[Finding] = []
    for column in target.columns:
        alike = [headers[place] for place in look_alike(headers, column.name)]
        level: Literal["ok", "notice", "problem"] = "notice"
        if column.name not in positions:
            text = "is missing; the first write makes it"
            if column.name == target.key or target.options.missing_columns == "stop":
                text, level = "is missing", "problem"
            if alike:
                text += f" (which of {', '.join(alike)} is meant?)"
        elif len(alike) > 1:
            text = "is in the header more than once; the first that reads exactly so is used"
        else:
            text, level = "found", "ok"
        findings.append(Finding(level, column.name, text, {"type": column.type, "overwrite": column.overwrite}))
    if target.key in positions:
        rows_of = Counter(key for _, key in table.keys(positions[target.key]))
        several = sum(1 for rows in rows_of.values() if rows > 1)
        if several:
            text = f"{several} keys are in more than one row; only the first is updated"
            findings.append(Finding("notice", target.key, text))
    return findings
