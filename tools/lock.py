"""requirements.lock and requirements-build.lock: what the container installs, every file pinned by its hash.

    python -m tools.lock             writes both (uses uv and the package index)
    python -m tools.lock --upgrade   the same, with the newest versions that pyproject.toml allows
    python -m tools.lock --check     tells what is stale; needs no network

A lock's first lines carry a hash of the tables of pyproject.toml that it was made from, so that a changed requirement
is noticed without resolving anything; that the pinned versions meet the requirements is checked as well.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

root = Path(__file__).parent.parent
runtime, build = "requirements.lock", "requirements-build.lock"


def requirements(project: dict[str, Any], lock: str) -> list[str]:
    """What *lock* has to satisfy, as pyproject.toml says it."""
    extras = project["project"]["optional-dependencies"]
    if lock == runtime:
        return [*project["project"]["dependencies"], *extras["postgres"]]  # nothing can be installed in a container
    return [*project["build-system"]["requires"], *(name for name in extras["dev"] if Requirement(name).name == "uv")]


def inputs(project: dict[str, Any], lock: str) -> str:
    """A hash of all that *lock* is made from."""
    made_from = [project["project"]["requires-python"], *sorted(requirements(project, lock))]
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()


def stale(folder: Path = root) -> list[str]:
    """Why the locks are not what pyproject.toml asks for, in plain words; [] when they are."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    problems: list[str] = []
    for lock in (runtime, build):
        try:
            text = (folder / lock).read_text(encoding="utf-8")
        except FileNotFoundError:
            problems.append(f"{lock}: is missing")
            continue
        if f"# made from: {inputs(project, lock)}" not in text.splitlines():
            problems.append(f"{lock}: pyproject.toml has changed since; run: just lock")
        pinned = dict(pins(text))
        for requirement in map(Requirement, requirements(project, lock)):
            version = pinned.get(canonicalize_name(requirement.name))
            if version is None:
                problems.append(f"{lock}: pins no {requirement.name}")
            elif version not in requirement.specifier:
                problems.append(f"{lock}: pins {requirement.name} {version}, but {requirement} is required")
        problems += [f"{lock}: {line} has no hash" for line in unhashed(text)]
    return problems


def pins(text: str) -> Iterator[tuple[str, Version]]:
    """Name and version of everything that a lock pins."""
    for found in re.finditer(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", text, re.MULTILINE):
        yield canonicalize_name(found[1]), Version(found[2])


def unhashed(text: str) -> Iterator[str]:
    """The pins of a lock that no hash guards."""
    for line in text.replace("\\\n", " ").splitlines():
        if line and not line.startswith(("#", " ")) and "--hash=sha256:" not in line:
            yield line.split(" ")[0]


def write(folder: Path = root, *, upgrade: bool = False) -> None:
    """Resolve both locks anew, keeping the versions that still fit unless *upgrade*."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    for lock in (runtime, build):
        target = folder / lock
        subprocess.run(  # noqa: S603 - fixed words
            [
                sys.executable, "-m", "uv", "pip", "compile", "-", "--output-file", str(target), "--quiet",
                "--universal", "--python-version", _lowest_python(project), "--generate-hashes", "--no-header",
                "--no-annotate", *(["--upgrade"] if upgrade else []),
            ],
            input="\n".join(requirements(project, lock)).encode(),
            cwd=folder,
            check=True,
        )  # fmt: skip
        head = f"# Written by `just lock`; don't edit.\n# made from: {inputs(project, lock)}\n"
        target.write_text(head + target.read_text(encoding="utf-8"), encoding="utf-8")


def _lowest_python(project: dict[str, Any]) -> str:
    return str(project["project"]["requires-python"]).removeprefix(">=")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.lock")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--upgrade", action="store_true")
    chosen = parser.parse_args(arguments)
    if not chosen.check:
        write(upgrade=chosen.upgrade)
    problems = stale()
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
