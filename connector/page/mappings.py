"""Mappings: each route's columns and where they come from, mistakes with their lines, plans, and a place to try."""

from __future__ import annotations

import difflib
import threading
from hashlib import blake2b
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from connector.actions import signed
from connector.assembly import evaluation
from connector.changes import decisions
from connector.changes.notes import held_of, problems_of, undo_of
from connector.changes.plan import Plan
from connector.changes.proposal import plan_for
from connector.changes.versions import compiled
from connector.core.errors import ConfigError, Problem, UnknownShape, Unreadable
from connector.core.facts import Fact, load_facts
from connector.core.mapping import Evaluation
from connector.core.merge import join
from connector.core.view import view
from connector.page.asking import Answer, Ask, Inside, NotThere
from connector.page.mapped import Running, running
from connector.settings import SourceConfig
from connector.store.model import StoredMapping

_LINES_AROUND = 2
_MOST_DIFF_LINES = 120
_RULES = {
    "always": "always the platform's",
    "never_clear": "the platform's newer value wins",
    "only_if_empty": "only filled when empty",
    "on_create": "only filled in new rows",
    "only_forward": "only moves forward",
}


class Marked(Struct, frozen=True):
    """A mistake with the lines around it: number, text, whether it is the line."""

    problem: Problem
    lines: tuple[tuple[int, str, bool], ...]


class Edited(Struct, frozen=True):
    """A line of an edited file: ``-``, ``+`` or blank, its number, its text."""

    sign: str
    number: int
    text: str


class _Plans:
    """One plan at a time, the last one of each route kept: computing one reads all records."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[str, tuple[tuple[str, int], Plan]] = {}

    def of(self, inside: Inside, route: str, text: str) -> Plan | None:
        """What *text* would do in place of what runs; None: it can't be used."""
        with self._lock:
            stand = (text + inside.store.mapping_of(route).text, inside.store.epoch())
            known = self._made.get(route)
            if known is not None and known[0] == stand:
                return known[1]
            found = compiled(inside.settings, route, text)
            if found is None:
                return None
            plan = plan_for(inside.settings, inside.store, found, now=inside.now())
            self._made[route] = (stand, plan)
            return plan


_plans = _Plans()


def mappings(ask: Ask) -> Answer:
    """One route, the first one unless the path names another."""
    return Answer("mappings.html", route_values(ask))


def route_values(ask: Ask) -> dict[str, Any]:
    """What the view of one route shows: the route that the path names, else the first."""
    inside = ask.inside
    routes = running(inside)
    named = ask.path.get("route") or next((route.name for route in routes), "")
    route = next((route for route in routes if route.name == named), None)
    if route is None:
        raise NotThere("There is no such mapping")
    stored = inside.store.mappings()
    mine = stored.get(named) or StoredMapping(named)
    return {
        "routes": [(each.name, _waits(stored.get(each.name))) for each in routes],
        "route": route,
        "file": PurePath(route.sink.files[named]).name,
        "stored": mine,
        "mistakes": [_marked(inside, problem) for problem in problems_of(mine)[:5]],
        "held": held_of(mine),
        "done": _done(inside, mine, ask.query.get("applied", "")),
        "told": ask.query.get("told", ""),
        "undone": undo_of(mine),
        "applied": ask.query.get("applied", ""),
        "rules": _RULES,
        "example": _example(inside, route),
        "sources": inside.settings.sources,
        "tried": None,
        "given": {"source": "", "topic": "", "body": ""},
    }


def _waits(stored: StoredMapping | None) -> str:
    """What waits for a person there."""
    if stored is None:
        return ""
    mistakes = problems_of(stored)
    if mistakes:
        return f"{len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}"
    held = held_of(stored)
    return "undone" if stored.undo else "" if held is None else f"{held.cells:,} changes" if held.cells else "waits"


def _marked(inside: Inside, problem: Problem) -> Marked:
    """The lines of the file as it is now; none where it can't be read."""
    file = Path(problem.file)
    try:
        text = (file if file.is_absolute() else inside.settings.file.parent / file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return Marked(problem, ())
    lines = text.split("\n")
    first = max(1, problem.line - _LINES_AROUND)
    around = range(first, min(len(lines), problem.line + _LINES_AROUND) + 1)
    return Marked(problem, tuple((number, lines[number - 1][:300], number == problem.line) for number in around))


def _example(inside: Inside, route: Running) -> tuple[str, dict[str, Any]]:
    """The cells of the first affiliate that has a row: whose, and by column."""
    if route.found is None:
        return "", {}
    evaluate = evaluation(route.sink, route.found, inside.store)
    for record_id, known in inside.store.load(inside.store.record_ids("", 20)).items():
        record = view(record_id, load_facts(known.facts))
        made = evaluate(record)
        if made.rows:
            return record.name or record.email or record.id, dict(made.rows[0].cells)
    return "", {}


# ---------------------------------------------------------------- plans


def plan(ask: Ask) -> Answer:
    """What the version that waits would change; computed when the page's script, or the reader, asks for it."""
    values = route_values(ask)
    stored: StoredMapping = values["stored"]
    if held_of(stored) is None:
        return Answer(to=f"/mappings/{stored.route}")
    text = stored.held or stored.text
    values["plan"] = _plans.of(ask.inside, stored.route, text) if ask.part or "now" in ask.query else None
    values["edited"] = _edited(stored.text, text)
    values["seen"] = _digest(text)
    return Answer("plan.html", values)


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def apply(ask: Ask) -> Answer:
    """Let the version run that the person has seen."""
    inside, route = ask.inside, ask.path["route"]
    stored = inside.store.mapping_of(route)
    if ask.form.get("seen") != _digest(stored.held or stored.text):
        return Answer(to=f"/mappings/{quote(route)}?told=edited-again")
    try:
        delivery = decisions.apply(inside.settings, inside.store, route)
    except (decisions.Undecided, ConfigError):
        return Answer(to=f"/mappings/{quote(route)}?told=nothing-waits")
    return Answer(to=f"/mappings/{quote(route)}?applied={delivery}", done="apply", about=f"{route} {delivery}")


def _done(inside: Inside, stored: StoredMapping, delivery: str) -> dict[str, Any] | None:
    """What came of applying, as far as it is."""
    if not delivery.isalnum() or len(delivery) > 32:
        return None
    undo = undo_of(stored)
    ready = not stored.wanted and not stored.delivery and (undo is None or undo.done)
    return {
        "ready": ready,
        "word": "Applied" if undo is None else "Put back",
        "counts": decisions.done(inside.store, stored.route, delivery),
    }


def _edited(old: str, new: str) -> list[Edited]:
    """The lines that differ."""
    found = []
    one, other = old.split("\n"), new.split("\n")
    for kind, a, b, c, d in difflib.SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if kind != "equal":
            found += [Edited("-", number + 1, one[number][:300]) for number in range(a, b)]
            found += [Edited("+", number + 1, other[number][:300]) for number in range(c, d)]
    return found[:_MOST_DIFF_LINES]


# ---------------------------------------------------------------- try it


def try_it(ask: Ask) -> Answer:
    """What a body would come to in that route. Writes nothing, keeps nothing."""
    values = route_values(ask)
    source = next((each for each in ask.inside.settings.sources if each.name == ask.form.get("source")), None)
    values["given"] = {
        "source": ask.form.get("source"),
        "topic": ask.form.get("topic"),
        "body": ask.form.get("body", ""),
    }
    values["tried"] = _tried(ask, source, values["route"])
    return Answer("mappings.html", values)


def _tried(ask: Ask, source: SourceConfig | None, route: Running) -> dict[str, Any]:
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
    evaluate = evaluation(route.sink, route.found, ask.inside.store)
    rows: list[tuple[str, Evaluation]] = []
    stored = ask.inside.store.load([update.record_id for update in updates])
    known: dict[str, dict[str, Fact]] = {record_id: load_facts(one.facts) for record_id, one in stored.items()}
    for update in updates:
        known[update.record_id] = join(known.get(update.record_id, {}), update.facts)
    for record_id, facts in known.items():
        rows.append((record_id, evaluate(view(record_id, facts))))
    return {"error": "" if rows else "This webhook is about no affiliate.", "rows": rows}
