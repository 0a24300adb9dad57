"""The steps of ``then``."""

from __future__ import annotations

from typing import Any

import pytest

from connector.core.row import Cell
from tests.core.mapping.support import cell, row, told
from tests.core.mapping.support import mapping as loaded

_labels = ("beta", "Alpha", "", "beta")


@pytest.mark.parametrize(
    ("steps", "text", "expected"),
    [
        ('["trim"]', "  a b ", "a b"),
        ('["lower"]', "ÄB", "äb"),
        ('["upper"]', "äß", "ÄSS"),
        ('["title"]', "ada o'NEILL-byron", "Ada O'neill-Byron"),
        ('["tidy_spaces"]', "  a \t b\n c ", "a b c"),
        ('[{ replace = ["a", "b"] }]', "banana", "bbnbnb"),
        ('[{ replace = ["a", ""] }]', "banana", "bnn"),
        ("[{ truncate = 3 }]", "abcdef", "abc"),
        ('[{ prefix = "<" }, { suffix = ">" }]', "x", "<x>"),
        ('[{ split = "," }]', "a, b,,c", ("a", "b", "c")),
        ('[{ split = "," }, "first"]', "a, b", "a"),
        ('[{ split = "," }, "last", "upper"]', "a, b", "B"),
        ('[{ split = "," }, "count"]', "a, b", 2),
        ('["upper", { truncate = 2 }, "lower"]', "abc", "ab"),
        ('[{ replace = ["x", ""] }]', "x", None),
        ('[{ prefix = "<" }]', "", None),
        ("[]", "as it is", "as it is"),
    ],
)
def test_steps_change_text_one_after_the_other(steps: str, text: str, expected: Cell) -> None:
    assert cell(f'{{ from = "company", then = {steps} }}', company=text) == expected


@pytest.mark.parametrize(
    ("steps", "labels", "expected"),
    [
        ('["sort"]', _labels, ("Alpha", "beta", "beta")),
        ('["unique"]', _labels, ("beta", "Alpha")),
        ('["first"]', _labels, "beta"),
        ('["sort", "first"]', _labels, "Alpha"),
        ('["last"]', _labels, "beta"),
        ('["count"]', _labels, 3),
        ('["count"]', (), 0),  # 0 is a value
        ('["first"]', (), None),
        ('["upper"]', _labels, ("BETA", "ALPHA", "BETA")),  # text steps take each entry
        ('["sort", { join = ", " }]', _labels, "Alpha, beta, beta"),
        ('["lower", "unique", { join = "" }]', ("A", "a"), "a"),
        ('[{ join = ", " }]', (), None),
    ],
)
def test_steps_change_lists(steps: str, labels: tuple[str, ...], expected: Cell) -> None:
    assert cell(f'{{ from = "labels", then = {steps} }}', labels=labels) == expected


def test_numbers_sort_by_size_and_keep_being_numbers() -> None:
    campaigns = tuple({"id": str(n), "visitors": n} for n in (10, 9, 100))
    assert cell('{ from = "campaigns.visitors", then = ["sort", "last"] }', campaigns=campaigns) == 100


@pytest.mark.parametrize(
    ("field", "fields", "expected"),
    [
        ('{ from = "stats.sales", then = [{ suffix = " sales" }] }', {"stats": {"sales": 3}}, "3 sales"),
        ('{ value = " x ", then = ["trim"] }', {}, "x"),
        ('{ template = "{name} ", then = ["upper"] }', {"name": "ada"}, "ADA"),
    ],
)
def test_steps_take_whatever_stands_before_them(field: str, fields: dict[str, Any], expected: Cell) -> None:
    assert cell(field, **fields) == expected


def test_a_step_is_taken_before_map_and_type() -> None:
    field = '{ from = "company", then = ["lower"], map = { yes = "1" }, type = "integer" }'
    assert row(loaded(f'"X" = {field}'), company="YES").cells["X"] == 1


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ('{ from = "email", then = [▸"trimm"] }', '"trimm" is not a step; did you mean "trim"?'),
        ('{ from = "email", then = ["trim", ▸"join"] }', '"join" needs a value: { join = ", " }'),
        ('{ from = "email", then = [▸"sort"] }', '"sort" wants a list, and this is text'),
        ('{ from = "stats.sales", then = [▸"first"] }', '"first" wants a list, and this is a number'),
        ('{ from = "email", then = [▸{ join = "" }] }', '"join" wants a list, and this is text'),
        ('{ from = "labels", then = [▸{ split = "," }] }', '"split" wants text, and this is a list'),
        ('{ from = "labels", then = [{ join = "," }, ▸"sort"] }', '"sort" wants a list, and this is text'),
        ('{ from = "labels", then = ["count", ▸"sort"] }', '"sort" wants a list, and this is a number'),
        (
            '{ from = "email", then = [▸{ prefix = "a", suffix = "b" }] }',
            "a step has exactly one key; write two steps: { … = … }, { … = … }",
        ),
        ('{ from = "email", then = [▸{}] }', "a step has exactly one key; write two steps: { … = … }, { … = … }"),
        (
            '{ from = "email", then = [{ ▸trim = true }] }',
            'unknown key "trim"; right would be: join, split, replace, truncate, prefix, suffix, plus, minus, times, '
            "divided_by, round, days_since",
        ),
        ('{ from = "email", then = [{ truncate = ▸0 }] }', '"truncate" must be greater than or equal to 1'),
        ('{ from = "email", then = [{ replace = ▸["a"] }] }', '"replace" wants at least 2 entries'),
        ('{ from = "email", then = [{ split = ▸"" }] }', '"split" is empty'),
        (
            '{ from = "email", then = [▸{ replace = ["", "a"] }] }',
            '"replace" wants something to look for: ["a", "b"] makes every a a b',
        ),
        ('{ from = "email", then = ▸"trim" }', '"then" wants a list, like ["…", "…"]'),
    ],
)
def test_a_step_that_does_not_exist_or_does_not_fit_is_told(field: str, said: str) -> None:
    told(f'"X" = {field}', said)
