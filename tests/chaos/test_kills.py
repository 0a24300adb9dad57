"""SIGKILL at named points, between any two changes on disk and at any time: nothing acknowledged is lost, nothing is
half written, nothing is there twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.engine import Engine, Kind, csv_rows, faults, kind_of, points
from tests.chaos.kills import campaign, far_points
from tests.chaos.nursery import Job, Nursery


@pytest.mark.parametrize(("kind", "share"), [("csv", 0.7), ("hubspot", 0.2), ("sheets", 0.1)])
def test_through_any_kills_every_acknowledged_event_ends_in_one_row_or_one_letter(
    folder: Path, tracer: Path | str, seed: int, kind: Kind, share: float, request: pytest.FixtureRequest
) -> None:
    kills = round((request.config.getoption("--kills") or 300) * share)
    figures = campaign(kind, kills, seed, folder / "engine", tracer if isinstance(tracer, Path) else None)
    assert figures.wrong == []
    assert figures.kills == kills
    assert figures.accepted > 3 * kills, "the kills came too early to mean anything"
    if kills >= 60:
        wanted = {*points, *(far_points if kind != "csv" else ())}
        assert wanted <= figures.where.keys(), "a point was never passed"


def test_a_kill_while_the_files_are_made_leaves_a_folder_that_it_starts_on(folder: Path, tracer: Path | str) -> None:
    if isinstance(tracer, str):
        pytest.skip(tracer)
    nursery = Nursery("csv", tracer)
    killed = 0
    for changes in range(1, 112, 5):  # the first event comes in after about 110 changes on disk
        home = folder / str(changes)
        home.mkdir()
        killed += nursery.run(Job(str(home), "csv", str(folder / "journal"), 1, 1, changes=changes)) == "killed"
        engine = Engine(home)
        engine.receive(range(1, 9))
        engine.run_to_rest()
        assert faults(engine, csv_rows(home / "table.csv"), set(range(1, 9)), set(range(1, 200))) == []
        engine.close()
    nursery.close()
    assert killed > 20


def test_a_loss_a_double_and_a_stale_row_would_be_seen(folder: Path) -> None:
    engine = Engine(folder)
    numbers = set(range(1, 31))
    assert set(engine.receive(sorted(numbers)).values()) == {202}
    engine.run_to_rest()
    rows = csv_rows(folder / "table.csv")
    assert faults(engine, rows, numbers, numbers) == []
    plain = next(n for n in range(31, 41) if kind_of(n) == "plain")
    unread = next(n for n in range(31, 41) if kind_of(n) == "unreadable")
    assert len(faults(engine, rows, numbers | {plain}, numbers)) == 1
    assert len(faults(engine, rows, numbers | {unread}, numbers)) == 1
    assert len(faults(engine, [*rows, rows[0]], numbers, numbers)) == 1
    assert len(faults(engine, [{**rows[0], "Name": "0"}, *rows[1:]], numbers, numbers)) == 1
    assert len(faults(engine, rows, numbers, numbers - {1})) == 1
    engine.receive([41])
    assert len(faults(engine, rows, numbers, numbers | {41})) == 1, "an event that waits"
    engine.close()
