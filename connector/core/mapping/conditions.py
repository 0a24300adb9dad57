"""The tests of ``when``: whether a record (or an entry of ``for_each``) is meant. Case does not count. First how the
file's lines become tests, then the tests."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from connector.core.keys import word_of
from connector.core.mapping.cells import Unfit, shaper
from connector.core.mapping.model import Test
from connector.core.mapping.paths import IN_WORDS, Kind, Reader, UnknownPath
from connector.core.mapping.reading import Reading
from connector.core.overwrite import is_empty
from connector.core.problems import problems_of
from connector.core.record import AffiliateRecord
from connector.core.toml import Path
from connector.core.words import unknown_word

Passes = Callable[[AffiliateRecord, Any], bool]
"""(record, entry of ``for_each`` or None) -> whether the test holds."""

_TEST_NAMES = tuple(field.alias or name for name, field in Test.model_fields.items())


def conditions(reading: Reading, raw: Any, at: Path, before: str = "") -> list[tuple[str, Passes]]:
    """The tests of the table *raw* at *at*, each with its path; mistakes are reported to *reading*.

    Args:
        before: what is put before each path: ``item.`` where the tests are about an entry of a list.
    """
    if raw is None:
        return []
    if not isinstance(raw, dict):
        reading.say(at, f'"{at[-1]}" wants a table, like {{ status = "active" }}')
        return []
    found: list[tuple[str, Passes]] = []
    for path, tests, place in _lines(reading, raw, at, before):
        try:
            kind = reading.paths.kind(path, table=True)
        except UnknownPath as error:
            reading.say(place, _without(before, str(error)), at="key")
            continue
        reading.use(path, place)
        read = reading.paths.reader(path)
        for name, operand, where in _tests(reading, tests, place):
            wrong = False
            entries = enumerate(operand) if isinstance(operand, list) else [(None, operand)]
            for number, entry in entries:
                if why := _why_wrong(name, entry, path, kind):
                    wrong = True
                    reading.say(where if number is None else (*where, number), _without(before, why))
            if not wrong:
                found.append((path, _compiled(name, operand, kind, read)))
    return found


def _without(before: str, text: str) -> str:
    """*text* as the file names the paths."""
    return text.replace(f'"{before}', '"').replace(f" {before}", " ") if before else text


def _lines(reading: Reading, raw: dict[str, Any], at: Path, before: str) -> Iterator[tuple[str, Any, Path]]:
    """The lines of a ``when``; a dotted path without quotes is a table within a table in TOML."""
    for step, tests in raw.items():
        path = before + step
        if isinstance(tests, dict) and tests and not any(name in _TEST_NAMES for name in tests):
            try:
                is_group = reading.paths.kind(path, table=True).holds == "table"
            except UnknownPath:
                is_group = path == "item"
            if is_group:
                yield from _lines(reading, tests, (*at, step), path + ".")
                continue
        yield path, tests, (*at, step)


def _tests(reading: Reading, raw: Any, at: Path) -> list[tuple[str, Any, Path]]:
    """The tests of one line: ``"active"`` is short for ``{ is = "active" }``, a list for ``{ in = […] }``."""
    if isinstance(raw, list):
        tests, places = {"in": raw}, {"in": at}
    elif isinstance(raw, dict):
        tests, places = raw, {name: (*at, name) for name in raw}
    else:
        tests, places = {"is": raw}, {"is": at}
    if not tests:
        reading.say(at, f"a test is missing; right would be: {', '.join(_TEST_NAMES)}")
        return []
    for name in tests.keys() - set(_TEST_NAMES):
        reading.say((*at, name), f'"{name}" is not a test' + unknown_word(name, _TEST_NAMES), at="key")
    known = {name: value for name, value in tests.items() if name in _TEST_NAMES}
    bad: set[str] = set()
    try:
        Test.model_validate(known)
    except ValidationError as error:
        bad = {str(details["loc"][0]) for details in error.errors() if details["loc"]}
        if isinstance(raw, dict):
            reading.problems += problems_of(error.errors(include_url=False), reading.document, Test, path=at)
        else:
            reading.say(at, "a test wants text, a number, a date, true or false, or a list of these")
    return [(name, value, places[name]) for name, value in known.items() if name not in bad]


def condition(reading: Reading, raw: Any, at: Path, before: str = "") -> Passes | None:
    """All tests of the table *raw* as one; None when it has none."""
    tests = [passes for _, passes in conditions(reading, raw, at, before)]
    if not tests:
        return None
    if len(tests) == 1:
        return tests[0]
    return lambda record, item: all(passes(record, item) for passes in tests)


def without_when(raw: Any) -> Any:
    """A field without its tests (``when``, ``where``, those of ``cases``), which are read here and not by the model."""
    if not isinstance(raw, dict):
        return raw
    plain = {key: value for key, value in raw.items() if key not in ("when", "where")}
    if isinstance(plain.get("cases"), list):
        plain["cases"] = [without_when(case) for case in plain["cases"]]
    return plain


# ---------------------------------------------------------------- the tests

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
_number = shaper("number")


def _compiled(name: str, operand: Any, kind: Kind, read: Reader) -> Passes:
    """The test *name* of what *read* reads against *operand* (checked before by ``_why_wrong``, entry by entry)."""
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


def _why_wrong(name: str, operand: Any, path: str, kind: Kind) -> str:
    """Why one operand (of a list: each) does not fit the test or what the path holds; "" where it does."""
    if name == "exists":
        return ""
    if kind.holds == "table":
        return f'"{path}" has parts; only "exists" can test it'
    if name in _FOUND_IN and kind.holds not in ("text", "any") and not (name == "contains" and kind.many):
        return f'"{name}" tests text, and "{path}" holds {IN_WORDS[kind.holds]}'
    if name in _COMPARE and kind.holds in ("text", "boolean"):
        return f'"{name}" compares numbers and dates, and "{path}" holds {IN_WORDS[kind.holds]}'
    if operand == "":
        return "nothing is ever equal to an empty text; write { exists = false }"
    if kind.holds in ("integer", "decimal"):
        if isinstance(operand, bool) or not isinstance(operand, int | float):
            return f'"{path}" holds a number; write one without quotes, like 10'
    elif kind.holds == "boolean":
        if not isinstance(operand, bool):
            return f'"{path}" is true or false; write one of them without quotes'
    elif kind.holds == "datetime":
        if _moment(operand) is None:
            return f'"{path}" holds a date; write one like 2026-11-20'
    elif name in _COMPARE and _order_value(operand) is None:
        return f'"{name}" compares numbers and dates; write one like 10 or 2026-11-20'
    if kind.words and name not in _FOUND_IN and word_of(operand).casefold() not in map(str.casefold, kind.words):
        return f'{path} is never "{word_of(operand)}"' + unknown_word(word_of(operand), kind.words)
    return ""


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
