"""Today: whether all is well, what waits for a person, what came in, where it went."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from msgspec import Struct

from connector.overview import Overview, overview
from connector.page.asking import Answer, Ask, Inside
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
    duplicates: int
    refused: int
    most: int
    last_day: int


def seen(inside: Inside) -> Overview:
    """How everything is, as `connector status` sees it."""
    letters = inside.letters.list()
    return overview(
        inside.settings, inside.store, letters, inside.now(), server=inside.server(), status=inside.status()
    )


def charts(hours: Sequence[Hour], now_hour: int) -> dict[str, Chart]:
    """By source."""
    by_source: dict[str, dict[int, Hour]] = {}
    for hour in hours:
        by_source.setdefault(hour.source, {})[hour.hour] = hour
    return {source: _chart(found, now_hour) for source, found in by_source.items()}


def _chart(found: dict[int, Hour], now_hour: int) -> Chart:
    shown = [found.get(now_hour - ago) for ago in range(_HOURS - 1, -1, -1)]
    most = max((hour.received + hour.refused for hour in shown if hour), default=0)
    bars = []
    for place, hour in enumerate(shown):
        if hour is not None:
            total = hour.received + hour.refused
            height = round(max(1.5, _CHART_HEIGHT * total / most), 1)
            red = round(height * hour.refused / total, 1)
            bars.append(Bar(place * 10 + 1, round(40 - height, 1), height, red, _HOURS - 1 - place, total))
    there = [hour for hour in shown if hour]
    return Chart(
        tuple(bars),
        sum(hour.received for hour in there),
        sum(hour.duplicates for hour in there),
        sum(hour.refused for hour in there),
        most,
        sum(hour.received for hour in shown[24:] if hour),
    )


def today(ask: Ask) -> Answer:
    """The first view."""
    inside, now = ask.inside, ask.inside.now()
    found = seen(inside)
    hours = inside.store.hours(now - timedelta(hours=_HOURS - 1))
    values = {
        "seen": found,
        "charts": charts(hours, int(now.timestamp()) // 3600),
        "latest": inside.live.latest(_LATEST),
        "sinks": {route.name: sink for sink in inside.settings.sinks for route in sink.routes},
    }
    return Answer("today.html", values)
