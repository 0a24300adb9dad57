"""Fields: where a value comes from, and in which order it is shaped."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from connector.core.mapping import PATHS
from connector.core.row import Cell, Column, Option
from connector.core.sink import TargetOptions
from tests.core.mapping.support import cell, mapping, record, refusal, row, told


def test_a_row_tells_all_that_does_not_fit_it_and_what_does() -> None:
    fields = """
"Mail"  = { from = "email", type = "email", on_error = "dead_letter" }
"Name"  = "company"
"Phone" = { from = "first_name", type = "phone", region = "GB", on_error = "dead_letter" }
"""
    wrong = record(email="ada(at)example.com", company="Engines", first_name="Ada")
    (problem,) = mapping(fields).evaluate(wrong).problems
    assert (problem.column, problem.code) == ("Mail", "bad_email")
    first, _, second = problem.reason.partition("; also: ")
    assert first.startswith('Mail: "ada(at)example.com" is not an e-mail address')
    assert second.startswith('Phone: "Ada" is not a phone number')
    assert {name: problem.cells.get(name) for name in ("Mail", "Name", "Phone")} == {
        "Mail": None, "Name": "Engines", "Phone": None
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "fields", "expected"),
    [
        ('"company"', {"company": "Engines"}, "Engines"),
        ('{ from = "company" }', {"company": "Engines"}, "Engines"),
        ('["name", "company"]', None, None),  # a list alone is not a field, see below
        ('{ from = ["name", "company", "email"] }', {"company": "Engines", "email": "a@example.com"}, "Engines"),
        ('{ from = ["name", "company"] }', {"name": "", "company": "Engines"}, "Engines"),
        ('{ from = ["name", "company"] }', {"name": " ", "company": "Engines"}, "Engines"),
        ('{ from = ["name", "company"] }', {}, None),
        ('{ from = ["stats.sales", "stats.leads"] }', {"stats": {"sales": 0, "leads": 5}}, 0),
        ('{ from = ["custom.vip", "custom.gold"] }', {"custom": {"vip": False, "gold": True}}, "false"),
        ('{ from = ["labels", "campaigns.name"] }', {"campaigns": ({"id": "1", "name": "A"},)}, ("A",)),
        ('{ from = ["labels", "company"] }', {"company": "Engines"}, ("Engines",)),
        ('{ value = "constant" }', {}, "constant"),
        ("{ value = 0 }", {}, 0),
        ("{ value = 1.5 }", {}, Decimal("1.5")),
        ("{ value = true }", {}, True),
        ("{ value = 2026-01-02, type = 'date' }", {}, date(2026, 1, 2)),
        ('{ value = "2026-01-02", type = "date" }', {}, date(2026, 1, 2)),
        ('{ template = "{first_name} {last_name}" }', {"first_name": "Ada", "last_name": "Byron"}, "Ada Byron"),
        ('{ template = "{first_name} {last_name}" }', {"last_name": "Byron"}, "Byron"),
        ('{ template = "{first_name}  ({company})" }', {"company": "Engines"}, "(Engines)"),
        ('{ template = "id: {company}, {email}" }', {}, None),  # every path is empty
        ('{ template = "{stats.sales} of {stats.leads}" }', {"stats": {"sales": 0}}, "0 of"),
        ('{ template = "{{{company}}}" }', {"company": "Engines"}, "{Engines}"),
        ('{ template = "{ labels }" }', {"labels": ("a", "b")}, "a, b"),
        ('{ from = "status", map = { active = "Active", "*" = "Check" } }', {"status": "active"}, "Active"),
        ('{ from = "status", map = { active = "Active", "*" = "Check" } }', {"status": "blocked"}, "Check"),
        ('{ from = "status", map = { active = "Active", "*" = "Check" } }', {}, None),
        ('{ from = "status", map = { active = "Active" }, default = "Other" }', {"status": "blocked"}, "Other"),
        ('{ from = "status", map = { active = "", "*" = "Check" } }', {"status": "active"}, None),
        ('{ from = "status", map = { active = true, "*" = false } }', {"status": "active"}, True),
        ('{ from = "status", map = { active = 1, "*" = 0 }, type = "number" }', {"status": "blocked"}, Decimal(0)),
        ('{ from = "company", map = { "a b" = "AB", "*" = "-" } }', {"company": "A B "}, "AB"),
        ('{ from = "company", map = { a = "1", A = "2", "*" = "-" } }', {"company": "A"}, "2"),
        ('{ from = "labels", map = { a = "A", b = "", "*" = "?" } }', {"labels": ("a", "b", "c")}, ("A", "?")),
        ('{ from = "custom.vip", map = { true = "yes", false = "no", "*" = "?" } }', {"custom": {"vip": True}}, "yes"),
        ('{ from = "stats.sales", map = { 0 = "none", "*" = "some" } }', {"stats": {"sales": 0}}, "none"),
        ('{ from = "company", default = "unknown" }', {}, "unknown"),
        ('{ from = "company", default = "unknown" }', {"company": "  "}, "unknown"),
        ('{ from = "stats.sales", default = 7 }', {"stats": {"sales": 0}}, 0),
        ('{ from = "stats.sales", default = 7 }', {}, 7),
        ('{ from = "labels", default = ["none"] }', {}, ("none",)),
        ('{ from = "created_at", type = "date", default = 1970-01-01 }', {}, date(1970, 1, 1)),
        ('{ from = "email", type = "email", default = "No@Example.com" }', {}, "no@example.com"),
        ('{ from = "email", type = "email", on_error = "leave_empty" }', {"email": "nobody"}, None),
        ('{ from = "email", type = "email", on_error = "leave_empty", default = "a@example.com" }', {"email": "no"},
         "a@example.com"),
        ('{ from = "company", map = { a = "A" }, on_error = "leave_empty" }', {"company": "b"}, None),
    ],
)  # fmt: skip
def test_a_field_gives_its_cell(field: str, fields: dict[str, Any] | None, expected: Cell) -> None:
    if fields is None:
        told(f'"X" = ▸{field}', '"X" wants text in quotes, like "…"')
        return
    found = cell(field, **fields)
    assert found == expected
    assert type(found) is type(expected)


def test_the_order_is_from_then_map_type_default() -> None:
    value = 'from = ["name", "company"], then = ["lower"], map = { none = "", "*" = "12" }'
    field = f'{{ {value}, type = "integer", default = 3 }}'
    assert cell(field, company="NONE") == 3
    assert cell(field, company="Other") == 12


def test_a_word_that_an_open_map_does_not_know_is_not_lost_silently() -> None:
    code, reason = refusal('{ from = "campaign", map = { "A" = "Alpha" } }', campaign="B")
    assert code == "no_rule"
    assert 'X: map has no rule for "B"; add it, or "*" = "…", or default' in reason


def test_one_bad_value_costs_its_row_only_with_dead_letter() -> None:
    text = '"A" = "name"\n"B" = { from = "email", type = "email", on_error = "dead_letter" }'
    evaluation = mapping(text).evaluate(record(email="nobody"))
    assert (evaluation.rows, evaluation.left_empty) == ((), ())
    assert evaluation.skipped is None
    (problem,) = evaluation.problems
    assert (problem.key, problem.column, problem.where, problem.code) == (
        "firstpromoter:41", "B", "m.toml:5", "bad_email"
    )  # fmt: skip


@pytest.mark.parametrize("on_error", ["", ', on_error = "leave_empty"'])
def test_one_bad_value_costs_its_cell_and_is_told(on_error: str) -> None:
    text = f'"A" = "name"\n"B" = {{ from = "email", type = "email"{on_error} }}'
    evaluation = mapping(text).evaluate(record(name="Ada", email="nobody"))
    assert [row.cells for row in evaluation.rows] == [{"ID": "firstpromoter:41", "A": "Ada", "B": None}]
    assert (evaluation.problems, evaluation.skipped) == ((), None)
    (left,) = evaluation.left_empty
    assert (left.key, left.column, left.where, left.code) == ("firstpromoter:41", "B", "m.toml:5", "bad_email")


def test_a_bad_key_costs_its_row_unless_the_file_says_otherwise() -> None:
    key = '"ID" = { from = "custom.number", type = "integer" }'
    (problem,) = mapping(key=key).evaluate(record(custom={"number": "x"})).problems
    assert (problem.key, problem.column, problem.code) == ("", "ID", "bad_integer")
    lenient = mapping(key=key.replace(" }", ', on_error = "leave_empty" }'))
    assert lenient.evaluate(record(custom={"number": "x"})).skipped == "no value for the key, ID"


def test_a_bad_value_of_a_column_that_the_destination_needs_costs_its_row() -> None:
    class Needs(TargetOptions):
        needed_columns = frozenset({"email"})

    fields = '"email" = { from = "email", type = "email" }\n"other" = { from = "email", type = "email" }'
    evaluation = mapping(fields, target_options=Needs).evaluate(record(email="nobody"))
    assert [problem.column for problem in evaluation.problems] == ["email"]
    assert evaluation.rows == ()


def test_a_column_carries_all_that_the_file_says_of_it() -> None:
    loaded = mapping(
        """\
"Plain" = "name"
"Stage" = { from = "status", map = { active = "won", "*" = "new" }, overwrite = "only_forward", order = ["new", "won"] }
"Once"  = { from = "created_at", type = "date", overwrite = "on_create" }
"Entry" = { from = "company", overwrite = "only_if_empty" }
"Total" = { from = "stats.sales_total", type = "money", currency = "eur", overwrite = "never_clear" }
"tier"  = { from = "custom.tier", label = "Tier", group = "aff", options = ["gold", { value = "s", label = "Silver" }] }
"kind"  = { from = "custom.kind", options = { a = "Kind A", b = "" } }
""",
        top='[target]\noverwrite = "always"\n',
    )
    file = "m.toml:"
    assert [replace(column, on_error="dead_letter") for column in loaded.columns] == [
        Column("Plain", overwrite="always", where=file + "6", paths=("name",)),
        Column("Stage", overwrite="only_forward", order=("new", "won"), where=file + "7", paths=("status",),
               options=(Option("won", "won"), Option("new", "new")),
               words=tuple((word, "won" if word == "active" else "new") for word in PATHS["status"].words or ())),
        Column("Once", "date", "on_create", where=file + "8", paths=("created_at",)),
        Column("Entry", overwrite="only_if_empty", where=file + "9", paths=("company",)),
        Column("Total", "money", "never_clear", currency="EUR", where=file + "10", paths=("stats.sales_total",)),
        Column("tier", overwrite="always", label="Tier", group="aff", where=file + "11", paths=("custom.tier",),
               options=(Option("gold", "gold"), Option("s", "Silver"))),
        Column("kind", overwrite="always", where=file + "12", paths=("custom.kind",),
               options=(Option("a", "Kind A"), Option("b", "b"))),
        Column("ID", overwrite="always", where=file + "14", paths=("id",)),
    ]  # fmt: skip
    assert [column.name for column in loaded.columns if column.on_error == "dead_letter"] == ["ID"]


@pytest.mark.parametrize(
    ("field", "paths", "words"),
    [
        ('{ from = ["name", "company"] }', ("name", "company"), ()),
        ('{ template = "{first_name} ({company}, {first_name})" }', ("first_name", "company"), ()),
        ('{ value = "x" }', (), ()),
        ('{ from = "status", then = ["upper"] }', ("status",), ()),
    ],
)
def test_a_column_knows_the_paths_that_it_shows(field: str, paths: tuple[str, ...], words: tuple[()]) -> None:
    column = mapping(f'"A" = {field}').columns[0]
    assert column.paths == paths
    assert [*column.words] == [*words]


def test_columns_keep_the_order_of_the_file_and_cells_are_named_by_them() -> None:
    loaded = mapping('"B" = "name"\n"A" = "email"')
    assert [column.name for column in loaded.columns] == ["B", "A", "ID"]
    assert list(row(loaded).cells) == ["B", "A", "ID"]


def test_the_target_names_route_key_options_and_file() -> None:
    loaded = mapping('"A" = "name"', top='name = "Affiliates"\n[target]\nmissing_columns = "stop"\n')
    target = loaded.target("local/Affiliates")
    assert (target.route, target.key, target.file) == ("local/Affiliates", "ID", "m.toml")
    assert target.columns == loaded.columns
    assert target.options.missing_columns == "stop"
    assert loaded.name == "Affiliates"


def test_a_mapping_without_a_name_is_called_by_its_file_and_the_digest_follows_the_text() -> None:
    assert mapping('"A" = "name"').name == "m"
    assert mapping('"A" = "name"').digest == mapping('"A" = "name"').digest
    assert mapping('"A" = "name"').digest != mapping('"A" = "email"').digest


@pytest.mark.parametrize(
    ("key", "fields", "expected"),
    [
        ('"ID" = "email"', {"email": " a@example.com "}, "a@example.com"),
        ('"ID" = { from = "email", type = "email" }', {"email": "A@Example.com"}, "a@example.com"),
        ('"ID" = { from = "affiliate_id", type = "integer" }', {"affiliate_id": "0042"}, "42"),
        ('"ID" = "custom.no"', {"custom": {"no": 7}}, "7"),
        ('"ID" = { template = "{source}/{affiliate_id}" }', {"affiliate_id": "7"}, "firstpromoter/7"),
        ('"ID" = "company"', {"company": "Cafe\u0301"}, "Caf\u00e9"),
    ],
)
def test_the_key_is_the_canonical_text_of_its_cell(key: str, fields: dict[str, Any], expected: str) -> None:
    found = row(mapping(key=key), **fields)
    assert found.key == expected
    assert found.record_id == "firstpromoter:41"


@pytest.mark.parametrize("email", [None, "", "  "])
def test_a_record_without_its_key_is_skipped_and_is_no_error(email: str | None) -> None:
    evaluation = mapping(key='"ID" = "email"').evaluate(record(email=email))
    assert evaluation.rows == ()
    assert evaluation.problems == ()
    assert evaluation.skipped == "no value for the key, ID"


def test_a_key_that_does_not_fit_its_type_is_a_problem_without_a_key() -> None:
    evaluation = mapping(key='"ID" = { from = "email", type = "email" }').evaluate(record(email="nobody"))
    (problem,) = evaluation.problems
    assert (problem.key, problem.column, problem.code) == ("", "ID", "bad_email")


def test_heavy_libraries_are_not_imported_before_a_value_needs_them() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from connector.core.mapping import load\n"
        'load(\'[key]\\nfield = "ID"\\n[fields]\\n"ID" = "id"\\n"P" = {from = "phone", type = "phone"}\\n'
        '"E" = {from = "email", type = "email"}\\n"C" = {from = "country", type = "country"}\', file=\'m.toml\')\n'
        "print([name for name in ('phonenumbers', 'pycountry', 'email_validator', 'rapidfuzz') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_times_are_utc_when_no_time_zone_is_named() -> None:
    assert cell('"created_at"', created_at="2026-01-02T03:04:05+02:00") == datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)
