"""Bytes of the database file for an event and for an affiliate, and that pruning keeps the file bounded."""

from __future__ import annotations

import tempfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks import measure, stores
from benchmarks.measure import MIB, Goal
from connector.store import Store
from connector.store.model import LogLine, Result

_KEPT_DAYS = 3
_SETTLED_DAYS = _KEPT_DAYS + 2
_ROUTE = "csv/local_csv"
_CELLS = (
    '{"Affiliate ID":"firstpromoter:800000001","Name":"Grace Partner 800000001","Company":"Compilers and Partners",'
    '"E-mail":"partner800000001@example.com","Status":"Active","Programme":"Main programme",'
    '"Link":"https://shop.example.com?via=ref800000001","Visitors":51,"Leads":13,"Customers":7,"Sales":"62.50",'
    '"Earned":"7000000.01","Country":"United Kingdom","Joined":"2025-11-03"}'
)
"""A row of ordinary width, as the store keeps what was written."""


def main(words: list[str]) -> None:
    asked = measure.Options("disk", __doc__)
    asked.add_argument("--events", type=int, default=4_000, help="that come alone")
    asked.add_argument("--affiliates", type=int, default=20_000, help="each with a row written")
    asked.add_argument("--days", type=int, default=15, help="with pruning, three days kept")
    asked.add_argument("--events-a-day", type=int, default=10_000)
    given = asked.given(words)
    body = len(stores.body(0, 0))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        half, people = given.events // 2, given.affiliates
        event = (_alone(folder / "all", 2 * half, half // 8) - _alone(folder / "half", half, half // 8)) / half
        affiliate = (_delivered(folder / "many", people, people) - _delivered(folder / "few", people, people // 2)) / (
            people / 2
        )
        days = _days(folder / "days", given.days, given.events_a_day)
    grown = max(days[_SETTLED_DAYS:]) / max(days[:_SETTLED_DAYS])
    found = {
        "bytes": {"body": body, "event_that_comes_alone": event, "affiliate_with_one_route": affiliate},
        "MiB after each day": {f"day {day + 1}": size / MIB for day, size in enumerate(days)},
    }
    goals = [
        Goal("Database file: an event that comes alone ÷ its body", event / body, "at most", 0.75),
        Goal(f"Pruning: largest file after day {_SETTLED_DAYS} ÷ before", grown, "at most", 1.05),
    ]
    measure.report("disk", found, goals, given)


def _alone(folder: Path, events: int, affiliates: int) -> int:
    """Size of the file with so many events, each appended in a transaction of its own."""
    with closing(stores.new_store(folder)) as store:
        for number in range(events):
            store.append(stores.accepted([(number, number % affiliates)]))
        stores.project_all(stores.projector(store, folder))
    return _size(folder)


def _delivered(folder: Path, events: int, affiliates: int) -> int:
    """Size of the file with a row written for each affiliate."""
    with closing(stores.new_store(folder)) as store:
        store.enroll([_ROUTE])
        stores.fill(store, folder, events, affiliates)
        _settle(store)
    return _size(folder)


def _settle(store: Store) -> None:
    """As if the route had written a row for each record."""
    while pending := store.take(_ROUTE, 1_000, lease=timedelta(minutes=1)):
        results = [
            Result(
                one.record_id, one.version, one.token, {one.record_id: _CELLS},
                log=[LogLine(one.record_id, "written", cells=_CELLS)],
            )
            for one in pending
        ]  # fmt: skip
        store.finish(_ROUTE, results, delivered=True)


def _days(folder: Path, days: int, events: int) -> list[int]:
    """The size of the file after each day, with three days kept."""
    today = [datetime(2026, 5, 4, 12, tzinfo=UTC)]
    sizes = []
    with closing(stores.new_store(folder, lambda: today[0])) as store:
        store.enroll([_ROUTE])
        project = stores.projector(store, folder, lambda: today[0])
        for day in range(days):
            numbers = [(day * events + number, number % (events // 5)) for number in range(events)]
            store.append(stores.accepted(numbers, lambda: today[0]))
            stores.project_all(project)
            _settle(store)
            today[0] += timedelta(days=1)
            while store.prune(today[0] - timedelta(days=_KEPT_DAYS)):
                pass
            sizes.append(_size(folder))
    return sizes


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("connector*.db*"))
