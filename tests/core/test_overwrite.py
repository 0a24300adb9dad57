"""The five overwrite rules, as a table and as laws."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.core.overwrite import Edits, decide, emptied, is_empty, stage
from connector.core.row import Cell, Column, Overwrite, Row
from connector.core.sink import Outcome

stages = ("Lead", "Affiliate", "Partner")


@pytest.mark.parametrize(
    ("rule", "there", "new", "created", "decision"),
    [
        ("always", "old", "new", False, "write"),
        ("always", "old", None, False, "write"),
        ("always", None, None, True, "write"),
        ("never_clear", "old", "new", False, "write"),
        ("never_clear", "old", None, False, "keep"),
        ("never_clear", "old", "", False, "keep"),
        ("never_clear", "old", (), False, "keep"),
        ("never_clear", "old", 0, False, "write"),
        ("never_clear", "old", False, False, "write"),
        ("never_clear", None, "new", True, "write"),
        ("only_if_empty", "typed by a person", "new", False, "keep"),
        ("only_if_empty", 0, 7, False, "keep"),
        ("only_if_empty", False, True, False, "keep"),
        ("only_if_empty", None, "new", False, "write"),
        ("only_if_empty", "", "new", False, "write"),
        ("only_if_empty", "  ", "new", False, "write"),
        ("only_if_empty", None, None, False, "keep"),
        ("only_if_empty", None, "new", True, "write"),
        ("on_create", None, "new", True, "write"),
        ("on_create", None, "new", False, "keep"),
        ("on_create", "old", "new", False, "keep"),
        ("on_create", None, None, True, "keep"),
        ("only_forward", None, "Lead", True, "write"),
        ("only_forward", None, "Lead", False, "write"),
        ("only_forward", "Lead", "Partner", False, "write"),
        ("only_forward", "Partner", "Lead", False, "keep"),
        ("only_forward", " partner ", "Affiliate", False, "keep"),
        ("only_forward", "partner", "Partner", False, "write"),
        ("only_forward", "typed by a person", "Lead", False, "write"),
        ("only_forward", "Partner", "no stage", False, "keep"),
        ("only_forward", "no stage", "neither", False, "write"),
        ("only_forward", "Partner", None, False, "keep"),
    ],
)
def test_each_rule_keeps_and_writes_as_the_table_of_mapping_md_says(
    rule: Overwrite, there: Cell, new: Cell, created: bool, decision: str
) -> None:
    column = Column("Stage", overwrite=rule, order=stages)
    assert decide(column, there, new, created=created) == decision


@pytest.mark.parametrize(
    ("typed", "read_back"),
    [(2, "2"), (Decimal("2.50"), "2.5"), (True, "true"), (date(2026, 1, 2), "2026-01-02"), (("a", "b"), "a, b")],
)
def test_a_stage_read_back_as_text_is_the_stage_that_was_written(typed: Cell, read_back: str) -> None:
    assert stage(typed) == stage(read_back)


cells: st.SearchStrategy[Cell] = st.one_of(
    st.none(),
    st.sampled_from([*stages, "lead", "", " ", "other"]),
    st.text(max_size=5),
    st.integers(),
    st.booleans(),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.dates(),
    st.datetimes(timezones=st.just(UTC)),
    st.lists(st.text(max_size=3), max_size=2).map(tuple),
)
rules: st.SearchStrategy[Overwrite] = st.sampled_from(
    ["always", "never_clear", "only_if_empty", "on_create", "only_forward"]
)


@given(rules, cells, cells, st.booleans())
def test_only_always_ever_clears_a_cell(rule: Overwrite, there: Cell, new: Cell, created: bool) -> None:
    if is_empty(new):
        decision = decide(Column("X", overwrite=rule, order=stages), there, new, created=created)
        assert decision == ("write" if rule == "always" else "keep")


@given(rules, cells, cells)
def test_writing_the_same_again_leaves_the_cell_as_the_first_time(rule: Overwrite, there: Cell, new: Cell) -> None:
    column = Column("X", overwrite=rule, order=stages)

    def after(cell: Cell, *, created: bool) -> Cell:
        return new if decide(column, cell, new, created=created) == "write" else cell

    assert after(after(there, created=False), created=False) == after(there, created=False)
    assert after(after(None, created=True), created=False) == after(None, created=True)


@given(st.lists(st.sampled_from(stages), min_size=1))
def test_a_stage_never_goes_back_in_whatever_order_the_news_come(news: list[str]) -> None:
    column = Column("X", overwrite="only_forward", order=stages)
    there: Cell = None
    for new in news:
        if decide(column, there, new, created=there is None) == "write":
            there = new
    assert there == max(news, key=stages.index)


def test_a_time_is_a_value_and_compares_as_text() -> None:
    moment = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    assert not is_empty(moment)
    assert stage(moment) == stage("2026-01-02T03:04:00+00:00")


# ---------------------------------------------------------------- people's edits


def edits_of(
    base: str | None, there: str | None, new: str | None, rule: Overwrite = "never_clear", **more: object
) -> tuple[bool, Edits]:
    row = Row("x:1", "x:1", {"Name": new}, last={"Name": base}, **more)  # type: ignore[arg-type]
    edits = Edits(row, created=False)
    return edits.writes(
        Column("Name", overwrite=rule, order=stages), there, lambda cell: (cell or "") == (there or "")
    ), edits


@pytest.mark.parametrize(
    ("rule", "base", "there", "new", "writes", "kept", "overwritten"),
    [
        ("never_clear", "A", "A", "B", True, False, False),
        ("never_clear", "A", "theirs", "A", False, True, False),  # nothing new: a person's correction stays
        ("never_clear", "A", "", "A", False, True, False),  # also an emptied cell
        ("never_clear", "A", "theirs", "B", True, False, True),
        ("never_clear", "A", "", "B", True, False, False),  # nothing that somebody typed is lost
        ("never_clear", "A", "B", "B", False, False, False),  # they typed what we would write
        ("never_clear", "A", "theirs", None, False, True, False),
        ("only_if_empty", "A", "theirs", "B", False, True, False),
        ("only_if_empty", "A", "", "B", True, False, False),
        ("only_if_empty", "A", "", "A", False, True, False),
        ("on_create", "A", "theirs", "B", False, True, False),
        ("only_forward", "Lead", "Partner", "Affiliate", False, True, False),
        ("only_forward", "Lead", "Affiliate", "Partner", True, False, True),
        ("always", "A", "theirs", "A", True, False, True),
        ("always", "A", "theirs", None, True, False, True),
        ("always", "A", "A", None, True, False, False),
    ],
)
def test_three_values_decide(
    rule: Overwrite, base: str, there: str, new: str | None, writes: bool, kept: bool, overwritten: bool
) -> None:
    written, edits = edits_of(base, there, new, rule)
    assert (written, edits.kept, edits.overwritten) == (writes, ["Name"] * kept, ["Name"] * overwritten)
    assert edits.former == ({"Name": there} if writes else {})
    # What is not written keeps its base, so that the next write still knows what is a person's.
    assert edits.held == ({} if writes or there == new or base == new else {"Name": base})


def test_what_the_destination_made_of_our_value_is_no_persons_edit() -> None:
    written, edits = edits_of("Ada@X.org", "ada@x.org", "Bob@x.org", held={"Name": "ada@x.org"})
    assert written
    assert edits.overwritten == []
    edits.holds("Name", "bob@x.org")
    outcome = edits.told(Outcome("x:1", "written"))
    assert (outcome.held, outcome.former, outcome.added) == ({"Name": "bob@x.org"}, {"Name": "ada@x.org"}, False)
    edits.holds("Name", "Bob@x.org")
    assert edits.held == {}


def test_what_a_lost_write_changed_is_known_when_it_is_written_again() -> None:
    written, edits = edits_of("A", "B", "B", tried=({"Name": "B"},))
    assert (written, edits.former, edits.recovered) == (False, {"Name": "A"}, {"Name": "A"})
    assert edits_of("A", "B", "B", tried=({"Name": "C"},))[1].former == {}  # people typed it
    assert edits_of("B", "B", "B", tried=({"Name": "B"},))[1].former == {}


@pytest.mark.parametrize("new", ["A", "B"])
def test_what_a_lost_write_may_have_written_is_ours(new: str) -> None:
    tried = ({"Name": "lost"}, {"Other": "x"})
    written, edits = edits_of("A", "lost", new, tried=tried)
    assert (written, edits.overwritten, edits.kept) == (True, [], [])
    written, edits = edits_of("A", "lost", None, tried=tried)
    assert (written, edits.held) == (False, {"Name": "lost"})  # from now on that is the base


def test_a_value_that_the_destination_refuses_keeps_the_base() -> None:
    written, edits = edits_of("A", "theirs", "B")
    assert written
    edits.leaves("Name")
    assert (edits.former, edits.overwritten, edits.held) == ({}, [], {"Name": "A"})


def test_taking_back_writes_only_where_our_value_still_is() -> None:
    assert edits_of("ours", "ours", "before", "on_create", restore=True)[0]
    assert edits_of("ours", "ours", None, restore=True)[0]  # what was empty is empty again
    written, edits = edits_of("ours", "theirs", "before", "always", restore=True)
    assert (written, edits.kept) == (False, ["Name"])
    written, edits = edits_of("ours", "before", "before", restore=True)  # done already
    assert (written, edits.kept) == (False, [])
    row = Row(
        "x:1", "x:1", {"Key": "x:1"}, last={"Key": "x:1", "Name": "A", "\x00company": "x"}, remove=True, restore=True
    )
    assert emptied(row, "Key").cells == {"Name": None}
    assert not emptied(row, "Key").remove


def test_taking_back_leaves_a_row_away_that_people_deleted_and_adds_one_that_we_deleted() -> None:
    row = Row("x:1", "x:1", {"Name": "before"}, last={"Name": "ours"}, restore=True)
    edits = Edits(row, created=True)
    assert not edits.writes(Column("Name"), None, lambda _: False)
    assert (edits.told(Outcome("x:1", "written")).added, edits.kept) == (False, ["Name"])
    edits = Edits(Row("x:1", "x:1", {"Name": "before"}, restore=True), created=True)
    assert edits.writes(Column("Name", overwrite="only_if_empty"), None, lambda _: False)


class OneCell:
    """A cell, the route's memory of it, and what people typed that must not be lost without a trace."""

    def __init__(self, rule: Overwrite) -> None:
        self.column = Column("X", overwrite=rule, order=stages)
        self.there = ""
        self.last: dict[str, Cell] | None = None
        self.held: dict[str, Cell] = {}
        self.tried: list[dict[str, Cell]] = []
        self.typed: str | None = None  # a person's value that is there now

    @staticmethod
    def shown(cell: Cell) -> str:
        return str(cell or "").lower()  # a destination that keeps texts in its own way

    def person_types(self, text: str) -> None:
        base = None if self.last is None else self.held.get("X", self.last["X"])
        ours = {self.shown(base), *(self.shown(cells["X"]) for cells in self.tried)}
        if text != self.there:
            self.there, self.typed = text, None if text in ours else text  # nobody can tell these from ours

    def deliver(self, new: str | None, *, answered: bool) -> None:
        row = Row("x", "x", {"X": new}, self.last, held=self.held, tried=tuple(self.tried))
        edits = Edits(row, created=self.last is None)
        before, typed = self.there, self.typed
        if self.last is not None and row.cells != self.last:
            self.tried.append({"X": new})
        writes = edits.writes(self.column, before or None, lambda cell: self.shown(cell) == before)
        if writes:
            assert edits.former == ({} if self.last is None else {"X": before or None})
            self.there, self.typed = self.shown(new), None
            edits.holds("X", self.there or None)
        lost = typed not in (None, "") and self.typed is None and self.there != typed
        if self.last is not None:
            if lost:
                assert edits.overwritten == ["X"]
                assert self.column.overwrite == "always" or new != self.last["X"]
            else:
                assert edits.overwritten == []
            if typed is None and before == self.there and not is_empty(new) and self.column.overwrite == "never_clear":
                assert self.there == self.shown(new)  # never stuck on our own old value
        if self.there == self.shown(new):
            self.typed = None  # they typed what we would have written
        if answered:
            self.last, self.held, self.tried = {"X": new}, dict(edits.held), []


news = st.one_of(st.none(), st.sampled_from(["Lead", "Affiliate", "Partner", "Other"]))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("person"), st.sampled_from(["lead", "partner", "typed", "own", ""])),
        st.tuples(st.just("delivery"), news),
        st.tuples(st.just("lost answer"), news),
    ),
    max_size=12,
)


@given(rules, news, steps)
def test_no_edit_is_lost_without_a_trace_and_no_value_of_ours_is_taken_for_one(
    rule: Overwrite, first: str | None, steps: list[tuple[str, str | None]]
) -> None:
    cell = OneCell(rule)
    cell.deliver(first, answered=True)
    for what, value in steps:
        if what == "person":
            cell.person_types(value or "")
        else:
            cell.deliver(value, answered=what == "delivery")
