"""The XLSX sink against real workbooks."""

from __future__ import annotations

import re
import time
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from openpyxl.cell.rich_text import CellRichText, TextBlock
from openpyxl.cell.text import InlineFont
from openpyxl.comments import Comment
from openpyxl.formatting.formatting import ConditionalFormattingList
from openpyxl.formatting.rule import CellIsRule, FormulaRule
from openpyxl.styles import Font, PatternFill
from openpyxl.workbook.defined_name import DefinedName
from openpyxl.worksheet.cell_range import MultiCellRange
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.filters import AutoFilter
from openpyxl.worksheet.pagebreak import Break
from openpyxl.worksheet.table import Table

from connector.core.errors import NeedsAction, StartOver, TryLater
from connector.core.row import Cell, Column, Row
from connector.core.sink import Sink, Target
from connector.sinks.files.xlsx_book import XlsxBook
from connector.sinks.files.xlsx_file import XlsxFile, XlsxOptions
from tests.sinks import promises
from tests.sinks.killing import kill_writers
from tests.sinks.promises import Harness, Memory, SinkPromises, full_row


class XlsxHarness(Harness):
    """The workbook is read and edited with openpyxl."""

    has_rows_below = True

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / "affiliates.xlsx"
        self.options = XlsxOptions(type="xlsx", mappings=("m.toml",), path=self.path)

    def sink(self) -> Sink:
        return XlsxFile("local", self.options, self.host)

    def target(self, columns: Sequence[Column], **options: Any) -> Target:
        return Target("local/m", tuple(columns), "Key", XlsxFile.TargetOptions(**options), "m.toml")

    def book(self) -> Any:
        return openpyxl.load_workbook(self.path)

    def table(self) -> list[list[Any]]:
        return [list(row) for row in self.book()["Affiliates"].iter_rows()] if self.path.exists() else []

    def rows(self) -> list[dict[str, Cell]]:
        header, *rows = self.table() or [[]]
        types = {column.name: column.type for column in promises.columns}
        return [
            {
                str(name.value): _typed(types.get(str(name.value), "text"), cell)
                for name, cell in zip(header, row, strict=True)
            }
            for row in rows
        ]

    def state(self) -> object:
        if not self.path.exists():
            return sorted(path.name for path in self.path.parent.iterdir())
        found = self.path.stat()
        return found.st_ino, found.st_mtime_ns, self.path.read_bytes()

    def person_adds_column(self, name: str, cells: Mapping[str, str]) -> None:
        book = self.book()
        sheet = book["Affiliates"]
        column = sheet.max_column + 1
        sheet.cell(1, column).value = name
        key = next(cell.column for cell in sheet[1] if cell.value == "Key")
        for row in range(2, sheet.max_row + 1):
            sheet.cell(row, column).value = cells.get(sheet.cell(row, key).value)
        book.save(self.path)

    def person_adds_row(self, cells: Mapping[str, str]) -> None:
        book = self.book()
        sheet = book["Affiliates"]
        sheet.append([cells.get(cell.value) for cell in sheet[1]])
        book.save(self.path)

    def person_edits(self, key: str, column: str, text: str) -> None:
        book = self.book()
        sheet = book["Affiliates"]
        at = {cell.value: cell.column for cell in sheet[1]}
        for row in range(2, sheet.max_row + 1):
            if sheet.cell(row, at["Key"]).value == key:
                sheet.cell(row, at[column]).value = text or None
        book.save(self.path)

    def person_reorders(self) -> None:
        book = self.book()
        sheet = book["Affiliates"]
        header, *rows = [[(cell.value, cell.number_format) for cell in row] for row in sheet.iter_rows()]
        for number, row in enumerate([header, *rows[::-1]], start=1):
            for column, (value, number_format) in enumerate(row[::-1], start=1):
                sheet.cell(number, column).value = value
                sheet.cell(number, column).number_format = number_format
        book.save(self.path)

    def person_adds_below(self, rows: Sequence[Mapping[str, str]]) -> None:
        book = self.book()
        sheet = book["Affiliates"]
        header = [cell.value for cell in sheet[1]]
        for cells in rows:
            sheet.append([cells.get(name) for name in header])
        book.save(self.path)

    def formulas(self) -> list[str]:
        return [str(cell.value) for row in self.table() for cell in row if cell.data_type not in "snbd"]


def _typed(kind: str, cell: Any) -> Cell:
    value = cell.value
    if isinstance(value, str):
        value = re.sub("_x([0-9A-Fa-f]{4})_", lambda found: chr(int(found[1], 16)), value)
        return tuple(value.split(", ")) if kind == "list" else value
    if isinstance(value, datetime):
        return value.date() if kind == "date" else value.replace(tzinfo=UTC)
    if isinstance(value, int | float) and kind == "money":
        return Decimal(repr(value))
    assert value is None or isinstance(value, int | bool)
    return value


class TestTheXlsxFileKeepsThePromises(SinkPromises):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> Harness:
        return XlsxHarness(tmp_path)


@pytest.fixture
def harness(tmp_path: Path) -> XlsxHarness:
    return XlsxHarness(tmp_path)


name_only = (Column("Key"), Column("Name"))


def test_cells_are_typed_and_text_that_looks_typed_stays_text(harness: XlsxHarness) -> None:
    cells: dict[str, Cell] = {"Name": "00420", "Number": 10**16, "Balance": Decimal("507.40")}
    harness.sink().write(harness.target(promises.columns), [full_row("a:1", **cells)])
    header, row_one = harness.table()
    found = {
        name.value: (cell.value, cell.data_type, cell.number_format) for name, cell in zip(header, row_one, strict=True)
    }
    assert found == {
        "Key": ("a:1", "s", "@"),
        "Name": ("00420", "s", "@"),
        "Phone": ("+442071838750", "s", "@"),
        "Number": ("10000000000000000", "s", "@"),
        "Balance": (507.4, "n", '"$"#,##0.00_);-"$"#,##0.00_)'),
        "Active": (False, "b", "General"),
        "Joined": (datetime(2026, 2, 3), "d", "d mmm yyyy"),  # noqa: DTZ001 - Excel knows no zones
        "Seen": (datetime(2026, 2, 3, 4, 5, 6), "d", "d mmm yyyy, hh:mm"),  # noqa: DTZ001
        "Tags": ("vip, uk", "s", "General"),
    }


looked_at = (
    Column("ID", overwrite="always", paths=("id",)),
    Column("Balance", type="money", overwrite="always", paths=("balances.current.cash",)),
    Column("Name", paths=("name", "company", "email")),
    Column("Joined", type="date", overwrite="only_if_empty", paths=("created_at",)),
    Column("Link", type="url", paths=("referral_link",)),
    Column("State", paths=("status",), words=(("pending", 'Waits "for" us'), ("active", "OK"), ("inactive", "OK"))),
    Column("Removed", type="date", overwrite="always"),
)


def look_target() -> Target:
    options = XlsxFile.TargetOptions(removed_records="mark")
    return Target("local/m", looked_at, "ID", options, "m.toml")


def look_row(number: int, **cells: Cell) -> Row:
    given: dict[str, Cell] = {
        "ID": f"a:{number}", "Balance": Decimal("-5.5"), "Name": "N" * 40, "Joined": date(2026, 2, 3),
        "Link": f"https://www.example.com/?via={number}#top", "State": "OK",
    }  # fmt: skip
    return Row(f"a:{number}", f"a:{number}", {**given, **cells})


def test_a_new_tab_is_dressed_once(harness: XlsxHarness) -> None:
    harness.sink().write(look_target(), [look_row(1), look_row(2)])
    book = harness.book()
    assert book.sheetnames == ["Affiliates"]
    sheet = book["Affiliates"]
    assert [cell.value for cell in sheet[1]] == ["Name", "State", "Balance", "Joined", "Link", "Removed", "ID"]
    assert (sheet.freeze_panes, sheet.auto_filter.ref, sheet.print_area) == ("B2", "A1:G3", "'Affiliates'!$A$1:$F$3")
    assert (sheet.print_title_rows, sheet.print_title_cols) == ("$1:$1", "$A:$A")  # on each printed page
    assert (sheet["A1"].font.bold, sheet["A1"].fill.start_color.rgb, sheet["A1"].font.name) == (
        True,
        "00E4E7F8",
        "Arial",
    )
    assert sheet.column_dimensions["A"].width == 42.14  # 7 pixels for each of 40 letters, and 20 more
    assert (sheet.row_dimensions[1].height, sheet.sheet_format.defaultRowHeight) == (30, 19.5)
    assert sheet["A1"].comment.text == (
        "Who it is: name, else company, else e-mail address.\nFrom: Name"
        "\nIf you type here: it stays until the platform has a newer value."
        "\nLast updated: 20 Nov 2026, 12:00 UTC"
    )
    assert sheet["C1"].comment.text.endswith("From: Current balance\nDon't type here: the platform's value comes back.")
    assert sheet["G1"].comment.text.endswith("From: ID\nDon't change it: it finds the row. Sort as you like.")
    assert {cell.column_letter: cell.number_format for cell in sheet[3]} == {
        "A": "General", "B": "General", "C": "#,##0.00#_);-#,##0.00#_)", "D": "d mmm yyyy", "E": "General",
        "F": "d mmm yyyy", "G": "@",
    }  # fmt: skip
    rules = [(str(each.sqref), rule.formula) for each in sheet.conditional_formatting for rule in each.rules]
    assert rules == [
        ("B2:B3", ['"Waits ""for"" us"']),  # "OK" is trouble for nobody
        ("C2:C3", ["0"]),
        ("A2:G3", ['$F2<>""']),
        ("A2:G3", ['AND($G2<>"",ISODD(ROW()))']),
    ]


def test_a_link_is_short_clickable_and_written_again_only_when_its_address_is_another(harness: XlsxHarness) -> None:
    harness.sink().write(look_target(), [look_row(1), look_row(2, Link="ftp://example.com")])
    sheet = harness.book()["Affiliates"]
    assert (sheet["E2"].value, sheet["E2"].hyperlink.target) == (
        "example.com/?via=1#top", "https://www.example.com/?via=1#top"
    )  # fmt: skip
    assert (sheet["E3"].value, sheet["E3"].hyperlink) == ("ftp://example.com", None)
    before = harness.state()
    harness.sink().write(look_target(), [look_row(1)])
    assert harness.state() == before
    (change,) = harness.sink().preview(look_target(), [look_row(1, Link="http://example.com/?via=1#top")])
    assert change.cells == {"Link": ("https://www.example.com/?via=1#top", "http://example.com/?via=1#top")}
    harness.sink().write(look_target(), [look_row(1, Link="http://example.com/?via=1#top"), look_row(2)])
    sheet = harness.book()["Affiliates"]
    assert (sheet["E2"].value, sheet["E2"].hyperlink.target) == (
        "example.com/?via=1#top", "http://example.com/?via=1#top"
    )  # fmt: skip
    harness.sink().write(look_target(), [look_row(1, Link="nowhere")])
    sheet = harness.book()["Affiliates"]
    assert (sheet["E2"].value, sheet["E2"].hyperlink, sheet["E3"].hyperlink.ref) == ("nowhere", None, "E3")


def test_the_look_belongs_to_people_afterwards(harness: XlsxHarness) -> None:
    target = look_target()
    harness.sink().write(target, [look_row(1)])
    book = harness.book()
    sheet = book["Affiliates"]
    sheet["A1"].fill = PatternFill("solid", start_color="FF0000")
    sheet["A2"].font = Font(name="Courier New")
    sheet["C2"].number_format = "0.0"
    sheet["C1"].comment = None
    sheet["A1"].comment = Comment("mine", "Connector")
    sheet.column_dimensions["A"].width = 9
    sheet.conditional_formatting = ConditionalFormattingList()
    sheet.freeze_panes = None
    book.save(harness.path)
    harness.host.advance(3_600)
    harness.sink().write(target, [look_row(1, Name="Newer", Balance=Decimal(7)), look_row(2)])
    sheet = harness.book()["Affiliates"]
    assert (sheet["A1"].fill.start_color.rgb, sheet["A2"].font.name, sheet["C2"].number_format) == (
        "00FF0000", "Courier New", "0.0"
    )  # fmt: skip
    assert (sheet["A2"].value, sheet["C2"].value, sheet["C1"].comment, sheet["A1"].comment.text) == (
        "Newer", 7, None, "mine"
    )  # fmt: skip
    assert (sheet.column_dimensions["A"].width, sheet.freeze_panes) == (9, None)
    assert not sheet.conditional_formatting
    assert (sheet["A3"].font.bold, sheet["C3"].number_format) == (True, "#,##0.00#_);-#,##0.00#_)")  # a new row is ours


def test_a_tab_of_people_keeps_its_look_and_gets_values_and_links(harness: XlsxHarness) -> None:
    save_people(harness, [["ID", "Name", "Link"]])
    harness.sink().write(look_target(), [look_row(1)])
    sheet = harness.book()["Affiliates"]
    assert [cell.value for cell in sheet[1]] == ["ID", "Name", "Link", "Balance", "Joined", "State", "Removed"]
    assert (sheet["B2"].font.bold, sheet["A1"].comment, sheet.freeze_panes) == (False, None, None)
    assert (sheet["C2"].value, sheet["C2"].hyperlink.target, sheet["E2"].number_format) == (
        "example.com/?via=1#top", "https://www.example.com/?via=1#top", "yyyy-mm-dd"
    )  # fmt: skip
    assert not sheet.conditional_formatting


def test_an_empty_tab_of_people_is_dressed_like_a_new_one(harness: XlsxHarness) -> None:
    save_people(harness, [])
    harness.sink().write(look_target(), [look_row(1)])
    sheet = harness.book()["Affiliates"]
    assert (sheet["A1"].value, sheet["A1"].font.bold, sheet.freeze_panes) == ("Name", True, "B2")


def test_the_note_says_when_the_tab_was_written_at_most_every_quarter_of_an_hour(harness: XlsxHarness) -> None:
    updated = []
    for number in range(4):
        harness.sink().write(look_target(), [look_row(number)])
        note = harness.book()["Affiliates"]["A1"].comment
        assert (note.width, note.height) == (144, 79)  # openpyxl's own, it does not read the size
        updated.append(note.text.rpartition("updated: ")[2])
        harness.host.advance(600)
    with zipfile.ZipFile(harness.path) as book:
        drawings = [book.read(name).decode() for name in book.namelist() if name.endswith(".vml")]
    assert "width:300px" in drawings[0]
    assert updated == [f"20 Nov 2026, 12:{minute} UTC" for minute in ("00", "00", "20", "20")]


def test_a_column_that_is_added_later_to_our_tab_is_dressed_too(harness: XlsxHarness) -> None:
    first = Row("a:1", "a:1", {"ID": "a:1", "Name": "Ada"})
    harness.sink().write(replace(look_target(), columns=looked_at[:4]), [first])
    harness.sink().write(look_target(), [look_row(1)])
    sheet = harness.book()["Affiliates"]
    assert [cell.value for cell in sheet[1]][4:] == ["Link", "State", "Removed"]
    assert (sheet["E1"].font.bold, sheet["E1"].comment.text.splitlines()[1]) == (True, "From: Referral link")
    assert sheet["E2"].font.color.rgb == "003348C9"


def test_a_computed_key_is_found_and_keeps_its_result(harness: XlsxHarness) -> None:
    save_people(harness, [["Key", "Name", "Nr"], ['="a:"&C2', "Ada", 1], ["a:2", "Bob", 2], ['="TO"&"TAL"', None, 3]])
    with pytest.raises(NeedsAction, match=r"cell A2 .*save it"):
        harness.sink().write(harness.target(name_only), [promises.row("a:1", Name="Eve")])
    give_results(harness.path, {"A2": "a:1", "A4": "TOTAL"})
    for name in ("Eve", "Fay"):
        harness.sink().write(
            harness.target(name_only), [promises.row("a:1", Name=name), promises.row("a:3", Name="Cy")]
        )
        assert values(harness)[1:] == [
            ['="a:"&C2', name, 1], ["a:2", "Bob", 2], ["a:3", "Cy", None], ['="TO"&"TAL"', None, 3]
        ]  # fmt: skip


def test_more_links_than_excel_takes_are_written_as_text(harness: XlsxHarness) -> None:
    book = openpyxl.Workbook()
    table = XlsxBook(book).table(look_target())
    table.add_columns(looked_at)
    sheet = book["Affiliates"]
    sheet["Z9"].hyperlink = "https://example.com"
    table.most_links = 4
    link = table.encode(looked_at[4], "https://example.com/x")
    for row in range(2, 7):
        table.update(row, {4: (looked_at[4], link)})
    assert [sheet.cell(row, 5).hyperlink is not None for row in range(2, 7)] == [True] * 3 + [False] * 2
    assert sheet["E6"].value == "https://example.com/x"


def test_amounts_show_the_currency_that_their_row_names(harness: XlsxHarness) -> None:
    columns = (*balance[:2], replace(balance[2], currency=None), Column("In", paths=("currency",)))
    target = harness.target(columns)
    rows = [
        promises.row(f"a:{number}", Balance=Decimal(5), In=currency)
        for number, currency in enumerate(["USD", "JPY", "CHF", None, "points"])
    ]
    harness.sink().write(target, rows)

    def formats() -> list[str]:
        return [cell.number_format.partition("_)")[0] for cell in harness.book()["Affiliates"]["B"][1:]]

    assert formats() == ['"$"#,##0.00', '"¥"#,##0', '"CHF\u00a0"#,##0.00', "#,##0.00#", "#,##0.00#"]
    book = harness.book()
    book["Affiliates"]["B3"].number_format = "0.0"
    book.save(harness.path)
    harness.sink().write(target, [promises.row("a:0", Balance=Decimal(5), In="EUR"), promises.row("a:1", In="EUR")])
    assert formats()[:2] == ['"€"#,##0.00', "0.0"]


@settings(max_examples=40)
@given(st.sets(st.integers(2, 9), min_size=1))
def test_the_rows_that_are_dropped_are_gone_and_the_others_keep_their_order(gone: set[int]) -> None:
    book = filled_book(8)
    XlsxBook(book).table(keyed_target()).drop(gone)
    kept = [f"a:{row}" for row in range(2, 10) if row not in gone]
    assert [cells[0] for cells in book["Affiliates"].values] == ["Key", *kept]


def test_dropping_many_rows_moves_the_others_once() -> None:
    def seconds(gone: Iterable[int]) -> float:
        table = XlsxBook(filled_book(4_000)).table(keyed_target())
        started = time.process_time()
        table.drop(gone)
        return time.process_time() - started

    assert seconds(range(2, 4_000, 100)) < 8 * seconds([2])


def keyed_target() -> Target:
    return Target("local/m", name_only, "Key", XlsxFile.TargetOptions(), "m.toml")


def filled_book(rows: int) -> Any:
    book = openpyxl.Workbook()
    book.active.title = "Affiliates"
    book.active.append(["Key", "Name"])
    for row in range(2, rows + 2):
        book.active.append([f"a:{row}", "Ada"])
    return book


def test_peoples_tabs_formats_formulas_and_table_are_kept(harness: XlsxHarness) -> None:
    book = openpyxl.Workbook()
    book.active.title = "Notes"
    book.active["B2"] = "=SUM(Affiliates!C2:C9)"
    sheet = book.create_sheet("Affiliates")
    for cells in (
        ["Title of ours"],
        [],
        ["Name", "Double", "Key"],
        ["Ada", "=LEN(A4)", "a:1"],
        ["Bob", "=LEN(A5)", "a:2"],
    ):
        sheet.append(cells)
    sheet.delete_rows(1, 2)
    sheet["A2"].number_format = "0.000"
    sheet["A2"].font = Font(italic=True)
    sheet["B1"].comment = Comment("mine", "me")
    sheet.add_table(Table(displayName="T", ref="A1:C3"))
    sheet.row_dimensions[2].height = 40
    book.save(harness.path)
    target = harness.target(name_only, removed_records="delete")
    harness.sink().write(target, [promises.row("a:1", Name="=Ada"), promises.row("a:3", Name="Cy")])
    harness.sink().write(target, [Row("a:2", "a:2", {"Key": "a:2"}, remove=True)])
    book = harness.book()
    sheet = book["Affiliates"]
    assert book.sheetnames == ["Notes", "Affiliates"]
    assert book["Notes"]["B2"].value == "=SUM(Affiliates!C2:C8)"  # as Excel has it when a row is deleted
    assert [[cell.value for cell in cells] for cells in sheet.iter_rows()] == [
        ["Name", "Double", "Key"],
        ["=Ada", "=LEN(A3)", "a:1"],  # the formula keeps pointing to the row that it named
        ["Cy", None, "a:3"],
    ]
    assert sheet["A2"].data_type == "s"
    assert sheet["B2"].data_type == "f"
    assert (sheet["A2"].number_format, sheet["A2"].font.italic, sheet.row_dimensions[2].height) == ("0.000", True, 40)
    assert sheet["B1"].comment.text == "mine"
    assert sheet.tables["T"].ref == "A1:C3"


def save_people(harness: XlsxHarness, rows: Iterable[Sequence[Any]]) -> Any:
    """A workbook of people with one tab "Affiliates"."""
    book = openpyxl.Workbook()
    book.active.title = "Affiliates"
    for cells in rows:
        book.active.append(cells)
    book.save(harness.path)
    return book


def values(harness: XlsxHarness) -> list[list[Any]]:
    return [[cell.value for cell in cells] for cells in harness.book()["Affiliates"].iter_rows()]


def test_headers_are_found_whatever_their_case_and_invisible_characters(harness: XlsxHarness) -> None:
    save_people(harness, [["key\u00a0", "NA\u00adME", " balance", "BALANCE "], ["a:1", "Ada", 1, 2]])
    harness.sink().write(harness.target(balance), [promises.row("a:1", Name="Bob", Balance=3)])
    assert values(harness) == [  # which "Balance" is meant, nobody can say
        ["key\u00a0", "NA\u00adME", " balance", "BALANCE ", "Balance"],
        ["a:1", "Bob", 1, 2, 3],
    ]
    save_people(harness, [["Key", "Name", " balance", "BALANCE "], ["a:1", "Ada", 1, 2]])
    findings = {each.subject: each.text for each in harness.sink().check(harness.target(balance))}
    assert "which of  balance, BALANCE  is meant?" in findings["Balance"]


@pytest.mark.parametrize("how", ["deleted", "emptied"])
def test_a_header_row_that_vanished_stops_the_route(harness: XlsxHarness, how: str) -> None:
    target = harness.target(name_only)
    harness.sink().write(target, [promises.row("a:1", Name="Ada"), promises.row("a:2", Name="Bob")])
    book = harness.book()
    if how == "deleted":
        book["Affiliates"].delete_rows(1)
    else:
        for cell in book["Affiliates"][1]:
            cell.value = None
    book.save(harness.path)
    before = harness.state()
    with pytest.raises(NeedsAction, match=r'no column "Key".*add "Key" there'):
        harness.sink().write(target, [promises.row("a:1", Name="Ada"), promises.row("a:3", Name="Cy")])
    assert harness.state() == before


def test_a_header_that_was_sorted_below_rows_stops_the_route(harness: XlsxHarness) -> None:
    save_people(harness, [["a:1", "Ada"], ["Key", "Name"], ["a:2", "Bob"]])
    before = harness.state()
    with pytest.raises(NeedsAction, match=r'above its header row.*"Key" above them'):
        harness.sink().write(harness.target(name_only), [promises.row("a:2", Name="B"), promises.row("a:1", Name="A")])
    assert harness.state() == before


@pytest.mark.parametrize("above", [[], [["Our affiliates"]], [["Our affiliates", 2026], [], ["made", "by", "me"]]])
@pytest.mark.parametrize("blank", [0, 2])
def test_the_header_is_found_below_a_title_and_blank_rows(harness: XlsxHarness, above: list[Any], blank: int) -> None:
    save_people(harness, [*[[] for _ in range(blank)], *above, ["Name", "key"], ["Ada", "a:1"]])
    harness.sink().write(harness.target(name_only), [promises.row("a:1", Name="Bob"), promises.row("a:2", Name="Cy")])
    found = [[value for value in cells if value is not None] for cells in values(harness)]
    assert found == [*[[] for _ in range(blank)], *above, ["Name", "key"], ["Bob", "a:1"], ["Cy", "a:2"]]


def give_results(path: Path, results: Mapping[str, str]) -> None:
    """Save what formulas show, by cell, as Excel does."""
    with zipfile.ZipFile(path) as book:
        parts = {name: book.read(name).decode("utf-8", "surrogateescape") for name in book.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    for cell, shown in results.items():
        parts[sheet], times = re.subn(
            rf'<c r="{cell}"([^>]*)><f>(.*?)</f><v ?/?>(</v>)?</c>',
            rf'<c r="{cell}"\1 t="str"><f>\2</f><v>{shown}</v></c>',
            parts[sheet],
        )
        assert times == 1
    with zipfile.ZipFile(path, "w") as book:
        for name, text in parts.items():
            book.writestr(name, text.encode("utf-8", "surrogateescape"))


def test_a_computed_header_is_used_and_never_typed_over(harness: XlsxHarness) -> None:
    save_people(harness, [["Key", '="na"&"me"', '=YEAR(1)&" <all>"'], ["a:1", "Ada", None]])
    give_results(harness.path, {"B1": "name", "C1": "1900 &lt;all&gt;"})
    for number in range(3):
        harness.sink().write(harness.target(balance), [promises.row("a:1", Name=f"Name {number}", Balance=number)])
        assert values(harness) == [
            ["Key", '="na"&"me"', '=YEAR(1)&" <all>"', "Balance"],
            ["a:1", f"Name {number}", None, number],
        ]
        shown = openpyxl.load_workbook(harness.path, data_only=True)["Affiliates"]
        assert [cell.value for cell in shown[1]] == ["Key", "name", "1900 <all>", "Balance"]


def test_a_computed_header_whose_result_nobody_knows_stops_the_route(harness: XlsxHarness) -> None:
    save_people(harness, [["Key", '="na"&"me"'], ["a:1", "Ada"]])
    before = harness.state()
    with pytest.raises(NeedsAction, match=r"cell B1 .*save it"):
        harness.sink().write(harness.target(name_only), [promises.row("a:1", Name="Bob")])
    assert harness.state() == before
    assert any(finding.level == "problem" for finding in harness.sink().check(harness.target(name_only)))
    harness.sink().write(harness.target([Column("Key")]), [promises.row("a:2")])
    assert harness.has("a:2")


balance = (*name_only, Column("Balance", type="money", currency="USD"))


def test_an_excel_table_grows_above_its_totals_row(harness: XlsxHarness) -> None:
    book = save_people(
        harness,
        [
            ["Key", "Name", "Balance"],
            ["a:41", "Old", 1],
            ["a:9", "Zoe", 3],
            ["Total", None, "=SUBTOTAL(109,Partners[Balance])"],
        ],
    )
    table = Table(displayName="Partners", ref="A1:C4", totalsRowCount=1, autoFilter=AutoFilter(ref="A1:C3"))
    book.active.add_table(table)
    book.save(harness.path)
    for _ in range(2):
        harness.sink().write(
            harness.target(balance),
            [promises.row("a:41", Name="Ada", Balance=5), promises.row("a:42", Name="Grace", Balance=7)],
        )
        assert values(harness) == [
            ["Key", "Name", "Balance"],
            ["a:41", "Ada", 5],
            ["a:9", "Zoe", 3],
            ["a:42", "Grace", 7],
            ["Total", None, "=SUBTOTAL(109,Partners[Balance])"],
        ]
        table = harness.book()["Affiliates"].tables["Partners"]
        assert (table.ref, table.autoFilter.ref, table.totalsRowCount) == ("A1:C5", "A1:C4", 1)


def test_rows_that_are_prepared_with_formulas_and_false_are_taken(harness: XlsxHarness) -> None:
    prepared = [[None, None, None, f"=C{row}*2", False] for row in (2, 3)]
    book = save_people(
        harness, [["Key", "Name", "Balance", "Twice", "Called"], *prepared, [None, "TOTAL", "=SUM(C2:C3)"]]
    )
    book.create_sheet("Summary")["A1"] = "=SUM(Affiliates!C2:C100)"
    book.save(harness.path)
    for number in (41, 42, 43):
        harness.sink().write(harness.target(balance), [promises.row(f"a:{number}", Name="Ada", Balance=number)])
    assert values(harness)[1:] == [
        ["a:41", "Ada", 41, "=C2*2", False],
        ["a:42", "Ada", 42, "=C3*2", False],
        ["a:43", "Ada", 43, None, None],
        [None, "TOTAL", "=SUM(C2:C4)", None, None],
    ]
    assert harness.book()["Summary"]["A1"].value == "=SUM(Affiliates!C2:C101)"


def test_a_totals_row_that_counts_the_keys_needs_no_result(harness: XlsxHarness) -> None:
    book = save_people(harness, [["Key", "Name"], ["a:1", "Ada"], ["=SUBTOTAL(103,T[Key])", None]])
    book.active.add_table(Table(displayName="T", ref="A1:B3", totalsRowCount=1, autoFilter=AutoFilter(ref="A1:B2")))
    book.save(harness.path)
    harness.sink().write(harness.target(name_only), [promises.row("a:2", Name="Bob")])
    assert values(harness)[1:] == [["a:1", "Ada"], ["a:2", "Bob"], ["=SUBTOTAL(103,T[Key])", None]]


def test_a_table_does_not_lose_its_last_row(harness: XlsxHarness) -> None:
    book = save_people(harness, [["Key", "Name"], ["a:1", "Ada"], ["Total", "=COUNTA(T[Name])"]])
    book.active.add_table(Table(displayName="T", ref="A1:B3", totalsRowCount=1, autoFilter=AutoFilter(ref="A1:B2")))
    book.save(harness.path)
    target = harness.target(name_only, removed_records="delete")
    harness.sink().write(target, [Row("a:1", "a:1", {"Key": "a:1"}, remove=True)])
    assert values(harness)[1:] == [[None, None], ["Total", "=COUNTA(T[Name])"]]
    harness.sink().write(target, [promises.row("a:2", Name="Bob")])
    assert values(harness)[1:] == [["a:2", "Bob"], ["Total", "=COUNTA(T[Name])"]]
    assert harness.book()["Affiliates"].tables["T"].ref == "A1:B3"


def test_a_total_below_stays_last_and_counts_the_new_rows(harness: XlsxHarness) -> None:
    book = save_people(
        harness,
        [["Key", "Name", "Balance"], ["a:1", "Ada", 1], ["a:2", "Bob", 2], ["TOTAL", "=Summary!A1", "=SUM(C2:C3)"]],
    )
    summary = book.create_sheet("Summary")
    summary["A1"] = "=Affiliates!C4*2+SUM(Affiliates!C2:C3)"
    summary["A2"] = '=IF(Affiliates!A$2="C4 and C2:C3",SUM(Other!C2:C3),LOG10(C4))'
    sheet = book["Affiliates"]
    sheet["A4"].font = Font(bold=True)
    sheet["A4"].comment = Comment("mine", "me")
    sheet["B4"].hyperlink = "https://example.com"
    sheet.merge_cells("A6:B7")
    sheet["A6"] = "=C4"
    sheet.row_dimensions[4].height = 33
    sheet.row_breaks.append(Break(4))
    sheet.print_area = "A1:C4"
    book.defined_names["total"] = DefinedName("total", attr_text="Affiliates!$C$4")
    book.defined_names["all"] = DefinedName("all", attr_text="Affiliates!$C$2:$C$3")
    book.save(harness.path)
    harness.sink().write(harness.target(balance), [promises.row(f"a:{at}", Name="New", Balance=at) for at in (3, 4)])
    assert [cells[:1] + cells[2:] for cells in values(harness)] == [
        ["Key", "Balance"], ["a:1", 1], ["a:2", 2], ["a:3", 3], ["a:4", 4], ["TOTAL", "=SUM(C2:C5)"], [None, None],
        ["=C6", None], [None, None],
    ]  # fmt: skip
    book = harness.book()
    sheet, summary = book["Affiliates"], book["Summary"]
    assert summary["A1"].value == "=Affiliates!C6*2+SUM(Affiliates!C2:C5)"
    assert summary["A2"].value == '=IF(Affiliates!A$2="C4 and C2:C3",SUM(Other!C2:C3),LOG10(C4))'
    assert (sheet["A6"].font.bold, sheet["A6"].comment.text, sheet["B6"].hyperlink.ref) == (True, "mine", "B6")
    assert sheet["B4"].hyperlink is None
    assert [merged.coord for merged in sheet.merged_cells.ranges] == ["A8:B9"]
    assert (sheet.row_dimensions[4].height, sheet.row_dimensions[6].height) == (None, 33)
    assert sheet.print_area == "'Affiliates'!$A$1:$C$6"
    assert [each.id for each in sheet.row_breaks.brk] == [6]
    assert book.defined_names["total"].attr_text == "Affiliates!$C$6"
    assert book.defined_names["all"].attr_text == "Affiliates!$C$2:$C$5"


def test_filters_rules_and_validations_that_end_with_the_table_grow_and_shrink_with_it(harness: XlsxHarness) -> None:
    book = save_people(harness, [["Key", "Name", "Balance"], ["a:1", "Ada", 1], ["a:2", "Bob", 2]])
    sheet = book.active
    sheet.auto_filter.ref = "A1:C3"
    sheet.conditional_formatting.add("C2:C3", CellIsRule("lessThan", ["$C$2"], font=Font(color="FF0000")))
    sheet.conditional_formatting.add("A2:C3", FormulaRule(['AND($A2<>"",$A1<>$A2)'], font=Font(bold=True)))
    sheet.conditional_formatting.add("E1:E2", FormulaRule(["E1>0"], font=Font(bold=True)))
    for cells in ("B2:B3", "B2:B100"):
        sheet.add_data_validation(DataValidation("list", formula1='"Ada,Bob"', sqref=MultiCellRange(cells)))
    book.save(harness.path)
    target = harness.target(balance, removed_records="delete")

    def state() -> list[Any]:
        sheet = harness.book()["Affiliates"]
        rules = [(str(each.sqref), rule.formula) for each in sheet.conditional_formatting for rule in each.rules]
        return [
            sheet.auto_filter.ref,
            {cells: formula[0] for cells, formula in rules},
            [str(each.sqref) for each in sheet.data_validations.dataValidation],
        ]

    harness.sink().write(target, [promises.row("a:3", Name="Cy"), promises.row("a:4", Name="Di")])
    both = {"A2:C5": 'AND($A2<>"",$A1<>$A2)', "E1:E2": "E1>0"}
    assert state() == ["A1:C5", {**both, "C2:C5": "$C$2"}, ["B2:B5", "B2:B100"]]
    harness.sink().write(target, [Row("a:3", "a:3", {"Key": "a:3"}, remove=True)])
    both = {"A2:C4": 'AND($A2<>"",$A1<>$A2)', "E1:E2": "E1>0"}
    assert state() == ["A1:C4", {**both, "C2:C4": "$C$2"}, ["B2:B4", "B2:B99"]]


def test_rows_that_a_formula_names_are_emptied_and_not_deleted(harness: XlsxHarness) -> None:
    save_people(harness, [["Key", "Name", "Mine"], ["a:1", "Ada", None], ["a:2", "Bob", "=B2"]])
    target = harness.target(name_only, removed_records="delete")
    harness.sink().write(target, [Row("a:1", "a:1", {"Key": "a:1"}, remove=True)])
    assert values(harness)[1:] == [[None, None, None], ["a:2", "Bob", "=B2"]]


def test_a_persons_text_that_looks_like_an_escape_survives_openpyxl(harness: XlsxHarness) -> None:
    book = openpyxl.Workbook()
    book.active.title = "Affiliates"
    book.active.append(["Key", "Mine"])
    book.active.append(["a:1", "_x005F_x0041_"])
    book.save(harness.path)
    harness.sink().write(harness.target([Column("Key"), Column("Name")]), [promises.row("a:1", Name="Ada")])
    assert harness.row("a:1")["Mine"] == "_x0041_"


def test_a_persons_text_in_two_colours_keeps_them(harness: XlsxHarness) -> None:
    book = openpyxl.Workbook()
    book.active.title = "Affiliates"
    book.active.append(["Key", "Mine"])
    book.active.append(["a:1", CellRichText("plain ", TextBlock(InlineFont(b=True), "bold"))])
    book.save(harness.path)
    harness.sink().write(harness.target(name_only), [promises.row("a:1", Name="Ada")])
    cell = openpyxl.load_workbook(harness.path, rich_text=True)["Affiliates"]["B2"].value
    assert str(cell) == "plain bold"
    assert cell[1].font.b


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("xl/charts/chart1.xml", "charts"),
        ("xl/vbaProject.bin", "macros"),
        ("xl/media/image1.png", "pictures"),
        ("xl/connections.xml", "queries or connections"),
        ("xl/worksheets/sheet9.xml", "sparklines"),
        ("xl/drawings/drawing1.xml", "drawings"),
    ],
)
def test_a_workbook_with_things_that_would_be_lost_is_left_alone_with_words(
    harness: XlsxHarness, part: str, words: str
) -> None:
    target = harness.target(name_only)
    harness.sink().write(target, [promises.row("a:1", Name="Ada")])
    with zipfile.ZipFile(harness.path, "a") as book:
        book.writestr(part, "<worksheet><extLst/><xdr:twoCellAnchor/></worksheet>")
    before = harness.path.read_bytes()
    with pytest.raises(NeedsAction, match=words):
        harness.sink().write(target, [promises.row("a:1", Name="Bob")])
    assert harness.path.read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("</row>", '<c r="F1" cm="1"><f t="array" ref="F1:F9">_xlfn.UNIQUE(A:A)</f></c></row>', "formulas that spill"),
        ("</row>", '<c r="F1" cm="1"><f t="array" ref="F1">SUM(A1:A9*2)</f></c></row>', None),
        ("</row>", '<c r="F1"><f t="array" ref="F1:F2">A1:A2</f></c></row>', None),
        (
            "</sheetData>",
            '</sheetData><protectedRanges><protectedRange name="R" sqref="F1:F9"/></protectedRanges>',
            "ranges that people may edit",
        ),
    ],
)
def test_what_would_be_lost_of_a_tab_is_known_from_what_would_not(
    harness: XlsxHarness, old: str, new: str, words: str | None
) -> None:
    book = openpyxl.Workbook()
    book.active.title = "Affiliates"
    book.active.append(["Key", "Name"])
    book.save(harness.path)
    with zipfile.ZipFile(harness.path) as parts:
        bodies = {name: parts.read(name).decode() for name in parts.namelist()}
    bodies["xl/worksheets/sheet1.xml"] = bodies["xl/worksheets/sheet1.xml"].replace(old, new, 1)
    with zipfile.ZipFile(harness.path, "w") as parts:
        for name, body in bodies.items():
            parts.writestr(name, body)
    before = harness.path.read_bytes()
    if words is None:
        harness.sink().write(harness.target(name_only), [promises.row("a:1", Name="Ada")])
        assert "F1" in {cell.coordinate for cell in harness.book()["Affiliates"][1]}
        return
    with pytest.raises(NeedsAction, match=words):
        harness.sink().write(harness.target(name_only), [promises.row("a:1", Name="Ada")])
    assert harness.path.read_bytes() == before


def test_the_empty_drawing_that_libreoffice_leaves_beside_notes_is_no_drawing(harness: XlsxHarness) -> None:
    harness.sink().write(look_target(), [look_row(1)])
    with zipfile.ZipFile(harness.path, "a") as book:
        book.writestr("xl/drawings/drawing1.xml", '<xdr:wsDr xmlns:xdr="x"></xdr:wsDr>')
    harness.sink().write(look_target(), [look_row(2)])
    assert harness.book()["Affiliates"].max_row == 3


@pytest.mark.parametrize("content", [b"Key,Name\n", b"PK\x03\x04 torn", b"\xd0\xcf\x11\xe0 an old .xls"])
def test_a_file_that_is_no_workbook_is_left_alone_with_words(harness: XlsxHarness, content: bytes) -> None:
    harness.path.write_bytes(content)
    with pytest.raises(NeedsAction, match="can't be read as an Excel workbook"):
        harness.sink().write(harness.target(name_only), [promises.row("a:1", Name="Ada")])
    assert harness.path.read_bytes() == content


@pytest.mark.parametrize("part", ["xl/worksheets/sheet1.xml", "xl/styles.xml", "xl/workbook.xml"])
@pytest.mark.parametrize("old", ["<", "</", '="'])
def test_a_workbook_with_a_damaged_part_is_left_alone_with_words(harness: XlsxHarness, part: str, old: str) -> None:
    harness.sink().write(harness.target(name_only), [promises.row("a:1", Name="Ada")])
    with zipfile.ZipFile(harness.path) as parts:
        bodies = {name: parts.read(name) for name in parts.namelist()}
    bodies[part] = bodies[part].replace(old.encode(), b"", 1)
    with zipfile.ZipFile(harness.path, "w") as parts:
        for name, body in bodies.items():
            parts.writestr(name, body)
    before = harness.path.read_bytes()
    with pytest.raises(NeedsAction, match="can't be read as an Excel workbook"):
        harness.sink().write(harness.target(name_only), [promises.row("a:2", Name="Bob")])
    assert harness.path.read_bytes() == before


def test_a_tab_that_people_renamed_is_made_anew_and_said_to_be_gone(harness: XlsxHarness) -> None:
    harness.sink().write(harness.target(name_only), [promises.row("a:1", Name="Ada")])
    book = harness.book()
    book["Affiliates"].title = "Mine"
    book.save(harness.path)
    sink = harness.sink()
    with pytest.raises(StartOver, match=r'the tab "Affiliates" of .* is gone or empty'):
        sink.write(harness.target(name_only), [promises.row("a:2", Name="Bob")])
    sink.write(harness.target(name_only), [promises.row("a:2", Name="Bob")])
    assert harness.book().sheetnames == ["Mine", "Affiliates"]


def test_a_cell_longer_than_excel_takes_is_refused_and_not_cut(harness: XlsxHarness) -> None:
    outcomes = harness.sink().write(
        harness.target(name_only),
        [
            promises.row("a:1", Name="x" * 32_767),
            promises.row("a:2", Name="x" * 32_768),
            promises.row("a:3", Name="👩" * 16_384),
        ],
    )
    assert [(outcome.kind, outcome.code) for outcome in outcomes] == [
        ("written", ""),
        ("refused", "cell_too_long"),
        ("refused", "cell_too_long"),
    ]
    assert harness.row("a:1")["Name"] == "x" * 32_767


@pytest.mark.parametrize("text", ["a\x0bb", "a\rb\r\nc", "\x00", "_x000D_", "\ufffe", "#N/A", "=", "  blanks  "])
def test_characters_that_xml_has_no_place_for_come_back_equal(harness: XlsxHarness, text: str) -> None:
    sink, target = harness.sink(), harness.target(name_only)
    sink.write(target, [promises.row("a:1", Name=text)])
    before = harness.state()
    assert harness.row("a:1")["Name"] == text
    assert harness.formulas() == []
    harness.sink().write(target, [promises.row("a:1", Name=text)])
    assert harness.state() == before


def test_a_workbook_that_is_open_in_excel_is_written_when_it_is_closed(harness: XlsxHarness) -> None:
    sink, target = harness.sink(), harness.target(name_only)
    mark = harness.path.with_name("~$affiliates.xlsx")
    mark.touch()
    with pytest.raises(TryLater, match="open in Excel"):
        sink.write(target, [promises.row("a:1", Name="Ada")])
    assert not harness.path.exists()
    mark.unlink()
    sink.write(target, [promises.row("a:1", Name="Ada")])
    assert harness.has("a:1")


def test_two_routes_keep_two_tabs_of_one_workbook(harness: XlsxHarness) -> None:
    sink = harness.sink()
    sink.write(harness.target(name_only), [promises.row("a:1", Name="Ada")])
    partners = replace(harness.target(name_only, tab="Partners"), route="excel/partners")
    sink.write(partners, [promises.row("e:1", Name="Eve")])
    sink.write(harness.target(name_only), [promises.row("a:2", Name="Bob")])
    book = harness.book()
    assert [[cell.value for cell in cells] for cells in book["Partners"].iter_rows()] == [
        ["Name", "Key"],
        ["Eve", "e:1"],
    ]
    assert book["Affiliates"].max_row == 3


@pytest.mark.parametrize("tab", ["", "x" * 32, "a/b", "[a]", "'a"])
def test_a_tab_that_excel_would_not_take_is_refused_by_the_options(tab: str) -> None:
    with pytest.raises(ValueError, match="1 to 31 characters"):
        XlsxFile.TargetOptions(tab=tab)  # type: ignore[call-arg]  # the base class's face


def test_a_kill_at_any_moment_leaves_a_whole_workbook(harness: XlsxHarness) -> None:
    different = kill_writers(harness, rows=20, kills=30, longest_seconds=0.15)
    assert different == 30


# ---------------------------------------------------------------- people's edits


def test_a_persons_formula_is_put_back_as_a_formula_and_a_text_of_ours_as_text(harness: XlsxHarness) -> None:
    target = harness.target((Column("Key"), Column("Name"), Column("Phone")))
    memory = Memory("a:1")
    memory.send(harness.sink(), target, Name="one", Phone="=2+2")
    harness.person_edits("a:1", "Name", "=1+1")
    outcome = memory.send(harness.sink(), target, Name="two", Phone="3")
    assert outcome.overwritten == ("Name",)
    memory.take_back(harness.sink(), target, outcome.former)
    cells = {header.value: cell for header, cell in zip(*harness.table(), strict=True)}
    assert (cells["Name"].value, cells["Name"].data_type) == ("=1+1", "f")
    assert (cells["Phone"].value, cells["Phone"].data_type) == ("=2+2", "s")
    state = harness.state()
    assert memory.take_back(harness.sink(), target, outcome.former).kept == ()  # done already
    assert harness.state() == state


def test_a_row_with_a_prepared_formula_is_taken_back_whole(harness: XlsxHarness) -> None:
    target, memory = harness.target((Column("Key"), Column("Name"))), Memory("a:1")
    harness.sink().write(target, [promises.row("a:0", Name="Zoe")])
    memory.send(harness.sink(), target, Name="one")
    harness.person_adds_column("Half", {"a:0": "=LEN(B2)", "a:1": "=LEN(B3)"})
    memory.take_back(harness.sink(), target, {}, remove=True)
    assert [found["Key"] for found in harness.rows()] == ["a:0"]
