"""Records that are out: ``removed_records``; lists as rows: ``for_each``; target options that name a path."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import ClassVar

import pytest
from pydantic import BaseModel, ConfigDict

from connector.core.errors import ConfigError
from connector.core.mapping import Mapping, load
from connector.core.row import Column
from connector.core.sink import TargetOptions
from tests.core.mapping.support import mapping, record, told

_gone = datetime(2026, 5, 31, 23, 0, tzinfo=UTC)
_updated = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)


def _with(rule: str, more: str = "") -> Mapping:
    return mapping('"Name" = "name"', top=f'[target]\nremoved_records = "{rule}"\n{more}\n[when]\nstatus = "active"\n')


def test_leave_alone_skips_what_fails_when_and_goes_on_with_what_is_gone() -> None:
    loaded = _with("leave_alone")
    assert loaded.evaluate(record(status="blocked")).skipped == "when: status"
    assert loaded.evaluate(record(status="blocked", gone_at=_gone)).skipped == "when: status"
    evaluation = loaded.evaluate(record(status="active", gone_at=_gone))
    assert len(evaluation.rows) == 1
    assert not evaluation.removals


@pytest.mark.parametrize(
    ("fields", "day"),
    [
        ({"status": "blocked", "updated_at": _updated}, date(2026, 6, 15)),
        ({"status": "active", "updated_at": _updated, "gone_at": _gone}, date(2026, 5, 31)),
        ({"status": "blocked", "updated_at": _updated, "gone_at": _gone}, date(2026, 5, 31)),
    ],
)
def test_mark_writes_the_day_of_the_removal_and_the_rest_of_the_row(fields: dict[str, object], day: date) -> None:
    evaluation = _with("mark").evaluate(record(name="Ada", **fields))
    (row,) = evaluation.rows
    assert row.cells == {"Name": "Ada", "ID": "firstpromoter:41", "Removed": day}
    assert not row.remove
    assert evaluation.removals == {"firstpromoter:41"}


def test_mark_clears_the_day_when_the_record_comes_back() -> None:
    evaluation = _with("mark").evaluate(record(status="active", updated_at=_updated))
    (row,) = evaluation.rows
    assert row.cells["Removed"] is None
    assert evaluation.removals == frozenset()


def test_mark_manages_a_date_column_that_is_always_overwritten() -> None:
    assert _with("mark").columns[-1] == Column("Removed", "date", "always", where="m.toml:2")
    assert _with("mark", 'removed_column = "Gone since"').columns[-1].name == "Gone since"
    assert [column.name for column in _with("leave_alone").columns] == ["Name", "ID"]


@pytest.mark.parametrize("fields", [{"status": "blocked"}, {"status": "active", "gone_at": _gone}])
def test_delete_gives_a_row_to_be_removed_that_holds_the_key_only(fields: dict[str, object]) -> None:
    evaluation = _with("delete").evaluate(record(name="Ada", **fields))
    (row,) = evaluation.rows
    assert row.remove
    assert row.cells == {"ID": "firstpromoter:41"}
    assert evaluation.removals == {"firstpromoter:41"}


def test_a_value_that_can_not_be_shaped_does_not_keep_a_row_from_being_removed() -> None:
    loaded = mapping('"E" = { from = "email", type = "email" }', top='[target]\nremoved_records = "delete"\n')
    evaluation = loaded.evaluate(record(email="nobody", gone_at=_gone))
    assert evaluation.problems == ()
    assert evaluation.rows[0].remove


def test_the_column_of_the_removal_can_not_be_a_field_as_well() -> None:
    told(
        '"Removed" = "name"',
        '"Removed" is one of [fields]; name another column with removed_column = "…"',
        top='[target]\nremoved_records = ▸"mark"\n',
    )


# ---------------------------------------------------------------- for_each

_users = (
    {"id": "1", "email": "a@example.com", "status": "active"},
    {"id": "2", "email": "b@example.com", "status": "inactive"},
)
_item_key = '"ID" = { template = "{id}/{item.id}" }'


def test_for_each_gives_one_row_an_entry() -> None:
    loaded = mapping('"Mail" = "item.email"\n"Company" = "company"', top='for_each = "users"\n', key=_item_key)
    evaluation = loaded.evaluate(record(company="Engines", users=_users))
    assert [(row.key, row.cells["Mail"], row.cells["Company"]) for row in evaluation.rows] == [
        ("firstpromoter:41/1", "a@example.com", "Engines"),
        ("firstpromoter:41/2", "b@example.com", "Engines"),
    ]


def test_for_each_of_plain_text_reaches_it_as_item() -> None:
    loaded = mapping(top='for_each = "labels[]"\n', key='"ID" = { template = "{id} {item}" }')
    rows = loaded.evaluate(record(labels=("a", "b"))).rows
    assert [row.key for row in rows] == ["firstpromoter:41 a", "firstpromoter:41 b"]


def test_a_record_with_an_empty_list_is_skipped() -> None:
    assert mapping(top='for_each = "users"\n', key=_item_key).evaluate(record()).skipped == "users is empty"


def test_when_may_choose_among_the_entries() -> None:
    top = 'for_each = "users"\n[when]\nitem.status = "active"\n'
    evaluation = mapping(top=top, key=_item_key).evaluate(record(users=_users))
    assert [row.key for row in evaluation.rows] == ["firstpromoter:41/1"]
    assert mapping(top=top, key=_item_key).evaluate(record(users=_users[1:])).skipped == "when: item.status"


def test_entries_that_are_out_are_removed_and_the_others_stay() -> None:
    top = 'for_each = "users"\n[target]\nremoved_records = "delete"\n[when]\nitem.status = "active"\n'
    evaluation = mapping(top=top, key=_item_key).evaluate(record(users=_users))
    assert [(row.key, row.remove) for row in evaluation.rows] == [
        ("firstpromoter:41/1", False),
        ("firstpromoter:41/2", True),
    ]
    assert evaluation.removals == {"firstpromoter:41/2"}


def test_a_bad_entry_does_not_cost_the_others() -> None:
    loaded = mapping(
        '"Mail" = { from = "item.email", type = "email", on_error = "dead_letter" }',
        top='for_each = "users"\n',
        key=_item_key,
    )
    evaluation = loaded.evaluate(record(users=({"id": "1", "email": "nobody"}, _users[1])))
    assert [row.key for row in evaluation.rows] == ["firstpromoter:41/2"]
    assert [problem.key for problem in evaluation.problems] == ["firstpromoter:41/1"]


def test_two_entries_with_one_key_are_one_row_if_equal_and_a_problem_if_not() -> None:
    loaded = mapping('"Mail" = "item.email"', top='for_each = "users"\n', key='"ID" = "item.title"')
    same = (
        {"id": "1", "title": "CEO", "email": "a@example.com"},
        {"id": "2", "title": "CEO", "email": "a@example.com"},
    )
    assert len(loaded.evaluate(record(users=same)).rows) == 1
    other = (same[0], {**same[1], "email": "b@example.com"})
    evaluation = loaded.evaluate(record(users=other))
    assert evaluation.rows == ()
    assert [(problem.key, problem.code) for problem in evaluation.problems] == [("CEO", "duplicate_key")]


@pytest.mark.parametrize(
    ("fields", "top", "key", "said"),
    [
        ("", 'for_each = ▸"user"\n', '"ID" = "id"', 'no record has a list "user"; did you mean "users"?'),
        (
            "",
            'for_each = ▸"email"\n',
            '"ID" = "id"',
            '"email" is not a list; right would be: campaigns, links, coupons, labels, users',
        ),
        (
            "",
            'for_each = "users"\n',
            '"ID" = ▸"id"',
            'with for_each the key needs a path that begins with "item.", like "item.id"',
        ),
        (
            '"A" = ▸"item.emial"',
            'for_each = "users"\n',
            _item_key,
            'no entry of users has "item.emial"; did you mean "item.email"?',
        ),
        (
            '"A" = ▸"item.email"',
            "",
            '"ID" = "id"',
            '"item.email" needs for_each = "users" (or another list) at the top of the file',
        ),
    ],
)
def test_mistakes_with_for_each_are_told(fields: str, top: str, key: str, said: str) -> None:
    told(fields, said, top=top, key=key)


# ---------------------------------------------------------------- options of a sink


class _Company(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    words: str = "x"


class _Options(TargetOptions):
    in_key_table: ClassVar[frozenset[str]] = frozenset({"also_match"})

    tab: str = "Affiliates"
    company: _Company | None = None
    owner: str | None = None
    also_match: tuple[str, ...] = ()

    def record_paths(self) -> dict[str, str]:
        company = None if self.company is None else self.company.key
        return {name: path for name, path in (("company.key", company), ("owner", self.owner)) if path}


def test_options_that_name_a_path_travel_with_each_row() -> None:
    top = '[target]\ntab = "T"\nowner = "manager.email"\ncompany = { key = "parent_id" }\n'
    loaded = mapping(top=top, target_options=_Options)
    (row,) = loaded.evaluate(record(manager={"email": "m@example.com"}, parent_id=" 7 ")).rows
    assert row.extras == {"company.key": "7", "owner": "m@example.com"}
    (row,) = loaded.evaluate(record(parent_id="7")).rows
    assert row.extras == {"company.key": "7"}  # what is empty is not there


def test_options_of_the_key_stand_under_key() -> None:
    text = '[key]\nfield = "ID"\nalso_match = ["email"]\n[fields]\n"ID" = "id"\n'
    options = load(text, file="m.toml", target_options=_Options).options
    assert isinstance(options, _Options)
    assert options.also_match == ("email",)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("also_match = 1", 'm.toml:3:14: "also_match" wants a list, like ["…", "…"]'),
        ('feild = "ID"', 'm.toml:3:1: unknown key "feild"; did you mean "field"?'),
        ('tab = "T"', 'm.toml:3:1: unknown key "tab"; "tab" belongs under [target]'),
    ],
)
def test_mistakes_under_key_are_told_with_their_place(line: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(f'[key]\nfield = "ID"\n{line}\n[fields]\n"ID" = "id"\n', file="m.toml", target_options=_Options)
    assert [str(problem) for problem in caught.value.problems] == [said]


@pytest.mark.parametrize(
    ("top", "said"),
    [
        ('[target]\ncompany = { key = ▸"compny" }\n', 'no record has "compny"; did you mean "company"?'),
        ('[target]\ncompany = { key = ▸"labels" }\n', '"labels" is a list; one value is wanted'),
        ('[target]\ncompany = { ▸kee = "id", key = "id" }\n', 'unknown key "kee"; did you mean "key"? (key, words)'),
        ("[target]\ntab = ▸1\n", '"tab" wants text in quotes, like "…"'),
        ('[target]\nmissing_columns = ▸"creat"\n', '"creat" is not one of: create, stop; did you mean "create"?'),
        ('[target]\n▸also_match = ["email"]\n', '"also_match" belongs under [key]'),
        (
            '[target]\noverwrite = ▸"only_forward"\n',
            '"only_forward" needs order = […]: set it in the field, not here',
        ),
    ],
)
def test_mistakes_in_the_target_are_told_with_their_place(top: str, said: str) -> None:
    told("", said, top=top, target_options=_Options)
