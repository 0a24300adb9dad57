"""The store in an SQLite file: what becomes of it when the disk is full, damaged, taken away or another program's."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connector.core.errors import StoreUnavailable
from connector.core.source import Event
from connector.store import Store, worker_of
from connector.store.model import Batch, Saved, StoreDamaged, StoreInUse
from connector.store.sqlite import Sqlite
from tests.doubles import START, Clock, event
from tests.running import PATIENCE_SECONDS


def store_at(folder: Path, *, worker: bool = True, clock: Clock | None = None) -> Store:
    return Store(f"sqlite:///{folder}/c.db", worker=worker, now=clock or Clock())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = store_at(tmp_path)
    yield store
    store.close()


# ---------------------------------------------------------------- files


def test_its_files_are_for_their_owner_only(store: Store, tmp_path: Path) -> None:
    store.append([event(1)])
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}, modes
    assert set(modes) == {"c.db", "c.db-wal", "c.db-shm", "c.db.lock"}


@pytest.mark.parametrize("damage", [b"this is no database, but something that somebody needs" * 100, None])
def test_a_damaged_file_is_named_refused_and_left_alone(tmp_path: Path, damage: bytes | None) -> None:
    store = store_at(tmp_path)
    store.append([event(n, email=f"{n}@example.com") for n in range(300)])
    store.close()
    path = tmp_path / "c.db"
    if damage is None:
        data = bytearray(path.read_bytes())
        data[4096:8192] = b"\xee" * 4096
        damage = bytes(data)
    path.write_bytes(damage)
    with pytest.raises(StoreDamaged, match=r"c\.db: the file is damaged"):
        store_at(tmp_path)
    assert path.read_bytes() == damage


def test_a_file_that_is_damaged_while_it_is_in_use_is_told_with_its_cure(store: Store, tmp_path: Path) -> None:
    store.append([event(1, email="a@example.com")])
    store.erase()  # all is in the file now, and nothing in its log
    with (tmp_path / "c.db").open("r+b") as file:
        file.write(b"\xee" * 4096)
    with pytest.raises(StoreDamaged, match=r"c\.db: the file is damaged.*Put a backup in its place"):
        store.erase()


def test_another_programs_sqlite_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "c.db")
    other.execute("CREATE TABLE precious (x)")
    other.close()
    before = (tmp_path / "c.db").read_bytes()
    with pytest.raises(StoreDamaged, match="no file of the connector"):
        store_at(tmp_path)
    assert (tmp_path / "c.db").read_bytes() == before


def test_a_store_of_the_first_edition_is_refused_and_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "c.db") as sql:
        sql.execute("CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID")
        sql.execute("PRAGMA application_id = 1634100848")
        sql.execute("PRAGMA user_version = 5")
    sql.close()
    before = (tmp_path / "c.db").read_bytes()
    for worker in (True, False):
        with pytest.raises(StoreDamaged, match=r"first edition.*Move it away.*connector backfill"):
            store_at(tmp_path, worker=worker)
    assert (tmp_path / "c.db").read_bytes() == before


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailable, match="can't be"):
        store_at(tmp_path / "file")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted where /proc tells them")
def test_a_failed_opening_leaves_no_file_open(tmp_path: Path) -> None:
    (tmp_path / "c.db").write_bytes(b"junk" * 2000)
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


def test_a_file_that_is_taken_away_is_noticed_and_none_is_made_in_its_place(store: Store, tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "c.db", tmp_path / "elsewhere"
    store.append([event(1)])
    store.status()
    path.rename(elsewhere)
    with pytest.raises(StoreUnavailable, match=r"c\.db: the file was moved, deleted or replaced.*put it back"):
        store.status()
    with pytest.raises(StoreUnavailable, match="was moved, deleted or replaced"):
        store.append([event(2)])
    assert not path.exists()
    path.write_bytes(elsewhere.read_bytes())  # another file is not that file
    with pytest.raises(StoreUnavailable):
        store.status()
    elsewhere.replace(path)
    store.status()
    store.append([event(3)])
    assert [stored.event.key for stored in store.read_events(0, 10)] == [event(1).key, event(3).key]


@pytest.mark.parametrize("ending", ["wal", "shm"])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_log_that_is_taken_away_is_noticed_before_anything_is_acknowledged(
    tmp_path: Path, ending: str, replaced: bool
) -> None:
    store = store_at(tmp_path)
    store.append([event(n) for n in range(50)])
    taken = tmp_path / f"c.db-{ending}"
    content = taken.read_bytes()
    taken.rename(tmp_path / "elsewhere")
    if replaced:
        taken.write_bytes(content)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=rf"c\.db-{ending}: the file was moved.*start again"):
            store.append([event(99)])
        with pytest.raises(StoreUnavailable, match=rf"c\.db-{ending}"):
            store.status()
    copy = tmp_path / "after a kill"
    copy.mkdir()
    (copy / "c.db").write_bytes((tmp_path / "c.db").read_bytes())
    store.close()
    for folder in (tmp_path, copy):
        again = store_at(folder)
        assert len(again.read_events(0, 100)) == 50, "what was acknowledged before is there"
        again.close()


@pytest.mark.parametrize("name", ["f.db", "f.db-wal", "f.db-shm"])
def test_what_is_committed_while_the_file_is_taken_away_is_not_acknowledged(tmp_path: Path, name: str) -> None:
    engine = Sqlite(tmp_path / "f.db")
    with pytest.raises(StoreUnavailable, match="was moved, deleted or replaced"), engine.writing() as sql:  # noqa: PT012
        sql.execute("CREATE TABLE t (n INTEGER)")
        (tmp_path / name).rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").rename(tmp_path / name)
    with engine.reading() as sql:  # it was there to be written, all the same
        assert sql.execute("SELECT count(*) FROM t").fetchone() == (0,)
    engine.close()


def test_a_file_where_the_folder_was_is_reported_like_a_file_that_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    store = store_at(folder)
    folder.rename(tmp_path / "elsewhere")
    folder.write_text("not a folder")
    with pytest.raises(StoreUnavailable, match="was moved, deleted or replaced"):
        store.status()
    store.close()


def test_a_damaged_body_is_reported_and_nothing_of_zstd_leaks(store: Store, tmp_path: Path) -> None:
    store.append([event(1, email="a@example.com")])
    with sqlite3.connect(tmp_path / "c.db") as sql:
        sql.execute("UPDATE events SET body = x'00ff00ff'")
    sql.close()
    with pytest.raises(StoreDamaged, match="backup"):
        store.read_events(0, 10)


# ---------------------------------------------------------------- one worker


_second_worker = """
import sys
sys.path.insert(0, sys.argv[2])
from connector.store import Store
from connector.store.model import StoreInUse
from tests.doubles import Clock
try:
    Store(sys.argv[1], worker=True, now=Clock()).close()
except StoreInUse as error:
    print(error)
"""


def _second(url: str) -> str:
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", _second_worker, url, root], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def test_the_lock_holds_through_links_and_after_its_file_was_removed(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    store = store_at(folder)
    link, hard_link = tmp_path / "link.db", tmp_path / "hard.db"
    link.symlink_to(folder / "c.db")
    hard_link.hardlink_to(folder / "c.db")
    for path in (link, hard_link, folder / "c.db"):
        assert "in use by another connector" in _second(f"sqlite:///{path}")
    assert worker_of(f"sqlite:///{link}") == f"process {os.getpid()}"
    (folder / "c.db.lock").unlink()
    assert "in use by another connector" in _second(f"sqlite:///{folder}/c.db")
    store.append([event(1)])
    store.close()
    assert _second(f"sqlite:///{folder}/c.db") == ""


def test_a_refused_worker_leaves_the_locks_of_the_first_alone(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    with pytest.raises(StoreInUse, match=f"in use by another connector .process {os.getpid()}"):
        store_at(tmp_path)
    assert "in use" in _second(f"sqlite:///{tmp_path}/c.db")
    store.close()


# ---------------------------------------------------------------- sizes


def test_an_event_that_comes_alone_takes_three_quarters_of_its_body_at_most(tmp_path: Path) -> None:
    """Growth of the file after a checkpoint, indexes and the record's mention included."""
    body, count = _body(), 1_000
    sizes = []
    for times in (1, 2):
        store = store_at(tmp_path / str(times))
        for n in range(count * times):
            store.append([Event("firstpromoter", f"reward_created:{n}", "reward_created", n, START, body(n))])
        while seqs := [stored.seq for stored in store.read_events(0, 500, todo=True)]:
            mentions = [(seq, f"firstpromoter:{seq % 100}") for seq in seqs]
            store.commit(Batch(store.epoch(), seqs, [Saved("firstpromoter:1", 0, 1, b"{}")], mentions))
        store.close()
        sizes.append((tmp_path / str(times) / "c.db").stat().st_size)
    assert sizes[1] - sizes[0] <= 0.75 * sum(len(body(n)) for n in range(count, 2 * count))


# ---------------------------------------------------------------- group commit


def test_all_that_wait_are_committed_together_and_called_back_once_a_group(store: Store) -> None:
    groups: list[list[object]] = []
    all_wait, done = threading.Event(), threading.Event()

    def deliver(tickets: list[object], error: StoreUnavailable | None) -> None:
        assert error is None
        groups.append(tickets)
        all_wait.wait(60)
        if sum(map(len, groups)) == 500:
            done.set()

    store.start_intake(deliver)
    store.submit([event(0)], [0])
    while not groups:
        time.sleep(0.001)
    for n in range(1, 500):
        store.submit([event(n)], [n])
    all_wait.set()
    assert done.wait(60)
    assert [ticket for group in groups for ticket in group] == list(range(500))
    assert len(groups) == 2
    assert len(store.read_events(0, 1000)) == 500


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
    assert done.wait(PATIENCE_SECONDS)
    assert len(store.read_events(0, 10)) == 2


def test_too_many_waiting_events_are_refused_at_once(store: Store) -> None:
    taken, gate = threading.Event(), threading.Event()

    def hang(tickets: list[object], error: StoreUnavailable | None) -> None:
        taken.set()
        gate.wait(60)

    store.start_intake(hang, limit=3)
    store.submit([event(0)], [0])
    assert taken.wait(60)
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
        gate.wait(60)
        answered.extend(tickets)
        if len(answered) == 66:
            done.set()

    store.start_intake(hang)
    store.submit([event(0)], [0])
    assert taken.wait(60)
    large = event(1, name="x" * 1024 * 1024)
    for n in range(1, 65):
        store.submit([large], [n])
    with pytest.raises(StoreUnavailable, match="too many"):
        store.submit([event(2)], [65])
    gate.set()
    while len(answered) < 65:
        time.sleep(0.001)
    store.submit([event(2)], [66])  # there is room again
    assert done.wait(60)


def test_it_tells_when_requests_were_last_committed(store: Store) -> None:
    assert store.committed_at() == float("-inf")
    done = threading.Event()
    store.start_intake(lambda tickets, error: done.set())
    before = time.monotonic()
    store.submit([event(1)], [1])
    assert done.wait(PATIENCE_SECONDS)
    assert before <= store.committed_at() <= time.monotonic()


_full_disk = """
import json, resource, signal, sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from connector.store import Store
from tests.doubles import Clock, event
store = Store(sys.argv[1] + "/c.db", worker=True, now=Clock())
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
size = Path(sys.argv[1] + "/c.db-wal").stat().st_size
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
from connector.store import Store
sys.path.insert(0, sys.argv[3])
from tests.doubles import Clock, event
store = Store(sys.argv[1] + "/c.db", worker=True, now=Clock())
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
