"""One affiliate as a person asks about it: who is meant, what happened to it, and how to forget it.

Knows stores, sources and dead letters, and of sinks nothing; printing is the command line's.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from connector.core.errors import ConnectorError, StoreUnavailable, UnknownShape
from connector.core.facts import AffiliateUpdate, Fact, load_facts
from connector.core.mapping import Evaluation
from connector.core.merge import join
from connector.core.record import AffiliateRecord
from connector.core.source import Event, Source
from connector.core.view import view
from connector.dead_letters import DeadLetters, Letter, event_of
from connector.store.model import fingerprint
from connector.store.store import Store

Evaluate = Callable[[AffiliateRecord], Evaluation]
_page = 1000


# ---------------------------------------------------------------- who is meant


@dataclass(frozen=True, slots=True)
class Meant:
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
        return _by_address(store, (word.strip().lower(),))
    tried = [word, *(f"{source}:{word}" for source in sources)]
    known = store.load(tried)
    found = tuple(record_id for record_id in tried if record_id in known)
    addresses = {_address_of(load_facts(known[record_id].facts)) for record_id in found} - {None}
    return Meant(found or ((word,) if ":" in word else ()), tuple(sorted(a for a in addresses if a)))


def _by_address(store: Store, addresses: tuple[str, ...]) -> Meant:
    found: list[str] = []
    elsewhere: list[tuple[str, str]] = []
    for record_id, facts in _all_records(store):
        if _address_of(facts) in addresses:
            found.append(record_id)
        else:
            elsewhere += [
                (record_id, path)
                for path, (_, _, value) in facts.items()
                if isinstance(value, str) and value.strip().lower() in addresses
            ]
    return Meant(tuple(found), addresses, tuple(elsewhere))


def _address_of(facts: Mapping[str, Fact]) -> str | None:
    _, _, value = facts.get("email", (0, 0, None))
    return value.strip().lower() or None if isinstance(value, str) else None


def _all_records(store: Store) -> Iterator[tuple[str, dict[str, Fact]]]:
    after = ""
    while True:
        page = store.record_ids(after, _page)
        if not page:
            return
        after = page[-1]
        for record_id, known in store.load(page).items():
            yield record_id, load_facts(known.facts)


# ---------------------------------------------------------------- its time line


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a time line.

    Args:
        kind: ``event`` · ``delivery`` · ``letter`` · ``route`` (how a route stands now).
        about: topic and key, or the route.
        text: what came of it, in a few words.
        changes: of an event: what it changed in the record, by path: (before, after); before is "?" where it may
            have been said by an event that is forgotten by now.
        cells: of a delivery: the row that was sent.
    """

    at: datetime
    kind: Literal["event", "delivery", "letter", "route"]
    about: str
    text: str
    changes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    cells: Mapping[str, Any] = field(default_factory=dict)


def explain(
    store: Store,
    sources: Mapping[str, Source],
    letters: DeadLetters,
    evaluations: Mapping[str, Evaluate],
    record_id: str,
    now: datetime,
) -> list[Entry]:
    """Everything that is still known to have happened to that affiliate, the oldest first, then how it stands now.

    Args:
        evaluations: each route's mapping, by the route's name.
    """
    known = store.load([record_id]).get(record_id)
    facts = load_facts(known.facts) if known is not None else {}
    entries = list(_events(store, sources, record_id, facts))
    entries += _deliveries(store, record_id)
    stopped = [letter for letter in letters.list() if letter.stage == "deliver" and letter.subject == record_id]
    entries += [
        Entry(
            letter.at or now, "letter", f"{letter.place} {letter.id}",
            f"{letter.why}; to try again: connector dead-letters replay {letter.id}",
        )
        for letter in stopped
    ]  # fmt: skip
    entries.sort(key=lambda entry: entry.at)
    if known is not None:
        entries += _standing(store, evaluations, record_id, facts, {letter.place for letter in stopped}, now)
    return entries


def _events(store: Store, sources: Mapping[str, Source], record_id: str, facts: Mapping[str, Fact]) -> Iterator[Entry]:
    kept = [(stored, _said(sources, stored.event, record_id)) for stored in store.events_of(record_id)]
    told = {(path, fact) for _, said in kept if said is not None for path, fact in said.items()}
    # What no kept event has said was said by events that are forgotten by now: the state that these began with.
    state: dict[str, Fact] = {path: fact for path, fact in facts.items() if (path, fact) not in told}
    began_before = bool(state)
    for stored, said in kept:
        event = stored.event
        about = f"{event.topic} {event.key}"
        if said is None:
            yield Entry(event.received_at, "event", about, "can't be read any more; see the dead letters")
            continue
        after = join(state, said)
        changes = _changes(view(record_id, state), view(record_id, after))
        if began_before:
            changes = {path: ("?" if old is None else old, new) for path, (old, new) in changes.items()}
        text = f"changed {len(changes)} of its fields" if changes else "said nothing new"
        if event.at // 1_000_000 != int(event.received_at.timestamp()):
            text += f"; true as of {_moment(event.at).isoformat(timespec='seconds')}"
        yield Entry(event.received_at, "event", about, text, changes)
        state = after


def _said(sources: Mapping[str, Source], event: Event, record_id: str) -> dict[str, Fact] | None:
    updates = _normalized(sources, event)
    if updates is None:
        return None
    said: dict[str, Fact] = {}
    for update in updates:
        if update.record_id == record_id:
            said = join(said, update.facts)
    return said


def _normalized(sources: Mapping[str, Source], event: Event) -> Sequence[AffiliateUpdate] | None:
    """What *event* says; None when its source is not configured any more or can't read it."""
    source = sources.get(event.source)
    if source is None:
        return None
    try:
        return source.normalize(event)
    except (UnknownShape, ConnectorError):
        return None
    except Exception:  # a bug of the source, logged when the event was projected
        return None


def _changes(before: AffiliateRecord, after: AffiliateRecord) -> dict[str, tuple[Any, Any]]:
    old, new = _flat(before.model_dump(mode="json")), _flat(after.model_dump(mode="json"))
    paths = [*new, *(path for path in old if path not in new)]
    empty: tuple[Any, ...] = (None, [], {})
    return {
        path: (old.get(path), new.get(path))
        for path in paths
        if old.get(path) != new.get(path) and not (old.get(path) in empty and new.get(path) in empty)
    }


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """A record's values by path; entries of lists by their id."""
    if isinstance(value, dict) and value:
        return {
            inner_path: inner
            for key, part in value.items()
            for inner_path, inner in _flat(part, f"{path}.{key}" if path else str(key)).items()
        }
    if isinstance(value, list) and value and all(isinstance(entry, dict) and "id" in entry for entry in value):
        return {
            inner_path: inner for entry in value for inner_path, inner in _flat(entry, f"{path}[{entry['id']}]").items()
        }
    return {path: value}


def _deliveries(store: Store, record_id: str) -> Iterator[Entry]:
    words = {
        "written": "written",
        "refused": "refused",
        "unchanged": "the same as before; no call was needed",
        "skipped": "left out",
    }
    for line in store.deliveries_of(record_id):
        text = words.get(line.kind, line.kind) + (f" ({line.code})" if line.code else "")
        about = line.route + (f" row {line.key}" if line.key else "")
        cells = json.loads(line.cells) if line.cells else {}
        if line.key in cells.values():  # a new row: what is empty in it was empty before
            cells = {column: cell for column, cell in cells.items() if cell not in (None, "")}
        yield Entry(line.at, "delivery", about, text, cells=cells)


def _standing(
    store: Store,
    evaluations: Mapping[str, Evaluate],
    record_id: str,
    facts: Mapping[str, Fact],
    stopped: Collection[str],
    now: datetime,
) -> Iterator[Entry]:
    """How each route stands; *stopped* are those with a dead letter about the record."""
    pending = {one.route: one for one in store.pending_of(record_id)}
    record = view(record_id, facts)
    for route, evaluate in evaluations.items():
        one = pending.get(route)
        if one is not None:
            text = f"pending since {one.since.isoformat(timespec='seconds')}"
            if one.tries:
                text += f", {one.tries} tries failed ({one.reason})"
            if one.due_at > now:
                text += f", next try at {one.due_at.isoformat(timespec='seconds')}"
        else:
            text = "up to date, but for what is a dead letter" if route in stopped else "up to date"
        try:
            shape = evaluate(record)
        except Exception:  # a bug in the mapping's evaluation: the route says so, and must not hide the rest
            text += "; its mapping fails for this record, see connector status"
        else:
            if shape.skipped is not None:
                text += f"; has no row here: {shape.skipped}"
            for problem in shape.problems:
                text += f"; can't be shaped: {problem.reason}"
        yield Entry(now, "route", route, text)


def _moment(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / 1e6, UTC)


# ---------------------------------------------------------------- forgetting


@dataclass(frozen=True, slots=True)
class Gone:
    """What was taken away.

    Args:
        rows: by route: keys of rows that the far side still holds; a person deletes them there.
        elsewhere: other records that name the person, and where.
        whole: the inbox was written anew; else its free pages were overwritten.
    """

    events: int
    records: int
    deliveries: int
    letters: int
    rows: Mapping[str, tuple[str, ...]]
    elsewhere: tuple[tuple[str, str], ...]
    whole: bool


class Busy(StoreUnavailable):
    """The affiliate is being delivered all the time; nothing was taken away."""


inbox_rebuilt_while_serving_bytes = 128 * 1024 * 1024
"""Writing so much anew takes about a second, for which senders are kept waiting."""


def forget(
    store: Store,
    sources: Mapping[str, Source],
    letters: DeadLetters,
    meant: Meant,
    *,
    alone: bool,
    wait: Callable[[float], None] = time.sleep,
    patience_seconds: float = 90.0,
) -> Gone:
    """Take every trace of those affiliates out of what the program keeps, down to the bytes of its files.

    Another process may receive and deliver meanwhile. An affiliate that the platform sends again is known again.

    Args:
        alone: no other process works on the store.

    Raises:
        Busy: a delivery of theirs was under way for all of *patience_seconds*.
        StoreUnavailable: a file can't be written; run it again.
    """
    meant = _completed(store, meant)
    ids = set(meant.record_ids)
    waited = 0.0
    while not alone and store.under_way(meant.record_ids):
        # Its answer would be noted, or become a dead letter, after we had gone.
        if waited >= patience_seconds:
            raise Busy("a delivery of this affiliate is on its way; try again in a minute")
        wait(0.25)
        waited += 0.25
    seqs = store.mentions_of(meant.record_ids)
    seqs |= _about(store, sources, ids, meant.addresses, known=seqs)
    gone = store.forget(meant.record_ids, seqs)

    def is_theirs(letter: Letter) -> bool:
        return _letter_is_about(letter, sources, ids, meant.addresses)

    lost = letters.forget(is_theirs)
    if not alone:
        wait(0.5)  # what a delivery or projection still had in its hands
        more = store.mentions_of(meant.record_ids)
        if more:
            store.forget(meant.record_ids, more)
        lost += letters.forget(is_theirs)
    whole = store.erase(rebuild_inbox_up_to_bytes=None if alone else inbox_rebuilt_while_serving_bytes)
    return Gone(gone.events, gone.records, gone.deliveries, lost, gone.rows, meant.elsewhere, whole)


def _completed(store: Store, meant: Meant) -> Meant:
    """*meant* with the addresses of its records and with who else names them."""
    if not meant.addresses:
        return meant
    by_address = _by_address(store, meant.addresses)
    ids = set(meant.record_ids)
    # A record with the same address that was not asked for (the other platform's) is told of, not taken away.
    others = [record_id for record_id in by_address.record_ids if record_id not in ids]
    elsewhere = [(r, "email") for r in others] + [(r, path) for r, path in by_address.elsewhere if r not in ids]
    if others:
        theirs = {_address_of(load_facts(known.facts)) for known in store.load(others).values()}
        # Events that name the address are the other record's as well, which stays.
        return Meant(meant.record_ids, tuple(a for a in meant.addresses if a not in theirs), tuple(elsewhere))
    return Meant(meant.record_ids, meant.addresses, tuple(elsewhere))


def _about(
    store: Store, sources: Mapping[str, Source], ids: set[str], addresses: Sequence[str], *, known: set[int]
) -> set[int]:
    """The seqs of further events that are about them: duplicates, unread ones, those not projected yet; reads all."""
    found: set[int] = set()
    keys: set[bytes] = set()
    named = _named(ids)
    for again in (False, True):
        after = 0
        while True:
            page = store.read_events(after, _page)
            if not page:
                break
            after = page[-1].seq
            for stored in page:
                event = stored.event
                if again:
                    if fingerprint(event) in keys:
                        found.add(stored.seq)
                elif stored.seq in known or _is_about(event, sources, ids, named, addresses):
                    keys.add(fingerprint(event))
                    found.add(stored.seq)
        if not keys:
            break
    return found


def _named(ids: set[str]) -> re.Pattern[bytes] | None:
    """What a body must have in it to be about one of *ids*: the platform's own id."""
    words = sorted({record_id.partition(":")[2].encode() for record_id in ids})
    if not words:
        return None
    return re.compile(rb"(?<![0-9A-Za-z])(?:" + b"|".join(map(re.escape, words)) + rb")(?![0-9A-Za-z])")


def _is_about(
    event: Event,
    sources: Mapping[str, Source],
    ids: set[str],
    named: re.Pattern[bytes] | None,
    addresses: Sequence[str],
) -> bool:
    if addresses and _names_address(event.body, addresses):
        return True
    if named is None or named.search(event.body) is None:
        return False
    return any(update.record_id in ids for update in _normalized(sources, event) or ())


def _names_address(body: bytes, addresses: Sequence[str]) -> bool:
    text = body.lower()
    return any(address.encode() in text or json.dumps(address)[1:-1].encode() in text for address in addresses)


def _letter_is_about(letter: Letter, sources: Mapping[str, Source], ids: set[str], addresses: Sequence[str]) -> bool:
    if letter.stage == "deliver" and letter.subject in ids:
        return True
    content = json.dumps([letter.reason, letter.row, dict(letter.content)], ensure_ascii=False)
    if addresses and _names_address(content.encode("utf-8", "surrogatepass"), addresses):
        return True
    if letter.stage == "normalize":
        try:
            event = event_of(letter)
        except (KeyError, ValueError):
            return False
        return _is_about(event, sources, ids, _named(ids), ())
    return False
