"""An alert tells a change of state once, in words to act on, and disturbs nothing when it can't be sent."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from connector.alerts import (
    Alerts,
    Message,
    NotSent,
    Reported,
    Rules,
    View,
    WebhookPoster,
    body,
    decide,
    dump_reported,
    load_reported,
)
from connector.core.errors import StoreUnavailable
from connector.core.outbound import why_not
from connector.store.model import RouteKind, RouteState, RouteStatus, SourceStatus, Status
from tests.doubles import START
from tests.far_sides.chat import Chat
from tests.far_sides.loopback import Fault, Reply
from tests.running import PATIENCE_SECONDS, until

rules = Rules(waiting=timedelta(minutes=5), quiet=timedelta(days=3))


def route(kind: RouteKind = "ok", reason: str = "", *, since: datetime = START, pending: int = 0) -> RouteStatus:
    return RouteStatus("sheets/all", pending, 0, None, 0, RouteState(kind, reason, since=since))


def view(*routes: RouteStatus, letters: Mapping[tuple[str, str], int] | None = None, came: datetime = START) -> View:
    sources = (SourceStatus("everflow", 1, 0, 0, 0, 0, came, came),)
    return View(Status(0, 0, 0, sources, routes), letters or {}, sources=["everflow"])


def after(**time: float) -> datetime:
    return START + timedelta(**time)


def kinds(messages: Sequence[Message]) -> list[str]:
    return [message.kind for message in messages]


# ---------------------------------------------------------------- deciding


def test_a_route_that_needs_a_person_is_told_once_and_once_when_it_is_well() -> None:
    failing = view(route("needs_action", "share the sheet with bot@x.iam.gserviceaccount.com as editor", pending=3))
    messages, reported = decide(Reported(), failing, rules, START)
    assert kinds(messages) == ["route_failing"]
    assert "share the sheet with" in messages[0].text
    assert "3 records are pending" in messages[0].text
    assert "connector check --live" in messages[0].text
    again, reported = decide(reported, failing, rules, after(hours=9))
    assert again == []
    messages, reported = decide(reported, view(route()), rules, after(hours=10))
    assert kinds(messages) == ["route_ok"]
    assert decide(reported, view(route()), rules, after(hours=11))[0] == []


def test_a_short_wait_is_not_told_and_a_long_one_is() -> None:
    waiting = view(route("waiting", "Google asks to wait"))
    messages, reported = decide(Reported(), waiting, rules, after(minutes=4))
    assert messages == []
    messages, reported = decide(reported, waiting, rules, after(minutes=5))
    assert kinds(messages) == ["route_failing"]
    assert decide(reported, waiting, rules, after(hours=5))[0] == []


def test_a_hiccup_that_heals_is_never_told() -> None:
    _, reported = decide(Reported(), view(route("waiting", "reset")), rules, after(minutes=1))
    assert decide(reported, view(route()), rules, after(minutes=2))[0] == []


def test_another_kind_of_failure_is_news_but_going_back_to_waiting_is_not() -> None:
    _, reported = decide(Reported(), view(route("bug", "a bug")), rules, START)
    waiting = view(route("waiting", "down", since=START))
    messages, reported = decide(reported, waiting, rules, after(hours=1))
    assert messages == []
    messages, reported = decide(reported, view(route("needs_action", "renew the token")), rules, after(hours=2))
    assert kinds(messages) == ["route_failing"]


def test_who_has_cured_one_cause_is_told_the_next_and_causes_that_alternate_end() -> None:
    def told(reported: Reported, reason: str, hours: int) -> tuple[list[Message], Reported]:
        return decide(reported, view(route("needs_action", reason)), rules, after(hours=hours))

    _, reported = told(Reported(), "renew the token", 0)
    messages, reported = told(reported, "share the sheet", 1)
    assert ["share the sheet" in message.text for message in messages] == [True]
    messages, reported = told(reported, "renew the token", 2)
    assert messages == []
    more = 0
    for number in range(100):
        messages, reported = told(reported, f"row {number} is odd", 3)
        more += len(messages)
    assert more == 3
    assert kinds(decide(reported, view(route()), rules, after(hours=4))[0]) == ["route_ok"]
    assert kinds(told(decide(reported, view(route()), rules, after(hours=4))[1], "renew the token", 5)[0]) == [
        "route_failing"
    ]


def test_the_first_dead_letter_of_a_kind_is_told_at_once_and_more_once_an_hour() -> None:
    def seen(deliver: int, normalize: int = 0) -> View:
        letters = {("deliver", "sheets/all"): deliver, ("normalize", "everflow"): normalize}
        return view(letters={key: count for key, count in letters.items() if count})

    messages, reported = decide(Reported(), seen(1), rules, START)
    assert kinds(messages) == ["dead_letter"]
    assert "connector dead-letters list" in messages[0].text
    messages, reported = decide(reported, seen(5), rules, after(minutes=30))
    assert messages == []
    messages, reported = decide(reported, seen(5, 2), rules, after(minutes=40))
    assert [(m.kind, m.subject) for m in messages] == [("dead_letter", "everflow")]
    messages, reported = decide(reported, seen(9, 2), rules, after(minutes=99))
    assert messages == []
    messages, reported = decide(reported, seen(9, 3), rules, after(minutes=100))
    assert kinds(messages) == ["digest"]
    assert "everflow 1" in messages[0].text
    assert "sheets/all 8" in messages[0].text
    assert decide(reported, seen(9, 3), rules, after(days=2))[0] == []


def test_letters_that_were_dealt_with_make_the_next_one_news_again() -> None:
    one = view(letters={("deliver", "sheets/all"): 1})
    _, reported = decide(Reported(), one, rules, START)
    messages, reported = decide(reported, view(), rules, after(minutes=10))
    assert messages == []
    assert kinds(decide(reported, one, rules, after(minutes=20))[0]) == ["dead_letter"]


def test_a_source_that_has_become_quiet_is_told_once_and_again_when_it_is_back() -> None:
    messages, reported = decide(Reported(), view(came=START), rules, after(days=2, hours=23))
    assert messages == []
    messages, reported = decide(reported, view(came=START), rules, after(days=3))
    assert kinds(messages) == ["source_quiet"]
    assert "3 days" in messages[0].text
    assert decide(reported, view(came=START), rules, after(days=9))[0] == []
    messages, reported = decide(reported, view(came=after(days=9)), rules, after(days=9, hours=1))
    assert kinds(messages) == ["source_back"]


def test_a_source_that_never_sent_anything_is_quiet_from_the_first_look() -> None:
    nothing = replace(view(), status=Status(0, 0, 0, (), ()))
    _, reported = decide(Reported(), nothing, rules, START)
    assert decide(reported, nothing, rules, after(days=2))[0] == []
    assert kinds(decide(reported, nothing, rules, after(days=3))[0]) == ["source_quiet"]


def test_without_quiet_days_silence_is_never_told() -> None:
    assert decide(Reported(), view(came=START), Rules(), after(days=999))[0] == []


def test_a_store_that_fails_is_told_although_nothing_else_can_be_known() -> None:
    _, reported = decide(Reported(), view(route("bug", "x")), rules, START)
    messages, reported = decide(reported, View(None, store_failing=True), rules, after(minutes=1))
    assert kinds(messages) == ["store_failing"]
    assert decide(reported, View(None, store_failing=True), rules, after(minutes=2))[0] == []
    messages, reported = decide(reported, view(route("bug", "x")), rules, after(minutes=3))
    assert kinds(messages) == ["store_ok"]


def backlog(read: int, waiting: int, *, failing: bool) -> View:
    """*read* events are projected, and so many more wait."""
    return replace(view(), status=Status(0, waiting, read + waiting, (), ()), projector_failing=failing, sources=())


def test_events_that_can_not_be_read_on_are_told_once_and_once_when_it_goes_on_again() -> None:
    messages, reported = decide(Reported(), backlog(7, 2, failing=True), rules, START)
    assert kinds(messages) == ["projector_failing"]
    assert "2 events wait" in messages[0].text
    assert "connector status" in messages[0].text
    again, reported = decide(reported, backlog(7, 9, failing=True), rules, after(hours=9))
    assert again == []
    messages, reported = decide(reported, backlog(16, 0, failing=False), rules, after(hours=10))
    assert kinds(messages) == ["projector_ok"]
    assert decide(reported, backlog(16, 0, failing=False), rules, after(hours=11))[0] == []


def test_a_restart_is_no_sign_that_events_are_read_on_but_a_read_event_is() -> None:
    _, reported = decide(Reported(), backlog(7, 2, failing=True), rules, START)
    assert (
        decide(load_reported(dump_reported(reported)), backlog(7, 3, failing=False), rules, after(minutes=1))[0] == []
    )
    _, reported = decide(reported, View(None, store_failing=True), rules, after(minutes=2))
    assert kinds(decide(reported, backlog(8, 2, failing=False), rules, after(minutes=3))[0]) == [
        "store_ok", "projector_ok",
    ]  # fmt: skip


def test_dead_letters_that_can_not_be_counted_are_neither_gone_nor_the_stores_fault() -> None:
    one = view(letters={("deliver", "sheets/all"): 1})
    _, reported = decide(Reported(), one, rules, START)
    messages, reported = decide(reported, replace(one, dead_letters=None), rules, after(minutes=1))
    assert messages == []
    assert decide(reported, one, rules, after(minutes=2))[0] == []


states = st.builds(
    route,
    st.sampled_from(["ok", "waiting", "needs_action", "bug"]),
    st.just("why"),
    since=st.integers(0, 600).map(lambda minutes: after(minutes=minutes)),
)


def some_view(shown: RouteStatus, letters: Mapping[tuple[str, str], int], failing: str, read: int) -> View:
    seen = view(shown, letters=letters)
    assert seen.status is not None
    status = Status(0, 1, read + 1, seen.status.sources, seen.status.routes)
    return replace(seen, status=status, store_failing=failing == "store", projector_failing=failing == "projector")


views = st.builds(
    some_view,
    states,
    st.dictionaries(st.sampled_from([("deliver", "sheets/all"), ("normalize", "everflow")]), st.integers(1, 9)),
    st.sampled_from(["", "store", "projector"]),
    st.integers(0, 3),
)


@settings(max_examples=100)
@given(st.lists(st.tuples(views, st.integers(0, 90)), max_size=12))
def test_whatever_happens_nothing_is_told_twice_in_a_row_and_what_was_told_survives_a_restart(
    steps: list[tuple[View, int]],
) -> None:
    reported, now = Reported(), after(days=1)
    last: dict[str, str] = {}
    for seen, minutes in steps:
        now += timedelta(minutes=minutes)
        messages, reported = decide(reported, seen, rules, now)
        reported = load_reported(dump_reported(reported))
        for message in messages:
            if message.kind not in ("route_failing", "dead_letter", "digest"):
                channel = message.kind.partition("_")[0]
                assert last.get(channel) != message.kind
                last[channel] = message.kind
            elif message.kind == "route_failing":
                last["route"] = message.kind
        assert decide(reported, seen, rules, now)[0] == []  # the same look again is no news


def test_a_clock_that_was_ahead_silences_nothing() -> None:
    ahead = after(days=400)
    _, reported = decide(Reported(), view(letters={("deliver", "sheets/all"): 1}, came=ahead), rules, ahead)
    more = view(route("waiting", "down", since=ahead), letters={("deliver", "sheets/all"): 2}, came=ahead)
    messages, reported = decide(reported, more, rules, START)
    assert kinds(messages) == ["route_failing"]
    assert kinds(decide(reported, more, rules, after(hours=1))[0]) == ["digest"]


def test_what_was_told_and_cannot_be_read_counts_as_nothing_told() -> None:
    texts = (
        "",
        "[]",
        "{",
        '{"failing": 3}',
        '{"failing": {"a/b": "bug"}}',
        '{"since": "noon"}',
        '{"letters": {"a": 1.5}}',
    )
    for text in (None, *texts):
        assert load_reported(text) == Reported()


# ---------------------------------------------------------------- what is sent


def test_slack_gets_a_text_with_its_three_characters_escaped_and_json_gets_the_parts() -> None:
    messages = [Message("route_failing", "a/b", "a <b> & c"), Message("digest", "", "more")]
    assert body(messages, "slack", START) == {"text": "• a &lt;b&gt; &amp; c\n• more"}
    assert body(messages[:1], "slack", START) == {"text": "a &lt;b&gt; &amp; c"}
    (attachment,) = body(messages, "teams", START)["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert [block["text"] for block in attachment["content"]["body"]] == [message.text for message in messages]
    sent = body(messages, "json", START)
    assert sent["alerts"][0] == {"kind": "route_failing", "subject": "a/b", "text": "a <b> & c"}
    assert sent["at"] == "2026-11-20T12:00:00+00:00"


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("https://hooks.slack.com/services/T0/B0/x", True),
        ("http://127.0.0.1:9/x", True),
        ("http://[::1]:9/x", True),
        ("http://localhost/x", True),
        ("http://127.8.9.1/x", True),
        ("http://hooks.slack.com/x", False),
        ("http://127.0.0.1.example.com/x", False),
        ("http://localhost.example.com/x", False),
        ("http://169.254.169.254/latest", False),
        ("ftp://127.0.0.1/x", False),
        ("file:///etc/passwd", False),
        ("https://", False),
        ("https://x:99999/", False),
        ("hooks.slack.com", False),
        ("https://[::1", False),
    ],
)
def test_alerts_go_over_https_or_stay_on_this_machine(url: str, fine: bool) -> None:
    problem = why_not(url)
    assert (problem is None) == fine
    if not fine:
        assert url == "https://" or url not in str(problem)
        with pytest.raises(ValueError, match="the URL"):
            WebhookPoster(url)


def test_the_poster_sends_json_once() -> None:
    with Chat() as chat:
        WebhookPoster(chat.url)({"text": "hello"})
    assert chat.taken == [{"text": "hello"}]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with Chat() as chat, Chat() as elsewhere:
        chat.faults.append(Fault("status", Reply(status, b"", {"location": elsewhere.url})))
        with pytest.raises(NotSent, match=str(status)):
            WebhookPoster(chat.url)({"text": "hello"})
        assert elsewhere.taken == []


def test_a_far_side_that_hangs_resets_or_refuses_is_an_error_that_does_not_name_the_url() -> None:
    with Chat() as chat:
        for fault in (Fault("hang_after"), Fault("reset_before"), Fault("status", Reply(404, b"no_service"))):
            chat.faults.append(fault)
            began = time.monotonic()
            with pytest.raises(NotSent) as caught:
                WebhookPoster(f"{chat.url}/services/T0-secret", seconds=0.3)({"text": "hello"})
            assert time.monotonic() - began < PATIENCE_SECONDS / 2
            assert "secret" not in str(caught.value)


# ---------------------------------------------------------------- the thread


class Notes:
    """A store's notes; ``broken`` fails as a store does."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}
        self.broken = False

    def recall(self, sink: str, key: str) -> str | None:
        if self.broken:
            raise StoreUnavailable("disk full")
        return self.kept.get((sink, key))

    def remember(self, sink: str, key: str, value: str | None) -> None:
        if self.broken or value is None:
            raise StoreUnavailable("disk full")
        self.kept[sink, key] = value


class Wall:
    """A poster that keeps what it is given, or fails."""

    def __init__(self) -> None:
        self.sent: list[Mapping[str, Any]] = []
        self.fails: Exception | None = None

    def __call__(self, body: Mapping[str, Any]) -> None:
        if self.fails is not None:
            raise self.fails
        self.sent.append(body)


class Sight:
    """What the thread sees; a test changes it."""

    def __init__(self) -> None:
        self.now = START
        self.seen: View | None = view(route())

    def look(self) -> View:
        if self.seen is None:
            raise StoreUnavailable("disk full")
        return self.seen

    def clock(self) -> datetime:
        return self.now


def alerts(wall: Wall, sight: Sight, notes: Notes, stop: threading.Event | None = None, every: float = 5.0) -> Alerts:
    return Alerts(
        wall, sight.look, notes, rules, secrets=["t0p-secret"], stop=stop or threading.Event(), now=sight.clock,
        every=every,
    )  # fmt: skip


def test_what_could_not_be_sent_is_decided_anew_so_nothing_stale_is_told() -> None:
    wall, sight, notes = Wall(), Sight(), Notes()
    reported = alerts(wall, sight, notes)
    sight.seen = view(route("needs_action", "renew the token t0p-secret"))
    wall.fails = NotSent("answered 500")
    with pytest.raises(NotSent):
        reported.step()
    wall.fails = None
    assert reported.step() == 1
    assert "[hidden]" in wall.sent[0]["text"]
    assert reported.step() == 0
    sight.seen = view(route())
    wall.fails = NotSent("answered 500")
    with pytest.raises(NotSent):
        reported.step()
    wall.fails = None
    sight.seen = view(route("needs_action", "renew the token t0p-secret"))
    assert reported.step() == 0, "it failed, was well for a moment, and fails: nobody heard of the moment"


def test_a_restart_does_not_repeat_what_was_told() -> None:
    wall, sight, notes = Wall(), Sight(), Notes()
    sight.seen = view(route("bug", "a bug"))
    assert alerts(wall, sight, notes).step() == 1
    assert alerts(wall, sight, notes).step() == 0
    notes.kept.clear()
    assert alerts(wall, sight, notes).step() == 1


def test_a_store_that_fails_is_told_and_does_not_make_it_forget() -> None:
    wall, sight, notes = Wall(), Sight(), Notes()
    reported = alerts(wall, sight, notes)
    reported.step()
    sight.seen, notes.broken = None, True
    assert reported.step() == 1
    assert reported.step() == 0
    sight.seen, notes.broken = view(route()), False
    assert reported.step() == 1
    assert [line["text"].partition(" ")[0] for line in wall.sent] == ["The", "The"]
    assert json.loads(notes.kept["connector.alerts", "reported"])["store"] is False


def test_with_notes_that_cannot_be_read_yet_it_waits_rather_than_repeat_itself() -> None:
    wall, sight, notes = Wall(), Sight(), Notes()
    sight.seen = view(route("bug", "a bug"))
    alerts(wall, sight, notes).step()
    notes.broken = True
    after_restart = alerts(wall, sight, notes)
    assert after_restart.step() == 0
    notes.broken = False
    assert after_restart.step() == 0
    assert len(wall.sent) == 1


@pytest.mark.parametrize("error", [NotSent("answered 500"), RuntimeError("ada@example.com broke it")])
def test_the_thread_outlives_whatever_sending_raises_and_waits_longer_each_time(error: Exception) -> None:
    wall, sight, notes, stop = Wall(), Sight(), Notes(), threading.Event()
    sight.seen = view(route("bug", "a bug"))
    wall.fails = error
    thread = threading.Thread(target=alerts(wall, sight, notes, stop, every=0.01).run)
    thread.start()
    time.sleep(0.1)
    wall.fails = None
    until(lambda: wall.sent)
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
    assert len(wall.sent) == 1


def test_a_mistake_in_a_mapping_and_what_waits_for_a_person_are_told_once() -> None:
    seen = replace(
        view(), mistakes={"local/finance": "mappings/finance.toml:20:23"}, held={"crm/all": "2 cells would change"}
    )
    messages, reported = decide(Reported(), seen, rules, START)
    assert kinds(messages) == ["mapping_mistake", "waits_for_you"]
    assert "mappings/finance.toml:20:23" in messages[0].text
    assert messages[1].text == "crm/all waits for you: 2 cells would change. To see it: connector plan crm/all"
    messages, reported = decide(load_reported(dump_reported(reported)), seen, rules, after(minutes=1))
    assert messages == []
    messages, _ = decide(reported, view(), rules, after(minutes=2))
    assert kinds(messages) == ["mapping_ok"]
