from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.core.decompression import TooLong, decompressed


@given(body=st.binary(max_size=200), label=st.sampled_from([b"", b"gzip", b"deflate", b"\xff"]))
def test_any_body_under_any_label_is_judged_without_an_error(body: bytes, label: bytes) -> None:
    for begin in (b"", b"\x1f\x8b\x08", b"\x78\x9c"):
        assert isinstance(decompressed(begin + body, label, 10_000), bytes)


def test_the_members_of_a_body_are_limited_together() -> None:
    half = gzip.compress(b"x" * 600)
    assert decompressed(half, b"", 1_000) == b"x" * 600
    with pytest.raises(TooLong):
        decompressed(half + half, b"", 1_000)
    empty = gzip.compress(b"") * 50_000
    assert decompressed(empty, b"", 1_000_000) == empty  # nobody sends that; opening it all would take minutes
