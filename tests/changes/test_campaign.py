"""Some seeds of the campaign that mixes edits of mappings, undo, people and lost answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.changes.campaign import in_csv, in_hubspot, in_sheets


@pytest.mark.parametrize("seed", [1, 3])
def test_in_a_file_nothing_that_people_typed_is_lost(tmp_path: Path, seed: int) -> None:
    made = in_csv(tmp_path, seed, 80)
    assert not made.wrong
    assert made.counts["applied"]
    assert made.counts["undone"]


def test_in_google_sheets_with_lost_answers_nothing_that_people_typed_is_lost(tmp_path: Path) -> None:
    made = in_sheets(tmp_path, 3, 60)
    assert not made.wrong
    assert made.counts["applied"]
    assert made.counts["lost answers"]


def test_in_hubspot_with_lost_answers_nothing_that_people_typed_is_lost(tmp_path: Path) -> None:
    made = in_hubspot(tmp_path, 2, 60)
    assert not made.wrong
    assert made.counts["applied"]
    assert made.counts["undone"]
    assert made.counts["lost answers"]
