from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest
from msgspec.structs import replace

from connector.core.facts import AffiliateUpdate, load_facts
from connector.core.lenient import micros_of
from connector.core.source import API_TOPIC, Event
from connector.core.view import view
from connector.projector import Projected, Projector
from connector.store import Store
from connector.store.model import Batch
from tests.doubles import START, PlainSource, World, event
from tests.running import until


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def email(store: Store, affiliate: int) -> str | None:
    record_id = f"plain:{affiliate}"
    return view(record_id, load_facts(store.load([record_id])[record_id].facts)).email


def test_events_become_one_record_an_affiliate(world: World) -> None:
    world.say(event(1, 1, email="a@example.com"), event(2, 1, email="b@example.com"), event(1, 2, company="c"))
    assert world.store.record_ids() == ["plain:1", "plain:2"]
    assert email(world.store, 1) == "a@example.com"
    assert world.pending() == 2


def test_any_order_ends_in_the_same_record(tmp_path: Path) -> None:
    said = [event(n % 3, n, email=f"{n}@example.com") for n in range(30)]
    ends = []
    for seed in range(4):
        random.Random(seed).shuffle(said)
        world = World(tmp_path / str(seed))
        for some in (said[:7], said[7:19], said[19:], said[3:9]):
            world.say(*some)
        ends.append({i: known.facts for i, known in world.store.load(world.store.record_ids()).items()})
        world.close()
    assert all(
        sorted(load_facts(end[i]).items()) == sorted(load_facts(ends[0][i]).items()) for end in ends for i in end
    )


def test_a_duplicate_changes_nothing_and_is_counted(world: World) -> None:
    world.say(event(1, email="a@example.com"), event(1, email="a@example.com"))
    world.deliver()
    world.say(event(1, email="a@example.com"))
    assert world.pending() == 0
    (status,) = world.store.status().sources
    assert (status.received, status.duplicates) == (3, 2)


def test_a_second_delivery_does_not_bring_back_who_was_forgotten(world: World) -> None:
    said = event(1, key="k", email="a@example.com")
    world.say(said)
    world.store.forget(["plain:1"], [1])
    world.say(said)
    assert world.store.record_ids() == []
    assert world.store.mentions_of(["plain:1"]) == set()
    world.say(event(1, key="another", email="a@example.com"))
    assert world.store.record_ids() == ["plain:1"]


def test_the_same_key_of_another_source_is_no_duplicate(world: World) -> None:
    other = Event("other", "k", "said", 1, event(1).received_at, b"{}")
    world.say(event(1, key="k", email="a@example.com"), other)
    assert [status.duplicates for status in world.store.status().sources] == [0, 0]


def test_an_event_whose_time_can_not_be_read_is_counted(world: World) -> None:
    """A source stamps it by its arrival; what is read from an API always is, and is none."""
    dated = event(1, key="a", email="a@example.com")
    arrival = micros_of(dated.received_at)
    undated = replace(dated, key="b", at=arrival)
    world.say(replace(dated, at=arrival - 1), undated, undated, replace(undated, key="c", topic=f"{API_TOPIC}row"))
    (status,) = world.store.status().sources
    assert (status.received, status.undated) == (3, 2)


def test_an_event_about_nobody_is_counted_and_owes_nothing(world: World) -> None:
    world.say(event(None, note="test delivery"))
    (status,) = world.store.status().sources
    assert (status.no_affiliate, status.unreadable) == (1, 0)
    assert world.pending() == 0
    assert world.letters.list() == []


@pytest.mark.parametrize("topic", ["unreadable", "bug"])
def test_what_nobody_can_read_is_a_letter_and_the_rest_of_its_batch_goes_on(world: World, topic: str) -> None:
    world.say(event(1, email="a@example.com"), event(2, topic=topic, email="b@example.com"), event(3, company="c"))
    assert world.store.record_ids() == ["plain:1", "plain:3"]
    (letter,) = world.letters.list()
    assert (letter.stage, letter.place) == ("normalize", "plain")
    assert "secret@example.com" not in letter.reason
    assert world.store.status().sources[0].unreadable == 1


@pytest.mark.parametrize("topic", ["unreadable", "bug"])
def test_a_replay_after_the_source_was_taught_ends_in_a_record(world: World, topic: str) -> None:
    world.say(event(2, topic=topic, email="b@example.com"))
    (letter,) = world.letters.list()
    world.letters.replay([letter.id], world.store)
    world.say()
    assert [again.id for again in world.letters.list()] == [letter.id], "still nobody can read it: the same letter"
    world.source.taught = True
    world.letters.replay([letter.id], world.store)
    world.letters.replay([letter.id], world.store)
    world.say()
    assert email(world.store, 2) == "b@example.com"
    assert world.letters.list() == []


def test_a_death_after_the_commit_leaves_no_letter_open_of_an_event_that_was_read(world: World) -> None:
    world.say(event(2, topic="unreadable", email="b@example.com"))
    assert len(world.letters.list()) == 1
    world.source.taught = True
    world.store.replay([event(2, topic="unreadable", email="b@example.com")])
    dying = cast(Store, _DiesAtCommit(world.store, commits=True))
    with pytest.raises(LightsOut):
        Projector(dying, {"plain": world.source}, world.letters, stop=world.stop, now=world.clock).step()
    world.close()
    world.open()
    world.say()
    assert email(world.store, 2) == "b@example.com"
    assert world.letters.list() == []


def test_catching_up_goes_on_when_somebody_is_forgotten_meanwhile(world: World) -> None:
    world.store.append([event(n, email="a@example.com") for n in range(3)])
    forgetful = _ForgetsMeanwhile(world.folder / "c.db")
    Projector(
        world.store, {"plain": forgetful}, world.letters, stop=world.stop, now=world.clock, batch_events=2
    ).catch_up()
    assert forgetful.gone == 1
    assert world.store.record_ids() == ["plain:0", "plain:2"]


class _ForgetsMeanwhile(PlainSource):
    """While the first batch is read, another process forgets its second event."""

    def __init__(self, store: Path) -> None:
        super().__init__("plain")
        self._path, self.gone = store, 0

    def normalize(self, event: Event) -> Sequence[AffiliateUpdate]:
        if not self.gone:
            visitor = Store(str(self._path), worker=False, now=lambda: START)
            self.gone = visitor.forget(["plain:1"], [2]).events
            visitor.close()
        return super().normalize(event)


def test_an_event_that_breaks_the_folding_is_set_aside_when_it_comes_alone(world: World) -> None:
    world.say(event(57, topic="unfoldable", email="a@example.com"))
    assert [letter.code for letter in world.letters.list()] == ["bug"]
    world.say(event(58, email="a@example.com"))
    assert world.store.record_ids() == ["plain:58"]


def test_an_event_that_breaks_the_folding_is_set_aside_and_the_others_go_on(world: World) -> None:
    said = [event(n, email="a@example.com") for n in range(100)]
    said[57] = event(57, topic="unfoldable", email="a@example.com")
    world.say(*said)
    assert len(world.store.record_ids()) == 99
    (letter,) = world.letters.list()
    assert (letter.subject, letter.code) == (said[57].key, "bug")
    assert world.store.status().sources[0].received == 100


def test_a_replay_works_when_the_event_was_pruned(world: World) -> None:
    world.say(event(2, topic="unreadable", email="b@example.com"))
    world.clock.seconds += 100 * 24 * 3600
    assert world.store.prune(world.clock()) == 1
    world.source.taught = True
    world.letters.replay([letter.id for letter in world.letters.list()], world.store)
    world.say()
    assert email(world.store, 2) == "b@example.com"


def test_an_event_of_a_source_that_left_the_configuration_waits_as_a_letter(world: World) -> None:
    world.say(Event("gone", "k", "said", 1, event(1).received_at, b"{}"))
    (letter,) = world.letters.list()
    assert (letter.place, letter.code) == ("gone", "unknown_source")
    assert "[sources.gone]" in letter.reason


def test_a_crash_between_the_letter_and_the_commit_repeats_neither(world: World) -> None:
    world.store.append([event(2, topic="unreadable", email="b@example.com"), event(1, email="a@example.com")])
    dying = cast(Store, _DiesAtCommit(world.store))
    first = Projector(dying, {"plain": world.source}, world.letters, stop=world.stop, now=world.clock)
    with pytest.raises(LightsOut):
        first.step()
    assert world.store.status().waiting == 2
    world.close()
    world.open()
    while world.projector.step():
        pass
    assert len(world.letters.list()) == 1
    assert len((world.folder / "dead.jsonl").read_text().splitlines()) == 1
    (status,) = world.store.status().sources
    assert (status.received, status.unreadable) == (2, 1)


class LightsOut(BaseException):
    """No ``except Exception`` sees it, as none would see a SIGKILL."""


class _DiesAtCommit:
    """A store whose process dies when it is asked to commit a batch, or (*commits*) right after that."""

    def __init__(self, store: Store, *, commits: bool = False) -> None:
        self._store, self._commits = store, commits

    def __getattr__(self, name: str) -> object:
        if name == "commit":
            return self._die
        return getattr(self._store, name)

    def _die(self, batch: Batch) -> None:
        if self._commits:
            self._store.commit(batch)
        raise LightsOut


def test_it_projects_what_came_while_it_was_down_after_a_restart(world: World) -> None:
    world.store.append([event(n, email="a@example.com") for n in range(10)])
    world.projector.step()
    world.store.append([event(n, email="b@example.com") for n in range(10, 20)])
    world.close()
    world.open()
    world.say()
    assert len(world.store.record_ids()) == 20


def test_a_batch_takes_many_events_about_few_affiliates_and_ends_when_they_are_many(world: World) -> None:
    world.store.append([event(n % 7, n, email=f"{n}@example.com") for n in range(3_000)])
    assert world.projector.step() == 3_000
    assert {known.version for known in world.store.load(world.store.record_ids()).values()} == {1}
    world.store.append([event(n, 3_000, email=f"{n}@example.com") for n in range(3_000)])
    first = world.projector.step()
    assert 1_200 <= first <= 1_700
    assert world.projector.step() == 3_000 - first
    assert world.store.status().records == 3_000
    assert email(world.store, 6) == "6@example.com"


def test_a_batch_ends_early_when_the_program_stops(world: World) -> None:
    world.store.append([event(n % 7, n, email=f"{n}@example.com") for n in range(3_000)])
    world.stop.set()
    assert 0 < world.projector.step() < 3_000
    world.say()
    assert world.store.status().sources[0].received == 3_000


def test_an_event_that_is_committed_behind_a_later_one_is_projected(world: World) -> None:
    """As on PostgreSQL, where numbers become visible out of order."""
    world.store.append([event(1, email="late@example.com"), event(2, email="b@example.com")])
    with world.store._engine.writing() as sql:
        (seq,) = sql.execute("SELECT min(seq) FROM todo").fetchone()
        sql.execute("DELETE FROM todo WHERE seq = ?", (seq,))
    world.say()
    assert world.store.record_ids() == ["plain:2"]
    with world.store._engine.writing() as sql:
        sql.execute("INSERT INTO todo VALUES (?)", (seq,))
    world.say()
    assert world.store.record_ids() == ["plain:1", "plain:2"]


def test_two_projectors_fold_every_event_exactly_once(world: World) -> None:
    world.store.append([event(n % 50, n, email=f"{n}@example.com") for n in range(2_000)])
    visitor = Store(str(world.folder / "c.db"), worker=False, now=world.clock)
    second = Projector(
        visitor, {"plain": world.source}, world.letters, stop=world.stop, now=world.clock, batch_events=97
    )
    first = Projector(
        world.store, {"plain": world.source}, world.letters, stop=world.stop, now=world.clock, batch_events=61
    )
    threads = [threading.Thread(target=each.catch_up) for each in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    visitor.close()
    assert world.store.status().waiting == 0
    (source,) = world.store.status().sources
    assert (source.received, source.duplicates) == (2_000, 0)
    assert email(world.store, 7) == "1957@example.com"


def test_its_thread_wakes_up_for_an_event_and_stops_when_told(world: World) -> None:
    seen: list[Projected] = []
    came = threading.Event()

    def report(done: Projected) -> None:
        seen.append(done)
        came.set()

    projector = Projector(
        world.store, {"plain": world.source}, world.letters, stop=world.stop, now=world.clock, report=report
    )
    thread = threading.Thread(target=projector.run)
    thread.start()
    world.store.append([event(1, email="a@example.com")])
    assert came.wait(60)
    world.stop.set()
    thread.join(60)
    assert not thread.is_alive()
    assert (seen[0].events, seen[0].records) == (1, 1)


def test_its_thread_finds_what_another_process_received(world: World) -> None:
    came = threading.Event()
    projector = Projector(
        world.store, {"plain": world.source}, world.letters, stop=world.stop, now=world.clock,
        report=lambda done: came.set(),
    )  # fmt: skip
    thread = threading.Thread(target=projector.run)
    thread.start()
    visitor = Store(str(world.folder / "c.db"), worker=False, now=world.clock)
    visitor.append([event(1, email="a@example.com")])
    visitor.close()
    assert came.wait(60)
    world.stop.set()
    thread.join(60)
    assert world.store.record_ids() == ["plain:1"]


def test_tries_that_failed_count_no_longer_when_another_process_projects(world: World) -> None:
    projector = Projector(world.store, {"plain": world.source}, world.letters, stop=world.stop, now=world.clock)
    file = world.folder / "c.db"
    file.rename(world.folder / "away.db")
    thread = threading.Thread(target=projector.run)
    thread.start()
    until(lambda: projector.failures)
    world.stop.set()
    thread.join(60)
    assert projector.failures == 0
    (world.folder / "away.db").rename(file)
