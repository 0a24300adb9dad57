"""The five overwrite rules, as a table and as laws."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.core.overwrite import decide, is_empty, stage
from connector.core.row import Cell, Column, Overwrite

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
