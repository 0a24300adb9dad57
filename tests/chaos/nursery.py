"""Lives that end by SIGKILL: forked from one warm process (``python -m tests.chaos.nursery KIND``), one after another.

A job comes in as a line of JSON (``Job``); the child's process id and what became of it go out as lines.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path

from connector.core.errors import StoreUnavailable
from tests.chaos.disk_trace import Tracer
from tests.chaos.engine import Engine, Kind, Points, now
from tests.running import PATIENCE_SECONDS, root


@dataclass(frozen=True, slots=True)
class Job:
    """One life.

    Args:
        journal: gets a line for every event, ``sent N`` and ``accepted N``, by plain writes: they survive the writer.
        first, again: the number of its first new event; events that were not answered before, sent again.
        point, passes: where to die, see ``Points``.
        changes: die before that many changes on disk; 0: don't.
        seconds: die after that long; None: don't. Then the projector and the route run in threads of their own.
    """

    folder: str
    kind: Kind
    journal: str
    seed: int
    first: int
    again: Sequence[int] = ()
    point: str = ""
    passes: int = 0
    changes: int = 0
    seconds: float | None = None
    far_side: dict[str, str] = field(default_factory=dict)


def live(job: Job) -> None:
    """Receive, project, deliver and prune, in an order that follows from the seed, until something kills us."""
    with suppress(FileNotFoundError):  # else a file that changed a moment ago would be left to settle for half a second
        os.utime(Path(job.folder) / "table.csv", (time.time() - 10, time.time() - 10))
    journal = os.open(job.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    if job.changes:
        tracer = Tracer()
        tracer.begin(Path(job.folder))
        tracer.kill_in(job.changes)
    engine = Engine(
        Path(job.folder), job.kind, job.far_side, Points(job.point, job.passes),
        lambda number: _write(journal, f"accepted {number}"),
    )  # fmt: skip
    chance = random.Random(job.seed)
    again, fresh = list(job.again), job.first
    in_threads = job.seconds is not None
    if in_threads:
        threading.Thread(target=engine.projector.run, daemon=True).start()
        threading.Thread(target=engine.worker.run, daemon=True).start()
    for _ in range(10_000 if in_threads else 80):
        action = chance.choice(("receive", "receive", "project", "deliver", "deliver", "deliver", "prune"))
        if action == "receive":
            count = chance.randint(1, 8)
            numbers = [*again[:4], *range(fresh, fresh + count)]
            again, fresh = again[4:], fresh + count
            for number in numbers:
                _write(journal, f"sent {number}")
            engine.receive(numbers)
        elif action == "prune":
            with suppress(StoreUnavailable):
                engine.store.prune(now() - timedelta(seconds=0.01 if chance.random() < 0.5 else 60))
        elif in_threads:
            time.sleep(0.001)
        elif action == "project":
            engine.project()
        else:
            engine.deliver()
    os._exit(0)


def _write(file: int, line: str) -> None:
    os.write(file, line.encode() + b"\n")


def main(kind: Kind) -> None:
    for name in {"hubspot": ["hubspot"], "sheets": ["google_sheets"]}.get(kind, []):
        importlib.import_module(f"connector.sinks.{name}")
    for line in sys.stdin:
        job = Job(**json.loads(line))
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            try:
                live(job)
            finally:
                os._exit(1)
        print(child, flush=True)  # noqa: T201
        ends = time.monotonic() + (PATIENCE_SECONDS if job.seconds is None else job.seconds)
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            if time.monotonic() >= ends:
                os.kill(child, signal.SIGKILL)
                _, status = os.waitpid(child, 0)
                if job.seconds is None:
                    print("hangs", flush=True)  # noqa: T201
                break
            time.sleep(0.001)
        if not done and job.seconds is None:
            continue
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print("killed" if killed else f"exit {os.waitstatus_to_exitcode(status)}", flush=True)  # noqa: T201


class Nursery:
    """Runs jobs in a nursery; *library* is the tracer of disk changes, or None without one."""

    def __init__(self, kind: Kind, library: Path | None) -> None:
        preload = {} if library is None else {"LD_PRELOAD": str(library)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.nursery", kind], cwd=root, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **preload},
        )  # fmt: skip
        self.child = 0
        """The life under way."""

    def run(self, job: Job) -> str:
        """``killed``, ``hangs``, or ``exit`` and the code."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(job)) + "\n")
        self._process.stdin.flush()
        self.child = int(self._process.stdout.readline())
        ended = self._process.stdout.readline().strip()
        self.child = 0
        return ended

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_SECONDS)
        self._process.stdout.close()


if __name__ == "__main__":
    main(sys.argv[1])  # type: ignore[arg-type]
