"""TOML with places: every mistake at its line and column, in plain words."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from connector.core.errors import ConfigError
from connector.core.problems import keys_at, problems_of
from connector.core.toml import Place, parse
from connector.core.words import did_you_mean, unknown_word

_text = '''\
a = 1
[t.x]
b.c = {d = "x", "e f" = [1, {g=2}]}
[[arr]]
"ü" = 'é'  # a comment
["quoted name"]
"née" = { "é" = [ "ü", 2 ] }
[arr.sub]
z = 1
[[arr]]
q.r = """
more"""
'''


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        (("a",), (1, 1), (1, 5)),
        (("t",), (2, 2), (2, 2)),
        (("t", "x"), (2, 4), (2, 4)),
        (("t", "x", "b"), (3, 1), (3, 1)),
        (("t", "x", "b", "c"), (3, 3), (3, 7)),
        (("t", "x", "b", "c", "d"), (3, 8), (3, 12)),
        (("t", "x", "b", "c", "e f"), (3, 17), (3, 25)),
        (("t", "x", "b", "c", "e f", 1), (3, 29), (3, 29)),
        (("t", "x", "b", "c", "e f", 1, "g"), (3, 30), (3, 32)),
        (("arr", 0), (4, 3), (4, 3)),
        (("arr", 0, "ü"), (5, 1), (5, 7)),
        (("quoted name", "née"), (7, 1), (7, 9)),
        (("quoted name", "née", "é"), (7, 11), (7, 17)),
        (("quoted name", "née", "é", 1), (7, 24), (7, 24)),
        (("arr", 0, "sub"), (8, 6), (8, 6)),
        (("arr", 0, "sub", "z"), (9, 1), (9, 5)),
        (("arr", 1), (10, 3), (10, 3)),
        (("arr", 1, "q", "r"), (11, 3), (11, 7)),
        (("a", "not", "there"), (1, 1), (1, 5)),
        (("nothing",), (1, 1), (1, 1)),
    ],
)
def test_every_key_and_value_knows_its_line_and_column(
    path: tuple[str | int, ...], key: tuple[int, int], value: tuple[int, int]
) -> None:
    document = parse(_text, file="x.toml")
    assert document.key_place(path) == Place(*key)
    assert document.value_place(path) == Place(*value)


def test_the_data_is_what_tomllib_reads_and_a_byte_order_mark_does_no_harm() -> None:
    assert parse("\ufeff" + _text, file="x.toml").data == tomllib.loads(_text)


def test_lines_that_end_as_on_windows_count_the_same() -> None:
    assert parse(_text.replace("\n", "\r\n"), file="x.toml").value_place(("arr", 0, "ü")) == Place(5, 7)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = \n", 'x.toml:1:5: not TOML: a value is missing here, or text without quotes: write "…"'),
        ("key = value", 'x.toml:1:7: not TOML: a value is missing here, or text without quotes: write "…"'),
        ("a = 1\na = 2\n", 'x.toml:2:1: "a" is set twice; first in line 1'),
        ("a = {b=1, b=2}", 'x.toml:1:11: "b" is set twice; first in line 1'),
        ("[x]\n\n[x]\n", 'x.toml:3:2: "x" is set twice; first in line 1'),
        ('b = "oh\nc = 1', "x.toml:1:5: not TOML: a quote is opened on this line and never closed"),
        ('ok = 1\na = """', "x.toml:2:1: not TOML: a quote is opened and never closed"),
        ("a = [1\n", "x.toml:1:1: not TOML: a [ is opened and never closed"),
        ("[a\n", "x.toml:1:3: not TOML: a ] is missing"),
        (
            "first name = 1",
            'x.toml:1:7: not TOML: an = is missing; a name with blanks or letters like ö is written in quotes: "…" = …',
        ),
        ('x = "a" y', "x.toml:1:9: not TOML: the line should end here"),
        ("a = “b”", 'x.toml:1:5: not TOML: quotes are straight here: write "…"'),
        ("a = 1\n“b” = 1", 'x.toml:2:1: not TOML: quotes are straight here: write "…"'),
        (
            "a = {\n b = 1 }",
            "x.toml:1:6: not TOML: what is in { } is on one line here; a longer table has a header of its own, "
            "like [fields.Status]",
        ),
        (
            'a = { b = "}", # {\n c = 2 }',
            "x.toml:1:16: not TOML: what is in { } is on one line here; a longer table has a "
            "header of its own, like [fields.Status]",
        ),
        ("a = { b = 1, }", "x.toml:1:14: not TOML: no comma before the }"),
        (
            'a = "C:\\Users\\ada"',
            'x.toml:1:8: not TOML: a backslash means something special inside "…": write the path with / '
            "(C:/Users/ada), or use '…'",
        ),
        (
            'a = "C:\\data\\x"',
            'x.toml:1:8: not TOML: a backslash means something special inside "…": write the path with / '
            "(C:/Users/ada), or use '…'",
        ),
        (
            'a = "\\\\server\\share"',
            'x.toml:1:14: not TOML: a backslash means something special inside "…": write the path with / '
            "(C:/Users/ada), or use '…'",
        ),
        (
            'a = "x" + "y"',
            "x.toml:1:9: not TOML: texts are not joined by +; for several values in one cell: "
            'template = "{first_name} {last_name}"',
        ),
        (
            'a = { from = "a" + "b" }',
            "x.toml:1:18: not TOML: texts are not joined by +; for several values in one cell: "
            'template = "{first_name} {last_name}"',
        ),
        ("= 1", "x.toml:1:1: not TOML: this is not a line of TOML; a line is: name = value"),
        ("a = " + "[" * 5000, "x.toml:1:1: not TOML that a person wrote: lists or tables are nested too deeply"),
    ],
)
def test_text_that_is_not_toml_is_one_problem_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, file="x.toml")
    assert [str(problem) for problem in caught.value.problems] == [said]


@given(st.text(alphabet=st.sampled_from("abé=[]{}\"'\n.#,1 \\\t"), max_size=40))
@settings(max_examples=100)
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    try:
        document = parse(text, file="x.toml")
    except ConfigError as error:
        (problem,) = error.problems
        assert problem.line >= 1
        assert problem.column >= 1
    else:
        for path in _paths(document.data):
            place = document.value_place(path)
            assert place <= Place(text.count("\n") + 1, len(text) + 1)


def _paths(data: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path] * bool(path) + [found for step, value in inner for found in _paths(value, (*path, step))]


@pytest.mark.parametrize(
    ("word", "choices", "meant"),
    [
        ("form", ["format", "from"], "from"),  # difflib says "format"
        ("emial", ["id", "name", "email"], "email"),
        ("dat", ["text", "date", "datetime"], "date"),
        ("Company Name", ["company", "name", "company_name"], "company_name"),
        ("company-name", ["company", "name"], "company"),
        ("created", ["id", "created_at"], "created_at"),
        ("line1", ["email", "address.line1"], "address.line1"),
        ("balance.current.cash", ["balances.current.cash", "balances.paid.cash"], "balances.current.cash"),
        ("STATUS", ["status"], "status"),
        ("zebra", ["email", "name"], None),
        ("x", ["id"], None),
        ("", ["id"], None),
        ("a", [], None),
    ],
)
def test_a_near_word_is_offered_and_a_far_one_is_not(word: str, choices: list[str], meant: str | None) -> None:
    assert did_you_mean(word, choices) == meant


def test_an_unknown_word_comes_with_its_neighbour_or_with_all_that_would_be_right() -> None:
    assert unknown_word("prot", ["host", "port"]) == '; did you mean "port"?'
    assert unknown_word("zebra", ["host", "port"]) == "; right would be: host, port"


class _Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["date", "text"] = Field("text", title="type")
    rule: Literal["always", "never"] = "always"
    from_: str | None = Field(None, alias="from")


class _Outer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    port: int
    ratio: Decimal | None = None
    on: bool = False
    words: list[str] = []
    tables: dict[str, _Inner] = {}
    rows: list[_Inner] | None = None
    either: str | _Inner = ""
    size: int = Field(1, gt=0)
    token: str = "long enough"

    @field_validator("token")
    @classmethod
    def _long(cls, token: str) -> str:
        if len(token) < 5:
            raise ValueError("a token has at least 5 characters")
        return token


def test_what_pydantic_finds_is_told_in_plain_words_all_at_once_in_file_order() -> None:
    document = parse(
        """\
prot = 1
on = "yes"
words = ["a", 2]
either = { kind = "txt" }
size = 0
token = "abc"
[tables.one]
form = "id"
kind = "dat"
rule = "alwys"
[tables.two]
rule = "sometimes"
kind = 3
[[rows]]
zebra = 1
""",
        file="x.toml",
    )
    with pytest.raises(ValidationError) as caught:
        _Outer.model_validate(document.data)
    assert [str(problem) for problem in problems_of(caught.value.errors(include_url=False), document, _Outer)] == [
        'x.toml:1:1: "port" is missing',
        'x.toml:1:1: unknown key "prot"; did you mean "port"? '
        "(port, ratio, on, words, tables, rows, either, size, token)",
        'x.toml:2:6: "on" wants true or false',
        'x.toml:3:15: this entry wants text in quotes, like "…"',
        'x.toml:4:19: "txt" is not a type; did you mean "text"?',
        'x.toml:5:8: "size" must be greater than 0',
        "x.toml:6:9: a token has at least 5 characters",
        'x.toml:8:1: unknown key "form"; did you mean "from"? (kind, rule, from)',
        'x.toml:9:8: "dat" is not a type; did you mean "date"?',
        'x.toml:10:8: "alwys" is not one of: always, never; did you mean "always"?',
        'x.toml:12:8: "sometimes" is not one of: always, never',
        'x.toml:13:8: "kind" is one of: date, text',
        'x.toml:15:1: unknown key "zebra"; right would be: kind, rule, from',
    ]


def test_a_section_of_a_file_is_judged_by_a_model_of_its_own() -> None:
    document = parse('[sources.a]\nkind = "dat"\n', file="config.toml")
    with pytest.raises(ValidationError) as caught:
        _Inner.model_validate(document.data["sources"]["a"])
    problems = problems_of(caught.value.errors(include_url=False), document, _Inner, path=("sources", "a"))
    assert [str(problem) for problem in problems] == ['config.toml:2:8: "dat" is not a type; did you mean "date"?']


def test_a_missing_key_is_told_at_the_table_that_lacks_it() -> None:
    document = parse("a = 1\n\n[sources.b]\n", file="config.toml")
    with pytest.raises(ValidationError) as caught:
        _Outer.model_validate(document.data["sources"]["b"])
    (problem,) = problems_of(caught.value.errors(include_url=False), document, _Outer, path=("sources", "b"))
    assert str(problem) == 'config.toml:3:10: "port" is missing'


def test_the_right_keys_of_a_table_come_from_its_model() -> None:
    assert keys_at(_Outer, ("tables", "any name")) == ["kind", "rule", "from"]
    assert keys_at(_Outer, ("rows", 3)) == ["kind", "rule", "from"]
    assert keys_at(_Outer, ("either",)) == ["kind", "rule", "from"]
    assert keys_at(_Outer, ("port",)) == []


def test_a_path_of_windows_that_is_valid_toml_by_accident_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        parse('[sinks.local]\npath = "C:\\temp\\new.csv"\n', file="x.toml")
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (2, 8)
    assert problem.text.startswith("a path of Windows")
    for right in ('"C:/temp/new.csv"', "'C:\\temp\\new.csv'", '"C:\\\\temp\\\\new.csv"'):
        assert parse(f"path = {right}\n", file="x.toml").data["path"].endswith("new.csv")
