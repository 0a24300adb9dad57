"""The rules of the house (docs/architecture.md), held by reading the code."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.running import root

package = root / "connector"
modules = sorted(path for path in package.rglob("*.py") if "shipped" not in path.parts)
documents = [root / "README.md", root / "CHANGELOG.md", root / "config.example.toml", *sorted(root.glob("docs/*.md"))]

# The lowest floor first: a room imports only from floors below.
floors: list[tuple[str, ...]] = [
    ("core",),
    ("logs", "faults", "file_lock", "phrases", "rest", "connections"),
    ("sources", "sinks", "store", "dead_letters", "plugins", "credentials"),
    ("topics", "recent"),
    ("settings",),
    ("config", "projector", "delivery", "receiver", "alerts", "backfill", "affiliates"),
    ("assembly", "metrics"),
    ("changes",),
    ("overview", "actions"),
    ("app",),
    ("page",),
    ("serve",),
    ("cli",),
    ("__main__",),
]

most_lines = {"file": 500, "class": 350, "function": 60}
private_doors = ("uvicorn.protocols", "msgspec._core", "mallopt", "malloc_trim", "_clear_type_cache", "starlette._")
public_in_spite_of_their_names = {"os._exit"}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def walked(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(parsed(path)))


def room_of(path: Path) -> str:
    return path.relative_to(package).parts[0].removesuffix(".py")


def floor_of(room: str) -> int:
    for number, rooms in enumerate(floors):
        if room in rooms:
            return number
    raise AssertionError(f"{room} has no floor; name it in this test and in docs/architecture.md")


@cache
def imports(path: Path) -> tuple[str, ...]:
    """The full names that a module imports, wherever in it; not those for types only."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for_types = {
        inner
        for node in walked(path)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in walked(path):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_imported(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("connector.")}


def files_that_use(*libraries: str) -> set[Path]:
    """The files that import one of the libraries."""
    return {
        path
        for path in modules
        for name in imports(path)
        if any(name == library or name.startswith(f"{library}.") for library in libraries)
    }


# ---------------------------------------------------------------- who imports whom


def test_a_room_imports_only_from_floors_below() -> None:
    wrong = [
        f"{path.relative_to(root)} imports {other}"
        for path in modules
        if (room := room_of(path)) != "__init__"
        for other in rooms_imported(path)
        if other != room and floor_of(other) >= floor_of(room)
    ]
    assert not wrong


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def test_there_are_no_import_circles_and_none_hides_behind_a_late_import() -> None:
    names = {module_name(path): path for path in modules}
    edges = {
        name: {part for found in imports(path) for part in (found, found.rpartition(".")[0]) if part in names} - {name}
        for name, path in names.items()
    }
    seen: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"a circle: {' -> '.join([*trail, name])}"
        if name not in seen:
            for other in edges[name]:
                visit(other, (*trail, name))
            seen.add(name)

    for name in edges:
        visit(name, ())


@pytest.mark.parametrize("kind", ["sources", "sinks"])
def test_only_a_plug_ins_own_package_imports_it(kind: str) -> None:
    for path in modules:
        for name in imports(path):
            parts = name.split(".")
            if parts[:2] == ["connector", kind]:
                assert path.relative_to(package).parts[:2] == (kind, parts[2]), (
                    f"{path.relative_to(root)} imports {name}"
                )


# ---------------------------------------------------------------- who uses what


rooms_of_libraries: dict[str, set[str]] = {
    "asyncio": {"receiver.py", "page", "connections.py", "serve.py"},
    "starlette": {"receiver.py", "page", "connections.py", "serve.py"},
    "jinja2": {"page"},
    "uvicorn": {"serve.py"},
    "uvloop": {"serve.py"},
    "tenacity": {"delivery"},  # who waits before trying again
    "httpx": {"alerts.py", "backfill"},
    "sqlite3": {"store/sqlite.py"},
    "psycopg": {"store/postgres.py"},
    "typer": {"cli"},
    "gspread": {"sinks/google_sheets"},
    "google": {"sinks/google_sheets"},
    "hubspot": {"sinks/hubspot"},
    "openpyxl": {"sinks/files"},
    "babel": {"sinks/google_sheets", "core/mapping"},
}


@pytest.mark.parametrize("library", rooms_of_libraries)
def test_a_library_is_used_in_its_room_only(library: str) -> None:
    users = {path.relative_to(package) for path in files_that_use(library)}
    allowed = [Path(room) for room in rooms_of_libraries[library]]
    assert [user for user in users if not any(user.is_relative_to(room) for room in allowed)] == []


def test_only_the_store_uses_sql() -> None:
    speaks = re.compile(r"\"(SELECT|INSERT|UPDATE|DELETE|CREATE TABLE|PRAGMA) ")
    assert {room_of(path) for path in modules if speaks.search(path.read_text(encoding="utf-8"))} == {"store"}


def test_only_the_configuration_reads_the_environment() -> None:
    readers = set()
    for path in modules:
        for node in walked(path):
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv"):
                readers.add(room_of(path))
    assert readers == {"config"}


impure = {
    "asyncio", "httpx", "http", "io", "logging", "os", "pathlib", "random", "requests", "secrets", "shutil", "socket",
    "sqlite3", "ssl", "subprocess", "sys", "tempfile", "threading", "time", "urllib.request", "uuid",
}  # fmt: skip


@pytest.mark.parametrize("room", ["core", "sources"])
def test_the_pure_rooms_touch_no_file_network_clock_or_log(room: str) -> None:
    wrong = []
    for path in (package / room).rglob("*.py"):
        for name in imports(path):
            if name == "pathlib.PurePath":  # computes with names, touches no file
                continue
            if any(name == library or name.startswith(f"{library}.") for library in impure):
                wrong.append(f"{path.name} imports {name}")
        for node in walked(path):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in ("open", "print", "input") or called.endswith((".now", ".utcnow", ".today")):
                    wrong.append(f"{path.name}:{node.lineno} calls {called}")
    assert not wrong


# ---------------------------------------------------------------- how large, and through which doors


def too_long(path: Path) -> Iterator[str]:
    """What in the file is longer than it may be."""
    lines = path.read_text(encoding="utf-8").count("\n")
    if lines > most_lines["file"]:
        yield f"{lines} lines"
    for node in walked(path):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            kind = "class" if isinstance(node, ast.ClassDef) else "function"
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > most_lines[kind]:
                yield f"line {node.lineno}: {kind} {node.name} has {length} lines"


def private_names(path: Path) -> Iterator[str]:
    """Names of others that begin with an underscore, imported or reached through a module."""
    foreign: dict[str, str] = {}
    for node in walked(path):
        if isinstance(node, ast.Import):
            for alias in node.names:
                foreign[alias.asname or alias.name.partition(".")[0]] = alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                foreign[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for name in foreign.values():
        if any(part.startswith("_") and not part.startswith("__") for part in name.split(".")):
            yield f"imports {name}"
    for node in walked(path):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            whose = foreign.get(ast.unparse(node.value).partition(".")[0])
            if whose and f"{whose}.{node.attr}" not in public_in_spite_of_their_names:
                yield f"line {node.lineno}: {ast.unparse(node)}"


def findings(look: Callable[[Path], Iterator[str]]) -> list[str]:
    return [f"{path.relative_to(root)}: {found}" for path in modules for found in look(path)]


def test_files_classes_and_functions_are_short() -> None:
    assert findings(too_long) == []


def test_nobody_uses_a_private_name_of_somebody_else() -> None:
    assert findings(private_names) == []


def test_nobody_goes_through_a_private_door() -> None:
    def doors(path: Path) -> Iterator[str]:
        text = path.read_text(encoding="utf-8")
        yield from (door for door in private_doors if door in text)

    assert findings(doors) == []


# ---------------------------------------------------------------- words


own_words = re.compile(r"\b(far sides?|owed|lonely|give_way)\b", re.IGNORECASE)
"""Words of ours that a reader who is new here would have to learn; docs/glossary.md has the ones to use."""


def test_code_and_documents_use_the_words_of_the_field() -> None:
    wrong = [
        f"{path.relative_to(root)}:{number}: {line.strip()}"
        for path in [*modules, *documents]
        if path.name != "CHANGELOG.md"  # whose list of renamed words has the old ones
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if own_words.search(line)
    ]
    assert wrong == []


def test_what_people_read_has_straight_quotes() -> None:
    """One kind everywhere: a name can be searched for, and typed, as it is shown."""
    curly = re.compile("[\u201c\u201d\u201e\u2018]")
    assert [path for path in [*modules, *documents] if curly.search(path.read_text(encoding="utf-8"))] == []


def test_no_platform_is_named_in_core() -> None:
    points = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    name = re.compile(rf"\b({'|'.join(points['connector.sources'])})", re.IGNORECASE)
    found = [path for path in (package / "core").rglob("*.py") if name.search(path.read_text(encoding="utf-8"))]
    assert found == []
