"""`connector check`: reads the configuration and mappings, runs the examples, asks the destinations. `alerts test`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from connector import config as configuration
from connector.cli.common import ConfigOption, JsonOption, is_running, load, nearby, now, visited_if_there
from connector.cli.exits import FOUND_PROBLEMS, OK, REFUSED, WRONG_CONFIGURATION, Left, WrongWords, complain
from connector.cli.findings import RouteFinding, has_problem, lines_by_route
from connector.cli.mistakes import mistake_lines
from connector.cli.printing import Report, many, marked, painted, show, wrapped
from connector.cli.setup import shipped
from connector.core.errors import ConfigError, Problem
from connector.settings import Config
from connector.store.url import encryption, is_postgres


class Checked(Report):
    """What ``check`` found. *mistakes* are of mapping files and of their examples; *warnings* are about what works, but
    may not be meant; with *every*, findings that are OK are shown, too."""

    for_people = frozenset({"every"})
    sources: list[str]
    routes: list[str]
    examples_failed: list[str]
    mistakes: list[Problem]
    warnings: list[str]
    unused: list[str]
    findings: list[RouteFinding]
    every: bool
    notes: list[str]

    def lines(self) -> Iterator[str]:
        # What is wrong was printed already, on stderr, with what to do.
        yield from self.body() if self.mistakes else super().lines()

    def body(self) -> Iterator[str]:
        if self.every:
            yield from wrapped(f"From: {', '.join(self.sources)}", indent=2)
            yield from wrapped(f"To: {', '.join(self.routes)}", indent=2)
        for warning in self.warnings:
            yield from marked("waiting", warning)
        for note in self.notes:
            yield from marked("notice", note)
        for file in self.unused:
            yield from marked("notice", f"{file} is used by no sink")
        yield from lines_by_route(self.findings, every=self.every)

    def exit_code(self) -> int:
        if len(self.mistakes) > len(self.examples_failed):
            return WRONG_CONFIGURATION
        if any(finding.refused for finding in self.findings):
            return REFUSED
        return FOUND_PROBLEMS if self.examples_failed or has_problem(self.findings) else OK


def check(
    config: ConfigOption = None,
    live: Annotated[bool, typer.Option("--live", help="Also ask destinations, APIs and the alert URL.")] = False,
    probe: Annotated[bool, typer.Option("--probe", help="With --live: also write into scratch space.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Also show what is OK.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Read the configuration and mappings, and run the examples. Starts and changes nothing."""
    if probe and not live:
        raise WrongWords("--probe goes with --live.")
    file = configuration.find(config)
    try:
        settings = configuration.load(file, keep_going=True)
    except ConfigError as error:
        if not as_json:
            configuration.load(file)  # raises as well what is wrong in mapping files
        return show(_only_mistakes(error), as_json=True)
    # Two sinks may share a mapping file: its mistakes are reported once.
    mappings = {route.mapping.file: route.mapping for route in settings.routes}
    failed = [problem for mapping in mappings.values() for problem in mapping.run_examples()]
    mistakes = sorted({problem for problems in settings.mistaken.values() for problem in problems} | set(failed))
    if mistakes and not as_json:
        running = settings.mistaken and is_running(settings)
        lines = mistake_lines(mistakes, "The last good versions continue." if running else "")
        complain("\n".join(painted(line, sys.stderr) for line in lines))
    findings = list(_ask(settings, probe=probe)) if live else []
    report = Checked(
        summary=_summary(settings, len(mappings), sum(m.example_count for m in mappings.values()), mistakes, findings),
        sources=[source.name for source in settings.sources],
        routes=[route.name for route in settings.routes],
        examples_failed=[str(problem) for problem in failed],
        mistakes=mistakes,
        warnings=[
            *(f"{w.file}, line {w.line}: {w.text}" for mapping in mappings.values() for w in mapping.warnings),
            *_missing_files(settings),
            *_encryption(settings, weak=True),
            *_no_longer_kept(settings),
        ],
        unused=list(_unused(settings)),
        findings=findings,
        next=_next(mistakes, findings, live=live),
        every=every,
        notes=list(_encryption(settings, weak=False)),
    )
    return show(report, as_json=as_json)


def _only_mistakes(error: ConfigError) -> Checked:
    found = list(error.problems)
    summary = f"{many(len(found), 'mistake')}. Nothing was started or changed."
    following = _next(found, [], live=False)
    return Checked([], [], [], found, [], [], [], every=False, notes=[], summary=summary, next=following)


def _summary(
    settings: Config, mappings: int, examples: int, mistakes: Sequence[Problem], findings: Sequence[RouteFinding]
) -> str:
    """``OK: config.toml, 3 mappings, 9 examples.``, or how many mistakes or refusals there are."""
    if mistakes:
        return f"{many(len(mistakes), 'mistake')} in {many(len({mistake.file for mistake in mistakes}), 'file')}."
    if findings:
        places = dict.fromkeys(finding.route for finding in findings)
        good = sum(finding.level == "ok" for finding in findings)
        refusing = {finding.route for finding in findings if finding.refused}
        wrong = refusing or {finding.route for finding in findings if finding.level == "problem"}
        if wrong:
            verb = "refuse" if refusing else "need"
            does = f"{verb}{'s' if len(wrong) == 1 else ''}{'' if refusing else ' you'}"
            are = "check is" if good == 1 else "checks are"
            return f"{len(wrong)} of {many(len(places), 'place')} {does}; {good} {are} OK."
        return f"OK: {many(len(places), 'place')}, {many(good, 'check')}."
    return f"OK: {nearby(settings.file)}, {many(mappings, 'mapping')}, {many(examples, 'example')}."


def _next(mistakes: Sequence[Problem], findings: Sequence[RouteFinding], *, live: bool) -> str:
    if mistakes:
        return "correct the lines, then: connector check"
    if not live:
        return "connector check --live"
    return "do what is written above, then: connector check --live" if has_problem(findings) else ""


_MEANINGS = {
    "disable": "sends people's data and the password in the clear",
    "allow": "may send people's data and the password in the clear",
    "prefer": "may send people's data and the password in the clear",
    "require": "encrypts, and trusts whoever answers",
    "verify-ca": "encrypts, and trusts any server with a certificate of that authority",
    "verify-full": "encrypts, and wants a certificate that is trusted and has the host's name",
}


def _encryption(settings: Config, *, weak: bool) -> Iterator[str]:
    """What the URL of a database on another machine means."""
    mode = encryption(settings.store.url) if is_postgres(settings.store.url) else None
    if mode is not None and (mode != "verify-full") == weak:
        yield f"[store] url: sslmode={mode} {_MEANINGS.get(mode, 'is no mode that PostgreSQL knows')}"


def _no_longer_kept(settings: Config) -> Iterator[str]:
    """Columns that an edited mapping names no more: they stay in the table with their last values."""
    with visited_if_there(settings) as store:
        known = {} if store is None else store.mappings()
    for route in settings.routes:
        text = known[route.name].text if route.name in known else ""
        if text in ("", route.text):
            continue
        try:
            before = configuration.compile_route(settings, route.name, text)
        except ConfigError:
            continue  # of an earlier configuration
        now_kept = {column.name for column in route.target.columns}
        gone = [f'"{column.name}"' for column in before.target.columns if column.name not in now_kept]
        if gone:
            names = gone[0] if len(gone) == 1 else f"{', '.join(gone[:-1])} and {gone[-1]}"
            is_kept, values = ("is", "its values stay") if len(gone) == 1 else ("are", "their values stay")
            yield f"{route.name}: {names} {is_kept} no longer kept; {values}. See: connector plan {route.name}"


def _unused(settings: Config) -> Iterator[str]:
    """Mapping files beside those in use that no sink names, but for those that `init` wrote."""
    used = {Path(os.path.abspath(file)) for sink in settings.sinks for file in sink.files.values()}
    originals = {path.name: path.read_bytes() for path in (shipped() / "mappings").glob("*.toml")}
    for folder in sorted({file.parent for file in used} - {settings.file.parent}):
        for file in sorted(folder.glob("*.toml")):
            if file not in used and file.is_file() and file.read_bytes() != originals.get(file.name):
                yield nearby(file)


def _missing_files(settings: Config) -> Iterator[str]:
    """Files that a sink's settings name and that are not there (they may come later: a key that is mounted)."""
    for sink in settings.sinks:
        for name, value in sink.options:
            if name.endswith("_file") and isinstance(value, Path) and not value.is_file():
                yield f"{nearby(settings.file)}: [sinks.{sink.name}] {name}: there is no file {nearby(value)}"


def _ask(settings: Config, *, probe: bool) -> Iterator[RouteFinding]:
    """What the destinations, the platforms and the place for alerts say."""
    from connector.cli import live  # with the HTTP client, which a check without --live need not load

    for sink in settings.sinks:
        yield from live.ask_destination(settings, sink, probe=probe)
    yield from live.ask_platforms(settings)
    yield from live.ask_alerts(settings.alerts)


def send_test(config: ConfigOption = None, as_json: JsonOption = False) -> int:
    """Send a test message to the address in [alerts], as an alert would come."""
    from connector.alerts import Message, NotSent, WebhookPoster, body  # with the HTTP client

    file = configuration.find(config)
    settings = load(file, uses=("alerts",), mappings=False).alerts
    if settings.url is None:
        raise Left(f"No address for alerts is configured: set url in [alerts] of {nearby(file)}.", WRONG_CONFIGURATION)
    text = "This is a test of the affiliate connector: messages like this one come when something needs a person."
    try:
        WebhookPoster(settings.url)(body([Message("test", "connector", text)], settings.format, now()))
    except NotSent as error:
        raise Left(
            f"The address for alerts did not take the message ({error}): check url and format in [alerts].", REFUSED
        ) from None
    summary = f"A test message was sent to the address in [alerts] of {nearby(file)}."
    return show(Report(summary=summary, level="ok"), as_json=as_json)
