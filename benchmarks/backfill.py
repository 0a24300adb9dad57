"""How fast a platform's API is read into records that every route owes, and that memory does not grow with the list."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks import measure
from tests.far_sides.platform_servers import ACCOUNT, KEY, Everflow, FirstPromoterV1, FirstPromoterV2, Platform

apis: Mapping[str, Callable[[int], Platform]] = {
    "firstpromoter v1": FirstPromoterV1,
    "firstpromoter v2": FirstPromoterV2,
    "everflow": Everflow,
}


def _serve(name: str, count: int, pipe: Connection) -> None:
    """The far side, in a process of its own."""
    with apis[name](count) as platform:
        pipe.send(platform.url)
        pipe.recv()
        pipe.send(platform.pages)


def _now() -> datetime:
    return datetime.now(UTC)


def _source(name: str, url: str) -> Any:
    from connector.plugins import source_class

    kind = name.split()[0]
    made: Any = source_class(kind)
    # The true pace is the platform's; here it is as fast as the settings allow.
    options = {"type": kind, "token": "x" * 24, "api_key": KEY, "base_url": url, "requests_per_minute": 6000}
    if name == "firstpromoter v2":
        options["account_id"] = ACCOUNT
    return made(kind, made.Options.model_validate(options))


def read(name: str, url: str, folder: Path) -> dict[str, Any]:
    """One reading, as ``connector backfill`` does it beside a server."""
    from connector.backfill import reading as backfill
    from connector.file_lock import FileLock
    from connector.store.store import open_store

    source = _source(name, url)
    store = open_store(str(folder / "c.db"), worker=False, now=_now)
    began = time.perf_counter()
    lock = FileLock(folder / "lock")
    report = backfill.read(source, backfill.Reading(), store, lock, stop=threading.Event(), now=_now)
    seconds = time.perf_counter() - began
    store.close()
    return {
        "read": report.read, "new": report.new, "changed": report.changed, "gone": report.gone, "calls": report.calls,
        "seconds": seconds, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip


def project(name: str, url: str, folder: Path) -> dict[str, Any]:
    """What the server makes of it, with two routes."""
    from connector.dead_letters import DeadLetters
    from connector.projector import Projector
    from connector.store.store import open_store

    source = _source(name, url)
    store = open_store(str(folder / "c.db"), worker=True, now=_now)
    store.enroll(["one/all", "two/all"])
    letters = DeadLetters(folder / "dead.jsonl", now=_now)
    projector = Projector(store, {source.name: source}, letters, stop=threading.Event(), now=_now)
    began = time.perf_counter()
    while projector.step():
        pass
    seconds = time.perf_counter() - began
    status = store.status()
    store.close()
    pending = {route.route: route.pending for route in status.routes}
    return {"records": status.records, "pending": pending, "seconds": seconds}


parts: Mapping[str, Callable[[str, str, Path], dict[str, Any]]] = {"read": read, "project": project}


def _measured(name: str, count: int) -> dict[str, dict[str, Any]]:
    """A reading of a full platform, its projection, and a reading of the same platform unchanged: a process each."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(name, count, theirs), daemon=True)
    server.start()
    found: dict[str, dict[str, Any]] = {}
    try:
        url = ours.recv()
        with tempfile.TemporaryDirectory() as folder:
            for step, part in (("first", "read"), ("projected", "project"), ("again", "read")):
                command = [sys.executable, "-m", "benchmarks.backfill", f"--{part}", name, url, folder]
                done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=900)  # noqa: S603
                found[step] = json.loads(done.stdout)
        ours.send("done")
        ours.recv()
    finally:
        server.join(10)
        if server.is_alive():
            server.terminate()
    if found["projected"]["records"] != count or set(found["projected"]["pending"].values()) != {count}:
        raise RuntimeError(f"{name}: not all of {count} are recorded and pending: {found['projected']}")
    if any(found["again"][word] for word in ("new", "changed", "gone")):
        raise RuntimeError(f"{name}: an unchanged platform was not found unchanged: {found['again']}")
    return found


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks backfill", description=__doc__)
    parser.add_argument("--affiliates", type=int, nargs="+", default=[2_000, 20_000])
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args(words)
    found: dict[str, Any] = {}
    rows = []
    for name in apis:
        for count in asked.affiliates:
            rounds = [_measured(name, count) for _ in range(asked.rounds)]

            def rate(step: str, rounds: list[dict[str, Any]] = rounds, count: int = count) -> int:
                return round(measure.median([count / each[step]["seconds"] for each in rounds]))

            figures = {
                "read, affiliates per second": rate("first"), "projected, affiliates per second": rate("projected"),
                "read unchanged, affiliates per second": rate("again"),
                "peak MiB of the first reading": round(measure.median([x["first"]["peak_mib"] for x in rounds]), 1),
                "peak MiB of the second": round(measure.median([x["again"]["peak_mib"] for x in rounds]), 1),
                "requests": rounds[0]["first"]["calls"],
            }  # fmt: skip
            found[f"{name}, {count}"] = figures
            rows.append((name, f"{count:,}", *figures.values()))
    head = (
        "API",
        "affiliates",
        "read/s",
        "projected/s",
        "unchanged: read/s",
        "peak MiB",
        "unchanged: peak",
        "requests",
    )
    measure.show("reading an API as fast as the far side answers", head, rows)
    measure.keep("backfill", {"rounds": asked.rounds, "found": found})


if __name__ == "__main__":
    part = parts[sys.argv[1].removeprefix("--")]
    sys.stdout.write(json.dumps(part(sys.argv[2], sys.argv[3], Path(sys.argv[4]))))
