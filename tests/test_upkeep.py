"""What is done to the store now and then."""

from __future__ import annotations

import threading
from pathlib import Path

from connector.app.upkeep import Upkeep
from tests.doubles import World, event


def test_rows_that_depend_on_the_day_are_made_anew_once_a_day(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.say(event(1), event(2))
    world.deliver()
    route = "table/all"
    upkeep = Upkeep(world.store, 90, 30, threading.Event(), lambda: [route], world.clock)
    upkeep.renew_dated_rows()
    assert world.pending() == 2
    world.deliver()
    assert [(report.unchanged, report.calls) for report in world.reports] == [(0, 1), (2, 0)]
    upkeep.renew_dated_rows()
    assert world.pending() == 0
    world.clock.seconds += 86_400
    Upkeep(world.store, 90, 30, threading.Event(), lambda: [route], world.clock).renew_dated_rows()
    assert world.pending() == 2
    world.deliver()
    world.clock.seconds += 86_400
    Upkeep(world.store, 90, 30, threading.Event(), lambda: [], world.clock).renew_dated_rows()
    assert world.pending() == 0
    world.close()
