"""What one event says about one affiliate, while a source gathers it. Knows no platform.

A source makes a ``Statement`` of an event, puts into it what the body says, and gives ``update``. Blanks say nothing;
every fact carries the event's time and the source's rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from connector.core.facts import AffiliateUpdate, Fact, Value
from connector.core.lenient import Fields, amount, cleaned, count, iso, iso_or_none, micros_of_time, text, text_for
from connector.core.money import exponent, from_minor
from connector.core.source import API_TOPIC, Event

Table = Sequence[tuple[str, str]]
"""(name in the body, path of the record): which field goes where; the last one that says something wins."""

_MOST_DECIMALS = 12
_MOST_MONEY = 10**20


class Statement:
    """The facts of one event.

    Args:
        event: its time is every fact's. A row of the platform's API is no event: ``last_event`` stays as it is.
        rank: among facts of one time the higher rank is the later truth.
    """

    def __init__(self, event: Event, platform: str, rank: int = 0) -> None:
        self.at, self.rank = event.at, rank
        self.facts: dict[str, Fact] = {}
        self.put("platform", platform)
        if not event.topic.startswith(API_TOPIC):
            self.put("updated_at", self.moment)
            self.put("last_event.type", event.topic)
            self.put("last_event.at", self.moment)

    @property
    def moment(self) -> str:
        """The event's time as a fact has it."""
        return iso(self.at)

    def put(self, path: str, value: Value) -> None:
        """One fact; a blank says nothing."""
        if isinstance(value, str) and not (value.isascii() and value.isprintable()):
            value = cleaned(path, value)
        if value is not None and value != "" and value != ():
            self.facts[path] = (self.at, self.rank, value)

    def texts(self, fields: Fields, table: Table, prefix: str = "") -> None:
        """Texts, by *table*."""
        for name, path in table:
            self.put(prefix + path, text_for(path, fields.get(name)))

    def counts(self, fields: Fields, table: Table, prefix: str = "") -> None:
        """Whole numbers, by *table*."""
        for name, path in table:
            self.put(prefix + path, count(fields.get(name)))

    def times(self, fields: Fields, table: Table, prefix: str = "") -> None:
        """Times in ISO 8601, by *table*."""
        for name, path in table:
            self.put(prefix + path, iso_or_none(micros_of_time(fields.get(name))))

    def minor(self, path: str, value: object, currency: str) -> None:
        """An amount in cents (or what *currency* has for them), also as text."""
        number = amount(value)
        if number is not None:
            self.put(path, from_minor(number, currency))

    def major(self, path: str, value: object, currency: str) -> None:
        """An amount in main units of *currency*, as a number or as text; as exact decimal text, cents included."""
        number = amount(value)
        if number is not None and -_MOST_MONEY < number < _MOST_MONEY:
            digits = format(number, "f") if isinstance(number, Decimal) else str(number)
            whole, _, cents = digits.partition(".")
            cents = cents.ljust(exponent(currency), "0")
            if len(cents) <= _MOST_DECIMALS:
                self.put(path, f"{whole}.{cents}" if cents else whole)

    def status(self, word: str | None, known: dict[str, str]) -> None:
        """The platform's *word*, and ours for it by *known*; a word that is not known is ``unknown``."""
        if word:
            self.put("status", known.get(word.lower(), "unknown"))
            self.put("source_status", word)

    def answers(self, entries: Iterable[Fields], question: str, answer: str) -> None:
        """Answers to a form's questions, as ``custom.QUESTION``."""
        for entry in entries:
            asked, said = text(entry.get(question)), text(entry.get(answer))
            if asked is not None and said is not None:
                self.put(f"custom.{asked}", said)

    def complete(self, entries: str, ids: Iterable[str]) -> None:
        """The list *entries* (``links``, ``coupons``, ``campaigns``) holds these ids and no others, as of now."""
        self.facts[f"{entries}[]"] = (self.at, self.rank, tuple(dict.fromkeys(ids)))

    def gone(self, path: str = "gone_at") -> None:
        """The affiliate (or ``links[ID].gone_at``) is not at the platform any more."""
        self.facts[path] = (self.at, self.rank, self.moment)

    def update(self, record_id: str) -> AffiliateUpdate:
        """What was gathered, about *record_id*."""
        return AffiliateUpdate.of(record_id, self.facts)


def currency_code(value: object, default: str) -> str:
    """An ISO 4217 code in capitals: *value*, or *default* where it is none."""
    word = text(value)
    return word.upper() if word is not None and len(word) == 3 and word.isascii() and word.isalpha() else default
