"""``[[examples]]`` of a mapping file: the records and the rows they must give, checked for form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from connector.core.mapping.mapping import Example
from connector.core.mapping.model import ExampleModel, MappingModel
from connector.core.mapping.reading import Reading
from connector.core.problems import problems_of
from connector.core.record import AffiliateRecord
from connector.core.toml import Path
from connector.core.view import fill_decimals
from connector.core.words import unknown_word


def examples_of(reading: Reading, whole: MappingModel | None, columns: Sequence[str]) -> list[Example]:
    """The examples that have the right form.

    Args:
        whole: the file as a model; None when its structure is wrong, and each example is looked at alone.
        columns: the names that rows may have.
    """
    raw_examples = reading.document.data.get("examples")
    columns = list(dict.fromkeys(columns))
    found: list[Example] = []
    for number, raw in enumerate(raw_examples if isinstance(raw_examples, list) else ()):
        at: Path = ("examples", number)
        try:
            model = ExampleModel.model_validate(raw) if whole is None else whole.examples[number]
        except ValidationError:
            continue  # reported with the structure of the file
        if (model.row is None) is (model.rows is None):
            reading.say(at, 'an example needs row = { … } or row = "skipped"', at="key")
            continue
        for place, row in _expected(model, at):
            for column in row:
                if columns and column not in columns:
                    text = f'[fields] has no "{column}"' + unknown_word(column, columns)
                    reading.say((*place, column), text, at="key")
        record = _record(reading, model.record, (*at, "record"))
        if record is None:
            continue
        rows = None if model.row == "skipped" else [row for _, row in _expected(model, at)]
        found.append(Example(model.name, number, record, rows, single=model.rows is None, today=model.today))
    return found


def _expected(model: ExampleModel, at: Path) -> list[tuple[Path, dict[str, Any]]]:
    if isinstance(model.row, dict):
        return [((*at, "row"), model.row)]
    return [((*at, "rows", number), row) for number, row in enumerate(model.rows or ())]


def _record(reading: Reading, raw: dict[str, Any], at: Path) -> AffiliateRecord | None:
    try:
        record = AffiliateRecord.model_validate(raw)
    except ValidationError as error:
        others: list[ErrorDetails] = []
        for details in error.errors(include_url=False):
            if details["type"] == "extra_forbidden":
                path = ".".join(step for step in details["loc"] if isinstance(step, str))
                reading.say((*at, *details["loc"]), f'no record has "{path}"' + reading.paths.guess(path), at="key")
            elif details["type"] == "missing" and details["loc"] == ("id",):
                reading.say(at, 'a record needs an id, like id = "acme:41"')
            else:
                others.append(details)
        reading.problems += problems_of(others, reading.document, AffiliateRecord, path=at)
        return None
    # "acme:41" says both; a real record always has them.
    source, _, platform_id = record.id.partition(":")
    filled: dict[str, Any] = {}
    if record.source is None and platform_id:
        filled["source"] = source
    if record.affiliate_id is None and platform_id:
        filled["affiliate_id"] = platform_id
    platforms = reading.vocabularies["platform"]
    if record.platform is None and platform_id and (source in platforms or not platforms):
        filled["platform"] = source
    data = record.model_copy(update=filled).model_dump()
    fill_decimals(data)  # as of every real record
    return AffiliateRecord.model_validate(data)
