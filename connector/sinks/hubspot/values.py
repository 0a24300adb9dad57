"""One row as HubSpot takes it: cells as text, the overwrite rules, why a value is not taken. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from email_validator import EmailNotValidError, validate_email
from msgspec.structs import replace

from connector.core.addresses import same_address, spellings
from connector.core.overwrite import Edits, Shows, is_empty
from connector.core.row import Cell, Column, Row
from connector.core.sink import Outcome
from connector.sinks.hubspot.errors import Failure
from connector.sinks.hubspot.properties import Plan, Property

_LONGEST_TEXT_CHARACTERS = 65_536
_LONGEST_SHOWN_CHARACTERS = 80
_MOST_SHOWN_OPTIONS = 12
_WHY = {
    "INVALID_OPTION": "is none of the property's options in HubSpot",
    "BROKEN_TEXT": "holds half a character (a lone surrogate), which no text may",
    "PROPERTY_VALUE_TOO_LONG": f"is longer than the {_LONGEST_TEXT_CHARACTERS:,} characters that HubSpot takes",
}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character: no valid JSON text


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
    if isinstance(cell, Decimal):
        return format(cell, "f")
    if isinstance(cell, datetime) and to.type != "date":
        return cell.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(cell, date):
        day = cell.date() if isinstance(cell, datetime) else cell
        return f"{day.isoformat()}T00:00:00.000Z" if to.type == "datetime" else day.isoformat()
    return (";" if to.type == "enumeration" else ", ").join(cell) if isinstance(cell, tuple) else str(cell)


def wrong_with(column: Column, text: str, to: Property) -> str | None:
    """The code with which HubSpot would refuse *text*, as far as the mapping has not seen to it already."""
    if not text:
        return None
    if _LONE_SURROGATE.search(text):
        return "BROKEN_TEXT"
    if to.name == "email" and not _is_possible_email(column, text):
        return "INVALID_EMAIL"
    if to.type == "string" and len(text) > _LONGEST_TEXT_CHARACTERS:
        return "PROPERTY_VALUE_TOO_LONG"
    options = frozenset({"true", "false"}) if to.type == "bool" else to.options
    if options is not None:
        parts = text.split(";") if to.field_type == "checkbox" else [text]
        return None if options.issuperset(parts) else "INVALID_OPTION"
    return None


def _is_possible_email(column: Column, text: str) -> bool:
    if column.type == "email":  # the mapping has validated it, but takes addresses in .test
        return text.rpartition("@")[2].split(".")[-1] != "test"
    try:
        validate_email(text, check_deliverability=False)
    except EmailNotValidError:
        return False
    return True


def same(there: str | None, new: str, to: Property) -> bool:
    """Whether what HubSpot says is there is what would be written: "12.50" is 12.5, and e-mails have no case."""
    if (there or "") == new:
        return True
    if not there or not new:
        return False
    try:
        if to.type == "number":
            return Decimal(there) == Decimal(new)
        if to.type in ("date", "datetime"):
            return _moment(there) == _moment(new)
    except (InvalidOperation, ValueError, OverflowError):
        return False
    if to.name == "email":
        return same_address(there, new)
    if to.type == "enumeration" and to.field_type == "checkbox":
        return set(there.split(";")) == set(new.split(";"))
    return False


def _moment(text: str) -> datetime:
    if text.lstrip("-").isdigit():
        return datetime.fromtimestamp(int(text) / 1000, UTC)
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def emails_of(properties: Mapping[str, Any]) -> set[str]:
    """Every address by which a contact is known, in small letters and in each spelling."""
    own = str(properties.get("email") or "").lower()
    more = str(properties.get("hs_additional_emails") or "").lower().split(";")
    return {spelling for email in [own, *more] if email for spelling in spellings(email)}


def asked_for(text: str, name: str) -> tuple[str, ...]:
    return spellings(text) if name == "email" and text else (text,)


def values_of(properties: Mapping[str, Any], name: str) -> set[str]:
    if name == "email":
        return emails_of(properties)
    value = properties.get(name)
    return set() if value is None else {str(value)}


# ---------------------------------------------------------------- one row


@dataclass(slots=True, eq=False)
class Item:
    """A row on its way through one write.

    Args:
        texts: by property, what the row says; "" for an empty cell.
        left_out: properties whose value HubSpot does not take; their text is "".
        there: what HubSpot holds; None when the record does not exist.
        edits: what was decided about each cell when it was last sent.
        record: the record's id, once it is known.
        adopted: the record has no key yet and is to get this one; *matched_by* found it.
        looked: whether it was asked whose its unique values are.
    """

    row: Row
    key: str
    texts: dict[str, str]
    left_out: set[str]
    there: Mapping[str, str | None] | None = None
    edits: Edits | None = None
    record: str | None = None
    adopted: bool = False
    matched_by: str = ""
    looked: bool = False
    resends: int = 0
    notices: tuple[str, ...] = ()

    @property
    def is_new(self) -> bool:
        """Whether writing makes the record. What takes an earlier write back makes none that people have deleted."""
        return self.there is None and not (self.row.restore and self.row.last is not None)

    def written(self, *notices: str) -> Outcome:
        """The outcome, with what became of people's edits and what HubSpot holds instead of what the row says."""
        left = tuple(sorted(self.left_out))
        outcome = Outcome(self.row.key, "written", notices=(*self.notices, *notices), left_empty=left)
        if self.edits is None:  # nothing was written, as nothing may be: there is no record
            nothing = {name: None for name, cell in self.row.cells.items() if not is_empty(cell)}
            return replace(outcome, held=nothing)
        outcome = self.edits.told(outcome)
        if not self.left_out:
            return outcome
        return replace(outcome, held={**outcome.held, **{name: outcome.held.get(name) for name in self.left_out}})


@dataclass(frozen=True, slots=True)
class Refusal:
    code: str
    reason: str
    column: str | None = None


def item_of(plan: Plan, row: Row) -> Item | Refusal:
    """The row as text, checked as far as that can be done without HubSpot."""
    texts: dict[str, str] = {}
    left_out: set[str] = set()
    for name, (column, there) in plan.by_name.items():
        if name not in row.cells:
            continue
        text = text_of(row.cells[name], there)
        code = wrong_with(column, text, there)
        if code is not None:
            is_later_word = code == "INVALID_OPTION" and text in column.later_words
            if (column.on_error == "dead_letter" and not is_later_word) or name == plan.key:
                return refusal(column, text, code, plan.file, options=there.options)
            text = ""
            left_out.add(name)
        texts[name] = "" if text.isspace() else text
    return Item(row=row, key=texts.get(plan.key) or row.key, texts=texts, left_out=left_out)


def lacking(plan: Plan, item: Item) -> str | None:
    """The first value that a new record needs and the row lacks."""
    if item.row.last is not None or item.there is not None:
        return None
    return next((name for name in plan.wait_for if not item.texts.get(name)), None)


def to_send(plan: Plan, item: Item) -> dict[str, str]:
    """The properties to write, without the key: those that the rules and people's edits let through."""
    row = item.row
    if item.left_out:
        row = replace(row, cells={**row.cells, **dict.fromkeys(item.left_out)})
    item.edits = edits = Edits(row, created=item.there is None)
    there = item.there or {}
    sent: dict[str, str] = {}
    for name, text in item.texts.items():
        if name == plan.key:
            continue
        column, known = plan.by_name[name]
        shows = _shows(there, known, row.cells[name], text)
        if edits.writes(column, there.get(name) or None, shows) and (text or not edits.created):
            sent[name] = text
    return sent


def _shows(there: Mapping[str, str | None], to: Property, new: Cell, text: str) -> Shows:
    """*text* is how *new* is sent."""
    is_there = there.get(to.name)

    def shows(cell: Cell) -> bool:
        said = text if cell is new else text_of(cell, to)
        if to.name == "email" and said and is_there:
            # Perhaps as an additional one, since a person merged two contacts: writing it would make it the primary
            # address.
            return said in emails_of(there)
        return same(is_there, said, to) or (not is_there and said.isspace())

    return shows


# ---------------------------------------------------------------- why a row is not taken


def refusal(column: Column, text: str, code: str, file: str, *, options: frozenset[str] | None = None) -> Refusal:
    """The words for a value that HubSpot does not take; *options* as last seen there, which may be out of date."""
    short = text if len(text) <= _LONGEST_SHOWN_CHARACTERS else f"{text[: _LONGEST_SHOWN_CHARACTERS - 1]}…"
    shown = json.dumps(short, ensure_ascii=code == "BROKEN_TEXT")
    why, cure = _WHY.get(code, "is not accepted by HubSpot"), "fix it at the platform or"
    if code == "INVALID_OPTION":
        cure = "add a rule to the field's map, add the option in HubSpot, or"
        if options and len(options) <= _MOST_SHOWN_OPTIONS and not options.issuperset(text.split(";")):
            why += f" ({', '.join(sorted(options))})"
    cure = f'{cure} set on_error = "leave_empty"'
    return Refusal(code, f"{column.name} {shown} {why} ({code}); {column.where or file}; {cure}", column.name)


def refusal_of(plan: Plan, item: Item, failure: Failure) -> Refusal | None:
    for value in failure.values:
        if value.property is not None and value.property in plan.by_name:
            column, there = plan.by_name[value.property]
            text = item.texts.get(column.name) or item.key
            return refusal(column, text, value.code, plan.file, options=there.options)
    return None


def taken(plan: Plan, existing: str | None, *, name: str = "", owner: str = "") -> Refusal:
    """A unique value belongs to the record *existing*: that of the property *name*, if known; *owner* is its key."""
    whose = f"{plan.one} {existing}" if existing else f"another {plan.one}"
    if owner:
        whose += f", which is {owner}"
        cure = "two affiliates can't be one record: change one of them at the platform, or leave one out with [when]"
    elif name and name not in plan.match:
        cure = f'to take that record over, set also_match = ["{name}"] under [key]; or merge the two in HubSpot'
    else:
        cure = "merge or correct the two in HubSpot, then replay"
    where = plan.by_name[name][0].where if name in plan.by_name else ""
    at = f"; {where}" if where else ""
    what = name or "a value that must be unique"
    return Refusal("CONFLICT", f"{what} belongs to {whose} in HubSpot already{at}; {cure}", name or None)


def several(plan: Plan, ids: Iterable[str]) -> Refusal:
    which = " and ".join(dict.fromkeys(ids)) or "more than one record"
    reason = f"several {plan.kind} in HubSpot are this affiliate ({which}): merge them there, then replay"
    return Refusal("SEVERAL_MATCH", reason)
