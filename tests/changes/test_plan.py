"""What an edited mapping would do, before it does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from connector.assembly import utc_now
from connector.changes.plan import Plan
from connector.changes.versions import plan_for
from connector.cli.main import run
from connector.config import read_route
from tests.changes.place import ROUTE, Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    for number in (1, 2, 3):
        place.receive(number, profile={"first_name": f"Ada{number}"})
    place.drain()
    return place


def plan(place: Place) -> Plan:
    with place.store() as store:
        return plan_for(place.settings, store, read_route(place.settings, ROUTE), now=utc_now())


def test_without_an_edit_nothing_would_change(place: Place) -> None:
    found = plan(place)
    assert found.is_empty
    assert (found.sentence, found.rows_unchanged) == ("Nothing would change.", 3)


def test_a_changed_word_is_counted_by_column_with_samples_and_the_line_that_causes_it(place: Place) -> None:
    place.edit('"Active"', '"Aboard"')
    found = plan(place)
    assert found.sentence == "3 cells in 3 rows would change."
    (column,) = found.columns
    assert (column.name, column.cells, column.where.rpartition("/")[2]) == ("Status", 3, "people.toml:7")
    assert [(sample.who, sample.old, sample.new) for sample in column.samples] == [
        (f"Ada{number}", "Active", "Aboard") for number in (1, 2, 3)
    ]
    assert (found.rows_changed, found.rows_unchanged, found.adds_only) == (3, 0, False)
    assert place.rows() == [f"fp:{n},p{n}@example.com,Active" for n in (1, 2, 3)]  # a plan writes nothing


def test_a_new_column_only_adds(place: Place) -> None:
    place.edit('"Email" = "email"', '"Email" = "email"\n"Name" = "first_name"')
    found = plan(place)
    assert (found.columns_new, found.columns_gone, found.cells) == (["Name"], [], 0)
    assert (found.rows_extended, found.adds_only, found.is_empty) == (3, True, False)
    assert found.cells_filled == 3
    assert found.sentence == "1 column would be added, and 3 cells of new columns would be filled."


def test_a_column_under_another_name_is_renamed_and_one_that_is_left_out_keeps_its_values(place: Place) -> None:
    place.edit('"Email" = "email"', '"Mail" = "email"')
    assert plan(place).columns_renamed == [("Email", "Mail")]
    place.edit('"Mail" = "email"\n', "")
    found = plan(place)
    assert (found.columns_gone, found.columns_renamed, found.adds_only) == (["Email"], [], True)
    assert found.sentence == "1 column would no longer be kept."


@pytest.mark.parametrize(
    ("removed", "sentence", "adds_only"),
    [
        ("leave_alone", "Nothing would change.", True),
        ("mark", "1 row would be marked as removed.", False),
        ("delete", "1 row would be removed.", False),
    ],
)
def test_rows_that_leave_are_counted(tmp_path: Path, removed: str, sentence: str, adds_only: bool) -> None:
    place = Place(tmp_path)
    place.edit("[key]", f'[target]\nremoved_records = "{removed}"\n[key]')
    place.receive(1)
    place.receive(2, status="inactive")
    place.drain()
    place.edit("[key]", '[when]\nstatus = "active"\n[key]')
    found = plan(place)
    assert (found.rows_leaving, found.rows_unchanged) == (1, 1)
    assert (found.sentence, found.adds_only) == (sentence, adds_only)


def test_what_webhooks_changed_meanwhile_is_no_change_of_the_mapping(place: Place) -> None:
    place.receive(1, email="new@example.com")
    place.receive(4)
    with place.store() as store:
        before = store.status().waiting
    assert before == 2
    place.edit('"Email" = "email"', '"Email" = "email"\n"Name" = "first_name"')
    project(place)
    found = plan(place)
    assert (found.cells, found.rows_new, found.adds_only) == (0, 0, True)
    same = place.stored().text
    place.file.write_text(same, encoding="utf-8")
    assert plan(place).cells == 1  # without an edit the plan says what is pending
    assert plan(place).rows_new == 1


def project(place: Place) -> None:
    """Events become records, and nothing is delivered."""
    from connector.app import Program

    program = Program(place.settings)
    program.projector.catch_up()
    program.close()


def test_what_would_become_a_dead_letter_is_counted_by_reason_and_named(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.receive(5, profile={"phone_number": "nonsense"})
    place.drain()
    place.edit(
        '"Email" = "email"',
        '"Email" = "email"\n"P" = { from = "first_name", type = "email", on_error = "dead_letter" }',
    )
    (letters,) = plan(place).letters
    assert (letters.affiliates, letters.reason) == (3, "the e-mail address is not valid")
    assert letters.where.endswith("people.toml:7")
    out = " ".join(typed(capsys, place, "plan")[1].split())
    assert "3 affiliates would become dead letters: the e-mail address is not valid (Ada1, Ada2, Ada3)" in out
    for number in (6, 7):
        place.receive(number, profile={"first_name": f"Ada{number}"})
    project(place)
    out = " ".join(typed(capsys, place, "plan")[1].split())
    assert "5 affiliates would become dead letters: the e-mail address is not valid (Ada1, Ada2, Ada3, 2 more)" in out


def test_two_new_rows_with_one_key_would_become_a_dead_letter(place: Place) -> None:
    place.edit('"ID" = "id"', '"ID" = "status"')
    found = plan(place)
    assert found.letters[0].affiliates == 2
    assert found.letters[0].reason == "another affiliate has the same key"


def test_a_cell_that_the_rule_keeps_is_no_change(place: Place) -> None:
    place.edit('"Email" = "email"', '"Email" = "phone"')  # empty, and never_clear is the rule
    assert plan(place).cells == 0
    place.edit('"Email" = "phone"', '"Email" = { from = "phone", overwrite = "always" }')
    assert plan(place).cells == 3


def typed(capsys: pytest.CaptureFixture[str], place: Place, *words: str) -> tuple[int, str]:
    code = run([*words, "--config", str(place.folder / "config.toml")])
    return code, capsys.readouterr().out


def test_the_command_shows_it_in_80_columns(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(capsys, place, "plan") == (0, "Nothing would change.\n")
    place.edit('"Active"', '"Aboard  "')
    place.edit('"Email" = "email"', '"Name" = "first_name"')
    code, out = typed(capsys, place, "plan", ROUTE)
    assert code == 1
    assert out == (
        "3 cells in 3 rows would change, and 3 cells of new columns would be filled.\n"
        "Nothing is written yet.\n"
        "  Rows      0 new, 0 leaving, 0 unchanged\n"
        "  Columns   new: Name; no longer kept: Email (its values stay)\n"
        "  Status  3 cells                                                  people.toml:7\n"
        "    Ada1  Active → Aboard··\n"
        "    Ada2  Active → Aboard··\n"
        "    Ada3  Active → Aboard··\n"
        "Next: connector apply local/people\n"
    )


def test_as_json_the_words_are_the_same(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.edit('"Active"', '"Aboard"')
    code, out = typed(capsys, place, "plan", "--json")
    found: Any = json.loads(out)
    assert code == 1
    assert found["summary"] == "3 cells in 3 rows would change. Nothing is written yet."
    assert found["plans"][0]["cells"] == 3
    assert found["plans"][0]["columns"][0]["samples"][0]["new"] == "Aboard"


def test_a_mapping_with_mistakes_has_no_plan(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.edit('"email"', '"emial"')
    assert run(["plan", ROUTE, "--config", str(place.folder / "config.toml")]) == 2
    assert "people.toml, line 6" in capsys.readouterr().err
    code, out = typed(capsys, place, "plan")
    assert code == 1
    assert out.startswith("1 route can't be compared: correct the mapping first.\n")
    assert "line 6: no record has" in out


@pytest.mark.parametrize(
    ("record", "mistakes"),
    [('id = "fp:1", status = "active"', "2 mistakes"), ('status = "active"', "1 mistake")],
)
def test_failing_examples_are_said_and_stop_nothing(
    place: Place, capsys: pytest.CaptureFixture[str], record: str, mistakes: str
) -> None:
    place.edit('"Active"', '"Aboard"')
    with place.file.open("a", encoding="utf-8") as file:
        file.write(
            f'[[examples]]\nrecord = {{ {record} }}\nrow = {{ "Status" = "Other", "Email" = "p@example.com" }}\n'
        )
    assert run(["check", "--config", str(place.folder / "config.toml")]) != 0
    assert mistakes in capsys.readouterr().err
    failing = f"! local/people: {mistakes} in the examples of its mapping: connector check\n"
    code, out = typed(capsys, place, "plan")
    assert (code, out.splitlines()[0]) == (1, "3 cells in 3 rows would change. Nothing is written yet.")
    assert f"\n{failing}Next: connector apply local/people\n" in out
    code, out = typed(capsys, place, "apply", ROUTE)
    assert (code, failing in out) == (0, True)
    place.drain()
    assert place.rows() == [f"fp:{n},p{n}@example.com,Aboard" for n in (1, 2, 3)]
