"""The five overwrite rules of mapping.md, decided for one cell. Knows no destination: sinks bring what is there.

A sink asks only for columns that the row names (an absent column is left untouched), and may skip a ``write`` that
would change nothing; the rules don't compare values, because equality depends on how the destination keeps them.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal

from connector.core.row import Cell, Column

Decision = Literal["keep", "write"]

needs_what_is_there = frozenset({"only_if_empty", "on_create", "only_forward"})
"""Rules that can't be decided without reading the destination first; the others need no read."""


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
