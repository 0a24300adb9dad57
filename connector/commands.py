"""The commands of the command line, but for a plain `serve`: reads what is asked, prints tables for people or JSON.

Nothing here decides anything about events or rows; it asks the rooms that do.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import quote

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from connector import app as program
from connector import assembly, cli, topics
from connector import config as configuration
from connector.affiliates.explain import Entry
from connector.affiliates.explain import explain as explain_affiliate
from connector.affiliates.find import whom
from connector.affiliates.forget import Gone
from connector.affiliates.forget import forget as forget_affiliate
from connector.backfill import notes as readings
from connector.backfill.notes import Progress, Report
from connector.config import Config, RouteConfig, SinkConfig, SourceConfig
from connector.core.errors import (
    ConfigError,
    NeedsAction,
    Problem,
    StoreUnavailable,
    TryLater,
    UnknownShape,
    Unreadable,
)
from connector.core.facts import AffiliateUpdate, Fact, load_facts
from connector.core.merge import join
from connector.core.platform_api import NotReadable, Repair
from connector.core.row import Row
from connector.core.sink import Change, Finding, Sink
from connector.core.source import InboundRequest
from connector.core.view import view
from connector.core.words import unknown_word
from connector.dead_letters import DeadLetters, Letter
from connector.store.model import RouteStatus, StoreInUse
from connector.store.store import Store, open_store, worker_of

_package = Path(__file__).parent

app = typer.Typer(
    name="connector",
    help="Affiliate webhooks in, one current record per affiliate, rows and contacts out.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
letters_app = typer.Typer(help="What could not be read or written, and what to do about it.", no_args_is_help=True)
app.add_typer(letters_app, name="dead-letters")

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The configuration file; else CONNECTOR_CONFIG, else config.toml."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        _say(f"connector {version('affiliate-connector')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


class WrongWords(Exception):
    """A command whose words don't fit together, or that names what is not there."""


# typer has click inside in newer versions, and needs it beside itself in older ones: this is the base of whichever.
_unreadable_words: type[Exception] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException" and issubclass(base, Exception)
)


class Left(Exception):
    """Ends a command with an exit code, when everything has been said."""

    def __init__(self, code: int) -> None:
        self.code = code


def run(words: Sequence[str]) -> int:
    """Do what *words* say and give the exit code. Configuration's and far sides' errors pass through."""
    try:
        group: Any = typer.main.get_command(app)
        _refuse_misplaced(words, group.commands)
        code = group.main(args=list(words), prog_name="connector", standalone_mode=False)
    except typer.Abort:
        return 130
    except WrongWords as error:
        cli.complain(str(error))
        return cli.wrong_configuration
    except _unreadable_words as error:
        wrong = cast(Any, error)
        about = getattr(wrong, "param", None)
        if about is not None and not wrong.message:  # else only: Missing argument 'ID'.
            wrong.message = about.help
        wrong.show()
        if any(word.endswith(".toml") for word in words):
            cli.complain("A configuration is named by --config FILE, and mapping files are named in the configuration.")
        return cli.wrong_configuration
    except Left as left:
        return left.code
    return code if isinstance(code, int) else cli.well


def _refuse_misplaced(words: Sequence[str], commands: Mapping[str, Any]) -> None:
    """What typer knows nothing better of than that it is wrong, where we do."""
    first = words[0] if words else ""
    if first.startswith("-") and first not in ("--help", "-h", "--version"):
        usual = "serve" if first.startswith(("--config", "-c")) else "COMMAND"
        command = next((word for word in words if word in commands), usual)
        others = shlex.join(word for word in words if word != command)
        raise WrongWords(f"the command comes first: connector {command} {others}\nall commands: connector --help")
    if first not in commands and first in commands["dead-letters"].commands:
        raise WrongWords(f"this is one of the words of dead-letters: connector dead-letters {shlex.join(words)}")


_asdict = msgspec.structs.asdict


def _now() -> datetime:
    return datetime.now(UTC)


def _load(config_file: Path | None) -> Config:
    return configuration.load(configuration.find(config_file))


def _store_path(settings: Config) -> Path:
    return Path(settings.store.url.removeprefix("sqlite:///"))


def _store_exists(settings: Config) -> bool:
    return _store_path(settings).exists()


@contextmanager
def _visited(settings: Config) -> Iterator[Store]:
    """The store, beside a server that may be running; made when it is not there."""
    store = open_store(settings.store.url, worker=False, now=_now)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _visited_if_there(settings: Config) -> Iterator[Store | None]:
    """The store, or None before the first start: whoever only looks makes no files."""
    if not _store_exists(settings):
        yield None
        return
    with _visited(settings) as store:
        yield store


# ---------------------------------------------------------------- printing


def _say(text: str = "") -> None:
    sys.stdout.write(text + "\n")


def _print_json(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=2, default=_json_default)
    # A stranger's text here, too: what steers a terminal stands as \u009b, which any reader of JSON turns back.
    _say("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))


def _json_default(value: object) -> object:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.asdict(value)
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def _print_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    table = Table(title=_cell_text(title) or None, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(_cell_text(cell) for cell in row))
    # Not on a terminal nobody wants lines broken at 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 400, highlight=False, markup=False, emoji=False)
    console.print(table)


def _cell_text(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, tuple):
        return ", ".join(str(part) for part in cell)
    # A cell is a stranger's text: what steers a terminal is shown, not obeyed.
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(cell))


def _ago(moment: datetime | None) -> str:
    return "never" if moment is None else f"{_duration((_now() - moment).total_seconds())} ago"


def _duration(seconds: float) -> str:
    seconds = max(0, int(seconds))
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


# ---------------------------------------------------------------- init, token, urls


def example_config() -> Path:
    """``config.example.toml`` as it came with the program."""
    return _shipped() / "config.example.toml"


def shipped_mappings() -> tuple[Path, ...]:
    """The mapping files that came with the program, by name."""
    return tuple(sorted((_shipped() / "mappings").glob("*.toml")))


def shipped_schemas() -> tuple[Path, ...]:
    """The JSON Schemas that the first lines of those files name, for completion in editors."""
    return tuple(sorted((_shipped() / "schemas").glob("*.json")))


def _shipped() -> Path:
    # An installed package carries copies (pyproject: force-include); a checkout, also an editable install, has the
    # originals beside the package.
    inside = _package / "shipped"
    return inside if inside.is_dir() else _package.parent


@app.command()
def init(config: ConfigOption = None) -> None:
    """Write config.toml with fresh tokens, and the mappings. Print the URLs to paste into the platforms.

    What is there already is left as it is.
    """
    file = configuration.find(config)
    folder = file.parent
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if _write_new(file, _with_fresh_tokens(example_config().read_text(encoding="utf-8")), mode=0o600):
            written.append(file)
        (folder / "mappings").mkdir(exist_ok=True)
        for mapping in shipped_mappings():
            copy = folder / "mappings" / mapping.name
            if _write_new(copy, mapping.read_text(encoding="utf-8"), mode=0o644):
                written.append(copy)
        (folder / "schemas").mkdir(exist_ok=True)
        for schema in shipped_schemas():  # made from the code: always this version's
            if folder.resolve() != schema.parent.parent.resolve():
                (folder / "schemas" / schema.name).write_bytes(schema.read_bytes())
    except OSError as error:
        cli.complain(f"{error.filename or folder}: can't be written: {error.strerror}")
        raise Left(cli.found_problems) from None
    for path in written:
        _say(f"wrote {path}")
    if file not in written:
        _say(f"{file} is there already; it is left as it is")
    _say()
    settings = configuration.load(file)
    _print_urls(settings)
    _say()
    _say(f"Next: {_command('serve', file)}")
    for sink in settings.sinks:
        table = getattr(sink.options, "path", None)
        if table is not None:
            _say(f"Your table will be in {_nearby(table)}; try it with: {_command('sample', file)}")


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


def _with_fresh_tokens(example: str) -> str:
    """The example with a random token in the place of each ``${…_TOKEN}`` that is not in a comment."""

    def fresh(line: str) -> str:
        if line.lstrip().startswith("#"):
            return line
        return re.sub(r'"\$\{\w+_TOKEN\}"', lambda _: f'"{_token()}"', line)

    return "".join(fresh(line) for line in example.splitlines(keepends=True))


def _token() -> str:
    while True:
        token = secrets.token_urlsafe(32)
        if configuration.weakness(token) is None:  # one in a million has "default" in it
            return token


def _command(words: str, file: Path) -> str:
    """How to type that command, as the person started us."""
    started = Path(sys.argv[0])
    name = f"{sys.executable} -m connector" if started.name == "__main__.py" else str(started)
    named = f" --config {shlex.quote(str(file))}" if file != Path(configuration.default_file) else ""
    return f"{name} {words}{named}"


def _nearby(path: Path) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


@app.command()
def token() -> None:
    """Print a random token, good for a source."""
    _say(_token())


@app.command()
def urls(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Print the URLs to paste into the platforms. They contain the tokens."""
    settings = _load(config)
    if as_json:
        found = [(s.name, topic, url) for s in settings.sources for topic, url in _urls(settings, s)]
        _print_json([{"source": source, "topic": topic, "url": url} for source, topic, url in found])
    else:
        _print_urls(settings)


def _print_urls(settings: Config) -> None:
    for source in settings.sources:
        found = _urls(settings, source)
        many = len(found) > 1
        _say(f"{source.name}: paste {'one URL for each event' if many else 'this URL'} into the platform")
        width = max(len(topic or "") for topic, _ in found)
        for topic, url in found:
            _say(f"  {(topic or '').ljust(width)}  {url}" if many else f"  {url}")
    if settings.server.public_url is None:
        _say("The platforms need an address that they can reach: set server.public_url, or put yours in its place.")


def _urls(settings: Config, source: SourceConfig) -> list[tuple[str | None, str]]:
    base = f"{_base_url(settings)}/hooks/{source.name}"
    token = source.options.token or next(iter(source.options.tokens), None)
    query = f"?token={quote(token, safe='')}" if token else ""
    if not source.source_class.topics:
        return [(None, base + query)]
    return [(t, f"{base}{query}{'&' if query else '?'}topic={quote(t, safe='')}") for t in source.source_class.topics]


def _base_url(settings: Config) -> str:
    return settings.server.public_url or _local_url(settings)


def _local_url(settings: Config) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.server.host, settings.server.host)  # noqa: S104
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"http://{host}:{settings.server.port}"


# ---------------------------------------------------------------- serve, drain


@app.command()
def serve(
    config: ConfigOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="More lines in the log.")] = False,
    host: Annotated[str | None, typer.Option(help="Listen there instead of where the configuration says.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="The port to listen on; 0: any.")] = None,
) -> None:
    """Receive webhooks and keep the tables right until stopped."""
    raise Left(cli.serve(config, verbose=verbose, host=host, port=port))


@app.command()
def drain(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Deliver what is pending, then leave. For when the server is stopped: receives nothing meanwhile."""
    from connector import logs

    settings = _load(config)
    logs.set_up(hidden=settings.secrets)
    pending = program.drain(settings)
    if as_json:
        _print_json({"pending": pending})
    else:
        for route, count in pending.items():
            _say(f"{route}: {'all delivered' if not count else f'{count} still pending (see connector status)'}")
    if any(pending.values()):
        raise Left(cli.found_problems)


# ---------------------------------------------------------------- sample


@app.command()
def sample(
    name: Annotated[str | None, typer.Argument(help="The source; else the first one configured.")] = None,
    config: ConfigOption = None,
) -> None:
    """Send the running server a sample event. Says what came of it.

    The sample affiliate has the id 990000001 or 990000002. When you have seen enough, delete its row, and type
    connector forget firstpromoter:990000001 (or everflow:990000002).
    """
    import http.client

    from connector.samples import sample_for

    settings = _load(config)
    source = _named_source(settings, name)
    made = sample_for(source.options.type, source.source_class, _now())
    if made is None:
        cli.complain(f'there is no sample for sources of type "{source.options.type}"')
        raise Left(cli.found_problems)
    topic, content = made
    body = json.dumps(content).encode()
    request = _signed(source, body, topic)
    # Not through public_url: the sample is for the server on this machine.
    address = (settings.server.host, settings.server.port)
    host = _local_url(settings).removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=10)
    path = f"/hooks/{source.name}" + (f"?topic={quote(topic)}" if topic else "")
    try:
        connection.request("POST", path, body, {key.decode(): value.decode() for key, value in request.headers})
        answer = connection.getresponse()
        said = answer.read().decode("utf-8", "replace")
    except OSError as error:
        cli.complain(f"no server answers on {address[0]}:{address[1]} ({error.strerror or error}); start one with:")
        cli.complain(f"  {_command('serve', configuration.find(config))}")
        raise Left(cli.found_problems) from None
    except http.client.HTTPException:
        cli.complain(f"what answers on {address[0]}:{address[1]} is no connector; see [server] in {settings.file}")
        raise Left(cli.found_problems) from None
    finally:
        connection.close()
    _say(f"sent a sample event to {source.name}: {answer.status} {said}")
    if answer.status != 202:
        raise Left(cli.found_problems)
    _follow(settings, source, request)


def _follow(settings: Config, source: SourceConfig, request: InboundRequest) -> None:
    """Wait until the running server has done with that event, and say what came of it."""
    built = assembly.build_sources(settings)[source.name]
    updates = built.normalize(built.accept(request))
    if not _store_exists(settings):
        cli.complain(f"{_store_path(settings)} is not there; is the server running with the same configuration?")
        raise Left(cli.found_problems)
    with _visited(settings) as store:
        last = store.status().last_seq
        ends = time.monotonic() + 15
        while time.monotonic() < ends and store.cursor() < last:
            time.sleep(0.05)
        # A route that waits for a person, or met a bug, is not waited for: it is told below.
        on_their_way = ("ok", "waiting")
        while time.monotonic() < ends and any(
            r.pending and r.state.kind in on_their_way for r in store.status().routes
        ):
            time.sleep(0.05)
        unwell = False
        letters = _letters(settings)
        for record_id in [update.record_id for update in updates]:
            if not store.load([record_id]):
                _say(f"{record_id}: not recorded yet; is the server running with the same configuration?")
                raise Left(cli.found_problems)
            pending = {to.route for to in store.pending_of(record_id)}
            for route in settings.routes:
                rows = [row.key for row in store.written(route.name, [record_id])]
                if route.name in pending:  # rows that an earlier sample wrote say nothing of this one
                    unwell = True
                    state = store.route_state(route.name)
                    why = "it waits for its turn" if state.kind == "ok" else state.reason or state.kind
                    _say(f"{route.name}: pending ({why.rstrip('.')}); it is written as soon as possible")
                elif stopped := letters.ids_about(route.name, record_id):
                    unwell = True
                    _say(f"{route.name}: a dead letter; see: connector dead-letters show {min(stopped)}")
                elif rows:
                    _say(f"{route.name}: the row {', '.join(rows)} is written")
                else:
                    _say(f"{route.name}: no row (its mapping leaves this affiliate out)")
        if unwell:
            raise Left(cli.found_problems)


def _named_source(settings: Config, name: str | None) -> SourceConfig:
    for source in settings.sources:
        if name in (None, source.name):
            return source
    raise WrongWords(f'no source is called "{name}"{unknown_word(name or "", [s.name for s in settings.sources])}')


def _signed(source: SourceConfig, body: bytes, topic: str | None) -> InboundRequest:
    """A request as the platform would send it, with a credential that is configured."""
    headers = [(b"content-type", b"application/json")]
    token = source.options.token or next(iter(source.options.tokens), None)
    if token:
        headers.append((b"authorization", b"Bearer " + token.encode()))
    elif source.options.signing_secrets:
        signature = hmac.new(source.options.signing_secrets[0].encode(), body, "sha256").hexdigest()
        headers.append((b"x-webhook-signature", signature.encode()))
    query = f"topic={quote(topic, safe='')}".encode() if topic else b""
    return InboundRequest(headers, query, body, _now())


# ---------------------------------------------------------------- backfill


@app.command()
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
) -> None:
    """Read the affiliates that the platform's API lists. For a start, or for what the webhooks missed.

    Stopped in the middle, it goes on there the next time. The running server goes on receiving and delivering.
    """
    from connector import logs
    from connector.backfill import reading as room

    settings = _load(config)
    logs.set_up(hidden=settings.secrets)
    named = _named_source(settings, source)
    built = assembly.build_sources(settings)[named.name]
    reading = room.Reading(None if since is None else _day(since), deliveries)
    try:
        with _visited(settings) as store, _shown_progress(named.name, quiet=as_json) as progress:
            report = room.read(
                built, reading, store, assembly.reading_lock(settings, named.name),
                stop=threading.Event(), now=_now, dry_run=dry_run, accept_gone=accept_gone, progress=progress,
            )  # fmt: skip
    except NotReadable as error:
        if deliveries:
            raise WrongWords(f"{named.name}: {error}") from None
        raise ConfigError([Problem(_nearby(settings.file), 0, 0, str(error))]) from None
    except room.ReadingAlready as error:
        cli.complain(f"{named.name}: {error}")
        raise Left(cli.found_problems) from None
    except (TryLater, KeyboardInterrupt):
        if not dry_run:
            cli.complain(f"{named.name}: what was read is kept; the same command goes on there")
        raise
    if as_json:
        _print_json(asdict(report) | {"source": named.name, "dry_run": dry_run})
    else:
        _print_report(settings, named.name, report, dry_run=dry_run)
    if report.held_back or report.unreadable:
        raise Left(cli.found_problems)


def _day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise WrongWords(f'--since wants a day like 2026-01-31, not "{text}"') from None


def _print_report(settings: Config, name: str, report: Report, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    if report.kind == "deliveries":
        _say(f"{name}: {_many(report.read, 'kept webhook')} read; {report.new} not received before")
    else:
        _say(
            f"{name}: {_many(report.read, 'affiliate')} read; {report.new} new, {report.changed} changed, "
            f"{report.gone} gone"
        )
    if report.unreadable:
        _say(f"{_many(report.unreadable, 'row')} can't be read, and {would}in: connector dead-letters list")
    if report.held_back:
        _say(
            f"{_many(report.held_back, 'affiliate')} missing at the platform, which is too many to believe: is it the "
            f"right account? If so: connector backfill {name} --accept-gone"
        )
    if dry_run:
        _say("nothing was changed")
    elif report.new or report.changed or report.gone:
        running = _server_state(settings) != "not running"
        _say("the running server writes them now" if running else "the next `connector serve` writes them")


@contextmanager
def _shown_progress(name: str, *, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Shows how far a reading is: a bar on a terminal, else a line every five seconds."""
    began = told = time.monotonic()

    def rate(at: Progress) -> float:
        return (at.read - at.before) / max(time.monotonic() - began, 0.001)

    def tell(at: Progress) -> None:
        nonlocal told
        if quiet or time.monotonic() - told < 5:
            return
        told = time.monotonic()
        left = ""
        if at.total is not None and at.total > at.read and rate(at):
            left = f" of {'about ' if at.guessed else ''}{at.total}, {_duration((at.total - at.read) / rate(at))} to go"
        cli.complain(f"{name}: {at.read}{left}, {rate(at):.0f}/s")

    if quiet or not sys.stderr.isatty():
        yield tell
        return
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[rate]}"), bars.TimeRemainingColumn(),
    )  # fmt: skip
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None, rate="")

        def move(at: Progress) -> None:
            total = None if at.total is None else max(at.total, at.read)
            bar.update(task, completed=at.read, total=total, rate=f"{rate(at):.0f}/s")

        yield move


# ---------------------------------------------------------------- status, resync


@app.command()
def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """What came in, what is pending where, and why."""
    settings = _load(config)
    report = _status(settings)
    if as_json:
        _print_json(report)
        return
    _say(f"server: {report['server']}")
    _say(f"affiliates: {report['records']}; events that wait to be read: {report['waiting']}")
    if report["refused"]:
        counts = ", ".join(f"{reason} {count}" for reason, count in report["refused"].items())
        _say(f"webhooks refused since the server's start: {counts}; the log says why")
    _say()
    _print_table(
        "Sources",
        ["source", "received", "twice", "about none", "unreadable", "last received", "last event"],
        [
            (
                s["source"], s["received"], s["duplicates"], s["no_affiliate"], s["unreadable"],
                _ago(s["last_received_at"]), _ago(s["last_event_at"]),
            )
            for s in report["sources"]
        ],
    )  # fmt: skip
    _say()
    _print_table(
        "Routes",
        ["route", "state", "pending", "oldest", "retrying", "rows", "dead letters", "last delivery", "why"],
        [
            (
                r["route"], r["state"], r["pending"],
                "" if r["oldest_owed_seconds"] is None else _duration(r["oldest_owed_seconds"]),
                r["retrying"], r["rows"], r["dead_letters"], _ago(r["delivered_at"]), r["reason"],
            )
            for r in report["routes"]
        ],
    )  # fmt: skip
    for route in report["routes"]:
        if route["edited"]:
            _say(f"\n{_restart_wanted(route['route'])}")
    for reading in report["readings"]:
        _say(f"\n{_reading_line(reading)}")
    for source in report["sources"]:
        for topic, at in source["unknown_topics"].items():
            _say(f"\n{source['source']}: {_unknown_topic(topic)} It came {_ago(at)}.")
    if report["dead_letters"]:
        _say(f"\n{_many(report['dead_letters'], 'dead letter')}; see: connector dead-letters list")


def _edited(settings: Config) -> set[str]:
    """The routes whose mapping the running server does not know yet."""
    if worker_of(settings.store.url) is None:
        return set()
    with suppress(StoreUnavailable), _visited(settings) as store:
        routes = settings.routes
        return {route.name for route in routes if assembly.mapping_in_use(store, route) != route.mapping.digest}
    return set()


def _restart_wanted(route: str) -> str:
    return f"{route}: the running server does not know this mapping yet; restart it"


def _unknown_topic(topic: str) -> str:
    return f'there is no topic "{topic}": correct the URL at the platform. The right ones: connector urls.'


def _reading_line(reading: dict[str, Any]) -> str:
    """``firstpromoter: last read 3 h ago: …; next due in 21 h``."""
    last, since, failed_at = reading["last"], reading["reading_since"], reading["failed_at"]
    told = "never read from its API to the end"
    if last is not None:
        held = f", {last['held_back']} missing but not believed" if last["held_back"] else ""
        told = (
            f"last read {_ago(last['ended'])}: {last['read']} affiliates, {last['new']} new, {last['changed']} changed,"
            f" {last['gone']} gone{held}"
        )
    if reading["last_try_failed"]:
        told += f"; the last try failed {_ago(failed_at)}: {reading['reason']}"
        if since is not None and _now() - since < readings.goes_on_within:
            told += "; the next one goes on where it stopped"
    elif since is not None:
        told += f"; a reading began {_ago(since)} and has not ended"
    if reading["next_due"] is not None:
        seconds = (reading["next_due"] - _now()).total_seconds()
        if seconds > 0:
            told += f"; next due in {_duration(seconds)}"
        else:
            told += "; a running server tries again soon" if reading["last_try_failed"] else "; next due now"
    return f"{reading['source']}: {told}"


def _readings(settings: Config, store: Store | None) -> list[dict[str, Any]]:
    """How the readings of the platforms' APIs stand: of sources that are read now and then, or were once."""
    shown: list[dict[str, Any]] = []
    for source in settings.sources:
        repair = getattr(source.options, "repair", None)
        stands = readings.standing(store, source.name) if store is not None else readings.Standing()
        if repair is None and stands == readings.Standing():
            continue
        every = repair.every_seconds if isinstance(repair, Repair) else None
        shown.append(
            {
                "source": source.name,
                "last": None if stands.last is None else asdict(stands.last),
                "reading_since": stands.reading_since,
                "failed_at": stands.failed_at,
                "last_try_failed": stands.last_try_failed,
                "reason": stands.reason,
                "every_seconds": every,
                "next_due": None if every is None else stands.next_due(every, _now()),
            }
        )
    return shown


def _status(settings: Config) -> dict[str, Any]:
    letters = _letters(settings)
    counts = letters.counts() if letters.path.exists() else {}
    server = _server_state(settings)
    edited = _edited(settings)
    found = None
    strange: dict[str, dict[str, datetime]] = {}
    with _visited_if_there(settings) as store:
        read = _readings(settings, store)
        if store is not None:
            found = store.status()
            strange = {source.name: topics.met(store, source.name, _now()) for source in settings.sources}
    sources = {s.source: s for s in found.sources} if found else {}
    routes = {r.route: r for r in found.routes} if found else {}
    names = dict.fromkeys([*(s.name for s in settings.sources), *sources])
    shown: list[dict[str, Any]] = []
    for route in settings.routes:
        known = routes.get(route.name)
        oldest = known.oldest_since if known else None
        state = known.state if known else None
        word = _state_word(known, running=server != "not running")
        shown.append(
            {
                "route": route.name,
                "state": word,
                "reason": state.reason if state else "",
                "pending": known.pending if known else 0,
                "retrying": known.retrying if known else 0,
                "oldest_owed_seconds": None if oldest is None else max(0.0, (_now() - oldest).total_seconds()),
                "paused_until": state.paused_until if state else None,
                "rows": known.rows if known else 0,
                "dead_letters": counts.get(("deliver", route.name), 0),
                "delivered_at": state.delivered_at if state else None,
                "edited": route.name in edited,
            }
        )
    return {
        "server": server,
        "refused": _refusals(settings) if server.startswith(("ready", "not ready")) else {},
        "records": found.records if found else 0,
        "waiting": found.waiting if found else 0,
        "sources": [
            {
                "source": name,
                "received": sources[name].received if name in sources else 0,
                "duplicates": sources[name].duplicates if name in sources else 0,
                "no_affiliate": sources[name].no_affiliate if name in sources else 0,
                "unreadable": sources[name].unreadable if name in sources else 0,
                "last_event_at": sources[name].last_event_at if name in sources else None,
                "last_received_at": sources[name].last_received_at if name in sources else None,
                "dead_letters": counts.get(("normalize", name), 0),
                "unknown_topics": strange.get(name, {}),
            }
            for name in names
        ],
        "routes": shown,
        "readings": read,
        "dead_letters": sum(counts.values()),
    }


def _state_word(route: RouteStatus | None, *, running: bool) -> str:
    if route is None:
        return "not started"
    if route.state.kind != "ok":
        return route.state.kind.replace("_", " ")
    if not route.pending:
        return "up to date"
    return "delivering" if running else "to be delivered"


def _server_state(settings: Config) -> str:
    """``not running``, ``ready`` or ``not ready (…)`` as the server's own /readyz says, or that it does not answer.

    Another program may answer on our port, another connector even: ours is the one that holds our store.
    """
    worker = worker_of(settings.store.url)
    if worker is None:
        return "not running"
    where = _local_url(settings).removeprefix("http://")
    return _readiness(where) or f"running ({worker}), but does not answer on {where}"


def _readiness(where: str) -> str | None:
    status, answer = _asked(where, "/readyz")
    try:
        said = json.loads(answer)
        if status == 200 and said.get("status") == "ready":
            return "ready"
        if status == 503:
            return f"not ready ({', '.join(said['reasons'])})"
    except (ValueError, KeyError, AttributeError, TypeError):
        pass
    return None


def _refusals(settings: Config) -> dict[str, int]:
    """How many webhooks the running server has refused since its start, by reason; none when its metrics are off."""
    if not settings.metrics.enabled:
        return {}
    _, answer = _asked(_local_url(settings).removeprefix("http://"), "/metrics", settings.metrics.token)
    found = re.findall(rb'^connector_webhooks_refused_total{reason="(\w+)"} (\S+)', answer, re.MULTILINE)
    return {reason.decode(): int(float(count)) for reason, count in found}


def _asked(where: str, path: str, token: str | None = None) -> tuple[int, bytes]:
    """What the server there answers; 0 and nothing when none does."""
    import http.client

    connection = http.client.HTTPConnection(where, timeout=1)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


@app.command()
def resync(
    route: Annotated[str, typer.Argument(help="Its name, as in `connector status`.")], config: ConfigOption = None
) -> None:
    """Write every affiliate to that route again."""
    settings = _load(config)
    found = _named_route(settings, route)
    count = None
    with _visited_if_there(settings) as store, suppress(KeyError):  # not enrolled yet
        count = None if store is None else store.resync(found.name)
    if count is None:
        cli.complain(f"{route} has not been started yet; its first start writes everything: connector serve")
        raise Left(cli.found_problems)
    running = _server_state(settings) != "not running"
    when = "the running server begins within a second" if running else "the next `connector serve` begins"
    _say(f"{found.name}: {count} affiliates will be written again; {when}")


# ---------------------------------------------------------------- one affiliate


AffiliateArgument = Annotated[str, typer.Argument(help="Its id, as in firstpromoter:41, or its e-mail address.")]


@app.command()
def explain(affiliate: AffiliateArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Everything that happened to one affiliate. Its events, what each changed, every delivery with its row, why."""
    settings = _load(config)
    _expect_a_store(settings, affiliate)
    with _visited(settings) as store:
        meant = whom(store, [source.name for source in settings.sources], affiliate)
        sources, letters = assembly.build_sources(settings), _letters(settings)
        evaluations = {route.name: route.mapping.evaluate for route in settings.routes}
        told = {
            record_id: explain_affiliate(store, sources, letters, evaluations, record_id, _now())
            for record_id in meant.record_ids
        }
    told = {record_id: entries for record_id, entries in told.items() if entries}
    if as_json:
        _print_json({record_id: [_asdict(entry) for entry in entries] for record_id, entries in told.items()})
    for record_id, entries in told.items() if not as_json else ():
        _say(_cell_text(record_id))
        for entry in entries:
            _say(_cell_text(f"{_local_time(entry.at)}  {entry.kind}  {entry.about}"))
            for line in _entry_lines(entry):
                _say(_cell_text(f"  {line}"))
        _say()
    for record_id, path in meant.elsewhere:
        cli.complain(f"{record_id} names this address too, in {path}")
    if not told:
        cli.complain(f"nobody is known by {affiliate}")
        raise Left(cli.found_problems)


def _expect_a_store(settings: Config, affiliate: str) -> None:
    """Whoever asks before the first start makes no files by it."""
    if not _store_exists(settings):
        cli.complain(f"nobody is known by {affiliate}: there is no {_store_path(settings)} yet")
        raise Left(cli.found_problems)


def _local_time(moment: datetime) -> str:
    return moment.astimezone().isoformat(sep=" ", timespec="seconds")


def _entry_lines(entry: Entry) -> list[str]:
    changes = [
        f"  {path}: {_word(old)} → {_word(new)}" if _word(old) != "nothing" else f"  {path} = {_word(new)}"
        for path, (old, new) in entry.changes.items()
    ]
    cells = [f"  {column} = {_word(cell)}" for column, cell in entry.cells.items()]
    return [entry.text, *changes, *cells]


def _word(value: object) -> str:
    if isinstance(value, dict) and len(value) == 1:  # a dumped cell with its type
        (value,) = value.values()
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return "nothing" if value in (None, "") else str(value)


@app.command()
def forget(
    affiliate: AffiliateArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take every trace of one affiliate out of what is kept. Events, records, deliveries, dead letters; for good."""
    settings = _load(config)
    _expect_a_store(settings, affiliate)
    try:
        store, exclusive = open_store(settings.store.url, worker=True, now=_now), True
    except StoreInUse:
        store, exclusive = open_store(settings.store.url, worker=False, now=_now), False
    try:
        meant = whom(store, [source.name for source in settings.sources], affiliate)
        if not meant.record_ids and not meant.addresses:
            cli.complain(f"nobody is known by {affiliate}")
            raise Left(cli.found_problems)
        who = ", ".join(meant.record_ids) or affiliate
        if not yes and not (sys.stdin.isatty() and typer.confirm(f"Forget {who} for ever?")):
            cli.complain(f"{who} is not forgotten; to do it without a question: connector forget {affiliate} --yes")
            raise Left(cli.found_problems)
        gone = forget_affiliate(store, assembly.build_sources(settings), _letters(settings), meant, exclusive=exclusive)
    finally:
        store.close()
    if as_json:
        _print_json({"record_ids": meant.record_ids, **_asdict(gone)})
    else:
        _say_gone(who, gone)
        _say_how_they_return(settings, meant.record_ids)
    if not any((gone.events, gone.records, gone.deliveries, gone.letters)):
        raise Left(cli.found_problems)


def _say_gone(who: str, gone: Gone) -> None:
    counts = (
        _many(gone.events, "event"), _many(gone.records, "record"), _many(gone.deliveries, "delivery line"),
        _many(gone.letters, "dead letter"),
    )  # fmt: skip
    _say(f"{who}: took away {', '.join(counts)}")
    for route, keys in gone.rows.items():
        _say(f"{route} still holds the row {', '.join(keys)}: delete it there")
    for record_id, path in gone.elsewhere:
        _say(f"{record_id} names the same address in {path}; that record stays")
    if not gone.whole:
        _say(
            "The inbox is large: its free pages are overwritten. To write it anew, stop the connector and repeat this."
        )


def _say_how_they_return(settings: Config, record_ids: Sequence[str]) -> None:
    """We keep no list of the forgotten: it would be a trace of them, and what is at the platform is not forgotten."""
    for name in dict.fromkeys(record_id.partition(":")[0] for record_id in record_ids):
        source = next((source for source in settings.sources if source.name == name), None)
        repair = None if source is None else getattr(source.options, "repair", None)
        reads = f", and its list is read every {repair.every}" if isinstance(repair, Repair) else ""
        _say(f"Whoever is still at {name} comes back with the next webhook{reads}: delete the affiliate there, too")


def _named_route(settings: Config, name: str) -> RouteConfig:
    for route in settings.routes:
        if route.name == name:
            return route
    raise WrongWords(f'no route is called "{name}"{unknown_word(name, [r.name for r in settings.routes])}')


def _sink_of(settings: Config, route: RouteConfig) -> SinkConfig:
    return next(sink for sink in settings.sinks if route in sink.routes)


@contextmanager
def _built_sink(settings: Config, found: SinkConfig) -> Iterator[Sink]:
    """The sink, for a command beside a running server; with the notes that the server keeps for it, if it ran yet."""
    with _visited_if_there(settings) as store:
        sink = assembly.build_sink(found, store, threading.Event())
        try:
            yield sink
        finally:
            sink.close()


@app.command()
def provision(
    route: Annotated[str, typer.Argument(help="Its name, as in `connector status`.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create the columns or properties that a route needs. Safe to repeat."""
    settings = _load(config)
    found = _named_route(settings, route)
    with _built_sink(settings, _sink_of(settings, found)) as sink:
        findings = [(found.name, finding) for finding in sink.provision(found.target)]
    if as_json:
        _print_json([_finding_facts(route, finding) for route, finding in findings])
    else:
        _print_findings(findings)
    if any(finding.level == "problem" for _, finding in findings):
        raise Left(cli.found_problems)


def _finding_facts(route: str, finding: Finding) -> dict[str, Any]:
    facts = dict(finding.facts)
    return {"route": route, "level": finding.level, "subject": finding.subject, "text": finding.text, "facts": facts}


def _print_findings(findings: Sequence[tuple[str, Finding]]) -> None:
    extra = list(dict.fromkeys(heading for _, finding in findings for heading in finding.facts))
    _print_table(
        "",
        ["route", "", "about", "finding", *extra],
        [(r, f.level, f.subject, f.text, *(f.facts.get(heading, "") for heading in extra)) for r, f in findings],
    )


# ---------------------------------------------------------------- dead letters


def _letters(settings: Config) -> DeadLetters:
    return DeadLetters(settings.dead_letters.path, now=_now)


def _all_letters(settings: Config) -> list[Letter]:
    letters = _letters(settings)
    return letters.list() if letters.path.exists() else []


def _letter_facts(letter: Letter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "at": letter.at,
        "stage": letter.stage,
        "place": letter.place,
        "subject": letter.subject,
        "row": letter.row,
        "reason": letter.reason,
        "code": letter.code,
        "where": letter.where,
        "tries": letter.tries,
    }


_letter_ids = "As `dead-letters list` shows it; its first digits will do."
LetterId = Annotated[str, typer.Argument(metavar="ID", help=_letter_ids)]


@letters_app.command("list")
def list_letters(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """What stopped on its way, the oldest first."""
    found = _all_letters(_load(config))
    if as_json:
        _print_json([_letter_facts(letter) for letter in found])
    elif not found:
        _say("no dead letters")
    else:
        _print_table(
            "",
            ["id", "when", "stage", "where", "about", "tries", "why"],
            [(x.id, _ago(x.at), x.stage, x.place, x.row or x.subject, x.tries, x.why) for x in found],
        )
        _say("\nshow one: connector dead-letters show ID · after a fix: connector dead-letters replay ID (or --all)")


@letters_app.command("show")
def show_letter(letter_id: LetterId, config: ConfigOption = None) -> None:
    """All of one letter, as JSON, with the event or the row. It may hold people's data."""
    settings = _load(config)
    (letter,) = _chosen_letters(settings, [letter_id])
    content = dict(letter.content)
    body = content.get("body")
    if isinstance(body, str):
        with suppress(ValueError):
            content["body"] = json.loads(body)
    _print_json({**_letter_facts(letter), "content": content})


@letters_app.command("replay")
def replay_letters(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help=_letter_ids)] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    config: ConfigOption = None,
) -> None:
    """Try again what stopped. For after the mapping, the far side or the connector was mended; twice does no harm."""
    settings = _load(config)
    if bool(ids) == every:
        raise WrongWords("name the letters to replay, or say --all")
    chosen = _all_letters(settings) if every else _chosen_letters(settings, ids or [])
    if not chosen:
        _say("no dead letters")
        return
    with _visited(settings) as store:
        count = _letters(settings).replay([letter.id for letter in chosen], store)
    running = _server_state(settings) != "not running"
    when = "the running server tries within a second" if running else "the next `connector serve` tries"
    _say(f"{count} put back; {when}")


@letters_app.command("drop")
def drop_letters(
    ids: Annotated[list[str], typer.Argument(metavar="ID", help=_letter_ids)], config: ConfigOption = None
) -> None:
    """Close letters without trying again."""
    settings = _load(config)
    chosen = _chosen_letters(settings, ids)
    count = _letters(settings).close([letter.id for letter in chosen], "dropped")
    _say(f"{count} dropped")


def _chosen_letters(settings: Config, ids: Sequence[str]) -> list[Letter]:
    known = _all_letters(settings)
    chosen: list[Letter] = []
    for asked in ids:
        fitting = [letter for letter in known if letter.id.startswith(asked)] if asked else []
        if len(fitting) != 1:
            what = f"{len(fitting)} letters begin with" if fitting else "there is no letter"
            cli.complain(f'{what} "{asked}"; see: connector dead-letters list')
            raise Left(cli.found_problems)
        chosen += fitting
    return chosen


# ---------------------------------------------------------------- check, preview


@app.command()
def check(
    config: ConfigOption = None,
    live: Annotated[bool, typer.Option("--live", help="Also ask the far sides: credentials, columns.")] = False,
    probe: Annotated[bool, typer.Option("--probe", help="With --live: also write into scratch space.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Read the configuration and mappings, and run the examples. Starts and changes nothing."""
    if probe and not live:
        raise WrongWords("--probe goes with --live")
    settings = _load(config)
    # Two sinks may share a mapping file: its mistakes are told once.
    shared = {route.mapping.file: route.mapping for route in settings.routes}
    failed = [problem for shown in shared.values() for problem in shown.run_examples()]
    findings: list[tuple[str, Finding]] = []
    refused = False
    if live:
        for sink in settings.sinks:
            with _built_sink(settings, sink) as built:
                for route in sink.routes:
                    try:
                        found = built.check(route.target, probe=probe)
                    except (NeedsAction, TryLater) as error:
                        refused = True
                        found = [Finding("problem", "far side", error.reason)]
                    findings += [(route.name, finding) for finding in found]
    if as_json:
        _print_json(
            {
                "sources": [source.name for source in settings.sources],
                "routes": [route.name for route in settings.routes],
                "edited": sorted(_edited(settings)),
                "examples_failed": [str(problem) for problem in failed],
                "findings": [_finding_facts(route, finding) for route, finding in findings],
            }
        )
    else:
        for problem in failed:
            cli.complain(str(problem))
        names = ", ".join(source.name for source in settings.sources)
        _say(f"{_nearby(settings.file)}: well (sources: {names})")
        for route in settings.routes:
            columns = len(route.target.columns)
            _say(f"{route.name}: {route.mapping.file}, {columns} columns, examples {_held(route, failed)}")
        for name in sorted(_edited(settings)):
            _say(_restart_wanted(name))
        if findings:
            _say()
            _print_findings(findings)
    if refused:
        raise Left(cli.far_side_refuses)
    if failed or any(finding.level == "problem" for _, finding in findings):
        raise Left(cli.found_problems)


def _held(route: RouteConfig, failed: Sequence[Problem]) -> str:
    wrong = sum(problem.file == route.mapping.file for problem in failed)
    return f"with {wrong} mistake{'s' if wrong > 1 else ''}" if wrong else "hold"


@app.command()
def preview(
    body: Annotated[str, typer.Argument(metavar="BODY.json", help="A webhook's body; - reads it from stdin.")],
    source: Annotated[
        str | None, typer.Option("--source", "-s", help="The source that would receive it; needless if there is one.")
    ] = None,
    topic: Annotated[str | None, typer.Option("--topic", "-t", help="As in the URL, for Everflow.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Compare with what the far side holds.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """What a webhook would write where. Counts in what is known of the affiliate already; writes nothing."""
    settings = _load(config)
    if source is None and len(settings.sources) > 1:
        names = " or ".join(f"--source {found.name}" for found in settings.sources)
        raise WrongWords(f"say whose webhook it is: {names}")
    named = _named_source(settings, source)
    try:
        content = sys.stdin.buffer.read() if body == "-" else Path(body).read_bytes()
    except OSError as error:
        raise WrongWords(f"{body}: {error.strerror}") from None
    built = assembly.build_sources(settings)[named.name]
    try:
        event = built.accept(_signed(named, content, topic))
        updates = built.normalize(event)
    except (Unreadable, UnknownShape) as error:
        answer = "answered 400, not kept" if isinstance(error, Unreadable) else "kept, and a dead letter"
        cli.complain(f"{body}: {error} ({answer})")
        raise Left(cli.found_problems) from None
    shown: list[dict[str, Any]] = []
    for record_id, facts in _joined(settings, updates).items():
        record = view(record_id, facts)
        for sink in settings.sinks:
            for route in sink.routes:
                made = route.mapping.evaluate(record)
                changes = _changes(settings, sink, route, made.rows) if live and made.rows else {}
                shown.append(
                    {
                        "record": record_id,
                        "route": route.name,
                        "rows": [
                            {"key": row.key, "remove": row.remove, "cells": row.cells, "change": changes.get(row.key)}
                            for row in made.rows
                        ],
                        "skipped": made.skipped,
                        "problems": [f"{x.reason} ({x.where})" for x in made.problems],
                    }
                )
    if as_json:
        _print_json({"event": event.key, "topic": event.topic, "affiliates": len(updates), "targets": shown})
    else:
        _say(f"{event.topic}, event {event.key}: about {_many(len(updates), 'affiliate')}")
        if topics.is_strange(built, event.topic):
            _say(_unknown_topic(event.topic))
        for target in shown:
            _print_target(target)
    if any(target["problems"] for target in shown):
        raise Left(cli.found_problems)


def _many(count: int, noun: str) -> str:
    return f"{'no' if count == 0 else count} {noun}{'' if count == 1 else 's'}"


def _joined(settings: Config, updates: Sequence[AffiliateUpdate]) -> dict[str, dict[str, Fact]]:
    """By record id: what is known already and what *updates* say."""
    with _visited_if_there(settings) as store:
        stored = {} if store is None else store.load({update.record_id for update in updates})
    known: dict[str, dict[str, Fact]] = {record_id: load_facts(record.facts) for record_id, record in stored.items()}
    for update in updates:
        known[update.record_id] = join(known.get(update.record_id, {}), update.facts)
    return known


def _changes(settings: Config, sink: SinkConfig, route: RouteConfig, rows: Sequence[Row]) -> dict[str, Change]:
    with _built_sink(settings, sink) as built:
        return {change.key: change for change in built.preview(route.target, rows)}


def _print_target(target: dict[str, Any]) -> None:
    _say(f"\n{target['record']} -> {target['route']}")
    if target["skipped"]:
        _say(f"  no row: {target['skipped']}")
    for problem in target["problems"]:
        _say(f"  dead letter: {problem}")
    for row in target["rows"]:
        change: Change | None = row["change"]
        if change is None:
            _print_table(
                f"row {row['key']}" + (", to be removed" if row["remove"] else ""),
                ["column", "value"],
                [(name, cell) for name, cell in row["cells"].items()],
            )
            continue
        found = "would be created" if change.found_by is None else f"is there, found by {change.found_by}"
        _print_table(
            f"row {row['key']} {found}" + (f"; {change.note}" if change.note else ""),
            ["column", "now", "then"],
            [(name, now, then) for name, (now, then) in change.cells.items()],
        )
        if not change.cells and not change.note:
            _say("  nothing would change")
