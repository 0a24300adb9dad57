"""Mapping files that are edited while the program runs: read when they rest, applied, held, or reported."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from connector import config as configuration
from connector import logs
from connector.assembly import build_sink, utc_now
from connector.backfill import notes
from connector.changes.notes import Held, dumped
from connector.changes.plan import Plan, nouns, plan_of
from connector.changes.versions import compiled, confirms, plan_for
from connector.core.errors import ConfigError, NeedsAction, Problem, StoreUnavailable, TryLater
from connector.core.quoting import without_secrets
from connector.delivery import Route
from connector.phrases import many
from connector.settings import Config, RouteConfig
from connector.store import Store

_LOOK_SECONDS = 0.5
_AGAIN_SECONDS = 30.0  # after the destination could not be read

_log = logs.get("changes")


class Watch:
    """Compares each route's mapping file with the version that runs.

    A file is read when it has not changed between two looks: an editor may write it in parts.

    Args:
        is_shared: other machines have files of their own, so a file that differs changes nothing by itself.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        *,
        stop: threading.Event,
        now: Callable[[], datetime] = utc_now,
        is_shared: bool = False,
    ) -> None:
        self._config, self._store, self._stop, self._now = config, store, stop, now
        self._is_shared = is_shared
        self._texts: dict[str, str] = {}
        self._sink_of = {name: sink for sink in config.sinks for name in sink.files}
        self._files = {name: file for sink in config.sinks for name, file in sink.files.items()}
        self._met: dict[str, object] = {}
        self._read: dict[str, object] = {}
        self._held_after: dict[str, float] = {}

    def run(self) -> None:
        """A thread's life."""
        while not self._stop.wait(_LOOK_SECONDS):
            with suppress(StoreUnavailable):  # the next look does it
                self.look()
                self.look_at_held()

    def begin(self) -> None:
        """At the program's start: files that need no plan, which takes seconds."""
        self.look(at_once=True, only=[name for name, sink in self._sink_of.items() if not confirms(sink)])

    def look(self, *, at_once: bool = False, only: Collection[str] | None = None) -> None:
        """Look at every file (or those of the routes *only*); *at_once*: read those that were just changed, too."""
        for name in self._files if only is None else only:
            file = self._files[name]
            state = _state(file)
            rests = at_once or self._met.get(name, state) == state
            self._met[name] = state
            if rests and self._read.get(name) != (state,) and self._held_after.get(name, 0.0) <= time.monotonic():
                try:
                    self._consider(name)
                except (NeedsAction, TryLater) as error:
                    self._wait(name, error)
                else:
                    self._read[name] = (state,)

    def _wait(self, name: str, error: NeedsAction | TryLater) -> None:
        """The destination could not be compared with; what waits for that is looked at again later."""
        self._held_after[name] = time.monotonic() + _AGAIN_SECONDS
        reason = without_secrets(error.reason, self._config.secrets)
        logs.warn(_log, "mapping.not_compared", route=name, reason=reason)

    def note(self) -> str:
        """Which routes' files on this machine are not what runs, as a sentence; or ""."""
        stored = self._store.mappings() if self._texts else {}
        runs = {name: kept.wanted or kept.text for name, kept in stored.items()}
        names = ", ".join(name for name, text in self._texts.items() if text != runs.get(name, text))
        return f"Its mapping files differ from what runs: {names}" if names else ""

    def _consider(self, name: str) -> None:
        try:
            found = configuration.read_route(self._config, name)
        except ConfigError as error:
            if self._is_shared:
                self._texts[name] = ""
            else:
                self._report(name, error.problems)
            return
        if self._is_shared:
            self._texts[name] = found.text
            return
        self._report(name, ())
        stored = self._store.mapping_of(name)
        if found.text == (stored.wanted or stored.text):
            if stored.held:
                self._store.drop_held_mapping(name)
        elif found.text != stored.held and not stored.undo:
            self._change(found)

    def _report(self, name: str, problems: tuple[Problem, ...]) -> None:
        """Keep and log what is wrong with the file; once, though it is looked at again after a restart."""
        mistake = dumped(problems)
        if mistake == self._store.mapping_of(name).mistake:
            return
        self._store.note_mistake(name, mistake)
        for problem in problems:
            logs.warn(_log, "mapping.mistake", route=name, place=problem.place, text=problem.text)
        if not problems:
            logs.say(_log, "mapping.ok", route=name)

    def _change(self, found: RouteConfig) -> None:
        """A version that only adds is applied at once; so is each in a destination that is nobody else's."""
        name, sink = found.name, self._sink_of[found.name]
        stored = self._store.mapping_of(name)
        if not stored.text or not confirms(sink):
            self._store.want_mapping(name, found.text, keep_held=True)
            return
        plan = plan_for(self._config, self._store, found, now=self._now(), stop=self._stop)
        held = Held("edit", plan.sentence.rstrip("."), plan.cells, plan.rows_changed + plan.rows_leaving)
        if plan.adds_only:
            over = self._cells_in_new_columns(found, plan)
            if not over:
                self._store.want_mapping(name, found.text, keep_held=True)
                return
            held = Held("edit", f"{many(over, 'cell')} that people filled would change", over)
        if self._store.hold_mapping(name, found.text, held.dumped()):
            logs.say(_log, "mapping.held", route=name, cells=held.cells, rows=held.rows)

    def _cells_in_new_columns(self, found: RouteConfig, plan: Plan) -> int:
        """How many cells would change that are there already in columns which only are new to the mapping.

        Raises:
            NeedsAction, TryLater: the destination can't be read.
        """
        new = {*plan.columns_new, *(name for _, name in plan.columns_renamed)}
        if not new or not plan.rows_extended:
            return 0
        sink = build_sink(self._sink_of[found.name], self._store, self._stop)
        try:
            live = plan_for(self._config, self._store, found, now=self._now(), live=sink, stop=self._stop)
        finally:
            sink.close()
        return sum(column.filled for column in live.columns if column.name in new)

    # ------------------------------------------------ the first sync, the first backfill

    def look_at_held(self) -> None:
        """Records that are held are released where the destination has no rows of theirs that would change."""
        for name, stored in self._store.mappings().items():
            if stored.first == "{}" and name in self._sink_of and not self._is_read(name):
                self.decide_held(name)

    def _is_read(self, name: str) -> bool:
        """Whether more records may come: a platform's API is read at the moment, or webhooks are projected."""
        if self._held_after.get(name, 0.0) > time.monotonic() or self._store.status().waiting:
            return True
        for source in self._config.sources:
            found = notes.standing(self._store, source.name)
            if found.reading_since is not None and not found.last_try_failed:
                return self._now() - found.reading_since < notes.CONTINUES_WITHIN
        return False

    def decide_held(self, name: str) -> None:
        """Look at the destination: what the held records of the route *name* would change there waits for a person."""
        stored = self._store.mapping_of(name)
        found = compiled(self._config, name, stored.wanted or stored.text)
        if found is None or not self._store.held_records(name, limit=1):
            return
        sink = build_sink(self._sink_of[name], self._store, self._stop)
        route = Route(name, sink, found.target, found.mapping.evaluate, self._config.secrets)
        try:
            plan = plan_of(route, self._store, now=self._now(), live=sink, held_only=True, stop=self._stop)
        except (NeedsAction, TryLater) as error:
            self._wait(name, error)
            return
        finally:
            sink.close()
        if plan.adds_only:
            logs.say(_log, "held.released", route=name, records=self._store.release_first(name))
            return
        text = (
            f"{many(plan.cells, 'cell')} in {nouns(plan.rows_changed, plan.noun)} that are there already would change"
        )
        self._store.hold_first(name, Held("first", text, plan.cells, plan.rows_changed).dumped())
        logs.say(_log, "held.waits", route=name, cells=plan.cells, rows=plan.rows_changed)


def _state(file: str) -> object:
    """What changes when a file is written; None where there is none."""
    try:
        found = os.stat(Path(os.path.abspath(file)))
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
