"""`connector fields`: what there is to map, with real values, and what nothing shows yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from msgspec import Struct

from connector.affiliates.fields import FieldSeen, KeySeen, line_to_paste, path_like, quoted, unread_keys, used_paths
from connector.affiliates.fields import fields as fields_of
from connector.assembly import build_sources
from connector.cli.common import ConfigOption, JsonOption, built_sink, load, named_source, visited_if_there
from connector.cli.printing import Report, beside, cell_text, cells_wide, many, mark, shortened, show, width, wrapped
from connector.core.sink import ShowsSpare
from connector.settings import Config

_WIDEST_VALUE = 24
_MOST_SHOWN = 12


class Fields(Report):
    """What ``fields`` prints. *unread* are keys of webhooks that reach no path."""

    for_people = frozenset({"all_lines", "unused_only"})
    fields: Sequence[FieldSeen]
    unread: Sequence[KeySeen]
    spare: Sequence[SpareLine]
    all_lines: bool
    unused_only: bool

    def body(self) -> Iterator[str]:
        if self.unused_only:
            yield from self._shown([_to_paste(field) for field in self.fields])
        else:
            yield from self._shown([_explained(field) for field in self.fields], most=len(self.fields))
        if self.unread:
            reach = "key of webhooks reaches" if len(self.unread) == 1 else "keys of webhooks reach"
            yield f"{mark('notice')} {len(self.unread):,} {reach} no path; nobody reads what is there:"
            yield from self._shown(
                [[f"  {_times(key.seen)}  {key.source}: {cell_text(key.key)}"] for key in self.unread]
            )
        if self.spare:
            known = [line for line in self.spare if line.paste]
            what = "column or choice" if len(self.spare) == 1 else "columns and choices"
            yield f"{mark('notice')} {len(self.spare):,} {what} of the destinations that no mapping fills:"
            yield from self._shown([line.lines() for line in known])
            if len(known) < len(self.spare):
                yield f"  {len(self.spare) - len(known):,} that are like no path: --json"

    def _shown(self, entries: Sequence[Sequence[str]], most: int = _MOST_SHOWN) -> Iterator[str]:
        most = len(entries) if self.all_lines else most
        for lines in entries[:most]:
            yield from lines
        if len(entries) > most:
            yield f"  {len(entries) - most:,} more: --all"


class SpareLine(Struct):
    """What a route's destination has and no mapping fills; *paste* is the line to paste, "" where nobody can guess."""

    route: str
    column: str
    choice: str
    paste: str

    def lines(self) -> list[str]:
        what = f'{self.column}, choice "{self.choice}"' if self.choice else self.column
        return [f"  {self.route}  {cell_text(what)}", f"    {self.paste}"]


def spare_lines(settings: Config, paths: Sequence[str]) -> Iterator[SpareLine]:
    """What the destinations have that no mapping fills. They are asked, and nothing is written."""
    for found in settings.sinks:
        with built_sink(settings, found) as sink:
            if not isinstance(sink, ShowsSpare):
                continue
            for route in found.routes:
                for spare in sink.spare(route.target):
                    paste = f'{{ "…" = {quoted(spare.choice)} }}  in map of {spare.column}' if spare.choice else ""
                    path = path_like(spare.column, paths)
                    if path and not spare.choice:
                        paste = f"{quoted(spare.column)} = {quoted(path)}"
                    yield SpareLine(route.name, spare.column, spare.choice, paste)


def _to_paste(field: FieldSeen) -> list[str]:
    """A path with a value, and the line that shows it, in one line where there is room."""
    value = shortened(cell_text(field.value), _WIDEST_VALUE)
    line = f"  {_padded(cell_text(field.path), 22)}  {_times(field.seen)}  {value}"
    paste = line_to_paste(field.path)
    together = f"{_padded(line, 51)}  {paste}"
    return [together] if cells_wide(together) <= width() else [line, f"    {paste}"]


def _explained(field: FieldSeen) -> list[str]:
    head = f"  {cell_text(field.path)}"
    if field.value:
        head += f"  {shortened(cell_text(field.value), _WIDEST_VALUE)}"
    return [beside(head, ", ".join(field.used)), *wrapped(f"{field.what} ({field.type})", indent=4)]


def _times(count: int) -> str:
    return f"{count:>5,} times" if count != 1 else "    1 time "


def _padded(text: str, wide: int) -> str:
    return text + " " * (wide - cells_wide(text))


def fields(
    source: Annotated[str | None, typer.Argument(help="The source; all of them when not given.")] = None,
    unused: Annotated[bool, typer.Option("--unused", help="Only what holds values and is in no mapping.")] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Ask the destinations, too: which of their columns no mapping fills.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="All of them, however many.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """What there is to map. Every path with what it means, a real value, and the line of a mapping that uses it."""
    settings = load(config, uses=("sinks",) if live else ())
    named = [each.name for each in settings.sources] if source is None else [named_source(settings, source).name]
    built = {name: found for name, found in build_sources(settings).items() if name in named}
    uses = used_paths(settings)
    with visited_if_there(settings) as store:
        found = fields_of(store, named, uses)
        unread = [] if store is None else unread_keys(store, built)
    spare = [field for field in found if field.is_unused]
    # Your own fields first: nobody else knows what they are.
    shown = sorted(spare, key=lambda field: (not field.path.startswith("custom."), -field.seen)) if unused else found
    if not any(field.seen for field in found):
        summary = f"{many(len(found), 'path')}. Nothing was received yet: values come with the first webhook."
    elif not spare:
        summary = f"{many(len(found), 'path')}; every value that comes in reaches a column."
    else:
        reach = "comes in and reaches" if len(spare) == 1 else "come in and reach"
        summary = f"{many(len(spare), 'path')} {reach} no column."
    following = "paste a line into a mapping, then: connector plan" if unused else "connector fields --unused"
    others = list(spare_lines(settings, [field.path for field in found])) if live else []
    report = Fields(
        shown,
        unread,
        others,
        every,
        unused,
        summary=summary,
        next=following if spare and any(f.seen for f in found) else "",
    )
    return show(report, as_json=as_json)
