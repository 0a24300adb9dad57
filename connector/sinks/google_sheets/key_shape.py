"""What the keys of one mapping have in common. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from connector.core.keys import tidy

_OF_A_PLATFORM = re.compile(r"[a-z][a-z0-9_.-]*:(?!//)\S+")
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+")


class KeyShape:
    """What keys of one mapping have in common, which sets them apart from a word such as TOTAL in the key's column."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = set(map(tidy, keys))
        common: set[str] | None = None
        for key in self._keys:
            common = _signs(key) if common is None else common & _signs(key)
        self._common = common or set()

    def fits(self, text: str) -> bool:
        """Whether *text* may be the key of a row of ours."""
        return text in self._keys or self._common <= _signs(text)


def _signs(text: str) -> set[str]:
    if _OF_A_PLATFORM.fullmatch(text):
        return {"of a platform"}
    if _ADDRESS.fullmatch(text):
        return {"address"}
    found = {"digits"} if any(character.isdigit() for character in text) else set()
    return found if any(character.isspace() for character in text) else found | {"one word"}
