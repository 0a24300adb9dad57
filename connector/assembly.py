"""Config -> the sources and sinks that it names, for the program and for single commands. Starts no thread."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from connector.core.errors import Stopping
from connector.core.row import Cell, dump_cells
from connector.core.sink import Sink
from connector.core.source import Source
from connector.dead_letters import DeadLetters, LetterFile, LetterTable
from connector.file_lock import FileLock
from connector.settings import Config, RouteConfig, SinkConfig
from connector.store import Store, is_postgres
from connector.store.url import path_of
from connector.store.worker import LeaseLock, Lock

if TYPE_CHECKING:
    from connector.core.mapping import Evaluation
    from connector.core.record import AffiliateRecord


def utc_now() -> datetime:
    """The clock of the whole program."""
    return datetime.now(UTC)


def build_sources(config: Config) -> dict[str, Source]:
    """The configured sources by name."""
    made: dict[str, Source] = {}
    for found in config.sources:
        make: Callable[..., Source] = found.source_class
        made[found.name] = make(found.name, found.options)
    return made


def build_sink(
    found: SinkConfig,
    store: Store | None,
    stop: threading.Event,
    measured: Callable[[str, str, float], None] | None = None,
) -> Sink:
    """One configured sink; no network yet."""
    make: Callable[..., Sink] = found.sink_class
    return make(found.name, found.options, LiveHost(found.name, store, stop, measured))


class LiveHost:
    """What the program lends to one sink (``Host`` in core/sink.py).

    Args:
        sink: its name in the configuration.
        store: keeps its notes; None: they are kept in memory, for commands that look but don't touch.
        stop: ends naps.
        measured: takes what the sink measures: its name, what, how much.
    """

    def __init__(
        self,
        sink: str,
        store: Store | None,
        stop: threading.Event,
        measured: Callable[[str, str, float], None] | None = None,
    ) -> None:
        self._sink, self._store, self._stop, self._measured = sink, store, stop, measured
        self._notes: dict[str, str] = {}

    def now(self) -> datetime:
        return utc_now()

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        if self._stop.wait(max(0.0, seconds)):
            raise Stopping("the program stops")

    def recall(self, key: str) -> str | None:
        return self._notes.get(key) if self._store is None else self._store.recall(self._sink, key)

    def remember(self, key: str, value: str | None) -> None:
        if self._store is not None:
            self._store.remember(self._sink, key, value)
        elif value is None:
            self._notes.pop(key, None)
        else:
            self._notes[key] = value

    def overwriting(self, route: str, typed: Mapping[str, Mapping[str, Cell]]) -> None:
        if self._store is not None:
            self._store.note_typed(route, {key: dump_cells(cells) for key, cells in typed.items()})

    def metric(self, name: str, value: float) -> None:
        if self._measured is not None:
            self._measured(self._sink, name, value)


def dead_letters(config: Config, store: Callable[[], AbstractContextManager[Store]]) -> DeadLetters:
    """The file of dead letters; in the store where several machines share it, and then in the file that the
    configuration names as well.

    Args:
        store: opens the store, for one call.
    """
    named = "path" in config.dead_letters.model_fields_set
    if not is_postgres(config.store.url):
        return LetterFile(config.dead_letters.path, now=utc_now)
    return LetterTable(store, now=utc_now, copy=LetterFile(config.dead_letters.path, now=utc_now) if named else None)


def reading_lock(config: Config, store: Store, source: str) -> Lock:
    """What a process holds while it reads that source's API."""
    if is_postgres(config.store.url):
        return LeaseLock(store, f"reading {source}")
    file = path_of(config.store.url)
    return FileLock(file.with_name(f"{file.name}.{source}.lock"))


def is_here(found: SinkConfig) -> bool:
    """Whether this machine may write that sink: a file belongs to one machine."""
    only_on = getattr(found.options, "only_on", None)
    return only_on is None or only_on == socket.gethostname()


# ---------------------------------------------------------------- the affiliates of `connector sample`

_SAMPLE_ADDRESS = ".sample@example.com"
"""How the e-mail address of every sample ends; nobody has one at example.com."""


def evaluation(sink: SinkConfig, route: RouteConfig, store: Store | None) -> Callable[[AffiliateRecord], Evaluation]:
    """The mapping of *route*, which leaves samples out where they would be shown to other people."""
    from connector.core import mapping  # there already, where a mapping was read

    def evaluate(record: AffiliateRecord) -> Evaluation:
        is_sample = (record.email or "").endswith(_SAMPLE_ADDRESS)
        if is_sample and not gets_samples(sink, route, store):
            return mapping.Evaluation(skipped="samples are written to files only (connector sample --to)")
        return route.mapping.evaluate(record)

    return evaluate


def gets_samples(sink: SinkConfig, route: RouteConfig, store: Store | None) -> bool:
    """Whether samples are written there: into files of this machine, and where the last ``sample --to`` said."""
    return getattr(sink.sink_class, "local", False) or (
        store is not None and store.recall("connector", f"samples {route.name}") is not None
    )


def send_samples_to(store: Store, routes: Iterable[RouteConfig], chosen: RouteConfig | None) -> None:
    """Of the routes that people share, only *chosen* gets samples from now on."""
    for route in routes:
        wanted = "yes" if route == chosen else None
        if store.recall("connector", f"samples {route.name}") != wanted:
            store.remember("connector", f"samples {route.name}", wanted)
