"""SIGKILL in the middle of writing, again and again: is the file always a whole one?"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Sequence
from typing import Protocol

from connector.core.row import Cell, Column
from connector.core.sink import Sink, Target
from tests.sinks.promises import row

two_columns = (Column("Key"), Column("Name"))


class FileHarness(Protocol):
    """What is needed of a harness here."""

    def sink(self) -> Sink: ...

    def target(self, columns: Sequence[Column]) -> Target: ...

    def rows(self) -> list[dict[str, Cell]]: ...


def kill_writers(harness: FileHarness, *, rows: int, kills: int, longest_seconds: float, seed: int = 2026) -> int:
    """Start a writer that replaces *rows* rows without end, kill it some time after its first write; *kills* times.

    Each write gives all its rows one number, so that in a whole file all of them are equal.

    Returns:
        How many different files were found: *kills*, since each writer writes before it is killed.

    Raises:
        AssertionError: a file was torn, or unreadable, or mixed of two writes.
    """
    rng = random.Random(seed)
    found: set[Cell] = set()
    for kill in range(kills):
        # A fork of this warm process begins to write within milliseconds; a new interpreter would need half a second.
        ready, has_written = os.pipe()
        writer = os.fork()
        if writer == 0:
            try:
                sink, target = harness.sink(), harness.target(two_columns)
                number = kill * 1_000_000
                while True:
                    number += 1
                    sink.write(target, [row(f"a:{at}", Name=f"write {number}") for at in range(rows)])
                    if number == kill * 1_000_000 + 1:
                        os.write(has_written, b"1")
            finally:
                os._exit(1)
        os.close(has_written)
        assert os.read(ready, 1) == b"1", "the writer failed by itself"
        os.close(ready)
        time.sleep(rng.uniform(0.0, longest_seconds))
        os.kill(writer, signal.SIGKILL)
        _, status = os.waitpid(writer, 0)
        assert os.WIFSIGNALED(status), "the writer failed by itself"
        table = harness.rows()
        assert len(table) == rows
        (name,) = {cells["Name"] for cells in table}
        found.add(name)
    return len(found)
