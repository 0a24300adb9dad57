"""What the store keeps about a route's mapping, as values; apart from what delivers, which few commands need."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal

import msgspec
from msgspec import Struct

from connector.core.errors import Problem
from connector.store import Store
from connector.store.model import StoredMapping


def problems_of(stored: StoredMapping | None) -> tuple[Problem, ...]:
    """What is wrong with the route's mapping file, as it was last looked at."""
    return msgspec.json.decode(stored.mistake, type=tuple[Problem, ...]) if stored and stored.mistake else ()


def dumped(problems: tuple[Problem, ...]) -> str:
    """What ``problems_of`` reads."""
    return msgspec.json.encode(problems).decode() if problems else ""


class Held(Struct, frozen=True):
    """What a held version, or held records, would change: counts only, nothing of people.

    Args:
        kind: an edited mapping, or the records of the first sync of a new route or of the first backfill into one.
        text: ``212 cells in 198 rows would change``.
    """

    kind: Literal["edit", "first"]
    text: str
    cells: int = 0
    rows: int = 0

    def dumped(self) -> str:
        """What ``held_of`` reads."""
        return msgspec.json.encode(self).decode()


def held_of(stored: StoredMapping | None) -> Held | None:
    """What waits for `connector apply` in a route; None: nothing."""
    text = (stored.plan or stored.first) if stored else ""
    return msgspec.json.decode(text, type=Held) if text not in ("", "{}") else None


_NEWS_FOR_DAYS = 7


def note_columns(store: Store, route: str, before: Iterable[str], after: Iterable[str], now: datetime) -> None:
    """Keep which columns an edited mapping names no more: they stay in the table, with their last values."""
    named, kept = set(after), _columns_gone(store, route)
    gone = {**kept, **dict.fromkeys(before, now)}
    found = {name: at for name, at in gone.items() if name not in named}
    if found != kept:
        store.remember("connector", f"columns gone {route}", msgspec.json.encode(found).decode())


def no_longer_kept(store: Store, route: str, now: datetime) -> tuple[str, ...]:
    """The columns of *route* that its mapping ceased to name in the last week."""
    since = now - timedelta(days=_NEWS_FOR_DAYS)
    return tuple(name for name, at in _columns_gone(store, route).items() if at >= since)


def _columns_gone(store: Store, route: str) -> dict[str, datetime]:
    return msgspec.json.decode(store.recall("connector", f"columns gone {route}") or "{}", type=dict[str, datetime])


class Undo(Struct, frozen=True):
    """One undo, as the store keeps it while it is on its way and until ``connector resume``.

    Args:
        delivery, since: what is put back: one delivery, or all since then; *until*: when it was asked for.
        id: what its own rows share in the delivery log.
        done: everything that can be put back is.
    """

    until: datetime
    id: str
    since: datetime | None = None
    delivery: str = ""
    done: bool = False

    def dumped(self) -> str:
        """What ``undo_of`` reads."""
        return msgspec.json.encode(self).decode()


def undo_of(stored: StoredMapping | None) -> Undo | None:
    """The undo that a route is at, or that it was stopped by."""
    return msgspec.json.decode(stored.undo, type=Undo) if stored and stored.undo else None
