"""The Google Sheets sink: the real gspread over loopback against a server that behaves as Google documents it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import SecretStr

from connector.core.errors import NeedsAction, TryLater
from connector.core.look import arranged
from connector.core.mapping import load
from connector.core.row import Cell, Column, Row
from connector.core.sink import Finding, Outcome, ShowsRecord
from connector.sinks.google_sheets.answers import Spreadsheet
from connector.sinks.google_sheets.limits import Limits
from connector.sinks.google_sheets.sink import GoogleSheets, GoogleSheetsOptions
from connector.sinks.google_sheets.snapshot import as_cell, parse_sheets, same, typed_value, value_of
from tests.far_sides.loopback import Call, FarSide, Fault, Reply
from tests.far_sides.sheets_book import Area, Book
from tests.far_sides.sheets_server import account
from tests.sinks.google_sheets_burst import burst
from tests.sinks.google_sheets_campaign import run as run_campaign
from tests.sinks.google_sheets_file import GoogleSheetsHarness, SheetsFile, record
from tests.sinks.host import TestHost
from tests.sinks.promises import SinkPromises


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SheetsFile]:
    with SheetsFile(tmp_path) as file:
        yield file
        assert file.server.unexpected == []


class TestGoogleSheetsKeepsThePromises(SinkPromises):
    @pytest.fixture
    def harness(self, file: SheetsFile) -> GoogleSheetsHarness:
        return GoogleSheetsHarness(file)


def test_a_first_write_makes_the_tab_and_a_second_changes_only_what_changed(file: SheetsFile) -> None:
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1"), record("a:2", "Bob")])
    assert [row["Name"] for row in file.table()] == ["Ada", "Bob"]
    assert file.calls_of(lambda: sink.write(target, [record("a:1")])) == "r"
    assert file.calls_of(lambda: sink.write(target, [record("a:3", "Cleo")])) == "rw"
    assert file.calls_of(lambda: sink.write(target, [record("a:1", "Ada L.")])) == "rww"
    assert [(row["ID"], row["Name"]) for row in file.table()] == [("a:1", "Ada L."), ("a:2", "Bob"), ("a:3", "Cleo")]


# ---------------------------------------------------------------- calls


def test_an_adopted_sheet_is_set_up_once_and_then_costs_as_little_as_a_new_one(file: SheetsFile) -> None:
    file.book.add("Affiliates", [["Name", "Own", "ID", "Status", "Balance", "Joined"], ["x", "mine", "a:1"]])
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1"), record("a:2")])
    assert file.calls_of(lambda: sink.write(target, [record("a:1"), record("a:2")])) == "r"
    assert file.calls_of(lambda: sink.write(target, [record("a:3")])) == "rw"
    assert file.calls_of(lambda: sink.write(target, [record("a:3", "New"), record("a:4")])) == "rww"
    assert file.tab.grid()[1][:3] == ["Ada", "mine", "a:1"]


def test_rows_that_the_last_flush_left_known_are_locked_without_a_look(file: SheetsFile) -> None:
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1"), record("a:2"), record("a:3")])

    def change(key: str, name: str, before: str) -> str:
        changed = replace(record(key, name), last=record(key, before).cells)
        return file.calls_of(lambda: sink.write(target, [changed]))

    assert change("a:1", "Zoe", "Ada") == "ww"
    person_moves(file, "ROWS", 3, 1)  # a:3, a:1, a:2
    assert change("a:3", "Cleo", "Ada") == "www", "the lock met another row, and its answer said where a:3 is"
    assert change("a:3", "Dan", "Cleo") == "ww"
    person_moves(file, "ROWS", 1, 0)
    assert change("a:1", "Yan", "Zoe") == "wrw", "the header row was no longer where the answer would show it"
    person_moves(file, "COLUMNS", 4, 0)
    assert change("a:1", "Wim", "Yan") == "wrw", "nor was the key column"
    assert [row["ID"] for row in file.table(header=1)] == ["a:1", "a:2"]
    file.book.edit({"deleteDimension": {"range": row_span(file, 3)}})
    assert change("a:2", "Bob", "Ada") == "wrw", "the grid's last row, locked too, is gone; a:2 comes back as a new row"
    file.tab.title = "Partners"
    assert change("a:1", "Xia", "Wim") == "wrww", "an answer can be asked for by the tab's title only"
    sink.close()  # after a restart it does not know where the rows are
    assert change("a:3", "Eve", "Dan") == "rww"


def row_span(file: SheetsFile, row: int) -> dict[str, Any]:
    return {"sheetId": file.tab.id, "dimension": "ROWS", "startIndex": row, "endIndex": row + 1}


def person_moves(file: SheetsFile, dimension: str, place: int, to: int) -> None:
    span = {"sheetId": file.tab.id, "dimension": dimension, "startIndex": place, "endIndex": place + 1}
    file.book.edit({"moveDimension": {"source": span, "destinationIndex": to}})


def test_a_first_load_takes_at_most_14_calls_and_a_twentieth_of_it_changed_takes_3(file: SheetsFile) -> None:
    """A tenth of the 20,000 rows of ``python -m benchmarks deliver`` at a tenth of Google's limits."""

    class Tenth(GoogleSheets):
        limits = Limits(batch_bytes=190_000, tagged_rows=200, whole_tab_cells=10_000)

    sink, target = file.sink(kind=Tenth), file.target(wide)
    assert sink.batch_rows >= 20_000
    assert len(file.calls_of(lambda: sink.write(target, [wide_record(number) for number in range(2_000)]))) <= 14
    assert max(len(call.body) for call in file.server.calls) < 200_000
    changed = [wide_record(number, visitors=1) for number in range(0, 2_000, 20)]
    assert file.calls_of(lambda: sink.write(target, changed)) == "rww"
    assert file.calls_of(lambda: sink.write(target, changed)) == "r"
    grid = file.tab.grid()
    assert len([row for row in grid[1:] if row[0] is not None]) == 2_000
    assert [row[7] for row in grid[1:60]] == [number + (number % 20 == 0) for number in range(59)]


wide = (
    Column("ID"), Column("Name"), Column("Company"), Column("E-mail", type="email"), Column("Status"),
    Column("Programme"), Column("Link", type="url"), Column("Code"), Column("Visitors", type="integer"),
    Column("Leads", type="integer"), Column("Sales", type="money"), Column("Balance", type="money"),
    Column("Country", type="country"), Column("Joined", type="date"), Column("Last event", type="datetime"),
)  # fmt: skip


def wide_record(number: int, visitors: int = 0) -> Row:
    key = f"firstpromoter:{9_000_000 + number}"
    cells: dict[str, Cell] = {
        "ID": key, "Name": f"Ada Lovelace {number}", "Company": f"Engines & Sons {number}",
        "E-mail": f"ada.lovelace.{number}@example.com", "Status": "Active", "Programme": "Main programme",
        "Link": f"https://example.com/?ref=ada{number}", "Code": f"ADA{number}", "Visitors": number + visitors,
        "Leads": number // 2, "Sales": number + Decimal("0.99"), "Balance": Decimal(number), "Country": "France",
        "Joined": date(2024, 1, 1), "Last event": datetime(2026, 1, 1, 12, tzinfo=UTC),
    }  # fmt: skip
    return Row(key, key, cells)


def test_a_batch_of_new_rows_is_as_large_as_it_may_be(file: SheetsFile) -> None:
    class Tenth(GoogleSheets):
        limits = Limits(batch_bytes=190_000)

    file.sink(kind=Tenth).write(file.target(wide), [wide_record(number) for number in range(600)])
    sizes = [len(call.body) for call in file.server.calls if len(call.body) > 50_000]
    assert len(sizes) > 2
    assert all(185_000 < size <= 190_000 for size in sizes[:-1])


def test_changes_beyond_one_batch_continue_in_the_next_with_the_lock_in_the_same_call(file: SheetsFile) -> None:
    class Small(GoogleSheets):
        limits = Limits(batch_bytes=20_000)

    sink, target = file.sink(kind=Small), file.target()
    keys = [f"a:{number}" for number in range(100)]
    sink.write(target, [record(key) for key in keys])
    changed = [record(key, f"New name of {key}") for key in keys]
    calls = file.calls_of(lambda: sink.write(target, changed))
    assert calls[:2] == "rw"
    assert set(calls[2:]) == {"w"}  # one read, one lock, and then every batch locks the rows of the next
    assert 5 <= len(calls) <= 9
    assert [row["Name"] for row in file.table()] == [f"New name of {key}" for key in keys]
    assert max(len(call.body) for call in file.server.calls) < 20_000


def test_a_big_tab_is_read_and_answered_by_its_managed_columns_only(file: SheetsFile) -> None:
    class Small(GoogleSheets):
        limits = Limits(whole_tab_cells=200)

    book = file.book.add("Affiliates", [["Own", "ID", "Name", "Status", "Balance", "Joined"]], rows=60, columns=9)
    for row in range(1, 50):
        book.put(row, 0, "a secret remark")
        book.put(row, 1, f"a:{row}")
    target = file.target()
    file.sink(kind=Small).write(target, [record("a:7")])
    sink = file.sink(kind=Small)
    sink.write(target, [record("a:7")])
    shown: list[bytes] = []
    real = file.server.answer

    def answer(call: Call) -> Reply:
        reply = real(call)
        shown.append(json.dumps(reply.body).encode())
        return reply

    file.server.answer = answer  # type: ignore[method-assign]
    assert file.calls_of(lambda: sink.write(target, [record("a:7", "New"), record("a:8"), record("b:1")])) == "rww"
    assert shown[0].count(b"a secret remark") == 0
    typed = b'"userEnteredValue": {"stringValue": "a secret remark"}'
    assert [body.count(typed) for body in shown if typed in body] == [2]
    assert {row["ID"]: row["Name"] for row in file.table() if row["Name"]} == {"a:7": "New", "a:8": "Ada", "b:1": "Ada"}


# ---------------------------------------------------------------- people


def edit_cell(file: SheetsFile, row: int, column: int, value: object) -> None:
    file.tab.put(row, column, value)


def test_a_renamed_tab_continues_even_with_another_of_the_old_name(file: SheetsFile) -> None:
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1")])
    file.tab.title = "Partners"
    file.book.add("Affiliates", [["not", "ours"]])
    sink.write(target, [record("a:1", "New")])
    file.sink().write(target, [record("a:2")])
    assert [row["Name"] for row in file.table("Partners")] == ["New", "Ada"]
    assert file.table() == []


def test_a_renamed_header_continues_with_a_notice_even_when_its_old_name_is_used_again(file: SheetsFile) -> None:
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1")])
    edit_cell(file, 0, 0, "Full name")
    file.book.edit({"appendDimension": {"sheetId": file.tab.id, "dimension": "COLUMNS", "length": 1}})
    file.tab.put(0, 5, "Name")
    file.tab.put(1, 5, "their own")
    outcomes = [
        *sink.write(target, [record("a:1", "New"), record("a:2")]),
        *sink.write(target, [record("a:2", "Newer")]),
    ]
    assert (file.tab.value(1, 4), file.tab.value(1, 0)) == ("a:1", "New")
    assert file.tab.value(1, 5) == "their own"
    notice = 'the column "Name" is now headed "Full name"'
    assert [found for outcome in outcomes for found in outcome.notices] == [notice]
    edit_cell(file, 0, 5, "Theirs")
    edit_cell(file, 0, 0, "Name")
    assert sink.write(target, [record("a:1", "Newest")])[0].notices == ()
    edit_cell(file, 0, 0, "Full name")
    assert sink.write(target, [record("a:1", "Last")])[0].notices == (notice,)


def test_a_column_that_a_person_took_away_waits_and_the_others_continue(file: SheetsFile) -> None:
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1")])
    span = {"sheetId": file.tab.id, "dimension": "COLUMNS", "startIndex": 0, "endIndex": 1}
    file.book.edit({"deleteDimension": {"range": span}})
    (outcome,) = sink.write(target, [record("a:1", "New", "Waiting")])
    assert outcome.kind == "written"
    assert outcome.waiting == ("Name",)
    assert any('"Name" is not there' in notice for notice in outcome.notices)
    assert file.tab.grid()[0] == ["Status", "Balance", "Joined", "ID"]
    assert file.tab.value(1, 0) == "Waiting"
    file.book.edit({"appendDimension": {"sheetId": file.tab.id, "dimension": "COLUMNS", "length": 1}})
    file.tab.put(0, 4, "Name")
    (outcome,) = sink.write(target, [record("a:1", "New", "Waiting")])
    assert outcome.waiting == ()
    assert file.tab.value(1, 4) == "New"


def test_what_became_of_a_column_is_reported_with_a_new_row_too(file: SheetsFile) -> None:
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1")])
    edit_cell(file, 0, 0, "Full name")
    span = {"sheetId": file.tab.id, "dimension": "COLUMNS", "startIndex": 1, "endIndex": 2}
    file.book.edit({"deleteDimension": {"range": span}})
    (outcome,) = sink.write(target, [record("a:2")])
    assert outcome.waiting == ("Status",)
    assert outcome.notices == (
        'the column "Name" is now headed "Full name"',
        'the column "Status" is not there; give a column that header and it continues',
    )


def test_without_the_key_column_nothing_is_written_and_the_reason_says_what_to_do(file: SheetsFile) -> None:
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1")])
    span = {"sheetId": file.tab.id, "dimension": "COLUMNS", "startIndex": 4, "endIndex": 5}
    file.book.edit({"deleteDimension": {"range": span}})
    with pytest.raises(NeedsAction, match='header "ID" in row 1'):
        sink.write(target, [record("a:1", "New")])


def test_a_deleted_tab_is_not_silently_made_again(file: SheetsFile) -> None:
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1")])
    file.book.edit({"deleteSheet": {"sheetId": file.tab.id}})
    with pytest.raises(NeedsAction, match="connector resync sheets/m"):
        sink.write(target, [record("a:1")])
    assert [finding.subject for finding in sink.check(target) if finding.level == "problem"] == ["Affiliates"]
    file.book.add("Affiliates")
    sink.write(target, [record("a:1"), record("a:2")])
    assert len(file.table()) == 2


def test_headers_below_row_1_are_used_where_the_mapping_says_so(file: SheetsFile) -> None:
    file.book.add("Affiliates", [["Our partners"], [], ["ID", "Name", "Status", "Balance", "Joined"], ["a:1", "old"]])
    sink, target = file.sink(), file.target(header_row=3)
    sink.write(target, [record("a:1"), record("a:2", "Bob")])
    assert [row["Name"] for row in file.table(header=2)] == ["Ada", "Bob"]
    span = {"sheetId": file.tab.id, "dimension": "ROWS", "startIndex": 0, "endIndex": 2}
    file.book.edit({"insertDimension": {"range": span}})
    sink.write(target, [record("a:1", "New")])
    assert [row["Name"] for row in file.table(header=4)] == ["New", "Bob"]


def test_a_header_tag_that_met_a_data_row_does_not_make_a_header_of_it(file: SheetsFile) -> None:
    """A person inserted a row while the tab was being set up, and a value in the row above looks like a header."""
    file.book.add("Affiliates", [[], ["ID", "Name", "Status", "Balance", "Joined"], ["a:1", "Ada", "Name"]])
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1")])
    file.tab.rows[0].tags, file.tab.rows[1].tags = file.tab.rows[1].tags, []
    file.tab.put(0, 3, "Status")
    for column in file.tab.columns:
        for tag in column.tags:
            tag.value = f"?{tag.value}" if tag.key == "connector.column" else tag.value
    sink.close()
    assert sink.write(target, [record("a:1", "New")])[0].kind == "written"
    assert [row["Name"] for row in file.table(header=1)] == ["New"]
    assert len(file.tab.columns) == 26


@pytest.mark.parametrize("rule", ["first", "all", "stop"])
def test_two_rows_with_one_key_are_reported_and_handled_as_the_mapping_says(file: SheetsFile, rule: str) -> None:
    sink, target = file.sink(), file.target(on_duplicate_key=rule)
    sink.write(target, [record("a:1"), record("a:2"), record("a:3")])
    file.tab.put(3, 4, "a:1")
    outcomes = {outcome.key: outcome for outcome in sink.write(target, [record("a:1", "New"), record("a:2", "New")])}
    names = {"first": ["New", "New", "Ada"], "all": ["New", "New", "New"], "stop": ["Ada", "New", "Ada"]}
    assert [row["Name"] for row in file.table()] == names[rule]
    words = outcomes["a:1"].reason + " ".join(outcomes["a:1"].notices)
    assert "rows 2 and 4" in words
    assert outcomes["a:1"].kind == ("refused" if rule == "stop" else "written")
    assert outcomes["a:2"].kind == "written"


def test_an_overwritten_edit_is_reported_without_its_value(file: SheetsFile) -> None:
    sink, target = file.sink(), file.target()
    first = record("a:1")
    sink.write(target, [first])
    edit_cell(file, 1, 1, "secret words")
    (outcome,) = sink.write(target, [replace(record("a:1", "New"), last=first.cells)])
    assert outcome.notices == ('somebody\'s edit in "Status" was overwritten',)
    assert file.table()[0]["Status"] == "Active"


def test_what_a_lost_answer_hid_is_in_the_outcome_all_the_same(file: SheetsFile) -> None:
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1"), record("a:2")])
    file.tab.put(1, 1, "theirs")
    before = file.server.kinds()
    file.server.faults.extend([None, Fault("reset_after")])
    changed = replace(record("a:1", "New", "Newer"), last=record("a:1").cells)
    (one, other) = sink.write(target, [changed, record("a:3")])
    assert file.server.kinds()[len(before) :] == "wwr"
    outcome, new = (one, other) if one.key == "a:1" else (other, one)
    assert (outcome.former, outcome.overwritten) == ({"Name": "Ada", "Status": "theirs"}, ("Status",))
    assert (new.added, outcome.added) == (True, False)


def test_a_big_tab_is_undone_by_its_whole_rows(file: SheetsFile) -> None:
    class Small(GoogleSheets):
        limits = Limits(whole_tab_cells=50)

    file.book.add("Affiliates", [["Own", "ID", "Name", "Status", "Balance", "Joined"]], rows=60, columns=9)
    sink, target = file.sink(kind=Small), file.target()
    rows = [record("a:1"), record("a:2")]
    assert all(outcome.added for outcome in sink.write(target, rows))
    file.tab.put(1, 0, "a remark")
    back = [replace(row, cells={"ID": row.key}, last=row.cells, remove=True, restore=True) for row in rows]
    sink.close()
    assert {outcome.kind for outcome in sink.write(target, back)} == {"written"}
    assert [line[:3] for line in file.tab.grid(3)[1:]] == [["a remark", "a:1", None], [None, None, None]]


def test_a_formula_that_we_overwrote_is_put_back_as_a_formula_and_no_other_text_is(file: SheetsFile) -> None:
    sink, target = file.sink(), file.target()
    first = record("a:1", status="=A1")
    sink.write(target, [first])
    file.tab.put(1, 0, '="By " & "hand"')
    (outcome,) = sink.write(target, [replace(record("a:1", "New"), last=first.cells)])
    assert outcome.former == {"Name": ('="By " & "hand"',), "Status": "=A1"}
    cells = {"ID": "a:1", **outcome.former}
    sink.write(target, [Row("a:1", "a:1", cells, last=record("a:1", "New").cells, restore=True)])
    assert file.tab.grid(2)[1][:2] == [("formula", '="By " & "hand"'), "=A1"]


def test_a_resync_that_keeps_edits_looks_and_locks_nothing(file: SheetsFile) -> None:
    columns = (Column("ID"), Column("Name"), Column("Status"))
    sink, target = file.sink(), file.target(columns)
    rows = [Row(f"a:{n}", f"a:{n}", {"ID": f"a:{n}", "Name": "Ada", "Status": "Active"}) for n in range(5)]
    sink.write(target, rows)
    file.tab.put(2, 1, "theirs")
    again = [replace(row, last=row.cells) for row in rows]
    outcomes: list[Outcome] = []
    assert file.calls_of(lambda: outcomes.extend(sink.write(target, again))) == "r"
    assert [outcome.kept for outcome in outcomes] == [("Status",) if n == 1 else () for n in range(5)]


def test_an_address_that_was_written_as_text_before_is_nobodys_edit(file: SheetsFile) -> None:
    columns = (Column("ID"), Column("Link", type="url"))
    file.book.add("Affiliates", [["ID", "Link"], ["a:1", "https://example.com/?via=ada"]])
    old: dict[str, Cell] = {"ID": "a:1", "Link": "https://example.com/?via=ada"}
    new = Row("a:1", "a:1", {"ID": "a:1", "Link": "https://example.com/?via=eve"}, last=old)
    (outcome,) = file.sink().write(file.target(columns), [new])
    assert (outcome.overwritten, file.tab.value(1, 1)) == ((), "example.com/?via=eve")


def test_an_edit_between_read_and_write_counts_for_only_if_empty(file: SheetsFile) -> None:
    columns = (Column("ID"), Column("Name", overwrite="always"), Column("Manager", overwrite="only_if_empty"))
    sink, target = file.sink(), file.target(columns)
    empty = Row("a:1", "a:1", {"ID": "a:1", "Name": "Ada", "Manager": None})
    sink.write(target, [empty])
    file.before_call(2, lambda: edit_cell(file, 1, 1, "Mary"))  # after the read, before the lock
    sink.write(target, [Row("a:1", "a:1", {"ID": "a:1", "Name": "New", "Manager": "Tom"})])
    assert file.table() == [{"ID": "a:1", "Name": "New", "Manager": "Mary"}]


def test_a_sort_between_lock_and_write_makes_google_refuse_and_the_flush_goes_again(file: SheetsFile) -> None:
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1", "Zoe"), record("a:2", "Bob"), record("a:3", "Ada")])
    area = {"sheetId": file.tab.id, "startRowIndex": 1, "endRowIndex": 4}
    sort = {"sortRange": {"range": area, "sortSpecs": [{"dimensionIndex": 0, "sortOrder": "ASCENDING"}]}}
    file.before_call(3, lambda: file.book.edit(sort))
    calls = file.calls_of(lambda: sink.write(target, [record("a:1", "Zoe", "Waiting")]))
    assert calls[:4] == "rwwr"
    assert 400 in file.server.statuses
    assert {row["ID"]: row["Status"] for row in file.table()} == {"a:1": "Waiting", "a:2": "Active", "a:3": "Active"}


def test_a_row_that_a_person_deletes_between_lock_and_write_takes_no_neighbour_with_it(file: SheetsFile) -> None:
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1"), record("a:2"), record("a:3")])
    span = {"sheetId": file.tab.id, "dimension": "ROWS", "startIndex": 3, "endIndex": 4}
    file.before_call(3, lambda: file.book.edit({"deleteDimension": {"range": span}}))
    file.tab.put(4, 0, "somebody's note")
    sink.write(target, [record("a:3", "New")])
    assert [(row["ID"], row["Name"]) for row in file.table()] == [
        ("a:1", "Ada"), ("a:2", "Ada"), ("a:3", "New"), (None, "somebody's note"),
    ]  # fmt: skip


def test_new_rows_are_inserted_and_never_written_over_what_people_just_typed(file: SheetsFile) -> None:
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1")])
    file.before_call(2, lambda: edit_cell(file, 2, 0, "typed this second"))
    sink.write(target, [record("a:2"), record("a:3")])
    assert [row["ID"] for row in file.table()] == ["a:1", "a:2", "a:3", None]
    assert file.table()[3]["Name"] == "typed this second"


def test_the_grid_grows_in_the_same_batch_when_the_last_row_is_taken(file: SheetsFile) -> None:
    file.book.add("Affiliates", [["ID", "Name", "Status", "Balance", "Joined"], ["a:1"]], rows=2, columns=5)
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1")])
    assert file.calls_of(lambda: sink.write(target, [record(f"b:{number}") for number in range(5)])) == "rw"
    assert len(file.table()) == 6


def test_formulas_notes_and_formats_of_people_stay(file: SheetsFile) -> None:
    tab = file.book.add("Affiliates", [["ID", "Rank", "Name", "Status", "Balance", "Joined"], ["a:1", "=ROW()"]])
    yellow = {"backgroundColor": {"red": 1, "green": 1}}
    tab.put(1, 2, "old", userEnteredFormat=yellow, note="ask her")
    file.sink().write(file.target(), [record("a:1"), record("a:2")])
    cell = tab.rows[1].cells[tab.columns[2]]
    assert (cell["note"], cell["userEnteredFormat"]["backgroundColor"]) == ("ask her", {"red": 1, "green": 1})
    assert tab.value(1, 1) == ("formula", "=ROW()")
    assert tab.value(1, 2) == "Ada"


def test_a_key_that_a_formula_makes_is_read_by_its_result(file: SheetsFile) -> None:
    file.book.add("Affiliates", [["ID", "Name", "Status", "Balance", "Joined"], ['="a:1"', "old"]])
    file.sink().write(file.target(), [record("a:1")])
    (row,) = file.table()
    assert (row["ID"], row["Name"]) == (("formula", '="a:1"'), "Ada")


def test_a_number_typed_as_key_is_the_same_key(file: SheetsFile) -> None:
    file.book.add("Affiliates", [["ID", "Name", "Status", "Balance", "Joined"], [42, "old"], ["43 ", "old"]])
    file.sink().write(file.target(), [record("42"), record("43")])
    assert [(row["ID"], row["Name"]) for row in file.table()] == [(42, "Ada"), ("43 ", "Ada")]


def test_through_a_protected_column_new_rows_take_blank_rows(file: SheetsFile) -> None:
    tab = file.book.add("Affiliates", [["ID", "Name", "Status", "Balance", "Joined", "Pay"], ["a:1"]], rows=4)
    tab.protected.append(Area(None, [tab.columns[5]], editable=False, name="payroll"))
    file.sink().write(file.target(), [record("a:1"), record("a:2"), record("a:3"), record("a:4")])
    assert [(row["ID"], row["Name"]) for row in file.table()] == [(f"a:{n}", "Ada") for n in (1, 2, 3, 4)]


def test_a_protected_cell_refuses_its_row_and_names_the_range(file: SheetsFile) -> None:
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1"), record("a:2")])
    file.tab.protected.append(Area([file.tab.rows[1]], None, editable=False, name="closed deals"))
    first, second = sink.write(target, [record("a:1", "New"), record("a:2", "New")])
    outcomes = {first.key: first, second.key: second}
    assert outcomes["a:1"].kind == "refused"
    assert "A2" in outcomes["a:1"].reason
    assert "closed deals" in outcomes["a:1"].reason
    assert [row["Name"] for row in file.table()] == ["Ada", "New"]


# ---------------------------------------------------------------- typed cells


def test_a_new_tab_is_dressed_and_its_cells_are_typed(file: SheetsFile) -> None:
    file.sink().write(file.target(wide), [wide_record(1)])
    tab = file.tab
    assert tab.frozen_rows == 1
    assert tab.filter is not None
    assert "endRowIndex" not in tab.filter
    header = tab.rows[0].cells[tab.columns[0]]
    assert header["userEnteredFormat"]["textFormat"]["bold"] is True
    cells = {name: tab.rows[1].cells[tab.columns[place]] for place, name in enumerate(tab.grid()[0])}
    kinds = {name: cell["userEnteredFormat"].get("numberFormat", {}).get("type") for name, cell in cells.items()}
    assert (kinds["ID"], kinds["Code"], kinds["Sales"], kinds["Joined"], kinds["Last event"]) == (
        "TEXT", "TEXT", "NUMBER", "DATE", "DATE_TIME",
    )  # fmt: skip
    assert cells["Link"]["userEnteredFormat"]["textFormat"]["link"] == {"uri": "https://example.com/?ref=ada1"}
    assert cells["Joined"]["userEnteredValue"] == {"numberValue": 45292.0}
    assert cells["Last event"]["userEnteredValue"] == {"numberValue": 46023.5}
    assert "bold" not in cells["ID"]["userEnteredFormat"]["textFormat"]


def test_dates_and_money_in_a_sheet_that_people_made_get_a_format_where_there_is_none(file: SheetsFile) -> None:
    tab = file.book.add("Affiliates", [["ID", "Name", "Status", "Balance", "Joined"], ["a:1", "x"]])
    theirs = {"numberFormat": {"type": "DATE", "pattern": "dd/mm/yyyy"}}
    tab.put(1, 4, None, userEnteredFormat=theirs)
    file.sink().write(file.target(), [record("a:1"), record("a:2")])
    formats = [[row.cells[tab.columns[place]].get("userEnteredFormat") for place in (3, 4)] for row in tab.rows[1:3]]
    assert formats[0][0] == {"numberFormat": {"type": "NUMBER", "pattern": "#,##0.00"}}
    assert formats[0][1] == formats[1][1] == theirs
    assert formats[1][0] == {"numberFormat": {"type": "NUMBER", "pattern": "#,##0.00"}}


def test_money_adds_up_and_dates_sort(file: SheetsFile) -> None:
    amounts = [Decimal("0.10"), Decimal("0.20"), Decimal("-1234567.89"), Decimal("99999999999.99")]
    days = [date(2026, 1, 31), date(2025, 12, 1), date(2026, 1, 4), date(1999, 7, 7)]
    rows = [record(f"a:{n}", Balance=amounts[n], Joined=days[n]) for n in range(4)]
    file.sink().write(file.target(), rows)
    table = file.table()
    assert sum(Decimal(repr(row["Balance"])) for row in table) == sum(amounts)
    by_date = sorted(range(4), key=lambda place: table[place]["Joined"])
    assert by_date == sorted(range(4), key=lambda place: days[place])


@given(
    st.one_of(
        st.text(max_size=60),
        st.integers(-(10**25), 10**25),
        st.booleans(),
        st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**12), max_value=10**12),
        st.dates(date(1900, 1, 1), date(2199, 1, 1)),
    )
)
def test_a_value_reads_back_as_the_value_that_was_typed(cell: Cell) -> None:
    value = value_of(cell)
    sent = json.loads(json.dumps(typed_value(value), ensure_ascii=False))
    answer = {"sheets": [{"properties": {"title": "t"}, "data": [{"rowData": [{"values": [sent]}]}]}]}
    (sheet,) = parse_sheets(msgspec.json.decode(json.dumps(answer), type=Spreadsheet))
    assert same(sheet.value(0, 0), value)
    if isinstance(cell, str) and cell and "\r\n" not in cell:
        assert sheet.value(0, 0) == cell
    if isinstance(cell, int) and not isinstance(cell, bool):
        assert str(as_cell(value)) == str(cell)


@pytest.mark.parametrize("size", [50_000, 50_001])
def test_a_cell_beyond_50_000_characters_is_refused_before_sending_and_only_its_row(
    file: SheetsFile, size: int
) -> None:
    sink, target = file.sink(), file.target()
    outcomes = {outcome.key: outcome for outcome in sink.write(target, [record("a:1", "x" * size), record("a:2")])}
    assert outcomes["a:2"].kind == "written"
    assert outcomes["a:1"].kind == ("written" if size == 50_000 else "refused")
    if size > 50_000:
        assert (outcomes["a:1"].code, outcomes["a:1"].column) == ("cell_too_long", "Name")
        (outcome,) = sink.write(target, [record("a:3", "\U0001f469" * 25_001)])
        assert '"Name" has 50,002 characters' in outcome.reason
    assert file.server.statuses.count(400) == 1, "only the trial of the guards"


def test_a_cell_that_is_too_long_costs_only_itself_where_the_mapping_says_so(file: SheetsFile) -> None:
    columns = [replace(each, on_error="leave_empty") if each.name == "Name" else each for each in file.target().columns]
    sink, target = file.sink(), replace(file.target(), columns=tuple(columns))
    long = record("a:1", "x" * 50_001)
    (outcome,) = sink.write(target, [long])
    assert (outcome.kind, outcome.left_empty) == ("written", ("Name",))
    assert file.table()[0]["Name"] in (None, "")
    (outcome,) = sink.write(target, [record("a:1", "Zoe")])
    assert (outcome.kind, outcome.left_empty) == ("written", ())
    (outcome,) = sink.write(target, [replace(long, last=record("a:1", "Zoe").cells)])
    assert (outcome.kind, outcome.left_empty) == ("written", ("Name",))
    assert file.table()[0]["Name"] == "Zoe"


def test_in_a_full_file_rows_that_need_no_new_cells_are_written_and_the_reason_says_what_to_do(
    file: SheetsFile,
) -> None:
    file.book.add("Affiliates", [["ID", "Name", "Status", "Balance", "Joined"], ["a:0"], []], columns=5, rows=3)
    file.book.cell_limit = 26_000 + 15
    sink, target = file.sink(), file.target()
    with pytest.raises(NeedsAction, match="10,000,000 cells") as caught:
        sink.write(target, [record(f"a:{number}", "New") for number in range(4)])
    assert "unguarded_writes" not in caught.value.reason
    assert {outcome.key: outcome.kind for outcome in caught.value.outcomes} == {"a:0": "written", "a:1": "written"}
    assert [(row["ID"], row["Name"]) for row in file.table()] == [("a:0", "New"), ("a:1", "New")]
    (outcome,) = sink.write(target, [record("a:0", "Newer")])
    assert outcome.kind == "written"
    file.book.cell_limit = 10_000_000
    assert {outcome.kind for outcome in sink.write(target, [record("a:2"), record("a:3")])} == {"written"}
    assert len(file.table()) == 4


def test_in_a_full_file_the_guards_are_tried_without_a_scratch_tab_and_check_says_that_it_is_full(
    tmp_path: Path,
) -> None:
    for unique in (True, False):
        with SheetsFile(tmp_path, book=Book(unique_ids=unique, cell_limit=12)) as file:
            rows = [["ID", "Name", "Status", "Balance", "Joined"], ["a:1", "Zoe"]]
            file.book.add("Affiliates", rows, columns=5, rows=2)
            file.book.add("Rest", rows=1, columns=2)

            class Full(GoogleSheets):
                limits = Limits(file_cells=12)

            sink, target = file.sink(TestHost(), kind=Full), file.target()
            (finding,) = (item for item in sink.check(target) if item.level == "problem")
            assert "full" in finding.text
            with pytest.raises(NeedsAction, match="full") as caught:
                sink.write(target, [record("a:1", "New"), record("a:2")])
            assert "unguarded_writes" not in caught.value.reason
            assert [(row["ID"], row["Name"]) for row in file.table()] == [("a:1", "New" if unique else "Zoe")]


def test_in_a_full_file_new_rows_take_the_blank_ones_that_are_there(file: SheetsFile) -> None:
    class Full(GoogleSheets):
        limits = Limits(file_cells=26_000 + 4 * 5)

    file.book.add("Affiliates", [["ID", "Name", "Status", "Balance", "Joined"]], columns=5, rows=4)
    file.book.cell_limit = Full.limits.file_cells
    sink, target = file.sink(kind=Full), file.target()
    for number in range(3):
        assert sink.write(target, [record(f"a:{number}")])[0].kind == "written"
    with pytest.raises(NeedsAction, match="full"):
        sink.write(target, [record("a:3")])
    assert [row["ID"] for row in file.table()] == ["a:0", "a:1", "a:2"]
    assert len(file.tab.rows) == 4


def test_a_file_that_people_fill_meanwhile_stops_with_the_reason(file: SheetsFile) -> None:
    file.book.add("Affiliates", [["ID", "Name", "Status", "Balance", "Joined"]], columns=5, rows=2)
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1")])
    file.book.cell_limit = 26_000 + 2 * 5 + 4
    with pytest.raises(NeedsAction, match="full"):
        sink.write(target, [record("a:1", "New"), record("a:2")])
    assert file.table()[0]["Name"] == "New"
    file.book.edit({"deleteSheet": {"sheetId": file.book.tabs[0].id}})
    assert sink.write(target, [record("a:2")])[0].kind == "written"


def test_no_tab_and_no_column_can_be_added_to_a_full_file(file: SheetsFile) -> None:
    file.book.cell_limit = 26_000
    with pytest.raises(NeedsAction, match="full"):
        file.sink().write(file.target(), [record("a:1")])
    file.book.add("Affiliates", [["ID", "Name"], ["a:1"]], columns=2, rows=2)
    file.book.cell_limit = 26_004
    with pytest.raises(NeedsAction, match="full"):
        file.sink().write(file.target(), [record("a:1", "New")])
    assert file.tab.grid() == [["ID", "Name"], ["a:1", "New"]]


# ---------------------------------------------------------------- lost, late and refused answers


@pytest.mark.parametrize("kind", ["reset_before", "reset_after", "cut_after", "status", "status_after"])
@pytest.mark.parametrize("place", [1, 2, 3])
def test_whatever_happens_to_a_call_each_record_ends_in_one_row(file: SheetsFile, kind: str, place: int) -> None:
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1"), record("a:2")])
    rows = [record("a:1", "New"), record("a:3")]
    oops = Fault(kind, Reply(503, {"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}}))
    file.server.faults.extend([None] * (place - 1) + [oops])
    outcomes: Sequence[Outcome] = ()
    while not outcomes:
        with contextlib.suppress(TryLater):
            outcomes = sink.write(target, rows)
    assert {outcome.kind for outcome in outcomes} == {"written"}
    assert [(row["ID"], row["Name"]) for row in file.table()] == [("a:1", "New"), ("a:2", "Ada"), ("a:3", "Ada")]


def test_a_lost_answer_to_a_write_that_landed_is_recognized_by_the_fence(file: SheetsFile) -> None:
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1")])
    file.server.faults.extend([None, Fault("reset_after")])
    assert file.calls_of(lambda: sink.write(target, [record("a:2")])) == "rwr"
    assert len(file.table()) == 2


def test_a_write_that_arrives_after_the_flush_has_continued_refuses_itself(file: SheetsFile) -> None:
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1")])
    server = file.server
    late = {2}
    first = len(server.calls)
    server.fault_for = lambda call: server.postpone(call) if call.number - first in late else None
    sink.write(target, [record("a:2"), record("a:3")])
    assert len(server.late) == 1
    server.deliver_late()
    assert [row["ID"] for row in file.table()] == ["a:1", "a:2", "a:3"]


def test_a_write_that_a_middle_box_repeats_lands_once(file: SheetsFile) -> None:
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1")])
    file.server.doubled.add(len(file.server.calls) + 2)
    sink.write(target, [record("a:2"), record("a:3")])
    assert [row["ID"] for row in file.table()] == ["a:1", "a:2", "a:3"]


def test_a_destination_that_is_silent_costs_the_time_out_and_no_more(file: SheetsFile) -> None:
    sink, target = file.sink(timeout_seconds=1), file.target()
    file.server.faults.extend([None, Fault("hang_after")])
    host = file.server.url.removeprefix("http://")
    with pytest.raises(TryLater, match=f"no answer from {host} to a write .ReadTimeout"):
        sink.write(target, [record("a:1")])
    file.server.faults.extend([Fault("reset_before")] * 2)
    with pytest.raises(TryLater, match=f"Google Sheets at {host} can't be reached .ConnectionError"):
        sink.check(target)
    file.server.faults.clear()
    assert sink.write(target, [record("a:1")])[0].kind == "written"


def test_a_sign_in_that_can_not_be_reached_is_named_by_its_host(file: SheetsFile) -> None:
    with FarSide() as gone:
        nowhere = gone.url
    key = json.dumps(file.server.credentials() | {"token_uri": f"{nowhere}/token"})
    sink = file.sink(credentials_file=None, credentials=key)
    with pytest.raises(TryLater, match=f"Google's sign-in at {nowhere.removeprefix('http://')} can't be reached"):
        sink.write(file.target(), [record("a:1")])


def test_a_tab_that_changes_all_the_time_is_put_off(file: SheetsFile) -> None:
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1"), record("a:2")])
    span = {"sheetId": file.tab.id, "dimension": "COLUMNS", "startIndex": 0, "endIndex": 1}

    def person(call: Call) -> None:
        if call.path.endswith(":batchUpdate"):
            file.book.edit({"insertDimension": {"range": span}})

    file.server.person = person
    with pytest.raises(TryLater, match="changed by somebody else"):
        sink.write(target, [record("a:1", "New")])
    assert [row["Name"] for row in file.table()] == ["Ada", "Ada"]


@pytest.mark.parametrize("late", [False, True])
def test_a_tab_renamed_while_a_batch_is_on_its_way_costs_a_read_and_nothing_else(file: SheetsFile, late: bool) -> None:
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1")])
    file.server.ranges_fail_late = late
    file.before_call(2, lambda: setattr(file.tab, "title", "Partners"))
    outcomes = sink.write(target, [record("a:2"), record("a:3")])
    assert {outcome.kind for outcome in outcomes} == {"written"}
    assert [row["ID"] for row in file.table("Partners")] == ["a:1", "a:2", "a:3"]


def test_a_batch_that_google_refuses_though_nobody_edited_is_no_endless_loop(file: SheetsFile) -> None:
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1")])
    oops = Reply(400, {"error": {"code": 400, "message": "Invalid requests[3]: new rule"}})
    file.server.fault_for = lambda call: Fault("status", oops) if call.path.endswith(":batchUpdate") else None
    with pytest.raises(NeedsAction, match="new rule"):
        sink.write(target, [record("a:2")])
    assert len(file.server.api_calls) < 12


def test_a_protection_that_no_snapshot_shows_is_named_as_one(file: SheetsFile) -> None:
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1")])
    file.tab.protected.append(Area(None, None, editable=False, name="frozen until Monday"))
    with pytest.raises(NeedsAction, match="frozen until Monday"):
        sink.write(target, [record("a:1", "New")])


def test_two_connectors_on_one_tab_by_mistake_make_no_duplicates(file: SheetsFile) -> None:
    errors: list[BaseException] = []
    start = threading.Barrier(2)

    def work(name: str) -> None:
        host = TestHost()
        sink, target = file.sink(host), file.target()
        start.wait()
        try:
            for turn in range(400):
                if turn >= 8 and 400 in file.server.statuses:
                    break  # they have met
                step = turn % 8
                rows = [record(f"a:{number}", f"{name} {turn}") for number in range(step, step + 6)]
                for _ in range(30):
                    try:
                        sink.write(target, rows)
                        break
                    except TryLater:
                        continue
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [tab.title for tab in file.book.tabs] == ["Sheet1", "Affiliates"]
    assert sorted(row["ID"] for row in file.table()) == sorted(f"a:{number}" for number in range(13))
    assert 400 in file.server.statuses, "they never met"


def test_seeded_rounds_lose_nothing_double_nothing_and_change_no_foreign_cell(request: pytest.FixtureRequest) -> None:
    """A quick look; ``python -m tests.sinks.google_sheets_campaign --rounds 1000`` is the long one."""
    tally = run_campaign(20, seed=50_000)
    assert tally.is_clean, str(tally)
    assert tally.refused_batches > tally.rounds + 3, "the people edited at harmless moments only"


@pytest.mark.parametrize("profile", ["ids_repeat", "tags_stay"])
def test_seeded_rounds_where_guards_do_not_bind_stop_and_change_nothing(profile: str) -> None:
    tally = run_campaign(5, seed=60_000, profile=profile)
    assert tally.is_clean, str(tally)
    assert tally.stopped == 5


# ---------------------------------------------------------------- quotas


def test_flushes_are_spaced_evenly_and_a_burst_never_exceeds_the_quota(tmp_path: Path) -> None:
    with SheetsFile(tmp_path, quota=60) as file:
        sink, target = file.sink(), file.target()
        for step in range(70):
            file.host.advance(sink.pace(target))
            sink.write(target, [record(f"a:{step % 7}", f"name {step}")])
        assert file.server.refused_by_quota == 0
        minutes = file.host.monotonic() / 60
        writes = file.server.kinds().count("w")
        assert writes / minutes == pytest.approx(48, rel=0.1)


def test_routes_with_one_account_share_its_quota(tmp_path: Path) -> None:
    with SheetsFile(tmp_path, quota=60) as file:
        one, two = file.sink(), file.sink()
        first, second = file.target(tab="One"), replace(file.target(tab="Two"), route="sheets/two")
        for step in range(25):
            file.host.advance(max(one.pace(first), two.pace(second)))
            one.write(first, [record("a:1", f"name {step}")])
            two.write(second, [record("a:1", f"name {step}")])
        assert file.server.refused_by_quota == 0


def test_a_429_waits_for_the_next_minute_and_counts_as_no_try(tmp_path: Path) -> None:
    with SheetsFile(tmp_path, quota=4) as file:
        sink, target = file.sink(), file.target()
        sink.write(target, [record("a:1")])
        sink.write(target, [record("b:1")])
        with pytest.raises(TryLater, match="quota of 4") as caught:
            sink.write(target, [record("b:2")])
        assert caught.value.quota
        assert caught.value.after is not None
        assert 0 < caught.value.after <= 61
        assert sink.pace(target) == pytest.approx(caught.value.after, abs=1)
        file.host.advance(sink.pace(target))
        sink.write(target, [record("a:1", "New")])
        assert file.table()[0]["Name"] == "New"


def test_a_burst_of_changes_is_consistent_within_three_minutes_of_quota(tmp_path: Path) -> None:
    found = burst(tmp_path, records=1_000, events=5_000)
    assert found.seconds_of_quota <= 180
    assert found.calls <= 1.3 * found.ideal
    assert found.is_right


# ---------------------------------------------------------------- errors that say what to click


def needs_action(file: SheetsFile, **options: Any) -> str:
    with pytest.raises(NeedsAction) as caught:
        file.sink(**options).write(file.target(), [record("a:1")])
    return caught.value.reason


def test_an_unshared_spreadsheet_says_with_whom_to_share_it(file: SheetsFile) -> None:
    file.server.denied = "not_shared"
    reason = needs_action(file)
    assert account in reason
    assert "Share" in reason
    assert "Editor" in reason


def test_a_disabled_api_gives_the_link(file: SheetsFile) -> None:
    file.server.denied = "api_disabled"
    assert "https://console.developers.google.com/apis/api/sheets.googleapis.com" in needs_action(file)


def test_a_wrong_id_says_so(file: SheetsFile) -> None:
    assert "no spreadsheet wrong-spreadsheet-id" in needs_action(file, spreadsheet="wrong-spreadsheet-id")


def test_a_revoked_key_says_which_account(file: SheetsFile) -> None:
    file.server.denied = "bad_key"
    assert f"the key of {account}" in needs_action(file)


def test_a_token_that_ran_out_is_renewed_without_anybody_noticing(file: SheetsFile) -> None:
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1")])
    file.server.revoked = file.server.tokens
    sink.write(target, [record("a:2")])
    assert len(file.table()) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "can't be read"), ("{", "is not JSON"), ('{"type": "authorized_user"}', "not a service account's key")],
)
def test_a_bad_key_file_says_what_to_do(file: SheetsFile, content: str | None, words: str) -> None:
    path = file.folder / "other.json"
    if content is not None:
        path.write_text(content)
    sink, target = file.sink(credentials_file=path), file.target()
    assert sink.pace(target) == 0.0
    with pytest.raises(NeedsAction, match=words):
        sink.write(target, [record("a:1")])


def test_a_damaged_private_key_is_no_traceback(file: SheetsFile) -> None:
    path = file.folder / "damaged.json"
    path.write_text(json.dumps(file.server.credentials() | {"private_key": "x"}))
    assert "create a new one" in needs_action(file, credentials_file=path)


def test_credentials_as_text_work_and_are_never_shown(file: SheetsFile) -> None:
    text = json.dumps(file.server.credentials())
    file.sink(credentials_file=None, credentials=text).write(file.target(), [record("a:1")])
    options = GoogleSheetsOptions(type="g", mappings=(), spreadsheet="x" * 20, credentials=SecretStr(text))
    assert "PRIVATE KEY" not in repr(options)


@pytest.mark.parametrize(
    "text",
    [
        "https://docs.google.com/spreadsheets/d/1AbC-dEf_1234567890/edit?gid=0#gid=0",
        "https://docs.google.com/spreadsheets/u/1/d/1AbC-dEf_1234567890",
        " 1AbC-dEf_1234567890 ",
    ],
)
def test_the_spreadsheet_is_named_by_url_or_id(text: str) -> None:
    assert GoogleSheetsOptions(type="g", mappings=(), spreadsheet=text).spreadsheet == "1AbC-dEf_1234567890"


def test_what_is_no_spreadsheet_is_refused_with_what_would_be_right() -> None:
    with pytest.raises(ValueError, match=r"docs\.google\.com/spreadsheets"):
        GoogleSheetsOptions(type="g", mappings=(), spreadsheet="https://example.com/x")


def test_missing_columns_stop_says_which_and_where(file: SheetsFile) -> None:
    file.book.add("Affiliates", [["ID", "Name"]])
    with pytest.raises(NeedsAction, match='"Status", "Balance", "Joined" in row 1'):
        file.sink().write(file.target(missing_columns="stop"), [record("a:1")])


# ---------------------------------------------------------------- check and preview


def test_check_names_columns_duplicates_and_protected_ranges_and_makes_three_calls(file: SheetsFile) -> None:
    tab = file.book.add("Affiliates", [["Name", "ID", "Status"], ["x", "a:1"], ["y", "a:1"]])
    tab.protected.append(Area(None, [tab.columns[2]], editable=False, name="legal"))
    sink = file.sink()
    findings: list[Finding] = []
    before = file.tab.grid(), file.book.all_tags(), list(file.book.touched)
    assert file.calls_of(lambda: findings.extend(sink.check(file.target()))) == "rrw"
    assert (file.tab.grid(), file.book.all_tags(), file.book.touched) == before, "the write changes nothing"
    by_subject = {finding.subject: finding for finding in findings}
    assert by_subject["ID"].text == "column B"
    assert "the next write adds the column" in by_subject["Balance"].text
    assert "rows 2 and 3" in by_subject["duplicate key"].text
    assert "C1:C1000" in by_subject["legal"].text


def test_a_probe_finds_that_guards_bind_and_leaves_nothing_behind(file: SheetsFile) -> None:
    sink = file.sink()
    assert guards_finding(sink, file, probe=False).text.startswith("not tried")
    assert guards_finding(sink, file, probe=True).level == "ok"
    assert guards_finding(sink, file, probe=False).level == "ok"
    assert [tab.title for tab in file.book.tabs] == ["Sheet1"]
    assert file.calls_of(lambda: sink.check(file.target())) == "rw", "one batch that changes nothing"
    assert file.book.all_tags() == []


def guards_finding(sink: GoogleSheets, file: SheetsFile, *, probe: bool) -> Finding:
    return next(finding for finding in sink.check(file.target(), probe=probe) if finding.subject == "guards")


@pytest.mark.parametrize(
    ("book", "words"),
    [(Book(unique_ids=False), "two tags have one id"), (Book(tags_follow_sorts=False), "stay behind")],
)
def test_where_guards_do_not_bind_nothing_is_written_and_check_says_why(tmp_path: Path, book: Book, words: str) -> None:
    with SheetsFile(tmp_path, book=book) as file:
        sink, target = file.sink(), file.target()
        finding = guards_finding(sink, file, probe=True)
        assert finding.level == "problem"
        assert words in finding.text
        with pytest.raises(NeedsAction, match=words):
            sink.write(target, [record("a:1")])
        with pytest.raises(NeedsAction, match=words):
            sink.provision(target)
        assert [tab.title for tab in book.tabs] == ["Sheet1"]
        assert book.tabs[0].grid(1)[0][0] == "a note of people"
        allowed = file.sink(unguarded_writes=True)
        assert guards_finding(allowed, file, probe=True).level == "notice"
        assert allowed.write(target, [record("a:1")])[0].kind == "written"
        assert allowed.write(target, [record("a:1", "New")])[0].kind == "written"
        assert [row["Name"] for row in file.table()] == ["New"]


def test_guards_are_tried_once_a_spreadsheet(file: SheetsFile) -> None:
    sink, target = file.sink(), file.target()
    assert file.calls_of(lambda: sink.write(target, [record("a:1")])) == "wrrww"
    sink.close()
    assert file.calls_of(lambda: sink.write(target, [record("a:2")])) == "rw"


def test_a_refusal_that_does_not_say_what_was_refused_is_no_proof(file: SheetsFile) -> None:
    """The file is full, for instance: a batch that must pass tells it apart."""
    oops = Reply(400, {"error": {"code": 400, "message": "No."}})
    file.server.faults.extend([None, Fault("status", oops)])
    assert file.calls_of(lambda: file.sink().write(file.target(), [record("a:1")])).startswith("ww")
    assert [row["ID"] for row in file.table()] == ["a:1"]
    file.host.notes.clear()
    file.server.faults.extend([None, Fault("status", oops), Fault("status", oops)])
    with pytest.raises(NeedsAction, match=r"refuses to write into this spreadsheet: No\."):
        file.sink().write(file.target(), [record("a:2")])
    assert [row["ID"] for row in file.table()] == ["a:1"]


def test_a_lost_answer_to_the_trial_of_the_guards_is_tried_again(file: SheetsFile) -> None:
    file.server.faults.extend([None, Fault("reset_after")])
    sink = file.sink()
    with pytest.raises(TryLater):
        sink.write(file.target(), [record("a:1")])
    assert sink.write(file.target(), [record("a:1")])[0].kind == "written"


def test_columns_that_the_mapping_does_not_fill_are_spare(file: SheetsFile) -> None:
    assert file.sink().spare(file.target()) == []
    file.book.add("Affiliates", [["Phone", "ID", "", "Name", "call in May"], ["x", "a:1"]])
    before = file.tab.grid()
    spare = file.sink().spare(file.target())
    assert [(each.column, each.choice) for each in spare] == [("Phone", ""), ("call in May", "")]
    assert file.tab.grid() == before


def test_the_address_of_a_record_is_its_row_wherever_people_moved_it(file: SheetsFile) -> None:
    sink, target = file.sink(), file.target()
    assert isinstance(sink, ShowsRecord)
    assert sink.address_of(target, record("a:1")) is None
    sink.write(target, [record(f"a:{number}") for number in range(1, 6)])

    def row_of(key: str, **more: Any) -> str | None:
        # A sink of its own, as the page has: it knows the tab by the host's note.
        fresh = file.sink()
        address = None

        def ask() -> None:
            nonlocal address
            address = fresh.address_of(target, replace(record(key), **more))

        assert file.calls_of(ask) in ("r", "rr")
        return address

    where = f"https://docs.google.com/spreadsheets/d/{file.book.id}/edit#gid={file.tab.id}&range="
    assert row_of("a:3") == f"{where}A4"
    person_moves(file, "ROWS", 3, 1)
    person_moves(file, "COLUMNS", file.tab.grid()[0].index("ID"), 0)
    file.tab.put(0, 0, "Identity")
    assert row_of("a:3") == f"{where}A2"
    assert row_of("new:3", moved_from="a:3") == f"{where}A2"
    assert row_of("a:9") is None
    unknown = file.sink(TestHost())
    assert file.calls_of(lambda: unknown.address_of(target, record("a:3"))) == "rr"
    file.book.edit({"deleteSheet": {"sheetId": file.tab.id}})
    assert row_of("a:3") is None


def test_a_preview_shows_dates_as_dates(file: SheetsFile) -> None:
    sink, target = file.sink(), file.target()
    sink.write(target, [record("a:1")])
    (change,) = sink.preview(target, [record("a:1", Joined=date(2026, 5, 6))])
    assert dict(change.cells) == {"Joined": (date(2026, 2, 3), date(2026, 5, 6))}


# ---------------------------------------------------------------- what is shipped, and what it costs to have


def test_the_shipped_mapping_fills_a_tab_that_a_resync_leaves_as_it_is(file: SheetsFile) -> None:
    path = Path(__file__).parents[2] / "mappings" / "google_sheets.toml"
    mapping = load(
        path.read_text("utf-8"),
        file="mappings/google_sheets.toml",
        target_options=GoogleSheets.TargetOptions,
        source_names=("firstpromoter", "everflow"),
    )
    assert mapping.run_examples() == []
    target = mapping.target("sheets/affiliates")
    row = Row("everflow:7", "everflow:7", {"ID": "everflow:7", "Name": "Ada", "At": datetime(2026, 1, 1, tzinfo=UTC)})
    sink = file.sink()
    sink.write(target, [row])
    assert file.tab.grid()[0] == [column.name for column in arranged(target.columns, target.key)]
    assert file.calls_of(lambda: sink.write(target, [row])) == "r"


def test_a_resync_into_a_half_filled_sheet_ends_with_each_record_in_one_row(file: SheetsFile) -> None:
    existing: list[Sequence[object]] = [[f"a:{number}", "old"] for number in range(0, 40, 2)]
    existing[7:7] = [[], [None, "a note"]]
    file.book.add("Affiliates", [["ID", "Name"], *existing], rows=30, columns=2)
    outcomes: Sequence[Outcome] = file.sink().write(file.target(), [record(f"a:{number}") for number in range(40)])
    assert {outcome.kind for outcome in outcomes} == {"written"}
    keys = [row["ID"] for row in file.table() if row["ID"]]
    assert sorted(keys) == sorted(f"a:{number}" for number in range(40))
    assert {row["Name"] for row in file.table()} == {"Ada", "a note"}


def test_gspread_is_imported_when_this_sink_is_built_and_googles_big_client_not_at_all() -> None:
    code = (
        "import sys, threading, connector.app, connector.cli.main; from connector.assembly import LiveHost; "
        "import connector.sinks.google_sheets.sink as room; assert 'gspread' not in sys.modules; "
        "options = room.GoogleSheetsOptions(type='google_sheets', spreadsheet='0123456789', mappings=[]); "
        "room.GoogleSheets('sheets', options, LiveHost('sheets', None, threading.Event())); "
        "assert 'gspread' in sys.modules; "
        "assert not any(name.startswith('googleapiclient') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
