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
    is_running,
    load,
    named_route,
    sink_of,
    visited_if_there,
    when_written,
)
from connector.cli.exits import FOUND_PROBLEMS, OK, Left
from connector.cli.findings import RouteFinding, has_problem, lines_by_route
from connector.cli.printing import Report, many, show, wrapped

RouteArgument = Annotated[str, typer.Argument(help="Its name, as in `connector status`.")]


def resync(
    route: RouteArgument,
    overwrite_edits: Annotated[bool, typer.Option(help="Also over what people typed.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Write every affiliate to that route again. What people typed stays."""
    settings = load(config)
    found = named_route(settings, route)
    count = None
    with visited_if_there(settings) as store, suppress(KeyError):  # not enrolled yet
        count = None if store is None else store.resync(found.name, overwrite_edits=overwrite_edits)
    if count is None:
        raise Left(f"{route} has not been started yet; its first start writes everything: connector serve")
    when = when_written(settings, "begins within a second", "begins")
    report = Report(summary=f"{found.name}: {many(count, 'affiliate')} will be written again; {when}.", level="ok")
    report.next = "connector status" if is_running(settings) else "connector serve"
    return show(report, as_json=as_json)


class Provisioned(Report):
    """What ``provision`` found and made."""

    findings: list[RouteFinding]

    def body(self) -> Iterator[str]:
        done = [finding for finding in self.findings if finding.level == "ok"]
        for text in dict.fromkeys(finding.text for finding in done):
            subjects = ", ".join(finding.subject for finding in done if finding.text == text)
            yield from wrapped(f"{text}: {subjects}", indent=2)
        yield from lines_by_route(self.findings)

    def exit_code(self) -> int:
        return FOUND_PROBLEMS if has_problem(self.findings) else OK


def provision(route: RouteArgument, config: ConfigOption = None, as_json: JsonOption = False) -> int:
    """Create the columns or properties that a route needs. Safe to repeat."""
    settings = load(config, uses=("sinks",))
    found = named_route(settings, route)
    with built_sink(settings, sink_of(settings, found)) as sink:
        findings = [RouteFinding.of(found.name, finding) for finding in sink.provision(found.target)]
    if has_problem(findings):
        summary = f"{found.name}: not all that its mapping needs could be made."
        report = Provisioned(findings, summary=summary, level="problem")
        report.next = f"do what is written above, then: connector provision {found.name}"
    else:
        report = Provisioned(findings, summary=f"{found.name}: all that its mapping needs is there.", level="ok")
    return show(report, as_json=as_json)
