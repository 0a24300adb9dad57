"""SIGKILL, again and again: ``python -m tests.chaos.kills [--kills N] [--seed N] [--sink csv|hubspot|sheets]``."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos import disk_trace
from tests.chaos.engine import Engine, Kind, csv_rows, faults, points, scratch
from tests.chaos.nursery import Job, Nursery
from tests.far_sides.loopback import Call, FarSide, Fault

any_change = "between changes on disk"
any_time = "at any time"
far_points = ("call arrived", "call handled")


@dataclass
class Figures:
    """What a campaign came to; *wrong* is empty when all holds."""

    kills: int = 0
    sent: int = 0
    accepted: int = 0
    checks: int = 0
    rows: int = 0
    letters: int = 0
    seconds: float = 0.0
    where: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.kills} kills at {len(self.where)} kinds of places in {self.seconds:.0f} s; {self.sent} events sent,"
            f" {self.accepted} acknowledged; {self.rows} rows and {self.letters} letters at the end; checked"
            f" {self.checks} times: {len(self.wrong)} faults"
        )


@dataclass
class Shore:
    """What a campaign needs of a destination.

    Args:
        rows: what it holds, read from its memory, or from the file.
        server: None for a file.
        settings: for ``sink_for``.
    """

    kind: Kind
    rows: Callable[[], Sequence[Mapping[str, Any]]]
    server: FarSide | None = None
    settings: dict[str, str] = field(default_factory=dict)


@contextmanager
def shore(kind: Kind, folder: Path) -> Iterator[Shore]:
    """The destination of that kind on the loopback, or the file in *folder*."""
    if kind == "hubspot":
        from tests.far_sides.hubspot_server import HubSpotServer

        with HubSpotServer() as hubspot:
            contacts = hubspot.records["contacts"]
            yield Shore(
                kind, lambda: [dict(contact.properties) for contact in contacts.values()], hubspot,
                {"url": hubspot.url, "token": hubspot.token},
            )  # fmt: skip
    elif kind == "sheets":
        from tests.sinks.google_sheets_file import SheetsFile

        keys = folder.with_name(f"{folder.name}-keys")
        keys.mkdir()
        with SheetsFile(keys) as file:

            def table() -> list[dict[str, Any]]:
                return file.table() if any(tab.title == "Affiliates" for tab in file.book.tabs) else []

            yield Shore(
                kind, table, file.server,
                {"url": file.server.url, "spreadsheet": file.book.id, "credentials_file": str(keys / "key.json")},
            )  # fmt: skip
    else:
        yield Shore(kind, lambda: csv_rows(folder / "table.csv"))


class Campaign:
    """Lives on one folder, each killed; what was sent and acknowledged is written down outside of it.

    Args:
        library: the tracer of disk changes, or None.
    """

    def __init__(self, folder: Path, shore: Shore, seed: int, library: Path | None) -> None:
        self.figures = Figures()
        self._folder, self._shore = folder, shore
        self._chance = random.Random(seed)
        self._journal = folder.with_name(f"{folder.name}.journal")
        self._read_to = 0
        self._sent: set[int] = set()
        self._accepted: set[int] = set()
        self._library = library
        self._nursery = Nursery(shore.kind, library)
        self._far_kill = ("", 0)
        if shore.server is not None:
            shore.server.fault_for = self._far_side_kills

    def run(self, kills: int, check_every: int = 60) -> Figures:
        began = time.monotonic()
        lives = 0
        try:
            while self.figures.kills < kills and not self.figures.wrong:
                lives += 1
                assert lives < 3 * kills + 50, f"too few lives are killed: {self.figures}"
                self._live(lives)
                if self.figures.kills and self.figures.kills % check_every == 0:
                    self._check()
            self._check()
        finally:
            self._nursery.close()
        self.figures.seconds = time.monotonic() - began
        return self.figures

    def _live(self, turn: int) -> None:
        chance = self._chance
        places = [*points, any_time, any_change, any_time, any_change, any_time, any_change]
        places += [place for place in far_points for _ in range(3)] if self._shore.server is not None else []
        place = places[turn % len(places)]
        if place == any_change and self._library is None:
            place = any_time
        passes = chance.randint(1, 2)
        again = sorted(self._sent - self._accepted)
        self._far_kill = (place, passes) if place in far_points else ("", 0)
        job = Job(
            str(self._folder), self._shore.kind, str(self._journal), chance.randrange(2**32),
            max(self._sent, default=0) + 1, again[:40],
            point=place if place in points else "", passes=passes,
            changes=chance.randint(1, 150) if place == any_change else 0,
            seconds=chance.uniform(0.005, 0.12) if place == any_time else None,
            far_side=self._shore.settings,
        )  # fmt: skip
        ended = self._nursery.run(job)
        self._read_journal()
        if ended == "killed":
            self.figures.kills += 1
            self.figures.where[place] += 1
        elif ended != "exit 0":
            self.figures.wrong.append(f"a life that was to end {place} ended otherwise: {ended}")
        self._look_for_halves(place)

    def _far_side_kills(self, call: Call) -> Fault | None:
        """The sender of a call dies when the call arrives; the call is handled all the same, or not."""
        place, left = self._far_kill
        if not left or not self._nursery.child or call.path == "/token":
            return None
        self._far_kill = (place, left - 1)
        if left > 1:
            return None
        with suppress(ProcessLookupError):
            os.kill(self._nursery.child, signal.SIGKILL)
        return Fault("reset_before") if place == "call arrived" else Fault("reset_after")

    def _read_journal(self) -> None:
        content = self._journal.read_bytes() if self._journal.exists() else b""
        for line in content[self._read_to :].splitlines():
            word, _, number = line.partition(b" ")
            (self._sent if word == b"sent" else self._accepted).add(int(number))
        self._read_to = len(content)
        self.figures.sent, self.figures.accepted = len(self._sent), len(self._accepted)

    def _look_for_halves(self, place: str) -> None:
        try:
            csv_rows(self._folder / "table.csv")
            letters = self._folder / "letters.jsonl"
            if letters.exists():
                assert all(isinstance(json.loads(line), dict) for line in letters.read_bytes().splitlines())
        except (AssertionError, ValueError) as error:
            self.figures.wrong.append(f"killed {place}: {error!r}")

    def _check(self) -> None:
        engine = Engine(self._folder, self._shore.kind, self._shore.settings)
        try:
            engine.run_to_rest()
            rows = self._shore.rows()
            self.figures.wrong += faults(engine, rows, self._accepted, self._sent)
            self.figures.rows, self.figures.letters = len(rows), len(engine.letters.list())
            self.figures.checks += 1
        finally:
            engine.close()


def campaign(kind: Kind, kills: int, seed: int, folder: Path, library: Path | None) -> Figures:
    """*kills* kills of an engine that delivers to a sink of that kind."""
    folder.mkdir()
    with shore(kind, folder) as far:
        return Campaign(folder, far, seed, library).run(kills)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sink", choices=["csv", "hubspot", "sheets"], default="csv")
    words = parser.parse_args()
    with scratch() as folder:
        built = disk_trace.build(folder)
        library = built if isinstance(built, Path) else None
        figures = campaign(words.sink, words.kills, words.seed, folder / "engine", library)
    sys.stdout.write(f"{words.sink}, seed {words.seed}: {figures}\n")
    if library is None:
        sys.stdout.write(f"{built}\n")
    for place, count in sorted(figures.where.items()):
        sys.stdout.write(f"  {count:5d} {place}\n")
    for fault in figures.wrong[:50]:
        sys.stdout.write(f"  WRONG {fault}\n")
    return 1 if figures.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
