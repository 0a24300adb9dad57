"""What a view is asked and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct, field

from connector.core.source import Source
from connector.dead_letters import DeadLetters
from connector.page.door import Door, Visitor
from connector.page.live import Live
from connector.settings import Config, Role, RouteConfig
from connector.store import Store
from connector.store.model import Status


class Inside(Struct, frozen=True):
    """What views look at and change.

    Args:
        now: aware UTC.
        server: how the server is, as ``overview`` takes it.
        status: the store's, as it was a moment ago.
        compiled: mappings that were compiled, by route and text; see ``mapped.running``.
        look_seconds: how long a destination is waited for that is asked where a row is.
    """

    settings: Config
    store: Store
    letters: DeadLetters
    sources: Mapping[str, Source]
    live: Live
    now: Callable[[], datetime]
    server: Callable[[], str]
    status: Callable[[], Status | None]
    compiled: dict[tuple[str, str], RouteConfig | None] = field(default_factory=dict)
    look_seconds: float = 10.0


class Ask(Struct, frozen=True):
    """A request that may be answered.

    Args:
        path: what the path's open parts are.
        address: whose request it is.
        part: only what changes is wanted: the page's script asks.
    """

    inside: Inside
    door: Door
    visitor: Visitor
    path: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str]
    address: str
    part: bool = False


class Answer(Struct, frozen=True):
    """A template with its values, or another page to go to.

    Args:
        to: where the browser is sent; then the template does not count.
        done: of a change: what it was, for the log. No people's data.
        cookies: by name: value, and how many seconds it is kept.
    """

    template: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
    to: str = ""
    done: str = ""
    about: str | None = None
    cookies: Mapping[str, tuple[str, int]] = field(default_factory=dict)


def message(status: int, title: str, text: str, *, to: str = "/", link: str = "Go to Today") -> Answer:
    """A page that says one thing, and leads on."""
    return Answer("message.html", {"title": title, "text": text, "to": to, "link": link}, status)


class NotThere(Exception):
    """There is no such page or affiliate. The message says so in a sentence."""


View = Callable[[Ask], Answer]


class Way(Struct, frozen=True):
    """One path of the page, and who may go it. ``anyone``: also who is not signed in."""

    method: Literal["GET", "POST"]
    path: str
    view: View
    role: Role | Literal["anyone"] = "read"
