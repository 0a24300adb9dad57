"""The one room that knows every room: Config -> running program.

    main thread    uvicorn: receives, answers
    store-intake   commits events in groups
    store-logs     moves what was committed from SQLite's logs into its files
    projector      inbox -> records
    route NAME     one each: records -> a sink
    watch          readiness, forgetting old events
    alerts         tells a person (only when configured)
    repair NAME    one each: reads a platform's API now and then (only when configured)

A stop (SIGTERM, SIGINT) ends them in the order of an event's way; what is pending then is pending at the next start.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from connector import logs
from connector.assembly import build_sink, build_sources, mapping_in_use, note_mapping, reading_lock, utc_now
from connector.backfill.notes import moment_of
from connector.config import Config, RouteConfig
from connector.core.errors import Stopping, StoreUnavailable
from connector.core.platform_api import Repair
from connector.core.sink import Shrinkable
from connector.core.view import view
from connector.dead_letters import DeadLetters
from connector.delivery import Retry, Route, RouteWorker
from connector.faults import describe
from connector.metrics import Metrics, Standing
from connector.projector import Projector
from connector.receiver import Page, PatientProtocol, Receiver, application, watch_connections
from connector.store.store import Store, open_store

_log = logs.get("app")


class ClockWatch:
    """Tells when somebody sets the system's clock back.

    Args:
        now: Unix seconds.
        steady: seconds of a clock that nobody sets.
    """

    def __init__(self, now: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._now, self._steady = now, steady
        self._ahead = now() - steady()

    def set_back(self) -> float:
        """By how many seconds since the last look; 0.0 for less than half a minute, which waits itself out."""
        before, self._ahead = self._ahead, self._now() - self._steady()
        return before - self._ahead if before - self._ahead > 30 else 0.0


def believes_clock(store: Store, now: datetime) -> bool:
    """Whether *now* may be gone by to forget what is old: asked before each time, at most a day apart.

    A clock that is suddenly more than a day ahead is wrong, or the program was stopped for long. It is believed when it
    has gone on from there for a day; one that is put right until then has done no harm.
    """
    believed, ahead_since = (moment_of(store.recall("connector", note)) for note in _clock_notes)
    if believed is not None and now - believed > timedelta(days=1):
        if ahead_since is None or now < ahead_since:
            store.remember("connector", _clock_notes[1], now.isoformat())
            return False
        if now - ahead_since < timedelta(days=1):
            return False
    store.remember("connector", _clock_notes[0], now.isoformat())
    if ahead_since is not None:
        store.remember("connector", _clock_notes[1], None)
    return True


_clock_notes = "clock believed", "clock ahead since"


def keep_memory_together() -> None:
    """Have all threads take from one place, and what is large go back at once; before the threads start.

    glibc would give each thread a place of its own, each of which stays as large as it ever was.
    """
    setting = _of_libc("mallopt")
    if setting is not None:
        setting(_m_arena_max, 1)
        setting(_m_mmap_threshold, 128 * 1024)  # where it begins; left alone, it grows with what is freed


def give_back_memory() -> None:
    """Return to the system what is free: after a burst glibc keeps it for the next.

    Other systems' C libraries do it by themselves, or can't.
    """
    trim = _of_libc("malloc_trim")
    if trim is not None:
        trim(0)  # takes milliseconds, and others run meanwhile


_m_mmap_threshold, _m_arena_max = -3, -8  # malloc.h


def _of_libc(name: str) -> Callable[..., int] | None:
    import ctypes  # a library of its own; not for those who only look

    return getattr(ctypes.CDLL(None) if sys.platform == "linux" else None, name, None)


class Program:
    """All rooms of one configuration, but the receiver. Made without touching the network.

    Raises:
        StoreUnavailable: the store can't be opened, is damaged, or another process works on it.
    """

    stop_within_seconds = 7.0
    """How long requests and threads get, together, to finish what they are at; docker kills after 10 seconds, systemd
    after 90."""

    prune_seconds = 2.0
    """How long old events are forgotten without a look at readiness between."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.stop = threading.Event()
        self.clock = ClockWatch()
        self.store = open_store(config.store.url, worker=True, now=utc_now)
        try:
            self.letters = DeadLetters(config.dead_letters.path, now=utc_now)
            self.sources = build_sources(config)
            self.store.enroll([route.name for route in config.routes])
            for route in config.routes:
                self._owe_if_changed(route)
            self.metrics = Metrics(self._standing, now=utc_now)
            self.sinks = {
                found.name: build_sink(found, self.store, self.stop, self.metrics.measured) for found in config.sinks
            }
            self.projector = Projector(self.store, self.sources, self.letters, stop=self.stop, now=utc_now)
            retry = Retry(
                config.retry.first_wait_seconds, config.retry.longest_wait_seconds, config.retry.give_up_after_hours
            )
            self.workers = [
                RouteWorker(
                    Route(route.name, self.sinks[found.name], route.target, route.mapping.evaluate),
                    self.store,
                    self.letters,
                    retry,
                    stop=self.stop,
                    now=utc_now,
                    report=self.metrics.delivered,
                )
                for found in config.sinks
                for route in found.routes
            ]
            for worker in self.workers:
                self.store.on_pending(worker.bell.set)
        except BaseException:
            self.store.close()
            raise
        self._threads: list[threading.Thread] = []
        self._reasons: tuple[str, ...] = ()

    def _owe_if_changed(self, route: RouteConfig) -> None:
        """A mapping file that was edited may make other rows of every record; those that stay equal cost no call."""
        known = mapping_in_use(self.store, route)
        if known == route.mapping.digest:
            return
        if known is not None:
            logs.say(_log, "mapping.changed", route=route.name, pending=self.store.enqueue_all(route.name))
        note_mapping(self.store, route)

    # ------------------------------------------------ threads

    def start(self) -> None:
        """Start projecting, delivering and watching."""
        keep_memory_together()
        self._start("projector", self.projector.run)
        for worker in self.workers:
            self._start(f"route {worker.route.name}", worker.run)
        self._start("watch", self._watch)
        if self.config.alerts.url is not None:
            self._start("alerts", partial(self._alerts, self.config.alerts.url))
        for found in self.config.sources:
            repair = getattr(found.options, "repair", None)
            if isinstance(repair, Repair):
                self._start(f"repair {found.name}", partial(self._repairs, found.name, repair))

    def drain_routes(self) -> None:
        """Deliver what is due now or soon, all routes at once. Interrupted, ``close`` ends what is on its way."""
        for worker in self.workers:
            self._start(f"route {worker.route.name}", partial(self._drain_route, worker))
        for thread in self._threads:
            thread.join()

    def _drain_route(self, worker: RouteWorker) -> None:
        try:
            while not self.stop.is_set():
                wait = worker.step()
                if wait is None or wait > _worth_waiting_seconds:
                    return
                self.stop.wait(wait)
        except Stopping:
            return
        except StoreUnavailable as error:
            logs.warn(_log, "delivery.waits", route=worker.route.name, reason=str(error))
        except Exception as error:
            logs.warn(_log, "delivery.bug", route=worker.route.name, **describe(error))

    def _repairs(self, name: str, repair: Repair) -> None:
        from connector.backfill import reading as backfill

        lock = reading_lock(self.config, name)
        backfill.Repairs(self.sources[name], self.store, lock, repair.every_seconds, stop=self.stop, now=utc_now).run()

    def _alerts(self, url: str) -> None:
        from connector import alerts  # with httpx, which a program without alerts need not load

        settings = self.config.alerts
        rules = alerts.Rules(
            waiting=timedelta(minutes=settings.waiting_minutes),
            quiet=None if settings.quiet_days is None else timedelta(days=settings.quiet_days),
        )

        def look() -> alerts.View:
            reasons = self.reasons()
            return alerts.View(
                self.store.status(),
                self._open_letters(),
                store_failing="store" in reasons,
                projector_failing="projector" in reasons,
                sources=[source.name for source in self.config.sources],
            )

        watcher = alerts.Alerts(
            alerts.WebhookPoster(url), look, self.store, rules,
            form=settings.format, secrets=self.config.secrets, stop=self.stop, now=utc_now,
        )  # fmt: skip
        watcher.run()

    def _standing(self) -> Standing:
        """How everything stands, for a scrape."""
        try:
            status = self.store.status()
        except StoreUnavailable:
            status = None
        return Standing(status, self._open_letters() or {}, self.reasons())

    def _open_letters(self) -> dict[tuple[str, str], int] | None:
        """Open dead letters by (stage, place); None when their file can't be read."""
        try:
            return dict(self.letters.counts())
        except StoreUnavailable:
            return None

    def _start(self, name: str, run: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                run()
            except Exception as error:
                # Every room catches its own errors; if one does not, readiness must say so.
                logs.say(_log, "thread.died", level=40, thread=name, **describe(error))
                self._dead = (*self._dead, name.replace(" ", ":"))

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop_soon(self) -> None:
        """From now on ``stop_within_seconds`` count; else they count from ``close`` on."""
        if self._stop_by is None:
            self._stop_by = time.monotonic() + self.stop_within_seconds

    def close(self) -> None:
        """Stop everything that ``start`` started, and let go of the store; what is pending stays pending."""
        self.stop_soon()
        ends, self._stop_by = self._stop_by or 0.0, None
        self.stop.set()
        for bell in (self.projector.bell, *(worker.bell for worker in self.workers)):
            bell.set()  # else who sleeps notices within a second
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))
        hanging = [thread.name for thread in self._threads if thread.is_alive()]
        if hanging:
            # A far side's call that does not come back. The threads die with the process; closing the store under
            # them would only turn their last words into errors. Its files need no closing to be whole.
            logs.warn(_log, "stop.hangs", threads=",".join(hanging))
            return
        for name, sink in self.sinks.items():
            try:
                sink.close()
            except Exception as error:
                logs.warn(_log, "sink.close_failed", sink=name, **describe(error))
        self.store.close()

    # ------------------------------------------------ readiness and upkeep

    _dead: tuple[str, ...] = ()
    _stop_by: float | None = None
    _forgotten = 0
    _set_back = 0.0
    receiver: Receiver | None = None

    def reasons(self) -> Sequence[str]:
        """Why the program is not ready, by name only; as of the last look, at most a few seconds ago."""
        keeps = self.receiver is None or self.receiver.keeps
        return self._reasons if keeps else tuple(dict.fromkeys(("store", *self._reasons)))

    def _warm_up(self) -> None:
        """Load what the first event and the first scrape would have to wait for. What stays loaded for good then lies
        together, instead of scattered over the memory of a burst, which could not be given back for it."""
        record = view("nobody:0", {"country": (0, 0, "GB"), "phone": (0, 0, "+442071838750")})
        for worker in self.workers:
            with suppress(Exception):  # a mapping's bug is told when a record meets it
                worker.route.evaluate(record)
        self.metrics.render()

    def _watch(self) -> None:
        self._warm_up()
        with suppress(StoreUnavailable):  # nothing waits for longer than a day, unless a clock was wrong in another run
            self.store.clock_was_set_back(ahead_by=timedelta(days=1))
        next_prune = time.monotonic() + 60
        next_tidying = time.monotonic()
        while True:
            self._mind_the_clock()
            self._reasons = self._look()
            if self.stop.wait(2.0):
                return
            if time.monotonic() >= next_tidying:
                next_tidying = time.monotonic() + 15
                if not self.store.intake_pressed():
                    self._shrink_memory()
                give_back_memory()
            if time.monotonic() >= next_prune:
                next_prune = time.monotonic() + self._prune()

    def _mind_the_clock(self) -> None:
        self._set_back += self.clock.set_back()
        if self._set_back:
            with suppress(StoreUnavailable):  # the next look does it
                self.store.clock_was_set_back()
                logs.warn(_log, "clock.set_back", seconds=round(self._set_back))
                self._set_back = 0.0

    def _shrink_memory(self) -> None:
        """Let go of what is only kept to be quick."""
        for sink in self.sinks.values():
            if isinstance(sink, Shrinkable):
                sink.shrink_memory()
        self.store.shrink_memory()
        # Python returns its memory in pieces of a mebibyte, when nothing lies in them any more: neither a spare tuple,
        # which only a full collection lets go, nor a name that was looked up last.
        gc.collect()
        for _ in range(10):  # the tenth look of a collector has msgspec forget the keys that it read last
            gc.get_referents(sys.modules["msgspec._core"])
        forget_names = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache
        forget_names()

    def _look(self) -> tuple[str, ...]:
        reasons = list(self._dead)
        failing = "store" in self.reasons()
        try:
            if self.receiver is not None and not self.receiver.keeps:
                self.store.remember("connector", "probe", utc_now().isoformat())  # can it commit again?
                self.receiver.keeps = True
            status = self.store.status()
        except StoreUnavailable as error:
            if not failing and "store" not in self.reasons():  # else it has been told, by a request meanwhile perhaps
                logs.warn(_log, "store.fails", reason=str(error))
            return ("store", *reasons)
        if failing:
            logs.say(_log, "store.well")
        if self.projector.failures >= 3:
            reasons.append("projector")  # events wait in the inbox: nobody owes them yet, so nothing grows stale
        stale_before = utc_now() - timedelta(seconds=self.config.server.stale_after_seconds)
        for route in status.routes:
            if route.state.kind in ("bug", "needs_action"):
                reasons.append(f"route:{route.route}")
            if route.oldest_since is not None and route.oldest_since < stale_before:
                reasons.append("stale")
        return tuple(dict.fromkeys(reasons))

    def _prune(self) -> float:
        """Forget what is older than it need be, in small steps; when there is much of it, a part only: readiness is to
        be looked at meanwhile.

        Returns:
            Seconds until the next time.
        """
        before = utc_now() - timedelta(days=self.config.store.keep_events_days)
        ends = time.monotonic() + self.prune_seconds
        try:
            if not believes_clock(self.store, utc_now()):
                logs.warn(_log, "prune.waits", reason="the clock was put ahead, or nothing ran for more than a day")
                return 3600.0
            while step := self.store.prune(before):
                self._forgotten += step
                if self.stop.wait(0.05) or time.monotonic() >= ends:
                    return 0.0
        except StoreUnavailable as error:
            logs.warn(_log, "prune.failed", reason=str(error))
            return 60.0
        if self._forgotten:
            logs.say(_log, "events.forgotten", count=self._forgotten)
        self._forgotten = 0
        return 3600.0


# ---------------------------------------------------------------- serve


def serve(config: Config) -> int:
    """Receive and deliver until SIGTERM or SIGINT.

    Returns:
        The exit code: 0 after a stop, 1 when the address can't be listened on.

    Raises:
        StoreUnavailable: see ``Program``.
    """
    program = Program(config)
    try:
        listener = _listen(config.server.host, config.server.port)
    except OSError as error:
        program.close()
        where = f"{config.server.host}:{config.server.port}"
        why = str(error.strerror).partition(" (")[0]  # without the address once more
        other = "; another program does: choose another port" if error.errno == errno.EADDRINUSE else ""
        sys.stderr.write(f"can't listen on {where}: {why}{other}; see [server] in {config.file}\n")
        return 1
    _allow_many_connections()
    receiver = Receiver(
        program.sources,
        program.store,
        max_body_bytes=config.server.max_body_bytes,
        body_timeout_seconds=config.server.request_timeout_seconds,
        counts=program.metrics,
    )
    pages = {"/metrics": Page(program.metrics.render, config.metrics.token)} if config.metrics.enabled else {}
    program.receiver = receiver
    program.store.start_intake(receiver.deliver, limit=config.server.max_waiting_events)
    answering = uvicorn_config(
        application(receiver, program.reasons, pages), keep_alive_seconds=config.server.keep_alive_seconds
    )
    server = _Server(answering, then=program.start)
    tame_collector()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_run(server, listener, program))
    finally:
        listener.close()
        program.close()
    logs.say(_log, "server.stopped")
    return 0


def uvicorn_config(
    app: ASGIApp, *, keep_alive_seconds: int, protocol: type[HttpToolsProtocol] = PatientProtocol
) -> uvicorn.Config:
    """How ``serve`` runs uvicorn; the benchmarks give what they compare with the same settings."""
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,  # it would write the tokens in the URLs
        server_header=False,
        proxy_headers=False,  # nobody asks for the sender's address
        timeout_keep_alive=keep_alive_seconds,
        timeout_graceful_shutdown=5,
    )


def tame_collector() -> None:
    """Let the collector of cycles look less often, and only at what came after the start."""
    gc.freeze()  # what is there now stays until the end: no collection need look at it again
    # A body's objects live for a moment and make no cycles: looking through them at every 700th took a twentieth of a
    # request's time.
    gc.set_threshold(20_000, 10, 10)
    gc.enable()


class _Server(uvicorn.Server):
    """uvicorn's server without its own signal handlers: those end the process by the signal, with no exit code 0."""

    def __init__(self, config: uvicorn.Config, then: Callable[[], None]) -> None:
        super().__init__(config)
        self._then = then

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer, *then* begin with all that nobody who asks has to wait for."""
        await super().startup(sockets)
        self._then()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _run(server: uvicorn.Server, listener: socket.socket, program: Program) -> None:
    config = program.config

    def stop(number: int) -> None:
        logs.say(_log, "server.stopping", signal=signal.Signals(number).name)
        program.stop_soon()
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop, number)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda received, _frame: loop.call_soon_threadsafe(stop, received))
    watcher = loop.create_task(
        watch_connections(server.server_state.connections, config.server.request_timeout_seconds)
    )
    make_spares(loop)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    logs.say(
        _log,
        "server.started",
        url=f"http://{shown}:{port}",
        sources=",".join(source.name for source in config.sources),
        routes=",".join(route.name for route in config.routes),
    )
    try:
        await server.serve([listener])
    finally:
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher


def make_spares(loop: asyncio.AbstractEventLoop) -> None:
    """Make what asyncio and uvloop never give back: some of each of their small things, for the next to come, and the
    first thread for scrapes. Made in a burst, they would lie scattered over its memory and hold all of it."""
    future = loop.create_future()
    [iter(future) for _ in range(255)]
    for _ in range(250):
        loop.call_soon(int)  # does nothing
    loop.run_in_executor(None, int)


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


def _allow_many_connections() -> None:
    """Idle connections cost a file each; many systems allow 1,024 unless asked for more."""
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


# ---------------------------------------------------------------- drain

_worth_waiting_seconds = 5.0


def drain(config: Config) -> dict[str, int]:
    """Project what came in and deliver what is pending and due, then stop. Nothing is received meanwhile.

    Returns:
        By route: how many records stay pending, because their next try is later or the route is paused.

    Raises:
        StoreUnavailable: see ``Program``.
    """
    program = Program(config)
    try:
        program.projector.catch_up()
        program.drain_routes()
        return {route.route: route.pending for route in program.store.status().routes}
    finally:
        program.close()
