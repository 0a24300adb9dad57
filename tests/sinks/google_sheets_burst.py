"""A burst of changes for one tab, delivered as delivery does it, on a clock that only moves when the sink waits.

The server has Google's quota of 60 reads and 60 writes a minute; each call is taken to last a second, as Google's do.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from msgspec.structs import replace

from connector.core.errors import TryLater
from connector.core.row import Cell, Column, Row
from tests.sinks.google_sheets_file import SheetsFile

columns = (
    Column("ID"), Column("Name"), Column("Company"), Column("E-mail", type="email"), Column("Status"),
    Column("Programme"), Column("Link", type="url"), Column("Code"), Column("Visitors", type="integer"),
    Column("Leads", type="integer"), Column("Sales", type="money"), Column("Balance", type="money"),
    Column("Country", type="country"), Column("Joined", type="date"), Column("Last event", type="datetime"),
)  # fmt: skip
rows_a_batch = 1_900
"""Changed rows of three cells that 2 MB hold, by the document the sink was built to."""
_start = datetime(2026, 1, 1, 12, tzinfo=UTC)


def record(number: int, changes: int = 0) -> Row:
    """An affiliate after so many changes: visitors, balance and last event move."""
    key = f"firstpromoter:{9_000_000 + number}"
    cells: dict[str, Cell] = {
        "ID": key,
        "Name": f"Ada Lovelace {number}",
        "Company": f"Engines & Sons {number}",
        "E-mail": f"ada.lovelace.{number}@example.com",
        "Status": "Active",
        "Programme": "Main programme",
        "Link": f"https://example.com/?ref=ada{number}",
        "Code": f"ADA{number}",
        "Visitors": number + changes,
        "Leads": number // 2,
        "Sales": number + Decimal("0.99"),
        "Balance": Decimal(number + changes) / 4,
        "Country": "United Kingdom",
        "Joined": date(2024, 1, 1) + timedelta(days=number % 700),
        "Last event": _start + timedelta(minutes=changes),
    }
    return Row(key, key, cells)


def changed(number: int, changes: int) -> Row:
    """The same as delivery sends it when the record without changes has been delivered before."""
    return replace(record(number, changes), last=record(number).cells)


@dataclass(frozen=True)
class Burst:
    """What it took to bring a burst of events into the sheet.

    Args:
        seconds_of_quota: on the clock of the quota, from the burst to the last row.
        ideal: calls if every batch were full: one lock, 1,900 rows a write.
    """

    calls: int
    ideal: int
    seconds_of_quota: float
    refused: int
    is_right: bool


def burst(folder: Path, records: int = 20_000, events: int = 100_000, seed: int = 1) -> Burst:
    """*events* on *records* affiliates at once, delivered as delivery does: the latest state of all that is pending."""
    dice = random.Random(seed)
    with SheetsFile(folder, quota=60) as file:
        sink, target = file.sink(timeout_seconds=180), file.target(columns)
        sink.write(target, [record(number) for number in range(records)])
        file.host.advance(600)

        file.server.person = lambda _: file.host.advance(1)
        changes = [0] * records
        for _ in range(events):
            changes[dice.randrange(records)] += 1
        pending = {number for number in range(records) if changes[number]}
        start, calls = file.host.monotonic(), len(file.server.kinds())
        while pending:
            file.host.advance(sink.pace(target))
            batch = sorted(pending)[: sink.batch_rows]
            try:
                outcomes = sink.write(target, [changed(number, changes[number]) for number in batch])
            except TryLater as error:
                file.host.advance(error.after or 1)
                continue
            pending -= {int(outcome.key.split(":")[1]) - 9_000_000 for outcome in outcomes if outcome.kind == "written"}
        table = file.table()
        right = [row["Visitors"] == number + changes[number] for number, row in enumerate(table)]
        return Burst(
            calls=len(file.server.kinds()) - calls,
            ideal=1 + math.ceil(sum(map(bool, changes)) / rows_a_batch),
            seconds_of_quota=file.host.monotonic() - start,
            refused=file.server.refused_by_quota,
            is_right=all(right) and len(table) == records,
        )
