"""`connector sample`: sends the running server an event as the platform would, and follows it into the tables."""

from __future__ import annotations

import json
from typing import Annotated
from urllib.parse import quote

import typer

from connector import assembly
from connector import config as configuration
from connector.actions import sample_of, signed, wait_until_delivered
from connector.cli.common import (
    ConfigOption,
    NoServerOfHttp,
    ask,
    command,
    dead_letters,
    load,
    named_route,
    named_source,
    nearby,
    now,
    store_exists,
    visited,
    visited_if_there,
)
from connector.cli.exits import FOUND_PROBLEMS, OK, Left
from connector.cli.printing import many, mark, marked, say
from connector.core.facts import load_facts
from connector.core.source import InboundRequest, accepted_status
from connector.core.view import view
from connector.dead_letters import DeadLetters
from connector.settings import Config, SourceConfig
from connector.store import Store


def sample(
    name: Annotated[str | None, typer.Argument(help="The source; else the first one configured.")] = None,
    to: Annotated[
        str | None, typer.Option(metavar="ROUTE", help="Write it also there; else samples are written to files only.")
    ] = None,
    config: ConfigOption = None,
) -> int:
    """Send the running server a sample event. Says what came of it, and how to remove it.

    The affiliate in it is invented. Files (CSV, Excel) show it; a spreadsheet or CRM that people share only with --to.
    """
    settings = load(config, uses=("sources",))
    source = named_source(settings, name)
    shared = None if to is None else named_route(settings, to)
    make = sample_of(source)
    if make is None:
        raise Left(f'There is no sample for sources of type "{source.options.type}".')
    topic, content = make(now())
    request = signed(source, json.dumps(content).encode(), topic)
    with visited_if_there(settings) as store:
        if store is not None:
            assembly.send_samples_to(store, settings.routes, shared)
    status, answer = _send(settings, source.name, topic, request, serve=command("serve", configuration.find(config)))
    if status != accepted_status(source.source_class):
        say(f"{mark('problem')} {source.name} was answered {status}: {answer}")
        return FOUND_PROBLEMS
    return _follow(settings, source, request)


def _send(settings: Config, name: str, topic: str | None, request: InboundRequest, *, serve: str) -> tuple[int, str]:
    """The running server's answer."""
    where = f"{settings.server.host}:{settings.server.port}"
    path = f"/hooks/{name}" + (f"?topic={quote(topic)}" if topic else "")
    headers = {key.decode(): value.decode() for key, value in request.headers}
    try:
        code, answer = ask(settings, path, headers, request.body, seconds=10)
        return code, answer.decode("utf-8", "replace")
    except NoServerOfHttp:
        raise Left(f"What answers on {where} is no connector: see [server] in {nearby(settings.file)}.") from None
    except OSError as error:
        raise Left(f"No server answers on {where} ({error.strerror or error}). Start one: {serve}") from None


def _follow(settings: Config, source: SourceConfig, request: InboundRequest) -> int:
    """Wait until the running server has delivered that event, and say what came of it."""
    built = assembly.build_sources(settings)[source.name]
    record_ids = [update.record_id for update in built.normalize(built.accept(request))]
    if not store_exists(settings):
        raise Left("There is no store yet: is the server running with the same configuration?")
    letters = dead_letters(settings)
    code = OK
    with visited(settings) as store:
        wait_until_delivered(store, [(route.name, record_id) for route in settings.routes for record_id in record_ids])
        for record_id in record_ids:
            if record_id not in (known := store.load([record_id])):
                say(f"{record_id} is not recorded yet: is the server running with the same configuration?")
                return FOUND_PROBLEMS
            name = view(record_id, load_facts(known[record_id].facts)).name or record_id
            for sink in settings.sinks:
                for route in sink.routes:
                    if not assembly.gets_samples(sink, route, store):
                        say(f"{mark('notice')} {route.name}  gets no samples; to send one: --to {route.name}")
                        continue
                    written, line = _outcome(store, letters, route.name, record_id, name)
                    file = getattr(sink.options, "path", None)
                    where = f": {nearby(file)}" if written and line.endswith("written") and file is not None else ""
                    for text in marked("ok" if written else "waiting", f"{route.name}  {line}{where}"):
                        say(text)
                    code = code if written else FOUND_PROBLEMS
    say(f"To remove it: connector forget {' '.join(record_ids)}, then delete the row")
    return code


def _outcome(store: Store, letters: DeadLetters, route: str, record_id: str, name: str) -> tuple[bool, str]:
    """Whether the route has done its work for that record, and a line about it."""
    # Pending first: rows that an earlier sample wrote say nothing about this one.
    if route in {pending.route for pending in store.pending_of(record_id)}:
        state = store.route_state(route)
        why = "it waits for its turn" if state.kind == "ok" else state.reason or state.kind
        return False, f"pending ({why.rstrip('.')}); it is written as soon as possible"
    if stopped := letters.ids_about(route, [record_id]):
        return False, f"a dead letter: connector dead-letters show {min(stopped)}"
    if all(known.route != route for known in store.status().routes):
        return False, "the running server does not know this route yet; restart the server"
    if rows := store.written(route, [record_id]):
        return True, f"{many(len(rows), 'row')} about {name} {'is' if len(rows) == 1 else 'are'} written"
    return True, "no row (its mapping leaves this affiliate out)"
