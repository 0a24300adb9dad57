"""The receiver built in other ways, so that the next reader sees what each choice costs (``ingest --explain``).

``null`` reads the body and answers 202; each of the others is the real receiver with one thing changed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from benchmarks.servers import TOKEN
from connector import logs
from connector.app import tame_collector, uvicorn_config
from connector.core.contract import Event, InboundRequest
from connector.receiver import Receiver, application
from connector.sources.firstpromoter import FirstPromoter
from connector.store import Store, open_store

Endpoint = Callable[[Request], Awaitable[Response]]


def null(_: Path) -> ASGIApp:
    """What no receiver can be faster than."""

    async def endpoint(request: Request) -> Response:
        await request.body()
        return Response(b'{"status":"accepted"}', 202, media_type="application/json")

    return _application(endpoint)


def no_store(_: Path) -> ASGIApp:
    """Vouches, opens, drops secrets; keeps nothing."""

    class Nowhere:
        def submit(self, event: Event, ticket: asyncio.Future[None]) -> None:  # noqa: ARG002 - the store's
            ticket.set_result(None)

    return _receiver(Nowhere())


def group_commit(folder: Path) -> ASGIApp:
    """Ours, without projection and delivery."""
    store = _store(folder)
    receiver = Receiver({"firstpromoter": _source()}, store, max_body_bytes=1_048_576, body_timeout_seconds=10.0)
    store.start_intake(receiver.deliver)
    return application(receiver, lambda: ())


def unique_index(folder: Path) -> ASGIApp:
    """Ours, with duplicates recognized in the answer's path by a unique index."""
    app = group_commit(folder)
    with sqlite3.connect(folder / "connector-inbox.db") as sql:
        sql.execute("CREATE UNIQUE INDEX one_event ON events (source, key)")
    return app


def request_response(folder: Path) -> ASGIApp:
    """Ours, behind an ordinary endpoint function with Request and JSONResponse."""
    store, source = _store(folder), _source()
    loop: list[asyncio.AbstractEventLoop] = []

    def resolve(tickets: list[asyncio.Future[None]], error: Exception | None) -> None:
        for ticket in tickets:
            if error is None:
                ticket.set_result(None)
            else:
                ticket.set_exception(error)

    def deliver(tickets: list[asyncio.Future[None]], error: Exception | None) -> None:
        loop[0].call_soon_threadsafe(resolve, tickets, error)

    store.start_intake(deliver)

    async def endpoint(request: Request) -> Response:
        event = source.accept(await _inbound(request))
        if not loop:
            loop.append(asyncio.get_running_loop())
        ticket = loop[0].create_future()
        store.submit(event, ticket)
        await ticket
        return JSONResponse({"status": "accepted", "event": event.key}, 202)

    return _application(endpoint)


def commit_per_request(folder: Path) -> ASGIApp:
    """A transaction and a thread hop for every request."""
    store, source = _store(folder), _source()

    async def endpoint(request: Request) -> Response:
        event = source.accept(await _inbound(request))
        await run_in_threadpool(store.append, [event])
        return JSONResponse({"status": "accepted", "event": event.key}, 202)

    return _application(endpoint)


def json_loads(folder: Path) -> ASGIApp:
    """Ours, with Python's own parser looking at every pair (strict, and much slower)."""
    from connector.core import json_body

    class Exact(FirstPromoter):
        def accept(self, request: InboundRequest) -> Event:
            json.loads(request.body, object_pairs_hook=json_body._single_keys)
            return super().accept(request)

    store = _store(folder)
    options = FirstPromoter.Options(type="firstpromoter", token=TOKEN)
    receiver = Receiver(
        {"firstpromoter": Exact("firstpromoter", options)}, store, max_body_bytes=1_048_576, body_timeout_seconds=10.0
    )
    store.start_intake(receiver.deliver)
    return application(receiver, lambda: ())


variants: dict[str, Callable[[Path], ASGIApp]] = {
    made.__name__: made
    for made in (null, no_store, group_commit, json_loads, unique_index, request_response, commit_per_request)
}


def _source() -> FirstPromoter:
    return FirstPromoter("firstpromoter", FirstPromoter.Options(type="firstpromoter", token=TOKEN))


def _store(folder: Path) -> Store:
    return open_store(f"sqlite:///{folder}/connector.db", worker=True, now=lambda: datetime.now(UTC))


async def _inbound(request: Request) -> InboundRequest:
    return InboundRequest(
        request.scope["headers"], request.scope["query_string"], await request.body(), datetime.now(UTC)
    )


def _receiver(intake: object) -> ASGIApp:
    receiver = Receiver(
        {"firstpromoter": _source()},
        intake,  # type: ignore[arg-type]  # a double that keeps nothing
        max_body_bytes=1_048_576,
        body_timeout_seconds=10.0,
    )
    return application(receiver, lambda: ())


def _application(endpoint: Endpoint) -> ASGIApp:
    async def healthz(_: Request) -> Response:
        return Response("ok")

    return Starlette(
        routes=[Route("/hooks/firstpromoter", endpoint, methods=["POST"]), Route("/healthz", healthz)],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", choices=sorted(variants))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    asked = parser.parse_args()
    logs.set_up()
    app = variants[asked.variant](asked.folder)
    if asked.variant == "null":  # uvicorn as it is, with the settings that do something
        config = uvicorn_config(app, keep_alive_seconds=75, protocol=HttpToolsProtocol)
    else:
        config = uvicorn_config(app, keep_alive_seconds=75)
        tame_collector()
    with socket.create_server(("127.0.0.1", asked.port), backlog=2048) as listener:
        uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    main()
