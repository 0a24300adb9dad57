"""Values into typed cells: text, numbers, dates, money, e-mail addresses and so on. Knows types, not columns."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, tzinfo
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import urlsplit

from connector.core.keys import text_of, word_of
from connector.core.money import exponent
from connector.core.record import AffiliateRecord
from connector.core.row import Cell, ColumnType
from connector.core.visible import one_line, visible


class Unfit(ValueError):
    """A value that can't be shaped. The text says why, and may quote the value: not for logs."""

    def __init__(self, text: str, *, code: str = "") -> None:
        super().__init__(text)
        self.code = code


Shaper = Callable[[Any, AffiliateRecord | None], Cell]
"""(value that is not empty, its record or None for a constant) -> cell. Raises Unfit."""

_WIDE = Context(prec=100)  # amounts are rounded to the currency's decimals, never to a number of digits


def _quoted(value: Any) -> str:
    text = text_of(value)
    return f'"{text[:77]}…"' if len(text) > 78 else f'"{text}"'


def shaper(
    kind: ColumnType,
    *,
    timezone: tzinfo = UTC,
    region: str | None = None,
    currency: str | None = None,
    show: Literal["code", "name"] = "code",
    currency_of: Callable[[AffiliateRecord], str | None] = lambda record: record.currency,
) -> Shaper:
    """The function that makes cells of one column.

    Args:
        timezone: for date and datetime: whose calendar and clock.
        region: for phone: ISO 3166 code of two letters; None for the record's country.
        currency: for money: ISO 4217 code; None for the record's.
        show: for country.
        currency_of: for money: the currency that a record's amount is in.
    """
    if kind == "phone":
        return lambda value, record: _phone(one_line(_one(value)), region or _country_of(record))
    if kind == "country":
        name = show == "name"
        return lambda value, _: _country(one_line(_one(value)), name)
    if kind == "money":
        return lambda value, record: _money(value, None if record is None else currency_of(record), currency)
    if kind == "date":
        return lambda value, _: _date(value, timezone)
    if kind == "datetime":
        return lambda value, _: _datetime(value, timezone)
    return _PLAIN_SHAPERS[kind]


def _country_of(record: AffiliateRecord | None) -> str:
    country = (record.country if record is not None else None) or ""
    return country if len(country) <= _LONGEST_ONE else ""


_LONGEST_ONE = 8_000  # characters; no address, phone number or country is longer, and what is found is kept in memory


def _one(value: Any) -> str:
    """The text of a single value that machines read."""
    if isinstance(value, tuple):
        raise Unfit("this is a list; one value is wanted")
    text = text_of(value)
    if len(text) > _LONGEST_ONE:
        raise Unfit(f"{_quoted(text)} is too long")
    return visible(text)


def _text(value: Any, _: AffiliateRecord | None) -> Cell:
    return value if type(value) is str else text_of(value)


def _list(value: Any, _: AffiliateRecord | None) -> Cell:
    entries = value if isinstance(value, tuple | list) else (value,)
    return tuple(text for text in map(text_of, entries) if text and not text.isspace())


def _number(value: Any, _: AffiliateRecord | None) -> Cell:
    return _decimal(value)


def _decimal(value: Any) -> Decimal:
    if isinstance(value, Decimal):
        number = value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = Decimal(repr(value))
    else:
        text = visible(value) if isinstance(value, str) else ""
        if not re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", text, re.ASCII):
            raise Unfit(f"{_quoted(value)} is not a number")
        number = Decimal(text)
    if not number.is_finite() or (number and not -60 < number.adjusted() < 60):
        raise Unfit(f"{_quoted(value)} is not a number that a table can hold")
    return number


def _integer(value: Any, _: AffiliateRecord | None) -> Cell:
    if type(value) is int:
        return value
    try:
        number = _decimal(value)
    except Unfit:
        raise Unfit(f"{_quoted(value)} is not a whole number") from None
    if number != number.to_integral_value(context=_WIDE):
        raise Unfit(f"{_quoted(value)} is not a whole number")
    return int(number)


_TRUE, _FALSE = frozenset({"true", "yes", "on", "1", "y"}), frozenset({"false", "no", "off", "0", "n"})


def _boolean(value: Any, _: AffiliateRecord | None) -> Cell:
    if isinstance(value, bool):
        return value
    word = word_of(value).strip().casefold()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise Unfit(f"{_quoted(value)} is neither true nor false")


def _money(value: Any, of_record: str | None, currency: str | None) -> Cell:
    known = of_record.strip().upper() if of_record else None
    if currency and known and currency != known:
        raise Unfit(f"the amount is in {known}, the column in {currency}")
    try:
        return _decimal(value).quantize(_quantum((currency or known or "")[:3]), ROUND_HALF_UP, _WIDE)
    except InvalidOperation:
        raise Unfit(f"{_quoted(value)} is not an amount") from None


@lru_cache(maxsize=256)
def _quantum(currency: str) -> Decimal:
    return Decimal(1).scaleb(-exponent(currency))


def _datetime(value: Any, timezone: tzinfo) -> datetime:
    try:
        if isinstance(value, datetime):
            moment = value
        elif isinstance(value, date):
            moment = datetime.combine(value, time(), tzinfo=timezone)
        elif isinstance(value, str):
            moment = datetime.fromisoformat(value.strip())
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=timezone)  # text that people typed means their own clock
        else:
            raise Unfit(f"{_quoted(value)} is not a date")
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.astimezone(timezone)
    except (ValueError, OverflowError):
        raise Unfit(f"{_quoted(value)} is not a date; one is written 2026-11-20 or 2026-11-20T14:30:00Z") from None


_JUST_A_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def _date(value: Any, timezone: tzinfo) -> Cell:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if isinstance(value, str) and _JUST_A_DATE.fullmatch(value.strip()):
        try:
            return date.fromisoformat(value.strip())  # a day has no hour: no time zone moves it
        except ValueError:
            raise Unfit(f"{_quoted(value)} is not a date") from None
    return _datetime(value, timezone).date()


def _email(value: Any, _: AffiliateRecord | None) -> Cell:
    return _email_of(_one(value))


def _url(value: Any, _: AffiliateRecord | None) -> Cell:
    text = asked = _one(value)
    if not text.casefold().startswith(("http://", "https://")) and not re.match(
        r"[a-z][a-z0-9+.-]*:(?!\d)", text, re.I
    ):
        text = "https://" + text.removeprefix("//")
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("http", "https") or re.search(r"\s", text) or "." not in host.strip("."):
        raise Unfit(f"{_quoted(asked)} is not a web address")
    return text


_PLAIN_SHAPERS: dict[ColumnType, Shaper] = {
    "text": _text,
    "list": _list,
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
    "email": _email,
    "url": _url,
}


# The libraries below are heavy, and are imported when a value of their type first comes.


@lru_cache(maxsize=1024)
def _email_of(text: str) -> str:
    from email_validator import EmailNotValidError, validate_email

    try:
        # test_environment: whether addresses in .test can be written is for the destination to say.
        address = validate_email(text, check_deliverability=False, test_environment=True)
    except (EmailNotValidError, ValueError):
        raise Unfit(f"{_quoted(text)} is not an e-mail address") from None
    # The domain stays as the platform spells it. HubSpot lower-cases all, email-validator only the domain: one person
    # would be two.
    given = text.rpartition("@")[2]
    return f"{address.local_part}@{given if given.isascii() else address.domain}".lower()


_INTERNATIONAL_PREFIX = re.compile(
    r"^[\s(]*(?:0\s*0|\uff0b|\+\s*0\s*0)[\s)./-]*(?=[1-9(])"
)  # as it is dialled in most countries


@lru_cache(maxsize=1024)
def _phone(text: str, region: str) -> str:
    import phonenumbers

    code = country_code(region) if region else None
    text = _INTERNATIONAL_PREFIX.sub("+", phonenumbers.normalize_digits_only(text, keep_non_digits=True))
    try:
        number = phonenumbers.parse(text, code)
    except phonenumbers.NumberParseException as error:
        if error.error_type == phonenumbers.NumberParseException.INVALID_COUNTRY_CODE and not text.startswith("+"):
            raise Unfit(
                f'{_quoted(text)} begins with no country code, and no country is known: set region = "…"'
            ) from None
        raise Unfit(f"{_quoted(text)} is not a phone number") from None
    if not phonenumbers.is_possible_number(number):
        raise Unfit(f"{_quoted(text)} is too long or too short for a phone number")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _country(text: str, name: bool) -> str:
    code = country_code(text)
    if code is None:
        raise Unfit(f"{_quoted(text)} is not a country")
    if not name:
        return code
    import pycountry

    found: Any = pycountry.countries.get(alpha_2=code)
    return str(getattr(found, "common_name", None) or found.name)


_OTHER_NAMES = {"uk": "GB", "england": "GB", "scotland": "GB", "wales": "GB", "great britain": "GB", "usa": "US",
                   "u.s.": "US", "u.s.a.": "US", "uae": "AE", "el": "GR"}  # fmt: skip


@lru_cache(maxsize=1024)
def country_code(text: str) -> str | None:
    """The ISO 3166 code of two letters for a code or an English name of a country; None when there is none."""
    word = one_line(text)
    if word.casefold() in _OTHER_NAMES:
        return _OTHER_NAMES[word.casefold()]
    import pycountry

    try:
        return str(pycountry.countries.lookup(word).alpha_2)
    except LookupError:
        return None


def currency_codes() -> list[str]:
    """All codes of ISO 4217."""
    import pycountry

    return [currency.alpha_3 for currency in pycountry.currencies]


def country_codes() -> list[str]:
    """All codes of ISO 3166, two letters."""
    import pycountry

    return [country.alpha_2 for country in pycountry.countries]
