"""HubSpot and Google Sheets in a process of their own: the tests' servers (``tests/far_sides``), with the limits of the
APIs on a clock that may run faster. They note when each value arrives, and answer over a pipe what they counted.
"""

from __future__ import annotations

import contextlib
import gc
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from connector.core.mapping.loader import load
from connector.core.sink import Sink, Target
from tests.far_sides.hubspot_server import HubSpotServer
from tests.far_sides.loopback import Call, Fault, Reply
from tests.far_sides.sheets_server import SheetsServer

mappings = Path(__file__).parents[1] / "mappings"
HUBSPOT_TOKEN = "pat-eu1-0123456789abcdef-test-token"  # noqa: S105 - a test server's
earned = {"hubspot": "affiliate_earned", "sheets": "Commission", "csv": "Commission"}
"""Where the number of the event stands in a row: ``bodies`` puts it in place of every sum."""


def value_of(number: int) -> str:
    """What stands there after event *number*: the number among other digits, in cents."""
    return f"{(700_000_001 + number % 10_000_000 * 10) / 100:.2f}"


class _HubSpot(HubSpotServer):
    """Notes when each value of ``affiliate_earned`` has been written."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.arrived: dict[str, float] = {}

    def answer(self, call: Call) -> Reply:
        reply = super().answer(call)
        if "/batch/u" in call.path and reply.status < 300:
            at = time.monotonic()
            for item in call.json["inputs"]:
                self.arrived.setdefault(item["properties"].get("affiliate_earned", ""), at)
        return reply

    def figures(self) -> dict[str, Any]:
        calls = [call for call in self.calls if "/objects/" in call.path]
        return {
            "calls": len(calls), "writes": self.writes, "rows": len(self.records["contacts"]),
            "other_calls": len(self.calls) - len(calls), "refused_by_quota": self.quota_refusals,
        }  # fmt: skip


class _Sheets(SheetsServer):
    """Notes when each number has been written into a cell of the first rows."""

    watched_rows = 50

    def __init__(self, *, latency_seconds: float = 0.0, **options: Any) -> None:
        # Google's work on a call is *latency_seconds*; this server's is the machine's, so it leaves out the checks.
        super().__init__(checks=False, **options)
        self.arrived: dict[str, float] = {}
        self.book.add("Sheet1")
        if latency_seconds:
            # Google is busy for that long with a call, and answers then; the sign-in is another host's.
            self.fault_for = lambda call: None if call.path == "/token" else Fault(delay_seconds=latency_seconds)

    def answer(self, call: Call) -> Reply:
        reply = super().answer(call)
        if call.path.endswith(":batchUpdate") and reply.status < 300:
            at = time.monotonic()
            for row in self.book.tabs[-1].grid(self.watched_rows):
                for cell in row:
                    if isinstance(cell, float) and cell > 1e6:
                        self.arrived.setdefault(f"{cell:.2f}", at)
        return reply

    def figures(self) -> dict[str, Any]:
        grid = self.book.tabs[-1].grid()
        rows = sum(1 for row in grid[1:] if any(cell is not None for cell in row))
        return {
            "calls": len(self.api_calls), "writes": self.kinds().count("w"), "rows": rows, "other_calls": self.tokens,
            "refused_by_quota": self.refused_by_quota,
        }  # fmt: skip


def _serve(pipe: Connection, kind: str, scale: float, options: dict[str, Any]) -> None:
    gc.disable()  # collecting among a million cells takes longer than answering, and the process ends soon
    clock: Callable[[], float] = lambda: time.monotonic() * scale  # noqa: E731 - the same instant in every process
    made: Any = _HubSpot(token=HUBSPOT_TOKEN, clock=clock, **options) if kind == "hubspot" else None
    if made is None:
        made = _Sheets(clock=clock, **options)
    with made as server:
        pipe.send((server.url, server.credentials() if kind == "sheets" else {}, getattr(server, "book", None)
                   and server.book.id))  # fmt: skip
        while (asked := pipe.recv()) != "stop":
            pipe.send(server.figures() if asked == "figures" else server.arrived)


@dataclass(frozen=True)
class Destination:
    """A running server; *options* are those of ``[sinks.NAME]``."""

    kind: str
    url: str
    options: dict[str, Any]
    pipe: Connection

    def figures(self) -> dict[str, Any]:
        self.pipe.send("figures")
        found: dict[str, Any] = self.pipe.recv()
        return found

    def arrived(self) -> dict[str, float]:
        """When each value arrived, by ``time.monotonic()``."""
        self.pipe.send("arrived")
        found: dict[str, float] = self.pipe.recv()
        return found

    def toml(self, mapping: Path | None = None) -> str:
        """``[sinks.NAME]`` of a configuration."""
        lines = [f"{name} = {json.dumps(value)}" for name, value in self.options.items()]
        return "\n".join([f"[sinks.{self.kind}]", *lines, f"mappings = [{json.dumps(str(mapping or self.mapping))}]"])

    @property
    def mapping(self) -> Path:
        return mappings / ("hubspot_contacts.toml" if self.kind == "hubspot" else "google_sheets.toml")


@contextlib.contextmanager
def destination(kind: str, folder: Path, *, scale: float = 1.0, **options: Any) -> Iterator[Destination]:
    """Start the server of *kind* (``hubspot``, ``sheets``); *scale*: how many seconds its clock counts in one."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, kind, scale, options), daemon=True)
    process.start()
    try:
        url, credentials, book = mine.recv()
        if kind == "hubspot":
            settings = {"type": "hubspot", "access_token": HUBSPOT_TOKEN, "base_url": url}
        else:
            key = folder / "service-account.json"
            key.write_text(json.dumps(credentials))
            settings = {
                "type": "google_sheets", "spreadsheet": book, "credentials_file": str(key), "base_url": url,
            }  # fmt: skip
        yield Destination(kind, url, settings, mine)
    finally:
        with contextlib.suppress(OSError):
            mine.send("stop")
        process.join(5)
        if process.is_alive():
            process.kill()


def sink_and_target(server: Destination, host: Any) -> tuple[Sink, Target, Any]:
    """The true sink on *server* with the shipped mapping."""
    from connector.plugins import sink_class

    made: Any = sink_class(server.options["type"])
    text = server.mapping.read_text(encoding="utf-8")
    mapping = load(text, file=server.mapping.name, target_options=made.TargetOptions)
    target = Target(f"{server.kind}/{server.mapping.stem}", mapping.columns, mapping.key, mapping.options, mapping.file)
    sink = made(server.kind, made.Options(mappings=(str(server.mapping),), **server.options), host)
    return sink, target, mapping.evaluate
