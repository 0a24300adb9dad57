"""HTTP in: reads a webhook's body, lets its source vouch for it, keeps it, then answers. Knows no platform by name.

The only asynchronous room. A webhook that comes whole, as nearly every one does, is taken right from the HTTP parser,
and the answer is written when its group is safe: a task for each request, and the ASGI messages to and fro, would cost
a quarter of the path. Any other request (a body in parts, one that asks first, what is no webhook) goes the way of
ASGI, and gets the same answers.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final, Protocol, cast

import msgspec
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from connector import logs
from connector.core.errors import Forged, StoreUnavailable, Unreadable
from connector.core.source import Event, InboundRequest, Source
from connector.faults import describe

_log = logs.get("receiver")
_json: Final = (b"content-type", b"application/json")
_clock = datetime.now
_encode = msgspec.json.encode
_openmetrics: Final = "application/openmetrics-text; version=1.0.0"


class Intake(Protocol):
    """What keeps events: the store."""

    def submit(self, events: Sequence[Event], tickets: Sequence[Any]) -> None:
        """Take *events* into the next group; ``Receiver.deliver`` is called with their *tickets* when they are safe on
        disk.

        Raises:
            StoreUnavailable: no event can be taken at the moment.
        """
        ...


class Counts(Protocol):
    """Who counts requests (metrics)."""

    def received(self, sources: Sequence[str]) -> None: ...

    def refused(self, reason: str) -> None: ...


class NoCounts:
    """Counts nothing."""

    def received(self, sources: Sequence[str]) -> None:
        pass

    def refused(self, reason: str) -> None:
        pass


class Answer:
    """An answer of JSON.

    Args:
        content: the JSON.
        headers: besides those about the content.
    """

    __slots__ = ("content", "headers", "status")

    def __init__(self, status: int, content: bytes, *headers: tuple[bytes, bytes]) -> None:
        self.status, self.content = status, content
        self.headers = [_json, (b"content-length", b"%d" % len(content)), *headers]

    async def send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.content})


def _error(status: int, text: str, *headers: tuple[bytes, bytes]) -> Answer:
    return Answer(status, _encode({"status": "refused", "error": text}), *headers)


_close: Final = (b"connection", b"close")
unreadable = _error(400, "this is no webhook of this platform: the connector's log says why")
forged = _error(401, "no valid credential", (b"www-authenticate", b"Bearer"))
unknown_path = _error(404, "there is nothing here")
unknown_source = _error(404, "no such source")
only_post = _error(405, "use POST", (b"allow", b"POST"))
only_get = _error(405, "use GET", (b"allow", b"GET, HEAD"))
too_slow = _error(408, "the body did not arrive in time", _close)
too_large = _error(413, "the body is too large", _close)
wrong_type = _error(415, "send application/json in UTF-8")
encoded = _error(415, "send the body without a content-encoding")
unavailable = _error(503, "the event could not be kept; send it again", (b"retry-after", b"5"))
broken = _error(500, "a bug of the connector; send it again", (b"retry-after", b"5"))
alive = Answer(200, _encode({"status": "ok"}))
ready = Answer(200, _encode({"status": "ready"}))


class Ticket(Protocol):
    """A request that waits until its event is safe on disk."""

    event: Event
    size: int
    """Bytes of the body as it came."""

    def accept(self, content: bytes) -> bool:
        """Answer 202 with *content*. False: the program stops, and the answer has been another.

        202, not 200: FirstPromoter reads 200 here as "paid out" (docs.firstpromoter.com/webhooks/fulfilment-pending).
        """
        ...

    def fail(self, error: Exception) -> None:
        """The event is not kept."""
        ...


class _Refusal(Exception):
    """Ends the reading of a request with an answer; the reason is one word for the log."""

    def __init__(self, answer: Answer, reason: str, why: str | None = None) -> None:
        self.answer = answer
        self.reason = reason
        self.why = why


class _Patience:
    """One time-out for all bodies that are being read: ``asyncio.timeout`` for each would cost a third of the path.

    Args:
        seconds: how long a body may take; it is cancelled within a quarter of that more, or a second.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._pause = min(1.0, seconds / 4)
        self._until: dict[asyncio.Task[Any], float] = {}
        self._ended: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, loop: asyncio.AbstractEventLoop) -> asyncio.Task[Any]:
        """Watch the current task, which runs on *loop*, until ``end``."""
        task = asyncio.current_task(loop)
        assert task is not None
        self._until[task] = time.monotonic() + self._seconds
        if self._timer is None:
            self._timer = loop.call_later(self._pause, self._look)
        return task

    def end(self, task: asyncio.Task[Any]) -> None:
        """Watch *task* no more."""
        self._until.pop(task, None)

    def has_ended(self, task: asyncio.Task[Any]) -> bool:
        """Whether it was we who cancelled *task*; if so the cancelling is over."""
        if task not in self._ended:
            return False
        self._ended.discard(task)
        task.uncancel()
        return True

    def _look(self) -> None:
        self._timer = None
        late: list[asyncio.Task[Any]] = []
        now = time.monotonic()
        for task, until in self._until.items():  # the oldest first
            if until > now:
                break
            late.append(task)
        for task in late:
            del self._until[task]
            self._ended.add(task)
            task.cancel()
        if self._until:
            loop = next(iter(self._until)).get_loop()
            self._timer = loop.call_later(self._pause, self._look)


_longest_gathering_seconds: Final = 0.005  # what has come does not wait longer for what is coming


class Receiver:
    """``POST /hooks/{source}``: an ASGI application.

    Args:
        sources: by their names in the configuration.
        intake: keeps the events.
        max_body_bytes: longer bodies are answered 413.
        body_timeout_seconds: a body that takes longer to arrive is answered 408.
        counts: counts requests.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        intake: Intake,
        *,
        max_body_bytes: int,
        body_timeout_seconds: float,
        counts: Counts | None = None,
    ) -> None:
        self._sources = dict(sources)
        self._intake = intake
        self._max_body_bytes = max_body_bytes
        self._patience = _Patience(body_timeout_seconds)
        self._counts: Counts = NoCounts() if counts is None else counts
        self._loop: asyncio.AbstractEventLoop | None = None
        self._json_types: dict[bytes, bool] = {}
        self._events: list[Event] = []  # not handed over yet, with their tickets
        self._tickets: list[Ticket] = []
        self.paths = {f"/hooks/{name}": name for name in self._sources}
        """The name of each source by its path."""
        self.keeps = True
        """False from when an event could not be kept until somebody finds that the store commits again."""

    # ------------------------------------------------------------ the answer's path

    def take(self, scope: Mapping[str, Any], body: bytes, ticket: Ticket) -> None:
        """Take a request to one of ``paths`` that is here with its whole *body*: *ticket* will hear what came of it.

        Raises:
            Exception: it is not kept; ``refusal`` says what to answer.
        """
        self._judge(scope)
        if len(body) > self._max_body_bytes:
            raise _Refusal(too_large, "too_large")
        self._keep(self.paths[scope["path"]], scope, body, ticket)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI, for a request whose body may still be on its way."""
        name = scope["path_params"]["source"]
        try:
            if name not in self._sources:
                # The name is a stranger's text, perhaps a token pasted into the wrong place: not logged.
                name = None
                raise _Refusal(unknown_source, "unknown_source")  # noqa: TRY301
            self._judge(scope)
            loop = self._loop or self._on_loop()
            body = await self._read(scope["headers"], receive, loop)
            ticket = _Awaited(loop)
            self._keep(name, scope, body, ticket)
            try:
                content = await ticket.content
            except asyncio.CancelledError:
                # The program stops and the disk did not answer in time. Nothing is acknowledged then.
                raise StoreUnavailable("the program stops") from None
            answer = Answer(202, content)
        except Exception as error:
            answer = self.refusal(error, name)
        await answer.send(send)

    def _judge(self, scope: Mapping[str, Any]) -> None:
        """Refuse what can't be accepted whatever its body is."""
        if scope["method"] != "POST":
            raise _Refusal(only_post, "method")
        for name, value in scope["headers"]:
            if name == b"content-type":
                if not self._is_json(value):
                    raise _Refusal(wrong_type, "content_type")
            elif name == b"content-encoding":
                raise _Refusal(encoded, "content_encoding")

    def _keep(self, name: str, scope: Mapping[str, Any], body: bytes, ticket: Ticket) -> None:
        """Vouch for a request and have its event kept; *ticket* hears of it then."""
        ticket.size = len(body)
        request = InboundRequest(scope["headers"], scope["query_string"], body, _clock(UTC))
        ticket.event = self._vouch(self._sources[name], request)
        if not self._events:
            loop = self._loop or self._on_loop()
            loop.call_soon(self._hand_over, loop, 0, loop.time() + _longest_gathering_seconds)
        self._events.append(ticket.event)
        self._tickets.append(ticket)

    def _hand_over(self, loop: asyncio.AbstractEventLoop, seen: int, latest: float) -> None:
        """Give the store what came together at once: each group costs a change of threads and a flush, so whatever is
        there to be read is read first."""
        if len(self._events) > seen and loop.time() < latest:
            loop.call_soon(self._hand_over, loop, len(self._events), latest)
            return
        events, self._events = self._events, []
        tickets, self._tickets = self._tickets, []
        try:
            self._intake.submit(events, tickets)
        except Exception as error:  # whatever it is: those who wait must hear of it
            self._settle(tickets, error)

    def _settle(self, tickets: Sequence[Ticket], error: Exception | None) -> None:
        """Answer a group."""
        accepted = []
        for ticket in tickets:
            event = ticket.event
            try:
                if error is not None:
                    ticket.fail(error)
                elif ticket.accept(b'{"status":"accepted","event":%b}' % _encode(event.key)):
                    accepted.append(
                        {"source": event.source, "topic": event.topic, "key": event.key, "bytes": ticket.size}
                    )
            except Exception as bug:  # whatever it is: it must not take the others along
                ticket.fail(bug)
        if accepted:
            self._counts.received([str(fields["source"]) for fields in accepted])
            logs.say_each(_log, "request.accepted", accepted)

    def deliver(self, tickets: Sequence[Ticket], error: StoreUnavailable | None) -> None:
        """Called by the store's writer thread, once a group: these events are safe on disk, or (*error*) are not."""
        if error is not None and self.keeps:  # once, not for every sender that is refused meanwhile
            logs.warn(_log, "store.fails", reason=str(error))
            self.keeps = False
        loop = self._loop
        assert loop is not None  # a ticket was made on it
        with suppress(RuntimeError):  # the loop is closed: nobody waits for an answer any more
            loop.call_soon_threadsafe(self._settle, tickets, error)

    def _on_loop(self) -> asyncio.AbstractEventLoop:
        """The loop that all requests run on, asked for once: each time costs a system call."""
        self._loop = asyncio.get_running_loop()
        return self._loop

    async def _read(
        self, headers: Sequence[tuple[bytes, bytes]], receive: Receive, loop: asyncio.AbstractEventLoop
    ) -> bytes:
        """The body, within the limit. Raises _Refusal."""
        declared = 0
        waits = False
        for name, value in headers:
            if name == b"content-length":
                # The HTTP parser has refused what is no number; so many digits are nobody's number of bytes.
                declared = int(value) if len(value) < 19 else self._max_body_bytes + 1
            elif name == b"expect":
                waits = True
        if declared > self._max_body_bytes and waits:
            raise _Refusal(too_large, "too_large")  # the sender asked first ("Expect: 100-continue"): spare it the body
        size = 0
        parts: list[bytes] = []
        # A sender that is cut off while it still sends sees a broken connection instead of our 413: read on, keep
        # nothing, within reason.
        limit_of_waste = 4 * self._max_body_bytes
        task = self._patience.begin(loop)
        try:
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise _Refusal(too_slow, "gone")  # hung up; the answer reaches nobody
                part = message.get("body", b"")
                size += len(part)
                if size <= self._max_body_bytes:
                    parts.append(part)
                else:
                    parts.clear()
                    if size > limit_of_waste:
                        break
                if not message.get("more_body", False):
                    break
        except asyncio.CancelledError:
            if self._patience.has_ended(task):
                raise _Refusal(too_slow, "too_slow") from None
            raise
        finally:
            self._patience.end(task)
        if size > self._max_body_bytes:
            raise _Refusal(too_large, "too_large")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _vouch(self, source: Source, request: InboundRequest) -> Event:
        try:
            return source.accept(request)
        except Forged:
            raise _Refusal(forged, "credential") from None
        except Unreadable as error:
            # Its words name what is wrong with the body, never what it holds (errors.py).
            raise _Refusal(unreadable, "unreadable", str(error)) from None
        except Exception as error:
            # A bug of the source, met by a body that nobody foresaw.
            logs.say(_log, "source.bug", level=logging.ERROR, source=source.name, **describe(error))
            raise _Refusal(unreadable, "bug") from None

    def _is_json(self, value: bytes) -> bool:
        known = self._json_types.get(value)
        if known is None:
            known = is_json(value)
            if len(self._json_types) < 64:  # a stranger chooses the text: don't let him fill the memory
                self._json_types[value] = known
        return known

    def refusal(self, error: Exception, name: str | None) -> Answer:
        """What is answered to a request that was not kept because of *error*; it is counted and told.

        Args:
            name: the source's.
        """
        if isinstance(error, StoreUnavailable):
            error = _Refusal(unavailable, "store")
        if not isinstance(error, _Refusal):
            return broken_by(error)
        answer, reason = error.answer, error.reason
        self._counts.refused(reason)
        level = logging.WARNING if answer.status == 503 else logging.INFO
        logs.say(_log, "request.refused", level=level, status=answer.status, reason=reason, source=name, why=error.why)
        return answer


class _Awaited:
    """The ticket of a task."""

    __slots__ = ("content", "event", "size")

    event: Event
    size: int

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.content: asyncio.Future[bytes] = loop.create_future()

    def accept(self, content: bytes) -> bool:
        if self.content.done():  # cancelled, when the program stops
            return False
        self.content.set_result(content)
        return True

    def fail(self, error: Exception) -> None:
        if not self.content.done():
            self.content.set_exception(error)


def broken_by(bug: Exception) -> Answer:
    """What is answered when nobody foresaw *bug*, which is told."""
    logs.say(_log, "receiver.bug", level=logging.ERROR, **describe(bug))
    return broken


def is_json(content_type: bytes) -> bool:
    """Whether that is the media type of JSON (``application/json``, ``application/…+json``), in UTF-8 if it says."""
    media, *parameters = content_type.lower().split(b";")
    media = media.strip()
    if media != b"application/json" and not (media.startswith(b"application/") and media.endswith(b"+json")):
        return False
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        if name.strip() == b"charset" and value.strip().strip(b'"') not in (b"utf-8", b"utf8", b"us-ascii"):
            return False
    return True


# ---------------------------------------------------------------- the application


class _Readable:
    """A GET endpoint that gives the answer of a function."""

    def __init__(self, answer: Callable[[], Answer]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        await (self._answer() if scope["method"] in ("GET", "HEAD") else only_get).send(send)


class Page:
    """A GET endpoint whose text is made in a thread, for whoever knows the token.

    Args:
        render: what the request's Accept header asks for -> body and content type; may take some milliseconds. Asked
            once a second at most, since it reads the store.
        token: wanted as ``Authorization: Bearer …``; None: everybody is answered.
    """

    def __init__(self, render: Callable[[str], tuple[bytes, str]], token: str | None) -> None:
        self._render = render
        self._credential = None if token is None else f"Bearer {token}".encode()
        self._one_at_a_time = asyncio.Lock()
        self._fresh: dict[str, tuple[bytes, str]] = {}  # for a second

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        if scope["method"] not in ("GET", "HEAD"):
            await only_get.send(send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"authorization", b"")
        if self._credential is not None and not hmac.compare_digest(given, self._credential):
            await forged.send(send)
            logs.say(_log, "request.refused", status=401, reason="credential", path=scope["path"])
            return
        content, content_type = await self._content(headers.get(b"accept", b"").decode("latin-1"))
        answer = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": answer})
        await send({"type": "http.response.body", "body": content})

    async def _content(self, accept: str) -> tuple[bytes, str]:
        form = _openmetrics if "openmetrics" in accept else ""  # two forms, whatever a stranger asks for
        async with self._one_at_a_time:
            if form not in self._fresh:
                self._fresh[form] = await asyncio.to_thread(self._render, form)
                asyncio.get_running_loop().call_later(1.0, self._fresh.pop, form)
            return self._fresh[form]


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI's signature
    if scope["type"] == "http":
        await unknown_path.send(send)
        logs.say(_log, "request.refused", status=404, reason="unknown_path")


class _Application(Starlette):
    """Starlette without the detours that a webhook for a known source, which nearly every request is, needs not.

    Its middleware answers for endpoints that raise, at a fifth of an empty endpoint's cost. Ours answer their errors
    themselves; what nobody foresaw is answered here.
    """

    def __init__(self, receiver: Receiver, routes: Sequence[Route]) -> None:
        super().__init__(routes=routes)
        self.receiver, self._paths = receiver, receiver.paths

    def build_middleware_stack(self) -> ASGIApp:
        return self.router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        try:
            name = self._paths.get(scope["path"])
            if name is not None:
                scope["path_params"] = {"source": name}
                await self.receiver(scope, receive, send)
            else:
                await super().__call__(scope, receive, send)
        except Exception as error:
            # It raises when an answer has begun: then the server closes the connection.
            await broken_by(error).send(send)


def application(
    receiver: Receiver, reasons: Callable[[], Sequence[str]], more: Mapping[str, ASGIApp] | None = None
) -> Starlette:
    """The ASGI application of the whole program.

    Args:
        receiver: answers ``POST /hooks/{source}``.
        reasons: why the program is not ready, by name only (``store``, ``projector``, ``route:NAME``, ``stale``); ()
            when it is. Must be quick: it is asked in the event loop.
        more: ASGI applications by path (``/metrics``).
    """

    def readiness() -> Answer:
        found = list(reasons())
        if not found:
            return ready
        return Answer(503, _encode({"status": "not ready", "reasons": found}), (b"retry-after", b"5"))

    routes = [
        Route("/hooks/{source}", receiver),
        Route("/healthz", _Readable(lambda: alive)),
        Route("/readyz", _Readable(readiness)),
        *(Route(path, app) for path, app in (more or {}).items()),
    ]
    app = _Application(receiver, routes)
    app.router.redirect_slashes = False
    app.router.default = _nothing_here
    return app


# ---------------------------------------------------------------- the connection


_largest_head_bytes = 65_536


class _OneWrite:
    """A transport that writes the head of an answer together with its body: apart, each is a call and a packet."""

    __slots__ = ("_head", "is_closing", "transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport, self.is_closing = transport, transport.is_closing
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 100 "):
            self._head = data
            return
        self.transport.write(data)

    def flush(self) -> None:
        """Write a head that has no body."""
        if self._head:
            data, self._head = self._head, b""
            self.transport.write(data)

    def close(self) -> None:
        self.flush()
        self.transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


class _Whole:
    """The ticket of a request that came whole. It stands among uvicorn's tasks: a stop waits for these."""

    __slots__ = ("_cycle", "_protocol", "event", "size")

    event: Event
    size: int

    def __init__(self, protocol: PatientProtocol, cycle: RequestResponseCycle) -> None:
        self._protocol, self._cycle = protocol, cycle

    def accept(self, content: bytes) -> bool:
        self._protocol.tasks.discard(self)
        if self._cycle.response_complete:
            return False
        self._protocol.answer(self._cycle, b"HTTP/1.1 202 Accepted\r\n", _accepted % (len(content), content))
        return True

    def fail(self, error: Exception) -> None:
        self._protocol.tasks.discard(self)
        if not self._cycle.response_complete:
            self._protocol.refuse(self._cycle, error)

    def cancel(self, msg: object = None) -> None:  # noqa: ARG002 - as a task is cancelled
        """The program stops and the disk did not answer in time. Nothing is acknowledged then."""
        self._protocol.refuse(self._cycle, StoreUnavailable("the program stops"))


_accepted: Final = b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"


def _nothing() -> None:
    pass


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with one end to the patience with whatever a connection waits for, and a short way for
    webhooks that come whole.

    uvicorn ends a connection that is idle *between* requests, by a timer for each request; one that sends its first
    head, or a body whose answer has been given, at a byte a minute would stay for ever. Here what a connection waits
    for is found out when somebody looks, and a request pays for no timer.
    """

    _awaited: object = None
    _awaited_since = 0.0
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        self._output = _OneWrite(transport)
        super().connection_made(cast(asyncio.Transport, self._output))
        self._receiver = self.app.receiver if isinstance(self.app, _Application) else None
        self._held: RequestResponseCycle | None = None
        self._standing: tuple[object, bytes] = (None, b"")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._held is not None:  # the rest of it is still to come
            cycle, self._held = self._held, None
            super()._start_asgi_task(cycle, self.app)
        if self.cycle is not None and self.cycle.scope is self.scope:
            self._head_bytes = 0
        else:
            self._head_bytes += len(data)
            if self._head_bytes > _largest_head_bytes:
                self._give_up(b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\r\n")

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Called at the end of a head: a webhook's waits for its body, which nearly always came with it."""
        receiver = self._receiver
        if (
            receiver is not None
            and cycle.scope["method"] == "POST"
            and cycle.scope["path"] in receiver.paths
            and not cycle.waiting_for_100_continue
            and not self.flow.write_paused  # nobody reads our answers: ASGI's way waits
        ):
            self._held = cycle
        else:
            super()._start_asgi_task(cycle, app)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self._held is not None and self._receiver is not None:
            cycle, self._held = self._held, None
            body, cycle.body = bytes(cycle.body), bytearray()  # the cycle stays until the next request
            ticket = _Whole(self, cycle)
            self.tasks.add(ticket)  # type: ignore[arg-type]
            try:
                self._receiver.take(cycle.scope, body, ticket)
            except Exception as error:
                self.tasks.discard(ticket)
                self.refuse(cycle, error)

    def refuse(self, cycle: RequestResponseCycle, error: Exception) -> None:
        """Answer a request that came whole, and is not kept because of *error*."""
        assert self._receiver is not None
        answer = self._receiver.refusal(error, self._receiver.paths[cycle.scope["path"]])
        if _close in answer.headers:
            cycle.keep_alive = False
        fields = b"".join([b"%b: %b\r\n" % field for field in answer.headers if field != _close])
        line = b"HTTP/1.1 %d %b\r\n" % (answer.status, HTTPStatus(answer.status).phrase.encode())
        self.answer(cycle, line, b"%b\r\n%b" % (fields, answer.content))

    def answer(self, cycle: RequestResponseCycle, line: bytes, rest: bytes) -> None:
        """Answer a request that came whole, as uvicorn would.

        Args:
            line: with the status.
            rest: header fields, an empty line, and the content.
        """
        cycle.response_started = cycle.response_complete = True
        cycle.on_response = _nothing  # it leads back to this connection: nothing is to go in circles
        if cycle.disconnected or self.transport.is_closing():
            return
        if self._standing[0] is not cycle.default_headers:  # uvicorn makes new ones each second
            fields = b"".join([b"%b: %b\r\n" % field for field in cycle.default_headers])
            self._standing = (cycle.default_headers, fields)
        close = b"" if cycle.keep_alive else b"connection: close\r\n"
        self._output.transport.write(b"".join((line, self._standing[1], close, rest)))
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        """As uvicorn's, but for its timer."""
        self._output.flush()
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self.pipeline:
                super()._start_asgi_task(*self.pipeline.pop())

    def look(self, now: float, timeout_seconds: float) -> None:
        """Close the connection if what it waits for has not come since the first look that found it waiting.

        Args:
            now: the loop's time.
            timeout_seconds: how long a head or a left-over body may take; between requests uvicorn's setting holds.
        """
        cycle = self.cycle
        awaited: object = cycle
        answer, patience = b"", timeout_seconds
        if cycle is None or cycle.scope is not self.scope:  # the rest of a head, or the first of all
            awaited = self.scope or self
            answer = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n"
        elif not cycle.response_complete:
            awaited = None  # an answer is on its way
        elif not cycle.more_body:  # the next request; else the rest of a body that has its answer
            patience = self.timeout_keep_alive
        if awaited is not self._awaited:
            self._awaited, self._awaited_since = awaited, now
        elif awaited is not None and now - self._awaited_since >= patience:
            self._give_up(answer)

    def _give_up(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            if answer:
                self.transport.write(answer)
            self.transport.close()


async def watch_connections(connections: Iterable[object], timeout_seconds: float) -> None:
    """For ever: end the patience with connections that wait for the rest of a request for longer than that."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(min(1.0, timeout_seconds / 2))
        _look_at(connections, loop.time(), timeout_seconds)


def _look_at(connections: Iterable[object], now: float, timeout_seconds: float) -> None:
    """A function of its own: its names go when it ends; else the last connection would be kept, with its request."""
    for connection in list(connections):
        if isinstance(connection, PatientProtocol):
            connection.look(now, timeout_seconds)
