"""`connector preview`: what a webhook would write where."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from msgspec import Struct

from connector import assembly, topics
from connector.actions import joined, signed
from connector.affiliates.left_out import left_out
from connector.cli.affiliate import meant_by, nobody
from connector.cli.common import (
    ConfigOption,
    JsonOption,
    built_sink,
    expect_a_store,
    load,
    named_source,
    visited,
    visited_if_there,
)
from connector.cli.exits import FOUND_PROBLEMS, OK, Left, WrongWords
from connector.cli.printing import Report, cell_text, many, marked, show, table, wrapped
from connector.core.errors import UnknownShape, Unreadable
from connector.core.event_words import in_words
from connector.core.facts import AffiliateUpdate, Fact, load_facts
from connector.core.record import AffiliateRecord
from connector.core.row import Cell
from connector.core.sink import Change
from connector.core.source import API_TOPIC, Event
from connector.core.view import view
from connector.settings import Config, RouteConfig, SinkConfig

_LATEST_EVENTS = 10_000


class PreviewedRow(Struct):
    """One row; *change* compares it with what the destination holds (``--live``)."""

    key: str
    remove: bool
    cells: Mapping[str, Cell]
    change: Change | None

    def lines(self) -> Iterator[str]:
        if self.change is None:
            yield f"row {self.key}" + (", to be removed" if self.remove else "")
            yield from table(["column", "value"], [(name, _text(cell)) for name, cell in self.cells.items()])
            return
        found_by, note = self.change.found_by, self.change.note
        found = "would be created" if found_by is None else f"is there, found by {found_by}"
        yield f"row {self.key} {found}" + (f"; {note}" if note else "")
        changes = [(name, _text(old), _text(new)) for name, (old, new) in self.change.cells.items()]
        if changes:
            yield from table(["column", "now", "then"], changes)
        elif not note:
            yield "  nothing would change"


class PreviewedTarget(Struct):
    """What one route would make of one record."""

    record: str
    route: str
    rows: list[PreviewedRow]
    skipped: str | None
    problems: list[str]
    left_empty: list[str]

    def lines(self) -> Iterator[str]:
        yield ""
        yield f"{self.record} -> {self.route}"
        if self.skipped:
            yield from wrapped(cell_text(self.skipped), indent=4, first=2)
        yield from (f"  dead letter: {problem}" for problem in self.problems)
        yield from (f"  left empty: {left}" for left in self.left_empty)
        for row in self.rows:
            yield from row.lines()


class Previewed(Report):
    """What ``preview`` prints; *event* and *topic* are "" for an affiliate that is stored."""

    for_people = frozenset({"strange_topic"})
    event: str
    topic: str
    affiliates: int
    targets: list[PreviewedTarget]
    strange_topic: bool = False

    def body(self) -> Iterator[str]:
        if self.strange_topic:
            text = f'There is no topic "{self.topic}". Correct the URL at the platform: connector urls'
            yield from marked("waiting", text)
        for target in self.targets:
            yield from target.lines()

    def exit_code(self) -> int:
        return FOUND_PROBLEMS if any(target.problems for target in self.targets) else OK


def preview(
    what: Annotated[
        str,
        typer.Argument(
            metavar="BODY.json | AFFILIATE",
            help="A webhook's body (- reads it from stdin), or an affiliate that is known: an ID, an e-mail address, "
            "a part of the name.",
        ),
    ] = "",
    last: Annotated[
        str, typer.Option("--last", metavar="SOURCE", help="Instead: the webhook that came last from that source.")
    ] = "",
    source: Annotated[
        str | None, typer.Option("--source", "-s", help="The source that would receive it; needless if there is one.")
    ] = None,
    topic: Annotated[str | None, typer.Option("--topic", "-t", help="As in the URL, for Everflow.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Compare with what the destination holds.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """What a webhook would write where. Counts in what is known of the affiliate already; writes nothing."""
    settings = load(config, uses=("sources", "sinks") if live else ("sources",))
    if bool(what) is bool(last):
        raise WrongWords("Name a file with a webhook's body, an affiliate, or a source with --last.")
    if last:
        event = _last_event(settings, named_source(settings, last).name)
        return _preview_event(settings, event, what=f"the last event of {last}", live=live, as_json=as_json)
    if what != "-" and not what.endswith(".json") and not Path(what).exists():
        return _preview_affiliate(settings, what, live=live, as_json=as_json)
    if source is None and len(settings.sources) > 1:
        names = " or ".join(f"--source {found.name}" for found in settings.sources)
        raise WrongWords(f"Say whose webhook it is: {names}")
    named = named_source(settings, source)
    content = _content(what)
    try:
        event = assembly.build_sources(settings)[named.name].accept(signed(named, content, topic))
    except Unreadable as error:
        raise Left(f"{what}: {error} (answered 400, not kept)") from None
    return _preview_event(settings, event, what=what, live=live, as_json=as_json)


def _preview_event(settings: Config, event: Event, *, what: str, live: bool, as_json: bool) -> int:
    built = assembly.build_sources(settings)[event.source]
    try:
        updates = built.normalize(event)
    except UnknownShape as error:
        raise Left(f"{what}: {error} (kept, and a dead letter)") from None
    targets = _targets(settings, _joined(settings, updates), live=live)
    strange = topics.is_strange(built, event.topic)
    summary = f"{in_words(event.topic)} ({event.topic}), event {event.key}: {_would(len(updates), targets, live=live)}"
    return show(Previewed(event.key, event.topic, len(updates), targets, strange, summary=summary), as_json=as_json)


def _preview_affiliate(settings: Config, affiliate: str, *, live: bool, as_json: bool) -> int:
    expect_a_store(settings, nobody(affiliate))
    with visited(settings) as store:
        record_ids = meant_by(store, settings, affiliate).record_ids
        known = {record_id: load_facts(found.facts) for record_id, found in store.load(record_ids).items()}
    if not known:
        raise Left(nobody(affiliate))
    targets = _targets(settings, known, live=live)
    return show(Previewed("", "", len(known), targets, summary=_would(len(known), targets, live=live)), as_json=as_json)


def _would(affiliates: int, targets: Sequence[PreviewedTarget], *, live: bool) -> str:
    rows = sum(len(target.rows) for target in targets)
    compared = "compared with what is there" if live else "nothing is written"
    return f"{many(affiliates, 'affiliate')}, {many(rows, 'row')}; {compared}."


def _last_event(settings: Config, source: str) -> Event:
    """The newest webhook of *source* that is kept; what was read from its API is none."""
    with visited_if_there(settings) as store:
        for seq, found, _, topic, _ in [] if store is None else store.latest_events(_LATEST_EVENTS):
            if store is not None and found == source and not topic.startswith(API_TOPIC):
                (stored,) = store.read_events(seq - 1, 1)
                return stored.event
    raise Left(f"{source} has sent no webhook lately. Of a body in a file: connector preview BODY.json")


def _targets(settings: Config, known: Mapping[str, Mapping[str, Fact]], *, live: bool) -> list[PreviewedTarget]:
    return [
        _target(settings, sink, route, view(record_id, facts), live=live)
        for record_id, facts in known.items()
        for sink in settings.sinks
        for route in sink.routes
    ]


def _content(body: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if body == "-" else Path(body).read_bytes()
    except OSError as error:
        raise WrongWords(f"{body} can't be read: {error.strerror}.") from None


def _joined(settings: Config, updates: Sequence[AffiliateUpdate]) -> dict[str, dict[str, Fact]]:
    with visited_if_there(settings) as store:
        return joined(store, updates)


def _target(
    settings: Config, sink: SinkConfig, route: RouteConfig, record: AffiliateRecord, *, live: bool
) -> PreviewedTarget:
    made = route.mapping.evaluate(record)
    changes: dict[str, Change] = {}
    if live and made.rows:
        with built_sink(settings, sink) as built:
            changes = {change.key: change for change in built.preview(route.target, made.rows)}
    return PreviewedTarget(
        record.id,
        route.name,
        [PreviewedRow(row.key, row.remove, row.cells, changes.get(row.key)) for row in made.rows],
        None if made.skipped is None else left_out(route, made.skipped, record).text,
        [f"{problem.reason} ({problem.where})" for problem in made.problems],
        [f"{left.reason} ({left.where})" for left in made.left_empty],
    )


def _text(cell: Cell) -> str:
    if isinstance(cell, tuple):
        return ", ".join(str(part) for part in cell)
    return "" if cell is None else str(cell)
