"""Mapping files that are edited while the program runs: read when they rest, applied, held, or reported."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

from connector import config as configuration
from connector import logs
from connector.changes.mistakes import dumped
from connector.core.errors import ConfigError, Problem, StoreUnavailable
from connector.settings import Config, RouteConfig
from connector.store import Store

_LOOK_SECONDS = 0.5

_log = logs.get("changes")


class Watch:
    """Compares each route's mapping file with the version that runs.

    A file is read when it has not changed between two looks: an editor may write it in parts.
    """

    def __init__(self, config: Config, store: Store, *, stop: threading.Event) -> None:
        self._config, self._store, self._stop = config, store, stop
        self._files = {name: file for sink in config.sinks for name, file in sink.files.items()}
        self._met: dict[str, object] = {}
        self._read: dict[str, object] = {}

    def run(self) -> None:
        """A thread's life."""
        while not self._stop.wait(_LOOK_SECONDS):
            with suppress(StoreUnavailable):  # the next look does it
                self.look()

    def look(self, *, at_once: bool = False) -> None:
        """Look at every file; *at_once*: read those that were just changed, too."""
        for name, file in self._files.items():
            state = _state(file)
            rests = at_once or self._met.get(name, state) == state
            self._met[name] = state
            if rests and self._read.get(name) != (state,):
                self._consider(name)
                self._read[name] = (state,)

    def _consider(self, name: str) -> None:
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
            logs.warn(_log, "mapping.mistake", route=name, place=str(problem).partition(": ")[0], text=problem.text)
        if not problems:
            logs.say(_log, "mapping.ok", route=name)

    def _change(self, found: RouteConfig) -> None:
        self._store.want_mapping(found.name, found.text)


def _state(file: str) -> object:
    """What changes when a file is written; None where there is none."""
    try:
        found = os.stat(Path(os.path.abspath(file)))
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
