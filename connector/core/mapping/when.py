"""The tables ``when`` of a mapping file, each line with its place, into compiled tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from connector.core.mapping.conditions import Passes, Wrong, check_operand, compile_test
from connector.core.mapping.model import Test
from connector.core.mapping.paths import UnknownPath
from connector.core.mapping.reading import Reading
from connector.core.problems import problems_of
from connector.core.toml import Path
from connector.core.words import unknown_word

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
                try:
                    check_operand(name, entry, path, kind)
                except Wrong as error:
                    wrong = True
                    reading.say(where if number is None else (*where, number), _without(before, str(error)))
            if not wrong:
                found.append((path, compile_test(name, operand, kind, read)))
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
