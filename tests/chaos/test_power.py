"""Power losses at any moment: what was acknowledged is there, what counts as written is in the table, and all else is
redone. SIGKILL forgives a missing fsync; this does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.power import lose_power


@pytest.fixture
def library(tracer: Path | str) -> Path:
    if isinstance(tracer, str):
        pytest.skip(tracer)
    return tracer


def test_a_power_loss_at_any_moment_loses_nothing_that_was_acknowledged(folder: Path, library: Path, seed: int) -> None:
    figures = lose_power(folder, library, losses=90, seed=seed, lives=2)
    assert figures.wrong == []
    assert figures.losses == 90
    assert figures.acknowledged > 900


@pytest.mark.parametrize("every", [4, 7])
def test_syncs_that_fail_lose_nothing_that_was_acknowledged(folder: Path, library: Path, seed: int, every: int) -> None:
    """What a failing sync was to save is lost, and nothing that rests on it may count as done."""
    figures = lose_power(folder, library, losses=16, seed=seed, lives=2, failing_syncs=every)
    assert figures.wrong == []
    assert figures.acknowledged > 20


def test_the_same_with_synchronous_normal_loses_events(folder: Path, library: Path, seed: int) -> None:
    """So the test above can fail."""
    for turn in range(5):  # which moments are hit, and what is on disk by then, is chance
        figures = lose_power(folder / str(turn), library, losses=20, seed=seed + turn, lives=1, synchronous="NORMAL")
        if figures.lost:
            break
    assert figures.lost > 0


@pytest.mark.parametrize(
    ("unsynced", "fault"),
    [
        ("letters.jsonl", "no letter of the unreadable event"),
        (".table.csv.*", ""),
        ("/", "counts as written and is not in the table"),
        ("c.db-wal", "acknowledged and lost"),
    ],
)
def test_every_sync_matters(folder: Path, library: Path, seed: int, unsynced: str, fault: str) -> None:
    """The same as if one kind of file, or the folder, were never synced: something is lost, and it is seen."""
    for turn in range(5):  # which moments are hit is chance
        figures = lose_power(
            folder / str(turn), library, losses=24, seed=seed + turn, lives=1, without_sync_of=unsynced
        )
        if any(fault in text for text in figures.wrong):
            break
    assert any(fault in text for text in figures.wrong)
