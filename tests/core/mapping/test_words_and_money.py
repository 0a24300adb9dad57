"""Money in texts keeps its decimals; a word that came into a vocabulary later breaks no mapping."""

from __future__ import annotations

import pytest

from connector.core.facts import Fact
from connector.core.view import view
from tests.core.mapping.support import cell, mapping, record, row, told

MONEY: dict[str, Fact] = {
    "currency": (1, 0, "EUR"),
    "balances.current.cash": (1, 0, "307.00"),
    "balances.earned.cash": (1, 0, "1"),
    "campaigns[1].sales_total": (1, 0, "12.50"),
    "campaigns[2].sales_total": (1, 0, "7"),
}


def shown(field: str) -> object:
    (made,) = mapping(f'"X" = {field}').evaluate(view("firstpromoter:41", MONEY)).rows
    return made.cells["X"]


def test_money_in_templates_and_lists_keeps_its_decimals() -> None:
    assert shown('{ template = "{balances.current.cash} {currency}" }') == "307.00 EUR"
    assert shown('{ template = "{balances.earned.cash}" }') == "1.00"
    assert shown('"campaigns.sales_total"') == ("12.50", "7.00")
    assert shown('{ from = "campaigns.sales_total", then = [{ join = " + " }] }') == "12.50 + 7.00"
    assert shown('{ from = "balances.current.cash", then = [{ prefix = "€ " }] }') == "€ 307.00"
    assert shown('{ from = "balances.current.cash", type = "text" }') == "307.00"


def test_money_is_compared_as_a_number() -> None:
    assert shown('{ from = "balances.current.cash", map = { 307 = "all", "*" = "other" } }') == "all"


def test_examples_show_money_as_real_records_do() -> None:
    loaded = mapping(
        '"X" = { template = "{balances.current.cash}" }',
        tail="[[examples]]\n"
        'record = { id = "firstpromoter:41", currency = "EUR", balances = { current = { cash = 307 } } }\n'
        'row = { "X" = "307.00" }\n',
    )
    assert list(loaded.run_examples()) == []


def test_a_template_may_need_all_its_parts() -> None:
    field = '{{ template = "{{first_name}} {{last_name}}"{} }}'
    assert cell(field.format(""), first_name="Ada") == "Ada"
    assert cell(field.format(', require = "any"'), first_name="Ada") == "Ada"
    assert cell(field.format(', require = "all"'), first_name="Ada") is None
    assert cell(field.format(', require = "all"'), first_name="Ada", last_name="King") == "Ada King"
    assert cell(field.format(', require = "all", default = "?"'), first_name="Ada") == "?"
    told('"X" = { from = "name", ▸require = "all" }', "require goes with template")


_WITHOUT = '{ from = "status", map = { pending = "P", active = "A", inactive = "I", rejected = "R", blocked = "B" } }'


def test_a_map_from_before_shows_a_word_that_came_later_and_check_warns() -> None:
    loaded = mapping(f'"X" = {_WITHOUT}')
    assert row(loaded, status="unknown").cells["X"] == "unknown"
    assert row(loaded, status="active").cells["X"] == "A"
    assert loaded.columns[0].later_words == ("unknown", "invited")
    (warning,) = loaded.warnings
    assert str(warning) == (
        'm.toml:4:32: status is now also "unknown" and "invited", which is shown as it is without a rule: add one'
    )
    assert [option.value for option in loaded.columns[0].options] == ["P", "A", "I", "R", "B", "unknown", "invited"]


def test_a_rule_for_the_word_or_for_anything_else_needs_no_warning() -> None:
    for more in (', unknown = "?", invited = "Invited"', ', "*" = "?"'):
        loaded = mapping(f'"X" = {_WITHOUT}'.replace(" } }", f"{more} }} }}"))
        assert (row(loaded, status="unknown").cells["X"], loaded.warnings) == ("?", ())
    loaded = mapping(f'"X" = {_WITHOUT}'.replace(" } }", ' }, default = "?" }'))
    assert (row(loaded, status="unknown").cells["X"], loaded.warnings) == ("?", ())


def test_a_map_to_numbers_leaves_the_cell_of_such_a_word_empty() -> None:
    numbers = '{ from = "status", map = { pending = 1, active = 2, inactive = 3, rejected = 4, blocked = 5 } }'
    loaded = mapping(f'"X" = {numbers}')
    assert row(loaded, status="unknown").cells["X"] is None
    assert "leaves the cell empty" in loaded.warnings[0].text


def test_a_condition_from_before_still_loads() -> None:
    loaded = mapping("", top='when = { status = { not_in = ["rejected"] } }\n')
    assert len(loaded.evaluate(record(status="unknown")).rows) == 1


@pytest.mark.parametrize(
    ("key", "top"),
    [
        ('"ID" = "email"', ""),
        ('"ID" = "ref_id"', ""),
        ('"ID" = "affiliate_id"', ""),
        ('"ID" = { from = ["external_id", "id"] }', ""),
        ('"ID" = { from = "id", then = [{ truncate = 5 }] }', ""),
        ('"ID" = { template = "{first_name} {last_name}" }', ""),
        ('"ID" = "item.email"', 'for_each = "users"\n'),
        ('"ID" = "item.id"', 'for_each = "users"\n'),
        ('"ID" = { template = "{id}/{item.email}" }', 'for_each = "users"\n'),
        ('"ID" = { template = "{email}/{item}" }', 'for_each = "labels"\n'),
    ],
)
def test_a_key_that_two_affiliates_may_share_is_warned_of(key: str, top: str) -> None:
    loaded = mapping("", key=key, top=top)
    (warning,) = loaded.warnings
    assert "unique" in warning.text
    assert (warning.line, warning.column) == ((3, 9) if top else (2, 9))


@pytest.mark.parametrize(
    ("key", "top"),
    [
        ('"ID" = "id"', ""),
        ('"ID" = { from = "id", then = ["upper", { prefix = "a-" }] }', ""),
        ('"ID" = { template = "{id}" }', ""),
        ('"ID" = { template = "{source}-{affiliate_id}" }', ""),
        ('"ID" = { template = "{id}/{item.id}" }', 'for_each = "users"\n'),
        ('"ID" = { template = "{id}/{item}" }', 'for_each = "labels"\n'),
    ],
)
def test_a_key_that_names_the_affiliate_is_unique(key: str, top: str) -> None:
    assert mapping("", key=key, top=top).warnings == ()


def test_a_key_that_no_index_takes_costs_its_own_row_only() -> None:
    loaded = mapping("", key='"ID" = "company"')
    assert len(loaded.evaluate(record(company="x" * 500)).rows) == 1
    (problem,) = loaded.evaluate(record(company="x" * 501)).problems
    assert "501 characters" in problem.reason


def test_the_platforms_id_is_unique_where_there_is_one_source() -> None:
    assert mapping("", key='"ID" = "affiliate_id"', source_names=("everflow",)).warnings == ()
