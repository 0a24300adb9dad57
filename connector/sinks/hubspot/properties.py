"""What is to be said to HubSpot and what its answers mean: properties, values, rules, errors. Pure.

Facts: HubSpot's property documentation and recorded answers, read 2026-11 (../shared/docs/hubspot.md has them all).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from email_validator import EmailNotValidError, validate_email

from connector.core.overwrite import decide, needs_what_is_there
from connector.core.row import Cell, Column, Row

longest_text = 65_536  # characters of a string property
never_sent = "hs_marketable_status"  # deciding who is a marketing contact is billed: people do it

schema_codes = frozenset({"PROPERTY_DOESNT_EXIST", "READ_ONLY_VALUE"})
"""Item errors that are no fault of the item: the account's properties are not what the preflight saw."""

_property_name = re.compile(r"[a-z][a-z0-9_]{0,99}")
_plain_email = re.compile(r"[a-z0-9]+([._+-][a-z0-9]+)*@([a-z0-9]+(-[a-z0-9]+)*\.)+[a-z]{2,24}")
_special_domains = (".test", ".invalid", ".local", ".localhost", ".arpa", ".onion")  # email-validator knows the rest
_broken = re.compile("[\ud800-\udfff]")  # half a character: no valid JSON text
_number = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?")
_fits: Mapping[str, frozenset[str]] = {
    "number": frozenset({"number"}),
    "integer": frozenset({"number"}),
    "money": frozenset({"number"}),
    "boolean": frozenset({"bool", "enumeration"}),
    "date": frozenset({"date", "datetime"}),
    "datetime": frozenset({"datetime", "date"}),
    "list": frozenset({"enumeration"}),
}
"""By column type, the property types that take it; string takes all, and text goes into all that check it."""


@dataclass(frozen=True, slots=True)
class Property:
    """A property as the account has it.

    Args:
        options: the values that an enumeration takes; None when HubSpot keeps them elsewhere (owners, stages).
    """

    name: str
    type: str
    field_type: str = "text"
    options: frozenset[str] | None = None
    read_only: bool = False
    unique: bool = False


def read_properties(definitions: Iterable[Mapping[str, Any]]) -> dict[str, Property]:
    """What ``GET /crm/v3/properties/…`` lists, by name."""
    found = {}
    for each in definitions:
        listed = each.get("type") == "enumeration" and not each.get("externalOptions")
        metadata = each.get("modificationMetadata") or {}
        found[each["name"]] = Property(
            name=each["name"],
            type=each.get("type") or "string",
            field_type=each.get("fieldType") or "text",
            options=frozenset(option["value"] for option in each.get("options") or ()) if listed else None,
            read_only=bool(each.get("calculated")) or bool(metadata.get("readOnlyValue")),
            # E-mail finds contacts although its definition does not say that it is unique.
            unique=bool(each.get("hasUniqueValue")) or each["name"] == "email",
        )
    return found


def definition(column: Column, *, key: bool, group: str) -> dict[str, Any]:
    """How a missing property is created for *column*."""
    type_, field_type = {
        "number": ("number", "number"),
        "integer": ("number", "number"),
        "money": ("number", "number"),
        "boolean": ("bool", "booleancheckbox"),
        "date": ("date", "date"),
        "datetime": ("datetime", "date"),
    }.get(column.type, ("string", "text"))
    options = [(option.value, option.label) for option in column.options]
    if type_ == "bool":
        options = [("true", "Yes"), ("false", "No")]
    elif options and type_ == "string" and not key:
        type_, field_type = "enumeration", "checkbox" if column.type == "list" else "select"
    made: dict[str, Any] = {
        "name": column.name,
        "label": column.label or column.name.replace("_", " ").capitalize(),
        "type": type_,
        "fieldType": field_type,
        "groupName": column.group or group,
        "hasUniqueValue": key,
    }
    if options and type_ in ("enumeration", "bool"):
        made["options"] = [
            {"value": value, "label": label, "displayOrder": place, "hidden": False}
            for place, (value, label) in enumerate(options)
        ]
    return made


def group_label(name: str) -> str:
    """What people see of a property group's name."""
    return name.replace("_", " ").capitalize()


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a column can't be written at all; *text* says what to do."""

    column: str
    text: str


def troubles(columns: Sequence[Column], key: str, known: Mapping[str, Property], kind: str) -> list[Trouble]:
    """What stands between *columns* and the account's properties, beside properties that are missing."""
    found = []
    for column in columns:
        name, there = column.name, known.get(column.name)
        at = f" ({column.where})" if column.where else ""
        if name == never_sent:
            found.append(
                Trouble(name, f"{name}{at} is billed by HubSpot and never written; take it out of the mapping")
            )
        elif there is None:
            if not _property_name.fullmatch(name):
                found.append(
                    Trouble(
                        name,
                        f'"{name}"{at} can\'t be the name of a HubSpot property: small letters, digits and _ only, a '
                        f'letter first; for example "{proper_name(name)}", with label = "{name}"',
                    )
                )
        elif there.read_only:
            found.append(Trouble(name, f"{name}{at} is read-only in HubSpot; take it out of the mapping"))
        elif name == key and not there.unique:
            found.append(
                Trouble(
                    name,
                    f"{name}{at} is the key, but not unique in HubSpot, and a property can be made unique only when it "
                    f"is created: name another property under [key] (it is created), or delete {name} in HubSpot: "
                    f"Settings → Properties → {kind}",
                )
            )
        elif there.type != "string" and there.type not in _fits.get(column.type, {there.type}):
            found.append(
                Trouble(
                    name,
                    f"{name}{at} is of type {there.type} in HubSpot, but {column.type} in the mapping: change the "
                    "field's type, or name another property",
                )
            )
    return found


def proper_name(name: str) -> str:
    """The nearest name that HubSpot accepts for a property."""
    proper = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return proper if proper[:1].isalpha() else f"p_{proper}"


# ---------------------------------------------------------------- values


def text_of(cell: Cell, to: Property) -> str:
    """*cell* as HubSpot takes it for the property; "" for an empty cell (which clears)."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        if to.name == "email":
            return cell.strip().lower()
        return cell if to.type == "string" else cell.strip()
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int):
        return str(cell)
    if isinstance(cell, Decimal):
        return format(cell, "f")
    if isinstance(cell, datetime):
        if to.type == "date":
            return cell.date().isoformat()
        return cell.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(cell, date):
        return f"{cell.isoformat()}T00:00:00.000Z" if to.type == "datetime" else cell.isoformat()
    return (";" if to.type == "enumeration" else ", ").join(cell)


def wrong_with(text: str, to: Property) -> str | None:
    """The code with which HubSpot would refuse *text* for the property, as far as that can be known here."""
    if not text:
        return None
    kind = to.type
    if not text.isascii() and _broken.search(text):
        return "BROKEN_TEXT"
    if kind == "string":
        if to.name == "email" and not _email_is_possible(text):
            return "INVALID_EMAIL"
        return "PROPERTY_VALUE_TOO_LONG" if len(text) > longest_text else None
    if kind == "number":
        return None if _number.fullmatch(text) else "INVALID_INTEGER"
    if kind == "bool":
        return None if text in ("true", "false") else "INVALID_OPTION"
    if kind == "enumeration" and to.options is not None:
        parts = text.split(";") if to.field_type == "checkbox" else (text,)
        return None if all(part in to.options for part in parts) else "INVALID_OPTION"
    if kind in ("date", "datetime") and not text.isdigit():
        try:
            datetime.fromisoformat(text)
        except ValueError:
            return "INVALID_DATE" if kind == "date" else "INVALID_LONG"
    return None


def _email_is_possible(text: str) -> bool:
    if _plain_email.fullmatch(text) and not text.endswith(_special_domains):
        return True  # the library takes 30 µs for what nearly every address is
    try:
        validate_email(text, check_deliverability=False)
    except EmailNotValidError:
        return False
    return True


Convert = Callable[[Cell], tuple[str, str | None]]
"""A cell that is not None -> its text, and the code with which HubSpot would refuse it."""


def converter(to: Property) -> Convert:
    """``text_of`` and ``wrong_with`` for one property, with short ways for the types that nearly all cells have."""
    kind, options = to.type, to.options

    def convert(cell: Cell) -> tuple[str, str | None]:
        text = text_of(cell, to)
        return text, wrong_with(text, to)

    def string(cell: Cell) -> tuple[str, str | None]:
        if type(cell) is str and len(cell) <= longest_text and (cell.isascii() or not _broken.search(cell)):
            return cell, None
        return convert(cell)

    def number(cell: Cell) -> tuple[str, str | None]:
        if type(cell) is int:
            return str(cell), None
        if type(cell) is Decimal and cell.is_finite():
            return format(cell, "f"), None
        return convert(cell)

    def choice(cell: Cell) -> tuple[str, str | None]:
        if type(cell) is str and options is not None and cell in options:
            return cell, None
        return convert(cell)

    if kind == "string" and to.name != "email":
        return string
    return {"number": number, "enumeration": choice}.get(kind, convert)


def same(there: str | None, new: str, to: Property) -> bool:
    """Whether what HubSpot says is there is what would be written: "12.50" is 12.5, and e-mails have no case."""
    if (there or "") == new:
        return True
    if not there or not new:
        return False
    if to.type == "number":
        try:
            return Decimal(there) == Decimal(new)
        except InvalidOperation:
            return False
    if to.type in ("date", "datetime"):
        try:
            return _moment(there) == _moment(new)
        except (ValueError, OverflowError):
            return False
    if to.name == "email":
        return there.lower() == new.lower()
    if to.type == "enumeration" and to.field_type == "checkbox":
        return set(there.split(";")) == set(new.split(";"))
    return False


def _moment(text: str) -> datetime:
    if text.lstrip("-").isdigit():
        return datetime.fromtimestamp(int(text) / 1000, UTC)
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


# ---------------------------------------------------------------- one row


@dataclass(frozen=True, slots=True)
class Plan:
    """How one route's rows are written, as the preflight found the account.

    Args:
        kind: contacts or companies.
        key: the unique property that finds a record.
        columns: with the property of each.
        match: properties by which a record is adopted that does not have the key yet.
        file: the mapping file, for messages.
    """

    kind: str
    key: str
    columns: tuple[tuple[Column, Property], ...]
    match: tuple[str, ...]
    file: str
    reads: bool = field(init=False)
    """Whether a rule can only be decided by reading first."""
    names: tuple[str, ...] = field(init=False)
    """The properties that are read."""
    by_name: Mapping[str, tuple[Column, Property]] = field(init=False)
    converters: tuple[tuple[str, Convert], ...] = field(init=False, repr=False, compare=False)
    clears: frozenset[str] = field(init=False)
    """The properties that an empty value clears."""

    def __post_init__(self) -> None:
        by_name = {column.name: (column, there) for column, there in self.columns}
        also = ("email", "hs_additional_emails") if self.kind == "contacts" else ()
        names = tuple(dict.fromkeys([self.key, *by_name, *also]))
        object.__setattr__(self, "by_name", by_name)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "converters", tuple((column.name, converter(there)) for column, there in self.columns))
        object.__setattr__(
            self, "clears", frozenset(column.name for column, _ in self.columns if column.overwrite == "always")
        )
        object.__setattr__(
            self,
            "reads",
            any(column.overwrite in needs_what_is_there for column, _ in self.columns if column.name != self.key),
        )

    @property
    def lookups(self) -> tuple[str, ...]:
        """Unique properties beside the key by which HubSpot may know a record already."""
        mapped = [column.name for column, there in self.columns if there.unique and column.name != self.key]
        return tuple(dict.fromkeys([*self.match, *mapped]))


@dataclass(slots=True, eq=False)
class Item:
    """A row on its way through one write.

    Args:
        key: as HubSpot keeps it (e-mails in small letters).
        texts: by property, what the row says, already as text; "" for an empty cell.
        there: what HubSpot holds; None when the record does not exist or was not read.
        is_read: whether *there* was read.
        adopted: the record has no key yet and is to get this one.
        matched_by: the property by which it was found, when it is adopted.
        looked: whether it was asked whose its unique values are.
        record: the record's id, once it is to be updated by id or was written.
        resends: how often it was sent again because an answer did not speak of it.
        notices: for the outcome.
    """

    row: Row
    key: str
    texts: dict[str, str]
    there: Mapping[str, str | None] | None = None
    is_read: bool = False
    record: str | None = None
    adopted: bool = False
    matched_by: str = ""
    looked: bool = False
    resends: int = 0
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a row is not sent or not taken."""

    code: str
    reason: str
    column: str | None = None


def item_of(plan: Plan, row: Row) -> Item | Refusal:
    """The row as text, checked as far as that can be done without HubSpot."""
    texts: dict[str, str] = {}
    cells = row.cells
    for name, convert in plan.converters:
        if name not in cells:
            continue
        cell = cells[name]
        if cell is None:
            texts[name] = ""
            continue
        text, code = convert(cell)
        if code is not None:
            column, there = plan.by_name[name]
            if column.on_error == "dead_letter" or name == plan.key:
                return refusal(column, text, code, plan.file, options=there.options)
            text = ""
        texts[name] = "" if text.isspace() else text
    return Item(row=row, key=texts.get(plan.key) or row.key, texts=texts)


def to_send(plan: Plan, item: Item) -> dict[str, str]:
    """The properties that the rules let through, by what is known of the record; the key is not among them."""
    if not item.is_read:
        clears = plan.clears
        sent = {name: text for name, text in item.texts.items() if text or name in clears}
        sent.pop(plan.key, None)
        return sent
    there, by_name = item.there, plan.by_name
    created = there is None
    sent = {}
    for name, text in item.texts.items():
        if name == plan.key or (created and not text):
            continue
        column, known = by_name[name]
        before = there.get(name) if there is not None else None
        if (before or "") == text or decide(column, before, text, created=created) == "keep":
            continue
        if not same(before, text, known):
            sent[name] = text
    return sent


def refusal(column: Column, text: str, code: str, file: str, *, options: frozenset[str] | None = None) -> Refusal:
    """The words for a value that HubSpot does not take; *options* as last seen there, which may be out of date."""
    shown = json.dumps(text if len(text) <= 80 else text[:77] + "…", ensure_ascii=code == "BROKEN_TEXT")
    where = column.where or file
    why = {
        "INVALID_OPTION": "is none of the property's options in HubSpot",
        "BROKEN_TEXT": "holds half a character (a lone surrogate), which no text may",
        "PROPERTY_VALUE_TOO_LONG": f"is longer than the {longest_text:,} characters that HubSpot takes",
    }.get(code, "is not accepted by HubSpot")
    if code == "INVALID_OPTION" and options and len(options) <= 12 and not options.issuperset(text.split(";")):
        why += f" ({', '.join(sorted(options))})"
    cure = 'set on_error = "leave_empty"'
    if code == "INVALID_OPTION":
        cure = f"add a rule to the field's map, add the option in HubSpot, or {cure}"
    else:
        cure = f"fix it at the platform or {cure}"
    return Refusal(code, f"{column.name} {shown} {why} ({code}); {where}; {cure}", column.name)


# ---------------------------------------------------------------- what an answer says


@dataclass(frozen=True, slots=True)
class BadValue:
    """One value that HubSpot does not take."""

    code: str
    property: str | None
    message: str


@dataclass(frozen=True, slots=True)
class Failure:
    """What an error says, of one input (207) or of a whole batch (400, 404, 409).

    Args:
        trace: the input's trace id, if it is named.
        ids: ids that the error names.
        conflict: a unique value belongs to another record.
        existing: that record's id, if it is named.
        doubled: two inputs are one record.
        values: the values that are not taken.
    """

    category: str
    message: str
    trace: str | None = None
    ids: tuple[str, ...] = ()
    conflict: bool = False
    existing: str | None = None
    doubled: bool = False
    gone: bool = False
    values: tuple[BadValue, ...] = ()

    @property
    def schema(self) -> bool:
        """Whether the account's properties are to blame, not the input."""
        return any(value.code in schema_codes for value in self.values) or "non-unique" in self.message

    @property
    def passing(self) -> bool:
        """Whether time heals it, by the look of its category: a row in a batch that is otherwise well."""
        return not self.values and not self.conflict and bool(_passing.search(self.category.upper()))

    @property
    def code(self) -> str:
        return next((value.code for value in self.values), "") or ("CONFLICT" if self.conflict else self.category)


_passing = re.compile("INTERNAL|RATE_?LIMIT|LOCK|TIME_?OUT|UNAVAILABLE|SERVER_ERROR|MIGRATION")
_existing = re.compile(r"Existing ID:\s*(\d+)", re.IGNORECASE)
_listed = re.compile(r"Property values were not valid:\s*(\[.*\])", re.DOTALL)


def failure_of(error: Mapping[str, Any]) -> Failure:
    """Read one error object: HubSpot writes the same thing in at least three ways."""
    message = str(error.get("message") or "")
    category = str(error.get("category") or "")
    context = error.get("context") or {}
    values = list(_values_in(error, message))
    details = [each for each in error.get("errors") or () if isinstance(each, Mapping)]
    existing = _first(context.get("existingId"))
    for each in details:
        existing = existing or _first((each.get("context") or {}).get("existingId"))
    if existing is None and (match := _existing.search(message)):
        existing = match.group(1)
    taken = "already has that value" in message or any("already has that value" in value.message for value in values)
    conflict = taken or existing is not None or category == "CONFLICT"
    return Failure(
        category=category,
        message=message,
        trace=_first(context.get("objectWriteTraceId")),
        ids=tuple(str(each) for each in _list(context.get("ids") or context.get("id"))),
        conflict=conflict,
        existing=existing,
        doubled="duplicate ids" in message.lower(),
        gone=category == "OBJECT_NOT_FOUND",
        values=() if conflict else tuple(values),
    )


def _values_in(error: Mapping[str, Any], message: str) -> Iterable[BadValue]:
    if match := _listed.search(message):
        try:
            listed = json.loads(match.group(1))
        except ValueError:
            listed = []
        found = [
            BadValue(str(each.get("error") or ""), each.get("name"), str(each.get("message") or ""))
            for each in listed
            if isinstance(each, dict)
        ]
        if found:
            yield from found
            return
    for each in error.get("errors") or ():
        if isinstance(each, Mapping) and each.get("code"):
            name = _first((each.get("context") or {}).get("propertyName"))
            yield BadValue(str(each["code"]), name, str(each.get("message") or ""))


def _list(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    return value if isinstance(value, list | tuple) else (value,)


def _first(value: Any) -> str | None:
    listed = _list(value)
    return str(listed[0]) if listed else None


def emails_of(properties: Mapping[str, Any]) -> set[str]:
    """Every address by which a contact is known, in small letters."""
    own = str(properties.get("email") or "").lower()
    more = str(properties.get("hs_additional_emails") or "").lower().split(";")
    return {email for email in [own, *more] if email}
