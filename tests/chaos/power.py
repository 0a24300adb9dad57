"""Power losses: ``python -m tests.chaos.power [--losses N] [--seed N] [--synchronous FULL|NORMAL]``.

One life is lived under the tracer of disk changes, which also writes down, in its place among them, every event that is
acknowledged. For a power loss at any moment of that life the disk is made that would have been found after it, the
engine is started on it, and what was promised by then must be there.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from connector.core.errors import StoreUnavailable
from connector.core.row import load_cells
from connector.store.sqlite import Sqlite
from tests.chaos import disk_trace
from tests.chaos.disk_trace import Change, Disk, Tracer
from tests.chaos.engine import Engine, csv_rows, faults, now, scratch
from tests.running import root

Synchronous = Literal["FULL", "NORMAL"]


# ---------------------------------------------------------------- the life, in a process with the tracer


def live(folder: Path, log: Path, seed: int, actions: int, synchronous: Synchronous, failing: int) -> None:
    """Receive, project, deliver and prune; everything promised is marked among the changes on disk."""
    tracer = Tracer()
    tracer.begin(folder, log)
    engine = Engine(folder, answered=lambda number: tracer.mark(f"accepted {number}"))
    if synchronous != "FULL":
        database = engine.store._engine
        assert isinstance(database, Sqlite)
        assert database._writer is not None
        database._writer.execute(f"PRAGMA synchronous = {synchronous}")
    tracer.fail_syncs(failing)
    chance = random.Random(seed)
    fresh = 1
    for _ in range(actions):
        action = chance.choice(("receive", "receive", "project", "deliver", "deliver", "prune"))
        with suppress(StoreUnavailable):
            if action == "receive":
                numbers = range(fresh, fresh + chance.randint(1, 8))
                fresh = numbers.stop
                for number in numbers:
                    tracer.mark(f"sent {number}")
                engine.receive(numbers)
            elif action == "project":
                engine.project()
            elif action == "deliver":
                engine.deliver()
            else:
                engine.store.prune(now() - timedelta(seconds=0.02))
    os._exit(0)  # no tidy end: closing would write all of the log into the file


# ---------------------------------------------------------------- power losses


@dataclass
class Figures:
    """What became of the power losses of one or more lives.

    Args:
        changes: on disk, in all lives.
        losses: power losses modelled.
        acknowledged: events that had been answered, summed over the losses.
        lost: of these, how many were gone.
        wrong: everything that did not hold, the lost events included.
    """

    lives: int = 0
    changes: int = 0
    losses: int = 0
    acknowledged: int = 0
    lost: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.losses} power losses in {self.lives} lives of {self.changes} changes on disk, {self.seconds:.0f} s:"
            f" of {self.acknowledged} acknowledged events {self.lost} lost; {len(self.wrong)} faults in all"
        )


def lose_power(
    folder: Path, library: Path, *, losses: int, seed: int, synchronous: Synchronous = "FULL", lives: int = 2,
    without_sync_of: str = "", failing_syncs: int = 0,
) -> Figures:  # fmt: skip
    """*losses* power losses at random moments of *lives* lives; every second one keeps a part of what was not synced.

    Args:
        without_sync_of: as if the program never synced the files whose names match this (``letters.*``; ``/`` is the
            folder): shows that their syncs matter, and that this test can fail.
        failing_syncs: every so-many-th sync fails with an I/O error, and what it was to save is lost.
    """
    figures = Figures()
    began = time.monotonic()
    for life in range(lives):
        chance = random.Random(f"{seed} {life}")
        log = folder / f"changes-{life}"
        home = folder / f"life-{life}"
        home.mkdir(parents=True)
        subprocess.run(
            [sys.executable, "-m", "tests.chaos.power", "--live", str(home), str(log), str(chance.randrange(2**32)),
             "60", synchronous, str(failing_syncs)],
            cwd=root, check=True, env={**os.environ, "LD_PRELOAD": str(library)},
        )  # fmt: skip
        _lose_power_in(
            _without(list(disk_trace.read(log)), without_sync_of), folder / "after", figures, chance, losses // lives
        )
        figures.lives += 1
    figures.seconds = time.monotonic() - began
    return figures


def _without(changes: Sequence[Change], pattern: str) -> list[Change]:
    names: dict[int, str] = {}
    kept: list[Change] = []
    for change in changes:
        if change.what == "N":
            names[change.file] = os.path.basename(os.fsdecode(change.data))
        if not pattern or change.what != "S" or not fnmatch(names.get(change.file, "/"), pattern):
            kept.append(change)
    return kept


def _lose_power_in(
    changes: Sequence[Change], folder: Path, figures: Figures, chance: random.Random, losses: int
) -> None:
    figures.changes += sum(change.what != "M" for change in changes)
    moments = sorted(chance.choices(range(len(changes) + 1), k=losses))  # from before the files were made
    disk = Disk()
    sent: set[int] = set()
    accepted: set[int] = set()
    taken = 0
    for number, moment in enumerate(moments):
        for change in changes[taken:moment]:
            if change.what == "M":
                word, _, event = change.data.partition(b" ")
                (sent if word == b"sent" else accepted).add(int(event))
            else:
                disk.take(change)
        taken = moment
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, content in disk.after_power_loss(chance if number % 2 else None).items():
            (folder / name).write_bytes(content)
            os.utime(folder / name, (0, 0))  # long ago: nobody is writing it
        wrong = _wake_up(folder, accepted, sent)
        figures.losses += 1
        figures.acknowledged += len(accepted)
        figures.lost += sum("acknowledged and lost" in text or "no letter of the unread" in text for text in wrong)
        figures.wrong += [f"power lost after {moment} changes: {text}" for text in wrong]


def _wake_up(folder: Path, accepted: set[int], sent: set[int]) -> list[str]:
    wrong: list[str] = []
    try:
        csv_rows(folder / "table.csv")
    except AssertionError as error:
        return [f"{error}"]
    engine = Engine(folder)
    try:
        # What the store counts as written must stand in the table: the table is on disk before the store says so.
        rows = {row["ID"]: int(row["Name"]) for row in csv_rows(folder / "table.csv")}
        wrong += [
            f"the row {written.key} counts as written and is not in the table"
            for written in engine.store.written("sink/all", engine.store.record_ids())
            if rows.get(written.key, 0) < int(str(load_cells(written.cells)["Name"]))
        ]
        engine.run_to_rest()
        wrong += faults(engine, csv_rows(folder / "table.csv"), accepted, sent)
    except Exception as error:
        wrong.append(f"does not recover: {error!r}")
    finally:
        engine.close()
    return wrong


def main() -> int:
    if sys.argv[1:2] == ["--live"]:
        _, _, home, log, seed, actions, synchronous, failing = sys.argv
        live(Path(home), Path(log), int(seed), int(actions), synchronous, int(failing))  # type: ignore[arg-type]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--losses", type=int, default=1000)
    parser.add_argument("--lives", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--synchronous", choices=["FULL", "NORMAL"], default="FULL")
    parser.add_argument("--failing-syncs", type=int, default=0, help="every so-many-th sync fails")
    words = parser.parse_args()
    with scratch() as folder:
        library = disk_trace.build(folder)
        if isinstance(library, str):
            sys.stdout.write(f"{library}\n")
            return 2
        figures = lose_power(
            folder,
            library,
            losses=words.losses,
            seed=words.seed,
            synchronous=words.synchronous,
            lives=words.lives,
            failing_syncs=words.failing_syncs,
        )
    sys.stdout.write(f"synchronous={words.synchronous}, seed {words.seed}: {figures}\n")
    for fault in figures.wrong[:30]:
        sys.stdout.write(f"  WRONG {fault}\n")
    return 1 if figures.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
