"""Records that HubSpot has already: by key, by id, and by the other values that are unique there."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connector.core.errors import NeedsAction
from connector.core.overwrite import without_base
from connector.core.sink import Outcome
from connector.sinks.hubspot.client import MOST_INPUTS, HubSpotApi, listed
from connector.sinks.hubspot.errors import failures_in
from connector.sinks.hubspot.properties import Plan
from connector.sinks.hubspot.values import Item, Refusal, asked_for, lacking, several, taken, values_of


@dataclass(frozen=True, slots=True)
class Found:
    """A record as HubSpot has it; *by* is the property that found it."""

    id: str
    properties: Mapping[str, Any]
    by: str = ""


class Claims:
    """Which key takes over which record at the moment, for all batches of a sink."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_record: dict[tuple[str, str], str] = {}
        self.making: set[tuple[str, str]] = set()
        """Kind and key of the records that calls were to make and of which no answer has said yet that they are there.
        """

    def claim(self, kind: str, record: str, key: str) -> bool:
        with self._lock:
            return self._by_record.setdefault((kind, record), key) == key

    def release(self, kind: str, keys: Iterable[str]) -> None:
        gone = set(keys)
        with self._lock:
            for claim in [claim for claim, key in self._by_record.items() if claim[0] == kind and key in gone]:
                del self._by_record[claim]


def read(api: HubSpotApi, plan: Plan, values: Iterable[str], by: str | None) -> list[Found]:
    """The records with these *values* of the unique property *by*; None: with these ids."""
    wanted = list(dict.fromkeys(value for value in values if value))
    found: list[Found] = []
    for start in range(0, len(wanted), MOST_INPUTS):
        unmentioned = _read_some(api, plan, wanted[start : start + MOST_INPUTS], by, found)
        if unmentioned:
            # Neither found nor said to be missing: a record that is taken for new would lose what is typed there.
            _read_some(api, plan, unmentioned, by, found)
    return found


def _read_some(api: HubSpotApi, plan: Plan, values: Sequence[str], by: str | None, found: list[Found]) -> list[str]:
    """Adds to *found* and returns the values of which the answer says nothing."""
    answer = api.read(plan.kind, values, by=by, properties=plan.names)
    if answer.found_nothing:
        return []
    if not answer.ok:
        raise NeedsAction(
            f"HubSpot can't read {plan.kind} by {by or 'id'} ({answer.status}: {answer.message}); is it unique? Run "
            "`connector check --live`"
        )
    mentioned: set[str] = set()
    for each in listed(answer):
        record = Found(str(each["id"]), each.get("properties") or {}, by or "")
        found.append(record)
        mentioned |= {record.id} if by is None else values_of(record.properties, by)
    for failure in failures_in(answer.body):
        mentioned.update(failure.ids)
    return [value for value in values if value not in mentioned]


def by_value(found: Iterable[Found], name: str) -> dict[str, Found]:
    """Records by each value of the property *name* that finds them."""
    return {value: record for record in found for value in values_of(record.properties, name)}


def read_by_key(api: HubSpotApi, plan: Plan, items: Sequence[Item]) -> None:
    """Fill in what HubSpot holds under the items' own keys."""
    records = by_value(read(api, plan, [item.key for item in items], plan.key), plan.key)
    for item in items:
        if (record := records.get(item.key)) is not None:
            item.record, item.there = record.id, record.properties


def read_first(api: HubSpotApi, plan: Plan, items: Sequence[Item]) -> None:
    """Read the records that are about to be written: whatever people did there must be known."""
    moved = {
        (item.row.moved_from.lower() if plan.key == "email" else item.row.moved_from): item
        for item in items
        if item.row.moved_from is not None
    }
    read_by_key(api, plan, items)
    for key, record in by_value(read(api, plan, list(moved), plan.key), plan.key).items():
        if (item := moved.get(key)) is not None and item.there is not None:
            if item.record != record.id:
                item.row = without_base(item.row)
        elif item is not None:
            item.record, item.there = record.id, record.properties
            item.adopted, item.matched_by = True, plan.key


def new_with_two_spellings(plan: Plan, items: Sequence[Item]) -> list[Item]:
    """The new items whose address has another spelling. HubSpot takes the two for two people and reports no conflict,
    so it must be looked for before a contact is made."""
    if "email" not in plan.match:
        return []
    new = [item for item in items if item.row.last is None and item.there is None]
    return [item for item in new if len(asked_for(item.texts.get("email", ""), "email")) > 1]


def others_of(api: HubSpotApi, plan: Plan, items: Sequence[Item]) -> dict[str, list[Found]]:
    """By the row's key, other records that hold a unique value of the item."""
    others: dict[str, dict[str, Found]] = {}
    # Once each: a group that is halved does not ask again for the same addresses.
    asked = [item for item in items if not item.looked] if len(items) > 1 else items
    for name in plan.lookups:
        values = [value for item in asked for value in asked_for(item.texts.get(name, ""), name)]
        holders = by_value(read(api, plan, values, name), name)
        for item in asked:
            item.looked = True
            holder = holders.get(item.texts.get(name, ""))
            if holder is not None and item.key not in values_of(holder.properties, plan.key):
                others.setdefault(item.row.key, {}).setdefault(holder.id, holder)
    return {key: list(found.values()) for key, found in others.items()}


_SECONDS_BEFORE_ANOTHER_TRY = 5.0


class Outcomes(dict[str, Outcome]):
    def open(self, items: Iterable[Item]) -> list[Item]:
        return [item for item in items if item.row.key not in self]

    def later(self, item: Item, code: str, reason: str) -> None:
        key = item.row.key
        self[key] = Outcome(key, "later", reason=reason, code=code, after=_SECONDS_BEFORE_ANOTHER_TRY)

    def complete(self, plan: Plan, items: Sequence[Item]) -> list[Item]:
        """Those that have what a new record needs, or are there already; the others wait."""
        for item in items:
            if (name := lacking(plan, item)) is not None:
                key = item.row.key
                reason = f"waits for its {name}: nobody new is made without it"
                self[key] = Outcome(key, "incomplete", reason=reason, code="incomplete", column=name)
        return self.open(items)

    def refused(self, key: str, why: Refusal) -> None:
        self[key] = Outcome(key, "refused", reason=why.reason, code=why.code, column=why.column)


def take_over(api: HubSpotApi, plan: Plan, claims: Claims, items: Sequence[Item], outcomes: Outcomes) -> list[Item]:
    """Find whose values the items want: adopt that record, or refuse the item. Returns the items that want nobody's."""
    others = others_of(api, plan, items)
    wanting = [item for item in items if item.row.key in others]
    for item in wanting:
        found = others[item.row.key]
        other = found[0]
        owner = str(other.properties.get(plan.key) or "")
        ids = [each.id for each in found]
        if item.there is not None:
            outcomes.refused(item.row.key, several(plan, [str(item.record), *ids]))
        elif len(found) > 1:
            outcomes.refused(item.row.key, several(plan, ids))
        elif owner or other.by not in plan.match:
            outcomes.refused(item.row.key, taken(plan, other.id, name=other.by, owner=owner))
        elif not claims.claim(plan.kind, other.id, item.key):
            outcomes.later(item, "taken_over", "another affiliate is taking over the same record at this moment")
        else:
            item.record, item.there = other.id, other.properties
            item.adopted, item.matched_by = True, other.by
    return [item for item in items if item.row.key not in others]
