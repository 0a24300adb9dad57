"""`connector backfill`: reads what a platform's API lists."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from connector import assembly, logs
from connector.backfill import notes
from connector.cli.common import ConfigOption, JsonOption, load, named_source, nearby, now, visited, when_written
from connector.cli.exits import FOUND_PROBLEMS, OK, Left, WrongWords, complain
from connector.cli.printing import Progress, Report, bar, duration, many, marked, sentence, show
from connector.core.errors import ConfigError, Problem, TryLater
from connector.core.platform_api import NotReadable


class ReadingReport(Report):
    """What a reading found; *written* says what happens to it."""

    source: str
    dry_run: bool
    report: notes.Report
    written: str

    def for_json(self) -> dict[str, object]:
        found: dict[str, object] = msgspec.structs.asdict(self.report)
        return found | {"source": self.source, "dry_run": self.dry_run}

    def body(self) -> Iterator[str]:
        name, found = self.source, self.report
        if found.unreadable:
            would = "would be " if self.dry_run else ""
            rows = many(found.unreadable, "row")
            yield from marked("waiting", f"{rows} can't be read, and {would}in: connector dead-letters list")
        if found.held_back:
            yield from marked(
                "waiting",
                f"{many(found.held_back, 'affiliate')} missing at the platform, which is too many to believe: is it "
                f"the right account? If so: connector backfill {name} --accept-gone",
            )
        if self.dry_run:
            yield "Nothing was changed."
        elif self.next:
            yield sentence(self.written)

    def exit_code(self) -> int:
        return FOUND_PROBLEMS if self.report.held_back or self.report.unreadable else OK


def backfill(
    source: Annotated[str, typer.Argument(help="Its name in the configuration.")],
    since: Annotated[
        str | None, typer.Option(metavar="DAY", help="Only what is newer than 2026-01-31, if the platform can tell.")
    ] = None,
    deliveries: Annotated[bool, typer.Option("--deliveries", help="The webhooks that the platform keeps.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and count; change nothing.")] = False,
    accept_gone: Annotated[
        bool, typer.Option("--accept-gone", help="Mark who is missing at the platform, even if it is most of all.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Read the affiliates that the platform's API lists. For a start, or for what the webhooks missed.

    Stopped in the middle, it continues there the next time. The running server receives and delivers meanwhile.
    """
    from connector.backfill import reading as room  # with the HTTP client, which `connector --help` need not load

    settings = load(config, uses=("sources",))
    logs.set_up(hidden=settings.secrets)
    named = named_source(settings, source)
    built = assembly.build_sources(settings)[named.name]
    reading = room.Reading(None if since is None else _day(since), deliveries)
    try:
        with visited(settings) as store, _shown_progress(named.name) as progress:
            report = room.read(
                built, reading, store, assembly.reading_lock(settings, store, named.name),
                stop=threading.Event(), now=now, dry_run=dry_run, accept_gone=accept_gone,
                progress=None if as_json else progress,
            )  # fmt: skip
    except NotReadable as error:
        if deliveries:
            raise WrongWords(f"{named.name}: {error}") from None
        raise ConfigError([Problem(nearby(settings.file), 0, 0, str(error))]) from None
    except room.ReadingAlready as error:
        raise Left(f"{named.name}: {error}") from None
    except (TryLater, KeyboardInterrupt):
        if not dry_run:
            complain(f"{named.name}: what was read is kept; the same command continues there")
        raise
    written = when_written(settings, "writes them now", "writes them")
    counts = f"{report.new:,} new, {report.changed:,} changed, {report.gone:,} missing."
    counted = f"{many(report.read, 'affiliate')} read: {counts}"
    if report.kind == "deliveries":
        counted = f"{many(report.read, 'kept webhook')} read: {report.new:,} not received before."
    following = "connector status" if not dry_run and (report.new or report.changed or report.gone) else ""
    found = ReadingReport(
        named.name, dry_run, report, written, summary=f"{named.name}: {counted}", level="ok", next=following
    )
    return show(found, as_json=as_json)


def _day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise WrongWords(f'--since wants a day like 2026-01-31, not "{text}".') from None


@contextmanager
def _shown_progress(name: str) -> Iterator[Callable[[notes.Progress], None]]:
    """Shows how far a reading is on stderr: one line, on a terminal."""
    began = time.monotonic()
    with Progress() as progress:

        def show_it(at: notes.Progress) -> None:
            rate = (at.read - at.before) / max(time.monotonic() - began, 0.001)
            if at.total is not None and at.total >= at.read:
                about = "about " if at.guessed else ""
                left = f", {duration((at.total - at.read) / rate)} left" if rate else ""
                line = f"{bar(at.read / max(at.total, 1))}  {at.read:,} of {about}{at.total:,}{left}"
            else:
                line = f"{name}: {at.read:,} read"
            progress.show(f"  {line}; Ctrl-C is safe")

        yield show_it
