"""How a table of affiliates looks in every sink that has a look: order, widths, notes, formats, colours. Knows no sink.

The tint says whose a column is: tinted header and bands are the connector's, plain columns are people's. Colour is for
trouble, on top of a word, never instead of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from msgspec import Struct

from connector.core.meanings import meaning
from connector.core.money import signed_pattern
from connector.core.row import Column

INK, MUTED, ACCENT, HEADER, BAND, LINE, EDGE, RED = (
    "1A1B1E", "5F6067", "3348C9", "E4E7F8", "F7F7FA", "E6E6EA", "C3C6D8", "B3261E"
)  # fmt: skip
"""Colours as RRGGBB: text, quiet text, links, header, every second row, lines, edge of a block, amounts below 0."""

RIGHT_ALIGNED = frozenset({"integer", "number", "money"})
"""Types of columns whose cells are right-aligned."""

PLAIN_DATE = "d mmm yyyy"
"""A date that nobody misreads, where no locale says how to write it."""

MOST_PIXELS = 320
_PIXELS_BY_PATH = {"name": 208, "company": 184}
_PIXELS_BY_TYPE = {"email": 184, "url": 188, "integer": 84, "number": 84, "money": 112, "date": 108, "datetime": 148}
_OTHER_PIXELS = 124
_PIXELS_OF_A_LETTER = 7

_OF_SEVERAL_PATHS = {
    ("name", "company", "email"): "Who it is: name, else company, else e-mail address.",
    ("promo_code", "ref_id"): "The promo code, else the referral ID.",
}
_RULES = {
    "always": "Don't type here: the platform's value comes back.",
    "never_clear": "If you type here: it stays until the platform has a newer value.",
    "only_forward": "If you type here: it stays until the platform has a later stage.",
    "only_if_empty": "If you type here: it stays.",
    "on_create": "If you type here: it stays.",
}
_RULE_OF_THE_KEY = "Don't change it: it finds the row. Sort as you like."

UPDATED = "\nLast updated: "
"""How the note of the first header goes on, once the table is made."""
_UPDATED_FORMAT = "%d %b %Y, %H:%M"
_UPDATED_EVERY = timedelta(minutes=15)

_SCHEME = re.compile(r"(?:https?://(?:www\.(?=[^./]+\.))?|mailto:)(?=[^\s/])", re.IGNORECASE)


class Mark(Struct, frozen=True):
    """How a word of trouble is shown: colours as RRGGBB; bold, or else italic."""

    ink: str
    paper: str
    bold: bool


WAITS, STOPPED, _OFF = Mark("8A5600", "FDF0D2", True), Mark(RED, "FBE3E0", True), Mark(MUTED, "F0F0F3", False)
_SETTLED = frozenset({"active", "inactive", "rejected", "blocked"})
_MARKS_BY_STATUS = {"pending": WAITS, "blocked": STOPPED, "inactive": _OFF, "rejected": _OFF}


def arranged(columns: Sequence[Column], key: str) -> list[Column]:
    """The order of a new table's columns: who it is, the status, the others as in the mapping file, the key."""

    def place(column: Column) -> int:
        return 3 if column.name == key else 0 if is_name(column) else 1 if column.paths == ("status",) else 2

    return sorted(columns, key=place)


def is_name(column: Column) -> bool:
    """Whether it says who the affiliate is; it is bold, and stays in sight."""
    return column.paths[:1] == ("name",)


def block_starts(columns: Sequence[Column], key: str) -> frozenset[str]:
    """The names of the columns where a new block begins: text, figures, money, times, the key."""

    def block(column: Column) -> str:
        if column.name == key:
            return "key"
        if column.paths and column.paths[0].startswith("last_event."):
            return "when"
        by_type = {"integer": "figures", "number": "figures", "money": "money", "date": "when", "datetime": "when"}
        return by_type.get(column.type, "text")

    return frozenset(column.name for before, column in pairwise(columns) if block(before) != block(column))


def pixels(column: Column) -> int:
    """How wide a column is as long as nothing is in it."""
    path = column.paths[0] if column.paths else ""
    by_kind = _PIXELS_BY_PATH.get(path) or _PIXELS_BY_TYPE.get(column.type, _OTHER_PIXELS)
    return max(by_kind, min(_PIXELS_OF_A_LETTER * len(column.name) + 40, MOST_PIXELS))


def pixels_for(lengths: Sequence[int]) -> int:
    """How wide a column must be for nine in ten of its values, given their lengths; 0 for none."""
    if not lengths:
        return 0
    nine_in_ten = sorted(lengths)[(9 * len(lengths) - 1) // 10]
    return min(_PIXELS_OF_A_LETTER * nine_in_ten + 20, MOST_PIXELS)


def note(column: Column, key: str) -> str:
    """The note of a header: what it is, where it comes from, and what becomes of what people type."""
    what, source = origin(column)
    rule = _RULE_OF_THE_KEY if column.name == key else rule_of(column)
    return "\n".join(line for line in (what, source and f"From: {source}", rule) if line)


def origin(column: Column) -> tuple[str, str]:
    """What a column holds, and the platforms' word for it. Of a path that has no such word: "", and the path."""
    found = meaning(column.paths[0]) if column.paths else None
    if found is None or not found.source or column.paths[0].startswith("custom."):
        return "", ", ".join(column.paths)
    return _OF_SEVERAL_PATHS.get(column.paths, found.what), found.source


def rule_of(column: Column) -> str:
    """What becomes of what people type into a column."""
    return _RULES[column.overwrite]


def marks(column: Column) -> list[tuple[str, Mark]]:
    """The words of a column of the affiliates' status that are shown as trouble, each with its look."""
    if column.paths != ("status",):
        return []
    calm = {shown for word, shown in column.words if word not in _MARKS_BY_STATUS}
    found = {shown: _MARKS_BY_STATUS[word] for word, shown in reversed(column.words) if word in _MARKS_BY_STATUS}
    return [(shown, mark) for shown, mark in found.items() if shown and shown not in calm]


def settled_words(column: Column) -> list[str]:
    """The words of a status that needs nobody: what the view "Needs us" hides. A word that nobody knows is shown."""
    if column.paths != ("status",):
        return []
    needing = {shown for word, shown in column.words if word not in _SETTLED}
    return [shown for word, shown in column.words if word in _SETTLED and shown and shown not in needing]


# ---------------------------------------------------------------- values


def pattern(column: Column, date: str = PLAIN_DATE) -> str:
    """The number format of counts, dates and times, in the words of spreadsheets; "" for all others.

    Args:
        date: how a date is written.
    """
    return {"integer": "#,##0", "date": date, "datetime": f"{date}, hh:mm"}.get(column.type, "")


def amount_pattern(currency: str, *, sign_behind: bool = False) -> str:
    """The number format of an amount in *currency* (an ISO code); "" and what is no code: without a sign."""
    if not re.fullmatch("[A-Za-z]{3}", currency):
        return "#,##0.00#"
    return signed_pattern(currency, behind=sign_behind)


def is_link(text: str) -> bool:
    """Whether *text* is an address that is shown as a link: http, https or mailto."""
    return _SCHEME.match(text) is not None


def shown_address(address: str) -> str:
    """An address without its scheme and ``www.``: complete enough that a copied cell works."""
    return _SCHEME.sub("", address)


def renewed(text: str, now: datetime) -> str | None:
    """The note *text* with *now* as its "Last updated"; None while that is younger than 15 minutes, and for a note
    that does not end with it, since people have edited it.

    Args:
        now: the clock that readers of the table look at.
    """
    kept, updated, then = text.rpartition(UPDATED)
    try:
        is_due = not then or now - datetime.strptime(then, _UPDATED_FORMAT).replace(tzinfo=now.tzinfo) >= _UPDATED_EVERY
    except ValueError:
        return None
    return kept + UPDATED + now.strftime(_UPDATED_FORMAT) if updated and is_due else None
