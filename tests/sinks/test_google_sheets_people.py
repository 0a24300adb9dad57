"""What people have prepared in a tab stays right: formulas, totals, filters, protected ranges, headers of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from connector.core.errors import NeedsAction
from connector.core.row import Cell, Column, Row
from connector.core.sink import Target
from connector.sinks.google_sheets.limits import Limits
from connector.sinks.google_sheets.sink import GoogleSheets
from tests.far_sides.loopback import Call, Fault, Reply
from tests.far_sides.sheets_book import Area, Tab
from tests.sinks.google_sheets_file import SheetsFile

heads = ["ID", "Name", "Email", "Status", "Balance"]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SheetsFile]:
    with SheetsFile(tmp_path) as file:
        yield file
        assert file.server.unexpected == []


def target(file: SheetsFile, key: str = "ID") -> Target:
    return file.target((*map(Column, heads[:4]), Column("Balance", type="money", overwrite="always")), key)


def affiliate(number: int, balance: str = "", **more: Cell) -> Row:
    key = f"firstpromoter:{number}"
    cells: dict[str, Cell] = {
        "ID": key,
        "Name": f"Ada {number}",
        "Email": f"ada{number}@example.com",
        "Status": "Active",
        "Balance": Decimal(balance or f"{number}.5"),
        **more,
    }
    return Row(key, key, cells)


def write(file: SheetsFile, *numbers: int) -> list[str]:
    """Write affiliates one flush each; the notices."""
    sink = file.sink()
    notices: list[str] = []
    for number in numbers:
        (outcome,) = sink.write(target(file), [affiliate(number)])
        assert outcome.kind == "written", outcome
        notices += outcome.notices
    return notices


def first_column(tab: Tab, rows: int) -> list[Any]:
    return [line[0] for line in tab.grid(rows)]


# ---------------------------------------------------------------- the first rows


def test_formulas_that_were_prepared_for_the_first_rows_count_them(file: SheetsFile) -> None:
    double = '={"Double";ARRAYFORMULA(IF(E2:E="","",E2:E*2))}'
    file.book.add("Affiliates", [[*heads, double]])
    formulas = ["=SUM(Affiliates!E2:E)", "=COUNTA(Affiliates!A2:A)", "=SUM(Affiliates!E2:E1000)", "=Affiliates!A2"]
    file.book.add("Summary", [[formula] for formula in formulas])
    write(file, 41, 42, 43)
    assert [row[0] for row in file.book.seen("Summary")[:4]] == [127.5, 3.0, 127.5, "firstpromoter:41"]
    assert [row[0][1] for row in file.book.tab("Summary").grid(2)] == formulas[:2]
    assert [row[5] for row in file.book.seen("Affiliates")[:4]] == ["Double", 83.0, 85.0, 87.0]


@pytest.mark.parametrize("protected", [False, True])
def test_rows_that_are_prepared_with_formulas_and_tick_boxes_are_taken(file: SheetsFile, protected: bool) -> None:
    tab = file.book.add("Affiliates", [[*heads, "Twice", "Called"]])
    for row in range(1, 30):
        tab.put(row, 5, f"=SUM(E{row + 1}:E{row + 1})")
        tab.put(row, 6, False)
    tab.put(30, 1, "a note")
    if protected:
        protect(tab, 5, 1, 30)
    file.book.add("Summary", [["=SUM(Affiliates!E2:E)"]])
    file.sink().write(target(file), [affiliate(41), affiliate(42)])
    assert [line[0] for line in tab.grid(3)[1:]] == ["firstpromoter:41", "firstpromoter:42"]
    assert [line[5:7] for line in file.book.seen("Affiliates")[1:4]] == [[41.5, False], [42.5, False], [0.0, False]]
    assert file.book.seen("Summary")[0][0] == 84


def test_prepared_rows_are_taken_one_by_one_too_and_a_row_beyond_them_is_inserted(file: SheetsFile) -> None:
    tab = file.book.add("Affiliates", [[*heads, "Twice", "Called"]])
    for row in range(1, 4):
        tab.put(row, 5, f"=SUM(E{row + 1}:E{row + 1})")
        tab.put(row, 6, False)
    tab.put(4, 3, "TOTAL")
    tab.put(4, 4, "=SUM(E2:E4)")
    write(file, 41, 42, 43, 44)
    assert first_column(tab, 5)[1:] == [f"firstpromoter:{number}" for number in (41, 42, 43, 44)]
    assert [line[5:7] for line in file.book.seen("Affiliates")[1:4]] == [[41.5, False], [42.5, False], [43.5, False]]
    assert tab.value(5, 3) == "TOTAL"


def test_a_new_row_takes_the_prepared_one_when_another_changes_with_it(file: SheetsFile) -> None:
    tab = file.book.add("Affiliates", [[*heads, "Called"]])
    for row in range(1, 30):
        tab.put(row, 5, False)
    sink = file.sink()
    for rows in ([affiliate(41)], [replace(affiliate(41, "7"), last=affiliate(41).cells), affiliate(42)]):
        sink.write(target(file), rows)
    assert [line[:1] + line[4:6] for line in tab.grid(4)[1:]] == [
        ["firstpromoter:41", 7, False], ["firstpromoter:42", 42.5, False], [None, None, False],
    ]  # fmt: skip


def test_a_sum_without_a_word_beside_it_is_no_prepared_row(file: SheetsFile) -> None:
    tab = file.book.add("Affiliates", [[*heads, "Mine"], ["firstpromoter:9", None, None, None, 1, 5]])
    tab.put(2, 5, "=SUM(F2:F2)")
    write(file, 41, 42)
    assert first_column(tab, 5)[1:] == ["firstpromoter:9", "firstpromoter:41", "firstpromoter:42", None]
    assert file.book.seen("Affiliates")[4][5] == 5


def test_many_first_rows_at_once_begin_right_below_the_header(file: SheetsFile) -> None:
    file.book.add("Affiliates", [heads], rows=100)
    file.book.add("Summary", [["=SUM(Affiliates!E2:E)"], ["=Affiliates!A3"]])
    numbers = range(300)
    outcomes = file.sink().write(target(file), [affiliate(number, "1") for number in numbers])
    assert {outcome.kind for outcome in outcomes} == {"written"}
    assert first_column(file.tab, 301)[1:] == [f"firstpromoter:{number}" for number in numbers]
    assert [row[0] for row in file.book.seen("Summary")[:2]] == [300.0, "firstpromoter:1"]


def test_in_a_big_tab_the_first_rows_take_the_blank_ones_too(file: SheetsFile) -> None:
    class Small(GoogleSheets):
        limits = Limits(whole_tab_cells=100)

    file.book.add("Affiliates", [heads, [], [None, None, None, None, None, "a note"]], rows=60)
    file.book.add("Summary", [["=SUM(Affiliates!E2:E)"]])
    sink = file.sink(kind=Small)
    sink.write(target(file), [affiliate(41), affiliate(42)])
    sink.write(target(file), [affiliate(43)])
    assert first_column(file.tab, 5) == ["ID", *(f"firstpromoter:{n}" for n in (41, 42, 43)), None]
    assert file.tab.value(4, 5) == "a note"
    assert file.book.seen("Summary")[0][0] == 127.5


def test_a_blank_row_into_which_a_person_types_before_the_lock_is_left_to_them(file: SheetsFile) -> None:
    file.book.add("Affiliates", [heads])
    sink = file.sink()
    sink.provision(target(file))
    file.before_call(2, lambda: file.tab.put(1, 1, "typed this second"))
    sink.write(target(file), [affiliate(41)])
    assert [row["Name"] for row in file.table()] == ["Ada 41", "typed this second"]


def test_a_first_row_that_a_person_deletes_before_the_write_costs_nobody_a_cell(file: SheetsFile) -> None:
    file.book.add("Affiliates", [heads, [], ["", "somebody's note"]])
    sink = file.sink()
    sink.provision(target(file))
    span = {"sheetId": file.tab.id, "dimension": "ROWS", "startIndex": 1, "endIndex": 2}
    file.before_call(3, lambda: file.book.edit({"deleteDimension": {"range": span}}))
    sink.write(target(file), [affiliate(41)])
    assert [row["Name"] for row in file.table()] == ["Ada 41", "somebody's note"]


# ---------------------------------------------------------------- below the table


def test_a_row_of_totals_stays_below_the_affiliates(file: SheetsFile) -> None:
    rows: list[Sequence[Any]] = [
        heads,
        ["firstpromoter:9", "Zoe", None, None, 10],
        ["TOTAL", None, None, None, "=SUM(E2:E2)"],
    ]
    file.book.add("Affiliates", rows)
    write(file, 41, 42)
    keys = ["ID", "firstpromoter:9", "firstpromoter:41", "firstpromoter:42", "TOTAL", None]
    assert first_column(file.tab, 6) == keys


def test_a_legend_stays_where_it_was_below_the_affiliates(file: SheetsFile) -> None:
    file.book.add("Affiliates", [heads, ["firstpromoter:9", "Zoe"], [], ["Legend", "green: called"], ["Note: ask 2"]])
    write(file, 41, 42)
    keys = ["firstpromoter:9", "firstpromoter:41", "firstpromoter:42", None, "Legend", "Note: ask 2"]
    assert first_column(file.tab, 7)[1:] == keys


def test_the_address_of_a_page_below_is_no_row_of_ours(file: SheetsFile) -> None:
    file.book.add("Affiliates", [heads, ["firstpromoter:9", "Zoe"], ["https://example.com/help"], ["note:call Ada"]])
    write(file, 41)
    keys = ["firstpromoter:9", "firstpromoter:41", "https://example.com/help", "note:call Ada"]
    assert first_column(file.tab, 5)[1:] == keys


def test_totals_of_no_affiliate_yet_stay_below_the_first(file: SheetsFile) -> None:
    file.book.add("Affiliates", [heads, [], ["TOTAL", None, None, None, "=SUM(E2:E2)"]])
    write(file, 41, 42)
    assert first_column(file.tab, 5)[1:] == ["firstpromoter:41", "firstpromoter:42", "TOTAL", None]
    assert file.tab.value(3, 4) == ("formula", "=SUM(E2:E2)")


def test_where_addresses_are_the_keys_a_word_is_no_row_of_ours(file: SheetsFile) -> None:
    file.book.add("Affiliates", [heads, [None, "Zoe", "zoe@example.com"], [None, None, "Total"]])
    row = affiliate(41)
    file.sink().write(target(file, "Email"), [replace(row, key=str(row.cells["Email"]))])
    assert [line[2] for line in file.tab.grid(4)] == ["Email", "zoe@example.com", "ada41@example.com", "Total"]


# ---------------------------------------------------------------- around the rows


def protect(tab: Tab, column: int, top: int, bottom: int, *, editable: bool = False) -> Area:
    area = Area(tab.rows[top:bottom], [tab.columns[column]], editable=editable, name="Notes")
    tab.protected.append(area)
    return area


@pytest.mark.parametrize(("column", "top", "bottom"), [(5, 0, 1000), (5, 1, 1000), (5, 0, 500), (3, 0, 1000)])
def test_through_a_protected_range_of_rows_the_blank_rows_below_the_header_are_taken(
    file: SheetsFile, column: int, top: int, bottom: int
) -> None:
    protect(file.book.add("Affiliates", [[*heads, "Notes"]]), column, top, bottom)
    sink = file.sink()
    outcomes = [sink.write(target(file), [affiliate(number)])[0] for number in (41, 42, 43)]
    assert first_column(file.tab, 5)[1:] == ["firstpromoter:41", "firstpromoter:42", "firstpromoter:43", None]
    blocked = column == 3
    assert [row["Status"] for row in file.table()] == [None if blocked else "Active"] * 3
    assert [outcome.waiting for outcome in outcomes] == [("Status",) if blocked else ()] * 3
    assert len(file.tab.rows) == 1000
    (outcome,) = sink.write(target(file), [affiliate(42, "7", Status="Waiting")])
    assert (outcome.kind, outcome.waiting) == ("written", ("Status",) if blocked else ())
    assert file.tab.value(2, 4) == 7


def test_a_protected_row_below_is_passed_over(file: SheetsFile) -> None:
    tab = file.book.add("Affiliates", [[*heads, "Notes"]], rows=50)
    protect(tab, 5, 0, 50)
    tab.protected.append(Area([tab.rows[2]], None, editable=False, name="theirs"))
    write(file, 41, 42)
    assert first_column(tab, 4)[1:] == ["firstpromoter:41", None, "firstpromoter:42"]


def test_a_protected_key_column_says_that_no_row_can_be_added(file: SheetsFile) -> None:
    protect(file.book.add("Affiliates", [heads, ["firstpromoter:9", "Zoe"]]), 0, 0, 1000)
    with pytest.raises(NeedsAction, match=r'column "ID".* is protected .Notes.'):
        write(file, 41)


def test_filters_tables_colours_and_rules_that_end_at_the_last_row_grow_with_it(file: SheetsFile) -> None:
    tab = file.book.add("Affiliates", [[*heads, "Called"], ["firstpromoter:8"], ["firstpromoter:9"], ["TOTAL"]])
    criteria = {"3": {"hiddenValues": ["Gone"]}}
    things = [
        tab.cover("basicFilter", 0, 3, 0, 6, criteria=criteria),
        tab.cover("tables", 0, 3, 0, 6, tableId="t1", name="Partners"),
        tab.cover("bandedRanges", 0, 3, 0, 6, bandedRangeId=7),
        tab.cover("filterViews", 0, 3, 0, 6, filterViewId=8, title="mine"),
        tab.cover("conditionalFormats", 1, 3, 4, 5, booleanRule={"format": {}}),
    ]
    mine = protect(tab, 1, 1, 3, editable=True)
    choice = {"condition": {"type": "ONE_OF_LIST", "values": [{"userEnteredValue": "yes"}]}, "strict": True}
    for row in (1, 2):
        tab.put(row, 5, None, dataValidation=choice)
    head_only = protect(tab, 0, 0, 1, editable=True)
    last_only = tab.cover("conditionalFormats", 2, 3, 0, 1, booleanRule={"format": {}})
    sink = file.sink()
    for numbers in ((41, 42), (43,)):
        outcomes = sink.write(target(file), [affiliate(number) for number in numbers])
        assert [outcome.notices for outcome in outcomes] == [()] * len(numbers)
    found = [thing for thing in tab.things if thing not in things or thing.kind != "basicFilter"]
    bounds = {thing.kind: tab.bounds(thing.area) for thing in found if thing is not last_only}
    assert {kind: area[1] for kind, area in bounds.items() if area} == dict.fromkeys(bounds, 6)
    assert len(bounds) == 5
    (filter,) = (thing for thing in tab.things if thing.kind == "basicFilter")
    assert filter.more == {"criteria": criteria}
    assert tab.bounds(mine) == (1, 6, 1, 2)
    assert tab.bounds(head_only) == (0, 1, 0, 1)
    assert tab.bounds(last_only.area) == (2, 3, 0, 1)
    assert [tab.rows[row].cells.get(tab.columns[5], {}).get("dataValidation") for row in (5, 6)] == [choice, None]
    assert first_column(tab, 7)[-1] == "TOTAL"


def test_a_filter_on_the_header_alone_covers_the_first_rows(file: SheetsFile) -> None:
    tab = file.book.add("Affiliates", [heads])
    tab.cover("basicFilter", 0, 1, 0, 5)
    protect(tab, 1, 0, 1, editable=True)
    write(file, 41, 42)
    assert [tab.bounds(thing.area) for thing in tab.things] == [(0, 3, 0, 5)]
    assert tab.bounds(tab.protected[0]) == (0, 1, 1, 2)


def test_a_protected_range_of_somebody_that_does_not_grow_is_reported_once(file: SheetsFile) -> None:
    tab = file.book.add("Affiliates", [[*heads, "Notes"], ["firstpromoter:9"]])
    protect(tab, 5, 0, 2)
    notices = write(file, 41, 42)
    assert notices == ['the protected range "Notes" ends at row 2 and does not cover the new rows below it']


@pytest.mark.parametrize(("refused", "rows_of_table"), [(b"updateTable", 2), (b"copyPaste", 3)])
def test_where_google_refuses_that_a_range_grows_the_rows_are_written_and_it_is_reported(
    file: SheetsFile, refused: bytes, rows_of_table: int
) -> None:
    tab = file.book.add("Affiliates", [heads, ["firstpromoter:9"]])
    table = tab.cover("tables", 0, 2, 0, 5, tableId="t1", name="Partners")
    tab.put(1, 3, None, dataValidation={"condition": {"type": "ONE_OF_LIST"}})
    oops = Reply(400, {"error": {"code": 400, "message": "Invalid requests[9]: not now"}})
    file.server.fault_for = lambda call: Fault("status", oops) if refused in call.body else None
    assert any("not cover the new rows" in notice for notice in write(file, 41))
    assert first_column(tab, 3)[1:] == ["firstpromoter:9", "firstpromoter:41"]
    assert tab.bounds(table.area) == (0, rows_of_table, 0, 5)


# ---------------------------------------------------------------- headers


def test_headers_count_whatever_their_case_and_the_blanks_around_them(file: SheetsFile) -> None:
    tab = file.book.add("Affiliates", [["ID ", "name", "Email\u00a0", "STATUS", " Balance"]], columns=5)
    assert write(file, 41) == []
    assert tab.grid(2) == [
        ["ID ", "name", "Email\u00a0", "STATUS", " Balance"],
        ["firstpromoter:41", "Ada 41", "ada41@example.com", "Active", 41.5],
    ]


def test_check_says_which_headers_could_be_meant(file: SheetsFile) -> None:
    file.book.add("Affiliates", [["ID", "name", "NAME", "Email", "Status", "Balance"]])
    (finding,) = (item for item in file.sink().check(target(file)) if item.subject == "Name")
    assert 'B1 ("name")' in finding.text
    assert 'C1 ("NAME")' in finding.text


def test_computed_headers_are_used_and_never_typed_over(file: SheetsFile) -> None:
    array = '={"ID","Name","Email"}'
    tab = file.book.add("Affiliates", [[array, None, None, '="Status"', "Own"]], columns=6)
    write(file, 41)
    assert file.book.seen("Affiliates")[0] == ["ID", "Name", "Email", "Status", "Balance", "Own", None]
    assert tab.grid(2)[0][:5] == [("formula", array), None, None, ("formula", '="Status"'), "Balance"]
    assert tab.grid(2)[1] == ["firstpromoter:41", "Ada 41", "ada41@example.com", "Active", 41.5, None, None]


def test_a_column_that_an_array_formula_fills_is_left_alone(file: SheetsFile) -> None:
    array = '={"Status";ARRAYFORMULA(IF(E2:E="","",E2:E*1))}'
    tab = file.book.add("Affiliates", [["ID", "Name", "Email", array, "Balance"]])
    notices = write(file, 41, 42)
    assert [line[3] for line in file.book.seen("Affiliates")[:3]] == ["Status", 41.5, 42.5]
    assert [line[3] for line in tab.grid(3)] == [("formula", array), None, None]
    assert notices == ['the column "Status" is filled by a formula, which a value would break, so it is left alone']


def test_an_array_further_below_is_no_formula_for_the_columns(file: SheetsFile) -> None:
    tab = file.book.add("Affiliates", [heads])
    tab.put(20, 1, '={"Ada","ada@example.com"}')
    tab.put(21, 1, '={"Bob";"Zoe"}')
    assert write(file, 41, 42) == []
    assert [line[:2] for line in tab.grid(4)[1:]] == [
        ["firstpromoter:41", "Ada 41"], ["firstpromoter:42", "Ada 42"], [None, None],
    ]  # fmt: skip
    assert [line[1] for line in file.book.seen("Affiliates")[21:24]] == ["Ada", "Bob", "Zoe"]


def test_keys_that_an_array_makes_find_their_rows_and_no_row_is_added_to_it(file: SheetsFile) -> None:
    array = '={"ID";"firstpromoter:41";"firstpromoter:42"}'
    tab = file.book.add("Affiliates", [[array, *heads[1:]]])
    sink = file.sink()
    outcomes = sink.write(target(file), [affiliate(41), affiliate(42)])
    assert {outcome.kind for outcome in outcomes} == {"written"}
    with pytest.raises(NeedsAction, match="made by a formula"):
        sink.write(target(file), [affiliate(42, "7"), affiliate(43)])
    assert [line[0] for line in file.book.seen("Affiliates")[:4]] == [
        "ID",
        "firstpromoter:41",
        "firstpromoter:42",
        None,
    ]
    assert [line[4] for line in tab.grid(4)[1:]] == [41.5, 7, None]


def delete_row(file: SheetsFile, row: int) -> None:
    span = {"sheetId": file.tab.id, "dimension": "ROWS", "startIndex": row, "endIndex": row + 1}
    file.book.edit({"deleteDimension": {"range": span}})


@pytest.mark.parametrize("most_cells", [100_000, 100])
def test_without_its_header_row_the_tab_is_left_alone_until_it_is_back(file: SheetsFile, most_cells: int) -> None:
    class Sized(GoogleSheets):
        limits = Limits(whole_tab_cells=most_cells)

    file.book.add("Affiliates", [heads])
    sink = file.sink(kind=Sized)
    sink.write(target(file), [affiliate(41), affiliate(42)])
    delete_row(file, 0)
    before = file.tab.grid(4)
    for rows in ([affiliate(41, "7")], [affiliate(43)], [replace(affiliate(42, "8"), last=affiliate(42).cells)]):
        with pytest.raises(NeedsAction, match=r"header row .* is gone.*Insert a row above"):
            sink.write(target(file), rows)
    assert file.tab.grid(4) == before
    assert [item.subject for item in sink.check(target(file)) if item.level == "problem"] == ["Affiliates"]
    span = {"sheetId": file.tab.id, "dimension": "ROWS", "startIndex": 0, "endIndex": 1}
    file.book.edit({"insertDimension": {"range": span}})
    for place, head in enumerate(heads):
        file.tab.put(0, place, head)
    sink.write(target(file), [affiliate(41, "7"), affiliate(43)])
    assert [row["Balance"] for row in file.table()] == [7, 42.5, 43.5]


def test_a_tab_of_data_without_headers_is_not_given_any_beside_them(file: SheetsFile) -> None:
    tab = file.book.add("Affiliates", [["firstpromoter:41", "Ada"], ["firstpromoter:42", "Bob"]], columns=8)
    with pytest.raises(NeedsAction, match="row 1 is no header"):
        write(file, 41)
    assert tab.grid(1) == [["firstpromoter:41", "Ada", *[None] * 6]]


# ---------------------------------------------------------------- refusals


def test_a_cell_that_validation_refuses_stops_the_route_in_googles_words_and_no_other_row(file: SheetsFile) -> None:
    rows: Sequence[Sequence[Any]] = [heads, *([f"firstpromoter:{number}"] for number in range(20))]
    tab = file.book.add("Affiliates", rows)
    choice = {"condition": {"type": "ONE_OF_LIST", "values": [{"userEnteredValue": "Active"}]}, "strict": True}
    for row in range(1, 21):
        tab.put(row, 3, None, dataValidation=choice)
    sink = file.sink()
    batch = [affiliate(number, Status="Secret word" if number == 7 else "Active") for number in range(20)]
    with pytest.raises(NeedsAction, match=r"D9 violates the data validation rules") as caught:
        sink.write(target(file), batch)
    assert "Secret word" not in caught.value.reason
    assert [line[3] for line in tab.grid(21)[1:]] == [None if number == 7 else "Active" for number in range(20)]

    def again() -> None:
        with pytest.raises(NeedsAction, match="D9"):
            sink.write(target(file), [*batch, affiliate(40)])

    assert len(file.calls_of(again)) <= 10
    assert tab.value(21, 0) == "firstpromoter:40"
    tab.put(8, 3, None, dataValidation={})
    assert {outcome.kind for outcome in sink.write(target(file), batch)} == {"written"}


def test_where_google_refuses_every_row_it_is_not_asked_for_each(file: SheetsFile) -> None:
    tab = file.book.add("Affiliates", [heads, *([f"firstpromoter:{number}"] for number in range(300))])
    choice = {"condition": {"type": "ONE_OF_LIST", "values": [{"userEnteredValue": "On"}]}, "strict": True}
    for row in range(1, 301):
        tab.put(row, 3, None, dataValidation=choice)
    sink = file.sink()

    def refused() -> None:
        with pytest.raises(NeedsAction, match="data validation"):
            sink.write(target(file), [affiliate(number) for number in range(300)])

    assert len(file.calls_of(refused)) < 100
    assert len(file.calls_of(refused)) < 100


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "This operation is not supported for this document",
            r"not supported for this document.*Save as Google Sheets",
        ),
        ("This would go above the limit of 10000000 cells", "spreadsheet is full"),
    ],
)
@pytest.mark.parametrize("later", [False, True])
def test_what_google_refuses_altogether_is_quoted_and_no_reason_to_write_unguarded(
    file: SheetsFile, words: str, said: str, later: bool
) -> None:
    file.book.add("Affiliates", [heads])
    sink = file.sink()
    if later:
        sink.write(target(file), [affiliate(41)])
        said = said.partition(".*")[0]
    oops = Reply(400, {"error": {"code": 400, "message": words}})
    file.server.fault_for = lambda call: Fault("status", oops) if b"updateCells" in call.body else None
    with pytest.raises(NeedsAction, match=said) as caught:
        sink.write(target(file), [affiliate(42)])
    assert "unguarded_writes" not in caught.value.reason


def test_a_refusal_repeats_no_value(file: SheetsFile) -> None:
    file.book.add("Affiliates", [heads, ["firstpromoter:9"]])
    message = 'Invalid requests[3].updateCells: "Ada 41" is wrong, so is ada41@example.com'
    oops = Reply(400, {"error": {"code": 400, "message": message}})
    file.server.fault_for = lambda call: Fault("status", oops) if b"Ada 41" in call.body else None
    with pytest.raises(NeedsAction, match="is wrong") as caught:
        write(file, 41)
    assert "Ada 41" not in caught.value.reason
    assert "ada41@" not in caught.value.reason


# ---------------------------------------------------------------- what check finds


def test_a_redirect_is_not_followed_and_names_the_setting(file: SheetsFile) -> None:
    elsewhere = f"{file.server.url}/elsewhere"

    def answer(call: Call) -> Reply:
        if call.path == "/token":
            return real(call)
        assert not call.path.startswith("/elsewhere"), "followed"
        return Reply(302, {}, {"Location": elsewhere})

    real, file.server.answer = file.server.answer, answer  # type: ignore[method-assign]
    with pytest.raises(NeedsAction, match="base_url"):
        file.sink().check(target(file))
    with pytest.raises(NeedsAction, match="base_url"):
        write(file, 41)


def test_a_sign_in_that_redirects_is_not_followed(file: SheetsFile) -> None:
    real = file.server.answer

    def answer(call: Call) -> Reply:
        assert call.path == "/token", "followed"
        return Reply(307, {}, {"Location": f"{file.server.url}/elsewhere"})

    file.server.answer = answer  # type: ignore[method-assign]
    with pytest.raises(NeedsAction, match="token_uri"):
        file.sink().check(target(file))
    file.server.answer = real  # type: ignore[method-assign]


def test_check_says_that_a_viewer_can_not_write(file: SheetsFile) -> None:
    file.book.add("Affiliates", [heads])
    file.server.denied = "viewer"
    for probe in (False, True):
        (finding,) = (item for item in file.sink().check(target(file), probe=probe) if item.level == "problem")
        assert "Editor" in finding.text
    with pytest.raises(NeedsAction, match="Editor"):
        write(file, 41)


def test_check_says_that_the_spreadsheet_is_in_the_bin_where_google_does(file: SheetsFile) -> None:
    file.server.denied = "in_the_bin"
    with pytest.raises(NeedsAction, match="Bin > Restore"):
        file.sink().check(target(file))


def test_check_says_that_the_key_file_is_missing(file: SheetsFile) -> None:
    with pytest.raises(NeedsAction, match=r"credentials_file .*gone\.json can't be read"):
        file.sink(credentials_file=file.folder / "gone.json").check(target(file))


# ---------------------------------------------------------------- a key that changes


@pytest.mark.parametrize("restarts", [False, True])
def test_a_record_whose_key_changes_keeps_its_row_and_what_people_typed_there(file: SheetsFile, restarts: bool) -> None:
    file.book.add("Affiliates", [[*heads, "Notes"]])
    sink, by_address = file.sink(), target(file, "Email")
    rows = [replace(affiliate(number), key=f"ada{number}@example.com") for number in (41, 42)]
    sink.write(by_address, rows)
    file.tab.put(1, 5, "called")
    moved = replace(affiliate(41, Email="ada@new.example"), key="ada@new.example", moved_from="ada41@example.com")
    if restarts:
        sink.close()
    for _ in range(2):  # the second as after a lost answer
        (outcome,) = sink.write(by_address, [replace(moved, last=rows[0].cells)])
        assert (outcome.key, outcome.kind) == ("ada@new.example", "written")
    assert [(line[2], line[5]) for line in file.tab.grid(4)[1:]] == [
        ("ada@new.example", "called"), ("ada42@example.com", None), (None, None),
    ]  # fmt: skip
