"""Reading the platforms' APIs: the real httpx client against servers on the loopback, real stores, real sources."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.backfill import notes as readings
from connector.backfill import reading as backfill
from connector.backfill.api import Patience
from connector.backfill.notes import Report
from connector.backfill.reading import Reading, Repairs
from connector.cli.main import run
from connector.core import paging
from connector.core.errors import NeedsAction, Stopping, TryLater, UnknownShape, Unreadable
from connector.core.facts import Fact, load_facts
from connector.core.merge import join
from connector.core.platform_api import Answer, NotReadable
from connector.core.record import AffiliateRecord
from connector.core.source import Event, InboundRequest, Source
from connector.core.view import view
from connector.dead_letters import LetterFile
from connector.file_lock import FileLock
from connector.projector import Projector
from connector.sources.everflow.webhooks import Everflow as EverflowSource
from connector.sources.firstpromoter.webhooks import FirstPromoter
from connector.store import Store
from tests.far_sides.loopback import Call, Fault, Reply
from tests.far_sides.platform_servers import (
    ACCOUNT,
    KEY,
    Everflow,
    FirstPromoterV1,
    FirstPromoterV2,
    Platform,
    promoter_v2,
)
from tests.running import PATIENCE_SECONDS, root, until
from tests.sources.promises import places

TOKEN = "tests-only-token-0123456789"

makers: Mapping[str, Callable[[int], Platform]] = {
    "v1": FirstPromoterV1,
    "v2": FirstPromoterV2,
    "everflow": Everflow,
    "everflow, bare": lambda count: Everflow(count, bare=True),
}
every_platform = pytest.mark.parametrize("kind", makers)


def source_for(platform: Platform, **options: Any) -> Source:
    given: dict[str, Any] = {"token": TOKEN, "api_key": KEY, "requests_per_minute": 6000} | options
    if "base_url" not in options:
        given["base_url"] = platform.url
    if isinstance(platform, Everflow):
        return EverflowSource("everflow", EverflowSource.Options.model_validate({"type": "everflow", **given}))
    if isinstance(platform, FirstPromoterV2):
        given.setdefault("account_id", ACCOUNT)
    options_class = FirstPromoter.Options
    return FirstPromoter("firstpromoter", options_class.model_validate({"type": "firstpromoter", **given}))


class Killed(BaseException):
    """The process dies here."""


class Clock:
    """The true time, moved by as much as a test says; naps are noted and not slept."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)
        self.naps: list[float] = []

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def nap(self, seconds: float) -> None:
        self.naps.append(seconds)


class World:
    """One platform, one source, one store with a projector and a route; closed and opened again at will."""

    def __init__(self, folder: Path, platform: Platform, **options: Any) -> None:
        self.folder, self.platform, self.clock = folder, platform, Clock()
        self.source = source_for(platform, **options)
        self.stop = threading.Event()
        self.open()

    def open(self, store: Callable[..., Store] | None = None) -> None:
        self.store = (
            Store(str(self.folder / "c.db"), worker=True, now=self.clock)
            if store is None
            else store(str(self.folder / "c.db"), worker=True, now=self.clock)
        )
        self.store.enroll(["table/all", "table/more"])
        self.letters = LetterFile(self.folder / "dead.jsonl", now=self.clock)
        sources = {self.source.name: self.source}
        self.projector = Projector(self.store, sources, self.letters, stop=self.stop, now=self.clock)

    def close(self) -> None:
        self.store.close()

    def later(self) -> None:
        """Two days pass: so much that the platform's Date, which stays as it is, is not believed."""
        self.clock.ahead += timedelta(days=2)

    @property
    def lock(self) -> FileLock:
        return FileLock(self.folder / "reading.lock")

    def read(self, reading: Reading | None = None, **more: Any) -> Report:
        """Read the API, then project."""
        settings: dict[str, Any] = {"patience": Patience(silence_seconds=5.0, tries=8), "nap": self.clock.nap} | more
        report = backfill.read(
            self.source, reading or Reading(), self.store, self.lock, stop=self.stop, now=self.clock, **settings
        )
        self.project()
        return report

    def project(self) -> None:
        while self.projector.step():
            pass

    def receive(self, body: object, topic: str = "") -> Event:
        """A webhook comes in and is projected."""
        query = f"token={TOKEN}&topic={topic}".encode()
        event = self.source.accept(InboundRequest((), query, json.dumps(body).encode(), self.clock()))
        self.store.append([event])
        self.project()
        return event

    def settle(self) -> None:
        """Everything that is pending is delivered."""
        for route in (status.route for status in self.store.status().routes):
            while pending := self.store.take(route, 500, lease=timedelta(minutes=1)):
                from connector.store.model import Result

                self.store.finish(route, [Result(each.record_id, each.version, each.token) for each in pending])

    def ids(self) -> set[int]:
        found: list[str] = []
        while page := self.store.record_ids(found[-1] if found else ""):
            found += page
        return {int(record_id.partition(":")[2]) for record_id in found}

    def record(self, number: int) -> AffiliateRecord:
        record_id = f"{self.source.name}:{number}"
        return view(record_id, load_facts(self.store.load([record_id])[record_id].facts))

    def present(self) -> set[int]:
        """Who is not marked gone."""
        return {number for number, record in self.end_state().items() if record.gone_at is None}

    def end_state(self) -> dict[int, AffiliateRecord]:
        """What the store holds of everybody, but for the stamps."""
        known = self.store.load(f"{self.source.name}:{number}" for number in self.ids())
        records = [view(record_id, load_facts(each.facts)) for record_id, each in known.items()]
        return {int(record.id.partition(":")[2]): record for record in records}

    def pending(self) -> dict[str, int]:
        return {route.route: route.pending for route in self.store.status().routes}

    def inbox(self) -> list[Event]:
        found, after = [], 0
        while page := self.store.read_events(after, 500):
            found += [stored.event for stored in page]
            after = page[-1].seq
        return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    opened: list[World] = []

    def make(platform: Platform, **options: Any) -> World:
        platform.__enter__()
        folder = tmp_path / str(len(opened))
        folder.mkdir()
        opened.append(World(folder, platform, **options))
        return opened[-1]

    yield make
    for each in opened:
        each.close()
        each.platform.__exit__(None, None, None)


# ---------------------------------------------------------------- everybody, once


@every_platform
def test_everybody_is_in_the_store_and_owed_to_every_route(world: Callable[..., World], kind: str) -> None:
    here = world(makers[kind](310))
    report = here.read()
    assert (report.kind, report.read, report.new, report.changed, report.gone) == ("whole", 310, 310, 0, 0)
    assert here.ids() == set(range(1, 311))
    assert here.pending() == {"table/all": 310, "table/more": 310}
    record = here.record(7)
    assert record.email == "p7@example.com"
    assert record.status == "active"
    assert record.last_event.type is None
    assert record.last_event.at is None
    assert not any(b"CANARY" in event.body for event in here.inbox())
    assert max(here.platform.reads.values()) == 1


@every_platform
def test_a_reading_of_an_unchanged_platform_writes_nothing(world: Callable[..., World], kind: str) -> None:
    here = world(makers[kind](120))
    here.read()
    here.settle()
    everybody = [f"{here.source.name}:{number}" for number in here.ids()]
    before, versions = here.end_state(), here.store.load(everybody)
    for _ in range(2):
        here.later()
        report = here.read()
        assert (report.read, report.new, report.changed, report.gone) == (120, 0, 0, 0)
    assert here.pending() == {"table/all": 0, "table/more": 0}
    assert here.end_state() == before
    assert here.store.load(everybody) == versions
    assert len(here.inbox()) == 120


@every_platform
def test_only_what_changed_is_owed(world: Callable[..., World], kind: str) -> None:
    here = world(makers[kind](120))
    here.read()
    here.settle()
    here.platform.add(500)
    if isinstance(here.platform, Everflow):
        here.platform.rows[5]["relationship"]["users"]["entries"][0]["email"] = "new@example.com"
        here.platform.rows[5]["relationship"]["users"]["entries"][0]["time_saved"] += 10
    else:
        here.platform.rows[5]["email"] = "new@example.com"
    here.later()
    report = here.read()
    assert (report.new, report.changed) == (1, 1)
    assert here.pending() == {"table/all": 2, "table/more": 2}
    assert here.record(5).email == "new@example.com"


def test_a_value_that_comes_back_is_told_again(world: Callable[..., World]) -> None:
    here = world(FirstPromoterV2(3))
    for email in ("p2@example.com", "other@example.com", "p2@example.com"):
        here.platform.rows[2]["email"] = email
        here.later()
        here.read()
        assert here.record(2).email == email


@pytest.mark.parametrize(
    ("kind", "count"),
    [(kind, count) for kind, size in (("v1", 100), ("v2", 100), ("everflow", 200)) for count in (0, 1, size, size + 1)]
    + [("everflow, bare", 0), ("everflow, bare", 1), ("v2", 99), ("v2", 199)],
)
def test_lists_of_every_length_end(world: Callable[..., World], kind: str, count: int) -> None:
    here = world(makers[kind](count))
    assert here.read().read == count
    assert here.ids() == set(range(1, count + 1))


@every_platform
def test_a_server_that_gives_less_than_asked_for_is_read_to_its_end(world: Callable[..., World], kind: str) -> None:
    here = world(makers[kind](260))
    here.platform.most_rows = 50
    assert here.read().read == 260


def test_a_server_that_ignores_the_page_is_not_asked_for_ever(world: Callable[..., World]) -> None:
    class Deaf(FirstPromoterV1):
        def page_of(self, call: Call, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
            super().page_of(call, rows)
            return rows

    for count in (30, 130):
        here = world(Deaf(count))
        assert here.read().read == count
        assert here.platform.pages <= 2


def test_a_server_that_repeats_its_page_ends_the_reading_in_words(world: Callable[..., World]) -> None:
    class Repeating(FirstPromoterV2):
        def page_of(self, call: Call, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
            super().page_of(call, rows)
            return rows[:100]

    here = world(Repeating(130))
    here.receive(webhook_v2(130, day, "ada@example.com"))
    for _ in range(2):  # the next reading does not ask for ever either
        with pytest.raises(NeedsAction, match="repeats its page: after 100 rows nothing new comes"):
            here.read()
    assert here.platform.pages <= 6
    assert here.record(130).gone_at is None
    assert "repeats its page" in readings.standing(here.store, "firstpromoter").reason


def test_what_was_read_does_not_count_as_received(world: Callable[..., World]) -> None:
    """Else a source whose webhooks have stopped would never be found quiet."""
    here = world(FirstPromoterV2(20))
    here.receive(webhook_v2(3, day, "ada@example.com"))
    before = here.store.status().sources
    here.clock.ahead = timedelta(hours=5)
    here.read()
    assert here.store.status().sources == before


def test_v2_tells_counts_links_and_custom_fields(world: Callable[..., World]) -> None:
    here = world(FirstPromoterV2(1))
    here.read()
    record = here.record(1)
    assert (record.stats.visitors, record.stats.leads, record.stats.customers) == (90, 4, 2)
    assert str(record.stats.sales_total) == "2010.00"
    assert str(record.balances.current.cash) == "10.01"
    assert (record.ref_id, record.campaign, record.promo_code) == ("ref1", "Main", "ADA10")
    assert record.socials.instagram == "https://insta.example/ada"
    assert record.custom == {"shirt": "L"}
    assert record.created_at == datetime(2025, 5, 5, 5, 5, 5, tzinfo=UTC)


# ---------------------------------------------------------------- pages that move


@every_platform
def test_nobody_is_lost_when_rows_move_to_pages_already_read(world: Callable[..., World], kind: str) -> None:
    here = world(makers[kind](700))
    gone = iter((3, 50, 51, 4, 301, 5, 6))

    def move(page: int) -> None:
        if page > 1 and (number := next(gone, None)):
            del here.platform.rows[number]

    here.platform.before_page = move
    here.read()
    assert set(here.platform.rows) <= here.ids()


@every_platform
def test_nobody_is_lost_when_many_are_deleted_at_once(world: Callable[..., World], kind: str) -> None:
    here = world(makers[kind](900))

    def move(page: int) -> None:
        if page == 3:
            for number in range(1, 151):
                del here.platform.rows[number]

    here.platform.before_page = move
    here.read()
    assert set(here.platform.rows) <= here.ids()
    assert here.present() >= set(here.platform.rows)


@pytest.mark.parametrize("seed", range(8))
def test_nobody_is_lost_while_people_come_and_go(world: Callable[..., World], seed: int) -> None:
    chance = random.Random(seed)
    here = world(makers[chance.choice(list(makers))](600))

    def move(page: int) -> None:
        rows = here.platform.rows
        for number in chance.sample(sorted(rows), chance.choice((0, 0, 1, 3, 40))):
            del rows[number]
        for _ in range(chance.choice((0, 1, 5))):
            number = chance.randrange(10_000, 20_000)
            if chance.random() < 0.5:
                here.platform.rows = {number: here.platform.row(number), **rows}
                rows = here.platform.rows
            else:
                here.platform.add(number)

    here.platform.before_page = move
    stayed = set(here.platform.rows)
    here.read()
    stayed &= set(here.platform.rows)
    assert stayed <= here.present()


@given(st.integers(1, 100_000), st.sampled_from([50, 100, 200]))
def test_a_window_overlaps_what_was_read_and_reaches_beyond_it(offset: int, most: int) -> None:
    window = paging.window(str(offset), most)
    start = (window.page - 1) * window.size
    assert start < offset < start + window.size + 1
    assert window.overlap == offset - start
    assert window.size <= most
    assert start + window.size - offset >= most // 2 - 1  # and never crawls


# ---------------------------------------------------------------- what goes wrong on the way


@every_platform
def test_faults_of_every_kind_change_nothing_about_the_end(world: Callable[..., World], kind: str) -> None:
    chance = random.Random(len(kind))
    here = world(makers[kind](900))
    faults = (
        Fault("status", Reply(429, None, {"Retry-After": "3"})),
        Fault("status", Reply(429, None, {"X-RateLimit-Limit": "900", "X-RateLimit-Remaining": "0"})),
        Fault("status", Reply(500)),
        Fault("status", Reply(503, b"<html>", {"Content-Type": "text/html", "Retry-After": "1"})),
        Fault("status", Reply(200, b"<html>a proxy's greeting</html>")),
        Fault("status", Reply(200, {"error": "no list"})),
        Fault("reset_before"),
        Fault("reset_after"),
        Fault("cut_after"),
        Fault("none", delay_seconds=0.2),
    )
    here.platform.fault_for = lambda call: chance.choice(faults) if chance.random() < 0.4 else None
    for _ in range(20):
        try:
            here.read()
        except TryLater:
            continue
        break
    assert here.ids() == set(range(1, 901))
    assert here.present() == here.ids()
    assert readings.standing(here.store, here.source.name).failed_at is None


def test_a_silent_server_is_given_up_and_the_reading_goes_on_there(world: Callable[..., World]) -> None:
    here = world(FirstPromoterV2(300))
    here.platform.fault_for = lambda call: Fault("hang_after") if call.number >= 3 else None
    with pytest.raises(TryLater, match="does not answer in time"):
        here.read(patience=Patience(silence_seconds=1.0, tries=2))
    host = here.platform.url.removeprefix("http://").partition("/")[0]
    assert readings.standing(here.store, "firstpromoter").reason == f"FirstPromoter at {host} does not answer in time"
    here.platform.fault_for = lambda call: None
    read = here.platform.reads.copy()
    report = here.read()
    assert (report.read, report.new) == (300, 300)
    assert here.platform.reads[1, 100] == read[1, 100] == 1


def test_a_server_that_trickles_is_given_up(world: Callable[..., World]) -> None:
    here = world(FirstPromoterV2(50))
    here.platform.fault_for = lambda call: Fault("none", delay_seconds=0.1)
    with pytest.raises(TryLater, match="too slowly"):
        here.read(patience=Patience(answer_seconds=0.05, tries=2))


def test_the_far_side_is_waited_for_as_it_asks(world: Callable[..., World]) -> None:
    here = world(FirstPromoterV2(5))
    here.platform.faults.extend(
        [
            Fault("status", Reply(429, None, {"Retry-After": f"Mon, 01 Jan {10**20} 00:00:00 GMT"})),  # says nothing
            Fault("status", Reply(429, None, {"Retry-After": "17"})),
            Fault("status", Reply(429, None, {"X-RateLimit-Reset": "23"})),
        ]
    )
    here.read()
    assert [nap for nap in here.clock.naps if nap > 1] == [17, 23]


def test_a_share_of_the_quota_is_left_to_the_others(world: Callable[..., World]) -> None:
    class Counted(Everflow):
        def answer(self, call: Call) -> Reply:
            reply = super().answer(call)
            left = 900 - 100 * (call.number + 5)
            return Reply(reply.status, reply.body, {"X-RateLimit-Limit": "900", "X-RateLimit-Remaining": str(left)})

    here = world(Counted(700))
    here.read()
    assert here.platform.pages == 4
    # After the third answer 100 of 900 are left, less than a fifth: the fourth question waits.
    assert len([nap for nap in here.clock.naps if nap > 2]) == 1


def test_the_pace_is_four_fifths_of_what_is_allowed(world: Callable[..., World]) -> None:
    for platform, allowed in ((FirstPromoterV1(), 400), (FirstPromoterV2(), 400), (Everflow(), 30 * 60)):
        here = world(platform, requests_per_minute=None)
        assert here.source.listing().requests_per_minute == allowed * 0.8  # type: ignore[attr-defined]
    here = world(FirstPromoterV2(250), requests_per_minute=600)
    began = time.monotonic()
    here.read(nap=None)
    at = [call.at for call in here.platform.calls]
    assert len(at) == 3
    assert at[-1] - began >= 2 * 60 / 600


def test_a_refused_key_says_which_settings_and_changes_nothing(world: Callable[..., World]) -> None:
    for platform, said in (
        (FirstPromoterV2(9), "check sources.firstpromoter.api_key and account_id"),
        (Everflow(9), "check sources.everflow.api_key"),
    ):
        here = world(platform, api_key="wr0ng-key")
        with pytest.raises(NeedsAction) as raised:
            here.read()
        assert raised.value.reason == f"{here.source.listing().title} refused the API key (401): {said}"  # type: ignore[attr-defined]
        assert here.ids() == set()
        assert here.platform.pages == 0
        assert len(here.platform.calls) == 1


def test_a_redirect_is_not_followed_with_the_key(world: Callable[..., World]) -> None:
    here = world(FirstPromoterV2(9))
    elsewhere = {"Location": f"{here.platform.url}/elsewhere"}
    here.platform.fault_for = lambda call: Fault("status", Reply(302, None, elsewhere))
    with pytest.raises(NeedsAction, match="base_url"):
        here.read()
    assert len(here.platform.calls) == 1


@every_platform
def test_a_row_that_names_nobody_is_one_dead_letter_and_the_rest_goes_on(
    world: Callable[..., World], kind: str
) -> None:
    here = world(makers[kind](150))
    for number, row in ((3, {"id": None, "network_affiliate_id": "x"}), (4, ["what"]), (5, None), (6, "text")):
        here.platform.rows[number] = row  # type: ignore[assignment]
    report = here.read() if kind != "v2" else None
    if report is None:
        here.platform.rows = {n: row for n, row in here.platform.rows.items() if isinstance(row, dict)}
        here.platform.rows[3]["archived_at"] = None
        report = here.read()
        assert (report.read, report.unreadable) == (148 - 1, 1)
        return
    assert (report.read, report.new, report.unreadable) == (150, 146, 4)
    letters = {letter.id for letter in here.letters.list()}
    assert len(letters) == 4
    here.later()
    here.read()
    assert {letter.id for letter in here.letters.list()} == letters


def test_a_name_with_half_a_character_costs_nobody_else(world: Callable[..., World]) -> None:
    class Broken(FirstPromoterV1):
        def answer(self, call: Call) -> Reply:
            reply = super().answer(call)
            return Reply(200, json.dumps(reply.body).replace("No 3", "No \\ud800").encode())

    here = world(Broken(10))
    assert here.read().new == 10
    assert here.record(3).last_name in ("No ?", "No \ufffd")


# ---------------------------------------------------------------- killed and started again


class Dying(Store):
    """A store whose process dies when the note of a page is to be written; 0 is the note that a reading began."""

    dies_at = 0
    notes = 0

    def remember(self, sink: str, key: str, value: str | None) -> None:
        if key == "reading" and value is not None:
            Dying.notes += 1
            if Dying.notes > Dying.dies_at:
                raise Killed
        super().remember(sink, key, value)


@pytest.mark.parametrize("moment", ["before the note of a page", "after it"])
@pytest.mark.parametrize("kind", ["v2", "everflow"])
def test_killed_at_any_page_it_goes_on_there(world: Callable[..., World], kind: str, moment: str) -> None:
    whole = world(makers[kind](count := 280 if kind == "v2" else 500))
    pages = whole.read().pages
    expected = whole.end_state()
    for page in range(1, pages + 1):
        here = world(makers[kind](count))
        if moment == "after it":
            done: list[object] = []

            def progress(at: object, done: list[object] = done, page: int = page) -> None:
                done.append(at)
                if len(done) == page:
                    raise Killed

            with pytest.raises(Killed):
                here.read(progress=progress)
        else:
            here.close()
            Dying.dies_at, Dying.notes = page, 0
            here.open(Dying)
            with pytest.raises(Killed):
                here.read()
        here.close()
        here.open()
        report = here.read()
        assert (report.read, report.pages) == (count, pages)
        assert here.end_state() == expected
        assert here.pending() == {"table/all": count, "table/more": count}
        assert max(here.platform.reads.values()) <= 2
        assert sum(here.platform.reads.values()) == pages + (moment != "after it")


def test_a_reading_that_was_stopped_long_ago_begins_afresh(world: Callable[..., World]) -> None:
    here = world(FirstPromoterV2(300))
    here.platform.fault_for = lambda call: Fault("reset_before") if call.number > 2 else None
    with pytest.raises(TryLater):
        here.read(patience=Patience(tries=1))
    here.platform.fault_for = lambda call: None
    here.clock.ahead += timedelta(hours=7)
    here.read()
    assert here.platform.reads[1, 100] == 2
    assert here.ids() == set(range(1, 301))


def test_another_kind_of_reading_does_not_go_on_with_the_stopped_one(world: Callable[..., World]) -> None:
    here = world(FirstPromoterV2(300))
    here.platform.fault_for = lambda call: Fault("reset_before") if call.number > 2 else None
    with pytest.raises(TryLater):
        here.read(patience=Patience(tries=1))
    here.platform.fault_for = lambda call: None
    report = here.read(Reading(since=datetime(2025, 1, 1, tzinfo=UTC)))
    assert (report.read, report.kind) == (300, "since")


def test_nothing_is_left_of_a_reading_that_ended(world: Callable[..., World]) -> None:
    here = world(FirstPromoterV2(300))
    here.read()
    assert here.store.recall("backfill:firstpromoter", "reading") is None


def test_a_stop_ends_a_reading_between_two_pages(world: Callable[..., World]) -> None:
    here = world(FirstPromoterV2(300))
    with pytest.raises(Stopping):
        here.read(progress=lambda at: here.stop.set())
    here.stop.clear()
    assert here.read().read == 300
    assert max(here.platform.reads.values()) == 1


def test_two_processes_do_not_read_at_once(world: Callable[..., World]) -> None:
    here = world(FirstPromoterV2(3))
    with here.lock, pytest.raises(backfill.ReadingAlready):
        here.read()


# ---------------------------------------------------------------- who is gone


@every_platform
def test_who_is_gone_is_marked_and_who_comes_back_is_not(world: Callable[..., World], kind: str) -> None:
    here = world(makers[kind](150))
    here.read()
    here.settle()
    row = here.platform.rows.pop(77)
    here.later()
    report = here.read()
    assert (report.read, report.gone) == (149, 1)
    assert here.record(77).status == "inactive"
    assert here.record(77).gone_at is not None
    assert here.pending() == {"table/all": 1, "table/more": 1}
    here.settle()
    here.later()
    assert here.read().gone == 0  # it is marked already
    assert here.pending() == {"table/all": 0, "table/more": 0}
    here.platform.rows[77] = row
    here.later()
    assert here.read().changed == 1
    assert here.record(77).gone_at is None
    assert here.record(77).status == "active"


def test_who_was_archived_is_gone(world: Callable[..., World]) -> None:
    here = world(FirstPromoterV2(150))
    here.read()
    here.platform.rows[9]["archived_at"] = "2026-01-01T00:00:00Z"
    here.later()
    here.read()
    assert here.record(9).gone_at == datetime(2026, 1, 1, tzinfo=UTC)
    here.platform.rows[9]["archived_at"] = None
    here.later()
    here.read()
    assert here.record(9).gone_at is None


def test_a_partial_reading_marks_nobody_gone(world: Callable[..., World]) -> None:
    for platform in (FirstPromoterV2(50), Everflow(50)):
        here = world(platform)
        here.read()
        here.platform.rows = {}
        report = here.read(Reading(since=datetime(2026, 1, 1, tzinfo=UTC)))
        assert (report.read, report.gone, report.held_back) == (0, 0, 0)
        assert here.present() == here.ids() == set(range(1, 51))


def test_a_reading_with_a_failed_page_marks_nobody_gone(world: Callable[..., World]) -> None:
    here = world(FirstPromoterV2(250))
    here.read()
    here.platform.rows.pop(7)
    here.later()
    here.platform.pages = 0
    here.platform.fault_for = lambda call: (
        Fault("status", Reply(500)) if call.path == "/promoters" and call.query["page"] != ["1"] else None
    )
    with pytest.raises(TryLater):
        here.read(patience=Patience(tries=2))
    assert here.present() == set(range(1, 251))


def test_who_is_missing_from_the_list_but_answers_by_id_is_not_gone(world: Callable[..., World]) -> None:
    class Forgetful(FirstPromoterV2):
        def page_of(self, call: Call, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return super().page_of(call, [row for row in rows if row["id"] not in hidden])

    hidden: set[int] = set()
    here = world(Forgetful(50))
    here.read()
    hidden.update((8, 9))
    here.platform.rows.pop(9)
    here.later()
    assert here.read().gone == 1
    assert here.present() == set(range(1, 51)) - {9}


def test_a_mass_disappearance_is_not_believed_unless_a_person_says_so(world: Callable[..., World]) -> None:
    here = world(FirstPromoterV2(100))
    here.read()
    here.platform.rows = {}
    here.later()
    report = here.read()
    assert (report.gone, report.held_back) == (0, 100)
    assert here.present() == set(range(1, 101))
    report = here.read(accept_gone=True)
    assert (report.gone, report.held_back) == (100, 0)
    assert here.present() == set()


def test_who_signed_up_during_the_reading_is_not_gone(world: Callable[..., World]) -> None:
    here = world(FirstPromoterV2(250))

    def sign_up(page: int) -> None:
        if page == 2:
            here.receive(webhook_v2(9000, here.clock(), "late@example.com"))

    here.platform.before_page = sign_up
    assert here.read().gone == 0
    assert here.record(9000).gone_at is None


# ---------------------------------------------------------------- the newer one wins


def webhook_v2(number: int, at: datetime, email: str, kind: str = "updated") -> dict[str, Any]:
    return {
        "event_id": f"{number}-{at.isoformat()}-{email}", "event_type": f"promoter.{kind}", "action": kind,
        "entity_type": "promoter", "entity_id": number, "changes": {}, "timestamp": at.isoformat(),
        "data": {"id": number, "email": email, "name": "Ada"},
    }  # fmt: skip


def webhook_v1(number: int, at: datetime, email: str) -> dict[str, Any]:
    event = {"id": int(at.timestamp()), "type": "promoter_accepted", "created_at": at.isoformat()}
    return {"event": event, "data": {"promoter": {"id": number, "email": email}}}


def webhook_everflow(number: int, at: datetime, name: str) -> dict[str, Any]:
    return {
        "network_affiliate_id": number, "name": name, "account_status": "active", "time_created": 1_735_000_000,
        "time_saved": int(at.timestamp()),
    }  # fmt: skip


day = datetime(2026, 10, 1, tzinfo=UTC)
when = st.integers(0, 40)  # seconds, few enough for ties between the kinds to be common


@settings(max_examples=60)
@given(
    kind=st.sampled_from(["v1", "v2", "everflow"]),
    webhooks=st.lists(when, max_size=2, unique=True),
    rows=st.lists(when, max_size=2, unique=True),
    data=st.data(),
)
def test_the_newer_of_webhooks_and_rows_wins_in_whatever_order_they_arrive(
    kind: str, webhooks: list[int], rows: list[int], data: st.DataObject
) -> None:
    platform = makers[kind](0)
    source = source_for(platform, base_url=None)
    listing = source.listing()  # type: ignore[attr-defined]
    said: list[tuple[int, str, Event]] = []
    for second in webhooks:
        at, word = day + timedelta(seconds=second), f"hook{second}@example.com"
        make = {"v1": webhook_v1, "v2": webhook_v2, "everflow": webhook_everflow}[kind]
        body = json.dumps(make(7, at, word)).encode()
        query = f"token={TOKEN}" + ("&topic=partner_updated" if kind == "everflow" else "")
        said.append((second, word, source.accept(InboundRequest((), query.encode(), body, day))))
    for second in set(rows) - set(webhooks):
        at, word = day + timedelta(seconds=second), f"row{second}@example.com"
        row = platform.row(7)
        if kind == "everflow":
            row |= {"name": word, "time_saved": int(at.timestamp())}
            del row["relationship"]["users"]
            at = day + timedelta(seconds=data.draw(st.integers(second, 60)))  # read some time after it was saved
        else:
            row["email"] = word
        page = listing.read(listing.first, Answer(json.dumps([row]).encode(), at))
        said.append((second, word, page.rows[0].event))
    ends = set()
    for order in permutations(said):
        facts: dict[str, Fact] = {}
        for _, _, event in order:
            for update in source.normalize(event):
                facts = join(facts, update.facts)
        ends.add(tuple(sorted(facts.items())))
        if said:
            record = view(f"{source.name}:7", facts)
            shown = record.company if kind == "everflow" else record.email
            assert shown == max(said, key=lambda each: each[0])[1]
    assert len(ends) == 1


@every_platform
def test_a_webhook_that_arrives_while_a_reading_runs_wins(world: Callable[..., World], kind: str) -> None:
    """The row was on the wire when the change was made; webhook first or row first, the change is what stays."""
    for webhook_first in (True, False):
        here = world(makers[kind](5))
        at = here.clock() + timedelta(seconds=1)  # everflow's times are whole seconds
        if kind == "v1":
            change, topic = webhook_v1(3, at, "newer@example.com"), ""
        elif kind == "v2":
            change, topic = webhook_v2(3, at, "newer@example.com"), ""
        else:
            change, topic = webhook_everflow(3, at, "newer@example.com"), "partner_updated"
        if webhook_first:
            here.receive(change, topic)
        here.read()
        if not webhook_first:
            here.receive(change, topic)
        record = here.record(3)
        assert (record.company if topic else record.email) == "newer@example.com"
        assert record.created_at is not None  # what only the row says is there too
        assert record.last_event.type is not None


def test_a_clock_that_is_wrong_does_not_let_an_old_row_win(world: Callable[..., World]) -> None:
    here = world(FirstPromoterV2(3))
    here.clock.ahead = timedelta(hours=5)  # ours; the platform's own Date header is right
    here.read()
    here.receive(webhook_v2(2, datetime.now(UTC), "newer@example.com"))
    assert here.record(2).email == "newer@example.com"


@settings(max_examples=60)
@given(kind=st.sampled_from(list(makers)), data=st.data())
def test_whatever_an_api_answers_raises_nothing_but_what_is_promised(kind: str, data: st.DataObject) -> None:
    scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
    anything = st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    )
    platform = makers[kind](2)
    source = source_for(platform, base_url=None)
    listing = source.listing()  # type: ignore[attr-defined]
    row: dict[str, Any] = platform.row(1)
    spots = list(places(row))
    for _ in range(data.draw(st.integers(0, 3))):
        container, key = spots[data.draw(st.integers(0, len(spots) - 1))]
        container[key] = data.draw(anything)
    body = data.draw(st.sampled_from([[row], {"data": [row], "affiliates": [row]}, row, None, [None, [row], row]]))
    try:
        page = listing.read(listing.first, Answer(json.dumps(body).encode(), day))
    except Unreadable:
        return
    for listed in page.rows:
        try:
            updates = source.normalize(listed.event)
        except UnknownShape:
            assert not listed.record_id
            continue
        for update in updates:
            assert update.record_id == listed.record_id
            view(update.record_id, update.facts)
            assert not [path for path in update.facts if path.startswith("last_event")]


@given(st.binary(max_size=40))
def test_whatever_bytes_an_api_answers_are_a_list_or_unreadable(raw: bytes) -> None:
    listing = source_for(Everflow(), base_url=None).listing()  # type: ignore[attr-defined]
    with suppress(Unreadable):
        listing.read(listing.first, Answer(raw, day))


# ---------------------------------------------------------------- deliveries


def test_deliveries_that_never_came_are_replayed_and_the_others_are_not(world: Callable[..., World]) -> None:
    here = world(FirstPromoterV2(0))
    sent = [webhook_v2(n, day + timedelta(minutes=n), f"p{n}@example.com", "created") for n in range(1, 231)]
    for body in sent[:50]:
        here.receive(body)
    newest_first = [
        {"id": n, "event_id": body["event_id"], "status": "failed", "payload": body, "created_at": body["timestamp"]}
        for n, body in reversed(list(enumerate(sent)))
    ]
    assert isinstance(here.platform, FirstPromoterV2)
    here.platform.hooks = {11: newest_first[:200], 12: newest_first[100:], 13: []}
    report = here.read(Reading(deliveries=True))
    assert (report.kind, report.new) == ("deliveries", 180)
    assert here.ids() == set(range(1, 231))
    assert here.record(200).last_event.type == "promoter.created"
    assert here.read(Reading(deliveries=True)).new == 0
    since = Reading(day + timedelta(minutes=220), deliveries=True)
    asked = here.platform.reads.total()
    assert here.read(since).read == 11 + 0  # of both hooks, the newest of 12 being older
    assert here.platform.reads.total() - asked <= 6


def test_deliveries_are_v2s_only(world: Callable[..., World]) -> None:
    for platform, said in ((FirstPromoterV1(), "account_id"), (Everflow(), "--deliveries")):
        with pytest.raises(NotReadable, match=said):
            world(platform).read(Reading(deliveries=True))


# ---------------------------------------------------------------- every so often


def test_a_repair_runs_when_it_is_due_and_reports_what_it_found(world: Callable[..., World]) -> None:
    here = world(FirstPromoterV2(30))
    repairs = Repairs(here.source, here.store, here.lock, 86_400.0, stop=here.stop, now=here.clock)
    assert repairs.wait_seconds() == 0
    assert repairs.step() is not None
    here.project()
    assert 86_000 < repairs.wait_seconds() <= 86_400
    here.platform.rows.pop(4)
    here.later()
    assert repairs.wait_seconds() == 0
    repairs.step()
    last = readings.standing(here.store, "firstpromoter").last
    assert last is not None
    assert (last.read, last.new, last.changed, last.gone) == (29, 0, 0, 1)


def test_a_repair_that_fails_is_tried_again_sooner_than_the_next(world: Callable[..., World]) -> None:
    here = world(FirstPromoterV2(30), api_key="wr0ng-key")
    repairs = Repairs(here.source, here.store, here.lock, 86_400.0, stop=here.stop, now=here.clock)
    assert repairs.step() is None
    first = repairs.wait_seconds()
    assert 0 < first <= 600
    here.clock.ahead += timedelta(seconds=first)
    assert repairs.step() is None
    assert first < repairs.wait_seconds() <= 1200
    assert "refused the API key" in readings.standing(here.store, "firstpromoter").reason
    assert here.ids() == set()


def test_a_clock_that_was_ahead_does_not_put_a_repair_off(world: Callable[..., World]) -> None:
    here = world(FirstPromoterV2(30))
    repairs = Repairs(here.source, here.store, here.lock, 86_400.0, stop=here.stop, now=here.clock)
    here.clock.ahead += timedelta(days=400)
    assert repairs.step() is not None
    here.clock.ahead -= timedelta(days=400)
    assert repairs.wait_seconds() == 0
    assert repairs.step() is not None
    here.clock.ahead += timedelta(days=400)
    readings.keep_failure(here.store, "firstpromoter", here.clock(), "the far side is down")
    here.clock.ahead -= timedelta(days=399)
    assert repairs.wait_seconds() == 0


def test_the_thread_ends_when_told(world: Callable[..., World]) -> None:
    here = world(FirstPromoterV2(30))
    repairs = Repairs(here.source, here.store, here.lock, 86_400.0, stop=here.stop, now=here.clock)
    thread = threading.Thread(target=repairs.run)
    thread.start()
    until(lambda: readings.standing(here.store, "firstpromoter").last is not None)
    here.stop.set()
    thread.join(60)
    assert not thread.is_alive()


# ---------------------------------------------------------------- the command


def configured(folder: Path, platform: Platform, *, key: str = KEY, mapping: str = "", more: str = "") -> Path:
    everflow = isinstance(platform, Everflow)
    account = f'account_id = "{ACCOUNT}"' if isinstance(platform, FirstPromoterV2) else ""
    (folder / "table.toml").write_text(
        mapping or '[key]\nfield = "ID"\n[fields]\n"ID" = "id"\n"Email" = "email"\n"Status" = "status"\n'
    )
    file = folder / "config.toml"
    file.write_text(f"""
[server]
port = 1
[sources.{"everflow" if everflow else "firstpromoter"}]
type = "{"everflow" if everflow else "firstpromoter"}"
token = "k7Qz2mXw9Lr4Tb6Vn8Ys1Dc3"
api_key = "{key}"
base_url = "{platform.url}"
requests_per_minute = 6000
{account}
{more}
[sinks.local]
type = "csv"
path = "table.csv"
mappings = ["table.toml"]
""")
    return file


def test_the_command_reads_and_says_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FirstPromoterV2(130) as platform:
        file = configured(tmp_path, platform, more='[sources.firstpromoter.repair]\nevery = "12h"\n')
        command = ["backfill", "firstpromoter", "--config", str(file)]
        assert run([*command, "--dry-run"]) == 0
        assert "130 affiliates read: 130 new" in capsys.readouterr().out
        assert run(["status", "--json", "--config", str(file)]) == 0
        (reading,) = json.loads(capsys.readouterr().out)["readings"]
        assert reading["last"] is None
        assert run(command) == 0
        assert "130 affiliates read: 130 new, 0 changed, 0 missing." in capsys.readouterr().out
        assert run(["drain", "--config", str(file)]) == 0
        assert len((tmp_path / "table.csv").read_text().splitlines()) == 131
        written = (tmp_path / "table.csv").stat()
        capsys.readouterr()
        assert run([*command, "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert (report["read"], report["new"], report["changed"]) == (130, 0, 0)
        assert run(["drain", "--config", str(file)]) == 0
        assert (tmp_path / "table.csv").stat().st_mtime_ns == written.st_mtime_ns
        capsys.readouterr()
        assert run(["status", "--all", "--config", str(file)]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "130 affiliates, 0 new, 0 changed, 0 gone" in said
        assert "next due in 11 h" in said
        assert KEY not in said


def test_a_wrong_key_ends_with_3_and_nothing_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FirstPromoterV2(5) as platform:
        file = configured(tmp_path, platform, key="an0ther-key-that-is-wrong")
        assert run(["backfill", "firstpromoter", "--config", str(file)]) == 3
    said = capsys.readouterr()
    assert (
        " ".join(said.err.split())
        == "FirstPromoter refused the API key (401): check sources.firstpromoter.api_key and account_id"
    )
    assert "an0ther" not in said.out + said.err
    assert run(["status", "--json", "--config", str(file)]) == 0
    assert json.loads(capsys.readouterr().out)["records"] == 0


def test_status_says_of_a_reading_that_failed_that_it_failed_and_goes_on_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FirstPromoterV2(5) as platform:
        file = configured(tmp_path, platform, key="an0ther-key-that-is-wrong")
        assert run(["backfill", "firstpromoter", "--config", str(file)]) == 3
    capsys.readouterr()
    assert run(["status", "--config", str(file)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "! firstpromoter never read from its API to the end; the last try failed " in said
    assert "check sources.firstpromoter.api_key and account_id; the next one continues where it stopped" in said
    assert "has not ended" not in said
    file.write_text(file.read_text() + '[sources.firstpromoter.repair]\nevery = "12h"\n')
    assert run(["status", "--config", str(file)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "continues where it stopped; a running server tries again soon" in said


def test_words_that_do_not_fit_are_told_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Everflow() as platform:
        command = ["backfill", "everflow", "--config", str(configured(tmp_path, platform))]
        assert run([*command, "--deliveries"]) == 2
        assert " ".join(capsys.readouterr().err.split()) == (
            "everflow: Everflow keeps no delivered webhooks to read again: leave --deliveries away"
        )
        assert run([*command, "--since", "31.01.2026"]) == 2
        assert capsys.readouterr().err == '--since wants a day like 2026-01-31, not "31.01.2026".\n'
        assert platform.calls == []


def test_a_missing_key_is_a_mistake_in_the_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Everflow() as platform:
        file = configured(tmp_path, platform)
    file.write_text(file.read_text().replace(f'api_key = "{KEY}"', ""))
    assert run(["backfill", "everflow", "--config", str(file)]) == 2
    assert "sources.everflow.api_key is missing: make a network API key" in capsys.readouterr().err
    file.write_text(file.read_text() + '[sources.everflow.repair]\nevery = "5 minutes"\nevry = "1h"\n')
    assert run(["status", "--config", str(file)]) == 2
    said = capsys.readouterr().err
    assert 'did you mean "every"' in said
    assert '"every" wants a duration, like "24h"' in said


@pytest.mark.parametrize("policy", ["mark", "delete", "leave_alone"])
def test_a_row_is_deleted_only_where_the_mapping_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], policy: str
) -> None:
    column = 'removed_column = "Gone on"\n' if policy == "mark" else ""
    mapping = (
        f'[target]\nremoved_records = "{policy}"\n{column}'
        '[key]\nfield = "ID"\n[fields]\n"ID" = "id"\n"Email" = "email"\n"Status" = "status"\n'
    )
    with FirstPromoterV1(30) as platform:
        file = configured(tmp_path, platform, mapping=mapping)
        for _ in range(2):
            assert run(["backfill", "firstpromoter", "--config", str(file)]) == 0
            assert run(["drain", "--config", str(file)]) == 0
            platform.rows.pop(7, None)
            time.sleep(0.01)
    lines = {line.split(",")[0]: line for line in (tmp_path / "table.csv").read_text().splitlines()}
    if policy == "delete":
        assert "firstpromoter:7" not in lines
    else:
        assert "p7@example.com,inactive" in lines["firstpromoter:7"]
    assert len(lines) == 31 - (policy == "delete")


def test_a_process_that_is_killed_goes_on_at_its_page(tmp_path: Path) -> None:
    with FirstPromoterV2(600) as platform:
        file = configured(tmp_path, platform)
        command = [sys.executable, "-m", "connector", "backfill", "firstpromoter", "--config", str(file)]
        platform.fault_for = lambda call: Fault("hang_after") if call.number == 4 else None
        process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        until(lambda: len(platform.calls) >= 4)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
        assert "600 affiliates read: 600 new" in done.stdout, done.stderr
        assert sorted(platform.reads.values())[-2:] == [1, 2]


def test_who_interrupts_a_reading_hears_that_it_goes_on_there(tmp_path: Path) -> None:
    with FirstPromoterV2(300) as platform:
        platform.fault_for = lambda call: Fault("hang_after") if call.number >= 3 else None
        command = [sys.executable, "-m", "connector", "backfill", "firstpromoter"]
        file = configured(tmp_path, platform)
        reading = subprocess.Popen([*command, "--config", str(file)], stderr=subprocess.PIPE, text=True)
        until(lambda: len(platform.calls) >= 3)
        reading.send_signal(signal.SIGINT)
        _, said = reading.communicate(timeout=60)
    assert reading.returncode == 130
    assert said.splitlines()[-1] == "firstpromoter: what was read is kept; the same command continues there"


def test_serve_reads_on_its_own_and_a_command_may_read_beside_it(tmp_path: Path) -> None:
    with FirstPromoterV2(40) as platform:
        file = configured(tmp_path, platform, more='[sources.firstpromoter.repair]\nevery = "24h"\n')
        (tmp_path / "key").write_text(f"{KEY}\n")
        text = file.read_text().replace("port = 1", "port = 0")
        file.write_text(text.replace(f'api_key = "{KEY}"', 'api_key_file = "key"'))
        command = [sys.executable, "-m", "connector"]
        words = ["--config", str(file)]
        log = tmp_path / "log.jsonl"
        with log.open("wb") as out:
            server = subprocess.Popen([*command, "serve", *words], cwd=root, stderr=out)
        try:
            until(lambda: b"reading.done" in log.read_bytes())
            until(lambda: (tmp_path / "table.csv").exists() and "firstpromoter:40," in table(tmp_path))
            platform.add(41)
            done = subprocess.run([*command, "backfill", "firstpromoter", *words], cwd=root, capture_output=True)
            assert b"41 affiliates read: 1 new, 0 changed, 0 missing." in done.stdout, done.stderr
            until(lambda: "firstpromoter:41," in table(tmp_path))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(PATIENCE_SECONDS)
        assert server.returncode == 0
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        (reading,) = [line for line in lines if line["event"] == "reading.done"]
        assert (reading["read"], reading["new"], reading["changed"], reading["gone"]) == (40, 40, 0, 0)
        assert KEY not in log.read_text(encoding="utf-8")


def table(folder: Path) -> str:
    return (folder / "table.csv").read_text()


def test_promoters_of_v2_are_asked_for_from_the_oldest_on(world: Callable[..., World]) -> None:
    here = world(FirstPromoterV2(3))
    here.read()
    assert here.platform.calls[0].query["sorting[joined_at]"] == ["asc"]
    assert promoter_v2(3)["id"] == 3
