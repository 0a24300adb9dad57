"""The account's properties: how they are read and created, and whether a mapping's columns fit them. Pure.

Facts: HubSpot's property documentation and recorded answers, read 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from connector.core.look import origin, rule_of
from connector.core.row import Column
from connector.core.sink import Finding, Spare, Target
from connector.sinks.hubspot.options import DEFAULT_GROUP

_NUMBER_DISPLAY = frozenset({"numberDisplayHint", "showCurrencySymbol", "currencyPropertyName"})
_NEVER_WRITTEN = "hs_marketable_status"  # deciding who is a marketing contact is billed: people do it
_PROPERTY_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
_TYPES_THAT_FIT: Mapping[str, frozenset[str]] = {
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
    name: str
    type: str
    field_type: str = "text"
    options: frozenset[str] | None = None
    read_only: bool = False
    unique: bool = False


def read_properties(definitions: Iterable[Mapping[str, Any]]) -> dict[str, Property]:
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


def definition(column: Column, target: Target) -> dict[str, Any]:
    """How a missing property is created: with everything that people see of it, in the mapping's order."""
    key = column.name == target.key
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
        "label": column.label or label_of(column.name),
        "description": _description(column, key=key),
        "type": type_,
        "fieldType": field_type,
        "groupName": column.group or target.options.property_group,
        "hasUniqueValue": key,
        "displayOrder": 1 + target.columns.index(column),  # HubSpot begins with the lowest positive number
    }
    if type_ == "number":
        made |= _number_display(column, target)
    if options and type_ in ("enumeration", "bool"):
        made["options"] = [
            {"value": value, "label": label, "displayOrder": place, "hidden": False}
            for place, (value, label) in enumerate(options)
        ]
    return made


def _description(column: Column, *, key: bool) -> str:
    """The help text in HubSpot: what it is, where it comes from, and what becomes of what people type."""
    what, source = origin(column)
    path = ", ".join(column.paths)
    if source and source != path:
        source += f" ({path})"
    rule = "Don't change it: it finds the record." if key else rule_of(column)
    return " ".join(part for part in (what, source and f"From the affiliate platform: {source}.", rule) if part)


def _number_display(column: Column, target: Target) -> dict[str, Any]:
    """An amount is shown with the symbol of the currency that another property of the mapping names. Without such a
    property HubSpot would show the symbol of the account's currency, which may be another than the amount's."""
    named = [each.name for each in target.columns if each.paths == ("currency",) and each.type == "text"]
    if column.type == "money" and column.currency is None and named:
        return {"numberDisplayHint": "currency", "showCurrencySymbol": True, "currencyPropertyName": named[0]}
    return {"numberDisplayHint": "formatted"}


def without_display(made: Mapping[str, Any]) -> dict[str, Any]:
    """The definition for an account that does not take how numbers are displayed."""
    return {name: value for name, value in made.items() if name not in _NUMBER_DISPLAY}


def label_of(name: str) -> str:
    return name.replace("_", " ").capitalize()


def group_label_of(name: str) -> str:
    return "Affiliate program" if name == DEFAULT_GROUP else label_of(name)


def expected(target: Target, known: Mapping[str, Property]) -> dict[str, Property]:
    """The account's properties together with those that would be created."""
    made = read_properties(definition(column, target) for column in target.columns)
    return {**made, **known}


def spare_in(target: Target, known: Mapping[str, Property]) -> list[Spare]:
    """What the account has and the mapping does not use; HubSpot's own figures (``hs_…``) are not offered."""
    columns = {column.name: column for column in target.columns}
    spare = [
        Spare(name)
        for name, each in sorted(known.items())
        if name not in columns and not each.read_only and not name.startswith("hs_")
    ]
    for name, column in columns.items():
        given = {shown for _, shown in column.words} | {option.value for option in column.options}
        there = known[name].options if name in known and given else None
        spare += [Spare(name, choice) for choice in sorted((there or frozenset()) - given)]
    return spare


def troubles(target: Target, known: Mapping[str, Property]) -> list[Finding]:
    """Why the mapping does not fit the account's properties, beside properties that are missing."""
    there = expected(target, known)
    found = [
        (column.name, _trouble(column, target, there[column.name], column.name in known)) for column in target.columns
    ]
    for name in target.options.also_match:
        if name not in there or not there[name].unique:
            text = "HubSpot finds records only by email or by a property that was created as unique"
            found.append((name, f'also_match = ["{name}"] in {target.file}: {text}'))
    found += [
        (name, f'wait_for = ["{name}"] in {target.file}: no field has that name')
        for name in target.options.wait_for
        if all(column.name != name for column in target.columns)
    ]
    return [Finding("problem", name, text) for name, text in found if text]


def _trouble(column: Column, target: Target, there: Property, exists: bool) -> str:
    name = column.name
    at = f" ({column.where})" if column.where else ""
    if name == _NEVER_WRITTEN:
        return f"{name}{at} is billed by HubSpot and never written; take it out of the mapping"
    if not exists and not _PROPERTY_NAME.fullmatch(name):
        return (
            f'"{name}"{at} can\'t be the name of a HubSpot property: small letters, digits and _ only, a letter first; '
            f'for example "{_proper_name(name)}", with label = "{name}"'
        )
    if there.read_only:
        return f"{name}{at} is read-only in HubSpot; take it out of the mapping"
    if name == target.key and not there.unique:
        return (
            f"{name}{at} is the key, but not unique in HubSpot, and a property can be made unique only when it is "
            f"created: name another property under [key] (it is created), or delete {name} in HubSpot: Settings → "
            f"Properties → {target.options.object}"
        )
    if there.type != "string" and there.type not in _TYPES_THAT_FIT.get(column.type, {there.type}):
        return (
            f"{name}{at} is of type {there.type} in HubSpot, but {column.type} in the mapping: change the field's "
            "type, or name another property"
        )
    return ""


def _proper_name(name: str) -> str:
    proper = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return proper if proper[:1].isalpha() else f"p_{proper}"


class Plan:
    """How one route's rows are written into an account with the properties *known*."""

    def __init__(self, target: Target, known: Mapping[str, Property]) -> None:
        self.kind: str = target.options.object
        self.one = "company" if self.kind == "companies" else "contact"
        self.key, self.file = target.key, target.file
        self.match: tuple[str, ...] = target.options.also_match
        self.wait_for: tuple[str, ...] = target.options.wait_for
        self.by_name = {column.name: (column, known[column.name]) for column in target.columns}
        others = [(column, there) for column, there in self.by_name.values() if column.name != self.key]
        # Unique properties by which HubSpot may know a record already.
        self.lookups = tuple(dict.fromkeys([*self.match, *(there.name for _, there in others if there.unique)]))
        also = ("email", "hs_additional_emails") if self.kind == "contacts" else ()
        self.names = tuple(dict.fromkeys([self.key, *self.by_name, *also, *self.lookups]))
