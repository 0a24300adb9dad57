"""What a source that can also read its platform's API promises, for backfill and repair."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Protocol, Self

from msgspec import Struct, field
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from connector.core.outbound import DestinationUrl
from connector.core.source import Event, SourceOptions


class Ask(Struct, frozen=True):
    """One GET to a platform's API; sent by ``backfill``, which owns retries, pace and time-outs.

    Args:
        url: without the query.
        query: names may repeat.
        headers: they carry the key.
        post: JSON to be posted; None: a GET.
    """

    url: str
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    post: bytes | None = None

    def __repr__(self) -> str:
        return f"Ask({self.url!r}, {self.query!r})"


class Answer(Struct, frozen=True):
    """What came back with status 200.

    Args:
        as_of: what the body says was true then, by the platform's clock: aware UTC, rather too early than too late,
            so that a webhook about a later change always wins.
    """

    body: bytes
    as_of: datetime


class Listed(Struct, frozen=True):
    """One row of an answer: what it says as an event for the inbox.

    Args:
        record_id: the affiliate; "" when the row does not say (its event becomes a dead letter), or when the event is
            a webhook that is read again.
        part: the row tells of a part of the affiliate (one of its links), beside the affiliate's own row.
    """

    record_id: str
    event: Event
    part: bool = False


class Page(Struct, frozen=True):
    """What one answer holds, and where to continue.

    Args:
        more: the places to be read next, in this order.
        total: how many rows there are in all, where the platform says so.
        overlap: so many rows at the head were on the page before, if the list did not move; 0 = no page before.
        back: where to continue instead of *more* when none of those was: rows have moved to pages already read.
        numbered: the pages can't overlap, so one that brings nobody new is the end (a server that ignores ``page``).
    """

    rows: Sequence[Listed]
    more: Sequence[str] = ()
    total: int | None = None
    overlap: int = 0
    back: str | None = None
    numbered: bool = False


class Listing(Protocol):
    """One kind of reading of a platform's API. Pure: it says what to ask, and reads what was answered.

    A *place* is how far a reading has come, as text that is kept on disk: a reading that was stopped continues there.
    """

    title: str
    """The platform's name, for people."""
    settings: str
    """The settings that a refused key is about: ``sources.x.api_key and account_id``."""
    requests_per_minute: float
    """What we take of the platform's quota, which others share."""
    quota_window_seconds: float
    """After so long the platform counts anew."""
    first: str
    """The place to begin at."""
    roll: Roll | None
    """How to make sure of those whom a whole reading did not name; None when it does not name everybody anyway."""

    def ask(self, place: str) -> Ask:
        """How to ask for the page at *place*."""
        ...

    def read(self, place: str, answer: Answer) -> Page:
        """The page at *place*. Raises ``Unreadable``: not JSON, or no list."""
        ...


class Roll(Protocol):
    """Making sure that an affiliate whom the list does not name is gone. Pure."""

    def ask_one(self, record_id: str) -> Ask:
        """How to ask for one affiliate by its id; an answer of 404 says that it is gone."""
        ...

    def read_one(self, record_id: str, answer: Answer) -> Listed:
        """What was answered. Raises ``Unreadable``."""
        ...

    def gone(self, record_id: str, as_of: datetime) -> Event:
        """The event that says: not at the platform any more."""
        ...


class Readable(Protocol):
    """A source whose platform has an API that lists affiliates. A source need not have one."""

    def listing(self, *, since: datetime | None = None, deliveries: bool = False) -> Listing:
        """How to read the affiliates, or the webhooks that the platform has *deliveries* of.

        Args:
            since: only what is newer, as far as the platform can tell.

        Raises:
            NotReadable: a setting is missing, or the platform has no such list; the text says what to do.
        """
        ...


class Registrable(Protocol):
    """A source whose platform has an API that makes webhooks. A source need not have one."""

    def registration(self, topic: str | None, url: str) -> Ask:
        """How to have the platform send *topic* to *url*. Raises NotReadable: a setting is missing."""
        ...

    def registered_secret(self, answer: Answer) -> str | None:
        """The signing secret that the platform gave the new webhook, if it gave one."""
        ...


class NotReadable(Exception):
    """The API can't be read with this configuration; the message says which setting is missing."""


class Repair(BaseModel):
    """``[sources.NAME.repair]``: reading the platform's API now and then, for what the webhooks missed."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    every: str = "24h"
    """``30m``, ``24h``, ``7d``; at least ten minutes."""

    @field_validator("every")
    @classmethod
    def _is_a_duration(cls, value: str) -> str:
        seconds = _seconds(value)
        if seconds is None:
            raise ValueError('"every" wants a duration, like "24h", "90m" or "7d"')
        if seconds < 600:
            raise ValueError('"every" wants at least ten minutes ("10m")')
        return value

    @property
    def every_seconds(self) -> float:
        return _seconds(self.every) or 86_400.0


def _seconds(text: str) -> float | None:
    found = re.fullmatch(r"(\d{1,6})\s*([mhd])", text.strip())
    return None if found is None else int(found[1]) * {"m": 60.0, "h": 3600.0, "d": 86_400.0}[found[2]]


def _fits_a_header(value: str) -> str:
    if value.lower().startswith("bearer "):
        raise ValueError('is wanted alone, without "Bearer"')
    if not (value.isascii() and value.isprintable() and " " not in value):
        raise ValueError("has blanks, line ends or letters beyond ASCII in it")
    return value


HeaderSecret = Annotated[str, Field(min_length=1), AfterValidator(_fits_a_header)]
"""A key or token that travels in a header."""


class ApiOptions(SourceOptions):
    """What a source whose platform has an API understands; its ``Options`` may extend this."""

    api_key: HeaderSecret | None = Field(None, repr=False)
    base_url: DestinationUrl | None = None
    """Instead of the platform's own: the EU's host, a proxy."""
    requests_per_minute: float | None = Field(None, gt=0, le=6000)
    """A pace of one's own; None: 80 % of what the platform allows."""
    repair: Repair | None = None

    @model_validator(mode="after")
    def _repair_has_a_key(self) -> Self:
        if self.repair is not None and self.api_key is None:
            raise ValueError('"repair" reads the platform\'s API and wants an "api_key"')
        return self
