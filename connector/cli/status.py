"""`connector status`: how everything is, and what needs a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from msgspec import Struct
from msgspec.structs import asdict

from connector.cli.common import (
    ConfigOption,
    JsonOption,
    load,
    now,
    open_letters,
    server_state,
    visited_if_there,
)
from connector.cli.printing import Report, ago, marked, show, table
from connector.overview import NOT_RUNNING, Overview, overview
from connector.phrases import duration
from connector.settings import Config
from connector.store import Store

AllOption = Annotated[bool, typer.Option("--all", help="All figures and notes, also where nothing needs you.")]
_MARKS = {"stopped": "problem", "waits": "waiting", "note": "notice"}


class StatusReport(Report):
    """What ``status`` prints; *every* thing, or only what needs a person."""

    seen: Overview
    every: bool

    def for_json(self) -> dict[str, object]:
        fields = asdict(self.seen)
        return {name: fields[name] for name in fields if name not in ("sentence", "next")}

    def body(self) -> Iterator[str]:
        seen = self.seen
        calm = all(trouble.kind == "note" for trouble in seen.troubles)
        if calm or self.every:
            yield from self._tables()
        for trouble in seen.troubles:
            # "Text", "Sentences." below it, and the command behind whichever is last.
            command = f": {trouble.command}" if trouble.command else ""
            first = f"{trouble.place}  {trouble.text}" if trouble.place else trouble.text
            below = [f"{trouble.what_to_do}{command}"] if trouble.what_to_do else []
            yield from marked(_MARKS[trouble.kind], first if below else first + command, *below)
        for reading in seen.readings:
            if self.every and not reading.last_try_failed:
                yield from marked("notice", f"{reading.source}  {reading.text}")

    def _tables(self) -> Iterator[str]:
        yield from self._table(
            self.seen.sources, source="From", received="Received", duplicates="Duplicates", last_webhook="Last webhook",
            no_affiliate="Not about an affiliate", unreadable="Unreadable", undated="No time",
        )  # fmt: skip
        yield from self._table(
            self.seen.routes, route="To", affiliates="Affiliates", left_out="Left out", last_write="Last write",
            pending="Pending", oldest_pending_seconds="Oldest", rows="Rows", retrying="Retrying", waiting="Waiting",
            dead_letters="Dead letters",
        )  # fmt: skip
        if self.every or len(self.seen.processes) > 1:
            yield from self._table(
                self.seen.processes, process="Process", roles="Roles", owns="Owns", last_sign="Last sign of life",
                since="Since",
            )  # fmt: skip

    def _table(self, lines: Sequence[Struct], **headings: str) -> Iterator[str]:
        """The first four columns; the others where something is in them, some of them only when asked for."""
        shown = [
            name
            for number, name in enumerate(headings)
            if number < 4 or ((self.every or name in _SHOWN) and any(getattr(line, name) for line in lines))
        ]
        if not lines:
            return
        rows = [[_figure(getattr(line, name)) for name in shown] for line in lines]
        yield from (f"  {line}" for line in table([headings[name] for name in shown], rows))


_SHOWN = ("pending", "oldest_pending_seconds", "waiting", "since")


def _figure(value: object) -> object:
    if isinstance(value, float):
        return duration(value)
    return ago(value) if value is None or isinstance(value, datetime) else value


def status(config: ConfigOption = None, every: AllOption = False, as_json: JsonOption = False) -> int:
    """How everything is, and what needs you."""
    settings = load(config, mappings=False)
    server = server_state(settings)
    with visited_if_there(settings) as store:
        # Mapping files are read only where the store does not say what is in them.
        if server == NOT_RUNNING and not _knows_all_mappings(store, settings):
            settings = load(config)
        seen = overview(settings, store, open_letters(settings), now(), server=server)
    return show(StatusReport(seen, every, summary=seen.sentence, next=seen.next), as_json=as_json)


def _knows_all_mappings(store: Store | None, settings: Config) -> bool:
    """Whether each mapping file is as its route runs it; a running server looks after that itself."""
    known = {} if store is None else store.mappings()
    return all(
        (found := known.get(route)) is not None and not found.mistake and found.text == _text(file)
        for sink in settings.sinks
        for route, file in sink.files.items()
    )


def _text(file: str) -> str | None:
    with suppress(OSError, UnicodeDecodeError):
        return Path(file).read_text(encoding="utf-8")
    return None
