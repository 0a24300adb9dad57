"""Numbers and dates as text, in a language: patterns and locales, by Babel. Knows types, not columns."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from connector.core.mapping.cells import Shaper
from connector.core.money import exponent
from connector.core.record import AffiliateRecord
from connector.core.row import Cell, ColumnType
from connector.core.words import did_you_mean

FORMATTED: tuple[ColumnType, ...] = ("date", "datetime", "number", "integer", "money")
"""The types that ``format`` and ``locale`` go with."""

CurrencyOf = Callable[[AffiliateRecord], str | None]

_NAMED = ("short", "medium", "long", "full")
_DATE_LETTERS, _TIME_LETTERS = frozenset("yYMLdDEcQwG"), frozenset("HhkKmsSaZxX")
_QUOTED = re.compile(r"'(?:[^']|'')*'")
_WIDE = Context(prec=100)


class WrongFormat(ValueError):
    """A pattern that makes no text of such values; the text says why and what would be right."""


class UnknownLocale(ValueError):
    """A language that Babel does not know; the text says what was probably meant."""


def known_locale(name: str) -> str:
    """*name* as Babel writes it (``en-GB`` is ``en_GB``). Raises UnknownLocale."""
    from babel import Locale
    from babel.core import UnknownLocaleError
    from babel.localedata import locale_identifiers

    try:
        return str(Locale.parse(name.replace("-", "_")))
    except (UnknownLocaleError, ValueError):
        # "de" is meant rather than one of its many regions; "german" begins with no code at all.
        choices = sorted(locale_identifiers(), key=lambda code: (len(code), code))
        guess = did_you_mean(name, choices) if len(name) < 8 else None
        right = f'did you mean "{guess}"?' if guess else 'one is written "de" or "en-GB"'
        raise UnknownLocale(f'"{name}" is not a language; {right}') from None


def checked_pattern(pattern: str, kind: ColumnType) -> str:
    """*pattern* as Babel understands it: ``DD.MM.YYYY`` is ``dd.MM.yyyy``. Raises WrongFormat."""
    if kind in ("date", "datetime"):
        return _date_pattern(pattern, kind)
    from babel.numbers import parse_pattern

    plain = _QUOTED.sub("", pattern)
    example = 'write it like "#,##0.00"'
    if "." in plain and "," in plain and plain.rindex(",") > plain.index("."):
        raise WrongFormat(f'a pattern has "," between thousands and "." before decimals; {example}, and locale = "de"')
    if not re.search(r"[#0]", plain) or re.search(r"[^\W\dE]", plain):
        raise WrongFormat(f"\"{pattern}\" is not a pattern for numbers; {example}, words in '…'")
    try:
        parse_pattern(pattern)
    except ValueError:
        raise WrongFormat(f'"{pattern}" is not a pattern for numbers; {example}') from None
    return pattern


def _date_pattern(pattern: str, kind: ColumnType) -> str:
    if pattern in _NAMED:
        return pattern
    example = 'write it like "DD.MM.YYYY"' + (' or "DD.MM.YYYY HH:mm"' if kind == "datetime" else "")
    if "%" in pattern:
        raise WrongFormat(f"a pattern has letters only; {example}")
    letters = {letter for letter in _QUOTED.sub("", pattern) if letter.isalpha()}
    wrong = sorted(letters - _DATE_LETTERS - _TIME_LETTERS)
    if wrong or not letters:
        what = f'"{wrong[0]}" is no part of a date' if wrong else f'"{pattern}" has no part of a date'
        raise WrongFormat(f"{what}; {example}, words in '…'")
    if "m" in letters and not letters & frozenset("HhkK"):
        raise WrongFormat("mm is minutes, a month is MM")
    if kind == "date" and letters & _TIME_LETTERS:
        raise WrongFormat('a date has no hours; type = "datetime" has them')
    # In Babel, DD is the day of the year and YYYY the year of the week: nobody who types them means that.
    pieces = re.split(r"('(?:[^']|'')*')", pattern)
    translated = "".join(
        piece if piece.startswith("'") else piece.replace("D", "d").replace("Y", "y") for piece in pieces
    )
    try:
        _format_date(datetime(2026, 3, 31, 23, 30, tzinfo=UTC), translated, "en", kind)
    except (ValueError, AttributeError, KeyError):
        raise WrongFormat(f'"{pattern}" is not a pattern for dates; {example}') from None
    return translated


def formatted(shape: Shaper, kind: ColumnType, pattern: str | None, locale: str, currency_of: CurrencyOf) -> Shaper:
    """*shape* with its cells as text.

    Args:
        pattern: checked; None for what is usual in that language.
        currency_of: for an amount: the currency that a record's is in.
    """

    def text(value: Any, record: AffiliateRecord | None) -> Cell:
        cell = shape(value, record)
        if isinstance(cell, date):
            return _format_date(cell, pattern or "medium", locale, kind)
        currency = None if record is None or kind != "money" else currency_of(record)
        return _format_number(cell, pattern, locale, currency, is_money=kind == "money")

    return text


def _format_date(moment: date, pattern: str, locale: str, kind: ColumnType) -> str:
    from babel.dates import format_date, format_datetime

    if isinstance(moment, datetime) and kind == "datetime":
        return format_datetime(moment, pattern, tzinfo=moment.tzinfo, locale=locale)
    return format_date(moment, pattern, locale=locale)


def _format_number(cell: Cell, pattern: str | None, locale: str, currency: str | None, *, is_money: bool) -> str:
    from babel.numbers import format_currency, format_decimal, parse_pattern

    number = cell if isinstance(cell, Decimal) else Decimal(str(cell))
    if pattern is None and is_money:
        decimals = exponent(currency or "")
        pattern = "#,##0." + "0" * decimals if decimals else "#,##0"
    if pattern is not None:
        parsed = parse_pattern(pattern)
        if parsed.exp_prec is None:  # Babel rounds a half to the even digit, tables round it up
            shown = parsed.frac_prec[1] + parsed.scale
            number = number.quantize(Decimal(1).scaleb(-shown), ROUND_HALF_UP, _WIDE)
    if pattern is not None and "¤" in pattern:
        return format_currency(number, currency or "", pattern, locale=locale, currency_digits=False)
    return format_decimal(number, pattern, locale=locale)
