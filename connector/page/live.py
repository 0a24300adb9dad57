"""The webhooks as they come in: what each was, what was answered, what it changed. One look serves all who watch."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final

from msgspec import Struct
from starlette.responses import StreamingResponse

from connector.affiliates.find import names_of
from connector.core.errors import StoreUnavailable
from connector.core.source import Event
from connector.dead_letters import DeadLetters
from connector.recent import Incoming, Recent, Saying
from connector.store import Store

SHOWN: Final = 50
_SHOWN_AT_ONCE: Final = 20
_LOOK_SECONDS: Final = 1.0
_MOST_WATCHERS: Final = 50
_MOST_NAMED: Final = 3
_WHY: Final = {
    "credential": "The token in the address, or the signature, is not the one in config.toml",
    "unknown_source": "There is no such source: the address has a slip",
    "method": "No webhook: somebody opened the address",
    "too_large": "The body is too large",
    "too_slow": "The body did not arrive in time",
    "unreadable": "Not a webhook of this platform",
    "store": "The store could not keep it; the platform sends it again",
    "bug": "A bug of the connector; the log says where",
}

_Named = Sequence[tuple[str, str]]
Draw = Callable[[Sequence["Line"], str, int], str]


class Whom(Struct, frozen=True):
    """An affiliate that a webhook was about. *name*: "" where there is no such record any more, or not yet."""

    record_id: str
    name: str
    saying: Saying | None


class Line(Struct, frozen=True):
    """One webhook as it is shown.

    Args:
        answer: ``Accepted``, ``Duplicate``, ``Refused`` or ``Unread``.
        why: why it was refused.
    """

    at: datetime
    source: str
    topic: str
    answer: str
    about: Sequence[Whom]
    why: str


class Live:
    """Asks the store once a second while anybody watches.

    Args:
        stopping: whether the program is being stopped: then every stream ends.
    """

    session_seconds = 15.0
    """How often it is looked whether who watches is still signed in."""

    def __init__(self, store: Store, letters: DeadLetters, recent: Recent, stopping: Callable[[], bool]) -> None:
        self._store, self._letters, self._recent, self._stopping = store, letters, recent, stopping
        self._watchers: set[tuple[asyncio.Queue[str | None], str]] = set()
        self._task: asyncio.Task[None] | None = None

    # ------------------------------------------------ lines

    def latest(self, limit: int = SHOWN) -> list[Line]:
        """The newest lines, the newest first: what this process has received, and what the store has of others."""
        mine = self._recent.since(0)[-limit:]
        known = {(request.source, request.key) for request in mine}
        others = [
            Incoming(0, at, source, topic, key, 202)
            for _, source, key, topic, at in self._store.latest_events(limit)
            if (source, key) not in known
        ]
        return self.lines(sorted([*mine, *others], key=lambda request: request.at)[-limit:])[::-1]

    def refused(self) -> list[Line]:
        """The webhooks that this process refused last, the newest first."""
        return self.lines(self._recent.refusals())[::-1]

    def lines(self, requests: Sequence[Incoming]) -> list[Line]:
        """*requests* with what is known of each."""
        first: dict[tuple[str | None, str], tuple[int, datetime]] = {}
        for source in {request.source for request in requests if request.key}:
            keys = [request.key for request in requests if request.source == source]
            for key, where in self._store.received(source or "", keys).items():
                first[source, key] = where
        mentioned = self._store.mentioned_in(seq for seq, _ in first.values())
        names = names_of(self._store, {record_id for ids in mentioned.values() for record_id in ids})
        named = {seq: [(each, names[each]) for each in ids if each in names] for seq, ids in mentioned.items()}
        return [self._line(request, first.get((request.source, request.key)), named) for request in requests]

    def _line(self, request: Incoming, first: tuple[int, datetime] | None, named: Mapping[int, _Named]) -> Line:
        source, answer, why = request.source or "", "Accepted", ""
        about: list[Whom] = []
        if not request.key:
            answer, why = "Refused", _WHY.get(request.reason, request.reason)
            why = f"{why}: {request.why}" if request.why else why
        elif first is not None and first[1] != request.at:
            answer = "Duplicate"
        else:
            sayings = {one.record_id: one for one in self._recent.sayings(source, request.key)}
            found = named.get(first[0], ())[:_MOST_NAMED] if first else ()
            about = [Whom(record_id, name, sayings.get(record_id)) for record_id, name in found]
            if not about and self._letters.ids_about(source, [request.key]):
                answer = "Unread"
        return Line(request.at, source, request.topic, answer, about, why)

    def taken(self, event: Event) -> None:
        """An event came in that no request brought."""
        self._recent.accepted(event.received_at, event.source, event.topic, event.key, 202)

    # ------------------------------------------------ who watches

    def stream(self, draw: Draw, zone: str, token: str) -> StreamingResponse:
        """New rows as they come, as server-sent events, until the session of *token* ends."""
        return StreamingResponse(self._events(draw, zone, token), media_type="text/event-stream")

    async def _events(self, draw: Draw, zone: str, token: str) -> AsyncIterator[str]:
        if len(self._watchers) >= _MOST_WATCHERS:
            return
        watcher = (asyncio.Queue[str | None](maxsize=10), zone)
        self._watchers.add(watcher)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look(draw))
        try:
            yield "retry: 3000\n\n"
            looked = time.monotonic()
            while (said := await watcher[0].get()) is not None:
                if time.monotonic() - looked >= self.session_seconds:
                    looked = time.monotonic()
                    if await asyncio.to_thread(self._is_signed_out, token):
                        return
                yield said
        finally:
            self._watchers.discard(watcher)

    def _is_signed_out(self, token: str) -> bool:
        try:
            return self._store.signed_in(token) is None
        except StoreUnavailable:
            return False

    async def _look(self, draw: Draw) -> None:
        """Once a second, for as long as anybody watches."""
        number = max((request.number for request in self._recent.since(0)), default=0)
        quiet = 0
        while self._watchers and not self._stopping():
            await asyncio.sleep(_LOOK_SECONDS)
            requests = self._recent.since(number)
            quiet = 0 if requests else quiet + 1
            if requests:
                came, number = requests[-1].number - number, requests[-1].number
                with suppress(StoreUnavailable):
                    lines = (await asyncio.to_thread(self.lines, requests[-_SHOWN_AT_ONCE:]))[::-1]
                    zones = {zone for _, zone in self._watchers}
                    self._tell({zone: _event("rows", draw(lines, zone, came)) for zone in zones})
            elif quiet % 15 == 0:
                self._tell(defaultdict(lambda: ": nothing new\n\n"))
        self._tell(defaultdict(lambda: None))

    def _tell(self, said: Mapping[str, str | None]) -> None:
        """Everybody what is said in their time zone."""
        for queue, zone in self._watchers:
            with suppress(asyncio.QueueFull):  # a browser that does not read
                queue.put_nowait(said[zone])


def _event(name: str, html: str) -> str:
    data = "\n".join(f"data: {line}" for line in html.splitlines() if line.strip())
    return f"event: {name}\n{data}\n\n"
