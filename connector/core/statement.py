"""What one event says about one affiliate, while a source gathers it. Knows no platform.

A source makes a ``Statement`` of an event, puts into it what the body says, and gives ``update``. Blanks say nothing;
every fact carries the event's time and the source's rank.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal

from connector.core.facts import AffiliateUpdate, Value
from connector.core.lenient import Fields, amount, cleaned, count, iso, micros_of_time, text, text_for
from connector.core.money import exponent, from_minor
from connector.core.source import API_TOPIC, Event
from connector.core.visible import visible

Table = Sequence[tuple[str, str]]
"""(name in the body, path of the record): which field goes where; the last one that says something wins."""

_MOST_DECIMALS = 12
_GROUPED = re.compile(r"-?[0-9]{1,3}(?:,[0-9]{3})+\.[0-9]{1,3}")  # "1,307.00" can mean one number only
_MOST_MONEY = 10**20
_OF_ONE_EVENT = {  # what this one lacks must not be read off the one before
    "last_lead.": ("email", "state", "at"),
    "last_reward.": ("amount", "currency", "at"),
    "last_payout.": ("amount", "currency", "at"),
}


class Statement:
    """The facts of one event.

    Args:
        event: its time is a fact's, unless another is given. A row of the platform's API is no event: ``last_event``
            stays as it is.
        rank: among facts of one time the higher rank is the later truth.
        topic: of the event, where it is known under several names.

    Attributes:
        values: what is true as of the event, by path.
    """

    def __init__(self, event: Event, platform: str, rank: int = 0, topic: str = "") -> None:
        self.at, self.rank, self.moment = event.at, rank, iso(event.at)
        self.values: dict[str, Value] = {}
        self._as_of: dict[int, dict[str, Value]] = {self.at: self.values}
        if platform:
            self.values["platform"] = platform
        if not event.topic.startswith(API_TOPIC):
            self.values["updated_at"] = self.values["last_event.at"] = self.moment
            self.values["last_event.type"] = topic or event.topic

    def put(self, path: str, value: Value, at: int | None = None) -> None:
        """One fact, as of *at*; a blank says nothing."""
        if isinstance(value, str) and not (value.isascii() and value.isprintable()):
            value = cleaned(path, value)
        if value is not None and value != "" and value != ():
            self._values(at)[path] = value

    def _values(self, at: int | None) -> dict[str, Value]:
        return self.values if at is None else self._as_of.setdefault(at, {})

    def texts(self, fields: Fields, table: Table, prefix: str = "", at: int | None = None) -> None:
        """Texts, by *table*."""
        values = self._values(at)
        for name, path in table:
            value = fields.get(name)
            if value is not None and (said := text_for(path, value)) is not None:
                values[prefix + path] = said

    def counts(self, fields: Fields, table: Table, prefix: str = "") -> None:
        """Whole numbers, by *table*."""
        for name, path in table:
            value = fields.get(name)
            if value is not None and (number := count(value)) is not None:
                self.values[prefix + path] = number

    def times(self, fields: Fields, table: Table, prefix: str = "") -> None:
        """Times, by *table*."""
        for name, path in table:
            value = fields.get(name)
            if value is not None and (micros := micros_of_time(value)) is not None:
                self.values[prefix + path] = iso(micros)

    def minor(self, path: str, value: object, currency: str) -> None:
        """An amount in cents (or what *currency* has for them), also as text."""
        number = amount(value)
        if number is not None:
            self.put(path, from_minor(number, currency))

    def major(self, path: str, value: object, currency: str) -> None:
        """An amount in main units of *currency*, as a number or as text; as exact decimal text, cents included."""
        if isinstance(value, str) and _GROUPED.fullmatch(value.strip()):
            value = value.replace(",", "")
        number = amount(value)
        if number is not None and -_MOST_MONEY < number < _MOST_MONEY:
            digits = format(number, "f") if isinstance(number, Decimal) else str(number)
            whole, _, cents = digits.partition(".")
            cents = cents.ljust(exponent(currency), "0")
            if len(cents) <= _MOST_DECIMALS:
                self.put(path, f"{whole}.{cents}" if cents else whole)

    def balance(self, path: str, fields: Fields, name: str) -> None:
        """That the balance of *path* is 0, where *name* is there and empty (see ``view``)."""
        if name in fields and fields[name] in (None, ""):
            self.values[path.rpartition(".")[0]] = True

    def status(self, word: str | None, known: dict[str, str]) -> None:
        """The platform's *word*, and ours for it by *known*; a word that is not known is ``unknown``."""
        word = visible(word or "")
        if word:
            self.values["status"] = known.get(word.lower(), "unknown")
            self.put("source_status", word)

    def answers(self, entries: Iterable[Fields], question: str, answer: str) -> None:
        """Answers to a form's questions, as ``custom.QUESTION``."""
        for entry in entries:
            asked, said = text(entry.get(question)), text(entry.get(answer))
            if asked is not None and said is not None:
                self.put(f"custom.{asked}", said)

    def complete(self, entries: str, ids: Iterable[str], at: int | None = None) -> None:
        """The list *entries* (``links``, ``coupons``, ``campaigns``) holds these ids and no others."""
        self._values(at)[f"{entries}[]"] = tuple(dict.fromkeys(ids))

    def gone(self, path: str = "gone_at") -> None:
        """The affiliate (or ``links[ID].gone_at``) is not at the platform any more."""
        self.values[path] = self.moment

    def update(self, record_id: str) -> AffiliateUpdate:
        """What was gathered, about *record_id*."""
        for path, fields in _OF_ONE_EVENT.items():
            if any(said.startswith(path) for said in self.values):
                for field in fields:
                    self.values.setdefault(path + field, None)
        said = [(at, self.rank, values) for at, values in sorted(self._as_of.items(), reverse=True) if values]
        return AffiliateUpdate(record_id, said)


def currency_code(value: object, default: str) -> str:
    """An ISO 4217 code in capitals: *value*, or *default* where it is none."""
    word = visible(text(value) or "")
    return word.upper() if len(word) == 3 and word.isascii() and word.isalpha() else default
