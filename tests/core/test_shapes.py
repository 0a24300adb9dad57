"""Whatever an opener has learnt, it opens bodies as they are opened in general; and the usual ones by their shape."""

from __future__ import annotations

import gc
import json
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.bodies import promoter_event
from connector.core.errors import Unreadable
from connector.core.json_body import _open_exactly, open_body
from connector.core.shapes import Members, Opener, is_object
from connector.sources.everflow import webhooks as everflow
from connector.sources.firstpromoter import webhooks as firstpromoter
from tests.core.test_json_body import SECRETS, keys, scalars, spelled

PAYLOADS = Path(__file__).parents[3] / "shared" / "payloads"


def plain(value: Any) -> Any:
    """*value* with dicts for objects."""
    if isinstance(value, Members):
        return {name: plain(value.get(name)) for name in value.attributes if name in value}
    return [plain(item) for item in value] if isinstance(value, list) else value


def exactly(raw: bytes) -> Any:
    try:
        value, text = _open_exactly(raw.removeprefix(b"\xef\xbb\xbf"), SECRETS)
    except Unreadable:
        return Unreadable
    return repr(value), text  # repr: 1, 1.0 and True are not the same


def by(opener: Opener, raw: bytes) -> Any:
    try:
        value, text = opener.open(raw)
    except Unreadable:
        return Unreadable
    assert is_object(value)
    return repr(plain(value)), text


def fits(opener: Opener, raw: bytes) -> bool:
    return isinstance(opener.open(raw)[0], Members)


def learnt(*bodies: bytes, secrets: frozenset[str] = SECRETS) -> Opener:
    opener = Opener(secrets)
    for raw in bodies:
        opener.open(raw)
    return opener


# ---------------------------------------------------------------- the law

_any_keys = keys | st.text(max_size=3)
_trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(st.tuples(_any_keys, inner), max_size=5, unique_by=lambda p: p[0]).map(tuple)
    ),
    max_leaves=15,
)
_objects = st.lists(st.tuples(_any_keys, _trees), min_size=1, max_size=6, unique_by=lambda pair: pair[0]).map(tuple)


def _varied(draw: st.DrawFn, node: Any) -> Any:
    """A tree like *node*: members gone, new, twice, elsewhere, and other things in their places."""
    change = draw(st.sampled_from(["no", "no", "no", "no", "no", "other", "less", "more", "swap", "twice"]))
    if change == "other":
        return draw(st.none() | scalars | _trees)
    if not isinstance(node, tuple | list):
        return node
    pairs = [(pair[0], _varied(draw, pair[1])) if isinstance(node, tuple) else _varied(draw, pair) for pair in node]
    at = draw(st.integers(0, len(pairs)))
    if change == "more":
        pairs.insert(at, draw(st.tuples(_any_keys, _trees) if isinstance(node, tuple) else _trees))
    elif at < len(pairs) and change == "less":
        del pairs[at]
    elif at < len(pairs) and change in ("swap", "twice"):
        pairs.append(pairs.pop(at) if change == "swap" else pairs[at])
    return type(node)(pairs)


def _compact(value: Any) -> str:
    if isinstance(value, tuple):
        return "{" + ",".join(f"{_compact(key)}:{_compact(inner)}" for key, inner in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_compact, value)) + "]"
    return str(json.dumps(value, ensure_ascii=False) if not hasattr(value, "as_tuple") else value)


@st.composite
def alike(draw: st.DrawFn) -> list[bytes]:
    """Bodies of one source: like each other, most as compact as platforms send them, some not, some broken."""
    tree = draw(_objects)
    bodies = []
    for _ in range(draw(st.integers(2, 8))):
        value = _varied(draw, tree)
        spelling = draw(st.sampled_from(["compact", "compact", "compact", "rails", "php", "any"]))
        text = spelled(draw, value) if spelling == "any" else _compact(value)
        if spelling == "rails":
            text = text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
        elif spelling == "php":
            text = text.replace("/", "\\/")
        raw = text.encode()
        if draw(st.sampled_from([False, False, False, True])):
            at = draw(st.integers(0, len(raw)))
            piece = draw(
                st.sampled_from([b"", b'"', b":", b",", b"{}", b"[", b"\\", b" ", b"\xed\xa0\x80", b"0", b"e"])
            )
            raw = raw[:at] + piece + raw[at + draw(st.integers(0, 1)) :]
        bodies.append(draw(st.sampled_from([b"", b"", b"", b"\xef\xbb\xbf"])) + raw)
    return bodies


@given(alike())
@example([b'{"a":"\\\\/"}', b'{"a":"\\\\/"}', b'{"a":"\\/"}', b'{"a":"\\\\\\/"}', b'{"a":"\\\\\\\\/"}'])
@example([b'{"a":"&"}', b'{"a":"\\u0026"}', b'{"a":"\\\\u0026"}', b'{"a":"\\\\\\u0026\\/"}', b'{"a":"\\u003C"}'])
@example([b'{"a":1.5}', b'{"a":1e5}', b'{"a":1.5}', b'{"a":"1.5"}', b'{"a":-0.0}', b'{"a":1e400}', b'{"a":-0}'])
@example([b'{"a":1}', b'{"a":%s}' % (b"9" * 4300), b'{"a":%s}' % (b"9" * 4301), b'{"a":%s}' % (b"9" * 30)])
@example([b'{"a":0.5}', b'{"a":%s}' % (b"9" * 4301), b'{"a":0.%s}' % (b"9" * 5000), b'{"a":"NaN"}'])
@example(
    [b'{"a":[{"tax_id":1,"b":2}]}', b'{"a":[{"b":2}]}', b'{"a":[{"tax_id":{"c":1}},3]}', b'{"a":[[{"tax_id":1}]]}']
)
def test_what_was_learnt_changes_no_verdict_and_no_text(bodies: list[bytes]) -> None:
    opener = Opener(SECRETS)
    for raw in [*bodies, *bodies]:
        assert by(opener, raw) == exactly(raw)


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_any_bytes_are_read_as_in_general(bodies: list[bytes]) -> None:
    opener = learnt(b'{"a":1,"b":[{"c":"text"}]}')
    for raw in bodies:
        assert by(opener, raw) == exactly(raw)


@given(st.integers(0, 2**31))
def test_a_flipped_byte_is_seen(number: int) -> None:
    raw = b'{"a":1,"auth_token":"CANARY","b":[{"c":"text"},{"tax_id":null,"c":0.5}],"d":{}}'
    opener = learnt(raw)
    at = number % len(raw)
    other = raw[:at] + bytes([number // len(raw) % 256]) + raw[at + 1 :]
    assert by(opener, other) == exactly(other)
    assert by(opener, raw) == exactly(raw)


# ---------------------------------------------------------------- what is opened by its shape


def test_what_looks_alike_is_opened_by_its_shape() -> None:
    opener = learnt(b'{"id":1,"a":{"b":"text","auth_token":"CANARY"},"c":[{"d":1}],"e":null}')
    assert fits(opener, b'{"id":123456789012345678901,"a":{"auth_token":null},"c":[{},{"d":true}]}')
    assert fits(opener, b'{"a":null,"c":"text","e":"[{"}')
    assert not fits(opener, b'{"id":1,"a":{"b":{}}}')
    assert fits(opener, b'{"id":1,"a":{"b":{}}}')
    assert fits(opener, '{"id":"\u20ac\\"\\n\\\\u0026","e":"&/"}'.encode())
    assert fits(opener, b'{"id":"x\\u0026y","e":"\\u003cb\\u003e\\/"}')
    for raw in (b'{"id": 1}', b'{"id":1,"id":2}', b'{"\\u0069d":1}', b'{"id":"\\u0065"}', b'\xef\xbb\xbf{"id":1}'):
        if b'id":2' not in raw:
            assert not fits(opener, raw)


def test_secrets_are_gone_at_every_known_place() -> None:
    raw = (
        b'{"tax_id":"CANARY","a":[{"auth_token":["CANARY"],"b":1},7,{"auth_token":null}],"c":{"tax_id":{"d":"CANARY"}}}'
    )
    opener = learnt(raw)
    value, text = opener.open(raw)
    assert isinstance(value, Members)
    assert text == b'{"a":[{"b":1},7,{}],"c":{}}'
    assert "tax_id" not in value
    assert "CANARY" not in repr(plain(value))


def test_another_order_of_keys_is_another_shape() -> None:
    one, other = b'{"a":1,"b":{"c":1,"d":2}}', b'{"a":1,"b":{"d":2,"c":1}}'
    opener = learnt(one, other)
    for raw in (one, other, one, one, other):
        value, text = opener.open(raw)
        assert isinstance(value, Members)
        assert text == raw


def test_texts_and_fractions_at_one_place_are_two_shapes() -> None:
    opener = learnt(b'{"a":0.5}', b'{"a":"0.5"}')
    assert fits(opener, b'{"a":1.50}')
    assert fits(opener, b'{"a":"1.50"}')
    assert fits(opener, b'{"a":7}')


@pytest.mark.parametrize("secrets", [firstpromoter.SECRETS, everflow.SECRETS])
def test_the_benchmarks_body_fits_from_the_second_on(secrets: frozenset[str]) -> None:
    opener = learnt(promoter_event(1), secrets=secrets)
    for number in range(2, 50):
        raw = promoter_event(number)
        value, text = opener.open(raw)
        assert isinstance(value, Members)
        assert text == open_body(raw, secrets)[1]


@pytest.mark.skipif(not PAYLOADS.is_dir(), reason="the vendors' example bodies are not beside the checkout")
@pytest.mark.parametrize(
    ("names", "secrets"),
    [("firstpromoter-v*", firstpromoter.SECRETS), ("everflow-new-*", everflow.SECRETS)],
)
def test_all_published_bodies_fit_from_the_second_time_on(names: str, secrets: frozenset[str]) -> None:
    bodies = [
        json.dumps(json.loads(path.read_bytes()), ensure_ascii=False, separators=(",", ":")).encode()
        for path in sorted(PAYLOADS.glob(names + ".json"))
    ]
    assert len(bodies) >= 3
    opener = learnt(*bodies, secrets=secrets)
    for raw in bodies * 2:
        value, text = opener.open(raw)
        assert isinstance(value, Members)
        assert (plain(value), text) == open_body(raw, secrets)


@pytest.mark.parametrize(
    "name", ["", "get", "attributes", "_private", "__class__", "a b", "class", "é", "f0", "\u2126"]
)
def test_members_are_asked_for_as_a_dicts_are(name: str) -> None:
    raw = json.dumps({name: 1, "null": None, "more": {}}, ensure_ascii=False, separators=(",", ":")).encode()
    value, _ = learnt(raw, b'{"other":1}').open(raw)
    assert isinstance(value, Members)
    assert value.get(name) == 1
    assert name in value
    assert "null" in value
    assert value.get("null") is None
    for missing in ("missing", "other"):
        assert value.get(missing) is None
        assert missing not in value
    assert value
    assert is_object(value.get("more"))
    assert not value.get("more")


# ---------------------------------------------------------------- bounds


def test_ever_new_keys_cost_a_bounded_number_of_classes_and_the_others_still_fit() -> None:
    gc.collect()
    before = len(Members.__subclasses__())
    usual = b'{"a":{"b":[]},"d":{}}'
    opener = learnt(usual)
    for number in range(10_000):
        opener.open(b'{"a":{"b":[{"id%d":{"c":1}}]},"d":{"%d":{}}}' % (number, number))
    gc.collect()
    assert len(Members.__subclasses__()) - before < 400
    for _ in range(100):
        opener.open(usual)
    assert fits(opener, usual)


def test_of_ever_new_orders_of_keys_four_are_learnt() -> None:
    bodies = [json.dumps(dict.fromkeys(order), separators=(",", ":")).encode() for order in permutations("abcd")]
    opener = learnt(*bodies)
    assert sum(fits(opener, raw) for raw in bodies) == 4


@pytest.mark.parametrize(
    "raw",
    [
        json.dumps({str(number): number for number in range(501)}, separators=(",", ":")).encode(),
        json.dumps({a: dict.fromkeys("0123456789") for a in map(str, range(50))}, separators=(",", ":")).encode(),
        b'{"a":' * 17 + b"1" + b"}" * 17,
        b'{"a":"%s"}' % (b"x" * 32_768),
        json.dumps({str(number): 1 for number in range(100_000)}, separators=(",", ":")).encode(),
    ],
    ids=["wide", "bushy", "deep", "long", "long and wide"],
)
def test_what_is_too_large_is_not_learnt(raw: bytes) -> None:
    opener = learnt(raw, raw)
    assert not fits(opener, raw)
    assert opener.open(raw) == open_body(raw, SECRETS)


def test_a_source_whose_bodies_never_fit_is_not_asked_for_ever() -> None:
    opener = Opener(SECRETS)
    for _ in range(200):
        assert not fits(opener, b'{"a": 1}')
    told = [fits(opener, b'{"a":1}') for _ in range(64)]
    assert not told[0]
    assert told[-1]
    assert told == sorted(told)


def test_threads_may_share_an_opener() -> None:
    opener = Opener(SECRETS)
    bodies = [b'{"a":%d,"k%d":{"tax_id":1,"b":"%d"}}' % (number, number % 50, number) for number in range(2_000)]
    with ThreadPoolExecutor(4) as threads:
        opened = list(threads.map(lambda raw: by(opener, raw), bodies))
    assert opened == [exactly(raw) for raw in bodies]
