"""What a write does to a cell that people may have changed. Knows no destination: sinks bring what is there.

Three values meet: the base (what the destination held after our last write), theirs (there now), ours (new).

- theirs is the base: ours is written, by the field's rule.
- theirs is not, and we have nothing new (ours is the base, or what we wrote last): theirs stays, for every rule but
  ``always``.
- theirs is not, and ours is new: the rule decides; what a person typed and loses is reported.
- there is no base (nothing is known to have been written): the rule decides.

Theirs is never a person's when it shows what we would write, or what an earlier write of unknown end tried to write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal

from msgspec.structs import replace

from connector.core.keys import canonical_key
from connector.core.row import Cell, Column, Row, same_cell
from connector.core.sink import Host, Outcome

Decision = Literal["keep", "write"]


def decide(column: Column, there: Cell, new: Cell, *, created: bool) -> Decision:
    """Whether *new* goes into a cell that holds *there* now.

    Args:
        column: carries the rule and, for ``only_forward``, the order of the stages.
        there: what the destination holds, typed or read back as text; None for an empty cell and for a new row.
        new: what the mapping gives.
        created: the row is being created by this very write.

    Returns:
        By rule:
        ``always``: write, an empty *new* clears ·
        ``never_clear``: write unless *new* is empty ·
        ``only_if_empty``: write unless *new* is empty or something is there ·
        ``on_create``: write when the row is being created and *new* is not empty ·
        ``only_forward``: write when *new* is a later stage, or when what is there is empty or no stage. An empty
        *new*, and one that is no stage, are no step forward: a known stage is kept.
    """
    rule = column.overwrite
    if rule == "always":
        return "write"
    if is_empty(new):
        return "keep"
    if rule == "never_clear":
        return "write"
    if rule == "on_create":
        return "write" if created else "keep"
    if created or is_empty(there):
        return "write"
    if rule == "only_if_empty":
        return "keep"
    stages = _stages(column.order)
    stage_there = stages.get(stage(there))
    if stage_there is None:
        return "write"
    stage_new = stages.get(stage(new), -1)
    # Equal stages are written: an edit of the spelling ("active " for "Active") heals.
    return "write" if stage_new >= stage_there else "keep"


Shows = Callable[[Cell], bool]
"""Whether the destination would show that cell as what is there now. Never raises: a value that it can't show is not
there."""


class Edits:
    """What one row's write does to each of its cells, and what its outcome says about people's edits.

    A sink asks ``writes`` once for each column that the row names (an absent column is left untouched), but the key's,
    on what is there right before it writes, and calls ``note_overwrites``; ``told`` puts the findings into the row's
    outcome. A sink that learns only from the answer what the destination made of a cell says so with ``holds``.

    Args:
        created: the row is not there yet, this write makes it.
    """

    def __init__(self, row: Row, *, created: bool) -> None:
        self.row, self.created = row, created
        self.former: dict[str, Cell] = {}
        self.held: dict[str, Cell] = {}
        self.overwritten: list[str] = []
        self.kept: list[str] = []
        self.left_empty: list[str] = []
        self.recovered: dict[str, Cell] = {}  # of *former*: our own values, as they were sent
        self._base: dict[str, Cell] = {}
        self._there: dict[str, Cell] = {}

    def writes(
        self, column: Column, there: Cell, shows: Shows, *, exactly: bool | None = None, former: Cell = None
    ) -> bool:
        """Whether the row's cell is to be written over *there*; False as well when that is there already.

        Args:
            there: as for ``decide``.
            shows: tolerant of what programs make of a value: 12.50 shown as 12.5 is nobody's edit.
            exactly: whether the write would change nothing at all; None: *shows* says so.
            former: what ``restore`` would need to put *there* back, if that is not *there* itself.
        """
        row, name = self.row, column.name
        new = row.cells[name]
        if self.created:
            return self._adds(column, new)
        if shows(new) if exactly is None else exactly:
            self._find_own_write(name, new)
            return False
        has_base = row.last is not None and name in row.last
        ours = has_base and self.is_ours(name, shows)
        edited = has_base and not ours and (exactly is None or not shows(new))
        if row.restore:
            stays = not ours
        elif edited and column.overwrite != "always" and self._is_nothing_new(name):
            stays = True
        else:
            stays = decide(column, there, new, created=False) == "keep"
        if stays:
            self._hold_base(name)
            self.kept += [name] * edited
            return False
        self.former[name] = there if former is None else former
        self._there[name] = there
        self.overwritten += [name] * (edited and not is_empty(there))
        return True

    def is_ours(self, name: str, shows: Shows) -> bool:
        """Whether that cell still shows what we wrote: the base, or what a write of unknown end tried to write."""
        row = self.row
        if row.last is None or name not in row.last:
            return False
        for known in (row.held.get(name, row.last[name]), *(cells[name] for cells in row.tried if name in cells)):
            if shows(known):
                self._base[name] = known
                return True
        return False

    def _is_nothing_new(self, name: str) -> bool:
        """Whether ours is what we wrote last, or what an undo left there because a person had changed it."""
        row = self.row
        known = [cells[name] for cells in (row.last or {}, row.held) if name in cells]
        return any(same_cell(cell, row.cells[name]) for cell in known)

    def _find_own_write(self, name: str, new: Cell) -> None:
        """What is there was perhaps written by us, without an answer: then the base is what it has changed."""
        row = self.row
        if row.last is None or name not in row.last or row.restore:
            return
        base = row.held.get(name, row.last[name])
        if not same_cell(base, new) and any(name in cells and same_cell(cells[name], new) for cells in row.tried):
            self.former[name] = self.recovered[name] = base

    def leaves(self, name: str) -> None:
        """A cell that ``writes`` would have written stays as it is: the destination does not take the value."""
        self.former.pop(name, None)
        self.overwritten = [each for each in self.overwritten if each != name]
        if not self._hold_base(name):
            self.holds(name, self._there.get(name))

    def leaves_out(self, name: str) -> None:
        """``leaves``, for a value that the destination never takes (``on_error = "leave_empty"``): people are told."""
        self.leaves(name)
        self.left_empty.append(name)

    def holds(self, name: str, cell: Cell) -> None:
        """After the write, the destination holds *cell* in that column."""
        self.held.pop(name, None)
        if not same_cell(cell, self.row.cells[name]):
            self.held[name] = cell

    def told(self, outcome: Outcome) -> Outcome:
        """*outcome* with the findings."""
        return replace(
            outcome,
            added=self.created and not (self.row.restore and self.row.last is not None),
            former=self.former,
            overwritten=tuple(self.overwritten),
            kept=tuple(self.kept),
            left_empty=(*outcome.left_empty, *self.left_empty),
            held=self.held,
        )

    def _adds(self, column: Column, new: Cell) -> bool:
        if not self.row.restore:
            return decide(column, None, new, created=True) == "write"
        if self.row.last is None:
            return not is_empty(new)
        self.kept.append(column.name)  # people deleted the row
        return False

    def _hold_base(self, name: str) -> bool:
        """The cell is not written, so the base stays what it is; False: there is none."""
        row = self.row
        has_base = row.last is not None and name in row.last
        if row.last is not None and has_base:
            self.holds(name, self._base.get(name, row.held.get(name, row.last[name])))
        return has_base


def note_overwrites(host: Host, route: str, found: Iterable[tuple[Row, Edits | Outcome]]) -> None:
    """Let *host* keep what people typed and these rows are about to overwrite. Called right before every write."""
    typed = {
        row.moved_from or row.key: {name: edits.former[name] for name in edits.overwritten}
        for row, edits in found
        if edits.overwritten
    }
    if typed:
        host.overwriting(route, typed)


def without_base(row: Row) -> Row:
    """*row*, whose key has changed, where the new key has a row of its own while the old one is still there: what was
    written last was written into the other."""
    return replace(row, last=None, held={}, tried=())


def former_key(row: Row, key: str) -> str | None:
    """What the *key*'s cell of *row* held until now, where another column was the key before: the row has no cell with
    ``moved_from`` there. None: nothing else than ``key`` and ``moved_from``."""
    former = "" if row.moved_from is None or row.last is None else canonical_key(row.last.get(key))
    return former if former not in ("", row.key, row.moved_from) else None


def own_first(places: Sequence[int], row: Row, shown: Callable[[int], int]) -> Sequence[int]:
    """*places* with one key, first the one that shows most of what was last written for *row*: a person copied it,
    or the key's column has another affiliate's row as well.

    Args:
        shown: how many cells of the row at a place show what was last written for *row*.
    """
    if len(places) < 2 or row.last is None:
        return places
    own = max(places, key=shown)
    return [own, *(place for place in places if place != own)]


def only_own(places: Sequence[int], row: Row, shown: Callable[[int], int], instead: Sequence[int]) -> Sequence[int]:
    """As ``own_first``, but only the first, and () where it shows less than half of what was last written, or no more
    than one of the rows at *instead*."""
    own, best = own_first(places, row, shown)[:1], max(map(shown, places), default=0)
    is_own = 2 * best >= sum(not name.startswith("\x00") for name in row.last or {})
    return own if is_own and all(shown(place) < best for place in instead) else ()


def emptied(row: Row, key: str) -> Row:
    """*row*, which takes back an added row, where other cells have values: ours but the *key*'s are emptied instead."""
    cells: dict[str, Cell] = {name: None for name in row.last or {} if name != key and not name.startswith("\x00")}
    return replace(row, cells=cells, remove=False)


def is_empty(value: Any) -> bool:
    """None, blank text and the empty list are empty; 0 and false are values."""
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or value == ()


def stage(cell: Cell) -> str:
    """A cell as the text that stages are compared by: typed or read back as text, it is the same."""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, Decimal):
        return format(cell.normalize(), "f")
    if isinstance(cell, tuple):
        return ", ".join(cell).casefold()
    if isinstance(cell, datetime | date):
        return cell.isoformat().casefold()
    return "" if cell is None else str(cell).strip().casefold()


@lru_cache(maxsize=256)
def _stages(order: tuple[str, ...]) -> dict[str, int]:
    stages: dict[str, int] = {}
    for place, name in enumerate(order):
        stages.setdefault(stage(name), place)
    return stages
