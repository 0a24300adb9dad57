"""The program's threads: started under supervision, started again when a bug ended them, joined at a stop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from connector import logs
from connector.core.errors import Stopping
from connector.faults import describe

_log = logs.get("app")
_DEATH_SHOWN_SECONDS: Final = 90.0
_LONGEST_RESTART_WAIT_SECONDS: Final = 60.0


class Threads:
    """Those that were started together and stop together.

    Args:
        stop: ends them; nothing is started any more once it is set.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self.started: list[threading.Thread] = []
        self._died_at: dict[str, float] = {}

    def start(self, name: str, run: Callable[[], None]) -> None:
        """Run *run* in a thread; again after growing waits when a bug ended it, which is a reason not to be ready."""

        def supervised() -> None:
            wait = 1.0
            while not self._stop.is_set():
                try:
                    run()
                except Stopping:
                    return
                except BaseException as error:  # also a plug-in's sys.exit()
                    # Every room catches its own errors; if one does not, readiness must say so.
                    fault = describe(error)
                    logs.say(_log, "thread.died", level=logging.ERROR, thread=name, again_in_seconds=wait, **fault)
                else:
                    return
                self._died_at[name.replace(" ", ":")] = time.monotonic()
                self._stop.wait(wait)
                wait = min(2 * wait, _LONGEST_RESTART_WAIT_SECONDS)

        if not self._stop.is_set():
            thread = threading.Thread(target=supervised, name=name, daemon=True)
            self.started.append(thread)
            thread.start()

    def died(self) -> list[str]:
        """The names, as readiness shows them, of those that a bug ended a short time ago."""
        lately = time.monotonic() - _DEATH_SHOWN_SECONDS
        return [name for name, at in list(self._died_at.items()) if at > lately]

    def alive(self) -> list[str]:
        """The names of those that have not ended, but for the thread that asks."""
        others = [thread for thread in self.started if thread is not threading.current_thread()]
        return [thread.name for thread in others if thread.is_alive()]

    def join(self, ends: float | None = None, *, kind: str = "") -> list[str]:
        """Wait until all (whose name begins with *kind*) have ended, at most until *ends* of ``time.monotonic``.

        Returns:
            The names of those that have not.
        """
        asked = [thread for thread in self.started if thread.name.startswith(kind)]
        for thread in asked:
            thread.join(None if ends is None else max(0.0, ends - time.monotonic()))
        return [thread.name for thread in asked if thread.is_alive()]
