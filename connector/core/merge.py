"""Joining what two events say: per path, the later fact wins. Commutative, associative and idempotent."""

from __future__ import annotations

import json

from connector.core.record import Fact, Facts, KeptFacts, Value


def join(known: Facts, said: Facts) -> dict[str, Fact]:
    """All that *known* and *said* say; where both speak of a path, the later fact (see ``later``)."""
    joined = dict(known)
    for path, fact in said.items():
        mine = joined.get(path)
        # Nearly always the time alone decides, so it is compared here and not in a call.
        if mine is None or fact[0] > mine[0] or (fact[0] == mine[0] and later(fact, mine)):
            joined[path] = fact
    return joined


class Said:
    """All that is said of one affiliate: what ``join`` makes of it, in whatever order it comes. Most comes in the order
    in which it happened, and then whole maps of facts are joined at once."""

    __slots__ = ("_newest", "_oldest", "facts")

    def __init__(self) -> None:
        self.facts: dict[str, Fact] = {}
        self._oldest, self._newest = 2**63, -(2**63)

    def add(self, facts: Facts, at: int | None = None) -> None:
        """Join *facts* to these; *at* is the time of all of them, or None."""
        if not facts:
            return
        if at is None:
            times = [fact[0] for fact in facts.values()]
            oldest, newest = min(times), max(times)
        else:
            oldest = newest = at
        if oldest > self._newest:
            self.facts.update(facts)
        else:
            self.facts = join(self.facts, facts)
        self._oldest, self._newest = min(oldest, self._oldest), max(newest, self._newest)

    def add_kept(self, known: KeptFacts) -> None:
        """Join what is known to these."""
        if self._oldest > known.newest:
            known.complete(self.facts)
        else:
            self.facts = join(known.all(), self.facts)
        self._oldest, self._newest = -(2**63), max(known.newest, self._newest)


def later(fact: Fact, than: Fact) -> bool:
    """Whether *fact* wins over *than*: by time, then rank, then a total order on the value's canonical form."""
    if fact[0] != than[0]:
        return fact[0] > than[0]
    if fact[1] != than[1]:
        return fact[1] > than[1]
    value, other = fact[2], than[2]
    if value == other and type(value) is type(other):  # the same event again; and True is not 1
        return False
    return canonical(value) > canonical(other)


def canonical(value: Value) -> str:
    """A text that is equal for equal values only; without it a tie would be decided by the order of arrival."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
