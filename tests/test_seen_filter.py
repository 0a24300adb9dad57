from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from connector.seen_filter import SLICES, SeenFilter

keys = st.binary(min_size=16, max_size=16)


@given(st.sets(keys, max_size=50), st.sets(keys, max_size=50))
def test_what_was_added_is_never_taken_for_new(first: set[bytes], then: set[bytes]) -> None:
    known = SeenFilter()
    known.add(first)
    again = SeenFilter()
    for number in range(SLICES):
        if packed := known.slice(number):
            again.put(number, packed)
    again.add(then)
    assert set(again.suspects(first | then)) == first | then


def test_of_a_million_few_new_ones_are_suspected() -> None:
    chance = random.Random(1)
    known = SeenFilter()
    # A tenth of the slices, with a tenth of a million: as full as all of them with all.
    known.add(bytes((chance.randrange(26),)) + chance.randbytes(15) for _ in range(100_000))
    strangers = [bytes((chance.randrange(26),)) + chance.randbytes(15) for _ in range(10_000)]
    assert len(known.suspects(strangers)) < 80
    assert not known.suspects(bytes((chance.randrange(26, 256),)) + chance.randbytes(15) for _ in range(10_000))


def test_of_a_damaged_slice_all_are_suspected() -> None:
    known = SeenFilter()
    known.add([bytes(16)])
    for damaged in (b"", b"no such thing", known.slice(0)[:-5]):
        again = SeenFilter()
        again.put(0, damaged)
        assert again.suspects([bytes(16), b"\0" + b"x" * 15, b"x" * 16]) == [bytes(16), b"\0" + b"x" * 15]
