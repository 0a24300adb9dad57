"""What a person has done: trying dead letters again, following a sample. Commands and the page call the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote

from msgspec import Struct
from msgspec.structs import replace

from connector.assembly import build_sources, utc_now
from connector.core.facts import AffiliateUpdate, Fact, load_facts
from connector.core.merge import join
from connector.core.source import Event, InboundRequest
from connector.core.verify import HEX_OF_BODY
from connector.dead_letters import DeadLetters, Letter
from connector.settings import Config, SourceConfig
from connector.store import Store

_FOLLOWED_SECONDS = 15.0
_LOOK_EVERY_SECONDS = 0.05


def wait_until_delivered(
    store: Store, wanted: Collection[tuple[str, str]], seconds: float = _FOLLOWED_SECONDS
) -> set[tuple[str, str]]:
    """Wait until each record of *wanted* is delivered to its route: written, left out or refused.

    Args:
        wanted: (route, record id).

    Returns:
        Those that are pending still: a route that waits for a person, or met a bug, is not waited for.
    """
    ends = time.monotonic() + seconds
    while store.waiting() and time.monotonic() < ends:
        time.sleep(_LOOK_EVERY_SECONDS)
    pending = set(wanted)
    while True:
        began = time.monotonic()
        pending = {pair for pair in pending if pair[0] in {found.route for found in store.pending_of(pair[1])}}
        hopeful = {route for route, _ in pending if store.route_state(route).kind in ("ok", "waiting")}
        if not hopeful or time.monotonic() > ends:
            return pending
        time.sleep(max(_LOOK_EVERY_SECONDS, time.monotonic() - began))


# ---------------------------------------------------------------- dead letters


class Tried(Struct, frozen=True):
    """What became of dead letters that were tried again.

    Args:
        refused: subjects of those that were refused again; *pending* counts those that are not delivered yet. Both are
            known only where a server is running.
    """

    put_back: int
    refused: tuple[str, ...]
    pending: int

    @property
    def done(self) -> int:
        return self.put_back - len(self.refused) - self.pending


def try_again(
    settings: Config,
    store: Store,
    letters: DeadLetters,
    chosen: Sequence[Letter],
    *,
    running: bool,
    seconds: float = _FOLLOWED_SECONDS,
) -> Tried:
    """Put *chosen* back, and see what comes of it.

    Args:
        running: a server works on the store; nothing is waited for otherwise.
    """
    count = letters.replay([letter.id for letter in chosen], store, partial(_reopened, settings))
    if not running:
        return Tried(count, (), 0)
    wanted = {(letter.place, letter.subject) for letter in chosen if letter.stage == "deliver"}
    pending = wait_until_delivered(store, wanted, seconds)
    again = {letter.id for letter in letters.list()}
    refused = dict.fromkeys(letter.subject for letter in chosen if letter.id in again)
    waiting = sum((letter.place, letter.subject) in pending and letter.id not in again for letter in chosen)
    return Tried(count, tuple(refused), waiting)


def _reopened(settings: Config, event: Event) -> Event:
    """*event*, which a bug of its source could not open when it came, as the source opens it today; as it is where it
    still can't: then its letter says why."""
    for source in settings.sources:
        if source.name == event.source:
            request = replace(signed(source, event.body, event.topic), received_at=event.received_at)
            with suppress(Exception):  # whatever the bug raises
                return build_sources(settings)[source.name].accept(request)
    return event


# ---------------------------------------------------------------- webhooks as the platforms send them


def signed(source: SourceConfig, body: bytes, topic: str | None) -> InboundRequest:
    """A request as the platform would send it, with a credential that is configured."""
    headers = [(b"content-type", b"application/json")]
    options, moment = source.options, utc_now()
    token = options.token or next(iter(options.tokens), None)
    if token:
        headers.append((b"authorization", b"Bearer " + token.encode()))
    scheme = getattr(source.source_class, "signature", HEX_OF_BODY)
    if scheme is not None and options.signing_secrets:
        made = scheme.sign(options.signing_secrets[0], body, moment, f"sample-{moment.timestamp():.0f}")
        headers += [(key.encode(), value.encode()) for key, value in made.items()]
    query = f"topic={quote(topic, safe='')}".encode() if topic else b""
    return InboundRequest(headers, query, body, moment)


def joined(store: Store | None, updates: Sequence[AffiliateUpdate]) -> dict[str, dict[str, Fact]]:
    """By record id: the facts that are known already and those of *updates*; nothing is kept."""
    stored = {} if store is None else store.load({update.record_id for update in updates})
    known = {record_id: load_facts(record.facts) for record_id, record in stored.items()}
    for update in updates:
        known[update.record_id] = join(known.get(update.record_id, {}), update.facts)
    return known


def sample_of(source: SourceConfig) -> Callable[[datetime], tuple[str | None, dict[str, Any]]] | None:
    """What makes a sample of that platform: topic and body; None: there is none."""
    found: Callable[[datetime], tuple[str | None, dict[str, Any]]] | None = getattr(source.source_class, "sample", None)
    return found


class Url(Struct):
    """One URL to paste into a platform; *topic* is None where the platform needs only one."""

    source: str
    topic: str | None
    url: str


def urls_of(source: SourceConfig, base: str) -> list[Url]:
    """What to paste into the platform of *source*; with its token.

    Args:
        base: how the platforms reach the server.
    """
    token = source.options.token or next(iter(source.options.tokens), None)
    query = f"?token={quote(token, safe='')}" if token else ""
    base = f"{base}/hooks/{source.name}"
    if not source.source_class.topics:
        return [Url(source.name, None, base + query)]
    with_topic = f"{base}{query}{'&' if query else '?'}topic="
    return [Url(source.name, topic, with_topic + quote(topic, safe="")) for topic in source.source_class.topics]
