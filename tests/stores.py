"""Where a store of the tests is: an SQLite file, or a database of PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from connector.store import Store
from connector.store.model import Batch, Saved
from tests.doubles import Clock, event
from tests.postgres import Cluster

LEASE = timedelta(minutes=1)


class Place:
    """A URL; every store that was opened there is closed with it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.clock = Clock()
        self._opened: list[Store] = []

    @property
    def is_file(self) -> bool:
        return self.url.startswith("sqlite:")

    def open(self, *, worker: bool = True) -> Store:
        store = Store(self.url, worker=worker, now=self.clock)
        self._opened.append(store)
        return store

    def close(self) -> None:
        for store in self._opened:
            store.close()


@contextmanager
def place_in(folder: Path, cluster: Cluster | None) -> Iterator[Place]:
    """A new place: in *cluster*, or a file in *folder*."""
    if cluster is None:
        place = Place(f"sqlite:///{folder}/c.db")
        yield place
        place.close()
        return
    with cluster.database() as url:
        place = Place(url)
        yield place
        place.close()


def save(store: Store, *records: Saved) -> None:
    """Project one event that says *records*."""
    epoch = store.epoch()
    store.append([event(1, at=epoch)])
    seqs = [stored.seq for stored in store.read_events(0, 1000, todo=True)]
    store.commit(Batch(epoch, seqs, records))


def project_all(store: Store, records: tuple[Saved, ...] = ()) -> None:
    """As if every event that waits had been projected."""
    while seqs := [stored.seq for stored in store.read_events(0, 5000, todo=True)]:
        store.commit(Batch(store.epoch(), seqs, records))
