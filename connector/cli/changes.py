"""`connector plan`: what an edited mapping would do before it does it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from typing import Annotated

import typer
from msgspec import field

from connector import config as configuration
from connector.changes import decisions
from connector.changes.decisions import Done
from connector.changes.notes import held_of
from connector.changes.plan import ColumnChange, Plan, noun_of, nouns
from connector.changes.versions import plan_for
from connector.cli.common import (
    ConfigOption,
    JsonOption,
    built_sink,
    expect_a_store,
    is_running,
    load,
    named_route,
    now,
    sink_of,
    visited,
    visited_if_there,
)
from connector.cli.exits import FOUND_PROBLEMS, OK, Left
from connector.cli.printing import (
    Report,
    arrow,
    beside,
    cell_text,
    followed,
    many,
    marked,
    shortened,
    show,
    table,
    visible_spaces,
    width,
    wrapped,
)
from connector.cli.route import RouteArgument
from connector.core.errors import ConfigError
from connector.core.row import Cell
from connector.settings import Config, RouteConfig
from connector.store import Store

_FOLLOWED_SECONDS = 600.0

RouteOption = Annotated[str | None, typer.Argument(metavar="[ROUTE]", help="Its name, as in `connector status`.")]


class Planned(Report):
    """What ``plan`` prints: a plan for each route, and the routes whose mapping file has mistakes."""

    plans: list[Plan]
    mistakes: list[str]
    examples_failed: list[str]

    def body(self) -> Iterator[str]:
        for plan in self.plans:
            if len(self.plans) > 1 and not plan.is_empty:
                yield from marked("waiting", f"{plan.route}  {plan.sentence}")
            yield from _lines(plan)
        for mistake in self.mistakes:
            yield from marked("problem", mistake)
        for failed in self.examples_failed:
            yield from marked("waiting", failed)

    def exit_code(self) -> int:
        return FOUND_PROBLEMS if self.mistakes or any(not plan.is_empty for plan in self.plans) else OK


def plan(
    route: RouteOption = None,
    live: Annotated[bool, typer.Option("--live", help="Compare with the destination as it is now.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """What the mapping files as they are now would change. Writes nothing."""
    settings = load(config, uses=("sinks",) if live else ())
    wanted = settings.routes if route is None else (named_route(settings, route),)
    if route is not None and route in settings.mistaken:
        raise ConfigError(settings.mistaken[route])
    expect_a_store(settings, "There is nothing to compare with")
    found = [] if route is not None else [problems[0] for problems in settings.mistaken.values()]
    mistakes = [f"{each.file}, line {each.line}: {each.text}" if each.line else str(each) for each in found]
    plans = [_plan(settings, each, live=live) for each in wanted if each.name not in settings.mistaken]
    with visited(settings) as store:
        undone = {name for name, stored in store.mappings().items() if stored.undo}
    failed = [line for found in plans for line in _examples_failed(settings, found.route)]
    return show(_planned(plans, mistakes, failed, undone), as_json=as_json)


def _examples_failed(settings: Config, route: str) -> Iterator[str]:
    """A line where the examples of the mapping file don't hold, which stops nothing."""
    if failed := configuration.failed_examples(settings, route):
        yield f"{route}: {many(len(failed), 'mistake')} in the examples of its mapping: connector check"


def _plan(settings: Config, route: RouteConfig, *, live: bool) -> Plan:
    with visited(settings) as store:
        held = held_of(store.mapping_of(route.name))
        if not live and (held is None or held.kind != "first"):
            return plan_for(settings, store, route, now=now())
        with built_sink(settings, sink_of(settings, route)) as sink:
            return plan_for(settings, store, route, now=now(), live=sink)


def _planned(plans: list[Plan], mistakes: list[str], failed: list[str], undone: set[str]) -> Planned:
    changes = [plan for plan in plans if not plan.is_empty]
    if len(changes) == 1:
        summary = changes[0].sentence if len(plans) == 1 else f"{changes[0].route}: {changes[0].sentence}"
    else:
        same = "Nothing would change."
        if mistakes:
            same = f"{many(len(mistakes), 'route')} can't be compared: correct the mapping first."
        summary = same if not changes else f"{len(changes)} of {len(plans)} routes would change."
    following = "connector check" if mistakes else ""
    if changes:
        first = changes[0].route
        following = f"connector {'resume' if first in undone else 'apply'} {first}"
    summary += " Nothing is written yet." if changes else ""
    return Planned(plans, mistakes, failed, summary=summary, next=following)


# ---------------------------------------------------------------- apply


class Applied(Report):
    """What ``apply`` came to, or that it is still to be done; *delivery* is what ``undo`` takes."""

    route: str
    delivery: str
    done: Done | None = None
    undo: str = ""
    examples_failed: list[str] = field(default_factory=list)

    def body(self) -> Iterator[str]:
        if self.undo:
            yield self.undo
        for failed in self.examples_failed:
            yield from marked("waiting", failed)


def apply(route: RouteArgument, config: ConfigOption = None, as_json: JsonOption = False) -> int:
    """Let an edited mapping run, and write what waits for you."""
    settings = load(config)
    named_route(settings, route)
    with visited_if_there(settings) as store:
        if store is None:
            raise Left("Nothing waits: nothing was received yet.")
        try:
            delivery = decisions.apply(settings, store, route)
        except decisions.AlreadyApplied as error:
            report = Applied(route, "", summary=str(error), level="ok")
        except decisions.Undecided as error:
            raise Left(str(error)) from None
        else:
            report = _applied(settings, store, route, delivery)
    report.examples_failed = [] if route in settings.mistaken else list(_examples_failed(settings, route))
    return show(report, as_json=as_json)


def _applied(settings: Config, store: Store, route: str, delivery: str) -> Applied:
    if not is_running(settings):
        text = f"{route}: what waits will be written by the next start."
        return Applied(route, delivery, summary=text, level="notice", next="connector serve")
    if not _is_over(store, route):
        text = f"{route}: applied, and being written."
        undo = _undo_line(settings, route, delivery)
        return Applied(route, delivery, undo=undo, summary=text, level="notice", next="connector status")
    noun = _noun_of(settings, route)
    found = decisions.done(store, route, delivery)
    parts = [f"{many(found.cells, 'cell')} written in {nouns(found.rows, noun)}"] if found.cells else []
    parts += [f"{many(found.cells_filled, 'cell')} of new columns filled"] if found.cells_filled else []
    more = (found.added, "added"), (found.removed, "removed")
    parts += [f"{nouns(count, noun)} {what}" for count, what in more if count]
    parts += [f"{many(found.refused, 'affiliate')} refused"] if found.refused else []
    wrote = found.cells or found.cells_filled or found.added or found.removed
    undo = _undo_line(settings, route, delivery) if wrote else ""
    following = f"connector explain --left-empty {route}" if store.left_empty(route) else ""
    following = "connector dead-letters list" if found.refused else following
    text = f"{route}: {', '.join(parts) or 'applied; there was nothing to write'}."
    return Applied(route, delivery, found, undo, summary=text, level="ok", next=following)


def _is_over(store: Store, route: str) -> bool:
    """Wait until all that was applied is settled; False when it takes longer, or the destination is away."""

    def look() -> bool | None:
        stored = store.mapping_of(route)
        if stored.wanted:
            return None
        stopped = store.route_state(route).kind in ("bug", "needs_action")
        return True if not stored.delivery else False if stopped else None

    def doing() -> str:
        pending = next((found.pending for found in store.status().routes if found.route == route), 0)
        return f"{many(pending, 'affiliate')} pending"

    return followed(look, doing, _FOLLOWED_SECONDS)


def _undo_line(settings: Config, route: str, delivery: str) -> str:
    days = settings.store.keep_deliveries_days
    return f"To undo within {many(days, 'day')}: connector undo {route} --delivery {delivery}"


def _noun_of(settings: Config, route: str) -> str:
    return noun_of(named_route(settings, route).target)


# ---------------------------------------------------------------- one plan, for people


def _lines(plan: Plan) -> Iterator[str]:
    if plan.is_empty and not plan.edits_kept and not plan.left_empty:
        return
    leaving = f"{plan.rows_leaving:,} leaving"
    if plan.rows_leaving and plan.leaving == "leave_alone":
        leaving += " (they stay as they are)"
    unchanged = plan.rows_unchanged + plan.rows_extended
    yield _named(
        nouns(2, plan.noun).partition(" ")[2].capitalize(), f"{plan.rows_new:,} new, {leaving}, {unchanged:,} unchanged"
    )
    if columns := _columns(plan):
        yield from wrapped(f"Columns   {columns}", indent=12, first=2)
    if plan.edits_kept:
        verb = "is left as it is" if plan.edits_kept == 1 else "are left as they are"
        yield _named("Edits", f"{many(plan.edits_kept, 'cell')} typed by people {verb}")
    names = [cell_text(change.name) for change in plan.columns]
    widest = max((len(name) for name in names), default=0)
    digits = max((len(f"{change.cells:,}") for change in plan.columns), default=0)
    for change in plan.columns:
        yield from _column(change, min(widest, 24), digits)
    for letters in plan.letters:
        text = f"{many(letters.affiliates, 'affiliate')} would become dead letters: {letters.reason}"
        more = letters.affiliates - len(letters.who)
        text += f" ({', '.join(cell_text(who) for who in letters.who)}{f', {more:,} more' if more else ''})"
        if letters.affiliates == 1:
            text = text.replace("dead letters", "a dead letter")
        yield from marked("waiting", text)
    if plan.choices_unknown:
        mapped = ", ".join(cell_text(name) for name in plan.choices_unknown)
        yield from marked("notice", f"Whether the choices of {mapped} there include these words is known with --live")
    for unfit in plan.left_empty:
        verb = "does not fit and is not written" if unfit.cells == 1 else "do not fit and are not written"
        where = PurePath(unfit.where).name
        yield from marked("notice", f"{many(unfit.cells, 'value')} of {cell_text(unfit.column)} {verb} ({where})")


def _named(name: str, text: str) -> str:
    return f"  {name:<9} {text}"


def _columns(plan: Plan) -> str:
    parts = []
    if plan.columns_new:
        parts.append(f"new: {', '.join(plan.columns_new)}")
    parts += [f"renamed: {old} {arrow()} {new}" for old, new in plan.columns_renamed]
    if plan.columns_gone:
        stay = "its values stay" if len(plan.columns_gone) == 1 else "their values stay"
        parts.append(f"no longer kept: {', '.join(plan.columns_gone)} ({stay})")
    return "; ".join(parts)


def _column(change: ColumnChange, widest: int, digits: int) -> Iterator[str]:
    """The column, how many cells, the mapping's line; then the samples."""
    where = PurePath(change.where).name if change.where else ""
    yield beside(
        f"  {shortened(change.name, 24):<{widest}}  {change.cells:>{digits},} cell{'s' * (change.cells != 1)}", where
    )
    cells = 40 if width() >= 120 else 24
    rows = [
        (shortened(sample.who, 24), f"{_shown(sample.old, cells)} {arrow()} {_shown(sample.new, cells)}")
        for sample in change.samples
    ]
    yield from (f"    {line}" for line in table(("", ""), rows)[1:])


def _shown(cell: Cell, most: int) -> str:
    """A cell's value; spaces that matter are dots."""
    text = cell_text(cell)
    if not text.strip():
        return "empty"
    return shortened(visible_spaces(text), most)
