"""The processor time that a thread has cost, with that of the threads that worked for it. Python runs one thread at a
time, so whoever works behind the answers gives way for all of it (``Store.give_way``)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class _Account(threading.local):
    of_others = 0.0


_mine = _Account()


def used_seconds() -> float:
    """Of this thread and those that ``together`` has run for it, so far."""
    return time.thread_time() + _mine.of_others


def together(run: Callable[[], None], *, threads: int, name: str, look: Callable[[], None]) -> None:
    """Call *run* in so many threads at the same time, until all have come back. It must not raise.

    Args:
        name: the threads' names begin with it.
        look: called every second; what it raises ends the waiting, and the threads are left to themselves. They don't
            hold up the end of the program, however long they hang.
    """
    used: list[float] = []

    def counted() -> None:
        run()
        used.append(time.thread_time())

    started = [threading.Thread(target=counted, name=f"{name}-{place}", daemon=True) for place in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join(1.0)
        while thread.is_alive():
            look()
            thread.join(1.0)
    _mine.of_others += sum(used)
