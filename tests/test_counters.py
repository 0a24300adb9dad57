"""What the store counts as it goes is what there is, whatever happened in between."""

from __future__ import annotations

import tempfile
from contextlib import closing, suppress
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from connector.store import Store
from connector.store.model import Result, Saved
from connector.store.store import open_engine
from connector.store.tables import count_anew
from tests.doubles import Clock
from tests.postgres import Cluster
from tests.stores import LEASE, place_in, save

ROUTES = ("a/b", "c/d")
NAMES = st.sampled_from(["one", "two", "three"])
KEYS = st.sets(st.sampled_from(["k1", "k2", "k3", "k4"]), max_size=3)


class Died(Exception):
    pass


class DyingClock(Clock):
    """A clock that takes the program down when it is asked the next time but so many; never by itself."""

    lives = -1

    def __call__(self):  # type: ignore[no-untyped-def]
        self.lives -= 1
        if self.lives == 0:
            raise Died
        return super().__call__()


def counted(store: Store) -> dict[str, tuple[int, int]]:
    status = store.status()
    return {"": (status.records, 0)} | {each.route: (each.rows, each.affiliates) for each in status.routes}


def there(url: str) -> dict[str, tuple[int, int]]:
    with closing(open_engine(url)) as engine, engine.reading() as sql:
        (records,) = sql.execute("SELECT count(*) FROM records").fetchone()
        found = {"": (records, 0)}
        for (route,) in sql.execute("SELECT route FROM routes").fetchall():
            text = "SELECT count(*), count(DISTINCT record_id) FROM written WHERE route = ?"
            found[route] = tuple(sql.execute(text, (route,)).fetchone())
    return found


class CountersMachine(RuleBasedStateMachine):
    cluster: Cluster | None = None

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.made = place_in(Path(self.folder.name), self.cluster)
        self.place = self.made.__enter__()
        self.clock = self.place.clock = DyingClock()
        self.store = self.place.open()
        self.store.enroll(ROUTES)

    @rule(names=st.sets(NAMES, min_size=1))
    def change(self, names: set[str]) -> None:
        known = self.store.load(names)
        versions = {name: known[name].version if name in known else 0 for name in names}
        save(self.store, *(Saved(name, version, version + 1, b"{}") for name, version in sorted(versions.items())))

    @rule(route=st.sampled_from(ROUTES), data=st.data(), lives=st.integers(-1, 4))
    def deliver(self, route: str, data: st.DataObject, lives: int) -> None:
        results = [
            Result(
                one.record_id, one.version, one.token,
                written=dict.fromkeys(sorted(data.draw(KEYS)), "{}"), removed=sorted(data.draw(KEYS)),
            )
            for one in self.store.take(route, 3, lease=LEASE)
        ]  # fmt: skip
        self.clock.lives = lives
        with suppress(Died):
            self.store.finish(route, results, delivered=True)
        self.clock.lives = -1

    @rule(route=st.sampled_from(ROUTES), name=NAMES, written=KEYS, removed=KEYS)
    def undo(self, route: str, name: str, written: set[str], removed: set[str]) -> None:
        result = Result(name, 1, "", written=dict.fromkeys(sorted(written), "{}"), removed=sorted(removed))
        if route in counted(self.store):
            self.store.keep_written(route, [result])

    @rule(names=st.sets(NAMES))
    def forget(self, names: set[str]) -> None:
        self.store.forget(sorted(names), [])

    @rule(route=st.sampled_from(ROUTES), overwrite=st.booleans())
    def resync(self, route: str, overwrite: bool) -> None:
        with suppress(KeyError):
            self.store.resync(route, overwrite_edits=overwrite)

    @rule(routes=st.sets(st.sampled_from(ROUTES)))
    def enroll(self, routes: set[str]) -> None:
        self.store.enroll(sorted(routes))

    @rule()
    def time_goes_by(self) -> None:
        self.clock.seconds += 61

    @invariant()
    def what_is_counted_is_there(self) -> None:
        assert counted(self.store) == there(self.place.url)

    def teardown(self) -> None:
        before = counted(self.store)
        with self.store._engine.writing() as sql:
            count_anew(self.store._engine, sql)
        assert counted(self.store) == before
        self.made.__exit__(None, None, None)
        self.folder.cleanup()


TestCounters = CountersMachine.TestCase
TestCounters.settings = settings(max_examples=10, stateful_step_count=15)


def test_on_postgresql(cluster: Cluster) -> None:
    class OnPostgres(CountersMachine):
        pass

    OnPostgres.cluster = cluster
    run_state_machine_as_test(OnPostgres, settings=settings(max_examples=5, stateful_step_count=15))
