"""`connector sample`: sends the running server an event as the platform would, and follows it into the tables."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer

from connector import assembly
from connector import config as configuration
from connector.cli.common import (
    ConfigOption,
    command,
    dead_letters,
    load,
    local_url,
    named_source,
    now,
    store_exists,
    visited,
)
from connector.cli.exits import FOUND_PROBLEMS, OK, Left, complain
from connector.cli.printing import say
from connector.config import Config, SourceConfig
from connector.core.source import InboundRequest, accepted_status
from connector.core.verify import HEX_OF_BODY
from connector.dead_letters import DeadLetters
from connector.store import Store

_FOLLOWED_SECONDS = 15.0
_LOOK_EVERY_SECONDS = 0.05


def sample(
    name: Annotated[str | None, typer.Argument(help="The source; else the first one configured.")] = None,
    config: ConfigOption = None,
) -> int:
    """Send the running server a sample event. Says what came of it.

    The affiliate in it is invented. When you have seen enough, delete its row, and type
    connector forget firstpromoter:990000001 (or the id that was printed).
    """
    settings = load(config, uses=("sources",))
    source = named_source(settings, name)
    make: Callable[[datetime], tuple[str | None, dict[str, Any]]] | None = getattr(source.source_class, "sample", None)
    if make is None:
        complain(f'there is no sample for sources of type "{source.options.type}"')
        raise Left(FOUND_PROBLEMS)
    topic, content = make(now())
    request = signed(source, json.dumps(content).encode(), topic)
    status, answer = _send(settings, source.name, topic, request, serve=command("serve", configuration.find(config)))
    say(f"sent a sample event to {source.name}: {status} {answer}")
    if status != accepted_status(source.source_class):
        raise Left(FOUND_PROBLEMS)
    return _follow(settings, source, request)


def signed(source: SourceConfig, body: bytes, topic: str | None) -> InboundRequest:
    """A request as the platform would send it, with a credential that is configured."""
    headers = [(b"content-type", b"application/json")]
    options, moment = source.options, now()
    token = options.token or next(iter(options.tokens), None)
    if token:
        headers.append((b"authorization", b"Bearer " + token.encode()))
    scheme = getattr(source.source_class, "signature", HEX_OF_BODY)
    if scheme is not None and options.signing_secrets:
        made = scheme.sign(options.signing_secrets[0], body, moment, f"sample-{moment.timestamp():.0f}")
        headers += [(key.encode(), value.encode()) for key, value in made.items()]
    query = f"topic={quote(topic, safe='')}".encode() if topic else b""
    return InboundRequest(headers, query, body, moment)


def _send(settings: Config, name: str, topic: str | None, request: InboundRequest, *, serve: str) -> tuple[int, str]:
    """The running server's answer. Not through public_url: the sample is for the server on this machine."""
    where = f"{settings.server.host}:{settings.server.port}"
    connection = http.client.HTTPConnection(local_url(settings).removeprefix("http://"), timeout=10)
    path = f"/hooks/{name}" + (f"?topic={quote(topic)}" if topic else "")
    headers = {key.decode(): value.decode() for key, value in request.headers}
    try:
        connection.request("POST", path, request.body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    except OSError as error:
        complain(f"no server answers on {where} ({error.strerror or error}); start one with:\n  {serve}")
        raise Left(FOUND_PROBLEMS) from None
    except http.client.HTTPException:
        complain(f"what answers on {where} is no connector; see [server] in {settings.file}")
        raise Left(FOUND_PROBLEMS) from None
    finally:
        connection.close()


def _follow(settings: Config, source: SourceConfig, request: InboundRequest) -> int:
    """Wait until the running server has delivered that event, and say what came of it."""
    built = assembly.build_sources(settings)[source.name]
    updates = built.normalize(built.accept(request))
    if not store_exists(settings):
        complain("there is no store yet; is the server running with the same configuration?")
        raise Left(FOUND_PROBLEMS)
    letters = dead_letters(settings)
    code = OK
    with visited(settings) as store:
        _wait(store)
        for record_id in [update.record_id for update in updates]:
            if not store.load([record_id]):
                say(f"{record_id}: not recorded yet; is the server running with the same configuration?")
                raise Left(FOUND_PROBLEMS)
            for route in settings.routes:
                written, line = _outcome(store, letters, route.name, record_id)
                say(f"{route.name}: {line}")
                code = code if written else FOUND_PROBLEMS
    return code


def _wait(store: Store) -> None:
    """Until nothing is on its way any more; a route that waits for a person, or met a bug, is not waited for."""
    ends = time.monotonic() + _FOLLOWED_SECONDS
    last = store.status().last_seq
    while time.monotonic() < ends and not store.is_projected(last):
        time.sleep(_LOOK_EVERY_SECONDS)
    while time.monotonic() < ends and any(
        route.pending and route.state.kind in ("ok", "waiting") for route in store.status().routes
    ):
        time.sleep(_LOOK_EVERY_SECONDS)


def _outcome(store: Store, letters: DeadLetters, route: str, record_id: str) -> tuple[bool, str]:
    """Whether the route has done its work for that record, and a line about it."""
    # Pending first: rows that an earlier sample wrote say nothing about this one.
    if route in {pending.route for pending in store.pending_of(record_id)}:
        state = store.route_state(route)
        why = "it waits for its turn" if state.kind == "ok" else state.reason or state.kind
        return False, f"pending ({why.rstrip('.')}); it is written as soon as possible"
    if stopped := letters.ids_about(route, record_id):
        return False, f"a dead letter; see: connector dead-letters show {min(stopped)}"
    if rows := [row.key for row in store.written(route, [record_id])]:
        return True, f"the row {', '.join(rows)} is written"
    return True, "no row (its mapping leaves this affiliate out)"
