"""One wrong field never loses the rest."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.core.lenient import (
    Amount,
    Count,
    Maybe,
    Some,
    Text,
    VendorModel,
    iso,
    key_text,
    micros_of_iso,
    micros_of_seconds,
)


class Item(VendorModel):
    count: Count = None


class Body(VendorModel):
    text: Text = None
    count: Count = None
    amount: Amount = None
    item: Maybe[Item] = None
    items: Some[Item] = None


@pytest.mark.parametrize(
    ("raw", "field", "value"),
    [
        ('{"text":" a "}', "text", "a"),
        ('{"text":7}', "text", "7"),
        ('{"text":["a"]}', "text", None),
        ('{"text":null}', "text", None),
        ('{"count":"234"}', "count", 234),
        ('{"count":3.0}', "count", 3),
        ('{"count":3.5}', "count", None),
        ('{"count":{}}', "count", None),
        ('{"amount":5}', "amount", 5),
        ('{"amount":"5"}', "amount", 5),
        ('{"amount":5.25}', "amount", Decimal("5.25")),
        ('{"amount":"lots"}', "amount", None),
        ('{"item":"x"}', "item", None),
        ('{"item":{"count":"x"}}', "item", Item()),
        ('{"items":[{"count":1},"x",null,{"count":2}]}', "items", [Item(count=1), Item(count=2)]),
        ('{"items":{}}', "items", None),
        ('{"items":[]}', "items", []),
    ],
)
def test_what_does_not_fit_is_nothing(raw: str, field: str, value: Any) -> None:
    read = Body.model_validate_json(raw[:-1] + ',"new":1}')
    assert getattr(read, field) == value
    assert all(getattr(read, other) is None for other in Body.model_fields if other != field)


RIGHT: list[object] = [7, "7", " 07 ", 7.0, Decimal(7)]
WRONG: list[object] = [
    0,
    -7,
    7.5,
    10**20,
    float("nan"),
    float("inf"),
    Decimal("NaN"),
    Decimal("sNaN"),
    True,
    False,
    None,
]
WRONG += [[], {}, "", "x", "0", "-7", "7.5", "７"]


@pytest.mark.parametrize("right", RIGHT)
def test_an_id_is_a_positive_number_however_it_is_written(right: object) -> None:
    assert key_text(right) == "7"


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_positive_number_is_no_id(wrong: object) -> None:
    assert key_text(wrong) is None


@given(st.integers(1, 253_402_300_799_999_999))
def test_a_moment_survives_its_text(micros: int) -> None:
    assert micros_of_iso(iso(micros)) == micros


@given(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=30),
        st.binary(),
        st.decimals(allow_nan=True).map(str),
    )
)
def test_a_time_of_any_kind_is_a_time_or_nothing(value: object) -> None:
    for micros in (micros_of_iso(value), micros_of_seconds(value)):
        assert micros is None or (isinstance(micros, int) and iso(max(1, micros)))
    assert key_text(value) is None or int(str(key_text(value))) > 0


def test_seconds_come_as_numbers_or_in_quotes() -> None:
    assert micros_of_seconds(1709500000) == micros_of_seconds("1709500000") == 1_709_500_000_000_000
    assert micros_of_seconds(0) is None
    assert micros_of_seconds("soon") is None
