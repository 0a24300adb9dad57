"""Opening a webhook's body: strict JSON, nothing lost but the secrets. Knows no platform.

A bad character or a number out of all bounds does not cost the rest of the event: many platforms never send again.
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

import msgspec

from connector.core.errors import Unreadable

MOST_NESTING = 64

_NOT_JSON = "the body is not JSON (RFC 8259, UTF-8)"
_BOM = "\ufeff"
_BLANKS = b" \t\n\r"
_MOST_DIGITS = 1_000
_LARGEST_EXPONENT = 1_000


class _GivenTwice(Exception):
    """An object has a duplicate key."""


def number_of(text: str) -> Decimal | None:
    """A number with a fraction or an exponent, digit for digit; None for one that can't be written out: 1e-999999999
    has a thousand million digits."""
    if len(text) > _MOST_DIGITS:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if abs(number.adjusted()) <= _LARGEST_EXPONENT:
        return number
    return None if number else Decimal(0)


def whole_number(text: str) -> int | None:
    """A whole number; None for one of more than 1,000 digits."""
    return int(text) if len(text) <= _MOST_DIGITS else None


_decode = msgspec.json.Decoder(float_hook=number_of).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


def open_body(raw: bytes, secrets: frozenset[str] = frozenset()) -> tuple[dict[str, Any], bytes]:
    """The JSON object in *raw* without the keys named in *secrets*, at any depth, and the same as compact UTF-8 text.

    Numbers keep all their digits, ``Decimal`` where they have a fraction or an exponent; one of more than 1,000 digits,
    or with an exponent that nothing has, is null. A byte order mark in front is accepted: it changes no value.

    Raises:
        Unreadable: not JSON, not UTF-8, NaN or Infinity, nested deeper than 64, a duplicate key in an object, half
            of a surrogate pair, or not an object at the top.
    """
    text = raw.decode("utf-8", "replace").removeprefix(_BOM)
    try:
        value = _read(text, raw, secrets)
        if type(value) is not dict:
            raise Unreadable("the body is not a JSON object")
        try:
            return value, _encode(value)
        except UnicodeEncodeError:
            value = _with_whole_characters(value)
            return value, _encode(value)
    except _GivenTwice:
        raise Unreadable("a key is given twice in one object of the body") from None
    except RecursionError:
        raise Unreadable(f"the body is nested deeper than {MOST_NESTING}") from None
    except ValueError:
        raise Unreadable(_NOT_JSON) from None


def decode(text: bytes) -> Any:
    """The JSON value in *text*, which ``open_body`` gave.

    Raises:
        Unreadable: not JSON.
    """
    try:
        return _decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise Unreadable(_NOT_JSON) from None


def _read(text: str, raw: bytes, secrets: frozenset[str]) -> Any:
    """The value of *text*, which is *raw*. The fast parser keeps the last of two equal keys, so those that it found are
    counted: a text has at least as many quotes with a colon behind them as keys. It also refuses some texts that the
    other parser reads."""
    try:
        value = _decode(text)
        if _tidy(value, secrets, 1) == raw.translate(None, _BLANKS).count(b'":'):
            return value
    except ValueError:
        pass
    value = _read_slowly(text)
    _tidy(value, secrets, 1)
    return value


def _read_slowly(text: str) -> Any:
    try:
        return _decoder().decode(text)
    except json.JSONDecodeError:
        raise
    except ValueError:  # an integer of more than 4,300 digits, or a constant that JSON does not have
        return _decoder(parse_int=whole_number).decode(text)


@lru_cache
def _decoder(**more: Any) -> json.JSONDecoder:
    return json.JSONDecoder(object_pairs_hook=_checked, parse_float=number_of, parse_constant=_no_constant, **more)


def _checked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _GivenTwice
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _tidy(node: Any, secrets: frozenset[str], depth: int) -> int:
    """Drop *secrets* from *node* and what is in it; how many keys there were. Raises Unreadable when it is nested too
    deeply."""
    keys, children = 0, node
    if type(node) is dict:
        keys, children = len(node), node.values()
    elif type(node) is not list:
        return 0
    if depth > MOST_NESTING:
        raise Unreadable(f"the body is nested deeper than {MOST_NESTING}")
    for child in children:
        if type(child) is dict or type(child) is list:
            keys += _tidy(child, secrets, depth + 1)
    if type(node) is dict and not node.keys().isdisjoint(secrets):
        for name in secrets.intersection(node):
            del node[name]
    return keys


def _with_whole_characters(node: Any) -> Any:
    """*node* with U+FFFD for each half of a surrogate pair."""
    if type(node) is str:
        return node.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if type(node) is list:
        return [_with_whole_characters(item) for item in node]
    if type(node) is dict:
        return {_with_whole_characters(name): _with_whole_characters(value) for name, value in node.items()}
    return node
