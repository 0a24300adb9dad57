"""`connector check`: reads the configuration and mappings, runs the examples, asks the destinations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace

from connector.cli.common import ConfigOption, JsonOption, built_sink, load, nearby
from connector.cli.exits import FOUND_PROBLEMS, OK, REFUSED, WrongWords, complain
from connector.cli.findings import RouteFinding, finding_lines, has_problem
from connector.cli.printing import Report, show
from connector.cli.status import edited_routes, restart_wanted
from connector.config import SECRET_TABLES, Config
from connector.core.errors import NeedsAction, Problem, TryLater
from connector.core.quoting import redacted
from connector.core.sink import Finding


class Checked(Report):
    """What ``check`` found.

    Args:
        edited: routes whose mapping the running server does not know yet.
        examples_failed: mistakes, each with its place.
        findings: what the destinations said; () without ``--live``.
        warnings: what works, but may not be meant, each with its place.
        good: lines about what is right.
        refused: a destination refuses us or can't be reached.
    """

    sources: list[str]
    routes: list[str]
    edited: list[str]
    examples_failed: list[str]
    warnings: list[str]
    findings: list[RouteFinding]
    good: list[str]
    refused: bool

    def for_json(self) -> object:
        return {
            "sources": self.sources,
            "routes": self.routes,
            "edited": self.edited,
            "examples_failed": self.examples_failed,
            "warnings": self.warnings,
            "findings": self.findings,
        }

    def lines(self) -> Iterator[str]:
        yield from self.good
        yield from (f"warning: {warning}" for warning in self.warnings)
        yield from (restart_wanted(route) for route in self.edited)
        if self.findings:
            yield ""
            yield from finding_lines(self.findings)

    def exit_code(self) -> int:
        if self.refused:
            return REFUSED
        return FOUND_PROBLEMS if self.examples_failed or has_problem(self.findings) else OK


def check(
    config: ConfigOption = None,
    live: Annotated[bool, typer.Option("--live", help="Also ask the destinations: credentials, columns.")] = False,
    probe: Annotated[bool, typer.Option("--probe", help="With --live: also write into scratch space.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Read the configuration and mappings, and run the examples. Starts and changes nothing."""
    if probe and not live:
        raise WrongWords("--probe goes with --live")
    settings = load(config, uses=SECRET_TABLES, examples=True)
    # Two sinks may share a mapping file: its mistakes are reported once.
    mappings = {route.mapping.file: route.mapping for route in settings.routes}
    failed = [problem for mapping in mappings.values() for problem in mapping.run_examples()]
    if not as_json:
        for problem in failed:
            complain(str(problem))
    findings, refused = _ask_destinations(settings, probe=probe) if live else ([], False)
    report = Checked(
        sources=[source.name for source in settings.sources],
        routes=[route.name for route in settings.routes],
        edited=sorted(edited_routes(settings)),
        examples_failed=[str(problem) for problem in failed],
        warnings=[
            *(str(warning) for mapping in mappings.values() for warning in mapping.warnings),
            *_missing_files(settings),
        ],
        findings=findings,
        good=list(_what_is_right(settings, failed)),
        refused=refused,
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


def _ask_destinations(settings: Config, *, probe: bool) -> tuple[list[RouteFinding], bool]:
    """What the sinks find at their destinations, and whether one refuses us or can't be reached."""
    findings: list[RouteFinding] = []
    refused = False
    for sink in settings.sinks:
        with built_sink(settings, sink) as built:
            for route in sink.routes:
                try:
                    found = built.check(route.target, probe=probe)
                except (NeedsAction, TryLater) as error:
                    refused = True
                    found = [Finding("problem", "destination", error.reason)]
                for finding in found:
                    clean = replace(finding, text=redacted(finding.text, settings.secrets))
                    findings.append(RouteFinding.of(route.name, clean))
    return findings, refused
