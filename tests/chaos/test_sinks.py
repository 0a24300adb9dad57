"""Destinations that fail at random, for half an hour, for one affiliate: all arrives or is a letter, last wins."""

from __future__ import annotations

import statistics
from itertools import pairwise
from pathlib import Path

import pytest

from tests.chaos.sinks import answers, campaign, culprits, kinds, outage, poison, probabilities


@pytest.mark.parametrize("kind", kinds)
@pytest.mark.parametrize("probability", probabilities)
def test_delivered_and_dead_lettered_are_together_what_was_accepted_and_the_last_state_wins(
    folder: Path, kind: str, probability: float, seed: int
) -> None:
    figures = campaign(folder / "world", kind, probability, events=500, seed=seed)
    assert figures.wrong == []
    assert figures.delivered + figures.dead_lettered == figures.records
    assert bool(figures.failed) is (probability > 0)


@pytest.mark.parametrize("answer", answers)
def test_a_far_side_that_is_down_for_half_an_hour_costs_no_letter_and_few_calls(
    folder: Path, answer: str, seed: int
) -> None:
    done = outage(folder / "world", answer, seed)
    if answer == "429, wait 60 s":
        assert min(done.waits) >= 60, "it calls before the destination wants it"
        assert len(done.waits) <= 30
    else:
        # Doubling from a second up to a quarter of an hour, spread downwards by half. Before that an outage is told
        # from a poisonous row by a handful of calls.
        told = done.waits[-5:]
        assert all(later > earlier for earlier, later in pairwise(told)), done.waits
        assert len(done.waits) <= 25, done.waits
    assert max(done.waits) <= 900 + 10
    assert (done.letters, done.pending) == (0, 0)
    assert done.rows == done.records > 280


@pytest.mark.parametrize("culprit", culprits)
def test_an_affiliate_that_always_fails_does_not_keep_the_others_waiting(folder: Path, culprit: str, seed: int) -> None:
    done = poison(folder / "world", culprit, seed, seconds=200)
    assert done.waiting == 0, "somebody else still waits"
    assert len(done.delays) > 700
    assert statistics.quantiles(done.delays, n=100)[98] <= 1.0, max(done.delays)
    assert max(done.delays) <= 10.0
