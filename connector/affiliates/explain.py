"""What happened to one affiliate, and what each route has of it now. Knows no sink; the command line prints it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal

from msgspec import Struct, field

from connector.affiliates.find import normalized
from connector.affiliates.left_out import LeftOut, left_out
from connector.core.facts import Fact, load_facts
from connector.core.mapping import Evaluation
from connector.core.merge import join
from connector.core.record import AffiliateRecord
from connector.core.row import dump_cells
from connector.core.source import Event, Source
from connector.core.view import view
from connector.dead_letters import DeadLetters
from connector.settings import RouteConfig
from connector.store import Store
from connector.store.model import WAITS_FOR, DeliveryLine, PendingFor

Evaluate = Callable[[AffiliateRecord], Evaluation]


class Origin(Struct, frozen=True):
    """Where a cell comes from: paths of the record, and ``file:line`` of the mapping."""

    paths: Sequence[str]
    where: str


class Entry(Struct, frozen=True):
    """One line of an affiliate's history.

    Args:
        kind: ``event`` · ``delivery`` · ``letter`` · ``route`` (what a route has now).
        about: topic and key, or the route.
        text: the outcome in a few words.
        changes: of an event: what it changed in the record, by path: (before, after); before is "?" where an event
            that is deleted by now may have said it.
        cells: of a delivery: the cells that were written; of a route: those that its mapping makes now, but the empty
            ones. By column, dumped.
        origins: of a route: by column, the paths that a cell comes from, and the mapping's line.
        rows: of a route: how many it has written of this affiliate.
        former: of a delivery: what those that it changed held before.
        overwritten: of a delivery: the columns in which that was typed by people.
        kept: of a route: the columns in which, when they were last written, what people had typed stayed.
        delivery: shared by the rows that were sent together; ``undo`` takes it.
    """

    at: datetime
    kind: Literal["event", "delivery", "letter", "route"]
    about: str
    text: str
    changes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    cells: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(default_factory=dict)
    rows: int = 0
    former: Mapping[str, Any] = field(default_factory=dict)
    overwritten: tuple[str, ...] = ()
    delivery: str = ""
    kept: tuple[str, ...] = ()


class Overwritten(Struct, frozen=True):
    """A cell that people had typed and a delivery overwrote.

    Args:
        row: the row's key. *typed* and *written* are dumped cells.
    """

    at: datetime
    record_id: str
    row: str
    column: str
    typed: Any
    written: Any
    delivery: str


def overwritten(store: Store, route: str) -> Iterator[Overwritten]:
    """What *route* has overwritten of what people had typed, as far as the delivery log is kept; the newest first."""
    last: DeliveryLine | None = None
    while page := store.overwritten(route, before=last):
        for line in page:
            cells, former = _loaded(line.cells), _loaded(line.former)
            for column in line.overwritten:
                yield Overwritten(
                    line.at, line.record_id, line.key, column, former.get(column), cells.get(column), line.delivery
                )
        last = page[-1]


def left_empty(store: Store, route: RouteConfig, most: int = 2**62) -> dict[str, list[str]]:
    """Why cells are empty in *route* although the record has values for them, with the lines of the mapping. By record,
    of *most* of them."""
    left = store.left_empty(route.name, most)
    places = {column.name: column.where for column in route.target.columns}
    reasons: dict[str, list[str]] = {}
    for record_id, known in store.load(list(left)).items():
        unfit = route.mapping.evaluate(view(record_id, load_facts(known.facts))).left_empty
        reasons[record_id] = [f"{each.reason} ({each.where})" for each in unfit]
        reasons[record_id] += [
            f"{name}: the destination does not take the value; correct it at the platform ({places.get(name, '')})"
            for name in left[record_id][1]
        ]
    return reasons


def _loaded(cells: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(cells) if cells else {}
    return loaded


def explain(
    store: Store,
    sources: Mapping[str, Source],
    letters: DeadLetters,
    evaluations: Mapping[str, Evaluate],
    record_id: str,
    now: datetime,
    routes: Mapping[str, RouteConfig] = MappingProxyType({}),
) -> list[Entry]:
    """What is still known to have happened to that affiliate, the oldest first, then what each route has now.

    Args:
        evaluations: each route's mapping, by the route's name.
        routes: those whose cells are to be told, too, and the lines that leave the affiliate out.
    """
    known = store.load([record_id]).get(record_id)
    facts = load_facts(known.facts) if known is not None else {}
    entries = list(_events(store, sources, record_id, facts))
    entries += _deliveries(store, record_id)
    stopped = [letter for letter in letters.list() if letter.stage == "deliver" and letter.subject == record_id]
    entries += [
        Entry(
            letter.at or now, "letter", f"{letter.place} {letter.id}",
            f"{letter.why}; to try again: connector dead-letters replay {letter.id}",
        )
        for letter in stopped
    ]  # fmt: skip
    entries.sort(key=lambda entry: entry.at)
    if known is not None:
        entries += _routes_now(store, evaluations, record_id, facts, {letter.place for letter in stopped}, now, routes)
    return entries


def _events(store: Store, sources: Mapping[str, Source], record_id: str, facts: Mapping[str, Fact]) -> Iterator[Entry]:
    kept = [(stored, _said(sources, stored.event, record_id)) for stored in store.events_of(record_id)]
    still_said = {(path, fact) for _, said in kept if said is not None for path, fact in said.items()}
    # A fact that no kept event says is from an event that is deleted by now: the kept events began with it.
    state: dict[str, Fact] = {path: fact for path, fact in facts.items() if (path, fact) not in still_said}
    began_before = bool(state)
    for stored, said in kept:
        event = stored.event
        about = f"{event.topic} {event.key}"
        if said is None:
            yield Entry(event.received_at, "event", about, "can't be read any more; see the dead letters")
            continue
        after = join(state, said)
        changes = _changes(view(record_id, state), view(record_id, after))
        if began_before:
            changes = {path: ("?" if old is None else old, new) for path, (old, new) in changes.items()}
        text = f"changed {len(changes)} of its fields" if changes else "said nothing new"
        if event.at // 1_000_000 != int(event.received_at.timestamp()):
            text += f"; true as of {datetime.fromtimestamp(event.at / 1e6, UTC).isoformat(timespec='seconds')}"
        yield Entry(event.received_at, "event", about, text, changes)
        state = after


def _said(sources: Mapping[str, Source], event: Event, record_id: str) -> dict[str, Fact] | None:
    updates = normalized(sources, event)
    if updates is None:
        return None
    said: dict[str, Fact] = {}
    for update in updates:
        if update.record_id == record_id:
            said = join(said, update.facts)
    return said


def _changes(before: AffiliateRecord, after: AffiliateRecord) -> dict[str, tuple[Any, Any]]:
    old, new = flat(before.model_dump(mode="json")), flat(after.model_dump(mode="json"))
    paths = [*new, *(path for path in old if path not in new)]
    empty: tuple[Any, ...] = (None, [], {})
    return {
        path: (old.get(path), new.get(path))
        for path in paths
        if old.get(path) != new.get(path) and not (old.get(path) in empty and new.get(path) in empty)
    }


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """A record's values by path; entries of lists by their id."""
    if isinstance(value, dict) and value:
        return {
            inner_path: inner
            for key, part in value.items()
            for inner_path, inner in flat(part, f"{path}.{key}" if path else str(key)).items()
        }
    if isinstance(value, list) and value and all(isinstance(entry, dict) and "id" in entry for entry in value):
        return {
            inner_path: inner for entry in value for inner_path, inner in flat(entry, f"{path}[{entry['id']}]").items()
        }
    return {path: value}


def _deliveries(store: Store, record_id: str) -> Iterator[Entry]:
    words = {
        "written": "written",
        "added": "written as a new row",
        "removed": "deleted",
        "refused": "refused",
        "unchanged": "the same as before; no call was needed",
        "skipped": "left out",
    }
    for line in store.deliveries_of(record_id):
        text = words.get(line.row_change or line.kind, line.kind) + (f" ({line.code})" if line.code else "")
        about = line.route + (f" row {line.key}" if line.key else "")
        cells, former = _loaded(line.cells), _loaded(line.former)
        if line.row_change == "removed" and former and line.key not in former.values():  # the key stays
            text = "emptied of what the connector wrote"
        if line.key in cells.values():  # a new row: what is empty in it was empty before
            cells = {column: cell for column, cell in cells.items() if cell not in (None, "")}
        yield Entry(
            line.at, "delivery", about, text, cells=cells, former=former, overwritten=line.overwritten,
            delivery=line.delivery,
        )  # fmt: skip


def _routes_now(
    store: Store,
    evaluations: Mapping[str, Evaluate],
    record_id: str,
    facts: Mapping[str, Fact],
    stopped: Collection[str],
    now: datetime,
    routes: Mapping[str, RouteConfig],
) -> Iterator[Entry]:
    """What each route has of the record now; *stopped* are the routes with a dead letter about it."""
    pending = {one.route: one for one in store.pending_of(record_id)}
    undone = {name for name, stored in store.mappings().items() if stored.undo}
    record = view(record_id, facts)
    for route, evaluate in evaluations.items():
        one = pending.get(route)
        if route in undone:
            text = f"waits for you, undone: connector resume {route}"
        elif one is not None:
            text = _still_pending(one, now)
        else:
            text = "up to date, but for what is a dead letter" if route in stopped else "up to date"
        cells: dict[str, Any] = {}
        try:
            shape = evaluate(record)
        except Exception:  # a bug in the mapping's evaluation: the route says so, and must not hide the rest
            text += "; its mapping fails for this record, see connector status"
        else:
            if shape.skipped is not None:
                known_route = routes.get(route)
                out = left_out(known_route, shape.skipped, record) if known_route else LeftOut(shape.skipped)
                text += f"; {out.text}" + "; its row stays" * bool(store.written(route, [record_id]))
            for problem in shape.problems:
                text += f"; can't be shaped: {problem.reason}"
            for left in shape.left_empty:
                text += f"; left empty: {left.reason}"
            cells = _loaded(dump_cells(shape.rows[0].cells)) if len(shape.rows) == 1 and route in routes else {}
        cells = {column: cell for column, cell in cells.items() if cell not in (None, "", [])}
        known = {
            column.name: Origin(column.paths, column.where)
            for column in (routes[route].target.columns if route in routes else ())
        }
        origins = {column: origin for column, origin in known.items() if column in cells}
        rows = store.written(route, [record_id])
        kept = dict.fromkeys(name for row in rows for name in row.kept)
        yield Entry(now, "route", route, text, cells=cells, origins=origins, kept=tuple(kept), rows=len(rows))


def _still_pending(one: PendingFor, now: datetime) -> str:
    since = one.since.isoformat(timespec="seconds")
    if one.reason.startswith(WAITS_FOR):
        return f"waits for {one.reason.removeprefix(WAITS_FOR)} since {since}"
    failed = f", {one.tries} tries failed ({one.reason})" if one.tries else ""
    later = f", next try at {one.due_at.isoformat(timespec='seconds')}" if one.due_at > now else ""
    return f"pending since {since}{failed}{later}"
