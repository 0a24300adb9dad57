from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from connector.store.seen_filter import SLICES, SeenFilter, SeenLately, bucket_of, split

keys = st.binary(min_size=16, max_size=16)


@given(st.sets(keys, max_size=50), st.sets(keys, max_size=50))
def test_what_was_added_is_never_taken_for_new(first: set[bytes], then: set[bytes]) -> None:
    known = SeenFilter()
    known.add(list(first))
    again = SeenFilter()
    for number in range(SLICES):
        if packed := known.slice(number):
            again.put(number, packed)
    again.add(list(then))
    assert set(again.suspects([*first, *then])) == first | then


def test_of_a_million_few_new_ones_are_suspected() -> None:
    chance = random.Random(1)
    known = SeenFilter()
    # A tenth of the slices, with a tenth of a million: as full as all of them with all.
    known.add([bytes((chance.randrange(26),)) + chance.randbytes(15) for _ in range(100_000)])
    strangers = [bytes((chance.randrange(26),)) + chance.randbytes(15) for _ in range(10_000)]
    assert len(known.suspects(strangers)) < 80
    assert not known.suspects([bytes((chance.randrange(26, 256),)) + chance.randbytes(15) for _ in range(10_000)])


def test_of_a_damaged_slice_all_are_suspected() -> None:
    known = SeenFilter()
    known.add([bytes(16)])
    for damaged in (b"", b"no such thing", known.slice(0)[:-5]):
        again = SeenFilter()
        again.put(0, damaged)
        assert again.suspects([bytes(16), b"\0" + b"x" * 15, b"x" * 16]) == [bytes(16), b"\0" + b"x" * 15]


@given(st.lists(keys, max_size=50), st.integers(0, SLICES - 1))
def test_what_came_lately_is_there_until_its_slice_is_taken(came: list[bytes], number: int) -> None:
    lately = SeenLately()
    lately.add(came)
    assert all(key in lately for key in came)
    taken = lately.take(number)
    assert [(bucket, key) for bucket, some in taken for key in split(some)] == sorted(
        ((bucket_of(key), key) for key in came if key[0] == number), key=lambda pair: pair[0]
    )
    assert lately.count == sum(key[0] != number for key in came)
    assert {key for key in came if key in lately} == {key for key in came if key[0] != number}
