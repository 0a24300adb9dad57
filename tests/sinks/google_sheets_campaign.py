"""Seeded rounds against a Google Sheets file: a random sheet, a person who edits between any two calls, faults.

    python -m tests.sinks.google_sheets_campaign --rounds 1000 [--seed 0] [--profile guarded|tags_stay|ids_repeat]

A round builds a sheet (gaps, hidden and merged cells, protected ranges, foreign columns and rows, formulas, a header
below row 1), lets the sink deliver changing records as delivery would (a batch that could not be delivered comes
again), and compares what is there with what must be: every record in exactly one row, every managed cell right that no
person typed over, and no cell, row or column of anybody else changed. Knows the sheet only by the server's memory.

``tags_stay`` plays a Google whose tags stay behind when rows are sorted, ``ids_repeat`` one that lets two tags have one
id, so that no guard binds: there the sink must find out, stop with the reason, and have changed nothing.
"""

from __future__ import annotations

import argparse
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from connector.core.errors import NeedsAction, TryLater
from connector.core.row import Cell, Column, Row
from connector.core.sink import Outcome, Target
from connector.sinks.google_sheets.sink import GoogleSheets, GoogleSheetsTargetOptions
from connector.sinks.google_sheets.snapshot import Link, as_cell, same, value_of
from tests.far_sides.loopback import Call, Fault, Reply
from tests.far_sides.sheets_book import Area, Book, Json, Line, Tab
from tests.sinks.google_sheets_file import SheetsFile

columns = (
    Column("ID"),
    Column("Name"),
    Column("Status", overwrite="always"),
    Column("Balance", type="money", overwrite="always"),
    Column("Joined", type="date", overwrite="always"),
    Column("Active", type="boolean", overwrite="always"),
    Column("Link", type="url", overwrite="always"),
)
names = [column.name for column in columns]
title = "Affiliates"


@dataclass
class Tally:
    """What all rounds found; every list should be empty, and the counts show that the rounds were no idle ones."""

    lost: list[str] = field(default_factory=list)
    doubles: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    edits_lost: list[str] = field(default_factory=list)
    rounds: int = 0
    stopped: int = 0
    """Rounds in which the sink refused to write because guards don't bind."""
    calls: int = 0
    undone: int = 0
    """Rows that were taken back."""
    edits: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    refused_batches: int = 0

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubles or self.wrong or self.foreign or self.stuck or self.edits_lost)

    def __str__(self) -> str:
        found = {
            "rows lost": self.lost,
            "duplicates": self.doubles,
            "wrong managed cells": self.wrong,
            "foreign cells changed": self.foreign,
            "edits lost without a trace": self.edits_lost,
            "rounds that got stuck": self.stuck,
        }
        seeds = {item.split(":")[0].split(" ")[0] for items in found.values() for item in items}
        return (
            f"{self.rounds} rounds, {self.undone} rows undone, {self.calls} calls, "
            f"{sum(self.edits.values())} edits by people, "
            f"{sum(self.faults.values())} faults, {self.refused_batches} batches refused (one a round is a trial), "
            f"{self.stopped} rounds stopped before anything was written\n"
            + "\n".join(f"{len(items):5} {name}  {items[:3] if items else ''}" for name, items in found.items())
            + (f"\nseeds to look at: {sorted(seeds)}" if seeds else "")
            + f"\nedits: {dict(self.edits)}\nfaults: {dict(self.faults)}"
        )


class Round:
    """One seeded round on *file*'s server."""

    def __init__(
        self, file: SheetsFile, sink: GoogleSheets, seed: int, tally: Tally, *, profile: str = "guarded"
    ) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.file = file
        self.sink = sink
        self.host = file.host
        self.tally = tally
        self.guarded = profile == "guarded"
        self.book = Book(
            unique_ids=profile != "ids_repeat",
            tags_follow_sorts=profile != "tags_stay",
            protection_forbids_inserts=self.random.random() < 0.7,
            trims_lines=self.random.random() < 0.2,
        )
        file.server.book = file.book = self.book
        self.header = 0
        self.foreign: dict[tuple[Line, Line], Any] = {}
        """Cells that are people's, by their lines, and what they must hold."""
        self.foreign_rows: set[Line] = set()
        self.foreign_columns: set[Line] = set()
        self.typed_over: set[tuple[str, str]] = set()
        """(key, column) of managed cells that a person typed into."""
        self.taken: set[str] = set()
        """Keys of rows that a person deleted."""
        self.delivered: dict[str, dict[str, Cell]] = {}
        self.held: dict[str, dict[str, Cell]] = {}
        self.tried: dict[str, list[dict[str, Cell]]] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.typed: dict[str, str] = {}
        """By key, what a person last typed over a name, which stays while the record has no other."""
        self.records: dict[str, dict[str, Cell]] = {}
        self.counter = 0

    # ------------------------------------------------------------ the sheet

    def text(self, prefix: str = "") -> str:
        self.counter += 1
        return self.random.choice([f"{prefix}text {self.counter}", f"00{self.counter}", f"é🙂 {self.counter}", "TRUE"])

    def cells(self, key: str) -> dict[str, Cell]:
        dice = self.random
        self.counter += 1
        return {
            "ID": key,
            "Name": dice.choice([f"Name {self.counter}", f"=A{self.counter}", f"+44 20 {self.counter}", "'x", "ש"]),
            "Status": dice.choice(["Active", "Waiting", None]),
            "Balance": Decimal(dice.randrange(-10_000, 1_000_000)) / 100,
            "Joined": date(2020, 1, 1) + timedelta(days=dice.randrange(3000)),
            "Active": dice.choice([True, False, None]),
            "Link": dice.choice([f"https://example.com/{self.counter}", f"javascript:{self.counter}", None]),
        }

    def build(self) -> None:
        """A sheet as people make them (or none at all)."""
        dice = self.random
        self.book.add("Something else", [["keep", "out"], [1, 2]], rows=20, columns=5)
        if dice.random() < 0.08:
            return
        self.header = dice.choice([0, 0, 0, 1, 3])
        managed = ["ID", *(name for name in names[1:] if dice.random() < 0.85)]
        foreign = [f"Own {letter}" for letter in "ABCD"[: dice.randrange(5)]]
        heads: list[str | None] = [*managed, *foreign, *([None] if dice.random() < 0.3 else [])]
        dice.shuffle(heads)
        spare = dice.choice([0, 0, 1, 5, 30])
        existing = [f"a:{number}" for number in range(dice.randrange(12))]
        dice.shuffle(existing)
        lines: list[str | None] = list(existing)
        for _ in range(dice.randrange(5)):
            lines.insert(dice.randrange(len(lines) + 1), dice.choice([None, ""]))  # blank, or a row of somebody else
        tab = self.book.add(title, rows=max(2, self.header + 1 + len(lines) + spare), columns=len(heads) + spare % 4)
        for row in range(self.header):
            tab.put(row, dice.randrange(len(heads)), self.text("above "))
        for place, head in enumerate(heads):
            if head is not None:
                tab.put(self.header, place, head)
        for row, key in enumerate(lines, self.header + 1):
            if key:
                self.records[key] = self.cells(key)
            for place, head in enumerate(heads):
                if key and head in names:
                    # What is there may be old, typed by hand, or right.
                    value = value_of(self.records[key][head])
                    old = dice.random() < 0.3 and head != "ID"
                    tab.put(row, place, None)
                    if old:
                        tab.put(row, place, self.text())
                    elif value is not None:
                        cell = {"stringValue": value} if isinstance(value, str) else None
                        if cell:
                            tab.rows[row].cells[tab.columns[place]] = {"userEnteredValue": cell}
                        else:
                            tab.put(row, place, value)
                elif key is not None and head != "ID" and dice.random() < 0.6:
                    tab.put(row, place, f"=SUM(A1:A{row})" if dice.random() < 0.2 else self.text("own "))
        self.foreign_columns = {tab.columns[place] for place, head in enumerate(heads) if head not in names}
        self.foreign_columns |= set(tab.columns[len(heads) :])
        others = [tab.rows[self.header + 1 + place] for place, key in enumerate(lines) if not key]
        # A row with nothing but formulas is prepared for a record.
        typed = [row for row in others if any(not _is_formula(cell) for cell in row.cells.values())]
        self.foreign_rows = {*tab.rows[: self.header], *typed}
        end = self.header + 1 + len(lines)
        if end < len(tab.rows) and dice.random() < 0.2:
            tab.put(end, heads.index("ID"), "TOTAL")
            self.foreign_rows.add(tab.rows[end])
        for row in [*range(self.header, self.header + 1 + len(lines))]:
            if dice.random() < 0.15:
                tab.rows[row].hidden = row > self.header
        self._merge_and_protect(tab, heads)
        self._put_around(tab, end)
        self.remember_foreign(tab)

    def _merge_and_protect(self, tab: Tab, heads: list[str | None]) -> None:
        dice = self.random
        foreign = [place for place, head in enumerate(heads) if head not in names]
        if foreign and len(tab.rows) > self.header + 4 and dice.random() < 0.3:
            place, top = dice.choice(foreign), dice.randrange(self.header + 1, len(tab.rows) - 2)
            tab.merges.append(Area(tab.rows[top : top + 2], [tab.columns[place]]))
        if foreign and dice.random() < 0.25:
            rows = None if dice.random() < 0.5 else tab.rows[self.header : dice.randrange(self.header + 2, 99)]
            column = tab.columns[dice.choice(foreign)]
            tab.protected.append(Area(rows, [column], editable=False, name="their column"))
        if self.header and dice.random() < 0.25:
            tab.protected.append(Area(tab.rows[: self.header], None, editable=False, name="the title"))

    def _put_around(self, tab: Tab, end: int) -> None:
        """What may end at the last record, and then grows with it."""
        dice, width = self.random, len(tab.columns)
        if dice.random() < 0.3:
            tab.cover("basicFilter", self.header, end, 0, width)
        if dice.random() < 0.2:
            tab.cover("tables", self.header, end, 0, width, tableId="t", name="Partners")
        if dice.random() < 0.2:
            tab.cover("conditionalFormats", self.header + 1, end, 0, width, booleanRule={"format": {}})
        if dice.random() < 0.2:
            tab.protected.append(Area(tab.rows[self.header : end], [tab.columns[0]], name="ours"))

    def remember_foreign(self, tab: Tab) -> None:
        """Note every cell that is not managed: foreign columns, foreign rows, the header's own words."""
        self.foreign = {}
        for place, row in enumerate(tab.rows):
            for column, cell in row.cells.items():
                if place == self.header or row in self.foreign_rows or column in self.foreign_columns:
                    self.foreign[row, column] = cell.get("userEnteredValue")

    # ------------------------------------------------------------ the person

    def tab(self) -> Tab | None:
        tagged = [tab for tab in self.book.tabs if any(tag.key == "connector.fence" for tag in tab.tags)]
        titled = [tab for tab in self.book.tabs if tab.title == title]
        return next(iter(tagged + titled), None)

    def edit(self) -> None:
        """One edit such as people make, at this very moment."""
        tab = self.tab()
        if tab is None:
            return
        kinds = [
            self.sort, self.insert_rows, self.insert_column, self.move_row, self.move_column, self.type_foreign,
            self.type_managed, self.rename_tab, self.rename_header, self.delete_row, self.add_rows_below, self.hide,
            self.delete_column, self.add_columns, self.take_row,
        ]  # fmt: skip
        kind = self.random.choice(kinds)
        if kind(tab):
            self.tally.edits[kind.__name__] += 1

    def header_of(self, tab: Tab) -> int:
        for place, row in enumerate(tab.rows):
            if any(tag.key == "connector.header" for tag in row.tags):
                return place
        for place in range(len(tab.rows)):
            if any(tab.value(place, column) == "ID" for column in range(len(tab.columns))):
                return place
        return 0

    def managed_columns(self, tab: Tab) -> dict[str, int]:
        header = self.header_of(tab)
        found = {}
        for place, column in enumerate(tab.columns):
            tags = [tag.value for tag in column.tags if tag.key == "connector.column"]
            head = tab.value(header, place)
            if tags and tags[0] in names and column not in self.foreign_columns:
                found[tags[0]] = place
            elif head in names and column not in self.foreign_columns:
                found.setdefault(head, place)
        return found

    def keys(self, tab: Tab) -> dict[int, str]:
        place = self.managed_columns(tab).get("ID")
        if place is None:
            return {}
        header = self.header_of(tab)
        found = {
            row: tab.value(row, place)
            for row, line in enumerate(tab.rows)
            if row != header and line not in self.foreign_rows
        }
        return {row: value for row, value in found.items() if isinstance(value, str)}

    def body(self, tab: Tab) -> tuple[int, int]:
        """First and end row below the header that hold anything."""
        header = self.header_of(tab)
        filled = [
            place for place, row in enumerate(tab.rows) if any("userEnteredValue" in c for c in row.cells.values())
        ]
        return header + 1, max([header, *filled]) + 1

    def do(self, *requests: Json) -> None:
        self.book.edit(*requests)

    def sort(self, tab: Tab) -> bool:
        first, end = self.body(tab)
        if end - first < 2 or any(area.rows for area in tab.merges):
            return False
        area = {"sheetId": tab.id, "startRowIndex": first, "endRowIndex": end}
        spec = {
            "dimensionIndex": self.random.randrange(len(tab.columns)),
            "sortOrder": self.random.choice(["ASCENDING", "DESCENDING"]),
        }
        self.do({"sortRange": {"range": area, "sortSpecs": [spec]}})
        return True

    def span(self, tab: Tab, dimension: str, start: int, count: int = 1) -> Json:
        return {"sheetId": tab.id, "dimension": dimension, "startIndex": start, "endIndex": start + count}

    def insert_rows(self, tab: Tab) -> bool:
        at, count = self.random.randrange(len(tab.rows)), self.random.randrange(1, 4)
        self.do({"insertDimension": {"range": self.span(tab, "ROWS", at, count)}})
        for row in tab.rows[at : at + count]:
            if self.random.random() < 0.6:
                self.put_foreign(tab, row, self.random.choice(tab.columns), own_row=True)
        return True

    def put_foreign(self, tab: Tab, row: Line, column: Line, *, own_row: bool = False) -> None:
        key = self.managed_columns(tab).get("ID")
        if key is not None and tab.columns[key] is column:
            return
        value = {"stringValue": self.text("typed ")}
        row.cells[column] = {**row.cells.get(column, {}), "userEnteredValue": value}
        self.foreign[row, column] = value
        if own_row:
            self.foreign_rows.add(row)

    def add_rows_below(self, tab: Tab) -> bool:
        self.do({"appendDimension": {"sheetId": tab.id, "dimension": "ROWS", "length": 2}})
        self.put_foreign(tab, tab.rows[-2], self.random.choice(tab.columns), own_row=True)
        return True

    def add_columns(self, tab: Tab) -> bool:
        self.do({"appendDimension": {"sheetId": tab.id, "dimension": "COLUMNS", "length": 1}})
        self.foreign_columns.add(tab.columns[-1])
        self.put_foreign(tab, self.random.choice(tab.rows), tab.columns[-1])
        return True

    def insert_column(self, tab: Tab) -> bool:
        at = self.random.randrange(len(tab.columns))
        self.do({"insertDimension": {"range": self.span(tab, "COLUMNS", at)}})
        column = tab.columns[at]
        self.foreign_columns.add(column)
        for row in self.random.sample(tab.rows, min(3, len(tab.rows))):
            self.put_foreign(tab, row, column)
        return True

    def move_row(self, tab: Tab) -> bool:
        first, end = self.body(tab)
        if end - first < 3 or tab.merges:
            return False
        at, to = self.random.randrange(first, end), self.random.randrange(first, end)
        if to in (at, at + 1):
            return False
        self.do({"moveDimension": {"source": self.span(tab, "ROWS", at), "destinationIndex": to}})
        return True

    def move_column(self, tab: Tab) -> bool:
        if len(tab.columns) < 3:
            return False
        at, to = self.random.randrange(len(tab.columns)), self.random.randrange(len(tab.columns))
        if to in (at, at + 1):
            return False
        self.do({"moveDimension": {"source": self.span(tab, "COLUMNS", at), "destinationIndex": to}})
        return True

    def type_foreign(self, tab: Tab) -> bool:
        columns_there = [column for column in tab.columns if column in self.foreign_columns]
        if not columns_there:
            return False
        self.put_foreign(tab, self.random.choice(tab.rows), self.random.choice(columns_there))
        return True

    def type_managed(self, tab: Tab) -> bool:
        keys, managed = self.keys(tab), self.managed_columns(tab)
        managed.pop("ID", None)
        if not keys or not managed:
            return False
        row, name = self.random.choice(sorted(keys)), self.random.choice(sorted(managed))
        text = self.text("mine ")
        tab.rows[row].cells[tab.columns[managed[name]]] = {"userEnteredValue": {"stringValue": text}}
        if name == "Name":
            self.typed[keys[row]] = text
        self.typed_over.add((keys[row], name))
        return True

    def rename_tab(self, tab: Tab) -> bool:
        if not any(tag.key == "connector.fence" for tag in tab.tags) or not self.file_knows(tab):
            return False  # nobody could know that the tab of another name is meant
        new = f"Partners {self.counter}"
        self.counter += 1
        self.do({"updateSheetProperties": {"properties": {"sheetId": tab.id, "title": new}, "fields": "title"}})
        return True

    def file_knows(self, tab: Tab) -> bool:
        return any(f'"sheet_id": {tab.id},' in note for note in self.host.notes.values())

    def rename_header(self, tab: Tab) -> bool:
        header = self.header_of(tab)
        tagged = [
            place
            for place, column in enumerate(tab.columns)
            if any(tag.key == "connector.column" and tag.value in names for tag in column.tags)
        ]
        if not tagged or not any(tag.key == "connector.header" for tag in tab.rows[header].tags):
            return False
        place = self.random.choice(tagged)
        value = {"stringValue": f"Renamed {self.counter}"}
        self.counter += 1
        tab.rows[header].cells[tab.columns[place]] = {"userEnteredValue": value}
        self.foreign[tab.rows[header], tab.columns[place]] = value
        if others := [column for column in tab.columns if column in self.foreign_columns]:
            # … and the old header goes to a column of their own.
            column = self.random.choice(others)
            tag = next(tag for tag in tab.columns[place].tags if tag.value in names)
            self.foreign[tab.rows[header], column] = {"stringValue": tag.value}
            tab.rows[header].cells[column] = {"userEnteredValue": {"stringValue": tag.value}}
        return True

    def delete_row(self, tab: Tab) -> bool:
        header = self.header_of(tab)
        rows = [place for place, row in enumerate(tab.rows) if row in self.foreign_rows and place > header]
        if not rows or len(tab.rows) < 4:
            return False
        self.drop_row(tab, self.random.choice(rows))
        return True

    def take_row(self, tab: Tab) -> bool:
        """A row of a record is deleted by hand; it comes back with the record's next delivery."""
        keys = self.keys(tab)
        if not keys or len(tab.rows) < 4:
            return False
        row = self.random.choice(sorted(keys))
        self.taken.add(keys[row])
        self.drop_row(tab, row)
        return True

    def drop_row(self, tab: Tab, place: int) -> None:
        line = tab.rows[place]
        self.do({"deleteDimension": {"range": self.span(tab, "ROWS", place)}})
        self.foreign = {where: value for where, value in self.foreign.items() if where[0] is not line}
        self.foreign_rows.discard(line)

    def delete_column(self, tab: Tab) -> bool:
        managed = self.managed_columns(tab)
        if len(tab.columns) < 4 or "ID" not in managed:
            return False
        places = [place for place in range(len(tab.columns)) if place != managed["ID"]]
        place = self.random.choice(places)
        line = tab.columns[place]
        # What remains (see the sink): a column of ours is deleted and another one inserted, and a write that was lost
        # before both arrives after them.
        is_ours = line not in self.foreign_columns
        if is_ours and (self.random.random() < 0.7 or self.file.server.late):
            return False
        for tag in line.tags:
            self.adopt(tab, tag.value)
        self.do({"deleteDimension": {"range": self.span(tab, "COLUMNS", place)}})
        self.foreign = {where: value for where, value in self.foreign.items() if where[1] is not line}
        self.foreign_columns.discard(line)
        # A row that held nothing else is blank now, and free for a record.
        self.foreign_rows = {row for row in self.foreign_rows if any(where[0] is row for where in self.foreign)}
        return True

    def adopt(self, tab: Tab, name: str | None) -> None:
        """With the managed column gone, a column of their own that bears its header is the one that is meant."""
        header = self.header_of(tab)
        for place, column in enumerate(tab.columns):
            if name in names and column in self.foreign_columns and tab.value(header, place) == name:
                self.foreign_columns.discard(column)
                self.foreign = {where: value for where, value in self.foreign.items() if where[1] is not column}
                # What was delivered went with the deleted column; only a resync fills this one for all records.
                self.typed_over |= {(key, str(name)) for key in self.records}

    def hide(self, tab: Tab) -> bool:
        self.random.choice(tab.rows).hidden = True
        self.random.choice(tab.columns).hidden = True
        return True

    # ------------------------------------------------------------ Google's faults

    def fault_for(self, call: Call) -> Fault | None:
        if call.path == "/token" or not self.faulty or self.random.random() > 0.25:
            return None
        write = call.path.endswith(":batchUpdate")
        kinds = ["status", "reset_before", "quota"]
        if self.guarded:
            kinds += ["reset_after", "cut_after", "status_after"] + (["late", "doubled"] if write else [])
        kind = self.random.choice(kinds)
        self.tally.faults[kind] += 1
        if kind == "late":
            return self.file.server.postpone(call)
        if kind == "doubled":
            self.file.server.doubled.add(call.number)
            return None
        if kind == "quota":
            error = {"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED"}}
            return Fault("status", Reply(429, error))
        return Fault(kind, Reply(self.random.choice([500, 502, 503]), {"error": {"code": 503, "message": "oops"}}))

    def person(self, call: Call) -> None:
        if not self.busy:
            return
        if self.file.server.late and self.random.random() < 0.4:
            self.file.server.deliver_late()
        if self.random.random() < 0.45:
            self.edit()

    # ------------------------------------------------------------ the round

    def run(self) -> None:
        self.host.notes.clear()
        self.sink.close()
        self.faulty, self.busy = self.random.random() < 0.8, True
        self.build()
        server = self.file.server
        server.person, server.fault_for = self.person, self.fault_for
        server.late, server.doubled = [], set()
        before = len(server.calls)
        try:
            if self.guarded:
                self.rounds()
            else:
                self.stops()
        except _Stuck as error:
            self.tally.stuck.append(f"{self.seed}: {error}")
        self.tally.rounds += 1
        self.tally.calls += len(server.calls) - before
        self.tally.refused_batches += server.statuses[-(len(server.calls) - before) :].count(400)

    def rounds(self) -> None:
        for _ in range(self.random.randrange(2, 5)):
            for _ in range(self.random.choice([0, 0, 1, 3])):
                self.edit()
            self.flush()
            self.compare(after_resync=False)
            if self.random.random() < 0.3:
                self.undo()
                self.compare(after_resync=False)
        self.busy = self.faulty = False
        if self.file.server.late:
            self.file.server.deliver_late()
        self.deliver(list(self.records))
        self.compare(after_resync=True)

    def stops(self) -> None:
        """The sink says what is wrong and has not touched a cell, a tag or a tab, whatever else happens."""
        self.busy = False
        titles = [tab.title for tab in self.book.tabs]
        for _ in range(12):
            try:
                self.sink.write(self.target(), [Row("a:1", "a:1", self.cells("a:1"))])
            except TryLater:
                continue
            except NeedsAction as error:
                if "unguarded_writes" not in error.reason:
                    raise _Stuck(error.reason) from error
                self.tally.stopped += 1
                break
            self.tally.foreign.append(f"{self.seed} wrote though guards don't bind")
        else:
            raise _Stuck("12 tries were not enough")
        there = {line for tab in self.book.tabs for line in tab.rows}
        tags = self.book.all_tags()
        if tags or [tab.title for tab in self.book.tabs] != titles or any(row in there for row, _ in self.book.touched):
            self.tally.foreign.append(f"{self.seed} left something behind")

    def target(self) -> Target:
        options = GoogleSheetsTargetOptions(tab=title, header_row=self.header + 1 if self.header else None)
        return Target("sheets/m", columns, "ID", options, "m.toml")

    def flush(self) -> None:
        dice = self.random
        keys = set(dice.sample(sorted(self.records), min(len(self.records), dice.randrange(6))))
        keys |= {f"a:{dice.randrange(20)}" for _ in range(dice.randrange(1, 5))}
        for key in keys:
            self.records[key] = self.cells(key)
        self.deliver(sorted(keys))

    def deliver(self, keys: list[str]) -> None:
        """As delivery does: until each row is written."""
        typed, self.outcomes = self.names_typed(keys), {}
        for _ in range(25):
            if self.random.random() < 0.2:
                self.sink.close()  # forgets all but the host's notes, as a restart does
            rows = [
                Row(key, key, self.records[key], self.delivered.get(key), held=self.held.get(key, {}),
                    tried=tuple(self.tried.get(key, ())))
                for key in keys
            ]  # fmt: skip
            for key in keys:
                self.tried.setdefault(key, []).append(self.records[key])
            self.host.typed.clear()
            try:
                outcomes = self.sink.write(self.target(), rows)
            except TryLater:
                self.noted += self.host.typed
                continue
            except NeedsAction as error:
                raise _Stuck(str(error)) from error
            assert {outcome.key for outcome in outcomes} == set(keys)
            for outcome in outcomes:
                if outcome.kind != "written":
                    raise _Stuck(f"{outcome.kind}: {outcome.reason}")
                self.look_for_lost_edits(outcome, typed)
                self.outcomes[outcome.key] = outcome
                self.delivered[outcome.key] = self.records[outcome.key]
                self.held[outcome.key], self.tried[outcome.key] = dict(outcome.held), []
            return
        raise _Stuck("25 tries were not enough")

    def undo(self) -> None:
        """Take back what the last delivery wrote, while nobody types. A row that it added goes if nothing else is in
        it."""
        busy, self.busy = self.busy, False
        rows = []
        for key, outcome in self.outcomes.items():
            former = {name: cell for name, cell in outcome.former.items() if name != "ID"}
            last, held = self.delivered[key], self.held[key]
            if outcome.added or former:
                cells: dict[str, Cell] = {"ID": key, **({} if outcome.added else former)}
                rows.append(Row(key, key, cells, last, remove=outcome.added, held=held, restore=True))
        back = self.until_answered(rows)
        for row in rows:
            outcome, last = back[row.key], self.delivered.pop(row.key)
            self.held.pop(row.key)
            if row.remove:
                self.taken.add(row.key)
                continue
            self.delivered[row.key] = last | {n: c for n, c in row.cells.items() if n not in outcome.kept}
            self.held[row.key] = dict(outcome.held)
            if row.cells.get("Name") == self.typed.get(row.key):
                self.typed.pop(row.key, None)  # what a person had typed is ours now, put back by us
        self.outcomes = {}
        self.busy = busy
        self.tally.undone += len(rows)

    def until_answered(self, rows: Sequence[Row]) -> dict[str, Outcome]:
        for _ in range(25):
            try:
                return {outcome.key: outcome for outcome in self.sink.write(self.target(), rows)} if rows else {}
            except TryLater:
                continue
        raise _Stuck("25 tries were not enough to undo")

    def names_typed(self, keys: list[str]) -> dict[str, str]:
        """The names that people typed over ours and that are there before a delivery, by key."""
        self.noted: list[Mapping[str, Mapping[str, Cell]]] = []
        tab = self.tab()
        managed = {} if tab is None else self.managed_columns(tab)
        if tab is None or "Name" not in managed or not managed.keys() >= {"ID"}:
            return {}
        there = {key: tab.value(row, managed["Name"]) for row, key in self.keys(tab).items()}
        return {key: there[key] for key in keys if there.get(key) == self.typed.get(key, object())}

    def look_for_lost_edits(self, outcome: Outcome, typed: Mapping[str, str]) -> None:
        """A name that a person typed before the delivery is still there, or it is known that it was overwritten."""
        key, tab = outcome.key, self.tab()
        managed = {} if tab is None else self.managed_columns(tab)
        rows = [] if tab is None else [row for row, each in self.keys(tab).items() if each == key]
        if tab is None or key not in typed or key in self.taken or "Name" not in managed or not rows:
            return
        text, now = typed[key], tab.value(rows[0], managed["Name"])
        if now in (text, self.typed[key]) and now != self.records[key]["Name"]:
            return
        is_told = "Name" in outcome.overwritten and outcome.former.get("Name") == text
        is_noted = any(line.get(key, {}).get("Name") == text for line in self.noted)
        is_new = key in self.delivered and self.delivered[key]["Name"] != self.records[key]["Name"]
        if key in self.delivered and not (is_new and (is_told or is_noted or self.typed[key] != text)):
            self.tally.edits_lost.append(f"{self.seed} {key}: {text} became {now}")

    def compare(self, *, after_resync: bool) -> None:
        tab = self.tab()
        assert tab is not None
        managed, keys = self.managed_columns(tab), self.keys(tab)
        where = f"{self.seed}{' resync' if after_resync else ''}"
        rows: dict[str, list[int]] = {}
        for row, key in keys.items():
            rows.setdefault(key, []).append(row)
        for key, cells in self.delivered.items():
            at = rows.get(key, [])
            if len(at) > 1:
                self.tally.doubles.append(f"{where} {key}")
            if not at and (after_resync or key not in self.taken):
                self.tally.lost.append(f"{where} {key}")
            for row in at[:1]:
                for name, place in managed.items():
                    if not after_resync and ((key, name) in self.typed_over):
                        continue
                    there, wanted = _value(tab, row, place), value_of(cells[name], "url" if name == "Link" else "text")
                    if name == "Name" and there == self.typed.get(key):
                        continue  # a person's, and the record has no other since
                    if name != "ID" and not same(there, wanted):
                        self.tally.wrong.append(f"{where} {key} {name}: {as_cell(there)!r} for {wanted!r}")
        alive = {*tab.rows}, {*tab.columns}
        for (line, column), value in self.foreign.items():
            if line not in alive[0] or column not in alive[1]:
                self.tally.foreign.append(f"{where} a line of somebody else is gone")
            elif _without_references(line.cells.get(column, {}).get("userEnteredValue")) != _without_references(value):
                spot = tab.rows.index(line), tab.columns.index(column)
                self.tally.foreign.append(f"{where} {spot} {line.cells.get(column)} for {value}")
        for _, column in self.book.touched:
            if column in self.foreign_columns and column in alive[1]:
                self.tally.foreign.append(f"{where} wrote into somebody else's column {tab.columns.index(column)}")
        if self.book.tabs[0].grid()[:2] != [["keep", "out", None, None, None], [1, 2, None, None, None]]:
            self.tally.foreign.append(f"{where} another tab")


def _value(tab: Tab, row: int, column: int) -> Any:
    value = tab.value(row, column)
    cell = tab.rows[row].cells.get(tab.columns[column], {})
    if uri := cell.get("userEnteredFormat", {}).get("textFormat", {}).get("link", {}).get("uri"):
        return Link(value, uri)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _is_formula(cell: Json) -> bool:
    return "formulaValue" in cell.get("userEnteredValue", {})


def _without_references(value: Any) -> Any:
    """A formula's references follow the rows they name."""
    formula = (value or {}).get("formulaValue")
    return value if formula is None else re.sub(r"#REF!|[A-Z]+[0-9]+:[A-Z]+[0-9]+", "…", formula)


class _Stuck(Exception):
    pass


def run(rounds: int, *, seed: int = 0, profile: str = "guarded") -> Tally:
    """*rounds* rounds with the seeds from *seed* on."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder, SheetsFile(Path(folder)) as file:
        sink = file.sink()
        for number in range(seed, seed + rounds):
            Round(file, sink, number, tally, profile=profile).run()
        sink.close()
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--profile", choices=["guarded", "tags_stay", "ids_repeat"], default="guarded")
    arguments = parser.parse_args()
    start = time.monotonic()
    tally = run(arguments.rounds, seed=arguments.seed, profile=arguments.profile)
    print(f"{tally}\n{time.monotonic() - start:.0f} s")  # noqa: T201 - a command's answer
    raise SystemExit(0 if tally.is_clean else 1)


if __name__ == "__main__":
    main()
