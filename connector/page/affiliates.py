"""Affiliates: search and list; one affiliate with its record, where it is, what happened, and what can be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from connector.affiliates.explain import Entry, explain
from connector.affiliates.find import Match, find, listed, whom
from connector.affiliates.forget import forget
from connector.assembly import evaluation
from connector.core.facts import load_facts
from connector.core.record import AffiliateRecord
from connector.core.row import Column
from connector.core.view import view
from connector.page.asking import Answer, Ask, Inside, NotThere
from connector.page.looks import path_to
from connector.page.mapped import Spot, running, spots
from connector.settings import RouteConfig

_PAGE = 40
_MOST_ENTRIES = 150
_EACH_TIME = ("updated_at", "last_event.")  # what every event changes tells nothing


class Listed(Struct, frozen=True):
    """One line of the list."""

    match: Match
    record: AffiliateRecord
    spots: list[Spot]

    @property
    def elsewhere(self) -> list[Spot]:
        """Where it is not, or not as it is now."""
        return [spot for spot in self.spots if spot.state != "there"]


def affiliates(ask: Ask) -> Answer:
    """The list: those that were searched for, else all of them by id."""
    words, after = ask.query.get("q", "").strip()[:200], ask.query.get("after", "")[:500]
    found = find(ask.inside.store, words, _PAGE) if words else listed(ask.inside.store, after, _PAGE)
    shown = found.matches or found.near
    records = _records(ask.inside, [match.record_id for match in shown])
    places = spots(ask.inside, records)
    lines = [Listed(match, records[match.record_id], places[match.record_id]) for match in shown]
    values = {"words": words, "after": after, "lines": lines, "found": found, "limit": _PAGE}
    return Answer("affiliates.html", values)


def _records(inside: Inside, record_ids: Sequence[str]) -> dict[str, AffiliateRecord]:
    known = inside.store.load(record_ids)
    return {record_id: view(record_id, load_facts(known[record_id].facts)) for record_id in record_ids}


# ---------------------------------------------------------------- one affiliate


class Valued(Struct, frozen=True):
    """A cell with where it comes from."""

    column: str
    value: Any
    paths: tuple[str, ...]
    where: str


class Place(Struct, frozen=True):
    """What one route has of the affiliate: the spot, its rows by their keys, and where people see the destination."""

    spot: Spot
    rows: tuple[tuple[str, tuple[Valued, ...]], ...]
    seen_at: str | None


def affiliate(ask: Ask) -> Answer:
    """One affiliate."""
    inside, record_id = ask.inside, ask.path["record_id"]
    known = inside.store.load([record_id]).get(record_id)
    if known is None:
        raise NotThere(f"There is no affiliate {record_id[:100]}")
    record = view(record_id, load_facts(known.facts))
    routes = {route.name: route for route in running(inside)}
    evaluations = {
        route.name: evaluation(route.sink, route.found, inside.store) for route in routes.values() if route.found
    }
    entries = explain(inside.store, inside.sources, inside.letters, evaluations, record_id, inside.now())
    history = [entry for entry in entries if entry.kind != "route"]
    values = {
        "record": record,
        "facts": facts(record),
        "places": [
            _place(routes[spot.route].found, spot, routes[spot.route].sink.options.seen_at())
            for spot in spots(inside, {record_id: record})[record_id]
        ],
        "history": history[::-1][:_MOST_ENTRIES],
        "left": max(0, len(history) - _MOST_ENTRIES),
        "told": ask.query.get("done", ""),
        "all": "all" in ask.query,
        "diff": diff,
    }
    return Answer("affiliate.html", values)


def _place(found: RouteConfig | None, spot: Spot, seen_at: str | None) -> Place:
    columns = {column.name: column for column in found.target.columns} if found is not None else {}
    blank = Column("")
    rows = []
    for row in spot.rows.rows:
        named = [(name, cell, columns.get(name, blank)) for name, cell in row.cells.items()]
        rows.append((row.key, tuple(Valued(name, cell, column.paths, column.where) for name, cell, column in named)))
    return Place(spot, tuple(rows), seen_at)


def facts(record: AffiliateRecord) -> list[tuple[str, Any]]:
    """What is known of it, by path; what is empty is left out."""
    return list(_flat(record.model_dump(mode="json"), ""))


def _flat(found: Any, path: str) -> list[tuple[str, Any]]:
    if isinstance(found, Mapping):
        return [pair for key, part in found.items() for pair in _flat(part, f"{path}.{key}" if path else key)]
    if isinstance(found, list) and found and all(isinstance(part, Mapping) and "id" in part for part in found):
        return [pair for part in found for pair in _flat(part, f"{path}[{part['id']}]")]
    return [] if found in (None, "", [], {}) else [(path, found)]


def diff(entry: Entry) -> list[tuple[str, Any, Any]]:
    """What an entry changed: name, old, new."""
    if entry.kind == "event":
        return [(path, old, new) for path, (old, new) in entry.changes.items() if not path.startswith(_EACH_TIME)]
    return [(column, entry.former.get(column), cell) for column, cell in entry.cells.items()]


# ---------------------------------------------------------------- what can be done


def write_again(ask: Ask) -> Answer:
    """The affiliate is pending for every route, and rows that are equal to what was written are sent, too."""
    inside, record_id = ask.inside, ask.path["record_id"]
    if record_id not in inside.store.load([record_id]):
        raise NotThere(f"There is no affiliate {record_id[:100]}")
    for route in inside.settings.route_names:
        inside.store.enqueue(route, [record_id])
    return Answer(to=f"{path_to(record_id)}?done=again", done="write again", about=record_id)


def forget_one(ask: Ask) -> Answer:
    """Every trace goes, once the person has typed the address or id."""
    inside, record_id = ask.inside, ask.path["record_id"]
    known = inside.store.load([record_id]).get(record_id)
    if known is None:
        raise NotThere(f"There is no affiliate {record_id[:100]}")
    email = view(record_id, load_facts(known.facts)).email
    typed = ask.form.get("typed", "").strip().lower()
    if typed not in {record_id.lower(), (email or record_id).lower()}:
        return Answer(to=f"{path_to(record_id)}?done=mistyped#forget")
    meant = whom(inside.store, list(inside.sources), record_id)
    gone = forget(inside.store, inside.sources, inside.letters, meant, exclusive=False, patience_seconds=10)
    rows = [f"{route}: {', '.join(keys)}" for route, keys in gone.rows.items()]
    values = {"gone": gone, "rows": rows}
    return Answer("forgotten.html", values, done="forget")  # whom, no line says: it would be a trace
