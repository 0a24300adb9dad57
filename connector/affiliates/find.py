"""Who is meant by an id, an e-mail address, a name or a code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from connector.core.addresses import spellings
from connector.core.facts import AffiliateUpdate, Fact, load_facts
from connector.core.findable import LONGEST, plain, plain_address
from connector.core.source import Event, Source
from connector.store import Store

PAGE = 1000
"""How many records or events are read from the store at once."""

_MOST_WORDS_ASKED = 6
_SHORTEST_GUESSED = 3
_TWO_SLIPS_FROM = 8  # letters
_HEAD_LETTERS = 4
_MOST_OF_A_SLIP = 5
_MOST_COMPARED = 3_000
_MOST_GUESSES = 5
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


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


class Match(Struct, frozen=True):
    """An affiliate that a search found.

    Args:
        name: the person's, else the company's; "" when neither is known.
    """

    record_id: str
    name: str = ""
    company: str = ""
    email: str = ""
    status: str = ""


class Found(Struct, frozen=True):
    """What a search found.

    Args:
        near: where nothing fits: affiliates that may be meant, the nearest first.
        more: there are further matches.
    """

    matches: tuple[Match, ...] = ()
    near: tuple[Match, ...] = ()
    more: bool = False


def find(store: Store, words: str, limit: int = 50) -> Found:
    """The affiliates whose name, e-mail address, id or code begins with *words*, or has words that begin so."""
    while store.fill_search():  # once, after an update from a version that kept no words
        pass
    asked = words.strip()
    ids = [asked] if ":" in asked else []
    address = plain_address(asked.lstrip("@")) if "@" in asked or ("." in asked and " " not in asked) else ""
    phrase = plain(asked.partition(":")[2] if ids else asked)[:LONGEST]
    if address:
        ids += store.having([address], limit + 1)
    if phrase and "@" not in asked:
        ids += store.having([phrase], limit + 1)
        if len(ids) <= limit and " " in phrase:
            ids += store.having(phrase.split(" ")[:_MOST_WORDS_ASKED], limit + 1)
    found = _matches(store, dict.fromkeys(ids))
    if found:
        return Found(found[:limit], (), len(found) > limit)
    return Found((), _matches(store, _nearly(store, address or phrase)))


def listed(store: Store, after: str = "", limit: int = 50) -> Found:
    """A page of all affiliates, by id."""
    found = _matches(store, store.record_ids(after, limit + 1))
    return Found(found[:limit], (), len(found) > limit)


def match_of(record_id: str, facts: Mapping[str, Fact]) -> Match:
    """The record with these facts, as a search shows it."""
    first, last, name, company, email, status = (
        _text(facts, path) for path in ("first_name", "last_name", "name", "company", "email", "status")
    )
    return Match(record_id, f"{first} {last}".strip() or name or company, company, email, status)


def names_of(store: Store, record_ids: Iterable[str]) -> dict[str, str]:
    """What people call those of the records that there are, by id."""
    return {each.record_id: each.name or each.email or each.record_id for each in _matches(store, record_ids)}


def _matches(store: Store, record_ids: Iterable[str]) -> tuple[Match, ...]:
    """In the order of *record_ids*, those that there are."""
    ids = list(record_ids)
    known = store.load(ids)
    return tuple(match_of(each, load_facts(known[each].facts)) for each in ids if each in known)


def _nearly(store: Store, asked: str) -> list[str]:
    """Ids of records with a word that *asked* may have been meant for, the nearest first: one letter too many, too few,
    wrong or in its neighbour's place, and two in a long word."""
    if len(asked) < _SHORTEST_GUESSED or asked.replace(" ", "").isdigit():
        return []
    # Imported here: 60 ms that a search with an answer need not wait for.
    from rapidfuzz.distance import OSA

    # A slip among the first letters leaves the others right, one further on leaves the first letters right.
    found = store.beginning_with(sorted(_with_a_slip(asked, _HEAD_LETTERS)), _MOST_OF_A_SLIP)
    found += store.beginning_with([asked[:_HEAD_LETTERS]], _MOST_COMPARED)
    most = 1 if len(asked) < _TWO_SLIPS_FROM else 2
    near: dict[str, int] = {}
    for word, record_id in found:
        distance = min(OSA.distance(asked, word[: len(asked) + more], score_cutoff=most) for more in (-1, 0, 1))
        if distance <= most:
            near[record_id] = min(distance, near.get(record_id, most))
    return sorted(near, key=lambda record_id: near[record_id])[:_MOST_GUESSES]


def _with_a_slip(word: str, head: int) -> set[str]:
    """*word* with one slip undone that may have been made in its first *head* letters."""
    undone: set[str] = set()
    for place in range(min(head, len(word))):
        before, letter, after = word[:place], word[place], word[place + 1 :]
        undone.add(before + after)
        undone |= {before + other + after for other in _LETTERS}
        undone |= {before + other + letter + after for other in _LETTERS}
        undone.add(before + after[:1] + letter + after[1:])
    return {each for each in undone if len(each) >= _SHORTEST_GUESSED - 1} - {word}


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
