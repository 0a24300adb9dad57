"""Entry points -> Source and Sink classes. Knows neither sources nor sinks by name; loads only what is asked for."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points
from typing import Any, Final, cast

from connector.core.sink import Sink
from connector.core.source import Source
from connector.core.words import unknown_word

sources_group = "connector.sources"
sinks_group = "connector.sinks"
_own_package: Final = "affiliate-connector"


class UnusablePlugin(Exception):
    """No installed package offers a plug-in of that type, or its module can't be imported; the message says which."""


def source_types() -> tuple[str, ...]:
    """The types of sources that installed packages offer, sorted."""
    return tuple(sorted(_found(sources_group)))


def sink_types() -> tuple[str, ...]:
    """The types of sinks that installed packages offer, sorted."""
    return tuple(sorted(_found(sinks_group)))


def source_class(type_name: str) -> type[Source]:
    """The class of that type of source; imports its module.

    Raises:
        UnusablePlugin: nobody offers it (the message names the nearest), or its module can't be imported.
    """
    return cast("type[Source]", _load("source", sources_group, type_name))


def sink_class(type_name: str) -> type[Sink]:
    """The class of that type of sink; imports its module, and with it the far side's client library.

    Raises:
        UnusablePlugin: nobody offers it (the message names the nearest), or its module can't be imported.
    """
    return cast("type[Sink]", _load("sink", sinks_group, type_name))


def _load(kind: str, group: str, type_name: str) -> Any:
    point = _own(group).get(type_name) or _found(group).get(type_name)
    if point is None:
        found = sorted(_found(group))
        if not found:
            raise UnusablePlugin(
                f"no installed package offers any {kind}; is the connector itself installed (pip install .)?"
            )
        raise UnusablePlugin(f'"{type_name}" is not a type of {kind}{unknown_word(type_name, found)}')
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise UnusablePlugin(f'the {kind} type "{type_name}" ({point.value}) can\'t be loaded: {error}') from error


def _own(group: str) -> dict[str, EntryPoint]:
    """What this package offers. Looked at first: a stranger's package can't take a built-in's place, and reading the
    metadata of all installed packages (5 ms and more) is spared those who use no other."""
    try:
        points = distribution(_own_package).entry_points
    except PackageNotFoundError:  # run from a folder, not installed
        return {}
    return {point.name: point for point in points if point.group == group}


@lru_cache
def _found(group: str) -> dict[str, EntryPoint]:
    return {**{point.name: point for point in entry_points(group=group)}, **_own(group)}
