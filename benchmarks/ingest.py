"""How many webhooks a second are answered, and what one costs, against an endpoint that keeps nothing.

The servers run on one processor, the load generator on the other. Every round measures all of them one after the other,
each only once none has anything left to do; a ratio is the median of the ratios round by round.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import measure, servers
from benchmarks.measure import Goal, median

_FIGURES = ("per_second", "cpu_us", "p50_ms", "p99_ms")


def load(
    server: servers.Server, *, connections: int, first: int, seconds: float = 600.0, rate: float | None = None,
    requests: int | None = None, cpu: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What the load generator printed, and ``cpu_us``: the server's processor time a request.

    Raises:
        RuntimeError: something was not accepted.
    """
    before = measure.cpu_seconds(server.pid)
    options = {"connections": connections, "first": first, "seconds": seconds, "rate": rate, "requests": requests}
    options |= {"cpu": cpu}
    command = [sys.executable, "-m", "benchmarks.load", server.url]
    command += [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 120)  # noqa: S603
    figures: dict[str, Any] = json.loads(done.stdout)
    spent = max(measure.cpu_seconds(server.pid) - before, measure.CPU_TICK_SECONDS)
    figures["cpu_us"] = spent / max(figures["requests"], 1) * 1e6
    if set(figures["answers"]) != {"202"}:
        raise RuntimeError(f"{server.name} answered {figures['answers']}")
    return figures


def main(words: list[str]) -> None:
    asked = measure.Options("ingest", __doc__)
    asked.add_argument("--rounds", type=int, default=5)
    asked.add_argument("--seconds", type=float, default=2.0)
    asked.add_argument("--connections", type=int, default=64)
    given = asked.given(words)
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        running = [
            stack.enter_context(servers.endpoint("null", folder / "null", cpu=0)),
            stack.enter_context(servers.endpoint("receiver", folder / "receiver", cpu=0)),
            stack.enter_context(servers.connector(folder / "connector", cpu=0)),
        ]
        rounds = _rounds(running, given)
    found = _compared(rounds)
    receiver, connector = found["receiver"], found["connector"]
    goals = [
        Goal("Receiving: CPU a request ÷ an empty endpoint's", receiver["cpu_us_of_null"], "at most", 2.0),
        Goal("Receiving: requests/s ÷ an empty endpoint's", receiver["per_second_of_null"], "at least", 0.5),
        Goal(
            "Flood, everything running: requests/s ÷ an empty endpoint's",
            connector["per_second_of_null"], "at least", 0.3,
        ),
        Goal("Flood, everything running: answer, p99", connector["p99_ms"], "at most", 100, "ms"),
    ]  # fmt: skip
    measure.report("ingest", found, goals, given)


def _rounds(running: list[servers.Server], given: Any) -> dict[str, list[dict[str, float]]]:
    """The figures of each server by round; the numbers go up all the time, so that every event's key is new."""
    found: dict[str, list[dict[str, float]]] = {server.name: [] for server in running}
    number = 0
    for turn in range(given.rounds + 1):
        for server in running if turn % 2 else reversed(running):
            measure.wait_until_idle([each.pid for each in running])
            figures = load(server, connections=given.connections, seconds=given.seconds, first=number, cpu=1)
            number = int(figures["next"])
            if turn:  # the first round warms up
                found[server.name].append(figures)
    return found


def _compared(rounds: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Medians, and the medians of the ratios to the null endpoint's."""
    return {
        name: {key: median([each[key] for each in mine]) for key in _FIGURES}
        | {
            f"{key}_of_null": median([a[key] / b[key] for a, b in zip(mine, rounds["null"], strict=True)])
            for key in ("per_second", "cpu_us")
        }
        for name, mine in rounds.items()
    }
