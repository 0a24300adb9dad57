"""One mapping file while it is read: its document, the paths it may name, and what is wrong with it so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, Literal

from msgspec import Struct

from connector.core.errors import Problem
from connector.core.mapping.paths import Kind, Paths, Reader, UnknownPath
from connector.core.toml import Document, Path


class Value(Struct, frozen=True):
    """A field's value: how it is read, and what it holds."""

    read: Reader
    kind: Kind


class Clock:
    """Today's date, for ``days_since``. An example may have a day of its own.

    Args:
        today: None where nobody says what day it is; such values are empty then.
    """

    def __init__(self, today: Callable[[], date] | None) -> None:
        self._today = today
        self.fixed: date | None = None

    def __call__(self) -> date | None:
        return self.fixed if self.fixed is not None or self._today is None else self._today()


class Reading:
    """What the readers of the file's parts share.

    Args:
        document: the file.
        vocabularies: closed vocabularies by path, beside the record's own.
        clock: today's date, when values are worked out.
    """

    def __init__(self, document: Document, vocabularies: Mapping[str, Sequence[str]], clock: Clock) -> None:
        self.document = document
        self.vocabularies = vocabularies
        self.clock = clock
        self.is_dated = False
        """Whether a value depends on the day."""
        self.uses: list[tuple[str, int]] = []
        """Every path that the file names, with its line."""
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        """What works, but may not be meant."""
        self.paths = Paths(vocabularies)
        self.for_each: str | None = None
        self.item_columns: set[str] = set()
        """The columns that read something of the entry of ``for_each``."""

    def say(self, path: Path, text: str, *, at: Literal["value", "key"] = "value") -> None:
        """Add a mistake at the value (or key) at *path*."""
        self.problems.append(self.document.problem(path, text, at=at))

    def warn(self, path: Path, text: str, *, at: Literal["value", "key"] = "value") -> None:
        """Add a warning about the value (or key) at *path*."""
        self.warnings.append(self.document.problem(path, text, at=at))

    def table(self, name: str) -> dict[str, Any]:
        """The table *name* at the top of the file; empty when there is none."""
        table = self.document.data.get(name)
        return table if isinstance(table, dict) else {}

    def repeat_for(self, name: str) -> None:
        """Let ``item.`` reach into the list *name*."""
        self.for_each = name
        self.paths = Paths(self.vocabularies, name)

    def use(self, path: str, at: Path) -> None:
        """Note that the file names *path* at *at*."""
        of_entry = path == "item" or path.startswith("item.")
        full = f"{self.for_each}{path[len('item') :]}" if of_entry else path.replace("[]", "")
        self.uses.append((full, self.document.value_place(at).line))

    def of_list(self, name: str) -> Reading:
        """A reading of the same file in which ``item.`` reaches into the list *name*."""
        inner = Reading(self.document, self.vocabularies, self.clock)
        inner.problems, inner.warnings, inner.uses = self.problems, self.warnings, self.uses
        inner.repeat_for(name)
        return inner

    def path_value(self, path: str, at: Path, column: str | None = None) -> Value | None:
        """What *path* gives; None, and a mistake, when no record has it."""
        try:
            kind = self.paths.kind(path)
        except UnknownPath as error:
            self.say(at, str(error))
            return None
        if column is not None and (path == "item" or path.startswith("item.")):
            self.item_columns.add(column)
        self.use(path, at)
        return Value(self.paths.reader(path), kind)
