"""Topics that a source does not know: most often a URL that was pasted with a slip. Knows no platform.

Such an event is kept and read all the same, by its shape; but it may pass for something else, and nobody would notice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from connector import logs
from connector.core.source import API_TOPIC, Event, Source
from connector.store.store import Store

_log = logs.get("topics")
_place = "connector.topics"
_most = 20  # of a source; whoever may send chooses the words
_told_again_after = timedelta(hours=6)
_shown_for = timedelta(days=2)


def is_strange(source: type[Source] | Source, topic: str) -> bool:
    """Whether *source* has URLs for its topics, and this is none of them."""
    return bool(source.topics) and topic not in source.topics and not topic.startswith(API_TOPIC)


class StrangeTopics:
    """Takes note of them: a warning for each every few hours, and what ``met`` gives."""

    def __init__(self, store: Store, sources: Mapping[str, Source]) -> None:
        self._store = store
        self._sources = {name: source for name, source in sources.items() if source.topics}
        self._met: dict[str, dict[str, datetime]] = {name: {} for name in self._sources}

    def note(self, events: Iterable[Event]) -> None:
        """Raises StoreUnavailable."""
        for event in events:
            source = self._sources.get(event.source)
            if source is None or not is_strange(source, event.topic):
                continue
            mine = self._met[event.source]
            last = mine.get(event.topic)
            if last is None and len(mine) >= _most:
                continue
            if last is not None and event.received_at - last < _told_again_after:
                continue
            met = {**mine, event.topic: event.received_at}
            kept = json.dumps({topic: at.isoformat() for topic, at in met.items()})
            self._store.remember(_place, event.source, kept)
            self._met[event.source] = met
            known = ",".join(source.topics)
            logs.warn(_log, "topic.unknown", source=event.source, topic=event.topic, known=known)


def met(store: Store, source: str, now: datetime) -> dict[str, datetime]:
    """The topics that *source* did not know, and about when an event with each came last; of the last days."""
    kept: dict[str, str] = json.loads(store.recall(_place, source) or "{}")
    found = {topic: datetime.fromisoformat(at) for topic, at in kept.items()}
    return {topic: at for topic, at in found.items() if now - at < _shown_for}
