"""How background threads keep out of the way of requests: Python runs one thread at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_BUSY_SECONDS = 0.1  # since the last commit of requests
_RESTS_PER_STEP = 6.0
_LEAST_SECONDS = 0.15  # from one step to the next: a batch costs more than what is in it
_LONGEST_SECONDS = 0.5


class Rest:
    """The rests of one thread.

    Args:
        committed_at: when requests were last committed, in seconds of ``time.monotonic``.
        stop: ends every rest.
    """

    def __init__(self, committed_at: Callable[[], float], stop: threading.Event) -> None:
        self._committed_at, self._stop = committed_at, stop
        self._began = self._used = 0.0

    def begin(self) -> None:
        """A step begins."""
        self._began, self._used = time.monotonic(), time.thread_time()

    def take(self) -> bool:
        """A step ends, the next one begins: while requests come in, rest six times as long as it worked (in
        processor time), and so long that it does not begin too soon.

        Returns:
            Whether the program stops.
        """
        now = time.monotonic()
        if now - self._committed_at() <= _BUSY_SECONDS:
            used = time.thread_time() - self._used
            rest = max(_RESTS_PER_STEP * used, _LEAST_SECONDS - (now - self._began))
            self._stop.wait(min(max(rest, 0.0), _LONGEST_SECONDS))
        self.begin()
        return self._stop.is_set()
