"""Opening a body that was sent compressed. Knows no platform."""

from __future__ import annotations

import zlib

_GZIP, _EITHER_HEADER = b"\x1f\x8b", 32  # how such data begins; zlib's flag to take either header
_MOST_MEMBERS = 64  # of gzip, one after the other: opening each copies what is behind it


class TooLong(Exception):
    """A body would be longer than it may be."""


def _is_zlib(body: bytes) -> bool:
    """Whether *body* has zlib's header (RFC 1950), whatever the size of its window."""
    return len(body) > 1 and body[0] & 15 == zlib.DEFLATED and int.from_bytes(body[:2]) % 31 == 0


def decompressed(body: bytes, label: bytes, most_bytes: int) -> bytes:
    """*body* without gzip or deflate; as it is where it is not compressed, whatever its *label* says.

    Raises:
        TooLong: it would be longer than *most_bytes*.
    """
    if body[:2] == _GZIP or _is_zlib(body):  # no JSON begins like that
        window = zlib.MAX_WBITS + _EITHER_HEADER
    elif label.strip().lower() == b"deflate":
        window = -zlib.MAX_WBITS  # without a header, as some send it
    else:
        return body
    opened, rest = b"", body
    for _ in range(_MOST_MEMBERS):
        engine = zlib.decompressobj(window)
        try:
            opened += engine.decompress(rest, most_bytes + 1 - len(opened))
        except zlib.error:
            return body
        if len(opened) > most_bytes:
            raise TooLong
        if not engine.eof:
            return body
        rest = engine.unused_data
        if rest[:2] != _GZIP:
            return opened
    return body
