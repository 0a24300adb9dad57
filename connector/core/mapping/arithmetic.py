"""The steps of ``then`` that calculate: with a number, with another path of the record, with today's date."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from connector.core.mapping.cells import shaper
from connector.core.mapping.paths import IN_WORDS, Kind
from connector.core.mapping.steps import Misfit
from connector.core.overwrite import is_empty

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
