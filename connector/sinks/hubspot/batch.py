"""One batch of at most 100 rows on its way into HubSpot: sent, understood, taken apart where it must be.

Every row ends in exactly one outcome, by its key, or stays without one when time or a person must act. A group that is
refused as a whole is halved until each bad row is by itself, so one bad row never costs a good one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from connector.core.errors import NeedsAction
from connector.core.quoting import quoted
from connector.sinks.hubspot.client import Answer, HubSpotApi
from connector.sinks.hubspot.errors import Failure, failure_of, failures_in
from connector.sinks.hubspot.properties import Plan
from connector.sinks.hubspot.records import (
    Claims,
    Outcomes,
    new_with_two_spellings,
    read,
    read_by_key,
    read_first,
    take_over,
)
from connector.sinks.hubspot.values import (
    Item,
    Refusal,
    emails_of,
    item_of,
    refusal_of,
    several,
    taken,
    to_send,
    values_of,
)

_MANY_ROWS = 10  # fewer may well be refused for the same reason by chance

Verb = Literal["upsert", "update"]


@dataclass(frozen=True, slots=True)
class Group:
    """Items that go in one call: upserted by key, or updated by the id of a record that is taken over."""

    verb: Verb
    items: Sequence[Item]

    def id_of(self, item: Item) -> str:
        return item.key if self.verb == "upsert" else str(item.record)


class Batch:
    """See the module. ``run`` once; then read ``outcomes``, ``records`` and ``rest``.

    Args:
        replan: gives the plan anew when the account's properties turned out to be others.
        create: False for ``new_records = "update_only"``.

    Attributes:
        outcomes: by the row's key.
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
    ) -> None:
        self._api, self._claims, self._plan, self._items = api, claims, plan, items
        self._replan = replan
        self._create = create
        self._replanned = False
        self._groups: deque[Group] = deque()
        self._holders_read: set[str] = set()
        self._wordless: dict[str, str] = {}
        self.outcomes = Outcomes()

    @property
    def rest(self) -> list[Item]:
        """Items without an outcome: something was raised before their turn."""
        return self.outcomes.open(self._items)

    @property
    def records(self) -> dict[str, str]:
        """The record's id by the row's key, where it is known."""
        return {item.row.key: item.record for item in self._items if item.record is not None}

    @property
    def identities(self) -> set[str]:
        """By what these records are known: none of it may be in two calls at once."""
        kind = self._plan.kind
        known = {f"{kind} {self._plan.key} {item.key}" for item in self._items}
        for name in self._plan.lookups:
            known |= {f"{kind} {name} {text}" for item in self._items if (text := item.texts.get(name))}
        return known

    def look(self, exists: set[str] | None = None) -> None:
        """Read what is there, and find what would be taken over; writes nothing.

        Args:
            exists: the properties that the account has, when the plan knows more.
        """
        if exists is None or self._plan.key in exists:
            read_by_key(self._api, self._plan, self._items)
        else:
            for item in self._items:
                item.is_read = True
        self._take_over([item for item in self._items if item.there is None])

    def run(self) -> None:
        """Send everything; raises what ``Sink.write`` may raise, with the outcomes so far kept."""
        try:
            read_first(self._api, self._plan, self._items, every=self._plan.reads or not self._create)
            items = self.outcomes.complete(self._plan, self._items) if self._create else self._known_only(self._items)
            self._take_over(new_with_two_spellings(self._plan, items))
            self._push("upsert" if self._create else "update", [item for item in items if not item.adopted])
            self._push("update", [item for item in items if item.adopted])
            while self._groups:
                self._send(self._groups.popleft())
            self._judge_refusals()
        finally:
            self._claims.release(self._plan.kind, [item.key for item in self._items])

    def _judge_refusals(self) -> None:
        """When every row of many is refused in the same words and for no value of its own, the rows are not to blame.

        Raises:
            NeedsAction: in place of a dead letter for each affiliate there is.
        """
        words = set(self._wordless.values())
        if len(self._items) >= _MANY_ROWS and len(self._wordless) == len(self._items) and len(words) == 1:
            for key in self._wordless:
                del self.outcomes[key]
            raise NeedsAction(
                f"HubSpot refuses every row for the same reason, which names no value: {quoted(words.pop())}. Nothing "
                "was written; look at the account and at the mapping's properties, run `connector check --live`"
            )

    def _known_only(self, items: Sequence[Item]) -> list[Item]:
        """``update_only``: those that HubSpot has, by key or by what else matches."""
        unknown = [item for item in items if item.there is None]
        if unknown and self._plan.match:
            self._take_over(unknown)
        for item in self.outcomes.open(unknown):
            if item.there is None:
                self.outcomes.written(item, "not in HubSpot; left out, because new_records is update_only")
        return self.outcomes.open(items)

    # ------------------------------------------------------------ sending

    def _push(self, verb: Verb, items: Sequence[Item]) -> None:
        if open_items := self.outcomes.open(items):
            self._groups.append(Group(verb, open_items))

    def _halve(self, group: Group) -> None:
        middle = len(group.items) // 2
        self._push(group.verb, group.items[:middle])
        self._push(group.verb, group.items[middle:])

    def _send(self, group: Group) -> None:
        plan = self._plan
        items: list[Item] = []
        sent: list[dict[str, str]] = []
        inputs: list[dict[str, Any]] = []
        for item in group.items:
            properties = to_send(plan, item)
            if not properties and item.there is not None and not item.adopted:
                self.outcomes.written(item)  # everything is there already, or a rule keeps what is there
                continue
            made: dict[str, Any] = {
                "id": group.id_of(item), "objectWriteTraceId": str(len(items)), "properties": properties,
            }  # fmt: skip
            if group.verb == "upsert":
                made["idProperty"] = plan.key
            if item.adopted or (group.verb == "upsert" and not properties):
                properties[plan.key] = item.key
            items.append(item)
            sent.append(properties)
            inputs.append(made)
        if not items:
            return
        answer = (self._api.upsert if group.verb == "upsert" else self._api.update)(plan.kind, inputs)
        tried = Group(group.verb, items)
        if answer.ok:
            self._account(tried, sent, answer)
        else:
            self._refused(tried, answer)

    def _account(self, group: Group, sent: Sequence[Mapping[str, str]], answer: Answer) -> None:
        """A 2xx: who was written, who was not, and of whom nothing is said."""
        left = dict(enumerate(group.items))
        by_id = {group.id_of(item): place for place, item in left.items()}
        unknown: list[Mapping[str, Any]] = []
        for result in answer.body.get("results") or ():
            place = self._place(group, result, by_id)
            if place is None or place not in left:
                unknown.append(result)
            else:
                self._written(left.pop(place), sent[place], result)
        unnamed: list[Failure] = []
        schema: list[Item] = []
        conflicts: list[tuple[Item, Failure]] = []
        for failure in failures_in(answer.body):
            places = _places_named(failure, by_id, left)
            if not places:
                unnamed.append(failure)
            for place in places:
                item = left.pop(place)
                if failure.schema:
                    schema.append(item)
                elif failure.conflict:
                    conflicts.append((item, failure))
                else:
                    self._one_refused(group.verb, item, failure)
        if left:
            self._unaccounted(group, left, sent, unknown, unnamed)
        if schema:
            self._learn_schema(answer, schema)
            self._push(group.verb, schema)
        if conflicts:
            self._conflicts_of(group.verb, conflicts)

    def _place(self, group: Group, result: Mapping[str, Any], by_id: Mapping[str, int]) -> int | None:
        trace = result.get("objectWriteTraceId")
        if isinstance(trace, str) and trace.isdigit():
            return int(trace)
        if group.verb == "update":
            return by_id.get(str(result.get("id")))
        values = values_of(result.get("properties") or {}, self._plan.key)
        return next((by_id[value] for value in values if value in by_id), None)

    def _unaccounted(
        self,
        group: Group,
        left: Mapping[int, Item],
        sent: Sequence[Mapping[str, str]],
        unknown: Sequence[Mapping[str, Any]],
        unnamed: Sequence[Failure],
    ) -> None:
        lost = list(left.values())
        if unnamed and len(lost) == 1:
            self._one_refused(group.verb, lost[0], unnamed[0])
        elif unnamed:
            self._halve(Group(group.verb, lost))
        elif len(unknown) == len(lost):
            # By elimination: HubSpot knows them by another e-mail address than the one we asked for.
            for (place, item), result in zip(left.items(), unknown, strict=True):
                self._written(item, sent[place], result if len(lost) == 1 else {})
        else:
            for item in lost:
                item.resends += 1
                if item.resends > 1:
                    self.outcomes.later(item, "unaccounted", "HubSpot reported success, but left this record out")
            self._push(group.verb, lost)

    def _written(self, item: Item, sent: Mapping[str, str], result: Mapping[str, Any]) -> None:
        if result.get("id") is not None:
            item.record = str(result["id"])
        stage = sent.get("lifecyclestage")
        now = (result.get("properties") or {}).get("lifecyclestage")
        if stage and now and now != stage:
            self.outcomes.written(item, f"lifecyclestage stayed at {now}: HubSpot only moves it forward")
        else:
            self.outcomes.written(item)

    # ------------------------------------------------------------ refused

    def _refused(self, group: Group, answer: Answer) -> None:
        """A refusal of the whole group, which names no input."""
        failure = failure_of(answer.body)
        if failure.schema:
            self._learn_schema(answer, group.items)
            self._push(group.verb, group.items)
        elif len(group.items) == 1:
            self._one_refused(group.verb, group.items[0], failure)
        elif failure.duplicates:
            self._untangle(group)
        elif failure.conflict:
            self._conflict_in(group, failure.existing)
        else:
            self._halve(group)

    def _one_refused(self, verb: Verb, item: Item, failure: Failure) -> None:
        if failure.conflict:
            self._conflicts_of(verb, [(item, failure)])
        elif self._give_up_value(item, failure):
            self._push(verb, [item])
        elif failure.gone:
            item.adopted = False
            self.outcomes.later(item, "gone", "a person deleted this record in HubSpot while it was being written")
        elif failure.passing:
            self.outcomes.later(item, failure.category, f"HubSpot could not write this record now ({failure.category})")
        elif (refusal := refusal_of(self._plan, item, failure)) is not None:
            self.outcomes.refused(item, refusal)
        else:
            said = failure.message or failure.category or "no reason given"
            self._wordless[item.row.key] = said
            self.outcomes.refused(item, Refusal(failure.code or "REFUSED", f"HubSpot refuses this row: {said}"))

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
            item.notices = (*item.notices, f"{name} was left empty: HubSpot does not accept its value")
        return bool(names)

    def _untangle(self, group: Group) -> None:
        """Inputs that are one record are sent in calls of their own, in the rows' order: the later one stays."""
        plan = self._plan
        record_of: dict[str, str] = {}
        if plan.key == "email" and group.verb == "upsert":
            for record in read(self._api, plan, [item.key for item in group.items], "email"):
                record_of |= dict.fromkeys(emails_of(record.properties), record.id)
        layers: list[list[Item]] = []
        seen: dict[str, int] = {}
        for item in group.items:
            record_id = record_of.get(item.key, item.key)
            place = seen[record_id] = seen.get(record_id, -1) + 1
            if place == len(layers):
                layers.append([])
            layers[place].append(item)
            if place:
                item.notices = (*item.notices, "another row is the same contact in HubSpot; the later one wins")
        if len(layers) == 1:
            self._halve(group)
        for layer in layers if len(layers) > 1 else ():
            self._push(group.verb, layer)

    def _learn_schema(self, answer: Answer, items: Sequence[Item]) -> None:
        """A property is gone or changed: look again once (and create it, if the mapping says so)."""
        if self._replanned:
            failures = [failure_of(answer.body), *failures_in(answer.body)]
            named = {value.property for failure in failures for value in failure.values}
            names = [name for name in self._plan.by_name if name in named]
            raise NeedsAction(
                f"HubSpot refuses {', '.join(names) or 'a property'} "
                f"({answer.message or 'PROPERTY_DOESNT_EXIST'}), though its list of properties shows nothing wrong: "
                "look at Settings → Properties, then run `connector check --live`"
            )
        self._replanned = True
        self._plan = self._replan(self._plan)
        for item in items:
            made = item_of(self._plan, item.row)
            if isinstance(made, Item):
                item.texts = made.texts
            else:
                self.outcomes.refused(item, made)

    # ------------------------------------------------------------ conflicts and take-overs

    def _conflicts_of(self, verb: Verb, conflicts: Sequence[tuple[Item, Failure]]) -> None:
        """Unique values of these items belong to other records: take those over, or tell a person."""
        for item, failure in conflicts:
            if item.adopted:
                self.outcomes.refused(item, several(self._plan, [failure.existing] if failure.existing else []))
        fresh = self.outcomes.open([item for item, _ in conflicts])
        clean = self._take_over(fresh)
        self._push("update", [item for item in fresh if item.adopted])
        existing = {item.row.key: failure.existing for item, failure in conflicts}
        for item in clean:
            item.resends += 1  # once more: perhaps nobody holds the value any longer
            if item.resends > 1:
                self.outcomes.refused(item, taken(self._plan, existing[item.row.key]))
        self._push(verb, clean)

    def _conflict_in(self, group: Group, existing: str | None) -> None:
        """A unique value of one of the items belongs to another record; the error does not say of which item."""
        fresh = [item for item in group.items if not item.adopted]
        clean = self._take_over(fresh)
        if len(clean) < len(fresh):
            self._push("update", [item for item in fresh if item.adopted])
            self._push(group.verb, [item for item in group.items if item in clean or item not in fresh])
            return
        suspects: list[Item] = []
        if existing is not None and existing not in self._holders_read:
            self._holders_read.add(existing)
            for record in read(self._api, self._plan, [existing], None):
                held = record.properties.items()
                alike = (
                    [item for item in group.items if item.texts.get(name) == value] for name, value in held if value
                )
                suspects = min(filter(None, alike), key=len, default=[])
        if 0 < len(suspects) < len(group.items):
            self._push(group.verb, [item for item in group.items if item not in suspects])
            self._push(group.verb, suspects)
        else:
            self._halve(group)

    def _take_over(self, items: Sequence[Item]) -> list[Item]:
        return take_over(self._api, self._plan, self._claims, items, self.outcomes)


def _places_named(failure: Failure, by_id: Mapping[str, int], left: Mapping[int, Item]) -> list[int]:
    """The places of the inputs that *failure* names."""
    if failure.trace is not None and failure.trace.isdigit():
        return [int(failure.trace)] if int(failure.trace) in left else []
    return [place for each in failure.ids if (place := by_id.get(each)) is not None and place in left]
