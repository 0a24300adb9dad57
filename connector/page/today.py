"""Today: whether all is well, what waits for a person, what came in, where it went."""

from __future__ import annotations

from datetime import timedelta

from connector.overview import overview
from connector.page.asking import Answer, Ask
from connector.store.tally import Hour

_HOURS = 48
_LATEST = 8


def today(ask: Ask) -> Answer:
    """The first view."""
    inside, now = ask.inside, ask.inside.now()
    letters, status = inside.letters.list(), inside.status()
    hours: dict[str, list[Hour]] = {}
    for hour in inside.store.hours(now - timedelta(hours=_HOURS - 1)):
        hours.setdefault(hour.source, []).append(hour)
    values = {
        "seen": overview(inside.settings, inside.store, letters, now, server=inside.server(), status=status),
        "hours": hours,
        "this_hour": int(now.timestamp()) // 3600,
        "latest": inside.live.latest(_LATEST),
        "sinks": {name: sink for sink in inside.settings.sinks for name in sink.files},
    }
    return Answer("today.html", values)
