"""`connector undo` and `connector resume`: take back what a route wrote."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from typing import Annotated

import typer

from connector.changes import decisions
from connector.changes.notes import Undo, undo_of
from connector.changes.plan import Plan, noun_of, nouns
from connector.changes.undo import moment_of, plan_of_undo, what_becomes_of_added
from connector.changes.versions import compiled
from connector.cli.common import (
    ConfigOption,
    JsonOption,
    built_sink,
    is_running,
    load,
    named_route,
    now,
    sink_of,
    visited,
    visited_if_there,
    when_written,
)
from connector.cli.exits import FOUND_PROBLEMS, Left, WrongWords
from connector.cli.printing import Report, followed, many, marked, show
from connector.cli.route import RouteArgument
from connector.delivery import Route
from connector.settings import Config, RouteConfig

_FOLLOWED_SECONDS = 600.0
_NAMED = 3


class Undone(Report):
    """What ``undo`` put back, or would put back; *plan* says it in full."""

    route: str
    delivery: str
    plan: Plan


def undo(
    route: RouteArgument,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help='"2 hours ago", or a time like 2026-11-30T14:00.')
    ] = None,
    delivery: Annotated[
        str | None, typer.Option("--delivery", metavar="ID", help="As `apply` and `explain` say.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Put back what a route wrote, where it is still there."""
    asked = _asked(since, delivery)
    settings = load(config, uses=("sinks",))
    found = named_route(settings, route)
    plan = _plan(settings, found, asked)
    if not (plan.cells or plan.rows_leaving or plan.rows_new):
        return show(Undone(route, "", plan, summary=plan.sentence), as_json=as_json)
    if not as_json:
        for line in _lines(plan):
            sys.stdout.write(f"{line}\n")
    if not yes and not _confirmed(plan):
        return FOUND_PROBLEMS
    try:
        with visited(settings) as store:
            decisions.undo(store, route, asked)
    except decisions.Undecided as error:
        raise Left(str(error)) from None
    return show(_done(settings, found, asked, plan), as_json=as_json)


def _asked(since: str | None, delivery: str | None) -> Undo:
    if (since is None) == (delivery is None):
        raise WrongWords('Say what to put back: --since "2 hours ago", or --delivery ID')
    try:
        moment = None if since is None else moment_of(since, now())
    except ValueError:
        raise WrongWords(f'"{since}" is no time. Right would be "2 hours ago" or 2026-11-30T14:00.') from None
    return Undo(now(), uuid.uuid4().hex[:12], moment, delivery or "")


def _plan(settings: Config, found: RouteConfig, asked: Undo) -> Plan:
    with visited_if_there(settings) as store:
        running = None if store is None else compiled(settings, found.name, store.mapping_of(found.name).text)
        if store is None or running is None:
            raise Left(f"{found.name} has not written anything yet.")
        with built_sink(settings, sink_of(settings, found)) as sink:
            route = Route(found.name, sink, running.target, running.mapping.evaluate, settings.secrets)
            return plan_of_undo(route, store, asked)


def _lines(plan: Plan) -> Iterator[str]:
    """What would be put back, before the question."""
    yield from marked("", plan.sentence)
    for column, by_people in dict.fromkeys((stays.column, stays.by_people) for stays in plan.stay):
        records = [each.record_id for each in plan.stay if (each.column, each.by_people) == (column, by_people)]
        named = " and ".join(records) if len(records) == 2 else ", ".join(records[:_NAMED])
        named += f", {len(records) - _NAMED} more" if len(records) > _NAMED else ""
        why = "people changed it since" if by_people else "a later delivery changed it"
        yield from marked("notice", f"{column} of {named}: {why}")
    if plan.rows_leaving and plan.cells:  # otherwise the sentence says it
        verb = "is" if plan.rows_leaving == 1 else "are"
        added = f"{nouns(plan.rows_leaving, plan.noun)} that we added"
        yield from marked("notice", f"{added} {verb} {what_becomes_of_added(plan)}")


def _confirmed(plan: Plan) -> bool:
    if not sys.stdin.isatty():
        raise Left("Nothing was put back: add --yes, since there is no terminal to ask at.")
    what = many(plan.cells, "cell") if plan.cells else nouns(plan.rows_leaving + plan.rows_new, plan.noun)
    return typer.confirm(f"Put back {what}?", err=True)


def _done(settings: Config, found: RouteConfig, asked: Undo, plan: Plan) -> Undone:
    if not is_running(settings):
        from connector import app  # with all that runs

        app.put_back_now(settings, found.name)
    following = f"edit {found.mapping.file}, then: connector resume {found.name}"
    if not _is_over(settings, found.name):
        text = f"{found.name}: being put back; it continues by itself."
        return Undone(found.name, asked.id, plan, summary=text, level="ok", next="connector status")
    with visited(settings) as store:
        done = decisions.done(store, found.name, asked.id)
    parts = [f"{many(done.cells, 'cell')} put back"] if done.cells or not (done.removed or done.added) else []
    noun = noun_of(found.target)
    removed = "removed" if noun == "row" else "emptied"
    parts += [f"{nouns(done.removed, noun)} {removed}"] if done.removed else []
    parts += [f"{nouns(done.added, noun)} added again"] if done.added else []
    text = f"{found.name}: {', '.join(parts)}. The route waits; the others continue."
    return Undone(found.name, asked.id, plan, summary=text, level="ok", next=following)


def _is_over(settings: Config, route: str) -> bool:
    """Wait until all is put back; False when it takes longer, or the destination is away."""
    with visited(settings) as store:

        def look() -> bool | None:
            stored = undo_of(store.mapping_of(route))
            if stored is None or stored.done:
                return True
            return None if store.route_state(route).kind == "ok" else False

        return followed(look, lambda: "putting back", _FOLLOWED_SECONDS if is_running(settings) else 0.0)


# ---------------------------------------------------------------- resume


class Resumed(Report):
    """What ``resume`` let begin."""

    route: str


def resume(route: RouteArgument, config: ConfigOption = None, as_json: JsonOption = False) -> int:
    """Let a route that was undone deliver again."""
    settings = load(config)
    named_route(settings, route)
    with visited_if_there(settings) as store:
        if store is None:
            raise Left(f"{route} was not undone: there is nothing to resume.")
        try:
            decisions.resume(settings, store, route)
        except decisions.Undecided as error:
            raise Left(str(error)) from None
    when = when_written(settings, "writes what its mapping says now", "writes what its mapping says now")
    return show(Resumed(route, summary=f"{route}: {when}.", level="ok"), as_json=as_json)
