"""How background threads keep out of the way of requests: Python runs one thread at a time."""

from __future__ import annotations

import threading
import time

_BUSY_SECONDS = 0.1  # since the last commit of requests
_RESTS_PER_STEP = 3.0
_LONGEST_SECONDS = 0.5


def rest(committed_at: float, used_seconds: float, stop: threading.Event) -> bool:
    """Called between two steps: while requests come in, rest three times as long as the last step worked.

    Args:
        committed_at: when requests were last committed, in seconds of ``time.monotonic``.
        used_seconds: the processor time of the step (``time.thread_time``).

    Returns:
        Whether the program stops.
    """
    if time.monotonic() - committed_at > _BUSY_SECONDS:
        return stop.is_set()
    return stop.wait(min(_RESTS_PER_STEP * used_seconds, _LONGEST_SECONDS))
