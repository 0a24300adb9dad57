"""Entry points -> Source and Sink classes. Knows neither sources nor sinks by name; loads only what is asked for."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from connector.core.contract import Sink, Source
from connector.core.toml import unknown_word

sources_group = "connector.sources"
sinks_group = "connector.sinks"


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
    found = _found(group)
    if not found:
        raise UnusablePlugin(
            f"no installed package offers any {kind}; is the connector itself installed (pip install .)?"
        )
    if type_name not in found:
        raise UnusablePlugin(f'"{type_name}" is not a type of {kind}{unknown_word(type_name, sorted(found))}')
    point = found[type_name]
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise UnusablePlugin(f'the {kind} type "{type_name}" ({point.value}) can\'t be loaded: {error}') from error


def _found(group: str) -> dict[str, EntryPoint]:
    return _installed().get(group, {})


@lru_cache
def _installed() -> dict[str, dict[str, EntryPoint]]:
    # Reading the metadata of 70 installed packages takes 5-15 ms: once for both groups.
    found = entry_points()
    return {group: {point.name: point for point in found.select(group=group)} for group in (sources_group, sinks_group)}
