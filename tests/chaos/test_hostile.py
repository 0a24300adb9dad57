"""Hostile senders all at once: honest events are accepted, health answers, and nobody gets a 5xx."""

from __future__ import annotations

import random
from pathlib import Path

from tests.chaos.hostile import Load, besiege, fuzzed
from tests.running import Connector, Nursery


def test_under_a_siege_health_answers_and_honest_events_are_accepted(
    tmp_path: Path, nursery: Nursery, seed: int
) -> None:
    connector = Connector(tmp_path, nursery).start()
    try:
        figures = besiege(connector, Load(idle=1000, slow=50, wrong_tokens=1500, largest=60, fuzzed=1500), seed)
    finally:
        connector.kill()
    assert figures.server_errors == 0
    assert set(figures.answers["health"]) == {200}
    assert len(figures.health) > 10, "an answer takes long"
    assert figures.honest_sent > 10
    assert figures.honest_accepted == figures.honest_sent == figures.arrived
    assert set(figures.answers["wrong tokens"]) == {401}
    assert set(figures.answers["bodies at the limit"]) == {202, 413}
    assert {202, 400, 401, 404, 405} <= set(figures.answers["fuzzed"])
    assert not [line for line in connector.lines() if "bug" in line["event"] or line.get("level") == "error"]


def test_the_same_seed_makes_the_same_fuzz() -> None:
    one, two = random.Random(7), random.Random(7)
    assert [fuzzed(one) for _ in range(50)] == [fuzzed(two) for _ in range(50)]
