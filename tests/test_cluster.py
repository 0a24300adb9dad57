"""Several connectors on one PostgreSQL: sharing out, take-over, hand-over, roles; and a database that is away."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path

import pytest

from connector import config
from connector.app.duties import Duty, Run, Sharing
from connector.core.errors import ConfigError, StoreUnavailable
from connector.dead_letters import Letter, LetterFile, LetterTable
from connector.store import Store
from connector.store.processes import Beat
from tests.machines import Machine, promoter
from tests.postgres import Cluster, own_cluster
from tests.running import Connector, Nursery, at_best, now, until


@pytest.fixture
def url(cluster: Cluster) -> Iterator[str]:
    with cluster.database() as url:
        yield url


@pytest.fixture
def machines(tmp_path: Path, nursery: Nursery, url: str) -> Iterator[Callable[..., list[Machine]]]:
    made: list[Machine] = []

    def make(count: int, server: str = "") -> list[Machine]:
        for _ in range(count):
            machine = Machine(
                tmp_path / f"m{len(made)}", nursery, url, server=server, shared=tmp_path / "affiliates.csv"
            )
            made.append(machine)
            machine.start()
        return made[-count:]

    yield make
    for machine in made:
        machine.kill()


def owners(machine: Machine) -> dict[str, str]:
    """Who has which lease: the lease -> the process's name."""
    store = machine.store()
    try:
        return {lease: each.name for each in store.processes() for lease in each.owns}
    finally:
        store.close()


ALL = {"projecting", "sink local", "readings", "upkeep"}


def owner_of(machines: Sequence[Machine], lease: str) -> Machine:
    """Which of *machines* has *lease*, once every lease has a holder."""
    held = machines[0].wait_until(lambda: owners(machines[0]), lambda held: held.keys() == ALL)
    return next(machine for machine in machines if machine.name == held[lease])


def seconds_until_all_is_begun(machine: Machine, since: datetime) -> float:
    """From *since* until *machine*, which owns everything in the end, had begun its last duty, by its own log."""
    machine.wait_until(lambda: owners(machine), lambda held: held == dict.fromkeys(ALL, machine.name))
    begun = machine.wait_until(machine.last_begun, lambda begun: begun.keys() == ALL and max(begun.values()) > since)
    return (max(begun.values()) - since).total_seconds()


def test_every_process_receives_and_one_delivers(machines: Callable[..., list[Machine]]) -> None:
    two = machines(2)
    two[0].wait_until(lambda: owners(two[0]), lambda held: held.keys() == ALL)
    for number, machine in enumerate(two * 3, 1):
        assert machine.post("firstpromoter", promoter(number))[0] == 202
    two[0].wait_for({f"firstpromoter:{n}": {"Email": f"p{n}v1@example.com"} for n in range(1, 7)})
    for machine in two:
        assert machine.get("/readyz") == (200, {"status": "ready"})
        assert machine.get("/readyz/receive") == (200, {"status": "ready"})
    assert all(machine.stop() < 8 for machine in two)


def test_a_killed_owner_is_followed_within_five_seconds_and_a_stopped_one_at_once(
    machines: Callable[..., list[Machine]],
) -> None:
    two = machines(2)

    def seconds_to_follow(number: int) -> float:
        for machine in two:
            if not machine.runs():
                machine.start()
        owner = owner_of(two, "sink local")
        (other,) = (machine for machine in two if machine is not owner)
        ended = now()
        os.kill(owner.pid or 0, number)
        seconds = seconds_until_all_is_begun(other, ended)
        owner.stop()
        return seconds

    assert at_best(lambda: seconds_to_follow(signal.SIGKILL), 5) < 5
    (alive,) = (machine for machine in two if machine.runs())
    assert alive.post("firstpromoter", promoter(1))[0] == 202
    alive.wait_for({"firstpromoter:1": {"Email": "p1v1@example.com"}})
    assert at_best(lambda: seconds_to_follow(signal.SIGTERM), 2.5) < 2.5, "a lease of 3 s has run out instead"
    (alive,) = (machine for machine in two if machine.runs())
    assert alive.post("firstpromoter", promoter(1, 2))[0] == 202
    alive.wait_for({"firstpromoter:1": {"Email": "p1v2@example.com"}})


def test_roles_split_receiving_and_delivering(machines: Callable[..., list[Machine]]) -> None:
    (receiver,) = machines(1, 'roles = ["receive"]')
    assert receiver.post("firstpromoter", promoter(1))[0] == 202
    assert receiver.get("/readyz/receive")[0] == 200
    (deliverer,) = machines(1, 'roles = ["deliver"]')
    deliverer.wait_for({"firstpromoter:1": {"Email": "p1v1@example.com"}})
    assert deliverer.post("firstpromoter", promoter(2))[0] == 503
    assert deliverer.get("/readyz/receive")[0] == 503
    receiver.wait_until(lambda: set(owners(receiver).values()), lambda names: names == {deliverer.name})


def test_a_database_that_is_away_is_503_and_everything_goes_on_afterwards(
    cluster: Cluster, machines: Callable[..., list[Machine]]
) -> None:
    (machine,) = machines(1)
    assert machine.post("firstpromoter", promoter(1))[0] == 202
    cluster.stop()
    try:
        assert machine.post("firstpromoter", promoter(2))[0] == 503
        machine.wait_until(lambda: machine.get("/readyz/receive"), lambda said: said[0] == 503)
        status, answer = machine.get("/readyz")
        assert (status, answer["reasons"]) == (503, ["store"])
        assert machine.runs()
    finally:
        cluster.start()
    machine.wait_until(lambda: machine.post("firstpromoter", promoter(2)), lambda said: said[0] == 202)
    machine.wait_for({f"firstpromoter:{n}": {"Email": f"p{n}v1@example.com"} for n in (1, 2)})
    machine.wait_until(lambda: machine.get("/readyz"), lambda said: said == (200, {"status": "ready"}))
    assert [line for line in machine.lines() if line["event"] == "thread.died"] == []


def test_a_database_that_takes_no_writes_is_503_and_named(
    cluster: Cluster, machines: Callable[..., list[Machine]]
) -> None:
    (machine,) = machines(1)
    name = machine.url.partition("?")[0].rpartition("/")[2]
    cluster.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    kick = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    cluster.execute(kick)
    machine.wait_until(lambda: machine.post("firstpromoter", promoter(1)), lambda said: said[0] == 503)
    machine.wait_until(lambda: any("read-only" in str(line.get("reason")) for line in machine.lines()))
    machine.wait_until(lambda: machine.get("/readyz/receive"), lambda said: said[0] == 503)
    cluster.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    cluster.execute(kick)
    machine.wait_until(lambda: machine.post("firstpromoter", promoter(1)), lambda said: said[0] == 202)
    machine.wait_for({"firstpromoter:1": {"Email": "p1v1@example.com"}})


def test_a_database_that_is_slow_is_503_within_ten_seconds(
    cluster: Cluster, machines: Callable[..., list[Machine]]
) -> None:
    (machine,) = machines(1)
    import psycopg

    with psycopg.connect(machine.url) as sql:
        sql.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")

        def seconds_to_refuse() -> float:
            began = time.monotonic()
            assert machine.post("firstpromoter", promoter(1))[0] == 503
            return time.monotonic() - began

        assert at_best(seconds_to_refuse, 15) < 15
        sql.rollback()
    machine.wait_until(lambda: machine.post("firstpromoter", promoter(1)), lambda said: said[0] == 202)
    machine.wait_for({"firstpromoter:1": {"Email": "p1v1@example.com"}})
    assert len(machine.rows()) == 1
    del cluster


def keeps(machine: Machine, body: bytes) -> bool:
    """Whether a webhook is accepted. Who has just connected when one server follows the other loses the connection."""
    try:
        return machine.post("firstpromoter", body)[0] == 202
    except ConnectionError:
        return False


def test_a_database_that_is_away_at_the_start_is_503_and_waited_for(
    cluster: Cluster, tmp_path: Path, nursery: Nursery, url: str
) -> None:
    machine = Machine(tmp_path / "m", nursery, url, shared=tmp_path / "affiliates.csv")
    cluster.stop()
    try:
        machine.start()
        assert machine.post("firstpromoter", promoter(1))[0] == 503
        away = {"status": "not ready", "reasons": ["store"], "store": "can't be reached"}
        for path in ("/readyz", "/readyz/receive"):
            assert machine.get(path) == (503, away)
        assert machine.get("/healthz") == (200, {"status": "ok"})
        assert machine.get("/")[0] == 503
    finally:
        cluster.start()
    machine.wait_until(lambda: keeps(machine, promoter(1)))
    machine.wait_for({"firstpromoter:1": {"Email": "p1v1@example.com"}})
    machine.wait_until(lambda: machine.get("/readyz"), lambda said: said == (200, {"status": "ready"}))
    # While the server starts it may be asked, and refuse for another reason than before: then that is told as well.
    course = ["store.fails", "server.waits", "store.ok", "server.started"]
    events = dict.fromkeys(str(line["event"]) for line in machine.lines())
    assert [each for each in events if each in course] == course
    assert machine.stop() < 8
    assert machine.lines()[-1] == {"event": "exit", "code": 0}


def test_a_stop_ends_the_wait_for_a_database(tmp_path: Path, nursery: Nursery) -> None:
    machine = Machine(tmp_path / "m", nursery, "postgresql://127.0.0.1:1/x", shared=tmp_path / "affiliates.csv")
    machine.start()
    assert machine.post("firstpromoter", promoter(1))[0] == 503
    assert machine.stop() < 8
    assert machine.lines()[-1] == {"event": "exit", "code": 0}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("user=postgres", "user=nobody_here", "the database refuses us"),
        ("/test_", "/no_test_", "the database does not exist"),
    ],
)
def test_a_start_does_not_wait_for_what_a_person_must_change(
    old: str, new: str, words: str, tmp_path: Path, nursery: Nursery, url: str
) -> None:
    machine = Machine(tmp_path / "m", nursery, url.replace(old, new), shared=tmp_path / "affiliates.csv")
    machine.launch()
    machine.wait_until(lambda: not machine.runs())
    assert words in machine.log.read_text()
    assert machine.lines()[-1] == {"event": "exit", "code": 1}


def test_a_server_without_a_connection_left_is_named_and_waited_for() -> None:
    import psycopg

    with own_cluster("max_connections=5", "superuser_reserved_connections=0") as cluster, cluster.database() as url:
        store = Store(url, worker=True, now=now)
        taken = []
        with pytest.raises(psycopg.OperationalError):  # noqa: PT012 - the one that finds no place
            while True:
                taken.append(psycopg.connect(url))
        with pytest.raises(StoreUnavailable, match="the database has no connection left") as caught:
            Store(url, worker=False, now=now)
        assert caught.value.short == "has no connection left"
        assert store.status().records == 0, "a process keeps the connections that it has"
        for each in taken:
            each.close()

        def has_room() -> bool:
            try:
                Store(url, worker=False, now=now).close()
            except StoreUnavailable:
                return False
            return True

        until(has_room)  # a server notices the end of a connection a moment later
        store.close()


def test_a_process_opens_no_more_connections_than_it_may(url: str, cluster: Cluster) -> None:
    name = url.partition("?")[0].rpartition("/")[2]
    store = Store(url, worker=True, now=now, most_connections=3)
    threads = [threading.Thread(target=lambda: [store.status() for _ in range(10)]) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (found,) = cluster.execute(
        f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND backend_type = 'client backend'"
    )
    assert found[0] <= 3
    store.close()


def test_a_server_that_does_not_flush_its_disk_is_refused() -> None:
    with own_cluster("fsync=off") as cluster, cluster.database() as url:
        with pytest.raises(StoreUnavailable, match="fsync = off: a power loss would lose"):
            Store(url, worker=True, now=now)
        Store(url, worker=False, now=now).close()  # who only looks may


def test_a_holder_that_sleeps_does_no_harm(machines: Callable[..., list[Machine]]) -> None:
    two = machines(2)
    sleeper = owner_of(two, "sink local")
    awake = next(machine for machine in two if machine is not sleeper)
    assert awake.post("firstpromoter", promoter(1))[0] == 202
    os.kill(sleeper.pid or 0, signal.SIGSTOP)
    try:
        awake.wait_until(lambda: owners(awake), lambda held: held.get("sink local") == awake.name)
        assert awake.post("firstpromoter", promoter(1, 2))[0] == 202
        awake.wait_for({"firstpromoter:1": {"Email": "p1v2@example.com"}})
    finally:
        os.kill(sleeper.pid or 0, signal.SIGCONT)
    sleeper.wait_until(lambda: sleeper.get("/readyz"), lambda said: said[0] == 200)
    assert sleeper.post("firstpromoter", promoter(1, 3))[0] == 202
    awake.wait_for({"firstpromoter:1": {"Email": "p1v3@example.com"}})
    assert len(awake.rows()) == 1


def test_what_another_machine_forgets_leaves_the_file_of_dead_letters(
    tmp_path: Path, nursery: Nursery, url: str
) -> None:
    machine = Machine(tmp_path / "m", nursery, url, shared=tmp_path / "affiliates.csv")
    with machine.config.open("a") as config_file:
        config_file.write('[dead_letters]\npath = "dead.jsonl"\n')
    file = machine.folder / "dead.jsonl"
    store = machine.store()
    there = LetterTable(lambda: nullcontext(store), now=now)
    here = LetterTable(lambda: nullcontext(store), now=now, copy=LetterFile(file, now=now))
    letters = [Letter("deliver", "local/affiliates", f"plain:{n}", f"p{n}@example.com") for n in (1, 2, 3)]
    here.add(letters[:1])
    there.forget(lambda letter: letter.subject == "plain:1")  # while the machine is down
    here.add(letters[1:])
    machine.start()
    try:
        machine.wait_until(lambda: b"p1@" not in file.read_bytes())
        there.forget(lambda letter: letter.subject == "plain:2")
        machine.wait_until(lambda: b"p2@" not in file.read_bytes())
        assert b"p3@" in file.read_bytes()
    finally:
        machine.kill()
        store.close()


# ---------------------------------------------------------------- what may be configured


def test_a_file_is_refused_with_postgresql_unless_its_machine_is_named(tmp_path: Path, nursery: Nursery) -> None:
    machine = Machine(tmp_path / "m", nursery, "postgresql:///x", shared=tmp_path / "a.csv")
    config.load(machine.config, {})
    text = machine.config.read_text()
    machine.config.write_text("\n".join(line for line in text.splitlines() if "only_on" not in line))
    with pytest.raises(ConfigError, match=r"writes a file of one machine.*only_on = "):
        config.load(machine.config, {})


def test_a_file_of_another_machine_is_left_to_it(tmp_path: Path, nursery: Nursery, url: str) -> None:
    machine = Machine(tmp_path / "m", nursery, url, shared=tmp_path / "a.csv")
    machine.config.write_text(machine.config.read_text().replace(socket.gethostname(), "another"))
    machine.start()
    machine.wait_until(lambda: owners(machine), lambda held: held.keys() == ALL - {"sink local"})
    assert machine.post("firstpromoter", promoter(1))[0] == 202
    machine.kill()


def test_the_machine_that_has_the_file_delivers_it_whoever_has_the_rest(
    tmp_path: Path, nursery: Nursery, url: str
) -> None:
    elsewhere, here = (Machine(tmp_path / name, nursery, url, shared=tmp_path / "a.csv") for name in ("m1", "m2"))
    elsewhere.config.write_text(elsewhere.config.read_text().replace(socket.gethostname(), "another"))
    elsewhere.start()
    try:
        elsewhere.wait_until(lambda: owners(elsewhere).keys() == ALL - {"sink local"})
        assert elsewhere.post("firstpromoter", promoter(1))[0] == 202
        here.start()
        here.wait_for({"firstpromoter:1": {"Email": "p1v1@example.com"}})
        assert owner_of([elsewhere, here], "sink local") is here
        assert elsewhere.post("firstpromoter", promoter(1, 2))[0] == 202
        here.wait_for({"firstpromoter:1": {"Email": "p1v2@example.com"}})
        here.kill()
        assert elsewhere.post("firstpromoter", promoter(1, 3))[0] == 202
        elsewhere.wait_until(lambda: owners(elsewhere).keys() == ALL - {"sink local"})
        store = elsewhere.store()
        elsewhere.wait_until(lambda: store.pending_of("firstpromoter:1") != [])
        store.close()
        here.start()
        here.wait_for({"firstpromoter:1": {"Email": "p1v3@example.com"}})
    finally:
        elsewhere.kill()
        here.kill()


def test_roles_are_for_postgresql(tmp_path: Path, nursery: Nursery) -> None:
    with pytest.raises(ConfigError, match="one process does everything with an SQLite file"):
        config.load(Connector(tmp_path, nursery, server='roles = ["receive"]').config, {})


def test_the_url_of_the_store_may_be_in_a_file(tmp_path: Path, nursery: Nursery) -> None:
    machine = Machine(tmp_path / "m", nursery, "postgresql://u:s3cret-w0rd@h/x", shared=tmp_path / "a.csv")
    (machine.folder / "url").write_text("postgresql://u:s3cret-w0rd@h/x\n")
    text = machine.config.read_text().replace('url = "postgresql://u:s3cret-w0rd@h/x"', 'url_file = "url"')
    machine.config.write_text(text)
    found = config.load(machine.config, {})
    assert found.store.url == "postgresql://u:s3cret-w0rd@h/x"
    assert "s3cret-w0rd" in found.secrets


# ---------------------------------------------------------------- sharing out


class Table:
    """Leases in memory, and who asks for them."""

    def __init__(self) -> None:
        self.holders: dict[str, str] = {}
        self.alive: list[str] = []

    def of(self, me: str) -> Asking:
        self.alive.append(me)
        return Asking(self, me)


class Asking:
    def __init__(self, table: Table, me: str) -> None:
        self._table, self._me = table, me

    def beat(self, note: str = "") -> Beat:
        mine = {name for name, holder in self._table.holders.items() if holder == self._me}
        return Beat(frozenset(mine), frozenset(self._table.holders.keys() - mine), {"deliver": len(self._table.alive)})

    def acquire(self, name: str, routes: Sequence[str], late_call_seconds: float) -> bool:
        return self._table.holders.setdefault(name, self._me) == self._me

    def release(self, name: str) -> None:
        if self._table.holders.get(name) == self._me:
            del self._table.holders[name]

    def leave(self) -> None:
        self._table.alive.remove(self._me)

    def repeat_late(self, routes: Sequence[str]) -> int:
        return 0


class Steady:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def process(table: Table, me: str, clock: Steady, sinks: int = 4) -> tuple[Sharing, list[Duty]]:
    duties = [Duty(f"sink {n}", tuple, weight=1) for n in range(sinks)] + [Duty("upkeep", tuple)]
    return Sharing(duties, table.of(me), steady=clock), duties


def turns(clock: Steady, *sharing: Sharing, count: int = 12) -> None:
    for _ in range(count):
        for each in sharing:
            each.step()
        clock.seconds += 0.5


def test_sinks_are_shared_out_and_given_to_who_comes_later() -> None:
    table, clock = Table(), Steady()
    one, ones = process(table, "one", clock)
    turns(clock, one)
    assert set(table.holders.values()) == {"one"}
    two, twos = process(table, "two", clock)
    turns(clock, one, two)
    holders = [table.holders[f"sink {n}"] for n in range(4)]
    assert sorted(holders) == ["one", "one", "two", "two"]
    assert [duty.is_on for duty in ones[:4]] == [holder == "one" for holder in holders]
    assert [duty.is_on for duty in twos[:4]] == [holder == "two" for holder in holders]
    two.hand_over()
    turns(clock, two, one)
    two.stop()
    two.close()
    turns(clock, one)
    assert set(table.holders.values()) == {"one"}


def test_a_sink_that_nobody_else_knows_stays_and_is_not_offered_all_the_time() -> None:
    table, clock = Table(), Steady()
    one, ones = process(table, "one", clock)
    other, _ = process(table, "other", clock, sinks=0)
    turns(clock, one, other, count=20)
    assert {table.holders[f"sink {n}"] for n in range(4)} == {"one"}
    changes = 0
    for _ in range(100):
        before = [duty.is_on for duty in ones]
        turns(clock, one, other, count=1)
        changes += before != [duty.is_on for duty in ones]
    assert changes <= 8


def test_a_duty_whose_threads_hang_is_not_begun_again_before_they_end() -> None:
    release, begun = threading.Event(), list[int]()

    def hang() -> None:
        begun.append(1)
        release.wait(20)

    def runs() -> list[Run]:
        return [("hangs", hang)]

    table, clock = Table(), Steady()
    duty = Duty("sink 0", runs, weight=1)
    sharing = Sharing([duty], table.of("one"), steady=clock)
    turns(clock, sharing)
    assert begun == [1]
    table.holders["sink 0"] = "two"
    turns(clock, sharing)
    assert not duty.is_on
    del table.holders["sink 0"]
    turns(clock, sharing)
    assert (begun, table.holders) == ([1], {})
    release.set()
    duty.threads.join()
    turns(clock, sharing)
    assert len(begun) == 2
    duty.end(for_good=True)


def test_a_store_that_fails_ends_nothing() -> None:
    class Failing(Asking):
        def beat(self, note: str = "") -> Beat:
            raise StoreUnavailable("it is away")

    table = Table()
    duty = Duty("sink 0", tuple, weight=1)
    duty.begin()
    Sharing([duty], Failing(table, "one")).step()
    assert duty.is_on
