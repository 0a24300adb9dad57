"""`connector status`: what came in, what is pending where, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from connector import assembly, topics
from connector.backfill import notes
from connector.cli.common import (
    ConfigOption,
    JsonOption,
    dead_letters,
    is_running,
    load,
    now,
    refusals,
    server_state,
    visited,
    visited_if_there,
)
from connector.cli.printing import Report, ago, duration, many, mark, show, table, wrapped
from connector.core.errors import StoreUnavailable
from connector.core.platform_api import Repair
from connector.settings import Config, RouteConfig
from connector.store import Store, model

Letters = Mapping[tuple[str, str], int]
"""Open dead letters by stage and place."""


class SourceLine(Struct):
    """What came from one source since the store was made; topics that it has no URL for, and when each came last."""

    source: str
    received: int = 0
    duplicates: int = 0
    no_affiliate: int = 0
    unreadable: int = 0
    undated: int = 0
    last_event_at: datetime | None = None
    last_received_at: datetime | None = None
    dead_letters: int = 0
    unknown_topics: dict[str, datetime] = {}


class RouteLine(Struct):
    """What one route has written and has still to write. *waiting* records lack a value without which no new row is
    made; *edited*: the running server does not know the mapping file as it is now."""

    route: str
    state: str
    reason: str = ""
    pending: int = 0
    retrying: int = 0
    waiting: int = 0
    oldest_pending_seconds: float | None = None
    paused_until: datetime | None = None
    rows: int = 0
    dead_letters: int = 0
    delivered_at: datetime | None = None
    edited: bool = False


class ReadingLine(Struct):
    """The readings of one source's API; see ``backfill.notes.Standing``."""

    source: str
    last_try_failed: bool
    every_seconds: float | None
    next_due: datetime | None
    last: notes.Report | None
    reading_since: datetime | None
    failed_at: datetime | None
    reason: str

    def line(self) -> str:
        """``firstpromoter: last read 3 h ago: …; next due in 21 h``."""
        parts = ["never read from its API to the end"]
        if (last := self.last) is not None:
            held = f", {last.held_back} missing but not believed" if last.held_back else ""
            counts = f"{last.read} affiliates, {last.new} new, {last.changed} changed, {last.gone} gone{held}"
            parts = [f"last read {ago(last.ended)}: {counts}"]
        if self.last_try_failed:
            parts.append(f"the last try failed {ago(self.failed_at)}: {self.reason}")
            if self.reading_since is not None and now() - self.reading_since < notes.CONTINUES_WITHIN:
                parts.append("the next one continues where it stopped")
        elif self.reading_since is not None:
            parts.append(f"a reading began {ago(self.reading_since)} and has not ended")
        if self.next_due is not None:
            seconds = (self.next_due - now()).total_seconds()
            soon = "a running server tries again soon" if self.last_try_failed else "next due now"
            parts.append(f"next due in {duration(seconds)}" if seconds > 0 else soon)
        return f"{self.source}: {'; '.join(parts)}"


class StatusReport(Report):
    """What ``status`` prints: affiliates (*records*), events that are not projected yet (*waiting*), webhooks *refused*
    since the server's start by reason, and the *next* command to type, or ""."""

    summary: str
    server: str
    refused: dict[str, int]
    records: int
    waiting: int
    sources: list[SourceLine]
    routes: list[RouteLine]
    readings: list[ReadingLine]
    dead_letters: int
    next: str

    def lines(self) -> Iterator[str]:
        yield from wrapped(self.summary)
        yield from _figures(
            self.sources, source="From", received="Received", duplicates="Duplicates",
            no_affiliate="Not about an affiliate", unreadable="Unreadable", undated="No time",
            last_received_at="Last webhook",
        )  # fmt: skip
        yield from _figures(
            self.routes, route="To", rows="Rows", pending="Pending", oldest_pending_seconds="Oldest",
            retrying="Retrying", waiting="Waiting", dead_letters="Dead letters", delivered_at="Last write",
        )  # fmt: skip
        for sign, text in self._notices():
            first, *more = text.split("\n", 1)
            yield from wrapped(f"{mark(sign)} {first}", indent=2, first=0)
            for line in more:
                yield from wrapped(line, indent=2)
        if self.next:
            yield f"Next: {self.next}"

    def _notices(self) -> Iterator[tuple[str, str]]:
        """What a person should know or do, beside the figures."""
        for route in self.routes:
            if route.reason:
                sign = "problem" if route.state in _STOPPED else "waiting"
                yield sign, f"{route.route}  {route.state}\n{route.reason}"
            if route.edited:
                yield "waiting", restart_wanted(route.route)
        if self.refused:
            counts = ", ".join(f"{reason} {count}" for reason, count in self.refused.items())
            yield "waiting", f"webhooks refused since the server's start: {counts}; the log says why"
        for source in self.sources:
            for topic, at in source.unknown_topics.items():
                yield "waiting", f"{source.source}: {unknown_topic(topic)} It came {ago(at)}."
        if self.dead_letters:
            yield "waiting", f"{many(self.dead_letters, 'dead letter')}; see: connector dead-letters list"
        for reading in self.readings:
            yield ("waiting" if reading.last_try_failed else "notice"), reading.line()


_STOPPED = ("needs action", "bug")


def _figures(lines: Sequence[Struct], **headings: str) -> Iterator[str]:
    """A table of those fields, without the columns that are 0 everywhere, but for the first two."""
    rows = [[_figure(name, getattr(line, name)) for name in headings] for line in lines]
    shown = [i for i in range(len(headings)) if i < 2 or any(row[i] for row in rows)]
    columns = [list(headings.values())[i] for i in shown]
    yield from (f"  {line}" for line in table(columns, [[row[i] for i in shown] for row in rows]))


def _figure(name: str, value: Any) -> object:
    if name.endswith("_at"):
        return ago(value)
    return duration(value) if name.endswith("_seconds") and value is not None else value


def _summary(server: str, records: int, waiting: int, received: int, routes: Sequence[RouteLine]) -> str:
    """The answer in a sentence or two, the worst first."""
    pending = sum(route.pending for route in routes)
    parts = []
    if pending or not waiting:
        parts.append(f"{many(pending, 'affiliate')} {'is' if pending == 1 else 'are'} pending")
    if waiting:
        parts.append(f"{many(waiting, 'event')} {'is' if waiting == 1 else 'are'} not read yet")
    on_their_way = " and ".join(parts)
    stopped = [route.route for route in routes if route.state in _STOPPED]
    waiting_routes = [route.route for route in routes if route.state == "waiting"]
    if server == "not running" and not received and not waiting:
        return "The server is not running, and nothing was received yet."
    if stopped:
        return f"{' and '.join(stopped)} stopped; {on_their_way}. Nothing is lost."
    if server == "not running":
        rest = on_their_way if pending or waiting else "what was received is delivered"
        return f"The server is not running; {rest}."
    if server != "ready":
        return f"The server is {server}."
    if waiting_routes:
        return f"{' and '.join(waiting_routes)} waits for its destination; {on_their_way}. Nothing is lost."
    if pending or waiting:
        return f"The server delivers: {on_their_way}."
    if not received:
        return "The server is ready, and nothing was received yet."
    return f"Everything is up to date: {many(records, 'affiliate')} in {many(len(routes), 'table')}."


def status(config: ConfigOption = None, as_json: JsonOption = False) -> int:
    """What came in, what is pending where, and why."""
    return show(_status(load(config)), as_json=as_json)


def _status(settings: Config) -> StatusReport:
    letters = dead_letters(settings)
    counts = letters.counts() if letters.path.exists() else {}
    server = server_state(settings)
    edited = edited_routes(settings)
    with visited_if_there(settings) as store:
        found = None if store is None else store.status()
        routes = {route.route: route for route in found.routes} if found else {}
        source_lines = _source_lines(settings, store, found, counts)
        route_lines = [
            _route_line(
                route, routes.get(route.name), counts, edited=route.name in edited, running=server != "not running"
            )
            for route in settings.routes
        ]
        records, waiting = (found.records, found.waiting) if found else (0, 0)
        received = sum(line.received for line in source_lines) + records
        letters_next = "connector dead-letters list" if counts else ""
        return StatusReport(
            summary=_summary(server, records, waiting, received, route_lines),
            server=server,
            refused=refusals(settings) if server.startswith(("ready", "not ready")) else {},
            records=records,
            waiting=waiting,
            sources=source_lines,
            routes=route_lines,
            readings=_reading_lines(settings, store),
            dead_letters=sum(counts.values()),
            next="connector serve" if server == "not running" else letters_next,
        )


def _source_lines(
    settings: Config, store: Store | None, found: model.Status | None, letters: Letters
) -> list[SourceLine]:
    """The configured sources, then those that are not configured any more."""
    lines = {source.name: SourceLine(source.name) for source in settings.sources}
    lines |= {known.source: SourceLine(**asdict(known)) for known in (found.sources if found else ())}
    for line in lines.values():
        line.dead_letters = letters.get(("normalize", line.source), 0)
        line.unknown_topics = {} if store is None else topics.met(store, line.source, now())
    return list(lines.values())


def _route_line(
    route: RouteConfig, known: model.RouteStatus | None, letters: Letters, *, edited: bool, running: bool
) -> RouteLine:
    line = RouteLine(route.name, _state_word(known, running=running), edited=edited)
    line.dead_letters = letters.get(("deliver", route.name), 0)
    if known is not None:
        oldest = known.oldest_since
        line.reason = known.state.reason
        line.pending, line.retrying, line.rows = known.pending, known.retrying, known.rows
        line.waiting = known.waiting
        line.oldest_pending_seconds = None if oldest is None else max(0.0, (now() - oldest).total_seconds())
        line.paused_until, line.delivered_at = known.state.paused_until, known.state.delivered_at
    return line


def _state_word(route: model.RouteStatus | None, *, running: bool) -> str:
    if route is None:
        return "not started"
    if route.state.kind != "ok":
        return route.state.kind.replace("_", " ")
    if not route.pending:
        return "up to date"
    return "delivering" if running else "to be delivered"


def _reading_lines(settings: Config, store: Store | None) -> list[ReadingLine]:
    """Of sources whose API is read now and then, or was once."""
    lines: list[ReadingLine] = []
    for source in settings.sources:
        repair = getattr(source.options, "repair", None)
        found = notes.standing(store, source.name) if store is not None else notes.Standing()
        if repair is None and found == notes.Standing():
            continue
        every = repair.every_seconds if isinstance(repair, Repair) else None
        due = None if every is None else found.next_due(every, now())
        lines.append(ReadingLine(source.name, found.last_try_failed, every, due, **asdict(found)))
    return lines


def edited_routes(settings: Config) -> set[str]:
    """The routes whose mapping the running server does not know yet."""
    if not is_running(settings):
        return set()
    with suppress(StoreUnavailable), visited(settings) as store:
        return {r.name for r in settings.routes if assembly.mapping_in_use(store, r) != r.mapping.digest}
    return set()


def restart_wanted(route: str) -> str:
    return f"{route}: the running server does not know this mapping yet; restart it"


def unknown_topic(topic: str) -> str:
    return f'there is no topic "{topic}": correct the URL at the platform. The right ones: connector urls.'
