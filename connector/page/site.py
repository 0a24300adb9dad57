"""The page's endpoints: every request passes the same checks, in the same order, before a view sees it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final
from urllib.parse import parse_qsl, unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from connector import logs
from connector.core.errors import StoreUnavailable
from connector.faults import describe
from connector.page.asking import Answer, Ask, Inside, NotThere, Way
from connector.page.door import COOKIE, SESSION_SECONDS, Door, Visitor, csrf_of, is_csrf, new_token
from connector.page.looks import Looks
from connector.page.ways import WAYS

_log = logs.get("page")
_DOOR_COOKIE: Final = "connector_door"
_MOST_FORM_BYTES: Final = 1_200_000
_MOST_FIELDS: Final = 50
_AT_A_TIME: Final = 4
_NOBODY: Final = Visitor("", "read", "", "")
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


class Site:
    """All of the page.

    Args:
        public: names that ``serve`` knows; see ``Door``.
    """

    def __init__(self, inside: Inside) -> None:
        self.inside = inside
        self.door = Door(inside.settings.page, inside.settings.server, inside.store)
        self.looks = Looks(inside)
        self.few = asyncio.Semaphore(_AT_A_TIME)

    def apps(self) -> dict[str, ASGIApp]:
        """ASGI applications by path."""
        found: dict[str, ASGIApp] = {"/static/{name}": _Static(self), "/webhooks/live": _Watching(self)}
        for path in dict.fromkeys(way.path for way in WAYS):
            found[path] = _Gate(self, [way for way in WAYS if way.path == path])
        return found


class _Endpoint:
    """What all have in common: our own names only, headers on every answer, no bug's words in one."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._door = site.door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        request = Request(scope, receive)
        if not self._door.knows_host(request.headers):
            logs.say(_log, "page.refused", reason="host")
            response = Response("This name is not the page's; see [page] hosts in config.toml\n", 421)
        else:
            try:
                response = await self.answer(request)
            except Exception as error:
                logs.say(_log, "page.bug", level=logging.ERROR, **describe(error))
                response = self._message(request, 500, "This page can't be shown", "The connector's log says why.")
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        await response(scope, receive, send)

    async def answer(self, request: Request) -> Response:
        raise NotImplementedError

    def _message(self, request: Request, status: int, title: str, text: str, visitor: Visitor = _NOBODY) -> Response:
        values = {"title": title, "text": text}
        return self._page(request, Answer("message.html", values, status), visitor)

    def _page(self, request: Request, answer: Answer, visitor: Visitor) -> Response:
        html = self._site.looks.render(answer.template, answer.values, visitor, request.cookies, request.url.path)
        return Response(html, answer.status, media_type="text/html")

    async def _visitor(self, request: Request) -> Visitor | None:
        seek = partial(self._door.visitor, request.headers, request.cookies, _peer(request))
        return await asyncio.to_thread(seek)

    def _cookie(self, response: Response, request: Request, name: str, value: str, seconds: int) -> None:
        secure = self._door.is_https(request.headers, _peer(request))
        response.set_cookie(name, value, seconds, httponly=True, samesite="strict", secure=secure, path="/")


class _Static(_Endpoint):
    """Files that everybody may have."""

    async def answer(self, request: Request) -> Response:
        found = self._site.looks.static(request.path_params["name"]) if request.method in ("GET", "HEAD") else None
        if found is None:
            return Response("There is nothing here\n", 404)
        content, kind = found
        # The pages name each file with its hash.
        return Response(content, 200, {"cache-control": "public, max-age=31536000, immutable"}, kind)


class _Watching(_Endpoint):
    """The stream of what comes in."""

    async def answer(self, request: Request) -> Response:
        visitor = await self._visitor(request)
        if visitor is None or request.method != "GET":
            return Response("Sign in first\n", 401)
        return self._site.inside.live.stream(self._site.looks.rows, unquote(request.cookies.get("tz", "")))


class _Gate(_Endpoint):
    """One path."""

    def __init__(self, site: Site, ways: Sequence[Way]) -> None:
        super().__init__(site)
        self._ways = {way.method: way for way in ways}

    async def answer(self, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        way = self._ways.get(method)  # type: ignore[call-overload]
        if way is None:
            return Response("", 405, {"allow": ", ".join(self._ways)})
        try:
            visitor = await self._visitor(request)
            if visitor is None and way.role != "anyone":
                return Response("", 303, {"location": "/login"})
            form: Mapping[str, str] = {}
            if method == "POST":
                form = await _form(request)
                refused = self._why_refused(request, way, visitor, form)
                if refused:
                    logs.say(_log, "page.refused", reason=refused, path=way.path, who=visitor and visitor.who)
                    return self._refusal(request, refused, visitor)
            if way.path == "/login":
                return await self._login(request, form, visitor)
            return await self._seen(request, way, visitor or _NOBODY, form)
        except StoreUnavailable as error:
            logs.warn(_log, "page.store_fails", reason=str(error))
            return self._message(request, 503, "The store can't be read at the moment", "Try again in a minute.")

    def _why_refused(self, request: Request, way: Way, visitor: Visitor | None, form: Mapping[str, str]) -> str:
        """Why a change is not made: one word; "" when it may be."""
        if not self._door.is_from_here(request.headers):
            return "origin"
        given = form.get("csrf", "")
        if visitor is None or way.path == "/login":
            # No browser sends a form without saying where it is from: what comes without is a program of somebody who
            # knows the password.
            token = request.cookies.get(_DOOR_COOKIE, "")
            return "" if "origin" not in request.headers or is_csrf(token, given) else "csrf"
        if not is_csrf(visitor.token, given):
            return "csrf"
        return "role" if way.role == "change" and not visitor.may_change else ""

    def _refusal(self, request: Request, why: str, visitor: Visitor | None) -> Response:
        title, text = {
            "role": ("You can read, but not change", "Ask whoever runs the server for the changing role."),
            "csrf": ("This form is too old", "Go back, load the page anew and try again."),
            "origin": ("This form is from another site", "Nothing was changed."),
        }[why]
        return self._message(request, 403, title, text, visitor or _NOBODY)

    async def _seen(self, request: Request, way: Way, visitor: Visitor, form: Mapping[str, str]) -> Response:
        query = dict(request.query_params)
        ask = Ask(self._site.inside, visitor, request.path_params, query, form, "hx-request" in request.headers)
        async with self._site.few:
            try:
                answer = await asyncio.to_thread(way.view, ask)
            except NotThere as error:
                return self._message(
                    request, 404, str(error), "It may have been forgotten, or has not come in.", visitor
                )
            if answer.done:
                logs.say(_log, "page.change", what=answer.done, about=answer.about, who=visitor.who)
            response = await asyncio.to_thread(self._made, request, answer, visitor)
        if visitor.token and visitor.token != request.cookies.get(COOKIE):  # a trusted proxy has signed them in
            self._cookie(response, request, COOKIE, visitor.token, SESSION_SECONDS)
        if way.path == "/logout":
            await asyncio.to_thread(self._door.sign_out, visitor)
            self._cookie(response, request, COOKIE, "", 0)
        if "theme" in answer.values and answer.to:
            self._cookie(response, request, "theme", answer.values["theme"], 365 * 86_400)
        return response

    def _made(self, request: Request, answer: Answer, visitor: Visitor) -> Response:
        if answer.to:
            return Response("", 303, {"location": answer.to})
        return self._page(request, answer, visitor)

    # ------------------------------------------------ signing in

    async def _login(self, request: Request, form: Mapping[str, str], visitor: Visitor | None) -> Response:
        if request.method != "POST":
            if visitor is not None:
                return Response("", 303, {"location": "/"})
            return self._login_form(request, 200, "")
        address = self._door.address(request.headers, _peer(request))
        if not self._door.tries.may_try(address):
            logs.warn(_log, "page.refused", reason="too_many_tries")
            return self._login_form(request, 429, "Too many tries: wait a minute.")
        async with self._site.few:
            user, password = form.get("user", "").strip(), form.get("password", "")
            found = await asyncio.to_thread(self._door.sign_in, user, password)
        if found is None:
            logs.warn(_log, "page.refused", reason="password")
            wrong = (
                "That is not the name and the password." if self._door.asks_for_user else "That is not the password."
            )
            return self._login_form(request, 401, wrong)
        self._door.tries.was_right(address)
        logs.say(_log, "page.signed_in", who=found.who)
        response = Response("", 303, {"location": "/"})
        self._cookie(response, request, COOKIE, found.token, SESSION_SECONDS)
        return response

    def _login_form(self, request: Request, status: int, error: str) -> Response:
        token = request.cookies.get(_DOOR_COOKIE) or new_token()
        values = {"error": error, "asks_for_user": self._door.asks_for_user, "door": csrf_of(token)}
        response = self._page(request, Answer("login.html", values, status), _NOBODY)
        self._cookie(response, request, _DOOR_COOKIE, token, SESSION_SECONDS)
        return response


def _peer(request: Request) -> str:
    return request.client.host if request.client else ""


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form as browsers send it; the last one of a name counts. {} where it is too large."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MOST_FORM_BYTES:
            return {}
    try:
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        return {}
