"""`connector dead-letters …`: what stopped on its way, and how it is tried again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any

import typer
from msgspec import Struct

from connector.cli.common import ConfigOption, JsonOption, dead_letters, load, visited, when_written
from connector.cli.exits import FOUND_PROBLEMS, Left, WrongWords, complain
from connector.cli.printing import Report, ago, say, say_json, show, table
from connector.config import Config
from connector.dead_letters import Letter

_IDS = "As `dead-letters list` shows it; its first digits will do."
LetterId = Annotated[str, typer.Argument(metavar="ID", help=_IDS)]


class LetterLine(Struct):
    """One letter without its content; see ``connector.dead_letters.Letter``."""

    id: str
    at: datetime | None
    stage: str
    place: str
    subject: str
    row: str
    reason: str
    code: str
    where: str
    tries: int


class Letters(Report):
    """What ``dead-letters list`` prints, the oldest first."""

    letters: list[Letter]

    def for_json(self) -> object:
        return [_line(letter) for letter in self.letters]

    def lines(self) -> Iterator[str]:
        if not self.letters:
            yield "no dead letters"
            return
        yield from table(
            ["id", "when", "stage", "where", "about", "tries", "why"],
            [(x.id, ago(x.at), x.stage, x.place, x.row or x.subject, x.tries, x.why) for x in self.letters],
        )
        yield ""
        yield "show one: connector dead-letters show ID · after a fix: connector dead-letters replay ID (or --all)"


def _line(letter: Letter) -> LetterLine:
    return LetterLine(
        letter.id, letter.at, letter.stage, letter.place, letter.subject, letter.row, letter.reason, letter.code,
        letter.where, letter.tries,
    )  # fmt: skip


def list_letters(config: ConfigOption = None, as_json: JsonOption = False) -> int:
    """What stopped on its way, the oldest first."""
    return show(Letters(_open_letters(load(config))), as_json=as_json)


class ShownLetter(LetterLine):
    """A letter with its content."""

    content: Mapping[str, Any] = {}


def show_letter(letter_id: LetterId, config: ConfigOption = None) -> None:
    """All of one letter, as JSON, with the event or the row. It may hold people's data."""
    (letter,) = _chosen(load(config), [letter_id])
    content = dict(letter.content)
    if isinstance(content.get("body"), str):
        with suppress(ValueError):
            content["body"] = json.loads(content["body"])
    line = _line(letter)
    say_json(ShownLetter(**{name: getattr(line, name) for name in line.__struct_fields__}, content=content))


def replay_letters(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help=_IDS)] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    config: ConfigOption = None,
) -> None:
    """Try again what stopped. For after the mapping, the destination or the connector was fixed; repeating is safe."""
    settings = load(config)
    if bool(ids) == every:
        raise WrongWords("name the letters to replay, or say --all")
    chosen = _open_letters(settings) if every else _chosen(settings, ids or [])
    if not chosen:
        say("no dead letters")
        return
    with visited(settings) as store:
        count = dead_letters(settings).replay([letter.id for letter in chosen], store)
    say(f"{count} put back; {when_written(settings, 'tries within a second', 'tries')}")


def drop_letters(
    ids: Annotated[list[str], typer.Argument(metavar="ID", help=_IDS)], config: ConfigOption = None
) -> None:
    """Close letters without trying again."""
    settings = load(config)
    chosen = _chosen(settings, ids)
    count = dead_letters(settings).close([letter.id for letter in chosen], "dropped")
    say(f"{count} dropped")


def _open_letters(settings: Config) -> list[Letter]:
    letters = dead_letters(settings)
    return letters.list() if letters.path.exists() else []


def _chosen(settings: Config, ids: Sequence[str]) -> list[Letter]:
    known = _open_letters(settings)
    chosen: list[Letter] = []
    for asked in ids:
        fitting = [letter for letter in known if letter.id.startswith(asked)] if asked else []
        if len(fitting) != 1:
            what = f"{len(fitting)} letters begin with" if fitting else "there is no letter"
            complain(f'{what} "{asked}"; see: connector dead-letters list')
            raise Left(FOUND_PROBLEMS)
        chosen += fitting
    return chosen
