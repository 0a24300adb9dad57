"""Where the header row and the managed columns of a tab are, wherever people moved them. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from connector.core.headers import match_headers
from connector.core.keys import tidy
from connector.core.row import Column
from connector.sinks.google_sheets.snapshot import UNCONFIRMED, Formula, Link, Snapshot, Tag

_HEADER_CANDIDATES = 50
"""Filled rows from the top among which a header row is looked for."""
_FILLS_ITS_COLUMN = re.compile(r"ARRAYFORMULA|BYROW|MAKEARRAY|MAP\(|FILTER\(|QUERY\(|IMPORTRANGE", re.IGNORECASE)
"""A formula in a header cell that makes the cells below it, too."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where header row and managed columns are.

    Args:
        header: the header row (zero-based).
        columns: by the mapping's name.
        untagged: found, but their tag is missing or on another column.
        missing: never seen in this tab; to be created.
        waiting: a person took them away: header and tag are gone.
        renamed: by the mapping's name, the header that people gave it.
        computed: columns whose cells somebody's array formula fills; a value among them would break it.
        header_is_gone: the tab was set up, and no row bears our headers or the header tag any more.
    """

    header: int
    columns: Mapping[str, int]
    untagged: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    computed: tuple[str, ...] = ()
    header_is_gone: bool = False


def find_layout(
    snapshot: Snapshot, columns: Sequence[Column], key: str, *, header_row: int | None, known: Collection[str]
) -> Layout:
    """Find the managed columns: by tag, then by header. A tag that is not confirmed yet finds nothing.

    Args:
        header_row: as the mapping says, counted from 1. First counts where the header tag is (people may have
            inserted rows above), then this, unless a row with the key's header has more of ours; then row 1.
        known: names that were in this tab before: what is gone now was taken away by a person.
    """
    names = [column.name for column in columns]
    header = _header_row(snapshot, names, key, header_row)
    texts = snapshot.texts(header)
    found = _by_tag(snapshot, names, texts)
    free = {place: text for place, text in texts.items() if place not in found.values()}
    # No tag yet; or the tag stayed behind when people cut and pasted the column.
    lost = [name for name in names if name not in found or found[name] not in texts]
    found |= match_headers(free, lost)
    absent = [name for name in names if name not in found]
    tags = [confirmed_name(tag) for tag in snapshot.columns.values()]
    return Layout(
        header=header,
        columns=found,
        untagged=tuple(
            name
            for name, place in found.items()
            if place not in snapshot.columns or confirmed_name(snapshot.columns[place]) != name or tags.count(name) > 1
        ),
        missing=tuple(name for name in absent if name not in known),
        waiting=tuple(name for name in absent if name in known),
        renamed={
            name: texts.get(place, "")
            for name, place in found.items()
            if not match_headers({place: texts.get(place, "")}, [name])
        },
        computed=tuple(
            name
            for name, place in found.items()
            if name != key and _is_computed(snapshot, header, place, found.get(key, -1))
        ),
        header_is_gone=_header_is_gone(snapshot, names, header),
    )


def _is_computed(snapshot: Snapshot, header: int, place: int, key_place: int) -> bool:
    head = snapshot.value(header, place)
    if isinstance(head, Formula) and _FILLS_ITS_COLUMN.search(head.text):
        return True
    # Where only a part of the tab was read, rows with a typed key show it.
    keyed = (row for row, line in snapshot.spills.items() if place in line and row > header)
    is_among_ours = any(isinstance(snapshot.value(row, key_place), str | float | Link) for row in keyed)
    return is_among_ours or snapshot.spills_from_the_top(place, header)


def _header_is_gone(snapshot: Snapshot, names: Sequence[str], header: int) -> bool:
    is_set_up = any(tag.value in names for tag in snapshot.columns.values())
    return is_set_up and not snapshot.headers and not match_headers(snapshot.texts(header), names)


def _by_tag(snapshot: Snapshot, names: Sequence[str], texts: Mapping[int, str]) -> dict[str, int]:
    """The columns that a confirmed tag names: of several, the one under its header."""
    found: dict[str, int] = {}
    for place in sorted(snapshot.columns):
        name = snapshot.columns[place].value
        if name in names and (name not in found or (texts.get(place) == tidy(name) != texts.get(found[name]))):
            found[name] = place
    return found


def confirmed_name(tag: Tag) -> str:
    """The column that a tag names, confirmed or not."""
    return tag.value.removeprefix(UNCONFIRMED)


def _header_row(snapshot: Snapshot, names: Sequence[str], key: str, header_row: int | None) -> int:
    def hits(row: int) -> int:
        found = match_headers(snapshot.texts(row), names)
        return len(found) + (key in found)

    tagged = max(snapshot.headers, key=lambda row: (hits(row), -row), default=None)
    said = None if header_row is None else header_row - 1
    candidates = sorted(snapshot.cells.keys() | snapshot.spills.keys())[:_HEADER_CANDIDATES]
    with_key = [row for row in candidates if match_headers(snapshot.texts(row), [key])]
    best = max(with_key, key=lambda row: (hits(row), -row), default=None)
    for row in (tagged, said):
        # A tag is put by place: a person may have inserted rows above at that moment, and values may look like headers.
        if row is not None and hits(row) and (best is None or hits(row) >= hits(best)):
            return row
    # Where nothing bears a header of ours: all were renamed (the tag alone knows the row), or there are none yet.
    return next((row for row in (best, tagged, said) if row is not None), 0)


def column_tag_id(sheet_id: int, name: str) -> int:
    """The same for every connector, so that two of them can't both tag a column of one name."""
    return _tag_id(f"{sheet_id}/column/{name}")


def fence_tag_id(sheet_id: int) -> int:
    return _tag_id(f"{sheet_id}/fence")


def look_tag_id(sheet_id: int) -> int:
    return _tag_id(f"{sheet_id}/look")


def console_tag_id(sheet_id: int) -> int:
    return _tag_id(f"{sheet_id}/console")


def _tag_id(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) % 0x7FFF_FFFE + 1
