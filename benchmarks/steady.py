"""A steady stream of webhooks at random moments, everything running: how long an answer takes, and what it costs."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks import ingest, measure, servers
from benchmarks.measure import Goal


def main(words: list[str]) -> None:
    asked = measure.Options("steady", __doc__)
    asked.add_argument("--rate", type=float, default=300.0, help="webhooks a second")
    asked.add_argument("--seconds", type=float, default=20.0)
    asked.add_argument("--warming-seconds", type=float, default=2.0, help="before anything is measured")
    given = asked.given(words)
    with tempfile.TemporaryDirectory() as temporary, servers.connector(Path(temporary)) as server:
        first = ingest.load(server, connections=64, seconds=given.warming_seconds, first=0, rate=given.rate)
        began, spent = time.monotonic(), measure.cpu_seconds(server.pid)
        figures = ingest.load(server, connections=64, seconds=given.seconds, first=first["next"], rate=given.rate)
        cores = (measure.cpu_seconds(server.pid) - spent) / (time.monotonic() - began)
    found = {name: figures[name] for name in ("per_second", "p50_ms", "p99_ms", "cpu_us")} | {"cores": cores}
    at = f"{given.rate:.0f} webhooks/s, everything running"
    goals = [
        Goal(f"{at}: answer, median", found["p50_ms"], "at most", 5, "ms"),
        Goal(f"{at}: answer, p99", found["p99_ms"], "at most", 25, "ms"),
        Goal(f"{at}: cores", cores, "at most", 0.5),
    ]
    measure.report("steady", {at: found}, goals, given)
