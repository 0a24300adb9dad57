"""What a model found wrong in a TOML document, in plain words, each with its line and column."""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from connector.core.errors import Problem
from connector.core.toml import Document, Path, Place
from connector.core.words import did_you_mean, unknown_word

# ---------------------------------------------------------------- what pydantic says, in plain words

_WANTED = {
    "string_type": 'text in quotes, like "…"',
    "path_type": 'text in quotes, like "…"',
    "int_type": "a whole number, like 10",
    "int_parsing": "a whole number, like 10",
    "int_from_float": "a whole number, like 10",
    "float_type": "a number, like 1.5",
    "float_parsing": "a number, like 1.5",
    "decimal_type": "a number, like 1.5",
    "decimal_parsing": "a number, like 1.5",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "datetime_type": "a date, like 2026-11-20",
    "date_type": "a date, like 2026-11-20",
    "list_type": 'a list, like ["…", "…"]',
    "tuple_type": 'a list, like ["…", "…"]',
    "dict_type": "a table, like { … = … }",
    "mapping_type": "a table, like { … = … }",
    "model_type": "a table, like { … = … }",
    "model_attributes_type": "a table, like { … = … }",
}


def problems_of(
    errors: Sequence[ErrorDetails], document: Document, model: type[BaseModel], *, path: Path = ()
) -> list[Problem]:
    """What *errors* say, as problems with their places, in file order, one for each place.

    Args:
        errors: from validating the data at *path* of *document* against *model*.
        document: the file that the data is from.
        model: its fields (by alias where they have one) are the right words that are offered for an unknown key. A
            field's ``title`` is the noun in ``"dat" is not a type``.
        path: where in the document the validated data is.

    Messages quote keys, and values of closed vocabularies only: what a secret could be is never repeated.
    """
    found: dict[tuple[Place, str], Problem] = {}
    data = _at(document.data, path)
    located = [(details, _existing(data, details)) for details in errors]
    for details, inner in located:
        if details["type"] in _WANTED and any(
            other[: len(inner)] == inner and (other != inner or more["type"] not in _WANTED) for more, other in located
        ):
            continue  # another branch of a union got further: that is where the mistake is
        kind, text, at = _plain_words(details, model, inner)
        problem = document.problem(path + inner, text, at=at)
        place = Place(problem.line, problem.column)
        # Pydantic reports one mistake in a union for every branch: the first is enough.
        found.setdefault((place, text if kind in ("extra_forbidden", "missing") else ""), problem)
    return sorted(found.values())


def _plain_words(details: Any, model: type[BaseModel], inner: Path) -> tuple[str, str, Literal["value", "key"]]:
    kind: str = details["type"]
    name = str(inner[-1]) if inner else ""
    if kind == "extra_forbidden":
        known = _known_keys(name, keys_at(model, inner[:-1]))
        if inner[:1] == ("examples",) and "did you mean" not in known:
            known += "; a column belongs under [fields], above the examples"
        return kind, f'unknown key "{name}"{known}', "key"
    if kind == "missing":
        return kind, f'"{name}" is missing{_example(model, inner)}', "key"
    if kind in ("literal_error", "enum"):
        words = re.findall(r"'([^']*)'", str(details["ctx"]["expected"]))
        given = details["input"]
        if not words:
            return kind, f"{_subject(name)} wants {str(details['ctx']['expected']).lower()}", "value"
        if not isinstance(given, str):
            return kind, f"{_subject(name)} is one of: {_listed(words)}", "value"
        title = _title_at(model, inner)
        if title == "type" and (meant := _TYPES_ELSEWHERE.get(given.casefold())) in words:
            return kind, f'"{given}" is not a type; did you mean "{meant}"?', "value"
        noun = f"{_article(title)} {title}" if title else f"one of: {_listed(words)}"
        end = unknown_word(given, words) if title else unknown_word(given, words).partition("; right")[0]
        return kind, f'"{given}" is not {noun}{end}', "value"
    if kind in _WANTED:
        wanted = _in_brackets(kind, details.get("input"), inner) or _WANTED[kind]
        return kind, f"{_subject(name)} wants {wanted}", "value"
    message = str(details["msg"])
    if kind in ("too_short", "too_long"):
        least, most = details["ctx"].get("min_length"), details["ctx"].get("max_length")
        bound = f"at least {least}" if kind == "too_short" else f"at most {most}"
        return kind, f"{_subject(name)} wants {bound} {'entry' if (least or most) == 1 else 'entries'}", "value"
    if kind == "string_too_short" and not details["input"]:
        return kind, f"{_subject(name)} is empty", "value"
    if kind == "value_error":
        message = str(details["ctx"]["error"])
        return kind, f"{_subject(name)} {message}" if message.startswith(_VERBS) else message, "value"
    message = message.replace("Input should be", "must be").replace("Value should", "must")
    return kind, f"{_subject(name)} {message[:1].lower()}{message[1:]}", "value"


_VERBS = ("wants ", "is ", "has ")  # a message that begins with one is about the key that it is put before


def _listed(words: Sequence[str]) -> str:
    """Words in a row; in quotes when one of them is a sign that would be lost among the commas."""
    return ", ".join(words if all(word[:1].isalnum() for word in words) else [f'"{word}"' for word in words])


_MEANT: Mapping[str, str] = {
    "if": "when", "filter": "when", "else": "default", "formula": "template", "text": "value", "constant": "value",
    "fixed": "value", "lookup": "map", "source": "from", "path": "from", "service_account_file": "credentials_file",
    "service_account": "credentials_file", "credentials_path": "credentials_file", "api_token": "access_token",
}  # fmt: skip
"""Keys as other tools call them, and ours."""
_TYPES_ELSEWHERE: Mapping[str, str] = {
    "string": "text", "str": "text", "varchar": "text", "currency": "money", "price": "money", "bool": "boolean",
    "int": "integer", "float": "number", "decimal": "number", "link": "url", "mail": "email", "timestamp": "datetime",
    "time": "datetime", "array": "list",
}  # fmt: skip
"""Types as other tools call them, and ours."""


def _in_brackets(kind: str, given: object, path: Path) -> str:
    """What is wanted where a table's header has a bracket or a name too many or too few; "" where that is not it."""
    header = ".".join(map(str, path))
    if kind in ("list_type", "tuple_type") and isinstance(given, dict):
        return f"two brackets: [[{header}]]"
    if kind == "dict_type" and isinstance(given, list) and given and isinstance(given[0], dict):
        return f"one bracket: [{header}]"
    if kind == "dict_type" and len(path) == 2:
        return f"a header with a name above it, like [{path[0]}.NAME]"
    return ""


def _known_keys(name: str, known: Sequence[str]) -> str:
    other = _MEANT.get(name.casefold())
    guess = other if other in known else did_you_mean(name, known)
    listed = f"; right would be: {', '.join(known)}" if known else ""
    return f'; did you mean "{guess}"?' + (f" ({', '.join(known)})" if len(known) > 1 else "") if guess else listed


def _subject(name: str) -> str:
    return "this entry" if name.isdigit() or not name else f'"{name}"'


def _article(noun: str) -> str:
    return "an" if noun[:1] in "aeiou" else "a"


def keys_at(model: type[BaseModel], path: Path) -> list[str]:
    """The keys that the model allows in the table at *path* under it, in the model's order."""
    return list(dict.fromkeys(key for inner in _models_at(model, path) for key in _fields(inner)))


def _example(model: type[BaseModel], path: Path) -> str:
    """What to add where the key at *path* is missing: a table, or a text; "" where it is something else."""
    name = str(path[-1])
    for inner in _models_at(model, path[:-1]):
        field = _fields(inner).get(name)
        kinds = list(_unwrapped([field.annotation])) if field is not None else []
        if str in kinds:
            return f'; add: {name} = "…"'
        if any(kind in (dict, Mapping) or get_origin(kind) in (dict, Mapping) for kind in kinds) or (
            len(path) == 1 and _models_at(inner, (name,))
        ):
            return f"; add: [{name}]"
    return ""


def _title_at(model: type[BaseModel], path: Path) -> str | None:
    if path and isinstance(path[-1], int):  # an entry of a list is called what the list is called
        path = path[:-1]
    if not path:
        return None
    for inner in _models_at(model, path[:-1]):
        field = _fields(inner).get(str(path[-1]))
        if field is not None and field.title:
            return str(field.title)
    return None


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _models_at(model: type[BaseModel], path: Path) -> list[type[BaseModel]]:
    annotations: list[Any] = [model]
    for step in path:
        following: list[Any] = []
        for kind in _unwrapped(annotations):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                field = _fields(kind).get(str(step))
                if field is not None:
                    following.append(field.annotation)
            else:
                inner = [argument for argument in get_args(kind) if argument is not Ellipsis]
                following += inner[-1:] if get_origin(kind) in (dict, Mapping) else inner
        annotations = following
    return [kind for kind in _unwrapped(annotations) if isinstance(kind, type) and issubclass(kind, BaseModel)]


def _unwrapped(annotations: Iterable[Any]) -> Iterator[Any]:
    for annotation in annotations:
        origin = get_origin(annotation)
        if origin in (Union, types.UnionType):
            yield from _unwrapped(get_args(annotation))
        elif origin is not None and hasattr(annotation, "__metadata__"):
            yield from _unwrapped([get_args(annotation)[0]])
        else:
            yield annotation


def _at(data: Any, path: Path) -> Any:
    for step in path:
        data = data[step]
    return data


def _existing(data: Any, details: Any) -> Path:
    """The error's location without the names of union branches and validators that pydantic puts into it."""
    path: list[str | int] = []
    location: Sequence[str | int] = details["loc"]
    for place, step in enumerate(location):
        inside = (isinstance(data, dict) and step in data) or (
            isinstance(data, list) and isinstance(step, int) and step < len(data)
        )
        if inside:
            data = data[step]
            path.append(step)
        elif place == len(location) - 1 and details["type"] == "missing":
            path.append(step)
    return tuple(path)
