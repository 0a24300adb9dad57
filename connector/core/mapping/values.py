"""Where the value of a field comes from: paths, constants, templates, and the steps of ``then``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from connector.core.keys import text_of
from connector.core.mapping.conditions import Passes, condition
from connector.core.mapping.model import FieldModel
from connector.core.mapping.paths import PATHS, Holds, Kind, Reader, UnknownPath
from connector.core.mapping.reading import Reading, Value
from connector.core.mapping.steps import (
    CALCULATING,
    Change,
    Misfit,
    check_operand,
    check_value,
    compile_step,
    compute,
    named,
    result_of,
)
from connector.core.overwrite import is_empty
from connector.core.record import AffiliateRecord
from connector.core.toml import Path
from connector.core.words import unknown_word

_SOURCES = "from, value, template, cases"


def value_of(reading: Reading, model: FieldModel, at: Path, name: str, raw: Any, dropped: set[str]) -> Value | None:
    """``from``, ``value``, ``template`` or ``cases``: exactly one. None when it is wrong.

    Args:
        name: the column.
        raw: the field as in the file: its tests are not in *model*.
        dropped: keys of the field that are wrong in themselves; the missing one may be among them.
    """
    raw = raw if isinstance(raw, dict) else {}
    given = [key for key, value in (("from", model.from_), ("value", model.value), ("template", model.template),
                                    ("cases", model.cases)) if value is not None]  # fmt: skip
    if len(given) > 1:
        reading.say((*at, given[1]), f"one of {_SOURCES} is enough; here are {' and '.join(given)}", at="key")
        return None
    if not given:
        if not dropped:
            reading.say(at, f"one of {_SOURCES} is missing", at="key")
        return None
    if model.pick is not None or "where" in raw:
        return _picked(reading, model, at, raw)
    if model.cases is not None:
        return _cases(reading, model, at, raw["cases"])
    if model.value is not None:
        constant = model.value
        return Value(lambda *_: constant, Kind(held_by(constant)))
    if model.template is not None:
        return _template(reading, model, at, name)
    if isinstance(model.from_, str):
        # In the short form the path itself is the field's value; value_place then finds it around "from".
        return reading.path_value(model.from_, (*at, "from"), name)
    values = [reading.path_value(path, (*at, "from", n), name) for n, path in enumerate(model.from_ or ())]
    if any(value is None for value in values):
        return None
    return _first_of([value for value in values if value is not None])


def _template(reading: Reading, model: FieldModel, field: Path, name: str) -> Value | None:
    parts: list[str | Reader] = []
    right, at = True, (*field, "template")
    for piece in re.findall(r"\{\{|\}\}|\{[^{}]*\}|[{}]|[^{}]+", model.template or ""):
        if piece in ("{{", "}}"):
            parts.append(piece[0])
        elif piece in ("{", "}"):
            reading.say(at, "a { or } has no partner; a path is written {first_name}, a brace {{ or }}")
            right = False
        elif piece.startswith("{"):
            value = reading.path_value(piece[1:-1].strip(), at, name)
            if value is None:
                right = False
            else:
                parts.append(value.read)
        else:
            parts.append(piece)
    if right and not any(callable(part) for part in parts):
        reading.say(at, 'a template has paths in it, like "{first_name} {last_name}"; for a constant use value')
        right = False
    return Value(_template_reader(parts, require_all=model.require == "all"), Kind("text")) if right else None


def _picked(reading: Reading, model: FieldModel, at: Path, raw: dict[str, Any]) -> Value | None:
    """What ``pick`` names of the first entry of a list for which ``where`` holds."""
    lists = [path for path in reading.paths.lists() if PATHS[path].holds == "table"]
    if not isinstance(model.from_, str) or model.from_.removesuffix("[]") not in lists:
        about = unknown_word(model.from_, lists) if isinstance(model.from_, str) else f"; lists are: {', '.join(lists)}"
        key = "where" if model.pick is None else "pick"
        reading.say((*at, key), f"{key} goes with from = a list whose entries have parts{about}", at="key")
        return None
    entries = model.from_.removesuffix("[]")
    if model.pick is None:
        reading.say((*at, "where"), 'where needs pick = "…": what to take of the entry', at="key")
        return None
    inner = reading.of_list(entries)
    passes = condition(inner, raw.get("where"), (*at, "where"), "item.")
    try:
        kind = inner.paths.kind(f"item.{model.pick}")
    except UnknownPath as error:
        reading.say((*at, "pick"), str(error).replace('"item.', '"').replace(" item.", " "))
        return None
    inner.use(f"item.{model.pick}", (*at, "pick"))
    read_entries, read_part = reading.paths.reader(entries), inner.paths.reader(f"item.{model.pick}")

    def read(record: AffiliateRecord, _: Any) -> Any:
        for entry in read_entries(record, None):
            if passes is None or passes(record, entry):
                return read_part(record, entry)
        return None

    return Value(read, kind)


def _cases(reading: Reading, model: FieldModel, at: Path, raw: list[Any]) -> Value | None:
    """The value of the first case that holds."""
    compiled: list[tuple[Passes, Any]] = []
    cases = model.cases or []
    for number, case in enumerate(cases):
        place = (*at, "cases", number)
        tests = raw[number].get("when")
        passes = condition(reading, tests, (*place, "when"))
        if tests is None or tests == {}:
            reading.say(place, 'a case needs when = { … }; what holds otherwise is default = "…"')
        if passes is not None:
            compiled.append((passes, case.value))
    if len(compiled) < len(cases):
        return None
    held = {held_by(case.value) for case in cases}

    def read(record: AffiliateRecord, item: Any) -> Any:
        for passes, value in compiled:
            if passes(record, item):
                return value
        return None

    return Value(read, Kind(held.pop() if len(held) == 1 else "text"))


def steps_of(reading: Reading, model: FieldModel, value: Value, at: Path) -> tuple[Reader, list[Change], Kind | None]:
    """``then``: how the value is read up to the last calculation, the changes after it, and what comes out of the
    last; None when a step does not fit."""
    changes: list[Change] = []
    read, kind = value.read, value.kind
    for number, step in enumerate(model.then or ()):
        place = (*at, "then", number)
        try:
            name, given = named(step)
            if name not in CALCULATING:
                change, kind = compile_step(name, given, kind)
                changes.append(change)
            else:
                check_value(name, kind, first=number == 0)
                operand = _operand(reading, name, given, (*place, name))
                read, changes = _calculated(read, changes, name, operand.read), []
                kind = result_of(name, kind, operand.kind)
        except Misfit as error:
            reading.say(place, str(error))
            return read, changes, None
    return read, changes, kind


def _operand(reading: Reading, name: str, given: Any, at: Path) -> Value:
    """A number, what a path holds, or today. Raises Misfit."""
    if name == "days_since":
        reading.is_dated = True
        clock = reading.clock
        return Value(lambda *_: clock(), Kind("datetime"))
    if not isinstance(given, str):
        number = Decimal(repr(given))
        if name == "divided_by" and not number:
            reading.say(at, "nothing can be divided by 0")
        return Value(lambda *_: number, Kind(held_by(given)))
    if re.fullmatch(r"\s*-?[0-9]+(\.[0-9]+)?\s*", given):
        reading.say(at, f"write a number without quotes: {name} = {given.strip()}")
        return Value(lambda *_: None, Kind("any"))
    value = reading.path_value(given, at)
    if value is None:  # the mistake is reported
        return Value(lambda *_: None, Kind("any"))
    check_operand(name, given, value.kind)
    return value


def _calculated(read: Reader, changes: Sequence[Change], name: str, operand: Reader) -> Reader:
    result = compute(name)

    def calculated(record: AffiliateRecord, item: Any) -> Any:
        value = read(record, item)
        for change in changes:
            value = change(value)
        return result(value, operand(record, item))

    return calculated


def held_by(value: Any) -> Holds:
    """What a constant of TOML holds."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "decimal"
    return "text" if isinstance(value, str) else "datetime"


def _first_of(values: Sequence[Value]) -> Value:
    """The first that is not empty; a list among them makes all of them lists."""
    many = any(value.kind.many for value in values)
    holds = {value.kind.holds for value in values}
    words: tuple[str, ...] | None = ()
    for value in values:
        words = None if words is None or value.kind.words is None else tuple(dict.fromkeys((*words, *value.kind.words)))
    kind = Kind(holds.pop() if len(holds) == 1 else "any", many, words)
    readers = [value.read for value in values]
    if len(readers) == 1:
        return Value(readers[0], kind)

    def read(record: AffiliateRecord, item: Any) -> Any:
        for reader in readers:
            value = reader(record, item)
            if not is_empty(value):
                return (value,) if many and not isinstance(value, tuple) else value
        return None

    return Value(read, kind)


def _template_reader(parts: Sequence[str | Reader], *, require_all: bool) -> Reader:
    def read(record: AffiliateRecord, item: Any) -> str | None:
        values = [None if isinstance(part, str) else text_of(part(record, item)) for part in parts]
        filled = [not is_empty(value) for value in values if value is not None]
        if not (all(filled) if require_all else any(filled)):
            return None
        texts = [str(part) if value is None else value for part, value in zip(parts, values, strict=True)]
        return " ".join("".join(texts).split())

    return read
