"""TOML text into data that knows the line and column of every key and value; mistakes in plain words.

Serves ``config.toml`` and the mapping files, and knows neither: text comes in, nothing is opened here.

    document = parse(text, file="config.toml")                 # ConfigError: one Problem, with its place
    document.data                                              # what tomllib reads
    document.problem(("server", "port"), "…")                  # a Problem at that value
    document.problem(("server", "prot"), "…", at="key")        # a Problem at that key
    try:
        Options.model_validate(document.data["server"])
    except ValidationError as error:
        problems += problems_of(error, document, Options, path=("server",))
    unknown_word("prot", ["host", "port"])                     # '; did you mean "port"?'
"""

from __future__ import annotations

import re
import tomllib
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from msgspec import Struct
from pydantic import BaseModel, ValidationError

from connector.core.errors import ConfigError, Problem

if TYPE_CHECKING:
    from tree_sitter import Node

Path = tuple[str | int, ...]
"""The way to a key or value: names of tables and keys, and 0-based numbers in arrays: ``("examples", 0, "row")``."""


class Place(Struct, frozen=True, order=True):
    """Where something stands: 1-based line and column, the column in characters."""

    line: int
    column: int


class Document(Struct, frozen=True, dict=True):  # a dict for the places, which are found when asked for
    """A TOML file that was read.

    Args:
        file: the path as the operator knows it; only for messages.
        text: what was read, without a byte order mark.
        data: the values, as tomllib gives them.
    """

    file: str
    text: str
    data: dict[str, Any]

    @cached_property
    def _places(self) -> tuple[dict[Path, Place], dict[Path, Place]]:
        # Only when asked for: a file without a mistake need not be parsed twice.
        return _positions(self.text)

    def key_place(self, path: Path) -> Place:
        """Where the key at *path* stands; of an entry of an array, where the entry stands. See ``value_place``."""
        keys, values = self._places
        return _nearest(path, keys, values)

    def value_place(self, path: Path) -> Place:
        """Where the value at *path* begins (its opening quote or bracket); of a ``[table]``, where its name stands.

        What is not in the file has the place of the nearest thing around it: line 1, column 1 at the outermost.
        """
        keys, values = self._places
        return _nearest(path, values, keys)

    def problem(self, path: Path, text: str, *, at: Literal["value", "key"] = "value") -> Problem:
        """A mistake at the value (or key) at *path*."""
        place = self.value_place(path) if at == "value" else self.key_place(path)
        return Problem(self.file, place.line, place.column, text)


def parse(text: str, *, file: str) -> Document:
    """Read *text*.

    Raises:
        ConfigError: one Problem, where the text stops being TOML.
    """
    text = text.removeprefix("\ufeff")  # editors on Windows begin a file with a byte order mark
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax_problem(str(error), text, file)]) from None
    except RecursionError:
        raise ConfigError([Problem(file, 1, 1, "not TOML that a person wrote: lists or tables lie too deep")]) from None
    return Document(file, text, data)


# ---------------------------------------------------------------- did you mean


def did_you_mean(word: str, choices: Iterable[str]) -> str | None:
    """The choice that *word* was most probably meant to be, or None when nothing is near.

    Case, spaces and hyphens don't count; of equally near choices the first wins.
    """
    # Imported here: 60 ms that a file without a mistake need not wait for.
    from rapidfuzz.distance import OSA  # OSA guesses better than difflib: for "form" it offers "from", not "format"

    asked = _plain(word)
    best: str | None = None
    best_distance = 1 + max(1, len(asked) // 3)
    candidates = list(choices)
    for choice in candidates:
        plain = _plain(choice)
        distance = OSA.distance(asked, plain)
        if distance < best_distance and distance < len(plain):
            best, best_distance = choice, distance
    if best is None and len(asked) >= 4:
        for choice in candidates:
            plain = _plain(choice)
            # "created" was meant to be "created_at", "company_name" to be "company", "cash" … the last part of a path
            if plain.startswith(asked) or (len(plain) >= 4 and asked.startswith(plain)) or plain.endswith("." + asked):
                return choice
    return best


def unknown_word(word: str, choices: Iterable[str]) -> str:
    """The end of a message about an unknown *word*: ``; did you mean "port"?``, or the list of what is right."""
    known = list(choices)
    guess = did_you_mean(word, known)
    if guess is not None:
        return f'; did you mean "{guess}"?'
    return f"; right would be: {', '.join(known)}" if known else ""


def _plain(word: str) -> str:
    return word.casefold().replace("-", "_").replace(" ", "_")


# ---------------------------------------------------------------- what pydantic says, in plain words

_wanted = {
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
    error: ValidationError, document: Document, model: type[BaseModel], *, path: Path = ()
) -> list[Problem]:
    """What *error* says, as problems with their places, in file order, one for each place.

    Args:
        error: from validating the data at *path* of *document* against *model*.
        document: where the data stands.
        model: its fields (by alias where they have one) are the right words that are offered for an unknown key. A
            field's ``title`` is the noun in ``"dat" is not a type``.
        path: where in the document the validated data lies.

    Messages quote keys, and values of closed vocabularies only: what a secret could be is never repeated.
    """
    found: dict[tuple[Place, str], Problem] = {}
    data = _at(document.data, path)
    located = [(details, _existing(data, details)) for details in error.errors(include_url=False)]
    for details, inner in located:
        if details["type"] in _wanted and any(
            other[: len(inner)] == inner and (other != inner or more["type"] not in _wanted) for more, other in located
        ):
            continue  # another branch of a union got further: that is where the mistake is
        kind, text, at = _plain_words(details, model, inner)
        problem = document.problem(path + inner, text, at=at)
        place = Place(problem.line, problem.column)
        # One mistake in a union is told once for every branch: the first is enough.
        found.setdefault((place, text if kind in ("extra_forbidden", "missing") else ""), problem)
    return sorted(found.values())


def _plain_words(details: Any, model: type[BaseModel], inner: Path) -> tuple[str, str, Literal["value", "key"]]:
    kind: str = details["type"]
    name = str(inner[-1]) if inner else ""
    if kind == "extra_forbidden":
        return kind, f'unknown key "{name}"' + _known_keys(name, keys_at(model, inner[:-1])), "key"
    if kind == "missing":
        return kind, f'"{name}" is missing', "key"
    if kind in ("literal_error", "enum"):
        words = re.findall(r"'([^']*)'", str(details["ctx"]["expected"]))
        given = details["input"]
        if not isinstance(given, str):
            return kind, f"{_subject(name)} is one of: {_listed(words)}", "value"
        title = _title_at(model, inner)
        noun = f"{_article(title)} {title}" if title else f"one of: {_listed(words)}"
        end = unknown_word(given, words) if title else unknown_word(given, words).partition("; right")[0]
        return kind, f'"{given}" is not {noun}{end}', "value"
    if kind in _wanted:
        return kind, f"{_subject(name)} wants {_wanted[kind]}", "value"
    message = str(details["msg"])
    if kind in ("too_short", "too_long"):
        least, most = details["ctx"].get("min_length"), details["ctx"].get("max_length")
        bound = f"at least {least}" if kind == "too_short" else f"at most {most}"
        return kind, f"{_subject(name)} wants {bound} {'entry' if (least or most) == 1 else 'entries'}", "value"
    if kind == "string_too_short" and not details["input"]:
        return kind, f"{_subject(name)} is empty", "value"
    if kind == "value_error":
        message = str(details["ctx"]["error"])
        return kind, f"{_subject(name)} {message}" if message.startswith(_verbs) else message, "value"
    message = message.replace("Input should be", "must be").replace("Value should", "must")
    return kind, f"{_subject(name)} {message[:1].lower()}{message[1:]}", "value"


_verbs = ("wants ", "is ", "has ")  # a message that begins with one is about the key that it is put before


def _listed(words: Sequence[str]) -> str:
    """Words in a row; in quotes when one of them is a sign that would be lost among the commas."""
    return ", ".join(words if all(word[:1].isalnum() for word in words) else [f'"{word}"' for word in words])


def _known_keys(name: str, known: Sequence[str]) -> str:
    guess = did_you_mean(name, known)
    listed = f"; right would be: {', '.join(known)}" if known else ""
    return f'; did you mean "{guess}"?' + (f" ({', '.join(known)})" if len(known) > 1 else "") if guess else listed


def _subject(name: str) -> str:
    return "this entry" if name.isdigit() or not name else f'"{name}"'


def _article(noun: str) -> str:
    return "an" if noun[:1] in "aeiou" else "a"


def keys_at(model: type[BaseModel], path: Path) -> list[str]:
    """The keys that the model allows in the table at *path* under it, in the model's order."""
    return list(dict.fromkeys(key for inner in _models_at(model, path) for key in _fields(inner)))


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


# ---------------------------------------------------------------- positions


def _tree(text: str) -> Node:
    # Imported here: 35 ms that a file without a mistake need not wait for.
    import tree_sitter_toml
    from tree_sitter import Language, Parser

    return Parser(Language(tree_sitter_toml.language())).parse(text.encode("utf-8")).root_node


def _nearest(path: Path, first: Mapping[Path, Place], second: Mapping[Path, Place]) -> Place:
    """Where *path* stands by *first*, else by *second*; else where the nearest thing around it does."""
    while path:
        place = first.get(path) or second.get(path)
        if place is not None:
            return place
        path = path[:-1]
    return Place(1, 1)


def _positions(text: str) -> tuple[dict[Path, Place], dict[Path, Place]]:
    """Where the keys stand and where the values begin, by path."""
    walk = _Walk(text)
    walk.document(_tree(text))
    return walk.keys, walk.values


class _Walk:
    """One pass through the syntax tree that names every key and value by its path in the data."""

    def __init__(self, text: str) -> None:
        # tree-sitter counts rows by "\n" and columns in bytes.
        self._lines = text.encode("utf-8").split(b"\n")
        self.keys: dict[Path, Place] = {}
        self.values: dict[Path, Place] = {}
        self.twice: list[tuple[str, Place, Place]] = []
        """Keys that are set twice: name, the second place, the first."""
        self._entries: dict[Path, int] = {}
        self._headers: set[Path] = set()

    def place(self, node: Node) -> Place:
        row, column = node.start_point
        line = self._lines[row] if row < len(self._lines) else b""
        return Place(row + 1, len(line[:column].decode("utf-8", "replace")) + 1)

    def document(self, root: Node) -> None:
        for node in root.children:
            if node.type == "pair":
                self._pair(node, ())
            elif node.type in ("table", "table_array_element"):
                self._table(node)

    def _table(self, node: Node) -> None:
        header = next((child for child in node.children if child.type in _key_types), None)
        if header is None:
            return
        path: Path = ()
        parts = self._names(header)
        for number, (name, place) in enumerate(parts):
            path += (name,)
            self.keys.setdefault(path, place)
            if number < len(parts) - 1 and path in self._entries:
                path += (self._entries[path],)  # [examples.row] belongs to the latest [[examples]]
        if node.type == "table_array_element":
            self._entries[path] = self._entries.get(path, -1) + 1
            path += (self._entries[path],)
        elif path in self._headers:
            self.twice.append((".".join(str(step) for step in path), parts[-1][1], self.keys[path]))
        else:
            self._headers.add(path)
            self.keys[path] = parts[-1][1]
        self.values.setdefault(path, parts[-1][1])
        for child in node.children:
            if child.type == "pair":
                self._pair(child, path)

    def _pair(self, node: Node, path: Path) -> None:
        named = [child for child in node.children if child.is_named and child.type != "comment"]
        if not named or named[0].type not in _key_types:
            return
        for name, place in self._names(named[0]):
            path += (name,)
            self.keys.setdefault(path, place)
        if len(named) > 1:
            if path in self.values:
                self.twice.append((str(path[-1]), self.place(named[0]), self.keys[path]))
            self._value(named[1], path)

    def _value(self, node: Node, path: Path) -> None:
        self.values.setdefault(path, self.place(node))
        if node.type == "inline_table":
            for child in node.children:
                if child.type == "pair":
                    self._pair(child, path)
        elif node.type == "array":
            entries = [child for child in node.children if child.is_named and child.type != "comment"]
            for number, child in enumerate(entries):
                self._value(child, (*path, number))

    def _names(self, node: Node) -> list[tuple[str, Place]]:
        if node.type == "dotted_key":
            return [name for child in node.children if child.type in _key_types for name in self._names(child)]
        written = (node.text or b"").decode("utf-8", "replace")
        if node.type == "quoted_key":
            try:
                written = next(iter(tomllib.loads(f"{written} = 0")))
            except tomllib.TOMLDecodeError:
                written = written.strip("\"'")
        return [(written, self.place(node))]


_key_types = ("bare_key", "quoted_key", "dotted_key")


# ---------------------------------------------------------------- syntax errors

_advice = {
    "Invalid value": 'a value is missing here, or text without quotes: write "…"',
    "Invalid statement": "this is not a line of TOML; a line is: name = value",
    "Unterminated string": "a quote is opened and never closed",
    "Unclosed array": "a [ is opened and never closed",
    "Unclosed inline table": "a { is opened and never closed",
    "Expected newline or end of document after a statement": "the line should end here",
    "Expected '=' after a key in a key/value pair": 'an = is missing; a name with spaces is written in quotes: "…" = …',
    "Invalid initial character for a key part": 'a name is missing here, or has signs that need quotes: "…" = …',
    "Expected ']' at the end of a table declaration": "a ] is missing",
    "Expected ']]' at the end of an array declaration": "a ]] is missing",
    "Illegal character '\\n'": "a quote is opened on this line and never closed",
    "Unescaped '\\' in a string": "write \\\\ for one backslash, or use '…' instead of \"…\"",
}


_slanted_quotes = "\u201c\u201d\u201e\u201f\u2018\u2019\u201a\u201b\u00ab\u00bb"


def _syntax_problem(message: str, text: str, file: str) -> Problem:
    plain, line, column = message, 0, 0
    found = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", message, re.DOTALL)
    if found:
        plain = found[1]
        if found[2]:
            line, column = int(found[2]), int(found[3])
    walk = _Walk(text)
    root = _tree(text)
    walk.document(root)
    if walk.twice and any(word in plain.lower() for word in ("overwrite", "twice", "mutate", "duplicate")):
        name, place, first = walk.twice[0]
        return Problem(file, place.line, place.column, f'"{name}" is set twice; first in line {first.line}')
    if not line:
        broken = next(_broken(root), None)
        place = walk.place(broken) if broken is not None else Place(text.count("\n") + 1, 1)
        line, column = place.line, place.column
    lines = text.split("\n")
    there = lines[line - 1].rstrip("\r")[column - 1 :] if line <= len(lines) else ""
    if there and there[0] in _slanted_quotes:  # a word processor makes them
        plain = 'quotes are straight here: write "…"'
    elif plain.startswith("Illegal character") and not there:
        plain = "Illegal character '\\n'"
    return Problem(file, line, column, f"not TOML: {_advice.get(plain, plain[:1].lower() + plain[1:])}")


def _broken(node: Node) -> Iterator[Node]:
    if node.is_error or node.is_missing:
        yield node
    for child in node.children:
        if child.has_error or child.is_missing:
            yield from _broken(child)
