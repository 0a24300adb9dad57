from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from types import FrameType
from typing import ClassVar, cast

import pytest
from msgspec.structs import replace

from connector.core.errors import NeedsAction, StartOver, Stopping, StoreUnavailable, TryLater
from connector.core.mapping import Evaluation, Unshaped
from connector.core.record import AffiliateRecord
from connector.core.row import Cell, Row, load_cells
from connector.core.sink import Outcome, Target, TargetOptions
from connector.dead_letters import DeadLetters
from connector.delivery import Retry, RouteWorker
from connector.store import Store
from tests.doubles import TableSink, World, as_row, event
from tests.test_rest import Naps


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def test_a_thousand_events_on_one_affiliate_are_one_row_in_one_call(world: World) -> None:
    world.say(*(event(1, at, email=f"{at}@example.com") for at in range(1, 1001)))
    assert world.deliver() is None
    assert world.emails() == {"1": "1000@example.com"}
    assert len(world.sink.calls) == 1
    assert world.pending() == 0


def test_a_clock_that_was_ahead_holds_nothing_up(world: World) -> None:
    world.clock.seconds += 400 * 86_400
    world.say(event(1, email="a@example.com"))
    busy = [TryLater("busy", after=600, quota=True)]

    def once_busy(rows: Sequence[Row]) -> None:
        if busy:
            raise busy.pop()

    world.sink.before = once_busy
    world.deliver()
    world.say(event(2, email="b@example.com"))
    world.clock.seconds -= 400 * 86_400
    assert (world.deliver() or 0) > 86_400
    world.store.clock_was_set_back(ahead_by=timedelta(days=1))
    assert world.deliver() is None
    assert set(world.emails()) == {"1", "2"}


def test_many_affiliates_go_in_as_few_calls_as_the_sink_takes(world: World) -> None:
    world.say(*(event(n, email="a@example.com") for n in range(250)))
    world.deliver()
    assert [len(call) for call in world.sink.calls] == [100, 100, 50]
    assert len(world.sink.rows) == 250


def test_a_changed_row_takes_as_many_steps_in_a_large_batch_as_in_a_small_one(tmp_path: Path) -> None:
    def steps(count: int) -> float:
        """Function calls a row of delivering *count* records whose rows the destination holds already."""
        world = World(tmp_path / str(count), sink=TableSink(batch_rows=4_000))
        calls = [0]

        def note(_frame: FrameType, _what: str, _about: object) -> None:
            calls[0] += 1

        for at in (1, 2):
            world.say(*(event(n, at, email=f"{at}@example.com") for n in range(count)))
            calls[0] = 0
            sys.setprofile(note)
            try:
                world.deliver()
            finally:
                sys.setprofile(None)
            assert len(world.sink.calls) == at
        world.close()
        return calls[0] / count

    steps(50)  # what is done once
    assert steps(4_000) < 1.2 * steps(400)


def test_a_row_equal_to_what_was_written_costs_no_call(world: World) -> None:
    world.say(event(1, 1, email="a@example.com"))
    world.deliver()
    world.say(event(1, 2, company="not in any column"))
    assert world.pending() == 1
    assert world.deliver() is None
    assert world.pending() == 0
    assert len(world.sink.calls) == 1


def test_a_row_whose_extras_alone_have_changed_is_written_again(tmp_path: Path) -> None:
    def with_company(record: AffiliateRecord) -> Evaluation:
        (row,) = as_row(record).rows
        return Evaluation((replace(row, extras={"company.key": record.company or ""}),))

    world = World(tmp_path, evaluate=with_company)
    sent: list[str] = []
    world.sink.after = lambda rows: sent.extend(row.extras["company.key"] for row in rows)
    for at, company in enumerate(("one", "one", "two"), start=1):
        world.say(event(1, at, email="a@example.com", company=company))
        world.deliver()
    assert sent == ["one", "two"]
    world.close()


def test_rows_that_need_no_call_do_not_thin_out_a_batch(tmp_path: Path) -> None:
    world = World(tmp_path, sink=TableSink(batch_rows=10))
    world.say(*(event(n, 1, email="a@example.com") for n in range(40)))
    world.deliver()
    world.sink.calls.clear()
    world.say(*(event(n, 2, **({"email": "b@example.com"} if n % 4 == 0 else {"company": "c"})) for n in range(40)))
    world.deliver()
    assert [len(call) for call in world.sink.calls] == [10]
    world.close()


def test_the_sink_is_told_what_was_written_last(world: World) -> None:
    world.say(event(1, 1, email="a@example.com"))
    world.deliver()
    world.say(event(1, 2, email="b@example.com"))
    world.deliver()
    assert world.sink.lasts == [None, {"ID": "plain:1", "Email": "a@example.com"}]


def test_a_change_during_delivery_stays_pending(world: World) -> None:
    def meanwhile(rows: Sequence[Row]) -> None:
        if len(world.sink.calls) == 1:
            world.say(event(1, 2, email="new@example.com"))

    world.sink.after = meanwhile
    world.say(event(1, 1, email="old@example.com"))
    world.worker.step()
    assert world.emails() == {"1": "old@example.com"}
    assert world.pending() == 1
    world.deliver()
    assert world.emails() == {"1": "new@example.com"}
    assert world.pending() == 0


def test_a_lost_answer_ends_in_the_same_row(world: World) -> None:
    def lose(rows: Sequence[Row]) -> None:
        if len(world.sink.calls) <= 2:
            raise TryLater("the answer never came")

    world.sink.after = lose
    world.say(event(1, email="a@example.com"))
    world.deliver_for(60)
    assert world.emails() == {"1": "a@example.com"}
    assert len(world.sink.calls) == 3
    assert world.pending() == 0


def test_a_refused_row_is_a_letter_at_once_and_the_rest_is_written(world: World) -> None:
    world.sink.answer = lambda row: (
        Outcome(row.key, "refused", "no such address: bad@", "INVALID_EMAIL", column="Email")
        if row.key == "plain:1"
        else Outcome(row.key, "written")
    )
    world.say(*(event(n, email="bad@") for n in range(3)))
    assert world.deliver() is None
    assert set(world.emails()) == {"0", "2"}
    (letter,) = world.letters.list()
    assert (letter.stage, letter.place, letter.subject, letter.row) == (
        "deliver", "table/all", "plain:1", "plain:1",
    )  # fmt: skip
    assert (letter.code, letter.where, letter.tries) == ("INVALID_EMAIL", "map.toml:7", 1)
    assert letter.content["cells"] == {"ID": "plain:1", "Email": "bad@"}


def test_a_letter_closes_by_itself_when_its_row_is_delivered_after_all(world: World) -> None:
    world.sink.answer = lambda row: Outcome(row.key, "refused" if row.cells["Email"] == "bad@" else "written")
    world.say(event(1, 1, email="bad@"))
    world.deliver()
    assert len(world.letters.list()) == 1
    world.say(event(1, 2, email="good@example.com"))
    world.deliver()
    assert world.letters.list() == []


def test_a_replay_after_a_fix_delivers_and_replaying_twice_does_no_harm(world: World) -> None:
    world.sink.answer = lambda row: Outcome(row.key, "refused", "no")
    world.say(event(1, email="a@example.com"))
    world.deliver()
    (letter,) = world.letters.list()
    world.sink.answer = lambda row: Outcome(row.key, "written")
    assert world.letters.replay([letter.id, letter.id], world.store) == 1
    assert world.letters.replay([letter.id], world.store) == 0
    world.deliver()
    assert world.emails() == {"1": "a@example.com"}
    assert world.letters.list() == []


def test_a_value_that_does_not_fit_is_a_letter_with_the_mapping_line(tmp_path: Path) -> None:
    def evaluate(record: AffiliateRecord) -> Evaluation:
        if record.email == "bad":
            rest: dict[str, Cell] = {"Name": "Ada", "Joined": date(2026, 11, 20)}
            unfit = Unshaped(record.id, "Email", "bad is no e-mail", "map.toml:7", "bad_email", rest)
            return Evaluation(problems=(unfit,))
        return as_row(record)

    world = World(tmp_path, evaluate=evaluate)
    world.say(event(1, email="bad"), event(2, email="good@example.com"))
    assert world.deliver() is None
    assert world.emails() == {"2": "good@example.com"}
    (letter,) = world.letters.list()
    assert (letter.subject, letter.row, letter.where) == ("plain:1", "plain:1", "map.toml:7")
    assert load_cells(json.dumps(letter.content["cells"])) == {"Name": "Ada", "Joined": date(2026, 11, 20)}
    world.say(event(1, 2, email="better@example.com"))
    world.deliver()
    assert world.letters.list() == []
    world.close()


def test_a_mapping_that_breaks_on_one_record_keeps_it_pending_and_delivers_the_others(tmp_path: Path) -> None:
    def evaluate(record: AffiliateRecord) -> Evaluation:
        if record.id == "plain:1":
            raise ZeroDivisionError
        return as_row(record)

    world = World(tmp_path, evaluate=evaluate)
    world.say(*(event(n, email="a@example.com") for n in range(3)))
    wait = world.deliver()
    assert wait is not None
    assert wait > 0
    assert set(world.emails()) == {"0", "2"}
    assert world.pending() == 1
    assert world.letters.list() == []
    world.close()


def test_a_row_without_an_outcome_stays_pending_and_comes_again_later(world: World) -> None:
    world.sink.answer = lambda row: None if len(world.sink.calls) == 1 else Outcome(row.key, "written")
    world.say(event(1, email="a@example.com"))
    wait = world.deliver()
    assert wait is not None
    assert wait > 0
    assert world.pending() == 1
    world.deliver_for(10)
    assert world.pending() == 0


def test_a_row_that_has_to_wait_waits_as_long_as_the_destination_asks(world: World) -> None:
    world.sink.answer = lambda row: (
        Outcome(row.key, "later", "locked", "locked", after=40.0)
        if world.clock.seconds < 40
        else Outcome(row.key, "written")
    )
    world.say(event(1, email="a@example.com"))
    assert world.deliver() == pytest.approx(40, abs=0.1)
    world.deliver_for(60)
    assert len(world.sink.calls) == 2


def test_a_429_never_dead_letters_however_long_it_lasts(tmp_path: Path) -> None:
    world = World(tmp_path, retry=Retry(give_up_after_hours=1))

    def limit(rows: Sequence[Row]) -> None:
        if world.clock.seconds < 48 * 3600:
            raise TryLater("too many requests", after=3600, quota=True)

    world.sink.before = limit
    world.say(*(event(n, email="a@example.com") for n in range(150)))
    world.deliver_for(47 * 3600)
    assert world.sink.rows == {}
    assert world.store.route_state("table/all").failures == 0
    assert len(world.sink.calls) <= 47 + 1, "it asked more often than the destination said"
    world.deliver_for(3 * 3600)
    assert len(world.sink.rows) == 150
    assert world.letters.list() == []
    world.close()


def test_an_outage_leaves_all_pending_and_calls_follow_the_back_off(tmp_path: Path) -> None:
    world = World(tmp_path, retry=Retry(give_up_after_hours=0.1, longest_wait_seconds=300))

    def down(rows: Sequence[Row]) -> None:
        if world.clock.seconds < 1800:
            raise TryLater("no answer")

    world.sink.before = down
    world.say(*(event(n, email="a@example.com") for n in range(300)))
    world.deliver_for(1790)
    assert world.pending() == 300
    assert 5 < len(world.sink.calls) < 40
    world.deliver_for(3600)
    assert len(world.sink.rows) == 300
    assert world.pending() == 0
    assert world.letters.list() == []
    assert world.store.route_state("table/all").kind == "ok"
    world.close()


def test_the_pause_of_an_outage_survives_a_restart(world: World) -> None:
    world.sink.before = _always(TryLater("no answer"))
    world.say(*(event(n, email="a@example.com") for n in range(9)))
    world.deliver_for(300)
    calls = len(world.sink.calls)
    wait = world.deliver()
    assert wait is not None
    assert wait > 10
    world.close()
    world.open()
    assert world.deliver() == pytest.approx(wait)
    assert len(world.sink.calls) == calls


@pytest.mark.parametrize("fault", [TryLater("it breaks"), ZeroDivisionError("our bug")], ids=["destination", "bug"])
@pytest.mark.parametrize("poisonous", [{0}, {57}, {3, 4}, {0, 99, 180}])
def test_rows_that_make_calls_fail_do_not_hold_up_the_others(
    world: World, poisonous: set[int], fault: Exception
) -> None:
    keys = {f"plain:{n}" for n in poisonous}

    def poison(rows: Sequence[Row]) -> None:
        if any(row.key in keys for row in rows):
            raise fault

    world.sink.before = poison
    world.say(*(event(n, email="a@example.com") for n in range(200)))
    world.deliver_for(15)
    assert len(world.sink.rows) == 200 - len(poisonous)
    assert world.pending() == len(poisonous)
    assert world.letters.list() == []
    # From now on they are sent by themselves: the others are not in their way, nor they in the others'.
    world.sink.calls.clear()
    world.say(*(event(n, 2, email="b@example.com") for n in range(200)))
    began = world.clock.seconds
    world.deliver(steps=20)
    assert world.clock.seconds - began < 1
    assert sum(row["Email"] == "b@example.com" for row in world.sink.rows.values()) == 200 - len(poisonous)
    # And when the fault is fixed they arrive.
    world.sink.before = lambda rows: None
    world.deliver_for(3600)
    assert len(world.sink.rows) == 200
    assert world.pending() == 0


def test_a_lone_row_that_fails_does_not_delay_one_that_comes_after_it(world: World) -> None:
    def poison(rows: Sequence[Row]) -> None:
        if any(row.key == "plain:1" for row in rows):
            raise TryLater("it breaks")

    world.sink.before = poison
    world.say(event(1, email="a@example.com"))
    world.deliver_for(1000)
    world.say(event(2, email="b@example.com"))
    began = world.clock.seconds
    world.deliver()
    assert world.emails() == {"2": "b@example.com"}
    assert world.clock.seconds == began


def test_a_row_that_alone_fails_for_too_long_is_dead_lettered_when_others_got_through(tmp_path: Path) -> None:
    world = World(tmp_path, retry=Retry(give_up_after_hours=2))

    def poison(rows: Sequence[Row]) -> None:
        if any(row.key == "plain:1" for row in rows):
            raise TryLater("it breaks")

    world.sink.before = poison
    world.say(*(event(n, email="a@example.com") for n in range(5)))
    world.deliver_for(3 * 3600)
    assert world.letters.list() == [], "nothing else was delivered meanwhile: the destination may be down"
    world.say(event(2, 2, email="b@example.com"))
    world.deliver_for(3600)
    (letter,) = world.letters.list()
    assert (letter.subject, letter.code) == ("plain:1", "later")
    assert letter.tries > 3
    assert world.pending() == 0
    world.close()


def test_a_bug_never_dead_letters_and_loses_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, retry=Retry(give_up_after_hours=0.01))
    world.sink.before = _always(ZeroDivisionError("secret@example.com"))
    world.say(*(event(n, email="a@example.com") for n in range(120)))
    world.deliver_for(3 * 3600)
    assert world.pending() == 120
    assert world.letters.list() == []
    state = world.store.route_state("table/all")
    assert state.kind == "bug"
    assert "ZeroDivisionError" in state.reason
    assert "secret" not in state.reason
    world.sink.before = lambda rows: None
    world.deliver_for(3600)
    assert len(world.sink.rows) == 120
    world.close()


def test_a_record_on_which_our_code_breaks_is_never_dead_lettered_though_others_get_through(tmp_path: Path) -> None:
    world = World(tmp_path, retry=Retry(give_up_after_hours=0.5))

    def poison(rows: Sequence[Row]) -> None:
        if any(row.key == "plain:1" for row in rows):
            raise ZeroDivisionError

    world.sink.before = poison
    for at in range(1, 5):
        world.say(*(event(n, at, email=f"{at}@example.com") for n in range(3)))
        world.deliver_for(1200)
    assert set(world.emails().values()) == {"4@example.com"}
    assert world.pending() == 1
    assert world.letters.list() == []
    world.close()


def test_a_row_that_the_destination_puts_off_for_too_long_is_dead_lettered_when_others_get_through(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, retry=Retry(give_up_after_hours=0.5))
    world.sink.answer = lambda row: (
        Outcome(row.key, "later", "locked by somebody", "locked")
        if row.key == "plain:1"
        else Outcome(row.key, "written")
    )
    for at in range(1, 5):
        world.say(*(event(n, at, email=f"{at}@example.com") for n in range(3)))
        world.deliver_for(1200)
    (letter,) = world.letters.list()
    assert (letter.subject, letter.code) == ("plain:1", "locked")
    assert "locked by somebody" in letter.reason
    assert world.pending() == 0
    world.close()


def test_what_needs_a_person_pauses_the_route_and_heals_by_itself(world: World) -> None:
    world.sink.before = _always(NeedsAction("share the sheet with robot@project"))
    world.say(*(event(n, email="a@example.com") for n in range(120)))
    world.deliver_for(3600)
    state = world.store.route_state("table/all")
    assert (state.kind, state.reason) == ("needs_action", "share the sheet with robot@project")
    assert len(world.sink.calls) < 20
    assert {len(call) for call in world.sink.calls} == {100}, "there is no row to blame"
    world.sink.before = lambda rows: None
    world.deliver_for(3600)
    assert len(world.sink.rows) == 120
    assert world.store.route_state("table/all").kind == "ok"


def test_rows_that_were_written_although_a_person_must_act_are_settled(world: World) -> None:
    def full(rows: Sequence[Row]) -> None:
        written = [Outcome(row.key, "written") for row in rows if row.key != "plain:7"]
        raise NeedsAction("the file is full", outcomes=written)

    world.sink.before = full
    world.say(*(event(n, email="a@example.com") for n in range(20)))
    world.deliver()
    assert world.pending() == 1
    state = world.store.route_state("table/all")
    assert (state.kind, state.failures) == ("needs_action", 1)
    world.say(event(3, 2, email="b@example.com"))
    world.deliver_for(3600)
    assert world.pending() == 1
    assert world.store.route_state("table/all").kind == "needs_action"
    world.sink.before = lambda rows: None
    world.deliver_for(3600)
    assert (world.pending(), world.store.route_state("table/all").kind) == (0, "ok")


@pytest.mark.parametrize(("error", "calls_at_once"), [(NeedsAction("share the sheet"), 1), (TryLater("down"), 0)])
def test_a_start_tries_at_once_what_a_person_was_asked_to_fix(
    world: World, error: Exception, calls_at_once: int
) -> None:
    world.sink.before = _always(error)
    world.say(event(1, email="a@example.com"), event(2, email="b@example.com"))
    world.deliver_for(3600)
    paused_until = world.store.route_state("table/all").paused_until
    assert paused_until is not None
    assert paused_until > world.clock()
    world.close()
    world.open()
    world.sink.calls.clear()
    world.deliver()
    assert len(world.sink.calls) == calls_at_once, "and once only: then the pause holds again"
    world.sink.before = lambda rows: None
    world.deliver_for(3600)
    assert len(world.sink.rows) == 2


def test_a_stop_leaves_the_batch_pending_and_blames_nobody(world: World) -> None:
    world.sink.before = _always(Stopping("stop"))
    world.say(event(1, email="a@example.com"))
    with pytest.raises(Stopping):
        world.worker.step()
    assert world.pending() == 1
    assert world.store.route_state("table/all").kind == "ok"
    world.close()
    world.open()
    world.sink.before = lambda rows: None
    world.deliver()
    assert world.pending() == 0


# ---------------------------------------------------------------- keys that are not unique, keys that change


def test_of_two_records_with_one_key_the_first_keeps_the_row_and_the_second_is_a_letter(tmp_path: Path) -> None:
    world = World(tmp_path, evaluate=_by_company)
    world.say(event(1, email="a@example.com", company="Engines"), event(2, email="b@example.com", company="Engines"))
    assert world.deliver() is None
    assert world.sink.calls == [["Engines"]]
    assert world.sink.rows["Engines"]["Email"] == "a@example.com"
    (letter,) = world.letters.list()
    assert (letter.subject, letter.row, letter.code) == ("plain:2", "Engines", "duplicate_key")
    assert "plain:1" in letter.reason
    assert world.pending() == 0
    # The first is written on; the second stays a letter until it has a key of its own.
    world.say(event(1, 2, email="new@example.com"), event(2, 2, email="other@example.com"))
    world.deliver()
    assert world.sink.rows["Engines"]["Email"] == "new@example.com"
    assert len(world.letters.list()) == 1
    world.say(event(2, 3, company="Motors"))
    world.deliver()
    assert world.sink.rows["Motors"]["Email"] == "other@example.com"
    assert world.letters.list() == []
    world.close()


def test_a_key_that_its_record_has_given_up_goes_to_the_next(tmp_path: Path) -> None:
    world = World(tmp_path, evaluate=_by_company, sink=MovingTable())
    world.say(event(1, email="a@example.com", company="Engines"))
    world.deliver()
    world.say(event(1, 2, company="Motors"), event(2, email="b@example.com", company="Engines"))
    world.deliver_for(60)
    assert {key: row["Email"] for key, row in world.sink.rows.items()} == {
        "Motors": "a@example.com",
        "Engines": "b@example.com",
    }
    assert (world.pending(), world.letters.list()) == (0, [])
    world.close()


def test_the_second_gets_the_key_when_the_first_has_it_no_more(tmp_path: Path) -> None:
    world = World(tmp_path, evaluate=_by_company, sink=MovingTable())
    world.say(event(1, email="a@example.com", company="Engines"), event(2, email="b@example.com", company="Engines"))
    world.deliver()
    assert [letter.subject for letter in world.letters.list()] == ["plain:2"]
    world.say(event(1, 2, company="Motors"))
    world.deliver()
    assert {key: row["Email"] for key, row in world.sink.rows.items()} == {
        "Motors": "a@example.com",
        "Engines": "b@example.com",
    }
    assert (world.pending(), world.letters.list()) == (0, [])
    world.close()


def test_a_record_that_is_out_does_not_remove_the_row_of_another_with_its_key(tmp_path: Path) -> None:
    def evaluate(record: AffiliateRecord) -> Evaluation:
        if record.id == "plain:2":
            row = Row(record.id, "shared", {"ID": "shared"}, remove=True)
            return Evaluation((row,), removals=frozenset({"shared"}))
        return Evaluation((Row(record.id, "shared", {"ID": "shared", "Email": record.email}),))

    options = TargetOptions(removed_records="delete")
    world = World(tmp_path, evaluate=evaluate, options=options)
    world.say(event(1, email="a@example.com"))
    world.deliver()
    world.say(event(2, email="b@example.com"))
    world.deliver()
    assert world.sink.rows["shared"]["Email"] == "a@example.com"
    assert (world.pending(), world.letters.list()) == (0, [])
    world.close()


@pytest.mark.parametrize("what", ["delete", "leave_alone", "mark"])
def test_a_changed_key_moves_the_row(tmp_path: Path, what: str) -> None:
    options = TargetOptions.model_validate({"removed_records": what})
    world = World(tmp_path, evaluate=_by_email, options=options, sink=MovingTable())
    world.say(event(1, 1, email="old@example.com"))
    world.deliver()
    world.sink.rows["old@example.com"] = {**world.sink.rows["old@example.com"], "Note": "typed by a person"}
    world.say(event(1, 2, email="new@example.com"))
    assert world.deliver() is None
    assert list(world.sink.rows) == ["new@example.com"]
    assert world.sink.rows["new@example.com"]["Note"] == "typed by a person"
    assert world.sink.lasts == [None, {"ID": "old@example.com", "Email": "old@example.com"}]
    world.say(event(1, 3, email="third@example.com"))
    world.deliver()
    assert list(world.sink.rows) == ["third@example.com"]
    world.close()


@pytest.mark.parametrize("what", ["delete", "leave_alone", "mark"])
@pytest.mark.parametrize("circle", [2, 3])
def test_records_that_exchange_their_keys_do_not_wait_for_each_other(tmp_path: Path, what: str, circle: int) -> None:
    options = TargetOptions.model_validate({"removed_records": what})
    world = World(tmp_path, evaluate=_by_email, options=options, sink=MovingTable())
    world.say(*(event(number, 1, email=f"{number}@example.com", name=f"N{number}") for number in range(circle)))
    world.deliver()
    addresses = {number: f"{(number + 1) % circle}@example.com" for number in range(circle)}
    world.say(*(event(number, 2, email=address, name=f"N{number}") for number, address in addresses.items()))
    for _ in range(circle + 1):
        world.deliver()
        world.clock.seconds += 2
    assert (world.pending(), world.letters.list()) == (0, [])
    assert world.sink.rows == {address: {"ID": address, "Email": address} for address in addresses.values()}
    written = world.store.written(world.worker.route.name, (), addresses.values())
    assert {row.key: row.record_id for row in written} == {
        address: f"plain:{number}" for number, address in addresses.items()
    }
    world.close()


def test_a_row_is_not_moved_where_a_record_has_several_or_the_new_key_has_a_row(tmp_path: Path) -> None:
    world = World(tmp_path, evaluate=_by_email, sink=MovingTable())
    world.worker.route = replace(world.worker.route, target=replace(world.worker.route.target, for_each=True))
    world.say(event(1, 1, email="old@example.com"))
    world.deliver()
    world.say(event(1, 2, email="new@example.com"))
    world.deliver()
    assert set(world.sink.rows) == {"old@example.com", "new@example.com"}
    world.close()


# ---------------------------------------------------------------- records that lack a value


def test_a_record_that_lacks_a_value_waits_for_it_and_is_no_failure(tmp_path: Path) -> None:
    world = World(tmp_path, retry=Retry(give_up_after_hours=1))
    world.sink.answer = lambda row: Outcome(
        row.key, "written" if row.cells["Email"] else "incomplete", column="Email", code="waits"
    )
    world.say(event(1, status="rejected"), event(2, email="b@example.com"))
    world.deliver()
    for day in range(4):  # others get through meanwhile
        world.clock.seconds += 86_400
        world.say(event(2, 10 + day, email=f"{day}@example.com"))
        world.deliver()
    (route,) = world.store.status().routes
    assert (route.pending, route.waiting, route.retrying, route.oldest_since) == (0, 1, 0, None)
    assert (route.state.kind, world.letters.list()) == ("ok", [])
    (one,) = world.store.pending_of("plain:1")
    assert (one.reason, one.tries) == ("waits_for_Email", 0)
    world.say(event(1, 2, email="a@example.com"))
    world.deliver()
    assert world.emails() == {"1": "a@example.com", "2": "3@example.com"}
    assert world.store.status().routes[0].waiting == 0
    world.close()


def test_a_record_with_more_rows_than_a_call_takes_is_settled_when_all_are_written(tmp_path: Path) -> None:
    def many(record: AffiliateRecord) -> Evaluation:
        return Evaluation(tuple(Row(record.id, f"{record.id}/{n}", {"ID": f"{n}", "Email": "a"}) for n in range(25)))

    world = World(tmp_path, evaluate=many, sink=TableSink(batch_rows=10))
    world.say(event(1, email="a@example.com"))
    world.deliver()
    assert [len(call) for call in world.sink.calls] == [10, 10, 5]
    assert world.pending() == 0
    world.close()


@pytest.mark.parametrize(
    ("what", "left"), [("delete", {"new@example.com"}), ("leave_alone", {"new@example.com", "old@example.com"})]
)
def test_the_row_of_a_key_that_a_record_has_no_more_is_treated_as_the_mapping_says(
    tmp_path: Path, what: str, left: set[str]
) -> None:
    world = World(tmp_path, evaluate=_by_email, options=TargetOptions.model_validate({"removed_records": what}))
    world.say(event(1, 1, email="old@example.com"))
    world.deliver()
    world.say(event(1, 2, email="new@example.com"))
    world.deliver()
    assert set(world.sink.rows) == left
    world.close()


def test_a_left_over_row_is_marked_once(tmp_path: Path) -> None:
    world = World(tmp_path, evaluate=_by_email, options=TargetOptions(removed_records="mark"))
    world.say(event(1, 1, email="old@example.com"))
    world.deliver()
    world.say(event(1, 2, email="new@example.com"))
    world.deliver()
    assert world.sink.rows["old@example.com"]["Removed"] == date(2026, 11, 20)
    calls = len(world.sink.calls)
    world.clock.seconds += 5 * 24 * 3600
    world.say(event(1, 3, company="no column"))
    world.deliver()
    assert len(world.sink.calls) == calls
    world.close()


def test_a_column_that_waits_is_not_taken_for_written(world: World) -> None:
    world.sink.answer = lambda row: Outcome(row.key, "written", waiting=("Email",))
    world.say(event(1, 1, email="a@example.com"))
    world.deliver()
    world.say(event(1, 2, company="c"))
    world.deliver()
    assert world.sink.lasts == [None, {"ID": "plain:1"}]


def test_a_resync_writes_every_row_again(world: World) -> None:
    world.say(*(event(n, email="a@example.com") for n in range(5)))
    world.deliver()
    world.sink.rows.clear()
    assert world.store.resync("table/all") == 5
    world.deliver()
    assert len(world.sink.rows) == 5


def test_what_is_gone_is_written_again_with_all_that_stood_in_it(world: World) -> None:
    world.say(*(event(n, email="a@example.com") for n in range(5)))
    world.deliver()
    world.sink.rows.clear()
    gone = [StartOver("somebody deleted the table")]

    def refuse_once(rows: Sequence[Row]) -> None:
        if gone:
            raise gone.pop()

    world.sink.before = refuse_once
    world.say(event(9, email="new@example.com"))
    world.deliver()
    assert sorted(world.emails()) == ["0", "1", "2", "3", "4", "9"]
    assert (world.pending(), world.letters.list(), world.clock.naps) == (0, [], [])


def test_a_sink_that_starts_over_for_ever_is_a_bug_and_costs_no_storm_of_calls(world: World) -> None:
    def refuse(rows: Sequence[Row]) -> None:
        raise StartOver("gone again")

    world.sink.before = refuse
    world.say(*(event(n, email="a@example.com") for n in range(5)))
    world.deliver_for(600)
    assert len(world.sink.calls) < 20
    assert world.store.route_state("table/all").kind == "bug"
    world.sink.before = lambda rows: None
    world.deliver_for(3600)
    assert len(world.sink.rows) == 5


def test_it_waits_for_the_quota_before_it_takes_a_batch(world: World) -> None:
    world.say(event(1, 1, email="old@example.com"))
    world.sink.pace_seconds = 30.0
    world.deliver()
    assert world.clock.naps == [30.0]
    assert world.emails() == {"1": "old@example.com"}


def test_everything_arrives_whatever_fails(tmp_path: Path) -> None:
    """Seeded: calls fail before or after writing, rows are refused or late, in any mixture."""
    for seed in range(6):
        chance = random.Random(seed)
        world = World(tmp_path / str(seed), sink=TableSink(batch_rows=20))
        rate = chance.choice([0.25, 0.5, 0.75])

        def break_down(rows: Sequence[Row], chance: random.Random = chance, rate: float = rate) -> None:
            if chance.random() < rate:
                raise chance.choice(
                    [TryLater("down"), TryLater("limit", after=2, quota=True), KeyError("bug"), NeedsAction("do it")]
                )

        def answer(row: Row, chance: random.Random = chance, rate: float = rate) -> Outcome | None:
            if row.key.endswith("7"):
                return Outcome(row.key, "refused", "no")
            return None if chance.random() < rate / 4 else Outcome(row.key, "written")

        world.sink.before = world.sink.after = break_down
        world.sink.answer = answer
        for at in range(1, 4):
            world.say(*(event(n, at, email=f"{at}@example.com") for n in range(60)))
            world.deliver_for(5)
        world.deliver_for(10 * 24 * 3600)
        assert world.pending() == 0, seed
        refused = {letter.subject for letter in world.letters.list()}
        assert refused == {f"plain:{n}" for n in range(60) if n % 10 == 7}
        assert world.emails() == {str(n): "3@example.com" for n in range(60) if n % 10 != 7}
        world.close()


def test_a_record_too_old_to_be_leased_is_taken_by_another_and_settled_by_nobody_twice(world: World) -> None:
    world.say(event(1, email="a@example.com"))
    lease = timedelta(minutes=1)
    (mine,) = world.store.take("table/all", 10, lease=lease)
    assert world.store.take("table/all", 10, lease=lease) == []
    world.clock.seconds += 61
    (theirs,) = world.store.take("table/all", 10, lease=lease)
    assert theirs.token != mine.token


def _always(error: Exception) -> Callable[[Sequence[Row]], None]:
    def fail(rows: Sequence[Row]) -> None:
        raise error

    return fail


class MovingTable(TableSink):
    """A table that keeps the row of a record whose key has changed."""

    moves_rows: ClassVar[bool] = True

    def write(self, target: Target, rows: Sequence[Row]) -> Sequence[Outcome]:
        for row in rows:
            if row.moved_from is not None and row.key not in self.rows and row.moved_from in self.rows:
                self.rows[row.key] = self.rows.pop(row.moved_from)
        return super().write(target, rows)


def _by_company(record: AffiliateRecord) -> Evaluation:
    key = record.company or ""
    return Evaluation((Row(record.id, key, {"ID": key, "Email": record.email}),))


def _by_email(record: AffiliateRecord) -> Evaluation:
    assert record.email is not None
    return Evaluation((Row(record.id, record.email, {"ID": record.email, "Email": record.email}),))


def test_its_thread_wakes_up_for_what_is_pending_and_stops_when_told(world: World) -> None:
    written = threading.Event()
    world.sink.after = lambda rows: written.set()
    world.store.on_pending(world.worker.bell.set)
    thread = threading.Thread(target=world.worker.run)
    thread.start()
    time.sleep(0.1)  # by now it sleeps
    world.say(event(1, email="a@example.com"))
    assert written.wait(60)
    world.stop.set()
    thread.join(60)
    assert not thread.is_alive()
    assert world.pending() == 0


def test_its_thread_finds_what_another_process_enqueued(world: World) -> None:
    world.say(event(1, email="a@example.com"))
    world.deliver()
    written = threading.Event()
    world.sink.after = lambda rows: written.set()
    thread = threading.Thread(target=world.worker.run)
    thread.start()
    time.sleep(0.1)  # by now it sleeps
    visitor = Store(str(world.folder / "c.db"), worker=False, now=world.clock)
    visitor.resync("table/all")
    visitor.close()
    assert written.wait(60)
    world.stop.set()
    thread.join(60)
    assert world.pending() == 0


def test_while_requests_come_in_it_rests_after_each_full_slice_and_each_batch(tmp_path: Path) -> None:
    world, stop = World(tmp_path, sink=TableSink(batch_rows=1_000)), Naps()
    worker = RouteWorker(
        world.worker.route, cast(Store, _Busy(world.store)), world.letters, Retry(), stop=stop, now=world.clock
    )
    world.say(*(event(n, email="a@example.com") for n in range(501)))
    worker.step()
    assert len(stop.seconds) == 2
    assert all(0 < seconds <= 0.5 for seconds in stop.seconds)
    world.say(event(1, 3, email="c@example.com"))
    worker.step()
    assert len(stop.seconds) == 3
    stop.set()
    world.say(event(1, 4, email="d@example.com"))
    worker.step()
    assert world.pending() == 1, "it stops: nothing is begun"
    world.close()


class _Busy:
    """A store that has just committed requests."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def committed_at(self) -> float:
        return time.monotonic()


def test_what_was_written_while_the_store_failed_is_settled_later_without_a_second_call(world: World) -> None:
    world.say(event(1, email="a@example.com"), event(2, email="b@example.com"))
    failing = _FailsToFinish(world.store)
    worker = RouteWorker(
        world.worker.route, cast(Store, failing), world.letters, Retry(), stop=world.stop, now=world.clock
    )
    with pytest.raises(StoreUnavailable):
        worker.step()
    assert world.pending() == 2
    failing.broken = False
    assert worker.step() is None
    assert world.pending() == 0
    assert len(world.sink.calls) == 1


def test_what_is_left_of_a_large_batch_when_the_store_fails_is_settled_later_without_a_second_call(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, sink=TableSink(batch_rows=5_000))
    world.sink.answer = lambda row: Outcome(row.key, "refused" if row.cells["Email"] == "bad@" else "written")
    world.say(*(event(n, email="bad@" if n % 1_000 == 999 else "a@example.com") for n in range(4_500)))
    failing = _FailsToFinish(world.store, after=1)
    worker = RouteWorker(
        world.worker.route, cast(Store, failing), world.letters, Retry(), stop=world.stop, now=world.clock
    )
    with pytest.raises(StoreUnavailable):
        worker.step()
    assert 0 < world.pending() < 4_500  # what was settled before is
    assert len(world.letters.list()) == 4
    failing.broken = False
    assert worker.step() is None
    assert world.pending() == 0
    assert (len(world.sink.calls), len(world.letters.list())) == (1, 4)
    world.close()


def test_a_store_that_fails_in_the_middle_of_a_call_leaves_nothing_leased(world: World) -> None:
    def no_note_kept(rows: Sequence[Row]) -> None:
        if len(world.sink.calls) == 1:
            raise StoreUnavailable("database or disk is full")  # from Host.remember

    world.sink.after = no_note_kept
    world.say(*(event(n, email="a@example.com") for n in range(3)))
    with pytest.raises(StoreUnavailable):
        world.worker.step()
    assert world.deliver() is None
    assert world.pending() == 0
    assert [len(call) for call in world.sink.calls] == [3, 3]


@pytest.mark.parametrize("moment", ["before it closes letters", "before it settles", "after it settled"])
def test_a_death_around_the_settling_leaves_no_letter_open_of_a_row_that_was_delivered(
    world: World, moment: str
) -> None:
    world.sink.answer = lambda row: Outcome(row.key, "refused" if row.cells["Email"] == "bad@" else "written")
    world.say(event(1, 1, email="bad@"))
    world.deliver()
    assert len(world.letters.list()) == 1
    world.say(event(1, 2, email="good@example.com"))
    store = cast(Store, _Dies(world.store, "finish", moment))
    letters: DeadLetters = world.letters
    if moment == "before it closes letters":
        store, letters = world.store, cast(DeadLetters, _Dies(letters, "close", "before"))
    dying = RouteWorker(world.worker.route, store, letters, world.retry, stop=world.stop, now=world.clock)
    with pytest.raises(_LightsOut):
        dying.step()
    world.close()
    world.open()
    world.deliver()
    assert world.emails() == {"1": "good@example.com"}
    assert (world.pending(), world.letters.list()) == (0, [])


class _LightsOut(BaseException):
    """No ``except Exception`` sees it, as none would see a SIGKILL."""


class _Dies:
    """Something whose process dies before or after *method* has done its work."""

    def __init__(self, inner: object, method: str, moment: str) -> None:
        self._inner, self._method, self._moment = inner, method, moment

    def __getattr__(self, name: str) -> object:
        found = getattr(self._inner, name)
        if name != self._method:
            return found

        def dying(*values: object, **named: object) -> None:
            if self._moment.startswith("after"):
                found(*values, **named)
            raise _LightsOut

        return dying


class _FailsToFinish:
    """A store on a disk that is full when the deliveries *after* some are to be settled, until it is fixed."""

    def __init__(self, store: Store, *, after: int = 0) -> None:
        self._store, self._works = store, after
        self.broken = True

    def __getattr__(self, name: str) -> object:
        if name == "finish" and self.broken:
            if not self._works:
                raise StoreUnavailable("database or disk is full")
            self._works -= 1
        return getattr(self._store, name)


def test_rows_that_a_failing_call_has_written_are_in_the_log_with_what_they_changed(tmp_path: Path) -> None:
    def two_rows(record: AffiliateRecord) -> Evaluation:
        return Evaluation(
            tuple(Row(record.id, f"{record.id}/{n}", {"ID": f"{record.id}/{n}", "Email": record.email}) for n in (1, 2))
        )

    world = World(tmp_path, evaluate=two_rows)
    world.say(event(1, email="a@example.com"))
    done = [Outcome("plain:1/1", "written", added=True)]

    def stop(rows: Sequence[Row]) -> None:
        if len(world.sink.calls) == 1:
            raise NeedsAction("share it", outcomes=done)

    world.sink.before = stop
    world.deliver()
    (line,) = world.store.deliveries_of("plain:1")
    assert (line.key, line.kind, line.row_change) == ("plain:1/1", "written", "added")
    world.close()
