"""A small HTTP server on the loopback interface that plays a far side: JSON in, JSON out, and faults on demand.

Subclass ``FarSide`` and write ``answer``; hand out faults with ``fault_for`` (a function of the call) or ``faults`` (a
queue that the next calls take). It knows nothing of any platform.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it came in.

    Args:
        number: 1 for the first call of this server's life.
        method, path: ``POST``, ``/crm/v3/…`` (percent-decoded, without the query).
        query: every parameter with all its values.
        headers: lower-case names.
        body: the raw bytes.
        at: ``time.monotonic()`` when the request had been read.
    """

    number: int
    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        """The body as JSON (None when there is none)."""
        return json.loads(self.body) if self.body else None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: *body* is sent as JSON unless it is bytes."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one call.

    Args:
        kind: ``reset_before`` (connection reset, nothing handled) · ``reset_after`` (handled, then reset: the answer
            is lost) · ``hang_after`` (handled, then silence until the client gives up or the server ends) ·
            ``cut_after`` (handled, half of the answer sent, then closed) · ``status`` (*reply* instead of handling) ·
            ``status_after`` (handled, then *reply* instead of the true answer) · ``none`` (only the delay).
        reply: for ``status`` and ``status_after``.
        delay_seconds: before anything else.
    """

    kind: str = "none"
    reply: Reply = field(default_factory=lambda: Reply(500, {"message": "internal error"}))
    delay_seconds: float = 0.0


class FarSide:
    """The base of a far side. ``with MyServer() as server: client(server.url)``.

    ``answer`` is called in the connection's thread, one call at a time (under ``lock``) unless ``concurrent`` is True.
    """

    concurrent = False

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.statuses: list[int] = []
        """Of every answer sent, in the order of answering; 0 for a call that got none."""
        self.faults: deque[Fault | None] = deque()
        """Taken by the next calls, one each; None lets a call through."""
        self.fault_for: Callable[[Call], Fault | None] = lambda call: None
        self.crashes: list[BaseException] = []
        """What ``answer`` raised: a bug of the test server itself; leaving the ``with`` block raises the first."""
        self.lock = threading.RLock()
        self._ending = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._connections: set[socket.socket] = set()

    def answer(self, call: Call) -> Reply:
        """What the far side does with *call*."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``, no slash at the end."""
        assert self._server is not None, "the server runs only inside its with block"
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def paths(self, method: str | None = None) -> list[str]:
        """``METHOD /path`` of every call so far, or of those of one method."""
        return [f"{call.method} {call.path}" for call in self.calls if method in (None, call.method)]

    def drop_connections(self) -> None:
        """Close every connection that is open (a far side that restarts)."""
        with self.lock:
            connections = list(self._connections)
        for connection in connections:
            _reset(connection)

    def __enter__(self) -> Self:
        far_side = self

        class Handler(_Handler):
            @property
            def owner(self) -> FarSide:
                return far_side

        self._ending.clear()
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._ending.set()
        self._server.shutdown()
        self.drop_connections()
        self._server.server_close()
        if self.crashes and error is None:
            raise self.crashes[0]

    # ------------------------------------------------------------ one call, in its connection's thread

    def _take(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[Call, Fault | None]:
        split = urlsplit(target)
        query = parse_qs(split.query, keep_blank_values=True)
        with self.lock:
            call = Call(len(self.calls) + 1, method, unquote(split.path), query, headers, body, time.monotonic())
            self.calls.append(call)
            fault = self.faults.popleft() if self.faults else self.fault_for(call)
        return call, fault

    def _handle(self, call: Call) -> Reply:
        try:
            if self.concurrent:
                return self.answer(call)
            with self.lock:
                return self.answer(call)
        except Exception as error:
            self.crashes.append(error)
            return Reply(500, {"message": f"the test server has a bug: {error!r}"})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 60

    @property
    def owner(self) -> FarSide:
        raise NotImplementedError

    def setup(self) -> None:
        super().setup()
        with self.owner.lock:
            self.owner._connections.add(self.connection)

    def finish(self) -> None:
        with self.owner.lock:
            self.owner._connections.discard(self.connection)
        with contextlib.suppress(OSError):  # the client, or a fault, has closed it
            super().finish()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Silent."""

    def _serve(self) -> None:
        owner = self.owner
        body = self._body()
        headers = {name.lower(): value for name, value in self.headers.items()}
        call, fault = owner._take(self.command, self.path, headers, body)
        fault = fault or Fault()
        if fault.delay_seconds:
            owner._ending.wait(fault.delay_seconds)
        if fault.kind == "reset_before":
            self._lose()
            return
        reply = fault.reply if fault.kind == "status" else owner._handle(call)
        if fault.kind == "reset_after":
            self._lose()
            return
        if fault.kind == "hang_after":
            owner.statuses.append(0)
            owner._ending.wait()
            self.close_connection = True
            return
        self._send(fault.reply if fault.kind == "status_after" else reply, cut=fault.kind == "cut_after")

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        size = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(size)
        if len(body) < size:
            raise ConnectionAbortedError("the client went away in the middle of its call")  # a call that never came
        return body

    def _lose(self) -> None:
        self.owner.statuses.append(0)
        self.close_connection = True
        _reset(self.connection)

    def _send(self, reply: Reply, *, cut: bool) -> None:
        body = reply.body
        if not isinstance(body, bytes):
            body = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        self.owner.statuses.append(0 if cut else reply.status)
        self.send_response(reply.status)
        names = {name.lower() for name in reply.headers}
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if "content-type" not in names:
            self.send_header("Content-Type", "application/json;charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.wfile.flush()
        if cut:
            self.close_connection = True


def _reset(connection: socket.socket) -> None:
    """Close with RST: what a far side that crashes, or a middle box, does."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)
    with contextlib.suppress(OSError):
        connection.close()
