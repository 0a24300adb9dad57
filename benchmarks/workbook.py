"""A table in a file: what writing a batch into it costs, with CSV and with XLSX."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from benchmarks import measure
from connector import plugins
from connector.core.row import Cell, Column, Row
from connector.core.sink import Target
from tests.sinks.host import TrueHost

_columns = (
    Column("Affiliate ID"), Column("Name"), Column("Email", "email"), Column("Status"), Column("Phone", "phone"),
    Column("Country", "country"), Column("Link", "url"), Column("Tags", "list"), Column("Balance", "money"),
    Column("Clicks", "integer"), Column("Sales", "number"), Column("Partner", "boolean"), Column("Joined", "date"),
    Column("Seen", "datetime"), Column("Note"),
)  # fmt: skip


def main(words: list[str]) -> None:
    asked = measure.parser("workbook", __doc__)
    asked.add_argument("--rows", type=int, default=20_000)
    asked.add_argument("--only", choices=["csv", "xlsx"], help=argparse.SUPPRESS)
    given = asked.parse_args(words)
    if given.only:
        print(json.dumps(_measured(given.only, given.rows)))  # noqa: T201
        return
    found: dict[str, Any] = {}
    for kind in ("csv", "xlsx"):  # a process each, so that the memory is its own
        command = [sys.executable, "-m", "benchmarks", "workbook", "--rows", str(given.rows), "--only", kind]
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
        found[kind] = json.loads(done.stdout)
    if not given.json:
        head = ["CPU seconds", *found]
        rows = [[step, *(table[step] for table in found.values())] for step in found["csv"]]
        measure.show(f"{given.rows:,} rows of {len(_columns)} columns", head, rows)
    measure.report("workbook", {"by_sink": found}, [], given)


def _rows(count: int, status: str) -> list[Row]:
    def cells(i: int) -> dict[str, Cell]:
        return {
            "Affiliate ID": f"firstpromoter:{i}", "Name": f"Ada Lovelace {i}", "Email": f"ada{i}@example.com",
            "Status": status, "Phone": f"+4420718{i:05}", "Country": "GB", "Link": f"https://example.com/r/{i}",
            "Tags": ("vip", "uk"), "Balance": Decimal(i) / 100, "Clicks": i, "Sales": Decimal("0.5") * i,
            "Partner": i % 2 == 0, "Joined": date(2026, 2, 3), "Seen": datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC),
            "Note": None if i % 3 else "likes engines",
        }  # fmt: skip

    return [Row(f"firstpromoter:{i}", f"firstpromoter:{i}", cells(i)) for i in range(count)]


def _measured(kind: str, count: int) -> dict[str, float]:
    """CPU seconds by step, and the most memory in MiB."""
    make: Any = plugins.sink_class(kind)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        options = make.Options(type=kind, mappings=("m.toml",), path=Path(folder) / f"table.{kind}")
        target = Target("local/m", _columns, "Affiliate ID", make.TargetOptions(), "m.toml")

        def step(name: str, write: Callable[[], Any]) -> None:
            began = time.process_time()
            assert all(outcome.kind == "written" for outcome in write())
            found[name] = time.process_time() - began

        sink, rows = make("local", options, TrueHost()), _rows(count, "active")
        step("first write", lambda: sink.write(target, rows))
        step("the same rows again", lambda: sink.write(target, rows))
        step("one row", lambda: sink.write(target, _rows(1, "blocked")))
        step("a cell of every row", lambda: sink.write(target, _rows(count, "pending")))
        sink = make("local", options, TrueHost())
        step("one row after a restart", lambda: sink.write(target, _rows(1, "inactive")))
        found["most MiB"] = measure.most_resident_bytes(os.getpid()) / 1024 / 1024
    return found
