"""What the store promises, on SQLite and on PostgreSQL."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from msgspec.structs import replace

from connector.core.source import API_TOPIC
from connector.store import Store, worker_of
from connector.store.model import (
    Batch,
    DeliveryLine,
    Later,
    LogLine,
    Overtaken,
    Pending,
    Result,
    RouteState,
    Saved,
    StoreDamaged,
    StoreInUse,
    Tally,
)
from connector.store.store import open_engine
from connector.store.tables import FORMAT
from tests.doubles import START, Clock, event
from tests.postgres import Cluster
from tests.running import PATIENCE_SECONDS
from tests.stores import LEASE, Place, place_in, project_all, save


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    cluster = request.getfixturevalue("cluster") if request.param == "postgresql" else None
    with place_in(tmp_path, cluster) as place:
        yield place


@pytest.fixture
def store(place: Place) -> Store:
    return place.open()


# ---------------------------------------------------------------- opening


def test_it_keeps_everything_over_a_restart(place: Place) -> None:
    store = place.open()
    store.append([event(1)])
    store.close()
    again = place.open()
    assert [stored.event for stored in again.read_events(0, 10)] == [event(1)]
    assert again.status().waiting == 1


def test_a_second_worker_of_a_file_is_refused_with_the_reason_and_visitors_are_not(place: Place) -> None:
    store = place.open()
    if place.is_file:
        assert str(worker_of(place.url)).startswith("process ")
        with pytest.raises(StoreInUse, match=r"in use by another connector \(process "):
            place.open()
    else:
        place.open()  # what each owns is a matter of leases
    assert place.open(worker=False).status().records == 0
    store.close()
    assert worker_of(place.url) is None
    place.open()


def test_a_store_of_a_newer_format_is_refused(place: Place) -> None:
    store = place.open()
    with store._engine.writing() as sql:
        sql.execute("UPDATE state SET value = 99 WHERE name = 'format'")
    store.close()
    with pytest.raises(StoreDamaged, match=r"newer version of the connector \(format 99"):
        place.open()


def make_format_1(place: Place) -> None:
    """What the first release with this store made, by its own text."""
    with closing(open_engine(place.url)) as engine, engine.making() as sql:
        text = (Path(__file__).parent / "format_1.sql").read_text(encoding="utf-8")
        for statement in text.format(serial=engine.serial, blob=engine.blob, without_rowid=engine.without_rowid).split(
            ";\n"
        ):
            if statement.strip():
                sql.execute(statement)
        sql.execute("INSERT INTO state VALUES ('format', 1), ('epoch', 4)")
        sql.execute("INSERT INTO notes VALUES ('connector', 'clock believed', ?)", (START.isoformat(),))
        sql.execute("INSERT INTO notes VALUES ('connector', 'key of the forgotten', ?)", ("ab" * 32,))
        sql.execute("INSERT INTO records VALUES ('plain:1', 3, '{}')")
        sql.execute("INSERT INTO routes (route) VALUES ('a/b')")
        sql.execute("INSERT INTO written VALUES ('a/b', '1', 'plain:1', 3, 1, '{}')")
        sql.execute(
            "INSERT INTO deliveries (route, record_id, key, version, at, kind, code, cells)"
            " VALUES ('a/b', 'plain:1', '1', 3, 1, 'written', '', '{}')"
        )


def columns_of(store: Store) -> dict[str, list[str]]:
    with store._engine.reading() as sql:
        tables = sorted(name for (name,) in sql.execute(store._engine.catalog).fetchall() if "sqlite" not in name)
        return {
            name: [column[0] for column in sql.execute(f"SELECT * FROM {name} LIMIT 0").description] for name in tables
        }


def format_of(store: Store) -> int:
    with store._engine.reading() as sql:
        return int(sql.execute("SELECT value FROM state WHERE name = 'format'").fetchone()[0])


def test_a_store_of_format_1_is_upgraded_in_place_and_keeps_what_it_has(place: Place, tmp_path: Path) -> None:
    make_format_1(place)
    store = place.open()
    assert format_of(store) == FORMAT
    assert store.epoch() == 4
    assert store.load(["plain:1"])["plain:1"].version == 3
    assert [row.key for row in store.written("a/b", ["plain:1"])] == ["1"]
    status = store.status()
    assert (status.records, status.routes[0].rows, status.routes[0].affiliates) == (1, 1, 1)
    store.append([event(1)])
    new = Store(f"sqlite:///{tmp_path}/new.db", worker=True, now=place.clock)
    assert columns_of(store) == columns_of(new)
    new.close()


def test_two_processes_may_upgrade_a_store_at_once(place: Place) -> None:
    make_format_1(place)
    ready, found = threading.Barrier(4), list[int]()

    def open_it() -> None:
        ready.wait()
        store = Store(place.url, worker=False, now=place.clock)
        found.append(format_of(store))
        store.close()

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [FORMAT] * 4


def test_two_first_starts_at_the_same_time_make_one_store(place: Place) -> None:
    gate = threading.Barrier(4)
    errors: list[Exception] = []

    def start() -> None:
        gate.wait()
        try:
            place.open(worker=False).append([event(1)])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(place.open().read_events(0, 10)) == 1


def test_the_clock_of_a_new_store_is_noted_when_it_is_made(place: Place) -> None:
    assert place.open().recall("connector", "clock believed") == START.isoformat()


# ---------------------------------------------------------------- inbox


def test_what_is_appended_is_read_back_in_order(store: Store) -> None:
    said = [event(n, at=n, email="Ada Ł \U0001f600@example.com") for n in range(30)]
    for start in range(0, 30, 10):
        store.append(said[start : start + 10])
    assert sorted(stored.event.at for stored in store.read_events(0, 100)) == list(range(30))
    assert [stored.event.at // 10 for stored in store.read_events(10, 10)] == [1] * 10
    assert {stored.event for stored in store.read_events(0, 100, todo=True)} == set(said)
    (first,) = store.read_events(20, 9, most_bytes=1)
    assert first.seq == 21


def test_a_second_delivery_is_counted_and_not_kept(store: Store) -> None:
    later = START + timedelta(seconds=5)
    store.append([event(1, 1), event(1, 1), event(2, 1)])
    store.append([replace(event(1, 7, key=event(1, 1).key), received_at=later), event(3, 1, topic=f"{API_TOPIC}row")])
    store.append([event(3, 1, topic=f"{API_TOPIC}row")])
    (source,) = store.status().sources
    # Those that are new are counted when they are projected; what was read from an API is no webhook that came in.
    assert (source.received, source.duplicates, source.last_received_at) == (2, 3, later)
    assert sorted(stored.event.key for stored in store.read_events(0, 10)) == sorted(
        [event(1, 1).key, event(2, 1).key, event(3, 1, topic=f"{API_TOPIC}row").key]
    )


def test_the_same_key_of_another_source_is_no_duplicate(store: Store) -> None:
    store.append([event(1, key="k"), replace(event(1, key="k"), source="other")])
    assert len(store.read_events(0, 10)) == 2


def test_it_tells_which_events_it_would_take_as_new(store: Store) -> None:
    store.append([event(n) for n in range(700)])
    asked = [event(n) for n in range(690, 702)]
    assert store.unseen(asked) == {("plain", event(n).key) for n in (700, 701)}


def test_an_event_is_projected_again_when_it_is_replayed_kept_or_not(store: Store) -> None:
    store.append([event(1), event(2)])
    project_all(store)
    store.replay([event(1), event(9)])
    store.replay([event(1)])
    assert [stored.event for stored in store.read_events(0, 10, todo=True)] == [event(1), event(9)]
    assert store.status().waiting == 2
    assert len(store.read_events(0, 10)) == 3


def test_an_event_that_can_not_be_stored_does_not_take_its_group_along(store: Store) -> None:
    answers: dict[object, Exception | None] = {}
    done = threading.Event()

    def deliver(tickets: list[object], error: Exception | None) -> None:
        answers.update(dict.fromkeys(tickets, error))
        if len(answers) == 3:
            done.set()

    store.start_intake(deliver)
    store.submit([event(1), event(2, at=2**70), event(3)], ["good", "bad", "good too"])
    assert done.wait(PATIENCE_SECONDS)
    assert answers["good"] is answers["good too"] is None
    assert str(answers["bad"]).startswith("the event can't be stored")


# ---------------------------------------------------------------- projection


def test_a_batch_is_committed_whole(store: Store) -> None:
    store.enroll(["a/b"])
    store.append([event(1)])
    (stored,) = store.read_events(0, 10, todo=True)
    tally = Tally(received=1, last_at=7)
    store.commit(
        Batch(store.epoch(), [stored.seq], [Saved("plain:1", 0, 1, b"{}")], [(stored.seq, "plain:1")], {"plain": tally})
    )
    assert store.load(["plain:1", "plain:2"])["plain:1"].facts == b"{}"
    status = store.status()
    assert (status.records, status.waiting, status.routes[0].pending, status.sources[0].received) == (1, 0, 1, 1)
    assert [stored.event for stored in store.events_of("plain:1")] == [event(1)]
    assert [pending.route for pending in store.pending_of("plain:1")] == ["a/b"]


def test_a_batch_that_was_overtaken_changes_nothing(store: Store) -> None:
    store.append([event(1), event(2)])
    epoch, seqs = store.epoch(), [stored.seq for stored in store.read_events(0, 10, todo=True)]
    store.commit(Batch(epoch, seqs[:1], [Saved("plain:1", 0, 1, b"{}")]))
    with pytest.raises(Overtaken):
        store.commit(Batch(epoch, seqs, [Saved("plain:2", 0, 1, b"{}")], tallies={"plain": Tally(received=9)}))
    assert [stored.seq for stored in store.read_events(0, 10, todo=True)] == seqs[1:]
    assert store.load(["plain:2"]) == {}
    assert store.status().sources == ()


def test_a_record_that_says_nothing_new_is_kept_but_not_pending(store: Store) -> None:
    store.enroll(["a/b"])
    save(store, Saved("plain:1", 0, 1, b"one"))
    (pending,) = store.take("a/b", 9, lease=LEASE)
    store.finish("a/b", [Result("plain:1", pending.version, pending.token)])
    save(store, Saved("plain:1", 1, 1, b"two"))
    assert store.load(["plain:1"])["plain:1"].facts == b"two"
    assert store.status().routes[0].pending == 0


def test_many_records_are_saved_loaded_and_listed(store: Store) -> None:
    ids = sorted(f"plain:{n}" for n in range(1_500))
    save(store, *(Saved(record_id, 0, 1, record_id.encode()) for record_id in ids))
    assert {record_id: known.facts for record_id, known in store.load(ids).items()} == {i: i.encode() for i in ids}
    assert store.record_ids() == ids[:1000]
    assert store.record_ids(ids[999]) == ids[1000:]
    assert store.status().records == 1_500


# ---------------------------------------------------------------- routes


def test_for_a_new_route_every_record_is_pending_and_a_dropped_one_is_forgotten(store: Store) -> None:
    save(store, Saved("plain:1", 0, 1, b"{}"), Saved("plain:2", 0, 1, b"{}"))
    assert store.enroll(["a/b"]) == ["a/b"]
    assert store.enroll(["a/b"]) == []
    assert [pending.record_id for pending in store.take("a/b", 9, lease=LEASE)] == ["plain:1", "plain:2"]
    store.enroll([])
    assert store.status().routes == ()
    assert store.enroll(["a/b"]) == ["a/b"]
    assert len(store.take("a/b", 9, lease=LEASE)) == 2


def test_records_are_taken_in_the_order_of_their_ids_and_round_the_end(store: Store) -> None:
    store.enroll(["a/b"])
    save(store, *(Saved(f"plain:{n}", 0, 1, b"{}") for n in range(6)))
    first = [pending.record_id for pending in store.take("a/b", 4, lease=LEASE, after="plain:3")]
    assert first == ["plain:4", "plain:5", "plain:0", "plain:1"]
    assert [pending.record_id for pending in store.take("a/b", 9, lease=LEASE)] == ["plain:2", "plain:3"]


def test_isolated_records_are_taken_by_themselves(place: Place) -> None:
    store = place.open()
    store.enroll(["a/b"])
    save(store, *(Saved(f"plain:{n}", 0, 1, b"{}") for n in range(4)))
    store.isolate("a/b", ["plain:2"], START + timedelta(seconds=5))
    assert store.take("a/b", 9, lease=LEASE, isolated=True) == []
    assert len(store.take("a/b", 9, lease=LEASE)) == 3
    assert store.next_due("a/b") == START + timedelta(seconds=5)
    place.clock.seconds = 6
    (own,) = store.take("a/b", 9, lease=LEASE, isolated=True)
    assert (own.record_id, own.isolated, own.tries, own.failing_since) == ("plain:2", True, 1, START)


def test_what_is_put_back_is_due_later_with_its_reason(place: Place) -> None:
    store = place.open()
    store.enroll(["a/b"])
    save(store, Saved("plain:1", 0, 1, b"{}"), Saved("plain:2", 0, 1, b"{}"))
    one, two = store.take("a/b", 9, lease=LEASE)
    due = START + timedelta(seconds=90)
    store.finish("a/b", [
        Result(one.record_id, 1, one.token, later=Later(due, "down")),
        Result(two.record_id, 1, two.token, later=Later(START, "quota", failed=False)),
    ])  # fmt: skip
    (pending,) = store.pending_of("plain:1")
    assert (pending.due_at, pending.tries, pending.reason) == (due, 1, "down")
    assert store.status().routes[0].retrying == 1
    (again,) = store.take("a/b", 9, lease=LEASE)
    assert (again.record_id, again.tries, again.failing_since) == ("plain:2", 0, None)


def test_a_late_answer_can_not_settle_newer_work_and_the_row_is_written_again(place: Place) -> None:
    store = place.open()
    store.enroll(["a/b"])
    save(store, Saved("plain:1", 0, 1, b"{}"))
    (mine,) = store.take("a/b", 9, lease=LEASE)
    assert store.under_way(["plain:1"])
    place.clock.seconds = 61
    assert not store.under_way(["plain:1"])
    (theirs,) = store.take("a/b", 9, lease=LEASE)
    store.finish("a/b", [Result("plain:1", 1, theirs.token, written={"plain:1": "{}"})])
    assert store.status().routes[0].pending == 0
    late = '{"Name":"late"}'
    store.finish("a/b", [Result("plain:1", 1, mine.token, written={"plain:1": late})])
    assert store.status().routes[0].pending == 1
    (row,) = store.written("a/b", ["plain:1"])
    assert (row.cells, row.tried, row.again) == ("{}", f"{late}\n", True)  # in full; either may be there, both are ours


def test_what_was_tried_is_known_until_the_row_is_settled(place: Place) -> None:
    store = place.open()
    store.enroll(["a/b"])
    save(store, Saved("plain:1", 0, 1, b"{}"))
    (one,) = store.take("a/b", 9, lease=LEASE)
    store.note_tries("a/b", {"plain:1": '{"Name":"new row"}'})  # there is no base to compare with
    assert store.written("a/b", ["plain:1"]) == []
    store.finish(
        "a/b", [Result("plain:1", 1, one.token, {"plain:1": '{"Name":"A"}'}, held={"plain:1": '{"Name":"a"}'})]
    )
    for name in ("B", "C"):
        store.note_tries("a/b", {"plain:1": f'{{"Name":"{name}"}}', "other": "{}"})
    (row,) = place.open(worker=False).written("a/b", [], ["plain:1"])
    assert (row.cells, row.held, row.again) == ('{"Name":"A"}', '{"Name":"a"}', False)
    assert sorted(row.tried.splitlines()) == ['{"Name":"B"}', '{"Name":"C"}']
    store.note_tries("a/b", {"plain:1": "x" * 200_000})
    store.note_tries("a/b", {"plain:1": "{}"})
    assert store.written("a/b", ["plain:1"])[0].tried == "{}\n"  # bounded
    for name in ("theirs", "mine"):
        store.note_typed("a/b", {"plain:1": f'{{"Name":"{name}"}}', "other": "{}"})
    assert store.written("a/b", ["plain:1"])[0].typed == '{"Name":"mine"}\n{"Name":"theirs"}\n'
    store.enqueue("a/b")
    (one,) = store.take("a/b", 9, lease=LEASE)
    store.finish("a/b", [Result("plain:1", 1, one.token, {"plain:1": '{"Name":"C"}'})])
    (row,) = store.written("a/b", ["plain:1"])
    assert (row.cells, row.held, row.tried, row.typed) == ('{"Name":"C"}', "", "", "")


def test_a_resync_that_keeps_edits_keeps_what_was_written(place: Place) -> None:
    store = place.open()
    store.enroll(["a/b"])
    save(store, Saved("plain:1", 0, 1, b"{}"))
    (one,) = store.take("a/b", 9, lease=LEASE)
    store.finish("a/b", [Result("plain:1", 1, one.token, {"row": "{}"})])
    assert store.resync("a/b", overwrite_edits=False) == 1
    assert [row.again for row in store.written("a/b", ["plain:1"])] == [True]
    (one,) = store.take("a/b", 9, lease=LEASE)
    store.finish("a/b", [Result("plain:1", 1, one.token, {"row": "{}"})])
    assert [row.again for row in store.written("a/b", ["plain:1"])] == [False]
    assert store.resync("a/b", overwrite_edits=True) == 1
    assert store.written("a/b", ["plain:1"]) == []


def test_what_undo_writes_is_kept_and_leaves_what_is_pending(place: Place) -> None:
    store = place.open()
    store.enroll(["a/b"])
    save(store, Saved("plain:1", 0, 1, b"{}"))
    (one,) = store.take("a/b", 9, lease=LEASE)
    store.finish("a/b", [Result("plain:1", 1, one.token, {"row": '{"Name":"new"}', "added": "{}"})])
    store.enqueue("a/b")
    store.note_tries("a/b", {"row": '{"Name":"old"}'})
    line = LogLine("row", "written", cells='{"Name":"old"}', former='{"Name":"new"}', delivery="undone")
    store.keep_written("a/b", [Result("plain:1", 1, "", {"row": '{"Name":"old"}'}, removed=["added"], log=[line])])
    assert [(row.key, row.cells, row.tried) for row in store.written("a/b", ["plain:1"])] == [
        ("row", '{"Name":"old"}', "")
    ]
    assert [line.former for line in store.delivery("a/b", "undone")] == ['{"Name":"new"}']
    assert store.status().routes[0].pending == 1


def test_deliveries_are_read_back_in_pages_the_newest_first(place: Place) -> None:
    store = place.open()
    store.enroll(["a/b", "c/d"])
    save(store, Saved("plain:1", 0, 1, b"{}"))
    for second in range(4):
        place.clock.seconds = second
        (one,) = store.take("a/b", 9, lease=LEASE)
        lines = [
            LogLine(
                f"row {second}.{number}", "written", cells='{"Name":"new"}', former='{"Name":"old"}',
                overwritten=("Name", "Stage") if second == 2 else (), delivery=f"d{second}", row_change="added",
            )
            for number in range(3)
        ]  # fmt: skip
        store.finish("a/b", [Result("plain:1", 1, one.token, log=lines)])
        store.enqueue("a/b")

    def pages(read: Callable[..., list[DeliveryLine]], *values: object) -> list[str]:
        found: list[DeliveryLine] = []
        while page := read("a/b", *values, before=found[-1] if found else None, limit=2):
            found += page
        return [line.key for line in found]

    assert pages(store.deliveries_since, START + timedelta(seconds=2)) == [
        "row 3.2", "row 3.1", "row 3.0", "row 2.2", "row 2.1", "row 2.0",
    ]  # fmt: skip
    assert pages(store.delivery, "d1") == ["row 1.2", "row 1.1", "row 1.0"]
    assert pages(store.overwritten) == ["row 2.2", "row 2.1", "row 2.0"]
    assert (store.overwritten_of("a/b"), store.overwritten_of("c/d")) == (6, 0)
    line = store.overwritten("a/b")[0]
    assert (line.record_id, line.former, line.overwritten, line.delivery, line.row_change, line.at) == (
        "plain:1", '{"Name":"old"}', ("Name", "Stage"), "d2", "added", START + timedelta(seconds=2),
    )  # fmt: skip
    assert store.deliveries_of("plain:1")[-1].delivery == "d3"
    assert store.prune(START, deliveries_before=START + timedelta(seconds=3)) == 9
    assert store.overwritten_of("a/b") == 0


def test_leases_of_a_killed_worker_are_free_after_the_next_start(place: Place) -> None:
    store = place.open()
    store.enroll(["a/b"])
    save(store, Saved("plain:1", 0, 1, b"{}"))
    assert len(store.take("a/b", 9, lease=LEASE)) == 1
    store.close()
    again = place.open()
    if not place.is_file:
        again.join(["deliver"], ["a/b"])
        assert again.acquire("sink a", ["a/b"])
    assert len(again.take("a/b", 9, lease=LEASE)) == 1


def test_a_resync_on_the_way_is_not_settled_by_the_delivery_before_it(store: Store) -> None:
    store.enroll(["a/b"])
    save(store, Saved("plain:1", 0, 1, b"{}"))
    (pending,) = store.take("a/b", 9, lease=LEASE)
    assert store.resync("a/b") == 1
    store.finish("a/b", [Result("plain:1", 1, pending.token, written={"plain:1": "{}"})])
    assert len(store.take("a/b", 9, lease=LEASE)) == 1
    assert store.written("a/b", ["plain:1"]) == []
    with pytest.raises(KeyError):
        store.resync("no/such")


def test_only_known_records_become_pending_again(store: Store) -> None:
    store.enroll(["a/b"])
    save(store, Saved("plain:1", 0, 1, b"{}"), Saved("plain:2", 0, 1, b"{}"))
    for one in store.take("a/b", 9, lease=LEASE):
        store.finish("a/b", [Result(one.record_id, 1, one.token, written={one.record_id: "{}"})], delivered=True)
    assert store.route_state("a/b").delivered_at == START
    assert store.enqueue("a/b", ["plain:1", "plain:9"]) == 1
    assert store.enqueue("no/such", ["plain:1"]) == 0
    assert store.status().routes[0].pending == 1
    assert store.enqueue("a/b") == 2
    assert {row.key for row in store.written("a/b", ["plain:1", "plain:2"])} == {"plain:1", "plain:2"}


def test_a_row_that_another_record_wrote_is_found_by_its_key(store: Store) -> None:
    store.enroll(["a/b"])
    save(store, Saved("plain:1", 0, 1, b"{}"))
    (pending,) = store.take("a/b", 9, lease=LEASE)
    store.finish(
        "a/b", [Result("plain:1", 1, pending.token, written={"shared": "{}"}, log=[LogLine("shared", "written")])]
    )
    (found,) = store.written("a/b", ["plain:2"], ["shared"])
    assert found.record_id == "plain:1"
    (line,) = store.deliveries_of("plain:1")
    assert (line.key, line.kind, line.version, line.at) == ("shared", "written", 1, START)
    (pending,) = store.take("a/b", 9, lease=LEASE) if store.enqueue("a/b") else []
    store.finish("a/b", [Result("plain:1", 1, pending.token, removed=["shared"])])
    assert store.written("a/b", ["plain:1"]) == []


def test_the_state_of_a_route_and_notes_survive_a_restart(place: Place) -> None:
    store = place.open()
    store.enroll(["a/b"])
    state = RouteState("waiting", "it is down", START + timedelta(hours=1), 4, START)
    store.set_route_state("a/b", state)
    store.remember("sheets", "tab", "16")
    store.remember("sheets", "tab", "17")
    store.close()
    store = place.open()
    assert [status.route for status in store.status().routes] == ["a/b"]
    assert store.route_state("a/b") == state
    assert store.route_state("no/such") == RouteState()
    assert store.recall("sheets", "tab") == "17"
    store.remember("sheets", "tab", None)
    assert store.recall("sheets", "tab") is None


def test_times_of_a_clock_that_was_ahead_count_as_of_now(place: Place) -> None:
    store = place.open()
    store.enroll(["a/b"])
    place.clock.seconds = 3 * 86_400
    save(store, Saved("plain:1", 0, 1, b"{}"))
    (one,) = store.take("a/b", 1, lease=timedelta(0))
    later = Later(place.clock() + timedelta(days=9), "no")
    store.finish("a/b", [Result(one.record_id, 1, one.token, later=later)])
    place.clock.seconds = 0
    store.clock_was_set_back(ahead_by=timedelta(days=30))
    assert _near(store.next_due("a/b"), later.due_at)
    store.clock_was_set_back()
    assert _near(store.next_due("a/b"), START)
    assert store.status().routes[0].oldest_since == START


def _near(found: datetime | None, expected: datetime) -> bool:
    """The clocks are compared each time, and no two comparisons give the same microsecond."""
    return found is not None and abs(found - expected) < timedelta(seconds=1)


# ---------------------------------------------------------------- retention


def test_retention_takes_projected_old_events_only(place: Place) -> None:
    store = place.open()
    store.append([event(n) for n in range(40)])
    project_all(store)
    store.append([event(n) for n in range(40, 50)])
    assert store.prune(START) == 0
    edge = START + timedelta(seconds=1)
    assert [store.prune(edge, limit=25), store.prune(edge, limit=25), store.prune(edge)] == [25, 15, 0]
    assert {stored.event for stored in store.read_events(0, 100)} == {event(n) for n in range(40, 50)}
    assert store.status().waiting == 10
    store.append([event(1)])
    assert store.status().waiting == 11, "an event is known as long as it is kept"


def test_retention_continues_behind_events_of_a_clock_that_was_ahead(place: Place) -> None:
    """Old rows with such times must neither stop it nor be kept for good."""
    store = place.open()
    ahead = START + timedelta(days=60)
    store.append([replace(event(n), received_at=ahead) for n in range(600)])
    store.append([event(n) for n in range(600, 610)])
    store.enroll(["a/b"])
    project_all(store, (Saved("plain:1", 0, 1, b"{}"),))
    place.clock.seconds = 86_400
    assert store.prune(START + timedelta(hours=1), limit=500) == 10
    assert {stored.event.received_at for stored in store.read_events(0, 1000)} == {place.clock()}
    assert store.prune(START + timedelta(days=2), limit=1000) == 600


def test_retention_takes_lines_of_the_delivery_log(place: Place) -> None:
    store = place.open()
    store.enroll(["a/b"])
    save(store, Saved("plain:1", 0, 1, b"{}"))
    for day in range(3):
        place.clock.seconds = day * 86_400
        store.enqueue("a/b")
        (one,) = store.take("a/b", 1, lease=LEASE)
        store.finish("a/b", [Result(one.record_id, 1, one.token, log=[LogLine("k", "written")] * 3)])
    assert store.prune(START + timedelta(days=1, seconds=1)) == 1 + 6  # the event as well
    assert len(store.deliveries_of("plain:1")) == 3


# ---------------------------------------------------------------- forgetting


def test_a_forgotten_affiliate_is_gone_and_a_late_second_delivery_does_not_bring_it_back(place: Place) -> None:
    store = place.open()
    store.enroll(["a/b"])
    store.append([event(1, key="k"), event(2, key="other")])
    read = store.read_events(0, 10, todo=True)
    store.commit(
        Batch(
            store.epoch(), [stored.seq for stored in read],
            [Saved("plain:1", 0, 1, b"{}"), Saved("plain:2", 0, 1, b"{}")],
            [(stored.seq, f"plain:{1 if stored.event.key == 'k' else 2}") for stored in read],
        )
    )  # fmt: skip
    (one, _) = store.take("a/b", 9, lease=LEASE)
    written = {"row": "{}"}
    store.finish("a/b", [Result("plain:1", 1, one.token, written, log=[LogLine("row", "written")])])
    epoch, seqs = store.epoch(), store.mentions_of(["plain:1"])
    gone = store.forget(["plain:1"], seqs)
    assert (gone.events, gone.records, gone.deliveries, gone.rows) == (1, 1, 1, {"a/b": ("row",)})
    assert store.erase()
    with pytest.raises(Overtaken):
        store.commit(Batch(epoch, []))
    assert store.record_ids() == ["plain:2"]
    assert store.status().records == 1
    assert not store.events_of("plain:1")
    assert not store.deliveries_of("plain:1")
    assert not store.pending_of("plain:1")
    assert store.unseen([event(1, key="k"), event(3)]) == {("plain", event(3).key)}
    store.append([event(1, key="k")])
    store.replay([event(1, key="k")])
    assert store.status().waiting == 0
    assert store.status().sources[0].duplicates == 1
    with store._engine.reading() as sql:
        (mark,) = sql.execute("SELECT mark FROM forgotten").fetchall()
    assert len(mark[0]) == 16
    place.clock.seconds = 86_400
    store.prune(place.clock())
    store.append([event(1, key="k")])
    assert store.status().waiting == 1, "the mark is kept as long as an event is"


# ---------------------------------------------------------------- whatever the order


class PendingMachine(RuleBasedStateMachine):
    """Whatever the order of changes, leases, answers, crashes and restarts: what is settled is the latest version, and
    what is not is pending."""

    cluster: Cluster | None = None

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.made = place_in(Path(self.folder.name), self.cluster)
        self.place = self.made.__enter__()
        self.clock: Clock = self.place.clock
        self.store = self.place.open()
        self.store.enroll(["a/b"])
        self.versions: dict[str, int] = {}
        self.delivered: dict[str, int] = {}
        self.leases: list[Pending] = []

    @rule(name=st.sampled_from("abc"))
    def change(self, name: str) -> None:
        before = self.versions.get(name, 0)
        save(self.store, Saved(name, before, before + 1, b"%d" % (before + 1)))
        self.versions[name] = before + 1

    @rule(limit=st.integers(1, 3), after=st.sampled_from(["", "a", "b", "c"]))
    def take(self, limit: int, after: str) -> None:
        for pending in self.store.take("a/b", limit, lease=LEASE, after=after):
            assert pending.version == self.versions[pending.record_id]
            assert pending.facts == b"%d" % pending.version
            self.leases.append(pending)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        pending = data.draw(st.sampled_from(self.leases))
        self.leases.remove(pending)
        self.store.finish(
            "a/b",
            [
                Result(
                    pending.record_id, pending.version, pending.token, written={pending.record_id: f"{pending.version}"}
                )
            ],
        )

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        pending = data.draw(st.sampled_from(self.leases))
        self.leases.remove(pending)
        self.store.finish(
            "a/b", [Result(pending.record_id, pending.version, pending.token, later=Later(self.clock(), "no"))]
        )

    @rule()
    def time_goes_by(self) -> None:
        self.clock.seconds += 61

    @rule()
    def resync(self) -> None:
        self.store.resync("a/b")

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = self.place.open()

    @invariant()
    def what_is_not_pending_is_written_in_its_latest_version(self) -> None:
        written = {row.record_id: int(row.cells) for row in self.store.written("a/b", list(self.versions))}
        pending = self.store.status().routes[0].pending
        behind = [name for name, version in self.versions.items() if written.get(name) != version]
        assert len(behind) <= pending

    def teardown(self) -> None:
        self.clock.seconds += 61
        for o in self.store.take("a/b", 9, lease=LEASE):
            self.store.finish("a/b", [Result(o.record_id, o.version, o.token, written={o.record_id: f"{o.version}"})])
        written = {row.record_id: int(row.cells) for row in self.store.written("a/b", list(self.versions))}
        assert written == self.versions
        assert self.store.status().routes[0].pending == 0
        self.made.__exit__(None, None, None)
        self.folder.cleanup()


TestPending = PendingMachine.TestCase
TestPending.settings = settings(max_examples=20, stateful_step_count=20)


def test_whatever_the_order_on_postgresql(cluster: Cluster) -> None:
    class OnPostgres(PendingMachine):
        pass

    OnPostgres.cluster = cluster
    run_state_machine_as_test(OnPostgres, settings=settings(max_examples=8, stateful_step_count=20))
