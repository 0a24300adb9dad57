"""`connector demo`: a month of invented affiliates through the real program, in a folder of its own."""

from __future__ import annotations

import csv
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from connector import assembly, logs
from connector import config as configuration
from connector.cli.common import built_sink, local_url, visited
from connector.cli.exits import FOUND_PROBLEMS, INTERRUPTED, OK, Left
from connector.cli.month import Webhook, month
from connector.cli.printing import Progress, bar, many, marked, say
from connector.cli.setup import new_token, shipped
from connector.core.facts import load_facts
from connector.core.view import view
from connector.page.passwords import hashed, new_password
from connector.settings import Config
from connector.store import Store

if TYPE_CHECKING:
    import http.client

_CONFIGURATION = """# The demo's own configuration; delete this folder when you have seen enough.
[server]
port = {port}
[page]
password_hash = "{password}"
[sources.firstpromoter]
type = "firstpromoter"
token = "{tokens[0]}"
[sources.everflow]
type = "everflow"
token = "{tokens[1]}"
[sinks.workbook]
type = "xlsx"
path = "affiliates.xlsx"
mappings = ["affiliates.toml"]
[sinks.csv]
type = "csv"
path = "affiliates.csv"
mappings = ["affiliates.toml"]
"""
_MAPPING = "local_csv.toml"
_DELIVERED_WITHIN_SECONDS = 60.0
FolderOption = Annotated[Path, typer.Option(help="A new folder for the demo's files.")]
SecondsOption = Annotated[float, typer.Option(min=1, max=3600, help="How long the month takes.")]
OpenOption = Annotated[
    bool, typer.Option("--open/--no-open", help="Open the page, and at the end the workbook, on a desktop.")
]


def demo(folder: FolderOption = Path("connector-demo"), seconds: SecondsOption = 60.0, show: OpenOption = True) -> int:
    """Show a month of 40 invented affiliates in a minute. Needs no configuration, and no other system."""
    password = new_password()
    file = _write_files(folder, password)
    settings = configuration.load(file, {}, examples=False)
    hooks = month(datetime.now(UTC).replace(microsecond=0))
    people = len({hook.body for hook in hooks})
    opens = show and sys.stdout.isatty() and configuration.has_desktop()
    say(f"A month of 40 invented affiliates in {seconds:.0f} seconds, in the folder {folder}.")
    say(f"The page, as long as that: {local_url(settings)}/ (password: {password})")
    player = _Player(settings, hooks, seconds, opens=opens)
    with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
        logs.set_up(log, hidden=settings.secrets)
        from connector import serve  # the program itself: a start that takes longer than this module's

        player.start()
        code = serve.serve(settings)
        player.server_ended.set()
        player.join()
    if code != OK:
        raise Left(f"The demo's server stopped; {folder / 'log.jsonl'} says why.")
    if not player.done:
        say(f"Stopped. To remove the demo: delete the folder {folder}")
        return INTERRUPTED
    right = _report(settings, people, len(hooks))
    if opens:
        _open(str(folder / "affiliates.xlsx"))
    say(f"Next: connector init (and delete {folder} when you have seen enough)")
    return OK if right else FOUND_PROBLEMS


def _open(what: str) -> None:
    """Show a file or an address on the desktop; a machine without a program for it shows nothing."""
    with suppress(OSError):
        typer.launch(what)


def _write_files(folder: Path, password: str) -> Path:
    """A configuration with a free port and random tokens; its file."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise Left(f"{folder} is there already: delete it, or name another one with --folder.") from None
    except OSError as error:
        raise Left(f"{folder} can't be made: {error.strerror}.") from None
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file = folder / "config.toml"
    text = _CONFIGURATION.format(port=port, tokens=(new_token(), new_token()), password=hashed(password))
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
    mapping = (shipped() / "mappings" / _MAPPING).read_text(encoding="utf-8")
    own = "\n".join(line for line in mapping.split("\n") if not line.startswith("#:schema"))
    (folder / "affiliates.toml").write_text(own, encoding="utf-8")
    return file


class _Player(threading.Thread):
    """Sends the month's webhooks to the server of this process, and stops it when all of them are delivered."""

    def __init__(self, settings: Config, hooks: Sequence[Webhook], seconds: float, *, opens: bool) -> None:
        super().__init__(name="demo", daemon=True)
        self._settings, self._hooks, self._seconds, self._opens = settings, hooks, seconds, opens
        self._tokens = {source.name: source.options.token or "" for source in settings.sources}
        self.done = False
        self.server_ended = threading.Event()

    def run(self) -> None:
        import http.client  # which `connector --help` does without

        connection = http.client.HTTPConnection(local_url(self._settings).removeprefix("http://"), timeout=10)
        try:
            self._wait_for_server(connection)
            if self._opens:
                _open(f"{local_url(self._settings)}/")
            with Progress() as progress:
                began = time.monotonic()
                for sent, hook in enumerate(self._hooks):
                    time.sleep(max(0.0, began + sent * self._seconds / len(self._hooks) - time.monotonic()))
                    self._send(connection, hook)
                    day = f"{hook.at.day} {hook.at:%B}"
                    share = f"{sent + 1:,} of {len(self._hooks):,} webhooks"
                    progress.show(f"  {day:12}  {bar(sent / len(self._hooks))}  {share}")
            self._wait_until_delivered()
            self.done = True
        except (OSError, http.client.HTTPException):
            pass  # the server was stopped
        finally:
            connection.close()
            if not self.server_ended.is_set():
                os.kill(os.getpid(), signal.SIGTERM)

    def _wait_for_server(self, connection: http.client.HTTPConnection) -> None:
        while not self.server_ended.is_set():
            with suppress(ConnectionRefusedError):
                connection.connect()
                return
            time.sleep(0.05)
        raise ConnectionRefusedError

    def _send(self, connection: http.client.HTTPConnection, hook: Webhook) -> None:
        topic = f"?topic={quote(hook.topic)}" if hook.topic else ""
        headers = {"Authorization": f"Bearer {self._tokens[hook.source]}", "Content-Type": "application/json"}
        connection.request("POST", f"/hooks/{hook.source}{topic}", hook.body, headers)
        connection.getresponse().read()

    def _wait_until_delivered(self) -> None:
        ends = time.monotonic() + _DELIVERED_WITHIN_SECONDS
        with visited(self._settings) as store:
            while time.monotonic() < ends:
                found = store.status()
                if not found.waiting and not any(route.pending for route in found.routes):
                    return
                time.sleep(0.1)


def _report(settings: Config, different: int, sent: int) -> bool:
    """Count what came of the month in the files themselves; whether all of it is right."""
    with visited(settings) as store:
        found = store.status()
        duplicates = sum(source.duplicates for source in found.sources)
        received = sum(source.received for source in found.sources)
        ids = set(store.record_ids("", 1_000))
        unlike = sum(_cells_that_differ(settings, store, ids))
    with (settings.file.parent / "affiliates.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = Counter(row["Affiliate ID"] for row in csv.DictReader(file))
    missing, double = len(ids - rows.keys()), sum(count > 1 for count in rows.values())
    right = (missing, double, unlike, received, duplicates) == (0, 0, 0, sent, sent - different)
    counted = f"{received:,} webhooks, {duplicates} of them duplicates: {many(rows.total(), 'row')}"
    words = f"{_none(missing)} missing, {_none(double)} double" + (f", {unlike} cells differ" if unlike else "")
    for line in marked("ok" if right else "problem", f"{counted}, {words}."):
        say(line)
    return right


def _cells_that_differ(settings: Config, store: Store, ids: set[str]) -> list[int]:
    """By route: how many cells of its file are not as the records say."""
    found = []
    records = [view(record_id, load_facts(known.facts)) for record_id, known in store.load(ids).items()]
    for sink in settings.sinks:
        with built_sink(settings, sink) as built:
            for route in sink.routes:
                evaluate = assembly.evaluation(sink, route, store)
                rows = [row for record in records for row in evaluate(record).rows]
                found.append(sum(len(change.cells) for change in built.preview(route.target, rows)))
    return found


def _none(count: int) -> str:
    return f"{count:,}" if count else "none"
