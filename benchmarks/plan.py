"""What an edited mapping would do, against what was last written: `connector plan` of 20,000 records and 25 columns."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from benchmarks import measure, stores
from benchmarks.measure import Goal
from connector.changes.plan import plan_of
from connector.core import mapping
from connector.core.facts import load_facts
from connector.core.row import dump_cells
from connector.core.view import view
from connector.delivery import Route
from connector.sinks.files.csv_file import CsvFile
from connector.store import Store
from connector.store.model import Result

_ROUTE = "local/plan"
_PATHS = (
    "first_name", "last_name", "email", "status", "source", "affiliate_id", "created_at", "updated_at", "country",
    "company", "phone", "website", "stats.visitors", "stats.leads", "stats.sales", "stats.customers",
    "stats.sales_total", "balances.paid.cash", "balances.current.cash", "referral_link", "promo_code",
    "campaigns.name", "last_event.name",
)  # fmt: skip


def _mapping(active: str) -> str:
    fields = "\n".join(f'"{path.replace(".", " ")}" = "{path}"' for path in _PATHS)
    shown = f'"Shown" = {{ from = "status", map = {{ active = "{active}", "*" = "Other" }} }}'
    return f'[key]\nfield = "ID"\n[fields]\n"ID" = "id"\n{shown}\n{fields}\n'


def main(words: list[str]) -> None:
    asked = measure.Options("plan", __doc__)
    asked.add_argument("--affiliates", type=int, default=20_000)
    given = asked.given(words)
    with tempfile.TemporaryDirectory() as temporary, closing(stores.new_store(Path(temporary))) as store:
        stores.fill(store, Path(temporary), given.affiliates, given.affiliates)
        written = _route("Active")
        _write_all(store, written)
        edited = _route("Aboard")
        before = _reset_most()
        began, spent = time.perf_counter(), time.process_time()
        plan = plan_of(edited, store, now=stores.utc_now(), running=written)
        seconds, cpu = time.perf_counter() - began, time.process_time() - spent
        more = measure.most_resident_mib(os.getpid()) - before
    found = {"plan": {
        "seconds": seconds, "cpu_seconds": cpu, "more_mib": more, "columns": len(edited.target.columns),
        "cells": plan.cells,
        "rows_changed": plan.rows_changed,
    }}  # fmt: skip
    size = f"{given.affiliates:,} records, {len(edited.target.columns)} columns"
    goals = [
        Goal(f"A plan, {size}", seconds, "at most", 5, "s"),
        Goal("Memory of a plan over idle", more, "at most", 150, "MiB"),
    ]
    measure.report("plan", found, goals, given)


def _route(active: str) -> Route:
    made = mapping.load(_mapping(active), file="plan.toml", target_options=CsvFile.TargetOptions)
    return Route(_ROUTE, cast("Any", CsvFile), made.target(_ROUTE), cast("Callable[..., Any]", made.evaluate))


def _write_all(store: Store, route: Route) -> None:
    """As if *route* had delivered every record."""
    store.enroll([_ROUTE])
    while pending := store.take(_ROUTE, 1000, lease=timedelta(minutes=5)):
        results = []
        for one in pending:
            rows = route.evaluate(view(one.record_id, load_facts(one.facts))).rows
            cells = {row.key: dump_cells(row.cells) for row in rows}
            results.append(Result(one.record_id, one.version, one.token, cells))
        store.finish(_ROUTE, results)


def _reset_most() -> float:
    """Let the system count the most memory from now on; what is used now, in MiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return measure.resident_mib(os.getpid())
