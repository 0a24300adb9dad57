"""HTTP in: reads a webhook's body, lets its source vouch for it, keeps it, then answers. Knows no platform by name.

The only asynchronous room besides the server. Each endpoint is an ASGI class behind an ordinary Starlette route.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import msgspec
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from connector import logs
from connector.core.decompression import TooLong, decompressed
from connector.core.errors import Forged, StoreUnavailable, Unreadable
from connector.core.quoting import loggable
from connector.core.source import Event, InboundRequest, NoEvent, Source, accepted_status
from connector.faults import describe
from connector.recent import Recent

_log = logs.get("receiver")
_KEEPING_SECONDS: Final = 10.0
_encode: Final = msgspec.json.encode
_OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0"


class Intake(Protocol):
    """What keeps events: the store."""

    def submit(self, events: Sequence[Event], tickets: Sequence[Any]) -> None:
        """Take *events* into the next group; ``Receiver.deliver`` is called with their *tickets* when they are safe on
        disk.

        Raises:
            StoreUnavailable: no event can be taken at the moment.
        """
        ...


class Unread(Protocol):
    """What keeps the body of a genuine request that a bug of its source could not open."""

    def __call__(self, source: str, request: InboundRequest, error: Exception) -> str:
        """Keep it on disk; may take some milliseconds, called in a thread.

        Returns:
            The key that the sender is given for it.

        Raises:
            Exception: it is not kept: nobody vouches for the request, or there is no room for it.
        """
        ...


class Counts(Protocol):
    """Counts requests (metrics)."""

    def received(self, source: str, count: int = 1) -> None: ...

    def refused(self, reason: str) -> None: ...


def _error(status: int, text: str, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return JSONResponse({"status": "refused", "error": text}, status, named)


unreadable = _error(400, "this is no webhook of this platform: the connector's log says why")
forged = _error(401, "no valid credential", www_authenticate="Bearer")
unknown_path = _error(404, "there is nothing here")
unknown_source = _error(404, "no such source")
only_post = _error(405, "use POST", allow="POST")
only_get = _error(405, "use GET", allow="GET, HEAD")
too_slow = _error(408, "the body did not arrive in time", connection="close")
too_large = _error(413, "the body is too large", connection="close")
broken = _error(500, "a bug of the connector; send it again", retry_after="5")
unavailable = _error(503, "the event could not be kept; send it again", retry_after="5")
alive = JSONResponse({"status": "ok"})
ready = JSONResponse({"status": "ready"})


def accepted(source: Source, key: str | None) -> Response:
    """As *source*'s platform wants it: a platform may take another 2xx for a failure, or for "paid out".

    Args:
        key: the event's; None for a call that is no event.
    """
    content = b'{"status":"accepted"}' if key is None else b'{"status":"accepted","event":%b}' % _encode(key)
    return Response(content, accepted_status(source), media_type="application/json")


class _Refusal(Exception):
    """Ends a request with an answer; the reason is one word for the log."""

    def __init__(self, answer: Response, reason: str, why: str | None = None) -> None:
        self.answer = answer
        self.reason = reason
        self.why = why


class Endpoint:
    """An ASGI endpoint: ``answer`` gives the response. A bug in it is answered 500 and logged without its message."""

    async def answer(self, scope: Scope, receive: Receive) -> Response:
        """The response to the request of *scope*."""
        raise NotImplementedError

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        try:
            response = await self.answer(scope, receive)
        except Exception as error:
            logs.say(_log, "receiver.bug", level=logging.ERROR, **describe(error))
            response = broken
        await response(scope, receive, send)


class Receiver(Endpoint):
    """``POST /hooks/{source}``.

    Args:
        sources: by their names in the configuration.
        intake: keeps the events.
        max_body_bytes: longer bodies are answered 413.
        unread: keeps what a bug of a source could not open; None: such a request is answered 500.
        counts: counts requests.
        recent: is told of each request.
        keeping_seconds: how long a sender waits for the store at most; most platforms wait that long for an answer.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        intake: Intake,
        *,
        max_body_bytes: int,
        unread: Unread | None = None,
        counts: Counts | None = None,
        recent: Recent | None = None,
        keeping_seconds: float = _KEEPING_SECONDS,
    ) -> None:
        self._recent = recent
        self._keeping_seconds = keeping_seconds
        self._sources = dict(sources)
        self._intake = intake
        self._max_body_bytes = max_body_bytes
        self._unread = unread
        self._counts = counts
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gathered: list[_Waiting] = []
        self.keeps = True
        """False from when an event could not be kept until one is kept, or a probe of the store succeeds."""
        self.words = ""
        """What was wrong with the store then, in words that name nothing."""
        self.failed_at = float("-inf")
        """When an event could not be kept last, in seconds of ``time.monotonic``."""
        self._noting = threading.Lock()

    async def answer(self, scope: Scope, receive: Receive) -> Response:
        """The source's 2xx once the event is safe on disk; whatever is refused is counted and logged."""
        name: str | None = scope["path_params"]["source"]
        try:
            source = self._sources.get(name or "")
            if source is None:
                name = None  # a stranger's text, perhaps a token pasted into the wrong place: not logged
                raise _Refusal(unknown_source, "unknown_source")  # noqa: TRY301
            if scope["method"] != "POST":
                raise _Refusal(only_post, "method")  # noqa: TRY301
            body = await self._read(scope["headers"], receive)
            request = InboundRequest(scope["headers"], scope["query_string"], body, datetime.now(UTC))
            try:
                event = _open(source, request)
            except NoEvent:
                logs.say(_log, "request.no_event", source=source.name)
                return accepted(source, None)
            except Exception as error:  # a bug of the source, met by a body that nobody foresaw
                if isinstance(error, _Refusal):
                    raise
                return await self._keep_unread(source, request, error)
            response = accepted(source, event.key)
            await self._keep(_Waiting(event, len(body), response.status_code))
        except _Refusal as refusal:
            status = refusal.answer.status_code
            if self._counts is not None:
                self._counts.refused(refusal.reason)
            if self._recent is not None:
                self._recent.refused(datetime.now(UTC), name, status, refusal.reason, refusal.why)
            level = logging.WARNING if status == 503 else logging.INFO
            logs.say(
                _log, "request.refused", level=level, status=status, reason=refusal.reason, source=name, why=refusal.why
            )
            return refusal.answer
        return response

    # ------------------------------------------------ keeping

    async def _keep(self, waiting: _Waiting) -> None:
        """Returns when the event is safe on disk. Raises _Refusal."""
        self._loop = loop = asyncio.get_running_loop()
        if not self._gathered:
            loop.call_soon(self._hand_over)  # what comes in one turn of the loop is one group
        self._gathered.append(waiting)
        # A database that is slow may keep the event still; the sender's next try is a duplicate then.
        patience = loop.call_later(self._keeping_seconds, self._give_up, waiting)
        try:
            error = await waiting.answer
        except asyncio.CancelledError:
            # The program stops and the disk did not answer in time. Nothing is acknowledged then.
            raise _Refusal(unavailable, "store") from None
        finally:
            patience.cancel()
        if isinstance(error, StoreUnavailable):
            raise _Refusal(unavailable, "store")
        if error is not None:
            raise error

    def _hand_over(self) -> None:
        group, self._gathered = self._gathered, []
        try:
            self._intake.submit([waiting.event for waiting in group], group)
        except Exception as error:  # whatever it is: those who wait must hear of it
            self._note(error)
            self._settle(group, error)

    def deliver(self, group: Sequence[_Waiting], error: StoreUnavailable | None) -> None:
        """Called by the store's writer thread, once a group: these events are safe on disk, or (*error*) are not."""
        self._note(error)
        assert self._loop is not None  # who waits does so on it
        with suppress(RuntimeError):  # the loop is closed: nobody waits for an answer any more
            self._loop.call_soon_threadsafe(self._settle, group, error)

    def _settle(self, group: Sequence[_Waiting], error: Exception | None) -> None:
        # A task may have been cancelled by a stop.
        answered = [waiting for waiting in group if not waiting.answer.done()]
        for waiting in answered:
            waiting.answer.set_result(error)
        if error is None and answered:
            self._tell(answered)

    def _give_up(self, waiting: _Waiting) -> None:
        error = StoreUnavailable(f"an event was not kept within {self._keeping_seconds:g} s", "is too slow")
        self._note(error)
        self._settle((waiting,), error)

    def _tell(self, kept: Sequence[_Waiting]) -> None:
        """Counts and log lines of events that are kept, of a group at once."""
        if self._counts is not None:
            for source, count in Counter(waiting.event.source for waiting in kept).items():
                self._counts.received(source, count)
        if self._recent is not None:
            for waiting in kept:
                event = waiting.event
                self._recent.accepted(event.received_at, event.source, event.topic, event.key, waiting.status)
        logs.say_each(
            _log,
            "request.accepted",
            [
                {
                    "source": each.event.source,
                    "topic": each.event.topic,
                    "key": loggable(each.event.key),
                    "bytes": each.size,
                }
                for each in kept
            ],
        )

    def _note(self, error: Exception | None) -> None:
        """What became of the last group, for readiness."""
        if error is None:
            self.keeps = True
            return
        self.failed_at = time.monotonic()
        self.store_fails(error)

    def store_fails(self, error: Exception) -> None:
        """The store can't be used; any thread. Logged once, not for every sender that is refused."""
        with self._noting:
            is_new, self.keeps = self.keeps, False
            self.words = error.short if isinstance(error, StoreUnavailable) else ""
        if is_new and isinstance(error, StoreUnavailable):
            logs.warn(_log, "store.fails", reason=str(error))

    async def _keep_unread(self, source: Source, request: InboundRequest, error: Exception) -> Response:
        """Keep a genuine request that its source has a bug for: some platforms never send again."""
        logs.say(_log, "source.bug", level=logging.ERROR, source=source.name, **describe(error))
        if self._unread is None:
            raise _Refusal(broken, "bug")
        try:
            key = await asyncio.to_thread(self._unread, source.name, request, error)
        except Forged:
            raise _Refusal(broken, "bug") from None
        except Exception as failure:
            logs.warn(_log, "source.bug_not_kept", source=source.name, **describe(failure))
            raise _Refusal(broken, "bug") from None
        if self._counts is not None:
            self._counts.received(source.name)
        logs.warn(_log, "request.kept_unread", source=source.name, key=key, bytes=len(request.body))
        return accepted(source, key)

    # ------------------------------------------------ reading

    async def _read(self, headers: Iterable[tuple[bytes, bytes]], receive: Receive) -> bytes:
        """The body, within the limit. Raises _Refusal."""
        named = dict(headers)
        # The HTTP parser has refused what is no number; so many digits are nobody's number of bytes.
        length = named.get(b"content-length", b"0")
        declared = int(length) if len(length) < 19 else self._max_body_bytes + 1
        if declared > self._max_body_bytes and b"expect" in named:
            raise _Refusal(too_large, "too_large")  # the sender asked first ("Expect: 100-continue"): spare it the body
        body = await self._parts(receive)
        try:
            return decompressed(body, named.get(b"content-encoding", b""), self._max_body_bytes)
        except TooLong:
            raise _Refusal(too_large, "too_large") from None

    async def _parts(self, receive: Receive) -> bytes:
        # A sender that is cut off while it still sends sees a broken connection instead of our 413: read on, keep
        # nothing, within reason.
        most_read_bytes = 4 * self._max_body_bytes
        parts: list[bytes] = []
        size, more = 0, True
        while more and size <= most_read_bytes:
            message = await receive()
            if message["type"] != "http.request":
                raise _Refusal(too_slow, "too_slow")  # the connection was closed: the answer reaches nobody
            part = message.get("body", b"")
            size += len(part)
            if size <= self._max_body_bytes:
                parts.append(part)
            more = message.get("more_body", False)
        if size > self._max_body_bytes:
            raise _Refusal(too_large, "too_large")
        return b"".join(parts)


class _Waiting:
    """A request that waits until its event is safe on disk.

    Args:
        size: of its body, in bytes.
        status: of the answer that it gets then.
    """

    __slots__ = ("answer", "event", "size", "status")

    def __init__(self, event: Event, size: int, status: int) -> None:
        self.event, self.size, self.status = event, size, status
        self.answer: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()


def _open(source: Source, request: InboundRequest) -> Event:
    """The event of *request*. Raises _Refusal, NoEvent, or what a bug of the source raises."""
    try:
        return source.accept(request)
    except Forged:
        raise _Refusal(forged, "credential") from None
    except Unreadable as error:
        # Its words name what is wrong with the body, never what it holds (errors.py).
        raise _Refusal(unreadable, "unreadable", str(error)) from None


# ---------------------------------------------------------------- the application


class _Readable(Endpoint):
    """A GET endpoint that gives the answer of a function."""

    def __init__(self, response: Callable[[], Response]) -> None:
        self._response = response

    async def answer(self, scope: Scope, receive: Receive) -> Response:  # noqa: ARG002 - ASGI's signature
        return self._response() if scope["method"] in ("GET", "HEAD") else only_get


class Page(Endpoint):
    """A GET endpoint whose text is made in a thread, for requests with the token.

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

    async def answer(self, scope: Scope, receive: Receive) -> Response:  # noqa: ARG002 - ASGI's signature
        if scope["method"] not in ("GET", "HEAD"):
            return only_get
        headers = dict(scope["headers"])
        given = headers.get(b"authorization", b"")
        if self._credential is not None and not hmac.compare_digest(given, self._credential):
            logs.say(_log, "request.refused", status=401, reason="credential", path=scope["path"])
            return forged
        content, content_type = await self._content(headers.get(b"accept", b"").decode("latin-1"))
        return Response(content, 200, {"content-type": content_type})

    async def _content(self, accept: str) -> tuple[bytes, str]:
        form = _OPENMETRICS if "openmetrics" in accept else ""  # two forms, whatever a stranger asks for
        async with self._one_at_a_time:
            if form not in self._fresh:
                self._fresh[form] = await asyncio.to_thread(self._render, form)
                asyncio.get_running_loop().call_later(1.0, self._fresh.pop, form)
            return self._fresh[form]


class Away(Endpoint):
    """Answers where nothing is received: the sender is asked to try again.

    Args:
        reason: why, in a word: ``role`` (the process only delivers), ``store``.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason

    async def answer(self, scope: Scope, receive: Receive) -> Response:  # noqa: ARG002 - ASGI's signature
        logs.say(_log, "request.refused", level=logging.WARNING, status=503, reason=self.reason)
        return unavailable


class _Nothing(Endpoint):
    """Every path that is no other route's."""

    async def answer(self, scope: Scope, receive: Receive) -> Response:  # noqa: ARG002 - ASGI's signature
        logs.say(_log, "request.refused", status=404, reason="unknown_path")
        return unknown_path


def application(
    receiver: Receiver | Away,
    reasons: Callable[[], Sequence[str]],
    more: Mapping[str, ASGIApp] | None = None,
    words: Callable[[], str] = lambda: "",
    notes: Callable[[], Sequence[str]] = tuple,
) -> Starlette:
    """The ASGI application of the whole program.

    Args:
        receiver: answers ``POST /hooks/{source}``.
        words: what is wrong with the store when it is one of the reasons; names nothing.
        reasons: why the program is not ready, by name only (``store``, ``projector``, ``route:NAME``, ``stale``); ()
            when it is. Must be quick: it is asked in the event loop.
        more: ASGI applications by path (``/metrics``).
        notes: what is no reason, but good to know; quick, too.
    """

    def answer(found: list[str]) -> Response:
        noted = {"notes": list(notes())} if notes() else {}
        if not found:
            return JSONResponse({"status": "ready"} | noted) if noted else ready
        store = {"store": words()} if "store" in found and words() else {}
        return JSONResponse({"status": "not ready", "reasons": found} | store | noted, 503, {"retry-after": "5"})

    def receives() -> Response:
        if isinstance(receiver, Away):
            return answer([receiver.reason])
        return answer([reason for reason in reasons() if reason == "store"])

    return Starlette(
        routes=[
            Route("/hooks/{source}", receiver),
            Route("/healthz", _Readable(lambda: alive)),
            Route("/readyz", _Readable(lambda: answer(list(reasons())))),
            Route("/readyz/receive", _Readable(receives)),
            *(Route(path, app) for path, app in (more or {}).items()),
            Route("/{path:path}", _Nothing()),
        ]
    )
