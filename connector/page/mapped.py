"""Where affiliates are and are not, and why: what each route's running mapping makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import PurePath
from typing import Any, Literal

from msgspec import Struct

from connector.assembly import evaluation
from connector.changes.versions import compiled
from connector.core import toml
from connector.core.errors import ConfigError
from connector.core.mapping import Evaluation
from connector.core.record import AffiliateRecord
from connector.page.asking import Inside
from connector.settings import Config, RouteConfig, SinkConfig
from connector.store.model import PendingFor

State = Literal["there", "pending", "left out", "problem", "waits", "fails"]


class Running(Struct, frozen=True):
    """A route with the version of its mapping that runs; None: none can be used."""

    name: str
    sink: SinkConfig
    found: RouteConfig | None


class Spot(Struct, frozen=True):
    """What a route has of one affiliate.

    Args:
        state: ``there``: written, as it is now; ``waits``: for a value that the record lacks.
        why: in words, where it is not there.
        where: the mapping's ``file:line`` that says so.
        says: what that line is; *value*: what the record has there.
        rows: what the mapping makes of it.
    """

    route: str
    state: State
    why: str = ""
    where: str = ""
    says: str = ""
    value: Any = None
    rows: Evaluation = Evaluation()


def running(inside: Inside) -> list[Running]:
    """Every configured route."""
    stored = inside.store.mappings()
    found = []
    for sink in inside.settings.sinks:
        for name in sink.files:
            text = stored[name].text if name in stored else ""
            found.append(Running(name, sink, _compiled(_Key(inside.settings), name, text)))
    return found


class _Key:
    """A configuration, told from others by being another object."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.config is self.config

    def __hash__(self) -> int:
        return id(self.config)


@lru_cache(maxsize=64)
def _compiled(key: _Key, route: str, text: str) -> RouteConfig | None:
    known = next((found for found in key.config.routes if found.name == route and found.text == text), None)
    return known or compiled(key.config, route, text)


def spots(inside: Inside, records: Mapping[str, AffiliateRecord]) -> dict[str, list[Spot]]:
    """Where each of *records* is, by record id, route by route."""
    found: dict[str, list[Spot]] = {record_id: [] for record_id in records}
    ids = list(records)
    pending = {record_id: {one.route: one for one in inside.store.pending_of(record_id)} for record_id in ids}
    for route in running(inside):
        written = {row.record_id for row in inside.store.written(route.name, ids)}
        stopped = _with_letters(inside, route.name, ids)
        for record_id, record in records.items():
            waits = pending[record_id].get(route.name)
            found[record_id].append(_spot(inside, route, record, waits, record_id in written, record_id in stopped))
    return found


def _with_letters(inside: Inside, route: str, ids: Iterable[str]) -> set[str]:
    """Those of *ids* that a dead letter of *route* is about."""
    return {record_id for record_id in ids if inside.letters.ids_about(route, [record_id])}


def _spot(
    inside: Inside, route: Running, record: AffiliateRecord, pending: PendingFor | None, written: bool, stopped: bool
) -> Spot:
    if route.found is None:
        return Spot(route.name, "fails", "no version of its mapping can be used")
    try:
        made = evaluation(route.sink, route.found, inside.store)(record)
    except Exception:  # a bug in the mapping's evaluation must not hide the rest
        return Spot(route.name, "fails", "its mapping fails for this affiliate")
    if stopped:
        return Spot(route.name, "problem", "a problem waits for you", rows=made)
    if made.problems:
        return Spot(route.name, "problem", made.problems[0].reason, made.problems[0].where, rows=made)
    if pending is not None and pending.reason.startswith("waits_for_"):
        return Spot(route.name, "waits", f"waits for {pending.reason.removeprefix('waits_for_')}", rows=made)
    if made.skipped is not None and not (pending is not None and written):
        return _left_out(route.found, made, record)
    if pending is not None or not written:
        return Spot(route.name, "pending", "is written as soon as possible", rows=made)
    return Spot(route.name, "there", rows=made)


def _left_out(route: RouteConfig, made: Evaluation, record: AffiliateRecord) -> Spot:
    why = made.skipped or ""
    path = why.removeprefix("when: ")
    if path == why:
        return Spot(route.name, "left out", why, rows=made)
    line, text = condition(route.mapping.file, route.text, path)
    where = f"{PurePath(route.mapping.file).name}:{line}" if line else ""
    return Spot(route.name, "left out", f"[when] {path}", where, text, at(record, path), rows=made)


@lru_cache(maxsize=256)
def condition(file: str, text: str, path: str) -> tuple[int, str]:
    """The line of the condition on *path* in ``[when]``, and what stands there; (0, ""): not found."""
    try:
        document = toml.parse(text, file=file)
    except ConfigError:
        return 0, ""
    lines = document.text.split("\n")
    for steps in (("when", path), ("when", *path.split("."))):
        line = document.key_place(steps).line
        if line and path.rpartition(".")[2] in lines[line - 1]:
            return line, lines[line - 1].partition(" #")[0].strip()
    return 0, ""


def at(record: AffiliateRecord, path: str) -> Any:
    """What *record* has at a dotted path; None where it has nothing."""
    found: Any = record
    for step in path.split("."):
        found = found.get(step) if isinstance(found, Mapping) else getattr(found, step, None)
    return found
