"""The HubSpot sink's figures: ``python -m benchmarks hubspot {cpu,pacing,memory,faults,edits}``.

The far side is the tests' server, in a process of its own where CPU or time is measured, so that only the sink counts.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from benchmarks.measure import keep, median, show
from connector.core.mapping.loader import load
from connector.core.record import AffiliateRecord
from connector.core.row import Row
from connector.core.sink import Target
from connector.sinks.hubspot.sink import HubSpotCrm, HubSpotOptions, HubSpotTargetOptions
from tests.far_sides.hubspot_server import HubSpotServer, Mode
from tests.sinks.host import TrueHost
from tests.sinks.hubspot_campaign import colleagues_edit, everything_at_random

_mapping = Path(__file__).parents[1] / "mappings" / "hubspot_contacts.toml"
_token = "pat-eu1-0123456789abcdef-test-token"  # noqa: S105 - a test server's


def _serve(pipe: Connection, options: dict[str, Any]) -> None:
    with HubSpotServer(token=_token, **options) as server:
        pipe.send(server.url)
        while pipe.recv() != "stop":
            records = server.records["contacts"]
            pipe.send(
                {
                    "calls": len(server.calls),
                    "contacts": len(records),
                    "refused for the quota": server.quota_refusals,
                }
            )


@contextlib.contextmanager
def _far_side(**options: Any) -> Iterator[tuple[str, Connection]]:
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process: SpawnProcess = context.Process(target=_serve, args=(theirs, options), daemon=True)
    process.start()
    try:
        yield mine.recv(), mine
    finally:
        mine.send("stop")
        process.join(5)


def _sink(url: str, **options: Any) -> HubSpotCrm:
    settings = HubSpotOptions(type="hubspot", mappings=(), access_token=_token, base_url=url, **options)
    return HubSpotCrm("hubspot", settings, TrueHost())


def _target(*, reads: bool) -> tuple[Target, Any]:
    text = _mapping.read_text(encoding="utf-8")
    if not reads:
        for rule in ('overwrite = "only_if_empty"', 'overwrite = "only_forward"'):
            text = text.replace(rule, 'overwrite = "never_clear"')
        text = "\n".join(line for line in text.splitlines() if not line.startswith("lifecyclestage"))
        text = text.split("[[examples]]", 1)[0]
    mapping = load(text, file=str(_mapping.name), target_options=HubSpotTargetOptions)
    target = Target("hubspot/hubspot_contacts", mapping.columns, mapping.key, mapping.options, mapping.file)
    return target, mapping


def _rows(mapping: Any, count: int, *, round_: int = 0) -> list[Row]:
    rows: list[Row] = []
    for number in range(count):
        record = {
            "id": f"firstpromoter:{number}", "platform": "firstpromoter", "status": "active",
            "email": f"ada{number}.{round_}@example.com", "first_name": f"Ada {number}", "last_name": "Byron",
            "company": "Engines Ltd", "website": "https://engines.example.com", "phone": "+442071838750",
            "country": "GB", "campaign": "Partners", "referral_link": f"https://example.com/?via=ada{number}",
            "promo_code": f"ADA{number}", "labels": ["vip", "Blog"], "currency": "EUR",
            "created_at": "2026-03-31T23:30:00Z",
            "stats": {"visitors": 120 + round_, "leads": 14, "customers": 6, "sales_total": Decimal("1250.50")},
            "balances": {"earned": {"cash": 300}, "current": {"cash": -12}, "paid": {"cash": 3}},
            "last_event": {"type": "reward_created", "at": "2026-11-02T08:00:00Z"},
        }  # fmt: skip
        rows += mapping.evaluate(AffiliateRecord.model_validate(record)).rows
    return rows


def _write_all(sink: HubSpotCrm, target: Target, rows: Sequence[Row]) -> Counter[str]:
    kinds: Counter[str] = Counter()
    for start in range(0, len(rows), sink.batch_rows):
        wait = sink.pace(target)
        if wait:
            time.sleep(wait)
        kinds.update(outcome.kind for outcome in sink.write(target, rows[start : start + sink.batch_rows]))
    return kinds


def cpu(rounds: int) -> dict[str, Any]:
    """CPU of a batch of 100 contacts with the shipped mapping's properties, no quota, no latency, one connection."""
    figures: dict[str, Any] = {}
    for name, reads in (("write", False), ("read and write", True)):
        with _far_side(limit=None) as (url, _):
            target, mapping = _target(reads=reads)
            sink = _sink(url, connections=1)
            batches = [_rows(mapping, 100, round_=round_) for round_ in range(rounds)]
            sink.write(target, batches[0])
            spent = []
            for rows in batches:
                began = time.process_time()
                outcomes = sink.write(target, rows)
                spent.append((time.process_time() - began) * 1000)
                assert all(outcome.kind == "written" for outcome in outcomes)
            sink.close()
        figures[f"{name}: milliseconds a batch, median"] = round(median(spent), 2)
        figures[f"{name}: milliseconds a batch, 95 of 100 within"] = round(sorted(spent)[int(len(spent) * 0.95)], 2)
    figures["properties a contact"] = len(_target(reads=False)[0].columns)
    return figures


def pacing(contacts: int, limit: int, latency_ms: int) -> dict[str, Any]:
    """*contacts* new ones at a quota of *limit* calls per 10 s, on the true clock."""
    with _far_side(limit=limit, latency_seconds=latency_ms / 1000) as (url, pipe):
        target, mapping = _target(reads=False)
        rows = _rows(mapping, contacts)
        sink = _sink(url)
        began = time.monotonic()
        kinds = _write_all(sink, target, rows)
        seconds = time.monotonic() - began
        sink.close()
        pipe.send("figures")
        far_side = pipe.recv()
    calls = far_side["calls"]
    allowed = calls / limit * 10
    return {
        "contacts": contacts, "written": kinds["written"], "at the far side": far_side["contacts"],
        "limit per 10 s": limit, "latency, ms": latency_ms, "calls": calls, "seconds": round(seconds, 2),
        "seconds that the quota allows": round(allowed, 2), "ratio": round(seconds / allowed, 3),
        "answers of 429": far_side["refused for the quota"],
    }  # fmt: skip


_idle = """
import sys, types
from connector.plugins import sink_class
from connector.store import store
from connector import receiver, delivery, projector
from connector.core.mapping import loader
from tests.sinks.host import TestHost
sink_class("csv")
if sys.argv[1] == "hubspot":
    made = sink_class("hubspot")
    options = made.Options(type="hubspot", mappings=(), access_token="x", base_url="http://127.0.0.1:9")
    made("hubspot", options, TestHost())
import gc; gc.collect()
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")))
"""


def memory(rounds: int) -> dict[str, Any]:
    """Resident memory of a process with the CSV sink, and with this one built beside it."""
    kib: dict[str, list[int]] = {"csv": [], "hubspot": []}
    for _ in range(rounds):
        for name, found in kib.items():
            printed = subprocess.run(  # noqa: S603 - our own interpreter
                [sys.executable, "-c", _idle, name], capture_output=True, text=True, check=True,
                cwd=Path(__file__).parents[1],
            )  # fmt: skip
            found.append(int(printed.stdout))
    csv, hubspot = median(kib["csv"]) / 1024, median(kib["hubspot"]) / 1024
    return {
        "CSV alone, MiB": round(csv, 1),
        "with HubSpot, MiB": round(hubspot, 1),
        "more, MiB": round(hubspot - csv, 1),
    }


def faults(batches: int, share: float, seed: int) -> dict[str, Any]:
    """Every fault at random, in both moods, with and without rules that read."""
    figures: dict[str, Any] = {"share of calls that go wrong": share, "seed": seed}
    kinds: Counter[str] = Counter()
    modes: tuple[Mode, ...] = ("207", "400")
    for mode in modes:
        for rules in ("no rules that read", "rules that read"):
            each = math.ceil(batches / 4)
            clean = everything_at_random(mode, seed=seed, batches=each, share=0.0, rules=rules)
            found = everything_at_random(mode, seed=seed, batches=each, share=share, rules=rules)
            kinds += found.fault_kinds
            allowed = 1.2 * clean.calls + found.faulted + found.resent
            wrong = found.wrong + clean.wrong
            figures[f"mood {mode}, {rules}"] = {
                "batches": found.batches, "faults": found.faulted, "calls": found.calls,
                "faultless calls": clean.calls, "sent again": found.resent,
                "calls of those allowed": round(found.calls / allowed, 3), "wrong": len(wrong),
                "first of these": wrong[:3],
            }  # fmt: skip
    figures["faults by kind"] = dict(kinds.most_common())
    return figures


def edits(interleavings: int) -> dict[str, Any]:
    """A colleague's edits among deliveries, faults and restarts; half of them in each mood."""
    lost: list[str] = []
    for seed in range(interleavings):
        mode: Mode = "207" if seed % 2 else "400"
        lost += [f"{mode} {seed}: {each}" for each in colleagues_edit(mode, seed=seed)]
    return {"interleavings": interleavings, "lost edits": len(lost), "first of these": lost[:5]}


def main(arguments: Sequence[str]) -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks hubspot", description=__doc__)
    chosen = parser.add_subparsers(dest="what", required=True)
    defaults: dict[str, dict[str, Any]] = {
        "cpu": {"rounds": 200},
        "pacing": {"contacts": 20_000, "limit": 190, "latency-ms": 100},
        "memory": {"rounds": 5},
        "faults": {"batches": 2000, "share": 0.15, "seed": 1},
        "edits": {"interleavings": 1000},
    }
    for name, options in defaults.items():
        part = chosen.add_parser(name)
        for option, default in options.items():
            part.add_argument(f"--{option}", type=type(default), default=default)
    given = vars(parser.parse_args(arguments))
    what = given.pop("what")
    measures: dict[str, Callable[..., dict[str, Any]]] = {
        "cpu": cpu, "pacing": pacing, "memory": memory, "faults": faults, "edits": edits,
    }  # fmt: skip
    load = round(os.getloadavg()[0], 1)  # of everybody on this machine: CPU time grows with it
    began = time.monotonic()
    figures = measures[what](**given)
    figures["load of the machine before"] = load
    figures["the measuring took, s"] = round(time.monotonic() - began, 1)
    show(f"hubspot {what}", ("figure", "value"), [(name, str(value)) for name, value in figures.items()])
    keep(f"hubspot_{what}", figures)
