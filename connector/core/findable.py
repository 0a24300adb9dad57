"""The words by which a person finds an affiliate: names, e-mail addresses, ids and codes, as they are compared."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence

from connector.core.addresses import spellings
from connector.core.facts import Stamped, Value

VERSION = 1
"""Of the words that are made of a record: when it grows, stores make them anew."""

LONGEST = 48
"""Characters of a word that are compared."""
_MOST_WORDS = 120  # of a record: some have a coupon for each of their customers
_MOST_OF_A_NAME = 8
_CODES = frozenset({"ref_id", "promo_code", "customer_promo_code", "code", "token"})
_PERSON = frozenset({"email", "name", "first_name", "last_name", "company"})
_FOUND_BY = _CODES | _PERSON | {"external_id"}
_GAPS = re.compile(r"[^\w]+|_")


def plain(text: str) -> str:
    """*text* as it is compared: small letters without accents, words divided by one space."""
    if not text.isascii():
        parts = unicodedata.normalize("NFKD", text[: 4 * LONGEST])
        text = "".join(each for each in parts if not unicodedata.combining(each) and not "\ud800" <= each <= "\udfff")
    return _GAPS.sub(" ", text.casefold()).strip()


def plain_address(address: str) -> str:
    """An e-mail address, or a part of one, as it is compared."""
    return "".join(address.split()).lower().encode("utf-8", "ignore").decode()[:LONGEST]


def findable(said: Iterable[Stamped]) -> dict[str, Value]:
    """Of the facts in *said*, those that a person may search for, by path."""
    found: dict[str, Value] = {}
    for _, _, values in said:
        for path, value in values.items():
            top, dot, last = path.rpartition(".")
            if last in _FOUND_BY and isinstance(value, str) and (not dot or _is_own(top, last)):
                found[path] = value
    return found


def _is_own(top: str, last: str) -> bool:
    """Whether ``top.last`` is the affiliate's: a customer's address and a manager's name are not."""
    if last in _CODES:
        return top.startswith(("campaigns[", "coupons[", "links[", "default"))
    return top.startswith("users[")


def words_of(record_id: str, facts: Mapping[str, Value]) -> frozenset[str]:
    """The words of the record with these facts (``findable``). Searching compares their beginnings."""
    number = record_id.partition(":")[2]
    found: dict[str, None] = dict.fromkeys(filter(None, (plain(number),)))
    for path, value in sorted(facts.items()):
        if len(found) >= _MOST_WORDS:
            break
        if isinstance(value, str):
            found |= dict.fromkeys(_words_in(path.rpartition(".")[2], value, facts))
    return frozenset(found)


def _words_in(last: str, value: str, facts: Mapping[str, Value]) -> Iterator[str]:
    if last == "email":
        for spelling in spellings(value):
            address = plain_address(spelling)
            yield from filter(None, (address, address.partition("@")[2]))
    elif last == "first_name":
        family = facts.get("last_name")
        yield from endings(f"{value} {family}" if isinstance(family, str) else value)
    elif last in _PERSON:
        yield from endings(value)
    else:
        yield from filter(None, (plain(value)[:LONGEST],))


def endings(name: str) -> Sequence[str]:
    """*name* from each of its words on: ``priya raman`` and ``raman``, so that either word finds it."""
    words = plain(name).split(" ")[:_MOST_OF_A_NAME]
    return [" ".join(words[start:])[:LONGEST] for start in range(len(words)) if words[start]]
