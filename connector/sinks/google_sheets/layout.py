"""Where the header row and the managed columns of a tab are, wherever people moved them. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from connector.core.row import Column
from connector.sinks.google_sheets.snapshot import (
    Snapshot,
    Tag,
    header_text,
    tidy,
    unconfirmed,
)


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
    """

    header: int
    columns: Mapping[str, int]
    untagged: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)


def find_layout(
    snapshot: Snapshot, columns: Sequence[Column], key: str, *, header_row: int | None, known: Collection[str]
) -> Layout:
    """Find the managed columns: by tag, then by header. A tag that is not confirmed yet finds nothing.

    Args:
        header_row: as the mapping says, counted from 1. First counts where the header tag is (people may have
            inserted rows above), then this, unless a row with the key's header has more of ours; then row 1.
        known: names that were in this tab before: what is gone now was taken away by a person.
    """
    names = {tidy(column.name): column.name for column in columns}
    header = _header_row(snapshot, names, tidy(key), header_row)
    texts = {place: header_text(value) for place, value in snapshot.cells.line(header).items()}
    tagged: dict[str, list[int]] = {}
    for at in sorted(snapshot.columns):
        tagged.setdefault(snapshot.columns[at].value, []).append(at)
    found: dict[str, int] = {}
    renamed: dict[str, str] = {}
    for text, name in names.items():
        places = tagged.get(name, ())
        place = next((place for place in places if texts.get(place) == text), places[0] if places else None)
        if place is not None:
            found[name] = place
    claimed = set(found.values())
    for text, name in names.items():
        headed = next((place for place in sorted(texts) if texts[place] == text and place not in claimed), None)
        if headed is not None and (name not in found or found[name] not in texts):
            found[name] = headed  # no tag yet; or it stayed behind when people cut and pasted the column
        elif name in found and texts.get(found[name]) != text:
            renamed[name] = texts.get(found[name], "")
    absent = [column.name for column in columns if column.name not in found]
    return Layout(
        header=header,
        columns=found,
        untagged=tuple(
            name
            for name, place in found.items()
            if place not in snapshot.columns
            or confirmed_name(snapshot.columns[place]) != name
            or sum(confirmed_name(tag) == name for tag in snapshot.columns.values()) > 1
        ),
        missing=tuple(name for name in absent if name not in known),
        waiting=tuple(name for name in absent if name in known),
        renamed=renamed,
    )


def confirmed_name(tag: Tag) -> str:
    """The column that a tag names, confirmed or not."""
    return tag.value.removeprefix(unconfirmed)


def _header_row(snapshot: Snapshot, names: Mapping[str, str], key: str, header_row: int | None) -> int:
    def hits(row: int) -> int:
        texts = {header_text(value) for value in snapshot.cells.line(row).values()}
        return len(texts & names.keys()) + (key in texts)

    tagged = max(snapshot.headers, key=lambda row: (hits(row), -row), default=None)
    said = None if header_row is None else header_row - 1
    first = islice(snapshot.cells.filled_rows(), 50)
    top = [row for row in first if key in map(header_text, snapshot.cells.line(row).values())]
    best = max(top, key=lambda row: (hits(row), -row), default=None)
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


def _tag_id(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) % 0x7FFF_FFFE + 1
