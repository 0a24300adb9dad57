"""``[[examples]]``: records and the rows that they must give."""

from __future__ import annotations

import pytest

from tests.core.mapping.support import mapping, told

_fields = """\
"Name"   = "name"
"Status" = { from = "status", map = { active = "Active", "*" = "Check" } }
"Sales"  = "stats.sales"
"Total"  = { from = "stats.sales_total", type = "money" }
"Joined" = { from = "created_at", type = "date" }
"At"     = { from = "created_at", type = "datetime" }
"Labels" = "labels"
"Vip"    = "custom.vip"
"Mail"   = { from = "email", type = "email" }
"""


def _run(example: str, top: str = "") -> list[str]:
    loaded = mapping(_fields.rstrip(), top=top, tail=f"[[examples]]\n{example}\n")
    return [str(problem) for problem in loaded.run_examples()]


@pytest.mark.parametrize(
    ("record", "row"),
    [
        ('name = "Ada"', '"Name" = "Ada"'),
        ('name = "Ada"', '"ID" = "firstpromoter:41"'),
        ('status = "active"', '"Status" = "Active", "Name" = ""'),
        ("stats = { sales = 3 }", '"Sales" = 3'),
        ("stats = { sales = 3 }", '"Sales" = "3"'),
        ("stats = { sales_total = 1.5 }", '"Total" = 1.5'),
        ("stats = { sales_total = 1.5 }", '"Total" = "1.50"'),
        ("stats = { sales_total = 2 }", '"Total" = 2'),
        ('created_at = "2026-03-31T23:30:00Z"', '"Joined" = 2026-03-31, "At" = 2026-03-31T23:30:00Z'),
        ("created_at = 2026-03-31T23:30:00Z", '"Joined" = "2026-03-31", "At" = "2026-03-31T23:30:00Z"'),
        ('labels = ["a", "b"]', '"Labels" = ["a", "b"]'),
        ('labels = ["a", "b"]', '"Labels" = "a, b"'),
        ("labels = []", '"Labels" = []'),
    ],
)
def test_an_example_that_holds_says_nothing(record: str, row: str) -> None:
    assert _run(f'record = {{ id = "firstpromoter:41", {record} }}\nrow = {{ {row} }}') == []


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('"Name" = ▸"Bob"', '"Name" should be "Bob", but is "Ada"'),
        ('"Name" = ▸""', '"Name" should be empty, but is "Ada"'),
        ('"Mail" = ▸"a@example.com"', '"Mail" should be "a@example.com", but is empty'),
        ('"Sales" = ▸4', '"Sales" should be 4, but is 3'),
        ('"Sales" = ▸"03"', '"Sales" should be "03", but is 3'),
        ('"Sales" = ▸true', '"Sales" should be true, but is 3'),
        ('"Total" = ▸1.6', '"Total" should be 1.6, but is 1.50'),
        ('"Joined" = ▸2026-04-01', '"Joined" should be 2026-04-01, but is 2026-03-31'),
        ('"Labels" = ▸["b", "a"]', '"Labels" should be ["b", "a"], but is ["a", "b"]'),
    ],
)
def test_an_example_that_fails_says_where_what_was_expected_and_what_came(row: str, said: str) -> None:
    record = (
        '{ id = "firstpromoter:41", name = "Ada", labels = ["a", "b"], created_at = "2026-03-31T23:30:00Z", '
        "stats = { sales = 3, sales_total = 1.5 } }"
    )
    line = f"row = {{ {row} }}"
    column = line.index("▸") + 1
    plain = line.replace("▸", "")
    assert _run(f'name = "Ada"\nrecord = {record}\n{plain}') == [f'm.toml:17:{column}: example "Ada": {said}']


def test_every_failing_column_of_every_example_is_told() -> None:
    example = 'record = { id = "a:1", name = "A" }\nrow = { "Name" = "B", "Sales" = 1 }\n'
    assert _run(f"{example}[[examples]]\n{example}") == [
        'm.toml:16:18: example 1: "Name" should be "B", but is "A"',
        'm.toml:16:33: example 1: "Sales" should be 1, but is empty',
        'm.toml:19:18: example 2: "Name" should be "B", but is "A"',
        'm.toml:19:33: example 2: "Sales" should be 1, but is empty',
    ]


_when = '[when]\nstatus = { not_in = ["rejected"] }\n'


def test_skipped_is_what_leaves_no_trace() -> None:
    out = 'record = { id = "a:1", status = "rejected" }\nrow = "skipped"'
    assert _run(out, _when) == []
    assert _run(out, '[target]\nremoved_records = "mark"\n' + _when) == []
    assert _run(out, '[target]\nremoved_records = "delete"\n' + _when) == []
    assert _run('record = { id = "a:1", status = "active" }\nrow = "skipped"', _when) == [
        "m.toml:18:7: example 1 should be skipped, but gives a row"
    ]


def test_a_row_for_what_is_skipped_says_why_there_is_none() -> None:
    assert _run('record = { id = "a:1", status = "rejected" }\nrow = { Name = "x" }', _when) == [
        "m.toml:18:7: example 1 should give a row, but is skipped (when: status)"
    ]


def test_the_row_that_marks_a_removal_can_be_an_example() -> None:
    example = 'record = { id = "a:1", gone_at = 2026-05-31T10:00:00Z }\nrow = { "Removed" = 2026-05-31 }'
    assert _run(example, '[target]\nremoved_records = "mark"\n') == []


def test_a_value_that_can_not_be_shaped_fails_its_example() -> None:
    (said,) = _run('record = { id = "a:1", email = "nobody" }\nrow = { "Mail" = "nobody" }')
    assert said == (
        'm.toml:16:18: example 1: "Mail" should be "nobody", but is empty (Mail: "nobody" is not an e-mail address; '
        "correct it at the platform)"
    )
    field = '"Mail" = { from = "email", type = "email", on_error = "dead_letter" }'
    tail = '[[examples]]\nrecord = { id = "a:1", email = "nobody" }\nrow = { "Mail" = "" }\n'
    (problem,) = mapping(field, tail=tail).run_examples()
    assert str(problem).startswith('m.toml:7:10: example 1: Mail: "nobody" is not an e-mail address')
    assert "(m.toml:4)" in str(problem)


def test_for_each_takes_several_rows_in_order() -> None:
    top, key = 'for_each = "users"\n', '"ID" = { template = "{id}/{item.id}" }'
    tail = """\
[[examples]]
record = { id = "a:1", users = [{ id = "1", email = "a@example.com" }, { id = "2" }] }
rows = [{ ID = "a:1/1", Mail = "a@example.com" }, { ID = "a:1/2", Mail = "b@example.com" }]
[[examples]]
record = { id = "a:1", users = [{ id = "1" }] }
rows = [{}, {}]
"""
    loaded = mapping('"Mail" = "item.email"', top=top, key=key, tail=tail)
    assert [str(problem) for problem in loaded.run_examples()] == [
        'm.toml:9:74: example 1: "Mail" should be "b@example.com", but is empty',
        "m.toml:12:8: example 2 should give 2 rows, but gives one row",
    ]


def test_the_record_of_an_example_has_the_source_that_its_id_names() -> None:
    loaded = mapping(
        '"A" = "affiliate_id"\n"P" = "platform"',
        top='[when]\nsource = "everflow"\n',
        tail='[[examples]]\nrecord = { id = "everflow:7" }\nrow = { A = "7", P = "everflow" }\n',
    )
    assert loaded.run_examples() == []


@pytest.mark.parametrize(
    ("example", "said"),
    [
        ('record = { id = "a:1", ▸nmae = "x" }\nrow = "skipped"', 'no record has "nmae"; did you mean "name"?'),
        ('record = ▸{ name = "x" }\nrow = "skipped"', 'a record needs an id, like id = "acme:41"'),
        ('record = { id = "a:1", status = ▸"activ" }\nrow = "skipped"',
         '"activ" is not one of: pending, active, inactive, rejected, blocked, unknown, invited; '
         'did you mean "active"?'),
        ('record = { id = "a:1", stats = { ▸sale = 1 } }\nrow = "skipped"',
         'no record has "stats.sale"; did you mean "stats.sales"?'),
        ('record = { id = "a:1" }\nrow = { ▸Nmae = "x" }', '[fields] has no "Nmae"; did you mean "Name"?'),
        ('record = { id = "a:1" }\nrow = ▸"skiped"', '"skiped" is not one of: skipped; did you mean "skipped"?'),
        ('record = { id = "a:1" }\nrow = "skipped"\n▸nmae = "x"',
         'unknown key "nmae"; did you mean "name"? (name, record, today, row, rows)'),
    ],
)  # fmt: skip
def test_mistakes_in_examples_are_told(example: str, said: str) -> None:
    told('"Name" = "name"', said, tail=f"[[examples]]\n{example}\n")


def test_an_example_without_a_row_is_told() -> None:
    told('"Name" = "name"', 'an example needs row = { … } or row = "skipped"',
         tail='[[▸examples]]\nrecord = { id = "a:1" }\n')  # fmt: skip
