from __future__ import annotations

import threading
import time

import pytest

from connector.rest import rest


class Naps(threading.Event):
    """A stop event that notes how long it is waited for, and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout or 0.0)
        return self.is_set()


@pytest.mark.parametrize(("used", "rested"), [(0.0, 0.0), (0.05, 0.15), (9.0, 0.5)])
def test_while_requests_come_in_it_rests_three_times_as_long_as_it_worked(used: float, rested: float) -> None:
    stop = Naps()
    assert not rest(time.monotonic(), used, stop)
    assert stop.seconds == [pytest.approx(rested)]


@pytest.mark.parametrize("ago", [0.2, float("inf")])
def test_when_nothing_comes_in_it_does_not_rest(ago: float) -> None:
    stop = Naps()
    assert not rest(time.monotonic() - ago, 1.0, stop)
    assert stop.seconds == []


@pytest.mark.parametrize("ago", [0.0, 1.0])
def test_it_reports_that_the_program_stops(ago: float) -> None:
    stop = threading.Event()
    stop.set()
    assert rest(time.monotonic() - ago, 1.0, stop)
