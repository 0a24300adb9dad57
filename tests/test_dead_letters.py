from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.core.errors import StoreUnavailable
from connector.core.source import Event
from connector.dead_letters import (
    DeadLetters,
    Letter,
    LetterFile,
    LetterTable,
    cause_of,
    causes,
    event_of,
    letter_of_event,
)
from tests.doubles import START, Clock, World, event
from tests.stores import place_in


@pytest.fixture(params=["file", "table in SQLite", "table in PostgreSQL"])
def reopened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], DeadLetters]]:
    """Opens the same letters, as another process would."""
    if request.param == "file":
        yield lambda: letters_at(tmp_path)
        return
    cluster = request.getfixturevalue("cluster") if "PostgreSQL" in request.param else None
    with place_in(tmp_path, cluster) as place:
        store = place.open()
        yield lambda: LetterTable(lambda: nullcontext(store), now=Clock())


def letters_at(folder: Path) -> LetterFile:
    return LetterFile(folder / "dead.jsonl", now=Clock())


def letter(n: int = 1, reason: str = "no") -> Letter:
    return Letter("deliver", "table/all", f"plain:{n}", reason, "code", row=f"plain:{n}", content={"cells": {"a": 1}})


# ---------------------------------------------------------------- wherever they are kept


def test_a_letter_is_there_after_a_restart_with_all_that_it_said(reopened: Callable[[], DeadLetters]) -> None:
    assert reopened().add([letter()]) == 1
    (found,) = reopened().list()
    assert found.at == START
    assert (found.reason, found.code, found.row, found.content) == ("no", "code", "plain:1", {"cells": {"a": 1}})
    assert found.id == letter().id


def test_the_same_letter_again_is_one_letter(reopened: Callable[[], DeadLetters]) -> None:
    assert reopened().add([letter()]) == 1
    assert reopened().add([letter()]) == 0, "a crash between the letter and the store repeats it"
    assert len(reopened().list()) == 1


class QuickServer:
    """A store whose server has delivered what is enqueued, and closed its letter, before the call returns."""

    def __init__(self, letters: DeadLetters) -> None:
        self.letters = letters

    def replay(self, events: Sequence[Event]) -> None:
        raise AssertionError("no event")

    def enqueue(self, route: str, record_ids: Iterable[str]) -> int:
        return self.letters.close(self.letters.ids_about(route, record_ids), "delivered")


def test_a_letter_that_is_settled_while_it_is_put_back_counts(reopened: Callable[[], DeadLetters]) -> None:
    letters = reopened()
    letters.add([letter(), letter(2)])
    assert letters.replay([found.id for found in letters.list()], QuickServer(reopened())) == 2
    assert list(reopened().list()) == []


def test_a_letter_that_says_something_else_takes_the_place_of_the_one_before(
    reopened: Callable[[], DeadLetters],
) -> None:
    letters = reopened()
    letters.add([letter(reason="one")])
    assert letters.add([letter(reason="two"), letter(2)]) == 1
    assert {found.reason for found in reopened().list()} == {"two", "no"}


def test_what_another_process_adds_or_closes_is_seen(reopened: Callable[[], DeadLetters]) -> None:
    server, visitor = reopened(), reopened()
    server.add([letter(1), letter(2)])
    assert visitor.close([letter(1).id, "0123456789ab"], "dropped") == 1
    assert [found.subject for found in server.list()] == ["plain:2"]
    visitor.add([letter(3)])
    assert server.counts() == {("deliver", "table/all"): 2}
    assert server.ids_about("table/all", ["plain:1", "plain:3"]) == {letter(3).id}
    assert server.ids_about("another", ["plain:3"]) == set()


def test_a_closed_letter_may_be_opened_again(reopened: Callable[[], DeadLetters]) -> None:
    letters = reopened()
    letters.add([letter()])
    letters.close([letter().id], "replayed")
    assert letters.list() == []
    assert letters.add([letter()]) == 1
    assert len(reopened().list()) == 1


def test_a_letter_is_found_by_the_beginning_of_its_id_if_only_one_begins_so(
    reopened: Callable[[], DeadLetters],
) -> None:
    letters = reopened()
    letters.add([letter(n) for n in range(40)])
    for digits in (8, 12):
        found = letters.get(letter(3).id[:digits])
        assert found is not None
        assert found.subject == "plain:3"
    assert letters.get("") is None
    assert letters.get("zz") is None
    assert letters.get(next(a for a in "0123456789abcdef" if sum(letter(n).id[0] == a for n in range(40)) > 1)) is None


def test_forgotten_letters_are_gone(reopened: Callable[[], DeadLetters]) -> None:
    letters = reopened()
    letters.add([letter(1, "ada@example.com"), letter(2, "bob@example.com"), letter(3, "ada@example.com")])
    assert letters.forget(lambda found: "ada@example.com" in found.reason) == 2
    assert [found.subject for found in reopened().list()] == ["plain:2"]


def test_what_one_machine_forgets_leaves_the_files_of_the_others_once_they_look(tmp_path: Path) -> None:
    with place_in(tmp_path, None) as place:
        store = place.open()

        def machine(name: str) -> LetterTable:
            copy = LetterFile(tmp_path / name / "dead.jsonl", now=Clock())
            return LetterTable(lambda: nullcontext(store), now=Clock(), copy=copy)

        def bytes_of(name: str) -> bytes:
            return b"".join(path.read_bytes() for path in (tmp_path / name).iterdir() if path.is_file())

        one, two = machine("one"), machine("two")
        one.add([letter(1, "ada@example.com"), letter(2, "bob@example.com")])
        one.close([letter(1).id], "dropped")
        two.add([letter(3, "ada@example.com"), letter(4)])
        (tmp_path / "two" / "dead.jsonl.torn").write_bytes(b"ada@exam")
        two.follow()
        assert b"ada@" in bytes_of("two"), "nobody was forgotten"
        assert one.forget(lambda found: "ada@example.com" in found.reason) == 1
        assert b"ada@" not in bytes_of("one")
        assert b"ada" not in (store.recall("connector", "letters forgotten") or "").encode()
        two = machine("two")  # it was down meanwhile
        two.follow()
        assert b"ada@" not in bytes_of("two")
        assert [found.subject for found in LetterFile(tmp_path / "two" / "dead.jsonl", now=Clock()).list()] == [
            "plain:4"
        ]
        before = (tmp_path / "two" / "dead.jsonl").stat().st_ino
        two.add([letter(5)])
        two.follow()
        assert (tmp_path / "two" / "dead.jsonl").stat().st_ino == before, "it is rewritten once"
        (tmp_path / "two" / "dead.jsonl.forgotten").write_bytes(b"\xff")  # torn, as after a power loss
        two.follow()
        assert {found.subject for found in LetterFile(tmp_path / "two" / "dead.jsonl", now=Clock()).list()} == {
            "plain:4", "plain:5",
        }  # fmt: skip


def test_letters_are_counted_by_stage_and_place(reopened: Callable[[], DeadLetters]) -> None:
    letters = reopened()
    assert letters.counts() == {}
    letters.add([letter(1), letter_of_event(event(1), "a\ud800 b", "unknown_shape")])
    assert reopened().counts() == {("deliver", "table/all"): 1, ("normalize", "plain"): 1}


def test_a_process_appends_what_it_writes_to_its_own_file_as_well(tmp_path: Path) -> None:
    with place_in(tmp_path, None) as place:
        store = place.open()
        here = LetterTable(lambda: nullcontext(store), now=Clock(), copy=letters_at(tmp_path))
        there = LetterTable(lambda: nullcontext(store), now=Clock())
        here.add([letter(1), letter(2)])
        there.add([letter(3)])
        here.close([letter(1).id], "dropped")
        assert [found.subject for found in letters_at(tmp_path).list()] == ["plain:2"]
        assert {found.subject for found in here.list()} == {"plain:2", "plain:3"}
        (tmp_path / "dead.jsonl.lock").unlink()
        (tmp_path / "dead.jsonl.lock").mkdir()  # nobody can write there
        assert here.add([letter(4)]) == 1


def test_letters_that_one_correction_settles_have_one_cause() -> None:
    alike = [letter(n, f'"{n}@example.com" is no address') for n in range(3)]
    other = letter_of_event(event(1), "no type", "unknown_shape")
    first, second = causes([alike[0], other, *alike[1:], alike[0]])
    assert (first.subjects, len(first.letters)) == (("plain:0", "plain:1", "plain:2"), 4)
    assert first.command == f"connector dead-letters replay {cause_of(alike[1])}"
    assert (second.stage, second.place, second.subjects) == ("normalize", "plain", (other.subject,))
    assert "newer version" in second.what_to_do


# ---------------------------------------------------------------- the file


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    letters_at(tmp_path).add([letter()])
    assert stat.S_IMODE((tmp_path / "dead.jsonl").stat().st_mode) == 0o600


def test_the_same_letter_again_is_one_letter_and_one_line(tmp_path: Path) -> None:
    letters = letters_at(tmp_path)
    assert letters.add([letter()]) == 1
    assert letters.add([letter()]) == 0
    assert letters_at(tmp_path).add([letter()]) == 0, "a crash between the file and the store repeats it"
    assert len((tmp_path / "dead.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("keep", [1, 20, -2])
def test_a_torn_line_is_kept_aside_and_never_in_the_way(tmp_path: Path, keep: int) -> None:
    letters_at(tmp_path).add([letter(1)])
    path = tmp_path / "dead.jsonl"
    whole = path.read_bytes()
    torn = json.dumps({"id": "0123456789ab", "stage": "deliver"}).encode()[:keep]
    path.write_bytes(whole + torn)
    letters = letters_at(tmp_path)
    assert [found.subject for found in letters.list()] == ["plain:1"]
    assert (tmp_path / "dead.jsonl.torn").read_bytes() == torn + b"\n"
    letters.add([letter(2)])
    assert [found.subject for found in letters_at(tmp_path).list()] == ["plain:1", "plain:2"]


@pytest.mark.parametrize(
    "line",
    [
        b"\x00\xff garbage\r[]\n[]\n{}",
        b'{"id":[],"closed":"read"}',
        b'{"id":{},"stage":"deliver","place":"a/b","subject":"x","reason":"y"}',
        b"[" * 200_000,
    ],
    ids=["garbage", "list", "object", "deep"],
)
def test_a_line_that_is_no_letter_does_not_hide_the_others(tmp_path: Path, line: bytes) -> None:
    letters_at(tmp_path).add([letter(1)])
    with (tmp_path / "dead.jsonl").open("ab") as file:
        file.write(line + b"\n")
    letters_at(tmp_path).add([letter(2)])
    assert [found.subject for found in letters_at(tmp_path).list()] == ["plain:1", "plain:2"]
    assert letters_at(tmp_path).closed() == {}


def test_forget_takes_every_byte_about_somebody_out_of_the_file(tmp_path: Path) -> None:
    letters = letters_at(tmp_path)
    letters.add([letter(1, "ada@example.com"), letter(2, "bob@example.com"), letter(3, "ada@example.com")])
    letters.close([letter(3).id], "delivered")
    (tmp_path / "dead.jsonl.torn").write_bytes(b"ada@example.com\n")
    assert letters.forget(lambda found: found.subject == "plain:1") == 1
    assert [found.subject for found in letters.list()] == ["plain:2"]
    assert not any(b"ada@" in path.read_bytes() for path in tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_the_stores_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailable):
        LetterFile(tmp_path / "file" / "dead.jsonl", now=Clock()).add([letter()])


def test_a_path_that_cannot_be_written_stops_nothing_while_there_is_no_letter_to_write(tmp_path: Path) -> None:
    (tmp_path / "dead.jsonl").mkdir()
    world = World(tmp_path)
    world.say(event(1, email="a@example.com"))
    assert world.deliver() is None
    assert world.emails() == {"1": "a@example.com"}
    assert world.pending() == 0
    with pytest.raises(StoreUnavailable):
        world.say(event(2, topic="unreadable"))
    (tmp_path / "dead.jsonl").rmdir()
    world.say()
    assert [found.code for found in world.letters.list()] == ["unknown_shape"]
    world.close()


@given(body=st.binary(max_size=200), key=st.text(max_size=50), topic=st.text(max_size=20))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_event_comes_back_from_its_letter_byte_by_byte(tmp_path: Path, body: bytes, key: str, topic: str) -> None:
    said = Event("plain", key, topic, 12, START, body)
    letters = letters_at(tmp_path)
    letters.add([letter_of_event(said, "why", "code")])
    found = letters_at(tmp_path).list()[-1]
    assert event_of(found) == said
    letters.close([found.id], "dropped")


_writer = """
import sys
from datetime import datetime, UTC
from pathlib import Path
from connector.dead_letters import DeadLetters, LetterFile, Letter
letters = LetterFile(Path(sys.argv[1]), now=lambda: datetime.now(UTC))
n = 0
while True:
    n += 1
    letters.add([Letter("deliver", "r", f"{sys.argv[2]}:{n}", "x" * 300)])
    print(n, flush=True)
"""


def test_a_kill_at_any_moment_keeps_every_letter_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "dead.jsonl"
    for round_number in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", _writer, str(path), str(round_number)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(20 + round_number * 7):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        said = (
            20 + round_number * 7 + len([line for line in process.stdout.read().splitlines(True) if line[-1] == "\n"])
        )
        process.wait()
        process.stdout.close()
        subjects = {found.subject for found in LetterFile(path, now=Clock()).list()}
        assert {f"{round_number}:{n}" for n in range(1, said + 1)} <= subjects
