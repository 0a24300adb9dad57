"""A store is taken to another database and back; what is not all there serves nobody."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from connector.core.errors import StoreUnavailable
from connector.dead_letters import Letter, LetterFile, LetterTable
from connector.store import Store
from connector.store.model import LogLine, Result, RouteState, Saved, StoreDamaged, StoreInUse
from connector.store.moving import move
from connector.store.store import open_engine
from connector.store.tables import primary_keys
from tests.doubles import START, Clock, event
from tests.postgres import Cluster
from tests.running import Connector, Nursery
from tests.stores import LEASE, save

now = Clock()


def no_letters(_: Sequence[str]) -> list[tuple[str, str, str, str, str]]:
    return []


def quiet(_table: str, _rows: int) -> None:
    pass


@pytest.fixture
def database(cluster: Cluster) -> Iterator[str]:
    with cluster.database() as url:
        yield url


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A store with something in every table that delivery and projecting use."""
    url = f"sqlite:///{tmp_path}/c.db"
    store = Store(url, worker=True, now=now)
    store.enroll(["a/b"])
    store.append([event(n, email=f"{n}@example.com") for n in range(1_200)])
    save(store, *(Saved(f"plain:{n}", 0, 1, b'{"a":"\xc3\xa9\xf0\x9f\x98\x80"}') for n in range(1_100)))
    for one in store.take("a/b", 50, lease=LEASE):
        line = LogLine(one.record_id, "written", cells="{}")
        store.finish("a/b", [Result(one.record_id, 1, one.token, {one.record_id: "{}"}, log=[line])])
    store.set_route_state("a/b", RouteState("waiting", "down", START + timedelta(hours=1), 3, START))
    store.remember("sink", "note", "kept")
    store.close()
    return url


def everything(url: str) -> tuple[object, ...]:
    store = Store(url, worker=False, now=now)
    try:
        return (
            store.status(), store.read_events(0, 5_000), store.load(store.record_ids(limit=5_000)), store.epoch(),
            store.written("a/b", store.record_ids()), store.recall("sink", "note"), store.route_state("a/b"),
        )  # fmt: skip
    finally:
        store.close()


def test_a_store_moves_to_postgresql_and_back_with_all_that_it_had(file: str, database: str, tmp_path: Path) -> None:
    before = everything(file)
    moved = move(file, database, now(), no_letters, quiet)
    assert moved.rows["events"] == 1_201
    assert everything(database) == before
    store = Store(database, worker=True, now=now)
    store.append([event(9_999)])  # its number is none that was used before
    assert store.read_events(1_201, 10)[0].event == event(9_999)
    store.close()
    before = everything(database)
    back = f"sqlite:///{tmp_path}/back.db"
    again = move(database, back, now(), no_letters, quiet)
    assert everything(back) == before
    assert again.digest != moved.digest


def test_the_old_store_says_where_it_went_and_serves_no_more(file: str, database: str) -> None:
    move(file, database, now(), no_letters, quiet)
    for worker in (True, False):
        with pytest.raises(StoreDamaged, match="this store was moved to postgresql:///test_"):
            Store(file, worker=worker, now=now)
    with pytest.raises(StoreDamaged, match="there is a store already"):
        move(file, database, now(), no_letters, quiet)


def test_a_place_that_has_a_store_is_refused(file: str, tmp_path: Path) -> None:
    other = f"sqlite:///{tmp_path}/other.db"
    store = Store(other, worker=True, now=now)
    store.enroll(["c/d"])
    store.close()
    with pytest.raises(StoreDamaged, match="there is a store already"):
        move(file, other, now(), no_letters, quiet)
    assert everything(file)


def test_a_store_that_is_worked_on_is_refused(file: str, database: str) -> None:
    store = Store(file, worker=True, now=now)
    with pytest.raises(StoreInUse):
        move(file, database, now(), no_letters, quiet)
    store.close()
    busy = Store(database, worker=True, now=now)
    busy.join(["deliver"], [])
    with pytest.raises(StoreInUse, match="process "):
        move(file, database, now(), no_letters, quiet)
    busy.close()


@pytest.mark.parametrize("at", ["events", "written", "letters"])
def test_a_move_that_is_killed_is_run_once_more(file: str, database: str, at: str) -> None:
    def dies(table: str, _rows: int) -> None:
        if table == at:
            raise KeyboardInterrupt

    def dies_at_letters(_: Sequence[str]) -> list[tuple[str, str, str, str, str]]:
        raise KeyboardInterrupt

    before = everything(file)
    with pytest.raises(KeyboardInterrupt):
        move(file, database, now(), dies_at_letters if at == "letters" else no_letters, dies)
    with pytest.raises(StoreDamaged, match="a move into it did not end"):
        Store(database, worker=True, now=now)
    assert everything(file) == before
    move(file, database, now(), no_letters, quiet)
    assert everything(database) == before


def test_a_move_that_is_killed_between_its_last_steps_is_ended(file: str, database: str) -> None:
    before = everything(file)
    move(file, database, now(), no_letters, quiet)
    engine = open_engine(database)
    with engine.writing() as sql:
        sql.execute("INSERT INTO state VALUES ('moving', 2)")
    engine.close()
    with pytest.raises(StoreDamaged, match="did not end"):
        Store(database, worker=True, now=now)
    move(file, database, now(), no_letters, quiet)
    assert everything(database) == before


def test_what_came_after_a_move_that_was_killed_is_taken_along(file: str, database: str) -> None:
    """All had arrived when the command was killed, the old store did not know yet, and a server ran on it again."""

    def dies(_: Sequence[str]) -> list[tuple[str, str, str, str, str]]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        move(file, database, now(), dies, quiet)
    engine = open_engine(database)
    with engine.writing() as sql:
        sql.execute("UPDATE state SET value = 2 WHERE name = 'moving'")
    engine.close()
    store = Store(file, worker=True, now=now)
    store.append([event(9_999)])
    store.close()
    before = everything(file)
    move(file, database, now(), no_letters, quiet)
    assert everything(database) == before


def test_a_process_that_starts_meanwhile_is_noticed_and_what_it_kept_is_taken_along(
    database: str, tmp_path: Path
) -> None:
    Store(database, worker=True, now=now).close()
    late: list[Store] = []

    def starts(_: Sequence[str]) -> list[tuple[str, str, str, str, str]]:
        late.append(Store(database, worker=True, now=now))
        late[0].join(["receive"], [])
        late[0].append([event(1)])
        return []

    with pytest.raises(StoreInUse, match="process "):
        move(database, str(tmp_path / "new.db"), now(), starts, quiet)
    late[0].leave()
    before = everything(database)
    move(database, str(tmp_path / "new.db"), now(), no_letters, quiet)
    assert everything(str(tmp_path / "new.db")) == before
    with pytest.raises(StoreDamaged, match="this store was moved to"):
        late[0].join(["receive"], [])  # it was opened before
    late[0].close()


def test_what_arrives_changed_is_noticed(file: str, database: str) -> None:
    def spoils(table: str, _rows: int) -> None:
        if table == "written":
            engine = open_engine(database)
            with engine.writing() as sql:
                sql.execute("UPDATE records SET version = 7 WHERE id = 'plain:1'")
            engine.close()

    with pytest.raises(StoreUnavailable, match="what arrived differs in records"):
        move(file, database, now(), no_letters, spoils)
    assert everything(file)


def test_every_table_has_a_key_by_which_it_is_read_in_pages(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/c.db", worker=True, now=now)
    with store._engine.reading() as sql:
        names = {name for (name,) in sql.execute(store._engine.catalog).fetchall() if not name.startswith("sqlite")}
        assert primary_keys().keys() == names
        for name, key in primary_keys().items():
            columns = sql.execute(f"PRAGMA table_info({name})").fetchall()
            assert set(key) == {column[1] for column in columns if column[5]}
    store.close()


def test_the_command_takes_the_dead_letters_along_and_the_old_store_refuses_to_serve(
    tmp_path: Path, nursery: Nursery, database: str, cluster: Cluster
) -> None:
    connector = Connector(tmp_path, nursery).start()
    body = {"event": {"id": 1, "type": "promoter_signed_up"}, "data": {"promoter": {"id": 1, "email": "a@example.com"}}}
    connector.send("firstpromoter", body)
    connector.wait_for({"firstpromoter:1": {"Email": "a@example.com"}})
    connector.stop()
    letters = LetterFile(tmp_path / "data" / "dead-letters.jsonl", now=now)
    letters.add([Letter("deliver", "local/local_csv", "firstpromoter:1", "no")])
    done = connector.command("move-store", "--to", database)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Counts and digests are equal" in done.stdout
    assert re.search(r"^Next: set \[store\] url", done.stdout, re.MULTILINE)
    refused = connector.command("serve")
    assert refused.returncode == 1
    assert "was moved to postgresql" in refused.stderr
    opened = Store(database, worker=False, now=now)
    table = LetterTable(lambda: _Open(opened), now=now)
    assert [(letter.subject, letter.at) for letter in table.list()] == [("firstpromoter:1", now())]
    opened.close()
    del cluster


class _Open:
    def __init__(self, store: Store) -> None:
        self._store = store

    def __enter__(self) -> Store:
        return self._store

    def __exit__(self, *_: object) -> None:
        pass
