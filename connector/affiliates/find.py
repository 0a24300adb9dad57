"""Who is meant by an id or an e-mail address."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from connector.core.addresses import spellings
from connector.core.facts import AffiliateUpdate, Fact, load_facts
from connector.core.source import Event, Source
from connector.store import Store

PAGE = 1000
"""How many records or events are read from the store at once."""


class Meant(Struct, frozen=True):
    """Whom a person means by an id or an e-mail address.

    Args:
        record_ids: the records; () when none is known.
        addresses: e-mail addresses that stand for the person, lower case.
        elsewhere: other records that name one of the addresses, and where: (record id, path).
    """

    record_ids: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    elsewhere: tuple[tuple[str, str], ...] = ()


def whom(store: Store, sources: Iterable[str], word: str) -> Meant:
    """Who is meant by *word*: a record's id (``firstpromoter:41``), the platform's own id, or an e-mail address."""
    if "@" in word and ":" not in word.partition("@")[0]:
        return by_address(store, spellings(word))
    tried = [word, *(f"{source}:{word}" for source in sources)]
    known = store.load(tried)
    found = tuple(record_id for record_id in tried if record_id in known)
    stored = {address_of(load_facts(known[record_id].facts)) for record_id in found} - {None}
    addresses = sorted({spelling for address in stored if address for spelling in spellings(address)})
    return Meant(found or ((word,) if ":" in word else ()), tuple(addresses))


def by_address(store: Store, addresses: tuple[str, ...]) -> Meant:
    """Whose address is one of *addresses* (lower case), and which other records name one. Reads all records."""
    wanted = {spelling for address in addresses for spelling in spellings(address)}
    found: list[str] = []
    elsewhere: list[tuple[str, str]] = []
    for record_id, facts in _all_records(store):
        if not wanted.isdisjoint(spellings(address_of(facts) or "")):
            found.append(record_id)
        else:
            elsewhere += [
                (record_id, path)
                for path, (_, _, value) in facts.items()
                if isinstance(value, str) and "@" in value and not wanted.isdisjoint(spellings(value))
            ]
    return Meant(tuple(found), addresses, tuple(elsewhere))


def names(store: Store) -> Iterator[tuple[str, str]]:
    """Each record id with each name it has: the person's, the company's. Reads all records."""
    for record_id, facts in _all_records(store):
        first, last, name, company = (_text(facts, path) for path in ("first_name", "last_name", "name", "company"))
        for found in dict.fromkeys((f"{first} {last}".strip(), name, company)):
            if found:
                yield record_id, found


def _text(facts: Mapping[str, Fact], path: str) -> str:
    _, _, value = facts.get(path, (0, 0, None))
    return value.strip() if isinstance(value, str) else ""


def address_of(facts: Mapping[str, Fact]) -> str | None:
    """The e-mail address of the record with these facts, lower case."""
    return _text(facts, "email").lower() or None


def _all_records(store: Store) -> Iterator[tuple[str, dict[str, Fact]]]:
    after = ""
    while page := store.record_ids(after, PAGE):
        after = page[-1]
        for record_id, known in store.load(page).items():
            yield record_id, load_facts(known.facts)


def normalized(sources: Mapping[str, Source], event: Event) -> Sequence[AffiliateUpdate] | None:
    """What *event* says; None when its source is not configured any more or can't read it."""
    source = sources.get(event.source)
    if source is None:
        return None
    try:
        return source.normalize(event)
    except Exception:  # a bug of the source was logged when the event was projected
        return None
