"""A connector that runs as its users run it: its own process, real HTTP, real files. For the tests that kill it.

A process is forked from one that has imported everything and read a configuration once, which builds what is built
when it is first needed (``Nursery``): starting Python fifty times would take a minute. From the fork on it is
`connector serve`, word for word.
"""

from __future__ import annotations

import csv
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import pytest

from connector.store import Store
from connector.store.model import Status

root = Path(__file__).parent.parent
PATIENCE_SECONDS = 60.0
"""How long a test waits for what must come: the patience for a machine that is busy otherwise, not a promise."""
_POLL_SECONDS = 0.01
_T = TypeVar("_T")
tokens = {"firstpromoter": "fp-t0ken-of-the-tests-7c1Zq", "everflow": "ef-t0ken-of-the-tests-9Xk2w"}

config_text = f"""
[server]
port = 0
{{server}}
[store]
url = "sqlite:///data/connector.db"
[retry]
first_wait_seconds = 0.2
[sources.firstpromoter]
type = "firstpromoter"
token = "{tokens["firstpromoter"]}"
[sources.everflow]
type = "everflow"
token = "{tokens["everflow"]}"
[sinks.local]
type = "csv"
path = "data/affiliates.csv"
mappings = ["mappings/local_csv.toml"]
"""

_nursery_code = """
import contextlib, os, pathlib, signal, sys
import connector.cli.main, connector.core.errors, connector.config
import connector.serve, connector.sinks.files.csv_file
import connector.sources.everflow.webhooks, connector.sources.firstpromoter.webhooks, tenacity, uvloop
warm = False
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    config, log = line.rstrip("\\n").split("\\t")
    if not warm:
        with contextlib.suppress(connector.core.errors.ConfigError):
            connector.config.load(pathlib.Path(config))
            warm = True
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        code = connector.cli.main.run(["serve", "--config", config])
        sys.stderr.write('{"event": "exit", "code": %d}\\n' % code)
        sys.stderr.flush()
        os._exit(code)
    print(child, flush=True)
"""


def now() -> datetime:
    return datetime.now(UTC)


def memory() -> Path | None:
    """A file system in memory, where there is one with room: little that is tested depends on how long a disk takes."""
    found = Path("/dev/shm")
    free = found.is_dir() and os.access(found, os.W_OK) and shutil.disk_usage(found).free
    return found if free > 2**30 else None


def installed(found: _T | None, why: str, needed: str) -> _T:
    """*found*, a program that the test needs. Without it the test fails where the variable *needed* is set, and is
    skipped elsewhere; *why* says what is missing."""
    if found is None:
        if os.environ.get(needed):
            pytest.fail(f"{why}, and {needed} is set")
        pytest.skip(why)
    return found


def until(
    look: Callable[[], _T],
    holds: Callable[[_T], object] = bool,
    *,
    seconds: float = PATIENCE_SECONDS,
    beside: Callable[[], object] = lambda: "",
) -> _T:
    """What *look* saw, once it is as *holds* says; fails after *seconds*, and says what it saw last.

    Look once and judge what was seen: two looks may see two states.

    Args:
        beside: what else helps whoever reads that it failed.
    """
    ends = time.monotonic() + seconds
    while not holds(seen := look()):
        assert time.monotonic() < ends, f"not within {seconds:g} s; last seen: {seen!r} {beside()}"
        time.sleep(_POLL_SECONDS)
    return seen


def free_port() -> int:
    """A port for a program that must be told one. It is below those that the system gives to whoever asks for any, so
    that nobody has it before the program listens."""
    while True:
        with socket.socket() as asked, suppress(OSError):
            port = 12_000 + secrets.randbelow(20_000)
            asked.bind(("127.0.0.1", port))
            return port


def at_best(measure: Callable[[], float], promised: float, *, tries: int = 5) -> float:
    """The fewest seconds that *measure* says, asked until they are fewer than *promised*, up to so many times: a busy
    machine is slow now and then, and a broken promise is broken every time."""
    seconds = measure()
    for _ in range(tries - 1):
        if seconds < promised:
            break
        seconds = min(seconds, measure())
    return seconds


class Nursery:
    """Forks connectors. *before*: Python that runs first, for a campaign that must be able to fail."""

    def __init__(self, before: str = "") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", before + _nursery_code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
        )

    def fork(self, config: Path, log: Path) -> int:
        """Start `connector serve --config …`; its process id."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{config}\t{log}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_SECONDS)
        self._process.stdout.close()


class Connector:
    """One installation in *folder*: its configuration, its data, and at most one process at a time."""

    def __init__(self, folder: Path, nursery: Nursery, *, server: str = "") -> None:
        self.folder = folder
        self._nursery = nursery
        self.config = folder / "config.toml"
        self.config.write_text(config_text.replace("{server}", server), encoding="utf-8")
        (folder / "mappings").mkdir(exist_ok=True)
        mapping = root / "mappings" / "local_csv.toml"
        (folder / "mappings" / mapping.name).write_bytes(mapping.read_bytes())
        self.table = folder / "data" / "affiliates.csv"
        self.log = folder / "log.jsonl"
        self.pid: int | None = None
        self.port: int | None = None

    # ------------------------------------------------ its life

    def launch(self) -> None:
        """Start the process, and don't wait for it."""
        assert self.pid is None
        self.port = None
        self.log.unlink(missing_ok=True)
        self.pid = self._nursery.fork(self.config, self.log)

    def start(self) -> Connector:
        """Start the process and wait until it listens."""
        self.launch()
        assert self.wait_until_it_listens(PATIENCE_SECONDS), self.log.read_text()
        return self

    def wait_until_it_listens(self, seconds: float) -> bool:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            if self.look_for_port():
                return True
            if not self.runs():
                return False
            time.sleep(0.005)
        return False

    def look_for_port(self) -> int | None:
        if self.port is None:
            for line in self.lines():
                if line.get("event") in ("server.started", "server.waits"):
                    self.port = int(line["url"].rpartition(":")[2])
        return self.port

    def runs(self) -> bool:
        if self.pid is None:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> float:
        """SIGTERM; the seconds it took."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> float:
        began = time.monotonic()
        if self.pid is not None:
            try:
                os.kill(self.pid, number)
                while self.runs():
                    assert time.monotonic() - began < PATIENCE_SECONDS, "the process does not end"
                    time.sleep(0.002)
            except ProcessLookupError:
                pass
            self.pid = self.port = None
        return time.monotonic() - began

    # ------------------------------------------------ what goes in

    def post(self, source: str, body: bytes, topic: str | None = None) -> tuple[int, Any]:
        """Send a webhook over its own connection: status and answer."""
        assert self.port is not None
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            query = f"?token={tokens[source]}" + (f"&topic={quote(topic)}" if topic else "")
            connection.request("POST", f"/hooks/{source}{query}", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def send(self, source: str, event: Mapping[str, Any], topic: str | None = None) -> None:
        """Send a webhook that must be accepted."""
        status, answer = self.post(source, json.dumps(event).encode(), topic)
        assert (status, answer["status"]) == (202, "accepted")

    # ------------------------------------------------ what comes out

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of this installation, in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "connector", *words, "--config", str(self.config)],
            cwd=root, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    def status(self) -> Status:
        """How the store stands, looked at from beside the running process."""
        store = Store(f"sqlite:///{self.folder / 'data' / 'connector.db'}", worker=False, now=now)
        try:
            return store.status()
        finally:
            store.close()

    def wait_until(
        self, look: Callable[[], _T], holds: Callable[[_T], object] = bool, *, seconds: float = PATIENCE_SECONDS
    ) -> _T:
        """As ``until``; a failure shows the end of the log too."""
        return until(look, holds, seconds=seconds, beside=lambda: f"beside the log {self.lines()[-5:]}")

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged; a line that is being written is left out."""
        if not self.log.exists():
            return []
        found: list[dict[str, Any]] = []
        for line in self.log.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def rows(self) -> dict[str, dict[str, str]]:
        """The table, by the affiliate's id."""
        if not self.table.exists():
            return {}
        with self.table.open(encoding="utf-8-sig", newline="") as file:
            return {row["Affiliate ID"]: row for row in csv.DictReader(file)}

    def wait_for(
        self, expected: Mapping[str, Mapping[str, str]], *, seconds: float = PATIENCE_SECONDS
    ) -> dict[str, dict[str, str]]:
        """The table, once its rows have the expected cells; fails after *seconds*, saying what is different."""
        ends = time.monotonic() + seconds
        while True:
            rows = self.rows()
            wrong = {
                (record, column): (rows.get(record, {}).get(column), cell)
                for record, cells in expected.items()
                for column, cell in cells.items()
                if rows.get(record, {}).get(column) != cell
            }
            missing = expected.keys() - rows.keys()
            if not wrong and not missing:
                return rows
            assert time.monotonic() < ends, f"after {seconds:g} s, (is, should be): {wrong}; missing: {sorted(missing)}"
            time.sleep(_POLL_SECONDS)
