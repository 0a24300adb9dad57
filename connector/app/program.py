"""Config -> running program: what there is of each room, which threads run, and in which order they stop.

    main thread    serve.py: receives, answers
    store-intake   commits events in groups
    leases         which duties this process has (PostgreSQL only)
    projector      inbox -> records
    route NAME     one each: records -> a sink
    console NAME   one each: the status tab with its boxes (only when configured)
    watch          readiness, deleting old events
    mappings       looks for mapping files that are edited
    alerts         posts to a chat (only when configured)
    repair NAME    one each: reads a platform's API now and then (only when configured)

A stop (SIGTERM, SIGINT) ends them in the order of an event's way; what is pending then is pending at the next start.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from datetime import timedelta
from functools import partial
from hashlib import blake2b
from typing import Final

from connector import alerts, logs
from connector.app.console import ConsoleOf
from connector.app.delivering import SinkDuty
from connector.app.duties import Duty, Run, Sharing
from connector.app.readiness import Readiness
from connector.app.threads import Threads
from connector.app.upkeep import Upkeep
from connector.assembly import (
    build_sink,
    build_sources,
    dead_letters,
    is_here,
    reading_lock,
    utc_now,
)
from connector.changes.notes import held_of, problems_of
from connector.changes.versions import Versions, confirms
from connector.changes.watch import Watch
from connector.core.console import ShowsConsole
from connector.core.errors import Stopping, StoreUnavailable
from connector.core.json_body import open_body
from connector.core.lenient import micros_of
from connector.core.platform_api import Repair
from connector.core.sink import Sink, Target
from connector.core.source import Event, InboundRequest
from connector.core.verify import HEX_OF_BODY, Credentials
from connector.core.view import view
from connector.dead_letters import UNREAD, letter_of_event
from connector.delivery import Retry, RouteWorker, load_libraries
from connector.faults import describe
from connector.metrics import Metrics, Snapshot
from connector.projector import Projector
from connector.recent import Recent
from connector.settings import Config, SinkConfig
from connector.store import Store, is_postgres, worker_of
from connector.store.model import StoreInUse
from connector.store.processes import LEASE_SECONDS

_WATCH_SECONDS: Final = 2.0
_WATCH_SHARE: Final = 0.05  # of a core: a look counts what is pending, which is much in a first sync
_WORTH_WAITING_SECONDS: Final = 5.0

_log = logs.get("app")


class Program:
    """All rooms of one configuration, but the receiver. Made without touching the network.

    Raises:
        StoreUnavailable: the store can't be opened, is damaged, or another process works on it.
    """

    stop_within_seconds = 7.0
    """How long requests and threads get, together, to finish what they are at; docker kills after 10 seconds, systemd
    after 90."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.stop = threading.Event()
        self.threads = Threads(self.stop)
        self.is_shared = is_postgres(config.store.url)
        self.receives = "receive" in config.server.roles
        delivers = "deliver" in config.server.roles
        connections = config.store.connections
        self.store = Store(config.store.url, worker=True, now=utc_now, most_connections=connections)
        try:
            if self.is_shared:
                self.store.join(config.server.roles, config.route_names if delivers else ())
            self.letters = dead_letters(config, lambda: nullcontext(self.store))
            self.sources = build_sources(config)
            self.metrics = Metrics(self._snapshot, now=utc_now)
            self.recent = Recent()
            self.sinks: dict[str, Sink] = {}
            self.versions = Versions(config, self.store, self.sinks, utc_now)
            self.edits = Watch(config, self.store, stop=self.stop, is_shared=self.is_shared)
            self.deliveries: list[SinkDuty] = []
            self.projecting = Duty("projecting", self._projecting, lambda: self.projector.bell.set(), weight=1)
            self.projector = Projector(
                self.store, self.sources, self.letters, stop=self.projecting.stop, now=utc_now, recent=self.recent
            )
            if delivers:
                shared = [name for sink in config.sinks if confirms(sink) for name in sink.files]
                self.store.enroll(config.route_names, holding=shared)
                self.versions.start()
                self.edits.begin()
                here = (found for found in config.sinks if is_here(found))
                self.deliveries = [SinkDuty(found, self._build_sink, self._console) for found in here]
            self.store.on_pending(self._ring_routes)
        except BaseException:
            self.store.close()
            raise
        self.readings, self.upkeeping = Duty("readings", self._repairs), Duty("upkeep", self._upkeep)
        self.duties = [self.projecting, *self.deliveries, self.readings, self.upkeeping] if delivers else []
        self.sharing = Sharing(self.duties, self.store, note=self.edits.note) if self.is_shared else None
        self.upkeep = Upkeep(
            self.store, config.store.keep_events_days, config.store.keep_deliveries_days, self.stop, self._dated_routes
        )
        self.readiness = Readiness(
            self.store,
            config.server.stale_after_seconds,
            lambda: self.projector.failures,
            self._died,
            lambda: None if self.sharing is None else self.sharing.failure,
        )
        self.reasons = self.readiness.reasons
        self._stop_by: float | None = None

    @property
    def workers(self) -> list[RouteWorker]:
        """Those of every sink that this process may deliver."""
        return [worker for delivery in self.deliveries for worker in delivery.workers]

    def _build_sink(self, found: SinkConfig, stop: threading.Event) -> tuple[Sink, list[RouteWorker]]:
        settings = self.config.retry
        retry = Retry(settings.first_wait_seconds, settings.longest_wait_seconds, settings.give_up_after_hours)
        self.sinks[found.name] = sink = build_sink(found, self.store, stop, self.metrics.measured)
        return sink, [
            RouteWorker(
                self.versions.first(found, name),
                self.store,
                self.letters,
                retry,
                stop=stop,
                now=utc_now,
                report=self.metrics.delivered,
                begin=self.versions.begin,
            )
            for name in found.files
        ]

    def _ring_routes(self) -> None:
        for delivery in self.deliveries:
            delivery.ring()

    def _died(self) -> list[str]:
        return [*self.threads.died(), *(name for duty in self.duties for name in duty.threads.died())]

    # ------------------------------------------------ threads

    def start(self) -> None:
        """Start projecting, delivering and watching, in a thread: it takes some tenths of a second."""
        self.threads.start("start", self._start_threads)

    def _start_threads(self) -> None:
        """All imports come first: one may fail where too few files may be open, and is tried again then."""
        self._load_libraries()
        self.threads.start("watch", self._watch)
        if self.sharing is not None:
            self.threads.start("leases", self.sharing.run)
        else:
            for duty in self.duties:
                duty.begin()
        if self.deliveries:
            self.threads.start("mappings", self.edits.run)

    def _projecting(self) -> Iterator[Run]:
        yield "projector", self.projector.run

    def _upkeep(self) -> Iterator[Run]:
        yield "search", self._fill_search
        if self.config.alerts.url is not None:
            yield "alerts", self._alerts(self.config.alerts.url).run

    def _fill_search(self) -> None:
        """Once, after an update from a version that kept no words; this duty begins when no such process works."""
        with suppress(StoreUnavailable):  # the first search does it
            while not self.upkeeping.stop.is_set() and self.store.fill_search(alone=True):
                pass

    def _repairs(self) -> Iterator[Run]:
        for found in self.config.sources:
            repair = getattr(found.options, "repair", None)
            if isinstance(repair, Repair):
                from connector.backfill.reading import Repairs  # with httpx, which takes 0.1 s to import

                source, lock = self.sources[found.name], reading_lock(self.config, self.store, found.name)
                every, stop = repair.every_seconds, self.readings.stop
                yield f"repair {found.name}", Repairs(source, self.store, lock, every, stop=stop, now=utc_now).run

    def _console(self, delivery: SinkDuty) -> Iterator[Run]:
        sink = delivery.sink
        if isinstance(sink, ShowsConsole) and sink.has_console:

            def routes() -> dict[str, Target]:
                return {worker.route.name: worker.route.target for worker in delivery.workers}

            console = ConsoleOf(self.config, self.store, self.letters, sink, routes, now=utc_now)
            yield f"console {delivery.found.name}", partial(console.run, delivery.stop)

    def _load_libraries(self) -> None:
        """Import what delivery and mappings load when they meet their first record."""
        load_libraries()
        said = {
            "country": "GB",
            "phone": "+442071838750",
            "email": "nobody@example.com",
            "website": "https://example.com",
        }
        record = view("nobody:0", {path: (0, 0, value) for path, value in said.items()})
        for worker in self.workers:
            with suppress(Exception):  # a mapping's bug is shown when a record meets it
                worker.route.evaluate(record)

    def own_all(self) -> None:
        """Have every duty, and begin none: for ``drain``.

        Raises:
            StoreInUse: another process has one.
        """
        if not self.is_shared:
            return
        held = [Duty(x.name, tuple, routes=x.routes, late_call_seconds=x.late_call_seconds) for x in self.duties]
        self.sharing = Sharing(held, self.store, all_of_them=True)
        self.threads.start("leases", self.sharing.run)
        ends = time.monotonic() + LEASE_SECONDS + _WORTH_WAITING_SECONDS
        while not all(duty.is_on for duty in held):
            if time.monotonic() >= ends or self.stop.wait(0.05):
                who = worker_of(self.config.store.url)
                raise StoreInUse(f"the store is in use by another connector ({who}); stop that one first")

    def drain_routes(self) -> None:
        """Deliver what is due now or soon, all routes at once. Interrupted, ``close`` ends what is on its way."""
        for worker in self.workers:
            self.threads.start(f"route {worker.route.name}", partial(self._drain_route, worker))
        self.threads.join(kind="route ")  # the leases are kept until the end

    def _drain_route(self, worker: RouteWorker) -> None:
        try:
            while not self.stop.is_set():
                wait = worker.step()
                if wait is None or wait > _WORTH_WAITING_SECONDS:
                    return
                self.stop.wait(wait)
        except Stopping:
            return
        except StoreUnavailable as error:
            logs.warn(_log, "delivery.waits", route=worker.route.name, reason=str(error))
        except Exception as error:
            logs.warn(_log, "delivery.bug", route=worker.route.name, **describe(error))

    def _alerts(self, url: str) -> alerts.Alerts:
        settings = self.config.alerts
        rules = alerts.Rules(
            waiting=timedelta(minutes=settings.waiting_minutes),
            quiet=None if settings.quiet_days is None else timedelta(days=settings.quiet_days),
        )

        def look() -> alerts.View:
            reasons, mappings = self.reasons(), self.store.mappings()
            return alerts.View(
                self.store.status(),
                self._open_letters(),
                store_failing="store" in reasons,
                projector_failing="projector" in reasons,
                sources=[source.name for source in self.config.sources],
                mistakes={name: found[0].place for name, each in mappings.items() if (found := problems_of(each))},
                held={name: held.text for name, each in mappings.items() if (held := held_of(each)) is not None},
            )

        return alerts.Alerts(
            alerts.WebhookPoster(url), look, self.store, rules,
            form=settings.format, secrets=self.config.secrets, stop=self.upkeeping.stop, now=utc_now,
        )  # fmt: skip

    def _snapshot(self) -> Snapshot:
        """The state of everything, for a scrape."""
        try:
            status = self.store.status()
        except StoreUnavailable:
            status = None
        return Snapshot(status, self._open_letters() or {}, self.reasons())

    def _open_letters(self) -> dict[tuple[str, str], int] | None:
        """Open dead letters by (stage, place); None when their file can't be read."""
        try:
            return dict(self.letters.counts())
        except StoreUnavailable:
            return None

    @property
    def stopping(self) -> bool:
        """Whether a stop was asked for."""
        return self._stop_by is not None or self.stop.is_set()

    def stop_soon(self) -> None:
        """Count ``stop_within_seconds`` from now; without this they count from ``close``. What this process owns is
        handed over meanwhile."""
        if self._stop_by is None:
            self._stop_by = time.monotonic() + self.stop_within_seconds
        if self.sharing is not None:
            self.sharing.hand_over()

    def end_calls(self) -> None:
        """Before a reload: end what this program does, but for receiving and projecting, and wait until its calls are
        over: until then the program that follows does not get the file. Where a store is shared, leases see to it."""
        if self.is_shared:
            return
        self.stop.set()
        calling = [duty for duty in self.duties if duty is not self.projecting]
        for duty in calling:
            duty.end(for_good=True)
        threads, named_at = (self.threads, *(duty.threads for duty in calling)), time.monotonic() + 1
        while self._stop_by is None and (alive := [name for each in threads for name in each.alive()]):
            if time.monotonic() >= named_at:
                logs.warn(_log, "reload.waits", threads=",".join(alive))
                named_at += 60
            time.sleep(0.02)

    def close(self) -> None:
        """Stop everything that ``start`` started, and close the store; what is pending stays pending."""
        self.stop_soon()
        ends, self._stop_by = self._stop_by or 0.0, None
        self.stop.set()
        if self.sharing is not None:
            self.sharing.stop()
        for duty in self.duties:
            duty.end(for_good=True)
        hanging = [name for threads in (self.threads, *(x.threads for x in self.duties)) for name in threads.join(ends)]
        if self.sharing is not None:
            self.sharing.close()
        if hanging:
            # A call to a destination that does not return. The threads die with the process; closing the store under
            # them would only make them log errors. Its files need no closing to be whole.
            logs.warn(_log, "stop.hangs", threads=",".join(hanging))
            return
        for delivery in self.deliveries:
            delivery.close()
        self.store.close()

    def keep_unread(self, source: str, request: InboundRequest, error: Exception) -> str:
        """Keep the body of a request that a bug of its source could not open, as a dead letter; see ``Unread``.

        Raises:
            Forged: none of the source's configured credentials vouches for the request.
            Unreadable: the body is not JSON, so its secrets can't be dropped by name.
            StoreUnavailable: the letter can't be written.
        """
        (found,) = (found for found in self.config.sources if found.name == source)
        Credentials.of(found.options, getattr(found.source_class, "signature", HEX_OF_BODY)).vouch(request)
        secrets: frozenset[str] = getattr(found.source_class, "secrets", frozenset())
        body = open_body(request.body, secrets)[1]
        key = f"{UNREAD}{blake2b(body, digest_size=16).hexdigest()}"
        topic = request.parameter("topic") or ""
        event = Event(source, key, topic, micros_of(request.received_at), request.received_at, body)
        fault = describe(error)
        reason = (
            f"a bug in the source {source}, which could not open this body: {fault['exception']} at {fault['frames']}"
        )
        self.letters.add([letter_of_event(event, reason, "bug")])
        return key

    def _dated_routes(self) -> list[str]:
        return [worker.route.name for worker in self.workers if worker.route.target.is_dated]

    def _watch(self) -> None:
        self.upkeep.begin()
        while True:
            began = time.thread_time()
            self.upkeep.mind_the_clock()
            self.readiness.look()
            with suppress(StoreUnavailable):  # the next look does it
                self.recent.keep_refused(self.store.note_refused)
            with suppress(StoreUnavailable):
                self.letters.follow()
            if self.stop.wait(max(_WATCH_SECONDS, (time.thread_time() - began) / _WATCH_SHARE)):
                return
            if self.upkeeping.is_on:
                self.upkeep.renew_dated_rows()
                self.upkeep.prune_when_due()


# ---------------------------------------------------------------- drain


def drain(config: Config) -> dict[str, int]:
    """Project what came in and deliver what is pending and due, then stop. Nothing is received meanwhile.

    Returns:
        By route: how many records stay pending, because their next try is later or the route is paused.

    Raises:
        StoreUnavailable: see ``Program``.
    """
    program = Program(config)
    try:
        program.own_all()
        program.projector.catch_up()
        program.edits.look(at_once=True)
        program.edits.look_at_held()
        program.drain_routes()
        return {route.route: route.pending for route in program.store.status().routes}
    finally:
        program.close()


def put_back_now(config: Config, route: str) -> None:
    """Put back what was asked for of *route*, where no server runs; nothing else is delivered.

    Raises:
        StoreUnavailable: see ``Program``.
    """
    program = Program(config)
    try:
        program.own_all()
        for worker in program.workers:
            if worker.route.name == route:
                worker.step()
    finally:
        program.close()
