"""Posts to a chat's webhook when something begins or ceases to need a person.

``decide`` is pure: what was reported already and the present state give the messages of this moment. ``Alerts`` is the
thread that asks it now and then and sends. An alert that can't be sent is decided anew later and disturbs nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Literal, Protocol

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from connector import logs
from connector.core.errors import StoreUnavailable
from connector.core.outbound import why_not
from connector.core.quoting import redacted
from connector.store.model import RouteStatus, Status

_log = logs.get("alerts")
_LONGEST_WAIT_SECONDS: Final = 600.0
_MOST_COUNTED_FAILURES: Final = 10
_MOST_REASONS: Final = 5
_NOTES_OWNER, _REPORTED_NOTE = "connector.alerts", "reported"

Kind = Literal[
    "route_failing", "route_ok", "dead_letter", "digest", "source_quiet", "source_back",
    "store_failing", "store_ok", "projector_failing", "projector_ok", "mapping_mistake", "mapping_ok", "waits_for_you",
    "test",
]  # fmt: skip
Format = Literal["slack", "teams", "json"]


class Message(Struct, frozen=True):
    """One thing to report.

    Args:
        subject: the route's or source's name; "" for the program as a whole.
        text: plain words, with the command to type.
    """

    kind: Kind
    subject: str
    text: str


class View(Struct, frozen=True):
    """The present state.

    Args:
        status: None when the store can't be read.
        dead_letters: open ones by (stage, name of source or route); None when their file can't be read.
        store_failing: the store can't commit or be read.
        projector_failing: events are kept, but can't be projected.
        sources: the configured sources.
        mistakes: by route, where its mapping file has its first mistake.
        held: by route, what waits for `connector apply`.
    """

    status: Status | None
    dead_letters: Mapping[tuple[str, str], int] | None = field(default_factory=dict)
    store_failing: bool = False
    projector_failing: bool = False
    sources: Sequence[str] = ()
    mistakes: Mapping[str, str] = field(default_factory=dict)
    held: Mapping[str, str] = field(default_factory=dict)


class Rules(Struct, frozen=True):
    """``[alerts]`` of the configuration, without where to send.

    Args:
        waiting: how long a route may wait for its destination before it is reported; quotas and hiccups heal sooner.
        quiet: report a source that has sent nothing for that long; None: never.
        digest: how often further dead letters are reported.
    """

    waiting: timedelta = timedelta(minutes=5)
    quiet: timedelta | None = None
    digest: timedelta = timedelta(hours=1)


class Reported(Struct, frozen=True):
    """What has been reported already; kept across restarts.

    Args:
        failing: routes that were reported to fail, with what was told since they last delivered: "waiting", or the
            reasons of what needs a person, at most five.
        letters: by "stage place": how many open dead letters were known when they were last reported.
        digest_at: when dead letters were last reported.
        quiet: sources that were reported to be quiet.
        store: the store was reported to fail.
        stuck_at: how many events were projected when the projector was reported to fail; None: it was not.
        since: when alerts were first decided: a source that never sent anything is quiet from then.
        mistakes, held: as in View, when they were reported.
    """

    failing: dict[str, tuple[str, ...]] = field(default_factory=dict)
    letters: dict[str, int] = field(default_factory=dict)
    digest_at: datetime | None = None
    quiet: tuple[str, ...] = ()
    store: bool = False
    stuck_at: int | None = None
    since: datetime | None = None
    mistakes: dict[str, str] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)


def dump_reported(reported: Reported) -> str:
    """As JSON; ``load_reported`` gives it back."""
    return msgspec.json.encode(reported).decode()


def load_reported(text: str | None) -> Reported:
    """What ``dump_reported`` wrote; nothing reported for None or for what can't be read."""
    try:
        return msgspec.json.decode(text or "{}", type=Reported)
    except msgspec.MsgspecError:
        return Reported()


# ---------------------------------------------------------------- deciding


def decide(reported: Reported, seen: View, rules: Rules, now: datetime) -> tuple[list[Message], Reported]:
    """What to report now, and what will have been reported once that is sent. Pure."""
    messages: list[Message] = []
    # A moment that is ahead was noted by a clock that was wrong.
    since = min(reported.since or now, now)
    digest_at = reported.digest_at and min(reported.digest_at, now)
    reported = replace(reported, digest_at=digest_at, since=since)
    if seen.store_failing != reported.store:
        messages.append(_store_message(seen.store_failing))
        reported = replace(reported, store=seen.store_failing)
    if seen.status is None:
        return messages, reported
    if not seen.store_failing:
        reported = _projector(reported, seen, seen.status, messages)
    reported = replace(reported, failing=_routes(reported.failing, seen.status, rules, now, messages))
    if seen.dead_letters is not None:
        reported = _letters(reported, seen.dead_letters, rules, now, messages)
    reported = _mappings(reported, seen, messages)
    return messages, replace(reported, quiet=_quiet(reported, seen, seen.status, rules, now, since, messages))


def _mappings(reported: Reported, seen: View, messages: list[Message]) -> Reported:
    """Mistakes in mapping files, each once and once when it is corrected; and what waits for a person, once."""
    stopped = {each.route for each in seen.status.routes if each.state.kind == "needs_action"} if seen.status else set()
    for route, place in seen.mistakes.items():
        if reported.mistakes.get(route) != place:
            is_new = "It waits, since no good version of it is known"
            continues = is_new if route in stopped else "Nothing stops; the last good version continues"
            text = f"The mapping of {route} has a mistake at {place}. {continues}. To see the line: connector check"
            messages.append(Message("mapping_mistake", route, text))
    messages += [
        Message("mapping_ok", route, f"The mapping of {route} has no mistake any more.")
        for route in reported.mistakes
        if route not in seen.mistakes
    ]
    for route, what in seen.held.items():
        if reported.held.get(route) != what:
            text = f"{route} waits for you: {what}. To see it: connector plan {route}"
            messages.append(Message("waits_for_you", route, text))
    return replace(reported, mistakes=dict(seen.mistakes), held=dict(seen.held))


def _store_message(failing: bool) -> Message:
    if failing:
        text = (
            "The store can't write. New webhooks are answered 503, so senders that retry will send them again; others "
            "won't. Is the disk full or read-only? Look: connector status"
        )
        return Message("store_failing", "", text)
    return Message("store_ok", "", "The store writes again; new webhooks are kept.")


def _projector(reported: Reported, seen: View, status: Status, messages: list[Message]) -> Reported:
    projected = status.last_seq - status.waiting
    if seen.projector_failing and reported.stuck_at is None:
        wait = "1 event waits" if status.waiting == 1 else f"{status.waiting} events wait"
        text = (
            f"Webhooks are kept, but can't be read on: {wait}, and the tables don't follow. Nothing is lost; it "
            "tries again by itself. Why: projection.waits or projection.bug in the log. Look: connector status"
        )
        messages.append(Message("projector_failing", "", text))
        return replace(reported, stuck_at=projected)
    if seen.projector_failing or reported.stuck_at is None:
        return reported
    if status.waiting and projected == reported.stuck_at:
        return reported  # just started: it has not tried yet
    messages.append(Message("projector_ok", "", "Webhooks are read on again; the tables follow."))
    return replace(reported, stuck_at=None)


def _routes(
    known: Mapping[str, tuple[str, ...]], status: Status, rules: Rules, now: datetime, messages: list[Message]
) -> dict[str, tuple[str, ...]]:
    failing: dict[str, tuple[str, ...]] = {}
    for route in status.routes:
        kind, told = route.state.kind, known.get(route.route, ())
        if kind == "ok":
            if told:
                messages.append(
                    Message("route_ok", route.route, f"Route {route.route} delivers again; {_left(route)}.")
                )
            continue
        if kind == "waiting":  # hiccups differ from try to try, and from bad to waiting is no news
            new = not told and abs(now - (route.state.since or now)) >= rules.waiting
        else:  # who has cured one cause learns of the next; causes that alternate end
            new = route.state.reason not in told and len(told) < _MOST_REASONS
        if new:
            messages.append(Message("route_failing", route.route, _why(route)))
            told += ("waiting" if kind == "waiting" else route.state.reason,)
        if told:
            failing[route.route] = told
    return failing


def _why(route: RouteStatus) -> str:
    reason = route.state.reason.strip().rstrip(".")
    if route.state.kind == "needs_action":
        return (
            f"Route {route.route} waits for you: {reason}. Nothing is lost; {_left(route)}. It tries again by itself. "
            "To check: connector check --live"
        )
    if route.state.kind == "bug":
        return (
            f"Route {route.route} met a bug: {reason}. Nothing is lost; {_left(route)}. "
            "Please report it with the log's lines about it. Look: connector status"
        )
    return (
        f"Route {route.route} can't reach its destination: {reason}. Nothing is lost; {_left(route)}. "
        "Look: connector status"
    )


def _left(route: RouteStatus) -> str:
    if not route.pending:
        return "nothing is pending"
    return "1 record is pending" if route.pending == 1 else f"{route.pending} records are pending"


def _letters(
    reported: Reported, seen: Mapping[tuple[str, str], int], rules: Rules, now: datetime, messages: list[Message]
) -> Reported:
    """First of a kind at once, more of it at most once in ``rules.digest``."""
    now_open = {f"{stage} {place}": count for (stage, place), count in sorted(seen.items()) if count}
    known = {kind: min(reported.letters.get(kind, 0), count) for kind, count in now_open.items()}
    digest_at = reported.digest_at
    for kind, count in now_open.items():
        if kind not in reported.letters:
            stage, _, place = kind.partition(" ")
            things = "1 thing" if count == 1 else f"{count} things"
            what = f"{things} from {place} can't be read" if stage == "normalize" else (
                f"{things} can't be written by {place}"
            )  # fmt: skip
            messages.append(Message("dead_letter", place, f"{what}. Why, and what to do: connector dead-letters list"))
            known[kind] = count
            digest_at = now
    grown = {kind: count - known[kind] for kind, count in now_open.items() if count > known[kind]}
    if grown and (digest_at is None or now - digest_at >= rules.digest):
        listed = ", ".join(f"{kind.partition(' ')[2]} {count}" for kind, count in grown.items())
        text = f"More dead letters since the last message: {listed}. Look: connector dead-letters list"
        messages.append(Message("digest", "", text))
        known, digest_at = now_open, now
    return replace(reported, letters=known, digest_at=digest_at)


def _quiet(
    reported: Reported,
    seen: View,
    status: Status,
    rules: Rules,
    now: datetime,
    since: datetime,
    messages: list[Message],
) -> tuple[str, ...]:
    if rules.quiet is None:
        return ()
    last = {source.source: source.last_received_at for source in status.sources}
    quiet: list[str] = []
    for source in seen.sources:
        silent = now - (last.get(source) or since)
        if silent >= rules.quiet:
            quiet.append(source)
            if source not in reported.quiet:
                text = (
                    f"{source} has sent nothing for {silent.days} days. Is its webhook still switched on at the "
                    "platform? The URLs: connector urls. To try it: connector sample"
                )
                messages.append(Message("source_quiet", source, text))
        elif source in reported.quiet:
            messages.append(Message("source_back", source, f"{source} sends events again."))
    return tuple(quiet)


# ---------------------------------------------------------------- sending


def body(messages: Sequence[Message], form: Format, at: datetime) -> dict[str, Any]:
    """What is sent: ``{"text": …}`` for Slack, Mattermost, Google Chat and alike; a card for Microsoft Teams
    (learn.microsoft.com, "Create incoming webhooks with Workflows"); ``json`` has the parts as well.
    """
    if form == "slack":
        text = "\n".join(f"• {message.text}" for message in messages) if len(messages) > 1 else messages[0].text
        return {"text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}
    if form == "teams":
        blocks = [{"type": "TextBlock", "text": message.text, "wrap": True} for message in messages]
        card = {"type": "AdaptiveCard", "version": "1.4", "body": blocks}
        attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
        return {"type": "message", "attachments": [attachment]}
    return {
        "text": "\n".join(message.text for message in messages),
        "at": at.isoformat(timespec="seconds"),
        "alerts": [{"kind": m.kind, "subject": m.subject, "text": m.text} for m in messages],
    }


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
        import httpx  # here: a program without alerts need not load it, and a thread must not have to

        self._url = url
        self._client = partial(httpx.Client, timeout=seconds, follow_redirects=False)
        self._errors = httpx.HTTPError, httpx.InvalidURL

    def __call__(self, body: Mapping[str, Any]) -> None:
        try:
            with self._client() as client, client.stream("POST", self._url, json=body) as answer:
                status = answer.status_code
        except self._errors as error:
            raise NotSent(type(error).__name__) from None  # its message has the URL in it
        if not 200 <= status < 300:
            raise NotSent(f"answered {status}")


class Memory(Protocol):
    """Where what was reported is kept: the store."""

    def recall(self, sink: str, key: str) -> str | None: ...

    def remember(self, sink: str, key: str, value: str | None) -> None: ...


class Alerts:
    """The thread: looks, decides, sends. One POST for all messages of a moment, so they are sent or not.

    Args:
        look: the present state; may raise StoreUnavailable.
        secrets: hidden in every text.
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
        self._reported: Reported | None = None
        self._kept = ""

    def run(self) -> None:
        """The thread's life, until *stop* is set."""
        failures = 0
        while not self._stop.is_set():
            try:
                self.step()
                failures = 0
            except Exception as error:  # delivery must not even notice
                failures = min(failures + 1, _MOST_COUNTED_FAILURES)
                if isinstance(error, NotSent):
                    logs.warn(_log, "alert.not_sent", reason=str(error), failures=failures)
                else:  # its message may quote anything
                    logs.warn(_log, "alert.bug", exception=type(error).__name__, failures=failures)
            self._stop.wait(min(self._every * 2**failures, _LONGEST_WAIT_SECONDS))

    def step(self) -> int:
        """Look once and send what is to be reported.

        Returns:
            How many messages were sent, in one POST.

        Raises:
            NotSent: nothing counts as reported; the next step decides anew.
        """
        if self._reported is None:
            try:
                self._kept = self._memory.recall(_NOTES_OWNER, _REPORTED_NOTE) or ""
            except StoreUnavailable:
                return 0  # what was reported before is in there: better late than twice
            self._reported = load_reported(self._kept)
        try:
            seen = self._look()
        except StoreUnavailable:
            seen = View(None, store_failing=True)
        now = self._now()
        messages, reported = decide(self._reported, seen, self._rules, now)
        if messages:
            clean = [Message(m.kind, m.subject, redacted(m.text, self._secrets)) for m in messages]
            self._post(body(clean, self._form, now))
            logs.say(_log, "alert.sent", kinds=",".join(m.kind for m in clean), count=len(clean))
        self._reported = reported
        self._keep(dump_reported(reported))
        return len(messages)

    def _keep(self, text: str) -> None:
        if text != self._kept:
            with suppress(StoreUnavailable):  # it is in memory; kept when the store works again
                self._memory.remember(_NOTES_OWNER, _REPORTED_NOTE, text)
                self._kept = text
