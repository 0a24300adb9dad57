"""The receiver built in other ways, so that the next reader sees what each choice costs (``ingest --explain``).

``null`` reads the body and answers 202; each of the others is the real receiver with one thing changed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message

from benchmarks.servers import TOKEN
from connector import logs
from connector.core import json_body
from connector.core.source import Event, InboundRequest
from connector.receiver import Receiver, application
from connector.serve import uvicorn_config
from connector.sources.firstpromoter.webhooks import FirstPromoter
from connector.store.blocks import blocks_of
from connector.store.store import Store, _insert_blocks, _Intake, open_store


def null(_: Path) -> ASGIApp:
    """An endpoint that keeps nothing, written as one does with Starlette."""

    async def endpoint(request: Request) -> Response:
        await request.body()
        return Response(b'{"status":"accepted"}', 202, media_type="application/json")

    return _starlette(Route("/hooks/firstpromoter", endpoint, methods=["POST"]))


def no_store(_: Path) -> ASGIApp:
    """Vouches, opens, drops secrets; keeps nothing."""

    class Nowhere:
        def submit(self, events: Sequence[Event], tickets: Sequence[Any]) -> None:  # noqa: ARG002
            receiver.deliver(tickets, None)

    receiver = _receiver(Nowhere())
    return _application(receiver)


def group_commit(folder: Path) -> ASGIApp:
    """Ours, without projection and delivery."""
    return _application(_keeping(folder))


def request_response(folder: Path) -> ASGIApp:
    """Ours, behind an ordinary endpoint function with Request and JSONResponse."""
    receiver = _keeping(folder)

    async def endpoint(request: Request) -> Response:
        body = await request.body()
        answer: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body}

        async def send(message: Message) -> None:
            answer.append(message)

        await receiver(request.scope, receive, send)
        return JSONResponse(json.loads(answer[1]["body"]), answer[0]["status"])

    return _starlette(Route("/hooks/{source}", endpoint, methods=["POST"]))


def row_per_event(folder: Path) -> ASGIApp:
    """Ours, with each event shrunk alone, in a row of its own."""
    return _application(_inserting(folder, _rows, "CREATE TABLE rows (event BLOB NOT NULL)"))


def _rows(store: Store, sql: sqlite3.Connection, events: Sequence[Event]) -> None:
    shrunk = [block.content for event in events for block in blocks_of(store._codec, [event])]
    for start in range(0, len(shrunk), 64):
        some = shrunk[start : start + 64]
        sql.execute(f"INSERT INTO rows VALUES {','.join(['(?)'] * len(some))}", some)  # noqa: S608 - marks only


def unique_index(folder: Path) -> ASGIApp:
    """Ours, with duplicates recognized in the answer's path by a unique index."""
    return _application(_inserting(folder, _unique, "CREATE TABLE keys (source, key, UNIQUE (source, key))"))


def _unique(store: Store, sql: sqlite3.Connection, events: Sequence[Event]) -> None:
    sql.executemany("INSERT OR IGNORE INTO keys VALUES (?, ?)", [(event.source, event.key) for event in events])
    blocks = list(blocks_of(store._codec, events))
    for start in range(0, len(blocks), 16):
        sql.execute(*_insert_blocks(blocks[start : start + 16]))


def _inserting(
    folder: Path, insert: Callable[[Store, sqlite3.Connection, Sequence[Event]], None], table: str
) -> Receiver:
    """A receiver whose store has one more *table*, and keeps a group by *insert*."""
    store = _store(folder)
    with store._inbox.writing() as sql:
        sql.execute(table)

    def keep(events: Sequence[Event]) -> None:
        with store._inbox.writing() as sql:
            insert(store, sql, events)

    receiver = _receiver(store)
    store._intake = _Intake(keep, receiver.deliver, store._appended, 10_000)
    return receiver


def json_loads(folder: Path) -> ASGIApp:
    """Ours, after Python's own parser has looked at every pair as well."""

    class Exact(FirstPromoter):
        def accept(self, request: InboundRequest) -> Event:
            json.loads(request.body, object_pairs_hook=json_body._single_keys)
            return super().accept(request)

    return _application(_keeping(folder, Exact))


def commit_per_request(folder: Path) -> ASGIApp:
    """Ours, with a transaction and a thread hop for every request."""
    store = _store(folder)

    class Alone:
        def submit(self, events: Sequence[Event], tickets: Sequence[Any]) -> None:
            for event, ticket in zip(events, tickets, strict=True):
                asyncio.get_running_loop().run_in_executor(None, self.commit, event, ticket)

        def commit(self, event: Event, ticket: Any) -> None:
            store.append([event])
            receiver.deliver([ticket], None)

    receiver = _receiver(Alone())
    return _application(receiver)


variants: dict[str, Callable[[Path], ASGIApp]] = {
    made.__name__: made
    for made in (
        null,
        no_store,
        group_commit,
        request_response,
        row_per_event,
        unique_index,
        json_loads,
        commit_per_request,
    )
}


def _store(folder: Path) -> Store:
    return open_store(f"sqlite:///{folder}/connector.db", worker=True, now=lambda: datetime.now(UTC))


def _receiver(intake: Any, kind: type[FirstPromoter] = FirstPromoter) -> Receiver:
    source = kind("firstpromoter", kind.Options(type="firstpromoter", token=TOKEN))
    return Receiver({"firstpromoter": source}, intake, max_body_bytes=1_048_576, body_timeout_seconds=10.0)


def _keeping(folder: Path, kind: type[FirstPromoter] = FirstPromoter) -> Receiver:
    store = _store(folder)
    receiver = _receiver(store, kind)
    store.start_intake(receiver.deliver)
    return receiver


def _application(receiver: Receiver) -> ASGIApp:
    return application(receiver, lambda: ())


def _starlette(hook: Route) -> ASGIApp:
    async def healthz(_: Request) -> Response:
        return Response("ok")

    return Starlette(routes=[hook, Route("/healthz", healthz)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", choices=sorted(variants))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    asked = parser.parse_args()
    logs.set_up()
    app = variants[asked.variant](asked.folder)
    if asked.variant == "null":  # uvicorn as it is, with the settings that do something
        config = uvicorn.Config(
            app, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
            proxy_headers=False, timeout_keep_alive=75,
        )  # fmt: skip
    else:
        config = uvicorn_config(app, keep_alive_seconds=75, request_timeout_seconds=10.0)
    with socket.create_server(("127.0.0.1", asked.port), backlog=2048) as listener:
        uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    main()
