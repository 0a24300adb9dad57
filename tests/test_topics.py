"""A topic that its source does not know is told, and not too often."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from connector import logs
from connector.core.source import Event, SourceOptions
from connector.sources.everflow.webhooks import Everflow
from connector.sources.firstpromoter.webhooks import FirstPromoter
from connector.store import Store
from connector.topics import StrangeTopics, is_strange, met

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
sources = {
    kind.__name__.lower(): kind(kind.__name__.lower(), SourceOptions(type="x", token="t0ken-of-the-tests-7c1Zq"))
    for kind in (Everflow, FirstPromoter)
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(str(tmp_path / "c.db"), worker=True, now=lambda: NOON)
    yield store
    store.close()


def event(topic: str, at: datetime = NOON, source: str = "everflow") -> Event:
    return Event(source, f"{topic}:1", topic, 0, at, b"{}")


def warned(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    lines = [json.loads(logs.JsonLines().format(record)) for record in caplog.records]
    return [(line["source"], line["topic"]) for line in lines if line["event"] == "topic.unknown"]


def test_a_slip_in_a_url_is_a_warning_once_in_six_hours(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    topics = StrangeTopics(store, sources)
    with caplog.at_level(logging.WARNING, logger="connector"):
        topics.note([event("partner_creatd"), event("partner_created"), event("partner_creatd")])
        topics.note([event("partner_creatd", NOON + timedelta(hours=5))])
        assert warned(caplog) == [("everflow", "partner_creatd")]
        topics.note([event("partner_creatd", NOON + timedelta(hours=6))])
    assert warned(caplog) == [("everflow", "partner_creatd")] * 2
    assert met(store, "everflow", NOON + timedelta(hours=7)) == {"partner_creatd": NOON + timedelta(hours=6)}
    assert met(store, "everflow", NOON + timedelta(days=3)) == {}


def test_whoever_may_send_can_not_fill_the_log_with_topics(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="connector"):
        StrangeTopics(store, sources).note([event(f"t{number}") for number in range(1000)])
    assert len(warned(caplog)) == len(met(store, "everflow", NOON)) == 20


def test_a_source_with_one_url_for_all_and_what_is_read_from_an_api_have_no_strange_topics(store: Store) -> None:
    assert not is_strange(FirstPromoter, "anything")
    assert not is_strange(Everflow, "api.partner")
    assert is_strange(Everflow, "anything")
    StrangeTopics(store, sources).note([event("anything", source="firstpromoter"), event("x", source="gone")])
    assert met(store, "firstpromoter", NOON) == {}
