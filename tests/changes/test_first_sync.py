"""The first sync of a new route, and the first backfill into one: what a shared table has already is not overwritten
before a person has seen it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.assembly import utc_now
from connector.changes.notes import held_of
from connector.cli.main import run
from connector.overview import overview
from tests.changes.place import Sheets, running
from tests.far_sides.sheets_server import SheetsServer
from tests.running import until


@pytest.fixture
def sheets(tmp_path: Path) -> Iterator[Sheets]:
    with SheetsServer() as server:
        yield Sheets(tmp_path, server)


def typed(capsys: pytest.CaptureFixture[str], place: Sheets, *words: str) -> tuple[int, str]:
    code = run([*words, "--config", str(place.folder / "config.toml")])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def with_rows_of_another_installation(sheets: Sheets, folder: Path) -> None:
    """The tab has rows with the same keys, and people have given them other words."""
    folder.mkdir()
    other = Sheets(folder, sheets.server)
    other.edit('"Active"', '"VIP"')
    for number in (1, 2):
        other.receive(number)
    other.drain()
    assert sheets.cells() == [[f"fp:{n}", f"p{n}@example.com", "VIP"] for n in (1, 2)]


def only_a_file(sheets: Sheets) -> str:
    """config.toml without the spreadsheet, for now; what it was."""
    file = sheets.folder / "config.toml"
    text = file.read_text(encoding="utf-8")
    table = '[sinks.local]\ntype = "csv"\npath = "table.csv"\nmappings = ["local.toml"]\n'
    local = sheets.file.read_text(encoding="utf-8").replace('tab = "Affiliates"', "")
    (sheets.folder / "local.toml").write_text(local, encoding="utf-8")
    file.write_text(text.partition("[sinks")[0] + table, encoding="utf-8")
    return text + table


def test_the_first_sync_of_a_new_route_waits_where_its_rows_are_there_already(
    sheets: Sheets, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = only_a_file(sheets)
    for number in (1, 2, 3):
        sheets.receive(number)
    sheets.drain()
    with_rows_of_another_installation(sheets, tmp_path / "other")
    (sheets.folder / "config.toml").write_text(whole, encoding="utf-8")
    with running(sheets) as program:
        until(lambda: held_of(sheets.stored()))
        program.readiness.look()
        assert program.reasons() == ()
        with sheets.store() as store:
            (trouble,) = overview(sheets.settings, store, [], utc_now()).troubles
        assert trouble.text == "waits for you: 2 cells in 2 rows that are there already would change"
        code, out = typed(capsys, sheets, "plan", "sheets/people")
        assert code == 1
        assert out.startswith("2 cells in 2 rows would change. Nothing is written yet.\n  Rows      1 new")
        assert "fp:1" in out or "p1@example.com" in out
        assert sheets.cells() == [[f"fp:{n}", f"p{n}@example.com", "VIP"] for n in (1, 2)]

        sheets.receive(2)  # what comes by webhook is never held
        sheets.receive(4)
        words = {1: "VIP", 2: "Active", 4: "Active"}
        until(lambda: sheets.cells() == [[f"fp:{n}", f"p{n}@example.com", word] for n, word in words.items()])

        code, out = typed(capsys, sheets, "apply", "sheets/people")
        assert code == 0
        assert sheets.cells() == [[f"fp:{n}", f"p{n}@example.com", "Active"] for n in (1, 2, 3, 4)]
        assert typed(capsys, sheets, "plan") == (0, "Nothing would change.\n")


def test_held_records_stay_held_across_restarts_and_edits(sheets: Sheets, tmp_path: Path) -> None:
    whole = only_a_file(sheets)
    for number in (1, 2):
        sheets.receive(number)
    sheets.drain()
    with_rows_of_another_installation(sheets, tmp_path / "other")
    (sheets.folder / "config.toml").write_text(whole, encoding="utf-8")
    with running(sheets):
        until(lambda: held_of(sheets.stored()))
    sheets.edit("[fields]", "[fields]  # the columns")
    with running(sheets) as program:
        program.upkeep.begin()
        until(lambda: "# the" in sheets.stored().text and held_of(sheets.stored()))
        assert sheets.cells() == [[f"fp:{n}", f"p{n}@example.com", "VIP"] for n in (1, 2)]
    sheets.edit('"Active"', '"VIP"')  # now nothing that is there would change
    with running(sheets):
        until(lambda: not sheets.stored().first)


def test_into_an_empty_table_the_first_sync_needs_nobody(sheets: Sheets) -> None:
    whole = only_a_file(sheets)
    sheets.receive(1)
    sheets.drain()
    (sheets.folder / "config.toml").write_text(whole, encoding="utf-8")
    sheets.drain()
    assert sheets.cells() == [["fp:1", "p1@example.com", "Active"]]
    assert not sheets.stored().first


def test_the_first_backfill_waits_where_its_rows_are_there_already(
    sheets: Sheets, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_rows_of_another_installation(sheets, tmp_path / "other")
    with running(sheets):
        sheets.receive(4)  # a new installation
        until(lambda: ["fp:4", "p4@example.com", "Active"] in sheets.cells())
        for number in (1, 2, 3):
            sheets.read_from_the_api(number)
        until(lambda: held_of(sheets.stored()))
        assert sheets.cells()[:2] == [[f"fp:{n}", f"p{n}@example.com", "VIP"] for n in (1, 2)]
        code, _ = typed(capsys, sheets, "apply", "sheets/people")
        assert code == 0
        assert [row[0] for row in sheets.cells()] == ["fp:1", "fp:2", "fp:3", "fp:4"]
        assert "VIP" not in str(sheets.cells())
        sheets.read_from_the_api(5)  # the first one only
        until(lambda: "fp:5" in str(sheets.cells()))
