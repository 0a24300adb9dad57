"""Resident memory: idle, under a burst of 50,000 events, and after it. The whole program as ``serve`` starts it.

Idle is a process that has delivered a few events and rests: the code and the connections that a first delivery brings
stay for good, burst or not, and a process without them is none that anybody runs for long.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import far_sides, measure, servers
from benchmarks.measure import Goal

_mib = 1024 * 1024
_sinks = ("csv", "sheets and hubspot")
_first_events = 20


def main(words: list[str]) -> None:
    asked = measure.parser("memory", __doc__)
    asked.add_argument("--events", type=int, default=50_000, help="of the burst, over 256 connections")
    asked.add_argument("--settle-seconds", type=float, default=36.0, help="of rest before each look: two tidyings")
    asked.add_argument("--sinks", nargs="+", default=list(_sinks), choices=_sinks)
    given = asked.parse_args(words)
    found = {name: _measure(name, given) for name in given.sinks}
    goals = []
    command = "python -m benchmarks memory"
    for name, figures in found.items():
        goals += [
            Goal(f"{name}: memory after the burst, of idle", figures["after_of_idle"], "at most", 1.2, "", command),
            Goal(f"{name}: most memory", figures["most_mib"], "at most", 250, "MiB", command),
        ]
    if not given.json:
        measure.show(
            f"memory, {given.events:,} events",
            ["sinks", "idle MiB", "most MiB", "after MiB", "after, of idle", "burst s", "drained after s"],
            [[name, *(measure.number(value) for value in figures.values())] for name, figures in found.items()],
        )
    measure.report("memory", {"by_sinks": found, "events": given.events}, goals, given)


def _measure(name: str, given: Any) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        sinks = servers.csv_sink
        if name != "csv":
            sides = [stack.enter_context(far_sides.far_side(kind, folder)) for kind in ("hubspot", "sheets")]
            sinks = "\n".join(side.toml() for side in sides)
        server = stack.enter_context(servers.connector(folder / "data", sinks=sinks))
        _send(server, _first_events, connections=8)
        time.sleep(given.settle_seconds)
        idle = measure.resident_bytes(server.pid)
        began = time.perf_counter()
        burst = _send(server, given.events, connections=256, first=_first_events)
        drained = time.perf_counter() - began
        time.sleep(given.settle_seconds)
        after = measure.resident_bytes(server.pid)
        most = measure.most_resident_bytes(server.pid)
    return {
        "idle_mib": idle / _mib, "most_mib": most / _mib, "after_mib": after / _mib, "after_of_idle": after / idle,
        "burst_seconds": burst, "drained_seconds": drained,
    }  # fmt: skip


def _send(server: servers.Server, events: int, *, connections: int, first: int = 0) -> float:
    """Send so many events and wait until they are in the sinks; the seconds until all were answered."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.load", server.url, "--connections", str(connections)]
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [*command, "--requests", str(events), "--first", str(first), "--seconds", "600"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    answered = time.perf_counter() - began
    answers = json.loads(done.stdout)["answers"]
    if answers != {"202": events}:
        raise RuntimeError(f"answered {answers}")
    measure.rest(900, "the events in the sinks", lambda: _is_quiet(server), every=1.0)
    return answered


def _is_quiet(server: servers.Server) -> bool:
    """Nothing waits in the inbox, nothing is pending: as /metrics says."""
    with urllib.request.urlopen(f"{server.url.split('/hooks')[0]}/metrics", timeout=30) as answer:  # noqa: S310 - loopback
        lines = answer.read().decode().splitlines()
    values = [line.rsplit(" ", 1) for line in lines if line.startswith(_gauges)]
    if not values:
        raise RuntimeError("the metrics have no " + " and ".join(_gauges))
    return not any(float(value) for _, value in values)


_gauges = ("connector_inbox_waiting", "connector_route_pending")
