"""Makes the program, as soon as its database lets it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from connector import logs
from connector.app.program import Program
from connector.core.errors import StoreUnavailable
from connector.settings import Config

_EVERY_SECONDS: Final = 1.0
_LAST_TRY_SECONDS: Final = 3.0

_log = logs.get("app")


class Awaiting:
    """In the place of a program whose database is away: nothing is received, projected or delivered meanwhile.

    Args:
        ended: called, in a thread, when there is something to continue with: ``program`` or ``refusal``.

    Attributes:
        words: what is wrong with the database, in words that name nothing.
        refusal: what a person must act on: it does not pass by itself.
    """

    def __init__(self, config: Config, error: StoreUnavailable, ended: Callable[[], None]) -> None:
        self.config, self._ended = config, ended
        self.words = error.short
        self.program: Program | None = None
        self.refusal: StoreUnavailable | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="start", daemon=True)
        self._reason = str(error)
        logs.warn(_log, "store.fails", reason=self._reason)

    def start(self) -> None:
        """Begin to try."""
        self._thread.start()

    def stop_soon(self) -> None:
        """A stop was asked for."""
        self._stop.set()

    def close(self) -> None:
        """Wait until the last try has ended; not for long, where a server does not even refuse us."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_LAST_TRY_SECONDS)

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_SECONDS):
            try:
                self.program = Program(self.config)
            except StoreUnavailable as error:
                if error.is_temporary:
                    self._note(error)
                    continue
                self.refusal = error
            else:
                logs.say(_log, "store.ok")
            self._ended()
            return

    def _note(self, error: StoreUnavailable) -> None:
        self.words = error.short
        if str(error) != self._reason:
            self._reason = str(error)
            logs.warn(_log, "store.fails", reason=self._reason)
