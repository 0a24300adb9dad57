"""`connector preview`: what a webhook would write where."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from msgspec import Struct

from connector import assembly, topics
from connector.actions import signed
from connector.cli.common import ConfigOption, JsonOption, built_sink, load, named_source, visited_if_there
from connector.cli.exits import FOUND_PROBLEMS, OK, Left, WrongWords
from connector.cli.printing import Report, many, show, table
from connector.core.errors import UnknownShape, Unreadable
from connector.core.facts import AffiliateUpdate, Fact, load_facts
from connector.core.merge import join
from connector.core.record import AffiliateRecord
from connector.core.row import Cell
from connector.core.sink import Change
from connector.core.view import view
from connector.settings import Config, RouteConfig, SinkConfig


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

    def lines(self) -> Iterator[str]:
        yield ""
        yield f"{self.record} -> {self.route}"
        if self.skipped:
            yield f"  no row: {self.skipped}"
        yield from (f"  dead letter: {problem}" for problem in self.problems)
        for row in self.rows:
            yield from row.lines()


class Previewed(Report):
    """What ``preview`` prints."""

    for_people = frozenset({"strange_topic"})
    event: str
    topic: str
    affiliates: int
    targets: list[PreviewedTarget]
    strange_topic: bool

    def lines(self) -> Iterator[str]:
        yield f"{self.topic}, event {self.event}: about {many(self.affiliates, 'affiliate')}"
        if self.strange_topic:
            yield f'there is no topic "{self.topic}". Correct the URL at the platform: connector urls'
        for target in self.targets:
            yield from target.lines()

    def exit_code(self) -> int:
        return FOUND_PROBLEMS if any(target.problems for target in self.targets) else OK


def preview(
    body: Annotated[str, typer.Argument(metavar="BODY.json", help="A webhook's body; - reads it from stdin.")],
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
    if source is None and len(settings.sources) > 1:
        names = " or ".join(f"--source {found.name}" for found in settings.sources)
        raise WrongWords(f"say whose webhook it is: {names}")
    named = named_source(settings, source)
    content = _content(body)
    built = assembly.build_sources(settings)[named.name]
    try:
        event = built.accept(signed(named, content, topic))
        updates = built.normalize(event)
    except (Unreadable, UnknownShape) as error:
        answer = "answered 400, not kept" if isinstance(error, Unreadable) else "kept, and a dead letter"
        raise Left(f"{body}: {error} ({answer})") from None
    targets = [
        _target(settings, sink, route, view(record_id, facts), live=live)
        for record_id, facts in _joined(settings, updates).items()
        for sink in settings.sinks
        for route in sink.routes
    ]
    strange = topics.is_strange(built, event.topic)
    return show(Previewed(event.key, event.topic, len(updates), targets, strange), as_json=as_json)


def _content(body: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if body == "-" else Path(body).read_bytes()
    except OSError as error:
        raise WrongWords(f"{body}: {error.strerror}") from None


def _joined(settings: Config, updates: Sequence[AffiliateUpdate]) -> dict[str, dict[str, Fact]]:
    """By record id: what is known already and what *updates* say."""
    with visited_if_there(settings) as store:
        stored = {} if store is None else store.load({update.record_id for update in updates})
    known: dict[str, dict[str, Fact]] = {record_id: load_facts(record.facts) for record_id, record in stored.items()}
    for update in updates:
        known[update.record_id] = join(known.get(update.record_id, {}), update.facts)
    return known


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
        made.skipped,
        [f"{problem.reason} ({problem.where})" for problem in made.problems],
    )


def _text(cell: Cell) -> str:
    if isinstance(cell, tuple):
        return ", ".join(str(part) for part in cell)
    return "" if cell is None else str(cell)
