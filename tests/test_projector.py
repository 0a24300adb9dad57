from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import permutations
from pathlib import Path
from typing import cast

import pytest

from connector.core.facts import AffiliateUpdate, load_facts
from connector.core.lenient import micros_of
from connector.core.source import Event
from connector.core.view import view
from connector.projector import Projected, Projector
from connector.store.model import Batch
from connector.store.store import Store, open_store
from tests.doubles import START, PlainSource, World, event


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


def facts_of(world: World, affiliate: int) -> dict[str, object]:
    record_id = f"plain:{affiliate}"
    return dict(load_facts(world.store.load([record_id])[record_id].facts))


@pytest.mark.parametrize("batches", ["one", "two"])
def test_bodies_that_share_a_key_end_in_the_same_record_in_any_order(tmp_path: Path, batches: str) -> None:
    """FirstPromoter's short and full bodies carry one event id."""
    short = event(1, key="k", email="a@example.com")
    full = event(1, key="k", email="a@example.com", company="c", first_name="Ada")
    nobody = event(None, key="k", note="names nobody")
    ends = []
    for number, said in enumerate(permutations([short, full, full, nobody])):
        world = World(tmp_path / str(number))
        if batches == "one":
            world.say(*said)
        else:
            for one in said:
                world.say(one)
        ends.append(facts_of(world, 1))
        (status,) = world.store.status().sources
        assert (status.received, status.duplicates + status.no_affiliate) == (4, 3)
        world.close()
    assert all(end == ends[0] for end in ends)
    assert ends[0].keys() >= {"email", "company", "first_name"}


def test_a_fuller_second_delivery_is_owed_and_an_equal_one_is_not(world: World) -> None:
    world.say(event(1, key="k", email="a@example.com"))
    world.deliver()
    world.say(event(1, key="k", email="a@example.com"))
    assert world.pending() == 0
    world.say(event(1, key="k", email="a@example.com", company="c"))
    assert world.pending() == 1
    assert [stored.seq for stored in world.store.events_of("plain:1")] == [1, 2, 3]


def test_a_second_delivery_that_cannot_be_read_makes_no_letter(world: World) -> None:
    world.say(event(1, key="k", email="a@example.com"), event(1, key="k", topic="unreadable", email="a@example.com"))
    world.say(event(1, key="k", topic="bug", email="a@example.com"))
    assert world.letters.list() == []
    unread = event(2, key="u", topic="unreadable", email="b@example.com")
    world.say(unread, unread)
    world.say(unread)
    assert len(world.letters.list()) == 1


def test_a_second_delivery_without_a_time_does_not_bring_back_what_was_overtaken(world: World) -> None:
    """The source stamps such an event with its arrival: a resend would make old facts look new."""

    def undated(seconds: int, **said: str) -> Event:
        at = START + timedelta(seconds=seconds)
        return Event("plain", f"k {said}", "said", micros_of(at), at, json.dumps({"id": "1", **said}).encode())

    world.say(undated(1, email="old@example.com"))
    world.say(undated(2, email="new@example.com"))
    world.say(undated(3, email="old@example.com"))
    assert email(world.store, 1) == "new@example.com"


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
    world.store.append([event(2, topic="unreadable", email="b@example.com")])
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
            visitor = open_store(str(self._path), worker=False, now=lambda: START)
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
    assert world.store.cursor() == 0
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


def test_a_batch_ends_early_when_requests_press_or_the_program_stops(world: World) -> None:
    world.store.append([event(n % 7, n, email=f"{n}@example.com") for n in range(3_000)])
    pressed = cast(Store, _PressedAfterAWhile(world.store))
    hurried = Projector(pressed, {"plain": world.source}, world.letters, stop=world.stop, now=world.clock)
    first = hurried.step()
    assert 50 < first < 3_000
    assert hurried.step() == 50
    world.stop.set()
    assert 0 < world.projector.step() < 3_000 - first - 50
    world.say()
    assert world.store.status().sources[0].received == 3_000


class _PressedAfterAWhile:
    """A store whose intake is pressed from the second time on that somebody asks."""

    def __init__(self, store: Store) -> None:
        self._store, self._asked = store, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def intake_pressed(self) -> bool:
        self._asked += 1
        return self._asked > 1


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
    assert came.wait(30)
    world.stop.set()
    thread.join(30)
    assert not thread.is_alive()
    assert (seen[0].events, seen[0].records) == (1, 1)
