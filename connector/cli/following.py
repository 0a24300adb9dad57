"""Waits until the running server has delivered what a command has put into the store."""

from __future__ import annotations

import time
from collections.abc import Collection

from connector.store.store import Store

_FOLLOWED_SECONDS = 15.0
_LOOK_EVERY_SECONDS = 0.05


def wait_until_delivered(store: Store, wanted: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """Wait until each record of *wanted* is delivered to its route: written, left out or refused.

    Args:
        wanted: (route, record id).

    Returns:
        Those that are pending still: a route that waits for a person, or met a bug, is not waited for.
    """
    ends = time.monotonic() + _FOLLOWED_SECONDS
    while store.status().waiting and time.monotonic() < ends:
        time.sleep(_LOOK_EVERY_SECONDS)
    pending = set(wanted)
    while True:
        began = time.monotonic()
        pending = {pair for pair in pending if pair[0] in {found.route for found in store.pending_of(pair[1])}}
        hopeful = {route for route, _ in pending if store.route_state(route).kind in ("ok", "waiting")}
        if not hopeful or time.monotonic() > ends:
            return pending
        time.sleep(max(_LOOK_EVERY_SECONDS, time.monotonic() - began))
