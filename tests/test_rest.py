from __future__ import annotations

import threading
import time

import pytest

from connector.rest import Rest


class Naps(threading.Event):
    """A stop event that notes how long it is waited for, and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout or 0.0)
        return self.is_set()


def work(seconds: float) -> None:
    ends = time.thread_time() + seconds
    while time.thread_time() < ends:
        pass


@pytest.mark.parametrize(("worked", "least", "most"), [(0.0, 0.0, 0.15), (0.05, 0.3, 0.5), (0.1, 0.5, 0.5)])
def test_while_requests_come_in_it_rests_six_times_as_long_as_it_worked(
    worked: float, least: float, most: float
) -> None:
    stop = Naps()
    rest = Rest(time.monotonic, stop)
    rest.begin()
    work(worked)
    assert not rest.take()
    assert len(stop.seconds) == 1
    assert least <= stop.seconds[0] <= most


def test_a_step_that_began_long_ago_needs_no_rest_but_for_its_work() -> None:
    stop = Naps()
    rest = Rest(time.monotonic, stop)
    rest.begin()
    time.sleep(0.3)  # as a call to a destination
    rest.take()
    assert stop.seconds[0] < 0.2


@pytest.mark.parametrize("ago", [0.2, float("inf")])
def test_when_nothing_comes_in_it_does_not_rest(ago: float) -> None:
    stop = Naps()
    rest = Rest(lambda: time.monotonic() - ago, stop)
    rest.begin()
    assert not rest.take()
    assert stop.seconds == []


@pytest.mark.parametrize("ago", [0.0, 1.0])
def test_it_reports_that_the_program_stops(ago: float) -> None:
    stop = threading.Event()
    stop.set()
    rest = Rest(lambda: time.monotonic() - ago, stop)
    rest.begin()
    assert rest.take()
