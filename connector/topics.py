"""Topics that a source does not know: most often a URL that was pasted with a mistake. Knows no platform.

Such an event is kept and read all the same, by its shape; but it may be read as something else without any notice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from connector import logs
from connector.core.source import API_TOPIC, Event, Source
from connector.store import Store

_log = logs.get("topics")
_NOTES_OWNER: Final = "connector.topics"
_MOST_TOPICS: Final = 20  # of a source; the sender chooses the words
_REPEATED_AFTER: Final = timedelta(hours=6)
_SHOWN_FOR: Final = timedelta(days=2)


def is_strange(source: type[Source] | Source, topic: str) -> bool:
    """Whether *source* has URLs for its topics, and this is none of them."""
    return bool(source.topics) and topic not in source.topics and not topic.startswith(API_TOPIC)


class StrangeTopics:
    """Notes them: a warning for each every few hours, and what ``met`` gives."""

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
            if last is None and len(mine) >= _MOST_TOPICS:
                continue
            if last is not None and event.received_at - last < _REPEATED_AFTER:
                continue
            met = {**mine, event.topic: event.received_at}
            kept = json.dumps({topic: at.isoformat() for topic, at in met.items()})
            self._store.remember(_NOTES_OWNER, event.source, kept)
            self._met[event.source] = met
            known = ",".join(source.topics)
            logs.warn(_log, "topic.unknown", source=event.source, topic=event.topic, known=known)


def met(store: Store, source: str, now: datetime) -> dict[str, datetime]:
    """The topics that *source* did not know, and about when an event with each came last; of the last days."""
    kept: dict[str, str] = json.loads(store.recall(_NOTES_OWNER, source) or "{}")
    found = {topic: datetime.fromisoformat(at) for topic, at in kept.items()}
    return {topic: at for topic, at in found.items() if now - at < _SHOWN_FOR}
