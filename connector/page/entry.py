"""Signing in and out, and what each browser remembers of its person."""

from __future__ import annotations

from connector import logs
from connector.page.asking import Answer, Ask
from connector.page.door import COOKIE, DOOR_COOKIE, SESSION_SECONDS
from connector.page.looks import THEMES

_log = logs.get("page")
_YEAR_SECONDS = 365 * 86_400


def form(ask: Ask, status: int = 200, error: str = "") -> Answer:
    """The form for signing in."""
    if ask.visitor.who:
        return Answer(to="/")
    values = {"error": error, "asks_for_user": ask.door.asks_for_user}
    return Answer("login.html", values, status, cookies={DOOR_COOKIE: (ask.visitor.token, SESSION_SECONDS)})


def sign_in(ask: Ask) -> Answer:
    """Let in whoever knows the password."""
    door = ask.door
    if not door.tries.may_try(ask.address):
        logs.warn(_log, "page.refused", reason="too_many_tries")
        return form(ask, 429, "Too many tries: wait a minute.")
    found = door.sign_in(ask.form.get("user", "").strip(), ask.form.get("password", ""))
    if found is None:
        logs.warn(_log, "page.refused", reason="password")
        wrong = "the name and the password" if door.asks_for_user else "the password"
        return form(ask, 401, f"That is not {wrong}.")
    door.tries.was_right(ask.address)
    logs.say(_log, "page.signed_in", who=found.who)
    return Answer(to="/", cookies={COOKIE: (found.token, SESSION_SECONDS)})


def sign_out(ask: Ask) -> Answer:
    """The session ends."""
    ask.door.sign_out(ask.visitor)
    return Answer(to="/login", done="signed out", cookies={COOKIE: ("", 0)})


def appearance(ask: Ask) -> Answer:
    """Light, dark, or as the system is."""
    theme = ask.form.get("theme", "")
    return Answer(to="/", cookies={"theme": (theme if theme in THEMES else "", _YEAR_SECONDS)})
