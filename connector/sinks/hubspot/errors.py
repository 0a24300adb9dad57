"""What HubSpot's errors say. It writes the same thing in at least three ways. Pure.

Facts: HubSpot's documentation and recorded answers, read 2026-11.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connector.core.quoting import code_of

_SCHEMA_CODES = frozenset({"PROPERTY_DOESNT_EXIST", "READ_ONLY_VALUE"})
"""Errors of an input that are not its fault: the account's properties are not what the preflight saw."""
_PASSING = re.compile("INTERNAL|RATE_?LIMIT|LOCK|TIME_?OUT|UNAVAILABLE|SERVER_ERROR|MIGRATION")
_EXISTING_ID = re.compile(r"Existing ID:\s*(\d+)", re.IGNORECASE)
_LISTED_VALUES = re.compile(r"Property values were not valid:\s*(\[.*\])", re.DOTALL)


@dataclass(frozen=True, slots=True)
class BadValue:
    code: str
    property: str | None


@dataclass(frozen=True, slots=True)
class Failure:
    """What an error says, of one input (207) or of a whole batch (400, 404, 409).

    Args:
        trace, ids: the inputs that it names.
        conflict: a unique value belongs to another record: to *existing*, if it is named.
        duplicates: two inputs are one record.
    """

    category: str
    message: str
    trace: str | None
    ids: tuple[str, ...]
    conflict: bool
    existing: str | None
    duplicates: bool
    values: tuple[BadValue, ...]

    @property
    def schema(self) -> bool:
        """The account's properties are to blame, not the input."""
        return any(value.code in _SCHEMA_CODES for value in self.values) or "non-unique" in self.message

    @property
    def passing(self) -> bool:
        """Whether time heals it, by the look of its category."""
        is_gone = self.category == "OBJECT_NOT_FOUND"  # a person deleted the record meanwhile: it is made anew
        return not self.conflict and (is_gone or (not self.values and bool(_PASSING.search(self.category.upper()))))

    @property
    def code(self) -> str:
        return next((value.code for value in self.values), "") or ("CONFLICT" if self.conflict else self.category)


def failure_of(error: Mapping[str, Any]) -> Failure:
    message = str(error.get("message") or "")
    category = code_of(error.get("category"))
    context = error.get("context") or {}
    details = [each for each in error.get("errors") or () if isinstance(each, Mapping)]
    named = (_first((each.get("context") or {}).get("existingId")) for each in (error, *details))
    existing = next(filter(None, named), None)
    if existing is None and (match := _EXISTING_ID.search(message)):
        existing = match.group(1)
    conflict = existing is not None or category == "CONFLICT" or "already has that value" in str(error)
    return Failure(
        category=category,
        message=message,
        trace=_first(context.get("objectWriteTraceId")),
        ids=tuple(str(each) for each in _list(context.get("ids") or context.get("id"))),
        conflict=conflict,
        existing=existing,
        duplicates="duplicate ids" in message.lower(),
        values=() if conflict else _values_in(message, details),
    )


def failures_in(body: Mapping[str, Any]) -> list[Failure]:
    """What the errors of a partial success (207) say."""
    return [failure_of(error) for error in body.get("errors") or ()]


def _values_in(message: str, details: Sequence[Mapping[str, Any]]) -> tuple[BadValue, ...]:
    try:
        match = _LISTED_VALUES.search(message)
        listed = json.loads(match.group(1)) if match else []
    except ValueError:
        listed = []
    return tuple(
        BadValue(_code(each.get("error")), each.get("name")) for each in listed if isinstance(each, dict)
    ) or tuple(
        BadValue(_code(each["code"]), _first((each.get("context") or {}).get("propertyName")))
        for each in details
        if each.get("code")
    )


def _code(word: object) -> str:
    return code_of(word) or "REFUSED"


def _list(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    return value if isinstance(value, list | tuple) else (value,)


def _first(value: Any) -> str | None:
    return next(map(str, _list(value)), None)
