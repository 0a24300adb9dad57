"""The columns of a campaign's table at random: the mapping and people rename them, add some and take some away."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Callable
from typing import Protocol

from tests.changes.place import Place

_NAMES = {"Email": ("Email", "Address", "Mail"), "Status": ("Status", "State")}
_SOURCE = '"Source" = "source"\n'
_KEY = '"ID" = "id"\n'


class Desk(Protocol):
    """A table as people edit it."""

    follows_headers: bool
    """Whether a column whose header people change stays the mapping's."""

    def cells(self) -> list[dict[str, str]]: ...
    def rename(self, column: str, new: str) -> None: ...
    def delete(self, column: str) -> None: ...


class Columns:
    """What the mapping calls the columns, and what their headers are.

    Attributes:
        typed: by (key, header), what people typed; it moves with its column.
        wrong: what must not be.
    """

    def __init__(self, place: Place, desk: Desk, chance: random.Random, typed: dict[tuple[str, str], str]) -> None:
        self.place, self.desk, self.random, self.typed = place, desk, chance, typed
        self.names = {name: name for name in _NAMES}
        self.renamed: dict[str, str] = {}
        self.wrong: list[str] = []
        self._number = 0
        self._before: dict[str, dict[str, str]] = {}
        self._managed: set[str] = set()

    def header(self, column: str) -> str:
        """The header of *column* (``Email``, ``Status``) as the mapping has it now."""
        name = self.names[column]
        return self.renamed.get(name, name)

    def act(self) -> str:
        """Something happens; what, in a word."""
        actions: list[tuple[str, Callable[[], bool]]] = [
            ("fields renamed", self._rename_field), ("fields toggled", self._toggle_field),
            ("headers renamed", self._rename_header), ("columns deleted", self._delete_column),
        ]  # fmt: skip
        word, action = self.random.choices(actions, (4, 3, 3, 1))[0]
        return word if action() else "nothing"

    def _edit(self, old: str, new: str) -> None:
        text = self.place.file.read_text(encoding="utf-8")
        assert old in text
        self.place.file.write_text(text.replace(old, new), encoding="utf-8")

    def _rename_field(self) -> bool:
        column = self.random.choice(list(_NAMES))
        old = self.names[column]
        new = self.random.choice([name for name in _NAMES[column] if name != old])
        self._edit(f'"{old}" = ', f'"{new}" = ')
        self.names[column] = new
        if column == "Status":
            self.place.status = new
        return True

    def _toggle_field(self) -> bool:
        if _SOURCE in self.place.file.read_text(encoding="utf-8"):
            self._edit(_SOURCE, "")
        else:
            self._edit(_KEY, _KEY + _SOURCE)
        return True

    def _some_header(self) -> str | None:
        rows = self.desk.cells()
        headers = sorted({header for row in rows for header in row} - {"ID", "Note"})
        return self.random.choice(headers) if headers else None

    def _rename_header(self) -> bool:
        header = self._some_header()
        if header is None:
            return False
        self._number += 1
        new = f"By hand {self._number}"
        self.desk.rename(header, new)
        if self.desk.follows_headers:
            names = [name for name in ("Source", *sum(_NAMES.values(), ())) if self.renamed.get(name, name) == header]
            self.renamed |= dict.fromkeys(names, new)
        for key, column in [place for place in self.typed if place[1] == header]:
            self.typed[key, new] = self.typed.pop((key, column))
        return True

    def _delete_column(self) -> bool:
        header = self._some_header()
        if header is None:
            return False
        self.desk.delete(header)
        self.renamed = {name: new for name, new in self.renamed.items() if new != header}
        for place in [place for place in self.typed if place[1] == header]:
            del self.typed[place]
        return True

    # ------------------------------------------------ what is in other columns stays

    def look(self) -> None:
        """Before something happens, and after people did something."""
        self._before, self._managed = {row["ID"]: row for row in self.desk.cells()}, self._now_managed()

    def _now_managed(self) -> set[str]:
        with self.place.store() as store:
            stored = store.mapping_of(self.place.route)
        names = {name for text in (stored.text, stored.wanted) if text for name in tomllib.loads(text)["fields"]}
        return {self.renamed.get(name, name) for name in names}

    def check(self) -> None:
        """What was in a column that the running mapping does not have is there as it was."""
        managed, after = self._managed | self._now_managed(), {row["ID"]: row for row in self.desk.cells()}
        for key, row in self._before.items():
            for header, value in row.items():
                if value and header not in managed and after.get(key, {}).get(header) != value:
                    self.wrong.append(f"{header} of {key} was changed, which is no column of the mapping's")
        self.look()
