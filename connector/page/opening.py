"""The way to an affiliate's row or contact: looked up at the click, since rows move."""

from __future__ import annotations

import queue
import threading
from typing import Final
from urllib.parse import urlsplit

from connector import logs
from connector.core.row import Row
from connector.core.sink import ShowsRecord, Sink
from connector.faults import describe
from connector.page.asking import Answer, Ask, Inside, NotThere, message
from connector.page.mapped import Running, at_destination, record_of, running
from connector.settings import RouteConfig

_NOT_FOUND: Final = "It is not there, or its place is not known. What is pending is written as soon as possible."
_TOO_SLOW: Final = "The destination did not say in time where it is."

_log = logs.get("page")
_few = threading.BoundedSemaphore(4)


def open_record(ask: Ask) -> Answer:
    """On to where a person sees it; where that is not known, a page that says why leads to the destination."""
    inside, name = ask.inside, ask.query.get("route", "")
    route = next((route for route in running(inside) if route.name == name), None)
    seen_at = None if route is None else route.sink.options.seen_at()
    if route is None or route.found is None or seen_at is None:
        raise NotThere("There is no such place in a browser")
    rows = route.evaluate(inside)(record_of(inside, ask.path["record_id"])).rows
    address, why = _looked_up(inside, route, rows[0]) if rows else ("", _NOT_FOUND)
    if address and is_of(address, seen_at):
        return Answer(to=address)
    title = f"Its place in {route.sink.name} can't be shown at the moment"
    return message(200, title, why, to=seen_at, link=f"Open {route.sink.name}")


def _looked_up(inside: Inside, route: Running, row: Row) -> tuple[str, str]:
    """Where the row is; else "", and why that is not known. Asked on a sink of its own, in a thread that nobody waits
    for too long."""
    if not _few.acquire(blocking=False):
        return "", _TOO_SLOW
    stop, said = threading.Event(), queue.SimpleQueue[tuple[str, str]]()

    def address_of(sink: Sink, found: RouteConfig) -> str | None:
        return sink.address_of(found.target, row) if isinstance(sink, ShowsRecord) else None

    def look() -> None:
        try:
            address, why = at_destination(inside, route, address_of, stop)
            said.put((address or "", why or _NOT_FOUND))
        except Exception as error:
            logs.warn(_log, "page.open_fails", route=route.name, **describe(error))
            said.put(("", _NOT_FOUND))
        finally:
            _few.release()

    threading.Thread(target=look, name="page open", daemon=True).start()
    try:
        return said.get(timeout=inside.look_seconds)
    except queue.Empty:
        stop.set()
        return "", _TOO_SLOW


def is_of(address: str, seen_at: str) -> bool:
    """Whether *address* is the destination's: HTTPS, and its host or one beside it (``app-eu1`` beside ``app``)."""
    one, other = urlsplit(address), urlsplit(seen_at)
    domain = (other.hostname or "").partition(".")[2]
    return one.scheme == "https" and "." in domain and (one.hostname or "").endswith(f".{domain}")
