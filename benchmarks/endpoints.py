"""Two servers to compare with: ``null`` reads the body and answers 202; ``receiver`` is ours, with the store alone."""

from __future__ import annotations

import argparse
import socket
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks import stores
from connector import logs
from connector.receiver import Receiver, application
from connector.serve import uvicorn_config


def null(_: Path) -> uvicorn.Config:
    """What one writes with Starlette; it keeps nothing."""

    async def endpoint(request: Request) -> Response:
        await request.body()
        return Response(b'{"status":"accepted"}', 202, media_type="application/json")

    async def healthz(_: Request) -> Response:
        return Response("ok")

    app = Starlette(routes=[Route("/hooks/firstpromoter", endpoint, methods=["POST"]), Route("/healthz", healthz)])
    return uvicorn.Config(
        app, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
        proxy_headers=False, timeout_keep_alive=75,
    )  # fmt: skip


def receiver(folder: Path) -> uvicorn.Config:
    """Answers when the event is on disk; nothing projects or delivers it."""
    store = stores.new_store(folder)
    made = Receiver({"firstpromoter": stores.source()}, store, max_body_bytes=1_048_576)
    store.start_intake(made.deliver)
    return uvicorn_config(application(made, lambda: ()), keep_alive_seconds=75, request_timeout_seconds=10.0)


endpoints = {"null": null, "receiver": receiver}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("endpoint", choices=sorted(endpoints))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    asked = parser.parse_args()
    logs.set_up()
    config = endpoints[asked.endpoint](asked.folder)
    with socket.create_server(("127.0.0.1", asked.port), backlog=2048) as listener:
        uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    main()
