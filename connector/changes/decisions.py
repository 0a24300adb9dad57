"""What a person decides about a route: apply, undo, resume. For the command line and the page; prints nothing."""

from __future__ import annotations

import uuid
from collections import Counter

import msgspec
from msgspec import Struct

from connector import config as configuration
from connector.changes.notes import Undo, held_of, undo_of
from connector.changes.versions import compiled
from connector.core.errors import ConfigError
from connector.core.overwrite import is_empty
from connector.core.row import load_cells
from connector.settings import Config
from connector.store import Store
from connector.store.model import DeliveryLine


class Undecided(Exception):
    """There is nothing to decide, or something else comes first; the text says what, for people."""


class AlreadyApplied(Undecided):
    """The route runs its mapping file as it is."""


def apply(config: Config, store: Store, route: str) -> str:
    """Let *route* run its mapping file as it is now; what waited for a person is written. Acts at once where a server
    runs: the thread that delivers the route sees it within a second.

    Returns:
        The id that the rows have in common in the delivery log.

    Raises:
        AlreadyApplied: nothing waits.
        Undecided: the route was undone.
        ConfigError: the file has mistakes.
    """
    stored = store.mapping_of(route)
    if stored.undo:
        raise Undecided(f"{route} was undone. Edit its mapping, then: connector resume {route}")
    if stored.wanted and stored.delivery:
        return stored.delivery  # applied a moment ago
    try:
        text = configuration.read_route(config, route).text
    except ConfigError:
        if not stored.held:
            raise
        text = stored.held
    if text == stored.text and held_of(stored) is None:
        raise AlreadyApplied(f"Already applied: {route} runs its mapping file as it is now.")
    delivery = uuid.uuid4().hex[:12]
    new = _columns(config, route, text) - _columns(config, route, stored.text) if stored.text else set[str]()
    note = _Added(delivery, sorted(new))
    store.remember("connector", _note_of(route), msgspec.json.encode(note).decode())
    store.want_mapping(route, text, delivery=delivery)
    return delivery


class _Added(Struct, frozen=True):
    """The columns that the version which *delivery* applied has, and the one before had not."""

    delivery: str
    columns: list[str]


def _note_of(route: str) -> str:
    return f"columns added {route}"


def _columns(config: Config, route: str, text: str) -> set[str]:
    found = compiled(config, route, text)
    return {column.name for column in found.target.columns} if found is not None else set()


def undo(store: Store, route: str, asked: Undo) -> None:
    """Let *route* put back what *asked* says, then wait until ``resume``. Acts at once where a server runs.

    Raises:
        Undecided: an undo is on its way.
    """
    before = undo_of(store.mapping_of(route))
    if before is not None and not before.done:
        raise Undecided(f"{route} is being undone; look: connector status")
    store.note_undo(route, asked.dumped())


def resume(config: Config, store: Store, route: str) -> None:
    """Let *route*, which was undone, deliver again, with its mapping file as it is now.

    Raises:
        Undecided: it was not undone, or the undo is on its way.
        ConfigError: the file has mistakes.
    """
    before = undo_of(store.mapping_of(route))
    if before is None:
        raise Undecided(f"{route} was not undone: there is nothing to resume.")
    if not before.done:
        raise Undecided(f"{route} is being undone; look: connector status")
    store.want_mapping(route, configuration.read_route(config, route).text, delivery=uuid.uuid4().hex[:12])


class Done(Struct, frozen=True):
    """What the rows of one delivery id came to, counted as ``Plan`` counts.

    Args:
        cells: in *rows* rows; without *cells_filled*, which new columns got in rows that were there.
    """

    cells: int
    rows: int
    added: int
    removed: int
    refused: int
    cells_filled: int = 0


def done(store: Store, route: str, delivery: str) -> Done:
    """What was sent for *delivery* so far."""
    lines: list[DeliveryLine] = []
    while page := store.delivery(route, delivery, before=lines[-1] if lines else None):
        lines += page
    counts: Counter[str] = Counter(line.row_change or line.kind for line in lines)
    text = store.recall("connector", _note_of(route))
    note = msgspec.json.decode(text, type=_Added) if text else None
    new = set(note.columns) if note is not None and note.delivery == delivery else set[str]()
    cells = rows = filled = 0
    for line in lines:
        if line.kind == "written" and not line.row_change and line.cells != "{}":
            wrote, former = load_cells(line.cells), load_cells(line.former) if line.former else {}
            fills = {name for name in wrote if name in new and is_empty(former.get(name))}
            changed = (former or wrote).keys() - fills
            filled += sum(not is_empty(wrote[name]) for name in fills)
            cells += len(changed)
            rows += bool(changed)
    return Done(cells, rows, counts["added"], counts["removed"], counts["refused"], filled)
