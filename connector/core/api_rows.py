"""From the answer of a platform's API to events: strict JSON, secrets dropped, one event a row. Knows no platform."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final

import msgspec

from connector.core import paging
from connector.core.errors import Unreadable
from connector.core.json_body import number_of, open_body, whole_number
from connector.core.lenient import micros_of
from connector.core.platform_api import Listed, Page
from connector.core.source import API_TOPIC, Event

GONE: Final = f"{API_TOPIC}gone"
"""The topic of what ``gone`` makes."""

_encode = msgspec.json.Encoder(decimal_format="number").encode


def open_answer(raw: bytes, secrets: frozenset[str]) -> Any:
    """The JSON value in *raw*; keys named in *secrets* are gone at any depth.

    An answer is a hundred affiliates: where a webhook would be refused for one bad character, here that character is
    replaced, so that one odd name does not cost all the others.

    Raises:
        Unreadable: not JSON at all, or nested too deeply.
    """
    try:
        return open_body(b'{"":' + raw + b"}", secrets)[0][""]
    except Unreadable:
        try:
            value = json.loads(
                raw.decode("utf-8", "replace"),
                parse_float=number_of, parse_int=whole_number, parse_constant=lambda _: None,
            )  # fmt: skip
            repaired = json.dumps({"": value}, ensure_ascii=False, default=_number).encode("utf-8", "replace")
        except (ValueError, RecursionError):
            raise Unreadable("the answer is not JSON") from None
        return open_body(repaired, secrets)[0][""]


def _number(value: object) -> float | None:
    number = float(value)  # type: ignore[arg-type] # json.dumps asks for the Decimals only
    return number if math.isfinite(number) else None


def rows_of(value: Any, name: str) -> Sequence[Any]:
    """The rows of an answer: a bare array, or the one under *name*.

    Raises:
        Unreadable: it is neither.
    """
    rows = value.get(name) if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise Unreadable(f'the answer is neither a list nor {{"{name}": [...]}}')
    return rows


def total_of(value: Any, name: str) -> int | None:
    """How many rows there are in all, where the answer says so: ``{name: {"total_count": 12}}``."""
    said = value.get(name) if isinstance(value, dict) else None
    total = said.get("total_count") if isinstance(said, dict) else None
    return total if type(total) is int and total >= 0 else None


def text_of(row: object) -> bytes:
    """A row as compact JSON."""
    return _encode(row)


def numbered_page(place: str, most: int, rows: Sequence[Listed], total: int | None = None) -> Page:
    """One page of a list that is read by page numbers (core/paging.py), of *most* rows at most.

    Args:
        total: how many rows the list has in all, where the answer says so.
    """
    at = paging.window(place, most)
    then = paging.step(place, most, len(rows))
    if total is not None and at.page == 1 and len(rows) >= total:
        then = paging.Step(None, None)  # this is all: no need to ask once more
    return Page(
        rows,
        more=() if then.more is None else (then.more,),
        total=total,
        overlap=at.overlap,
        back=then.back,
        numbered=at.cap is not None,
    )


def listed(
    name: str, topic: str, key: str | None, row: object, at: int, as_of: datetime, *, part: bool = False
) -> Listed:
    """A row as the inbox keeps it.

    Its key names its content and its time, so that a state that comes back counts again; a row that names nobody has
    its content only, so that it is one dead letter however often it is met.

    Args:
        name: the source's.
        key: the platform's id of the affiliate, or None when the row has none.
        at: microseconds of Unix time as of which the row is true.
        as_of: the moment that the answer vouches for.
    """
    text = text_of(row)
    digest = blake2b(text, digest_size=16).hexdigest()
    if key is None:
        return Listed("", Event(name, f"{topic}:{digest}", topic, at, as_of, text))
    return Listed(f"{name}:{key}", Event(name, f"{topic}:{micros_of(as_of)}:{digest}", topic, at, as_of, text), part)


def gone(name: str, record_id: str, as_of: datetime) -> Event:
    """An affiliate that is not at the platform any more: ``{"id": "41"}``."""
    number, at = record_id.partition(":")[2], micros_of(as_of)
    return Event(name, f"{GONE}:{number}:{at}", GONE, at, as_of, text_of({"id": number}))
