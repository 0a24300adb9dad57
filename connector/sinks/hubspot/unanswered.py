"""What writes without an answer did: their outcomes never came, and the next reading shows our own values only."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from connector.core.row import Cell
from connector.core.sink import Outcome
from connector.sinks.hubspot.properties import Plan
from connector.sinks.hubspot.values import Item, same

_MOST_RECORDS = 10_000


@dataclass(slots=True)
class _Sent:
    """The writes of one record since its last answer.

    Args:
        makes: they make the record.
        cells: by property, what was sent, what was there before, and whether a person had typed that.
    """

    makes: bool = False
    cells: dict[str, tuple[str, Cell, bool]] = field(default_factory=dict)


class Unanswered:
    """For all batches of a sink, for as long as the program runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sent: dict[tuple[str, str], _Sent] = {}

    def recall(self, plan: Plan, item: Item) -> None:
        """Add to the *item*'s findings what earlier writes replaced that arrived, as is seen now."""
        edits = item.edits
        with self._lock:
            sent = self._sent.get((plan.kind, item.key))
        if sent is None or edits is None or item.there is None or item.adopted:
            return
        for name, (text, former, is_typed) in sent.cells.items():
            there = item.there.get(name)
            if name in plan.by_name and same(there, text, plan.by_name[name][1]):
                edits.former[name] = former
            else:
                is_typed = sent.makes and name in edits.former and bool(there)  # into the record that we had made
            edits.overwritten += [name] * (is_typed and name not in edits.overwritten)

    def sending(self, plan: Plan, item: Item, properties: Mapping[str, str]) -> None:
        """*item* is about to be written with *properties*."""
        edits = item.edits
        assert edits is not None
        with self._lock:
            sent = self._sent.setdefault((plan.kind, item.key), _Sent())
            sent.makes = item.is_new or (sent.makes and not item.adopted)
            for name in properties:
                if name != plan.key:
                    sent.cells[name] = properties[name], edits.former.get(name), name in edits.overwritten
            while len(self._sent) > _MOST_RECORDS:
                del self._sent[next(iter(self._sent))]

    def answered(self, plan: Plan, item: Item, outcome: Outcome) -> Outcome:
        """The *outcome* of a written item; says as well whether one of those writes made the record."""
        with self._lock:
            sent = self._sent.pop((plan.kind, item.key), None)
        return outcome if sent is None or not sent.makes or item.adopted else replace(outcome, added=True)

    def forget(self, plan: Plan, keys: Iterable[str]) -> None:
        """Nothing was written for these *keys*."""
        with self._lock:
            for key in keys:
                self._sent.pop((plan.kind, key), None)
