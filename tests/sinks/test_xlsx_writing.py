"""What we write of a workbook ourselves is what openpyxl writes, element for element."""

from __future__ import annotations

import io
import zipfile
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

import openpyxl
import pytest
from openpyxl.cell.rich_text import CellRichText, TextBlock
from openpyxl.cell.text import InlineFont
from openpyxl.comments import Comment
from openpyxl.styles import Alignment, Font
from openpyxl.worksheet.formula import ArrayFormula
from openpyxl.worksheet.hyperlink import Hyperlink

from connector.sinks.files.xlsx_reading import looked_through, read
from connector.sinks.files.xlsx_writing import dump


def parts(content: bytes) -> dict[str, str]:
    """The files in a workbook, each in XML's canonical form; without the moment it was saved."""
    with zipfile.ZipFile(io.BytesIO(content)) as found:
        assert found.testzip() is None
        return {
            name: ElementTree.canonicalize(found.read(name)) if name.endswith((".xml", ".rels")) else ""
            for name in found.namelist()
            if name != "docProps/core.xml"
        }


def same(book: Any) -> None:
    theirs = io.BytesIO()
    book.save(theirs)
    assert parts(dump(book)) == parts(theirs.getvalue())


def everything() -> Any:
    """A workbook with every kind of cell, and what people put around them."""
    book = openpyxl.Workbook()
    sheet = book.active
    values: list[Any] = [
        "text", "a < b & c > d \"e\" 'f'", "  blanks ", "two\nlines", "Zoë 👩", "=A1+1", "#N/A", "x" * 32_767,
        0, -1, 10**15, 0.1, 1e-300, 12345.678, float("nan"), Decimal("507.44"), Decimal("1E+3"), True, False, None, "",
        date(2026, 2, 3), datetime(2026, 2, 3, 4, 5, 6, 789_000), datetime(2026, 2, 3), time(4, 5), timedelta(hours=30),  # noqa: DTZ001
        ArrayFormula("C1:C2", "=SUM(A1:A2)"), CellRichText("plain ", TextBlock(InlineFont(b=True), "bold")),
    ]  # fmt: skip
    for row, value in enumerate(values, start=1):
        sheet.cell(row, 1).value = value
        styled = sheet.cell(row, 28, value)
        styled.font = Font(italic=True)
        styled.alignment = Alignment(wrap_text=row % 2 == 0)
    sheet["C3"].font = Font(bold=True)  # looks, and no value
    sheet["D1"] = "=not a formula"
    sheet["D1"].data_type = "s"
    sheet["D2"].comment = Comment("mine", "me")
    sheet["D3"].hyperlink = "https://example.com/?a=1&b=2"
    sheet["D4"] = "inside"
    sheet["D4"].hyperlink = Hyperlink(ref="D4", location="A1")
    sheet.merge_cells("F1:G2")
    sheet.row_dimensions[2].height = 40
    sheet.row_dimensions[90].hidden = True
    sheet.row_dimensions[60].font = Font(bold=True)
    sheet.auto_filter.ref = "A1:B3"
    book.create_sheet("Empty")
    book.create_sheet("A & B")["B2"] = 7
    return book


def test_every_kind_of_cell_is_written_as_openpyxl_writes_it() -> None:
    same(everything())


def test_so_is_a_workbook_that_was_read() -> None:
    same(openpyxl.load_workbook(io.BytesIO(dump(everything())), rich_text=True))


@pytest.mark.parametrize("rich", [True, False])
def test_the_short_way_of_reading_reads_the_same(rich: bool) -> None:
    def cells(content: bytes) -> list[str]:
        found = openpyxl.load_workbook(io.BytesIO(content), rich_text=rich)
        each = [cell for sheet in found for row in sheet.iter_rows() for cell in row]
        return [repr((getattr(cell.value, "text", cell.value), cell.data_type, cell.style_id)) for cell in each]

    book = everything()
    for cell in [cell for row in book.active.iter_rows() for cell in row if isinstance(cell.value, CellRichText)]:
        cell.value = cell.value if rich else "plain bold"
    written = dump(book)
    lost, readable, wants_rich = looked_through(written)
    assert (lost, wants_rich) == (set(), rich)
    assert readable != written
    assert cells(readable) == cells(written)


@pytest.mark.parametrize("setting", ["iso_dates", "epoch"])
def test_so_are_dates_that_a_workbook_counts_otherwise(setting: str) -> None:
    book = everything()
    setattr(book, setting, True if setting == "iso_dates" else openpyxl.utils.datetime.MAC_EPOCH)
    same(book)


def test_a_text_of_blanks_alone_keeps_them_where_openpyxl_would_not_ask_excel_to() -> None:
    book = openpyxl.Workbook()
    book.active["A1"] = " "
    assert '<t xml:space="preserve"> </t>' in parts(dump(book))["xl/worksheets/sheet1.xml"]


def test_links_are_read_with_their_addresses_and_without_their_relations() -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    addresses = ["https://example.com/?a=1&b=2#c", "https://example.com/\"<x>'", "mailto:a@example.com", "other.xlsx"]
    for row, address in enumerate(addresses, start=1):
        sheet.cell(row, 1, "text").hyperlink = address
    sheet["B1"] = "inside"
    sheet["B1"].hyperlink = Hyperlink(ref="B1", location="A1", tooltip="see A1")
    sheet["B2"] = "apart"
    sheet["B2"].hyperlink = Hyperlink(ref="B2", target="https://example.com/", location="top", tooltip="mine")
    sheet["C1"].comment = Comment("mine", "me")
    readable = looked_through(dump(book))
    with zipfile.ZipFile(io.BytesIO(readable.content)) as found:
        assert b"/hyperlink" not in found.read("xl/worksheets/_rels/sheet1.xml.rels")
    sheet = read(readable).active
    assert [(cell.hyperlink.target, cell.hyperlink.location) for cell in sheet["A"]] == [
        (address, None) for address in addresses
    ]
    links = [sheet[cell].hyperlink for cell in ("B1", "B2")]
    assert [(link.target, link.location, link.tooltip) for link in links] == [
        (None, "A1", "see A1"), ("https://example.com/#top", None, "mine")
    ]  # fmt: skip
    assert sheet["C1"].comment.text == "mine"
