"""Mappings: each route's columns and where they come from, mistakes with their lines, plans, and a place to try."""

from __future__ import annotations

import difflib
import threading
from functools import partial
from hashlib import blake2b
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote, urlencode

from connector.actions import joined, signed
from connector.affiliates.left_out import left_out
from connector.changes import decisions
from connector.changes.notes import held_of, problems_of, undo_of
from connector.changes.plan import Plan
from connector.changes.versions import compiled, plan_for
from connector.core.errors import ConfigError, Problem, UnknownShape, Unreadable
from connector.core.view import view
from connector.page.asking import Answer, Ask, Inside, NotThere
from connector.page.mapped import Running, at_destination, records_of, running
from connector.store.model import StoredMapping

_LINES_AROUND = 2
_LONGEST_LINE = 300
_MOST_DIFF_LINES = 120
_RULES = {
    "always": "always the platform's",
    "never_clear": "a newer value wins",
    "only_if_empty": "only filled when empty",
    "on_create": "only filled in new rows",
    "only_forward": "only moves forward",
}


def to_mapping(route: str, **query: str) -> str:
    """The path of one route's view."""
    return f"/mappings/{quote(route)}" + (f"?{urlencode(query)}" if query else "")


def mappings(ask: Ask) -> Answer:
    """One route: the one that the path names, else the first one that waits for a person."""
    return Answer("mappings.html", route_values(ask))


def route_values(ask: Ask) -> dict[str, Any]:
    """What the view of one route shows; see ``mappings``."""
    inside = ask.inside
    routes = {route.name: route for route in running(inside)}
    stored = inside.store.mappings()
    waits = {name: _waits(stored.get(name)) for name in routes}
    route = routes.get(ask.path.get("route") or next(filter(waits.get, waits), next(iter(waits), "")))
    if route is None:
        raise NotThere("There is no such mapping")
    mine = stored.get(route.name) or StoredMapping(route.name)
    delivery = ask.query.get("applied", "")
    return {
        "routes": waits,
        "route": route,
        "file": PurePath(route.sink.files[route.name]).name,
        "stored": mine,
        "mistakes": [(problem, _lines_around(inside, problem)) for problem in problems_of(mine)[:5]],
        "held": held_of(mine),
        "done": decisions.done(inside.store, route.name, delivery) if _is_id(delivery) else None,
        "told": ask.query.get("told", ""),
        "undone": undo_of(mine),
        "applied": delivery,
        "rules": _RULES,
        "example": _example(inside, route),
        "sources": inside.settings.sources,
        "tried": None,
        "given": ask.form,
    }


def _is_id(delivery: str) -> bool:
    return delivery.isalnum() and len(delivery) <= 32


def _waits(stored: StoredMapping | None) -> str:
    """What waits for a person there."""
    if stored is None:
        return ""
    if mistakes := problems_of(stored):
        return f"{len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}"
    held = held_of(stored)
    return "undone" if stored.undo else "" if held is None else f"{held.cells:,} changes" if held.cells else "waits"


def _lines_around(inside: Inside, problem: Problem) -> list[tuple[int, str]]:
    """Numbered lines of the file as it is now; none where it can't be read."""
    try:
        text = (inside.settings.file.parent / Path(problem.file)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    first = max(1, problem.line - _LINES_AROUND)
    lines = text.split("\n")[first - 1 : problem.line + _LINES_AROUND]
    return [(number, line[:_LONGEST_LINE]) for number, line in enumerate(lines, first)]


def _example(inside: Inside, route: Running) -> tuple[str, dict[str, Any]]:
    """The cells of the first affiliate that has a row: whose, and by column."""
    if route.found is not None:
        evaluate = route.evaluate(inside)
        for record in records_of(inside, inside.store.record_ids("", 20)).values():
            if rows := evaluate(record).rows:
                return record.name or record.email or record.id, dict(rows[0].cells)
    return "", {}


# ---------------------------------------------------------------- plans


class _Plans:
    """One plan at a time, the last one of each route kept: computing one reads all records."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[str, tuple[tuple[str, int], Plan]] = {}

    def of(self, inside: Inside, route: str, text: str) -> Plan | None:
        """What *text* would do in place of what runs; None: it can't be used."""
        with self._lock:
            stand = (text + inside.store.mapping_of(route).text, inside.store.epoch())
            if self._made.get(route, ("", None))[0] != stand:
                if (found := compiled(inside.settings, route, text)) is None:
                    return None
                self._made[route] = (stand, plan_for(inside.settings, inside.store, found, now=inside.now()))
            return self._made[route][1]


_plans = _Plans()


def plan(ask: Ask) -> Answer:
    """What the version that waits would change; computed when the page's script, or the reader, asks for it."""
    values = route_values(ask)
    stored: StoredMapping = values["stored"]
    if values["held"] is None:
        return Answer(to=to_mapping(stored.route))
    text = stored.held or stored.text
    values["plan"], values["error"] = None, ""
    if ask.part or "now" in ask.query:
        values["plan"], values["error"] = _planned(
            ask.inside, values["route"], text, is_first=values["held"].kind == "first"
        )
    values["edited"] = _edited(stored.text, text)
    values["seen"] = _digest(text)
    return Answer("plan.html", values)


def _planned(inside: Inside, route: Running, text: str, *, is_first: bool) -> tuple[Plan | None, str]:
    """What *text* would change, and why that is not known. Of a first writing nothing was written yet that could be
    compared: the destination is read."""
    if is_first:
        look = partial(plan_for, inside.settings, inside.store, now=inside.now())
        return at_destination(inside, route, lambda sink, found: look(found, live=sink))
    plan = _plans.of(inside, route.name, text)
    return plan, "" if plan else "This version can't be used: the file or config.toml has a mistake."


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _edited(old: str, new: str) -> list[tuple[str, int, str]]:
    """The lines that differ: ``-`` or ``+``, number, text."""
    found: list[tuple[str, int, str]] = []
    one, other = old.split("\n"), new.split("\n")
    for kind, a, b, c, d in difflib.SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if kind != "equal":
            found += [("-", number + 1, one[number][:_LONGEST_LINE]) for number in range(a, b)]
            found += [("+", number + 1, other[number][:_LONGEST_LINE]) for number in range(c, d)]
    return found[:_MOST_DIFF_LINES]


def apply(ask: Ask) -> Answer:
    """Let the version run that the person has seen."""
    inside, route = ask.inside, ask.path["route"]
    stored = inside.store.mapping_of(route)
    if ask.form.get("seen") != _digest(stored.held or stored.text):
        return Answer(to=to_mapping(route, told="edited-again"))
    try:
        delivery = decisions.apply(inside.settings, inside.store, route)
    except (decisions.Undecided, ConfigError):
        return Answer(to=to_mapping(route, told="nothing-waits"))
    return Answer(to=to_mapping(route, applied=delivery), done="apply", about=f"{route} {delivery}")


# ---------------------------------------------------------------- try it


def try_it(ask: Ask) -> Answer:
    """What a body would come to in that route. Writes nothing, keeps nothing."""
    values = route_values(ask)
    values["tried"] = _tried(ask, values["route"])
    return Answer("mappings.html", values)


def _tried(ask: Ask, route: Running) -> dict[str, Any]:
    source = next((each for each in ask.inside.settings.sources if each.name == ask.form.get("source")), None)
    if source is None or route.found is None:
        return {"error": "Choose a source, and a route with a mapping that can be used."}
    built = ask.inside.sources[source.name]
    try:
        body = ask.form.get("body", "").encode("utf-8", "replace")
        updates = built.normalize(built.accept(signed(source, body, ask.form.get("topic") or None)))
    except (Unreadable, UnknownShape) as error:
        return {"error": str(error)}
    except Exception as error:  # a bug of a source, met by a body that nobody foresaw
        return {"error": f"A bug of the source could not read this body: {type(error).__name__}"}
    evaluate, rows = route.evaluate(ask.inside), []
    for record_id, facts in joined(ask.inside.store, updates).items():
        record = view(record_id, facts)
        made = evaluate(record)
        out = "" if made.skipped is None else left_out(route.found, made.skipped, record).text
        rows.append((record_id, made, out))
    return {"error": "" if rows else "This webhook is about no affiliate.", "rows": rows}
