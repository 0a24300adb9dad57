"""Figures: medians, percentiles, what a process used; a table for people and JSON for the documents' test."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

results_folder = Path(__file__).parent / "results"
MIB = 1024 * 1024
CPU_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
"""What ``cpu_seconds`` grows by."""


def median(values: Sequence[float]) -> float:
    """The middle one; quoted instead of means, because machines are noisy upwards only."""
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that *share* of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def cpu_seconds(pid: int) -> float:
    """User and system time that the process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * CPU_TICK_SECONDS


def resident_mib(pid: int) -> float:
    """The process's resident memory now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


def most_resident_mib(pid: int) -> float:
    """The most resident memory that the process ever had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def wait_until(done: Callable[[], object], what: str, *, seconds: float, every: float = 0.05) -> None:
    """Wait until *done()* is true.

    Raises:
        TimeoutError: *what* did not happen within *seconds*.
    """
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(every)


def wait_until_idle(pids: Sequence[int], *, seconds: float = 600.0) -> None:
    """Wait until none of the processes uses more than a twentieth of a processor: its work would slow the others."""

    def idle() -> bool:
        before = [cpu_seconds(pid) for pid in pids]
        time.sleep(0.5)
        return all(cpu_seconds(pid) - then <= 0.03 for pid, then in zip(pids, before, strict=True))

    wait_until(idle, "the servers become idle", seconds=seconds)


@dataclass(frozen=True, slots=True)
class Goal:
    """One promise and what was measured.

    Args:
        text: what is measured, in words; *unit* follows the number.
        bound: *value* must be at most or at least that.
    """

    text: str
    value: float
    kind: Literal["at most", "at least"]
    bound: float
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.value <= self.bound if self.kind == "at most" else self.value >= self.bound


def number(value: float) -> str:
    """As the tables and the documents write it: three digits that count, thousands apart."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def goal_cells(goal: Mapping[str, Any]) -> list[str]:
    """A kept goal as a row of a table."""
    unit = f" {goal['unit']}" if goal["unit"] else ""
    sign = "≤" if goal["kind"] == "at most" else "≥"
    met = "" if goal["met"] else " (not met)"
    return [goal["text"], f"{number(goal['value'])}{unit}{met}", f"{sign} {number(goal['bound'])}{unit}"]


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name in head:
        table.add_column(name, justify="left" if name == head[0] else "right")
    for row in rows:
        table.add_row(*(f"{cell:,.3g}" if isinstance(cell, float) else str(cell) for cell in row))
    Console(width=140).print(table)


def show_figures(title: str, found: Mapping[str, Mapping[str, float]]) -> None:
    """Print a table with a column for each key of *found* and a row for each figure."""
    names = dict.fromkeys(name for figures in found.values() for name in figures)
    rows = [
        [name.replace("_", " "), *(number(figures[name]) if name in figures else "" for figures in found.values())]
        for name in names
    ]
    show(title, ["", *found], rows)


class Options(argparse.ArgumentParser):
    """The options that every benchmark has. Figures of another size than the documents' are kept where asked only."""

    def __init__(self, name: str, about: str | None) -> None:
        super().__init__(prog=f"python -m benchmarks {name}", description=about)
        self.add_argument("--json", action="store_true", help="print the figures as JSON instead of tables")
        self.add_argument("--results", type=Path, help="where NAME.json is written; with options, nowhere else")

    def given(self, words: Sequence[str]) -> argparse.Namespace:
        """The options in *words*."""
        asked = self.parse_args(words)
        varied = any(value != self.get_default(name) for name, value in vars(asked).items() if name != "json")
        if asked.results is None and not varied:
            asked.results = results_folder
        return asked


def report(name: str, found: Mapping[str, Any], goals: Sequence[Goal], asked: argparse.Namespace) -> None:
    """Print the figures and the goals, and keep them as NAME.json in the folder *asked* for."""
    machine = {"processors": os.cpu_count(), "python": platform.python_version(), "load": round(os.getloadavg()[0], 1)}
    kept: dict[str, Any] = {
        "benchmark": name, "measured_at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine,
        "found": found, "goals": [{**asdict(goal), "met": goal.met} for goal in goals],
    }  # fmt: skip
    text = json.dumps(kept, indent=2) + "\n"
    if asked.results is not None:
        asked.results.mkdir(exist_ok=True, parents=True)
        (asked.results / f"{name}.json").write_text(text, encoding="utf-8")
    if asked.json:
        print(text, end="")  # noqa: T201
        return
    show_figures(name, found)
    show(f"{name}: goals", ["goal", "reached", "to reach"], [goal_cells(goal) for goal in kept["goals"]])
