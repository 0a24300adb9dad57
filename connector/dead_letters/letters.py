"""What stopped on its way, why, and all that is needed to act on it; and what keeps such letters.

A letter's id is made from what it is about, so the same failure is one letter, however often it happens. Knows no SQL,
no source and no sink.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final, Literal, Protocol

from msgspec import Struct, convert, field, to_builtins

from connector.core.source import Event

UNREAD: Final = "unread:"
"""How the key of an event begins that its source could not open; see ``DeadLetters.replay``."""

Stage = Literal["normalize", "deliver"]
How = Literal["delivered", "read", "replayed", "dropped"]


class Letter(Struct, frozen=True, omit_defaults=True):
    """What stopped, why, and all that is needed to act on it.

    Args:
        stage: ``normalize``: an event that nobody could read; ``deliver``: a row that the destination does not take.
        place: the source's or the route's name.
        subject: the event's key or the record's id.
        reason: plain words: what, where, what would be right. It may quote people's data: it goes only here.
        code: a short stable word for logs and metrics.
        row: the row's key, for ``deliver``.
        where: the mapping's ``file:line`` to look at, or "".
        content: the event, or the row's cells.
        at: when it stopped; filled in by ``add``.
    """

    stage: Stage
    place: str
    subject: str
    reason: str
    code: str = ""
    row: str = ""
    where: str = ""
    tries: int = 1
    content: Mapping[str, Any] = field(default_factory=dict)
    at: datetime | None = None

    @property
    def id(self) -> str:
        """Twelve hex digits; the same for the same event, or the same row of the same record and route."""
        about = json.dumps([self.stage, self.place, self.subject, self.row])
        return blake2b(about.encode(), digest_size=6).hexdigest()

    @property
    def why(self) -> str:
        return self.reason if self.where in self.reason else f"{self.reason} ({self.where})"


def letter_of_event(event: Event, reason: str, code: str) -> Letter:
    return Letter(
        "normalize", event.source, event.key, reason, code,
        content={
            "topic": event.topic,
            "at": event.at,
            "received_at": event.received_at.isoformat(),
            "body": event.body.decode(errors="surrogateescape"),
        },
    )  # fmt: skip


def event_of(letter: Letter) -> Event:
    content = letter.content
    return Event(
        letter.place,
        letter.subject,
        content["topic"],
        content["at"],
        datetime.fromisoformat(content["received_at"]),
        content["body"].encode(errors="surrogateescape"),
    )


class Store(Protocol):
    def replay(self, events: Sequence[Event]) -> None: ...

    def enqueue(self, route: str, record_ids: Iterable[str]) -> int: ...


class DeadLetters(ABC):
    """The open letters, wherever they are kept. Any thread, any process. Everything raises StoreUnavailable."""

    @abstractmethod
    def add(self, letters: Sequence[Letter]) -> int:
        """Open *letters*: on disk when this returns; how many were not open before.

        One that is open already and says the same is not repeated: the program died between this and the store.
        """

    @abstractmethod
    def close(self, ids: Iterable[str], how: How) -> int:
        """Close those of the letters that are open; how many were."""

    @abstractmethod
    def ids_about(self, place: str, subjects: Iterable[str]) -> set[str]:
        """The open letters about those events of a source, or those records of a route. Quick: delivery asks after
        every batch."""

    @abstractmethod
    def forget(self, is_about: Callable[[Letter], bool]) -> int:
        """Leave no byte of these letters, and none of closed ones; how many open letters went."""

    def follow(self) -> None:  # noqa: B027 - a file that nobody else keeps has nothing to follow
        """Called every few seconds: leave no byte of what ``forget`` deleted on another machine."""

    @abstractmethod
    def list(self) -> Sequence[Letter]:
        """All of them, the oldest first."""

    @abstractmethod
    def get(self, letter_id: str) -> Letter | None:
        """By its id, or by the beginning of one id."""

    def closed(self) -> Mapping[str, tuple[Letter, How]]:
        """Closed letters that are still known here, by id, and how each was closed last."""
        return {}

    @abstractmethod
    def counts(self) -> Counter[tuple[str, str]]:
        """Open letters by (stage, place)."""

    def replay(self, ids: Iterable[str], store: Store, reopen: Callable[[Event], Event] | None = None) -> int:
        """Put back what those letters are about, into the inbox or into what is pending; how many letters that were.

        First into the store, then closed here: to replay a letter again after a kill in between does no harm.

        Args:
            reopen: opens an ``UNREAD`` event as its source would open it today.
        """
        replayed = 0
        for letter_id in dict.fromkeys(ids):
            letter = self.get(letter_id)
            if letter is None:
                continue
            if letter.stage == "normalize":
                event = event_of(letter)
                store.replay([reopen(event) if reopen and letter.subject.startswith(UNREAD) else event])
            else:
                store.enqueue(letter.place, [letter.subject])
            self.close([letter_id], "replayed")
            replayed += 1  # a server may have delivered it, and closed the letter, meanwhile
        return replayed


# ---------------------------------------------------------------- as text


def dump_letter(letter: Letter) -> str:
    """As one line. ASCII only: a lone surrogate or a line separator in a person's name can neither break the line nor
    the encoding."""
    return dump_line({"id": letter.id, **to_builtins(letter)})


def load_letter(text: str | bytes) -> Letter:
    """Raises ValueError when *text* is no letter."""
    return convert(json.loads(text), Letter)


def dump_line(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, separators=(",", ":"))
