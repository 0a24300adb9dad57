"""The store in PostgreSQL: what only a server with several writers can get wrong."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from connector.core.errors import StoreUnavailable
from connector.dead_letters import LetterFile
from connector.projector import Projector
from connector.store import Store, worker_of
from connector.store.compression import compress
from connector.store.model import Batch, Overtaken, Result, Saved, StoreDamaged, Unstorable
from connector.store.tables import count_anew
from tests.doubles import PlainSource, event
from tests.postgres import Cluster
from tests.stores import LEASE, Place, place_in, project_all, save
from tests.test_counters import counted, there


@pytest.fixture
def place(cluster: Cluster, tmp_path: Path) -> Iterator[Place]:
    with place_in(tmp_path, cluster) as place:
        yield place


def projector(store: Store, folder: Path, place: Place, batch_events: int = 8_000) -> Projector:
    letters = LetterFile(folder / "dead.jsonl", now=place.clock)
    return Projector(
        store, {"plain": PlainSource()}, letters, stop=threading.Event(), now=place.clock, batch_events=batch_events
    )


def emails(store: Store) -> Mapping[str, str]:
    found = {}
    for record_id, known in store.load(store.record_ids()).items():
        match = re.search(rb"[\w.]+@example\.com", known.facts)
        found[record_id] = match.group().decode() if match else ""
    return found


# ---------------------------------------------------------------- several writers


def test_an_event_that_becomes_visible_behind_a_later_one_is_projected(place: Place, tmp_path: Path) -> None:
    """Numbers are given before transactions commit: a cursor would pass over the late one for ever."""
    store = place.open()
    folding = projector(store, tmp_path, place)
    row = "INSERT INTO events (source, key, topic, at, received_at, body) VALUES (?, ?, ?, ?, ?, ?) RETURNING seq"
    frame = compress(event(1, email="late@example.com").body)
    with store._engine.writing() as late:
        (seq,) = late.execute(row, ("plain", "late", "said", 1, 1, frame)).fetchone()
        late.execute("INSERT INTO todo VALUES (?)", (seq,))
        store.append([event(2, email="soon@example.com")])
        folding.catch_up()
        assert store.record_ids() == ["plain:2"]
        assert store.status().last_seq > seq
    folding.catch_up()
    assert emails(store) == {"plain:1": "late@example.com", "plain:2": "soon@example.com"}


def test_two_projectors_on_two_connections_fold_every_event_exactly_once(place: Place, tmp_path: Path) -> None:
    first, second = place.open(), place.open(worker=False)
    first.enroll(["a/b"])
    first.append([event(n % 50, n, email=f"{n}@example.com") for n in range(2_000)])
    errors: list[Exception] = []

    def run(store: Store, batch_events: int) -> None:
        try:
            projector(store, tmp_path, place, batch_events).catch_up()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=pair) for pair in ((first, 97), (second, 61))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    status = first.status()
    assert (status.waiting, status.records, status.sources[0].received) == (0, 50, 2_000)
    assert emails(first) == {f"plain:{n}": f"{1950 + n}@example.com" for n in range(50)}


def test_writers_in_any_order_do_not_block_each_other_for_good(place: Place) -> None:
    """Receivers with the same events, a projector, deliveries, a resync and a forget, each in its own order: no
    deadlock, and what is counted is there."""
    store = place.open()
    store.enroll(["a/b", "c/d"])
    said = [event(n, email=f"{n}@example.com") for n in range(200)]
    save(store, *(Saved(f"plain:{n}", 0, 1, b"{}") for n in range(200)))
    errors: list[Exception] = []
    ends = time.monotonic() + 3

    def receive(seed: int) -> None:
        mixed = said[:]
        chance = random.Random(seed)
        turn = 0
        while time.monotonic() < ends:
            turn += 1
            chance.shuffle(mixed)
            store.append([replace(one, key=f"{turn}:{one.key}") for one in mixed[:100]])

    def fold() -> None:
        while time.monotonic() < ends:
            epoch, seqs = store.epoch(), [stored.seq for stored in store.read_events(0, 500, todo=True)]
            ids = [f"plain:{n}" for n in random.sample(range(200), 100)]
            before = {record_id: known.version for record_id, known in store.load(ids).items()}
            versions = [(record_id, before.get(record_id, 0)) for record_id in ids]
            with suppress(Overtaken):
                store.commit(
                    Batch(epoch, seqs, [Saved(each, version, version + 1, b"{}") for each, version in versions])
                )

    def deliver(route: str) -> None:
        while time.monotonic() < ends:
            taken = store.take(route, 70, lease=LEASE)
            random.shuffle(taken)
            store.note_tries(route, {one.record_id: "{}" for one in taken})
            store.note_typed(route, {one.record_id: "{}" for one in taken[:5]})
            results = [Result(one.record_id, one.version, one.token, {one.record_id: "{}"}) for one in taken]
            store.finish(route, results, delivered=True)

    def resync() -> None:
        while time.monotonic() < ends:
            store.resync("a/b", overwrite_edits=random.random() < 0.3)
            store.enqueue("c/d", [f"plain:{n}" for n in random.sample(range(200), 50)])

    def forget() -> None:
        while time.monotonic() < ends:
            store.forget([f"plain:{n}" for n in random.sample(range(200), 5)], [])
            with store._engine.writing() as sql:  # as another process does when it starts
                count_anew(store._engine, sql)
            time.sleep(0.05)

    def guarded(work: Any, *words: Any) -> None:
        try:
            work(*words)
        except Exception as error:
            errors.append(error)

    jobs = ((receive, 1), (receive, 2), (fold,), (deliver, "a/b"), (deliver, "c/d"), (resync,), (forget,))
    threads = [threading.Thread(target=guarded, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert _number(store, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0
    assert counted(store) == there(place.url)


def _number(store: Store, text: str) -> int:
    with store._engine.reading() as sql:
        return int(sql.execute(text).fetchone()[0])


# ---------------------------------------------------------------- the planner


def test_two_hundred_thousand_pending_records_are_found_by_their_index(place: Place) -> None:
    """After an ANALYZE of the empty table the planner takes a full one for empty too."""
    store = place.open()
    store.enroll(["a/b"])
    with store._engine.writing() as sql:
        sql.execute("ANALYZE")
        sql.execute(
            "INSERT INTO records SELECT 'plain:' || lpad(n::text, 6, '0'), 1, '{}' FROM generate_series(1, 200000) n"
        )
    assert store.enqueue("a/b") == 200_000
    before = _rows_read(store)
    after = ""
    for _ in range(5):
        taken = store.take("a/b", 1_000, lease=timedelta(minutes=30), after=after)
        assert len(taken) == 1_000
        after = taken[-1].record_id
        store.finish("a/b", [Result(one.record_id, 1, one.token, {one.record_id: "{}"}) for one in taken])
    assert store.take("a/b", 1, lease=LEASE, isolated=True) == []
    assert store.next_due("a/b") is not None
    with store._engine.writing() as sql:
        sql.execute(
            "INSERT INTO written (route, key, record_id, version, at, cells)"
            " SELECT 'a/b', 'x:' || n, 'x:' || n, 1, 1, '{}' FROM generate_series(1, 200000) n"
        )
    store.note_tries("a/b", {f"x:{n}": "{}" for n in range(1_000, 2_000)})
    store.note_typed("a/b", {f"x:{n}": "{}" for n in range(1_000, 2_000)})
    some = [f"plain:{n:06}" for n in range(100_000, 100_500)]
    store.isolate("a/b", some[:50], place.clock())
    assert store.enqueue("a/b", some) == 500
    assert len(store.load(some)) == 500
    assert store.written("a/b", some, some) == []
    assert len(store.record_ids("plain:150000")) == 1_000
    save(store, *(Saved(record_id, 1, 2, b"{}") for record_id in some))
    read = _rows_read(store) - before
    assert read < 200_000, f"{read} rows were read for 5,000 that were delivered and 500 that changed"


def test_what_was_asked_of_empty_tables_is_asked_well_of_full_ones(place: Place) -> None:
    """A prepared statement may keep the plan of its first calls, and reading all of an empty table is cheap."""
    store = place.open()
    store.enroll(["a/b"])
    with store._engine.writing() as sql:
        sql.execute("ANALYZE")
    some = [f"x:{n}" for n in range(100)]
    for _ in range(20):
        store.written("a/b", some, some)
        store.received("plain", some)
    with store._engine.writing() as sql:
        sql.execute(
            "INSERT INTO written (route, key, record_id, version, at, cells)"
            " SELECT 'a/b', 'x:' || n, 'x:' || n, 1, 1, '{}' FROM generate_series(0, 49999) n"
        )
        sql.execute(
            "INSERT INTO events (source, key, topic, at, received_at, body)"
            " SELECT 'plain', 'x:' || n, '', 0, 0, '' FROM generate_series(0, 49999) n"
        )
    before = _rows_read(store)
    assert len(store.written("a/b", some, some)) == len(store.received("plain", some)) == 100
    read = _rows_read(store) - before
    assert read < 5_000, f"{read} rows were read for 300"


def _rows_read(store: Store) -> int:
    """Rows and entries of indexes that were read in this database so far."""
    for connection in store._engine._idle:  # type: ignore[attr-defined] # each connection counts for itself until then
        connection.execute("SELECT pg_stat_force_next_flush()")
    return _number(store, "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_user_tables") + _number(
        store, "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes"
    )


# ---------------------------------------------------------------- faults


def test_a_restarted_server_fails_a_call_of_each_and_the_next_one_works(cluster: Cluster, place: Place) -> None:
    store = place.open()
    store.append([event(1)])
    answers: list[StoreUnavailable | None] = []
    answered = threading.Semaphore(0)

    def deliver(tickets: list[object], error: StoreUnavailable | None) -> None:
        answers.append(error)
        answered.release()

    store.start_intake(deliver)
    cluster.stop()
    with pytest.raises(StoreUnavailable, match="postgresql:///test_"):
        store.status()
    store.submit([event(2)], [2])
    assert answered.acquire(timeout=60)
    assert isinstance(answers[0], StoreUnavailable)
    cluster.start()
    store.submit([event(3)], [3])
    assert answered.acquire(timeout=60)
    assert answers[1] is None
    assert {stored.event for stored in store.read_events(0, 10)} == {event(1), event(3)}


def test_a_server_that_kills_connections_is_noticed_and_left_behind(place: Place) -> None:
    store = place.open()
    with pytest.raises(StoreUnavailable), store._engine.writing() as sql:  # noqa: PT012 - the second breaks it
        sql.execute("UPDATE state SET value = 7 WHERE name = 'epoch'")
        sql.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert _number(store, "SELECT value FROM state WHERE name = 'epoch'") == 0


def test_what_the_database_can_not_keep_is_no_outage(place: Place) -> None:
    """An outage is waited for; this would be waited for for ever."""
    store = place.open()
    for bad in (event(1, at=2**70), event(1, key="nul\x00"), event(1, key="".join(map(chr, range(33, 9000))))):
        with pytest.raises((Unstorable, ValueError)):
            store.append([bad])
    store.append([event(1)])
    project_all(store)
    with pytest.raises(Unstorable):
        store.commit(Batch(store.epoch(), [], [Saved("nul\x00", 0, 1, b"{}")]))
    assert store.status().records == 0


def test_words_about_a_fault_quote_no_row(place: Place) -> None:
    store = place.open()
    with pytest.raises(StoreUnavailable) as caught, store._engine.writing() as sql:  # noqa: PT012 - the second time
        for _ in range(2):
            sql.execute("INSERT INTO notes VALUES ('owner', 'person@example.com', '')")
    assert "person@example.com" not in str(caught.value)


def test_a_database_with_tables_of_another_program_is_refused(cluster: Cluster, place: Place) -> None:
    cluster.execute("CREATE TABLE events (precious text)", place.url.partition("?")[0].rpartition("/")[2])
    with pytest.raises(StoreDamaged, match="tables of another program"):
        place.open()
    assert worker_of(place.url) is None


def test_a_server_that_is_not_there_is_reported_without_the_password() -> None:
    place = Place("postgresql://connector:pa55w0rd@127.0.0.1:1/connector")
    for ask in (place.open, lambda: worker_of(place.url)):
        with pytest.raises(StoreUnavailable, match=r"postgresql://127\.0\.0\.1/connector") as caught:
            ask()
        assert "pa55w0rd" not in str(caught.value)


def test_a_pool_of_transactions_gets_its_settings_in_each_and_no_prepared_statements(place: Place) -> None:
    place.url += "&pgbouncer=true"
    store = place.open()
    for n in range(20):
        store.append([event(n)])
    assert _number(store, "SELECT count(*) FROM pg_prepared_statements") == 0
    with store._engine.reading() as sql:
        assert sql.execute("SHOW enable_seqscan").fetchone() == ("off",)
    assert len(store.read_events(0, 100)) == 20


def test_the_settings_of_a_connection_keep_what_was_acknowledged_and_end_every_call(place: Place) -> None:
    store = place.open()
    with store._engine.reading() as sql:
        shown: Sequence[str] = [
            sql.execute(f"SHOW {name}").fetchone()[0]
            for name in ("synchronous_commit", "statement_timeout", "enable_seqscan", "enable_bitmapscan")
        ]
    assert shown == ["on", "30s", "off", "off"]
