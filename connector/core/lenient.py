"""Reading what a platform really sends: one wrong field never loses the rest. Knows no platform.

A body is read as plain JSON values, and each field is asked for by what it should be: what doesn't fit is nothing
(None), an item that doesn't fit is left out of its list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from connector.core.errors import Unreadable
from connector.core.json_body import decode

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_START = datetime(1970, 1, 1)  # noqa: DTZ001 - without a zone an offset need not be written and cut off again
_DAY = 86_400_000_000  # microseconds
_FAR_SECONDS = 253_402_300_800  # the year 10000: no datetime reaches it
_LONGEST_NUMBER = 60
_LONGEST_ID = 100
_NOT_IN_IDS = frozenset(" []")

Fields = Mapping[str, Any]
"""An object of a body: JSON's values by name, ``Decimal`` for a number with a fraction or an exponent."""

no_fields: Fields = {}


def fields_of(body: bytes) -> Fields | None:
    """The object that *body* (of an ``Event``) is."""
    try:
        value = decode(body)
    except Unreadable:
        return None
    return value if type(value) is dict else None


def part(fields: Fields, name: str) -> Fields | None:
    """The object under *name*."""
    value = fields.get(name)
    return value if type(value) is dict else None


def parts(fields: Fields, name: str) -> Sequence[Fields] | None:
    """The objects of the list under *name*; None when there is no list."""
    value = fields.get(name)
    return [item for item in value if type(item) is dict] if type(value) is list else None


def text(value: object) -> str | None:
    """A text without the blanks around it, None for an empty one; a number where a text is expected is its digits."""
    if type(value) is str:
        return value.strip() or None
    number = amount(value)
    return None if number is None else str(number)


def count(value: object) -> int | None:
    """A whole number, also in quotes ("234") and as 234.0."""
    number = amount(value)
    return number if type(number) is int else None


def amount(value: object) -> int | Decimal | None:
    """A number, also in quotes; whole ones are ``int``."""
    if type(value) is int:
        return value
    if type(value) is str and len(value) <= _LONGEST_NUMBER:
        try:
            value = Decimal(value)
        except InvalidOperation:
            return None
    if type(value) is not Decimal or not value.is_finite() or value.adjusted() > _LONGEST_NUMBER:
        return None
    return int(value) if value == value.to_integral_value() else value


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


def id_text(value: object) -> str | None:
    """A platform's id of any kind as text: 234 -> "234", " pn_1JRB… " -> "pn_1JRB…"; None for what is none: blank,
    longer than 100 characters, or with blanks, control characters or brackets in it."""
    if isinstance(value, str):
        value = value.strip()
        fits = 0 < len(value) <= _LONGEST_ID and value.isprintable() and not _NOT_IN_IDS & set(value)
        return value if fits else None
    return key_text(value)


def micros_of_iso(value: object) -> int | None:
    """ISO 8601 (UTC where it names no offset) as microseconds of Unix time; None if it is none, or before 1970."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        micros = micros_of(moment)
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


def micros_of_millis(value: object) -> int | None:
    """Unix milliseconds as microseconds; None for anything else."""
    number = amount(value)
    return None if number is None else micros_of_seconds(number / Decimal(1000))


def micros_of(moment: datetime) -> int:
    """An aware datetime as microseconds of Unix time."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds  # quicker than dividing timedeltas


def stamp(said: int | None, received_at: datetime) -> int:
    """The time that an event is true as of: what the platform *said*, in microseconds; else when it was received.

    So, too, for a time more than a day after that: it would win over all that is said until then, for years perhaps.
    """
    received = micros_of(received_at)
    return received if said is None or said > received + _DAY else said


def iso(micros: int) -> str:
    """Microseconds of Unix time as a fact has it: "2024-10-03T11:45:10.312000Z"."""
    return (_START + timedelta(0, 0, micros)).isoformat() + "Z"


def iso_or_none(micros: int | None) -> str | None:
    """``iso``, for a time that may be missing."""
    return None if micros is None else iso(micros)
