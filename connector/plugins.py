"""Entry points -> Source and Sink classes. Knows neither sources nor sinks by name; imports only what is asked for."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from connector.core.sink import Sink
from connector.core.source import Source
from connector.core.words import unknown_word


class UnusablePlugin(Exception):
    """No installed package offers a plug-in of that type, or its module can't be imported; the message says which."""


def source_types() -> tuple[str, ...]:
    """The types of sources that installed packages offer, sorted."""
    return tuple(sorted(_installed()["source"]))


def sink_types() -> tuple[str, ...]:
    """The types of sinks that installed packages offer, sorted."""
    return tuple(sorted(_installed()["sink"]))


def source_class(type_name: str) -> type[Source]:
    """The class of that type of source; imports its module.

    Raises:
        UnusablePlugin: nobody offers it (the message names the nearest), or its module can't be imported.
    """
    return cast("type[Source]", _load("source", type_name))


def sink_class(type_name: str) -> type[Sink]:
    """The class of that type of sink; see ``source_class``."""
    return cast("type[Sink]", _load("sink", type_name))


def _load(kind: str, type_name: str) -> Any:
    offered = _installed()[kind]
    if not offered:
        raise UnusablePlugin(f"no installed package offers any {kind}; is the connector itself installed?")
    if type_name not in offered:
        raise UnusablePlugin(f'"{type_name}" is not a type of {kind}{unknown_word(type_name, sorted(offered))}')
    point = offered[type_name]
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise UnusablePlugin(f'the {kind} type "{type_name}" ({point.value}) can\'t be loaded: {error}') from error


@cache
def _installed() -> dict[str, dict[str, EntryPoint]]:
    """Every installed package's plug-ins by kind and type; another package can't take the place of one of ours."""
    every = entry_points()  # once: it reads a file of each installed package
    return {
        kind: {point.name: point for point in sorted(every.select(group=f"connector.{kind}s"), key=_is_ours)}
        for kind in ("source", "sink")
    }


def _is_ours(point: EntryPoint) -> bool:
    return point.value.startswith("connector.")  # the package's own modules
