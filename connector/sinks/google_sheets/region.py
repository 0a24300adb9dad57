"""How Google writes colours, and what a spreadsheet's locale and time zone mean. Pure; it alone knows Babel."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from connector.core.look import PLAIN_DATE
from connector.sinks.google_sheets.answers import Json


@dataclass(frozen=True, slots=True)
class Region:
    """How the spreadsheet's locale writes dates and amounts, and the clock that its readers look at."""

    date: str = PLAIN_DATE
    sign_behind: bool = False
    zone: tzinfo = UTC


@lru_cache(maxsize=64)
def region_of(locale: str, time_zone: str) -> Region:
    """Of a spreadsheet's properties (``en_GB``, ``Europe/London``); what is not known is as in ``Region()``."""
    from babel import Locale, UnknownLocaleError  # reads files, and many commands never need it

    try:
        zone: tzinfo = ZoneInfo(time_zone)
    except (KeyError, ValueError, OSError):
        zone = UTC
    try:
        found = Locale.parse(locale)
    except (ValueError, UnknownLocaleError):
        return Region(zone=zone)
    amount = found.currency_formats["standard"].pattern.partition(";")[0]
    behind = amount.find("¤") > amount.find("0")
    return Region(_date_pattern(found.date_formats["medium"].pattern), behind, zone)


_DATE_PART = re.compile(r"'([^']*)'|(y+|[ML]+|d+)|([A-Za-z])|([\u200e\u200f])|(.)")


def _date_pattern(cldr: str) -> str:
    """A date pattern of CLDR in the words of spreadsheets: ``dd.MM.y`` -> ``dd.mm.yyyy``."""
    parts = []
    for quoted, known, other, invisible, sign in _DATE_PART.findall(cldr):
        if other:
            return PLAIN_DATE  # an era, a day of the week: no spreadsheet has it
        if known:
            parts.append("yyyy" if known == "y" else known.lower().replace("l", "m"))
        elif not invisible:
            literal = quoted or sign
            parts.append(f'"{literal}"' if literal.isalpha() else literal)
    return "".join(parts)


def colour(rgb: str) -> Json:
    """RRGGBB as Google writes a colour."""
    red, green, blue = (round(int(rgb[place : place + 2], 16) / 255, 4) for place in (0, 2, 4))
    return {"rgbColor": {"red": red, "green": green, "blue": blue}}
