"""What there is to map: the paths that hold values, and what comes in webhooks and reaches no path.

Worked out on demand, from a bounded number of records and events. Knows no destination.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from connector.affiliates.find import normalized
from connector.core.facts import load_facts
from connector.core.keys import text_of
from connector.core.lenient import micros_of_time
from connector.core.mapping.paths import PATHS, Kind, Paths
from connector.core.meanings import meaning
from connector.core.overwrite import is_empty
from connector.core.record import AffiliateRecord
from connector.core.source import API_TOPIC, Event, Source
from connector.core.view import view
from connector.settings import Config
from connector.store import Store

_MOST_RECORDS, _FEWEST_RECORDS = 500, 100  # of all sources; of each
_MOST_EVENTS = 500
_MOST_BYTES = 16 * 1024 * 1024
_MOST_KEYS = 2_000
_TOPICS_TRIED = 6
"""Of how many topics a key's absence is tried before it counts as unread: a source may read it in some only."""
_DEEPEST = 8
_OF_EVERY_RECORD = frozenset({"source", "affiliate_id", "updated_at"})
"""Paths that say nothing beside others: nobody misses them in a table."""
_KIND_WORDS = {
    "integer": "integer",
    "decimal": "amount",
    "datetime": "time",
    "boolean": "true or false",
    "any": "text, number or true/false",
}

_LAST_PARTS = Counter(path.rpartition(".")[2] for path, kind in PATHS.items() if kind.holds != "table")

Uses = Mapping[str, Sequence[str]]
"""By path of a record: the lines of mapping files that name it (``finance.toml:20``)."""


class FieldSeen(Struct):
    """A path of the record.

    Args:
        what: its meaning, a sentence.
        type: what it holds, in words.
        seen: how many of the records that were read have a value.
        value: one of them, as text; "" when there is none.
        used: the lines of mapping files that name it.
    """

    path: str
    what: str
    type: str
    seen: int = 0
    value: str = ""
    used: Sequence[str] = ()

    @property
    def is_unused(self) -> bool:
        """Whether it holds something that no mapping shows."""
        return self.seen > 0 and not self.used and self.path not in _OF_EVERY_RECORD


class KeySeen(Struct):
    """A key that came in webhooks of *source* and whose value reaches no path. What is there is not read, so it is not
    shown either: it may be private."""

    source: str
    key: str
    seen: int


def fields(store: Store | None, sources: Iterable[str], uses: Uses) -> list[FieldSeen]:
    """Every path with a value from the records of *sources* where there is one; each key of ``custom`` by itself."""
    paths, found = Paths({}), {path: _field(path, kind, uses) for path, kind in PATHS.items() if kind.holds != "table"}
    del found["custom.*"]
    readers = {path: paths.reader(path) for path in found}
    custom: dict[str, FieldSeen] = {}
    for record in _records(store, sources):
        for path, read in readers.items():
            _count(found[path], read(record, None))
        for key, value in record.custom.items():
            path = f"custom.{key}"
            if path not in custom and len(custom) < _MOST_KEYS:
                custom[path] = _field(path, PATHS["custom.*"], uses)
            if path in custom:
                _count(custom[path], value)
    return [*found.values(), *(custom[path] for path in sorted(custom))]


def _field(path: str, kind: Kind, uses: Uses) -> FieldSeen:
    said = meaning(path)
    words = _KIND_WORDS.get(kind.holds, kind.holds) + (" (list)" if kind.many else "")
    return FieldSeen(path, "" if said is None else said.what, words, used=uses.get(path, ()))


def _count(field: FieldSeen, value: Any) -> None:
    if is_empty(value):
        return
    field.seen += 1
    field.value = field.value or text_of(value)


def _records(store: Store | None, sources: Iterable[str]) -> Iterator[AffiliateRecord]:
    names = list(sources)
    if store is None or not names:
        return
    most = max(_FEWEST_RECORDS, _MOST_RECORDS // len(names))
    ids = [(name, record_id) for name in names for record_id in store.record_ids(f"{name}:", most)]
    known = store.load([record_id for name, record_id in ids if record_id.startswith(f"{name}:")])
    for record_id, found in known.items():
        yield view(record_id, load_facts(found.facts))


def line_to_paste(path: str) -> str:
    """A line for a mapping file that shows *path*."""
    last = path.rpartition(".")[2]
    words = (path if _LAST_PARTS[last] + (last != path) > 1 else last).replace(".", " ").replace("_", " ").strip()
    if path.startswith("custom.") and last not in PATHS:
        words = path.removeprefix("custom.").replace("_", " ").strip()
    return f"{quoted(words[:1].upper() + words[1:])} = {quoted(path)}"


def path_like(header: str, paths: Iterable[str]) -> str:
    """The path that a column of that name probably shows; "" when none is sure."""
    word = _plain(header)
    found = {_plain(path): path for path in paths if path.startswith("custom.")}
    found |= {_plain(path.removeprefix("custom.")): path for path in found.values()}
    for path, kind in reversed(list(PATHS.items())):
        said = meaning(path)
        if kind.holds != "table" and not kind.many and said is not None:
            found |= {_plain(path.rpartition(".")[2]): path, _plain(said.source): path}
    found |= {_plain(path): path for path, kind in PATHS.items() if kind.holds != "table" and not kind.many}
    return found.get(word, "")


def _plain(text: str) -> str:
    return text.casefold().replace("_", "").replace(" ", "").replace("-", "").replace(".", "")


def quoted(text: str) -> str:
    """*text* as a string of TOML."""
    return json.dumps(text, ensure_ascii=False)  # what JSON escapes, TOML does too


def used_paths(settings: Config) -> Uses:
    """By path: the lines of mapping files that name it."""
    found: dict[str, list[str]] = {}
    for sink in settings.sinks:
        for route in sink.routes:
            for path, line in route.mapping.uses:
                place = f"{PurePath(route.mapping.file).name}:{line}"
                if place not in found.setdefault(path, []):
                    found[path].append(place)
    return found


# ---------------------------------------------------------------- what reaches no path


def unread_keys(store: Store, sources: Mapping[str, Source]) -> list[KeySeen]:
    """Keys of the newest webhooks that reach no path: without them, the source says the same about the affiliate.

    A key whose value is elsewhere in the same event, and reaches a path from there, is none of them.
    """
    counts: dict[tuple[str, str], int] = {}
    samples: dict[tuple[str, str], dict[str, tuple[Event, Any, Any]]] = {}
    for event in _newest_events(store, sources):
        body = _opened(event)
        for key, value in dict(_leaves(body)).items():
            place = event.source, key
            if place not in counts and len(counts) >= _MOST_KEYS:
                continue
            counts[place] = counts.get(place, 0) + 1
            tried = samples.setdefault(place, {})
            if len(tried) < _TOPICS_TRIED:
                tried.setdefault(event.topic, (event, body, value))
    known: dict[str, frozenset[str]] = {}
    found = [
        KeySeen(source, key, counts[source, key])
        for (source, key), tried in samples.items()
        if not any(_is_read(sources, *one, key, known) for one in tried.values())
    ]
    # Numbers by which the platform itself names things come last.
    return sorted(found, key=lambda unread: (unread.key.endswith("id"), -unread.seen, unread.source, unread.key))


def _newest_events(store: Store, sources: Mapping[str, Source]) -> Iterator[Event]:
    newest = store.latest_events(_MOST_EVENTS)
    if not newest:
        return
    after = min(seq for seq, *_ in newest) - 1
    for stored in store.read_events(after, _MOST_EVENTS, most_bytes=_MOST_BYTES):
        event = stored.event
        if event.source in sources and not event.topic.startswith(API_TOPIC):
            yield event


def _opened(event: Event) -> Any:
    try:
        return json.loads(event.body)
    except ValueError:
        return None


def _leaves(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The values that are not empty, by their keys: ``data.promotions[].id``."""
    if isinstance(value, dict) and depth < _DEEPEST:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else key, depth + 1)
    elif isinstance(value, list) and depth < _DEEPEST:
        for inner in value:
            yield from _leaves(inner, f"{path}[]", depth + 1)
    elif not isinstance(value, dict | list) and not is_empty(value):
        yield path, value


def _is_read(
    sources: Mapping[str, Source], event: Event, body: Any, value: Any, key: str, known: dict[str, frozenset[str]]
) -> bool:
    """Whether the event's identity, or what its source says, depends on the value at *key*."""
    text = text_of(value)
    if text == event.topic or text in event.key or micros_of_time(value) == event.at:
        return True
    whole = f"{event.source} {event.key}"
    if whole not in known:
        known[whole] = _values_said(sources, event)
    if text in known[whole]:
        return True
    return bool(_said(sources, event, body) != _said(sources, event, _without(body, key.split("."))))


def _said(sources: Mapping[str, Source], event: Event, body: Any) -> Any:
    updates = normalized(sources, replace(event, body=json.dumps(body).encode()))
    return None if updates is None else [(update.record_id, update.said) for update in updates]


def _values_said(sources: Mapping[str, Source], event: Event) -> frozenset[str]:
    updates = normalized(sources, event) or ()
    return frozenset(text_of(value) for update in updates for _, _, value in update.facts.values())


def _without(body: Any, steps: Sequence[str]) -> Any:
    """*body* without what is at *steps*; of a list, without it in each entry."""
    step, entries = steps[0].rstrip("[]"), steps[0].count("[]")
    if not isinstance(body, dict) or step not in body:
        return body
    if len(steps) == 1:
        return {key: value for key, value in body.items() if key != step}
    return {**body, step: _in_each(body[step], steps[1:], entries)}


def _in_each(value: Any, steps: Sequence[str], entries: int) -> Any:
    if entries and isinstance(value, list):
        return [_in_each(inner, steps, entries - 1) for inner in value]
    return _without(value, steps)
