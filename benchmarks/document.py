"""Puts the last figures into docs/performance.md: every table between ``<!-- figures: NAME -->`` and ``<!-- end -->``.

Nobody types a figure there; a test holds that the document says what ``benchmarks/results/NAME.json`` says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import measure

document = Path(__file__).parents[1] / "docs" / "performance.md"
_block = re.compile(r"(<!-- figures: ([a-z_-]+) ?([a-z ]*?) -->\n).*?(<!-- end -->)", re.DOTALL)


def main(words: list[str]) -> None:
    measure.parser("document", __doc__).parse_args(words)
    document.write_text(rendered(document.read_text(encoding="utf-8")), encoding="utf-8")
    print(document)  # noqa: T201


def rendered(text: str, results: Path = measure.results_folder) -> str:
    """*text* with every block as the results say.

    Raises:
        FileNotFoundError: a block names a benchmark that has no result.
    """

    def block(found: re.Match[str]) -> str:
        head, name, what, end = found.groups()
        kept = json.loads((results / f"{name}.json").read_text(encoding="utf-8"))
        return f"{head}{_parts[what](kept)}{end}"

    return _block.sub(block, text)


def named(text: str) -> list[str]:
    """The benchmarks that *text* has blocks of."""
    return [found[2] for found in _block.finditer(text)]


def _goals(kept: dict[str, Any]) -> str:
    rows = [[*measure.goal_cells(goal), f"`{goal['command']}`"] for goal in kept["goals"]]
    return _table(["goal", "reached", "bound", "met", "command"], rows) + _measured(kept)


def _measured(kept: dict[str, Any]) -> str:
    machine = kept["machine"]
    load = f", load {machine['load']} at its end" if "load" in machine else ""
    return (
        f"\nMeasured {kept['measured_at'][:16].replace('T', ' ')} UTC: {machine['processors']} processors, "
        f"Python {machine['python']}{load}.\n"
    )


def _servers(kept: dict[str, Any]) -> str:
    text = ""
    columns = ("per_second", "per_second_of_base", "cpu_us", "cpu_of_base", "p50_ms", "p99_ms")
    for connections, table in kept["by_connections"].items():
        rows = [[name, *(measure.number(row[column]) for column in columns)] for name, row in table.items()]
        head = [f"{connections} connections", "requests/s", "of null", "CPU µs", "of null", "p50 ms", "p99 ms"]
        text += _table(head, rows) + "\n"
    return text.rstrip("\n") + "\n" + _measured(kept)


def _of(name: str, first: str) -> Callable[[dict[str, Any]], str]:
    """A table of the figures under *name*: a row for each of its keys, a column for each of theirs."""

    def part(kept: dict[str, Any]) -> str:
        table = kept[name]
        columns = list(next(iter(table.values())))
        rows = [
            [key, *("" if row[column] is None else measure.number(row[column]) for column in columns)]
            for key, row in table.items()
        ]
        return _table([first, *(column.replace("_", " ") for column in columns)], rows) + _measured(kept)

    return part


def _bytes(kept: dict[str, Any]) -> str:
    return _table(["what", "bytes"], [[name, measure.number(value)] for name, value in kept["bytes"].items()])


def _delivered(kept: dict[str, Any]) -> str:
    text = ""
    for kind, parts in kept["by_sink"].items():
        for part, figures in parts.items():
            rows = [[name.replace("_", " "), measure.number(value)] for name, value in figures.items()]
            text += _table([f"{kind}: {part}", ""], rows) + "\n"
    for kind, each in kept["one_call_per_event"].items():
        text += f"One call per event would be {each['calls']:,} calls: {each['hours']:.1f} h at the limits of {kind}.\n"
    return text


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


_parts: dict[str, Callable[[dict[str, Any]], str]] = {
    "": _goals,
    "goals": _goals,
    "servers": _servers,
    "sizes": _of("by_size", "stored before"),
    "sinks": _of("by_sinks", "sinks"),
    "sink": _of("by_sink", "sink"),
    "starts": _of("by_server", "server"),
    "bytes": _bytes,
    "parts": _delivered,
}
