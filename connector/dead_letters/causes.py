"""Dead letters by cause: what one correction would settle."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b

from msgspec import Struct

from connector.dead_letters.letters import Letter, Stage


class Cause(Struct, frozen=True):
    """The letters that one correction would settle.

    Args:
        id: four hex digits.
        place: the source's or the route's name.
        reason: as the oldest letter says it; it may quote people's data.
        where: the mapping's ``file:line`` to look at, or "".
        letters: the oldest first.
        subjects: the affiliates' record ids, or the events' keys; each once.
        since: when the oldest stopped.
    """

    id: str
    stage: Stage
    place: str
    code: str
    reason: str
    where: str
    letters: tuple[Letter, ...]
    subjects: tuple[str, ...]
    since: datetime | None

    @property
    def what_to_do(self) -> str:
        """What a person does before the letters are tried again, as a sentence."""
        if self.stage == "normalize":
            if self.code == "unknown_source":
                return f"Put [sources.{self.place}] back into the configuration."
            return "Install a newer version of the connector, or report the event that it can't read."
        if self.where:
            return f"Correct the mapping at {self.where}, or the value at the platform."
        return "Correct the value at the platform, or what the destination refuses."

    @property
    def command(self) -> str:
        """Tries the letters again."""
        return f"connector dead-letters replay {self.id}"


def cause_of(letter: Letter) -> str:
    """Four hex digits; the same for letters that one correction would settle.

    The reason may quote what is wrong in this row: what is in quotes, addresses and numbers tell no causes apart.
    """
    reason = re.sub(r'"[^"]*"|\S+@\S+|\d+', "#", letter.reason)
    return _id_of(letter.stage, letter.place, letter.where, letter.code, reason)


@lru_cache(maxsize=1_000)
def _id_of(*about: str) -> str:
    return blake2b(json.dumps(about).encode(), digest_size=2).hexdigest()


def causes(letters: Iterable[Letter]) -> list[Cause]:
    """*letters* by cause, in the order of the first of each."""
    grouped: dict[str, list[Letter]] = {}
    for letter in letters:
        grouped.setdefault(cause_of(letter), []).append(letter)
    return [_cause(cause, tuple(alike)) for cause, alike in grouped.items()]


def _cause(cause: str, letters: tuple[Letter, ...]) -> Cause:
    first = letters[0]
    subjects = tuple(dict.fromkeys(letter.subject for letter in letters))
    since = min((letter.at for letter in letters if letter.at is not None), default=None)
    return Cause(cause, first.stage, first.place, first.code, first.reason, first.where, letters, subjects, since)
