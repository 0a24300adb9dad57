"""The paths of a record: what each holds, and how to read it fast. Derived from AffiliateRecord's annotations."""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, Literal, Union, get_args, get_origin

from msgspec import Struct
from msgspec.structs import replace
from pydantic import BaseModel

from connector.core.event_words import in_words
from connector.core.keys import text_of
from connector.core.overwrite import is_empty
from connector.core.record import AffiliateRecord, Signup
from connector.core.words import did_you_mean

Holds = Literal["text", "integer", "decimal", "boolean", "datetime", "any", "table"]

Reader = Callable[[AffiliateRecord, Any], Any]
"""(record, entry of ``for_each`` or None) -> the value; a tuple for a list."""


class Kind(Struct, frozen=True):
    """What a path, or a value on its way through a field, holds.

    Args:
        holds: of one value. ``any`` (``custom.*``) is text, a whole number or a boolean; ``table`` has parts.
        many: a list of such values.
        words: the closed vocabulary, or None when any word may come.
    """

    holds: Holds
    many: bool = False
    words: tuple[str, ...] | None = None


IN_WORDS: dict[Holds, str] = {
    "text": "text",
    "integer": "a number",
    "decimal": "a number",
    "datetime": "a date",
    "boolean": "true or false",
    "any": "one value",
}
"""What a value is, for people."""

_SCALARS: dict[Any, Holds] = {
    str: "text",
    int: "integer",
    Decimal: "decimal",
    bool: "boolean",
    datetime: "datetime",
}


def _kinds_of(model: type[BaseModel], prefix: str = "", *, many: bool = False) -> dict[str, Kind]:
    kinds: dict[str, Kind] = {}
    for name, field in model.model_fields.items():
        for path, kind in _kinds(field.annotation, prefix + name).items():
            kinds[path] = replace(kind, many=kind.many or many)
    return kinds


def _kinds(annotation: Any, path: str) -> dict[str, Kind]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return _kinds(inner, path)
    if origin is Literal:
        return {path: Kind("text", words=tuple(arguments))}
    if origin is tuple:
        inner = arguments[0]
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            return {path: Kind("table", many=True), **_kinds_of(inner, path + ".", many=True)}
        return {path: Kind(_SCALARS[inner], many=True)}
    if origin is not None and issubclass(origin, Mapping):
        return {path: Kind("table"), path + ".*": Kind("any")}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {path: Kind("table"), **_kinds_of(annotation, path + ".")}
    return {path: Kind(_SCALARS[annotation])}


def _event_name(record: AffiliateRecord, _: Any) -> str | None:
    topic = record.last_event.type
    return None if topic is None else in_words(topic)


def _answers(record: AffiliateRecord, _: Any) -> tuple[str, ...]:
    """All that was answered in the sign-up form, each answer with its question."""
    asked = [(name.replace("_", " ").capitalize(), getattr(record.signup, name)) for name in Signup.model_fields]
    return tuple(
        f"{question}: {text_of(answer)}"
        for question, answer in (*asked, *record.custom.items())
        if not is_empty(answer)
    )


_COMPUTED: Mapping[str, tuple[Kind, Reader]] = {
    "last_event.name": (Kind("text"), _event_name),
    "signup.answers": (Kind("text", many=True), _answers),
}
"""Paths that no record holds: what they give is worked out from others."""


def _with_computed(kinds: dict[str, Kind]) -> dict[str, Kind]:
    """*kinds*, each computed path after the last of its table."""
    for path, (kind, _) in _COMPUTED.items():
        table = path.partition(".")[0] + "."
        last = max(place for place, name in enumerate(kinds) if name.startswith(table))
        kinds = dict([*list(kinds.items())[: last + 1], (path, kind), *list(kinds.items())[last + 1 :]])
    return kinds


PATHS: Mapping[str, Kind] = _with_computed(_kinds_of(AffiliateRecord))
"""Every path of the record and what it holds; ``custom.*`` means any key under ``custom``."""


class UnknownPath(ValueError):
    """A path that no record has; the text says what was probably meant."""


class Paths:
    """The paths that one mapping file may name.

    Args:
        vocabularies: further closed vocabularies, by path (the configured sources' names).
        for_each: the list whose entries ``item.`` reaches into, or None.
    """

    def __init__(self, vocabularies: Mapping[str, Sequence[str]], for_each: str | None = None) -> None:
        self._known = {
            path: replace(kind, words=tuple(vocabularies[path])) if vocabularies.get(path) else kind
            for path, kind in PATHS.items()
        }
        self._for_each = for_each
        self._items: dict[str, Kind] = {}
        if for_each is not None:
            of_list = self._known[for_each]
            if of_list.holds == "table":
                start = len(for_each) + 1
                self._items = {
                    "item." + path[start:]: replace(kind, many=False)
                    for path, kind in self._known.items()
                    if path.startswith(for_each + ".")
                }
            else:
                self._items = {"item": replace(of_list, many=False)}

    def kind(self, path: str, *, table: bool = False) -> Kind:
        """What *path* holds (``campaigns[].name`` is ``campaigns.name``: a list of the campaigns' names).

        Args:
            table: a table (``users``) will do, too: it is only asked whether there is one.

        Raises:
            UnknownPath: nothing, or a table.
        """
        plain = path.replace("[]", "")
        if plain == "item" or plain.startswith("item."):
            return self._item_kind(path, plain)
        kind = self._known.get(plain)
        if kind is None and plain.startswith("custom.") and len(plain) > len("custom."):
            return Kind("any")
        if kind is None or plain.endswith(".*"):
            raise UnknownPath(f'no record has "{path}"' + (self._other_tools(path) or self.guess(plain)))
        if kind.holds == "table" and not table:
            raise UnknownPath(f'"{path}" has parts: {", ".join(self._parts(plain))}; name one of them')
        return kind

    def _other_tools(self, path: str) -> str:
        """What a person means who writes a path as other tools want it, or no path at all; "" for a slip."""
        if "=" in path and (condition := re.fullmatch(r"([\w.]+)\s*(?:!=|==|<>|=)\s*['\"]?([\w ]+?)['\"]?", path)):
            word = f'"{condition[2]}"'
            return f"; a condition is: {condition[1]} = {word if '!' not in path else f'{{ not = {word} }}'}"
        plain = re.sub(r"^\$\.|\[\d+\]", "", path)  # as JSON is reached into elsewhere
        while plain not in self._known and "." in plain:
            plain = plain.partition(".")[2]
        if plain != path and plain in self._known:
            return f'; did you mean "{plain}"?'
        if braces := re.fullmatch(r"\s*(?:\{\{|\$\{|\{|<)\s*([\w.\[\]]+)\s*(?:\}\}|\}|>)\s*", path):
            return f'; write the path without braces: "{braces[1]}"'
        if sum_ := re.fullmatch(r"\s*([a-z][\w.]*)\s*([-+*/])\s*([a-z][\w.]*|[0-9.]+)\s*", path):
            one, sign, other = sum_.groups()
            held = {self._known[name].holds for name in (one, other) if name in self._known}
            if one in self._known and held <= {"integer", "decimal"} and (other in self._known or other[0].isdigit()):
                step = {"-": "minus", "+": "plus", "*": "times", "/": "divided_by"}[sign]
                operand = other if other[0].isdigit() else f'"{other}"'
                return f'; to calculate: {{ from = "{one}", then = [{{ {step} = {operand} }}] }}'
        named = list(dict.fromkeys(word for word in re.findall(r"[a-z][\w.]*", path) if word in self._known))
        if len(named) > 1 or (named and re.search(r"[+&=(]", path)):
            parts = " ".join(f"{{{word}}}" for word in named)
            return f'; to join values: {{ template = "{parts}" }}'
        if re.search(r"[A-Z\s]", path) and did_you_mean(path, self._known) is None:
            return f'; a fixed text is {{ value = "{path}" }}'
        return ""

    def _item_kind(self, path: str, plain: str) -> Kind:
        if self._for_each is None:
            raise UnknownPath(f'"{path}" needs for_each = "users" (or another list) at the top of the file')
        kind = self._items.get(plain)
        if kind is None:
            guess = did_you_mean(plain, self._items)
            right = f'did you mean "{guess}"?' if guess else f"right would be: {', '.join(self._items)}"
            raise UnknownPath(f'no entry of {self._for_each} has "{path}"; {right}')
        return kind

    def reader(self, path: str) -> Reader:
        """How to read *path*, which ``kind`` has accepted."""
        plain = path.replace("[]", "")
        if plain == "item":
            return lambda _, item: item
        if plain.startswith("item."):
            of_item = attrgetter(plain[len("item.") :])
            return lambda _, item: of_item(item)
        if plain in _COMPUTED:
            return _COMPUTED[plain][1]
        if plain.startswith("custom."):
            key = plain[len("custom.") :]
            return lambda record, _: record.custom.get(key)
        head, _, tail = plain.partition(".")
        if tail and PATHS[head].many:
            entries, part = attrgetter(head), attrgetter(tail)
            return lambda record, _: tuple(
                value for value in map(part, entries(record)) if value is not None and value != ""
            )
        of_record = attrgetter(plain)
        return lambda record, _: of_record(record)

    def lists(self) -> list[str]:
        """The paths that ``for_each`` can name."""
        return [path for path, kind in self._known.items() if kind.many and "." not in path]

    def guess(self, path: str) -> str:
        """The end of a message about an unknown path: what was probably meant, or what would be right."""
        choices = [name for name, kind in self._known.items() if kind.holds != "table" and not name.endswith(".*")]
        choices.sort(key=lambda name: self._known[name].many)  # one value is meant rather than a list
        asked = path.casefold()
        same = next((name for name in choices if name == asked), None)  # "Email" was meant to be "email",
        whole_end = next((name for name in choices if name.endswith(f".{asked}")), None)  # "leads" to be "stats.leads"
        guess = same or whole_end or did_you_mean(path, [*choices, *self._items])
        if guess is not None:
            return f'; did you mean "{guess}"?'
        head = path.partition(".")[0]
        near = head if head in self._known else did_you_mean(head, [name for name in self._known if "." not in name])
        if near is not None and "." in path and self._known[near].holds == "table":
            return f"; right would be: {', '.join(self._parts(near))}"
        names = [name + ".…" * (kind.holds == "table") for name, kind in self._known.items() if "." not in name]
        return f"; it has: {', '.join(names)}"

    def _parts(self, path: str) -> list[str]:
        start = path + "."
        return [name for name, kind in self._known.items() if name.startswith(start) and kind.holds != "table"]
