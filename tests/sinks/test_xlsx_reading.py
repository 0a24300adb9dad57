"""What openpyxl reads wrongly or slowly is read rightly and fast."""

from __future__ import annotations

import io
import time
import zipfile
from typing import Any

import openpyxl
from openpyxl.comments import Comment
from openpyxl.worksheet.hyperlink import Hyperlink

from connector.sinks.files.xlsx_reading import read


def content_of(book: Any) -> bytes:
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


def test_links_are_read_with_their_addresses() -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    addresses = ["https://example.com/?a=1&b=2#c", "https://example.com/\"<x>'", "mailto:a@example.com", "other.xlsx"]
    for row, address in enumerate(addresses, start=1):
        sheet.cell(row, 1, "text").hyperlink = address
    sheet["B1"] = "inside"
    sheet["B1"].hyperlink = Hyperlink(ref="B1", location="A1", tooltip="see A1")
    sheet["B2"] = "apart"
    sheet["B2"].hyperlink = Hyperlink(ref="B2", target="https://example.com/", location='top "&"', tooltip="mine")
    sheet["C1"].comment = Comment("mine", "me")
    sheet = read(content_of(book)).active
    assert [(cell.hyperlink.target, cell.hyperlink.location) for cell in sheet["A"]] == [
        (address, None) for address in addresses
    ]
    links = [sheet[cell].hyperlink for cell in ("B1", "B2")]
    assert [(link.target, link.location, link.tooltip) for link in links] == [
        (None, "A1", "see A1"), ('https://example.com/#top "&"', None, "mine")
    ]  # fmt: skip
    assert sheet["C1"].comment.text == "mine"


def test_reading_many_links_is_not_quadratic() -> None:
    def seconds(links: int) -> float:
        book = openpyxl.Workbook()
        for row in range(1, links + 1):
            book.active.cell(row, 1, "text").hyperlink = f"https://example.com/{row}#top"
        content = content_of(book)
        with zipfile.ZipFile(io.BytesIO(content)) as parts:
            assert "xl/worksheets/_rels/sheet1.xml.rels" in parts.namelist()
        started = time.process_time()
        read(content)
        return time.process_time() - started

    assert seconds(4_000) < 12 * seconds(800)
