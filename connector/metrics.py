"""What /metrics shows: counted by plain calls while the program runs, and read from the store at each scrape.

Rooms report in words of their own (``received``, ``delivered``, ``measured``) and know nothing of Prometheus.
Labels are names from the configuration and fixed words, never people's data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, get_args

from msgspec import Struct, field
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from connector.delivery import Delivered
from connector.store.model import RouteKind, RouteStatus, SourceStatus, Status

CALL_BUCKETS_SECONDS: Final = (0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Upper ends: a local file takes milliseconds, a destination tenths of a second, a time-out a minute."""


class Described(Struct, frozen=True, order=True):
    """A metric as a scrape shows it and the documents list it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


_COUNTED: Final = (
    Described("webhooks_received", "counter", ("source",), "Webhooks kept and answered 202, duplicates included."),
    Described("webhooks_refused", "counter", ("reason",), "Requests answered with an error."),
    Described("route_rows_delivered", "counter", ("route",), "Rows written to the destination."),
    Described("route_rows_refused", "counter", ("route",), "Rows that became dead letters."),
    Described("route_calls", "counter", ("route",), "Calls of the sink, failed ones included."),
    Described("route_failures", "counter", ("route", "why"), "Calls that failed, by what they mean."),
    Described("sink_requests", "counter", ("sink",), "Requests to the destination, set-up and reads included."),
    Described("sink_request_seconds", "counter", ("sink",), "Seconds spent in them."),
    Described("sink_quota_wait_seconds", "counter", ("sink",), "Seconds waited for the destination's quota."),
)
_CALL_SECONDS: Final = Described(
    "route_call_seconds", "histogram", ("route",), "Seconds of a call to the sink, failed ones included."
)
_OF_SINKS: Final = {
    "calls": "sink_requests",
    "call_seconds": "sink_request_seconds",
    "quota_wait_seconds": "sink_quota_wait_seconds",
}
"""Metrics by the names that sinks report."""

_OF_PROGRAM: Final = (
    Described("ready", "gauge", (), "1 when /readyz answers 200."),
    Described("not_ready", "gauge", ("reason",), "Why /readyz does not answer 200."),
    Described("dead_letters", "gauge", ("stage", "place"), "Open dead letters."),
    Described("store_readable", "gauge", (), "1 when the store can be read."),
    Described("inbox_waiting", "gauge", (), "Events that are not projected yet."),
    Described("records", "gauge", (), "Affiliates on record."),
)
_OF_SOURCE: Final[Mapping[Described, Callable[[SourceStatus], float | None]]] = {
    Described(
        "events", "counter", ("source",), "Events projected, duplicates included; survives restarts."
    ): lambda source: source.received,
    Described("events_duplicates", "counter", ("source",), "Events that had come before."): lambda source: (
        source.duplicates
    ),
    Described(
        "events_no_affiliate", "counter", ("source",), "Events that are not about an affiliate."
    ): lambda source: source.no_affiliate,
    Described("events_unreadable", "counter", ("source",), "Events that no normalizer understood."): lambda source: (
        source.unreadable
    ),
    Described(
        "events_undated", "counter", ("source",), "Events without a time that can be read; they count as of arrival."
    ): lambda source: source.undated,
    Described(
        "last_event_timestamp_seconds", "gauge", ("source",), "When the last event came in, Unix time."
    ): lambda source: None if source.last_received_at is None else source.last_received_at.timestamp(),
}
_OLDEST: Final = Described(
    "route_oldest_pending_seconds", "gauge", ("route",), "Age of the oldest pending record; 0 when nothing is pending."
)
_OF_ROUTE: Final[Mapping[Described, Callable[[RouteStatus], float]]] = {
    Described("route_pending", "gauge", ("route",), "Records that the route has still to deliver."): lambda route: (
        route.pending
    ),
    Described("route_retrying", "gauge", ("route",), "Pending records that have failed before."): lambda route: (
        route.retrying
    ),
    Described("route_waiting", "gauge", ("route",), "Records that lack a value that a new row needs."): lambda route: (
        route.waiting
    ),
    Described("route_rows", "gauge", ("route",), "Rows that the destination holds, as far as we know."): lambda route: (
        route.rows
    ),
}
_STATE: Final = Described("route_state", "gauge", ("route", "state"), "1 for the state that the route is in.")


def described() -> list[Described]:
    """All metrics of our own, by name as a scrape shows them."""
    every = (*_COUNTED, _CALL_SECONDS, *_OF_PROGRAM, *_OF_SOURCE, *_OF_ROUTE, _OLDEST, _STATE)
    return sorted(
        Described(f"connector_{m.name}{'_total' * (m.kind == 'counter')}", m.kind, m.labels, m.text) for m in every
    )


class Snapshot(Struct, frozen=True):
    """The state of everything at the moment of a scrape.

    Args:
        status: None when the store can't be read.
        dead_letters: open ones by (stage, name of source or route).
        reasons: why the program is not ready, by name.
    """

    status: Status | None
    dead_letters: Mapping[tuple[str, str], int] = field(default_factory=dict)
    reasons: Sequence[str] = ()


class Metrics:
    """Counts since the start of the process. Every method may be called from any thread; none raises.

    Args:
        look: the state of everything; called by ``render``, may take some milliseconds.
        now: aware UTC.
    """

    def __init__(self, look: Callable[[], Snapshot], *, now: Callable[[], datetime]) -> None:
        self._look, self._now = look, now
        disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no types
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._counters = {
            m.name: Counter(f"connector_{m.name}", m.text, m.labels, registry=self._registry) for m in _COUNTED
        }
        self._call_seconds = Histogram(
            f"connector_{_CALL_SECONDS.name}", _CALL_SECONDS.text, _CALL_SECONDS.labels,
            buckets=CALL_BUCKETS_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._registry.register(self)

    # ------------------------------------------------ reports

    def received(self, source: str, count: int = 1) -> None:
        """Webhooks of *source* were kept and answered 202."""
        self._counters["webhooks_received"].labels(source).inc(count)

    def refused(self, reason: str) -> None:
        """A request was answered with an error; *reason* is one of the receiver's fixed words."""
        self._counters["webhooks_refused"].labels(reason).inc()

    def delivered(self, done: Delivered) -> None:
        """A step of a route delivered something, or failed."""
        for name, count in (
            ("route_rows_delivered", done.rows),
            ("route_rows_refused", done.refused),
            ("route_calls", done.calls),
        ):
            self._counters[name].labels(done.route).inc(count)
        if done.failure is not None:
            self._counters["route_failures"].labels(done.route, done.failure).inc()
        for seconds in done.each:
            self._call_seconds.labels(done.route).observe(seconds)

    def measured(self, sink: str, name: str, value: float) -> None:
        """What a sink reports through ``Host.metric``; names that are not defined here are ignored."""
        if name in _OF_SINKS:
            self._counters[_OF_SINKS[name]].labels(sink).inc(value)

    # ------------------------------------------------ a scrape

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics in Prometheus' text format, or OpenMetrics where *accept* (the request's header) asks for it.

        Returns:
            The body and its content type.
        """
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def describe(self) -> Iterable[Metric]:
        """For the registry: nothing, so that registering does not read the store."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """For the registry: what is read from the store at this moment."""
        snapshot = self._look()
        status = snapshot.status
        values: dict[str, dict[tuple[str, ...], float]] = {
            "ready": {(): float(not snapshot.reasons)},
            "not_ready": {(reason,): 1.0 for reason in snapshot.reasons},
            "dead_letters": {letter: float(count) for letter, count in snapshot.dead_letters.items()},
            "store_readable": {(): float(status is not None)},
        }
        if status is not None:
            values |= {"inbox_waiting": {(): float(status.waiting)}, "records": {(): float(status.records)}}
        yield from (_family(m, values[m.name]) for m in _OF_PROGRAM if m.name in values)
        if status is not None:
            yield from _of_status(status, self._now())


def _of_status(status: Status, now: datetime) -> Iterator[Metric]:
    for metric, of_source in _OF_SOURCE.items():
        found = {(source.source,): of_source(source) for source in status.sources}
        yield _family(metric, {labels: value for labels, value in found.items() if value is not None})
    for metric, of_route in _OF_ROUTE.items():
        yield _family(metric, {(route.route,): of_route(route) for route in status.routes})
    yield _family(_OLDEST, {(route.route,): _age_seconds(route.oldest_since, now) for route in status.routes})
    states: dict[tuple[str, ...], float] = {
        (route.route, kind): float(route.state.kind == kind) for route in status.routes for kind in get_args(RouteKind)
    }
    yield _family(_STATE, states)


def _family(metric: Described, values: Mapping[tuple[str, ...], float]) -> Metric:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(f"connector_{metric.name}", metric.text, labels=metric.labels)
    for labels, value in sorted(values.items()):
        family.add_metric(labels, value)
    return family


def _age_seconds(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())
