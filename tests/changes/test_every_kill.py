"""A kill right before each thing that a reload, an apply, an undo or a resume leaves behind: each commit of the store,
each change of a file's name, each call over the network. Between two of them a kill changes nothing.

The table is as before or as after, never in between, and the next start brings what was begun to its end.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connector.app import put_back_now
from connector.assembly import utc_now
from connector.changes import decisions
from connector.changes.notes import Undo, held_of, undo_of
from tests.changes.place import CONFIG, Place, Sheets
from tests.far_sides.sheets_server import SheetsServer

ROWS = range(1, 4)
_OF_FILES = frozenset({"replace", "rename", "link", "unlink"})


class Points:
    """Kills this process right before the effect with the number *last*.

    Args:
        from_first_call: what is before the first call over the network does not count.
    """

    def __init__(self, last: int, *, from_first_call: bool) -> None:
        self.passed = 0
        self._counts = not from_first_call
        self._last = last
        self._before = ""
        self._lock = threading.Lock()

    def watch(self) -> None:
        """From now on, in this thread and in those that it starts."""
        threading.setprofile(self._look)
        sys.setprofile(self._look)

    def stop(self) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _look(self, frame: Any, kind: str, called: Any) -> None:
        if kind == "c_call" and _is_effect(frame, called):
            with self._lock:
                self._counts = self._counts or called.__name__ == "sendall"
                if not self._counts:
                    return
                # A request is sent, and an answer is read, in several parts; only all of it has an effect.
                self.passed += called.__name__ != self._before or called.__name__ == "execute"
                self._before = called.__name__
                if self.passed == self._last:
                    os.kill(os.getpid(), signal.SIGKILL)


def _is_effect(frame: Any, called: Any) -> bool:
    name = called.__name__
    if name == "execute" and isinstance(called.__self__, sqlite3.Connection):
        return bool(frame.f_code.co_name == "writing" and called.__self__.in_transaction)  # COMMIT
    if name in ("sendall", "recv_into"):  # before it is sent; before the answer is read
        return True
    return name in _OF_FILES and getattr(called, "__module__", "") == "posix"


def lives(place: Place, act: Callable[[Place], object], last: int) -> int | None:
    """A life of the program in which *act* is done, up to the point *last*; how many points it passed, or None where it
    was killed."""
    says, tells = os.pipe()
    child = os.fork()
    if child == 0:  # nothing of the parent's is to end with it
        logging.disable()
        try:
            points = Points(last, from_first_call=isinstance(place, Sheets))
            points.watch()
            act(place)
            points.stop()
            os.write(tells, str(points.passed).encode())
        finally:
            os._exit(1)
    os.close(tells)
    with os.fdopen(says) as answer:
        passed = answer.read()
    _, status = os.waitpid(child, 0)
    assert passed or os.WIFSIGNALED(status), "it failed by itself"
    return int(passed) if passed else None


# ---------------------------------------------------------------- what is done


def reload(place: Place) -> None:
    place.drain()


def apply(place: Place) -> None:
    with place.store() as store:
        stored = store.mapping_of(place.route)
        if held_of(stored) is not None or stored.wanted:
            decisions.apply(place.settings, store, place.route)
    place.drain()


def undo(place: Place) -> None:
    with place.store() as store:
        if undo_of(store.mapping_of(place.route)) is None:
            (line, *_) = store.deliveries_of("fp:1")[::-1]
            decisions.undo(store, place.route, Undo(utc_now(), "123456789abc", delivery=line.delivery))
    put_back_now(place.settings, place.route)


def resume(place: Place) -> None:
    with place.store() as store:
        if undo_of(store.mapping_of(place.route)) is not None:
            decisions.resume(place.settings, store, place.route)
    place.drain()


OLD = [["fp:1", "Active"], ["fp:2", "Active"], ["fp:3", "Active"]]
NEW = [[key, "Aboard"] for key, _ in OLD]
"""What is in the table: the key and the status."""


def table(place: Place) -> list[list[object]]:
    """The key and the status of each row."""
    if isinstance(place, Sheets):
        return [[row[0], row[2]] for row in place.cells()]
    return [[line.split(",")[0], line.split(",")[2]] for line in place.rows()]


def killed(place: Place, act: Callable[[Place], None], point: int, before: object, after: object) -> bool:
    """Kill *act* at *point*, look at the table, and let the next start do what was begun; whether there is that point.

    The table is as *before* or as *after* it.
    """
    passed = lives(place, act, point)
    assert table(place) in ([after] if passed is not None else [before, after])
    if passed is None:
        if place.table.exists():
            os.utime(place.table, (0, 0))  # else it is left to settle for half a second
        act(place)
        assert table(place) == after
    return passed is None


# ---------------------------------------------------------------- in a file


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By what is done next: the folder of an installation at that moment."""
    folders: dict[str, Path] = {}

    def keep(act: Callable[[Place], None], place: Place) -> Place:
        folders[act.__name__] = place.folder
        return _copy(place.folder, tmp_path_factory.mktemp("place") / "copy")

    place = Place(tmp_path_factory.mktemp("place"), CONFIG)
    for number in ROWS:
        place.receive(number)
    place.drain()
    place.edit('"Active"', '"Aboard"')
    place = keep(reload, place)
    (place.folder / "config.toml").write_text(CONFIG + 'apply = "confirm"\n', encoding="utf-8")
    place.drain()
    assert place.stored().held
    place = keep(apply, place)
    apply(place)
    place = keep(undo, place)
    undo(place)
    keep(resume, place)
    return folders


def _copy(folder: Path, to: Path) -> Place:
    shutil.copytree(folder, to)
    place = Place(to, *((to / name).read_text(encoding="utf-8") for name in ("config.toml", "people.toml")))
    place.events = len(ROWS)
    return place


@pytest.mark.parametrize(
    ("act", "before", "after"),
    [(reload, OLD, NEW), (apply, OLD, NEW), (undo, NEW, OLD), (resume, OLD, NEW)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_in_a_file(
    steps: dict[str, Path], tmp_path: Path, act: Callable[[Place], None], before: object, after: object
) -> None:
    point = 1
    while killed(_copy(steps[act.__name__], tmp_path / str(point)), act, point, before, after):
        point += 1
    assert point > 5


# ---------------------------------------------------------------- over the network


def test_in_google_sheets(tmp_path: Path) -> None:
    """Each round kills the apply of an edit, the undo of it, and what follows that, at the same point. Those before the
    first call are the same as with a file."""
    with SheetsServer() as server:
        place = Sheets(tmp_path, server)
        for number in ROWS:
            place.receive(number)
        place.drain()
        words, point, goes_on = ("Active", "Aboard"), 0, True
        while goes_on:
            point += 1
            old, new = ([[f"fp:{number}", word] for number in ROWS] for word in words)
            place.edit(f'"{words[0]}"', f'"{words[1]}"')
            place.drain()
            assert place.stored().held
            found = [killed(place, *kill) for kill in (
                (apply, point, old, new), (undo, point, new, old), (resume, point, old, new)
            )]  # fmt: skip
            goes_on, words = any(found), words[::-1]
        assert point > 5
