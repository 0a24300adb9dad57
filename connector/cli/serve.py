"""`connector serve`, `connector drain` and `connector reload`: the program itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from connector import logs
from connector.changes.reload import Answer, answer_of, ask
from connector.cli import main
from connector.cli.common import ConfigOption, JsonOption, is_running, load, nearby, visited
from connector.cli.exits import FOUND_PROBLEMS, OK, WRONG_CONFIGURATION, Left
from connector.cli.printing import Report, followed, many, marked, show

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


# ---------------------------------------------------------------- reload

_ANSWERED_WITHIN_SECONDS = 15.0


class Reloaded(Report):
    """What the running server made of config.toml; *at_restart*: settings that it takes at its next start only."""

    problems: list[str]
    at_restart: list[str]

    def body(self) -> Iterator[str]:
        for problem in self.problems:
            yield from marked("", f"  {problem}")
        for setting in self.at_restart:
            yield from marked("waiting", f"{setting} is taken at the next start only: connector serve")

    def exit_code(self) -> int:
        return WRONG_CONFIGURATION if self.problems else OK


def reload(config: ConfigOption = None, as_json: JsonOption = False) -> int:
    """Let the running server read config.toml again."""
    settings = load(config, mappings=False)
    if not is_running(settings):
        raise Left(f"No server runs here. The next one reads {nearby(settings.file)}: connector serve")
    with visited(settings) as store:
        asked = ask(store)
        followed(lambda: True if answer_of(store, asked) else None, lambda: "reading", _ANSWERED_WITHIN_SECONDS)
        found = answer_of(store, asked)
    if found is None:
        raise Left("The running server has not answered yet. How it is: connector status")
    return show(_reloaded(found, nearby(settings.file)), as_json=as_json)


def _reloaded(answer: Answer, file: str) -> Reloaded:
    if answer.problems:
        text = f"{file} has mistakes; the running server continues with the old one."
        return Reloaded(list(answer.problems), [], summary=text, level="problem", next="connector check")
    text = f"{file} is read; the running server continues with it."
    return Reloaded([], list(answer.at_restart), summary=text, level="ok")
