"""Affiliates: search and list; one affiliate with its record, where it is, what happened, and what can be done."""

from __future__ import annotations

from typing import Any

from connector.affiliates.explain import Entry, explain, flat
from connector.affiliates.find import find, listed, whom
from connector.affiliates.forget import forget
from connector.page.asking import Answer, Ask
from connector.page.looks import path_to
from connector.page.mapped import record_of, records_of, running, spots

_PAGE = 40
_MOST_ENTRIES = 150
_EACH_TIME = ("updated_at", "last_event.")  # what every event changes tells nothing


def affiliates(ask: Ask) -> Answer:
    """The list: those that were searched for, else all of them by id."""
    words, after = ask.query.get("q", "").strip()[:200], ask.query.get("after", "")[:500]
    found = find(ask.inside.store, words, _PAGE) if words else listed(ask.inside.store, after, _PAGE)
    matches = found.matches or found.near
    records = records_of(ask.inside, [match.record_id for match in matches])
    status = ask.inside.status()
    values = {"words": words, "after": after, "found": found, "limit": _PAGE, "known": status and status.records}
    values |= {"matches": matches, "records": records, "spots": spots(ask.inside, records)}
    return Answer("affiliates.html", values)


def affiliate(ask: Ask) -> Answer:
    """One affiliate."""
    inside, record_id = ask.inside, ask.path["record_id"]
    record = record_of(inside, record_id)
    routes = {route.name: route for route in running(inside)}
    evaluations = {name: route.evaluate(inside) for name, route in routes.items() if route.found}
    entries = explain(inside.store, inside.sources, inside.letters, evaluations, record_id, inside.now())
    history = [entry for entry in entries if entry.kind != "route"]
    values = {
        "record": record,
        "facts": {path: fact for path, fact in flat(record.model_dump(mode="json")).items() if fact not in _EMPTY},
        "places": spots(inside, {record_id: record})[record_id],
        "seen_at": {name: route.sink.options.seen_at() for name, route in routes.items()},
        "columns": {
            name: {column.name: column for column in route.found.target.columns} if route.found else {}
            for name, route in routes.items()
        },
        "history": history[::-1][:_MOST_ENTRIES],
        "left": max(0, len(history) - _MOST_ENTRIES),
        "told": ask.query.get("done", ""),
        "all": "all" in ask.query,
        "diff": diff,
    }
    return Answer("affiliate.html", values)


_EMPTY: tuple[Any, ...] = (None, "", [], {})


def diff(entry: Entry) -> list[tuple[str, Any, Any]]:
    """What an entry changed: name, old, new."""
    if entry.kind == "event":
        return [(path, old, new) for path, (old, new) in entry.changes.items() if not path.startswith(_EACH_TIME)]
    return [(column, entry.former.get(column), cell) for column, cell in entry.cells.items()]


def write_again(ask: Ask) -> Answer:
    """The affiliate is pending for every route, and rows that are equal to what was written are sent, too."""
    record_id = record_of(ask.inside, ask.path["record_id"]).id
    for route in ask.inside.settings.route_names:
        ask.inside.store.enqueue(route, [record_id])
    return Answer(to=f"{path_to(record_id)}?done=again", done="write again", about=record_id)


def forget_one(ask: Ask) -> Answer:
    """Every trace goes, once the person has typed the address or id."""
    inside, record = ask.inside, record_of(ask.inside, ask.path["record_id"])
    typed = ask.form.get("typed", "").strip().lower()
    if typed not in {record.id.lower(), (record.email or record.id).lower()}:
        return Answer(to=f"{path_to(record.id)}?done=mistyped#forget")
    meant = whom(inside.store, list(inside.sources), record.id)
    gone = forget(inside.store, inside.sources, inside.letters, meant, exclusive=False, patience_seconds=10)
    return Answer("forgotten.html", {"gone": gone}, done="forget")  # whom, no line says: it would be a trace
