"""Reading what a platform really sends: one wrong field never loses the rest. Knows no platform.

A body is read as plain JSON values, and each field is asked for by what it should be: what doesn't fit is nothing
(None), an item that doesn't fit is left out of its list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import Any

from connector.core.errors import Unreadable
from connector.core.json_body import decode
from connector.core.visible import one_line, trimmed, visible

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_START = datetime(1970, 1, 1)  # noqa: DTZ001 - without a zone an offset need not be written and cut off again
_MICROSECOND = timedelta(microseconds=1)
_DAY = 86_400_000_000  # microseconds
_LONGEST_ID = 100
_NOT_IN_IDS = frozenset(" []")
_FAR_MICROS = 253_402_300_800_000_000  # the year 10000: no datetime reaches it
_LONGEST_TIME = 64  # characters
_NAMES_OF_UTC = ("UTC", "GMT", "Z")
_OFFSET_OF_UTC = re.compile(r"\b(?:GMT|UTC)(?=[+-]\d)")  # JavaScript's: "Mon Nov 02 2026 10:00:00 GMT+0200"
_HALVES_OF_A_DAY = ("AM", "PM")
_UNIX_UNITS = (  # from 1973 to 5138: a number of 10 digits is seconds, of 13 milliseconds, of 16 microseconds
    (10**8, 10**11, 1_000_000),
    (10**11, 10**14, 1_000),
    (10**14, 10**17, 1),
)
_MOST_DIGITS = 60  # before the point, and after it: whatever formats a number then makes a short text of it
_LARGEST = 10**_MOST_DIGITS
_LARGEST_COUNT = 10**18

_READ_BY_MACHINES = frozenset({
    "email", "phone", "website", "referral_link", "avatar_url", "ref_id", "promo_code", "customer_promo_code",
    "referral_code", "external_id", "currency", "postal_code", "url", "code", "token",
    "twitter", "youtube", "facebook", "linkedin", "instagram", "tiktok", "twitch",
})  # fmt: skip

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
        return trimmed(value) or None
    number = amount(value)
    return None if number is None else format(number, "f" if type(number) is Decimal else "d")


def text_for(path: str, value: object) -> str | None:
    """``text``, ``cleaned`` for a path of the record."""
    if type(value) is str and value.isascii() and value.isprintable():
        return value.strip(" ") or None
    said = text(value)
    return None if said is None else cleaned(path, said)


def cleaned(path: str, said: str) -> str | None:
    """*said* as the record has it at *path*: what machines read is rid of invisible signs altogether."""
    field = path.rpartition(".")[2]
    if field in _READ_BY_MACHINES:
        return visible(said) or None
    return (one_line(said) if field == "country" else trimmed(said)) or None


def custom_value(value: object) -> str | int | bool | None:
    """The value of a custom field: a list's entries with commas, a number that is no count as text."""
    if isinstance(value, bool):
        return value
    if isinstance(value, list):
        return ", ".join(said for said in map(text, value) if said) or None
    whole = None if isinstance(value, str) else count(value)
    return text(value) if whole is None else whole


def count(value: object) -> int | None:
    """A whole number below 10^18, also in quotes ("234") and as 234.0."""
    number = amount(value)
    return number if type(number) is int and -_LARGEST_COUNT < number < _LARGEST_COUNT else None


def amount(value: object) -> int | Decimal | None:
    """A number, also in quotes; whole ones are ``int``. One that is too large or too small for people is nothing."""
    if type(value) is int:
        return value if -_LARGEST < value < _LARGEST else None
    if type(value) is str and len(value) <= _MOST_DIGITS:
        try:
            value = Decimal(trimmed(value))
        except InvalidOperation:
            return None
    if type(value) is not Decimal or not value.is_finite():
        return None
    if not value:
        return 0  # 0E-999999999, too
    if not -_MOST_DIGITS <= value.adjusted() < _MOST_DIGITS or int(value.as_tuple().exponent) < -2 * _MOST_DIGITS:
        return None
    return int(value) if value == value.to_integral_value() else value


def key_text(value: object) -> str | None:
    """A platform's numeric id as text: 234, "234", 234.0 -> "234"; None for anything that is no positive number."""
    if isinstance(value, int):
        return str(value) if value > 0 and value is not True and value < 10**20 else None
    if isinstance(value, str):
        value = visible(value)
        return str(int(value)) if value.isascii() and value.isdigit() and len(value) <= 20 and int(value) else None
    if isinstance(value, float | Decimal):
        finite = not isinstance(value, Decimal) or value.is_finite()  # comparing a NaN of Decimal would raise
        return key_text(int(value)) if finite and 0 < value < 10**15 and value == int(value) else None
    return None


def id_text(value: object) -> str | None:
    """A platform's id of any kind as text: 234 -> "234", " pn_1JRB… " -> "pn_1JRB…"; None for what is none: blank,
    longer than 100 characters, or with blanks, control characters or brackets in it."""
    if isinstance(value, str):
        value = visible(value)
        fits = 0 < len(value) <= _LONGEST_ID and value.isprintable() and not _NOT_IN_IDS & set(value)
        return value if fits else None
    return key_text(value)


def word(value: object) -> str | None:
    """An event's type or id as text: short and printable, since it travels into logs and keys."""
    if not isinstance(value, str):
        number = amount(value)
        value = str(number) if type(number) is int else ""
    said = visible(value)
    return said if 0 < len(said) <= _LONGEST_ID and said.isprintable() else None


def micros_of_time(value: object, zone: tzinfo = UTC) -> int | None:
    """A time as microseconds of Unix time, however it is written; None for what is none, or not after 1970 began.

    ISO 8601, the same with a zone's name (``2026-11-02 08:00:00 UTC``), a mail's date, and Unix time in seconds,
    milliseconds or microseconds from 1973 on, also in quotes. Where it names no zone it is in *zone*. 0 means "never".
    """
    if not isinstance(value, str):
        return _micros_of_number(Decimal(repr(value)) if isinstance(value, float) else value)
    written = _OFFSET_OF_UTC.sub("", trimmed(value)[:_LONGEST_TIME])
    number = None if ":" in written else _micros_of_number(written)
    return number or _micros_of_words(written, zone)


def _micros_of_number(value: object) -> int | None:
    number = amount(value)
    if number is None:
        return None
    for least, more, unit_micros in _UNIX_UNITS:
        if least <= number < more:
            return int(number * unit_micros)
    return None


def _micros_of_words(written: str, zone: tzinfo) -> int | None:
    plain = written.upper()
    if plain.endswith(_HALVES_OF_A_DAY):  # a mail's date has none: 8:00 PM would be read as 8:00
        return None
    for name in _NAMES_OF_UTC:
        if plain.endswith(name):
            plain, zone = plain.removesuffix(name), UTC
    try:
        try:
            moment = datetime.fromisoformat(plain.rstrip())
        except ValueError:
            moment = parsedate_to_datetime(written)
        micros = micros_of(moment.replace(tzinfo=zone) if moment.tzinfo is None else moment)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return micros if 0 < micros < _FAR_MICROS else None


def micros_of(moment: datetime) -> int:
    """An aware datetime as microseconds of Unix time."""
    return (moment - _EPOCH) // _MICROSECOND


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
