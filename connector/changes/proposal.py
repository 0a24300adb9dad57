"""An edited mapping file as a proposal: compared with the version that runs."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Any, cast

from connector.changes.notes import held_of
from connector.changes.plan import Plan, plan_of
from connector.changes.versions import compiled
from connector.core.sink import Sink
from connector.delivery import Route
from connector.settings import Config, RouteConfig
from connector.store import Store


def plan_for(
    config: Config,
    store: Store,
    found: RouteConfig,
    *,
    now: datetime,
    live: Sink | None = None,
    stop: threading.Event | None = None,
) -> Plan:
    """What the version *found* would do in place of the one that runs.

    Where it runs already, and after an undo: what is pending, or would be written by ``resume``; with *live*, and
    records that are held: what they would change.

    Args:
        live, stop: see ``plan_of``.
    """
    stored = store.mapping_of(found.name)
    running = compiled(config, found.name, stored.text)
    same = running is None or running.text == found.text
    return plan_of(
        _planned(config, found),
        store,
        now=now,
        running=None if running is None else _planned(config, running),
        with_pending=same or bool(stored.undo),
        live=live,
        held_only=same and live is not None and held_of(stored) is not None,
        stop=stop,
    )


def _planned(config: Config, found: RouteConfig) -> Route:
    """*found* for a plan: of the sink it needs no more than its class."""
    sink = next(sink for sink in config.sinks if found.name in sink.files)
    return Route(found.name, cast("Any", sink.sink_class), found.target, found.mapping.evaluate, config.secrets)
