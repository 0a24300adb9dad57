"""What is in memory of the tables of fingerprints: a filter, by which most new ones are known to be new without a look,
and those that came lately. Knows no SQL.

A fingerprint has 16 bytes that are anybody's guess. The filter is a Bloom filter with three bits a fingerprint, in 256
slices by the first byte, as the tables are filled. It takes a new fingerprint for a known one now and then (one of 200
at a million, one of 5 at five million), never a known one for new.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from typing import Final

import zstandard

SLICES: Final = 256
BUCKETS_OF_SLICE: Final = 16  # by the bits that follow
_slice_bytes: Final = 8192
_key_bytes: Final = 16


class SeenFilter:
    """Two mebibytes, however many it is told of; none before the first."""

    def __init__(self) -> None:
        self._bits = bytearray()
        self._packer = zstandard.ZstdCompressor(1)

    def slice(self, number: int) -> bytes:
        """All that is known of the fingerprints whose first byte is *number*, packed; nothing when there are none."""
        bits = self._bits[number * _slice_bytes : (number + 1) * _slice_bytes]
        return self._packer.compress(bits) if bits.strip(b"\0") else b""

    def put(self, number: int, packed: bytes) -> None:
        """Know what ``slice`` gave of that slice, and nothing else of it."""
        try:
            bits = zstandard.ZstdDecompressor().decompress(packed, max_output_size=_slice_bytes) if packed else b""
        except zstandard.ZstdError:
            bits = b""
        if len(bits) != _slice_bytes:
            bits = b"\xff" * _slice_bytes  # damaged: all are looked for in the tables, as they were without a filter
        self._bits = self._bits or bytearray(SLICES * _slice_bytes)
        self._bits[number * _slice_bytes : (number + 1) * _slice_bytes] = bits

    def add(self, keys: Sequence[bytes]) -> None:
        """Know these fingerprints from now on."""
        bits = self._bits = self._bits or bytearray(SLICES * _slice_bytes)
        words = _words(keys)
        for first, second in zip(words[::4], words[1::4], strict=True):
            start = first >> 24 << 13  # the slice; one bit of three is the first word's, two are the second's
            bits[first >> 11] |= 1 << (first >> 8 & 7)
            bits[start | second >> 19] |= 1 << (second >> 16 & 7)
            bits[start | second >> 3 & 0x1FFF] |= 1 << (second & 7)

    def suspects(self, keys: Sequence[bytes]) -> list[bytes]:
        """Those of *keys* that may have been added; the others were not."""
        bits = self._bits
        if not bits:
            return []
        words = _words(keys)
        # Most are told by the first bit.
        some = [key for key, first in zip(keys, words[::4], strict=True) if bits[first >> 11] >> (first >> 8 & 7) & 1]
        words = _words(some)
        found = []
        for key, first, second in zip(some, words[::4], words[1::4], strict=True):
            start = first >> 24 << 13
            if (
                bits[start | second >> 19] >> (second >> 16 & 7)
                & bits[start | second >> 3 & 0x1FFF] >> (second & 7)
                & 1
            ):
                found.append(key)
        return found


class SeenLately:
    """Fingerprints that came lately, each slice of them in one piece."""

    def __init__(self) -> None:
        self._slices = [bytearray() for _ in range(SLICES)]
        self.count = 0

    def __contains__(self, key: bytes) -> bool:
        return key in self._slices[key[0]]

    def add(self, keys: Sequence[bytes]) -> None:
        """Keep these, too."""
        slices = self._slices
        for key in keys:
            slices[key[0]] += key
        self.count += len(keys)

    def take(self, number: int) -> list[tuple[int, bytes]]:
        """Let go of those whose first byte is *number*; here they are: buckets, and what is in them."""
        keys = split(bytes(self._slices[number]))
        self._slices[number] = bytearray()
        self.count -= len(keys)
        first = number * BUCKETS_OF_SLICE
        buckets = [bytearray() for _ in range(BUCKETS_OF_SLICE)]
        for key in keys:
            buckets[bucket_of(key) - first] += key
        return [(bucket, bytes(some)) for bucket, some in enumerate(buckets, first) if some]


def bucket_of(key: bytes) -> int:
    """The bucket that a fingerprint lies in."""
    return key[0] << 4 | key[1] >> 4


def split(keys: bytes) -> list[bytes]:
    """The fingerprints that stand there one behind the other."""
    return [keys[at : at + _key_bytes] for at in range(0, len(keys), _key_bytes)]


def _words(keys: Sequence[bytes]) -> array[int]:
    """Four whole numbers a fingerprint."""
    words = array("I", b"".join(keys))
    if sys.byteorder == "little":
        words.byteswap()
    return words
