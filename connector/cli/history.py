"""What `connector explain` prints of an affiliate: in short, or everything."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from pathlib import PurePath

from connector.affiliates.explain import Entry
from connector.cli.exits import FOUND_PROBLEMS, OK
from connector.cli.printing import (
    Report,
    ago,
    arrow,
    beside,
    cell_text,
    cells_wide,
    day,
    many,
    marked,
    sentence,
    shortened,
    wrapped,
)
from connector.core.event_words import in_words
from connector.core.record import AffiliateRecord

_WIDEST_VALUE = 24
_WIDEST_PATHS = 28
_MOST_COLUMNS = 3
_MOST_EVENTS = 3
_MOST_CHANGES = 2
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.]+(?:\+00:00|Z)")


class History(Report):
    """What ``explain`` prints: what happened, by record id. *titles*: what people call each source;
    *people*: who is known of them; *every* thing, or the last and what a person looks for."""

    affiliates: dict[str, list[Entry]]
    titles: dict[str, str]
    people: dict[str, AffiliateRecord]
    every: bool

    for_people = frozenset({"titles", "people", "every"})

    def body(self) -> Iterator[str]:
        for number, (record_id, entries) in enumerate(self.affiliates.items()):
            record = self.people.get(record_id)
            if number:
                yield ""
                yield from wrapped(where_is(record, record_id, entries))
            facts = [] if record is None else [_status(record), self._title(record_id), record.email]
            yield from wrapped(cell_text(", ".join([*(fact for fact in facts if fact), record_id])), indent=2)
            yield from _everything(entries) if self.every else _in_short(self._title(record_id), entries)

    def _title(self, record_id: str) -> str:
        source = record_id.partition(":")[0]
        return self.titles.get(source, source)

    def exit_code(self) -> int:
        return OK if self.affiliates else FOUND_PROBLEMS


def _everything(entries: Sequence[Entry]) -> Iterator[str]:
    for entry in entries:
        about = entry.about
        if entry.kind == "event":
            topic, _, key = about.partition(" ")
            about = f"{in_words(topic)}, {key}"
        yield cell_text(f"{_moment(entry.at)}  {entry.kind}  {about}")
        yield from (cell_text(f"  {line}") for line in _entry_lines(entry))
        yield from _cell_lines(entry, list(entry.origins))


def _status(record: AffiliateRecord) -> str:
    return str(record.status or "").replace("_", " ").capitalize()


def _in_short(title: str, entries: Sequence[Entry]) -> Iterator[str]:
    """Each table with the columns that a person looks for, and the last events, the newest first."""
    events = [entry for entry in reversed(entries) if entry.kind == "event"]
    columns, some = 0, _MOST_COLUMNS
    for entry in entries:
        if entry.kind == "route":
            yield from _table_lines(entry, entries)
            shown = _looked_for(entry, events[0].changes if events else (), some)
            yield from _cell_lines(entry, shown)
            columns += len(entry.origins) - len(shown)
            some = 0 if shown else some  # of the first table; of the others what people typed
    for event in events[:_MOST_EVENTS]:
        yield from wrapped(_event_line(title, event), indent=4, first=2)
    more = [many(count, noun) for count, noun in ((columns, "more column"), (len(events) - _MOST_EVENTS, "more event"))
            if count > 0]  # fmt: skip
    if more:
        yield f"  {', '.join(more)}: --all"


def _looked_for(entry: Entry, changed: Collection[str], some: int) -> list[str]:
    """The columns in which people typed, and *some*: those that the last event changed, then the first."""
    typed = [column for column in entry.origins if column in entry.kept]
    others = [column for column in entry.origins if column not in entry.kept]
    others.sort(key=lambda column: _is_changed(entry.origins[column].paths, changed), reverse=True)
    chosen = {*typed, *others[:some]}
    return [column for column in entry.origins if column in chosen]


def _is_changed(paths: Sequence[str], changed: Collection[str]) -> bool:
    return any(path in changed for path in paths)


def _table_lines(entry: Entry, entries: Sequence[Entry]) -> Iterator[str]:
    """A table's state behind its mark."""
    letters = [letter for letter in entries if letter.kind == "letter" and letter.about.startswith(f"{entry.about} ")]
    state, _, notes = _in_short_times(entry.text).partition("; ")
    below = [sentence(notes)] if notes else []
    written = [line for line in entries if line.kind == "delivery" and line.about.split(" row ")[0] == entry.about]
    if letters:
        reason, _, command = letters[0].text.rpartition("; to try again: ")
        yield from marked("waiting", f"{entry.about}  {many(len(letters), 'dead letter')}: {command}", sentence(reason))
    elif notes.startswith("left out"):
        yield from marked("notice", f"{entry.about}  {notes}")
    elif state != "up to date":
        yield from marked("waiting" if state.startswith("waits") else "notice", f"{entry.about}  {state}", *below)
    else:
        last = f"{written[-1].text} {ago(written[-1].at)}" if written else state
        yield from marked("ok", f"{entry.about}  {last}", *below)


def _event_line(title: str, event: Entry) -> str:
    """``Today, 09:12  FirstPromoter: Sale. stats.sales_total 1150.50 → 1250.50``"""
    when = _moment(event.at)
    topic = in_words(event.about.partition(" ")[0])
    changes = [
        f"{path} " + f"{_short(old)} {arrow()} " * (old not in (None, "")) + _short(new)
        for path, (old, new) in event.changes.items()
        if path != "platform"  # it stands before the topic
    ]
    more = f"{len(changes) - _MOST_CHANGES:,} more" if len(changes) > _MOST_CHANGES else ""
    said = ", ".join([*changes[:_MOST_CHANGES], *([more] if more else [])]) or sentence(event.text.partition(";")[0])
    return cell_text(f"{'Today, ' * (len(when) == 5)}{when}  {title}: {topic}. {said}")


def _short(value: object) -> str:
    return shortened(word(value), _WIDEST_VALUE)


def _in_short_times(text: str) -> str:
    return _TIME.sub(lambda found: _moment(datetime.fromisoformat(found[0])), text)


def _moment(moment: datetime) -> str:
    """``09:12`` today, else ``27 Nov, 09:12``."""
    found = day(moment)
    clock = f"{moment.astimezone():%H:%M}"
    return clock if found == "today" else f"{found}, {clock}"


def where_is(record: AffiliateRecord | None, record_id: str, entries: Sequence[Entry]) -> str:
    """Where the affiliate is, in a sentence."""
    routes = [entry for entry in entries if entry.kind == "route"]
    holding = [entry.about for entry in routes if entry.rows]
    letters = sum(entry.kind == "letter" for entry in entries)
    where = f"is in {len(holding)} of {len(routes)} tables"
    if not holding or len(routes) == 1:
        where = f"is in {holding[0]}" if holding else "is in no table"
    name = (record.name if record is not None else None) or record_id
    return cell_text(name) + f" {where}" + f", with {many(letters, 'dead letter')}" * bool(letters) + "."


def _cell_lines(entry: Entry, columns: Sequence[str]) -> Iterator[str]:
    """Those cells of a table, each with the paths and the line of the mapping that it comes from."""
    wide = min(_WIDEST_VALUE, max((cells_wide(cell_text(column)) for column in columns), default=0))
    for column in columns:
        origin = entry.origins[column]
        typed = column in entry.kept
        value = shortened("what people typed" if typed else cell_text(word(entry.cells[column])), _WIDEST_VALUE)
        paths = "stays" if typed else shortened(", ".join(origin.paths), _WIDEST_PATHS)
        name = shortened(cell_text(column), _WIDEST_VALUE)
        name += " " * (wide - cells_wide(name))
        yield beside(f"  {name}  {value}", f"{paths}  {PurePath(origin.where).name}".strip())


def _entry_lines(entry: Entry) -> list[str]:
    if entry.kind == "route":
        return [_in_short_times(entry.text)]
    changes = [
        f"  {path}: {word(old)} → {word(new)}" if word(old) != "nothing" else f"  {path} = {word(new)}"
        for path, (old, new) in entry.changes.items()
    ]
    cells = [
        f"  {column}: {word(entry.former[column])} → {word(entry.cells.get(column))}"
        + (" (what people had typed)" if column in entry.overwritten else "")
        if column in entry.former
        else f"  {column} = {word(entry.cells[column])}"
        if word(entry.cells[column]) != "nothing"
        else f"  {column}: empty"
        for column in dict.fromkeys((*entry.cells, *entry.former))
    ]
    text = _in_short_times(entry.text) + f"; delivery {entry.delivery}" * bool(entry.delivery)
    return [text, *changes, *cells]


def word(value: object) -> str:
    if isinstance(value, dict) and len(value) == 1:  # a dumped cell with its type
        (value,) = value.values()
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    found = "nothing" if value in (None, "") else str(value)
    return _moment(datetime.fromisoformat(found)) if _TIME.fullmatch(found) else found
