"""Putting back what a route wrote: what it would do, doing it, and going on afterwards."""

from __future__ import annotations

import uuid

from connector.changes import decisions
from connector.changes.notes import Undo
from connector.changes.plan import Plan
from connector.changes.undo import moment_of, plan_of_undo
from connector.core.errors import ConfigError
from connector.core.sink import Sink
from connector.delivery import Route
from connector.page.asking import Answer, Ask
from connector.page.mapped import at_destination
from connector.page.mappings import route_values, to_mapping
from connector.settings import RouteConfig

SINCE = ("1 hour", "6 hours", "1 day", "7 days")
"""How far back a person may choose to go, beside a delivery."""


def _asked(ask: Ask) -> Undo | None:
    given = ask.form or ask.query
    since, delivery = given.get("since", ""), given.get("delivery", "")
    now = ask.inside.now()
    if since in SINCE:
        return Undo(now, uuid.uuid4().hex[:12], moment_of(since, now))
    return Undo(now, uuid.uuid4().hex[:12], None, delivery) if delivery.isalnum() and len(delivery) < 33 else None


def undo_plan(ask: Ask) -> Answer:
    """What an undo would put back; it reads the destination."""
    values = route_values(ask)
    asked, route = _asked(ask), values["route"]
    if asked is None or route.found is None:
        return Answer(to=to_mapping(route.name))
    store, secrets = ask.inside.store, ask.inside.settings.secrets

    def look(sink: Sink, found: RouteConfig) -> Plan:
        return plan_of_undo(Route(found.name, sink, found.target, found.mapping.evaluate, secrets), store, asked)

    now = ask.part or "now" in ask.query
    plan, error = at_destination(ask.inside, route, look) if now else (None, "")
    values |= {"plan": plan, "error": error, "since": ask.query.get("since", ""), "delivery": asked.delivery}
    return Answer("undo.html", values)


def undo(ask: Ask) -> Answer:
    """Put it back; the route then waits."""
    route, asked = ask.path["route"], _asked(ask)
    if asked is None or route not in ask.inside.settings.route_names:
        return Answer(to=to_mapping(route))
    try:
        decisions.undo(ask.inside.store, route, asked)
    except decisions.Undecided:
        return Answer(to=to_mapping(route, told="undoing"))
    about = f"{route} {asked.delivery or asked.since}"
    return Answer(to=to_mapping(route, applied=asked.id), done="undo", about=about)


def resume(ask: Ask) -> Answer:
    """Deliver again, with the mapping file as it is now."""
    route = ask.path["route"]
    try:
        decisions.resume(ask.inside.settings, ask.inside.store, route)
    except (decisions.Undecided, ConfigError):
        return Answer(to=to_mapping(route, told="not-yet"))
    return Answer(to=to_mapping(route), done="resume", about=route)
