"""One wrong field never loses the rest."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.core.lenient import (
    amount,
    count,
    fields_of,
    iso,
    key_text,
    micros_of_iso,
    micros_of_seconds,
    part,
    parts,
    text,
)


@pytest.mark.parametrize(
    ("raw", "read", "value"),
    [
        ('" a "', text, "a"),
        ('" "', text, None),
        ("7", text, "7"),
        ("7.0", text, "7"),
        ("7.25", text, "7.25"),
        ("true", text, None),
        ('["a"]', text, None),
        ("null", text, None),
        ("234", count, 234),
        ('"234"', count, 234),
        ('" 234 "', count, 234),
        ("3.0", count, 3),
        ("3.5", count, None),
        ("true", count, None),
        ("{}", count, None),
        ("5", amount, 5),
        ('"5"', amount, 5),
        ("5.25", amount, Decimal("5.25")),
        ('"-5.25"', amount, Decimal("-5.25")),
        ('"lots"', amount, None),
        ('"NaN"', amount, None),
        ("1e300", amount, None),
        ('"1e999999"', amount, None),
        (f'"{"9" * 5000}"', amount, None),
        ("false", amount, None),
    ],
)
def test_what_does_not_fit_is_nothing(raw: str, read: Callable[[object], object], value: object) -> None:
    fields = fields_of(b'{"field":%s,"new":1}' % raw.encode())
    assert fields is not None
    found = read(fields.get("field"))
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize("raw", [b"[]", b'"x"', b"1", b"null", b"", b"{", b"\xff"])
def test_a_body_that_is_no_object_has_no_fields(raw: bytes) -> None:
    assert fields_of(raw) is None


def test_what_is_no_object_is_no_part_and_left_out_of_a_list() -> None:
    fields = {"object": {"a": 1}, "word": "x", "list": [{"a": 1}, "x", None, {"a": 2}], "empty": []}
    assert part(fields, "object") == {"a": 1}
    assert [part(fields, name) for name in ("word", "list", "missing")] == [None, None, None]
    assert parts(fields, "list") == [{"a": 1}, {"a": 2}]
    assert parts(fields, "empty") == []
    assert [parts(fields, name) for name in ("word", "object", "missing")] == [None, None, None]


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
