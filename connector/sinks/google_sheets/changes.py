"""What a plan says: rows to change, to add and to delete; and Google's limits. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from connector.core.row import Row
from connector.core.sink import Outcome
from connector.sinks.google_sheets.layout import Layout
from connector.sinks.google_sheets.snapshot import Value


@dataclass(frozen=True, slots=True)
class Limits:
    """Google's limits, and how much of them one batch may use."""

    cell_characters: int = 50_000
    file_cells: int = 10_000_000
    batch_bytes: int = 1_900_000
    """2 MB a request is recommended."""
    tagged_rows: int = 2_000
    """Two characters each, of the 30,000 that a sheet's metadata may hold."""
    new_rows: int = 5_000
    """Planned at once; the rest is planned on the answer to the batch that adds them."""
    first_rows: int = 50
    """New records that take blank rows below the header while no row of ours is there."""
    whole_tab_cells: int = 100_000
    """Up to here a tab is read as it is; beyond, only header row and managed columns."""


@dataclass(slots=True)
class Update:
    """Cells of one row that is there (or, *fresh*, of a blank row that a new record takes)."""

    row: Row
    at: int
    cells: dict[int, Value]
    notices: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    before: dict[int, Value] = field(default_factory=dict)
    fresh: bool = False


@dataclass(slots=True)
class Append:
    row: Row
    cells: dict[int, Value]
    notices: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


@dataclass(slots=True)
class Plan:
    """What a snapshot lacks.

    Args:
        done: outcomes of rows that need nothing, and of those that can't be written.
        updates: in the order of their rows.
        unseen: rows (by place) whose cells the snapshot does not cover; the lock's answer will.
        deletes: rows to delete, by place.
        held: new rows that wait for a person.
        why_held: what that person must do; "" where the file has no cells left for them.
        last: our last row, or the header row when there is none.
        insert_at: where new rows go in.
        grow: rows to be added to the grid first (only when new rows must fill blank ones).
    """

    layout: Layout
    done: list[Outcome] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)
    appends: list[Append] = field(default_factory=list)
    unseen: dict[int, Row] = field(default_factory=dict)
    deletes: dict[int, Row] = field(default_factory=dict)
    held: list[Append] = field(default_factory=list)
    why_held: str = ""
    last: int = 0
    insert_at: int = 0
    grow: int = 0

    @property
    def places(self) -> set[int]:
        """Rows that must be locked before anything is written into them."""
        return {update.at for update in self.updates} | set(self.unseen) | set(self.deletes)
