"""What a route wrote is put back, where its cells still hold that; what people changed stays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from connector.assembly import utc_now
from connector.changes.notes import undo_of
from connector.changes.undo import moment_of
from connector.cli.main import run
from connector.overview import overview
from tests.changes.place import ROUTE, Place, Sheets, running
from tests.far_sides.sheets_server import SheetsServer
from tests.running import until


def typed(capsys: pytest.CaptureFixture[str], place: Place, *words: str) -> tuple[int, str]:
    code = run([*words, "--config", str(place.folder / "config.toml")])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Three affiliates are written, long ago as far as an undo is concerned; then the mapping is edited."""
    place = Place(tmp_path)
    for number in (1, 2, 3):
        place.receive(number)
    place.drain()
    return place


def deliveries(place: Place, route: str = ROUTE) -> list[str]:
    """The ids of what was delivered, in order."""
    with place.store() as store:
        lines = [line for number in range(1, 9) for line in store.deliveries_of(f"fp:{number}") if line.route == route]
    return list(dict.fromkeys(line.delivery for line in sorted(lines, key=lambda line: line.id)))


def edited(place: Place) -> str:
    """After an edit that changed the three rows: the id of that delivery."""
    place.edit('"Active"', '"Aboard"')
    place.drain()
    return deliveries(place, place.route)[-1]


def test_what_a_delivery_changed_gets_its_former_value_back_and_the_route_waits(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    delivery = edited(place)
    assert place.rows() == [f"fp:{n},p{n}@example.com,Aboard" for n in (1, 2, 3)]
    code, out = typed(capsys, place, "undo", ROUTE, "--delivery", delivery, "--yes")
    assert code == 0
    assert out == (
        "3 cells in 3 rows would get their former values back.\n"
        "✓ local/people: 3 cells put back. The route waits; the others continue.\n"
        f"Next: edit {place.file}, then: connector resume local/people\n"
    )
    assert place.rows() == [f"fp:{n},p{n}@example.com,Active" for n in (1, 2, 3)]
    place.receive(4)
    assert place.drain() == {ROUTE: 1}  # it waits
    code, out = typed(capsys, place, "undo", ROUTE, "--delivery", delivery, "--yes")
    assert (code, out) == (0, "Nothing is left to put back.\n")  # undone twice does nothing more

    assert (
        "! local/people  waits for you, undone: connector resume local/people"
        in typed(capsys, place, "explain", "fp:1")[1]
    )
    code, out = typed(capsys, place, "plan")
    assert code == 1
    assert out.startswith("3 cells in 3 rows would change.")  # what resume would write
    assert out.endswith("Next: connector resume local/people\n")
    place.edit('"Aboard"', '"Here"')
    code, out = typed(capsys, place, "resume", ROUTE)
    assert code == 0
    place.drain()
    assert place.rows() == [f"fp:{n},p{n}@example.com,Here" for n in (1, 2, 3, 4)]
    assert typed(capsys, place, "resume", ROUTE)[0] == 1


def test_what_people_changed_later_stays_and_is_listed(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    delivery = edited(place)
    table = place.table.read_text(encoding="utf-8-sig").replace("fp:2,p2@example.com,Aboard", "fp:2,p2@example.com,VIP")
    place.table.write_text(table, encoding="utf-8")
    code, out = typed(capsys, place, "undo", ROUTE, "--delivery", delivery, "--yes")
    assert code == 0
    assert out.startswith(
        "2 cells in 2 rows would get their former values back; 1 cell stays.\n"
        "· Status of fp:2: people changed it since\n"
    )
    assert place.rows() == [f"fp:{n},p{n}@example.com,{s}" for n, s in ((1, "Active"), (2, "VIP"), (3, "Active"))]


def test_rows_that_were_added_go_where_nothing_else_is_in_them(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.receive(4)
    place.receive(5)
    place.drain()
    table = place.table.read_text(encoding="utf-8-sig")
    header, *rows = table.splitlines()
    noted = [f"{row},{'call in May' if row.startswith('fp:5') else ''}" for row in rows]
    place.table.write_text("\n".join([f"{header},Note", *noted]) + "\n", encoding="utf-8")
    code, out = typed(capsys, place, "undo", ROUTE, "--delivery", deliveries(place)[-1], "--yes")
    assert code == 0
    assert out.startswith("2 rows that we added would be removed where nothing else stands in them.\n")
    assert out.count("that we added") == 1
    assert [row for row in place.rows() if row.startswith(("fp:4", "fp:5"))] == ["fp:5,,,call in May"]
    assert "deleted; delivery" in typed(capsys, place, "explain", "fp:4", "--all")[1]
    assert "emptied of what the connector wrote; delivery" in typed(capsys, place, "explain", "fp:5", "--all")[1]


def test_since_takes_everything_and_several_changes_go_back_to_the_first(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    began = datetime.now(UTC)
    edited(place)
    place.edit('"Aboard"', '"Here"')
    place.drain()
    assert place.rows()[0] == "fp:1,p1@example.com,Here"
    code, _ = typed(capsys, place, "undo", ROUTE, "--since", began.isoformat(), "--yes")
    assert code == 0
    assert place.rows() == [f"fp:{n},p{n}@example.com,Active" for n in (1, 2, 3)]
    code, out = typed(capsys, place, "undo", ROUTE, "--since", began.isoformat(), "--yes")
    assert (code, out) == (0, "Nothing is left to put back.\n")


def test_what_a_later_delivery_wrote_stays(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    delivery = edited(place)
    place.edit('"Aboard"', '"Here"')
    place.drain()
    code, out = typed(capsys, place, "undo", ROUTE, "--delivery", delivery, "--yes")
    assert (code, out) == (0, "Nothing is left to put back; 3 cells stay.\n".replace("; 3 cells stay", ""))
    assert place.rows()[0] == "fp:1,p1@example.com,Here"


def test_a_running_server_does_it_in_the_route_s_own_thread(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with running(place):
        place.edit('"Active"', '"Aboard"')
        until(lambda: place.rows()[0] == "fp:1,p1@example.com,Aboard")
        until(lambda: len(deliveries(place)) == 2)
        code, out = typed(capsys, place, "undo", ROUTE, "--delivery", deliveries(place)[-1], "--yes")
        assert code == 0
        assert "✓ local/people: 3 cells put back." in out
        assert place.rows()[0] == "fp:1,p1@example.com,Active"
        place.receive(4)

        def sentence() -> str:
            with place.store() as store:
                return overview(place.settings, store, [], utc_now()).sentence

        waits = "1 thing waits for you; all else is up to date: 3 of 4 affiliates in 1 table."
        until(lambda: sentence() == waits)  # what is pending there waits, too
        undo = undo_of(place.stored())
        assert undo is not None
        assert undo.done
        assert typed(capsys, place, "resume", ROUTE)[0] == 0
        until(lambda: place.rows()[0] == "fp:1,p1@example.com,Aboard")


def test_without_a_terminal_it_says_which_option_answers(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    delivery = edited(place)
    code, out = typed(capsys, place, "undo", ROUTE, "--delivery", delivery)
    assert code == 1
    assert "--yes" in out
    assert place.rows()[0].endswith("Aboard")


@pytest.mark.parametrize("words", [["undo", ROUTE], ["undo", ROUTE, "--since", "soon"]])
def test_words_that_say_no_time_are_refused(place: Place, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    code, out = typed(capsys, place, *words)
    assert code == 2
    assert '"2 hours ago"' in out


@pytest.mark.parametrize(
    ("words", "back"),
    [
        ("2 hours ago", timedelta(hours=2)),
        ("10 minutes ago", timedelta(minutes=10)),
        ("1 day", timedelta(days=1)),
        ("2026-11-30T10:00:00+00:00", timedelta(hours=2)),
    ],
)
def test_times(words: str, back: timedelta) -> None:
    now = datetime(2026, 11, 30, 12, tzinfo=UTC)
    assert moment_of(words, now) == now - back


@pytest.fixture
def sheets(tmp_path: Path) -> Iterator[Sheets]:
    with SheetsServer() as server:
        yield Sheets(tmp_path, server)


def test_in_google_sheets(sheets: Sheets, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2):
        sheets.receive(number)
    sheets.drain()
    with running(sheets):
        sheets.edit('"Active"', '"Aboard"')
        until(lambda: sheets.stored().held)
        code, out = typed(capsys, sheets, "apply", "sheets/people")
        (command,) = re.findall(r"connector (undo .*)", out)
        assert sheets.cells() == [[f"fp:{n}", f"p{n}@example.com", "Aboard"] for n in (1, 2)]
        code, out = typed(capsys, sheets, *command.split(), "--yes")
        assert (code, out.splitlines()[0]) == (0, "2 cells in 2 rows would get their former values back.")
        assert sheets.cells() == [[f"fp:{n}", f"p{n}@example.com", "Active"] for n in (1, 2)]


def test_what_a_person_had_typed_is_a_person_s_again(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.table.write_text(place.table.read_text().replace("fp:2,p2@example.com,Active", "fp:2,p2@example.com,VIP"))
    delivery = edited(place)
    assert typed(capsys, place, "undo", ROUTE, "--delivery", delivery, "--yes")[0] == 0
    assert "fp:2,p2@example.com,VIP" in place.rows()
    assert typed(capsys, place, "undo", ROUTE, "--delivery", delivery, "--yes")[1] == "Nothing is left to put back.\n"

    assert typed(capsys, place, "resume", ROUTE)[0] == 0  # the mapping as it was undone: nothing new to say there
    place.drain()
    assert place.rows() == [
        "fp:1,p1@example.com,Aboard", "fp:2,p2@example.com,VIP", "fp:3,p3@example.com,Aboard",
    ]  # fmt: skip
    place.edit('"Aboard"', '"Here"')
    place.drain()
    assert "fp:2,p2@example.com,Here" in place.rows()
    with place.store() as store:
        lines = [line for line in store.deliveries_of("fp:2") if line.overwritten]
    assert [(line.former, list(line.overwritten)) for line in lines] == [('{"Status":"VIP"}', ["Status"])] * 2


def test_a_forgotten_person_s_former_values_go_and_are_counted(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    delivery = edited(place)
    code, out = typed(capsys, place, "forget", "fp:1", "--yes")
    assert code == 0
    assert out.startswith("✓ Deleted here: 1 record, 1 event, 2 delivery lines, 1 former value.\n")
    assert typed(capsys, place, "undo", ROUTE, "--delivery", delivery, "--yes")[0] == 0
    assert place.rows() == [f"fp:{n},p{n}@example.com,{s}" for n, s in ((1, "Aboard"), (2, "Active"), (3, "Active"))]
