"""Config -> running program: threads, readiness, upkeep. The one room that knows every room but the server.

    main thread    serve.py: receives, answers
    store-intake   commits events in groups
    projector      inbox -> records
    route NAME     one each: records -> a sink
    watch          readiness, deleting old events
    alerts         posts to a chat (only when configured)
    repair NAME    one each: reads a platform's API now and then (only when configured)

A stop (SIGTERM, SIGINT) ends them in the order of an event's way; what is pending then is pending at the next start.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from hashlib import blake2b
from typing import Final

from connector import alerts, logs
from connector.assembly import (
    build_sink,
    build_sources,
    evaluation,
    mapping_in_use,
    note_mapping,
    reading_lock,
    utc_now,
)
from connector.core.errors import Stopping, StoreUnavailable
from connector.core.json_body import open_body
from connector.core.lenient import micros_of
from connector.core.platform_api import Repair
from connector.core.source import Event, InboundRequest
from connector.core.verify import HEX_OF_BODY, Credentials
from connector.core.view import view
from connector.dead_letters import UNREAD, DeadLetters, letter_of_event
from connector.delivery import Retry, Route, RouteWorker, load_libraries
from connector.faults import describe
from connector.metrics import Metrics, Snapshot
from connector.projector import Projector
from connector.receiver import Receiver
from connector.settings import Config, RouteConfig
from connector.store import Store
from connector.store.tables import CLOCK_TRUSTED

_CLOCK_NOTES: Final = CLOCK_TRUSTED[1], "clock ahead since"
_DEATH_SHOWN_SECONDS: Final = 90.0
_LONGEST_RESTART_WAIT_SECONDS: Final = 60.0
_PROBED_AFTER_SECONDS: Final = 10.0
_PROBE_BYTES: Final = 65_536
_WORTH_WAITING_SECONDS: Final = 5.0

_log = logs.get("app")


class ClockWatch:
    """Notices when the system's clock is set back.

    Args:
        now: Unix seconds.
        steady: seconds of a clock that nobody can set.
    """

    def __init__(self, now: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._now, self._steady = now, steady
        self._ahead = now() - steady()

    def seconds_set_back(self) -> float:
        """How far the clock was set back since the last call; 0.0 below 30 s, which heals by itself."""
        before, self._ahead = self._ahead, self._now() - self._steady()
        return before - self._ahead if before - self._ahead > 30 else 0.0


def clock_is_trusted(store: Store, now: datetime) -> bool:
    """Whether old events may be deleted by *now*. To be asked before each deletion, at least once a day.

    A clock that is suddenly more than a day ahead is wrong, or the program was stopped for long. It is trusted after it
    has run on from there for a day; one that is put right before that has done no harm.
    """
    believed, ahead_since = (_moment_of(store.recall("connector", note)) for note in _CLOCK_NOTES)
    if believed is not None and now - believed > timedelta(days=1):
        if ahead_since is None or now < ahead_since:
            store.remember("connector", _CLOCK_NOTES[1], now.isoformat())
            return False
        if now - ahead_since < timedelta(days=1):
            return False
    store.remember("connector", _CLOCK_NOTES[0], now.isoformat())
    if ahead_since is not None:
        store.remember("connector", _CLOCK_NOTES[1], None)
    return True


def _moment_of(note: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(note) if note else None
    except ValueError:
        return None


class Program:
    """All rooms of one configuration, but the receiver. Made without touching the network.

    Raises:
        StoreUnavailable: the store can't be opened, is damaged, or another process works on it.
    """

    stop_within_seconds = 7.0
    """How long requests and threads get, together, to finish what they are at; docker kills after 10 seconds, systemd
    after 90."""

    prune_seconds = 2.0
    """How long old events are deleted before readiness is looked at again."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.stop = threading.Event()
        self.clock = ClockWatch()
        self.store = Store(config.store.url, worker=True, now=utc_now)
        try:
            self.letters = DeadLetters(config.dead_letters.path, now=utc_now)
            self.sources = build_sources(config)
            self.store.enroll([route.name for route in config.routes])
            for route in config.routes:
                self._enqueue_if_changed(route)
            self.metrics = Metrics(self._snapshot, now=utc_now)
            self.sinks = {
                found.name: build_sink(found, self.store, self.stop, self.metrics.measured) for found in config.sinks
            }
            self.projector = Projector(self.store, self.sources, self.letters, stop=self.stop, now=utc_now)
            retry = Retry(
                config.retry.first_wait_seconds, config.retry.longest_wait_seconds, config.retry.give_up_after_hours
            )
            self.workers = [
                RouteWorker(
                    Route(
                        route.name,
                        self.sinks[found.name],
                        route.target,
                        evaluation(found, route, self.store),
                        config.secrets,
                    ),
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
        self.receiver: Receiver | None = None
        self._threads: list[threading.Thread] = []
        self._reasons: tuple[str, ...] = ()
        self._died_at: dict[str, float] = {}
        self._stop_by: float | None = None
        self._set_back_seconds = 0.0
        self._deleted = 0
        self._looked_at = time.monotonic()

    def _enqueue_if_changed(self, route: RouteConfig) -> None:
        """A mapping file that was edited may make other rows of every record; those that stay equal cost no call."""
        known = mapping_in_use(self.store, route)
        if known == route.mapping.digest:
            return
        if known is not None:
            logs.say(_log, "mapping.changed", route=route.name, pending=self.store.enqueue(route.name))
        note_mapping(self.store, route)

    # ------------------------------------------------ threads

    def start(self) -> None:
        """Start projecting, delivering and watching, in a thread: it takes some tenths of a second."""
        self._start("start", self._start_threads)

    def _start_threads(self) -> None:
        """All imports come first: one may fail where too few files may be open, and is tried again then."""
        self._load_libraries()
        runs: list[tuple[str, Callable[[], None]]] = [("projector", self.projector.run)]
        runs += [(f"route {worker.route.name}", worker.run) for worker in self.workers]
        runs += [("watch", self._watch), *self._repairs()]
        if self.config.alerts.url is not None:
            runs.append(("alerts", self._alerts(self.config.alerts.url).run))
        for name, run in runs:
            self._start(name, run)

    def _repairs(self) -> Iterator[tuple[str, Callable[[], None]]]:
        for found in self.config.sources:
            repair = getattr(found.options, "repair", None)
            if isinstance(repair, Repair):
                from connector.backfill.reading import Repairs  # with httpx, which takes 0.1 s to import

                source, lock = self.sources[found.name], reading_lock(self.config, found.name)
                every = repair.every_seconds
                yield (
                    f"repair {found.name}",
                    Repairs(source, self.store, lock, every, stop=self.stop, now=utc_now).run,
                )

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
            reasons = self.reasons()
            return alerts.View(
                self.store.status(),
                self._open_letters(),
                store_failing="store" in reasons,
                projector_failing="projector" in reasons,
                sources=[source.name for source in self.config.sources],
            )

        return alerts.Alerts(
            alerts.WebhookPoster(url), look, self.store, rules,
            form=settings.format, secrets=self.config.secrets, stop=self.stop, now=utc_now,
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

    def _start(self, name: str, run: Callable[[], None]) -> None:
        """Run *run* in a thread; again after growing waits when a bug ended it, which is a reason not to be ready."""

        def supervised() -> None:
            wait = 1.0
            while not self.stop.is_set():
                try:
                    run()
                except Stopping:
                    return
                except BaseException as error:  # also a plug-in's sys.exit()
                    # Every room catches its own errors; if one does not, readiness must say so.
                    fault = describe(error)
                    logs.say(_log, "thread.died", level=logging.ERROR, thread=name, again_in_seconds=wait, **fault)
                else:
                    return
                self._died_at[name.replace(" ", ":")] = time.monotonic()
                self.stop.wait(wait)
                wait = min(2 * wait, _LONGEST_RESTART_WAIT_SECONDS)

        if not self.stop.is_set():
            thread = threading.Thread(target=supervised, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop_soon(self) -> None:
        """Count ``stop_within_seconds`` from now; without this they count from ``close``."""
        if self._stop_by is None:
            self._stop_by = time.monotonic() + self.stop_within_seconds

    def close(self) -> None:
        """Stop everything that ``start`` started, and close the store; what is pending stays pending."""
        self.stop_soon()
        ends, self._stop_by = self._stop_by or 0.0, None
        self.stop.set()
        for bell in (self.projector.bell, *(worker.bell for worker in self.workers)):
            bell.set()  # a thread that sleeps would notice only after a second
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))
        hanging = [thread.name for thread in self._threads if thread.is_alive()]
        if hanging:
            # A call to a destination that does not return. The threads die with the process; closing the store under
            # them would only make them log errors. Its files need no closing to be whole.
            logs.warn(_log, "stop.hangs", threads=",".join(hanging))
            return
        for name, sink in self.sinks.items():
            try:
                sink.close()
            except Exception as error:
                logs.warn(_log, "sink.close_failed", sink=name, **describe(error))
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

    # ------------------------------------------------ readiness and upkeep

    def reasons(self) -> Sequence[str]:
        """Why the program is not ready, by name only; as of a few seconds ago at most."""
        lately = time.monotonic() - _DEATH_SHOWN_SECONDS
        died = [name for name, at in list(self._died_at.items()) if at > lately]
        store = [] if self.receiver is None or self.receiver.keeps else ["store"]
        return tuple(dict.fromkeys((*store, *self._reasons, *died)))

    def _watch(self) -> None:
        with suppress(StoreUnavailable):  # nothing waits for longer than a day, unless a clock was wrong in another run
            self.store.clock_was_set_back(ahead_by=timedelta(days=1))
        next_prune = time.monotonic() + 60
        while True:
            self._mind_the_clock()
            self._reasons = self._look()
            if self.stop.wait(2.0):
                return
            if time.monotonic() >= next_prune:
                next_prune = time.monotonic() + self._prune()

    def _mind_the_clock(self) -> None:
        self._set_back_seconds += self.clock.seconds_set_back()
        if self._set_back_seconds:
            with suppress(StoreUnavailable):  # the next time does it
                self.store.clock_was_set_back()
                logs.warn(_log, "clock.set_back", seconds=round(self._set_back_seconds))
                self._set_back_seconds = 0.0

    def _probe(self) -> None:
        """Whether the store keeps events again: what senders met lately is the best answer, else what a write of the
        size of some events meets. Raises StoreUnavailable."""
        receiver = self.receiver
        if receiver is None or receiver.keeps or time.monotonic() - receiver.failed_at < _PROBED_AFTER_SECONDS:
            return
        self.store.remember("connector", "probe", "x" * _PROBE_BYTES)
        self.store.remember("connector", "probe", None)
        receiver.keeps = True

    def _look(self) -> tuple[str, ...]:
        reasons: list[str] = []
        receiver, before, self._looked_at = self.receiver, self._looked_at, time.monotonic()
        failing = "store" in self.reasons() or (receiver is not None and receiver.failed_at > before)
        try:
            self._probe()
            status = self.store.status()
        except StoreUnavailable as error:
            if not failing and "store" not in self.reasons():  # else it is logged already, perhaps by a request
                logs.warn(_log, "store.fails", reason=str(error))
            return ("store", *reasons)
        if receiver is not None and not receiver.keeps:
            reasons.append("store")
        elif failing:
            logs.say(_log, "store.ok")
        if self.projector.failures >= 3:
            reasons.append("projector")  # events wait in the inbox: no route has them pending, so nothing grows stale
        stale_before = utc_now() - timedelta(seconds=self.config.server.stale_after_seconds)
        for route in status.routes:
            if route.state.kind in ("bug", "needs_action"):
                reasons.append(f"route:{route.route}")
            if route.oldest_since is not None and route.oldest_since < stale_before:
                reasons.append("stale")
        return tuple(dict.fromkeys(reasons))

    def _prune(self) -> float:
        """Delete events that are older than the configuration wants, in small steps; a part only when there are many:
        readiness is looked at meanwhile.

        Returns:
            Seconds until the next time.
        """
        before = utc_now() - timedelta(days=self.config.store.keep_events_days)
        ends = time.monotonic() + self.prune_seconds
        try:
            if not clock_is_trusted(self.store, utc_now()):
                logs.warn(_log, "prune.waits", reason="the clock was put ahead, or nothing ran for more than a day")
                return 3600.0
            while step := self.store.prune(before):
                self._deleted += step
                if self.stop.wait(0.05) or time.monotonic() >= ends:
                    return 0.0
        except StoreUnavailable as error:
            logs.warn(_log, "prune.failed", reason=str(error))
            return 60.0
        if self._deleted:
            logs.say(_log, "events.forgotten", count=self._deleted)
        self._deleted = 0
        return 3600.0


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
        program.projector.catch_up()
        program.drain_routes()
        return {route.route: route.pending for route in program.store.status().routes}
    finally:
        program.close()
