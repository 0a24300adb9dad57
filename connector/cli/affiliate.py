"""`connector explain` and `connector forget`: commands about one affiliate."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Annotated

import typer
from msgspec.structs import asdict

from connector import assembly
from connector.affiliates.explain import Overwritten
from connector.affiliates.explain import explain as explain_one
from connector.affiliates.explain import left_empty as left_empty_in
from connector.affiliates.explain import overwritten as overwritten_by
from connector.affiliates.find import Meant, find, whom
from connector.affiliates.forget import Gone
from connector.affiliates.forget import forget as forget_all
from connector.cli.common import (
    ConfigOption,
    JsonOption,
    dead_letters,
    expect_a_store,
    load,
    named_route,
    now,
    titles,
    visited,
    visited_if_there,
)
from connector.cli.exits import FOUND_PROBLEMS, OK, Left, WrongWords, complain
from connector.cli.history import History, where_is, word
from connector.cli.printing import Report, ago, cell_text, many, mark, marked, show
from connector.core.facts import load_facts
from connector.core.platform_api import Repair
from connector.core.sink import LeavesCopies
from connector.core.view import view
from connector.dead_letters import DeadLetters
from connector.settings import Config, RouteConfig
from connector.store import Store, is_postgres
from connector.store.model import StoreInUse

AffiliateArgument = Annotated[str, typer.Argument(help="Its id, as in firstpromoter:41, or its e-mail address.")]
AnyAffiliate = Annotated[
    str, typer.Argument(help="Its id, as in firstpromoter:41, its e-mail address, or a part of its name.")
]
_MOST_SHOWN = 10
_MOST_ROWS_SHOWN = 20
_MOST_EDITS = 100_000


class Overwrites(Report):
    """What ``explain --overwritten`` prints."""

    route: str
    cells: int
    edits: list[Overwritten]

    def body(self) -> Iterator[str]:
        rows = groupby(self.edits, key=lambda edit: (edit.record_id, edit.row, edit.at))
        for (record_id, row, at), edits in islice(rows, _MOST_ROWS_SHOWN):
            yield cell_text(f"  {record_id}" + (f", row {row}" if row != record_id else "")) + f"  {ago(at)}"
            for edit in edits:
                yield cell_text(f"    {edit.column}: {word(edit.typed)} → {word(edit.written)}")
        if next(rows, None) is not None:
            yield f"{mark('notice')} only the latest are shown; for all of them: --json"


class LeftEmpty(Report):
    """What ``explain --left-empty`` prints: by record, the values that do not fit, with the lines of their fields."""

    route: str
    values: dict[str, list[str]]

    def body(self) -> Iterator[str]:
        for record_id, reasons in islice(self.values.items(), _MOST_ROWS_SHOWN):
            yield cell_text(f"  {record_id}")
            yield from (cell_text(f"    {reason}") for reason in reasons)
        if len(self.values) > _MOST_ROWS_SHOWN:
            yield f"{mark('notice')} {len(self.values) - _MOST_ROWS_SHOWN:,} more affiliates: --json"


def explain(
    affiliate: AnyAffiliate = "",
    overwritten: Annotated[
        str, typer.Option(metavar="ROUTE", help="Instead: what that route overwrote of what people had typed.")
    ] = "",
    left_empty: Annotated[
        str, typer.Option(metavar="ROUTE", help="Instead: the values that do not fit, whose cells are left empty.")
    ] = "",
    every: Annotated[bool, typer.Option("--all", help="All columns, and all that happened, the oldest first.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Where one affiliate is, and what happened to it last. With --all every event, delivery and cell, and why."""
    settings = load(config)
    if overwritten and not affiliate and not left_empty:
        return _explain_overwritten(settings, named_route(settings, overwritten).name, as_json=as_json)
    if left_empty and not affiliate and not overwritten:
        return _explain_left_empty(settings, named_route(settings, left_empty), as_json=as_json)
    if not affiliate or overwritten or left_empty:
        raise WrongWords("Name an affiliate, or a route with --overwritten or --left-empty.")
    expect_a_store(settings, nobody(affiliate))
    with visited(settings) as store:
        meant = meant_by(store, settings, affiliate)
        sources, letters = assembly.build_sources(settings), dead_letters(settings)
        evaluations = {
            route.name: assembly.evaluation(sink, route, store) for sink in settings.sinks for route in sink.routes
        }
        routes = {route.name: route for sink in settings.sinks for route in sink.routes}
        found = {
            record_id: explain_one(store, sources, letters, evaluations, record_id, now(), routes)
            for record_id in meant.record_ids
        }
        people = {
            record_id: view(record_id, load_facts(known.facts))
            for record_id, known in store.load(meant.record_ids).items()
        }
    found = {record_id: entries for record_id, entries in found.items() if entries}
    for record_id, path in meant.elsewhere:
        complain(f"{record_id} names this address too, in {path}")
    if not found:
        raise Left(f"{nobody(affiliate)}.")
    first, entries = next(iter(found.items()))
    letter = next((entry.text for record in found.values() for entry in record if entry.kind == "letter"), "")
    history = History(found, titles(settings), people, every, summary=where_is(people.get(first), first, entries))
    history.next = letter.rpartition("; to try again: ")[2]
    return show(history, as_json=as_json)


def _explain_overwritten(settings: Config, route: str, *, as_json: bool) -> int:
    edits: list[Overwritten] = []
    with visited_if_there(settings) as store:
        if store is not None:
            edits = list(islice(overwritten_by(store, route), _MOST_EDITS))
    summary = f"Nothing that people typed in {route} was overwritten in {settings.store.keep_deliveries_days} days."
    if edits:
        count = f"{many(len(edits), 'cell')}{' or more' * (len(edits) == _MOST_EDITS)}"
        summary = f"{count} typed by people {'was' if len(edits) == 1 else 'were'} overwritten in {route}."
    return show(Overwrites(route, len(edits), edits, summary=summary), as_json=as_json)


def _explain_left_empty(settings: Config, route: RouteConfig, *, as_json: bool) -> int:
    with visited_if_there(settings) as store:
        values = {} if store is None else left_empty_in(store, route)
    count = sum(map(len, values.values()))
    summary = f"Every value fits its cell in {route.name}."
    if count:
        whose = many(len(values), "affiliate")
        summary = (
            f"{many(count, 'value')} of {whose} {'does' if count == 1 else 'do'} not fit: the cells are left empty."
        )
    return show(LeftEmpty(route.name, values, summary=summary), as_json=as_json)


def meant_by(store: Store, settings: Config, affiliate: str) -> Meant:
    """Who is meant by an id, an address or a name; ends the command where that is not one affiliate."""
    meant = whom(store, [source.name for source in settings.sources], affiliate)
    if meant.record_ids or meant.addresses:
        return meant
    found = find(store, affiliate, _MOST_SHOWN)
    if len(found.matches) == 1:
        return Meant((found.matches[0].record_id,))
    if found.matches:
        known = [(match.record_id, match.name, match.email, match.status) for match in found.matches]
        shown = ["  " + cell_text("  ".join(filter(None, facts))) for facts in known]
        count = f"More than {len(shown)}" if found.more else f"{len(shown):,}"
        raise Left("\n".join([f"{count} affiliates have that name; choose one by its ID:", *shown]))
    guess = next((match.name or match.email for match in found.near), "")
    raise Left(nobody(affiliate) + (f"; did you mean {cell_text(guess)}?" if guess else "."))


def nobody(affiliate: str) -> str:
    return f'No affiliate has the name, ID or e-mail "{affiliate}"'


# ---------------------------------------------------------------- forget


class Forgotten(Report):
    """What ``forget`` deleted; see ``affiliates.forget.Gone``. *notices* are only for people."""

    record_ids: Sequence[str]
    gone: Gone
    copies: Sequence[str]
    notices: Sequence[str]

    def for_json(self) -> dict[str, object]:
        return {"record_ids": self.record_ids, "copies": self.copies, **asdict(self.gone)}

    def body(self) -> Iterator[str]:
        gone = self.gone
        if gone.rows:
            places = [
                route + f" (row {cell_text(', '.join(keys))})" * (not set(keys) <= set(self.record_ids))
                for route, keys in gone.rows.items()
            ]
            hold = "Still holds" if len(places) == 1 else "Still hold"
            yield from marked("waiting", f"{hold} the row, delete it there: {', '.join(places)}")
        for copy in self.copies:
            yield from marked(
                "waiting", f"{copy} is a copy of a table and may hold the row as well: delete it if it is still there"
            )
        for record_id, path in gone.elsewhere:
            yield from marked("notice", f"{record_id} names the same address in {path}; that record stays")
        if not gone.whole:
            yield from marked(
                "notice",
                "The inbox is large: its free pages are overwritten. To write it anew, stop the connector and repeat "
                "this.",
            )
        for notice in self.notices:
            yield from marked("notice", notice)

    def exit_code(self) -> int:
        return OK if self.level == "ok" else FOUND_PROBLEMS


def forget(
    affiliate: AffiliateArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Take every trace of one affiliate out of what is kept. Events, records, deliveries, dead letters; for good."""
    settings = load(config)
    unknown = f'No affiliate has the ID or e-mail "{affiliate}"'
    expect_a_store(settings, unknown)
    try:
        exclusive = not is_postgres(settings.store.url)  # other machines may work on it
        store = Store(settings.store.url, worker=exclusive, now=now)
    except StoreInUse:
        store, exclusive = Store(settings.store.url, worker=False, now=now), False
    try:
        meant = whom(store, [source.name for source in settings.sources], affiliate)
        if not meant.record_ids and not meant.addresses:
            raise Left(f"{unknown}.")
        who = ", ".join(meant.record_ids) or affiliate
        if not yes and not (sys.stdin.isatty() and typer.confirm(f"Forget {who} for ever?")):
            raise Left(f"{who} is not forgotten. To do it without a question: connector forget {affiliate} --yes")
        letters = dead_letters(settings)
        gone = forget_all(store, assembly.build_sources(settings), letters, meant, exclusive=exclusive)
        stale = _refreshed(settings, store, letters) if gone.letters else []
    finally:
        store.close()
    notices = list(_how_they_return(settings, meant.record_ids))
    notices += [f"The status tab of {words}; a running server takes the ID out of it" for words in stale]
    copies = list(_left_copies(settings))
    counts = (
        (gone.records, "record"), (gone.events, "event"), (gone.deliveries, "delivery line"),
        (gone.former_values, "former value"), (gone.letters, "dead letter"),
    )  # fmt: skip
    deleted = ", ".join(many(count, noun) for count, noun in counts if count)
    summary = f"Deleted here: {deleted}." if deleted else f"Nothing is kept here about {cell_text(who)}."
    report = Forgotten(meant.record_ids, gone, copies, notices, summary=summary, level="ok" if deleted else "notice")
    return show(report, as_json=as_json)


def _refreshed(settings: Config, store: Store, letters: DeadLetters) -> list[str]:
    """Take the affiliate's ID out of status tabs; of which that failed."""
    if all(getattr(found.options, "status_tab", None) is None for found in settings.sinks):
        return []
    from connector.app.console import refresh_consoles  # with all rooms, which most commands do without

    return refresh_consoles(settings, store, letters)


def _left_copies(settings: Config) -> Iterator[str]:
    """Copies of tables that killed processes left and that could not be removed now."""
    for sink in settings.sinks:
        if issubclass(sink.sink_class, LeavesCopies):
            yield from sink.sink_class.left_copies(sink.options)


def _how_they_return(settings: Config, record_ids: Sequence[str]) -> Iterator[str]:
    """No list of the forgotten is kept, since it would be a trace of them: the platform can send them again."""
    repairs: Mapping[str, object] = {s.name: getattr(s.options, "repair", None) for s in settings.sources}
    for name in dict.fromkeys(record_id.partition(":")[0] for record_id in record_ids):
        repair = repairs.get(name)
        reads = f", and its list is read every {repair.every}" if isinstance(repair, Repair) else ""
        yield f"Whoever is still at {name} comes back with the next webhook{reads}: delete the affiliate there, too"
