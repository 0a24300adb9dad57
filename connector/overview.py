"""How everything is, as one value: what `connector status`, the page's first view and the sheet's status tab show.

Knows what is configured, the store and the dead letters. It asks no network: the caller says how the server is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct
from msgspec.structs import asdict

from connector import topics
from connector.backfill import notes
from connector.changes.notes import held_of, no_longer_kept, problems_of, undo_of
from connector.core.facts import load_facts
from connector.core.platform_api import Repair
from connector.dead_letters import Letter, causes
from connector.phrases import ago, clock, duration, many
from connector.settings import Config
from connector.store import Store, model

NOT_RUNNING = "not running"
READY = "ready"

_RECORDS_AT_A_GLANCE = 100  # of a source
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)

State = Literal["up to date", "delivering", "to be delivered", "waiting", "stopped", "not started"]
"""``waiting``: for a destination that is away or limits us. ``stopped``: a person must act, or it met a bug."""


class Trouble(Struct, frozen=True):
    """Something that a person should do or know.

    Args:
        kind: ``stopped``: something does not work until a person acts; ``waits``: for a person; ``note``: good to know.
        place: the route's or source's name; "" for the program as a whole.
        text: what is the matter, in one line without a full stop.
        what_to_do: sentences, or "" where *text* says it all. Before a *command*, the last one has no full stop.
        command: what to type, or "".
    """

    kind: Literal["stopped", "waits", "note"]
    place: str
    text: str
    what_to_do: str = ""
    command: str = ""


class SourceLine(Struct):
    """What came from one source since the store was made.

    Args:
        refused: webhooks refused in the last 24 hours; *refused_at*: the hour of the last one, or None.
        unknown_topics: topics that it has no URL for, and when each came last.
    """

    source: str
    received: int = 0
    duplicates: int = 0
    no_affiliate: int = 0
    unreadable: int = 0
    undated: int = 0
    last_event: datetime | None = None
    last_webhook: datetime | None = None
    refused: int = 0
    refused_at: datetime | None = None
    dead_letters: int = 0
    unknown_topics: dict[str, datetime] = {}


class RouteLine(Struct):
    """What one route has written and has still to write.

    Args:
        affiliates: those that have a row; *rows* counts the rows.
        left_out: affiliates for which the mapping makes no row: ``[when]``, most often.
        waiting: affiliates that lack a value without which no new row is made; beside those *pending*.
        why: what stopped it or what it waits for, with what to do; "" when nothing.
        overwritten_edits: cells in which a person's entry was overwritten, of the deliveries that are still kept.
        left_empty: cells that are empty because their values do not fit.
        mistake: where the mapping file has its first mistake; "" when it has none.
        undone: something was put back, and the route waits for ``connector resume``.
        held: what an edited mapping would change that waits for ``connector apply``; "" when none does.
        no_longer_kept: columns that the mapping ceased to name lately.
        held_records: it is no edit that waits, but the first sync or backfill of the route.
    """

    route: str
    state: State
    why: str = ""
    affiliates: int = 0
    left_out: int = 0
    pending: int = 0
    retrying: int = 0
    waiting: int = 0
    oldest_pending_seconds: float | None = None
    paused_until: datetime | None = None
    since: datetime | None = None
    rows: int = 0
    dead_letters: int = 0
    last_write: datetime | None = None
    overwritten_edits: int = 0
    left_empty: int = 0
    waits_for_you: bool = False
    mistake: str = ""
    held: str = ""
    held_records: bool = False
    undone: bool = False
    no_longer_kept: tuple[str, ...] = ()


class ReadingLine(Struct):
    """The readings of one source's API; see ``backfill.notes.Standing``. *text* says it in words."""

    source: str
    last_try_failed: bool
    every_seconds: float | None
    next_due: datetime | None
    last: notes.Report | None
    reading_since: datetime | None
    failed_at: datetime | None
    reason: str
    text: str


class ProcessLine(Struct):
    """A process that works on a shared database. *owns*: what it alone does at the moment."""

    process: str
    host: str
    roles: str
    since: datetime
    last_sign: datetime
    is_alive: bool
    owns: str
    note: str


class Overview(Struct):
    """How everything is at one moment.

    Args:
        sentence: the answer, the worst first.
        server: ``not running``, ``ready``, or how else the running server is.
        records: affiliates that are known.
        waiting: events that are not read yet.
        dead_letters: open ones; *causes*: how many different reasons they have.
        processes: those that share a database; none with an SQLite file.
        troubles: what a person should do or know, the most urgent first.
        next: the one thing to do now: a command, or a few words; "" when nothing is to do.
    """

    sentence: str
    server: str
    records: int
    waiting: int
    sources: list[SourceLine]
    routes: list[RouteLine]
    readings: list[ReadingLine]
    dead_letters: int
    troubles: list[Trouble]
    next: str
    processes: list[ProcessLine] = []
    causes: int = 0


def overview(
    settings: Config,
    store: Store | None,
    letters: Sequence[Letter],
    now: datetime,
    *,
    server: str = READY,
    status: model.Status | None = None,
) -> Overview:
    """How everything is.

    Args:
        store: None before the first start.
        letters: the open dead letters.
        server: how the running server is; the default fits who asks from inside it.
        status: the store's, as it was a moment ago; None: it is asked, which counts all records and rows.
    """
    found = None if store is None else (status or store.status())
    records, waiting = (found.records, found.waiting) if found else (0, 0)
    sources = _source_lines(settings, store, found, letters, now)
    routes = _route_lines(settings, store, found, letters, now, running=server != NOT_RUNNING)
    readings = list(_reading_lines(settings, store, now))
    seen = Overview("", server, records, waiting, sources, routes, readings, len(letters), [], "")
    seen.processes, seen.causes = _process_lines(store), len(causes(letters))
    found_troubles = [*_troubles(seen, now), *(() if store is None else _unused_fields(settings, store))]
    seen.troubles = sorted(found_troubles, key=lambda trouble: _URGENCY[trouble.kind])
    seen.sentence, seen.next = _sentence(seen, now), _next(seen)
    return seen


_URGENCY = {"stopped": 0, "waits": 1, "note": 2}


# ---------------------------------------------------------------- lines


def _process_lines(store: Store | None) -> list[ProcessLine]:
    return [
        ProcessLine(
            each.name, each.host, ", ".join(each.roles), each.since, each.seen, each.is_alive, ", ".join(each.owns),
            each.note,
        )
        for each in (store.processes() if store is not None else ())
    ]  # fmt: skip


def _process_troubles(processes: Sequence[ProcessLine], now: datetime) -> Iterator[Trouble]:
    for each in processes:
        if not each.is_alive:
            text = f"gave its last sign of life {ago(each.last_sign, now)}"
            yield Trouble("note", each.process, text, "It was killed, or can't reach the database. Others do its work.")
        elif each.note:
            yield Trouble("waits", each.process, each.note, "To make the files of a machine run, type there",
                          "connector apply")  # fmt: skip


def _source_lines(
    settings: Config, store: Store | None, found: model.Status | None, letters: Sequence[Letter], now: datetime
) -> list[SourceLine]:
    """The configured sources, then those that are not configured any more."""
    lines = {source.name: SourceLine(source.name) for source in settings.sources}
    for known in found.sources if found else ():
        facts = asdict(known)
        times = {"last_event": facts.pop("last_event_at"), "last_webhook": facts.pop("last_received_at")}
        lines[known.source] = SourceLine(**facts, **times)
    for hour in store.hours(now - _DAY) if store is not None else ():
        if hour.refused and hour.source in lines:
            lines[hour.source].refused += hour.refused
            lines[hour.source].refused_at = hour.began
    unread = Counter(letter.place for letter in letters if letter.stage == "normalize")
    for line in lines.values():
        line.dead_letters = unread[line.source]
        line.unknown_topics = {} if store is None else topics.met(store, line.source, now)
    return list(lines.values())


def _route_lines(
    settings: Config,
    store: Store | None,
    found: model.Status | None,
    letters: Sequence[Letter],
    now: datetime,
    *,
    running: bool,
) -> list[RouteLine]:
    known = {route.route: route for route in found.routes} if found else {}
    stopped: dict[str, list[str]] = {}
    for letter in letters:
        if letter.stage == "deliver":
            stopped.setdefault(letter.place, []).append(letter.subject)
    lines = []
    mappings = store.mappings() if store is not None else {}
    for name in settings.route_names:
        line = _route_line(name, known.get(name), now, running=running)
        subjects = stopped.get(name, [])
        line.dead_letters = len(subjects)
        mistakes = problems_of(mappings.get(name)) if running else settings.mistaken.get(name, ())
        if mistakes:
            line.mistake = mistakes[0].file + (f", line {mistakes[0].line}" if mistakes[0].line else "")
        line.undone = undo_of(mappings.get(name)) is not None
        if (held := held_of(mappings.get(name))) is not None:
            line.held, line.held_records, line.waits_for_you = held.text, held.kind == "first", True
        if store is not None and found is not None and name in known:
            line.left_empty = store.left_empty_cells(name)
            line.no_longer_kept = no_longer_kept(store, name, now)
            line.overwritten_edits = store.overwritten_of(name)
            line.left_out = _left_out(store, known[name], subjects, found.records)
        lines.append(line)
    return lines


def _route_line(route: str, known: model.RouteStatus | None, now: datetime, *, running: bool) -> RouteLine:
    if known is None:
        return RouteLine(route, "not started")
    state, oldest = known.state, known.oldest_since
    return RouteLine(
        route,
        _state(known, running=running),
        state.reason,
        affiliates=known.affiliates,
        pending=known.pending,
        retrying=known.retrying,
        waiting=known.waiting,
        oldest_pending_seconds=None if oldest is None else max(0.0, (now - oldest).total_seconds()),
        paused_until=state.paused_until,
        since=state.since,
        rows=known.rows,
        last_write=state.delivered_at,
        waits_for_you=state.kind == "needs_action",
    )


def _state(route: model.RouteStatus, *, running: bool) -> State:
    if route.state.kind != "ok":
        return "waiting" if route.state.kind == "waiting" else "stopped"
    if not route.pending:
        return "up to date"
    return "delivering" if running else "to be delivered"


def _left_out(store: Store, route: model.RouteStatus, stopped: Sequence[str], records: int) -> int:
    """Records that have no row, although nothing is pending for them and no dead letter is about them."""
    distinct = set(stopped)
    without_row = distinct - {written.record_id for written in store.written(route.route, distinct)}
    return max(0, records - route.affiliates - route.first_pending - len(without_row))


def _reading_lines(settings: Config, store: Store | None, now: datetime) -> Iterator[ReadingLine]:
    """Of sources whose API is read now and then, or was once."""
    for source in settings.sources:
        repair = getattr(source.options, "repair", None)
        found = notes.standing(store, source.name) if store is not None else notes.Standing()
        if repair is None and found == notes.Standing():
            continue
        every = repair.every_seconds if isinstance(repair, Repair) else None
        due = None if every is None else found.next_due(every, now)
        text = _reading(found, due, now)
        yield ReadingLine(source.name, found.last_try_failed, every, due, **asdict(found), text=text)


def _reading(found: notes.Standing, due: datetime | None, now: datetime) -> str:
    """``last read 3 h ago: …; next due in 21 h``."""
    parts = ["never read from its API to the end"]
    if (last := found.last) is not None:
        held = f", {last.held_back} missing but not believed" if last.held_back else ""
        counts = f"{last.read} affiliates, {last.new} new, {last.changed} changed, {last.gone} gone{held}"
        parts = [f"last read {ago(last.ended, now)}: {counts}"]
    if found.last_try_failed:
        parts.append(f"the last try failed {ago(found.failed_at, now)}: {found.reason}")
        if found.reading_since is not None and now - found.reading_since < notes.CONTINUES_WITHIN:
            parts.append("the next one continues where it stopped")
    elif found.reading_since is not None:
        parts.append(f"a reading began {ago(found.reading_since, now)} and has not ended")
    if due is not None:
        seconds = (due - now).total_seconds()
        soon = "a running server tries again soon" if found.last_try_failed else "next due now"
        parts.append(f"next due in {duration(seconds)}" if seconds > 0 else soon)
    return "; ".join(parts)


# ---------------------------------------------------------------- what to do


def _unused_fields(settings: Config, store: Store) -> Iterator[Trouble]:
    """That platforms send fields of your own, in a few records, which no mapping names. Takes milliseconds."""
    texts = [stored.text for stored in store.mappings().values() if stored.text]
    if not texts:
        return
    starts = [f"{source.name}:" for source in settings.sources]
    ids = [
        found for start in starts for found in store.record_ids(start, _RECORDS_AT_A_GLANCE) if found.startswith(start)
    ]
    own = {
        path
        for known in store.load(ids).values()
        for path, (_, _, value) in load_facts(known.facts).items()
        if path.startswith("custom.") and value not in (None, "")
    }
    count = sum(not any(path in text for text in texts) for path in own)
    if count:
        text = f"{many(count, 'field')} of your own {'is' if count == 1 else 'are'} in no column"
        yield Trouble("note", "", text, command="connector fields --unused")


def _troubles(seen: Overview, now: datetime) -> Iterator[Trouble]:
    for route in seen.routes:
        yield from _route_troubles(route)
        if route.state == "not started" and seen.server != NOT_RUNNING:
            text = "the running server does not know this route yet"
            yield Trouble("waits", route.route, text, "Restart the server.")
    for source in seen.sources:
        if source.refused_at is not None:
            # Within the hour nobody knows what came first.
            is_cured = source.last_webhook is not None and source.last_webhook >= source.refused_at + _HOUR
            text = f"{many(source.refused, 'webhook')} refused in the last 24 hours"
            what_to_do = "The page and the log say why; if it is the token, paste the address again"
            yield Trouble("note" if is_cured else "waits", source.source, text, what_to_do, "connector urls")
        for topic, at in source.unknown_topics.items():
            text = f'there is no topic "{topic}"; it came {ago(at, now)}'
            yield Trouble("waits", source.source, text, "Correct the URL at the platform", "connector urls")
    if seen.dead_letters:
        text = f"{many(seen.dead_letters, 'dead letter')}, {many(seen.causes, 'cause')}"
        yield Trouble("waits", "", text, command="connector dead-letters list")
    for reading in seen.readings:
        if reading.last_try_failed:
            yield Trouble("waits", reading.source, reading.text)
    yield from _process_troubles(seen.processes, now)


def _route_troubles(route: RouteLine) -> Iterator[Trouble]:
    old = "" if route.oldest_pending_seconds is None else f" for {duration(route.oldest_pending_seconds)}"
    pending = f", {route.pending:,} pending{old}" if route.pending else ""
    why = f"{route.why.rstrip('. ')}." if route.why else ""
    if route.mistake:
        stopped = route.state == "stopped"
        is_new = stopped or route.state == "not started"
        continues = "No good version of it is known" if is_new else "The last good version continues"
        text = f"mistake in {route.mistake}{pending if stopped else ''}"
        to_do = f"{continues}. To see the line"
        yield Trouble("stopped" if stopped else "waits", route.route, text, to_do, "connector check")
    elif route.state == "stopped":
        yield Trouble("stopped", route.route, f"stopped{pending}", f"{why} It continues by itself.".strip())
    elif route.state == "waiting":
        yield Trouble("note", route.route, f"waits for its destination{pending}", why)
    if route.left_empty:
        does = "its value does" if route.left_empty == 1 else "their values do"
        text = f"{many(route.left_empty, 'cell')} left empty: {does} not fit"
        yield Trouble("note", route.route, text, command=f"connector explain --left-empty {route.route}")
    if route.undone:
        to_resume = f"connector resume {route.route}"
        yield Trouble("waits", route.route, f"undone; it waits{pending}", "Edit the mapping, then", to_resume)
    if route.held:
        meanwhile = "What webhooks bring is written" if route.held_records else "The old version continues"
        yield Trouble(
            "waits", route.route, f"waits for you: {route.held}", f"{meanwhile}. To see them",
            f"connector plan {route.route}",
        )  # fmt: skip
    if route.no_longer_kept:
        names = ", ".join(f'"{name}"' for name in route.no_longer_kept)
        is_kept, its = ("is", "its values stay") if len(route.no_longer_kept) == 1 else ("are", "their values stay")
        text = f"{names} {is_kept} no longer kept; {its} in the table until you delete them"
        yield Trouble("note", route.route, text)
    if route.overwritten_edits:
        was = "was" if route.overwritten_edits == 1 else "were"
        text = f"{many(route.overwritten_edits, 'edit')} by people {was} overwritten"
        yield Trouble("note", route.route, text, command=f"connector explain --overwritten {route.route}")


def _sentence(seen: Overview, now: datetime) -> str:
    """The answer in a sentence or two, the worst first."""
    pending = sum(route.pending for route in seen.routes)
    parts = []
    if pending or not seen.waiting:
        parts.append(f"{many(pending, 'affiliate')} {_is(pending)} pending")
    if seen.waiting:
        parts.append(f"{many(seen.waiting, 'event')} {_is(seen.waiting)} not read yet")
    on_their_way = " and ".join(parts)
    received = any(source.received for source in seen.sources) or seen.records
    stopped = [route for route in seen.routes if route.state == "stopped"]
    away = [route.route for route in seen.routes if route.state == "waiting"]
    if seen.server == NOT_RUNNING and not received and not seen.waiting:
        return "The server is not running, and nothing was received yet."
    if stopped:
        when = f" {clock(stopped[0].since, now)}" if len(stopped) == 1 and stopped[0].since else ""
        return f"{_listed([r.route for r in stopped])} stopped{when}; {on_their_way}. Nothing is lost."
    if seen.server == NOT_RUNNING:
        rest = on_their_way if pending or seen.waiting else "what was received is delivered"
        return f"The server is not running; {rest}."
    if seen.server != READY:
        return f"The server is {seen.server}."
    if away:
        waits = "waits for its destination" if len(away) == 1 else "wait for their destinations"
        return f"{_listed(away)} {waits}; {on_their_way}. Nothing is lost."
    if seen.waiting or any(route.pending and not route.undone for route in seen.routes):
        return f"The server delivers: {on_their_way}."
    if not received:
        return "The server is ready, and nothing was received yet."
    if things := sum(trouble.kind == "waits" for trouble in seen.troubles):
        waiting = f"{many(things, 'thing')} {'waits' if things == 1 else 'wait'} for you"
        return f"{waiting}; all else is up to date: {_in_tables(seen)}."
    return f"Everything is up to date: {_in_tables(seen)}."


def _in_tables(seen: Overview) -> str:
    """``8 affiliates in 2 tables``, or what is true where some have no row."""
    known, tables = many(seen.records, "affiliate"), many(len(seen.routes), "table")
    holding = {min(route.affiliates, seen.records) for route in seen.routes}
    if holding <= {seen.records}:
        return f"{known} in {tables}"
    if len(holding) > 1:
        return f"{known}, not each of them in all of {tables}"
    return f"{holding.pop():,} of {known} in {'each of ' * (len(seen.routes) > 1)}{tables}"


def _next(seen: Overview) -> str:
    for trouble in seen.troubles:
        if trouble.kind == "stopped":
            return f"do what is written about {trouble.place}"
    if seen.server == NOT_RUNNING:
        return "connector serve"
    return next((trouble.command for trouble in seen.troubles if trouble.kind == "waits" and trouble.command), "")


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _is(count: int) -> str:
    return "is" if count == 1 else "are"
