"""What /metrics shows: counted by plain calls while the program runs, and looked up in the store when somebody asks.

Rooms report in words of their own (``received``, ``delivered``, ``measured``) and know nothing of Prometheus, whose
library is imported by the first scrape: 90 ms and some MiB that a program nobody scrapes does not spend.
Labels are names from the configuration and fixed words, never people's data.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, get_args

from msgspec import Struct, field

from connector.delivery import Delivered
from connector.store.model import RouteKind, Status

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

call_buckets: Final = (0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Upper ends in seconds: a local file takes milliseconds, a far side tenths of a second, a time-out a minute."""


class Standing(Struct, frozen=True):
    """How everything stands at the moment of a scrape.

    Args:
        status: None when the store can't be read.
        dead_letters: open ones by (stage, name of source or route).
        reasons: why the program is not ready, by name.
    """

    status: Status | None
    dead_letters: Mapping[tuple[str, str], int] = field(default_factory=dict)
    reasons: Sequence[str] = ()


class _Durations(Struct):
    """One histogram: counts by bucket (the last one is beyond all), and their sum in seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(call_buckets) + 1))
    total: float = 0.0


class Metrics:
    """Counts since the start of the process. Every method may be called from any thread; none raises.

    Args:
        look: how everything stands; called by ``render``, may take some milliseconds.
        now: aware UTC.
    """

    def __init__(self, look: Callable[[], Standing], *, now: Callable[[], datetime]) -> None:
        self._look, self._now = look, now
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._sums: Counter[tuple[str, str]] = Counter()
        self._durations: dict[str, _Durations] = {}
        self._registry: CollectorRegistry | None = None

    # ------------------------------------------------ reports

    def received(self, sources: Sequence[str]) -> None:
        """Webhooks were kept and answered 202: the source of each."""
        with self._lock:
            for source in sources:
                self._counts["received", source] += 1

    def refused(self, reason: str) -> None:
        """A request was answered with an error; *reason* is one of the receiver's fixed words."""
        with self._lock:
            self._counts["refused", reason] += 1

    def delivered(self, done: Delivered) -> None:
        """A step of a route delivered something, or failed."""
        with self._lock:
            counts = self._counts
            counts["rows", done.route] += done.rows
            counts["rows_refused", done.route] += done.refused
            counts["calls", done.route] += done.calls
            if done.failure is not None:
                counts["failures", done.route, done.failure] += 1
            durations = self._durations.setdefault(done.route, _Durations())
            for seconds in done.each:
                durations.counts[bisect_left(call_buckets, seconds)] += 1
                durations.total += seconds

    def measured(self, sink: str, name: str, value: float) -> None:
        """What a sink reports through ``Host.metric``; names that nobody has defined are passed over."""
        if name in _of_sinks:
            with self._lock:
                self._sums[name, sink] += value  # type: ignore[assignment]  # a Counter adds floats as well

    # ------------------------------------------------ a scrape

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics in Prometheus' text format, or OpenMetrics where *accept* (the request's header) asks for it.

        Returns:
            The body and its content type.
        """
        from prometheus_client.exposition import choose_encoder

        encode, content_type = choose_encoder(accept)
        return encode(self._collected()), content_type

    def _collected(self) -> CollectorRegistry:
        if self._registry is None:
            from prometheus_client import CollectorRegistry
            from prometheus_client.process_collector import ProcessCollector

            registry = CollectorRegistry()
            registry.register(self)
            ProcessCollector(registry=registry)
            self._registry = registry
        return self._registry

    def describe(self) -> Sequence[Metric]:
        """For the registry: nothing, so that registering does not look at the store."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """For the registry: every metric as it stands now."""
        with self._lock:
            counts, sums = self._counts.copy(), dict(self._sums)
            durations = {route: _Durations(list(d.counts), d.total) for route, d in self._durations.items()}
        standing = self._look()
        yield from _of_counts(counts, sums)
        yield _of_durations(durations)
        yield from _of_standing(standing, self._now())


def _of_counts(counts: Mapping[tuple[str, ...], int], sums: Mapping[tuple[str, str], float]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily

    for kind, (name, text, labels) in _counters.items():
        family = CounterMetricFamily(f"connector_{name}", text, labels=labels)
        for key, value in sorted(counts.items()):
            if key[0] == kind:
                family.add_metric(key[1:], value)
        yield family
    for kind, (name, text) in _of_sinks.items():
        family = CounterMetricFamily(f"connector_{name}", text, labels=("sink",))
        for (measure, sink), amount in sorted(sums.items()):
            if measure == kind:
                family.add_metric((sink,), amount)
        yield family


def _of_durations(durations: Mapping[str, _Durations]) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(
        "connector_route_call_seconds",
        "Seconds of a call to the sink, failed ones included.",
        labels=("route",),
    )
    for route, found in sorted(durations.items()):
        below, buckets = 0, []
        for end, count in zip((*call_buckets, float("inf")), found.counts, strict=True):
            below += count
            buckets.append(("+Inf" if end == float("inf") else str(end), below))
        family.add_metric((route,), buckets, found.total)
    return family


def _of_standing(standing: Standing, now: datetime) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    def gauge(name: str, text: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]) -> Metric:
        family = GaugeMetricFamily(f"connector_{name}", text, labels=labels)
        for label_values, value in sorted(values.items()):
            family.add_metric(label_values, value)
        return family

    yield gauge("ready", "1 when /readyz answers 200.", (), {(): float(not standing.reasons)})
    yield gauge("not_ready", "Why /readyz does not answer 200.", ("reason",), {(r,): 1.0 for r in standing.reasons})
    yield gauge("dead_letters", "Open dead letters.", ("stage", "place"),
                {key: float(count) for key, count in standing.dead_letters.items()})  # fmt: skip
    status = standing.status
    yield gauge("store_readable", "1 when the store can be read.", (), {(): float(status is not None)})
    if status is None:
        return
    for name, text in _of_sources.items():
        family = CounterMetricFamily(f"connector_events{name}", text, labels=("source",))
        for source in status.sources:
            family.add_metric((source.source,), getattr(source, name.removeprefix("_") or "received"))
        yield family
    came: dict[tuple[str, ...], float] = {
        (s.source,): s.last_received_at.timestamp() for s in status.sources if s.last_received_at is not None
    }
    yield gauge("last_event_timestamp_seconds", "When the last event came in, Unix time.", ("source",), came)
    yield gauge("inbox_waiting", "Events that are not projected yet.", (), {(): float(status.waiting)})
    yield gauge("records", "Affiliates on record.", (), {(): float(status.records)})
    routes = status.routes
    yield gauge("route_owed", "Records that the route has still to deliver.", ("route",),
                {(r.route,): float(r.pending) for r in routes})  # fmt: skip
    yield gauge("route_retrying", "Pending records that have failed before.", ("route",),
                {(r.route,): float(r.retrying) for r in routes})  # fmt: skip
    yield gauge("route_rows", "Rows that the far side holds by our last word.", ("route",),
                {(r.route,): float(r.rows) for r in routes})  # fmt: skip
    yield gauge("route_oldest_owed_seconds", "Age of the oldest pending record; 0 when nothing is pending.", ("route",),
                {(r.route,): _age(r.oldest_since, now) for r in routes})  # fmt: skip
    states: dict[tuple[str, ...], float] = {
        (r.route, kind): float(r.state.kind == kind) for r in routes for kind in get_args(RouteKind)
    }
    yield gauge("route_state", "1 for the state that the route is in.", ("route", "state"), states)


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())


_counters: Final[Mapping[str, tuple[str, str, Sequence[str]]]] = {
    "received": ("webhooks_received", "Webhooks kept and answered 202, duplicates included.", ("source",)),
    "refused": ("webhooks_refused", "Requests answered with an error.", ("reason",)),
    "rows": ("route_rows_delivered", "Rows written at the far side.", ("route",)),
    "rows_refused": ("route_rows_refused", "Rows that became dead letters.", ("route",)),
    "calls": ("route_calls", "Calls of the sink, failed ones included.", ("route",)),
    "failures": ("route_failures", "Calls that failed, by what they mean.", ("route", "why")),
}
_of_sinks: Final[Mapping[str, tuple[str, str]]] = {
    "calls": ("sink_requests", "Requests to the far side, set-up and reads included."),
    "call_seconds": ("sink_request_seconds", "Seconds spent in them."),
    "quota_wait_seconds": ("sink_quota_wait_seconds", "Seconds waited for the far side's quota."),
}
_of_sources: Final[Mapping[str, str]] = {
    "": "Events projected, duplicates included; survives restarts.",
    "_duplicates": "Events that had come before.",
    "_no_affiliate": "Events that concern no affiliate.",
    "_unreadable": "Events that no normalizer understood.",
}


class Described(Struct, frozen=True):
    """A metric as the documents list it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


def described() -> list[Described]:
    """All metrics of our own, by name as a scrape shows them."""
    moment = datetime.min.replace(tzinfo=UTC)
    standing = Standing(Status(0, 0, 0, (), ()))
    empty = Metrics(lambda: standing, now=lambda: moment)
    found: list[Any] = list(empty.collect())
    return sorted(
        (
            Described(
                f"{m.name}_total" if m.type == "counter" else str(m.name), str(m.type), tuple(m._labelnames),
                str(m.documentation),
            )
            for m in found
        ),
        key=lambda m: m.name,
    )  # fmt: skip
