"""What a sink's console shows, and what is done when somebody ticks a box there: its problems are tried again.

It speaks of this sink's routes only, in states, reasons and record ids. A letter's own reason may quote what a person
typed, so it is never shown: its code is put in words.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from connector import logs
from connector.assembly import build_sink, utc_now
from connector.core.console import MOST_IDS, Console, Problem, Remark, ShowsConsole, Table
from connector.core.errors import NeedsAction, StoreUnavailable, TryLater
from connector.core.sink import Target
from connector.dead_letters import DeadLetters
from connector.dead_letters.causes import Cause, causes
from connector.faults import describe
from connector.overview import RouteLine, overview
from connector.phrases import many
from connector.settings import Config
from connector.store import Store

_log = logs.get("console")

_EVERY_SECONDS: Final = 60.0
"""One call that reads and one that writes: two calls a minute."""
_TRIED_FOR: Final = timedelta(minutes=5)
_SHOWN_FOR: Final = timedelta(hours=1)
"""How long it is shown what became of a try, where nothing else is wrong any more."""

_NOUNS = {
    "email": "e-mail address", "phone": "phone number", "url": "web address", "country": "country", "date": "date",
    "datetime": "time", "money": "amount", "number": "number", "integer": "whole number", "boolean": "yes or no",
    "text": "text", "list": "list",
}  # fmt: skip
_CORRECT = "Correct it on the platform, then tick Retry."
_WORDS: Mapping[str, tuple[str, str]] = {
    "cell_too_long": ("The text is longer than a cell may be", "Shorten it on the platform, then tick Retry."),
    "not_unicode": ("The text holds half of a character", _CORRECT),
    "no_rule": ("The mapping has no rule for the value", "Add the rule to the mapping, then tick Retry."),
    "duplicate_key": ("Two rows, or two affiliates, have the same key", "Keep one of them, then tick Retry."),
    "protected_cell": ("The cell is protected", "Let the connector's account edit it, then tick Retry."),
    **{f"bad_{kind}": (f"The {noun} is not valid", _CORRECT) for kind, noun in _NOUNS.items()},
}
"""By a letter's code: what is the matter, and what a person does."""
_OTHERWISE = ("The row could not be written", "Tick Retry. If it comes back: connector dead-letters list")

_STATES = {
    "stopped": "Stopped",
    "up to date": "Up to date",
    "waiting": "Waits for Google",
    "not started": "Not started",
}
_WRITING = "Is being written"


class _Try(Struct):
    """What was tried again at somebody's request.

    Args:
        wanted: by letter, (route, record id).
        ended: when it was known what became of it.
    """

    problem: Problem
    wanted: dict[str, tuple[str, str]]
    began: datetime
    ended: datetime | None = None


class ConsoleOf:
    """The console of one sink.

    Args:
        routes: its routes' targets as they are now, by name.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        letters: DeadLetters,
        sink: ShowsConsole,
        routes: Callable[[], Mapping[str, Target]],
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._config, self._store, self._letters, self._sink = config, store, letters, sink
        self._routes, self._now = routes, now
        self._tries: dict[str, _Try] = {}
        self._failing = ""

    def run(self, stop: threading.Event) -> None:
        """A round a minute."""
        while not stop.is_set():
            self.round()
            stop.wait(_EVERY_SECONDS)

    def round(self) -> str:
        """Read the boxes, try again what was ticked, show how things are; why it failed, or ""."""
        failed = ""
        try:
            ticked = self._sink.read_console()
            if ticked:
                self._try_again(ticked)
            self._sink.show_console(self._console())
        except (TryLater, NeedsAction) as error:
            failed = error.reason
        except StoreUnavailable:
            failed = "the store can't be read"
        if failed and failed != self._failing:
            logs.warn(_log, "console.waits", reason=failed)
        self._failing = failed
        return failed

    def _causes(self) -> list[Cause]:
        mine = self._routes()
        return causes(letter for letter in self._letters.list() if letter.stage == "deliver" and letter.place in mine)

    def _try_again(self, ticked: Iterable[str]) -> None:
        for cause in self._causes():
            if cause.id not in ticked:
                continue
            # First into the store, then the box is cleared: after a kill in between they are tried once more.
            self._letters.replay([letter.id for letter in cause.letters], self._store)
            wanted = {letter.id: (letter.place, letter.subject) for letter in cause.letters}
            self._tries[cause.id] = _Try(self._problem(cause), wanted, self._now())
            logs.say(_log, "console.retried", cause=cause.id, letters=len(cause.letters))

    # ------------------------------------------------------------ what is shown

    def _console(self) -> Console:
        now, routes, found = self._now(), self._routes(), self._causes()
        problems = {cause.id: self._problem(cause) for cause in found}
        open_now = {letter.id for cause in found for letter in cause.letters}
        for cause, tried in list(self._tries.items()):
            outcome = self._outcome(tried, open_now, now)
            if tried.ended is not None and now - tried.ended > _SHOWN_FOR:
                del self._tries[cause]
                continue
            shown = problems.get(cause) or replace(tried.problem, affiliates=0, ids=())
            problems[cause] = replace(shown, outcome=outcome, outcome_at=tried.ended)
        seen = overview(self._config, self._store, [letter for cause in found for letter in cause.letters], now)
        lines = [line for line in seen.routes if line.route in routes]
        subjects = {subject for cause in found for subject in cause.subjects}
        return Console(
            _sentence(len(subjects), len(found), lines, routes),
            tuple(problems.values()),
            tuple(_table(line, routes[line.route]) for line in lines),
            tuple(remark for line in lines for remark in _remarks(line, routes[line.route])),
        )

    def _problem(self, cause: Cause) -> Problem:
        target = self._routes()[cause.place]
        column = next((column.name for column in target.columns if column.where and column.where == cause.where), "")
        text, what_to_do = _WORDS.get(cause.code, _OTHERWISE)
        where = f"{_title(target)}, {column}" if column else _title(target)
        ids = cause.subjects[:MOST_IDS]
        return Problem(cause.id, text, len(cause.subjects), where, cause.since, what_to_do, ids)

    def _outcome(self, tried: _Try, open_now: set[str], now: datetime) -> str:
        again = tried.wanted.keys() & open_now
        pending = [
            letter
            for letter, (route, record_id) in tried.wanted.items()
            if letter not in again and any(each.route == route for each in self._store.pending_of(record_id))
        ]
        if tried.ended is None and pending and now - tried.began < _TRIED_FOR:
            return f"Retrying {len(pending):,}…"
        tried.ended = tried.ended or now
        written = len(tried.wanted) - len(again) - len(pending)
        parts = [f"{written:,} written"] if written or not (again or pending) else []
        parts += [f"{len(again):,} refused again"] if again else []
        parts += [f"{len(pending):,} still pending"] if pending else []
        return ", ".join(parts)


def _title(target: Target) -> str:
    """What people call the table."""
    return str(getattr(target.options, "tab", target.route))


def refresh_consoles(config: Config, store: Store, letters: DeadLetters) -> list[str]:
    """Show how things are now in every console, from a command; why that failed, by sink."""
    failed = []
    for found in config.sinks:
        if getattr(found.options, "status_tab", None) is None:
            continue
        try:
            sink = build_sink(found, store, threading.Event())
            if isinstance(sink, ShowsConsole):
                routes = {route.name: route.target for route in found.routes}
                words = ConsoleOf(config, store, letters, sink, routes.copy, now=utc_now).round()
                failed += [f"{found.name}: {words}"] if words else []
            sink.close()
        except Exception as error:  # the command has done its work, and must say so
            failed.append(f"{found.name}: {describe(error)['exception']}")
    return failed


def _sentence(affiliates: int, reasons: int, lines: Sequence[RouteLine], routes: Mapping[str, Target]) -> str:
    if affiliates:
        are, of = ("is", "reason") if affiliates == 1 else ("are", "reason")
        return f"{many(affiliates, 'affiliate')} {are} not up to date, for {many(reasons, of)}"
    for state, words in (("stopped", "has stopped"), ("waiting", "waits for Google")):
        names = [_title(routes[line.route]) for line in lines if line.state == state]
        if names:
            return f"{', '.join(names)} {words}"
    held = [_title(routes[line.route]) for line in lines if line.held]
    return f"{', '.join(held)} waits for you" if held else "Everything is up to date"


def _table(line: RouteLine, target: Target) -> Table:
    state, what_to_do = _STATES.get(line.state, _WRITING), ""
    if line.state == "stopped":
        what_to_do = "connector status says why and what to do"  # in words that may name addresses and files
    elif line.held:
        state, what_to_do = "Waits for you", f"See what would change: connector plan {line.route}"
    return Table(_title(target), line.affiliates, state, line.last_write, what_to_do)


def _remarks(line: RouteLine, target: Target) -> Iterable[Remark]:
    if line.overwritten_edits:
        text = f"The old words are kept: connector explain --overwritten {line.route}"
        yield Remark("People's entries were overwritten", line.overwritten_edits, _title(target), text)
    if line.left_empty:
        text = f"Which and why: connector explain --left-empty {line.route}"
        yield Remark("Values that do not fit are left empty", line.left_empty, _title(target), text)
