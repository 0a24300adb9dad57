"""What a source and a sink promise, and what the program lends them. The whole plug-in contract is on this page.

What travels is a Struct: made like a dataclass and several times as fast, and its class costs a start nothing, where a
dataclass takes 0.4 ms to be compiled. What people write (settings, mapping files) is a Pydantic model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal, Protocol, Self, runtime_checkable
from urllib.parse import parse_qsl

from msgspec import Struct, field
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from connector.core.errors import Unreadable
from connector.core.outbound import why_not
from connector.core.record import AffiliateUpdate
from connector.core.row import Cell, Column, Overwrite, Row

# ---------------------------------------------------------------- events in


class InboundRequest(Struct, frozen=True):
    """A request that nobody has vouched for yet.

    Args:
        headers: as ASGI gives them: lower-case names, raw values.
        query: the raw query string.
        body: all of it, within ``max_body_bytes``.
        received_at: aware UTC.
    """

    headers: Sequence[tuple[bytes, bytes]]
    query: bytes
    body: bytes
    received_at: datetime

    def header(self, name: bytes) -> bytes | None:
        """The first header of that (lower-case) name, or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def parameter(self, name: str) -> str | None:
        """The first query parameter of that name, or None.

        Raises:
            Unreadable: there are more than 20 parameters.
        """
        try:
            pairs = parse_qsl(self.query.decode("latin-1"), keep_blank_values=True, max_num_fields=20)
        except ValueError:
            raise Unreadable("the URL has more than 20 parameters; paste it as `connector urls` prints it") from None
        return next((value for key, value in pairs if key == name), None)


class Event(Struct, frozen=True, array_like=True):
    """A genuine event, secrets dropped: what the inbox keeps, as the list of these values in this order.

    Args:
        source: the source's name in the configuration.
        key: dedupe key, unique within the source (the platform's id, or a hash).
        topic: the platform's word for what happened.
        at: when it happened by the platform's clock, in microseconds of Unix time; when the body names no time,
            the moment it was received.
        received_at: aware UTC.
        body: the JSON body, secrets removed.
    """

    source: str
    key: str
    topic: str
    at: int
    received_at: datetime
    body: bytes


class SourceOptions(BaseModel):
    """``[sources.NAME]``: what every source understands. A source's own ``Options`` adds to it.

    Tokens shorter than 24 characters, empty or well-known defaults are refused by the configuration's loader.
    """

    # Deferred, here and below: built for the plug-ins that are configured, and once, with what they add.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    type: str
    token: str | None = Field(None, repr=False)
    tokens: tuple[str, ...] = Field((), repr=False)
    """More tokens that are right as well: the old one while a new one is being pasted into the platform."""
    signing_secrets: tuple[str, ...] = Field((), repr=False)
    currency: str = "USD"


class Source(Protocol):
    """One affiliate platform. Pure: no files, network, clock or logging.

    Built by ``Class(name, options)``; ``options`` is an instance of ``Class.Options``.
    """

    Options: ClassVar[type[SourceOptions]]
    topics: ClassVar[Sequence[str]]
    """The topics that need a URL of their own (``&topic=…``), for ``init``; () when one URL serves all."""
    name: str

    def accept(self, request: InboundRequest) -> Event:
        """Vouch for *request* and open it; secrets in the body are dropped here. In the answer's path: fast.

        Raises:
            Forged: no configured credential is right.
            Unreadable: not strict JSON, or not the platform's envelope.
        """
        ...

    def normalize(self, event: Event) -> Sequence[AffiliateUpdate]:
        """What *event* says about affiliates: partial updates, each field stamped with its time. () = about none.

        Raises:
            UnknownShape: a developer must teach this source; the event is kept and dead-lettered.
        """
        ...


# ---------------------------------------------------------------- reading a platform's API

API_TOPIC: Final = "api."
"""How the topic of an event begins that was read from a platform's API: it is no webhook that came in."""


class Ask(Struct, frozen=True):
    """One GET to a platform's API; sent by backfill.py, which owns patience, pace and time-outs.

    Args:
        url: without the query.
        query: names may stand twice.
        headers: they carry the key.
    """

    url: str
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

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
        record_id: whom it is about; "" when that can't be told (its event becomes a dead letter), or when the event is
            a webhook that is read again.
    """

    record_id: str
    event: Event


class Page(Struct, frozen=True):
    """What one answer holds, and where to go on.

    Args:
        more: the places to be read next, in this order.
        total: how many rows there are in all, where the platform says so.
        overlap: so many rows at the head were on the page before, if the list did not move; 0 = no page before.
        back: where to go on instead of *more* when none of those was: rows have moved to pages already read.
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

    A *place* is where a reading stands, as text that is kept on disk: a reading that was stopped goes on there.
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
    """Making sure that somebody whom the list does not name is gone. Pure."""

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


class NotReadable(Exception):
    """The API can't be read with this configuration; the message says which setting is missing."""


class Repair(BaseModel):
    """``[sources.NAME.repair]``: reading the platform's API now and then, for what the webhooks missed."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    every: str = "24h"
    """``30m``, ``24h``, ``7d``; at least ten minutes."""

    @field_validator("every")
    @classmethod
    def _is_a_while(cls, value: str) -> str:
        seconds = _seconds(value)
        if seconds is None:
            raise ValueError('"every" wants a while, like "24h", "90m" or "7d"')
        if seconds < 600:
            raise ValueError('"every" wants at least ten minutes ("10m")')
        return value

    @property
    def every_seconds(self) -> float:
        return _seconds(self.every) or 86_400.0


def _seconds(text: str) -> float | None:
    found = re.fullmatch(r"(\d{1,6})\s*([mhd])", text.strip())
    return None if found is None else int(found[1]) * {"m": 60.0, "h": 3600.0, "d": 86_400.0}[found[2]]


def _safe_url(value: str) -> str:
    problem = why_not(value)
    if problem is not None:
        raise ValueError(problem)
    return value.rstrip("/")


def _fits_a_header(value: str) -> str:
    if not (value.isascii() and value.isprintable() and " " not in value):
        raise ValueError("has blanks, line ends or letters beyond ASCII in it")
    return value


FarSideUrl = Annotated[str, AfterValidator(_safe_url)]
"""Where credentials are sent: https, or this machine. Without a slash at the end."""
HeaderSecret = Annotated[str, Field(min_length=1), AfterValidator(_fits_a_header)]
"""A key or token that travels in a header."""


class ApiOptions(SourceOptions):
    """What a source with an API understands besides; its ``Options`` may extend this."""

    api_key: HeaderSecret | None = Field(None, repr=False)
    base_url: FarSideUrl | None = None
    """Instead of the platform's own: the EU's host, a proxy."""
    requests_per_minute: float | None = Field(None, gt=0, le=6000)
    """A pace of one's own; None: 80 % of what the platform allows."""
    repair: Repair | None = None

    @model_validator(mode="after")
    def _repair_has_a_key(self) -> Self:
        if self.repair is not None and self.api_key is None:
            raise ValueError('"repair" reads the platform\'s API and wants an "api_key"')
        return self


# ---------------------------------------------------------------- rows out


class TargetOptions(BaseModel):
    """``[target]`` of a mapping file: what every sink understands. A sink's own ``TargetOptions`` adds to it.

    A field annotated ``Annotated[str, RecordPath()]`` names a path of the record; the mapping loader checks it and
    each row carries its value in ``extras`` under the option's dotted name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    in_key_table: ClassVar[frozenset[str]] = frozenset()
    """Fields that the file gives under ``[key]``, beside ``field``, because they say how a row is found again."""

    overwrite: Overwrite = "never_clear"
    """The rule of every field that sets none."""
    missing_columns: Literal["create", "stop"] = "create"
    """Make the columns or properties that are missing, or write nothing until a person has made them."""
    # `mark` is done by the mapping: a managed column. Only `delete` reaches a sink, as `Row.remove`.
    removed_records: Literal["mark", "leave_alone", "delete"] = "leave_alone"
    """What becomes of a row whose record no longer passes ``when`` or is gone at the platform: ``leave_alone``, it
    stays; ``mark``, it stays, with the day in the column ``removed_column``; ``delete``, it goes (not in HubSpot, where
    nothing is deleted)."""
    removed_column: str = "Removed"
    """Where ``mark`` writes the day, and empties it when the affiliate is back; in HubSpot the default is
    ``affiliate_removed``."""


class RecordPath(Struct, frozen=True):
    """Marks a target option whose value is a path of the record."""


class Target(Struct, frozen=True):
    """One route's destination: a sink together with one mapping file.

    Args:
        route: the route's name, ``sink/mapping`` (``sheets/affiliates``): for logs, metrics and the command line.
        columns: what the mapping manages, in file order, the key's column included.
        key: the name of the key's column.
        options: an instance of the sink's ``TargetOptions``.
        file: the mapping file, for people.
    """

    route: str
    columns: tuple[Column, ...]
    key: str
    options: Any
    file: str

    def column(self, name: str) -> Column:
        """The managed column of that name (KeyError when there is none)."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)


class Outcome(Struct, frozen=True, gc=False):  # no circles; a batch has 20,000
    """What a sink did with one row; delivery matches it by ``key``.

    Args:
        key: the row's key.
        kind: ``written`` (also when the far side was equal already) · ``refused`` (a person must act; dead-lettered
            at once) · ``later`` (this row alone waits; counts as a try).
        reason: for refused and later: plain words, what to do. It may quote the offending value, because it goes
            only into the dead-letter file; logs get ``code`` instead.
        code: a short stable word for logs and metrics (``INVALID_EMAIL``, ``cell_too_long``).
        column: the column to blame, if one is: delivery adds the mapping's line.
        waiting: columns of a written row that could not be written now (a column that a person took away).
        after: for later: seconds to wait, if known.
        notices: things a person may want to know (an edit that was overwritten); logged without values.
    """

    key: str
    kind: Literal["written", "refused", "later"]
    reason: str = ""
    code: str = ""
    column: str | None = None
    waiting: tuple[str, ...] = ()
    after: float | None = None
    notices: tuple[str, ...] = ()


class Finding(Struct, frozen=True):
    """One line of ``check --live`` or ``provision``.

    Args:
        level: ``ok`` · ``notice`` · ``problem`` (the command exits 1).
        subject: what it is about: a column, a tab, a scope.
        text: plain words; for a problem, what to do.
        facts: more cells for the printed table, by heading.
    """

    level: Literal["ok", "notice", "problem"]
    subject: str
    text: str
    facts: Mapping[str, str] = field(default_factory=dict)


class Change(Struct, frozen=True):
    """What ``preview --live`` says of one row.

    Args:
        key: the row's key.
        found_by: how the row was found (``key``, ``email``), or None: it would be created.
        cells: by column: what is there now and what would be there.
        note: why nothing would change, or why it would be refused.
    """

    key: str
    found_by: str | None
    cells: Mapping[str, tuple[Cell, Cell]]
    note: str = ""


class Host(Protocol):
    """What the program lends to one sink. Tests lend their own, with their own clock."""

    def now(self) -> datetime:
        """Aware UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds, for measuring and pacing."""
        ...

    def wait(self, seconds: float) -> None:
        """Nap in a sink's own pacing. Raises Stopping as soon as the program is asked to stop."""
        ...

    def recall(self, key: str) -> str | None:
        """What ``remember`` last kept for this sink under *key*; survives restarts."""
        ...

    def remember(self, key: str, value: str | None) -> None:
        """Keep a small note (a tab's sheetId) durably; None forgets it."""
        ...

    def metric(self, name: str, value: float) -> None:
        """Report a measurement: ``calls`` (1 each call), ``quota_wait_seconds``, ``call_seconds``."""
        ...


class SinkOptions(BaseModel):
    """``[sinks.NAME]``: what every sink understands. A sink's own ``Options`` adds to it.

    The loader makes an option of type ``Path`` absolute (it is relative to the configuration file), fills ``NAME`` from
    a file when the configuration says ``NAME_file``, and has logs blot out what is ``repr=False`` or ``SecretStr``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    type: str
    mappings: tuple[str, ...]
    """Mapping files, relative to the configuration file; one route each."""


class Sink(Protocol):
    """One destination. Built by ``Class(name, options, host)``, once for all its routes.

    Life: built (no network) → per route, in the route's own thread: ``pace``, ``write``, ``pace``, ``write`` …, never
    two calls for one route at a time, but routes of one sink run at the same time → ``close``.
    A sink makes one attempt; delivery owns patience. Heavy libraries are imported by the module of the sink, which is
    imported only when a sink of its type is configured. Calls at the same time go through ``effort.together``: what
    its threads take counts then as the route's, which gives way to requests.
    """

    Options: ClassVar[type[SinkOptions]]
    TargetOptions: ClassVar[type[TargetOptions]]
    batch_rows: int
    """The most rows that ``write`` takes at once."""

    def pace(self, target: Target) -> float:
        """Seconds until the far side's quota is ready for the next ``write``; 0.0 for at once.

        Delivery waits *before* it takes a batch, so that a batch holds the latest state.
        """
        ...

    def write(self, target: Target, rows: Sequence[Row]) -> Sequence[Outcome]:
        """Upsert *rows* by key: an outcome for each, in any order. Writing the same rows again does no harm.

        Raises:
            TryLater: time heals; all of the batch stays owed (rows that were written are written again: harmless).
            NeedsAction: a person must act; the route pauses, all of the batch stays owed.
            StartOver: what was written before is gone; every record of the route is owed again, at once.
            Stopping: from ``host.wait``.
            Anything else is a bug: the route pauses with growing waits, nothing is lost.
        """
        ...

    def check(self, target: Target, *, probe: bool = False) -> Sequence[Finding]:
        """Credentials, tab, columns, properties against the far side; writes nothing (*probe*: but scratch space).

        Raises:
            NeedsAction, TryLater: the far side refuses us or can't be reached, so there is nothing to find; the same
                for ``provision`` and ``preview``.
        """
        ...

    def provision(self, target: Target) -> Sequence[Finding]:
        """Create what is missing (columns, properties); safe to repeat."""
        ...

    def preview(self, target: Target, rows: Sequence[Row]) -> Sequence[Change]:
        """What ``write`` would change, read from the far side; writes nothing."""
        ...

    def close(self) -> None:
        """Give back connections; called once, when no thread uses the sink any more."""
        ...


@runtime_checkable
class Shrinkable(Protocol):
    """A sink that keeps much between two writes only to be quick."""

    def shrink_memory(self) -> None:
        """Let go of it; called every few seconds, from any thread. Never blocks: what is in use just now stays."""
        ...
