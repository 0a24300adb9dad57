"""Cents become units with the decimals of their currency."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.core.money import exponent, from_minor, number_pattern, signed_pattern


@pytest.mark.parametrize(
    ("amount", "code", "text"),
    [
        (50744, "USD", "507.44"),
        (-1000, "USD", "-10.00"),
        (5, "EUR", "0.05"),
        (-5, "EUR", "-0.05"),
        (0, "USD", "0.00"),
        (507, "JPY", "507"),
        (-1, "JPY", "-1"),
        (5, "KWD", "0.005"),
        (12345, "CLF", "1.2345"),
        (5, "usd", "0.05"),
        (5, "<string>", "0.05"),
        (10**30, "USD", "1" + "0" * 28 + ".00"),
        (Decimal("50744.00"), "USD", "507.44"),
        (Decimal("0.5"), "USD", "0.005"),
        (Decimal("1E+3"), "USD", "10.00"),
    ],
)
def test_minor_units_become_exact_text(amount: int | Decimal, code: str, text: str) -> None:
    assert from_minor(amount, code) == text


@given(st.integers(), st.sampled_from(["USD", "JPY", "KWD", "CLF"]))
def test_no_amount_is_rounded(amount: int, code: str) -> None:
    text = from_minor(amount, code)
    sign, digits, shift = Decimal(text).as_tuple()
    assert -int(shift) == exponent(code)
    assert int("".join(map(str, digits))) * (-1 if sign else 1) == amount
    assert from_minor(Decimal(amount), code) == text


@pytest.mark.parametrize(
    ("code", "pattern"),
    [
        ("EUR", "#,##0.00"),
        (None, "#,##0.00"),
        ("JPY", "#,##0"),
        ("UYI", "#,##0"),
        ("KWD", "#,##0.000"),
        ("CLF", "#,##0.0000"),
        ("UYW", "#,##0.0000"),
    ],
)
def test_tables_show_the_decimals_of_the_currency(code: str | None, pattern: str) -> None:
    assert number_pattern(code) == pattern


@pytest.mark.parametrize(
    ("code", "pattern"),
    [("usd", '"$"#,##0.00'), ("JPY", '"¥"#,##0'), ("CAD", '"CA$"#,##0.00'), ("CHF", '"CHF\u00a0"#,##0.00')],
)
def test_a_sign_is_shown_where_it_can_be_no_other_currencys(code: str, pattern: str) -> None:
    assert signed_pattern(code) == pattern
