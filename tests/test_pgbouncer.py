"""Connectors that reach PostgreSQL through a PgBouncer, which gives each transaction another connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connector.core.errors import StoreUnavailable
from connector.store import Store
from tests.machines import Machine, promoter
from tests.pgbouncer import Pool, pool_of
from tests.postgres import Cluster
from tests.running import PATIENCE_SECONDS, Nursery, now

_CONNECTIONS = 3  # two connectors want more than that


@pytest.fixture(scope="module")
def pool(cluster: Cluster) -> Iterator[Pool]:
    with pool_of(cluster, connections=_CONNECTIONS) as pool:
        yield pool


@pytest.fixture
def url(cluster: Cluster, pool: Pool) -> Iterator[str]:
    with cluster.database() as url:
        yield pool.url(url)


@pytest.fixture
def machines(tmp_path: Path, nursery: Nursery, url: str) -> Iterator[Callable[[int], list[Machine]]]:
    made: list[Machine] = []

    def make(count: int) -> list[Machine]:
        made.extend(Machine(tmp_path / f"m{n}", nursery, url, shared=tmp_path / "affiliates.csv") for n in range(count))
        for machine in made:
            machine.start()
        return made

    yield make
    for machine in made:
        machine.kill()


def rows(*numbers: int, version: int = 1) -> dict[str, dict[str, str]]:
    return {f"firstpromoter:{n}": {"Email": f"p{n}v{version}@example.com"} for n in numbers}


def test_two_connectors_work_through_a_pool_and_one_follows_the_other(
    machines: Callable[[int], list[Machine]], cluster: Cluster
) -> None:
    two = machines(2)
    for number in range(1, 31):  # often enough that a driver would prepare its statements
        assert two[number % 2].post("firstpromoter", promoter(number))[0] == 202
    two[0].wait_for(rows(*range(1, 31)))
    store = two[0].store()
    owners = two[0].wait_until(lambda: [each.name for each in store.processes() if "sink local" in each.owns])
    store.close()
    first = next(machine for machine in two if machine.name in owners)
    second = next(machine for machine in two if machine is not first)
    first.kill()
    assert second.post("firstpromoter", promoter(1, 2))[0] == 202
    second.wait_for(rows(1, version=2))
    first.start()
    first.wait_until(lambda: all(machine.get("/readyz") == (200, {"status": "ready"}) for machine in two))
    name = second.url.partition("?")[0].rpartition("/")[2]
    (opened,) = cluster.execute(
        f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND backend_type = 'client backend'"
    )
    assert opened[0] <= _CONNECTIONS
    assert all(machine.stop() < 8 for machine in two)
    for machine in two:
        assert [line for line in machine.lines() if line["event"] in ("thread.died", "store.fails")] == []


def test_a_pool_that_is_restarted_and_a_server_behind_it_that_is_restarted_are_waited_for(
    machines: Callable[[int], list[Machine]], cluster: Cluster, pool: Pool
) -> None:
    (machine,) = machines(1)
    assert machine.post("firstpromoter", promoter(1))[0] == 202
    pool.stop()
    assert machine.post("firstpromoter", promoter(2))[0] == 503
    machine.wait_until(lambda: machine.get("/readyz/receive")[0] == 503)
    pool.start()
    machine.wait_until(lambda: machine.post("firstpromoter", promoter(2))[0] == 202)
    cluster.stop()
    assert machine.post("firstpromoter", promoter(3))[0] == 503
    cluster.start()
    machine.wait_until(lambda: machine.post("firstpromoter", promoter(3))[0] == 202)
    machine.wait_for(rows(1, 2, 3))
    machine.wait_until(lambda: machine.get("/readyz") == (200, {"status": "ready"}))
    assert [line for line in machine.lines() if line["event"] == "thread.died"] == []


def test_no_setting_stays_on_a_connection_that_others_get(url: str, cluster: Cluster) -> None:
    store = Store(url, worker=True, now=now)
    with store._engine.reading() as sql, store._engine.writing() as other:
        for each in (sql, other):
            shown = [
                each.execute(f"SHOW {name}").fetchone()[0]
                for name in (
                    "synchronous_commit", "statement_timeout", "enable_seqscan", "enable_bitmapscan",
                    "idle_in_transaction_session_timeout",
                )
            ]  # fmt: skip
            assert shown == ["on", "30s", "off", "off", "3s"]
    assert store.erase()
    store.close()
    import psycopg

    with psycopg.connect(url.replace("&pgbouncer=true", ""), autocommit=True, prepare_threshold=None) as sql:
        for _ in range(10):
            for name, value in (("statement_timeout", "0"), ("enable_seqscan", "on")):
                assert sql.execute(f"SHOW {name}".encode()).fetchone() == (value,)


def test_a_pool_that_the_url_does_not_name_is_refused_in_words(url: str) -> None:
    with pytest.raises(StoreUnavailable, match=r"is behind a PgBouncer: add \?pgbouncer=true to the URL"):
        Store(url.replace("&pgbouncer=true", ""), worker=True, now=now)


def test_a_transaction_that_fails_leaves_its_connection_usable(url: str) -> None:
    store = Store(url, worker=True, now=now, most_connections=1)
    for _ in range(2):
        with pytest.raises(StoreUnavailable), store._engine.writing() as sql:
            sql.execute("INSERT INTO notes VALUES ('a', 'b', 'c'), ('a', 'b', 'c')")
        with pytest.raises(StoreUnavailable), store._engine.reading() as sql:
            sql.execute("SELECT nothing FROM nowhere")
        assert store.recall("a", "b") is None
    began = time.monotonic()
    with pytest.raises(StoreUnavailable), store._engine.reading() as sql:
        sql.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    store.remember("a", "b", "c")
    assert store.recall("a", "b") == "c"
    assert time.monotonic() - began < PATIENCE_SECONDS / 2
    store.close()
