"""From a mapping file's text to a compiled mapping, or to all its mistakes at once, each with its place."""

from __future__ import annotations

import hashlib
import re
import zoneinfo
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Table
from datetime import UTC, tzinfo
from pathlib import PurePath
from typing import Any, Literal, get_args

from msgspec import Struct
from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails

from connector.core.errors import ConfigError, Problem
from connector.core.keys import text_of
from connector.core.mapping.cells import (
    Shaper,
    Unfit,
    country_code,
    country_codes,
    currency_codes,
    shaper,
)
from connector.core.mapping.conditions import Passes, Wrong, check_operand, compile_test
from connector.core.mapping.mapping import Example, Field, Lookup, Mapping
from connector.core.mapping.model import ExampleModel, FieldModel, MappingModel, OptionModel, Test
from connector.core.mapping.paths import Holds, Kind, Paths, Reader, UnknownPath
from connector.core.mapping.steps import Change, Misfit, compile_step
from connector.core.overwrite import is_empty
from connector.core.problems import problems_of
from connector.core.record import AffiliateRecord
from connector.core.row import Cell, Column, ColumnType, Option
from connector.core.sink import RecordPath, TargetOptions
from connector.core.toml import Document, Path, parse
from connector.core.words import did_you_mean, unknown_word

_test_names = tuple(field.alias or name for name, field in Test.model_fields.items())
_built_in_platforms = ("firstpromoter", "everflow")

_natural_type: dict[Holds, ColumnType] = {
    "text": "text",
    "integer": "integer",
    "decimal": "number",
    "boolean": "boolean",
    "datetime": "datetime",
    "any": "text",
}
_fitting: dict[Holds, tuple[ColumnType, ...]] = {
    "integer": ("text", "number", "integer", "money", "boolean"),
    "decimal": ("text", "number", "integer", "money"),
    "boolean": ("text", "boolean"),
    "datetime": ("text", "date", "datetime"),
}
_wanted_by: dict[str, tuple[ColumnType, ...]] = {
    "timezone": ("date", "datetime"),
    "region": ("phone",),
    "currency": ("money",),
    "show": ("country",),
}


def load(
    text: str,
    *,
    file: str,
    target_options: type[TargetOptions] = TargetOptions,
    source_names: Sequence[str] = (),
    platforms: Sequence[str] = (),
    examples: bool = True,
) -> Mapping:
    """Read a mapping file and compile it. The examples are checked for form here, and run by ``Mapping.run_examples``.

    Args:
        text: the file's content.
        file: its path as the operator knows it, for messages.
        target_options: what ``[target]`` may hold, and ``[key]`` beside ``field``: the sink's.
        source_names: the configured sources, the vocabulary of ``source``; () when they are not known.
        platforms: the vocabulary of ``platform``, beside the built-in ones: those are known even when no source of
            theirs is configured, so that one mapping file serves all.
        examples: whether they are read at all: they are a check of the file, not a part of what it does.

    Raises:
        ConfigError: all mistakes at once, in file order.
    """
    return _Loader(parse(text, file=file), target_options, source_names, platforms).load(examples=examples)


class _Value(Struct, frozen=True):
    """A field's value on its way: how it is read so far, and what it holds."""

    read: Reader
    kind: Kind


class _Loader:
    def __init__(
        self,
        document: Document,
        target_options: type[TargetOptions],
        source_names: Sequence[str],
        platforms: Sequence[str],
    ) -> None:
        self._document = document
        self._data = document.data
        self._target_options = target_options
        self._problems: list[Problem] = []
        known = tuple(dict.fromkeys((*_built_in_platforms, *platforms)))
        self._vocabularies = {"source": tuple(source_names), "platform": known}
        self._for_each: str | None = None
        self._paths = Paths(self._vocabularies)
        self._item_columns: set[str] = set()
        self._model: MappingModel | None = None
        """The file as a whole; None when its structure is wrong: then its parts are looked at one by one."""

    def load(self, *, examples: bool) -> Mapping:
        self._check_structure()
        self._take_for_each()
        options, extras = self._take_options()
        columns: list[Column] = []
        fields: list[Field] = []
        raw_fields = self._table("fields")
        for name, raw in raw_fields.items():
            made = self._take_field(name, raw, options)
            if made is not None:
                columns.append(made[0])
                fields.append(made[1])
        key = self._take_key(raw_fields, {column.name: column.type for column in columns})
        if options is not None and options.removed_records == "mark":
            columns.append(self._removed_column(options, raw_fields))
        when, when_item = self._take_file_when()
        all_columns = list(dict.fromkeys([*raw_fields, *(column.name for column in columns)]))
        found_examples = self._take_examples(all_columns) if examples else []
        if self._problems or options is None or key is None:
            raise ConfigError(list(dict.fromkeys(self._problems)))
        return Mapping(
            name=str(self._data.get("name") or PurePath(self._document.file).stem),
            file=self._document.file,
            digest=hashlib.sha256(self._document.text.encode()).hexdigest()[:16],
            columns=tuple(columns),
            key=key,
            options=options,
            _key_field=next(field for field in fields if field.column == key),
            _fields=tuple(fields),
            _when=tuple(when),
            _when_item=tuple(when_item),
            _entries=self._paths.reader(self._for_each) if self._for_each else None,
            _for_each=self._for_each,
            _extras=tuple(extras),
            _examples=tuple(found_examples),
            _example_problem=self._document.problem,
        )

    def _say(self, path: Path, text: str, *, at: Literal["value", "key"] = "value") -> None:
        self._problems.append(self._document.problem(path, text, at=at))

    def _table(self, name: str) -> dict[str, Any]:
        table = self._data.get(name)
        return table if isinstance(table, dict) else {}

    # ---------------------------------------------------------------- the file as a whole

    def _check_structure(self) -> None:
        """What can be said without knowing records: unknown keys, wrong kinds of values, missing parts."""
        data = {name: value for name, value in self._data.items() if name != "when"}
        if isinstance(data.get("fields"), dict):
            data["fields"] = {name: _without_when(raw) for name, raw in data["fields"].items()}
        try:
            self._model = MappingModel.model_validate(data)
        except ValidationError as error:
            self._problems += problems_of(error, self._document, MappingModel)

    def _take_for_each(self) -> None:
        name = self._data.get("for_each")
        if not isinstance(name, str):
            return
        plain = name.removesuffix("[]")
        if plain in self._paths.lists():
            self._for_each = plain
            self._paths = Paths(self._vocabularies, plain)
            return
        try:
            self._paths.kind(plain, table=True)
        except UnknownPath:
            self._say(("for_each",), f'no record has a list "{name}"' + unknown_word(plain, self._paths.lists()))
        else:
            self._say(("for_each",), f'"{name}" is not a list; right would be: {", ".join(self._paths.lists())}')

    # ---------------------------------------------------------------- [target] and [key]

    def _take_options(self) -> tuple[TargetOptions | None, list[tuple[str, Reader]]]:
        target, key = self._table("target"), self._table("key")
        in_key = self._target_options.in_key_table
        moved: dict[str, Any] = {}
        for name, value in key.items():
            if name == "field":
                continue
            if name in in_key:
                moved[name] = value
                continue
            right = f'; "{name}" stands under [target]' if name in self._target_options.model_fields else ""
            right = right or unknown_word(name, ["field", *sorted(in_key)])
            self._say(("key", name), f'unknown key "{name}"{right}', at="key")
        for name in target:
            if name in in_key:
                self._say(("target", name), f'"{name}" stands under [key]', at="key")
        target = {name: value for name, value in target.items() if name not in in_key}
        try:
            options = self._target_options.model_validate({**target, **moved})
        except ValidationError as error:
            for part in ("key", "target"):
                chosen = [
                    details
                    for details in error.errors(include_url=False)
                    if (bool(details["loc"]) and details["loc"][0] in moved) is (part == "key")
                ]
                if chosen:
                    lines = [_as_init(details) for details in chosen]
                    part_error = ValidationError.from_exception_data(error.title, lines)
                    path: Path = (part,) if part in self._data else ()
                    self._problems += problems_of(part_error, self._document, self._target_options, path=path)
            return None, []
        extras: list[tuple[str, Reader]] = []
        for option in _record_paths(self._target_options):
            found = _reach({**target, **moved}, option)
            if found is None:
                found = _reach(options.model_dump(), option)
            if isinstance(found, str) and found:
                origin = "key" if option[0] in moved else "target"
                value = self._path_value(found, (origin, *option))
                if value is not None and value.kind.many:
                    self._say((origin, *option), f'"{found}" is a list; one value is wanted')
                elif value is not None:
                    extras.append((".".join(option), value.read))
        if options.overwrite == "only_forward":
            self._say(("target", "overwrite"), '"only_forward" needs order = […]: set it in the field, not here')
        return options, extras

    def _take_key(self, raw_fields: Table[str, Any], types: Table[str, ColumnType]) -> str | None:
        name = self._table("key").get("field")
        if not isinstance(name, str) or not name or not raw_fields:
            return None
        if name not in raw_fields:
            self._say(("key", "field"), f'[fields] has no "{name}"' + unknown_word(name, list(raw_fields)))
            return None
        raw = raw_fields[name]
        if isinstance(raw, dict) and "when" in raw:
            self._say(("fields", name, "when"), "the key is needed in every row; it can't have a when", at="key")
        if isinstance(raw, dict) and ("value" in raw):
            self._say(("fields", name, "value"), "the key must differ from record to record; use from or template")
        if types.get(name) in ("list", "boolean"):
            self._say(("fields", name, "type"), f'a key can\'t be "{types[name]}"; it is one text or number')
        if (
            self._for_each is not None
            and name not in self._item_columns
            and not isinstance(_source_of(raw), type(None))
        ):
            at = ("fields", name, "from") if isinstance(raw, dict) else ("fields", name)
            item = "item" if self._for_each == "labels" else "item.id"
            self._say(at, f'with for_each the key needs a path that begins with "item.", like "{item}"')
        return name

    def _removed_column(self, options: TargetOptions, raw_fields: Table[str, Any]) -> Column:
        at = ("target", "removed_column" if "removed_column" in self._table("target") else "removed_records")
        name = options.removed_column
        if not name:
            self._say(at, "removed_column is empty")
        elif name in raw_fields:
            self._say(at, f'"{name}" is one of [fields]; name another column with removed_column = "…"')
        line = self._document.value_place(at).line
        return Column(name=name, type="date", overwrite="always", where=f"{self._document.file}:{line}")

    # ---------------------------------------------------------------- when

    def _take_file_when(self) -> tuple[list[tuple[str, Passes]], list[tuple[str, Passes]]]:
        when: list[tuple[str, Passes]] = []
        when_item: list[tuple[str, Passes]] = []
        for path, passes in self._take_when(self._data.get("when"), ("when",)):
            (when_item if path.startswith("item") else when).append((path, passes))
        return when, when_item

    def _take_when(self, raw: Any, at: Path) -> list[tuple[str, Passes]]:
        if raw is None:
            return []
        if not isinstance(raw, dict):
            self._say(at, '"when" wants a table, like { status = "active" }')
            return []
        found: list[tuple[str, Passes]] = []
        for path, tests, place in self._lines(raw, at, ""):
            try:
                kind = self._paths.kind(path, table=True)
            except UnknownPath as error:
                self._say(place, str(error), at="key")
                continue
            read = self._paths.reader(path)
            for name, operand, where in self._tests(tests, place):
                wrong = False
                entries = enumerate(operand) if isinstance(operand, list) else [(None, operand)]
                for number, entry in entries:
                    try:
                        check_operand(name, entry, path, kind)
                    except Wrong as error:
                        wrong = True
                        self._say(where if number is None else (*where, number), str(error))
                if not wrong:
                    found.append((path, compile_test(name, operand, kind, read)))
        return found

    def _lines(self, raw: dict[str, Any], at: Path, before: str) -> Iterator[tuple[str, Any, Path]]:
        """The lines of a ``when``; a dotted path without quotes is a table within a table in TOML."""
        for step, tests in raw.items():
            path = before + step
            if isinstance(tests, dict) and tests and not any(name in _test_names for name in tests):
                try:
                    is_group = self._paths.kind(path, table=True).holds == "table"
                except UnknownPath:
                    is_group = path == "item"
                if is_group:
                    yield from self._lines(tests, (*at, step), path + ".")
                    continue
            yield path, tests, (*at, step)

    def _tests(self, raw: Any, at: Path) -> list[tuple[str, Any, Path]]:
        """The tests of one line: ``"active"`` is short for ``{ is = "active" }``, a list for ``{ in = […] }``."""
        if isinstance(raw, list):
            tests, places = {"in": raw}, {"in": at}
        elif isinstance(raw, dict):
            tests, places = raw, {name: (*at, name) for name in raw}
        else:
            tests, places = {"is": raw}, {"is": at}
        if not tests:
            self._say(at, f"a test is missing; right would be: {', '.join(_test_names)}")
            return []
        bad: set[str] = set()
        try:
            Test.model_validate(tests)
        except ValidationError as error:
            bad = {str(details["loc"][0]) for details in error.errors() if details["loc"]}
            if isinstance(raw, dict):
                for name in raw:
                    if name not in _test_names:
                        text = f'"{name}" is not a test' + unknown_word(name, _test_names)
                        self._say((*at, name), text, at="key")
                known = {name: value for name, value in raw.items() if name in _test_names}
                try:
                    Test.model_validate(known)
                except ValidationError as inner:
                    self._problems += problems_of(inner, self._document, Test, path=at)
            else:
                self._say(at, "a test wants text, a number, a date, true or false, or a list of these")
        return [(name, value, places[name]) for name, value in tests.items() if name not in bad]

    def _passes(self, raw: Any, at: Path) -> Passes | None:
        tests = [passes for _, passes in self._take_when(raw, at)]
        if not tests:
            return None
        if len(tests) == 1:
            return tests[0]
        return lambda record, item: all(passes(record, item) for passes in tests)

    # ---------------------------------------------------------------- one field

    def _take_field(self, name: str, raw: Any, options: TargetOptions | None) -> tuple[Column, Field] | None:
        at: Path = ("fields", name)
        if isinstance(raw, str):
            raw_table: dict[str, Any] = {"from": raw}
        elif isinstance(raw, dict):
            raw_table = raw
        else:
            return None
        if not name.strip():
            self._say(at, "a column has a name", at="key")
        dropped: set[str] = set()
        model = None if self._model is None else _as_field(self._model.fields[name])
        if model is None:
            model, dropped = _lenient({key: value for key, value in raw_table.items() if key != "when"})
        if model is None:
            return None
        before = len(self._problems)
        passes = self._passes(raw_table.get("when"), (*at, "when"))
        value = self._take_value(model, at, name, dropped)
        if value is None:
            steps: list[Change] = []
            kind: Kind | None = None
        else:
            steps, kind = self._take_steps(model, value.kind, at)
            if "then" in dropped:
                kind = None
        shape, column_type = self._take_type(model, kind, at)
        lookup = self._take_map(model, kind, shape, at) if model.map is not None else None
        default = self._take_default(model, shape, column_type, at)
        overwrite = model.overwrite or (options.overwrite if options is not None else "never_clear")
        if overwrite == "only_forward" and not model.order and "order" not in dropped and model.overwrite:
            self._say((*at, "overwrite"), '"only_forward" needs order = ["first stage", …, "last stage"]')
        if model.order is not None and overwrite != "only_forward" and "overwrite" not in dropped:
            self._say((*at, "order"), 'order goes with overwrite = "only_forward"', at="key")
        column = Column(
            name=name,
            type=column_type,
            overwrite=overwrite,
            order=tuple(model.order or ()),
            label=model.label,
            group=model.group,
            options=self._take_choices(model, default),
            currency=model.currency.upper() if model.currency and column_type == "money" else None,
            on_error=model.on_error,
            where=f"{self._document.file}:{self._document.key_place(at).line}",
        )
        if value is None or len(self._problems) > before:
            return column, _placeholder(name)
        return column, Field(
            column=name,
            read=value.read,
            steps=tuple(steps),
            lookup=lookup,
            shape=shape,
            default=default,
            passes=passes,
            leave_empty=model.on_error == "leave_empty",
            where=column.where,
            type=column_type,
        )

    def _take_value(self, model: FieldModel, at: Path, name: str, dropped: set[str]) -> _Value | None:
        """``from``, ``value`` or ``template``: exactly one."""
        given = [key for key, value in (("from", model.from_), ("value", model.value), ("template", model.template))
                 if value is not None]  # fmt: skip
        if len(given) > 1:
            self._say(
                (*at, given[1]), f"one of from, value, template is enough; here are {' and '.join(given)}", at="key"
            )
            return None
        if not given:
            if not dropped:
                self._say(at, "one of from, value, template is missing", at="key")
            return None
        if model.value is not None:
            constant = model.value
            return _Value(lambda *_: constant, Kind(_held_by(constant)))
        if model.template is not None:
            return self._take_template(model.template, (*at, "template"), name)
        if isinstance(model.from_, str):
            # In the short form the path itself is the field's value; value_place then finds it around "from".
            return self._path_value(model.from_, (*at, "from"), name)
        values = [self._path_value(path, (*at, "from", n), name) for n, path in enumerate(model.from_ or ())]
        if any(value is None for value in values):
            return None
        return _first_of([value for value in values if value is not None])

    def _path_value(self, path: str, at: Path, column: str | None = None) -> _Value | None:
        try:
            kind = self._paths.kind(path)
        except UnknownPath as error:
            self._say(at, str(error))
            return None
        if column is not None and (path == "item" or path.startswith("item.")):
            self._item_columns.add(column)
        return _Value(self._paths.reader(path), kind)

    def _take_template(self, template: str, at: Path, name: str) -> _Value | None:
        parts: list[str | Reader] = []
        right = True
        for piece in re.findall(r"\{\{|\}\}|\{[^{}]*\}|[{}]|[^{}]+", template):
            if piece in ("{{", "}}"):
                parts.append(piece[0])
            elif piece in ("{", "}"):
                self._say(at, "a { or } stands alone; a path is written {first_name}, a brace {{ or }}")
                right = False
            elif piece.startswith("{"):
                value = self._path_value(piece[1:-1].strip(), at, name)
                if value is None:
                    right = False
                else:
                    parts.append(value.read)
            else:
                parts.append(piece)
        if right and not any(callable(part) for part in parts):
            self._say(at, 'a template has paths in it, like "{first_name} {last_name}"; for a constant use value')
            right = False
        return _Value(_template_reader(parts), Kind("text")) if right else None

    def _take_steps(self, model: FieldModel, kind: Kind, at: Path) -> tuple[list[Change], Kind | None]:
        changes: list[Change] = []
        for number, step in enumerate(model.then or ()):
            try:
                change, kind = compile_step(step, kind)
            except Misfit as error:
                self._say((*at, "then", number), str(error))
                return changes, None
            changes.append(change)
        return changes, kind

    def _take_type(self, model: FieldModel, kind: Kind | None, at: Path) -> tuple[Shaper, ColumnType]:
        column_type = model.type
        if column_type is None:
            column_type = _type_without(model, kind)
        elif kind is not None and model.map is None:
            fitting = ("text", "list") if kind.many else _fitting.get(kind.holds)
            if fitting is not None and column_type not in fitting:
                held = (
                    "a list"
                    if kind.many
                    else {"datetime": "a date", "boolean": "true or false"}.get(kind.holds, "a number")
                )
                advice = (
                    '; add then = ["first"] or [{ join = ", " }]'
                    if kind.many
                    else f"; right would be: {', '.join(fitting)}"
                )
                self._say((*at, "type"), f'the value is {held}, which can\'t be "{column_type}"{advice}')
            elif model.value is not None and kind.holds == "text":
                self._try_shape(shaper(column_type), model.value, column_type, (*at, "value"))
        for option, types in _wanted_by.items():
            if getattr(model, option) is not None and column_type not in types:
                wanted = " or ".join(f'"{name}"' for name in types)
                self._say((*at, option), f"{option} goes with type = {wanted}", at="key")
        timezone: tzinfo = UTC
        if model.timezone is not None:
            try:
                timezone = zoneinfo.ZoneInfo(model.timezone)
            except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
                guess = did_you_mean(model.timezone, sorted(zoneinfo.available_timezones()))
                right = f'did you mean "{guess}"?' if guess else 'one is written "Europe/London"'
                self._say((*at, "timezone"), f'"{model.timezone}" is not a time zone; {right}')
        region = self._take_region(model, at)
        currency = None
        if model.currency is not None:
            currency = model.currency.upper()
            if currency not in currency_codes():
                guess = did_you_mean(currency, currency_codes())
                right = f'did you mean "{guess}"?' if guess else 'one is written "EUR"'
                self._say((*at, "currency"), f'"{model.currency}" is not a currency; {right}')
        return shaper(
            column_type, timezone=timezone, region=region, currency=currency, show=model.show or "code"
        ), column_type

    def _take_region(self, model: FieldModel, at: Path) -> str | None:
        if model.region is None:
            return None
        if model.region in country_codes():
            return model.region
        code = country_code(model.region)
        right = f'did you mean "{code}"?' if code else 'one is written "GB"'
        self._say((*at, "region"), f'"{model.region}" is not the code of a country; {right}')
        return None

    def _try_shape(self, shape: Shaper, value: Any, column_type: str, at: Path, *, inferred: bool = False) -> Cell:
        try:
            return shape(value, None)
        except Unfit as error:
            why = ', like its path; type = "text" takes any word' if inferred else ""
            self._say(at, f'{error}; the field\'s type is "{column_type}"{why}')
        except (ArithmeticError, ValueError):
            self._say(at, f'this can\'t be "{column_type}"')
        return None

    def _take_map(self, model: FieldModel, kind: Kind | None, shape: Shaper, at: Path) -> Lookup:
        rules = model.map or {}
        place: Path = (*at, "map")
        words = kind.words if kind is not None else None
        if kind is not None and kind.holds == "boolean":
            words = ("true", "false")
        if words is not None:
            known = {word.casefold() for word in words}
            of = (
                f"{self._name_of(model)} is never"
                if kind is not None and kind.holds != "boolean"
                else "the value is never"
            )
            for word in rules:
                if word != "*" and word.casefold() not in known:
                    self._say((*place, word), f'{of} "{word}"' + unknown_word(word, words), at="key")
            ruled = {word.casefold() for word in rules}
            missing = [word for word in words if word.casefold() not in ruled]
            if missing and "*" not in rules and model.default is None:
                self._say(place, f'no rule for: {", ".join(missing)}; add "*" = "…" or default')
        if kind is not None and kind.holds == "datetime":
            self._say(place, "map is for words, and the value is a date", at="key")
        if model.type is not None:
            for word, value in rules.items():
                if not is_empty(value):
                    self._try_shape(shape, value, model.type, (*place, word))
        folded: dict[str, Any] = {}
        for word, value in rules.items():
            folded.setdefault(word.strip().casefold(), value)
        folded.pop("*", None)
        exact = {word: value for word, value in rules.items() if word != "*"}
        return Lookup(
            exact, folded, rules.get("*"), strict="*" not in rules and words is None and model.default is None
        )

    def _name_of(self, model: FieldModel) -> str:
        return model.from_ if isinstance(model.from_, str) else "the value"

    def _take_default(self, model: FieldModel, shape: Shaper, column_type: ColumnType, at: Path) -> Cell:
        if model.default is None or model.default in ("", []):
            return None
        value = tuple(model.default) if isinstance(model.default, list) else model.default
        if isinstance(value, tuple) and column_type not in ("list", "text"):
            self._say((*at, "default"), f'a list can\'t be "{column_type}"')
            return None
        return self._try_shape(shape, value, column_type, (*at, "default"), inferred=model.type is None)

    def _take_choices(self, model: FieldModel, default: Cell) -> tuple[Option, ...]:
        """The choices of an enumeration: ``options``, else all that ``map`` and ``default`` can give as text."""
        if isinstance(model.options, dict):
            return tuple(Option(value, label or value) for value, label in model.options.items())
        if model.options is not None:
            return tuple(
                Option(entry.value, entry.label or entry.value)
                if isinstance(entry, OptionModel)
                else Option(entry, entry)
                for entry in model.options
            )
        if model.map is None or model.type not in (None, "text", "list"):
            return ()
        given = [*model.map.values(), *(default if isinstance(default, tuple) else [default])]
        return tuple(Option(text, text) for text in dict.fromkeys(text_of(value) for value in given) if text)

    # ---------------------------------------------------------------- examples

    def _take_examples(self, columns: Sequence[str]) -> list[Example]:
        raw_examples = self._data.get("examples")
        found: list[Example] = []
        for number, raw in enumerate(raw_examples if isinstance(raw_examples, list) else ()):
            at: Path = ("examples", number)
            try:
                model = ExampleModel.model_validate(raw) if self._model is None else self._model.examples[number]
            except ValidationError:
                continue  # told by _check_structure
            if (model.row is None) is (model.rows is None):
                self._say(at, 'an example needs row = { … } or row = "skipped"', at="key")
                continue
            for place, row in self._expected(model, at):
                for column in row:
                    if columns and column not in columns:
                        text = f'[fields] has no "{column}"' + unknown_word(column, columns)
                        self._say((*place, column), text, at="key")
            record = self._take_record(model.record, (*at, "record"))
            if record is None:
                continue
            rows = None if model.row == "skipped" else [row for _, row in self._expected(model, at)]
            found.append(Example(model.name, number, record, rows, single=model.rows is None))
        return found

    def _expected(self, model: ExampleModel, at: Path) -> list[tuple[Path, dict[str, Any]]]:
        if isinstance(model.row, dict):
            return [((*at, "row"), model.row)]
        return [((*at, "rows", number), row) for number, row in enumerate(model.rows or ())]

    def _take_record(self, raw: dict[str, Any], at: Path) -> AffiliateRecord | None:
        try:
            record = AffiliateRecord.model_validate(raw)
        except ValidationError as error:
            others: list[InitErrorDetails] = []
            for details in error.errors(include_url=False):
                if details["type"] == "extra_forbidden":
                    path = ".".join(step for step in details["loc"] if isinstance(step, str))
                    self._say((*at, *details["loc"]), f'no record has "{path}"' + self._paths.guess(path), at="key")
                elif details["type"] == "missing" and details["loc"] == ("id",):
                    self._say(at, 'a record needs an id, like id = "firstpromoter:41"')
                else:
                    others.append(_as_init(details))
            if others:
                rest = ValidationError.from_exception_data(error.title, others)
                self._problems += problems_of(rest, self._document, AffiliateRecord, path=at)
            return None
        # "firstpromoter:41" says both; a real record always has them.
        source, _, platform_id = record.id.partition(":")
        filled: dict[str, Any] = {}
        if record.source is None and platform_id:
            filled["source"] = source
        if record.affiliate_id is None and platform_id:
            filled["affiliate_id"] = platform_id
        if record.platform is None and source in self._vocabularies["platform"]:
            filled["platform"] = source
        return record.model_copy(update=filled)


# ---------------------------------------------------------------- helpers


def _without_when(raw: Any) -> Any:
    return {key: value for key, value in raw.items() if key != "when"} if isinstance(raw, dict) else raw


def _as_field(given: str | FieldModel) -> FieldModel:
    return FieldModel.model_construct(from_=given) if isinstance(given, str) else given


def _lenient(raw: dict[str, Any]) -> tuple[FieldModel | None, set[str]]:
    """The field without the keys that are wrong in themselves (told already), so that the rest is checked, too."""
    dropped: set[str] = set()
    for _ in range(2):
        try:
            return FieldModel.model_validate({key: raw[key] for key in raw if key not in dropped}), dropped
        except ValidationError as error:
            dropped |= {str(details["loc"][0]) for details in error.errors() if details["loc"]}
    return None, dropped


def _as_init(details: Any) -> InitErrorDetails:
    made: InitErrorDetails = {"type": details["type"], "loc": details["loc"], "input": details["input"]}
    if "ctx" in details:
        made["ctx"] = details["ctx"]
    return made


def _source_of(raw: Any) -> Any:
    return raw if isinstance(raw, str) else raw.get("from", raw.get("template")) if isinstance(raw, dict) else None


def _placeholder(name: str) -> Field:
    """Stands for a field with mistakes; the mapping is never made."""
    return Field(name, lambda *_: None, (), None, lambda *_: None, None, None, False, "", "text")


def _held_by(value: Any) -> Holds:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "decimal"
    return "text" if isinstance(value, str) else "datetime"


def _type_without(model: FieldModel, kind: Kind | None) -> ColumnType:
    """The type of a field that names none: what its path holds; after ``map``, what the map gives."""
    if model.map is not None:
        held = {_held_by(value) for value in model.map.values() if not is_empty(value)}
        if kind is not None and kind.many:
            return "list"
        return _natural_type[held.pop()] if len(held) == 1 else "text"
    if kind is None:
        return "text"
    return "list" if kind.many else _natural_type[kind.holds]


def _first_of(values: Sequence[_Value]) -> _Value:
    """The first that is not empty; a list among them makes all of them lists."""
    many = any(value.kind.many for value in values)
    holds = {value.kind.holds for value in values}
    words: tuple[str, ...] | None = ()
    for value in values:
        words = None if words is None or value.kind.words is None else tuple(dict.fromkeys((*words, *value.kind.words)))
    kind = Kind(holds.pop() if len(holds) == 1 else "any", many, words)
    readers = [value.read for value in values]
    if len(readers) == 1:
        return _Value(readers[0], kind)

    def read(record: AffiliateRecord, item: Any) -> Any:
        for reader in readers:
            value = reader(record, item)
            if not is_empty(value):
                return (value,) if many and not isinstance(value, tuple) else value
        return None

    return _Value(read, kind)


def _template_reader(parts: Sequence[str | Reader]) -> Reader:
    def read(record: AffiliateRecord, item: Any) -> str | None:
        texts: list[str] = []
        filled = False
        for part in parts:
            if isinstance(part, str):
                texts.append(part)
                continue
            text = text_of(part(record, item))
            filled = filled or not is_empty(text)
            texts.append(text)
        return " ".join("".join(texts).split()) if filled else None

    return read


def _record_paths(model: type[BaseModel], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The options, by the way to them, that are annotated ``Annotated[str, RecordPath()]``."""
    for name, field in model.model_fields.items():
        if any(isinstance(mark, RecordPath) for mark in field.metadata) or _marks(field.annotation):
            yield (*before, name)
        for inner in _models_in(field.annotation):
            yield from _record_paths(inner, (*before, name))


def _marks(annotation: Any) -> bool:
    if any(isinstance(mark, RecordPath) for mark in getattr(annotation, "__metadata__", ())):
        return True
    return any(_marks(argument) for argument in get_args(annotation))


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [inner for argument in get_args(annotation) for inner in _models_in(argument)]


def _reach(table: Any, way: Sequence[str]) -> Any:
    for step in way:
        if not isinstance(table, dict) or step not in table:
            return None
        table = table[step]
    return table
