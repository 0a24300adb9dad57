"""`connector init`, `token` and `urls`: a first configuration, and what to paste into the platforms."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace

from connector import config as configuration
from connector.actions import Url, urls_of
from connector.cli.common import ConfigOption, JsonOption, command, load, local_url, named_source, nearby, titles
from connector.cli.exits import OK, Left, WrongWords
from connector.cli.printing import Report, many, marked, say, show
from connector.core.words import unknown_word
from connector.credentials import weakness
from connector.page.passwords import hashed, new_password
from connector.settings import Config


def shipped() -> Path:
    """The folder of the example configuration, the mappings and their schemas, as they came with the program."""
    package = Path(__file__).parent.parent
    inside = package / "shipped"  # in an installed package (pyproject: force-include); a checkout has the originals
    return inside if inside.is_dir() else package.parent


def init(config: ConfigOption = None) -> int:
    """Write config.toml with fresh tokens, and the mappings. Print the URLs to paste into the platforms.

    What is there already is left as it is.
    """
    file = configuration.find(config)
    password = new_password()
    try:
        written = _write_files(file, password)
    except OSError as error:
        raise Left(f"{error.filename or file.parent}: can't be written: {error.strerror}") from None
    mappings = [path for path in written if path != file]
    if file in written:
        more = f" and {many(len(mappings), 'file')} in {nearby(file.parent / 'mappings')}/" if mappings else ""
        say(f"Wrote {nearby(file)} (only you can read it){more}.")
        say(f"The page in the browser: http://127.0.0.1:8080/ (its password, shown this once: {password})")
    else:
        more = f"; wrote {many(len(mappings), 'missing file')} in mappings/" if mappings else ""
        say(f"{nearby(file)} is there already; it is left as it is{more}.")
    found = _urls(load(file, uses=("sources",)))
    found.every = False
    for line in found.body():
        say(line)
    say(f"Next: {command('serve', file)}")
    return OK


def _write_files(file: Path, password: str) -> list[Path]:
    """Write what is missing; the new configuration and mappings."""
    folder, originals = file.parent, shipped()
    (folder / "mappings").mkdir(parents=True, exist_ok=True)
    (folder / "schemas").mkdir(exist_ok=True)
    example = _with_fresh_tokens((originals / "config.example.toml").read_text(encoding="utf-8"))
    example = re.sub(r'# (password_hash = )"[^"]*"', lambda found: f'{found[1]}"{hashed(password)}"', example, count=1)
    written = [file] if _write_new(file, example, mode=0o600) else []
    for mapping in sorted((originals / "mappings").glob("*.toml")):
        copy = folder / "mappings" / mapping.name
        if _write_new(copy, mapping.read_text(encoding="utf-8"), mode=0o644):
            written.append(copy)
    if folder.resolve() != originals.resolve():
        for schema in (originals / "schemas").glob("*.json"):  # made from the code: always this version's
            (folder / "schemas" / schema.name).write_bytes(schema.read_bytes())
    return written


def _write_new(path: Path, text: str, *, mode: int) -> bool:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        return False
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as out:
            out.write(text)
    except OSError as error:
        path.unlink()  # on a full disk; the next time half a file would pass for one that is there already
        error.filename = path
        raise
    return True


def _replace(file: Path, text: str) -> None:
    """Put *text* in the place of the file, all or nothing; its mode stays."""
    path = Path(os.path.realpath(file))
    beside = path.with_name(f"{path.name}.new")
    try:
        mode = path.stat().st_mode & 0o777
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise Left(f"{path}: can't be written: {error.strerror}") from None


def _with_fresh_tokens(example: str) -> str:
    """The example with a random token in the place of each ``${…_TOKEN}`` that is not in a comment."""

    def fresh(line: str) -> str:
        if line.lstrip().startswith("#"):
            return line
        return re.sub(r'"\$\{\w+_TOKEN\}"', lambda _: f'"{new_token()}"', line)

    return "".join(fresh(line) for line in example.splitlines(keepends=True))


def new_token() -> str:
    while True:
        made = secrets.token_urlsafe(32)
        if weakness(made) is None:  # one in a million has "default" in it
            return made


def token() -> None:
    """Print a random token, good for a source."""
    say(new_token())


def page_password(
    user: Annotated[str | None, typer.Option(metavar="NAME", help="Of the person in [page.users.NAME].")] = None,
    config: ConfigOption = None,
) -> int:
    """Make a new password for the page. Prints it once, and puts its hash into the configuration in the place of the
    old one; without one there, it prints what to add."""
    file = configuration.find(config)
    settings = load(file)
    if user is not None and user not in settings.page.users:
        raise WrongWords(f"There is no [page.users.{user}] in {file}{unknown_word(user, list(settings.page.users))}")
    old = settings.page.password_hash if user is None else settings.page.users[user].password_hash
    password = new_password()
    made = hashed(password)
    text = file.read_text(encoding="utf-8")
    say(f"The new password, shown this once: {password}")
    if old and text.count(f'"{old}"') == 1:
        _replace(file, text.replace(f'"{old}"', f'"{made}"'))
        say(f"Its hash is in {nearby(file)}. People who are signed in sign in again.\nNext: connector reload")
        return OK
    say(f"Next: put this into {nearby(file)}, in the place of what is there, then: connector reload")
    say(f'  [page{"" if user is None else f".users.{user}"}]\n  password_hash = "{made}"')
    return OK


# ---------------------------------------------------------------- urls


class Urls(Report):
    """What ``urls`` prints. *titles* and *places*: what people call each source's platform, and where they paste there.

    Args:
        reachable: whether the platforms can reach them, as far as the configuration says.
        every: each URL; else of a source with many only how to see them.
    """

    for_people = frozenset({"titles", "places", "reachable", "every"})
    urls: list[Url]
    titles: dict[str, str]
    places: dict[str, str]
    reachable: bool
    every: bool = True

    def body(self) -> Iterator[str]:
        for source, title in self.titles.items():
            found = [url for url in self.urls if url.source == source]
            if len(found) == 1:
                yield f"{title}: paste this address {self.places[source]}"
                yield f"  {found[0].url}"
            elif found and self.every:
                yield f"{title}: paste one address for each event {self.places[source]}"
                width = max(len(url.topic or "") for url in found)
                yield from (f"  {(url.topic or '').ljust(width)}  {url.url}" for url in found)
            elif found:
                yield f"{title}: one address for each event; to see all {len(found)}: connector urls {source}"
        if not self.reachable:
            text = "No platform can reach 127.0.0.1: set server.public_url. How to get one: docs/public-address.md"
            yield from marked("waiting", text)


def urls(
    name: Annotated[str | None, typer.Argument(metavar="SOURCE", help="Only of this source.")] = None,
    register: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Have that platform make the webhooks, where its API can.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="With --register: do not ask.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Print the URLs to paste into the platforms. They contain the tokens."""
    settings = load(config, uses=("sources",), mappings=False)
    if register is None:
        if name is not None:
            settings = replace(settings, sources=(named_source(settings, name),))
        return show(_urls(settings), as_json=as_json)
    from connector.cli.register import register as registered  # with a source's API, which only this needs

    source = named_source(settings, register)
    mine = [(url.topic, url.url) for url in _urls(settings).urls if url.source == source.name]
    return registered(settings, source, mine, yes=yes)


def _urls(settings: Config) -> Urls:
    base = settings.server.public_url or local_url(settings)
    found = [url for source in settings.sources for url in urls_of(source, base)]
    menus = {source.name: getattr(source.source_class, "paste_under", "") for source in settings.sources}
    places = {name: f"under {found}" if found else "into the platform" for name, found in menus.items()}
    summary = (
        f"{many(len(found), 'URL')} of {many(len(places), 'source')}. They contain the tokens: treat them as passwords."
    )
    return Urls(found, titles(settings), places, settings.server.public_url is not None, summary=summary)
