"""One sink with the threads of its routes: a duty."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from connector import logs
from connector.app.duties import Duty, Run
from connector.core.sink import Sink
from connector.delivery import RouteWorker
from connector.faults import describe
from connector.settings import SinkConfig
from connector.store.processes import lease_of

_log = logs.get("app")
_CALL_SECONDS: Final = 60.0  # of a sink that has no setting for it

Build = Callable[[SinkConfig, threading.Event], tuple[Sink, Sequence[RouteWorker]]]


class SinkDuty(Duty):
    """Delivers one sink.

    Args:
        build: makes the sink and a worker for each route; the event ends their naps.
        console: the threads that show the sink's console, where it has one.
    """

    def __init__(self, found: SinkConfig, build: Build, console: Callable[[SinkDuty], Iterable[Run]]) -> None:
        super().__init__(
            lease_of(f"{found.name}/"),
            self._new_runs,
            self.ring,
            routes=tuple(found.files),
            weight=0 if getattr(found.sink_class, "local", False) else 1,  # the file is here, and nowhere else
            late_call_seconds=getattr(found.options, "timeout_seconds", _CALL_SECONDS),
        )
        self.found, self._build, self._console = found, build, console
        self.sink, self.workers = build(found, self.stop)
        self._is_fresh = True

    def _new_runs(self) -> list[Run]:
        """Another process may have written since the last time: what the sink knows of its table is forgotten."""
        if not self._is_fresh:
            self.close()
            self.sink, self.workers = self._build(self.found, self.stop)
        self._is_fresh = False
        return [*((f"route {worker.route.name}", worker.run) for worker in self.workers), *self._console(self)]

    def ring(self) -> None:
        """Wake its routes: something is pending, or they shall end."""
        for worker in self.workers:
            worker.bell.set()

    def close(self) -> None:
        """Let go of what the sink holds; its threads have ended."""
        try:
            self.sink.close()
        except Exception as error:
            logs.warn(_log, "sink.close_failed", sink=self.found.name, **describe(error))
