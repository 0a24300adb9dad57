"""One batch of at most 100 rows on its way into HubSpot: sent, understood, taken apart where it must be.

Every row ends in exactly one outcome, by its key, or stays without one when time or a person must act. A group that is
refused as a whole is taken apart until each bad row stands alone, so one bad row never costs a good one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from connector.core.errors import NeedsAction
from connector.core.sink import Outcome
from connector.sinks.hubspot.client import Answer, HubSpotApi, listed, most_inputs
from connector.sinks.hubspot.properties import (
    Failure,
    Item,
    Plan,
    Refusal,
    emails_of,
    failure_of,
    item_of,
    refusal,
    to_send,
)

_many = 10  # rows: fewer may well be refused for the same reason by chance


class Claims:
    """Which key takes over which record at the moment, for all batches of a sink."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_record: dict[tuple[str, str], str] = {}

    def claim(self, kind: str, record: str, key: str) -> bool:
        """Whether *key* may take over *record*: nobody else does."""
        with self._lock:
            return self._by_record.setdefault((kind, record), key) == key

    def release(self, kind: str, keys: Iterable[str]) -> None:
        """The batch with these keys is through."""
        gone = set(keys)
        with self._lock:
            for claim in [claim for claim, key in self._by_record.items() if claim[0] == kind and key in gone]:
                del self._by_record[claim]


@dataclass(frozen=True, slots=True)
class Group:
    """Items that go in one call: upserted by key, or updated by the id of a record that is taken over."""

    verb: Literal["upsert", "update"]
    items: Sequence[Item]


class Batch:
    """See the module. ``run`` once; then read ``outcomes``, ``records`` and ``rest``.

    Args:
        replan: gives the plan anew when the account's properties turned out to be others.
        create: False for ``new_records = "update_only"``.
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
        self._api = api
        self._claims = claims
        self._plan = plan
        self._items = items
        self._replan = replan
        self._create = create
        self._replanned = False
        self._groups: deque[Group] = deque()
        self._owners_read: set[str] = set()
        self._wordless: dict[str, str] = {}
        self.outcomes: dict[str, Outcome] = {}
        """By the row's key."""
        self.records: dict[str, str] = {}
        """The record's id by the row's key, where an answer told it."""

    @property
    def rest(self) -> list[Item]:
        """Items without an outcome: something was raised before their turn."""
        return [item for item in self._items if item.row.key not in self.outcomes]

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
            self._read_by_key(self._items)
        else:
            for item in self._items:
                item.is_read = True
        self._take_over([item for item in self._items if item.there is None])

    def run(self) -> None:
        """Send everything; raises what ``Sink.write`` may raise, with the outcomes so far kept."""
        try:
            items = list(self._items)
            if self._plan.reads or not self._create:
                self._read_by_key(items)
            if not self._create:
                items = self._known_only(items)
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
        if len(self._items) >= _many and len(self._wordless) == len(self._items) and len(words) == 1:
            for key in self._wordless:
                del self.outcomes[key]
            raise NeedsAction(
                f"HubSpot refuses every row for the same reason, which names no value: {words.pop()}. Nothing was "
                "written; look at the account and at the mapping's properties, run `connector check --live`"
            )

    # ------------------------------------------------------------ reading

    def _read_by_key(self, items: Sequence[Item]) -> None:
        plan = self._plan
        answer = self._read([item.key for item in items], plan.key)
        by_key: dict[str, tuple[str, Mapping[str, Any]]] = {}
        for id_, properties in answer:
            for value in self._values(properties, plan.key):
                by_key[value] = (id_, properties)
        for item in items:
            item.is_read = True
            found = by_key.get(item.key)
            if found:
                item.record, item.there = found
                self.records[item.row.key] = found[0]

    def _read(self, values: Iterable[str], by: str | None) -> list[tuple[str, Mapping[str, Any]]]:
        plan = self._plan
        wanted = list(dict.fromkeys(value for value in values if value))
        if not wanted:
            return []
        names = list(dict.fromkeys([*plan.names, *plan.lookups]))
        found: list[tuple[str, Mapping[str, Any]]] = []
        for start in range(0, len(wanted), most_inputs):
            part = wanted[start : start + most_inputs]
            untold = self._read_part(part, by, names, found)
            if untold:
                # Neither found nor said to be missing: a record that is taken for new would lose what is typed there.
                self._read_part(untold, by, names, found)
        return found

    def _read_part(
        self, values: Sequence[str], by: str | None, names: Sequence[str], found: list[tuple[str, Mapping[str, Any]]]
    ) -> list[str]:
        """One call; adds to *found* and returns the values of which the answer says nothing."""
        plan = self._plan
        answer = self._api.read(plan.kind, values, by=by, properties=names)
        if not answer.ok:
            raise NeedsAction(
                f"HubSpot can't read {plan.kind} by {by or 'id'} ({answer.status}: {answer.message}); is it "
                "unique? Run `connector check --live`"
            )
        told: set[str] = set()
        for each in listed(answer):
            id_, properties = str(each["id"]), each.get("properties") or {}
            found.append((id_, properties))
            told.update((id_,) if by is None else self._values(properties, by))
        for error in answer.body.get("errors") or ():
            told.update(failure_of(error).ids)
        return [value for value in values if value not in told]

    @staticmethod
    def _values(properties: Mapping[str, Any], name: str) -> Iterable[str]:
        if name == "email":
            return emails_of(properties)
        value = properties.get(name)
        return () if value is None else (str(value),)

    def _known_only(self, items: Sequence[Item]) -> list[Item]:
        """``update_only``: those that HubSpot has, by key or by what else matches."""
        unknown = [item for item in items if item.there is None]
        if unknown and self._plan.match:
            self._take_over(unknown)
        for item in unknown:
            if item.there is None and item.row.key not in self.outcomes:
                self._done(item, "not in HubSpot; left out, because new_records is update_only")
        return [item for item in items if item.row.key not in self.outcomes]

    # ------------------------------------------------------------ sending

    def _push(self, verb: Literal["upsert", "update"], items: Sequence[Item]) -> None:
        open_items = [item for item in items if item.row.key not in self.outcomes]
        if open_items:
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
                self._done(item)  # everything is there already, or a rule keeps what is there
                continue
            made: dict[str, Any] = {"objectWriteTraceId": str(len(items)), "properties": properties}
            if group.verb == "update":
                made["id"] = item.record
                if item.adopted:
                    properties[plan.key] = item.key
            else:
                made["id"] = item.key
                made["idProperty"] = plan.key
                if not properties:
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
            self._refused(tried, sent, answer)

    def _account(self, group: Group, sent: Sequence[Mapping[str, str]], answer: Answer) -> None:
        """A 2xx: who was written, who was not, and of whom nothing is said."""
        left = dict(enumerate(group.items))
        by_id = {self._id(group, item): place for place, item in left.items()}
        unknown: list[Mapping[str, Any]] = []
        for result in answer.body.get("results") or ():
            place = self._place(group, result, by_id)
            if place is None or place not in left:
                unknown.append(result)
                continue
            self._written(left.pop(place), sent[place], result)
        conflicts: list[tuple[Item, Failure]] = []
        again: list[Item] = []
        schema: list[Item] = []
        unnamed: list[Failure] = []
        for error in answer.body.get("errors") or ():
            failure = failure_of(error)
            places = self._named(failure, by_id, left)
            if not places:
                unnamed.append(failure)
            for place in places:
                item = left.pop(place)
                if failure.schema:
                    schema.append(item)
                elif failure.conflict:
                    conflicts.append((item, failure))
                elif self._give_up_value(item, failure):
                    again.append(item)
                else:
                    self._refuse(item, failure)
        if left:
            self._unaccounted(group, left, sent, unknown, unnamed)
        if schema:
            self._learn_schema(answer, schema)
            self._push(group.verb, schema)
        self._push(group.verb, again)
        self._conflicts(group.verb, conflicts)

    @staticmethod
    def _id(group: Group, item: Item) -> str:
        return item.key if group.verb == "upsert" else str(item.record)

    def _place(self, group: Group, result: Mapping[str, Any], by_id: Mapping[str, int]) -> int | None:
        trace = result.get("objectWriteTraceId")
        if isinstance(trace, str) and trace.isdigit():
            return int(trace)
        if group.verb == "update":
            return by_id.get(str(result.get("id")))
        for value in self._values(result.get("properties") or {}, self._plan.key):
            if value in by_id:
                return by_id[value]
        return None

    @staticmethod
    def _named(failure: Failure, by_id: Mapping[str, int], left: Mapping[int, Item]) -> list[int]:
        if failure.trace is not None and failure.trace.isdigit():
            return [int(failure.trace)] if int(failure.trace) in left else []
        return [place for each in failure.ids if (place := by_id.get(each)) is not None and place in left]

    def _unaccounted(
        self,
        group: Group,
        left: Mapping[int, Item],
        sent: Sequence[Mapping[str, str]],
        unknown: Sequence[Mapping[str, Any]],
        unnamed: Sequence[Failure],
    ) -> None:
        lost = list(left.values())
        if unnamed:
            if len(lost) == 1:
                self._push_or_refuse(group, lost[0], unnamed[0])
            else:
                self._halve(Group(group.verb, lost))
            return
        if len(unknown) == len(lost):
            # By elimination: HubSpot knows them by another e-mail address than the one we asked for.
            for (place, item), result in zip(left.items(), unknown, strict=True):
                self._written(item, sent[place], result if len(lost) == 1 else {})
            return
        for item in lost:
            item.resends += 1
        self._push(group.verb, [item for item in lost if item.resends == 1])
        for item in lost:
            if item.resends > 1:
                self._later(item, "unaccounted", "HubSpot answered that all is well, but said nothing of this record")

    def _written(self, item: Item, sent: Mapping[str, str], result: Mapping[str, Any]) -> None:
        id_ = result.get("id")
        if id_ is not None:
            self.records[item.row.key] = str(id_)
        stage = sent.get("lifecyclestage")
        now = (result.get("properties") or {}).get("lifecyclestage")
        if stage and now and now != stage:
            self._done(item, f"lifecyclestage stayed at {now}: HubSpot only moves it forward")
        else:
            self._done(item)

    # ------------------------------------------------------------ refused as a whole

    def _refused(self, group: Group, sent: Sequence[Mapping[str, str]], answer: Answer) -> None:
        failure = failure_of(answer.body)
        if failure.schema:
            self._learn_schema(answer, group.items)
            self._push(group.verb, group.items)
        elif failure.doubled and len(group.items) > 1:
            self._untangle(group)
        elif failure.conflict:
            self._conflicts(group.verb, [(item, failure) for item in group.items], whole=group)
        elif len(group.items) == 1:
            self._push_or_refuse(group, group.items[0], failure)
        else:
            self._isolate(group, sent, failure)

    def _push_or_refuse(self, group: Group, item: Item, failure: Failure) -> None:
        if failure.conflict:
            self._conflicts(group.verb, [(item, failure)])
        elif self._give_up_value(item, failure):
            self._push(group.verb, [item])
        else:
            self._refuse(item, failure)

    def _isolate(self, group: Group, sent: Sequence[Mapping[str, str]], failure: Failure) -> None:
        """Split so that the bad rows end alone. A 400 names the property and the value, never the input."""
        suspects = [
            item
            for item, properties in zip(group.items, sent, strict=True)
            if any(
                value.property is not None
                and (text := properties.get(value.property))
                and text.lower() in value.message.lower()
                for value in failure.values
            )
        ]
        if not suspects or len(suspects) == len(group.items):
            self._halve(group)
            return
        doubted = {id(item) for item in suspects}
        self._push(group.verb, [item for item in group.items if id(item) not in doubted])
        self._push(group.verb, suspects)

    def _untangle(self, group: Group) -> None:
        """Two inputs that are one record go in calls of their own, in the rows' order: the later one stays."""
        plan = self._plan
        record_of: dict[str, str] = {}
        if plan.key == "email" and group.verb == "upsert":
            for id_, properties in self._read([item.key for item in group.items], "email"):
                record_of |= dict.fromkeys(emails_of(properties), id_)
        layers: list[list[Item]] = []
        seen: dict[str, int] = {}
        for item in group.items:
            record = record_of.get(item.key, item.key)
            place = seen[record] = seen.get(record, -1) + 1
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
            values = [value for error in (answer.body, *(answer.body.get("errors") or ())) for value in
                      failure_of(error).values]  # fmt: skip
            names = ", ".join(sorted({value.property for value in values if value.property})) or "a property"
            raise NeedsAction(
                f"HubSpot refuses {names} ({answer.message or 'PROPERTY_DOESNT_EXIST'}), though its list of properties "
                f"shows nothing wrong: look at Settings → Properties, then run `connector check --live`"
            )
        self._replanned = True
        self._plan = self._replan(self._plan)
        for item in items:
            made = item_of(self._plan, item.row)
            if isinstance(made, Item):
                item.texts = made.texts
            else:
                self._refuse_for(item, made)

    # ------------------------------------------------------------ conflicts and take-overs

    def _conflicts(
        self,
        verb: Literal["upsert", "update"],
        conflicts: Sequence[tuple[Item, Failure]],
        whole: Group | None = None,
    ) -> None:
        """Values that belong to another record: take it over, or tell a person. *whole*: nobody was named."""
        if not conflicts:
            return
        named = {item.row.key: failure.existing for item, failure in conflicts} if whole is None else {}
        fresh = [item for item, _ in conflicts if not item.adopted]
        for item, failure in conflicts:
            if item.adopted and (whole is None or len(whole.items) == 1):
                self._refuse_several(item, [failure.existing] if failure.existing else [])
        clean = self._take_over(fresh) if fresh else []
        self._push("update", [item for item in fresh if item.adopted and item.row.key not in self.outcomes])
        if whole is None:
            for item in clean:
                item.resends += 1
                if item.resends > 1:
                    self._refuse_taken(item, named.get(item.row.key))
            self._push(verb, [item for item in clean if item.resends == 1])
        elif len(clean) < len(fresh):
            self._push(verb, clean)
        elif len(whole.items) == 1 and whole.items[0].row.key not in self.outcomes:
            self._refuse_taken(whole.items[0], conflicts[0][1].existing)
        elif len(whole.items) > 1:
            self._split_by_owner(whole, conflicts[0][1].existing)

    def _split_by_owner(self, group: Group, existing: str | None) -> None:
        """Nobody's value is known to be taken: two rows may share one, or the named record shows whose it may be."""
        seen: set[tuple[str, str]] = set()
        suspects: list[Item] = []
        for item in group.items:
            mine = {(name, text) for name in self._plan.lookups if (text := item.texts.get(name))}
            if mine & seen:
                suspects.append(item)
            seen |= mine
        if not suspects and existing is not None and existing not in self._owners_read:
            self._owners_read.add(existing)
            for _, properties in self._read([existing], None):
                alike = [
                    [item for item in group.items if item.texts.get(name) == value]
                    for name, value in properties.items()
                    if value
                ]
                suspects = min((items for items in alike if items), key=len, default=[])
        if 0 < len(suspects) < len(group.items):
            self._push(group.verb, [item for item in group.items if item not in suspects])
            self._push(group.verb, suspects)
        else:
            self._halve(group)

    def _take_over(self, items: Sequence[Item]) -> list[Item]:
        """Find whose values the items want; adopt, refuse, or return those that want nobody's."""
        plan = self._plan
        others: dict[str, dict[str, Mapping[str, Any]]] = {item.row.key: {} for item in items}
        how: dict[str, str] = {}
        # Once each: a group that is halved does not ask again for the same addresses.
        unlooked = [item for item in items if not item.looked] if len(items) > 1 else items
        for name in plan.lookups:
            by_value: dict[str, tuple[str, Mapping[str, Any]]] = {}
            for id_, properties in self._read([item.texts.get(name, "") for item in unlooked], name):
                for value in self._values(properties, name):
                    by_value[value] = (id_, properties)
            for item in unlooked:
                item.looked = True
                found = by_value.get(item.texts.get(name, ""))
                if found and item.key not in self._values(found[1], plan.key):
                    others[item.row.key][found[0]] = found[1]
                    how.setdefault(f"{item.row.key} {found[0]}", name)
        wanting = [item for item in items if others[item.row.key]]
        if any(not item.is_read for item in wanting):
            self._read_by_key(wanting)
        for item in wanting:
            found_others = others[item.row.key]
            id_, properties = next(iter(found_others.items()))
            owner = str(properties.get(plan.key) or "")
            name = how[f"{item.row.key} {id_}"]
            if item.there is not None:
                self._refuse_several(item, [str(item.record), *found_others])
            elif len(found_others) > 1:
                self._refuse_several(item, list(found_others))
            elif owner or name not in plan.match:
                self._refuse_taken(item, id_, name=name, owner=owner)
            elif not self._claims.claim(plan.kind, id_, item.key):
                self._later(item, "taken_over", "another affiliate is taking over the same record at this moment")
            else:
                item.record, item.there, item.is_read = id_, properties, True
                item.adopted, item.matched_by = True, name
                self.records[item.row.key] = id_
        return [item for item in items if not others[item.row.key]]

    # ------------------------------------------------------------ outcomes

    def _done(self, item: Item, *notices: str) -> None:
        key = item.row.key
        self.outcomes[key] = Outcome(key, "written", notices=(*item.notices, *notices))

    def _later(self, item: Item, code: str, reason: str) -> None:
        self.outcomes[item.row.key] = Outcome(item.row.key, "later", reason=reason, code=code, after=5.0)

    def _give_up_value(self, item: Item, failure: Failure) -> bool:
        """``on_error = "leave_empty"``: whether the item can go again without the values that are not taken."""
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

    def _refuse(self, item: Item, failure: Failure) -> None:
        plan = self._plan
        if failure.gone:
            item.adopted = False
            self._later(item, "gone", "somebody deleted this record in HubSpot while it was being written")
            return
        if failure.passing:
            self._later(item, failure.category, f"HubSpot could not write this record now ({failure.category})")
            return
        for value in failure.values:
            name = value.property or ""
            if name in plan.by_name:
                column, there = plan.by_name[name]
                text = item.texts.get(name) or item.key
                self._refuse_for(item, refusal(column, text, value.code, plan.file, options=there.options))
                return
        said = failure.message or failure.category or "no reason given"
        self._wordless[item.row.key] = said
        self._refuse_for(item, Refusal(failure.code or "REFUSED", f"HubSpot refuses this row: {said}"))

    def _refuse_for(self, item: Item, why: Refusal) -> None:
        key = item.row.key
        self.outcomes[key] = Outcome(key, "refused", reason=why.reason, code=why.code, column=why.column)

    def _refuse_taken(self, item: Item, existing: str | None, *, name: str = "", owner: str = "") -> None:
        plan = self._plan
        one = plan.kind[:-1] if plan.kind != "companies" else "company"
        whose = f"{one} {existing}" if existing else f"another {one}"
        what = name or "a value that must be unique"
        if owner:
            whose += f", which is {owner}"
            cure = (
                "two affiliates can't be one record: change one of them at the platform, or leave one out with [when]"
            )
        elif name and name not in plan.match:
            cure = f'to take that record over, set also_match = ["{name}"] under [key]; or merge the two in HubSpot'
        else:
            cure = "merge or correct the two in HubSpot, then replay"
        where = plan.by_name[name][0].where if name in plan.by_name else ""
        at = f"; {where}" if where else ""
        self._refuse_for(
            item, Refusal("CONFLICT", f"{what} belongs to {whose} in HubSpot already{at}; {cure}", name or None)
        )

    def _refuse_several(self, item: Item, ids: Sequence[str]) -> None:
        listed = " and ".join(dict.fromkeys(ids)) or "more than one record"
        reason = f"several {self._plan.kind} in HubSpot are this affiliate ({listed}): merge them there, then replay"
        self._refuse_for(item, Refusal("SEVERAL_MATCH", reason))
