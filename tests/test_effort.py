from __future__ import annotations

import threading
import time

import pytest

from connector.core.errors import Stopping
from connector.effort import together, used_seconds


def _work() -> None:
    while time.thread_time() < 0.02:
        pass


def test_what_others_did_for_a_thread_counts_as_its_own_and_as_nobody_elses() -> None:
    before = used_seconds()
    together(_work, threads=3, name="far", look=lambda: None)
    assert used_seconds() - before >= 0.06
    elsewhere: list[float] = []
    thread = threading.Thread(target=lambda: elsewhere.append(used_seconds() - time.thread_time()))
    thread.start()
    thread.join()
    assert elsewhere[0] <= 0.0


def test_they_run_at_the_same_time() -> None:
    meeting = threading.Barrier(4, timeout=30)
    names: list[str] = []

    def meet() -> None:
        meeting.wait()
        names.append(threading.current_thread().name)

    together(meet, threads=4, name="far", look=lambda: None)
    assert sorted(names) == ["far-0", "far-1", "far-2", "far-3"]


def test_a_stop_leaves_those_that_hang_to_themselves() -> None:
    released = threading.Event()

    def hang() -> None:
        released.wait()

    def stop() -> None:
        raise Stopping("the program stops")

    with pytest.raises(Stopping):
        together(hang, threads=2, name="far", look=stop)
    released.set()
