"""Resident memory of the whole program: idle, in a burst of 50,000 events, after it, and after another.

Idle is a process that has delivered twenty events: the code and the connections of a first delivery stay for good.
"""

from __future__ import annotations

import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import destinations, ingest, measure, servers
from benchmarks.measure import Goal

_MOST_IDLE_MIB = {"CSV": 60, "Google Sheets and HubSpot": 90}
_FIRST_EVENTS = 20
_GAUGES = ("connector_inbox_waiting", "connector_route_pending")


def main(words: list[str]) -> None:
    asked = measure.Options("memory", __doc__)
    asked.add_argument("--events", type=int, default=50_000, help="of each burst, over 256 connections")
    asked.add_argument("--settle-seconds", type=float, default=15.0, help="of rest before memory is read")
    asked.add_argument("--sinks", nargs="+", default=list(_MOST_IDLE_MIB), choices=list(_MOST_IDLE_MIB))
    given = asked.given(words)
    found = {name: _measured(name, given) for name in given.sinks}
    goals = []
    for name, figures in found.items():
        goals += [
            Goal(f"Idle memory, {name}", figures["idle_mib"], "at most", _MOST_IDLE_MIB[name], "MiB"),
            Goal(f"Most memory, {name}", figures["most_mib"], "at most", 250, "MiB"),
            Goal(f"Memory after two bursts ÷ after one, {name}",
                 figures["after_second_of_first"], "at most", 1.1),
        ]  # fmt: skip
    measure.report("memory", found, goals, given)


def _measured(name: str, given: Any) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        sinks = servers.csv_sink
        if name != "CSV":
            made = [stack.enter_context(destinations.destination(kind, folder)) for kind in ("hubspot", "sheets")]
            sinks = "\n".join(server.toml() for server in made)
        server = stack.enter_context(servers.connector(folder / "data", sinks=sinks))
        read, sent = [], 0
        for events in (_FIRST_EVENTS, given.events, given.events):
            ingest.load(server, connections=min(256, events), requests=events, first=sent)
            sent += events
            measure.wait_until(lambda: _is_quiet(server), "the events in the sinks", seconds=900, every=0.5)
            time.sleep(given.settle_seconds)
            read.append(measure.resident_mib(server.pid))
        most = measure.most_resident_mib(server.pid)
    idle, first, second = read
    return {
        "idle_mib": idle, "most_mib": most, "after_first_mib": first, "after_second_mib": second,
        "after_second_of_first": second / first,
    }  # fmt: skip


def _is_quiet(server: servers.Server) -> bool:
    """Nothing waits in the inbox, nothing is pending.

    Raises:
        RuntimeError: the metrics that say so are not there.
    """
    with urllib.request.urlopen(f"{server.url.split('/hooks')[0]}/metrics", timeout=30) as answer:  # noqa: S310 - loopback
        lines = answer.read().decode().splitlines()
    values = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(_GAUGES)]
    if len(values) < len(_GAUGES):
        raise RuntimeError("the metrics have no " + " and ".join(_GAUGES))
    return not any(values)
