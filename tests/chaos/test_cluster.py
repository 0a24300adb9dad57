"""Several connectors on one PostgreSQL, a small campaign; the full one: ``python -m tests.chaos cluster``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.cluster import Table, campaign
from tests.postgres import programs


@pytest.fixture(autouse=True)
def _postgres() -> None:
    if programs() is None:
        pytest.skip("PostgreSQL is not installed")


def test_kills_crashes_and_sleeps_lose_double_and_undo_nothing(folder: Path, seed: int) -> None:
    done = campaign(folder, kills=2, crashes=1, both=1, sleeps=1, sleep_seconds=5.0, seed=seed)
    assert done.wrong == []
    assert (done.kills, done.crashes, done.sleeps) == (3, 2, 1)
    assert done.acknowledged > 100
    assert min(done.takeovers) < 10, "5 s on a machine that is not busy otherwise"


def test_commits_that_do_not_wait_for_the_disk_are_lost_and_seen(folder: Path, seed: int) -> None:
    for turn in range(5):  # a crash may come when all is on disk by chance
        own = folder / str(turn)
        own.mkdir()
        done = campaign(own, kills=0, crashes=2, both=0, sleeps=0, sleep_seconds=0, seed=seed + turn, asynchronous=True)
        if done.lost:
            break
    assert done.lost > 0
    assert len(done.wrong) >= done.lost


def test_a_doubled_row_and_an_older_one_would_be_seen() -> None:
    rows = [(1, 5), (2, 1)]
    table = Table("t", lambda: rows)
    assert table.look() == ([], [])
    rows.append((2, 1))
    assert table.look() == ([], ["t: affiliate 2 has 2 rows"])
    rows[:] = [(1, 4), (2, 1)]
    assert table.look() == (["t: affiliate 1 went from 5 to 4"], [])
