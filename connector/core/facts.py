"""What events say of an affiliate, field by field: values with the time they are true as of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

Value = str | int | bool | None | tuple[str, ...]
"""A fact's value, as JSON has it. Money is a decimal amount as text ("507.44"); times are ISO 8601 text in UTC;
None says that the platform has *cleared* the field (a value that is merely absent is no fact at all)."""

Fact = tuple[int, int, Value]
"""(at, rank, value): microseconds of Unix time as of which the value is true; among facts of the same moment the higher
rank wins (a verdict over the sign-up of the same second)."""

Facts = Mapping[str, Fact]
"""Facts by path: the paths of AffiliateRecord, ``campaigns[ID].field``, ``users[ID].field``, ``links[ID].field``,
``coupons[ID].field``, ``custom.KEY``, and ``users[]`` / ``campaigns[]`` / ``links[]`` / ``coupons[]`` -> the ids of a
complete list as of that time, in the platform's order (older entries are gone). Not in the record, only for ``view``:
``campaigns[ID].gone_at`` (and a link's, a coupon's), ``campaigns[ID].verdict`` (what its membership there makes of
the affiliate's status), ``default.promotion_id``, ``default.ref_id``.
An ID is the membership's, or ``campaign:ID`` where the platform names the campaign only."""

Stamped = tuple[int, int, Mapping[str, Value]]
"""(at, rank, values by path): the facts of one time and rank, which those of an event nearly always share. So facts are
kept in an update, while they are folded, and in the store."""


class AffiliateUpdate(msgspec.Struct, frozen=True):
    """What one event says about one affiliate: partial, each field stamped.

    Args:
        record_id: "acme:9000800": name of the source, colon, the platform's id.
        said: by stamp, the latest first, each stamp and each path once; never empty text, never a path without
            something to say.
    """

    record_id: str
    said: Sequence[Stamped]

    @classmethod
    def of(cls, record_id: str, facts: Facts) -> AffiliateUpdate:
        """One that says *facts*."""
        return cls(record_id, by_stamp(facts))

    @property
    def facts(self) -> dict[str, Fact]:
        """What it says, by path."""
        return facts_of(self.said)


# ---------------------------------------------------------------- facts by stamp, and as bytes


def by_stamp(facts: Facts) -> list[Stamped]:
    """*facts* by their stamps, the latest first; ``facts_of`` gives them back."""
    found: dict[tuple[int, int], dict[str, Value]] = {}
    for path, (at, rank, value) in facts.items():
        found.setdefault((at, rank), {})[path] = value
    return [(*stamp, found[stamp]) for stamp in sorted(found, reverse=True)]


def facts_of(said: Iterable[Stamped]) -> dict[str, Fact]:
    """The facts that *said* has, by path."""
    return {path: (at, rank, value) for at, rank, values in said for path, value in values.items()}


def same_values(said: Sequence[Stamped], other: Sequence[Stamped]) -> bool:
    """Whether both speak of the same paths, and give them the same values, whatever their stamps are."""
    mine, theirs = _values(said), _values(other)
    return mine == theirs and all(type(value) is type(theirs[path]) for path, value in mine.items())  # True is not 1


def _values(said: Sequence[Stamped]) -> Mapping[str, Value]:
    return said[0][2] if len(said) == 1 else {path: value for _, _, values in said for path, value in values.items()}


_dump = msgspec.json.Encoder().encode
_KeptValue = str | int | bool | tuple[str, ...] | None
_load = msgspec.json.Decoder(list[tuple[int, int, dict[str, _KeptValue]]]).decode


def dump_stamped(said: Sequence[Stamped]) -> bytes:
    """Facts as compact JSON: ``[[1727955910312000,0,{"email":"ada@example.com"}]]``, the latest first."""
    return _dump(said)


def load_stamped(data: bytes) -> Sequence[Stamped]:
    """What ``dump_stamped`` wrote.

    Raises:
        ValueError: it is something else.
    """
    return _load(data)


def load_facts(data: bytes) -> dict[str, Fact]:
    """The facts in what ``dump_stamped`` wrote. Raises ``ValueError`` for anything else."""
    return facts_of(load_stamped(data))
