"""What is made from the code and kept in the tree: JSON Schemas for editors, and the tables in the documents.

python -m tools.generate           writes it
python -m tools.generate --check   tells what is stale
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from connector import metrics, plugins, settings
from connector.core.mapping import PATHS, json_schema
from connector.core.mapping.model import ExampleModel, FieldModel, KeyModel, MappingModel, Step, StepName, Test
from connector.core.meanings import meaning
from connector.core.sink import TargetOptions

root = Path(__file__).parent.parent
Schema = dict[str, Any]


# ---------------------------------------------------------------- schemas


@cache
def schemas() -> tuple[tuple[str, str], ...]:
    """Path and text of every schema: the configuration's, and a mapping file's by kind of sink."""
    mappings = [
        (f"schemas/mapping.{kind}.schema.json", _text(mapping_schema(plugins.sink_class(kind).TargetOptions, kind)))
        for kind in plugins.sink_types()
    ]
    return (("schemas/config.schema.json", _text(config_schema())), *mappings)


def config_schema() -> Schema:
    """Of config.toml; a table of a source or sink is told by its ``type``."""
    schema = settings.Root.model_json_schema()
    definitions = schema.setdefault("$defs", {})
    _give_files(definitions["MetricsSettings"], "token")
    _give_files(definitions["AlertSettings"], "url")
    for model in (settings.PageSettings, settings.PageUser):
        _describe(definitions[model.__name__], model)
        for name in ("password", "password_hash"):
            _give_files(definitions[model.__name__], name)
    for table, kinds, load in (
        ("sources", plugins.source_types(), plugins.source_class),
        ("sinks", plugins.sink_types(), plugins.sink_class),
    ):
        choices: list[Schema] = []
        for kind in kinds:
            options: type[BaseModel] = load(kind).Options
            name = f"{table}.{kind}"
            definitions[name] = _options_schema(options, kind, definitions)
            choices.append(_when_type(kind, name))
        schema["properties"][table] = {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["type"],
                "properties": {"type": {"enum": list(kinds)}},
                "allOf": choices,
            },
            "propertyNames": {"pattern": "^[a-z0-9][a-z0-9_-]{0,39}$"},
            "description": f"[{table}.NAME]: one table for each.",
        }
    schema["required"] = ["sources", "sinks"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Configuration"}


def _when_type(kind: str, name: str) -> Schema:
    return {
        "if": {"properties": {"type": {"const": kind}}, "required": ["type"]},
        "then": {"$ref": f"#/$defs/{name}"},
    }


def _options_schema(options: type[BaseModel], kind: str, definitions: dict[str, Any]) -> Schema:
    schema = options.model_json_schema()
    definitions.update(schema.pop("$defs", {}))
    schema["properties"]["type"] = {"const": kind}
    _describe(schema, options)
    for name in list(schema["properties"]):
        if name not in ("type", "mappings", "path") and not name.endswith("_file"):
            _give_files(schema, name)
    return schema


def _give_files(schema: Schema, name: str) -> None:
    """``NAME_file`` beside a text setting, which then need not be there itself."""
    properties = schema["properties"]
    if f"{name}_file" in properties or not _takes_text(properties[name]):
        return
    properties[f"{name}_file"] = {"type": "string", "description": f"A file that holds {name}."}
    if name in schema.get("required", ()):
        schema["required"].remove(name)
        schema.setdefault("allOf", []).append({"anyOf": [{"required": [name]}, {"required": [f"{name}_file"]}]})


def _takes_text(setting: Schema) -> bool:
    if "enum" in setting or "const" in setting:
        return False
    kinds = [setting, *setting.get("anyOf", ())]
    return any(k.get("type") == "string" or (k.get("items") or {}).get("type") == "string" for k in kinds)


def _describe(schema: Schema, model: type[BaseModel]) -> None:
    """The words under a field in the code (a bare text below it) as its description."""
    for name, text in attribute_words(model).items():
        if name in schema.get("properties", {}):
            schema["properties"][name].setdefault("description", text)


def mapping_schema(options: type[TargetOptions], kind: str) -> Schema:
    """Of a mapping file for that kind of sink: with its own ``[target]`` and ``[key]``."""
    schema = copy.deepcopy(json_schema())
    target = options.model_json_schema()
    definitions = schema["$defs"]
    definitions.update(target.pop("$defs", {}))
    _describe(target, options)
    in_key = {name: target["properties"].pop(name) for name in sorted(options.in_key_table)}
    target["description"] = f"Where; for a sink of type {kind}."
    schema["properties"]["target"] = target
    definitions["KeyModel"]["properties"].update(in_key)
    definitions["KeyModel"]["additionalProperties"] = False
    if target.get("required"):
        schema["required"] = [*schema["required"], "target"]
    return {**schema, "title": f"Mapping file, {kind}"}


def _text(schema: Schema) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def attribute_words(model: type[BaseModel]) -> dict[str, str]:
    """By field: the text that stands below it in the class, and in those above it."""
    import ast
    import inspect
    import textwrap

    found: dict[str, str] = {}
    for part in reversed(model.__mro__):
        if part is BaseModel or not issubclass(part, BaseModel):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(part))).body[0]
        assert isinstance(body, ast.ClassDef)
        for before, after in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(before, ast.AnnAssign)
                and isinstance(before.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            ):
                found[before.target.id] = " ".join(inspect.cleandoc(after.value.value).replace("``", "`").split())
    return found


# ---------------------------------------------------------------- documents


def documents(folder: Path = root) -> Iterator[tuple[str, str]]:
    """Path and text of every document with a generated part, as it should be."""
    parts = {"metrics": _metrics_table, **_mapping_parts}
    for file in sorted((folder / "docs").glob("*.md")):
        text = file.read_text(encoding="utf-8")
        pattern = re.compile(r"(<!-- generated: ([a-z-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
        if pattern.search(text):
            yield f"docs/{file.name}", pattern.sub(lambda m: m[1] + parts[m[2]]() + m[4], text)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join("| " + " | ".join(_plain(cell) for cell in line) + " |\n" for line in lines)


def _plain(cell: str) -> str:
    """*cell* without what Markdown would take for a column's end or for emphasis."""
    cell = cell.replace("|", "\\|")
    return cell if "`" in cell else cell.replace("*", "\\*")


def _metrics_table() -> str:
    rows = [[f"`{m.name}`", m.kind, ", ".join(f"`{label}`" for label in m.labels), m.text] for m in metrics.described()]
    return _table(["name", "kind", "labels", "what"], rows)


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        yield field.alias or name, field


def _fields_table() -> str:
    return _model_table(FieldModel)


def _model_table(model: type[BaseModel]) -> str:
    return _table(["key", "meaning"], [[f"`{name}`", field.description or ""] for name, field in _fields(model)])


def _file_table() -> str:
    rows = []
    for name, field in _fields(MappingModel):
        shown = {"target": "`[target]`", "key": "`[key]`", "when": "`[when]`", "fields": "`[fields]`",
                 "examples": "`[[examples]]`"}.get(name, f"`{name}`")  # fmt: skip
        rows.append([shown, field.description or ""])
    rows += [[f"`[key]` `{name}`", field.description or ""] for name, field in _fields(KeyModel)]
    rows += [[f"`[[examples]]` `{name}`", field.description or ""] for name, field in _fields(ExampleModel)]
    return _table(["", "meaning"], rows)


def _steps_table() -> str:
    rows = [[" ".join(f'`"{name}"`' for name in get_args(StepName)), "Without a value."]]
    rows += [[f"`{{ {name} = … }}`", field.description or ""] for name, field in _fields(Step)]
    return _table(["step", "meaning"], rows)


def _targets_table() -> str:
    common = set(TargetOptions.model_fields)
    words = attribute_words(TargetOptions)
    rows = [
        [f"`{name}`", "all", _default(field), words.get(name, "")] for name, field in TargetOptions.model_fields.items()
    ]
    for kind in plugins.sink_types():
        options = plugins.sink_class(kind).TargetOptions
        words = attribute_words(options)
        for name, field in options.model_fields.items():
            if name not in common:
                place = f"`[key]` `{name}`" if name in options.in_key_table else f"`{name}`"
                rows.append([place, f"`{kind}`", _default(field), words.get(name, "")])
    return _table(["key", "sink", "default", "meaning"], rows)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return "" if field.default in (None, ()) else f"`{json.dumps(field.default)}`"


def _paths_table() -> str:
    rows = []
    for path, kind in PATHS.items():
        if kind.holds == "table":
            continue
        holds = {"decimal": "amount", "datetime": "time", "any": "text, number or true/false"}.get(
            kind.holds, kind.holds
        )
        holds += " (list)" if kind.many else ""
        said = meaning(path)
        words = " ".join(f"`{word}`" for word in kind.words or ())
        rows.append([f"`{path}`", holds, words or (said.what if said is not None else "")])
    return _table(["path", "holds", "meaning"], rows)


_mapping_parts = {
    "file": _file_table,
    "fields": _fields_table,
    "steps": _steps_table,
    "tests": lambda: _model_table(Test),
    "targets": _targets_table,
    "paths": _paths_table,
}


# ---------------------------------------------------------------- the command


def stale(folder: Path = root) -> list[str]:
    """The files in *folder* that are not what the code makes."""
    wrong: list[str] = []
    for name, text in (*schemas(), *documents(folder)):
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            wrong.append(name)
    return wrong


def write(folder: Path = root) -> list[str]:
    """Write what is stale; its names."""
    wrong = stale(folder)
    for name, text in (*schemas(), *documents(folder)):
        if name in wrong:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
    return wrong


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.generate")
    parser.add_argument("--check", action="store_true")
    checking = parser.parse_args(arguments).check
    found = stale() if checking else write()
    for name in found:
        sys.stderr.write(f"{name}: {'is stale; run: just generate' if checking else 'written'}\n")
    return 1 if checking and found else 0


if __name__ == "__main__":
    sys.exit(main())
