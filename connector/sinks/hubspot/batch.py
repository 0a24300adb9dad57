"""One batch of at most 100 rows on its way into HubSpot: sent, understood, taken apart where it must be.

Every row ends in exactly one outcome, by its key, or stays without one when time or a person must act. A group that is
refused as a whole is halved until each bad row is by itself, so one bad row never costs a good one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from connector.core.errors import NeedsAction
from connector.core.overwrite import Edits
from connector.core.quoting import quoted
from connector.core.row import Row
from connector.sinks.hubspot.client import HubSpotApi
from connector.sinks.hubspot.errors import Failure, failure_of, failures_in
from connector.sinks.hubspot.properties import Plan
from connector.sinks.hubspot.records import (
    Claims,
    Outcomes,
    new_with_two_spellings,
    read,
    read_first,
    take_over,
)
from connector.sinks.hubspot.values import (
    Item,
    Refusal,
    item_of,
    refusal_of,
    same,
    several,
    taken,
    to_send,
    values_of,
)

_MANY_ROWS = 10  # fewer may well be refused for the same reason by chance


class Batch:
    """See the module. ``run`` once; then read ``outcomes``, ``records`` and ``rest``.

    Args:
        replan: gives the plan anew when the account's properties turned out to be others.
        create: False for ``new_records = "update_only"``.
        note: keeps what people typed and a call is about to overwrite.
    """

    def __init__(
        self,
        api: HubSpotApi,
        claims: Claims,
        plan: Plan,
        items: Sequence[Item],
        *,
        replan: Callable[[Plan], Plan],
        create: bool,
        note: Callable[[Iterable[tuple[Row, Edits]]], None],
    ) -> None:
        self._api, self._claims, self._plan, self._items = api, claims, plan, items
        self._replan = replan
        self._create = create
        self._note = note
        self._replanned = False
        self._groups: deque[Sequence[Item]] = deque()
        self._holders_read: set[str] = set()
        self._wordless: dict[str, str] = {}
        self.outcomes = Outcomes()

    @property
    def rest(self) -> list[Item]:
        """Items without an outcome: something was raised before their turn."""
        return self.outcomes.open(self._items)

    @property
    def records(self) -> dict[str, str]:
        return {item.row.key: item.record for item in self._items if item.record is not None}

    @property
    def identities(self) -> set[str]:
        """By what these records are known: none of it may be in two calls at once."""
        kind = self._plan.kind
        known = {f"{kind} {self._plan.key} {item.key}" for item in self._items}
        for name in self._plan.lookups:
            known |= {f"{kind} {name} {text}" for item in self._items if (text := item.texts.get(name))}
        return known

    def run(self) -> None:
        """Send everything; raises what ``Sink.write`` may raise, with the outcomes so far kept."""
        try:
            read_first(self._api, self._plan, self._items)
            items = self.outcomes.complete(self._plan, self._items) if self._create else self._known_only(self._items)
            self._take_over(new_with_two_spellings(self._plan, items))
            self._push(items)
            while self._groups:
                self._send(self._groups.popleft())
            self._judge_refusals()
        finally:
            self._claims.release(self._plan.kind, [item.key for item in self._items])
            refused = {key for key, outcome in self.outcomes.items() if outcome.kind == "refused"}
            self._claims.making -= {(self._plan.kind, item.key) for item in self._items if item.row.key in refused}

    def _judge_refusals(self) -> None:
        """When all of many rows are refused in the same words and for no value of their own, they are not to blame."""
        words = set(self._wordless.values())
        if len(self._items) >= _MANY_ROWS and len(self._wordless) == len(self._items) and len(words) == 1:
            for key in self._wordless:
                del self.outcomes[key]
            raise NeedsAction(
                f"HubSpot refuses every row for the same reason, which names no value: {words.pop()}. Nothing "
                "was written; look at the account and at the mapping's properties, run `connector check --live`"
            )

    def _known_only(self, items: Sequence[Item]) -> list[Item]:
        unknown = [item for item in items if item.there is None]
        if unknown and self._plan.match:
            self._take_over(unknown)
        for item in self.outcomes.open(unknown):
            if item.there is None:
                self._done(item, "not in HubSpot; left out, because new_records is update_only")
        return self.outcomes.open(items)

    # ------------------------------------------------------------ sending

    def _push(self, items: Sequence[Item]) -> None:
        open_items = self.outcomes.open(items)
        updates = [item for item in open_items if self._is_update(item)]
        upserts = [item for item in open_items if not self._is_update(item)]
        self._groups.extend(group for group in (upserts, updates) if group)

    def _is_update(self, item: Item) -> bool:
        return item.adopted or not self._create

    def _id_of(self, item: Item) -> str:
        return str(item.record) if self._is_update(item) else item.key

    def _halve(self, group: Sequence[Item]) -> None:
        middle = len(group) // 2
        self._push(group[:middle])
        self._push(group[middle:])

    def _send(self, group: Sequence[Item]) -> None:
        plan, by_id = self._plan, self._is_update(group[0])
        items: list[Item] = []
        inputs: list[dict[str, Any]] = []
        for item in group:
            properties = to_send(plan, item)
            if not properties and not item.adopted and not item.is_new:
                self._done(item)  # everything is there already, or what is there stays
                continue
            if item.adopted or not (by_id or properties):
                properties[plan.key] = item.key
            made = {"id": self._id_of(item), "objectWriteTraceId": str(len(items)), "properties": properties}
            if item.is_new:
                self._claims.making.add((plan.kind, item.key))
            elif item.adopted:
                self._claims.making.discard((plan.kind, item.key))
            items.append(item)
            inputs.append(made if by_id else {**made, "idProperty": plan.key})
        if not items:
            return
        self._note((item.row, item.edits) for item in items if item.edits is not None)
        answer = (self._api.update if by_id else self._api.upsert)(plan.kind, inputs)
        if answer.ok:
            self._account(items, [each["properties"] for each in inputs], answer.body)
        else:
            self._refused(items, failure_of(answer.body))

    def _account(self, group: Sequence[Item], sent: Sequence[Mapping[str, str]], body: Mapping[str, Any]) -> None:
        """A 2xx: who was written, who was not, and of whom nothing is said."""
        left = dict(enumerate(group))
        place_of = {self._id_of(item): place for place, item in left.items()}
        unknown: list[Mapping[str, Any]] = []
        for result in body.get("results") or ():
            place = self._place(result, place_of)
            if place is None or place not in left:
                unknown.append(result)
            else:
                self._written(left.pop(place), sent[place], result)
        failures = failures_in(body)
        named: list[tuple[Item, Failure]] = []
        unnamed: list[Failure] = []
        for failure in failures:
            places = [place for place in _places_named(failure, place_of) if place in left]
            named += [(left.pop(place), failure) for place in places]
            unnamed += [] if places else [failure]
        if left and unnamed:
            self._refused(list(left.values()), unnamed[0])
        elif left:
            self._unaccounted(left, sent, unknown)
        if schema := [item for item, failure in named if failure.schema]:
            self._learn_schema(failures, schema)
        self._conflicts_of([(item, failure) for item, failure in named if failure.conflict and not failure.schema])
        for item, failure in named:
            if not failure.schema and not failure.conflict:
                self._one_refused(item, failure)

    def _place(self, result: Mapping[str, Any], place_of: Mapping[str, int]) -> int | None:
        trace = result.get("objectWriteTraceId")
        if isinstance(trace, str) and trace.isdigit():
            return int(trace)
        names = [str(result.get("id")), *values_of(result.get("properties") or {}, self._plan.key)]
        return next((place_of[name] for name in names if name in place_of), None)

    def _unaccounted(
        self, left: Mapping[int, Item], sent: Sequence[Mapping[str, str]], unknown: Sequence[Mapping[str, Any]]
    ) -> None:
        if len(unknown) == len(left):
            # By elimination: HubSpot knows them by another e-mail address than the one we asked for.
            for (place, item), result in zip(left.items(), unknown, strict=True):
                self._written(item, sent[place], result if len(left) == 1 else {})
            return
        for item in left.values():
            item.resends += 1
            if item.resends > 1:
                self.outcomes.later(item, "unaccounted", "HubSpot reported success, but left this record out")
        self._push(list(left.values()))

    def _written(self, item: Item, sent: Mapping[str, str], result: Mapping[str, Any]) -> None:
        if result.get("id") is not None:
            item.record = str(result["id"])
        key, by_name = self._plan.key, self._plan.by_name
        instead = {
            name: now
            for name, now in (result.get("properties") or {}).items()
            if now and name in sent and name != key and not same(now, sent[name], by_name[name][1])
        }
        for name, now in instead.items():
            if item.edits is not None and name not in item.left_out:
                item.edits.holds(name, now)
        stage = instead.get("lifecyclestage")
        self._done(item, *[f"lifecyclestage stayed at {stage}: HubSpot only moves it forward"] * (stage is not None))

    def _done(self, item: Item, *notices: str) -> None:
        outcome, made = item.written(*notices), (self._plan.kind, item.key)
        if made in self._claims.making:
            # Perhaps by an earlier call, whose answer was lost: then the record is found as one that is there.
            self._claims.making.discard(made)
            outcome = replace(outcome, added=not item.adopted)
        self.outcomes[item.row.key] = outcome

    # ------------------------------------------------------------ refused

    def _refused(self, group: Sequence[Item], failure: Failure) -> None:
        if failure.schema:
            self._learn_schema([failure], group)
        elif len(group) == 1:
            self._one_refused(group[0], failure)
        elif failure.conflict and not failure.duplicates:
            self._conflict_in(group, failure.existing)
        else:
            self._halve(group)  # also when two inputs are one record: in calls of their own the later one stays

    def _one_refused(self, item: Item, failure: Failure) -> None:
        if failure.conflict:
            self._conflicts_of([(item, failure)])
        elif self._give_up_value(item, failure):
            self._push([item])
        elif failure.passing:
            self.outcomes.later(item, failure.category, f"HubSpot could not write this record now ({failure.category})")
        elif (refusal := refusal_of(self._plan, item, failure)) is not None:
            self.outcomes.refused(item.row.key, refusal)
        else:
            said = quoted(failure.message) or failure.category or "no reason given"
            self._wordless[item.row.key] = said
            self.outcomes.refused(item.row.key, Refusal(failure.code or "REFUSED", f"HubSpot refuses this row: {said}"))

    def _give_up_value(self, item: Item, failure: Failure) -> bool:
        """``on_error = "leave_empty"``: whether the item can be sent again without the values that are not taken."""
        plan = self._plan
        names = [value.property for value in failure.values if value.property is not None]
        for name in names:
            column = plan.by_name[name][0] if name in plan.by_name else None
            if column is None or column.on_error != "leave_empty" or name == plan.key or not item.texts.get(name):
                return False
        for name in names:
            item.texts[name] = ""
            item.left_out.add(name)
            item.notices = (*item.notices, f"{name} was left empty: HubSpot does not accept its value")
        return bool(names)

    def _learn_schema(self, failures: Sequence[Failure], items: Sequence[Item]) -> None:
        """A property is gone or changed: look again once (and create it, if the mapping says so), then resend."""
        if self._replanned:
            named = {value.property for failure in failures for value in failure.values}
            names = ", ".join(name for name in self._plan.by_name if name in named) or "a property"
            said = quoted(failures[0].message) or "PROPERTY_DOESNT_EXIST"
            raise NeedsAction(
                f"HubSpot refuses {names} ({said}), though its list of properties "
                "shows nothing wrong: look at Settings → Properties, then run `connector check --live`"
            )
        self._replanned = True
        self._plan = self._replan(self._plan)
        for item in items:
            made = item_of(self._plan, item.row)
            if isinstance(made, Item):
                item.texts, item.left_out = made.texts, made.left_out
            else:
                self.outcomes.refused(item.row.key, made)
        self._push(items)

    # ------------------------------------------------------------ conflicts and take-overs

    def _conflicts_of(self, conflicts: Sequence[tuple[Item, Failure]]) -> None:
        """Unique values of these items belong to other records: take those over, or tell a person."""
        for item, failure in conflicts:
            if item.adopted:
                self.outcomes.refused(item.row.key, several(self._plan, [failure.existing] if failure.existing else []))
        fresh = self.outcomes.open([item for item, _ in conflicts])
        clean = self._take_over(fresh)
        existing = {item.row.key: failure.existing for item, failure in conflicts}
        for item in clean:
            item.resends += 1  # once more: perhaps nobody holds the value any longer
            if item.resends > 1:
                self.outcomes.refused(item.row.key, taken(self._plan, existing[item.row.key]))
        self._push(fresh)

    def _conflict_in(self, group: Sequence[Item], existing: str | None) -> None:
        """A unique value of one of the items belongs to another record; the error does not say of which item."""
        fresh = [item for item in group if not item.adopted]
        if len(self._take_over(fresh)) < len(fresh):
            self._push(group)
            return
        suspects: list[Item] = []
        if existing is not None and existing not in self._holders_read:
            self._holders_read.add(existing)
            for record in read(self._api, self._plan, [existing], None):
                held = record.properties.items()
                alike = ([item for item in group if item.texts.get(name) == value] for name, value in held if value)
                suspects = min(filter(None, alike), key=len, default=[])
        if 0 < len(suspects) < len(group):
            self._push([item for item in group if item not in suspects])
            self._push(suspects)
        else:
            self._halve(group)

    def _take_over(self, items: Sequence[Item]) -> list[Item]:
        return take_over(self._api, self._plan, self._claims, items, self.outcomes)


def _places_named(failure: Failure, place_of: Mapping[str, int]) -> list[int]:
    if failure.trace is not None and failure.trace.isdigit():
        return [int(failure.trace)]
    return [place_of[each] for each in failure.ids if each in place_of]
