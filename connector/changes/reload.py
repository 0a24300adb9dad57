"""Reading config.toml again while the program runs: asked for by a note in the store, or by SIGHUP."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from connector import logs
from connector.core.errors import ConfigError, StoreUnavailable
from connector.settings import Config
from connector.store import Store

_OWNER, _ASKED, _ANSWERED = "connector", "reload", "reload answered"
_LOOK_SECONDS = 0.5

_log = logs.get("changes")


class Answer(Struct, frozen=True):
    """What came of a reload.

    Args:
        id: that of the request; "" for SIGHUP.
        problems: what is wrong with config.toml, which was not taken; () when it was.
        at_restart: settings that were changed and are taken at the next start only.
    """

    id: str
    problems: tuple[str, ...] = ()
    at_restart: tuple[str, ...] = ()


def ask(store: Store) -> str:
    """Ask the running servers to read config.toml again; the id of the request."""
    asked = uuid.uuid4().hex
    store.remember(_OWNER, _ASKED, asked)
    return asked


def answer_of(store: Store, asked: str) -> Answer | None:
    """What a server answered; None: nothing yet."""
    text = store.recall(_OWNER, _ANSWERED)
    found = msgspec.json.decode(text, type=Answer) if text else None
    return found if found is not None and found.id == asked else None


class Reloads:
    """One server's part.

    Args:
        read: reads config.toml again; raises ConfigError.
        take: called once, in the thread of ``run``, with the configuration to go on with; the caller ends this one.
    """

    def __init__(
        self, config: Config, store: Store, read: Callable[[], Config], take: Callable[[Config], None]
    ) -> None:
        self._config, self._store, self._read, self._take = config, store, read, take
        self._seen = store.recall(_OWNER, _ASKED)

    def run(self, stop: threading.Event, signalled: threading.Event) -> None:
        """A thread's life; *signalled* is set by SIGHUP."""
        while not stop.wait(_LOOK_SECONDS):
            asked = self._seen
            with suppress(StoreUnavailable):  # the next look does it
                asked = self._store.recall(_OWNER, _ASKED)
            if asked == self._seen and not signalled.is_set():
                continue
            signalled.clear()
            new_id, self._seen = (asked or "") if asked != self._seen else "", asked
            if self._reload(new_id):
                return

    def _reload(self, asked: str) -> bool:
        try:
            found = self._read()
        except ConfigError as error:
            for problem in error.problems:
                logs.warn(_log, "reload.refused", place=problem.place, text=problem.text)
            self._answer(Answer(asked, tuple(str(problem) for problem in error.problems)))
            return False
        kept, found = _with_what_stays(self._config, found)
        logs.say(_log, "reload.taken", at_restart=",".join(kept) or None)
        self._answer(Answer(asked, (), kept))
        self._take(found)
        return True

    def _answer(self, answer: Answer) -> None:
        with suppress(StoreUnavailable):
            self._store.remember(_OWNER, _ANSWERED, msgspec.json.encode(answer).decode())


def _with_what_stays(old: Config, new: Config) -> tuple[tuple[str, ...], Config]:
    """*new* with the settings that a running process keeps, and the names of those among them that were changed."""
    kept: list[str] = []

    def keep(table: str, before: object, after: object, *names: str) -> Iterator[tuple[str, object]]:
        for name in names:
            if getattr(before, name) != getattr(after, name):
                kept.append(f"[{table}] {name}")
            yield name, getattr(before, name)

    server = new.server.model_copy(update=dict(keep("server", old.server, new.server, "host", "port", "roles")))
    store = new.store.model_copy(update=dict(keep("store", old.store, new.store, "url")))
    letters = new.dead_letters.model_copy(update=dict(keep("dead_letters", old.dead_letters, new.dead_letters, "path")))
    return tuple(kept), replace(new, server=server, store=store, dead_letters=letters)
