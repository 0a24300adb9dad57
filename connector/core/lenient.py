"""Reading what a platform really sends: one wrong field never loses the rest. Knows no platform.

A vendor's body is a Pydantic model of ``Lenient`` fields: what doesn't fit its field is nothing (None), an item that
doesn't fit is left out of its list. pydantic-core does that by itself, without a call into Python.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FAR_SECONDS = 253_402_300_800  # the year 10000: no datetime reaches it


class _OnError:
    def __init__(self, then: Literal["default", "omit"]) -> None:
        self.then = then

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        if self.then == "omit":
            return core_schema.with_default_schema(handler(source), on_error="omit")
        return core_schema.with_default_schema(handler(source), default=None, on_error="default")


class VendorModel(BaseModel):
    """The base of a vendor's bodies: unknown keys are welcome, numbers may stand where text is expected."""

    # Built by the first event: a start, which waits for every plug-in, is 20 ms shorter.
    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True, str_strip_whitespace=True, defer_build=True)


_T = TypeVar("_T")

Maybe = Annotated[_T | None, _OnError("default")]
"""``Maybe[Profile]``: the value, or None when there is none or it doesn't fit."""

Some = Annotated[list[Annotated[_T, _OnError("omit")]] | None, _OnError("default")]
"""``Some[Promotion]``: the items that fit, or None when it is no list at all."""

Text = Maybe[str]
Count = Maybe[int]
"""A whole number, also in quotes ("234") and as 234.0."""
Amount = Maybe[int | Decimal]


def key_text(value: object) -> str | None:
    """A platform's numeric id as text: 234, "234", 234.0 -> "234"; None for anything that is no positive number."""
    if isinstance(value, int):
        return str(value) if value > 0 and value is not True and value < 10**20 else None
    if isinstance(value, str):
        value = value.strip()
        return str(int(value)) if value.isascii() and value.isdigit() and len(value) <= 20 and int(value) else None
    if isinstance(value, float | Decimal):
        finite = not isinstance(value, Decimal) or value.is_finite()  # comparing a NaN of Decimal would raise
        return key_text(int(value)) if finite and 0 < value < 10**15 and value == int(value) else None
    return None


def micros_of_iso(value: object) -> int | None:
    """ISO 8601 (UTC where it names no offset) as microseconds of Unix time; None if it is none, or before 1970."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        micros = (moment - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        return None
    return micros if 0 < micros < _FAR_SECONDS * 1_000_000 else None


def micros_of_seconds(value: object) -> int | None:
    """Unix seconds (a number, or one in quotes) as microseconds; None for 0, which Everflow writes for "never"."""
    if isinstance(value, str):
        try:
            value = Decimal(value.strip())
        except ArithmeticError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    if isinstance(value, Decimal) and value.is_nan():  # comparing it would raise
        return None
    return int(value * 1_000_000) if 0 < value < _FAR_SECONDS else None


def micros_of(moment: datetime) -> int:
    """An aware datetime as microseconds of Unix time."""
    return (moment - _EPOCH) // _MICROSECOND


def iso(micros: int) -> str:
    """Microseconds of Unix time as a fact has it: "2024-10-03T11:45:10.312000Z"."""
    return (_EPOCH + micros * _MICROSECOND).isoformat().replace("+00:00", "Z")


def iso_or_none(micros: int | None) -> str | None:
    """``iso``, for a time that may be missing."""
    return None if micros is None else iso(micros)
