"""From starting the process to its first answer, against a bare uvicorn with an empty Starlette application."""

from __future__ import annotations

import sys
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from benchmarks import far_sides, measure, servers
from benchmarks.measure import Goal, median

_bare = "import uvicorn; from starlette.applications import Starlette; uvicorn.run(Starlette(), port={port}, {more})"
_model = """
from pydantic import BaseModel, Field
class Server(BaseModel):
    port: int = Field(ge=1)
Server(port=1)
"""
_more = 'loop="uvloop", http="httptools", access_log=False, log_level="warning"'


def main(words: list[str]) -> None:
    asked = measure.parser("startup", __doc__)
    asked.add_argument("--rounds", type=int, default=11)
    given = asked.parse_args(words)
    bare = {"bare uvicorn": "", "bare, and a Pydantic model of one setting": _model}
    seconds: dict[str, list[float]] = {name: [] for name in (*bare, "csv", "sheets and hubspot")}
    cpu: dict[str, list[float]] = {name: [] for name in seconds}
    with (
        tempfile.TemporaryDirectory() as temporary,
        far_sides.far_side("hubspot", Path(temporary)) as hubspot,
        far_sides.far_side("sheets", Path(temporary)) as sheets,
    ):
        more = {"csv": servers.csv_sink, "sheets and hubspot": f"{hubspot.toml()}\n{sheets.toml()}"}
        for turn in range(given.rounds + 1):
            for name in seconds:
                if name in bare:
                    port = servers.free_port()
                    command = [sys.executable, "-c", bare[name] + _bare.format(port=port, more=_more)]
                    start: AbstractContextManager[servers.Server] = servers.running(name, command, port)
                else:
                    start = servers.connector(Path(temporary) / f"{name}-{turn}", sinks=more[name], name=name)
                with start as server:
                    spent = measure.cpu_seconds(server.pid)
                if turn:  # the first round fills the disk's cache
                    seconds[name].append(server.ready_after)
                    cpu[name].append(spent)
    found: dict[str, Any] = {
        name: {
            "seconds": median(mine),
            "cpu_seconds": median(cpu[name]),
            "of_bare": median([a / b for a, b in zip(mine, seconds["bare uvicorn"], strict=True)]),
        }
        for name, mine in seconds.items()
    }
    if not given.json:
        measure.show(
            f"startup, {given.rounds} rounds",
            ["server", "seconds", "CPU seconds", "of bare uvicorn"],
            [[name, *row.values()] for name, row in found.items()],
        )
    again = "python -m benchmarks startup"
    goals = [
        Goal("CSV: start to the first answer, of bare uvicorn's", found["csv"]["of_bare"], "at most", 1.5, "", again)
    ]
    measure.report("startup", {"by_server": found}, goals, given)
