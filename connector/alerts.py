"""Tells a person, by a webhook of their chat, that something began or ceased to need them.

``decide`` is pure: what was told already and how things stand give the messages of this moment. ``Alerts`` is the
thread that asks it now and then and sends. An alert that can't be sent is decided anew later and disturbs nothing.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from connector import logs
from connector.core.errors import StoreUnavailable
from connector.core.outbound import why_not
from connector.store.model import RouteStatus, Status

_log = logs.get("alerts")

Kind = Literal[
    "route_failing", "route_ok", "dead_letter", "digest", "source_quiet", "source_back",
    "store_failing", "store_ok", "projector_failing", "projector_ok",
]  # fmt: skip
Format = Literal["slack", "json"]


@dataclass(frozen=True, slots=True)
class Message:
    """One thing to tell.

    Args:
        subject: the route's or source's name; "" for the program as a whole.
        text: plain words, with the command to type.
    """

    kind: Kind
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class View:
    """How things stand.

    Args:
        status: None when the store can't be read.
        dead_letters: open ones by (stage, name of source or route); None when their file can't be read.
        store_failing: the store can't commit or be read.
        projector_failing: events are kept, but can't be read on.
        sources: the configured sources.
    """

    status: Status | None
    dead_letters: Mapping[tuple[str, str], int] | None = field(default_factory=dict)
    store_failing: bool = False
    projector_failing: bool = False
    sources: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """``[alerts]`` of the configuration, but for where to send.

    Args:
        waiting: how long a route may wait for its far side before anybody is told; quotas and hiccups heal sooner.
        quiet: tell when a source has sent nothing for that long; None: never.
        digest: how often further dead letters are told.
    """

    waiting: timedelta = timedelta(minutes=5)
    quiet: timedelta | None = None
    digest: timedelta = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Told:
    """What has been told already; kept across restarts.

    Args:
        failing: routes that were told to fail, with the state's word.
        letters: by "stage place": how many open dead letters were known when they were last told.
        digest_at: when dead letters were last told.
        quiet: sources that were told to be quiet.
        store: the store was told to fail.
        stuck_at: how many events had been read on when that was told to fail; None: it was not.
        since: when alerts were first looked at: a source that never sent anything is quiet from then.
    """

    failing: Mapping[str, str] = field(default_factory=dict)
    letters: Mapping[str, int] = field(default_factory=dict)
    digest_at: datetime | None = None
    quiet: tuple[str, ...] = ()
    store: bool = False
    stuck_at: int | None = None
    since: datetime | None = None


# ---------------------------------------------------------------- deciding


def decide(told: Told, seen: View, rules: Rules, now: datetime) -> tuple[list[Message], Told]:
    """What to tell now, and what will have been told once that is sent. Pure."""
    messages: list[Message] = []
    # A moment that lies ahead was noted by a clock that was wrong.
    since = min(told.since or now, now)
    told = replace(told, digest_at=told.digest_at and min(told.digest_at, now))
    if seen.store_failing != told.store:
        messages.append(_store_message(seen.store_failing))
    told = replace(told, store=seen.store_failing, since=since)
    if seen.status is None:
        return messages, told
    stuck_at = told.stuck_at if seen.store_failing else _projector(told, seen, seen.status, messages)
    failing = _routes(told, seen.status, rules, now, messages)
    letters, digest_at = told.letters, told.digest_at
    if seen.dead_letters is not None:
        letters, digest_at = _letters(told, seen.dead_letters, rules, now, messages)
    quiet = _quiet(told, seen, seen.status, rules, now, since, messages)
    return messages, Told(failing, letters, digest_at, quiet, seen.store_failing, stuck_at, since)


def _store_message(failing: bool) -> Message:
    if failing:
        text = (
            "The store can't write. New webhooks are answered 503, so senders that retry will send them again; others "
            "won't. Is the disk full or read-only? Look: connector status"
        )
        return Message("store_failing", "", text)
    return Message("store_ok", "", "The store writes again; new webhooks are kept.")


def _projector(told: Told, seen: View, status: Status, messages: list[Message]) -> int | None:
    read = status.last_seq - status.waiting
    if seen.projector_failing:
        if told.stuck_at is not None:
            return told.stuck_at
        wait = "1 event waits" if status.waiting == 1 else f"{status.waiting} events wait"
        text = (
            f"Webhooks are kept, but can't be read on: {wait}, and the tables don't follow. Nothing is lost; it "
            "tries again by itself. Why: projection.waits or projection.bug in the log. Look: connector status"
        )
        messages.append(Message("projector_failing", "", text))
        return read
    if told.stuck_at is None:
        return None
    if status.waiting and read == told.stuck_at:
        return told.stuck_at  # just started: it has not tried yet
    messages.append(Message("projector_ok", "", "Webhooks are read on again; the tables follow."))
    return None


def _routes(told: Told, status: Status, rules: Rules, now: datetime, messages: list[Message]) -> dict[str, str]:
    failing: dict[str, str] = {}
    for route in status.routes:
        kind, before = route.state.kind, told.failing.get(route.route)
        if kind == "ok":
            if before is not None:
                text = f"Route {route.route} delivers again; {_owed(route)}."
                messages.append(Message("route_ok", route.route, text))
            continue
        patient = kind == "waiting" and before is None and abs(now - (route.state.since or now)) < rules.waiting
        if patient:
            continue
        if kind == "waiting" and before is not None:
            failing[route.route] = before  # from bad to waiting is no news
            continue
        failing[route.route] = kind
        if before != kind:
            messages.append(Message("route_failing", route.route, _why(route)))
    return failing


def _why(route: RouteStatus) -> str:
    reason = route.state.reason.strip().rstrip(".")
    pending = _owed(route)
    if route.state.kind == "needs_action":
        return (
            f"Route {route.route} waits for you: {reason}. Nothing is lost; {pending}. It tries again by itself. "
            "To check: connector check --live"
        )
    if route.state.kind == "bug":
        return (
            f"Route {route.route} met a bug: {reason}. Nothing is lost; {pending}. "
            "Please report it with the log's lines about it. Look: connector status"
        )
    return f"Route {route.route} can't reach its far side: {reason}. Nothing is lost; {pending}. Look: connector status"


def _owed(route: RouteStatus) -> str:
    if not route.pending:
        return "nothing is pending"
    return "1 record is pending" if route.pending == 1 else f"{route.pending} records are pending"


def _letters(
    told: Told, seen: Mapping[tuple[str, str], int], rules: Rules, now: datetime, messages: list[Message]
) -> tuple[Mapping[str, int], datetime | None]:
    """First of a kind at once, more of it at most once in ``rules.digest``."""
    now_open = {f"{stage} {place}": count for (stage, place), count in sorted(seen.items()) if count}
    known = {kind: min(told.letters.get(kind, 0), count) for kind, count in now_open.items()}
    digest_at = told.digest_at
    for kind, count in now_open.items():
        if kind not in told.letters:
            stage, _, place = kind.partition(" ")
            what = f"{_counted(count)} from {place} can't be read" if stage == "normalize" else (
                f"{_counted(count)} can't be written by {place}"
            )  # fmt: skip
            text = f"{what}. Why, and what to do: connector dead-letters list"
            messages.append(Message("dead_letter", place, text))
            known[kind] = count
            digest_at = now
    grown = {kind: count - known[kind] for kind, count in now_open.items() if count > known[kind]}
    if grown and (digest_at is None or now - digest_at >= rules.digest):
        listed = ", ".join(f"{kind.partition(' ')[2]} {count}" for kind, count in grown.items())
        text = f"More dead letters since the last message: {listed}. Look: connector dead-letters list"
        messages.append(Message("digest", "", text))
        known.update(now_open)
        digest_at = now
    return known, digest_at


def _counted(count: int) -> str:
    return "1 thing" if count == 1 else f"{count} things"


def _quiet(
    told: Told, seen: View, status: Status, rules: Rules, now: datetime, since: datetime, messages: list[Message]
) -> tuple[str, ...]:
    if rules.quiet is None:
        return ()
    last = {source.source: source.last_received_at for source in status.sources}
    quiet: list[str] = []
    for source in seen.sources:
        silent = now - (last.get(source) or since)
        if silent >= rules.quiet:
            quiet.append(source)
            if source not in told.quiet:
                text = (
                    f"{source} has sent nothing for {silent.days} days. Is its webhook still switched on at the "
                    "platform? The URLs: connector urls. To try it: connector sample"
                )
                messages.append(Message("source_quiet", source, text))
        elif source in told.quiet:
            messages.append(Message("source_back", source, f"{source} sends events again."))
    return tuple(quiet)


# ---------------------------------------------------------------- what was told, as text


def dump_told(told: Told) -> str:
    """As JSON; ``load_told`` gives it back."""
    return json.dumps(
        {
            "failing": dict(told.failing),
            "letters": dict(told.letters),
            "digest_at": told.digest_at and told.digest_at.isoformat(),
            "quiet": list(told.quiet),
            "store": told.store,
            "stuck_at": told.stuck_at,
            "since": told.since and told.since.isoformat(),
        }
    )


def load_told(text: str | None) -> Told:
    """What ``dump_told`` wrote; nothing told for None or for what can't be read."""
    try:
        found: dict[str, Any] = json.loads(text or "{}")
        digest_at, since, stuck_at = found.get("digest_at"), found.get("since"), found.get("stuck_at")
        return Told(
            {str(route): str(kind) for route, kind in found.get("failing", {}).items()},
            {str(kind): int(count) for kind, count in found.get("letters", {}).items()},
            datetime.fromisoformat(digest_at) if digest_at else None,
            tuple(str(source) for source in found.get("quiet", ())),
            bool(found.get("store", False)),
            None if stuck_at is None else int(stuck_at),
            datetime.fromisoformat(since) if since else None,
        )
    except (ValueError, TypeError, AttributeError):
        return Told()


# ---------------------------------------------------------------- sending


def body(messages: Sequence[Message], form: Format, at: datetime) -> dict[str, Any]:
    """What is sent: ``{"text": …}`` for Slack, Mattermost, Google Chat and alike; ``json`` adds the parts."""
    if form == "slack":
        text = "\n".join(f"• {message.text}" for message in messages) if len(messages) > 1 else messages[0].text
        return {"text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}
    return {
        "text": "\n".join(message.text for message in messages),
        "at": at.isoformat(timespec="seconds"),
        "alerts": [{"kind": m.kind, "subject": m.subject, "text": m.text} for m in messages],
    }


_address = re.compile(r"[^\s\"'<>(),;:]+@[^\s\"'<>(),;:]+\.\w+")


def without_people(text: str, secrets: Sequence[str] = ()) -> str:
    """*text* with e-mail addresses and *secrets* blotted out. Service accounts are no people: their address is what a
    sheet must be shared with."""
    for secret in secrets:
        if len(secret) >= 6:
            text = text.replace(secret, "[hidden]")
    return _address.sub(lambda m: m[0] if m[0].endswith(".gserviceaccount.com") else "[address]", text)


class Poster(Protocol):
    """Sends one alert; raises for whatever went wrong."""

    def __call__(self, body: Mapping[str, Any]) -> None: ...


class NotSent(Exception):
    """The receiver of alerts did not take one; the text names no URL."""


class WebhookPoster:
    """Posts JSON to *url*: no redirects, time-outs, and nothing of the answer but its status is looked at.

    Args:
        url: https, or http on a loopback address; see core/outbound.py.
        seconds: until a connection or an answer must have come.
    """

    def __init__(self, url: str, *, seconds: float = 10.0) -> None:
        problem = why_not(url)
        if problem is not None:
            raise ValueError(f"the URL {problem}")
        self._url, self._seconds = url, seconds

    def __call__(self, body: Mapping[str, Any]) -> None:
        import httpx  # 0.1 s and some MiB that a program without alerts does not spend

        try:
            with (
                httpx.Client(timeout=self._seconds, follow_redirects=False) as client,
                client.stream("POST", self._url, json=body) as answer,
            ):
                status = answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NotSent(type(error).__name__) from None  # its message has the URL in it
        if not 200 <= status < 300:
            raise NotSent(f"answered {status}")


class Memory(Protocol):
    """Where is kept what was told: the store."""

    def recall(self, sink: str, key: str) -> str | None: ...

    def remember(self, sink: str, key: str, value: str | None) -> None: ...


class Alerts:
    """The thread: looks, decides, sends. One POST for all that is to be told at a moment, so it is sent or not.

    Args:
        look: how things stand; may raise StoreUnavailable.
        secrets: blotted out of every text.
        stop: ends ``run``.
        now: aware UTC.
        every: seconds between looks; after a failure longer and longer, up to ten minutes.
    """

    def __init__(
        self,
        post: Poster,
        look: Callable[[], View],
        memory: Memory,
        rules: Rules,
        *,
        form: Format = "slack",
        secrets: Sequence[str] = (),
        stop: threading.Event,
        now: Callable[[], datetime],
        every: float = 5.0,
    ) -> None:
        self._post, self._look, self._memory, self._rules, self._form = post, look, memory, rules, form
        self._secrets, self._stop, self._now, self._every = tuple(secrets), stop, now, every
        self._told: Told | None = None
        self._kept = ""

    def run(self) -> None:
        """The thread's life, until *stop* is set."""
        failures = 0
        while not self._stop.is_set():
            try:
                self.step()
                failures = 0
            except NotSent as error:
                failures = min(failures + 1, 10)
                logs.warn(_log, "alert.not_sent", reason=str(error), failures=failures)
            except Exception as error:
                # Its message may quote anything; delivery must not even notice.
                failures = min(failures + 1, 10)
                logs.warn(_log, "alert.bug", exception=type(error).__name__, failures=failures)
            self._stop.wait(min(self._every * 2**failures, 600.0))

    def step(self) -> int:
        """Look once and tell what is to be told.

        Returns:
            How many messages were sent, in one POST.

        Raises:
            NotSent: nothing counts as told; the next step decides anew.
        """
        if self._told is None:
            try:
                self._kept = self._memory.recall("connector.alerts", "told") or ""
            except StoreUnavailable:
                return 0  # what was told before is in there: better late than twice
            self._told = load_told(self._kept)
        try:
            seen = self._look()
        except StoreUnavailable:
            seen = View(None, store_failing=True)
        now = self._now()
        messages, told = decide(self._told, seen, self._rules, now)
        if messages:
            said = [Message(m.kind, m.subject, without_people(m.text, self._secrets)) for m in messages]
            self._post(body(said, self._form, now))
            logs.say(_log, "alert.sent", kinds=",".join(m.kind for m in said), count=len(said))
        self._told = told
        self._keep(dump_told(told))
        return len(messages)

    def _keep(self, text: str) -> None:
        if text == self._kept:
            return
        try:
            self._memory.remember("connector.alerts", "told", text)
            self._kept = text
        except StoreUnavailable:
            return  # it is in memory; kept once the store is well
