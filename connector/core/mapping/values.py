"""Where the value of a field comes from: paths, constants, templates, and the steps of ``then``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from connector.core.keys import text_of
from connector.core.mapping.model import FieldModel
from connector.core.mapping.paths import Holds, Kind, Reader
from connector.core.mapping.reading import Reading, Value
from connector.core.mapping.steps import Change, Misfit, compile_step
from connector.core.overwrite import is_empty
from connector.core.record import AffiliateRecord
from connector.core.toml import Path


def value_of(reading: Reading, model: FieldModel, at: Path, name: str, dropped: set[str]) -> Value | None:
    """``from``, ``value`` or ``template``: exactly one. None when it is wrong.

    Args:
        name: the column.
        dropped: keys of the field that are wrong in themselves; the missing one may be among them.
    """
    given = [key for key, value in (("from", model.from_), ("value", model.value), ("template", model.template))
             if value is not None]  # fmt: skip
    if len(given) > 1:
        reading.say(
            (*at, given[1]), f"one of from, value, template is enough; here are {' and '.join(given)}", at="key"
        )
        return None
    if not given:
        if not dropped:
            reading.say(at, "one of from, value, template is missing", at="key")
        return None
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


def steps_of(reading: Reading, model: FieldModel, kind: Kind, at: Path) -> tuple[list[Change], Kind | None]:
    """``then``: the changes, and what comes out of the last; None when a step does not fit."""
    changes: list[Change] = []
    for number, step in enumerate(model.then or ()):
        try:
            change, kind = compile_step(step, kind)
        except Misfit as error:
            reading.say((*at, "then", number), str(error))
            return changes, None
        changes.append(change)
    return changes, kind


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
