"""Why a mapping makes no row of an affiliate: the line that leaves it out, what that line takes, and what is here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import PurePath
from typing import Any

from msgspec import Struct

from connector.core import toml
from connector.core.errors import ConfigError
from connector.core.record import AffiliateRecord
from connector.settings import RouteConfig

_LONGEST_VALUE = 60  # characters


class LeftOut(Struct, frozen=True):
    """Why there is no row.

    Args:
        why: in words; *text* says more where the line is known.
        where: the mapping's ``file:line`` that leaves the affiliate out; "" where no line does.
        says: what that line is; *takes*: its values in words, "" where it is a test like ``{ above = 5 }``.
        path: what the line is about; *value*: what the record has there.
    """

    why: str
    where: str = ""
    says: str = ""
    takes: str = ""
    path: str = ""
    value: Any = None

    @property
    def text(self) -> str:
        """``left out by people.toml:18: status is rejected; it takes active, pending``."""
        if not self.where:
            return f"left out: {self.why}"
        if self.path.startswith("item."):  # each entry has its own value
            return f"left out by {self.where}, which takes only {self.says}"
        takes = self.takes or f"only {self.says}"
        return f"left out by {self.where}: {self.path} is {_in_words(self.value)[:_LONGEST_VALUE]}; it takes {takes}"


def left_out(route: RouteConfig, skipped: str, record: AffiliateRecord) -> LeftOut:
    """*skipped*: what the mapping's evaluation says; see ``core.mapping.Evaluation``."""
    path = skipped.removeprefix("when: ")
    if path == skipped:
        return LeftOut(skipped)
    line, says, takes = _condition(route.mapping.file, route.text, path)
    where = f"{PurePath(route.mapping.file).name}:{line}" if line else ""
    found: Any = record
    for step in path.split("."):
        found = found.get(step) if isinstance(found, Mapping) else getattr(found, step, None)
    return LeftOut(f"[when] {path}", where, says, takes, path, found)


@lru_cache(maxsize=256)
def _condition(file: str, text: str, path: str) -> tuple[int, str, str]:
    """The line of the condition on *path* in ``[when]``, what stands there, and its values; (0, "", ""): not found."""
    try:
        document = toml.parse(text, file=file)
    except ConfigError:
        return 0, "", ""
    lines = document.text.split("\n")
    for steps in (("when", path), ("when", *path.split("."))):
        line = document.key_place(steps).line
        if line and path.rpartition(".")[2] in lines[line - 1]:
            operand: Any = document.data
            for step in steps:
                operand = operand.get(step) if isinstance(operand, dict) else None
            takes = "" if operand is None or isinstance(operand, dict) else _in_words(operand)
            return line, lines[line - 1].partition(" #")[0].strip(), takes
    return 0, "", ""


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_in_words, value)) or "empty"
    return "empty" if value in (None, "") else str(value)
