"""`connector dead-letters …`: what stopped on its way, by cause, and how it is tried again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import PurePath
from typing import Annotated, Any

import typer
from msgspec.structs import asdict

from connector.actions import try_again
from connector.cli.common import ConfigOption, JsonOption, dead_letters, is_running, load, open_letters, visited
from connector.cli.exits import FOUND_PROBLEMS, OK, Left, WrongWords
from connector.cli.printing import Report, ago, beside, day, many, mark, marked, say_json, sentence, show, wrapped
from connector.dead_letters import Cause, DeadLetters, How, Letter, cause_of, causes
from connector.settings import Config

_IDS = "A cause or letters, as `dead-letters list` shows them; the first digits of a letter will do."
_MOST_SUBJECTS = 3
LetterId = Annotated[
    str, typer.Argument(metavar="ID", help="As `dead-letters list --all` shows it; its first digits will do.")
]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help=_IDS)]
AllOption = Annotated[bool, typer.Option("--all", help="All of them.")]


def _facts(letter: Letter) -> dict[str, Any]:
    """The letter without its content."""
    facts = {"id": letter.id, "cause": cause_of(letter), **asdict(letter)}
    del facts["content"]
    return facts


# ---------------------------------------------------------------- list, show


class Letters(Report):
    """What ``dead-letters list`` prints, the oldest first; by cause for people, or *each* in a line."""

    letters: list[Letter]
    causes: list[Cause]
    each: bool

    def for_json(self) -> dict[str, object]:
        return {"letters": [_facts(letter) for letter in self.letters]}

    def exit_code(self) -> int:
        return FOUND_PROBLEMS if self.letters else OK

    def body(self) -> Iterator[str]:
        if self.each and self.letters:
            for letter in self.letters:
                what = f"{letter.place}  {letter.row or letter.subject}, {ago(letter.at)}, try {letter.tries}"
                yield from marked("waiting", f"{what}, letter {letter.id}, cause {cause_of(letter)}", letter.why)
        else:
            for cause in self.causes:
                yield from _cause_lines(cause)


def _not_done(found: Sequence[Cause]) -> str:
    """``16 affiliates are not up to date and 2 events are not read``."""
    people = len({subject for cause in found if cause.stage == "deliver" for subject in cause.subjects})
    events = sum(len(cause.subjects) for cause in found if cause.stage == "normalize")
    parts = [
        f"{many(count, noun)} {'is' if count == 1 else 'are'} not {what}"
        for count, noun, what in ((people, "affiliate", "up to date"), (events, "event", "read"))
        if count
    ]
    return " and ".join(parts)


def _cause_lines(cause: Cause) -> Iterator[str]:
    noun = "affiliate" if cause.stage == "deliver" else "event"
    since = f" since {day(cause.since)}" if cause.since is not None else ""
    place = "" if cause.where in cause.reason else PurePath(cause.where).name
    yield beside(f"{mark('waiting')} {cause.place}  {many(len(cause.subjects), noun)}{since}, cause {cause.id}", place)
    # The place stands at the right edge, or in the reason.
    to_do = cause.what_to_do.replace(f"the mapping at {cause.where}", "that line of the mapping")
    yield from wrapped(f"{sentence(cause.reason)} {to_do}", indent=2)
    more = len(cause.subjects) - _MOST_SUBJECTS
    shown = [*cause.subjects[:_MOST_SUBJECTS], *([f"{more:,} more"] if more > 0 else [])]
    yield from wrapped(", ".join(shown), indent=2)


def list_letters(
    every: Annotated[bool, typer.Option("--all", help="Each letter in a line of its own.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """What stopped on its way, by cause, the oldest first."""
    letters = open_letters(load(config, mappings=False))
    found = causes(letters)
    if not found:
        return show(Letters(letters, found, every, summary="OK: no dead letters."), as_json=as_json)
    summary = f"{_not_done(found)}, for {many(len(found), 'reason')}."
    following = f"correct a cause at its place, then: {found[0].command}"
    return show(Letters(letters, found, every, summary=summary, next=following), as_json=as_json)


def show_letter(letter_id: LetterId, config: ConfigOption = None) -> None:
    """All of one letter, as JSON, with the event or the row. It may hold people's data."""
    (letter,) = _chosen(load(config, mappings=False), [letter_id])
    content = dict(letter.content)
    if isinstance(content.get("body"), str):
        with suppress(ValueError):
            content["body"] = json.loads(content["body"])
    say_json(_facts(letter) | {"content": content})


# ---------------------------------------------------------------- replay, drop


class Replayed(Report):
    """What ``dead-letters replay`` did, and what came of it, where a server is *running*: the subjects that were
    *refused* again, and how many are not delivered yet."""

    put_back: int
    running: bool
    refused: list[str]
    pending: int

    def body(self) -> Iterator[str]:
        if self.pending:
            yield from marked("waiting", f"{self.pending:,} pending")

    def exit_code(self) -> int:
        return FOUND_PROBLEMS if self.refused or self.pending else OK


def replay_letters(
    ids: Ids = None, every: AllOption = False, config: ConfigOption = None, as_json: JsonOption = False
) -> int:
    """Try again what stopped, and say what came of it. For after the mapping or the destination was fixed."""
    settings = load(config, mappings=False)
    letters = dead_letters(settings)
    done = {} if every else {asked: how for asked in ids or () if (how := _already(letters, asked))}
    left = [asked for asked in ids or () if asked not in done]
    chosen = [] if done and not left else _asked(settings, left, "replay", every=every)
    running = is_running(settings)
    if not chosen:
        summary = f"{next(iter(done.values()))}; nothing to replay." if done else "OK: no dead letters."
        return show(Replayed(0, running, [], 0, summary=summary, level="ok"), as_json=as_json)
    with visited(settings) as store:
        tried = try_again(settings, store, letters, chosen, running=running)
    report = Replayed(tried.put_back, running, list(tried.refused), tried.pending, summary="")
    if not running:
        report.summary, report.next = f"{tried.put_back:,} put back; the next start tries them.", "connector serve"
    else:
        again = f"; refused again: {', '.join(tried.refused)}" if tried.refused else ""
        report.summary = f"{tried.done:,} of {tried.put_back:,} written{again}"
        if tried.refused or tried.pending:
            report.next = f"connector {'dead-letters list' if tried.refused else 'status'}"
    return show(report, as_json=as_json)


def drop_letters(
    ids: Ids = None, every: AllOption = False, config: ConfigOption = None, as_json: JsonOption = False
) -> int:
    """Close letters without trying again."""
    settings = load(config, mappings=False)
    chosen = _asked(settings, ids, "drop", every=every)
    count = dead_letters(settings).close([letter.id for letter in chosen], "dropped")
    summary = f"{many(count, 'dead letter')} dropped." if count else "Nothing was dropped."
    return show(Report(summary=summary, level="ok"), as_json=as_json)


def _asked(settings: Config, ids: Sequence[str] | None, verb: str, *, every: bool) -> list[Letter]:
    if bool(ids) == every:
        raise WrongWords(f"Name a cause or the letters to {verb}, or say --all.")
    return open_letters(settings) if every else _chosen(settings, ids or [])


_DONE: Mapping[How, str] = {
    "delivered": "Already written", "read": "Already read", "replayed": "Already put back",
}  # fmt: skip


def _already(letters: DeadLetters, asked: str) -> str:
    """What became of the letter or the cause *asked*, where none of it is open and it was not dropped; else ""."""
    if not asked or any(asked == cause_of(letter) or letter.id.startswith(asked) for letter in letters.list()):
        return ""
    of_cause = {letter_id: how for letter_id, (letter, how) in letters.closed().items() if cause_of(letter) == asked}
    ways = set(of_cause.values()) or {how for each, (_, how) in letters.closed().items() if each.startswith(asked)}
    return next((_DONE[how] for how in ("replayed", "read", "delivered") if how in ways and "dropped" not in ways), "")


def _chosen(settings: Config, ids: Sequence[str]) -> list[Letter]:
    known = open_letters(settings)
    chosen: dict[str, Letter] = {}
    for asked in ids:
        of_cause = [letter for letter in known if cause_of(letter) == asked]
        fitting = of_cause or [letter for letter in known if letter.id.startswith(asked) and asked]
        if not of_cause and len(fitting) != 1:
            what = f'{len(fitting)} letters begin with "{asked}"'
            if not fitting:
                what = f'There is no open letter and no open cause "{asked}"; it may have been written already'
            raise Left(f"{what}. All of them: connector dead-letters list --all")
        chosen |= {letter.id: letter for letter in fitting}
    return list(chosen.values())
