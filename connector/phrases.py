"""Counts and times in words, for people: the same in a terminal, on a page and in a sheet. Times are local."""

from __future__ import annotations

from datetime import datetime


def many(count: int, noun: str) -> str:
    """``no rows``, ``1 row``, ``2 rows``."""
    return f"{'no' if count == 0 else f'{count:,}'} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """``49 s``, ``2 min``, ``3 h``, ``4 d``."""
    seconds = max(0, int(seconds))
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def ago(moment: datetime | None, now: datetime) -> str:
    """``never``, ``2 min ago`` up to a day, then a day like ``27 Nov``."""
    if moment is None:
        return "never"
    seconds = (now - moment).total_seconds()
    return f"{duration(seconds)} ago" if seconds < 86_400 else day(moment, now)


def day(moment: datetime, now: datetime) -> str:
    """``today``, or a day like ``27 Nov``."""
    local = moment.astimezone()
    return "today" if local.date() == now.astimezone().date() else f"{local.day} {local:%b}"


def clock(moment: datetime, now: datetime) -> str:
    """When something of that moment happened: ``at 06:12``, or ``on 27 Nov`` for another day."""
    found = day(moment, now)
    return f"at {moment.astimezone():%H:%M}" if found == "today" else f"on {found}"
