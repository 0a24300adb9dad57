"""Which version of its mapping each route runs: the one in the store, never a file with mistakes.

The thread that delivers a route asks before each batch, and adopts a new version itself: no record is ever taken for
one version and settled for another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, cast

from msgspec.structs import replace

from connector import config as configuration
from connector import logs
from connector.assembly import evaluation
from connector.changes.notes import held_of, note_columns, problems_of, undo_of
from connector.changes.plan import Plan, plan_of
from connector.changes.undo import put_back
from connector.core.errors import ConfigError, NeedsAction, TryLater
from connector.core.mapping import Evaluation
from connector.core.quoting import without_secrets
from connector.core.record import AffiliateRecord
from connector.core.sink import Sink, Target, TargetOptions
from connector.delivery import Route, RouteWorker
from connector.settings import Config, RouteConfig, SinkConfig
from connector.store import Store
from connector.store.model import RouteState, StoredMapping

_log = logs.get("changes")

_UNDO_AGAIN_SECONDS = 10.0
_NO_VERSION = "no version of its mapping is known that can be used"


def confirms(sink: SinkConfig) -> bool:
    """Whether what changes or removes cells that are there waits for a person."""
    return (sink.options.apply or ("automatic" if getattr(sink.sink_class, "local", False) else "confirm")) == "confirm"


def compiled(config: Config, route: str, text: str) -> RouteConfig | None:
    """A version that is kept in the store; None: there is none, or it can't be used with config.toml as it is now."""
    try:
        return configuration.compile_route(config, route, text) if text else None
    except ConfigError:
        return None


def with_last_good(config: Config, store: Store) -> Config:
    """*config* with the last good version of each route whose mapping file has mistakes, where there is one."""
    stored = store.mappings() if config.mistaken else {}
    sinks = []
    for sink in config.sinks:
        routes = {route.name: route for route in sink.routes}
        for name in sink.files.keys() & config.mistaken.keys() & stored.keys():
            if (good := compiled(config, name, stored[name].text)) is not None:
                routes[name] = good
        sinks.append(replace(sink, routes=tuple(routes[name] for name in sink.files if name in routes)))
    return replace(config, sinks=tuple(sinks))


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


class Versions:
    """What each route of this process runs.

    Args:
        sinks: by name.
        now: aware UTC.
    """

    def __init__(self, config: Config, store: Store, sinks: Mapping[str, Sink], now: Callable[[], datetime]) -> None:
        self._config, self._store, self._sinks, self._now = config, store, sinks, now
        self._sink_of = {name: sink for sink in config.sinks for name in sink.files}
        self._used: dict[str, RouteConfig] = {}
        self._unusable: dict[str, str] = {}
        self._undo_after: dict[str, datetime] = {}
        self._waits = set(self._sink_of)
        """Routes that had no version that can be used when they were last looked at, in this run or another."""

    def start(self) -> None:
        """Before the first batch: a route that never ran begins with its file as it is."""
        known = self._store.mappings()
        for route in self._config.routes:
            if route.name in known and known[route.name].text:
                continue
            note = f"digest {route.name}"  # by which a store of format 1 knows whether a mapping was edited
            before = self._store.recall("connector", note)
            edited = before is not None and before != route.mapping.digest
            count = self._store.adopt_mapping(route.name, route.mapping.digest, route.text, enqueue=edited)
            if edited:
                logs.say(_log, "mapping.changed", route=route.name, pending=count)
            if before is not None:
                self._store.remember("connector", note, None)

    def first(self, sink: SinkConfig, name: str) -> Route:
        """What a worker of the route *name* begins with: the version that runs, or nothing yet."""
        stored = self._store.mapping_of(name)
        found = compiled(self._config, name, stored.text)
        if found is not None:
            self._used[name] = found
            return self._route(found)
        target = Target(name, (), "", TargetOptions(), sink.files[name])
        return Route(name, self._sinks[sink.name], target, _no_rows, self._config.secrets)

    def begin(self, worker: RouteWorker) -> bool:
        """Called by the thread of a route before each batch; False: the route waits."""
        name = worker.route.name
        stored = self._store.mapping_of(name)
        if stored.undo:
            self._undo(worker, stored)
            return False
        before = self._used.get(name)
        found = self._use(worker, stored.wanted)
        if found is not None:
            old = () if before is None else before.target.columns
            note_columns(
                self._store,
                name,
                [each.name for each in old],
                [each.name for each in found.target.columns],
                self._now(),
            )
            count = self._store.adopt_mapping(name, found.mapping.digest, found.text)
            logs.say(_log, "mapping.changed", route=name, pending=count)
        elif self._use(worker, stored.text) is None:
            self._wait(name, stored)
            return False
        elif stored.delivery and self._is_done(name):
            self._store.end_delivery(name)
            stored = replace(stored, delivery="")
        worker.delivery = stored.delivery
        if name in self._waits:
            self._waits.discard(name)
            if self._store.route_state(name).reason.startswith(_NO_VERSION):
                self._store.set_route_state(name, RouteState())
        return True

    def _undo(self, worker: RouteWorker, stored: StoredMapping) -> None:
        """Put back what a person asked for, in the thread of the route: nothing else writes there meanwhile."""
        name, undo = stored.route, undo_of(stored)
        if undo is None or undo.done or self._undo_after.get(name, self._now()) > self._now():
            return
        if self._use(worker, stored.text) is None:
            self._wait(name, stored)
            return
        wait, reason = _UNDO_AGAIN_SECONDS, "some rows can't be written yet"
        try:
            if not put_back(worker.route, self._store, undo):
                self._store.note_undo(name, replace(undo, done=True).dumped())
                self._store.set_route_state(name, RouteState())
                logs.say(_log, "undo.done", route=name)
                return
        except (NeedsAction, TryLater) as error:
            reason = error.reason
            wait = max(wait, (error.after or 0.0) if isinstance(error, TryLater) else 0.0)
        self._undo_after[name] = self._now() + timedelta(seconds=wait)
        reason = without_secrets(reason, self._config.secrets)
        self._store.set_route_state(name, RouteState("waiting", reason, since=self._now()))
        logs.warn(_log, "undo.waits", route=name, seconds=wait)

    def _is_done(self, name: str) -> bool:
        """Whether nothing is due now."""
        due = self._store.next_due(name)
        return due is None or due > self._now()

    def _use(self, worker: RouteWorker, text: str) -> RouteConfig | None:
        """Let *worker* deliver that version from now on; None where there is none, or it can't be used."""
        name = worker.route.name
        used = self._used.get(name)
        if not text or self._unusable.get(name) == text or (used is not None and used.text == text):
            return used if used is not None and used.text == text else None
        found = compiled(self._config, name, text)
        if found is None:
            self._unusable[name] = text
        else:
            worker.use(self._route(found))
            self._used[name] = found
        return found

    def _wait(self, name: str, stored: StoredMapping) -> None:
        problems = problems_of(stored) or self._config.mistaken.get(name, ())
        reason = f"{_NO_VERSION}: {problems[0]}" if problems else _NO_VERSION
        self._waits.add(name)
        if self._store.route_state(name).reason != reason:
            self._store.set_route_state(name, RouteState("needs_action", reason, since=self._now()))
            logs.warn(_log, "route.waits_for_mapping", route=name)

    def _route(self, found: RouteConfig) -> Route:
        sink = self._sink_of[found.name]
        evaluate = evaluation(sink, found, self._store)
        return Route(found.name, self._sinks[sink.name], found.target, evaluate, self._config.secrets)


def _no_rows(_: AffiliateRecord) -> Evaluation:
    return Evaluation(skipped=_NO_VERSION)
