"""Writing a workbook, and what openpyxl has no public way to: styles used again, results of formulas."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from copy import copy
from typing import Any
from xml.sax.saxutils import escape

from openpyxl.styles import Font
from openpyxl.utils.indexed_list import IndexedList

_FORMULA = re.compile(r'<c r="([A-Z]+[0-9]+)"([^>]*)>(<f>[^<]*</f>)<v ?/></c>')


def dump(book: Any, results: Mapping[Any, str]) -> bytes:
    """The file of *book*.

    Args:
        results: by cell, what its formula shows. openpyxl keeps no results; a program that computes nothing needs them.
    """
    saved = io.BytesIO()
    book.save(saved)
    there = {cell: text for cell, text in results.items() if cell.parent.cell(cell.row, cell.column) is cell}
    if not there:
        return saved.getvalue()
    target = io.BytesIO()
    with zipfile.ZipFile(saved) as parts, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as complete:
        for name in parts.namelist():
            shown = {cell.coordinate: text for cell, text in there.items() if cell.parent.path == f"/{name}"}
            body = parts.read(name)
            complete.writestr(name, _with_results(body.decode(), shown).encode() if shown else body)
    return target.getvalue()


def _with_results(sheet: str, shown: Mapping[str, str]) -> str:
    def give(found: re.Match[str]) -> str:
        text = shown.get(found[1])
        return found[0] if text is None else f'<c r="{found[1]}"{found[2]} t="str">{found[3]}<v>{escape(text)}</v></c>'

    return _FORMULA.sub(give, sheet)


def share_style(template: Any, cell: Any) -> None:
    """Give *cell* the style of *template*: openpyxl keeps each style once."""
    cell._style = copy(template._style)


def set_default_font(book: Any, font: Font) -> None:
    """The font of all cells of a new book that have no other."""
    book._fonts = IndexedList([font])
