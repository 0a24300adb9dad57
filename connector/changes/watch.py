"""Mapping files that are edited while the program runs: read when they rest, applied, held, or reported."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from connector import config as configuration
from connector import logs
from connector.assembly import utc_now
from connector.changes.notes import Held, dumped
from connector.changes.proposal import plan_for
from connector.changes.versions import confirms
from connector.core.errors import ConfigError, Problem, StoreUnavailable
from connector.settings import Config, RouteConfig
from connector.store import Store

_LOOK_SECONDS = 0.5

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

    def run(self) -> None:
        """A thread's life."""
        while not self._stop.wait(_LOOK_SECONDS):
            with suppress(StoreUnavailable):  # the next look does it
                self.look()

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
            if rests and self._read.get(name) != (state,):
                self._consider(name)
                self._read[name] = (state,)

    def note(self) -> str:
        """Which routes' files on this machine are not what runs, as a sentence; or ""."""
        stored = self._store.mappings() if self._texts else {}
        runs = {name: kept.wanted or kept.text for name, kept in stored.items()}
        names = ", ".join(name for name, text in self._texts.items() if text != runs.get(name, text))
        return f"Its mapping files differ from what runs: {names}" if names else ""

    def _keep_text(self, name: str) -> None:
        try:
            self._texts[name] = configuration.read_route(self._config, name).text
        except ConfigError:
            self._texts[name] = ""

    def _consider(self, name: str) -> None:
        if self._is_shared:
            self._keep_text(name)
            return
        try:
            found = configuration.read_route(self._config, name)
        except ConfigError as error:
            self._report(name, error.problems)
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
            self._store.want_mapping(name, found.text)
            return
        plan = plan_for(self._config, self._store, found, now=self._now(), stop=self._stop)
        if plan.adds_only:
            self._store.want_mapping(name, found.text)
            return
        held = Held("edit", plan.sentence.rstrip("."), plan.cells, plan.rows_changed + plan.rows_leaving)
        if self._store.hold_mapping(name, found.text, held.dumped()):
            logs.say(_log, "mapping.held", route=name, cells=held.cells, rows=held.rows)


def _state(file: str) -> object:
    """What changes when a file is written; None where there is none."""
    try:
        found = os.stat(Path(os.path.abspath(file)))
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
