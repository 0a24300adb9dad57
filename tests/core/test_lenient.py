"""One wrong field never loses the rest."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.core.lenient import (
    amount,
    count,
    fields_of,
    iso,
    key_text,
    micros_of_time,
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
        ("1e-999999999", amount, None),
        ('"1e-999999999"', amount, None),
        ("0e-999999999", amount, 0),
        (f"0.{'0' * 100_000}1", amount, None),
        (f"1.{'0' * 100_000}1", amount, None),
        ("9" * 61, amount, None),
        ("9" * 19, count, None),
        ("1e-999999999", text, None),
        ("1e-30", text, "0." + "0" * 29 + "1"),
        ('"\\u200b a \\ufeff"', text, "a"),
        ('"\\u200b"', text, None),
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
    assert micros_of_time(iso(micros)) == micros


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
    micros = micros_of_time(value)
    assert micros is None or (isinstance(micros, int) and iso(max(1, micros)))
    assert key_text(value) is None or int(str(key_text(value))) > 0


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-11-02T08:00:00Z", "2026-11-02T08:00:00Z"),
        ("2026-11-02 08:00:00 UTC", "2026-11-02T08:00:00Z"),
        ("2026-11-02 08:00:00 GMT", "2026-11-02T08:00:00Z"),
        ("2026-11-02 08:00:00 +0000 UTC", "2026-11-02T08:00:00Z"),
        ("2026-11-02 08:00:00", "2026-11-02T08:00:00Z"),
        ("2026-11-02T08:00:00+02:00", "2026-11-02T06:00:00Z"),
        ("2026-11-02 08:00:00 -0700", "2026-11-02T15:00:00Z"),
        ("Mon, 02 Nov 2026 08:00:00 GMT", "2026-11-02T08:00:00Z"),
        ("Mon Nov 02 2026 10:00:00 GMT+0200 (Central European Time)", "2026-11-02T08:00:00Z"),
        ("\u200b2026-11-02T08:00:00.5Z\ufeff", "2026-11-02T08:00:00.500000Z"),
        ("2026-11-02", "2026-11-02T00:00:00Z"),
        ("20261102", "2026-11-02T00:00:00Z"),
        (1793606400, "2026-11-02T08:00:00Z"),
        ("1793606400", "2026-11-02T08:00:00Z"),
        (Decimal("1793606400.25"), "2026-11-02T08:00:00.250000Z"),
        (1793606400000, "2026-11-02T08:00:00Z"),
        ("1793606400000", "2026-11-02T08:00:00Z"),
        ("1710010112305", "2024-03-09T18:48:32.305000Z"),  # not the year 1710
        (1793606400000000, "2026-11-02T08:00:00Z"),
    ],
)
def test_a_time_is_read_however_it_is_written(value: object, moment: str) -> None:
    micros = micros_of_time(value)
    assert micros is not None
    assert iso(micros) == moment


@pytest.mark.parametrize(
    "value",
    [0, "0", -1, 5, 20261102, 10**18, "", "soon", None, True, [], Decimal("1e-999999999"), Decimal("1e999999999"),
     "0001-01-01T00:00:00Z", "1969-12-31", "2026-02-30 08:00:00 UTC", "9999-12-31T23:59:59-23:59", "9" * 5000,
     "Nov 2, 2026 8:00 PM"],
)  # fmt: skip
def test_what_is_no_time_is_none(value: object) -> None:
    assert micros_of_time(value) is None


def test_a_time_without_a_zone_is_in_the_zone_that_its_platform_states() -> None:
    paris = ZoneInfo("Europe/Paris")
    noon = micros_of_time("2026-07-01T12:00:00Z")
    assert micros_of_time("2026-07-01 14:00:00", paris) == noon
    assert micros_of_time("2026-07-01 12:00:00 UTC", paris) == noon
    assert micros_of_time("2026-07-01T12:00:00+00:00", paris) == noon
    assert micros_of_time(1_782_907_200, paris) == micros_of_time("2026-07-01T12:00:00Z")
