"""What a destination shows people about its own routes, where it can: states and reasons, no value of a person."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Protocol, runtime_checkable

from msgspec import Struct

MOST_PROBLEMS = 50
MOST_IDS = 20


class Problem(Struct, frozen=True):
    """What one correction would settle, and a person can have tried again.

    Args:
        id: the cause's; what a tick stands for.
        text: what is the matter, in words that quote nothing.
        where: table and column.
        ids: the affiliates' record ids, ``MOST_IDS`` at most; *affiliates* counts all.
        outcome: what became of the last try; *outcome_at*: when, once it has ended.
    """

    id: str
    text: str
    affiliates: int
    where: str
    since: datetime | None
    what_to_do: str
    ids: tuple[str, ...] = ()
    outcome: str = ""
    outcome_at: datetime | None = None


class Table(Struct, frozen=True):
    """One route: the title of its table, its state in words (``Waits for you``), and what to do about it."""

    name: str
    affiliates: int
    state: str
    last_write: datetime | None = None
    what_to_do: str = ""


class Remark(Struct, frozen=True):
    """Something good to know about some cells of a table."""

    text: str
    cells: int
    where: str
    what_to_do: str


class Console(Struct, frozen=True):
    """How the routes of one sink are; *sentence* is the answer."""

    sentence: str
    problems: tuple[Problem, ...]
    tables: tuple[Table, ...]
    remarks: tuple[Remark, ...]


@runtime_checkable
class ShowsConsole(Protocol):
    """A sink that can show a console. One thread calls ``read_console`` and then ``show_console``, once a minute."""

    @property
    def has_console(self) -> bool:
        """Whether it is configured."""
        ...

    def read_console(self) -> Collection[str]:
        """The ids of the problems that people want to be tried again. At most one call to the destination.

        Raises:
            TryLater, NeedsAction, Stopping: as ``Sink.write``.
        """
        ...

    def show_console(self, console: Console) -> None:
        """Show *console*, and take back what people have ticked. At most one call; none where it is shown already.

        Raises:
            TryLater, NeedsAction, Stopping: as ``Sink.write``.
        """
        ...
