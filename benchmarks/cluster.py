"""Several connectors on one PostgreSQL: what receiving costs with 1, 2 and 4 processes, and delivering four sinks.

The cluster is made for the benchmark and flushes its disk as shipped. Connectors, PostgreSQL and load share the
machine's processors, which bound all rates; the processor time of a request or a row says what a larger machine does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import measure, servers, stores
from benchmarks.measure import Goal
from connector.app.duties import Duty, Sharing
from connector.core.mapping import Evaluation
from connector.core.record import AffiliateRecord
from connector.core.row import Row
from connector.core.sink import Outcome, Target, TargetOptions
from connector.dead_letters import LetterTable
from connector.delivery import Retry, Route, RouteWorker
from connector.store import Store
from connector.store.model import Batch, Saved
from connector.store.processes import lease_of
from tests.postgres import Cluster, own_cluster

_ROUTES = tuple(f"sink{number}/all" for number in range(4))
_ROWS_A_CALL = 100
_COUNTS = (1, 2, 4)


class Waiting:
    """A destination that takes every row, *seconds* after the call."""

    batch_rows = _ROWS_A_CALL

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def pace(self, target: Target) -> float:  # noqa: ARG002
        return 0.0

    def write(self, target: Target, rows: Sequence[Row]) -> list[Outcome]:  # noqa: ARG002
        time.sleep(self._seconds)
        return [Outcome(row.key, "written") for row in rows]


def main(words: list[str]) -> None:
    if words[:1] == ["--process"]:
        _process(words[1:])
        return
    asked = measure.Options("cluster", __doc__)
    asked.add_argument("--seconds", type=float, default=5.0, help="of receiving")
    asked.add_argument("--connections", type=int, default=64)
    asked.add_argument("--records", type=int, default=10_000, help="delivered to each sink at 0 ms a call")
    asked.add_argument("--slow-records", type=int, default=5_000, help="the same at 50 ms")
    given = asked.given(words)
    found: dict[str, dict[str, float]] = {}
    with own_cluster() as cluster:
        for count in _COUNTS:
            found[f"receive {count}"] = _receive(cluster, count, given)
        for milliseconds, records in ((0, given.records), (50, given.slow_records)):
            for count in _COUNTS:
                found[f"deliver {count}, {milliseconds} ms"] = _deliver(cluster, count, milliseconds / 1000, records)
    measure.report("cluster", found, _goals(found), given)


def _goals(found: dict[str, dict[str, float]]) -> list[Goal]:
    def ratio(name: str, count: int, figure: str = "per_second") -> float:
        one, many = name.format(1), name.format(count)
        return found[many][figure] / found[one][figure]

    fast, slow = "deliver {}, 0 ms", "deliver {}, 50 ms"
    webhook, row = found["receive 1"], found["deliver 1, 0 ms"]
    return [
        Goal("Cluster: CPU a webhook", webhook["cpu_us"], "at most", 600, "µs"),
        Goal("Cluster: PostgreSQL's", webhook["postgres_cpu_us"], "at most", 600, "µs"),
        Goal("Cluster: CPU a row", row["cpu_us"], "at most", 500, "µs"),
        Goal("Cluster: PostgreSQL's", row["postgres_cpu_us"], "at most", 500, "µs"),
        Goal("Cluster, 50 ms a call: rows/s, 2 ÷ 1", ratio(slow, 2), "at least", 0.95),
        Goal("Cluster, 50 ms a call: rows/s, 4 ÷ 1", ratio(slow, 4), "at least", 0.95),
        Goal("Cluster, 0 ms a call: rows/s, 2 ÷ 1", ratio(fast, 2), "at least", 1.3),
    ]


class _Cpu:
    """Processor time of the connectors and of PostgreSQL, from now on."""

    def __init__(self, cluster: Cluster, pids: Sequence[int]) -> None:
        self._cluster, self._pids = cluster, pids
        self._ours, self._postgres = self._spent(pids), self._spent(cluster.pids())

    @staticmethod
    def _spent(pids: Sequence[int]) -> float:
        return sum(measure.cpu_seconds(pid) for pid in pids if Path(f"/proc/{pid}").exists())

    def figures(self, count: int) -> dict[str, float]:
        ours, postgres = self._spent(self._pids) - self._ours, self._spent(self._cluster.pids()) - self._postgres
        return {"cpu_us": max(ours, 0.01) / count * 1e6, "postgres_cpu_us": max(postgres, 0.01) / count * 1e6}


# ---------------------------------------------------------------- receiving


def _receive(cluster: Cluster, count: int, given: argparse.Namespace) -> dict[str, float]:
    with cluster.database() as url, tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        running = [
            stack.enter_context(
                servers.connector(
                    Path(temporary) / str(number), store=url, roles='roles = ["receive"]', sinks=_SINK,
                    name=f"receiver {number}",
                )
            )
            for number in range(count)
        ]  # fmt: skip
        time.sleep(1)
        cpu = _Cpu(cluster, [server.pid for server in running])
        loads = [_load(server, given, number, count) for number, server in enumerate(running)]
        answers = [json.loads(load.communicate(timeout=given.seconds + 120)[0]) for load in loads]
        if any(set(each["answers"]) != {"202"} for each in answers):
            raise RuntimeError(f"not all were accepted: {[each['answers'] for each in answers]}")
        requests = sum(each["requests"] for each in answers)
        return {
            "per_second": sum(each["per_second"] for each in answers),
            "p50_ms": measure.median([each["p50_ms"] for each in answers]),
            "p99_ms": max(each["p99_ms"] for each in answers),
            **cpu.figures(requests),
        }


_SINK = """
[sinks.local]
type = "csv"
only_on = "nowhere"
path = "{folder}/affiliates.csv"
mappings = ["{mappings}/local_csv.toml"]
"""


def _load(server: servers.Server, given: argparse.Namespace, number: int, count: int) -> subprocess.Popen[str]:
    command = [
        sys.executable, "-m", "benchmarks.load", server.url, "--connections", str(max(1, given.connections // count)),
        "--seconds", str(given.seconds), "--first", str(number * 10_000_000),
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603


# ---------------------------------------------------------------- delivering


def _deliver(cluster: Cluster, count: int, seconds: float, records: int) -> dict[str, float]:
    with cluster.database() as url:
        store = Store(url, worker=False, now=stores.utc_now)
        store.enroll(_ROUTES)
        command = [sys.executable, "-m", "benchmarks", "cluster", "--process", url, str(seconds)]
        processes = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(count)]  # noqa: S603
        try:
            _wait_until_shared(store, count)
            for start in range(0, records, 1_000):
                saved = [Saved(f"plain:{n}", 0, 1, b"[]") for n in range(start, min(records, start + 1_000))]
                store.commit(Batch(store.epoch(), [], saved))
                if start == 0:
                    cpu, began = _Cpu(cluster, [process.pid for process in processes]), time.perf_counter()
            measure.wait_until(lambda: _is_done(store), "all is delivered", seconds=600, every=0.05)
            took = time.perf_counter() - began
            rows = records * len(_ROUTES)
            return {"per_second": rows / took, **cpu.figures(rows)}
        finally:
            for process in processes:
                process.communicate()  # its input ends: it stops
            store.close()


def _wait_until_shared(store: Store, count: int) -> None:
    def shared() -> bool:
        owned = [sum(name.startswith("sink ") for name in each.owns) for each in store.processes()]
        return sum(owned) == len(_ROUTES) and sorted(owned) == sorted([len(_ROUTES) // count] * count)

    measure.wait_until(shared, "the sinks are shared out", seconds=60)


def _is_done(store: Store) -> bool:
    # Not by ``status``, which counts what is pending: asked all the time, it takes as much as the deliveries.
    return all(store.next_due(route) is None for route in _ROUTES)


def _process(words: Sequence[str]) -> None:
    """A process that delivers, until its input ends."""
    url, seconds = words[0], float(words[1])
    store = Store(url, worker=True, now=stores.utc_now)
    store.join(["deliver"], _ROUTES)
    duties = [_duty(store, route, seconds) for route in _ROUTES]
    sharing = Sharing(duties, store)
    thread = threading.Thread(target=sharing.run)
    thread.start()
    sys.stdin.read()
    sharing.stop()
    thread.join()
    for duty in duties:
        duty.end(for_good=True)
        duty.threads.join(time.monotonic() + 10)
    sharing.close()
    store.close()


def _duty(store: Store, name: str, seconds: float) -> Duty:
    target = Target(name, (), "Affiliate ID", TargetOptions(), "")
    sink: Any = Waiting(seconds)
    letters = LetterTable(lambda: _Itself(store), now=stores.utc_now)
    duty: Duty
    worker: RouteWorker
    duty = Duty(lease_of(name), lambda: [(name, worker.run)], lambda: worker.bell.set(), routes=[name], weight=1)
    route = Route(name, sink, target, _evaluate)
    worker = RouteWorker(route, store, letters, Retry(), stop=duty.stop, now=stores.utc_now)
    ring: Callable[[], None] = worker.bell.set
    store.on_pending(ring)
    return duty


def _evaluate(record: AffiliateRecord) -> Evaluation:
    return Evaluation(rows=(Row(record.id, record.id, {"Affiliate ID": record.id}),))


class _Itself:
    """A store that stays open."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __enter__(self) -> Store:
        return self._store

    def __exit__(self, *_: object) -> None:
        pass
