"""What documents and shipped files say: the format's own description, the mappings that come with the program."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest

from connector import plugins
from connector.core.mapping import PATHS, json_schema, load
from connector.core.mapping.model import FieldModel, MappingModel
from connector.core.row import ColumnType
from connector.core.sink import TargetOptions
from tests.core.mapping.support import sources

_root = Path(__file__).parents[3]
_document = _root.parent / "shared" / "docs" / "mapping.md"
_shipped = sorted((_root / "mappings").glob("*.toml"))


class _Sheet(TargetOptions):
    tab: str


def _text() -> str:
    if not _document.exists():
        pytest.skip(f"the description of the format is not beside the checkout: {_document.name}")
    return _document.read_text(encoding="utf-8")


def test_the_example_of_the_document_loads_and_its_examples_hold() -> None:
    found = re.search(r"```toml\n(.*?)```", _text(), re.DOTALL)
    assert found is not None
    loaded = load(found[1], file="mappings/affiliates.toml", target_options=_Sheet, source_names=sources)
    assert loaded.run_examples() == []
    assert loaded.name == "Affiliates"
    assert {column.name: column.type for column in loaded.columns} == {
        "Affiliate ID": "text", "Name": "text", "Email": "email", "Status": "text", "Link": "url", "Tags": "text",
        "Balance": "money", "Joined": "date", "Country": "country",
    }  # fmt: skip
    assert loaded.target("x/y").column("Joined").overwrite == "only_if_empty"


def test_every_path_that_the_document_names_is_a_path_of_the_record() -> None:
    listed = _text().partition("## The record's paths")[2]
    plain = re.sub(r"\([^)]*\)|…", "", listed.partition("Money:")[0])
    named: set[str] = set()
    for quoted in re.findall(r"`([^`]*)`", plain.replace("\n", " ")):
        for path in quoted.split():
            group = re.fullmatch(r"([\w.{},]+?)\.\{([^{}]*)\}", path)
            heads = [group[1]] if group else [path.replace("[]", "")]
            heads = [before + name + after for head in heads for before, name, after in _spread(head)]
            tails = group[2].split(",") if group else [""]
            named |= {f"{head}.{tail}" if tail else head for head in heads for tail in tails}
    assert len(named) > 60
    assert named - {"custom.*"} <= set(PATHS), named - set(PATHS)


def _spread(head: str) -> list[tuple[str, str, str]]:
    found = re.fullmatch(r"(.*)\{(.*)\}(.*)", head)
    return [(found[1], name, found[3]) for name in found[2].split(",")] if found else [(head, "", "")]


def test_every_key_of_the_documents_table_is_a_key_of_the_model_and_the_reverse() -> None:
    table = _text().partition("| key | meaning |")[2].partition("\n\n")[0]
    named = set(
        re.findall(r"`(\w+)", " ".join(line.split("|")[1] for line in table.splitlines() if line.count("|") > 3))
    )
    known = {field.alias or name for name, field in FieldModel.model_fields.items()} | set(MappingModel.model_fields)
    assert named <= known | {"X", "users", "examples"}
    words = set(re.findall(r"\w+", _text()))
    known -= {"require", "cases", "pick", "locale"}  # came after the document
    assert known <= words, known - words


@pytest.mark.parametrize("file", _shipped, ids=lambda file: file.name)
def test_every_shipped_mapping_loads_and_its_examples_hold(file: Path) -> None:
    kind = {"local_csv": "csv", "google_sheets": "google_sheets", "hubspot_contacts": "hubspot"}[file.stem]
    if kind not in plugins.sink_types():
        pytest.fail(f"no sink of type {kind}")
    options = plugins.sink_class(kind).TargetOptions
    loaded = load(file.read_text("utf-8"), file=file.name, target_options=options, source_names=sources)
    assert loaded._examples
    assert [str(problem) for problem in loaded.run_examples()] == []


@pytest.mark.parametrize("file", _shipped, ids=lambda file: file.name)
def test_a_shipped_mapping_needs_no_particular_source(file: Path) -> None:
    kind = {"local_csv": "csv", "google_sheets": "google_sheets", "hubspot_contacts": "hubspot"}[file.stem]
    options = plugins.sink_class(kind).TargetOptions
    assert load(
        file.read_text("utf-8"),
        file=file.name,
        target_options=options,
        source_names=("my_own",),
        platforms=tuple(plugins.source_types()),
    ).columns


vocabulary = [
    "Name", "Status", "Email", "Company", "Country", "Manager", "Campaign", "Code", "Link", "Labels", "Clicks", "Leads",
    "Customers", "Sales", "Currency", "Revenue", "Commission", "Balance due", "Paid out", "Joined", "Last event",
    "Last event at", "Platform", "Affiliate ID",
]  # fmt: skip


def test_the_local_table_has_what_a_marketing_team_looks_for() -> None:
    data = tomllib.loads((_root / "mappings" / "local_csv.toml").read_text("utf-8"))
    assert list(data["fields"]) == vocabulary


def test_shipped_mappings_speak_one_vocabulary() -> None:
    tables = [_shipped_fields(name) for name in ("local_csv", "google_sheets")]
    assert [list(fields) for fields in tables] == [vocabulary, vocabulary]
    assert tables[0] == tables[1]
    labels = {field["label"] for field in _shipped_fields("hubspot_contacts").values() if "label" in field}
    ours = {f"Affiliate {name[0].lower()}{name[1:]}" for name in vocabulary} - {
        "Affiliate name", "Affiliate email", "Affiliate company", "Affiliate country", "Affiliate manager",
        "Affiliate affiliate ID",
    } | {"Affiliate ID"}  # fmt: skip
    assert labels == ours


def _shipped_fields(name: str) -> dict[str, Any]:
    fields: dict[str, Any] = tomllib.loads((_root / "mappings" / f"{name}.toml").read_text("utf-8"))["fields"]
    return fields


def test_the_schema_for_editors_names_every_key_with_a_description() -> None:
    schema = json_schema()
    assert schema["$schema"].endswith("2020-12/schema")
    field = schema["$defs"]["FieldModel"]["properties"]
    assert set(field) == {made.alias or name for name, made in FieldModel.model_fields.items()}
    for name, described in {**field, **schema["properties"]}.items():
        assert described.get("description") or name == "on_error", name
    assert _words(field["type"]) == set(get_args(ColumnType))
    assert {"trim", "lower", "sort", "count"} <= _words(schema)


def _words(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        here = {word for word in schema.get("enum", ()) if isinstance(word, str)}
        return here.union(*map(_words, schema.values()))
    if isinstance(schema, list):
        return set[str]().union(*map(_words, schema))
    return set()
