"""The rules of the house, held by reading the code, and README, held against the tree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest
import typer

from connector import commands
from connector.core import mapping
from tests.running import root

package = root / "connector"
modules = sorted(path for path in package.rglob("*.py") if "shipped" not in path.parts)
readme = (root / "README.md").read_text(encoding="utf-8")

# Floors, the lowest first: a room imports only from floors below, or from its own where the own floor is a family.
floors: list[tuple[str, ...]] = [
    ("core",),
    ("logs", "faults", "effort", "file_lock", "samples"),
    ("sources", "sinks", "store", "dead_letters", "plugins"),
    ("topics",),
    ("config", "projector", "delivery", "receiver", "metrics", "alerts", "backfill", "people"),
    ("app",),
    ("cli", "commands"),
    ("__main__",),
]
families = {"core", "logs", "store", "config", "cli"}
"""Floors whose rooms may also import each other, named by one of their rooms."""


@lru_cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def room_of(path: Path) -> str:
    return path.relative_to(package).parts[0].removesuffix(".py")


def floor_of(room: str) -> int:
    for number, rooms in enumerate(floors):
        if room in rooms:
            return number
    raise AssertionError(f"{room} has no floor; name it in this test, and in house rules")


@lru_cache
def imports(path: Path) -> tuple[str, ...]:
    """The full names that a module imports, wherever in it; not those for types only."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    tree = parsed(path)
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_imported(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("connector.")}


def users_of(*libraries: str) -> set[str]:
    """The rooms that import one of the libraries."""
    return {
        room_of(path)
        for path in modules
        for name in imports(path)
        if any(name == library or name.startswith(f"{library}.") for library in libraries)
    }


def test_a_room_imports_only_from_floors_below() -> None:
    wrong = []
    for path in modules:
        room = room_of(path)
        if room == "__init__":
            continue
        mine = floor_of(room)
        family = bool(families & set(floors[mine]))
        for other in rooms_imported(path):
            theirs = floor_of(other)
            if other != room and (theirs > mine or (theirs == mine and not family)):
                # The command line starts `app` lazily; both stand above it.
                wrong.append(f"{path.relative_to(root)} imports {other}")
    assert not wrong


def test_there_are_no_circles() -> None:
    edges = {room: set[str]() for rooms in floors for room in rooms}
    for path in modules:
        room = room_of(path)
        if room != "__init__":
            edges[room] |= rooms_imported(path) - {room}
    edges["cli"] -= {"commands"}  # imported while running, when typer is needed
    done: set[str] = set()

    def visit(room: str, trail: tuple[str, ...]) -> None:
        assert room not in trail, f"a circle: {' -> '.join([*trail, room])}"
        if room not in done:
            for other in edges[room]:
                visit(other, (*trail, room))
            done.add(room)

    for room in edges:
        visit(room, ())


@pytest.mark.parametrize("library", ["asyncio", "starlette", "uvicorn", "uvloop"])
def test_only_the_receiver_and_the_app_are_asynchronous(library: str) -> None:
    assert users_of(library) <= {"receiver", "app", "metrics"} - ({"metrics"} if library == "asyncio" else set())


def test_only_delivery_and_backfill_have_patience() -> None:
    assert users_of("tenacity") <= {"delivery", "backfill"}


def test_only_the_store_and_its_files_speak_sql() -> None:
    assert users_of("sqlite3") == {"store"}
    speaks = re.compile(r"\"(SELECT|INSERT|UPDATE|DELETE|CREATE TABLE|PRAGMA) ")
    speakers = {room_of(path) for path in modules if speaks.search(path.read_text(encoding="utf-8"))}
    assert speakers == {"store"}


def test_only_the_configuration_reads_the_environment() -> None:
    readers = set()
    for path in modules:
        for node in ast.walk(parsed(path)):
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
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in ("open", "print", "input") or called.endswith((".now", ".utcnow", ".today")):
                    wrong.append(f"{path.name}:{node.lineno} calls {called}")
    assert not wrong


@pytest.mark.parametrize("kind", ["sources", "sinks"])
def test_only_a_plug_ins_own_package_imports_it(kind: str) -> None:
    for path in modules:
        for name in imports(path):
            parts = name.split(".")
            if parts[:2] == ["connector", kind]:
                assert path.relative_to(package).parts[:2] == (kind, parts[2]), (
                    f"{path.relative_to(root)} imports {name}"
                )


def test_heavy_libraries_are_imported_only_by_the_sinks_that_need_them() -> None:
    assert users_of("gspread", "google", "hubspot", "openpyxl") == {"sinks"}
    assert users_of("typer", "rich", "click") <= {"commands"}


def test_what_people_read_has_straight_quotes() -> None:
    """One kind everywhere: a name can be searched for, and typed, as it is shown."""
    documents = [root / "README.md", root / "CHANGELOG.md", root / "config.example.toml", *(root / "docs").glob("*.md")]
    curly = re.compile("[\u201c\u201d\u201e\u2018]")
    assert [path for path in [*modules, *documents] if curly.search(path.read_text(encoding="utf-8"))] == []


# ---------------------------------------------------------------- README


def test_readme_begins_with_the_two_commands() -> None:
    commands_in_readme = re.findall(r"^```sh\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    first, second = (text.strip() for text in commands_in_readme[:2])
    start = "python3 -m venv .venv && .venv/bin/pip install "
    assert first == start + ". && .venv/bin/connector init && .venv/bin/connector serve"
    assert second == start + "-e '.[dev]' && .venv/bin/pytest"


def test_readme_tells_things_in_the_order_of_a_newcomers_questions() -> None:
    wanted = [
        "Start", "What you see", "Connect FirstPromoter and Everflow", "Write a mapping", "Add a source or a sink",
    ]  # fmt: skip
    assert [heading for heading in re.findall(r"^## (.*)$", readme, re.MULTILINE) if heading in wanted] == wanted


def test_every_command_in_readme_exists_and_every_command_is_in_readme() -> None:
    words = typer.main.get_command(commands.app)
    known = set(getattr(words, "commands"))  # noqa: B009 - a group's; typer's type does not say so
    named = set(re.findall(r"(?:`|/)connector ([a-z][a-z-]+)", readme))
    assert named <= known, f"README names {named - known}"
    assert known <= named, f"README lacks {known - named}"


def test_every_toml_block_in_readme_is_a_mapping_whose_examples_hold() -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        loaded = mapping.load(block, file=f"README.md block {number}")
        assert loaded.run_examples() == []


def test_the_tree_in_readme_is_the_tree_on_disk() -> None:
    tree = re.search(r"^```text\nconnector/\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert tree is not None
    entries = re.findall(r"^[├└]── (.*?)(?: {3,}|$)", tree[1], re.MULTILINE)
    shown = {name.rstrip("/") for entry in entries for name in entry.split()}
    found = {path.name for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert shown == found - {"__init__.py", "__main__.py"}


def test_every_file_that_readme_names_is_there() -> None:
    for name in re.findall(r"`((?:connector|tests|mappings)/[\w/.]+)`", readme):
        assert (root / name).exists(), f"README names {name}"
    for name in re.findall(r"\]\((?!https?:)([^)#]+)", readme):
        assert (root / name).exists(), f"README links to {name}"
