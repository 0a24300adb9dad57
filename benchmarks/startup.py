"""From starting the process to its first answer, against a bare uvicorn with an empty Starlette application."""

from __future__ import annotations

import sys
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks import destinations, measure, servers
from benchmarks.measure import Goal, median

_BARE = (
    "import uvicorn; from starlette.applications import Starlette; uvicorn.run(Starlette(), port={port}, "
    'loop="uvloop", http="httptools", access_log=False, log_level="warning")'
)


def main(words: list[str]) -> None:
    asked = measure.Options("startup", __doc__)
    asked.add_argument("--rounds", type=int, default=11)
    given = asked.given(words)
    seconds: dict[str, list[float]] = {"bare uvicorn": [], "CSV": [], "Google Sheets and HubSpot": []}
    cpu: dict[str, list[float]] = {name: [] for name in seconds}
    with (
        tempfile.TemporaryDirectory() as temporary,
        destinations.destination("hubspot", Path(temporary)) as hubspot,
        destinations.destination("sheets", Path(temporary)) as sheets,
    ):
        sinks = {"CSV": servers.csv_sink, "Google Sheets and HubSpot": f"{hubspot.toml()}\n{sheets.toml()}"}
        for turn in range(given.rounds + 1):
            for name in seconds:
                with _start(name, Path(temporary) / f"{name}-{turn}", sinks.get(name)) as server:
                    spent = measure.cpu_seconds(server.pid)
                if turn:  # the first round fills the disk's cache
                    seconds[name].append(server.ready_after)
                    cpu[name].append(spent)
    found = {
        name: {
            "seconds": median(mine),
            "cpu_seconds": median(cpu[name]),
            "of_bare": median([a / b for a, b in zip(mine, seconds["bare uvicorn"], strict=True)]),
        }
        for name, mine in seconds.items()
    }
    goals = [Goal("Start to first answer, CSV ÷ a bare uvicorn", found["CSV"]["of_bare"], "at most", 2.2)]
    measure.report("startup", found, goals, given)


def _start(name: str, folder: Path, sinks: str | None) -> AbstractContextManager[servers.Server]:
    if sinks is not None:
        return servers.connector(folder, sinks=sinks, name=name)
    port = servers.free_port()
    return servers.running(name, [sys.executable, "-c", _BARE.format(port=port)], port)
