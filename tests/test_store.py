from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from connector.core.errors import StoreUnavailable
from connector.core.source import Event
from connector.store.blocks import events_in
from connector.store.compression import Codec
from connector.store.database_file import DatabaseFile, Schema, StoreDamaged
from connector.store.model import (
    Batch,
    Later,
    LogLine,
    Overtaken,
    Pending,
    Result,
    RouteState,
    Saved,
    StoreInUse,
    Tally,
    fingerprint,
)
from connector.store.store import Pressure, Store, open_store
from tests.doubles import START, Clock, event

LEASE = timedelta(minutes=1)


def store_at(folder: Path, *, worker: bool = True, clock: Clock | None = None) -> Store:
    return open_store(f"sqlite:///{folder}/c.db", worker=worker, now=clock or Clock())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = store_at(tmp_path)
    yield store
    store.close()


def save(store: Store, *records: Saved) -> None:
    """Project one event that says *records*."""
    store.append([event(1, at=store.cursor())])
    (stored,) = store.read_events(store.cursor(), 1)
    store.commit(Batch(store.cursor(), stored.seq, records=records))


# ---------------------------------------------------------------- files


def test_full_logs_are_moved_into_their_files_beside_the_commits(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    chance = random.Random(1)
    files = [tmp_path / "c.db", tmp_path / "c-inbox.db"]
    small = [file.stat().st_size for file in files]
    for turn in range(25):
        store.append([event(n, at=turn, name=chance.randbytes(16).hex()) for n in range(1000)])
        cursor, last = store.cursor(), store.status().last_seq
        seen = [b"%06d-%09d" % (turn, n) for n in range(1000)]
        store.commit(Batch(cursor, last, seen=seen, mentions=[(cursor + n, f"plain:{n}") for n in range(1000)]))
    until = time.monotonic() + 30
    while not all(file.stat().st_size > before + 300_000 for file, before in zip(files, small, strict=True)):
        assert time.monotonic() < until, "the logs stay full"
        time.sleep(0.01)
    store.close()
    assert not list(tmp_path.glob("*-wal"))


def test_shrinking_its_memory_moves_no_log_and_changes_nothing(store: Store, tmp_path: Path) -> None:
    store.append([event(1, email="a@example.com")])
    logs = [tmp_path / "c-inbox.db-wal", tmp_path / "c.db-wal"]
    before = [log.stat().st_size for log in logs]
    assert all(before)
    store.shrink_memory()
    assert [log.stat().st_size for log in logs] == before
    store.append([event(2, email="b@example.com")])
    assert [stored.seq for stored in store.read_events(0, 10)] == [1, 2]


def test_its_files_are_for_their_owner_only(store: Store, tmp_path: Path) -> None:
    store.append([event(1)])
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}, modes


def test_a_second_worker_is_refused_with_the_reason(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreInUse, match=f"in use by another connector .process {os.getpid()}"):
        store_at(tmp_path)
    visitor = store_at(tmp_path, worker=False)
    assert visitor.status().records == 0
    visitor.close()


def test_the_lock_goes_with_its_holder(tmp_path: Path) -> None:
    store_at(tmp_path).close()
    store_at(tmp_path).close()


@pytest.mark.parametrize("name", ["c.db", "c-inbox.db"])
@pytest.mark.parametrize("damage", [b"this is no database, but something that somebody needs" * 100, None])
def test_a_damaged_file_is_named_refused_and_left_alone(tmp_path: Path, name: str, damage: bytes | None) -> None:
    store = store_at(tmp_path)
    store.append([event(n, email=f"{n}@example.com") for n in range(300)])
    store.close()
    path = tmp_path / name
    if damage is None:
        data = bytearray(path.read_bytes())
        data[4096:8192] = b"\xee" * 4096
        damage = bytes(data)
    path.write_bytes(damage)
    with pytest.raises(StoreDamaged, match=name):
        store_at(tmp_path)
    assert path.read_bytes() == damage


def test_somebody_elses_sqlite_file_is_refused(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "c.db")
    other.execute("CREATE TABLE precious (x)")
    other.close()
    with pytest.raises(StoreDamaged, match="no file of the connector"):
        store_at(tmp_path)


def as_of_the_second_format(path: Path, gone: Collection[int] = ()) -> None:
    """Write that inbox as it was up to format 2: a row an event; those in *gone* were taken out."""
    with sqlite3.connect(path) as sql:
        codec = Codec(sql.execute("SELECT id, content FROM dictionaries").fetchall())
        sql.execute(
            "CREATE TABLE events (seq INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, key TEXT NOT NULL,"
            " topic TEXT NOT NULL, at INTEGER NOT NULL, received_at INTEGER NOT NULL, dictionary INTEGER NOT NULL,"
            " body BLOB NOT NULL)"
        )
        for last, dictionary, content in sql.execute("SELECT last, dictionary, content FROM blocks").fetchall():
            events = events_in(codec, dictionary, content)
            for seq, one in enumerate(events, last - len(events) + 1):
                micros = round(one.received_at.timestamp() * 1e6)
                values = (seq, one.source, one.key, one.topic, one.at, micros, *codec.shrink(one.body))
                sql.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
        sql.executemany("DELETE FROM events WHERE seq = ?", [(seq,) for seq in gone])
        sql.execute("DROP TABLE blocks")
        sql.execute("PRAGMA user_version = 2")
    sql.close()


def as_of_the_fourth_format(
    path: Path, lately: Collection[bytes], new: Collection[bytes], old: Collection[bytes]
) -> None:
    """Write those records as they were up to format 4: in the order in which they came, a row a fingerprint."""
    with sqlite3.connect(path) as sql:
        sql.execute("ALTER TABLE records RENAME TO later")
        sql.execute(
            "CREATE TABLE records (id TEXT PRIMARY KEY, version INTEGER NOT NULL, dictionary INTEGER NOT NULL,"
            " facts BLOB NOT NULL)"
        )
        sql.execute("INSERT INTO records SELECT id, version, dictionary, facts FROM later ORDER BY random()")
        sql.execute("DROP TABLE later")
        for table, keys in (("seen_lately", lately), ("seen_new", new), ("seen_old", old)):
            sql.execute(f"DROP TABLE {table}")
            sql.execute(f"CREATE TABLE {table} (key BLOB PRIMARY KEY) WITHOUT ROWID")
            sql.executemany(f"INSERT INTO {table} VALUES (?)", [(key,) for key in keys])
        sql.execute("DROP TABLE seen_filters")
        sql.execute("CREATE TABLE seen_filters (slice INTEGER PRIMARY KEY, bits BLOB NOT NULL)")
        sql.execute("INSERT INTO seen_filters VALUES (0, x'77')")
        sql.execute("DELETE FROM state WHERE name IN ('seen_upto', 'misplaced')")
        sql.execute("INSERT INTO state VALUES ('seen_lately', ?), ('seen_slice', 3)", (len(lately),))
        sql.execute("PRAGMA user_version = 4")
    sql.close()


def test_files_of_the_first_format_are_taken_over(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    save(store, Saved("plain:1", 0, 1, b"one"))
    store.close()
    as_of_the_second_format(tmp_path / "c-inbox.db")
    as_of_the_fourth_format(tmp_path / "c.db", (), [bytes(16)], ())
    for name in ("c.db", "c-inbox.db"):
        with sqlite3.connect(tmp_path / name) as sql:
            sql.execute("PRAGMA user_version = 1")
            if name == "c.db":
                sql.execute("DROP TABLE seen_filters")
                sql.execute("DROP TABLE seen_lately")
                sql.execute("DELETE FROM state WHERE name LIKE 'seen_%'")
        sql.close()
    for _ in range(2):
        store = store_at(tmp_path)
        assert store.load(["plain:1"])["plain:1"].facts == b"one"
        assert store.unseen([bytes(16), b"\1" * 16]) == {b"\1" * 16}
        store.commit(Batch(store.cursor(), store.cursor(), seen=[b"\2" * 16]))
        assert store.unseen([b"\2" * 16]) == set()
        store.close()


@pytest.mark.parametrize("version", [3, 4])
def test_records_of_an_older_format_are_taken_over(tmp_path: Path, version: int) -> None:
    keys = [fingerprint(event(n)) for n in range(12_000)]
    ids = ["plain:007", "plain:07", "plain:x", "plain:Straße", *(f"plain:{n}" for n in range(600))]
    store = store_at(tmp_path)
    store.enroll(["a/b"])
    save(store, *(Saved(record_id, 0, 3, record_id.encode()) for record_id in ids))
    store.close()
    as_of_the_fourth_format(tmp_path / "c.db", keys[:1_000], keys[1_000:6_000], keys[6_000:10_000])
    if version == 3:
        with sqlite3.connect(tmp_path / "c.db") as sql:
            sql.execute("DROP TABLE seen_filters")
            sql.execute("PRAGMA user_version = 3")
        sql.close()
    for turn in range(2):
        store = store_at(tmp_path)
        assert store.unseen(keys) == set(keys[10_000:])
        assert {who: known.facts for who, known in store.load([*ids, "plain:0007"]).items()} == {
            who: who.encode() for who in ids
        }
        save(store, *(Saved(who, 3 + turn, 4 + turn, who.encode()) for who in ids), Saved(f"plain:{turn}_", 0, 1, b""))
        assert store.status().records == len(ids) + 1 + turn
        assert store.record_ids(limit=9_999) == sorted([*ids, *(f"plain:{n}_" for n in range(turn + 1))])
        store.close()


def test_an_inbox_of_the_second_format_is_taken_over(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    said = [
        msgspec.structs.replace(event(n, email=f"{n}@example.com"), received_at=START + timedelta(seconds=n))
        for n in range(300)
    ]
    store.append(said)
    store.close()
    gone = (*range(1, 10), 70, 128, 129, 200, 299, 300)
    as_of_the_second_format(tmp_path / "c-inbox.db", gone)
    left = [(seq, one) for seq, one in enumerate(said, 1) if seq not in gone]
    for turn in range(2):
        store = store_at(tmp_path)
        assert [(stored.seq, stored.event) for stored in store.read_events(0, 1000)][: len(left)] == left
        store.append([event(0)])
        assert store.status().last_seq == 301 + turn, "no number is given twice"
        store.close()


def test_a_visitor_takes_no_older_store_over_from_under_its_server(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.append([event(1)])
    store.close()
    inbox = tmp_path / "c-inbox.db"
    as_of_the_second_format(inbox)
    before = inbox.read_bytes()
    with pytest.raises(StoreUnavailable, match=r"older version of the connector \(format 2\); start the server"):
        store_at(tmp_path, worker=False)
    assert inbox.read_bytes() == before
    store_at(tmp_path).close()
    visitor = store_at(tmp_path, worker=False)
    assert len(visitor.read_events(0, 10)) == 1
    visitor.close()


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    store_at(tmp_path).close()
    with sqlite3.connect(tmp_path / "c.db") as sql:
        sql.execute("PRAGMA user_version = 99")
    sql.close()
    with pytest.raises(StoreDamaged, match="newer version"):
        store_at(tmp_path)


def test_a_folder_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailable, match="can't be"):
        store_at(tmp_path / "file")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted where /proc tells them")
@pytest.mark.parametrize("name", ["c.db", "c-inbox.db"])
def test_a_failed_opening_leaves_no_file_open(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"junk" * 2000)
    with pytest.raises(StoreDamaged) as caught:  # the error holds the frames, and with them what was not closed
        store_at(tmp_path)
    open_files = Path("/proc/self/fd")
    held = [str(file.readlink()) for file in open_files.iterdir() if file.is_symlink()]
    assert [path for path in held if path.startswith(str(tmp_path))] == [], caught.value


def test_it_opens_again_after_a_failed_opening(tmp_path: Path) -> None:
    (tmp_path / "c.db").write_bytes(b"junk" * 2000)
    with pytest.raises(StoreDamaged):
        store_at(tmp_path)
    (tmp_path / "c.db").unlink()
    store_at(tmp_path).close()


@pytest.mark.parametrize("name", ["c.db", "c-inbox.db"])
def test_a_file_that_is_taken_away_is_noticed_and_none_is_made_in_its_place(
    store: Store, tmp_path: Path, name: str
) -> None:
    path, elsewhere = tmp_path / name, tmp_path / "elsewhere"
    store.append([event(1)])
    store.status()
    path.rename(elsewhere)
    with pytest.raises(StoreUnavailable, match=f"{name}: the file was moved, deleted or replaced.*put it back"):
        store.status()
    with pytest.raises(StoreUnavailable, match="was moved, deleted or replaced"):
        store.append([event(2)]) if "inbox" in name else store.remember("shop", "key", "value")
    assert not path.exists()
    path.write_bytes(elsewhere.read_bytes())  # another file is not that file
    with pytest.raises(StoreUnavailable):
        store.status()
    elsewhere.replace(path)
    store.status()
    store.append([event(3)])
    assert [stored.event.key for stored in store.read_events(0, 10)] == [event(1).key, event(3).key]


def test_what_is_committed_while_the_file_is_taken_away_is_not_acknowledged(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "f.db", tmp_path / "elsewhere"
    file = DatabaseFile(path, Schema(1, "CREATE TABLE t (n INTEGER)"), cache_kib=512, upgrade=True)

    class TakenAway(list[tuple[str, Sequence[object]]]):
        """Statements during which the file is moved."""

        def __iter__(self) -> Iterator[tuple[str, Sequence[object]]]:
            yield from super().__iter__()
            path.rename(elsewhere)

    with pytest.raises(StoreUnavailable, match="was moved, deleted or replaced"):
        file.write(TakenAway([("INSERT INTO t VALUES (1)", ())]), rows=1)
    elsewhere.rename(path)
    with file.reading() as sql:  # it was there to be written, all the same
        assert sql.execute("SELECT n FROM t").fetchall() == [(1,)]
    file.close()


def test_a_file_where_the_folder_was_is_told_like_a_file_that_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    store = store_at(folder)
    folder.rename(tmp_path / "elsewhere")
    folder.write_text("not a folder")
    with pytest.raises(StoreUnavailable, match="was moved, deleted or replaced"):
        store.status()
    store.close()


def test_new_events_are_not_skipped_when_the_inbox_is_older_than_the_projection(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.append([event(n) for n in range(50)])
    store.commit(Batch(0, 50))
    store.close()
    for path in tmp_path.glob("c-inbox.db*"):
        path.unlink()  # as if an older backup had been put in its place
    store = store_at(tmp_path)
    store.append([event(1)])
    assert [stored.seq for stored in store.read_events(store.cursor(), 10)] == [51]
    store.close()


# ---------------------------------------------------------------- inbox


def test_what_is_appended_is_read_back_in_order(store: Store) -> None:
    said = [event(n, email="Ada Ł \U0001f600@example.com") for n in range(30)]
    store.append(said)
    assert [stored.event for stored in store.read_events(0, 100)] == said
    assert [stored.event for stored in store.read_events(10, 5)] == said[10:15]


def test_stored_bodies_take_less_than_a_third_of_their_size(store: Store, tmp_path: Path) -> None:
    body = _body()
    count = 2000
    store.append(
        [Event("firstpromoter", f"reward_created:{n}", "reward_created", n, START, body(n)) for n in range(count)]
    )
    store.close()
    stored = sum(path.stat().st_size for path in tmp_path.glob("c-inbox.db*"))
    assert stored <= 0.35 * sum(len(body(n)) for n in range(count))


def test_all_that_wait_are_committed_together_and_called_back_once_a_group(store: Store) -> None:
    groups: list[list[object]] = []
    all_wait, done = threading.Event(), threading.Event()

    def deliver(tickets: list[object], error: StoreUnavailable | None) -> None:
        assert error is None
        groups.append(tickets)
        all_wait.wait(30)
        if sum(map(len, groups)) == 500:
            done.set()

    store.start_intake(deliver)
    store.submit([event(0)], [0])
    while not groups:
        time.sleep(0.001)
    for n in range(1, 500):
        store.submit([event(n)], [n])
    all_wait.set()
    assert done.wait(30)
    assert [ticket for group in groups for ticket in group] == list(range(500))
    assert len(groups) == 2
    assert len(store.read_events(0, 1000)) == 500


def test_an_event_that_can_not_be_stored_does_not_take_its_group_along(store: Store) -> None:
    answers: dict[object, StoreUnavailable | None] = {}
    done = threading.Event()

    def deliver(tickets: list[object], error: StoreUnavailable | None) -> None:
        answers.update(dict.fromkeys(tickets, error))
        if len(answers) == 3:
            done.set()

    store.start_intake(deliver)
    store.submit([event(1)], ["good"])
    store.submit([event(2, at=2**70)], ["bad"])
    store.submit([event(3)], ["good too"])
    assert done.wait(10)
    assert answers["good"] is answers["good too"] is None
    assert isinstance(answers["bad"], StoreUnavailable)


def test_a_callback_that_breaks_does_not_end_the_intake(store: Store) -> None:
    told: list[object] = []
    done = threading.Event()

    def deliver(tickets: list[object], error: StoreUnavailable | None) -> None:
        told.extend(tickets)
        if "first" in tickets:
            raise RuntimeError("the event loop is closed")
        done.set()

    store.start_intake(deliver)
    store.submit([event(1)], ["first"])
    while not told:
        time.sleep(0.001)
    store.submit([event(2)], ["second"])
    assert done.wait(10)
    assert len(store.read_events(0, 10)) == 2


def test_too_many_waiting_events_are_refused_at_once(store: Store) -> None:
    taken, gate = threading.Event(), threading.Event()

    def hang(tickets: list[object], error: StoreUnavailable | None) -> None:
        taken.set()
        gate.wait(30)

    store.start_intake(hang, limit=3)
    store.submit([event(0)], [0])
    assert taken.wait(30)
    for n in range(3):
        store.submit([event(n)], [n])
    with pytest.raises(StoreUnavailable, match="too many"):
        store.submit([event(9)], [9])
    gate.set()


def test_no_more_than_64_mib_of_bodies_wait(store: Store) -> None:
    taken, gate, done = threading.Event(), threading.Event(), threading.Event()
    answered: list[object] = []

    def hang(tickets: list[object], error: StoreUnavailable | None) -> None:
        taken.set()
        gate.wait(30)
        answered.extend(tickets)
        if len(answered) == 66:
            done.set()

    store.start_intake(hang)
    store.submit([event(0)], [0])
    assert taken.wait(30)
    large = event(1, name="x" * 1024 * 1024)
    for n in range(1, 65):
        store.submit([large], [n])
    with pytest.raises(StoreUnavailable, match="too many"):
        store.submit([event(2)], [65])
    gate.set()
    while len(answered) < 65:
        time.sleep(0.001)
    store.submit([event(2)], [66])  # there is room again
    assert done.wait(30)


def test_who_works_behind_the_answers_gives_way_while_requests_press_and_only_then(store: Store) -> None:
    naps: list[float] = []

    def nap(seconds: float) -> bool:
        naps.append(seconds)
        return True  # the program stops: no second nap

    assert not store.give_way(1.0, nap)
    assert naps == []
    more = threading.Semaphore(0)
    store.start_intake(lambda tickets, error: more.release(len(tickets)))
    sent = 0
    while not naps:  # the machine may stand still for so long that nothing presses any more
        for _ in range(100):
            store.submit([event(sent)], [sent])
            sent += 1
        for _ in range(100):
            assert more.acquire(timeout=10)
        stops = store.give_way(0.001, nap)
    assert stops
    assert naps in ([pytest.approx(0.009, rel=0.2)], [pytest.approx(0.049, rel=0.2)])


def test_the_harder_requests_press_the_less_time_is_left_to_others() -> None:
    pressure = Pressure()
    assert pressure.share(0.0) == 1.0
    pressure.note(15, 1000.0)
    assert pressure.share(1000.0) == 1.0, "few came"
    pressure.note(1, 1000.05)
    assert pressure.share(1000.05) == 0.1
    for step in range(1, 12):  # 2,000 a second
        pressure.note(100, 1000.05 + step / 20)
    assert pressure.share(1000.6) == 0.1
    for step in range(1, 12):  # 10,000
        pressure.note(500, 1000.6 + step / 20)
    assert pressure.share(1001.15) == 0.02
    assert pressure.share(1001.3) == 0.02, "nothing came for a moment"
    assert pressure.share(1001.45) == 1.0, "nothing came for longer"
    pressure.note(200, 1009.0)
    assert pressure.share(1009.0) == 0.1, "nothing came before"
    pressure.note(200, 1009.01)
    assert pressure.share(1009.01) == 0.02, "it is more already than a moment has at three thousand a second"
    pressure.note(100, 1009.11)
    pressure.note(100, 1009.22)
    assert pressure.share(1009.22) == 0.1, "it has become less"


_full_disk = """
import json, resource, signal, sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from connector.store.store import open_store
from tests.doubles import Clock, event
store = open_store(sys.argv[1] + "/c.db", worker=True, now=Clock())
answers = {}
came = threading.Semaphore(0)
def deliver(tickets, error):
    for ticket in tickets:
        answers[ticket] = error is None
        came.release()
store.start_intake(deliver)
def send(name, n):
    before = len(answers)
    for i in range(n):
        store.submit([event(i, key=f"{name}:{i}", email="x" * 400 + str(i))], [(name, i)])
    for i in range(n):
        came.acquire()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
send("before", 50)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
size = Path(sys.argv[1] + "/c-inbox.db-wal").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20000, hard))
for round in range(30):
    send(f"full{round}", 20)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
send("after", 50)
store.close()
print(json.dumps([[name, ok] for (name, i), ok in answers.items()]))
print(json.dumps(sorted(k for k, ok in ((f"{name}:{i}", ok) for (name, i), ok in answers.items()) if ok)))
"""


def test_a_full_disk_is_answered_and_left_behind_without_a_restart(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[1])
    out = subprocess.run(
        [sys.executable, "-c", _full_disk, str(tmp_path), root], capture_output=True, text=True, check=True, timeout=60
    ).stdout.splitlines()
    answers = json.loads(out[0])
    acknowledged = json.loads(out[1])
    assert all(ok for name, ok in answers if name in ("before", "after"))
    assert not all(ok for name, ok in answers), "the disk was never full: the test shows nothing"
    store = store_at(tmp_path)
    kept = {stored.event.key for stored in store.read_events(0, 10_000)}
    store.close()
    assert set(acknowledged) <= kept


_killed = """
import sys, threading
from connector.store.store import open_store
sys.path.insert(0, sys.argv[3])
from tests.doubles import Clock, event
store = open_store(sys.argv[1] + "/c.db", worker=True, now=Clock())
places = threading.Semaphore(100)
def deliver(tickets, error):
    assert error is None
    sys.stdout.write("".join(f"{ticket}\\n" for ticket in tickets))
    sys.stdout.flush()
    places.release(len(tickets))
store.start_intake(deliver)
n = 0
while True:
    n += 1
    places.acquire()
    store.submit([event(n, key=f"{sys.argv[2]}:{n}")], [f"{sys.argv[2]}:{n}"])
"""


def test_a_kill_at_any_moment_loses_no_acknowledged_event(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[1])
    acknowledged: set[str] = set()
    for round_number in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", _killed, str(tmp_path), str(round_number), root], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(50 + 333 * round_number):
            acknowledged.add(process.stdout.readline().strip())
        os.kill(process.pid, signal.SIGKILL)
        acknowledged.update(line.strip() for line in process.stdout.read().splitlines(True) if line.endswith("\n"))
        process.wait()
        process.stdout.close()
    store = store_at(tmp_path)
    kept: set[str] = set()
    after = 0
    while events := store.read_events(after, 5000):
        kept.update(stored.event.key for stored in events)
        after = events[-1].seq
    store.close()
    assert acknowledged <= kept
    assert len(acknowledged) > 1000


def test_a_damaged_body_is_said_so_and_nothing_of_zstd_leaks(store: Store, tmp_path: Path) -> None:
    store.append([event(1, email="a@example.com")])
    with sqlite3.connect(tmp_path / "c-inbox.db") as sql:
        sql.execute("UPDATE blocks SET content = x'00ff00ff'")
    sql.close()
    with pytest.raises(StoreDamaged, match="backup"):
        store.read_events(0, 10)


def test_a_damaged_block_is_said_so(store: Store, tmp_path: Path) -> None:
    store.append([event(1, email="a@example.com")])
    for content in (b"\x91\x01", b"\x91\x96\xa1a\xa1a\xa1a\x01\xa1a\xa1a", b"\x91"):
        shrunk = store._codec.shrink(content)[1]
        with sqlite3.connect(tmp_path / "c-inbox.db") as sql:
            sql.execute("UPDATE blocks SET content = ?", (shrunk,))
        sql.close()
        with pytest.raises(StoreDamaged, match="backup"):
            store.read_events(0, 10)


def test_events_are_read_wherever_a_batch_of_them_begins_and_ends(store: Store) -> None:
    chance = random.Random(2)
    said = [event(n, name="x" * chance.choice((1, 100, 300_000))) for n in range(150)]
    for start in range(0, 150, 50):
        store.append(said[start : start + 50])
    for _ in range(200):
        after, limit = chance.randrange(150), chance.randrange(1, 100)
        read = store.read_events(after, limit)
        assert [stored.event for stored in read] == said[after : after + limit]
        assert [stored.seq for stored in read] == list(range(after + 1, after + 1 + len(read)))
        assert store._count_events(after, after + limit) == len(read)
    (first,) = store.read_events(70, 9, most_bytes=1)
    assert first.seq == 71


@given(st.lists(st.integers(1, 130), max_size=8), st.sets(st.integers(1, 500)))
def test_what_is_taken_out_is_gone_and_all_else_keeps_its_number(sizes: list[int], seqs: set[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = store_at(Path(folder))
        said = [event(n) for n in range(sum(sizes))]
        start = 0
        for size in sizes:
            store.append(said[start : start + size])
            start += size
        left = [(seq, one) for seq, one in enumerate(said, 1) if seq not in seqs]
        assert store.forget([], seqs).events == len(said) - len(left)
        assert [(stored.seq, stored.event) for stored in store.read_events(0, 10_000)] == left
        for after in range(0, len(said), 37):
            upto = after + 60
            assert store._count_events(after, upto) == sum(after < seq <= upto for seq, _ in left)
        store.append([event(1)])
        assert [stored.seq for stored in store.read_events(len(said), 10)] == [len(said) + 1]
        store.close()


# ---------------------------------------------------------------- projection


def test_a_batch_is_committed_whole(store: Store) -> None:
    store.enroll(["a/b"])
    store.append([event(1)])
    key = fingerprint(event(1))
    store.commit(
        Batch(
            0, 1, seen=[key], records=[Saved("plain:1", 0, 1, b"{}")], mentions=[(1, "plain:1")],
            tallies={"plain": Tally(received=1, last_at=7)},
        )
    )  # fmt: skip
    assert store.cursor() == 1
    assert store.unseen([key, b"x" * 16]) == {b"x" * 16}
    assert store.load(["plain:1", "plain:2"])["plain:1"].facts == b"{}"
    status = store.status()
    assert (status.records, status.waiting, status.routes[0].pending) == (1, 0, 1)
    assert [stored.event for stored in store.events_of("plain:1")] == [event(1)]


def test_a_batch_that_somebody_else_overtook_changes_nothing(store: Store) -> None:
    store.append([event(1), event(2)])
    store.commit(Batch(0, 1, records=[Saved("plain:1", 0, 1, b"{}")]))
    with pytest.raises(Overtaken):
        store.commit(Batch(0, 2, records=[Saved("plain:2", 0, 1, b"{}")]))
    with pytest.raises(Overtaken):
        store.commit(Batch(1, 2, seen=[b"y" * 16], records=[Saved("plain:1", 5, 6, b"{}")]))
    assert store.cursor() == 1
    assert store.load(["plain:2"]) == {}
    assert store.unseen([b"y" * 16]) == {b"y" * 16}


def test_a_record_that_says_nothing_new_is_kept_but_not_owed(store: Store) -> None:
    store.enroll(["a/b"])
    save(store, Saved("plain:1", 0, 1, b"one"))
    (pending,) = store.take("a/b", 9, lease=LEASE)
    store.finish("a/b", [Result("plain:1", pending.version, pending.token)])
    save(store, Saved("plain:1", 1, 1, b"two"))
    assert store.load(["plain:1"])["plain:1"].facts == b"two"
    assert store.status().routes[0].pending == 0


def test_a_fingerprint_stays_known_however_many_come_after_it(tmp_path: Path) -> None:
    chance = random.Random(1)
    keys = [chance.randbytes(16) for _ in range(240_000)]
    store = store_at(tmp_path)
    for start in range(0, len(keys), 10_000):
        some = keys[start : start + 10_000]
        assert store.unseen(some) == set(some)
        store.commit(Batch(store.cursor(), store.cursor(), seen=some + keys[:10]))
        assert store.unseen(keys[: start + 10_000 : 31]) == set()
        store.shrink_memory()
    for _ in range(2):
        store.shrink_memory()  # the second time nobody has asked in between
        assert store.unseen(keys[::3]) == set()
        store.close()
        store = store_at(tmp_path)
    assert store.unseen(keys) == set()
    store.close()
    with sqlite3.connect(tmp_path / "c.db") as sql:
        kept = [
            sum(len(some) // 16 for (some,) in sql.execute(f"SELECT keys FROM {table}"))
            for table in ("seen_lately", "seen_new")
        ]
    sql.close()
    assert kept[0] < 180_000, "what has gone on is let go of"
    assert kept[1] >= len(keys) - 65_536


def test_a_fingerprint_stays_known_when_a_commit_after_it_fails(tmp_path: Path) -> None:
    keys = [fingerprint(event(n)) for n in range(68_000)]
    store = store_at(tmp_path)
    store.commit(Batch(0, 0, seen=keys[:64_000]))
    for _ in range(2):
        with pytest.raises(Overtaken):
            store.commit(Batch(0, 0, seen=keys[64_000:], records=[Saved("plain:1", 5, 6, b"{}")]))
        assert store.unseen(keys) == set(keys[64_000:])
    with pytest.raises(Overtaken):
        store.commit(Batch(0, 0, seen=keys[64_000:66_000], records=[Saved("plain:1", 5, 6, b"{}")]))
    store.commit(Batch(0, 0, seen=keys[66_000:]))
    assert store.unseen(keys) == set(keys[64_000:66_000])
    store.commit(Batch(0, 0, seen=keys[64_000:66_000]))
    for _ in range(2):
        assert store.unseen(keys) == set()
        store.close()
        store = store_at(tmp_path)
    store.close()


def test_fingerprints_that_are_all_alike_are_known_again(tmp_path: Path) -> None:
    keys = [b"%016d" % n for n in range(70_000)]
    store = store_at(tmp_path)
    store.commit(Batch(0, 0, seen=keys))
    for _ in range(2):
        assert store.unseen([*keys[::700], b"x" * 16]) == {b"x" * 16}
        store.close()
        store = store_at(tmp_path)
    store.close()


def test_records_whose_ids_name_one_place_are_kept_apart(store: Store) -> None:
    store.enroll(["a/b"])
    save(store, Saved("plain:7", 0, 1, b"7"))
    save(store, Saved("plain:07", 0, 1, b"07"), Saved("plain:8", 0, 1, b"8"), Saved("plain:007", 0, 1, b"007"))
    with pytest.raises(Overtaken):
        save(store, Saved("plain:07", 0, 1, b"twice"))
    save(store, Saved("plain:07", 1, 2, b"changed"), Saved("plain:9", 0, 1, b"9"))
    with pytest.raises(Overtaken):
        save(store, Saved("plain:07", 1, 2, b"late"))
    said = {"plain:7": b"7", "plain:07": b"changed", "plain:007": b"007", "plain:8": b"8", "plain:9": b"9"}
    assert {who: known.facts for who, known in store.load([*said, "plain:0007"]).items()} == said
    assert {pending.record_id: pending.facts for pending in store.take("a/b", 9, lease=LEASE)} == said
    assert store.status().records == 5
    store.forget(["plain:7"], [])
    assert set(store.load(said)) == set(said) - {"plain:7"}
    save(store, Saved("plain:7", 0, 1, b"again"))
    assert {who: known.facts for who, known in store.load(said).items()} == {**said, "plain:7": b"again"}
    assert store.status().records == 5


def test_fingerprints_are_forgotten_only_after_the_events_they_belong_to(tmp_path: Path) -> None:
    clock = Clock()
    store = store_at(tmp_path, clock=clock)
    days = 24 * 3600
    for day in range(0, 40, 2):
        clock.seconds = day * days
        key = b"%016d" % day
        store.commit(Batch(store.cursor(), store.cursor(), seen=[key]))
        store.prune(clock() - timedelta(days=10))
        recent = {b"%016d" % d for d in range(max(0, day - 10), day + 1, 2)}
        assert store.unseen(recent) == set()
    assert store.unseen([b"%016d" % 0, b"%016d" % 12]) == {b"%016d" % 0, b"%016d" % 12}
    store.close()


def test_many_fingerprints_are_forgotten_a_generation_later(tmp_path: Path) -> None:
    clock = Clock()
    chance = random.Random(1)
    keys = [chance.randbytes(16) for _ in range(90_000)]
    store = store_at(tmp_path, clock=clock)
    day = timedelta(days=1)
    store.prune(clock() - day)  # the first generation begins
    store.commit(Batch(0, 0, seen=keys[:70_000]))  # more than gather before some go on
    clock.seconds += 2 * 24 * 3600
    store.prune(clock() - day)
    for _ in range(2):
        assert store.unseen(keys[::7]) == set(keys[70_000::7])
        store.close()
        store = store_at(tmp_path, clock=clock)
    store.commit(Batch(0, 0, seen=keys[70_000:]))
    clock.seconds += 2 * 24 * 3600
    store.prune(clock() - day)
    assert store.unseen(keys[::7]) == set(keys[:70_000:7])
    store.close()


def test_pruning_takes_projected_old_events_only(tmp_path: Path) -> None:
    clock = Clock()
    store = store_at(tmp_path, clock=clock)
    for start in range(0, 40, 5):
        store.append([event(n) for n in range(start, start + 5)])
    store.append([event(n) for n in range(60)])
    store.commit(Batch(0, 88))  # in the middle of two blocks
    assert store.prune(START) == 0
    edge = START + timedelta(seconds=1)
    assert [store.prune(edge, limit=7), store.prune(edge, limit=7)] == [5, 5]
    while store.prune(edge, limit=7):
        pass
    assert [stored.seq for stored in store.read_events(0, 100)] == list(range(41, 101))
    store.close()


# ---------------------------------------------------------------- routes


def test_a_new_route_owes_every_record_and_a_dropped_one_is_forgotten(store: Store) -> None:
    save(store, Saved("plain:1", 0, 1, b"{}"), Saved("plain:2", 0, 1, b"{}"))
    assert store.enroll(["a/b"]) == ["a/b"]
    assert store.enroll(["a/b"]) == []
    assert [pending.record_id for pending in store.take("a/b", 9, lease=LEASE)] == ["plain:1", "plain:2"]
    store.enroll([])
    assert store.status().routes == ()
    assert store.enroll(["a/b"]) == ["a/b"]
    assert len(store.take("a/b", 9, lease=LEASE)) == 2


def test_records_are_taken_in_key_order_going_round(store: Store) -> None:
    store.enroll(["a/b"])
    save(store, *(Saved(f"plain:{n}", 0, 1, b"{}") for n in range(6)))
    first = [pending.record_id for pending in store.take("a/b", 4, lease=LEASE, after="plain:3")]
    assert first == ["plain:4", "plain:5", "plain:0", "plain:1"]
    assert [pending.record_id for pending in store.take("a/b", 9, lease=LEASE)] == ["plain:2", "plain:3"]


def test_a_late_answer_can_not_settle_newer_work_and_the_row_is_written_again(tmp_path: Path) -> None:
    clock = Clock()
    store = store_at(tmp_path, clock=clock)
    store.enroll(["a/b"])
    save(store, Saved("plain:1", 0, 1, b"{}"))
    (mine,) = store.take("a/b", 9, lease=LEASE)
    clock.seconds = 61
    (theirs,) = store.take("a/b", 9, lease=LEASE)
    store.finish("a/b", [Result("plain:1", 1, theirs.token, written={"plain:1": "{}"})])
    assert store.status().routes[0].pending == 0
    store.finish("a/b", [Result("plain:1", 1, mine.token, written={"plain:1": "{}"})])
    assert store.status().routes[0].pending == 1
    assert store.written("a/b", ["plain:1"]) == []
    store.close()


def test_leases_of_a_killed_worker_are_free_after_the_next_start(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.enroll(["a/b"])
    save(store, Saved("plain:1", 0, 1, b"{}"))
    assert len(store.take("a/b", 9, lease=LEASE)) == 1
    store.close()
    store = store_at(tmp_path)
    assert len(store.take("a/b", 9, lease=LEASE)) == 1
    store.close()


def test_a_resync_on_the_way_is_not_settled_by_the_delivery_before_it(store: Store) -> None:
    store.enroll(["a/b"])
    save(store, Saved("plain:1", 0, 1, b"{}"))
    (pending,) = store.take("a/b", 9, lease=LEASE)
    store.resync("a/b")
    store.finish("a/b", [Result("plain:1", 1, pending.token, written={"plain:1": "{}"})])
    assert len(store.take("a/b", 9, lease=LEASE)) == 1
    assert store.written("a/b", ["plain:1"]) == []
    with pytest.raises(KeyError):
        store.resync("no/such")


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


def test_how_a_route_fares_survives_a_restart(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.enroll(["a/b"])
    state = RouteState("waiting", "it is down", START + timedelta(hours=1), 4, START)
    store.set_route_state("a/b", state)
    store.remember("sheets", "tab", "17")
    store.close()
    store = store_at(tmp_path)
    assert store.route_state("a/b") == state
    assert store.recall("sheets", "tab") == "17"
    store.remember("sheets", "tab", None)
    assert store.recall("sheets", "tab") is None
    store.close()


def test_a_worker_notices_what_a_visitor_did(store: Store, tmp_path: Path) -> None:
    rung: list[str] = []
    store.enroll(["a/b"])
    store.on_append(lambda: rung.append("append"))
    store.on_pending(lambda: rung.append("pending"))
    store.notice_others()
    rung.clear()
    assert not store.notice_others()
    visitor = store_at(tmp_path, worker=False)
    visitor.append([event(1)])
    assert store.notice_others()
    visitor.resync("a/b")
    assert store.notice_others()
    assert rung == ["append", "pending"] * 2
    visitor.close()


class OwedMachine(RuleBasedStateMachine):
    """Whatever the order of changes, leases, answers, crashes and restarts: what is settled is the latest version, and
    what is not is pending."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.store = store_at(Path(self.folder.name), clock=self.clock)
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
        self.store = store_at(Path(self.folder.name), clock=self.clock)

    @invariant()
    def what_is_not_owed_is_written_in_its_latest_version(self) -> None:
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
        self.store.close()
        self.folder.cleanup()


TestOwed = OwedMachine.TestCase
TestOwed.settings = settings(max_examples=20, stateful_step_count=20)


def _body() -> Callable[[int], bytes]:
    """A body of 2 KB in FirstPromoter's shape, values our own, different each time."""

    def body(n: int) -> bytes:
        chance = random.Random(n)

        def word() -> str:
            return "".join(chance.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(8))

        promoter = {
            "id": chance.randrange(10**7), "status": "active", "cust_id": word(), "email": f"{word()}@{word()}.com",
            "created_at": f"2026-0{n % 9 + 1}-1{n % 10}T10:{n % 60:02}:00.{n % 1000:03}Z", "temp_password": None,
            "default_promotion_id": chance.randrange(10**7), "pref": word(), "default_ref_id": word(), "note": None,
            "w8_form_url": None, "w9_form_url": None, "parent_promoter_id": None,
            "earnings_balance": {"cash": chance.randrange(10**5)}, "current_balance": {"cash": chance.randrange(10**4)},
            "paid_balance": None,
            "profile": {
                "id": chance.randrange(10**7), "first_name": word(), "last_name": word(),
                "website": f"https://{word()}.com", "company_name": word(), "phone_number": None, "address": word(),
                "vat_id": "", "country": "US", "paypal_email": None, "avatar_url": None, "description": None,
                "social_accounts": {name: {"url": ""} for name in ("twitter", "youtube", "facebook", "linkedin")},
            },
            "promotions": [],
        }  # fmt: skip
        lead = {
            "id": chance.randrange(10**8), "state": "active", "email": f"{word()}@{word()}.com", "uid": word(),
            "customer_since": "2026-01-02T03:04:05.000Z", "cancelled_at": None, "plan_name": None,
            "suspicion": "no_suspicion", "created_at": "2026-01-02T03:04:05.000Z", "split_promotion_id": None,
        }  # fmt: skip
        promotion = {
            "id": chance.randrange(10**8), "status": "offer_running", "ref_id": word(), "promo_code": None,
            "promoter_id": chance.randrange(10**7), "campaign_id": chance.randrange(10**5),
            "referral_link": f"https://{word()}.com?_get={word()}",
            "current_referral_reward": {"id": chance.randrange(10**6), "amount": 0, "type": "per_referral",
                                        "unit": "cash", "name": "20% recurring commission", "per_of_sale": 20},
            "campaign_name": word(), "hidden": False, "visitors_count": chance.randrange(1000), "leads_count": 3,
            "customers_count": chance.randrange(100), "refunds_count": 0, "cancellations_count": 0, "sales_count": 2,
            "sales_total": chance.randrange(10**6), "refunds_total": 0, "active_customers_count": 2,
        }  # fmt: skip
        data = {
            "id": chance.randrange(10**8), "status": "approved", "amount": chance.randrange(10**4), "unit": "cash",
            "created_at": "2026-01-02T03:04:05.000Z", "event_id": word(), "conversion_amount": chance.randrange(10**5),
            "tier_level": 1, "split_type": None, "lead": lead, "promoter": promoter, "promotion": promotion,
        }  # fmt: skip
        said = {"event": {"id": n, "type": "reward_created", "created_at": "2026-01-02T03:04:05.000Z"}, "data": data}
        return json.dumps(said, separators=(",", ":")).encode()

    return body
