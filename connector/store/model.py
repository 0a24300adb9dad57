"""What travels between the store and its callers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from msgspec import Struct, field

from connector.core.errors import StoreUnavailable
from connector.core.source import Event


class StoreInUse(StoreUnavailable):
    """Another process works on this store; the message says which."""


class StoreDamaged(StoreUnavailable):
    """The store is damaged, not ours, or of another version; the message names it. It is not changed."""


class Overtaken(StoreUnavailable):
    """Another process, or ``forget``, moved the projection on: read again and repeat the batch."""


class Unstorable(ValueError):
    """The database can't keep these values; the same call will fail again."""


class StoredEvent(Struct, frozen=True):
    """An event of the inbox with its place there."""

    seq: int
    event: Event


class Known(Struct, frozen=True):
    """A record as it is kept: its version, from 1 upwards, and its facts as ``core.facts.dump_stamped`` wrote them."""

    version: int
    facts: bytes


class Saved(Struct, frozen=True):
    """A record as it is after a batch.

    Args:
        before: the version that it was loaded with; 0 for a new record.
        version: *before* + 1 when it says something new, and becomes pending for every route; else *before*.
        words: those by which it is found from now on; *lost_words*: those by which it is found no more.
    """

    record_id: str
    before: int
    version: int
    facts: bytes
    words: frozenset[str] = frozenset()
    lost_words: frozenset[str] = frozenset()


class Tally(Struct):
    """What is counted of one source; times in microseconds of Unix time.

    Args:
        hours: received, by hour of Unix time.
    """

    received: int = 0
    duplicates: int = 0
    no_affiliate: int = 0
    unreadable: int = 0
    undated: int = 0
    last_at: int = 0
    last_received_at: int = 0
    hours: dict[int, int] = {}


class Batch(Struct, frozen=True):
    """What one step of the projector changes; all of it is committed, or nothing.

    Args:
        epoch: what ``Store.epoch`` said before the events were read.
        seqs: the events that are projected by it.
        mentions: (seq, record_id): which event names which record.
        tallies: by source.
        read: records of which only readings of a platform's API spoke, no webhook; see ``StoredMapping.first``.
    """

    epoch: int
    seqs: Sequence[int]
    records: Sequence[Saved] = ()
    mentions: Sequence[tuple[int, str]] = ()
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    read: frozenset[str] = frozenset()


class Pending(Struct, frozen=True):
    """A record that is pending for a route, in its latest version, leased to the caller.

    Args:
        token: the lease.
        tries: failed tries of this record isolated so far.
        since: when it came to be pending.
        failing_since: when the first of *tries* failed.
        isolated: it made whole calls fail while others succeeded; it is sent in a call of its own.
    """

    record_id: str
    version: int
    facts: bytes
    token: str
    tries: int
    since: datetime
    failing_since: datetime | None
    isolated: bool


class Later(Struct, frozen=True):
    """Why a record stays pending.

    Args:
        due_at: not before.
        reason: a code, no people's data.
        failed: counts as a try of this record.
        isolated: see ``Pending.isolated``.
    """

    due_at: datetime
    reason: str = ""
    failed: bool = True
    isolated: bool = False


WAITS_FOR = "waits_for_"
"""How the reason of a record begins that waits for a value which it lacks, before the column's name."""
HELD_UNTIL = 2**57
"""When a record is due that waits for ``connector apply``, in microseconds of Unix time: never by itself."""
WAITS_FOR_YOU = f"{WAITS_FOR}you"
"""The reason of a record of a first sync or backfill that waits for ``connector apply``; a webhook ends it."""


RowChange = Literal["", "added", "removed"]


class LogLine(Struct, frozen=True):
    """One row's delivery, for ``explain`` and ``undo``.

    Args:
        kind, code, overwritten: as in Outcome.
        cells: those that changed, and *former*, what they held before; as dumped.
        delivery: shared by all rows that were sent together.
        row_change: ``added``: the row was made; ``removed``: it was deleted; "": it was there and still is.
    """

    key: str
    kind: str
    code: str = ""
    cells: str = ""
    former: str = ""
    overwritten: tuple[str, ...] = ()
    delivery: str = ""
    row_change: RowChange = ""


class Result(Struct, frozen=True):
    """What became of one leased record.

    Args:
        version, token: what ``Pending`` said.
        written: by row key: the cells that were written, as ``core.row.dump_cells`` wrote them.
        held: by row key: see ``Row.held``, dumped; rows that have none may be absent.
        kept: by row key: the columns in which what a person typed stays.
        removed: keys of rows that are no longer there.
        log: for ``explain``.
        left_empty: how many cells are empty because their values do not fit; None: not known, it stays as it was.
        refused: the columns whose values the destination did not take; None: nothing was sent, it stays as it was.
        later: None when all of this version's rows are settled, else why it stays pending.
    """

    record_id: str
    version: int
    token: str
    written: Mapping[str, str] = field(default_factory=dict)
    removed: Sequence[str] = ()
    held: Mapping[str, str] = field(default_factory=dict)
    log: Sequence[LogLine] = ()
    later: Later | None = None
    left_empty: int | None = None
    refused: tuple[str, ...] | None = None
    kept: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Written(Struct, frozen=True):
    """A row that a route has written.

    Args:
        cells: that were written last; *held* and *tried* as in Row; all dumped, *tried* a line each, the newest first.
        typed: in the same form, what people had typed and writes of unknown end were about to overwrite.
        kept: the columns in which, as far as is known, what a person typed stays.
        again: the row is to be sent although it is equal.
    """

    key: str
    record_id: str
    cells: str
    held: str = ""
    tried: str = ""
    typed: str = ""
    kept: tuple[str, ...] = ()
    again: bool = False


def dump_names(names: Sequence[str]) -> str:
    return json.dumps(list(names), ensure_ascii=False) if names else ""


def load_names(text: str) -> tuple[str, ...]:
    """What ``dump_names`` wrote."""
    return tuple(json.loads(text)) if text else ()


RouteKind = Literal["ok", "waiting", "needs_action", "bug"]


class RouteState(Struct, frozen=True):
    """The state of a route; survives restarts.

    Args:
        kind: ``waiting``: the destination is down or limits us; ``needs_action``: a person must act; ``bug``: ours.
        reason: plain words for people; no people's data.
        paused_until: no call before that.
        failures: failed calls in a row; quota answers don't count.
        since: when the present kind began.
        delivered_at: the last successful call.
    """

    kind: RouteKind = "ok"
    reason: str = ""
    paused_until: datetime | None = None
    failures: int = 0
    since: datetime | None = None
    delivered_at: datetime | None = None


class StoredMapping(Struct, frozen=True):
    """What is kept of one route's mapping.

    Args:
        digest, text: the version that runs, the last one without mistakes; "" before the first.
        at: since when.
        wanted: the text of the version that runs as soon as the process that delivers sees it; "": none.
        held: the text of the version that waits for ``connector apply``; "": none.
        plan: counts of what *held* would change, as JSON.
        undo: an undo that is on its way or waits for ``connector resume``, as JSON.
        mistake: what is wrong with the file as it is now, as JSON; "": nothing.
        delivery: shared by all rows that are sent for an ``apply`` or an undo, until nothing is pending.
        first: records of the first sync, or of the first readings of a platform's API, are held until it is known
            whether the destination has their rows already, and then until ``connector apply``; as JSON. "": no more.
    """

    route: str
    digest: str = ""
    text: str = ""
    at: datetime | None = None
    wanted: str = ""
    held: str = ""
    plan: str = ""
    undo: str = ""
    mistake: str = ""
    delivery: str = ""
    first: str = ""


class SourceStatus(Struct, frozen=True):
    """*undated*: events without a time that can be believed; they count as of their arrival."""

    source: str
    received: int
    duplicates: int
    no_affiliate: int
    unreadable: int
    undated: int
    last_event_at: datetime | None
    last_received_at: datetime | None


class RouteStatus(Struct, frozen=True):
    """*pending* counts records, *waiting* those beside them that wait for a value which they lack.

    Args:
        affiliates: records that have one of the *rows*.
        first_pending: of *pending* and *waiting*, the records that have no row yet.
    """

    route: str
    pending: int
    retrying: int
    oldest_since: datetime | None
    rows: int
    state: RouteState
    waiting: int = 0
    affiliates: int = 0
    first_pending: int = 0


class Status(Struct, frozen=True):
    """*waiting*: events in the inbox that are not projected yet."""

    records: int
    waiting: int
    last_seq: int
    sources: tuple[SourceStatus, ...]
    routes: tuple[RouteStatus, ...]


class DeliveryLine(Struct, frozen=True):
    """One row's delivery as ``explain`` shows it; see ``LogLine``."""

    at: datetime
    route: str
    key: str
    version: int
    kind: str
    code: str
    cells: str
    record_id: str = ""
    former: str = ""
    overwritten: tuple[str, ...] = ()
    delivery: str = ""
    row_change: RowChange = ""
    id: int = 0


class PendingFor(Struct, frozen=True):
    """A route for which one record is pending. *reason*: a code, or "" when it was not tried yet."""

    route: str
    since: datetime
    due_at: datetime
    tries: int
    reason: str


class Forgotten(Struct, frozen=True):
    """What ``forget`` took away; *former_values*: those that deliveries had replaced; *rows*: by route, the keys of the
    rows that were written."""

    events: int
    records: int
    deliveries: int
    former_values: int
    rows: Mapping[str, tuple[str, ...]]


# ---------------------------------------------------------------- times, in microseconds of Unix time in the tables

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(at: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at)


def moment_or_none(at: int | None) -> datetime | None:
    return moment(at) if at else None
