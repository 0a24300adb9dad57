"""How many webhooks a second are kept, against an endpoint that keeps nothing.

The servers run on one processor, the load generator on the other; every round measures all of them one after the other,
so that a noisy moment meets all, and each only once none has anything left to do from its own turn. A ratio is the
median of the ratios round by round.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import far_sides, measure, servers, stores
from benchmarks.measure import Goal

_explained = (
    "no_store", "group_commit", "request_response", "row_per_event", "unique_index", "json_loads",
    "commit_per_request",
)  # fmt: skip


def load(server: servers.Server, *, connections: int, seconds: float, first: int) -> dict[str, Any]:
    """One round against *server*, the generator on the other processor; ``cpu_us`` is the server's time a request."""
    before = measure.cpu_seconds(server.pid)
    command = [sys.executable, "-m", "benchmarks.load", server.url, "--cpu", "1", "--first", str(first)]
    command += ["--connections", str(connections), "--seconds", str(seconds)]
    done = subprocess.run(  # noqa: S603 - our own interpreter
        command, capture_output=True, text=True, check=True, timeout=seconds + 120
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    # Of a round that is over within a tick of the system's clock nothing is seen: then it is a tick.
    spent = max(measure.cpu_seconds(server.pid) - before, measure.cpu_tick_seconds)
    figures["cpu_us"] = spent / max(figures["requests"], 1) * 1e6
    if set(figures["answers"]) != {"202"}:
        raise RuntimeError(f"{server.name} answered {figures['answers']}")
    return figures


def main(words: list[str]) -> None:
    asked = measure.parser("ingest", __doc__)
    asked.add_argument("--rounds", type=int, default=5)
    asked.add_argument("--seconds", type=float, default=2.0)
    asked.add_argument("--connections", type=int, nargs="+", default=[1, 64, 256])
    asked.add_argument("--flush-ms", type=float, default=2.0, help="of the simulated slow disk")
    asked.add_argument("--backlog", type=int, default=20_000, help="records pending while the rate is measured")
    asked.add_argument("--only", choices=["null", "disk", "drain"], help="one of the comparisons, nothing is kept")
    asked.add_argument("--explain", action="store_true", help="instead: the receiver built in other ways")
    given = asked.parse_args(words)
    if given.explain:
        _explain(given)
        return
    turn = _Turn(given)
    found: dict[str, Any] = {}
    most = max(given.connections)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if given.only in (None, "null"):
            found["by_connections"] = _against_null(turn, folder, given.connections)
            found["fsync_ms"] = fsync_ms(folder)
        if given.only in (None, "disk"):
            found["disk"] = _slow_disk(turn, folder, most, given.flush_ms)
        if given.only in (None, "drain"):
            found["drain"] = _draining(turn, folder, most, given.backlog)
    if not given.json:
        for connections, table in found.get("by_connections", {}).items():
            _show(f"{connections} connections", table, given)
        for name in ("disk", "drain"):
            if name in found:
                _show(f"{name}, {most} connections", found[name], given)
    if given.only is None:
        measure.report(
            "ingest", {**found, "rounds": given.rounds, "seconds": given.seconds}, _goals(found, most), given
        )


class _Turn:
    """Interleaved rounds; numbers go up all the time, so that every event's key is new."""

    def __init__(self, given: Any) -> None:
        self.rounds, self.seconds, self._number = given.rounds, given.seconds, 1_000_000
        self._rests: dict[tuple[int, ...], measure.Rest] = {}

    def _rest(self, running: dict[str, servers.Server]) -> measure.Rest:
        """Made at their first round, when they have done nothing yet."""
        pids = tuple(server.pid for server in running.values())
        if pids not in self._rests:
            self._rests[pids] = measure.Rest(pids)
        return self._rests[pids]

    def compare(self, running: dict[str, servers.Server], connections: int, *, at_work: bool = False) -> dict[str, Any]:
        """The first of *running* is what the others are compared with.

        Args:
            at_work: each is measured while it works off what it has to do, and stands still while others are measured.
        """
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in running}
        quiet = None if at_work else self._rest(running)
        for turn in range(self.rounds + 1):
            for name in running if turn % 2 else reversed(running):
                if quiet is not None:
                    quiet.wait()
                others = [running[other] for other in running if other != name] if at_work else []
                with servers.stopped(others):
                    figures = load(running[name], connections=connections, seconds=self.seconds, first=self._number)
                self._number = int(figures["next"])
                if turn:  # the first round warms up
                    found[name].append(figures)
        return _compare(found)


def _against_null(turn: _Turn, folder: Path, connections: Sequence[int]) -> dict[str, Any]:
    with ExitStack() as stack:
        running = {
            "null": stack.enter_context(servers.variant("null", folder / "null", cpu=0)),
            "receiver": stack.enter_context(servers.variant("group_commit", folder / "receiver", cpu=0)),
            "connector": stack.enter_context(servers.connector(folder / "connector", cpu=0)),
        }
        return {str(count): turn.compare(running, count) for count in connections}


def _slow_disk(turn: _Turn, folder: Path, connections: int, flush_ms: float) -> dict[str, Any]:
    """The same program on a disk that takes *flush_ms* longer for each flush."""
    with ExitStack() as stack:
        slow = servers.slow_disk(folder, flush_ms)
        running = {
            "fast disk": stack.enter_context(servers.connector(folder / "fast", cpu=0)),
            "slow disk": stack.enter_context(servers.connector(folder / "slow", cpu=0, environment=slow)),
        }
        return turn.compare(running, connections)


def _draining(turn: _Turn, folder: Path, connections: int, backlog: int) -> dict[str, Any]:
    """The same backlog while the far side is down, and while it goes to HubSpot's server at HubSpot's limit."""
    for name in ("alone", "draining"):
        store = stores.new_store(folder / name)
        stores.fill(store, folder / name, backlog, backlog)
        store.close()
    with ExitStack() as stack:
        side = stack.enter_context(
            far_sides.far_side("hubspot", folder, limit=100, interval_ms=10_000, latency_seconds=0.15)
        )
        down = side.toml().replace(side.url, f"http://127.0.0.1:{servers.free_port()}")
        running = {
            "alone": stack.enter_context(servers.connector(folder / "alone", cpu=0, sinks=down)),
            "draining": stack.enter_context(servers.connector(folder / "draining", cpu=0, sinks=side.toml())),
        }
        before = side.figures()["calls"]
        found = turn.compare(running, connections, at_work=True)
        found["draining"]["calls_meanwhile"] = side.figures()["calls"] - before
        return found


def fsync_ms(folder: Path, count: int = 100) -> float:
    """The median of writing 4 KB behind a file and flushing it."""
    took = []
    with (folder / "flushed").open("wb", buffering=0) as file:
        for _ in range(count):
            file.write(b"x" * 4096)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - began)
    return measure.median(took) * 1e3


def _goals(found: dict[str, Any], most: int) -> list[Goal]:
    command = "python -m benchmarks ingest"
    goals = []
    for connections, table in found["by_connections"].items():
        null = table["null"]
        for name, what in (("receiver", "receiving"), ("connector", "the whole program")):
            ours = table[name]
            at = f"{connections} connection{'s' * (connections != '1')}, {what}"
            if connections == "1":
                value = ours["p50_ms"] / (3 * null["p50_ms"] + found["fsync_ms"])
                text = f"{at}: latency, of three times the null endpoint's and an fsync"
                goals.append(Goal(text, value, "at most", 1.0, "", command))
                continue
            rate, cpu, p99 = (ours[f"{key}_of_base"] for key in ("per_second", "cpu", "p99"))
            goals += [
                Goal(f"{at}: requests/s, of the null endpoint's", rate, "at least", 0.65, "", command),
                Goal(f"{at}: CPU a request, of the null endpoint's", cpu, "at most", 1 / 0.7, "", command),
                Goal(f"{at}: p99, of the null endpoint's", p99, "at most", 2.5, "", command),
            ]
    slow, draining = found["disk"]["slow disk"], found["drain"]["draining"]
    return [
        *goals,
        Goal(
            f"{most} connections: requests/s with 2 ms a flush, of the fast disk's",
            slow["per_second_of_base"], "at least", 0.85, "", command,
        ),
        Goal(
            f"{most} connections: requests/s while delivery drains, of the rate alone",
            draining["per_second_of_base"], "at least", 0.9, "", command,
        ),
    ]  # fmt: skip


def _explain(given: Any) -> None:
    """What each choice in the receiver costs: the variants of ``benchmarks.variants`` against the null endpoint."""
    turn = _Turn(given)
    found = {}
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        running = {
            name: stack.enter_context(servers.variant(name, folder / name, cpu=0)) for name in ("null", *_explained)
        }
        running["connector"] = stack.enter_context(servers.connector(folder / "connector", cpu=0))
        for connections in given.connections:
            found[str(connections)] = turn.compare(running, connections)
    if not given.json:
        for connections, table in found.items():
            _show(f"{connections} connections", table, given)
    measure.report("ingest-explained", {"by_connections": found}, [], given)


def _show(title: str, table: dict[str, Any], given: Any) -> None:
    cells: dict[str, Callable[[dict[str, Any]], object]] = {
        "requests/s": lambda row: round(row["per_second"]),
        "of first": lambda row: row["per_second_of_base"],
        "CPU µs/request": lambda row: row["cpu_us"],
        "CPU of first": lambda row: row["cpu_of_base"],
        "p50 ms": lambda row: row["p50_ms"],
        "p99 ms": lambda row: row["p99_ms"],
        "p99 of first": lambda row: row["p99_of_base"],
    }
    rows = [[name, *(cell(row) for cell in cells.values())] for name, row in table.items()]
    measure.show(f"{title}, {given.rounds} rounds of {given.seconds} s", ["server", *cells], rows)


def _compare(rounds: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians of each server, and the medians of the ratios to the first's, round by round."""
    base = next(iter(rounds.values()))
    compared = {}
    for name, mine in rounds.items():
        pairs = list(zip(mine, base, strict=True))
        compared[name] = {
            **{key: measure.median([r[key] for r in mine]) for key in ("per_second", "cpu_us", "p50_ms", "p99_ms")},
            "per_second_of_base": measure.median([a["per_second"] / b["per_second"] for a, b in pairs]),
            "cpu_of_base": measure.median([a["cpu_us"] / b["cpu_us"] for a, b in pairs]),
            "p50_of_base": measure.median([a["p50_ms"] / b["p50_ms"] for a, b in pairs]),
            "p99_of_base": measure.median([a["p99_ms"] / b["p99_ms"] for a, b in pairs]),
        }
    return compared
