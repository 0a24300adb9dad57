"""TOML documents with the line and column of every key and value."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from connector.core.errors import ConfigError, Problem

if TYPE_CHECKING:
    from tree_sitter import Node

Path = tuple[str | int, ...]
"""The way to a key or value: names of tables and keys, and 0-based numbers in arrays: ``("examples", 0, "row")``."""


class Place(Struct, frozen=True, order=True):
    """A place in a file: 1-based line and column, the column in characters."""

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
        # Only when asked for: a file without a mistake is parsed once only.
        return _positions(self.text)

    def key_place(self, path: Path) -> Place:
        """Where the key at *path* is; of an entry of an array, where the entry is. See ``value_place``."""
        keys, values = self._places
        return _nearest(path, keys, values)

    def value_place(self, path: Path) -> Place:
        """Where the value at *path* begins (its opening quote or bracket); of a ``[table]``, where its name is.

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
        raise ConfigError(
            [Problem(file, 1, 1, "not TOML that a person wrote: lists or tables are nested too deeply")]
        ) from None
    document = Document(file, text, data)
    broken = [
        document.problem(path, _BROKEN_PATH_ADVICE) for path, value in _texts(data, ()) if _BROKEN_PATH.match(value)
    ]
    if broken:
        raise ConfigError(broken)
    return document


# "C:\temp\new" has a tab and a line break in it, and is valid TOML.
_BROKEN_PATH = re.compile(r"[A-Za-z]:[\t\n\r\f\x08\x1b]")
_BROKEN_PATH_ADVICE = (
    "a path of Windows, in which \\t, \\n, \\r, \\f, \\b or \\e is one sign; write / or \\\\, "
    "or the path in '…' as it is"
)


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, (*path, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _texts(inner, (*path, number))


# ---------------------------------------------------------------- positions


def _tree(text: str) -> Node:
    # Imported here: 35 ms that a file without a mistake need not wait for.
    import tree_sitter_toml
    from tree_sitter import Language, Parser

    return Parser(Language(tree_sitter_toml.language())).parse(text.encode("utf-8")).root_node


def _nearest(path: Path, first: Mapping[Path, Place], second: Mapping[Path, Place]) -> Place:
    """Where *path* is by *first*, else by *second*; else where the nearest thing around it is."""
    while path:
        place = first.get(path) or second.get(path)
        if place is not None:
            return place
        path = path[:-1]
    return Place(1, 1)


def _positions(text: str) -> tuple[dict[Path, Place], dict[Path, Place]]:
    """Where the keys are and where the values begin, by path."""
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
        self.duplicates: list[tuple[str, Place, Place]] = []
        """Keys that are set again: name, the second place, the first."""
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
        header = next((child for child in node.children if child.type in _KEY_TYPES), None)
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
            self.duplicates.append((".".join(str(step) for step in path), parts[-1][1], self.keys[path]))
        else:
            self._headers.add(path)
            self.keys[path] = parts[-1][1]
        self.values.setdefault(path, parts[-1][1])
        for child in node.children:
            if child.type == "pair":
                self._pair(child, path)

    def _pair(self, node: Node, path: Path) -> None:
        named = [child for child in node.children if child.is_named and child.type != "comment"]
        if not named or named[0].type not in _KEY_TYPES:
            return
        for name, place in self._names(named[0]):
            path += (name,)
            self.keys.setdefault(path, place)
        if len(named) > 1:
            if path in self.values:
                self.duplicates.append((str(path[-1]), self.place(named[0]), self.keys[path]))
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
            return [name for child in node.children if child.type in _KEY_TYPES for name in self._names(child)]
        written = (node.text or b"").decode("utf-8", "replace")
        if node.type == "quoted_key":
            try:
                written = next(iter(tomllib.loads(f"{written} = 0")))
            except tomllib.TOMLDecodeError:
                written = written.strip("\"'")
        return [(written, self.place(node))]


_KEY_TYPES = ("bare_key", "quoted_key", "dotted_key")


# ---------------------------------------------------------------- syntax errors

_ADVICE = {
    "Invalid value": 'a value is missing here, or text without quotes: write "…"',
    "Invalid statement": "this is not a line of TOML; a line is: name = value",
    "Unterminated string": "a quote is opened and never closed",
    "Unclosed array": "a [ is opened and never closed",
    "Unclosed inline table": "a { is opened and never closed",
    "Expected newline or end of document after a statement": "the line should end here",
    "Expected '=' after a key in a key/value pair": (
        'an = is missing; a name with blanks or letters like ö is written in quotes: "…" = …'
    ),
    "Invalid initial character for a key part": 'a name is missing here, or has signs that need quotes: "…" = …',
    "Expected ']' at the end of a table declaration": "a ] is missing",
    "Expected ']]' at the end of an array declaration": "a ]] is missing",
    "Illegal character '\\n'": "a quote is opened on this line and never closed",
    "Unescaped '\\' in a string": "write \\\\ for one backslash, or use '…' instead of \"…\"",
}


_SLANTED_QUOTES = "\u201c\u201d\u201e\u201f\u2018\u2019\u201a\u201b\u00ab\u00bb"


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
    if walk.duplicates and any(word in plain.lower() for word in ("overwrite", "twice", "mutate", "duplicate")):
        name, place, first = walk.duplicates[0]
        return Problem(file, place.line, place.column, f'"{name}" is set twice; first in line {first.line}')
    if not line:
        broken = next(_broken(root), None)
        place = walk.place(broken) if broken is not None else Place(text.count("\n") + 1, 1)
        line, column = place.line, place.column
    lines = text.split("\n")
    if line <= len(lines) and (moved := _where_it_begins(plain, lines[line - 1], column)) is not None:
        column = moved
    there = lines[line - 1].rstrip("\r")[column - 1 :] if line <= len(lines) else ""
    before = "\n".join([*lines[: line - 1], lines[line - 1][: column - 1]]) if line <= len(lines) else text
    return Problem(file, line, column, f"not TOML: {_in_words(plain, before, there)}")


def _where_it_begins(plain: str, line: str, column: int) -> int | None:
    """Where a person looks: the backslash, not a sign behind it; the opening quote, not the end of the line."""
    if plain in ("Invalid hex value", "Unescaped '\\' in a string"):
        back = line.rfind("\\", 0, column)
        return back + 1 if back >= 0 else None
    if plain.startswith("Illegal character") and column > len(line.rstrip("\r")):
        opened = re.sub(_TOKEN, lambda found: " " * len(found[0]), line)
        quote = max(opened.rfind('"'), opened.rfind("'"))
        return quote + 1 if quote >= 0 else None
    return None


def _in_words(plain: str, before: str, there: str) -> str:
    """What is wrong and what would be right.

    Args:
        plain: tomllib's words.
        before: the text up to the place.
        there: the rest of the line, from the place on.
    """
    ends_here = not there.strip() or there.lstrip().startswith("#")
    if there[:1] in _SLANTED_QUOTES and there:  # a word processor makes them
        return 'quotes are straight here: write "…"'
    if plain in ("Invalid hex value", "Unescaped '\\' in a string"):
        if _DRIVE_OR_SERVER.search(before.rpartition("\n")[2] + there[:1]):
            return _PATH_ADVICE
        return _ADVICE["Unescaped '\\' in a string"]
    around = f"{before.rpartition(chr(10))[2].rstrip()[-1:]}{_HERE}{there}"
    if slip := next((said for sign, said in _SLIPS if sign.match(around)), ""):
        return slip
    if there.lstrip().startswith(":"):
        return "write = instead of :"
    if word := re.match(r"(True|False)\b", there):
        return f"write {word[1].lower()}, in small letters"
    inside = _innermost_bracket(before)
    if inside == "{" and (key := re.match(r'("[^"]*"|[\w-]+)\s*=', there)):
        return f"a comma is missing before {key[1] if key[1].startswith(chr(34)) else chr(34) + key[1] + chr(34)}"
    if inside == "[" and there.startswith("}"):
        return "a ] is missing before the }"
    if there.lstrip().startswith("+"):
        return 'texts are not joined by +; for several values in one cell: template = "{first_name} {last_name}"'
    if ends_here and inside == "{":
        return "what is in { } is on one line here; a longer table has a header of its own, like [fields.Status]"
    if inside == "{" and there.startswith("}") and not before.rstrip().endswith(","):
        return 'a name and its value are missing: { from = "…" }'
    if there.startswith("}") and before.rstrip().endswith(","):
        return "no comma before the }"
    if plain.startswith("Illegal character") and (not there or there[0] in "\"'"):
        plain = "Illegal character '\\n'"
    return _ADVICE.get(plain, plain[:1].lower() + plain[1:])


_HERE = "\ue000"  # of a private use: no text has it
_SLIPS = [
    (re.compile(sign.replace("|>", f"{_HERE}(?:") + ")", re.DOTALL), said)
    for sign, said in (
        (".?|>//|;", "a remark begins with #"),
        ("=|>[=>]", "write one ="),
        (r"\d|>,\d|\.\d", "a number has a point at most, and no other signs: 1.5, or 1000"),
        (r"\d|>\s*[A-Za-z%]", "a number stands alone; text is in quotes"),
        (r"0|>\d", "a number does not begin with 0"),
        (r".?|>,\s*(?:#|$)", "no comma at the end of a line"),
        (r".?|>(?:yes|on)\b", "write true"),
        (r".?|>(?:no|off)\b", "write false"),
        (r".?|>(?i:null|nil|none)\b", "what has no value is left out: remove the line, or begin it with #"),
        (".?|>&", 'quotes are written as they are: "…"'),
        (".?|>[\u00a0\u2007\u202f\u200b-\u200f\u2060\ufeff]",
         "an invisible sign is here: delete it, and type a blank where one belongs"),
        (r"\w|>\s*[\w.]+\]", "a name with blanks is in quotes, and between two names is a point: [sources.NAME]"),
    )
]  # fmt: skip
"""What people write who know other tools, by the sign before the place and what follows it (``|>`` is the place)."""
_PATH_ADVICE = "a backslash means something special inside \"…\": write the path with / (C:/Users/ada), or use '…'"
_DRIVE_OR_SERVER = re.compile(r'"(?:[A-Za-z]:\\|\\\\)[^"]*$')
_TOKEN = re.compile(r'"""(?:\\.|[^\\])*?"""|\'{3}.*?\'{3}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*|[][{}]', re.DOTALL)
_OPENS = {"]": "[", "}": "{"}


def _innermost_bracket(text: str) -> str:
    """The bracket that is open at the end of *text*; "" for none."""
    open_now: list[str] = []
    for token in _TOKEN.findall(text):
        if token in ("[", "{"):
            open_now.append(token)
        elif open_now and _OPENS.get(token) == open_now[-1]:
            open_now.pop()
    return open_now[-1] if open_now else ""


def _broken(node: Node) -> Iterator[Node]:
    if node.is_error or node.is_missing:
        yield node
    for child in node.children:
        if child.has_error or child.is_missing:
            yield from _broken(child)
