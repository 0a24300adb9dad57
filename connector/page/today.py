"""Today: whether all is well, what waits for a person, what came in, where it went."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from msgspec import Struct

from connector.overview import overview
from connector.page.asking import Answer, Ask
from connector.store.tally import Hour

_HOURS = 48
_CHART_HEIGHT = 38.0
_LATEST = 8


class Bar(Struct, frozen=True):
    """One hour of a chart; *top* and *height* in its units. *refused* is a part of it, on top."""

    x: int
    top: float
    height: float
    refused: float
    hours_ago: int
    count: int


class Chart(Struct, frozen=True):
    """48 hours of one source."""

    bars: tuple[Bar, ...]
    received: int
    refused: int
    most: int
    last_day: int


def _chart(hours: Sequence[Hour], now_hour: int) -> Chart:
    most = max(hour.received + hour.refused for hour in hours)
    bars = []
    for hour in hours:
        total, ago = hour.received + hour.refused, now_hour - hour.hour
        height = round(max(1.5, _CHART_HEIGHT * total / max(1, most)), 1)
        red = round(height * hour.refused / max(1, total), 1)
        bars.append(Bar(10 * (_HOURS - 1 - ago) + 1, round(40 - height, 1), height, red, ago, total))
    last_day = sum(hour.received for hour in hours if now_hour - hour.hour < 24)
    received, refused = sum(hour.received for hour in hours), sum(hour.refused for hour in hours)
    return Chart(tuple(bars), received, refused, most, last_day)


def today(ask: Ask) -> Answer:
    """The first view."""
    inside, now = ask.inside, ask.inside.now()
    letters, status = inside.letters.list(), inside.status()
    by_source: dict[str, list[Hour]] = {}
    for hour in inside.store.hours(now - timedelta(hours=_HOURS - 1)):
        by_source.setdefault(hour.source, []).append(hour)
    values = {
        "seen": overview(inside.settings, inside.store, letters, now, server=inside.server(), status=status),
        "charts": {source: _chart(hours, int(now.timestamp()) // 3600) for source, hours in by_source.items()},
        "latest": inside.live.latest(_LATEST),
        "sinks": {route.name: sink for sink in inside.settings.sinks for route in sink.routes},
    }
    return Answer("today.html", values)
