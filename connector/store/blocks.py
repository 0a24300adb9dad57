"""Events as the inbox keeps them: in blocks of up to 64, packed and shrunk as one. Knows no SQL.

What is received together lies together: shrinking, writing and reading are paid once a block, and what a body has in
common with its neighbours is kept once. A block is small enough to be read for the sake of one event in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from connector.core.source import Event
from connector.store.compression import Codec

MOST_EVENTS: Final = 64
_most_bytes: Final = 256 * 1024  # of bodies; a single event may have more

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Event]).decode


class Block(Struct, frozen=True):
    """Events that follow each other.

    Args:
        events: all of them, in their order.
        dictionary, content: the same packed and shrunk, as ``events_in`` wants them.
    """

    events: Sequence[Event]
    dictionary: int
    content: bytes


def blocks_of(codec: Codec, events: Sequence[Event]) -> Iterator[Block]:
    """*events* in blocks, in their order.

    Raises:
        ValueError, OverflowError: an event holds what can't be kept: half of a surrogate pair, a time out of bounds.
    """
    start = size = 0
    for end, event in enumerate(events):
        size += len(event.body)
        if end > start and (size > _most_bytes or end - start >= MOST_EVENTS):
            yield _block(codec, events[start:end])
            start, size = end, len(event.body)
    if events:
        yield _block(codec, events[start:])


def _block(codec: Codec, events: Sequence[Event]) -> Block:
    return Block(events, *codec.shrink(_encode(events)))


def events_in(codec: Codec, dictionary: int, content: bytes) -> list[Event]:
    """The events of a block.

    Raises:
        ValueError: the bytes are damaged, or shrunk with a newer version's dictionary.
    """
    return _decode(codec.expand(dictionary, content))  # msgspec's errors are ValueErrors
