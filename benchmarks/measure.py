"""Measuring side by side: interleaved rounds, medians, a table for people and JSON for the documents' test."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

results_folder = Path(__file__).parent / "results"
cpu_tick_seconds = 1 / os.sysconf("SC_CLK_TCK")
"""What ``cpu_seconds`` grows by."""


def median(values: Sequence[float]) -> float:
    """The middle one; quoted instead of means, because machines are noisy upwards only."""
    return statistics.median(values)


def cpu_seconds(pid: int) -> float:
    """User and system time that the process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * cpu_tick_seconds


def resident_bytes(pid: int) -> int:
    """The process's resident memory now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def most_resident_bytes(pid: int) -> int:
    """The most resident memory that the process ever had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


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


def rest(seconds: float, what: str, done: Any, *, every: float = 0.05) -> float:
    """Wait until *done()* is true; the seconds it took.

    Raises:
        TimeoutError: *what* did not come about in so many seconds.
    """
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(every)
    return time.monotonic() - began


class Rest:
    """Tells when processes have nothing to do: what one still does on a shared processor, another pays for.

    Args:
        pids: of processes that have just started, and have nothing to do yet. What they take now they take at rest:
            to look whether there is work costs a hundredth of a processor on one machine, a tenth on another.
    """

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = list(pids)
        time.sleep(2.0)
        self._used = self._now()
        self._resting = [0.0] * len(self._pids)
        for _ in range(4):
            time.sleep(_quiet_seconds)
            self._resting = [max(pair) for pair in zip(self._resting, self._since(), strict=True)]

    def wait(self, seconds: float = 600.0) -> None:
        """Wait until all of them rest.

        Raises:
            TimeoutError: one of them still worked after so many seconds.
        """
        self._used = self._now()
        time.sleep(_quiet_seconds)
        rest(seconds, "the servers come to rest", self._is_quiet, every=_quiet_seconds)

    def _is_quiet(self) -> bool:
        # A hundredth of a second is the smallest step that the system counts.
        return all(used < at_rest + 0.015 for used, at_rest in zip(self._since(), self._resting, strict=True))

    def _since(self) -> list[float]:
        before, self._used = self._used, self._now()
        return [now - then for now, then in zip(self._used, before, strict=True)]

    def _now(self) -> list[float]:
        return [cpu_seconds(pid) for pid in self._pids]


_quiet_seconds = 0.75  # longer than any pause of the projector's


def percentile(values: Sequence[float], share: float) -> float:
    """The value that *share* of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


@dataclass(frozen=True, slots=True)
class Goal:
    """One promise and what was measured.

    Args:
        text: what, in words; *unit* follows the number.
        bound: *value* must be at most or at least that.
        command: prints *value*.
    """

    text: str
    value: float
    kind: Literal["at most", "at least"]
    bound: float
    unit: str = ""
    command: str = ""

    @property
    def met(self) -> bool:
        return self.value <= self.bound if self.kind == "at most" else self.value >= self.bound


def number(value: float) -> str:
    """As the tables and the documents write it: three digits that count, thousands apart."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def parser(name: str, about: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks {name}", description=about)
    made.add_argument("--json", action="store_true", help="print the figures as JSON instead of tables")
    made.add_argument("--results", type=Path, default=results_folder, help="where NAME.json is written")
    return made


def report(name: str, figures: dict[str, Any], goals: Sequence[Goal], asked: argparse.Namespace) -> None:
    """Show the goals, or all figures as JSON, and keep them."""
    kept = {**figures, "goals": [{**asdict(goal), "met": goal.met} for goal in goals]}
    path = keep(name, kept, asked.results)
    if asked.json:
        print(path.read_text(), end="")  # noqa: T201
        return
    if goals:
        show(f"{name}: goals", ["goal", "reached", "bound", "met"], [goal_cells(goal) for goal in kept["goals"]])
    print(path)  # noqa: T201


def goal_cells(goal: Mapping[str, Any]) -> list[str]:
    """A kept goal as a row of a table."""
    unit = f" {goal['unit']}" if goal["unit"] else ""
    bound = f"{goal['kind']} {number(goal['bound'])}{unit}"
    return [goal["text"], f"{number(goal['value'])}{unit}", bound, "yes" if goal["met"] else "no"]


def keep(name: str, figures: dict[str, Any], folder: Path = results_folder) -> Path:
    """Write the figures to ``benchmarks/results/NAME.json``, with the machine and the moment."""
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / f"{name}.json"
    machine = {
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 1),  # when it ended: ours, and of everybody else on this machine
    }
    measured = {"benchmark": name, "measured_at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine}
    path.write_text(json.dumps({**measured, **figures}, indent=2, sort_keys=False) + "\n")
    return path
