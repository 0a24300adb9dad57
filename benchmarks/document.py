"""Puts the last figures into docs/performance.md, between ``<!-- figures -->`` and ``<!-- end -->``.

Nobody types a figure there; a test checks that the document says what ``benchmarks/results/NAME.json`` says.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks import measure

document = Path(__file__).parents[1] / "docs" / "performance.md"
order = ("ingest", "steady", "project", "disk", "startup", "memory", "deliver", "freshness", "cluster", "plan", "page")
_BLOCK = re.compile(r"(<!-- figures -->\n).*?(<!-- end -->)", re.DOTALL)


def main(words: list[str]) -> None:
    measure.Options("document", __doc__).parse_args(words)
    document.write_text(rendered(document.read_text(encoding="utf-8")), encoding="utf-8")
    print(document)  # noqa: T201


def rendered(text: str, results: Path = measure.results_folder) -> str:
    """*text* with the figures that the results have.

    Raises:
        FileNotFoundError: a benchmark has no result.
    """
    kept = [json.loads((results / f"{name}.json").read_text(encoding="utf-8")) for name in order]
    return _BLOCK.sub(lambda found: f"{found[1]}{_table(kept)}{found[2]}", text)


def _table(kept: list[dict[str, Any]]) -> str:
    lines = ["| what | measured | to reach | `NAME` |", "|---|---:|---:|---|"]
    for result in kept:
        lines += [f"| {' | '.join(measure.goal_cells(goal))} | {result['benchmark']} |" for goal in result["goals"]]
    moments = sorted(result["measured_at"][:16].replace("T", " ") for result in kept)
    machine = kept[0]["machine"]
    measured = f"Measured between {moments[0]} and {moments[-1]} UTC: {machine['processors']} processors, "
    return "\n".join([*lines, "", f"{measured}Python {machine['python']}."]) + "\n"
