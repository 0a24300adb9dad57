"""The mapping file as Pydantic models: which keys it has and what each may hold. Knows no record and no position.

Editors get their completion and hover help from here (``json_schema``), the loader its right words.
"""

# No postponed annotations here: Pydantic would compile each one from its text, a millisecond of every start.

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, StringConstraints, Tag

from connector.core.row import ColumnType, Overwrite

Scalar = str | int | float | bool | datetime | date
Word = Annotated[str, StringConstraints(min_length=1)]
Operand = Word | int | float
"""Of a calculation: a number, or a path that holds one."""

_STEP_VALUES = {
    "join": '{ join = ", " }', "split": '{ split = "," }', "replace": '{ replace = ["a", "b"] }',
    "truncate": "{ truncate = 50 }", "prefix": '{ prefix = "…" }', "suffix": '{ suffix = "…" }',
    "plus": "{ plus = 1 }", "minus": '{ minus = "balances.paid.cash" }', "times": "{ times = 100 }",
    "divided_by": '{ divided_by = "stats.leads" }', "round": "{ round = 2 }", "days_since": "{ days_since = true }",
}  # fmt: skip


def _needs_no_value(name: Any) -> Any:
    if isinstance(name, str) and name in _STEP_VALUES:
        raise ValueError(f'"{name}" needs a value: {_STEP_VALUES[name]}')
    return name


StepName = Literal["trim", "lower", "upper", "title", "tidy_spaces", "sort", "unique", "first", "last", "count"]

map_description = 'Words to words: { active = "Active", "*" = "Check" }; "*" is anything else. Case does not count.'


class Part(BaseModel):
    # Built when a file is read: a start need not wait for one of each part.
    # Strict: a number in quotes is reported, not guessed at.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=False, defer_build=True)


class Step(Part):
    """A step of ``then`` that needs a value; exactly one key."""

    join: str | None = Field(None, description="The entries of a list as one text, with this between them.")
    split: Word | None = Field(None, description="A text as a list, cut at this; blanks are dropped.")
    replace: Annotated[list[str], Field(min_length=2, max_length=2)] | None = Field(
        None, description='["a", "b"]: every a becomes b.'
    )
    truncate: Annotated[int, Field(ge=1)] | None = Field(None, description="At most so many characters.")
    prefix: str | None = Field(None, description="Text to put before a value that is not empty.")
    suffix: str | None = Field(None, description="Text to put after a value that is not empty.")
    plus: Operand | None = Field(None, description="Adds a number, or what a path holds.")
    minus: Operand | None = Field(None, description='Takes away a number, or what a path holds: "balances.paid.cash".')
    times: Operand | None = Field(None, description="Multiplies by a number, or by what a path holds.")
    divided_by: Operand | None = Field(None, description="Divides; by 0 it is empty. A missing operand is empty, too.")
    round: Annotated[int, Field(ge=0, le=10)] | None = Field(None, description="To so many decimals; a half goes up.")
    days_since: Literal[True] | None = Field(
        None, description="true: the days from a date until today (UTC). Rows are made anew every day."
    )


def _table_or_name(step: Any) -> str:
    return "table" if isinstance(step, dict | Step) else "name"


class Test(Part):
    """Tests of one path; all must hold. Case does not count; on a list one fitting entry is enough."""

    is_: Scalar | None = Field(None, alias="is", description="Equal to this.")
    not_: Scalar | None = Field(None, alias="not", description="Anything but this; an empty value passes.")
    in_: Annotated[list[Scalar], Field(min_length=1)] | None = Field(None, alias="in", description="One of these.")
    not_in: Annotated[list[Scalar], Field(min_length=1)] | None = Field(
        None, description="None of these; an empty value passes."
    )
    exists: bool | None = Field(None, description="true: not empty; false: empty. 0 and false are values.")
    contains: Scalar | None = Field(None, description="A text that has this in it, a list that has this entry.")
    starts_with: Word | None = Field(None, description="A text that begins so.")
    ends_with: Word | None = Field(None, description="A text that ends so.")
    gt: Scalar | None = Field(None, description="Greater (a number), or later (a date).")
    gte: Scalar | None = Field(None, description="Greater or equal, not earlier.")
    lt: Scalar | None = Field(None, description="Less, or earlier.")
    lte: Scalar | None = Field(None, description="Less or equal, not later.")


When = dict[str, Scalar | list[Scalar] | Test]


class OptionModel(Part):
    """One choice of an enumeration property."""

    value: Word = Field(description="What is written.")
    label: str | None = Field(None, description="What people see; the value itself when not given.")


def _a_list_of_cases(cases: Any) -> Any:
    if not isinstance(cases, dict):
        return cases
    raise ValueError('wants a list: [{ when = { … }, value = "…" }]')


class CaseModel(Part):
    """One of ``cases``."""

    when: When | None = Field(None, description="For which records; all its lines must hold.")
    value: Scalar = Field(description="The value then.")


_AnyStep = Annotated[
    Annotated[StepName, BeforeValidator(_needs_no_value), Tag("name")] | Annotated[Step, Tag("table")],
    Discriminator(_table_or_name),
]


class FieldModel(Part):
    """One column or property: where its value comes from and how it is shaped.

    Order: when → from | value | template | cases → then → map → type → format → default → the overwrite rule.
    """

    from_: Word | Annotated[list[Word], Field(min_length=1)] | None = Field(
        None,
        alias="from",
        description="A path of the record, or several: the first that is not empty. 0 and false are values.",
    )
    value: Scalar | None = Field(None, description="A constant.")
    template: str | None = Field(
        None, description='Text with paths in it: "{first_name} {last_name}". Empty when all its paths are empty.'
    )
    require: Literal["any", "all"] | None = Field(
        None,
        description='For a template: "all" leaves it empty when one of its paths is; "any" (default) when all are.',
    )
    cases: Annotated[list[CaseModel], Field(min_length=1), BeforeValidator(_a_list_of_cases)] | None = Field(
        None,
        description="The value of the first case whose when holds; of none: default, and the cell goes back to it.",
    )
    where: When | None = Field(None, description='With pick: which entry of the list: { name = "VIP" }; the first.')
    pick: Word | None = Field(None, description='What to take of one entry of the list that from names: "promo_code".')
    then: list[_AnyStep] | None = Field(
        None, title="step", description="Steps, one after the other. Text steps take each entry of a list."
    )
    map: Annotated[dict[str, Scalar], Field(min_length=1)] | None = Field(None, description=map_description)
    type: ColumnType | None = Field(
        None, title="type", description="What the cell holds; when not given, what the path holds."
    )
    timezone: str | None = Field(None, description='For date and datetime: "Europe/London"; UTC when not given.')
    region: str | None = Field(
        None, description='For phone: the country whose numbers lack "+", like "GB"; else the record\'s country.'
    )
    currency: str | None = Field(None, description='For money: "EUR"; when not given, the record\'s currency.')
    format: Word | None = Field(
        None, description='Numbers and dates as text: "DD.MM.YYYY", "#,##0.00"; dates also short, medium, long, full.'
    )
    locale: Word | None = Field(None, description='The language of format: "de", "en-GB"; en when not given.')
    show: Literal["code", "name"] | None = Field(None, description="For country: GB, or United Kingdom. Default: code.")
    default: Scalar | list[str] | None = Field(None, description="The value when it is still empty.")
    when: When | None = Field(None, description="Only for these records; the cell of others is left untouched.")
    overwrite: Overwrite | None = Field(
        None,
        title="overwrite rule",
        description="What happens to a value that is there already; [target] sets it for all fields.",
    )
    order: list[Word] | None = Field(None, description="For only_forward: the stages from first to last.")
    on_error: Literal["leave_empty", "dead_letter"] | None = Field(
        None,
        description="When the value does not fit: leave_empty costs the cell, dead_letter the row. Default: "
        "leave_empty; for the key, and HubSpot's email, dead_letter.",
    )
    label: str | None = Field(None, description="HubSpot: the label of a property that is created.")
    options: list[Word | OptionModel] | dict[str, str] | None = Field(
        None, description='HubSpot: the choices of a property that is created; ["a", "b"] or { a = "Label of a" }.'
    )
    group: str | None = Field(None, description="HubSpot: the group of a property that is created.")


class KeyModel(BaseModel):
    """``[key]``: the field that finds the row again. A sink may have further keys here."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, defer_build=True)

    field: Word = Field(description="The column or property that finds the row again; one of [fields].")


class ExampleModel(Part):
    """A record, and the row that it must give; only the columns named are compared."""

    name: str = Field("", description="What the example shows.")
    record: dict[str, Any] = Field(description="A record, or as much of one as matters.")
    today: date | None = Field(None, description="The day of the example, for days_since.")
    row: dict[str, Any] | Literal["skipped"] | None = Field(None, description='Cells by column, or "skipped".')
    rows: list[dict[str, Any]] | None = Field(None, description="With for_each: one table of cells a row, in order.")


class MappingModel(Part):
    """One target: a tab of a spreadsheet, HubSpot contacts, a CSV file."""

    name: str | None = Field(None, description="What people call it; the file's name when not given.")
    for_each: str | None = Field(
        None, description='A list of the record, like "users": one row an entry; "item." reaches into it.'
    )
    target: dict[str, Any] = Field({}, description="Where; the keys depend on the kind of sink.")
    key: KeyModel = Field(description="What finds the row again.")
    when: When = Field({}, description="Only records for which every line holds.")
    fields: Annotated[dict[str, Word | FieldModel], Field(min_length=1)] = Field(
        description='Column = where its value comes from: a path, or { from = "path", … }.'
    )
    examples: list[ExampleModel] = Field([], description="Records and the rows they must give.")


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a mapping file, for editors (a ``#:schema`` line at the top of the file names it)."""
    schema = MappingModel.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Mapping file"}
