"""What a person decides about a route: apply, undo, resume. For the command line and the page; prints nothing."""

from __future__ import annotations

import uuid
from collections import Counter

from msgspec import Struct

from connector import config as configuration
from connector.changes.notes import Undo, held_of, undo_of
from connector.core.errors import ConfigError
from connector.core.row import load_cells
from connector.settings import Config
from connector.store import Store
from connector.store.model import DeliveryLine


class Undecided(Exception):
    """There is nothing to decide, or something else comes first; the text says what, for people."""


def apply(config: Config, store: Store, route: str) -> str:
    """Let *route* run its mapping file as it is now; what waited for a person is written. Acts at once where a server
    runs: the thread that delivers the route sees it within a second.

    Returns:
        The id that the rows have in common in the delivery log.

    Raises:
        Undecided: nothing waits, or the route was undone.
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
        raise Undecided(f"Nothing waits: {route} runs its mapping as it is.")
    delivery = uuid.uuid4().hex[:12]
    store.want_mapping(route, text, delivery=delivery)
    return delivery


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
    """What the rows of one delivery id came to."""

    cells: int
    rows: int
    added: int
    removed: int
    refused: int


def done(store: Store, route: str, delivery: str) -> Done:
    """What was sent for *delivery* so far."""
    lines: list[DeliveryLine] = []
    while page := store.delivery(route, delivery, before=lines[-1] if lines else None):
        lines += page
    counts: Counter[str] = Counter(line.row_change or line.kind for line in lines)
    changed = [line for line in lines if line.kind == "written" and not line.row_change and line.cells != "{}"]
    cells = sum(len(load_cells(line.former or line.cells)) for line in changed)
    return Done(cells, len(changed), counts["added"], counts["removed"], counts["refused"])
