"""Every benchmark can be imported, one runs at a tiny size, and docs/performance.md says what they last measured."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import destinations, document, measure, stores
from benchmarks.__main__ import names
from tests.running import root


@pytest.mark.parametrize("name", [file.stem for file in (root / "benchmarks").glob("[a-z]*.py")])
def test_all_of_the_benchmarks_can_be_imported(name: str) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    assert name not in names or callable(module.main)


def run(tmp_path: Path, *words: str) -> dict[str, Any]:
    """What ``python -m benchmarks`` prints with these words."""
    command = [sys.executable, "-m", "benchmarks", *words, "--json", "--results", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=120)
    assert done.returncode == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    assert printed == json.loads((tmp_path / f"{words[0]}.json").read_text())
    return printed


def test_projecting_is_measured_and_its_figures_are_kept(tmp_path: Path) -> None:
    words = ("--rounds", "1", "--events", "50", "--stored-events", "200", "--stored-affiliates", "40")
    printed = run(tmp_path, "project", *words)
    assert printed["benchmark"] == "project"
    assert printed["found"]["stored before"]["per_second"] > 0
    assert [goal["met"] for goal in printed["goals"]] == [goal["value"] >= goal["bound"] for goal in printed["goals"]]


def test_a_steady_stream_is_measured_while_everything_runs(tmp_path: Path) -> None:
    printed = run(tmp_path, "steady", "--rate", "50", "--seconds", "0.5", "--warming-seconds", "0.2")
    (figures,) = printed["found"].values()
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]


def test_the_document_says_what_was_measured_last() -> None:
    text = document.document.read_text(encoding="utf-8")
    assert document.rendered(text) == text, "python -m benchmarks document"


def test_the_document_is_short_and_names_commands_that_exist() -> None:
    text = document.document.read_text(encoding="utf-8")
    assert len(text.split()) <= 1_200
    assert set(re.findall(r"python -m benchmarks ([a-z_]+)", text)) <= set(names)


def test_a_changed_figure_changes_the_document(tmp_path: Path) -> None:
    for name in document.order:
        kept = json.loads((measure.results_folder / f"{name}.json").read_text())
        kept["goals"][0]["value"] = 123.0
        (tmp_path / f"{name}.json").write_text(json.dumps(kept))
    made = document.rendered("before\n<!-- figures -->\nold\n<!-- end -->\nafter\n", tmp_path)
    assert made.count("| 123") == len(document.order)
    assert "old" not in made
    assert made.startswith("before\n")
    assert made.endswith("after\n")


@pytest.mark.parametrize(("value", "bound", "kind", "met"), [
    (1.0, 1.0, "at most", True), (1.01, 1.0, "at most", False),
    (1.0, 1.0, "at least", True), (0.99, 1.0, "at least", False),
])  # fmt: skip
def test_a_goal_is_met_at_its_bound(value: float, bound: float, kind: Any, met: bool) -> None:
    assert measure.Goal("", value, kind, bound).met is met


def test_every_body_has_its_own_key_and_is_about_its_affiliate() -> None:
    source = stores.source()
    for number, affiliate in ((0, 0), (7, 3), (1_234_567, 199_999)):
        body = stores.body(number, affiliate)
        (event,) = stores.accepted([(number, affiliate)])
        (update, *_) = source.normalize(event)
        assert 2_200 < len(body) < 2_600
        assert str(700_000_001 + number * 10) in event.key
        assert update.record_id == stores.record_id(affiliate)
        assert update.facts["balances.earned.cash"][2] == destinations.value_of(number)
