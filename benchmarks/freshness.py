"""Idle system, one event: from the 202 until the row is in the sink. The whole program, over real HTTP.

The local servers of HubSpot and Sheets take 150 ms for each call. A row is in HubSpot or Sheets when the server has
handled the call that writes it, and in the CSV when a reader of the file finds it.
"""

from __future__ import annotations

import http.client
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks import destinations, measure, servers, stores
from benchmarks.measure import Goal, median, percentile

_NAMES = {"csv": "CSV", "hubspot": "HubSpot", "sheets": "Google Sheets"}


def main(words: list[str]) -> None:
    asked = measure.Options("freshness", __doc__)
    asked.add_argument("--events", type=int, default=20, help="for each sink, one after the other")
    asked.add_argument("--latency-ms", type=float, default=150.0, help="of each call")
    asked.add_argument("--rest-seconds", type=float, default=1.0, help="between two events; five times that for Sheets")
    asked.add_argument("--affiliates", type=int, default=20, help="whom the events are about")
    asked.add_argument("--sinks", nargs="+", default=list(_NAMES), choices=list(_NAMES))
    given = asked.given(words)
    found: dict[str, dict[str, float]] = {}
    goals: list[Goal] = []
    for kind in given.sinks:
        with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
            ages, answers = _measured(kind, Path(temporary), stack, given)
        found[kind] = {
            "median_ms": median(ages) * 1e3, "p99_ms": percentile(ages, 0.99) * 1e3,
            "answer_median_ms": median(answers) * 1e3,
        }  # fmt: skip
        what = f"{_NAMES[kind]}: answer to row"
        goals += [
            Goal(f"{what}, median", found[kind]["median_ms"], "at most", 400, "ms"),
            Goal(f"{what}, p99", found[kind]["p99_ms"], "at most", 1000, "ms"),
        ]
    measure.report("freshness", found, goals, given)


def _measured(kind: str, folder: Path, stack: ExitStack, given: Any) -> tuple[list[float], list[float]]:
    """Seconds from the answer to the row, and from the request to the answer, of each event."""
    table = folder / "data" / "affiliates.csv"
    sinks = servers.csv_sink
    look: Callable[[str], float | None] = partial(_in_file, table)
    if kind != "csv":
        made = destinations.destination(kind, folder, latency_seconds=given.latency_ms / 1e3)
        destination = stack.enter_context(made)
        sinks, look = destination.toml(), lambda value: destination.arrived().get(value)
    server = stack.enter_context(servers.connector(folder / "data", sinks=sinks))
    for number in range(given.affiliates):
        post(server, stores.body(number, number))
    _moment(look, given.affiliates - 1)
    ages, answers = [], []
    for turn in range(given.events):
        # What comes sooner than a flush's calls are paid for is a stream, see `deliver`.
        time.sleep(given.rest_seconds * (5 if kind == "sheets" else 1 + turn % 7 / 20))
        number = given.affiliates + turn
        began = time.monotonic()
        post(server, stores.body(number, turn % given.affiliates))
        answered = time.monotonic()
        ages.append(_moment(look, number) - answered)
        answers.append(answered - began)
    return ages, answers


def _moment(look: Callable[[str], float | None], number: int) -> float:
    """When the row showed event *number*."""
    value = destinations.value_of(number)
    measure.wait_until(lambda: look(value), "the row", seconds=60, every=0.002)
    return look(value) or 0.0


def _in_file(table: Path, value: str) -> float | None:
    return time.monotonic() if table.exists() and value in table.read_text(encoding="utf-8") else None


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
