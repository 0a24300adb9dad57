"""The page's endpoints: every request passes the same checks, in the same order, before a view sees it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final
from urllib.parse import parse_qsl, unquote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from connector import logs
from connector.core.errors import StoreUnavailable
from connector.faults import describe
from connector.page.asking import Answer, Ask, Inside, NotThere, Way, message
from connector.page.door import COOKIE, DOOR_COOKIE, SESSION_SECONDS, Door, Visitor, is_csrf, stranger
from connector.page.looks import Looks, static_files
from connector.page.ways import WAYS

_log = logs.get("page")
_MOST_FORM_BYTES: Final = 3_200_000  # a body of 1 MB that is tried, each byte written as %7B
_MOST_LOGIN_BYTES: Final = 20_000
_MOST_FIELDS: Final = 50
_AT_A_TIME: Final = 4
_HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_REFUSALS: Final = {
    "role": ("You can read, but not change", "Ask whoever runs the server for the changing role."),
    "csrf": ("This form is too old", "Go back, load the page anew and try again."),
    "origin": ("This form is from another site", "Nothing was changed."),
}

_Answering = Callable[[Request], Awaitable[Response]]


class _App:
    """An ASGI application; no function, since Starlette would call that one otherwise."""

    def __init__(self, respond: _Answering) -> None:
        self._respond = respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._respond(Request(scope, receive))
        await response(scope, receive, send)


class Site:
    """All of the page."""

    def __init__(self, inside: Inside) -> None:
        self.inside = inside
        self.door = Door(inside.settings.page, inside.settings.server, inside.store)
        self.looks = Looks(inside)
        self._few = asyncio.Semaphore(_AT_A_TIME)

    def apps(self) -> dict[str, ASGIApp]:
        """ASGI applications by path."""
        answers: dict[str, _Answering] = {"/static/{name}": self._static, "/webhooks/live": self._watch}
        for path in dict.fromkeys(way.path for way in WAYS):
            answers[path] = partial(self._go, {way.method: way for way in WAYS if way.path == path})
        return {path: _App(partial(self._respond, answer)) for path, answer in answers.items()}

    async def _respond(self, answer: _Answering, request: Request) -> Response:
        """What all have in common: our own names only, headers on every answer, no bug's words in one."""
        try:
            if self.door.knows_host(request.headers):
                response = await answer(request)
            else:
                logs.say(_log, "page.refused", reason="host")
                response = Response("This name is not the page's; see [page] hosts in config.toml\n", 421)
        except ClientDisconnect:  # before the form was here
            response = Response("", 400)
        except StoreUnavailable as error:
            logs.warn(_log, "page.store_fails", reason=str(error))
            said = message(503, "The store can't be read at the moment", "Try again in a minute.")
            response = self._drawn(request, said, stranger())
        except Exception as error:
            logs.say(_log, "page.bug", level=logging.ERROR, **describe(error))
            said = message(500, "This page can't be shown", "The connector's log says why.")
            response = self._drawn(request, said, stranger())
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    async def _static(self, request: Request) -> Response:
        """Files that everybody may have; the pages name each with its hash."""
        found = static_files().get(request.path_params["name"]) if request.method in ("GET", "HEAD") else None
        if found is None:
            return Response("There is nothing here\n", 404)
        return FileResponse(found[0], headers={"cache-control": "public, max-age=31536000, immutable"})

    async def _watch(self, request: Request) -> Response:
        """The stream of what comes in."""
        visitor = await self._visitor(request)
        if visitor is None or request.method != "GET":
            return Response("Sign in first\n", 401)
        return self.inside.live.stream(self.looks.rows, unquote(request.cookies.get("tz", "")), visitor.token)

    async def _visitor(self, request: Request) -> Visitor | None:
        return await asyncio.to_thread(self.door.visitor, request.headers, request.cookies, _peer(request))

    async def _go(self, ways: Mapping[str, Way], request: Request) -> Response:
        """One of the ways of a path."""
        way = ways.get("GET" if request.method == "HEAD" else request.method)
        if way is None:
            said = message(405, "There is nothing to see at this address", "It is where a button leads.")
            response = self._drawn(request, said, stranger())
            response.headers["allow"] = ", ".join(ways)
            return response
        known = await self._visitor(request)
        if known is None and way.role != "anyone":
            return Response("", 303, {"location": "/login"})
        visitor = known or stranger(request.cookies.get(DOOR_COOKIE, ""))
        form = await _form(request, _MOST_FORM_BYTES if known else _MOST_LOGIN_BYTES) if way.method == "POST" else {}
        if form is None:
            return self._drawn(request, message(413, "That is too large", "A body may have 1 MB."), visitor)
        if way.method == "POST" and (why := self._why_refused(request, way, visitor, form)):
            logs.say(_log, "page.refused", reason=why, path=way.path, who=visitor.who or None)
            return self._drawn(request, message(403, *_REFUSALS[why]), visitor)
        ask = Ask(
            self.inside, self.door, visitor, _clean(request.path_params), _clean(request.query_params), form,
            self.door.address(request.headers, _peer(request)), "hx-request" in request.headers,
        )  # fmt: skip
        async with self._few:
            return await asyncio.to_thread(self._seen, request, way, ask)

    def _why_refused(self, request: Request, way: Way, visitor: Visitor, form: Mapping[str, str]) -> str:
        """Why a change is not made: one word; "" when it may be."""
        if not self.door.is_from_here(request.headers):
            return "origin"
        # No browser sends a form without saying where it is from: what comes without is a program of somebody who
        # knows the password.
        by_program = way.role == "anyone" and "origin" not in request.headers
        if not by_program and not is_csrf(visitor.token, form.get("csrf", "")):
            return "csrf"
        return "role" if way.role == "change" and not visitor.may_change else ""

    def _seen(self, request: Request, way: Way, ask: Ask) -> Response:
        try:
            answer = way.view(ask)
        except NotThere as error:
            answer = message(404, str(error), "It may have been forgotten, or has not come in.")
        visitor, cookies = ask.visitor, dict(answer.cookies)
        if answer.done:
            logs.say(_log, "page.change", what=answer.done, about=answer.about, who=visitor.who)
        if visitor.who and visitor.token != request.cookies.get(COOKIE):  # a trusted proxy has signed them in
            cookies.setdefault(COOKIE, (visitor.token, SESSION_SECONDS))
        response = self._drawn(request, answer, visitor)
        secure = self.door.is_https(request.headers, _peer(request))
        for name, (value, seconds) in cookies.items():
            response.set_cookie(name, value, seconds, httponly=True, samesite="strict", secure=secure)
        return response

    def _drawn(self, request: Request, answer: Answer, visitor: Visitor) -> Response:
        if answer.to:
            return Response("", 303, {"location": answer.to})
        html = self.looks.render(answer.template, answer.values, visitor, request.cookies, request.url.path)
        return Response(html, answer.status, media_type="text/html")


def _peer(request: Request) -> str:
    return request.client.host if request.client else ""


def _clean(values: Mapping[str, str]) -> dict[str, str]:
    """*values* without the one character that PostgreSQL takes in no text."""
    return {name: value.replace("\0", "\ufffd") for name, value in values.items()}


async def _form(request: Request, most: int) -> dict[str, str] | None:
    """The fields of a form as browsers send it; the last one of a name counts. None where it has more than *most*
    bytes."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            return None
    try:
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        return {}
