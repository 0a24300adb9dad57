"""The benchmarks run, at a tiny size, and the document of performance says what they last measured."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import document, far_sides, measure, stores
from benchmarks.__main__ import names
from tests.running import root

sizes: dict[str, list[str]] = {
    "ingest": ["--rounds", "1", "--seconds", "0.1", "--connections", "2", "--backlog", "50"],
    "project": ["--rounds", "1", "--events", "50", "--sizes", "0:0", "100:20", "200:40"],
    "deliver": [
        *("--events", "300", "--affiliates", "150", "--scale", "20", "--sinks", "hubspot"),
        *("--stream-seconds", "2", "--stream-per-second", "10"),
    ],
    "freshness": ["--events", "1", "--affiliates", "2", "--latency-ms", "5", "--rest-seconds", "0.1", "--sinks", "csv"],
    "memory": ["--events", "300", "--settle-seconds", "0", "--sinks", "csv"],
    "startup": ["--rounds", "1"],
    "disk": ["--events", "400", "--affiliates", "80", "--days", "11", "--events-a-day", "50"],
}


@pytest.mark.parametrize("name", sizes)
def test_a_benchmark_runs_and_keeps_its_figures(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", name, "--json", "--results", str(tmp_path), *sizes[name]]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=120)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed == json.loads((tmp_path / f"{name}.json").read_text())
    assert printed["benchmark"] == name
    for goal in printed["goals"]:
        met = goal["value"] <= goal["bound"] if goal["kind"] == "at most" else goal["value"] >= goal["bound"]
        assert goal["met"] is met
        assert goal["command"].startswith(f"python -m benchmarks {name}")


def test_the_document_says_what_was_measured_last() -> None:
    text = document.document.read_text(encoding="utf-8")
    assert document.rendered(text) == text, "python -m benchmarks document"


def test_the_document_shows_every_benchmark_with_goals() -> None:
    shown = set(document.named(document.document.read_text(encoding="utf-8")))
    with_goals = {path.stem for path in measure.results_folder.glob("*.json") if _has_goals(path)}
    assert with_goals <= shown
    assert set(sizes) <= shown


def _has_goals(path: Path) -> bool:
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return bool(kept.get("goals"))


def test_the_document_names_commands_that_exist() -> None:
    text = document.document.read_text(encoding="utf-8")
    assert set(re.findall(r"python -m benchmarks ([a-z_]+)", text)) <= set(names)


def test_a_changed_figure_changes_the_document(tmp_path: Path) -> None:
    kept = json.loads((measure.results_folder / "disk.json").read_text())
    kept["goals"][0]["value"] = 123.0
    (tmp_path / "disk.json").write_text(json.dumps(kept))
    text = "before\n<!-- figures: disk -->\nold\n<!-- end -->\nafter\n"
    made = document.rendered(text, tmp_path)
    assert "| 123 |" in made
    assert "old" not in made
    assert made.startswith("before\n")
    assert made.endswith("after\n")


@pytest.mark.parametrize(("value", "bound", "kind", "met"), [
    (1.0, 1.0, "at most", True), (1.01, 1.0, "at most", False),
    (1.0, 1.0, "at least", True), (0.99, 1.0, "at least", False),
])  # fmt: skip
def test_a_goal_is_met_at_its_bound(value: float, bound: float, kind: Any, met: bool) -> None:
    assert measure.Goal("", value, kind, bound).met is met


def test_every_body_has_its_own_key_and_speaks_of_its_affiliate() -> None:
    source = stores.source()
    for number, affiliate in ((0, 0), (7, 3), (1_234_567, 199_999)):
        body = stores.body(number, affiliate)
        (event,) = stores.accepted([(number, affiliate)])
        (update, *_) = source.normalize(event)
        assert 2_200 < len(body) < 2_600
        assert str(700_000_001 + number * 10) in event.key
        assert update.record_id == stores.record_id(affiliate)
        assert update.facts["balances.earned.cash"][2] == far_sides.value_of(number)


def test_a_filled_store_is_as_a_projected_one(tmp_path: Path) -> None:
    filled, projected = (stores.new_store(tmp_path / name) for name in ("filled", "projected"))
    stores.fill(filled, tmp_path / "filled", 60, 20)
    projected.append(stores.accepted([(number, number % 20) for number in range(60)]))
    project = stores.projector(projected, tmp_path / "projected")
    while project.step():
        pass
    for store in (filled, projected):
        assert store.status().records == 20
        assert store.status().waiting == 0
        assert len(store.events_of(stores.record_id(7))) == 3
    assert filled.record_ids() == projected.record_ids()
    known = [store.load([stores.record_id(7)])[stores.record_id(7)].facts for store in (filled, projected)]
    assert abs(len(known[0]) - len(known[1])) < 50
    for store in (filled, projected):
        store.close()
