"""The steps of ``then``: small changes to a value, one after the other. Text steps take each entry of a list."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from connector.core.keys import text_of
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
"""See arithmetic.py."""


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
