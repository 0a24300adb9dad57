"""``python -m tests.chaos [NAME …] [--seed N]``: the campaigns in full, and a table of the results.

The table goes into docs/guarantees.md, from figures.json beside this file; a test holds the two together.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.chaos import cluster, disk_trace, hostile, kills, power, sinks
from tests.chaos.engine import Kind, scratch
from tests.running import Connector, Nursery, root

results = Path(__file__).with_name("figures.json")
document = root / "docs" / "guarantees.md"
_block = re.compile(r"(?<=<!-- figures -->\n).*?(?=<!-- end -->)", re.DOTALL)
Row = dict[str, str]


def _killed(kind: Kind, count: int, seed: int, folder: Path) -> Row:
    built = disk_trace.build(folder)
    done = kills.campaign(kind, count, seed, folder / "engine", built if isinstance(built, Path) else None)
    return {
        "what": f"SIGKILL, {done.kills:,} times at {len(done.where)} kinds of places, delivering to {kind}",
        "came": f"{done.accepted:,} of {done.sent:,} events acknowledged; lost, half written or doubled: "
        f"{len(done.wrong)}",
        "command": f"python -m tests.chaos.kills --kills {count} --sink {kind} --seed {seed}",
    }


def _power(synchronous: power.Synchronous, count: int, seed: int, folder: Path, failing: int = 0) -> Row:
    built = disk_trace.build(folder)
    if isinstance(built, str):
        return {"what": "power loss", "came": built, "command": ""}
    done = power.lose_power(
        folder, built, losses=count, seed=seed, synchronous=synchronous, lives=10, failing_syncs=failing
    )
    setting = "as shipped (`synchronous=FULL`)" if synchronous == "FULL" else "with `synchronous=NORMAL`, to compare"
    setting += f", every {failing}th sync failing" if failing else ""
    return {
        "what": f"power loss, {done.losses:,} times among {done.changes:,} changes on disk, {setting}",
        "came": f"{done.lost:,} of {done.acknowledged:,} acknowledged events lost, {len(done.wrong):,} faults in all",
        "command": f"python -m tests.chaos.power --losses {count} --synchronous {synchronous} --seed {seed}"
        + (f" --failing-syncs {failing}" if failing else ""),
    }


def _sinks(seed: int, folder: Path, events: int = 10_000) -> Row:
    done = [
        sinks.campaign(folder / f"{kind} {share}", kind, share, events=events, seed=seed)
        for kind in sinks.kinds
        for share in sinks.probabilities
    ]
    total = {
        name: sum(getattr(one, name) for one in done) for name in ("records", "delivered", "dead_lettered", "failed")
    }
    return {
        "what": "a destination that fails by error, refusal, time-out, lost answer or all of them, with probability 0"
        f" to 1: {len(done)} times {events:,} events in any order, {total['failed']:,} failures",
        "came": f"{total['delivered']:,} delivered + {total['dead_lettered']:,} dead-lettered of {total['records']:,}"
        f" records; other than the last state: {sum(len(one.wrong) for one in done)}",
        "command": f"python -m tests.chaos.sinks --events {events} --seed {seed}",
    }


def _outage(seed: int, folder: Path) -> Row:
    done = {answer: sinks.outage(folder / str(n), answer, seed) for n, answer in enumerate(sinks.answers)}
    calls = ", ".join(f"{len(one.waits) + 1} (answer: {answer})" for answer, one in done.items())
    return {
        "what": "a destination that is down, or answers 429, for 30 simulated minutes while 1,800 events come in",
        "came": f"calls made in vain: {calls}; dead letters {sum(one.letters for one in done.values())}, rows missing"
        f" afterwards {sum(one.records - one.rows + one.pending for one in done.values())}",
        "command": f"python -m tests.chaos outage --seed {seed}",
    }


def _poison(seed: int, folder: Path) -> Row:
    done = {culprit: sinks.poison(folder / str(n), culprit, seed) for n, culprit in enumerate(sinks.culprits)}
    worst = max(statistics.quantiles(one.delays, n=100)[98] for one in done.values())
    return {
        "what": f"one affiliate on whom something always fails ({', '.join(done)}) in a stream of four events a second",
        "came": f"the others' rows: p99 {worst:.1f} s, longest {max(max(one.delays) for one in done.values()):.1f} s"
        f" (until the record is isolated), never {sum(one.waiting for one in done.values())}; simulated clock",
        "command": f"python -m tests.chaos poison --seed {seed}",
    }


def _siege(seed: int, folder: Path) -> Row:
    nursery = Nursery()
    connector = Connector(folder, nursery).start()
    load = hostile.Load()
    done = hostile.besiege(connector, load, seed)
    connector.kill()
    nursery.close()
    return {
        "what": f"{load.idle:,} idle connections, {load.slow} bodies at 1 byte/s, {load.wrong_tokens:,} wrong tokens,"
        f" {load.largest} bodies at the limit, {load.fuzzed:,} fuzzed requests, all at once",
        "came": f"health: median {statistics.median(done.health) * 1e3:.0f} ms; honest events: {done.honest_accepted}"
        f" of {done.honest_sent} accepted, {done.arrived} in the table; answers of 5xx: {done.server_errors}",
        "command": f"python -m tests.chaos.hostile --seed {seed}",
    }


def _cluster(seed: int, folder: Path, counts: Mapping[str, int], *, asynchronous: bool = False) -> Row:
    done = cluster.campaign(folder, **counts, sleep_seconds=30.0, seed=seed, asynchronous=asynchronous)
    words = " ".join(f"--{name} {count}" for name, count in counts.items())
    how = ", the connectors committing with `synchronous_commit = off`, to compare" if asynchronous else ""
    came = f"{done.lost:,} of {done.acknowledged:,} acknowledged events lost"
    if not asynchronous:
        came += (
            f"; rows doubled, older or missing: {len(done.wrong) - done.lost};"
            f" take-over: p50 {done.takeover(0.5):.1f} s, p99 {done.takeover(0.99):.1f} s"
        )
    return {
        "what": f"three connectors on one PostgreSQL: SIGKILL {done.kills:,} times, PostgreSQL stopped without a"
        f" checkpoint {done.crashes:,} times, a holder asleep for 30 s {done.sleeps:,} times, under load{how}",
        "came": came,
        "command": f"python -m tests.chaos.cluster {words} --seed {seed}{' --asynchronous' if asynchronous else ''}",
    }


campaigns: Mapping[str, Callable[[int, Path], Row]] = {
    "kills": lambda seed, folder: _killed("csv", 1000, seed, folder),
    "kills-hubspot": lambda seed, folder: _killed("hubspot", 300, seed, folder),
    "kills-sheets": lambda seed, folder: _killed("sheets", 300, seed, folder),
    "power": lambda seed, folder: _power("FULL", 1000, seed, folder),
    "power-failing": lambda seed, folder: _power("FULL", 300, seed, folder, failing=4),
    "power-normal": lambda seed, folder: _power("NORMAL", 200, seed, folder),
    "sinks": _sinks,
    "outage": _outage,
    "poison": _poison,
    "siege": _siege,
    "cluster": lambda seed, folder: _cluster(seed, folder, cluster.full),
    "cluster-asynchronous": lambda seed, folder: _cluster(
        seed, folder, {"kills": 0, "crashes": 5, "both": 0, "sleeps": 0}, asynchronous=True
    ),
}


def table(figures: Mapping[str, Any]) -> str:
    """The figures as docs/guarantees.md has them."""
    lines = ["| What is done | What came of it | Again with |", "|---|---|---|"]
    lines += [
        f"| {row['what']} | {row['came']} | `{row['command']}` |" for name in campaigns if (row := figures.get(name))
    ]
    return "\n".join(lines)


def rendered(text: str, figures: Mapping[str, Any]) -> str:
    """The document *text* with these figures."""
    return _block.sub(lambda _: f"\n{table(figures)}\n\n", text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(campaigns))
    parser.add_argument("--seed", type=int, default=1)
    words = parser.parse_args()
    if unknown := set(words.names) - campaigns.keys():
        parser.error(f"no such campaign: {', '.join(sorted(unknown))}")
    figures: dict[str, Any] = json.loads(results.read_text()) if results.exists() else {}
    for name in words.names or campaigns:
        began = time.monotonic()
        with scratch() as folder:
            figures[name] = campaigns[name](words.seed, folder)
        results.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        sys.stdout.write(f"{name}, {time.monotonic() - began:.0f} s: {figures[name]['came']}\n")
        sys.stdout.flush()
    document.write_text(rendered(document.read_text(encoding="utf-8"), figures), encoding="utf-8")
    sys.stdout.write(f"\n{table(figures)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
