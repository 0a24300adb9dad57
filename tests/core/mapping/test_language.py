"""What a field can say beside its path: formats, cases, calculations, one entry of a list, all answers of the form."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.core.event_words import in_words
from connector.core.mapping import Mapping, load
from connector.core.row import Cell
from tests.core.mapping.support import cell, mapping, record, row, told

joined = {"created_at": "2026-03-31T23:30:00Z"}
figures = {
    "currency": "EUR",
    "stats": {"sales": 2, "leads": 3, "visitors": 0, "sales_total": "1234.565"},
    "balances": {"earned": {"cash": "300.00"}, "paid": {"cash": "12.50"}},
}
campaigns = {
    "campaigns": [
        {"id": "1", "name": "Main", "referral_link": "https://a.example", "sales": 4},
        {"id": "2", "name": "vip", "referral_link": "https://b.example"},
    ]
}


# ---------------------------------------------------------------- numbers and dates as text


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ('{ from = "created_at", type = "date", format = "DD.MM.YYYY" }', "31.03.2026"),
        ('{ from = "created_at", type = "date", format = "dd/MM/yy" }', "31/03/26"),
        ('{ from = "created_at", type = "date", format = "DD.MM.YYYY", timezone = "Europe/London" }', "01.04.2026"),
        ('{ from = "created_at", format = "D. MMMM YYYY, HH:mm", locale = "de" }', "31. März 2026, 23:30"),
        ('{ from = "created_at", format = "HH \'Uhr am Day\' D", timezone = "Europe/London" }', "00 Uhr am Day 1"),
        ('{ from = "created_at", type = "date", format = "long", locale = "fr" }', "31 mars 2026"),
        ('{ from = "created_at", type = "date", locale = "de" }', "31.03.2026"),
        ('{ from = "created_at", type = "date", locale = "en-GB" }', "31 Mar 2026"),
        ('{ from = "stats.sales_total", format = "#,##0.00" }', "1,234.57"),
        ('{ from = "stats.sales_total", format = "#,##0.00", locale = "de" }', "1.234,57"),
        ('{ from = "stats.sales_total", type = "money", format = "#,##0.00 ¤", locale = "de" }', "1.234,57 €"),
        ('{ from = "stats.sales_total", type = "money", locale = "de" }', "1.234,57"),
        ('{ from = "stats.sales", format = "000" }', "002"),
        ('{ from = "stats.sales", then = [{ divided_by = "stats.leads" }], format = "0.0 %" }', "66.7 %"),
        ('{ from = "stats.customers", format = "#,##0" }', None),
        ('{ from = "stats.customers", format = "#,##0", default = "none" }', "none"),
        ('{ from = "stats.customers", format = "0.0", default = 0 }', "0.0"),
    ],
)  # fmt: skip
def test_numbers_and_dates_can_be_text(field: str, expected: Cell) -> None:
    assert cell(field, **joined, **figures) == expected
    assert mapping(f'"X" = {field}').columns[0].type == "text"


def test_an_amount_without_a_format_has_the_decimals_of_its_currency() -> None:
    field = '{ from = "stats.sales_total", type = "money", locale = "de" }'
    assert cell(field, currency="JPY", stats={"sales_total": "1234.5"}) == "1.235"
    assert cell(field, currency="KWD", stats={"sales_total": "1234.5"}) == "1.234,500"


def test_babel_is_imported_for_mappings_that_need_it_only() -> None:
    code = (
        "import sys; from connector.core.mapping import load\n"
        'def text(more): return \'[key]\\nfield = "A"\\n[fields]\\n"A" = "id"\\n\' + more\n'
        "load(text(''), file='m.toml')\nassert 'babel' not in sys.modules\n"
        "load(text('\"B\" = { from = \"created_at\", locale = \"de\" }'), file='m.toml')\nassert 'babel' in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---------------------------------------------------------------- cases


_tier = """{ cases = [
    { when = { "stats.sales" = { gte = 10 } }, value = "Top" },
    { when = { status = "active", "stats.sales" = { gte = 1 } }, value = "Started" },
], default = "New" }"""


@pytest.mark.parametrize(
    ("sales", "status", "expected"),
    [(10, "blocked", "Top"), (1, "active", "Started"), (1, "pending", "New"), (None, "active", "New")],
)
def test_the_first_case_that_holds_gives_the_value(sales: int | None, status: str, expected: str) -> None:
    assert cell(_tier.replace("\n", ""), status=status, stats={"sales": sales}) == expected


def test_what_a_case_gave_goes_back_when_it_ends() -> None:
    without_default = _tier.replace("\n", "").replace(', default = "New"', "")
    loaded = mapping(f'"X" = {without_default}')
    assert row(loaded, stats={"sales": 10}).cells["X"] == "Top"
    assert row(loaded, stats={"sales": 0}).cells["X"] is None
    (column, _) = loaded.columns
    assert column.overwrite == "always"  # else the empty cell would leave "Top" where it is
    assert [option.value for option in column.options] == ["Top", "Started"]
    stays = without_default.replace("cases", 'overwrite = "only_if_empty", cases')
    assert mapping(f'"X" = {stays}').columns[0].overwrite == "only_if_empty"


def test_cases_may_give_numbers() -> None:
    field = '{ cases = [{ when = { status = "active" }, value = 1 }], default = 0 }'
    assert mapping(f'"X" = {field}').columns[0].type == "integer"
    assert (cell(field, status="active"), cell(field, status="pending")) == (1, 0)


# ---------------------------------------------------------------- calculations


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ('{ from = "balances.earned.cash", then = [{ minus = "balances.paid.cash" }] }', Decimal("287.50")),
        ('{ from = "balances.earned.cash", then = [{ plus = 0.1 }, { times = 2 }] }', Decimal("600.20")),
        ('{ from = "balances.earned.cash", then = [{ divided_by = "stats.leads" }, { round = 2 }] }', Decimal(100)),
        ('{ from = "stats.sales", then = [{ divided_by = "stats.leads" }] }', Decimal("0.6666666667")),
        ('{ from = "stats.sales", then = [{ times = 100 }] }', 200),
        ('{ from = "stats.sales", then = [{ divided_by = 0.02 }] }', Decimal(100)),
        ('{ from = "stats.sales", then = [{ divided_by = "stats.visitors" }] }', None),
        ('{ from = "stats.sales", then = [{ minus = "stats.customers" }] }', None),
        ('{ from = "stats.customers", then = [{ minus = "stats.sales" }], default = 0 }', 0),
        ('{ from = "custom.size", then = [{ replace = [",", ""] }, { times = 2 }] }', Decimal(36000)),
        ('{ from = "labels", then = ["count", { minus = 1 }] }', 1),
    ],
)  # fmt: skip
def test_steps_calculate(field: str, expected: Cell) -> None:
    assert cell(field, **figures, custom={"size": "18,000"}, labels=["a", "b"]) == expected


def test_a_calculation_with_what_is_no_number_costs_the_cell() -> None:
    loaded = mapping('"X" = { from = "custom.size", then = [{ times = 2 }] }')
    evaluation = loaded.evaluate(record(custom={"size": "many"}))
    assert [made.cells["X"] for made in evaluation.rows] == [None]
    (left,) = evaluation.left_empty
    assert left.reason == 'X: "many" is not a number; correct it at the platform'


def _days(today: date, **fields: Any) -> Cell:
    text = '[key]\nfield = "ID"\n[fields]\n"ID" = "id"\n"X" = { from = "created_at", then = [{ days_since = true }] }\n'
    return row(load(text, file="m.toml", today=lambda: today), **fields).cells["X"]


def test_days_are_counted_by_the_calendar() -> None:
    assert _days(date(2026, 4, 1), **joined) == 1
    assert _days(date(2026, 3, 31), **joined) == 0
    assert _days(date(2026, 3, 1), **joined) == -30
    assert _days(date(2026, 4, 1)) is None


def test_a_mapping_says_that_its_rows_depend_on_the_day() -> None:
    def loaded(tail: str = "") -> Mapping:
        return mapping('"X" = { from = "created_at", then = [{ days_since = true }] }', tail=tail)

    assert loaded().is_dated
    assert loaded().target("r").is_dated
    assert not mapping('"X" = "created_at"').is_dated
    example = (
        '[[examples]]\ntoday = 2026-04-02\nrecord = { id = "a:1", created_at = 2026-03-31T23:30:00Z }\nrow = { X = %s }'
    )
    assert loaded(example % 2).run_examples() == []
    assert [str(problem) for problem in loaded(example % 3).run_examples()] == [
        'm.toml:9:13: example 1: "X" should be 3, but is 2'
    ]


numbers = st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**30), max_value=10**30)


@given(numbers, st.sampled_from(["plus", "minus", "times", "divided_by"]), numbers)
def test_calculations_are_exact_and_never_fail(one: Decimal, name: str, other: Decimal) -> None:
    field = f'"X" = {{ from = "stats.sales_total", then = [{{ {name} = "stats.refunds_total" }}] }}'
    stats = {"sales_total": one, "refunds_total": other}
    evaluation = mapping(field).evaluate(record(stats=stats))
    (made,) = evaluation.rows
    result = made.cells["X"]
    if name == "divided_by":
        if not other:
            assert result is None
        elif isinstance(result, Decimal):
            assert abs(result * other - one) <= abs(other) * Decimal("1e-10") + Decimal("1e-10") * abs(one)
    elif isinstance(result, Decimal):
        from fractions import Fraction

        a, b = Fraction(one), Fraction(other)
        assert Fraction(result) == {"plus": a + b, "minus": a - b, "times": a * b}[name]


# ---------------------------------------------------------------- one entry of a list, all answers, events in words


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ('{ from = "campaigns", where = { name = "VIP" }, pick = "referral_link" }', "https://b.example"),
        ('{ from = "campaigns", where = { sales = { gte = 3 } }, pick = "name" }', "Main"),
        ('{ from = "campaigns", where = { name = "VIP", sales = { gte = 3 } }, pick = "name" }', None),
        ('{ from = "campaigns[]", pick = "sales" }', 4),
        ('{ from = "campaigns", where = { name = "VIP" }, pick = "sales" }', None),
    ],
)
def test_one_entry_of_a_list(field: str, expected: Cell) -> None:
    assert cell(field, **campaigns) == expected
    assert cell(field) is None


def test_all_answers_of_the_form_are_one_text_with_their_questions() -> None:
    field = '{ from = "signup.answers", then = [{ join = " · " }] }'
    said = {"signup": {"heard_about_us": "a friend"}, "custom": {"Newsletter size?": 18000, "empty": ""}}
    assert cell(field, **said) == "Heard about us: a friend · Newsletter size?: 18000"
    assert cell('"signup.answers"') is None


@pytest.mark.parametrize(
    ("topic", "words"),
    [
        ("promoter_signed_up", "Signed up"), ("promoter.created", "Signed up"), ("lead_signup", "Lead created"),
        ("sale.created", "Sale"), ("sale.refunded", "Refund"), ("reward_created", "Commission created"),
        ("commission.created", "Commission created"), ("payment.paid", "Paid out"),
        ("affiliate.status-changed", "Status changed"), ("promoter_danced.twice", "Promoter danced twice"), ("", ""),
    ],
)  # fmt: skip
def test_events_are_in_words(topic: str, words: str) -> None:
    assert in_words(topic) == words
    assert cell('"last_event.name"', last_event={"type": topic}) == (words or None)


def test_a_mapping_knows_which_paths_it_uses_and_where() -> None:
    fields = """\
"A" = { from = ["name", "company"], when = { status = "active" } }
"B" = { template = "{email} {custom.tier}" }
"C" = { from = "campaigns", where = { name = "VIP" }, pick = "promo_code" }
"D" = { cases = [{ when = { "stats.sales" = 1 }, value = 1 }] }
"E" = { from = "balances.earned.cash", then = [{ minus = "balances.paid.cash" }] }"""
    assert set(mapping(fields, tail="[when]\nsource = 'everflow'").uses) == {
        ("name", 4), ("company", 4), ("status", 4), ("email", 5), ("custom.tier", 5), ("campaigns.name", 6),
        ("campaigns.promo_code", 6), ("stats.sales", 7), ("balances.earned.cash", 8), ("balances.paid.cash", 8),
        ("id", 9), ("source", 11),
    }  # fmt: skip
    item = mapping('"A" = "item.email"', top='for_each = "users"\n', key='"ID" = { template = "{id}/{item.id}" }')
    assert {path for path, _ in item.uses} == {"users.email", "id", "users.id"}


# ---------------------------------------------------------------- mistakes


_types = 'type = "date" or "datetime" or "number" or "integer" or "money"'


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ('{ from = "stats.sales", format = ▸"#.##0,00" }',
         'a pattern has "," between thousands and "." before decimals; write it like "#,##0.00", and locale = "de"'),
        ('{ from = "stats.sales", format = ▸"DD.MM" }',
         '"DD.MM" is not a pattern for numbers; write it like "#,##0.00", words in \'…\''),
        ('{ from = "created_at", type = "date", format = ▸"DD.mm.YYYY" }', "mm is minutes, a month is MM"),
        ('{ from = "created_at", type = "date", format = ▸"DD.MM.YYYY HH:mm" }',
         'a date has no hours; type = "datetime" has them'),
        ('{ from = "created_at", type = "date", format = ▸"TT.MM.JJJJ" }',
         '"J" is no part of a date; write it like "DD.MM.YYYY", words in \'…\''),
        ('{ from = "created_at", type = "date", format = ▸"#,##0" }',
         '"#,##0" has no part of a date; write it like "DD.MM.YYYY", words in \'…\''),
        ('{ from = "created_at", locale = ▸"german" }', '"german" is not a language; one is written "de" or "en-GB"'),
        ('{ from = "created_at", locale = ▸"dee" }', '"dee" is not a language; did you mean "de"?'),
        ('{ from = "name", ▸format = "DD" }', f"format goes with {_types}"),
        ('{ from = "name", ▸locale = "de" }', f"locale goes with {_types}"),
        ('{ cases = [{ when = { ▸"stats.sale" = 1 }, value = 1 }] }',
         'no record has "stats.sale"; did you mean "stats.sales"?'),
        ('{ cases = [{ when = { status = ▸"activ" }, value = 1 }] }',
         'status is never "activ"; did you mean "active"?'),
        ('{ cases = [▸{ value = 1 }] }', 'a case needs when = { … }; what holds otherwise is default = "…"'),
        ('{ cases = ▸[] }', '"cases" wants at least 1 entry'),
        ('{ cases = [{ when = { status = "active" }, value = ▸"x" }], type = "number" }',
         '"x" is not a number; the field\'s type is "number"'),
        ('{ from = "name", ▸cases = [{ when = { status = "active" }, value = 1 }] }',
         "one of from, value, template, cases is enough; here are from and cases"),
        ('{ from = "email", then = [▸{ times = 2 }] }', '"times" wants a number, and this is text'),
        ('{ from = "labels", then = [▸{ times = 2 }] }',
         '"times" wants one value, and this is a list; "first" makes one of it, "count" a number'),
        ('{ from = "created_at", then = [▸{ minus = 2 }] }',
         '"minus" wants a number, and this is a date; the days until today are { days_since = true }'),
        ('{ from = "stats.sales", then = [{ times = ▸"stats.leds" }] }',
         'no record has "stats.leds"; did you mean "stats.leads"?'),
        ('{ from = "stats.sales", then = [▸{ times = "email" }] }', '"times" wants a number, and "email" holds text'),
        ('{ from = "stats.sales", then = [▸"minus"] }', '"minus" needs a value: { minus = "balances.paid.cash" }'),
        ('{ from = "name", then = [▸{ days_since = true }] }', '"days_since" wants a date, and this is text'),
        ('{ from = "created_at", then = [{ days_since = ▸false }] }', '"days_since" wants true'),
        ('{ from = "stats.sales", then = [▸{ minus = 1, plus = 2 }] }',
         "a step has exactly one key; write two steps: { … = … }, { … = … }"),
        ('{ from = "stats.sales", then = [{ times = ▸"100" }] }', "write a number without quotes: times = 100"),
        ('{ from = "stats.sales", then = [{ divided_by = ▸0 }] }', "nothing can be divided by 0"),
        ('{ from = ▸"stats.sales / stats.leads" }', 'no record has "stats.sales / stats.leads"; to calculate: '
         '{ from = "stats.sales", then = [{ divided_by = "stats.leads" }] }'),
        ('{ from = ▸"stats.sales*100" }', 'no record has "stats.sales*100"; to calculate: '
         '{ from = "stats.sales", then = [{ times = 100 }] }'),
        ('{ from = ▸"Email" }', 'no record has "Email"; did you mean "email"?'),
        ('{ from = "created_at", format = ▸"%d.%m.%Y" }',
         'a pattern has letters only; write it like "DD.MM.YYYY" or "DD.MM.YYYY HH:mm"'),
        ('{ cases = ▸{ when = { status = "active" }, value = "Top" } }',
         '"cases" wants a list: [{ when = { … }, value = "…" }]'),
        ('{ from = "campaigns", where = { ▸nam = "VIP" }, pick = "name" }',
         'no entry of campaigns has "nam"; did you mean "name"?'),
        ('{ from = "campaigns", where = { name = "VIP" }, pick = ▸"referal_link" }',
         'no entry of campaigns has "referal_link"; did you mean "referral_link"?'),
        ('{ from = "campaigns", where = { sales = { gte = ▸"x" } }, pick = "name" }',
         '"sales" holds a number; write one without quotes, like 10'),
        ('{ from = "campaigns", ▸where = { name = "VIP" } }', 'where needs pick = "…": what to take of the entry'),
        ('{ from = "campaign", ▸pick = "name" }',
         'pick goes with from = a list whose entries have parts; did you mean "campaigns"?'),
        ('{ from = "labels", ▸pick = "name" }', "pick goes with from = a list whose entries have parts; "
         "right would be: campaigns, links, coupons, users"),
    ],
)  # fmt: skip
def test_mistakes_are_told_at_their_place(field: str, said: str) -> None:
    told(f'"X" = {field}', said)


def test_a_key_must_differ_so_it_has_no_cases() -> None:
    told("", "the key must differ from record to record; use from or template",
         key='"ID" = { cases = ▸[{ when = { status = "active" }, value = 1 }] }')  # fmt: skip
