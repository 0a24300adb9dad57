"""Takes every trace of an affiliate out of what the program keeps, down to the bytes of its files."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec import Struct

from connector.affiliates.find import PAGE, Meant, address_of, by_address, normalized
from connector.core.errors import StoreUnavailable
from connector.core.facts import load_facts
from connector.core.source import Event, Source
from connector.dead_letters import DeadLetters, Letter, event_of
from connector.store import Store
from connector.store.model import StoredEvent

REBUILT_WHILE_SERVING_BYTES = 128 * 1024 * 1024
"""The largest store that is written anew while a server receives: it takes about a second, and senders wait for it."""

_LOOK_EVERY_SECONDS = 0.25
_WORK_ENDS_WITHIN_SECONDS = 0.5


class Gone(Struct, frozen=True):
    """What was deleted.

    Args:
        rows: by route: keys of rows that the destination still holds; a person deletes them there.
        elsewhere: other records that name the person, and where: (record id, path).
        whole: the store was written anew; otherwise what was deleted in it was overwritten in its place.
    """

    events: int
    records: int
    deliveries: int
    former_values: int
    letters: int
    rows: Mapping[str, tuple[str, ...]]
    elsewhere: tuple[tuple[str, str], ...]
    whole: bool


class Busy(StoreUnavailable):
    """The affiliate is being delivered all the time; nothing was deleted."""


def forget(
    store: Store,
    sources: Mapping[str, Source],
    letters: DeadLetters,
    meant: Meant,
    *,
    exclusive: bool,
    wait: Callable[[float], None] = time.sleep,
    patience_seconds: float = 90.0,
) -> Gone:
    """Delete every trace of these affiliates. An affiliate that the platform sends again is known again.

    Args:
        exclusive: no other process works on the store; otherwise one may receive and deliver meanwhile.
        wait: sleeps for so many seconds.
        patience_seconds: how long a delivery of theirs is waited for.

    Raises:
        Busy: a delivery of theirs was under way for all of *patience_seconds*.
        StoreUnavailable: a file can't be written; run it again.
    """
    meant = _completed(store, meant)
    trace = _Trace(sources, set(meant.record_ids), meant.addresses)
    if not exclusive:
        _wait_for_deliveries(store, meant, wait, patience_seconds)
    seqs = store.mentions_of(meant.record_ids)
    # Further events about them: unread ones, and those not projected yet.
    seqs |= {stored.seq for stored in _all_events(store) if stored.seq not in seqs and trace.is_in_event(stored.event)}
    gone = store.forget(meant.record_ids, seqs)
    lost = letters.forget(trace.is_in_letter)
    if not exclusive:
        wait(_WORK_ENDS_WITHIN_SECONDS)  # a delivery or projection may have written the affiliate once more
        more = store.mentions_of(meant.record_ids)
        if more:
            store.forget(meant.record_ids, more)
        lost += letters.forget(trace.is_in_letter)
    whole = store.erase(rebuild_up_to_bytes=None if exclusive else REBUILT_WHILE_SERVING_BYTES)
    counts = gone.events, gone.records, gone.deliveries, gone.former_values
    return Gone(*counts, lost, gone.rows, meant.elsewhere, whole)


def _completed(store: Store, meant: Meant) -> Meant:
    """*meant* with other records that name one of its addresses."""
    if not meant.addresses:
        return meant
    found = by_address(store, meant.addresses)
    ids = set(meant.record_ids)
    # The other platform's record of the same person was not asked for: it is reported and stays.
    others = [record_id for record_id in found.record_ids if record_id not in ids]
    elsewhere = [(r, "email") for r in others] + [(r, path) for r, path in found.elsewhere if r not in ids]
    # Events that name an address of a record that stays are that record's as well, so they stay too.
    kept = {address_of(load_facts(known.facts)) for known in store.load(others).values()} if others else set()
    return Meant(meant.record_ids, tuple(a for a in meant.addresses if a not in kept), tuple(elsewhere))


def _wait_for_deliveries(store: Store, meant: Meant, wait: Callable[[float], None], patience_seconds: float) -> None:
    """Wait for deliveries under way: their results would be written after the affiliate was deleted."""
    waited = 0.0
    while store.under_way(meant.record_ids):
        if waited >= patience_seconds:
            raise Busy("a delivery of this affiliate is on its way; try again in a minute")
        wait(_LOOK_EVERY_SECONDS)
        waited += _LOOK_EVERY_SECONDS


def _all_events(store: Store) -> Iterator[StoredEvent]:
    after = 0
    while page := store.read_events(after, PAGE):
        yield from page
        after = page[-1].seq


class _Trace:
    """Recognizes what is about some affiliates.

    Args:
        ids: their record ids.
        addresses: their e-mail addresses, lower case.
    """

    def __init__(self, sources: Mapping[str, Source], ids: set[str], addresses: Sequence[str]) -> None:
        self._sources, self._ids, self._addresses = sources, ids, addresses
        numbers = sorted({record_id.partition(":")[2].encode() for record_id in ids})
        self._number = re.compile(
            rb"(?<![0-9A-Za-z])(?:" + b"|".join(map(re.escape, numbers)) + rb")(?![0-9A-Za-z])" if numbers else rb"(?!)"
        )
        """Finds a platform's own id in a body: most bodies are ruled out without being parsed."""

    def is_in_event(self, event: Event) -> bool:
        if self._names_address(event.body):
            return True
        if self._number.search(event.body) is None:
            return False
        return any(update.record_id in self._ids for update in normalized(self._sources, event) or ())

    def is_in_letter(self, letter: Letter) -> bool:
        if letter.stage == "deliver" and letter.subject in self._ids:
            return True
        content = json.dumps([letter.reason, letter.row, dict(letter.content)], ensure_ascii=False)
        if self._names_address(content.encode("utf-8", "surrogatepass")):
            return True
        if letter.stage != "normalize":
            return False
        try:
            return self.is_in_event(event_of(letter))
        except (KeyError, ValueError):
            return False

    def _names_address(self, text: bytes) -> bool:
        text = text.lower()
        return any(
            address.encode() in text or json.dumps(address)[1:-1].encode() in text for address in self._addresses
        )
