"""Joining what two events say: per path, the later fact wins. Commutative, associative and idempotent."""

from __future__ import annotations

import json
from collections.abc import Sequence

from connector.core.facts import Fact, Facts, Stamped, Value, by_stamp, facts_of


def join(known: Facts, said: Facts) -> dict[str, Fact]:
    """All that *known* and *said* say; where both speak of a path, the later fact (see ``later``)."""
    joined = dict(known)
    for path, fact in said.items():
        mine = joined.get(path)
        if mine is None or later(fact, mine):
            joined[path] = fact
    return joined


def join_stamped(known: Sequence[Stamped], said: Sequence[Stamped]) -> Sequence[Stamped]:
    """``join`` of facts by stamp. Most comes in the order in which it happened, and then whole maps are joined at
    once."""
    if not known or not said:
        return known or said
    if said[-1][0] > known[0][0]:
        return _over(said, known)
    if known[-1][0] > said[0][0]:
        return _over(known, said)
    return by_stamp(join(facts_of(known), facts_of(said)))


def _over(newer: Sequence[Stamped], older: Sequence[Stamped]) -> list[Stamped]:
    """All of *newer*, and what *older* says of other paths."""
    left = [*newer]
    for at, rank, values in older:
        for _, _, said in newer:
            if values.keys() <= said.keys():
                break
            if not values.keys().isdisjoint(said.keys()):
                values = {path: value for path, value in values.items() if path not in said}
        else:
            left.append((at, rank, values))
    return left


def later(fact: Fact, than: Fact) -> bool:
    """Whether *fact* wins over *than*: by time, then rank, then a value over none, then a total order
    on the values' canonical form."""
    if fact[0] != than[0]:
        return fact[0] > than[0]
    if fact[1] != than[1]:
        return fact[1] > than[1]
    value, other = fact[2], than[2]
    if value == other and type(value) is type(other):  # the same event again; and True is not 1
        return False
    if value is None or other is None:  # two bodies of one event, and one says more
        return other is None
    return canonical(value) > canonical(other)


def canonical(value: Value) -> str:
    """A text that is equal for equal values only; without it a tie would be decided by the order of arrival."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
