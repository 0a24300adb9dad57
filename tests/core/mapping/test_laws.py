"""Laws: whatever a record holds, a mapping gives rows or says why not; whatever a file says, loading tells or loads."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from connector.core.errors import ConfigError
from connector.core.keys import canonical_key
from connector.core.mapping import Evaluation, load
from connector.core.record import AffiliateRecord
from connector.core.row import Cell, dump_cells, load_cells
from tests.core.mapping.support import mapping, sources

_kinds = ("text", "number", "integer", "boolean", "date", "datetime", "money", "email", "phone", "url", "country")
_every_type = "\n".join(
    f'"{kind} of {path}" = {{ from = "{path}", type = "{kind}", on_error = "{on_error}" }}'
    for path, on_error in (("custom.x", "leave_empty"), ("company", "leave_empty"), ("custom.y", "dead_letter"))
    for kind in _kinds
)
_rest = """
"Steps" = { from = "name", then = ["trim", "title", "tidy_spaces", { split = " " }, "unique", "sort", { join = "-" }] }
"Cut"   = { from = "name", then = [{ replace = ["a", ""] }, { truncate = 5 }, { prefix = "<" }] }
"Tmpl"  = { template = "{name} {company} {stats.sales} {created_at} {labels}" }
"Many"  = { from = "campaigns.visitors", then = ["sort", "last"] }
"Map"   = { from = "campaign", map = { a = "A" }, on_error = "leave_empty" }
"Stat"  = { from = "status", map = { active = "A", "*" = "B" } }
"Total" = { from = "stats.sales_total", type = "money", on_error = "leave_empty" }
"When"  = { from = "email", type = "email", when = { custom.x = { gte = 3 }, email = { contains = "a" } } }
"Local" = { from = "created_at", type = "datetime", timezone = "America/New_York" }
"Day"   = { from = "last_event.at", type = "date", timezone = "Asia/Tokyo" }
"""
_tops = (
    "",
    '[target]\nremoved_records = "mark"\n[when]\nstatus = { not = "rejected" }\nupdated_at = { gt = 2020-01-01 }\n',
    '[target]\nremoved_records = "delete"\n[when]\ncustom.x = { not = "a" }\n',
)
_loaded = [mapping(_every_type + _rest, top=top) for top in _tops]
_each = mapping('"Mail" = { from = "item.email", type = "email" }\n"T" = "item.title"', top='for_each = "users"\n',
                key='"ID" = { from = "item.id" }')  # fmt: skip

_texts = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["", " ", "a", "a@example.com", "+44 20 7946 0018", "12.5", "-0", "1e40", "NaN", "Infinity", "0001-01-01",
         "9999-12-31T23:59:59-12:00", "example.com", "http://[", "=cmd()", "GB", "\u202e", "\x00", "1" * 5000, "𝟙𝟚"]
    ),
)  # fmt: skip
_moments = st.datetimes(timezones=st.sampled_from([UTC])) | st.datetimes()
_maybe = st.none() | _texts
_records = st.builds(
    AffiliateRecord,
    id=_texts,
    source=_maybe,
    status=st.sampled_from([None, "pending", "active", "inactive", "rejected", "blocked"]),
    name=_maybe,
    company=_maybe,
    email=_maybe,
    country=_maybe,
    campaign=_maybe,
    currency=_maybe,
    created_at=st.none() | _moments,
    updated_at=st.none() | _moments,
    gone_at=st.none() | _moments,
    labels=st.lists(_texts, max_size=3).map(tuple),
    custom=st.fixed_dictionaries({}, optional={"x": _texts | st.integers() | st.booleans(), "y": _texts}),
    stats=st.fixed_dictionaries({"sales": st.none() | st.integers(), "sales_total": st.none() | st.decimals(
        allow_nan=False, allow_infinity=False)}),
    campaigns=st.lists(st.fixed_dictionaries({"id": _texts, "visitors": st.none() | st.integers()}), max_size=3),
    users=st.lists(st.fixed_dictionaries({"id": _texts, "email": _maybe, "title": _maybe}), max_size=3),
    last_event=st.fixed_dictionaries({"at": st.none() | _moments}),
)  # fmt: skip

_types = {
    "text": str, "email": str, "phone": str, "url": str, "country": str, "integer": int, "boolean": bool, "list": tuple,
}  # fmt: skip


def _holds_together(evaluation: Evaluation) -> None:
    keys = [row.key for row in evaluation.rows]
    assert len(set(keys)) == len(keys)
    assert all(keys)
    assert not set(keys) & {problem.key for problem in evaluation.problems}
    assert (evaluation.skipped is not None) == (not evaluation.rows and not evaluation.problems)
    assert evaluation.removals <= set(keys)


@given(_records)
@settings(max_examples=100)
def test_evaluating_never_raises_and_its_answer_holds_together(record: AffiliateRecord) -> None:
    for loaded in _loaded:
        evaluation = loaded.evaluate(record)
        _holds_together(evaluation)
        for row in evaluation.rows:
            assert row.key == canonical_key(row.cells["ID"])
            for column in loaded.columns:
                cell = row.cells.get(column.name)
                if cell is not None and column.type in _types:
                    assert type(cell) is _types[column.type], column
                if isinstance(cell, datetime):
                    assert cell.tzinfo is not None
    _holds_together(_each.evaluate(record))


@given(_records)
@settings(max_examples=50)
def test_the_same_record_gives_equal_rows_and_they_survive_being_kept(record: AffiliateRecord) -> None:
    for loaded in _loaded:
        first, second = loaded.evaluate(record), loaded.evaluate(record)
        assert first == second
        for row in first.rows:
            other: dict[str, Cell] = {name: f"{cell}" for name, cell in row.cells.items()}
            for newer in ({}, row.cells, second.rows[0].cells, other):  # what is shared changes nothing
                kept: dict[str, Cell] = load_cells(dump_cells(row.cells), newer)
                assert kept == row.cells
                assert all(type(kept[name]) is type(cell) for name, cell in row.cells.items())
            kept = load_cells(dump_cells(row.cells), row.cells)
            assert all(kept[name] is cell for name, cell in row.cells.items() if isinstance(cell, str))


_words = st.sampled_from(
    ["id", "email", "emial", "labels", "users", "custom.a", "item.id", "", "only_forward", "date", "phone", "GB", "UTC",
     "dead_letter", "{id}", "{", "trim", "sort", "active", "x"]
)  # fmt: skip
_values: Any = st.recursive(
    _words | st.integers(-3, 3) | st.booleans() | st.floats(allow_nan=False, allow_infinity=False, width=16),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["join", "is", "in", "a", "active", "*", "id", "value", "from", "gt"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)
_field_keys = st.sampled_from(
    ["from", "value", "template", "then", "map", "type", "timezone", "region", "currency", "show", "default", "when",
     "overwrite", "order", "on_error", "label", "options", "group", "form"]
)  # fmt: skip
_tops_keys = st.sampled_from(["name", "for_each", "target", "key", "when", "fields", "examples"])


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{name}" = {_toml(inner)}' for name, inner in value.items()) + " }"
    return repr(value)


@given(st.dictionaries(_field_keys, _values, max_size=5))
@settings(max_examples=100)
def test_any_field_is_loaded_or_its_mistakes_are_told_with_places(field: dict[str, Any]) -> None:
    _loads_or_tells(f'[key]\nfield = "ID"\n[fields]\n"X" = {_toml(field)}\n"ID" = "id"\n')


@given(st.dictionaries(_tops_keys, _values, max_size=5))
@settings(max_examples=100)
def test_any_file_is_loaded_or_its_mistakes_are_told_with_places(file: dict[str, Any]) -> None:
    _loads_or_tells("".join(f"{name} = {_toml(value)}\n" for name, value in file.items()))


def _loads_or_tells(text: str) -> None:
    try:
        loaded = load(text, file="m.toml", source_names=sources)
    except ConfigError as error:
        if not error.problems:
            raise AssertionError("refused without a word") from error
        lines = text.split("\n")
        for problem in error.problems:
            assert 1 <= problem.line <= len(lines)
            assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
            assert problem.text
    else:
        loaded.run_examples()
        loaded.evaluate(AffiliateRecord(id="a:1"))
