"""What the store wants of a database, and the few forms of SQL that every statement is made of.

The statements are one text for all databases. Their marks are ``?``; what differs is a word of ``Engine``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

from connector.core.lenient import micros_of
from connector.store.model import moment


class Session(Protocol):
    """A connection, for as long as a ``with`` block lasts. ``execute`` gives a cursor of the driver."""

    def execute(self, text: str, values: Sequence[Any] = (), /) -> Any: ...


class Engine(Protocol):
    """One database. Every method may be called from any thread, and raises StoreUnavailable.

    Attributes:
        name: what people know it by; no password.
        serial: the type of a primary key that the database counts up; no number is used again.
        blob: the type of bytes.
        without_rowid: ends a table that is kept in the order of its primary key.
        catalog: selects the names of the tables that there are.
        clock: an expression: now by the database's clock, in microseconds of Unix time.
        lock_rows: ends a SELECT whose rows no other transaction may change until this one ends.
        take_rows: the same, for the rows of the table ``p``; rows that are locked already are left out.
        shared: several processes write at the same time; they wait for each other row by row, so a statement must
            name its rows in the order of their keys.
        poll_seconds: how soon a process should notice what another one has committed.
        clock_offset: microseconds by which the clock that leases go by is ahead of this process's own.
    """

    name: str
    serial: str
    blob: str
    without_rowid: str
    catalog: str
    clock: str
    lock_rows: str
    take_rows: str
    shared: bool
    poll_seconds: float
    clock_offset: int

    def reading(self) -> AbstractContextManager[Session]:
        """One snapshot of what is committed."""

    def writing(self) -> AbstractContextManager[Session]:
        """A transaction: committed and on the disk at the end, nothing of it on an error.

        Raises:
            Unstorable: the database can't keep these values.
        """

    def making(self) -> AbstractContextManager[Session]:
        """``writing``, for one process at a time: tables are made in it."""

    def continue_serial(self, sql: Session, table: str, column: str) -> None:
        """Rows with numbers of their own were written into *table*: count on from the highest."""

    def check_durability(self) -> None:
        """Refuse a server that does not keep at a power loss what it has acknowledged. Raises StoreUnavailable."""

    def compare_clocks(self) -> None:
        """Measure ``clock_offset`` again: one of the clocks may have been set."""

    def erase(self, rebuild_up_to_bytes: int | None) -> bool:
        """See ``Store.erase``."""

    def close(self) -> None:
        """Close every connection. Threads that use them must have ended."""


class Part:
    """A part of ``Store``: the database, the clock (aware UTC), and who wants to hear of changes."""

    def __init__(self, engine: Engine, now: Callable[[], datetime]) -> None:
        self._engine, self._now = engine, now
        self._on_append: list[Callable[[], None]] = []
        self._on_pending: list[Callable[[], None]] = []

    def on_append(self, callback: Callable[[], None]) -> None:
        """Call *callback* (quick, must not raise) whenever events have been committed to the inbox."""
        self._on_append.append(callback)

    def on_pending(self, callback: Callable[[], None]) -> None:
        """Call *callback* (quick, must not raise) whenever more may be pending than before."""
        self._on_pending.append(callback)

    def _ring(self, callbacks: Sequence[Callable[[], None]]) -> None:
        for callback in callbacks:
            callback()

    def _at(self) -> int:
        return micros_of(self._now())

    # What is due when, and since when, is compared between machines, so it goes by the database's clock.

    def _due_now(self) -> int:
        return self._due(self._now())

    def _due(self, at: datetime) -> int:
        return micros_of(at) + self._engine.clock_offset

    def _moment_due(self, due_at: int) -> datetime:
        return moment(due_at - self._engine.clock_offset)

    def _moment_due_or_none(self, due_at: int | None) -> datetime | None:
        return self._moment_due(due_at) if due_at else None


# ---------------------------------------------------------------- forms of SQL

_ROWS_IN_AN_INSERT = 64
_VALUES_IN_A_LIST = 512
_ROWS_IN_ARRAYS = 2048
_ARRAYS = {int: "bigint[]", str: "text[]", bytes: "bytea[]"}


class Arrays:
    """A session whose database takes many values as one: a statement has one text, however many they are."""


def slices(values: Sequence[Any], most: int = _VALUES_IN_A_LIST) -> Iterator[Sequence[Any]]:
    """*values* in parts of *most*, then of the powers of two below: few texts of statements, which stay prepared."""
    start = 0
    while start < len(values):
        size = min(most, 1 << ((len(values) - start).bit_length() - 1))
        yield values[start : start + size]
        start += size


def marks(values: Sequence[Any]) -> str:
    """``(?,?,?)`` for so many values."""
    return f"({','.join('?' * len(values))})"


def lists(sql: Session, values: Sequence[Any]) -> Iterator[tuple[str, Sequence[Any]]]:
    """*values* in parts: how a condition names them, behind the column, and its values."""
    if isinstance(sql, Arrays):
        for start in range(0, len(values), _ROWS_IN_ARRAYS):
            yield "= ANY(?)", (list(values[start : start + _ROWS_IN_ARRAYS]),)
    else:
        for some in slices(values):
            yield f"IN {marks(some)}", some


def tables(sql: Session, rows: Sequence[Sequence[Any]]) -> Iterator[tuple[str, Sequence[Any]]]:
    """*rows* in parts: a query that gives them, as ``column1``, ``column2`` …, and its values."""
    start = 0
    while isinstance(sql, Arrays) and start < len(rows):
        columns = [list(column) for column in zip(*rows[start : start + _ROWS_IN_ARRAYS], strict=True)]
        kinds = [set(map(type, column)) for column in columns]
        if not all(len(each) == 1 and each <= _ARRAYS.keys() for each in kinds):
            break  # a NULL says nothing of its column's type
        types = ", ".join(f"?::{_ARRAYS[kind]}" for (kind,) in kinds)
        names = ", ".join(f"column{number}" for number in range(1, len(columns) + 1))
        yield f"SELECT * FROM unnest({types}) AS rows({names})", columns
        start += _ROWS_IN_ARRAYS
    for some in slices(rows[start:], _ROWS_IN_AN_INSERT):
        yield f"VALUES {','.join([marks(some[0])] * len(some))}", [value for row in some for value in row]


def select(sql: Session, text: str, values: Sequence[Any], *before: Any, tail: str = "") -> list[Any]:
    """The rows of ``text IN (values) tail``, asked for in parts.

    Args:
        values: in the order of their keys: so are rows locked.
        before: the values of the marks in *text*.
    """
    rows: list[Any] = []
    for condition, some in lists(sql, values):
        rows += sql.execute(f"{text} {condition}{tail}", (*before, *some)).fetchall()
    return rows


def each(sql: Session, query: str, values: Sequence[Any], *before: Any) -> dict[Any, Any]:
    """For each of *values*, in their order, what *query* says of it; None: nothing.

    Each is looked up by itself. For a list PostgreSQL may read all rows that have the values *before*, of which it does
    not know how many there are.
    """
    found: dict[Any, Any] = {}
    for rows, some in tables(sql, [(value,) for value in values]):
        text = f"SELECT wanted.column1, ({query} wanted.column1) FROM ({rows}) AS wanted"
        found |= sql.execute(text, (*before, *some)).fetchall()
    return found


def change(sql: Session, text: str, values: Sequence[Any], *before: Any) -> int:
    """``select``, for a statement that changes rows: how many it changed."""
    return sum(sql.execute(f"{text} {condition}", (*before, *some)).rowcount for condition, some in lists(sql, values))


def insert(sql: Session, head: str, rows: Sequence[Sequence[Any]], tail: str = "") -> list[Any]:
    """``INSERT`` many rows, in the order of their keys, with few statements; each key once where *tail* updates.

    Returns:
        What *tail* says with ``RETURNING``; else nothing.
    """
    returned: list[Any] = []
    for query, values in tables(sql, rows):
        answer = sql.execute(f"{head} {query}{tail}", values)
        if "RETURNING" in tail:
            returned += answer.fetchall()
    return returned
