"""Which header of a table is which column of a mapping: one rule for all sinks."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping

from connector.core.keys import tidy


def match_headers(headers: Mapping[int, str], names: Iterable[str]) -> dict[str, int]:
    """The place of each of *names*; a name that no header fits is absent.

    First the headers that read exactly like the name (Unicode NFC, trimmed), the leftmost of equal ones. Then letter
    case, line breaks and invisible characters are ignored, where that leaves one header for one name: between
    ``name`` and ``NAME``, nobody can say which ``Name`` is.

    Args:
        headers: the text that each header shows, by its place.
        names: the mapping's names.
    """
    exact: dict[str, int] = {}
    for place in sorted(headers):
        exact.setdefault(tidy(headers[place]), place)
    asked = list(names)
    found = {name: exact[tidy(name)] for name in asked if tidy(name) in exact}
    taken = set(found.values())
    alike: dict[str, list[int]] = {}
    for place in sorted(headers):
        if place not in taken:
            alike.setdefault(_folded(headers[place]), []).append(place)
    missed: dict[str, list[str]] = {}
    for name in asked:
        if name not in found:
            missed.setdefault(_folded(name), []).append(name)
    for folded, same in missed.items():
        places = alike.get(folded, [])
        if folded and len(same) == 1 and len({tidy(headers[place]) for place in places}) == 1:
            found[same[0]] = places[0]
    return found


def look_alike(headers: Mapping[int, str], name: str) -> list[int]:
    """The places of the headers that differ from *name* by letter case, line breaks or invisible characters only."""
    folded = _folded(name)
    return [place for place in sorted(headers) if folded and _folded(headers[place]) == folded]


def _folded(text: str) -> str:
    visible = text if text.isascii() else "".join(sign for sign in text if unicodedata.category(sign) != "Cf")
    return unicodedata.normalize("NFC", " ".join(visible.split()).casefold())
