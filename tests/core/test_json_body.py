"""Strict JSON: every digit is kept, secrets are dropped, what is doubtful is refused."""

from __future__ import annotations

import json
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connector.core.errors import Unreadable
from connector.core.json_body import open_body

SECRETS = frozenset({"auth_token", "tax_id"})


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"{}", {}),
        (b' \n{"a" : [1, {"b":null}] }\r\n', {"a": [1, {"b": None}]}),
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        ('{"ключ":"\u20ac\U0001f600"}'.encode(), {"ключ": "\u20ac\U0001f600"}),
        (b'{"a":"\\u20ac\\ud83d\\ude00\\u0022:\\u003a\\/"}', {"a": '\u20ac\U0001f600":' + ":/"}),
        (b'{"a":"x\\":1, \\"a\\":"}', {"a": 'x":1, "a":'}),
        (b'{"":{"":1}}', {"": {"": 1}}),
    ],
)
def test_json_opens(raw: bytes, value: dict[str, Any]) -> None:
    opened, text = open_body(raw)
    assert opened == value
    assert json.loads(text) == value
    assert text == json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a":"x\xffy","b":1}', {"a": "x\ufffdy", "b": 1}),
        (b'{"a":"\xc3"}', {"a": "\ufffd"}),
        (b'{"a":"\xed\xa0\x80"}', {"a": "\ufffd\ufffd\ufffd"}),
        (b'{"a":"\\ud800","b":1}', {"a": "\ufffd", "b": 1}),
        (b'{"a":["\\udc00\\ud800",{"b":"\\ud83dx"}]}', {"a": ["\ufffd\ufffd", {"b": "\ufffdx"}]}),
        (b'{"\\ud800":"\\ud83d\\ude00"}', {"\ufffd": "\U0001f600"}),
    ],
)
def test_a_bad_character_does_not_cost_the_rest(raw: bytes, value: dict[str, Any]) -> None:
    assert open_body(raw) == (value, json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


@pytest.mark.parametrize(
    "number",
    [
        b"1e-999999999", b"1e999999999", b"-1E-1001", b"0.1e1003", b"1e99999999999999999999",
        b"1e-99999999999999999999", b"9" * 5000, b"-" + b"9" * 4301, b"0." + b"1" * 100_000,
    ],
)  # fmt: skip
def test_a_number_that_can_not_be_written_out_says_nothing(number: bytes) -> None:
    assert open_body(b'{"a":%b,"b":1}' % number) == ({"a": None, "b": 1}, b'{"a":null,"b":1}')


def test_numbers_keep_all_their_digits() -> None:
    raw = b'{"id":12345678901234567890,"x":0.12345678901234567890,"y":1.10,"z":1e400}'
    value, text = open_body(raw)
    assert value["id"] == 12345678901234567890
    assert value["x"] == Decimal("0.12345678901234567890")
    assert json.loads(text, parse_float=Decimal, parse_int=int) == json.loads(raw, parse_float=Decimal)
    assert b"12345678901234567890," in text
    assert b"0.12345678901234567890" in text
    assert b":1.10," in text


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b'"text"',
        b"1",
        b"not json",
        b"{",
        b'{"a":1',
        b'{"a":1}x',
        b'{"a":1}{"a":1}',
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":[1,]}',
        b"{a:1}",
        b'{"a":01}',
        b'{"a":+1}',
        b'{"a":.5}',
        b'{"a":1.}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":nan}',
        b'{"a":True}',
        b'{"a":"\n"}',
        b'{"a":"\x00"}',
        b'{"a":"\\x41"}',
        b'{"a":"\\u12"}',
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-16-le"),
        '{"a":1}'.encode("utf-32"),
        b"\xef\xbb\xbf",
        b"\xef\xbb\xbf\xef\xbb\xbf{}",
        b"\x00{}",
        b'{"a":1}\x00',
        b"\x0c{}",
        b"/* */{}",
    ],
)
def test_what_is_no_json_object_is_unreadable(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        open_body(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"a" :2}',
        b'{"a" :1,"a":2}',
        b'{"a"\n:1,"a":2}',
        b'{"b" :1,"a":1,"a":1}',
        b'{"b"\t:1,"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'{"x":"\\u0022:","a":1,"a":2}',
        b'{"x":"\\u003a","a":1,"a":2}',
        b'{"x":"\\u003A","a":1,"a":2}',
        b'{"/":1,"\\/":2}',
        b'{"":1,"":2}',
        b'{"o":{"a":1,"a":2}}',
        b'{"o":[{"a":1,"a":2}]}',
        b'{"a":{"b":1},"a":2}',
        b'{"auth_token":1,"auth_token":2}',
        '{"é":1,"é":2}'.encode(),
        b'{"\xc3\xa9":1,"\\u00e9":2}',
    ],
)
def test_a_key_given_twice_is_unreadable_however_it_is_hidden(raw: bytes) -> None:
    with pytest.raises(Unreadable, match="twice"):
        open_body(raw, SECRETS)


@pytest.mark.parametrize(("opening", "closing"), [(b'{"a":', b"}"), (b"[", b"]")])
def test_64_levels_are_read_and_65_are_not(opening: bytes, closing: bytes) -> None:
    def nested(levels: int) -> bytes:
        return b'{"a":' + opening * (levels - 1) + b"1" + closing * (levels - 1) + b"}"

    open_body(nested(64))
    for levels in (65, 66, 500, 2_000, 100_000):
        with pytest.raises(Unreadable):
            open_body(nested(levels))


def test_many_brackets_in_texts_and_side_by_side_are_no_nesting() -> None:
    value = {"text": "[{" * 500, "list": [{"a": [1]}] * 500}
    assert open_body(json.dumps(value).encode())[0] == value


@pytest.mark.parametrize(
    "raw",
    [
        b'{"auth_token":"CANARY","a":1}',
        b'{"\\u0061uth_token":"CANARY","a":1}',
        b'{"auth\\u005ftoken" : "CANARY","a":1}',
        b'{"a":1,"tax_id":{"deep":["CANARY"]}}',
        b'{"a":1,"auth_token":null,"tax_id":[["CANARY"]]}',
        b'{"tax_id":"CANARY \\"}],:","auth_token":-1.5e+3,"a":1}',
        b'{"auth_token":"CANARY\\\\","a":1,"tax_id":true}',
    ],
)
def test_secrets_are_dropped_however_their_key_is_spelled(raw: bytes) -> None:
    assert open_body(raw, SECRETS)[1] == b'{"a":1}'


def test_a_secret_can_not_hide_too_deep_a_nesting() -> None:
    with pytest.raises(Unreadable):
        open_body(b'{"tax_id":' + b"[" * 64 + b"]" * 64 + b"}", SECRETS)


# ---------------------------------------------------------------- whatever comes

keys = st.sampled_from(["a", "b", "", "/", ":", '"', '":', "auth_token", "tax_id", "é", "\u20ac", "\U0001f600", "k\\"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**30), 10**30)
    | st.decimals(allow_nan=False, allow_infinity=False)
    .filter(lambda number: abs(number.adjusted()) <= 1_000)
    .map(lambda number: Decimal(str(number)))
    | st.text(max_size=8)
    | keys
)
_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.lists(st.tuples(keys, inner), max_size=5).map(tuple),
    max_leaves=20,
)
_objects = st.lists(st.tuples(keys, _values), max_size=6).map(tuple)


def spelled(draw: st.DrawFn, value: Any) -> str:
    """*value* as JSON in any spelling: blanks anywhere, characters escaped or not. An object is a tuple of pairs."""
    blank = draw(st.sampled_from(["", "", "", " ", "\n\t", "\r"]))
    if isinstance(value, tuple):  # an object, as pairs
        pairs = (
            f"{_text(draw, key)}{draw(st.sampled_from(['', '', '', ' ', chr(10)]))}:{spelled(draw, inner)}"
            for key, inner in value
        )
        return blank + "{" + blank + ",".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(spelled(draw, inner) for inner in value) + blank + "]"
    if isinstance(value, str):
        return blank + _text(draw, value)
    if isinstance(value, Decimal):
        return str(value) + blank
    return json.dumps(value) + blank


def _text(draw: st.DrawFn, text: str) -> str:
    style = draw(st.sampled_from(["plain", "plain", "ascii", "escaped"]))
    if style == "escaped":
        units = text.encode("utf-16-be")
        return '"' + "".join(f"\\u{units[at]:02x}{units[at + 1]:02X}" for at in range(0, len(units), 2)) + '"'
    return json.dumps(text, ensure_ascii=style == "ascii")


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    raw = spelled(draw, draw(_objects)).encode()
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):  # and broken in a place or two
        at = draw(st.integers(0, len(raw)))
        raw = (
            raw[:at]
            + draw(st.sampled_from([b"", b'"', b":", b",", b"{", b"}", b"\\", b" ", b"\xed\xa0\x80", b"0", b"e"]))
            + raw[at + draw(st.integers(0, 1)) :]
        )
    return raw


@given(bodies())
@example(b'{"a":1,"a" :1}')
@example(b'{"x":"\\u0022:","a":1,"a":1}')
@example(b'{":":":","\\":":1}')
def test_what_opens_is_what_was_sent_without_the_secrets(raw: bytes) -> None:
    try:
        value, text = open_body(raw, SECRETS)
    except Unreadable:
        return
    sent = json.loads(raw, parse_float=Decimal)
    assert repr(value) == repr(_without_secrets(sent))  # repr: 1, 1.0 and True are not the same
    assert repr(json.loads(text, parse_float=Decimal)) == repr(value)
    assert open_body(text, SECRETS) == (value, text)


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_secrets(inner) for key, inner in value.items() if key not in SECRETS}
    return [_without_secrets(inner) for inner in value] if isinstance(value, list) else value


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    with suppress(Unreadable):
        open_body(raw, SECRETS)


def test_keys_are_dropped_at_any_depth() -> None:
    raw = b'{"a":[{"tax_id":1,"b":{"auth_token":2,"c":3}}]}'
    assert open_body(raw, SECRETS)[1] == b'{"a":[{"b":{"c":3}}]}'


@pytest.mark.parametrize(
    "number", [b"9" * 5000, b"-" + b"9" * 5000, b"1e99999999999999999999", b"1e-99999999999999999999"]
)
def test_a_number_out_of_all_bounds_is_null_and_the_rest_is_kept(number: bytes) -> None:
    """A vendor that never sends again would lose the whole event to it."""
    value, body = open_body(b'{"a":%s,"b":1}' % number)
    assert value == {"a": None, "b": 1}
    assert body == b'{"a":null,"b":1}'
