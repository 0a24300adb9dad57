"""Bodies are kept compressed, each by itself."""

import threading

import zstandard

_LEVEL = 1  # higher levels take 3 % off a body of 2 KB, for several times the processor time


class _Codec(threading.local):
    """One for each thread: it can't be shared, and making one takes longer than a body."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(level=_LEVEL).compress
        self.decompress = zstandard.ZstdDecompressor().decompress


_CODEC = _Codec()


def compress(body: bytes) -> bytes:
    """*body* as a zstd frame."""
    return _CODEC.compress(body)


def expand(frame: bytes) -> bytes:
    """The body in *frame*. Raises ValueError for damaged bytes."""
    try:
        return _CODEC.decompress(frame)
    except zstandard.ZstdError as error:
        raise ValueError("damaged bytes") from error
