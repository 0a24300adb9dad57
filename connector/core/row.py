"""What travels from a mapping to a sink: columns, cells, rows. Knows neither records nor destinations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Literal

from msgspec import Struct

ColumnType = Literal[
    "text", "number", "integer", "boolean", "date", "datetime",
    "money", "email", "phone", "url", "country", "list",
]  # fmt: skip
Overwrite = Literal["always", "never_clear", "only_if_empty", "on_create", "only_forward"]

Cell = str | int | Decimal | bool | date | datetime | tuple[str, ...] | None
"""A typed value; None is an empty cell.

By column type: text, email, phone (E.164), url, country -> str; integer -> int; number, money -> Decimal;
boolean -> bool; date -> date; datetime -> aware datetime; list -> tuple of str.
"""


class Option(Struct, frozen=True):
    """One choice of an enumeration property: *value* is what is written, *label* what people see."""

    value: str
    label: str


class Column(Struct, frozen=True):
    """A column or property that a mapping manages.

    Args:
        name: header or property name, as in the mapping file.
        type: what its cells hold.
        overwrite: the rule against what is there already (mapping.md); sinks apply it.
        order: the stages from first to last, for ``only_forward``.
        label, group, options: how a missing HubSpot property is created.
        currency: ISO 4217 code that the mapping names for money, else None.
        where: ``file:line`` of the field, for people.
        paths: where the value comes from, in the record's words: ``balances.current.cash``; () for a constant.
        words: what is shown for each word of a closed vocabulary: ``(("pending", "Waits for us"), …)``.
        later_words: of *words*, what is shown for those that came into the vocabulary after people had written mappings
            and made properties: where the destination does not take one, the cell is left out and not the row.
        on_error: what is left out for a value that only the destination knows to be wrong: the row, or only the cell.
    """

    name: str
    type: ColumnType = "text"
    overwrite: Overwrite = "never_clear"
    order: tuple[str, ...] = ()
    label: str | None = None
    group: str | None = None
    options: tuple[Option, ...] = ()
    currency: str | None = None
    where: str = ""
    paths: tuple[str, ...] = ()
    words: tuple[tuple[str, str], ...] = ()
    later_words: tuple[str, ...] = ()
    on_error: Literal["dead_letter", "leave_empty"] = "dead_letter"


class Row(Struct, frozen=True):
    """One record (or one entry of ``for_each``) shaped for one target.

    Args:
        record_id: the record it is made from.
        key: the canonical text of the key cell; finds the row again. Unique in a batch.
        cells: by column name, the key's cell included. A column that is absent is left untouched (its field's
            ``when`` did not hold); None is empty, and the column's overwrite rule decides what empty does.
        last: the cells that were last written for this key, or None when nothing is known to have been written.
        held: what the destination held after that, by column, where it is something else than in *last*: it lower-cases
            an address, or kept the cell as it was. Together they are the base, by which a person's edit is told.
        tried: cells of earlier writes of this key whose end is not known (a lost answer, a kill): what shows one of
            them is ours too.
        moved_from: the key under which the row was written until now, when the record's key has changed: the row that
            has that key at the destination is this one (*last* are its cells). None for most rows, and for all of a
            sink whose class does not say ``moves_rows = True``.
        remove: True when the row is to be deleted (``removed_records = "delete"``).
        restore: the write takes back an earlier one: *cells* are its ``Outcome.former``, and go only where a cell still
            shows what we wrote, by no rule; what a person changed since stays. With *last* and no row there, nothing
            is written. With *remove*, the row goes only if no cell of it but ours has a value, else our cells but the
            key are emptied; where nothing is deleted (HubSpot) they are emptied always. Without *last* the row is
            added again.
        extras: values for the target's own options that name a record path, such as ``company.key``.
    """

    record_id: str
    key: str
    cells: Mapping[str, Cell]
    last: Mapping[str, Cell] | None = None
    remove: bool = False
    extras: Mapping[str, str] = MappingProxyType({})
    moved_from: str | None = None
    held: Mapping[str, Cell] = MappingProxyType({})
    tried: Sequence[Mapping[str, Cell]] = ()
    restore: bool = False


def remembered(row: Row) -> dict[str, Cell]:
    """What is kept of a written row: its cells, and its extras under names that no column can have. A later row that
    differs in either must be written again."""
    return {**row.cells, **{f"\x00{name}": value for name, value in row.extras.items()}}


def dump_cells(cells: Mapping[str, Cell]) -> str:
    """Cells as compact JSON with sorted keys: equal cells give equal text, and ``load_cells`` gives them back."""
    return json.dumps(
        {name: _tagged(cell) for name, cell in cells.items()}, ensure_ascii=False, sort_keys=True, separators=(",", ":")
    )


def load_cells(text: str, like: Mapping[str, Cell] = MappingProxyType({})) -> dict[str, Cell]:
    """What ``dump_cells`` wrote, with its types.

    Args:
        like: the newer cells of the same row. Names and texts that are the same share their memory: a batch has
            thousands of rows, and most of their cells stay as they are.
    """
    loaded: dict[str, Any] = json.loads(text)
    names, cells = {name: name for name in like}, {}
    for name, value in loaded.items():
        newer = like.get(name)
        cells[names.get(name, name)] = newer if isinstance(newer, str) and newer == value else _untagged(value)
    return cells


def same_cell(one: Cell, other: Cell) -> bool:
    """Whether two typed cells are the same (True is not 1, though Python says so)."""
    return type(one) is type(other) and one == other


def _tagged(cell: Cell) -> Any:
    if isinstance(cell, Decimal):
        return {"decimal": str(cell)}
    if isinstance(cell, datetime):
        return {"datetime": cell.isoformat()}
    if isinstance(cell, date):
        return {"date": cell.isoformat()}
    if isinstance(cell, tuple):
        return list(cell)
    return cell


def _untagged(value: Any) -> Cell:
    if isinstance(value, list):
        return tuple(str(item) for item in value)
    if isinstance(value, dict):
        ((tag, text),) = value.items()
        if tag == "decimal":
            return Decimal(text)
        if tag == "datetime":
            return datetime.fromisoformat(text)
        return date.fromisoformat(text)
    assert value is None or isinstance(value, str | int | bool)
    return value
