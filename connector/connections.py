"""How long a sender's connection is waited for. It is put around uvicorn's protocol, and knows only what asyncio
calls.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from contextvars import ContextVar
from typing import Final

import httptools
from starlette.types import ASGIApp, Receive, Scope, Send

_OFFER: Final = re.compile(rb"(?<=\r\n)upgrade(?=[ \t]*:)", re.IGNORECASE)
_IGNORED_OFFER: Final = b"x-offer"  # as long as the name that it replaces
_LARGEST_HEAD_BYTES: Final = 65_536


class Connection:
    """What a connection waits for, found out by a parser of its own. uvicorn ends a connection that is idle between
    requests; one that sends a head, or a body whose answer has been given, at a byte a minute would stay for ever.

    Args:
        seconds: how long a head may take, and a body.
    """

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self._transport, self._seconds = transport, seconds
        self._parser = httptools.HttpRequestParser(self)
        self._waits_for: str | None = "head"
        self._held = bytearray()
        self._head_bytes = 0
        self._completed = self._unanswered = 0
        self._ended = False
        self._timer: asyncio.TimerHandle | None = None
        self._changed = True
        self._arm()

    def received(self, data: bytes) -> bytes:
        """Called with all that comes in; what uvicorn is to read now. A head is given to it when it is complete."""
        self._held += data
        completed, unanswered = self._completed, self._unanswered
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # An offer to speak another protocol, which a server may ignore. The parser would not: it reads no body.
            self._held = bytearray(_OFFER.sub(_IGNORED_OFFER, bytes(self._held)))
            self._parser, self._unanswered = httptools.HttpRequestParser(self), unanswered
            with suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
                self._parser.feed_data(bytes(self._held))
        except httptools.HttpParserError:
            self._waits_for, self._changed = None, True  # uvicorn answers and closes
        if self._waits_for == "head":
            self._head_bytes += len(data)
            if self._head_bytes > _LARGEST_HEAD_BYTES:
                self._close(b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\r\n")
        self._arm()
        if self._waits_for == "head" and self._completed == completed:
            return b""
        whole, self._held = bytes(self._held), bytearray()
        return whole

    def on_message_begin(self) -> None:
        """For the parser."""
        self._waits_for, self._changed, self._head_bytes = "head", True, 0

    def on_headers_complete(self) -> None:
        """For the parser."""
        self._waits_for, self._changed = "body", True
        self._unanswered += 1

    def on_message_complete(self) -> None:
        """For the parser."""
        self._waits_for, self._changed = None, True
        self._completed += 1

    def answered(self) -> None:
        """A request has its answer."""
        self._unanswered -= 1
        if self._ended and not self._unanswered:
            self._transport.close()

    def end_of_input(self) -> bool:
        """The sender sends no more. Whether it is still to be answered: some close their half of the connection."""
        self._ended = True
        return self._unanswered > 0 and self._waits_for is None

    def lost(self) -> None:
        """The connection is closed."""
        del self._parser  # it refers to us
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        if not self._changed:
            return
        self._changed = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waits_for is not None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._give_up)

    def _give_up(self) -> None:
        # A body may come late for a request that has its answer, and an answer must not overtake another one's.
        is_next = self._unanswered == (1 if self._waits_for == "body" else 0)
        self._close(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n" if is_next else b"")

    def _close(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)
            self._transport.close()


_CONNECTION: ContextVar[Connection | None] = ContextVar("connection", default=None)


def patient(protocol: type[asyncio.Protocol], seconds: float) -> type[asyncio.Protocol]:
    """*protocol* with one end to the patience with heads and bodies that trickle in; see ``Connection``.

    Overrides only what asyncio calls. The application's tasks are started by ``data_received``, so they see whose
    request they answer.
    """

    class PatientProtocol(protocol):  # type: ignore[misc, valid-type]  # a class that is chosen while running
        watched: Connection

        def connection_made(self, transport: asyncio.Transport) -> None:
            self.watched = Connection(transport, seconds)
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            _CONNECTION.set(self.watched)
            whole = self.watched.received(data)
            if whole:
                super().data_received(whole)

        def eof_received(self) -> bool:
            super().eof_received()
            return self.watched.end_of_input()

        def connection_lost(self, exc: Exception | None) -> None:
            self.watched.lost()
            super().connection_lost(exc)

    return PatientProtocol


class Answering:
    """The application; it reports to each connection when one of its requests has been answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        connection = _CONNECTION.get()
        try:
            await self._app(scope, receive, send)
        finally:
            if connection is not None:
                connection.answered()
