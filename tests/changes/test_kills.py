"""A kill at any moment of a reload, an apply or an undo leaves each cell old or new, and the next start continues."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from connector.assembly import utc_now
from connector.changes import decisions
from connector.changes.notes import Undo, undo_of
from connector.config import load
from connector.store import Store
from tests.changes.test_reload import edit, signs_up
from tests.running import Connector, Nursery

ROUTE = "local/local_csv"
AFFILIATES = 60
KILLS = 4


@pytest.fixture
def connector(tmp_path: Path, nursery: Nursery) -> Iterator[Connector]:
    connector = Connector(tmp_path, nursery)
    text = connector.config.read_text(encoding="utf-8")
    connector.config.write_text(text + 'apply = "confirm"\n', encoding="utf-8")
    connector.start()
    for number in range(1, AFFILIATES + 1):
        signs_up(connector, number)
    connector.wait_until(
        lambda: (len(connector.rows()), connector.status().routes[0].pending), lambda seen: seen == (AFFILIATES, 0)
    )
    yield connector
    connector.kill()


def opened(connector: Connector) -> Store:
    return Store(f"sqlite:///{connector.folder / 'data' / 'connector.db'}", worker=False, now=utc_now)


def words(connector: Connector) -> set[str]:
    """What is in the column that changes."""
    return {row["Status"] for row in connector.rows().values()}


def kill_until(connector: Connector, done: Callable[[], bool], allowed: set[str]) -> None:
    """Kill and start again, some times at a random moment; then let it end."""
    chance = random.Random(1)
    for _ in range(KILLS):
        time.sleep(chance.random() * 0.8)
        connector.kill()
        assert words(connector) <= allowed
        assert len(connector.rows()) == AFFILIATES
        connector.start()
    connector.wait_until(done)


def test_kills_during_an_apply_and_an_undo(connector: Connector) -> None:
    edit(connector, '"Active"', '"Aboard"')
    with closing(opened(connector)) as store:
        connector.wait_until(lambda: store.mapping_of(ROUTE).held)
        delivery = decisions.apply(load(connector.config, {}), store, ROUTE)
        kill_until(connector, lambda: not store.mapping_of(ROUTE).delivery, {"Active", "Aboard"})
        assert words(connector) == {"Aboard"}
        assert not store.mapping_of(ROUTE).held

        decisions.undo(store, ROUTE, Undo(utc_now(), uuid.uuid4().hex[:12], delivery=delivery))

        def is_undone() -> bool:
            undo = undo_of(store.mapping_of(ROUTE))
            return undo is not None and undo.done

        kill_until(connector, is_undone, {"Active", "Aboard"})
        assert words(connector) == {"Active"}
        decisions.resume(load(connector.config, {}), store, ROUTE)
        kill_until(connector, lambda: words(connector) == {"Aboard"}, {"Active", "Aboard"})
