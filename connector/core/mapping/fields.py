"""One field of a mapping file, checked and compiled: its column, and how its cells are made."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Sequence
from datetime import UTC, tzinfo
from typing import Any

from msgspec.structs import replace
from pydantic import ValidationError

from connector.core.keys import text_of
from connector.core.mapping.cells import Shaper, Unfit, country_code, country_codes, currency_codes, shaper
from connector.core.mapping.conditions import condition, without_when
from connector.core.mapping.formats import (
    FORMATTED,
    UnknownLocale,
    WrongFormat,
    checked_pattern,
    formatted,
    known_locale,
)
from connector.core.mapping.mapping import Field, Lookup
from connector.core.mapping.model import FieldModel, OptionModel
from connector.core.mapping.paths import IN_WORDS, Holds, Kind, Reader
from connector.core.mapping.reading import Reading, Value
from connector.core.mapping.steps import Change
from connector.core.mapping.values import held_by, steps_of, value_of
from connector.core.overwrite import is_empty
from connector.core.record import ADDED_STATUSES, AffiliateRecord
from connector.core.row import Cell, Column, ColumnType, Option
from connector.core.toml import Path
from connector.core.words import did_you_mean, unknown_word

_NATURAL_TYPE: dict[Holds, ColumnType] = {
    "text": "text",
    "integer": "integer",
    "decimal": "number",
    "boolean": "boolean",
    "datetime": "datetime",
    "any": "text",
}
_FITTING: dict[Holds, tuple[ColumnType, ...]] = {
    "integer": ("text", "number", "integer", "money", "boolean"),
    "decimal": ("text", "number", "integer", "money"),
    "boolean": ("text", "boolean"),
    "datetime": ("text", "date", "datetime"),
}
_PATH_IN_TEMPLATE = re.compile(r"{([^{}]+)}")
_TYPES_OF_OPTION: dict[str, tuple[ColumnType, ...]] = {
    "timezone": ("date", "datetime"),
    "region": ("phone",),
    "currency": ("money",),
    "show": ("country",),
}


class FieldReader:
    """Reads one field.

    Args:
        reading: the file.
        name: the column.
        raw: the field as in the file: a path, or a table.
        model: the same, checked for structure, without the keys in *dropped*.
        dropped: keys that are wrong in themselves and reported already.
    """

    def __init__(self, reading: Reading, name: str, raw: Any, model: FieldModel, dropped: set[str]) -> None:
        self._reading = reading
        self._name = name
        self._raw = raw if isinstance(raw, dict) else {}
        self._model = model
        self._dropped = dropped
        self._at: Path = ("fields", name)

    @classmethod
    def of(cls, reading: Reading, name: str, raw: Any, model: FieldModel | None) -> FieldReader | None:
        """One for *raw*; None when too much of it is wrong.

        Args:
            model: None when the structure of the file is wrong: then what is right of the field is still checked.
        """
        if not isinstance(raw, str | dict):
            return None
        if not name.strip():
            reading.say(("fields", name), "a column has a name", at="key")
        if model is not None:
            return cls(reading, name, raw, model, set())
        right, dropped = _what_is_right({"from": raw} if isinstance(raw, str) else without_when(raw))
        return None if right is None else cls(reading, name, raw, right, dropped)

    def read(self, overwrite: str, *, needed: bool = False) -> tuple[Column, Field | None]:
        """The column and the compiled field; None for the field when it has mistakes.

        Args:
            overwrite: the rule for fields that set none.
            needed: without ``on_error``, a value that does not fit makes its row a dead letter.
        """
        mistakes_before = len(self._reading.problems)
        model = self._model
        passes = condition(self._reading, self._raw.get("when"), (*self._at, "when"))
        value = value_of(self._reading, model, self._at, self._name, self._raw, self._dropped)
        read, steps, kind = self._steps(value)
        shape, column_type = self._type(kind)
        lookup = self._map(kind, shape) if model.map is not None else None
        shape, kept_as = self._formatted(shape, column_type)
        default = self._default(shape, column_type, kept_as)
        on_error = model.on_error or ("dead_letter" if needed else "leave_empty")
        if model.cases is not None and model.default is None and overwrite == "never_clear":
            overwrite = "always"  # the cell goes back to empty when no case holds any more
        column = self._column(kept_as, model.overwrite or overwrite, default, lookup, on_error)
        words = self._words(kind)
        ruled = {*(model.map or {}), *(ADDED_STATUSES if "*" in (model.map or {}) else ())}
        later = tuple(shown for word, shown in words if word in ADDED_STATUSES and word not in ruled)
        column = replace(column, paths=self._paths(), words=words, later_words=later)
        if value is None or len(self._reading.problems) > mistakes_before:
            return column, None
        return column, Field(
            column=self._name,
            read=read,
            steps=tuple(steps),
            lookup=lookup,
            shape=shape,
            default=default,
            passes=passes,
            leave_empty=on_error == "leave_empty",
            where=column.where,
            type=column_type,
        )

    def _paths(self) -> tuple[str, ...]:
        model = self._model
        if model.template is not None:
            return tuple(dict.fromkeys(_PATH_IN_TEMPLATE.findall(model.template)))
        if model.pick is not None:
            return (f"{model.from_}.{model.pick}",)
        return (model.from_,) if isinstance(model.from_, str) else tuple(model.from_ or ())

    def _words(self, kind: Kind | None) -> tuple[tuple[str, str], ...]:
        if kind is None or kind.words is None:
            return ()
        shown = self._model.map or {}
        return tuple((word, text_of(shown.get(word, shown.get("*", word)))) for word in kind.words)

    def _say(self, *path: str | int, text: str, key: bool = False) -> None:
        self._reading.say((*self._at, *path), text, at="key" if key else "value")

    def _column(
        self, column_type: ColumnType, overwrite: Any, default: Cell, lookup: Lookup | None, on_error: Any
    ) -> Column:
        model = self._model
        if model.overwrite == "only_forward" and not model.order and "order" not in self._dropped:
            self._say("overwrite", text='"only_forward" needs order = ["first stage", …, "last stage"]')
        if model.order is not None and overwrite != "only_forward" and "overwrite" not in self._dropped:
            self._say("order", text='order goes with overwrite = "only_forward"', key=True)
        document = self._reading.document
        return Column(
            name=self._name,
            type=column_type,
            overwrite=overwrite,
            order=tuple(model.order or ()),
            label=model.label,
            group=model.group,
            options=self._choices(default, lookup),
            currency=model.currency.upper() if model.currency and column_type == "money" else None,
            on_error=on_error,
            where=f"{document.file}:{document.key_place(self._at).line}",
        )

    def _steps(self, value: Value | None) -> tuple[Reader, list[Change], Kind | None]:
        if value is None:
            return lambda *_: None, [], None
        read, steps, kind = steps_of(self._reading, self._model, value, self._at)
        return read, steps, None if "then" in self._dropped else kind

    # ---------------------------------------------------------------- type

    def _type(self, kind: Kind | None) -> tuple[Shaper, ColumnType]:
        """The function that makes the cells, and the type; a mistake when the value can't be of that type."""
        model = self._model
        column_type = model.type
        if column_type is None:
            column_type = _type_without(model, kind)
        elif kind is not None and model.map is None:
            self._check_fitting(kind, column_type)
        if model.require is not None and model.template is None:
            self._say("require", text="require goes with template", key=True)
        for option, types in _TYPES_OF_OPTION.items():
            if getattr(model, option) is not None and column_type not in types:
                wanted = " or ".join(f'"{name}"' for name in types)
                self._say(option, text=f"{option} goes with type = {wanted}", key=True)
        return (
            shaper(
                column_type,
                timezone=self._timezone(),
                region=self._region(),
                currency=self._currency(),
                currency_of=self._currency_of,
                show=model.show or "code",
            ),
            column_type,
        )

    def _check_fitting(self, kind: Kind, column_type: ColumnType) -> None:
        fitting = ("text", "list") if kind.many else _FITTING.get(kind.holds)
        if fitting is not None and column_type not in fitting:
            held = "a list" if kind.many else IN_WORDS[kind.holds]
            to_one = '; add then = ["first"] or [{ join = ", " }]'
            advice = to_one if kind.many else f"; right would be: {', '.join(fitting)}"
            self._say("type", text=f'the value is {held}, which can\'t be "{column_type}"{advice}')
        elif self._model.value is not None and kind.holds == "text":
            self._try(shaper(column_type), self._model.value, column_type, "value")
        elif kind.holds == "text":
            for number, case in enumerate(self._model.cases or ()):
                self._try(shaper(column_type), case.value, column_type, "cases", number, "value")

    def _formatted(self, shape: Shaper, column_type: ColumnType) -> tuple[Shaper, ColumnType]:
        """*shape* as ``format`` and ``locale`` want it, and what the column then holds: text."""
        model = self._model
        given = "format" if model.format is not None else "locale"
        if getattr(model, given) is None:
            return shape, column_type
        if column_type not in FORMATTED:
            wanted = " or ".join(f'"{name}"' for name in FORMATTED)
            self._say(given, text=f"{given} goes with type = {wanted}", key=True)
            return shape, column_type
        locale, pattern = "en", None
        try:
            locale = known_locale(model.locale or "en")
        except UnknownLocale as error:
            self._say("locale", text=str(error))
        try:
            pattern = None if model.format is None else checked_pattern(model.format, column_type)
        except WrongFormat as error:
            self._say("format", text=str(error))
        currency = self._model.currency
        currency_of = self._currency_of if currency is None else lambda _: currency.upper()
        return formatted(shape, column_type, pattern, locale, currency_of), "text"

    def _currency_of(self, record: AffiliateRecord) -> str | None:
        """Rewards may have a currency of their own."""
        from_ = self._model.from_
        first = from_ if isinstance(from_, str) else (from_ or [""])[0]
        own = {"last_reward": record.last_reward.currency, "last_payout": record.last_payout.currency}
        return own.get(first.partition(".")[0]) or record.currency

    def _timezone(self) -> tzinfo:
        name = self._model.timezone
        if name is None:
            return UTC
        try:
            return zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            guess = did_you_mean(name, sorted(zoneinfo.available_timezones()))
            self._say("timezone", text=f'"{name}" is not a time zone; {_or_like(guess, "Europe/London")}')
        return UTC

    def _region(self) -> str | None:
        region = self._model.region
        if region is None or region in country_codes():
            return region
        self._say("region", text=f'"{region}" is not the code of a country; {_or_like(country_code(region), "GB")}')
        return None

    def _currency(self) -> str | None:
        given = self._model.currency
        if given is None:
            return None
        code = given.upper()
        if code not in currency_codes():
            guess = did_you_mean(code, currency_codes())
            self._say("currency", text=f'"{given}" is not a currency; {_or_like(guess, "EUR")}')
        return code

    def _try(self, shape: Shaper, value: Any, column_type: str, *path: str | int, inferred: bool = False) -> Cell:
        """The cell that a constant of the file gives; a mistake when it gives none."""
        try:
            return shape(value, None)
        except Unfit as error:
            why = ', like its path; type = "text" takes any word' if inferred else ""
            self._say(*path, text=f'{error}; the field\'s type is "{column_type}"{why}')
        except (ArithmeticError, ValueError):
            self._say(*path, text=f'this can\'t be "{column_type}"')
        return None

    # ---------------------------------------------------------------- map, default, options

    def _map(self, kind: Kind | None, shape: Shaper) -> Lookup:
        model = self._model
        rules = model.map or {}
        words = kind.words if kind is not None else None
        if kind is not None and kind.holds == "boolean":
            words = ("true", "false")
        unruled: tuple[str, ...] = ()
        if words is not None:
            unruled = self._check_words(rules, words, of_record=kind is not None and kind.holds != "boolean")
        if kind is not None and kind.holds == "datetime":
            self._say("map", text="map is for words, and the value is a date", key=True)
        if model.type is not None:
            for word, value in rules.items():
                if not is_empty(value):
                    self._try(shape, value, model.type, "map", word)
        folded: dict[str, Any] = {}
        for word, value in rules.items():
            folded.setdefault(word.strip().casefold(), value)
        folded.pop("*", None)
        exact = {word: value for word, value in rules.items() if word != "*"}
        if self._shows_words():
            exact |= {word: word for word in unruled}
            folded |= {word: word for word in unruled}
        strict = "*" not in rules and words is None and model.default is None
        return Lookup(exact, folded, rules.get("*"), strict=strict)

    def _shows_words(self) -> bool:
        """Whether a word that has no rule can be shown as it is."""
        given = (self._model.map or {}).values()
        return self._model.type in ("text", "list") or (
            self._model.type is None and all(isinstance(value, str) for value in given)
        )

    def _check_words(self, rules: dict[str, Any], words: Sequence[str], *, of_record: bool) -> tuple[str, ...]:
        """Of a closed vocabulary, every word has a rule, and there are no others.

        Returns:
            Words without a rule that came into the vocabulary later: mappings from before are right without them.
        """
        from_ = self._model.from_
        subject = f"{from_ if isinstance(from_, str) else 'the value'} is" if of_record else "the value is"
        known = {word.casefold() for word in words}
        for word in rules:
            if word != "*" and word.casefold() not in known:
                self._say("map", word, text=f'{subject} never "{word}"' + unknown_word(word, words), key=True)
        ruled = {word.casefold() for word in rules}
        unruled = [word for word in words if word.casefold() not in ruled]
        if "*" in rules or self._model.default is not None:
            return ()
        missing = [word for word in unruled if word not in ADDED_STATUSES]
        if missing:
            self._say("map", text=f'no rule for: {", ".join(missing)}; add "*" = "…" or default')
        added = tuple(word for word in unruled if word in ADDED_STATUSES)
        if added and not missing:
            words_now = " and ".join(f'"{word}"' for word in added)
            shown = "is shown as it is" if self._shows_words() else "leaves the cell empty"
            self._reading.warn(
                (*self._at, "map"), f"{subject} now also {words_now}, which {shown} without a rule: add one"
            )
        return added

    def _default(self, shape: Shaper, column_type: ColumnType, kept_as: ColumnType) -> Cell:
        given = self._model.default
        if given is None or given in ("", []):
            return None
        if kept_as != column_type and isinstance(given, str):
            return given  # beside text that was made of a number, any word will do
        value = tuple(given) if isinstance(given, list) else given
        if isinstance(value, tuple) and column_type not in ("list", "text"):
            self._say("default", text=f'a list can\'t be "{column_type}"')
            return None
        return self._try(shape, value, column_type, "default", inferred=self._model.type is None)

    def _choices(self, default: Cell, lookup: Lookup | None) -> tuple[Option, ...]:
        """The choices of an enumeration: ``options``, else all that ``map`` and ``default`` can give as text."""
        model = self._model
        if isinstance(model.options, dict):
            return tuple(Option(value, label or value) for value, label in model.options.items())
        if model.options is not None:
            return tuple(
                Option(entry.value, entry.label or entry.value)
                if isinstance(entry, OptionModel)
                else Option(entry, entry)
                for entry in model.options
            )
        words = model.map.values() if model.map is not None else [case.value for case in model.cases or ()]
        if not words or model.type not in (None, "text", "list"):
            return ()
        given = [*words, *(default if isinstance(default, tuple) else [default])]
        if lookup is not None:
            given += [word for word in ADDED_STATUSES if lookup.exact.get(word) == word]
        return tuple(Option(text, text) for text in dict.fromkeys(text_of(value) for value in given) if text)


def _or_like(guess: str | None, example: str) -> str:
    return f'did you mean "{guess}"?' if guess else f'one is written "{example}"'


def _what_is_right(raw: dict[str, Any]) -> tuple[FieldModel | None, set[str]]:
    """The field without the keys that are wrong in themselves (reported already), so that the rest is checked, too."""
    dropped: set[str] = set()
    for _ in range(2):
        try:
            return FieldModel.model_validate({key: raw[key] for key in raw if key not in dropped}), dropped
        except ValidationError as error:
            dropped |= {str(details["loc"][0]) for details in error.errors() if details["loc"]}
    return None, dropped


def _type_without(model: FieldModel, kind: Kind | None) -> ColumnType:
    """The type of a field that names none: what its path holds; after ``map``, what the map gives."""
    if model.map is not None:
        held = {held_by(value) for value in model.map.values() if not is_empty(value)}
        if kind is not None and kind.many:
            return "list"
        return _NATURAL_TYPE[held.pop()] if len(held) == 1 else "text"
    if kind is None:
        return "text"
    return "list" if kind.many else _NATURAL_TYPE[kind.holds]
