"""Values as text, and the text that a key is compared by: one rule for mappings and for all sinks."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Any


def tidy(text: str) -> str:
    """*text* in Unicode's composed form (NFC), trimmed: how people see it."""
    return (text if text.isascii() else unicodedata.normalize("NFC", text)).strip()


def canonical_key(cell: Any) -> str:
    """The text that a key cell is known by everywhere; "" when it is empty.

    A typed cell and what a table gives back for it have the same key: 42, 42.0, "42 " and Decimal("42.0") are "42".
    """
    return tidy(word_of(cell))


_FORMS = (
    re.compile(r"[a-z][a-z0-9_.-]*:(?!//)\S+"),  # acme:41, and no address of a page
    re.compile(r"[^\s@]+@[^\s@]+"),  # an e-mail address
    re.compile(r"[0-9]+"),
    re.compile(r"\S*[0-9]\S*"),  # a code with a digit
)


def has_form_of(keys: Iterable[str]) -> Callable[[str], bool]:
    """Whether a text in the key's column may be a key like *keys*: so a TOTAL or a legend below the table is none.

    Where one of *keys* is a plain word or has blanks, nobody can tell, and every text may be one.
    """
    known = {next((form for form in _FORMS if form.fullmatch(key)), None) for key in keys}
    if None in known:
        return bool
    return lambda text: any(form is not None and form.fullmatch(text) for form in known)


def is_of_row(formula: str, row: int) -> bool:
    """Whether a formula is about the row that it is in (counted from 1), as people prepare them for new rows; a sum of
    the rows above is not."""
    return re.search(rf"(?<![0-9]){row}(?![0-9])|\bROW\(\)", formula) is not None


def text_of(value: Any) -> str:
    """Any value as the text that people are shown: true, 12, 307.00, 2026-11-20, a list with commas."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return _in_digits(value)
    if isinstance(value, float):
        return _without_zeros(_in_digits(Decimal(repr(value))))
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, tuple | list):
        return ", ".join(text for text in map(text_of, value) if text)
    return str(value)


def word_of(value: Any) -> str:
    """Any value as the text that it is compared by: ``text_of``, but 307.00 is 307."""
    return _without_zeros(text_of(value)) if isinstance(value, Decimal) else text_of(value)


def _in_digits(number: Decimal) -> str:
    if not number.is_finite() or not -100 < number.adjusted() < 100 or int(number.as_tuple().exponent) < -200:
        return str(number)  # in full it would be a megabyte of zeros
    return format(number, "f")


def _without_zeros(digits: str) -> str:
    return digits.rstrip("0").rstrip(".") if "." in digits and "E" not in digits else digits
