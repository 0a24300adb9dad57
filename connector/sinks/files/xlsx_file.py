"""A sink that keeps one tab of an Excel workbook; ``xlsx_book.py`` knows workbooks.

Apart from it, because most commands only read the settings, and openpyxl takes long to import.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from pydantic import field_validator

from connector.core.sink import Host, SinkOptions, Target, TargetOptions
from connector.sinks.files.plan import Document
from connector.sinks.files.table import TableFile, TableFileOptions


class XlsxOptions(TableFileOptions):
    """``[sinks.NAME]`` with ``type = "xlsx"``."""

    @field_validator("path")
    @classmethod
    def _is_a_workbook(cls, path: Path) -> Path:
        if path.suffix.lower() != ".xlsx":
            raise ValueError(f'Excel opens only what ends in .xlsx, not "{path.name}"; a CSV file has type = "csv"')
        return path


class XlsxTargetOptions(TargetOptions):
    """``[target]`` of a mapping for a workbook."""

    tab: str = "Affiliates"
    """The tab to write; made when it is missing."""

    @field_validator("tab")
    @classmethod
    def _is_a_name(cls, tab: str) -> str:
        if not 1 <= len(tab) <= 31 or re.search(r"[\[\]:*?/\\]", tab) or tab.startswith("'") or tab.endswith("'"):
            raise ValueError("a tab's name has 1 to 31 characters, none of [ ] : * ? / \\ and no ' at its ends")
        return tab


class XlsxFile(TableFile):
    """Keeps one tab of an Excel workbook equal to the records, and keeps everything else in it."""

    Options: ClassVar[type[SinkOptions]] = XlsxOptions
    batch_rows = 20_000  # each batch packs the whole workbook anew
    TargetOptions: ClassVar[type[TargetOptions]] = XlsxTargetOptions

    def __init__(self, name: str, options: TableFileOptions, host: Host) -> None:
        from connector.sinks.files import xlsx_book

        super().__init__(name, options, host)
        self._opened = xlsx_book.opened

    def _load(self, content: bytes, target: Target) -> Document:  # noqa: ARG002 - all tabs are loaded at once
        return self._opened(content, self._path)
