"""Where affiliates are and are not, and why: what each route's running mapping makes of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any, Literal, TypeVar

from msgspec import Struct

from connector.affiliates.left_out import left_out
from connector.assembly import build_sink, evaluation
from connector.changes.versions import compiled
from connector.core.errors import NeedsAction, TryLater
from connector.core.facts import load_facts
from connector.core.mapping import Evaluation
from connector.core.quoting import without_secrets
from connector.core.record import AffiliateRecord
from connector.core.sink import Sink
from connector.core.view import view
from connector.page.asking import Inside, NotThere
from connector.settings import RouteConfig, SinkConfig
from connector.store.model import WAITS_FOR, PendingFor

_MOST_COMPILED = 64
_T = TypeVar("_T")

State = Literal["there", "pending", "left out", "problem", "waits", "fails"]


class Running(Struct, frozen=True):
    """A route with the version of its mapping that runs; None: none can be used."""

    name: str
    sink: SinkConfig
    found: RouteConfig | None

    def evaluate(self, inside: Inside) -> Callable[[AffiliateRecord], Evaluation]:
        """That version's mapping; there must be one."""
        assert self.found is not None
        return evaluation(self.sink, self.found, inside.store)


class Spot(Struct, frozen=True):
    """What a route has of one affiliate.

    Args:
        state: ``there``: written, as it is now; ``waits``: for a value that the record lacks.
        why: in words, where it is not there.
        where: the mapping's ``file:line`` that says so.
        says: what that line is; *value*: what the record has there.
        made: what the mapping makes of it.
        stays: it is left out now, and the row that was written before is still there.
    """

    route: str
    state: State
    why: str = ""
    where: str = ""
    says: str = ""
    value: Any = None
    made: Evaluation = Evaluation()
    stays: bool = False


def records_of(inside: Inside, record_ids: list[str]) -> dict[str, AffiliateRecord]:
    """Those of the records that there are, as mappings see them."""
    known = inside.store.load(record_ids)
    return {each: view(each, load_facts(known[each].facts)) for each in record_ids if each in known}


def record_of(inside: Inside, record_id: str) -> AffiliateRecord:
    """One record. Raises NotThere."""
    found = records_of(inside, [record_id])
    if not found:
        raise NotThere(f"There is no affiliate {record_id[:100]}")
    return found[record_id]


def running(inside: Inside) -> list[Running]:
    """Every configured route."""
    stored = inside.store.mappings()
    return [
        Running(name, sink, _compiled(inside, name, stored[name].text if name in stored else ""))
        for sink in inside.settings.sinks
        for name in sink.files
    ]


def _compiled(inside: Inside, route: str, text: str) -> RouteConfig | None:
    if (route, text) not in inside.compiled:
        if len(inside.compiled) >= _MOST_COMPILED:
            inside.compiled.clear()
        same = (found for found in inside.settings.routes if found.name == route and found.text == text)
        inside.compiled[route, text] = next(same, None) or compiled(inside.settings, route, text)
    return inside.compiled[route, text]


def at_destination(
    inside: Inside, route: Running, look: Callable[[Sink, RouteConfig], _T], stop: threading.Event | None = None
) -> tuple[_T | None, str]:
    """What *look* finds out by a sink of its own; None, and why: there is no mapping, or it can't be read."""
    if route.found is None:
        return None, "No version of its mapping can be used."
    try:
        with closing(build_sink(route.sink, inside.store, stop or threading.Event())) as sink:
            return look(sink, route.found), ""
    except (NeedsAction, TryLater) as error:
        return None, without_secrets(error.reason, inside.settings.secrets)


def spots(inside: Inside, records: Mapping[str, AffiliateRecord]) -> dict[str, list[Spot]]:
    """Where each of *records* is, by record id, route by route."""
    found: dict[str, list[Spot]] = {record_id: [] for record_id in records}
    pending = {record_id: {one.route: one for one in inside.store.pending_of(record_id)} for record_id in records}
    for route in running(inside):
        written = {row.record_id for row in inside.store.written(route.name, records)}
        for record_id, record in records.items():
            stopped = bool(inside.letters.ids_about(route.name, [record_id]))
            waits = pending[record_id].get(route.name)
            found[record_id].append(_spot(inside, route, record, waits, record_id in written, stopped))
    return found


def _spot(
    inside: Inside, route: Running, record: AffiliateRecord, pending: PendingFor | None, written: bool, stopped: bool
) -> Spot:
    if route.found is None:
        return Spot(route.name, "fails", "no version of its mapping can be used")
    try:
        made = route.evaluate(inside)(record)
    except Exception:  # a bug in the mapping's evaluation must not hide the rest
        return Spot(route.name, "fails", "its mapping fails for this affiliate")
    if stopped:
        return Spot(route.name, "problem", "a problem waits for you", made=made)
    if made.problems:
        return Spot(route.name, "problem", made.problems[0].reason, made.problems[0].where, made=made)
    if pending is not None and pending.reason.startswith(WAITS_FOR):
        return Spot(route.name, "waits", f"waits for {pending.reason.removeprefix(WAITS_FOR)}", made=made)
    if made.skipped is not None and not (pending is not None and written):
        out = left_out(route.found, made.skipped, record)
        return Spot(route.name, "left out", out.why, out.where, out.says, out.value, made, written)
    if pending is not None or not written:
        return Spot(route.name, "pending", "is written as soon as possible", made=made)
    return Spot(route.name, "there", made=made)
