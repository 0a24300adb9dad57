"""What /metrics shows is what happened, in Prometheus' own words, with names of the configuration and nothing else."""

from __future__ import annotations

import http.client
import subprocess
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse

from connector.delivery import Delivered
from connector.metrics import Metrics, Snapshot, described
from connector.store.model import RouteState, RouteStatus, SourceStatus, Status
from tests.doubles import START, World, event
from tests.running import PATIENCE_SECONDS, Connector, Nursery, tokens

Samples = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]

well = Status(
    records=7,
    waiting=2,
    last_seq=40,
    sources=(SourceStatus("firstpromoter", 40, 3, 2, 1, 5, START, START),),
    routes=(
        RouteStatus("local/all", 5, 1, START - timedelta(seconds=90), 6, RouteState("waiting", "the disk is full")),
    ),
)


def samples(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def metrics(standing: Snapshot | None = None) -> Metrics:
    return Metrics(lambda: standing or Snapshot(well), now=lambda: START)


def rendered(found: Metrics) -> Samples:
    return samples(found.render()[0].decode())


# ---------------------------------------------------------------- counting


def test_reports_are_counted_by_source_reason_route_and_sink() -> None:
    found = metrics()
    for _ in range(3):
        found.received("firstpromoter")
    found.refused("credential")
    found.delivered(Delivered("local/all", rows=9, refused=2, calls=1, seconds=0.15))
    found.delivered(Delivered("local/all", calls=3, seconds=3.0, failure="later"))
    found.measured("local", "calls", 4)
    found.measured("local", "quota_wait_seconds", 1.5)
    found.measured("local", "a_name_that_nobody_has_defined", 1.0)
    seen = rendered(found)
    route, sink = (("route", "local/all"),), (("sink", "local"),)
    assert seen["connector_webhooks_received_total", (("source", "firstpromoter"),)] == 3
    assert seen["connector_webhooks_refused_total", (("reason", "credential"),)] == 1
    assert seen["connector_route_rows_delivered_total", route] == 9
    assert seen["connector_route_rows_refused_total", route] == 2
    assert seen["connector_route_calls_total", route] == 4
    assert seen["connector_route_failures_total", (*route, ("why", "later"))] == 1
    assert seen["connector_sink_requests_total", sink] == 4
    assert seen["connector_sink_quota_wait_seconds_total", sink] == 1.5
    assert not any("nobody" in name for name, _ in seen)


def test_calls_fall_into_the_histogram_by_their_duration() -> None:
    found = metrics()
    found.delivered(Delivered("local/all", calls=1, seconds=0.15, each=(0.15,)))
    found.delivered(Delivered("local/all", calls=2, seconds=4.0, each=(2.0, 2.0)))
    found.delivered(Delivered("local/all", calls=1, seconds=120.0, each=(120.0,)))
    seen = rendered(found)

    def below(end: str) -> float:
        return seen["connector_route_call_seconds_bucket", (("le", end), ("route", "local/all"))]

    assert [below(end) for end in ("0.1", "0.2", "1.0", "2.0", "60.0", "+Inf")] == [0, 1, 1, 3, 3, 4]
    assert seen["connector_route_call_seconds_count", (("route", "local/all"),)] == 4
    assert seen["connector_route_call_seconds_sum", (("route", "local/all"),)] == pytest.approx(124.15)


def test_counting_from_many_threads_loses_nothing() -> None:
    found = metrics()

    def count() -> None:
        for _ in range(2000):
            found.received("firstpromoter")
            found.measured("local", "calls", 1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = rendered(found)
    assert seen["connector_webhooks_received_total", (("source", "firstpromoter"),)] == 8000
    assert seen["connector_sink_requests_total", (("sink", "local"),)] == 8000


# ---------------------------------------------------------------- how it stands


def test_the_stores_standing_is_looked_up_at_the_scrape() -> None:
    seen = rendered(metrics(Snapshot(well, {("deliver", "local/all"): 4}, ("route:local/all", "stale"))))
    route, source = (("route", "local/all"),), (("source", "firstpromoter"),)
    assert seen["connector_inbox_waiting", ()] == 2
    assert seen["connector_records", ()] == 7
    assert seen["connector_events_total", source] == 40
    assert seen["connector_events_duplicates_total", source] == 3
    assert seen["connector_events_no_affiliate_total", source] == 2
    assert seen["connector_events_unreadable_total", source] == 1
    assert seen["connector_events_undated_total", source] == 5
    assert seen["connector_last_event_timestamp_seconds", source] == START.timestamp()
    assert seen["connector_route_pending", route] == 5
    assert seen["connector_route_retrying", route] == 1
    assert seen["connector_route_waiting", route] == 0
    assert seen["connector_route_rows", route] == 6
    assert seen["connector_route_oldest_pending_seconds", route] == 90
    assert seen["connector_route_state", (*route, ("state", "waiting"))] == 1
    assert seen["connector_route_state", (*route, ("state", "ok"))] == 0
    assert seen["connector_dead_letters", (("place", "local/all"), ("stage", "deliver"))] == 4
    assert seen["connector_ready", ()] == 0
    assert seen["connector_not_ready", (("reason", "stale"),)] == 1


def test_a_store_that_cannot_be_read_leaves_the_counts() -> None:
    found = metrics(Snapshot(None, {}, ("store",)))
    found.received("firstpromoter")
    seen = rendered(found)
    assert seen["connector_store_readable", ()] == 0
    assert seen["connector_webhooks_received_total", (("source", "firstpromoter"),)] == 1
    assert not any(name.startswith("connector_route_pending") for name, _ in seen)


def test_openmetrics_is_given_to_who_asks_for_it() -> None:
    content, content_type = metrics().render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    families = {f.name for f in parse_open_metrics(content.decode())}  # type: ignore[no-untyped-call]  # it has no types
    assert "connector_webhooks_received" in families


def test_every_metric_has_a_description_and_labels_that_are_names_only() -> None:
    labels = {label for metric in described() for label in metric.labels}
    assert labels == {"source", "reason", "route", "why", "sink", "stage", "place", "state"}
    assert all(metric.text.endswith(".") for metric in described())
    assert len({metric.name for metric in described()}) == len(described())


def test_delivery_reports_what_the_far_side_was_given(tmp_path: Path) -> None:
    world = World(tmp_path)
    found = Metrics(lambda: Snapshot(world.store.status()), now=world.clock)
    world.say(event(1, email="a@example.com"), event(2, email="b@example.com"), event(1, 2, email="c@example.com"))
    world.deliver()
    for report in world.reports:
        found.delivered(report)
    seen = rendered(found)
    assert seen["connector_route_rows_delivered_total", (("route", "table/all"),)] == 2
    assert seen["connector_route_calls_total", (("route", "table/all"),)] == len(world.sink.calls) == 1
    assert seen["connector_route_pending", (("route", "table/all"),)] == 0
    world.close()


# ---------------------------------------------------------------- the running program


def test_a_program_without_alerts_does_not_load_httpx() -> None:
    code = "import connector.serve, sys; print('httpx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def get(connector: Connector, path: str, *, method: str = "GET", **headers: str) -> tuple[int, str]:
    assert connector.port is not None
    connection = http.client.HTTPConnection("127.0.0.1", connector.port, timeout=PATIENCE_SECONDS)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def promoter(number: int, *, event_id: int) -> dict[str, object]:
    return {
        "event": {"id": event_id, "type": "promoter_signed_up", "created_at": datetime.now(UTC).isoformat()},
        "data": {"promoter": {"id": number, "email": f"someone{number}@example.com", "status": "active"}},
    }


def test_a_scrape_of_the_running_program_tells_what_came_in_and_went_out(tmp_path: Path, nursery: Nursery) -> None:
    connector = Connector(tmp_path, nursery).start()
    try:
        bodies = [promoter(number, event_id=number) for number in (1, 2, 3)]
        for body in [*bodies, bodies[-1]]:  # the last one twice, byte for byte
            connector.send("firstpromoter", body)
        assert connector.post("firstpromoter", b"{}")[0] == 400
        connector.wait_for({"firstpromoter:3": {"Email": "someone3@example.com"}})
        source, route = (("source", "firstpromoter"),), (("route", "local/local_csv"),)
        counted = ("connector_events_duplicates_total", source), ("connector_route_rows_delivered_total", route)

        def scrape() -> str:
            status, text = get(connector, "/metrics")
            assert status == 200
            return text

        # The row is in the file before delivery and the copy are counted; a scrape is kept for a second.
        text = connector.wait_until(scrape, lambda text: [samples(text).get(name) for name in counted] == [1, 3])
        seen = samples(text)
        assert seen["connector_webhooks_received_total", source] == 4
        assert seen["connector_events_duplicates_total", source] == 1
        assert seen["connector_webhooks_refused_total", (("reason", "unreadable"),)] == 1
        assert seen["connector_records", ()] == 3
        assert seen["connector_route_rows_delivered_total", route] == 3
        assert seen["connector_ready", ()] == 1
        assert seen["process_resident_memory_bytes", ()] > 0
        named = {value for _, labels in seen for name, value in labels if name in ("source", "route", "sink", "place")}
        assert named <= {"firstpromoter", "everflow", "local/local_csv", "local"}
        assert "example.com" not in text
        assert not any(token in text for token in tokens.values())
    finally:
        connector.kill()


def test_with_a_token_only_its_bearer_is_answered(tmp_path: Path, nursery: Nursery) -> None:
    token = "m3trics-t0ken-of-the-tests-Qw"
    connector = Connector(tmp_path, nursery, server=f'[metrics]\ntoken = "{token}"').start()
    try:
        assert get(connector, "/metrics")[0] == 401
        assert get(connector, "/metrics", authorization=f"Bearer {token}x")[0] == 401
        assert get(connector, "/metrics", authorization="Bearer ")[0] == 401
        assert get(connector, f"/metrics?token={token}")[0] == 401
        assert get(connector, "/metrics", authorization=f"Bearer {token}")[0] == 200
        assert token not in connector.log.read_text()
    finally:
        connector.kill()


@pytest.mark.parametrize("metrics", ["", 'token = "m3trics-t0ken-of-the-tests-Qw"', "enabled = false"])
def test_status_counts_what_was_refused_whatever_the_metrics_are(
    tmp_path: Path, nursery: Nursery, metrics: str
) -> None:
    connector = Connector(tmp_path, nursery, server=f"[metrics]\n{metrics}").start()
    try:
        for source in ("firstpromoter", "firstpromoter", "everflow", "nobody"):
            get(connector, f"/hooks/{source}?token=wrong", method="POST", **{"content-type": "application/json"})
        told = (
            "firstpromoter 2 webhooks refused in the last 24 hours",
            "everflow 1 webhook refused in the last 24 hours",
        )
        connector.wait_until(
            lambda: " ".join(connector.command("status").stdout.split()),
            lambda shown: all(each in shown for each in told),
        )
    finally:
        connector.kill()


def test_metrics_that_are_switched_off_are_not_there(tmp_path: Path, nursery: Nursery) -> None:
    connector = Connector(tmp_path, nursery, server="[metrics]\nenabled = false").start()
    try:
        assert get(connector, "/metrics")[0] == 404
    finally:
        connector.kill()
