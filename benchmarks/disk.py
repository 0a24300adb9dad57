"""Bytes on disk for an event and for an affiliate, and that pruning keeps the files bounded."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks import measure, stores
from benchmarks.measure import Goal
from connector.store.model import LogLine, Result
from connector.store.store import Store

_kept_days = 3


def main(words: list[str]) -> None:
    asked = measure.parser("disk", __doc__)
    asked.add_argument("--events", type=int, default=100_000)
    asked.add_argument("--affiliates", type=int, default=20_000)
    asked.add_argument("--days", type=int, default=15, help="with pruning, three days kept")
    asked.add_argument("--events-a-day", type=int, default=10_000)
    given = asked.parse_args(words)
    with tempfile.TemporaryDirectory() as temporary:
        sizes = _sizes(Path(temporary), given.events, given.affiliates)
        days = _days(Path(temporary) / "days", given.days, given.events_a_day)
    # Fingerprints are kept for two generations. One ends at the first daily pruning that finds all of it older than the
    # events kept, a day after it is as old; on top comes the day that is not pruned yet.
    settled = 2 * (_kept_days + 1) + 1
    grown = max(days[settled:]) / max(days[:settled])
    command = "python -m benchmarks disk"
    goals = [
        Goal(f"Pruning: largest size after day {settled}, of before", grown, "at most", 1.05, "", command),
    ]
    if not given.json:
        measure.show("disk", ["what", "bytes"], [[name, measure.number(value)] for name, value in sizes.items()])
        measure.show(
            f"disk: {given.days} days of {given.events_a_day:,} events, three kept",
            ["day", "MiB"],
            [[str(day + 1), size / 1024 / 1024] for day, size in enumerate(days)],
        )
    measure.report("disk", {"bytes": sizes, "bytes_by_day": days, "grown": grown}, goals, given)


def _sizes(folder: Path, events: int, affiliates: int) -> dict[str, float]:
    """An event's and an affiliate's share of the files: two stores that differ in one number tell them apart."""
    many = _files(folder / "many", events, affiliates)
    fewer_events = _files(folder / "fewer-events", events // 2, affiliates)
    fewer_affiliates = _files(folder / "fewer-affiliates", events, affiliates // 2)
    body = len(stores.body(0, 0))
    alone = (_alone(folder / "alone", 4_000) - _alone(folder / "fewer-alone", 2_000)) / 2_000
    known = (many[1] - fewer_events[1]) / (events / 2)
    return {
        "a body as it came": body,
        "an event that comes alone, in the inbox": alone,
        "an event that comes with many, in the inbox": (many[0] - fewer_events[0]) / (events / 2),
        "an event, for knowing it again and who it was about": known,
        "an affiliate, with one route delivered": (many[1] - fewer_affiliates[1]) / (affiliates / 2),
        "an event that comes alone, of its body": (alone + known) / body,
        f"all of {events} events, with many, and {affiliates} affiliates": sum(many),
    }


def _alone(folder: Path, events: int) -> int:
    """Size of the inbox with so many events, each in a transaction of its own."""
    store = stores.new_store(folder)
    for number in range(events):
        store.append(stores.accepted([(number, number % 500)]))
    store.close()
    return _size(folder / "connector-inbox.db")


def _files(folder: Path, events: int, affiliates: int) -> tuple[int, int]:
    """Sizes of the inbox and of the records, logs emptied."""
    store = stores.new_store(folder)
    store.enroll(["csv/local_csv"])
    stores.fill(store, folder, events, affiliates)
    _settle(store)
    store.close()
    return _size(folder / "connector-inbox.db"), _size(folder / "connector.db")


def _settle(store: Store) -> None:
    """As if the route had written a row of ordinary width for each record."""
    cells = (
        '{"Affiliate ID":"firstpromoter:800000001","Name":"Grace Partner 800000001","Company":"Compilers and Partners",'
        '"E-mail":"partner800000001@example.com","Status":"Active","Programme":"Main programme",'
        '"Link":"https://shop.example.com?via=ref800000001","Visitors":51,"Leads":13,"Customers":7,"Sales":"62.50",'
        '"Earned":"7000000.01","Country":"United Kingdom","Joined":"2025-11-03"}'
    )
    while pending := store.take("csv/local_csv", 1_000, lease=timedelta(minutes=1)):
        store.finish(
            "csv/local_csv",
            [
                Result(
                    one.record_id, one.version, one.token, {one.record_id: cells},
                    log=[LogLine(one.record_id, "written", cells=cells)],
                )
                for one in pending
            ],
            delivered=True,
        )  # fmt: skip


def _days(folder: Path, days: int, events: int) -> list[int]:
    """The size of all files after each day, with three days kept."""
    today = [datetime(2026, 5, 4, 12, tzinfo=UTC)]
    sizes = []
    store = stores.new_store(folder, lambda: today[0])
    store.enroll(["csv/local_csv"])
    project = stores.projector(store, folder, lambda: today[0])
    for day in range(days):
        store.append(
            stores.accepted(
                [(day * events + number, number % (events // 5)) for number in range(events)], lambda: today[0]
            )
        )
        while project.step():
            pass
        _settle(store)
        today[0] += timedelta(days=1)
        while store.prune(today[0] - timedelta(days=_kept_days)):
            pass
        sizes.append(sum(_size(path) for path in folder.glob("connector*.db*")))
    store.close()
    return sizes


def _size(path: Path) -> int:
    return path.stat().st_size
