"""What an edited mapping changes in a table that people share waits for a person."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.assembly import utc_now
from connector.changes.notes import held_of
from connector.cli.main import run
from connector.overview import overview
from connector.store.model import DeliveryLine
from tests.changes.place import CONFIG, ROUTE, Place, Sheets, running
from tests.far_sides.sheets_server import SheetsServer
from tests.running import until

CONFIRM = CONFIG + 'apply = "confirm"\n'


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path, CONFIRM)
    for number in (1, 2, 3):
        place.receive(number)
    place.drain()
    return place


def typed(capsys: pytest.CaptureFixture[str], place: Place, *words: str) -> tuple[int, str]:
    code = run([*words, "--config", str(place.folder / "config.toml")])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def lines_of(place: Place, route: str) -> list[DeliveryLine]:
    with place.store() as store:
        return [line for number in (1, 2, 3, 4) for line in store.deliveries_of(f"fp:{number}") if line.route == route]


def test_what_changes_cells_waits_and_the_route_goes_on_with_the_old_version(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(place) as program:
        place.edit('"Active"', '"Aboard"')
        until(lambda: place.stored().held)
        held = held_of(place.stored())
        assert held is not None
        assert (held.kind, held.text, held.cells, held.rows) == ("edit", "3 cells in 3 rows would change", 3, 3)
        place.receive(4)
        until(lambda: "fp:4,p4@example.com,Active" in place.rows())
        assert place.rows()[0] == "fp:1,p1@example.com,Active"
        program.readiness.look()
        assert program.reasons() == ()  # a held plan never turns /readyz red
        with place.store() as store:
            (trouble,) = overview(place.settings, store, [], utc_now()).troubles
        assert (trouble.kind, trouble.text) == ("waits", "waits for you: 3 cells in 3 rows would change")
        assert trouble.command == "connector plan local/people"

        code, out = typed(capsys, place, "apply", ROUTE)
        assert code == 0
        assert place.rows() == [f"fp:{n},p{n}@example.com,Aboard" for n in (1, 2, 3, 4)]
        delivery = out.rpartition(" ")[2].strip()
        assert out == (
            "✓ local/people: 4 cells written in 4 rows.\n"
            f"To undo within 30 days: connector undo local/people --delivery {delivery}\n"
        )
        assert [line.delivery == delivery for line in lines_of(place, ROUTE)][-1]
        assert typed(capsys, place, "plan") == (0, "Nothing would change.\n")
        place.receive(4, email="new@example.com")
        until(lambda: "fp:4,new@example.com,Aboard" in place.rows())
        until(lambda: lines_of(place, ROUTE)[-1].cells == '{"Email":"new@example.com"}')
        assert lines_of(place, ROUTE)[-1].delivery != delivery  # the next deliveries are something else


def test_what_only_adds_is_applied_at_once(place: Place) -> None:
    with running(place):
        place.edit('"Email" = "email"', '"Email" = "email"\n"Source" = "source"')
        until(lambda: place.rows()[0] == "fp:1,p1@example.com,Active,fp")
        assert not place.stored().held


def test_plan_and_apply_count_cells_of_new_columns_alike(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.receive(4, status="inactive")
    place.drain()
    with running(place):
        more = '"Email" = "email"\n"Source" = "source"\n"Phone" = "phone"'
        place.edit('"Active"', '"Aboard"', '"Email" = "email"', more)
        until(lambda: place.stored().held)
        would = "3 cells in 3 rows would change, and 4 cells of new columns would be filled."
        assert typed(capsys, place, "plan")[1].startswith(would)
        assert typed(capsys, place, "plan", "--live")[1].startswith(would)
        code, out = typed(capsys, place, "apply", ROUTE)
        assert code == 0
        assert out.startswith("✓ local/people: 3 cells written in 3 rows, 4 cells of new columns filled.\n")
        assert typed(capsys, place, "apply", ROUTE)[0] == 0


def test_apply_after_an_edit_that_was_applied_at_once(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with running(place):
        place.edit('"Email" = "email"', '"Email" = "email"\n"Source" = "source"')
        until(lambda: place.rows()[0] == "fp:1,p1@example.com,Active,fp")
        code, out = typed(capsys, place, "apply", ROUTE)
        assert (code, out) == (0, "✓ Already applied: local/people runs its mapping file as it is now.\n")


def test_a_held_version_waits_across_restarts_and_ends_when_the_file_is_put_back(place: Place) -> None:
    place.edit('"Active"', '"Aboard"')
    place.drain()
    assert place.stored().held
    place.receive(4)
    place.drain()
    assert place.rows()[-1] == "fp:4,p4@example.com,Active"
    place.edit('"Aboard"', '"Active"')
    place.drain()
    assert not place.stored().held


def test_without_a_server_it_says_when_it_will_be_written(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = typed(capsys, place, "apply", ROUTE)
    assert (code, out) == (0, "✓ Already applied: local/people runs its mapping file as it is now.\n")
    place.edit('"Active"', '"Aboard"')
    code, out = typed(capsys, place, "apply", ROUTE)
    assert code == 0
    assert out == "· local/people: what waits will be written by the next start.\nNext: connector serve\n"
    assert place.rows()[0] == "fp:1,p1@example.com,Active"
    place.drain()
    assert place.rows()[0] == "fp:1,p1@example.com,Aboard"


def test_automatic_never_waits(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.receive(1)
    place.drain()
    with running(place):
        place.edit('"Active"', '"Aboard"')
        until(lambda: place.rows() == ["fp:1,p1@example.com,Aboard"])


@pytest.fixture
def sheets(tmp_path: Path) -> Iterator[Sheets]:
    with SheetsServer() as server:
        yield Sheets(tmp_path, server)


def test_google_sheets_waits_without_being_told_to(sheets: Sheets, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2):
        sheets.receive(number)
    sheets.drain()
    assert sheets.cells() == [[f"fp:{n}", f"p{n}@example.com", "Active"] for n in (1, 2)]
    with running(sheets):
        sheets.edit('"Active"', '"Aboard"')
        until(lambda: sheets.stored().held)
        code, out = typed(capsys, sheets, "plan", "--live")
        assert code == 1
        assert out.startswith("2 cells in 2 rows would change. Nothing is written yet.\n")
        code, out = typed(capsys, sheets, "apply", "sheets/people")
        assert (code, out.splitlines()[0]) == (0, "✓ sheets/people: 2 cells written in 2 rows.")
        assert sheets.cells() == [[f"fp:{n}", f"p{n}@example.com", "Aboard"] for n in (1, 2)]


def test_a_new_column_that_people_have_filled_already_waits(place: Place) -> None:
    header, *rows = place.table.read_text(encoding="utf-8-sig").splitlines()
    notes = ["typed", "", ""]
    filled = [f"{row},{note}" for row, note in zip(rows, notes, strict=True)]
    place.table.write_text("\n".join([f"{header},Source", *filled]) + "\n", encoding="utf-8")
    place.edit('"Email" = "email"', '"Email" = "email"\n"Source" = "source"')
    place.drain()
    held = held_of(place.stored())
    assert held is not None
    assert held.text == "1 cell that people filled would change"
    assert "typed" in place.table.read_text(encoding="utf-8-sig")


def test_google_sheets_counts_cells_of_new_columns_apart(sheets: Sheets, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2):
        sheets.receive(number)
    sheets.drain()
    with running(sheets):
        sheets.edit('"Active"', '"Aboard"', '"Email" = "email"', '"Email" = "email"\n"Source" = "source"')
        until(lambda: sheets.stored().held)
        would = "2 cells in 2 rows would change, and 2 cells of new columns would be filled."
        assert typed(capsys, sheets, "plan")[1].startswith(would)
        assert typed(capsys, sheets, "plan", "--live")[1].startswith(would)
        out = typed(capsys, sheets, "apply", "sheets/people")[1]
        assert out.startswith("✓ sheets/people: 2 cells written in 2 rows, 2 cells of new columns filled.\n")


def test_another_key_finds_each_row_again_and_who_shares_it_is_told(tmp_path: Path) -> None:
    place = Place(tmp_path)
    for number, email in ((1, "both@example.com"), (2, "both@example.com"), (3, "own@example.com")):
        place.receive(number, email=email)
    place.drain()
    before = place.rows()
    place.edit('field = "ID"', 'field = "Email"')
    place.drain()
    assert place.rows() == before
    with place.store() as store:
        (written,) = store.written(ROUTE, (), ["both@example.com"])
        assert store.written(ROUTE, (), ["own@example.com"])[0].record_id == "fp:3"
    keeps, waits = (1, 2) if written.record_id == "fp:1" else (2, 1)
    place.receive(keeps, email="both@example.com", status="rejected")
    place.drain()
    assert place.rows()[keeps - 1] == f"fp:{keeps},both@example.com,Other"
    assert place.rows()[waits - 1] == before[waits - 1]
    place.receive(waits, email="its-own@example.com")
    place.drain()
    assert place.rows()[waits - 1] == f"fp:{waits},its-own@example.com,Active"
    assert len(place.rows()) == 3
