"""What several commands need: the configuration, the store, a route or source by its name, the running server."""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from connector import assembly
from connector import config as configuration
from connector.cli.exits import Left, WrongWords
from connector.core.errors import ConfigError, NeedsAction, TryLater
from connector.core.quoting import without_secrets
from connector.core.sink import Sink
from connector.core.words import unknown_word
from connector.dead_letters import DeadLetters, Letter
from connector.settings import Config, RouteConfig, SinkConfig, SourceConfig
from connector.store import Store, is_postgres, worker_of
from connector.store.url import path_of

_Named = TypeVar("_Named", SourceConfig, RouteConfig)

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="The configuration file; else CONNECTOR_CONFIG, else config.toml.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


now = assembly.utc_now


def load(
    config_file: Path | None, *, uses: Collection[str] = (), examples: bool = False, mappings: bool = True
) -> Config:
    """The configuration. Secrets may be missing but in the tables that the command *uses* (see ``config.load``).

    A route whose mapping file has mistakes has its last good version, as in a running server; else it is left out.
    A command that needs no *mappings* answers sooner: reading them takes longer than all the rest.
    """
    settings = configuration.load(
        configuration.find(config_file), uses=uses, examples=examples, keep_going=True, mappings=mappings
    )
    if settings.mistaken and store_exists(settings):
        from connector.changes.versions import with_last_good  # with what delivers, which few commands need

        with visited(settings) as store:
            return with_last_good(settings, store)
    return settings


def nearby(path: Path) -> str:
    """*path* as a person in this folder would write it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def command(words: str, file: Path) -> str:
    """How to type that command, as the person started us."""
    started = Path(sys.argv[0])
    name = f"{sys.executable} -m connector" if started.name == "__main__.py" else str(started)
    named = f" --config {shlex.quote(str(file))}" if file != Path(configuration.DEFAULT_FILE) else ""
    return f"{name} {words}{named}"


# ---------------------------------------------------------------- the store


def store_exists(settings: Config) -> bool:
    """Whether the store was ever made; one on a database server is asked when it is opened."""
    return is_postgres(settings.store.url) or path_of(settings.store.url).exists()


def expect_a_store(settings: Config, otherwise: str) -> None:
    """End the command before the first start, so that one that only looks makes no files."""
    if not store_exists(settings):
        raise Left(f"{otherwise}: nothing was received yet.")


def visited(settings: Config) -> AbstractContextManager[Store]:
    """The store, beside a server that may be running; made when it is not there."""
    return closing(Store(settings.store.url, worker=False, now=now))


def visited_if_there(settings: Config) -> AbstractContextManager[Store | None]:
    """The store, or None before the first start."""
    return visited(settings) if store_exists(settings) else nullcontext()


def dead_letters(settings: Config) -> DeadLetters:
    """The dead letters, beside a server that may be running."""
    return assembly.dead_letters(settings, partial(visited, settings))


def open_letters(settings: Config) -> list[Letter]:
    """The open dead letters; none, and no file made, before there was one."""
    letters = dead_letters(settings)
    return list(letters.list())


# ---------------------------------------------------------------- sources, routes, sinks


def named_source(settings: Config, name: str | None) -> SourceConfig:
    """The source of that name; without a name, the first one."""
    return settings.sources[0] if name is None else _named("source", name, settings.sources)


def titles(settings: Config) -> dict[str, str]:
    """By source: what people call its platform, with the source's name where that is another."""
    known = {source.name: getattr(source.source_class, "title", source.name) for source in settings.sources}
    return {name: title if title.casefold() == name else f"{title} ({name})" for name, title in known.items()}


def named_route(settings: Config, name: str) -> RouteConfig:
    if name in settings.mistaken and all(route.name != name for route in settings.routes):
        raise ConfigError(settings.mistaken[name])
    return _named("route", name, settings.routes)


def _named(kind: str, name: str, configured: Sequence[_Named]) -> _Named:
    found = {each.name: each for each in configured}
    if name not in found:
        raise WrongWords(f'No {kind} is called "{name}"{unknown_word(name, list(found))}')
    return found[name]


def sink_of(settings: Config, route: RouteConfig) -> SinkConfig:
    return next(sink for sink in settings.sinks if route in sink.routes)


@contextmanager
def built_sink(settings: Config, found: SinkConfig) -> Iterator[Sink]:
    """The sink, beside a server that may be running; with the notes that the server keeps for it."""
    with visited_if_there(settings) as store:
        sink = assembly.build_sink(found, store, threading.Event())
        try:
            yield sink
        except (NeedsAction, TryLater) as error:
            error.reason = without_secrets(error.reason, settings.secrets)
            raise
        finally:
            sink.close()


# ---------------------------------------------------------------- the running server


def local_url(settings: Config) -> str:
    """Where the server listens, as this machine reaches it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.server.host, settings.server.host)  # noqa: S104
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"http://{host}:{settings.server.port}"


def is_running(settings: Config) -> bool:
    """Whether a process works on the store."""
    return worker_of(settings.store.url) is not None


def when_written(settings: Config, running: str, later: str) -> str:
    """``the running server`` *running*, or ``the next connector serve`` *later*."""
    return f"the running server {running}" if is_running(settings) else f"the next `connector serve` {later}"


def server_state(settings: Config) -> str:
    """``not running``, ``ready`` or ``not ready (…)`` as the server's own /readyz says, or that it does not answer.

    Another program may answer on our port, another connector even: ours is the one that holds our store.
    """
    worker = worker_of(settings.store.url)
    if worker is None:
        return "not running"
    with suppress(OSError, ValueError, KeyError, AttributeError, TypeError):
        status, answer = ask(settings, "/readyz", {})
        said = json.loads(answer)
        if status == 200 and said.get("status") == "ready":
            return "ready"
        if status == 503:
            return f"not ready ({', '.join(said['reasons'])})"
    if is_postgres(settings.store.url) and not worker.endswith(f" on {socket.gethostname()}"):
        return "ready"  # as far as can be said from here: it runs on another machine
    return f"running ({worker}), but does not answer on {local_url(settings).removeprefix('http://')}"


class NoServerOfHttp(OSError):
    """What answers on our port does not speak HTTP."""


def ask(
    settings: Config, path: str, headers: Mapping[str, str], body: bytes | None = None, *, seconds: float = 1.0
) -> tuple[int, bytes]:
    """What the server on this machine answers (not through public_url), with *body* to a POST.

    Raises:
        OSError: none answers; NoServerOfHttp: something else does.
    """
    import http.client  # which most commands do without

    connection = http.client.HTTPConnection(local_url(settings).removeprefix("http://"), timeout=seconds)
    try:
        connection.request("GET" if body is None else "POST", path, body, dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise NoServerOfHttp(str(error)) from None
    finally:
        connection.close()
