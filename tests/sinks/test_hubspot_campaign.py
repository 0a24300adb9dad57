"""Short campaigns with every fault at random; the long ones are run by ``python -m tests.sinks.hubspot_campaign``."""

from __future__ import annotations

import pytest

from tests.far_sides.hubspot_server import Mode
from tests.sinks.hubspot_campaign import colleagues_edit, everything_at_random


@pytest.mark.parametrize("rules", ["rules that overwrite", "rules that keep"])
@pytest.mark.parametrize("mode", ["207", "400"])
def test_through_every_fault_the_account_ends_as_the_records_have_it(mode: Mode, rules: str) -> None:
    faultless = everything_at_random(mode, seed=1, batches=24, share=0.0, people=300, rules=rules)
    figures = everything_at_random(mode, seed=1, batches=24, share=0.2, people=300, rules=rules)
    assert faultless.wrong == []
    assert figures.wrong == []
    assert figures.faulted >= 5
    assert figures.calls <= 1.2 * faultless.calls + figures.faulted + figures.resent


@pytest.mark.parametrize("mode", ["207", "400"])
def test_what_colleagues_typed_survives_random_interleavings(mode: Mode) -> None:
    for seed in range(6):
        assert colleagues_edit(mode, seed=seed) == []
