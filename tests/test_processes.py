"""Which process owns what, on SQLite and on PostgreSQL: take-over, hand-over, and what a dead process leaves."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from connector.store import Store, worker_of
from connector.store.model import Result, RouteState, Saved
from connector.store.processes import LEASE_SECONDS
from tests.doubles import event
from tests.running import at_best
from tests.stores import LEASE, Place, place_in, save


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    cluster = request.getfixturevalue("cluster") if request.param == "postgresql" else None
    with place_in(tmp_path, cluster) as place:
        yield place


def process(place: Place, *routes: str, roles: tuple[str, ...] = ("receive", "deliver")) -> Store:
    store = place.open(worker=False)
    store.join(roles, routes or ("a/b",))
    store.enroll(routes or ["a/b"])
    return store


def die(store: Store, *names: str) -> None:
    """As if its last sign of life were too long ago."""
    ago = int((LEASE_SECONDS + 1) * 1e6)
    with store._engine.writing() as sql:
        sql.execute(f"UPDATE leases SET until = {store._engine.clock} - 1 WHERE holder = ?", (store._me,))
        sql.execute(f"UPDATE processes SET seen = {store._engine.clock} - ? WHERE id = ?", (ago, store._me))


def test_a_lease_has_one_holder_until_it_is_given_back_or_over(place: Place) -> None:
    one, other = process(place), process(place)
    assert one.acquire("projecting")
    assert one.acquire("projecting")
    assert not other.acquire("projecting")
    assert one.beat().mine == {"projecting"}
    assert other.beat().taken == {"projecting"}
    one.release("projecting")
    assert other.acquire("projecting")
    one.release("projecting")  # it is not one's any more
    assert not one.acquire("projecting")
    die(other)
    assert one.beat().taken == set()
    assert one.acquire("projecting")
    assert other.beat().mine == set()


def test_a_lease_lives_as_long_as_its_holder_gives_signs_of_life(place: Place) -> None:
    one, other = process(place), process(place)

    def seconds_of_the_last_lease() -> float:
        other.release("projecting")
        assert one.acquire("projecting")
        ends = time.monotonic() + LEASE_SECONDS + 0.6
        while time.monotonic() < ends:
            last = time.monotonic()
            one.beat()
            assert not other.acquire("projecting")
            time.sleep(0.3)
        while not other.acquire("projecting"):
            time.sleep(0.02)
        return time.monotonic() - last

    assert LEASE_SECONDS <= at_best(seconds_of_the_last_lease, 5) < 5


def test_processes_are_listed_with_what_they_own(place: Place) -> None:
    one, other = process(place), process(place, roles=("receive",))
    one.acquire("sink a")
    one.beat("the mapping of a/b differs")
    first, second = one.processes()
    assert (first.roles, first.owns, first.is_alive, first.note) == (
        ("receive", "deliver"), ("sink a",), True, "the mapping of a/b differs",
    )  # fmt: skip
    assert (second.roles, second.owns, second.note) == (("receive",), (), "")
    assert first.since <= first.seen
    assert one.beat().alive == {"receive": 2, "deliver": 1}
    die(one)
    assert [each.is_alive for each in other.processes()] == [False, True]
    assert other.beat().alive == {"receive": 1}
    other.leave()
    assert len(one.processes()) == 1


def test_a_process_whose_row_is_gone_is_seen_again_with_its_next_sign_of_life(place: Place) -> None:
    """A backup from before its start was restored."""
    one, other = process(place), process(place)
    one.leave()
    assert other.beat().alive == {"receive": 1, "deliver": 1}
    one.beat()
    assert other.beat().alive == {"receive": 2, "deliver": 2}


def test_a_process_on_postgresql_is_the_worker(place: Place) -> None:
    if place.is_file:
        pytest.skip("a file has one worker, by its lock")
    assert worker_of(place.url) is None
    store = process(place)
    assert str(worker_of(place.url)).startswith("process ")
    die(store)
    assert worker_of(place.url) is None


def test_only_the_owner_of_a_sink_takes_what_is_pending_for_it(place: Place) -> None:
    one, other = process(place), process(place)
    save(one, Saved("plain:1", 0, 1, b"{}"))
    assert one.take("a/b", 9, lease=LEASE) == []
    one.acquire("sink a")
    assert other.take("a/b", 9, lease=LEASE) == []
    assert len(one.take("a/b", 9, lease=LEASE)) == 1


def test_what_a_dead_process_had_taken_is_due_at_take_over_and_once_more_after_its_call(place: Place) -> None:
    one, other = process(place), process(place)
    save(one, *(Saved(f"plain:{n}", 0, 1, b"{}") for n in range(3)))
    one.acquire("sink a")
    first, second = one.take("a/b", 2, lease=LEASE)
    one.finish("a/b", [Result(first.record_id, 1, first.token, {"row 0": "{}"})])
    die(one)
    assert other.acquire("sink a", ["a/b"], late_call_seconds=60)
    place.clock.seconds += 1
    taken = other.take("a/b", 9, lease=LEASE)
    assert [each.record_id for each in taken] == ["plain:1", "plain:2"]
    other.finish("a/b", [Result(each.record_id, 1, each.token, {each.record_id: "{}"}) for each in taken])
    one.finish("a/b", [Result(second.record_id, 1, second.token, {second.record_id: '{"late": 1}'})])
    place.clock.seconds += 1
    taken = other.take("a/b", 9, lease=LEASE)  # the late answer can't tell which write came last
    assert [each.record_id for each in taken] == ["plain:1"]
    other.finish("a/b", [Result(each.record_id, 1, each.token, {each.record_id: "{}"}) for each in taken])
    assert other.repeat_late(["a/b"]) == 0
    place.clock.seconds += 61
    assert other.repeat_late(["a/b"]) == 1
    assert other.written("a/b", ["plain:1"])[0].again, "it is sent in full, although nothing is new"
    assert [each.record_id for each in other.take("a/b", 9, lease=LEASE)] == ["plain:1"]
    assert other.repeat_late(["a/b"]) == 0


def test_what_was_taken_is_due_at_once_after_a_hand_over(place: Place) -> None:
    one, other = process(place), process(place)
    save(one, Saved("plain:1", 0, 1, b"{}"))
    one.acquire("sink a")
    assert len(one.take("a/b", 9, lease=LEASE)) == 1
    one.release("sink a")
    assert other.acquire("sink a", ["a/b"], late_call_seconds=60)
    assert len(other.take("a/b", 9, lease=LEASE)) == 1
    place.clock.seconds += 61
    assert other.repeat_late(["a/b"]) == 0


def test_a_process_does_not_drop_the_routes_of_others(place: Place) -> None:
    one, other = process(place, "a/b", "c/d"), process(place, "a/b")
    assert {route.route for route in other.status().routes} == {"a/b", "c/d"}
    die(one)
    other.enroll(["a/b"])
    assert {route.route for route in other.status().routes} == {"a/b"}


def test_nothing_is_taken_from_a_process_of_the_release_before(place: Place) -> None:
    store = process(place)
    with store._engine.writing() as sql:
        sql.execute(f"INSERT INTO leases VALUES ('worker', 'process 1 on there', {store._engine.clock} + 60000000)")
    assert not store.acquire("projecting")
    with store._engine.writing() as sql:
        sql.execute(f"UPDATE leases SET until = {store._engine.clock} - 1")
    assert store.acquire("projecting")


def test_of_many_that_ask_at_once_one_gets_the_lease(place: Place) -> None:
    stores = [process(place) for _ in range(4)]
    got: list[int] = []
    ready = threading.Barrier(4)

    def ask(number: int) -> None:
        ready.wait()
        got.extend(name for name in range(10) if stores[number].acquire(f"sink {name}"))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(10))


def test_a_forgotten_person_is_not_written_once_more(place: Place) -> None:
    one, other = process(place), process(place)
    save(one, Saved("plain:1", 0, 1, b"{}"))
    one.acquire("sink a")
    one.take("a/b", 9, lease=LEASE)
    die(one)
    other.acquire("sink a", ["a/b"], late_call_seconds=0)
    other.forget(["plain:1"], set())
    place.clock.seconds += 1
    assert other.repeat_late(["a/b"]) == 0
    other.append([event(1)])
    assert other.status().records == 0


def test_a_pause_lasts_as_long_on_a_machine_whose_clock_is_right(place: Place) -> None:
    """The clock of the first is two hours ahead of the database's."""
    if place.is_file:
        pytest.skip("a file is of one machine")
    two_hours = timedelta(hours=2)
    ahead = Store(place.url, worker=False, now=lambda: place.clock() + two_hours)
    ahead._engine.clock_offset = -int(two_hours.total_seconds() * 1e6)
    ahead.join(["deliver"], ["a/b"])
    ahead.enroll(["a/b"])
    save(ahead, Saved("plain:1", 0, 1, b"{}"))
    paused = RouteState(
        "waiting", "down", place.clock() + two_hours + timedelta(minutes=1), 1, place.clock() + two_hours
    )
    ahead.set_route_state("a/b", paused)
    right = process(place)
    assert ahead.route_state("a/b") == paused
    state = right.route_state("a/b")
    assert (state.paused_until, state.since) == (place.clock() + timedelta(minutes=1), place.clock())
    assert right.status().routes[0].oldest_since == place.clock()
    ahead.beat()  # that clock is put right meanwhile
    assert abs(ahead._engine.clock_offset) < two_hours.total_seconds() * 1e6 / 2
    ahead.close()


def test_the_clock_of_the_process_does_not_decide(place: Place) -> None:
    one, other = process(place), process(place)
    place.clock.seconds += 86_400 * 365
    assert one.acquire("projecting")
    place.clock.seconds -= timedelta(days=900).total_seconds()
    assert not other.acquire("projecting")
