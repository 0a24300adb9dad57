"""`connector check`: reads the configuration and mappings, runs the examples, asks the destinations. `alerts test`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from connector import config as configuration
from connector.cli.common import ConfigOption, JsonOption, load, nearby, now
from connector.cli.exits import FOUND_PROBLEMS, OK, REFUSED, Left, WrongWords, complain
from connector.cli.findings import RouteFinding, finding_lines, has_problem, lines_by_route
from connector.cli.printing import Report, say, show
from connector.core.errors import Problem
from connector.settings import Config


class Checked(Report):
    """What ``check`` found. *warnings* are about what works, but may not be meant; with *every*, findings that are OK
    are shown, too."""

    for_people = frozenset({"good", "every"})
    sources: list[str]
    routes: list[str]
    examples_failed: list[str]
    warnings: list[str]
    findings: list[RouteFinding]
    good: list[str]
    every: bool

    def lines(self) -> Iterator[str]:
        yield from self.good
        yield from (f"warning: {warning}" for warning in self.warnings)
        if self.findings:
            yield ""
            yield from finding_lines(self.findings) if self.every else lines_by_route(self.findings)

    def exit_code(self) -> int:
        if any(finding.refused for finding in self.findings):
            return REFUSED
        return FOUND_PROBLEMS if self.examples_failed or has_problem(self.findings) else OK


def check(
    config: ConfigOption = None,
    live: Annotated[bool, typer.Option("--live", help="Also ask destinations, APIs and the alert URL.")] = False,
    probe: Annotated[bool, typer.Option("--probe", help="With --live: also write into scratch space.")] = False,
    every: Annotated[bool, typer.Option("--all", help="With --live: also show each check that is OK.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Read the configuration and mappings, and run the examples. Starts and changes nothing."""
    if probe and not live:
        raise WrongWords("--probe goes with --live")
    settings = configuration.load(configuration.find(config))
    # Two sinks may share a mapping file: its mistakes are reported once.
    mappings = {route.mapping.file: route.mapping for route in settings.routes}
    failed = [problem for mapping in mappings.values() for problem in mapping.run_examples()]
    if not as_json:
        for problem in failed:
            complain(str(problem))
    findings = list(_ask(settings, probe=probe)) if live else []
    report = Checked(
        sources=[source.name for source in settings.sources],
        routes=[route.name for route in settings.routes],
        examples_failed=[str(problem) for problem in failed],
        warnings=[
            *(str(warning) for mapping in mappings.values() for warning in mapping.warnings),
            *_missing_files(settings),
        ],
        findings=findings,
        good=list(_what_is_right(settings, failed)),
        every=every,
    )
    return show(report, as_json=as_json)


def _missing_files(settings: Config) -> Iterator[str]:
    """Files that a sink's settings name and that are not there (they may come later: a key that is mounted)."""
    for sink in settings.sinks:
        for name, value in sink.options:
            if name.endswith("_file") and isinstance(value, Path) and not value.is_file():
                yield f"{nearby(settings.file)}: [sinks.{sink.name}] {name}: there is no file {nearby(value)}"


def _what_is_right(settings: Config, failed: list[Problem]) -> Iterator[str]:
    names = ", ".join(source.name for source in settings.sources)
    yield f"{nearby(settings.file)}: OK (sources: {names})"
    for route in settings.routes:
        wrong = sum(problem.file == route.mapping.file for problem in failed)
        hold = f"with {wrong} mistake{'s' if wrong > 1 else ''}" if wrong else "hold"
        yield f"{route.name}: {route.mapping.file}, {len(route.target.columns)} columns, examples {hold}"


def _ask(settings: Config, *, probe: bool) -> Iterator[RouteFinding]:
    """What the destinations, the platforms and the place for alerts say."""
    from connector.cli import live  # with the HTTP client, which a check without --live need not load

    for sink in settings.sinks:
        yield from live.ask_destination(settings, sink, probe=probe)
    yield from live.ask_platforms(settings)
    yield from live.ask_alerts(settings.alerts)


def send_test(config: ConfigOption = None) -> None:
    """Send a test message to the address in [alerts], as an alert would come."""
    from connector.alerts import Message, NotSent, WebhookPoster, body  # with the HTTP client

    settings = load(config, uses=("alerts",)).alerts
    if settings.url is None:
        raise Left("no address for alerts is configured: set url in [alerts]")
    text = "This is a test of the affiliate connector: messages like this one come when something needs a person."
    try:
        WebhookPoster(settings.url)(body([Message("test", "connector", text)], settings.format, now()))
    except NotSent as error:
        raise Left(
            f"the address for alerts did not take the message ({error}): check url and format in [alerts]", REFUSED
        ) from None
    say("sent a test message to the address for alerts")
