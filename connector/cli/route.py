"""`connector resync` and `connector provision`: commands about one route."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated

import typer

from connector.cli.common import (
    ConfigOption,
    JsonOption,
    built_sink,
    load,
    named_route,
    sink_of,
    visited_if_there,
    when_written,
)
from connector.cli.exits import FOUND_PROBLEMS, OK, Left
from connector.cli.findings import RouteFinding, finding_lines, has_problem
from connector.cli.printing import Report, say, show

RouteArgument = Annotated[str, typer.Argument(help="Its name, as in `connector status`.")]


def resync(
    route: RouteArgument,
    overwrite_edits: Annotated[bool, typer.Option(help="Also over what people typed.")] = False,
    config: ConfigOption = None,
) -> None:
    """Write every affiliate to that route again. What people typed stays."""
    settings = load(config)
    found = named_route(settings, route)
    count = None
    with visited_if_there(settings) as store, suppress(KeyError):  # not enrolled yet
        count = None if store is None else store.resync(found.name, overwrite_edits=overwrite_edits)
    if count is None:
        raise Left(f"{route} has not been started yet; its first start writes everything: connector serve")
    when = when_written(settings, "begins within a second", "begins")
    say(f"{found.name}: {count:,} affiliates will be written again; {when}")


class Provisioned(Report):
    """What ``provision`` found and made."""

    findings: list[RouteFinding]

    def for_json(self) -> object:
        return self.findings

    def lines(self) -> Iterator[str]:
        yield from finding_lines(self.findings)

    def exit_code(self) -> int:
        return FOUND_PROBLEMS if has_problem(self.findings) else OK


def provision(route: RouteArgument, config: ConfigOption = None, as_json: JsonOption = False) -> int:
    """Create the columns or properties that a route needs. Safe to repeat."""
    settings = load(config, uses=("sinks",))
    found = named_route(settings, route)
    with built_sink(settings, sink_of(settings, found)) as sink:
        findings = [RouteFinding.of(found.name, finding) for finding in sink.provision(found.target)]
    return show(Provisioned(findings), as_json=as_json)
