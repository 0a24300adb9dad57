"""Receives until SIGTERM or SIGINT: uvicorn, signals, sockets. The only room that imports uvicorn."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from connector import logs
from connector.app import Awaiting, Program
from connector.assembly import utc_now
from connector.changes.reload import Reloads
from connector.connections import Answering, patient
from connector.core.errors import StoreUnavailable
from connector.overview import READY
from connector.receiver import Away, Page, Receiver, application
from connector.settings import Config

_log = logs.get("serve")
_WANTED_OPEN_FILES: Final = 65_536
_SWITCH_SECONDS: Final = 0.0001
"""How long a busy thread may keep the interpreter from one that waits. Each statement of the store and each look at a
file lets go of it, some 25 times until an event is kept; with Python's 5 ms each time may wait for a route that
computes rows. With 0.5 ms the slowest hundredth of 300 webhooks/s is answered in 40 ms, with this in 15 ms (`python -m
benchmarks steady`)."""
_LEAST_OPEN_FILES: Final = 64
_ANSWERS_FIRST_SECONDS: Final = 0.05  # importing what delivery needs would slow the answers to those who waited


def serve(config: Config, read: Callable[[], Config] | None = None) -> int:
    """Receive and deliver until SIGTERM or SIGINT.

    Args:
        read: reads the configuration again, for ``connector reload`` and SIGHUP; raises ConfigError. The rooms are then
            made anew, while who connects waits at the same socket.

    Returns:
        The exit code: 0 after a stop, 1 when the address can't be listened on or too few files may be open.

    Raises:
        StoreUnavailable: see ``Program``.
    """
    open_files = _allow_many_connections()
    if open_files < _LEAST_OPEN_FILES:
        sys.stderr.write(
            f"this process may open {open_files} files, and needs {_LEAST_OPEN_FILES} at least: raise the limit "
            "(ulimit -n, LimitNOFILE= of systemd)\n"
        )
        return 1
    sys.setswitchinterval(_SWITCH_SECONDS)
    program = _made(config)
    try:
        listener = _listen(config.server.host, config.server.port)
    except OSError as error:
        if isinstance(program, Program):
            program.close()
        where = f"{config.server.host}:{config.server.port}"
        why = str(error.strerror).partition(" (")[0]  # without the address once more
        other = "; another program does: choose another port" if error.errno == errno.EADDRINUSE else ""
        sys.stderr.write(f"can't listen on {where}: {why}{other}; see [server] in {config.file}\n")
        return 1
    following: Config | None = config
    stopped = threading.Event()
    with closing(listener), _hang_ups() as signalled:
        while following is not None:
            made = program if isinstance(program, Program) else _awaited(following, program, listener, stopped)
            if made is None:
                break
            following = _serve(made, listener, read, signalled, stopped)
            if following is not None:
                program = _made(following)
    logs.say(_log, "server.stopped")
    return 0


def _made(config: Config) -> Program | StoreUnavailable:
    """The program, or why its database can't be used for a while."""
    try:
        return Program(config)
    except StoreUnavailable as error:
        if not error.is_temporary:
            raise
        return error


def _awaited(
    config: Config, error: StoreUnavailable, listener: socket.socket, stopped: threading.Event
) -> Program | None:
    """The program, as soon as its database is there; None: a stop was asked for first. Meanwhile every request is
    answered 503."""
    awaiting = Awaiting(config, error, lambda: setattr(server, "should_exit", True))
    away = Away("store")
    app = application(away, lambda: (away.reason,), {"/{path:path}": away}, words=lambda: awaiting.words)
    server = uvicorn.Server(_answering(app, config))
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_run(server, listener, awaiting, stopped))
    finally:
        awaiting.close()
    if awaiting.refusal is not None:
        raise awaiting.refusal
    return awaiting.program


def _serve(
    program: Program,
    listener: socket.socket,
    read: Callable[[], Config] | None,
    signalled: threading.Event,
    stopped: threading.Event,
) -> Config | None:
    """Until a stop, or a reload: the configuration to go on with."""
    config, receiver = program.config, _receiver(program)
    pages: dict[str, ASGIApp] = {}
    if config.metrics.enabled:
        pages["/metrics"] = Page(program.metrics.render, config.metrics.token)
    if config.page.on:
        pages |= _page(program)
    program.readiness.receiver = receiver
    program.store.start_intake(receiver.deliver, limit=config.server.max_waiting_events)
    app = application(
        receiver if program.receives else Away("role"),
        program.reasons,
        pages,
        words=lambda: program.readiness.words,
        notes=program.readiness.notes,
    )
    server = uvicorn.Server(_answering(app, config))
    following: list[Config] = []

    def take(found: Config) -> None:
        program.end_calls()
        following.append(found)
        program.stop_soon()
        server.should_exit = True

    if read is not None:
        reloads = Reloads(config, program.store, read, take)
        program.threads.start("reload", partial(reloads.run, program.stop, signalled))
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_run(server, listener, program, stopped))
    finally:
        program.close()
    return following[0] if following and not stopped.is_set() else None


def _answering(app: ASGIApp, config: Config) -> uvicorn.Config:
    return uvicorn_config(
        app,
        keep_alive_seconds=config.server.keep_alive_seconds,
        request_timeout_seconds=config.server.request_timeout_seconds,
    )


@contextmanager
def _hang_ups() -> Iterator[threading.Event]:
    """An event that SIGHUP sets, where the system has it."""
    signalled = threading.Event()
    number = getattr(signal, "SIGHUP", None)
    if number is None:
        yield signalled
        return
    before = signal.signal(number, lambda *_: signalled.set())
    try:
        yield signalled
    finally:
        signal.signal(number, before)


def _receiver(program: Program) -> Receiver:
    return Receiver(
        program.sources,
        program.store,
        max_body_bytes=program.config.server.max_body_bytes,
        unread=program.keep_unread,
        counts=program.metrics,
        recent=program.recent,
    )


def _page(program: Program) -> dict[str, ASGIApp]:
    """What people see in a browser, by path."""
    from connector.page.asking import Inside  # with Jinja2, which only this needs
    from connector.page.live import Live
    from connector.page.site import Site

    def server() -> str:
        reasons = program.reasons()
        return f"not ready ({', '.join(reasons)})" if reasons else READY

    live = Live(program.store, program.letters, program.recent, lambda: program.stopping)
    inside = Inside(
        program.config, program.store, program.letters, program.sources, live, utc_now, server,
        lambda: program.readiness.status,
    )  # fmt: skip
    return Site(inside).apps()


async def _run(
    server: uvicorn.Server, listener: socket.socket, program: Program | Awaiting, stopped: threading.Event
) -> None:
    stop = _stopping(server, program, stopped)
    # A copy, since uvicorn closes it, and a reload goes on with the same socket.
    serving = asyncio.create_task(server.serve([listener.dup()]))
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn sets no event
        await asyncio.sleep(0.002)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):  # Windows: uvicorn's own handlers stay
            loop.add_signal_handler(number, stop, number)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    logs.say(
        _log,
        "server.started" if isinstance(program, Program) else "server.waits",
        url=f"http://{shown}:{port}",
        sources=",".join(source.name for source in program.config.sources),
        routes=",".join(route.name for route in program.config.routes),
    )
    await asyncio.sleep(_ANSWERS_FIRST_SECONDS)
    if stopped.is_set():  # while the program was made
        stop(signal.SIGTERM)
    program.start()
    await serving


def _stopping(server: uvicorn.Server, program: Program | Awaiting, stopped: threading.Event) -> Callable[[int], None]:
    """What a signal calls; it is installed at once. uvicorn has handlers of its own while it starts, and afterwards
    raises the signals that it caught again: ours make an exit code 0 of them."""

    def stop(number: int) -> None:
        stopped.set()  # also for the program that follows, where this one ends by itself
        if not server.should_exit:
            logs.say(_log, "server.stopping", signal=signal.Signals(number).name)
        program.stop_soon()
        server.should_exit = True

    def handler(number: int, _: FrameType | None) -> None:
        stop(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)
    return stop


def uvicorn_config(app: ASGIApp, *, keep_alive_seconds: int, request_timeout_seconds: float) -> uvicorn.Config:
    """How ``serve`` runs uvicorn.

    Args:
        request_timeout_seconds: how long the head of a request may take to arrive, and then its body.
    """
    known = uvicorn.Config(app, http="httptools", ws="none", log_config=None)
    known.load()
    return uvicorn.Config(
        Answering(app),
        http=patient(known.http_protocol_class, request_timeout_seconds),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,  # it would write the tokens in the URLs
        server_header=False,
        proxy_headers=False,  # nobody asks for the sender's address
        timeout_keep_alive=keep_alive_seconds,
        timeout_graceful_shutdown=5,
    )


# ---------------------------------------------------------------- sockets


def _listen(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    return socket.create_server(address[:2], family=family, backlog=2048)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # Windows
        return None
    return uvloop.new_event_loop


def _allow_many_connections() -> int:
    """Idle connections cost a file each; many systems allow 1,024 unless asked for more.

    Returns:
        How many files may be open now.
    """
    try:
        import resource
    except ImportError:  # Windows
        return _WANTED_OPEN_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _WANTED_OPEN_FILES
    wanted = _WANTED_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_OPEN_FILES)
    if soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return wanted
    return soft
