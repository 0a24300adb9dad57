"""A Google Sheets file on the loopback for the sink's tests: the server, the sink on it, and the sheet read back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from connector.core.row import Cell, Column, Row
from connector.core.sink import Target
from connector.sinks.google_sheets.sink import GoogleSheets, GoogleSheetsOptions, GoogleSheetsTargetOptions
from tests.far_sides.loopback import Call
from tests.far_sides.sheets_book import Book, Tab
from tests.far_sides.sheets_server import SheetsServer
from tests.sinks import promises
from tests.sinks.host import TestHost
from tests.sinks.promises import Harness

people = (
    Column("ID"),
    Column("Name", overwrite="always"),
    Column("Status", overwrite="always"),
    Column("Balance", type="money", overwrite="always"),
    Column("Joined", type="date", overwrite="always"),
)


class SheetsFile:
    """A running server with one file.

    Args:
        quota: reads and writes a minute, on the clock of ``host``; None: no limit.
    """

    def __init__(self, folder: Path, *, book: Book | None = None, quota: int | None = None) -> None:
        self.folder = folder
        self.host = TestHost()
        self.server = SheetsServer(book, clock=self.host.monotonic, quota=quota)
        self.book = self.server.book
        if not self.book.tabs:
            self.book.add("Sheet1", [["a note of people"]])

    def __enter__(self) -> SheetsFile:
        self.server.__enter__()
        (self.folder / "key.json").write_text(json.dumps(self.server.credentials()))
        return self

    def __exit__(self, *error: Any) -> None:
        self.server.__exit__(*error)

    def sink(
        self, host: TestHost | None = None, kind: type[GoogleSheets] = GoogleSheets, **options: Any
    ) -> GoogleSheets:
        """A sink with the service account's file (5 s of patience), as after a start of the program."""
        found = {
            "type": "google_sheets",
            "mappings": ("m.toml",),
            "spreadsheet": self.book.id,
            "credentials_file": self.folder / "key.json",
            "base_url": self.server.url,
            "timeout_seconds": 60,
            "reads_per_minute": 48_000 if self.server.quota is None else 48,
            "writes_per_minute": 48_000 if self.server.quota is None else 48,
            **options,
        }
        return kind("sheets", GoogleSheetsOptions(**found), host or self.host)

    def target(self, columns: Sequence[Column] = people, key: str = "ID", **options: Any) -> Target:
        return Target(
            "sheets/m", tuple(columns), key, GoogleSheetsTargetOptions(**{"tab": "Affiliates", **options}), "m.toml"
        )

    @property
    def tab(self) -> Tab:
        return self.book.tab("Affiliates")

    def table(self, title: str = "Affiliates", header: int = 0) -> list[dict[str, Any]]:
        """Rows below the header as dicts by header; blank rows left out, empty cells None."""
        grid = self.book.tab(title).grid()
        names = grid[header]
        return [
            {name: value for name, value in zip(names, row, strict=True) if name is not None}
            for row in grid[header + 1 :]
            if any(value is not None for value in row)
        ]

    def calls_of(self, action: Callable[[], object]) -> str:
        """The API calls that *action* makes: ``r`` a read, ``w`` a write."""
        before = len(self.server.kinds())
        action()
        return self.server.kinds()[before:]

    def before_call(self, number: int, edit: Callable[[], object]) -> None:
        """Let a person *edit* right before the *number*-th API call from now on (1 is the next)."""
        count = 0

        def person(call: Call) -> None:
            nonlocal count
            count += 1
            if count == number:
                edit()

        self.server.person = person


def record(key: str, name: Cell = "Ada", status: Cell = "Active", **more: Cell) -> Row:
    """A row of ``people``."""
    cells: dict[str, Cell] = {
        "ID": key,
        "Name": name,
        "Status": status,
        "Balance": Decimal("10.50"),
        "Joined": date(2026, 2, 3),
        **more,
    }
    return Row(record_id=key, key=key, cells=cells)


class GoogleSheetsHarness(Harness):
    """For the promises: the sheet is read from the server's memory, typed by ``promises.columns``."""

    most_examples = 15

    def __init__(self, file: SheetsFile) -> None:
        super().__init__()
        self.file = file

    def sink(self) -> GoogleSheets:
        return self.file.sink(self.host)

    def target(self, columns: Sequence[Column], **options: Any) -> Target:
        return self.file.target(columns, "Key", **options)

    def rows(self) -> list[dict[str, Cell]]:
        if all(tab.title != "Affiliates" for tab in self.file.book.tabs):
            return []
        types = {column.name: column.type for column in promises.columns}
        return [
            {name: _typed(types.get(name, "text"), value) for name, value in row.items()} for row in self.file.table()
        ]

    def state(self) -> object:
        book = self.file.book
        return [(tab.title, tab.grid()) for tab in book.tabs], [(tag.id, tag.value) for tag in book.all_tags()]

    def person_adds_column(self, name: str, cells: Mapping[str, str]) -> None:
        tab, book = self.file.tab, self.file.book
        span = {"sheetId": tab.id, "dimension": "COLUMNS", "startIndex": 0, "endIndex": 1}
        book.edit({"insertDimension": {"range": span}})
        tab.put(0, 0, name)
        keys = tab.grid()[0].index("Key")
        for place in range(1, len(tab.rows)):
            tab.put(place, 0, cells.get(tab.value(place, keys)))

    def person_adds_row(self, cells: Mapping[str, str]) -> None:
        tab = self.file.tab
        names = tab.grid()[0]
        span = {"sheetId": tab.id, "dimension": "ROWS", "startIndex": 1, "endIndex": 2}
        self.file.book.edit({"insertDimension": {"range": span}})
        for name, text in cells.items():
            tab.put(1, names.index(name), text)

    def person_edits(self, key: str, column: str, text: str) -> None:
        tab = self.file.tab
        grid = tab.grid()
        (place,) = (place for place, row in enumerate(grid) if row[grid[0].index("Key")] == key)
        tab.put(place, grid[0].index(column), text or None)

    def person_reorders(self) -> None:
        tab, book = self.file.tab, self.file.book
        filled = sum(any(value is not None for value in row) for row in tab.grid())
        for place in range(2, filled):
            span = {"sheetId": tab.id, "dimension": "ROWS", "startIndex": place, "endIndex": place + 1}
            book.edit({"moveDimension": {"source": span, "destinationIndex": 1}})
        for place in range(1, len(tab.columns)):
            span = {"sheetId": tab.id, "dimension": "COLUMNS", "startIndex": place, "endIndex": place + 1}
            book.edit({"moveDimension": {"source": span, "destinationIndex": 0}})

    def formulas(self) -> list[str]:
        return [
            value[1] for tab in self.file.book.tabs for row in tab.grid() for value in row if isinstance(value, tuple)
        ]


def _typed(kind: str, value: Any) -> Cell:
    if value is None:
        return None
    if kind == "integer":
        assert value == int(value)
        return int(value)
    if kind == "money":
        return Decimal(str(value)).quantize(Decimal("0.01"))
    if kind == "date":
        return date(1899, 12, 30) + timedelta(days=value)
    if kind == "datetime":
        return datetime(1899, 12, 30, tzinfo=UTC) + timedelta(seconds=round(value * 86_400))
    if kind == "list":
        return tuple(value.split(", "))
    assert isinstance(value, str | bool), value
    return value
