"""Types: what a value becomes as a typed cell, and which values are refused in which words."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from connector.core.row import Cell
from tests.core.mapping.support import cell, refusal

_noon = datetime(2026, 3, 31, 23, 30, tzinfo=UTC)


def _shaped(type_: str, value: Any, more: str = "") -> Cell:
    field = f'{{ from = "custom.x", type = "{type_}"{", " + more if more else ""} }}'
    return cell(field, custom={"x": value})


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        ("text", "00420", "00420"),
        ("text", 12, "12"),
        ("text", True, "true"),
        ("text", " as it is ", " as it is "),
        ("text", 0, "0"),
        ("text", False, "false"),
        ("number", "1.10", Decimal("1.10")),
        ("number", " -3 ", Decimal("-3")),
        ("number", 0, Decimal(0)),
        ("integer", "42", 42),
        ("integer", "42.0", 42),
        ("integer", 20000000000000000001, 20000000000000000001),
        ("boolean", "Yes", True),
        ("boolean", 0, False),
        ("boolean", False, False),
        ("boolean", "off", False),
        ("email", " ADA@Example.COM ", "ada@example.com"),
        ("email", "ada@partners.test", "ada@partners.test"),
        ("email", "josé@exämple.com", "josé@exämple.com"),
        ("url", "https://example.com/?via=a&b=%20", "https://example.com/?via=a&b=%20"),
        ("url", " example.com/x ", "https://example.com/x"),
        ("url", "//example.com:8080", "https://example.com:8080"),
        ("url", "example.com:8080/x", "https://example.com:8080/x"),
        ("country", "gb", "GB"),
        ("country", "UK", "GB"),
        ("country", "United Kingdom", "GB"),
        ("country", "deu", "DE"),
        ("list", "a", ("a",)),
        ("list", 3, ("3",)),
        ("date", "2026-03-31", date(2026, 3, 31)),
        ("date", "2026-03-31T23:30:00Z", date(2026, 3, 31)),
        ("datetime", "2026-03-31T23:30:00+02:00", datetime(2026, 3, 31, 21, 30, tzinfo=UTC)),
        ("datetime", "2026-03-31", datetime(2026, 3, 31, tzinfo=UTC)),
        ("money", "12.345", Decimal("12.35")),
        ("money", "-12.5", Decimal("-12.50")),
        ("money", 7, Decimal("7.00")),
    ],
)
def test_a_value_becomes_a_cell_of_its_type(type_: str, value: Any, expected: Cell) -> None:
    shaped = _shaped(type_, value)
    assert shaped == expected
    assert type(shaped) is type(expected)


@pytest.mark.parametrize(
    ("type_", "value", "code", "reason"),
    [
        ("number", "12,5", "bad_number", '"12,5" is not a number'),
        ("number", "NaN", "bad_number", '"NaN" is not a number'),
        ("number", "1e400", "bad_number", '"1e400" is not a number that a table can hold'),
        ("number", True, "bad_number", '"true" is not a number'),
        ("integer", "1.5", "bad_integer", '"1.5" is not a whole number'),
        ("integer", "many", "bad_integer", '"many" is not a whole number'),
        ("boolean", "perhaps", "bad_boolean", '"perhaps" is neither true nor false'),
        ("email", "ada(at)example.com", "bad_email", '"ada(at)example.com" is not an e-mail address'),
        ("email", "ada@", "bad_email", '"ada@" is not an e-mail address'),
        ("url", "javascript:alert(1)", "bad_url", '"javascript:alert(1)" is not a web address'),
        ("url", "ftp://example.com", "bad_url", '"ftp://example.com" is not a web address'),
        ("url", "no address at all", "bad_url", '"no address at all" is not a web address'),
        ("url", "http://[broken", "bad_url", '"http://[broken" is not a web address'),
        ("country", "Atlantis", "bad_country", '"Atlantis" is not a country'),
        ("phone", "not a number", "bad_phone", '"not a number" is not a phone number'),
        (
            "date",
            "last week",
            "bad_date",
            '"last week" is not a date; one is written 2026-11-20 or 2026-11-20T14:30:00Z',
        ),
        ("date", "2026-02-30", "bad_date", '"2026-02-30" is not a date'),
        ("money", "a lot", "bad_money", '"a lot" is not a number'),
        ("text", "x" * 300, "", ""),
    ],
)
def test_a_value_that_does_not_fit_is_refused_in_plain_words(type_: str, value: Any, code: str, reason: str) -> None:
    if not code:
        assert _shaped(type_, value) == value
        return
    found = refusal(f'{{ from = "custom.x", type = "{type_}" }}', custom={"x": value})
    assert found == (code, f'X: {reason}; correct it at the platform, or set on_error = "leave_empty"')


def test_a_long_value_is_cut_in_the_reason() -> None:
    _, reason = refusal('{ from = "email", type = "email" }', email="x" * 50_000)
    assert len(reason) < 200


@pytest.mark.parametrize(
    ("written", "country", "region", "expected"),
    [
        ("+44 20 7946 0018", None, None, "+442079460018"),
        ("020 7946 0018", "GB", None, "+442079460018"),
        ("020 7946 0018", "FR", "GB", "+442079460018"),
        ("(0)30 901820", None, "DE", "+4930901820"),
        ("+1 (202) 555-0143", "GB", None, "+12025550143"),
        ("020 7946 0018", "United Kingdom", None, "+442079460018"),
    ],
)
def test_phones_are_read_by_the_fields_region_else_by_the_records_country(
    written: str, country: str | None, region: str | None, expected: str
) -> None:
    more = f', region = "{region}"' if region else ""
    assert cell(f'{{ from = "phone", type = "phone"{more} }}', phone=written, country=country) == expected


def test_a_phone_without_country_says_what_to_set() -> None:
    code, reason = refusal('{ from = "phone", type = "phone" }', phone="020 7946 0018")
    assert code == "bad_phone"
    assert 'begins with no country code, and no country is known: set region = "…"' in reason


def test_a_phone_of_impossible_length_is_refused() -> None:
    assert "too long or too short" in refusal('{ from = "phone", type = "phone" }', phone="+44 12")[1]


@pytest.mark.parametrize(
    ("currency", "option", "expected"),
    [
        ("USD", "", "1234.57"),
        ("JPY", "", "1235"),
        ("KWD", "", "1234.568"),
        ("kwd", "", "1234.568"),
        (None, ', currency = "JPY"', "1235"),
        ("JPY", ', currency = "JPY"', "1235"),
        (None, "", "1234.57"),
    ],
)
def test_money_has_the_decimals_of_its_currency(currency: str | None, option: str, expected: str) -> None:
    found = cell(
        f'{{ from = "stats.sales_total", type = "money"{option} }}',
        currency=currency,
        stats={"sales_total": Decimal("1234.5678")},
    )
    assert str(found) == expected


def test_an_amount_in_another_currency_is_never_written_as_if_it_were_the_columns() -> None:
    code, reason = refusal(
        '{ from = "balances.paid.cash", type = "money", currency = "EUR" }',
        currency="USD",
        balances={"paid": {"cash": Decimal(5)}},
    )
    assert code == "bad_money"
    assert "the amount is in USD, the column in EUR" in reason


@pytest.mark.parametrize(
    ("zone", "expected"),
    [("Europe/London", date(2026, 4, 1)), ("UTC", date(2026, 3, 31)), ("America/New_York", date(2026, 3, 31))],
)
def test_a_date_is_the_day_on_the_calendar_of_its_time_zone(zone: str, expected: date) -> None:
    assert cell(f'{{ from = "created_at", type = "date", timezone = "{zone}" }}', created_at=_noon) == expected


def test_a_datetime_is_aware_and_on_the_clock_of_its_time_zone() -> None:
    found = cell('{ from = "created_at", type = "datetime", timezone = "Asia/Tokyo" }', created_at=_noon)
    assert found == _noon
    assert isinstance(found, datetime)
    assert found.utcoffset() == timedelta(hours=9)
    assert found.tzinfo == ZoneInfo("Asia/Tokyo")


def test_a_day_without_an_hour_is_moved_by_no_time_zone() -> None:
    field = '{ from = "custom.x", type = "date", timezone = "America/New_York" }'
    assert cell(field, custom={"x": "2026-03-31"}) == date(2026, 3, 31)


def test_a_datetime_at_the_end_of_time_is_refused_not_a_crash() -> None:
    latest = datetime(9999, 12, 31, 23, 59, tzinfo=timezone(timedelta(hours=-12)))
    assert (
        refusal('{ from = "created_at", type = "date", timezone = "Asia/Tokyo" }', created_at=latest)[0] == "bad_date"
    )


@pytest.mark.parametrize(("code", "name"), [("GB", "United Kingdom"), ("TW", "Taiwan"), ("BO", "Bolivia")])
def test_countries_are_shown_by_the_name_that_people_use(code: str, name: str) -> None:
    assert cell('{ from = "country", type = "country", show = "name" }', country=code) == name


@pytest.mark.parametrize(
    ("field", "fields", "expected"),
    [
        ('"stats.sales"', {"stats": {"sales": 0}}, 0),
        ('"stats.sales_total"', {"stats": {"sales_total": Decimal("1.5")}}, Decimal("1.5")),
        ('"labels"', {"labels": ("b", "", "a")}, ("b", "a")),
        ('"created_at"', {"created_at": _noon}, _noon),
        ('"campaigns.name"', {"campaigns": ({"id": "1", "name": "A"}, {"id": "2"})}, ("A",)),
        ('"campaigns[].visitors"', {"campaigns": ({"id": "1", "visitors": 0}, {"id": "2", "visitors": 7})}, ("0", "7")),
        ('{ from = "labels", type = "text" }', {"labels": ("b", "a")}, "b, a"),
        ('{ from = "campaigns.name", then = [{ join = " / " }] }', {"campaigns": ({"id": "1", "name": "A"},)}, "A"),
        ('"custom.any key"', {"custom": {"any key": 5}}, "5"),
    ],
)
def test_without_a_type_a_cell_is_what_its_path_holds(field: str, fields: dict[str, Any], expected: Cell) -> None:
    found = cell(field, **fields)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("ada@b\u00fccher.example", "ada@b\u00fccher.example"),
        ("ADA@XN--bcher-kva.example", "ada@xn--bcher-kva.example"),
        ("\u200ba\u00adda@exam\u200bple.com\ufeff", "ada@example.com"),
    ],
)
def test_an_address_keeps_the_platforms_spelling_and_loses_what_nobody_sees(written: str, address: str) -> None:
    assert cell('{ from = "email", type = "email" }', email=written) == address


@pytest.mark.parametrize(
    "written",
    [
        "0044 20 7183 8750",
        "00442071838750",
        "(00)44 20 7183 8750",
        "\u202a+44 20 7183 8750\u202c",
        "\u200e020\u00a07183 8750",
        "00-44-20-7183-8750",
        "+44\u00a020\u202f7183\u20118750",
        "0\u200b044 20 7183 8750",
        "\uff10\uff10\uff14\uff14 20 7183 8750",
    ],
)
@pytest.mark.parametrize("country", ["GB", "United\u00a0Kingdom"])
def test_a_leading_00_is_a_plus_and_marks_of_direction_do_not_count(written: str, country: str) -> None:
    assert cell('{ from = "phone", type = "phone" }', phone=written, country=country) == "+442071838750"


def test_a_number_dialled_from_a_country_without_00_is_read() -> None:
    assert cell('{ from = "phone", type = "phone" }', phone="0044 20 7183 8750", country="US") == "+442071838750"


@pytest.mark.parametrize("written", ["United\u00a0Kingdom", "\ufeffUnited  Kingdom\u200b", "gb\u200b"])
def test_a_country_is_found_behind_blanks_of_any_kind(written: str) -> None:
    assert cell('{ from = "country", type = "country", show = "name" }', country=written) == "United Kingdom"


def test_an_amount_of_a_reward_is_in_its_own_currency() -> None:
    field = '{ from = "last_reward.amount", type = "money" }'
    reward = {"amount": "5.07", "currency": "EUR", "unit": "cash"}
    assert str(cell(field, currency="JPY", last_reward=reward)) == "5.07"
    assert str(cell(field, currency="JPY", last_reward={"amount": "5.07"})) == "5"


@pytest.mark.parametrize("kind", ["email", "phone", "url", "country"])
def test_a_text_that_is_far_too_long_is_refused_and_not_kept_in_memory(kind: str) -> None:
    code, reason = refusal(f'{{ from = "description", type = "{kind}" }}', description="a" * 1_000_000)
    assert (code, len(reason) < 300) == (f"bad_{kind}", True)
