"""Idle system, one event: from the 202 until the row is in the sink. The whole program, over real HTTP.

The local servers of HubSpot and Sheets take 150 ms for each call. A row is in HubSpot or Sheets when the server has
handled the call that writes it, and in the CSV when somebody who opens the file reads it.
"""

from __future__ import annotations

import http.client
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks import far_sides, measure, servers, stores
from benchmarks.measure import Goal, median, percentile

_names = {"csv": "CSV", "hubspot": "HubSpot", "sheets": "Google Sheets"}


def main(words: list[str]) -> None:
    asked = measure.parser("freshness", __doc__)
    asked.add_argument("--events", type=int, default=100, help="for each sink, one after the other")
    asked.add_argument("--latency-ms", type=float, default=150.0, help="of each call at the far side")
    asked.add_argument("--rest-seconds", type=float, default=1.0, help="between two events; five times that for Sheets")
    asked.add_argument("--affiliates", type=int, default=20, help="whom the events are about")
    asked.add_argument("--sinks", nargs="+", default=["csv", "hubspot", "sheets"], choices=["csv", "hubspot", "sheets"])
    given = asked.parse_args(words)
    found: dict[str, Any] = {}
    goals: list[Goal] = []
    for kind in given.sinks:
        with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
            ages, answers = _measure(kind, Path(temporary), stack, given)
        found[kind] = {
            "events": len(ages), "median_ms": median(ages) * 1e3, "p99_ms": percentile(ages, 0.99) * 1e3,
            "max_ms": max(ages) * 1e3, "answer_median_ms": median(answers) * 1e3,
        }  # fmt: skip
        command = f"python -m benchmarks freshness --sinks {kind}"
        goals += [
            Goal(f"{_names[kind]}: 202 to row, median", found[kind]["median_ms"], "at most", 400, "ms", command),
            Goal(f"{_names[kind]}: 202 to row, p99", found[kind]["p99_ms"], "at most", 1000, "ms", command),
        ]
    if not given.json:
        measure.show(
            f"freshness, {given.latency_ms:.0f} ms a call",
            ["sink", "events", "median ms", "p99 ms", "max ms", "answer ms"],
            [[kind, *(measure.number(value) for value in figures.values())] for kind, figures in found.items()],
        )
    measure.report("freshness", {"latency_ms": given.latency_ms, "by_sink": found}, goals, given)


def _measure(kind: str, folder: Path, stack: ExitStack, given: Any) -> tuple[list[float], list[float]]:
    """Seconds from the answer to the row, and from the request to the answer, of each event."""
    arrived: Callable[[], dict[str, float]] | None = None
    sinks = servers.csv_sink
    if kind != "csv":
        side = stack.enter_context(far_sides.far_side(kind, folder, latency_seconds=given.latency_ms / 1e3))
        sinks, arrived = side.toml(), side.arrived
    server = stack.enter_context(servers.connector(folder / "data", sinks=sinks))
    table = folder / "data" / "affiliates.csv"
    for number in range(given.affiliates):
        post(server, stores.body(number, number))
    last = far_sides.value_of(given.affiliates - 1)
    measure.rest(60, "the first rows", lambda: last in (arrived() if arrived else _text(table)))
    ages, answers = [], []
    for turn in range(given.events):
        # What comes sooner than a flush's calls are paid for is a stream, see `deliver`.
        time.sleep(given.rest_seconds * (5 if kind == "sheets" else 1 + turn % 7 / 20))
        number = given.affiliates + turn
        began = time.monotonic()
        post(server, stores.body(number, turn % given.affiliates))
        answered = time.monotonic()
        value = far_sides.value_of(number)
        if arrived is None:
            measure.rest(30, "the row", lambda value=value: value in _text(table), every=0.002)
            at = time.monotonic()
        else:
            measure.rest(30, "the row", lambda value=value: value in arrived())
            at = arrived()[value]
        ages.append(at - answered)
        answers.append(answered - began)
    return ages, answers


def _text(table: Path) -> str:
    return table.read_text(encoding="utf-8") if table.exists() else ""


def post(server: servers.Server, body: bytes) -> None:
    """One webhook over its own connection. Raises RuntimeError when it is not accepted."""
    parts = urlsplit(server.url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    connection.request("POST", f"{parts.path}?{parts.query}", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status != 202:
        raise RuntimeError(f"answered {answer.status}")
