"""The tests of ``when``: whether a record (or an entry of ``for_each``) is meant. Case does not count."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from connector.core.keys import word_of
from connector.core.mapping.cells import Unfit, shaper
from connector.core.mapping.paths import IN_WORDS, Kind, Reader
from connector.core.overwrite import is_empty
from connector.core.record import AffiliateRecord
from connector.core.words import unknown_word

Passes = Callable[[AffiliateRecord, Any], bool]
"""(record, entry of ``for_each`` or None) -> whether the test holds."""

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_FOUND_IN: dict[str, Callable[[str, str], bool]] = {
    "contains": str.__contains__,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
}


class Wrong(ValueError):
    """A test that can't be meant; the text says why and what would be right."""


_number = shaper("number")


def compile_test(name: str, operand: Any, kind: Kind, read: Reader) -> Passes:
    """The test *name* of what *read* reads against *operand* (checked before by ``check_operand``, entry by entry)."""
    if name == "exists":
        wanted = bool(operand)
        return lambda record, item: (not is_empty(read(record, item))) is wanted
    if name in ("in", "not_in"):
        equal = _any_of([_equals(kind, entry) for entry in operand])
    elif name in ("is", "not"):
        equal = _equals(kind, operand)
    elif name in _FOUND_IN:
        equal = _text_test(name, operand, kind)
    else:
        equal = _order_test(name, operand)
    if name in ("not", "not_in"):
        return lambda record, item: not any(map(equal, _values(read(record, item))))
    if not kind.many:
        return lambda record, item: not is_empty(value := read(record, item)) and equal(value)
    return lambda record, item: any(map(equal, _values(read(record, item))))


def check_operand(name: str, operand: Any, path: str, kind: Kind) -> None:
    """Whether one operand (of a list: each) fits the test and what the path holds.

    Raises:
        Wrong: it does not.
    """
    if name == "exists":
        return
    if kind.holds == "table":
        raise Wrong(f'"{path}" has parts; only "exists" can test it')
    if name in _FOUND_IN and kind.holds not in ("text", "any") and not (name == "contains" and kind.many):
        raise Wrong(f'"{name}" tests text, and "{path}" holds {IN_WORDS[kind.holds]}')
    if name in _COMPARE and kind.holds in ("text", "boolean"):
        raise Wrong(f'"{name}" compares numbers and dates, and "{path}" holds {IN_WORDS[kind.holds]}')
    if operand == "":
        raise Wrong("nothing is ever equal to an empty text; write { exists = false }")
    if kind.holds in ("integer", "decimal"):
        if isinstance(operand, bool) or not isinstance(operand, int | float):
            raise Wrong(f'"{path}" holds a number; write one without quotes, like 10')
    elif kind.holds == "boolean":
        if not isinstance(operand, bool):
            raise Wrong(f'"{path}" is true or false; write one of them without quotes')
    elif kind.holds == "datetime":
        if _moment(operand) is None:
            raise Wrong(f'"{path}" holds a date; write one like 2026-11-20')
    elif name in _COMPARE and _order_value(operand) is None:
        raise Wrong(f'"{name}" compares numbers and dates; write one like 10 or 2026-11-20')
    if kind.words and name not in _FOUND_IN and word_of(operand).casefold() not in map(str.casefold, kind.words):
        raise Wrong(f'{path} is never "{word_of(operand)}"' + unknown_word(word_of(operand), kind.words))


def _values(value: Any) -> Iterator[Any]:
    entries = value if isinstance(value, tuple) else (value,)
    return (entry for entry in entries if not is_empty(entry))


def _equals(kind: Kind, operand: Any) -> Callable[[Any], bool]:
    if kind.holds in ("integer", "decimal"):
        number = Decimal(repr(operand))
        return lambda value: bool(value == number)
    if kind.holds == "datetime":
        wanted = _moment(operand)
        if isinstance(wanted, datetime):
            return lambda value: bool(_aware(value) == wanted)
        return lambda value: _aware(value).date() == wanted
    word = word_of(operand).strip().casefold()
    return lambda value: word_of(value).strip().casefold() == word


def _any_of(tests: Sequence[Callable[[Any], bool]]) -> Callable[[Any], bool]:
    return lambda value: any(test(value) for test in tests)


def _text_test(name: str, operand: Any, kind: Kind) -> Callable[[Any], bool]:
    if name == "contains" and kind.many:
        return _equals(kind, operand)
    part, found_in = word_of(operand).casefold(), _FOUND_IN[name]
    return lambda value: found_in(word_of(value).casefold(), part)


def _order_test(name: str, operand: Any) -> Callable[[Any], bool]:
    limit = _order_value(operand)

    def compared(value: Any) -> bool:
        mine = _order_value(value)
        theirs: Any = limit
        if isinstance(mine, datetime) and not isinstance(limit, datetime) and isinstance(limit, date):
            mine = mine.date()  # a day includes all its hours: lte = 2026-05-31 holds until midnight (UTC)
        elif isinstance(mine, date) and not isinstance(mine, datetime) and isinstance(limit, datetime):
            theirs = limit.date()
        if mine is None or isinstance(mine, Decimal) is not isinstance(theirs, Decimal):
            return False
        return bool(_COMPARE[name](mine, theirs))

    return compared


def _order_value(value: Any) -> Decimal | datetime | date | None:
    if isinstance(value, bool):
        return None
    try:
        number = _number(value, None)
    except Unfit:
        return _moment(value)
    assert isinstance(number, Decimal)
    return number


def _moment(value: Any) -> datetime | date | None:
    if isinstance(value, datetime):
        return _aware(value)
    if isinstance(value, date):
        return value
    if isinstance(value, str):
        try:
            return date.fromisoformat(value.strip())
        except ValueError:
            pass
        try:
            return _aware(datetime.fromisoformat(value.strip()))
        except (ValueError, OverflowError):
            return None
    return None


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
