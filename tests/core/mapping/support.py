"""Mapping files and records for the tests, with no more in them than the test is about."""

from __future__ import annotations

from typing import Any

import pytest

from connector.core.errors import ConfigError
from connector.core.mapping import Mapping, load
from connector.core.record import AffiliateRecord
from connector.core.row import Cell, Row
from connector.core.sink import TargetOptions

sources = ("firstpromoter", "everflow")


def record(**fields: Any) -> AffiliateRecord:
    """A record as the store gives it: the id names the source."""
    filled = {"id": "firstpromoter:41", "source": "firstpromoter", "platform": "firstpromoter", **fields}
    return AffiliateRecord.model_validate(filled)


def _file(fields: str = "", top: str = "", tail: str = "", key: str = '"ID" = "id"') -> str:
    return f'{top}[key]\nfield = "ID"\n[fields]\n{fields}\n{key}\n{tail}'


def mapping(
    fields: str = "",
    *,
    top: str = "",
    tail: str = "",
    key: str = '"ID" = "id"',
    target_options: type[TargetOptions] = TargetOptions,
    source_names: tuple[str, ...] = sources,
) -> Mapping:
    """A mapping file with the key ``ID``; *fields* begin at line 4 when *top* is empty."""
    return load(
        _file(fields, top, tail, key), file="m.toml", target_options=target_options, source_names=source_names,
        platforms=("firstpromoter", "everflow"),
    )  # fmt: skip


def told(fields: str, *texts: str, **options: Any) -> None:
    """Assert that loading says exactly *texts*, all at once, each at a place marked with ▸ (or with ▹ when it is the
    same as the mark before), in file order."""
    plain: dict[str, Any] = {name: _unmarked(text) if isinstance(text, str) else text for name, text in options.items()}
    with pytest.raises(ConfigError) as caught:
        mapping(_unmarked(fields), **plain)
    text = _file(fields, **{name: text for name, text in options.items() if name in ("top", "tail", "key")})
    assert [str(problem) for problem in caught.value.problems] == [
        f"m.toml:{line}:{column}: {said}" for (line, column), said in zip(_marks(text), texts, strict=True)
    ]


def _marks(text: str) -> list[tuple[int, int]]:
    places: list[tuple[int, int]] = []
    for number, line in enumerate(text.split("\n"), 1):
        for place, sign in enumerate(line):
            if sign in "▸▹":
                places.append((number, len(_unmarked(line[:place])) + 1))
    return places


def _unmarked(text: str) -> str:
    return text.replace("▸", "").replace("▹", "")


def row(loaded: Mapping, **fields: Any) -> Row:
    """The one row of a record."""
    evaluation = loaded.evaluate(record(**fields))
    assert evaluation.problems == ()
    assert evaluation.skipped is None
    (only,) = evaluation.rows
    return only


def cell(field: str, **fields: Any) -> Cell:
    """The cell that ``"X" = field`` gives for a record."""
    loaded = mapping(f'"X" = {field}')
    assert "on_error" in field or loaded.evaluate(record(**fields)).left_empty == ()
    return row(loaded, **fields).cells["X"]


def refusal(field: str, **fields: Any) -> tuple[str, str]:
    """Code and reason of the value that can't be shaped, with ``on_error = "dead_letter"``."""
    strict = field.removesuffix(" }") + ', on_error = "dead_letter" }'
    evaluation = mapping(f'"X" = {strict}').evaluate(record(**fields))
    assert evaluation.rows == ()
    (problem,) = evaluation.problems
    assert (problem.key, problem.column, problem.where) == ("firstpromoter:41", "X", "m.toml:4")
    return problem.code, problem.reason
