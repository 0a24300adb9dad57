"""A filter in front of the tables of fingerprints: most new ones are known to be new without a look. Knows no SQL.

A Bloom filter with three bits a fingerprint, in 256 slices by the first byte, as the tables are filled. It takes a new
fingerprint for a known one now and then (one of 200 at a million, one of 5 at five million), never a known one for new.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import Final

SLICES: Final = 256
_slice_bytes: Final = 8192
_words = struct.Struct(">II").unpack_from


class SeenFilter:
    """Two mebibytes, however many it is told of; none before the first."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def slice(self, number: int) -> bytes:
        """All that is known of the fingerprints whose first byte is *number*, packed; nothing when there are none."""
        bits = self._bits[number * _slice_bytes : (number + 1) * _slice_bytes]
        return zlib.compress(bits, 1) if bits.strip(b"\0") else b""

    def put(self, number: int, packed: bytes) -> None:
        """Know what ``slice`` gave of that slice, and nothing else of it."""
        try:
            bits = zlib.decompress(packed)
        except zlib.error:
            bits = b""
        if len(bits) != _slice_bytes:
            bits = b"\xff" * _slice_bytes  # damaged: all are looked for in the tables, as they were without a filter
        self._bits = self._bits or bytearray(SLICES * _slice_bytes)
        self._bits[number * _slice_bytes : (number + 1) * _slice_bytes] = bits

    def add(self, keys: Iterable[bytes]) -> None:
        """Know these fingerprints (8 bytes or more) from now on."""
        bits = self._bits = self._bits or bytearray(SLICES * _slice_bytes)
        for key in keys:
            first, second = _words(key)
            one = first >> 8  # the slice's eight bits, and sixteen for the place in it
            start = first >> 24 << 16
            other, third = start | second >> 16, start | second & 0xFFFF
            bits[one >> 3] |= 1 << (one & 7)
            bits[other >> 3] |= 1 << (other & 7)
            bits[third >> 3] |= 1 << (third & 7)

    def suspects(self, keys: Iterable[bytes]) -> list[bytes]:
        """Those of *keys* that may have been added; the others were not."""
        bits = self._bits
        if not bits:
            return []
        found = []
        for key in keys:
            first, second = _words(key)
            one = first >> 8
            if bits[one >> 3] >> (one & 7) & 1:
                other = first >> 24 << 16 | second >> 16
                if bits[other >> 3] >> (other & 7) & 1:
                    third = first >> 24 << 16 | second & 0xFFFF
                    if bits[third >> 3] >> (third & 7) & 1:
                        found.append(key)
        return found
