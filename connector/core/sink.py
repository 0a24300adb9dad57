"""What a sink promises, and what the program lends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from msgspec import Struct, field
from pydantic import BaseModel, ConfigDict

from connector.core.row import Cell, Column, Overwrite, Row

# ---------------------------------------------------------------- rows out


class TargetOptions(BaseModel):
    """``[target]`` of a mapping file: what every sink understands. A sink's own ``TargetOptions`` adds to it."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    in_key_table: ClassVar[frozenset[str]] = frozenset()
    """Fields that the file gives under ``[key]``, beside ``field``, because they say how a row is found again."""

    needed_columns: ClassVar[frozenset[str]] = frozenset()
    """Columns in which a value that does not fit makes its row a dead letter, where the field has no ``on_error``."""

    has_properties: ClassVar[bool] = False
    """Whether a column is a property with a name and a ``label`` (``options``, ``group``); else it is a header."""

    overwrite: Overwrite = "never_clear"
    """The rule of every field that sets none."""
    missing_columns: Literal["create", "stop"] = "create"
    """Make the columns or properties that are missing, or write nothing until a person has made them."""
    # `mark` is done by the mapping: a managed column. Only `delete` reaches a sink, as `Row.remove`.
    removed_records: Literal["mark", "leave_alone", "delete"] = "leave_alone"
    """What becomes of a row whose record no longer passes ``when`` or is gone at the platform: ``leave_alone``, it
    stays; ``mark``, it stays, with the day in the column ``removed_column``; ``delete``, it goes (not in HubSpot, where
    nothing is deleted)."""
    removed_column: str = "Removed"
    """Where ``mark`` writes the day, and empties it when the affiliate is back; in HubSpot the default is
    ``affiliate_removed``."""

    def record_paths(self) -> dict[str, str]:
        """The options that name a path of the record, and the path: ``{"company.key": "parent_id"}``. The loader
        checks it, and each row carries its value in ``extras`` under the option's name."""
        return {}


class Target(Struct, frozen=True):
    """One route's destination: a sink together with one mapping file.

    Args:
        route: the route's name, ``sink/mapping`` (``sheets/affiliates``): for logs, metrics and the command line.
        columns: what the mapping manages, in file order, the key's column included.
        key: the name of the key's column.
        options: an instance of the sink's ``TargetOptions``.
        file: the mapping file, for people.
        for_each: a record may have several rows.
        is_dated: some cells depend on the day: every record is pending again when a day (UTC) begins.
    """

    route: str
    columns: tuple[Column, ...]
    key: str
    options: Any
    file: str
    for_each: bool = False
    is_dated: bool = False

    def column(self, name: str) -> Column:
        """The managed column of that name (KeyError when there is none)."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)


class Outcome(Struct, frozen=True):
    """What a sink did with one row; delivery matches it by ``key``.

    Args:
        key: the row's key.
        kind: ``written`` (also when the destination was equal already) · ``refused`` (a person must act; dead-lettered
            at once) · ``later`` (this row alone waits; counts as a try) · ``incomplete`` (the record lacks a value that
            a new row needs: it waits for the record's next version, shown as waiting; no try).
        reason: for all but written: plain words, what to do. It may quote the offending value, because it goes
            only into the dead-letter file; logs get ``code`` instead.
        code: a short stable word for logs and metrics (``INVALID_EMAIL``, ``cell_too_long``).
        column: the column to blame, if one is: delivery adds the mapping's line.
        waiting: columns of a written row that could not be written now (a column that a person took away).
        after: for later: seconds to wait, if known.
        notices: things a person may want to know (an edit that was overwritten); logged without values.
        added: the row was not there, and this write made it.
        former: what the cells that this write changed held before, for ``undo`` and ``explain``: values that the sink
            itself can put back. Of a row that was deleted, all its managed cells.
        overwritten: the columns in which this write replaced what a person had typed.
        kept: the columns in which what a person typed stays, although the row says something else.
        left_empty: the columns whose value the destination does not take, which were left out (``on_error =
            "leave_empty"``); people are told how many there are.
        held: what the destination holds now, by column, where that is not what the row says (see ``Row.held``).

        ``core.overwrite.Edits`` fills in ``added``, ``former``, ``overwritten``, ``kept`` and ``held``: a sink asks it
        about each cell and, right before it writes, calls ``note_overwrites``. A sink that leaves them empty overwrites
        as the rules say and protects no edit.
    """

    key: str
    kind: Literal["written", "refused", "later", "incomplete"]
    reason: str = ""
    code: str = ""
    column: str | None = None
    waiting: tuple[str, ...] = ()
    after: float | None = None
    notices: tuple[str, ...] = ()
    added: bool = False
    former: Mapping[str, Cell] = field(default_factory=dict)
    overwritten: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    left_empty: tuple[str, ...] = ()
    held: Mapping[str, Cell] = field(default_factory=dict)


class Finding(Struct, frozen=True):
    """One line of ``check --live`` or ``provision``.

    Args:
        level: ``ok`` · ``notice`` · ``problem`` (the command exits 1).
        subject: what it is about: a column, a tab, a scope.
        text: plain words; for a problem, what to do.
        facts: more cells for the printed table, by heading.
    """

    level: Literal["ok", "notice", "problem"]
    subject: str
    text: str
    facts: Mapping[str, str] = field(default_factory=dict)


class Change(Struct, frozen=True):
    """What ``preview --live`` says of one row.

    Args:
        key: the row's key.
        found_by: how the row was found (``key``, ``email``), or None: it would be created.
        cells: by column: what is there now and what would be there.
        note: why nothing would change, or why it would be refused.
        kept: the columns in which what a person typed would stay.
        left_empty: the columns whose value the destination does not take.
    """

    key: str
    found_by: str | None
    cells: Mapping[str, tuple[Cell, Cell]]
    note: str = ""
    kept: tuple[str, ...] = ()
    left_empty: tuple[str, ...] = ()


class Host(Protocol):
    """What the program lends to one sink. Tests lend their own, with their own clock."""

    def now(self) -> datetime:
        """Aware UTC."""

    def monotonic(self) -> float:
        """Seconds, for measuring and pacing."""

    def wait(self, seconds: float) -> None:
        """Sleep in a sink's own pacing. Raises Stopping as soon as the program is asked to stop."""

    def recall(self, key: str) -> str | None:
        """What ``remember`` last kept for this sink under *key*; survives restarts."""

    def remember(self, key: str, value: str | None) -> None:
        """Keep a small note (a tab's sheetId) durably; None forgets it."""

    def overwriting(self, route: str, typed: Mapping[str, Mapping[str, Cell]]) -> None:
        """Note durably, right before a write, what people typed that it will overwrite: by the key under which the row
        was written until now, the cells' former values. So nothing is lost without a trace when the answer is lost.
        ``core.overwrite.note_overwrites`` calls it."""

    def metric(self, name: str, value: float) -> None:
        """Report a measurement: ``calls`` (1 each call), ``quota_wait_seconds``, ``call_seconds``."""


class SinkOptions(BaseModel):
    """``[sinks.NAME]``: what every sink understands. A sink's own ``Options`` adds to it.

    The loader makes an option of type ``Path`` absolute (it is relative to the configuration file), fills ``NAME`` from
    a file when the configuration says ``NAME_file``, and has logs hide what is ``repr=False`` or ``SecretStr``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    type: str
    mappings: tuple[str, ...]
    """Mapping files, relative to the configuration file; one route each."""
    apply: Literal["confirm", "automatic"] | None = None
    """Whether an edited mapping that changes or removes cells which are there waits for `connector apply`. Without it,
    `automatic` for files of this machine, and `confirm` for what people share."""

    def seen_at(self) -> str | None:
        """Where people see the destination in a browser; None: it has no address that is known here."""
        return None


class Sink(Protocol):
    """One destination. Built by ``Class(name, options, host)``, once for all its routes.

    Life: built (no network) → per route, in the route's own thread: ``pace``, ``write``, ``pace``, ``write`` …, never
    two calls for one route at a time, but routes of one sink run at the same time → ``close``.
    A class that says ``moves_rows = True`` is given ``Row.moved_from`` where a record's key has changed, and keeps that
    row rather than making another; of other sinks the old row is treated as ``removed_records`` says.
    A class that says ``local = True`` writes to this machine only; other sinks get samples only when asked for.
    A sink makes one attempt; delivery owns retries. Heavy libraries are imported by the module of the sink, which is
    imported only when a sink of its type is configured.
    """

    Options: ClassVar[type[SinkOptions]]
    TargetOptions: ClassVar[type[TargetOptions]]
    batch_rows: int
    """The most rows that ``write`` takes at once."""

    def pace(self, target: Target) -> float:
        """Seconds until the destination's quota is ready for the next ``write``; 0.0 for at once.

        Delivery waits *before* it takes a batch, so that a batch holds the latest state.
        """

    def write(self, target: Target, rows: Sequence[Row]) -> Sequence[Outcome]:
        """Upsert *rows* by key: an outcome for each, in any order. Writing the same rows again does no harm.

        Raises:
            TryLater: later it may work; all of the batch stays pending (writing rows again is harmless).
            NeedsAction: a person must act; the route pauses, and what of the batch it brings no outcome for stays
                pending.
            StartOver: what was written before is gone; every record of the route is pending again, at once.
            Stopping: from ``host.wait``.
            Anything else is a bug: the route pauses with growing waits, nothing is lost.
        """

    def check(self, target: Target, *, probe: bool = False) -> Sequence[Finding]:
        """Credentials, tab, columns, properties at the destination; writes nothing (*probe*: only in scratch space).

        Raises:
            NeedsAction, TryLater: the destination refuses us or can't be reached, so nothing can be found; the same
                for ``provision`` and ``preview``.
        """

    def provision(self, target: Target) -> Sequence[Finding]:
        """Create what is missing (columns, properties); safe to repeat."""

    def preview(self, target: Target, rows: Sequence[Row]) -> Sequence[Change]:
        """What ``write`` would change, read from the destination; writes nothing."""

    def close(self) -> None:
        """Give back connections; called once, when no thread uses the sink any more."""


class Spare(Struct, frozen=True):
    """Something that the destination has and the mapping does not use: a column (or property), or, of one that the
    mapping fills, a choice that it never gives."""

    column: str
    choice: str = ""


@runtime_checkable
class ShowsSpare(Protocol):
    """A sink that can say what its destination has beside what the mapping fills; it writes nothing."""

    def spare(self, target: Target) -> Sequence[Spare]:
        """Raises NeedsAction, TryLater."""


@runtime_checkable
class ShowsRecord(Protocol):
    """A sink that knows where a person sees one record in the destination."""

    def address_of(self, target: Target, row: Row) -> str | None:
        """The address of *row*'s record, asked for at the moment of the click; at most two calls; None: the record is
        not there, or the destination does not say where.

        Raises NeedsAction, TryLater.
        """


@runtime_checkable
class LeavesCopies(Protocol):
    """A sink whose killed processes may leave copies of its table behind."""

    @classmethod
    def left_copies(cls, options: Any) -> Sequence[str]:
        """Remove such copies; the paths of those that can't be removed, or that a process is writing just now."""
