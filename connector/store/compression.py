"""Bodies are kept compressed, each by itself.

One codec serves many bodies, in one thread at a time: making one takes longer than a body.
"""

from collections.abc import Callable

import zstandard

_LEVEL = 1  # higher levels take 3 % off a body of 2 KB, for several times the processor time


def compressor() -> Callable[[bytes], bytes]:
    """Makes a zstd frame of each body."""
    return zstandard.ZstdCompressor(level=_LEVEL).compress


def expander() -> Callable[[bytes], bytes]:
    """Gives a frame's body back; it raises ValueError for damaged bytes."""
    decompress = zstandard.ZstdDecompressor().decompress

    def expanded(frame: bytes) -> bytes:
        try:
            return decompress(frame)
        except zstandard.ZstdError as error:
            raise ValueError("damaged bytes") from error

    return expanded
