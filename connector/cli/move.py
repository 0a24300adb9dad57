"""`connector move-store`: takes a stopped store to PostgreSQL, or back into a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from connector.cli.common import ConfigOption, JsonOption, load, now
from connector.cli.exits import Left, WrongWords
from connector.cli.printing import Report, many, show, wrapped
from connector.dead_letters import Letter, LetterFile
from connector.dead_letters.letters import dump_letter, load_letter
from connector.settings import Config
from connector.store import is_postgres
from connector.store.moving import move
from connector.store.url import located, named_store, path_of


class MovedReport(Report):
    """What ``move-store`` did."""

    to: str
    rows: dict[str, int]
    digest: str

    def body(self) -> Iterator[str]:
        text = f"Counts and digests are equal ({self.digest}). The old store serves no more, and can be deleted."
        yield from wrapped(text, indent=2)


def move_store(
    to: Annotated[str, typer.Option("--to", metavar="URL", help="An empty PostgreSQL database, or a new file.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Take a stopped store to PostgreSQL, or back. All of it is compared at the end."""
    settings = load(config, mappings=False)
    try:
        place = located(named_store(to), settings.file.parent)
    except ValueError as error:
        raise WrongWords(f"--to {error}") from None
    if place == settings.store.url or (not is_postgres(place) and is_same_file(place, settings.store.url)):
        raise Left("The store is there already.")
    moved = move(
        settings.store.url, place, now(), lambda texts: _letters(settings, place, texts), lambda _table, _rows: _dot()
    )
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    summary = f"{many(sum(moved.rows.values()), 'row')} of {many(len(moved.rows), 'table')} are in {moved.to}."
    following = "set [store] url to the new place, then: connector serve"
    report = MovedReport(moved.to, dict(moved.rows), moved.digest, summary=summary, level="ok", next=following)
    return show(report, as_json=as_json)


def is_same_file(place: str, url: str) -> bool:
    return not is_postgres(url) and path_of(place) == path_of(url)


def _dot() -> None:
    if sys.stderr.isatty():
        sys.stderr.write(".")
        sys.stderr.flush()


def _letters(settings: Config, to: str, texts: Sequence[str]) -> list[tuple[str, str, str, str, str]]:
    """The dead letters for the new store's table; those of a store on a server go into the file that is configured."""
    path = settings.dead_letters.path
    found: Sequence[Letter] = [load_letter(text) for text in texts]
    if not is_postgres(settings.store.url):
        found = LetterFile(path, now=now).list()
    if is_postgres(to):
        return [(each.id, each.stage, each.place, each.subject, dump_letter(each)) for each in found]
    if is_postgres(settings.store.url):
        for each in found:
            LetterFile(path, now=lambda each=each: each.at or now()).add([each])  # type: ignore[misc]
    return []
