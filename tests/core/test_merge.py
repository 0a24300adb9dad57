"""Merge is a law: in any order, with any duplicates, the same events end in the same record."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import reduce
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from connector.core.facts import (
    Fact,
    Facts,
    Stamped,
    Value,
    by_stamp,
    dump_stamped,
    facts_of,
    load_facts,
)
from connector.core.merge import canonical, join, join_stamped, later
from connector.core.view import said_something_new, view

# Few paths, times and values, so that ties and conflicts are the rule.
values = (
    st.none()
    | st.booleans()
    | st.integers(0, 1)
    | st.sampled_from(["", "a", "1", "7", "true", "null", "accepted", "2026-11-01T00:00:00Z"])
    | st.sampled_from([(), ("a",), ("a", "b")])
)
stamped = st.tuples(st.integers(0, 2), st.integers(0, 1), values)
paths = st.sampled_from(
    [
        "email",
        "status",
        "gone_at",
        "campaigns[7].name",
        "campaigns[7].gone_at",
        "campaigns[]",
        "campaigns[7].status",
        "campaigns[7].campaign_id",
        "campaigns[7].accepted_at",
        "campaigns[campaign:1].status",
        "campaigns[campaign:1].accepted_at",
        "campaigns[campaign:a].name",
        "default.promotion_id",
        "balances.current",
        "balances.current.cash",
        "balances.current.points",
        "users[1].email",
        "users[]",
    ]
)
said = st.dictionaries(paths, stamped, max_size=6)


nothing: Facts = {}


def told(facts: Facts) -> str:
    return repr(sorted(facts.items()))  # repr: True is not 1


@given(said, said)
def test_the_order_of_two_does_not_matter(a: dict[str, Fact], b: dict[str, Fact]) -> None:
    assert told(join(a, b)) == told(join(b, a))


@given(said, said, said)
def test_the_grouping_of_three_does_not_matter(a: dict[str, Fact], b: dict[str, Fact], c: dict[str, Fact]) -> None:
    assert told(join(join(a, b), c)) == told(join(a, join(b, c)))


at_once = st.tuples(said, st.integers(0, 4)).map(
    lambda drawn: {path: (drawn[1], *rest) for path, (_, *rest) in drawn[0].items()}
)


@given(st.lists(said | at_once, max_size=6))
def test_by_stamp_is_joined_what_is_joined_path_by_path(events: list[dict[str, Fact]]) -> None:
    told_apart = [by_stamp(event) for event in events]
    before = copy.deepcopy(told_apart)
    forth: Sequence[Stamped] = ()
    back: Sequence[Stamped] = ()
    for event in told_apart:
        forth, back = join_stamped(forth, event), join_stamped(event, back)
    expected = reduce(join, events, nothing)
    for joined in (forth, back):
        assert told(facts_of(joined)) == told(expected)
        assert list(joined) == by_stamp(expected)  # the latest first, and no path twice
    assert told_apart == before


@given(said, said)
def test_saying_it_twice_changes_nothing(a: dict[str, Fact], b: dict[str, Fact]) -> None:
    assert told(join(a, a)) == told(a)
    both = join(a, b)
    assert told(join(both, a)) == told(join(both, b)) == told(both)
    assert not said_something_new(both, join(both, a))


@given(st.lists(said, min_size=1, max_size=4), st.data())
def test_every_order_with_duplicates_ends_in_the_same_record(
    events: list[dict[str, Fact]], data: st.DataObject
) -> None:
    expected = reduce(join, events, nothing)
    for order in permutations(events):
        again = data.draw(st.lists(st.sampled_from(events), max_size=3)) if order == tuple(events) else []
        got = reduce(join, [*order, *again], nothing)
        assert told(got) == told(expected)
        assert view("x:1", got) == view("x:1", expected)
        # The store keeps facts as bytes between two events.
        kept = reduce(
            lambda known, event: load_facts(dump_stamped(by_stamp(join(known, event)))), order, dict[str, Fact]()
        )
        assert told(kept) == told(expected)


@given(stamped, stamped)
def test_of_two_different_facts_exactly_one_wins(a: Fact, b: Fact) -> None:
    if repr(a) == repr(b):
        assert not later(a, b)
    else:
        assert later(a, b) != later(b, a)


@given(values, values)
def test_the_canonical_form_is_equal_for_equal_values_only(a: Value, b: Value) -> None:
    assert (canonical(a) == canonical(b)) == (repr(a) == repr(b))


def test_what_is_joined_is_left_alone() -> None:
    known: dict[str, Fact] = {"email": (1, 0, "a")}
    join(known, {"email": (2, 0, "b")})
    assert known == {"email": (1, 0, "a")}
