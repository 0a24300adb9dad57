"""The servers that are measured, each a process of its own."""

from __future__ import annotations

import compileall
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

TOKEN = "benchmark-token-of-32-characters"  # noqa: S105 - it guards a server on this machine for a minute
root = Path(__file__).parents[1]

_CONFIG = """
[server]
port = {port}
{roles}
[store]
url = "{store}"
[dead_letters]
path = "{folder}/dead-letters.jsonl"
[sources.firstpromoter]
type = "firstpromoter"
token = "{token}"
{more}
"""

csv_sink = """
[sinks.local]
type = "csv"
path = "{folder}/affiliates.csv"
mappings = ["{mappings}/local_csv.toml"]
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    name: str
    pid: int
    url: str
    ready_after: float


def free_port() -> int:
    """A port on which nothing listens at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(name: str, command: Sequence[str], port: int, *, cpu: int | None = None) -> Iterator[Server]:
    """Start *command*, wait until ``/healthz`` answers, stop it with SIGTERM at the end."""
    began = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 - our own interpreter
        list(command),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=None if cpu is None else lambda: os.sched_setaffinity(0, {cpu}),
    )
    try:
        base = f"http://127.0.0.1:{port}"
        for _ in range(2_000):
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended with {process.returncode}: {' '.join(command)}")
            try:
                with urllib.request.urlopen(f"{base}/healthz", timeout=5):  # noqa: S310 - loopback
                    break
            except urllib.error.HTTPError:
                break  # it has no such page, but it answers
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.002)
        yield Server(name, process.pid, f"{base}/hooks/firstpromoter?token={TOKEN}", time.perf_counter() - began)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def connector(
    folder: Path,
    *,
    cpu: int | None = None,
    sinks: str = csv_sink,
    name: str = "connector",
    store: str | None = None,
    roles: str = "",
) -> AbstractContextManager[Server]:
    """The whole program as ``connector serve`` starts it, its data under *folder*, or in *store*."""
    port = free_port()
    more = sinks.format(folder=folder, mappings=root / "mappings")
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.toml"
    # An installed package has its byte code; a clone may have none, and then would be compiled at each start.
    compileall.compile_dir(root / "connector", quiet=1)
    config.write_text(
        _CONFIG.format(
            port=port,
            folder=folder,
            token=TOKEN,
            more=more,
            roles=roles,
            store=store or f"sqlite:///{folder}/connector.db",
        )
    )
    return running(name, [sys.executable, "-m", "connector", "--config", str(config), "serve"], port, cpu=cpu)


def endpoint(name: str, folder: Path, *, cpu: int | None = None) -> AbstractContextManager[Server]:
    """One of ``benchmarks.endpoints``."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "benchmarks.endpoints", name, "--port", str(port), "--folder", str(folder)]
    return running(name, command, port, cpu=cpu)
