"""The steps of ``then``: small changes to a value, and calculations, one after the other. Text steps take each entry of
a list."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from msgspec.structs import replace

from connector.core.keys import text_of
from connector.core.mapping.cells import shaper
from connector.core.mapping.model import Step
from connector.core.mapping.paths import IN_WORDS, Kind
from connector.core.overwrite import is_empty

Change = Callable[[Any], Any]
"""From a value to a value; an empty one stays as it is, except that an empty list counts 0."""


class Misfit(ValueError):
    """A step that does not fit the value before it; the text says why and what would be right."""


def _title(text: str) -> str:
    # str.title makes "O'Neill'S" of "o'neill's".
    return re.sub(r"[^\W\d_]+(?:['’][^\W\d_]+)*", lambda word: word[0][:1].upper() + word[0][1:].lower(), text)


_ON_TEXT: dict[str, Callable[[str], str]] = {
    "trim": str.strip,
    "lower": str.lower,
    "upper": str.upper,
    "title": _title,
    "tidy_spaces": lambda text: " ".join(text.split()),
}

_ON_LIST: dict[str, Change] = {
    "sort": lambda entries: tuple(sorted(entries, key=_place)),
    "unique": lambda entries: tuple(dict.fromkeys(entries)),
    "first": lambda entries: entries[0],
    "last": lambda entries: entries[-1],
    "count": len,
}


def _place(entry: Any) -> tuple[int, Any, str]:
    """Numbers by size, before text; text as people sort it: case does not count."""
    if isinstance(entry, str):
        return 1, entry.casefold(), entry
    return 0, entry, ""


CALCULATING = frozenset({"plus", "minus", "times", "divided_by", "round", "days_since"})


def named(step: str | Step) -> tuple[str, Any]:
    """The step's name, and its value where it has one. Raises Misfit where it has not exactly one key."""
    if isinstance(step, str):
        return step, None
    given = [(name, value) for name, value in step if value is not None]
    if len(given) != 1:
        raise Misfit("a step has exactly one key; write two steps: { … = … }, { … = … }")
    return given[0]


def compile_step(name: str, value: Any, kind: Kind) -> tuple[Change, Kind]:
    """The change that the step makes to what *kind* holds, and what comes out.

    Raises:
        Misfit: it wants a list where there is one value, or the reverse.
    """
    if name in _ON_TEXT:
        return _text_change(_ON_TEXT[name], kind)
    if (name in _ON_LIST or name == "join") and not kind.many:
        raise Misfit(f'"{name}" wants a list, and this is {IN_WORDS[kind.holds]}')
    if name == "count":
        return lambda value: len(_filled(value)), Kind("integer")
    if name in _ON_LIST:
        return _list_change(_ON_LIST[name]), replace(kind, many=name not in ("first", "last"))
    if name == "join":
        return _list_change(lambda entries: value.join(text_of(entry) for entry in entries)), Kind("text")
    if name == "split":
        if kind.many:
            raise Misfit('"split" wants text, and this is a list')
        return _split(value), Kind("text", many=True)
    if name == "replace":
        old, new = value
        if not old:
            raise Misfit('"replace" wants something to look for: ["a", "b"] makes every a a b')
        return _text_change(lambda text: text.replace(old, new), kind)
    if name == "truncate":
        return _text_change(lambda text: text[:value], kind)
    if name == "prefix":
        return _text_change(lambda text: value + text, kind)
    return _text_change(lambda text: text + value, kind)


def _filled(value: Any) -> tuple[Any, ...]:
    return tuple(entry for entry in value or () if not is_empty(entry))


def _text_change(change: Callable[[str], str], kind: Kind) -> tuple[Change, Kind]:
    if kind.many:
        return lambda value: tuple(change(text_of(entry)) for entry in _filled(value)), Kind("text", many=True)
    return lambda value: value if is_empty(value) else change(text_of(value)), Kind("text")


def _list_change(change: Change) -> Change:
    def changed(value: Any) -> Any:
        entries = _filled(value)
        return change(entries) if entries else None

    return changed


def _split(separator: str) -> Change:
    def changed(value: Any) -> Any:
        if is_empty(value):
            return None
        parts = (part.strip() for part in text_of(value).split(separator))
        return tuple(part for part in parts if part)

    return changed


# ---------------------------------------------------------------- calculations

Compute = Callable[[Any, Any], Any]
"""(value, operand) -> the result; an empty one when either is empty."""

_EXACT = Context(prec=100)
_DECIMALS_OF_A_QUOTIENT = Decimal("1e-10")
_number, _moment = shaper("number"), shaper("datetime")


def check_value(name: str, kind: Kind, *, first: bool) -> None:
    """Whether *name* can calculate with what *kind* holds.

    Args:
        first: no step came before; after one, a text may be a number.

    Raises:
        Misfit: it can't.
    """
    if kind.many:
        raise Misfit(f'"{name}" wants one value, and this is a list; "first" makes one of it, "count" a number')
    if name == "days_since":
        if kind.holds not in ("datetime", "any"):
            raise Misfit(f'"days_since" wants a date, and this is {IN_WORDS[kind.holds]}')
    elif kind.holds not in ("integer", "decimal", "any") and (first or kind.holds != "text"):
        advice = "; the days until today are { days_since = true }" if kind.holds == "datetime" else ""
        raise Misfit(f'"{name}" wants a number, and this is {IN_WORDS[kind.holds]}{advice}')


def check_operand(name: str, path: str, kind: Kind) -> None:
    """Whether *path* is a number. Raises Misfit."""
    if kind.many or kind.holds not in ("integer", "decimal", "any"):
        raise Misfit(f'"{name}" wants a number, and "{path}" holds {"a list" if kind.many else IN_WORDS[kind.holds]}')


def result_of(name: str, kind: Kind, operand: Kind) -> Kind:
    """What comes out: whole numbers stay whole but for a quotient."""
    whole = name != "divided_by" and kind.holds == operand.holds == "integer"
    return Kind("integer" if whole or name == "days_since" else "decimal")


def compute(name: str) -> Compute:
    """The calculation *name*; Unfit is raised for a value that is no number (no date). Exact but for quotients, which
    have ten decimals; nothing is divided by 0."""
    if name == "days_since":
        return _days_between
    if name == "divided_by":
        return lambda value, operand: _of_two(value, operand, _quotient)
    if name == "round":
        return lambda value, places: _of_two(value, places, _rounded)
    exact = {"plus": _EXACT.add, "minus": _EXACT.subtract, "times": _EXACT.multiply}[name]
    return lambda value, operand: _of_two(value, operand, exact)


def _of_two(value: Any, operand: Any, calculate: Callable[[Decimal, Decimal], Decimal | None]) -> Decimal | None:
    if is_empty(value) or is_empty(operand):
        return None
    one, other = _number(value, None), _number(operand, None)
    assert isinstance(one, Decimal)
    assert isinstance(other, Decimal)
    return calculate(one, other)


def _quotient(one: Decimal, other: Decimal) -> Decimal | None:
    if not other:
        return None
    quotient = _EXACT.divide(one, other).quantize(_DECIMALS_OF_A_QUOTIENT, ROUND_HALF_UP, _EXACT)
    plain = quotient.normalize(_EXACT)
    return plain if int(plain.as_tuple().exponent) <= 0 else plain.quantize(Decimal(1), context=_EXACT)


def _rounded(one: Decimal, places: Decimal) -> Decimal:
    return one.quantize(Decimal(1).scaleb(-int(places)), ROUND_HALF_UP, _EXACT)


def _days_between(value: Any, today: date | None) -> int | None:
    """Whole days by the calendar of UTC; below 0 for a day to come."""
    if is_empty(value) or today is None:
        return None
    moment = _moment(value, None)
    assert isinstance(moment, datetime)
    return (today - moment.astimezone(UTC).date()).days
