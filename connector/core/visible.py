"""Text from the web without what nobody sees: zero-width signs, byte order marks, soft hyphens, marks of direction."""

from __future__ import annotations

import re
import unicodedata

# Signs that show nothing although Unicode does not call them format signs (Cf) or controls (Cc).
_BLANK_SIGNS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")  # all but blanks; no file, sheet or database has them
_TAGS = range(0xE0020, 0xE0080)  # a flag ends in one


def trimmed(text: str) -> str:
    """*text* without control characters, and without the blanks and invisible signs around it. Inside these may mean
    something: letters join by them."""
    if text.isascii() and text.isprintable():
        return text.strip(" ")
    text = _CONTROLS.sub("", text)
    first, last = 0, len(text)
    while first < last and _shows_nothing(text[first]):
        first += 1
    while last > first and _shows_nothing(text[last - 1]) and ord(text[last - 1]) not in _TAGS:
        last -= 1
    return text[first:last]


def visible(text: str) -> str:
    """*text* without any invisible sign, and trimmed: for what machines read (addresses, phone numbers, codes)."""
    if text.isascii() and text.isprintable():
        return text.strip(" ")
    return "".join(sign for sign in text if sign.isspace() or not _shows_nothing(sign)).strip()


def one_line(text: str) -> str:
    """``visible``, with single plain spaces: "United\u00a0Kingdom" is "United Kingdom"."""
    return " ".join(visible(text).split())


def _shows_nothing(sign: str) -> bool:
    return sign.isspace() or sign in _BLANK_SIGNS or unicodedata.category(sign) in ("Cf", "Cc")
