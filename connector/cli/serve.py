"""`connector serve` and `connector drain`: the program itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from connector import logs
from connector.cli import main
from connector.cli.common import ConfigOption, JsonOption, load
from connector.cli.exits import FOUND_PROBLEMS, OK
from connector.cli.printing import Report, many, marked, show

HostOption = Annotated[str | None, typer.Option(help="Listen there instead of where the configuration says.")]
PortOption = Annotated[int | None, typer.Option(min=0, max=65535, help="The port to listen on; 0: any.")]


def serve(
    config: ConfigOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="More lines in the log.")] = False,
    host: HostOption = None,
    port: PortOption = None,
) -> int:
    """Receive webhooks and keep the tables right until stopped."""
    return main.serve(config, verbose=verbose, host=host, port=port)


class Drained(Report):
    """What ``drain`` left behind: rows pending by route."""

    pending: dict[str, int]

    def body(self) -> Iterator[str]:
        for route, count in self.pending.items():
            if count:
                yield from marked("waiting", f"{route}  {count:,} pending")

    def exit_code(self) -> int:
        return FOUND_PROBLEMS if any(self.pending.values()) else OK


def drain(config: ConfigOption = None, as_json: JsonOption = False) -> int:
    """Deliver what is pending, then leave. For when the server is stopped: receives nothing meanwhile."""
    from connector import app

    settings = load(config, uses=("sinks",))
    logs.set_up(hidden=settings.secrets)
    pending = app.drain(settings)
    waiting = [route for route, count in pending.items() if count]
    summary = (
        f"{len(waiting)} of {many(len(pending), 'route')} could not deliver all." if waiting else "All is delivered."
    )
    following = "connector status" if waiting else ""
    report = Drained(pending, summary=summary, level="" if waiting else "ok", next=following)
    return show(report, as_json=as_json)
