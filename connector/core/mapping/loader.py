"""From a mapping file's text to a compiled mapping, or to all its mistakes at once, each with its place."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from collections.abc import Mapping as Table
from datetime import date
from pathlib import PurePath
from typing import Any

from pydantic import ValidationError

from connector.core.errors import ConfigError
from connector.core.keys import tidy
from connector.core.mapping.conditions import conditions, without_when
from connector.core.mapping.examples import examples_of
from connector.core.mapping.fields import FieldReader
from connector.core.mapping.mapping import Field, Mapping
from connector.core.mapping.model import FieldModel, MappingModel
from connector.core.mapping.paths import Reader, UnknownPath
from connector.core.mapping.reading import Clock, Reading
from connector.core.problems import problems_of
from connector.core.row import Column, ColumnType
from connector.core.sink import TargetOptions
from connector.core.toml import Path, parse
from connector.core.words import unknown_word


def load(
    text: str,
    *,
    file: str,
    target_options: type[TargetOptions] = TargetOptions,
    source_names: Sequence[str] = (),
    platforms: Sequence[str] = (),
    examples: bool = True,
    today: Callable[[], date] | None = None,
) -> Mapping:
    """Read a mapping file and compile it. The examples are checked for form here, and run by ``Mapping.run_examples``.

    Args:
        text: the file's content.
        file: its path as the operator knows it, for messages.
        target_options: what ``[target]`` may hold, and ``[key]`` beside ``field``: the sink's.
        source_names: the configured sources, the vocabulary of ``source``; () when they are not known.
        platforms: the vocabulary of ``platform``; () when it is not known.
        examples: whether they are read at all: they are a check of the file, not a part of what it does.
        today: the day (UTC) when a record is evaluated, for ``days_since``; without it such values are empty.

    Raises:
        ConfigError: all mistakes at once, in file order.
    """
    reading = Reading(parse(text, file=file), {"source": source_names, "platform": platforms}, Clock(today))
    whole = _structure(reading)
    _take_for_each(reading)
    options, extras = _options(reading, target_options)
    raw_fields = reading.table("fields")
    columns, fields = _fields(reading, whole, options)
    _look_at_names(reading, raw_fields, has_properties=target_options.has_properties)
    key = _key(reading, raw_fields, {column.name: column.type for column in columns})
    _warn_unless_unique(reading, next((column for column in columns if column.name == key), None), source_names)
    if options is not None and options.removed_records == "mark":
        columns.append(_removed_column(reading, options, raw_fields))
    tests = conditions(reading, reading.document.data.get("when"), ("when",))
    found_examples = examples_of(reading, whole, [*raw_fields, *(each.name for each in columns)]) if examples else []
    if reading.problems or options is None or key is None:
        raise ConfigError(list(dict.fromkeys(reading.problems)))
    return Mapping(
        name=str(reading.document.data.get("name") or PurePath(file).stem),
        file=file,
        digest=hashlib.sha256(reading.document.text.encode()).hexdigest()[:16],
        columns=tuple(columns),
        key=key,
        options=options,
        warnings=tuple(sorted(dict.fromkeys(reading.warnings))),
        uses=tuple(reading.uses),
        is_dated=reading.is_dated,
        _clock=reading.clock,
        _key_field=next(field for field in fields if field.column == key),
        _fields=tuple(fields),
        _when=tuple((path, passes) for path, passes in tests if not path.startswith("item")),
        _when_item=tuple((path, passes) for path, passes in tests if path.startswith("item")),
        _entries=reading.paths.reader(reading.for_each) if reading.for_each else None,
        _for_each=reading.for_each,
        _extras=tuple(extras),
        _examples=tuple(found_examples),
        _example_problem=reading.document.problem,
    )


# ---------------------------------------------------------------- the file as a whole


def _structure(reading: Reading) -> MappingModel | None:
    """What can be said without knowing records: unknown keys, wrong kinds of values, missing parts.

    None when something is wrong: then the file's parts are looked at one by one.
    """
    data = {name: value for name, value in reading.document.data.items() if name != "when"}
    if isinstance(data.get("fields"), dict):
        data["fields"] = {name: without_when(raw) for name, raw in data["fields"].items()}
    try:
        return MappingModel.model_validate(data)
    except ValidationError as error:
        reading.problems += problems_of(error.errors(include_url=False), reading.document, MappingModel)
    return None


def _take_for_each(reading: Reading) -> None:
    name = reading.document.data.get("for_each")
    if not isinstance(name, str):
        return
    plain = name.removesuffix("[]")
    lists = reading.paths.lists()
    if plain in lists:
        reading.repeat_for(plain)
        return
    try:
        reading.paths.kind(plain, table=True)
        text = f'"{name}" is not a list'
    except UnknownPath:
        text = f'no record has a list "{name}"'
    reading.say(("for_each",), text + unknown_word(plain, lists))


def _fields(
    reading: Reading, whole: MappingModel | None, options: TargetOptions | None
) -> tuple[list[Column], list[Field]]:
    columns: list[Column] = []
    fields: list[Field] = []
    overwrite = options.overwrite if options is not None else "never_clear"
    key = reading.table("key").get("field")
    needed = {key if isinstance(key, str) else "", *(options.needed_columns if options is not None else ())}
    for name, raw in reading.table("fields").items():
        model = None
        if whole is not None:
            given = whole.fields[name]
            model = FieldModel.model_construct(from_=given) if isinstance(given, str) else given
        reader = FieldReader.of(reading, name, raw, model)
        if reader is None:
            continue
        column, field = reader.read(overwrite, needed=name in needed)
        columns.append(column)
        if field is not None:
            fields.append(field)
    return columns, fields


def _look_at_names(reading: Reading, raw_fields: Table[str, Any], *, has_properties: bool) -> None:
    """Columns that people can't tell apart, names that a destination does not take, and names that it ignores."""
    first: dict[str, str] = {}
    for name, raw in raw_fields.items():
        at, other = ("fields", name), first.setdefault(tidy(name).casefold(), name)
        if other != name and tidy(other) == tidy(name):
            reading.say(at, f'"{name}" and "{other}" differ by a blank only, and are one column: remove one', at="key")
        elif other != name:
            reading.warn(at, f'"{name}" and "{other}" differ by letter case only, and are two columns', at="key")
        if has_properties and not _PROPERTY_NAME.fullmatch(name):
            text = (
                f'"{name}" has to be a property\'s name: small letters, digits and _, a letter first; label = "{name}"'
            )
            reading.warn(at, text, at="key")
        for key in ("label", "options", "group"):
            if not has_properties and isinstance(raw, dict) and key in raw:
                text = f'"{key}" does nothing here: the column\'s header is what is left of =, "{name}"'
                reading.warn((*at, key), text, at="key")


_PROPERTY_NAME = re.compile(r"[a-z][a-z0-9_]*")


# ---------------------------------------------------------------- [target] and [key]


def _options(reading: Reading, model: type[TargetOptions]) -> tuple[TargetOptions | None, list[tuple[str, Reader]]]:
    """The sink's options, and the values of a record that they name."""
    target, in_key = reading.table("target"), _options_in_key(reading, model)
    for name in target:
        if name in model.in_key_table:
            reading.say(("target", name), f'"{name}" belongs under [key]', at="key")
    target = {name: value for name, value in target.items() if name not in model.in_key_table}
    try:
        options = model.model_validate({**target, **in_key})
    except ValidationError as error:
        _report_options(reading, error, in_key, model)
        return None, []
    if options.overwrite == "only_forward":
        reading.say(("target", "overwrite"), '"only_forward" needs order = […]: set it in the field, not here')
    return options, _extras(reading, options)


def _options_in_key(reading: Reading, model: type[TargetOptions]) -> dict[str, Any]:
    """The sink's options that are under [key]."""
    found: dict[str, Any] = {}
    for name, value in reading.table("key").items():
        if name == "field":
            continue
        if name in model.in_key_table:
            found[name] = value
            continue
        right = f'; "{name}" belongs under [target]' if name in model.model_fields else ""
        right = right or unknown_word(name, ["field", *sorted(model.in_key_table)])
        reading.say(("key", name), f'unknown key "{name}"{right}', at="key")
    return found


def _report_options(
    reading: Reading, error: ValidationError, in_key: Table[str, Any], model: type[TargetOptions]
) -> None:
    for part in ("key", "target"):
        errors = [
            details
            for details in error.errors(include_url=False)
            if (bool(details["loc"]) and details["loc"][0] in in_key) is (part == "key")
        ]
        path: Path = (part,) if part in reading.document.data else ()
        reading.problems += problems_of(errors, reading.document, model, path=path)


def _extras(reading: Reading, options: TargetOptions) -> list[tuple[str, Reader]]:
    """Readers of the record's values that options name by path."""
    extras: list[tuple[str, Reader]] = []
    for name, path in options.record_paths().items():
        at: Path = ("target", *name.split("."))
        value = reading.path_value(path, at)
        if value is not None and value.kind.many:
            reading.say(at, f'"{path}" is a list; one value is wanted')
        elif value is not None:
            extras.append((name, value.read))
    return extras


def _key(reading: Reading, raw_fields: Table[str, Any], types: Table[str, ColumnType]) -> str | None:
    name = reading.table("key").get("field")
    if not isinstance(name, str) or not name or not raw_fields:
        return None
    if name not in raw_fields:
        reading.say(("key", "field"), f'[fields] has no "{name}"' + unknown_word(name, list(raw_fields)))
        return None
    raw = raw_fields[name]
    if isinstance(raw, dict) and "when" in raw:
        reading.say(("fields", name, "when"), "the key is needed in every row; it can't have a when", at="key")
    constant = next((key for key in ("value", "cases") if isinstance(raw, dict) and key in raw), None)
    if constant is not None:
        reading.say(("fields", name, constant), "the key must differ from record to record; use from or template")
    if types.get(name) in ("list", "boolean"):
        reading.say(("fields", name, "type"), f'a key can\'t be "{types[name]}"; it is one text or number')
    if reading.for_each is not None and name not in reading.item_columns and _source_of(raw) is not None:
        at: Path = ("fields", name, "from") if isinstance(raw, dict) else ("fields", name)
        item = "item" if reading.for_each == "labels" else "item.id"
        reading.say(at, f'with for_each the key needs a path that begins with "item.", like "{item}"')
    return name


_KEEPS_VALUES_APART = frozenset({"trim", "lower", "upper", "title", "tidy_spaces", "prefix", "suffix"})


def _warn_unless_unique(reading: Reading, key: Column | None, source_names: Sequence[str]) -> None:
    """Warn where two affiliates may have one key: the second one's rows then become dead letters."""
    if key is None:
        return
    raw = reading.table("fields")[key.name]
    field = raw if isinstance(raw, dict) else {}
    names_affiliate = "id" in key.paths or (
        "affiliate_id" in key.paths and ("source" in key.paths or len(source_names) == 1)
    )
    # Of several paths, the first that is not empty counts: every record has an id.
    first_counts = isinstance(field.get("from"), list) and key.paths[:1] != ("id",)
    steps = [step if isinstance(step, str) else next(iter(step), "") for step in field.get("then") or ()]
    changed = "map" in field or not _KEEPS_VALUES_APART.issuperset(steps)
    at: Path = ("key", "field")
    item = "item" if reading.for_each == "labels" else "item.id"
    if reading.for_each is not None and not (names_affiliate and item in key.paths and not changed):
        advice = f'template = "{{id}}/{{{item}}}" is unique'
        reading.warn(at, f'"{key.name}" need not be unique: two entries may have one key; {advice}')
    elif not names_affiliate or first_counts or changed:
        only = "of two affiliates with one key, only the first is written"
        reading.warn(at, f'"{key.name}" need not be unique: {only}; "id" is unique')


def _source_of(raw: Any) -> Any:
    if isinstance(raw, dict):
        return raw.get("from", raw.get("template"))
    return raw if isinstance(raw, str) else None


def _removed_column(reading: Reading, options: TargetOptions, raw_fields: Table[str, Any]) -> Column:
    at = ("target", "removed_column" if "removed_column" in reading.table("target") else "removed_records")
    name = options.removed_column
    if not name:
        reading.say(at, "removed_column is empty")
    elif name in raw_fields:
        reading.say(at, f'"{name}" is one of [fields]; name another column with removed_column = "…"')
    line = reading.document.value_place(at).line
    return Column(name=name, type="date", overwrite="always", where=f"{reading.document.file}:{line}")
