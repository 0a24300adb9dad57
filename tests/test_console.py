"""The status tab of a spreadsheet: what it shows, and what a tick in it does. Real store, letters, sink and gspread."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from connector import config
from connector.app import Program
from connector.app.console import ConsoleOf, refresh_consoles
from connector.assembly import build_sources
from connector.core.console import Console, Table
from connector.core.errors import NeedsAction
from connector.core.row import Row
from connector.core.source import InboundRequest
from connector.dead_letters import Letter, LetterFile
from connector.projector import Projector
from connector.sinks.google_sheets.region import colour
from connector.store import Store
from connector.store.model import Result
from tests.far_sides.sheets_book import Json, Tab
from tests.running import until
from tests.sinks.google_sheets_file import SheetsFile
from tests.sinks.host import TestHost

start = datetime(2026, 11, 30, 9, 14, tzinfo=UTC)
mapping = """
[target]
tab = "Affiliates"
[key]
field = "ID"
[fields]
"ID" = "id"
"Email" = { from = "email", type = "email" }
"Bio" = "custom.bio"
"""


class Desk:
    """One installation whose spreadsheet has a status tab; nothing runs by itself."""

    def __init__(self, folder: Path, file: SheetsFile) -> None:
        (folder / "config.toml").write_text(
            f"""
[sources.fp]
type = "firstpromoter"
token = "fp-t0ken-of-the-tests-7c1Zq"
[sinks.sheets]
type = "google_sheets"
spreadsheet = "{file.book.id}"
credentials_file = "key.json"
base_url = "{file.server.url}"
status_tab = "Connector"
mappings = ["people.toml"]
[sinks.local]
type = "csv"
path = "table.csv"
mappings = ["local.toml"]
""",
            encoding="utf-8",
        )
        (folder / "people.toml").write_text(mapping, encoding="utf-8")
        (folder / "local.toml").write_text(mapping.replace('[target]\ntab = "Affiliates"\n', ""), encoding="utf-8")
        self.file, self.now = file, start
        self.settings = config.load(folder / "config.toml", {})
        self.letters = LetterFile(self.settings.dead_letters.path, now=lambda: self.now)
        self.store = Store(self.settings.store.url, worker=True, now=lambda: self.now)
        self.store.enroll(self.settings.route_names)
        self.host = TestHost(start=start)
        self.console = self.anew()

    def anew(self) -> ConsoleOf:
        """As after a start of the program."""
        sink = self.file.sink(self.host, status_tab="Connector")
        routes = {route.name: route.target for route in self.settings.sinks[0].routes}
        return ConsoleOf(self.settings, self.store, self.letters, sink, lambda: routes, now=lambda: self.now)

    def receive(self, *numbers: int) -> None:
        (source,) = build_sources(self.settings).values()
        for number in numbers:
            promoter = {"id": number, "email": f"p{number}@example.com", "status": "active"}
            body = {"event": {"id": number, "type": "promoter_updated"}, "data": {"promoter": promoter}}
            headers = [(b"authorization", b"Bearer fp-t0ken-of-the-tests-7c1Zq")]
            self.store.append([source.accept(InboundRequest(headers, b"", json.dumps(body).encode(), self.now))])
        projector = Projector(self.store, {"fp": source}, self.letters, stop=threading.Event(), now=lambda: self.now)
        projector.catch_up()
        self.settle()

    def settle(self) -> None:
        """What is pending is delivered."""
        for route in self.settings.route_names:
            taken = self.store.take(route, 100, lease=timedelta(minutes=1))
            self.store.finish(route, [Result(each.record_id, each.version, each.token) for each in taken])

    def refuse(self, *numbers: int, code: str = "bad_email", column: str = "Email") -> None:
        self.letters.add([self.letter(number, code, column) for number in numbers])

    def letter(self, number: int, code: str, column: str) -> Letter:
        where = self.settings.routes[0].target.column(column).where
        reason = f'Email "secret-{number} at example" is not an e-mail address'
        content = {"cells": {"Email": f"secret-{number}"}}
        return Letter("deliver", "sheets/people", f"fp:{number}", reason, code, f"fp:{number}", where, content=content)

    def minute(self) -> str:
        """One minute goes by; the calls that the console makes then."""
        self.now += timedelta(minutes=1)
        self.host.advance(60)
        failed: list[str] = []
        calls = self.file.calls_of(lambda: failed.append(self.console.round()))
        assert failed == [""]
        return calls

    @property
    def tab(self) -> Tab:
        return self.file.book.tab("Connector")

    def lines(self) -> list[list[Any]]:
        """The filled rows, without empty cells at the end."""
        found = []
        for line in self.tab.grid():
            while line and line[-1] is None:
                line.pop()
            found.append(line)
        while found and not found[-1]:
            found.pop()
        return found

    def boxes(self) -> dict[int, Any]:
        return {row: line[0] for row, line in enumerate(self.tab.grid()) if isinstance(line[0], bool)}

    def tick(self, row: int) -> None:
        self.tab.put(row, 0, True)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with SheetsFile(tmp_path) as file:
        desk = Desk(tmp_path, file)
        yield desk
        desk.store.close()
        assert file.server.unexpected == []


def test_a_calm_tab_says_so_and_is_written_once(desk: Desk) -> None:
    assert desk.minute() == "rw"
    assert desk.minute() == "r"
    lines = desk.lines()
    assert lines[0] == ["Everything is up to date"]
    assert lines[1][0].startswith("Written by the connector on 30 Nov 2026, 09:15 (London). It reads only the Retry")
    assert lines[3][:3] == ["Retry", "Problem", "Affiliates"]
    assert lines[4] == [None, "No problems."]
    assert lines[6] == [None, "Table", "Affiliates", "State", "Last write", "What to do"]
    assert lines[7] == [None, "Affiliates", 0.0, "Up to date"]
    assert len(lines) == 8, "only this spreadsheet's routes"
    assert desk.boxes() == {}


def test_the_tab_is_the_last_one_and_warns_people_beside_the_boxes(desk: Desk) -> None:
    desk.file.book.add("Mine", [["x"]])
    desk.minute()
    assert [tab.title for tab in desk.file.book.tabs] == ["Sheet1", "Mine", "Connector"]
    assert desk.tab.color == colour("878792")
    assert desk.tab.frozen_rows == 2
    assert [column.pixels for column in desk.tab.columns] == [64, 272, 96, 156, 124, 470, 320, 280]
    (protection,) = desk.tab.protected
    assert (protection.rows, protection.columns, protection.warning) == (None, None, True)
    assert protection.free == [{"sheetId": desk.tab.id, "startColumnIndex": 0, "endColumnIndex": 1}]


def test_problems_are_in_words_with_ids_and_no_value_of_a_person(desk: Desk) -> None:
    desk.refuse(*range(41, 66))
    desk.refuse(7, code="cell_too_long", column="Bio")
    desk.letters.add([replace(desk.letter(9, "bad_email", "Email"), place="local/local")])
    desk.minute()
    lines = desk.lines()
    assert lines[0] == ["26 affiliates are not up to date, for 2 reasons"]
    assert lines[4][:3] == [False, "The e-mail address is not valid", 25.0]
    assert lines[4][3:6] == ["Affiliates, Email", "30 Nov, 09:14", "Correct it on the platform, then tick Retry."]
    assert lines[4][6].startswith("fp:41, fp:42, ")
    assert lines[4][6].endswith("fp:60, 5 more")
    assert lines[5][1:4] == ["The text is longer than a cell may be", 1.0, "Affiliates, Bio"]
    assert "secret" not in str(lines)
    assert "fp:9" not in str(lines).replace("'", " "), "another sink's"
    box: Json = desk.tab.rows[4].cells[desk.tab.columns[0]]
    assert box["dataValidation"]["condition"] == {"type": "BOOLEAN"}


def test_a_tick_tries_again_and_the_outcome_is_told_within_two_minutes(desk: Desk) -> None:
    desk.receive(41, 42, 43)
    desk.refuse(41, 42, 43)
    desk.minute()
    desk.tick(4)
    assert desk.minute() == "rw"
    assert desk.letters.list() == []
    assert {letter for number in (41, 42, 43) for letter in [f"fp:{number}"] if desk.store.pending_of(letter)} == {
        "fp:41", "fp:42", "fp:43",
    }  # fmt: skip
    assert (desk.boxes(), desk.lines()[4][7]) == ({4: False}, "Retrying 3…")
    desk.settle()
    desk.refuse(42)
    assert desk.minute() == "rw"
    assert desk.lines()[4][:3] == [False, "The e-mail address is not valid", 1.0]
    assert desk.lines()[4][7] == "30 Nov, 09:17: 2 written, 1 refused again"
    assert desk.minute() == "r"


def test_what_was_all_written_is_shown_for_an_hour(desk: Desk) -> None:
    desk.receive(41)
    desk.refuse(41)
    desk.minute()
    desk.tick(4)
    desk.minute()
    desk.settle()
    desk.minute()
    assert desk.lines()[0] == ["Everything is up to date"]
    assert desk.lines()[4] == [
        False, "The e-mail address is not valid", 0.0, "Affiliates, Email", "30 Nov, 09:14",
        "Correct it on the platform, then tick Retry.", None, "30 Nov, 09:17: 1 written",
    ]  # fmt: skip
    desk.now += timedelta(hours=1, minutes=1)
    desk.minute()
    assert desk.boxes() == {}
    assert desk.lines()[4] == [None, "No problems. The last one was on 30 Nov."]


def test_a_sorted_row_tries_itself_again(desk: Desk) -> None:
    desk.refuse(41)
    desk.refuse(7, code="cell_too_long", column="Bio")
    desk.minute()
    span = {"sheetId": desk.tab.id, "dimension": "ROWS", "startIndex": 5, "endIndex": 6}
    desk.file.book.edit({"moveDimension": {"source": span, "destinationIndex": 4}})
    desk.tick(4)
    desk.minute()
    assert [letter.code for letter in desk.letters.list()] == ["bad_email"]


@pytest.mark.parametrize("typed", ["TRUE", "=TRUE()", 1, "retry"])
def test_nothing_but_a_ticked_box_in_a_problems_row_is_a_command(desk: Desk, typed: Any) -> None:
    desk.refuse(41)
    desk.minute()
    desk.tab.put(4, 0, typed)
    for row in (0, 3, 5, 7, 20):
        desk.tab.put(row, 0, True)
    desk.tab.put(4, 1, True)
    before = len(desk.file.server.calls)
    assert desk.minute() == "r"
    assert len(desk.letters.list()) == 1
    (call,) = desk.file.server.calls[before:]
    (area,) = call.json["dataFilters"]
    assert (area["gridRange"]["startColumnIndex"], area["gridRange"]["endColumnIndex"]) == (0, 1)
    assert call.query["fields"][0].endswith("rowData.values.userEnteredValue.boolValue))")


def test_a_box_that_is_ticked_while_the_tab_is_renewed_stays_ticked(desk: Desk) -> None:
    desk.refuse(41)
    desk.minute()
    desk.refuse(42)
    desk.file.before_call(2, lambda: desk.tick(4))
    assert desk.minute() == "rw"
    assert desk.boxes() == {4: True}
    desk.file.server.person = lambda call: None
    desk.minute()
    assert desk.letters.list() == []


def test_fewer_lines_leave_nothing_behind_and_more_lines_make_room(desk: Desk) -> None:
    desk.refuse(41, code="other")
    desk.refuse(*range(42, 45))
    desk.minute()
    long = len(desk.lines())
    desk.letters.close([letter.id for letter in desk.letters.list()], "dropped")
    desk.minute()
    assert len(desk.lines()) == long - 1
    assert desk.boxes() == {}
    assert not any("dataValidation" in cell for row in desk.tab.rows for cell in row.cells.values())
    sink = desk.file.sink(desk.host, status_tab="Connector")
    sink.read_console()
    tables = tuple(Table(f"Table {number}", 1, "Up to date") for number in range(300))
    sink.show_console(Console("Everything is up to date", (), tables, ()))
    assert len(desk.lines()) == 307


def test_after_a_restart_with_another_store_the_tab_is_found_again(desk: Desk) -> None:
    desk.minute()
    desk.host.notes.clear()
    desk.console = desk.anew()
    assert desk.console.round() == 'the tab "Connector" is there already'
    assert desk.minute() == "r"
    assert [tab.title for tab in desk.file.book.tabs].count("Connector") == 1


def test_a_tab_that_somebody_deleted_is_made_again(desk: Desk) -> None:
    desk.minute()
    desk.file.book.edit({"deleteSheet": {"sheetId": desk.tab.id}})
    assert "is gone" in desk.console.round()
    assert desk.minute() == "rw"
    assert desk.lines()[0] == ["Everything is up to date"]


@pytest.mark.parametrize("column", [0, 3, 7])
def test_a_column_that_somebody_deleted_is_made_again(desk: Desk, column: int) -> None:
    desk.refuse(41)
    desk.minute()
    lines, boxes = desk.lines(), desk.boxes()
    span = {"sheetId": desk.tab.id, "dimension": "COLUMNS", "startIndex": column, "endIndex": column + 1}
    desk.file.book.edit({"deleteDimension": {"range": span}})
    assert desk.minute() == "rw"
    assert (desk.boxes(), desk.lines()[2:]) == (boxes, lines[2:])
    assert desk.minute() == "r"


def test_a_tab_of_peoples_own_is_never_touched(desk: Desk) -> None:
    desk.file.book.add("Connector", [["mine"]])
    sink = desk.file.sink(desk.host, status_tab="Connector")
    sink.read_console()
    with pytest.raises(NeedsAction, match="rename it, or change status_tab"):
        sink.show_console(Console("Everything is up to date", (), (), ()))
    assert desk.lines() == [["mine"]]


def test_a_mapping_can_not_have_the_status_tab_for_its_table(desk: Desk) -> None:
    sink, target = desk.file.sink(desk.host, status_tab="affiliates "), desk.settings.routes[0].target
    with pytest.raises(NeedsAction, match="status_tab of this sink"):
        sink.write(target, [Row("fp:1", "fp:1", {"ID": "fp:1"})])


def test_forget_takes_the_id_out_of_the_tab_in_the_same_step(desk: Desk) -> None:
    desk.refuse(41, 42)
    desk.minute()
    assert "fp:41" in desk.lines()[4][6]
    desk.letters.forget(lambda letter: letter.subject == "fp:41")
    desk.host.notes = {}
    first = refresh_consoles(desk.settings, desk.store, desk.letters)
    assert first == ['sheets: the tab "Connector" is there already']
    assert refresh_consoles(desk.settings, desk.store, desk.letters) == []
    assert "fp:41" not in str(desk.lines())


def test_the_command_forget_does_so(desk: Desk) -> None:
    desk.receive(41, 42)
    desk.refuse(41, 42)
    desk.minute()
    desk.store.remember("sheets", f"{desk.file.book.id}/console", str(desk.tab.id))
    desk.store.close()
    words = ["forget", "fp:41", "--yes", "--config", str(desk.settings.file)]
    done = subprocess.run([sys.executable, "-m", "connector", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "status tab" not in done.stdout
    assert "fp:41" not in str(desk.lines())
    assert "fp:42" in str(desk.lines())


def test_a_destination_that_is_away_costs_nothing_but_a_line_in_the_log(desk: Desk) -> None:
    desk.file.server.denied = "not_shared"
    assert "not shared" in desk.console.round()
    desk.file.server.denied = ""
    assert desk.minute() == "rw"


def test_a_running_program_shows_the_tab_and_acts_on_its_boxes(tmp_path: Path) -> None:
    with SheetsFile(tmp_path) as file:
        desk = Desk(tmp_path, file)
        desk.refuse(41)
        desk.store.close()
        program = Program(desk.settings)
        program.start()
        try:
            until(lambda: [tab.title for tab in file.book.tabs], lambda titles: "Connector" in titles)
            until(lambda: desk.lines()[:1], lambda first: first == [["1 affiliate is not up to date, for 1 reason"]])
        finally:
            program.close()
